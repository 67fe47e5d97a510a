//! What name servers do to an order on a bad day.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::SocketAddr;
use std::time::Duration;

use dnseal_core::dns::PropagationPolicy;
use dnseal_core::event::What;
use dnseal_core::issue::{Checkpoint, ErrorKind};
use dnseal_core::store::CertId;
use dnseal_sandbox::dns::{DnsServer, Fault, TsigKey};
use dnseal_tests::{DoAt, Sandbox, Workbench, issue};
use tokio_util::sync::CancellationToken;

const NAMES: [&str; 2] = ["example.test", "*.example.test"];

fn id() -> CertId {
    "example.test".parse().unwrap()
}

fn policy(timeout: u64, grace: u64) -> PropagationPolicy {
    PropagationPolicy {
        timeout: Duration::from_secs(timeout),
        grace: Duration::from_secs(grace),
        ..PropagationPolicy::default()
    }
}

/// The sandbox with another workbench.
fn rebuilt(mut sandbox: Sandbox, change: impl FnOnce(Workbench) -> Workbench) -> Sandbox {
    sandbox.workbench = change(sandbox.workbench);
    sandbox
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_whose_answer_is_lost_is_repeated() {
    for fault in [
        Fault::lose_response(),
        Fault::drop(),
        Fault::close(),
        Fault::garbage(),
        Fault::servfail(),
    ] {
        let sandbox = rebuilt(Sandbox::start().await, |w| {
            w.provider_setting("timeout", "1s")
        });
        sandbox.dns.inject(fault.clone().updates().times(2));
        sandbox.issue(&NAMES).await.unwrap();
        assert_eq!(sandbox.leftovers().await, [""; 0], "{fault:?}");
    }
}

/// Certificates that are issued together, one of them with a name that the key may not touch.
#[tokio::test(flavor = "multi_thread")]
async fn one_refused_name_fails_alone_and_is_named() {
    let allowed = [
        "_acme-challenge.a.example.test",
        "_acme-challenge.b.example.test",
        "_acme-challenge.good.example.test",
    ];
    let key = TsigKey::generate("acme-key").unwrap().only_names(allowed);
    let sandbox = Sandbox::with_key(key).await;
    let engine = sandbox.workbench.engine();
    let bad = sandbox.request(&["a.example.test", "bad.example.test", "b.example.test"]);
    let good = sandbox.request(&["good.example.test"]);
    let (bad, good) = tokio::join!(issue(&engine, &bad), issue(&engine, &good));
    good.unwrap();
    let error = bad.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Provider);
    let text = error.to_string();
    let server = sandbox.dns.addr().to_string();
    for word in [
        "_acme-challenge.bad.example.test",
        "REFUSED",
        "acme-key",
        &server,
    ] {
        assert!(text.contains(word), "no `{word}` in: {text}");
    }
    for other in [
        "_acme-challenge.a.",
        "_acme-challenge.b.",
        "_acme-challenge.good.",
    ] {
        assert!(!text.contains(other), "{text}");
    }
    assert!(error.hint().is_some());
    assert_eq!(sandbox.leftovers().await, [""; 0]);
    // What was never taken is not told to be left.
    assert_eq!(sandbox.workbench.warnings(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_server_does_not_take_leaves_nothing() {
    let sandbox = Sandbox::start().await;
    let strange = TsigKey::generate("acme-key").unwrap();
    let sandbox = rebuilt(sandbox, |w| {
        w.provider_setting("tsig.secret", &strange.secret_base64())
    });
    let error = sandbox.issue(&NAMES).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(&sandbox.dns.addr().to_string()) && text.contains("BADSIG"),
        "{text}"
    );
    assert_eq!(error.kind(), ErrorKind::Provider);
    assert_eq!(sandbox.leftovers().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_every_update_is_named() {
    let sandbox = Sandbox::start().await;
    sandbox.dns.inject(Fault::refused().updates());
    let names: Vec<String> = (0..20).map(|n| format!("n{n}.example.test")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let error = sandbox.issue(&names).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(&sandbox.dns.addr().to_string())
            && text.contains("REFUSED")
            && text.contains("19 more"),
        "{text}"
    );
    assert_eq!(sandbox.leftovers().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_is_named() {
    let sandbox = Sandbox::start().await;
    sandbox.dns.shutdown().await;
    let error = sandbox.issue(&NAMES).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&sandbox.dns.addr().to_string()), "{text}");
    assert_eq!(error.kind(), ErrorKind::Provider);
    // The CA never heard of it.
    assert_eq!(sandbox.ca.orders().len(), 0);
    assert_eq!(sandbox.leftovers().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_only_claims_to_have_written_is_found_out() {
    let sandbox = Sandbox::start().await;
    sandbox.dns.inject(Fault::pretend().times(1));
    sandbox.issue(&NAMES).await.unwrap();
    assert_eq!(sandbox.leftovers().await, [""; 0]);

    let sandbox = rebuilt(Sandbox::start().await, |w| {
        w.patience(Duration::from_secs(2))
    });
    sandbox.dns.inject(Fault::pretend());
    let error = sandbox.issue(&NAMES).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("accepted") && text.contains("does not serve it"),
        "{text}"
    );
    assert!(text.contains(&sandbox.dns.addr().to_string()), "{text}");
    assert_eq!(error.kind(), ErrorKind::Provider);
    assert_eq!(sandbox.leftovers().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_keeps_failing_is_named_with_what_it_says() {
    for (fault, said) in [
        (Fault::servfail(), "SERVFAIL"),
        (Fault::drop(), "1s"),
        (Fault::close(), ""),
        (Fault::garbage(), ""),
    ] {
        let sandbox = rebuilt(Sandbox::start().await, |w| {
            w.provider_setting("timeout", "1s")
                .patience(Duration::from_secs(2))
        });
        sandbox.dns.inject(fault.clone().updates());
        let error = sandbox.issue(&NAMES).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&sandbox.dns.addr().to_string()) && text.contains(said),
            "{text}"
        );
        assert_eq!(error.kind(), ErrorKind::Provider);
        assert!(error.is_retryable(), "{text}");
        // Nobody knows whether they are there, so they stay in the head.
        let head = sandbox.workbench.head(&id()).await.unwrap();
        assert_eq!(head.published.len(), 2);
        assert!(head.order.is_none() && head.worker.is_none());
        assert_eq!(sandbox.pending(), [""; 0]);
        sandbox.dns.heal();
        sandbox.issue(&NAMES).await.unwrap();
        assert_eq!(sandbox.leftovers().await, [""; 0], "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lagging_server_is_waited_for() {
    let sandbox = Sandbox::start().await;
    let lag = Duration::from_secs(2);
    let slow = sandbox.dns.secondary(lag).start().await.unwrap();
    let probed = vec![sandbox.dns.addr(), slow.addr()];
    let sandbox = rebuilt(sandbox, |w| w.nameservers(probed).policy(policy(30, 1)));
    sandbox.issue(&NAMES).await.unwrap();
    let first = |what: fn(&What) -> bool| {
        let events = sandbox.workbench.events();
        events.into_iter().find(|e| what(&e.what)).unwrap().at
    };
    let written = first(|w| matches!(w, What::ProviderCall { call: "apply", .. }));
    let answered = first(|w| {
        matches!(
            w,
            What::AcmeRequest {
                resource: "challenge",
                ..
            }
        )
    });
    assert!(answered.duration_since(written).unsigned_abs() >= lag.mul_f32(0.9));
    assert_eq!(sandbox.leftovers().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_and_lame_servers_are_named_and_hold_up_nobody() {
    let sandbox = Sandbox::start().await;
    let lame = sandbox.dns.secondary(Duration::ZERO).start().await.unwrap();
    lame.inject(Fault::lame());
    let refusing = sandbox.dns.secondary(Duration::ZERO).start().await.unwrap();
    refusing.inject(Fault::refused());
    let silent = sandbox.dns.secondary(Duration::ZERO).start().await.unwrap();
    silent.inject(Fault::drop());
    let gone = sandbox.dns.secondary(Duration::ZERO).start().await.unwrap();
    gone.shutdown().await;
    let useless = [&lame, &refusing, &silent, &gone].map(DnsServer::addr);
    let probed: Vec<SocketAddr> = [sandbox.dns.addr()].into_iter().chain(useless).collect();
    let sandbox = rebuilt(sandbox, |w| w.nameservers(probed).policy(policy(30, 1)));
    sandbox.issue(&NAMES).await.unwrap();
    let warnings = sandbox.workbench.warnings();
    for server in useless {
        let named = warnings.iter().filter(|w| w.contains(&server.to_string()));
        assert_eq!(named.count(), 1, "{server}: {warnings:?}");
    }
    assert_eq!(sandbox.leftovers().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_follows_is_named_and_nothing_is_left() {
    let sandbox = Sandbox::start().await;
    let stale = sandbox.dns.stale_secondary().start().await.unwrap();
    let probed = vec![sandbox.dns.addr(), stale.addr()];
    let sandbox = rebuilt(sandbox, |w| w.nameservers(probed).policy(policy(2, 1)));
    let error = sandbox.issue(&NAMES).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Propagation);
    let said = format!("{error} {}", error.hint().unwrap());
    assert!(said.contains(&stale.addr().to_string()), "{said}");
    assert_eq!(sandbox.leftovers().await, [""; 0]);
    // The challenges were never answered.
    assert_eq!(
        sandbox.ca.requests(dnseal_sandbox::ca::Resource::Challenge),
        0
    );
    stale.release();
    sandbox.issue(&NAMES).await.unwrap();
    assert_eq!(sandbox.leftovers().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_cannot_be_withdrawn_stay_in_the_head_until_they_can() {
    for by_sweeping in [true, false] {
        for fault in [Fault::refused(), Fault::drop(), Fault::servfail()] {
            let sandbox = rebuilt(Sandbox::start().await, |w| {
                w.provider_setting("timeout", "1s")
            });
            let (dns, struck) = (sandbox.dns.clone(), fault.clone().updates());
            let down = DoAt::new(Checkpoint::BeforeProjection, move || {
                dns.inject(struck.clone())
            });
            let engine = sandbox.workbench.engine().with_checkpoints(down);
            let issued = issue(&engine, &sandbox.request(&NAMES)).await.unwrap();
            assert!(issued.issued_now && issued.files.fullchain.exists());
            let warnings = sandbox.workbench.warnings();
            let server = sandbox.dns.addr().to_string();
            let told = |w: &String| {
                w.contains("example.test") && (w.contains(&server) || w.contains("no time"))
            };
            assert!(warnings.iter().any(told), "{warnings:?}");
            assert_eq!(sandbox.ours_in_dns().len(), 2);
            let head = sandbox.workbench.head(&id()).await.unwrap();
            assert_eq!(head.published.len(), 2);
            assert!(head.worker.is_none() && head.order.is_none());

            sandbox.dns.heal();
            match by_sweeping {
                true => {
                    let engine = sandbox.workbench.engine();
                    let never = CancellationToken::new();
                    let swept = engine.sweep(&id(), false, Duration::ZERO, &never).await;
                    assert_eq!(swept.unwrap().unwrap().withdrawn, 2);
                }
                false => {
                    let kept = sandbox.issue(&NAMES).await.unwrap();
                    assert_eq!(kept.version, issued.version);
                }
            }
            assert_eq!(sandbox.leftovers().await, [""; 0], "{fault:?}");
        }
    }
}
