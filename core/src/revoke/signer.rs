//! Who signs a revocation: the key that was given, else the account, else the certificate's stored key.

use tokio_util::sync::CancellationToken;
use url::Url;

use super::Outcome;
use super::Request;
use super::RevocationError;
use super::Revoker;
use super::Way;
use crate::account::Accounts;
use crate::account::account_of;
use crate::account::settle;
use crate::acme::Account;
use crate::acme::Client;
use crate::acme::Leaf;
use crate::acme::Revocation;
use crate::acme::SigningKey;
use crate::store::AccountId;
use crate::store::CertId;
use crate::store::Key;
use crate::store::LockName;
use crate::store::StoredAccount;
use crate::store::Version;
use crate::store::VersionFile;

/// A revocation that the CA has accepted.
pub(super) struct Signed {
    instead: Option<String>,
    revocation: Revocation,
    way: Way,
}

impl Signed {
    fn by_key(revocation: Revocation, instead: Option<String>) -> Self {
        Self {
            instead,
            revocation,
            way: Way::CertificateKey,
        }
    }

    pub(super) fn outcome(
        self,
        request: &Request,
        leaf: &Leaf,
        directory: &Url,
        key_marked: bool,
        certificate: Option<(&CertId, u32)>,
    ) -> Outcome {
        Outcome {
            certificate: certificate.map(|(id, number)| (id.clone(), number)),
            in_force: false,
            serial: leaf.serial.clone(),
            issuer: leaf.issuer.clone(),
            directory: directory.to_string(),
            way: self.way,
            instead: self.instead,
            revocation: self.revocation,
            reason: request.reason,
            key_marked,
        }
    }
}

impl Revoker {
    pub(super) async fn sign(
        &self,
        request: &Request,
        leaf: &Leaf,
        directory: &Url,
        stored: Option<(&CertId, &Version)>,
        cancel: &CancellationToken,
    ) -> Result<Signed, RevocationError> {
        if let Some(key) = &request.key
            && !leaf.is_for(key)
        {
            return Err(RevocationError::OtherKey {
                serial: leaf.serial.clone(),
            });
        }
        let client = Client::connect(self.transport.clone(), directory)
            .await?
            .with_events(self.events.clone());
        if let Some(key) = &request.key {
            let revocation = client.revoke_by_key(key, leaf, request.reason).await?;
            return Ok(Signed::by_key(revocation, None));
        }

        let version = stored.map(|(_, version)| version);
        let account = self.account(request, &client, directory, version, cancel);
        let instead = match account.await? {
            Ok((id, account)) => match account.revoke(leaf, request.reason).await {
                Ok(revocation) => {
                    let url = account.url().to_owned();
                    return Ok(Signed {
                        instead: None,
                        revocation,
                        way: Way::Account { id, url },
                    });
                }
                Err(error) if error.is_about_the_signer() => {
                    format!("the CA refuses the account {id}: {error}")
                }
                Err(error) => return Err(error.into()),
            },
            Err(why) => why,
        };
        let key = match stored {
            Some((id, version)) => self.key(id, version.number, leaf).await?,
            None => None,
        };
        match key {
            Some(key) => {
                let revocation = client.revoke_by_key(&key, leaf, request.reason).await?;
                Ok(Signed::by_key(revocation, Some(instead)))
            }
            None => Err(RevocationError::NoSigner {
                serial: leaf.serial.clone(),
                why: instead,
            }),
        }
    }

    /// The account that may revoke it, or why there is none.
    async fn account(
        &self,
        request: &Request,
        client: &Client,
        directory: &Url,
        version: Option<&Version>,
        cancel: &CancellationToken,
    ) -> Result<Result<(AccountId, Account), String>, RevocationError> {
        let (id, url) = match (&request.account, version) {
            (Some(id), _) => (id.clone(), None),
            (None, Some(version)) => match self.id_of(version).await? {
                Some(id) => (id, Some(version.account.as_str())),
                None => {
                    return Ok(Err(format!(
                        "the account it was ordered with ({}) is not in the store any more",
                        version.account
                    )));
                }
            },
            (None, None) => (AccountId::for_directory(directory), None),
        };
        let _lock = self.lock(&LockName::account(&id), cancel).await?;
        let Some((mut stored, mut tag)) = StoredAccount::load(&*self.store, &id).await? else {
            return Ok(Err(format!("there is no account {id} in the store")));
        };
        if stored.directory != *directory {
            return Ok(Err(format!("the account {id} is at {}", stored.directory)));
        }
        if url.is_some() && stored.url.as_deref() != url {
            return Ok(Err(format!("the account {id} is another one now")));
        }
        if stored.pending_key.is_some() {
            settle(&*self.store, client, &mut stored, &mut tag, &self.events).await?;
        }
        Ok(match account_of(client, &stored) {
            Ok(account) => Ok((id, account)),
            Err(error) => Err(error.to_string()),
        })
    }

    /// Which record has the account of a version: the one it names, else any with that URL.
    async fn id_of(&self, version: &Version) -> Result<Option<AccountId>, RevocationError> {
        let store = &*self.store;
        let is_it = |stored: &StoredAccount| {
            stored.url.as_deref() == Some(&version.account)
                && stored.directory.as_str() == version.directory
        };
        if let Some(id) = &version.account_id
            && let Some((stored, _)) = StoredAccount::load(store, id).await?
            && is_it(&stored)
        {
            return Ok(Some(id.clone()));
        }
        let accounts = Accounts::list(store).await?;
        let found = accounts
            .into_iter()
            .find(|(_, stored)| stored.as_ref().is_ok_and(is_it));
        Ok(found.map(|(id, _)| id))
    }

    /// The stored key of a version, where there is one that fits.
    async fn key(
        &self,
        id: &CertId,
        number: u32,
        leaf: &Leaf,
    ) -> Result<Option<SigningKey>, RevocationError> {
        let key = Key::version(id, number, VersionFile::Key);
        let Some((content, _)) = self.store.get(&key).await? else {
            return Ok(None);
        };
        let text = String::from_utf8(content).unwrap_or_default();
        let key = SigningKey::parse(&text.into()).ok();
        Ok(key.filter(|key| leaf.is_for(key)))
    }
}
