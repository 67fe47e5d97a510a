//! What may be asked of a certificate beyond its names, against the sandbox: key, chain, profile, validity, subset, several CAs.

#![expect(clippy::unwrap_used, reason = "tests")]

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

fn csr(names: &[&str]) -> (CertificateKey, Arc<Csr>) {
    let key = CertificateKey::generate(KeyType::EcdsaP384).unwrap();
    let names: Vec<_> = names.iter().map(|name| name.parse().unwrap()).collect();
    let csr = Csr::parse(&key.csr(&names).unwrap()).unwrap();
    (key, Arc::new(csr))
}

fn by_csr(request: Request, csr: &Arc<Csr>) -> Request {
    Request {
        key_type: csr.key_type(),
        options: options(|o| o.key = KeyChoice::Csr(csr.clone())),
        ..request
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_signing_request_never_comes_here() {
    let sandbox = Sandbox::start().await;
    let (key, csr) = csr(&NAMES);
    let request = by_csr(sandbox.request(&NAMES), &csr);
    let issued = sandbox.run(&request).await.unwrap();
    assert!(!issued.files.privkey.exists());
    let pem = std::fs::read_to_string(&issued.files.fullchain).unwrap();
    assert!(dnseal_core::acme::CertificateChain::is_for(&pem, &key));
    assert_eq!(
        issued.version.spec.key,
        KeyOrigin::Csr {
            fingerprint: csr.fingerprint().to_owned()
        }
    );
    assert!(!sandbox.run(&request).await.unwrap().issued_now);
    let keys = walk(sandbox.workbench.home())
        .into_iter()
        .filter(|path| path.contains("privkey"))
        .collect::<Vec<_>>();
    assert_eq!(keys, [""; 0]);

    // The same request serves for the next version, and another one makes it due.
    let forced = Request {
        force: true,
        ..request.clone()
    };
    assert_eq!(sandbox.run(&forced).await.unwrap().version.number, 2);
    let (_, other) = self::csr(&NAMES);
    let other = by_csr(sandbox.request(&NAMES), &other);
    assert_eq!(sandbox.run(&other).await.unwrap().version.number, 3);
    // And so does a key of our own.
    let own = sandbox.issue(&NAMES).await.unwrap();
    assert_eq!(own.version.number, 4);
    assert!(own.files.privkey.exists());
}

fn walk(directory: &std::path::Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(walk(&path)),
            false => files.push(path.display().to_string()),
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_a_signing_request_is_finished_by_the_next_run() {
    for point in Checkpoint::ALL {
        let sandbox = Sandbox::start().await;
        let (key, csr) = csr(&NAMES);
        let request = by_csr(sandbox.request(&NAMES), &csr);
        kill_at(&sandbox.workbench, &request, point);
        let issued = sandbox.run(&request).await.unwrap();
        let pem = std::fs::read_to_string(&issued.files.fullchain).unwrap();
        assert!(
            dnseal_core::acme::CertificateChain::is_for(&pem, &key),
            "{point:?}"
        );
        assert_eq!(sandbox.ours_in_dns(), [""; 0], "{point:?}");
        assert_eq!(sandbox.pending(), [""; 0], "{point:?}");
        let head = sandbox.workbench.head(&request.id).await.unwrap();
        assert!(
            head.order.is_none() && head.published.is_empty(),
            "{point:?}"
        );
        if point == Checkpoint::Finalized {
            assert_eq!(sandbox.ca.orders().len(), 1, "what is paid for is fetched");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signing_request_is_for_its_own_names() {
    let sandbox = Sandbox::start().await;
    let (_, csr) = csr(&["example.test", "www.example.test"]);
    let request = by_csr(sandbox.request(&NAMES), &csr);
    let error = sandbox.run(&request).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the signing request for example.test is for other names than asked for: it lacks *.example.test: it adds www.example.test"
    );
    assert_eq!(error.kind(), ErrorKind::Usage);
    let mut subset = by_csr(sandbox.request(&["example.test", "www.example.test"]), &csr);
    subset.options.allow_subset = true;
    let error = sandbox.run(&subset).await.unwrap_err();
    assert!(matches!(error, IssueError::CsrSubset { .. }), "{error}");
    assert!(sandbox.ca.orders().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_kept_until_a_new_one_is_asked_for() {
    let sandbox = Sandbox::start().await;
    let reuse = Request {
        force: true,
        ..with(
            sandbox.request(&NAMES),
            options(|o| o.key = KeyChoice::Reuse),
        )
    };
    let first = privkey(&sandbox.run(&reuse).await.unwrap());
    let second = privkey(&sandbox.run(&reuse).await.unwrap());
    assert_eq!(first, second);

    let mut new = Request {
        force: false,
        ..reuse.clone()
    };
    assert!(!sandbox.run(&new).await.unwrap().issued_now);
    new.options.new_key = true;
    let issued = sandbox.run(&new).await.unwrap();
    assert!(issued.issued_now);
    let third = privkey(&issued);
    assert_ne!(second, third);
    assert_eq!(third, privkey(&sandbox.run(&reuse).await.unwrap()));

    // A key of another type cannot be kept.
    let rsa = Request {
        key_type: KeyType::Rsa2048,
        ..reuse.clone()
    };
    assert_ne!(third, privkey(&sandbox.run(&rsa).await.unwrap()));
    // Nor one that the store has lost.
    let head = sandbox.workbench.head(&reuse.id).await.unwrap();
    let number = head.current.unwrap().number;
    let lost = sandbox.workbench.home().join(format!(
        "store/certificates/example.test/versions/{number:04}.privkey.pem"
    ));
    std::fs::remove_file(lost).unwrap();
    sandbox.run(&rsa).await.unwrap();
    let warnings = sandbox.workbench.warnings().join("\n");
    assert!(warnings.contains("cannot be kept"), "{warnings}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_ones_own() {
    let sandbox = Sandbox::start().await;
    let key = Arc::new(CertificateKey::generate(KeyType::Rsa2048).unwrap());
    let given = |key: &Arc<CertificateKey>, key_type| Request {
        key_type,
        ..with(
            sandbox.request(&NAMES),
            options(|o| o.key = KeyChoice::Given(key.clone())),
        )
    };
    let error = sandbox
        .run(&given(&key, KeyType::EcdsaP256))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the key that was given for example.test is rsa-2048, and ecdsa-p256 was asked for"
    );
    assert_eq!(error.kind(), ErrorKind::Usage);

    use secrecy::ExposeSecret;
    let request = given(&key, KeyType::Rsa2048);
    let issued = sandbox.run(&request).await.unwrap();
    assert_eq!(privkey(&issued), key.to_pem().expose_secret());
    assert!(!sandbox.run(&request).await.unwrap().issued_now);
    let other = Arc::new(CertificateKey::generate(KeyType::Rsa2048).unwrap());
    let issued = sandbox.run(&given(&other, KeyType::Rsa2048)).await.unwrap();
    assert_eq!(privkey(&issued), other.to_pem().expose_secret());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_the_account_is_no_key_for_a_certificate() {
    let sandbox = Sandbox::start().await;
    sandbox.issue(&NAMES).await.unwrap();
    let accounts = sandbox.workbench.home().join("store/accounts");
    let stored = std::fs::read_dir(accounts).unwrap().next().unwrap();
    let text = std::fs::read_to_string(stored.unwrap().path()).unwrap();
    let record: serde_json::Value = serde_json::from_str(&text).unwrap();
    let base64 = record["key"].as_str().unwrap();
    // PEM takes the other alphabet, padded.
    let base64 = base64.replace('-', "+").replace('_', "/");
    let padding = "=".repeat((4 - base64.len() % 4) % 4);
    let pem =
        format!("-----BEGIN PRIVATE KEY-----\n{base64}{padding}\n-----END PRIVATE KEY-----\n");
    let key = CertificateKey::from_pem(&pem.into()).unwrap();
    let request = with(
        sandbox.request(&["www.example.test"]),
        options(|o| o.key = KeyChoice::Given(Arc::new(key))),
    );
    let error = sandbox.run(&request).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("is that of the account https://"),
        "{error}"
    );
    assert_eq!(sandbox.leftovers().await, [""; 0]);
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

fn other_ca(sandbox: &Sandbox, second: &Ca) -> OtherCa {
    let url = second.directory_url();
    let root = second.tls_root_pem().as_bytes().to_vec();
    OtherCa {
        ca: CaName::resolve(&url, KeyType::default()).unwrap(),
        account: None,
        external_account: None,
        transport: Some(sandbox.workbench.transport(root)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_ca_issues_where_the_first_cannot() {
    for (case, resource, fault) in [
        (
            "down",
            Resource::Directory,
            Fault::Answer(Answer::html(503)),
        ),
        ("gone", Resource::Directory, Fault::DropBefore),
        (
            "rate limits accounts",
            Resource::NewAccount,
            Fault::Answer(Answer::problem(
                429,
                ca::ErrorKind::RateLimited,
                "too many accounts",
            )),
        ),
        (
            "rate limits orders",
            Resource::NewOrder,
            Fault::Answer(
                Answer::problem(429, ca::ErrorKind::RateLimited, "too many certificates")
                    .retry_after(3600),
            ),
        ),
        (
            "wants an external account",
            Resource::NewAccount,
            Fault::Answer(Answer::problem(
                403,
                ca::ErrorKind::ExternalAccountRequired,
                "come with a key",
            )),
        ),
        (
            "breaks down at the end",
            Resource::Finalize,
            Fault::Answer(Answer::problem(
                429,
                ca::ErrorKind::RateLimited,
                "too many finalizations",
            )),
        ),
    ] {
        let sandbox = Sandbox::start().await;
        let second = Ca::builder().dns(sandbox.dns.addr()).start().await.unwrap();
        sandbox.ca.faults().always(resource, fault);
        let request = with(
            sandbox.request(&NAMES),
            options(|o| o.other_cas = vec![other_ca(&sandbox, &second)]),
        );
        let issued = sandbox
            .run(&request)
            .await
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(issued.version.directory, second.directory_url(), "{case}");
        let warnings = sandbox.workbench.warnings().join("\n");
        let said = format!("{} does not issue: ", sandbox.ca.address());
        assert!(warnings.contains(&said), "{case}: {warnings}");
        assert_eq!(sandbox.ours_in_dns(), [""; 0], "{case}");
        assert_eq!(sandbox.workbench.leftovers().await, [""; 0], "{case}");

        // It is from a CA that is wanted, so it is kept; the next one is from the first again.
        sandbox.ca.faults().clear();
        assert!(!sandbox.run(&request).await.unwrap().issued_now, "{case}");
        let forced = Request {
            force: true,
            ..request
        };
        let issued = sandbox.run(&forced).await.unwrap();
        assert_eq!(issued.version.directory, sandbox.ca.directory_url());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_by_email_come_over_the_roots_of_their_own_ca() {
    const HMAC: [u8; 32] = [7; 32];
    let sandbox = Sandbox::start().await;
    let second = Ca::builder()
        .dns(sandbox.dns.addr())
        .eab("kid-by-email", HMAC)
        .eab_required(true);
    let second = second.start().await.unwrap();
    // The form is at the second CA, whose root the first one's client does not trust.
    let pair = serde_json::json!({
        "success": true,
        "eab_kid": "kid-by-email",
        "eab_hmac_key": BASE64_URL_SAFE_NO_PAD.encode(HMAC),
    });
    let answer = Answer::new(200, "application/json", pair.to_string());
    second.faults().always(Resource::Terms, answer);
    let down = Answer::html(503);
    sandbox.ca.faults().always(Resource::Directory, down);
    let form = second.directory_url().replace("/directory", "/terms");
    let mut other = other_ca(&sandbox, &second);
    other.ca.eab_by_email = Some(form.parse().unwrap());
    let request = with(
        sandbox.request(&NAMES),
        options(|o| o.other_cas = vec![other]),
    );
    let request = Request {
        contacts: vec!["mailto:ops@example.test".to_owned()],
        ..request
    };
    let issued = sandbox.run(&request).await.unwrap();
    assert_eq!(issued.version.eab_kid.as_deref(), Some("kid-by-email"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_other_ca_would_mend_is_not_asked_of_it() {
    let sandbox = Sandbox::with_ca(Ca::builder().blocked_domains([dnseal_tests::ZONE])).await;
    let second = Ca::builder().dns(sandbox.dns.addr()).start().await.unwrap();
    let request = with(
        sandbox.request(&NAMES),
        options(|o| o.other_cas = vec![other_ca(&sandbox, &second)]),
    );
    let error = sandbox.run(&request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ca, "{error}");
    assert!(second.accounts().is_empty());
    assert_eq!(sandbox.leftovers().await, [""; 0]);
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
