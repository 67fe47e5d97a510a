//! What is known about zones and their servers, for one run.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use hickory_proto::rr::Name;
use hickory_proto::rr::RData;
use serde::Serialize;
use serde::Serializer;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::error::DiscoveryError;
use crate::dns::DomainName;
use crate::dns::query::Family;
use crate::dns::query::Reply;
use crate::dns::query::from_wire;

/// A zone with every server that a CA may ask about it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct ZoneServers {
    /// The apex.
    pub zone: DomainName,
    /// Every server that the parent or the zone itself names.
    pub servers: Vec<NameServer>,
    /// Whether the user named the servers.
    pub given: bool,
    /// How long a resolver may remember that a name is not there (RFC 2308 section 5).
    #[serde(rename = "negative_ttl_s", serialize_with = "as_seconds")]
    pub negative_ttl: Duration,
}

impl ZoneServers {
    /// Whether any of the servers has an address at which it can be asked from here.
    pub fn is_reachable(&self) -> bool {
        self.servers
            .iter()
            .any(|server| !server.addresses.is_empty())
    }
}

/// One name server of a zone.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct NameServer {
    /// Its name in the NS record, or its address where that was given.
    pub name: String,
    /// Every address it has in the families that are used.
    pub addresses: Vec<SocketAddr>,
    /// Why there is no address.
    pub problem: Option<String>,
}

/// A zone on the way down: names and addresses as far as they are known.
#[derive(Debug)]
pub(in crate::dns) struct Known {
    /// The apex; `None` for the servers that the user gave for everything.
    pub(super) apex: Option<DomainName>,
    pub(super) given: bool,
    /// Whether an encrypted resolver speaks for its servers.
    pub(super) scouted: bool,
    pub(super) servers: Servers,
    /// All servers with all addresses, once somebody needs them.
    pub(super) complete: OnceCell<Arc<ZoneServers>>,
    /// The address that answered last.
    preferred: Mutex<Option<SocketAddr>>,
}

impl Known {
    pub(super) fn new(apex: Option<DomainName>, given: bool, servers: Servers) -> Arc<Self> {
        Arc::new(Self {
            apex,
            given,
            scouted: false,
            servers,
            complete: OnceCell::new(),
            preferred: Mutex::default(),
        })
    }

    /// A zone whose servers cannot be asked; `None` for whatever zone it is.
    pub(super) fn scouted(apex: Option<DomainName>) -> Arc<Self> {
        Arc::new(Self {
            apex,
            given: false,
            scouted: true,
            servers: Servers::default(),
            complete: OnceCell::new(),
            preferred: Mutex::default(),
        })
    }

    /// The number of labels of the apex.
    pub(super) fn depth(&self) -> usize {
        self.apex.as_ref().map_or(0, DomainName::label_count)
    }

    pub(in crate::dns) fn contains(&self, name: &DomainName) -> bool {
        self.apex.as_ref().is_none_or(|apex| name.is_within(apex))
    }

    /// Whether the user named its servers.
    pub(in crate::dns) fn is_given(&self) -> bool {
        self.given
    }

    /// How messages call it.
    pub(super) fn label(&self) -> String {
        match &self.apex {
            Some(apex) => apex.to_string(),
            None => "the given list".to_owned(),
        }
    }

    /// Every known address, the best one first and then one of each server in turn.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let mut order = self.servers.interleaved();
        for server in self.complete.get().iter().flat_map(|zone| &zone.servers) {
            for address in &server.addresses {
                if !order.contains(address) {
                    order.push(*address);
                }
            }
        }
        if let Some(best) = self.preferred() {
            order.retain(|address| *address != best);
            order.insert(0, best);
        }
        order
    }

    pub(super) fn preferred(&self) -> Option<SocketAddr> {
        *lock(&self.preferred)
    }

    pub(super) fn prefer(&self, address: SocketAddr) {
        *lock(&self.preferred) = Some(address);
    }
}

/// Server names with the addresses that are known so far.
#[derive(Clone, Debug, Default)]
pub(in crate::dns) struct Servers(pub(super) BTreeMap<String, BTreeSet<SocketAddr>>);

impl Servers {
    /// Servers without names, as a user gives them.
    pub(super) fn given(addresses: &[SocketAddr]) -> Self {
        let named = addresses
            .iter()
            .map(|&address| (display(address), BTreeSet::from([address])));
        Self(named.collect())
    }

    /// The NS records of `zone` in a reply, with the addresses that came along.
    ///
    /// Resolvers say `localhost` for names that they keep from the Internet, such as `test` (RFC 6761): nobody to ask.
    pub(super) fn from_reply(reply: &Reply, zone: &DomainName, port: u16, family: Family) -> Self {
        let mut servers = Self::default();
        for record in reply.answers.iter().chain(&reply.authority) {
            if let RData::NS(host) = &record.data
                && from_wire(&record.name).as_ref() == Some(zone)
                && !host.0.is_localhost()
            {
                servers.0.entry(host_name(&host.0)).or_default();
            }
        }
        for record in &reply.additional {
            let address: IpAddr = match &record.data {
                RData::A(a) => a.0.into(),
                RData::AAAA(aaaa) => aaaa.0.into(),
                _ => continue,
            };
            if !family.allows(address) {
                continue;
            }
            if let Some(addresses) = servers.0.get_mut(&host_name(&record.name)) {
                addresses.insert(SocketAddr::new(address, port));
            }
        }
        servers
    }

    /// Keeps the names alone.
    pub(super) fn forget_addresses(&mut self) {
        for addresses in self.0.values_mut() {
            addresses.clear();
        }
    }

    pub(super) fn add(&mut self, host: &str, addresses: impl IntoIterator<Item = SocketAddr>) {
        self.0.entry(host.to_owned()).or_default().extend(addresses);
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (host, addresses) in other.0 {
            self.0.entry(host).or_default().extend(addresses);
        }
    }

    /// Whether some server has no address yet.
    pub(super) fn lacks_addresses(&self) -> bool {
        self.0.values().any(BTreeSet::is_empty)
    }

    /// Whether so few addresses are known that more of them may make a difference.
    pub(super) fn are_few(&self) -> bool {
        self.0.values().map(BTreeSet::len).sum::<usize>() < FEW_ADDRESSES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has_address(&self) -> bool {
        self.0.values().any(|addresses| !addresses.is_empty())
    }

    /// The first address of each server, then the second of each, and so on, each once.
    fn interleaved(&self) -> Vec<SocketAddr> {
        let most = self.0.values().map(BTreeSet::len).max().unwrap_or(0);
        let mut order = Vec::new();
        for nth in 0..most {
            for addresses in self.0.values() {
                if let Some(address) = addresses.iter().nth(nth)
                    && !order.contains(address)
                {
                    order.push(*address);
                }
            }
        }
        order
    }
}

/// What was learned; failures are remembered for a short while, so that a hundred names fail as fast as one.
#[derive(Debug, Default)]
pub(super) struct Cache {
    cells: Mutex<HashMap<DomainName, Arc<tokio::sync::Mutex<Option<Learned>>>>>,
    ready: Mutex<HashMap<DomainName, Arc<Known>>>,
    trodden: Mutex<HashMap<DomainName, Arc<tokio::sync::Mutex<bool>>>>,
}

/// The outcome of looking for one zone.
#[derive(Clone, Debug)]
pub(super) struct Learned {
    pub(super) at: Instant,
    pub(super) result: Result<Arc<Known>, DiscoveryError>,
}

impl Cache {
    /// The place for one zone; whoever holds it does the walk, and the others wait for the outcome.
    pub(super) fn cell(&self, zone: &DomainName) -> Arc<tokio::sync::Mutex<Option<Learned>>> {
        lock(&self.cells).entry(zone.clone()).or_default().clone()
    }

    /// The place for one name below a zone; true once somebody has been there.
    pub(super) fn path(&self, name: &DomainName) -> Arc<tokio::sync::Mutex<bool>> {
        lock(&self.trodden).entry(name.clone()).or_default().clone()
    }

    pub(super) fn put(&self, zone: &DomainName, known: Arc<Known>) {
        lock(&self.ready).insert(zone.clone(), known);
    }

    /// The deepest zone with known servers that contains `name`.
    pub(super) fn deepest(&self, name: &DomainName) -> Option<Arc<Known>> {
        let ready = lock(&self.ready);
        let mut at = Some(name.clone());
        while let Some(candidate) = at {
            if let Some(known) = ready.get(&candidate) {
                return Some(known.clone());
            }
            at = candidate.parent();
        }
        None
    }
}

/// An address as a name; the port is left out where it is the usual one.
fn display(address: SocketAddr) -> String {
    match address.port() {
        53 => address.ip().to_string(),
        _ => address.to_string(),
    }
}

fn as_seconds<S: Serializer>(value: &Duration, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_u64(value.as_secs())
}

/// A host name as it stands in an NS record, lower case, without the final dot.
fn host_name(name: &Name) -> String {
    name.to_lowercase()
        .to_ascii()
        .trim_end_matches('.')
        .to_owned()
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds one of these locks can panic half-way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Three addresses that all stay silent are no accident.
const FEW_ADDRESSES: usize = 3;
