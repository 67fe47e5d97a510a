//! Revoking a certificate (RFC 8555 section 7.6): signed by an account, or by the certificate's own key.
//!
//! Neither way makes an account. A certificate that is revoked already is as good as one that is revoked now.

use std::time::Duration;

use serde_json::json;

use super::account::Account;
use super::answer::Answer;
use super::client::Client;
use super::client::Target;
use super::error::AcmeError;
use super::error::Refusal;
use super::jws::Payload;
use super::jws::Signer;
use super::leaf::Leaf;
use super::reason::RevocationReason;
use super::retry::Retries;
use super::signing_key::SigningKey;
use crate::web::host;

/// What a revocation has come to.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Revocation {
    /// The CA has revoked it now.
    Done,
    /// It was revoked before.
    Already,
}

impl Account {
    /// Revokes a certificate with the signature of this account.
    pub async fn revoke(
        &self,
        leaf: &Leaf,
        reason: RevocationReason,
    ) -> Result<Revocation, RevokeError> {
        let url = revoke_url(self.client())?;
        let target = Target::new("revokeCert", url);
        judged(self.post(target, &payload(leaf, reason)).await, reason)
    }
}

impl Client {
    /// Revokes a certificate with the signature of its own key; no account is needed.
    pub async fn revoke_by_key(
        &self,
        key: &SigningKey,
        leaf: &Leaf,
        reason: RevocationReason,
    ) -> Result<Revocation, RevokeError> {
        let signer = Signer { key, account: None };
        let target = Target::new("revokeCert", revoke_url(self)?);
        let payload = payload(leaf, reason);
        judged(
            self.post(signer, target, &payload, Retries::Idempotent)
                .await,
            reason,
        )
    }
}

/// Why a certificate is not revoked.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RevokeError {
    /// The directory has no URL for it.
    #[error("{} offers no revocation", host(directory))]
    NotOffered {
        /// The directory.
        directory: String,
    },
    /// The CA does not take the reason.
    #[error("the CA does not accept the reason {reason}: {refusal}")]
    Reason {
        /// Which.
        reason: RevocationReason,
        /// What it said.
        refusal: Box<Refusal>,
    },
    /// Any other failure of the request.
    #[error(transparent)]
    Request(#[from] AcmeError),
}

impl RevokeError {
    /// Whether the CA refuses who asks and not what is asked, so that another signature may do.
    pub fn is_about_the_signer(&self) -> bool {
        match self {
            Self::Request(error) => {
                let of_signer = ["accountDoesNotExist", "unauthorized", "badPublicKey"];
                of_signer.iter().any(|kind| error.is(kind))
                    || matches!(error.status(), Some(401 | 403)) && !error.is_rate_limited()
            }
            _ => false,
        }
    }

    /// Whether trying again later may help.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Request(error) if error.is_retryable())
    }

    /// How long the CA asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Request(error) => error.retry_after(),
            _ => None,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotOffered { .. } => Some("ask the CA how it revokes certificates".to_owned()),
            Self::Reason { .. } => Some(
                "leave `--reason` out, or give another; with the certificate's own key some CAs take key-compromise alone"
                    .to_owned(),
            ),
            Self::Request(error) if error.status() == Some(404) => {
                Some("the CA does not know this certificate; `--ca` names the CA that issued it".to_owned())
            }
            Self::Request(error) => error.hint(),
        }
    }
}

fn revoke_url(client: &Client) -> Result<&str, RevokeError> {
    let directory = client.directory();
    directory
        .revoke_cert
        .as_deref()
        .ok_or_else(|| RevokeError::NotOffered {
            directory: directory.url.clone(),
        })
}

fn payload(leaf: &Leaf, reason: RevocationReason) -> Payload {
    let mut payload = json!({ "certificate": leaf.base64url() });
    // RFC 5280 section 5.3.1 wants "unspecified" left out.
    if reason != RevocationReason::Unspecified {
        payload["reason"] = json!(reason.code());
    }
    Payload::Json(payload)
}

fn judged(
    result: Result<Answer, AcmeError>,
    reason: RevocationReason,
) -> Result<Revocation, RevokeError> {
    match result {
        Ok(_) => Ok(Revocation::Done),
        Err(error) if error.is("alreadyRevoked") => Ok(Revocation::Already),
        Err(AcmeError::Refused(refusal))
            if refusal
                .problem
                .as_ref()
                .is_some_and(|p| p.is("badRevocationReason")) =>
        {
            Err(RevokeError::Reason { reason, refusal })
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::tests::answer;
    use super::*;

    fn refused(status: u16, kind: &str) -> Result<Revocation, RevokeError> {
        let body = format!(r#"{{"type": "urn:ietf:params:acme:error:{kind}", "detail": "no"}}"#);
        judged(
            answer(status, &[], &body).into_result(),
            RevocationReason::KeyCompromise,
        )
    }

    #[test]
    fn refusals_tell_whether_another_signature_may_do() {
        assert_eq!(refused(400, "alreadyRevoked").unwrap(), Revocation::Already);
        for (status, kind) in [
            (401, "unauthorized"),
            (403, "unauthorized"),
            (400, "accountDoesNotExist"),
        ] {
            assert!(refused(status, kind).unwrap_err().is_about_the_signer());
        }
        for (status, kind) in [
            (500, "serverInternal"),
            (404, "malformed"),
            (429, "rateLimited"),
        ] {
            assert!(!refused(status, kind).unwrap_err().is_about_the_signer());
        }
        let reason = refused(400, "badRevocationReason").unwrap_err();
        assert!(reason.to_string().contains("key-compromise"), "{reason}");
        assert!(!reason.is_retryable());
    }
}
