//! What may be written about deployment, word for word.

use std::borrow::Cow;
use std::fmt;

use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::json_schema;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde::de::value::MapAccessDeserializer;

use crate::config::raw::Duration;
use crate::config::raw::Secret;
use crate::config::redact;

/// Files that are written, then a command that is run.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table with `files`, and `run` or `shell`",
    rename_all = "kebab-case"
)]
pub(crate) struct Target {
    /// Whether the command runs for each certificate instead of once a run.
    pub(crate) each: bool,
    /// The files.
    pub(crate) files: Files,
    /// The group of the files.
    pub(crate) group: Option<Name>,
    /// The mode of the files, such as "0640".
    pub(crate) mode: Option<Mode>,
    /// What to call it in messages.
    pub(crate) name: Option<String>,
    /// The owner of the files.
    pub(crate) owner: Option<Name>,
    /// A program and its arguments.
    #[serde(serialize_with = "redact::program")]
    pub(crate) run: Option<Vec<String>>,
    /// A text for /bin/sh, instead of `run`.
    #[serde(serialize_with = "redact::text")]
    pub(crate) shell: Option<String>,
    /// How long the command may take.
    pub(crate) timeout: Option<Duration>,
}

/// Files by what is in them; `{name}` in a path is the name of the certificate.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table such as `fullchain: /etc/ssl/example.pem`",
    rename_all = "kebab-case"
)]
pub(crate) struct Files {
    /// The certificate alone.
    pub(crate) cert: Option<File>,
    /// What stands between it and the root.
    pub(crate) chain: Option<File>,
    /// Private key, certificate and chain in one file.
    pub(crate) combined: Option<File>,
    /// Certificate and chain.
    pub(crate) fullchain: Option<File>,
    /// The private key.
    pub(crate) key: Option<File>,
    /// All of it as PKCS#12, with a password.
    pub(crate) pkcs12: Option<Pkcs12>,
}

/// A path, or a path with whose it is.
#[derive(Clone, Debug)]
pub(crate) enum File {
    Path(String),
    Table(FileTable),
}

/// One file.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, expecting = "a table", rename_all = "kebab-case")]
pub(crate) struct FileTable {
    /// Its group.
    #[serde(default)]
    pub(crate) group: Option<Name>,
    /// Its mode, such as "0640".
    #[serde(default)]
    pub(crate) mode: Option<Mode>,
    /// Its owner.
    #[serde(default)]
    pub(crate) owner: Option<Name>,
    /// Where; a path relative to this file.
    pub(crate) path: String,
}

/// One PKCS#12 file.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with `path` and `password`",
    rename_all = "kebab-case"
)]
pub(crate) struct Pkcs12 {
    /// Its group.
    #[serde(default)]
    pub(crate) group: Option<Name>,
    /// Its mode, such as "0640".
    #[serde(default)]
    pub(crate) mode: Option<Mode>,
    /// Its owner.
    #[serde(default)]
    pub(crate) owner: Option<Name>,
    /// What opens it.
    pub(crate) password: Secret,
    /// Where; a path relative to this file.
    pub(crate) path: String,
}

/// Commands around a run.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table",
    rename_all = "kebab-case"
)]
pub(crate) struct Hooks {
    /// Once a run, when certificates were renewed.
    pub(crate) deploy: Vec<Command>,
    /// A directory with scripts in `pre`, `deploy` and `post`, as certbot has it; a path relative to this file.
    pub(crate) directory: Option<String>,
    /// Variables of this process that commands get beside PATH, HOME, LANG and the like.
    pub(crate) pass: Vec<String>,
    /// Once a run, after everything, when something was to be ordered.
    pub(crate) post: Vec<Command>,
    /// Once a run, before anything is ordered.
    pub(crate) pre: Vec<Command>,
    /// How long each may take that does not say it itself.
    pub(crate) timeout: Option<Duration>,
}

/// One command.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table such as `{ run: [systemctl, reload, nginx] }`",
    rename_all = "kebab-case"
)]
pub(crate) struct Command {
    /// A program and its arguments.
    #[serde(serialize_with = "redact::program")]
    pub(crate) run: Option<Vec<String>>,
    /// A text for /bin/sh, instead of `run`.
    #[serde(serialize_with = "redact::text")]
    pub(crate) shell: Option<String>,
    /// How long it may take.
    pub(crate) timeout: Option<Duration>,
}

/// Whose the files in `live` are.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table",
    rename_all = "kebab-case"
)]
pub(crate) struct Access {
    /// The group.
    pub(crate) group: Option<Name>,
    /// The mode of the private key, such as "0640".
    pub(crate) mode: Option<Mode>,
    /// The owner.
    pub(crate) owner: Option<Name>,
}

/// The name or number of a user or group.
#[derive(Clone, Debug)]
pub(crate) struct Name(pub(crate) String);

/// A mode in octal digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Mode(pub(crate) u32);

impl<'de> Deserialize<'de> for File {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PathOrTable;

        impl<'de> Visitor<'de> for PathOrTable {
            type Value = File;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path, or a table with `path`, `owner`, `group` and `mode`")
            }

            fn visit_str<E: de::Error>(self, path: &str) -> Result<Self::Value, E> {
                Ok(File::Path(path.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                FileTable::deserialize(MapAccessDeserializer::new(map)).map(File::Table)
            }
        }

        deserializer.deserialize_any(PathOrTable)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrNumber;

        impl Visitor<'_> for TextOrNumber {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name or a number")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
                match name.is_empty() {
                    true => Err(E::invalid_value(de::Unexpected::Str(name), &self)),
                    false => Ok(Name(name.to_owned())),
                }
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Name(number.to_string()))
            }
        }

        deserializer.deserialize_any(TextOrNumber)
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Octal;

        impl Visitor<'_> for Octal {
            type Value = Mode;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mode in quotes, such as \"0640\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                let digits = text.strip_prefix("0o").unwrap_or(text);
                match u32::from_str_radix(digits, 8) {
                    Ok(mode) if mode & !0o777 == 0 && (3..=4).contains(&digits.len()) => {
                        Ok(Mode(mode))
                    }
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }

        // Without quotes 0640 is one number in YAML 1.1 and another in 1.2.
        deserializer.deserialize_any(Octal)
    }
}

impl Serialize for File {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Path(path) => s.serialize_str(path),
            Self::Table(table) => table.serialize(s),
        }
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&format!("{:04o}", self.0))
    }
}

impl JsonSchema for File {
    fn schema_name() -> Cow<'static, str> {
        "File".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<FileTable>();
        json_schema!({ "anyOf": [{ "type": "string" }, table] })
    }
}

impl JsonSchema for Name {
    fn schema_name() -> Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"], "minimum": 0, "minLength": 1 })
    }

    fn inline_schema() -> bool {
        true
    }
}

impl JsonSchema for Mode {
    fn schema_name() -> Cow<'static, str> {
        "Mode".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(0o)?0?[0-7]{3}$" })
    }

    fn inline_schema() -> bool {
        true
    }
}
