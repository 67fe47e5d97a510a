//! External account binding: that a new ACME account belongs to somebody the CA knows already (RFC 8555 section 7.3.4).
//!
//! The CA's web site gives a key id and an HMAC key, and people paste them as they come. The binding is an inner JWS
//! over the account's public key; only a new account carries one, because some CAs refuse it for an old one.

use std::fmt;

use aws_lc_rs::hmac;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use serde_json::Value;
use serde_json::json;

use super::jws::AccountKey;
use super::jws::Payload;
use super::jws::flattened;
use super::lenient_base64::decode_either;

/// A key id and an HMAC key from the CA.
#[derive(Clone)]
pub struct ExternalAccount {
    kid: String,
    key: hmac::Key,
}

impl ExternalAccount {
    /// Checks both halves; the HMAC key may be in either base64 alphabet, with padding and white space.
    pub fn parse(kid: &str, hmac_key: &SecretString) -> Result<Self, EabError> {
        let kid = kid.trim();
        if kid.is_empty() {
            return Err(EabError::NoKeyId);
        }
        let decoded =
            decode_either(hmac_key.expose_secret()).map_err(|error| EabError::NotBase64 {
                detail: error.to_string(),
            })?;
        match decoded.len() {
            0 => Err(EabError::NoKey),
            n if n < MIN_KEY => Err(EabError::Short { octets: n }),
            _ => Ok(Self {
                kid: kid.to_owned(),
                key: hmac::Key::new(hmac::HMAC_SHA256, &decoded),
            }),
        }
    }

    /// The key id.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The inner JWS: HS256, the outer request's URL, no nonce.
    pub(super) fn bind(&self, key: &AccountKey, url: &str) -> Value {
        let header = json!({ "alg": "HS256", "kid": self.kid, "url": url });
        let signed = flattened(&header, &Payload::Json(key.jwk()), |input| {
            Ok::<_, std::convert::Infallible>(hmac::sign(&self.key, input))
        });
        match signed {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }
}

impl fmt::Debug for ExternalAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalAccount")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// Why an external account binding cannot be used; never quotes the key.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EabError {
    /// The HMAC key is empty.
    #[error("the HMAC key of the external account binding is empty")]
    NoKey,
    /// The key id is empty.
    #[error("the key id of the external account binding is empty")]
    NoKeyId,
    /// The HMAC key cannot be decoded.
    #[error("the HMAC key of the external account binding is not base64: {detail}")]
    NotBase64 {
        /// What is wrong with it.
        detail: String,
    },
    /// The HMAC key is too short to be one.
    #[error(
        "the HMAC key of the external account binding has {octets} octets, and 16 are the fewest"
    )]
    Short {
        /// How many octets it has.
        octets: usize,
    },
}

impl EabError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(
            "copy key id and HMAC key again from the CA's account page; the key goes in as it is shown there"
                .to_owned(),
        )
    }
}

/// RFC 7518 section 3.2 wants 32 octets for HS256; this much less is a key that was cut off.
const MIN_KEY: usize = 16;

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;

    use super::super::jws::tests::rfc_key;
    use super::*;

    fn parse(kid: &str, key: &str) -> Result<ExternalAccount, EabError> {
        ExternalAccount::parse(kid, &key.to_owned().into())
    }

    #[test]
    fn keys_as_people_paste_them() {
        // Pebble's sample key, which begins like any other, and one that begins with a dash.
        for key in [
            "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W",
            "-_79zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9w",
            "+/79zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9w==\n",
        ] {
            assert_eq!(parse(" kid-1 ", key).unwrap().kid(), "kid-1");
        }
    }

    #[test]
    fn what_cannot_be_used_says_why_and_quotes_nothing() {
        assert_eq!(parse("", "AAAA").unwrap_err(), EabError::NoKeyId);
        assert_eq!(parse("k", " = ").unwrap_err(), EabError::NoKey);
        assert_eq!(
            parse("k", "AAAA").unwrap_err(),
            EabError::Short { octets: 3 }
        );
        let error = parse("k", "sec$ret").unwrap_err();
        assert!(error.to_string().contains("character 4"), "{error}");
        assert!(!error.to_string().contains("ret"), "{error}");
        let shown = format!(
            "{:?}",
            parse("k", "zWNDZM6eQGHWpSRTPal5eIUYFTu7Eaj").unwrap()
        );
        assert!(!shown.contains("zWND"), "{shown}");
    }

    #[test]
    fn the_binding_is_over_the_account_key() {
        let secret = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
        let binding = parse("kid-1", secret)
            .unwrap()
            .bind(&rfc_key(), "https://ca.example/new-account");
        let decode = |name: &str| {
            let text = binding[name].as_str().unwrap();
            BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()
        };
        let header: Value = serde_json::from_slice(&decode("protected")).unwrap();
        assert_eq!(
            header,
            json!({ "alg": "HS256", "kid": "kid-1", "url": "https://ca.example/new-account" })
        );
        let payload: Value = serde_json::from_slice(&decode("payload")).unwrap();
        assert_eq!(payload, rfc_key().jwk());

        let key = hmac::Key::new(hmac::HMAC_SHA256, &decode_either(secret).unwrap());
        let input = format!(
            "{}.{}",
            binding["protected"].as_str().unwrap(),
            binding["payload"].as_str().unwrap()
        );
        hmac::verify(&key, input.as_bytes(), &decode("signature")).unwrap();
    }
}
