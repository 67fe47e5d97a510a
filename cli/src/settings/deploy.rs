//! Where certificates go on this machine, and what the commands there find in their environment.

use std::collections::BTreeMap;
use std::ffi::OsString;

use dnseal_core::deploy::Content;
use dnseal_core::deploy::HookKind;
use dnseal_core::deploy::Target;
use dnseal_core::deploy::TargetFile;
use dnseal_core::store::CertId;
use secrecy::SecretString;

use crate::config;
use crate::config::Config;
use crate::error::CliError;

/// Whether passwords are fetched, which may run programs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Passwords {
    Fetched,
    LeftAlone,
}

/// Where certificates go, looked up for many of them: the hook directory is read once.
#[derive(Debug)]
pub(crate) struct Destinations<'a> {
    config: &'a Config,
    certificates: BTreeMap<&'a CertId, &'a config::Certificate>,
    scripts: Vec<Target>,
}

impl<'a> Destinations<'a> {
    pub(crate) fn read(config: &'a Config) -> Result<Self, CliError> {
        let mut destinations = Self::without_scripts(config);
        if let Some(directory) = &config.hooks.directory {
            for (name, script) in directory.scripts(HookKind::Deploy)? {
                destinations.scripts.push(Target {
                    label: format!("script {name}"),
                    files: Vec::new(),
                    command: Some(script),
                    each: true,
                });
            }
        }
        Ok(destinations)
    }

    /// The same where the hook directory cannot be used.
    pub(crate) fn without_scripts(config: &'a Config) -> Self {
        Self {
            config,
            certificates: config.certificates.iter().map(|c| (&c.id, c)).collect(),
            scripts: Vec::new(),
        }
    }

    /// The targets of a certificate: scripts of the hook directory, what the configuration says of it or of all, hooks of the whole run.
    pub(crate) fn targets(
        &self,
        id: &CertId,
        passwords: Passwords,
    ) -> Result<Vec<Target>, CliError> {
        let mut targets = self.scripts.clone();
        let own = self.certificates.get(id).and_then(|c| c.deploy.as_ref());
        for target in own.unwrap_or(&self.config.deploy) {
            let files = target
                .files
                .iter()
                .map(|file| one_file(file, id, passwords))
                .collect::<Result<_, CliError>>()?;
            targets.push(Target {
                label: config::named(&target.label, id),
                files,
                command: target.command.clone(),
                each: target.each,
            });
        }
        for hook in &self.config.hooks.deploy {
            targets.push(Target {
                label: format!("hook {}", hook.shown()),
                files: Vec::new(),
                command: Some(hook.clone()),
                each: false,
            });
        }
        Ok(targets)
    }
}

/// The variables that every command on this machine gets: none of ours, because some of those are secrets.
pub(crate) fn variables(config: &Config) -> Vec<(String, OsString)> {
    let mut variables: Vec<(String, OsString)> = Vec::new();
    let passed = PASSED.iter().copied();
    for name in passed.chain(config.hooks.pass.iter().map(String::as_str)) {
        if let Some(value) = std::env::var_os(name)
            && !variables.iter().any(|(known, _)| known == name)
        {
            variables.push((name.to_owned(), value));
        }
    }
    if !variables.iter().any(|(name, _)| name == "PATH") {
        variables.push(("PATH".to_owned(), DEFAULT_PATH.into()));
    }
    variables
}

fn one_file(
    file: &config::TargetFile,
    id: &CertId,
    passwords: Passwords,
) -> Result<TargetFile, CliError> {
    let path = file.path_of(id);
    let content = match &file.content {
        config::Content::Cert => Content::Cert,
        config::Content::Chain => Content::Chain,
        config::Content::Combined => Content::Combined,
        config::Content::FullChain => Content::FullChain,
        config::Content::Key => Content::Key,
        config::Content::Pkcs12 { password } => Content::Pkcs12 {
            password: match passwords {
                Passwords::LeftAlone => SecretString::default(),
                Passwords::Fetched => password.resolve().map_err(|source| CliError::Secret {
                    what: format!("the password of {}", path.display()),
                    source,
                })?,
            },
        },
    };
    Ok(TargetFile {
        path,
        content,
        access: file.access.clone(),
    })
}

/// What programs need to find things and to speak to services of this user.
const PASSED: &[&str] = &[
    "DBUS_SESSION_BUS_ADDRESS",
    "HOME",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "LOGNAME",
    "PATH",
    "SHELL",
    "TMPDIR",
    "TZ",
    "USER",
    "XDG_RUNTIME_DIR",
];

/// Where programs are looked for when nothing else is said, as cron may do.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
