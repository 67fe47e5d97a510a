//! Account keys, and the requests they sign: flattened JSON with ES256 (RFC 8555 section 6.2, RFC 7515).
//!
//! ES256 is the one algorithm that every CA has to take, and what our accounts have; other keys sign through [`JwsKey`], too. A request is signed anew for every nonce, and its URL goes
//! into the signature exactly as the server wrote it.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use aws_lc_rs::encoding::AsBigEndian;
use aws_lc_rs::encoding::EcPrivateKeyBin;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
use aws_lc_rs::signature::EcdsaKeyPair;
use aws_lc_rs::signature::KeyPair;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use rustls_pki_types::PrivatePkcs8KeyDer;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use serde::Serialize;
use serde_json::Value;
use serde_json::json;
use zeroize::Zeroizing;

use super::error::AcmeError;
use super::lenient_base64::decode_either;

/// An account's key pair, P-256; cheap to clone.
#[derive(Clone)]
pub struct AccountKey(Arc<Inner>);

struct Inner {
    pair: EcdsaKeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl AccountKey {
    /// A new key.
    pub fn generate() -> Result<Self, AccountKeyError> {
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                .map_err(|_| AccountKeyError::Generate)?;
        Self::from_der(document.as_ref().to_vec())
    }

    /// The key in a PKCS#8 document: its DER in either base64 alphabet, or PEM.
    pub fn from_pkcs8(text: &SecretString) -> Result<Self, AccountKeyError> {
        let text = text.expose_secret().trim();
        let der = match text.starts_with("-----BEGIN") {
            true => pem::parse(text)
                .ok()
                .filter(|block| block.tag() == "PRIVATE KEY")
                .map(pem::Pem::into_contents)
                .ok_or(AccountKeyError::Pem)?,
            false => decode_either(text).map_err(|_| AccountKeyError::Base64)?,
        };
        Self::from_der(der)
    }

    /// The DER of the PKCS#8 document, in base64url without padding.
    pub fn pkcs8_base64(&self) -> SecretString {
        BASE64_URL_SAFE_NO_PAD.encode(&*self.0.pkcs8).into()
    }

    /// The whole key as a JWK (RFC 7517), as certbot keeps it.
    pub fn to_private_jwk(&self) -> SecretString {
        let mut jwk = self.jwk();
        let private = self.0.pair.private_key();
        let private: Result<EcPrivateKeyBin<'_>, _> = private.as_be_bytes();
        if let Ok(d) = private {
            jwk["d"] = json!(base64url(d.as_ref()));
        }
        jwk.to_string().into()
    }

    /// The whole key as one PEM block `PRIVATE KEY` (PKCS#8), as lego and acme.sh read it.
    pub fn to_pem(&self) -> SecretString {
        let block = pem::Pem::new("PRIVATE KEY", self.0.pkcs8.to_vec());
        pem::encode_config(&block, super::key::LF).into()
    }

    /// The thumbprint of the public key (RFC 7638), in base64url.
    pub fn thumbprint(&self) -> String {
        let (x, y) = self.coordinates();
        // Exactly this order and no white space: RFC 7638 section 3.
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        base64url(digest::digest(&digest::SHA256, canonical.as_bytes()))
    }

    /// Whether a certificate's public key, as an uncompressed point, is this one (RFC 8555 section 11.1).
    pub(super) fn has_public_key(&self, point: &[u8]) -> bool {
        self.0.pair.public_key().as_ref() == point
    }

    pub(super) fn pkcs8_der(&self) -> PrivatePkcs8KeyDer<'_> {
        PrivatePkcs8KeyDer::from(self.0.pkcs8.as_slice())
    }

    /// The public key as a JWK.
    pub(super) fn jwk(&self) -> Value {
        let (x, y) = self.coordinates();
        json!({ "crv": "P-256", "kty": "EC", "x": x, "y": y })
    }

    fn coordinates(&self) -> (String, String) {
        // 4 for "uncompressed", then two coordinates of 32 octets (SEC 1 section 2.3.3).
        let point = &self.0.pair.public_key().as_ref()[1..];
        let (x, y) = point.split_at(point.len() / 2);
        (base64url(x), base64url(y))
    }

    fn from_der(der: Vec<u8>) -> Result<Self, AccountKeyError> {
        let pkcs8 = Zeroizing::new(der);
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8)
            .map_err(|_| AccountKeyError::NotP256)?;
        Ok(Self(Arc::new(Inner { pair, pkcs8 })))
    }
}

impl fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AccountKey")
            .field(&self.thumbprint())
            .finish()
    }
}

/// Why there is no account key.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountKeyError {
    /// Neither of the two alphabets.
    #[error("the account key is not base64")]
    Base64,
    /// The random generator failed.
    #[error("an account key cannot be generated")]
    Generate,
    /// Another kind of key, or none.
    #[error("the account key is no PKCS#8 document with an ECDSA P-256 key")]
    NotP256,
    /// Not one PEM block with a PKCS#8 key.
    #[error("the account key is no PEM block `PRIVATE KEY`")]
    Pem,
}

/// A key that signs requests.
pub(super) trait JwsKey: fmt::Debug + Send + Sync {
    /// The name of what it signs with (RFC 7518 section 3.1).
    fn algorithm(&self) -> &'static str;

    /// The public half as a JWK, its members sorted.
    fn jwk(&self) -> Value;

    /// A signature in the form of RFC 7518 section 3.
    fn sign(&self, input: &[u8]) -> Result<Vec<u8>, AcmeError>;
}

impl JwsKey for AccountKey {
    fn algorithm(&self) -> &'static str {
        "ES256"
    }

    fn jwk(&self) -> Value {
        Self::jwk(self)
    }

    fn sign(&self, input: &[u8]) -> Result<Vec<u8>, AcmeError> {
        match self.0.pair.sign(&SystemRandom::new(), input) {
            Ok(signature) => Ok(signature.as_ref().to_vec()),
            Err(_) => Err(AcmeError::Local("the account key does not sign".to_owned())),
        }
    }
}

/// Who signs: an account, or, before there is one, the key alone (RFC 8555 section 6.2).
#[derive(Clone, Copy, Debug)]
pub(super) struct Signer<'a> {
    pub(super) key: &'a dyn JwsKey,
    pub(super) account: Option<&'a str>,
}

impl Signer<'_> {
    /// The body of one POST.
    pub(super) fn sign(
        &self,
        url: &str,
        nonce: &str,
        payload: &Payload,
    ) -> Result<Bytes, AcmeError> {
        let alg = self.key.algorithm();
        let header = match self.account {
            Some(kid) => json!({ "alg": alg, "kid": kid, "nonce": nonce, "url": url }),
            None => json!({ "alg": alg, "jwk": self.key.jwk(), "nonce": nonce, "url": url }),
        };
        let flattened = flattened(&header, payload, |input| self.key.sign(input))?;
        Ok(Bytes::from(flattened.to_string()))
    }
}

/// What a request says.
#[derive(Clone, Debug)]
pub(super) enum Payload {
    /// Nothing: POST-as-GET (RFC 8555 section 6.3).
    AsGet,
    Json(Value),
}

/// Header, payload and signature as one JSON object (RFC 7515 section 7.2.2).
pub(super) fn flattened<S: AsRef<[u8]>, E>(
    header: &Value,
    payload: &Payload,
    sign: impl FnOnce(&[u8]) -> Result<S, E>,
) -> Result<Value, E> {
    let protected = base64url(header.to_string());
    let payload = match payload {
        Payload::AsGet => String::new(),
        Payload::Json(value) => base64url(value.to_string()),
    };
    let signature = sign(format!("{protected}.{payload}").as_bytes())?;

    #[derive(Serialize)]
    struct Flattened {
        payload: String,
        protected: String,
        signature: String,
    }
    Ok(json!(Flattened {
        payload,
        protected,
        signature: base64url(signature),
    }))
}

pub(super) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED;
    use aws_lc_rs::signature::UnparsedPublicKey;

    use super::*;

    /// PKCS#8 of the P-256 key of RFC 7515 appendix A.3.
    pub(crate) fn rfc_key() -> AccountKey {
        let part = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
        let d = part("jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI");
        let x = part("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU");
        let y = part("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
        let head = part("MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg");
        let middle = [0xa1, 0x44, 0x03, 0x42, 0x00, 0x04];
        let der = [&head[..], &d, &middle, &x, &y].concat();
        AccountKey::from_pkcs8(&base64url(der).into()).unwrap()
    }

    #[test]
    fn thumbprints_are_those_of_other_tools() {
        // SHA-256 over the members in the order of RFC 7638 section 3, computed with Python's hashlib.
        assert_eq!(
            rfc_key().thumbprint(),
            "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U"
        );
    }

    #[test]
    fn a_key_survives_being_stored() {
        let key = AccountKey::generate().unwrap();
        let again = AccountKey::from_pkcs8(&key.pkcs8_base64()).unwrap();
        assert_eq!(again.thumbprint(), key.thumbprint());

        let pem = pem::encode(&pem::Pem::new("PRIVATE KEY", key.0.pkcs8.to_vec()));
        let again = AccountKey::from_pkcs8(&pem.into()).unwrap();
        assert_eq!(again.thumbprint(), key.thumbprint());
        let shown = format!("{key:?}");
        assert!(
            !shown.contains(key.pkcs8_base64().expose_secret()),
            "{shown}"
        );
    }

    #[test]
    fn what_is_no_key_says_so() {
        for (text, wanted) in [
            ("%%%", "not base64"),
            ("AAAA", "P-256"),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----",
                "PEM",
            ),
        ] {
            let error = AccountKey::from_pkcs8(&text.to_owned().into()).unwrap_err();
            assert!(error.to_string().contains(wanted), "{error}");
        }
    }

    #[test]
    fn requests_verify_and_name_key_or_account() {
        let key = rfc_key();
        let url = "https://ca.example/acme/new-order";
        for (account, payload) in [
            (Some("https://ca.example/acct/1"), Payload::AsGet),
            (None, Payload::Json(json!({}))),
        ] {
            let signer = Signer { key: &key, account };
            let body = signer.sign(url, "nonce1", &payload).unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap();
            let text = |name: &str| body[name].as_str().unwrap().to_owned();
            let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();

            let header: Value = serde_json::from_slice(&decode(&text("protected"))).unwrap();
            assert_eq!(header["alg"], "ES256");
            assert_eq!(header["nonce"], "nonce1");
            assert_eq!(header["url"], url);
            assert_eq!(header.get("kid").is_some(), account.is_some());
            assert_eq!(header.get("jwk").is_some(), account.is_none());
            match payload {
                Payload::AsGet => assert_eq!(text("payload"), ""),
                Payload::Json(_) => assert_eq!(decode(&text("payload")), b"{}"),
            }

            let input = format!("{}.{}", text("protected"), text("payload"));
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.0.pair.public_key())
                .verify(input.as_bytes(), &decode(&text("signature")))
                .unwrap();
        }
    }
}
