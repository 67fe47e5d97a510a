//! A provider that holds a zone of the right name which nobody is delegated to.

use async_trait::async_trait;
use dnseal_core::dns::{
    Applied, Capabilities, DnsProvider, DomainName, NamedProvider, Propagation, PropagationPolicy,
    ProviderError, Routes, TxtChange, WriteSafety, Zone, Zones,
};
use dnseal_core::event::{Events, What};
use std::sync::Arc;

use crate::world::World;
use dnseal_tests::name;

/// An account with one zone, served by these servers.
#[derive(Debug)]
struct Account(Vec<DomainName>);

#[async_trait]
impl DnsProvider for Account {
    fn capabilities(&self) -> Capabilities {
        Capabilities::new(1, WriteSafety::PerValue)
    }

    fn endpoint(&self) -> String {
        "the account".to_owned()
    }

    async fn zone_of(&self, _: &DomainName) -> Result<Zone, ProviderError> {
        Ok(Zone {
            id: "Z2".to_owned(),
            name: name("a.test"),
        })
    }

    async fn name_servers(&self, _: &Zone) -> Result<Vec<DomainName>, ProviderError> {
        Ok(self.0.clone())
    }

    async fn apply(&self, _: &Zone, changes: &[TxtChange]) -> Result<Applied, ProviderError> {
        Ok(Applied::all(changes))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_nobody_is_delegated_to_is_named() {
    let world = World::start().await;
    let delegated = world
        .discovery()
        .locate(&name("_acme-challenge.a.test"))
        .await
        .unwrap();
    let real: DomainName = delegated.zone.servers[0].name.parse().unwrap();
    for (servers, warned) in [
        (vec![name("ns-1.awsdns.example")], true),
        (vec![name("ns-1.awsdns.example"), real], false),
        (Vec::new(), false),
    ] {
        let (events, mut listener) = Events::channel();
        let provider = NamedProvider {
            name: "cloud".to_owned(),
            provider: Arc::new(Account(servers)),
        };
        let routes = Routes::new(vec![provider], Vec::new(), Some("cloud".to_owned())).unwrap();
        let policy = PropagationPolicy::default();
        let propagation = Propagation::new(world.net.asker(events.clone()), policy, events.clone());
        let zones = Zones::new(routes, world.discovery(), propagation, events);
        // Once, however many names there are.
        zones.place(&name("_acme-challenge.a.test")).await.unwrap();
        zones
            .place(&name("_acme-challenge.www.a.test"))
            .await
            .unwrap();
        drop(zones);
        let mut warnings = Vec::new();
        while let Some(event) = listener.recv().await {
            if let What::Warning { message, .. } = event.what {
                warnings.push(message);
            }
        }
        assert_eq!(warnings.len(), usize::from(warned), "{warnings:?}");
        assert!(
            warnings
                .iter()
                .all(|w| w.contains("Z2") && w.contains("ns-1.awsdns.example"))
        );
    }
}
