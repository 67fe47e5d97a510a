//! Finding and reading the configuration file.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::ConfigError;
use crate::config::error::nearest;
use crate::config::nesting::too_deep;
use crate::config::raw;
use crate::env_vars;
use crate::input;

/// The configuration file that is used when none is named: the system's, else the user's.
pub(crate) fn find() -> Option<PathBuf> {
    let user = env_vars::get(env_vars::XDG_CONFIG_HOME)
        .map(PathBuf::from)
        .or_else(|| env_vars::get(env_vars::HOME).map(|home| Path::new(&home).join(".config")))
        .map(|dir| dir.join("dnseal").join("dnseal.yaml"));
    [Some(PathBuf::from(SYSTEM)), user]
        .into_iter()
        .flatten()
        .find(|path| path.exists())
}

/// The text of a configuration file and where it came from. Its `Debug` leaves the text out, which may hold secrets.
pub(crate) struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// Reads the file, and refuses one that others may write.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let failed = |error: io::Error| {
            let hint = match error.kind() {
                io::ErrorKind::NotFound => Some(
                    "name it with `--config FILE`, or leave that out to do without one".to_owned(),
                ),
                io::ErrorKind::PermissionDenied => {
                    Some("run as a user that may read it".to_owned())
                }
                _ => None,
            };
            ConfigError::whole(path, format!("cannot read {}: {error}", path.display()))
                .with_hint(hint)
        };
        let file = input::open(path).map_err(failed)?;
        check_owner(path, &file)?;
        let content = input::rest_within(file, LONGEST, PATIENCE).map_err(failed)?;
        let mut text = input::text(&content).map_err(failed)?;
        // Editors of some systems begin a file with it, and the parser takes what follows for another document.
        if text.starts_with(BYTE_ORDER_MARK) {
            text.remove(0);
        }
        Ok(Self {
            path: path.to_owned(),
            text: std::mem::take(&mut *text),
        })
    }

    #[cfg(test)]
    pub(crate) fn of(text: &str) -> Self {
        Self {
            path: PathBuf::from("dnseal.yaml"),
            text: text.to_owned(),
        }
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What is in it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// A path in the file: relative to the directory of the file.
    pub(crate) fn resolve(&self, path: &str) -> PathBuf {
        match self.path.parent() {
            Some(dir) => dir.join(path),
            None => PathBuf::from(path),
        }
    }

    /// Reads the text into the types of [`raw`].
    pub(crate) fn parse(&self) -> Result<raw::Config, ConfigError> {
        if self.text.trim().is_empty() {
            return Ok(raw::Config::default());
        }
        if let Some(place) = too_deep(&self.text) {
            let (line, column) = place;
            let message =
                format!("brackets are nested too deep here, at line {line}, column {column}");
            return Err(ConfigError::at(self, Some(place), message)
                .with_hint("is one not closed?".to_owned()));
        }
        serde_yaml::from_str(&self.text).map_err(|error| self.explain(&error))
    }

    fn explain(&self, error: &serde_yaml::Error) -> ConfigError {
        let place = error.location().map(|l| (l.line(), l.column()));
        let mut message = error.to_string();
        if let Some(location) = error.location() {
            let suffix = format!(" at line {} column {}", location.line(), location.column());
            message = message.replace(&suffix, "");
        }
        let Some(unknown) = Unknown::parse(&message) else {
            let (message, hint) = self.in_our_words(error, without_value(&message));
            return ConfigError::at(self, place, message).with_hint(hint);
        };
        if let Some((_, since)) = LATER.iter().find(|(key, _)| *key == unknown.name) {
            return ConfigError::at(
                self,
                place,
                format!("`{}` is not supported yet", unknown.name),
            )
            .with_hint(Some((*since).to_owned()));
        }
        let hint = match nearest(unknown.name, unknown.known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there is {}", unknown.known.join(", ")),
        };
        let message = match unknown.is_value {
            true => format!("`{}` is no value that fits here", unknown.name),
            false => format!("there is no key `{}` here", unknown.name),
        };
        ConfigError::at(self, place, message).with_hint(hint)
    }
}

impl Source {
    /// What the parser means, where its words help nobody.
    fn in_our_words(&self, error: &serde_yaml::Error, message: String) -> (String, Option<String>) {
        if let Some(before) = message.strip_suffix(", expected a sequence") {
            let (path, _) = before.split_once(": ").unwrap_or(("", ""));
            let key = path.rsplit('.').next().unwrap_or_default();
            let message = match key.split('[').next().unwrap_or_default() {
                "names" => format!("{before}, expected a list, such as [example.com]"),
                "command" | "run" => {
                    format!("{before}, expected a list, such as [systemctl, reload, nginx]")
                }
                "deploy" | "post" | "pre" => {
                    format!(
                        "{before}, expected a list, such as [{{ run: [systemctl, reload, nginx] }}]"
                    )
                }
                "events" => format!("{before}, expected a list, such as [expiring, failed]"),
                "nameservers" | "resolvers" => {
                    format!("{before}, expected a list, such as [192.0.2.1]")
                }
                _ => format!("{before}, expected a list"),
            };
            return (message, None);
        }
        if message.ends_with(", expected a boolean") {
            let hint = "write `true` or `false`, without quotes";
            return (message, Some(hint.to_owned()));
        }
        let line = error
            .location()
            .and_then(|l| self.text.lines().nth(l.line().saturating_sub(1)))
            .unwrap_or_default();
        if message.contains("cannot start any token") && line.contains('\t') {
            let message = "a tab stands here, where YAML takes spaces only".to_owned();
            let hint = "indent with spaces";
            return (message, Some(hint.to_owned()));
        }
        if let Some(wildcard) = bare_wildcard(line)
            && (message.contains("alias") || message.contains("alphabetic or numeric"))
        {
            let message = format!(
                "`{wildcard}` without quotes is no text: `*` has a meaning of its own in YAML"
            );
            return (message, Some(format!("write \"{wildcard}\"")));
        }
        (message, None)
    }
}

/// The first wildcard in `line` that no quote stands before.
fn bare_wildcard(line: &str) -> Option<&str> {
    let (at, _) = line
        .match_indices("*.")
        .find(|(at, _)| !line[..*at].ends_with(['"', '\'']))?;
    let rest = &line[at..];
    let end = rest
        .find(|c: char| c.is_whitespace() || ",]}#\"'".contains(c))
        .unwrap_or(rest.len());
    rest.get(..end)
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// What serde says when it meets a name it does not know.
struct Unknown<'a> {
    name: &'a str,
    known: Vec<&'a str>,
    is_value: bool,
}

impl<'a> Unknown<'a> {
    fn parse(message: &'a str) -> Option<Self> {
        let (is_value, rest) = match message.split_once("unknown field ") {
            Some((_, rest)) => (false, rest),
            None => (true, message.split_once("unknown variant ")?.1),
        };
        let mut quoted = rest.split('`').skip(1).step_by(2);
        Some(Self {
            name: quoted.next()?,
            known: quoted.collect(),
            is_value,
        })
    }
}

/// Takes out the text that is of the wrong type, because it may be a misplaced secret.
fn without_value(message: &str) -> String {
    let found = message
        .split_once(": string \"")
        .and_then(|(before, rest)| Some((before, rest.rsplit_once("\", expected ")?.1)));
    match found {
        Some((before, expected)) => format!("{before}: a text, expected {expected}"),
        None => message.to_owned(),
    }
}

/// A configuration names commands and trusted roots: whoever may write it may run them.
#[cfg(unix)]
fn check_owner(path: &Path, file: &std::fs::File) -> Result<(), ConfigError> {
    use std::os::unix::fs::MetadataExt;

    let metadata = file.metadata().map_err(|error| {
        ConfigError::whole(path, format!("cannot look at {}: {error}", path.display()))
    })?;
    let me = rustix::process::geteuid().as_raw();
    let problem = match metadata.mode() & 0o7777 {
        mode if mode & 0o022 != 0 && metadata.is_file() => format!("its mode is {mode:04o}"),
        _ if metadata.uid() != me && metadata.uid() != 0 => {
            format!("user {} owns it", metadata.uid())
        }
        _ => return Ok(()),
    };
    Err(ConfigError::whole(
        path,
        format!("{} may be changed by others: {problem}", path.display()),
    )
    .with_hint(format!(
        "`chmod go-w {}`, and let root or the user that runs dnseal own it",
        path.display()
    )))
}

#[cfg(not(unix))]
fn check_owner(_: &Path, _: &std::fs::File) -> Result<(), ConfigError> {
    Ok(())
}

/// Room for some ten thousand certificates with all that can be said of them.
const LONGEST: u64 = 16 * 1024 * 1024;
const BYTE_ORDER_MARK: char = '\u{feff}';
/// Whoever writes it into a pipe has it at hand.
const PATIENCE: Duration = Duration::from_secs(10);
/// The configuration of the machine.
const SYSTEM: &str = "/etc/dnseal/dnseal.yaml";

/// Keys and values that the design has and this version has not, and what to do meanwhile.
const LATER: &[(&str, &str)] = &[("preferred-chain", "the CA's default chain is used")];
