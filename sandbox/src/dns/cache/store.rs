//! What a cache keeps, and until when.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::time::Instant;

use super::super::source::Clock;

/// What is known about a name and type.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// The name exists and has none; the SOA says so.
    NoData(Vec<Record>),
    /// The name does not exist; the SOA says so.
    NxDomain(Vec<Record>),
    /// The records, or the `CNAME` that stands instead.
    Records(Vec<Record>),
}

impl Found {
    fn records(&self) -> &[Record] {
        match self {
            Self::NoData(records) | Self::NxDomain(records) | Self::Records(records) => records,
        }
    }

    fn records_mut(&mut self) -> &mut [Record] {
        match self {
            Self::NoData(records) | Self::NxDomain(records) | Self::Records(records) => records,
        }
    }

    /// Seconds for which it holds. Without an SOA, absence holds for none (RFC 2308 section 5).
    fn ttl(&self) -> u32 {
        let ttl = |record: &Record| match &record.data {
            RData::SOA(soa) if !matches!(self, Self::Records(_)) => record.ttl.min(soa.minimum),
            _ => record.ttl,
        };
        self.records().iter().map(ttl).min().unwrap_or(0)
    }
}

/// Answers with their ends.
#[derive(Debug)]
pub(super) struct Store {
    clock: Clock,
    max_ttl: u32,
    kept: Mutex<HashMap<(Name, RecordType), (Instant, Found)>>,
}

impl Store {
    pub(super) fn new(clock: Clock, max_ttl: u32) -> Self {
        Self {
            clock,
            max_ttl,
            kept: Mutex::default(),
        }
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    /// Keeps what a server said.
    pub(super) fn keep(&self, name: &Name, qtype: RecordType, found: &Found) {
        let ttl = found.ttl().min(self.max_ttl);
        if ttl == 0 || qtype == RecordType::ANY {
            return;
        }
        let rtype = match found {
            // Whatever was asked for: the name has nothing else, or is not there at all.
            Found::NxDomain(_) => RecordType::ANY,
            Found::Records(records) => records.first().map_or(qtype, Record::record_type),
            Found::NoData(_) => qtype,
        };
        let until = self.clock.now() + Duration::from_secs(ttl.into());
        let mut kept = self.lock();
        // A name that is there (again) hides nothing any more.
        if rtype != RecordType::ANY {
            kept.remove(&(name.to_lowercase(), RecordType::ANY));
        }
        kept.insert((name.to_lowercase(), rtype), (until, found.clone()));
    }

    /// What is kept about a name, with the time that is left as TTL.
    pub(super) fn find(&self, name: &Name, qtype: RecordType) -> Option<Found> {
        let now = self.clock.now();
        let mut kept = self.lock();
        kept.retain(|_, (until, _)| *until > now);
        let look = |at: &Name, rtype| {
            let (until, found) = kept.get(&(at.to_lowercase(), rtype))?;
            let mut found = found.clone();
            let left = until.duration_since(now).as_nanos().div_ceil(1_000_000_000);
            for record in found.records_mut() {
                record.ttl = u32::try_from(left).unwrap_or(u32::MAX);
                if at == name {
                    // The owner is spelt as asked for now, not as asked for then.
                    respell(record, name);
                }
            }
            Some(found)
        };
        let held = look(name, qtype).filter(|_| qtype != RecordType::ANY);
        let alias =
            || look(name, RecordType::CNAME).filter(|found| matches!(found, Found::Records(_)));
        // RFC 8020: nothing lies below a name that does not exist.
        let hidden = || {
            let ancestors = (0..=name.iter().count())
                .rev()
                .map(|labels| name.trim_to(labels));
            ancestors.filter_map(|at| look(&at, RecordType::ANY)).next()
        };
        held.or_else(alias).or_else(hidden)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Name, RecordType), (Instant, Found)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn respell(record: &mut Record, name: &Name) {
    if record.name == *name {
        record.name = name.clone();
    }
}
