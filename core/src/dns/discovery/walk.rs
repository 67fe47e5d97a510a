//! The walk from the top-level domain down to the zone that holds a name.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RData;
use hickory_proto::rr::RecordType;
use tokio::time::Instant;
use tokio::time::sleep;

use super::Discovery;
use super::error::DiscoveryError;
use super::error::Tried;
use super::resolve::Errand;
use super::resolve::Fill;
use super::resolve::Pace;
use super::resolve::race;
use super::zones::Known;
use super::zones::Learned;
use super::zones::NameServer;
use super::zones::Servers;
use super::zones::ZoneServers;
use crate::dns::DomainName;
use crate::dns::query::Family;
use crate::dns::query::Reply;
use crate::dns::query::from_wire;

/// A useful answer of a zone's server.
#[derive(Debug)]
pub(in crate::dns) enum Answer {
    /// With authority.
    Authoritative(Reply),
    /// The name is in a zone below.
    Referral { child: DomainName, servers: Servers },
}

impl Discovery {
    /// Asks the servers of the zone that holds `name`, finding them first; answers with the zone as far as it is known.
    ///
    /// The zone is exact unless the answer is an alias, which does not tell whether its servers hold a deeper zone, too;
    /// see [`Self::apex_of`].
    pub(super) async fn walk_servers(
        &self,
        name: &DomainName,
        rtype: RecordType,
    ) -> Result<(Arc<Known>, Reply), DiscoveryError> {
        for _ in 0..MOST_STEPS {
            let known = match (self.own_top(name), self.nearest(name)) {
                // The public servers above a zone of one's own know nothing of it.
                (Some(own), known) if known.as_ref().is_none_or(|k| k.depth() < own) => {
                    self.top_from(name, own).await?
                }
                (_, Some(known)) => known,
                (_, None) => self.top_from(name, 1).await?,
            };
            // Of the names that share their next label, one goes first, so that a hundred of them find the zone cut once.
            let next = name.suffix(known.depth() + 1);
            let mut first = None;
            if next != *name {
                let guard = self.inner.cache.path(&next).lock_owned().await;
                let moved = |now: Arc<Known>| now.depth() > known.depth();
                if self.nearest(name).is_some_and(moved) {
                    continue;
                }
                first = (!*guard).then_some(guard);
            }

            let answer = match self.query(&known, name, rtype).await {
                // The servers that the parent gave addresses for are not always all there are.
                Err(_) if known.servers.lacks_addresses() && !known.complete.initialized() => {
                    self.complete(&known, name).await?;
                    self.query(&known, name, rtype).await?
                }
                other => other?,
            };
            match answer {
                Answer::Authoritative(reply) => {
                    match own_apex(&reply) {
                        // One server can hold parent and child, and then never refers from one to the other.
                        Some(apex)
                            if apex.label_count() > known.depth() && name.is_within(&apex) =>
                        {
                            self.same_servers(&known, &apex, name).await?;
                        }
                        _ => {
                            if let Some(guard) = &mut first {
                                **guard = true;
                            }
                            return Ok((known, reply));
                        }
                    }
                }
                Answer::Referral { child, servers } => {
                    let errand = Errand {
                        owner: name,
                        zone: &child,
                        at_the_top: false,
                    };
                    self.learn(&child, self.establish(servers, None, errand))
                        .await?;
                }
            }
        }
        Err(DiscoveryError::UnknownZone {
            name: name.clone(),
            tried: Vec::new(),
        })
    }

    /// The deepest zone whose servers are known or given.
    pub(super) fn nearest(&self, name: &DomainName) -> Option<Arc<Known>> {
        let found = self.inner.cache.deepest(name);
        found.or_else(|| self.inner.given.clone())
    }

    /// Asks the servers of one zone without recursion, until one answers usefully.
    pub(in crate::dns) async fn query(
        &self,
        known: &Known,
        name: &DomainName,
        rtype: RecordType,
    ) -> Result<Answer, DiscoveryError> {
        self.query_at(known, name, rtype, PACE).await
    }

    async fn query_at(
        &self,
        known: &Known,
        name: &DomainName,
        rtype: RecordType,
        pace: Pace,
    ) -> Result<Answer, DiscoveryError> {
        if known.scouted {
            return Ok(Answer::Authoritative(self.scout(name, rtype).await?));
        }
        let port = self.inner.asker.options().port;
        let family = self.inner.asker.options().family;
        let mut addresses = known.addresses();
        let own = self.inner.options.family_for(name);
        addresses.retain(|address| {
            known.given || (family.allows(address.ip()) && own.allows(address.ip()))
        });
        let ask = |address| async move {
            let reply = self.inner.asker.ask(address, name, rtype).await;
            let reply = reply.map_err(|error| Tried::silent(address, &error))?;
            if reply.authoritative || reply.rcode == ResponseCode::NoError {
                self.hear(name);
            }
            let answer = judge(reply, known, name, port, family)?;
            Ok((address, answer))
        };
        let mut pauses = PAUSES.iter();
        let asked = loop {
            let asked = race(&addresses, pace, ask).await;
            match (&asked, pauses.next()) {
                (Err(tried), Some(pause)) if may_pass(tried) => sleep(*pause).await,
                _ => break asked,
            }
        };
        match asked {
            Ok((address, answer)) => {
                known.prefer(address);
                Ok(answer)
            }
            Err(tried) => Err(DiscoveryError::Unanswered {
                zone: known.label(),
                name: name.clone(),
                tried,
                given: known.given,
            }),
        }
    }

    /// All servers of a zone with all their addresses.
    pub(in crate::dns) async fn complete(
        &self,
        known: &Known,
        owner: &DomainName,
    ) -> Result<Arc<ZoneServers>, DiscoveryError> {
        let Some(zone) = &known.apex else {
            return Err(DiscoveryError::UnknownZone {
                name: owner.clone(),
                tried: Vec::new(),
            });
        };
        let complete = known.complete.get_or_init(|| async {
            let mut servers = known.servers.clone();
            if known.scouted {
                servers = self.scouted_servers(zone).await;
            }
            let errand = Errand {
                owner,
                zone,
                at_the_top: false,
            };
            let filling = async {
                if !known.given && !known.scouted {
                    self.fill(&mut servers, Fill::Everything, errand).await;
                }
            };
            let ((), soa) = join(filling, self.query(known, zone, RecordType::SOA)).await;
            let negative_ttl = match soa {
                Ok(Answer::Authoritative(reply)) => reply.soa().map(|soa| soa.negative_ttl),
                _ => None,
            };
            Arc::new(ZoneServers {
                zone: zone.clone(),
                servers: servers.into_list(match known.scouted {
                    true => "cannot be asked from here",
                    false => "no address is found for its name",
                }),
                given: known.given,
                negative_ttl: negative_ttl.unwrap_or(NEGATIVE_TTL),
            })
        });
        Ok(complete.await.clone())
    }

    /// The zone that holds a name whose own answer does not tell it, found from the name upwards.
    pub(in crate::dns) async fn apex_of(
        &self,
        known: Arc<Known>,
        name: &DomainName,
    ) -> Result<Arc<Known>, DiscoveryError> {
        let mut at = Some(name.clone());
        while let Some(candidate) = at {
            if candidate.label_count() <= known.depth() {
                break;
            }
            if let Answer::Authoritative(reply) =
                self.query(&known, &candidate, RecordType::SOA).await?
                && let Some(apex) = own_apex(&reply)
            {
                return match apex.label_count() > known.depth() {
                    true => self.same_servers(&known, &apex, name).await,
                    false => Ok(known),
                };
            }
            // An alias itself, as everything below the wildcard.
            at = candidate.parent();
        }
        Ok(known)
    }

    /// A zone below `known` that the same servers hold.
    async fn same_servers(
        &self,
        known: &Arc<Known>,
        apex: &DomainName,
        owner: &DomainName,
    ) -> Result<Arc<Known>, DiscoveryError> {
        if known.scouted {
            return Ok(self.scouted(apex));
        }
        if known.given {
            let child = Known::new(Some(apex.clone()), true, known.servers.clone());
            self.inner.cache.put(apex, child.clone());
            return Ok(child);
        }
        let errand = Errand {
            owner,
            zone: apex,
            at_the_top: false,
        };
        self.learn(
            apex,
            self.establish(Servers::default(), Some(known.clone()), errand),
        )
        .await
    }

    /// How many labels the zone has that resolvers of its own were given for.
    fn own_top(&self, name: &DomainName) -> Option<usize> {
        let own = self.inner.options.own_resolvers(name);
        own.map(|(zone, _)| zone.label_count())
    }

    /// The first zone above `owner`, with at least `from` labels, that the resolver knows reachable servers of.
    async fn top_from(
        &self,
        owner: &DomainName,
        from: usize,
    ) -> Result<Arc<Known>, DiscoveryError> {
        let mut unknown = Vec::new();
        let mut unanswered = None;
        // Never the owner itself: its absence would be remembered.
        for depth in from..owner.label_count().max(from + 1) {
            let zone = owner.suffix(depth);
            match self.learn(&zone, self.ask_resolver(&zone, owner)).await {
                Ok(known) => return Ok(known),
                Err(DiscoveryError::UnknownZone { tried, .. }) => {
                    // What is not there has nothing below it (RFC 8020). Only where nothing at all is known of the
                    // top-level domain can it be a private one, of which the resolver knows a part.
                    if unanswered.is_some() && tried.iter().any(Tried::is_nxdomain) {
                        break;
                    }
                    unknown = tried;
                }
                Err(error @ DiscoveryError::Unanswered { .. }) => {
                    // The topmost tells most; below it may be a zone inside the same network.
                    unanswered.get_or_insert(error);
                }
                Err(error) => return Err(unanswered.unwrap_or(error)),
            }
        }
        Err(unanswered.unwrap_or(DiscoveryError::UnknownZone {
            name: owner.clone(),
            tried: unknown,
        }))
    }

    async fn ask_resolver(
        &self,
        zone: &DomainName,
        owner: &DomainName,
    ) -> Result<Arc<Known>, DiscoveryError> {
        let reply = self.resolve(zone, RecordType::NS).await?;
        let options = self.inner.asker.options();
        let servers = Servers::from_reply(&reply, zone, options.port, options.family);
        if servers.is_empty() {
            return Err(DiscoveryError::UnknownZone {
                name: zone.clone(),
                tried: vec![Tried::answered(reply.server.clone(), reply.rcode_name())],
            });
        }
        let errand = Errand {
            owner,
            zone,
            at_the_top: true,
        };
        self.establish(servers, None, errand).await
    }

    /// Looks for a zone once, however many ask, and remembers what came of it.
    async fn learn(
        &self,
        zone: &DomainName,
        look: impl Future<Output = Result<Arc<Known>, DiscoveryError>>,
    ) -> Result<Arc<Known>, DiscoveryError> {
        let cell = self.inner.cache.cell(zone);
        let mut cell = cell.lock().await;
        if let Some(learned) = &*cell
            && (learned.result.is_ok() || learned.at.elapsed() < FAILURE_KEPT)
        {
            return learned.result.clone();
        }
        let result = look.await;
        if let Ok(known) = &result {
            self.inner.cache.put(zone, known.clone());
        }
        *cell = Some(Learned {
            at: Instant::now(),
            result: result.clone(),
        });
        result
    }

    /// Makes sure that the servers are an authority for the zone, and adds those that the zone itself names.
    async fn establish(
        &self,
        mut servers: Servers,
        via: Option<Arc<Known>>,
        errand: Errand<'_>,
    ) -> Result<Arc<Known>, DiscoveryError> {
        let zone = errand.zone;
        let mut via = via;
        let answer = match &via {
            Some(known) => self.query(known, zone, RecordType::NS).await?,
            None => {
                if !servers.has_address() {
                    self.fill(&mut servers, Fill::Some, errand).await;
                }
                let known = Known::new(Some(zone.clone()), false, servers.clone());
                let contact = |known: Arc<Known>| async move {
                    self.query_at(&known, zone, RecordType::NS, FIRST_CONTACT)
                        .await
                };
                match contact(known.clone()).await {
                    // What came along may be out of date, or of a family that is not routed here.
                    Err(_) if servers.lacks_addresses() && servers.are_few() => {
                        self.fill(&mut servers, Fill::Everything, errand).await;
                        let known = Known::new(Some(zone.clone()), false, servers.clone());
                        let answer = contact(known.clone()).await?;
                        via = Some(known);
                        answer
                    }
                    answer => {
                        via = Some(known);
                        answer?
                    }
                }
            }
        };
        match answer {
            Answer::Authoritative(reply) => {
                let options = self.inner.asker.options();
                let named = Servers::from_reply(&reply, zone, options.port, options.family);
                servers.merge(named);
            }
            // Some of the servers hold the zone below, too, and this one does not.
            Answer::Referral { servers: named, .. } => servers.merge(named),
        }
        let known = Known::new(Some(zone.clone()), false, servers);
        if let Some(address) = via.as_deref().and_then(Known::preferred) {
            known.prefer(address);
        }
        Ok(known)
    }
}

/// Whether every server has answered, and one of them that it is in trouble.
fn may_pass(tried: &[Tried]) -> bool {
    tried.iter().all(|one| !one.silent) && tried.iter().any(Tried::is_servfail)
}

/// Before a server in trouble is asked again.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_millis(750)];

/// What a reply of a server that was thought to be an authority for `known` is worth.
fn judge(
    reply: Reply,
    known: &Known,
    name: &DomainName,
    port: u16,
    family: Family,
) -> Result<Answer, Tried> {
    let server = reply.server.clone();
    if !reply.is_conclusive() {
        return Err(Tried::answered(server, reply.rcode_name()));
    }
    if reply.rcode == ResponseCode::NoError && reply.answers.is_empty() && reply.soa().is_none() {
        let child = reply.authority.iter().find_map(|record| match record.data {
            RData::NS(_) => from_wire(&record.name),
            _ => None,
        });
        match child {
            Some(child) if child.label_count() > known.depth() && name.is_within(&child) => {
                let servers = Servers::from_reply(&reply, &child, port, family);
                return Ok(Answer::Referral { child, servers });
            }
            Some(_) if !reply.authoritative => {
                return Err(Tried::answered(server, "refers to elsewhere"));
            }
            _ => {}
        }
    }
    if !reply.authoritative {
        let mut tried = Tried::answered(server, "not authoritative");
        tried.intercepted = !reply.answers.is_empty() || reply.soa().is_some();
        return Err(tried);
    }
    match own_apex(&reply) {
        Some(apex) if !known.contains(&apex) => Err(Tried::answered(
            server,
            format!("answers for {apex} instead"),
        )),
        _ => Ok(Answer::Authoritative(reply)),
    }
}

/// The zone that an answer about the name itself comes from, where it tells.
pub(super) fn own_apex(reply: &Reply) -> Option<DomainName> {
    match reply.is_alias() {
        true => None,
        false => reply.soa().map(|soa| soa.zone),
    }
}

impl Servers {
    fn into_list(self, unreachable: &str) -> Vec<NameServer> {
        self.0
            .into_iter()
            .map(|(name, addresses)| NameServer {
                name,
                problem: addresses.is_empty().then(|| unreachable.to_owned()),
                addresses: addresses.into_iter().collect(),
            })
            .collect()
    }
}

/// How long a failure counts without being looked at again.
const FAILURE_KEPT: Duration = Duration::from_secs(30);
/// Zones have few cuts; more steps than this are a circle.
const MOST_STEPS: usize = 32;
/// Where a zone does not tell; the value that most zones have.
const NEGATIVE_TTL: Duration = Duration::from_secs(60 * 60);
/// More than most round trips, and much less than a time-out; in all as long as one address may take, and a little.
const PACE: Pace = Pace {
    stagger: Duration::from_millis(250),
    limit: Duration::from_secs(5),
};
/// For the first contact with a zone's servers: that port 53 is closed is to be known within seconds, and a level below
/// may have to be tried, too.
const FIRST_CONTACT: Pace = Pace {
    stagger: Duration::from_millis(150),
    limit: Duration::from_millis(2500),
};
