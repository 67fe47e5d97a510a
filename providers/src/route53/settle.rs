//! Whether changes have reached every name server: `GetChange`, until it says INSYNC.
//!
//! A change takes up to a minute, and asking counts against the account's rate, so that it is asked for rarely, never again
//! after the answer was yes, and once for all certificates whose values are in the change.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use aws_sdk_route53::types::ChangeStatus;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::Receipt;
use dnseal_core::dns::Settlement;
use tokio::time::Instant;

use crate::route53::client::Client;

/// What is known about changes that somebody waits for.
#[derive(Debug, Default)]
pub(super) struct Watched {
    changes: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Change>>>>,
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
        for id in &receipt.0 {
            let change = self.change(id);
            // Whoever comes while somebody asks hears the same answer.
            let mut change = change.lock().await;
            if let Some(wait) = change.look(client, id).await? {
                return Ok(Settlement::Pending(wait));
            }
        }
        Ok(Settlement::Settled)
    }

    fn change(&self, id: &str) -> Arc<tokio::sync::Mutex<Change>> {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(changes.entry(id.to_owned()).or_default())
    }
}

/// What is known about one change.
#[derive(Debug, Default)]
enum Change {
    InSync,
    /// Not in sync at the last look; the next one is then.
    Pending(Instant),
    #[default]
    Unseen,
}

impl Change {
    /// How long to wait before the next look; nothing once it is in sync.
    async fn look(&mut self, client: &Client, id: &str) -> Result<Option<Duration>, ProviderError> {
        if let Self::InSync = self {
            return Ok(None);
        }
        if let Some(wait) = self.too_early(Instant::now()) {
            return Ok(Some(wait));
        }
        let answer = client
            .ask("GetChange", None, |sdk| sdk.get_change().id(id).send())
            .await?;
        let status = answer.change_info().map(|info| info.status());
        if status == Some(&ChangeStatus::Insync) {
            *self = Self::InSync;
            return Ok(None);
        }
        Ok(Some(self.not_yet(Instant::now())))
    }

    fn too_early(&self, now: Instant) -> Option<Duration> {
        match self {
            Self::Pending(next) if *next > now => Some(*next - now),
            _ => None,
        }
    }

    fn not_yet(&mut self, now: Instant) -> Duration {
        let pause = match self {
            Self::Unseen => FIRST_PAUSE,
            _ => PAUSE,
        };
        *self = Self::Pending(now + pause);
        pause
    }
}

const FIRST_PAUSE: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pause_is_the_shortest() {
        let mut change = Change::default();
        let mut now = Instant::now();
        assert_eq!(change.too_early(now), None);
        for pause in [FIRST_PAUSE, PAUSE, PAUSE] {
            assert_eq!(change.not_yet(now), pause);
            let second = Duration::from_secs(1);
            assert_eq!(change.too_early(now + second), Some(pause - second));
            now += pause;
            assert_eq!(change.too_early(now), None);
        }
    }
}
