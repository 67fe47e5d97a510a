//! A small Internet in the sandbox, and what its resolver was asked.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use dnseal_core::{
    dns::{Discovery, DiscoveryOptions, Location},
    event::Events,
};
use dnseal_sandbox::dns::{Cache, DnsServer, Record, TsigKey as SandboxKey, Zone};
use dnseal_tests::{Loopback, TsigKey};

/// `test` at server 1, `a.test` at 2 and 3, `b.test` at 4; a resolver that knows them all.
pub(crate) struct World {
    pub(crate) net: Loopback,
    pub(crate) key: TsigKey,
    pub(crate) top: DnsServer,
    pub(crate) a: DnsServer,
    pub(crate) a2: DnsServer,
    pub(crate) b: DnsServer,
    pub(crate) resolver: Cache,
}

impl World {
    pub(crate) async fn start() -> Self {
        let net = Loopback::new();
        let key = TsigKey::random("acme-key");
        let top = Zone::new("test")
            .ns("ns.nic.test")
            .a("ns.nic.test", net.ip(1))
            .delegate("a.test", "ns1.a.test")
            .delegate("a.test", "ns2.a.test")
            .a("ns1.a.test", net.ip(2))
            .a("ns2.a.test", net.ip(3))
            .delegate("b.test", "ns1.b.test")
            .a("ns1.b.test", net.ip(4));
        let top = net.serve(1, DnsServer::builder().zone(top)).await;
        let a = Zone::new("a.test")
            .minimum(600)
            .ttl(600)
            .ns("ns1.a.test")
            .ns("ns2.a.test")
            .a("ns1.a.test", net.ip(2))
            .a("ns2.a.test", net.ip(3))
            .a("www.a.test", [192, 0, 2, 1].into());
        let a = DnsServer::builder().zone(a).key(sandbox_key(&key));
        let a = net.serve(2, a).await;
        let a2 = net.serve(3, a.secondary(Duration::ZERO)).await;
        let b = Zone::new("b.test")
            .ns("ns1.b.test")
            .a("ns1.b.test", net.ip(4));
        let b = DnsServer::builder().zone(b).key(sandbox_key(&key));
        let b = net.serve(4, b).await;
        let resolver = Cache::builder()
            .upstream("test", top.addr())
            .upstream("a.test", a.addr())
            .upstream("b.test", b.addr());
        Self {
            net,
            key,
            top,
            a,
            a2,
            b,
            resolver: resolver.start().await.unwrap(),
        }
    }

    /// Adds records to the zones that they are in.
    pub(crate) fn add(&self, records: impl IntoIterator<Item = Record>) {
        for record in records {
            let server = match record.owner.ends_with("b.test") {
                true => &self.b,
                false => &self.a,
            };
            server.zone_add(record).unwrap();
        }
    }

    pub(crate) fn discovery(&self) -> Discovery {
        self.net.discovery(self.resolver.addr())
    }

    /// Does not wait long for servers that are silent.
    pub(crate) fn hasty_discovery(&self) -> Discovery {
        let options = DiscoveryOptions {
            resolvers: vec![self.resolver.addr()],
            ..DiscoveryOptions::default()
        };
        let asker = self
            .net
            .asker_within(Duration::from_millis(700), Events::silent());
        Discovery::new(asker, options)
    }

    /// The names that the resolver was asked for.
    pub(crate) fn resolver_was_asked(&self) -> Vec<String> {
        let queries = self.resolver.queries();
        let asked: BTreeSet<String> = queries.into_iter().map(|it| it.qname).collect();
        asked.into_iter().collect()
    }

    /// Whether the resolver was asked for nothing in the zones whose servers are known.
    pub(crate) fn resolver_knows_the_top_only(&self) {
        let asked = self.resolver_was_asked();
        assert!(!asked.is_empty());
        for asked in asked {
            assert!(["ns.nic.test", "test"].contains(&&*asked), "{asked}");
        }
    }
}

pub(crate) fn addresses(location: &Location) -> BTreeSet<SocketAddr> {
    let servers = location.zone.servers.iter();
    servers
        .flat_map(|server| server.addresses.clone())
        .collect()
}

fn sandbox_key(key: &TsigKey) -> SandboxKey {
    format!("{}:{}:{}", key.algorithm, key.name, key.secret_base64)
        .parse()
        .unwrap()
}
