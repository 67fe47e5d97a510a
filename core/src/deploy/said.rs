//! What this machine has notified whom of, so that nobody hears the same thing all day.
//!
//! One small file beside `live/`, changed by atomic rename under a lock of the operating system. It is a convenience and no
//! truth: one that cannot be read is begun anew, and then something is said twice. One that a newer program wrote is left alone.

use std::collections::BTreeMap;
use std::fs::File;
use std::fs::TryLockError;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use jiff::Timestamp;
use serde::Deserialize;
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::store::Dir;
use crate::store::FileError;
use crate::store::Mode;
use crate::store::SCHEMA;
use crate::store::StoreError;
use crate::store::not_newer;

/// The file with what was said; nothing is made before something is.
#[derive(Clone, Debug)]
pub struct Said {
    dir: PathBuf,
}

impl Said {
    /// The file in the directory at `dir`.
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
        }
    }

    /// Waits until no other run uses the file, and keeps others off it while the session lives.
    pub(crate) async fn lock(
        &self,
        at_most: Duration,
        cancel: &CancellationToken,
    ) -> Result<SaidSession, StoreError> {
        let dir = Dir::open(&self.dir, Mode::PRIVATE_DIR)?;
        dir.check_private()?;
        let file = dir.lock_file(LOCK)?;
        let deadline = Instant::now() + at_most;
        loop {
            let refused = match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => std::io::ErrorKind::WouldBlock.into(),
                Err(TryLockError::Error(error)) => error,
            };
            let would_block = refused.kind() == std::io::ErrorKind::WouldBlock;
            if !would_block || Instant::now() >= deadline || cancel.is_cancelled() {
                return Err(FileError::io("lock", self.dir.join(LOCK), refused).into());
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = cancel.cancelled() => {}
            }
        }
        if let Some(content) = dir.read(FILE)? {
            not_newer(&self.dir.join(FILE).display().to_string(), &content)?;
        }
        Ok(SaidSession { dir, _lock: file })
    }
}

/// The file, while nobody else changes it.
#[derive(Debug)]
pub(crate) struct SaidSession {
    dir: Dir,
    _lock: File,
}

impl SaidSession {
    /// What was said, or nothing and why it cannot be told.
    pub(crate) fn read(&self) -> Record {
        let path = self.dir.path().join(FILE);
        let unreadable = |why: String| Record {
            problem: Some(format!("{} is begun anew: {why}", path.display())),
            ..Record::default()
        };
        match self.dir.read(FILE) {
            Ok(None) => Record::default(),
            Ok(Some(content)) => serde_json::from_slice(&content)
                .unwrap_or_else(|error| unreadable(error.to_string())),
            Err(error) => unreadable(error.to_string()),
        }
    }

    /// Writes it down, without what is too old to matter.
    pub(crate) fn write(&self, record: &Record, now: Timestamp) -> Result<(), FileError> {
        let mut record = record.clone();
        record.schema = SCHEMA;
        record.prune(now);
        let json = serde_json::to_vec_pretty(&record)
            .map_err(|error| FileError::io("write", self.dir.path().join(FILE), error.into()))?;
        self.dir.replace(FILE, &json, Mode::PRIVATE_FILE)
    }
}

/// When each sink has taken what.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    #[serde(default)]
    schema: u32,
    #[serde(default)]
    said: BTreeMap<String, BTreeMap<String, Timestamp>>,
    /// Why it is empty although something was there.
    #[serde(skip)]
    pub(crate) problem: Option<String>,
}

impl Record {
    /// What this sink has taken, and when.
    pub(crate) fn of(&self, sink: &str) -> BTreeMap<String, Timestamp> {
        self.said.get(sink).cloned().unwrap_or_default()
    }

    /// Notes that this sink has taken these.
    pub(crate) fn add(&mut self, sink: &str, topics: impl Iterator<Item = String>, now: Timestamp) {
        let said = self.said.entry(sink.to_owned()).or_default();
        said.extend(topics.map(|topic| (topic, now)));
    }

    fn prune(&mut self, now: Timestamp) {
        for said in self.said.values_mut() {
            said.retain(|_, at| now.duration_since(*at).abs() < KEPT);
        }
        self.said.retain(|_, said| !said.is_empty());
    }
}

const FILE: &str = "notified.json";
const LOCK: &str = "notified.lock";
/// How often to look whether the lock is free.
const LOOK: Duration = Duration::from_millis(50);
/// Longer than anything is kept from being said again.
const KEPT: SignedDuration = SignedDuration::from_hours(48);
