//! The CA side against a CA that misbehaves: lost answers, gateways, statuses nobody knows, silence.
//!
//! Each test scripts one small CA.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "everything in here is test code, also what stands outside of `#[test]`"
)]

mod scripted;

use std::time::Duration;
use std::time::Instant;

use dnseal_core::acme::Account;
use dnseal_core::acme::AccountKey;
use dnseal_core::acme::AcmeError;
use dnseal_core::acme::AuthorizationStatus;
use dnseal_core::acme::CertificateKey;
use dnseal_core::acme::ChallengeStatus;
use dnseal_core::acme::Client;
use dnseal_core::acme::ExtraRoot;
use dnseal_core::acme::KeyType;
use dnseal_core::acme::NewOrder;
use dnseal_core::acme::OrderError;
use dnseal_core::acme::OrderStatus;
use dnseal_core::acme::Registration;
use dnseal_core::acme::Transport;
use dnseal_core::acme::TransportOptions;
use dnseal_core::acme::Wait;
use dnseal_core::dns::Identifier;
use dnseal_core::event::Events;
use serde_json::Value;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use url::Url;

use self::scripted::Asked;
use self::scripted::Ca;
use self::scripted::Reply;
use self::scripted::ok;
use self::scripted::problem;
use self::scripted::transport;

fn order(base: &str, status: &str) -> Value {
    json!({
        "status": status,
        "identifiers": [{ "type": "dns", "value": "a.test" }, { "type": "dns", "value": "*.a.test" }],
        "authorizations": [format!("{base}authz/1"), format!("{base}authz/2")],
        "finalize": format!("{base}finalize"),
        "certificate": (status == "valid").then(|| format!("{base}cert")),
    })
}

fn created(base: &str, status: &str) -> Reply {
    let headers = vec![("location", format!("{base}order"))];
    Reply::Answer(201, headers, order(base, status).to_string())
}

fn authorization(base: &str, asked: &Asked, status: &str, error: Value) -> Reply {
    ok(json!({
        "identifier": { "type": "dns", "value": "a.test" },
        "wildcard": asked.path == "/authz/2",
        "status": status,
        "challenges": [
            { "type": "dns-01", "url": format!("{base}chall"), "token": "tok", "status": status, "error": error },
        ],
    }))
}

fn wait(milliseconds: u64) -> Wait {
    Wait {
        deadline: Duration::from_millis(milliseconds),
        cancel: CancellationToken::new(),
    }
}

fn names() -> Vec<Identifier> {
    ["a.test", "*.a.test"]
        .map(|name| name.parse().unwrap())
        .to_vec()
}

async fn new_order(account: &Account) -> Result<dnseal_core::acme::Order, OrderError> {
    let identifiers = names();
    let new = NewOrder {
        identifiers: &identifiers,
        profile: None,
        replaces: None,
        ..NewOrder::default()
    };
    account.new_order(&new).await
}

fn csr() -> Vec<u8> {
    CertificateKey::generate(KeyType::EcdsaP256)
        .unwrap()
        .csr(&names())
        .unwrap()
}

#[tokio::test]
async fn a_lost_answer_to_finalize_is_looked_up_and_not_repeated() {
    let ca = Ca::start(|base, asked| match asked.path.as_str() {
        "/new-order" => created(base, "ready"),
        "/finalize" => Reply::Drop,
        _ => ok(order(base, "processing")),
    })
    .await;
    let account = ca.account().await;
    let order = new_order(&account).await.unwrap();
    assert_eq!(order.status, OrderStatus::Ready);
    let order = account.finalize(&order, &csr()).await.unwrap().order;
    assert_eq!(order.status, OrderStatus::Processing);
    assert_eq!(order.url, ca.url("order"));
    assert_eq!((ca.count("/finalize"), ca.count("/order")), (1, 1));
}

#[tokio::test]
async fn finalize_is_sent_again_to_an_order_that_still_waits() {
    let ca = Ca::start(|base, asked| match (asked.path.as_str(), asked.times) {
        ("/new-order", _) => created(base, "ready"),
        ("/finalize", 1) => Reply::Bare(503, "<html>busy</html>".to_owned()),
        ("/finalize", 2) => problem(403, "orderNotReady"),
        ("/finalize", _) => ok(order(base, "valid")),
        _ => ok(order(base, "ready")),
    })
    .await;
    let account = ca.account().await;
    let order = new_order(&account).await.unwrap();
    let order = account.finalize(&order, &csr()).await.unwrap().order;
    assert_eq!(order.status, OrderStatus::Valid);
    assert_eq!(ca.count("/finalize"), 3);
}

#[tokio::test]
async fn what_passes_is_tried_again() {
    let ca = Ca::start(|base, asked| match (asked.path.as_str(), asked.times) {
        ("/new-order", 1) => problem(500, "serverInternal"),
        ("/new-order", 2) => Reply::Drop,
        ("/new-order", 3) => problem(400, "badNonce"),
        ("/new-order", 4) => Reply::Bare(
            400,
            json!({ "type": "urn:ietf:params:acme:error:badNonce" }).to_string(),
        ),
        // A status of some later RFC.
        ("/new-order", _) => created(base, "queued"),
        ("/authz/1", 1) => Reply::Bare(502, "<html>Bad Gateway</html>".to_owned()),
        _ => authorization(base, asked, "pending", Value::Null),
    })
    .await;
    let account = ca.account().await;
    let order = new_order(&account).await.unwrap();
    assert_eq!(order.status, OrderStatus::Other("queued".to_owned()));
    assert_eq!(ca.count("/new-order"), 5);
    let authorizations = account.authorizations(&order.authorizations).await.unwrap();
    assert_eq!(authorizations[0].identifier, names()[0]);
    assert_eq!(authorizations[1].identifier, names()[1]);
}

#[tokio::test]
async fn a_rate_limit_says_until_when_and_is_not_waited_for() {
    let ca = Ca::start(|_, _| {
        let body =
            json!({ "type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many" });
        Reply::Answer(
            429,
            vec![("retry-after", "3600".to_owned())],
            body.to_string(),
        )
    })
    .await;
    let error = new_order(&ca.account().await).await.unwrap_err();
    assert!(error.is_rate_limited(), "{error}");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3600)));
    assert!(error.hint().unwrap().contains("again in 1h"));
    assert_eq!(ca.count("/new-order"), 1);
}

#[tokio::test]
async fn a_lost_registration_is_found_by_its_key() {
    let ca = Ca::start(
        |base, asked| match asked.payload["onlyReturnExisting"].as_bool() {
            None => Reply::Hang,
            Some(_) => Reply::Answer(
                200,
                vec![("location", format!("{base}acct/7"))],
                String::new(),
            ),
        },
    )
    .await;
    let registration = Registration {
        terms_agreed: true,
        ..Registration::default()
    };
    let url = ca
        .client()
        .await
        .register(&AccountKey::generate().unwrap(), &registration)
        .await
        .unwrap();
    assert_eq!(url, ca.url("acct/7"));
    assert_eq!(ca.count("/new-account"), 2);
}

#[tokio::test]
async fn a_challenge_that_is_not_pending_any_more_is_looked_at() {
    let ca = Ca::start(|base, asked| match (asked.path.as_str(), &asked.payload) {
        ("/chall", Value::Null) => {
            ok(json!({ "type": "dns-01", "status": "processing", "token": "tok" }))
        }
        ("/chall", _) => problem(409, "conflict"),
        _ => authorization(base, asked, "pending", Value::Null),
    })
    .await;
    let account = ca.account().await;
    let authorizations = account.authorizations(&[ca.url("authz/1")]).await.unwrap();
    let challenge = authorizations[0].dns01.clone().unwrap();
    let answered = account
        .answer(&[challenge], &CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(answered[0].status, ChallengeStatus::Processing);
}

#[tokio::test]
async fn an_invalid_order_tells_the_reason_of_every_name() {
    let ca = Ca::start(|base, asked| match asked.path.as_str() {
        "/order" => ok(order(base, "invalid")),
        _ => {
            let error = json!({ "type": "urn:ietf:params:acme:error:dns", "detail": format!("SERVFAIL at {}", asked.path) });
            authorization(base, asked, "invalid", error)
        }
    })
    .await;
    let account = ca.account().await;
    let error = account
        .await_ready(&ca.url("order"), &wait(10_000))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, OrderError::Validation { failures, .. } if failures.len() == 2),
        "{error}"
    );
    let text = error.to_string();
    assert!(
        text.contains("a.test: SERVFAIL at /authz/1 (dns)"),
        "{text}"
    );
    assert!(
        text.contains("*.a.test: SERVFAIL at /authz/2 (dns)"),
        "{text}"
    );
    assert!(error.hint().unwrap().contains("DNSSEC"));
}

#[tokio::test]
async fn an_order_that_never_ends_ends_at_our_deadline() {
    let ca = Ca::start(|base, asked| match asked.path.as_str() {
        "/order" => ok(order(base, "pending")),
        "/authz/1" => authorization(base, asked, "valid", Value::Null),
        _ => authorization(base, asked, "pending", Value::Null),
    })
    .await;
    let account = ca.account().await;
    let error = account
        .await_ready(&ca.url("order"), &wait(300))
        .await
        .unwrap_err();
    let OrderError::TimedOut {
        waiting, failures, ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!(waiting, &names()[1..]);
    assert!(failures.is_empty());
    // The first look, and the one when time was up.
    assert_eq!(ca.count("/order"), 2);
}

#[tokio::test]
async fn a_ca_that_is_busy_ends_a_wait_only_when_it_asks_for_more_than_is_left() {
    let ca = Ca::start(|base, asked| match asked.times {
        1 => {
            let later = vec![("retry-after", "1".to_owned())];
            Reply::Answer(429, later, String::new())
        }
        2 => ok(order(base, "ready")),
        _ => {
            let later = vec![("retry-after", "11".to_owned())];
            Reply::Answer(429, later, String::new())
        }
    })
    .await;
    let account = ca.account().await;
    let order = account
        .await_ready(&ca.url("order"), &wait(10_000))
        .await
        .unwrap();
    assert_eq!(order.status, OrderStatus::Ready);

    let error = account
        .await_ready(&ca.url("order"), &wait(5_000))
        .await
        .unwrap_err();
    assert!(error.is_rate_limited(), "{error}");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(11)));
}

#[test]
fn roots_that_are_none_are_named() {
    for (pem, wanted) in [
        ("hello", "no CERTIFICATE"),
        (
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
            "cannot be read",
        ),
    ] {
        let options = TransportOptions {
            extra_roots: vec![ExtraRoot {
                name: "test".to_owned(),
                pem: pem.as_bytes().to_vec(),
            }],
            ..TransportOptions::default()
        };
        let error = Transport::new(options, Events::silent()).unwrap_err();
        assert!(error.to_string().contains(wanted), "{error}");
        assert!(error.hint().unwrap().contains("--ca-root"));
    }
}

#[tokio::test]
async fn cancelling_ends_a_wait_at_once() {
    let ca = Ca::start(|_, _| Reply::Hang).await;
    let account = ca.account().await;
    let wait = wait(60_000);
    let cancel = wait.cancel.clone();
    let begin = Instant::now();
    let url = ca.url("order");
    let (result, ()) = tokio::join!(account.await_ready(&url, &wait), async { cancel.cancel() });
    assert!(result.unwrap_err().is_cancelled());
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn what_a_ca_does_not_accept_as_replaced_is_left_out() {
    let ca = Ca::start(|base, asked| match asked.payload["replaces"].as_str() {
        Some("aki.serial") => problem(409, "alreadyReplaced"),
        Some(other) => panic!("{other}"),
        None => created(base, "pending"),
    })
    .await;
    let identifiers = names();
    let new = NewOrder {
        identifiers: &identifiers,
        profile: None,
        replaces: Some("aki.serial"),
        ..NewOrder::default()
    };
    let order = ca.account().await.new_order(&new).await.unwrap();
    assert_eq!(order.replaces, None);
    assert_eq!(ca.count("/new-order"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_names_are_asked_for_at_once_but_not_too_many() {
    let ca = Ca::start(|base, asked| authorization(base, asked, "valid", Value::Null)).await;
    let account = ca.account().await;
    let urls: Vec<_> = (1..=200).map(|n| ca.url(&format!("authz/{n}"))).collect();
    let authorizations = account.authorizations(&urls).await.unwrap();
    assert!(
        authorizations
            .iter()
            .all(|a| a.status == AuthorizationStatus::Valid)
    );
    assert!(authorizations.iter().map(|a| &a.url).eq(&urls));
    assert!(ca.most_under_way() <= 16);
}

#[tokio::test]
async fn a_signed_request_follows_no_redirect() {
    let ca = Ca::start(|base, asked| match asked.path.as_str() {
        "/new-order" => Reply::Answer(
            307,
            vec![("location", format!("{base}elsewhere"))],
            String::new(),
        ),
        _ => created(base, "pending"),
    })
    .await;
    let error = new_order(&ca.account().await).await.unwrap_err();
    assert!(error.to_string().contains("HTTP 307"), "{error}");
    assert_eq!(ca.count("/elsewhere"), 0);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url: Url = format!("https://{address}/dir").parse().unwrap();
    let error = Client::connect(transport(), &url).await.unwrap_err();
    assert!(error.is_retryable());
    assert!(
        error
            .to_string()
            .contains(&format!("{address} cannot be reached for directory")),
        "{error}"
    );
}

#[tokio::test]
async fn futures_may_move_between_threads() {
    fn send<T: Send>(value: T) -> T {
        value
    }
    let ca = Ca::start(|base, _| created(base, "pending")).await;
    let account = ca.account().await;
    let (key, registration) = (AccountKey::generate().unwrap(), Registration::default());
    let url = ca.url("order");
    let wait = wait(1);
    let client = ca.client().await;
    drop(send(client.register(&key, &registration)));
    drop(send(client.find_account(&key)));
    drop(send(account.authorizations(&[])));
    drop(send(account.answer(&[], &wait.cancel)));
    drop(send(account.await_ready(&url, &wait)));
    drop(send(account.deactivate(&[])));
    let task = tokio::spawn(async move {
        let order = new_order(&account).await?;
        match account.finalize(&order, b"csr").await {
            Ok(finalized) => account.download(&finalized.order).await.map(drop),
            Err(error) => Err(error),
        }
    });
    let error = task.await.unwrap().unwrap_err();
    assert!(
        matches!(
            error,
            OrderError::NoCertificate { .. } | OrderError::Request(AcmeError::Malformed { .. })
        ),
        "{error}"
    );
}
