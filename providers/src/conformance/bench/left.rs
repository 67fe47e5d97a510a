//! What a case has written, removed, and left behind all the same.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;
use std::time::Instant;

use dnseal_core::dns::DomainName;
use dnseal_core::dns::TxtValue;
use futures::StreamExt;

use crate::conformance::Verdict;
use crate::conformance::bench::Bench;

impl Bench<'_> {
    /// What was removed and is still seen when the patience is over; looks at each name until nothing of it is there.
    pub(in crate::conformance) async fn left(
        &self,
    ) -> Result<Vec<(DomainName, TxtValue)>, Verdict> {
        // There a value stays until others push it out.
        if self.provider.capabilities().overwrites {
            return Ok(Vec::new());
        }
        let mut left: BTreeMap<DomainName, BTreeSet<TxtValue>> = BTreeMap::new();
        for (owner, value) in self.removed.iter().cloned() {
            left.entry(owner).or_default().insert(value);
        }
        let began = Instant::now();
        let mut pause = Duration::from_millis(50);
        loop {
            let owners: Vec<DomainName> = left.keys().cloned().collect();
            let mut looks = futures::stream::iter(owners)
                .map(|owner| async {
                    let seen = self.read(&owner).await?;
                    Ok::<_, Verdict>((owner, seen))
                })
                .buffer_unordered(LOOKS);
            while let Some(look) = looks.next().await {
                let (owner, seen) = look?;
                if let Some(values) = left.get_mut(&owner) {
                    values.retain(|value| seen.contains(value));
                }
            }
            drop(looks);
            left.retain(|_, values| !values.is_empty());
            if left.is_empty() || began.elapsed() >= self.options.patience {
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
        let pairs = left
            .into_iter()
            .flat_map(|(owner, values)| values.into_iter().map(move |v| (owner.clone(), v)));
        Ok(pairs.collect())
    }

    /// Takes out what was written, in a hurry; what may be left where the time is too short to know, or where a call that was cut off
    /// may still add it.
    pub(in crate::conformance) async fn leave(
        &mut self,
        at_most: Duration,
    ) -> Vec<(DomainName, TxtValue)> {
        if self.written.is_empty() && self.removed.is_empty() {
            return Vec::new();
        }
        let cut_off = self.under_way().clone();
        let leaving = async {
            // What cannot be removed is found by looking.
            let _ = self.clean().await;
            self.left().await
        };
        let left = tokio::time::timeout(at_most, leaving).await;
        match left {
            Ok(Ok(left)) => {
                let all: BTreeSet<_> = left.into_iter().chain(cut_off).collect();
                all.into_iter().collect()
            }
            _ => {
                let written = self.written.iter();
                let written = written.map(|(_, c)| (c.owner.clone(), c.value.clone()));
                let all: BTreeSet<_> = self.removed.iter().cloned().chain(written).collect();
                all.into_iter().collect()
            }
        }
    }
}

/// Names that are looked at together.
const LOOKS: usize = 16;
