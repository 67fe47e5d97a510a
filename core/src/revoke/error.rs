//! Why a certificate was not revoked.

use std::time::Duration;

use crate::account::AccountsError;
use crate::acme::AcmeError;
use crate::acme::DirectoryError;
use crate::acme::RevokeError;
use crate::store::CertId;
use crate::store::StoreError;

/// Why a certificate was not revoked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RevocationError {
    /// The account could not be got ready.
    #[error(transparent)]
    Accounts(#[from] AccountsError),
    /// The directory in the store is no URL.
    #[error("the directory {directory} of the certificate is no URL: {detail}")]
    BadDirectory {
        /// What stands there.
        directory: String,
        /// What is wrong with it.
        detail: String,
    },
    /// Somebody asked to stop.
    #[error("interrupted")]
    Cancelled,
    /// The CA's directory could not be read.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// There is nothing to revoke.
    #[error("{id} was never issued, so there is nothing to revoke")]
    NeverIssued {
        /// The certificate.
        id: CertId,
    },
    /// Neither an account nor the key of the certificate is there.
    #[error(
        "nobody can ask for the revocation of {serial}: {why}, and the certificate's own key is not here"
    )]
    NoSigner {
        /// The serial number.
        serial: String,
        /// Why it is not the account.
        why: String,
    },
    /// There is no certificate of this name.
    #[error("there is no certificate {id} in the store")]
    NoSuchCertificate {
        /// The name.
        id: CertId,
    },
    /// There is no such version.
    #[error("there is no version {version} of {id} in the store")]
    NoSuchVersion {
        /// The certificate.
        id: CertId,
        /// Which.
        version: u32,
    },
    /// The key that was given is another one.
    #[error("the private key is not the key of the certificate {serial}")]
    OtherKey {
        /// The serial number.
        serial: String,
    },
    /// The CA refused.
    #[error(transparent)]
    Revoke(#[from] RevokeError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RevocationError {
    /// Whether trying again later may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Accounts(error) => error.is_retryable(),
            Self::Directory(error) => error.is_retryable(),
            Self::Revoke(error) => error.is_retryable(),
            Self::Store(error) => error.is_retryable(),
            _ => false,
        }
    }

    /// How long the CA asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Accounts(error) => error.retry_after(),
            Self::Directory(error) => error.retry_after(),
            Self::Revoke(error) => error.retry_after(),
            _ => None,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Accounts(error) => return error.hint(),
            Self::Directory(error) => return error.hint(),
            Self::Revoke(error) => return error.hint(),
            Self::Store(error) => return error.hint(),
            Self::NoSigner { .. } => {
                "`--key-path FILE` names its private key; `--account NAME` names another account; `--ca` names its CA"
            }
            Self::NoSuchCertificate { .. } => "`dnseal list` tells which there are",
            Self::NoSuchVersion { .. } => {
                "`dnseal show NAME` tells which version is in force; the last five are kept"
            }
            Self::OtherKey { .. } => "give the key that the certificate was issued for",
            Self::BadDirectory { .. } | Self::Cancelled | Self::NeverIssued { .. } => return None,
        };
        Some(hint.to_owned())
    }

    /// The failure of the request, where it is one.
    pub fn request(&self) -> Option<&AcmeError> {
        match self {
            Self::Accounts(error) => error.request(),
            Self::Directory(DirectoryError::Request(error))
            | Self::Revoke(RevokeError::Request(error)) => Some(error),
            _ => None,
        }
    }
}
