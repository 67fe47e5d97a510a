//! One CAA record, and the grammar of what it permits (RFC 8659 section 4.2).

use std::fmt;

use hickory_proto::rr::RData;
use serde::Serialize;

/// One CAA record.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct CaaRecord {
    /// The flags; 128 makes the property critical.
    pub flags: u8,
    /// The property tag, in lower case.
    pub tag: String,
    /// The value. Octets that are no text are replaced.
    pub value: String,
}

impl CaaRecord {
    /// A record as zone files have it.
    pub fn new(flags: u8, tag: &str, value: &str) -> Self {
        Self {
            flags,
            tag: tag.to_ascii_lowercase(),
            value: value.to_owned(),
        }
    }

    /// The CAA record in an answer.
    pub(super) fn from_rdata(data: &RData) -> Option<Self> {
        let RData::CAA(caa) = data else { return None };
        Some(Self {
            flags: caa.reserved_flags | if caa.issuer_critical { CRITICAL } else { 0 },
            tag: caa.tag.to_ascii_lowercase(),
            value: String::from_utf8_lossy(&caa.value).into_owned(),
        })
    }

    /// Whether a CA that does not know the tag must not issue. Boulder reads 1 in the same way, which people write by mistake.
    pub(super) fn is_critical(&self) -> bool {
        self.flags & (CRITICAL | MEANT_CRITICAL) != 0
    }

    /// Whom an `issue` or `issuewild` property permits; `None` where the value does not follow the grammar, which permits nobody.
    pub(super) fn permission(&self) -> Option<Permission> {
        let (domain, rest) = match self.value.split_once(';') {
            Some((domain, rest)) => (domain, Some(rest)),
            None => (self.value.as_str(), None),
        };
        let domain = trim(domain);
        let fits = |label: &str| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if !domain.is_empty() && !domain.split('.').all(fits) {
            return None;
        }
        let mut parameters = Vec::new();
        if let Some(rest) = rest.map(trim).filter(|rest| !rest.is_empty()) {
            for parameter in rest.split(';') {
                let (tag, value) = parameter.split_once('=')?;
                let (tag, value) = (trim(tag), trim(value));
                let printable = |b: u8| matches!(b, 0x21..=0x3a | 0x3c..=0x7e);
                if !fits(tag) || !value.bytes().all(printable) {
                    return None;
                }
                parameters.push((tag.to_ascii_lowercase(), value.to_owned()));
            }
        }
        Some(Permission {
            domain: domain.to_owned(),
            parameters,
        })
    }
}

impl fmt::Display for CaaRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.replace('\\', "\\\\").replace('"', "\\\"");
        write!(f, "CAA {} {} \"{value}\"", self.flags, self.tag)
    }
}

/// What one `issue` or `issuewild` property says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Permission {
    /// The CA; empty for nobody.
    pub(super) domain: String,
    parameters: Vec<(String, String)>,
}

impl Permission {
    /// The values of every parameter with this tag.
    pub(super) fn all<'a>(&'a self, tag: &'a str) -> impl Iterator<Item = &'a str> {
        self.parameters
            .iter()
            .filter(move |(name, _)| name == tag)
            .map(|(_, value)| value.as_str())
    }
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// RFC 8659 section 4.1: bit 0, which is the highest.
const CRITICAL: u8 = 0x80;
const MEANT_CRITICAL: u8 = 0x01;

#[cfg(test)]
mod tests {
    use super::*;

    fn permission(value: &str) -> Option<Permission> {
        CaaRecord::new(0, "issue", value).permission()
    }

    #[test]
    fn grammar_of_the_rfc() {
        // RFC 8659 section 4.2 and the examples of section 4.3 and RFC 8657 section 4.
        let plain = permission("ca1.example.net").unwrap();
        assert_eq!(plain.domain, "ca1.example.net");
        assert_eq!(permission(";").unwrap().domain, "");
        assert_eq!(permission("").unwrap().domain, "");
        assert_eq!(permission("  \t ; ").unwrap().domain, "");
        let account = permission("ca1.example.net; account=230123").unwrap();
        assert_eq!(account.all("account").collect::<Vec<_>>(), ["230123"]);
        let two = permission(
            " example.net ;accounturi=https://example.net/account/1234 ; validationmethods = dns-01,http-01 ",
        )
        .unwrap();
        assert_eq!(two.domain, "example.net");
        assert_eq!(
            two.all("validationmethods").collect::<Vec<_>>(),
            ["dns-01,http-01"]
        );
        assert_eq!(
            two.all("accounturi").collect::<Vec<_>>(),
            ["https://example.net/account/1234"]
        );
    }

    #[test]
    fn what_breaks_the_grammar_permits_nobody() {
        for value in [
            "%%%%%",
            "ca1.example.net; account",
            "ca1.example.net; =x",
            "ca1.example.net; a=b c",
            "ca1.example.net other.example",
            "ca1..example",
            "-ca.example",
            "ca1.example.net; a=b;; c=d",
        ] {
            assert_eq!(permission(value), None, "{value}");
        }
    }
}
