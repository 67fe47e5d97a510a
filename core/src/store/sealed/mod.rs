//! A store whose private parts are encrypted at rest, for whoever opens it like any other store.
//!
//! Private are the keys of certificates, as files, and those of accounts, as members of their records. Everything else stays as it is, so
//! that a list or a date needs no key. What is encrypted says so itself, and the seal says what is to be done with what is written: a change
//! from one state to another may be cut anywhere, and everything is read on either side of the cut. The seal is read for each private
//! part anew, because another process may have changed it.

mod reseal;
mod seal;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use async_trait::async_trait;
use serde_json::Value;
use zeroize::Zeroizing;

pub use reseal::Resealed;
pub use reseal::SealStatus;
pub use seal::SealState;
pub use seal::StoreKey;
pub use seal::StoreKeyError;
pub use seal::StoreKeyKind;

use crate::store::DirectoryStore;
use crate::store::Key;
use crate::store::LockGuard;
use crate::store::LockName;
use crate::store::Patience;
use crate::store::Room;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Tag;
use crate::store::from_json;
use crate::store::to_json;

use seal::Opened;
use seal::Seal;
use seal::is_encrypted;

/// A store in a directory, encrypted or not.
#[derive(Clone, Debug)]
pub struct SealedStore {
    keeper: StoreKeeper,
    store: DirectoryStore,
}

/// Who has the key of a store, and asks for it when it is needed. Cheap to clone.
#[derive(Clone)]
pub struct StoreKeeper(Arc<Keeper>);

struct Keeper {
    /// By what opened: the time that a passphrase takes is spent once.
    opened: Mutex<HashMap<String, Opened>>,
    source: Box<KeySource>,
}

type KeySource = dyn Fn() -> Result<Option<StoreKey>, String> + Send + Sync;

impl StoreKeeper {
    /// The key comes from `source`, which says why where it cannot be had, and nothing where there is none.
    pub fn new(
        source: impl Fn() -> Result<Option<StoreKey>, String> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Keeper {
            opened: Mutex::default(),
            source: Box::new(source),
        }))
    }

    /// Nobody has one.
    pub fn nobody() -> Self {
        Self::new(|| Ok(None))
    }

    fn key(&self) -> Result<StoreKey, StoreError> {
        match (self.0.source)() {
            Ok(Some(key)) => Ok(key),
            Ok(None) => Err(StoreError::Sealed {
                problem: SealProblem::NoKey,
            }),
            Err(detail) => Err(StoreError::Sealed {
                problem: SealProblem::Source { detail },
            }),
        }
    }

    fn open(&self, seal: &Seal) -> Result<Opened, StoreError> {
        let mut cache = self.0.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!(
            "{}{}",
            seal.identity,
            seal.before.as_deref().unwrap_or_default()
        );
        if let Some(opened) = cache.get(&name) {
            return Ok(opened.clone());
        }
        let key = self.key()?;
        let opened = seal.open(&key).ok_or(StoreError::Sealed {
            problem: SealProblem::OtherKey {
                given: key.kind(),
                wanted: seal.opened_by,
            },
        })?;
        cache.insert(name, opened.clone());
        Ok(opened)
    }
}

impl fmt::Debug for StoreKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreKeeper")
    }
}

/// Why the private parts of a store cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SealProblem {
    /// What is encrypted was damaged, or encrypted by somebody else.
    #[error("{key} was not encrypted by it")]
    Foreign {
        /// Which.
        key: String,
    },
    /// None was given.
    #[error("no key was given")]
    NoKey,
    /// The one that was given does not open it.
    #[error("{}", not_opened(*given, *wanted))]
    OtherKey {
        /// What kind was given.
        given: StoreKeyKind,
        /// What kind is wanted.
        wanted: StoreKeyKind,
    },
    /// What says how it is encrypted is not there, or makes no sense.
    #[error("seal.json, which says how, is missing or damaged")]
    NoSeal,
    /// It cannot be had.
    #[error("{detail}")]
    Source {
        /// Why.
        detail: String,
    },
}

fn not_opened(given: StoreKeyKind, wanted: StoreKeyKind) -> String {
    match given == wanted {
        true => format!("the one that was given ({given}) does not open it"),
        false => format!("{given} was given, and {wanted} opens it"),
    }
}

impl SealProblem {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoKey => Some(
                "give its key or passphrase with DNSEAL_STORE_KEY, DNSEAL_STORE_KEY_FILE, or `store-key:` in the configuration"
                    .to_owned(),
            ),
            Self::OtherKey { .. } => Some(
                "give the key that it was encrypted with last; nothing was ordered or changed"
                    .to_owned(),
            ),
            Self::Foreign { .. } | Self::NoSeal => Some(
                "put the store back from a backup as a whole; `dnseal store status` says what is encrypted"
                    .to_owned(),
            ),
            Self::Source { .. } => None,
        }
    }
}

impl SealedStore {
    /// The store, with whoever has its key.
    pub fn new(store: DirectoryStore, keeper: StoreKeeper) -> Self {
        Self { keeper, store }
    }

    /// Fails where private parts could not be read, before anything else is done.
    pub async fn check_key(&self) -> Result<(), StoreError> {
        match self.seal().await? {
            Some((seal, _)) => self.open(&seal).await.map(drop),
            None => Ok(()),
        }
    }

    /// The same for whoever cannot wait.
    pub fn check_key_now(&self) -> Result<(), StoreError> {
        match self.seal_now()? {
            Some(seal) => self.keeper.open(&seal).map(drop),
            None => Ok(()),
        }
    }

    /// Whether it is encrypted, or is being made so or otherwise.
    pub fn has_seal_now(&self) -> Result<bool, StoreError> {
        Ok(self.seal_now()?.is_some())
    }

    /// Whether what is written is encrypted.
    pub fn is_sealed_now(&self) -> Result<bool, StoreError> {
        let seal = self.seal_now()?;
        Ok(seal.is_some_and(|seal| seal.state != SealState::Unsealing))
    }

    /// What it is stored in.
    pub(crate) fn directory(&self) -> &DirectoryStore {
        &self.store
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.store.path()
    }

    fn seal_now(&self) -> Result<Option<Seal>, StoreError> {
        let key = Key::seal();
        match self.store.get_now(&key)? {
            Some((content, _)) => Ok(Some(from_json(&key, &content)?)),
            None => Ok(None),
        }
    }

    async fn seal(&self) -> Result<Option<(Seal, Tag)>, StoreError> {
        let key = Key::seal();
        match self.store.get(&key).await? {
            Some((content, tag)) => Ok(Some((from_json(&key, &content)?, tag))),
            None => Ok(None),
        }
    }

    /// On the blocking pool, because a passphrase takes its time.
    async fn open(&self, seal: &Seal) -> Result<Opened, StoreError> {
        let (keeper, seal) = (self.keeper.clone(), seal.clone());
        match tokio::task::spawn_blocking(move || keeper.open(&seal)).await {
            Ok(opened) => opened,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// What is written under `key`, given what somebody wants there.
    async fn outgoing(&self, key: &Key, content: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        if !key.is_private() {
            return Ok(content);
        }
        match self.seal().await? {
            Some((seal, _)) if seal.state != SealState::Unsealing => encrypted(key, content, &seal),
            _ => Ok(content),
        }
    }

    /// What somebody gets, given what stands under `key`.
    async fn incoming(&self, key: &Key, content: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        if !key.is_private() || !has_encrypted(key, &content) {
            return Ok(content);
        }
        let Some((seal, _)) = self.seal().await? else {
            return Err(StoreError::Sealed {
                problem: SealProblem::NoSeal,
            });
        };
        match self.open(&seal).await {
            Ok(opened) => decrypted(key, content, &opened),
            // What is not private of an account is read without a key.
            Err(StoreError::Sealed {
                problem: SealProblem::NoKey,
            }) if key.is_account() => Ok(content),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Store for SealedStore {
    async fn get(&self, key: &Key) -> Result<Option<(Vec<u8>, Tag)>, StoreError> {
        match self.store.get(key).await? {
            Some((content, tag)) => Ok(Some((self.incoming(key, content).await?, tag))),
            None => Ok(None),
        }
    }

    async fn get_each(&self, keys: Vec<Key>) -> Vec<Result<Option<Vec<u8>>, StoreError>> {
        if !keys.iter().any(Key::is_private) {
            return self.store.get_each(keys).await;
        }
        let mut contents = Vec::with_capacity(keys.len());
        for key in keys {
            let found = self.get(&key).await;
            contents.push(found.map(|found| found.map(|(content, _)| content)));
        }
        contents
    }

    async fn put_if_absent(&self, key: &Key, content: Vec<u8>) -> Result<Tag, StoreError> {
        let content = self.outgoing(key, content).await?;
        self.store.put_if_absent(key, content).await
    }

    async fn put_if_match(
        &self,
        key: &Key,
        content: Vec<u8>,
        tag: &Tag,
    ) -> Result<Tag, StoreError> {
        let content = self.outgoing(key, content).await?;
        self.store.put_if_match(key, content, tag).await
    }

    async fn list(&self, prefix: &Key) -> Result<Vec<Key>, StoreError> {
        self.store.list(prefix).await
    }

    async fn names(&self, prefix: &Key) -> Result<Vec<String>, StoreError> {
        self.store.names(prefix).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.store.delete(key).await
    }

    async fn lock(
        &self,
        name: &LockName,
        patience: Patience<'_>,
    ) -> Result<Box<dyn LockGuard>, StoreError> {
        self.store.lock(name, patience).await
    }

    async fn examine(&self, writing: bool) -> Result<Room, StoreError> {
        self.store.examine(writing).await
    }

    async fn tidy(&self, prefix: &Key) -> Result<(), StoreError> {
        self.store.tidy(prefix).await
    }
}

/// The members of an account's record that are private.
const PRIVATE_MEMBERS: [&str; 2] = ["key", "pending_key"];

fn has_encrypted(key: &Key, content: &[u8]) -> bool {
    match key.is_account() {
        true => members(content, is_encrypted) > 0,
        false => is_encrypted(content),
    }
}

fn has_plain(key: &Key, content: &[u8]) -> bool {
    match key.is_account() {
        true => members(content, |text| !is_encrypted(text)) > 0,
        false => !is_encrypted(content),
    }
}

/// How many private members are like that. A record that cannot be read has none, and whoever reads it says so.
fn members(content: &[u8], is: impl Fn(&[u8]) -> bool) -> usize {
    let record: Value = serde_json::from_slice(content).unwrap_or_default();
    PRIVATE_MEMBERS
        .iter()
        .filter_map(|member| record[*member].as_str())
        .filter(|text| is(text.as_bytes()))
        .count()
}

fn encrypted(key: &Key, content: Vec<u8>, seal: &Seal) -> Result<Vec<u8>, StoreError> {
    let content = Zeroizing::new(content);
    let broken = || StoreError::Sealed {
        problem: SealProblem::NoSeal,
    };
    if !key.is_account() {
        return match is_encrypted(&content) {
            true => Ok(content.to_vec()),
            false => seal
                .encrypt(&content)
                .map(String::into_bytes)
                .ok_or_else(broken),
        };
    }
    change_members(key, &content, |text| match is_encrypted(text.as_bytes()) {
        true => Ok(text.to_owned()),
        false => seal.encrypt(text.as_bytes()).ok_or_else(broken),
    })
}

fn decrypted(key: &Key, content: Vec<u8>, opened: &Opened) -> Result<Vec<u8>, StoreError> {
    let foreign = || StoreError::Sealed {
        problem: SealProblem::Foreign {
            key: key.to_string(),
        },
    };
    if !key.is_account() {
        return opened.decrypt(&content).ok_or_else(foreign);
    }
    change_members(key, &content, |text| match is_encrypted(text.as_bytes()) {
        true => opened
            .decrypt(text.as_bytes())
            .and_then(|plain| String::from_utf8(plain).ok())
            .ok_or_else(foreign),
        false => Ok(text.to_owned()),
    })
}

fn change_members(
    key: &Key,
    content: &[u8],
    change: impl Fn(&str) -> Result<String, StoreError>,
) -> Result<Vec<u8>, StoreError> {
    let mut record: Value =
        serde_json::from_slice(content).map_err(|error| StoreError::Corrupt {
            key: key.to_string(),
            detail: error.to_string(),
        })?;
    for member in PRIVATE_MEMBERS {
        if let Some(Value::String(text)) = record.get_mut(member) {
            *text = change(text)?;
        }
    }
    to_json(key, &record)
}

#[cfg(test)]
mod tests;
