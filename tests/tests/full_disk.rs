//! A disk that is full at each write in turn: the error says so, nothing is lost, and the run that has room finishes.

#![expect(clippy::unwrap_used, reason = "tests")]
#![cfg(target_os = "linux")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use dnseal_core::acme::{CertificateChain, CertificateKey};
use dnseal_core::issue::{IssueError, Issued, Request};
use dnseal_core::store::{
    CertId, DirectoryStore, FileError, Key, LockGuard, LockName, Patience, Store, StoreError, Tag,
};
use dnseal_tests::{Home, Sandbox, issue};

/// A store on a disk with room for so many more writes.
#[derive(Debug)]
struct FullDisk {
    disk: DirectoryStore,
    room: AtomicUsize,
}

impl FullDisk {
    fn write(&self, key: &Key) -> Result<(), StoreError> {
        let full = || FileError::Io {
            action: "write",
            path: self.disk.path().join(key.to_string()),
            // ENOSPC
            source: io::Error::from_raw_os_error(28),
        };
        self.room
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |room| {
                room.checked_sub(1)
            })
            .map(|_| ())
            .map_err(|_| full().into())
    }
}

#[async_trait]
impl Store for FullDisk {
    async fn get(&self, key: &Key) -> Result<Option<(Vec<u8>, Tag)>, StoreError> {
        self.disk.get(key).await
    }

    async fn put_if_absent(&self, key: &Key, content: Vec<u8>) -> Result<Tag, StoreError> {
        self.write(key)?;
        self.disk.put_if_absent(key, content).await
    }

    async fn put_if_match(
        &self,
        key: &Key,
        content: Vec<u8>,
        tag: &Tag,
    ) -> Result<Tag, StoreError> {
        self.write(key)?;
        self.disk.put_if_match(key, content, tag).await
    }

    async fn list(&self, prefix: &Key) -> Result<Vec<Key>, StoreError> {
        self.disk.list(prefix).await
    }

    async fn names(&self, prefix: &Key) -> Result<Vec<String>, StoreError> {
        self.disk.names(prefix).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.disk.delete(key).await
    }

    async fn lock(
        &self,
        name: &LockName,
        patience: Patience<'_>,
    ) -> Result<Box<dyn LockGuard>, StoreError> {
        self.disk.lock(name, patience).await
    }

    async fn tidy(&self, prefix: &Key) -> Result<(), StoreError> {
        self.disk.tidy(prefix).await
    }
}

fn names() -> [&'static str; 2] {
    ["example.test", "*.example.test"]
}

async fn with_room(
    sandbox: &Sandbox,
    request: &Request,
    room: usize,
) -> (Result<Issued, IssueError>, usize) {
    let disk = Arc::new(FullDisk {
        disk: sandbox.workbench.store(),
        room: AtomicUsize::new(room),
    });
    let result = issue(&sandbox.workbench.engine_over(disk.clone()), request).await;
    (result, disk.room.load(Ordering::SeqCst))
}

/// Runs with room for no write, for one, and so on, until there is enough; `prepared` makes what each begins with. Each run that
/// fails says why, and is followed by one that has room.
async fn at_every_write(
    prepared: impl AsyncFn() -> (Sandbox, Request),
    unharmed: impl AsyncFn(&Sandbox),
) -> usize {
    for room in 0.. {
        let (sandbox, request) = prepared().await;
        let issued_before = sandbox.ca.issued().len();
        let (result, left) = with_room(&sandbox, &request, room).await;
        if left > 0 {
            result.unwrap();
            return room;
        }
        if let Err(error) = &result {
            let text = format!("{error}: {:?}", error.hint());
            assert!(text.contains("No space left on device"), "{room}: {text}");
            assert!(text.contains("nothing was lost"), "{room}: {text}");
        }
        unharmed(&sandbox).await;
        // What is in DNS is written down.
        let id: CertId = "example.test".parse().unwrap();
        let head = sandbox.workbench.head(&id).await;
        let known = head.as_ref().map_or(0, |head| head.published.len());
        assert!(sandbox.ours_in_dns().len() <= known, "{room}");

        let current = head.and_then(|head| head.current);
        let current = current.map_or(0, |version| version.number as usize);
        let again = Request {
            force: request.force && current == issued_before,
            ..request
        };
        let issued = sandbox.run(&again).await.unwrap();
        assert_eq!(sandbox.leftovers().await, [""; 0], "after {room} writes");
        assert_eq!(sandbox.ca.accounts().len(), 1, "after {room} writes");
        assert_eq!(
            sandbox.ca.issued().len(),
            issued_before + 1,
            "what was paid for is fetched, after {room} writes"
        );
        assert!(issued.version.number as usize > issued_before, "{room}");
    }
    unreachable!()
}

/// That key and certificate below `live` belong together.
fn belong_together(sandbox: &Sandbox) {
    let live = sandbox.workbench.home().join("live/example.test");
    let read = |name: &str| fs::read_to_string(live.join(name)).unwrap();
    let key = CertificateKey::from_pem(&read("privkey.pem").into()).unwrap();
    assert!(CertificateChain::is_for(&read("fullchain.pem"), &key));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_certificate() {
    let prepared = async || {
        let sandbox = Sandbox::start().await;
        let request = sandbox.request(&names());
        (sandbox, request)
    };
    let writes = at_every_write(prepared, async |_| {}).await;
    assert!(writes > 8, "it was full only {writes} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal() {
    let prepared = async || {
        let sandbox = Sandbox::start().await;
        let request = sandbox.request(&names());
        sandbox.run(&request).await.unwrap();
        let request = Request {
            force: true,
            ..request
        };
        (sandbox, request)
    };
    let writes = at_every_write(prepared, async |sandbox| {
        belong_together(sandbox);
        let id: CertId = "example.test".parse().unwrap();
        let head = sandbox.workbench.head(&id).await.unwrap();
        assert!(head.current.is_some());
    })
    .await;
    assert!(writes > 6, "it was full only {writes} times");
}

/// A small file system over a directory, which is gone with this.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where this user may not mount any.
    fn over(directory: &Path, pages: u32) -> Option<Self> {
        fs::create_dir_all(directory).unwrap();
        let size = format!("size={}k,mode=0700", 4 * pages);
        let words = ["-t", "tmpfs", "-o", &size, "tmpfs"];
        let mounted = Command::new("mount").args(words).arg(directory).output();
        mounted
            .is_ok_and(|output| output.status.success())
            .then(|| Self(directory.to_owned()))
    }

    fn make_room(&self) {
        let grown = Command::new("mount")
            .args(["-o", "remount,size=4m"])
            .arg(&self.0)
            .status();
        assert!(grown.unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Locks, files below `live`, what is remembered of this machine: whatever the binary writes.
#[tokio::test(flavor = "multi_thread")]
async fn everything_on_a_small_disk() {
    let sandbox = Sandbox::start().await;
    for (failed, pages) in (1..60).step_by(3).enumerate() {
        let home = Home::new(
            &sandbox,
            "certificates: { example.test: { names: [example.test], deploy: [{ run: [true] }] } }\n",
        );
        let Some(disk) = SmallDisk::over(&home.path().join("state"), pages) else {
            eprintln!("SKIPPED: a full disk needs a small tmpfs, which only root mounts");
            return;
        };
        let before = sandbox.ca.issued().len();
        let run = home.dnseal(&["issue"]).run();
        if run.code() == 0 {
            assert!(failed > 3, "it was full only {failed} times");
            return;
        }
        assert!(
            run.stderr.contains("No space left on device"),
            "{pages}: {run:?}"
        );
        let paid_for = sandbox.ca.issued().len() - before;
        disk.make_room();
        let again = home.dnseal(&["issue"]).run().success();
        assert_eq!(sandbox.ours_in_dns(), [""; 0], "{pages}: {again:?}");
        let more = sandbox.ca.issued().len() - before - paid_for;
        assert_eq!(paid_for + more, 1, "{pages}: {run:?}\n{again:?}");
        assert!(
            home.path()
                .join("state/live/example.test/privkey.pem")
                .exists()
        );
    }
    panic!("it never had room");
}
