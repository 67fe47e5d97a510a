//! What is in a certificate that somebody names to be revoked, or that the store has.
//!
//! Nothing is judged here: the certificate may be expired, and from any CA.

use std::fmt;

use aws_lc_rs::digest;
use jiff::Timestamp;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::chain::hex;
use super::chain::name;
use super::jws::base64url;
use super::signing_key::SigningKey;

/// A certificate, as far as revoking needs it.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct Leaf {
    der: Vec<u8>,
    public_key: Vec<u8>,
    /// Its serial number in hexadecimal, with the leading zeros of its encoding.
    pub serial: String,
    /// The common name of its issuer, or the whole name where it has none.
    pub issuer: String,
    /// Until when it is valid.
    pub not_after: Timestamp,
    /// SHA-256 over its public key (SubjectPublicKeyInfo), in hexadecimal.
    pub spki_sha256: String,
}

impl Leaf {
    /// Reads the first certificate of PEM, or DER.
    pub fn read(content: &[u8]) -> Result<Self, LeafError> {
        match std::str::from_utf8(content) {
            Ok(text) if text.contains("-----BEGIN ") => {
                let blocks = pem::parse_many(text).map_err(|e| LeafError(e.to_string()))?;
                let block = blocks
                    .into_iter()
                    .find(|block| block.tag() == "CERTIFICATE")
                    .ok_or_else(|| LeafError("it holds no block CERTIFICATE".to_owned()))?;
                Self::from_der(block.into_contents())
            }
            _ => Self::from_der(content.to_vec()),
        }
    }

    /// Whether it is for the public half of this key.
    pub fn is_for(&self, key: &SigningKey) -> bool {
        self.public_key == key.public_key()
    }

    /// The DER, as a request wants it (RFC 8555 section 7.6).
    pub(super) fn base64url(&self) -> String {
        base64url(&self.der)
    }

    fn from_der(der: Vec<u8>) -> Result<Self, LeafError> {
        let (_, certificate) = X509Certificate::from_der(&der)
            .map_err(|e| LeafError(format!("neither PEM nor DER of one: {e}")))?;
        let seconds = certificate.validity().not_after.timestamp();
        let not_after = Timestamp::from_second(seconds).map_err(|e| LeafError(e.to_string()))?;
        let spki = digest::digest(&digest::SHA256, certificate.public_key().raw);
        Ok(Self {
            public_key: certificate
                .public_key()
                .subject_public_key
                .data
                .clone()
                .into_owned(),
            serial: hex(certificate.raw_serial()),
            issuer: name(certificate.issuer()),
            not_after,
            spki_sha256: hex(spki.as_ref()),
            der,
        })
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf")
            .field("serial", &self.serial)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

/// Why there is no certificate to be seen.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no certificate can be read: {0}")]
pub struct LeafError(String);

#[cfg(test)]
mod tests {
    use super::super::key::CertificateKey;
    use super::super::key::KeyType;
    use super::*;

    proptest::proptest! {
        #[test]
        fn no_octets_are_a_reason_to_panic(octets in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = Leaf::read(&octets);
        }
    }

    #[test]
    fn a_certificate_knows_its_key_whatever_its_form() {
        for kind in [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa2048] {
            let key = CertificateKey::generate(kind).unwrap();
            let pair =
                rcgen::KeyPair::from_pem(secrecy::ExposeSecret::expose_secret(&key.to_pem()))
                    .unwrap();
            let certificate = rcgen::CertificateParams::new(vec!["a.test".to_owned()])
                .unwrap()
                .self_signed(&pair)
                .unwrap();
            let leaf = Leaf::read(certificate.pem().as_bytes()).unwrap();
            assert_eq!(leaf, Leaf::read(certificate.der()).unwrap());
            assert_eq!(leaf.spki_sha256, key.spki_sha256());
            let signing = SigningKey::parse(&key.to_pem()).unwrap();
            assert!(leaf.is_for(&signing));
            let other = CertificateKey::generate(KeyType::EcdsaP256).unwrap();
            assert!(!leaf.is_for(&SigningKey::parse(&other.to_pem()).unwrap()));
        }
        for bad in [
            &b""[..],
            b"hello",
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
        ] {
            Leaf::read(bad).unwrap_err();
        }
    }
}
