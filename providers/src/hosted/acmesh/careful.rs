//! A script that may take more than it is told to, made into a provider that removes one value and leaves every other one.
//!
//! Before a script removes a value, the name servers are asked what stands beside it. That is written down as owed, and what is
//! not there afterwards is added again. A name that holds what no script could put back, such as an SPF record, is left alone. Nobody
//! else of this store writes the name meanwhile: the engine lets runs take turns there.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use dnseal_core::dns::Action;
use dnseal_core::dns::Applied;
use dnseal_core::dns::Capabilities;
use dnseal_core::dns::DnsProvider;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::Onlooker;
use dnseal_core::dns::Outcome;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::Receipt;
use dnseal_core::dns::Seen;
use dnseal_core::dns::TxtChange;
use dnseal_core::dns::TxtValue;
use dnseal_core::dns::WriteSafety;
use dnseal_core::dns::Zone;
use dnseal_core::event::Events;
use jiff::Timestamp;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::hosted::acmesh::header::Removal;
use crate::hosted::acmesh::host::Errand;
use crate::hosted::acmesh::host::Host;
use crate::hosted::acmesh::kept::Keeper;
use crate::hosted::acmesh::kept::Kept;
use crate::hosted::be_younger_than;
use crate::registry::Context;
use crate::single::Challenge;
use crate::single::failed;

/// The provider.
#[derive(Debug)]
pub(super) struct Careful {
    events: Events,
    host: Host,
    keeper: Keeper,
    max_values: Option<usize>,
    onlooker: Option<Onlooker>,
    removal: Removal,
    /// What is kept, where no store keeps it.
    turn: Mutex<Option<Kept>>,
}

/// What happens at one owner name.
struct Place<'a> {
    changes: Vec<(usize, &'a TxtChange)>,
    owner: &'a DomainName,
}

/// What the name servers show; nothing where they cannot be asked.
type Sight = Option<Seen>;

impl Careful {
    pub(super) fn new(
        host: Host,
        keeper: Keeper,
        removal: Removal,
        max_values: Option<usize>,
        context: &Context,
    ) -> Self {
        Self {
            events: context.events().clone(),
            host,
            keeper,
            max_values,
            onlooker: context.onlooker().cloned(),
            removal,
            turn: Mutex::default(),
        }
    }

    async fn call(
        &self,
        action: Action,
        owner: &DomainName,
        value: &TxtValue,
        challenge: Option<&Challenge>,
        kept: &mut Kept,
    ) -> Result<(), ProviderError> {
        let domain = challenge.and_then(|c| c.domain.as_ref());
        let base = owner.as_str();
        let base = base.strip_prefix("_acme-challenge.").unwrap_or(base);
        let errand = Errand {
            action,
            domain: domain.map_or(base, DomainName::as_str),
            owner,
            value,
        };
        let rotates = self.max_values.is_some() && action == Action::Add;
        if rotates {
            if let Some(last) = kept.added {
                be_younger_than(last).await;
            }
            // A run that is killed before the script ends may have written.
            kept.added = Some(Timestamp::now());
            self.keeper.save(kept).await?;
        }
        let done = self.host.run(errand, kept).await;
        if rotates {
            kept.added = Some(Timestamp::now());
        }
        // What it saved may be the only copy of a credential, also where it failed afterwards.
        self.keeper.save(kept).await?;
        done
    }

    /// One result for each change of the place, in their order.
    async fn at(
        &self,
        place: &Place<'_>,
        kept: &mut Kept,
    ) -> Vec<(usize, Result<(), ProviderError>)> {
        let owner = place.owner;
        let mut sight = self.look(owner).await;
        let all = |error: &ProviderError| {
            let changes = place.changes.iter();
            changes.map(|(at, _)| (*at, Err(error.clone()))).collect()
        };
        if let Some(error) = self.forbidden(owner, &sight) {
            return all(&error);
        }
        let paid = match self.pay_back(owner, &sight, kept).await {
            Ok(paid) => paid,
            Err(error) => return all(&error),
        };
        if !paid.is_empty() {
            sight = self.look(owner).await;
        }
        let of = |action: Action| {
            let changes = place.changes.iter();
            changes.filter(move |(_, c)| c.action == action)
        };
        let added = match self
            .add_all(place, of(Action::Add).copied(), &sight, kept)
            .await
        {
            Ok(added) => added,
            Err(error) => return all(&error),
        };
        let mut results = added;
        let going: Vec<&TxtChange> = of(Action::Remove).map(|(_, change)| *change).collect();
        if !going.is_empty() {
            let added = of(Action::Add)
                .map(|(_, change)| change.value.clone())
                .chain(paid)
                .collect();
            let removed = self.remove(owner, &going, added, sight, kept).await;
            results.extend(of(Action::Remove).map(|(at, _)| *at).zip(removed));
        }
        results
    }

    /// Adds what a run that was killed has not put back; gives what that was.
    async fn pay_back(
        &self,
        owner: &DomainName,
        sight: &Sight,
        kept: &mut Kept,
    ) -> Result<BTreeSet<TxtValue>, ProviderError> {
        let (Some(seen), Some(mut owed)) = (sight, kept.owed.get(owner).cloned()) else {
            return Ok(BTreeSet::new());
        };
        owed.retain(|value| !stands(seen, value));
        for value in &owed {
            self.call(Action::Add, owner, value, None, kept).await?;
        }
        kept.owed.remove(owner);
        self.keeper.save(kept).await?;
        Ok(owed)
    }

    /// Adds values to one name, and puts back what went with that: some services take the new for the whole.
    async fn add_all(
        &self,
        place: &Place<'_>,
        adding: impl Iterator<Item = (usize, &TxtChange)>,
        sight: &Sight,
        kept: &mut Kept,
    ) -> Result<Vec<(usize, Result<(), ProviderError>)>, ProviderError> {
        let owner = place.owner;
        let adding: Vec<_> = adding.collect();
        let mut others: BTreeSet<TxtValue> = sight.iter().flat_map(everything).cloned().collect();
        for (_, change) in &place.changes {
            others.remove(&change.value);
        }
        let owes = !others.is_empty() && !adding.is_empty() && self.removal != Removal::Nothing;
        if owes {
            kept.owed.insert(owner.clone(), others.clone());
            self.keeper.save(kept).await?;
        }
        let mut results = Vec::new();
        let mut values = BTreeSet::new();
        for (at, change) in adding {
            let added = self.add(change, sight, kept).await;
            if added.is_ok() {
                values.insert(change.value.clone());
            }
            results.push((at, added));
        }
        if owes {
            self.keep(owner, &others, &values, kept).await?;
        }
        Ok(results)
    }

    /// Sees to it that `others` stand beside what was added.
    async fn keep(
        &self,
        owner: &DomainName,
        others: &BTreeSet<TxtValue>,
        added: &BTreeSet<TxtValue>,
        kept: &mut Kept,
    ) -> Result<(), ProviderError> {
        let shows = |values: &BTreeSet<TxtValue>, seen: &Seen| {
            seen.values().all(|there| values.is_subset(there))
        };
        let seen = self.look_until(owner, |seen| shows(added, seen)).await;
        // Where a change takes its time, the removal finds what is owed.
        let Some(seen) = seen.filter(|seen| shows(added, seen)) else {
            return Ok(());
        };
        let missing: Vec<&TxtValue> = others
            .iter()
            .filter(|value| !seen.values().all(|there| there.contains(*value)))
            .collect();
        for value in &missing {
            self.call(Action::Add, owner, value, None, kept).await?;
        }
        if !missing.is_empty() {
            let all: BTreeSet<TxtValue> = others.union(added).cloned().collect();
            let seen = self.look_until(owner, |seen| shows(&all, seen)).await;
            if seen.is_some_and(|seen| !shows(added, &seen)) {
                return Err(ProviderError::Unsupported {
                    detail: format!(
                        "at {owner} stand values of somebody else, and what it adds takes their place; let challenges live at a name of their own"
                    ),
                    endpoint: self.endpoint(),
                });
            }
        }
        kept.owed.remove(owner);
        self.keeper.save(kept).await
    }

    async fn add(
        &self,
        change: &TxtChange,
        sight: &Sight,
        kept: &mut Kept,
    ) -> Result<(), ProviderError> {
        self.check_value(&change.value)?;
        // Some services refuse what is there already, or take it twice.
        let is_there = sight.as_ref().is_some_and(|seen| {
            !seen.is_empty() && seen.values().all(|values| values.contains(&change.value))
        });
        if is_there {
            return Ok(());
        }
        let challenge = Challenge::of(change);
        self.call(
            Action::Add,
            &change.owner,
            &change.value,
            Some(&challenge),
            kept,
        )
        .await
    }

    /// Removes values of one name, and puts back what went with them.
    async fn remove(
        &self,
        owner: &DomainName,
        going: &[&TxtChange],
        added: BTreeSet<TxtValue>,
        sight: Sight,
        kept: &mut Kept,
    ) -> Vec<Result<(), ProviderError>> {
        let fail = |error: ProviderError| vec![Err(error); going.len()];
        if self.removal == Removal::Nothing {
            return vec![Ok(()); going.len()];
        }
        if sight.is_none() && self.removal == Removal::More {
            return fail(ProviderError::Unreachable {
                detail: format!(
                    "it may remove more than it is told to, and no name server says what else stands at {owner}"
                ),
                endpoint: self.endpoint(),
            });
        }
        let mut staying: BTreeSet<TxtValue> = sight.iter().flat_map(everything).cloned().collect();
        staying.extend(added);
        for change in going {
            staying.remove(&change.value);
        }
        let owes = !staying.is_empty();
        if owes {
            kept.owed.insert(owner.clone(), staying.clone());
            if let Err(error) = self.keeper.save(kept).await {
                return fail(error);
            }
        }
        let mut results: Vec<Result<(), ProviderError>> = Vec::new();
        for change in going {
            let before = if results.iter().any(Result::is_ok) {
                self.look(owner).await
            } else {
                None
            };
            results.push(match (&sight, before) {
                // A script that takes everything has taken it with the one before.
                (Some(at_first), Some(now))
                    if stands(at_first, &change.value) && !stands(&now, &change.value) =>
                {
                    Ok(())
                }
                _ => self.remove_one(change, kept).await,
            });
        }
        if owes
            && let Some(before) = &sight
            && let Err(error) = self.restore(owner, going, &staying, before, kept).await
        {
            self.events.warn(
                format!("{} may have removed more than it was told to at {owner}, and what is missing could not be put back: {error}", self.endpoint()),
                Some("the next change at this name tries again".to_owned()),
            );
            return fail(error);
        }
        results
    }

    async fn remove_one(&self, change: &TxtChange, kept: &mut Kept) -> Result<(), ProviderError> {
        self.check_value(&change.value)?;
        let challenge = Challenge::of(change);
        let removed = self
            .call(
                Action::Remove,
                &change.owner,
                &change.value,
                Some(&challenge),
                kept,
            )
            .await;
        match removed {
            // Many fail where nothing is to be removed. What is not there is removed.
            Err(error) if !error.is_retryable() => {
                let gone = |seen: &Seen| !seen.is_empty() && !stands(seen, &change.value);
                match self.look_until(&change.owner, gone).await {
                    Some(seen) if gone(&seen) => Ok(()),
                    _ => Err(error),
                }
            }
            other => other,
        }
    }

    /// Adds again what a removal has taken with it.
    async fn restore(
        &self,
        owner: &DomainName,
        going: &[&TxtChange],
        staying: &BTreeSet<TxtValue>,
        before: &Seen,
        kept: &mut Kept,
    ) -> Result<(), ProviderError> {
        let mut before = before.clone();
        // A script that takes the first that it finds may have to be asked as often as there are values.
        for _ in 0..=staying.len() + going.len() {
            let expects_change = match self.removal {
                Removal::More => everything(&before).next().is_some(),
                _ => going.iter().any(|c| stands(&before, &c.value)),
            };
            let changed = |seen: &Seen| {
                !expects_change
                    || before
                        .iter()
                        .all(|(at, values)| seen.get(at) != Some(values))
            };
            let Some(seen) = self.look_until(owner, changed).await else {
                break;
            };
            let settled = changed(&seen);
            let left: Vec<&&TxtChange> = going.iter().filter(|c| stands(&seen, &c.value)).collect();
            if settled && !left.is_empty() && left.iter().any(|c| stands(&before, &c.value)) {
                // It has taken another in place of this one.
                for change in left {
                    self.remove_one(change, kept).await?;
                }
                before = seen;
                continue;
            }
            let missing = staying.iter().filter(|value| {
                let everywhere = seen.values().all(|values| values.contains(*value));
                // What does not show a removal yet says nothing about the rest either.
                !everywhere || (!settled && self.removal == Removal::More)
            });
            for value in missing {
                self.call(Action::Add, owner, value, None, kept).await?;
            }
            kept.owed.remove(owner);
            return self.keeper.save(kept).await;
        }
        Err(ProviderError::Unreachable {
            detail: format!("it does not show which values are left at {owner}"),
            endpoint: self.endpoint(),
        })
    }

    async fn look(&self, owner: &DomainName) -> Sight {
        let seen = self.onlooker.as_ref()?.look(owner).await;
        match seen {
            Ok(seen) if !seen.is_empty() => Some(seen),
            Ok(_) => None,
            Err(error) => {
                tracing::debug!(%owner, %error, "nobody tells what stands there");
                None
            }
        }
    }

    /// Looks until this holds, or for a while; gives what was seen last.
    async fn look_until(&self, owner: &DomainName, holds: impl Fn(&Seen) -> bool) -> Sight {
        let began = Instant::now();
        let mut pause = FIRST_LOOK;
        loop {
            let seen = self.look(owner).await;
            if seen.as_ref().is_none_or(&holds) || began.elapsed() + pause > PATIENCE {
                return seen;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(SLOWEST_LOOK);
        }
    }

    /// Why nothing may be written at a name: what stands there would not survive it.
    fn forbidden(&self, owner: &DomainName, sight: &Sight) -> Option<ProviderError> {
        let odd = sight
            .iter()
            .flat_map(everything)
            .find(|value| !is_plain(value))?;
        Some(ProviderError::Unsupported {
            detail: format!(
                "at {owner} stands {odd:?}, and a script for challenges may damage it; let challenges live at a name of their own"
            ),
            endpoint: self.endpoint(),
        })
    }

    /// Scripts put values into JSON, XML and patterns as they are.
    fn check_value(&self, value: &TxtValue) -> Result<(), ProviderError> {
        match is_plain(value) {
            true => Ok(()),
            false => Err(ProviderError::Unsupported {
                detail: "this contract is for values of letters, digits, `-` and `_`, of 255 octets at most"
                    .to_owned(),
                endpoint: self.endpoint(),
            }),
        }
    }
}

#[async_trait]
impl DnsProvider for Careful {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            exclusive: true,
            max_values: self.max_values,
            outlives: Some(self.host.timeout),
            overwrites: self.removal == Removal::Nothing,
            // Each script has its own, and they are short.
            ..Capabilities::new(60, WriteSafety::ReadModifyWrite)
        }
    }

    fn endpoint(&self) -> String {
        self.host.endpoint()
    }

    async fn zone_of(&self, _owner: &DomainName) -> Result<Zone, ProviderError> {
        Err(ProviderError::Unsupported {
            detail: "this contract does not tell zones".to_owned(),
            endpoint: self.endpoint(),
        })
    }

    async fn apply(&self, zone: &Zone, changes: &[TxtChange]) -> Result<Applied, ProviderError> {
        let mut mine = self.turn.lock().await;
        let turn = self.keeper.turn().await?;
        // Another process may have changed it; where nobody does, it is read once.
        let mut kept = match mine.take() {
            Some(kept) if turn.is_none() => kept,
            _ => self.keeper.load().await?,
        };
        let mut places: Vec<Place> = Vec::new();
        let mut outcomes: BTreeMap<usize, Outcome> = BTreeMap::new();
        for (at, change) in changes.iter().enumerate() {
            if !change.owner.is_within(&zone.name) {
                let reason = format!("{} is not in the zone {}", change.owner, zone.name);
                outcomes.insert(at, Outcome::Refused { reason });
                continue;
            }
            match places.iter_mut().find(|place| *place.owner == change.owner) {
                Some(place) => place.changes.push((at, change)),
                None => places.push(Place {
                    changes: vec![(at, change)],
                    owner: &change.owner,
                }),
            }
        }
        let mut done = false;
        let mut failure = None;
        'places: for place in &places {
            for (at, result) in self.at(place, &mut kept).await {
                let outcome = match (result, changes.get(at)) {
                    (Ok(()), Some(change)) => {
                        done = true;
                        Ok(Outcome::Applied {
                            handle: Challenge::of(change).handle(change.action, None),
                        })
                    }
                    (Ok(()), None) => continue,
                    (Err(error), _) => failed(error, done, changes),
                };
                match outcome {
                    Ok(outcome) => drop(outcomes.insert(at, outcome)),
                    Err(error) => {
                        failure = Some(error);
                        break 'places;
                    }
                }
            }
        }
        let room = kept.room.take();
        *mine = Some(kept);
        // Removing a directory waits for the disk.
        if let Err(error) = tokio::task::spawn_blocking(move || drop(room)).await {
            std::panic::resume_unwind(error.into_panic());
        }
        drop(turn);
        match failure {
            Some(error) => Err(error),
            None => Ok(Applied {
                outcomes: outcomes.into_values().collect(),
                receipt: Receipt::default(),
            }),
        }
    }
}

fn everything(seen: &Seen) -> impl Iterator<Item = &TxtValue> {
    seen.values().flatten()
}

/// Whether any server shows the value.
fn stands(seen: &Seen, value: &TxtValue) -> bool {
    everything(seen).any(|v| v == value)
}

/// Whether the value means nothing to a shell, to JSON, to XML and to `grep`.
fn is_plain(value: &TxtValue) -> bool {
    let bytes = value.as_bytes();
    (1..=MAX_STRING).contains(&bytes.len())
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(b))
}

/// One character-string (RFC 1035 section 3.3).
const MAX_STRING: usize = 255;
/// A change of the service's is mostly on its servers within seconds; a removal holds up whoever waits for the name.
const PATIENCE: Duration = Duration::from_secs(20);
const FIRST_LOOK: Duration = Duration::from_millis(50);
const SLOWEST_LOOK: Duration = Duration::from_secs(2);
