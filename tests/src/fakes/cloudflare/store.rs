//! Zones and their records. A change is made on a copy of a zone's records, and is served once it is complete.

use std::collections::HashMap;

use dnseal_sandbox::dns::DnsServer;
use dnseal_sandbox::dns::Record as DnsRecord;
use serde_json::{Value, json};

use super::record::Record;
use super::server::Problem;

/// What an account pays for a zone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Plan {
    /// 200 changes in a batch, 200 records.
    Free,
    /// 3,500 of each.
    Pro,
    /// 3,500 changes, a million records, TTLs from 30 s.
    Enterprise,
}

impl Plan {
    fn batch(self) -> usize {
        match self {
            Self::Free => 200,
            Self::Pro | Self::Enterprise => 3_500,
        }
    }

    fn legacy_id(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Pro => "pro",
            Self::Enterprise => "enterprise",
        }
    }
}

/// A zone of the account.
#[derive(Clone, Debug)]
pub struct FakeZone {
    batch: Option<usize>,
    kind: &'static str,
    name: String,
    plan: Plan,
    records: usize,
    status: &'static str,
}

impl FakeZone {
    /// An active zone on the free plan, with room for a thousand records.
    pub fn new(name: &str) -> Self {
        Self {
            batch: None,
            kind: "full",
            name: name.to_owned(),
            plan: Plan::Free,
            // Zones from before September 2024 have more room than newer ones.
            records: 1_000,
            status: "active",
        }
    }

    /// The same on another plan.
    #[must_use]
    pub fn plan(mut self, plan: Plan) -> Self {
        self.plan = plan;
        self.records = match plan {
            Plan::Free => 200,
            Plan::Pro => 3_500,
            Plan::Enterprise => 1_000_000,
        };
        self
    }

    /// The same with another limit for batches.
    #[must_use]
    pub fn batch(mut self, most: usize) -> Self {
        self.batch = Some(most);
        self
    }

    /// The same with room for so many records.
    #[must_use]
    pub fn room(mut self, records: usize) -> Self {
        self.records = records;
        self
    }

    /// A zone that is not delegated yet.
    #[must_use]
    pub fn pending(mut self) -> Self {
        self.status = "pending";
        self
    }

    /// A zone that is served elsewhere (CNAME setup).
    #[must_use]
    pub fn partial(mut self) -> Self {
        self.kind = "partial";
        self
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn get_plan(&self) -> Plan {
        self.plan
    }

    pub(super) fn is_served(&self) -> bool {
        self.status == "active" && self.kind == "full"
    }
}

/// A zone with what is in it.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) id: String,
    pub(super) records: Vec<Record>,
    pub(super) zone: FakeZone,
}

impl Held {
    pub(super) fn json(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.zone.name,
            "status": self.zone.status,
            "paused": false,
            "type": self.zone.kind,
            "development_mode": 0,
            "name_servers": [format!("ns1.{}", self.zone.name)],
            "original_name_servers": null,
            "original_registrar": null,
            "original_dnshost": null,
            "modified_on": "2026-01-01T05:20:00.12345Z",
            "created_on": "2026-01-01T05:20:00.12345Z",
            "activated_on": "2026-01-01T05:20:00.12345Z",
            "meta": {"step": 2, "custom_certificate_quota": 0, "page_rule_quota": 3, "phishing_detected": false},
            "owner": {"id": null, "type": "user", "email": null},
            "account": {"id": "a".repeat(32), "name": "The account"},
            "permissions": ["#dns_records:edit", "#dns_records:read", "#zone:read"],
            "plan": {
                "id": "b".repeat(32),
                "name": "The plan",
                "price": 0,
                "currency": "USD",
                "frequency": "",
                "is_subscribed": false,
                "can_subscribe": false,
                "legacy_id": self.zone.plan.legacy_id(),
                "legacy_discount": false,
                "externally_managed": false,
            },
        })
    }

    /// As `/dns_records/export` shows it.
    pub(super) fn export(&self) -> String {
        let name = &self.zone.name;
        let mut file = format!(
            ";;\n;; Domain:     {name}.\n;; Exported:   2026-03-01 12:00:00\n;;\n\n;; SOA Record\n\
             {name}\t3600\tIN\tSOA\tada.ns.cloudflare.com. dns.cloudflare.com. 1 10000 2400 604800 3600\n\n\
             ;; NS Records\n{name}.\t86400\tIN\tNS\tada.ns.cloudflare.com.\n\n;; Other Records\n"
        );
        for record in &self.records {
            let Record {
                content,
                kind,
                name,
                ttl,
                ..
            } = record;
            file.push_str(&format!("{name}.\t{ttl}\tIN\t{kind}\t{content}\n"));
        }
        file
    }

    fn create(&mut self, body: &Value) -> Result<Record, Problem> {
        let id = format!("{:032x}", rand::random::<u128>());
        let record = Record::read(&self.zone, &id, body, None)?;
        if self.records.len() >= self.zone.records {
            return Err(Problem::new(400, 81045, "Record quota exceeded."));
        }
        self.admit(&record)?;
        self.records.push(record.clone());
        Ok(record)
    }

    fn replace(&mut self, id: &str, body: &Value, patch: bool) -> Result<Record, Problem> {
        let at = self.place(id)?;
        let old = self.records.remove(at);
        let record = Record::read(&self.zone, id, body, patch.then_some(&old))?;
        self.admit(&record)?;
        self.records.push(record.clone());
        Ok(record)
    }

    fn delete(&mut self, id: &str) -> Result<Record, Problem> {
        let at = self.place(id)?;
        Ok(self.records.remove(at))
    }

    fn place(&self, id: &str) -> Result<usize, Problem> {
        self.records
            .iter()
            .position(|record| record.id == id)
            .ok_or_else(|| Problem::new(404, 81044, "Record does not exist."))
    }

    fn admit(&self, record: &Record) -> Result<(), Problem> {
        let mut here = self.records.iter().filter(|r| r.name == record.name);
        if self.records.iter().any(|other| other.is_same_as(record)) {
            return Err(Problem::new(
                400,
                81058,
                "An identical record already exists.",
            ));
        }
        if here.clone().any(|other| other.kind == "CNAME") {
            return Err(Problem::new(
                400,
                81054,
                "A CNAME record with that host already exists. For more details, refer to <https://developers.cloudflare.com/dns/manage-dns-records/troubleshooting/records-with-same-name/>.",
            ));
        }
        if record.kind == "CNAME" && here.next().is_some() {
            return Err(Problem::new(
                400,
                81053,
                "An A, AAAA, or CNAME record with that host already exists.",
            ));
        }
        Ok(())
    }
}

/// All zones, and the name server that serves them.
#[derive(Debug)]
pub(super) struct Store {
    dns: DnsServer,
    /// What DNS shows, by id.
    served: HashMap<String, Record>,
    zones: Vec<Held>,
}

impl Store {
    pub(super) fn new(zones: &[FakeZone], dns: DnsServer) -> Self {
        let zones = zones.iter().map(|zone| Held {
            id: format!("{:032x}", rand::random::<u128>()),
            records: Vec::new(),
            zone: zone.clone(),
        });
        Self {
            dns,
            served: HashMap::new(),
            zones: zones.collect(),
        }
    }

    pub(super) fn zones(&self) -> &[Held] {
        &self.zones
    }

    pub(super) fn zone(&self, id: &str) -> Option<&Held> {
        self.zones.iter().find(|held| held.id == id)
    }

    pub(super) fn zone_named(&self, name: &str) -> Option<&Held> {
        self.zones.iter().find(|held| held.zone.name == name)
    }

    pub(super) fn records_of(&self, name: &str) -> Vec<Record> {
        self.zone_named(name)
            .map(|held| held.records.clone())
            .unwrap_or_default()
    }

    pub(super) fn create(&mut self, zone: &str, body: &Value) -> Result<Record, Problem> {
        self.transact(zone, |held| held.create(body))
    }

    pub(super) fn fill(&mut self, zone: &str, prefix: &str, count: usize) {
        let held = self.zones.iter_mut().find(|held| held.zone.name == zone);
        let held = held.expect("a zone");
        let records = (0..count).map(|n| Record {
            comment: None,
            content: "\"filler\"".to_owned(),
            created: jiff::Timestamp::now(),
            id: format!("{:032x}", rand::random::<u128>()),
            kind: "TXT".to_owned(),
            name: format!("{prefix}{n}.{zone}"),
            ttl: 300,
        });
        held.records.extend(records);
    }

    pub(super) fn replace(
        &mut self,
        zone: &str,
        id: &str,
        body: &Value,
        patch: bool,
    ) -> Result<Record, Problem> {
        self.transact(zone, |held| held.replace(id, body, patch))
    }

    pub(super) fn delete(&mut self, zone: &str, id: &str) -> Result<Record, Problem> {
        self.transact(zone, |held| held.delete(id))
    }

    pub(super) fn remove_everywhere(&mut self, id: &str) {
        for held in &mut self.zones {
            held.records.retain(|record| record.id != id);
        }
    }

    /// Everything or nothing, in the documented order.
    pub(super) fn batch(&mut self, zone: &str, body: &Value) -> Result<Value, Problem> {
        let list = |key: &str| -> Result<Vec<Value>, Problem> {
            match body.get(key) {
                None | Some(Value::Null) => Ok(Vec::new()),
                Some(Value::Array(list)) => Ok(list.clone()),
                Some(_) => Err(Problem::new(400, 6007, "Malformed JSON in request body")),
            }
        };
        let [deletes, patches, puts, posts] = [
            list("deletes")?,
            list("patches")?,
            list("puts")?,
            list("posts")?,
        ];
        let id = |change: &Value| -> Result<String, Problem> {
            change
                .get("id")
                .and_then(Value::as_str)
                .map(str::to_owned)
                .ok_or_else(|| Problem::new(400, 1004, "DNS Validation Error"))
        };
        self.transact(zone, |held| {
            let count = deletes.len() + patches.len() + puts.len() + posts.len();
            let most = held.zone.batch.unwrap_or(held.zone.plan.batch());
            if count > most {
                let words = format!(
                    "The batch has {count} operations, exceeding the maximum of {most} for this zone."
                );
                return Err(Problem::new(400, 1004, &words));
            }
            let json = |records: Result<Vec<Record>, Problem>| {
                records.map(|list| list.iter().map(Record::json).collect::<Vec<Value>>())
            };
            let deleted = json(deletes.iter().map(|d| held.delete(&id(d)?)).collect())?;
            let patched = json(
                patches
                    .iter()
                    .map(|p| held.replace(&id(p)?, p, true))
                    .collect(),
            )?;
            let put = json(
                puts.iter()
                    .map(|p| held.replace(&id(p)?, p, false))
                    .collect(),
            )?;
            let posted = json(posts.iter().map(|p| held.create(p)).collect())?;
            Ok(json!({"deletes": deleted, "patches": patched, "puts": put, "posts": posted}))
        })
    }

    /// Lets DNS show what the zones have.
    pub(super) fn publish(&mut self) {
        let served = self.zones.iter().filter(|held| held.zone.is_served());
        let records = served.flat_map(|held| &held.records);
        let wanted: HashMap<String, Record> = records.map(|r| (r.id.clone(), r.clone())).collect();
        let differ = |a: &HashMap<String, Record>, b: &HashMap<String, Record>| -> Vec<DnsRecord> {
            let only_a = a.iter().filter(|(id, record)| b.get(*id) != Some(*record));
            only_a.filter_map(|(_, record)| record.in_dns()).collect()
        };
        for record in differ(&self.served, &wanted) {
            let _ = self.dns.zone_remove(&record);
        }
        for record in differ(&wanted, &self.served) {
            self.dns.zone_add(record).expect("the API admits no other");
        }
        self.served = wanted;
    }

    fn transact<T>(
        &mut self,
        zone: &str,
        change: impl FnOnce(&mut Held) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let held = self
            .zones
            .iter_mut()
            .find(|held| held.id == zone)
            .ok_or_else(|| Problem::new(404, 1001, "Invalid zone identifier"))?;
        let mut copy = held.clone();
        let result = change(&mut copy)?;
        *held = copy;
        Ok(result)
    }
}
