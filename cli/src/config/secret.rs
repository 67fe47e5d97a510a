//! A secret that stays a reference until it is needed.

use std::fmt;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use secrecy::ExposeSecret;
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::config::REDACTED;
use crate::input;

/// Where a secret, or any other setting, comes from.
#[derive(Clone)]
pub(crate) enum Secret {
    /// The standard output of a program.
    Command(Vec<String>),
    /// An environment variable.
    Env(String),
    /// A file.
    File(PathBuf),
    /// The text itself.
    Literal(SecretString),
}

impl Secret {
    /// Fetches it; the newline that files and programs end with is not part of it.
    pub(crate) fn resolve(&self) -> Result<SecretString, SecretError> {
        match self {
            Self::Command(words) => run(words, COMMAND_TIMEOUT),
            Self::Env(name) => match std::env::var(name) {
                Ok(value) if !value.is_empty() => Ok(value.into()),
                _ => Err(SecretError::Unset { name: name.clone() }),
            },
            Self::File(path) => read(path),
            Self::Literal(text) => Ok(text.clone()),
        }
    }
}

impl Eq for Secret {}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Command(a), Self::Command(b)) => a == b,
            (Self::Env(a), Self::Env(b)) => a == b,
            (Self::File(a), Self::File(b)) => a == b,
            (Self::Literal(a), Self::Literal(b)) => a.expose_secret() == b.expose_secret(),
            _ => false,
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(words) => f.debug_tuple("Command").field(&words.first()).finish(),
            Self::Env(name) => f.debug_tuple("Env").field(name).finish(),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Literal(_) => f.write_str(REDACTED),
        }
    }
}

/// Why a secret could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("`{program}` ended with {status}, and its output is no secret")]
    Failed {
        program: String,
        status: std::process::ExitStatus,
    },
    #[error("`{program}` printed nothing that is text")]
    NoOutput { program: String },
    #[error("failed to run `{program}`: {source}")]
    NotRun { program: String, source: io::Error },
    #[error("{from} gives far more bytes than any secret has")]
    TooLong { from: String },
    #[error("`{program}` was not done after {}s", after.as_secs())]
    TooSlow { program: String, after: Duration },
    #[error("failed to read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the environment variable {name} is not set")]
    Unset { name: String },
}

impl SecretError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unreadable { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Some(
                    "a relative path in the configuration file is relative to the directory of that file",
                ),
                io::ErrorKind::PermissionDenied => {
                    Some("the user that runs dnseal has to be allowed to read it")
                }
                _ => None,
            },
            _ => None,
        }
    }
}

fn read(path: &Path) -> Result<SecretString, SecretError> {
    let unreadable = |source| SecretError::Unreadable {
        // Whoever reads it in a log knows no working directory.
        path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
        source,
    };
    match input::read_text(path) {
        Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).into()),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Err(SecretError::TooLong {
            from: path.display().to_string(),
        }),
        Err(error) => Err(unreadable(error)),
    }
}

/// Without a shell, so that no word is read as anything but itself. Its errors go where ours go.
fn run(words: &[String], at_most: Duration) -> Result<SecretString, SecretError> {
    let (program, arguments) = words
        .split_first()
        .map_or(("", &[][..]), |(program, rest)| (program.as_str(), rest));
    let named = || program.to_owned();
    let not_run = |source| SecretError::NotRun {
        program: named(),
        source,
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(not_run)?;
    let (sender, receiver) = mpsc::channel();
    if let Some(output) = child.stdout.take() {
        thread::spawn(move || sender.send(text(output)));
    }
    // Its end closes its output; who closes that earlier and lives on has nothing more to say.
    let said = receiver.recv_timeout(at_most);
    if said.as_ref().is_ok_and(|text| matches!(text, Ok(Some(_)))) {
        let status = child.wait().map_err(not_run)?;
        if !status.success() {
            return Err(SecretError::Failed {
                program: named(),
                status,
            });
        }
    } else {
        let _ = child.kill();
        let _ = child.wait();
    }
    match said {
        Ok(Ok(Some(text))) if text.expose_secret().is_empty() => {
            Err(SecretError::NoOutput { program: named() })
        }
        Ok(Ok(Some(text))) => Ok(text),
        Ok(Ok(None)) => Err(SecretError::TooLong {
            from: format!("`{program}`"),
        }),
        Ok(Err(_)) => Err(SecretError::NoOutput { program: named() }),
        Err(_) => Err(SecretError::TooSlow {
            program: named(),
            after: at_most,
        }),
    }
}

/// All of a text but the newline at its end; `None` if it is longer than any secret is.
fn text(from: impl Read) -> io::Result<Option<SecretString>> {
    let mut bytes = Zeroizing::new(Vec::new());
    from.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Ok(None);
    }
    let text = input::text(&bytes)?;
    Ok(Some(text.trim_end_matches(['\r', '\n']).into()))
}

/// Longer than any key, certificate or credentials file that a provider takes.
const LONGEST: u64 = 256 * 1024;
/// A password manager may have to ask a server.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_gives_its_text_without_the_newline() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "-abc\n").unwrap();
        assert_eq!(
            Secret::File(path).resolve().unwrap().expose_secret(),
            "-abc"
        );
        let echo = Secret::Command(vec!["echo".into(), "x y".into()]);
        assert_eq!(echo.resolve().unwrap().expose_secret(), "x y");
        let error = Secret::Command(vec!["false".into()]).resolve().unwrap_err();
        assert!(matches!(error, SecretError::Failed { .. }), "{error}");
        let error = Secret::Env("DNSEAL_TEST_UNSET".into())
            .resolve()
            .unwrap_err();
        assert!(error.to_string().contains("DNSEAL_TEST_UNSET"), "{error}");
    }

    #[test]
    fn who_never_ends_is_not_waited_for() {
        let failing = |words: &[&str], at_most| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            run(&words, at_most).unwrap_err()
        };
        let error = failing(&["cat", "/dev/zero"], COMMAND_TIMEOUT);
        assert!(matches!(error, SecretError::TooLong { .. }), "{error}");
        let error = failing(&["tail", "-f", "/dev/null"], Duration::from_millis(50));
        assert!(matches!(error, SecretError::TooSlow { .. }), "{error}");
        let error = Secret::File("/dev/zero".into()).resolve().unwrap_err();
        assert!(matches!(error, SecretError::TooLong { .. }), "{error}");
    }

    #[test]
    fn a_file_that_is_not_there_is_told_with_its_whole_path() {
        let error = Secret::File("nosuch.conf".into()).resolve().unwrap_err();
        let whole = std::env::current_dir().unwrap().join("nosuch.conf");
        let said = error.to_string();
        assert!(said.contains(whole.to_str().unwrap()), "{said}");
        assert!(error.hint().unwrap().contains("relative to"), "{error:?}");
    }

    #[test]
    fn a_literal_is_never_shown() {
        assert_eq!(
            format!("{:?}", Secret::Literal("canary".into())),
            "[redacted]"
        );
    }
}
