//! Writing to zones: one task a zone, so that every change of a zone goes through one place.
//!
//! An order announces itself when it begins ([`ZoneWriters::announce`]) and hands over all changes of a zone at once. The zone's
//! task waits for the other announced orders, at most [`COALESCE`], and gives the provider what they all brought as one
//! batch. It retries what is retryable, and bisects a batch that is refused for one bad change, so that one bad name
//! fails alone. The task owns the provider's futures: whoever stops waiting for an answer never cuts a write in half. Values are counted: one that
//! two orders share is written once, and removed when both have let go of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::dns::Action;
use crate::dns::Applied;
use crate::dns::DomainName;
use crate::dns::Handle;
use crate::dns::NamedProvider;
use crate::dns::Outcome;
use crate::dns::ProviderError;
use crate::dns::Receipt;
use crate::dns::TxtChange;
use crate::dns::TxtValue;
use crate::dns::Zone;
use crate::event::Events;
use crate::event::What;

/// The writers of all zones of a run.
#[derive(Debug)]
pub struct ZoneWriters {
    announced: Arc<watch::Sender<usize>>,
    events: Events,
    patience: Duration,
    zones: Mutex<HashMap<(String, Zone), mpsc::UnboundedSender<Job>>>,
}

impl ZoneWriters {
    /// No zone has a writer yet; each gets one with its first change.
    pub fn new(events: Events) -> Self {
        Self {
            announced: Arc::new(watch::Sender::new(0)),
            events,
            patience: PATIENCE,
            zones: Mutex::default(),
        }
    }

    /// How long a provider that fails is tried again before that is a failure of the order; two minutes unless given.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Says that an order will bring changes soon. Zones with changes wait for it until the answer is dropped.
    pub fn announce(&self) -> Announcement {
        self.announced.send_modify(|n| *n += 1);
        Announcement {
            announced: self.announced.clone(),
        }
    }

    /// Hands changes to a zone's writer; the answer comes in the order of `changes`.
    ///
    /// The changes are handed over before this returns, so that an announcement may be dropped then. `cancel` stops waiting for
    /// a provider that asks to come back later; it never stops a call that runs.
    pub fn submit(
        &self,
        provider: &NamedProvider,
        zone: &Zone,
        changes: Vec<TxtChange>,
        cancel: &CancellationToken,
    ) -> Submission {
        let (reply, answer) = oneshot::channel();
        let mut job = Job {
            cancel: cancel.clone(),
            changes,
            reply,
        };
        let key = (provider.name.clone(), zone.clone());
        let mut zones = self.zones.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = zones.get(&key) {
            match sender.send(job) {
                Ok(()) => return Submission { answer },
                // Its task ended with the runtime that had started it.
                Err(back) => job = back.0,
            }
        }
        let (sender, jobs) = mpsc::unbounded_channel();
        let writer = ZoneWriter {
            announced: self.announced.subscribe(),
            counts: HashMap::new(),
            events: self.events.clone(),
            jobs,
            patience: self.patience,
            provider: provider.clone(),
            zone: zone.clone(),
        };
        // The receiver lives in the task below.
        let _ = sender.send(job);
        tokio::spawn(writer.run());
        zones.insert(key, sender);
        Submission { answer }
    }
}

/// An order that has not brought its changes yet.
#[derive(Debug)]
pub struct Announcement {
    announced: Arc<watch::Sender<usize>>,
}

impl Drop for Announcement {
    fn drop(&mut self) {
        self.announced.send_modify(|n| *n = n.saturating_sub(1));
    }
}

/// Changes that are with a zone's writer.
#[derive(Debug)]
pub struct Submission {
    answer: oneshot::Receiver<Written>,
}

impl Submission {
    /// Waits for what became of them.
    pub async fn written(self) -> Option<Written> {
        self.answer.await.ok()
    }
}

/// What became of the changes of one submission.
#[derive(Clone, Debug)]
pub struct Written {
    /// What the provider can be asked about.
    pub receipt: Receipt,
    /// One for each change.
    pub results: Vec<Result<Option<Handle>, WriteError>>,
}

/// Why one value could not be added or removed.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "cannot {action} the value at {owner} in zone {zone} through provider `{provider}`: {reason}"
)]
pub struct WriteError {
    /// What was to be done.
    pub action: Action,
    /// At which name.
    pub owner: DomainName,
    /// In which zone.
    pub zone: DomainName,
    /// By whom.
    pub provider: String,
    /// What went wrong.
    pub reason: WriteProblem,
    /// The value.
    pub value: TxtValue,
}

impl WriteError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match &self.reason {
            WriteProblem::Provider(error) => error.hint(),
            WriteProblem::Refused(_) | WriteProblem::Unknown(_) => None,
        }
    }

    /// Whether trying again later may help.
    pub fn is_retryable(&self) -> bool {
        match &self.reason {
            WriteProblem::Provider(error) => error.is_retryable(),
            WriteProblem::Refused(_) => false,
            WriteProblem::Unknown(_) => true,
        }
    }

    /// Whether the provider has had too much asked of it, also where it does not say until when.
    pub fn is_rate_limited(&self) -> bool {
        matches!(
            &self.reason,
            WriteProblem::Provider(ProviderError::RateLimited { .. })
        )
    }

    /// How long the provider asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match &self.reason {
            WriteProblem::Provider(error) => error.retry_after(),
            WriteProblem::Refused(_) | WriteProblem::Unknown(_) => None,
        }
    }
}

/// The three ways in which a change fails.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteProblem {
    /// The whole call failed.
    #[error(transparent)]
    Provider(ProviderError),
    /// This change was refused for good.
    #[error("{0}")]
    Refused(String),
    /// Nobody knows whether it happened, also after trying again.
    #[error("{0}")]
    Unknown(String),
}

#[derive(Debug)]
struct Job {
    cancel: CancellationToken,
    changes: Vec<TxtChange>,
    reply: oneshot::Sender<Written>,
}

type ValueKey = (DomainName, TxtValue);
type ChangeResult = Result<Option<Handle>, WriteProblem>;

struct ZoneWriter {
    announced: watch::Receiver<usize>,
    counts: HashMap<ValueKey, usize>,
    events: Events,
    jobs: mpsc::UnboundedReceiver<Job>,
    patience: Duration,
    provider: NamedProvider,
    zone: Zone,
}

impl ZoneWriter {
    async fn run(mut self) {
        while let Some(first) = self.jobs.recv().await {
            let jobs = self.gather(first).await;
            self.write(jobs).await;
        }
    }

    /// Everything that the announced orders bring, as far as it comes in time.
    async fn gather(&mut self, first: Job) -> Vec<Job> {
        let mut jobs = vec![first];
        let deadline = Instant::now() + COALESCE;
        loop {
            while let Ok(job) = self.jobs.try_recv() {
                jobs.push(job);
            }
            if *self.announced.borrow_and_update() == 0 {
                return jobs;
            }
            tokio::select! {
                changed = self.announced.changed() => if changed.is_err() { return jobs },
                job = self.jobs.recv() => match job {
                    Some(job) => jobs.push(job),
                    None => return jobs,
                },
                () = tokio::time::sleep_until(deadline) => return jobs,
            }
        }
    }

    async fn write(&mut self, jobs: Vec<Job>) {
        let mut batch: Vec<TxtChange> = Vec::new();
        let mut index: HashMap<ValueKey, usize> = HashMap::new();
        for change in jobs.iter().flat_map(|job| &job.changes) {
            let key = (change.owner.clone(), change.value.clone());
            let count = self.counts.entry(key.clone()).or_default();
            match change.action {
                Action::Add => *count += 1,
                Action::Remove => *count = count.saturating_sub(1),
            }
            let needed = match change.action {
                Action::Add => true,
                Action::Remove => *count == 0,
            };
            match index.get(&key) {
                // The last word about a value decides: it stays while anybody counts on it.
                Some(&at) if needed => batch[at] = change.clone(),
                Some(_) => {}
                None if needed => {
                    index.insert(key, batch.len());
                    batch.push(change.clone());
                }
                None => {}
            }
        }

        let cancels: Vec<CancellationToken> = jobs.iter().map(|j| j.cancel.clone()).collect();
        let (results, receipt) = self.apply(&batch, &cancels).await;

        for job in jobs {
            let results = job
                .changes
                .iter()
                .map(|change| {
                    let key = (change.owner.clone(), change.value.clone());
                    let result = match index.get(&key) {
                        Some(&at) => results[at].clone(),
                        None => Ok(None),
                    };
                    if result.is_err()
                        && change.action == Action::Add
                        && let Some(count) = self.counts.get_mut(&key)
                    {
                        *count = count.saturating_sub(1);
                    }
                    result.map_err(|reason| WriteError {
                        action: change.action,
                        owner: change.owner.clone(),
                        zone: self.zone.name.clone(),
                        provider: self.provider.name.clone(),
                        reason,
                        value: change.value.clone(),
                    })
                })
                .collect();
            // Whoever does not wait any more has written down what it has to withdraw.
            let _ = job.reply.send(Written {
                receipt: receipt.clone(),
                results,
            });
        }
        self.counts.retain(|_, count| *count > 0);
    }

    /// Applies a batch; what is refused as a whole is halved until each bad change stands alone.
    async fn apply(
        &self,
        batch: &[TxtChange],
        cancels: &[CancellationToken],
    ) -> (Vec<ChangeResult>, Receipt) {
        let mut receipt = Receipt::default();
        let endpoint = self.provider.provider.endpoint();
        let unanswered = WriteProblem::Unknown(format!("{endpoint} gave no answer for it"));
        let mut results: Vec<ChangeResult> = vec![Err(unanswered); batch.len()];
        let mut parts: Vec<Vec<usize>> = vec![(0..batch.len()).collect()];
        let mut calls = 0;
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            let changes: Vec<TxtChange> = part.iter().map(|&i| batch[i].clone()).collect();
            calls += 1;
            match self.apply_patiently(&changes, cancels).await {
                Ok(applied) => {
                    receipt.0.extend(applied.receipt.0);
                    for (&at, outcome) in part.iter().zip(applied.outcomes) {
                        results[at] = match outcome {
                            Outcome::Applied { handle } => Ok(handle),
                            Outcome::Refused { reason } => {
                                Err(WriteProblem::Refused(format!("{endpoint}: {reason}")))
                            }
                            Outcome::Unknown { reason } => {
                                Err(WriteProblem::Unknown(format!("{endpoint}: {reason}")))
                            }
                        };
                    }
                }
                Err(error @ ProviderError::Refused { .. })
                    if part.len() > 1 && calls < MAX_BISECTING_CALLS =>
                {
                    tracing::debug!(zone = %self.zone.name, %error, changes = part.len(), "bisecting");
                    let (left, right) = part.split_at(part.len() / 2);
                    parts.push(right.to_vec());
                    parts.push(left.to_vec());
                }
                Err(error) => {
                    for &at in &part {
                        results[at] = Err(WriteProblem::Provider(error.clone()));
                    }
                }
            }
        }
        (results, receipt)
    }

    /// Applies changes, and tries again what may succeed then.
    async fn apply_patiently(
        &self,
        changes: &[TxtChange],
        cancels: &[CancellationToken],
    ) -> Result<Applied, ProviderError> {
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut failures = 0;
        loop {
            let result = self.apply_once(changes).await;
            failures += usize::from(matches!(result, Err(ProviderError::Failed { .. })));
            let again = match &result {
                Ok(applied) => applied
                    .outcomes
                    .iter()
                    .any(|o| matches!(o, Outcome::Unknown { .. })),
                Err(error) => error.is_retryable(),
            };
            let asked = result.as_ref().err().and_then(ProviderError::retry_after);
            let wait = asked.unwrap_or(pause).max(pause);
            if !again
                || failures == MOST_FAILURES
                || started.elapsed().saturating_add(wait) > self.patience
            {
                return result;
            }
            let (reason, at_most) = match &result {
                Ok(_) => {
                    let endpoint = self.provider.provider.endpoint();
                    let reason = format!("{endpoint} to confirm changes of {}", self.zone.name);
                    (reason, Some(wait))
                }
                Err(error) => (
                    format!("{error}; again in {:.1}s", wait.as_secs_f64()),
                    None,
                ),
            };
            self.events.emit(What::Waiting { reason, at_most });
            tokio::select! {
                () = tokio::time::sleep(jittered(wait)) => {}
                () = all_cancelled(cancels) => return result,
            }
            pause = (pause * 2).min(SLOWEST_PAUSE);
        }
    }

    async fn apply_once(&self, changes: &[TxtChange]) -> Result<Applied, ProviderError> {
        let started = Instant::now();
        let result = self.provider.provider.apply(&self.zone, changes).await;
        let outcomes = result.as_ref().map_or(&[][..], |a| a.outcomes.as_slice());
        let applied = |action| {
            let pairs = changes.iter().zip(outcomes);
            pairs
                .filter(|(c, o)| c.action == action && matches!(o, Outcome::Applied { .. }))
                .count()
        };
        self.events.emit(What::ProviderCall {
            provider: self.provider.name.clone(),
            call: "apply",
            zone: Some(self.zone.name.clone()),
            adds: applied(Action::Add),
            removes: applied(Action::Remove),
            error: result.as_ref().err().map(ToString::to_string),
            elapsed: started.elapsed(),
        });
        match result {
            Ok(applied) if applied.outcomes.len() != changes.len() => Err(ProviderError::Refused {
                detail: format!(
                    "it answered for {} of {} changes, which is a bug in the provider",
                    applied.outcomes.len(),
                    changes.len()
                ),
                endpoint: self.provider.provider.endpoint(),
                hint: None,
            }),
            other => other,
        }
    }
}

async fn all_cancelled(cancels: &[CancellationToken]) {
    for cancel in cancels {
        cancel.cancelled().await;
    }
}

/// Up to a quarter more, so that machines that were refused together do not come back together.
fn jittered(wait: Duration) -> Duration {
    wait + wait.mul_f64(rand::random::<f64>() / 4.0)
}

/// How long a zone with changes waits for orders that announced themselves: long enough for orders that begin together,
/// and nothing beside the propagation that follows.
const COALESCE: Duration = Duration::from_millis(200);
/// Provider calls spent on finding bad changes in one batch: enough for some bad names among hundreds.
const MAX_BISECTING_CALLS: usize = 64;
/// A program of this machine that dies again and again is broken, unlike a service that is down: it is not run for minutes.
const MOST_FAILURES: usize = 3;
/// The first pause after a failed call.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Calls that fail again and again are not further apart than this.
const SLOWEST_PAUSE: Duration = Duration::from_secs(15);
/// After this long a provider that fails is a failure of the order.
const PATIENCE: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests;
