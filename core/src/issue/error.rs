//! Why a certificate was not issued.

mod words;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use self::words::by_hand;
use self::words::list;
use self::words::more;
use self::words::offers;
use self::words::refused;
use self::words::these;
use self::words::writes;
use crate::account::AccountsError;
use crate::acme::AccountError;
use crate::acme::AccountKeyError;
use crate::acme::AcmeError;
use crate::acme::CertificateKeyError;
use crate::acme::ChainError;
use crate::acme::DirectoryError;
use crate::acme::KeyType;
use crate::acme::OrderError;
use crate::acme::Problem;
use crate::dns::ByHand;
use crate::dns::CaaError;
use crate::dns::Identifier;
use crate::dns::PlaceError;
use crate::dns::PropagationError;
use crate::dns::ProviderError;
use crate::dns::WriteError;
use crate::issue::CaaRefusal;
use crate::issue::Misplaced;
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
    /// The key of a certificate may not be that of an account.
    #[error("the key that was given for {id} is that of the account {url}")]
    AccountKeyAsked {
        /// The certificate.
        id: CertId,
        /// The account.
        url: String,
    },
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
    /// Records have to be set by hand first. The order stays, and the next run goes on with it.
    #[error("{}", by_hand(records))]
    AwaitsPerson {
        /// Somebody asked to stop, before they were seen.
        interrupted: bool,
        /// What was set at a name that is one label off.
        misplaced: Vec<Misplaced>,
        /// All that are missing.
        records: Vec<ByHand>,
    },
    /// The holder of a domain does not let this CA issue for it (RFC 8659).
    #[error("{}", refused(refusals))]
    Caa {
        /// For which names, and what their records say.
        refusals: Vec<CaaRefusal>,
    },
    /// It is not known whether the CA may issue, and that counts as no.
    #[error(transparent)]
    CaaUnreadable(#[from] CaaError),
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
        /// Whether the CA had said that it took our CSR.
        accepted: bool,
    },
    /// A signing request asks for other names.
    #[error(
        "the signing request for {id} is for other names than asked for{}{}",
        these(": it lacks ", missing),
        these(": it adds ", added)
    )]
    CsrNames {
        /// In the request, and not asked for.
        added: Vec<Identifier>,
        /// The certificate.
        id: CertId,
        /// Asked for, and not in the request.
        missing: Vec<Identifier>,
    },
    /// A signing request has all its names or none.
    #[error("a signing request is for all its names, and {id} is to go on without those that fail")]
    CsrSubset {
        /// The certificate.
        id: CertId,
    },
    /// The CA's directory could not be read.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The order has expired before it was finished.
    #[error("the order {order} expired at {at:.0}, before it was finished")]
    Expired {
        /// When.
        at: Timestamp,
        /// The order.
        order: String,
    },
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
    /// A key of another type than asked for.
    #[error("the key that was given for {id} is {is}, and {wanted} was asked for")]
    KeyMismatch {
        /// The certificate.
        id: CertId,
        /// What it is.
        is: KeyType,
        /// What was asked for.
        wanted: KeyType,
    },
    /// Values of a certificate that is to be removed could not be withdrawn.
    #[error("{values} values of {id} could not be taken out of DNS, so it was not removed")]
    LeftInDns {
        /// The certificate.
        id: CertId,
        /// How many.
        values: usize,
    },
    /// The CA issues nothing that demands stapling.
    #[error(
        "{ca} issues no certificates that demand stapling, because it answers no OCSP any more"
    )]
    MustStaple {
        /// The CA.
        ca: String,
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
    #[error("cannot place the challenge of {identifier}: {source}{}", more(others.len()))]
    Place {
        /// The name.
        identifier: Identifier,
        /// Why.
        source: PlaceError,
        /// Other names, where all were looked at.
        others: Vec<(Identifier, PlaceError)>,
        /// Names that have the same challenge name as one of these.
        twins: Vec<Identifier>,
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
    /// A validity that is none.
    #[error("a certificate from {not_before:.0} to {not_after:.0} would never be valid")]
    Validity {
        /// From when.
        not_before: Timestamp,
        /// Until when.
        not_after: Timestamp,
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
    /// A person has to set a record first.
    Person,
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
    /// That one name has no place.
    pub(super) fn place(identifier: Identifier, source: PlaceError) -> Self {
        Self::Place {
            identifier,
            source,
            others: Vec::new(),
            twins: Vec::new(),
        }
    }

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
            Self::Cancelled
            | Self::AwaitsPerson {
                interrupted: true, ..
            } => ErrorKind::Cancelled,
            Self::AwaitsPerson { .. } => ErrorKind::Person,
            // What the configuration asks for and this CA has not.
            Self::Order(OrderError::UnknownProfile { .. }) => ErrorKind::Usage,
            Self::Expired { .. }
            | Self::Account(_)
            | Self::Authorization { .. }
            | Self::Caa { .. }
            | Self::CaaUnreadable(_)
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
            | Self::AccountKeyAsked { .. }
            | Self::CsrNames { .. }
            | Self::CsrSubset { .. }
            | Self::KeyMismatch { .. }
            | Self::MustStaple { .. }
            | Self::NamesDiffer { .. }
            | Self::NoNames { .. }
            | Self::NoSuchCertificate { .. }
            | Self::Redundant { .. }
            | Self::Validity { .. } => ErrorKind::Usage,
            Self::Place { source, .. } => match source {
                PlaceError::AliasWanted { .. } => ErrorKind::Person,
                PlaceError::NoAlias { .. } | PlaceError::Route(_) | PlaceError::Wordless { .. } => {
                    ErrorKind::Usage
                }
                PlaceError::Provider(ProviderError::RateLimited { .. }) => ErrorKind::RateLimited,
                _ => ErrorKind::Provider,
            },
            Self::LeftInDns { .. } => ErrorKind::Provider,
            Self::Write { errors } => {
                match errors.iter().all(|(_, error)| error.is_rate_limited()) {
                    true => ErrorKind::RateLimited,
                    false => ErrorKind::Provider,
                }
            }
            Self::Projection { .. } => ErrorKind::NotInPlace,
            Self::Propagation(PropagationError::Cancelled) => ErrorKind::Cancelled,
            Self::Propagation(_) => ErrorKind::Propagation,
            Self::Store(StoreError::Locked { .. }) => ErrorKind::Locked,
            Self::Store(StoreError::Cancelled { .. }) => ErrorKind::Cancelled,
            Self::Store(StoreError::Sealed { .. }) => ErrorKind::Usage,
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

    /// The records that somebody has to set before anything else can happen.
    pub fn records(&self) -> Vec<ByHand> {
        match self {
            Self::Place { source, others, .. } => {
                let sources = others.iter().map(|(_, source)| source);
                let aliases = [source].into_iter().chain(sources);
                let records = aliases
                    .filter_map(PlaceError::alias)
                    .map(|(owner, target)| ByHand::alias(owner, target));
                let records: BTreeSet<ByHand> = records.collect();
                records.into_iter().collect()
            }
            Self::AwaitsPerson { records, .. } => records.clone(),
            _ => Vec::new(),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Account(error) => error.hint(),
            Self::Caa { refusals } => refusals.first().map(CaaRefusal::hint),
            Self::CaaUnreadable(error) => error.hint(),
            Self::AccountKeyAsked { .. } => {
                Some("give it another key; RFC 8555 section 11.1 keeps the two apart".to_owned())
            }
            Self::Accounts(error) => error.hint(),
            Self::CompromisedKey { .. } => {
                Some("take another key: leave out what names this one".to_owned())
            }
            Self::Chain { source, .. } => source.hint(),
            Self::CsrNames { .. } => Some(
                "leave the names out, which are those of the request then, or make another request"
                    .to_owned(),
            ),
            Self::CsrSubset { .. } => Some("leave `allow-subset` out".to_owned()),
            Self::Directory(error) => error.hint(),
            Self::Expired { .. } => Some(
                "the next run makes a new one; something took longer than the CA gives, or the clock of this machine is wrong"
                    .to_owned(),
            ),
            Self::KeyMismatch { is, .. } => {
                Some(format!("leave the key type out, or make it {is}"))
            }
            Self::MustStaple { .. } => Some("leave `must-staple` out".to_owned()),
            Self::Validity { .. } => Some("look at `not-before` and `not-after`".to_owned()),
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
            Self::AwaitsPerson { misplaced, .. } => Some(match misplaced.first() {
                Some(misplaced) => format!("{misplaced}; {}", misplaced.hint()),
                None => "set them, and run this again: it goes on with the same order".to_owned(),
            }),
            Self::Place { .. } if self.kind() == ErrorKind::Person => {
                Some("set them, and run this again".to_owned())
            }
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
            Self::CaaUnreadable(error) => error.source.is_retryable(),
            Self::Accounts(error) => error.is_retryable(),
            Self::Directory(error) => error.is_retryable(),
            Self::Order(error) | Self::Validation { source: error, .. } => error.is_retryable(),
            Self::Place { source, .. } => source.is_retryable(),
            Self::Propagation(_) | Self::Expired { .. } => true,
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

    /// Whether another CA may do what this one does not: it is down, has no account for us, or wants us to come later.
    pub(super) fn calls_for_another_ca(&self) -> bool {
        match self {
            Self::Account(AccountError::TermsNotAgreed { .. }) => false,
            Self::Account(AccountError::Request(error))
            | Self::Directory(DirectoryError::Request(error)) => may_pass(error),
            // What stands at its place is no CA, as where a gateway answers for one that is down.
            Self::Account(_) | Self::Directory(_) => true,
            Self::Order(source) | Self::Validation { source, .. } => match source {
                OrderError::Request(error) => may_pass(error) || error.is("userActionRequired"),
                OrderError::TimedOut { failures, .. } => failures.is_empty(),
                _ => false,
            },
            Self::Expired { .. } => true,
            _ => false,
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
            Self::AwaitsPerson { .. } => true,
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
            // It is good as soon as this machine's clock is right, and paid for.
            Self::Chain {
                source: ChainError::NotNow { now, not_after, .. },
                ..
            } => now < not_after,
            _ => false,
        }
    }

    /// Whether the CA says that only some of its vantage points found what every authoritative server has.
    pub(super) fn is_seen_by_some(&self) -> bool {
        let Self::Validation { source, .. } = self else {
            return false;
        };
        let names = source.refused_names();
        let secondary = |problem: &Problem| {
            let detail = problem.to_string().to_ascii_lowercase();
            detail.contains("secondary validation") || detail.contains("remote perspective")
        };
        !names.is_empty()
            && names
                .iter()
                .any(|(_, problem)| problem.as_ref().is_some_and(secondary))
    }

    /// Whether another job, which shares the account and nothing else, has taken the order that the CA had handed to both: it got the
    /// certificate for its own key, or gave the order up.
    pub(super) fn is_taken_by_another(&self) -> bool {
        match self {
            // Where the CA took our CSR it took nobody else's: what it made then is its own mistake.
            Self::Chain {
                source, accepted, ..
            } => matches!(source, ChainError::OtherKey) && !accepted,
            Self::Authorization { status, .. } => *status == DEACTIVATED,
            Self::Order(OrderError::Validation { failures, .. })
            | Self::Validation {
                source: OrderError::Validation { failures, .. },
                ..
            } => {
                !failures.is_empty()
                    && failures
                        .iter()
                        .all(|failure| failure.status.to_string() == DEACTIVATED)
            }
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

/// RFC 8555 section 7.5.2; whoever does that to an authorization of ours has the key of our account.
const DEACTIVATED: &str = "deactivated";

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

fn may_pass(error: &AcmeError) -> bool {
    !matches!(error, AcmeError::Cancelled { .. })
        && (error.is_retryable() || error.is_rate_limited())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_that_asks_to_come_later_is_no_refusal() {
        let source = ProviderError::RateLimited {
            detail: "slow down".to_owned(),
            endpoint: "https://dns.test/".to_owned(),
            retry_after: Some(Duration::from_secs(60)),
        };
        let error = IssueError::Place {
            identifier: "example.test".parse().unwrap(),
            source: PlaceError::Provider(source),
            others: Vec::new(),
            twins: Vec::new(),
        };
        assert_eq!(error.kind(), ErrorKind::RateLimited);
        assert_eq!(error.retry_after(), Some(Duration::from_secs(60)));
    }
}
