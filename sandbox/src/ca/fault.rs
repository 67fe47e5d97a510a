//! Faults on request: what networks, gateways and CAs do to clients on a bad day.
//!
//! A fault is planned for requests of one kind of [`Resource`] and counts them as they come, or it is a switch that
//! changes how the CA itself behaves. All are set through [`Faults`] while the CA runs, and none is random: where a
//! percentage is asked for, the seed is too.

use std::{fmt, sync::Arc, time::Duration};

use http::StatusCode;
use jiff::Timestamp;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{problem::ErrorKind, reply::http_date, route::Resource, server::Inner};

/// The switches of a running CA. Cheap to clone; all clones act on the same CA.
#[derive(Clone)]
pub struct Faults {
    inner: Arc<Inner>,
}

impl Faults {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    /// The next request for the resource meets the fault.
    pub fn next(&self, resource: Resource, fault: impl Into<Fault>) {
        self.plan(resource, 0, Some(1), fault.into());
    }

    /// The `n`-th next request for the resource meets the fault, and no other; 1 is the next.
    pub fn nth(&self, resource: Resource, n: u32, fault: impl Into<Fault>) {
        self.plan(resource, n.saturating_sub(1), Some(1), fault.into());
    }

    /// The next `count` requests for the resource meet the fault.
    pub fn times(&self, resource: Resource, count: u32, fault: impl Into<Fault>) {
        self.plan(resource, 0, Some(count), fault.into());
    }

    /// Every request for the resource meets the fault until [`clear`](Self::clear).
    pub fn always(&self, resource: Resource, fault: impl Into<Fault>) {
        self.plan(resource, 0, None, fault.into());
    }

    /// Forgets every fault.
    pub fn clear(&self) {
        *self.inner.faults() = FaultState::default();
    }

    /// How many planned faults may still strike; a test that waits until one has struck looks at this.
    pub fn planned(&self) -> usize {
        self.inner.faults().planned.len()
    }

    /// Rejects every `k`-th good nonce as `badNonce`; 0 switches it off, 1 rejects all.
    pub fn reject_every_nonce(&self, k: u32) {
        let mut faults = self.inner.faults();
        faults.nonces = match k {
            0 => NonceFault::None,
            every => NonceFault::Every { every, seen: 0 },
        };
    }

    /// Rejects so many per cent of the good nonces as `badNonce`, the same ones for the same seed.
    pub fn reject_nonces(&self, percent: u8, seed: u64) {
        let mut faults = self.inner.faults();
        faults.nonces = NonceFault::Percent {
            percent,
            random: Box::new(StdRng::seed_from_u64(seed)),
        };
    }

    /// Leaves `Replay-Nonce` out of refusals.
    pub fn omit_nonce_on_errors(&self, omit: bool) {
        self.inner.faults().omit_nonce_on_errors = omit;
    }

    /// Challenges that are answered from now on stay `processing` and are never validated.
    pub fn stuck_challenges(&self, stuck: bool) {
        self.inner.faults().stuck_challenges = stuck;
    }

    /// The next `count` validations that find the right value fail all the same, as if another vantage point had not
    /// seen it.
    pub fn fail_secondary_validations(&self, count: u32) {
        self.inner.faults().secondary_failures = count;
    }

    /// The next `count` orders that are finalized end `invalid`.
    pub fn invalid_finalizations(&self, count: u32) {
        self.inner.faults().invalid_finalizations = count;
    }

    /// Chains that are downloaded from now on are not what they should be; `None` makes them good again.
    pub fn tamper(&self, tamper: Option<Tamper>) {
        self.inner.faults().tamper = tamper;
    }

    fn plan(&self, resource: Resource, skip: u32, times: Option<u32>, fault: Fault) {
        self.inner.faults().planned.push(Planned {
            resource,
            skip,
            times,
            fault,
        });
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.inner.faults(), f)
    }
}

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It is not handled, and answered with this.
    Answer(Answer),
    /// It is handled after this time.
    Delay(Duration),
    /// It is handled, and the connection is cut instead of an answer.
    DropAfter,
    /// The connection is cut, and nothing else.
    DropBefore,
}

impl From<Answer> for Fault {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

/// A made-up answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) replay_nonce: bool,
}

impl Answer {
    /// Any answer; an impossible status becomes 500. It carries no nonce.
    pub fn new(status: u16, content_type: &str, body: impl Into<String>) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            body: body.into(),
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            replay_nonce: false,
        }
    }

    /// A problem document, with a nonce.
    pub fn problem(status: u16, kind: ErrorKind, detail: &str) -> Self {
        let body = serde_json::json!({ "type": kind.urn(), "detail": detail, "status": status });
        Self {
            replay_nonce: true,
            ..Self::new(status, "application/problem+json", body.to_string())
        }
    }

    /// What a gateway before the CA says when it says it in HTML.
    pub fn html(status: u16) -> Self {
        let body = format!(
            "<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>"
        );
        Self::new(status, "text/html", body)
    }

    /// A status and nothing else.
    pub fn empty(status: u16) -> Self {
        Self {
            headers: Vec::new(),
            ..Self::new(status, "", "")
        }
    }

    /// Adds `Retry-After` in seconds.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        self.header("retry-after", seconds.to_string())
    }

    /// Adds `Retry-After` as a date.
    #[must_use]
    pub fn retry_after_date(self, at: Timestamp) -> Self {
        self.header("retry-after", http_date(at))
    }

    /// Adds a `Link`, such as `rel="help"` of a rate limit (RFC 8555 section 6.6).
    #[must_use]
    pub fn link(self, url: &str, rel: &str) -> Self {
        self.header("link", format!("<{url}>;rel=\"{rel}\""))
    }

    /// Adds any header; one that HTTP does not allow is left out of the answer.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Whether the answer carries a fresh nonce.
    #[must_use]
    pub fn with_nonce(mut self, with: bool) -> Self {
        self.replay_nonce = with;
        self
    }
}

/// What is wrong with a downloaded chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tamper {
    /// Its leaf is for another key (RFC 8555 section 11.4).
    ForeignLeaf,
    /// Its leaf is for other names.
    OtherNames,
    /// It has a private key among its certificates (RFC 8555 section 11.4).
    PrivateKey,
    /// It ends in the middle of a certificate.
    Truncated,
}

/// The state of all switches.
#[derive(Debug, Default)]
pub(super) struct FaultState {
    planned: Vec<Planned>,
    nonces: NonceFault,
    pub(super) omit_nonce_on_errors: bool,
    pub(super) stuck_challenges: bool,
    secondary_failures: u32,
    invalid_finalizations: u32,
    pub(super) tamper: Option<Tamper>,
}

#[derive(Debug)]
struct Planned {
    resource: Resource,
    skip: u32,
    /// `None` is for ever.
    times: Option<u32>,
    fault: Fault,
}

#[derive(Debug, Default)]
enum NonceFault {
    #[default]
    None,
    Every {
        every: u32,
        seen: u32,
    },
    Percent {
        percent: u8,
        random: Box<StdRng>,
    },
}

impl FaultState {
    /// Counts a request, and tells what it meets. Of several plans that are due the oldest acts; the others wait.
    pub(super) fn meet(&mut self, resource: Resource) -> Option<Fault> {
        let mut met = None;
        for plan in self
            .planned
            .iter_mut()
            .filter(|plan| plan.resource == resource)
        {
            if plan.skip > 0 {
                plan.skip -= 1;
            } else if met.is_none() && plan.times != Some(0) {
                plan.times = plan.times.map(|times| times - 1);
                met = Some(plan.fault.clone());
            }
        }
        self.planned.retain(|plan| plan.times != Some(0));
        met
    }

    /// Whether a good nonce is to be rejected.
    pub(super) fn rejects_nonce(&mut self) -> bool {
        match &mut self.nonces {
            NonceFault::None => false,
            NonceFault::Every { every, seen } => {
                *seen += 1;
                if seen == every {
                    *seen = 0;
                    true
                } else {
                    false
                }
            }
            NonceFault::Percent { percent, random } => random.random_range(0..100) < *percent,
        }
    }

    pub(super) fn fails_validation(&mut self) -> bool {
        take_one(&mut self.secondary_failures)
    }

    pub(super) fn fails_finalization(&mut self) -> bool {
        take_one(&mut self.invalid_finalizations)
    }
}

fn take_one(count: &mut u32) -> bool {
    let some = *count > 0;
    *count = count.saturating_sub(1);
    some
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(resource: Resource, skip: u32, times: Option<u32>, fault: Fault) -> Planned {
        Planned {
            resource,
            skip,
            times,
            fault,
        }
    }

    #[test]
    fn plans_count_their_own_resource() {
        let mut faults = FaultState::default();
        faults
            .planned
            .push(planned(Resource::Order, 1, Some(1), Fault::DropAfter));
        assert_eq!(faults.meet(Resource::NewOrder), None);
        assert_eq!(faults.meet(Resource::Order), None);
        assert_eq!(faults.meet(Resource::Order), Some(Fault::DropAfter));
        assert_eq!(faults.meet(Resource::Order), None);
        assert!(faults.planned.is_empty());
    }

    #[test]
    fn of_two_plans_that_are_due_the_older_acts_first() {
        let mut faults = FaultState::default();
        faults
            .planned
            .push(planned(Resource::Order, 0, Some(1), Fault::DropAfter));
        faults
            .planned
            .push(planned(Resource::Order, 0, Some(1), Fault::DropBefore));
        assert_eq!(faults.meet(Resource::Order), Some(Fault::DropAfter));
        assert_eq!(faults.meet(Resource::Order), Some(Fault::DropBefore));
    }

    #[test]
    fn every_third_nonce() {
        let mut faults = FaultState {
            nonces: NonceFault::Every { every: 3, seen: 0 },
            ..FaultState::default()
        };
        let rejected: Vec<bool> = (0..6).map(|_| faults.rejects_nonce()).collect();
        assert_eq!(rejected, [false, false, true, false, false, true]);
    }

    #[test]
    fn percentages_repeat_with_their_seed() {
        let run = |seed| {
            let mut faults = FaultState {
                nonces: NonceFault::Percent {
                    percent: 50,
                    random: Box::new(StdRng::seed_from_u64(seed)),
                },
                ..FaultState::default()
            };
            (0..64).map(|_| faults.rejects_nonce()).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        assert!(run(7).contains(&true) && run(7).contains(&false));
    }
}
