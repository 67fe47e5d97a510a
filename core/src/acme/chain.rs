//! A downloaded chain, checked before anybody uses it (RFC 8555 sections 7.4.2 and 11.4).
//!
//! The file of a CA is written next to a private key and read by servers, so it may hold certificates and nothing else;
//! the first has to be for our key and for exactly the names ordered, each has to be signed by the next, and all have to
//! be valid now. Whether a root at the end is trusted is for those who connect to decide, not for us.

use std::collections::BTreeSet;

use aws_lc_rs::digest;
use jiff::Timestamp;
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::extensions::DistributionPointName;
use x509_parser::extensions::GeneralName;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Name;

use super::answer::start_of;
use super::csr::Csr;
use super::error::quoted;
use super::jws::base64url;
use super::key::CertificateKey;
use super::key::LF;
use crate::dns::Identifier;
use crate::web::printable;

/// A certificate with its chain, checked.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct CertificateChain {
    /// The certificate alone, in PEM.
    pub leaf_pem: String,
    /// What follows it, in PEM; empty where the CA sends nothing more.
    pub chain_pem: String,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when it is valid.
    pub not_after: Timestamp,
    /// Its serial number in hexadecimal, with the leading zeros of its encoding.
    pub serial: String,
    /// Who signed it.
    pub issuer: String,
    /// Who signed the last certificate of the chain, by which a chain is chosen.
    pub top_issuer: String,
    /// The key identifier of the issuer, in hexadecimal.
    pub authority_key_id: Option<String>,
    /// The name of the certificate in ARI (RFC 9773 section 4.1).
    pub ari_id: Option<String>,
    /// Where its issuer lists what is revoked, over HTTP (RFC 5280 section 4.2.1.13).
    pub crl: Option<String>,
    /// SHA-256 over its DER, in hexadecimal.
    pub fingerprint: String,
    /// The names of the issuers along the chain, from the leaf's on.
    pub issuers: Vec<String>,
}

impl CertificateChain {
    /// Checks a chain against the key and the names it was ordered for.
    pub fn check<'k>(
        pem: &str,
        key: impl Into<KeyOf<'k>>,
        identifiers: &[Identifier],
    ) -> Result<Self, ChainError> {
        Self::check_at(pem, key, identifiers, Timestamp::now())
    }

    /// The same, at another time than now.
    pub fn check_at<'k>(
        pem: &str,
        key: impl Into<KeyOf<'k>>,
        identifiers: &[Identifier],
        now: Timestamp,
    ) -> Result<Self, ChainError> {
        let key = key.into();
        let ders = certificates(pem)?;
        let parsed = ders
            .iter()
            .enumerate()
            .map(|(index, der)| parse(index, der))
            .collect::<Result<Vec<_>, _>>()?;
        let [leaf, ..] = parsed.as_slice() else {
            return Err(ChainError::empty(pem));
        };

        if *leaf.public_key().subject_public_key.data != *key.0 {
            return Err(ChainError::OtherKey);
        }
        check_names(leaf, identifiers)?;
        check_links(&parsed)?;
        check_validity(&parsed, now)?;

        let issuers: Vec<_> = parsed.iter().map(|c| name(c.issuer())).collect();
        let authority = authority_key_id(leaf);
        Ok(Self {
            leaf_pem: encode(&ders[..1]),
            chain_pem: encode(&ders[1..]),
            not_before: time(leaf.validity().not_before)?,
            not_after: time(leaf.validity().not_after)?,
            serial: hex(leaf.raw_serial()),
            issuer: name(leaf.issuer()),
            top_issuer: issuers.last().cloned().unwrap_or_default(),
            authority_key_id: authority.map(hex),
            ari_id: authority
                .map(|aki| format!("{}.{}", base64url(aki), base64url(leaf.raw_serial()))),
            crl: crl_url(leaf),
            fingerprint: hex(digest::digest(&digest::SHA256, &ders[0]).as_ref()),
            issuers,
        })
    }

    /// Whether the first certificate of `pem` is for `key`; for what was checked once and may have been touched since.
    pub fn is_for(pem: &str, key: &CertificateKey) -> bool {
        let Ok(ders) = certificates(pem) else {
            return false;
        };
        let Some(Ok(leaf)) = ders.first().map(|der| parse(0, der)) else {
            return false;
        };
        *leaf.public_key().subject_public_key.data == *key.public_key()
    }

    /// Whether `pem` is the chain of the certificate `serial` up to `top_issuer`; for what was checked once and may have been touched since.
    pub fn is_that_of(pem: &str, serial: &str, top_issuer: Option<&str>) -> bool {
        let Ok(ders) = certificates(pem) else {
            return false;
        };
        let parsed = ders
            .iter()
            .enumerate()
            .map(|(index, der)| parse(index, der));
        let Ok(parsed) = parsed.collect::<Result<Vec<_>, _>>() else {
            return false;
        };
        let (Some(leaf), Some(top)) = (parsed.first(), parsed.last()) else {
            return false;
        };
        hex(leaf.raw_serial()) == serial
            && top_issuer.is_none_or(|issuer| name(top.issuer()) == issuer)
    }

    /// The certificate and what follows it, as servers want it.
    pub fn fullchain_pem(&self) -> String {
        format!("{}{}", self.leaf_pem, self.chain_pem)
    }

    /// Whether the top of the chain was signed by a certificate of that common name, as `--preferred-chain` says it.
    pub fn is_under(&self, common_name: &str) -> bool {
        self.top_issuer.eq_ignore_ascii_case(common_name.trim())
    }
}

/// The public key that a certificate was ordered for.
#[derive(Clone, Copy, Debug)]
pub struct KeyOf<'a>(&'a [u8]);

impl<'a> From<&'a CertificateKey> for KeyOf<'a> {
    fn from(key: &'a CertificateKey) -> Self {
        Self(key.public_key())
    }
}

impl<'a> From<&'a Csr> for KeyOf<'a> {
    fn from(csr: &'a Csr) -> Self {
        Self(csr.public_key())
    }
}

/// Why a chain is not used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// No certificate at all.
    #[error("the CA sent no certificate{}", quoted(start))]
    Empty {
        /// How what it sent begins.
        start: String,
    },
    /// A block that is no certificate, such as a private key (RFC 8555 section 11.4).
    #[error("the CA sent a PEM block `{0}` among the certificates")]
    Injected(String),
    /// A certificate that cannot be read.
    #[error("certificate {} of the CA's chain cannot be read: {detail}", index + 1)]
    Malformed {
        /// Which, counted from zero.
        index: usize,
        /// What is wrong with it.
        detail: String,
    },
    /// Not the names that were ordered.
    #[error(
        "the certificate is not for the names that were ordered{}{}",
        differing(" it lacks", missing),
        differing(" it adds", added)
    )]
    Names {
        /// Ordered, and not in the certificate.
        missing: Vec<String>,
        /// In the certificate, and not ordered.
        added: Vec<String>,
    },
    /// Not valid now.
    #[error("certificate {} of the CA's chain (`{subject}`) is valid from {not_before} to {not_after}, and now is {now}", index + 1)]
    NotNow {
        /// Which, counted from zero.
        index: usize,
        /// Whose.
        subject: String,
        /// From when.
        not_before: Timestamp,
        /// Until when.
        not_after: Timestamp,
        /// This machine's clock.
        now: Timestamp,
    },
    /// The text is not PEM.
    #[error("the CA sent a certificate that is not PEM: {0}")]
    NotPem(String),
    /// For a key that is not ours.
    #[error("the certificate is for another key than ours")]
    OtherKey,
    /// Two neighbours that do not belong together.
    #[error("certificate {} of the CA's chain (issued by `{issuer}`) is not signed by the next one (`{next}`)", index + 1)]
    Unlinked {
        /// Which, counted from zero.
        index: usize,
        /// By whom it says it is signed.
        issuer: String,
        /// Who comes next.
        next: String,
    },
}

impl ChainError {
    fn empty(text: &str) -> Self {
        Self::Empty {
            start: start_of(text.as_bytes()),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotNow { .. } => Some("check the clock of this machine".to_owned()),
            _ => None,
        }
    }
}

pub(super) fn certificates(pem: &str) -> Result<Vec<Vec<u8>>, ChainError> {
    // By the text and not by a parser, which might skip what a server would read.
    for begin in pem.split("-----BEGIN ").skip(1) {
        if !begin.starts_with("CERTIFICATE-----") {
            let tag = begin.split("-----").next().unwrap_or_default();
            return Err(ChainError::Injected(
                printable(tag).chars().take(MAX_TAG).collect(),
            ));
        }
    }
    let blocks = pem::parse_many(pem).map_err(|e| ChainError::NotPem(e.to_string()))?;
    // A last line may have been cut before it says what it begins.
    let last_line = pem.trim_end().lines().last().unwrap_or_default();
    let begun = pem.matches(BEGIN).count()
        + usize::from(
            BEGIN.starts_with(last_line) && last_line.starts_with('-') && last_line != BEGIN,
        );
    match blocks.len() {
        0 if begun == 0 => Err(ChainError::empty(pem)),
        // The parser passes over a block without an end.
        ended if ended < begun => Err(ChainError::NotPem(format!(
            "of {begun} certificates only {ended} are whole"
        ))),
        _ => Ok(blocks.into_iter().map(pem::Pem::into_contents).collect()),
    }
}

fn parse(index: usize, der: &[u8]) -> Result<X509Certificate<'_>, ChainError> {
    let malformed = |detail: String| ChainError::Malformed { index, detail };
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(malformed("more octets than the certificate".to_owned())),
        Err(error) => Err(malformed(error.to_string())),
    }
}

fn check_names(leaf: &X509Certificate<'_>, identifiers: &[Identifier]) -> Result<(), ChainError> {
    let san = leaf
        .subject_alternative_name()
        .map_err(|e| ChainError::Malformed {
            index: 0,
            detail: e.to_string(),
        })?;
    let held: BTreeSet<String> = san
        .into_iter()
        .flat_map(|extension| &extension.value.general_names)
        .map(|name| match name {
            GeneralName::DNSName(name) => name.to_ascii_lowercase(),
            other => printable(&other.to_string()),
        })
        .collect();
    let ordered: BTreeSet<String> = identifiers.iter().map(Identifier::to_string).collect();
    if held == ordered {
        return Ok(());
    }
    Err(ChainError::Names {
        missing: ordered.difference(&held).cloned().collect(),
        added: held.difference(&ordered).cloned().collect(),
    })
}

fn check_links(chain: &[X509Certificate<'_>]) -> Result<(), ChainError> {
    for (index, pair) in chain.windows(2).enumerate() {
        let [certificate, next] = pair else { continue };
        let signed = match certificate.verify_signature(Some(next.public_key())) {
            // An algorithm newer than we are is no reason to refuse; the names still have to fit.
            Ok(()) | Err(X509Error::SignatureUnsupportedAlgorithm) => true,
            Err(_) => false,
        };
        if !signed || certificate.issuer().as_raw() != next.subject().as_raw() {
            return Err(ChainError::Unlinked {
                index,
                issuer: name(certificate.issuer()),
                next: name(next.subject()),
            });
        }
    }
    Ok(())
}

fn check_validity(chain: &[X509Certificate<'_>], now: Timestamp) -> Result<(), ChainError> {
    for (index, certificate) in chain.iter().enumerate() {
        let not_before = time(certificate.validity().not_before)?;
        let not_after = time(certificate.validity().not_after)?;
        let early = now + MAX_SKEW < not_before;
        if early || now > not_after || not_after <= not_before {
            return Err(ChainError::NotNow {
                index,
                subject: name(certificate.subject()),
                not_before,
                not_after,
                now,
            });
        }
    }
    Ok(())
}

fn authority_key_id<'a>(leaf: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    leaf.extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(aki) => {
                aki.key_identifier.as_ref().map(|id| id.0)
            }
            _ => None,
        })
}

/// The first list over HTTP that has every reason in it.
fn crl_url(leaf: &X509Certificate<'_>) -> Option<String> {
    let points =
        leaf.extensions()
            .iter()
            .find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::CRLDistributionPoints(points) => Some(points),
                _ => None,
            })?;
    points
        .iter()
        .filter(|point| point.reasons.is_none() && point.crl_issuer.is_none())
        .filter_map(|point| match point.distribution_point.as_ref()? {
            DistributionPointName::FullName(names) => Some(names),
            DistributionPointName::NameRelativeToCRLIssuer(_) => None,
        })
        .flatten()
        .find_map(|name| match name {
            GeneralName::URI(url) if url.starts_with("http://") || url.starts_with("https://") => {
                Some((*url).to_owned())
            }
            _ => None,
        })
}

/// The common name, or the whole name where there is none.
pub(super) fn name(name: &X509Name<'_>) -> String {
    let common = name.iter_common_name().find_map(|cn| cn.as_str().ok());
    printable(
        common
            .map_or_else(|| name.to_string(), str::to_owned)
            .as_str(),
    )
}

fn time(time: ASN1Time) -> Result<Timestamp, ChainError> {
    Timestamp::from_second(time.timestamp()).map_err(|e| ChainError::Malformed {
        index: 0,
        detail: e.to_string(),
    })
}

fn encode(ders: &[Vec<u8>]) -> String {
    ders.iter()
        .map(|der| pem::encode_config(&pem::Pem::new("CERTIFICATE", der.as_slice()), LF))
        .collect()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;

    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn differing(what: &str, names: &[String]) -> String {
    match names.is_empty() {
        true => String::new(),
        false => format!(",{what} {}", names.join(", ")),
    }
}

/// A clock may run this far behind the CA's; CAs date certificates back by an hour themselves.
const MAX_SKEW: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const MAX_TAG: usize = 40;

#[cfg(test)]
mod tests;
