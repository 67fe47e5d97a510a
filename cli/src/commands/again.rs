//! The line that runs `renew` from cron, which knows nothing of this shell's variables.
//!
//! What `issue` was told stands in the store, so that the line needs only to find that. Secrets stand nowhere: what has to
//! be given in a file instead is said beside the line.

use std::path::Path;

use dnseal_providers::Form;
use dnseal_providers::Kind;

use crate::args::ProviderArgs;
use crate::config::Config;
use crate::config::Secret;
use crate::env_vars;
use crate::settings::kind_for;

/// A line for cron, and what it lacks.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Again {
    /// Whether a person has to set values each time.
    pub(super) by_person: bool,
    line: String,
    needed: Vec<String>,
}

impl Again {
    /// This process's command; `args` is what it says about the provider.
    pub(super) fn of_this_process(args: &ProviderArgs, config: &Config) -> Self {
        let program = std::env::current_exe()
            .ok()
            .map_or_else(|| "dnseal".to_owned(), |path| path.display().to_string());
        Self::new(
            &program,
            std::env::args().skip(1),
            &env_vars::get,
            &kinds(args, config),
            args.provider.as_deref(),
            config,
        )
    }

    fn new(
        program: &str,
        arguments: impl Iterator<Item = String>,
        variable: &dyn Fn(&str) -> Option<String>,
        kinds: &[&'static Kind],
        provider: Option<&str>,
        config: &Config,
    ) -> Self {
        let mut maker = Maker {
            kinds,
            provider: provider.unwrap_or_default(),
            needed: Vec::new(),
            relative: false,
            words: vec![quoted(program)],
        };
        let sets = maker.arguments(arguments);
        if !sets {
            let set = variable(env_vars::SET).unwrap_or_default();
            for line in set.lines().filter(|line| !line.trim().is_empty()) {
                maker.set(line);
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

        maker.words.push("renew".to_owned());
        let here = match std::env::current_dir() {
            Ok(dir) if maker.relative => format!("cd {} && ", quoted(&dir.display().to_string())),
            _ => String::new(),
        };
        Self {
            by_person: kinds.iter().any(|kind| kind.kind == BY_PERSON),
            line: format!("17 */6 * * *  {here}{variables}{}", maker.words.join(" ")),
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
    /// What it is called.
    provider: &'a str,
    relative: bool,
    words: Vec<String>,
}

impl Maker<'_> {
    /// Takes over what says where things are; says whether there is any `--set`.
    fn arguments(&mut self, mut arguments: impl Iterator<Item = String>) -> bool {
        let mut sets = false;
        while let Some(word) = arguments.next() {
            let (flag, value) = match word.split_once('=') {
                Some((flag, value)) if flag.starts_with("--") => (flag, Some(value.to_owned())),
                _ => (word.as_str(), None),
            };
            let mut value = || value.clone().or_else(|| arguments.next());
            match flag {
                "--set" => {
                    sets = true;
                    if let Some(setting) = value() {
                        self.set(&setting);
                    }
                }
                // Its value may look like a flag.
                "--eab-hmac-key" => drop(value()),
                _ if PLACES.contains(&flag) => {
                    if let Some(value) = value() {
                        let path = std::path::absolute(&value);
                        let path = path.map_or(value, |path| path.display().to_string());
                        self.words.push(flag.to_owned());
                        self.words.push(quoted(&path));
                    }
                }
                _ => {}
            }
        }
        sets
    }

    fn set(&mut self, setting: &str) {
        let key = setting.split_once('=').map_or(setting, |(key, _)| key);
        let known = self.kinds.iter().find_map(|kind| kind.setting(key));
        if let Some(known) = known
            && known.form == Form::Secret
        {
            match known.env.first() {
                Some(variable) => self.need_file(variable),
                None => self.need(format!(
                    "`{key}`, in the configuration file, for a provider called `{}`",
                    self.provider
                )),
            }
        }
    }

    /// `NAME=value ` for each variable that says where things are.
    fn variables(&mut self, variable: &dyn Fn(&str) -> Option<String>) -> String {
        let mut found: Vec<(&str, String)> = Vec::new();
        let aws = self.kinds.iter().any(|kind| kind.kind == "route53");
        let names = PLAIN.iter().chain(OF_AWS.iter().filter(|_| aws));
        // A flag overrules its variable.
        let overruled = |name: &str| {
            let flag = name
                .strip_prefix("DNSEAL_")
                .map(|rest| format!("--{}", rest.to_ascii_lowercase().replace('_', "-")));
            flag.is_some_and(|flag| self.words.contains(&flag))
        };
        found.extend(
            names
                .filter(|name| !overruled(name))
                .filter_map(|name| Some((*name, variable(name)?))),
        );
        let mut secrets = vec![env_vars::ACCOUNT_KEY, env_vars::STORE_KEY];
        secrets.retain(|name| variable(name).is_some());
        for setting in self.kinds.iter().flat_map(|kind| kind.settings) {
            let used = setting.env.iter().find(|name| {
                variable(name).is_some() || variable(&format!("{name}_FILE")).is_some()
            });
            // The name of a file stands in the store.
            if let Some(name) = used.filter(|name| variable(name).is_some())
                && setting.form == Form::Secret
            {
                secrets.push(*name);
            }
        }
        for name in secrets {
            self.need_file(name);
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

    fn path(&mut self, value: &str) {
        self.relative |= !value.starts_with('/') && Path::new(value).exists();
    }
}

/// The kinds of provider that were used.
fn kinds(args: &ProviderArgs, config: &Config) -> Vec<&'static Kind> {
    match args.provider.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => kind_for(name, &args.set, config).into_iter().collect(),
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

const BY_PERSON: &str = "manual";

/// Flags that say where things are, which is all that is not in the store.
const PLACES: &[&str] = &["--config", "--dir", "--live", "--log-file", "--store"];

/// The same as variables.
const PLAIN: &[&str] = &[
    env_vars::ACCOUNT_KEY_FILE,
    env_vars::CONFIG,
    env_vars::DIR,
    env_vars::LIVE,
    env_vars::LOG_FILE,
    env_vars::STORE,
    env_vars::STORE_KEY_FILE,
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
        let provider = ProviderArgs {
            provider: Some("rfc2136".to_owned()),
            ..ProviderArgs::default()
        };
        let kinds = kinds(&provider, &Config::default());
        Again::new(
            "/bin/dnseal",
            words.iter().map(|w| (*w).to_owned()),
            &|name| {
                let found = variables.iter().find(|(n, _)| *n == name);
                found.map(|(_, value)| (*value).to_owned())
            },
            &kinds,
            Some("rfc2136"),
            &Config::default(),
        )
    }

    #[test]
    fn secrets_are_in_neither_and_their_files_are_asked_for() {
        let words = [
            "issue",
            "*.a.test",
            "--dir=/srv/a",
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
        assert_eq!(made.line, "17 */6 * * *  /bin/dnseal --dir /srv/a renew");
        assert_eq!(made.needed.len(), 1, "{made:?}");
        assert!(made.text().contains("    RFC2136_TSIG_SECRET_FILE=…"));
    }

    #[test]
    fn places_are_absolute_and_overrule_their_variables() {
        let made = again(
            &["--config", "mine.yaml", "issue"],
            &[("DNSEAL_CONFIG", "/etc/theirs.yaml")],
        );
        let here = std::env::current_dir().unwrap();
        let path = quoted(&here.join("mine.yaml").display().to_string());
        let wanted = format!("17 */6 * * *  /bin/dnseal --config {path} renew");
        assert_eq!(made.line, wanted);
    }

    #[test]
    fn variables_stand_in_front_where_the_store_does_not_have_them() {
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
            "17 */6 * * *  DNSEAL_DIR='/srv/my certs' /bin/dnseal renew"
        );
        assert_eq!(made.needed.len(), 1, "{made:?}");

        let whole = again(
            &["issue", "a.test"],
            &[("RFC2136_TSIG_SECRET_FILE", "/run/secrets/tsig")],
        );
        assert!(whole.needed.is_empty(), "{whole:?}");
        assert_eq!(whole.line, "17 */6 * * *  /bin/dnseal renew");
    }
}
