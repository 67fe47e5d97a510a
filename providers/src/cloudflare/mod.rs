//! Cloudflare, through its HTTP API and with nothing between.
//!
//! All changes of a zone go out in one batch. Each value is a record of its own, so that other values at the same name, whoever
//! wrote them, are never touched; a record is found by name and content and never by an id that was kept. All providers of the
//! process with the same credential share one quota of requests.

mod api;
mod apply;
mod config;
mod content;
mod errors;
mod limit;
mod records;
mod zones;

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use dnseal_core::dns::Applied;
use dnseal_core::dns::Capabilities;
use dnseal_core::dns::DnsProvider;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::Marked;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::TxtChange;
use dnseal_core::dns::TxtValue;
use dnseal_core::dns::WriteSafety;
use dnseal_core::dns::Zone;

pub(crate) use crate::cloudflare::config::KIND;

use crate::cloudflare::api::Api;
use crate::cloudflare::errors::Doing;
use crate::cloudflare::zones::Configured;
use crate::cloudflare::zones::Zones;

/// An account, as far as its credential sees it.
#[derive(Debug)]
struct Cloudflare {
    /// Whether the API has the address for batches, as far as is known.
    batches: AtomicBool,
    /// The most changes in one batch, by the zone's id, where it is known.
    limits: Mutex<HashMap<String, usize>>,
    records: Arc<Api>,
    ttl: u32,
    zones: Zones,
}

#[async_trait]
impl DnsProvider for Cloudflare {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            settle: SETTLE,
            ..Capabilities::new(self.ttl, WriteSafety::PerValue)
        }
    }

    fn endpoint(&self) -> String {
        self.records.endpoint()
    }

    async fn zone_of(&self, owner: &DomainName) -> Result<Zone, ProviderError> {
        let (zone, most) = self.zones.find(owner).await?;
        if let Some(most) = most {
            self.limits().entry(zone.id.clone()).or_insert(most);
        }
        Ok(zone)
    }

    async fn name_servers(&self, zone: &Zone) -> Result<Vec<DomainName>, ProviderError> {
        Ok(self.zones.servers(&zone.id).await)
    }

    async fn apply(&self, zone: &Zone, changes: &[TxtChange]) -> Result<Applied, ProviderError> {
        self.apply_all(zone, changes).await
    }

    async fn values(
        &self,
        zone: &Zone,
        owner: &DomainName,
    ) -> Result<Option<Vec<TxtValue>>, ProviderError> {
        let owners = BTreeSet::from([owner.clone()]);
        match records::read(&self.records, zone, &owners).await {
            Ok(records) => Ok(Some(records.into_values(owner))),
            Err(error) => Err(self
                .records
                .explain(error, Doing::Records(&zone.name))
                .await),
        }
    }

    async fn marked(&self, zone: &Zone) -> Result<Option<Vec<Marked>>, ProviderError> {
        match records::commented(&self.records, zone, apply::COMMENT).await {
            Ok(marked) => Ok(Some(marked)),
            Err(error) => Err(self
                .records
                .explain(error, Doing::Records(&zone.name))
                .await),
        }
    }
}

impl Cloudflare {
    fn new(records: Arc<Api>, zones: Arc<Api>, configured: Configured, ttl: u32) -> Self {
        Self {
            batches: AtomicBool::new(true),
            limits: Mutex::default(),
            zones: Zones::new(zones, records.clone(), configured),
            records,
            ttl,
        }
    }

    fn limits(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One address is many servers, and a batch does not reach them all at once.
const SETTLE: Duration = Duration::from_secs(5);
