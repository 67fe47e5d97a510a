//! How many requests a credential may make, and when the next one may go.
//!
//! The API counts 1,200 requests in 5 minutes for all uses of a token together, and then refuses everything for 5 minutes.
//! So every provider of the process with the same credential shares one [`Limiter`]. It keeps below the quota by itself, learns
//! another quota from `Ratelimit-Policy`, goes slower when `Ratelimit` says that little is left, because others use the token
//! too, and stays away for as long as a refusal says.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use dnseal_core::event::Events;
use dnseal_core::event::What;
use dnseal_core::web::retry_after;
use reqwest::header::HeaderMap;
use tokio::time::Instant;

/// Lets requests of one credential through, one by one.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    state: Mutex<State>,
}

impl Limiter {
    /// The limiter of the credential that has this digest.
    pub(super) fn shared(digest: [u8; 32]) -> Arc<Self> {
        static ALL: LazyLock<Mutex<HashMap<[u8; 32], Arc<Limiter>>>> =
            LazyLock::new(Mutex::default);
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(digest).or_default().clone()
    }

    /// Returns when a request may go, or at once with how long it would have to wait if that is too long.
    pub(super) async fn admit(&self, endpoint: &str, events: &Events) -> Result<(), Wait> {
        loop {
            let wait = {
                let mut state = self.state();
                let now = Instant::now();
                let Some(wait) = state.wait(now) else {
                    state.sent.push_back(now);
                    return Ok(());
                };
                if wait > LONGEST_WAIT {
                    let closed = state.closed_until.is_some_and(|until| until > now);
                    return Err(Wait { closed, wait });
                }
                if state.told.is_none_or(|told| now - told > TOLD_EVERY) && wait > UNTOLD {
                    state.told = Some(now);
                    events.emit(What::Waiting {
                        reason: format!("{endpoint} to take more requests ({})", state.rates()),
                        at_most: Some(wait),
                    });
                }
                wait
            };
            // Requests that wait together do not go together.
            tokio::time::sleep(wait.mul_f64(1.0 + rand::random::<f64>() / 10.0)).await;
        }
    }

    /// Learns from an answer's headers.
    pub(super) fn answered(&self, headers: &HeaderMap) {
        let mut state = self.state();
        state.learn(headers);
        let pace = state.slowest_pace();
        state.penalty = match state.penalty.mul_f64(RELIEF) {
            shorter if shorter <= pace => Duration::ZERO,
            shorter => shorter,
        };
    }

    /// Learns from a refusal (429), and says for how long to stay away.
    pub(super) fn refused(&self, headers: &HeaderMap) -> Duration {
        let mut state = self.state();
        state.learn(headers);
        let asked = retry_after(headers)
            .map(|pause| pause.min(LONGEST))
            .or_else(|| state.closed_until.map(|until| until - Instant::now()));
        // Others use the token too, and are refused at the same time: each goes slower for long, and comes back at
        // another moment. Requests that were on their way together are refused together, which is one refusal.
        let now = Instant::now();
        let pace = state.slowest_pace();
        if state.refused_at.is_none_or(|at| now - at > TOGETHER) {
            state.penalty = (state.penalty * 2).clamp(pace * 8, pace * 32);
        }
        state.refused_at = Some(now);
        let spread = state.penalty.mul_f64(rand::random::<f64>());
        let away = asked.unwrap_or(state.slowest_window().min(UNSAID));
        let until = now + away + spread;
        state.closed_until = Some(state.closed_until.map_or(until, |old| old.max(until)));
        away
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request may not go for so long that the caller should know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    /// Whether the server said so.
    pub(super) closed: bool,
    /// How long.
    pub(super) wait: Duration,
}

#[derive(Debug)]
struct State {
    closed_until: Option<Instant>,
    /// The least time between two requests, because the server says that little is left.
    pace: Duration,
    /// The least time between two requests, because the server refused one.
    penalty: Duration,
    policies: Vec<Policy>,
    refused_at: Option<Instant>,
    /// When requests went, the newest last.
    sent: VecDeque<Instant>,
    told: Option<Instant>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            closed_until: None,
            pace: Duration::ZERO,
            penalty: Duration::ZERO,
            policies: vec![DOCUMENTED],
            refused_at: None,
            sent: VecDeque::new(),
            told: None,
        }
    }
}

impl State {
    /// How long until a request may go; `None` if it may go now.
    fn wait(&mut self, now: Instant) -> Option<Duration> {
        let longest = self.policies.iter().map(Policy::padded).max();
        while self
            .sent
            .front()
            .is_some_and(|at| longest.is_none_or(|window| now - *at >= window))
        {
            self.sent.pop_front();
        }
        let mut at = self.closed_until.unwrap_or(now);
        if let Some(last) = self.sent.back() {
            at = at.max(*last + self.pace.max(self.penalty));
        }
        for policy in &self.policies {
            let Some(first) = self.sent.len().checked_sub(policy.quota) else {
                continue;
            };
            if let Some(first) = self.sent.get(first) {
                at = at.max(*first + policy.padded());
            }
        }
        (at > now).then(|| at - now)
    }

    fn learn(&mut self, headers: &HeaderMap) {
        let now = Instant::now();
        let policies: Vec<Policy> = items(headers, "ratelimit-policy")
            .filter_map(|item| Some((item.get("q")?, item.get("w")?)))
            .filter(|(q, w)| *q > 0 && *w > 0)
            .map(|(quota, window)| Policy {
                quota: usize::try_from(quota).unwrap_or(usize::MAX),
                window: seconds(window),
            })
            .collect();
        if !policies.is_empty() {
            self.policies = policies;
        }
        let quota = self.policies.iter().map(|p| p.quota).min().unwrap_or(1);
        self.pace = Duration::ZERO;
        for (left, reset) in
            items(headers, "ratelimit").filter_map(|item| Some((item.get("r")?, item.get("t")?)))
        {
            let reset = seconds(reset);
            let left = usize::try_from(left).unwrap_or(usize::MAX);
            if left == 0 {
                // Who did not use it all up shares it, with others who will be back at the same moment.
                let own = self
                    .sent
                    .iter()
                    .filter(|at| now - **at < self.slowest_window());
                if own.count() < quota {
                    self.penalty = self.penalty.max(self.slowest_pace() * 8);
                }
                let until = now + reset + self.penalty.mul_f64(rand::random::<f64>());
                self.closed_until = Some(self.closed_until.map_or(until, |old| old.max(until)));
            } else if left.saturating_mul(10) <= quota {
                let left = u32::try_from(left).unwrap_or(u32::MAX);
                self.pace = self.pace.max(reset / left.saturating_add(1));
            }
        }
    }

    fn slowest_pace(&self) -> Duration {
        let paces = self.policies.iter().map(|p| {
            let quota = u32::try_from(p.quota).unwrap_or(u32::MAX);
            p.window / quota.max(1)
        });
        paces.max().unwrap_or(Duration::ZERO)
    }

    fn slowest_window(&self) -> Duration {
        let windows = self.policies.iter().map(|p| p.window);
        windows.max().unwrap_or(DOCUMENTED.window)
    }

    fn rates(&self) -> String {
        let rates: Vec<String> = self.policies.iter().map(ToString::to_string).collect();
        rates.join(", ")
    }
}

/// So many requests in so much time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Policy {
    quota: usize,
    window: Duration,
}

impl Policy {
    /// The window with what requests may lose or gain on their way.
    fn padded(&self) -> Duration {
        self.window + self.window / 20 + Duration::from_millis(20)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}s", self.quota, self.window.as_secs())
    }
}

/// The parameters of one item of a `Ratelimit` header, such as `"default";r=50;t=30`.
struct Item<'a>(&'a str);

impl Item<'_> {
    fn get(&self, key: &str) -> Option<u64> {
        self.0.split(';').skip(1).find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            (name.trim() == key)
                .then(|| value.trim().parse().ok())
                .flatten()
        })
    }
}

fn items<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = Item<'a>> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .map(Item)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds).min(LONGEST)
}

/// What is documented for a user or an account token.
const DOCUMENTED: Policy = Policy {
    quota: 1200,
    window: Duration::from_secs(300),
};
/// No server means more than a day.
const LONGEST: Duration = Duration::from_hours(24);
/// Longer than this nobody waits without the caller knowing why.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// How long to stay away where a refusal does not say.
const UNSAID: Duration = Duration::from_secs(5);
/// How much of the distance between requests is left after each that was served.
const RELIEF: f64 = 0.95;
/// Refusals closer than this were caused together.
const TOGETHER: Duration = Duration::from_millis(500);
/// Shorter waits are not worth a word.
const UNTOLD: Duration = Duration::from_millis(100);
/// A wait is told again after this long.
const TOLD_EVERY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            (
                reqwest::header::HeaderName::from_static(name),
                value.parse().unwrap(),
            )
        });
        pairs.collect()
    }

    async fn admitted(limiter: &Limiter, count: usize) -> Duration {
        let began = Instant::now();
        for _ in 0..count {
            limiter.admit("it", &Events::silent()).await.unwrap();
        }
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn the_documented_quota_goes_at_once_and_no_more() {
        let limiter = Limiter::default();
        assert_eq!(admitted(&limiter, 1200).await, Duration::ZERO);
        let wait = limiter.admit("it", &Events::silent()).await.unwrap_err();
        assert!(!wait.closed);
        assert!(wait.wait >= Duration::from_secs(300));
    }

    #[tokio::test(start_paused = true)]
    async fn a_learned_quota_is_kept() {
        let limiter = Limiter::default();
        limiter.answered(&headers(&[(
            "ratelimit-policy",
            "\"default\";q=5;w=1, \"burst\";q=100;w=60",
        )]));
        assert_eq!(admitted(&limiter, 5).await, Duration::ZERO);
        let took = admitted(&limiter, 5).await;
        assert!(took >= Duration::from_secs(1), "{took:?}");
        assert!(took < Duration::from_secs(2), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_is_spread() {
        let limiter = Limiter::default();
        limiter.answered(&headers(&[("ratelimit", "\"default\";r=9;t=10")]));
        let took = admitted(&limiter, 10).await;
        assert!(took >= Duration::from_secs(9), "{took:?}");
        limiter.answered(&headers(&[("ratelimit", "\"default\";r=0;t=15")]));
        let took = admitted(&limiter, 1).await;
        assert!(took >= Duration::from_secs(15), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_obeyed_and_told() {
        let limiter = Limiter::default();
        let (events, mut told) = Events::channel();
        let away = limiter.refused(&headers(&[("retry-after", "7")]));
        assert_eq!(away, Duration::from_secs(7));
        let began = Instant::now();
        limiter.admit("the API", &events).await.unwrap();
        assert!(began.elapsed() >= Duration::from_secs(7));
        match told.recv().await.unwrap().what {
            What::Waiting { reason, at_most } => {
                assert_eq!(reason, "the API to take more requests (1200 in 300s)");
                assert!(at_most.unwrap() >= Duration::from_secs(7));
            }
            other => panic!("{other:?}"),
        }

        limiter.refused(&headers(&[("retry-after", "240")]));
        let wait = limiter.admit("the API", &events).await.unwrap_err();
        assert!(wait.closed && wait.wait >= Duration::from_secs(240));
        assert!(wait.wait < Duration::from_secs(245), "{wait:?}");
    }
}
