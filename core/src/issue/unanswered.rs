//! Writes that were begun and of which nobody has heard the end, because the run was killed while a program of its own made them.
//!
//! Such a program outlives its run, and may write a value after the next run has found nothing to withdraw. So the head says which runs
//! have begun to write or to remove a value by a program ([`Published::unanswered`]), and whoever comes next waits until no program of those
//! runs is left, for as long as one call may take. Where one stays, or where the system does not show them, the value is withdrawn and
//! stays in the head as well, for the next run or `dns gc` to withdraw it once more.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::Engine;
use super::publish::same_value;
use crate::event::Events;
use crate::event::What;
use crate::processes;
use crate::store::Head;
use crate::store::HeadSession;
use crate::store::Published;
use crate::store::Unanswered;

/// Waits for programs that earlier runs have left at work on these values, until `over` at the latest. Gives the values that one may
/// still write.
pub(super) async fn settle(
    engine: &Engine,
    session: &HeadSession,
    values: &[Published],
    over: impl Future<Output = ()>,
    events: &Events,
) -> Vec<Published> {
    let mut open: Vec<Open<'_>> = values
        .iter()
        .filter_map(|value| Open::of(value, outlives(engine, value)?))
        .collect();
    if open.is_empty() {
        return Vec::new();
    }
    let now = Timestamp::now();
    // A store that takes nothing any more keeps no value in DNS.
    let _ = session.update(|head| know(head, values, now)).await;
    let started = Instant::now();
    let mut told = false;
    tokio::pin!(over);
    loop {
        let mut at_work = BTreeSet::new();
        open.retain(|open| open.is_still(now, &mut at_work));
        let rest = open.iter().map(|open| open.rest(now)).max();
        let rest = rest.unwrap_or_default().saturating_sub(started.elapsed());
        // Whom we cannot see we need not wait for.
        if rest.is_zero() || at_work.is_empty() {
            break;
        }
        if !told {
            told = true;
            events.emit(What::Waiting {
                reason: format!(
                    "{}, which an earlier run has left and which may still write",
                    listed(&at_work)
                ),
                at_most: Some(rest),
            });
        }
        tokio::select! {
            biased;
            () = &mut over => break,
            () = tokio::time::sleep(LOOK_AGAIN.min(rest)) => {}
        }
    }
    open.into_iter().map(|open| open.value.clone()).collect()
}

/// That a program of this run begins to write these values, or to remove them.
pub(super) fn begin(engine: &Engine, head: &mut Head, values: &[Published]) {
    let this = processes::this_run();
    for entry in among(head, values) {
        if outlives(engine, entry).is_some() && !entry.unanswered.iter().any(|u| u.run == this) {
            entry.unanswered.push(Unanswered {
                run: this.to_owned(),
                known: None,
            });
        }
    }
}

/// That it has ended.
pub(super) fn end(head: &mut Head, values: &[Published]) {
    for entry in among(head, values) {
        entry.unanswered.retain(is_of_another);
    }
}

/// A value that a program of an earlier run may be at work on.
struct Open<'v> {
    /// How long a call takes at most.
    outlives: Duration,
    value: &'v Published,
}

impl<'v> Open<'v> {
    fn of(value: &'v Published, outlives: Duration) -> Option<Self> {
        let mut unanswered = value.unanswered.iter();
        unanswered
            .any(is_of_another)
            .then_some(Self { outlives, value })
    }

    fn calls(&self) -> impl Iterator<Item = &Unanswered> {
        self.value.unanswered.iter().filter(|u| is_of_another(u))
    }

    /// Whether it may be; adds the processes that are.
    fn is_still(&self, now: Timestamp, at_work: &mut BTreeSet<u32>) -> bool {
        let mut is_still = false;
        for call in self.calls() {
            is_still |= match processes::left_by(&call.run) {
                Some(left) => {
                    let counts = since(call, now) < LONGEST && !left.is_empty();
                    at_work.extend(left.into_iter().filter(|_| counts));
                    counts
                }
                None => since(call, now) < self.outlives,
            };
        }
        is_still
    }

    /// How much longer a call may take.
    fn rest(&self, now: Timestamp) -> Duration {
        let rests = self
            .calls()
            .map(|call| self.outlives.saturating_sub(since(call, now)));
        rests.max().unwrap_or_default()
    }
}

/// From now on the ends of these calls are waited for.
fn know(head: &mut Head, values: &[Published], now: Timestamp) {
    for entry in among(head, values) {
        for call in entry.unanswered.iter_mut().filter(|u| is_of_another(u)) {
            call.known.get_or_insert(now);
        }
    }
}

fn among<'h>(head: &'h mut Head, values: &[Published]) -> impl Iterator<Item = &'h mut Published> {
    let is_meant = |entry: &&mut Published| values.iter().any(|value| same_value(value, entry));
    head.published.iter_mut().filter(is_meant)
}

/// How long its run has been known to be over.
fn since(call: &Unanswered, now: Timestamp) -> Duration {
    let known = call.known.unwrap_or(now);
    // A clock that was set back.
    Duration::try_from(now.duration_since(known)).unwrap_or_default()
}

fn is_of_another(call: &Unanswered) -> bool {
    call.run != processes::this_run()
}

fn outlives(engine: &Engine, value: &Published) -> Option<Duration> {
    let provider = engine.zones.provider(&value.provider).ok()?;
    provider.provider.capabilities().outlives
}

fn listed(processes: &BTreeSet<u32>) -> String {
    let numbers: Vec<String> = processes.iter().map(u32::to_string).collect();
    match numbers.as_slice() {
        [one] => format!("process {one}"),
        several => format!("processes {}", several.join(", ")),
    }
}

const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// What has run for a day is no write any more, but something that a script has left in the background.
const LONGEST: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;

    fn value(calls: &[(&str, Option<Timestamp>)]) -> Published {
        let calls = calls.iter().map(|&(run, known)| Unanswered {
            run: run.to_owned(),
            known,
        });
        Published {
            endpoint: String::new(),
            provider: "p".to_owned(),
            zone: crate::dns::Zone {
                id: String::new(),
                name: "example.test".parse().unwrap(),
            },
            owner: "_acme-challenge.example.test".parse().unwrap(),
            value: "v".parse().unwrap(),
            ttl: 1,
            handle: None,
            since: Timestamp::UNIX_EPOCH,
            unanswered: calls.collect(),
        }
    }

    #[test]
    fn calls_of_other_runs_are_waited_for_and_not_for_ever() {
        let now = Timestamp::UNIX_EPOCH + Duration::from_secs(1000);
        let minute = Duration::from_secs(60);
        assert!(Open::of(&value(&[]), minute).is_none());
        let ours = (processes::this_run(), None);
        assert!(Open::of(&value(&[ours]), minute).is_none());
        let rest = |value: &Published| Open::of(value, minute).unwrap().rest(now);
        assert_eq!(rest(&value(&[ours, ("a", None)])), minute);
        let ago = |seconds| Some(now - Duration::from_secs(seconds));
        assert_eq!(rest(&value(&[("a", ago(59))])), Duration::from_secs(1));
        assert_eq!(rest(&value(&[("a", ago(61))])), Duration::ZERO);
        // The clock was set back.
        assert_eq!(rest(&value(&[("a", Some(now + minute))])), minute);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_run_without_processes_is_over() {
        let mut at_work = BTreeSet::new();
        let value = value(&[("a-run-that-never-was", None)]);
        let open = Open::of(&value, Duration::from_secs(60)).unwrap();
        assert!(!open.is_still(Timestamp::now(), &mut at_work));
        assert!(at_work.is_empty());
    }
}
