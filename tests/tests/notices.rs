//! Who is told what, and what `report` says, by the binary against the sandbox.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;

use dnseal_sandbox::ca::Ca;
use dnseal_sandbox::dns::Fault;
use dnseal_tests::{Home, Sandbox};
use serde_json::Value;

/// What a command has written down, one document a line.
fn told(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn renewals_and_failures_are_told_once_a_day() {
    // Each order has to write to DNS.
    let sandbox = Sandbox::with_ca(Ca::builder().authz_reuse(false)).await;
    let home = Home::new(
        &sandbox,
        "certificates: { example.test: { names: [example.test, '*.example.test'] } }
notify:
  - { run: [sh, -c, 'cat >> all'] }
  - { run: [sh, -c, 'cat >> bad'], events: [failed, account-refused] }
  - { run: [sh, -c, 'echo I am broken >&2; exit 7'], events: [renewed] }
",
    );
    for _ in 0..2 {
        let run = home.dnseal(&["issue", "--force"]).run().success();
        assert!(
            run.stderr.contains("warning: sh was not notified"),
            "{}",
            run.stderr
        );
        assert!(run.stderr.contains("I am broken"), "{}", run.stderr);
    }
    let all = told(&home.path().join("all"));
    assert_eq!(all.len(), 2, "{all:#?}");
    assert_eq!(all[1]["version"], 2);
    assert_eq!(all[0]["event"], "renewed");
    assert_eq!(all[0]["version"], 1);
    assert_eq!(all[0]["names"][1], "*.example.test");

    sandbox.dns.inject(Fault::refused().updates());
    let _failed = home
        .dnseal(&["issue", "--force", "--propagation-timeout", "1"])
        .run()
        .expect_code(4);
    let bad = told(&home.path().join("bad"));
    assert_eq!(bad.len(), 1, "{bad:#?}");
    assert_eq!(bad[0]["event"], "failed");
    assert!(
        bad[0]["seconds_left"].as_i64().unwrap() > 80 * 86_400,
        "{bad:#?}"
    );
    assert!(
        bad[0]["error"]["message"]
            .as_str()
            .unwrap()
            .contains("127.0.0.1"),
        "{bad:#?}"
    );
    assert_eq!(told(&home.path().join("all")).len(), 3);

    // When the next try is due stands in the notice, and what failed in the report.
    assert!(bad[0]["next_try"].is_string(), "{bad:#?}");
    let report = home.dnseal(&["report", "--output", "json"]).run();
    let report = report.success().json();
    assert_eq!(report["store"]["left_alone_after_failures"], 1);
    let last = &report["store"]["last_errors"][0];
    assert_eq!(last["certificate"], "example.test", "{report:#}");
    assert_eq!(last["times"], 1, "{report:#}");

    // A name that nobody knows is the typing of who reads the error.
    let _failed = home.dnseal(&["renew", "nope"]).run().expect_code(2);
    let run = home
        .dnseal(&["issue", "nope.test", "--propagation-timeout", "1"])
        .run();
    assert!(!run.status.success(), "{}", run.stderr);
    assert_eq!(told(&home.path().join("all")).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_notice_says_who_takes_it() {
    let sandbox = Sandbox::start().await;
    let home = Home::new(
        &sandbox,
        "certificates: { example.test: { names: [example.test, '*.example.test'] } }
notify:
  - { run: [sh, -c, 'cat >> all'], events: [expired] }
  - { webhook: { url: 'http://127.0.0.1:1/canary', secret: canary }, timeout: 1 }
",
    );
    let run = home.dnseal(&["notify", "test"]).run().expect_code(1);
    assert_eq!(run.stdout, "1 of 2 test notices taken\n");
    assert!(
        run.stderr.contains("127.0.0.1:1 cannot be reached"),
        "{}",
        run.stderr
    );
    assert!(!run.stderr.contains("canary"), "{}", run.stderr);
    assert_eq!(told(&home.path().join("all"))[0]["event"], "test");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_has_everything_but_secrets() {
    let sandbox = Sandbox::start().await;
    let home = Home::new(
        &sandbox,
        "certificates: { example.test: { names: [example.test, '*.example.test'] } }
notify: [{ webhook: { url: 'https://hooks.test/canary', secret: canary }, events: [expired] }]\n",
    );
    let _issued = home.dnseal(&["issue"]).run().success();
    let certificates = home.path().join("state/store/certificates");
    fs::create_dir(certificates.join("broken.test")).unwrap();
    fs::write(certificates.join("broken.test/head.json"), "{ \"schema\"").unwrap();

    let secret = sandbox.tsig_key().secret_base64;
    let report = |words: &[&str]| {
        let run = home
            .dnseal(words)
            .env("CLOUDFLARE_DNS_API_TOKEN", "canary")
            .env("DNSEAL_EAB_HMAC_KEY", "canary")
            .env("DNSEAL_CA_ROOT", "/etc/roots.pem")
            .env("HTTPS_PROXY", "http://me:canary@proxy.test:3128")
            .run()
            .success();
        for secret in ["canary", &secret, "BEGIN"] {
            assert!(!run.stdout.contains(secret), "{secret} in {}", run.stdout);
            assert!(!run.stderr.contains(secret), "{secret} in {}", run.stderr);
        }
        run
    };
    let json = report(&["report", "--output", "json"]).json();
    assert_eq!(json["dnseal"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(json["store"]["certificates"], 2, "{json:#}");
    assert_eq!(json["store"]["valid"], 1);
    assert_eq!(json["store"]["unreadable"], 1);
    assert_eq!(json["store"]["problems"][0]["certificate"], "broken.test");
    assert_eq!(json["store"]["accounts"].as_array().unwrap().len(), 1);
    assert_eq!(json["environment"]["DNSEAL_CA_ROOT"], "/etc/roots.pem");
    assert_eq!(
        json["environment"]["CLOUDFLARE_DNS_API_TOKEN"],
        "[redacted]"
    );
    assert_eq!(
        json["environment"]["HTTPS_PROXY"],
        "http://[redacted]@proxy.test:3128"
    );
    let content = &json["configuration"]["content"];
    assert_eq!(
        content["providers"]["corp"]["kind"], "rfc2136",
        "{content:#}"
    );
    assert_eq!(content["email"][0], "[redacted]@example.test");
    let text = report(&["report"]).stdout;
    assert!(text.contains("kernel: "), "{text}");

    // What is broken is part of the report.
    let path = home.path().join("dnseal.yaml");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config + "\nsecrets: canary\n").unwrap();
    let json = report(&["report", "--output", "json"]).json();
    let message = json["configuration"]["message"].as_str().unwrap();
    assert!(message.contains("there is no key `secrets`"), "{json:#}");
}
