//! What a request is signed with: flattened JWS (RFC 7515, RFC 8555 section 6.2) and the JSON Web Keys inside.
//!
//! Strict on purpose. A client that pads its base64, sends two kinds of key or leaves out the URL learns it here and
//! not from a CA in production. Nothing in this file knows of accounts or nonces; that is the caller's part.

use aws_lc_rs::{
    digest, hmac,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ParsedPublicKey,
        RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use x509_parser::{public_key::PublicKey, x509::SubjectPublicKeyInfo};

use super::problem::{ErrorKind, Problem};

/// What a `badSignatureAlgorithm` problem lists.
static ALGORITHMS: [&str; 3] = ["ES256", "ES384", "RS256"];

/// The three parts of a flattened JWS, decoded but not verified.
#[derive(Debug)]
pub(super) struct Jws {
    pub(super) header: Protected,
    pub(super) payload: Vec<u8>,
    signature: Vec<u8>,
    signed: String,
}

/// The protected header (RFC 8555 section 6.2).
#[derive(Debug, Deserialize)]
pub(super) struct Protected {
    pub(super) alg: String,
    pub(super) nonce: Option<String>,
    pub(super) url: Option<String>,
    pub(super) kid: Option<String>,
    pub(super) jwk: Option<Value>,
    crit: Option<Value>,
    b64: Option<Value>,
}

impl Jws {
    /// Takes apart the body of a request.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Problem> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|err| Problem::malformed(format!("request body is not JSON: {err}")))?;
        Self::from_value(&value)
    }

    /// Takes apart a JWS that is the value of a field, such as `externalAccountBinding`.
    pub(super) fn from_value(value: &Value) -> Result<Self, Problem> {
        let object = value
            .as_object()
            .ok_or_else(|| Problem::malformed("JWS is not a JSON object"))?;
        for (field, why) in [
            (
                "signatures",
                "JWS must have one signature, in flattened JSON serialization",
            ),
            ("header", "JWS must not have an unprotected header"),
        ] {
            if object.contains_key(field) {
                return Err(Problem::malformed(why));
            }
        }
        let protected = part(object, "protected")?;
        let payload = part(object, "payload")?;
        let signature = part(object, "signature")?;
        let header: Protected = serde_json::from_slice(&decode(protected, "protected header")?)
            .map_err(|err| Problem::malformed(format!("protected header of the JWS: {err}")))?;
        if header.crit.is_some() {
            return Err(Problem::malformed(
                "JWS header has critical extensions, none is supported",
            ));
        }
        if header.b64.is_some() {
            return Err(Problem::malformed("JWS header must not have `b64`"));
        }
        Ok(Self {
            payload: decode(payload, "payload")?,
            signature: decode(signature, "signature")?,
            signed: format!("{protected}.{payload}"),
            header,
        })
    }

    /// Checks the signature with a public key.
    pub(super) fn verify(&self, key: &Jwk) -> Result<(), Problem> {
        let expected = key.algorithm();
        if self.header.alg != expected {
            return Err(Problem::new(
                ErrorKind::BadSignatureAlgorithm,
                format!(
                    "JWS is signed with \"{}\", a key of this kind needs {expected}",
                    self.header.alg
                ),
            )
            .with_algorithms(&ALGORITHMS));
        }
        if key.verifies(self.signed.as_bytes(), &self.signature) {
            Ok(())
        } else {
            Err(Problem::malformed("JWS verification error"))
        }
    }

    /// Checks the MAC of an external account binding (RFC 8555 section 7.3.4). `None` when `alg` is no MAC.
    pub(super) fn verify_mac(&self, key: &[u8]) -> Option<bool> {
        let algorithm = match self.header.alg.as_str() {
            "HS256" => hmac::HMAC_SHA256,
            "HS384" => hmac::HMAC_SHA384,
            "HS512" => hmac::HMAC_SHA512,
            _ => return None,
        };
        let key = hmac::Key::new(algorithm, key);
        Some(hmac::verify(&key, self.signed.as_bytes(), &self.signature).is_ok())
    }

    /// Reads the payload as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        from_payload(&self.payload)
    }
}

/// Reads a payload that must be a JSON object.
pub(super) fn from_payload<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Problem> {
    if payload.is_empty() {
        return Err(Problem::malformed(
            "payload is empty, this resource expects a JSON object",
        ));
    }
    serde_json::from_slice(payload).map_err(|err| Problem::malformed(format!("payload: {err}")))
}

fn part<'a>(object: &'a Map<String, Value>, field: &str) -> Result<&'a str, Problem> {
    object
        .get(field)
        .and_then(Value::as_str)
        .ok_or_else(|| Problem::malformed(format!("JWS has no string `{field}`")))
}

/// base64url without padding; anything else is refused (RFC 8555 section 6.1).
pub(super) fn decode(text: &str, what: &str) -> Result<Vec<u8>, Problem> {
    if text.contains('=') {
        return Err(Problem::malformed(format!(
            "base64url of the {what} is padded"
        )));
    }
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|err| Problem::malformed(format!("base64url of the {what}: {err}")))
}

/// A public key that may sign requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Jwk {
    kind: JwkKind,
    thumbprint: String,
    json: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum JwkKind {
    /// The uncompressed point.
    P256(Vec<u8>),
    /// The uncompressed point.
    P384(Vec<u8>),
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
}

#[derive(Deserialize)]
struct EcMembers {
    crv: String,
    x: String,
    y: String,
}

#[derive(Deserialize)]
struct RsaMembers {
    n: String,
    e: String,
}

impl Jwk {
    pub(super) fn parse(value: &Value) -> Result<Self, Problem> {
        if value.get("d").is_some() {
            return Err(Problem::malformed("jwk holds a private key"));
        }
        let bad = |detail: String| Problem::new(ErrorKind::BadPublicKey, detail);
        let members = |err: serde_json::Error| Problem::malformed(format!("jwk: {err}"));
        let (kind, canonical) = match value.get("kty").and_then(Value::as_str) {
            Some("EC") => {
                let EcMembers { crv, x, y } = EcMembers::deserialize(value).map_err(members)?;
                // RFC 7638 section 3.2: required members in lexical order.
                let canonical = format!(r#"{{"crv":"{crv}","kty":"EC","x":"{x}","y":"{y}"}}"#);
                let size = match crv.as_str() {
                    "P-256" => 32,
                    "P-384" => 48,
                    _ => {
                        return Err(bad(format!(
                            "curve \"{crv}\" is not supported, use P-256 or P-384"
                        )));
                    }
                };
                let (x, y) = (decode(&x, "jwk's x")?, decode(&y, "jwk's y")?);
                if x.len() != size || y.len() != size {
                    return Err(Problem::malformed(format!(
                        "coordinates of a {crv} key have {size} octets"
                    )));
                }
                let point = [&[4][..], &x, &y].concat();
                let kind = if size == 32 {
                    JwkKind::P256(point)
                } else {
                    JwkKind::P384(point)
                };
                (kind, canonical)
            }
            Some("RSA") => {
                let RsaMembers { n, e } = RsaMembers::deserialize(value).map_err(members)?;
                let canonical = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
                let (n, e) = (decode(&n, "jwk's n")?, decode(&e, "jwk's e")?);
                if n.first() == Some(&0) || e.first() == Some(&0) {
                    return Err(Problem::malformed(
                        "numbers of an RSA key must not begin with a zero octet",
                    ));
                }
                match n.len() * 8 {
                    2048 | 3072 | 4096 => {}
                    bits => {
                        return Err(bad(format!(
                            "RSA key of {bits} bits, use 2048, 3072 or 4096"
                        )));
                    }
                }
                (JwkKind::Rsa { n, e }, canonical)
            }
            Some(other) => {
                return Err(bad(format!(
                    "key type \"{other}\" is not supported, use EC or RSA"
                )));
            }
            None => return Err(Problem::malformed("jwk has no `kty`")),
        };
        let on_curve = match &kind {
            JwkKind::P256(point) => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).is_ok(),
            JwkKind::P384(point) => ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).is_ok(),
            JwkKind::Rsa { .. } => true,
        };
        if !on_curve {
            return Err(bad("point of the key is not on its curve".to_owned()));
        }
        let thumbprint =
            URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()));
        let json = serde_json::from_str(&canonical)
            .map_err(|err| Problem::malformed(format!("jwk: {err}")))?;
        Ok(Self {
            kind,
            thumbprint,
            json,
        })
    }

    /// RFC 7638, SHA-256, base64url.
    pub(super) fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// The required members only.
    pub(super) fn json(&self) -> &Value {
        &self.json
    }

    fn algorithm(&self) -> &'static str {
        match self.kind {
            JwkKind::P256(_) => "ES256",
            JwkKind::P384(_) => "ES384",
            JwkKind::Rsa { .. } => "RS256",
        }
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.kind {
            JwkKind::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                .verify(message, signature)
                .is_ok(),
            JwkKind::P384(point) => UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point)
                .verify(message, signature)
                .is_ok(),
            JwkKind::Rsa { n, e } => RsaPublicKeyComponents { n, e }
                .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                .is_ok(),
        }
    }

    /// Whether a request for a certificate, or a certificate, is for this very key.
    pub(super) fn is_key_of(&self, spki: &SubjectPublicKeyInfo<'_>) -> bool {
        match (&self.kind, spki.parsed()) {
            (JwkKind::P256(point) | JwkKind::P384(point), Ok(PublicKey::EC(other))) => {
                point == other.data()
            }
            (JwkKind::Rsa { n, .. }, Ok(PublicKey::RSA(other))) => {
                n.as_slice() == other.modulus.strip_prefix(&[0]).unwrap_or(other.modulus)
            }
            _ => false,
        }
    }
}

/// Which of the two ways a request names its key.
#[derive(Debug)]
pub(super) enum KeyRef {
    Kid(String),
    Jwk(Jwk),
}

impl Protected {
    /// The key: exactly one of `kid` and `jwk` (RFC 8555 section 6.2).
    pub(super) fn key(&self) -> Result<KeyRef, Problem> {
        match (&self.kid, &self.jwk) {
            (Some(kid), None) => Ok(KeyRef::Kid(kid.clone())),
            (None, Some(jwk)) => Ok(KeyRef::Jwk(Jwk::parse(jwk)?)),
            (Some(_), Some(_)) => Err(Problem::malformed("`jwk` and `kid` are mutually exclusive")),
            (None, None) => Err(Problem::malformed("JWS header has neither `jwk` nor `kid`")),
        }
    }

    /// Refuses algorithms before any key is looked up (RFC 8555 section 6.2).
    pub(super) fn check_algorithm(&self) -> Result<(), Problem> {
        if ALGORITHMS.contains(&self.alg.as_str()) {
            return Ok(());
        }
        Err(Problem::new(
            ErrorKind::BadSignatureAlgorithm,
            format!("signature algorithm \"{}\" is not supported", self.alg),
        )
        .with_algorithms(&ALGORITHMS))
    }

    /// Checks that the request is signed for the URL it was sent to.
    pub(super) fn check_url(&self, expected: &str) -> Result<(), Problem> {
        match &self.url {
            Some(url) if url == expected => Ok(()),
            Some(url) => Err(Problem::malformed(format!(
                "JWS header parameter \"url\" is \"{url}\", the request was sent to \"{expected}\""
            ))),
            None => Err(Problem::malformed("JWS header has no `url`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// RFC 7638 section 3.1.
    #[test]
    fn thumbprint_of_the_rfc() {
        let key = json!({
            "kty": "RSA",
            "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
            "e": "AQAB",
            "alg": "RS256",
            "kid": "2011-04-29"
        });
        let key = Jwk::parse(&key).unwrap();
        assert_eq!(
            key.thumbprint(),
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
        );
    }

    #[test]
    fn padding_is_refused() {
        assert!(decode("YQ", "payload").is_ok());
        assert!(
            decode("YQ==", "payload")
                .unwrap_err()
                .detail
                .contains("padded")
        );
        assert!(decode("Y+Q", "payload").is_err());
    }

    #[test]
    fn a_point_off_the_curve_is_a_bad_key() {
        let zeros = URL_SAFE_NO_PAD.encode([1; 32]);
        let err = Jwk::parse(&json!({ "kty": "EC", "crv": "P-256", "x": zeros, "y": zeros }))
            .unwrap_err();
        assert_eq!(err.kind, ErrorKind::BadPublicKey);
    }

    #[test]
    fn keys_that_are_refused() {
        let small = URL_SAFE_NO_PAD.encode([0xff; 128]);
        for (jwk, kind) in [
            (
                json!({ "kty": "RSA", "n": small, "e": "AQAB" }),
                ErrorKind::BadPublicKey,
            ),
            (
                json!({ "kty": "OKP", "crv": "Ed25519", "x": "" }),
                ErrorKind::BadPublicKey,
            ),
            (
                json!({ "kty": "EC", "crv": "P-521", "x": "", "y": "" }),
                ErrorKind::BadPublicKey,
            ),
            (
                json!({ "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA" }),
                ErrorKind::Malformed,
            ),
            (
                json!({ "kty": "EC", "crv": "P-256", "d": "AA" }),
                ErrorKind::Malformed,
            ),
            (json!({}), ErrorKind::Malformed),
        ] {
            assert_eq!(Jwk::parse(&jwk).unwrap_err().kind, kind, "{jwk}");
        }
    }

    #[test]
    fn shapes_that_are_refused() {
        for body in [
            "[]",
            "{}",
            r#"{"protected":"","payload":"","signature":""}"#,
            r#"{"protected":"e30","payload":"","signatures":[]}"#,
            r#"{"protected":"e30","payload":"","signature":"","header":{}}"#,
            "not json",
        ] {
            assert_eq!(
                Jws::parse(body.as_bytes()).unwrap_err().kind,
                ErrorKind::Malformed,
                "{body}"
            );
        }
    }
}
