//! Finding where a challenge lives, from the recursive resolver down to the servers of the zone.
//!
//! First with real servers, which differ in how they refer, synthesize and follow; then in the sandbox, where servers can be
//! made to differ and to fail. What the resolver was asked is looked at throughout: it must never learn that something is
//! not there.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not count among the tests"
)]

mod real;
mod second_zone;
mod world;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use dnseal_core::{
    dns::{
        Discovery, DiscoveryError, DiscoveryOptions, DomainName, NamedProvider, PlaceError,
        Propagation, PropagationPolicy, Routes, Wanted, Zones,
    },
    event::Events,
};
use dnseal_sandbox::dns::{
    Cache, DnsServer, Fault, OpCode, Record, RecordType, ResponseCode, Zone,
};
use dnseal_tests::{Rfc2136, name, txt_values};
use tokio_util::sync::CancellationToken;

use crate::world::{World, addresses};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_the_top_comes_from_the_resolver() {
    let world = World::start().await;
    // Its own servers are elsewhere below the same top, under names that only their zone knows.
    let a = &world.a;
    a.zone_add(Record::ns("a.test", 60, "extra.hosts.b.test"))
        .unwrap();
    let extra = world.net.ip(4);
    world
        .b
        .zone_add(Record::a("extra.hosts.b.test", 60, extra))
        .unwrap();
    let discovery = world.discovery();
    for host in ["a.test", "www.a.test", "w1.deep.a.test", "gone.a.test"] {
        let owner = name(&format!("_acme-challenge.{host}"));
        let found = discovery.locate(&owner).await.unwrap();
        assert_eq!(found.owner, owner);
        assert_eq!(found.zone.zone, name("a.test"));
        assert_eq!(
            addresses(&found),
            [2, 3, 4].map(|n| world.net.addr(n)).into()
        );
    }
    assert_eq!(world.resolver_was_asked(), ["ns.nic.test", "test"]);
    for server in [&world.top, &world.a, &world.a2, &world.b] {
        let queries = server.queries();
        assert!(queries.iter().all(|it| !it.recursion_desired));
        assert!(queries.iter().all(|it| it.opcode == OpCode::Query));
        assert!(queries.iter().all(|it| it.payload == Some(1232)));
    }
    // The top is shown the first name only, and is not asked again for the zones it has referred to.
    let shown = world.top.queries();
    let below = shown.iter().filter(|it| it.qname.ends_with(".a.test"));
    assert_eq!(below.count(), 1, "{shown:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn absence_is_not_remembered() {
    let world = World::start().await;
    let owner = "_acme-challenge.www.a.test";
    let found = world.discovery().locate(&name(owner)).await.unwrap();
    assert_eq!(found.zone.negative_ttl, Duration::from_secs(600));
    world.a.zone_add(Record::txt(owner, 60, "here")).unwrap();
    let resolver = world.resolver.addr();
    let values = tokio::task::spawn_blocking(move || txt_values(resolver, owner)).await;
    assert_eq!(values.unwrap(), ["here"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn aliases_lead_into_other_zones() {
    let world = World::start().await;
    let records = [
        Record::cname("_acme-challenge.a.test", 60, "x.b.test"),
        Record::cname("_acme-challenge.two.a.test", 60, "hop.a.test"),
        Record::cname("hop.a.test", 60, "x.b.test"),
        Record::dname("old.a.test", 60, "b.test"),
        Record::cname("_acme-challenge.both.a.test", 60, "y.old.a.test"),
    ];
    world.add(records);
    let discovery = world.discovery();
    let cases = [
        ("_acme-challenge.a.test", vec!["x.b.test"]),
        ("_acme-challenge.two.a.test", vec!["hop.a.test", "x.b.test"]),
        (
            "_acme-challenge.w.old.a.test",
            vec!["_acme-challenge.w.b.test"],
        ),
        (
            "_acme-challenge.both.a.test",
            vec!["y.old.a.test", "y.b.test"],
        ),
    ];
    for (asked, chain) in cases {
        let found = discovery.locate(&name(asked)).await.unwrap();
        let chain: Vec<DomainName> = chain.into_iter().map(name).collect();
        assert_eq!(found.chain, chain, "{asked}");
        assert_eq!(Some(&found.owner), chain.last());
        assert!(found.is_delegated());
        assert_eq!(found.zone.zone, name("b.test"), "{asked}");
        assert_eq!(addresses(&found), [world.net.addr(4)].into());
    }
    world.resolver_knows_the_top_only();
}

#[tokio::test(flavor = "multi_thread")]
async fn cuts_lead_to_the_servers_below() {
    let world = World::start().await;
    let acme = "_acme-challenge.a.test";
    let below = world.net.ip(5);
    world.add([
        Record::ns(acme, 60, "ns.acme.a.test"),
        Record::a("ns.acme.a.test", 60, below),
        Record::ns("deep.a.test", 60, "ns.deep.a.test"),
        Record::a("ns.deep.a.test", 60, below),
    ]);
    let server = DnsServer::builder()
        .zone(Zone::new(acme).ns("ns.acme.a.test"))
        .zone(
            Zone::new("deep.a.test")
                .ns("ns.deep.a.test")
                .a("ns.deep.a.test", below)
                // On the same server, and nobody refers to it but this very zone.
                .delegate("deeper.deep.a.test", "ns.deep.a.test"),
        )
        .zone(Zone::new("deeper.deep.a.test").ns("ns.deep.a.test"));
    let _server = world.net.serve(5, server).await;
    let discovery = world.discovery();
    for (asked, zone) in [
        (acme, acme),
        ("_acme-challenge.www.deep.a.test", "deep.a.test"),
        (
            "_acme-challenge.www.deeper.deep.a.test",
            "deeper.deep.a.test",
        ),
        ("_acme-challenge.deeper.deep.a.test", "deeper.deep.a.test"),
        ("_acme-challenge.www.a.test", "a.test"),
    ] {
        let found = discovery.locate(&name(asked)).await.unwrap();
        assert_eq!(found.zone.zone, name(zone), "{asked}");
        assert_eq!(found.owner, name(asked));
        if zone != "a.test" {
            assert_eq!(addresses(&found), [world.net.addr(5)].into(), "{asked}");
        }
    }
    world.resolver_knows_the_top_only();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_wildcard_makes_up_is_no_delegation() {
    let world = World::start().await;
    world.add([
        Record::cname("*.a.test", 60, "elsewhere.b.test"),
        Record::cname("_acme-challenge.own.a.test", 60, "x.b.test"),
        Record::txt("_acme-challenge.taken.a.test", 60, "somebody else's"),
    ]);
    let discovery = world.discovery();
    for asked in [
        "_acme-challenge.a.test",
        "_acme-challenge.web.a.test",
        "_acme-challenge.far.below.a.test",
    ] {
        let found = discovery.locate(&name(asked)).await.unwrap();
        assert_eq!(found.owner, name(asked));
        assert_eq!(found.wildcard, Some(name("elsewhere.b.test")), "{asked}");
        assert_eq!(found.zone.zone, name("a.test"), "{asked}");
    }
    let own = discovery.locate(&name("_acme-challenge.own.a.test")).await;
    let own = own.unwrap();
    assert_eq!((own.owner, own.wildcard), (name("x.b.test"), None));
    let taken = name("_acme-challenge.taken.a.test");
    let found = discovery.locate(&taken).await.unwrap();
    assert_eq!((found.owner, found.wildcard), (taken, None));
    // Siblings by chance are asked for where the wildcard is, and nowhere else.
    world.resolver_knows_the_top_only();
    let strangers = |server: &DnsServer| {
        let queries = server.queries();
        queries
            .iter()
            .filter(|it| it.qname.contains("dnseal-"))
            .count()
    };
    assert_eq!(strangers(&world.top) + strangers(&world.b), 0);
    assert!(strangers(&world.a) + strangers(&world.a2) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn circles_and_long_chains_are_errors() {
    let world = World::start().await;
    let hop = |n: usize| format!("h{n}.a.test");
    world.add([
        Record::cname("_acme-challenge.loop.a.test", 60, "l1.b.test"),
        Record::cname("l1.b.test", 60, "l2.a.test"),
        Record::cname("l2.a.test", 60, "l1.b.test"),
        Record::cname(
            "_acme-challenge.self.a.test",
            60,
            "_acme-challenge.self.a.test",
        ),
        Record::cname("_acme-challenge.sixteen.a.test", 60, hop(2)),
        Record::cname("_acme-challenge.seventeen.a.test", 60, hop(1)),
    ]);
    world.add((1..17).map(|n| Record::cname(hop(n), 60, hop(n + 1))));
    let discovery = world.discovery();
    let locate = async |text: &str| discovery.locate(&name(text)).await;

    for asked in ["_acme-challenge.loop.a.test", "_acme-challenge.self.a.test"] {
        let error = locate(asked).await.unwrap_err();
        assert!(matches!(error, DiscoveryError::Loop { .. }), "{error}");
        assert!(!error.is_retryable());
        assert!(error.to_string().contains(asked), "{error}");
    }
    let error = locate("_acme-challenge.loop.a.test").await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("l1.b.test -> l2.a.test -> l1.b.test"),
        "{error}"
    );

    let found = locate("_acme-challenge.sixteen.a.test").await.unwrap();
    assert_eq!((found.chain.len(), found.owner), (16, name("h17.a.test")));
    let error = locate("_acme-challenge.seventeen.a.test").await;
    let error = error.unwrap_err();
    assert!(
        matches!(error, DiscoveryError::TooManyAliases { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("more than 16"), "{error}");
}

/// The parent names `ns1` and `ns2`; the zone itself `ns2` and `ns3`.
#[tokio::test(flavor = "multi_thread")]
async fn parent_and_child_name_different_servers() {
    let world = World::start().await;
    let third = world.net.ip(5);
    world.add([
        Record::ns("a.test", 60, "ns3.a.test"),
        Record::a("ns3.a.test", 60, third),
        // Not behind the address that the parent has for it, too.
        Record::a("ns2.a.test", 60, world.net.ip(6)),
    ]);
    for gone in [
        Record::ns("a.test", 60, "ns1.a.test"),
        Record::a("ns1.a.test", 60, world.net.ip(2)),
    ] {
        assert!(world.a.zone_remove(&gone).unwrap());
    }
    let owner = name("_acme-challenge.a.test");
    let found = world.discovery().locate(&owner).await.unwrap();
    let names: BTreeSet<&str> = found.zone.servers.iter().map(|it| &*it.name).collect();
    assert_eq!(names, ["ns1.a.test", "ns2.a.test", "ns3.a.test"].into());
    let wanted = [2, 3, 5, 6].map(|n| world.net.addr(n));
    assert_eq!(addresses(&found), wanted.into(), "{found:#?}");
    world.resolver_knows_the_top_only();
}

#[tokio::test(flavor = "multi_thread")]
async fn name_server_without_address_is_told() {
    let world = World::start().await;
    world.add([
        Record::ns("a.test", 60, "ns9.a.test"),
        Record::ns("a.test", 60, "ns8.a.test"),
    ]);
    // Not even the zone's own servers can tell; the resolver still learns of nothing there.
    for server in [&world.a, &world.a2] {
        server.inject(Fault::servfail().below("ns8.a.test"));
    }
    let owner = name("_acme-challenge.a.test");
    let found = world.discovery().locate(&owner).await.unwrap();
    for lost in ["ns8.a.test", "ns9.a.test"] {
        let lost = found.zone.servers.iter().find(|it| it.name == lost);
        let lost = lost.unwrap();
        assert!(lost.addresses.is_empty());
        assert!(lost.problem.is_some(), "{lost:?}");
    }
    assert_eq!(addresses(&found), [2, 3].map(|n| world.net.addr(n)).into());
    world.resolver_knows_the_top_only();
}

/// An alias is there, and its servers fail: that is never "no alias".
#[tokio::test(flavor = "multi_thread")]
async fn failing_lookup_is_an_error() {
    let world = World::start().await;
    let owner = name("_acme-challenge.a.test");
    world.add([Record::cname(owner.as_str(), 60, "x.b.test")]);
    for (fault, says) in [
        (Fault::servfail(), "SERVFAIL"),
        (Fault::refused(), "REFUSED"),
        (Fault::servfail().qtype(RecordType::CNAME), "SERVFAIL"),
        (Fault::lame().qtype(RecordType::CNAME), "not authoritative"),
        (Fault::garbage(), "garbled"),
        (Fault::drop().qtype(RecordType::CNAME), "no answer"),
    ] {
        for server in [&world.a, &world.a2] {
            server.inject(fault.clone());
        }
        let discovery = match says {
            "no answer" => world.hasty_discovery(),
            _ => world.discovery(),
        };
        let error = discovery.locate(&owner).await.unwrap_err();
        assert!(
            matches!(error, DiscoveryError::Unanswered { .. }),
            "{error}"
        );
        assert!(error.is_retryable());
        let text = error.to_string();
        assert!(text.contains(says), "{says} is not in: {text}");
        for server in [2, 3] {
            assert!(text.contains(&world.net.addr(server).to_string()), "{text}");
        }

        // One server that is well is enough.
        world.a2.heal();
        let found = world.discovery().locate(&owner).await.unwrap();
        assert_eq!(found.owner, name("x.b.test"), "{says}");
        world.a.heal();
    }
    world.resolver_knows_the_top_only();
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_sibling_is_an_error_too() {
    let world = World::start().await;
    let owner = name("_acme-challenge.a.test");
    world.add([Record::cname(owner.as_str(), 60, "x.b.test")]);
    let discovery = world.discovery();
    discovery
        .locate(&name("_acme-challenge.www.a.test"))
        .await
        .unwrap();
    world.a2.inject(Fault::servfail());
    // The first question is answered over TCP; the second, whether a wildcard made that up, fails.
    world
        .a
        .inject(Fault::truncate().qtype(RecordType::CNAME).times(1));
    world
        .a
        .inject(Fault::servfail().qtype(RecordType::CNAME).udp());
    let error = discovery.locate(&owner).await.unwrap_err();
    let asked = world.a.queries();
    let first = asked.iter().find(|it| it.qname == owner.as_str()).unwrap();
    assert_eq!(first.rcode, Some(ResponseCode::NoError));
    assert!(error.to_string().contains("SERVFAIL"), "{error}");
    assert!(error.is_retryable());
}

#[tokio::test(flavor = "multi_thread")]
async fn alias_to_nowhere_names_the_alias() {
    let world = World::start().await;
    world.add([
        Record::cname("_acme-challenge.a.test", 60, "hop.a.test"),
        Record::cname("hop.a.test", 60, "x.gone.invalid"),
    ]);
    let owner = name("_acme-challenge.a.test");
    let error = world.discovery().locate(&owner).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, DiscoveryError::Dangling { .. }), "{text}");
    for part in [owner.as_str(), "hop.a.test", "x.gone.invalid"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(error.hint().unwrap().contains("x.gone.invalid"));
}

#[tokio::test(flavor = "multi_thread")]
async fn resolvers_that_are_of_no_use() {
    let world = World::start().await;
    let owner = name("_acme-challenge.a.test");
    world.resolver.inject(Fault::drop());
    let error = world.hasty_discovery().locate(&owner).await.unwrap_err();
    assert!(
        matches!(error, DiscoveryError::ResolverSilent { .. }),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains(&world.resolver.addr().to_string())
    );
    assert!(error.hint().unwrap().contains("--resolver"));

    // Another one that answers is enough.
    let second = Cache::builder().upstream("test", world.top.addr());
    let second = second.start().await.unwrap();
    let options = DiscoveryOptions {
        resolvers: vec![world.resolver.addr(), second.addr()],
        ..DiscoveryOptions::default()
    };
    let asker = world.net.asker(Events::silent());
    let found = Discovery::new(asker, options).locate(&owner).await.unwrap();
    assert_eq!(found.zone.zone, name("a.test"));

    world.resolver.heal();
    world.resolver.inject(Fault::servfail());
    let error = world.discovery().locate(&owner).await.unwrap_err();
    assert!(error.to_string().contains("SERVFAIL"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn given_servers_need_no_resolver() {
    let world = World::start().await;
    world.add([Record::cname("_acme-challenge.a.test", 60, "x.b.test")]);
    let given = |zones: &[(&str, &DnsServer)], all: &[&DnsServer]| {
        let options = DiscoveryOptions {
            resolvers: vec![world.resolver.addr()],
            nameservers: all.iter().map(|it| it.addr()).collect(),
            zone_nameservers: zones
                .iter()
                .map(|(zone, server)| (name(zone), vec![server.addr()]))
                .collect(),
            ..DiscoveryOptions::default()
        };
        Discovery::new(world.net.asker(Events::silent()), options)
    };
    let discovery = given(&[("a.test", &world.a), ("b.test", &world.b)], &[]);
    let found = discovery.locate(&name("_acme-challenge.a.test")).await;
    let found = found.unwrap();
    assert_eq!(found.owner, name("x.b.test"));
    assert!(found.zone.given);
    assert_eq!(addresses(&found), [world.b.addr()].into());

    // For everything: the zone is what these servers say it is, and all of them are probed.
    let discovery = given(&[], &[&world.a, &world.a2]);
    let found = discovery.locate(&name("_acme-challenge.www.a.test")).await;
    let found = found.unwrap();
    assert_eq!(found.zone.zone, name("a.test"));
    assert_eq!(addresses(&found), [world.a.addr(), world.a2.addr()].into());
    let error = discovery
        .locate(&name("_acme-challenge.b.test"))
        .await
        .unwrap_err();
    assert!(error.hint().unwrap().contains("--nameserver"), "{error}");
    assert!(world.resolver.queries().is_empty());
}

/// The alias leads from one provider's zone into another's, and the values go to the other.
#[tokio::test(flavor = "multi_thread")]
async fn delegated_value_goes_to_the_provider_of_its_zone() {
    let world = World::start().await;
    world.add([Record::cname("_acme-challenge.a.test", 60, "x.b.test")]);
    let (events, _listener) = Events::channel();
    let provider = |label: &str, server: &DnsServer| NamedProvider {
        name: label.to_owned(),
        provider: Rfc2136::at(server.addr()).key(&world.key).build(),
    };
    let table = [("a.test", "first"), ("b.test", "second")];
    let routes = Routes::new(
        vec![provider("first", &world.a), provider("second", &world.b)],
        table
            .map(|(zone, label)| (name(zone), label.to_owned()))
            .into(),
        None,
    );
    let propagation = Propagation::new(
        world.net.asker(events.clone()),
        PropagationPolicy::default(),
        events.clone(),
    );
    let zones = Zones::new(routes.unwrap(), world.discovery(), propagation, events);
    let cancel = CancellationToken::new();

    let place = zones.place(&name("_acme-challenge.a.test")).await.unwrap();
    assert_eq!(place.provider.name, "second");
    assert_eq!(place.zone.name, name("b.test"));
    let changes = vec![dnseal_tests::added("x.b.test", "value")];
    let written = zones.submit(&place.provider, &place.zone, changes, &cancel);
    let written = written.written().await.unwrap();
    assert!(written.results.iter().all(Result::is_ok), "{written:?}");
    assert_eq!(world.b.values("x.b.test"), ["value"]);
    assert_eq!(world.a.updates().messages, 0);
    let wanted = Wanted {
        zone: Arc::clone(&place.location.zone),
        owner: place.location.owner.clone(),
        values: vec!["value".parse().unwrap()],
    };
    let proof = zones
        .await_visible(
            vec![wanted],
            Default::default(),
            (Duration::ZERO, None),
            &cancel,
            |_| {},
        )
        .await;
    assert!(proof.unwrap().is_proven());

    let error = zones.place(&name("_acme-challenge.c.test")).await;
    assert!(matches!(
        error,
        Err(PlaceError::Discovery(_) | PlaceError::Route(_))
    ));
    world.resolver_knows_the_top_only();
}
