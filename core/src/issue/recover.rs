//! What an earlier run has left: finished where it fits what is asked now, cleaned where it does not.
//!
//! The lock over the certificate is held here, so whoever left it is dead.

use secrecy::SecretString;

use super::IssueError;
use super::publish::withdraw;
use super::walk::WITHDRAWAL;
use super::walk::Walk;
use crate::acme::Account;
use crate::acme::AccountKey;
use crate::acme::Client;
use crate::acme::Order;
use crate::acme::OrderStatus;
use crate::event::Stage;
use crate::store::InFlight;
use crate::store::Key;
use crate::store::StoredAccount;
use crate::store::VersionFile;

/// An order of an earlier run that this one goes on with.
#[derive(Debug)]
pub(super) struct Resumed {
    pub(super) order: Order,
    /// The version whose key the order is finalized with, and that key.
    pub(super) key: Option<(u32, SecretString)>,
}

/// Goes on with the order of an earlier run, or cleans up after it.
pub(super) async fn recover(
    walk: &Walk<'_>,
    account: &Account,
) -> Result<Option<Resumed>, IssueError> {
    let head = walk.session.head().await;
    let Some(in_flight) = head.order else {
        if !head.published.is_empty() {
            walk.events.stage(Stage::Withdraw);
            withdraw(
                walk.engine,
                walk.session,
                head.published,
                WITHDRAWAL,
                walk.events,
            )
            .await?;
        }
        return Ok(None);
    };
    if let Some(resumed) = resume(walk, account, &in_flight).await? {
        return Ok(Some(resumed));
    }

    walk.events.stage(Stage::Withdraw);
    abandon(walk, account, &in_flight).await;
    withdraw(
        walk.engine,
        walk.session,
        head.published,
        WITHDRAWAL,
        walk.events,
    )
    .await?;
    walk.session.update(|head| head.order = None).await?;
    if let Some(version) = in_flight.version {
        let key = Key::version(&walk.request.id, version, VersionFile::Key);
        walk.engine.store.delete(&key).await?;
    }
    Ok(None)
}

async fn resume(
    walk: &Walk<'_>,
    account: &Account,
    in_flight: &InFlight,
) -> Result<Option<Resumed>, IssueError> {
    let (was, now) = (&in_flight.wanted, walk.wanted);
    let fits = was.same_names(&now.names)
        && was.key_type == now.key_type
        && was.profile == now.profile
        && was.directory == now.directory
        && in_flight.account_url == account.url();
    if !fits {
        return Ok(None);
    }
    let order = match account.order(&in_flight.url).await {
        Ok(order) => order,
        Err(error) if error.is_retryable() => return Err(error.into()),
        // The CA has forgotten it.
        Err(_) => return Ok(None),
    };
    let key = match in_flight.version {
        Some(version) => {
            let key = Key::version(&walk.request.id, version, VersionFile::Key);
            let content = walk.engine.store.get(&key).await?;
            content
                .and_then(|(pem, _)| String::from_utf8(pem).ok())
                .map(|pem| (version, SecretString::from(pem)))
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

/// Gives the order back to the CA that it was made at, with the account it was made with, where those are still known.
async fn abandon(walk: &Walk<'_>, account: &Account, in_flight: &InFlight) {
    if in_flight.account_url == account.url() {
        return walk.abandon(account, &in_flight.url).await;
    }
    let other = async {
        let (stored, _) = StoredAccount::load(&*walk.engine.store, &in_flight.wanted.account)
            .await
            .ok()??;
        let key = AccountKey::from_pkcs8(&stored.key).ok()?;
        let client = Client::connect(walk.engine.transport.clone(), &stored.directory)
            .await
            .ok()?;
        Some(client.account(&key, &stored.url?))
    };
    if let Some(other) = other.await {
        walk.abandon(&other, &in_flight.url).await;
    }
}
