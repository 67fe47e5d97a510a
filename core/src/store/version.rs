//! One version of a certificate: immutable once it is written.

use jiff::SignedDuration;
use jiff::Timestamp;
use serde::Deserialize;
use serde::Serialize;

use crate::acme::KeyType;
use crate::acme::RevocationReason;
use crate::dns::Identifier;
use crate::store::AccountId;
use crate::store::KeyOrigin;
use crate::store::LeftOut;
use crate::store::Spec;

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
    /// The name in this store of that account; versions of older programs do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<AccountId>,
    /// The key identifier of the external account that the account is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eab_kid: Option<String>,
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
    /// What it is called when the CA is asked about its renewal (RFC 9773 section 4.1); none where it cannot be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ari_id: Option<String>,
    /// Where its issuer lists what is revoked (RFC 5280 section 4.2.1.13).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crl: Option<String>,
    /// The common name of who signed the last certificate of its chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_issuer: Option<String>,
    /// Names that were asked for and are not in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// What else was asked for when it was ordered.
    #[serde(default, skip_serializing_if = "Spec::is_default")]
    pub spec: Spec,
    /// That it was revoked, in the head of its certificate alone. A revoked version is not renewed unless somebody asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revoked>,
}

/// That a version was revoked.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Revoked {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: RevocationReason,
}

impl Version {
    /// The names that were asked for: those in it, and those that were left out.
    pub fn asked(&self) -> Vec<Identifier> {
        let left_out = self.left_out.iter().map(|left| &left.name);
        self.names.iter().chain(left_out).cloned().collect()
    }

    /// Whether its key is in the store; that of a signing request is not.
    pub fn has_key(&self) -> bool {
        !matches!(self.spec.key, KeyOrigin::Csr { .. })
    }

    /// How long it lives.
    pub fn lifetime(&self) -> SignedDuration {
        self.not_after.duration_since(self.not_before)
    }

    /// From when it should be renewed, where the CA does not say: when less is left than 30 days or a third of its
    /// lifetime, whichever is less; a half where it lives shorter than ten days.
    pub fn renew_at(&self) -> Timestamp {
        let lifetime = self.lifetime();
        let left = match lifetime < SHORT_LIVED {
            true => lifetime / 2,
            false => (lifetime / 3).min(RENEW_BEFORE),
        };
        self.not_after.checked_sub(left).unwrap_or(self.not_after)
    }
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

/// Below this lifetime a third is too short to notice and mend a failure.
const SHORT_LIVED: SignedDuration = SignedDuration::from_hours(10 * 24);
/// What is left of a long-lived certificate when it is renewed.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(30 * 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_follows_the_lifetime() {
        for (days, after) in [(90, 60), (45, 30), (398, 368), (6, 3)] {
            let begin = Timestamp::UNIX_EPOCH;
            let version = Version {
                number: 1,
                names: Vec::new(),
                key_type: KeyType::default(),
                profile: None,
                directory: String::new(),
                account: String::new(),
                account_id: None,
                eab_kid: None,
                order: String::new(),
                issued: begin,
                not_before: begin,
                not_after: begin + SignedDuration::from_hours(24 * days),
                serial: String::new(),
                issuer: String::new(),
                ari_id: None,
                crl: None,
                top_issuer: None,
                left_out: Vec::new(),
                spec: Spec::default(),
                revoked: None,
            };
            assert_eq!(
                version.renew_at(),
                begin + SignedDuration::from_hours(24 * after)
            );
        }
    }
}
