//! What a head remembers for the renewal of its certificate. No secret stands here.

use jiff::Timestamp;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use crate::dns::Identifier;

/// What is remembered of a certificate for its renewal.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Renewal {
    /// How it was asked for, as the program that asked writes it down, so that it can ask in the same way again. No secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<Value>,
    /// What the CA said last about when to renew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<Advice>,
    /// Whether the CA's list of revoked certificates has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<Listing>,
    /// The tries that have failed since the last one that did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

impl Renewal {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a CA said about when to renew a certificate (RFC 9773), or that it said nothing of use.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Advice {
    /// Which certificate it is about (RFC 9773 section 4.1).
    pub certificate: String,
    /// The window that it suggests; none where it suggests none that could be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// Why, where it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
    /// When it was asked.
    pub asked: Timestamp,
    /// Until when it wants not to be asked again.
    pub ask_again: Timestamp,
    /// How often in a row asking has failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: u32,
}

/// A suggested window, and the time in it that is ours.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Window {
    /// Its begin.
    pub start: Timestamp,
    /// Its end, after its begin.
    pub end: Timestamp,
    /// The time in it that every run and every server draws.
    pub drawn: Timestamp,
}

/// What the list of revoked certificates said that a certificate names.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Listing {
    /// The serial number that was looked for, in hexadecimal.
    pub serial: String,
    /// Since when it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
    /// From when the list is worth reading again.
    pub look_again: Timestamp,
}

/// Tries that have failed in a row.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Failure {
    /// The names they were for; for others none has failed.
    pub names: Vec<Identifier>,
    /// How many.
    pub times: u32,
    /// When the first one failed.
    pub since: Timestamp,
    /// When the last one failed.
    pub last: Timestamp,
    /// Before this none is worth while.
    pub again: Timestamp,
    /// Why the last one failed.
    pub error: String,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}
