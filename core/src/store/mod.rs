//! What outlives a run: accounts, certificate heads, versions; and the locks that keep runs apart.
//!
//! A [`Store`] is a small map from keys to bytes with compare-and-swap, so that the same engine runs on a directory
//! and, later, on object storage. What stands in it is defined here: a [`Head`] for each certificate, which alone changes and says
//! everything about it; immutable versions; and [`StoredAccount`]s. Keys of certificates and accounts go in and come out as
//! [`secrecy`] strings.

mod account;
mod cert_id;
mod compromised;
mod dir;
mod directory;
mod head;
mod lent;
mod memory;
mod renewal;
mod scratch;
mod sealed;
mod spec;
mod version;
mod zone;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::digest;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

pub use account::AccountId;
pub use account::AccountIdError;
pub use account::StoredAccount;
pub use cert_id::CertId;
pub use cert_id::CertIdError;
pub use compromised::CompromisedKey;
pub(crate) use dir::Attributes;
pub(crate) use dir::Dir;
pub use dir::FileError;
pub(crate) use dir::Kind;
pub use dir::Mode;
pub(crate) use dir::Staged;
pub(crate) use dir::check_program;
pub use dir::is_same_file;
pub use directory::DirectoryStore;
pub(crate) use directory::wait_for_lock;
pub use head::Head;
pub use head::HeadSession;
pub use head::InFlight;
pub use head::Published;
pub use head::Unanswered;
pub use head::Wanted;
pub use head::Worker;
pub use head::heads;
pub use head::heads_as;
pub use lent::WithLentAccounts;
pub use memory::Memory;
pub use memory::MemoryError;
pub use renewal::Advice;
pub use renewal::Failure;
pub use renewal::Listing;
pub use renewal::Renewal;
pub use renewal::Window;
pub use scratch::Scratch;
pub use scratch::UserIds;
pub use sealed::Resealed;
pub use sealed::SealProblem;
pub use sealed::SealState;
pub use sealed::SealStatus;
pub use sealed::SealedStore;
pub use sealed::StoreKeeper;
pub use sealed::StoreKey;
pub use sealed::StoreKeyError;
pub use sealed::StoreKeyKind;
pub use spec::Difference;
pub use spec::KeyOrigin;
pub use spec::LeftOut;
pub use spec::Moment;
pub use spec::MomentError;
pub use spec::Spec;
pub use version::Revoked;
pub use version::Version;
pub use version::VersionFile;
pub use zone::ZoneNotes;

use crate::dns::DomainName;

/// A map from keys to bytes that outlives the process.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// The content under `key` and its tag.
    async fn get(&self, key: &Key) -> Result<Option<(Vec<u8>, Tag)>, StoreError>;

    /// The contents under many keys, in their order; where there are many it costs less than one after the other.
    async fn get_each(&self, keys: Vec<Key>) -> Vec<Result<Option<Vec<u8>>, StoreError>> {
        let mut contents = Vec::with_capacity(keys.len());
        for key in keys {
            let found = self.get(&key).await;
            contents.push(found.map(|found| found.map(|(content, _)| content)));
        }
        contents
    }

    /// Writes `content` unless there is something under `key`: then [`StoreError::Changed`].
    async fn put_if_absent(&self, key: &Key, content: Vec<u8>) -> Result<Tag, StoreError>;

    /// Writes `content` if what is there still has this tag: else [`StoreError::Changed`].
    async fn put_if_match(&self, key: &Key, content: Vec<u8>, tag: &Tag)
    -> Result<Tag, StoreError>;

    /// The keys that begin with `prefix`, in order.
    async fn list(&self, prefix: &Key) -> Result<Vec<Key>, StoreError>;

    /// The last components of what is right below `prefix`, be it a key or more of a prefix; in order.
    async fn names(&self, prefix: &Key) -> Result<Vec<String>, StoreError>;

    /// Removes what is under `key`, or everything below it; nothing there is success.
    async fn delete(&self, key: &Key) -> Result<(), StoreError>;

    /// Waits for the lock `name`, at most `patience`, and holds it until the guard is dropped.
    async fn lock(
        &self,
        name: &LockName,
        patience: Patience<'_>,
    ) -> Result<Box<dyn LockGuard>, StoreError>;

    /// Whether it can be used: writes and removes a file where `writing`, and says what room there is.
    async fn examine(&self, _writing: bool) -> Result<Room, StoreError> {
        Ok(Room {
            place: "the store".to_owned(),
            free: None,
        })
    }

    /// Removes what killed runs left half-written below `prefix`; only for whoever holds the lock over it.
    async fn tidy(&self, prefix: &Key) -> Result<(), StoreError>;
}

/// What can be told of content without reading it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Glance {
    /// How many octets there are.
    pub size: u64,
    /// When they were written.
    pub modified: Timestamp,
}

impl Glance {
    /// At a plain file; what cannot be told counts as not there.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        let metadata = path.symlink_metadata().ok()?;
        let modified = metadata.modified().ok()?;
        metadata.is_file().then_some(Self {
            size: metadata.len(),
            modified: Timestamp::try_from(modified).ok()?,
        })
    }
}

/// What room a store has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Room {
    /// Where it is, for messages.
    pub place: String,
    /// Octets that can still be written, where that can be told.
    pub free: Option<u64>,
}

/// How long to wait for a lock, and whom to tell.
pub struct Patience<'a> {
    /// Gives up when this is cancelled.
    pub cancel: &'a CancellationToken,
    /// Gives up after this long.
    pub at_most: Duration,
    /// Called once, with who holds it, when there is something to wait for.
    pub on_wait: &'a (dyn Fn(&str) + Send + Sync),
}

impl fmt::Debug for Patience<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patience")
            .field("at_most", &self.at_most)
            .finish_non_exhaustive()
    }
}

/// A lock that is held until this is dropped.
pub trait LockGuard: Send + Sync {}

/// Where something is in the store: components that are each a safe file name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key(Vec<String>);

impl Key {
    /// The account `id`.
    pub fn account(id: &AccountId) -> Self {
        Self(vec!["accounts".into(), format!("{id}.json")])
    }

    /// The account whose record is here.
    pub(crate) fn account_id(&self) -> Option<AccountId> {
        match self.0.as_slice() {
            [kind, file] if kind == "accounts" => file.strip_suffix(".json")?.parse().ok(),
            _ => None,
        }
    }

    /// All accounts.
    pub fn accounts() -> Self {
        Self(vec!["accounts".into()])
    }

    /// Whether the record of an account is here.
    fn is_account(&self) -> bool {
        self.account_id().is_some()
    }

    /// Whether something is here that an encrypted store encrypts.
    fn is_private(&self) -> bool {
        match self.0.as_slice() {
            [kind, _, versions, file] if kind == "certificates" && versions == "versions" => file
                .split_once('.')
                .is_some_and(|(_, suffix)| suffix == VersionFile::Key.suffix()),
            _ => self.is_account(),
        }
    }

    /// What says how the store is encrypted.
    fn seal() -> Self {
        Self(vec!["seal.json".into()])
    }

    /// Everything about the certificate `id`.
    pub fn certificate(id: &CertId) -> Self {
        Self(vec!["certificates".into(), id.to_string()])
    }

    /// All certificates.
    pub fn certificates() -> Self {
        Self(vec!["certificates".into()])
    }

    /// The mark of a compromised key, by the digest of its public key.
    pub(crate) fn compromised(spki_sha256: &str) -> Self {
        Self(vec![
            "compromised-keys".into(),
            format!("{spki_sha256}.json"),
        ])
    }

    /// The head of the certificate `id`.
    pub fn head(id: &CertId) -> Self {
        Self(vec![
            "certificates".into(),
            id.to_string(),
            "head.json".into(),
        ])
    }

    /// One file of one version of the certificate `id`.
    pub fn version(id: &CertId, version: u32, file: VersionFile) -> Self {
        Self(vec![
            "certificates".into(),
            id.to_string(),
            "versions".into(),
            format!("{version:04}.{}", file.suffix()),
        ])
    }

    /// The number of the version that a file of the store belongs to.
    pub fn version_number(&self) -> Option<u32> {
        match self.0.as_slice() {
            [kind, _, versions, file] if kind == "certificates" && versions == "versions" => {
                file.split_once('.')?.0.parse().ok()
            }
            _ => None,
        }
    }

    /// What a provider of this kind remembers of one thing.
    pub(crate) fn memory(kind: &str, item: &str) -> Self {
        Self(vec!["providers".into(), kind.to_owned(), item.to_owned()])
    }

    /// What was learned about the zone `name`.
    pub fn zone(name: &DomainName) -> Self {
        Self(vec!["zones".into(), format!("{name}.json")])
    }

    /// The components.
    pub fn components(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("/"))
    }
}

/// The name of a lock: one safe file name.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct LockName(String);

impl LockName {
    /// Over everything about one account.
    pub fn account(id: &AccountId) -> Self {
        Self(format!("account-{id}"))
    }

    /// Over everything about one certificate.
    pub fn certificate(id: &CertId) -> Self {
        Self(format!("certificate-{id}"))
    }

    /// Over orders that a CA cannot tell apart: same account, identifiers and profile.
    pub fn order(fingerprint: &str) -> Self {
        Self(format!("order-{fingerprint}"))
    }

    /// Over the values at one owner name, where runs take turns.
    pub fn owner(owner: &DomainName) -> Self {
        let name = owner.as_str();
        match name.len() > LONGEST_FILE_NAME {
            // File names are shorter than domain names may be.
            true => {
                let digest = digest::digest(&digest::SHA256, name.as_bytes());
                let hex: String = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
                Self(format!("owner-{hex}"))
            }
            false => Self(format!("owner-{name}")),
        }
    }

    /// Over what a provider remembers of one thing.
    pub(crate) fn memory(kind: &str, item: &str) -> Self {
        Self(format!("provider-{kind}-{item}"))
    }

    /// Over how the store is encrypted.
    fn seal() -> Self {
        Self("seal".to_owned())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// With what stands before and behind it, such a name is a file name everywhere.
const LONGEST_FILE_NAME: usize = 200;

/// What the content under a key was when it was read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tag(pub(crate) String);

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Cancelled while waiting for a lock.
    #[error("interrupted while waiting for the lock on {what}")]
    Cancelled {
        /// What the lock is over.
        what: String,
    },
    /// Somebody else changed it since it was read.
    #[error("{key} was changed by somebody else at the same time")]
    Changed {
        /// Which.
        key: String,
    },
    /// What is stored cannot be understood.
    #[error("{key} in the store cannot be read: {detail}")]
    Corrupt {
        /// Which.
        key: String,
        /// Where and why.
        detail: String,
    },
    /// The directory behind the store.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another run holds the lock.
    #[error("{holder} holds the lock on {what}, still after {waited:?}")]
    Locked {
        /// Who, as far as it is known.
        holder: String,
        /// What the lock is over.
        what: String,
        /// How long we waited.
        waited: Duration,
    },
    /// Written by a newer program.
    #[error("{key} has format {found}, and this program knows formats up to {known}")]
    Newer {
        /// The format that stands there.
        found: u32,
        /// Which.
        key: String,
        /// The newest format this program knows.
        known: u32,
    },
    /// The store is encrypted, and cannot be read.
    #[error("the store is encrypted, and its keys cannot be read: {problem}")]
    Sealed {
        /// Why.
        problem: SealProblem,
    },
}

impl StoreError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Changed { .. } | Self::Locked { .. })
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Corrupt { key, .. } if *key == Key::seal().to_string() => Some(format!(
                "put {key} back from a backup, and do not remove it: what is encrypted cannot be read without it, whoever has the key"
            )),
            Self::Corrupt { key, .. } if key.ends_with("/head.json") => Some(format!(
                "put {key} back from a backup; else move it away, after which nobody knows of values that a run may have left in DNS for this certificate (`dnseal dns list _acme-challenge.NAME`)"
            )),
            Self::Corrupt { key, .. } => Some(format!(
                "put {key} back from a backup, or move it away; nothing else is affected"
            )),
            Self::File(error) => error.hint(),
            Self::Locked { .. } => Some("wait for the other run to end, or stop it".to_owned()),
            Self::Sealed { problem } => problem.hint(),
            Self::Newer { .. } => Some("use the newer dnseal; nothing was touched".to_owned()),
            Self::Cancelled { .. } | Self::Changed { .. } => None,
        }
    }
}

/// Reads what [`to_json`] wrote, and refuses what a newer program wrote before looking at anything else.
pub(crate) fn from_json<T: serde::de::DeserializeOwned>(
    key: &Key,
    content: &[u8],
) -> Result<T, StoreError> {
    not_newer(&key.to_string(), content)?;
    serde_json::from_slice(content).map_err(|e| StoreError::Corrupt {
        key: key.to_string(),
        detail: e.to_string(),
    })
}

/// Refuses what a newer program wrote, however little else of it this one understands. What says no format is left to the parser.
pub(crate) fn not_newer(name: &str, content: &[u8]) -> Result<(), StoreError> {
    #[derive(serde::Deserialize)]
    struct Schema {
        schema: u32,
    }

    match serde_json::from_slice(content) {
        Ok(Schema { schema }) if schema > SCHEMA => Err(StoreError::Newer {
            found: schema,
            key: name.to_owned(),
            known: SCHEMA,
        }),
        _ => Ok(()),
    }
}

/// Refuses a record that says another name than its place: somebody has copied or renamed it.
pub(crate) fn of_its_name<T: fmt::Display + PartialEq>(
    key: &Key,
    found: &T,
    place: &T,
) -> Result<(), StoreError> {
    match found == place {
        true => Ok(()),
        false => Err(StoreError::Corrupt {
            key: key.to_string(),
            detail: format!("it is the record of {found}, and its place is that of {place}"),
        }),
    }
}

/// Indented, because people look into their store.
pub(crate) fn to_json<T: serde::Serialize>(key: &Key, value: &T) -> Result<Vec<u8>, StoreError> {
    let mut json = serde_json::to_vec_pretty(value).map_err(|e| StoreError::Corrupt {
        key: key.to_string(),
        detail: e.to_string(),
    })?;
    json.push(b'\n');
    Ok(json)
}

/// The format of everything in the store; raised when an older program would misread what a newer one writes.
pub(crate) const SCHEMA: u32 = 1;
