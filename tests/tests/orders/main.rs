//! What may be asked of a certificate beyond its names, against the sandbox: key, chain, profile, validity, subset, several CAs.

#![expect(clippy::unwrap_used, reason = "tests")]

mod keys;
mod next_ca;

use std::sync::Arc;
use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use dnseal_core::acme::{Ca as CaName, CertificateKey, Csr, KeyType};
use dnseal_core::event::What;
use dnseal_core::issue::{
    Checkpoint, ErrorKind, IssueError, Issued, KeyChoice, Options, OtherCa, PlanAction, Request,
};
use dnseal_core::store::KeyOrigin;
use dnseal_sandbox::ca::{self, Answer, Ca, Fault, Resource};
use dnseal_tests::{Sandbox, kill_at};
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

const NAMES: [&str; 2] = ["example.test", "*.example.test"];

fn with(request: Request, options: Options) -> Request {
    Request { options, ..request }
}

fn options(change: impl FnOnce(&mut Options)) -> Options {
    let mut options = Options::default();
    change(&mut options);
    options
}

fn two_profiles() -> ca::CaBuilder {
    let hour = Duration::from_secs(3600);
    Ca::builder().profiles([
        ("default", "the usual", hour * 24 * 90),
        ("shortlived", "not for long", hour * 24 * 6),
    ])
}

fn days(issued: &Issued) -> i64 {
    let version = &issued.version;
    let lifetime = version.not_after.duration_since(version.not_before);
    // CAs begin a little before now.
    (lifetime + SignedDuration::from_hours(12)).as_hours() / 24
}

fn privkey(issued: &Issued) -> String {
    std::fs::read_to_string(&issued.files.privkey).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_must_be_is_refused_before_the_ca_hears_of_anything() {
    let sandbox = Sandbox::with_ca(two_profiles()).await;
    let mut request = sandbox.request(&NAMES);
    request.profile = Some("shortlive".to_owned());
    let error = sandbox.run(&request).await.unwrap_err();
    assert_eq!(error.to_string(), "the CA offers no profile `shortlive`");
    assert_eq!(
        error.hint().unwrap(),
        "it offers default, shortlived",
        "{error}"
    );
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(sandbox.ca.accounts().is_empty());
    assert!(sandbox.ca.orders().is_empty());
    assert_eq!(sandbox.leftovers().await, [""; 0]);

    request.profile = Some("shortlived".to_owned());
    let issued = sandbox.run(&request).await.unwrap();
    assert_eq!(days(&issued), 6);
    assert_eq!(issued.version.profile.as_deref(), Some("shortlived"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_may_be_is_used_where_it_is_on_offer() {
    let sandbox = Sandbox::with_ca(two_profiles()).await;
    let asked = |profile: &str| {
        with(
            sandbox.request(&NAMES),
            options(|o| o.preferred_profile = Some(profile.to_owned())),
        )
    };
    let issued = sandbox.run(&asked("shortlived")).await.unwrap();
    assert_eq!(days(&issued), 6);
    assert!(!sandbox.run(&asked("shortlived")).await.unwrap().issued_now);

    // Another wish makes it due; that it is not on offer is known then, and does so once.
    let issued = sandbox.run(&asked("tlsserver")).await.unwrap();
    assert!(issued.issued_now);
    assert_eq!(issued.version.profile, None);
    let warnings = sandbox.workbench.warnings().join("\n");
    assert!(
        warnings.contains("the CA offers no profile `tlsserver`; ordering without one"),
        "{warnings}"
    );
    assert!(!sandbox.run(&asked("tlsserver")).await.unwrap().issued_now);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_that_is_preferred_is_found_by_its_root() {
    let sandbox = Sandbox::with_ca(Ca::builder().chain(2, 2)).await;
    let first = sandbox.issue(&NAMES).await.unwrap();
    let default = first.version.top_issuer.clone().unwrap();
    let asked = |root: &str| {
        with(
            sandbox.request(&NAMES),
            options(|o| o.preferred_chain = Some(root.to_owned())),
        )
    };
    // Every root there is, by asking for one that is not.
    let issued = sandbox.run(&asked("Nobody's Root")).await.unwrap();
    assert!(issued.issued_now);
    assert_eq!(issued.version.top_issuer.as_deref(), Some(&*default));
    let hint = sandbox
        .workbench
        .events()
        .into_iter()
        .find_map(|event| match event.what {
            What::Warning { message, hint } if message.contains("Nobody's Root") => hint,
            _ => None,
        });
    let hint = hint.unwrap();
    let roots: Vec<&str> = hint
        .trim_start_matches("it offers chains to ")
        .split(", ")
        .collect();
    assert_eq!(roots.len(), 3, "{hint}");
    assert_eq!(roots[0], default);

    let other = sandbox.run(&asked(roots[2])).await.unwrap();
    assert_eq!(other.version.top_issuer.as_deref(), Some(roots[2]));
    assert!(!sandbox.run(&asked(roots[2])).await.unwrap().issued_now);
    // What it leads to already is not ordered again.
    let none = sandbox.run(&asked(&default)).await.unwrap();
    assert!(none.issued_now);
    assert!(!sandbox.run(&asked(&default)).await.unwrap().issued_now);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validity_is_asked_for() {
    let sandbox = Sandbox::start().await;
    let asked = |before: Option<&str>, after: Option<&str>| {
        with(
            sandbox.request(&NAMES),
            options(|o| {
                o.not_before = before.map(|text| text.parse().unwrap());
                o.not_after = after.map(|text| text.parse().unwrap());
            }),
        )
    };
    let issued = sandbox.run(&asked(None, Some("+10d"))).await.unwrap();
    assert_eq!(days(&issued), 10);
    assert!(
        !sandbox
            .run(&asked(None, Some("+10d")))
            .await
            .unwrap()
            .issued_now
    );
    let issued = sandbox.run(&asked(None, Some("+20d"))).await.unwrap();
    assert_eq!(days(&issued), 20);

    for (before, after) in [
        (None, Some("2020-01-01")),
        (Some("+3d"), Some("+2d")),
        (None, Some("0s")),
    ] {
        let error = sandbox.run(&asked(before, after)).await.unwrap_err();
        assert!(
            error.to_string().contains("would never be valid"),
            "{error}"
        );
    }
}

fn left_out(issued: &Issued) -> Vec<String> {
    let left = &issued.version.left_out;
    left.iter().map(|left| left.name.to_string()).collect()
}

fn subset(sandbox: &Sandbox, names: &[&str]) -> Request {
    with(sandbox.request(names), options(|o| o.allow_subset = true))
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_the_ca_refuses_are_left_out() {
    let sandbox = Sandbox::with_ca(Ca::builder().blocked_domains(["bad.example.test"])).await;
    let names = ["example.test", "bad.example.test", "www.bad.example.test"];
    sandbox.issue(&names).await.unwrap_err();
    let request = subset(&sandbox, &names);
    let issued = sandbox.run(&request).await.unwrap();
    assert_eq!(
        left_out(&issued),
        ["bad.example.test", "www.bad.example.test"]
    );
    assert_eq!(issued.version.names.len(), 1);
    let warnings = sandbox.workbench.warnings().join("\n");
    assert!(
        warnings.contains("going on without bad.example.test"),
        "{warnings}"
    );
    assert_eq!(sandbox.leftovers().await, [""; 0]);

    // It is kept until it is due, and then all of it is tried.
    let orders = sandbox.ca.orders().len();
    assert!(!sandbox.run(&request).await.unwrap().issued_now);
    assert_eq!(sandbox.ca.orders().len(), orders);
    let forced = Request {
        force: true,
        ..request
    };
    let again = sandbox.run(&forced).await.unwrap();
    assert_eq!(left_out(&again).len(), 2);
    let error = sandbox
        .run(&subset(&sandbox, &["bad.example.test"]))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("bad.example.test"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_without_a_place_are_left_out() {
    let sandbox = Sandbox::start().await;
    let names = [
        "example.test",
        "nobodys.test",
        "*.nobodys.test",
        "*.example.test",
    ];
    let request = subset(&sandbox, &names);
    let plan = sandbox.workbench.engine().plan(&request).await.unwrap();
    assert_eq!(plan.action, PlanAction::Order);
    assert_eq!((plan.names.len(), plan.left_out.len()), (2, 2));
    let issued = sandbox.run(&request).await.unwrap();
    assert_eq!(left_out(&issued), ["nobodys.test", "*.nobodys.test"]);
    assert_eq!(sandbox.ca.orders().len(), 1);
    assert_eq!(sandbox.leftovers().await, [""; 0]);

    // Without the names that have no place it is another certificate.
    let head = sandbox.workbench.head(&request.id).await.unwrap();
    assert_eq!(head.current.unwrap().left_out.len(), 2);
    let error = sandbox.issue(&NAMES).await.unwrap_err();
    assert!(matches!(error, IssueError::NamesDiffer { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_whose_validation_fails_are_left_out() {
    let sandbox = Sandbox::with_ca(Ca::builder().authz_reuse(true)).await;
    // Once for the try after the values have expired, and once more.
    sandbox.ca.faults().fail_secondary_validations(3);
    let request = subset(
        &sandbox,
        &["a.example.test", "b.example.test", "c.example.test"],
    );
    let issued = sandbox.run(&request).await.unwrap();
    assert!(issued.version.names.len() + left_out(&issued).len() == 3);
    assert_eq!(sandbox.leftovers().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_a_subset_is_paid_for_the_next_run_fetches_it() {
    for point in [
        Checkpoint::DnsWritten,
        Checkpoint::BeforeFinalize,
        Checkpoint::Finalized,
        Checkpoint::BeforeStore,
    ] {
        let sandbox = Sandbox::start().await;
        let request = subset(&sandbox, &["example.test", "nobodys.test"]);
        kill_at(&sandbox.workbench, &request, point);
        let issued = sandbox.run(&request).await.unwrap();
        assert_eq!(left_out(&issued), ["nobodys.test"], "{point:?}");
        let orders = sandbox.ca.orders().len();
        let certificates = sandbox.ca.issued().len();
        match point {
            Checkpoint::DnsWritten => assert!(orders <= 2),
            _ => assert_eq!((orders, certificates), (1, 1), "{point:?}"),
        }
        assert_eq!(sandbox.ours_in_dns(), [""; 0], "{point:?}");
        assert_eq!(sandbox.pending(), [""; 0], "{point:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_of_a_run_share_one_directory() {
    let sandbox = Sandbox::start().await;
    let engine = sandbox.workbench.engine();
    let requests: Vec<Request> = (0..5)
        .map(|n| sandbox.request(&[&format!("h{n}.example.test")]))
        .collect();
    let never = CancellationToken::new();
    let issued = requests.iter().map(|request| engine.issue(request, &never));
    for issued in futures::future::join_all(issued).await {
        issued.unwrap();
    }
    let asked = |wanted: &'static str| {
        sandbox
            .workbench
            .count(|what| matches!(what, What::AcmeRequest { resource, .. } if *resource == wanted))
    };
    assert_eq!(asked("directory"), 1);
    assert_eq!(asked("newAccount"), 1);
    assert!(asked("newNonce") <= 5, "{}", asked("newNonce"));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_wait_is_longer_than_the_order_lives() {
    let sandbox = Sandbox::with_ca(Ca::builder().order_lifetime(Duration::from_secs(3))).await;
    sandbox.ca.faults().stuck_challenges(true);
    let mut request = sandbox.request(&NAMES);
    request.timeouts.validation = Duration::from_secs(600);
    let begun = std::time::Instant::now();
    let error = sandbox.run(&request).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(60), "{error}");
    let over = matches!(
        error,
        IssueError::Expired { .. } | IssueError::Validation { .. }
    );
    assert!(over, "{error}");
    assert_eq!(sandbox.ours_in_dns(), [""; 0]);
}
