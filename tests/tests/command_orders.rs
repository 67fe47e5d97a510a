//! What may be asked of a certificate beyond its names: the binary against Pebble and BIND.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use dnseal_tests::{NameServer, Profile, Shop, TsigKey, ZoneSpec};
use serde_json::Value;

const BOTH: [&str; 2] = ["example.test", "*.example.test"];

fn openssl(args: &[&str], in_dir: &Path) -> String {
    let output = Command::new("openssl")
        .args(args)
        .current_dir(in_dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn issued(shop: &Shop, names: &[&str], more: &[&str]) -> Value {
    let run = shop
        .issue(names)
        .args(["--output", "json"])
        .args(more)
        .run()
        .success();
    run.json()["certificates"][0].clone()
}

fn public_key(shop: &Shop) -> String {
    let cert = shop.live("example.test", "cert.pem");
    openssl(
        &["x509", "-noout", "-pubkey", "-in", cert.to_str().unwrap()],
        shop.home(),
    )
}

#[test]
fn profiles_default_and_shortlived() {
    let Some(shop) = Shop::open_with(|pebble| {
        pebble.profiles = vec![
            Profile::new("default", Duration::from_hours(90 * 24)),
            Profile::new("shortlived", Duration::from_hours(6 * 24)),
        ];
    }) else {
        return;
    };
    let run = shop.issue(&BOTH).args(["--profile", "shortlive"]).run();
    assert_eq!(run.code(), 2, "{run:?}");
    assert!(
        run.stderr.contains(
            "error: the CA offers no profile `shortlive`\n\nhint: it offers default, shortlived"
        ),
        "{run:?}"
    );
    assert_eq!(shop.pebble.count("POST", "/sign-me-up"), 0);

    let document = issued(&shop, &BOTH, &["--profile", "shortlived"]);
    assert_eq!(document["profile"], "shortlived");
    assert_eq!(document["issued_now"], true);
    let run = shop
        .issue(&BOTH)
        .args(["--profile", "default", "--plan"])
        .run()
        .success();
    assert!(
        run.stdout
            .contains("its profile is shortlived, and default is wanted"),
        "{run:?}"
    );
    let document = issued(&shop, &BOTH, &["--preferred-profile", "classic"]);
    assert_eq!(document["profile"], Value::Null);
}

#[test]
fn the_chain_that_is_preferred() {
    let Some(shop) = Shop::open_with(|pebble| {
        pebble.alternate_roots = 2;
        pebble.chain_length = 3;
    }) else {
        return;
    };
    let subject = |number: u32| {
        let file = shop.home().join(format!("root-{number}.pem"));
        fs::write(&file, shop.pebble.root_pem(number)).unwrap();
        let args = ["x509", "-noout", "-subject", "-nameopt", "multiline", "-in"];
        let text = openssl(
            &[&args[..], &[file.to_str().unwrap()]].concat(),
            shop.home(),
        );
        let name = text.split("commonName").nth(1).unwrap();
        (name.trim_start_matches([' ', '=']).trim().to_owned(), file)
    };
    let (other, root) = subject(2);
    let document = issued(&shop, &BOTH, &["--preferred-chain", &other]);
    assert_eq!(document["top_issuer"], other.as_str());
    openssl(
        &[
            "verify",
            "-CAfile",
            root.to_str().unwrap(),
            "-untrusted",
            shop.live("example.test", "chain.pem").to_str().unwrap(),
            shop.live("example.test", "cert.pem").to_str().unwrap(),
        ],
        shop.home(),
    );
    let again = issued(&shop, &BOTH, &["--preferred-chain", &other]);
    assert_eq!(again["issued_now"], false);

    let run = shop
        .issue(&BOTH)
        .args(["--preferred-chain", "Nobody's Root"])
        .run()
        .success();
    assert!(
        run.stderr
            .contains("the CA offers no chain to `Nobody's Root`; its default one is used"),
        "{run:?}"
    );
    assert!(run.stderr.contains(&other), "{run:?}");
}

#[test]
fn a_signing_request_in_pem_and_in_der() {
    let Some(shop) = Shop::open() else { return };
    let home = shop.home();
    let request = [
        "req",
        "-new",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "my.key",
        "-subj",
        "/",
        "-addext",
        "subjectAltName=DNS:example.test,DNS:*.example.test",
        "-out",
        "my.csr",
    ];
    openssl(&request, home);
    let der = ["req", "-in", "my.csr", "-outform", "DER", "-out", "my.der"];
    openssl(&der, home);
    let document = issued(&shop, &[], &["--csr", "my.csr"]);
    assert_eq!(document["name"], "example.test");
    assert_eq!(document["key_type"], "rsa-2048");
    assert_eq!(document["files"]["privkey"], Value::Null);
    assert!(!shop.live("example.test", "privkey.pem").exists());
    let ours = openssl(&["pkey", "-in", "my.key", "-pubout"], home);
    assert_eq!(public_key(&shop), ours);
    shop.verify("example.test");
    // The same request, in another form.
    let again = issued(&shop, &[], &["--csr", "my.der"]);
    assert_eq!(again["issued_now"], false);

    let run = shop
        .issue(&["www.example.test"])
        .args(["--csr", "my.csr"])
        .run();
    assert_eq!(run.code(), 2, "{run:?}");
    assert!(run.stderr.contains("is for other names"), "{run:?}");
    let mut bytes = fs::read(home.join("my.der")).unwrap();
    let at = bytes.windows(7).position(|w| w == b"example").unwrap();
    bytes[at] = b'f';
    fs::write(home.join("bad.der"), bytes).unwrap();
    let run = shop.issue(&[]).args(["--csr", "bad.der"]).run();
    assert_eq!(run.code(), 2, "{run:?}");
    assert!(
        run.stderr
            .contains("cannot use the signing request bad.der: its signature does not fit"),
        "{run:?}"
    );
    let run = shop.issue(&[]).args(["--csr", "my.key"]).run();
    assert!(run.stderr.contains("--key-file"), "{run:?}");
    assert!(!run.stderr.contains("PRIVATE KEY-----\n"), "{run:?}");
}

#[test]
fn keys_of_ones_own_kept_and_new() {
    let Some(shop) = Shop::open() else { return };
    let home = shop.home();
    let ec = [
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-384",
        "-out",
        "my.key",
    ];
    openssl(&ec, home);
    let ours = openssl(&["pkey", "-in", "my.key", "-pubout"], home);
    let document = issued(&shop, &BOTH, &["--key-file", "my.key"]);
    assert_eq!(document["key_type"], "ecdsa-p384");
    assert_eq!(public_key(&shop), ours);
    let run = shop
        .issue(&BOTH)
        .args(["--key-file", "my.key", "--key-type", "rsa-2048"])
        .run();
    assert_eq!(run.code(), 2, "{run:?}");
    assert!(
        run.stderr
            .contains("is ecdsa-p384, and rsa-2048 was asked for"),
        "{run:?}"
    );
    let locked = [
        "pkey",
        "-in",
        "my.key",
        "-aes256",
        "-passout",
        "pass:x",
        "-out",
        "locked.key",
    ];
    openssl(&locked, home);
    let run = shop.issue(&BOTH).args(["--key-file", "locked.key"]).run();
    assert!(
        run.stderr
            .contains("cannot use the key locked.key: the private key is encrypted"),
        "{run:?}"
    );

    let keep = ["--key-type", "ecdsa-p384", "--reuse-key", "--force"];
    issued(&shop, &BOTH, &keep);
    assert_eq!(public_key(&shop), ours);
    let new = ["--key-type", "ecdsa-p384", "--reuse-key", "--new-key"];
    issued(&shop, &BOTH, &new);
    assert_ne!(public_key(&shop), ours);
}

#[test]
fn stapling_and_validity_are_in_the_certificate() {
    let Some(shop) = Shop::open() else { return };
    let document = issued(&shop, &BOTH, &["--must-staple", "--not-after", "+20d"]);
    let begin: jiff::Timestamp = document["not_before"].as_str().unwrap().parse().unwrap();
    let end: jiff::Timestamp = document["not_after"].as_str().unwrap().parse().unwrap();
    assert!(end.duration_since(begin).as_hours() <= 20 * 24 + 24);
    let cert = shop.live("example.test", "cert.pem");
    let text = openssl(
        &["x509", "-noout", "-text", "-in", cert.to_str().unwrap()],
        shop.home(),
    );
    assert!(text.contains("TLS Feature"), "{text}");
    let run = shop.issue(&BOTH).args(["--not-after", "soon"]).run();
    assert_eq!(run.code(), 2, "{run:?}");
    assert!(
        run.stderr.contains("--not-after: `soon` is neither"),
        "{run:?}"
    );
    // What Let's Encrypt is known to refuse needs no order to find out.
    let run = shop
        .command(
            "issue a.test --must-staple --ca letsencrypt --provider rfc2136 --set server=127.0.0.1 --set unsigned=true",
        )
        .run();
    assert_eq!(run.code(), 2, "{run:?}");
    assert!(run.stderr.contains("demand stapling"), "{run:?}");
}

#[test]
fn names_that_fail_are_left_out_and_told() {
    let zones = |key: &TsigKey| {
        ["example.test", "other.test"]
            .map(|zone| ZoneSpec::new(zone).updated_by(key))
            .to_vec()
    };
    // Pebble panics about a name with fewer labels than a blocked one.
    let Some(shop) = Shop::open_zones(zones, |pebble| {
        pebble.blocklist = vec!["other.test".to_owned()];
    }) else {
        return;
    };
    let names = ["example.test", "www.other.test", "nobodys.invalid"];
    let run = shop.issue(&names).run();
    assert_ne!(run.code(), 0, "{run:?}");
    let document = issued(&shop, &names, &["--allow-subset"]);
    let left: Vec<&str> = document["left_out"]
        .as_array()
        .unwrap()
        .iter()
        .map(|left| left["name"].as_str().unwrap())
        .collect();
    assert_eq!(left, ["nobodys.invalid", "www.other.test"], "{document:#}");
    assert_eq!(document["names"], serde_json::json!(["example.test"]));
    let head = shop.head("example.test").unwrap();
    assert_eq!(head["current"]["left_out"].as_array().unwrap().len(), 2);
    let run = shop.command("show example.test").run().success();
    assert!(run.stdout.contains("www.other.test: "), "{run:?}");
    let again = issued(&shop, &names, &["--allow-subset"]);
    assert_eq!(again["issued_now"], false);
    let run = shop.issue(&["www.other.test"]).arg("--allow-subset").run();
    assert_eq!(run.code(), 6, "{run:?}");
}

#[test]
fn cas_in_order_of_preference_from_the_configuration() {
    let zone = |key: &TsigKey| vec![ZoneSpec::new("example.test").updated_by(key)];
    let Some(shop) = Shop::open_zones(zone, |_| {}) else {
        return;
    };
    // Nobody listens there.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let down = format!("https://{}/dir", gone.local_addr().unwrap());
    drop(gone);
    let config = |rest: &str| {
        format!(
            "ca:\n  - {down}\n  - {{ url: '{}', root: '{}' }}\nagree-tos: true\nproviders:\n  one: {{ kind: rfc2136, server: '{}', tsig: {{ name: {}, secret: '{}' }} }}\nzones:\n  example.test: {{ provider: one, propagation: {{ nameservers: ['{}'] }} }}\n{rest}",
            shop.pebble.directory_url(),
            shop.pebble.ca_pem_path().display(),
            shop.bind.addr(),
            shop.key.name,
            shop.key.secret_base64,
            shop.bind.addr(),
        )
    };
    let path = shop.home().join("dnseal.yaml");
    let run = |text: &str, words: &str| {
        fs::write(&path, config(text)).unwrap();
        shop.command(words).arg("--config").arg(&path).run()
    };
    let certificate = "certificates:\n  shop: { names: [example.test], reuse-key: true, preferred-profile: shortlived }\n";
    let plan = run(certificate, "issue shop --plan").success();
    assert!(plan.stdout.contains("other CAs"), "{plan:?}");
    assert!(
        plan.stdout.contains("kept from version to version"),
        "{plan:?}"
    );
    let first = run(certificate, "issue shop").success();
    let said = format!(
        "does not issue: {}",
        down.trim_start_matches("https://").trim_end_matches("/dir")
    );
    assert!(first.stderr.contains(&said), "{first:?}");
    assert!(first.stdout.contains("issued by"), "{first:?}");
    let document = run(certificate, "issue shop --output json")
        .success()
        .json();
    assert_eq!(document["certificates"][0]["issued_now"], false);
    assert_eq!(
        document["certificates"][0]["directory"],
        shop.pebble.directory_url()
    );

    for (text, said) in [
        (
            "certificates:\n  a: { csr: a.csr, reuse-key: true }\n",
            "`reuse-key` does not go with `csr`",
        ),
        (
            "certificates:\n  a: { key-type: rsa-2048 }\n",
            "has no names",
        ),
        (
            "certificates:\n  a: { names: [a.test], profile: x, preferred-profile: y }\n",
            "one of the two",
        ),
        (
            "certificates:\n  a: { names: [a.test], not-after: soon }\n",
            "`soon` is neither",
        ),
        (
            "certificates:\n  a: { names: [a.test], ca: [] }\n",
            "at least one",
        ),
        (
            "certificates:\n  a: { names: [a.test], ca: [zerossl, zerossl] }\n",
            "stands here twice",
        ),
    ] {
        let failed = run(text, "issue");
        assert_eq!(failed.code(), 2, "{failed:?}");
        assert!(failed.stderr.contains(said), "{said}: {failed:?}");
        assert!(failed.stderr.contains("dnseal.yaml:"), "{failed:?}");
    }
}
