//! What the CA remembers: accounts, orders, authorizations and certificates (RFC 8555 section 7.1).
//!
//! Everything lies in one [`State`] behind one lock that is never held across an await. Statuses that follow from other
//! objects or from the clock are computed when they are asked for, so nothing has to be woken up to expire.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    LogEntry,
    jws::Jwk,
    nonce::Nonces,
    problem::{ErrorKind, Problem},
};

/// How many requests the log keeps.
const LOG_CAPACITY: usize = 10_000;

/// Everything that changes while the CA runs.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) nonces: Nonces,
    pub(super) accounts: BTreeMap<u64, Account>,
    /// Thumbprint of the current key to account.
    pub(super) keys: HashMap<String, u64>,
    pub(super) orders: BTreeMap<u64, Order>,
    pub(super) authorizations: BTreeMap<u64, Authorization>,
    pub(super) certificates: BTreeMap<u64, IssuedEntry>,
    pub(super) log: VecDeque<LogEntry>,
    last_id: u64,
}

impl State {
    /// A number that no other object has.
    pub(super) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(super) fn record(&mut self, entry: LogEntry) {
        if self.log.len() == LOG_CAPACITY {
            self.log.pop_front();
        }
        self.log.push_back(entry);
    }

    /// RFC 8555 section 7.1.6.
    pub(super) fn order_status(&self, order: &Order, now: Timestamp) -> OrderStatus {
        match &order.stage {
            Stage::Issued { .. } => return OrderStatus::Valid,
            Stage::Failed(_) => return OrderStatus::Invalid,
            Stage::Processing { .. } => return OrderStatus::Processing,
            Stage::Open => {}
        }
        if order.expires <= now {
            return OrderStatus::Invalid;
        }
        let mut ready = true;
        for authorization in order
            .authorizations
            .iter()
            .filter_map(|id| self.authorizations.get(id))
        {
            match authorization.status(now) {
                AuthorizationStatus::Valid => {}
                AuthorizationStatus::Pending => ready = false,
                _ => return OrderStatus::Invalid,
            }
        }
        if ready {
            OrderStatus::Ready
        } else {
            OrderStatus::Pending
        }
    }

    /// Why an order is invalid.
    pub(super) fn order_error(&self, order: &Order, now: Timestamp) -> Option<Problem> {
        if let Stage::Failed(problem) = &order.stage {
            return Some(problem.clone());
        }
        if self.order_status(order, now) != OrderStatus::Invalid {
            return None;
        }
        let failed = order
            .authorizations
            .iter()
            .filter_map(|id| self.authorizations.get(id))
            .find(|a| {
                !matches!(
                    a.status(now),
                    AuthorizationStatus::Pending | AuthorizationStatus::Valid
                )
            });
        Some(match failed {
            Some(authorization) => match &authorization.challenge.error {
                Some(error) => error.clone(),
                None => Problem::unauthorized(format!(
                    "authorization for {} is {}",
                    authorization.domain,
                    authorization.status(now)
                )),
            },
            None => Problem::new(ErrorKind::Malformed, "order has expired"),
        })
    }

    /// Whether a challenge of the order is being validated at this moment.
    pub(super) fn is_validating(&self, order: &Order) -> bool {
        order
            .authorizations
            .iter()
            .filter_map(|id| self.authorizations.get(id))
            .any(Authorization::is_validating)
    }

    /// Whether the account holds a valid authorization for the name, which may begin with `*.`.
    pub(super) fn is_authorized(&self, account: u64, name: &str, now: Timestamp) -> bool {
        self.valid_authorization(account, name, now).is_some()
    }

    pub(super) fn valid_authorization(
        &self,
        account: u64,
        name: &str,
        now: Timestamp,
    ) -> Option<u64> {
        self.authorizations
            .values()
            .rfind(|a| {
                a.account == account
                    && a.identifier() == name
                    && a.status(now) == AuthorizationStatus::Valid
            })
            .map(|a| a.id)
    }
}

#[derive(Debug)]
pub(super) struct Account {
    pub(super) id: u64,
    pub(super) key: Jwk,
    pub(super) contact: Vec<String>,
    pub(super) status: AccountStatus,
    /// The binding as it was sent, which the account object shows (RFC 8555 section 7.1.2).
    pub(super) binding: Option<serde_json::Value>,
}

#[derive(Debug)]
pub(super) struct Order {
    pub(super) id: u64,
    pub(super) account: u64,
    pub(super) expires: Timestamp,
    /// Sorted names, as they will stand in the certificate.
    pub(super) identifiers: Vec<String>,
    pub(super) authorizations: Vec<u64>,
    pub(super) profile: Option<String>,
    pub(super) not_before: Option<Timestamp>,
    pub(super) not_after: Option<Timestamp>,
    /// The certID that the client sent (RFC 9773 section 5).
    pub(super) replaces: Option<String>,
    pub(super) stage: Stage,
}

/// What was done to an order, as far as its authorizations do not tell.
#[derive(Debug)]
pub(super) enum Stage {
    Open,
    /// Finalized; ends after so many more looks at it.
    Processing {
        looks: u32,
        outcome: Result<u64, Problem>,
    },
    Issued {
        certificate: u64,
    },
    Failed(Problem),
}

#[derive(Debug)]
pub(super) struct Authorization {
    pub(super) id: u64,
    pub(super) account: u64,
    /// Without `*.`.
    pub(super) domain: String,
    pub(super) wildcard: bool,
    pub(super) expires: Timestamp,
    pub(super) deactivated: bool,
    pub(super) challenge: Challenge,
}

impl Authorization {
    pub(super) fn status(&self, now: Timestamp) -> AuthorizationStatus {
        if self.deactivated {
            return AuthorizationStatus::Deactivated;
        }
        let over = self.expires <= now;
        match self.challenge.status {
            ChallengeStatus::Invalid => AuthorizationStatus::Invalid,
            ChallengeStatus::Valid if over => AuthorizationStatus::Expired,
            ChallengeStatus::Valid => AuthorizationStatus::Valid,
            // RFC 8555 section 7.1.6 lets only valid ones expire; the others fail.
            _ if over => AuthorizationStatus::Invalid,
            _ => AuthorizationStatus::Pending,
        }
    }

    /// Whether its challenge is being validated at this moment.
    pub(super) fn is_validating(&self) -> bool {
        self.challenge.status == ChallengeStatus::Processing
    }

    /// The name as it stands in an order.
    pub(super) fn identifier(&self) -> String {
        if self.wildcard {
            format!("*.{}", self.domain)
        } else {
            self.domain.clone()
        }
    }
}

/// The `dns-01` challenge of an authorization.
#[derive(Debug)]
pub(super) struct Challenge {
    pub(super) token: String,
    pub(super) status: ChallengeStatus,
    pub(super) validated: Option<Timestamp>,
    pub(super) error: Option<Problem>,
}

/// A certificate and what became of it.
#[derive(Debug)]
pub(super) struct IssuedEntry {
    pub(super) id: u64,
    pub(super) account: u64,
    pub(super) order: u64,
    pub(super) names: Vec<String>,
    pub(super) der: Vec<u8>,
    /// Big-endian, without the sign octet of its DER.
    pub(super) serial: Vec<u8>,
    /// RFC 9773 section 4.1.
    pub(super) cert_id: String,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    pub(super) revoked: Option<Revocation>,
    /// The order that named this certificate as the one it replaces.
    pub(super) replaced_by: Option<u64>,
    pub(super) window: Option<RenewalWindow>,
}

/// When and why a certificate was revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The moment by the CA's clock.
    pub at: Timestamp,
    /// The reason code of RFC 5280 section 5.3.1, if one was sent.
    pub reason: Option<u8>,
}

/// A window that somebody set by hand.
#[derive(Clone, Debug)]
pub(super) struct RenewalWindow {
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) explanation: Option<String>,
}

macro_rules! status {
    ($(#[$doc:meta])* $name:ident { $($variant:ident => $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
        #[serde(rename_all = "lowercase")]
        #[expect(missing_docs, reason = "the names are those of RFC 8555 section 7.1.6")]
        pub enum $name {
            $($variant,)*
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$variant => $text,)*
                })
            }
        }
    };
}

status! {
    /// Status of an account.
    AccountStatus {
        Deactivated => "deactivated",
        Valid => "valid",
    }
}

status! {
    /// Status of an authorization.
    AuthorizationStatus {
        Deactivated => "deactivated",
        Expired => "expired",
        Invalid => "invalid",
        Pending => "pending",
        Valid => "valid",
    }
}

status! {
    /// Status of a challenge.
    ChallengeStatus {
        Invalid => "invalid",
        Pending => "pending",
        Processing => "processing",
        Valid => "valid",
    }
}

status! {
    /// Status of an order.
    OrderStatus {
        Invalid => "invalid",
        Pending => "pending",
        Processing => "processing",
        Ready => "ready",
        Valid => "valid",
    }
}
