//! Sweeping what killed runs have left in DNS, and removing certificates.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::Engine;
use super::IssueError;
use super::Timeouts;
use super::give_back::abandon_as_stored;
use super::publish::Limit;
use super::publish::same_value;
use super::publish::withdraw;
use super::walk::order_fingerprint;
use crate::event::Events;
use crate::store::CertId;
use crate::store::Head;
use crate::store::HeadSession;
use crate::store::Key;
use crate::store::LockGuard;
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
    /// Values that could not be withdrawn and are not remembered any more, because that was asked for.
    pub forgotten: usize,
    /// Values that are not old enough to be withdrawn.
    pub younger: usize,
    /// A living run works on it, so nothing was touched.
    pub busy: bool,
    /// Why nothing could be done.
    pub problem: Option<String>,
}

impl Swept {
    fn nothing(id: &CertId) -> Self {
        Self {
            id: id.clone(),
            withdrawn: 0,
            left: 0,
            forgotten: 0,
            younger: 0,
            busy: false,
            problem: None,
        }
    }
}

pub(super) async fn sweep(
    engine: &Engine,
    ids: &[CertId],
    forget: bool,
    older_than: Duration,
    cancel: &CancellationToken,
) -> Result<Vec<Swept>, IssueError> {
    let mut swept = Vec::new();
    for id in ids {
        match sweep_one(engine, id, forget, older_than, cancel).await {
            Ok(one) => swept.extend(one),
            Err(IssueError::Store(StoreError::Locked { .. })) => swept.push(Swept {
                busy: true,
                ..Swept::nothing(id)
            }),
            // One broken record keeps nobody from the others.
            Err(IssueError::Store(
                error @ (StoreError::Corrupt { .. } | StoreError::Newer { .. }),
            )) => swept.push(Swept {
                problem: Some(error.to_string()),
                ..Swept::nothing(id)
            }),
            Err(error) => return Err(error),
        }
    }
    Ok(swept)
}

async fn sweep_one(
    engine: &Engine,
    id: &CertId,
    forget: bool,
    older_than: Duration,
    cancel: &CancellationToken,
) -> Result<Option<Swept>, IssueError> {
    let events = engine.events.for_certificate(id);
    let name = LockName::certificate(id);
    let _lock = engine.lock(&name, Duration::ZERO, &events, cancel).await?;
    let Some((head, tag)) = Head::load(&*engine.store, id).await? else {
        return Ok(None);
    };
    let _order_lock = lock_order_of(engine, &head, Duration::ZERO, &events, cancel).await?;
    let (values, younger): (Vec<_>, Vec<_>) = head
        .published
        .clone()
        .into_iter()
        .partition(|published| is_older(published.since, older_than));
    if values.is_empty() {
        let younger = younger.len();
        return Ok((younger > 0).then(|| Swept {
            younger,
            ..Swept::nothing(id)
        }));
    }
    let total = values.len();
    let swept_values = values.clone();
    let session = HeadSession::new(engine.store.clone(), head, Some(tag));
    let left = withdraw(engine, &session, values, limit(cancel), &events)
        .await?
        .total();
    let forgotten = if forget { left } else { 0 };
    session
        .update(|head| {
            head.worker = None;
            if forget {
                head.published
                    .retain(|p| !swept_values.iter().any(|s| same_value(s, p)));
            }
        })
        .await?;
    if session.head().await.is_empty() {
        engine.store.delete(&Key::certificate(id)).await?;
    }
    Ok(Some(Swept {
        id: id.clone(),
        withdrawn: total - left,
        left: left - forgotten,
        forgotten,
        younger: younger.len(),
        ..Swept::nothing(id)
    }))
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
    let _order_lock = lock_order_of(engine, &head, DELETE_PATIENCE, &events, cancel).await?;
    if let Some(order) = &head.order {
        abandon_as_stored(engine, order, limit(cancel), &events).await;
    }
    let values = head.published.clone();
    if !values.is_empty() {
        let session = HeadSession::new(engine.store.clone(), head, Some(tag));
        let left = withdraw(engine, &session, values, limit(cancel), &events)
            .await?
            .total();
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

/// Whether somebody has written it at least so long ago; a clock that went back makes nothing old.
fn is_older(since: Timestamp, than: Duration) -> bool {
    let age = Timestamp::now().duration_since(since);
    than.is_zero() || Duration::try_from(age).is_ok_and(|age| age >= than)
}

/// Another certificate with the same names may be working with the same order, and so with the same values.
async fn lock_order_of(
    engine: &Engine,
    head: &Head,
    at_most: Duration,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Option<Box<dyn LockGuard>>, IssueError> {
    let Some(order) = &head.order else {
        return Ok(None);
    };
    let name = LockName::order(&order_fingerprint(&order.account_url, &order.wanted));
    Ok(Some(engine.lock(&name, at_most, events, cancel).await?))
}

fn limit(cancel: &CancellationToken) -> Limit<'_> {
    Limit {
        at_most: Timeouts::default().withdrawal,
        cancel,
    }
}

/// A person waits for it.
const DELETE_PATIENCE: Duration = Duration::from_secs(10);
