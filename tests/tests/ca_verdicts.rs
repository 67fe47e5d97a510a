//! What CAs decide against an order, or never decide at all.
//!
//! Whatever it is: the error says who answered what, nothing of ours is left in the zone, at the CA or in the store, and
//! the next run succeeds.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;

use dnseal_core::event::What;
use dnseal_core::issue::{Checkpoint, ErrorKind, IssueError, Terms};
use dnseal_core::store::ZoneNotes;
use dnseal_sandbox::ca::{Answer, Ca, ErrorKind as ErrorType, Fault, Resource, Tamper};
use dnseal_tests::{HoldAt, SHORT, Sandbox, ZONE, issue};
use jiff::{SignedDuration, Timestamp};

const NAMES: [&str; 2] = ["example.test", "*.example.test"];

fn assert_says(error: &IssueError, sandbox: &Sandbox, words: &[&str]) {
    let text = error.to_string();
    let host = sandbox.ca.address().to_string();
    for word in words.iter().copied().chain([host.as_str()]) {
        assert!(text.contains(word), "no `{word}` in: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_never_judges_is_given_two_runs() {
    let sandbox = Sandbox::start().await;
    sandbox.ca.faults().stuck_challenges(true);
    let error = sandbox.issue(&NAMES).await.unwrap_err();
    assert_says(
        &error,
        &sandbox,
        &["after 2s", "still pending", "waiting for", "*.example.test"],
    );
    assert!(error.is_retryable());
    assert_eq!(sandbox.ours_in_dns(), [""; 0]);
    // The CA may still come to an end, so the order is kept.
    assert_eq!(sandbox.pending().len(), 2);
    sandbox.issue(&NAMES).await.unwrap_err();
    assert_eq!(sandbox.ca.orders().len(), 1);
    // It has not, so it is given up.
    assert_eq!(sandbox.leftovers().await, [""; 0]);
    sandbox.ca.faults().clear();
    sandbox.issue(&NAMES).await.unwrap();
    assert_eq!(sandbox.leftovers().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_never_issues_is_a_bounded_failure() {
    let sandbox = Sandbox::with_ca(Ca::builder().processing_polls(u32::MAX)).await;
    let error = sandbox.issue(&NAMES).await.unwrap_err();
    assert_says(&error, &sandbox, &["after 2s", "still processing"]);
    assert_eq!(sandbox.ours_in_dns(), [""; 0]);
    // The next run waits for the same order, and not for another.
    sandbox.issue(&NAMES).await.unwrap_err();
    assert_eq!(sandbox.ca.requests(Resource::NewOrder), 1);
    assert_eq!(sandbox.leftovers().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_becomes_invalid_is_told_with_its_reason() {
    let sandbox = Sandbox::start().await;
    sandbox.ca.faults().invalid_finalizations(1);
    let error = sandbox.issue(&NAMES).await.unwrap_err();
    let reason = sandbox.ca.orders()[0].error.clone().unwrap();
    assert_says(&error, &sandbox, &[&reason]);
    assert_eq!(sandbox.leftovers().await, [""; 0]);
    sandbox.issue(&NAMES).await.unwrap();
    assert_eq!(sandbox.leftovers().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_ours_is_refused() {
    for (tamper, said) in [
        (Tamper::PrivateKey, "PRIVATE KEY"),
        (Tamper::ForeignLeaf, "another key"),
        (Tamper::OtherNames, "names that were ordered"),
        (Tamper::Truncated, "PEM"),
    ] {
        let sandbox = Sandbox::start().await;
        sandbox.ca.faults().tamper(Some(tamper));
        let error = sandbox.issue(&NAMES).await.unwrap_err();
        assert_says(&error, &sandbox, &[said]);
        assert_eq!(error.kind(), ErrorKind::Ca);
        let live = sandbox.workbench.home().join("live");
        assert!(!live.join("example.test").exists());
        assert_eq!(sandbox.leftovers().await, [""; 0], "{tamper:?}");
        sandbox.ca.faults().tamper(None);
        sandbox.issue(&NAMES).await.unwrap();
        assert_eq!(sandbox.leftovers().await, [""; 0], "{tamper:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_hours_off_is_named_or_does_no_harm() {
    let ahead = || Timestamp::now() + SignedDuration::from_hours(5);
    let sandbox = Sandbox::with_ca(Ca::builder().clock(ahead)).await;
    for _ in 0..2 {
        let error = sandbox.issue(&NAMES).await.unwrap_err();
        assert_says(&error, &sandbox, &["is valid from", "and now is"]);
        let hint = error.hint().unwrap();
        assert!(hint.contains("check the clock of this machine"), "{hint}");
        assert_eq!(sandbox.ours_in_dns(), [""; 0]);
        assert_eq!(sandbox.pending(), [""; 0]);
    }
    // It is paid for, and will be good when the clock is right.
    assert_eq!(sandbox.ca.issued().len(), 1);

    // A clock that is ahead of the CA's does no harm.
    let behind = || Timestamp::now() - SignedDuration::from_hours(5);
    let sandbox = Sandbox::with_ca(Ca::builder().clock(behind)).await;
    sandbox.issue(&NAMES).await.unwrap();
    assert_eq!(sandbox.leftovers().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_one_vantage_point_missed_is_shown_once_more() {
    let sandbox = Sandbox::start().await;
    sandbox.ca.faults().fail_secondary_validations(1);
    sandbox.issue(&NAMES).await.unwrap();
    assert_eq!(sandbox.ca.orders().len(), 2);
    let warnings = sandbox.workbench.warnings();
    assert!(
        warnings.iter().any(|w| w.contains("secondary validation")),
        "{warnings:?}"
    );
    assert_eq!(sandbox.leftovers().await, [""; 0]);

    // How long it took is remembered for the zone: for every certificate, and by the next run.
    let store = sandbox.workbench.store();
    let zone = ZONE.parse().unwrap();
    let settle = ZoneNotes::settle(&store, &zone).await.unwrap();
    assert_eq!(settle, SHORT.settling);
    sandbox.workbench.forget_events();
    sandbox.issue(&["other.example.test"]).await.unwrap();
    let settles = |what: &What| matches!(what, What::Waiting { reason, at_most } if reason.contains("settle") && *at_most == Some(settle));
    assert_eq!(sandbox.workbench.count(settles), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_missed_again_is_a_failure() {
    let sandbox = Sandbox::start().await;
    sandbox.ca.faults().fail_secondary_validations(u32::MAX);
    let error = sandbox.issue(&NAMES).await.unwrap_err();
    assert_says(
        &error,
        &sandbox,
        &["example.test: ", "secondary validation"],
    );
    assert_eq!(error.kind(), ErrorKind::Ca);
    // Each time there was more time to settle.
    assert_eq!(sandbox.ca.orders().len(), 3);
    let store = sandbox.workbench.store();
    let known = ZoneNotes::settle(&store, &ZONE.parse().unwrap()).await;
    assert!(known.unwrap().is_zero());
    assert_eq!(sandbox.leftovers().await, [""; 0]);
}

/// The CA breaks down in all its parts at a point, and is well again for the next run.
async fn breaks_down_at(point: Checkpoint, fault: Fault) {
    let sandbox = Sandbox::start().await;
    let hold = HoldAt::new(point);
    let engine = sandbox.workbench.engine().with_checkpoints(hold.clone());
    let request = sandbox.request(&NAMES);
    let (result, ()) = tokio::join!(issue(&engine, &request), async {
        hold.held().await;
        for resource in [
            Resource::Authorization,
            Resource::Certificate,
            Resource::Challenge,
            Resource::Finalize,
            Resource::NewNonce,
            Resource::NewOrder,
            Resource::Order,
        ] {
            sandbox.ca.faults().always(resource, fault.clone());
        }
        hold.let_go();
    });
    let error = result.unwrap_err();
    assert_says(&error, &sandbox, &[]);
    assert!(error.is_retryable(), "{error}");
    // In the zone nothing is left, and the order is deliberately kept.
    assert_eq!(sandbox.ours_in_dns(), [""; 0], "{}", point.name());
    let head = sandbox.workbench.head(&request.id).await.unwrap();
    let order = sandbox.ca.orders()[0].url.clone();
    assert_eq!(head.order.map(|order| order.url), Some(order.clone()));
    assert!(head.published.is_empty() && head.worker.is_none());

    sandbox.ca.faults().clear();
    let issued = sandbox.run(&request).await.unwrap();
    assert_eq!(issued.version.order, order);
    assert_eq!(sandbox.ca.requests(Resource::NewOrder), 1);
    assert_eq!(sandbox.leftovers().await, [""; 0], "{}", point.name());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_outlives_a_ca_that_goes_down_for_an_hour() {
    for point in [
        Checkpoint::HeadWritten,
        Checkpoint::Propagated,
        Checkpoint::Answered,
        Checkpoint::BeforeFinalize,
    ] {
        breaks_down_at(point, Answer::empty(503).retry_after(3600).into()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_outlives_a_ca_that_cannot_be_reached() {
    breaks_down_at(Checkpoint::Propagated, Fault::DropBefore).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_the_ca_has_forgotten_is_registered_again() {
    let sandbox = Sandbox::start().await;
    sandbox.issue(&NAMES).await.unwrap();
    let accounts = sandbox.workbench.home().join("store/accounts");
    let path = fs::read_dir(&accounts)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let text = fs::read_to_string(&path).unwrap();
    // As after a CA that began anew: the URL is nobody's.
    fs::write(&path, text.replace("/account/1\"", "/account/77\"")).unwrap();

    let mut request = sandbox.request(&NAMES);
    request.force = true;
    let issued = sandbox.run(&request).await.unwrap();
    assert!(issued.version.account.ends_with("/account/1"), "{issued:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    assert_eq!(sandbox.leftovers().await, [""; 0]);

    // Nobody has agreed to the terms of a new account: that is said, and nothing goes round in circles.
    fs::write(&path, text.replace("/account/1\"", "/account/77\"")).unwrap();
    sandbox.ca.faults().next(
        Resource::NewAccount,
        Answer::problem(400, ErrorType::AccountDoesNotExist, "who?"),
    );
    request.terms = Terms::NotAgreed;
    let error = sandbox.run(&request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    assert_eq!(sandbox.leftovers().await, [""; 0]);
}
