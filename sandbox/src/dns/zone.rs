//! Zones: what a test writes ([`Zone`]) and what a server serves (`ZoneData`, `Zones`).
//!
//! Data is a sorted tree of names, so that everything below a name lies next to it: that is how empty
//! non-terminals (RFC 4592 section 2.2.2) are found. Nothing here knows messages. Changes obey the rules of
//! RFC 2136 section 3.4.2 wherever they come from.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Bound;
use std::sync::Arc;

use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{Name, RData, RecordType};
use thiserror::Error;

use super::record::{self, DNAME, Data, Record};

/// A zone as it is handed to a server: an origin and records.
///
/// A `SOA` record is made up unless one is given; nothing else is, so a zone without
/// [`ns`](Zone::ns) has no `NS` records.
#[derive(Clone, Debug)]
#[must_use]
pub struct Zone {
    origin: String,
    ttl: u32,
    serial: u32,
    minimum: u32,
    records: Vec<Record>,
    unreadable: Option<ZoneError>,
}

impl Zone {
    /// An empty zone. Records have a TTL of 60 s until [`ttl`](Self::ttl) says otherwise.
    pub fn new(origin: impl Into<String>) -> Self {
        Self {
            origin: origin.into(),
            ttl: 60,
            serial: 1,
            minimum: 60,
            records: Vec::new(),
            unreadable: None,
        }
    }

    /// Reads lines of a zone file, each as in [`Record::parse`]. A line that cannot be read is reported
    /// when the server starts.
    pub fn parse(origin: impl Into<String>, lines: &str) -> Self {
        let mut zone = Self::new(origin);
        for line in lines.lines() {
            if line
                .split(';')
                .next()
                .is_none_or(|data| data.trim().is_empty())
            {
                continue;
            }
            match Record::parse(&zone.origin, line) {
                Ok(record) => zone.records.push(record),
                Err(error) => zone.unreadable = zone.unreadable.or(Some(error)),
            }
        }
        zone
    }

    /// The TTL of the records that follow, in seconds.
    pub fn ttl(mut self, seconds: u32) -> Self {
        self.ttl = seconds;
        self
    }

    /// The serial number to begin with.
    pub fn serial(mut self, serial: u32) -> Self {
        self.serial = serial;
        self
    }

    /// For how long a negative answer may be cached, in seconds (RFC 2308 section 5).
    pub fn minimum(mut self, seconds: u32) -> Self {
        self.minimum = seconds;
        self
    }

    /// An `NS` record at the apex.
    pub fn ns(self, target: impl Into<String>) -> Self {
        let (owner, ttl) = (self.origin.clone(), self.ttl);
        self.record(Record::ns(owner, ttl, target))
    }

    /// An `NS` record below the apex: a zone cut. Glue is added like any other address.
    pub fn delegate(self, child: impl Into<String>, target: impl Into<String>) -> Self {
        let ttl = self.ttl;
        self.record(Record::ns(child, ttl, target))
    }

    /// An `A` record.
    pub fn a(self, owner: impl Into<String>, address: Ipv4Addr) -> Self {
        let ttl = self.ttl;
        self.record(Record::a(owner, ttl, address))
    }

    /// An `AAAA` record.
    pub fn aaaa(self, owner: impl Into<String>, address: Ipv6Addr) -> Self {
        let ttl = self.ttl;
        self.record(Record::aaaa(owner, ttl, address))
    }

    /// An `A` or `AAAA` record, whichever the address is.
    pub fn address(self, owner: impl Into<String>, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.a(owner, address),
            IpAddr::V6(address) => self.aaaa(owner, address),
        }
    }

    /// A `CAA` record without flags.
    pub fn caa(
        self,
        owner: impl Into<String>,
        tag: impl Into<String>,
        value: impl Into<String>,
    ) -> Self {
        let ttl = self.ttl;
        self.record(Record::caa(owner, ttl, tag, value))
    }

    /// A `CNAME` record.
    pub fn cname(self, owner: impl Into<String>, target: impl Into<String>) -> Self {
        let ttl = self.ttl;
        self.record(Record::cname(owner, ttl, target))
    }

    /// A `DNAME` record.
    pub fn dname(self, owner: impl Into<String>, target: impl Into<String>) -> Self {
        let ttl = self.ttl;
        self.record(Record::dname(owner, ttl, target))
    }

    /// A `TXT` record.
    pub fn txt(self, owner: impl Into<String>, value: impl Into<String>) -> Self {
        let ttl = self.ttl;
        self.record(Record::txt(owner, ttl, value))
    }

    /// Any record.
    pub fn record(mut self, record: Record) -> Self {
        self.records.push(record);
        self
    }

    pub(super) fn build(self) -> Result<ZoneData, ZoneError> {
        if let Some(error) = self.unreadable {
            return Err(error);
        }
        let origin = record::name(&self.origin)?.to_lowercase();
        let apex = record::text(&origin);
        let below = |label: &str| match apex.as_str() {
            "" => label.to_owned(),
            apex => format!("{label}.{apex}"),
        };
        let soa = Record::new(
            apex.clone(),
            self.minimum,
            Data::Soa {
                mname: below("ns1"),
                rname: below("hostmaster"),
                serial: self.serial,
                refresh: 3600,
                retry: 600,
                expire: 86400,
                minimum: self.minimum,
            },
        );
        let mut zone = ZoneData {
            origin,
            nodes: BTreeMap::new(),
        };
        // A given SOA replaces the made-up one, whatever its serial number.
        let given = |record: &&Record| matches!(record.data, Data::Soa { .. });
        let soa = self.records.iter().find(given).cloned().unwrap_or(soa);
        let others = self.records.into_iter().filter(|record| !given(&record));
        for record in std::iter::once(soa).chain(others) {
            zone.insert(&record)?;
        }
        Ok(zone)
    }
}

/// Why a record or a zone was not taken.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ZoneError {
    /// A `CNAME` beside other data (RFC 2181 section 10.1), or the like.
    #[error("record conflicts with what its owner holds: {0}")]
    Conflict(String),
    /// Not a domain name.
    #[error("not a domain name: {name}: {reason}")]
    Name {
        /// What was given.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No zone of this server contains the name.
    #[error("no zone contains {0}")]
    NoZone(String),
    /// Not a line of a zone file that is understood here.
    #[error("cannot read zone file line: {0}")]
    Syntax(String),
}

/// Every zone that a server holds, by origin.
#[derive(Clone, Debug, Default)]
pub(super) struct Zones(BTreeMap<Name, Arc<ZoneData>>);

impl Zones {
    pub(super) fn insert(&mut self, zone: ZoneData) {
        self.0.insert(zone.origin.clone(), Arc::new(zone));
    }

    pub(super) fn remove(&mut self, origin: &Name) -> bool {
        self.0.remove(origin).is_some()
    }

    /// The zone with this very origin.
    pub(super) fn zone(&self, origin: &Name) -> Option<&ZoneData> {
        self.0.get(origin).map(Arc::as_ref)
    }

    pub(super) fn zone_mut(&mut self, origin: &Name) -> Option<&mut ZoneData> {
        self.0.get_mut(origin).map(Arc::make_mut)
    }

    /// The deepest zone that contains `name`.
    pub(super) fn containing(&self, name: &Name) -> Option<&ZoneData> {
        let labels = name.iter().count();
        (0..=labels).rev().find_map(|n| self.zone(&name.trim_to(n)))
    }

    pub(super) fn origins(&self) -> impl Iterator<Item = &Name> {
        self.0.keys()
    }
}

/// The records of one zone.
#[derive(Clone, Debug)]
pub(super) struct ZoneData {
    pub(super) origin: Name,
    nodes: BTreeMap<Name, Node>,
}

/// The RRsets of one name.
pub(super) type Node = BTreeMap<RecordType, RrSet>;

/// Records of one name and type. They share a TTL (RFC 2181 section 5.2).
#[derive(Clone, Debug)]
pub(super) struct RrSet {
    pub(super) ttl: u32,
    pub(super) data: Vec<RData>,
}

/// What became of an added record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Added {
    /// It is new, or replaced what may exist only once, or changed the TTL.
    Changed,
    /// It conflicts and was left out, as RFC 2136 section 3.4.2.2 wants.
    Ignored,
    /// It was there.
    Same,
}

impl ZoneData {
    pub(super) fn node(&self, name: &Name) -> Option<&Node> {
        self.nodes.get(name)
    }

    pub(super) fn rrset(&self, name: &Name, rtype: RecordType) -> Option<&RrSet> {
        self.nodes.get(name)?.get(&rtype)
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = (&Name, &Node)> {
        self.nodes.iter()
    }

    /// Whether `name` has records, or something below it has.
    pub(super) fn exists(&self, name: &Name) -> bool {
        let from = (Bound::Included(name), Bound::Unbounded);
        let next = self.nodes.range::<Name, _>(from).next();
        next.is_some_and(|(found, _)| name.zone_of(found))
    }

    /// Owner, TTL and data of the start of authority.
    pub(super) fn soa(&self) -> Option<(u32, &SOA)> {
        let set = self.rrset(&self.origin, RecordType::SOA)?;
        match set.data.first()? {
            RData::SOA(soa) => Some((set.ttl, soa)),
            _ => None,
        }
    }

    /// Adds one so that secondaries see a change (RFC 2136 section 3.6).
    pub(super) fn bump_serial(&mut self) {
        let set = self.nodes.get_mut(&self.origin);
        let set = set.and_then(|node| node.get_mut(&RecordType::SOA));
        if let Some(RData::SOA(soa)) = set.and_then(|set| set.data.first_mut()) {
            soa.increment_serial();
        }
    }

    /// Adds a record of a test, strictly.
    pub(super) fn insert(&mut self, record: &Record) -> Result<Added, ZoneError> {
        let (owner, data) = record.encode()?;
        if !self.origin.zone_of(&owner) {
            return Err(ZoneError::NoZone(record.owner.clone()));
        }
        match self.add(&owner, record.ttl, data) {
            Added::Ignored => Err(ZoneError::Conflict(record.to_string())),
            added => Ok(added),
        }
    }

    /// RFC 2136 section 3.4.2.2.
    pub(super) fn add(&mut self, name: &Name, ttl: u32, data: RData) -> Added {
        let rtype = data.record_type();
        let name = name.to_lowercase();
        let apex = name == self.origin;
        let node = self.nodes.entry(name.clone()).or_default();
        let alias = node.contains_key(&RecordType::CNAME);
        let conflict = match rtype {
            RecordType::CNAME => node.keys().any(|held| *held != RecordType::CNAME),
            RecordType::SOA => !apex,
            _ => alias,
        };
        if conflict {
            self.prune(&name);
            return Added::Ignored;
        }
        let set = node.entry(rtype).or_insert_with(|| RrSet {
            ttl,
            data: Vec::new(),
        });
        if let (RData::SOA(new), Some(RData::SOA(old))) = (&data, set.data.first())
            && (new.serial.wrapping_sub(old.serial)).cast_signed() <= 0
        {
            return Added::Ignored;
        }
        let known = set.data.contains(&data);
        let same = known && set.ttl == ttl;
        set.ttl = ttl;
        if !known {
            // Of these there is one at a name (RFC 2136 section 3.4.2.2, RFC 6672 section 2.4).
            if matches!(rtype, RecordType::CNAME | RecordType::SOA) || rtype == DNAME {
                set.data.clear();
            }
            set.data.push(data);
        }
        if same { Added::Same } else { Added::Changed }
    }

    /// Removes one value, and says whether it was there.
    pub(super) fn remove(&mut self, name: &Name, data: &RData) -> bool {
        let rtype = data.record_type();
        let Some(set) = self
            .nodes
            .get_mut(name)
            .and_then(|node| node.get_mut(&rtype))
        else {
            return false;
        };
        let before = set.data.len();
        set.data.retain(|held| held != data);
        let removed = set.data.len() < before;
        if set.data.is_empty() {
            self.remove_rrset(name, rtype);
        }
        removed
    }

    /// Removes every value of one type, and says how many there were.
    pub(super) fn remove_rrset(&mut self, name: &Name, rtype: RecordType) -> usize {
        let set = self
            .nodes
            .get_mut(name)
            .and_then(|node| node.remove(&rtype));
        self.prune(name);
        set.map_or(0, |set| set.data.len())
    }

    fn prune(&mut self, name: &Name) {
        if self.nodes.get(name).is_some_and(Node::is_empty) {
            self.nodes.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflicts_are_errors_when_a_test_writes_them() {
        let zone = Zone::new("example.test")
            .cname("www.example.test", "a.example.test")
            .txt("www.example.test", "beside");
        assert!(matches!(zone.build(), Err(ZoneError::Conflict(_))));
        let zone = Zone::new("example.test").txt("example.org", "outside");
        assert!(matches!(zone.build(), Err(ZoneError::NoZone(_))));
        let zone = Zone::parse("example.test", "; nothing\n\nwww A x");
        assert!(matches!(zone.build(), Err(ZoneError::Syntax(_))));
    }

    #[test]
    fn names_with_something_below_exist() {
        let zone = Zone::new("example.test").txt("a.b.c.example.test", "x");
        let zone = zone.build().unwrap();
        for (name, exists) in [
            ("c.example.test", true),
            ("B.c.example.test", true),
            ("bb.c.example.test", false),
            ("a.b.c.example.test", true),
            ("x.a.b.c.example.test", false),
        ] {
            assert_eq!(zone.exists(&record::name(name).unwrap()), exists, "{name}");
        }
    }
}
