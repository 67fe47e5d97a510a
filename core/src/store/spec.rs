//! What is asked of a certificate beyond its names, the type of its key, its profile and its CA.
//!
//! A [`Spec`] stands in what is wanted and in each version, as what was wanted then, so that a change of it is seen.
//! [`Wanted::differences`] is the one place that says what speaks against a version that is there.

use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use jiff::Span;
use jiff::SpanRelativeTo;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;

use crate::acme::KeyType;
use crate::dns::Identifier;
use crate::store::Version;
use crate::store::Wanted;

/// What is asked for beyond names, key type, profile and CA.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Spec {
    /// Whether to go on without the names that fail.
    #[serde(skip_serializing_if = "is_false")]
    pub allow_subset: bool,
    /// The CAs that may issue it, in order of preference; empty where there is only one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub directories: Vec<String>,
    /// Where its key comes from.
    #[serde(skip_serializing_if = "KeyOrigin::is_new")]
    pub key: KeyOrigin,
    /// Whether servers have to staple an OCSP answer (RFC 7633).
    #[serde(skip_serializing_if = "is_false")]
    pub must_staple: bool,
    /// From when it is to be valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Moment>,
    /// Until when it is to be valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Moment>,
    /// The common name of the root that its chain should lead to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred_chain: Option<String>,
    /// The profile to use where the CA offers it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred_profile: Option<String>,
}

impl Spec {
    /// Whether it says nothing.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether an order that was made for `self` serves `other` as well.
    pub(crate) fn same_order(&self, other: &Self) -> bool {
        self.must_staple == other.must_staple
            && self.not_before == other.not_before
            && self.not_after == other.not_after
            && self.key.fits(&other.key)
    }
}

/// Where the key of a certificate comes from.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyOrigin {
    /// A signing request that somebody made; the key is where they made it.
    Csr {
        /// SHA-256 over its DER, in hexadecimal.
        fingerprint: String,
    },
    /// A key that was given.
    Given {
        /// SHA-256 over the DER of its public key (SubjectPublicKeyInfo), in hexadecimal.
        fingerprint: String,
    },
    /// Made for each version.
    #[default]
    New,
    /// That of the version before, where there is one.
    Reused,
}

impl KeyOrigin {
    fn is_new(&self) -> bool {
        *self == Self::New
    }

    /// Whether a certificate with a key of this origin is one for `wanted`.
    fn fits(&self, wanted: &Self) -> bool {
        match (self, wanted) {
            (Self::Csr { .. }, _) | (_, Self::Csr { .. } | Self::Given { .. }) => self == wanted,
            _ => true,
        }
    }
}

impl fmt::Display for KeyOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Csr { .. } => "of a signing request",
            Self::Given { .. } => "of a file",
            Self::New => "new for each version",
            Self::Reused => "kept from version to version",
        })
    }
}

/// A name that was asked for and is not in a version.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LeftOut {
    /// The name.
    pub name: Identifier,
    /// Why it could not be had.
    pub reason: String,
}

/// A moment that is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Moment {
    /// This one.
    At(Timestamp),
    /// So long after the order is made.
    In(SignedDuration),
}

impl Moment {
    /// When it is, for an order that is made at `now`; in whole seconds.
    pub fn from(self, now: Timestamp) -> Option<Timestamp> {
        let at = match self {
            Self::At(at) => at,
            Self::In(after) => now.checked_add(after).ok()?,
        };
        Timestamp::from_second(at.as_second()).ok()
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(at) => at.fmt(f),
            Self::In(after) => {
                let seconds = after.as_secs();
                match (seconds % 86_400, seconds % 3600) {
                    (0, _) => write!(f, "+{}d", seconds / 86_400),
                    (_, 0) => write!(f, "+{}h", seconds / 3600),
                    _ => write!(f, "+{seconds}s"),
                }
            }
        }
    }
}

impl FromStr for Moment {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(Self::At(at));
        }
        if let Ok(date) = text.parse::<Date>()
            && let Ok(midnight) = date.to_zoned(TimeZone::UTC)
        {
            return Ok(Self::At(midnight.timestamp()));
        }
        let failed = || MomentError(text.to_owned());
        let span: Span = text
            .strip_prefix('+')
            .unwrap_or(text)
            .parse()
            .map_err(|_| failed())?;
        let after = span
            .to_duration(SpanRelativeTo::days_are_24_hours())
            .map_err(|_| failed())?;
        match after.as_secs() >= 0 {
            true => Ok(Self::In(SignedDuration::from_secs(after.as_secs()))),
            false => Err(failed()),
        }
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A text that names no moment.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "`{0}` is neither a date (`2027-03-01`), a time (`2027-03-01T12:00:00Z`) nor a duration from now (`+30d`)"
)]
pub struct MomentError(String);

/// What speaks against keeping a version.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Difference {
    /// It has other names.
    Names(Vec<Identifier>),
    /// Its key is of another type than wanted.
    KeyType {
        /// What it has.
        is: KeyType,
        /// What is wanted.
        wanted: KeyType,
    },
    /// It was ordered with another profile than wanted.
    Profile {
        /// The one it has.
        is: Option<String>,
        /// The one that is wanted.
        wanted: Option<String>,
    },
    /// It comes from a CA that is not among those wanted.
    Directory(String),
    /// Its key comes from elsewhere than wanted.
    Key {
        /// Where it comes from.
        is: KeyOrigin,
        /// Where it should come from.
        wanted: KeyOrigin,
    },
    /// Another chain is wanted than it was ordered with.
    Chain {
        /// The root that was asked for then.
        asked: Option<String>,
        /// The root that is wanted now.
        wanted: Option<String>,
    },
    /// Servers have to staple, or need not any more.
    MustStaple(bool),
    /// Another validity is wanted.
    Validity,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Names(names) => {
                let names: Vec<String> = names.iter().map(ToString::to_string).collect();
                write!(f, "its names are {}", names.join(" "))
            }
            Self::KeyType { is, wanted } => write!(f, "its key is {is}, and {wanted} is wanted"),
            Self::Profile { is, wanted } => {
                let named = |profile: &Option<String>| {
                    profile
                        .clone()
                        .unwrap_or_else(|| "the CA's default".to_owned())
                };
                write!(
                    f,
                    "its profile is {}, and {} is wanted",
                    named(is),
                    named(wanted)
                )
            }
            Self::Directory(directory) => write!(f, "it is from another CA ({directory})"),
            Self::Key { is, wanted } if is == &KeyOrigin::New || wanted == &KeyOrigin::New => {
                match wanted {
                    KeyOrigin::New => write!(f, "its key is {is}, and a new one is wanted"),
                    _ => write!(f, "its key is another one, and that {wanted} is wanted"),
                }
            }
            Self::Key { wanted, .. } => {
                write!(f, "its key is another one, and that {wanted} is wanted")
            }
            Self::Chain { wanted, .. } => match wanted {
                Some(root) => write!(f, "the chain to {root} is wanted"),
                None => write!(f, "the CA's default chain is wanted"),
            },
            Self::MustStaple(true) => write!(f, "servers have to staple with the one wanted"),
            Self::MustStaple(false) => write!(f, "servers have to staple with it"),
            Self::Validity => write!(f, "another validity is wanted"),
        }
    }
}

impl Wanted {
    /// What speaks against keeping `version`; nothing where it is what is wanted. When it is due is another question.
    pub fn differences(&self, version: &Version) -> Vec<Difference> {
        let mut found = Vec::new();
        // Names that were left out are tried again when it is renewed.
        if !self.same_names(&version.asked()) {
            found.push(Difference::Names(version.names.clone()));
        }
        if version.key_type != self.key_type {
            found.push(Difference::KeyType {
                is: version.key_type,
                wanted: self.key_type,
            });
        }
        if !self.takes_profile(version) {
            let preferred = self.spec.preferred_profile.clone();
            found.push(Difference::Profile {
                is: version.profile.clone(),
                wanted: self.profile.clone().or(preferred),
            });
        }
        if !self.takes_directory(&version.directory) {
            found.push(Difference::Directory(version.directory.clone()));
        }
        let (was, now) = (&version.spec, &self.spec);
        if !was.key.fits(&now.key) {
            found.push(Difference::Key {
                is: was.key.clone(),
                wanted: now.key.clone(),
            });
        }
        if was.preferred_chain != now.preferred_chain
            // What it has already need not be ordered.
            && (version.top_issuer.is_none() || version.top_issuer != now.preferred_chain)
        {
            found.push(Difference::Chain {
                asked: was.preferred_chain.clone(),
                wanted: now.preferred_chain.clone(),
            });
        }
        if was.must_staple != now.must_staple {
            found.push(Difference::MustStaple(now.must_staple));
        }
        if (was.not_before, was.not_after) != (now.not_before, now.not_after) {
            found.push(Difference::Validity);
        }
        found
    }

    /// Whether a certificate from there is what is wanted.
    pub fn takes_directory(&self, directory: &str) -> bool {
        self.directory == directory || self.spec.directories.iter().any(|d| d == directory)
    }

    fn takes_profile(&self, version: &Version) -> bool {
        match (&self.profile, &self.spec.preferred_profile) {
            (Some(profile), _) => version.profile.as_ref() == Some(profile),
            (None, Some(preferred)) => match &version.profile {
                Some(profile) => profile == preferred,
                // It was not on offer then.
                None => version.spec.preferred_profile.as_ref() == Some(preferred),
            },
            (None, None) => version.profile.is_none(),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it")]
fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates_times_and_durations() {
        let now: Timestamp = "2027-01-01T10:00:00.5Z".parse().unwrap();
        for (text, at) in [
            ("2027-03-01", "2027-03-01T00:00:00Z"),
            ("2027-03-01T12:00:00Z", "2027-03-01T12:00:00Z"),
            ("2027-03-01T12:00:00+02:00", "2027-03-01T10:00:00Z"),
            ("+30d", "2027-01-31T10:00:00Z"),
            ("12h", "2027-01-01T22:00:00Z"),
            ("1d 12h", "2027-01-02T22:00:00Z"),
            ("90s", "2027-01-01T10:01:30Z"),
        ] {
            let moment: Moment = text.parse().unwrap_or_else(|e| panic!("{e}"));
            let at: Timestamp = at.parse().unwrap();
            assert_eq!(moment.from(now), Some(at), "{text}");
            assert_eq!(moment.to_string().parse(), Ok(moment), "{text}");
        }
        for text in ["", "soon", "-3d", "2027-13-01", "1 month"] {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_spec_that_says_nothing_is_not_written() {
        let json = serde_json::to_string(&Spec::default()).unwrap();
        assert_eq!(json, "{}");
        assert_eq!(serde_json::from_str::<Spec>("{}").unwrap(), Spec::default());
    }

    #[test]
    fn keys_that_fit() {
        let csr = |f: &str| KeyOrigin::Csr {
            fingerprint: f.to_owned(),
        };
        let given = |f: &str| KeyOrigin::Given {
            fingerprint: f.to_owned(),
        };
        assert!(KeyOrigin::New.fits(&KeyOrigin::Reused));
        assert!(given("a").fits(&KeyOrigin::New));
        assert!(!given("a").fits(&given("b")));
        assert!(!KeyOrigin::New.fits(&given("a")));
        assert!(!csr("a").fits(&KeyOrigin::New));
        assert!(!csr("a").fits(&csr("b")));
        assert!(csr("a").fits(&csr("a")));
    }
}
