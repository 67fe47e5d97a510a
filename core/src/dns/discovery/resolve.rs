//! Asking several servers until one answers, and finding the addresses of name servers.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use hickory_proto::rr::RData;
use hickory_proto::rr::RecordType;
use tokio::time::sleep;

use super::Discovery;
use super::error::DiscoveryError;
use super::error::Tried;
use super::walk::Answer;
use super::zones::Known;
use super::zones::Servers;
use crate::dns::DomainName;
use crate::dns::query::AskError;
use crate::dns::query::Reply;
use crate::dns::query::Upstream;

/// Why the addresses of a host are wanted, which decides who may be asked for them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Errand<'a> {
    /// The name whose place is searched; nobody but authorities is asked for it or for names above it that are hosts.
    pub(super) owner: &'a DomainName,
    /// The zone whose servers are searched.
    pub(super) zone: &'a DomainName,
    /// Whether the zone was learned from the resolver, so that nobody else can know its servers' addresses yet.
    pub(super) at_the_top: bool,
}

impl Discovery {
    /// Asks the recursive resolvers, one after the other.
    pub(super) async fn resolve(
        &self,
        name: &DomainName,
        rtype: RecordType,
    ) -> Result<Reply, DiscoveryError> {
        let resolvers = self.resolvers_for(name)?;
        let asked = race(&resolvers, RESOLVER_PACE, |resolver| async move {
            match self.inner.asker.ask_recursive(resolver, name, rtype).await {
                Ok(reply) if reply.is_conclusive() => Ok(reply),
                Ok(reply) => Err(Tried::answered(resolver, reply.rcode_name())),
                Err(error) => Err(Tried::silent(resolver, &error)),
            }
        })
        .await;
        asked.map_err(|tried| {
            let name = name.clone();
            match tried.iter().all(|t| t.silent) {
                true => DiscoveryError::ResolverSilent { name, tried },
                false => DiscoveryError::UnknownZone { name, tried },
            }
        })
    }

    /// Adds addresses to those servers that have none, or to all of them.
    pub(super) async fn fill(&self, servers: &mut Servers, fill: Fill, errand: Errand<'_>) {
        let hosts: Vec<String> = servers
            .0
            .iter()
            .filter(|(_, addresses)| fill == Fill::Everything || addresses.is_empty())
            .map(|(host, _)| host.clone())
            .take(match fill {
                Fill::Everything => usize::MAX,
                Fill::Some => ENOUGH_SERVERS,
            })
            .collect();
        let found = join_all(hosts.iter().map(|host| self.addresses_of(host, errand))).await;
        for (host, addresses) in hosts.iter().zip(found) {
            servers.add(host, addresses);
        }
    }

    /// Every address of one host in the families that are used; none where nobody knows any.
    async fn addresses_of(&self, host: &str, errand: Errand<'_>) -> Vec<SocketAddr> {
        let Ok(host) = host.parse::<DomainName>() else {
            return Vec::new();
        };
        let options = self.inner.asker.options();
        let host = &host;
        let each = options
            .family
            .record_types()
            .iter()
            .map(|&rtype| async move {
                if let Some(known) = self.nearest(host)
                    && let Some(found) = self.descend(known, host, rtype).await
                {
                    return found;
                }
                // A resolver that learns that a host does not exist hides everything below it (RFC 8020), and one that is
                // asked below a zone whose servers are known is asked needlessly.
                let elsewhere = !host.is_within(errand.zone) || errand.at_the_top;
                let harmless = !errand.owner.is_within(host);
                if !elsewhere || !harmless || self.inner.given.is_some() {
                    return Vec::new();
                }
                match self.resolve(host, rtype).await {
                    Ok(reply) => addresses(&reply),
                    Err(_) => Vec::new(),
                }
            });
        join_all(each)
            .await
            .into_iter()
            .flatten()
            .map(|address| SocketAddr::new(address, options.port))
            .collect()
    }

    /// Goes down from a known zone by referrals that bring addresses along; `None` where that leads nowhere.
    async fn descend(
        &self,
        from: Arc<Known>,
        host: &DomainName,
        rtype: RecordType,
    ) -> Option<Vec<IpAddr>> {
        let mut known = from;
        for _ in 0..DEEPEST_DESCENT {
            match self.query(&known, host, rtype).await.ok()? {
                Answer::Authoritative(reply) => return Some(addresses(&reply)),
                Answer::Referral { child, servers } if servers.has_address() => {
                    known = Known::new(Some(child), known.given, servers);
                }
                Answer::Referral { .. } => return None,
            }
        }
        None
    }

    fn resolvers_for(&self, name: &DomainName) -> Result<Vec<SocketAddr>, DiscoveryError> {
        match self.inner.options.own_resolvers(name) {
            Some((_, resolvers)) => Ok(resolvers.clone()),
            None => self.resolvers(),
        }
    }

    /// The resolvers that may be asked about a zone as such; why there are none.
    pub(in crate::dns) fn public_resolvers(
        &self,
        zone: &DomainName,
    ) -> Result<Vec<SocketAddr>, String> {
        let options = &self.inner.options;
        if let Some((_, own)) = options.own_resolvers(zone) {
            return Ok(own.clone());
        }
        let given = !options.nameservers.is_empty() || options.has_own_servers(zone);
        if options.resolvers.is_empty() && given {
            return Err("name servers were given, and no resolver".to_owned());
        }
        self.resolvers().map_err(|error| error.to_string())
    }

    fn resolvers(&self) -> Result<Vec<SocketAddr>, DiscoveryError> {
        if !self.inner.options.resolvers.is_empty() {
            return Ok(self.inner.options.resolvers.clone());
        }
        self.inner.resolvers.get_or_init(system_resolvers).clone()
    }
}

/// How many servers get addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fill {
    /// All of them, also where some address is known already.
    Everything,
    /// As many as are needed to pass through.
    Some,
}

/// How a race goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Until the next address is asked, too.
    pub(super) stagger: Duration,
    /// For all of them together.
    pub(super) limit: Duration,
}

/// Asks one address after the other, each a little later or as soon as one has failed; the first success wins.
pub(super) async fn race<T, F>(
    addresses: &[SocketAddr],
    pace: Pace,
    ask: impl Fn(SocketAddr) -> F,
) -> Result<T, Vec<Tried>>
where
    F: Future<Output = Result<T, Tried>>,
{
    let mut waiting = addresses.iter().copied().take(MOST_ADDRESSES).peekable();
    let mut running: FuturesUnordered<F> = waiting.next().map(&ask).into_iter().collect();
    let mut tried: Vec<Tried> = Vec::new();
    let deadline = sleep(pace.limit);
    tokio::pin!(deadline);
    loop {
        tokio::select! {
            result = running.next() => match result {
                Some(Ok(won)) => return Ok(won),
                Some(Err(lost)) => {
                    tried.push(lost);
                    running.extend(waiting.next().map(&ask));
                }
                None => return Err(tried),
            },
            () = sleep(pace.stagger), if waiting.peek().is_some() => {
                running.extend(waiting.next().map(&ask));
            }
            () = &mut deadline => {
                for &address in addresses.iter().take(MOST_ADDRESSES) {
                    if !tried.iter().any(|t| t.address == address) {
                        tried.push(Tried::late(address, pace.limit));
                    }
                }
                return Err(tried);
            }
        }
    }
}

impl Tried {
    pub(super) fn answered(address: impl Into<Upstream>, problem: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            problem: problem.into(),
            silent: false,
            intercepted: false,
        }
    }

    fn late(address: SocketAddr, limit: Duration) -> Self {
        Self {
            address: address.into(),
            problem: format!("no answer within {} ms", limit.as_millis()),
            silent: true,
            intercepted: false,
        }
    }

    pub(super) fn silent(address: impl Into<Upstream>, error: &AskError) -> Self {
        let problem = match error {
            AskError::NoAnswer { udp, tcp, .. } if udp == tcp => format!("no answer: {udp}"),
            AskError::NoAnswer { udp, tcp, .. } => format!("no answer: udp {udp}, tcp {tcp}"),
            AskError::Encrypted { problem, .. } => format!("no answer: {problem}"),
            other => other.to_string(),
        };
        Self {
            address: address.into(),
            problem,
            silent: true,
            intercepted: false,
        }
    }
}

fn addresses(reply: &Reply) -> Vec<IpAddr> {
    reply
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::A(a) => Some(a.0.into()),
            RData::AAAA(aaaa) => Some(aaaa.0.into()),
            _ => None,
        })
        .collect()
}

/// The recursive resolvers of this machine's configuration.
pub fn system_resolvers() -> Result<Vec<SocketAddr>, DiscoveryError> {
    let (config, _) = hickory_resolver::system_conf::read_system_conf().map_err(|error| {
        DiscoveryError::NoResolver {
            detail: error.to_string(),
        }
    })?;
    let mut found = Vec::new();
    for server in &config.name_servers {
        for connection in &server.connections {
            let address = SocketAddr::new(server.ip, connection.port);
            if !found.contains(&address) {
                found.push(address);
            }
        }
    }
    match found.is_empty() {
        true => Err(DiscoveryError::NoResolver {
            detail: "the system's configuration names none".to_owned(),
        }),
        false => Ok(found),
    }
}

/// From one name server's host name to its address, by referrals.
const DEEPEST_DESCENT: usize = 8;
/// Servers of a zone that is only passed through.
const ENOUGH_SERVERS: usize = 4;
/// Addresses asked before a zone counts as unreachable; the last of them is asked well within the first second.
const MOST_ADDRESSES: usize = 8;
/// Resolvers may have to do a whole walk themselves.
const RESOLVER_PACE: Pace = Pace {
    stagger: Duration::from_millis(800),
    limit: Duration::from_secs(10),
};
