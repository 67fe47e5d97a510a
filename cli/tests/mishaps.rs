//! What happens to files, pipes and processes around the program, and what it makes of that.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not count among the tests"
)]

mod shop;

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use dnseal_sandbox::ca::Ca;

use shop::OWNER;
use shop::Run;
use shop::Shop;

/// Two certificates, each of which has a file of its own to go to.
const TWO: &str = "
certificates:
  one: { names: [one.example.test], deploy: [{ files: { cert: HOME/one.pem } }] }
  two: { names: [two.example.test], deploy: [{ files: { cert: HOME/two.pem } }] }
";

fn configure(shop: &Shop, text: &str) {
    let path = shop.path().join("dnseal.yaml");
    let home = shop.path().display().to_string();
    fs::write(&path, text.replace("HOME", &home)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(shop.path(), fs::Permissions::from_mode(0o700)).unwrap();
}

async fn with_two() -> Shop {
    let shop = Shop::open(Ca::builder()).await;
    configure(&shop, TWO);
    let issued = run(&shop, &["issue", "--agree-tos"]).await;
    assert_eq!(issued.code, Some(0), "{issued:?}");
    shop
}

async fn run(shop: &Shop, words: &[&str]) -> Run {
    shop.run_with(words, &[("DNSEAL_CONFIG", "dnseal.yaml")])
        .await
}

fn head(shop: &Shop, name: &str) -> PathBuf {
    shop.path()
        .join("state/store/certificates")
        .join(name)
        .join("head.json")
}

fn pipe(at: &Path) {
    let made = std::process::Command::new("mkfifo").arg(at).status();
    assert!(made.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_record_that_cannot_be_read_keeps_no_other_from_being_deployed() {
    let shop = with_two().await;
    fs::write(head(&shop, "one"), "{").unwrap();
    fs::remove_file(shop.path().join("two.pem")).unwrap();

    let deployed = run(&shop, &["deploy"]).await;
    assert_eq!(deployed.code, Some(3), "{deployed:?}");
    assert!(
        deployed
            .stderr
            .contains("one: error: certificates/one/head.json"),
        "{deployed:?}"
    );
    assert!(shop.path().join("two.pem").exists(), "{deployed:?}");
    let named = run(&shop, &["deploy", "one", "two", "--force"]).await;
    assert_eq!(named.code, Some(3), "{named:?}");
    assert!(named.stdout.contains("deployed two"), "{named:?}");

    // Whoever asks for that one alone is told the same everywhere: the store cannot be used.
    for words in [
        &["deploy", "one"][..],
        &["show", "one"],
        &["renew", "one"],
        &["revoke", "one"],
        &["delete", "one", "--yes"],
        &["issue", "one", "--agree-tos"],
    ] {
        let refused = run(&shop, words).await;
        assert_eq!(refused.code, Some(2), "{words:?}: {refused:?}");
        assert!(refused.stderr.contains("one/head.json"), "{refused:?}");
    }
    let json = run(&shop, &["deploy", "--output", "json"]).await.json();
    assert_eq!(json["problems"][0]["name"], "one", "{json:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_copied_is_named_by_its_place() {
    let shop = with_two().await;
    fs::copy(head(&shop, "two"), head(&shop, "one")).unwrap();
    let listed = run(&shop, &["list"]).await;
    assert_eq!(listed.code, Some(3), "{listed:?}");
    let line = listed.stdout.lines().find(|l| l.starts_with("one"));
    assert!(line.unwrap().contains("the record of two"), "{listed:?}");
    let shown = run(&shop, &["show", "one"]).await;
    assert_eq!(shown.code, Some(2), "{shown:?}");
    let mut newer = fs::read_to_string(head(&shop, "two")).unwrap();
    newer = newer.replace("\"schema\": 1", "\"schema\": 99");
    fs::write(head(&shop, "two"), &newer).unwrap();
    for words in [
        &["show", "two"][..],
        &["renew", "two", "--force"],
        &["delete", "two", "--yes"],
        &["revoke", "two"],
    ] {
        let refused = run(&shop, words).await;
        assert_eq!(refused.code, Some(2), "{words:?}: {refused:?}");
        assert_eq!(fs::read_to_string(head(&shop, "two")).unwrap(), newer);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_changes_no_status() {
    let shop = with_two().await;
    fs::remove_file(shop.path().join("one.pem")).unwrap();
    configure(&shop, &TWO.replace("HOME/one.pem", "HOME/gone/one.pem"));
    let mut command = shop.command(&["deploy"]);
    let child = command
        .env("DNSEAL_CONFIG", "dnseal.yaml")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(8), "{output:?}");
}

#[test]
fn a_sandbox_whose_first_lines_nobody_reads_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = shop::dnseal(&["sandbox", "--output", "json"])
        .env("TMPDIR", dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    // The last that it writes before it says where everything is.
    let is_there = || {
        let mut entries = fs::read_dir(dir.path()).unwrap().flatten();
        entries.any(|entry| entry.path().join("tsig.key").exists())
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_there() && child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_child(&child);
    // One that has ended already says so on standard error.
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    let output = child.wait_with_output().unwrap();
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn names_that_are_no_text_are_no_bug() {
    use std::os::unix::ffi::OsStrExt;

    let odd = std::ffi::OsStr::from_bytes(b"\xff");
    let dir = tempfile::tempdir().unwrap();
    for words in [&["list"][..], &["report"], &["issue", "a.test", "--plan"]] {
        let output = shop::dnseal(words)
            .current_dir(dir.path())
            .env("HOME", dir.path())
            .env("DNSEAL_DIR", odd)
            .output()
            .unwrap();
        let run = Run::from(output);
        assert!(!run.stderr.contains("this is a bug"), "{run:?}");
        assert!(matches!(run.code, Some(0 | 2)), "{run:?}");
    }
    let mut man = shop::dnseal(&["man"]);
    let man = man.arg(odd).current_dir(dir.path()).output().unwrap();
    assert_eq!(man.status.code(), Some(0), "{man:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_never_ends_is_refused() {
    let shop = Shop::open(Ca::builder()).await;
    for words in [
        &["issue", "--csr", "/dev/zero", "--agree-tos"][..],
        &["revoke", "--cert-path", "/dev/zero"],
        &["issue", "a.example.test", "--ca-root", "/dev/zero"],
        &["account", "import", "/dev/zero"],
        &["dns", "list", OWNER, "--set", "tsig.file=/dev/zero"],
        &["list", "--config", "/dev/zero"],
    ] {
        let refused = shop.run(words).await;
        assert_eq!(refused.code, Some(2), "{words:?}: {refused:?}");
        assert!(refused.stderr.contains("/dev/zero"), "{refused:?}");
        assert!(refused.stderr.contains("KiB"), "{refused:?}");
    }
}

/// As `<(…)` of a shell gives it.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_may_come_through_a_pipe() {
    let shop = Shop::open(Ca::builder()).await;
    let path = shop.path().join("secret");
    pipe(&path);
    let secret = shop.key.secret_base64();
    let writer = std::thread::spawn({
        let path = path.clone();
        move || fs::write(path, secret).unwrap()
    });
    let variables = [
        ("RFC2136_TSIG_SECRET", ""),
        ("RFC2136_TSIG_SECRET_FILE", path.to_str().unwrap()),
    ];
    let listed = shop.run_with(&["dns", "list", OWNER], &variables).await;
    assert_eq!(listed.code, Some(0), "{listed:?}");
    writer.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_trusts_the_root_that_the_order_was_made_with() {
    let shop = Shop::open(Ca::builder()).await;
    let root = shop.path().join("ca.pem");
    let mut command = shop.command(&["issue", "example.test", "--agree-tos"]);
    let command = command
        .env("DNSEAL_TEST_PAUSE_AT", "dns-written")
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("paused at")));
    child.kill().unwrap();
    child.wait().unwrap();
    drop(said);

    // Nothing in the environment says whom to trust.
    let moved = shop.path().join("moved.pem");
    fs::rename(root, &moved).unwrap();
    let mut command = shop.command(&["delete", "example.test", "--yes", "--ca-root"]);
    command.arg(&moved).env_remove("DNSEAL_CA_ROOT");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let deleted = Run::from(output.await.unwrap());
    assert_eq!(deleted.code, Some(0), "{deleted:?}");
    assert!(!deleted.stderr.contains("warning"), "{deleted:?}");
    assert!(!head(&shop, "example.test").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_keep_a_certificate_from_being_deployed_is_told_beforehand() {
    let shop = Shop::open(Ca::builder()).await;
    fs::write(shop.path().join("reload"), "#!/bin/sh\n").unwrap();
    configure(
        &shop,
        "
certificates:
  one:
    names: [one.example.test]
    deploy:
      - { files: { cert: HOME/gone/one.pem } }
      - { files: { key: { path: HOME/key.pem, owner: nobody-of-that-name } } }
      - { run: [HOME/reload] }
      - { name: good, files: { chain: HOME/chain.pem } }
",
    );
    let problems = [
        "/gone is not there",
        "no user `nobody-of-that-name`",
        "not executable",
    ];
    let planned = run(&shop, &["issue", "--plan"]).await;
    assert_eq!(planned.code, Some(8), "{planned:?}");
    let examined = run(&shop, &["doctor", "--agree-tos", "--read-only"]).await;
    assert_eq!(examined.code, Some(8), "{examined:?}");
    for problem in problems {
        assert!(planned.stdout.contains(problem), "{problem}: {planned:?}");
        assert!(examined.stdout.contains(problem), "{problem}: {examined:?}");
    }
    assert!(
        planned.stdout.contains("deployed: one to good"),
        "{planned:?}"
    );
    assert!(
        examined.stdout.contains("deploying would fail: 3 failures"),
        "{examined:?}"
    );
    assert!(!shop.path().join("chain.pem").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_certificate_writes_no_other_replaces() {
    let shop = Shop::open(Ca::builder()).await;
    configure(&shop, "deploy: [{ files: { cert: HOME/all.pem } }]");
    let first = run(&shop, &["issue", "one.example.test", "--agree-tos"]).await;
    assert_eq!(first.code, Some(0), "{first:?}");
    let written = fs::read(shop.path().join("all.pem")).unwrap();
    let second = run(&shop, &["issue", "two.example.test", "--agree-tos"]).await;
    assert_eq!(second.code, Some(8), "{second:?}");
    let both = "both one.example.test and two.example.test are to be written to";
    assert!(second.stderr.contains(both), "{second:?}");
    assert_eq!(fs::read(shop.path().join("all.pem")).unwrap(), written);

    std::os::unix::fs::symlink("state", shop.path().join("link")).unwrap();
    for place in ["state/store", "state/live", "state", "link/live"] {
        let file = match place {
            "state" => "local.json",
            _ => "x.pem",
        };
        configure(
            &shop,
            &format!("deploy: [{{ files: {{ cert: 'HOME/{place}/{file}' }} }}]"),
        );
        let before = fs::read(shop.path().join("state/local.json")).unwrap();
        let refused = run(&shop, &["deploy", "one.example.test"]).await;
        assert_eq!(refused.code, Some(8), "{place}: {refused:?}");
        assert!(!shop.path().join(place).join("x.pem").exists(), "{place}");
        let after = fs::read(shop.path().join("state/local.json")).unwrap();
        assert!(after.starts_with(b"{"), "{place}");
        assert!(place != "state" || after == before, "{place}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn renewing_mends_what_was_lost_or_damaged() {
    let shop = with_two().await;
    let live = |file: &str| shop.path().join("state/live/one").join(file);
    let key = fs::read(live("privkey.pem")).unwrap();
    let quiet = run(&shop, &["renew"]).await;
    assert_eq!(quiet.code, Some(0), "{quiet:?}");
    let listed = run(&shop, &["list"]).await;
    assert!(!listed.stdout.contains("damaged"), "{listed:?}");

    fs::write(live("privkey.pem"), "junk").unwrap();
    fs::write(shop.path().join("two.pem"), "junk").unwrap();
    let listed = run(&shop, &["list"]).await;
    assert!(listed.stdout.contains("valid, damaged"), "{listed:?}");
    assert!(listed.stdout.contains("changed or removed"), "{listed:?}");
    let shown = run(&shop, &["show", "one"]).await;
    assert!(shown.stdout.contains("`dnseal renew`"), "{shown:?}");
    let renewed = run(&shop, &["renew"]).await;
    assert_eq!(renewed.code, Some(0), "{renewed:?}");
    assert_eq!(fs::read(live("privkey.pem")).unwrap(), key);
    let two = fs::read_to_string(shop.path().join("two.pem")).unwrap();
    assert!(two.contains("BEGIN CERTIFICATE"), "{renewed:?}");
    let listed = run(&shop, &["list"]).await;
    assert!(!listed.stdout.contains("damaged"), "{listed:?}");

    let stored = head(&shop, "one").with_file_name("versions/0001.privkey.pem");
    fs::remove_file(stored).unwrap();
    let listed = run(&shop, &["list", "--output", "json"]).await.json();
    let damage = listed["certificates"][0]["damage"].as_str().unwrap();
    assert!(damage.contains("0001.privkey.pem"), "{damage}");
    let renewed = run(&shop, &["renew"]).await;
    assert_eq!(renewed.code, Some(0), "{renewed:?}");
    assert!(renewed.stdout.contains("one (version 2)"), "{renewed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_was_ended_can_be_removed_and_an_open_one_cannot() {
    let shop = Shop::open(Ca::builder()).await;
    let register = ["account", "register", "--account", "work", "--agree-tos"];
    let registered = shop.run(&register).await;
    assert_eq!(registered.code, Some(0), "{registered:?}");
    let refused = shop.run(&["account", "remove", "work"]).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(
        refused.stderr.contains("account deactivate work"),
        "{refused:?}"
    );
    let ended = shop.run(&["account", "deactivate", "work", "--yes"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let removed = shop.run(&["account", "remove", "work"]).await;
    assert_eq!(removed.code, Some(0), "{removed:?}");
    let left = shop.run(&["account", "list"]).await;
    assert!(!left.stdout.contains("work"), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_cannot_be_used_stops_only_who_needs_it() {
    let shop = Shop::open(Ca::builder()).await;
    let config = format!(
        "
providers:
  good: {{ kind: rfc2136, server: {server}, tsig: {{ file: HOME/tsig }} }}
  broken: {{ kind: rfc2136, server: {server}, tsig: {{ name: k, secret: {{ file: HOME/gone }} }} }}
zones:
  example.test: {{ provider: good }}
  elsewhere.example.test: {{ provider: broken }}
certificates:
  one: {{ names: [one.example.test] }}
  two: {{ names: [elsewhere.example.test] }}
",
        server = shop.dns.addr(),
    );
    let key = format!(
        "key \"{}\" {{ algorithm {}; secret \"{}\"; }};\n",
        shop.key.name(),
        shop.key.algorithm().as_str(),
        shop.key.secret_base64()
    );
    fs::write(shop.path().join("tsig"), key).unwrap();
    configure(&shop, &config);
    let variables = [
        ("DNSEAL_CONFIG", "dnseal.yaml"),
        ("DNSEAL_PROVIDER", ""),
        ("RFC2136_TSIG_ALGORITHM", ""),
        ("RFC2136_TSIG_KEY", ""),
        ("RFC2136_TSIG_SECRET", ""),
    ];
    let issued = shop.run_with(&["issue", "--agree-tos"], &variables).await;
    assert_eq!(issued.code, Some(3), "{issued:?}");
    assert!(issued.stdout.contains("issued one"), "{issued:?}");
    assert!(
        issued.stderr.contains("provider `broken` cannot be used"),
        "{issued:?}"
    );
    let one = shop
        .run_with(&["renew", "one", "--force"], &variables)
        .await;
    assert_eq!(one.code, Some(0), "{one:?}");
}

/// No provider is needed to name a damaged record, and the others are cleaned up after.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_is_named_by_the_sweep_and_ends_it_with_2() {
    let shop = with_two().await;
    fs::write(head(&shop, "one"), "{").unwrap();
    fs::write(shop.path().join("state/store/certificates/stray"), "x").unwrap();
    for words in [
        &["dns", "gc"][..],
        &["dns", "gc", "one"],
        &["dns", "gc", "--provider", "rfc2136"],
    ] {
        let swept = run(&shop, words).await;
        assert_eq!(swept.code, Some(2), "{swept:?}");
        assert!(
            swept.stdout.contains("certificates/one/head.json"),
            "{swept:?}"
        );
        assert_eq!(
            swept.stdout.contains("stray"),
            words.len() != 3,
            "{swept:?}"
        );
    }
    // That one alone has nothing, by its name and by one in it.
    for name in ["two", "two.example.test"] {
        let swept = run(&shop, &["dns", "gc", name]).await;
        assert_eq!(swept.code, Some(0), "{swept:?}");
        assert!(swept.stdout.contains("nothing is left"), "{swept:?}");
    }
    let unknown = run(&shop, &["dns", "gc", "three"]).await;
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    assert!(unknown.stderr.contains("three"), "{unknown:?}");
}
