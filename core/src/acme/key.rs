//! Certificate keys and the CSR that each makes (RFC 8555 section 7.4, RFC 2986).
//!
//! A key leaves this type only as PKCS#8, and only where somebody asks for it. The CSR has the names in its SAN and an
//! empty subject: a common name adds nothing and holds only 64 characters.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1_SIGNING;
use aws_lc_rs::signature::ECDSA_P384_SHA384_ASN1_SIGNING;
use aws_lc_rs::signature::EcdsaKeyPair;
use rcgen::CertificateParams;
use rcgen::CustomExtension;
use rcgen::DistinguishedName;
use rcgen::KeyPair;
use rcgen::PublicKeyData;
use rcgen::RsaKeySize;
use rcgen::SanType;
use rustls_pki_types::PrivatePkcs8KeyDer;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use zeroize::Zeroizing;

use super::chain::hex;
use super::jws::AccountKey;
use crate::dns::Identifier;

/// The kinds of key a certificate can have.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum KeyType {
    /// ECDSA on P-256, the default.
    #[default]
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// RSA with 2048 bits.
    Rsa2048,
    /// RSA with 3072 bits.
    Rsa3072,
    /// RSA with 4096 bits.
    Rsa4096,
}

impl KeyType {
    /// Every kind there is.
    pub const ALL: [Self; 5] = [
        Self::EcdsaP256,
        Self::EcdsaP384,
        Self::Rsa2048,
        Self::Rsa3072,
        Self::Rsa4096,
    ];

    /// The name in configuration and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
        }
    }

    /// Whether it is an RSA key.
    pub fn is_rsa(self) -> bool {
        matches!(self, Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096)
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KeyType {
    type Err = KeyTypeError;

    /// Takes our names and those of lego, certbot and acme.sh.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "ecdsa-p256" | "ec256" | "ec-256" | "p256" | "p-256" | "secp256r1" | "ecdsa" => {
                Ok(Self::EcdsaP256)
            }
            "ecdsa-p384" | "ec384" | "ec-384" | "p384" | "p-384" | "secp384r1" => {
                Ok(Self::EcdsaP384)
            }
            "rsa-2048" | "rsa2048" | "2048" => Ok(Self::Rsa2048),
            "rsa-3072" | "rsa3072" | "3072" => Ok(Self::Rsa3072),
            "rsa-4096" | "rsa4096" | "4096" => Ok(Self::Rsa4096),
            _ => Err(KeyTypeError(text.to_owned())),
        }
    }
}

impl<'de> Deserialize<'de> for KeyType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl Serialize for KeyType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A text that names no kind of key.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no key type; there are ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072 and rsa-4096")]
pub struct KeyTypeError(String);

/// The private key of a certificate.
pub struct CertificateKey {
    kind: KeyType,
    pair: KeyPair,
}

impl CertificateKey {
    /// A new key. RSA takes up to some seconds of one core: call it where that blocks nobody.
    pub fn generate(kind: KeyType) -> Result<Self, CertificateKeyError> {
        let rsa = |size| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size);
        let pair = match kind {
            KeyType::EcdsaP256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            KeyType::EcdsaP384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            KeyType::Rsa2048 => rsa(RsaKeySize::_2048),
            KeyType::Rsa3072 => rsa(RsaKeySize::_3072),
            KeyType::Rsa4096 => rsa(RsaKeySize::_4096),
        };
        match pair {
            Ok(pair) => Ok(Self { kind, pair }),
            Err(error) => Err(CertificateKeyError::Generate {
                kind,
                detail: error.to_string(),
            }),
        }
    }

    /// The key in a PEM block: PKCS#8, or the older forms `EC PRIVATE KEY` and `RSA PRIVATE KEY`.
    pub fn from_pem(text: &SecretString) -> Result<Self, CertificateKeyError> {
        let blocks = pem::parse_many(text.expose_secret())
            .map_err(|e| CertificateKeyError::Pem(e.to_string()))?;
        let block = blocks
            .into_iter()
            // openssl puts `EC PARAMETERS` before the key.
            .find(|block| block.tag().ends_with("PRIVATE KEY"))
            .ok_or_else(|| CertificateKeyError::Pem("no PRIVATE KEY block".to_owned()))?;
        let tag = block.tag().to_owned();
        let der = Zeroizing::new(block.into_contents());
        let unknown = || CertificateKeyError::Unsupported;
        let pkcs8 = match tag.as_str() {
            "PRIVATE KEY" => der,
            "EC PRIVATE KEY" => [
                &ECDSA_P256_SHA256_ASN1_SIGNING,
                &ECDSA_P384_SHA384_ASN1_SIGNING,
            ]
            .iter()
            .find_map(|algorithm| {
                let pair = EcdsaKeyPair::from_private_key_der(algorithm, &der).ok()?;
                Some(Zeroizing::new(pair.to_pkcs8v1().ok()?.as_ref().to_vec()))
            })
            .ok_or_else(unknown)?,
            "RSA PRIVATE KEY" => {
                let pair = rsa::KeyPair::from_der(&der).map_err(|_| unknown())?;
                let document = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair);
                Zeroizing::new(document.map_err(|_| unknown())?.as_ref().to_vec())
            }
            "ENCRYPTED PRIVATE KEY" => return Err(CertificateKeyError::Encrypted),
            _ => return Err(unknown()),
        };

        let kind = kind_of(&pkcs8).ok_or_else(unknown)?;
        let algorithm = match kind {
            KeyType::EcdsaP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            KeyType::EcdsaP384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => &rcgen::PKCS_RSA_SHA256,
        };
        let der = PrivatePkcs8KeyDer::from(pkcs8.as_slice());
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&der, algorithm).map_err(|_| unknown())?;
        Ok(Self { kind, pair })
    }

    /// The key as one PEM block `PRIVATE KEY` (PKCS#8).
    pub fn to_pem(&self) -> SecretString {
        let block = pem::Pem::new("PRIVATE KEY", self.pair.serialized_der());
        pem::encode_config(&block, LF).into()
    }

    /// What kind of key it is.
    pub fn kind(&self) -> KeyType {
        self.kind
    }

    /// Whether an account signs with the same key, which RFC 8555 section 11.1 forbids.
    pub fn is_key_of(&self, account: &AccountKey) -> bool {
        account.has_public_key(self.public_key())
    }

    /// The DER of a CSR for these names: all in the SAN, an empty subject.
    pub fn csr(&self, identifiers: &[Identifier]) -> Result<Vec<u8>, CertificateKeyError> {
        self.csr_with(identifiers, false)
    }

    /// The same, which may demand that servers staple an OCSP answer (RFC 7633).
    pub fn csr_with(
        &self,
        identifiers: &[Identifier],
        must_staple: bool,
    ) -> Result<Vec<u8>, CertificateKeyError> {
        let failed = |error: rcgen::Error| CertificateKeyError::Csr(error.to_string());
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = identifiers
            .iter()
            .map(|identifier| Ok(SanType::DnsName(identifier.to_string().try_into()?)))
            .collect::<Result<_, rcgen::Error>>()
            .map_err(failed)?;
        if must_staple {
            let feature = CustomExtension::from_oid_content(TLS_FEATURE, STATUS_REQUEST.to_vec());
            params.custom_extensions.push(feature);
        }
        let csr = params.serialize_request(&self.pair).map_err(failed)?;
        Ok(csr.der().to_vec())
    }

    /// SHA-256 over the DER of its public key (SubjectPublicKeyInfo), in hexadecimal: by this a key is marked as compromised.
    pub fn spki_sha256(&self) -> String {
        let spki = self.pair.subject_public_key_info();
        hex(digest::digest(&digest::SHA256, &spki).as_ref())
    }

    /// The content of the public key's bit string.
    pub(super) fn public_key(&self) -> &[u8] {
        self.pair.der_bytes()
    }
}

impl fmt::Debug for CertificateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateKey")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Why there is no certificate key, or none that we can use.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateKeyError {
    /// The CSR cannot be made.
    #[error("the certificate signing request cannot be made: {0}")]
    Csr(String),
    /// A password protects it.
    #[error("the private key is encrypted, and nobody can be asked for its password")]
    Encrypted,
    /// The key cannot be made.
    #[error("a private key of type {kind} cannot be generated: {detail}")]
    Generate {
        /// Which kind.
        kind: KeyType,
        /// What the library said.
        detail: String,
    },
    /// No PEM block with a key.
    #[error("the private key is not PEM: {0}")]
    Pem(String),
    /// A key of another kind.
    #[error("the private key is none of ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072 and rsa-4096")]
    Unsupported,
}

fn kind_of(pkcs8: &[u8]) -> Option<KeyType> {
    if EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8).is_ok() {
        return Some(KeyType::EcdsaP256);
    }
    if EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, pkcs8).is_ok() {
        return Some(KeyType::EcdsaP384);
    }
    match rsa::KeyPair::from_pkcs8(pkcs8).ok()?.public_modulus_len() {
        256 => Some(KeyType::Rsa2048),
        384 => Some(KeyType::Rsa3072),
        512 => Some(KeyType::Rsa4096),
        _ => None,
    }
}

/// The extension by which a certificate demands stapling (RFC 7633).
const TLS_FEATURE: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 1, 24];
/// `SEQUENCE { INTEGER 5 }`: the TLS extension `status_request`.
const STATUS_REQUEST: [u8; 5] = [0x30, 0x03, 0x02, 0x01, 0x05];

pub(super) const LF: pem::EncodeConfig =
    pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);

#[cfg(test)]
mod tests {
    use x509_parser::certification_request::X509CertificationRequest;
    use x509_parser::extensions::GeneralName;
    use x509_parser::extensions::ParsedExtension;
    use x509_parser::prelude::FromDer;

    use super::*;

    #[test]
    fn a_csr_holds_the_names_and_no_subject() {
        let names: Vec<Identifier> = ["*.example.com", "example.com"]
            .map(|n| n.parse().unwrap())
            .to_vec();
        for kind in [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa2048] {
            let key = CertificateKey::generate(kind).unwrap();
            let der = key.csr(&names).unwrap();
            let (rest, csr) = X509CertificationRequest::from_der(&der).unwrap();
            assert!(rest.is_empty());
            csr.verify_signature().unwrap();
            assert_eq!(csr.certification_request_info.subject.iter().count(), 0);
            let sans: Vec<_> = csr
                .requested_extensions()
                .unwrap()
                .filter_map(|extension| match extension {
                    ParsedExtension::SubjectAlternativeName(san) => Some(&san.general_names),
                    _ => None,
                })
                .flatten()
                .map(|name| match name {
                    GeneralName::DNSName(name) => (*name).to_owned(),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(sans, ["*.example.com", "example.com"]);
        }
    }

    #[test]
    fn a_key_survives_being_stored() {
        for kind in [
            KeyType::EcdsaP256,
            KeyType::EcdsaP384,
            KeyType::Rsa2048,
            KeyType::Rsa3072,
        ] {
            let key = CertificateKey::generate(kind).unwrap();
            let pem = key.to_pem();
            assert!(
                pem.expose_secret()
                    .starts_with("-----BEGIN PRIVATE KEY-----\n")
            );
            assert!(!pem.expose_secret().contains('\r'));
            let again = CertificateKey::from_pem(&pem).unwrap();
            assert_eq!(again.kind(), kind);
            assert_eq!(again.public_key(), key.public_key());
            let shown = format!("{key:?}");
            assert!(shown.len() < 60, "{shown}");
        }
    }

    #[test]
    fn older_forms_become_pkcs8() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap();
        let sec1 =
            AsDer::<aws_lc_rs::encoding::EcPrivateKeyRfc5915Der<'_>>::as_der(&pair.private_key())
                .unwrap();
        let text = pem::encode(&pem::Pem::new("EC PRIVATE KEY", sec1.as_ref()));
        let text = format!(
            "-----BEGIN EC PARAMETERS-----\nBgUrgQQAIg==\n-----END EC PARAMETERS-----\n{text}"
        );
        let key = CertificateKey::from_pem(&text.into()).unwrap();
        assert_eq!(key.kind(), KeyType::EcdsaP384);
        assert!(
            key.to_pem()
                .expose_secret()
                .starts_with("-----BEGIN PRIVATE KEY-----")
        );
        CertificateKey::from_pem(&key.to_pem()).unwrap();
    }

    #[test]
    fn what_is_no_key_says_so() {
        let of = |text: &str| {
            CertificateKey::from_pem(&text.to_owned().into())
                .unwrap_err()
                .to_string()
        };
        assert!(of("hello").contains("no PRIVATE KEY block"));
        assert!(
            of("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----")
                .contains("encrypted")
        );
        assert!(
            of("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----").contains("none of")
        );
    }

    #[test]
    fn the_account_key_is_told_apart() {
        let account = AccountKey::generate().unwrap();
        let pem = pem::encode(&pem::Pem::new(
            "PRIVATE KEY",
            account.pkcs8_der().secret_pkcs8_der(),
        ));
        assert!(
            CertificateKey::from_pem(&pem.into())
                .unwrap()
                .is_key_of(&account)
        );
        assert!(
            !CertificateKey::generate(KeyType::EcdsaP256)
                .unwrap()
                .is_key_of(&account)
        );
    }

    #[test]
    fn names_of_key_types() {
        for kind in KeyType::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            let json = serde_json::to_string(&kind).unwrap();
            assert_eq!(serde_json::from_str::<KeyType>(&json).unwrap(), kind);
        }
        assert_eq!("EC256".parse(), Ok(KeyType::EcdsaP256));
        assert_eq!("rsa2048".parse(), Ok(KeyType::Rsa2048));
        assert!(
            "rsa-1024"
                .parse::<KeyType>()
                .unwrap_err()
                .to_string()
                .contains("rsa-2048")
        );
    }
}
