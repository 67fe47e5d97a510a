//! The store as a directory on this machine.
//!
//! Files are private (0600 in 0700 directories), change by atomic rename, and are tagged by a digest of their content.
//! Locks are locks of the operating system on files that stay: they wait, and a dead process never holds one. Every call runs on the blocking pool, since
//! each may sync a disk.

use std::fs::File;
use std::fs::TryLockError;
use std::io::Read;
use std::io::Seek;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::digest;
use tokio::time::Instant;

use crate::store::Dir;
use crate::store::FileError;
use crate::store::Glance;
use crate::store::Key;
use crate::store::Kind;
use crate::store::LockGuard;
use crate::store::LockName;
use crate::store::Mode;
use crate::store::Patience;
use crate::store::Room;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Tag;

/// A store in a directory.
#[derive(Clone, Debug)]
pub struct DirectoryStore {
    root: Dir,
}

impl DirectoryStore {
    /// Opens the store at `path`, and makes it where it is missing. One that others may change is refused.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let root = Dir::open(path, Mode::PRIVATE_DIR)?;
        root.check_private()?;
        Ok(Self { root })
    }

    /// Opens the store at `path` where there is one, and changes nothing.
    pub fn open_existing(path: &Path) -> Result<Option<Self>, FileError> {
        let Some(root) = Dir::open_existing(path)? else {
            return Ok(None);
        };
        root.check_private()?;
        Ok(Some(Self { root }))
    }

    /// Removes what runs that were killed long ago have left half-written outside of single certificates, which are tidied by whoever
    /// holds the lock over them.
    pub fn sweep(&self) -> Result<(), FileError> {
        self.root.sweep()?;
        for name in ["accounts", "compromised-keys", "zones"] {
            if let Some(dir) = existing(&self.root, name)? {
                dir.sweep()?;
            }
        }
        Ok(())
    }

    /// What is under `key`, as far as it can be told without reading it; for many keys, one after the other.
    pub(crate) fn glance(&self, key: &Key) -> Option<Glance> {
        let mut path = self.path().to_owned();
        path.extend(key.components());
        Glance::at(&path)
    }

    /// The content under `key`, for whoever can wait.
    pub(crate) fn read(&self, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        match existing_parent(&self.root, key)? {
            Some((dir, name)) => Ok(dir.read(name)?),
            None => Ok(None),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// The content under `key` and its tag, for whoever cannot wait.
    pub(super) fn get_now(&self, key: &Key) -> Result<Option<(Vec<u8>, Tag)>, StoreError> {
        read(&self.root, key)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Dir) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let root = self.root.clone();
        match tokio::task::spawn_blocking(move || work(&root)).await {
            Ok(result) => result,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

#[async_trait]
impl Store for DirectoryStore {
    async fn get(&self, key: &Key) -> Result<Option<(Vec<u8>, Tag)>, StoreError> {
        let key = key.clone();
        self.blocking(move |root| read(root, &key)).await
    }

    async fn get_each(&self, keys: Vec<Key>) -> Vec<Result<Option<Vec<u8>>, StoreError>> {
        let reading = self.blocking(move |root| {
            let read = |key: &Key| match existing_parent(root, key)? {
                Some((dir, name)) => Ok(dir.read(name)?),
                None => Ok(None),
            };
            Ok(keys.iter().map(read).collect())
        });
        reading.await.unwrap_or_else(|error| vec![Err(error)])
    }

    async fn put_if_absent(&self, key: &Key, content: Vec<u8>) -> Result<Tag, StoreError> {
        let key = key.clone();
        self.blocking(move |root| {
            let (dir, name) = parent(root, &key)?;
            match dir.write_new(name, &content, Mode::PRIVATE_FILE)? {
                true => Ok(tag(&content)),
                false => Err(StoreError::Changed {
                    key: key.to_string(),
                }),
            }
        })
        .await
    }

    async fn put_if_match(
        &self,
        key: &Key,
        content: Vec<u8>,
        wanted: &Tag,
    ) -> Result<Tag, StoreError> {
        let (key, wanted) = (key.clone(), wanted.clone());
        self.blocking(move |root| {
            let (dir, name) = parent(root, &key)?;
            // Between this look and the rename nobody else writes: whoever changes a key holds the lock over it.
            match dir.read(name)? {
                Some(current) if tag(&current) == wanted => {
                    dir.replace(name, &content, Mode::PRIVATE_FILE)?;
                    Ok(tag(&content))
                }
                _ => Err(StoreError::Changed {
                    key: key.to_string(),
                }),
            }
        })
        .await
    }

    async fn list(&self, prefix: &Key) -> Result<Vec<Key>, StoreError> {
        let prefix = prefix.clone();
        self.blocking(move |root| {
            let mut dir = root.clone();
            for component in prefix.components() {
                match existing(&dir, component)? {
                    Some(next) => dir = next,
                    None => return Ok(Vec::new()),
                }
            }
            let mut keys = Vec::new();
            collect(&dir, &prefix, &mut keys)?;
            Ok(keys)
        })
        .await
    }

    async fn names(&self, prefix: &Key) -> Result<Vec<String>, StoreError> {
        let prefix = prefix.clone();
        self.blocking(move |root| {
            let mut dir = root.clone();
            for component in prefix.components() {
                match existing(&dir, component)? {
                    Some(next) => dir = next,
                    None => return Ok(Vec::new()),
                }
            }
            let mut names: Vec<String> = dir.list()?.into_iter().map(|(name, _)| name).collect();
            names.sort();
            Ok(names)
        })
        .await
    }

    async fn examine(&self, writing: bool) -> Result<Room, StoreError> {
        self.blocking(move |root| {
            if writing {
                root.try_writing()?;
            }
            Ok(Room {
                place: root.path().display().to_string(),
                free: root.free()?,
            })
        })
        .await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let key = key.clone();
        self.blocking(move |root| {
            let Some((dir, name)) = existing_parent(root, &key)? else {
                return Ok(());
            };
            let kind = dir.list()?.into_iter().find(|(entry, _)| entry == name);
            match kind {
                Some((_, Kind::Directory)) => dir.remove_tree(name)?,
                Some(_) => dir.remove(name)?,
                None => {}
            }
            Ok(())
        })
        .await
    }

    async fn lock(
        &self,
        name: &LockName,
        patience: Patience<'_>,
    ) -> Result<Box<dyn LockGuard>, StoreError> {
        let what = name.as_str().replacen('-', " ", 1);
        let file_name = format!("{}.lock", name.as_str());
        let file = self
            .blocking(move |root| {
                let locks = root.subdir("locks", Mode::PRIVATE_DIR)?;
                locks.check_private()?;
                Ok(locks.lock_file(&file_name)?)
            })
            .await?;
        let at = self.root.path().join(name.as_str());
        wait_for_lock(file, &at, what, patience).await
    }

    async fn tidy(&self, prefix: &Key) -> Result<(), StoreError> {
        let prefix = prefix.clone();
        self.blocking(move |root| {
            let mut dir = root.clone();
            for component in prefix.components() {
                match existing(&dir, component)? {
                    Some(next) => dir = next,
                    None => return Ok(()),
                }
            }
            tidy_tree(&dir)
        })
        .await
    }
}

/// Waits for the operating system's lock on `file`, which is at `at`, and writes down who has it.
pub(crate) async fn wait_for_lock(
    file: File,
    at: &Path,
    what: String,
    patience: Patience<'_>,
) -> Result<Box<dyn LockGuard>, StoreError> {
    let started = Instant::now();
    let mut pause = LOCK_FIRST_LOOK;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(e)) => {
                return Err(FileError::io("lock", at, e).into());
            }
        }
        let holder = holder_of(&file);
        if !told {
            (patience.on_wait)(&holder);
            told = true;
        }
        let waited = started.elapsed();
        if waited >= patience.at_most {
            return Err(StoreError::Locked {
                holder,
                what,
                waited,
            });
        }
        tokio::select! {
            () = tokio::time::sleep(pause.min(patience.at_most - waited)) => {}
            () = patience.cancel.cancelled() => return Err(StoreError::Cancelled { what }),
        }
        pause = (pause * 2).min(LOCK_SLOWEST_LOOK);
    }
    write_holder(&file);
    Ok(Box::new(OsLock { _file: file }))
}

/// The operating system lets go of the lock when the file is closed, also by a killed process.
struct OsLock {
    _file: File,
}

impl LockGuard for OsLock {}

fn read(root: &Dir, key: &Key) -> Result<Option<(Vec<u8>, Tag)>, StoreError> {
    let Some((dir, name)) = existing_parent(root, key)? else {
        return Ok(None);
    };
    Ok(dir.read(name)?.map(|content| {
        let tag = tag(&content);
        (content, tag)
    }))
}

fn parent<'k>(root: &Dir, key: &'k Key) -> Result<(Dir, &'k str), StoreError> {
    let (name, dirs) = split(key)?;
    let mut dir = root.clone();
    for component in dirs {
        dir = dir.subdir(component, Mode::PRIVATE_DIR)?;
        dir.check_private()?;
    }
    Ok((dir, name))
}

fn existing_parent<'k>(root: &Dir, key: &'k Key) -> Result<Option<(Dir, &'k str)>, StoreError> {
    let (name, dirs) = split(key)?;
    let mut dir = root.clone();
    for component in dirs {
        match existing(&dir, component)? {
            Some(next) => dir = next,
            None => return Ok(None),
        }
    }
    Ok(Some((dir, name)))
}

/// The directory `name` in another, refused where others may change what is in it.
fn existing(dir: &Dir, name: &str) -> Result<Option<Dir>, FileError> {
    let found = dir.existing(name)?;
    if let Some(found) = &found {
        found.check_private()?;
    }
    Ok(found)
}

fn split(key: &Key) -> Result<(&str, &[String]), StoreError> {
    match key.components().split_last() {
        Some((name, dirs)) => Ok((name, dirs)),
        None => Err(StoreError::Corrupt {
            key: String::new(),
            detail: "an empty key".to_owned(),
        }),
    }
}

fn collect(dir: &Dir, prefix: &Key, keys: &mut Vec<Key>) -> Result<(), StoreError> {
    for (name, kind) in dir.list()? {
        let mut components = prefix.components().to_vec();
        components.push(name.clone());
        let key = Key(components);
        match kind {
            Kind::Directory => {
                if let Some(dir) = existing(dir, &name)? {
                    collect(&dir, &key, keys)?;
                }
            }
            Kind::File => keys.push(key),
            Kind::Other => {}
        }
    }
    Ok(())
}

fn tidy_tree(dir: &Dir) -> Result<(), StoreError> {
    dir.tidy()?;
    for (name, kind) in dir.list()? {
        if kind == Kind::Directory
            && let Some(dir) = existing(dir, &name)?
        {
            tidy_tree(&dir)?;
        }
    }
    Ok(())
}

fn tag(content: &[u8]) -> Tag {
    let digest = digest::digest(&digest::SHA256, content);
    Tag(digest.as_ref().iter().map(|b| format!("{b:02x}")).collect())
}

/// Who said last that it has the lock; only for messages.
fn holder_of(mut file: &File) -> String {
    let mut text = String::new();
    let read = file
        .rewind()
        .and_then(|()| file.take(200).read_to_string(&mut text));
    match read {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "another run".to_owned(),
    }
}

fn write_holder(mut file: &File) {
    let text = format!(
        "process {}, since {:.0}\n",
        std::process::id(),
        jiff::Timestamp::now()
    );
    // What stands there helps a person and decides nothing, so a failure is none.
    let _ = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(text.as_bytes()));
}

/// A lock is mostly free or free soon; after that nobody is in a hurry.
const LOCK_FIRST_LOOK: Duration = Duration::from_millis(10);
/// What a run waits at most after another has let go.
const LOCK_SLOWEST_LOOK: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::store::CertId;

    fn store() -> (tempfile::TempDir, DirectoryStore) {
        let root = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(&root.path().join("store")).unwrap();
        (root, store)
    }

    #[tokio::test]
    async fn compare_and_swap() {
        let (_root, store) = store();
        let key = Key::head(&"example.com".parse().unwrap());
        assert_eq!(store.get(&key).await.unwrap(), None);
        let tag = store.put_if_absent(&key, b"1".to_vec()).await.unwrap();
        let again = store.put_if_absent(&key, b"2".to_vec()).await.unwrap_err();
        assert!(matches!(again, StoreError::Changed { .. }));
        let newer = store.put_if_match(&key, b"3".to_vec(), &tag).await.unwrap();
        let stale = store
            .put_if_match(&key, b"4".to_vec(), &tag)
            .await
            .unwrap_err();
        assert!(matches!(stale, StoreError::Changed { .. }));
        assert_eq!(store.get(&key).await.unwrap(), Some((b"3".to_vec(), newer)));
        assert_eq!(
            store.list(&Key::certificates()).await.unwrap(),
            std::slice::from_ref(&key)
        );
        let id: CertId = "example.com".parse().unwrap();
        store.delete(&Key::certificate(&id)).await.unwrap();
        assert_eq!(store.get(&key).await.unwrap(), None);
        store.delete(&Key::certificate(&id)).await.unwrap();
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_directory_inside_that_others_may_change_is_refused() {
        use std::os::unix::fs::PermissionsExt;

        let (_root, store) = store();
        let key = Key::head(&"example.com".parse().unwrap());
        store.put_if_absent(&key, b"1".to_vec()).await.unwrap();
        let inside = store.path().join("certificates/example.com");
        std::fs::set_permissions(&inside, std::fs::Permissions::from_mode(0o777)).unwrap();
        let refused = store.get(&key).await.unwrap_err();
        assert!(
            matches!(refused, StoreError::File(FileError::Unsafe { .. })),
            "{refused}"
        );
        assert!(refused.to_string().contains("example.com"), "{refused}");
    }

    #[cfg(unix)]
    #[test]
    fn only_what_nobody_writes_any_more_is_swept() {
        let (_root, store) = store();
        let at = |name: &str| {
            let path = store.path().join(name);
            std::fs::write(&path, "half").unwrap();
            path
        };
        // No process has such a number.
        let dead = at(".dnseal-tmp-2147483647-00112233445566ff");
        let young = at(".dnseal-tmp-2147483646-00112233445566ff");
        let living = at(&format!(
            ".dnseal-tmp-{}-00112233445566ff",
            std::process::id()
        ));
        let foreign = at(".dnseal-tmp-x");
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(2 * 3600);
        for path in [&dead, &living, &foreign] {
            let file = File::open(path).unwrap();
            file.set_modified(long_ago).unwrap();
        }
        store.sweep().unwrap();
        assert!(!dead.exists());
        assert!(young.exists() && living.exists() && foreign.exists());
    }

    #[tokio::test]
    async fn a_lock_waits_and_names_its_holder() {
        let (_root, store) = store();
        let name = LockName::certificate(&"example.com".parse().unwrap());
        let cancel = CancellationToken::new();
        let patience = |at_most| Patience {
            cancel: &cancel,
            at_most,
            on_wait: &|_| {},
        };
        let held = store.lock(&name, patience(Duration::ZERO)).await.unwrap();
        let refused = store.lock(&name, patience(Duration::from_millis(30))).await;
        match refused.err().unwrap() {
            StoreError::Locked { holder, what, .. } => {
                assert!(holder.contains(&std::process::id().to_string()), "{holder}");
                assert_eq!(what, "certificate example.com");
            }
            other => panic!("{other}"),
        }
        let (waiter, ()) = tokio::join!(
            store.lock(&name, patience(Duration::from_secs(60))),
            async {
                tokio::task::yield_now().await;
                drop(held);
            }
        );
        waiter.unwrap();
    }
}
