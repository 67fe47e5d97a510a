//! The name of a certificate in the store and below `live/`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;

use crate::dns::Identifier;

/// The name of a certificate: one path component, safe on every file system.
///
/// Lower case letters, digits, `-`, `_` and inner dots, at most 253 octets, so that two names never differ by case alone,
/// and none is hidden, absolute or a device of Windows. `*.example.com` and `example.com` are both `example.com`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct CertId(String);

impl CertId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&Identifier> for CertId {
    fn from(identifier: &Identifier) -> Self {
        // A host name in A-labels has only characters that are allowed here.
        let name = identifier.base().as_str();
        match is_device(name) {
            true => Self(format!("{name}_")),
            false => Self(name.to_owned()),
        }
    }
}

impl FromStr for CertId {
    type Err = CertIdError;

    fn from_str(input: &str) -> Result<Self, Self::Err> {
        let error = |problem| CertIdError {
            name: input.to_owned(),
            problem,
        };
        let name = input
            .strip_prefix("*.")
            .unwrap_or(input)
            .to_ascii_lowercase();
        if name.is_empty() {
            return Err(error("it is empty"));
        }
        if name.len() > 253 {
            return Err(error("it is longer than 253 octets"));
        }
        if name.contains('/') || name.contains('\\') {
            return Err(error("it may hold no `/` and no `\\`"));
        }
        if name.starts_with('.') || name.ends_with('.') || name.contains("..") {
            return Err(error("dots stand between other characters, one at a time"));
        }
        if name.starts_with('-') {
            return Err(error("it may not begin with `-`"));
        }
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
        if !name.bytes().all(allowed) {
            return Err(error(
                "letters, digits, `-`, `_` and `.` are all it may hold",
            ));
        }
        if is_device(&name) {
            return Err(error("it is the name of a device on Windows"));
        }
        Ok(Self(name))
    }
}

impl<'de> Deserialize<'de> for CertId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Why a text cannot name a certificate.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{name}` cannot be the name of a certificate: {problem}")]
pub struct CertIdError {
    name: String,
    problem: &'static str,
}

fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name);
    matches!(stem, "aux" | "con" | "nul" | "prn")
        || stem
            .strip_prefix("com")
            .or_else(|| stem.strip_prefix("lpt"))
            .is_some_and(|n| n.len() == 1 && n.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_name() {
        for bad in [
            "", ".", "..", "a/b", "../a", "/etc", ".hidden", "a..b", "a.", "a b", "-a", "con",
            "nul.txt", "com1", "a\\b", "a\0b", "é",
        ] {
            assert!(bad.parse::<CertId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn wildcard_and_case_are_folded() {
        assert_eq!(
            "*.Example.com".parse::<CertId>().unwrap().as_str(),
            "example.com"
        );
        let identifier: Identifier = "*.con.example".parse().unwrap();
        assert_eq!(CertId::from(&identifier).as_str(), "con.example_");
    }

    proptest! {
        #[test]
        fn every_identifier_has_one(text in "([a-z0-9]{1,8}\\.){1,4}[a-z]{2,4}") {
            let identifier: Identifier = text.parse().unwrap();
            let id = CertId::from(&identifier);
            prop_assert_eq!(id.as_str().parse::<CertId>().unwrap(), id);
        }
    }
}
