//! Cloudflare's API for zones and DNS records, as <https://developers.cloudflare.com/api> describes it.
//!
//! Tokens with permissions for each zone, e-mail address and global key, pages and filters, batches as one transaction in the
//! order deletes, patches, puts, posts, the quota of requests with its headers. Documented or seen in reports of the real thing:
//! the codes 0, 971, 1000, 1001, 1004, 6003, 6103, 6111, 7000, 7003, 9021, 9103, 9106, 9109, 9300, 10000, 81044, 81045, 81053, 81054, 81058
//! and their words. Assumed, because nothing says it: the words for a batch that is too large (1004), and that content with and without quotes is
//! the same record. An unknown query parameter is refused here, where the real API ignores it.

mod auth;
mod limit;
mod record;
mod server;
mod store;
mod wire;

use std::io;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use dnseal_sandbox::dns::DnsServer;
use dnseal_sandbox::dns::Zone as DnsZone;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use auth::FakeToken;
pub use auth::Grant;
pub use limit::Quota;
pub use record::Record;
pub use store::FakeZone;
pub use store::Plan;

use store::Store;

/// What a fake begins with.
#[derive(Clone, Debug, Default)]
pub struct CloudflareOptions {
    /// Where the API listens, at a free port; 127.0.0.1 unless given.
    pub address: Option<IpAddr>,
    /// How long it takes until a change is served over DNS.
    pub lag: Duration,
    /// How many requests each credential may make; none means no limit.
    pub quota: Option<Quota>,
    /// Tokens that are known.
    pub tokens: Vec<FakeToken>,
    /// E-mail addresses and global keys that are known.
    pub users: Vec<(String, String)>,
    /// The zones of the account.
    pub zones: Vec<FakeZone>,
    /// An API from before September 2024, which has no batches.
    pub without_batches: bool,
}

impl CloudflareOptions {
    /// Zones on the free plan, and one token that may do everything with DNS in all of them.
    pub fn new<const N: usize>(zones: [&str; N], token: &str) -> Self {
        Self {
            tokens: vec![FakeToken::new(token).allow("*", &[Grant::DnsEdit, Grant::ZoneRead])],
            zones: zones.into_iter().map(FakeZone::new).collect(),
            ..Self::default()
        }
    }
}

/// A running fake. It stops when it is dropped.
#[derive(Debug)]
pub struct FakeCloudflare {
    addr: SocketAddr,
    served: DnsServer,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl FakeCloudflare {
    /// Serves the API and DNS on free loopback ports.
    ///
    /// # Errors
    ///
    /// When there is no port.
    ///
    /// # Panics
    ///
    /// When a zone's name is none.
    pub async fn start(options: CloudflareOptions) -> io::Result<Self> {
        let mut dns = DnsServer::builder();
        for zone in options.zones.iter().filter(|zone| zone.is_served()) {
            let server = format!("ns1.{}", zone.name());
            dns = dns.zone(
                DnsZone::new(zone.name())
                    .ns(server.as_str())
                    .a(server.as_str(), [127, 0, 0, 1].into()),
            );
        }
        let primary = dns.start().await.map_err(io::Error::other)?;
        let served = match options.lag.is_zero() {
            true => primary.clone(),
            false => primary
                .secondary(options.lag)
                .start()
                .await
                .map_err(io::Error::other)?,
        };
        let listener =
            TcpListener::bind((options.address.unwrap_or(Ipv4Addr::LOCALHOST.into()), 0)).await?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            options: options.clone(),
            state: Mutex::new(State {
                faults: Vec::new(),
                log: Vec::new(),
                quotas: limit::Quotas::new(options.quota),
                store: Store::new(&options.zones, primary),
            }),
        });
        let app = server::router(shared.clone());
        let task = tokio::spawn(async move {
            // It serves until the test is over.
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self {
            addr,
            served,
            shared,
            task,
        })
    }

    /// What to set as `base-url`.
    pub fn base_url(&self) -> String {
        format!("http://{}/client/v4", self.addr)
    }

    /// The same under a name of one's own, by which the log tells callers apart that share a credential.
    pub fn base_url_for(&self, caller: &str) -> String {
        format!("http://{}/{caller}/client/v4", self.addr)
    }

    /// The name server that serves the zones.
    pub fn dns(&self) -> &DnsServer {
        &self.served
    }

    /// The id of a zone.
    ///
    /// # Panics
    ///
    /// When there is no such zone.
    pub fn zone_id(&self, zone: &str) -> String {
        let state = self.shared.state();
        state.store.zone_named(zone).expect("a zone").id.clone()
    }

    /// The records of a zone, sorted.
    pub fn records(&self, zone: &str) -> Vec<Record> {
        let mut records = self.shared.state().store.records_of(zone);
        records.sort_by_key(|record| (record.name.clone(), record.content.clone()));
        records
    }

    /// Adds a record as somebody else would, past all permissions.
    ///
    /// # Panics
    ///
    /// When it would be refused.
    pub fn add(&self, zone: &str, kind: &str, name: &str, content: &str) -> String {
        let mut state = self.shared.state();
        let id = state.store.zone_named(zone).expect("a zone").id.clone();
        let body = serde_json::json!({"type": kind, "name": name, "content": content, "ttl": 300});
        let record = state.store.create(&id, &body).expect("a good record");
        state.store.publish();
        record.id
    }

    /// Adds many TXT records as somebody else would: `PREFIX0.ZONE`, `PREFIX1.ZONE`, …
    ///
    /// # Panics
    ///
    /// When one would be refused.
    pub fn fill(&self, zone: &str, prefix: &str, count: usize) {
        let mut state = self.shared.state();
        state.store.fill(zone, prefix, count);
        state.store.publish();
    }

    /// Removes a record as somebody else would.
    pub fn remove(&self, id: &str) {
        let mut state = self.shared.state();
        state.store.remove_everywhere(id);
        state.store.publish();
    }

    /// Requests since the start or the last [`forget`](Self::forget).
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.shared.state().log.clone()
    }

    /// How many requests there were with this method whose path ends like this.
    pub fn count(&self, method: &str, end: &str) -> usize {
        let requests = self.requests();
        let hits = requests
            .iter()
            .filter(|r| r.method == method && r.path.ends_with(end));
        hits.count()
    }

    /// Forgets the requests.
    pub fn forget(&self) {
        self.shared.state().log.clear();
    }

    /// Changes how many requests a credential may make.
    pub fn set_quota(&self, quota: Option<Quota>) {
        self.shared.state().quotas = limit::Quotas::new(quota);
    }

    /// Adds a fault; the oldest that strikes a request counts.
    pub fn inject(&self, fault: Fault) {
        self.shared.state().faults.push(fault);
    }
}

impl Drop for FakeCloudflare {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request, and what became of it.
#[derive(Clone, Debug)]
pub struct LoggedRequest {
    /// How many operations a batch had.
    pub batch: usize,
    /// What was sent.
    pub body: String,
    /// The name that the caller has from [`base_url_for`](FakeCloudflare::base_url_for); empty for others.
    pub caller: String,
    /// The vendor's codes in the answer.
    pub codes: Vec<i64>,
    /// The last letters of the token or key.
    pub credential: String,
    /// The method.
    pub method: String,
    /// The path, from `/zones` or `/user`.
    pub path: String,
    /// The query, as it was sent.
    pub query: String,
    /// The status that was answered; 0 where the answer was lost.
    pub status: u16,
}

/// Something that goes wrong with the next requests of a kind.
pub struct Fault {
    kind: FaultKind,
    method: &'static str,
    path_end: &'static str,
    times: usize,
}

impl Fault {
    /// Answers with this status and body instead of doing anything.
    pub fn answer(method: &'static str, path_end: &'static str, status: u16, body: &str) -> Self {
        Self::new(method, path_end, FaultKind::Answer(status, body.to_owned()))
    }

    /// Does it, and then closes the connection without an answer.
    pub fn lose_answer(method: &'static str, path_end: &'static str) -> Self {
        Self::new(method, path_end, FaultKind::LoseAnswer)
    }

    /// Somebody else adds a record just before.
    pub fn race(
        method: &'static str,
        path_end: &'static str,
        zone: &str,
        name: &str,
        content: &str,
    ) -> Self {
        let race = FaultKind::RaceAdd {
            content: content.to_owned(),
            name: name.to_owned(),
            zone: zone.to_owned(),
        };
        Self::new(method, path_end, race)
    }

    /// Somebody else removes every TXT record at this name just before.
    pub fn race_removal(
        method: &'static str,
        path_end: &'static str,
        zone: &str,
        name: &str,
    ) -> Self {
        let race = FaultKind::RaceRemove {
            name: name.to_owned(),
            zone: zone.to_owned(),
        };
        Self::new(method, path_end, race)
    }

    /// So many times instead of once.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    fn new(method: &'static str, path_end: &'static str, kind: FaultKind) -> Self {
        Self {
            kind,
            method,
            path_end,
            times: 1,
        }
    }
}

impl std::fmt::Debug for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fault({} …{})", self.method, self.path_end)
    }
}

#[derive(Clone)]
enum FaultKind {
    Answer(u16, String),
    LoseAnswer,
    RaceAdd {
        content: String,
        name: String,
        zone: String,
    },
    RaceRemove {
        name: String,
        zone: String,
    },
}

#[derive(Debug)]
struct Shared {
    options: CloudflareOptions,
    state: Mutex<State>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct State {
    faults: Vec<Fault>,
    log: Vec<LoggedRequest>,
    quotas: limit::Quotas,
    store: Store,
}

impl State {
    /// The fault that strikes this request, used up once.
    fn strike(&mut self, method: &str, path: &str) -> Option<FaultKind> {
        let at = self
            .faults
            .iter()
            .position(|fault| fault.method == method && path.ends_with(fault.path_end))?;
        let fault = &mut self.faults[at];
        fault.times -= 1;
        let kind = fault.kind.clone();
        if fault.times == 0 {
            self.faults.remove(at);
        }
        Some(kind)
    }
}
