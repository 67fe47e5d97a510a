//! How a certificate was asked for, so that `renew` can ask in the same way without being told again.
//!
//! What `issue` was told by flags and variables stands with the certificate in the store, apart from secrets: for these only
//! the files are noted that held them, and variables are read again. What the configuration says goes before all of it.

use std::path::Path;
use std::path::PathBuf;

use clap::Parser;
use dnseal_core::store::Head;
use dnseal_providers::Form;
use dnseal_providers::Kind;
use serde::Deserialize;
use serde_json::Value;

use crate::args::Cli;
use crate::args::Command;
use crate::args::IssueArgs;
use crate::args::ProviderArgs;
use crate::config;
use crate::config::Config;
use crate::env_vars;
use crate::error::CliError;
use crate::settings::provider::kind_for;
use crate::settings::provider::set_values;

/// What to write down of `args`; `ca` is the CA that was chosen.
pub(super) fn recipe(args: &IssueArgs, config: &Config, ca: &str) -> Result<Value, CliError> {
    let mut kept = args.clone();
    kept.ca.ca = Some(ca.to_owned());
    kept.ca.ca_root = kept.ca.ca_root.iter().map(|path| absolute(path)).collect();
    kept.ca.eab_kid = kept
        .ca
        .eab_kid
        .or_else(|| env_vars::get(env_vars::EAB_KID))
        .or_else(|| env_vars::get(env_vars::ACME_EAB_KID));
    kept.ca.eab_hmac_key_file = kept
        .ca
        .eab_hmac_key_file
        .or_else(|| env_vars::get(env_vars::EAB_HMAC_KEY_FILE).map(PathBuf::from))
        .map(|path| absolute(&path));
    kept.spec.csr = kept.spec.csr.as_deref().map(absolute);
    kept.spec.key_file = kept.spec.key_file.as_deref().map(absolute);
    // Half of a binding would be refused, and an account that is registered needs none.
    kept.ca.eab_kid = kept
        .ca
        .eab_kid
        .filter(|_| kept.ca.eab_hmac_key_file.is_some());
    kept.provider = of_provider(&args.provider, config, &env_vars::get)?;
    let mut value = serde_json::to_value(&kept).unwrap_or_default();
    prune(&mut value);
    Ok(value)
}

/// What was told about the provider, without what is secret.
fn of_provider(
    args: &ProviderArgs,
    config: &Config,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<ProviderArgs, CliError> {
    let Some(name) = args.provider.as_deref().filter(|name| !name.is_empty()) else {
        return Ok(ProviderArgs {
            set: Vec::new(),
            ..args.clone()
        });
    };
    let configured = config.provider(name);
    let kind = kind_for(name, &args.set, config)?;
    let mut kept = ProviderArgs {
        provider: Some(name.to_owned()),
        set: Vec::new(),
        secret_files: args.secret_files.clone(),
        ..args.clone()
    };
    let mut known: Vec<String> = Vec::new();
    for (key, text) in set_values(args)? {
        let setting = kind.setting(&key);
        known.push(setting.map_or_else(|| key.clone(), |s| s.key.to_owned()));
        match setting.map_or(Form::Secret, |s| s.form) {
            Form::Secret => {
                if setting.is_none_or(|setting| setting.env.is_empty()) {
                    kept.withheld.insert(key);
                }
            }
            Form::File => kept
                .set
                .push(format!("{key}={}", absolute(Path::new(&text)).display())),
            _ => kept.set.push(format!("{key}={text}")),
        }
    }
    // The configuration goes before variables, and will again.
    if configured.is_none() {
        of_environment(kind, &known, variable, &mut kept);
    }
    Ok(kept)
}

fn of_environment(
    kind: &Kind,
    known: &[String],
    variable: &dyn Fn(&str) -> Option<String>,
    kept: &mut ProviderArgs,
) {
    for setting in kind.settings {
        if known.iter().any(|key| key == setting.key) {
            continue;
        }
        // The first one wins, as it does where they are read.
        for name in setting.env {
            let file = variable(&format!("{name}_FILE")).map(|path| absolute(Path::new(&path)));
            match (variable(name), file, setting.form) {
                (Some(path), _, Form::File) => {
                    let path = absolute(Path::new(&path));
                    kept.set.push(format!("{}={}", setting.key, path.display()));
                }
                // The secret itself: it is read from there again.
                (Some(_), _, Form::Secret) => {}
                (Some(text), _, _) => kept.set.push(format!("{}={text}", setting.key)),
                (None, Some(file), Form::Secret) => {
                    kept.secret_files.insert(setting.key.to_owned(), file);
                }
                _ => continue,
            }
            break;
        }
    }
}

/// How to ask for certificates again.
#[derive(Debug)]
pub(crate) struct Recipes<'a> {
    config: &'a Config,
    environment: IssueArgs,
}

impl<'a> Recipes<'a> {
    /// By what stands in the store, in the configuration, and in the environment.
    pub(crate) fn new(config: &'a Config) -> Result<Self, CliError> {
        Ok(Self::told(config, of_environment_alone()?))
    }

    /// The same, with what a flag says about when CAA records stop an order.
    pub(crate) fn with_caa(mut self, caa: Option<&str>) -> Self {
        fill_said(&mut self.environment.ca.caa, caa);
        self
    }

    /// The same, with the CA that a dry run goes to.
    pub(crate) fn with_staging(mut self, staging: Option<&str>) -> Self {
        fill_said(&mut self.environment.ca.staging, staging);
        self
    }

    /// The same, where the environment is these flags and variables.
    pub(crate) fn told(config: &'a Config, environment: IssueArgs) -> Self {
        Self {
            config,
            environment,
        }
    }

    /// How to ask for the certificate of `head` again: by the configuration, else by what stands in the store.
    ///
    /// A certificate of the configuration takes from the store only what neither configuration nor environment say.
    pub(crate) fn of(
        &self,
        head: Option<&Head>,
        certificate: Option<&config::Certificate>,
    ) -> Result<IssueArgs, CliError> {
        let config = self.config;
        let ca = &self.environment.ca;
        let (said, staging) = (ca.caa.as_deref(), ca.staging.as_deref());
        let mut args = self.merged(head, certificate)?;
        // What is said now, then the configuration, then what was said when it was issued.
        if config.caa.is_some() {
            args.ca.caa = None;
        }
        fill_said(&mut args.ca.caa, said);
        fill_said(&mut args.ca.staging, staging);
        Ok(args)
    }

    fn merged(
        &self,
        head: Option<&Head>,
        certificate: Option<&config::Certificate>,
    ) -> Result<IssueArgs, CliError> {
        let config = self.config;
        let kept = head.and_then(|head| head.renewal.recipe.as_ref());
        let kept = kept.map(IssueArgs::deserialize).transpose();
        let kept = kept.map_err(|error| {
            CliError::usage(
                format!("what the store says about how it was issued cannot be read: {error}"),
                "issue it once more with `dnseal issue`, which writes it anew",
            )
        })?;
        let Some(certificate) = certificate else {
            let mut args = match kept {
                Some(kept) => kept,
                None => self.environment.clone(),
            };
            if let Some(head) = head {
                let wanted = &head.wanted;
                args.ca.ca.get_or_insert_with(|| wanted.directory.clone());
                // Renewal goes to the account that ordered.
                args.ca
                    .account
                    .get_or_insert_with(|| wanted.account.to_string());
                args.key_type
                    .get_or_insert_with(|| wanted.key_type.to_string());
                args.profile = args.profile.or_else(|| wanted.profile.clone());
            }
            return Ok(args);
        };

        let mut args = self.environment.clone();
        let Some(kept) = kept else { return Ok(args) };
        let configured_ca = certificate.ca.as_ref().or(config.ca.as_ref());
        if configured_ca.is_none() {
            fill(&mut args.ca.ca, kept.ca.ca);
        }
        if configured_ca.is_none_or(|ca| ca.roots.is_empty()) && args.ca.ca_root.is_empty() {
            args.ca.ca_root = kept.ca.ca_root;
        }
        if configured_ca.is_none_or(|ca| ca.account.is_none()) {
            fill(&mut args.ca.account, kept.ca.account);
        }
        if configured_ca.is_none_or(|ca| ca.eab.is_none()) {
            fill(&mut args.ca.eab_kid, kept.ca.eab_kid);
            fill(&mut args.ca.eab_hmac_key_file, kept.ca.eab_hmac_key_file);
        }
        args.ca.agree_tos |= kept.ca.agree_tos;
        fill(&mut args.ca.caa, kept.ca.caa);
        if config.emails.is_empty() && args.ca.email.is_empty() {
            args.ca.email = kept.ca.email;
        }
        let said = args.provider.provider.as_deref().unwrap_or_default();
        if config.providers.is_empty() && said.is_empty() {
            args.provider = kept.provider;
        }
        if config.propagation == config::Propagation::default() && is_silent(&args.probe) {
            args.probe = kept.probe;
        }
        Ok(args)
    }
}

/// What `issue` would be told by variables alone.
fn of_environment_alone() -> Result<IssueArgs, CliError> {
    let cli = Cli::try_parse_from(["dnseal", "issue"]).map_err(|error| {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        CliError::usage(
            first.trim_start_matches("error: ").to_owned(),
            "it comes from a variable of the environment",
        )
    })?;
    match cli.command {
        Command::Issue(args) => Ok(*args),
        _ => Ok(IssueArgs::default()),
    }
}

/// What is said now goes before what was; an empty word says nothing.
fn fill_said(slot: &mut Option<String>, said: Option<&str>) {
    if let Some(said) = said.filter(|said| !said.is_empty()) {
        *slot = Some(said.to_owned());
    }
}

fn fill<T>(slot: &mut Option<T>, kept: Option<T>) {
    if slot.is_none() {
        *slot = kept;
    }
}

/// Whether nothing stands in it that anybody would have to say.
fn is_silent<T: serde::Serialize>(args: &T) -> bool {
    let mut value = serde_json::to_value(args).unwrap_or_default();
    prune(&mut value);
    value.as_object().is_none_or(serde_json::Map::is_empty)
}

/// Takes out what says nothing.
fn prune(value: &mut Value) {
    let Value::Object(members) = value else {
        return;
    };
    for member in members.values_mut() {
        prune(member);
    }
    members.retain(|_, member| match member {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        _ => true,
    });
}

/// Whoever renews stands in another directory.
fn absolute(path: &Path) -> PathBuf {
    match path.as_os_str().is_empty() {
        true => path.to_owned(),
        false => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issue(words: &[&str]) -> IssueArgs {
        let words = ["dnseal", "issue"].iter().chain(words);
        match Cli::try_parse_from(words).unwrap().command {
            Command::Issue(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn no_secret_is_kept_and_nothing_for_one_run() {
        let args = issue(&[
            "a.test",
            "--force",
            "--provider",
            "rfc2136",
            "--set",
            "server=ns1.a.test",
            "--set",
            "tsig.secret=canary",
            "--eab-kid",
            "kid",
            "--eab-hmac-key",
            "canary",
            "--ca-root",
            "root.pem",
            "--nameserver",
            "192.0.2.1",
        ]);
        let value = recipe(&args, &Config::default(), "https://ca.test/dir").unwrap();
        let text = value.to_string();
        assert!(
            !text.contains("canary") && !text.contains("force"),
            "{text}"
        );
        let again: IssueArgs = serde_json::from_value(value).unwrap();
        assert_eq!(again.provider.set, ["server=ns1.a.test"]);
        assert_eq!(again.ca.ca.as_deref(), Some("https://ca.test/dir"));
        assert!(again.ca.ca_root[0].is_absolute());
        assert_eq!(again.probe.nameserver, ["192.0.2.1"]);
        assert!(again.names.is_empty() && !again.force);
    }

    #[test]
    fn variables_are_kept_as_settings_and_files_of_secrets_by_name() {
        let variable = |name: &str| {
            let value = match name {
                "RFC2136_NAMESERVER" => "ns1.a.test",
                "RFC2136_TSIG_KEY" => "name",
                "RFC2136_TSIG_SECRET_FILE" => "/run/secrets/tsig",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let args = ProviderArgs {
            provider: Some("rfc2136".to_owned()),
            set: vec!["tsig.name=other".to_owned()],
            ..ProviderArgs::default()
        };
        let kept = of_provider(&args, &Config::default(), &variable).unwrap();
        assert_eq!(kept.set, ["tsig.name=other", "server=ns1.a.test"]);
        assert_eq!(
            kept.secret_files["tsig.secret"],
            Path::new("/run/secrets/tsig")
        );

        let secret = |name: &str| (name == "RFC2136_TSIG_SECRET").then(|| "canary".to_owned());
        let kept = of_provider(&args, &Config::default(), &secret).unwrap();
        assert!(kept.secret_files.is_empty() && !format!("{kept:?}").contains("canary"));
    }
}
