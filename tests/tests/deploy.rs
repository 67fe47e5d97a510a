//! Deployment as a user meets it: the binary, a configuration, files and commands of this machine.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dnseal_tests::{Dnseal, Home, Sandbox, Shop, wait_until};
use serde_json::Value;

/// A shop, and a configuration for its machine.
struct Machine {
    shop: Shop,
    config: PathBuf,
}

impl Machine {
    fn open(rest: &str) -> Option<Self> {
        let shop = Shop::open()?;
        let config = shop.home().join("dnseal.yaml");
        fs::create_dir(shop.home().join("etc")).unwrap();
        let machine = Self { shop, config };
        machine.configure(rest);
        Some(machine)
    }

    fn configure(&self, rest: &str) {
        let home = self.home().display().to_string();
        fs::write(&self.config, rest.replace("HOME", &home)).unwrap();
    }

    fn home(&self) -> &Path {
        self.shop.home()
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.home().join(name)).unwrap_or_default()
    }

    fn issue(&self, names: &[&str]) -> Dnseal {
        self.shop.issue(names).arg("--config").arg(&self.config)
    }

    fn deploy(&self) -> Dnseal {
        self.shop
            .command("deploy")
            .arg("--config")
            .arg(&self.config)
    }

    fn renew(&self) -> Dnseal {
        self.shop
            .command("renew")
            .arg("--config")
            .arg(&self.config)
            .env("RFC2136_TSIG_SECRET", &self.shop.key.secret_base64)
    }

    fn orders(&self) -> usize {
        self.shop.pebble.count("POST", "/order-plz")
    }

    fn script(&self, name: &str, text: &str) {
        let path = self.home().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(
            &path,
            format!("#!/bin/sh\n{text}\n").replace("HOME", &self.home().display().to_string()),
        )
        .unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

const CERTIFICATE: &str = "
certificates:
  shop:
    names: [shop.example.test, www.example.test]
    deploy:
      - files:
          combined: { path: 'HOME/etc/{name}.pem', mode: '0640' }
          pkcs12: { path: HOME/etc/shop.p12, password: { file: HOME/password } }
        run: [HOME/reload]
";

#[test]
fn a_command_that_fails_twice_is_tried_by_the_next_runs_without_an_order() {
    let Some(machine) = Machine::open(CERTIFICATE) else {
        return;
    };
    fs::write(machine.home().join("password"), "secret\n").unwrap();
    machine.script(
        "reload",
        "echo x >> HOME/tries; [ $(wc -l < HOME/tries) -ge 3 ] || { echo port in use >&2; exit 1; }",
    );
    let first = machine.issue(&["shop"]).run();
    assert_eq!(first.status.code(), Some(8), "{first:?}");
    assert!(first.stderr.contains("ended with status 1"), "{first:?}");
    assert!(first.stderr.contains("  port in use"), "{first:?}");
    assert!(first.stdout.contains("issued shop"), "{first:?}");
    let requests = machine.shop.pebble.requests().len();
    let orders = machine.orders();

    let second = machine.issue(&["shop"]).args(["--output", "json"]).run();
    assert_eq!(second.status.code(), Some(8), "{second:?}");
    let document: Value = serde_json::from_str(&second.stdout).unwrap();
    assert_eq!(
        document["deployments"][0]["result"], "failed",
        "{document:#}"
    );
    let third = machine.issue(&["shop"]).run().success();
    assert!(
        third.stdout.contains("deployed shop (version 1)"),
        "{third:?}"
    );
    assert_eq!(
        machine.shop.pebble.requests().len(),
        requests,
        "nobody was asked"
    );
    assert_eq!(machine.orders(), orders);

    let fourth = machine.deploy().run().success();
    assert!(fourth.stdout.contains("nothing to deploy"), "{fourth:?}");
    machine.deploy().args(["shop", "--force"]).run().success();
    assert_eq!(machine.text("tries").lines().count(), 4);

    let combined = machine.text("etc/shop.pem");
    let of_store = fs::read_to_string(machine.shop.live("shop", "fullchain.pem")).unwrap();
    assert!(
        combined.starts_with("-----BEGIN PRIVATE KEY-----"),
        "{combined}"
    );
    assert!(combined.ends_with(&of_store));
    let mode = fs::metadata(machine.home().join("etc/shop.pem"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
    let opened = std::process::Command::new("openssl")
        .args(["pkcs12", "-nodes", "-passin", "pass:secret", "-in"])
        .arg(machine.home().join("etc/shop.p12"))
        .output()
        .unwrap();
    assert!(opened.status.success(), "{opened:?}");
}

#[test]
fn renew_deploys_what_is_not_due() {
    let Some(machine) = Machine::open(
        "
certificates:
  shop:
    names: [shop.example.test, www.example.test]
    deploy: [{ run: [HOME/reload] }]
notify: [{ run: [sh, -c, 'cat >> HOME/told'], events: [deployed, deploy-failed] }]
",
    ) else {
        return;
    };
    machine.script(
        "reload",
        "echo x >> HOME/tries; [ $(wc -l < HOME/tries) -ge 3 ] || { echo port in use >&2; exit 1; }",
    );
    let first = machine.issue(&["shop"]).run();
    assert_eq!(first.status.code(), Some(8), "{first:?}");
    let second = machine.renew().run();
    assert_eq!(second.status.code(), Some(8), "{second:?}");
    assert!(second.stderr.contains("  port in use"), "{second:?}");
    assert!(
        second.stdout.contains("not deployed shop (version 1)"),
        "{second:?}"
    );
    let third = machine.renew().run().success();
    assert!(
        third.stdout.contains("deployed shop (version 1)"),
        "{third:?}"
    );
    let fourth = machine.renew().run().success();
    assert!(!fourth.stdout.contains("deployed"), "{fourth:?}");
    assert_eq!(machine.orders(), 1);
    assert_eq!(machine.text("tries").lines().count(), 3);

    // What is said once a day of each certificate.
    let told: Vec<Value> = machine
        .text("told")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let events: Vec<&Value> = told.iter().map(|notice| &notice["event"]).collect();
    assert_eq!(events, ["deploy-failed", "deployed"], "{told:#?}");
    assert!(
        told[0]["error"]["message"]
            .as_str()
            .unwrap()
            .contains("ended with status 1"),
        "{told:#?}"
    );
    assert_eq!(told[1]["version"], 1, "{told:#?}");

    // Another target is deployed to as well, and a renewal reaches both.
    let config = fs::read_to_string(&machine.config).unwrap();
    machine.configure(&config.replace(
        "deploy: [{ run",
        "deploy: [{ files: { cert: { path: HOME/etc/shop.pem } } }, { run",
    ));
    let fifth = machine.renew().run().success();
    assert!(fifth.stdout.contains("etc/shop.pem"), "{fifth:?}");
    let sixth = machine.renew().arg("--force").run().success();
    assert!(
        sixth.stdout.contains("deployed shop (version 2)"),
        "{sixth:?}"
    );
    assert_eq!(machine.orders(), 2);
    assert_eq!(machine.text("tries").lines().count(), 4);
}

#[test]
fn hooks_around_a_run_and_what_they_see() {
    let Some(machine) = Machine::open(
        "
hooks:
  pre: [{ shell: 'echo pre >> HOME/order' }]
  deploy: [{ shell: 'echo deploy $RENEWED_DOMAINS >> HOME/order' }]
  post: [{ shell: 'echo post $RENEWED_DOMAINS / $FAILED_DOMAINS >> HOME/order' }]
  directory: hooks.d
certificates:
  a: { names: [a.example.test] }
  b: { names: [b.example.test] }
  c: { names: [c.no-such-zone.invalid] }
",
    ) else {
        return;
    };
    machine.script("hooks.d/pre/script", "echo pre.d >> HOME/order");
    machine.script(
        "hooks.d/deploy/script",
        "[ -f $RENEWED_LINEAGE/privkey.pem ] && echo deploy.d $RENEWED_DOMAINS >> HOME/order; env > HOME/env",
    );
    machine.script("hooks.d/post/script", "echo post.d >> HOME/order");
    let run = machine.issue(&[]).env("DNSEAL_CANARY", "secret").run();
    assert_eq!(run.status.code(), Some(3), "{run:?}");
    let text = machine.text("order");
    let mut lines: Vec<&str> = text.lines().collect();
    lines[2..4].sort_unstable();
    assert_eq!(
        lines[..4],
        [
            "pre.d",
            "pre",
            "deploy.d a.example.test",
            "deploy.d b.example.test"
        ]
    );
    let shared = lines[4].strip_prefix("deploy ").unwrap();
    let mut names: Vec<&str> = shared.split(' ').collect();
    names.sort_unstable();
    assert_eq!(names, ["a.example.test", "b.example.test"]);
    assert_eq!(lines[5], "post.d");
    assert_eq!(
        lines[6..],
        ["post a.example.test b.example.test / c.no-such-zone.invalid"]
    );
    let env = machine.text("env");
    for absent in ["CANARY", "RFC2136", "SECRET"] {
        assert!(!env.contains(absent), "{env}");
    }

    // Nothing to order, nothing to deploy: no hook.
    machine.issue(&["a", "b"]).run().success();
    assert_eq!(machine.text("order"), text);
}

#[test]
fn killed_in_a_command_the_next_run_does_it_again() {
    let Some(machine) = Machine::open(CERTIFICATE) else {
        return;
    };
    fs::write(machine.home().join("password"), "secret\n").unwrap();
    machine.script(
        "reload",
        "echo begun > HOME/begun; echo $$ > HOME/pid; sleep 300",
    );
    let running = machine.issue(&["shop"]).spawn();
    let runs = || machine.home().join("pid").exists();
    assert!(wait_until(Duration::from_secs(60), runs));
    running.kill();
    running.wait();
    machine.script("reload", "echo done > HOME/done");
    let orders = machine.orders();
    let run = machine.deploy().run().success();
    assert!(run.stdout.contains("deployed shop"), "{run:?}");
    assert_eq!(machine.text("done"), "done\n");
    assert_eq!(machine.orders(), orders);
    let pid = machine.text("pid");
    let _ = std::process::Command::new("kill")
        .args(["-9", "--", &format!("-{}", pid.trim())])
        .status();

    // A certificate that is deleted is forgotten here as well.
    machine.shop.command("delete shop").run().success();
    assert!(!machine.text("state/local.json").contains("shop"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_runs_commands_where_that_is_asked_for() {
    let sandbox = Sandbox::start().await;
    let home = Home::new(&sandbox, "");
    let at = |name: &str| home.path().join(name);
    let read = |name: &str| fs::read_to_string(at(name)).unwrap_or_default();
    let note = |word: &str| {
        format!(
            "{{ shell: 'echo {word} $DNSEAL_DRY_RUN $DNSEAL_CERT_VERSION $RENEWED_LINEAGE >> {}; [ ! -e {} ]' }}",
            at("ran").display(),
            at("fail").display()
        )
    };
    home.configure(&format!(
        "hooks: {{ pre: [{}], deploy: [{}], post: [{}] }}
notify: [{{ run: [sh, -c, 'echo >> told'] }}]
certificates:
  example.test:
    names: [example.test]
    deploy: [{{ files: {{ fullchain: {} }}, shell: 'echo target $DNSEAL_DRY_RUN >> {}' }}]
",
        note("pre"),
        note("deploy"),
        note("post"),
        at("out.pem").display(),
        at("ran").display(),
    ));
    let dry = |words: &[&str]| {
        home.dnseal(words)
            .arg("--dry-run")
            .env("DNSEAL_STAGING", sandbox.ca.directory_url())
    };

    // Nobody gets a certificate that is of no use.
    let run = dry(&["issue", "--run-hooks"]).run().success();
    assert_eq!(read("ran"), "pre 1\npost 1\n", "{run:?}");
    assert!(run.stderr.contains("it was never issued"), "{run:?}");
    assert!(!at("state/store").exists());

    home.dnseal(&["renew"]).run().success();
    let (deployed, told) = (read("out.pem"), read("told"));
    let local = read("state/local.json");
    fs::write(at("ran"), "").unwrap();
    dry(&["renew"]).run().success();
    assert_eq!(read("ran"), "");

    let run = dry(&["renew", "--run-hooks"]).run().success();
    let live = at("state/live/example.test");
    let live = live.display();
    assert_eq!(
        read("ran"),
        format!("pre 1\ntarget 1\ndeploy 1 1 {live}\npost 1\n"),
        "{run:?}"
    );
    assert!(
        run.stdout.contains("dry run: example.test: hook "),
        "{run:?}"
    );

    fs::write(at("fail"), "").unwrap();
    let run = dry(&["renew", "--run-hooks", "--output", "json"]).run();
    let json = run.expect_code(8).json();
    let results: Vec<&Value> = json["deployments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| &d["result"])
        .collect();
    assert_eq!(
        results,
        ["deployed", "failed", "failed", "failed"],
        "{json:#}"
    );
    assert_eq!(read("out.pem"), deployed);
    assert_eq!((read("state/local.json"), read("told")), (local, told));
    home.dnseal(&["renew", "--run-hooks"]).run().expect_code(2);
}
