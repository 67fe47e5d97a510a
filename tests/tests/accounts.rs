//! Accounts through the binary against Pebble: made, shown, changed, given another key, ended; several in one store; kills.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use dnseal_core::issue::Checkpoint;
use dnseal_tests::{Dnseal, Eab, Pebble, PebbleOptions, Run, Shop};
use serde_json::Value;
use tempfile::TempDir;

const KID: &str = "kid-1";
const HMAC: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// Pebble and a home for `dnseal`; nothing is issued here, so there is no name server.
struct Desk {
    home: TempDir,
    pebble: Pebble,
}

impl Desk {
    fn open(change: impl FnOnce(&mut PebbleOptions)) -> Option<Self> {
        let mut options = PebbleOptions::new("127.0.0.1:1".parse().unwrap());
        change(&mut options);
        Some(Self {
            home: TempDir::with_prefix("dnseal-home-").unwrap(),
            pebble: Pebble::start(options)?,
        })
    }

    fn account(&self, words: &[&str]) -> Dnseal {
        account(&self.home, &self.pebble, words)
    }

    fn records(&self) -> Vec<Value> {
        let dir = self.home.path().join("state/store/accounts");
        let Ok(entries) = fs::read_dir(dir) else {
            return Vec::new();
        };
        entries
            .map(|entry| serde_json::from_slice(&fs::read(entry.unwrap().path()).unwrap()).unwrap())
            .collect()
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.home.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

fn account(home: &TempDir, pebble: &Pebble, words: &[&str]) -> Dnseal {
    Dnseal::new(home)
        .arg("account")
        .args(words)
        .args(["--output", "json", "--dir", "state"])
        .env("DNSEAL_CA", pebble.directory_url())
        .env("DNSEAL_CA_ROOT", pebble.ca_pem_path())
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

#[test]
fn made_shown_changed_and_ended() {
    let Some(desk) = Desk::open(|_| {}) else {
        return;
    };
    let run = desk.account(&["register"]).run();
    failed(&run, 2, &["terms of service", "--agree-tos"]);
    assert_eq!(desk.records().len(), 0);

    let register = ["register", "--agree-tos", "--email", "ops@example.com"];
    let made = desk.account(&register).run().success().json();
    assert_eq!(made["registered_now"], true, "{made:#}");
    assert_eq!(made["contacts"][0], "mailto:ops@example.com");
    let again = desk.account(&register).run().success().json();
    assert_eq!(again["registered_now"], false);
    assert_eq!(again["url"], made["url"]);

    let list = desk.account(&["list"]).run().success().json();
    assert_eq!(list["accounts"][0]["id"], made["id"]);
    assert_eq!(list["accounts"][0]["status"], "registered");
    let shown = desk.account(&["show"]).run().success();
    let key = desk.records()[0]["key"].as_str().unwrap().to_owned();
    assert!(!shown.stdout.contains(&key) && !shown.stderr.contains(&key));
    let shown = shown.json();
    assert_eq!(shown["at_ca"]["status"], "valid", "{shown:#}");
    assert_eq!(shown["at_ca"]["contacts"][0], "mailto:ops@example.com");
    assert!(shown["at_ca"]["terms_of_service"].is_string(), "{shown:#}");

    failed(&desk.account(&["update"]).run(), 2, &["nothing to update"]);
    let bad = desk.account(&["update", "--email", "a b"]).run();
    failed(&bad, 6, &["contact"]);
    let updated = desk.account(&["update", "--email", "new@example.com"]);
    let updated = updated.run().success().json();
    assert_eq!(updated["at_ca"]["contacts"][0], "mailto:new@example.com");
    assert_eq!(desk.records()[0]["contacts"][0], "mailto:new@example.com");

    failed(&desk.account(&["deactivate"]).run(), 2, &["--yes"]);
    let ended = desk.account(&["deactivate", "--yes"]).run().success();
    assert_eq!(ended.json()["status"], "deactivated");
    // Once more, as after a kill before it was written down.
    desk.account(&["deactivate", "--yes"]).run().success();
    failed(&desk.account(&["show"]).run(), 2, &["was deactivated on"]);
    failed(&desk.account(&["rollover"]).run(), 2, &["was deactivated"]);
    let successor = desk.account(&register).run().success();
    assert!(successor.stderr.contains("successor"), "{successor:?}");
    let successor = successor.json();
    assert_eq!(successor["registered_now"], true);
    assert_ne!(successor["thumbprint"], made["thumbprint"]);
}

#[test]
fn a_killed_deactivation_is_finished_by_the_next() {
    let Some(desk) = Desk::open(|_| {}) else {
        return;
    };
    desk.account(&["register", "--agree-tos"]).run().success();
    let dir = desk.home.path().join("state/store/accounts");
    let record = fs::read_dir(&dir).unwrap().next().unwrap().unwrap().path();
    let before = fs::read(&record).unwrap();
    desk.account(&["deactivate", "--yes"]).run().success();
    // As if the kill had come between the CA's answer and the record.
    fs::write(&record, before).unwrap();
    failed(&desk.account(&["show"]).run(), 6, &["closed"]);
    desk.account(&["deactivate", "--yes"]).run().success();
    assert!(desk.records()[0]["deactivated"].is_string());
}

#[test]
fn an_external_account_is_sent_for_a_new_account_only() {
    let eab = Eab {
        kid: KID.to_owned(),
        hmac_key: HMAC.to_owned(),
    };
    let Some(desk) = Desk::open(|options| options.eab = Some(eab)) else {
        return;
    };
    let run = desk.account(&["register", "--agree-tos"]).run();
    failed(&run, 2, &["external account binding", "--eab-kid"]);
    assert_eq!(desk.records().len(), 0);

    let wrong = desk.file("wrong.txt", &HMAC.replace("zWND", "AAAA"));
    let register = |kid: &str, file: &PathBuf| {
        desk.account(&["register", "--agree-tos", "--eab-kid", kid])
            .arg("--eab-hmac-key-file")
            .arg(file)
            .run()
    };
    let run = register(KID, &wrong);
    failed(
        &run,
        6,
        &[
            "does not accept the external account binding",
            "one of three is wrong",
        ],
    );
    assert!(!run.stderr.contains("AAAADZM6"), "{}", run.stderr);
    let file = desk.file("hmac.txt", &format!("{HMAC}\n"));
    failed(&register("kid-2", &file), 6, &["external account binding"]);
    let short = desk.file("short.txt", "AAAA");
    failed(&register(KID, &short), 2, &["3 octets"]);

    let made = register(KID, &file).success().json();
    assert_eq!(made["eab_kid"], KID, "{made:#}");
    // The key is tried first: without a binding, and with the store's word lost.
    let dir = desk.home.path().join("state/store/accounts");
    let path = fs::read_dir(&dir).unwrap().next().unwrap().unwrap().path();
    let mut record = desk.records().remove(0);
    record["url"] = Value::Null;
    fs::write(&path, record.to_string()).unwrap();
    let found = desk.account(&["register", "--agree-tos"]).run().success();
    assert_eq!(found.json()["url"], made["url"]);
    assert_eq!(found.json()["registered_now"], false);

    let other = register("kid-2", &file).success();
    assert!(
        other.stderr.contains("bound to key identifier kid-1"),
        "{}",
        other.stderr
    );
    assert!(
        other.stderr.contains("kid-2 is not used"),
        "{}",
        other.stderr
    );
    assert_eq!(other.json()["eab_kid"], KID);
}

#[test]
fn a_new_key_orders_and_the_old_one_does_not() {
    let Some(shop) = Shop::open() else { return };
    shop.issue(&["example.test"]).run().success();
    let account = |words: &str| {
        shop.command(&format!("account {words}"))
            .args(["--output", "json", "--ca-root"])
            .arg(shop.pebble.ca_pem_path())
            .run()
    };
    let before = shop.command("account export --output json").run().success();
    let old = before.json()["private_key"].as_str().unwrap().to_owned();
    let rolled = account("rollover").success().json();
    assert_ne!(
        rolled["rollover"]["old_thumbprint"],
        rolled["rollover"]["new_thumbprint"]
    );
    assert_eq!(rolled["rollover"]["new_thumbprint"], rolled["thumbprint"]);
    assert_eq!(rolled["rollover"]["resumed"], false);
    shop.issue(&["example.test"]).arg("--force").run().success();
    let head = shop.head("example.test").unwrap();
    assert_eq!(head["current"]["account"], rolled["url"], "{head:#}");

    let file = shop.home().join("old.pem");
    fs::write(&file, old).unwrap();
    let import = shop
        .command("account import old.pem --account old")
        .arg("--ca")
        .arg(shop.pebble.directory_url())
        .arg("--ca-root")
        .arg(shop.pebble.ca_pem_path())
        .run();
    failed(&import, 6, &["has no account with this key"]);
}

#[test]
fn a_rollover_that_was_killed_harms_nothing_and_is_finished() {
    let Some(shop) = Shop::open() else { return };
    shop.issue(&["example.test"]).run().success();
    let rollover = || {
        shop.command("account rollover --output json")
            .arg("--ca-root")
            .arg(shop.pebble.ca_pem_path())
    };
    for point in Checkpoint::ROLLOVER {
        for issue_between in [false, true] {
            let running = rollover().env("DNSEAL_TEST_PAUSE_AT", point.name()).spawn();
            running.wait_stderr(&format!("paused at {}", point.name()));
            running.kill();
            running.wait();
            let listed = shop.command("account list --output json").run().success();
            assert_eq!(listed.json()["accounts"][0]["status"], "rollover begun");
            let export = shop.command("account export").run();
            failed(&export, 2, &["a rollover was interrupted"]);

            if issue_between {
                let run = shop.issue(&["example.test"]).arg("--force").run().success();
                let warned = run.stderr.contains("still has the old one");
                assert_eq!(
                    warned,
                    point == Checkpoint::RolloverStored,
                    "{}",
                    run.stderr
                );
            }
            let finished = rollover().run().success().json();
            // An order has found out already that the CA has the new key.
            let resumed = !issue_between || point == Checkpoint::RolloverStored;
            assert_eq!(
                finished["rollover"]["resumed"], resumed,
                "{point:?}: {finished:#}"
            );
            assert_eq!(finished["status"], "registered");
            shop.issue(&["example.test"]).arg("--force").run().success();
        }
    }
    let accounts = shop.command("account list --output json").run().success();
    assert_eq!(accounts.json()["accounts"].as_array().unwrap().len(), 1);
}

#[test]
fn a_new_key_that_another_account_has_is_dropped() {
    let Some(desk) = Desk::open(|_| {}) else {
        return;
    };
    desk.account(&["register", "--agree-tos"]).run().success();
    let other = desk.account(&["register", "--agree-tos", "--account", "other"]);
    let other = other.run().success().json();
    let records = desk.records();
    let of = |is_other: bool| {
        let is_it = |record: &&Value| (record["id"] == "other") == is_other;
        records.iter().find(is_it).unwrap().clone()
    };
    let mut first = of(false);
    let id = first["id"].as_str().unwrap().to_owned();
    first["pending_key"] = of(true)["key"].clone();
    let path = desk
        .home
        .path()
        .join(format!("state/store/accounts/{id}.json"));
    fs::write(path, first.to_string()).unwrap();

    let rolled = desk.account(&["rollover", &id]).run().success().json();
    assert_ne!(rolled["thumbprint"], other["thumbprint"]);
    assert_eq!(rolled["url"], first["url"]);
    let shown = desk.account(&["show", &id]).run().success().json();
    assert_eq!(shown["at_ca"]["status"], "valid");
    let shown = desk.account(&["show", "other"]).run().success().json();
    assert_eq!(shown["thumbprint"], other["thumbprint"]);
}

#[test]
fn several_accounts_in_one_store() {
    let Some(shop) = Shop::open() else { return };
    shop.issue(&["example.test"]).run().success();
    let work = shop.issue(&["a.example.test"]).args(["--account", "Work"]);
    work.run().success();
    let version = |name: &str| shop.head(name).unwrap()["current"].clone();
    assert_eq!(version("a.example.test")["account_id"], "work");
    let (first, second) = (version("example.test"), version("a.example.test"));
    assert_ne!(first["account"], second["account"]);

    // Nothing is deleted, and nothing ordered, by the switch alone; the next order takes the other account.
    let kept = shop
        .issue(&["example.test"])
        .args(["--account", "work", "--output", "json"]);
    let kept = kept.run().success().json();
    assert_eq!(kept["stats"]["acme_requests"], 0, "{kept:#}");
    let config = format!(
        "ca: {{ url: \"{}\", root: \"{}\", account: work }}\nagree-tos: true\n",
        shop.pebble.directory_url(),
        shop.pebble.ca_pem_path().display()
    );
    let path = shop.home().join("dnseal.yaml");
    fs::write(&path, config).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let forced = shop.issue(&["example.test"]).arg("--force");
    forced.arg("--config").arg(&path).run().success();
    assert_eq!(version("example.test")["account"], second["account"]);

    let run = shop.command("account show").run();
    failed(&run, 2, &["there are several accounts", "work"]);
    let bad = shop
        .issue(&["b.example.test"])
        .args(["--account", "../x"])
        .run();
    failed(&bad, 2, &["cannot be the name of an account"]);
    let gone = shop.command("account show nobody").run();
    failed(&gone, 2, &["no account nobody", "dnseal account list"]);
}
