//! Finding the servers that a CA will ask, without poisoning any cache.
//!
//! The walk goes from the top down. A recursive resolver is asked for the name servers of the top-level domain (or of
//! the first name below it that it knows any of, but never at or below the challenge name) and for addresses of servers
//! elsewhere; everything below a zone whose servers are known and reachable is asked there. The full name is only shown
//! to servers that have proven to be an authority for their zone, so that nobody who answers in their place learns it
//! and remembers that it does not exist (RFC 8020). Where port 53 is closed, one encrypted resolver is asked instead, see `scout`. What was learned is kept for the life of the value, so keep one for
//! a run and not for days.

mod error;
mod resolve;
mod scout;
mod walk;
mod zones;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::OnceLock;

use hickory_proto::rr::RecordType;

pub use self::error::DiscoveryError;
pub use self::error::Tried;
pub use self::resolve::system_resolvers;
pub use self::scout::Scouting;
use self::scout::Ways;
pub(in crate::dns) use self::walk::Answer;
use self::zones::Cache;
pub(in crate::dns) use self::zones::Known;
pub use self::zones::NameServer;
use self::zones::Servers;
pub use self::zones::ZoneServers;
use crate::dns::DomainName;
use crate::dns::query::Asker;
use crate::dns::query::EncryptedResolver;
use crate::dns::query::Family;
use crate::dns::query::Reply;

/// Where to begin, and what not to search for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DiscoveryOptions {
    /// Recursive resolvers; those of the system's configuration where there is none.
    pub resolvers: Vec<SocketAddr>,
    /// Servers that are asked and probed for everything instead of searching; no resolver is asked then.
    pub nameservers: Vec<SocketAddr>,
    /// The same for single zones and what is below them; the longest suffix wins.
    pub zone_nameservers: Vec<(DomainName, Vec<SocketAddr>)>,
    /// Recursive resolvers for single zones and what is below them, which know them where nobody outside does.
    pub zone_resolvers: Vec<(DomainName, Vec<SocketAddr>)>,
    /// Resolvers over HTTPS or TLS, the first of which is asked where port 53 is closed.
    pub encrypted: Vec<EncryptedResolver>,
    /// When these are asked.
    pub scouting: Scouting,
    /// Other ways for single zones and what is below them; the longest suffix wins.
    pub zone_ways: Vec<(DomainName, ZoneWays)>,
}

/// In which ways the servers of a zone are asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ZoneWays {
    /// As [`DiscoveryOptions::encrypted`].
    pub encrypted: Vec<EncryptedResolver>,
    /// Which of their addresses are asked, of those that the asker uses.
    pub family: Family,
    /// As [`DiscoveryOptions::scouting`].
    pub scouting: Scouting,
}

impl DiscoveryOptions {
    /// What was said of the longest suffix of `name`.
    fn own_ways(&self, name: &DomainName) -> Option<&(DomainName, ZoneWays)> {
        let zones = self.zone_ways.iter();
        let own = zones.filter(|(zone, _)| name.is_within(zone));
        own.max_by_key(|(zone, _)| zone.label_count())
    }

    fn scouting_for(&self, name: &DomainName) -> Scouting {
        let own = self.own_ways(name);
        own.map_or(self.scouting, |(_, ways)| ways.scouting)
    }

    fn encrypted_for(&self, name: &DomainName) -> &[EncryptedResolver] {
        let own = self.own_ways(name);
        own.map_or(&self.encrypted, |(_, ways)| &ways.encrypted)
    }

    fn family_for(&self, name: &DomainName) -> Family {
        let own = self.own_ways(name);
        own.map_or(Family::Both, |(_, ways)| ways.family)
    }

    /// Whether servers were given for `name` or a zone above it.
    fn has_own_servers(&self, name: &DomainName) -> bool {
        let mut zones = self.zone_nameservers.iter();
        zones.any(|(zone, _)| name.is_within(zone))
    }

    /// The resolvers of its own that a zone above `name` has.
    fn own_resolvers(&self, name: &DomainName) -> Option<&(DomainName, Vec<SocketAddr>)> {
        let zones = self.zone_resolvers.iter();
        let own = zones.filter(|(zone, _)| name.is_within(zone));
        own.max_by_key(|(zone, _)| zone.label_count())
    }

    /// What `name` has in common with all that is found through the same resolvers: its top-level domain, or the zone with resolvers
    /// of its own.
    fn region(&self, name: &DomainName) -> DomainName {
        match self.own_resolvers(name) {
            Some((zone, _)) => zone.clone(),
            None => name.suffix(1),
        }
    }
}

/// Finds zones and their servers, and follows aliases; cheap to clone, and the clones share what they learn.
#[derive(Clone, Debug)]
pub struct Discovery {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    asker: Asker,
    cache: Cache,
    /// The servers given for everything.
    given: Option<Arc<Known>>,
    options: DiscoveryOptions,
    resolvers: OnceLock<Result<Vec<SocketAddr>, DiscoveryError>>,
    ways: Ways,
}

impl Discovery {
    /// A discovery that knows nothing yet. Reads and asks nothing before it is used.
    pub fn new(asker: Asker, options: DiscoveryOptions) -> Self {
        let given = match options.nameservers.as_slice() {
            [] => None,
            addresses => Some(Known::new(None, true, Servers::given(addresses))),
        };
        let cache = Cache::default();
        for (zone, addresses) in &options.zone_nameservers {
            let known = Known::new(Some(zone.clone()), true, Servers::given(addresses));
            cache.put(zone, known);
        }
        Self {
            inner: Arc::new(Inner {
                asker,
                cache,
                given,
                options,
                resolvers: OnceLock::new(),
                ways: Ways::default(),
            }),
        }
    }

    /// Who asks the questions.
    pub fn asker(&self) -> &Asker {
        &self.inner.asker
    }

    /// Asks an authoritative server of the zone that holds `name`; aliases are not followed.
    pub async fn ask(&self, name: &DomainName, rtype: RecordType) -> Result<Reply, DiscoveryError> {
        let (_, reply) = self.walk(name, rtype).await?;
        Ok(reply)
    }
}

#[cfg(test)]
mod tests;
