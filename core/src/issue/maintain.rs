//! Sweeping what killed runs have left in DNS, and removing certificates.

use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::Engine;
use super::IssueError;
use super::publish::withdraw;
use super::walk::WITHDRAWAL;
use crate::store::CertId;
use crate::store::Head;
use crate::store::HeadSession;
use crate::store::Key;
use crate::store::LockName;
use crate::store::StoreError;

/// What became of the leftovers of one certificate.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Swept {
    /// The certificate.
    pub id: CertId,
    /// Values that were in the head and are gone from DNS now.
    pub withdrawn: usize,
    /// Values that could not be withdrawn.
    pub left: usize,
    /// A living run works on it, so nothing was touched.
    pub busy: bool,
}

pub(super) async fn sweep(
    engine: &Engine,
    ids: &[CertId],
    cancel: &CancellationToken,
) -> Result<Vec<Swept>, IssueError> {
    let mut swept = Vec::new();
    for id in ids {
        let events = engine.events.for_certificate(id);
        let lock = engine
            .lock(&LockName::certificate(id), Duration::ZERO, &events, cancel)
            .await;
        let _lock = match lock {
            Ok(lock) => lock,
            Err(StoreError::Locked { .. }) => {
                swept.push(Swept {
                    id: id.clone(),
                    withdrawn: 0,
                    left: 0,
                    busy: true,
                });
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let Some((head, tag)) = Head::load(&*engine.store, id).await? else {
            continue;
        };
        let values = head.published.clone();
        if values.is_empty() {
            continue;
        }
        let total = values.len();
        let session = HeadSession::new(engine.store.clone(), head, Some(tag));
        let left = withdraw(engine, &session, values, WITHDRAWAL, &events).await?;
        swept.push(Swept {
            id: id.clone(),
            withdrawn: total - left,
            left,
            busy: false,
        });
    }
    Ok(swept)
}

pub(super) async fn delete(
    engine: &Engine,
    id: &CertId,
    cancel: &CancellationToken,
) -> Result<(), IssueError> {
    let events = engine.events.for_certificate(id);
    let _lock = engine
        .lock(&LockName::certificate(id), DELETE_PATIENCE, &events, cancel)
        .await?;
    let Some((head, tag)) = Head::load(&*engine.store, id).await? else {
        return Err(IssueError::NoSuchCertificate { id: id.clone() });
    };
    let values = head.published.clone();
    if !values.is_empty() {
        let session = HeadSession::new(engine.store.clone(), head, Some(tag));
        let left = withdraw(engine, &session, values, WITHDRAWAL, &events).await?;
        if left > 0 {
            return Err(IssueError::LeftInDns {
                id: id.clone(),
                values: left,
            });
        }
    }
    engine.live.remove(id)?;
    engine.store.delete(&Key::certificate(id)).await?;
    Ok(())
}

/// A person waits for it.
const DELETE_PATIENCE: Duration = Duration::from_secs(10);
