//! Values of jobs that were killed together with their disk: removed where a mark says whose they are, and listed elsewhere.

use std::time::Duration;

use dnseal_tests::fakes::cloudflare::{CloudflareOptions, FakeCloudflare};
use dnseal_tests::{Dnseal, Shop};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::block_in_place;

const OWNER: &str = "_acme-challenge.example.test";
const TOKEN: &str = "canary-Sn3lZJTBX6kkg7OdcBUAxOO963GEIyGQ-good";

#[tokio::test(flavor = "multi_thread")]
async fn what_carries_our_mark_is_removed_when_it_is_old_enough() {
    let fake = FakeCloudflare::start(CloudflareOptions::new(["example.test"], TOKEN))
        .await
        .unwrap();
    fake.add("example.test", "TXT", OWNER, "foreign");
    let server = fake.dns().addr().to_string();
    // Each with a store of its own, as jobs on other machines have it.
    let dns = |words: &[&str]| {
        let home = TempDir::with_prefix("dnseal-home-").unwrap();
        let run = block_in_place(|| {
            Dnseal::new(home.path())
                .arg("dns")
                .args(words)
                .args([
                    "--provider",
                    "cloudflare",
                    "--nameserver",
                    &server,
                    "--output",
                    "json",
                ])
                .arg("--dir")
                .arg(home.path().join("state"))
                .env("CLOUDFLARE_BASE_URL", fake.base_url())
                .env("CF_DNS_API_TOKEN", TOKEN)
                .run()
        });
        run.success().json()
    };
    let (left, too) = ("L".repeat(43), "-_too".to_owned() + &"x".repeat(38));
    dns(&["set", OWNER, &left]);
    dns(&["set", "_acme-challenge.www.example.test", &too]);
    // Carries the mark, and is no challenge's.
    dns(&["set", "example.test", "v=spf1 -all"]);

    let of = |found: &Value, value: &str| -> (bool, bool) {
        let values = found["values"].as_array().unwrap();
        let found = values.iter().find(|v| v["value"] == value).unwrap();
        (found["marked"] == true, found["removed"] == true)
    };
    let young = dns(&["gc", "--older-than", "1h", "example.test"]);
    let old = dns(&["gc", "--older-than", "0s", "*.example.test"]);
    for value in [&left, &too] {
        assert_eq!(of(&young, value), (true, false), "{young:#}");
        assert_eq!(of(&old, value), (true, true), "{old:#}");
    }
    for found in [&young, &old] {
        assert_eq!(of(found, "foreign"), (false, false), "{found:#}");
        assert_eq!(of(found, "v=spf1 -all"), (true, false), "{found:#}");
    }
    let left = dns(&["list", OWNER]);
    assert_eq!(left["values"], serde_json::json!(["foreign"]), "{left:#}");
}

#[test]
fn elsewhere_only_what_the_store_knows_is_ours() {
    let Some(shop) = Shop::open() else { return };
    let run = |words: &str| {
        shop.command(&format!("dns {words}"))
            .args([
                "--provider",
                "rfc2136",
                "--nameserver",
                &shop.nameserver().to_string(),
            ])
            .args(["--output", "json"])
            .env("RFC2136_NAMESERVER", shop.nameserver().to_string())
            .env("RFC2136_TSIG_KEY", &shop.key.name)
            .env("RFC2136_TSIG_SECRET", &shop.key.secret_base64)
            .run()
    };
    let dns = |words: &str| run(words).success().json();
    dns(&format!("set {OWNER} somebodys"));
    // A run that is killed with its values in DNS, and the store that it leaves.
    let running = shop
        .issue(&["example.test"])
        .env("DNSEAL_TEST_PAUSE_AT", "dns-written")
        .spawn();
    assert!(dnseal_tests::wait_until(Duration::from_secs(60), || {
        dns(&format!("list {OWNER}"))["values"]
            .as_array()
            .is_some_and(|v| v.len() == 2)
    }));
    running.kill();
    drop(running);

    let young = dns("gc --older-than 1h example.test");
    assert_eq!(young["certificates"][0]["younger"], 1, "{young:#}");
    assert_eq!(young["certificates"][0]["withdrawn"], 0);
    assert_eq!(young["values"][0]["value"], "somebodys");
    assert_eq!(young["values"][0]["removed"], false);
    let old = dns("gc --older-than 0s");
    assert_eq!(old["certificates"][0]["withdrawn"], 1, "{old:#}");
    // What cannot be looked for keeps nobody from the rest.
    let both = run("gc --older-than 0s a.elsewhere.test example.test").expect_code(4);
    let both = both.json();
    assert_eq!(both["values"][0]["value"], "somebodys", "{both:#}");
    let failures = both["failures"].as_array().unwrap();
    assert_eq!(failures.len(), 1, "{both:#}");
    assert_eq!(failures[0]["about"], "_acme-challenge.a.elsewhere.test");
    let left = dns(&format!("list {OWNER}"));
    assert_eq!(left["values"], serde_json::json!(["somebodys"]), "{left:#}");
}
