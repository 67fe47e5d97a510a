//! Discovery where port 53 is closed: one encrypted resolver tells what the zones' own servers would.
//!
//! That is noticed within 3 s, at once where packets are rejected, and remembered for the life of the discovery. Only one resolver is
//! asked, because it learns a challenge name before there is a value and may remember for the zone's negative TTL that there is none;
//! the others, which have not heard of it, are left to prove the value. Where no resolver answers either, the search is *blind*.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hickory_proto::rr::RecordType;
use tokio::time::sleep;

use super::Discovery;
use super::error::DiscoveryError;
use super::error::Tried;
use super::walk::own_apex;
use super::zones::Known;
use super::zones::Servers;
use super::zones::lock;
use crate::dns::DomainName;
use crate::dns::Rung;
use crate::dns::query::EncryptedResolver;
use crate::dns::query::Reply;
use crate::dns::query::Upstream;
use crate::event::What;

/// When encrypted resolvers find zones instead of the zones' own servers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Scouting {
    /// Never.
    #[default]
    Never,
    /// Where port 53 turns out to be closed or intercepted.
    WhenClosed,
    /// Always.
    Always,
}

/// What was learned about ways that are closed.
#[derive(Debug, Default)]
pub(super) struct Ways {
    /// Top-level domains (or zones with resolvers of their own) below which no server can be asked, and why.
    closed: Mutex<HashMap<DomainName, String>>,
    /// The same where no encrypted resolver answers either, by those that were asked.
    blind: Mutex<HashMap<(DomainName, Vec<EncryptedResolver>), DiscoveryError>>,
    /// The same below which some server has answered.
    heard: Mutex<HashSet<DomainName>>,
    /// The encrypted resolver that answered last.
    scout: AtomicUsize,
    zones: Mutex<HashMap<DomainName, Arc<Known>>>,
}

impl Discovery {
    /// Notes that a server that is no resolver has answered.
    pub(super) fn hear(&self, name: &DomainName) {
        let region = self.inner.options.region(name);
        lock(&self.inner.ways.heard).insert(region);
    }

    /// Asks the zone that holds `name`, finding it first, in whatever way is open; see [`Self::walk_servers`].
    pub(in crate::dns) async fn walk(
        &self,
        name: &DomainName,
        rtype: RecordType,
    ) -> Result<(Arc<Known>, Reply), DiscoveryError> {
        let given = || self.nearest(name).is_some_and(|known| known.given);
        match self.inner.options.scouting_for(name) {
            Scouting::Always if !given() => self.walk_scouted(name, rtype).await,
            Scouting::WhenClosed if !given() => self.walk_either(name, rtype).await,
            _ => self.walk_servers(name, rtype).await,
        }
    }

    /// The encrypted resolvers, where they are asked about `name` instead of servers on port 53.
    pub(in crate::dns) fn scouts(&self, name: &DomainName) -> Option<Vec<Upstream>> {
        let options = &self.inner.options;
        let scouted = match options.scouting_for(name) {
            Scouting::Always => true,
            Scouting::Never => false,
            Scouting::WhenClosed => {
                lock(&self.inner.ways.closed).contains_key(&options.region(name))
            }
        };
        let resolvers = options.encrypted_for(name).iter().cloned();
        scouted.then(|| resolvers.map(Upstream::Encrypted).collect())
    }

    async fn walk_either(
        &self,
        name: &DomainName,
        rtype: RecordType,
    ) -> Result<(Arc<Known>, Reply), DiscoveryError> {
        let (ways, options) = (&self.inner.ways, &self.inner.options);
        let top = options.region(name);
        let asked = (top.clone(), options.encrypted_for(name).to_vec());
        if let Some(error) = lock(&ways.blind).get(&asked).cloned() {
            return Err(error);
        }
        if lock(&ways.closed).contains_key(&top) {
            return self.walk_scouted(name, rtype).await;
        }
        let (error, in_time) = tokio::select! {
            biased;
            result = self.walk_servers(name, rtype) => match result {
                Err(error) if error.is_closed_port() => (error, true),
                result => return result,
            },
            () = self.hears_nothing(&top) => {
                let error = DiscoveryError::TimedOut { name: name.clone(), after: CLOSED_AFTER };
                (error, false)
            }
        };
        let why = match in_time {
            true => error.to_string(),
            false => format!(
                "no name server below {top} has answered on port 53 within {} s",
                CLOSED_AFTER.as_secs_f32().ceil()
            ),
        };
        match self.walk_scouted(name, rtype).await {
            Ok(found) => {
                if lock(&ways.closed).insert(top, why.clone()).is_none() {
                    self.inner.asker.events().emit(What::Descended {
                        zone: found.0.apex.clone().unwrap_or_else(|| name.clone()),
                        to: Rung::Doh,
                        because: why,
                    });
                }
                Ok(found)
            }
            // Slow is not closed, and a zone inside this network is known to nobody outside.
            Err(DiscoveryError::UnknownZone { .. }) if !in_time => {
                self.walk_servers(name, rtype).await
            }
            // Where port 53 is open elsewhere, one slow corner is no blindness.
            Err(DiscoveryError::ResolverSilent { .. }) if !lock(&ways.heard).is_empty() => {
                match in_time {
                    true => Err(error),
                    false => self.walk_servers(name, rtype).await,
                }
            }
            Err(DiscoveryError::ResolverSilent { tried, .. }) => {
                let error = DiscoveryError::Blind {
                    name: name.clone(),
                    tried,
                    why,
                };
                lock(&ways.blind).insert(asked, error.clone());
                Err(error)
            }
            Err(_) => Err(error),
        }
    }

    /// Returns when nobody has answered for so long that port 53 counts as closed.
    async fn hears_nothing(&self, top: &DomainName) {
        sleep(CLOSED_AFTER).await;
        if lock(&self.inner.ways.heard).contains(top) {
            std::future::pending().await
        }
    }

    async fn walk_scouted(
        &self,
        name: &DomainName,
        rtype: RecordType,
    ) -> Result<(Arc<Known>, Reply), DiscoveryError> {
        let reply = self.scout(name, rtype).await?;
        let known = match own_apex(&reply) {
            Some(apex) => self.scouted(&apex),
            None => Known::scouted(None),
        };
        Ok((known, reply))
    }

    /// A zone that is known by its name alone.
    pub(super) fn scouted(&self, apex: &DomainName) -> Arc<Known> {
        let mut zones = lock(&self.inner.ways.zones);
        let known = zones
            .entry(apex.clone())
            .or_insert_with(|| Known::scouted(Some(apex.clone())));
        known.clone()
    }

    /// Asks one encrypted resolver, and another one only where it does not answer.
    pub(super) async fn scout(
        &self,
        name: &DomainName,
        rtype: RecordType,
    ) -> Result<Reply, DiscoveryError> {
        let resolvers = self.inner.options.encrypted_for(name);
        let first = self.inner.ways.scout.load(Ordering::Relaxed);
        let mut tried = Vec::new();
        for step in 0..resolvers.len() {
            let at = (first + step) % resolvers.len();
            let Some(resolver) = resolvers.get(at) else {
                continue;
            };
            match self.inner.asker.ask_encrypted(resolver, name, rtype).await {
                Ok(reply) if reply.is_conclusive() => {
                    self.inner.ways.scout.store(at, Ordering::Relaxed);
                    return Ok(reply);
                }
                Ok(reply) => {
                    tried.push(Tried::answered(reply.server.clone(), reply.rcode_name()));
                }
                Err(error) => {
                    let upstream = Upstream::Encrypted(resolver.clone());
                    tried.push(Tried::silent(upstream, &error));
                }
            }
        }
        let name = name.clone();
        Err(match tried.iter().all(|t| t.silent) {
            true => DiscoveryError::ResolverSilent { name, tried },
            false => DiscoveryError::UnknownZone { name, tried },
        })
    }

    /// The names of the servers of a scouted zone, which cannot be asked from here.
    pub(super) async fn scouted_servers(&self, zone: &DomainName) -> Servers {
        let options = self.inner.asker.options();
        match self.scout(zone, RecordType::NS).await {
            Ok(reply) => {
                let mut servers = Servers::from_reply(&reply, zone, options.port, options.family);
                servers.forget_addresses();
                servers
            }
            Err(_) => Servers::default(),
        }
    }
}

/// Longer than any server takes that can be reached, and shorter than the 3 s within which closed ports have to be known.
const CLOSED_AFTER: Duration = Duration::from_millis(2800);
