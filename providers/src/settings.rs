//! What a provider has been told, wherever it was written.
//!
//! The caller gathers a flat map from dotted key to value (`tsig.name`, `tsig.secret`, `server`), from a configuration file,
//! from `--set`, or from the environment by [`Settings::from_env`]. The registry checks it against the [`Kind`]; provider
//! modules then read it through typed getters, whose errors name the key and the variables that would do as well.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use jiff::SignedDuration;
use secrecy::ExposeSecret;
use secrecy::SecretString;

use crate::program::Log;
use crate::redact::Secrets;
use crate::registry::Form;
use crate::registry::Kind;
use crate::registry::Setting;

/// Values by dotted key, not checked yet.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    values: BTreeMap<String, Value>,
}

/// One value; for [`Form::File`] what the file holds.
#[derive(Clone, Debug)]
pub enum Value {
    /// Must not be shown.
    Secret(SecretString),
    /// May be shown.
    Text(String),
}

impl Settings {
    /// No values.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the environment says about a provider of `kind`.
    ///
    /// For each setting the first variable that is set and not empty wins, and a variable wins over its `…_FILE`.
    /// `read_file` gets the path that such a variable holds, and that of a [`Form::File`] setting.
    pub fn from_env(
        kind: &Kind,
        lookup: &dyn Fn(&str) -> Option<String>,
        read_file: &dyn Fn(&str) -> io::Result<String>,
    ) -> Result<Self, SettingsError> {
        let lookup = |variable: &str| lookup(variable).filter(|v| !v.is_empty());
        let read = |variable: &str, path: &str| {
            read_file(path).map_err(|source| SettingsError::Unreadable {
                path: path.to_owned(),
                source,
                variable: variable.to_owned(),
            })
        };

        let mut settings = Self::new();
        for setting in kind.settings {
            for &variable in setting.env {
                let file_variable = format!("{variable}_FILE");
                let value = match (lookup(variable), setting.form) {
                    (Some(path), Form::File) => Some(read(variable, &path)?),
                    (Some(value), _) => Some(value),
                    (None, Form::File) => None,
                    (None, _) => match lookup(&file_variable) {
                        // Editors and `echo` end a file with a newline that nobody means.
                        Some(path) => Some(read(&file_variable, &path)?.trim_end().to_owned()),
                        None => None,
                    },
                };
                if let Some(value) = value {
                    settings.insert(setting.key, Value::new(setting.form, value));
                    break;
                }
            }
        }
        Ok(settings)
    }

    /// The value at `key`, by exactly that key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// Sets `key`; gives back what it was before.
    pub fn insert(&mut self, key: impl Into<String>, value: Value) -> Option<Value> {
        self.values.insert(key.into(), value)
    }

    /// Whether there is no value at all.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The keys in alphabetical order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Takes every value of `other` for a key that has none here.
    pub fn fill_from(&mut self, other: Self) {
        for (key, value) in other.values {
            self.values.entry(key).or_insert(value);
        }
    }

    /// The same with every secret changed, so that a server must refuse it; `None` where there is no secret.
    ///
    /// A secret stays of its form: one character of it becomes another of the same sort.
    pub fn with_bad_secrets(&self, kind: &Kind) -> Option<Self> {
        let mut bad = self.clone();
        let mut changed = false;
        for (key, value) in &mut bad.values {
            // Whether a variable of a user's script is a credential, nobody knows.
            let is_secret = kind.setting(key).is_some_and(|s| {
                s.form == Form::Secret && !s.is_map() && !s.key.starts_with("env.")
            });
            if is_secret && let Some(other) = spoiled(value.expose()) {
                *value = Value::Secret(other.into());
                changed = true;
            }
        }
        changed.then_some(bad)
    }

    /// The same for a service at another address, which is waited for briefly; `None` where no setting says where the service is.
    pub fn pointed_at(&self, kind: &Kind, address: SocketAddr) -> Option<Self> {
        let at = |key: &str| match key {
            "server" => Some(address.to_string()),
            "base-url" | "endpoint" | "url" => Some(format!("http://{address}")),
            _ => None,
        };
        let (key, there) = kind
            .settings
            .iter()
            .filter(|setting| setting.form == Form::Text)
            .find_map(|setting| Some((setting.key, at(setting.key)?)))?;
        let mut other = self.clone();
        other.insert(key, there.into());
        if kind.setting("timeout").is_some() {
            other.insert("timeout", "2s".into());
        }
        Some(other)
    }

    /// Refuses keys that `kind` does not know, and puts aliases under their proper key.
    pub(crate) fn check(self, kind: &'static Kind) -> Result<Checked, SettingsError> {
        let mut maps: BTreeMap<&'static str, Vec<(String, Value)>> = BTreeMap::new();
        let mut values = BTreeMap::new();
        for (key, value) in self.values {
            let Some(setting) = kind.setting(&key) else {
                let keys = kind.settings.iter().map(|s| s.key);
                let aliases = kind.settings.iter().flat_map(|s| s.aliases.iter().copied());
                return Err(SettingsError::Unknown {
                    known: keys.clone().collect(),
                    nearest: nearest(&key, keys.chain(aliases)),
                    key,
                });
            };
            if let Some(inner) = setting.prefix().and_then(|prefix| key.strip_prefix(prefix)) {
                let map = maps.entry(setting.key).or_default();
                map.push((inner.to_owned(), value));
                continue;
            }
            if values.insert(setting.key, value).is_some() {
                return Err(SettingsError::Twice {
                    alias: setting.aliases.join("`, `"),
                    key: setting.key,
                });
            }
        }
        if let Some(missing) = kind
            .settings
            .iter()
            .find(|s| s.required && !values.contains_key(s.key))
        {
            return Err(SettingsError::missing(missing));
        }
        Ok(Checked {
            kind,
            maps,
            name: kind.kind.to_owned(),
            values,
        })
    }
}

impl Value {
    /// The value of a setting of that form.
    pub fn new(form: Form, value: String) -> Self {
        match form {
            Form::File | Form::Secret => Self::Secret(value.into()),
            Form::Duration | Form::Flag | Form::Number | Form::Text | Form::Words => {
                Self::Text(value)
            }
        }
    }

    fn expose(&self) -> &str {
        match self {
            Self::Secret(secret) => secret.expose_secret(),
            Self::Text(text) => text,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// Values whose keys the kind knows.
#[derive(Debug)]
pub(crate) struct Checked {
    kind: &'static Kind,
    maps: BTreeMap<&'static str, Vec<(String, Value)>>,
    name: String,
    values: BTreeMap<&'static str, Value>,
}

impl Checked {
    /// The same for the provider that is called so.
    pub(crate) fn named(self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..self
        }
    }

    /// What the provider is called.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn kind(&self) -> &'static Kind {
        self.kind
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(|v| v.expose().trim())
    }

    pub(crate) fn secret(&self, key: &str) -> Option<SecretString> {
        self.values.get(key).map(|v| v.expose().into())
    }

    /// Everything that must not be shown.
    pub(crate) fn secrets(&self) -> Secrets {
        let secret = |value: &Value| match value {
            Value::Secret(secret) => Some(secret.clone()),
            Value::Text(_) => None,
        };
        // Nobody has called what stands in a map a secret.
        let maps = self.maps.values().flatten();
        let maps = maps.filter_map(|(_, value)| secret(value).filter(Log::may_be_secret));
        self.values
            .values()
            .filter_map(secret)
            .chain(maps)
            .collect()
    }

    /// What is in the map that `key` (such as `zone-ids.*`) stands for.
    pub(crate) fn map(&self, key: &str) -> impl Iterator<Item = (&str, &str)> {
        self.maps
            .get(key)
            .into_iter()
            .flatten()
            .map(|(inner, value)| (inner.as_str(), value.expose().trim()))
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    pub(crate) fn flag(&self, key: &'static str) -> Result<bool, SettingsError> {
        match self.text(key) {
            None | Some("false" | "no" | "0") => Ok(false),
            Some("true" | "yes" | "1") => Ok(true),
            Some(other) => Err(SettingsError::malformed(
                key,
                format!("`{other}` is neither `true` nor `false`"),
            )),
        }
    }

    pub(crate) fn number(&self, key: &'static str) -> Result<Option<u32>, SettingsError> {
        self.text(key)
            .map(|text| {
                text.parse().map_err(|_| {
                    SettingsError::malformed(
                        key,
                        format!("`{text}` is no number from 0 to {}", u32::MAX),
                    )
                })
            })
            .transpose()
    }

    pub(crate) fn duration(&self, key: &'static str) -> Result<Option<Duration>, SettingsError> {
        self.text(key)
            .map(|text| {
                let parsed = match text.parse::<u32>() {
                    Ok(seconds) => Some(Duration::from_secs(seconds.into())),
                    Err(_) => text
                        .parse::<SignedDuration>()
                        .ok()
                        .and_then(|d| Duration::try_from(d).ok()),
                };
                parsed.filter(|d| !d.is_zero()).ok_or_else(|| {
                    SettingsError::malformed(key, format!("`{text}` is no duration such as `10s`"))
                })
            })
            .transpose()
    }

    /// A program and its arguments.
    pub(crate) fn words(&self, key: &'static str) -> Result<Vec<String>, SettingsError> {
        let text = self.text(key).ok_or_else(|| self.missing(key))?;
        words(text).map_err(|problem| SettingsError::malformed(key, problem))
    }

    pub(crate) fn missing(&self, key: &str) -> SettingsError {
        match self.kind.setting(key) {
            Some(setting) => SettingsError::missing(setting),
            None => SettingsError::malformed("kind", format!("has no setting `{key}`")),
        }
    }
}

/// Another text of the same form; `None` where nothing in it can be changed.
fn spoiled(secret: &str) -> Option<String> {
    let (at, letter) = secret
        .char_indices()
        .find(|(_, c)| c.is_ascii_alphanumeric())?;
    let other = match letter {
        'a' => 'b',
        'A' => 'B',
        '0' => '1',
        c if c.is_ascii_digit() => '0',
        c if c.is_ascii_lowercase() => 'a',
        _ => 'A',
    };
    let mut spoiled = secret.to_owned();
    spoiled.replace_range(at..=at, &other.to_string());
    Some(spoiled)
}

/// The words of a [`Form::Words`] setting: a JSON array of texts, or what stands between blanks.
pub fn words(text: &str) -> Result<Vec<String>, String> {
    let words: Vec<String> = match text.trim_start().starts_with('[') {
        true => serde_json::from_str(text)
            .map_err(|_| "a list begins there that is none of texts".to_owned())?,
        false => text.split_whitespace().map(str::to_owned).collect(),
    };
    match words {
        words if words.is_empty() => Err("it names no program".to_owned()),
        words => Ok(words),
    }
}

/// What is wrong with the settings of a provider.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A value that does not fit its key.
    #[error("`{key}`: {problem}")]
    Malformed {
        /// What to write instead.
        hint: Option<String>,
        /// Its key.
        key: &'static str,
        /// What is wrong; never a secret.
        problem: String,
    },
    /// A value that must be there is not.
    #[error("`{key}` is missing")]
    Missing {
        /// The environment variables that would do.
        env: &'static [&'static str],
        /// Its key.
        key: &'static str,
    },
    /// One setting under two of its keys.
    #[error("`{key}` is given twice, also as `{alias}`")]
    Twice {
        /// The other keys it has.
        alias: String,
        /// Its proper key.
        key: &'static str,
    },
    /// A key that the kind does not know.
    #[error("there is no setting `{key}`")]
    Unknown {
        /// The key.
        key: String,
        /// The keys there are.
        known: Vec<&'static str>,
        /// The near miss.
        nearest: Option<&'static str>,
    },
    /// A file that a variable names and that cannot be read.
    #[error("failed to read `{path}`, which {variable} names: {source}")]
    Unreadable {
        /// The path, as the variable has it.
        path: String,
        /// Why.
        source: io::Error,
        /// The variable.
        variable: String,
    },
}

impl SettingsError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Malformed { hint, .. } => hint.clone(),
            Self::Missing { env, key } => Some(match env.first() {
                Some(variable) => {
                    format!("set `{key}`, or the environment variable {variable}")
                }
                None => format!("set `{key}`"),
            }),
            Self::Twice { key, .. } => Some(format!("keep `{key}`")),
            Self::Unknown {
                nearest: Some(nearest),
                ..
            } => Some(format!("did you mean `{nearest}`?")),
            Self::Unknown { known, .. } => Some(format!("there is {}", known.join(", "))),
            Self::Unreadable { .. } => None,
        }
    }

    pub(crate) fn malformed(key: &'static str, problem: impl Into<String>) -> Self {
        Self::Malformed {
            hint: None,
            key,
            problem: problem.into(),
        }
    }

    pub(crate) fn with_hint(self, text: impl Into<String>) -> Self {
        match self {
            Self::Malformed { key, problem, .. } => Self::Malformed {
                hint: Some(text.into()),
                key,
                problem,
            },
            other => other,
        }
    }

    fn missing(setting: &Setting) -> Self {
        Self::Missing {
            env: setting.env,
            key: setting.key,
        }
    }
}

/// The candidate nearest to `given`, if a slip of the keyboard explains the difference.
pub(crate) fn nearest<'a>(
    given: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let given = given.to_ascii_lowercase();
    candidates
        .map(|candidate| (distance(&given, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters have to be put in, left out, exchanged or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    let cell = |rows: &[Vec<usize>], i: usize, j: usize| {
        rows.get(i).and_then(|r| r.get(j)).copied().unwrap_or(0)
    };
    for i in 1..=a.len() {
        rows.push(vec![i]);
        for j in 1..=b.len() {
            let same = a.get(i - 1) == b.get(j - 1);
            let mut best = (cell(&rows, i - 1, j - 1) + usize::from(!same))
                .min(cell(&rows, i - 1, j) + 1)
                .min(cell(&rows, i, j - 1) + 1);
            let swapped =
                i > 1 && j > 1 && a.get(i - 1) == b.get(j - 2) && a.get(i - 2) == b.get(j - 1);
            if swapped {
                best = best.min(cell(&rows, i - 2, j - 2) + 1);
            }
            if let Some(row) = rows.get_mut(i) {
                row.push(best);
            }
        }
    }
    cell(&rows, a.len(), b.len())
}

#[cfg(test)]
mod tests;
