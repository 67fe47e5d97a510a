//! A provider with less to offer than the one behind it: few values a name, or removals that take every value with them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use dnseal_core::dns::{
    Action, Applied, Capabilities, DnsProvider, DomainName, Outcome, ProviderError, TxtChange,
    TxtValue, Zone,
};

/// What is narrow, and what stands where. Shared by all engines, as one service is.
#[derive(Clone, Debug, Default)]
pub struct Narrow {
    most: Option<usize>,
    sweeps: bool,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    standing: BTreeMap<DomainName, BTreeSet<TxtValue>>,
    most_ever: usize,
    swept: usize,
}

impl Narrow {
    /// So many values a name, and one more is refused.
    pub fn holding(most: usize) -> Self {
        Self {
            most: Some(most),
            ..Self::default()
        }
    }

    /// A removal takes every value at the name with it.
    pub fn sweeping() -> Self {
        Self {
            sweeps: true,
            ..Self::default()
        }
    }

    /// The most values that ever stood at one name.
    pub fn most_ever(&self) -> usize {
        self.seen.lock().unwrap().most_ever
    }

    /// How many values were taken away that nobody had asked to remove in the same call.
    pub fn swept(&self) -> usize {
        self.seen.lock().unwrap().swept
    }

    pub(crate) fn over(&self, inner: Arc<dyn DnsProvider>) -> Arc<dyn DnsProvider> {
        Arc::new(Over {
            inner,
            narrow: self.clone(),
        })
    }
}

#[derive(Debug)]
struct Over {
    inner: Arc<dyn DnsProvider>,
    narrow: Narrow,
}

#[async_trait]
impl DnsProvider for Over {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            exclusive: self.narrow.sweeps,
            max_values: self.narrow.most,
            ..self.inner.capabilities()
        }
    }

    fn endpoint(&self) -> String {
        self.inner.endpoint()
    }

    async fn zone_of(&self, owner: &DomainName) -> Result<Zone, ProviderError> {
        self.inner.zone_of(owner).await
    }

    async fn apply(&self, zone: &Zone, changes: &[TxtChange]) -> Result<Applied, ProviderError> {
        let mut outcomes = Vec::new();
        for change in changes {
            let mut changes = vec![change.clone()];
            let refused = {
                let mut seen = self.narrow.seen.lock().unwrap();
                let standing = seen.standing.entry(change.owner.clone()).or_default();
                let mut swept = 0;
                let mut refused = false;
                match change.action {
                    Action::Add => {
                        let full = |most| standing.len() >= most;
                        refused =
                            !standing.contains(&change.value) && self.narrow.most.is_some_and(full);
                        if !refused {
                            standing.insert(change.value.clone());
                        }
                    }
                    Action::Remove if self.narrow.sweeps => {
                        standing.remove(&change.value);
                        for value in std::mem::take(standing) {
                            swept += 1;
                            changes.push(TxtChange {
                                value,
                                ..change.clone()
                            });
                        }
                    }
                    Action::Remove => {
                        standing.remove(&change.value);
                    }
                }
                let count = standing.len();
                seen.most_ever = seen.most_ever.max(count);
                seen.swept += swept;
                refused
            };
            outcomes.push(match refused {
                true => Outcome::Refused {
                    reason: "no more values fit at this name".to_owned(),
                },
                false => {
                    let applied = self.inner.apply(zone, &changes).await?;
                    applied.outcomes[0].clone()
                }
            });
        }
        Ok(Applied {
            outcomes,
            receipt: Default::default(),
        })
    }
}
