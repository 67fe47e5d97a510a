//! Why something could not be done with an account.

use std::time::Duration;

use jiff::Timestamp;

use crate::acme::AccountError;
use crate::acme::AccountKeyError;
use crate::acme::AcmeError;
use crate::acme::DirectoryError;
use crate::acme::SigningKeyError;
use crate::store::AccountId;
use crate::store::StoreError;
use crate::store::StoredAccount;

/// Why something could not be done with an account.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountsError {
    /// The CA refused, or could not be asked.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The key in the store cannot be used.
    #[error(transparent)]
    AccountKey(#[from] AccountKeyError),
    /// Somebody asked to stop.
    #[error("interrupted")]
    Cancelled,
    /// It was ended by us.
    #[error("the account {id} was deactivated on {since:.0}")]
    Deactivated {
        /// Which.
        id: AccountId,
        /// When.
        since: Timestamp,
    },
    /// The CA's directory could not be read.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Another account has that name.
    #[error("there is another account {id} in the store")]
    Exists {
        /// The name.
        id: AccountId,
    },
    /// The new key is that of another account.
    #[error("the new key for {id} is the key of another account already: {url}")]
    KeyElsewhere {
        /// Which account was to get it.
        id: AccountId,
        /// Which has it.
        url: String,
    },
    /// The CA takes neither key.
    #[error("the CA takes neither the old nor the new key of the account {id}: {detail}")]
    KeyLost {
        /// Which.
        id: AccountId,
        /// What the CA said.
        detail: String,
    },
    /// There is none of that name.
    #[error("there is no account {id} in the store")]
    NoSuchAccount {
        /// The name.
        id: AccountId,
    },
    /// Its key was made, and the CA never heard of it.
    #[error("the account {id} is not registered yet")]
    NotRegistered {
        /// Which.
        id: AccountId,
    },
    /// It is at another CA.
    #[error("the account {id} is at {is}, and {asked} was asked for")]
    OtherCa {
        /// The CA that was asked for.
        asked: String,
        /// Which.
        id: AccountId,
        /// Where it is.
        is: String,
    },
    /// Its key is of a kind that we do not sign with, and its CA changes no keys.
    #[error(
        "the account has a key {kind}, dnseal signs with ECDSA P-256 alone, and {directory} has no key change"
    )]
    OtherKind {
        /// The directory.
        directory: String,
        /// What kind.
        kind: String,
    },
    /// The key in the store is of no kind that can sign.
    #[error("the key of the account cannot be used: {0}")]
    SigningKey(#[from] SigningKeyError),
    /// It is registered, and not ended.
    #[error("the account {id} is open at its CA")]
    StillOpen {
        /// Which.
        id: AccountId,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The CA said yes to a new key, and still takes the old one.
    #[error(
        "the CA answered that the account {id} has its new key, and still takes the old one alone"
    )]
    Unchanged {
        /// Which.
        id: AccountId,
    },
    /// The CA has no account with that key.
    #[error("{directory} has no account with this key (thumbprint {thumbprint})")]
    UnknownKey {
        /// The directory.
        directory: String,
        /// Of the key.
        thumbprint: String,
    },
    /// It is not known whether the CA has taken the new key.
    #[error("it is not known yet which key the CA has for the account {id}: {source}")]
    Unverified {
        /// Which.
        id: AccountId,
        /// Why not.
        source: AccountError,
    },
}

impl AccountsError {
    /// Whether trying again later may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Account(error) => error.is_retryable(),
            Self::Directory(error) => error.is_retryable(),
            Self::Store(error) => error.is_retryable(),
            Self::Unchanged { .. } | Self::Unverified { .. } => true,
            _ => false,
        }
    }

    /// How long the CA asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Account(error) | Self::Unverified { source: error, .. } => error.retry_after(),
            Self::Directory(error) => error.retry_after(),
            _ => None,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Account(error) => error.hint(),
            Self::Deactivated { id, .. } => Some(format!(
                "`dnseal account register --account {id}` makes a new one in its place; `--account` names another"
            )),
            Self::Directory(error) => error.hint(),
            Self::Exists { .. } => Some("`--account NAME` gives it another name here".to_owned()),
            Self::KeyElsewhere { .. } => {
                Some("nothing was changed; the next try takes another key".to_owned())
            }
            Self::KeyLost { .. } => {
                Some("the account may be closed; both keys are still in the store".to_owned())
            }
            Self::NoSuchAccount { .. } => {
                Some("`dnseal account list` tells which there are".to_owned())
            }
            Self::NotRegistered { id } => Some(format!(
                "`dnseal account register --account {id}` does that"
            )),
            Self::OtherCa { .. } => Some(
                "name the other CA with `--ca`, or another account with `--account`".to_owned(),
            ),
            Self::OtherKind { .. } => {
                Some("register a new account there with `dnseal account register`".to_owned())
            }
            Self::StillOpen { id } => Some(format!(
                "`dnseal account deactivate {id}` ends it there first; `dnseal account export {id}` keeps its key"
            )),
            Self::Store(error) => error.hint(),
            Self::Unchanged { id } | Self::Unverified { id, .. } => Some(format!(
                "both keys are in the store; `dnseal account rollover {id}` goes on"
            )),
            Self::UnknownKey { .. } => {
                Some("name the CA that the account is at with `--ca`; a key that was replaced there is of no more use".to_owned())
            }
            Self::AccountKey(_) | Self::Cancelled | Self::SigningKey(_) => None,
        }
    }

    /// The failure of the request, where it is one.
    pub fn request(&self) -> Option<&AcmeError> {
        match self {
            Self::Account(AccountError::Request(error))
            | Self::Directory(DirectoryError::Request(error))
            | Self::Unverified {
                source: AccountError::Request(error),
                ..
            } => Some(error),
            _ => None,
        }
    }

    pub(super) fn lost(stored: &StoredAccount, detail: String) -> Self {
        Self::KeyLost {
            id: stored.id.clone(),
            detail,
        }
    }
}
