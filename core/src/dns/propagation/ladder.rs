//! From the best evidence that values are served to the next best, where the best cannot be had.
//!
//! The rungs: every authoritative server; the provider's own word; resolvers over HTTPS or TLS; a bounded wait. [`Mode::Auto`] begins at
//! the top and descends where nobody answers, at once where the search for the servers has found port 53 closed; every other mode
//! stays on its rung. No resolver is asked for an owner name before a better rung, the provider or a pause says that the value is there, and one
//! resolver is asked before the others, so that a look that came too early is remembered by that one alone.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::future::join;
use futures::future::join_all;
use serde::Deserialize;
use serde::Serialize;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::NameReport;
use super::Propagation;
use super::PropagationPolicy;
use super::Proven;
use super::Row;
use super::Wanted;
use super::verdict::Advice;
use super::verdict::Asked;
use super::verdict::Panel;
use super::watch::End;
use super::watch::Watch;
use crate::dns::query::Upstream;
use crate::event::What;

/// What is evidence, as somebody has chosen it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The best that can be had.
    #[default]
    Auto,
    /// Every authoritative server.
    Authoritative,
    /// Resolvers over HTTPS or TLS.
    Doh,
    /// The provider's own word.
    Provider,
    /// That some time has passed.
    Wait,
}

/// What the evidence is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rung {
    /// Every authoritative server shows the values.
    Authoritative,
    /// The provider says that it serves them.
    Provider,
    /// Resolvers over HTTPS or TLS show them.
    Doh,
    /// Some time has passed.
    Wait,
}

impl Rung {
    /// The rung as messages call it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Authoritative => "the authoritative servers",
            Self::Provider => "the provider's word",
            Self::Doh => "resolvers over HTTPS or TLS",
            Self::Wait => "a fixed wait",
        }
    }
}

/// Names on the ladder with their places in what was asked for.
pub(super) type Climbers = Vec<(usize, Wanted)>;

/// What came of some names.
#[derive(Debug, Default)]
pub(super) struct Landed {
    pub(super) names: Vec<(usize, NameReport)>,
    /// The names that are left for a lower rung, and why.
    left: Climbers,
    pub(super) cancelled: bool,
}

impl Landed {
    pub(super) fn and(mut self, other: Self) -> Self {
        self.names.extend(other.names);
        self.left.extend(other.left);
        self.cancelled |= other.cancelled;
        self
    }
}

/// One wait for names of one policy.
pub(super) struct Ladder<'a, F> {
    pub(super) on: &'a Propagation,
    pub(super) policy: &'a PropagationPolicy,
    pub(super) started: Instant,
    pub(super) cancel: &'a CancellationToken,
    pub(super) tell: &'a Mutex<F>,
}

impl<F: FnMut(Proven) + Send> Ladder<'_, F> {
    /// Proves names, or says what is missing.
    pub(super) async fn climb(&self, names: Climbers) -> Landed {
        let landed = match self.policy.mode {
            Mode::Auto => {
                let (open, closed): (Climbers, Climbers) = names
                    .into_iter()
                    .partition(|(_, wanted)| wanted.zone.is_reachable());
                let top = async {
                    let mut top = self.authoritative(open).await;
                    let left = std::mem::take(&mut top.left);
                    top.and(self.lower(left, NO_ANSWER).await)
                };
                let (top, low) = join(top, self.lower(closed, CLOSED)).await;
                top.and(low)
            }
            Mode::Authoritative => self.authoritative(names).await,
            Mode::Provider => {
                let (vouched, silent) = self.by_word(names);
                let told = self.proven(vouched, Rung::Provider, None);
                told.and(unproven(
                    silent,
                    Rung::Provider,
                    "does not say that it serves the change",
                ))
            }
            Mode::Doh => {
                let mut landed = self.resolvers(names, None).await;
                let left = std::mem::take(&mut landed.left);
                landed.and(unproven(
                    left,
                    Rung::Doh,
                    "no resolver over HTTPS or TLS answers",
                ))
            }
            Mode::Wait => self.wait(names, None).await,
        };
        self.recursive_too(landed).await
    }

    /// The rungs below the authoritative servers.
    async fn lower(&self, names: Climbers, why: &str) -> Landed {
        let (vouched, rest) = self.by_word(names);
        let landed = self.proven(vouched, Rung::Provider, Some(why));
        if rest.is_empty() {
            return landed;
        }
        let mut seen = match self.policy.resolvers.is_empty() {
            true => Landed {
                left: rest,
                ..Landed::default()
            },
            false => {
                self.descend(&rest, Rung::Doh, why);
                self.resolvers(rest, Some(why)).await
            }
        };
        let left = std::mem::take(&mut seen.left);
        let landed = landed.and(seen);
        match left.is_empty() {
            true => landed,
            false => {
                let why = format!("{why}, and no resolver over HTTPS or TLS answers");
                self.descend(&left, Rung::Wait, &why);
                landed.and(self.wait(left, Some(&why)).await)
            }
        }
    }

    /// Those whose provider says that the change is served, and the others.
    fn by_word(&self, names: Climbers) -> (Climbers, Climbers) {
        names
            .into_iter()
            .partition(|(_, wanted)| self.on.vouched.contains(&wanted.owner))
    }

    async fn authoritative(&self, names: Climbers) -> Landed {
        let family = self.policy.family;
        // Servers that somebody has named are meant.
        let named = names.iter().any(|(_, wanted)| wanted.zone.given);
        let asked = names
            .into_iter()
            .map(|(index, wanted)| {
                let panel = Panel::servers(&wanted.zone, family);
                (index, self.asked(wanted, panel))
            })
            .collect();
        let descends = self.policy.mode == Mode::Auto && !named;
        let unheard = descends.then_some(self.started);
        let rung = Some(Rung::Authoritative);
        self.watch(asked, rung, self.started, unheard, None).await
    }

    /// Resolvers show the values. What comes back as left are names that no resolver has said anything about.
    async fn resolvers(&self, names: Climbers, why: Option<&str>) -> Landed {
        if names.is_empty() || self.policy.resolvers.is_empty() {
            return Landed {
                left: names,
                ..Landed::default()
            };
        }
        let vouched = |wanted: &Wanted| self.on.vouched.contains(&wanted.owner);
        if !names.iter().all(|(_, wanted)| vouched(wanted)) {
            let reason = "the value to reach the name servers, because resolvers that are asked too early remember that there is none";
            if !self.pause(reason, self.policy.first_look).await {
                return cancelled();
            }
        }
        if !self.sound(&names).await {
            return cancelled();
        }
        let began = Instant::now();
        let asked = names
            .into_iter()
            .map(|(index, wanted)| {
                let panel = Panel::resolvers(&fresh(&self.policy.resolvers, &wanted));
                (index, self.asked(wanted, panel))
            })
            .collect();
        let unheard = Some(began + UNHEARD);
        self.watch(asked, Some(Rung::Doh), began, unheard, why)
            .await
    }

    /// Asks one resolver after the other about one of the names, each later than the one before, until one shows the values; false
    /// where it was told to end.
    async fn sound(&self, names: &Climbers) -> bool {
        let Some((_, first)) = names.first() else {
            return true;
        };
        let mut pause = self.policy.first_look.max(SHORTEST_LOOK);
        let fresh = fresh(&self.policy.resolvers, first);
        for (nth, resolver) in fresh.iter().enumerate() {
            if nth + 1 == fresh.len() {
                break;
            }
            let asked = super::probe::probe(&self.on.asker, resolver, first);
            let verdict = tokio::select! {
                biased;
                () = self.cancel.cancelled() => return false,
                (verdict, _) = asked => verdict,
            };
            if !matches!(
                verdict,
                super::Verdict::Unusable(super::Unusable::Remembered(_))
            ) {
                break;
            }
            let left = self.deadline().duration_since(Instant::now());
            let reason = format!("the value to reach the name servers; {resolver} says: {verdict}");
            if !self.pause(&reason, pause.min(left)).await {
                return false;
            }
            pause *= 2;
        }
        true
    }

    async fn wait(&self, names: Climbers, why: Option<&str>) -> Landed {
        if names.is_empty() {
            return Landed::default();
        }
        if self.on.hurry.is_some() {
            return self.proven(names, Rung::Wait, why);
        }
        let wait = self.policy.fallback_wait;
        if let Some(why) = why {
            let zone = names
                .first()
                .map(|(_, wanted)| wanted.zone.zone.to_string());
            self.on.events.warn(
                format!(
                    "nobody can be asked from here whether {} serves the values ({why}); waits {} instead",
                    zone.unwrap_or_default(),
                    super::report::brief(wait)
                ),
                Some("open HTTPS to a resolver (`--doh URL`), or choose another wait with `fallback-wait`".to_owned()),
            );
        }
        if !self
            .pause("the change to be served, which nobody can tell", wait)
            .await
        {
            return cancelled();
        }
        self.proven(names, Rung::Wait, why)
    }

    /// After the evidence is there, resolvers have to show the values as well.
    async fn recursive_too(&self, landed: Landed) -> Landed {
        let missing = landed.names.iter().any(|(_, name)| !name.proven);
        let resolvers = &self.policy.recursive_too;
        if missing || landed.cancelled || resolvers.is_empty() {
            return landed;
        }
        let asked: Vec<(usize, Asked)> = landed
            .names
            .iter()
            .filter(|(_, name)| name.rung != Some(Rung::Doh) || self.policy.resolvers != *resolvers)
            .filter_map(|(index, _)| {
                let wanted = self.on.wanted_at(*index)?;
                let panel = Panel::resolvers(&fresh(resolvers, &wanted));
                let asked = self.asked(wanted, panel);
                let advice = Advice::Binding;
                Some((*index, Asked { advice, ..asked }))
            })
            .collect();
        if asked.is_empty() {
            return landed;
        }
        let began = Instant::now();
        let seen = self.watch(asked, None, began, None, None).await;
        let failed: Vec<usize> = seen
            .names
            .iter()
            .filter(|(_, name)| !name.proven)
            .map(|(index, _)| *index)
            .collect();
        let mut kept = landed;
        kept.cancelled |= seen.cancelled;
        kept.names.retain(|(index, _)| !failed.contains(index));
        kept.names.extend(
            seen.names
                .into_iter()
                .filter(|(index, _)| failed.contains(index)),
        );
        kept
    }

    fn asked(&self, wanted: Wanted, panel: Panel) -> Asked {
        Asked {
            wanted,
            panel,
            quorum: self.policy.quorum,
            advice: Advice::Passing,
        }
    }

    /// Asks until the quorum is reached, the time is up or, from `unheard` on, nobody answers at all. What is proven is told, unless
    /// it is no `rung` and only agrees with one.
    async fn watch(
        &self,
        asked: Vec<(usize, Asked)>,
        rung: Option<Rung>,
        began: Instant,
        unheard: Option<Instant>,
        why: Option<&str>,
    ) -> Landed {
        if asked.is_empty() {
            return Landed::default();
        }
        let mut indices = Vec::new();
        let mut names = Vec::new();
        for (index, asked) in asked {
            indices.push(index);
            names.push(asked);
        }
        let wanted: Vec<Wanted> = names.iter().map(|asked| asked.wanted.clone()).collect();
        let grace = match self.on.hurry {
            Some(_) => Duration::ZERO,
            None => self.policy.grace,
        };
        let watch = Watch::new(self.on, names, grace, began);
        let probing = async {
            let addresses = watch.lock().by_address();
            join_all(addresses.into_iter().map(|(a, p)| watch.follow(a, p))).await;
            // All that is left to wait for is the grace of servers without an address.
            std::future::pending::<()>().await;
        };
        let deadline = self.deadline();
        let on_proven = |proven: Proven| {
            if let (Some(&index), Some(rung)) = (indices.get(proven.index), rung) {
                self.tell(index, &proven.owner, rung, why);
            }
        };
        let probing: BoxFuture<'_, ()> = Box::pin(probing);
        let end = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return cancelled(),
            end = watch.judge(deadline, unheard, on_proven) => end,
            () = probing => End::TimeIsUp,
        };
        if end == End::TimeIsUp {
            watch.find_serials().await;
        }
        let mut landed = Landed::default();
        let reports = watch.report().names.into_iter();
        for ((index, wanted), mut report) in indices.iter().zip(wanted).zip(reports) {
            report.rung = Some(rung.unwrap_or(Rung::Doh));
            match end == End::Unheard && !report.proven {
                true => landed.left.push((*index, wanted)),
                false => landed.names.push((*index, report)),
            }
        }
        landed
    }

    /// Names whose evidence is no answer of any server.
    fn proven(&self, names: Climbers, rung: Rung, why: Option<&str>) -> Landed {
        let names = names.into_iter().map(|(index, wanted)| {
            self.tell(index, &wanted.owner, rung, why);
            let says = match rung {
                Rung::Provider => "the provider says that it is served",
                _ => "not asked",
            };
            let mut report = empty(wanted, rung, says);
            report.proven = true;
            (index, report)
        });
        Landed {
            names: names.collect(),
            ..Landed::default()
        }
    }

    fn tell(&self, index: usize, owner: &crate::dns::DomainName, rung: Rung, why: Option<&str>) {
        self.on.events.emit(What::Proven {
            owner: owner.clone(),
            rung,
            because: why.map(str::to_owned),
        });
        let mut tell = self.tell.lock().unwrap_or_else(PoisonError::into_inner);
        tell(Proven {
            index,
            owner: owner.clone(),
        });
    }

    fn descend(&self, names: &Climbers, to: Rung, because: &str) {
        if let Some((_, wanted)) = names.first() {
            self.on.events.emit(What::Descended {
                zone: wanted.zone.zone.clone(),
                to,
                because: because.to_owned(),
            });
        }
    }

    fn deadline(&self) -> Instant {
        let limit = self.on.hurry.map(|hurry| hurry.limit);
        self.started + limit.map_or(self.policy.timeout, |limit| limit.min(self.policy.timeout))
    }

    /// Waits, and says for what; false where it was told to end.
    async fn pause(&self, reason: &str, at_most: Duration) -> bool {
        if at_most.is_zero() {
            return true;
        }
        self.on.events.emit(What::Waiting {
            reason: reason.to_owned(),
            at_most: Some(at_most),
        });
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => false,
            () = sleep(at_most) => true,
        }
    }
}

/// The resolvers that have not heard of a name before there was a value; all where there is none such.
fn fresh(all: &[Upstream], wanted: &Wanted) -> Vec<Upstream> {
    let is_fresh = |upstream: &&Upstream| match upstream {
        Upstream::Encrypted(resolver) => resolver.remembers_absence(&wanted.owner).is_none(),
        _ => true,
    };
    let fresh: Vec<Upstream> = all.iter().filter(is_fresh).cloned().collect();
    match fresh.is_empty() {
        true => all.to_vec(),
        false => fresh,
    }
}

fn cancelled() -> Landed {
    Landed {
        cancelled: true,
        ..Landed::default()
    }
}

/// Names that nothing can be said of.
fn unproven(names: Climbers, rung: Rung, why: &str) -> Landed {
    let names = names
        .into_iter()
        .map(|(index, wanted)| (index, empty(wanted, rung, why)));
    Landed {
        names: names.collect(),
        ..Landed::default()
    }
}

fn empty(wanted: Wanted, rung: Rung, says: &str) -> NameReport {
    let who = match rung {
        Rung::Provider => "the provider",
        _ => "nobody",
    };
    NameReport {
        owner: wanted.owner,
        zone: wanted.zone.zone.clone(),
        proven: false,
        rung: Some(rung),
        values: wanted.values,
        rows: vec![Row {
            server: who.to_owned(),
            address: None,
            transport: None,
            verdict: None,
            since: Duration::ZERO,
            zone_serial: None,
            problem: Some(says.to_owned()),
        }],
    }
}

const CLOSED: &str = "the name servers cannot be reached on port 53";
const NO_ANSWER: &str = "no name server answers on port 53";
/// Resolvers that were reached a moment ago are given some time, should they fail.
const UNHEARD: Duration = Duration::from_secs(10);
/// Between the looks at two resolvers, where the first look was to come at once.
const SHORTEST_LOOK: Duration = Duration::from_secs(1);
