//! Trying a request again, when that can help and for a bounded time.
//!
//! Only faults that may pass are retried: no connection, no answer in time, a 5xx. A rate limit is waited for only
//! when it is over in seconds; any longer, and the caller learns until when. Every wait ends at once when the
//! future is dropped.

use std::time::Duration;

use backon::BackoffBuilder;
use backon::ExponentialBuilder;
use tokio::time::Instant;

use super::error::AcmeError;

/// How hard to try.
#[derive(Clone, Copy, Debug)]
pub(super) enum Retries {
    /// A first contact, where what is wrong is mostly a wrong URL; or a part of something that is tried again as a whole.
    Brief,
    /// A request that may safely arrive twice, in the middle of work that would be lost.
    Idempotent,
    /// A request whose fate has to be looked up before it is sent again.
    Never,
}

impl Retries {
    /// Runs the request until it succeeds, fails for good, or time is up.
    pub(super) async fn run<T, F, Fut>(self, mut request: F) -> Result<T, AcmeError>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, AcmeError>>,
    {
        let begin = Instant::now();
        let mut delays = ExponentialBuilder::new()
            .with_min_delay(MIN_DELAY)
            .with_max_delay(MAX_DELAY)
            .with_max_times(MAX_RETRIES)
            .with_jitter()
            .build();
        let mut first = true;
        loop {
            let error = match request().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let Some(delay) = delays.next().and_then(|delay| wait_for(&error, delay)) else {
                return Err(error);
            };
            let late = begin.elapsed() + delay > self.budget();
            if late && !(first && delay <= self.second_chance()) {
                return Err(error);
            }
            first = false;
            tracing::debug!(%error, ?delay, "asking the CA again");
            tokio::time::sleep(delay).await;
        }
    }

    fn budget(self) -> Duration {
        match self {
            Self::Brief => BRIEF_BUDGET,
            Self::Idempotent => BUDGET,
            Self::Never => Duration::ZERO,
        }
    }

    /// A request that took the whole budget to time out is still worth a second one after at most this.
    fn second_chance(self) -> Duration {
        match self {
            Self::Brief | Self::Never => Duration::ZERO,
            Self::Idempotent => MAX_DELAY,
        }
    }
}

/// Waits as long as a CA asked for, before the fate of a request is looked up; whether that was worth it.
pub(super) async fn heed(error: &AcmeError) -> bool {
    let Some(delay) = wait_for(error, Duration::ZERO).filter(|delay| *delay <= BUDGET) else {
        return false;
    };
    tokio::time::sleep(delay).await;
    true
}

/// How long to wait before the same request, where that can help at all.
fn wait_for(error: &AcmeError, delay: Duration) -> Option<Duration> {
    match error {
        _ if error.is_rate_limited() => error.retry_after().filter(|d| *d <= RATE_LIMIT_PATIENCE),
        _ if error.is_retryable() => Some(error.retry_after().map_or(delay, |d| d.max(delay))),
        _ => None,
    }
}

const MIN_DELAY: Duration = Duration::from_millis(250);
const MAX_DELAY: Duration = Duration::from_secs(8);
const MAX_RETRIES: usize = 8;
/// Long enough for a CA's load balancer to switch over, short enough that nobody thinks we hang.
const BUDGET: Duration = Duration::from_secs(30);
const BRIEF_BUDGET: Duration = Duration::from_secs(2);
/// Limits per second are over by then; limits per hour or week are for the caller to schedule.
const RATE_LIMIT_PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::answer::tests::answer;
    use super::*;

    async fn tried(
        retries: Retries,
        status: u16,
        headers: &[(&'static str, &str)],
    ) -> (usize, Duration) {
        let begin = Instant::now();
        let count = Cell::new(0);
        let result = retries
            .run(|| {
                count.set(count.get() + 1);
                std::future::ready(answer(status, headers, "").into_result())
            })
            .await;
        assert!(result.is_err());
        (count.get(), begin.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn server_faults_are_tried_again_for_a_bounded_time() {
        let (count, elapsed) = tried(Retries::Idempotent, 503, &[]).await;
        assert!((4..=9).contains(&count), "{count}");
        assert!(elapsed <= BUDGET, "{elapsed:?}");
        let (count, elapsed) = tried(Retries::Brief, 503, &[]).await;
        assert!((2..=5).contains(&count), "{count}");
        assert!(elapsed <= BRIEF_BUDGET, "{elapsed:?}");
        assert_eq!(tried(Retries::Never, 503, &[]).await.0, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_servers_own_time_is_kept_or_reported() {
        assert_eq!(
            tried(Retries::Idempotent, 503, &[("retry-after", "60")])
                .await
                .0,
            1
        );
        let (count, elapsed) = tried(Retries::Idempotent, 503, &[("retry-after", "9")]).await;
        assert_eq!(count, 4);
        assert!(elapsed >= Duration::from_secs(27), "{elapsed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_hung_for_long_gets_a_second_one() {
        let count = Cell::new(0);
        let result: Result<(), _> = Retries::Idempotent
            .run(|| async {
                count.set(count.get() + 1);
                tokio::time::sleep(BUDGET * 2).await;
                answer(503, &[], "").into_result().map(drop)
            })
            .await;
        assert!(result.is_err());
        assert_eq!(count.get(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn rate_limits_are_waited_for_only_when_short() {
        assert_eq!(tried(Retries::Idempotent, 429, &[]).await.0, 1);
        assert_eq!(
            tried(Retries::Idempotent, 429, &[("retry-after", "11")])
                .await
                .0,
            1
        );
        assert!(
            tried(Retries::Idempotent, 429, &[("retry-after", "2")])
                .await
                .0
                > 2
        );
        assert_eq!(tried(Retries::Idempotent, 403, &[]).await.0, 1);
    }
}
