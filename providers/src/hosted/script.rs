//! One call of a user's script: its arguments and variables are the contract's, its exit status is its word.
//!
//! The environment is clean: what the script needs of its own comes from the map `env.*` of the provider's settings. Standard input
//! is closed, so that a script that asks is told that nobody answers. It is stopped when it takes too long.

use std::time::Duration;

use dnseal_core::dns::Capabilities;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::WriteSafety;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use tokio::process::Command;

use crate::program;
use crate::program::Call;
use crate::program::Log;
use crate::program::trust;
use crate::redact::Secrets;
use crate::registry::Context;
use crate::registry::Form;
use crate::registry::Setting;
use crate::settings::Checked;
use crate::settings::SettingsError;

/// A script with what it gets beside its contract.
#[derive(Debug)]
pub(super) struct Script {
    command: Vec<String>,
    env: Vec<(String, SecretString)>,
    log: Log,
    timeout: Duration,
}

impl Script {
    /// The script that stands at `key`.
    pub(super) fn new(
        key: &'static str,
        settings: &Checked,
        context: &Context,
    ) -> Result<Self, SettingsError> {
        let text = settings.text(key).ok_or_else(|| settings.missing(key))?;
        // A variable of another tool holds one path, which may have blanks in it.
        let mut command = match std::path::Path::new(text).is_file() {
            true => vec![text.to_owned()],
            false => settings.words(key)?,
        };
        if let Some(program) = command.first_mut()
            && program.contains('/')
            && let Ok(path) = std::path::absolute(&program)
        {
            *program = path.display().to_string();
        }
        trust::check_command(&command).map_err(|error| {
            let hint = error.hint();
            let error = SettingsError::malformed(key, error.to_string());
            match hint {
                Some(hint) => error.with_hint(hint),
                None => error,
            }
        })?;
        let env: Vec<(String, SecretString)> = settings
            .map(ENV)
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        let secrets: Secrets = env
            .iter()
            .map(|(_, value)| value.clone())
            .filter(Log::may_be_secret)
            .collect();
        Ok(Self {
            log: Log::new(settings.kind().kind, context.events().clone(), secrets),
            command,
            env,
            timeout: settings.duration(TIMEOUT)?.unwrap_or(DEFAULT_TIMEOUT),
        })
    }

    /// The script, for messages.
    pub(super) fn name(&self) -> String {
        self.command.join(" ")
    }

    /// What it can do: the contract has no word for how it writes, so that it is the script's.
    pub(super) fn capabilities(&self) -> Capabilities {
        Capabilities {
            outlives: Some(self.timeout),
            unconfirmed: true,
            ..Capabilities::new(60, WriteSafety::ReadModifyWrite)
        }
    }

    /// Runs it; gives what it wrote to standard output.
    pub(super) async fn run(
        &self,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<String, ProviderError> {
        let refused = |detail: String, hint: Option<String>| ProviderError::Refused {
            detail,
            endpoint: self.name(),
            hint,
        };
        // Its owner may have changed since.
        trust::check_command(&self.command)
            .map_err(|error| refused(error.to_string(), error.hint()))?;
        let Some((program, first)) = self.command.split_first() else {
            return Err(refused("there is no program".to_owned(), None));
        };
        let mut command = Command::new(program);
        command.args(first).args(arguments);
        program::contain(&mut command);
        for (name, value) in &self.env {
            command.env(name, value.expose_secret());
        }
        command.envs(variables.iter().copied());
        let call = Call {
            endpoint: self.name(),
            log: &self.log,
            timeout: self.timeout,
        };
        let ended = call.run(command).await?;
        match ended.status.success() {
            true => Ok(ended.output.trim().to_owned()),
            false => Err(refused(
                ended.words(1),
                Some("`-v` shows everything that it says".to_owned()),
            )),
        }
    }
}

/// Variables of the script's own.
pub(super) const ENV_SETTING: Setting = Setting {
    aliases: &[],
    default: None,
    env: &[],
    form: Form::Secret,
    help: "An environment variable for the script, such as `env.API_TOKEN`; it gets no others but the contract's, PATH and LANG",
    key: ENV,
    required: false,
};

/// How long it may take.
pub(super) const TIMEOUT_SETTING: Setting = Setting {
    aliases: &[],
    default: Some("2m"),
    env: &["DNSEAL_SCRIPT_TIMEOUT"],
    form: Form::Duration,
    help: "How long one call of the script may take before it is stopped",
    key: TIMEOUT,
    required: false,
};

pub(super) const ENV: &str = "env.*";
pub(super) const TIMEOUT: &str = "timeout";
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);
