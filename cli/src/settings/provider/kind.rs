//! Which kind a provider is: one of ours, a plugin's or a script's, which are asked for what they say of themselves.

use dnseal_providers::BuildError;
use dnseal_providers::Integration;
use dnseal_providers::Kind;
use dnseal_providers::SettingsError;
use dnseal_providers::acmesh;
use dnseal_providers::plugin::PluginError;
use dnseal_providers::plugin::Plugins;
use dnseal_providers::plugin::describe;
use secrecy::ExposeSecret;

use crate::args::ProviderArgs;
use crate::config::Config;
use crate::config::Place;
use crate::config::Provider;
use crate::env_vars;
use crate::error::CliError;
use crate::settings::provider::in_build;
use crate::settings::provider::values::set_values;

/// The kind called `named`, or of the provider that the configuration calls so.
pub(crate) fn kind_for(
    named: &str,
    set: &[String],
    config: &Config,
) -> Result<&'static Kind, CliError> {
    let set = set_values(&ProviderArgs {
        provider: Some(named.to_owned()),
        set: set.to_vec(),
        ..ProviderArgs::default()
    })?;
    match config.provider(named) {
        Some(provider) => kind_of(config, provider, &set),
        None => kind_named(config, named, &set),
    }
}

/// The kind called `named`: a plugin's is asked for what it says of itself.
pub(super) fn kind_named(
    config: &Config,
    named: &str,
    set: &[(String, String)],
) -> Result<&'static Kind, CliError> {
    match dnseal_providers::kind(named) {
        Ok(kind) if matches!(kind.integration, Integration::AnyPlugin) => {
            let setting = kind.setting(COMMAND);
            let command = value_of(COMMAND, set).or_else(|| {
                setting.and_then(|s| s.env.iter().find_map(|name| env_vars::get(name)))
            });
            match command {
                Some(command) => described(&command),
                None => Err(CliError::usage(
                    "`command` is missing",
                    "add `--set command=/PATH/TO/PLUGIN`",
                )),
            }
        }
        Ok(kind) if matches!(kind.integration, Integration::AnyScript) => {
            let said = |key: &str| value_of(key, set).or_else(|| of_environment(kind, key));
            match said(SCRIPT) {
                Some(script) => of_script(kind, named, &script, said(HOME).as_deref()),
                // What it lacks is told where it is made.
                None => Ok(kind),
            }
        }
        Ok(kind) => Ok(kind),
        Err(unknown) => match config.plugins.kind(named) {
            Some(kind) => Ok(kind?),
            None => Err(unknown.among(&config.plugins).into()),
        },
    }
}

/// The kind of a configured provider; the place in the file is part of what goes wrong.
pub(super) fn kind_of(
    config: &Config,
    provider: &Provider,
    set: &[(String, String)],
) -> Result<&'static Kind, CliError> {
    let place = Place::value(["providers", provider.name.as_str()]);
    let in_file = |error: PluginError, key: &str| {
        config
            .error_at(&place.at(key), error.to_string(), error.hint())
            .map_or_else(|| CliError::Plugin(error), CliError::Config)
    };
    if let Some((kind, path)) = &provider.plugin {
        return Plugins::kind_at(kind, path).map_err(|error| in_file(error, "kind"));
    }
    if matches!(provider.kind.integration, Integration::AnyScript) {
        let mut said = Vec::new();
        for key in [SCRIPT, HOME] {
            if let Some(text) = written(provider, key)? {
                said.push((key.to_owned(), text));
            }
        }
        said.extend_from_slice(set);
        return kind_named(config, provider.kind.kind, &said).map_err(|error| match &error {
            CliError::Build(build) => {
                in_build(config, provider, provider.kind, build).map_or(error, CliError::Config)
            }
            _ => error,
        });
    }
    if !matches!(provider.kind.integration, Integration::AnyPlugin) {
        return Ok(provider.kind);
    }
    match (value_of(COMMAND, set), written(provider, COMMAND)?) {
        (Some(command), _) => described(&command),
        (None, Some(command)) => {
            let words = words(&command)?;
            describe(provider.kind.kind, words)
                .map_err(|error| in_file(error.called(&provider.name), COMMAND))
        }
        (None, None) => kind_named(config, provider.kind.kind, set),
    }
}

/// What the configuration says for `key`.
fn written(provider: &Provider, key: &str) -> Result<Option<String>, CliError> {
    let Some((_, secret)) = provider.settings.iter().find(|(known, _)| known == key) else {
        return Ok(None);
    };
    let text = secret.resolve().map_err(|source| CliError::Secret {
        what: format!("`{key}` of provider `{}`", provider.name),
        source,
    })?;
    Ok(Some(text.expose_secret().to_owned()))
}

/// The kind that a script of acme.sh is.
fn of_script(
    kind: &'static Kind,
    name: &str,
    script: &str,
    home: Option<&str>,
) -> Result<&'static Kind, CliError> {
    acmesh::describe(script, home).map_err(|source| {
        CliError::Build(BuildError::Settings {
            kind: kind.kind,
            name: name.to_owned(),
            source,
        })
    })
}

/// Where the environment says that acme.sh is.
pub(crate) fn acme_sh_home() -> Option<String> {
    of_environment(dnseal_providers::kind(acmesh::KIND_NAME).ok()?, HOME)
}

/// What is wrong with an acme.sh that no provider is made of.
pub(crate) fn acme_sh_error(source: SettingsError) -> CliError {
    CliError::Settings {
        name: acmesh::KIND_NAME.to_owned(),
        source,
    }
}

fn of_environment(kind: &Kind, key: &str) -> Option<String> {
    let mut variables = kind.setting(key)?.env.iter();
    variables.find_map(|name| env_vars::get(name))
}

fn described(command: &str) -> Result<&'static Kind, CliError> {
    Ok(describe(
        dnseal_providers::any_plugin().kind,
        words(command)?,
    )?)
}

fn words(command: &str) -> Result<Vec<String>, CliError> {
    dnseal_providers::words(command).map_err(|problem| {
        CliError::usage(
            format!("`{COMMAND}`: {problem}"),
            "write the whole path of a program, and its arguments",
        )
    })
}

fn value_of(key: &str, set: &[(String, String)]) -> Option<String> {
    let mut values = set.iter().filter(|(k, _)| k == key).map(|(_, v)| v.clone());
    values.next_back()
}

/// The setting of a plugin that names its program.
const COMMAND: &str = "command";
/// The settings that say which script of acme.sh is meant.
const HOME: &str = "home";
const SCRIPT: &str = "script";
