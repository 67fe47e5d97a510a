//! One client for each CA, for all orders of a run: its directory is read once, and its nonces are shared.
//!
//! Orders that begin together wait for one and the same answer of the directory, also when it is that the CA is down.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;
use url::Url;

use crate::acme::Client;
use crate::acme::DirectoryError;
use crate::acme::Transport;

/// The clients of one engine.
#[derive(Debug, Default)]
pub(super) struct Clients {
    slots: Mutex<HashMap<Url, Slot>>,
}

type Slot = Arc<tokio::sync::Mutex<Option<Answer>>>;

#[derive(Debug)]
struct Answer {
    at: Instant,
    client: Result<Client, DirectoryError>,
}

impl Clients {
    /// The client for a directory, which is read unless somebody has done so.
    pub(super) async fn get(
        &self,
        transport: &Transport,
        directory: &Url,
    ) -> Result<Client, DirectoryError> {
        let asked = Instant::now();
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.entry(directory.clone()).or_default().clone()
        };
        let mut slot = slot.lock().await;
        if let Some(answer) = &*slot {
            match &answer.client {
                Ok(client) if answer.at.elapsed() < KEPT => return Ok(client.clone()),
                // It came while we waited for it; one that came before may not be true any more.
                Err(error) if answer.at >= asked => return Err(error.clone()),
                _ => {}
            }
        }
        let client = Client::connect(transport.clone(), directory).await;
        *slot = Some(Answer {
            at: Instant::now(),
            client: client.clone(),
        });
        client
    }
}

/// A process that runs for months sees what a CA changes in its directory.
const KEPT: Duration = Duration::from_secs(60 * 60);
