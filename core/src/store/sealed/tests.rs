use std::time::Duration;

use jiff::Timestamp;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::*;
use crate::store::AccountId;
use crate::store::CertId;
use crate::store::SealState;
use crate::store::StoredAccount;
use crate::store::VersionFile;

const ACCOUNT_KEY: &str = "canary-of-the-account";

struct Bench {
    root: tempfile::TempDir,
    cancel: CancellationToken,
}

fn key(text: &str) -> StoreKey {
    StoreKey::parse(&SecretString::from(text.to_owned())).unwrap()
}

fn identity() -> String {
    let identity = age::x25519::Identity::generate().to_string();
    identity.expose_secret().to_owned()
}

impl Bench {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
            cancel: CancellationToken::new(),
        }
    }

    /// The store for somebody who has this key, or none.
    fn store(&self, text: Option<&str>) -> SealedStore {
        let store = DirectoryStore::open(&self.root.path().join("store")).unwrap();
        let text = text.map(str::to_owned);
        SealedStore::new(
            store,
            StoreKeeper::new(move || Ok(text.as_deref().map(key))),
        )
    }

    fn patience(&self) -> Patience<'_> {
        Patience {
            cancel: &self.cancel,
            at_most: Duration::from_millis(50),
            on_wait: &|_| {},
        }
    }

    async fn fill(&self, store: &SealedStore) {
        for name in ["a.test", "b.test"] {
            let id: CertId = name.parse().unwrap();
            for (file, content) in [
                (VersionFile::Key, "private"),
                (VersionFile::FullChain, "chain"),
            ] {
                let at = Key::version(&id, 1, file);
                store
                    .put_if_absent(&at, format!("{content} {name}").into_bytes())
                    .await
                    .unwrap();
            }
        }
        let directory: Url = "https://ca.test/dir".parse().unwrap();
        let id = AccountId::for_directory(&directory);
        let account = SecretString::from(ACCOUNT_KEY.to_owned());
        let account = StoredAccount::new(id, directory, account, Timestamp::UNIX_EPOCH);
        account.save(store, None).await.unwrap();
    }

    /// Everything is there for whoever opens it.
    async fn is_whole(&self, store: &SealedStore) {
        for name in ["a.test", "b.test"] {
            let at = Key::version(&name.parse().unwrap(), 1, VersionFile::Key);
            let (content, _) = store.get(&at).await.unwrap().unwrap();
            assert_eq!(content, format!("private {name}").into_bytes());
        }
        assert_eq!(self.account(store).await.key.expose_secret(), ACCOUNT_KEY);
    }

    async fn account(&self, store: &SealedStore) -> StoredAccount {
        let id = AccountId::for_directory(&"https://ca.test/dir".parse().unwrap());
        StoredAccount::load(store, &id).await.unwrap().unwrap().0
    }

    /// Private texts that stand on the disk as they are.
    fn plain_on_disk(&self) -> usize {
        fn walk(dir: &Path, found: &mut usize) {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, found);
                } else {
                    let text = std::fs::read_to_string(&path).unwrap();
                    *found += usize::from(text.contains("private ") || text.contains(ACCOUNT_KEY));
                }
            }
        }
        let mut found = 0;
        walk(&self.root.path().join("store"), &mut found);
        found
    }
}

#[tokio::test]
async fn what_is_private_is_encrypted_and_nothing_else() {
    let bench = Bench::new();
    let mine = identity();
    let store = bench.store(Some(&mine));
    bench.fill(&store).await;
    assert_eq!(bench.plain_on_disk(), 3);
    let done = store.encrypt(&key(&mine), bench.patience()).await.unwrap();
    assert_eq!(
        (done.changed, done.resumed, done.already),
        (3, false, false)
    );
    assert_eq!(bench.plain_on_disk(), 0);
    bench.is_whole(&store).await;
    let again = store.encrypt(&key(&mine), bench.patience()).await.unwrap();
    assert!(again.already);
    let status = store.status().await.unwrap();
    assert_eq!((status.encrypted, status.plain), (3, 0));
    assert_eq!(
        status.seal,
        Some((SealState::Sealed, StoreKeyKind::Identity))
    );

    // What is written from now on, too; a record keeps its tag through it.
    let at = Key::version(&"c.test".parse().unwrap(), 1, VersionFile::Key);
    store
        .put_if_absent(&at, b"private c.test".to_vec())
        .await
        .unwrap();
    let id = AccountId::for_directory(&"https://ca.test/dir".parse().unwrap());
    let (mut account, tag) = StoredAccount::load(&store, &id).await.unwrap().unwrap();
    account.pending_key = Some(ACCOUNT_KEY.to_owned().into());
    account.save(&store, Some(&tag)).await.unwrap();
    assert_eq!(bench.plain_on_disk(), 0);
    assert_eq!(store.get(&at).await.unwrap().unwrap().0, b"private c.test");
    let (account, _) = StoredAccount::load(&store, &id).await.unwrap().unwrap();
    assert_eq!(account.pending_key.unwrap().expose_secret(), ACCOUNT_KEY);

    let done = store.decrypt(bench.patience()).await.unwrap();
    assert_eq!(done.changed, 4);
    bench.is_whole(&bench.store(None)).await;
    assert_eq!(bench.plain_on_disk(), 4);
}

#[tokio::test]
async fn without_the_key_the_rest_is_read() {
    let bench = Bench::new();
    let (mine, other) = (identity(), identity());
    let store = bench.store(Some(&mine));
    bench.fill(&store).await;
    store.encrypt(&key(&mine), bench.patience()).await.unwrap();

    let at = Key::version(&"a.test".parse().unwrap(), 1, VersionFile::Key);
    let nobody = bench.store(None);
    let problem = |error| match error {
        StoreError::Sealed { problem } => problem,
        other => panic!("{other}"),
    };
    assert_eq!(
        problem(nobody.get(&at).await.unwrap_err()),
        SealProblem::NoKey
    );
    assert_eq!(
        problem(nobody.check_key_now().unwrap_err()),
        SealProblem::NoKey
    );
    let account = bench.account(&nobody).await;
    assert_eq!(account.directory.as_str(), "https://ca.test/dir");
    assert!(account.key.expose_secret().starts_with("-----BEGIN AGE"));
    let chain = Key::version(&"a.test".parse().unwrap(), 1, VersionFile::FullChain);
    assert_eq!(
        nobody.get(&chain).await.unwrap().unwrap().0,
        b"chain a.test"
    );

    let stranger = bench.store(Some(&other));
    assert!(matches!(
        problem(stranger.check_key().await.unwrap_err()),
        SealProblem::OtherKey { .. }
    ));
    let refused = stranger.encrypt(&key(&other), bench.patience()).await;
    assert!(matches!(
        problem(refused.unwrap_err()),
        SealProblem::OtherKey { .. }
    ));
    let broken = SealedStore::new(
        DirectoryStore::open(&bench.root.path().join("store")).unwrap(),
        StoreKeeper::new(|| Err("the vault is closed".to_owned())),
    );
    assert!(
        broken
            .check_key_now()
            .unwrap_err()
            .to_string()
            .contains("the vault is closed")
    );
}

/// Whatever the call has not come to yet is held by somebody, as a kill there would leave it.
#[tokio::test]
async fn each_change_may_be_cut_and_goes_on() {
    let bench = Bench::new();
    let (old, new) = (identity(), "correct horse battery staple");
    let with_old = bench.store(Some(&old));
    bench.fill(&with_old).await;
    let b = LockName::certificate(&"b.test".parse().unwrap());

    let held = with_old.lock(&b, bench.patience()).await.unwrap();
    let cut = with_old.encrypt(&key(&old), bench.patience()).await;
    assert!(matches!(cut.unwrap_err(), StoreError::Locked { .. }));
    assert_eq!(bench.plain_on_disk(), 2);
    bench.is_whole(&with_old).await;
    drop(held);
    let done = with_old
        .encrypt(&key(&old), bench.patience())
        .await
        .unwrap();
    assert!(done.resumed && done.changed == 2, "{done:?}");
    assert_eq!(bench.plain_on_disk(), 0);

    let held = with_old.lock(&b, bench.patience()).await.unwrap();
    let cut = with_old.rekey(&key(new), bench.patience()).await;
    assert!(matches!(cut.unwrap_err(), StoreError::Locked { .. }));
    // The new key opens what was encrypted with either.
    bench.is_whole(&bench.store(Some(new))).await;
    assert!(bench.store(Some(&old)).check_key().await.is_err());
    drop(held);
    let done = bench
        .store(Some(&old))
        .rekey(&key(new), bench.patience())
        .await
        .unwrap();
    assert!(done.resumed && done.changed == 2, "{done:?}");
    let with_new = bench.store(Some(new));
    bench.is_whole(&with_new).await;
    assert!(
        with_new
            .rekey(&key(new), bench.patience())
            .await
            .unwrap()
            .already
    );

    let held = with_new.lock(&b, bench.patience()).await.unwrap();
    assert!(with_new.decrypt(bench.patience()).await.is_err());
    bench.is_whole(&with_new).await;
    let status = with_new.status().await.unwrap();
    assert_eq!((status.encrypted, status.plain), (2, 1));
    assert_eq!(
        status.seal,
        Some((SealState::Unsealing, StoreKeyKind::Passphrase))
    );
    drop(held);
    assert!(with_new.decrypt(bench.patience()).await.unwrap().resumed);
    bench.is_whole(&bench.store(None)).await;
    assert!(with_new.decrypt(bench.patience()).await.unwrap().already);
}
