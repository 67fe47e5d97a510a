//! Proof that the servers a CA will ask show the values.
//!
//! [`Propagation::await_visible`] asks every address of every authoritative server for each owner name until the quorum
//! is reached or the time is up. A first look is taken at once, then quickly, then slower; each address has a rhythm of
//! its own, so that a dead one holds up nobody, and one round at an address serves all the names that still wait for it.
//! No recursive resolver is asked as long as they can be; what happens otherwise is in `ladder`. What came of it is a [`Report`], also when it fails.

mod ladder;
mod probe;
mod report;
mod verdict;
mod watch;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::ladder::Climbers;
use self::ladder::Ladder;
use self::ladder::Landed;
pub use self::ladder::Mode;
pub use self::ladder::Rung;
pub use self::report::NameReport;
pub use self::report::Report;
pub use self::report::Row;
use self::verdict::Advice;
use self::verdict::Asked;
use self::verdict::Panel;
pub use self::verdict::Quorum;
pub use self::verdict::Unusable;
pub use self::verdict::Verdict;
pub use self::verdict::Witness;
use self::watch::Watch;
use crate::dns::DomainName;
use crate::dns::TxtValue;
use crate::dns::discovery::ZoneServers;
use crate::dns::query::Asker;
use crate::dns::query::Family;
use crate::dns::query::Upstream;
use crate::event::Events;
use crate::event::What;

/// When a value counts as visible, and how long to wait for that.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PropagationPolicy {
    /// What is evidence.
    pub mode: Mode,
    /// Which addresses of the servers are asked; a zone may want fewer than the search for its servers.
    pub family: Family,
    /// Who is asked where the zone's servers cannot be; resolvers over HTTPS or TLS, mostly.
    pub resolvers: Vec<Upstream>,
    /// Resolvers that have to show the values as well where others have.
    pub recursive_too: Vec<Upstream>,
    /// How long to wait before resolvers are asked, where nobody says that the values are served.
    pub first_look: Duration,
    /// How long to wait where nobody can be asked.
    pub fallback_wait: Duration,
    /// How many servers have to show the values.
    pub quorum: Quorum,
    /// How long to wait at most.
    pub timeout: Duration,
    /// How long a server that is of no use at any of its addresses holds up [`Quorum::All`], counted from the start.
    pub grace: Duration,
    /// How long to wait on after the proof, for anycast services; at most ten minutes count.
    pub settle: Duration,
}

impl Default for PropagationPolicy {
    fn default() -> Self {
        Self {
            mode: Mode::Auto,
            family: Family::Both,
            resolvers: Vec::new(),
            recursive_too: Vec::new(),
            first_look: Duration::from_secs(5),
            fallback_wait: Duration::from_secs(60),
            quorum: Quorum::All,
            timeout: Duration::from_secs(5 * 60),
            grace: Duration::from_secs(10),
            settle: Duration::ZERO,
        }
    }
}

impl PropagationPolicy {
    /// Whether resolvers are looked at for a zone, and not its servers.
    fn looks_at_resolvers(&self, zone: &ZoneServers) -> bool {
        let wanted = match self.mode {
            Mode::Doh => true,
            Mode::Auto => !zone.is_reachable(),
            Mode::Authoritative | Mode::Provider | Mode::Wait => false,
        };
        wanted && !self.resolvers.is_empty()
    }
}

/// Values that have to be visible at one owner name.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The zone and its servers.
    pub zone: Arc<ZoneServers>,
    /// The final owner name.
    pub owner: DomainName,
    /// All of them have to be there; others do not matter.
    pub values: Vec<TxtValue>,
}

/// One owner name whose values are visible.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proven {
    /// Its place in what was asked for.
    pub index: usize,
    /// The owner name.
    pub owner: DomainName,
}

/// Looks at authoritative servers, once or until the values are there.
#[derive(Clone, Debug)]
pub struct Propagation {
    asker: Asker,
    events: Events,
    policy: PropagationPolicy,
    policies: Arc<Vec<(DomainName, PropagationPolicy)>>,
    vouched: Arc<BTreeSet<DomainName>>,
    /// Of the wait that is under way.
    wanted: Arc<Vec<Wanted>>,
    hurry: Option<Hurry>,
}

/// How somebody waits who wants to know what is the case, and needs no proof to go on.
///
/// Broken servers are passed over at once, and what only fills time is left out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Hurry {
    /// How long to wait at most.
    pub(crate) limit: Duration,
    /// How long others may be behind the first that shows the values.
    pub(crate) lag: Duration,
}

impl Propagation {
    /// A propagation check that tells `events` about each verdict that changes.
    pub fn new(asker: Asker, policy: PropagationPolicy, events: Events) -> Self {
        Self {
            asker,
            events,
            policy,
            policies: Arc::default(),
            vouched: Arc::default(),
            wanted: Arc::default(),
            hurry: None,
        }
    }

    /// What asks.
    pub(super) fn asker(&self) -> &Asker {
        &self.asker
    }

    /// The same check, in a hurry.
    pub(super) fn hurrying(&self, hurry: Hurry) -> Self {
        Self {
            hurry: Some(hurry),
            ..self.clone()
        }
    }

    /// The same check, with at least this settle time.
    pub fn settling(&self, settle: Duration) -> Self {
        let mut longer = self.clone();
        longer.policy.settle = longer.policy.settle.max(settle);
        for (_, policy) in Arc::make_mut(&mut longer.policies) {
            policy.settle = policy.settle.max(settle);
        }
        longer
    }

    /// The same check, waiting no longer than this and not giving up before.
    pub fn within(&self, at_most: Duration) -> Self {
        let mut other = self.clone();
        other.policy.timeout = at_most;
        for (_, policy) in Arc::make_mut(&mut other.policies) {
            policy.timeout = at_most;
        }
        other
    }

    /// The same check, with other policies for single zones and what is below them; the longest suffix wins.
    pub fn with_zones(mut self, policies: Vec<(DomainName, PropagationPolicy)>) -> Self {
        self.policies = Arc::new(policies);
        self
    }

    /// The same check, where the provider says of these owner names that it serves what was written there.
    pub fn vouched(&self, owners: BTreeSet<DomainName>) -> Self {
        Self {
            vouched: Arc::new(owners),
            ..self.clone()
        }
    }

    /// Whether a look at this owner name of this zone is a question to resolvers, which remember what they say.
    pub(super) fn asks_resolvers(&self, owner: &DomainName, zone: &ZoneServers) -> bool {
        let policy = self.policy_for(owner);
        !policy.recursive_too.is_empty() || policy.looks_at_resolvers(zone)
    }

    /// Who is asked in a look at this owner name of this zone: the zone's servers, or resolvers where these cannot be asked.
    pub fn witnesses(&self, owner: &DomainName, zone: &ZoneServers) -> Vec<Witness> {
        self.panel(owner, zone).0
    }

    fn panel(&self, owner: &DomainName, zone: &ZoneServers) -> Panel {
        let policy = self.policy_for(owner);
        match policy.looks_at_resolvers(zone) {
            true => Panel::resolvers(&policy.resolvers),
            false => Panel::servers(zone, policy.family),
        }
    }

    /// Waits until every name is proven, and for the settle time after that.
    ///
    /// # Errors
    ///
    /// When the time is up, with the report; when cancelled.
    pub async fn await_visible(
        &self,
        wanted: Vec<Wanted>,
        cancel: &CancellationToken,
    ) -> Result<Report, PropagationError> {
        self.await_visible_each(wanted, cancel, |_| {}).await
    }

    /// As [`Self::await_visible`], and tells of each name as soon as it is proven.
    pub async fn await_visible_each(
        &self,
        wanted: Vec<Wanted>,
        cancel: &CancellationToken,
        on_proven: impl FnMut(Proven) + Send,
    ) -> Result<Report, PropagationError> {
        if wanted.is_empty() {
            return Ok(Report { names: Vec::new() });
        }
        let started = Instant::now();
        let on = Self {
            wanted: Arc::new(wanted),
            ..self.clone()
        };
        let tell = Mutex::new(on_proven);
        let mut groups: Vec<(&PropagationPolicy, Climbers)> = Vec::new();
        for (index, wanted) in on.wanted.iter().enumerate() {
            let policy = self.policy_for(&wanted.owner);
            let climber = (index, wanted.clone());
            match groups.iter_mut().find(|(p, _)| std::ptr::eq(*p, policy)) {
                Some((_, names)) => names.push(climber),
                None => groups.push((policy, vec![climber])),
            }
        }
        let settle = groups.iter().map(|(policy, _)| policy.settle).max();
        let climbing = groups.into_iter().map(|(policy, names)| {
            let ladder = Ladder {
                on: &on,
                policy,
                started,
                cancel,
                tell: &tell,
            };
            async move { ladder.climb(names).await }
        });
        let landed = join_all(climbing).await.into_iter();
        let landed = landed.reduce(Landed::and).unwrap_or_default();
        if landed.cancelled {
            return Err(PropagationError::Cancelled);
        }
        let mut names = landed.names;
        names.sort_by_key(|(index, _)| *index);
        let report = Report {
            names: names.into_iter().map(|(_, name)| name).collect(),
        };
        if !report.is_proven() {
            return Err(PropagationError::NotVisible {
                report: Box::new(report),
                waited: started.elapsed(),
            });
        }
        if self.hurry.is_none() {
            self.settle(settle.unwrap_or_default(), cancel).await?;
        }
        Ok(report)
    }

    /// Looks once at every address, whatever it says. Broken servers are passed over at once.
    pub async fn look(&self, wanted: &[Wanted]) -> Report {
        let panels = wanted.iter().map(|wanted| Asked {
            wanted: wanted.clone(),
            panel: self.panel(&wanted.owner, &wanted.zone),
            quorum: self.policy_for(&wanted.owner).quorum,
            advice: Advice::Passing,
        });
        let now = Instant::now();
        let watch = Watch::new(self, panels.collect(), Duration::ZERO, now);
        let addresses = watch.lock().by_address();
        let rounds = addresses.iter().map(|(address, places)| async {
            let mut heard = false;
            watch.round(address, places, &mut heard).await;
        });
        join_all(rounds).await;
        watch.prove(Instant::now());
        if !watch.lock().names.iter().all(|name| name.proven) {
            watch.find_serials().await;
        }
        watch.report()
    }

    /// What counts for an owner name: what was said of its longest suffix.
    pub(super) fn policy_for(&self, owner: &DomainName) -> &PropagationPolicy {
        let policies = self.policies.iter();
        let own = policies.filter(|(suffix, _)| owner.is_within(suffix));
        own.max_by_key(|(suffix, _)| suffix.label_count())
            .map_or(&self.policy, |(_, policy)| policy)
    }

    fn wanted_at(&self, index: usize) -> Option<Wanted> {
        self.wanted.get(index).cloned()
    }

    async fn settle(
        &self,
        settle: Duration,
        cancel: &CancellationToken,
    ) -> Result<(), PropagationError> {
        let settle = settle.min(LONGEST_SETTLE);
        if settle.is_zero() {
            return Ok(());
        }
        self.events.emit(What::Waiting {
            reason: "the change to settle at every location of the name servers".to_owned(),
            at_most: Some(settle),
        });
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(PropagationError::Cancelled),
            () = sleep(settle) => Ok(()),
        }
    }
}

/// Why the values are not known to be visible.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PropagationError {
    /// The run was told to end.
    #[error("stopped while waiting for name servers to show the TXT values")]
    Cancelled,
    /// The time is up.
    #[error("{} after {}", report.summary(), report::brief(*waited))]
    NotVisible {
        /// What every server said last.
        report: Box<Report>,
        /// How long it was waited.
        waited: Duration,
    },
}

impl PropagationError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let diagnosis = self.diagnosis()?;
        let Self::NotVisible { report, .. } = self else {
            return None;
        };
        let name = report.unproven().next()?;
        Some(match name.was_heard() {
            // The values of this run are taken out again, and would be looked for in vain.
            true => format!(
                "{diagnosis}; `dnseal doctor` tries it without an order, and `dnseal dns set {owner} VALUE` adds a value that stays, for `dnseal dns check {owner} --value VALUE --watch`",
                owner = name.owner
            ),
            false => diagnosis,
        })
    }

    /// What is behind it, for who watches already.
    pub fn diagnosis(&self) -> Option<String> {
        let Self::NotVisible { report, .. } = self else {
            return None;
        };
        let name = report.unproven().next()?;
        let verdicts = || name.rows.iter().filter_map(|row| row.verdict.as_ref());
        let someone_has = verdicts().any(Verdict::has_it);
        let behind = name
            .rows
            .iter()
            .find(|row| row.verdict.as_ref().is_some_and(Verdict::lacks_it));
        Some(match (behind, someone_has) {
            (Some(row), _) if row.alias().is_some() => format!(
                "{} answers with an alias to {}, and no value can stand beside one: remove the alias, or let the value go to where it leads",
                row.server,
                row.alias().unwrap_or_default()
            ),
            (Some(row), true) => why_behind(row, name.newest().map(|(_, serial)| serial)),
            (Some(row), false) => {
                let has = match name.values.len() {
                    1 => "no server has the value",
                    _ => "no server has all of the values",
                };
                let others = match row.others() {
                    0 => String::new(),
                    1 => format!(", and {} answers with another", row.server),
                    n => format!(", and {} answers with {n} others", row.server),
                };
                format!(
                    "{has}{others}: whatever wrote it does not feed these servers, or is slow"
                )
            }
            (None, true) => "the other servers do not answer".to_owned(),
            (None, false) => {
                "no server answered: if port 53 is closed here, name servers that can be reached with `--nameserver`, or choose another proof with `--propagation`".to_owned()
            }
        })
    }
}

/// Why a server lacks what others have, by the serial numbers of the zone.
fn why_behind(row: &Row, newest: Option<u32>) -> String {
    let server = &row.server;
    let verdict = row.verdict.as_ref().map(ToString::to_string);
    let verdict = verdict.unwrap_or_default();
    match (row.zone_serial, newest) {
        (Some(serial), Some(newest)) if report::newer(newest, serial).is_gt() => {
            format!("{server} has not taken over the newest version of the zone")
        }
        (Some(serial), Some(_)) => format!(
            "{server} answers otherwise ({verdict}) and is not behind, at serial {serial}: is it another view of the zone, or not fed by the same source?"
        ),
        _ => format!(
            "{server} answers otherwise ({verdict}): it may not have taken over the newest version of the zone"
        ),
    }
}

/// Longer than any service needs, and every order waits for it; no delay of a provider or a user may be longer.
pub const LONGEST_SETTLE: Duration = Duration::from_secs(60 * 60);

#[cfg(test)]
mod tests;
