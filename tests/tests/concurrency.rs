//! Orders at the same time: of one engine, of two runs with one store, and of two machines that share a zone.

#![expect(clippy::unwrap_used, reason = "tests")]

use dnseal_core::acme::KeyType;
use dnseal_core::event::What;
use dnseal_core::issue::Request;
use dnseal_sandbox::ca::Ca;
use dnseal_tests::{OWNER, SHORT, Sandbox, issue};
use futures::future::join_all;

const NAMES: [&str; 2] = ["example.test", "*.example.test"];

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_are_issued_together_share_their_updates() {
    let sandbox = Sandbox::start().await;
    let engine = sandbox.workbench.engine();
    let requests: Vec<Request> = (0..10)
        .map(|n| {
            sandbox.request(&[
                &format!("n{n}.example.test"),
                &format!("*.n{n}.example.test"),
            ])
        })
        .collect();
    let issued = join_all(requests.iter().map(|request| issue(&engine, request))).await;
    for issued in issued {
        assert!(issued.unwrap().issued_now);
    }
    let calls = |adds: bool| {
        sandbox.workbench.count(|what| {
            matches!(what, What::ProviderCall { call: "apply", adds: a, removes: r, .. }
                if if adds { *a > 0 } else { *r > 0 })
        })
    };
    assert!(calls(true) <= 2, "{} calls added", calls(true));
    assert!(calls(false) <= 4, "{} calls removed", calls(false));
    assert_eq!(sandbox.ca.accounts().len(), 1);
    assert_eq!(sandbox.leftovers().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_certificate_asked_for_ten_times_at_once_is_issued_once() {
    let sandbox = Sandbox::start().await;
    let request = sandbox.request(&NAMES);
    let engines: Vec<_> = (0..10).map(|_| sandbox.workbench.engine()).collect();
    let issued = join_all(engines.iter().map(|engine| issue(engine, &request))).await;
    let now = issued
        .into_iter()
        .filter(|i| i.as_ref().unwrap().issued_now);
    assert_eq!(now.count(), 1);
    assert_eq!(sandbox.ca.issued().len(), 1);
    assert_eq!(sandbox.leftovers().await, [""; 0]);
}

/// An RSA and an ECDSA certificate for the same names, by two runs with one store.
async fn twins(ca: dnseal_sandbox::ca::CaBuilder) {
    let sandbox = Sandbox::with_ca(ca).await;
    let ecdsa = sandbox.request(&NAMES);
    let rsa = Request {
        id: "example.test-rsa".parse().unwrap(),
        key_type: KeyType::Rsa2048,
        ..ecdsa.clone()
    };
    let (one, two) = (sandbox.workbench.engine(), sandbox.workbench.engine());
    let (ecdsa, rsa) = tokio::join!(issue(&one, &ecdsa), issue(&two, &rsa));
    let (ecdsa, rsa) = (ecdsa.unwrap(), rsa.unwrap());
    assert!(ecdsa.issued_now && rsa.issued_now);
    assert_ne!(ecdsa.version.serial, rsa.version.serial);
    // Each has an order of its own.
    assert_ne!(ecdsa.version.order, rsa.version.order);
    assert_eq!(sandbox.ca.accounts().len(), 1);
    assert_eq!(sandbox.leftovers().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn twins_at_a_ca_that_reuses_both_succeed() {
    twins(Ca::builder()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twins_at_a_ca_that_wants_every_proof_anew_both_succeed() {
    twins(Ca::builder().authz_reuse(false)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_machines_share_a_zone_and_take_nothing_from_each_other() {
    let sandbox = Sandbox::with_ca(Ca::builder().authz_reuse(false)).await;
    let machines: Vec<_> = (0..4).map(|_| sandbox.another_workbench()).collect();
    let runs = machines.iter().map(|machine| {
        let request = Request {
            timeouts: SHORT,
            ..machine.request(&NAMES)
        };
        async move { issue(&machine.engine(), &request).await }
    });
    let peak = async {
        // Whatever is withdrawn must be the withdrawer's own; the CA tells by validating.
        sandbox.dns.wait_for(|log| log.updates.messages >= 4).await;
    };
    let (issued, ()) = tokio::join!(join_all(runs), peak);
    for issued in issued {
        issued.unwrap();
    }
    assert_eq!(sandbox.ca.accounts().len(), 4);
    assert_eq!(sandbox.ca.orders().len(), 4);
    assert_eq!(sandbox.dns.values(OWNER), ["foreign"]);
    for machine in &machines {
        assert_eq!(machine.leftovers().await, [""; 0]);
    }
    assert_eq!(sandbox.leftovers().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failure_among_many_concerns_nobody_else() {
    let sandbox = Sandbox::with_ca(Ca::builder().blocked_domains(["bad.example.test"])).await;
    let engine = sandbox.workbench.engine();
    let requests = ["a", "bad", "b", "c"].map(|n| sandbox.request(&[&format!("{n}.example.test")]));
    let [a, bad, b, c] = join_all(requests.iter().map(|request| issue(&engine, request)))
        .await
        .try_into()
        .unwrap();
    for good in [a, b, c] {
        good.unwrap();
    }
    let text = bad.unwrap_err().to_string();
    assert!(text.contains("bad.example.test"), "{text}");
    assert_eq!(sandbox.leftovers().await, [""; 0]);
}
