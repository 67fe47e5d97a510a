//! One open directory, and the few things we do in it.
//!
//! Every write is a temporary file, fsync, rename and fsync of the directory; every step goes relative to the open
//! directory and follows no symbolic link, so that nobody who may write elsewhere can bend it. The two
//! implementations have the same functions: `unix` by file descriptors, `portable` by paths for systems without them.

#[cfg(not(unix))]
mod portable;
#[cfg(unix)]
mod unix;

use std::io;
use std::path::Path;
use std::path::PathBuf;

#[cfg(not(unix))]
pub(crate) use portable::Dir;
#[cfg(not(unix))]
pub(crate) use portable::Staged;
#[cfg(not(unix))]
pub(crate) use portable::check_program;
#[cfg(not(unix))]
pub use portable::is_same_file;
#[cfg(unix)]
pub(crate) use unix::Dir;
#[cfg(unix)]
pub(crate) use unix::Staged;
#[cfg(unix)]
pub(crate) use unix::check_program;
#[cfg(unix)]
pub use unix::is_same_file;

/// The mode of what is written; on systems without modes, nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(transparent)]
pub struct Mode(pub u32);

/// Owner, group and mode of what is written; on systems without them, nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Attributes {
    pub(crate) mode: Mode,
    /// The number of the user; this process's own where there is none.
    pub(crate) owner: Option<u32>,
    /// The number of the group.
    pub(crate) group: Option<u32>,
}

impl Attributes {
    pub(crate) const fn of_mode(mode: Mode) -> Self {
        Self {
            mode,
            owner: None,
            group: None,
        }
    }
}

impl Mode {
    /// Files only their owner reads.
    pub const PRIVATE_FILE: Self = Self(0o600);
    /// Files everybody may read.
    pub const PUBLIC_FILE: Self = Self(0o644);
    /// Directories only their owner enters.
    pub const PRIVATE_DIR: Self = Self(0o700);
}

/// What is in a directory under one name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Directory,
    File,
    Other,
}

/// Why something on disk could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Something that is no plain file or directory stands where one should.
    #[error("{} is a symbolic link, and none is followed here", path.display())]
    Link {
        /// Where.
        path: PathBuf,
    },
    /// Somebody else may change what we trust.
    #[error("{} may be changed by others: {detail}", path.display())]
    Unsafe {
        /// Where.
        path: PathBuf,
        /// By whom and how.
        detail: String,
        /// Whether it belongs to another user.
        is_foreign: bool,
    },
}

impl FileError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.into(),
            source,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Io { source, path, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    Some(format!(
                        "run as a user that may write to {}, or choose another place with `--dir DIR`",
                        path.display()
                    ))
                }
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Some("make room and run the same command again; nothing was lost".to_owned())
                }
                _ => None,
            },
            Self::Link { path } => Some(format!(
                "remove {}, or choose another `--dir`",
                path.display()
            )),
            Self::Unsafe {
                path,
                is_foreign: true,
                ..
            } => Some(format!(
                "`chown` {} to the user who runs dnseal, or run it as that user",
                path.display()
            )),
            Self::Unsafe { path, .. } => Some(format!("`chmod go-w {}`", path.display())),
        }
    }

    /// Whether this user may not do it.
    pub(crate) fn is_denied(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }

    /// Whether the disk was full.
    pub fn is_storage_full(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

/// A name for a temporary file that no other process uses; recognized by [`is_temporary`].
pub(super) fn temporary_name() -> String {
    format!(
        "{TEMPORARY}{}-{:016x}",
        std::process::id(),
        rand::random::<u64>()
    )
}

/// The process that has made the temporary file of this name.
fn writer_of(name: &str) -> Option<u32> {
    let (process, random) = name.strip_prefix(TEMPORARY)?.split_once('-')?;
    let is_random = random.len() == 16 && random.bytes().all(|b| b.is_ascii_hexdigit());
    is_random.then(|| process.parse().ok())?
}

/// Whether nobody has written there for longer than any write takes. Numbers of processes mean nothing to other machines and containers.
fn is_old(path: &Path) -> bool {
    let modified = path.symlink_metadata().and_then(|m| m.modified());
    modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > LONGEST_WRITE))
}

/// A slow disk under load may take minutes.
const LONGEST_WRITE: std::time::Duration = std::time::Duration::from_secs(3600);

/// Whether a name is that of a temporary file of ours, left behind by a killed run.
fn is_temporary(name: &str) -> bool {
    name.starts_with(TEMPORARY)
}

/// Only names of one component may be used inside a directory.
fn component(dir: &Path, name: &str) -> Result<(), FileError> {
    let mut parts = Path::new(name).components();
    match (parts.next(), parts.next()) {
        (Some(std::path::Component::Normal(_)), None) => Ok(()),
        _ => Err(FileError::io(
            "use",
            dir.join(name),
            io::Error::from(io::ErrorKind::InvalidInput),
        )),
    }
}

const TEMPORARY: &str = ".dnseal-tmp-";
