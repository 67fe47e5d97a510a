//! What an earlier run has left: finished where it fits what is asked now, cleaned where it does not.
//!
//! The lock over the certificate is held here, so whoever left it is dead. Nobody but another certificate with the same
//! names may be using the same order, which a CA gives to both, and the same values; the lock over the order keeps them apart.

use secrecy::SecretString;

use super::IssueError;
use super::give_back::abandon_as_stored;
use super::publish::withdraw;
use super::walk::Walk;
use super::walk::order_fingerprint;
use crate::acme::Account;
use crate::acme::AcmeError;
use crate::acme::Order;
use crate::acme::OrderError;
use crate::acme::OrderStatus;
use crate::event::Stage;
use crate::store::InFlight;
use crate::store::Key;
use crate::store::KeyOrigin;
use crate::store::LockGuard;
use crate::store::VersionFile;

/// An order of an earlier run that this one goes on with.
#[derive(Debug)]
pub(super) struct Resumed {
    pub(super) order: Order,
    /// The version whose key the order is finalized with, and that key, unless a signing request's is.
    pub(super) key: Option<(u32, Option<SecretString>)>,
}

/// Goes on with the order of an earlier run, or cleans up after it. Comes back with the lock over the order that is wanted now.
pub(super) async fn recover(
    walk: &Walk<'_>,
    account: &Account,
) -> Result<(Option<Resumed>, Box<dyn LockGuard>), IssueError> {
    let mut ours = order_fingerprint(account.url(), &walk.ordered());
    if let Some(order) = walk.session.head().await.order {
        if walk.takes_over(&order) {
            ours = order_fingerprint(account.url(), &walk.ordered());
        }
        let theirs = order_fingerprint(&order.account_url, &order.wanted);
        if theirs != ours {
            let _lock = walk.lock_order(&theirs).await?;
            clean(walk, account, &order).await?;
        }
    }

    let lock = walk.lock_order(&ours).await?;
    let head = walk.session.head().await;
    let Some(order) = head.order else {
        withdraw_now(walk).await?;
        return Ok((None, lock));
    };
    if let Some(resumed) = resume(walk, account, &order).await? {
        return Ok((Some(resumed), lock));
    }
    clean(walk, account, &order).await?;
    if order.left_out.is_empty() {
        return Ok((None, lock));
    }
    walk.take_all();
    drop(lock);
    let lock = walk
        .lock_order(&order_fingerprint(account.url(), &walk.ordered()))
        .await?;
    Ok((None, lock))
}

async fn clean(walk: &Walk<'_>, account: &Account, order: &InFlight) -> Result<(), IssueError> {
    // Whether or not the CA can be asked: what it still holds runs out by itself.
    match order.account_url == account.url() {
        true => {
            walk.abandon(account, order).await;
        }
        false => abandon_as_stored(walk.engine, order, &walk.limit, walk.events).await,
    }
    withdraw_now(walk).await?;
    walk.forget_order().await
}

async fn withdraw_now(walk: &Walk<'_>) -> Result<(), IssueError> {
    let values = walk.session.head().await.published;
    if !values.is_empty() {
        walk.events.stage(Stage::Withdraw);
        withdraw(walk.engine, walk.session, values, &walk.limit, walk.events).await?;
    }
    Ok(())
}

async fn resume(
    walk: &Walk<'_>,
    account: &Account,
    in_flight: &InFlight,
) -> Result<Option<Resumed>, IssueError> {
    let (was, now) = (&in_flight.wanted, &walk.ordered());
    // Of the key that an earlier run has chosen nobody knows whether it is new.
    if walk.request.options.new_key && in_flight.version.is_some() {
        return Ok(None);
    }
    let fits = was.same_names(&now.names)
        && was.key_type == now.key_type
        && was.profile == now.profile
        && was.directory == now.directory
        && was.spec.same_order(&now.spec)
        && in_flight.account_url == account.url();
    if !fits {
        return Ok(None);
    }
    let order = match account.order(&in_flight.url).await {
        Ok(order) => order,
        // The CA has forgotten it.
        Err(OrderError::Request(error @ AcmeError::Refused(_))) if !error.is_retryable() => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let is_csr = matches!(now.spec.key, KeyOrigin::Csr { .. });
    let key = match in_flight.version {
        Some(version) if is_csr => Some((version, None)),
        Some(version) => {
            let key = Key::version(&walk.request.id, version, VersionFile::Key);
            let content = walk.engine.store.get(&key).await?;
            content
                .and_then(|(pem, _)| String::from_utf8(pem).ok())
                .map(|pem| (version, Some(SecretString::from(pem))))
        }
        None => None,
    };
    let usable = match order.status {
        OrderStatus::Pending | OrderStatus::Ready => true,
        OrderStatus::Processing | OrderStatus::Valid => key.is_some(),
        _ => false,
    };
    Ok(usable.then_some(Resumed { order, key }))
}
