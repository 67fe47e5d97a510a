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

    /// A key that josepy, certbot's library, has made, as certbot keeps it.
    const CERTBOT_RSA: &str = r#"{"kty":"RSA",
        "n":"rfOHNTqlIQviUCGoD_8S8ypdDQGpnw_-gq9u6OLO-SKWJc3O1sGXraqrmU_P2naw4Mqh22tpDJlCfCZPBZM9HW099mDJH7JOPtqKtG33fhKTqWbmc3Q53OaCsaHuWqy6eGBnvSNd3dAsabIccOFtpNmvJQvOzLsAaPQOH-g1eUuEP6s1KcDDDYQ9mI-H6LKPVaoeGx0T4izQ4-Tbz4DDXxumhKMxMywKeS8_GE9jLUCu1pH12sdZXJs0PLtvgYxYXkCDYqyQ7NPQUJZ3leqe_enqPUWcE2h6L3WzCJMNLfehCCJ3izf1F2UXo2uyfa7AuLyt_pyGFa2WBR-DzDPeqQ",
        "e":"AQAB",
        "d":"AeggWGmmB3qUPp1d1J4OyL5TQoodAD66Qxe18yTQULwLsgqjXKiG13seUioFLN998RrbgxaWclJIP6jiVxzt77GDuzyEm922HJuD53YonzfIKVRUzJlurHCU6GpOXO1Vhm4FGRZHCEBIylhO1kBsVaEiubjbSZR3rM7XDEu88VFJVeGtbmnhzsHT8YIHLSKNjsZxpn3e82WWbwpz7FAM80obdF0CbxXdCL8l4ePVTWkzC5Is66aODX1QBkSmt-ZeLyLJF50J7ZoMtU50gpM6_l6cgsfkK-acU7n8Svt-Acw864kIS4tH7iPryVx55E-UsrtQ5ZdoxZNNsSk1rlouAQ",
        "p":"3r7uH6GhzZJHyx2hvfU477PMTYIohzZIdyeV21fVmiMXIhzM9vyxRc2rpLFLpmZlGyeSWu5l4jjUZoZvqadI9Ajv9RybG142yVoEmDorscwroLeEjb67Ma85HHb9n2q3Ii_zKQgRt7mvwEMLsUjoN9LrKTRLND0VBWCuac9RXKk",
        "q":"x-u7JXJFdL3IVgeoGXNIMvWQ3h4Xt0twPNMci5Nt851fWLesmwUP84lfTCr68COk75KW1qGNzeXF_yw7pwJeFsdzIWWxZ8mCgGZGY7w7zmDKOSsYbPlNvfrB8uv_XElsVtW1C-9Sb_9IDdI6Or69ti18eygyz4NPXxOSbtLtsgE",
        "dp":"WuZ-FOiIOHVe2RQxomzFnIS6dlMMqQlND1tXO5kfsXRqh2BLgOvkiEEDsAUugyy8TBWdE4DAkU5x15k7TnfXPMe87UGMRuHu58LVpy3uEPPqRf8-l_3jNMZ2PxiMLheFvuzkhbUmTdz4TTTPO70uD0IC9-DAZAQdZQFsi_-wC2k",
        "dq":"l5E6gztNOSKg_cg0Q4dJF4lhWWSLKmXBI_wRyift1iJbpRErhSOjYkmlvENhmCoN46vJO9OjhJRNNhY863M6Dh8MRCerBjqZ--qONxMAbIipCAqKLCQeMogn_pm5MihgQL0o03GPmGV8JS5bAyqU_cciduSVEQpGZJicDfVQTAE",
        "qi":"Eeu3POWQi2Z1E4FV0uFsSugcj2PyjwdANxkBuALv2W2Q2p-jLD6vArjpD8A15a2zdE8Owy6N5veBxIE8tljM6chpdV0ve7MuNmsV99IyUqmQ0xsxjQxCFlGvjOhmXl4v6LpUPgLuWVytJzZ9evAj9z8bot3ugcJJYc4Wwcb1Qac"}"#;

    fn parse(text: &str) -> Result<SigningKey, SigningKeyError> {
        SigningKey::parse(&text.to_owned().into())
    }

    #[test]
    fn an_rsa_key_signs_as_others_do() {
        let key = parse(CERTBOT_RSA).unwrap();
        assert_eq!(key.kind(), "RSA 2048");
        assert_eq!(key.algorithm(), "RS256");
        // RS256 is deterministic: this is what Python's cryptography makes of it.
        let signature = base64url(key.sign(b"hello").unwrap());
        assert_eq!(
            signature,
            "l00iWbIMu3FnkIA-OZ2xPgpOUwMsy3-x8VlwU9abPvfWVjMnu7AjRQxmluVwbWD46PEfSogSI_nWTqxBghBkWHUj7jEmP7YPhHMh1tnOv8pBKKc2wTtu6_3x5v06YSBMDW9yBHW-i_Ty5I449rXazlGnea_RgdhiDuRHlKvotwfVifiGqGnm_uq-pZkS75eD4WWR_DU0Wc5WtqB9nGdGy0dUCWzRDAyRBP4WEcDPMnq7IfDLgKUYa6qtGPt9pmfOckeZN3_2Jm-5Bydz59f4lwGWNuxaVy05U1TuszkFuswpzqYA99Dzp2j5_6yA__-_hBsMxEIlnvFG9O9bcPyJQw"
        );
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key())
            .verify(b"hello", &key.sign(b"hello").unwrap())
            .unwrap();

        let wanted: Value = serde_json::from_str(CERTBOT_RSA).unwrap();
        assert_eq!(key.jwk()["n"], wanted["n"]);
        assert_eq!(key.jwk()["e"], "AQAB");
        assert_eq!(
            key.thumbprint(),
            "XVudvun2sUrNf-chwC7FEJTbx2X6gQsLDW-UWnrEYdQ"
        );
        let stored = SigningKey::parse(&key.pkcs8_base64()).unwrap();
        assert_eq!(stored.thumbprint(), key.thumbprint());
        assert!(key.to_account_key().is_none());
        assert!(!format!("{key:?}").contains(wanted["n"].as_str().unwrap()));
    }

    #[test]
    fn an_account_key_is_one_of_them() {
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

    proptest::proptest! {
        #[test]
        fn no_text_is_a_reason_to_panic(text in ".{0,200}", member in "[A-Za-z0-9_-]{0,60}") {
            let _ = parse(&text);
            let _ = parse(&format!(r#"{{"kty":"EC","crv":"P-521","d":"{member}","x":"{member}","y":"AQ"}}"#));
            let _ = parse(&CERTBOT_RSA.replacen("AQAB", &member, 1));
            let _ = parse(&format!("-----BEGIN PRIVATE KEY-----\n{member}\n-----END PRIVATE KEY-----"));
        }
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
