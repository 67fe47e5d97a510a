//! The line that runs this very command again from cron, which knows nothing of this shell's variables.
//!
//! Variables that were used stand in front of the program. Secrets stand nowhere: what has to be given in a file instead is
//! said beside the line.

use std::path::Path;

use dnseal_providers::Form;
use dnseal_providers::Kind;

use crate::config::Config;
use crate::config::Secret;
use crate::env_vars;

/// A line for cron, and what it lacks.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Again {
    line: String,
    needed: Vec<String>,
}

impl Again {
    /// This process's command; `provider` is what `--provider` or its variable says.
    pub(super) fn of_this_process(provider: Option<&str>, config: &Config) -> Self {
        let program = std::env::current_exe()
            .ok()
            .map_or_else(|| "dnseal".to_owned(), |path| path.display().to_string());
        Self::new(
            &program,
            std::env::args().skip(1),
            &env_vars::get,
            &kinds(provider, config),
            config,
        )
    }

    fn new(
        program: &str,
        arguments: impl Iterator<Item = String>,
        variable: &dyn Fn(&str) -> Option<String>,
        kinds: &[&'static Kind],
        config: &Config,
    ) -> Self {
        let mut maker = Maker {
            kinds,
            needed: Vec::new(),
            relative: false,
            words: vec![quoted(program)],
        };
        let sets = maker.arguments(arguments);
        if !sets {
            let set = variable(env_vars::SET).unwrap_or_default();
            for line in set.lines().filter(|line| !line.trim().is_empty()) {
                maker.set("--set", line);
            }
        }
        let variables = maker.variables(variable);
        for secret in config.secrets() {
            if let Secret::Env(name) = secret {
                maker.need(format!(
                    "the variable {name}, which the configuration names (`{{ file: PATH }}` needs none)"
                ));
            }
        }

        let here = match std::env::current_dir() {
            Ok(dir) if maker.relative => format!("cd {} && ", quoted(&dir.display().to_string())),
            _ => String::new(),
        };
        Self {
            line: format!("17 3 * * *  {here}{variables}{}", maker.words.join(" ")),
            needed: maker.needed,
        }
    }

    /// Both for people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        if !self.needed.is_empty() {
            text.push_str("This line lacks secrets, which stand in no crontab. Set above it:\n");
            for needed in &self.needed {
                text.push_str(&format!("    {needed}\n"));
            }
            text.push_str("  and then\n");
        }
        format!("{text}  {}\n", self.line)
    }
}

struct Maker<'a> {
    kinds: &'a [&'static Kind],
    needed: Vec<String>,
    relative: bool,
    words: Vec<String>,
}

impl Maker<'_> {
    /// Takes over what should happen every day; says whether there is any `--set`.
    fn arguments(&mut self, mut arguments: impl Iterator<Item = String>) -> bool {
        let mut sets = false;
        while let Some(word) = arguments.next() {
            if ONCE.contains(&word.as_str()) {
                continue;
            }
            let (flag, value) = match word.split_once('=') {
                Some((flag, value)) if flag.starts_with("--") => (flag, Some(value.to_owned())),
                _ => (word.as_str(), None),
            };
            match flag {
                "--eab-hmac-key" => {
                    // The key itself.
                    let _ = value.or_else(|| arguments.next());
                    self.need_hmac_key();
                }
                "--set" => {
                    sets = true;
                    if let Some(setting) = value.or_else(|| arguments.next()) {
                        self.set(flag, &setting);
                    }
                }
                _ => {
                    self.path(value.as_deref().unwrap_or(&word));
                    self.words.push(quoted(&word));
                }
            }
        }
        sets
    }

    fn set(&mut self, flag: &str, setting: &str) {
        let (key, value) = setting.split_once('=').unwrap_or((setting, ""));
        let known = self.kinds.iter().find_map(|kind| kind.setting(key));
        match known {
            Some(known) if known.form == Form::Secret => match known.env.first() {
                Some(variable) => self.need_file(variable),
                None => self.need(format!("`{key}`, in the configuration file")),
            },
            _ => {
                self.path(value);
                self.words.push(flag.to_owned());
                self.words.push(quoted(setting));
            }
        }
    }

    /// `NAME=value ` for each variable that was used and is no secret.
    fn variables(&mut self, variable: &dyn Fn(&str) -> Option<String>) -> String {
        let mut found: Vec<(String, String)> = Vec::new();
        let mut note = |name: &str| match variable(name) {
            Some(value) if !found.iter().any(|(other, _)| other == name) => {
                found.push((name.to_owned(), value));
                true
            }
            other => other.is_some(),
        };
        for name in PLAIN {
            note(name);
        }
        let mut secrets = Vec::new();
        for setting in self.kinds.iter().flat_map(|kind| kind.settings) {
            // The first one wins, as it does where they are read.
            for name in setting.env {
                let is_secret = setting.form == Form::Secret && variable(name).is_some();
                if is_secret {
                    secrets.push(*name);
                }
                if is_secret || note(name) || note(&format!("{name}_FILE")) {
                    break;
                }
            }
        }
        if self.kinds.iter().any(|kind| kind.kind == "route53") {
            for name in OF_AWS {
                note(name);
            }
        }
        for name in secrets {
            self.need_file(name);
        }
        let hmac_keys = [env_vars::EAB_HMAC_KEY, env_vars::ACME_EAB_HMAC_KEY];
        if hmac_keys.iter().any(|name| variable(name).is_some()) {
            self.need_hmac_key();
        }
        found
            .iter()
            .map(|(name, value)| {
                self.path(value);
                format!("{name}={} ", quoted(value))
            })
            .collect()
    }

    fn need(&mut self, what: String) {
        if !self.needed.contains(&what) {
            self.needed.push(what);
        }
    }

    fn need_file(&mut self, variable: &str) {
        self.need(format!(
            "{variable}_FILE=…  (a file with the secret, for this user alone)"
        ));
    }

    fn need_hmac_key(&mut self) {
        self.need_file(env_vars::EAB_HMAC_KEY);
    }

    fn path(&mut self, value: &str) {
        self.relative |= !value.starts_with('/') && Path::new(value).exists();
    }
}

/// The kinds of provider that were used.
fn kinds(provider: Option<&str>, config: &Config) -> Vec<&'static Kind> {
    match provider.filter(|name| !name.is_empty()) {
        Some(name) => match config.provider(name) {
            Some(configured) => vec![configured.kind],
            None => dnseal_providers::kind(name).into_iter().collect(),
        },
        None => config.providers.iter().map(|p| p.kind).collect(),
    }
}

/// A word as a shell reads it back; `%` is cron's own.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+".contains(c);
    let is_plain = !word.is_empty() && word.chars().all(plain);
    match is_plain {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('%', "\\%").replace('\'', "'\\''")),
    }
}

/// Flags for one run only.
const ONCE: &[&str] = &[
    "--force",
    "--new-key",
    "--replace-names",
    "--verbose",
    "-v",
    "-vv",
    "-vvv",
];

/// Variables that are no secrets and say what happens. `DNSEAL_SET` has several lines, and becomes `--set`.
const PLAIN: &[&str] = &[
    env_vars::ACCOUNT,
    env_vars::ACME_EAB_KID,
    env_vars::AGREE_TOS,
    env_vars::CA,
    env_vars::CA_ROOT,
    env_vars::CONFIG,
    env_vars::DIR,
    env_vars::EAB_HMAC_KEY_FILE,
    env_vars::EAB_KID,
    env_vars::EMAIL,
    env_vars::FAMILY,
    env_vars::KEY_TYPE,
    env_vars::LIVE,
    env_vars::LOG_FILE,
    env_vars::NAMESERVER,
    env_vars::PREFERRED_CHAIN,
    env_vars::PREFERRED_PROFILE,
    env_vars::PROFILE,
    env_vars::PROPAGATION,
    env_vars::PROPAGATION_TIMEOUT,
    env_vars::PROVIDER,
    env_vars::QUORUM,
    env_vars::RESOLVER,
    env_vars::SETTLE,
    env_vars::STORE,
    env_vars::XDG_CONFIG_HOME,
    env_vars::XDG_STATE_HOME,
];

/// What leads to credentials of AWS beside the settings.
const OF_AWS: &[&str] = &[
    "AWS_CONFIG_FILE",
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn again(words: &[&str], variables: &[(&str, &str)]) -> Again {
        let kinds = kinds(Some("rfc2136"), &Config::default());
        Again::new(
            "/bin/dnseal",
            words.iter().map(|w| (*w).to_owned()),
            &|name| {
                let found = variables.iter().find(|(n, _)| *n == name);
                found.map(|(_, value)| (*value).to_owned())
            },
            &kinds,
            &Config::default(),
        )
    }

    #[test]
    fn secrets_are_in_neither_and_their_files_are_asked_for() {
        let words = [
            "issue",
            "*.a.test",
            "--eab-hmac-key",
            "-canary",
            "--set",
            "tsig.secret=canary",
            "--set=server=ns1.a.test",
            "--force",
            "--eab-hmac-key=canary",
            "--set=tsig.secret=canary",
        ];
        let made = again(&words, &[("DNSEAL_SET", "tsig.name=unused")]);
        assert!(!made.text().contains("canary"), "{made:?}");
        assert_eq!(
            made.line,
            "17 3 * * *  /bin/dnseal issue '*.a.test' --set server=ns1.a.test"
        );
        assert_eq!(made.needed.len(), 2, "{made:?}");
        assert!(made.text().contains("    RFC2136_TSIG_SECRET_FILE=…"));
        assert!(made.text().contains("    DNSEAL_EAB_HMAC_KEY_FILE=…"));
    }

    #[test]
    fn variables_stand_in_front() {
        let made = again(
            &["issue", "a.test"],
            &[
                ("DNSEAL_DIR", "/srv/my certs"),
                ("DNSEAL_OUTPUT", "text"),
                ("DNSEAL_PROVIDER", "rfc2136"),
                ("DNSEAL_SET", "ttl=60\ntsig.secret=canary\n"),
                ("RFC2136_NAMESERVER", "ns1.a.test"),
                ("RFC2136_TSIG_SECRET", "canary"),
                ("DNSUPDATE_TSIG_SECRET", "canary"),
            ],
        );
        assert_eq!(
            made.line,
            "17 3 * * *  DNSEAL_DIR='/srv/my certs' DNSEAL_PROVIDER=rfc2136 RFC2136_NAMESERVER=ns1.a.test \
             /bin/dnseal issue a.test --set ttl=60"
        );
        assert_eq!(made.needed.len(), 1, "{made:?}");

        let whole = again(
            &["issue", "a.test"],
            &[("RFC2136_TSIG_SECRET_FILE", "/run/secrets/tsig")],
        );
        assert!(whole.needed.is_empty(), "{whole:?}");
        assert!(
            whole
                .line
                .contains("RFC2136_TSIG_SECRET_FILE=/run/secrets/tsig /bin/dnseal")
        );
    }
}
