//! Keys and certificates: the root that clients of the HTTPS side trust, the issuing hierarchy, requests for
//! certificates, and the certificates themselves.
//!
//! All keys are made at start and never leave the process. The two hierarchies have nothing to do with each other, as
//! with a CA in production: trusting the one that serves the directory trusts no issued certificate.

use std::{fmt, net::IpAddr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CrlDistributionPoint, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
    SubjectPublicKeyInfo,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;
use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer,
    public_key::PublicKey,
    x509::SubjectPublicKeyInfo as ParsedSpki,
};

use super::{
    StartError,
    jws::Jwk,
    problem::{ErrorKind, Problem},
};

pub(super) type Issuer = CertifiedIssuer<'static, KeyPair>;

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// The certificate of the HTTPS side.
pub(super) struct ServerIdentity {
    pub(super) root_pem: String,
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerIdentity").finish_non_exhaustive()
    }
}

impl ServerIdentity {
    /// A root, and a certificate for the given hosts. Lives by the real clock, which is the one that clients check by.
    pub(super) fn generate(hosts: &[String]) -> Result<Self, StartError> {
        let now = Timestamp::now();
        let root = Issuer::self_signed(
            ca_params(
                "Sandbox TLS Root",
                now,
                SignedDuration::from_hours(24 * 3650),
            )?,
            KeyPair::generate()?,
        )?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(hosts)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.not_before = offset(now - DAY)?;
        // Apple's clients refuse server certificates that live longer than this.
        params.not_after = offset(now + DAY * 397)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.serial_number = Some(serial());
        let certificate = params.signed_by(&key, &root)?;
        Ok(Self {
            root_pem: root.pem(),
            chain: vec![certificate.der().clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        })
    }
}

/// The hierarchy that issues.
pub(super) struct Hierarchy {
    root: Issuer,
    /// From the one that signs leaves up to the one below the root.
    intermediates: Vec<Issuer>,
    alternates: Vec<Alternate>,
    /// Where the list of revoked certificates is, if it stands in certificates.
    crl_url: Option<String>,
    key_id: Vec<u8>,
}

/// Another root, and its own certificate for the topmost intermediate.
struct Alternate {
    root_pem: String,
    cross: String,
}

impl fmt::Debug for Hierarchy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hierarchy")
            .field("intermediates", &self.intermediates.len())
            .field("alternates", &self.alternates.len())
            .finish_non_exhaustive()
    }
}

impl Hierarchy {
    /// `intermediates` is at least 1.
    pub(super) fn generate(
        now: Timestamp,
        intermediates: usize,
        alternates: usize,
        crl_url: Option<String>,
    ) -> Result<Self, StartError> {
        let life = SignedDuration::from_hours(24 * 3650);
        let root = Issuer::self_signed(
            ca_params("Sandbox Root X1", now, life)?,
            KeyPair::generate()?,
        )?;
        let count = intermediates.max(1);
        let mut downwards: Vec<Issuer> = Vec::with_capacity(count);
        let mut topmost = None;
        for level in 0..count {
            let name = format!("Sandbox Intermediate E{}", count - level);
            let params = ca_params(&name, now, life)?;
            if level == 0 {
                topmost = Some(params.clone());
            }
            let issuer = downwards.last().unwrap_or(&root);
            let intermediate = Issuer::signed_by(params, KeyPair::generate()?, issuer)?;
            downwards.push(intermediate);
        }
        let mut others = Vec::with_capacity(alternates);
        if let (Some(params), Some(top)) = (topmost, downwards.first()) {
            for number in 0..alternates {
                let name = format!("Sandbox Root X{}", number + 2);
                let other =
                    Issuer::self_signed(ca_params(&name, now, life)?, KeyPair::generate()?)?;
                let mut params = params.clone();
                params.serial_number = Some(serial());
                others.push(Alternate {
                    root_pem: other.pem(),
                    cross: params.signed_by(top.key(), &other)?.pem(),
                });
            }
        }
        downwards.reverse();
        let key_id = match downwards.first() {
            Some(issuer) => key_id(issuer.key()),
            None => Vec::new(),
        };
        Ok(Self {
            root,
            intermediates: downwards,
            alternates: others,
            crl_url,
            key_id,
        })
    }

    pub(super) fn root_pem(&self) -> String {
        self.root.pem()
    }

    pub(super) fn alternate_root_pems(&self) -> Vec<String> {
        self.alternates.iter().map(|a| a.root_pem.clone()).collect()
    }

    pub(super) fn crl_url(&self) -> Option<&str> {
        self.crl_url.as_deref()
    }

    /// Who signs leaves.
    pub(super) fn issuer(&self) -> Option<&Issuer> {
        self.intermediates.first()
    }

    pub(super) fn alternates(&self) -> usize {
        self.alternates.len()
    }

    /// The intermediates of a chain as PEM; 0 is the default, `n` the n-th alternate.
    pub(super) fn chain_pem(&self, chain: usize) -> Option<String> {
        let mut pems: Vec<String> = self
            .intermediates
            .iter()
            .map(CertifiedIssuer::pem)
            .collect();
        if chain > 0 {
            *pems.last_mut()? = self.alternates.get(chain - 1)?.cross.clone();
        }
        Some(pems.concat())
    }

    /// Issues a certificate for the names with the key of a checked request.
    pub(super) fn issue(
        &self,
        key: &impl PublicKeyData,
        names: &[String],
        not_before: Timestamp,
        not_after: Timestamp,
    ) -> Result<Leaf, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.subject_alt_names = names
            .iter()
            .map(|name| Ok(SanType::DnsName(name.as_str().try_into()?)))
            .collect::<Result<_, rcgen::Error>>()?;
        params.not_before = whole_seconds(not_before)?;
        params.not_after = whole_seconds(not_after)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let serial = serial();
        let number = serial.to_bytes();
        params.serial_number = Some(serial);
        params.crl_distribution_points = self
            .crl_url
            .iter()
            .map(|url| CrlDistributionPoint {
                uris: vec![url.clone()],
            })
            .collect();
        let Some(issuer) = self.issuer() else {
            return Err(rcgen::Error::CouldNotParseCertificate);
        };
        let certificate = params.signed_by(key, issuer)?;
        Ok(Leaf {
            cert_id: cert_id(&self.key_id, &number),
            serial: number,
            der: certificate.der().to_vec(),
        })
    }
}

/// An issued certificate.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) der: Vec<u8>,
    /// Big-endian, without a sign octet.
    pub(super) serial: Vec<u8>,
    pub(super) cert_id: String,
}

/// The identifier of a certificate towards `renewalInfo` (RFC 9773 section 4.1).
pub(super) fn cert_id(key_id: &[u8], serial: &[u8]) -> String {
    // The content octets of a DER INTEGER carry a sign.
    let sign: &[u8] = if serial.first().is_some_and(|first| *first >= 0x80) {
        &[0]
    } else {
        &[]
    };
    format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(key_id),
        URL_SAFE_NO_PAD.encode([sign, serial].concat())
    )
}

/// A key that a test or a fault needs for a moment.
pub(super) fn throwaway_key() -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate()
}

/// The public key of a request for a certificate, once the request is in order (RFC 8555 section 7.4).
///
/// `accounts` are the keys that must not be used for a certificate (RFC 8555 section 11.1).
pub(super) fn check_csr<'a>(
    der: &[u8],
    names: &[String],
    mut accounts: impl Iterator<Item = &'a Jwk>,
) -> Result<SubjectPublicKeyInfo, Problem> {
    let bad = |detail: String| Problem::new(ErrorKind::BadCsr, detail);
    let (rest, csr) = X509CertificationRequest::from_der(der)
        .map_err(|err| bad(format!("CSR does not parse: {err}")))?;
    if !rest.is_empty() {
        return Err(bad(format!("{} octets follow the CSR", rest.len())));
    }
    csr.verify_signature()
        .map_err(|_| bad("signature of the CSR is not valid".to_owned()))?;
    let spki = &csr.certification_request_info.subject_pki;
    check_key(spki).map_err(bad)?;
    if accounts.any(|key| key.is_key_of(spki)) {
        return Err(bad(
            "certificate public key must be different than account key".to_owned(),
        ));
    }

    let mut asked = Vec::new();
    for extension in csr.requested_extensions().into_iter().flatten() {
        match extension {
            ParsedExtension::SubjectAlternativeName(san) => {
                for name in &san.general_names {
                    match name {
                        GeneralName::DNSName(name) => asked.push(name.to_ascii_lowercase()),
                        other => {
                            return Err(bad(format!(
                                "CSR asks for {other}, only DNS names are issued"
                            )));
                        }
                    }
                }
            }
            ParsedExtension::BasicConstraints(constraints) if constraints.ca => {
                return Err(bad("CSR asks for the certificate of a CA".to_owned()));
            }
            _ => {}
        }
    }
    for name in csr.certification_request_info.subject.iter_common_name() {
        let name = name
            .as_str()
            .map_err(|_| bad("common name of the CSR is no text".to_owned()))?;
        if name.len() > 64 {
            return Err(bad(
                "common name of the CSR is longer than 64 octets".to_owned()
            ));
        }
        asked.push(name.to_ascii_lowercase());
    }
    asked.sort();
    asked.dedup();
    if asked != names {
        return Err(bad(format!(
            "CSR asks for [{}], the order is for [{}]",
            asked.join(", "),
            names.join(", ")
        )));
    }
    SubjectPublicKeyInfo::from_der(spki.raw).map_err(|err| bad(format!("key of the CSR: {err}")))
}

fn check_key(spki: &ParsedSpki<'_>) -> Result<(), String> {
    match spki.parsed() {
        Ok(PublicKey::EC(point)) if matches!(point.key_size(), 256 | 384) => Ok(()),
        Ok(PublicKey::EC(point)) => Err(format!(
            "EC key of {} bits, use P-256 or P-384",
            point.key_size()
        )),
        Ok(PublicKey::RSA(key)) => match key.key_size() {
            2048 | 3072 | 4096 => Ok(()),
            bits => Err(format!("RSA key of {bits} bits, use 2048, 3072 or 4096")),
        },
        _ => Err("keys must be EC or RSA".to_owned()),
    }
}

fn ca_params(
    name: &str,
    now: Timestamp,
    life: SignedDuration,
) -> Result<CertificateParams, StartError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(
        DnType::OrganizationName,
        "dnseal sandbox, trusted by nobody",
    );
    params.distinguished_name.push(DnType::CommonName, name);
    // A clock that a test turns back by some days must not invalidate the hierarchy.
    params.not_before = offset(now - DAY * 365)?;
    params.not_after = offset(now + life)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params.serial_number = Some(serial());
    Ok(params)
}

/// The key identifier that rcgen writes for the key of one of our issuers.
fn key_id(key: &impl PublicKeyData) -> Vec<u8> {
    CertificateParams::default().key_identifier(key)
}

/// 128 random bits that do not begin with a zero octet, so that the length is always the same. Half of them need a
/// sign octet in DER.
fn serial() -> SerialNumber {
    let mut bytes = rand::random::<[u8; 16]>();
    bytes[0] = bytes[0].max(1);
    SerialNumber::from_slice(&bytes)
}

fn offset(at: Timestamp) -> Result<OffsetDateTime, StartError> {
    whole_seconds(at).map_err(StartError::from)
}

pub(super) fn whole_seconds(at: Timestamp) -> Result<OffsetDateTime, rcgen::Error> {
    OffsetDateTime::from_unix_timestamp(at.as_second()).map_err(|_| rcgen::Error::Time)
}

/// Reads the host names and addresses that a server certificate needs.
pub(super) fn server_hosts(host: &str, address: IpAddr) -> Vec<String> {
    let mut hosts = vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
        host.to_owned(),
    ];
    if !address.is_unspecified() {
        hosts.push(address.to_string());
    }
    hosts.sort();
    hosts.dedup();
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9773 section 4.1.
    #[test]
    fn cert_id_of_the_rfc() {
        let key_id = [
            0x69, 0x88, 0x5B, 0x6B, 0x87, 0x46, 0x40, 0x41, 0xE1, 0xB3, 0x7B, 0x84, 0x7B, 0xA0,
            0xAE, 0x2C, 0xDE, 0x01, 0xC8, 0xD4,
        ];
        assert_eq!(
            cert_id(&key_id, &[0x87, 0x65, 0x43, 0x21]),
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
        );
    }
}
