//! Real servers, which differ in how they refer, synthesize and follow.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use dnseal_core::{
    dns::{Propagation, PropagationPolicy, Wanted},
    event::Events,
};
use dnseal_tests::{
    Bind, BindOptions, Knot, KnotOptions, Loopback, NameServer, PowerDns, PowerDnsOptions, TsigKey,
    Unbound, UnboundOptions, ZoneSpec, name, txt_values,
};
use tokio_util::sync::CancellationToken;

use crate::world::addresses;

/// Knot holds the top and a zone below it, PowerDNS one zone and BIND another; Unbound stands before them.
#[tokio::test(flavor = "multi_thread")]
async fn real_servers_are_walked() {
    let Some(world) = RealWorld::start() else {
        return;
    };
    let discovery = world.net.discovery(world.unbound.addr());
    let locate = async |text: &str| discovery.locate(&name(text)).await.unwrap();

    for zone in ["knot.test", "pdns.test", "bind.test"] {
        let plain = locate(&format!("_acme-challenge.www.{zone}")).await;
        assert_eq!(plain.zone.zone, name(zone), "{plain:#?}");
        assert!(!plain.is_delegated() && plain.wildcard.is_none());
        assert_eq!(addresses(&plain), [world.addr_of(zone)].into(), "{zone}");
        assert_eq!(plain.zone.negative_ttl, Duration::from_secs(60), "{zone}");

        let apex = locate(&format!("_acme-challenge.{zone}")).await;
        assert_eq!(apex.zone.zone, name(zone), "{apex:#?}");

        let alias = locate(&format!("_acme-challenge.alias.{zone}")).await;
        assert_eq!(alias.owner, name("x.bind.test"), "{zone}");
        assert_eq!(alias.chain, [name("x.bind.test")]);
        assert_eq!(alias.zone.zone, name("bind.test"), "{zone}");
        assert_eq!(addresses(&alias), [world.bind.addr()].into());

        // The server follows this one by itself, into a zone that it holds.
        let inside = locate(&format!("_acme-challenge.inside.{zone}")).await;
        assert_eq!(inside.owner, name(&format!("target.{zone}")));
        assert_eq!(inside.zone.zone, name(zone), "{inside:#?}");

        let wild = locate(&format!("_acme-challenge.nobody.wild.{zone}")).await;
        assert!(!wild.is_delegated(), "{wild:#?}");
        assert_eq!(wild.wildcard, Some(name("x.bind.test")), "{zone}");
        assert_eq!(wild.zone.zone, name(zone), "{zone}");

        let cut = locate(&format!("_acme-challenge.cut.{zone}")).await;
        assert_eq!(cut.zone.zone, cut.asked, "{zone}: {cut:#?}");
        assert!(!cut.is_delegated());
        assert_eq!(addresses(&cut), [world.bind.addr()].into(), "{zone}");
    }
    // PowerDNS does it only when told to.
    for zone in ["knot.test", "bind.test"] {
        let renamed = locate(&format!("_acme-challenge.old.{zone}")).await;
        assert_eq!(renamed.owner, name("_acme-challenge.pdns.test"), "{zone}");
        assert_eq!(addresses(&renamed), [world.pdns.addr()].into(), "{zone}");
    }

    let mut asked: BTreeSet<String> = world.unbound.queries().into_iter().map(|it| it.0).collect();
    // By which the environment sees that Unbound has started.
    asked.remove("localhost.");
    assert!(!asked.is_empty());
    assert!(
        asked.is_subset(&["test.", "ns1.test."].map(str::to_owned).into()),
        "{asked:?}"
    );
}

/// What Unbound was made to remember would hide the value from the next CA that uses it.
#[tokio::test(flavor = "multi_thread")]
async fn resolver_sees_the_value_as_soon_as_it_is_there() {
    let Some(world) = RealWorld::start() else {
        return;
    };
    let owner = "_acme-challenge.www.bind.test";
    let unbound = world.unbound.addr();
    let found = world.net.discovery(unbound).locate(&name(owner)).await;
    let propagation = Propagation::new(
        world.net.asker(Events::silent()),
        PropagationPolicy::default(),
        Events::silent(),
    );
    let wanted = Wanted {
        zone: found.unwrap().zone,
        owner: name(owner),
        values: vec!["here".parse().unwrap()],
    };
    // A look that does not find it leaves no trace either.
    assert!(
        !propagation
            .look(std::slice::from_ref(&wanted))
            .await
            .is_proven()
    );

    world.bind.add_txt(&world.key, "bind.test", owner, "here");
    let cancel = CancellationToken::new();
    propagation
        .await_visible(vec![wanted], &cancel)
        .await
        .unwrap();
    assert_eq!(txt_values(unbound, owner), ["here"]);
}

/// Every kind of server, with the same names in a zone of each.
struct RealWorld {
    net: Loopback,
    key: TsigKey,
    knot: Knot,
    pdns: PowerDns,
    bind: Bind,
    unbound: Unbound,
}

impl RealWorld {
    fn start() -> Option<Self> {
        let net = Loopback::new();
        let key = TsigKey::random("acme-key");
        let bind_ip = net.home().ip();
        let zone = |label: &str| {
            let zone = ZoneSpec {
                negative_ttl: 600,
                ..ZoneSpec::new(label).updated_by(&key)
            };
            let zone = zone
                .record("www A 192.0.2.1")
                .record("target A 192.0.2.1")
                .record("_acme-challenge.alias CNAME x.bind.test.")
                .record("_acme-challenge.inside CNAME target")
                .record("*.wild CNAME x.bind.test.")
                .record("_acme-challenge.cut NS ns1.bind.test.");
            match label {
                "pdns.test" => zone,
                _ => zone.record("old DNAME pdns.test."),
            }
        };
        let cut = |label: &str| ZoneSpec::new(&format!("_acme-challenge.cut.{label}"));
        let top = ZoneSpec::new("test")
            .record("knot NS ns1.knot")
            .record(&format!("ns1.knot A {}", net.ip(1)))
            .record("pdns NS ns1.pdns")
            .record(&format!("ns1.pdns A {}", net.ip(2)))
            .record("bind NS ns1.bind")
            .record(&format!("ns1.bind A {bind_ip}"));
        let keys = || [key.clone()];
        let knot = Knot::start(KnotOptions {
            listen: Some(net.addr(1)),
            ..KnotOptions::new([top, zone("knot.test")], keys())
        })?;
        let pdns = PowerDns::start(PowerDnsOptions {
            listen: Some(net.addr(2)),
            ..PowerDnsOptions::new([zone("pdns.test")], keys())
        })?;
        let cuts = ["knot.test", "pdns.test", "bind.test"].map(cut);
        let bind = Bind::start(BindOptions {
            listen: Some(net.home()),
            ..BindOptions::new([[zone("bind.test")].as_slice(), &cuts].concat(), keys())
        })?;
        let unbound = Unbound::start(UnboundOptions::new([
            ("test", knot.addr()),
            ("bind.test", bind.addr()),
        ]))?;
        Some(Self {
            net,
            key,
            knot,
            pdns,
            bind,
            unbound,
        })
    }

    fn addr_of(&self, zone: &str) -> SocketAddr {
        match zone {
            "knot.test" => self.knot.addr(),
            "pdns.test" => self.pdns.addr(),
            _ => self.bind.addr(),
        }
    }
}
