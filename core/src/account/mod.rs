//! Accounts at CAs: made, found, given another key, taken over from other tools, and ended.
//!
//! An account is a record in the store ([`StoredAccount`]): a key, and the URL that the CA gave for it. There may be several at
//! one CA; the one called after the CA is used unless another is asked for. A key is in the record before the CA hears of it,
//! also the one that an account is about to get, so that a kill anywhere loses no account. Whoever changes a record holds
//! its lock. Nothing here orders certificates, and nothing but [`Accounts::register`] and an order makes an account.

mod error;
mod foreign;
mod import;
mod obtain;
mod rollover;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use url::Url;

pub use error::AccountsError;
pub use foreign::Foreign;
pub use foreign::ForeignError;
pub use import::Imported;
pub use obtain::How;
pub use obtain::Obtained;
pub use obtain::Wish;
pub(crate) use obtain::obtain;
pub use rollover::Rollover;
pub(crate) use rollover::settle;

use crate::acme::Account;
use crate::acme::AccountDetails;
use crate::acme::AccountKey;
use crate::acme::Client;
use crate::acme::Transport;
use crate::event::Events;
use crate::event::What;
use crate::issue::Checkpoint;
use crate::issue::Checkpoints;
use crate::store::AccountId;
use crate::store::Key;
use crate::store::LockGuard;
use crate::store::LockName;
use crate::store::Patience;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::StoredAccount;
use crate::store::Tag;

/// The accounts of a store, and a way to their CAs.
#[derive(Debug)]
pub struct Accounts {
    checkpoints: Option<Arc<dyn Checkpoints>>,
    events: Events,
    store: Arc<dyn Store>,
    transport: Transport,
}

impl Accounts {
    /// Accounts in `store`, whose CAs are reached by `transport`.
    pub fn new(store: Arc<dyn Store>, transport: Transport, events: Events) -> Self {
        Self {
            checkpoints: None,
            events,
            store,
            transport,
        }
    }

    /// Calls `checkpoints` at each point where a kill would have to be harmless; for tests that kill there.
    pub fn with_checkpoints(mut self, checkpoints: Arc<dyn Checkpoints>) -> Self {
        self.checkpoints = Some(checkpoints);
        self
    }

    /// Registers an account, or finds the one that is there already.
    pub async fn register(
        &self,
        wish: &Wish<'_>,
        cancel: &CancellationToken,
    ) -> Result<Obtained, AccountsError> {
        let work = async {
            let client = self.connect(&wish.ca.url).await?;
            let _lock = self.lock(&wish.id, cancel).await?;
            if let Some((stored, _)) = StoredAccount::load(&*self.store, &wish.id).await?
                && stored.directory == wish.ca.url
                && let Some(since) = stored.deactivated
            {
                self.events.warn(
                    format!(
                        "{} was deactivated on {since:.0}, and gets a successor with a new key",
                        wish.id
                    ),
                    None,
                );
                self.store.delete(&Key::account(&wish.id)).await?;
            }
            obtain(&*self.store, &client, wish, &self.events).await
        };
        or_cancelled(work, cancel).await
    }

    /// The account as it is stored, and what its CA says of it now.
    pub async fn show(
        &self,
        id: &AccountId,
        cancel: &CancellationToken,
    ) -> Result<Shown, AccountsError> {
        let work = async {
            let (account, stored, _lock, _) = self.open(id, cancel).await?;
            Ok(Shown {
                details: account.details().await?,
                stored,
                terms: account.client().directory().meta.terms_of_service.clone(),
            })
        };
        or_cancelled(work, cancel).await
    }

    /// Asks the CA for the URL of an account of which only the key is known; whether it knows that key.
    pub async fn find(
        &self,
        id: &AccountId,
        cancel: &CancellationToken,
    ) -> Result<bool, AccountsError> {
        let work = async {
            let _lock = self.lock(id, cancel).await?;
            let (mut stored, tag) = self.load(id).await?;
            if stored.url.is_none() {
                let client = self.connect(&stored.directory).await?;
                let key = AccountKey::from_pkcs8(&stored.key)?;
                stored.url = client.find_account(&key).await?;
                stored.save(&*self.store, Some(&tag)).await?;
            }
            Ok(stored.url.is_some())
        };
        or_cancelled(work, cancel).await
    }

    /// Gives an account these contacts instead of those it has.
    pub async fn update_contacts(
        &self,
        id: &AccountId,
        contacts: &[String],
        cancel: &CancellationToken,
    ) -> Result<(StoredAccount, AccountDetails), AccountsError> {
        let work = async {
            let (account, mut stored, _lock, tag) = self.open(id, cancel).await?;
            let details = account.update_contacts(contacts).await?;
            stored.contacts = contacts.to_vec();
            stored.save(&*self.store, Some(&tag)).await?;
            Ok((stored, details))
        };
        or_cancelled(work, cancel).await
    }

    /// Gives an account a new key, or finishes what an interrupted call has begun.
    pub async fn rollover(
        &self,
        id: &AccountId,
        cancel: &CancellationToken,
    ) -> Result<(StoredAccount, Rollover), AccountsError> {
        let work = async {
            let _lock = self.lock(id, cancel).await?;
            let (mut stored, mut tag) = self.load(id).await?;
            let client = self.connect(&stored.directory).await?;
            let rollover = self.roll_over(&client, &mut stored, &mut tag).await?;
            Ok((stored, rollover))
        };
        or_cancelled(work, cancel).await
    }

    /// Ends an account at its CA, for ever. Its record stays, and says so.
    pub async fn deactivate(
        &self,
        id: &AccountId,
        cancel: &CancellationToken,
    ) -> Result<StoredAccount, AccountsError> {
        let work = async {
            let _lock = self.lock(id, cancel).await?;
            let (mut stored, mut tag) = self.load(id).await?;
            if stored.deactivated.is_none() {
                let client = self.connect(&stored.directory).await?;
                if stored.pending_key.is_some() {
                    settle(&*self.store, &client, &mut stored, &mut tag, &self.events).await?;
                }
                let account = account_of(&client, &stored)?;
                account.deactivate_account().await?;
                stored.deactivated = Some(Timestamp::now());
                stored.save(&*self.store, Some(&tag)).await?;
            }
            Ok(stored)
        };
        or_cancelled(work, cancel).await
    }

    /// Takes the record of an account out of the store: one that was ended, or that its CA never heard of.
    pub async fn remove(
        &self,
        id: &AccountId,
        cancel: &CancellationToken,
    ) -> Result<StoredAccount, AccountsError> {
        let work = async {
            let _lock = self.lock(id, cancel).await?;
            let (stored, _) = self.load(id).await?;
            if stored.url.is_some() && stored.deactivated.is_none() {
                return Err(AccountsError::StillOpen { id: id.clone() });
            }
            self.store.delete(&Key::account(id)).await?;
            Ok(stored)
        };
        or_cancelled(work, cancel).await
    }

    /// The records of all accounts, by name; one that cannot be read keeps nobody from the others.
    pub async fn list(
        store: &dyn Store,
    ) -> Result<Vec<(AccountId, Result<StoredAccount, StoreError>)>, StoreError> {
        let mut accounts = Vec::new();
        for key in store.list(&Key::accounts()).await? {
            let Some(id) = key.account_id() else {
                continue;
            };
            match StoredAccount::load(store, &id).await {
                Ok(Some((stored, _))) => accounts.push((id, Ok(stored))),
                Ok(None) => {}
                Err(error @ (StoreError::Corrupt { .. } | StoreError::Newer { .. })) => {
                    accounts.push((id, Err(error)));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(accounts)
    }

    /// A registered account that is not ended, ready to sign, with its record locked.
    async fn open(
        &self,
        id: &AccountId,
        cancel: &CancellationToken,
    ) -> Result<(Account, StoredAccount, Box<dyn LockGuard>, Tag), AccountsError> {
        let lock = self.lock(id, cancel).await?;
        let (mut stored, mut tag) = self.load(id).await?;
        let client = self.connect(&stored.directory).await?;
        if stored.pending_key.is_some() {
            settle(&*self.store, &client, &mut stored, &mut tag, &self.events).await?;
        }
        let account = account_of(&client, &stored)?;
        Ok((account, stored, lock, tag))
    }

    async fn load(&self, id: &AccountId) -> Result<(StoredAccount, Tag), AccountsError> {
        StoredAccount::load(&*self.store, id)
            .await?
            .ok_or_else(|| AccountsError::NoSuchAccount { id: id.clone() })
    }

    async fn connect(&self, directory: &Url) -> Result<Client, AccountsError> {
        let client = Client::connect(self.transport.clone(), directory).await?;
        Ok(client.with_events(self.events.clone()))
    }

    async fn lock(
        &self,
        id: &AccountId,
        cancel: &CancellationToken,
    ) -> Result<Box<dyn LockGuard>, AccountsError> {
        let on_wait = |holder: &str| {
            self.events.emit(What::Waiting {
                reason: format!("{holder}, which holds the lock on account {id}"),
                at_most: Some(PATIENCE),
            });
        };
        let patience = Patience {
            cancel,
            at_most: PATIENCE,
            on_wait: &on_wait,
        };
        let lock = self.store.lock(&LockName::account(id), patience).await;
        lock.map_err(Into::into)
    }

    async fn reached(&self, point: Checkpoint) {
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.reached(point).await;
        }
    }
}

/// An account as it is.
#[derive(Debug)]
#[non_exhaustive]
pub struct Shown {
    /// Its record.
    pub stored: StoredAccount,
    /// What its CA says of it.
    pub details: AccountDetails,
    /// Where the CA's terms of service are.
    pub terms: Option<String>,
}

/// Whether the terms of a CA are agreed to.
#[derive(Clone)]
pub enum Terms {
    /// They are, whatever they say.
    Agreed,
    /// Somebody is asked, with the URL of the terms.
    Ask(Arc<dyn Fn(&str) -> bool + Send + Sync>),
    /// Nobody has agreed.
    NotAgreed,
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agreed => "Agreed",
            Self::Ask(_) => "Ask",
            Self::NotAgreed => "NotAgreed",
        })
    }
}

/// The account of a record, where it is registered and not ended.
pub(crate) fn account_of(
    client: &Client,
    stored: &StoredAccount,
) -> Result<Account, AccountsError> {
    if let Some(since) = stored.deactivated {
        return Err(AccountsError::Deactivated {
            id: stored.id.clone(),
            since,
        });
    }
    let Some(url) = &stored.url else {
        return Err(AccountsError::NotRegistered {
            id: stored.id.clone(),
        });
    };
    let key = AccountKey::from_pkcs8(&stored.key)?;
    Ok(client.account(&key, url))
}

async fn or_cancelled<T>(
    work: impl Future<Output = Result<T, AccountsError>>,
    cancel: &CancellationToken,
) -> Result<T, AccountsError> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(AccountsError::Cancelled),
        result = work => result,
    }
}

/// A person waits for it, and nobody holds the lock for longer than some requests take.
const PATIENCE: Duration = Duration::from_secs(60);
