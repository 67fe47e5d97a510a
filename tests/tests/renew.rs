//! `dnseal renew` against Pebble and BIND: who is due, what the CA is asked, and what is remembered.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use dnseal_core::store::CertId;
use dnseal_sandbox::ca::{Answer, Ca, ErrorKind, Resource};
use dnseal_tests::{Dnseal, Home, NameServer, Pebble, PebbleOptions, Sandbox, Shop, txt_values};
use serde_json::{Value, json};

const NAME: &str = "example.test";

/// `renew` with nothing but the secret.
fn renew(shop: &Shop, words: &str) -> Dnseal {
    shop.command(format!("renew {words}").trim())
        .env("RFC2136_TSIG_SECRET", &shop.key.secret_base64)
}

fn suggest(shop: &Shop, start: &str, end: &str) {
    let window = json!({
        "suggestedWindow": { "start": start, "end": end },
        "explanationURL": "https://ca.test/why",
    });
    say(shop, &window.to_string());
}

fn say(shop: &Shop, answer: &str) {
    let cert = fs::read_to_string(shop.live(NAME, "cert.pem")).unwrap();
    shop.pebble.set_renewal_info(&cert, answer);
    ask_again(shop, NAME);
}

/// Lets what the CA said last run out.
fn ask_again(shop: &Shop, name: &str) {
    change_head(shop, name, |head| {
        head["renewal"]["advice"]["ask_again"] = json!("2020-01-01T00:00:00Z");
    });
}

fn change_head(shop: &Shop, name: &str, change: impl FnOnce(&mut Value)) {
    let mut head = shop.head(name).unwrap();
    change(&mut head);
    let path = shop
        .dir()
        .join("store/certificates")
        .join(name)
        .join("head.json");
    fs::write(path, head.to_string()).unwrap();
}

fn make_private(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn private_dir(path: &Path) {
    fs::DirBuilder::new().mode(0o700).create(path).unwrap();
}

/// Gives another certificate the first version of ours, in the store and in `live`.
fn copy_version(shop: &Shop, to: &str) {
    let copy = |from: &Path, to: &Path| {
        private_dir(to);
        for entry in fs::read_dir(from).unwrap() {
            let from = entry.unwrap().path();
            fs::copy(&from, to.join(from.file_name().unwrap())).unwrap();
        }
    };
    let store = shop.dir().join("store/certificates");
    copy(
        &store.join(NAME).join("versions"),
        &store.join(to).join("versions"),
    );
    let live = shop.dir().join("live");
    let files = format!(".versions/{to}.0001");
    copy(&live.join(NAME), &live.join(&files));
    std::os::unix::fs::symlink(files, live.join(to)).unwrap();
}

fn version(shop: &Shop) -> u64 {
    shop.head(NAME).unwrap()["current"]["number"]
        .as_u64()
        .unwrap()
}

fn orders(shop: &Shop) -> usize {
    shop.pebble.count("POST", "/order-plz")
}

#[test]
fn the_ca_says_when_and_everybody_draws_the_same() {
    let Some(shop) = Shop::open() else { return };
    shop.issue(&[NAME, "*.example.test"]).run().success();
    let advice = &shop.head(NAME).unwrap()["renewal"]["advice"];
    assert!(
        advice["window"]["drawn"].is_string(),
        "asked when it was issued: {advice}"
    );

    // Quiet where nothing is due, and nobody is asked again within the time that the CA named.
    let before = shop.pebble.requests().len();
    let quiet = renew(&shop, "").run().success();
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
    assert_eq!(shop.pebble.requests().len(), before);

    // In the future: not yet, and the same time in every run.
    suggest(&shop, "2099-01-01T00:00:00Z", "2099-02-01T00:00:00Z");
    let json = renew(&shop, "--output json").run().success().json();
    assert_eq!(
        json["not_due"][0]["reason"]["because"], "lifetime",
        "after its end: {json:#}"
    );
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24);
    let later = soon + jiff::SignedDuration::from_hours(24);
    let mut drawn = Vec::new();
    for _ in 0..3 {
        suggest(&shop, &soon.to_string(), &later.to_string());
        let json = renew(&shop, "--output json").run().success().json();
        assert_eq!(
            json["not_due"][0]["reason"]["because"], "advised",
            "{json:#}"
        );
        drawn.push(json["not_due"][0]["renew_at"].clone());
    }
    assert!(
        drawn.iter().all(|at| *at == drawn[0] && at.is_string()),
        "{drawn:?}"
    );
    assert_eq!((version(&shop), orders(&shop)), (1, 1));

    // What is no window: the lifetime decides.
    for garbage in [
        "no JSON at all",
        r#"{"suggestedWindow": {"start": "2025-02-01T00:00:00Z", "end": "2025-01-01T00:00:00Z"}}"#,
    ] {
        say(&shop, garbage);
        let json = renew(&shop, "--output json").run().success().json();
        assert_eq!(
            json["not_due"][0]["reason"]["because"], "lifetime",
            "{json:#}"
        );
    }

    // In the past: now, and the order says what it replaces.
    suggest(&shop, "2025-01-01T00:00:00Z", "2025-01-02T00:00:00Z");
    let run = renew(&shop, "").run().success();
    assert!(
        run.stderr
            .contains("the CA suggests it (https://ca.test/why)"),
        "{run:?}"
    );
    assert!(run.stdout.contains("(version 2)"), "{run:?}");
    assert_eq!((version(&shop), orders(&shop)), (2, 2));
    shop.verify(NAME);
}

#[test]
fn what_was_asked_for_once_suffices() {
    let Some(shop) = Shop::open() else { return };
    let secret = shop.home().join("tsig.secret");
    fs::write(&secret, &shop.key.secret_base64).unwrap();
    make_private(&secret);
    shop.issue(&[NAME])
        .env("RFC2136_TSIG_SECRET", "")
        .env("RFC2136_TSIG_SECRET_FILE", &secret)
        .args(["--key-type", "rsa-2048", "--propagation-timeout", "30s"])
        .run()
        .success();
    let head = shop.head(NAME).unwrap();
    assert!(
        !head.to_string().contains(&shop.key.secret_base64),
        "{head:#}"
    );

    let run = shop.command("renew --force").run().success();
    assert!(run.stdout.contains("(version 2)"), "{run:?}");
    assert_eq!(shop.head(NAME).unwrap()["current"]["key_type"], "rsa-2048");

    // A secret that is nowhere any more is that certificate's failure, and is named.
    fs::remove_file(&secret).unwrap();
    let run = shop.command("renew --force").run().expect_code(2);
    assert!(run.stderr.contains("tsig.secret"), "{run:?}");
    renew(&shop, "--force").run().success();
    assert_eq!(version(&shop), 3);
}

#[test]
fn a_failure_is_left_alone_for_a_while() {
    let Some(shop) = Shop::open() else { return };
    shop.issue(&[NAME]).run().success();
    let wrong = "d3JvbmcgYnV0IGxvbmcgZW5vdWdoIGZvciBhIGtleQ==";
    let failed = renew(&shop, "--force")
        .env("RFC2136_TSIG_SECRET", wrong)
        .run();
    assert_ne!(failed.code(), 0, "{failed:?}");
    let failure = &shop.head(NAME).unwrap()["renewal"]["failure"];
    assert_eq!(failure["times"], 1, "{failure:#}");

    suggest(&shop, "2025-01-01T00:00:00Z", "2025-01-02T00:00:00Z");
    let held = renew(&shop, "").run().expect_code(7);
    assert!(
        held.stderr.contains("its last renewal has failed"),
        "{held:?}"
    );
    assert_eq!(version(&shop), 1);
    renew(&shop, "--force").run().success();
    assert_eq!(version(&shop), 2);
    assert_eq!(shop.head(NAME).unwrap()["renewal"].get("failure"), None);
}

#[test]
fn the_configuration_says_what_is_wanted_now() {
    let Some(shop) = Shop::open() else { return };
    shop.issue(&[NAME]).run().success();
    let path = shop.home().join("dnseal.yaml");
    let write = |certificates: &str| {
        let text = format!(
            "ca: {{ url: '{}', root: '{}' }}\nagree-tos: true\nproviders:\n  p: {{ kind: rfc2136, server: '{}', tsig: {{ name: {}, algorithm: {}, secret: {{ env: TSIG }} }} }}\n\
             propagation: {{ nameservers: ['{}'] }}\ncertificates:\n{certificates}",
            shop.pebble.directory_url(),
            shop.pebble.ca_pem_path().display(),
            shop.bind.addr(),
            shop.key.name,
            shop.key.algorithm,
            shop.bind.addr(),
        );
        fs::write(&path, text).unwrap();
        make_private(&path);
    };
    let renew = || {
        shop.command("renew --output json")
            .arg("--config")
            .arg(&path)
            .env("TSIG", &shop.key.secret_base64)
            .run()
    };
    write("  example.test: { names: [example.test] }\n");
    let json = renew().success().json();
    assert_eq!(json["certificates"], json!([]), "{json:#}");

    write(
        "  example.test: { names: [example.test, www.example.test] }\n  new: { names: [new.example.test] }\n",
    );
    let json = renew().success().json();
    assert_eq!(
        json["certificates"].as_array().unwrap().len(),
        2,
        "{json:#}"
    );
    assert_eq!(
        shop.head(NAME).unwrap()["current"]["names"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert!(shop.head("new").is_some());
    assert_eq!(
        shop.bind.updates("example.test"),
        2 + 2,
        "what is renewed together is written together"
    );

    write(
        "  example.test: { names: [example.test, www.example.test], key-type: ecdsa-p384, renew-before: 95% }\n",
    );
    let run = renew().success();
    assert!(
        run.stderr
            .contains("its key is ecdsa-p256, and ecdsa-p384 is wanted"),
        "{run:?}"
    );
}

#[test]
fn a_dry_run_proves_everything_and_leaves_nothing() {
    let Some(shop) = Shop::open() else { return };
    let Some(staging) = Pebble::start(PebbleOptions {
        reuse_authz: 100,
        ..PebbleOptions::new(shop.bind.addr())
    }) else {
        return;
    };
    let both = shop.home().join("both.pem");
    let mut roots = fs::read_to_string(shop.pebble.ca_pem_path()).unwrap();
    roots.push_str(&fs::read_to_string(staging.ca_pem_path()).unwrap());
    fs::write(&both, roots).unwrap();
    let unknown = shop.issue(&[NAME]).arg("--dry-run").run().expect_code(2);
    assert!(unknown.stderr.contains("--staging URL"), "{unknown:?}");

    let dry = |dnseal: Dnseal| {
        dnseal
            .arg("--dry-run")
            .env("DNSEAL_STAGING", staging.directory_url())
            .env("TMPDIR", shop.home())
    };
    let issue = |names: &[&str]| shop.issue(names).arg("--ca-root").arg(&both);
    let run = dry(issue(&[NAME, "*.example.test"])).run().success();
    assert!(
        run.stdout.contains("can be issued; 2 names proven"),
        "{run:?}"
    );
    assert_eq!(shop.pebble.count("POST", "/order-plz"), 0);
    assert_eq!(staging.count("POST", "/order-plz"), 1);
    assert!(shop.head(NAME).is_none());
    assert_eq!(
        txt_values(shop.bind.addr(), "_acme-challenge.example.test"),
        [""; 0]
    );
    let left: Vec<_> = fs::read_dir(shop.home())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert!(
        left.iter()
            .all(|name| !name.to_string_lossy().contains("dry-run")),
        "{left:?}"
    );

    issue(&[NAME])
        .env("DNSEAL_STAGING", staging.directory_url())
        .run()
        .success();
    let before = fs::read(shop.dir().join("store/certificates/example.test/head.json")).unwrap();
    let run = renew(&shop, "--dry-run")
        .env("TMPDIR", shop.home())
        .run()
        .success();
    assert!(run.stdout.contains("example.test can be issued"), "{run:?}");
    let after = fs::read(shop.dir().join("store/certificates/example.test/head.json")).unwrap();
    assert_eq!(before, after, "nothing is touched");
    assert_eq!(staging.count("POST", "/order-plz"), 2);
    // Made for the run, and ended with it.
    let accounts = staging.count("POST", "/sign-me-up");
    assert_eq!(accounts, 2);
    assert_eq!(staging.count("POST", "/my-account/"), accounts);
}

#[test]
fn of_a_thousand_only_those_that_are_due() {
    let Some(shop) = Shop::open() else { return };
    shop.issue(&[NAME]).run().success();
    let store = shop.dir().join("store/certificates");
    let text = fs::read_to_string(store.join(NAME).join("head.json")).unwrap();
    for n in 0..999 {
        let name = format!("h{n}.example.test");
        let dir = store.join(&name);
        private_dir(&dir);
        copy_version(&shop, &name);
        let mut head: Value =
            serde_json::from_str(&text.replace("\"example.test\"", &format!("\"{name}\"")))
                .unwrap();
        if n < 2 {
            head["current"]["not_after"] = json!("2026-01-01T00:00:00Z");
        }
        if n == 2 {
            // The CA is asked, knows nothing of it, and it is not due.
            head["renewal"]["advice"]["ask_again"] = json!("2020-01-01T00:00:00Z");
        }
        fs::write(dir.join("head.json"), head.to_string()).unwrap();
        make_private(&dir.join("head.json"));
    }
    change_head(&shop, NAME, |head| {
        head["current"]["key_type"] = json!("rsa-2048")
    });
    change_head(&shop, NAME, |head| {
        head["renewal"]["recipe"]["key-type"] = json!("ecdsa-p256");
    });
    let asked = |shop: &Shop| {
        let requests = shop.pebble.requests();
        requests
            .iter()
            .filter(|r| r.path.contains("renewalInfo"))
            .count()
    };
    let listed = shop.command("list --output json").run().success().json();
    assert_eq!(listed["certificates"].as_array().unwrap().len(), 1000);
    assert_eq!(
        listed["certificates"][0]["renewal"]["reason"]["because"],
        "changed"
    );
    let before = (orders(&shop), asked(&shop));
    let run = renew(&shop, "").run().success();
    assert!(run.stdout.contains("997 others are not due"), "{run:?}");
    assert_eq!(orders(&shop) - before.0, 3);
    // One whose answer has run out, and each new certificate once.
    assert_eq!(asked(&shop) - before.1, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_says_what_it_replaces_and_does_without_where_the_ca_refuses() {
    let sandbox = Sandbox::start().await;
    let mut request = sandbox.request(&[NAME]);
    request.force = true;
    let first = sandbox.run(&request).await.unwrap();
    let ari_id = first.version.ari_id.clone().unwrap();
    sandbox.run(&request).await.unwrap();
    let orders = sandbox.ca.orders();
    assert_eq!(orders[0].replaces, None);
    assert_eq!(orders[1].replaces, Some(ari_id));

    let refused = Answer::problem(403, ErrorKind::Unauthorized, "another account");
    sandbox.ca.faults().next(Resource::NewOrder, refused);
    let third = sandbox.run(&request).await.unwrap();
    assert_eq!(third.version.number, 3);
    assert_eq!(sandbox.ca.orders()[2].replaces, None);
    let id: CertId = NAME.parse().unwrap();
    let head = sandbox.workbench.head(&id).await.unwrap();
    assert_eq!(
        head.renewal.advice.unwrap().certificate,
        third.version.ari_id.unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_certificate_that_renewal_fails_to_get_stays_in_the_list() {
    let sandbox = Sandbox::start().await;
    let home = Home::new(&sandbox, "");
    home.dnseal(&["issue", NAME]).run().success();
    // What a killed first run leaves.
    let path = "state/store/certificates/example.test/head.json";
    let path = home.path().join(path);
    let mut head: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    head.as_object_mut().unwrap().remove("current");
    head["renewal"].as_object_mut().unwrap().remove("advice");
    fs::write(&path, head.to_string()).unwrap();
    let refused = Answer::problem(403, ErrorKind::Unauthorized, "not today");
    sandbox.ca.faults().next(Resource::NewOrder, refused);
    home.dnseal(&["renew"]).run().expect_code(6);
    let list = home.dnseal(&["list"]).run().success();
    assert!(
        list.stdout.contains("never issued, failed 1 time"),
        "{list:?}"
    );
    let held = home.dnseal(&["renew"]).run().expect_code(7);
    assert!(held.stderr.contains("not today"), "{held:?}");
    home.dnseal(&["renew", "--force"]).run().success();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_ca_lists_as_revoked_is_renewed_at_once() {
    let sandbox = Sandbox::with_ca(Ca::builder().revocation_list(true)).await;
    let certificates =
        "certificates:\n  example.test: { names: [example.test], reuse-key: true }\n";
    let home = Home::new(&sandbox, certificates);
    home.dnseal(&["renew"]).run().success();
    let first = sandbox.ca.issued().remove(0);
    let month = jiff::SignedDuration::from_hours(30 * 24);
    let later = jiff::Timestamp::now() + month;
    // So that only the list tells.
    sandbox
        .ca
        .set_renewal_window(&first.serial, later, later + month, None);

    let path = home
        .path()
        .join("state/store/certificates/example.test/head.json");
    let head = || -> Value { serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap() };
    let change = |change: &dyn Fn(&mut Value)| {
        let mut head = head();
        change(&mut head);
        fs::write(&path, head.to_string()).unwrap();
    };
    let renew = || {
        let run = home.dnseal(&["renew", "--output", "json"]).run().success();
        (run.json(), run.stderr)
    };
    let read = || sandbox.ca.requests(Resource::RevocationList);

    // Not on the day that it was issued; then once, and not again for a while.
    change(&|head| head["renewal"]["advice"]["ask_again"] = json!("2020-01-01T00:00:00Z"));
    assert_eq!(renew().0["certificates"], json!([]));
    assert_eq!(read(), 0);
    change(&|head| head["current"]["issued"] = json!("2026-01-01T00:00:00Z"));
    for _ in 0..2 {
        assert_eq!(renew().0["certificates"], json!([]));
        assert_eq!(
            (read(), &head()["renewal"]["listing"]["revoked"]),
            (1, &Value::Null)
        );
    }

    // Something else in its place says nothing.
    sandbox.ca.revoke(&first.serial, Some(1));
    let run_out = |head: &mut Value| {
        head["renewal"]["listing"]["look_again"] = json!("2020-01-01T00:00:00Z");
    };
    change(&run_out);
    let wrong = Answer::new(200, "application/pkix-crl", "no list");
    sandbox.ca.faults().next(Resource::RevocationList, wrong);
    assert_eq!(renew().0["certificates"], json!([]));
    assert_eq!(read(), 2);

    change(&run_out);
    let (json, said) = renew();
    assert_eq!(json["certificates"][0]["version"], 2, "{json:#}");
    assert!(said.contains("because it is revoked"), "{said}");
    assert!(said.contains("was marked as compromised"), "{said}");
    let key = |issued: &dnseal_sandbox::ca::IssuedCertificate| {
        let (_, parsed) = x509_parser::parse_x509_certificate(&issued.der).unwrap();
        parsed.public_key().raw.to_vec()
    };
    let issued = sandbox.ca.issued();
    assert_ne!(
        key(&issued[0]),
        key(&issued[1]),
        "the CA said that it is known"
    );
    assert_eq!(head()["renewal"].get("listing"), None);
    assert_eq!(renew().0["certificates"], json!([]));
}
