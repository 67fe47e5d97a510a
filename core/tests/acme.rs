//! The CA side against Pebble, which validates nothing here but refuses half of all nonces if told to.
//!
//! Skipped, with a line that says so (or failing, with `DNSEAL_TESTS_REQUIRE_PEERS=1`), where Pebble is not installed under `target/peers` (see `tests/run`) and
//! `DNSEAL_PEBBLE` does not name its binary.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "everything in here is test code, also what stands outside of `#[test]`"
)]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io::BufRead;
use std::io::BufReader;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use dnseal_core::acme::AccountError;
use dnseal_core::acme::AccountKey;
use dnseal_core::acme::AcmeError;
use dnseal_core::acme::AuthorizationStatus;
use dnseal_core::acme::CertificateChain;
use dnseal_core::acme::CertificateKey;
use dnseal_core::acme::Client;
use dnseal_core::acme::DirectoryError;
use dnseal_core::acme::ExternalAccount;
use dnseal_core::acme::ExtraRoot;
use dnseal_core::acme::KeyType;
use dnseal_core::acme::NewOrder;
use dnseal_core::acme::OrderError;
use dnseal_core::acme::OrderStatus;
use dnseal_core::acme::Pairing;
use dnseal_core::acme::Registration;
use dnseal_core::acme::Transport;
use dnseal_core::acme::TransportOptions;
use dnseal_core::acme::Wait;
use dnseal_core::dns::Identifier;
use dnseal_core::event::Event;
use dnseal_core::event::Events;
use dnseal_core::event::What;
use serde_json::json;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;
use url::Url;

/// A Pebble of this test's own, ended when it goes.
struct Pebble {
    child: Child,
    directory: Url,
    root: Vec<u8>,
    _files: tempfile::TempDir,
}

impl Pebble {
    fn start(environment: &[(&str, &str)], extra: serde_json::Value) -> Option<Self> {
        let binary = binary()?;
        let files = tempfile::tempdir().unwrap();
        let issued =
            rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])
                .unwrap();
        let path = |name: &str| files.path().join(name);
        std::fs::write(path("cert.pem"), issued.cert.pem()).unwrap();
        std::fs::write(path("key.pem"), issued.signing_key.serialize_pem()).unwrap();

        // Pebble cannot choose a port itself; one that was free a moment ago nearly always still is.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            let mut pebble = json!({
                "listenAddress": format!("127.0.0.1:{port}"),
                "managementListenAddress": "",
                "certificate": path("cert.pem"),
                "privateKey": path("key.pem"),
                "httpPort": 5002,
                "tlsPort": 5001,
                "ocspResponderURL": "",
                "externalAccountBindingRequired": false,
                "domainBlocklist": ["blocked.example"],
                "retryAfter": { "authz": 0, "order": 0 },
                "keyAlgorithm": "ecdsa",
                "profiles": { "default": { "description": "d", "validityPeriod": 7_776_000 } },
            });
            for (name, value) in extra.as_object().into_iter().flatten() {
                pebble[name] = value.clone();
            }
            std::fs::write(path("config.json"), json!({ "pebble": pebble }).to_string()).unwrap();
            let mut child = Command::new(&binary)
                .arg("-strict")
                .arg("-config")
                .arg(path("config.json"))
                .env("PEBBLE_VA_NOSLEEP", "1")
                .env("PEBBLE_VA_ALWAYS_VALID", "1")
                .env("PEBBLE_WFE_NONCEREJECT", "0")
                .env("PEBBLE_AUTHZREUSE", "0")
                .envs(environment.iter().copied())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            if lines.any(|line| line.is_ok_and(|l| l.contains("ACME directory available"))) {
                // Its log has to go somewhere, or it stops when the pipe is full.
                std::thread::spawn(move || lines.for_each(drop));
                return Some(Self {
                    child,
                    directory: format!("https://127.0.0.1:{port}/dir").parse().unwrap(),
                    root: issued.cert.pem().into_bytes(),
                    _files: files,
                });
            }
            let _ = child.wait();
        }
        panic!("Pebble did not start");
    }

    fn transport(&self) -> (Transport, UnboundedReceiver<Event>) {
        let (events, receiver) = Events::channel();
        let options = TransportOptions {
            extra_roots: vec![ExtraRoot {
                name: "test".to_owned(),
                pem: self.root.clone(),
            }],
            ..TransportOptions::default()
        };
        (Transport::new(options, events).unwrap(), receiver)
    }

    async fn client(&self) -> (Client, UnboundedReceiver<Event>) {
        let (transport, receiver) = self.transport();
        (
            Client::connect(transport, &self.directory).await.unwrap(),
            receiver,
        )
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn binary() -> Option<PathBuf> {
    let built_in = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target")),
        PathBuf::from,
    );
    let candidate = std::env::var_os("DNSEAL_PEBBLE").map_or_else(
        || built_in.join("peers/pebble/usr/bin/pebble"),
        PathBuf::from,
    );
    if candidate.is_file() {
        return Some(candidate);
    }
    let required = std::env::var_os("DNSEAL_TESTS_REQUIRE_PEERS").is_some_and(|v| v == "1");
    assert!(!required, "no Pebble at {}", candidate.display());
    eprintln!("skipped: no Pebble at {}", candidate.display());
    None
}

fn names(names: &[&str]) -> Vec<Identifier> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn wait() -> Wait {
    Wait {
        deadline: Duration::from_secs(60),
        cancel: CancellationToken::new(),
    }
}

const AGREED: Registration<'static> = Registration {
    contacts: &[],
    terms_agreed: true,
    external_account: None,
};

/// The whole way; the number of authorizations that had to be answered.
async fn issue(client: &Client, key: &AccountKey, identifiers: &[Identifier]) -> usize {
    let url = client.register(key, &AGREED).await.unwrap();
    issue_with(client, key, &url, identifiers).await
}

async fn issue_with(
    client: &Client,
    key: &AccountKey,
    url: &str,
    identifiers: &[Identifier],
) -> usize {
    let account = client.account(key, url);
    let new = NewOrder {
        identifiers,
        profile: Some("default"),
        replaces: None,
        ..NewOrder::default()
    };
    let order = account.new_order(&new).await.unwrap();
    let asked: BTreeSet<_> = identifiers.iter().cloned().collect();
    assert_eq!(
        order.identifiers.iter().cloned().collect::<BTreeSet<_>>(),
        asked
    );

    let authorizations = account.authorizations(&order.authorizations).await.unwrap();
    let pairing = Pairing::new(authorizations, identifiers);
    assert!(
        pairing.missing.is_empty() && pairing.unasked.is_empty(),
        "{pairing:?}"
    );
    let challenges: Vec<_> = pairing
        .pairs
        .iter()
        .filter(|(_, authorization)| authorization.status == AuthorizationStatus::Pending)
        .map(|(_, authorization)| authorization.dns01.clone().unwrap())
        .collect();
    let answered = account
        .answer(&challenges, &CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(answered.len(), challenges.len());

    let order = account.await_ready(&order.url, &wait()).await.unwrap();
    let certificate_key = CertificateKey::generate(KeyType::EcdsaP256).unwrap();
    let csr = certificate_key.csr(identifiers).unwrap();
    let order = account.finalize(&order, &csr).await.unwrap().order;
    let order = account
        .await_certificate(&order.url, &wait())
        .await
        .unwrap();
    assert_eq!(order.status, OrderStatus::Valid);
    let download = account.download(&order).await.unwrap();
    let chain = CertificateChain::check(&download.pem, &certificate_key, identifiers).unwrap();
    assert!(chain.not_after > chain.not_before);
    for alternate in &download.alternates {
        let other = account.download_from(alternate).await.unwrap();
        let other = CertificateChain::check(&other.pem, &certificate_key, identifiers).unwrap();
        assert_eq!(other.leaf_pem, chain.leaf_pem);
        assert_ne!(other.top_issuer, chain.top_issuer);
    }
    challenges.len()
}

/// How often each resource was asked for.
fn requests(receiver: &mut UnboundedReceiver<Event>) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    while let Ok(event) = receiver.try_recv() {
        if let What::AcmeRequest { resource, .. } = event.what {
            *counts.entry(resource).or_default() += 1;
        }
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_names_need_few_requests() {
    let Some(pebble) = Pebble::start(&[], json!({})) else {
        return;
    };
    let (client, mut events) = pebble.client().await;
    let hosts: Vec<String> = (0..50)
        .flat_map(|n| [format!("h{n}.example.test"), format!("*.h{n}.example.test")])
        .collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let answered = issue(&client, &AccountKey::generate().unwrap(), &names(&hosts)).await;
    assert!(answered >= 98, "{answered}");

    let counts = requests(&mut events);
    let all: usize = counts.values().sum();
    assert!(all <= 2 * 100 + 10, "{all} requests: {counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_of_all_nonces_may_be_bad() {
    let Some(pebble) = Pebble::start(&[("PEBBLE_WFE_NONCEREJECT", "50")], json!({})) else {
        return;
    };
    let (client, _) = pebble.client().await;
    let key = AccountKey::generate().unwrap();
    let url = client.register(&key, &AGREED).await.unwrap();
    for round in 0..10 {
        let name = format!("n{round}.example.test");
        issue_with(&client, &key, &url, &names(&[&name, &format!("*.{name}")])).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_nonces_without_end_are_an_error() {
    let Some(pebble) = Pebble::start(&[("PEBBLE_WFE_NONCEREJECT", "100")], json!({})) else {
        return;
    };
    let (client, mut events) = pebble.client().await;
    let error = client
        .register(&AccountKey::generate().unwrap(), &AGREED)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, AccountError::Request(e) if e.is("badNonce")),
        "{error}"
    );
    assert_eq!(requests(&mut events)["newAccount"], 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_valid_already_is_not_answered_again() {
    let environment = [
        ("PEBBLE_AUTHZREUSE", "100"),
        ("PEBBLE_ALTERNATE_ROOTS", "2"),
        ("PEBBLE_CHAIN_LENGTH", "3"),
    ];
    let Some(pebble) = Pebble::start(&environment, json!({})) else {
        return;
    };
    let (client, _) = pebble.client().await;
    let key = AccountKey::generate().unwrap();
    let wanted = names(&["example.test", "*.example.test"]);
    assert_eq!(issue(&client, &key, &wanted).await, 2);
    assert_eq!(issue(&client, &key, &wanted).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_found_by_their_key() {
    let Some(pebble) = Pebble::start(&[], json!({})) else {
        return;
    };
    let (client, _) = pebble.client().await;
    let key = AccountKey::generate().unwrap();
    assert_eq!(client.find_account(&key).await.unwrap(), None);
    let disagreed = Registration {
        terms_agreed: false,
        ..AGREED
    };
    assert!(matches!(
        client.register(&key, &disagreed).await,
        Err(AccountError::TermsNotAgreed { terms: Some(_) })
    ));
    let url = client.register(&key, &AGREED).await.unwrap();
    assert_eq!(client.find_account(&key).await.unwrap(), Some(url.clone()));
    assert_eq!(client.register(&key, &AGREED).await.unwrap(), url);

    let contacts = ["not an address".to_owned()];
    let contact = Registration {
        contacts: &contacts,
        ..AGREED
    };
    let error = client
        .register(&AccountKey::generate().unwrap(), &contact)
        .await
        .unwrap_err();
    assert!(matches!(error, AccountError::Contact(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn external_accounts_are_bound_or_refused() {
    let secret = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let extra = json!({ "externalAccountBindingRequired": true, "externalAccountMACKeys": { "kid-1": secret } });
    let Some(pebble) = Pebble::start(&[], extra) else {
        return;
    };
    let (client, _) = pebble.client().await;
    assert!(client.directory().meta.external_account_required);

    let key = AccountKey::generate().unwrap();
    assert_eq!(client.find_account(&key).await.unwrap(), None);
    let error = client.register(&key, &AGREED).await.unwrap_err();
    assert!(
        matches!(error, AccountError::ExternalAccountRequired { .. }),
        "{error}"
    );
    for (kid, hmac) in [
        ("kid-2", secret),
        ("kid-1", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
    ] {
        let external = ExternalAccount::parse(kid, &hmac.to_owned().into()).unwrap();
        let registration = Registration {
            external_account: Some(&external),
            ..AGREED
        };
        let error = client.register(&key, &registration).await.unwrap_err();
        assert!(
            matches!(error, AccountError::ExternalAccountRefused(_)),
            "{error}"
        );
    }
    let external = ExternalAccount::parse("kid-1", &secret.to_owned().into()).unwrap();
    let registration = Registration {
        external_account: Some(&external),
        ..AGREED
    };
    client.register(&key, &registration).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_ca_refuses_is_named() {
    let Some(pebble) = Pebble::start(&[], json!({})) else {
        return;
    };
    let (client, _) = pebble.client().await;
    let key = AccountKey::generate().unwrap();
    let url = client.register(&key, &AGREED).await.unwrap();
    let account = client.account(&key, &url);

    let identifiers = names(&["good.example.test", "blocked.example"]);
    let new = NewOrder {
        identifiers: &identifiers,
        profile: None,
        replaces: None,
        ..NewOrder::default()
    };
    let error = account.new_order(&new).await.unwrap_err();
    let refused = error.refused_names();
    assert_eq!(refused.len(), 1, "{error}");
    assert_eq!(refused[0].0, identifiers[1]);

    let new = NewOrder {
        profile: Some("none"),
        ..new
    };
    let error = account.new_order(&new).await.unwrap_err();
    assert!(
        matches!(&error, OrderError::UnknownProfile { known, .. } if known == &["default"]),
        "{error}"
    );

    let error = account
        .order(&format!(
            "{}x",
            pebble.directory.join("/my-order/").unwrap()
        ))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("HTTP 404 and an empty body"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn abandoned_authorizations_are_deactivated() {
    let Some(pebble) = Pebble::start(&[], json!({})) else {
        return;
    };
    let (client, _) = pebble.client().await;
    let key = AccountKey::generate().unwrap();
    let url = client.register(&key, &AGREED).await.unwrap();
    let account = client.account(&key, &url);
    let identifiers = names(&["a.example.test", "*.a.example.test"]);
    let new = NewOrder {
        identifiers: &identifiers,
        profile: None,
        replaces: None,
        ..NewOrder::default()
    };
    let order = account.new_order(&new).await.unwrap();
    assert!(account.deactivate(&order.authorizations).await.is_empty());
    for authorization in account.authorizations(&order.authorizations).await.unwrap() {
        assert_eq!(authorization.status, AuthorizationStatus::Deactivated);
    }

    let cancel = CancellationToken::new();
    cancel.cancel();
    let error = account
        .await_ready(&order.url, &Wait { cancel, ..wait() })
        .await
        .unwrap_err();
    assert!(error.is_cancelled(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_not_trusted_and_silence_is_an_error() {
    let Some(pebble) = Pebble::start(&[], json!({})) else {
        return;
    };
    let stranger = rcgen::generate_simple_self_signed(["other.example".to_owned()]).unwrap();
    let options = TransportOptions {
        extra_roots: vec![ExtraRoot {
            name: "test".to_owned(),
            pem: stranger.cert.pem().into_bytes(),
        }],
        ..TransportOptions::default()
    };
    let transport = Transport::new(options, Events::silent()).unwrap();
    let error = Client::connect(transport.clone(), &pebble.directory)
        .await
        .unwrap_err();
    assert!(
        matches!(error, DirectoryError::Request(AcmeError::NotTrusted { .. })),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("--ca-root"));

    let (transport, _) = pebble.transport();
    let error = Client::connect(transport, &pebble.directory.join("/nothing").unwrap())
        .await
        .unwrap_err();
    assert!(
        matches!(error, DirectoryError::NotAcme { status: 404, .. }),
        "{error}"
    );
}
