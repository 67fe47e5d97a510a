//! Why it is not known where a value has to go.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::dns::DomainName;
use crate::dns::query::Upstream;
use crate::web::NoAnswer;

/// Why the place or the servers of a name are not known.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// Neither the zone's servers nor an encrypted resolver can be asked.
    #[error("{why}; {}", blindness(tried))]
    Blind {
        /// The name whose place was searched.
        name: DomainName,
        /// The encrypted resolvers and what they did instead.
        tried: Vec<Tried>,
        /// Why the zone's servers cannot be asked.
        why: String,
    },
    /// An alias points to where no zone can be found.
    #[error(
        "{} points to {target}, and no zone that could hold that name is found: {source}",
        arrows(chain)
    )]
    Dangling {
        /// The names from the challenge name to the one with the last alias.
        chain: Vec<DomainName>,
        /// Where the last alias points to.
        target: DomainName,
        /// What went wrong there.
        source: Box<Self>,
    },
    /// The system's configuration names no resolver, and none was given.
    #[error("no recursive resolver is known: {detail}")]
    NoResolver {
        /// Why.
        detail: String,
    },
    /// No recursive resolver answered.
    #[error(
        "no recursive resolver answered when asked about {name}: {}",
        list(tried)
    )]
    ResolverSilent {
        /// The name that was asked for.
        name: DomainName,
        /// The resolvers and what they did instead.
        tried: Vec<Tried>,
    },
    /// Aliases lead back to where they came from.
    #[error("aliases lead in a circle: {}", arrows(chain))]
    Loop {
        /// The names in the order they were followed; the last one is among the others.
        chain: Vec<DomainName>,
    },
    /// An alias points to what is no name.
    #[error("{owner} is an alias of `{target}`, which cannot be an owner name here")]
    Target {
        /// The alias.
        owner: DomainName,
        /// Where it points to.
        target: String,
    },
    /// The whole search took too long.
    #[error("finding the name servers of {name} took longer than {} s", after.as_secs())]
    TimedOut {
        /// The name whose place was searched.
        name: DomainName,
        /// The limit.
        after: Duration,
    },
    /// More aliases than a CA's resolver would follow.
    #[error("more than {} aliases, one after the other: {}", chain.len().saturating_sub(2), arrows(chain))]
    TooManyAliases {
        /// The names in the order they were followed.
        chain: Vec<DomainName>,
    },
    /// None of the servers of a zone gave a usable answer.
    #[error(
        "no name server of {zone} answers usefully for {name}: {}",
        list(tried)
    )]
    Unanswered {
        /// The zone, or `the given name servers`.
        zone: String,
        /// The name that was asked for.
        name: DomainName,
        /// The servers and what they did instead.
        tried: Vec<Tried>,
        /// Whether the servers were given by the user.
        given: bool,
    },
    /// Nobody knows a zone that the name could be in.
    #[error("no zone that contains {name} is {}", known_to(tried))]
    UnknownZone {
        /// The name.
        name: DomainName,
        /// Who was asked, and what they answered.
        tried: Vec<Tried>,
    },
}

impl DiscoveryError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Dangling { target, .. } => Some(format!(
                "point the alias to a zone that exists, or remove it; {target} has to be in a zone that a configured provider serves"
            )),
            Self::Blind { tried, .. } | Self::ResolverSilent { tried, .. }
                if distrust(tried).is_some() =>
            {
                distrust(tried).map(str::to_owned)
            }
            Self::Blind { .. } => Some(
                "open port 53 or HTTPS to a resolver (`--doh URL`, `HTTPS_PROXY`), or name servers that can be reached with `--nameserver`"
                    .to_owned(),
            ),
            Self::NoResolver { .. } | Self::ResolverSilent { .. } => Some(
                "name a resolver with `--resolver`, or the zone's own name servers with `--nameserver`"
                    .to_owned(),
            ),
            Self::Unanswered { given: true, tried, .. } if tried.iter().all(|t| t.silent) => Some(
                "is a name server running there, and can it be reached from here? look at the address and port given with `--nameserver`"
                    .to_owned(),
            ),
            Self::Unanswered { given: true, .. } => Some(
                "a server given with `--nameserver` has to be an authority for the zone itself; it is asked without recursion"
                    .to_owned(),
            ),
            Self::Unanswered { tried, .. } if tried.iter().all(|t| t.silent) => Some(
                "port 53 seems to be closed towards these servers; name servers that can be reached with `--nameserver`, or choose another proof with `--propagation`"
                    .to_owned(),
            ),
            Self::Unanswered { tried, .. } if tried.iter().any(|t| t.intercepted) => Some(
                "something on the way seems to answer in the servers' place, because the answers are not authoritative; name servers that can be reached with `--nameserver`, or choose another proof with `--propagation`"
                    .to_owned(),
            ),
            Self::UnknownZone { .. } => Some(
                "check the name; for a zone that is not in public DNS, name its servers with `--nameserver`"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    /// Whether port 53 seems to be closed, or somebody else to answer there.
    pub(super) fn is_closed_port(&self) -> bool {
        match self {
            Self::NoResolver { .. } | Self::ResolverSilent { .. } => true,
            Self::Unanswered { given, tried, .. } => {
                let shut = tried.iter().all(|t| t.silent);
                !given && (shut || tried.iter().any(|t| t.intercepted))
            }
            _ => false,
        }
    }

    /// Whether the same question may succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Dangling { source, .. } => source.is_retryable(),
            Self::Blind { .. }
            | Self::ResolverSilent { .. }
            | Self::TimedOut { .. }
            | Self::Unanswered { .. } => true,
            _ => false,
        }
    }
}

/// One server, and what it did instead of answering usefully.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Tried {
    /// Its address, or its URL.
    pub address: Upstream,
    /// What it did: `SERVFAIL`, `no answer`, `not authoritative`.
    pub problem: String,
    /// Whether nothing came at all.
    pub silent: bool,
    /// Whether an answer came that looks like somebody else's: with data, but without authority.
    pub intercepted: bool,
}

/// What to do where a resolver's certificate is not trusted.
fn distrust(tried: &[Tried]) -> Option<&'static str> {
    let mut hints = tried
        .iter()
        .map(|one| NoAnswer::hint_of_distrust(&one.problem));
    hints.find_map(|hint| hint)
}

impl Tried {
    pub(super) fn is_servfail(&self) -> bool {
        self.problem == "SERVFAIL"
    }

    pub(super) fn is_nxdomain(&self) -> bool {
        self.problem == "NXDOMAIN"
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address.address() {
            Some(address) if address.port() == 53 => {
                write!(f, "{} ({})", address.ip(), self.problem)
            }
            _ => write!(f, "{} ({})", self.address, self.problem),
        }
    }
}

fn known_to(tried: &[Tried]) -> String {
    match tried {
        [] => "found: the servers that were asked show no SOA record of one".to_owned(),
        _ => format!("known to {}", list(tried)),
    }
}

fn list(tried: &[Tried]) -> String {
    match tried {
        [] => "none of them has an address".to_owned(),
        _ => {
            let all: Vec<String> = tried.iter().map(Tried::to_string).collect();
            all.join(", ")
        }
    }
}

fn blindness(tried: &[Tried]) -> String {
    match tried {
        [] => "and no resolver over HTTPS is configured".to_owned(),
        _ => format!("and no resolver over HTTPS answers: {}", list(tried)),
    }
}

fn arrows(chain: &[DomainName]) -> String {
    let names: Vec<&str> = chain.iter().map(DomainName::as_str).collect();
    names.join(" -> ")
}
