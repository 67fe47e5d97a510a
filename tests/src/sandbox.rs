//! The CA and the name server of the sandbox, with a workbench over them: where the engine meets faults.
//!
//! There is one zone, `example.test`, with a value of somebody else's at the challenge name of its apex. Whatever happens to
//! the engine, [`Sandbox::leftovers`] says what it has left behind at the CA, in the zone and in the store.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use dnseal_core::issue::{Checkpoint, Checkpoints, Engine, IssueError, Issued, Request, Timeouts};
use dnseal_sandbox::ca::{AuthorizationStatus, Ca, CaBuilder};
use dnseal_sandbox::dns::{self, Data, DnsServer, Zone};
use tokio_util::sync::CancellationToken;

use crate::{CaSettings, Narrow, Server, TsigKey, Workbench};

/// A sandbox, and a workbench that uses it.
#[derive(Debug)]
pub struct Sandbox {
    /// The CA. It looks values up at `dns`.
    pub ca: Ca,
    /// The name server that takes updates.
    pub dns: DnsServer,
    /// Where certificates are issued from.
    pub workbench: Workbench,
    server: Server,
}

impl Sandbox {
    /// A sandbox without faults.
    pub async fn start() -> Self {
        Self::with(Ca::builder(), new_key()).await
    }

    /// A sandbox with a CA of one's own making.
    pub async fn with_ca(ca: CaBuilder) -> Self {
        Self::with(ca, new_key()).await
    }

    /// The same, whose key may not do everything.
    pub async fn with_key(key: dns::TsigKey) -> Self {
        Self::with(Ca::builder(), key).await
    }

    async fn with(ca: CaBuilder, key: dns::TsigKey) -> Self {
        let zone = Zone::new(ZONE)
            .ns(format!("ns1.{ZONE}"))
            .a(format!("ns1.{ZONE}"), [127, 0, 0, 1].into())
            .txt(OWNER, FOREIGN);
        let dns = DnsServer::builder()
            .zone(zone)
            .key(key.clone())
            .start()
            .await
            .expect("a name server");
        let ca = ca.dns(dns.addr()).start().await.expect("a CA");
        let server = Server {
            addr: dns.addr(),
            key: TsigKey {
                name: key.name().to_owned(),
                algorithm: key.algorithm().as_str().to_owned(),
                secret_base64: key.secret_base64(),
            },
            zones: Vec::new(),
        };
        Self {
            workbench: workbench(&ca, &server),
            ca,
            dns,
            server,
        }
    }

    /// The same, with a provider that has less to offer.
    pub fn narrow(mut self, narrow: &Narrow) -> Self {
        self.workbench = self.workbench.narrow(narrow);
        self
    }

    /// The key that may update the zone.
    pub fn tsig_key(&self) -> TsigKey {
        self.server.key.clone()
    }

    /// A workbench with a store of its own over the same CA and name server.
    pub fn another_workbench(&self) -> Workbench {
        workbench(&self.ca, &self.server)
    }

    /// A workbench over the same name server and another CA.
    pub fn workbench_for(&self, ca: &Ca) -> Workbench {
        workbench(ca, &self.server)
    }

    /// A request with short time-outs.
    pub fn request(&self, names: &[&str]) -> Request {
        Request {
            timeouts: SHORT,
            ..self.workbench.request(names)
        }
    }

    /// Issues with a new engine, as a new run does.
    pub async fn issue(&self, names: &[&str]) -> Result<Issued, IssueError> {
        self.run(&self.request(names)).await
    }

    /// The same for any request.
    pub async fn run(&self, request: &Request) -> Result<Issued, IssueError> {
        let engine = self.workbench.engine();
        engine.issue(request, &CancellationToken::new()).await
    }

    /// Every TXT value in the zone that is not somebody else's.
    pub fn ours_in_dns(&self) -> Vec<String> {
        let records = self.dns.zone_records(ZONE).into_iter();
        let mut values: Vec<String> = records
            .filter_map(|record| match record.data {
                Data::Txt(value) => Some(format!("{} TXT {value}", record.owner)),
                _ => None,
            })
            .collect();
        let foreign = format!("{OWNER} TXT {FOREIGN}");
        let at = values.iter().position(|value| *value == foreign);
        values.remove(at.expect("the value of somebody else, which nobody may touch"));
        values
    }

    /// Authorizations that the CA still waits for.
    pub fn pending(&self) -> Vec<String> {
        self.ca
            .authorizations()
            .into_iter()
            .filter(|a| a.status == AuthorizationStatus::Pending)
            .map(|a| format!("{} is pending at the CA ({})", a.domain, a.url))
            .collect()
    }

    /// Everything that nobody has given back: in DNS, at the CA, in the store.
    pub async fn leftovers(&self) -> Vec<String> {
        let mut left = self.ours_in_dns();
        left.extend(self.pending());
        left.extend(self.workbench.leftovers().await);
        left
    }
}

/// Runs `issue` in a runtime of its own until it reaches `point`, and ends the runtime there, as SIGKILL would: nothing
/// that the engine has begun goes on, and its locks are free.
pub fn kill_at(workbench: &Workbench, request: &Request, point: Checkpoint) {
    let (reached, at) = mpsc::channel();
    let never = CancellationToken::new();
    let run = || {
        std::thread::scope(|scope| {
            scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let (stop, stopped) = tokio::sync::oneshot::channel();
                let stop_at = StopAt {
                    point,
                    stop: Mutex::new(Some(stop)),
                };
                let engine = workbench
                    .engine()
                    .with_checkpoints(Arc::new(stop_at));
                tokio::select! {
                    biased;
                    _ = stopped => reached.send(Ok(())).expect("somebody who waits"),
                    ended = engine.issue(request, &never) => {
                        let ended = ended.map(|issued| issued.version.number).map_err(|e| e.to_string());
                        reached.send(Err(ended)).expect("somebody who waits");
                    }
                }
            });
            runtime.shutdown_background();
        });
        })
    };
    // The CA and the name server live in the runtime of whoever calls.
    tokio::task::block_in_place(run);
    if let Err(ended) = at.recv().expect("a run") {
        panic!("the run ended before {}: {ended:?}", point.name());
    }
}

/// Tells when a point is reached, and never goes on.
struct StopAt {
    point: Checkpoint,
    stop: Mutex<Option<tokio::sync::oneshot::Sender<()>>>,
}

#[async_trait]
impl Checkpoints for StopAt {
    async fn reached(&self, point: Checkpoint) {
        if point == self.point {
            let stop = self.stop.lock().unwrap().take();
            let _ = stop.map(|stop| stop.send(()));
            std::future::pending::<()>().await;
        }
    }
}

impl fmt::Debug for StopAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StopAt({})", self.point.name())
    }
}

/// Does something when a point is reached, and lets the run go on.
pub struct DoAt {
    point: Checkpoint,
    action: Box<dyn Fn() + Send + Sync>,
}

impl DoAt {
    /// Does `action` at `point`.
    pub fn new(point: Checkpoint, action: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            point,
            action: Box::new(action),
        })
    }
}

#[async_trait]
impl Checkpoints for DoAt {
    async fn reached(&self, point: Checkpoint) {
        if point == self.point {
            (self.action)();
        }
    }
}

impl fmt::Debug for DoAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DoAt({})", self.point.name())
    }
}

/// Holds a run at a point until it is let go.
#[derive(Debug)]
pub struct HoldAt {
    point: Checkpoint,
    reached: tokio::sync::Semaphore,
    go_on: tokio::sync::Semaphore,
}

impl HoldAt {
    /// Holds at `point`.
    pub fn new(point: Checkpoint) -> Arc<Self> {
        Arc::new(Self {
            point,
            reached: tokio::sync::Semaphore::new(0),
            go_on: tokio::sync::Semaphore::new(0),
        })
    }

    /// Waits until a run is held.
    pub async fn held(&self) {
        self.reached.acquire().await.expect("open").forget();
    }

    /// Lets one run go on.
    pub fn let_go(&self) {
        self.go_on.add_permits(1);
    }
}

#[async_trait]
impl Checkpoints for HoldAt {
    async fn reached(&self, point: Checkpoint) {
        if point == self.point {
            self.reached.add_permits(1);
            self.go_on.acquire().await.expect("open").forget();
        }
    }
}

/// Issues with an engine that is at hand.
pub async fn issue(engine: &Engine, request: &Request) -> Result<Issued, IssueError> {
    engine.issue(request, &CancellationToken::new()).await
}

fn new_key() -> dns::TsigKey {
    dns::TsigKey::generate("acme-key")
        .expect("a key")
        .only_txt()
}

fn workbench(ca: &Ca, server: &Server) -> Workbench {
    let settings = CaSettings {
        directory: ca.directory_url(),
        root: ca.tls_root_pem().as_bytes().to_vec(),
    };
    Workbench::new(settings, vec![server.clone()])
}

/// What lies in a store that no whole version, head, account or lock accounts for.
pub(crate) fn strays(store: &Path) -> Vec<String> {
    let mut files = BTreeSet::new();
    collect(store, store, &mut files);
    let whole = |file: &str| {
        let stem = file.split_once("/versions/").map(|(id, name)| {
            let number = name.split('.').next().unwrap_or_default();
            format!("{id}/versions/{number}")
        });
        stem.is_some_and(|stem| {
            ["privkey.pem", "fullchain.pem", "json"]
                .iter()
                .all(|suffix| files.contains(&format!("{stem}.{suffix}")))
        })
    };
    files
        .iter()
        .filter(|file| {
            let known = (file.starts_with("locks/") && file.ends_with(".lock"))
                || (file.starts_with("accounts/") && file.ends_with(".json"))
                || (file.starts_with("zones/") && file.ends_with(".json"))
                || (file.starts_with("certificates/") && file.ends_with("/head.json"))
                || whole(file);
            !known
        })
        .cloned()
        .collect()
}

fn collect(root: &Path, directory: &Path, files: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => collect(root, &path, files),
            false => {
                let relative = path.strip_prefix(root).expect("below the root");
                files.insert(relative.display().to_string());
            }
        }
    }
}

/// The zone.
pub const ZONE: &str = "example.test";
/// The challenge name of its apex and of its wildcard.
pub const OWNER: &str = "_acme-challenge.example.test";
/// What somebody else has put there.
pub const FOREIGN: &str = "foreign";
/// Short enough for tests that wait for them to pass.
pub const SHORT: Timeouts = Timeouts {
    lock: Duration::from_secs(60),
    settling: Duration::from_secs(1),
    order_look: Duration::from_secs(10),
    validation: Duration::from_secs(2),
    finalization: Duration::from_secs(2),
    withdrawal: Duration::from_secs(3),
};
