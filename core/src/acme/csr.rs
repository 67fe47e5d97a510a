//! A certificate signing request that somebody else made, and whose key stays with them (RFC 2986).
//!
//! It is sent as it is, so everything that could make the CA refuse it, or issue something else than was asked for, is found
//! here: a signature that does not fit, names that are no domain names, a common name beside the names.

use std::fmt;

use aws_lc_rs::digest;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::GeneralName;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

use super::chain::hex;
use super::jws::AccountKey;
use super::key::KeyType;
use crate::dns::Identifier;
use crate::web::printable;

/// A signing request that was checked.
#[derive(Clone, Eq, PartialEq)]
pub struct Csr {
    der: Vec<u8>,
    fingerprint: String,
    key_type: KeyType,
    must_staple: bool,
    names: Vec<Identifier>,
    public_key: Vec<u8>,
    spki_sha256: String,
}

impl Csr {
    /// Reads PEM or DER.
    pub fn parse(content: &[u8]) -> Result<Self, CsrError> {
        let is_text = content.windows(MARK.len()).any(|window| window == MARK);
        match is_text {
            true => Self::from_pem(content),
            false => Self::from_der(content.to_vec()),
        }
    }

    /// As it is sent.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 over its DER, in hexadecimal.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Whether an account signs with the same key, which RFC 8555 section 11.1 forbids.
    pub fn is_key_of(&self, account: &AccountKey) -> bool {
        account.has_public_key(&self.public_key)
    }

    /// What kind of key it is for.
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// Whether it asks that servers staple (RFC 7633).
    pub fn must_staple(&self) -> bool {
        self.must_staple
    }

    /// The names in it, each once.
    pub fn names(&self) -> &[Identifier] {
        &self.names
    }

    /// SHA-256 over the DER of its public key (SubjectPublicKeyInfo), in hexadecimal.
    pub fn spki_sha256(&self) -> &str {
        &self.spki_sha256
    }

    /// The content of the public key's bit string.
    pub(super) fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    fn from_pem(content: &[u8]) -> Result<Self, CsrError> {
        let blocks = pem::parse_many(content).map_err(|e| CsrError::Pem(e.to_string()))?;
        if let Some(key) = blocks.iter().find(|b| b.tag().ends_with("PRIVATE KEY")) {
            return Err(CsrError::PrivateKey {
                tag: key.tag().to_owned(),
            });
        }
        let block = blocks
            .into_iter()
            // The second is what old tools write.
            .find(|b| matches!(b.tag(), "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST"))
            .ok_or_else(|| CsrError::Pem("it has no block `CERTIFICATE REQUEST`".to_owned()))?;
        Self::from_der(block.into_contents())
    }

    fn from_der(der: Vec<u8>) -> Result<Self, CsrError> {
        let csr = match X509CertificationRequest::from_der(&der) {
            Ok(([], csr)) => csr,
            Ok(_) => return Err(CsrError::Der("there is more behind it".to_owned())),
            Err(error) => return Err(CsrError::Der(error.to_string())),
        };
        let info = &csr.certification_request_info;
        // First, because signatures of keys that are too small are not even looked at.
        let key_type = key_type(&info.subject_pki)?;
        csr.verify_signature().map_err(|_| CsrError::Signature)?;
        let mut names: Vec<Identifier> = Vec::new();
        let mut must_staple = false;
        for extension in csr.requested_extensions().into_iter().flatten() {
            match extension {
                ParsedExtension::SubjectAlternativeName(san) => {
                    for name in &san.general_names {
                        let name = name_of(name)?;
                        if !names.contains(&name) {
                            names.push(name);
                        }
                    }
                }
                // x509-parser knows no TLS features.
                ParsedExtension::UnsupportedExtension { oid } => {
                    must_staple |= oid.to_id_string() == TLS_FEATURE;
                }
                _ => {}
            }
        }
        for common in info.subject.iter_common_name() {
            let text = common.as_str().unwrap_or_default();
            let name: Identifier = text.parse().map_err(|_| CsrError::Name {
                name: printable(text),
            })?;
            // What only a subject says is a name all the same (RFC 8555 section 7.4).
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if names.is_empty() {
            return Err(CsrError::NoNames);
        }
        Ok(Self {
            fingerprint: hex(digest::digest(&digest::SHA256, &der).as_ref()),
            key_type,
            must_staple,
            names,
            public_key: info.subject_pki.subject_public_key.data.to_vec(),
            spki_sha256: hex(digest::digest(&digest::SHA256, info.subject_pki.raw).as_ref()),
            der,
        })
    }
}

impl fmt::Debug for Csr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Csr")
            .field("names", &self.names)
            .field("key_type", &self.key_type)
            .finish_non_exhaustive()
    }
}

/// Why a signing request is not used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CsrError {
    /// It cannot be read.
    #[error("it is no certificate signing request: {0}")]
    Der(String),
    /// A key that no certificate of ours can have.
    #[error(
        "its key is {0}, and a certificate can have ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072 and rsa-4096"
    )]
    Key(String),
    /// It asks for something that is no domain name.
    #[error("it asks for `{name}`, which is no domain name")]
    Name {
        /// What it asks for.
        name: String,
    },
    /// It asks for no name.
    #[error("it asks for no name: it has neither a subject alternative name nor a common name")]
    NoNames,
    /// It is no PEM.
    #[error("it is no PEM: {0}")]
    Pem(String),
    /// A key lies beside it.
    #[error("it holds a block `{tag}`")]
    PrivateKey {
        /// Which.
        tag: String,
    },
    /// It was not signed with its own key, or changed since.
    #[error("its signature does not fit: it was not made with its own key, or changed since")]
    Signature,
}

impl CsrError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::PrivateKey { .. } => {
                "give the request alone; for a key of your own there is `--key-file FILE`"
            }
            Self::Signature => "make the request once more with its key",
            Self::Name { .. } | Self::NoNames => {
                "put every name, and nothing else, into its subject alternative name (`openssl req -new -key KEY -subj / -addext subjectAltName=DNS:example.com`)"
            }
            Self::Der(_) | Self::Key(_) | Self::Pem(_) => return None,
        }
        .to_owned())
    }
}

fn name_of(name: &GeneralName<'_>) -> Result<Identifier, CsrError> {
    match name {
        GeneralName::DNSName(name) => name.parse().map_err(|_| CsrError::Name {
            name: printable(name),
        }),
        other => Err(CsrError::Name {
            name: printable(&other.to_string()),
        }),
    }
}

fn key_type(spki: &x509_parser::x509::SubjectPublicKeyInfo<'_>) -> Result<KeyType, CsrError> {
    match spki.parsed() {
        Ok(PublicKey::RSA(rsa)) => match rsa.key_size() {
            2048 => Ok(KeyType::Rsa2048),
            3072 => Ok(KeyType::Rsa3072),
            4096 => Ok(KeyType::Rsa4096),
            bits => Err(CsrError::Key(format!("RSA with {bits} bits"))),
        },
        Ok(PublicKey::EC(point)) => match point.key_size() {
            256 => Ok(KeyType::EcdsaP256),
            384 => Ok(KeyType::EcdsaP384),
            bits => Err(CsrError::Key(format!("ECDSA with {bits} bits"))),
        },
        _ => Err(CsrError::Key("of another kind".to_owned())),
    }
}

/// The extension by which a certificate demands stapling (RFC 7633).
const TLS_FEATURE: &str = "1.3.6.1.5.5.7.1.24";
const MARK: &[u8] = b"-----BEGIN ";

#[cfg(test)]
mod tests {
    use super::super::key::CertificateKey;
    use super::*;

    fn names(names: &[&str]) -> Vec<Identifier> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn pem_and_der_say_the_same() {
        for kind in [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa2048] {
            let key = CertificateKey::generate(kind).unwrap();
            let asked = names(&["example.com", "*.example.com"]);
            let der = key.csr_with(&asked, true).unwrap();
            let csr = Csr::parse(&der).unwrap();
            assert_eq!(csr.names(), asked);
            assert_eq!(csr.key_type(), kind);
            assert!(csr.must_staple());
            assert_eq!(csr.public_key(), key.public_key());
            assert_eq!(csr.spki_sha256(), key.spki_sha256());
            let text = pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", der));
            assert_eq!(
                Csr::parse(format!("made by hand\n{text}").as_bytes()).unwrap(),
                csr
            );
        }
        let key = CertificateKey::generate(KeyType::EcdsaP256).unwrap();
        let csr = Csr::parse(&key.csr(&names(&["a.test"])).unwrap()).unwrap();
        assert!(!csr.must_staple());
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        let key = CertificateKey::generate(KeyType::EcdsaP256).unwrap();
        let good = key.csr(&names(&["example.com"])).unwrap();

        let mut tampered = good.clone();
        let at = tampered
            .windows(7)
            .position(|window| window == b"example")
            .unwrap();
        tampered[at] = b'f';
        assert_eq!(Csr::parse(&tampered), Err(CsrError::Signature));

        let mut longer = good.clone();
        longer.push(0);
        assert!(matches!(Csr::parse(&longer), Err(CsrError::Der(_))));
        assert!(matches!(Csr::parse(b"hello"), Err(CsrError::Der(_))));
        assert!(matches!(
            Csr::parse(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            Err(CsrError::Pem(_))
        ));
        assert_eq!(Csr::parse(&key.csr(&[]).unwrap()), Err(CsrError::NoNames));
        use secrecy::ExposeSecret;
        let both = format!(
            "{}{}",
            key.to_pem().expose_secret(),
            pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", good))
        );
        let error = Csr::parse(both.as_bytes()).unwrap_err();
        assert!(matches!(error, CsrError::PrivateKey { .. }), "{error}");
        assert!(error.hint().unwrap().contains("--key-file"));

        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.subject_alt_names = vec![rcgen::SanType::IpAddress([192, 0, 2, 1].into())];
        let pair = rcgen::KeyPair::generate().unwrap();
        let request = params.serialize_request(&pair).unwrap();
        let error = Csr::parse(request.der()).unwrap_err();
        assert!(matches!(error, CsrError::Name { .. }), "{error}");
        let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let request = params.serialize_request(&ed25519).unwrap();
        assert!(matches!(
            Csr::parse(request.der()),
            Err(CsrError::Key(_) | CsrError::Signature)
        ));
    }

    #[test]
    fn a_key_that_is_too_small_is_told_as_such() {
        // Made by `openssl req -new -newkey rsa:1024 -nodes -subj /CN=example.com -addext subjectAltName=DNS:example.com`.
        const SMALL: &str = "\
-----BEGIN CERTIFICATE REQUEST-----\n\
MIIBfjCB6AIBADAWMRQwEgYDVQQDDAtleGFtcGxlLmNvbTCBnzANBgkqhkiG9w0B\n\
AQEFAAOBjQAwgYkCgYEAvOYt3tTYGhsz8K7L6sX/T4YVB8piGVjH4LLN1jxmVwYo\n\
B7ITAVbe23fpfo3F/aD05ZNKpzvaU9O5J+GDICcE3vN+kheE7LE1VaA0rbkExzFA\n\
Ad/Kh1qqad5tO6CIHxEcM0bNJpqIIBKE8eLI+mShz8YgX178mFYGmos4ZdByFC8C\n\
AwEAAaApMCcGCSqGSIb3DQEJDjEaMBgwFgYDVR0RBA8wDYILZXhhbXBsZS5jb20w\n\
DQYJKoZIhvcNAQELBQADgYEAeEcpoE6RfK3FeGhAUCjwan6ZZ7g1db71Tl0+ke83\n\
6gup/i0Cbhd5UXhaCp4upIMAdDUQKizEwKqfmsia+66bCVvuFexNAsM2wlpVuTSA\n\
yFlLaQ+tX9HskLu+cwhR53oYxWhPVQl0xZPjNyGAADhlVvMSclufYh6qI3+vkhV3\n\
H4U=\n\
-----END CERTIFICATE REQUEST-----";
        let error = Csr::parse(SMALL.as_bytes()).unwrap_err();
        assert_eq!(error, CsrError::Key("RSA with 1024 bits".to_owned()));
    }
}
