//! Values that a person sets: told all at once, waited for as long as somebody may be at it, and looked for beside where they belong.
//!
//! Whoever is not there comes back later: the order stays, with everything that stands in DNS, and the next run goes on with it.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::Engine;
use super::IssueError;
use super::expiry::Deadline;
use super::publish::Settling;
use super::publish::Target;
use super::walk::Walk;
use crate::dns::ByHand;
use crate::dns::DomainName;
use crate::dns::PropagationError;
use crate::dns::TxtValue;
use crate::dns::Verdict;
use crate::dns::Wanted as WantedValues;
use crate::event::What;
use crate::store::Head;
use crate::store::InFlight;
use crate::store::Published;

/// Whether somebody watches who can set records.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Person {
    /// Nobody, as far as is known: whoever reads the output later sets them, and runs it again.
    #[default]
    Absent,
    /// Somebody at a terminal, who is waited for.
    Present,
}

/// A value that was set at another name than it should be.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Misplaced {
    /// Where it is.
    pub at: DomainName,
    /// Where it belongs.
    pub owner: DomainName,
    /// The zone of both.
    pub zone: DomainName,
}

impl Misplaced {
    /// What to do about it.
    pub fn hint(&self) -> String {
        let owner = self.owner.as_str();
        let relative = owner
            .strip_suffix(self.zone.as_str())
            .map(|rest| rest.trim_end_matches('.'))
            .filter(|rest| !rest.is_empty());
        match relative {
            Some(relative) => format!(
                "where the service adds the zone by itself, enter `{relative}` as the name; else {}",
                self.owner.fqdn()
            ),
            None => format!("enter {} as the name", self.owner.fqdn()),
        }
    }
}

impl fmt::Display for Misplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the value for {} is at {}", self.owner, self.at)
    }
}

impl Engine {
    /// Whether a person sets and removes this value.
    pub(super) fn is_by_hand(&self, value: &Published) -> bool {
        let provider = self.zones.provider(&value.provider);
        provider.is_ok_and(|p| p.provider.capabilities().by_person.is_some())
    }

    /// The values that a person is to set for the order of this head, with which the next run goes on; none where no order waits. One
    /// whose key is stored waits for nobody any more.
    pub(crate) fn awaited<'h>(&self, head: &'h Head) -> Vec<&'h Published> {
        let is_alive = |order: &InFlight| {
            let age = Timestamp::now().duration_since(order.begun);
            Duration::try_from(age).map_or(true, |age| age < LONGEST_WAIT)
        };
        match &head.order {
            Some(order) if order.version.is_none() && is_alive(order) => {
                let values = head.published.iter();
                values.filter(|value| self.is_by_hand(value)).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl Walk<'_> {
    /// Sees values of which some are set by a person. `known` is what earlier runs have asked for.
    pub(super) async fn see_by_hand(
        &self,
        wave: &[Target],
        settling: Vec<Settling>,
        known: &[Published],
        deadline: &Deadline,
    ) -> Result<(), IssueError> {
        let asked: Vec<&Target> = wave.iter().filter(|t| patience(t).is_some()).collect();
        let is_known = |target: &&Target| {
            known
                .iter()
                .any(|p| p.value == target.value && p.owner == target.place.location.owner)
        };
        let missing = match asked.iter().any(is_known) {
            true => self.missing(&asked).await,
            false => asked.clone(),
        };
        let patience = match self.engine.person {
            Person::Present => LONGEST_WAIT,
            Person::Absent => asked
                .iter()
                .filter_map(|t| patience(t))
                .max()
                .unwrap_or_default(),
        };
        if !missing.is_empty() {
            if patience.is_zero() {
                return Err(self.awaits(&missing).await);
            }
            self.events.emit(What::ByHand {
                records: records(&missing),
                remove: false,
                at_most: deadline.left().into_iter().chain([patience]).min(),
            });
        }
        let at_most = Some(patience).filter(|_| !missing.is_empty());
        let seeing = self.propagate(wave, settling, at_most);
        let seen = tokio::select! {
            seen = deadline.ends(seeing) => seen,
            never = self.look_beside(&missing) => match never {},
        };
        match seen {
            Err(IssueError::Propagation(PropagationError::Cancelled)) => {
                Err(IssueError::AwaitsPerson {
                    interrupted: true,
                    misplaced: Vec::new(),
                    records: records(&missing),
                })
            }
            Err(IssueError::Propagation(PropagationError::NotVisible { report, waited })) => {
                let late: BTreeSet<&DomainName> = report.unproven().map(|n| &n.owner).collect();
                let owner = |target: &Target| target.place.location.owner.clone();
                let missing: Vec<&Target> = asked
                    .into_iter()
                    .filter(|target| late.contains(&owner(target)))
                    .collect();
                match missing.is_empty() {
                    true => Err(PropagationError::NotVisible { report, waited }.into()),
                    false => Err(self.awaits(&missing).await),
                }
            }
            seen => seen,
        }
    }

    /// Of these the ones whose owner names do not show them.
    async fn missing<'t>(&self, asked: &[&'t Target]) -> Vec<&'t Target> {
        let wanted: Vec<WantedValues> = asked.iter().map(|t| wanted(t, None)).collect();
        let looking = self.engine.zones.look(&wanted);
        let report = tokio::select! {
            report = looking => report,
            () = self.cancel.cancelled() => return asked.to_vec(),
        };
        let proven = report.names.iter().map(|name| name.proven);
        let both = asked.iter().zip(proven);
        both.filter(|(_, proven)| !proven)
            .map(|(t, _)| *t)
            .collect()
    }

    async fn awaits(&self, missing: &[&Target]) -> IssueError {
        let misplaced = tokio::select! {
            misplaced = self.misplaced(missing) => misplaced,
            () = self.cancel.cancelled() => Vec::new(),
        };
        IssueError::AwaitsPerson {
            interrupted: false,
            misplaced,
            records: records(missing),
        }
    }

    /// Tells of values that are set at another name than they should be, as long as it is not dropped.
    async fn look_beside(&self, missing: &[&Target]) -> std::convert::Infallible {
        let mut told = BTreeSet::new();
        loop {
            tokio::time::sleep(LOOK_BESIDE).await;
            for misplaced in self.misplaced(missing).await {
                if told.insert(misplaced.clone()) {
                    self.events
                        .warn(misplaced.to_string(), Some(misplaced.hint()));
                }
            }
        }
    }

    async fn misplaced(&self, missing: &[&Target]) -> Vec<Misplaced> {
        let mut beside: Vec<(&Target, DomainName)> = Vec::new();
        for target in missing {
            // Where no server of the zone is known, there is nobody to ask.
            if target.place.location.zone.servers.is_empty() {
                continue;
            }
            let location = &target.place.location;
            let names = near(&location.owner, &location.zone.zone);
            beside.extend(names.into_iter().map(|name| (*target, name)));
        }
        if beside.is_empty() {
            return Vec::new();
        }
        let asked: Vec<WantedValues> = beside
            .iter()
            .map(|(target, name)| wanted(target, Some(name)))
            .collect();
        let report = self.engine.zones.look(&asked).await;
        let mut misplaced = BTreeSet::new();
        for ((target, at), name) in beside.into_iter().zip(report.names) {
            let has_it = |row: &crate::dns::Row| row.verdict.as_ref().is_some_and(Verdict::has_it);
            if name.rows.iter().any(has_it) {
                misplaced.insert(Misplaced {
                    at,
                    owner: target.place.location.owner.clone(),
                    zone: target.place.location.zone.zone.clone(),
                });
            }
        }
        misplaced.into_iter().collect()
    }
}

/// How long a person is waited for who sets this value; none where it is not one who does.
pub(super) fn patience(target: &Target) -> Option<Duration> {
    target.place.provider.provider.capabilities().by_person
}

fn records(targets: &[&Target]) -> Vec<ByHand> {
    let records = targets
        .iter()
        .map(|t| ByHand::value(&t.place.location.owner, &t.value, t.place.ttl()));
    let records: BTreeSet<ByHand> = records.collect();
    records.into_iter().collect()
}

fn wanted(target: &Target, at: Option<&DomainName>) -> WantedValues {
    let location = &target.place.location;
    let values: Vec<TxtValue> = vec![target.value.clone()];
    WantedValues {
        zone: location.zone.clone(),
        owner: at.unwrap_or(&location.owner).clone(),
        values,
    }
}

/// The names inside `zone` at which a value ends up that was meant for `owner`: the service has added the zone once more, or a
/// label was left out or written twice.
fn near(owner: &DomainName, zone: &DomainName) -> Vec<DomainName> {
    let mut names: Vec<String> = vec![format!("{owner}.{zone}")];
    let (label, base) = match owner.as_str().split_once('.') {
        Some((label, base)) => (label, base),
        None => return Vec::new(),
    };
    names.push(format!("{label}.{owner}"));
    names.push(base.to_owned());
    let mut rest = base;
    while let Some((_, parent)) = rest.split_once('.') {
        names.push(format!("{label}.{parent}"));
        rest = parent;
    }
    let names = names.into_iter().filter_map(|name| name.parse().ok());
    let mut names: Vec<DomainName> = names
        .filter(|name: &DomainName| name.is_within(zone) && name != owner)
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// An order lives for a week at most CAs; this ends a wait whose order names no end.
const LONGEST_WAIT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Between two looks at the wrong names; nobody mends a record faster.
const LOOK_BESIDE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_one_label_off_are_near() {
        let near = |owner: &str, zone: &str| {
            let names = near(&owner.parse().unwrap(), &zone.parse().unwrap());
            names.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let names = near("_acme-challenge.www.example.com", "example.com");
        for name in [
            "_acme-challenge.www.example.com.example.com",
            "_acme-challenge._acme-challenge.www.example.com",
            "_acme-challenge.example.com",
            "www.example.com",
        ] {
            assert!(names.iter().any(|n| n == name), "{name}: {names:?}");
        }
        // Above the zone nobody can have written by mistake.
        assert!(
            names.iter().all(|name| name.ends_with("example.com")),
            "{names:?}"
        );
        assert!(!names.iter().any(|n| n == "_acme-challenge.com"));
    }

    #[test]
    fn what_to_enter_is_said() {
        let misplaced = Misplaced {
            at: "_acme-challenge.example.com.example.com".parse().unwrap(),
            owner: "_acme-challenge.example.com".parse().unwrap(),
            zone: "example.com".parse().unwrap(),
        };
        assert!(
            misplaced.hint().contains("enter `_acme-challenge` as"),
            "{}",
            misplaced.hint()
        );
    }
}
