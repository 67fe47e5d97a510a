//! What a file looked like once it was written, so that a later run notices what somebody else has done to it.
//!
//! Size and time tell, without reading it, that nobody has. Where they differ the content decides: who only touched it has changed nothing.

use std::path::Path;
use std::path::PathBuf;

use aws_lc_rs::digest;
use jiff::Timestamp;
use serde::Deserialize;
use serde::Serialize;

use crate::store::Glance;

/// A file as it was left.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Seen {
    pub(super) path: PathBuf,
    size: u64,
    modified: Timestamp,
    sha256: String,
}

impl Seen {
    /// What was just written there; `None` where it is gone already.
    pub(super) fn of(path: &Path, sha256: String) -> Option<Self> {
        let glance = Glance::at(path)?;
        Some(Self {
            path: path.to_owned(),
            size: glance.size,
            modified: glance.modified,
            sha256,
        })
    }

    /// Whether it holds what was written.
    pub(super) fn stands(&self) -> bool {
        let Some(glance) = Glance::at(&self.path) else {
            return false;
        };
        if glance.size != self.size {
            return false;
        }
        // One that this user may not read can only be judged by its time.
        glance.modified == self.modified
            || std::fs::read(&self.path).is_ok_and(|content| sha256(&content) == self.sha256)
    }
}

/// In hexadecimal.
pub(super) fn sha256(content: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, content);
    digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}
