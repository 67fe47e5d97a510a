//! Revocation through the binary against Pebble, whose management interface has the last word.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use std::sync::Arc;

use dnseal_core::acme::{ExtraRoot, Revocation, RevocationReason, Transport, TransportOptions};
use dnseal_core::event::Events;
use dnseal_core::revoke::{Outcome, Request, RevocationError, Revoker, Subject, Way};
use dnseal_core::store::DirectoryStore;
use dnseal_sandbox::ca::{Answer, ErrorKind, Fault, Resource};
use dnseal_tests::{Dnseal, Run, Sandbox, Shop};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

fn serial(shop: &Shop, name: &str) -> String {
    let head = shop.head(name).unwrap();
    head["current"]["serial"].as_str().unwrap().to_owned()
}

fn status(shop: &Shop, serial: &str) -> Value {
    shop.pebble.cert_status(serial)
}

fn revoke(shop: &Shop, words: &[&str]) -> Dnseal {
    shop.command("revoke")
        .args(words)
        .args(["--output", "json", "--ca-root"])
        .arg(shop.pebble.ca_pem_path())
}

fn failed(run: &Run, code: i32, wanted: &[&str]) {
    assert_eq!(run.status.code(), Some(code), "{}", run.stderr);
    for wanted in wanted {
        assert!(
            run.stderr.contains(wanted),
            "no {wanted:?} in {}",
            run.stderr
        );
    }
}

/// A copy of two live files that outlives what is done to the store.
fn copies(shop: &Shop, name: &str) -> (PathBuf, PathBuf) {
    let copy = |file: &str| {
        let to = shop.home().join(format!("{name}-{file}"));
        fs::copy(shop.live(name, file), &to).unwrap();
        to
    };
    (copy("fullchain.pem"), copy("privkey.pem"))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn by_the_account() {
    let Some(shop) = Shop::open() else { return };
    shop.issue(&["example.test"]).run().success();
    let serial = serial(&shop, "example.test");
    assert_eq!(status(&shop, &serial)["Status"], "Valid");
    let done = revoke(&shop, &["example.test", "--reason", "superseded"]);
    let done = done.run().success().json();
    assert_eq!(done["signed_by"], "account", "{done:#}");
    assert_eq!(done["already_revoked"], false);
    assert_eq!(done["key_marked_compromised"], false);
    let at_ca = status(&shop, &serial);
    assert_eq!(at_ca["Status"], "Revoked", "{at_ca:#}");
    assert_eq!(at_ca["Reason"], 4, "{at_ca:#}");
    let head = shop.head("example.test").unwrap();
    assert_eq!(head["current"]["revoked"]["reason"], "superseded");

    let again = revoke(&shop, &["example.test"]).run().success().json();
    assert_eq!(again["already_revoked"], true);
    let head = shop.head("example.test").unwrap();
    assert_eq!(head["current"]["revoked"]["reason"], "superseded");

    // Asked for, there is a new one at once, and it is not revoked.
    shop.issue(&["example.test"]).run().success();
    let head = shop.head("example.test").unwrap();
    assert_eq!(head["current"]["number"], 2);
    assert_eq!(head["current"].get("revoked"), None);
    // The older version by its number, and nothing about the one in force changes.
    let older = revoke(&shop, &["example.test", "--cert-version", "1"]);
    let older = older.run().success();
    assert_eq!(older.json()["already_revoked"], true);
    let text = shop.command("revoke example.test --cert-version 1").run();
    assert!(!text.stdout.contains("still present"), "{text:?}");
    let head = shop.head("example.test").unwrap();
    assert_eq!(head["current"].get("revoked"), None);
}

#[test]
fn by_the_key_of_the_certificate() {
    let Some(shop) = Shop::open() else { return };
    for (name, kind) in [
        ("a.example.test", "ecdsa-p256"),
        ("b.example.test", "ecdsa-p384"),
        ("c.example.test", "rsa-2048"),
    ] {
        shop.issue(&[name])
            .args(["--key-type", kind])
            .run()
            .success();
        let serial = serial(&shop, name);
        let (cert, key) = copies(&shop, name);
        // Without a store, from anywhere.
        let run = revoke(
            &shop,
            &[
                "--cert-path",
                text(&cert),
                "--key-path",
                text(&key),
                "--ca",
                &shop.pebble.directory_url(),
                "--reason",
                "keyCompromise",
                "--dir",
                text(&shop.home().join(name)),
            ],
        );
        let run = Dnseal::clone(&run).run();
        failed(&run, 2, &["--dir"]);
        let done = Dnseal::new(shop.home())
            .args([
                "revoke",
                "--cert-path",
                text(&cert),
                "--key-path",
                text(&key),
            ])
            .args(["--reason", "keyCompromise", "--output", "json"])
            .args([
                "--ca",
                &shop.pebble.directory_url(),
                "--dir",
                name,
                "--ca-root",
            ])
            .arg(shop.pebble.ca_pem_path())
            .run()
            .success()
            .json();
        assert_eq!(done["signed_by"], "certificate-key", "{done:#}");
        assert_eq!(done["account"], Value::Null);
        assert_eq!(done["key_marked_compromised"], true);
        assert_eq!(status(&shop, &serial)["Status"], "Revoked", "{kind}");
        assert!(!shop.home().join(name).join("store/accounts").exists());
    }
}

#[test]
fn by_its_own_key_where_the_account_is_gone_or_closed() {
    let Some(shop) = Shop::open() else { return };
    shop.issue(&["a.example.test"]).run().success();
    shop.issue(&["c.example.test"]).run().success();
    let made = shop.pebble.count("POST", "/sign-me-up");

    // Pebble itself would take a closed account's word; that others do not is shown at the sandbox.
    let accounts = shop.dir().join("store/accounts");
    let root = shop.pebble.ca_pem_path();
    shop.command("account deactivate --yes")
        .arg("--ca-root")
        .arg(&root)
        .run()
        .success();
    let serial_a = serial(&shop, "a.example.test");
    let done = revoke(&shop, &["a.example.test"]).run().success().json();
    assert_eq!(done["signed_by"], "certificate-key", "{done:#}");
    let why = done["instead_of_account"].as_str().unwrap();
    assert!(why.contains("was deactivated on"), "{why}");
    assert_eq!(status(&shop, &serial_a)["Status"], "Revoked");

    fs::remove_dir_all(&accounts).unwrap();
    let serial_c = serial(&shop, "c.example.test");
    let run = shop
        .command("revoke c.example.test")
        .arg("--ca-root")
        .arg(&root)
        .run()
        .success();
    assert!(
        run.stdout
            .contains("signed by its own key, because the account it was ordered with"),
        "{run:?}"
    );
    assert_eq!(status(&shop, &serial_c)["Status"], "Revoked");
    assert!(!accounts.exists());
    assert_eq!(shop.pebble.count("POST", "/sign-me-up"), made);

    // Nobody is left who could ask.
    let version = shop
        .dir()
        .join("store/certificates/c.example.test/versions/0001.privkey.pem");
    fs::remove_file(version).unwrap();
    let run = revoke(&shop, &["c.example.test"]).run();
    failed(
        &run,
        2,
        &["nobody can ask for the revocation", "--key-path"],
    );
}

#[test]
fn a_compromised_key_stays_marked_when_the_certificate_is_deleted() {
    let Some(shop) = Shop::open() else { return };
    shop.issue(&["example.test"]).run().success();
    let serial = serial(&shop, "example.test");
    let words = ["example.test", "--reason", "key-compromise", "--delete"];
    let done = revoke(&shop, &words).run().success().json();
    assert_eq!(done["deleted"], true, "{done:#}");
    assert_eq!(status(&shop, &serial)["Status"], "Revoked");
    assert_eq!(shop.head("example.test"), None);
    assert!(!shop.live("example.test", "").exists());
    let marks = fs::read_dir(shop.dir().join("store/compromised-keys")).unwrap();
    let marks: Vec<Value> = marks
        .map(|entry| serde_json::from_slice(&fs::read(entry.unwrap().path()).unwrap()).unwrap())
        .collect();
    assert_eq!(marks.len(), 1);
    assert_eq!(marks[0]["serial"], serial);
    assert_eq!(marks[0]["certificate"], "example.test");
}

#[test]
fn a_compromised_key_is_refused_however_it_is_offered_again() {
    let Some(shop) = Shop::open() else { return };
    let openssl = |words: &[&str]| {
        let status = Command::new("openssl")
            .args(words)
            .current_dir(shop.home())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{words:?}");
    };
    let curve = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
    openssl(&[&["genpkey", "-out", "my.key"], &curve[..]].concat());
    let san = "subjectAltName=DNS:example.test";
    openssl(&[
        "req", "-new", "-key", "my.key", "-subj", "/", "-addext", san, "-out", "my.csr",
    ]);
    shop.issue(&["example.test"])
        .args(["--key-file", "my.key"])
        .run()
        .success();
    revoke(&shop, &["example.test", "--reason", "key-compromise"])
        .run()
        .success();
    let orders = || shop.pebble.count("POST", "/finalize-order");
    let before = orders();
    for (name, words) in [
        ("example.test", ["--key-file", "my.key"]),
        ("other.example.test", ["--key-file", "my.key"]),
        ("example.test", ["--csr", "my.csr"]),
    ] {
        let run = shop.issue(&[name]).args(words).run();
        let wanted = ["was marked as compromised", "take another key"];
        failed(&run, 2, &wanted);
    }
    assert_eq!(orders(), before, "the CA does not hear of it");

    // What would keep it makes a new one.
    let old = fs::read(shop.live("example.test", "privkey.pem")).unwrap();
    let run = shop.issue(&["example.test"]).arg("--reuse-key").run();
    let run = run.success();
    assert!(run.stderr.contains("making a new one"), "{run:?}");
    let new = fs::read(shop.live("example.test", "privkey.pem")).unwrap();
    assert_ne!(old, new);
}

#[test]
fn a_file_that_the_store_has_is_the_stores() {
    let Some(shop) = Shop::open() else { return };
    shop.issue(&["example.test"])
        .args(["--account", "work"])
        .run()
        .success();
    let (cert, _) = copies(&shop, "example.test");
    // No CA is named: the store knows it.
    let done = revoke(&shop, &["--cert-path", text(&cert)])
        .run()
        .success()
        .json();
    assert_eq!(done["name"], "example.test", "{done:#}");
    assert_eq!(done["signed_by"], "account");
    assert_eq!(done["account"]["id"], "work");
    let head = shop.head("example.test").unwrap();
    assert!(head["current"]["revoked"].is_object(), "{head:#}");
}

#[test]
fn what_cannot_be_revoked_says_why() {
    let Some(shop) = Shop::open() else { return };
    shop.issue(&["example.test"]).run().success();
    shop.issue(&["other.example.test"]).run().success();
    let (cert, _) = copies(&shop, "example.test");
    let (_, other_key) = copies(&shop, "other.example.test");
    let run = |words: &[&str]| revoke(&shop, words).run();
    failed(&run(&["nobody.test"]), 2, &["no certificate nobody.test"]);
    failed(
        &run(&["example.test", "--reason", "hold"]),
        2,
        &["is no reason", "superseded"],
    );
    failed(
        &run(&["example.test", "--cert-version", "7"]),
        2,
        &["no version 7"],
    );
    failed(
        &run(&["--cert-path", text(&cert), "--key-path", text(&other_key)]),
        2,
        &["is not the key of the certificate"],
    );
    failed(
        &run(&["example.test", "--key-path", text(&cert)]),
        2,
        &["no private key"],
    );
    failed(
        &run(&["--cert-path", text(&other_key)]),
        2,
        &["no block CERTIFICATE"],
    );
    failed(&run(&["--cert-path", "missing.pem"]), 2, &["missing.pem"]);
    failed(&run(&[]), 2, &["--cert-path"]);

    let empty = |more: &[&str]| {
        Dnseal::new(shop.home())
            .args(["revoke", "--cert-path", text(&cert), "--dir", "empty"])
            .args(more)
            .arg("--ca-root")
            .arg(shop.pebble.ca_pem_path())
            .run()
    };
    failed(&empty(&[]), 2, &["its CA has to be named", "--ca"]);
    let url = shop.pebble.directory_url();
    failed(
        &empty(&["--ca", &url]),
        2,
        &["there is no account", "--key-path"],
    );
    let serial = serial(&shop, "example.test");
    assert_eq!(status(&shop, &serial)["Status"], "Valid");
}

async fn at_sandbox(
    sandbox: &Sandbox,
    reason: RevocationReason,
) -> Result<Outcome, RevocationError> {
    let options = TransportOptions {
        extra_roots: vec![ExtraRoot {
            name: "sandbox".to_owned(),
            pem: sandbox.ca.tls_root_pem().as_bytes().to_vec(),
        }],
        ..TransportOptions::default()
    };
    let transport = Transport::new(options, Events::silent()).unwrap();
    let store = DirectoryStore::open(&sandbox.workbench.home().join("store")).unwrap();
    let request = Request {
        subject: Subject::Stored {
            id: "example.test".parse().unwrap(),
            version: None,
        },
        reason,
        account: None,
        key: None,
    };
    Revoker::new(Arc::new(store), transport, Events::silent())
        .revoke(&request, &CancellationToken::new())
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_and_lost_answers() {
    let sandbox = Sandbox::start().await;
    let issued = sandbox.issue(&["example.test"]).await.unwrap();
    let superseded = RevocationReason::Superseded;

    // What is not about the account is not asked for by the key.
    let no = Answer::problem(400, ErrorKind::BadRevocationReason, "not that one");
    sandbox
        .ca
        .faults()
        .next(Resource::Revoke, no.with_nonce(true));
    let error = at_sandbox(&sandbox, superseded).await.unwrap_err();
    let text = format!("{error} {}", error.hint().unwrap());
    assert!(
        text.contains("superseded") && text.contains("not that one"),
        "{text}"
    );
    assert!(text.contains("--reason"), "{text}");
    assert_eq!(sandbox.ca.requests(Resource::Revoke), 1);
    let head = sandbox.workbench.head(&issued.id).await.unwrap();
    assert_eq!(head.current.unwrap().revoked, None);

    // The CA has done it, and nobody heard.
    sandbox.ca.faults().next(Resource::Revoke, Fault::DropAfter);
    let outcome = at_sandbox(&sandbox, superseded).await.unwrap();
    assert_eq!(outcome.revocation, Revocation::Already);
    assert!(
        matches!(outcome.way, Way::Account { .. }),
        "{:?}",
        outcome.way
    );
    let head = sandbox.workbench.head(&issued.id).await.unwrap();
    assert_eq!(head.current.unwrap().revoked.unwrap().reason, superseded);
    assert!(sandbox.ca.issued().iter().all(|c| c.revoked.is_some()));

    // The CA takes the account for somebody else's.
    let again = sandbox
        .run(&sandbox.request(&["example.test"]))
        .await
        .unwrap();
    assert!(again.issued_now);
    let refused = Answer::problem(403, ErrorKind::Unauthorized, "not your certificate");
    sandbox
        .ca
        .faults()
        .next(Resource::Revoke, refused.with_nonce(true));
    let outcome = at_sandbox(&sandbox, superseded).await.unwrap();
    assert_eq!(outcome.way, Way::CertificateKey);
    assert!(outcome.instead.unwrap().contains("not your certificate"));
}
