//! A store with accounts in it whose keys somebody else keeps.
//!
//! Where the key of an account comes from outside with every run, its record stands here for as long as the process lives, and nothing of
//! it reaches the store below. Everything else passes through. Whoever asks for the account finds the record that was lent, also
//! where the store has another under that name: that one is neither read nor changed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use async_trait::async_trait;
use jiff::Timestamp;
use url::Url;
use zeroize::Zeroizing;

use crate::acme::AccountKey;
use crate::store::AccountId;
use crate::store::Key;
use crate::store::LockGuard;
use crate::store::LockName;
use crate::store::Patience;
use crate::store::Room;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::StoredAccount;
use crate::store::Tag;
use crate::store::to_json;

/// A store, and accounts that it does not have.
pub struct WithLentAccounts {
    lent: Mutex<BTreeMap<Key, Record>>,
    store: Arc<dyn Store>,
}

/// What stands under a key, and how often it was written.
struct Record {
    content: Zeroizing<Vec<u8>>,
    writes: u64,
}

impl WithLentAccounts {
    /// The store as it is.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            lent: Mutex::default(),
            store,
        }
    }

    /// Lends the account with `key` at `directory`, to be found as `id`. What is known of one that was lent already stays.
    pub fn lend(&self, id: AccountId, directory: Url, key: &AccountKey) -> Result<(), StoreError> {
        let at = Key::account(&id);
        let now = Timestamp::now();
        let account = StoredAccount::new(id, directory, key.pkcs8_base64(), now);
        let content = Zeroizing::new(to_json(&at, &account)?);
        self.records()
            .entry(at)
            .or_insert(Record { content, writes: 0 });
        Ok(())
    }

    fn records(&self) -> MutexGuard<'_, BTreeMap<Key, Record>> {
        self.lent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, key: &Key) -> bool {
        self.records().contains_key(key)
    }
}

impl fmt::Debug for WithLentAccounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records = self.records();
        f.debug_struct("WithLentAccounts")
            .field("lent", &records.keys().collect::<Vec<_>>())
            .field("store", &self.store)
            .finish()
    }
}

#[async_trait]
impl Store for WithLentAccounts {
    async fn get(&self, key: &Key) -> Result<Option<(Vec<u8>, Tag)>, StoreError> {
        if let Some(record) = self.records().get(key) {
            return Ok(Some((record.content.to_vec(), record.tag())));
        }
        self.store.get(key).await
    }

    async fn get_each(&self, keys: Vec<Key>) -> Vec<Result<Option<Vec<u8>>, StoreError>> {
        if !keys.iter().any(|key| self.has(key)) {
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
        match self.has(key) {
            true => Err(StoreError::Changed {
                key: key.to_string(),
            }),
            false => self.store.put_if_absent(key, content).await,
        }
    }

    async fn put_if_match(
        &self,
        key: &Key,
        content: Vec<u8>,
        tag: &Tag,
    ) -> Result<Tag, StoreError> {
        if let Some(record) = self.records().get_mut(key) {
            if record.tag() != *tag {
                return Err(StoreError::Changed {
                    key: key.to_string(),
                });
            }
            record.content = Zeroizing::new(content);
            record.writes += 1;
            return Ok(record.tag());
        }
        self.store.put_if_match(key, content, tag).await
    }

    async fn list(&self, prefix: &Key) -> Result<Vec<Key>, StoreError> {
        let mut keys = self.store.list(prefix).await?;
        let below = |key: &&Key| key.components().starts_with(prefix.components());
        keys.extend(self.records().keys().filter(below).cloned());
        keys.sort();
        keys.dedup();
        Ok(keys)
    }

    async fn names(&self, prefix: &Key) -> Result<Vec<String>, StoreError> {
        self.store.names(prefix).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        if self.records().remove(key).is_some() {
            return Ok(());
        }
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

impl Record {
    fn tag(&self) -> Tag {
        Tag(format!("lent-{}", self.writes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::DirectoryStore;

    #[tokio::test]
    async fn a_lent_account_never_reaches_the_store() {
        let root = tempfile::tempdir().unwrap();
        let below = DirectoryStore::open(&root.path().join("store")).unwrap();
        let directory: Url = "https://ca.test/dir".parse().unwrap();
        let id = AccountId::for_directory(&directory);
        let mine = AccountKey::generate().unwrap();
        let own = StoredAccount::new(
            id.clone(),
            directory.clone(),
            mine.pkcs8_base64(),
            Timestamp::UNIX_EPOCH,
        );
        own.save(&below, None).await.unwrap();

        let given = AccountKey::generate().unwrap();
        let store = WithLentAccounts::new(Arc::new(below.clone()));
        store.lend(id.clone(), directory.clone(), &given).unwrap();
        let (mut lent, tag) = StoredAccount::load(&store, &id).await.unwrap().unwrap();
        let key = AccountKey::from_pkcs8(&lent.key).unwrap();
        assert_eq!(key.thumbprint(), given.thumbprint());
        lent.url = Some("https://ca.test/acct/1".to_owned());
        let old = tag.clone();
        lent.save(&store, Some(&tag)).await.unwrap();
        let stale = lent.save(&store, Some(&old)).await.unwrap_err();
        assert!(matches!(stale, StoreError::Changed { .. }), "{stale}");

        // Lending it again forgets nothing.
        store.lend(id.clone(), directory, &given).unwrap();
        let (lent, _) = StoredAccount::load(&store, &id).await.unwrap().unwrap();
        assert_eq!(lent.url.as_deref(), Some("https://ca.test/acct/1"));
        assert_eq!(store.list(&Key::accounts()).await.unwrap().len(), 1);

        let (own, _) = StoredAccount::load(&below, &id).await.unwrap().unwrap();
        let key = AccountKey::from_pkcs8(&own.key).unwrap();
        assert_eq!(key.thumbprint(), mine.thumbprint());
        assert!(own.url.is_none());
    }
}
