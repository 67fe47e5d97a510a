//! The list of revoked certificates (RFC 5280 section 5), where the CA publishes one.
//!
//! Made anew for each request, so that what was revoked a moment ago is in it.

use http::StatusCode;
use jiff::SignedDuration;
use rcgen::{
    CertificateRevocationListParams, CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope,
    KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber,
};

use super::{
    issue::whole_seconds, problem::Problem, reply::Reply, server::Inner, state::Revocation,
};

/// For how long a list holds.
const HOLDS: SignedDuration = SignedDuration::from_hours(24);

impl Inner {
    pub(super) fn revocation_list(&self) -> Result<Reply, Problem> {
        let (Some(url), Some(issuer)) = (self.hierarchy.crl_url(), self.hierarchy.issuer()) else {
            return Err(Problem::not_found("this CA publishes no list"));
        };
        let failed =
            |err: rcgen::Error| Problem::internal(format!("failed to make the list: {err}"));
        let now = self.now();
        let revoked_certs = self
            .state()
            .certificates
            .values()
            .filter_map(|entry| Some((entry, entry.revoked.as_ref()?)))
            .map(|(entry, revocation)| {
                Ok(RevokedCertParams {
                    serial_number: SerialNumber::from_slice(&entry.serial),
                    revocation_time: whole_seconds(revocation.at)?,
                    reason_code: reason(revocation),
                    invalidity_date: None,
                })
            })
            .collect::<Result<_, rcgen::Error>>()
            .map_err(failed)?;
        let list = CertificateRevocationListParams {
            this_update: whole_seconds(now).map_err(failed)?,
            next_update: whole_seconds(now + HOLDS).map_err(failed)?,
            crl_number: SerialNumber::from(now.as_second().unsigned_abs()),
            issuing_distribution_point: Some(CrlIssuingDistributionPoint {
                distribution_point: CrlDistributionPoint {
                    uris: vec![url.to_owned()],
                },
                scope: Some(CrlScope::UserCertsOnly),
            }),
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        }
        .signed_by(issuer)
        .map_err(failed)?;
        let mut reply =
            Reply::empty(StatusCode::OK).with_header("content-type", "application/pkix-crl");
        reply.body = list.der().to_vec().into();
        Ok(reply)
    }
}

/// Unspecified is said by saying nothing (RFC 5280 section 5.3.1).
fn reason(revocation: &Revocation) -> Option<RevocationReason> {
    match revocation.reason? {
        1 => Some(RevocationReason::KeyCompromise),
        3 => Some(RevocationReason::AffiliationChanged),
        4 => Some(RevocationReason::Superseded),
        5 => Some(RevocationReason::CessationOfOperation),
        9 => Some(RevocationReason::PrivilegeWithdrawn),
        _ => None,
    }
}
