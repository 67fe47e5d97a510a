//! Keys that sign requests and are not ours by make: a certificate's own, and those that accounts of other tools have.
//!
//! An account of ours has a P-256 key ([`AccountKey`]). A [`SigningKey`] may be P-384, P-521 or RSA too, and is used for two
//! things: to prove that a certificate is to be revoked (RFC 8555 section 7.6), and to hand an imported account over to a key
//! of ours (section 7.3.5). It is read from PEM, from PKCS#8 and from a JWK.

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::encoding::Pkcs8V1Der;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
use aws_lc_rs::signature::ECDSA_P384_SHA384_FIXED_SIGNING;
use aws_lc_rs::signature::ECDSA_P521_SHA512_FIXED_SIGNING;
use aws_lc_rs::signature::EcdsaKeyPair;
use aws_lc_rs::signature::EcdsaSigningAlgorithm;
use aws_lc_rs::signature::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use serde_json::Value;
use serde_json::json;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::RSAPublicKey;
use zeroize::Zeroizing;

use super::error::AcmeError;
use super::jws::AccountKey;
use super::jws::JwsKey;
use super::jws::base64url;
use super::lenient_base64::decode_either;

/// A private key of any kind that CAs take signatures of.
pub struct SigningKey {
    pair: Pair,
    pkcs8: Zeroizing<Vec<u8>>,
}

enum Pair {
    Ec(&'static Curve, EcdsaKeyPair),
    Rsa(rsa::KeyPair, RsaPublic),
}

struct RsaPublic {
    modulus: String,
    exponent: String,
}

impl SigningKey {
    /// The key in a text: a JWK, a PEM block of any usual form, or the base64 of a PKCS#8 document.
    pub fn parse(text: &SecretString) -> Result<Self, SigningKeyError> {
        let trimmed = text.expose_secret().trim();
        match trimmed.as_bytes().first() {
            Some(b'{') => Self::from_jwk(trimmed),
            Some(b'-') => Self::from_pem(trimmed),
            Some(_) => {
                let der = decode_either(trimmed).map_err(|_| SigningKeyError::NoForm)?;
                Self::from_pkcs8(Zeroizing::new(der))
            }
            None => Err(SigningKeyError::NoForm),
        }
    }

    /// In a word or two, what kind of key it is: `ECDSA P-384`, `RSA 2048`.
    pub fn kind(&self) -> String {
        match &self.pair {
            Pair::Ec(curve, _) => format!("ECDSA {}", curve.name),
            Pair::Rsa(pair, _) => format!("RSA {}", pair.public_modulus_len() * 8),
        }
    }

    /// The same key as one of our accounts would have it, where it is of that kind.
    pub fn to_account_key(&self) -> Option<AccountKey> {
        match &self.pair {
            Pair::Ec(curve, _) if curve.name == "P-256" => {
                AccountKey::from_pkcs8(&self.pkcs8_base64()).ok()
            }
            _ => None,
        }
    }

    /// The DER of the PKCS#8 document, in base64url without padding, as the store keeps keys.
    pub fn pkcs8_base64(&self) -> SecretString {
        BASE64_URL_SAFE_NO_PAD.encode(&*self.pkcs8).into()
    }

    /// The thumbprint of the public key (RFC 7638), in base64url.
    pub fn thumbprint(&self) -> String {
        // serde_json sorts members, which is the order that RFC 7638 section 3 wants.
        base64url(digest::digest(
            &digest::SHA256,
            self.jwk().to_string().as_bytes(),
        ))
    }

    /// The content of the bit string that a certificate for this key has.
    pub(super) fn public_key(&self) -> &[u8] {
        match &self.pair {
            Pair::Ec(_, pair) => pair.public_key().as_ref(),
            Pair::Rsa(pair, _) => pair.public_key().as_ref(),
        }
    }

    fn from_pem(text: &str) -> Result<Self, SigningKeyError> {
        let blocks = pem::parse_many(text).map_err(|_| SigningKeyError::NoForm)?;
        let block = blocks
            .into_iter()
            // openssl puts `EC PARAMETERS` before the key.
            .find(|block| block.tag().ends_with("PRIVATE KEY"))
            .ok_or(SigningKeyError::NoForm)?;
        let tag = block.tag().to_owned();
        let der = Zeroizing::new(block.into_contents());
        match tag.as_str() {
            "PRIVATE KEY" => Self::from_pkcs8(der),
            "EC PRIVATE KEY" => CURVES
                .iter()
                .find_map(|curve| {
                    let pair = EcdsaKeyPair::from_private_key_der(curve.algorithm, &der).ok()?;
                    Self::from_ec(curve, pair)
                })
                .ok_or(SigningKeyError::Unsupported),
            "RSA PRIVATE KEY" => Self::from_pkcs1(&der),
            "ENCRYPTED PRIVATE KEY" => Err(SigningKeyError::Encrypted),
            _ => Err(SigningKeyError::Unsupported),
        }
    }

    fn from_pkcs8(pkcs8: Zeroizing<Vec<u8>>) -> Result<Self, SigningKeyError> {
        for curve in &CURVES {
            if let Ok(pair) = EcdsaKeyPair::from_pkcs8(curve.algorithm, &pkcs8) {
                // Written anew, because the form that OpenSSL writes has parts that others do not read.
                return Self::from_ec(curve, pair).ok_or(SigningKeyError::Unsupported);
            }
        }
        let pair = rsa::KeyPair::from_pkcs8(&pkcs8).map_err(|_| SigningKeyError::Unsupported)?;
        Self::from_rsa(pair, pkcs8)
    }

    fn from_pkcs1(der: &[u8]) -> Result<Self, SigningKeyError> {
        let pair = rsa::KeyPair::from_der(der).map_err(|_| SigningKeyError::Unsupported)?;
        let document = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair);
        let document = document.map_err(|_| SigningKeyError::Unsupported)?;
        let pkcs8 = Zeroizing::new(document.as_ref().to_vec());
        Self::from_rsa(pair, pkcs8)
    }

    fn from_ec(curve: &'static Curve, pair: EcdsaKeyPair) -> Option<Self> {
        let pkcs8 = Zeroizing::new(pair.to_pkcs8v1().ok()?.as_ref().to_vec());
        Some(Self {
            pair: Pair::Ec(curve, pair),
            pkcs8,
        })
    }

    fn from_rsa(pair: rsa::KeyPair, pkcs8: Zeroizing<Vec<u8>>) -> Result<Self, SigningKeyError> {
        let public = {
            let (_, key) = RSAPublicKey::from_der(pair.public_key().as_ref())
                .map_err(|_| SigningKeyError::Unsupported)?;
            RsaPublic {
                modulus: base64url(without_leading_zeros(key.modulus)),
                exponent: base64url(without_leading_zeros(key.exponent)),
            }
        };
        Ok(Self {
            pair: Pair::Rsa(pair, public),
            pkcs8,
        })
    }

    /// RFC 7517 and RFC 7518 section 6.
    fn from_jwk(text: &str) -> Result<Self, SigningKeyError> {
        let jwk: Value = serde_json::from_str(text).map_err(|_| SigningKeyError::NoForm)?;
        let member = |name: &'static str| {
            let text = jwk.get(name).and_then(Value::as_str);
            let decoded = text.and_then(|text| decode_either(text).ok());
            decoded
                .map(Zeroizing::new)
                .ok_or(SigningKeyError::Member(name))
        };
        match jwk.get("kty").and_then(Value::as_str) {
            Some("EC") => {
                let name = jwk.get("crv").and_then(Value::as_str);
                let curve = CURVES
                    .iter()
                    .find(|curve| Some(curve.name) == name)
                    .ok_or(SigningKeyError::Unsupported)?;
                let fixed = |octets: Zeroizing<Vec<u8>>| {
                    let octets = without_leading_zeros(&octets);
                    let mut padded = vec![0; curve.octets.saturating_sub(octets.len())];
                    padded.extend_from_slice(octets);
                    Zeroizing::new(padded)
                };
                let d = fixed(member("d")?);
                let (x, y) = (fixed(member("x")?), fixed(member("y")?));
                let point = [&[4], &x[..], &y[..]].concat();
                let pair =
                    EcdsaKeyPair::from_private_key_and_public_key(curve.algorithm, &d, &point)
                        .map_err(|_| SigningKeyError::Inconsistent)?;
                Self::from_ec(curve, pair).ok_or(SigningKeyError::Unsupported)
            }
            Some("RSA") => {
                // RSAPrivateKey of RFC 8017 appendix A.1.2.
                let mut body = Zeroizing::new(vec![2, 1, 0]);
                for name in ["n", "e", "d", "p", "q", "dp", "dq", "qi"] {
                    body.extend_from_slice(&der_integer(&member(name)?));
                }
                let der = Zeroizing::new(der_value(0x30, &body));
                Self::from_pkcs1(&der).map_err(|_| SigningKeyError::Inconsistent)
            }
            _ => Err(SigningKeyError::Unsupported),
        }
    }
}

impl JwsKey for SigningKey {
    fn algorithm(&self) -> &'static str {
        match &self.pair {
            Pair::Ec(curve, _) => curve.jws,
            Pair::Rsa(..) => "RS256",
        }
    }

    fn jwk(&self) -> Value {
        match &self.pair {
            Pair::Ec(curve, pair) => {
                // 4 for "uncompressed", then two coordinates of the same length (SEC 1 section 2.3.3).
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({ "crv": curve.name, "kty": "EC", "x": base64url(x), "y": base64url(y) })
            }
            Pair::Rsa(_, public) => {
                json!({ "e": public.exponent, "kty": "RSA", "n": public.modulus })
            }
        }
    }

    fn sign(&self, input: &[u8]) -> Result<Vec<u8>, AcmeError> {
        let random = SystemRandom::new();
        let signed = match &self.pair {
            Pair::Ec(_, pair) => pair.sign(&random, input).map(|s| s.as_ref().to_vec()),
            Pair::Rsa(pair, _) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, input, &mut signature)
                    .map(|()| signature)
            }
        };
        signed.map_err(|_| AcmeError::Local("the key does not sign".to_owned()))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kind", &self.kind())
            .finish_non_exhaustive()
    }
}

impl From<&AccountKey> for SigningKey {
    #[expect(clippy::expect_used, reason = "an account key is a P-256 key")]
    fn from(key: &AccountKey) -> Self {
        let der = Zeroizing::new(key.pkcs8_der().secret_pkcs8_der().to_vec());
        Self::from_pkcs8(der).expect("an account key is a P-256 key")
    }
}

/// Why a text holds no key that can sign; never quotes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SigningKeyError {
    /// A password protects it.
    #[error("the private key is encrypted, and nobody can be asked for its password")]
    Encrypted,
    /// The halves of the JWK do not belong together.
    #[error("the members of the JWK do not make one key")]
    Inconsistent,
    /// A member of the JWK is missing or no base64.
    #[error("the JWK has no usable member `{0}`")]
    Member(&'static str),
    /// Neither of the three forms.
    #[error("there is no private key: neither a JWK, nor PEM, nor the base64 of PKCS#8")]
    NoForm,
    /// A kind of key that we cannot use.
    #[error("the private key is neither ECDSA (P-256, P-384, P-521) nor RSA (2048 to 8192 bits)")]
    Unsupported,
}

struct Curve {
    algorithm: &'static EcdsaSigningAlgorithm,
    jws: &'static str,
    name: &'static str,
    /// Octets of a coordinate.
    octets: usize,
}

fn without_leading_zeros(octets: &[u8]) -> &[u8] {
    let zeros = octets.iter().take_while(|octet| **octet == 0).count();
    &octets[zeros..]
}

/// A positive INTEGER.
fn der_integer(octets: &[u8]) -> Zeroizing<Vec<u8>> {
    let octets = without_leading_zeros(octets);
    let mut content = Zeroizing::new(Vec::with_capacity(octets.len() + 1));
    if octets.first().is_none_or(|first| *first >= 0x80) {
        content.push(0);
    }
    content.extend_from_slice(octets);
    Zeroizing::new(der_value(2, &content))
}

fn der_value(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = without_leading_zeros(&length);
    let mut der = vec![tag];
    match (content.len(), u8::try_from(length.len())) {
        // Short: the length itself. Long: how many octets the length has, and those.
        (0..0x80, _) => der.push(length.first().copied().unwrap_or(0)),
        (_, Ok(octets)) => {
            der.push(0x80 | octets);
            der.extend_from_slice(length);
        }
        (_, Err(_)) => {}
    }
    der.extend_from_slice(content);
    der
}

static CURVES: [Curve; 3] = [
    Curve {
        algorithm: &ECDSA_P256_SHA256_FIXED_SIGNING,
        jws: "ES256",
        name: "P-256",
        octets: 32,
    },
    Curve {
        algorithm: &ECDSA_P384_SHA384_FIXED_SIGNING,
        jws: "ES384",
        name: "P-384",
        octets: 48,
    },
    Curve {
        algorithm: &ECDSA_P521_SHA512_FIXED_SIGNING,
        jws: "ES512",
        name: "P-521",
        octets: 66,
    },
];

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::EcPrivateKeyRfc5915Der;
    use aws_lc_rs::signature::ECDSA_P384_SHA384_FIXED;
    use aws_lc_rs::signature::ECDSA_P521_SHA512_FIXED;
    use aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256;
    use aws_lc_rs::signature::UnparsedPublicKey;

    use super::*;

    /// The RSA key of RFC 7515 appendix A.2.1.
    const RFC_RSA: &str = r#"{"kty":"RSA",
        "n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
        "e":"AQAB",
        "d":"Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOopznQ",
        "p":"4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw_Py5PJdTJNPY8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUc",
        "q":"uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul7TjeLQeZD_YwD66t62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdc",
        "dp":"BwKfV3Akq5_MFZDFZCnW-wzl-CCo83WoZvnLQwCTeDv8uzluRSnm71I3QCLdhrqE2e9YkxvuxdBfpT_PI7Yz-FOKnu1R6HsJeDCjn12Sk3vmAktV2zb34MCdy7cpdTh_YVr7tss2u6vneTwrA86rZtu5Mbr1C1XsmvkxHQAdYo0",
        "dq":"h_96-mK1R_7glhsum81dZxjTnYynPbZpHziZjeeHcXYsXaaMwkOlODsWa7I9xXDoRwbKgB719rrmI2oKr6N3Do9U0ajaHF-NKJnwgjMd2w9cjz3_-kyNlxAr2v4IKhGNpmM5iIgOS1VZnOZ68m6_pbLBSp3nssTdlqvd0tIiTHU",
        "qi":"IYd7DHOhrWvxkwPQsRM2tOgrjbcrfvtQJipd-DlcxyVuuMm9KFkM4LwV2owYNNnxyz7Z6gF7Oo0wVJz3mQ6wMVhR4LPy1LW_kgPDPhoUWn0YbFjMtgNuZKTKYaQ4GkHqhDbAQ7M4CAoJmFoLvD_bH2JvCsOD3XGTx7NhfVoUnYw"}"#;

    fn parse(text: &str) -> Result<SigningKey, SigningKeyError> {
        SigningKey::parse(&text.to_owned().into())
    }

    #[test]
    fn an_rsa_key_signs_as_the_rfc_says() {
        let key = parse(RFC_RSA).unwrap();
        assert_eq!(key.kind(), "RSA 2048");
        assert_eq!(key.algorithm(), "RS256");
        // RFC 7515 appendix A.2.1: RS256 is deterministic.
        let input = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        let signature = base64url(key.sign(input.as_bytes()).unwrap());
        assert!(
            signature.starts_with("cC4hiUPoj9Eetdgtv3hF80EGrhuB"),
            "{signature}"
        );
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key())
            .verify(input.as_bytes(), &key.sign(input.as_bytes()).unwrap())
            .unwrap();

        let n = key.jwk()["n"].as_str().unwrap().to_owned();
        assert!(n.starts_with("ofgWCuLjybRl"), "{n}");
        assert_eq!(key.jwk()["e"], "AQAB");
        let stored = SigningKey::parse(&key.pkcs8_base64()).unwrap();
        assert_eq!(stored.thumbprint(), key.thumbprint());
        assert!(key.to_account_key().is_none());
        assert!(!format!("{key:?}").contains("ofgW"));
    }

    #[test]
    fn thumbprints_of_the_rfc() {
        // RFC 7638 section 3.1, of which the RFC gives only the public half: the JWK is the same form.
        let public = json!({ "e": "AQAB", "kty": "RSA", "n": "0vx7" });
        assert_eq!(public.to_string(), r#"{"e":"AQAB","kty":"RSA","n":"0vx7"}"#);
        let ours = AccountKey::generate().unwrap();
        assert_eq!(SigningKey::from(&ours).thumbprint(), ours.thumbprint());
    }

    #[test]
    fn curves_of_all_forms() {
        for (curve, verifier) in [
            (&CURVES[1], &ECDSA_P384_SHA384_FIXED),
            (&CURVES[2], &ECDSA_P521_SHA512_FIXED),
        ] {
            let pair = EcdsaKeyPair::generate(curve.algorithm).unwrap();
            let sec1 = AsDer::<EcPrivateKeyRfc5915Der<'_>>::as_der(&pair.private_key()).unwrap();
            let sec1 = pem::encode(&pem::Pem::new("EC PRIVATE KEY", sec1.as_ref()));
            let key = parse(&sec1).unwrap();
            assert_eq!(key.kind(), format!("ECDSA {}", curve.name));
            let signature = key.sign(b"hello").unwrap();
            assert_eq!(signature.len(), 2 * curve.octets);
            UnparsedPublicKey::new(verifier, key.public_key())
                .verify(b"hello", &signature)
                .unwrap();
            let pkcs8 = pem::encode(&pem::Pem::new("PRIVATE KEY", key.pkcs8.to_vec()));
            assert_eq!(parse(&pkcs8).unwrap().thumbprint(), key.thumbprint());
        }
        let ours = AccountKey::generate().unwrap();
        let jwk = ours.to_private_jwk();
        let again = SigningKey::parse(&jwk).unwrap().to_account_key().unwrap();
        assert_eq!(again.thumbprint(), ours.thumbprint());
    }

    #[test]
    fn what_is_no_key_says_so_and_quotes_nothing() {
        for (text, wanted) in [
            ("", "there is no private key"),
            ("hello!", "there is no private key"),
            ("{}", "neither ECDSA"),
            (r#"{"kty":"RSA","n":"canary"}"#, "member `e`"),
            (r#"{"kty":"EC","crv":"P-256","d":"AQ"}"#, "member `x`"),
            (
                r#"{"kty":"EC","crv":"P-256","d":"AQ","x":"AQ","y":"AQ"}"#,
                "do not make one key",
            ),
            (r#"{"kty":"OKP","crv":"Ed25519","d":"AQ"}"#, "neither ECDSA"),
            (
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----",
                "encrypted",
            ),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
                "there is no private key",
            ),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(wanted), "{text}: {error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
