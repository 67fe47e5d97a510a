//! How fast the API of one account is asked: a bucket of tokens that everything in this process shares.
//!
//! Route 53 counts all requests of an account, other machines' and the console's included, so that the share that is left is
//! learned from refusals: the first means that others are there, nobody knows how many, and leaves little of the rate; each
//! further one halves it, and time without one brings it back. That goes slowly, because all who share the account speed up
//! together, and whoever is refused then must find room a moment later. Below the full rate nothing is saved up for a burst.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use dnseal_core::event::Events;
use dnseal_core::event::What;
use tokio::time::Instant;

/// A limit that requests wait for, one after the other.
#[derive(Debug)]
pub(super) struct Limiter {
    bucket: Mutex<Bucket>,
    /// Held while waiting, so that whoever came first goes first.
    turn: tokio::sync::Mutex<()>,
}

impl Limiter {
    pub(super) fn new(rate: u32, burst: u32) -> Self {
        let (rate, burst) = (f64::from(rate.max(1)), f64::from(burst.max(1)));
        Self {
            bucket: Mutex::new(Bucket {
                burst,
                full_rate: rate,
                not_before: None,
                raised: None,
                rate,
                refused: None,
                told: None,
                tokens: burst,
                updated: None,
            }),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Returns when a request may be sent; a wait that a person would notice is told.
    pub(super) async fn acquire(&self, endpoint: &str, events: &Events) {
        let _turn = self.turn.lock().await;
        loop {
            let Some(wait) = self.with(|bucket| bucket.take(Instant::now())) else {
                return;
            };
            if wait >= NOTICED && self.with(|bucket| bucket.tell(Instant::now())) {
                events.emit(What::Waiting {
                    reason: format!("{endpoint} to take more requests of this account"),
                    at_most: Some(wait),
                });
            }
            tracing::debug!(?wait, "waiting for Route 53's request rate");
            tokio::time::sleep(wait).await;
        }
    }

    /// A request was refused for the rate.
    pub(super) fn refused(&self) {
        let jitter = rand::random::<f64>();
        self.with(|bucket| bucket.slow_down(Instant::now(), jitter));
    }

    /// A request was taken.
    pub(super) fn taken(&self) {
        self.with(|bucket| bucket.speed_up(Instant::now()));
    }

    fn with<T>(&self, act: impl FnOnce(&mut Bucket) -> T) -> T {
        act(&mut self.bucket.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[derive(Debug)]
struct Bucket {
    burst: f64,
    full_rate: f64,
    not_before: Option<Instant>,
    raised: Option<Instant>,
    rate: f64,
    refused: Option<Instant>,
    told: Option<Instant>,
    tokens: f64,
    updated: Option<Instant>,
}

impl Bucket {
    /// Takes a token, or says how long to wait for one.
    fn take(&mut self, now: Instant) -> Option<Duration> {
        if let Some(then) = self.not_before.filter(|then| *then > now) {
            return Some(then - now);
        }
        let since = self.updated.replace(now).unwrap_or(now);
        let gained = now.saturating_duration_since(since).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + gained).min(self.most());
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return None;
        }
        let wait = Duration::from_secs_f64((1.0 - self.tokens) / self.rate);
        // A wait of nothing would spin for the sake of a rounding error.
        Some(wait.max(Duration::from_millis(1)))
    }

    /// How many requests may go at once.
    fn most(&self) -> f64 {
        if self.rate < self.full_rate {
            self.rate.max(1.0)
        } else {
            self.burst
        }
    }

    fn slow_down(&mut self, now: Instant, jitter: f64) {
        let pause = Duration::from_secs(1).mul_f64(1.0 + jitter);
        self.not_before = self.not_before.max(Some(now + pause));
        self.tokens = 0.0;
        self.updated = self.not_before;
        // Requests that were under way together are one refusal.
        if self.refused.is_none_or(|then| now - then > MEMORY / 5) {
            let careful = self.full_rate * SHARE;
            self.rate = (self.rate / 2.0).min(careful).max(SLOWEST);
            self.refused = Some(now);
        }
    }

    /// Whether it is time to say again that there is a wait.
    fn tell(&mut self, now: Instant) -> bool {
        let again = self.told.is_none_or(|then| now - then > TOLD_EVERY);
        if again {
            self.told = Some(now);
        }
        again
    }

    fn speed_up(&mut self, now: Instant) {
        let Some(from) = self.refused.map(|then| then + MEMORY) else {
            return;
        };
        let since = self.raised.max(Some(from)).unwrap_or(from);
        // Time in which nothing was asked proves nothing.
        let quiet = now.saturating_duration_since(since).min(PROVEN);
        if now > from {
            let gained = self.full_rate * RECOVERY * quiet.as_secs_f64();
            self.rate = (self.rate + gained).min(self.full_rate);
            self.raised = Some(now);
        }
    }
}

/// Waits for a single token are shorter.
const NOTICED: Duration = Duration::from_millis(500);
/// For how long a refusal keeps the rate down.
const MEMORY: Duration = Duration::from_secs(5);
/// How much of the full rate comes back each second.
const RECOVERY: f64 = 0.01;
/// For how long before it a request that was taken speaks.
const PROVEN: Duration = Duration::from_secs(2);
/// What is left of the rate after a refusal, so that whatever is refused gets through the next time.
const SHARE: f64 = 0.1;
/// A wait is told again after this long.
const TOLD_EVERY: Duration = Duration::from_secs(5);
/// One request in two seconds gets through whatever others do.
const SLOWEST: f64 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        let limiter = Limiter::new(10, 50);
        let began = Instant::now();
        for _ in 0..50 {
            limiter.acquire("the API", &Events::silent()).await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        for _ in 0..20 {
            limiter.acquire("the API", &Events::silent()).await;
        }
        let took = began.elapsed().as_secs_f64();
        assert!((1.99..2.2).contains(&took), "{took}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_slows_everybody_down_and_is_forgotten() {
        let limiter = Limiter::new(10, 50);
        limiter.acquire("the API", &Events::silent()).await;
        for _ in 0..8 {
            limiter.refused();
        }
        let began = Instant::now();
        for _ in 0..10 {
            limiter.acquire("the API", &Events::silent()).await;
        }
        let took = began.elapsed().as_secs_f64();
        assert!(
            (11.0..12.5).contains(&took),
            "one pause and a tenth of the rate: {took}"
        );
        let began = Instant::now();
        while limiter.with(|bucket| bucket.rate) < 10.0 {
            limiter.acquire("the API", &Events::silent()).await;
            limiter.taken();
        }
        let took = began.elapsed().as_secs_f64();
        assert!(
            (60.0..120.0).contains(&took),
            "a hundredth a second: {took}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_saved_up_while_others_are_there() {
        let limiter = Limiter::new(10, 50);
        limiter.refused();
        tokio::time::sleep(Duration::from_secs(600)).await;
        let began = Instant::now();
        for _ in 0..5 {
            limiter.acquire("the API", &Events::silent()).await;
        }
        let took = began.elapsed().as_secs_f64();
        assert!((3.9..4.2).contains(&took), "one at once: {took}");
    }
}
