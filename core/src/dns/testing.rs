//! A provider in memory that does what a test tells it, for unit tests of what stands above providers.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;

use crate::dns::Action;
use crate::dns::Applied;
use crate::dns::Capabilities;
use crate::dns::DnsProvider;
use crate::dns::DomainName;
use crate::dns::ProviderError;
use crate::dns::TxtChange;
use crate::dns::TxtValue;
use crate::dns::WriteSafety;
use crate::dns::Zone;

/// A zone in memory.
#[derive(Debug, Default)]
pub(crate) struct MemoryProvider {
    /// What stands in the zone.
    pub(crate) values: Mutex<BTreeSet<(DomainName, TxtValue)>>,
    /// The number of changes of each call of `apply`, in order.
    pub(crate) calls: Mutex<Vec<usize>>,
    /// A batch with a change of this owner is refused as a whole.
    pub(crate) poison: Option<DomainName>,
    /// So many next calls fail as unreachable.
    pub(crate) failures: AtomicUsize,
    /// Each call takes this long.
    pub(crate) delay: Duration,
}

#[async_trait]
impl DnsProvider for MemoryProvider {
    fn capabilities(&self) -> Capabilities {
        Capabilities::new(1, WriteSafety::PerValue)
    }

    fn endpoint(&self) -> String {
        "memory".to_owned()
    }

    async fn zone_of(&self, owner: &DomainName) -> Result<Zone, ProviderError> {
        Ok(Zone {
            id: String::new(),
            name: owner.suffix(2),
        })
    }

    async fn apply(&self, _: &Zone, changes: &[TxtChange]) -> Result<Applied, ProviderError> {
        tokio::time::sleep(self.delay).await;
        self.calls.lock().unwrap().push(changes.len());
        let failing = self
            .failures
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        if failing.is_ok() {
            return Err(ProviderError::Unreachable {
                detail: "time-out".to_owned(),
                endpoint: self.endpoint(),
            });
        }
        if changes
            .iter()
            .any(|c| Some(&c.owner) == self.poison.as_ref())
        {
            return Err(ProviderError::Refused {
                detail: "REFUSED".to_owned(),
                endpoint: self.endpoint(),
                hint: None,
            });
        }
        let mut values = self.values.lock().unwrap();
        for change in changes {
            let entry = (change.owner.clone(), change.value.clone());
            match change.action {
                Action::Add => values.insert(entry),
                Action::Remove => values.remove(&entry),
            };
        }
        Ok(Applied::all(changes))
    }
}
