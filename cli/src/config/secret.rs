//! A secret that stays a reference until it is needed.

use std::fmt;
use std::path::PathBuf;
use std::process::Stdio;

use secrecy::ExposeSecret;
use secrecy::SecretString;

use crate::config::REDACTED;

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
            Self::Command(words) => run(words),
            Self::Env(name) => match std::env::var(name) {
                Ok(value) if !value.is_empty() => Ok(value.into()),
                _ => Err(SecretError::Unset { name: name.clone() }),
            },
            Self::File(path) => {
                let text =
                    std::fs::read_to_string(path).map_err(|source| SecretError::Unreadable {
                        path: path.clone(),
                        source,
                    })?;
                Ok(text.trim_end_matches(['\r', '\n']).into())
            }
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
    NotRun {
        program: String,
        source: std::io::Error,
    },
    #[error("failed to read {}: {source}", path.display())]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the environment variable {name} is not set")]
    Unset { name: String },
}

/// Without a shell, so that no word is read as anything but itself. Its errors go where ours go.
fn run(words: &[String]) -> Result<SecretString, SecretError> {
    let (program, arguments) = words
        .split_first()
        .map_or(("", &[][..]), |(program, rest)| (program.as_str(), rest));
    let named = || program.to_owned();
    let output = std::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| SecretError::NotRun {
            program: named(),
            source,
        })?;
    if !output.status.success() {
        return Err(SecretError::Failed {
            program: named(),
            status: output.status,
        });
    }
    let text = String::from_utf8(output.stdout).unwrap_or_default();
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(SecretError::NoOutput { program: named() }),
        text => Ok(text.into()),
    }
}

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
    fn a_literal_is_never_shown() {
        assert_eq!(
            format!("{:?}", Secret::Literal("canary".into())),
            "[redacted]"
        );
    }
}
