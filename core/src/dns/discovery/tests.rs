use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use super::*;
use crate::dns::scripted::Manner;
use crate::dns::scripted::Net;
use crate::dns::scripted::domain;
use crate::event::Events;

/// Server 1 is the resolver, 2 holds `test`, 3 and 4 hold `example.test`, 5 is for the test.
async fn net() -> Net {
    let net = Net::new(5).await;
    let resolver = net.server(1);
    resolver.behave(Manner::Resolver);
    resolver.zone("test", &["test NS a.nic.test", "a.nic.test A 127.0.53.2"]);
    net.server(2).zone(
        "test",
        &[
            "test NS a.nic.test",
            "a.nic.test A 127.0.53.2",
            "example.test NS ns1.example.test",
            "ns1.example.test A 127.0.53.3",
            "other.test NS ns5.other.test",
            "ns5.other.test A 127.0.53.5",
        ],
    );
    for n in [3, 4] {
        net.server(n).zone(
            "example.test",
            &[
                "example.test NS ns1.example.test",
                "example.test NS ns2.example.test",
                "ns1.example.test A 127.0.53.3",
                "ns2.example.test A 127.0.53.4",
                "www.example.test A 192.0.2.1",
            ],
        );
    }
    net
}

fn discovery(net: &Net) -> Discovery {
    let options = DiscoveryOptions {
        resolvers: vec![net.server(1).address],
        ..DiscoveryOptions::default()
    };
    Discovery::new(net.asker(), options)
}

fn challenge(name: &str) -> DomainName {
    domain(&format!("_acme-challenge.{name}"))
}

fn addresses(zone: &ZoneServers) -> BTreeSet<SocketAddr> {
    let servers = zone.servers.iter();
    servers.flat_map(|s| s.addresses.clone()).collect()
}

fn names(zone: &ZoneServers) -> Vec<&str> {
    zone.servers.iter().map(|s| s.name.as_str()).collect()
}

#[tokio::test]
async fn parent_and_child_name_the_servers_together() {
    let net = net().await;
    net.server(2).zone(
        "test",
        &[
            "example.test NS ns0.example.test",
            "ns0.example.test A 127.0.53.5",
        ],
    );
    let found = discovery(&net)
        .locate(&challenge("www.example.test"))
        .await
        .unwrap();

    assert_eq!(found.owner, challenge("www.example.test"));
    assert_eq!(found.zone.zone, domain("example.test"));
    assert!(found.chain.is_empty() && found.wildcard.is_none());
    assert_eq!(
        names(&found.zone),
        ["ns0.example.test", "ns1.example.test", "ns2.example.test"]
    );
    let wanted: BTreeSet<_> = [3, 4, 5].map(|n| net.server(n).address).into();
    assert_eq!(addresses(&found.zone), wanted);
    assert_eq!(found.zone.negative_ttl, Duration::from_secs(60));
}

#[tokio::test]
async fn the_resolver_is_asked_for_nothing_below_a_known_zone() {
    let net = net().await;
    net.server(3)
        .zone("example.test", &["example.test NS ns3.example.test"]);
    let discovery = discovery(&net);
    let owners = ["a.example.test", "b.c.example.test", "example.test"];
    for owner in owners {
        let found = discovery.locate(&challenge(owner)).await.unwrap();
        assert_eq!(found.zone.zone, domain("example.test"));
    }

    let asked: Vec<String> = net.server(1).log().into_iter().map(|a| a.name).collect();
    assert!(!asked.is_empty());
    for name in asked {
        assert!(!name.ends_with("example.test"), "{name}");
        assert!(!name.contains("_acme-challenge"), "{name}");
    }
    // Authorities are asked without recursion.
    for n in [2, 3, 4] {
        assert!(net.server(n).log().iter().all(|asked| !asked.recursive));
    }
}

#[tokio::test]
async fn a_hundred_names_cost_one_question_each() {
    let net = net().await;
    let discovery = discovery(&net);
    let owners: Vec<DomainName> = (0..100)
        .map(|n| challenge(&format!("h{n}.dev.example.test")))
        .collect();
    for found in join_all(owners.iter().map(|o| discovery.locate(o))).await {
        assert_eq!(found.unwrap().zone.zone, domain("example.test"));
    }
    let questions: usize = (1..=5).map(|n| net.server(n).log().len()).sum();
    assert!(questions < 130, "{questions}");
    let at_parent = net.server(2).log().len();
    assert!(at_parent < 8, "{at_parent}");
}

#[tokio::test]
async fn a_cname_is_followed_into_another_zone() {
    let net = net().await;
    for n in [3, 4] {
        let line = "_acme-challenge.www.example.test CNAME x1.auth.other.test";
        net.server(n).zone("example.test", &[line]);
    }
    net.server(5).zone(
        "other.test",
        &[
            "other.test NS ns5.other.test",
            "ns5.other.test A 127.0.53.5",
        ],
    );
    let found = discovery(&net)
        .locate(&challenge("www.example.test"))
        .await
        .unwrap();
    assert_eq!(found.owner, domain("x1.auth.other.test"));
    assert_eq!(found.chain, [domain("x1.auth.other.test")]);
    assert_eq!(found.zone.zone, domain("other.test"));
    assert!(found.is_delegated());
    assert!(!net.server(1).asked_for("x1.auth.other.test"));
}

#[tokio::test]
async fn a_dname_is_followed() {
    let net = net().await;
    for n in [3, 4] {
        net.server(n)
            .zone("example.test", &["www.example.test DNAME c.other.test"]);
    }
    net.server(5).zone(
        "other.test",
        &[
            "other.test NS ns5.other.test",
            "ns5.other.test A 127.0.53.5",
        ],
    );
    let found = discovery(&net)
        .locate(&challenge("www.example.test"))
        .await
        .unwrap();
    assert_eq!(found.owner, challenge("c.other.test"));
    assert!(found.wildcard.is_none());
}

#[tokio::test]
async fn a_zone_of_its_own_holds_the_challenge() {
    let net = net().await;
    for n in [3, 4] {
        net.server(n).zone(
            "example.test",
            &[
                "_acme-challenge.www.example.test NS acme.example.test",
                "acme.example.test A 127.0.53.5",
            ],
        );
    }
    let apex = "_acme-challenge.www.example.test";
    net.server(5).zone(
        apex,
        &["_acme-challenge.www.example.test NS acme.example.test"],
    );
    let found = discovery(&net)
        .locate(&challenge("www.example.test"))
        .await
        .unwrap();
    assert_eq!(found.zone.zone, domain(apex));
    assert_eq!(addresses(&found.zone), [net.server(5).address].into());
}

#[tokio::test]
async fn one_server_for_parent_and_child_is_seen_through() {
    let net = net().await;
    for n in [3, 4] {
        net.server(n)
            .zone("example.test", &["dev.example.test NS ns2.example.test"]);
        net.server(n).zone(
            "dev.example.test",
            &["dev.example.test NS ns2.example.test"],
        );
    }
    let found = discovery(&net)
        .locate(&challenge("x.dev.example.test"))
        .await
        .unwrap();
    assert_eq!(found.zone.zone, domain("dev.example.test"));
    assert_eq!(names(&found.zone), ["ns2.example.test"]);
    assert_eq!(addresses(&found.zone), [net.server(4).address].into());
}

#[tokio::test]
async fn what_a_wildcard_answers_is_no_delegation() {
    let net = net().await;
    for n in [3, 4] {
        net.server(n)
            .zone("example.test", &["*.example.test CNAME web.other.test"]);
    }
    let discovery = discovery(&net);
    let found = discovery
        .locate(&challenge("nobody.example.test"))
        .await
        .unwrap();
    assert_eq!(found.owner, challenge("nobody.example.test"));
    assert_eq!(found.wildcard, Some(domain("web.other.test")));
    assert_eq!(found.zone.zone, domain("example.test"));

    // An alias of its own beside the wildcard is one.
    for n in [3, 4] {
        let line = "_acme-challenge.www.example.test CNAME v.example.test";
        net.server(n)
            .zone("example.test", &[line, "v.example.test A 192.0.2.2"]);
    }
    let found = discovery
        .locate(&challenge("www.example.test"))
        .await
        .unwrap();
    assert_eq!(found.owner, domain("v.example.test"));
    assert_eq!(found.wildcard, None);
}

#[tokio::test]
async fn circles_and_long_chains_end() {
    let net = net().await;
    let hop = |n: usize| format!("h{n}.example.test");
    for server in [3, 4] {
        let zone = net.server(server);
        zone.zone(
            "example.test",
            &[
                "_acme-challenge.loop.example.test CNAME b.example.test",
                "b.example.test CNAME c.example.test",
                "c.example.test CNAME b.example.test",
                "_acme-challenge.self.example.test CNAME _acme-challenge.self.example.test",
                &format!("_acme-challenge.long.example.test CNAME {}", hop(1)),
                &format!("_acme-challenge.longer.example.test CNAME {}", hop(0)),
            ],
        );
        for n in 0..16 {
            zone.zone(
                "example.test",
                &[&format!("{} CNAME {}", hop(n), hop(n + 1))],
            );
        }
    }
    let discovery = discovery(&net);
    let error = discovery
        .locate(&challenge("loop.example.test"))
        .await
        .unwrap_err();
    let text = "aliases lead in a circle: _acme-challenge.loop.example.test -> b.example.test -> c.example.test -> b.example.test";
    assert_eq!(error.to_string(), text);
    let error = discovery
        .locate(&challenge("self.example.test"))
        .await
        .unwrap_err();
    assert!(matches!(error, DiscoveryError::Loop { .. }), "{error}");

    let found = discovery
        .locate(&challenge("long.example.test"))
        .await
        .unwrap();
    assert_eq!(
        (found.chain.len(), found.owner),
        (16, domain("h16.example.test"))
    );
    let error = discovery
        .locate(&challenge("longer.example.test"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, DiscoveryError::TooManyAliases { .. }),
        "{error}"
    );
    assert!(
        error.to_string().starts_with("more than 16 aliases"),
        "{error}"
    );
}

#[tokio::test]
async fn a_failing_server_is_an_error_and_no_missing_alias() {
    let net = net().await;
    let discovery = discovery(&net);
    discovery
        .locate(&challenge("www.example.test"))
        .await
        .unwrap();
    for n in [3, 4] {
        net.server(n).behave(Manner::Rcode(ResponseCode::ServFail));
    }
    let error = discovery
        .locate(&challenge("b.example.test"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("SERVFAIL"), "{error}");
    assert!(error.is_retryable());

    // What passes within a second is waited for.
    let owner = challenge("c.example.test");
    let recovering = async {
        while !net.server(3).asked_for(owner.as_str()) {
            tokio::task::yield_now().await;
        }
        net.server(3).behave(Manner::Good);
    };
    let (found, ()) = tokio::join!(discovery.locate(&owner), recovering);
    found.unwrap();
    net.server(3).behave(Manner::Rcode(ResponseCode::ServFail));

    // One that works is enough.
    net.server(4).behave(Manner::Good);
    discovery
        .locate(&challenge("b.example.test"))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_alias_to_nowhere_says_who_points_there() {
    let net = net().await;
    for n in [3, 4] {
        let line = "_acme-challenge.www.example.test CNAME x.gone.invalid";
        net.server(n).zone("example.test", &[line]);
    }
    let error = discovery(&net)
        .locate(&challenge("www.example.test"))
        .await
        .unwrap_err();
    assert!(matches!(error, DiscoveryError::Dangling { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.starts_with("_acme-challenge.www.example.test points to x.gone.invalid"),
        "{text}"
    );
    assert!(!net.server(1).asked_for("x.gone.invalid"));
}

#[tokio::test]
async fn the_resolver_may_know_only_a_private_zone() {
    let net = net().await;
    net.server(1).zone(
        "corp",
        &[
            "example.corp NS ns5.example.corp",
            "ns5.example.corp A 127.0.53.5",
        ],
    );
    net.server(5).zone(
        "example.corp",
        &[
            "example.corp NS ns5.example.corp",
            "ns5.example.corp A 127.0.53.5",
        ],
    );
    let found = discovery(&net)
        .locate(&challenge("a.b.example.corp"))
        .await
        .unwrap();
    assert_eq!(found.zone.zone, domain("example.corp"));
    assert!(!net.server(1).asked_for("b.example.corp"));

    net.server(1).zone("home", &["home NS localhost"]);
    let error = discovery(&net)
        .locate(&challenge("a.example.home"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, DiscoveryError::UnknownZone { .. }),
        "{error}"
    );
    assert!(!net.server(1).asked_for("_acme-challenge.a.example.home"));
}

#[tokio::test]
async fn a_closed_port_is_told_from_an_interception() {
    let net = net().await;
    net.server(2).behave(Manner::Silent);
    let options = DiscoveryOptions {
        resolvers: vec![net.server(1).address],
        ..DiscoveryOptions::default()
    };
    let asker = net.asker_with(Duration::from_millis(100), Events::silent());
    let error = Discovery::new(asker, options)
        .locate(&challenge("www.example.test"))
        .await
        .unwrap_err();
    let hint = error.hint().unwrap();
    assert!(
        hint.contains("closed") && hint.contains("--nameserver"),
        "{hint}"
    );
    assert!(error.to_string().contains("127.0.53.2"), "{error}");

    net.server(2).behave(Manner::Lame);
    let error = discovery(&net)
        .locate(&challenge("www.example.test"))
        .await
        .unwrap_err();
    let hint = error.hint().unwrap();
    assert!(hint.contains("not authoritative"), "{hint}");
    // Whoever answers in the server's place has not learned the name.
    assert!(!net.server(2).asked_for("_acme-challenge.www.example.test"));
}

#[tokio::test]
async fn given_servers_are_all_that_is_asked() {
    let net = net().await;
    for n in [3, 4] {
        let line = "_acme-challenge.www.example.test CNAME x.other.test";
        net.server(n).zone("example.test", &[line]);
    }
    net.server(5)
        .zone("other.test", &["other.test NS ns5.other.test"]);
    let given = vec![net.server(3).address, net.server(4).address];
    let mut options = DiscoveryOptions {
        nameservers: given.clone(),
        resolvers: vec![net.server(1).address],
        ..DiscoveryOptions::default()
    };
    let discovery = Discovery::new(net.asker(), options.clone());
    let found = discovery
        .locate(&challenge("a.b.example.test"))
        .await
        .unwrap();
    assert!(found.zone.given);
    assert_eq!(found.zone.zone, domain("example.test"));
    assert_eq!(addresses(&found.zone), given.into_iter().collect());
    let error = discovery
        .locate(&challenge("www.example.test"))
        .await
        .unwrap_err();
    assert!(matches!(error, DiscoveryError::Dangling { .. }), "{error}");
    assert!(error.to_string().contains("REFUSED"), "{error}");

    options.zone_nameservers = vec![(domain("other.test"), vec![net.server(5).address])];
    let discovery = Discovery::new(net.asker(), options);
    let found = discovery
        .locate(&challenge("www.example.test"))
        .await
        .unwrap();
    assert_eq!(addresses(&found.zone), [net.server(5).address].into());
    assert!(net.server(1).log().is_empty() && net.server(2).log().is_empty());
}

#[tokio::test]
async fn any_type_is_asked_at_the_zone_itself() {
    let net = net().await;
    let reply = discovery(&net)
        .ask(&domain("www.example.test"), RecordType::A)
        .await
        .unwrap();
    assert!(reply.authoritative);
    assert_eq!(reply.answers.len(), 1);
}

#[tokio::test]
async fn an_alias_that_the_server_follows_is_no_answer_for_another_zone() {
    let net = net().await;
    for n in [3, 4] {
        net.server(n)
            .zone("example.test", &["*.example.test CNAME web.elsewhere.test"]);
        net.server(n)
            .zone("elsewhere.test", &["web.elsewhere.test A 192.0.2.9"]);
        net.server(n).behave(Manner::Following);
    }
    let discovery = discovery(&net);
    let found = discovery
        .locate(&challenge("a.example.test"))
        .await
        .unwrap();
    assert_eq!(found.zone.zone, domain("example.test"));
    assert_eq!(found.wildcard, Some(domain("web.elsewhere.test")));
    let reply = discovery
        .ask(&domain("a.example.test"), RecordType::CAA)
        .await
        .unwrap();
    assert!(reply.is_alias());
}

#[tokio::test]
async fn a_zone_that_does_not_tell_its_soa_is_found_upwards() {
    let net = net().await;
    for n in [3, 4] {
        net.server(n).behave(Manner::WithoutSoa);
    }
    let found = discovery(&net)
        .locate(&challenge("a.b.example.test"))
        .await
        .unwrap();
    assert_eq!(found.zone.zone, domain("example.test"));

    let options = DiscoveryOptions {
        nameservers: vec![net.server(3).address],
        ..DiscoveryOptions::default()
    };
    let given = Discovery::new(net.asker(), options);
    let found = given.locate(&challenge("a.b.example.test")).await.unwrap();
    assert_eq!(found.zone.zone, domain("example.test"));
}

#[tokio::test]
async fn a_closed_top_does_not_hide_a_zone_inside() {
    let net = net().await;
    net.server(2).behave(Manner::Silent);
    net.server(1).zone(
        "test",
        &[
            "example.test NS ns1.example.test",
            "ns1.example.test A 127.0.53.3",
        ],
    );
    let options = DiscoveryOptions {
        resolvers: vec![net.server(1).address],
        ..DiscoveryOptions::default()
    };
    let asker = net.asker_with(Duration::from_millis(300), Events::silent());
    let discovery = Discovery::new(asker, options);
    let found = discovery
        .locate(&challenge("a.b.example.test"))
        .await
        .unwrap();
    assert_eq!(found.zone.zone, domain("example.test"));
    assert!(!net.server(1).asked_for("b.example.test"));
}

#[tokio::test]
async fn one_family_is_asked_for_its_own_addresses_only() {
    let net = net().await;
    let options = DiscoveryOptions {
        resolvers: vec![net.server(1).address],
        ..DiscoveryOptions::default()
    };
    let asker = Asker::new(
        crate::dns::AskerOptions {
            family: Family::V4,
            port: net.port,
            ..crate::dns::AskerOptions::default()
        },
        Events::silent(),
    );
    Discovery::new(asker, options)
        .locate(&challenge("www.example.test"))
        .await
        .unwrap();
    let all = (1..=5).flat_map(|n| net.server(n).log());
    assert!(all.into_iter().all(|asked| asked.rtype != RecordType::AAAA));
}
