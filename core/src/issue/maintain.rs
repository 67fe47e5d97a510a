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
use crate::dns::DomainName;
use crate::dns::TxtValue;
use crate::event::Events;
use crate::store::CertId;
use crate::store::Head;
use crate::store::HeadSession;
use crate::store::Key;
use crate::store::LockGuard;
use crate::store::LockName;
use crate::store::Published;
use crate::store::StoreError;

/// What became of the leftovers of one certificate.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Swept {
    /// The certificate.
    pub id: CertId,
    /// Values that were in the head and are gone from DNS now.
    pub withdrawn: usize,
    /// Values that a person has set, and that only a person removes; they are not remembered any more.
    pub by_hand: usize,
    /// Values that could not be withdrawn.
    pub left: usize,
    /// Values that could not be withdrawn and are not remembered any more, because that was asked for.
    pub forgotten: usize,
    /// Values that are not old enough to be withdrawn.
    pub younger: usize,
    /// A living run works on it, so nothing was touched.
    pub busy: bool,
    /// Its order waits for a person who sets values, and the next run goes on with it, so nothing was touched.
    pub awaits_person: bool,
    /// Why nothing could be done: its record cannot be used.
    pub problem: Option<String>,
    /// Each value that was looked at, and what became of it.
    pub values: Vec<SweptValue>,
}

/// A value that a run has left in DNS, and what became of it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct SweptValue {
    /// The owner name.
    pub owner: DomainName,
    /// The value.
    pub value: TxtValue,
    /// The zone it was written into.
    pub zone: DomainName,
    /// The configured name of the provider it was written through.
    pub provider: String,
    /// What became of it.
    pub fate: Fate,
    /// Why it could not be withdrawn.
    pub reason: Option<String>,
}

/// What became of a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// A person is to set it, for an order that goes on with it.
    Awaited,
    /// A person has set it and has to remove it; it is not remembered any more.
    ByHand,
    /// It could not be withdrawn, and is not remembered any more.
    Forgotten,
    /// It could not be withdrawn, and stays on record.
    Left,
    /// A person should have set it, and no name server shows it.
    NeverSet,
    /// It is gone.
    Withdrawn,
    /// It is not old enough, and stays.
    Younger,
}

impl Swept {
    /// A certificate of which nothing was touched for this reason.
    pub fn unusable(id: &CertId, problem: impl Into<String>) -> Self {
        Self {
            problem: Some(problem.into()),
            ..Self::nothing(id)
        }
    }

    fn nothing(id: &CertId) -> Self {
        Self {
            id: id.clone(),
            withdrawn: 0,
            by_hand: 0,
            left: 0,
            forgotten: 0,
            younger: 0,
            busy: false,
            awaits_person: false,
            problem: None,
            values: Vec::new(),
        }
    }

    fn of(id: &CertId, values: Vec<SweptValue>) -> Self {
        let count = |fate| values.iter().filter(|value| value.fate == fate).count();
        Self {
            withdrawn: count(Fate::Withdrawn),
            by_hand: count(Fate::ByHand),
            left: count(Fate::Left),
            forgotten: count(Fate::Forgotten),
            younger: count(Fate::Younger),
            awaits_person: count(Fate::Awaited) > 0,
            values,
            ..Self::nothing(id)
        }
    }
}

impl SweptValue {
    fn new(value: &Published, fate: Fate, reason: Option<String>) -> Self {
        Self {
            owner: value.owner.clone(),
            value: value.value.clone(),
            zone: value.zone.name.clone(),
            provider: value.provider.clone(),
            fate,
            reason,
        }
    }
}

pub(super) async fn sweep(
    engine: &Engine,
    id: &CertId,
    forget: bool,
    older_than: Duration,
    cancel: &CancellationToken,
) -> Result<Option<Swept>, IssueError> {
    match sweep_idle(engine, id, forget, older_than, cancel).await {
        Err(IssueError::Store(StoreError::Locked { .. })) => Ok(Some(Swept {
            busy: true,
            ..Swept::nothing(id)
        })),
        // One broken record keeps nobody from the others.
        Err(IssueError::Store(error @ (StoreError::Corrupt { .. } | StoreError::Newer { .. }))) => {
            Ok(Some(Swept::unusable(id, error.to_string())))
        }
        other => other,
    }
}

async fn sweep_idle(
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
    let waits = !engine.awaited(&head).is_empty();
    if waits && !forget {
        let values = head.published.iter();
        let values = values.map(|value| SweptValue::new(value, Fate::Awaited, None));
        return Ok(Some(Swept::of(id, values.collect())));
    }
    let (values, younger): (Vec<_>, Vec<_>) = head
        .published
        .clone()
        .into_iter()
        .partition(|published| is_older(published.since, older_than));
    let mut told: Vec<SweptValue> = younger
        .iter()
        .map(|value| SweptValue::new(value, Fate::Younger, None))
        .collect();
    if values.is_empty() {
        return Ok((!told.is_empty()).then(|| Swept::of(id, told)));
    }
    let swept = values.clone();
    let given_up = head.order.clone().filter(|_| waits);
    let session = HeadSession::new(engine.store.clone(), head, Some(tag));
    let limit = limit(cancel);
    if let Some(order) = &given_up {
        abandon_as_stored(engine, order, &limit, &events).await;
    }
    let left = withdraw(engine, &session, values, &limit, &events).await?;
    session
        .update(|head| {
            head.worker = None;
            if forget {
                head.published
                    .retain(|p| !swept.iter().any(|s| same_value(s, p)));
            }
            // Whoever forgets what it waits for does not go on with it.
            if waits {
                head.order = None;
            }
        })
        .await?;
    if session.head().await.is_empty() {
        engine.store.delete(&Key::certificate(id)).await?;
    }
    let is_among = |values: &[Published], value| values.iter().any(|v| same_value(v, value));
    told.extend(swept.iter().map(|value| {
        let why = left.why.iter().find(|(v, _)| same_value(v, value));
        let fate = match why {
            Some(_) if forget => Fate::Forgotten,
            Some(_) => Fate::Left,
            None if is_among(&left.by_hand, value) => Fate::ByHand,
            None if is_among(&left.never_set, value) => Fate::NeverSet,
            None => Fate::Withdrawn,
        };
        SweptValue::new(value, fate, why.map(|(_, reason)| reason.clone()))
    }));
    Ok(Some(Swept::of(id, told)))
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
    let limit = limit(cancel);
    if let Some(order) = &head.order {
        abandon_as_stored(engine, order, &limit, &events).await;
    }
    let values = head.published.clone();
    if !values.is_empty() {
        let session = HeadSession::new(engine.store.clone(), head, Some(tag));
        let left = withdraw(engine, &session, values, &limit, &events)
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
    Limit::new(Timeouts::default().withdrawal, cancel)
}

/// A person waits for it.
const DELETE_PATIENCE: Duration = Duration::from_secs(10);
