//! Taking over an account of another tool.
//!
//! Our accounts sign with P-256. One with another key is given such a key on the way in, and its record holds both until the
//! CA has shown that it took the new one; where the CA changes no keys, the account is refused.

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::Accounts;
use super::AccountsError;
use super::Foreign;
use super::Rollover;
use super::or_cancelled;
use crate::acme::AccountKey;
use crate::acme::SigningKey;
use crate::store::AccountId;
use crate::store::Key;
use crate::store::StoredAccount;

/// An account that was taken over.
#[derive(Debug)]
#[non_exhaustive]
pub struct Imported {
    /// Its record.
    pub stored: StoredAccount,
    /// The change of its key, where it had one of another kind. The tool it came from cannot use it any more then.
    pub rollover: Option<Rollover>,
}

impl Accounts {
    /// Takes over an account at the CA with this directory.
    pub async fn import(
        &self,
        id: &AccountId,
        directory: &Url,
        foreign: &Foreign,
        cancel: &CancellationToken,
    ) -> Result<Imported, AccountsError> {
        or_cancelled(self.take_over(id, directory, foreign, cancel), cancel).await
    }

    async fn take_over(
        &self,
        id: &AccountId,
        directory: &Url,
        foreign: &Foreign,
        cancel: &CancellationToken,
    ) -> Result<Imported, AccountsError> {
        let _lock = self.lock(id, cancel).await?;
        let client = self.connect(directory).await?;
        if let Some((mut stored, mut tag)) = StoredAccount::load(&*self.store, id).await? {
            let same = SigningKey::parse(&stored.key)
                .is_ok_and(|key| key.thumbprint() == foreign.key.thumbprint());
            if !same || stored.directory != *directory || stored.deactivated.is_some() {
                return Err(AccountsError::Exists { id: id.clone() });
            }
            // The same once more, or what a killed import has begun.
            let rollover = match stored.pending_key.is_some() {
                true => Some(self.roll_over(&client, &mut stored, &mut tag).await?),
                false => None,
            };
            return Ok(Imported { stored, rollover });
        }

        let Some(url) = client.find_account_of(&foreign.key).await? else {
            return Err(AccountsError::UnknownKey {
                directory: directory.to_string(),
                thumbprint: foreign.key.thumbprint(),
            });
        };
        for (other, stored) in Self::list(&*self.store).await? {
            if stored.is_ok_and(|stored| stored.url.as_deref() == Some(&url)) {
                self.events.warn(
                    format!("the store has the same account as {other} already"),
                    Some("a new key for one of them shuts the other one out".to_owned()),
                );
            }
        }
        if let Some(claimed) = foreign.url.as_ref().filter(|claimed| **claimed != url) {
            self.events.warn(
                format!("the file says that the account is {claimed}, and the CA says {url}, which counts"),
                None,
            );
        }
        let mut stored = StoredAccount::new(
            id.clone(),
            directory.clone(),
            foreign.key.pkcs8_base64(),
            Timestamp::now(),
        );
        stored.url = Some(url);
        stored.contacts.clone_from(&foreign.contacts);
        stored.eab_kid.clone_from(&foreign.eab_kid);
        if let Some(key) = foreign.key.to_account_key() {
            stored.key = key.pkcs8_base64();
            stored.save(&*self.store, None).await?;
            return Ok(Imported {
                stored,
                rollover: None,
            });
        }

        if client.directory().key_change.is_none() {
            return Err(AccountsError::OtherKind {
                directory: directory.to_string(),
                kind: foreign.key.kind(),
            });
        }
        stored.pending_key = Some(AccountKey::generate()?.pkcs8_base64());
        let mut tag = stored.save(&*self.store, None).await?;
        match self.roll_over(&client, &mut stored, &mut tag).await {
            Ok(rollover) => Ok(Imported {
                stored,
                rollover: Some(rollover),
            }),
            Err(error) => {
                // Refused for good: the account stays with the tool it was of.
                if stored.pending_key.is_none() {
                    self.store.delete(&Key::account(id)).await?;
                }
                Err(error)
            }
        }
    }
}
