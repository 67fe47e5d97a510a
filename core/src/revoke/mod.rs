//! Revoking certificates: those of the store, and those in files.
//!
//! A stored version knows its directory and its account, so its revocation goes there, whatever is configured now. Nothing
//! here registers an account. Where the account is gone, or another one, the certificate's own key signs; which way was taken is
//! part of the [`Outcome`]. A key that is said to be compromised is marked before the CA is asked, and that a version is
//! revoked stands in the head of its certificate as soon as the CA has said so; a kill in between is mended by asking again.

mod error;
mod find;
mod signer;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use url::Url;

pub use error::RevocationError;
pub use find::find;

use crate::acme::Leaf;
use crate::acme::Revocation;
use crate::acme::RevocationReason;
use crate::acme::SigningKey;
use crate::acme::Transport;
use crate::event::Events;
use crate::event::What;
use crate::store::AccountId;
use crate::store::CertId;
use crate::store::CompromisedKey;
use crate::store::Head;
use crate::store::HeadSession;
use crate::store::Key;
use crate::store::LockGuard;
use crate::store::LockName;
use crate::store::Patience;
use crate::store::Revoked;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Version;
use crate::store::VersionFile;

/// Revokes certificates; one for a run.
#[derive(Debug)]
pub struct Revoker {
    events: Events,
    store: Arc<dyn Store>,
    transport: Transport,
}

/// What to revoke, and how.
#[derive(Debug)]
pub struct Request {
    /// Which certificate.
    pub subject: Subject,
    /// Why.
    pub reason: RevocationReason,
    /// The account that signs, instead of the one that the certificate was ordered with.
    pub account: Option<AccountId>,
    /// The certificate's own key, which signs alone then.
    pub key: Option<SigningKey>,
}

/// Which certificate.
#[derive(Debug)]
pub enum Subject {
    /// One that the store does not have.
    Certificate {
        /// The certificate.
        leaf: Box<Leaf>,
        /// The directory of the CA that issued it.
        directory: Url,
    },
    /// One of the store.
    Stored {
        /// Its name.
        id: CertId,
        /// Which version; without, the one in force.
        version: Option<u32>,
    },
}

/// Who signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Way {
    /// An account.
    Account {
        /// Its name in the store.
        id: AccountId,
        /// Its URL.
        url: String,
    },
    /// The certificate's own key.
    CertificateKey,
}

/// What came of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// The certificate, where the store has it, and which version.
    pub certificate: Option<(CertId, u32)>,
    /// Whether that version is the one in force.
    pub in_force: bool,
    /// Its serial number in hexadecimal.
    pub serial: String,
    /// Who issued it.
    pub issuer: String,
    /// Where it was revoked.
    pub directory: String,
    /// Who signed.
    pub way: Way,
    /// Why it was not the account, where the certificate's key signed in its place.
    pub instead: Option<String>,
    /// Whether it was revoked before.
    pub revocation: Revocation,
    /// Why it was to be revoked.
    pub reason: RevocationReason,
    /// Whether its key is marked as never to be used again.
    pub key_marked: bool,
}

impl Revoker {
    /// Revokes what is in `store`, or elsewhere, through `transport`.
    pub fn new(store: Arc<dyn Store>, transport: Transport, events: Events) -> Self {
        Self {
            events,
            store,
            transport,
        }
    }

    /// Revokes one certificate.
    pub async fn revoke(
        &self,
        request: &Request,
        cancel: &CancellationToken,
    ) -> Result<Outcome, RevocationError> {
        let work = async {
            match &request.subject {
                Subject::Stored { id, version } => self.stored(request, id, *version, cancel).await,
                Subject::Certificate { leaf, directory } => {
                    let key_marked = self.mark(request, None, leaf).await?;
                    let signed = self.sign(request, leaf, directory, None, cancel).await?;
                    Ok(signed.outcome(request, leaf, directory, key_marked, None))
                }
            }
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(RevocationError::Cancelled),
            outcome = work => outcome,
        }
    }

    async fn stored(
        &self,
        request: &Request,
        id: &CertId,
        number: Option<u32>,
        cancel: &CancellationToken,
    ) -> Result<Outcome, RevocationError> {
        let _lock = self.lock(&LockName::certificate(id), cancel).await?;
        let missing = || RevocationError::NoSuchCertificate { id: id.clone() };
        let (head, tag) = Head::load(&*self.store, id).await?.ok_or_else(missing)?;
        let current = head.current.clone();
        let version = match number {
            Some(number) if current.as_ref().is_none_or(|c| c.number != number) => {
                self.version(id, number).await?
            }
            _ => current
                .clone()
                .ok_or_else(|| RevocationError::NeverIssued { id: id.clone() })?,
        };
        let in_force = current.is_some_and(|c| c.number == version.number);
        let leaf = self.leaf(id, version.number).await?;
        let directory =
            Url::parse(&version.directory).map_err(|error| RevocationError::BadDirectory {
                directory: version.directory.clone(),
                detail: error.to_string(),
            })?;
        let key_marked = self.mark(request, Some(id), &leaf).await?;
        let signed = self
            .sign(request, &leaf, &directory, Some((id, &version)), cancel)
            .await?;
        HeadSession::new(self.store.clone(), head, Some(tag))
            .update(|head| {
                if let Some(current) = &mut head.current
                    && current.number == version.number
                    && current.revoked.is_none()
                {
                    current.revoked = Some(Revoked {
                        at: Timestamp::now(),
                        reason: request.reason,
                    });
                }
            })
            .await?;
        let which = Some((id, version.number));
        let outcome = signed.outcome(request, &leaf, &directory, key_marked, which);
        Ok(Outcome {
            in_force,
            ..outcome
        })
    }

    async fn mark(
        &self,
        request: &Request,
        id: Option<&CertId>,
        leaf: &Leaf,
    ) -> Result<bool, RevocationError> {
        if request.reason != RevocationReason::KeyCompromise {
            return Ok(false);
        }
        let mark = CompromisedKey::new(
            leaf.spki_sha256.clone(),
            id.cloned(),
            leaf.serial.clone(),
            Timestamp::now(),
        );
        mark.save(&*self.store).await?;
        Ok(true)
    }

    async fn version(&self, id: &CertId, number: u32) -> Result<Version, RevocationError> {
        let key = Key::version(id, number, VersionFile::Meta);
        match self.store.get(&key).await? {
            Some((content, _)) => {
                let corrupt = |error: serde_json::Error| StoreError::Corrupt {
                    key: key.to_string(),
                    detail: error.to_string(),
                };
                Ok(serde_json::from_slice(&content).map_err(corrupt)?)
            }
            None => Err(RevocationError::NoSuchVersion {
                id: id.clone(),
                version: number,
            }),
        }
    }

    async fn leaf(&self, id: &CertId, number: u32) -> Result<Leaf, RevocationError> {
        let key = Key::version(id, number, VersionFile::FullChain);
        let corrupt = |detail: String| StoreError::Corrupt {
            key: key.to_string(),
            detail,
        };
        match self.store.get(&key).await? {
            Some((content, _)) => Ok(Leaf::read(&content).map_err(|e| corrupt(e.to_string()))?),
            None => Err(corrupt("it is not there".to_owned()).into()),
        }
    }

    async fn lock(
        &self,
        name: &LockName,
        cancel: &CancellationToken,
    ) -> Result<Box<dyn LockGuard>, RevocationError> {
        let on_wait = |holder: &str| {
            self.events.emit(What::Waiting {
                reason: format!(
                    "{holder}, which holds the lock on {}",
                    name.as_str().replacen('-', " ", 1)
                ),
                at_most: Some(PATIENCE),
            });
        };
        let patience = Patience {
            cancel,
            at_most: PATIENCE,
            on_wait: &on_wait,
        };
        Ok(self.store.lock(name, patience).await?)
    }
}

/// A person waits for it.
const PATIENCE: Duration = Duration::from_secs(10);
