//! Whether changes have reached every name server: `GetChange`, until it says INSYNC.
//!
//! A change takes up to a minute, and asking counts against the account's rate. So it is asked for rarely, once for all orders
//! that wait for it, and never again after the answer was yes.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_route53::types::ChangeStatus;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::Receipt;
use dnseal_core::dns::Settlement;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::route53::client::Client;

/// What is known about changes that somebody waits for.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// Held while asking, so that the others find the answer.
    changes: Mutex<HashMap<String, Seen>>,
}

impl Watched {
    pub(super) async fn look(
        &self,
        client: &Client,
        receipt: &Receipt,
    ) -> Result<Settlement, ProviderError> {
        if receipt.0.is_empty() {
            // Nothing was changed, or by a request whose answer got lost.
            return Ok(Settlement::Unknown);
        }
        let mut changes = self.changes.lock().await;
        for id in &receipt.0 {
            let seen = changes.get(id);
            match seen.map_or(Due::Now, |seen| seen.due(Instant::now())) {
                Due::Later(wait) => return Ok(Settlement::Pending(wait)),
                Due::Never => continue,
                Due::Now => {}
            }
            let answer = client
                .ask("GetChange", None, |sdk| sdk.get_change().id(id).send())
                .await?;
            let in_sync = answer
                .change_info()
                .is_some_and(|info| *info.status() == ChangeStatus::Insync);
            let seen = Seen::after(changes.get(id), in_sync, Instant::now());
            let wait = seen.due(Instant::now());
            if changes.len() >= MOST_KNOWN {
                changes.retain(|_, seen| !matches!(seen, Seen::InSync));
            }
            changes.insert(id.clone(), seen);
            if let Due::Later(wait) = wait {
                return Ok(Settlement::Pending(wait));
            }
        }
        Ok(Settlement::Settled)
    }
}

/// The last word about a change.
#[derive(Clone, Copy, Debug)]
enum Seen {
    InSync,
    Pending { asked: Instant, pause: Duration },
}

/// When to ask about a change again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Due {
    Later(Duration),
    Never,
    Now,
}

impl Seen {
    fn after(before: Option<&Self>, in_sync: bool, now: Instant) -> Self {
        match (in_sync, before) {
            (true, _) => Self::InSync,
            (false, None) => Self::Pending {
                asked: now,
                pause: FIRST_PAUSE,
            },
            (false, Some(_)) => Self::Pending {
                asked: now,
                pause: PAUSE,
            },
        }
    }

    fn due(&self, now: Instant) -> Due {
        match self {
            Self::InSync => Due::Never,
            Self::Pending { asked, pause } => match (*asked + *pause).checked_duration_since(now) {
                // Whoever slept for what it was told wakes up a little early or late.
                Some(left) if left > Duration::from_millis(10) => Due::Later(left),
                _ => Due::Now,
            },
        }
    }
}

const FIRST_PAUSE: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_secs(10);
/// Changes that are remembered before those that are done are forgotten.
const MOST_KNOWN: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asked_after_four_seconds_and_then_every_ten() {
        let mut now = Instant::now();
        let mut seen = None;
        for pause in [4, 10, 10] {
            let after = Seen::after(seen.as_ref(), false, now);
            assert_eq!(after.due(now), Due::Later(Duration::from_secs(pause)));
            let half = Duration::from_secs(pause) / 2;
            assert_eq!(after.due(now + half), Due::Later(half));
            now += 2 * half;
            assert_eq!(after.due(now), Due::Now);
            seen = Some(after);
        }
        let done = Seen::after(seen.as_ref(), true, now);
        assert_eq!(done.due(now + PAUSE), Due::Never);
    }
}
