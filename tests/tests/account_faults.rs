//! Accounts at a CA that loses answers, refuses, lies about success, or has no key change; and ZeroSSL's form for e-mail.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::{Arc, Mutex};

use axum::{Router, routing::post};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use dnseal_core::account::{Accounts, AccountsError, Foreign, How, Obtained, Terms, Wish};
use dnseal_core::acme::{
    AccountError, AccountKey, Ca, ExternalAccount, ExtraRoot, KeyType, Transport, TransportOptions,
};
use dnseal_core::event::Events;
use dnseal_core::store::{AccountId, DirectoryStore, StoredAccount};
use dnseal_sandbox::ca::{self, Answer, CaBuilder, ErrorKind, Fault, Resource};
use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A sandbox CA, and a store with accounts there.
struct Desk {
    ca: ca::Ca,
    home: TempDir,
    resolved: Ca,
}

impl Desk {
    async fn open(builder: CaBuilder) -> Self {
        let ca = builder.start().await.unwrap();
        let resolved = Ca::resolve(&ca.directory_url(), KeyType::default()).unwrap();
        Self {
            ca,
            home: TempDir::new().unwrap(),
            resolved,
        }
    }

    fn store(&self) -> DirectoryStore {
        DirectoryStore::open(&self.home.path().join("store")).unwrap()
    }

    fn accounts(&self) -> Accounts {
        let options = TransportOptions {
            extra_roots: vec![ExtraRoot {
                name: "sandbox".to_owned(),
                pem: self.ca.tls_root_pem().as_bytes().to_vec(),
            }],
            ..TransportOptions::default()
        };
        let transport = Transport::new(options, Events::silent()).unwrap();
        Accounts::new(Arc::new(self.store()), transport, Events::silent())
    }

    fn id(&self) -> AccountId {
        AccountId::for_directory(&self.resolved.url)
    }

    async fn register(&self, contacts: &[String]) -> Result<Obtained, AccountsError> {
        let wish = Wish {
            id: self.id(),
            ca: &self.resolved,
            contacts,
            terms: &Terms::Agreed,
            external_account: None,
        };
        let cancel = CancellationToken::new();
        self.accounts().register(&wish, &cancel).await
    }

    async fn rollover(&self) -> Result<bool, AccountsError> {
        let cancel = CancellationToken::new();
        let (_, rollover) = self.accounts().rollover(&self.id(), &cancel).await?;
        Ok(rollover.resumed)
    }

    async fn import(&self, key: &str) -> Result<bool, AccountsError> {
        let foreign = Foreign::from_key(&key.to_owned().into()).unwrap();
        let cancel = CancellationToken::new();
        let imported = self
            .accounts()
            .import(
                &"imported".parse().unwrap(),
                &self.resolved.url,
                &foreign,
                &cancel,
            )
            .await?;
        Ok(imported.rollover.is_some())
    }

    async fn stored(&self) -> StoredAccount {
        let stored = StoredAccount::load(&self.store(), &self.id())
            .await
            .unwrap();
        stored.unwrap().0
    }

    /// That the account can sign with what is stored.
    async fn works(&self) {
        let cancel = CancellationToken::new();
        self.accounts().show(&self.id(), &cancel).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_a_key_change_is_found_out() {
    let desk = Desk::open(ca::Ca::builder()).await;
    desk.register(&[]).await.unwrap();
    let before = desk.stored().await;
    desk.ca.faults().next(Resource::KeyChange, Fault::DropAfter);
    assert!(!desk.rollover().await.unwrap());
    let after = desk.stored().await;
    assert_eq!(after.url, before.url);
    assert!(after.pending_key.is_none());
    desk.works().await;

    // Not heard at all: both keys stay, and the next one goes on with the same.
    desk.ca
        .faults()
        .next(Resource::KeyChange, Fault::DropBefore);
    let error = desk.rollover().await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(desk.stored().await.pending_key.is_some());
    desk.works().await;
    assert!(desk.rollover().await.unwrap());
    assert!(desk.stored().await.pending_key.is_none());
    desk.works().await;
    assert_eq!(desk.ca.accounts().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn success_alone_proves_nothing() {
    let desk = Desk::open(ca::Ca::builder()).await;
    desk.register(&[]).await.unwrap();
    let lie = Answer::new(200, "application/json", "");
    desk.ca.faults().next(Resource::KeyChange, lie);
    let error = desk.rollover().await.unwrap_err();
    assert!(matches!(error, AccountsError::Unchanged { .. }), "{error}");
    desk.works().await;
    assert!(desk.rollover().await.unwrap());
    desk.works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_change_leaves_the_old_key_alone() {
    let desk = Desk::open(ca::Ca::builder()).await;
    desk.register(&[]).await.unwrap();
    let no = Answer::problem(403, ErrorKind::Unauthorized, "no key change today");
    desk.ca
        .faults()
        .next(Resource::KeyChange, no.with_nonce(true));
    let error = desk.rollover().await.unwrap_err();
    assert!(error.to_string().contains("no key change today"), "{error}");
    assert!(desk.stored().await.pending_key.is_none());
    desk.works().await;
    assert!(!desk.rollover().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_without_key_change_takes_over_no_other_kinds_of_key() {
    let desk = Desk::open(ca::Ca::builder()).await;
    let registered = desk.register(&[]).await.unwrap();
    let client = registered.account.client();
    let directory = client.directory();
    let poor = json!({
        "newNonce": directory.new_nonce,
        "newAccount": directory.new_account,
        "newOrder": directory.new_order,
    });
    let poor = Answer::new(200, "application/json", poor.to_string());

    // An account with a P-384 key, as another tool makes one.
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let key = pair.serialize_pem();
    let error = desk.import(&key).await.unwrap_err();
    assert!(matches!(error, AccountsError::UnknownKey { .. }), "{error}");

    desk.ca.faults().always(Resource::Directory, poor);
    let error = desk.rollover().await.unwrap_err();
    assert!(error.to_string().contains("has no key change"), "{error}");
    assert!(desk.stored().await.pending_key.is_none());
    // A key of our own kind needs none.
    let ours = AccountKey::from_pkcs8(&desk.stored().await.key).unwrap();
    let jwk = secrecy::ExposeSecret::expose_secret(&ours.to_private_jwk()).to_owned();
    assert!(!desk.import(&jwk).await.unwrap());
    assert!(!desk.import(&jwk).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_sent_to_both_pages() {
    let desk = Desk::open(ca::Ca::builder()).await;
    let body = json!({
        "type": "urn:ietf:params:acme:error:userActionRequired",
        "detail": "the terms have changed",
        "instance": "https://ca.test/agree?token=1",
    });
    let changed = Answer::new(403, "application/problem+json", body.to_string())
        .link("https://ca.test/terms/2", "terms-of-service")
        .with_nonce(true);
    desk.ca.faults().next(Resource::NewAccount, changed);
    let error = desk.register(&[]).await.unwrap_err();
    let text = format!("{error} {}", error.hint().unwrap());
    for wanted in [
        "the terms have changed",
        "https://ca.test/agree?token=1",
        "https://ca.test/terms/2",
    ] {
        assert!(text.contains(wanted), "no {wanted} in {text}");
    }
    assert!(!error.is_retryable());
    assert_eq!(desk.ca.accounts().len(), 0);
    // Once somebody has been there, the same key is used.
    assert_eq!(desk.register(&[]).await.unwrap().how, How::Registered);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_lost_by_the_answer_is_found_by_its_key() {
    let desk = Desk::open(ca::Ca::builder()).await;
    desk.ca
        .faults()
        .next(Resource::NewAccount, Fault::DropAfter);
    let registered = desk.register(&[]).await.unwrap();
    assert_eq!(desk.ca.accounts().len(), 1);
    assert_eq!(registered.stored.url, desk.stored().await.url);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_for_an_email_address() {
    const HMAC: [u8; 32] = [7; 32];
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = asked.clone();
    let form = post(move |body: String| async move {
        let form: reqwest::Url = format!("http://form/?{body}").parse().unwrap();
        let (name, email) = form.query_pairs().next().unwrap();
        assert_eq!(name, "email");
        log.lock().unwrap().push(email.to_string());
        let key = BASE64_URL_SAFE_NO_PAD.encode(HMAC);
        match email.contains('@') {
            true => json!({ "success": true, "eab_kid": "kid-by-email", "eab_hmac_key": key }),
            false => {
                json!({ "success": false, "error": { "code": 2900, "type": "invalid_email" } })
            }
        }
        .to_string()
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!(
        "http://{}/acme/eab-credentials-email",
        listener.local_addr().unwrap()
    );
    let router = Router::new().route("/acme/eab-credentials-email", form);
    tokio::spawn(async move { axum::serve(listener, router).await });

    let builder = ca::Ca::builder()
        .eab("kid-by-email", HMAC)
        .eab_required(true);
    let mut desk = Desk::open(builder).await;
    desk.resolved.eab_by_email = Some(endpoint.parse().unwrap());
    // Without an address nobody is asked, and nothing is left behind.
    let error = desk.register(&[]).await.unwrap_err();
    let required = AccountsError::Account(AccountError::ExternalAccountRequired { website: None });
    assert_eq!(error.to_string(), required.to_string());
    assert!(asked.lock().unwrap().is_empty());

    let error = desk.register(&["nobody".to_owned()]).await.unwrap_err();
    assert!(error.to_string().contains("invalid_email"), "{error}");
    assert!(error.hint().unwrap().contains("--eab-kid"));
    let contacts = ["mailto:ops+1@example.com".to_owned()];
    let made = desk.register(&contacts).await.unwrap();
    assert_eq!(made.stored.eab_kid.as_deref(), Some("kid-by-email"));
    assert_eq!(desk.register(&contacts).await.unwrap().how, How::Kept);
    assert_eq!(*asked.lock().unwrap(), ["nobody", "ops+1@example.com"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_external_account_that_was_used_before_is_told_and_another_one_works() {
    const HMAC: [u8; 32] = [7; 32];
    let desk = Desk::open(ca::Ca::builder().eab("second", HMAC).eab_required(true)).await;
    let register = async |kid: &str| {
        let key = BASE64_URL_SAFE_NO_PAD.encode(HMAC).into();
        let pair = ExternalAccount::parse(kid, &key).unwrap();
        let wish = Wish {
            id: desk.id(),
            ca: &desk.resolved,
            contacts: &[],
            terms: &Terms::Agreed,
            external_account: Some(&pair),
        };
        let cancel = CancellationToken::new();
        desk.accounts().register(&wish, &cancel).await
    };
    let used = "the external account key was used before";
    let answer = Answer::problem(401, ErrorKind::Unauthorized, used).with_nonce(true);
    desk.ca.faults().next(Resource::NewAccount, answer);
    let error = register("first").await.unwrap_err();
    assert!(error.to_string().contains(used), "{error}");
    let hint = error.hint().unwrap();
    assert!(hint.contains("never used before"), "{hint}");
    assert!(desk.ca.accounts().is_empty());
    let made = register("second").await.unwrap();
    assert_eq!(made.stored.eab_kid.as_deref(), Some("second"));
    assert_eq!(desk.ca.accounts().len(), 1);
}
