//! Giving back what the CA and DNS hold for an order that this run does not finish.
//!
//! What cannot be given back in time stays in the head, where the next run finds it.

use futures::StreamExt;
use futures::stream;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::Engine;
use super::ErrorKind;
use super::IssueError;
use super::publish::How;
use super::publish::Limit;
use super::publish::withdraw_with;
use super::walk::Walk;
use crate::acme::Account;
use crate::acme::AccountKey;
use crate::acme::AuthorizationStatus;
use crate::acme::OrderError;
use crate::dns::Identifier;
use crate::dns::WriteError;
use crate::event::Events;
use crate::event::Stage;
use crate::renew::Failed;
use crate::store::Failure;
use crate::store::Head;
use crate::store::InFlight;
use crate::store::Key;
use crate::store::Published;
use crate::store::StoredAccount;
use crate::store::VersionFile;

impl Walk<'_> {
    /// After a failure: what the CA and DNS hold for us is given back, as far as the time allows.
    pub(super) async fn clean_up(&self, account: &Account, error: &IssueError, resumed: bool) {
        // Somebody is at it, and the next run goes on from here.
        if matches!(error, IssueError::AwaitsPerson { .. }) {
            return;
        }
        let head = self.session.head().await;
        let order = head
            .order
            .as_ref()
            .filter(|order| !error.leaves_order(order, resumed));
        let abandon = async {
            match order {
                Some(order) => self.abandon(account, order).await,
                None => false,
            }
        };
        let refused = match error {
            IssueError::Write { errors } => refused(&head, errors),
            _ => Vec::new(),
        };
        let (abandoned, ()) = tokio::join!(abandon, self.withdraw_but(refused));
        if abandoned && let Err(error) = self.forget_order().await {
            self.events.warn(error.to_string(), error.hint());
        }
    }

    /// Withdraws every value that the head knows of; what goes wrong is a warning.
    pub(super) async fn withdraw_all(&self) {
        self.withdraw_but(Vec::new()).await;
    }

    async fn withdraw_but(&self, refused: Vec<Published>) {
        let values = self.session.head().await.published;
        if values.is_empty() {
            return;
        }
        self.events.stage(Stage::Withdraw);
        let withdrawal = withdraw_with(
            self.engine,
            self.session,
            values,
            How {
                refused,
                ..How::default()
            },
            &self.limit,
            self.events,
        );
        if let Err(error) = withdrawal.await {
            self.events.warn(error.to_string(), error.hint());
        }
    }

    /// Before another CA is asked: what this one still holds runs out by itself, and is not waited for.
    pub(super) async fn leave_behind(&self) -> Result<(), IssueError> {
        self.withdraw_all().await;
        let order = self.session.head().await.order;
        match order.filter(|order| order.wanted.directory == self.wanted.directory) {
            Some(_) => self.forget_order().await,
            None => Ok(()),
        }
    }

    /// Takes the order out of the head, and the key that was made for it out of the store.
    pub(super) async fn forget_order(&self) -> Result<(), IssueError> {
        let order = self.session.head().await.order;
        if let Some(version) = order.and_then(|order| order.version) {
            let key = Key::version(&self.request.id, version, VersionFile::Key);
            self.engine.store.delete(&key).await?;
        }
        self.session.update(|head| head.order = None).await?;
        Ok(())
    }

    /// Deactivates what is still pending of an order that nobody will finish (RFC 8555 section 7.5.2); whether there is
    /// nothing left of it that a later try could give back.
    pub(super) async fn abandon(&self, account: &Account, order: &InFlight) -> bool {
        abandon(account, order, &self.limit, self.events).await
    }

    /// The last of a run that failed: nobody works on the certificate any more, and one that never came to anything leaves no
    /// trace in the store.
    pub(super) async fn end(&self, error: &IssueError) {
        let failed = self.failed(error).await;
        let head = self.session.head().await;
        let lasting = self.request.renewal.lasting && failed.is_some();
        let ended = match head.is_empty() && !lasting {
            true => {
                let key = Key::certificate(&self.request.id);
                self.engine.store.delete(&key).await
            }
            // What the store has refused is not tried again.
            false if matches!(error, IssueError::Store(_)) => Ok(()),
            false => {
                self.session
                    .update(|head| {
                        head.worker = None;
                        if failed.is_some() {
                            head.renewal.failure = failed;
                        }
                    })
                    .await
            }
        };
        if let Err(error) = ended {
            self.events.warn(error.to_string(), error.hint());
        }
    }
}

impl Walk<'_> {
    /// What to remember of a failure, so that the next run does not run into it at once; none where nothing has failed but us.
    async fn failed(&self, error: &IssueError) -> Option<Failure> {
        let unfailed = [ErrorKind::Cancelled, ErrorKind::Locked, ErrorKind::Person];
        if unfailed.contains(&error.kind()) {
            return None;
        }
        let head = self.session.head().await;
        let lifetime = head
            .current
            .as_ref()
            .map(|v| v.not_after.duration_since(v.not_before));
        let failed = Failed {
            names: &self.request.names,
            error: &error.to_string(),
            retry_after: error.retry_after(),
            lifetime,
        };
        Some(failed.after(head.renewal.failure.as_ref(), Timestamp::now()))
    }
}

/// Gives up an order with the account it was made with, where that is still known and its CA can be reached.
pub(super) async fn abandon_as_stored(
    engine: &Engine,
    order: &InFlight,
    limit: &Limit<'_>,
    events: &Events,
) {
    let account = async {
        let (stored, _) = StoredAccount::load(&*engine.store, &order.wanted.account)
            .await
            .ok()??;
        let key = AccountKey::from_pkcs8(&stored.key).ok()?;
        let client = engine.client(None, &stored.directory, events).await.ok()?;
        Some(client.account(&key, &stored.url?))
    };
    let account = tokio::select! {
        account = account => account,
        () = limit.over() => None,
    };
    match account {
        Some(account) => {
            abandon(&account, order, limit, events).await;
        }
        None => events.warn(
            format!(
                "{} cannot be asked to give up the order {}, which runs out by itself",
                order.wanted.directory, order.url
            ),
            None,
        ),
    }
}

async fn abandon(account: &Account, order: &InFlight, limit: &Limit<'_>, events: &Events) -> bool {
    // The account of a run that is being interrupted would refuse to work.
    let account = account.with_cancel(&CancellationToken::new());
    let giving_up = async {
        let failures = give_up(&account, order).await;
        let may_work_later = failures.iter().any(|(_, error)| error.is_retryable());
        for (url, error) in failures {
            events.warn(
                format!("cannot give up {url} at the CA: {error}"),
                error.hint(),
            );
        }
        !may_work_later
    };
    tokio::select! {
        biased;
        nothing_left = giving_up => nothing_left,
        () = limit.over() => {
            events.warn(
                format!("no time to give up the order {}", order.url),
                Some("the next run for this certificate does it".to_owned()),
            );
            false
        }
    }
}

/// The values that this run wrote down and the provider refused for good. What an earlier run wrote down may be there.
pub(super) fn refused(head: &Head, errors: &[(Identifier, WriteError)]) -> Vec<Published> {
    let since = head.worker.as_ref().map(|worker| worker.since);
    let is_about = |value: &Published, error: &WriteError| {
        error.value == value.value
            && error.owner == value.owner
            && error.zone == value.zone.name
            && error.provider == value.provider
    };
    let mut values = head.published.clone();
    values.retain(|value| {
        since.is_some_and(|since| value.since >= since)
            && errors
                .iter()
                .any(|(_, error)| !error.is_retryable() && is_about(value, error))
    });
    values
}

/// Deactivates pending authorizations; those that it could not do that for, and why.
async fn give_up(account: &Account, order: &InFlight) -> Vec<(String, OrderError)> {
    let authorizations = match order.authorizations.as_slice() {
        [] => match account.order(&order.url).await {
            Ok(order) => order.authorizations,
            Err(error) => return vec![(order.url.clone(), error)],
        },
        known => known.to_vec(),
    };
    stream::iter(authorizations)
        .map(|url| async move {
            match deactivate(account, &url).await {
                Ok(()) => None,
                Err(error) => Some((url, error)),
            }
        })
        .buffer_unordered(CONCURRENT)
        .filter_map(std::future::ready)
        .collect()
        .await
}

async fn deactivate(account: &Account, url: &String) -> Result<(), OrderError> {
    let found = account.authorizations(std::slice::from_ref(url)).await?;
    // Valid ones stay: they spare the next order a proof.
    if found
        .iter()
        .all(|authorization| authorization.status != AuthorizationStatus::Pending)
    {
        return Ok(());
    }
    match account.deactivate(std::slice::from_ref(url)).await.pop() {
        Some((_, error)) => Err(error.into()),
        None => Ok(()),
    }
}

/// As many as when they are read.
const CONCURRENT: usize = 16;
