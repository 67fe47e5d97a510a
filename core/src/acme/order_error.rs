//! Why an order did not become a certificate.

use std::time::Duration;

use super::authorization::Failure;
use super::error::AcmeError;
use super::order::OrderStatus;
use super::problem::Problem;
use crate::dns::Identifier;
use crate::words::rounded;

/// Why an order went no further.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OrderError {
    /// A valid order without a certificate, or one that is not valid.
    #[error("the order {order} is {status} and names no certificate")]
    NoCertificate {
        /// The order.
        order: String,
        /// Where it stands.
        status: OrderStatus,
    },
    /// A request failed.
    #[error(transparent)]
    Request(#[from] AcmeError),
    /// The CA did not come to an end in the time we give it.
    #[error("after {} the order {order} is still {status}{}", rounded(*waited), listed(waiting))]
    TimedOut {
        /// The order.
        order: String,
        /// Where it stands.
        status: OrderStatus,
        /// How long we waited.
        waited: Duration,
        /// The names that the CA has not judged.
        waiting: Vec<Identifier>,
        /// The names that it has refused by then.
        failures: Vec<Failure>,
    },
    /// The CA does not offer that profile.
    #[error("the CA offers no profile `{profile}`")]
    UnknownProfile {
        /// What was asked for.
        profile: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The order is invalid: names were refused, or the certificate was.
    #[error("the CA has declared the order {order} invalid{}", reasons(failures, order_problem.as_ref()))]
    Validation {
        /// The order.
        order: String,
        /// Every name that failed, with the CA's reason.
        failures: Vec<Failure>,
        /// What the order itself says.
        order_problem: Option<Problem>,
    },
}

impl OrderError {
    /// Whether the same may succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Request(error) => error.is_retryable(),
            Self::TimedOut { failures, .. } => failures.is_empty(),
            Self::NoCertificate { .. } | Self::UnknownProfile { .. } | Self::Validation { .. } => {
                false
            }
        }
    }

    /// How long the CA asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Request(error) => error.retry_after(),
            _ => None,
        }
    }

    /// The failure of the request, where it was one.
    pub fn request(&self) -> Option<&AcmeError> {
        match self {
            Self::Request(error) => Some(error),
            _ => None,
        }
    }

    /// Whether it is about too many requests or certificates.
    pub fn is_rate_limited(&self) -> bool {
        matches!(self, Self::Request(error) if error.is_rate_limited())
    }

    /// Whether somebody asked us to stop.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Request(AcmeError::Cancelled { .. }))
    }

    /// The names that the CA refused, where the error tells them.
    pub fn refused_names(&self) -> Vec<(Identifier, Option<Problem>)> {
        match self {
            Self::TimedOut { failures, .. } | Self::Validation { failures, .. } => failures
                .iter()
                .map(|f| (f.identifier.clone(), f.problem.clone()))
                .collect(),
            Self::Request(error) => error
                .problem()
                .into_iter()
                .flat_map(|problem| &problem.subproblems)
                .filter_map(|sub| Some((sub.subject()?, Some(sub.clone()))))
                .collect(),
            Self::NoCertificate { .. } | Self::UnknownProfile { .. } => Vec::new(),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoCertificate { .. } => None,
            Self::Request(error) => error.hint(),
            Self::TimedOut { .. } => Some(
                "the CA goes on by itself; the next run picks the order up where it stands"
                    .to_owned(),
            ),
            Self::UnknownProfile { known, .. } => Some(match known.is_empty() {
                true => "the CA offers no profiles at all; leave the profile out".to_owned(),
                false => format!("it offers {}", known.join(", ")),
            }),
            Self::Validation { failures, .. } => {
                let of = |kind: &str| {
                    let mut problems = failures.iter().filter_map(|f| f.problem.as_ref());
                    problems.any(|p| p.is(kind))
                };
                if of("caa") {
                    return Some(
                        "look at the CAA records of the name and of its parents".to_owned(),
                    );
                }
                if of("dns") {
                    return Some(
                        "the CA could not look the name up: see that every name server of the zone answers the whole \
                         Internet, and that its DNSSEC signatures are good"
                            .to_owned(),
                    );
                }
                if of("unauthorized") || of("incorrectResponse") {
                    return Some(
                        "the CA saw other TXT values than ours: its resolver may have kept old ones, or a name server \
                         we do not know answered it"
                            .to_owned(),
                    );
                }
                None
            }
        }
    }
}

fn reasons(failures: &[Failure], order_problem: Option<&Problem>) -> String {
    let mut reasons: Vec<String> = failures.iter().map(Failure::to_string).collect();
    // With names that failed, most CAs only repeat in the order what they say there.
    if reasons.is_empty() {
        reasons.extend(order_problem.map(Problem::to_string));
    }
    match reasons.is_empty() {
        true => " and gives no reason".to_owned(),
        false => format!(": {}", reasons.join("; ")),
    }
}

fn listed(waiting: &[Identifier]) -> String {
    match waiting.is_empty() {
        true => String::new(),
        false => {
            let names: Vec<_> = waiting.iter().map(Identifier::to_string).collect();
            format!(", waiting for {}", names.join(", "))
        }
    }
}
