//! Waiting for a CA: looking at the order again and again, at the pace that the CA asks for (RFC 8555 section 7.4).
//!
//! Only the order is looked at, one request however many names it has. Its authorizations are read when it has ended
//! badly or time is up, because they hold the reason. The CA's Retry-After is kept within bounds; without one, the
//! first looks come quickly and the later ones slowly, and an order of many names is given more time from the start.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::account::Account;
use super::authorization::Authorization;
use super::authorization::AuthorizationStatus;
use super::order::Order;
use super::order::OrderStatus;
use super::order_error::OrderError;

/// How long to wait, and what ends the waiting early.
#[derive(Clone, Debug)]
pub struct Wait {
    /// The longest that the whole wait may take.
    pub deadline: Duration,
    /// Ends it at once.
    pub cancel: CancellationToken,
}

impl Account {
    /// Waits until the CA has judged every authorization; the order is then ready, or further than that.
    pub async fn await_ready(&self, order_url: &str, wait: &Wait) -> Result<Order, OrderError> {
        let done = |order: &Order| {
            matches!(
                order.status,
                OrderStatus::Ready | OrderStatus::Processing | OrderStatus::Valid
            )
        };
        self.poll(order_url, wait, done).await
    }

    /// Waits until the CA has made the certificate.
    pub async fn await_certificate(
        &self,
        order_url: &str,
        wait: &Wait,
    ) -> Result<Order, OrderError> {
        let done =
            |order: &Order| order.status == OrderStatus::Valid && order.certificate.is_some();
        self.poll(order_url, wait, done).await
    }

    /// Waits until the CA has judged these authorizations, of an order that has others beside them.
    pub async fn await_judged(
        &self,
        order_url: &str,
        authorizations: &[String],
        wait: &Wait,
    ) -> Result<(), OrderError> {
        let account = self.with_cancel(&wait.cancel);
        let begin = Instant::now();
        let mut pace = Pace::default();
        let mut delay = FIRST_LOOK;
        loop {
            let left = wait.deadline.saturating_sub(begin.elapsed());
            account.sleep("order", delay.min(left)).await?;
            let left = wait.deadline.saturating_sub(begin.elapsed());
            let failed = match account.authorizations(authorizations).await {
                Ok(found) => {
                    let valid = |a: &Authorization| a.status == AuthorizationStatus::Valid;
                    if found.iter().all(valid) {
                        return Ok(());
                    }
                    delay = pace.next(None, authorizations.len());
                    found.iter().any(|a| a.failure().is_some())
                }
                Err(error) if error.is_retryable() && !left.is_zero() => {
                    delay = pace.next(error.retry_after(), 0);
                    false
                }
                Err(error) => return Err(error),
            };
            // The order of one that has failed has failed, too, and time that is up is told as for all of it.
            if failed || left.is_zero() {
                let wait = Wait {
                    deadline: left,
                    cancel: wait.cancel.clone(),
                };
                return self.await_ready(order_url, &wait).await.map(drop);
            }
        }
    }

    async fn poll(
        &self,
        order_url: &str,
        wait: &Wait,
        done: impl Fn(&Order) -> bool,
    ) -> Result<Order, OrderError> {
        let account = self.with_cancel(&wait.cancel);
        let begin = Instant::now();
        let mut pace = Pace::default();
        let mut delay = FIRST_LOOK;
        loop {
            let left = wait.deadline.saturating_sub(begin.elapsed());
            // The last look comes when time is up, and not a whole delay before.
            account.sleep("order", delay.min(left)).await?;
            let (order, answer) = match account.look_at_order(order_url).await {
                Ok(seen) => seen,
                // A CA that is down or busy for a while does not end a wait that has time left for it.
                Err(error) => {
                    let asked = error.retry_after().unwrap_or_default();
                    let left = wait.deadline.saturating_sub(begin.elapsed());
                    if !error.is_retryable() || left.is_zero() || asked > left.min(MAX_ASKED) {
                        return Err(error.into());
                    }
                    delay = pace.next(error.retry_after(), 0);
                    continue;
                }
            };
            if done(&order) {
                return Ok(order);
            }
            if order.status == OrderStatus::Invalid {
                return Err(account.why_invalid(order).await);
            }
            if begin.elapsed() >= wait.deadline {
                return Err(account.why_late(order, begin.elapsed()).await);
            }
            delay = pace.next(answer.retry_after(), order.authorizations.len());
        }
    }

    async fn why_late(&self, order: Order, waited: Duration) -> OrderError {
        let mut waiting = Vec::new();
        let mut failures = Vec::new();
        // The order's lateness is the error; what cannot be read only leaves out a name.
        for authorization in self.readable_authorizations(&order).await {
            match authorization.failure() {
                Some(failure) => failures.push(failure),
                None if authorization.status == AuthorizationStatus::Valid => {}
                None => waiting.push(authorization.identifier),
            }
        }
        OrderError::TimedOut {
            order: order.url,
            status: order.status,
            waited,
            waiting,
            failures,
        }
    }
}

/// How long until the next look.
#[derive(Debug, Default)]
struct Pace {
    looks: u32,
}

impl Pace {
    fn next(&mut self, retry_after: Option<Duration>, authorizations: usize) -> Duration {
        self.looks += 1;
        if let Some(asked) = retry_after {
            return asked.clamp(MIN_ASKED, MAX_ASKED);
        }
        let names = u32::try_from(authorizations).unwrap_or(u32::MAX).min(MANY);
        let first = FIRST_LOOK + PER_NAME * names;
        first
            .saturating_mul(1 << (self.looks.min(10) - 1))
            .min(MAX_DELAY)
    }
}

/// A CA that validates at once is done by then. The first look comes no later than this even where the answer to
/// finalize asked for more: it costs one request, and most certificates are there.
const FIRST_LOOK: Duration = Duration::from_millis(200);
/// A hundred validations take a CA longer than two, and each look counts as a request.
const PER_NAME: Duration = Duration::from_millis(5);
const MANY: u32 = 200;
const MAX_DELAY: Duration = Duration::from_secs(10);
/// Retry-After in the past, or zero, is still no reason to hammer.
const MIN_ASKED: Duration = Duration::from_secs(1);
const MAX_ASKED: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_come_quickly_first_and_slowly_later() {
        let mut pace = Pace::default();
        let delays: Vec<_> = (0..8).map(|_| pace.next(None, 2).as_millis()).collect();
        assert_eq!(delays, [210, 420, 840, 1680, 3360, 6720, 10_000, 10_000]);
        let mut pace = Pace::default();
        assert_eq!(pace.next(None, 100), Duration::from_millis(700));
    }

    #[test]
    fn the_cas_own_pace_is_kept_within_bounds() {
        let mut pace = Pace::default();
        for (asked, wanted) in [(0, 1), (3, 3), (3600, 60)] {
            assert_eq!(
                pace.next(Some(Duration::from_secs(asked)), 2),
                Duration::from_secs(wanted)
            );
        }
    }
}
