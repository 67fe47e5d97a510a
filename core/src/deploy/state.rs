//! What this machine has of each certificate: `local.json`.
//!
//! It says for each target which version was tried last, with what result, and which one was the last to succeed. It is
//! written after the fact, so a run that is killed in between does its target again. It is a memory and no truth: when it cannot be
//! read it is put aside, and everything is deployed once more. One that a newer program wrote is left alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::deploy::Target;
use crate::deploy::seen::Seen;
use crate::store::Attributes;
use crate::store::CertId;
use crate::store::Dir;
use crate::store::LockGuard;
use crate::store::Mode;
use crate::store::Patience;
use crate::store::SCHEMA;
use crate::store::StoreError;
use crate::store::Version;
use crate::store::not_newer;
use crate::store::wait_for_lock;

/// The file on this machine.
#[derive(Clone, Debug)]
pub struct LocalState {
    path: PathBuf,
}

/// What stood in it when it was read.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    certificates: BTreeMap<CertId, Targets>,
    /// What could not be understood, for people; it is deployed again.
    pub problems: Vec<String>,
}

/// By label.
type Targets = BTreeMap<String, Entry>;

/// What is known of one target.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Entry {
    /// What was to be done.
    pub(super) definition: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) secret: Option<String>,
    /// The version that was tried last. Numbers begin anew when a certificate is deleted, serial numbers do not.
    pub(super) version: u32,
    pub(super) serial: String,
    /// When.
    pub(super) at: Timestamp,
    /// How its files were left; versions of older programs do not say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) files: Vec<Seen>,
    /// What is still to be done, or went wrong; nothing when it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) failed: Option<Failed>,
    /// The last version that succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) deployed: Option<Deployed>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Failed {
    pub(super) error: String,
    pub(super) since: Timestamp,
    pub(super) attempts: u32,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Deployed {
    pub(super) version: u32,
    pub(super) at: Timestamp,
}

impl Entry {
    /// Whether it is about this version and this definition.
    pub(super) fn is_about(&self, version: &Version, target: &Target) -> bool {
        self.version == version.number
            && self.serial == version.serial
            && self.definition == target.definition()
    }
}

/// How one target of one certificate stands on this machine.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct TargetState {
    /// The label of the target.
    pub target: String,
    /// How it stands.
    #[serde(flatten)]
    pub standing: Standing,
    /// The last version that was deployed to it.
    pub version: Option<u32>,
    /// When that was.
    pub at: Option<Timestamp>,
}

/// How a target stands.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Standing {
    /// It got the newest version, and somebody else has changed or removed a file since; the next run will put it back.
    Altered {
        /// Which.
        path: PathBuf,
    },
    /// It has the newest version.
    Deployed,
    /// The next run will do it.
    Due,
    /// It was tried, and the next run will try again.
    Failed {
        /// What went wrong.
        error: String,
        /// Since when.
        since: Timestamp,
        /// How often it was tried.
        attempts: u32,
    },
}

/// A target that could not be brought up to date when it was tried last.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct FailedTarget {
    /// Of which certificate.
    pub certificate: CertId,
    /// The label of the target.
    pub target: String,
    /// The version that was to be deployed.
    pub version: u32,
    /// What went wrong.
    pub error: String,
    /// Since when.
    pub since: Timestamp,
    /// When it was tried last.
    pub last: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
}

impl Snapshot {
    /// The targets that failed last, whatever the configuration says of them now.
    pub fn failures(&self) -> Vec<FailedTarget> {
        let of = |(id, targets): (&CertId, &Targets)| -> Vec<FailedTarget> {
            let failed = targets.iter().filter_map(|(label, entry)| {
                let failed = entry.failed.as_ref()?;
                Some(FailedTarget {
                    certificate: id.clone(),
                    target: label.clone(),
                    version: entry.version,
                    error: failed.error.clone(),
                    since: failed.since,
                    last: entry.at,
                    attempts: failed.attempts,
                })
            });
            failed.collect()
        };
        self.certificates.iter().flat_map(of).collect()
    }

    pub(super) fn certificate(&self, id: &CertId) -> Option<&BTreeMap<String, Entry>> {
        self.certificates.get(id)
    }

    pub(super) fn entry(&self, id: &CertId, label: &str) -> Option<&Entry> {
        self.certificates.get(id)?.get(label)
    }

    /// How the targets of a certificate stand, against its newest version. Reads no file that looks as it was left, so it can be asked for every certificate.
    pub fn deployment_state(
        &self,
        id: &CertId,
        newest: &Version,
        targets: &[Target],
    ) -> Vec<TargetState> {
        let of = |target: &Target| {
            let entry = self.entry(id, &target.label);
            let standing = match entry {
                Some(entry) if entry.is_about(newest, target) => match &entry.failed {
                    None => match target.altered(&entry.files) {
                        Some(path) => Standing::Altered {
                            path: path.to_owned(),
                        },
                        None => Standing::Deployed,
                    },
                    Some(failed) => Standing::Failed {
                        error: failed.error.clone(),
                        since: failed.since,
                        attempts: failed.attempts,
                    },
                },
                _ => Standing::Due,
            };
            let deployed = entry.and_then(|entry| entry.deployed.as_ref());
            TargetState {
                target: target.label.clone(),
                standing,
                version: deployed.map(|d| d.version),
                at: deployed.map(|d| d.at),
            }
        };
        targets.iter().map(of).collect()
    }
}

/// The file as it is written; what is about one certificate is understood by itself.
#[derive(Debug, Deserialize, Serialize)]
struct Document {
    schema: u32,
    #[serde(default)]
    certificates: BTreeMap<String, Value>,
}

impl Default for Document {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            certificates: BTreeMap::new(),
        }
    }
}

#[derive(Debug, Default, Deserialize, Serialize)]
struct OfCertificate {
    #[serde(default)]
    targets: Targets,
}

impl LocalState {
    /// The file at `path`, which need not be there.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// What stands in it.
    pub fn load(&self) -> Result<Snapshot, StoreError> {
        let Some(dir) = Dir::open_existing(self.parent())? else {
            return Ok(Snapshot::default());
        };
        let mut snapshot = Snapshot::default();
        let document = match self.read(&dir)? {
            Ok(document) => document,
            Err(problem) => {
                snapshot.problems.push(problem);
                return Ok(snapshot);
            }
        };
        for (name, value) in document.certificates {
            let (id, entry) = (name.parse::<CertId>(), OfCertificate::deserialize(&value));
            match (id, entry) {
                (Ok(id), Ok(entry)) => {
                    snapshot.certificates.insert(id, entry.targets);
                }
                (_, Err(error)) => {
                    let path = self.path.display();
                    snapshot.problems.push(format!(
                        "what {path} says of {name} cannot be read: {error}"
                    ));
                }
                (Err(_), Ok(_)) => {}
            }
        }
        Ok(snapshot)
    }

    /// Changes what stands there of one certificate.
    pub(super) async fn update(
        &self,
        id: &CertId,
        change: impl FnOnce(&mut Targets),
    ) -> Result<(), StoreError> {
        // What has happened on this machine is written down, also by a run that is told to end.
        let never = CancellationToken::new();
        let patience = Patience {
            cancel: &never,
            at_most: STATE_PATIENCE,
            on_wait: &|_| {},
        };
        let (dir, _lock) = self.lock("state", patience).await?;
        let mut document = match self.read(&dir)? {
            Ok(document) => document,
            Err(_) => {
                dir.rename(self.name(), &format!("{}.unreadable", self.name()))?;
                Document::default()
            }
        };
        let known = document.certificates.get(id.as_str());
        let mut entry = known
            .and_then(|value| OfCertificate::deserialize(value).ok())
            .unwrap_or_default();
        change(&mut entry.targets);
        match entry.targets.is_empty() {
            true => {
                if document.certificates.remove(id.as_str()).is_none() {
                    return Ok(());
                }
            }
            false => {
                let value = serde_json::to_value(&entry).map_err(|e| self.corrupt(&e))?;
                document.certificates.insert(id.to_string(), value);
            }
        }
        let mut content = serde_json::to_vec_pretty(&document).map_err(|e| self.corrupt(&e))?;
        content.push(b'\n');
        // Under a name of its own: others write in this directory at the same time.
        let mut staged = dir.stage(
            self.name(),
            &content,
            Attributes::of_mode(Mode::PRIVATE_FILE),
        )?;
        staged.put()?;
        Ok(staged.finish()?)
    }

    /// Forgets a certificate that was deleted.
    pub async fn forget(&self, id: &CertId) -> Result<(), StoreError> {
        match Dir::open_existing(self.parent())? {
            Some(dir) if dir.read(self.name())?.is_some() => self.update(id, Targets::clear).await,
            _ => Ok(()),
        }
    }

    /// Keeps other runs from deploying the same certificate.
    pub(super) async fn lock_certificate(
        &self,
        id: &CertId,
        patience: Patience<'_>,
    ) -> Result<Box<dyn LockGuard>, StoreError> {
        Ok(self.lock(&format!("deployment-{id}"), patience).await?.1)
    }

    async fn lock(
        &self,
        name: &str,
        patience: Patience<'_>,
    ) -> Result<(Dir, Box<dyn LockGuard>), StoreError> {
        let dir = Dir::open(self.parent(), Mode::PRIVATE_DIR)?;
        dir.check_private()?;
        let file_name = format!("{name}.lock");
        let file = dir
            .subdir(LOCKS, Mode::PRIVATE_DIR)?
            .lock_file(&file_name)?;
        let at = self.parent().join(LOCKS).join(file_name);
        let what = name.replacen('-', " of ", 1);
        Ok((dir, wait_for_lock(file, &at, what, patience).await?))
    }

    /// The document, or why there is none that can be understood.
    fn read(&self, dir: &Dir) -> Result<Result<Document, String>, StoreError> {
        let Some(content) = dir.read(self.name())? else {
            return Ok(Ok(Document::default()));
        };
        not_newer(&self.path.display().to_string(), &content)?;
        Ok(serde_json::from_slice(&content)
            .map_err(|error| format!("{} cannot be read: {error}", self.path.display())))
    }

    fn corrupt(&self, error: &serde_json::Error) -> StoreError {
        StoreError::Corrupt {
            key: self.path.display().to_string(),
            detail: error.to_string(),
        }
    }

    fn parent(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    fn name(&self) -> &str {
        self.path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("local.json")
    }
}

/// Where the locks of this machine are, beside the file.
const LOCKS: &str = ".locks";
/// The file is read and written at once; whoever holds its lock longer is stuck.
const STATE_PATIENCE: Duration = Duration::from_secs(30);
