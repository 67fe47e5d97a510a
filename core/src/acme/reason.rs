//! Why a certificate is revoked (RFC 5280 section 5.3.1), as words.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;

/// A reason that somebody who holds a certificate may give.
///
/// The other codes of RFC 5280 are for the CA itself, and CAs refuse them.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum RevocationReason {
    /// The holder's organization or name has changed.
    AffiliationChanged,
    /// The service behind the names has ended.
    CessationOfOperation,
    /// Somebody else has, or may have, the private key.
    KeyCompromise,
    /// Another certificate has taken its place.
    Superseded,
    /// No reason is given.
    #[default]
    Unspecified,
}

impl RevocationReason {
    /// Every one, in the order of their codes.
    pub const ALL: [Self; 5] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
    ];

    /// The code of RFC 5280.
    pub fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
        }
    }

    /// The word on the command line and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AffiliationChanged => "affiliation-changed",
            Self::CessationOfOperation => "cessation-of-operation",
            Self::KeyCompromise => "key-compromise",
            Self::Superseded => "superseded",
            Self::Unspecified => "unspecified",
        }
    }
}

impl fmt::Display for RevocationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RevocationReason {
    type Err = ReasonError;

    /// Takes our words, those of certbot and RFC 5280 (`keyCompromise`), and the codes that acme.sh takes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain: String = text
            .chars()
            .filter(|c| !matches!(c, '-' | '_'))
            .map(|c| c.to_ascii_lowercase())
            .collect();
        Self::ALL
            .into_iter()
            .find(|reason| {
                reason.as_str().replace('-', "") == plain || reason.code().to_string() == plain
            })
            .ok_or_else(|| ReasonError(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for RevocationReason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl Serialize for RevocationReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A text that names no reason.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "`{0}` is no reason to revoke; there are unspecified, key-compromise, affiliation-changed, superseded and cessation-of-operation"
)]
pub struct ReasonError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_all_tools() {
        for reason in RevocationReason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(reason));
            assert_eq!(reason.code().to_string().parse(), Ok(reason));
            let json = serde_json::to_string(&reason).unwrap();
            assert_eq!(
                serde_json::from_str::<RevocationReason>(&json).unwrap(),
                reason
            );
        }
        for word in [
            "keyCompromise",
            "keycompromise",
            "key_compromise",
            "KEY-COMPROMISE",
        ] {
            assert_eq!(word.parse(), Ok(RevocationReason::KeyCompromise));
        }
        for bad in ["", "2", "6", "9", "hold", "certificateHold"] {
            let error = bad.parse::<RevocationReason>().unwrap_err();
            assert!(error.to_string().contains("key-compromise"), "{error}");
        }
    }
}
