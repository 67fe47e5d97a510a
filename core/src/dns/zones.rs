//! The zone side as one thing: where a challenge lives, who writes it, and whether it is served.
//!
//! [`Zones::place`] follows the challenge name to its final owner, finds the provider by the longest suffix, and compares the
//! provider's zone with the zone cut that DNS shows, so that a shadowed parent or a second zone of the same name is found
//! before anything is written. Writing goes through the zone's writer; proof comes from the authoritative servers.

mod place;

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::place::Doubt;
pub use self::place::Place;
pub use self::place::PlaceError;
use crate::dns::Announcement;
use crate::dns::Delegation;
use crate::dns::DelegationRules;
use crate::dns::Discovery;
use crate::dns::DiscoveryError;
use crate::dns::DomainName;
use crate::dns::Hurry;
use crate::dns::Location;
use crate::dns::Mode;
use crate::dns::NamedProvider;
use crate::dns::Onlooker;
use crate::dns::Propagation;
use crate::dns::PropagationError;
use crate::dns::PropagationPolicy;
use crate::dns::Proven;
use crate::dns::ProviderError;
use crate::dns::Receipt;
use crate::dns::Report;
use crate::dns::RouteError;
use crate::dns::Routes;
use crate::dns::Settlement;
use crate::dns::Submission;
use crate::dns::TxtChange;
use crate::dns::Wanted;
use crate::dns::Zone;
use crate::dns::ZoneServers;
use crate::dns::ZoneWriters;
use crate::event::Events;
use crate::event::What;

/// Everything that is known about zones, and the ways to write them.
#[derive(Debug)]
pub struct Zones {
    /// Zones of which no server and no resolver could be asked, and that this was told of.
    blind: Mutex<HashSet<DomainName>>,
    delegation: DelegationRules,
    discovery: Discovery,
    events: Events,
    /// One question to a provider for each zone cut, however many names are below it.
    held: Mutex<HashMap<(String, DomainName), Held>>,
    onlooker: Onlooker,
    propagation: Propagation,
    routes: Routes,
    writers: ZoneWriters,
}

impl Zones {
    /// Puts the parts together.
    pub fn new(
        routes: Routes,
        discovery: Discovery,
        propagation: Propagation,
        events: Events,
    ) -> Self {
        Self {
            blind: Mutex::default(),
            delegation: DelegationRules::default(),
            onlooker: Onlooker::new(propagation.asker().clone(), discovery.clone()),
            discovery,
            held: Mutex::default(),
            propagation,
            routes,
            writers: ZoneWriters::new(events.clone()),
            events,
        }
    }

    /// The same with another patience for providers that fail; see [`ZoneWriters::with_patience`].
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.writers = self.writers.with_patience(patience);
        self
    }

    /// The same, with what a user says about where challenges live.
    pub fn with_delegation(mut self, rules: DelegationRules) -> Self {
        self.delegation = rules;
        self
    }

    /// Where values for `owner` go: the final owner, its zone, and who serves it.
    pub async fn place(&self, owner: &DomainName) -> Result<Place, PlaceError> {
        let mut doubt = None;
        let rule = self.delegation.of(owner);
        let located = match rule {
            Delegation::Follow => self.discovery.locate(owner).await,
            Delegation::To(target) if target != owner => {
                let (location, seen) = tokio::join!(
                    self.discovery.locate_at(owner, target),
                    self.discovery.locate(owner)
                );
                if let Ok(location) = &location {
                    doubt = compare(target, location, seen)?;
                }
                location
            }
            // Its own name as the target is no delegation, too.
            Delegation::Here | Delegation::To(_) => {
                let (location, alias) = tokio::join!(
                    self.discovery.locate_here(owner),
                    self.discovery.alias_at(owner)
                );
                if let (Ok(location), Some(target)) = (&location, alias) {
                    doubt = unless_given(
                        PlaceError::AliasThere {
                            owner: owner.clone(),
                            target,
                        },
                        location,
                    )?;
                }
                location
            }
        };
        let location = match (located, rule) {
            (Err(error @ DiscoveryError::Blind { .. }), Delegation::To(target)) => {
                return self.place_blindly(owner, target, error).await;
            }
            (Err(error @ DiscoveryError::Blind { .. }), _) => {
                return self.place_blindly(owner, owner, error).await;
            }
            (located, _) => located?,
        };
        let provider = self.routes.provider_for(&location.owner)?.clone();
        if provider.provider.capabilities().challenge_names_only && location.is_delegated() {
            return Err(PlaceError::NoAlias {
                asked: owner.clone(),
                endpoint: provider.provider.endpoint(),
                owner: location.owner,
            });
        }
        let alias = provider.provider.alias_for(owner, &location.owner).await?;
        if let Some(target) = alias.filter(|target| *target != location.owner) {
            return Err(PlaceError::AliasWanted {
                endpoint: provider.provider.endpoint(),
                owner: owner.clone(),
                seen: location.is_delegated().then_some(location.owner),
                target,
            });
        }
        let cut = &location.zone.zone;
        let cell: Held = {
            let mut held = self.held.lock().await;
            held.entry((provider.name.clone(), cut.clone()))
                .or_default()
                .clone()
        };
        let zone = cell
            .0
            .get_or_try_init(|| self.zone_at(&provider, &location))
            .await?
            .clone();
        if zone.name != *cut {
            return Err(PlaceError::ZoneMismatch {
                endpoint: provider.provider.endpoint(),
                held: zone.name,
                owner: location.owner.clone(),
                served: cut.clone(),
            });
        }
        Ok(Place {
            doubt,
            location,
            provider,
            zone,
        })
    }

    /// The same for values that have to be proven: also says beforehand when nothing can prove them.
    pub async fn place_to_prove(&self, owner: &DomainName) -> Result<Place, PlaceError> {
        let place = self.place(owner).await?;
        let owner = &place.location.owner;
        let provider = &place.provider.provider;
        if self.policy_for(owner).mode == Mode::Provider && !provider.capabilities().tells_settled {
            return Err(PlaceError::Wordless {
                endpoint: provider.endpoint(),
                owner: owner.clone(),
            });
        }
        Ok(place)
    }

    /// Where the provider of a challenge name wants an alias of it to lead; none where it has no wish. May prepare that place.
    pub async fn alias_for(&self, owner: &DomainName) -> Result<Option<DomainName>, PlaceError> {
        let provider = self.routes.provider_for(owner)?;
        Ok(provider.provider.alias_for(owner, owner).await?)
    }

    /// The place as the provider alone knows it, where nobody can be asked.
    async fn place_blindly(
        &self,
        asked: &DomainName,
        owner: &DomainName,
        error: DiscoveryError,
    ) -> Result<Place, PlaceError> {
        if matches!(self.policy_for(owner).mode, Mode::Authoritative | Mode::Doh) {
            return Err(error.into());
        }
        let provider = self.routes.provider_for(owner)?.clone();
        let zone = self.zone_of(&provider, owner).await?;
        if self.blind.lock().await.insert(zone.name.clone()) {
            self.events.warn(
                format!(
                    "{error}; the zone {} is taken from {}, and a delegation of challenge names would go unnoticed",
                    zone.name,
                    provider.provider.endpoint()
                ),
                error.hint(),
            );
        }
        let chain = [owner].into_iter().filter(|owner| *owner != asked);
        Ok(Place {
            doubt: None,
            location: Location {
                asked: asked.clone(),
                chain: chain.cloned().collect(),
                owner: owner.clone(),
                wildcard: None,
                zone: Arc::new(ZoneServers {
                    zone: zone.name.clone(),
                    servers: Vec::new(),
                    given: false,
                    negative_ttl: Duration::ZERO,
                }),
            },
            provider,
            zone,
        })
    }

    /// The configured provider with this name.
    pub fn provider(&self, name: &str) -> Result<&NamedProvider, RouteError> {
        self.routes.by_name(name)
    }

    /// Says that changes will come soon; see [`ZoneWriters::announce`].
    pub fn announce(&self) -> Announcement {
        self.writers.announce()
    }

    /// How zones and servers are found; what it has learned is shared.
    pub fn discovery(&self) -> &Discovery {
        &self.discovery
    }

    /// Looks at the name servers, for whoever believes nobody.
    pub(super) fn onlooker(&self) -> &Onlooker {
        &self.onlooker
    }

    /// Hands changes to the writer of a zone.
    pub fn submit(
        &self,
        provider: &NamedProvider,
        zone: &Zone,
        changes: Vec<TxtChange>,
        cancel: &CancellationToken,
    ) -> Submission {
        self.writers.submit(provider, zone, changes, cancel)
    }

    /// Waits until the values are served, and at least so long more as `times` says first, but not longer than it says then; tells each owner as it is proven. Of the owner names in
    /// `vouched` the provider has said that it serves them; see [`Self::await_settled`].
    pub async fn await_visible(
        &self,
        wanted: Vec<Wanted>,
        vouched: BTreeSet<DomainName>,
        times: (Duration, Option<Duration>),
        cancel: &CancellationToken,
        on_proven: impl FnMut(Proven) + Send,
    ) -> Result<Report, PropagationError> {
        let (settle, at_most) = times;
        let propagation = match at_most {
            Some(at_most) => self.propagation.within(at_most),
            None => self.propagation.clone(),
        };
        propagation
            .settling(settle)
            .vouched(vouched)
            .await_visible_each(wanted, cancel, on_proven)
            .await
    }

    /// Looks for values that nobody needs, and that are to tell whether others would be seen: the same evidence, in a hurry.
    /// Answers with what was seen in the end, proof or not; `None` where it was cancelled.
    pub(crate) async fn try_visible(
        &self,
        wanted: Vec<Wanted>,
        vouched: BTreeSet<DomainName>,
        hurry: Hurry,
        cancel: &CancellationToken,
    ) -> Option<Report> {
        let propagation = self.propagation.hurrying(hurry).vouched(vouched);
        match propagation.await_visible(wanted, cancel).await {
            Ok(report) => Some(report),
            Err(PropagationError::NotVisible { report, .. }) => Some(*report),
            Err(PropagationError::Cancelled) => None,
        }
    }

    /// What is evidence for an owner name, and how long is waited for it.
    pub(crate) fn policy_for(&self, owner: &DomainName) -> &PropagationPolicy {
        self.propagation.policy_for(owner)
    }

    /// Whether a look at this place is a question to resolvers, which remember what they say.
    pub(crate) fn asks_resolvers(&self, place: &Location) -> bool {
        self.propagation.asks_resolvers(&place.owner, &place.zone)
    }

    /// Waits until the provider itself says that a change is served, where it can say that; answers whether it did.
    ///
    /// Its word spares the name servers questions that come too early, and counts where they cannot be asked. So what goes wrong here
    /// is a warning, and the wait is bounded as theirs for the owner names of the change.
    pub async fn await_settled(
        &self,
        provider: &NamedProvider,
        receipt: &Receipt,
        owners: &BTreeSet<DomainName>,
        cancel: &CancellationToken,
    ) -> Result<bool, PropagationError> {
        if receipt.0.is_empty() || !provider.provider.capabilities().tells_settled {
            return Ok(false);
        }
        let asking = async {
            loop {
                let started = Instant::now();
                let result = provider.provider.settled(receipt).await;
                self.events.emit(What::ProviderCall {
                    provider: provider.name.clone(),
                    call: "settled",
                    zone: None,
                    adds: 0,
                    removes: 0,
                    error: result.as_ref().err().map(ToString::to_string),
                    elapsed: started.elapsed(),
                });
                let pause = match result {
                    Ok(Settlement::Pending(pause)) => pause,
                    Ok(Settlement::Settled) => return true,
                    Ok(Settlement::Unknown) => return false,
                    Ok(Settlement::AwaitsPerson(what)) => {
                        self.events.warn(what, None);
                        return false;
                    }
                    Err(error) if error.is_retryable() => error.retry_after().unwrap_or(ASK_AGAIN),
                    Err(error) => {
                        self.events.warn(
                            format!("the provider does not say when a change is served: {error}"),
                            error.hint(),
                        );
                        return false;
                    }
                };
                self.events.emit(What::Waiting {
                    reason: format!(
                        "{} to serve the change everywhere",
                        provider.provider.endpoint()
                    ),
                    at_most: None,
                });
                tokio::time::sleep(pause).await;
            }
        };
        let timeouts = owners.iter().map(|owner| self.policy_for(owner).timeout);
        let timeout = timeouts.max().unwrap_or_default();
        tokio::select! {
            settled = tokio::time::timeout(timeout, asking) => {
                Ok(settled.unwrap_or(false))
            }
            () = cancel.cancelled() => Err(PropagationError::Cancelled),
        }
    }

    /// Looks once, and tells what every server says.
    pub async fn look(&self, wanted: &[Wanted]) -> Report {
        self.propagation.look(wanted).await
    }

    /// The provider's zone for a place; one that is not what DNS delegates to is told, once.
    async fn zone_at(
        &self,
        provider: &NamedProvider,
        location: &Location,
    ) -> Result<Zone, ProviderError> {
        let delegated = &location.zone;
        let zone = match self.zone_of(provider, &location.owner).await {
            // The contracts of other tools tell no zones: then DNS alone says which it is.
            Err(ProviderError::Unsupported { .. }) => {
                return Ok(Zone {
                    id: String::new(),
                    name: delegated.zone.clone(),
                });
            }
            zone => zone?,
        };
        if delegated.given || delegated.servers.is_empty() || zone.name != delegated.zone {
            return Ok(zone);
        }
        // What cannot be compared is no failure: the values are looked for at the delegated servers in any case.
        let held = provider
            .provider
            .name_servers(&zone)
            .await
            .unwrap_or_default();
        let asked: Vec<&str> = delegated.servers.iter().map(|s| s.name.as_str()).collect();
        let known = |server: &DomainName| {
            asked.iter().any(|name| {
                name.trim_end_matches('.')
                    .eq_ignore_ascii_case(server.as_str())
            })
        };
        if !held.is_empty() && !held.iter().any(known) {
            let held: Vec<&str> = held.iter().map(DomainName::as_str).collect();
            self.events.warn(
                format!(
                    "{} serves its zone {}{} from {}, but DNS delegates {} to {}",
                    provider.provider.endpoint(),
                    zone.name,
                    match zone.id.as_str() {
                        "" => String::new(),
                        id => format!(" ({id})"),
                    },
                    held.join(", "),
                    zone.name,
                    asked.join(", ")
                ),
                Some(format!(
                    "if those are not other names of the same servers, values written there are seen by nobody: use the account or the zone that {} is delegated to",
                    zone.name
                )),
            );
        }
        Ok(zone)
    }

    async fn zone_of(
        &self,
        provider: &NamedProvider,
        owner: &DomainName,
    ) -> Result<Zone, ProviderError> {
        let started = Instant::now();
        let result = provider.provider.zone_of(owner).await;
        self.events.emit(What::ProviderCall {
            provider: provider.name.clone(),
            call: "zone_of",
            zone: result.as_ref().ok().map(|zone| zone.name.clone()),
            adds: 0,
            removes: 0,
            error: result.as_ref().err().map(ToString::to_string),
            elapsed: started.elapsed(),
        });
        result
    }
}

/// Whether DNS leads from the challenge name to where the user says that it does; what speaks against it, and is not certain.
fn compare(
    target: &DomainName,
    said: &Location,
    seen: Result<Location, DiscoveryError>,
) -> Result<Option<Doubt>, PlaceError> {
    let error = match seen {
        Ok(seen) if seen.owner == said.owner => return Ok(None),
        // The very alias that is hidden by a wildcard with the same target.
        Ok(seen) if seen.wildcard.as_ref() == Some(target) => return Ok(None),
        Ok(seen) => {
            let error = PlaceError::NotDelegated {
                owner: said.asked.clone(),
                target: target.clone(),
                seen: seen.is_delegated().then(|| seen.owner.clone()),
            };
            return unless_given(error, &seen);
        }
        Err(error) => error.into(),
    };
    Ok(Some(Doubt::of(&error)))
}

/// The error, or only a doubt where the servers were given by hand: the CA may see something else than they show.
fn unless_given(error: PlaceError, seen: &Location) -> Result<Option<Doubt>, PlaceError> {
    match seen.zone.given {
        true => Ok(Some(Doubt::of(&error))),
        false => Err(error),
    }
}

/// A zone that a provider was asked for, or is being asked for.
#[derive(Clone, Debug, Default)]
struct Held(Arc<OnceCell<Zone>>);

/// Between two questions to a provider that failed to answer one.
const ASK_AGAIN: Duration = Duration::from_secs(5);
