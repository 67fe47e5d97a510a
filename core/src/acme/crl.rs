//! Lists of revoked certificates (RFC 5280 section 5), as far as a subscriber needs them: whether a certificate of its own is on one.
//!
//! A list comes over plain HTTP from whatever address the certificate names, so nothing in it is believed before the
//! signature of the certificate's issuer is verified, and a list that is for other certificates, for some reasons only, or over,
//! is none.

use std::collections::HashMap;

use http::Method;
use jiff::Timestamp;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::DistributionPointName;
use x509_parser::extensions::GeneralName;
use x509_parser::extensions::IssuingDistributionPoint;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::revocation_list::RevokedCertificate;
use x509_parser::time::ASN1Time;
use x509_parser::x509::ReasonCode;

use super::chain::certificates;
use super::chain::hex;
use super::chain::name;
use super::error::AcmeError;
use super::retry::Retries;
use super::transport::Ask;
use super::transport::Transport;

/// What an issuer has revoked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RevocationList {
    /// When a newer one appears at the latest.
    pub next_update: Timestamp,
    revoked: HashMap<String, Entry>,
}

/// That one certificate is revoked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Entry {
    /// Since when.
    pub since: Timestamp,
    /// Whether somebody else may have its key.
    pub key_compromised: bool,
}

impl RevocationList {
    /// Fetches the list at `url`, for certificates that are signed by the second one of `fullchain`.
    pub async fn fetch(
        transport: &Transport,
        url: &str,
        fullchain: &str,
        now: Timestamp,
    ) -> Result<Self, CrlError> {
        let ask = Ask {
            method: Method::GET,
            url,
            resource: "revocationList",
            accept: None,
            body: None,
        };
        let answer = Retries::Brief
            .run(|| async {
                let answer = transport.fetch_signed(ask.clone(), MAX_LIST).await?;
                answer.into_result()
            })
            .await?;
        Self::parse(&answer.body, url, fullchain, now)
    }

    /// What this list says of the certificate with that serial number, in hexadecimal.
    pub fn entry(&self, serial: &str) -> Option<Entry> {
        self.revoked.get(significant(serial)).copied()
    }

    fn parse(der: &[u8], url: &str, fullchain: &str, now: Timestamp) -> Result<Self, CrlError> {
        let malformed = |detail: String| CrlError::Malformed {
            url: url.to_owned(),
            detail,
        };
        let chain = certificates(fullchain).unwrap_or_default();
        let issuer = chain
            .get(1)
            .and_then(|der| X509Certificate::from_der(der).ok())
            .map(|(_, issuer)| issuer);
        let issuer = issuer.ok_or_else(|| CrlError::NoIssuer {
            url: url.to_owned(),
        })?;
        let (_, list) =
            CertificateRevocationList::from_der(der).map_err(|e| malformed(e.to_string()))?;
        let signed = list.issuer().as_raw() == issuer.subject().as_raw()
            && list.verify_signature(issuer.public_key()).is_ok();
        if !signed {
            return Err(CrlError::NotSigned {
                url: url.to_owned(),
                issuer: name(issuer.subject()),
            });
        }
        if let Some(detail) = narrower(&list, url) {
            return Err(CrlError::Scope {
                url: url.to_owned(),
                detail,
            });
        }
        let time = |time: ASN1Time| {
            Timestamp::from_second(time.timestamp()).map_err(|e| malformed(e.to_string()))
        };
        let next_update = list
            .next_update()
            .ok_or_else(|| malformed("it does not say until when it holds".to_owned()))?;
        let next_update = time(next_update)?;
        if next_update <= now {
            return Err(CrlError::Over {
                url: url.to_owned(),
                next_update,
            });
        }
        let revoked = list
            .iter_revoked_certificates()
            .map(|revoked| {
                let serial = hex(revoked.raw_serial());
                let entry = Entry {
                    since: time(revoked.revocation_date)?,
                    key_compromised: is_compromised(revoked),
                };
                Ok((significant(&serial).to_owned(), entry))
            })
            .collect::<Result<_, CrlError>>()?;
        Ok(Self {
            next_update,
            revoked,
        })
    }
}

/// Why there is no list to look into.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CrlError {
    /// It could not be fetched.
    #[error(transparent)]
    Fetch(#[from] AcmeError),
    /// It is no list.
    #[error("what is at {url} is no list of revoked certificates: {detail}")]
    Malformed {
        /// Where.
        url: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The certificate of the issuer is not at hand.
    #[error("whether the list at {url} is true cannot be told without the issuer's certificate")]
    NoIssuer {
        /// Where.
        url: String,
    },
    /// Somebody else's.
    #[error("the list at {url} is not signed by `{issuer}`")]
    NotSigned {
        /// Where.
        url: String,
        /// Who should have.
        issuer: String,
    },
    /// An old one.
    #[error("the list at {url} has held until {next_update} and no longer")]
    Over {
        /// Where.
        url: String,
        /// Until when.
        next_update: Timestamp,
    },
    /// It says nothing about our certificate.
    #[error("the list at {url} is for other certificates: {detail}")]
    Scope {
        /// Where.
        url: String,
        /// For which.
        detail: String,
    },
}

/// What the list leaves out that a list of `url` has to have (RFC 5280 section 6.3.3), or is marked as not to be passed over.
fn narrower(list: &CertificateRevocationList<'_>, url: &str) -> Option<String> {
    for extension in list.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::IssuingDistributionPoint(point) => {
                if let Some(detail) = narrower_point(point, url) {
                    return Some(detail);
                }
            }
            // Among them the mark of a list of changes.
            _ if extension.critical => {
                return Some(format!("it has a critical extension {}", extension.oid));
            }
            _ => {}
        }
    }
    let critical = list
        .iter_revoked_certificates()
        .flat_map(RevokedCertificate::extensions)
        .find(|extension| extension.critical)?;
    Some(format!(
        "an entry has a critical extension {}",
        critical.oid
    ))
}

fn narrower_point(point: &IssuingDistributionPoint<'_>, url: &str) -> Option<String> {
    let partly = [
        (point.only_contains_ca_certs, "those of CAs only"),
        (point.only_contains_attribute_certs, "attributes only"),
        (point.only_some_reasons.is_some(), "some reasons only"),
        (point.indirect_crl, "those of other issuers, too"),
    ];
    if let Some((_, detail)) = partly.into_iter().find(|(is, _)| *is) {
        return Some(detail.to_owned());
    }
    // Else somebody on the way could give us another part of a list that is published in parts.
    match &point.distribution_point {
        Some(DistributionPointName::FullName(names)) => {
            let is_ours = |name: &GeneralName<'_>| matches!(name, GeneralName::URI(u) if *u == url);
            (!names.iter().any(is_ours)).then(|| "it is published elsewhere".to_owned())
        }
        Some(DistributionPointName::NameRelativeToCRLIssuer(_)) => {
            Some("it is published in a directory".to_owned())
        }
        None => None,
    }
}

fn is_compromised(revoked: &RevokedCertificate<'_>) -> bool {
    revoked
        .reason_code()
        .is_some_and(|(_, reason)| reason == ReasonCode::KeyCompromise)
}

/// A serial number without the zeros that one encoding puts before it and another does not.
fn significant(serial: &str) -> &str {
    serial.trim_start_matches('0')
}

/// Lists of CAs that publish one for everything have some hundred thousand entries.
const MAX_LIST: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use rcgen::BasicConstraints;
    use rcgen::CertificateParams;
    use rcgen::CertificateRevocationListParams;
    use rcgen::CertifiedIssuer;
    use rcgen::CrlDistributionPoint;
    use rcgen::CrlIssuingDistributionPoint;
    use rcgen::CrlScope;
    use rcgen::DnType;
    use rcgen::IsCa;
    use rcgen::KeyIdMethod;
    use rcgen::KeyPair;
    use rcgen::RevocationReason;
    use rcgen::RevokedCertParams;
    use rcgen::SerialNumber;
    use rcgen::date_time_ymd;

    use super::*;

    const URL: &str = "http://ca.test/7.crl";

    type Issuer = CertifiedIssuer<'static, KeyPair>;

    fn issuer(name: &str) -> Issuer {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn list() -> CertificateRevocationListParams {
        CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2026, 1, 9),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![
                revoked(0x87, Some(RevocationReason::KeyCompromise)),
                revoked(0x42, None),
            ],
            key_identifier_method: KeyIdMethod::Sha256,
        }
    }

    fn revoked(serial: u64, reason: Option<RevocationReason>) -> RevokedCertParams {
        RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: reason,
            invalidity_date: None,
        }
    }

    fn point(url: &str, scope: Option<CrlScope>) -> Option<CrlIssuingDistributionPoint> {
        Some(CrlIssuingDistributionPoint {
            distribution_point: CrlDistributionPoint {
                uris: vec![url.to_owned()],
            },
            scope,
        })
    }

    /// As far as a list is concerned, a leaf is whatever comes before its issuer.
    fn parse(
        list: &CertificateRevocationListParams,
        signer: &Issuer,
        issuer: &Issuer,
    ) -> Result<RevocationList, CrlError> {
        let der = list.signed_by(signer).unwrap();
        let fullchain = format!("{}{}", issuer.pem(), issuer.pem());
        let now: Timestamp = "2026-01-05T00:00:00Z".parse().unwrap();
        RevocationList::parse(der.der(), URL, &fullchain, now)
    }

    #[test]
    fn what_is_on_it() {
        let ca = issuer("CA");
        let found = parse(&list(), &ca, &ca).unwrap();
        let since: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(
            found.next_update,
            since + SignedDuration::from_hours(8 * 24)
        );
        // The encoding of 0x87 has a leading zero.
        for (serial, key_compromised) in [("0087", true), ("87", true), ("42", false)] {
            let entry = Entry {
                since,
                key_compromised,
            };
            assert_eq!(found.entry(serial), Some(entry));
        }
        assert_eq!(found.entry("8700"), None);

        let none = CertificateRevocationListParams {
            revoked_certs: Vec::new(),
            issuing_distribution_point: point(URL, Some(CrlScope::UserCertsOnly)),
            ..list()
        };
        assert_eq!(parse(&none, &ca, &ca).unwrap().entry("0087"), None);
    }

    #[test]
    fn what_is_not_to_be_believed() {
        let ca = issuer("CA");
        let refused = |list, signer: &Issuer| parse(&list, signer, &ca).unwrap_err();
        // The same name and another key, and the other way round.
        assert!(matches!(
            refused(list(), &issuer("CA")),
            CrlError::NotSigned { .. }
        ));
        assert!(matches!(
            refused(list(), &issuer("Another")),
            CrlError::NotSigned { .. }
        ));
        let over = CertificateRevocationListParams {
            next_update: date_time_ymd(2026, 1, 4),
            ..list()
        };
        assert!(matches!(refused(over, &ca), CrlError::Over { .. }));
        for point in [
            point("http://ca.test/8.crl", None),
            point(URL, Some(CrlScope::CaCertsOnly)),
        ] {
            let other = CertificateRevocationListParams {
                issuing_distribution_point: point,
                ..list()
            };
            assert!(matches!(refused(other, &ca), CrlError::Scope { .. }));
        }

        let fullchain = format!("{}{}", ca.pem(), ca.pem());
        let good = list().signed_by(&ca).unwrap().der().to_vec();
        let now: Timestamp = "2026-01-05T00:00:00Z".parse().unwrap();
        let mut changed = good.clone();
        let at = changed.windows(3).position(|w| w == [2, 1, 0x42]).unwrap();
        changed[at + 2] = 0x43;
        let parse = |der: &[u8], chain: &str| RevocationList::parse(der, URL, chain, now);
        assert!(matches!(
            parse(&changed, &fullchain),
            Err(CrlError::NotSigned { .. })
        ));
        for cut in 0..good.len() {
            assert!(parse(&good[..cut], &fullchain).is_err(), "{cut}");
        }
        assert!(matches!(
            parse(&good, &ca.pem()),
            Err(CrlError::NoIssuer { .. })
        ));
    }
}
