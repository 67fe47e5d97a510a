//! Whether withdrawn values are gone, where only a program's word says so.
//!
//! A value that the name servers still show when the time is over stays in the head, so that the next run and `dns gc` try again. What a
//! provider with a word of its own says, or a server that has answered, is believed.

use std::time::Duration;

use jiff::Timestamp;

use super::Engine;
use super::publish::Limit;
use crate::dns::Action;
use crate::dns::DomainName;
use crate::dns::Sight;
use crate::dns::TxtValue;
use crate::event::Events;
use crate::store::Published;

/// What is not gone of what was withdrawn.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Left {
    /// Values that a person has set, and that nobody but a person removes. They are out of the head.
    pub(super) by_hand: Vec<Published>,
    /// Values that a person should have set, and that no name server shows. They are out of the head, too.
    pub(super) never_set: Vec<Published>,
    /// The values that stay in the head, and why.
    pub(super) why: Vec<(Published, String)>,
    /// Values that could not be removed.
    pub(crate) failed: usize,
    /// Values that were said to be removed, and are served.
    pub(crate) served: usize,
    /// Values that were said to be removed, and nobody can be asked about. They are taken for gone.
    pub(crate) unseen: usize,
}

impl Left {
    /// How many stay in the head.
    pub(super) fn total(&self) -> usize {
        self.failed + self.served
    }
}

/// Of `removed`, which somebody says are, those that are still served, and where; and how many nobody can be asked about.
pub(super) async fn still_served(
    engine: &Engine,
    removed: &[Published],
    limit: &Limit<'_>,
    events: &Events,
) -> (Vec<(Published, String)>, usize) {
    let doubtful: Vec<&Published> = removed
        .iter()
        .filter(|value| is_doubtful(engine, value))
        .collect();
    let sights = look(engine, &doubtful, limit).await;
    let mut served = Vec::new();
    let mut unseen = 0;
    for (value, sight) in doubtful.into_iter().zip(sights) {
        match sight {
            Sight::Confirmed => {}
            Sight::Unseen => unseen += 1,
            Sight::Contradicted(servers) => {
                let mut shown: Vec<String> = servers.iter().map(ToString::to_string).collect();
                shown.truncate(SHOWN);
                let shown = shown.join(", ");
                events.warn(
                    format!(
                        "{} says that it has removed {} from {}, and {shown} still shows it",
                        value.endpoint, value.value, value.owner,
                    ),
                    Some(
                        "does its cleanup do anything? The value stays written down: the next run for this certificate tries again, and so does `dnseal dns gc`"
                            .to_owned(),
                    ),
                );
                let why = format!(
                    "{} says that it has removed it, and {shown} still shows it",
                    value.endpoint
                );
                served.push((value.clone(), why));
            }
        }
    }
    (served, unseen)
}

/// Of values that a person was asked to set, those that somebody may see, and those that no name server has.
pub(super) async fn set_by_hand(
    engine: &Engine,
    values: Vec<Published>,
    limit: &Limit<'_>,
) -> (Vec<Published>, Vec<Published>) {
    if values.is_empty() {
        return (values, Vec::new());
    }
    let named = values.iter().map(|p| (p.owner.clone(), p.value.clone()));
    let named: Vec<(DomainName, TxtValue)> = named.collect();
    let sights = tokio::select! {
        sights = engine.zones.confirm(Action::Add, &named, GLANCE) => sights,
        () = limit.over() => vec![Sight::Unseen; named.len()],
    };
    let (set, never): (Vec<_>, Vec<_>) = values
        .into_iter()
        .zip(sights)
        .partition(|(_, sight)| !sight.is_contradicted());
    let values = |of: Vec<(Published, Sight)>| of.into_iter().map(|(value, _)| value).collect();
    (values(set), values(never))
}

/// Of `failed`, which a program cannot remove, those that are gone already, as one is that it has removed before. What was written a
/// moment ago may be on its way to the name servers.
pub(super) async fn gone_already(
    engine: &Engine,
    failed: &[Published],
    limit: &Limit<'_>,
) -> Vec<Published> {
    let now = Timestamp::now();
    let is_settled = |value: &Published| {
        Duration::try_from(now.duration_since(value.since)).is_ok_and(|age| age >= SETTLED)
    };
    let old: Vec<&Published> = failed
        .iter()
        .filter(|value| is_settled(value) && is_doubtful(engine, value))
        .collect();
    let sights = look(engine, &old, limit).await;
    let gone = old.into_iter().zip(sights);
    gone.filter(|(_, sight)| *sight == Sight::Confirmed)
        .map(|(value, _)| value.clone())
        .collect()
}

/// What the name servers say about the removal of each.
async fn look(engine: &Engine, values: &[&Published], limit: &Limit<'_>) -> Vec<Sight> {
    if values.is_empty() {
        return Vec::new();
    }
    let pairs = values.iter();
    let named: Vec<(DomainName, TxtValue)> =
        pairs.map(|p| (p.owner.clone(), p.value.clone())).collect();
    tokio::select! {
        sights = engine.zones.confirm(Action::Remove, &named, LOOK) => sights,
        () = limit.over() => vec![Sight::Unseen; values.len()],
    }
}

fn is_doubtful(engine: &Engine, value: &Published) -> bool {
    let provider = engine.zones.provider(&value.provider);
    provider.is_ok_and(|p| p.provider.capabilities().is_looked_after())
}

/// A server that feeds others has dropped it at once; a service that takes longer is found out by the next run.
const LOOK: Duration = Duration::from_secs(8);
/// What is there is seen at once.
const GLANCE: Duration = Duration::from_secs(3);
/// Longer than services take to show a value.
const SETTLED: Duration = Duration::from_secs(10 * 60);
/// Servers that a message names.
const SHOWN: usize = 3;
