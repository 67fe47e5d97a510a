//! The contract between the engine and whatever holds a zone.
//!
//! A provider adds and removes single TXT values, many at once, in one zone a call. It never replaces an RRset and
//! never removes a value that it was not told to remove; adding what is there and removing what is not are both
//! success. It answers for each change, so that one bad name fails alone. It knows nothing of ACME, and the engine
//! knows nothing of it beyond this trait. The zone writer owns the futures it returns: a call is never dropped half-way.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Deserialize;
use serde::Serialize;

use crate::dns::DomainName;
use crate::dns::Identifier;
use crate::dns::TxtValue;
use crate::web::NoAnswer;
use crate::words::rounded;

/// Something that can write TXT values into zones: a vendor's API, a name server, a plugin.
#[async_trait]
pub trait DnsProvider: fmt::Debug + Send + Sync {
    /// What this provider can do; constant for its life.
    fn capabilities(&self) -> Capabilities;

    /// Where it writes to, as a person would say it: `ns1.example.com:53`, `the Cloudflare API`.
    fn endpoint(&self) -> String;

    /// The deepest zone this account holds that contains `owner`; [`ProviderError::Unsupported`] where it cannot tell.
    async fn zone_of(&self, owner: &DomainName) -> Result<Zone, ProviderError>;

    /// The name servers that serve this very zone, as the provider tells them; none where it cannot or may not tell.
    ///
    /// The engine compares them with the delegation, because an account may hold a second zone of the same name that nobody asks.
    async fn name_servers(&self, _zone: &Zone) -> Result<Vec<DomainName>, ProviderError> {
        Ok(Vec::new())
    }

    /// Where an alias has to lead from the challenge name `asked`, which leads to `owner` now, so that this provider can answer
    /// for it; `None` where it can as it is. May prepare that place at the service.
    async fn alias_for(
        &self,
        _asked: &DomainName,
        _owner: &DomainName,
    ) -> Result<Option<DomainName>, ProviderError> {
        Ok(None)
    }

    /// Adds and removes single TXT values in one zone.
    ///
    /// Answers with one [`Outcome`] for each change, in the order of `changes`. `Err` means that the whole call failed
    /// and nothing is known to be applied; the caller may repeat it, because every change is idempotent.
    async fn apply(&self, zone: &Zone, changes: &[TxtChange]) -> Result<Applied, ProviderError>;

    /// Whether the provider itself says that what `receipt` stands for is served everywhere.
    async fn settled(&self, _receipt: &Receipt) -> Result<Settlement, ProviderError> {
        Ok(Settlement::Unknown)
    }

    /// The TXT values at `owner` as the provider tells them; `None` where it cannot.
    async fn values(
        &self,
        _zone: &Zone,
        _owner: &DomainName,
    ) -> Result<Option<Vec<TxtValue>>, ProviderError> {
        Ok(None)
    }

    /// The values in the zone that carry our mark, whoever of us wrote them; `None` where the provider keeps no mark beside a value.
    async fn marked(&self, _zone: &Zone) -> Result<Option<Vec<Marked>>, ProviderError> {
        Ok(None)
    }
}

/// A value that says itself that one of us has written it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Marked {
    /// The owner name.
    pub owner: DomainName,
    /// The value.
    pub value: TxtValue,
    /// Since when it is there, where the provider knows.
    pub since: Option<Timestamp>,
}

/// What a provider can do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Capabilities {
    /// Where it is a person who makes the changes, when they are told of them: how long to wait for that while nobody is known to watch.
    pub by_person: Option<Duration>,
    /// Whether it is told the domain of a certificate, and writes at the challenge name that belongs to it and nowhere else.
    pub challenge_names_only: bool,
    /// Whether the values at one owner name have to be one run's: from the first that is added until the last is withdrawn, no
    /// other run writes there. So it is where a removal may take other values with it.
    pub exclusive: bool,
    /// The most values it lets one owner name hold, where there is such a limit; challenges beyond it are answered in waves.
    pub max_values: Option<usize>,
    /// How long a call may go on writing after this process was killed, where a program of its own makes it; none where it ends with us.
    pub outlives: Option<Duration>,
    /// Whether values leave a name only as later ones push them out: a removal is done when nobody needs the value any more.
    pub overwrites: bool,
    /// Where a value may go that is only to show whether one can be written.
    pub probe: ProbeAt,
    /// The TTL in seconds for challenge values: the smallest it allows unless configured.
    pub ttl: u32,
    /// How long to let a change settle after the evidence is there, for anycast services.
    pub settle: Duration,
    /// Whether [`DnsProvider::settled`] ever answers anything but [`Settlement::Unknown`].
    pub tells_settled: bool,
    /// Whether that a change is applied is the bare word of a program or a server of somebody's, and nothing has read it back.
    pub unconfirmed: bool,
    /// Whether machines that know nothing of each other may write one owner name.
    pub write_safety: WriteSafety,
}

impl Capabilities {
    /// What writes any number of values, does nothing to others', and says no more of itself.
    pub const fn new(ttl: u32, write_safety: WriteSafety) -> Self {
        Self {
            by_person: None,
            challenge_names_only: false,
            exclusive: false,
            max_values: None,
            outlives: None,
            overwrites: false,
            probe: ProbeAt::Below,
            ttl,
            settle: Duration::ZERO,
            tells_settled: false,
            unconfirmed: false,
            write_safety,
        }
    }

    /// Whether the name servers have to bear out a removal: not where values stay until others push them out, nor where a person is told.
    pub fn is_looked_after(&self) -> bool {
        self.unconfirmed && !self.overwrites && self.by_person.is_none()
    }

    /// Whether runs take turns at an owner name: also where it holds so few values that those of another run would push ours out.
    pub fn takes_turns(&self) -> bool {
        self.exclusive || self.max_values.is_some_and(|most| most < FEW)
    }
}

/// Where an owner name holds fewer values than this, two orders do not fit beside each other; an order rarely needs more than
/// two values at one name.
const FEW: usize = 16;

/// Where a value may go that answers no challenge.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProbeAt {
    /// To a name below the challenge's owner, where nobody looks for it.
    Below,
    /// Nowhere, for this reason.
    Nowhere(&'static str),
    /// To the challenge's owner itself, because nothing else is written.
    Owner,
}

/// What happens when two machines write one owner name at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WriteSafety {
    /// Writes are conditional on what was read, and are repeated when somebody else wrote.
    CompareAndSwap,
    /// Each value is an object of its own.
    PerValue,
    /// A write may lose another machine's value.
    ReadModifyWrite,
}

/// A zone as one provider account holds it.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct Zone {
    /// The provider's own identifier of the zone; empty where the name is enough.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The apex of the zone.
    pub name: DomainName,
}

/// One value to add or to remove.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TxtChange {
    /// What to do with the value.
    pub action: Action,
    /// What the provider answered when the value was added; only with [`Action::Remove`].
    pub handle: Option<Handle>,
    /// The challenge that the value answers, for contracts of other tools that ask for it.
    pub origin: Option<Origin>,
    /// The owner name, inside the zone.
    pub owner: DomainName,
    /// The TTL in seconds for an added value.
    pub ttl: u32,
    /// The value.
    pub value: TxtValue,
}

/// The two writes there are.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Action {
    /// Put the value beside whatever is at the owner.
    Add,
    /// Take this value away and leave every other one.
    Remove,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "add",
            Self::Remove => "remove",
        })
    }
}

/// The challenge a value comes from (RFC 8555 section 8.4).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin {
    /// The identifier that is being validated.
    pub identifier: Identifier,
    /// token "." thumbprint of the account key.
    pub key_authorization: String,
    /// How many challenges of the same batch come after this one.
    pub remaining: usize,
    /// The token of the challenge.
    pub token: String,
}

/// A provider's own word for one added value, such as a record id; opaque to the engine, kept in the head.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Handle(pub String);

/// What became of a batch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Applied {
    /// One for each change, in the same order.
    pub outcomes: Vec<Outcome>,
    /// What [`DnsProvider::settled`] can be asked about.
    pub receipt: Receipt,
}

impl Applied {
    /// All of `changes` applied, without handles and without a receipt.
    pub fn all(changes: &[TxtChange]) -> Self {
        Self {
            outcomes: vec![Outcome::Applied { handle: None }; changes.len()],
            receipt: Receipt::default(),
        }
    }
}

/// What became of one change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The zone is as the change wants it.
    Applied {
        /// Kept, and given back with the removal.
        handle: Option<Handle>,
    },
    /// Refused for good; repeating it changes nothing.
    Refused {
        /// The server's words, and what to do.
        reason: String,
    },
    /// Nobody knows; the change may be repeated.
    Unknown {
        /// What happened instead of an answer.
        reason: String,
    },
}

/// What a provider wants to be asked about later, such as change ids; may be empty.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Receipt(pub Vec<String>);

/// A provider's answer to whether a change is served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Settlement {
    /// A person has to do something first.
    AwaitsPerson(String),
    /// Not yet; ask again after this long.
    Pending(Duration),
    /// Served everywhere.
    Settled,
    /// The provider cannot tell.
    Unknown,
}

/// Why a provider's call failed as a whole.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderError {
    /// The clocks of the server and of this machine differ by more than a signature may be old.
    #[error("{endpoint} refused the request for its time: {detail}")]
    Clock {
        /// How far apart they are, as far as it is told.
        detail: String,
        /// Where.
        endpoint: String,
    },
    /// Somebody else wrote at the same time, and the conditional write did not happen.
    #[error(
        "{endpoint} refused the change because somebody else changed {zone} at the same time: {detail}"
    )]
    Conflict {
        /// The server's words.
        detail: String,
        /// Where.
        endpoint: String,
        /// The zone that was being written.
        zone: DomainName,
    },
    /// Key, token or signature not accepted, or without a right it needs.
    #[error("{endpoint} refused the credentials: {detail}")]
    Credentials {
        /// The server's words.
        detail: String,
        /// Where.
        endpoint: String,
        /// Which permission is missing, or how to make better credentials.
        hint: Option<String>,
    },
    /// A program on this machine that makes the calls died, or did not end in time.
    #[error("{endpoint} failed: {detail}")]
    Failed {
        /// How it ended, and what it said last.
        detail: String,
        /// The program.
        endpoint: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The settings of the provider contradict each other or the zone.
    #[error("{detail}")]
    Misconfigured {
        /// What does not fit.
        detail: String,
        /// What to set instead.
        hint: Option<String>,
    },
    /// Too many requests.
    #[error("{endpoint} asks to come back {}: {detail}", when(*retry_after))]
    RateLimited {
        /// The server's words.
        detail: String,
        /// Where.
        endpoint: String,
        /// How long to stay away, where it says so.
        retry_after: Option<Duration>,
    },
    /// Refused for good.
    #[error("{endpoint} refused: {detail}")]
    Refused {
        /// The server's words.
        detail: String,
        /// Where.
        endpoint: String,
        /// What to do.
        hint: Option<String>,
    },
    /// No answer, or one that says that trying again may help.
    #[error("{endpoint} did not answer: {detail}")]
    Unreachable {
        /// What happened instead: time-out, connection refused, a 5xx, SERVFAIL.
        detail: String,
        /// Where.
        endpoint: String,
    },
    /// The provider cannot do this at all.
    #[error("{endpoint} cannot do this: {detail}")]
    Unsupported {
        /// What it cannot do.
        detail: String,
        /// Where.
        endpoint: String,
    },
    /// The account holds no zone that contains the owner name.
    #[error("{endpoint} holds no zone that contains {owner}")]
    ZoneNotFound {
        /// Where.
        endpoint: String,
        /// Zones the account does hold, where it can tell; may be cut short.
        held: Vec<DomainName>,
        /// The name that should be written.
        owner: DomainName,
    },
}

/// Until when a server asks to be left alone.
fn when(retry_after: Option<Duration>) -> String {
    match retry_after {
        Some(after) => format!("in {}", rounded(after)),
        None => "later".to_owned(),
    }
}

/// By what the ways to a server have to say (`web::NoAnswer` among them).
fn unreachable_hint(detail: &str) -> &'static str {
    if let Some(hint) = NoAnswer::hint_of_distrust(detail) {
        return hint;
    }
    let detail = detail.to_ascii_lowercase();
    let says = |words: &str| detail.contains(words);
    match () {
        () if says("the proxy http") || says("the proxy socks") => {
            "look at HTTPS_PROXY, and at what the proxy allows; NO_PROXY=HOST goes around it"
        }
        () if says("servfail") => {
            "the log of the server says why: often a zone file or journal that it cannot write, or more values at a name than it allows (`max-records-per-type` of BIND)"
        }
        () if says("connection refused") => {
            "nothing listens there: is the server running, and are its address and port right?"
        }
        () => {
            "check its address and the network, or try again later; HTTP goes through the proxy in HTTPS_PROXY unless NO_PROXY names the host"
        }
    }
}

impl ProviderError {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Conflict { .. }
                | Self::Failed { .. }
                | Self::RateLimited { .. }
                | Self::Unreachable { .. }
        )
    }

    /// How long the server asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Credentials { hint, .. }
            | Self::Failed { hint, .. }
            | Self::Misconfigured { hint, .. }
            | Self::Refused { hint, .. } => hint.clone(),
            Self::Clock { .. } => Some("set the clocks of both machines, best by NTP".to_owned()),
            Self::Unreachable { detail, .. } => Some(unreachable_hint(detail).to_owned()),
            Self::ZoneNotFound { held, .. } if !held.is_empty() => {
                let shown = held.iter().take(SHOWN_ZONES).map(DomainName::as_str);
                let shown = shown.collect::<Vec<&str>>().join(", ");
                Some(match held.len().saturating_sub(SHOWN_ZONES) {
                    0 => format!("the account holds {shown}"),
                    more => format!("the account holds {shown} and {more} more"),
                })
            }
            Self::RateLimited {
                retry_after: None, ..
            } => Some("it does not say until when: try again later".to_owned()),
            _ => None,
        }
    }
}

/// Zones that a hint names; an account may hold any number.
const SHOWN_ZONES: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_to_come_later_is_told_until_when() {
        let limited = |retry_after| ProviderError::RateLimited {
            detail: "429 Too Many Requests".to_owned(),
            endpoint: "https://dns.test/".to_owned(),
            retry_after,
        };
        let error = limited(Some(Duration::from_secs(7200)));
        assert_eq!(
            error.to_string(),
            "https://dns.test/ asks to come back in 2h: 429 Too Many Requests"
        );
        let hint = limited(None).hint().unwrap();
        assert!(hint.contains("later"), "{hint}");
    }

    #[test]
    fn of_many_zones_a_few_are_named() {
        let zones = (0..100_000).map(|n| format!("z{n}.test").parse().unwrap());
        let error = ProviderError::ZoneNotFound {
            endpoint: "the plugin `x`".to_owned(),
            held: zones.collect(),
            owner: "a.example".parse().unwrap(),
        };
        let hint = error.hint().unwrap();
        assert!(
            hint.starts_with("the account holds z0.test, z1.test"),
            "{hint}"
        );
        assert!(hint.ends_with(" and 99990 more"), "{hint}");
    }
}
