//! An order ends when the CA says that it does: no wait of ours is longer.

use std::time::Duration;

use jiff::Timestamp;

use super::IssueError;
use crate::acme::Order;
use crate::acme::OrderError;
use crate::acme::Wait;
use crate::event::Events;

/// When an order, or the first of its authorizations, expires.
#[derive(Clone, Debug)]
pub(super) struct Deadline {
    at: Option<Timestamp>,
    order: String,
}

impl Deadline {
    /// That of an order. A time that is over at once speaks of a clock that is wrong, and is not believed.
    pub(super) fn of(order: &Order, events: &Events) -> Self {
        let now = Timestamp::now();
        let at = order.expires.filter(|at| *at > now);
        if let (Some(expires), None) = (order.expires, at) {
            events.warn(
                format!(
                    "the order {} expired at {expires:.0}, says the CA, and here it is {now:.0}",
                    order.url
                ),
                Some("check the clock of this machine".to_owned()),
            );
        }
        Self {
            at,
            order: order.url.clone(),
        }
    }

    /// The same, or sooner.
    pub(super) fn or(mut self, other: Option<Timestamp>) -> Self {
        let now = Timestamp::now();
        let other = other.filter(|at| *at > now);
        self.at = [self.at, other].into_iter().flatten().min();
        self
    }

    /// A wait that does not go beyond it.
    pub(super) fn shortens(&self, wait: Wait) -> Wait {
        Wait {
            deadline: self
                .left()
                .map_or(wait.deadline, |left| left.min(wait.deadline)),
            ..wait
        }
    }

    /// What is late because the order has expired says so.
    pub(super) fn names<T>(&self, result: Result<T, OrderError>) -> Result<T, IssueError> {
        match result {
            Err(OrderError::TimedOut { .. }) if self.is_over() => Err(self.error()),
            result => Ok(result?),
        }
    }

    /// The same for an error that is known to be late.
    pub(super) fn named(&self, error: OrderError) -> IssueError {
        match self.names::<()>(Err(error)) {
            Err(error) => error,
            Ok(()) => self.error(),
        }
    }

    /// Ends what waits and changes nothing.
    pub(super) async fn ends<T>(
        &self,
        waiting: impl Future<Output = Result<T, IssueError>>,
    ) -> Result<T, IssueError> {
        let Some(left) = self.left() else {
            return waiting.await;
        };
        match tokio::time::timeout(left, waiting).await {
            Ok(result) => result,
            Err(_) => Err(self.error()),
        }
    }

    pub(super) fn left(&self) -> Option<Duration> {
        let left = self.at?.duration_since(Timestamp::now());
        Some(Duration::try_from(left).unwrap_or_default())
    }

    /// Whether it has passed.
    pub(super) fn is_over(&self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }

    fn error(&self) -> IssueError {
        IssueError::Expired {
            at: self.at.unwrap_or_default(),
            order: self.order.clone(),
        }
    }
}
