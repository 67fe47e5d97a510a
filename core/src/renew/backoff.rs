//! How long a certificate is left alone after a try that failed.
//!
//! 1, 10, 100 minutes, then a day and a little more or less, so that not everybody who failed together tries again together.
//! Never longer than a tenth of what the certificate lives, because a short-lived one has no days to lose.

use std::time::Duration;

use jiff::SignedDuration;
use jiff::Timestamp;

use super::draw;
use crate::dns::Identifier;
use crate::store::Failure;

/// A try that failed.
#[derive(Clone, Copy, Debug)]
pub struct Failed<'a> {
    /// For which names.
    pub names: &'a [Identifier],
    /// Why.
    pub error: &'a str,
    /// How long the CA or the provider asked to be left alone.
    pub retry_after: Option<Duration>,
    /// How long the certificate lives that is in force.
    pub lifetime: Option<SignedDuration>,
}

impl Failed<'_> {
    /// What to remember of it, after what is remembered already.
    pub fn after(self, earlier: Option<&Failure>, now: Timestamp) -> Failure {
        let same = |failure: &&Failure| same_names(&failure.names, self.names);
        let earlier = earlier.filter(same);
        let times = earlier.map_or(0, |e| e.times).saturating_add(1);
        let mut pause = pause(times, self.names);
        if let Some(lifetime) = self.lifetime {
            pause = pause.min((lifetime / 10).max(SHORTEST));
        }
        let asked = self
            .retry_after
            .and_then(|after| SignedDuration::try_from(after).ok())
            .map_or(SignedDuration::ZERO, |after| after.min(LONGEST_ASKED));
        Failure {
            names: self.names.to_vec(),
            times,
            since: earlier.map_or(now, |e| e.since),
            last: now,
            again: now.checked_add(pause.max(asked)).unwrap_or(now),
            error: self.error.chars().take(LONGEST_ERROR).collect(),
        }
    }
}

fn pause(times: u32, names: &[Identifier]) -> SignedDuration {
    match times {
        0 | 1 => SignedDuration::from_mins(1),
        2 => SignedDuration::from_mins(10),
        3 => SignedDuration::from_mins(100),
        _ => {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            let share = draw(&[&names.join(","), &times.to_string()]);
            let minutes = DAY_FROM + (share * DAY_SPREAD) as i64;
            SignedDuration::from_mins(minutes)
        }
    }
}

fn same_names(a: &[Identifier], b: &[Identifier]) -> bool {
    let sorted = |names: &[Identifier]| {
        let mut names = names.to_vec();
        names.sort();
        names
    };
    sorted(a) == sorted(b)
}

/// A day less a tenth, in minutes, and how much may be added to it.
const DAY_FROM: i64 = 24 * 60 * 9 / 10;
const DAY_SPREAD: f64 = 24.0 * 60.0 / 5.0;
const SHORTEST: SignedDuration = SignedDuration::from_secs(1);
/// Rate limits by the week are over by then, mostly; more would be forgetting.
const LONGEST_ASKED: SignedDuration = SignedDuration::from_hours(48);
/// A whole table of name servers is for the terminal.
const LONGEST_ERROR: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(names: &[Identifier]) -> Failed<'_> {
        Failed {
            names,
            error: "no",
            retry_after: None,
            lifetime: Some(SignedDuration::from_hours(90 * 24)),
        }
    }

    #[test]
    fn one_ten_a_hundred_minutes_then_daily() {
        let names: Vec<Identifier> = vec!["a.test".parse().unwrap(), "b.test".parse().unwrap()];
        let swapped: Vec<Identifier> = names.iter().rev().cloned().collect();
        let begin = Timestamp::UNIX_EPOCH;
        let mut failure: Option<Failure> = None;
        let mut now = begin;
        for (times, minutes) in [(1, 1..=1), (2, 10..=10), (3, 100..=100), (4, 1296..=1584)] {
            let next =
                failed(if times % 2 == 0 { &swapped } else { &names }).after(failure.as_ref(), now);
            assert_eq!((next.times, next.since, next.last), (times, begin, now));
            let pause = next.again.duration_since(now).as_mins();
            assert!(minutes.contains(&pause), "{pause}");
            now = next.again;
            failure = Some(next);
        }
        let others = ["c.test".parse().unwrap()];
        assert_eq!(failed(&others).after(failure.as_ref(), now).times, 1);
        // Not everybody on the same minute.
        let many: std::collections::BTreeSet<i64> = (0..50)
            .map(|n| pause(4, &[format!("h{n}.test").parse().unwrap()]).as_mins())
            .collect();
        assert!(many.len() > 20, "{many:?}");
    }

    #[test]
    fn what_was_asked_for_is_heeded_and_short_lives_are_not_slept_through() {
        let names: Vec<Identifier> = vec!["a.test".parse().unwrap()];
        let now = Timestamp::UNIX_EPOCH;
        let asked = Failed {
            retry_after: Some(Duration::from_secs(7200)),
            ..failed(&names)
        };
        assert_eq!(
            asked.after(None, now).again,
            now + SignedDuration::from_hours(2)
        );
        let short = Failed {
            lifetime: Some(SignedDuration::from_secs(60)),
            ..failed(&names)
        };
        assert_eq!(
            short.after(None, now).again,
            now + SignedDuration::from_secs(6)
        );
    }
}
