//! Waves: where an owner name holds fewer values than an order needs there, challenges are answered one part after the other.
//!
//! A wave writes as many values as fit, shows and answers them, and is over when the CA has judged them; then they make room for
//! the next. Nothing of that is remembered: a run that goes on with an order finds at the CA what is proven, and in the head
//! which values stand in DNS.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::IssueError;
use super::publish::Target;
use super::walk::LONGEST_TTL;
use super::walk::Walk;
use crate::dns::DomainName;
use crate::dns::TxtValue;
use crate::store::Published;

/// An owner name at one provider.
type Spot = (String, DomainName);

/// How many values of ours fit at which owner name, where there is a limit.
pub(super) type Rooms = BTreeMap<Spot, usize>;

impl Walk<'_> {
    /// How much room there is for our values, beside those of others where the provider tells them.
    pub(super) async fn rooms(&self, targets: &[Target]) -> Rooms {
        let mut rooms = Rooms::new();
        let mut ours: BTreeMap<Spot, BTreeSet<&TxtValue>> = BTreeMap::new();
        for target in targets {
            ours.entry(spot(target)).or_default().insert(&target.value);
        }
        for target in targets {
            let provider = &target.place.provider.provider;
            let capabilities = provider.capabilities();
            let Some(most) = capabilities.max_values else {
                continue;
            };
            let spot = spot(target);
            let wanted = ours.get(&spot).map_or(0, BTreeSet::len);
            if rooms.contains_key(&spot) || (wanted <= most && !capabilities.takes_turns()) {
                continue;
            }
            // What cannot be told is found out by writing.
            let there = provider
                .values(&target.place.zone, &target.place.location.owner)
                .await;
            let there = there.ok().flatten().unwrap_or_default();
            let foreign = there
                .iter()
                .filter(|value| !ours.get(&spot).is_some_and(|ours| ours.contains(value)))
                .count();
            rooms.insert(spot, most.saturating_sub(foreign).max(1));
        }
        rooms
    }

    /// Waits until nobody remembers what stood at these names before: a resolver of the CA that has seen the values of the wave
    /// before may show them to it for as long as their TTL.
    pub(super) async fn outlive(&self, wave: &[Target], judged: &Judged) -> Result<(), IssueError> {
        let until = wave.iter().filter_map(|target| judged.remembered(target));
        let pause = until
            .max()
            .map(|until| until.saturating_duration_since(Instant::now()))
            .unwrap_or_default();
        if pause.is_zero() {
            return Ok(());
        }
        self.wait(
            "what the CA's resolver remembers of earlier values to expire",
            pause,
        )
        .await
    }
}

/// When the values at which names were last seen by the CA.
#[derive(Debug, Default)]
pub(super) struct Judged(BTreeMap<DomainName, Instant>);

impl Judged {
    /// The CA has looked at all of these.
    pub(super) fn note(&mut self, wave: &[Target]) {
        let now = Instant::now();
        for target in wave {
            self.0.insert(target.place.location.owner.clone(), now);
        }
    }

    fn remembered(&self, target: &Target) -> Option<Instant> {
        let seen = self.0.get(&target.place.location.owner)?;
        let ttl = Duration::from_secs(u64::from(target.place.ttl()));
        Some(*seen + ttl.min(LONGEST_TTL))
    }
}

/// Splits an order's challenges so that in each part no owner name gets more values than there is room for. What stands in DNS
/// already comes first. There is always one part.
pub(super) fn waves(
    targets: Vec<Target>,
    rooms: &Rooms,
    published: &[Published],
) -> Vec<Vec<Target>> {
    let stands = |target: &Target| {
        published
            .iter()
            .any(|p| p.owner == target.place.location.owner && p.value == target.value)
    };
    let (first, rest): (Vec<_>, Vec<_>) = targets.into_iter().partition(stands);
    let mut waves: Vec<Vec<Target>> = vec![Vec::new()];
    let mut taken: BTreeMap<Spot, BTreeMap<TxtValue, usize>> = BTreeMap::new();
    for target in first.into_iter().chain(rest) {
        let spot = spot(&target);
        let at = match rooms.get(&spot) {
            None => 0,
            Some(&room) => {
                let values = taken.entry(spot).or_default();
                // Names that share a value share its place.
                let next = values.len() / room.max(1);
                *values.entry(target.value.clone()).or_insert(next)
            }
        };
        if waves.len() <= at {
            waves.resize_with(at + 1, Vec::new);
        }
        waves[at].push(target);
    }
    waves
}

fn spot(target: &Target) -> Spot {
    (
        target.place.provider.name.clone(),
        target.place.location.owner.clone(),
    )
}
