//! The public face of a server: a builder, and a handle that tests steer and question it with.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;

use super::fault::{Fault, Faults};
use super::log::{Log, LoggedQuery, Recorder, Updates};
use super::net::{Serving, Sockets};
use super::record::{self, Data, Record};
use super::respond::Responder;
use super::source::{Clock, Source, View};
use super::tsig::{Key, TsigKey};
use super::zone::{Added, Zone, ZoneError, Zones};

/// The payload that DNS software agreed on (DNS flag day 2020).
const MAX_PAYLOAD: u16 = 1232;

/// Sets up a [`DnsServer`].
#[derive(Debug, Default)]
#[must_use]
pub struct DnsServerBuilder {
    zones: Vec<Zone>,
    keys: Vec<TsigKey>,
    unsigned_updates: bool,
    listen: Vec<SocketAddr>,
    max_payload: Option<u16>,
    clock_skew: i64,
    clock: Clock,
    view: Option<View>,
}

impl DnsServerBuilder {
    /// Serves a zone. Of several that contain a name, the deepest answers.
    pub fn zone(mut self, zone: Zone) -> Self {
        self.zones.push(zone);
        self
    }

    /// Lets updates in that are signed with this key.
    pub fn key(mut self, key: TsigKey) -> Self {
        self.keys.push(key);
        self
    }

    /// Lets everybody change everything.
    pub fn allow_unsigned_updates(mut self) -> Self {
        self.unsigned_updates = true;
        self
    }

    /// Listens here, over UDP and TCP; 127.0.0.1 and a free port unless given. May be given several times; addresses
    /// with port 0 share one free port.
    pub fn listen(mut self, address: impl Into<SocketAddr>) -> Self {
        self.listen.push(address.into());
        self
    }

    /// The largest response over UDP, whatever the client offers; 1232 octets unless given.
    pub fn max_payload(mut self, octets: u16) -> Self {
        self.max_payload = Some(octets);
        self
    }

    /// Seconds by which this server's idea of the time is wrong, for TSIG.
    pub fn clock_skew(mut self, seconds: i64) -> Self {
        self.clock_skew = seconds;
        self
    }

    /// Goes by this clock, which others may share. A secondary always goes by its primary's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Binds the sockets and serves.
    pub async fn start(self) -> Result<DnsServer, StartError> {
        let mut zones = Zones::default();
        for zone in self.zones {
            zones.insert(zone.build()?);
        }
        let view = self.view.unwrap_or_else(|| {
            let source = Source::new(zones, self.clock.clone());
            View::primary(Arc::new(source))
        });
        let keys = self.keys.iter().map(Key::new);
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        let (sockets, addresses) = bind(self.listen).await?;
        let responder = Arc::new(Responder {
            view,
            keys,
            unsigned_updates: self.unsigned_updates,
            max_payload: self.max_payload.unwrap_or(MAX_PAYLOAD),
            clock: self.clock,
            skew: AtomicI64::new(self.clock_skew),
            faults: Mutex::new(Faults::default()),
            recorder: Recorder::default(),
        });
        let serving = sockets.serve(&responder);
        Ok(DnsServer(Arc::new(Running {
            responder,
            addresses,
            serving,
        })))
    }
}

/// Why a server or a cache did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// No socket.
    #[error("failed to listen on {address} over UDP and TCP")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A zone or the name of a key is wrong.
    #[error(transparent)]
    Zone(#[from] ZoneError),
}

/// A running server.
///
/// Clones are handles to the same server; it stops when the last one is dropped.
#[derive(Clone, Debug)]
pub struct DnsServer(Arc<Running>);

#[derive(Debug)]
struct Running {
    responder: Arc<Responder>,
    addresses: Vec<SocketAddr>,
    serving: Serving,
}

impl DnsServer {
    /// A server without zones and keys, to which these are added.
    pub fn builder() -> DnsServerBuilder {
        DnsServerBuilder::default()
    }

    /// The first address, the same for UDP and TCP.
    pub fn addr(&self) -> SocketAddr {
        self.0.addresses[0]
    }

    /// Every address.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.0.addresses
    }

    /// Stops, and returns once the port is free again.
    pub async fn shutdown(&self) {
        self.0.serving.shutdown().await;
    }

    /// A server of the same zones that sees each change only `lag` after it was made. It refuses updates.
    pub fn secondary(&self, lag: Duration) -> DnsServerBuilder {
        self.follower(lag, false)
    }

    /// A server that serves the zones as they are now until it is [released](Self::release).
    pub fn stale_secondary(&self) -> DnsServerBuilder {
        self.follower(Duration::ZERO, true)
    }

    fn follower(&self, lag: Duration, held: bool) -> DnsServerBuilder {
        let source = Arc::clone(&self.0.responder.view.source);
        DnsServerBuilder {
            clock: self.0.responder.clock.clone(),
            view: Some(View::secondary(source, lag, held)),
            ..DnsServerBuilder::default()
        }
    }

    /// Stops a secondary from following its primary.
    pub fn hold(&self) {
        self.0.responder.view.hold(true);
    }

    /// Lets a secondary follow its primary (again).
    pub fn release(&self) {
        self.0.responder.view.hold(false);
    }

    /// Moves the clock of this server, its primary and its secondaries ahead, so that lags pass at once.
    pub fn advance(&self, by: Duration) {
        self.0.responder.clock.advance(by);
    }

    /// Changes by how many seconds this server's idea of the time is wrong, for TSIG.
    pub fn set_clock_skew(&self, seconds: i64) {
        self.0.responder.skew.store(seconds, Ordering::Relaxed);
    }

    /// Adds a fault. Of several that strike a request, the oldest counts; delays add up.
    pub fn inject(&self, fault: Fault) {
        let faults = &self.0.responder.faults;
        faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(fault);
    }

    /// Ends all faults.
    pub fn heal(&self) {
        let faults = &self.0.responder.faults;
        faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// Requests since the start or the last [`clear_log`](Self::clear_log).
    pub fn queries(&self) -> Vec<LoggedQuery> {
        self.0.responder.recorder.read(|log| log.queries.clone())
    }

    /// Updates since the start or the last [`clear_log`](Self::clear_log).
    pub fn updates(&self) -> Updates {
        self.0.responder.recorder.read(|log| log.updates)
    }

    /// Forgets requests and updates.
    pub fn clear_log(&self) {
        self.0.responder.recorder.write(|log| *log = Log::default());
    }

    /// Returns once the log is as wanted; looks at it now and after each request.
    pub async fn wait_for(&self, done: impl FnMut(&Log) -> bool) {
        self.0.responder.recorder.wait_for(done).await;
    }

    /// Adds a zone or replaces it.
    pub fn zone_insert(&self, zone: Zone) -> Result<(), ZoneError> {
        let zone = zone.build()?;
        let source = &self.0.responder.view.source;
        source.edit(|zones| (zones.insert(zone), true));
        Ok(())
    }

    /// Serves a zone no longer, and says whether it was there.
    pub fn zone_drop(&self, origin: &str) -> Result<bool, ZoneError> {
        let origin = record::name(origin)?;
        let edit = |zones: &mut Zones| {
            let removed = zones.remove(&origin);
            (removed, removed)
        };
        Ok(self.0.responder.view.source.edit(edit))
    }

    /// Adds a record to the zone that its owner is in, past all policy. On a secondary this changes the primary.
    pub fn zone_add(&self, record: Record) -> Result<(), ZoneError> {
        let (owner, _) = record.encode()?;
        self.0.responder.view.source.edit(|zones| {
            let origin = zones.containing(&owner).map(|zone| zone.origin.clone());
            let Some(zone) = origin.and_then(|origin| zones.zone_mut(&origin)) else {
                return (Err(ZoneError::NoZone(record.owner.clone())), false);
            };
            let added = zone.insert(&record);
            let changed = added == Ok(Added::Changed);
            if changed && !matches!(record.data, Data::Soa { .. }) {
                zone.bump_serial();
            }
            (added.map(|_| ()), changed)
        })
    }

    /// Removes a record, whatever its TTL, and says whether it was there.
    pub fn zone_remove(&self, record: &Record) -> Result<bool, ZoneError> {
        let (owner, data) = record.encode()?;
        self.0.responder.view.source.edit(|zones| {
            let origin = zones.containing(&owner).map(|zone| zone.origin.clone());
            let Some(zone) = origin.and_then(|origin| zones.zone_mut(&origin)) else {
                return (Err(ZoneError::NoZone(record.owner.clone())), false);
            };
            let removed = zone.remove(&owner, &data);
            if removed {
                zone.bump_serial();
            }
            (Ok(removed), removed)
        })
    }

    /// The `TXT` values that this server has at `owner` itself, in the order they came.
    pub fn values(&self, owner: &str) -> Vec<String> {
        let records = self.records(owner).into_iter();
        let values = records.filter_map(|record| match record.data {
            Data::Txt(value) => Some(value),
            _ => None,
        });
        values.collect()
    }

    /// All records that this server has at `owner` itself.
    pub fn records(&self, owner: &str) -> Vec<Record> {
        let Ok(owner) = record::name(owner) else {
            return Vec::new();
        };
        let zones = self.0.responder.view.zones();
        let node = zones.containing(&owner).and_then(|zone| zone.node(&owner));
        let sets = node.into_iter().flat_map(|node| node.values());
        let records = sets.flat_map(|set| {
            let decode = |data| Record::decode(&owner, set.ttl, data);
            set.data.iter().map(decode)
        });
        records.collect()
    }

    /// All records of a zone, sorted by owner; none if there is no such zone.
    pub fn zone_records(&self, origin: &str) -> Vec<Record> {
        let zones = self.0.responder.view.zones();
        let Some(zone) = record::name(origin)
            .ok()
            .and_then(|origin| zones.zone(&origin))
        else {
            return Vec::new();
        };
        let mut records = Vec::new();
        for (owner, node) in zone.nodes() {
            for set in node.values() {
                let decode = |data| Record::decode(owner, set.ttl, data);
                records.extend(set.data.iter().map(decode));
            }
        }
        records
    }

    /// The serial number that this server shows for a zone.
    pub fn serial(&self, origin: &str) -> Option<u32> {
        let origin = record::name(origin).ok()?;
        let zones = self.0.responder.view.zones();
        Some(zones.zone(&origin)?.soa()?.1.serial)
    }

    /// Origins of the zones.
    pub fn origins(&self) -> Vec<String> {
        let zones = self.0.responder.view.zones();
        zones.origins().map(record::text).collect()
    }
}

/// Binds what was asked for, or one free port of 127.0.0.1.
pub(super) async fn bind(
    mut listen: Vec<SocketAddr>,
) -> Result<(Sockets, Vec<SocketAddr>), StartError> {
    if listen.is_empty() {
        listen.push(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0));
    }
    let failed = |(address, source)| StartError::Bind { address, source };
    let sockets = Sockets::bind(&listen).await.map_err(failed)?;
    let addresses = sockets.addresses();
    let addresses = addresses.map_err(|source| failed((listen[0], source)))?;
    Ok((sockets, addresses))
}
