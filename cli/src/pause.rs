//! Standing still where a test wants to kill us; only in debug builds.
//!
//! `DNSEAL_TEST_PAUSE_AT=dns-written` stops the first order that comes to that checkpoint and says so on standard
//! error. It goes on when a signal comes. `DNSEAL_TEST_PANIC_WITH=VARIABLE` panics there instead, with what that
//! variable holds in the message.

use std::env;
use std::future::pending;
use std::sync::Arc;

use async_trait::async_trait;
use dnseal_core::issue::Checkpoint;
use dnseal_core::issue::Checkpoints;
use tokio_util::sync::CancellationToken;

/// What the environment asks for, if anything.
pub(crate) fn asked(cancel: &CancellationToken) -> Option<Arc<dyn Checkpoints>> {
    let at = env::var("DNSEAL_TEST_PAUSE_AT").ok()?.parse().ok()?;
    Some(Arc::new(Pause {
        at,
        cancel: cancel.clone(),
    }))
}

#[derive(Debug)]
struct Pause {
    at: Checkpoint,
    cancel: CancellationToken,
}

#[async_trait]
impl Checkpoints for Pause {
    async fn reached(&self, point: Checkpoint) {
        if point != self.at {
            return;
        }
        if let Ok(variable) = env::var("DNSEAL_TEST_PANIC_WITH") {
            let value = env::var(variable);
            #[expect(clippy::panic, reason = "what a test asks for")]
            {
                panic!("at {} with {value:?}", point.name());
            }
        }
        eprintln!("paused at {}", point.name());
        tokio::select! {
            () = self.cancel.cancelled() => {}
            () = pending() => {}
        }
    }
}
