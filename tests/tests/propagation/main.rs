//! Proof that every server a CA may ask shows the values, with real servers and with such as fail in every way.
//!
//! Nothing here waits for time to pass: lags end when the test says so or when a real secondary has caught up, and what
//! must not happen too early is looked at when it happens.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not count among the tests"
)]

mod bench;
mod sick;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use dnseal_core::{
    dns::{
        Asker, AskerOptions, Discovery, DiscoveryOptions, NameServer, Propagation,
        PropagationError, PropagationPolicy, Quorum, Transport, Unusable, Verdict, Wanted,
    },
    event::Events,
};
use dnseal_sandbox::dns::{Fault, RecordType};
use dnseal_tests::{
    Bind, BindOptions, Knot, KnotOptions, NameServer as _, PowerDns, PowerDnsOptions, TsigKey,
    ZoneSpec, free_addr, name, txt_values, value,
};
use tokio_util::sync::CancellationToken;

use crate::bench::{
    asked, drain, policy, primary, row, show, verdicts_of, wait, wanted, warnings, watcher,
    zone_servers,
};

const ZONE: &str = "example.test";
const OWNER: &str = "_acme-challenge.example.test";
/// No test waits for it.
const LONG: Duration = Duration::from_hours(1);

/// A primary, a secondary that is notified, one that looks every 5 s, one that is dead and one that is lame.
#[tokio::test(flavor = "multi_thread")]
async fn slow_secondary_is_waited_for_and_broken_ones_are_named() {
    let key = TsigKey::random("acme-key");
    let [notified, looking] = [free_addr(), free_addr()];
    let options = BindOptions {
        notify: vec![notified],
        ..BindOptions::new([ZoneSpec::new(ZONE).updated_by(&key)], [key.clone()])
    };
    let Some(primary) = Bind::start(options.clone()) else {
        return;
    };
    let secondary = |listen, refresh| {
        let listen = Some(listen);
        let secondary = options.secondary(primary.addr(), refresh);
        Bind::start(BindOptions {
            listen,
            ..secondary
        })
        .unwrap()
    };
    let dead = secondary(free_addr(), 3600);
    dead.process().pause();
    let lame = Bind::start(BindOptions::new([ZoneSpec::new("other.test")], [])).unwrap();
    let fast = secondary(notified, 3600);

    let (events, mut told) = Events::channel();
    let asker = Asker::new(AskerOptions::default(), events.clone());
    let given = DiscoveryOptions {
        nameservers: vec![
            primary.addr(),
            fast.addr(),
            looking,
            dead.addr(),
            lame.addr(),
        ],
        ..DiscoveryOptions::default()
    };
    let found = Discovery::new(asker.clone(), given)
        .locate(&name(OWNER))
        .await
        .unwrap();
    assert_eq!(found.zone.zone, name(ZONE));
    assert_eq!(found.zone.servers.len(), 5);

    // It takes over the zone when it starts, and looks again nearly 5 s later. Should its start have taken that long, there is
    // another value to be late with.
    let slow = secondary(looking, 5);
    let late = (0..10).map(|n| format!("value-{n}")).find(|value| {
        primary.add_txt(&key, ZONE, OWNER, value);
        !txt_values(slow.addr(), OWNER).contains(value)
    });
    let late = late.unwrap();

    let policy = PropagationPolicy {
        // Shorter than the slow one needs, so that it is not for this that it is waited.
        grace: Duration::from_secs(2),
        timeout: Duration::from_secs(60),
        ..PropagationPolicy::default()
    };
    let wanted = Wanted {
        zone: found.zone,
        owner: found.owner,
        values: vec![value(&late)],
    };
    let mut shown_when_proven = Vec::new();
    let report = Propagation::new(asker, policy, events)
        .await_visible_each(vec![wanted], &CancellationToken::new(), |proven| {
            assert_eq!(proven.owner, name(OWNER));
            shown_when_proven.push(txt_values(slow.addr(), OWNER));
        })
        .await
        .unwrap();
    assert_eq!(shown_when_proven.len(), 1);
    assert!(
        shown_when_proven[0].contains(&late),
        "{shown_when_proven:?}"
    );
    for server in [&primary, &fast, &slow] {
        assert!(
            row(&report, server.addr())
                .verdict
                .as_ref()
                .unwrap()
                .has_it()
        );
    }

    let told = drain(&mut told);
    let slow_said = verdicts_of(&told, slow.addr());
    assert!(!slow_said[0].contains("has it"), "{slow_said:?}");
    assert!(
        slow_said.last().unwrap().contains("has it"),
        "{slow_said:?}"
    );
    let warnings = warnings(&told);
    assert_eq!(warnings.len(), 2, "{warnings:#?}");
    for (server, says) in [(&dead, "no answer"), (&lame, "REFUSED")] {
        let server = server.addr().to_string();
        let warning = warnings.iter().find(|it| it.contains(&server)).unwrap();
        assert!(warning.contains(says), "{warning}");
    }
}

/// The same zone at three primaries that know nothing of each other, as with a hidden one that feeds several services.
#[tokio::test(flavor = "multi_thread")]
async fn real_servers_are_read_alike() {
    let key = TsigKey::random("acme-key");
    let zones = || [ZoneSpec::new(ZONE).updated_by(&key)];
    let keys = || [key.clone()];
    let Some(bind) = Bind::start(BindOptions::new(zones(), keys())) else {
        return;
    };
    let Some(knot) = Knot::start(KnotOptions::new(zones(), keys())) else {
        return;
    };
    let Some(powerdns) = PowerDns::start(PowerDnsOptions::new(zones(), keys())) else {
        return;
    };
    let servers: [&dyn dnseal_tests::NameServer; 3] = [&bind, &knot, &powerdns];
    let named: Vec<(&str, SocketAddr)> = servers.iter().map(|it| (it.name(), it.addr())).collect();
    let wanted = [wanted(&zone_servers(&named), OWNER, &["one", "two"])];
    let propagation = watcher(policy(), Events::silent());

    let report = propagation.look(&wanted).await;
    assert!(!report.is_proven());
    assert!(report.summary().contains("3 of 3"), "{}", report.summary());
    for (behind, server) in (0..3).rev().zip(servers) {
        for value in ["foreign", "one", "two"] {
            let report = propagation.look(&wanted).await;
            assert!(!report.is_proven(), "{report}");
            server.add_txt(&key, ZONE, OWNER, value);
        }
        let report = propagation.look(&wanted).await;
        let verdict = row(&report, server.addr()).verdict.clone();
        assert_eq!(verdict, Some(Verdict::HasIt { others: 1 }), "{report}");
        assert_eq!(report.is_proven(), behind == 0, "{report}");
    }

    // Large answers do not fit a datagram.
    let large: Vec<String> = (0..10).map(|n| n.to_string().repeat(250)).collect();
    for server in servers {
        for value in &large {
            server.add_txt(&key, ZONE, OWNER, value);
        }
    }
    let report = propagation.look(&wanted).await;
    assert!(report.is_proven(), "{report}");
    for server in servers {
        let row = row(&report, server.addr());
        assert_eq!(row.transport, Some(Transport::Tcp), "{report}");
        assert_eq!(row.verdict, Some(Verdict::HasIt { others: 11 }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_is_waited_for() {
    let primary = primary().await;
    let behind = primary.secondary(LONG).start().await.unwrap();
    show(&primary, OWNER, "value");
    let zone = zone_servers(&[("ns1", primary.addr()), ("ns2", behind.addr())]);
    let (waiting, _told) = wait(policy(), vec![wanted(&zone, OWNER, &["value"])]);
    behind
        .wait_for(|log| log.count(OWNER, RecordType::TXT) >= 3)
        .await;
    assert!(!waiting.is_finished());
    primary.advance(2 * LONG);
    let report = waiting.await.unwrap().unwrap();
    assert!(report.is_proven());
    // Who has shown it is left alone.
    assert_eq!(asked(&primary), 1);
    assert!(asked(&behind) >= 4);
    assert!(behind.queries().iter().all(|it| !it.recursion_desired));
}

/// One of the addresses behind one name has the value; a CA may get the other one.
#[tokio::test(flavor = "multi_thread")]
async fn every_address_of_a_name_counts() {
    let primary = primary().await;
    let stale = primary.stale_secondary().start().await.unwrap();
    show(&primary, OWNER, "value");
    let zone = zone_servers(&[("ns1", primary.addr()), ("ns1", stale.addr())]);
    assert_eq!(zone.servers.len(), 1);
    let (waiting, _told) = wait(policy(), vec![wanted(&zone, OWNER, &["value"])]);
    stale
        .wait_for(|log| log.count(OWNER, RecordType::TXT) >= 2)
        .await;
    assert!(!waiting.is_finished());
    stale.release();
    assert!(waiting.await.unwrap().unwrap().is_proven());
}

#[tokio::test(flavor = "multi_thread")]
async fn truncated_and_silent_datagrams_lead_to_tcp() {
    let primary = primary().await;
    show(&primary, OWNER, "value");
    let zone = zone_servers(&[("ns1", primary.addr())]);
    let wanted = [wanted(&zone, OWNER, &["value"])];
    for fault in [
        Fault::truncate(),
        Fault::drop().udp(),
        Fault::garbage().udp(),
    ] {
        primary.inject(fault);
        let report = watcher(policy(), Events::silent()).look(&wanted).await;
        assert!(report.is_proven(), "{report}");
        let row = row(&report, primary.addr());
        assert_eq!(row.transport, Some(Transport::Tcp));
        primary.heal();
    }
    let report = watcher(policy(), Events::silent()).look(&wanted).await;
    assert_eq!(row(&report, primary.addr()).transport, Some(Transport::Udp));
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_pass() {
    let primary = primary().await;
    show(&primary, OWNER, "value");
    let other = primary.secondary(Duration::ZERO).start().await.unwrap();
    let zone = zone_servers(&[("ns1", primary.addr()), ("ns2", other.addr())]);
    for fault in [Fault::servfail(), Fault::refused(), Fault::lame()] {
        other.inject(fault.times(3));
        let patient = PropagationPolicy {
            grace: LONG,
            ..policy()
        };
        let (waiting, mut told) = wait(patient, vec![wanted(&zone, OWNER, &["value"])]);
        assert!(waiting.await.unwrap().unwrap().is_proven());
        assert_eq!(warnings(&drain(&mut told)), Vec::<String>::new());
    }
    assert!(asked(&other) >= 12);
}

/// Each kind of broken server beside a good one.
#[tokio::test(flavor = "multi_thread")]
async fn broken_servers_hold_up_for_the_grace_and_are_named() {
    let primary = primary().await;
    show(&primary, OWNER, "value");
    let faults = [
        ("dead", Some(Fault::drop()), "no answer"),
        ("closing", Some(Fault::close()), "no answer"),
        ("lame", Some(Fault::lame()), "not authoritative"),
        ("refusing", Some(Fault::refused()), "REFUSED"),
        ("failing", Some(Fault::servfail()), "SERVFAIL"),
        ("garbling", Some(Fault::garbage()), "garbled"),
        ("absent", None, "connection refused"),
    ];
    let mut running = Vec::new();
    let mut named = vec![("good", primary.addr())];
    for (label, fault, _) in &faults {
        let Some(fault) = fault else {
            named.push((*label, free_addr()));
            continue;
        };
        let server = primary.secondary(Duration::ZERO).start().await.unwrap();
        server.inject(fault.clone());
        named.push((*label, server.addr()));
        running.push(server);
    }
    let mut zone = Arc::unwrap_or_clone(zone_servers(&named));
    zone.servers.push(NameServer {
        name: "nowhere".to_owned(),
        addresses: Vec::new(),
        problem: Some("no address is found for its name".to_owned()),
    });
    let zone = Arc::new(zone);

    let forever = PropagationPolicy {
        grace: LONG,
        timeout: Duration::from_secs(2),
        ..policy()
    };
    let (waiting, mut told) = wait(forever, vec![wanted(&zone, OWNER, &["value"])]);
    let error = waiting.await.unwrap().unwrap_err();
    assert!(error.hint().is_some());
    assert_eq!(warnings(&drain(&mut told)), Vec::<String>::new());

    let began = Instant::now();
    let grace = Duration::from_secs(1);
    let (waiting, mut told) = wait(
        PropagationPolicy { grace, ..policy() },
        vec![wanted(&zone, OWNER, &["value"])],
    );
    let report = waiting.await.unwrap().unwrap();
    assert!(began.elapsed() >= grace);
    assert!(report.is_proven());
    let warnings = warnings(&drain(&mut told));
    assert_eq!(warnings.len(), faults.len() + 1, "{warnings:#?}");
    let faults = faults.iter().map(|(label, _, says)| (*label, *says));
    for (label, says) in faults.chain([("nowhere", "no address")]) {
        let warning = warnings.iter().find(|it| it.contains(label)).unwrap();
        assert!(warning.contains(says), "{warning}");
        assert!(warning.contains(ZONE), "{warning}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_servers_alone_prove_nothing() {
    let primary = primary().await;
    show(&primary, OWNER, "value");
    let dead = primary.secondary(Duration::ZERO).start().await.unwrap();
    dead.inject(Fault::drop());
    let lame = primary.secondary(Duration::ZERO).start().await.unwrap();
    lame.inject(Fault::refused());
    let zone = zone_servers(&[("dead", dead.addr()), ("lame", lame.addr())]);
    for quorum in [Quorum::All, Quorum::Majority, Quorum::Any] {
        let policy = PropagationPolicy {
            quorum,
            grace: Duration::ZERO,
            timeout: Duration::from_secs(1),
            ..policy()
        };
        let (waiting, _told) = wait(policy, vec![wanted(&zone, OWNER, &["value"])]);
        let error = waiting.await.unwrap().unwrap_err();
        let PropagationError::NotVisible { report, waited } = &error else {
            panic!("{error}");
        };
        assert!(*waited >= Duration::from_secs(1));
        assert!(!report.is_proven());
        let text = error.to_string();
        assert!(text.contains("2 of 2") && text.contains(ZONE), "{text}");
        assert_eq!(
            row(report, lame.addr()).verdict,
            Some(Verdict::Unusable(Unusable::Rcode("REFUSED".to_owned())))
        );
        let hint = error.hint().unwrap();
        assert!(hint.contains("--nameserver"), "{hint}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn report_says_who_is_behind() {
    let primary = primary().await;
    let stale = primary.stale_secondary().start().await.unwrap();
    let old = primary.serial(ZONE).unwrap();
    show(&primary, OWNER, "value");
    let new = primary.serial(ZONE).unwrap();
    assert!(new > old);
    let zone = zone_servers(&[
        ("ns1.host.test", primary.addr()),
        ("ns2.host.test", stale.addr()),
    ]);
    let policy = PropagationPolicy {
        timeout: Duration::from_secs(1),
        ..policy()
    };
    let (waiting, _told) = wait(policy, vec![wanted(&zone, OWNER, &["value"])]);
    let error = waiting.await.unwrap().unwrap_err();
    let PropagationError::NotVisible { report, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(row(report, stale.addr()).zone_serial, Some(old));
    assert_eq!(row(report, primary.addr()).zone_serial, Some(new));
    let table = report.to_string();
    let behind = format!("NXDOMAIN, serial {old} (ns1 is at {new})");
    assert!(table.contains(&behind), "{table}");
    assert!(table.contains("has it"), "{table}");
    assert!(error.to_string().contains("1 of 2"), "{error}");
    assert!(error.hint().unwrap().contains("ns2.host.test"));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_wanted_values_have_to_be_there() {
    let primary = primary().await;
    show(&primary, OWNER, "one");
    show(&primary, OWNER, "foreign");
    // The case of a value counts, the case of a name does not.
    show(&primary, OWNER, "TWO");
    let zone = zone_servers(&[("ns1", primary.addr())]);
    let both = wanted(&zone, OWNER, &["one", "two"]);
    let report = watcher(policy(), Events::silent()).look(&[both]).await;
    assert!(!report.is_proven());
    let table = report.to_string();
    assert!(
        table.contains("only 1 of the wanted values and 2 other values"),
        "{table}"
    );

    let (waiting, _told) = wait(policy(), vec![wanted(&zone, OWNER, &["one", "two"])]);
    let asked_before = asked(&primary);
    primary
        .wait_for(|log| log.count(OWNER, RecordType::TXT) >= asked_before + 2)
        .await;
    assert!(!waiting.is_finished());
    show(&primary, OWNER, "two");
    assert!(waiting.await.unwrap().unwrap().is_proven());
}

#[tokio::test(flavor = "multi_thread")]
async fn smaller_quorums_wait_for_fewer() {
    let primary = primary().await;
    let up = primary.secondary(Duration::ZERO).start().await.unwrap();
    let stale = primary.stale_secondary().start().await.unwrap();
    show(&primary, OWNER, "value");
    let all = zone_servers(&[
        ("ns1", primary.addr()),
        ("ns2", up.addr()),
        ("ns3", stale.addr()),
    ]);
    let half = zone_servers(&[("ns1", primary.addr()), ("ns3", stale.addr())]);
    for (quorum, zone, proven) in [
        (Quorum::All, &all, false),
        (Quorum::Majority, &all, true),
        (Quorum::Majority, &half, false),
        (Quorum::Any, &half, true),
    ] {
        let policy = PropagationPolicy { quorum, ..policy() };
        let wanted = [wanted(zone, OWNER, &["value"])];
        let report = watcher(policy, Events::silent()).look(&wanted).await;
        assert_eq!(report.is_proven(), proven, "{quorum:?}: {report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_name_is_told_as_it_is_proven() {
    let primary = primary().await;
    let [early, late] = ["early", "late"].map(|host| format!("_acme-challenge.{host}.{ZONE}"));
    show(&primary, &early, "value");
    let zone = zone_servers(&[("ns1", primary.addr())]);
    let both = [&late, &early].map(|owner| wanted(&zone, owner, &["value"]));
    let mut told = Vec::new();
    let report = watcher(policy(), Events::silent())
        .await_visible_each(both.into(), &CancellationToken::new(), |proven| {
            if proven.index == 1 {
                // Nothing else puts it there, so that waiting for both before telling of one would not end.
                show(&primary, &late, "value");
            }
            told.push(proven.owner.to_string());
        })
        .await
        .unwrap();
    assert!(report.is_proven());
    assert_eq!(told, [early, late]);
}

/// As many as one order of most CAs may have.
#[tokio::test(flavor = "multi_thread")]
async fn hundred_names_cost_one_question_each() {
    let primary = primary().await;
    let other = primary.secondary(Duration::ZERO).start().await.unwrap();
    let owners: Vec<String> = (0..100)
        .map(|host| format!("_acme-challenge.host{host}.{ZONE}"))
        .collect();
    for owner in &owners {
        show(&primary, owner, "value");
    }
    let zone = zone_servers(&[("ns1", primary.addr()), ("ns2", other.addr())]);
    let all = owners.iter().map(|owner| wanted(&zone, owner, &["value"]));
    let (waiting, _told) = wait(policy(), all.collect());
    assert!(waiting.await.unwrap().unwrap().is_proven());
    for server in [&primary, &other] {
        let queries = server.queries();
        let txt = queries.iter().filter(|it| it.qtype == RecordType::TXT);
        assert_eq!(txt.count(), 100);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_ends_the_wait_at_once() {
    let primary = primary().await;
    let dead = primary.secondary(Duration::ZERO).start().await.unwrap();
    // It is asked, and nothing will ever come.
    dead.inject(Fault::drop());
    let zone = zone_servers(&[("ns1", primary.addr()), ("ns2", dead.addr())]);
    let patient = AskerOptions {
        udp_timeout: LONG,
        tcp_timeout: LONG,
        ..AskerOptions::default()
    };
    let forever = PropagationPolicy {
        timeout: LONG,
        ..policy()
    };
    let asker = Asker::new(patient, Events::silent());
    let propagation = Propagation::new(asker, forever, Events::silent());
    let cancel = CancellationToken::new();
    let waiting = tokio::spawn({
        let wanted = vec![wanted(&zone, OWNER, &["value"])];
        let cancel = cancel.clone();
        async move { propagation.await_visible(wanted, &cancel).await }
    });
    dead.wait_for(|log| log.count(OWNER, RecordType::TXT) > 0)
        .await;
    cancel.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(10), waiting).await;
    let error = ended.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, PropagationError::Cancelled), "{error}");
}
