//! A secret of a hosted provider, planted like a canary: whatever the binary writes at its most talkative, on success and on every
//! kind of failure, the secret is nowhere in it.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;

use dnseal_tests::{Cloud, Dnseal, Pebble, PebbleOptions, Run};
use tempfile::TempDir;

const OWNER: &str = "_acme-challenge.example.test";

#[test]
fn a_token_of_cloudflare_stays_inside() {
    secrets_stay_inside(Cloud::cloudflare());
}

#[test]
fn a_secret_key_of_route53_stays_inside() {
    secrets_stay_inside(Cloud::route53());
}

fn secrets_stay_inside(cloud: Cloud) {
    let Some(pebble) = Pebble::start(PebbleOptions::new(cloud.dns())) else {
        return;
    };
    let home = TempDir::with_prefix("dnseal-home-").unwrap();
    let nameserver = cloud.dns().to_string();
    let command = |env: Vec<(&'static str, String)>, words: &[&str]| {
        let command = Dnseal::new(home.path())
            .args(words)
            .args(["--provider", cloud.kind(), "--nameserver", &nameserver])
            .args(["-vv", "--log-file", "log", "--dir", "state"])
            .env("DNSEAL_LOG", "trace");
        env.into_iter()
            .fold(command, |command, (name, value)| command.env(name, value))
            .run()
    };
    let mut said = String::new();
    let mut hear = |run: Run, code: i32| {
        let run = run.expect_code(code);
        said.push_str(&run.stdout);
        said.push_str(&run.stderr);
    };

    let (directory, root) = (pebble.directory_url(), pebble.ca_pem_path());
    let root = root.to_str().unwrap();
    let trust = ["--ca", &directory, "--ca-root", root, "--agree-tos"];
    let issue = [&["issue", "example.test"], &trust[..]].concat();
    hear(command(cloud.env(0), &issue), 0);
    let panicking = [
        ("DNSEAL_TEST_PAUSE_AT", "dns-written".to_owned()),
        ("DNSEAL_TEST_PANIC_WITH", cloud.secret_variable().to_owned()),
    ];
    let env = [cloud.env(0), panicking.into()].concat();
    let again = [&["issue", "www.example.test"], &trust[..]].concat();
    let panicked = command(env, &again);
    assert!(
        panicked
            .stderr
            .contains("dnseal has failed at cli/src/pause.rs:"),
        "{panicked:?}"
    );
    hear(panicked, 1);
    let other = cloud.secret().replace("good", "evil");
    for output in ["text", "json"] {
        let words = |words: &str| {
            let words = words.split(' ').chain(["--output", output]);
            words.map(str::to_owned).collect::<Vec<String>>()
        };
        let mut run = |env, text: &str, code| {
            let words = words(text);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            hear(command(env, &words), code);
        };
        let set = format!("dns set {OWNER} v");
        run(cloud.env(0), &set, 0);
        run(cloud.env(0), &format!("dns list {OWNER}"), 0);
        run(cloud.env(0), &format!("dns unset {OWNER} v"), 0);
        run(cloud.env_with_secret(&other), &set, 4);
        run(cloud.env_of_nowhere(), &set, 4);
        // What looks like a setting with a forgotten key is not repeated.
        run(cloud.env(0), &format!("{set} --set {other}"), 2);
        cloud.echo();
        run(cloud.env(0), &set, 4);
    }
    assert!(said.contains("TRACE"), "the libraries underneath spoke");
    assert!(said.contains("apply example.test"), "the events are there");
    assert!(said.contains("bad "), "the server's words are there");
    for text in [said, everything_below(home.path())] {
        let told = text.lines().find(|line| line.contains("canary"));
        assert_eq!(told, None);
    }
}

/// The log, the store, the live files, as text.
fn everything_below(dir: &Path) -> String {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let texts = entries.map(|entry| match entry.file_type().unwrap() {
        kind if kind.is_dir() => everything_below(&entry.path()),
        kind if kind.is_file() => {
            String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned()
        }
        _ => String::new(),
    });
    texts.collect()
}
