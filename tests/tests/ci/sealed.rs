//! An encrypted store, through the binary: what stands on the disk, what works without its key, and kills half-way.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dnseal_tests::{Dnseal, Peer, Run, Shop, require, wait_until};

use crate::written;

const KEY: &str = "correct horse battery staple";
const OTHER: &str = "another horse altogether";

fn sealed(command: Dnseal) -> Dnseal {
    command.env("DNSEAL_STORE_KEY", KEY)
}

fn failed(run: &Run, wanted: &[&str]) {
    assert_eq!(run.status.code(), Some(2), "{}", run.stderr);
    for wanted in wanted {
        assert!(
            run.stderr.contains(wanted),
            "no {wanted:?} in {}",
            run.stderr
        );
    }
}

#[test]
fn keys_are_read_by_nobody_without_the_key_of_the_store() {
    let Some(shop) = Shop::open() else { return };
    // A key alone encrypts nothing, and whoever gives one believes that it does.
    failed(
        &sealed(shop.issue(&["example.test"])).run(),
        &[
            "DNSEAL_STORE_KEY has a key",
            "is not encrypted",
            "store encrypt",
        ],
    );
    assert!(!written(&shop.dir(), "PRIVATE KEY"));
    shop.issue(&["example.test"]).run().success();
    assert!(written(&shop.dir(), "PRIVATE KEY"));
    failed(
        &shop.command("store encrypt").run(),
        &["no key to encrypt", "DNSEAL_STORE_KEY"],
    );
    failed(
        &shop
            .command("store encrypt")
            .env("DNSEAL_STORE_KEY", "short")
            .run(),
        &["guessed too easily"],
    );
    // Servers may read the keys in `live`.
    let asked = sealed(shop.command("store encrypt")).run();
    failed(
        &asked,
        &["1 private key", "beside the store", "--yes", "--live"],
    );
    sealed(shop.command("store encrypt --yes")).run().success();
    assert!(!written(&shop.dir(), "PRIVATE KEY"));
    assert!(shop.live("example.test", "fullchain.pem").exists());
    assert!(!shop.live("example.test", "privkey.pem").exists());

    let listed = shop.command("list --output json").run().success().json();
    assert_eq!(
        listed["certificates"][0]["name"], "example.test",
        "{listed:#}"
    );
    shop.command("show example.test").run().success();
    shop.command("account list").run().success();
    let status = shop
        .command("store status --output json")
        .run()
        .success()
        .json();
    assert_eq!(status["state"], "sealed");
    assert_eq!(status["opened_by"], "passphrase");
    assert_eq!(status["keys_plain"], 0, "{status:#}");
    assert_eq!(status["keys_in_live"], 0);

    let orders = || shop.pebble.count("POST", "/order-plz");
    let before = orders();
    let force = || shop.issue(&["example.test", "--force"]);
    failed(
        &force().run(),
        &[
            "the store is encrypted",
            "no key was given",
            "DNSEAL_STORE_KEY",
        ],
    );
    let wrong = force().env("DNSEAL_STORE_KEY", OTHER).run();
    failed(&wrong, &["the store is encrypted", "does not open it"]);
    failed(&shop.command("renew --force").run(), &["no key was given"]);
    for doctor in ["doctor example.test", "doctor example.test --read-only"] {
        failed(&shop.command(doctor).run(), &["no key was given"]);
    }
    failed(&shop.command("account export").run(), &["no key was given"]);
    assert_eq!(orders(), before);

    sealed(force()).run().success();
    assert_eq!(orders(), before + 1);
    assert!(!written(&shop.dir(), "PRIVATE KEY"));
    assert!(!shop.live("example.test", "privkey.pem").exists());
    // A directory that somebody names gets them.
    let apart = shop.home().join("tls");
    sealed(shop.issue(&["example.test"]).arg("--live").arg(&apart))
        .run()
        .success();
    let key = fs::read_to_string(apart.join("example.test/privkey.pem")).unwrap();
    assert!(key.contains("PRIVATE KEY"));
    let exported = sealed(shop.command("account export")).run().success();
    assert!(exported.stdout.contains("PRIVATE KEY"));

    let done = sealed(shop.command("store decrypt --output json"))
        .run()
        .success()
        .json();
    assert_eq!(done["encrypted"], false, "{done:#}");
    assert!(shop.live("example.test", "privkey.pem").exists());
    shop.issue(&["example.test", "--force"]).run().success();
}

#[test]
fn age_alone_reads_it() {
    let Some(shop) = Shop::open() else { return };
    let Some(age) = require(Peer::Age) else {
        return;
    };
    let file = |name: &str| shop.home().join(name);
    let read = |program: &Path, args: &[&Path]| {
        let output = Command::new(program).args(args).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let (key, armored, identity) = (file("key.txt"), file("armored"), file("identity"));
    read(&age.with_file_name("age-keygen"), &[Path::new("-o"), &key]);
    shop.issue(&["example.test"]).run().success();
    let private = fs::read(shop.live("example.test", "privkey.pem")).unwrap();
    shop.command("store encrypt --yes")
        .env("DNSEAL_STORE_KEY_FILE", &key)
        .run()
        .success();

    let seal = fs::read(shop.dir().join("store/seal.json")).unwrap();
    let seal: serde_json::Value = serde_json::from_slice(&seal).unwrap();
    fs::write(&armored, seal["identity"].as_str().unwrap()).unwrap();
    let (decrypt, by) = (Path::new("-d"), Path::new("-i"));
    fs::write(&identity, read(&age, &[decrypt, by, &key, &armored])).unwrap();
    let versions = "store/certificates/example.test/versions";
    let stored = shop.dir().join(versions).join("0001.privkey.pem");
    assert_eq!(read(&age, &[decrypt, by, &identity, &stored]), private);
}

/// Who has a lock, and lets it go also when a test fails.
struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Kills the command while it waits for one certificate, with the other one behind it.
fn killed_half_way(shop: &Shop, command: Dnseal) {
    let lock = shop
        .dir()
        .join("store/locks/certificate-b.example.test.lock");
    let holder = Holder(
        Command::new("flock")
            .arg("--no-fork")
            .arg(&lock)
            .args(["sleep", "600"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    // It is held when nobody else gets it.
    assert!(wait_until(Duration::from_secs(10), || {
        let tried = Command::new("flock")
            .args(["--nonblock"])
            .arg(&lock)
            .arg("true")
            .status();
        !tried.unwrap().success()
    }));
    let running = command.arg("-v").spawn();
    running.wait_stderr("which works with a part of the store");
    running.kill();
    drop(running);
    drop(holder);
}

#[test]
fn a_kill_half_way_leaves_a_store_that_works_and_is_finished() {
    let Some(shop) = Shop::open() else { return };
    for name in ["a.example.test", "b.example.test"] {
        shop.issue(&[name]).run().success();
    }
    let status = || {
        let status = shop
            .command("store status --output json")
            .run()
            .success()
            .json();
        (status["state"].clone(), status["keys_plain"].clone())
    };

    killed_half_way(&shop, sealed(shop.command("store encrypt --yes")));
    assert_eq!(status().0, "sealing");
    assert_ne!(status().1, 0);
    // Both are used, the one that is encrypted and the one that is not.
    for name in ["a.example.test", "b.example.test"] {
        sealed(shop.issue(&[name, "--force"])).run().success();
    }
    let done = sealed(shop.command("store encrypt --yes --output json"))
        .run()
        .success()
        .json();
    assert_eq!(done["parts"]["resumed"], true, "{done:#}");
    assert_eq!(status(), ("sealed".into(), 0.into()));
    assert!(!written(&shop.dir(), "PRIVATE KEY"));

    let rekey =
        || sealed(shop.command("store rekey --output json")).env("DNSEAL_STORE_NEW_KEY", OTHER);
    killed_half_way(&shop, rekey());
    assert_eq!(status().0, "sealing");
    let with_new = |name| {
        shop.issue(&[name, "--force"])
            .env("DNSEAL_STORE_KEY", OTHER)
    };
    for name in ["a.example.test", "b.example.test"] {
        with_new(name).run().success();
    }
    let done = rekey().run().success().json();
    assert_eq!(done["parts"]["resumed"], true, "{done:#}");
    assert_eq!(status(), ("sealed".into(), 0.into()));
    failed(
        &sealed(shop.issue(&["a.example.test", "--force"])).run(),
        &["does not open it"],
    );

    let decrypt = || {
        shop.command("store decrypt --output json")
            .env("DNSEAL_STORE_KEY", OTHER)
    };
    killed_half_way(&shop, decrypt());
    assert_eq!(status().0, "unsealing");
    with_new("b.example.test").run().success();
    assert_eq!(decrypt().run().success().json()["parts"]["resumed"], true);
    shop.issue(&["b.example.test", "--force"]).run().success();
}
