use std::collections::BTreeSet;

use hickory_proto::op::ResponseCode;
use tokio::time::timeout;

use super::*;
use crate::dns::NameServer;
use crate::dns::Transport;
use crate::dns::scripted::Manner;
use crate::dns::scripted::Net;
use crate::dns::scripted::domain;

/// Servers 1 to `n` as ns1 to nsN of example.test, each with one address.
async fn net(n: usize) -> (Net, Arc<ZoneServers>) {
    let net = Net::new(n).await;
    for server in 1..=n {
        net.server(server)
            .zone("example.test", &["example.test NS ns1.example.test"]);
    }
    let servers = (1..=n).map(|s| name_server(&net, s, &[s])).collect();
    let zone = zone(servers);
    (net, zone)
}

fn name_server(net: &Net, name: usize, addresses: &[usize]) -> NameServer {
    NameServer {
        name: format!("ns{name}.example.test"),
        addresses: addresses.iter().map(|&a| net.server(a).address).collect(),
        problem: None,
    }
}

fn zone(servers: Vec<NameServer>) -> Arc<ZoneServers> {
    Arc::new(ZoneServers {
        zone: domain("example.test"),
        servers,
        given: false,
        negative_ttl: Duration::from_secs(60),
    })
}

fn wanted(zone: &Arc<ZoneServers>, owner: &str, value: &str) -> Wanted {
    Wanted {
        zone: zone.clone(),
        owner: domain(owner),
        values: vec![value.parse().unwrap()],
    }
}

fn publish(net: &Net, servers: &[usize], owner: &str, value: &str) {
    for &server in servers {
        let line = format!("{owner} TXT {value}");
        net.server(server).zone("example.test", &[&line]);
    }
}

fn policy(quorum: Quorum, grace: Duration) -> PropagationPolicy {
    PropagationPolicy {
        quorum,
        grace,
        timeout: Duration::from_secs(20),
        ..PropagationPolicy::default()
    }
}

fn propagation(net: &Net, policy: PropagationPolicy) -> Propagation {
    Propagation::new(net.asker(), policy, Events::silent())
}

/// With time-outs short enough for servers that are dead on purpose.
fn hasty(net: &Net, policy: PropagationPolicy, events: Events) -> Propagation {
    let asker = net.asker_with(Duration::from_millis(150), Events::silent());
    Propagation::new(asker, policy, events)
}

const OWNER: &str = "_acme-challenge.example.test";

#[tokio::test]
async fn a_server_that_is_late_is_waited_for() {
    let (net, zone) = net(2).await;
    publish(&net, &[1], OWNER, "v");
    let (events, mut told) = Events::channel();
    let policy = policy(Quorum::All, Duration::ZERO);
    let propagation = Propagation::new(net.asker(), policy, events);
    let late = async {
        // The second server gets the value when it has been seen to lack it.
        while let Some(event) = told.recv().await {
            if let What::Verdict {
                server, verdict, ..
            } = event.what
                && server == "ns2.example.test"
                && verdict == "NXDOMAIN"
            {
                break;
            }
        }
        publish(&net, &[2], OWNER, "v");
    };
    let cancel = CancellationToken::new();
    let waiting = propagation.await_visible(vec![wanted(&zone, OWNER, "v")], &cancel);
    let (report, ()) = tokio::join!(waiting, late);
    assert!(report.unwrap().is_proven());
    // The first was asked once: it had shown the value.
    assert_eq!(net.server(1).log().len(), 1);
    assert!(net.server(2).log().len() >= 2);
}

#[tokio::test]
async fn a_dead_server_holds_up_for_the_grace_and_is_named() {
    for manner in [
        Manner::Silent,
        Manner::Lame,
        Manner::Rcode(ResponseCode::Refused),
        Manner::Rcode(ResponseCode::ServFail),
    ] {
        let (net, zone) = net(2).await;
        publish(&net, &[1, 2], OWNER, "v");
        net.server(2).behave(manner);
        let (events, mut told) = Events::channel();
        let grace = Duration::from_millis(700);
        let propagation = hasty(&net, policy(Quorum::All, grace), events);
        let started = Instant::now();
        let report = propagation
            .await_visible(vec![wanted(&zone, OWNER, "v")], &CancellationToken::new())
            .await
            .unwrap();
        assert!(started.elapsed() >= grace, "{manner:?}");
        assert!(report.is_proven());
        drop(propagation);
        let mut warnings = Vec::new();
        while let Some(event) = told.recv().await {
            if let What::Warning { message, .. } = event.what {
                warnings.push(message);
            }
        }
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("ns2.example.test"), "{warnings:?}");
    }
}

#[tokio::test]
async fn dead_servers_alone_prove_nothing() {
    let (net, zone) = net(2).await;
    net.server(1).behave(Manner::Silent);
    net.server(2).behave(Manner::Lame);
    let mut policy = policy(Quorum::All, Duration::from_millis(100));
    policy.timeout = Duration::from_millis(800);
    let error = hasty(&net, policy, Events::silent())
        .await_visible(vec![wanted(&zone, OWNER, "v")], &CancellationToken::new())
        .await
        .unwrap_err();
    assert!(error.hint().unwrap().contains("--nameserver"));
    let PropagationError::NotVisible { report, .. } = error else {
        panic!("{error}")
    };
    let text = report.to_string();
    assert!(
        text.contains("no answer") && text.contains("not authoritative"),
        "{text}"
    );
}

#[tokio::test]
async fn one_usable_address_of_a_name_is_enough_and_a_lacking_one_is_too_much() {
    let net = Net::new(3).await;
    for n in 1..=3 {
        net.server(n).zone("example.test", &[]);
    }
    let zone = zone(vec![
        name_server(&net, 1, &[1]),
        name_server(&net, 2, &[2, 3]),
    ]);
    publish(&net, &[1, 2], OWNER, "v");
    net.server(3).behave(Manner::Rcode(ResponseCode::Refused));
    let long = policy(Quorum::All, Duration::from_secs(3600));
    propagation(&net, long.clone())
        .await_visible(vec![wanted(&zone, OWNER, "v")], &CancellationToken::new())
        .await
        .unwrap();

    net.server(3).behave(Manner::Good);
    let hurried = PropagationPolicy {
        timeout: Duration::from_millis(300),
        ..long
    };
    let error = propagation(&net, hurried)
        .await_visible(vec![wanted(&zone, OWNER, "v")], &CancellationToken::new())
        .await
        .unwrap_err();
    let text = error.to_string();
    let begin = "TXT value not visible at 1 of 3 name servers of example.test after ";
    assert!(text.starts_with(begin), "{text}");
    let PropagationError::NotVisible { report, .. } = error else {
        panic!("{error}")
    };
    let lacking = &report.names[0].rows[2];
    assert_eq!(lacking.zone_serial, Some(2));
    let table = report.to_string();
    assert!(
        table.contains("NXDOMAIN, serial 2 (ns1 is at 3)"),
        "{table}"
    );
}

#[tokio::test]
async fn a_hundred_names_go_together() {
    let (net, zone) = net(4).await;
    let owner = |n: usize| format!("_acme-challenge.h{n}.example.test");
    let all: Vec<Wanted> = (0..100).map(|n| wanted(&zone, &owner(n), "v")).collect();
    for n in 0..100 {
        publish(&net, &[1, 2, 3, 4], &owner(n), "v");
    }
    let mut proven = BTreeSet::new();
    let report = propagation(&net, policy(Quorum::All, Duration::ZERO))
        .await_visible_each(all, &CancellationToken::new(), |p| {
            assert!(proven.insert(p.index), "told twice");
        })
        .await
        .unwrap();
    assert_eq!((proven.len(), report.names.len()), (100, 100));
    for n in 1..=4 {
        assert_eq!(net.server(n).log().len(), 100);
    }
}

#[tokio::test]
async fn a_dead_address_costs_one_time_out_however_many_names_wait() {
    let (net, zone) = net(2).await;
    net.server(2).behave(Manner::Silent);
    let all: Vec<Wanted> = (0..50)
        .map(|n| wanted(&zone, &format!("h{n}.example.test"), "v"))
        .collect();
    let report = hasty(&net, policy(Quorum::All, Duration::ZERO), Events::silent())
        .look(&all)
        .await;
    assert!(!report.is_proven());
    // Once over each transport.
    assert_eq!(net.server(2).log().len(), 2);
    assert!(report.names.iter().all(|name| {
        matches!(
            name.rows[1].verdict,
            Some(Verdict::Unusable(Unusable::Silent(_)))
        )
    }));
}

#[tokio::test]
async fn other_values_and_aliases_are_told() {
    let (net, zone) = net(3).await;
    publish(&net, &[1], OWNER, "old");
    publish(&net, &[2], OWNER, "v");
    publish(&net, &[2], OWNER, "old");
    let wildcard = [
        "*.example.test CNAME web.example.test",
        "web.example.test TXT v",
    ];
    net.server(3).zone("example.test", &wildcard);
    let look = propagation(&net, PropagationPolicy::default());
    let report = look.look(&[wanted(&zone, OWNER, "v")]).await;
    let said: Vec<String> = report.names[0]
        .rows
        .iter()
        .map(|row| row.verdict.as_ref().unwrap().to_string())
        .collect();
    let alias = "CNAME to web.example.test";
    assert_eq!(said, ["1 other value", "has it and 1 other value", alias]);
    let json = serde_json::to_value(&report).unwrap();
    let rows = &json["names"][0]["rows"];
    assert_eq!(rows[0]["verdict"], "lacks-it");
    assert_eq!(rows[1]["verdict"], "has-it");
    assert_eq!(rows[0]["transport"], "udp");
}

#[tokio::test]
async fn many_values_are_read_over_tcp() {
    let (net, zone) = net(1).await;
    for n in 0..60 {
        publish(&net, &[1], OWNER, &format!("{n:043}"));
    }
    publish(&net, &[1], OWNER, "v");
    let look = propagation(&net, PropagationPolicy::default());
    let report = look.look(&[wanted(&zone, OWNER, "v")]).await;
    assert!(report.is_proven());
    assert_eq!(report.names[0].rows[0].transport, Some(Transport::Tcp));
}

#[tokio::test]
async fn waiting_ends_when_told_to() {
    let (net, zone) = net(1).await;
    let propagation = propagation(&net, PropagationPolicy::default());
    let cancel = CancellationToken::new();
    let waiting = propagation.await_visible(vec![wanted(&zone, OWNER, "v")], &cancel);
    let stop = async {
        while net.server(1).log().is_empty() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let both = async { tokio::join!(waiting, stop).0 };
    let error = timeout(Duration::from_secs(10), both)
        .await
        .unwrap()
        .unwrap_err();
    assert!(matches!(error, PropagationError::Cancelled));
}

#[tokio::test]
async fn settling_comes_after_the_proof_and_can_be_cancelled() {
    let (net, zone) = net(1).await;
    publish(&net, &[1], OWNER, "v");
    let mut policy = policy(Quorum::All, Duration::ZERO);
    policy.settle = Duration::from_millis(200);
    let cancel = CancellationToken::new();
    let started = Instant::now();
    let mut proven_after = None;
    propagation(&net, policy.clone())
        .await_visible_each(vec![wanted(&zone, OWNER, "v")], &cancel, |_| {
            proven_after = Some(started.elapsed());
        })
        .await
        .unwrap();
    assert!(started.elapsed() >= proven_after.unwrap() + policy.settle);

    policy.settle = Duration::from_secs(3600);
    let result = propagation(&net, policy)
        .await_visible_each(vec![wanted(&zone, OWNER, "v")], &cancel, |_| {
            cancel.cancel()
        })
        .await;
    assert!(matches!(result, Err(PropagationError::Cancelled)));
}
