//! Why a certificate was not issued.

use std::time::Duration;

use jiff::Timestamp;

use crate::account::AccountsError;
use crate::acme::AccountError;
use crate::acme::AccountKeyError;
use crate::acme::AcmeError;
use crate::acme::CertificateKeyError;
use crate::acme::ChainError;
use crate::acme::DirectoryError;
use crate::acme::OrderError;
use crate::acme::Problem;
use crate::dns::Identifier;
use crate::dns::PlaceError;
use crate::dns::PropagationError;
use crate::dns::WriteError;
use crate::store::CertId;
use crate::store::FileError;
use crate::store::InFlight;
use crate::store::StoreError;

/// Why a certificate was not issued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// The account could not be found or registered.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The key of the account in the store cannot be used.
    #[error(transparent)]
    AccountKey(AccountKeyError),
    /// The record of the account does not fit.
    #[error(transparent)]
    Accounts(AccountsError),
    /// An authorization of a new order is neither pending nor valid.
    #[error("the CA's authorization for {identifier} is {status}: {url}")]
    Authorization {
        /// For which name.
        identifier: Identifier,
        /// What it is.
        status: String,
        /// Where it is.
        url: String,
    },
    /// Somebody asked to stop.
    #[error("interrupted")]
    Cancelled,
    /// What was downloaded is not what was ordered.
    #[error("{url} is not what was ordered: {source}")]
    Chain {
        /// What is wrong with it.
        source: ChainError,
        /// Where it came from.
        url: String,
    },
    /// The CA's directory could not be read.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Something on disk.
    #[error(transparent)]
    File(#[from] FileError),
    /// Somebody else has, or may have, the key that the certificate was to be for.
    #[error(
        "the key for {id} was marked as compromised on {since:.0}, when a certificate with it was revoked"
    )]
    CompromisedKey {
        /// The certificate.
        id: CertId,
        /// When it was marked.
        since: Timestamp,
    },
    /// A key could not be made, read or used.
    #[error(transparent)]
    Key(CertificateKeyError),
    /// Values of a certificate that is to be removed could not be withdrawn.
    #[error("{values} values of {id} could not be taken out of DNS, so it was not removed")]
    LeftInDns {
        /// The certificate.
        id: CertId,
        /// How many.
        values: usize,
    },
    /// The certificate exists with other names.
    #[error(
        "the certificate {id} is for {}, and {} was asked for",
        list(existing),
        list(asked)
    )]
    NamesDiffer {
        /// The names that were asked for.
        asked: Vec<Identifier>,
        /// The names it has.
        existing: Vec<Identifier>,
        /// The certificate.
        id: CertId,
    },
    /// The CA does not offer the challenge.
    #[error(
        "the CA offers no dns-01 challenge for {identifier}: {url} {}",
        offers(others)
    )]
    NoDnsChallenge {
        /// For which name.
        identifier: Identifier,
        /// What it offers.
        others: Vec<String>,
        /// The authorization.
        url: String,
    },
    /// A certificate without names.
    #[error("no names are given for {id}")]
    NoNames {
        /// The certificate.
        id: CertId,
    },
    /// There is no certificate of this name.
    #[error("there is no certificate {id} in the store")]
    NoSuchCertificate {
        /// The name.
        id: CertId,
    },
    /// The order could not be made or finished.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// It cannot be told where the value for a name goes.
    #[error("cannot place the challenge of {identifier}: {source}")]
    Place {
        /// The name.
        identifier: Identifier,
        /// Why.
        source: PlaceError,
    },
    /// The certificate is in the store, but could not be written where servers read it.
    #[error("version {version} of {id} is issued and stored, but not in place: {source}")]
    Projection {
        /// The certificate.
        id: CertId,
        /// Why.
        source: FileError,
        /// The version.
        version: u32,
    },
    /// The values were not served in time.
    #[error(transparent)]
    Propagation(#[from] PropagationError),
    /// The CA takes no order with a name that a wildcard in it covers.
    #[error("{ca} refuses {covered} beside {wildcard}, which covers it")]
    Redundant {
        /// The CA.
        ca: String,
        /// The name.
        covered: Identifier,
        /// The wildcard.
        wildcard: Identifier,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The CA did not accept the proof.
    #[error("{source}")]
    Validation {
        /// What it said.
        source: OrderError,
        /// The longest TTL in seconds of the values that stood there.
        ttl: Option<u32>,
    },
    /// Values could not be written.
    #[error("{}", writes(errors))]
    Write {
        /// For which names, and why.
        errors: Vec<(Identifier, WriteError)>,
    },
}

/// Who has to do something about an error; the command line makes an exit code of it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ErrorKind {
    /// The CA refused, or validation failed.
    Ca,
    /// Somebody asked to stop.
    Cancelled,
    /// Another run holds a lock.
    Locked,
    /// Issued, but not in place.
    NotInPlace,
    /// Not served in time.
    Propagation,
    /// The DNS provider refused or failed.
    Provider,
    /// Told to come later.
    RateLimited,
    /// A failure of this machine, or a bug.
    Unexpected,
    /// What was asked or configured cannot be done.
    Usage,
}

impl IssueError {
    /// Who has to do something about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Account(AccountError::Request(error))
            | Self::Directory(DirectoryError::Request(error)) => kind_of(error),
            Self::Account(
                AccountError::ExternalAccountRequired { .. } | AccountError::TermsNotAgreed { .. },
            ) => ErrorKind::Usage,
            Self::Order(OrderError::Request(error))
            | Self::Validation {
                source: OrderError::Request(error),
                ..
            } => kind_of(error),
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Account(_)
            | Self::Authorization { .. }
            | Self::Chain { .. }
            | Self::Directory(_)
            | Self::NoDnsChallenge { .. }
            | Self::Order(_)
            | Self::Validation { .. } => ErrorKind::Ca,
            Self::Accounts(error) => match error.request() {
                Some(error) => kind_of(error),
                None => ErrorKind::Usage,
            },
            Self::CompromisedKey { .. }
            | Self::NamesDiffer { .. }
            | Self::NoNames { .. }
            | Self::NoSuchCertificate { .. }
            | Self::Redundant { .. } => ErrorKind::Usage,
            Self::Place { source, .. } => match source {
                PlaceError::Route(_) => ErrorKind::Usage,
                _ => ErrorKind::Provider,
            },
            Self::LeftInDns { .. } => ErrorKind::Provider,
            Self::Write { errors } => {
                let all_later = errors.iter().all(|(_, e)| e.retry_after().is_some());
                match all_later {
                    true => ErrorKind::RateLimited,
                    false => ErrorKind::Provider,
                }
            }
            Self::Projection { .. } => ErrorKind::NotInPlace,
            Self::Propagation(PropagationError::Cancelled) => ErrorKind::Cancelled,
            Self::Propagation(_) => ErrorKind::Propagation,
            Self::Store(StoreError::Locked { .. }) => ErrorKind::Locked,
            Self::Store(StoreError::Cancelled { .. }) => ErrorKind::Cancelled,
            Self::AccountKey(_)
            | Self::File(_)
            | Self::Store(
                StoreError::Corrupt { .. } | StoreError::File(_) | StoreError::Newer { .. },
            ) => ErrorKind::Usage,
            Self::Key(_) | Self::Store(_) => ErrorKind::Unexpected,
        }
    }

    /// Whether the CA refuses the account, or what stands behind it has lapsed: nothing can be ordered before somebody acts there.
    pub fn is_about_account(&self) -> bool {
        match self {
            Self::Account(AccountError::Request(error)) => refuses_account(error),
            Self::Account(_) => true,
            Self::Order(error) => error.request().is_some_and(refuses_account),
            _ => false,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Account(error) => error.hint(),
            Self::Accounts(error) => error.hint(),
            Self::CompromisedKey { .. } => {
                Some("take another key: leave out what names this one".to_owned())
            }
            Self::Chain { source, .. } => source.hint(),
            Self::Directory(error) => error.hint(),
            Self::File(error) | Self::Projection { source: error, .. } => error.hint(),
            Self::LeftInDns { .. } => {
                Some("see the warnings above; mend the provider and try again".to_owned())
            }
            Self::NamesDiffer { .. } => Some(
                "`--replace-names` gives it the new names; `--name NAME` makes another certificate"
                    .to_owned(),
            ),
            Self::NoSuchCertificate { .. } => {
                Some("`dnseal list` tells which there are".to_owned())
            }
            Self::Order(error) | Self::Validation { source: error, .. } => error.hint(),
            Self::Place { source, .. } => source.hint(),
            Self::Propagation(error) => error.hint(),
            Self::Redundant { covered, .. } => Some(format!("leave {covered} out")),
            Self::Store(error) => error.hint(),
            Self::Write { errors } => errors.iter().find_map(|(_, error)| error.hint()),
            Self::AccountKey(_)
            | Self::Authorization { .. }
            | Self::Cancelled
            | Self::Key(_)
            | Self::NoDnsChallenge { .. }
            | Self::NoNames { .. } => None,
        }
    }

    /// Whether the same request may succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Account(error) => error.is_retryable(),
            Self::Accounts(error) => error.is_retryable(),
            Self::Directory(error) => error.is_retryable(),
            Self::Order(error) | Self::Validation { source: error, .. } => error.is_retryable(),
            Self::Place { source, .. } => source.is_retryable(),
            Self::Propagation(_) => true,
            Self::Store(error) => error.is_retryable(),
            Self::Write { errors } => errors.iter().all(|(_, e)| e.is_retryable()),
            _ => false,
        }
    }

    /// How long somebody asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Account(error) => error.retry_after(),
            Self::Accounts(error) => error.retry_after(),
            Self::Directory(error) => error.retry_after(),
            Self::Order(error) | Self::Validation { source: error, .. } => error.retry_after(),
            Self::Place { source, .. } => source.retry_after(),
            Self::Write { errors } => errors.iter().filter_map(|(_, e)| e.retry_after()).max(),
            _ => None,
        }
    }

    /// Whether the CA does not know the account that asked it.
    pub(super) fn is_unknown_account(&self) -> bool {
        match self {
            Self::Order(error) | Self::Validation { source: error, .. } => error
                .request()
                .is_some_and(|error| error.is("accountDoesNotExist")),
            _ => false,
        }
    }

    /// Whether `order` is worth finishing by the next run: the CA failed, or has not finished, or nothing is left to prove.
    pub(super) fn leaves_order(&self, order: &InFlight, resumed: bool) -> bool {
        match self {
            _ if self.kind() == ErrorKind::Cancelled => order.version.is_some(),
            // A CA that has not come to an end in two runs has forgotten what it wanted to do.
            Self::Order(OrderError::TimedOut { .. })
            | Self::Validation {
                source: OrderError::TimedOut { .. },
                ..
            } if resumed => false,
            Self::Order(error) | Self::Validation { source: error, .. } => {
                error.is_retryable() && !error.is_rate_limited()
            }
            Self::Store(_) | Self::File(_) => true,
            _ => false,
        }
    }

    /// The TTL of the values, where the CA says that it did not find what every authoritative server has.
    pub(super) fn missed_values_ttl(&self) -> Option<u32> {
        match self {
            Self::Validation { source, ttl } if is_about_values(source) => *ttl,
            _ => None,
        }
    }
}

impl From<AccountsError> for IssueError {
    fn from(error: AccountsError) -> Self {
        match error {
            AccountsError::Account(error) => Self::Account(error),
            AccountsError::AccountKey(error) => Self::AccountKey(error),
            AccountsError::Cancelled => Self::Cancelled,
            AccountsError::Directory(error) => Self::Directory(error),
            AccountsError::Store(error) => Self::Store(error),
            other => Self::Accounts(other),
        }
    }
}

fn kind_of(error: &AcmeError) -> ErrorKind {
    match error {
        AcmeError::Cancelled { .. } => ErrorKind::Cancelled,
        error if error.is_rate_limited() => ErrorKind::RateLimited,
        _ => ErrorKind::Ca,
    }
}

/// Whether the CA refused every name for what it saw, or did not see, in DNS.
fn is_about_values(error: &OrderError) -> bool {
    let names = error.refused_names();
    let about_values = |problem: &Problem| problem.is("unauthorized") || problem.is("dns");
    !names.is_empty()
        && names
            .iter()
            .all(|(_, problem)| problem.as_ref().is_some_and(about_values))
}

fn list(names: &[Identifier]) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    names.join(", ")
}

fn offers(others: &[String]) -> String {
    match others.is_empty() {
        true => "offers nothing".to_owned(),
        false => format!("offers {}", others.join(", ")),
    }
}

fn writes(errors: &[(Identifier, WriteError)]) -> String {
    match errors {
        [] => "nothing could be written".to_owned(),
        [(_, error)] => error.to_string(),
        [(_, error), rest @ ..] => format!("{error} (and {} more)", rest.len()),
    }
}

/// What a CA answers to an account that it does not serve (RFC 8555 section 6.7).
fn refuses_account(error: &AcmeError) -> bool {
    [
        "accountDoesNotExist",
        "externalAccountRequired",
        "unauthorized",
        "userActionRequired",
    ]
    .iter()
    .any(|kind| error.is(kind))
}
