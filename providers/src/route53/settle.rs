//! Whether changes have reached every name server: `GetChange`, until it says INSYNC.
//!
//! A change takes up to a minute, and asking counts against the account's rate, so that it is asked for rarely and never again
//! after the answer was yes.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use aws_sdk_route53::types::ChangeStatus;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::Receipt;
use dnseal_core::dns::Settlement;

use crate::route53::client::Client;

/// What is known about changes that somebody waits for.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// `None` once it is in sync, else how often it was not.
    changes: Mutex<HashMap<String, Option<u32>>>,
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
        let mut asked = 0;
        for id in &receipt.0 {
            if self.with(|changes| changes.get(id) == Some(&None)) {
                continue;
            }
            let answer = client
                .ask("GetChange", None, |sdk| sdk.get_change().id(id).send())
                .await?;
            let status = answer.change_info().map(|info| info.status().clone());
            let count = self.with(|changes| {
                let known = changes.entry(id.clone()).or_insert(Some(0));
                *known = match status {
                    Some(ChangeStatus::Insync) => None,
                    _ => known.map(|count| count + 1),
                };
                *known
            });
            if let Some(count) = count {
                asked = count;
                break;
            }
        }
        Ok(match asked {
            0 => Settlement::Settled,
            1 => Settlement::Pending(FIRST_PAUSE),
            _ => Settlement::Pending(PAUSE),
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashMap<String, Option<u32>>) -> T) -> T {
        act(&mut self.changes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

const FIRST_PAUSE: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_secs(10);
