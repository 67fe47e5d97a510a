//! Whether the name servers bear out what a provider says that it has done.
//!
//! A script or a plugin may say that it has written or removed a value and have done nothing ([`Capabilities::unconfirmed`]). One server
//! that bears it out is enough, because others may be behind. Where the servers cannot be asked, nothing is known; a resolver is never
//! asked, because it would remember the answer.
//!
//! [`Capabilities::unconfirmed`]: crate::dns::Capabilities::unconfirmed

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use futures::FutureExt;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::timeout;

use crate::dns::Action;
use crate::dns::DomainName;
use crate::dns::Mode;
use crate::dns::Seen;
use crate::dns::TxtValue;
use crate::dns::Zones;

/// What the name servers say about one change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Sight {
    /// One of them shows that it is done.
    Confirmed,
    /// These answer, and all of them show that it is not.
    Contradicted(Vec<SocketAddr>),
    /// None can be asked.
    Unseen,
}

impl Sight {
    /// Whether servers answer, and show that it is not done.
    pub fn is_contradicted(&self) -> bool {
        matches!(self, Self::Contradicted(_))
    }
}

impl Zones {
    /// Looks whether these values have been added, or removed; once where that is so, else again for as long as `at_most`. Answers for each.
    pub async fn confirm(
        &self,
        action: Action,
        values: &[(DomainName, TxtValue)],
        at_most: Duration,
    ) -> Vec<Sight> {
        let until = Instant::now() + at_most;
        let mut sights = vec![Sight::Unseen; values.len()];
        let askable = |owner: &DomainName| match self.policy_for(owner).mode {
            Mode::Auto | Mode::Authoritative => true,
            Mode::Doh | Mode::Provider | Mode::Wait => false,
        };
        let mut open: BTreeSet<usize> = (0..values.len())
            .filter(|&at| values.get(at).is_some_and(|(owner, _)| askable(owner)))
            .collect();
        let mut pause = FIRST_PAUSE;
        while !open.is_empty() {
            let mut wanted: BTreeMap<DomainName, Vec<TxtValue>> = BTreeMap::new();
            for (owner, value) in open.iter().filter_map(|&at| values.get(at)) {
                wanted.entry(owner.clone()).or_default().push(value.clone());
            }
            let looking = self.see(action, wanted);
            let left = until.saturating_duration_since(Instant::now());
            let Ok(seen) = timeout(left, looking).await else {
                break;
            };
            open.retain(|&at| {
                let (Some((owner, value)), Some(sight)) = (values.get(at), sights.get_mut(at))
                else {
                    return false;
                };
                let seen = seen.get(owner).filter(|seen| !seen.is_empty());
                *sight = match seen {
                    Some(seen) if agrees(seen, action, value) => Sight::Confirmed,
                    Some(seen) => Sight::Contradicted(seen.keys().copied().collect()),
                    None => Sight::Unseen,
                };
                sight.is_contradicted()
            });
            if Instant::now() + pause >= until {
                break;
            }
            if !open.is_empty() {
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        sights
    }

    /// What stands at each name, as far as it takes to know whether the values are as wanted.
    fn see(
        &self,
        action: Action,
        wanted: BTreeMap<DomainName, Vec<TxtValue>>,
    ) -> BoxFuture<'_, BTreeMap<DomainName, Seen>> {
        let onlooker = self.onlooker().clone();
        let looking = stream::iter(wanted).map(move |(owner, wanted)| {
            let onlooker = onlooker.clone();
            async move {
                let enough = |seen: &Seen| wanted.iter().all(|value| agrees(seen, action, value));
                // What cannot be found cannot be asked.
                let seen = onlooker.look_until(&owner, enough).await;
                (owner, seen.unwrap_or_default())
            }
        });
        looking.buffer_unordered(CONCURRENT).collect().boxed()
    }
}

/// Whether any of the servers shows the change.
fn agrees(seen: &Seen, action: Action, value: &TxtValue) -> bool {
    seen.values()
        .any(|values| values.contains(value) == (action == Action::Add))
}

/// Owner names that are asked about at once.
const CONCURRENT: usize = 16;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
