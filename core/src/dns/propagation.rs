//! Proof that the servers a CA will ask show the values.
//!
//! [`Propagation::await_visible`] asks every address of every authoritative server for each owner name until the quorum
//! is reached or the time is up. A first look is taken at once, then quickly, then slower; each address has a rhythm of
//! its own, so that a dead one holds up nobody, and one round at an address serves all the names that still wait for it.
//! No recursive resolver is asked. What came of it is a [`Report`], also when it fails.

mod probe;
mod report;
mod verdict;
mod watch;

use std::future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

pub use self::report::NameReport;
pub use self::report::Report;
pub use self::report::Row;
pub use self::verdict::Quorum;
pub use self::verdict::Unusable;
pub use self::verdict::Verdict;
use self::watch::Watch;
use crate::dns::DomainName;
use crate::dns::TxtValue;
use crate::dns::discovery::ZoneServers;
use crate::dns::query::Asker;
use crate::event::Events;
use crate::event::What;

/// When a value counts as visible, and how long to wait for that.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PropagationPolicy {
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
            quorum: Quorum::All,
            timeout: Duration::from_secs(5 * 60),
            grace: Duration::from_secs(10),
            settle: Duration::ZERO,
        }
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
}

impl Propagation {
    /// A propagation check that tells `events` about each verdict that changes.
    pub fn new(asker: Asker, policy: PropagationPolicy, events: Events) -> Self {
        Self {
            asker,
            events,
            policy,
        }
    }

    /// The same check, with at least this settle time.
    pub fn settling(&self, settle: Duration) -> Self {
        let mut longer = self.clone();
        longer.policy.settle = longer.policy.settle.max(settle);
        longer
    }

    /// How long it waits at most.
    pub fn timeout(&self) -> Duration {
        self.policy.timeout
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
        let watch = Watch::new(self, wanted, self.policy.grace, started);
        let probing = async {
            let addresses = watch.lock().by_address();
            join_all(addresses.into_iter().map(|(a, p)| watch.follow(a, p))).await;
            // All that is left to wait for is the grace of servers without an address.
            future::pending::<()>().await;
        };
        let all_proven = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(PropagationError::Cancelled),
            all_proven = watch.judge(started + self.policy.timeout, on_proven) => all_proven,
            () = probing => false,
        };

        if !all_proven {
            watch.find_serials().await;
            return Err(PropagationError::NotVisible {
                report: Box::new(watch.report()),
                waited: started.elapsed(),
            });
        }
        self.settle(cancel).await?;
        Ok(watch.report())
    }

    /// Looks once at every address, whatever it says. Broken servers are passed over at once.
    pub async fn look(&self, wanted: &[Wanted]) -> Report {
        let watch = Watch::new(self, wanted.to_vec(), Duration::ZERO, Instant::now());
        let addresses = watch.lock().by_address();
        let rounds = addresses.iter().map(|(address, places)| async {
            let mut heard = false;
            watch.round(*address, places, &mut heard).await;
        });
        join_all(rounds).await;
        watch.prove(Instant::now());
        if !watch.lock().names.iter().all(|name| name.proven) {
            watch.find_serials().await;
        }
        watch.report()
    }

    async fn settle(&self, cancel: &CancellationToken) -> Result<(), PropagationError> {
        let settle = self.policy.settle.min(LONGEST_SETTLE);
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
        match (name.values.first(), name.was_heard()) {
            (Some(value), true) => Some(format!(
                "{diagnosis}; see `dnseal dns check {} --value {} --watch`",
                name.owner,
                quoted(&value.to_string())
            )),
            _ => Some(diagnosis),
        }
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
            (Some(row), true) => {
                format!("{} has not taken over the newest version of the zone", row.server)
            }
            (Some(_), false) => {
                "no server has the value: whatever wrote it does not feed these servers, or is slow".to_owned()
            }
            (None, true) => "the other servers do not answer".to_owned(),
            (None, false) => {
                "no server answered: if port 53 is closed here, name servers that can be reached with `--nameserver`, or choose another proof with `--propagation`".to_owned()
            }
        })
    }
}

impl Wanted {
    fn server_name(&self, server: usize) -> String {
        let server = self.zone.servers.get(server);
        server.map(|s| s.name.clone()).unwrap_or_default()
    }
}

/// A word as a shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// Longer than any service says it needs.
const LONGEST_SETTLE: Duration = Duration::from_secs(10 * 60);

#[cfg(test)]
mod tests;
