//! What was learned about a zone and is worth knowing next time.
//!
//! So far one thing: how long a change took to settle after every server that could be asked had shown it, where a CA
//! that looks from several places has missed it (`secondary validation`). Losing the record costs one failed validation.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde::Serialize;

use crate::dns::DomainName;
use crate::store::Key;
use crate::store::SCHEMA;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::from_json;
use crate::store::not_newer;
use crate::store::to_json;

/// What is remembered of one zone.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ZoneNotes {
    schema: u32,
    /// Seconds after the evidence until the CA has seen a change from everywhere.
    #[serde(default)]
    pub settle: u64,
    /// When that was learned.
    pub since: Timestamp,
}

impl ZoneNotes {
    /// How long changes of `zone` are known to take to settle; zero where nothing is known.
    pub async fn settle(store: &dyn Store, zone: &DomainName) -> Result<Duration, StoreError> {
        let key = Key::zone(zone);
        match store.get(&key).await? {
            Some((content, _)) => {
                let notes: Self = from_json(&key, &content)?;
                Ok(Duration::from_secs(notes.settle))
            }
            None => Ok(Duration::ZERO),
        }
    }

    /// Remembers that `settle` was long enough for `zone`. Whoever writes at the same time has learned it, too.
    pub async fn remember(
        store: &dyn Store,
        zone: &DomainName,
        settle: Duration,
    ) -> Result<(), StoreError> {
        let key = Key::zone(zone);
        let notes = Self {
            schema: SCHEMA,
            settle: settle.as_secs(),
            since: Timestamp::now(),
        };
        let content = to_json(&key, &notes)?;
        let written = match store.get(&key).await? {
            Some((before, tag)) => {
                not_newer(&key.to_string(), &before)?;
                store.put_if_match(&key, content, &tag).await
            }
            None => store.put_if_absent(&key, content).await,
        };
        match written {
            Ok(_) | Err(StoreError::Changed { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::DirectoryStore;

    #[tokio::test]
    async fn what_a_newer_program_wrote_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(&root.path().join("s")).unwrap();
        let zone: DomainName = "example.test".parse().unwrap();
        let newer = br#"{"schema": 2}"#.to_vec();
        let key = Key::zone(&zone);
        store.put_if_absent(&key, newer.clone()).await.unwrap();
        let settle = Duration::from_secs(30);
        let refused = ZoneNotes::remember(&store, &zone, settle).await;
        assert!(matches!(refused, Err(StoreError::Newer { .. })));
        assert_eq!(store.get(&key).await.unwrap().unwrap().0, newer);
    }

    #[tokio::test]
    async fn what_is_remembered_is_known_next_time() {
        let root = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(&root.path().join("s")).unwrap();
        let zone: DomainName = "example.test".parse().unwrap();
        let known = ZoneNotes::settle(&store, &zone).await.unwrap();
        assert_eq!(known, Duration::ZERO);
        for seconds in [30, 120] {
            let settle = Duration::from_secs(seconds);
            ZoneNotes::remember(&store, &zone, settle).await.unwrap();
            let known = ZoneNotes::settle(&store, &zone).await.unwrap();
            assert_eq!(known, settle);
        }
    }
}
