//! What would fail, told before anything is ordered.
//!
//! [`Doctor::examine`] runs small checks that know nothing of each other, as far as possible at once: this machine, the
//! CA, where each challenge lives, who may issue, what the name servers say, and a probe value that is written,
//! seen and removed. Each gives typed [`Finding`]s; rendering them is left to others. No order is made, nothing is registered, and the
//! probe value is the only thing that is written.

mod ca;
mod caa;
mod dnssec;
mod finding;
mod limits;
mod place;
mod probe;
mod servers;
mod store;
mod targets;
mod values;

use futures::future::join_all;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

pub use finding::Check;
pub use finding::Diagnosis;
pub use finding::Finding;
pub use finding::Severity;
pub use targets::no_target;
pub use targets::targets;

use crate::dns::Place;
use crate::issue::Engine;
use crate::issue::Request;

/// Examines what an order would need.
#[derive(Debug)]
pub struct Doctor<'a> {
    engine: &'a Engine,
    read_only: bool,
}

impl<'a> Doctor<'a> {
    /// A doctor who looks at the world through this engine.
    pub fn new(engine: &'a Engine) -> Self {
        Self {
            engine,
            read_only: false,
        }
    }

    /// The same, who writes no probe value.
    pub fn read_only(self, read_only: bool) -> Self {
        Self { read_only, ..self }
    }

    /// Everything that can be told about this request, which may be for no names at all.
    pub async fn examine(&self, request: &Request, cancel: &CancellationToken) -> Diagnosis {
        let authority = async {
            let (mut findings, seen) = ca::check(self.engine, request).await;
            if let Some(seen) = &seen {
                findings.extend(caa::check(self.engine, request, seen).await);
            }
            findings
        };
        let (authority, limits, zones, store) = tokio::join!(
            authority,
            limits::check(self.engine, request, Timestamp::now()),
            self.zones(request, cancel),
            store::check(self.engine, self.read_only),
        );
        let limits = limits.into_iter().collect();
        Diagnosis::new([authority, limits, zones, store].concat())
    }

    /// The DNS side: places first, and then everything about them at once.
    async fn zones(&self, request: &Request, cancel: &CancellationToken) -> Vec<Finding> {
        let (mut findings, places) = place::check(self.engine.zones(), request).await;
        let discovery = self.engine.zones().discovery();
        let mut zones: Vec<_> = places.iter().map(|place| &place.location).collect();
        zones.sort_by(|a, b| a.zone.zone.cmp(&b.zone.zone));
        zones.dedup_by(|a, b| a.zone.zone == b.zone.zone);
        // Delegated names share their owners, and one probe is enough for each.
        let mut owners: Vec<&Place> = places.iter().collect();
        owners.sort_by(|a, b| a.location.owner.cmp(&b.location.owner));
        owners.dedup_by(|a, b| a.location.owner == b.location.owner);
        let owners: Vec<Place> = owners.into_iter().cloned().collect();

        let servers = join_all(zones.iter().map(|location| {
            let policy = self.engine.zones().policy_for(&location.owner);
            servers::check(discovery.asker(), &location.zone, policy)
        }));
        let dnssec = join_all(
            zones
                .iter()
                .map(|location| dnssec::check(discovery, &location.zone.zone)),
        );
        let values = join_all(owners.iter().map(|place| values::check(discovery, place)));
        let probe = async {
            match self.read_only {
                true => Vec::new(),
                false => probe::check(self.engine, request, &owners, cancel).await,
            }
        };
        // What stands there is counted before there is a probe value, and serials are compared before it changes them.
        let looking_and_writing = async {
            let (servers, values) = tokio::join!(servers, values);
            (servers, values, probe.await)
        };
        let ((servers, values, probe), dnssec) = tokio::join!(looking_and_writing, dnssec);
        findings.extend(servers.into_iter().flatten());
        findings.extend(dnssec);
        findings.extend(values.into_iter().flatten());
        findings.extend(probe);
        findings
    }
}
