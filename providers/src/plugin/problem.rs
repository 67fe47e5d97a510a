//! What goes wrong with a plugin, in words for whoever wrote it and for whoever uses it.
//!
//! An error of the plugin's own becomes that of the provider trait. An answer that cannot be read, or that only a broken plugin
//! gives, is [a breach](is_breach): nobody can tell what it means, so that it stands for no error of the trait.

use std::fmt;
use std::path::Path;
use std::path::PathBuf;

use dnseal_core::dns::DomainName;
use dnseal_core::dns::ProviderError;

use crate::plugin::TIMEOUT;
use crate::plugin::first_line;
use crate::plugin::protocol::PROTOCOL;
use crate::plugin::session::CallError;
use crate::program::TrustError;

/// Whether the error says that an answer of a plugin could not be read; the trait has no variant for that.
pub(crate) fn is_breach(error: &ProviderError) -> bool {
    matches!(error, ProviderError::Misconfigured { detail, .. } if detail.contains(BREAKS))
}

/// Why a plugin cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the plugin {who} cannot be used: {problem}")]
pub struct PluginError {
    problem: Problem,
    /// Its name, or its program.
    who: String,
}

impl PluginError {
    pub(super) fn new(who: String, problem: Problem) -> Self {
        Self { problem, who }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        self.problem.hint()
    }

    /// The same about a plugin that is called so in the configuration.
    #[must_use]
    pub fn called(self, name: &str) -> Self {
        Self {
            who: format!("`{name}`"),
            ..self
        }
    }

    pub(super) fn untrusted(name: &str, error: TrustError) -> Self {
        Self::new(format!("`{name}`"), Problem::start(error.into()))
    }

    pub(super) fn several(name: &str, path: PathBuf) -> Self {
        Self::new(format!("`{name}`"), Problem::Reserved(path))
    }
}

/// What is wrong with it.
#[derive(Debug)]
pub(super) enum Problem {
    Call {
        error: CallError,
        method: &'static str,
    },
    Protocol(u64),
    Reserved(PathBuf),
    Unfit(String),
}

impl Problem {
    /// What kept it from being started.
    pub(super) fn start(error: CallError) -> Self {
        Self::Call {
            error,
            method: "describe",
        }
    }

    /// The same, in a place where the plugin knows a method or is broken.
    fn checked(self) -> Self {
        match self {
            Self::Call {
                error: CallError::Answered(error),
                method,
            } if error.is_unknown_method() && ESSENTIAL.contains(&method) => Self::Unfit(format!(
                "it does not know `{method}`, which every plugin has to"
            )),
            problem => problem,
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Call { error, .. } => error.hint(),
            Self::Protocol(version) if *version > u64::from(PROTOCOL) => {
                Some("update dnseal, or install an older version of the plugin".to_owned())
            }
            Self::Protocol(_) => Some("install a newer version of the plugin".to_owned()),
            Self::Reserved(_) => Some("give it another name".to_owned()),
            Self::Unfit(_) => Some(format!(
                "{TO_MEND}; docs/plugin-protocol.md has what it should say"
            )),
        }
    }

    /// As an error of the provider at `endpoint`; `about` is the name or zone of the call.
    pub(super) fn into_provider_error(
        self,
        endpoint: String,
        about: Option<&DomainName>,
    ) -> ProviderError {
        let problem = self.checked();
        let hint = problem.hint();
        match problem {
            Self::Call {
                error: CallError::Answered(error),
                method,
            } if method != "describe" => error.into_provider_error(method, endpoint, about),
            Self::Call {
                error: CallError::Ended { .. } | CallError::TimedOut { .. },
                ..
            } => ProviderError::Failed {
                detail: problem.to_string(),
                endpoint,
                hint,
            },
            Self::Call {
                error: CallError::Broken(_),
                ..
            }
            | Self::Unfit(_) => ProviderError::Misconfigured {
                detail: format!("{endpoint}{BREAKS}{problem}"),
                hint,
            },
            problem => ProviderError::Misconfigured {
                detail: format!("{endpoint} cannot be used: {problem}"),
                hint,
            },
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { error, method } => match error {
                CallError::Answered(error) => write!(
                    f,
                    "it answered `{method}` with error {}: {}",
                    error.code, error.message
                ),
                CallError::Broken(what) => f.write_str(what),
                CallError::Ended { how, said, .. } => {
                    write!(f, "{how} when it was asked to `{method}`")?;
                    match said {
                        Some(said) => write!(f, ", and last said: {said}"),
                        None => Ok(()),
                    }
                }
                CallError::NotStarted { source, .. } => {
                    write!(f, "it cannot be started: {source}")
                }
                CallError::TimedOut {
                    again, patience, ..
                } => {
                    let seconds = patience.as_secs_f64();
                    write!(f, "no answer to `{method}` within {seconds}s")?;
                    if let Some(again) = again {
                        write!(f, ", and it answered request {again} again in the meantime")?;
                    }
                    f.write_str("; it was stopped")
                }
                CallError::Untrusted(error) => error.fmt(f),
            },
            Self::Protocol(version) => write!(
                f,
                "it speaks version {version} of the plugin protocol, and this program speaks {PROTOCOL}"
            ),
            Self::Reserved(path) => write!(
                f,
                "{} has the name of a provider that is built in",
                path.display()
            ),
            Self::Unfit(what) => f.write_str(what),
        }
    }
}

impl CallError {
    /// A program that did not start.
    pub(super) fn not_started(program: &Path, source: std::io::Error) -> Self {
        let of_file =
            source.kind() == std::io::ErrorKind::NotFound || source.raw_os_error() == Some(NO_EXEC);
        Self::NotStarted {
            hint: of_file.then(|| first_line::hint(program)),
            source,
        }
    }

    /// What to do about it.
    fn hint(&self) -> Option<String> {
        match self {
            Self::Answered(_) => None,
            Self::Broken(_) => Some(format!(
                "a plugin writes one answer a line to standard output, and everything else to standard error; {TO_MEND}"
            )),
            Self::Ended {
                hint: Some(hint), ..
            } => Some(hint.clone()),
            Self::Ended { well: true, .. } => Some(
                "a plugin answers one request after the other until `shutdown` or the end of its input"
                    .to_owned(),
            ),
            Self::Ended { .. } => Some(format!("`-v` shows everything that it says; {TO_MEND}")),
            Self::NotStarted { hint, .. } => hint.clone(),
            Self::TimedOut { mute: true, .. } => {
                Some("is its output flushed after each line?".to_owned())
            }
            Self::TimedOut { again: Some(_), .. } => {
                Some("an answer has the `id` of its request, and there is one for each".to_owned())
            }
            Self::TimedOut { .. } => Some(format!(
                "`-v` shows what it says meanwhile; `{TIMEOUT}` gives it more time"
            )),
            Self::Untrusted(error) => error.hint(),
        }
    }
}

impl From<TrustError> for CallError {
    fn from(error: TrustError) -> Self {
        Self::Untrusted(error)
    }
}

/// What stands between the plugin and what it did; no message of a plugin's own has it.
const BREAKS: &str = " breaks the plugin protocol: ";
/// For its author as for anybody else.
const TO_MEND: &str = "the plugin has to be mended";
/// What no plugin can do without.
const ESSENTIAL: [&str; 3] = ["apply", "configure", "zone_of"];
/// ENOEXEC.
const NO_EXEC: i32 = 8;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn silence_is_told_by_what_was_heard_before() {
        let silence = |again, mute| {
            let problem = Problem::Call {
                error: CallError::TimedOut {
                    again,
                    mute,
                    patience: Duration::from_secs(10),
                },
                method: "describe",
            };
            (problem.to_string(), problem.hint().unwrap())
        };
        let (error, hint) = silence(None, true);
        assert_eq!(error, "no answer to `describe` within 10s; it was stopped");
        assert!(hint.contains("flushed after each line"), "{hint}");
        let (error, _) = silence(Some(1), false);
        assert!(error.contains("it answered request 1 again"), "{error}");
        let (_, hint) = silence(None, false);
        assert!(hint.contains(TIMEOUT), "{hint}");
    }
}
