//! Orders as a CA tells them (RFC 8555 section 7.1.3).
//!
//! Read for what we use and no more: an unknown status, a member that is missing, new or unreadable must not stop an
//! order that is otherwise fine.

use std::fmt;

use jiff::Timestamp;
use serde::Deserialize;
use serde::Deserializer;
use serde_json::Value;
use serde_json::json;

use super::problem::Problem;
use crate::dns::Identifier;
use crate::web::printable;

/// What to order.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewOrder<'a> {
    /// The names, each once.
    pub identifiers: &'a [Identifier],
    /// One of the profiles that the directory advertises.
    pub profile: Option<&'a str>,
    /// The certificate that this order replaces, as its ARI identifier (RFC 9773 section 4.1).
    pub replaces: Option<&'a str>,
    /// From when the certificate is to be valid; most CAs refuse to be asked.
    pub not_before: Option<Timestamp>,
    /// Until when the certificate is to be valid; most CAs refuse to be asked.
    pub not_after: Option<Timestamp>,
}

impl NewOrder<'_> {
    /// The payload of the request.
    pub(super) fn payload(&self) -> Value {
        let identifiers: Vec<_> = self
            .identifiers
            .iter()
            .map(|name| json!({ "type": "dns", "value": name.to_string() }))
            .collect();
        let mut payload = json!({ "identifiers": identifiers });
        for (member, value) in [
            ("profile", self.profile.map(str::to_owned)),
            ("replaces", self.replaces.map(str::to_owned)),
            ("notBefore", self.not_before.map(|at| at.to_string())),
            ("notAfter", self.not_after.map(|at| at.to_string())),
        ] {
            if let Some(value) = value {
                payload[member] = value.into();
            }
        }
        payload
    }
}

/// An order (RFC 8555 section 7.1.3).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Order {
    /// Where it lives.
    pub url: String,
    /// Where it stands.
    pub status: OrderStatus,
    /// Until when the CA keeps it.
    pub expires: Option<Timestamp>,
    /// What it is for, as far as that are names of ours.
    pub identifiers: Vec<Identifier>,
    /// The URLs of its authorizations, in no particular order.
    pub authorizations: Vec<String>,
    /// Where the CSR goes.
    pub finalize: String,
    /// Where the certificate is, once the order is valid.
    pub certificate: Option<String>,
    /// Why it is invalid, where the CA says so.
    pub error: Option<Problem>,
    /// The profile that applies.
    pub profile: Option<String>,
    /// The certificate that it replaces, where the CA has taken note of that.
    pub replaces: Option<String>,
}

impl Order {
    pub(super) fn from_raw(url: String, raw: RawOrder) -> Self {
        let identifiers = raw.identifiers.into_iter();
        Self {
            url,
            status: raw.status,
            expires: raw.expires,
            identifiers: identifiers.filter_map(|i| i.subject(false)).collect(),
            authorizations: raw.authorizations,
            finalize: raw.finalize,
            certificate: raw.certificate,
            error: raw.error,
            profile: raw.profile,
            replaces: raw.replaces,
        }
    }
}

/// Where an order stands (RFC 8555 section 7.1.6).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum OrderStatus {
    /// Gone for good.
    Invalid,
    /// What is no status of RFC 8555.
    Other(String),
    /// Some authorization is not valid yet.
    Pending,
    /// The CA makes the certificate.
    Processing,
    /// The CSR may come.
    Ready,
    /// The certificate is there.
    Valid,
}

#[derive(Deserialize)]
pub(super) struct RawOrder {
    pub(super) status: OrderStatus,
    #[serde(default, deserialize_with = "lenient_time")]
    expires: Option<Timestamp>,
    #[serde(default)]
    identifiers: Vec<RawIdentifier>,
    #[serde(default)]
    authorizations: Vec<String>,
    #[serde(default)]
    finalize: String,
    certificate: Option<String>,
    error: Option<Problem>,
    profile: Option<String>,
    replaces: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct RawIdentifier {
    pub(super) value: String,
}

impl RawIdentifier {
    /// The name with its wildcard, where it is one that we can order.
    pub(super) fn subject(&self, wildcard: bool) -> Option<Identifier> {
        match wildcard && !self.value.starts_with("*.") {
            true => format!("*.{}", self.value).parse().ok(),
            false => self.value.parse().ok(),
        }
    }
}

macro_rules! status {
    ($name:ident { $($text:literal => $variant:ident),+ $(,)? }) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Ok(match text.as_str() {
                    $($text => Self::$variant,)+
                    _ => Self::Other(printable(&text)),
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$variant => $text,)+
                    Self::Other(text) => text,
                })
            }
        }
    };
}
pub(super) use status;

status!(OrderStatus {
    "invalid" => Invalid,
    "pending" => Pending,
    "processing" => Processing,
    "ready" => Ready,
    "valid" => Valid,
});
/// A time that cannot be read is no time, and no reason to refuse the rest.
pub(super) fn lenient_time<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Timestamp>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(value.as_str().and_then(|text| text.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_the_rfc() {
        // RFC 8555 section 7.1.3
        let raw = serde_json::from_str(
            r#"{
                "status": "valid",
                "expires": "2016-01-20T14:09:07.99Z",
                "identifiers": [
                    { "type": "dns", "value": "www.example.org" },
                    { "type": "dns", "value": "example.org" }
                ],
                "notBefore": "2016-01-01T00:00:00Z",
                "notAfter": "2016-01-08T00:00:00Z",
                "authorizations": [
                    "https://example.com/acme/authz/PAniVnsZcis",
                    "https://example.com/acme/authz/r4HqLzrSrpI"
                ],
                "finalize": "https://example.com/acme/order/TOlocE8rfgo/finalize",
                "certificate": "https://example.com/acme/cert/jWCdfHVGY2M"
            }"#,
        )
        .unwrap();
        let order = Order::from_raw("https://example.com/acme/order/TOlocE8rfgo".to_owned(), raw);
        assert_eq!(order.status, OrderStatus::Valid);
        assert_eq!(order.identifiers[1], "example.org".parse().unwrap());
        assert_eq!(order.authorizations.len(), 2);
        assert_eq!(
            order.expires.unwrap().to_string(),
            "2016-01-20T14:09:07.99Z"
        );
        assert!(order.certificate.is_some());
    }
}
