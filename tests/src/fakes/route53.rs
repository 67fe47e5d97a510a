//! Amazon Route 53: hosted zones, record sets, atomic change batches, propagation, throttling, signatures and policies.
//!
//! ```no_run
//! use dnseal_tests::fakes::route53::{Route53, Route53Options};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let fake = Route53::start(Route53Options::default()).await;
//! let zone = fake.add_zone("example.test");
//! println!("{} holds {zone}, served at {}", fake.endpoint(), fake.dns());
//! fake.throttle(5, 5);
//! # }
//! ```
//!
//! Written from the API reference (2013-04-01) and the developer guide's pages on quotas, record types, names and policy
//! conditions. The words of refusals are those that users of the service quote in their reports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use dnseal_sandbox::dns::DnsServer;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

pub use answer::Refusal;
pub use serve::{Fault, LoggedCall};
pub use sets::RecordSet;
use state::State;

mod answer;
mod auth;
mod batch;
mod serve;
mod sets;
mod state;

/// How the service behaves.
#[derive(Clone, Debug)]
pub struct Route53Options {
    /// Where the API listens, at a free port.
    pub address: IpAddr,
    /// Requests that may come at once after a pause.
    pub burst: u32,
    /// How long the service works at one change of a zone, refusing others of that zone.
    pub busy: Duration,
    /// Access keys with their secrets.
    pub keys: Vec<(String, String)>,
    /// How long a change takes until every name server has it.
    pub propagation: Duration,
    /// Requests in a second that the account may make.
    pub rate: u32,
}

impl Default for Route53Options {
    fn default() -> Self {
        Self {
            address: Ipv4Addr::LOCALHOST.into(),
            burst: 50,
            busy: Duration::ZERO,
            keys: vec![(KEY_ID.to_owned(), KEY_SECRET.to_owned())],
            propagation: Duration::from_millis(300),
            rate: 10,
        }
    }
}

/// What a policy allows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Policy {
    /// Everything.
    #[default]
    Everything,
    /// What the least policy of `dnseal provider show route53` allows, and nothing else.
    Challenges,
}

/// The running service. Clones are handles to the same one; it stops when the last is dropped.
#[derive(Clone, Debug)]
pub struct Route53(Arc<Running>);

#[derive(Debug)]
struct Running {
    address: SocketAddr,
    primary: DnsServer,
    secondary: DnsServer,
    serving: AbortHandle,
    state: Arc<Mutex<State>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Route53 {
    /// Starts a service without zones.
    pub async fn start(options: Route53Options) -> Self {
        let primary = DnsServer::builder().start().await.unwrap();
        // Queries see a change when the service says INSYNC, and not before.
        let secondary = primary
            .secondary(options.propagation)
            .start()
            .await
            .unwrap();
        let listener = TcpListener::bind((options.address, 0)).await.unwrap();
        let state = Arc::new(Mutex::new(State::new(options, primary.clone())));
        let address = listener.local_addr().unwrap();
        let router = serve::router(Arc::clone(&state));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        Self(Arc::new(Running {
            address,
            primary,
            secondary,
            serving: serving.abort_handle(),
            state,
        }))
    }

    /// The URL of the API.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.0.address)
    }

    /// Where the zones are served, by UDP and TCP.
    pub fn dns(&self) -> SocketAddr {
        self.0.secondary.addr()
    }

    /// The name server, for its log and its faults.
    pub fn name_server(&self) -> &DnsServer {
        &self.0.secondary
    }

    /// Moves the clock that changes propagate by.
    pub fn advance(&self, by: Duration) {
        self.0.primary.advance(by);
        self.state().advance(by);
    }

    /// A public zone, which is served over DNS at once unless there is one of that name; answers with its ID.
    pub fn add_zone(&self, name: &str) -> String {
        let id = self.state().add_zone(name, false);
        let propagation = self.state().options.propagation;
        self.advance(propagation);
        id
    }

    /// A private zone, which nobody outside sees.
    pub fn add_private_zone(&self, name: &str) -> String {
        self.state().add_zone(name, true)
    }

    /// Puts a record set in place of what is there, as somebody else would.
    pub fn put(&self, zone: &str, set: RecordSet) {
        self.put_all(zone, [set]);
    }

    /// Puts record sets in place of what is there, all at once.
    pub fn put_all(&self, zone: &str, sets: impl IntoIterator<Item = RecordSet>) {
        self.state().put(zone, sets);
    }

    /// Puts a record set in place of what is there, just before the next change of the zone is looked at.
    pub fn put_before_next_change(&self, zone: &str, set: RecordSet) {
        self.state().racing.push_back((zone.to_owned(), set));
    }

    /// The record sets of a zone, without those that every zone has.
    pub fn record_sets(&self, zone: &str) -> Vec<RecordSet> {
        self.state().record_sets(zone)
    }

    /// The values of the TXT record sets at a name, as the API writes them.
    pub fn txt(&self, zone: &str, owner: &str) -> Vec<String> {
        let sets = self.record_sets(zone).into_iter();
        sets.filter(|set| set.rtype == "TXT" && set.name == format!("{owner}."))
            .flat_map(|set| set.values)
            .collect()
    }

    /// What was asked since the start or the last [`clear_log`](Self::clear_log).
    pub fn calls(&self) -> Vec<LoggedCall> {
        self.state().log.clone()
    }

    /// How many requests of an action were answered with that code; an empty code is success.
    pub fn count(&self, action: &str, code: &str) -> usize {
        let calls = self.calls();
        calls
            .iter()
            .filter(|call| call.action == action && call.code == code)
            .count()
    }

    /// Forgets what was asked.
    pub fn clear_log(&self) {
        self.state().log.clear();
    }

    /// Takes so many requests in a second, and so many at once.
    pub fn throttle(&self, rate: u32, burst: u32) {
        self.state().throttle(rate, burst);
    }

    /// Refuses an action, such as `route53:GetChange`, as if no policy allowed it.
    pub fn deny(&self, action: &str) {
        self.state().denied.insert(action.to_owned());
    }

    /// Allows what [`deny`](Self::deny) refuses, and holds everybody to `policy`.
    pub fn allow(&self, policy: Policy) {
        let mut state = self.state();
        state.denied.clear();
        state.policy = policy;
    }

    /// Adds a fault for the next requests of an action.
    pub fn inject(&self, action: &str, fault: Fault, times: usize) {
        let mut state = self.state();
        let faults = std::iter::repeat_n((action.to_owned(), fault), times);
        state.faults.extend(faults);
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }
}

/// An access key that is known unless the options say otherwise.
pub const KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";
/// Its secret.
pub const KEY_SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
