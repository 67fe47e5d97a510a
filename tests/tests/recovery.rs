//! What a killed run leaves, the next one finishes or cleans; and a living run is left alone.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use dnseal_core::acme::KeyType;
use dnseal_core::event::What;
use dnseal_core::issue::{Checkpoint, IssueError};
use dnseal_core::store::CertId;
use dnseal_sandbox::ca::{Ca, OrderStatus, Resource};
use dnseal_tests::{CaSettings, HoldAt, Sandbox, issue, kill_at};
use tokio_util::sync::CancellationToken;

const NAMES: [&str; 2] = ["example.test", "*.example.test"];

fn id() -> CertId {
    "example.test".parse().unwrap()
}

/// Kills a run at `point`, and shows that the next one succeeds and leaves nothing.
async fn survives(point: Checkpoint) {
    let sandbox = Sandbox::start().await;
    let request = sandbox.request(&NAMES);
    kill_at(&sandbox.workbench, &request, point);
    let in_dns = !matches!(point, Checkpoint::HeadWritten);
    assert_eq!(sandbox.ours_in_dns().len(), if in_dns { 2 } else { 0 });
    let head = sandbox.workbench.head(&id()).await.unwrap();
    assert_eq!(head.published.len(), 2, "written down before it is done");
    assert!(head.worker.is_some());

    let issued = sandbox.run(&request).await.unwrap();
    assert_eq!(sandbox.leftovers().await, [""; 0], "after {}", point.name());
    // What the killed run had ordered was gone on with.
    assert_eq!(sandbox.ca.orders().len(), 1, "after {}", point.name());
    assert_eq!(sandbox.ca.issued().len(), 1);
    assert_eq!(issued.version.number, 1);
    assert!(issued.files.privkey.exists() && issued.files.fullchain.exists());
    assert_eq!(
        issued.issued_now,
        point != Checkpoint::BeforeProjection,
        "what is stored is kept"
    );
    let head = sandbox.workbench.head(&id()).await.unwrap();
    assert_eq!(head.current, Some(issued.version));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_point_is_harmless() {
    for point in Checkpoint::ALL {
        survives(point).await;
    }
}

/// Every point but the last, after which there is nothing left to begin anew.
const WITH_ORDER: [Checkpoint; 7] = [
    Checkpoint::HeadWritten,
    Checkpoint::DnsWritten,
    Checkpoint::Propagated,
    Checkpoint::Answered,
    Checkpoint::BeforeFinalize,
    Checkpoint::Finalized,
    Checkpoint::BeforeStore,
];

#[tokio::test(flavor = "multi_thread")]
async fn other_names_after_a_kill_begin_anew() {
    for point in WITH_ORDER {
        let sandbox = Sandbox::start().await;
        kill_at(&sandbox.workbench, &sandbox.request(&NAMES), point);
        let mut other = sandbox.request(&["example.test", "www.example.test"]);
        other.replace_names = true;
        let issued = sandbox.run(&other).await.unwrap();
        assert_eq!(sandbox.leftovers().await, [""; 0], "after {}", point.name());
        assert_eq!(sandbox.ca.orders().len(), 2);
        assert_eq!(issued.version.names, other.names);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_type_after_a_kill_begins_anew() {
    for point in WITH_ORDER {
        let sandbox = Sandbox::start().await;
        kill_at(&sandbox.workbench, &sandbox.request(&NAMES), point);
        let mut other = sandbox.request(&NAMES);
        other.key_type = KeyType::EcdsaP384;
        let issued = sandbox.run(&other).await.unwrap();
        assert_eq!(sandbox.leftovers().await, [""; 0], "after {}", point.name());
        assert_eq!(issued.version.key_type, KeyType::EcdsaP384);
        let key = std::fs::read_to_string(&issued.files.privkey).unwrap();
        assert_eq!(key.matches("BEGIN").count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_ca_after_a_kill_begins_anew_and_tells_the_first() {
    for point in WITH_ORDER {
        let mut sandbox = Sandbox::start().await;
        let second = Ca::builder().dns(sandbox.dns.addr()).start().await.unwrap();
        kill_at(&sandbox.workbench, &sandbox.request(&NAMES), point);
        sandbox.workbench = sandbox.workbench.with_ca(CaSettings {
            directory: second.directory_url(),
            root: second.tls_root_pem().as_bytes().to_vec(),
        });
        let issued = sandbox.issue(&NAMES).await.unwrap();
        assert_eq!(sandbox.leftovers().await, [""; 0], "after {}", point.name());
        assert_eq!(issued.version.directory, second.directory_url());
        assert_eq!(second.issued().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_is_gone_does_not_hold_up_another() {
    let mut sandbox = Sandbox::start().await;
    kill_at(
        &sandbox.workbench,
        &sandbox.request(&NAMES),
        Checkpoint::Propagated,
    );
    let second = Ca::builder().dns(sandbox.dns.addr()).start().await.unwrap();
    let gone = std::mem::replace(&mut sandbox.ca, second);
    let gone_url = gone.directory_url();
    gone.shutdown().await;
    sandbox.workbench = sandbox.workbench.with_ca(CaSettings {
        directory: sandbox.ca.directory_url(),
        root: sandbox.ca.tls_root_pem().as_bytes().to_vec(),
    });
    sandbox.issue(&NAMES).await.unwrap();
    assert_eq!(sandbox.leftovers().await, [""; 0]);
    let warnings = sandbox.workbench.warnings();
    assert!(
        warnings.iter().any(|w| w.contains(&gone_url)),
        "{warnings:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_is_killed_leaves_the_certificate_in_force() {
    for point in Checkpoint::ALL {
        let sandbox = Sandbox::with_ca(Ca::builder().authz_reuse(false)).await;
        let first = sandbox.issue(&NAMES).await.unwrap();
        let mut again = sandbox.request(&NAMES);
        again.force = true;
        kill_at(&sandbox.workbench, &again, point);
        let live = std::fs::read_to_string(&first.files.cert).unwrap();
        assert!(live.contains("BEGIN CERTIFICATE"));
        // Not forced: the order is finished all the same, because it is there.
        let renewed = sandbox.issue(&NAMES).await.unwrap();
        assert_eq!(renewed.version.number, 2, "after {}", point.name());
        assert_ne!(
            std::fs::read_to_string(&renewed.files.cert).unwrap(),
            live,
            "after {}",
            point.name()
        );
        assert_eq!(sandbox.leftovers().await, [""; 0], "after {}", point.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_a_certificate_gives_back_what_a_killed_run_holds() {
    for point in Checkpoint::ALL {
        let sandbox = Sandbox::start().await;
        kill_at(&sandbox.workbench, &sandbox.request(&NAMES), point);
        let engine = sandbox.workbench.engine();
        engine
            .delete(&id(), &CancellationToken::new())
            .await
            .unwrap();
        assert_eq!(sandbox.leftovers().await, [""; 0], "after {}", point.name());
        assert!(sandbox.workbench.head(&id()).await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sweeping_alone_cleans_the_zone() {
    for point in Checkpoint::ALL {
        let sandbox = Sandbox::start().await;
        kill_at(&sandbox.workbench, &sandbox.request(&NAMES), point);
        let engine = sandbox.workbench.engine();
        let never = CancellationToken::new();
        let swept = engine.sweep(&id(), false, Duration::ZERO, &never).await;
        let swept = swept.unwrap().unwrap();
        assert_eq!((swept.withdrawn, swept.left, swept.busy), (2, 0, false));
        assert_eq!(sandbox.ours_in_dns(), [""; 0]);
        // The order is not the sweeper's: the next run needs no second one, unless its values were gone too early.
        sandbox.issue(&NAMES).await.unwrap();
        assert_eq!(sandbox.leftovers().await, [""; 0], "after {}", point.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_orders_nothing_for_what_was_deleted_meanwhile() {
    let sandbox = Sandbox::start().await;
    let mut request = sandbox.request(&NAMES);
    request.renewal.only_stored = true;
    let error = sandbox.run(&request).await.unwrap_err();
    let is_gone = matches!(error, IssueError::NoSuchCertificate { .. });
    assert!(is_gone, "{error}");
    assert_eq!(sandbox.ca.orders().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_waits_for_a_living_one_and_keeps_its_certificate() {
    for point in Checkpoint::ALL {
        let sandbox = Sandbox::start().await;
        let request = sandbox.request(&NAMES);
        let hold = HoldAt::new(point);
        let first = sandbox.workbench.engine().with_checkpoints(hold.clone());
        let second = sandbox.workbench.engine();
        let both = async {
            tokio::join!(issue(&first, &request), async {
                hold.held().await;
                let values = sandbox.ours_in_dns();
                let never = CancellationToken::new();
                let swept = second.sweep(&id(), false, Duration::ZERO, &never).await;
                assert!(swept.unwrap().unwrap().busy);
                let meddling = async {
                    waiting(&sandbox).await;
                    assert_eq!(sandbox.ours_in_dns(), values, "at {}", point.name());
                    hold.let_go();
                };
                let (second, ()) = tokio::join!(issue(&second, &request), meddling);
                second
            })
        };
        let (first, second) = both.await;
        let (first, second) = (first.unwrap(), second.unwrap());
        assert!(first.issued_now && !second.issued_now);
        assert_eq!(first.version, second.version);
        assert_eq!(sandbox.ca.issued().len(), 1);
        assert_eq!(sandbox.leftovers().await, [""; 0], "at {}", point.name());
    }
}

/// Until two runs have said that they wait: the sweeper, which gave up at once, and the second run.
async fn waiting(sandbox: &Sandbox) {
    let is_waiting = |what: &What| matches!(what, What::Waiting { reason, .. } if reason.contains("certificate example.test"));
    while sandbox.workbench.count(is_waiting) < 2 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_run_and_its_twin_do_not_take_values_from_each_other() {
    // The CA gives both the same pending order, and so both have the same values.
    let sandbox = Sandbox::start().await;
    kill_at(
        &sandbox.workbench,
        &sandbox.request(&NAMES),
        Checkpoint::Propagated,
    );
    let mut twin = sandbox.request(&NAMES);
    twin.id = "twin".parse().unwrap();
    let hold = HoldAt::new(Checkpoint::Propagated);
    let living = sandbox.workbench.engine().with_checkpoints(hold.clone());
    let other = sandbox.workbench.engine();
    let (issued, swept) = tokio::join!(issue(&living, &twin), async {
        hold.held().await;
        let values = sandbox.ours_in_dns();
        let never = CancellationToken::new();
        let swept = other.sweep(&id(), false, Duration::ZERO, &never).await;
        assert_eq!(sandbox.ours_in_dns(), values);
        hold.let_go();
        swept
    });
    assert!(swept.unwrap().unwrap().busy);
    issued.unwrap();

    let mut different = sandbox.request(&["www.example.test"]);
    different.id = id();
    sandbox.run(&different).await.unwrap();
    assert_eq!(sandbox.leftovers().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_the_ca_has_forgotten_or_refused_is_made_again() {
    for point in WITH_ORDER {
        let sandbox = Sandbox::start().await;
        kill_at(&sandbox.workbench, &sandbox.request(&NAMES), point);
        let gone = dnseal_sandbox::ca::Answer::problem(
            404,
            dnseal_sandbox::ca::ErrorKind::Malformed,
            "no such order",
        );
        sandbox.ca.faults().next(Resource::Order, gone);
        sandbox.issue(&NAMES).await.unwrap();
        assert_eq!(sandbox.leftovers().await, [""; 0], "after {}", point.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_is_down_at_recovery_keeps_the_order_and_leaves_no_value() {
    let sandbox = Sandbox::start().await;
    kill_at(
        &sandbox.workbench,
        &sandbox.request(&NAMES),
        Checkpoint::Propagated,
    );
    let down = dnseal_sandbox::ca::Answer::empty(503).retry_after(3600);
    for resource in [Resource::Directory, Resource::Order] {
        sandbox.ca.faults().always(resource, down.clone());
        let error = sandbox.issue(&NAMES).await.unwrap_err();
        assert!(error.is_retryable(), "{error}");
        assert!(
            error.to_string().contains("127.0.0.1") && error.to_string().contains("503"),
            "{error}"
        );
        assert_eq!(sandbox.ours_in_dns(), [""; 0]);
        let head = sandbox.workbench.head(&id()).await.unwrap();
        assert!(head.order.is_some() && head.worker.is_none());
        sandbox.ca.faults().clear();
    }
    sandbox.issue(&NAMES).await.unwrap();
    assert_eq!(sandbox.leftovers().await, [""; 0]);
    let orders = sandbox.ca.orders();
    assert_eq!(orders.len(), 1);
    assert_eq!(orders[0].status, OrderStatus::Valid);
}
