//! What a script has saved, and what we still owe to others: kept from one run to the next.
//!
//! acme.sh has two files for its scripts, one for all domains and one for each. Their content is kept as it is, because the
//! scripts alone know what it means.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use aws_lc_rs::digest;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::TxtValue;
use dnseal_core::store::LockGuard;
use dnseal_core::store::Memory;
use dnseal_core::store::MemoryError;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use serde::Deserialize;
use serde::Serialize;
use serde::Serializer;

use crate::hosted::acmesh::host::Room;

/// What is kept for one script of one provider.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Kept {
    schema: u32,
    /// `account.conf`.
    #[serde(default, serialize_with = "expose")]
    pub(super) account: SecretString,
    /// The configuration of each domain.
    #[serde(default, serialize_with = "expose_each")]
    pub(super) domains: BTreeMap<String, SecretString>,
    /// Values of others that a removal may have taken with it. They stand here before it begins, and until they are back.
    #[serde(default)]
    pub(super) owed: BTreeMap<DomainName, BTreeSet<TxtValue>>,
    /// When a value was added last, where a service replaces the oldest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) added: Option<Timestamp>,
    /// Where the scripts run, for as long as a batch takes.
    #[serde(skip)]
    pub(super) room: Option<Room>,
    /// What the store has of all this.
    #[serde(skip)]
    stored: SecretString,
}

/// Where it is kept, if anywhere.
#[derive(Debug)]
pub(super) struct Keeper {
    endpoint: String,
    item: String,
    memory: Option<Memory>,
}

impl Keeper {
    /// For the script of the provider called `name`.
    pub(super) fn new(name: &str, script: &str, endpoint: String, memory: Option<Memory>) -> Self {
        let plain = format!("{script}.{name}");
        let is_good = plain.len() <= LONGEST
            && plain
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b));
        let item = match is_good {
            true => format!("{plain}.json"),
            false => {
                let digest = digest::digest(&digest::SHA256, plain.as_bytes());
                let hex: String = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
                format!("{hex}.json")
            }
        };
        Self {
            endpoint,
            item,
            memory,
        }
    }

    /// Waits until no other process runs the script for this provider. A run that only looks has no such lock.
    pub(super) async fn turn(&self) -> Result<Option<Box<dyn LockGuard>>, ProviderError> {
        match &self.memory {
            Some(memory) if memory.may_write() => {
                let locked = memory.lock(super::KIND_NAME, &self.item).await;
                locked.map(Some).map_err(|error| self.error(&error))
            }
            _ => Ok(None),
        }
    }

    pub(super) async fn load(&self) -> Result<Kept, ProviderError> {
        let found = match &self.memory {
            Some(memory) => memory
                .get(super::KIND_NAME, &self.item)
                .await
                .map_err(|error| self.error(&error))?,
            None => None,
        };
        let Some(text) = found else {
            return Ok(Kept::default());
        };
        let unreadable = |problem: String| ProviderError::Misconfigured {
            detail: format!(
                "what {} has saved (providers/{}/{} in the store) cannot be read: {problem}",
                self.endpoint,
                super::KIND_NAME,
                self.item
            ),
            hint: Some("move it away; the script then begins anew with its settings".to_owned()),
        };
        let mut kept: Kept = serde_json::from_str(text.expose_secret())
            // The error shows what it has read, which may be a secret.
            .map_err(|error| unreadable(format!("line {}", error.line())))?;
        kept.stored = text;
        match kept.schema {
            0..=SCHEMA => Ok(kept),
            newer => Err(unreadable(format!(
                "it has format {newer}, of a newer dnseal"
            ))),
        }
    }

    pub(super) async fn save(&self, kept: &mut Kept) -> Result<(), ProviderError> {
        // What is learned by looking is forgotten with the run.
        let Some(memory) = self.memory.as_ref().filter(|memory| memory.may_write()) else {
            return Ok(());
        };
        kept.schema = SCHEMA;
        let text = serde_json::to_string_pretty(kept).unwrap_or_default();
        if text == kept.stored.expose_secret() {
            return Ok(());
        }
        let text = SecretString::from(text);
        memory
            .put(super::KIND_NAME, &self.item, &text)
            .await
            .map_err(|error| self.error(&error))?;
        kept.stored = text;
        Ok(())
    }

    fn error(&self, error: &MemoryError) -> ProviderError {
        ProviderError::Misconfigured {
            detail: format!("failed to keep what {} saves: {error}", self.endpoint),
            hint: error.hint(),
        }
    }
}

fn expose<S: Serializer>(text: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text.expose_secret())
}

fn expose_each<S: Serializer>(
    texts: &BTreeMap<String, SecretString>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(
        texts
            .iter()
            .map(|(name, text)| (name, text.expose_secret())),
    )
}

/// With what stands before and behind it, such a name is a file name everywhere.
const LONGEST: usize = 80;
const SCHEMA: u32 = 1;
