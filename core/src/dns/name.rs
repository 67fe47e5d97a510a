//! Names that have been checked once: what a value of these types holds needs no second look.
//!
//! [`DomainName`] is any owner name or zone in A-labels; [`Identifier`] is what a certificate can be ordered for,
//! with at most one leading `*.`; [`TxtValue`] is the content of one TXT record. Parsing is the only way in.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;

/// A domain name in A-labels, lower case, without the final dot, at most 253 octets (RFC 1035 section 2.3.4).
///
/// Underscores are allowed, because owner names of challenges have them; the root is not a value of this type.
///
/// ```
/// use dnseal_core::dns::DomainName;
///
/// let name: DomainName = "Bücher.Example.".parse()?;
/// assert_eq!(name.as_str(), "xn--bcher-kva.example");
/// assert!(name.is_within(&"example".parse()?));
/// # Ok::<(), dnseal_core::dns::NameError>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DomainName(String);

impl DomainName {
    /// The name in A-labels, without a final dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name with its final dot.
    pub fn fqdn(&self) -> String {
        format!("{}.", self.0)
    }

    /// The labels from the left.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('.')
    }

    /// The number of labels, at least one.
    pub fn label_count(&self) -> usize {
        self.labels().count()
    }

    /// The name without its leftmost label; `None` above a top-level domain.
    pub fn parent(&self) -> Option<Self> {
        let (_, rest) = self.0.split_once('.')?;
        Some(Self(rest.to_owned()))
    }

    /// The rightmost `count` labels, or the whole name where it has no more.
    pub fn suffix(&self, count: usize) -> Self {
        let skip = self.label_count().saturating_sub(count.max(1));
        let kept: Vec<&str> = self.labels().skip(skip).collect();
        Self(kept.join("."))
    }

    /// The name `label.self`.
    pub fn child(&self, label: &str) -> Result<Self, NameError> {
        format!("{label}.{}", self.0).parse()
    }

    /// Whether this name is `zone` or below it, by whole labels.
    pub fn is_within(&self, zone: &Self) -> bool {
        self.0 == zone.0
            || self
                .0
                .strip_suffix(&zone.0)
                .is_some_and(|rest| rest.ends_with('.'))
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for DomainName {
    type Err = NameError;

    fn from_str(input: &str) -> Result<Self, Self::Err> {
        let error = |problem| NameError {
            name: input.to_owned(),
            problem,
        };

        let trimmed = input.strip_suffix('.').unwrap_or(input);
        if trimmed.is_empty() {
            return Err(error(NameProblem::Empty));
        }
        if trimmed.split('.').any(str::is_empty) {
            return Err(error(NameProblem::EmptyLabel));
        }
        if trimmed.is_ascii() {
            // Lengths first, so that the message is about them and not about IDNA.
            check_lengths(trimmed).map_err(error)?;
        }

        let ascii =
            idna::domain_to_ascii(trimmed).map_err(|_| error(NameProblem::NotInternationalized))?;
        check_lengths(&ascii).map_err(error)?;
        match ascii
            .chars()
            .find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.'))
        {
            Some(bad) => Err(error(NameProblem::Character(bad))),
            None => Ok(Self(ascii)),
        }
    }
}

impl<'de> Deserialize<'de> for DomainName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl Serialize for DomainName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// What one name of a certificate can be: a host name, or `*.` before one (RFC 8555 section 7.1.3).
///
/// ```
/// use dnseal_core::dns::Identifier;
///
/// let wildcard: Identifier = "*.example.com".parse()?;
/// assert_eq!(wildcard.challenge_owner().as_str(), "_acme-challenge.example.com");
/// assert!("*.*.example.com".parse::<Identifier>().is_err());
/// # Ok::<(), dnseal_core::dns::NameError>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Identifier {
    base: DomainName,
    wildcard: bool,
}

impl Identifier {
    /// The name without `*.`.
    pub fn base(&self) -> &DomainName {
        &self.base
    }

    /// Whether the name began with `*.`.
    pub fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// Where the CA looks first: `_acme-challenge.` before the base name (RFC 8555 section 8.4).
    pub fn challenge_owner(&self) -> DomainName {
        // Parsing an identifier leaves room for this prefix.
        DomainName(format!("{CHALLENGE_LABEL}.{}", self.base.0))
    }

    /// Whether this is a wildcard that matches `other`, so that a CA may call `other` redundant.
    pub fn covers(&self, other: &Self) -> bool {
        self.wildcard && !other.wildcard && other.base.parent().as_ref() == Some(&self.base)
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.wildcard {
            true => write!(f, "*.{}", self.base),
            false => self.base.fmt(f),
        }
    }
}

impl FromStr for Identifier {
    type Err = NameError;

    fn from_str(input: &str) -> Result<Self, Self::Err> {
        let error = |problem| NameError {
            name: input.to_owned(),
            problem,
        };

        let (wildcard, rest) = match input.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, input),
        };
        if rest.contains('*') {
            return Err(error(NameProblem::Wildcard));
        }
        let address = rest.trim_start_matches('[').trim_end_matches(']');
        if address.parse::<IpAddr>().is_ok() {
            return Err(error(NameProblem::Address));
        }
        let base = DomainName::from_str(rest).map_err(|e| error(e.problem))?;
        if let Some(label) = base
            .labels()
            .find(|l| l.starts_with('-') || l.ends_with('-') || l.contains('_'))
        {
            return Err(error(NameProblem::NotHost(label.to_owned())));
        }
        if base
            .labels()
            .next_back()
            .is_some_and(|tld| tld.bytes().all(|b| b.is_ascii_digit()))
        {
            return Err(error(NameProblem::NumericTld));
        }
        if CHALLENGE_LABEL.len() + 1 + base.0.len() > MAX_NAME {
            return Err(error(NameProblem::NoRoom));
        }
        Ok(Self { base, wildcard })
    }
}

impl<'de> Deserialize<'de> for Identifier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl Serialize for Identifier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why a text is no name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{name}` is not a name a certificate can hold: {problem}")]
pub struct NameError {
    name: String,
    problem: NameProblem,
}

impl NameError {
    /// What to do about it, where there is something better than to write the name correctly.
    pub fn hint(&self) -> Option<&'static str> {
        match self.problem {
            NameProblem::Address => Some(
                "the DNS-01 challenge cannot prove an IP address (RFC 8738 section 7); use HTTP-01 or TLS-ALPN-01 for it",
            ),
            NameProblem::Wildcard => Some(
                "order one wildcard for each level, such as `*.example.com` and `*.sub.example.com`",
            ),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
enum NameProblem {
    #[error("it is an IP address")]
    Address,
    #[error("`{0}` may not occur in a name")]
    Character(char),
    #[error("it is empty")]
    Empty,
    #[error("it has an empty label")]
    EmptyLabel,
    #[error("the label `{label}` has {octets} octets, and 63 are the most")]
    LongLabel { label: String, octets: usize },
    #[error("it has {0} octets, and 253 are the most")]
    LongName(usize),
    #[error("it leaves no room for `_acme-challenge.` within 253 octets")]
    NoRoom,
    #[error("`{0}` is no host name label (letters, digits and inner hyphens only)")]
    NotHost(String),
    #[error("it is not valid under IDNA (UTS #46)")]
    NotInternationalized,
    #[error("its last label is a number")]
    NumericTld,
    #[error("a wildcard is one `*.` at the very beginning")]
    Wildcard,
}

/// The content of one TXT record: its strings joined (RFC 7208 section 3.3 style, as validators do).
///
/// Any octets, because others' values are read too; shown with `\DDD` for what is not printable ASCII
/// (RFC 1035 section 5.1), and stored in that form.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TxtValue(Vec<u8>);

impl TxtValue {
    /// The octets of the value.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// A value from what a server answered; longer than any record can be is an error.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Self, TxtValueError> {
        let bytes = bytes.into();
        match bytes.len() {
            n if n > MAX_TXT => Err(TxtValueError::Long(n)),
            _ => Ok(Self(bytes)),
        }
    }

    /// The character-strings of the record, each of at most 255 octets, at least one.
    pub fn strings(&self) -> Vec<&[u8]> {
        match self.0.is_empty() {
            true => vec![&[]],
            false => self.0.chunks(255).collect(),
        }
    }

    fn parse_presentation(text: &str) -> Result<Self, TxtValueError> {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            if byte != b'\\' {
                bytes.push(byte);
                continue;
            }
            let digits: Vec<u8> = rest.by_ref().take(3).collect();
            let octet = std::str::from_utf8(&digits)
                .ok()
                .filter(|d| d.len() == 3 && d.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|d| d.parse().ok())
                .ok_or(TxtValueError::Escape)?;
            bytes.push(octet);
        }
        Self::from_bytes(bytes)
    }
}

impl fmt::Debug for TxtValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl fmt::Display for TxtValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in &self.0 {
            match byte {
                b'\\' => f.write_str("\\092")?,
                b' '..=b'~' => write!(f, "{}", char::from(byte))?,
                _ => write!(f, "\\{byte:03}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for TxtValue {
    type Err = TxtValueError;

    /// Takes the text as it is, without any escapes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_bytes(text.as_bytes())
    }
}

impl<'de> Deserialize<'de> for TxtValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse_presentation(&Cow::<'de, str>::deserialize(deserializer)?)
            .map_err(serde::de::Error::custom)
    }
}

impl Serialize for TxtValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why octets are no TXT value.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TxtValueError {
    /// A `\` that is not followed by three digits up to 255.
    #[error("`\\` in a TXT value must be followed by three digits up to 255")]
    Escape,
    /// The number of octets, which no record can hold.
    #[error("a TXT value of {0} octets does not fit a record")]
    Long(usize),
}

fn check_lengths(name: &str) -> Result<(), NameProblem> {
    if let Some(label) = name.split('.').find(|l| l.len() > MAX_LABEL) {
        return Err(NameProblem::LongLabel {
            label: label.to_owned(),
            octets: label.len(),
        });
    }
    match name.len() {
        n if n > MAX_NAME => Err(NameProblem::LongName(n)),
        _ => Ok(()),
    }
}

const CHALLENGE_LABEL: &str = "_acme-challenge";
const MAX_LABEL: usize = 63;
const MAX_NAME: usize = 253;
/// 65,535 octets of RDATA less one length octet for each string of 255.
const MAX_TXT: usize = 65_279;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_lowered_and_put_into_a_labels() {
        for (given, wanted) in [
            ("Example.COM.", "example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("_acme-challenge.a.test", "_acme-challenge.a.test"),
            ("faß.de", "xn--fa-hia.de"),
        ] {
            assert_eq!(given.parse::<DomainName>().unwrap().as_str(), wanted);
        }
    }

    #[test]
    fn what_is_no_name_says_why() {
        let long_label = format!("{}.com", "a".repeat(64));
        let long_name = format!("{}com", "a.".repeat(126));
        for (given, part) in [
            ("", "empty"),
            ("a..com", "empty label"),
            (".com", "empty label"),
            ("*.*.example.com", "one `*.`"),
            ("a.*.com", "one `*.`"),
            ("*", "one `*.`"),
            ("foo*.example.com", "one `*.`"),
            ("192.0.2.1", "IP address"),
            ("2001:db8::1", "IP address"),
            ("[2001:db8::1]", "IP address"),
            (long_label.as_str(), "64 octets"),
            (long_name.as_str(), "255 octets"),
            ("a_b.example.com", "no host name label"),
            ("-a.example.com", "no host name label"),
            ("exa mple.com", "IDNA"),
            ("a/b.com", "IDNA"),
        ] {
            let error = given.parse::<Identifier>().unwrap_err();
            let text = error.to_string();
            assert!(
                text.contains(part) || (part == "IDNA" && text.contains("may not occur")),
                "{given}: {text}"
            );
        }
    }

    #[test]
    fn suffixes_end_at_labels() {
        let name: DomainName = "badexample.com".parse().unwrap();
        assert!(!name.is_within(&"example.com".parse().unwrap()));
        let name: DomainName = "a.b.example.com".parse().unwrap();
        assert!(name.is_within(&"example.com".parse().unwrap()));
        assert_eq!(name.suffix(2).as_str(), "example.com");
        assert_eq!(name.suffix(9), name);
        assert_eq!(name.parent().unwrap().as_str(), "b.example.com");
    }

    #[test]
    fn a_wildcard_covers_one_level() {
        let wildcard: Identifier = "*.example.com".parse().unwrap();
        assert!(wildcard.covers(&"www.example.com".parse().unwrap()));
        assert!(!wildcard.covers(&"example.com".parse().unwrap()));
        assert!(!wildcard.covers(&"a.www.example.com".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_is_idempotent(text in "\\PC{0,80}") {
            if let Ok(name) = text.parse::<DomainName>() {
                prop_assert_eq!(name.as_str().parse::<DomainName>().unwrap(), name);
            }
            if let Ok(identifier) = text.parse::<Identifier>() {
                prop_assert_eq!(identifier.to_string().parse::<Identifier>().unwrap(), identifier);
            }
        }

        #[test]
        fn txt_values_survive_json(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let value = TxtValue::from_bytes(bytes).unwrap();
            let json = serde_json::to_string(&value).unwrap();
            prop_assert_eq!(serde_json::from_str::<TxtValue>(&json).unwrap(), value);
        }
    }
}
