//! Why a version is not where it should be on this machine.

use std::path::PathBuf;

use crate::deploy::AccessError;
use crate::deploy::HookError;
use crate::store::FileError;

/// Why a target does not have the newest version.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// A file cannot be given to whom it is meant for.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// A file cannot be written.
    #[error(transparent)]
    File(FileError),
    /// A command.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// There is no such directory.
    #[error("the directory {} is not there", path.display())]
    NoDirectory {
        /// Which.
        path: PathBuf,
    },
    /// The target is for a key that this store does not have.
    #[error("the private key is with whoever made the signing request, and not here")]
    NoKey,
    /// The PKCS#12 file cannot be made.
    #[error("cannot make the PKCS#12 file {}: {detail}", path.display())]
    Pkcs12 {
        /// Which.
        path: PathBuf,
        /// Why.
        detail: String,
    },
}

impl TargetError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Access(error) => error.hint(),
            Self::File(FileError::Link { path }) => Some(match path.canonicalize() {
                Ok(real) => format!("write the path it leads to: {}", real.display()),
                Err(_) => format!("remove {}", path.display()),
            }),
            Self::File(FileError::Io { source, path, .. })
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                Some(format!(
                    "run as a user that may write to {} and give files away",
                    path.display()
                ))
            }
            Self::File(error) => error.hint(),
            Self::Hook(error) => error.hint(),
            Self::NoDirectory { path } => Some(format!("`mkdir -p {}`", path.display())),
            Self::NoKey => Some("write `cert`, `chain` or `fullchain` alone".to_owned()),
            Self::Pkcs12 { .. } => None,
        }
    }

    /// The last lines that a command wrote.
    pub fn output(&self) -> Option<&str> {
        match self {
            Self::Hook(error) => error.output(),
            _ => None,
        }
    }

    /// Whether the next run may succeed where this one did not; it tries in any case.
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::NoKey | Self::Pkcs12 { .. })
    }
}
