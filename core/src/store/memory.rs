//! What a provider remembers from one run to the next: an account that it has registered, what a hosted script has saved.
//!
//! It stands in the store like everything that outlives a run, readable by its owner alone, below `providers/KIND/ITEM`. The store is
//! opened when it is first asked for, so that a command that remembers nothing makes none.

use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use secrecy::ExposeSecret;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::store::Key;
use crate::store::LockGuard;
use crate::store::LockName;
use crate::store::Patience;
use crate::store::Store;
use crate::store::StoreError;

/// The memory of all providers of a run; cheap to clone.
#[derive(Clone)]
pub struct Memory {
    open: Arc<Open>,
    store: Arc<OnceLock<Option<Arc<dyn Store>>>>,
    writes: bool,
}

type Open = dyn Fn() -> Result<Option<Arc<dyn Store>>, MemoryError> + Send + Sync;

impl Memory {
    /// A memory in the store that `open` opens.
    pub fn new(
        open: impl Fn() -> Result<Arc<dyn Store>, MemoryError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            open: Arc::new(move || open().map(Some)),
            store: Arc::default(),
            writes: true,
        }
    }

    /// The memory of a run that only looks, in the store that `open` opens if there is one.
    pub fn looking(
        open: impl Fn() -> Result<Option<Arc<dyn Store>>, MemoryError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            open: Arc::new(open),
            store: Arc::default(),
            writes: false,
        }
    }

    /// Whether anything new may be remembered.
    pub fn may_write(&self) -> bool {
        self.writes
    }

    /// What is remembered under `item`, for providers of this kind.
    pub async fn get(&self, kind: &str, item: &str) -> Result<Option<SecretString>, MemoryError> {
        let key = key(kind, item)?;
        let Some(store) = self.store()? else {
            return Ok(None);
        };
        let Some((content, _)) = store.get(&key).await? else {
            return Ok(None);
        };
        match String::from_utf8(content) {
            Ok(text) => Ok(Some(text.into())),
            Err(_) => Err(StoreError::Corrupt {
                key: key.to_string(),
                detail: "it is not text".to_owned(),
            }
            .into()),
        }
    }

    /// Remembers `content`. Only for whoever holds the lock over it.
    pub async fn put(
        &self,
        kind: &str,
        item: &str,
        content: &SecretString,
    ) -> Result<(), MemoryError> {
        let key = key(kind, item)?;
        let store = self.writable()?;
        let content = content.expose_secret().as_bytes().to_vec();
        match store.get(&key).await? {
            Some((_, tag)) => store.put_if_match(&key, content, &tag).await?,
            None => store.put_if_absent(&key, content).await?,
        };
        Ok(())
    }

    /// Waits for the lock over what is remembered under `item`.
    pub async fn lock(&self, kind: &str, item: &str) -> Result<Box<dyn LockGuard>, MemoryError> {
        key(kind, item)?;
        let cancel = CancellationToken::new();
        let patience = Patience {
            cancel: &cancel,
            at_most: LOCK,
            on_wait: &|_| {},
        };
        let name = LockName::memory(kind, item);
        Ok(self.writable()?.lock(&name, patience).await?)
    }

    fn writable(&self) -> Result<&Arc<dyn Store>, MemoryError> {
        match self.store()? {
            Some(store) if self.writes => Ok(store),
            _ => Err(MemoryError::OnlyLooking),
        }
    }

    fn store(&self) -> Result<Option<&Arc<dyn Store>>, MemoryError> {
        if let Some(store) = self.store.get() {
            return Ok(store.as_ref());
        }
        let store = (self.open)()?;
        Ok(self.store.get_or_init(|| store).as_ref())
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

/// Why nothing could be remembered.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The store could not be opened.
    #[error("{message}")]
    Closed {
        /// Why.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// No name of a file.
    #[error("`{0}` is no name for what a provider remembers")]
    Name(String),
    /// The run was to change nothing.
    #[error("a run that only looks remembers nothing")]
    OnlyLooking,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl MemoryError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Closed { hint, .. } => hint.clone(),
            Self::Name(_) | Self::OnlyLooking => None,
            Self::Store(error) => error.hint(),
        }
    }
}

/// Both are file names of their own, which hold no path.
fn key(kind: &str, item: &str) -> Result<Key, MemoryError> {
    for part in [kind, item] {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        if part.is_empty() || part.len() > 100 || part.starts_with('.') || !part.bytes().all(good) {
            return Err(MemoryError::Name(part.to_owned()));
        }
    }
    Ok(Key::memory(kind, item))
}

/// Whoever holds it speaks with a server or runs a script for a moment.
const LOCK: Duration = Duration::from_secs(5 * 60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::DirectoryStore;

    #[tokio::test]
    async fn what_is_remembered_is_there_next_time_and_nowhere_else() {
        let root = tempfile::tempdir().unwrap();
        let at = root.path().join("s");
        let memory = Memory::new({
            let at = at.clone();
            move || {
                Ok(Arc::new(
                    DirectoryStore::open(&at).map_err(StoreError::from)?,
                ))
            }
        });
        assert!(!at.exists(), "opened before it was asked for");
        assert!(memory.get("acme-dns", "a.json").await.unwrap().is_none());
        for content in ["one", "two"] {
            let _lock = memory.lock("acme-dns", "a.json").await.unwrap();
            memory
                .put("acme-dns", "a.json", &content.into())
                .await
                .unwrap();
            let found = memory.get("acme-dns", "a.json").await.unwrap().unwrap();
            assert_eq!(found.expose_secret(), content);
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let file = at.join("providers/acme-dns/a.json");
            let mode = file.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        for item in ["../a", "", ".a", "A", "a/b"] {
            assert!(memory.get("acme-dns", item).await.is_err(), "{item}");
        }
    }
}
