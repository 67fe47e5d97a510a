//! Another key for an account (RFC 8555 section 7.3.5).
//!
//! The new key is in the record before the CA hears of it, and both stay there until a request that is signed with one of
//! them has shown which one the CA has. What the CA answers to the change itself decides nothing.

use secrecy::SecretString;

use super::Accounts;
use super::AccountsError;
use crate::acme::AccountError;
use crate::acme::AccountKey;
use crate::acme::Client;
use crate::acme::KeyInUse;
use crate::acme::SigningKey;
use crate::event::Events;
use crate::issue::Checkpoint;
use crate::store::Store;
use crate::store::StoredAccount;
use crate::store::Tag;

/// What a rollover has come to.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Rollover {
    /// The thumbprint of the key that was.
    pub old: String,
    /// The thumbprint of the key that is.
    pub new: String,
    /// Whether an interrupted one was finished.
    pub resumed: bool,
}

impl Accounts {
    pub(super) async fn roll_over(
        &self,
        client: &Client,
        stored: &mut StoredAccount,
        tag: &mut Tag,
    ) -> Result<Rollover, AccountsError> {
        let store = &*self.store;
        let url = registered(stored)?;
        let old = SigningKey::parse(&stored.key)?;
        let mut resumed = false;
        if let Some(pending) = pending(stored)? {
            match client.key_in_use(&url, &old, &pending).await? {
                KeyInUse::New => return adopt(store, stored, tag, &old, true).await,
                // The CA never heard of it, or refused it.
                KeyInUse::Old => resumed = true,
                KeyInUse::NewElsewhere { .. } => drop_pending(store, stored, tag).await?,
                KeyInUse::Neither { detail } => return Err(AccountsError::lost(stored, detail)),
            }
        }
        if client.directory().key_change.is_none() {
            let directory = client.directory().url.clone();
            return Err(AccountError::NoKeyChange { directory }.into());
        }
        let new = match pending(stored)? {
            Some(new) => new,
            None => {
                let new = AccountKey::generate()?;
                stored.pending_key = Some(new.pkcs8_base64());
                *tag = stored.save(store, Some(tag)).await?;
                new
            }
        };
        self.reached(Checkpoint::RolloverStored).await;
        let sent = client.change_key(&url, &old, &new).await;
        self.reached(Checkpoint::RolloverSent).await;

        match (client.key_in_use(&url, &old, &new).await, sent) {
            (Ok(KeyInUse::New), _) => adopt(store, stored, tag, &old, resumed).await,
            (Ok(KeyInUse::Old), Err(error)) => {
                // Refused for good: nothing of it is under way.
                if !error.is_retryable() {
                    drop_pending(store, stored, tag).await?;
                }
                Err(error.into())
            }
            (Ok(KeyInUse::Old), Ok(())) => Err(AccountsError::Unchanged {
                id: stored.id.clone(),
            }),
            (Ok(KeyInUse::NewElsewhere { url }), _) => {
                drop_pending(store, stored, tag).await?;
                Err(AccountsError::KeyElsewhere {
                    id: stored.id.clone(),
                    url,
                })
            }
            (Ok(KeyInUse::Neither { detail }), _) => Err(AccountsError::lost(stored, detail)),
            (Err(source), _) => Err(AccountsError::Unverified {
                id: stored.id.clone(),
                source,
            }),
        }
    }
}

/// Finds out which key an interrupted rollover has left the account with, so that it can sign.
///
/// Where the CA has the old one, that signs on, and the new one stays for whoever goes on with the rollover: a request of the
/// dead process may still be on its way.
pub(crate) async fn settle(
    store: &dyn Store,
    client: &Client,
    stored: &mut StoredAccount,
    tag: &mut Tag,
    events: &Events,
) -> Result<(), AccountsError> {
    let (Some(url), Some(pending)) = (stored.url.clone(), pending(stored)?) else {
        return Ok(());
    };
    if stored.deactivated.is_some() {
        return Ok(());
    }
    let old = SigningKey::parse(&stored.key)?;
    match client.key_in_use(&url, &old, &pending).await? {
        KeyInUse::New => adopt(store, stored, tag, &old, true).await.map(drop),
        KeyInUse::NewElsewhere { .. } => drop_pending(store, stored, tag).await,
        KeyInUse::Old => {
            events.warn(
                format!(
                    "the account {} was to get another key, and the CA still has the old one",
                    stored.id
                ),
                Some(format!(
                    "`dnseal account rollover {}` goes on with it",
                    stored.id
                )),
            );
            Ok(())
        }
        KeyInUse::Neither { detail } => Err(AccountsError::lost(stored, detail)),
    }
}

async fn adopt(
    store: &dyn Store,
    stored: &mut StoredAccount,
    tag: &mut Tag,
    old: &SigningKey,
    resumed: bool,
) -> Result<Rollover, AccountsError> {
    if let Some(new) = stored.pending_key.take() {
        stored.key = new;
    }
    *tag = stored.save(store, Some(tag)).await?;
    Ok(Rollover {
        old: old.thumbprint(),
        new: AccountKey::from_pkcs8(&stored.key)?.thumbprint(),
        resumed,
    })
}

async fn drop_pending(
    store: &dyn Store,
    stored: &mut StoredAccount,
    tag: &mut Tag,
) -> Result<(), AccountsError> {
    stored.pending_key = None;
    *tag = stored.save(store, Some(tag)).await?;
    Ok(())
}

fn pending(stored: &StoredAccount) -> Result<Option<AccountKey>, AccountsError> {
    let key = stored.pending_key.as_ref();
    let key = key.map(|key: &SecretString| AccountKey::from_pkcs8(key));
    Ok(key.transpose()?)
}

fn registered(stored: &StoredAccount) -> Result<String, AccountsError> {
    if let Some(since) = stored.deactivated {
        return Err(AccountsError::Deactivated {
            id: stored.id.clone(),
            since,
        });
    }
    stored
        .url
        .clone()
        .ok_or_else(|| AccountsError::NotRegistered {
            id: stored.id.clone(),
        })
}
