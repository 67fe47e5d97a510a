//! Records that a person sets: what to write where, for people and for programs.

use std::fmt;

use serde::Serialize;

use crate::dns::DomainName;
use crate::dns::TxtValue;

/// A record that a person has to set.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct ByHand {
    /// The owner name.
    pub owner: DomainName,
    /// `TXT` or `CNAME`.
    #[serde(rename = "type")]
    pub record_type: &'static str,
    /// The value of a TXT record, or where a CNAME leads.
    pub value: String,
    /// A TTL in seconds that is short enough.
    pub ttl: u32,
}

impl ByHand {
    /// A value.
    pub(crate) fn value(owner: &DomainName, value: &TxtValue, ttl: u32) -> Self {
        Self {
            owner: owner.clone(),
            record_type: "TXT",
            value: value.to_string(),
            ttl,
        }
    }

    /// An alias.
    pub(crate) fn alias(owner: &DomainName, target: &DomainName) -> Self {
        Self {
            owner: owner.clone(),
            record_type: "CNAME",
            value: target.fqdn(),
            ttl: ALIAS_TTL,
        }
    }
}

impl fmt::Display for ByHand {
    /// As a zone file has it (RFC 1035 section 5.1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owner = self.owner.fqdn();
        match self.record_type {
            "TXT" => write!(f, "{owner} {} IN TXT \"{}\"", self.ttl, self.value),
            other => write!(f, "{owner} {} IN {other} {}", self.ttl, self.value),
        }
    }
}

/// It stays for as long as the name has certificates.
const ALIAS_TTL: u32 = 3600;
