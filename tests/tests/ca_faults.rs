//! What CAs, and the network before them, do to an order on a bad day.
//!
//! Whatever it is: the error says who answered what, nothing of ours is left in the zone, at the CA or in the store, and
//! the next run succeeds.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use dnseal_core::issue::{ErrorKind, IssueError};
use dnseal_sandbox::ca::{self, Answer, Ca, Fault, Resource, RetryAfter};
use dnseal_tests::Sandbox;
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};

const NAMES: [&str; 2] = ["example.test", "*.example.test"];

/// Where a request of an order can fail.
const RESOURCES: [Resource; 7] = [
    Resource::NewAccount,
    Resource::NewOrder,
    Resource::Authorization,
    Resource::Challenge,
    Resource::Order,
    Resource::Finalize,
    Resource::Certificate,
];

/// The three forms in which a status comes, and what of each an error has to show.
fn forms(status: u16) -> [(Answer, &'static str); 3] {
    let kind = match status {
        429 => ca::ErrorKind::RateLimited,
        403 => ca::ErrorKind::Unauthorized,
        500.. => ca::ErrorKind::ServerInternal,
        _ => ca::ErrorKind::Malformed,
    };
    [
        (
            Answer::problem(status, kind, "not on a Sunday"),
            "not on a Sunday",
        ),
        (Answer::html(status), "<h1>"),
        (Answer::empty(status), "empty body"),
    ]
}

fn assert_says(error: &IssueError, sandbox: &Sandbox, words: &[&str]) {
    let text = error.to_string();
    let host = sandbox.ca.address().to_string();
    for word in words.iter().copied().chain([host.as_str()]) {
        assert!(text.contains(word), "no `{word}` in: {text}");
    }
}

/// One wrong answer at a resource, in every form of it.
async fn one_wrong_answer(resource: Resource) {
    let cases = [400, 403, 404, 429, 500, 503]
        .into_iter()
        .flat_map(|status| forms(status).map(|(answer, shown)| (status, answer, shown)));
    each(cases, |(status, answer, shown)| async move {
        let sandbox = Sandbox::start().await;
        sandbox.ca.faults().next(resource, answer.clone());
        let result = sandbox.issue(&NAMES).await;
        let case = format!("{resource:?} {status} {shown}");
        // Looking at an order is what a CA that is busy for a moment is asked again for.
        if status >= 500 || (status == 429 && resource == Resource::Order) {
            result.unwrap_or_else(|error| unreachable!("{case}: {error}"));
        } else {
            let error = result.unwrap_err();
            assert_says(&error, &sandbox, &[&format!("HTTP {status}"), shown]);
            let kind = match status {
                429 => ErrorKind::RateLimited,
                _ => ErrorKind::Ca,
            };
            assert_eq!(error.kind(), kind, "{case}: {error}");
            assert_eq!(sandbox.leftovers().await, [""; 0], "{case}");
            sandbox.issue(&NAMES).await.unwrap();
        }
        assert_eq!(sandbox.leftovers().await, [""; 0], "{case}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_wrong_answer_at_new_account() {
    one_wrong_answer(Resource::NewAccount).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_wrong_answer_at_new_order() {
    one_wrong_answer(Resource::NewOrder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_wrong_answer_at_an_authorization() {
    one_wrong_answer(Resource::Authorization).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_wrong_answer_at_a_challenge() {
    one_wrong_answer(Resource::Challenge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_wrong_answer_at_an_order() {
    one_wrong_answer(Resource::Order).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_wrong_answer_at_finalize() {
    one_wrong_answer(Resource::Finalize).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_wrong_answer_at_the_certificate() {
    one_wrong_answer(Resource::Certificate).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_request_or_a_lost_answer_is_no_failure() {
    let cases = RESOURCES
        .into_iter()
        .flat_map(|resource| [Fault::DropBefore, Fault::DropAfter].map(|fault| (resource, fault)));
    each(cases, |(resource, fault)| async move {
        let sandbox = Sandbox::start().await;
        sandbox.ca.faults().next(resource, fault.clone());
        let case = format!("{resource:?} {fault:?}");
        let result = sandbox.issue(&NAMES).await;
        result.unwrap_or_else(|error| unreachable!("{case}: {error}"));
        assert_eq!(sandbox.leftovers().await, [""; 0], "{case}");
        assert_eq!(sandbox.ca.accounts().len(), 1, "{case}");
        assert_eq!(sandbox.ca.orders().len(), 1, "{case}");
        assert_eq!(sandbox.ca.issued().len(), 1, "{case}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_that_is_none_is_told_from_one() {
    each(RESOURCES, |resource| async move {
        let sandbox = Sandbox::start().await;
        sandbox.ca.faults().next(resource, Answer::html(200));
        let error = sandbox.issue(&NAMES).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Ca, "{resource:?}: {error}");
        match resource {
            // The CA never heard the answer, and the order tells that.
            Resource::Challenge => {
                assert_says(&error, &sandbox, &["still pending", "example.test"]);
                assert!(!sandbox.pending().is_empty());
                assert_eq!(sandbox.ours_in_dns(), [""; 0]);
            }
            _ => {
                assert_says(&error, &sandbox, &["<h1>200</h1>"]);
                assert_eq!(sandbox.leftovers().await, [""; 0], "{resource:?}");
            }
        }
        sandbox.issue(&NAMES).await.unwrap();
        assert_eq!(sandbox.leftovers().await, [""; 0], "{resource:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_stays_broken_is_a_bounded_failure() {
    each(RESOURCES, |resource| async move {
        let sandbox = Sandbox::start().await;
        sandbox.ca.faults().always(resource, Answer::html(503));
        let begun = Instant::now();
        let error = sandbox.issue(&NAMES).await.unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(70), "{resource:?}");
        assert!(error.is_retryable(), "{resource:?}: {error}");
        assert_says(&error, &sandbox, &["503"]);
        assert_eq!(sandbox.ours_in_dns(), [""; 0], "{resource:?}");
        sandbox.ca.faults().clear();
        sandbox.issue(&NAMES).await.unwrap();
        assert_eq!(sandbox.leftovers().await, [""; 0], "{resource:?}");
        // What there was, was gone on with.
        assert_eq!(sandbox.ca.orders().len(), 1, "{resource:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_of_all_nonces_refused_is_no_failure() {
    each(0..10, |seed| async move {
        let sandbox = Sandbox::start().await;
        sandbox.ca.faults().reject_nonces(50, seed);
        sandbox.ca.faults().omit_nonce_on_errors(seed % 2 == 1);
        sandbox.issue(&NAMES).await.unwrap();
        assert_eq!(sandbox.leftovers().await, [""; 0]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_takes_no_nonce_is_a_bounded_failure() {
    let sandbox = Sandbox::start().await;
    sandbox.ca.faults().reject_every_nonce(1);
    let begun = Instant::now();
    let error = sandbox.issue(&NAMES).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_says(&error, &sandbox, &["newAccount", "badNonce"]);
    assert!(sandbox.ca.requests(Resource::NewAccount) <= 16);
    assert_eq!(sandbox.leftovers().await, [""; 0]);

    // The same in the middle, where the other client's way of asking is used.
    sandbox.ca.faults().clear();
    sandbox.issue(&NAMES).await.unwrap();
    sandbox.ca.faults().reject_every_nonce(1);
    let mut again = sandbox.request(&NAMES);
    again.force = true;
    let error = sandbox.run(&again).await.unwrap_err();
    assert_says(&error, &sandbox, &["newOrder", "badNonce"]);
    assert_eq!(sandbox.leftovers().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_that_a_ca_asks_for_is_kept() {
    let cases = RESOURCES
        .into_iter()
        .flat_map(|resource| [true, false].map(|date| (resource, date)));
    each(cases, |(resource, date)| async move {
        let sandbox = Sandbox::start().await;
        // Dates have whole seconds.
        let at = Timestamp::from_second(Timestamp::now().as_second() + 4).unwrap();
        let answer = match date {
            true => Answer::empty(503).retry_after_date(at),
            false => Answer::empty(503).retry_after(1),
        };
        sandbox.ca.faults().next(resource, answer);
        sandbox.issue(&NAMES).await.unwrap();
        let log = sandbox.ca.log();
        let refused = log.iter().find(|e| e.status == Some(503)).unwrap();
        let again = |e: &&ca::LogEntry| {
            e.at > refused.at
                && (e.path == refused.path
                        // Whether the order was finalized is asked of the order.
                        || refused.path.strip_suffix("/finalize") == Some(&e.path))
        };
        let next = log.iter().find(again).unwrap();
        let until = match date {
            true => at,
            false => refused.at + SignedDuration::from_secs(1),
        };
        assert!(next.at >= until, "{resource:?} {}, {until}", next.at);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pace_of_polling_is_the_cas() {
    for retry_after in [RetryAfter::Seconds(1), RetryAfter::Date(1)] {
        let ca = Ca::builder().retry_after(retry_after).processing_polls(1);
        let sandbox = Sandbox::with_ca(ca).await;
        let mut request = sandbox.request(&NAMES);
        request.timeouts.finalization = Duration::from_secs(10);
        sandbox.run(&request).await.unwrap();
        assert_eq!(sandbox.leftovers().await, [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_of_rate_limit_is_told_and_nothing_stays_pending() {
    each(RESOURCES, |resource| async move {
        let sandbox = Sandbox::start().await;
        let answer = Answer::problem(429, ca::ErrorKind::RateLimited, "too many of these")
            .retry_after(3600)
            .link("https://ca.example/limits", "help");
        sandbox.ca.faults().next(resource, answer);
        let error = sandbox.issue(&NAMES).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RateLimited, "{resource:?}");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(3600)));
        assert_says(&error, &sandbox, &["too many of these", "429"]);
        let hint = error.hint().unwrap();
        assert!(
            hint.contains("1h") && hint.contains("https://ca.example/limits"),
            "{hint}"
        );
        assert_eq!(sandbox.leftovers().await, [""; 0], "{resource:?}");
        sandbox.issue(&NAMES).await.unwrap();
        assert_eq!(sandbox.leftovers().await, [""; 0], "{resource:?}");
    })
    .await;
}

/// Checks all cases, several at the same time.
async fn each<T, F: Future<Output = ()>>(
    cases: impl IntoIterator<Item = T>,
    check: impl Fn(T) -> F,
) {
    let checks = futures::stream::iter(cases).map(check);
    checks.buffer_unordered(AT_ONCE).collect::<()>().await;
}

/// Sandboxes at the same time.
const AT_ONCE: usize = 7;
