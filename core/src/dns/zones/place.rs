//! Where values go, what speaks against it, and why it cannot be told.

use std::time::Duration;

use crate::dns::DiscoveryError;
use crate::dns::DomainName;
use crate::dns::Location;
use crate::dns::NamedProvider;
use crate::dns::ProviderError;
use crate::dns::RouteError;
use crate::dns::Zone;

/// What speaks against a place, and may be different where the CA looks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Doubt {
    /// What.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Doubt {
    pub(super) fn of(error: &PlaceError) -> Self {
        Self {
            message: error.to_string(),
            hint: error.hint(),
        }
    }
}

/// Where values go.
#[derive(Clone, Debug)]
pub struct Place {
    /// What speaks against it.
    pub doubt: Option<Doubt>,
    /// The final owner and the servers of its zone.
    pub location: Location,
    /// Who writes it.
    pub provider: NamedProvider,
    /// The zone, as the provider knows it.
    pub zone: Zone,
}

impl Place {
    /// How long a change here takes to settle after the evidence.
    pub fn settle(&self) -> Duration {
        self.provider.provider.capabilities().settle
    }

    /// The TTL in seconds for values here.
    pub fn ttl(&self) -> u32 {
        self.provider.provider.capabilities().ttl
    }
}

/// Why it cannot be told where values go.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// The value is to stay at the challenge name, where an alias stands.
    #[error(
        "the value for {owner} is to go to that very name, and an alias leads from there to {target}: no value can stand beside it"
    )]
    AliasThere {
        /// The challenge name.
        owner: DomainName,
        /// Where it leads.
        target: DomainName,
    },
    /// The provider answers for the name where an alias leads to it, and none does.
    #[error(
        "{endpoint} answers for {owner} at {target}, {}",
        match seen {
            Some(seen) => format!("and {owner} leads to {seen}"),
            None => format!("and {owner} is no alias of it"),
        }
    )]
    AliasWanted {
        /// The provider.
        endpoint: String,
        /// The challenge name.
        owner: DomainName,
        /// Where it leads, if anywhere.
        seen: Option<DomainName>,
        /// Where it has to lead.
        target: DomainName,
    },
    /// DNS did not say where the name lives.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// The provider makes the name from that of the certificate, and the value belongs elsewhere.
    #[error(
        "{endpoint} writes at the challenge name itself and nowhere else, and {asked} leads to {owner}"
    )]
    NoAlias {
        /// The challenge name.
        asked: DomainName,
        /// The provider.
        endpoint: String,
        /// The final owner name.
        owner: DomainName,
    },
    /// No alias leads to where the user says that the challenge lives.
    #[error(
        "the value for {owner} is to go to {target}, but {}",
        match seen {
            Some(seen) => format!("{owner} leads to {seen}"),
            None => format!("{owner} is no alias of it"),
        }
    )]
    NotDelegated {
        /// The challenge name.
        owner: DomainName,
        /// Where the user says that it leads.
        target: DomainName,
        /// Where it leads, if anywhere.
        seen: Option<DomainName>,
    },
    /// The provider did not say which zone it holds.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// No provider is configured for it.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The provider's word is to be the proof, and it has none to give.
    #[error(
        "the proof that a value is served at {owner} is to be the provider's word, and {endpoint} never says so"
    )]
    Wordless {
        /// The provider.
        endpoint: String,
        /// The final owner name.
        owner: DomainName,
    },
    /// The provider would write into a zone that nobody asks.
    #[error("{endpoint} holds {owner} in its zone {held}, but DNS serves it from {served}")]
    ZoneMismatch {
        /// The provider.
        endpoint: String,
        /// The zone it would write.
        held: DomainName,
        /// The final owner name.
        owner: DomainName,
        /// The zone that DNS delegates to.
        served: DomainName,
    },
}

impl PlaceError {
    /// Whether the same question may be answered later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Discovery(error) => error.is_retryable(),
            Self::Provider(error) => error.is_retryable(),
            Self::AliasThere { .. }
            | Self::AliasWanted { .. }
            | Self::NoAlias { .. }
            | Self::NotDelegated { .. }
            | Self::Route(_)
            | Self::Wordless { .. }
            | Self::ZoneMismatch { .. } => false,
        }
    }

    /// How long the provider asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Provider(error) => error.retry_after(),
            _ => None,
        }
    }

    /// The alias that somebody has to set: from where to where.
    pub fn alias(&self) -> Option<(&DomainName, &DomainName)> {
        match self {
            Self::AliasWanted { owner, target, .. } => Some((owner, target)),
            _ => None,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Discovery(error) => error.hint(),
            Self::Provider(error) => error.hint(),
            Self::AliasThere { .. } => Some(
                "remove that CNAME, or let the challenge live where it leads: leave `--delegation none` out"
                    .to_owned(),
            ),
            Self::NoAlias { owner, .. } => Some(format!(
                "this kind is told the domain and not the name to write: let a provider of another kind write {owner}, or remove the alias"
            )),
            Self::AliasWanted { owner, target, .. } | Self::NotDelegated { owner, target, .. } => {
                Some(format!("set `{} CNAME {}`", owner.fqdn(), target.fqdn()))
            }
            Self::Route(error) => error.hint(),
            Self::Wordless { .. } => Some("choose another proof with `--propagation`".to_owned()),
            Self::ZoneMismatch { held, served, .. } if served.is_within(held) => Some(format!(
                "{served} is delegated away from {held}; configure the provider that holds {served}"
            )),
            Self::ZoneMismatch { held, .. } => Some(format!(
                "delegate {held} with NS records, or remove that zone from the provider"
            )),
        }
    }
}
