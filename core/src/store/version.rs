//! One version of a certificate: immutable once it is written.

use jiff::Timestamp;
use serde::Deserialize;
use serde::Serialize;

use crate::acme::KeyType;
use crate::dns::Identifier;

/// What is known of one version without parsing its certificate.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Version {
    /// The number, from 1.
    pub number: u32,
    /// The names in it.
    pub names: Vec<Identifier>,
    /// The type of its key.
    pub key_type: KeyType,
    /// The profile it was ordered with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The directory of the CA that issued it.
    pub directory: String,
    /// The URL of the account it was ordered with.
    pub account: String,
    /// The URL of its order.
    pub order: String,
    /// When it was stored.
    pub issued: Timestamp,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when it is valid.
    pub not_after: Timestamp,
    /// The serial number in hexadecimal.
    pub serial: String,
    /// The common name of its issuer, or the whole name where it has none.
    pub issuer: String,
}

/// The files of one version in the store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum VersionFile {
    /// The certificate and its chain, PEM.
    FullChain,
    /// The private key, PKCS#8 PEM. It stands here before the order is finalized.
    Key,
    /// What [`Version`] says.
    Meta,
}

impl VersionFile {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::FullChain, Self::Key, Self::Meta];

    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::FullChain => "fullchain.pem",
            Self::Key => "privkey.pem",
            Self::Meta => "json",
        }
    }
}
