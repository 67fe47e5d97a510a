//! Accounts of other tools, from the files that they write themselves, at Pebble.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dnseal_tests::{Dnseal, Pebble, Shop, python_with};

fn import(shop: &Shop, words: &[&str]) -> Dnseal {
    shop.command("account import")
        .args(words)
        .args(["--output", "json", "--ca-root"])
        .arg(shop.pebble.ca_pem_path())
}

/// Registers an account with certbot; the directory in which it keeps that.
fn certbots_account(shop: &Shop, more: &[&str]) -> Option<PathBuf> {
    let python = python_with(&["certbot"])?;
    let home = shop.home().join("certbot");
    let dir = |name: &str| home.join(name);
    let output = Command::new(python)
        .args([
            "-c",
            "from certbot.main import main; import sys; sys.exit(main())",
        ])
        .args([
            "register",
            "--non-interactive",
            "--agree-tos",
            "-m",
            "ops@example.com",
        ])
        .args(["--server", &shop.pebble.directory_url()])
        .args(more)
        .arg("--config-dir")
        .arg(dir("etc"))
        .arg("--work-dir")
        .arg(dir("lib"))
        .arg("--logs-dir")
        .arg(dir("log"))
        .env("REQUESTS_CA_BUNDLE", shop.pebble.ca_pem_path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    Some(find(&dir("etc").join("accounts"), "private_key.json"))
}

/// The directory below `dir` that has this file.
fn find(dir: &Path, name: &str) -> PathBuf {
    if dir.join(name).exists() {
        return dir.to_owned();
    }
    let mut entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let next = entries.find(|path| path.is_dir());
    find(&next.expect("a directory with the file"), name)
}

/// That it orders with what is stored, and is the same account still.
fn orders(shop: &Shop, account: &str) {
    let record = shop.dir().join(format!("store/accounts/{account}.json"));
    let url = || {
        let record = fs::read(&record).unwrap();
        serde_json::from_slice::<serde_json::Value>(&record).unwrap()["url"].clone()
    };
    let before = url();
    shop.issue(&["example.test"])
        .args(["--account", account, "--force"])
        .run()
        .success();
    let head = shop.head("example.test").unwrap();
    assert_eq!(head["current"]["account_id"], account, "{head:#}");
    assert_eq!(head["current"]["account"], before, "{head:#}");
    assert_eq!(url(), before);
}

#[test]
fn certbots_rsa_account_gets_a_key_of_ours() {
    let Some(shop) = Shop::open() else { return };
    let Some(dir) = certbots_account(&shop, &[]) else {
        return;
    };
    // The CA is in the path.
    let path = dir.to_str().unwrap();
    let imported = import(&shop, &[path, "--account", "certbot"]);
    let imported = imported.run().success().json();
    assert_eq!(imported["rolled_over"], true, "{imported:#}");
    assert!(
        imported["was_key"].as_str().unwrap().starts_with("RSA"),
        "{imported:#}"
    );
    assert_eq!(imported["key"], "ECDSA P-256");
    let regr = fs::read(dir.join("regr.json")).unwrap();
    let regr: serde_json::Value = serde_json::from_slice(&regr).unwrap();
    assert_eq!(imported["url"], regr["uri"]);
    orders(&shop, "certbot");

    let again = import(&shop, &[path, "--account", "certbot"]).run();
    assert!(
        again.stderr.contains("another account certbot"),
        "{}",
        again.stderr
    );
    let other = import(&shop, &[path, "--account", "more"]).run();
    assert!(
        other.stderr.contains("no account with this key"),
        "{}",
        other.stderr
    );
    assert_eq!(other.code(), 6);
}

#[test]
fn legos_files_and_bare_keys() {
    let Some(shop) = Shop::open() else { return };
    let url = shop.pebble.directory_url();
    let register = |name: &str| {
        let run = shop
            .command("account register --agree-tos --output json")
            .args(["--account", name, "--ca", &url, "--ca-root"])
            .arg(shop.pebble.ca_pem_path())
            .run();
        run.success().json()
    };
    let export =
        |name: &str, words: &[&str]| shop.command("account export").arg(name).args(words).run();
    let made = register("first");
    let account = serde_json::json!({
        "email": "ops@example.com",
        "registration": { "body": { "status": "valid" }, "uri": made["url"] },
    });
    let dir = shop.home().join("lego/ops@example.com");
    fs::create_dir_all(dir.join("keys")).unwrap();
    fs::write(dir.join("account.json"), account.to_string()).unwrap();
    let key = dir.join("keys/ops@example.com.key");
    let out = ["--out", key.to_str().unwrap()];
    export("first", &out).success();
    let again = export("first", &out);
    assert!(
        again.code() != 0 && again.stderr.contains("ops@example.com.key"),
        "{}",
        again.stderr
    );
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    // SEC 1, as lego writes it.
    let sec1 = Command::new("openssl")
        .args([
            "ec",
            "-in",
            key.to_str().unwrap(),
            "-out",
            key.to_str().unwrap(),
        ])
        .output()
        .unwrap();
    assert!(sec1.status.success(), "{sec1:?}");
    assert!(fs::read_to_string(&key).unwrap().contains("EC PRIVATE KEY"));

    let path = dir.to_str().unwrap();
    let nowhere = import(&shop, &[path, "--account", "lego"]).run();
    assert!(
        nowhere.stderr.contains("does not say at which CA"),
        "{}",
        nowhere.stderr
    );
    let lego = import(&shop, &[path, "--account", "lego", "--ca", &url]);
    let lego = lego.run().success().json();
    assert_eq!(lego["url"], made["url"]);
    assert_eq!(lego["rolled_over"], false);
    assert_eq!(lego["contacts"][0], "mailto:ops@example.com");
    orders(&shop, "lego");

    let jwk = export("first", &["--format", "jwk"]).success().stdout;
    let file = shop.home().join("account.jwk");
    fs::write(&file, jwk).unwrap();
    let path = file.to_str().unwrap();
    let jwk = import(&shop, &[path, "--account", "jwk", "--ca", &url]);
    assert_eq!(jwk.run().success().json()["url"], made["url"]);

    fs::write(&file, "{\"kty\": \"EC\", \"canary\": 1}").unwrap();
    let bad = import(&shop, &[path, "--account", "bad", "--ca", &url]).run();
    assert_eq!(bad.code(), 2);
    assert!(!bad.stderr.contains("canary"), "{}", bad.stderr);
    let empty = import(&shop, &[shop.home().to_str().unwrap(), "--ca", &url]).run();
    assert!(
        empty.stderr.contains("holds neither certbot's"),
        "{}",
        empty.stderr
    );
}

#[test]
fn keys_of_other_kinds_and_a_kill_in_between() {
    let Some(shop) = Shop::open() else { return };
    for kind in [
        "ec -pkeyopt ec_paramgen_curve:P-384",
        "rsa -pkeyopt rsa_keygen_bits:3072",
    ] {
        let file = shop.home().join("key.pem");
        let made = Command::new("openssl")
            .args(["genpkey", "-algorithm"])
            .args(kind.split(' '))
            .arg("-out")
            .arg(&file)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        register_with(&shop.pebble, &file);
        let name = &kind[..2];
        let words = [file.to_str().unwrap(), "--account", name];
        let url = shop.pebble.directory_url();
        let running = import(&shop, &words)
            .env("DNSEAL_CA", &url)
            .env("DNSEAL_TEST_PAUSE_AT", "rollover-sent")
            .spawn();
        running.wait_stderr("paused at rollover-sent");
        running.kill();
        running.wait();
        // The old key is not the CA's any more, and the new one is only in the store.
        orders(&shop, name);
    }
}

/// A client of somebody else's, with a key of any kind: certbot's library.
fn register_with(pebble: &Pebble, key: &Path) {
    let Some(python) = python_with(&["certbot", "acme", "josepy"]) else {
        return;
    };
    let script = "
import sys, josepy
from acme import client, messages
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
pem = open(sys.argv[2], 'rb').read()
private = serialization.load_pem_private_key(pem, None)
if isinstance(private, rsa.RSAPrivateKey):
    key, alg = josepy.JWKRSA(key=josepy.ComparableRSAKey(private)), josepy.RS256
else:
    key, alg = josepy.JWKEC(key=josepy.ComparableECKey(private)), josepy.ES384
net = client.ClientNetwork(key, alg=alg, user_agent='dnseal-tests')
directory = client.ClientV2.get_directory(sys.argv[1], net)
new = messages.NewRegistration.from_data(email='ops@example.com', terms_of_service_agreed=True)
print(client.ClientV2(directory, net).new_account(new).uri)
";
    let output = Command::new(python)
        .args(["-c", script, &pebble.directory_url()])
        .arg(key)
        .env("REQUESTS_CA_BUNDLE", pebble.ca_pem_path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}
