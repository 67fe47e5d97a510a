//! Everything that the service remembers, and the zones it serves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use dnseal_sandbox::dns::{DnsServer, Zone};

use super::batch::{self, Change};
use super::serve::{Fault, LoggedCall};
use super::sets::{RecordSet, SetKey, canonical};
use super::{Policy, Refusal, Route53Options};

#[derive(Debug)]
pub(super) struct State {
    pub(super) changes: BTreeMap<String, Instant>,
    pub(super) denied: BTreeSet<String>,
    pub(super) faults: Vec<(String, Fault)>,
    pub(super) log: Vec<LoggedCall>,
    pub(super) options: Route53Options,
    pub(super) policy: Policy,
    /// What somebody else writes before the next change is looked at.
    pub(super) racing: VecDeque<(String, RecordSet)>,
    pub(super) zones: BTreeMap<String, HostedZone>,
    ahead: Duration,
    dns: DnsServer,
    numbers: u64,
    tokens: f64,
    topped_up: Instant,
}

/// A hosted zone.
#[derive(Clone, Debug)]
pub(super) struct HostedZone {
    pub(super) busy_until: Option<Instant>,
    pub(super) name: String,
    pub(super) private: bool,
    /// Whether the world is delegated to it.
    pub(super) served: bool,
    pub(super) sets: BTreeMap<SetKey, RecordSet>,
    serial: u32,
}

impl State {
    pub(super) fn new(options: Route53Options, dns: DnsServer) -> Self {
        Self {
            ahead: Duration::ZERO,
            changes: BTreeMap::new(),
            denied: BTreeSet::new(),
            dns,
            faults: Vec::new(),
            log: Vec::new(),
            numbers: 0,
            policy: Policy::default(),
            racing: VecDeque::new(),
            tokens: f64::from(options.burst),
            topped_up: Instant::now(),
            zones: BTreeMap::new(),
            options,
        }
    }

    pub(super) fn now(&self) -> Instant {
        Instant::now() + self.ahead
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.ahead += by;
    }

    pub(super) fn throttle(&mut self, rate: u32, burst: u32) {
        self.options.rate = rate;
        self.options.burst = burst;
        self.tokens = self.tokens.min(f64::from(burst));
    }

    /// Whether the account may make one more request now.
    pub(super) fn within_rate(&mut self) -> bool {
        let now = self.now();
        let gained = (now - self.topped_up).as_secs_f64() * f64::from(self.options.rate);
        self.tokens = (self.tokens + gained).min(f64::from(self.options.burst));
        self.topped_up = now;
        let within = self.tokens >= 1.0;
        if within {
            self.tokens -= 1.0;
        }
        within
    }

    /// A new ID that begins with `letter`.
    pub(super) fn id(&mut self, letter: char) -> String {
        self.numbers += 1;
        format!(
            "{letter}{:013}{:06X}",
            self.numbers * 7919,
            rand::random::<u32>() & 0xff_ffff
        )
    }

    pub(super) fn add_zone(&mut self, name: &str, private: bool) -> String {
        let id = self.id('Z');
        let name = canonical(name);
        let ns = RecordSet::new(&name, "NS", 172_800, &[&format!("ns1.{name}")]);
        let soa = format!("ns1.{name} awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400");
        let soa = RecordSet::new(&name, "SOA", 900, &[&soa]);
        let taken = self
            .zones
            .values()
            .any(|zone| zone.name == name && zone.served);
        let zone = HostedZone {
            busy_until: None,
            served: !private && !taken,
            name,
            private,
            sets: [ns, soa].into_iter().map(|set| (set.key(), set)).collect(),
            serial: 0,
        };
        self.zones.insert(id.clone(), zone);
        self.serve(&id);
        id
    }

    pub(super) fn put(&mut self, id: &str, sets: impl IntoIterator<Item = RecordSet>) {
        let zone = self.zones.get_mut(id).expect("a zone with that ID");
        for set in sets {
            let key = set.key();
            match set.values.is_empty() {
                true => zone.sets.remove(&key),
                false => zone.sets.insert(key, set),
            };
        }
        self.serve(id);
    }

    pub(super) fn record_sets(&self, id: &str) -> Vec<RecordSet> {
        let zone = self.zones.get(id).expect("a zone with that ID");
        let own =
            |set: &&RecordSet| set.name != zone.name || !matches!(set.rtype.as_str(), "NS" | "SOA");
        zone.sets.values().filter(own).cloned().collect()
    }

    /// Applies a batch to a zone and gives the ID of the change.
    pub(super) fn change(&mut self, id: &str, changes: &[Change]) -> Result<String, Refusal> {
        if let Some((zone, set)) = self.racing.pop_front() {
            self.put(&zone, [set]);
        }
        let now = Instant::now();
        let busy = self.options.busy;
        let zone = self.zones.get_mut(id).expect("the caller has looked");
        if zone.busy_until.is_some_and(|until| until > now) {
            return Err(Refusal::sender(
                400,
                "PriorRequestNotComplete",
                "The request was rejected because Route 53 was still processing a prior request.",
            ));
        }
        zone.sets = batch::applied(&zone.name, &zone.sets, changes)?;
        zone.busy_until = (!busy.is_zero()).then(|| now + busy);
        self.serve(id);
        let change = self.id('C');
        self.changes.insert(change.clone(), self.now());
        Ok(change)
    }

    /// Gives a zone to the name server as it is now; what follows it does so after the propagation.
    fn serve(&mut self, id: &str) {
        let zone = self.zones.get_mut(id).expect("the caller has looked");
        if !zone.served {
            return;
        }
        zone.serial += 1;
        let apex = zone.name.trim_end_matches('.');
        let mut served = Zone::new(apex)
            .serial(zone.serial)
            .minimum(1)
            .a(format!("ns1.{apex}"), [127, 0, 0, 1].into());
        for record in zone.sets.values().flat_map(RecordSet::records) {
            served = served.record(record);
        }
        self.dns
            .zone_insert(served)
            .expect("a zone that can be served");
    }
}
