//! Ctrl-C, wherever it comes: the run ends within seconds, and gives back what it holds.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use dnseal_core::issue::{Checkpoint, ErrorKind, IssueError, Issued};
use dnseal_core::store::CertId;
use dnseal_sandbox::ca::{Ca, Fault, Resource};
use dnseal_sandbox::dns;
use dnseal_tests::{DoAt, HoldAt, Sandbox, issue};
use tokio_util::sync::CancellationToken;

const NAMES: [&str; 2] = ["example.test", "*.example.test"];
/// What an interruption may take (5 s for giving back), and a second for the machine.
const SOON: Duration = Duration::from_secs(6);

fn id() -> CertId {
    "example.test".parse().unwrap()
}

/// Runs with default time-outs, so that only the interruption can end the run soon, and interrupts at `point`.
async fn interrupted(
    sandbox: &Sandbox,
    point: Checkpoint,
) -> (Result<Issued, IssueError>, Duration) {
    let cancel = CancellationToken::new();
    let (token, begun) = (
        cancel.clone(),
        std::sync::Arc::new(std::sync::Mutex::new(None)),
    );
    let at = begun.clone();
    let engine = sandbox
        .workbench
        .engine()
        .with_checkpoints(DoAt::new(point, move || {
            token.cancel();
            *at.lock().unwrap() = Some(Instant::now());
        }));
    let result = engine
        .issue(&sandbox.workbench.request(&NAMES), &cancel)
        .await;
    let begun = begun.lock().unwrap().take();
    (result, begun.unwrap().elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_proof_is_done_everything_is_given_back() {
    for point in [
        Checkpoint::HeadWritten,
        Checkpoint::DnsWritten,
        Checkpoint::Propagated,
        Checkpoint::Answered,
    ] {
        let sandbox = Sandbox::start().await;
        // Answered challenges stay undecided, so that they are pending when the run is interrupted.
        sandbox.ca.faults().stuck_challenges(true);
        let (result, took) = interrupted(&sandbox, point).await;
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
        assert!(took < SOON, "{}: {took:?}", point.name());
        assert_eq!(sandbox.leftovers().await, [""; 0], "{}", point.name());
        assert_eq!(sandbox.workbench.warnings(), [""; 0]);
        sandbox.ca.faults().clear();
        sandbox.issue(&NAMES).await.unwrap();
        assert_eq!(sandbox.leftovers().await, [""; 0], "{}", point.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_it_the_next_run_only_fetches_the_certificate() {
    for point in [Checkpoint::BeforeFinalize, Checkpoint::Finalized] {
        let sandbox = Sandbox::with_ca(Ca::builder().processing_polls(2)).await;
        let (result, took) = interrupted(&sandbox, point).await;
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
        assert!(took < SOON, "{}: {took:?}", point.name());
        assert_eq!(sandbox.ours_in_dns(), [""; 0]);
        assert_eq!(sandbox.pending(), [""; 0]);
        let head = sandbox.workbench.head(&id()).await.unwrap();
        assert!(head.order.is_some() && head.worker.is_none() && head.published.is_empty());
        let writes = sandbox.workbench.writes();
        sandbox.issue(&NAMES).await.unwrap();
        assert_eq!(sandbox.workbench.writes(), writes);
        assert_eq!(sandbox.ca.orders().len(), 1);
        assert_eq!(sandbox.ca.issued().len(), 1);
        assert_eq!(sandbox.leftovers().await, [""; 0], "{}", point.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_certificate_in_hand_the_run_comes_to_its_end() {
    for point in [Checkpoint::BeforeStore, Checkpoint::BeforeProjection] {
        let sandbox = Sandbox::start().await;
        let (result, took) = interrupted(&sandbox, point).await;
        assert!(result.unwrap().files.fullchain.exists());
        assert!(took < SOON, "{}: {took:?}", point.name());
        assert_eq!(sandbox.leftovers().await, [""; 0], "{}", point.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_given_back_in_time_stays_in_the_head() {
    for point in [
        Checkpoint::DnsWritten,
        Checkpoint::Propagated,
        Checkpoint::BeforeProjection,
    ] {
        let sandbox = Sandbox::start().await;
        let dns = sandbox.dns.clone();
        let hold = HoldAt::new(point);
        let engine = sandbox.workbench.engine().with_checkpoints(hold.clone());
        let cancel = CancellationToken::new();
        let request = sandbox.workbench.request(&NAMES);
        let (result, begun) = tokio::join!(engine.issue(&request, &cancel), async {
            hold.held().await;
            dns.inject(dns::Fault::drop());
            for resource in [Resource::Authorization, Resource::NewNonce, Resource::Order] {
                let slow = Fault::Delay(Duration::from_secs(20));
                sandbox.ca.faults().always(resource, slow);
            }
            cancel.cancel();
            hold.let_go();
            Instant::now()
        });
        let took = begun.elapsed();
        assert!(took < SOON, "{}: {took:?}", point.name());
        let head = sandbox.workbench.head(&id()).await.unwrap();
        assert_eq!(head.published.len(), 2);
        assert!(head.worker.is_none());
        match point {
            Checkpoint::BeforeProjection => assert!(result.unwrap().files.cert.exists()),
            _ => {
                assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
                assert!(head.order.is_some());
            }
        }
        assert!(!sandbox.workbench.warnings().is_empty());
        sandbox.dns.heal();
        sandbox.ca.faults().clear();
        sandbox.issue(&NAMES).await.unwrap();
        assert_eq!(sandbox.leftovers().await, [""; 0], "{}", point.name());
    }
}

/// The CA lets a request wait, and the run is interrupted while it does.
async fn interrupted_in(resource: Resource) {
    let sandbox = Sandbox::with_ca(Ca::builder().processing_polls(1)).await;
    sandbox
        .ca
        .faults()
        .next(resource, Fault::Delay(Duration::from_secs(20)));
    let cancel = CancellationToken::new();
    let engine = sandbox.workbench.engine();
    let request = sandbox.workbench.request(&NAMES);
    let (result, begun) = tokio::join!(engine.issue(&request, &cancel), async {
        while sandbox.ca.faults().planned() > 0 {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
        Instant::now()
    });
    let took = begun.elapsed();
    assert!(took < SOON, "{resource:?}: {took:?}");
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(sandbox.ours_in_dns(), [""; 0], "{resource:?}");
    sandbox.ca.faults().clear();
    sandbox.issue(&NAMES).await.unwrap();
    assert_eq!(sandbox.leftovers().await, [""; 0], "{resource:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_hangs_does_not_hold_up_the_end() {
    for resource in [
        Resource::Directory,
        Resource::NewAccount,
        Resource::NewOrder,
        Resource::Authorization,
        Resource::Challenge,
        Resource::Order,
        Resource::Finalize,
        Resource::Certificate,
    ] {
        interrupted_in(resource).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_lock_ends_at_once() {
    let sandbox = Sandbox::start().await;
    let hold = HoldAt::new(Checkpoint::Propagated);
    let living = sandbox.workbench.engine().with_checkpoints(hold.clone());
    let request = sandbox.workbench.request(&NAMES);
    let second = sandbox.workbench.engine();
    let cancel = CancellationToken::new();
    let (first, second) = tokio::join!(issue(&living, &request), async {
        hold.held().await;
        let values = sandbox.ours_in_dns();
        cancel.cancel();
        let error = second.issue(&request, &cancel).await.unwrap_err();
        assert_eq!(sandbox.ours_in_dns(), values);
        hold.let_go();
        error
    });
    first.unwrap();
    assert_eq!(second.kind(), ErrorKind::Cancelled);
    assert_eq!(sandbox.leftovers().await, [""; 0]);
}
