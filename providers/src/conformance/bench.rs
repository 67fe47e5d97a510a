//! The cases themselves, on a bench that remembers what was written.
//!
//! Whatever is about to be written is noted first, so that the cleaning after a failed case misses nothing.

mod left;
mod words;

use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use dnseal_core::dns::Action;
use dnseal_core::dns::Applied;
use dnseal_core::dns::DnsProvider;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::Handle;
use dnseal_core::dns::Outcome;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::TxtChange;
use dnseal_core::dns::TxtValue;
use dnseal_core::dns::WriteSafety;
use dnseal_core::dns::Zone;
use futures::future::join_all;

use crate::conformance::Case;
use crate::conformance::Options;
use crate::conformance::Peculiar;
use crate::conformance::Played;
use crate::conformance::Verdict;
use crate::plugin::is_breach;

/// One case with what it wrote.
pub(super) struct Bench<'a> {
    options: &'a Options<'a>,
    peculiar: &'a Peculiar<'a>,
    prefix: String,
    provider: &'a dyn DnsProvider,
    removed: Vec<(DomainName, TxtValue)>,
    /// What calls add that have not come back.
    under_way: Mutex<Vec<(DomainName, TxtValue)>>,
    written: Vec<(Zone, TxtChange)>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(
        provider: &'a dyn DnsProvider,
        options: &'a Options<'a>,
        peculiar: &'a Peculiar<'a>,
        case: Case,
    ) -> Self {
        // Two runs at once, or one after a run that was killed, do not meet.
        let prefix = format!("{}-{:08x}", case.name(), rand::random::<u32>());
        Self {
            options,
            peculiar,
            prefix,
            provider,
            removed: Vec::new(),
            under_way: Mutex::default(),
            written: Vec::new(),
        }
    }

    pub(super) async fn play(&mut self, case: Case) -> Played {
        match case {
            Case::AddTwice => self.add_twice().await,
            Case::Apex => self.apex().await,
            Case::BadCredentials => self.bad_credentials().await,
            Case::DeepestZone => self.deepest_zone().await,
            Case::Capitals => self.capitals().await,
            Case::LongValues => self.long_values().await,
            Case::ManyNames => self.many_names().await,
            Case::OneRefused => self.one_refused().await,
            Case::OwnWord => self.own_word().await,
            Case::RateLimit => self.rate_limit().await,
            Case::RemoveAbsent => self.remove_absent().await,
            Case::RemoveOneOfTwo => self.remove_one_of_two().await,
            Case::SixteenWriters => self.sixteen_writers().await,
            Case::TimeOut => self.time_out().await,
            Case::TwoValues => self.two_values().await,
            Case::UnknownZone => self.unknown_zone().await,
        }
    }

    async fn two_values(&mut self) -> Played {
        self.needs_values(2)?;
        let (zone, owner) = self.place().await?;
        let [a, b] = [self.value("a")?, self.value("b")?];
        self.add(&zone, &[(&owner, &a), (&owner, &b)]).await?;
        self.stands(&owner, &[&a, &b]).await
    }

    async fn add_twice(&mut self) -> Played {
        let (zone, owner) = self.place().await?;
        let a = self.value("a")?;
        self.add(&zone, &[(&owner, &a)]).await?;
        self.add(&zone, &[(&owner, &a)]).await?;
        self.stands(&owner, &[&a]).await
    }

    async fn remove_one_of_two(&mut self) -> Played {
        self.needs_values(2)?;
        if self.provider.capabilities().overwrites {
            return Err(Verdict::NotSupported(
                "values leave a name only as later ones push them out".to_owned(),
            ));
        }
        let (zone, owner) = self.place().await?;
        let [a, b] = [self.value("a")?, self.value("b")?];
        // In two calls, as two machines would.
        self.add(&zone, &[(&owner, &a)]).await?;
        self.add(&zone, &[(&owner, &b)]).await?;
        self.stands(&owner, &[&a, &b]).await?;
        self.remove(&zone, &owner, &a).await?;
        self.stands(&owner, &[&b]).await
    }

    async fn remove_absent(&mut self) -> Played {
        let (zone, owner) = self.place().await?;
        let [a, absent] = [self.value("a")?, self.value("absent")?];
        self.remove(&zone, &owner, &absent).await?;
        self.add(&zone, &[(&owner, &a)]).await?;
        self.remove(&zone, &owner, &absent).await?;
        self.stands(&owner, &[&a]).await
    }

    async fn capitals(&mut self) -> Played {
        self.needs_values(2)?;
        let (zone, owner) = self.place().await?;
        let [lower, upper] = [self.value("a")?, self.value("A")?];
        self.add(&zone, &[(&owner, &lower), (&owner, &upper)])
            .await?;
        self.stands(&owner, &[&lower, &upper]).await?;
        self.remove(&zone, &owner, &lower).await?;
        self.stands(&owner, &[&upper]).await
    }

    async fn long_values(&mut self) -> Played {
        let (zone, owner) = self.place().await?;
        for octets in [255, 300] {
            let value = self.value(&"x".repeat(octets))?;
            let text = value.to_string();
            let value = parse_value(text.get(..octets).unwrap_or(&text))?;
            match self.add(&zone, &[(&owner, &value)]).await {
                Err(Verdict::Fail(reason)) if self.peculiar.challenges_only => {
                    // Where that is taken, it is the length that is refused.
                    let ordinary = self.value("ordinary")?;
                    self.add(&zone, &[(&owner, &ordinary)]).await?;
                    self.remove(&zone, &owner, &ordinary).await?;
                    return Err(Verdict::NotSupported(format!(
                        "this contract is about challenges, whose values are shorter: {reason}"
                    )));
                }
                added => added?,
            }
            self.stands(&owner, &[&value]).await?;
            self.remove(&zone, &owner, &value).await?;
            self.stands(&owner, &[]).await?;
        }
        Ok(())
    }

    async fn apex(&mut self) -> Played {
        self.needs_names()?;
        let (zone, _) = self.place().await?;
        let owner = zone.name.clone();
        let before = self.read(&owner).await?;
        // Others' values there would make room for ours.
        self.needs_values(before.len() + 1)?;
        let a = self.value("a")?;
        self.add(&zone, &[(&owner, &a)]).await?;
        let with: Vec<&TxtValue> = before.iter().chain([&a]).collect();
        self.stands(&owner, &with).await?;
        self.remove(&zone, &owner, &a).await?;
        let without: Vec<&TxtValue> = before.iter().collect();
        self.stands(&owner, &without).await
    }

    async fn many_names(&mut self) -> Played {
        // Where names are written one by one, more of them show nothing more.
        let many = match self.provider.capabilities().exclusive {
            true => SOME,
            false => MANY,
        };
        self.needs_names()?;
        let (zone, first) = self.place().await?;
        let a = self.value("a")?;
        let mut owners = Vec::with_capacity(many);
        for n in 0..many {
            owners.push(beside(&first, &format!("n{n}"))?);
        }
        let wanted: Vec<(&DomainName, &TxtValue)> = owners.iter().map(|o| (o, &a)).collect();
        self.add(&zone, &wanted).await?;
        for owner in &owners {
            self.stands(owner, &[&a]).await?;
        }
        Ok(())
    }

    async fn one_refused(&mut self) -> Played {
        self.needs_names()?;
        let (zone, first) = self.place().await?;
        let a = self.value("a")?;
        let [left, right] = [beside(&first, "left")?, beside(&first, "right")?];
        let foreign = self.options.foreign.clone();
        let changes: Vec<TxtChange> = [&left, &foreign, &right]
            .into_iter()
            .map(|owner| self.change(Action::Add, owner, &a))
            .collect();
        for change in changes.iter().filter(|c| c.owner != foreign) {
            self.written.push((zone.clone(), change.clone()));
        }
        match self.apply(self.provider, &zone, &changes).await {
            // The zone writer finds the bad one by halves.
            Err(error) if error.is_retryable() => Err(Verdict::Fail(format!(
                "a name that can never be written made an error that says to try again: {error}"
            ))),
            Err(error) if is_breach(&error) => Err(error.into()),
            Err(error @ ProviderError::Unsupported { .. }) => Err(error.into()),
            Err(_) => Ok(()),
            Ok(applied) => match applied.outcomes.as_slice() {
                [
                    Outcome::Applied { .. },
                    Outcome::Refused { .. },
                    Outcome::Applied { .. },
                ] => {
                    self.stands(&left, &[&a]).await?;
                    self.stands(&right, &[&a]).await
                }
                other => Err(Verdict::Fail(format!(
                    "a good, a bad and a good change were {}",
                    words::outcomes(other)
                ))),
            },
        }
    }

    async fn sixteen_writers(&mut self) -> Played {
        self.needs_values(WRITERS)?;
        let capabilities = self.provider.capabilities();
        if capabilities.write_safety == WriteSafety::ReadModifyWrite {
            return Err(Verdict::NotSupported(
                "its writes are not safe among machines, and it says so".to_owned(),
            ));
        }
        let (zone, owner) = self.place().await?;
        let mut values = Vec::with_capacity(WRITERS);
        for n in 0..WRITERS {
            values.push(self.value(&format!("w{n}"))?);
        }
        let batches: Vec<[TxtChange; 1]> = values
            .iter()
            .map(|value| [self.change(Action::Add, &owner, value)])
            .collect();
        for [change] in &batches {
            self.written.push((zone.clone(), change.clone()));
        }
        let (bench, zone) = (&*self, &zone);
        let calls = batches.iter().map(|batch| async move {
            // A conflict is an honest answer to a race, if trying again gets through.
            let mut tries = 0;
            loop {
                match bench.apply(bench.provider, zone, batch).await {
                    Err(error) if error.is_retryable() && tries < WRITERS => {
                        tries += 1;
                        let pause = error.retry_after().unwrap_or(Duration::from_millis(100));
                        tokio::time::sleep(pause).await;
                    }
                    other => return other,
                }
            }
        });
        for (applied, place) in join_all(calls).await.into_iter().zip(0..) {
            self.note(place, applied?.outcomes.first());
        }
        let wanted: Vec<&TxtValue> = values.iter().collect();
        self.stands(&owner, &wanted).await
    }

    async fn own_word(&mut self) -> Played {
        let (zone, owner) = self.place().await?;
        let a = self.value("a")?;
        self.add(&zone, &[(&owner, &a)]).await?;
        match self.provider.values(&zone, &owner).await? {
            None => Err(Verdict::NotSupported(
                "it does not tell the values at a name".to_owned(),
            )),
            Some(values) if values == [a.clone()] => Ok(()),
            Some(values) => Err(Verdict::Fail(format!(
                "it should tell {}, and tells {}",
                words::values(&[a]),
                words::values(&values)
            ))),
        }
    }

    async fn deepest_zone(&mut self) -> Played {
        let Some(apex) = &self.options.deeper_zone else {
            return Err(Verdict::NotSupported(
                "no zone inside another zone was given".to_owned(),
            ));
        };
        for owner in [apex.clone(), child(apex, "_acme-challenge")?] {
            let zone = self.provider.zone_of(&owner).await?;
            if zone.name != *apex {
                return Err(Verdict::Fail(format!(
                    "{owner} is in {apex}, and it says {}",
                    zone.name
                )));
            }
        }
        Ok(())
    }

    async fn unknown_zone(&mut self) -> Played {
        match self.provider.zone_of(&self.options.foreign).await {
            Err(error) if is_breach(&error) => Err(error.into()),
            Err(ProviderError::ZoneNotFound { .. } | ProviderError::Misconfigured { .. }) => Ok(()),
            Err(error @ ProviderError::Unsupported { .. }) => Err(error.into()),
            Err(error) => Err(Verdict::Fail(format!(
                "a name in no zone of the account made another error: {error}"
            ))),
            Ok(zone) => Err(Verdict::Fail(format!("it says {}", zone.name))),
        }
    }

    async fn bad_credentials(&mut self) -> Played {
        let Some(impostor) = self.options.impostor else {
            return Err(Verdict::NotSupported(
                "no bad credentials were given".to_owned(),
            ));
        };
        let (zone, owner) = self.place().await?;
        let a = self.value("a")?;
        let change = self.change(Action::Add, &owner, &a);
        self.written.push((zone.clone(), change.clone()));
        match self.apply(impostor, &zone, &[change]).await {
            Err(ProviderError::Credentials { .. }) => self.stands(&owner, &[]).await,
            Err(error @ ProviderError::Unsupported { .. }) => Err(error.into()),
            Err(error) => Err(Verdict::Fail(format!(
                "bad credentials made another error: {error}"
            ))),
            Ok(applied) => Err(Verdict::Fail(format!(
                "with bad credentials, the change was {}",
                words::outcomes(&applied.outcomes)
            ))),
        }
    }

    async fn rate_limit(&mut self) -> Played {
        let Some(throttled) = self.peculiar.throttled else {
            return Err(Verdict::NotSupported(
                "no service was given that has had too many requests".to_owned(),
            ));
        };
        match self.failing(throttled).await? {
            ProviderError::RateLimited { .. } => Ok(()),
            other => Err(Verdict::Fail(format!(
                "too many requests made another error: {other}"
            ))),
        }
    }

    async fn time_out(&mut self) -> Played {
        let Some(silent) = self.peculiar.silent else {
            return Err(Verdict::NotSupported(
                "no service was given that never answers".to_owned(),
            ));
        };
        let failed = tokio::time::timeout(LONGEST_CALL, self.failing(silent)).await;
        match failed {
            Ok(error) => match error? {
                ProviderError::Failed { .. } | ProviderError::Unreachable { .. } => Ok(()),
                other => Err(Verdict::Fail(format!(
                    "a service that never answers made another error: {other}"
                ))),
            },
            Err(_) => Err(Verdict::Fail(format!(
                "it waits for an answer for more than {}s",
                LONGEST_CALL.as_secs()
            ))),
        }
    }

    /// How a write fails there.
    async fn failing(&mut self, provider: &dyn DnsProvider) -> Result<ProviderError, Verdict> {
        let (zone, owner) = self.place().await?;
        // It may know the zone by another ID, or fail here already.
        let zone = match provider.zone_of(&owner).await {
            Err(ProviderError::Unsupported { .. }) => zone,
            Err(error) => return Ok(error),
            Ok(zone) => zone,
        };
        let a = self.value("a")?;
        let change = self.change(Action::Add, &owner, &a);
        match self.apply(provider, &zone, &[change]).await {
            Err(error) => Ok(error),
            Ok(applied) => Err(Verdict::Fail(format!(
                "the change was {}",
                words::outcomes(&applied.outcomes)
            ))),
        }
    }

    fn needs_names(&self) -> Played {
        match self.peculiar.only {
            Some(_) => Err(Verdict::NotSupported("it writes one name only".to_owned())),
            None => Ok(()),
        }
    }

    fn needs_values(&self, count: usize) -> Played {
        match self.provider.capabilities().max_values {
            Some(max) if max < count => Err(Verdict::NotSupported(format!(
                "a name can hold {max} values only"
            ))),
            _ => Ok(()),
        }
    }

    /// A name of this case's own, and its zone.
    async fn place(&self) -> Result<(Zone, DomainName), Verdict> {
        let owner = match self.peculiar.only {
            Some(only) => only.clone(),
            None => child(&child(&self.options.base, &self.prefix)?, "_acme-challenge")?,
        };
        let zone = match (self.provider.zone_of(&owner).await, &self.options.zone) {
            (Err(ProviderError::Unsupported { .. }), Some(name)) => Zone {
                id: String::new(),
                name: name.clone(),
            },
            (zone, _) => zone?,
        };
        match owner.is_within(&zone.name) {
            true => Ok((zone, owner)),
            false => Err(Verdict::Fail(format!(
                "it says that {owner} is in {}",
                zone.name
            ))),
        }
    }

    /// A value of this case's own; begins with a hyphen, as one in 64 of the CA's does, and is as long as those.
    fn value(&self, name: &str) -> Result<TxtValue, Verdict> {
        let at = self.prefix.len().saturating_sub(CHALLENGE - 12);
        let own = self.prefix.get(at..).unwrap_or(&self.prefix);
        parse_value(&format!("{:_<CHALLENGE$}", format!("-{own}-{name}")))
    }

    fn change(&self, action: Action, owner: &DomainName, value: &TxtValue) -> TxtChange {
        TxtChange {
            action,
            handle: None,
            origin: None,
            owner: owner.clone(),
            ttl: self.provider.capabilities().ttl,
            value: value.clone(),
        }
    }

    async fn add(&mut self, zone: &Zone, wanted: &[(&DomainName, &TxtValue)]) -> Played {
        let changes: Vec<TxtChange> = wanted
            .iter()
            .map(|(owner, value)| self.change(Action::Add, owner, value))
            .collect();
        let first = self.written.len();
        for change in &changes {
            self.written.push((zone.clone(), change.clone()));
        }
        let applied = self.apply(self.provider, zone, &changes).await?;
        all_applied(&changes, &applied.outcomes)?;
        for (outcome, place) in applied.outcomes.iter().zip(first..) {
            self.note(place, Some(outcome));
        }
        Ok(())
    }

    async fn remove(&self, zone: &Zone, owner: &DomainName, value: &TxtValue) -> Played {
        let mut change = self.change(Action::Remove, owner, value);
        change.handle = self
            .written
            .iter()
            .rev()
            .find(|(_, c)| c.owner == *owner && c.value == *value)
            .and_then(|(_, c)| c.handle.clone());
        let changes = [change];
        let applied = self.provider.apply(zone, &changes).await?;
        all_applied(&changes, &applied.outcomes)
    }

    /// Keeps the handle of what was written, for its removal.
    fn note(&mut self, place: usize, outcome: Option<&Outcome>) {
        let handle: Option<Handle> = match outcome {
            Some(Outcome::Applied { handle }) => handle.clone(),
            _ => None,
        };
        if let Some((_, change)) = self.written.get_mut(place) {
            change.handle = handle;
        }
    }

    async fn read(&self, owner: &DomainName) -> Result<Vec<TxtValue>, Verdict> {
        let mut values = (self.options.read)(owner.clone())
            .await
            .map_err(|error| Verdict::Fail(format!("failed to look at {owner}: {error}")))?;
        values.sort_unstable();
        Ok(values)
    }

    /// Waits until exactly these values are seen at `owner`.
    async fn stands(&self, owner: &DomainName, wanted: &[&TxtValue]) -> Played {
        let mut wanted: Vec<TxtValue> = wanted.iter().copied().cloned().collect();
        wanted.sort_unstable();
        let began = Instant::now();
        let mut pause = Duration::from_millis(50);
        loop {
            let seen = self.read(owner).await?;
            let as_wanted = match self.provider.capabilities().overwrites {
                true => wanted.iter().all(|value| seen.contains(value)),
                false => seen == wanted,
            };
            if as_wanted {
                return Ok(());
            }
            if began.elapsed() >= self.options.patience {
                return Err(Verdict::Fail(format!(
                    "{owner} {}",
                    words::difference(&wanted, &seen)
                )));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    /// Removes what was written, each zone in one call; a name that cannot be written any more is a failure.
    pub(super) async fn clean(&mut self) -> Played {
        let values = self.written.iter();
        let values = values.map(|(_, c)| (c.owner.clone(), c.value.clone()));
        self.removed.extend(values);
        let cleaned = self.remove_written().await;
        // Only now: who is stopped in the middle of it begins anew.
        self.written.clear();
        cleaned
    }

    /// Every call of a provider that may add something.
    async fn apply(
        &self,
        provider: &dyn DnsProvider,
        zone: &Zone,
        changes: &[TxtChange],
    ) -> Result<Applied, ProviderError> {
        let adds = changes.iter().filter(|c| c.action == Action::Add);
        let adds: Vec<_> = adds.map(|c| (c.owner.clone(), c.value.clone())).collect();
        self.under_way().extend(adds.iter().cloned());
        let applied = provider.apply(zone, changes).await;
        self.under_way().retain(|value| !adds.contains(value));
        applied
    }

    fn under_way(&self) -> MutexGuard<'_, Vec<(DomainName, TxtValue)>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What one zone refuses keeps nobody from the others.
    async fn remove_written(&self) -> Played {
        let mut ended = Ok(());
        let mut rest = self.written.as_slice();
        while let Some((zone, _)) = rest.first() {
            let count = rest.iter().take_while(|(z, _)| z == zone).count();
            let (these, others) = rest.split_at(count);
            rest = others;
            let changes: Vec<TxtChange> = these
                .iter()
                .map(|(_, change)| TxtChange {
                    action: Action::Remove,
                    ..change.clone()
                })
                .collect();
            let removed = match self.provider.apply(zone, &changes).await {
                Ok(applied) => all_applied(&changes, &applied.outcomes),
                Err(error) => Err(error.into()),
            };
            ended = ended.and(removed);
        }
        ended
    }
}

fn all_applied(changes: &[TxtChange], outcomes: &[Outcome]) -> Played {
    if changes.len() != outcomes.len() {
        return Err(Verdict::Fail(format!(
            "{} changes have {} outcomes",
            changes.len(),
            outcomes.len()
        )));
    }
    for (change, outcome) in changes.iter().zip(outcomes) {
        if let Outcome::Refused { reason } | Outcome::Unknown { reason } = outcome {
            return Err(Verdict::Fail(format!(
                "failed to {} a value at {}: {reason}",
                change.action, change.owner
            )));
        }
    }
    Ok(())
}

fn child(name: &DomainName, label: &str) -> Result<DomainName, Verdict> {
    name.child(label)
        .map_err(|error| Verdict::Fail(format!("the base name is too long: {error}")))
}

/// The challenge name of a host below the one that `owner` is the challenge name of.
fn beside(owner: &DomainName, label: &str) -> Result<DomainName, Verdict> {
    let host = owner.parent().unwrap_or_else(|| owner.clone());
    child(&child(&host, label)?, "_acme-challenge")
}

fn parse_value(text: &str) -> Result<TxtValue, Verdict> {
    text.parse()
        .map_err(|error| Verdict::Fail(format!("{error}")))
}

/// A large order at most CAs is 100 names; two and a half of those.
const MANY: usize = 250;
const SOME: usize = 25;
const WRITERS: usize = 16;
/// The length of a challenge's value: SHA-256 in base64url (RFC 8555 section 8.4).
const CHALLENGE: usize = 43;
/// Nobody wants to wait longer for the answer to one call; retries come on top.
const LONGEST_CALL: Duration = Duration::from_secs(150);
