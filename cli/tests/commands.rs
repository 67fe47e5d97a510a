//! The program against the sandbox's CA and name server, over real sockets.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not count among the tests"
)]

mod shop;

use std::path::Path;
use std::process::Stdio;

use dnseal_sandbox::ca::Ca;

use shop::OWNER;
use shop::Run;
use shop::Shop;
use shop::dnseal;

#[tokio::test(flavor = "multi_thread")]
async fn issue_keep_show_delete() {
    let shop = Shop::open(Ca::builder()).await;
    let names = [
        "issue",
        "example.test",
        "*.example.test",
        "--output",
        "json",
    ];
    let refused = shop.run(&names).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(
        refused.json()["error"]["hint"]
            .as_str()
            .unwrap()
            .contains("--agree-tos")
    );

    std::fs::remove_dir_all(shop.path().join("state")).unwrap();
    let planned = shop.run(&[&names[..], &["--plan"]].concat()).await;
    let plan = &planned.json()["plans"][0];
    assert_eq!(plan["action"], "order", "{planned:?}");
    assert_eq!(plan["names"][1]["owner"], OWNER, "{planned:?}");
    assert!(!shop.path().join("state").exists());
    assert!(shop.ca.orders().is_empty());

    let agreed = [&names[..], &["--agree-tos", "--log-file", "log"]].concat();
    let issued = shop.run(&agreed).await;
    assert_eq!(issued.code, Some(0), "{issued:?}");
    let json = issued.json();
    let certificate = &json["certificates"][0];
    assert_eq!(certificate["issued_now"], true);
    assert_eq!(json["stats"]["values_added"], 2, "{json:#}");
    assert_eq!(json["stats"]["values_removed"], 2, "{json:#}");
    for file in ["privkey", "cert", "chain", "fullchain"] {
        assert!(Path::new(certificate["files"][file].as_str().unwrap()).is_file());
    }
    assert!(shop.dns.values(OWNER).is_empty());
    let log = std::fs::read_to_string(shop.path().join("log")).unwrap();
    for wanted in [
        "acme POST newOrder",
        "provider rfc2136 apply example.test +2 -0",
        &format!("{OWNER} TXT"),
    ] {
        assert!(log.contains(wanted), "{wanted}: {log}");
    }
    assert!(!log.contains(&shop.key.secret_base64()));

    let kept = shop.run(&agreed).await;
    assert_eq!(kept.json()["certificates"][0]["issued_now"], false);
    let other = shop
        .run(&[
            "issue",
            "www.example.test",
            "--name",
            "example.test",
            "--agree-tos",
        ])
        .await;
    assert_eq!(other.code, Some(2), "{other:?}");
    assert!(other.stderr.contains("--replace-names"), "{other:?}");

    let listed = shop.run(&["list"]).await;
    assert!(
        listed.stdout.contains("example.test *.example.test"),
        "{listed:?}"
    );
    let shown = shop
        .run(&["show", "example.test", "--output", "json"])
        .await;
    assert_eq!(shown.json()["version"]["serial"], certificate["serial"]);
    let deleted = shop.run(&["delete", "example.test"]).await;
    assert_eq!(deleted.code, Some(0), "{deleted:?}");
    assert!(!shop.path().join("state/live/example.test").exists());
    let gone = shop.run(&["show", "example.test"]).await;
    assert_eq!(gone.code, Some(2), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn external_accounts() {
    // Its base64url form begins with a dash.
    let key = [0xf8_u8; 32];
    let encoded: String = "-Pj4".chars().cycle().take(43).collect();
    let shop = Shop::open(Ca::builder().eab("kid-1", key.to_vec()).eab_required(true)).await;
    let issue = ["issue", "example.test", "--agree-tos"];

    let absent = shop.run(&issue).await;
    assert_eq!(absent.code, Some(2), "{absent:?}");
    assert!(absent.stderr.contains("--eab-kid"), "{absent:?}");

    let wrong = shop
        .run(
            &[
                &issue[..],
                &["--eab-kid", "kid-1", "--eab-hmac-key", &"A".repeat(43)],
            ]
            .concat(),
        )
        .await;
    assert_eq!(wrong.code, Some(6), "{wrong:?}");
    for cause in ["key id", "HMAC key", "directory"] {
        assert!(wrong.stderr.contains(cause), "{cause}: {wrong:?}");
    }
    assert!(!wrong.stderr.contains(&"A".repeat(43)), "{wrong:?}");

    let by_flag = [
        &issue[..],
        &["--eab-kid", "kid-1", "--eab-hmac-key", &encoded],
    ]
    .concat();
    let run = shop.run(&by_flag).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(!run.stdout.contains(&encoded), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn external_accounts_by_the_variables_of_others() {
    let key = [0xf8_u8; 32];
    let encoded: String = "-Pj4".chars().cycle().take(43).collect();
    let shop = Shop::open(Ca::builder().eab("kid-1", key.to_vec()).eab_required(true)).await;
    let variables = [
        ("ACME_EAB_KID", "kid-1"),
        ("ACME_EAB_HMAC_KEY", encoded.as_str()),
    ];
    let run = shop
        .run_with(&["issue", "example.test", "--agree-tos"], &variables)
        .await;
    assert_eq!(run.code, Some(0), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_zone_side_alone() {
    let shop = Shop::open(Ca::builder()).await;
    let value = "-begins-with-a-dash";
    let set = shop.run(&["dns", "set", OWNER, value]).await;
    assert_eq!(set.code, Some(0), "{set:?}");
    assert_eq!(shop.dns.values(OWNER), [value]);
    let second = shop.run(&["dns", "set", OWNER, "second"]).await;
    assert_eq!(second.code, Some(0), "{second:?}");

    let listed = shop.run(&["dns", "list", OWNER, "--output", "json"]).await;
    assert_eq!(
        listed.json()["values"].as_array().unwrap().len(),
        2,
        "{listed:?}"
    );
    let checked = shop.run(&["dns", "check", OWNER]).await;
    assert!(
        checked.stdout.contains(value) && checked.stdout.contains("second"),
        "{checked:?}"
    );
    let seen = shop
        .run(&["dns", "check", OWNER, "--value", value, "--watch"])
        .await;
    assert_eq!(seen.code, Some(0), "{seen:?}");
    let missing = shop.run(&["dns", "check", OWNER, "--value", "third"]).await;
    assert_eq!(missing.code, Some(5), "{missing:?}");
    let watched = [
        "dns",
        "check",
        OWNER,
        "--value",
        "third",
        "--watch",
        "--propagation-timeout",
        "1",
    ];
    let watched = shop.run(&watched).await;
    assert_eq!(watched.code, Some(5), "{watched:?}");
    assert!(watched.stderr.contains("not visible"), "{watched:?}");

    assert!(watched.stderr.contains(": 2 other values"), "{watched:?}");
    assert!(!watched.stderr.contains("dns check"), "{watched:?}");

    let unset = shop.run(&["dns", "unset", OWNER, value]).await;
    assert_eq!(unset.code, Some(0), "{unset:?}");
    let removed = format!("removed {value} from {OWNER}");
    assert!(unset.stdout.contains(&removed), "{unset:?}");
    let absent = shop.run(&["dns", "unset", OWNER, value]).await;
    assert_eq!(absent.code, Some(0), "{absent:?}");
    assert!(absent.stdout.contains("was not at"), "{absent:?}");
    assert_eq!(shop.dns.values(OWNER), ["second"]);
    let denied = shop
        .run_with(
            &["dns", "set", OWNER, "x"],
            &[("RFC2136_TSIG_SECRET", "AAAAAAAAAAAAAAAAAAAAAA==")],
        )
        .await;
    assert_eq!(denied.code, Some(4), "{denied:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_issues_all_and_says_which_failed() {
    let shop = Shop::open(Ca::builder()).await;
    let text = format!(
        "ca: {{ url: {directory}, root: ca.pem }}\n\
         agree-tos: true\n\
         dir: state\n\
         providers:\n  zone: {{ kind: rfc2136, server: {server}, tsig: {{ name: acme, secret: {{ env: SECRET }} }} }}\n\
         zones:\n  example.test: {{ provider: zone }}\n\
         propagation: {{ nameservers: [{server}] }}\n\
         certificates:\n  one: {{ names: [one.example.test] }}\n  two: {{ names: [\"*.two.example.test\"], key-type: ecdsa-p384 }}\n  \
         bad: {{ names: [bad.nowhere.test] }}\n",
        directory = shop.ca.directory_url(),
        server = shop.dns.addr(),
    );
    std::fs::write(shop.path().join("dnseal.yaml"), text).unwrap();
    let run = |words: &[&str]| {
        let mut command = dnseal(words);
        command
            .current_dir(shop.path())
            .env("DNSEAL_CONFIG", "dnseal.yaml")
            .env("SECRET", shop.key.secret_base64());
        async {
            Run::from(
                tokio::task::spawn_blocking(move || command.output().unwrap())
                    .await
                    .unwrap(),
            )
        }
    };
    #[cfg(unix)]
    make_private(&shop.path().join("dnseal.yaml"));

    let all = run(&["issue", "--output", "json"]).await;
    assert_eq!(all.code, Some(3), "{all:?}");
    let json = all.json();
    assert_eq!(json["certificates"][0]["name"], "one");
    assert_eq!(json["certificates"][1]["key_type"], "ecdsa-p384");
    assert_eq!(json["certificates"][2]["error"]["exit_code"], 4, "{json:#}");
    assert_eq!(json["stats"]["values_added"], 2, "{json:#}");

    let kept = run(&["issue", "one", "two"]).await;
    assert_eq!(kept.code, Some(0), "{kept:?}");
    assert!(kept.stdout.contains("kept two"), "{kept:?}");
    let failed = run(&["issue", "bad"]).await;
    assert_eq!(failed.code, Some(4), "{failed:?}");
}

/// What is printed for cron has every variable that was used and no secret; a certificate is not what is wanted of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_and_how_it_stays_there() {
    let shop = Shop::open(Ca::builder()).await;
    let issued = shop.run(&["issue", "example.test", "--agree-tos"]).await;
    assert_eq!(issued.code, Some(0), "{issued:?}");
    let line = issued.stdout.lines().find(|l| l.contains("17 */6 * * *"));
    let line = line.unwrap();
    assert!(line.contains("DNSEAL_DIR="), "{line}");
    assert!(line.ends_with("dnseal renew"), "{line}");
    assert!(
        issued.stdout.contains("RFC2136_TSIG_SECRET_FILE="),
        "{issued:?}"
    );
    assert!(
        !issued.stdout.contains(&shop.key.secret_base64()),
        "{issued:?}"
    );

    // The new names are written down, and then nothing can be written to DNS.
    let wrong = [("RFC2136_TSIG_SECRET", "AAAAAAAAAAAAAAAAAAAAAA==")];
    let replace = [
        "issue",
        "www.example.test",
        "--name",
        "example.test",
        "--replace-names",
        "--agree-tos",
    ];
    let failed = shop.run_with(&replace, &wrong).await;
    assert_eq!(failed.code, Some(4), "{failed:?}");
    let shown = shop
        .run(&["show", "example.test", "--output", "json"])
        .await
        .json();
    assert_eq!(shown["names"], serde_json::json!(["example.test"]));
    assert_eq!(shown["version"]["names"], shown["names"]);
    assert_eq!(
        shown["wanted_names"],
        serde_json::json!(["www.example.test"])
    );
    let listed = shop.run(&["list"]).await;
    assert!(!listed.stdout.contains("www."), "{listed:?}");
    let text = shop.run(&["show", "example.test"]).await;
    assert!(
        text.stdout.contains("wanted names  www.example.test"),
        "{text:?}"
    );

    let planned = shop
        .run(&["issue", "example.test", "--key-type", "rsa-2048", "--plan"])
        .await;
    assert!(
        planned.stdout.contains("its key is ecdsa-p256"),
        "{planned:?}"
    );
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_all_may_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;

    let shop = Shop::open(Ca::builder()).await;
    let path = shop.path().join("tsig");
    std::fs::write(&path, shop.key.secret_base64()).unwrap();
    let file = path.to_str().unwrap();
    let variables = [
        ("RFC2136_TSIG_SECRET", ""),
        ("RFC2136_TSIG_SECRET_FILE", file),
    ];
    for (mode, wanted) in [(0o644, true), (0o600, false)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let run = shop.run_with(&["dns", "list", OWNER], &variables).await;
        assert_eq!(run.code, Some(0), "{run:?}");
        assert_eq!(
            run.stderr.contains("everybody on this machine may read it"),
            wanted,
            "{run:?}"
        );
    }
}

#[cfg(unix)]
fn make_private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;

    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn demo() {
    let run = Run::from(dnseal(&["demo", "--output", "json"]).output().unwrap());
    assert_eq!(run.code, Some(0), "{run:?}");
    let json = run.json();
    assert_eq!(
        json["certificates"][0]["names"],
        serde_json::json!(["example.test", "*.example.test"])
    );
    assert_eq!(json["values_left"], serde_json::json!([]));
    assert_eq!(json["dns_updates"], 2);
    assert!(run.stderr.contains("validated"), "{run:?}");
    std::fs::remove_dir_all(json["directory"].as_str().unwrap()).unwrap();
}

/// The configuration that the repository shows is one.
#[cfg(unix)]
#[test]
fn the_example_is_a_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dnseal.yaml");
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/dnseal.yaml");
    std::fs::copy(example, &path).unwrap();
    make_private(&path);
    let mut command = dnseal(&["list", "--dir", "state", "--config", "dnseal.yaml"]);
    let run = Run::from(command.current_dir(dir.path()).output().unwrap());
    assert_eq!(run.code, Some(0), "{run:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = dnseal(&["schema"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn completions_and_man_pages() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let run = Run::from(dnseal(&["completions", shell]).output().unwrap());
        assert!(run.stdout.contains("dnseal"), "{shell}");
        // The others complete no values.
        if ["bash", "fish", "zsh"].contains(&shell) {
            for word in ["majority", "ecdsa-p384", "google-staging", "cloudflare"] {
                assert!(run.stdout.contains(word), "{word} in {shell}");
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let run = Run::from(
        dnseal(&["man", dir.path().to_str().unwrap()])
            .output()
            .unwrap(),
    );
    assert_eq!(run.code, Some(0), "{run:?}");
    let page = std::fs::read_to_string(dir.path().join("dnseal-issue.1")).unwrap();
    for wanted in [
        "DNSEAL_CA",
        ".SH EXAMPLES\n.nf\n",
        ".SH ENVIRONMENT",
        ".SH FILES",
        ".SH \"EXIT STATUS\"",
    ] {
        assert!(page.contains(wanted), "{wanted}: {page}");
    }
}
