//! What certbot's integration suite shows of the life of a certificate, as far as it applies to DNS and is not shown elsewhere, each
//! against the sandbox and by the binary. The tests are named by what holds; certbot's name of the case stands above each.

#![expect(clippy::unwrap_used, reason = "tests")]
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use dnseal_sandbox::ca::Ca;
use dnseal_tests::{Home, Run, Sandbox, Shop, TsigKey, ZoneSpec};
use serde_json::Value;

/// A home with nothing in its configuration beyond CA and provider.
struct Desk {
    sandbox: Sandbox,
    home: Home,
}

impl Desk {
    async fn open(more: &str) -> Self {
        let sandbox = Sandbox::start().await;
        let home = Home::new(&sandbox, more);
        Self { sandbox, home }
    }

    fn run(&self, words: &[&str]) -> Run {
        self.home.dnseal(words).run()
    }

    fn at(&self, path: &str) -> PathBuf {
        self.home.path().join(path)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_default()
    }

    fn head(&self, name: &str) -> Value {
        let path = format!("state/store/certificates/{name}/head.json");
        serde_json::from_str(&self.read(&path)).unwrap_or_default()
    }

    fn key_type(&self, name: &str) -> String {
        let head = self.head(name);
        head["current"]["key_type"].as_str().unwrap().to_owned()
    }

    fn privkey(&self, name: &str) -> String {
        self.read(&format!("state/live/{name}/privkey.pem"))
    }

    fn script(&self, path: &str, text: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// test_basic_commands
#[test]
fn help_and_version_leave_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    for words in [
        &["--help"][..],
        &["help", "renew"],
        &["--version"],
        &["list"],
    ] {
        dnseal_tests::Dnseal::new(home.path())
            .args(words)
            .env("TMPDIR", home.path())
            .run()
            .success();
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "{words:?}");
    }
}

/// test_cert_name, test_renew of it, test_delete
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_goes_by_its_own_name() {
    let desk = Desk::open("").await;
    let names = ["a.example.test", "b.example.test", "--name", "shop"];
    desk.run(&[&["issue"], &names[..]].concat()).success();
    assert!(desk.at("state/live/shop/fullchain.pem").exists());
    assert!(!desk.at("state/live/a.example.test").exists());
    desk.run(&["renew", "shop", "--force"]).success();
    assert_eq!(desk.head("shop")["current"]["number"], 2);
    assert_eq!(desk.head("shop")["current"]["names"][1], "b.example.test");
    desk.run(&["delete", "shop", "--yes"]).success();
    assert!(!desk.at("state/live/shop").exists());
}

/// test_renew_files_permissions, test_renew_files_propagate_permissions
#[tokio::test(flavor = "multi_thread")]
async fn owners_groups_and_modes_outlive_a_renewal() {
    let desk = Desk::open("").await;
    desk.run(&["issue", "example.test"]).success();
    let path = |file: &str| desk.at("state/live/example.test").join(file);
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(
        mode(&path("privkey.pem")),
        0o600,
        "a key is for nobody else"
    );
    let set = |file: &str, mode| {
        fs::set_permissions(path(file), fs::Permissions::from_mode(mode)).unwrap();
    };
    set("privkey.pem", 0o440);
    set("fullchain.pem", 0o444);
    let group = [1, 12]
        .into_iter()
        .find(|group| std::os::unix::fs::chown(path("privkey.pem"), None, Some(*group)).is_ok());
    for _ in 0..2 {
        desk.run(&["renew", "--force"]).success();
        assert_eq!(mode(&path("privkey.pem")), 0o440);
        assert_eq!(mode(&path("fullchain.pem")), 0o444);
        if let Some(group) = group {
            assert_eq!(fs::metadata(path("privkey.pem")).unwrap().gid(), group);
        }
    }
    // What everybody may read is no key for long.
    set("privkey.pem", 0o444);
    desk.run(&["renew", "--force"]).success();
    assert_eq!(mode(&path("privkey.pem")) & 0o007, 0);
}

/// test_graceful_renew_it_is_not_time, test_graceful_renew_it_is_time, test_renew_with_hook_scripts, test_renew_hook_override
#[tokio::test(flavor = "multi_thread")]
async fn hooks_run_for_a_renewal_and_not_without_one() {
    let desk = Desk::open("").await;
    let ran = desk.at("ran").display().to_string();
    let configured = |renew_before: &str, word: &str| {
        format!(
            "certificates: {{ example.test: {{ names: [example.test]{renew_before} }} }}
hooks:
  pre: [{{ shell: 'echo pre {word} >> {ran}' }}]
  deploy: [{{ shell: 'echo deploy {word} >> {ran}' }}]
  post: [{{ shell: 'echo post {word} >> {ran}' }}]
  directory: hooks.d
"
        )
    };
    for (when, script) in [("pre", "10-first"), ("post", "10-last")] {
        let text = format!("#!/bin/sh\necho {when}.d >> {ran}\n");
        desk.script(&format!("hooks.d/{when}/{script}"), &text);
    }
    desk.home.configure(&configured("", "one"));
    desk.run(&["issue"]).success();
    let first = "pre.d\npre one\ndeploy one\npost.d\npost one\n";
    assert_eq!(desk.read("ran"), first);
    desk.run(&["renew"]).success();
    assert_eq!(desk.read("ran"), first, "it is not time");

    // A hook that is new has not been told of the version in force; around an order there is none.
    desk.home.configure(&configured("", "two"));
    desk.run(&["renew"]).success();
    assert_eq!(desk.read("ran"), format!("{first}deploy two\n"));
    assert_eq!(desk.head("example.test")["current"]["number"], 1);

    // It is time, and the hooks are those that are configured now.
    fs::write(&ran, "").unwrap();
    let path = "state/store/certificates/example.test/head.json";
    let mut head = desk.head("example.test");
    head["current"]["not_before"] = "2026-01-01T00:00:00Z".into();
    head["renewal"]["advice"] = Value::Null;
    fs::write(desk.at(path), head.to_string()).unwrap();
    desk.home
        .configure(&configured(", renew-before: 100d", "two"));
    let run = desk.run(&["renew"]).success();
    assert_eq!(
        desk.read("ran"),
        first.replace("one", "two"),
        "{}",
        run.stderr
    );
    assert_eq!(desk.head("example.test")["current"]["number"], 2);
}

/// test_empty_hook_scripts
#[tokio::test(flavor = "multi_thread")]
async fn scripts_without_a_first_line_run_as_the_shell_runs_them() {
    let desk = Desk::open("hooks: { directory: hooks.d }\n").await;
    desk.script("hooks.d/pre/empty", "");
    desk.script("hooks.d/deploy/empty", "");
    let ran = desk.at("ran").display().to_string();
    desk.script(
        "hooks.d/post/bare",
        &format!("echo $DNSEAL_HOOK >> {ran}\n"),
    );
    fs::write(desk.at("hooks.d/post/README"), "not a script").unwrap();
    desk.run(&["issue", "example.test"]).success();
    assert_eq!(desk.read("ran"), "post\n");
    desk.script("hooks.d/post/machine", "\u{7f}ELF\0\0\0 of no machine");
    let run = desk
        .run(&["issue", "example.test", "--force"])
        .expect_code(8);
    assert!(run.stderr.contains("cannot run"), "{run:?}");
}

/// test_default_key_type, test_renew_with_ec_keys, test_changed_private_key_complexity, test_ancient_rsa_key_type_preserved,
/// test_incorrect_key_type, test_ecdsa_curves (secp521r1 is no key of the web's CAs)
#[tokio::test(flavor = "multi_thread")]
async fn a_key_type_stays_until_another_is_asked_for() {
    let desk = Desk::open("").await;
    desk.run(&["issue", "a.example.test"]).success();
    assert_eq!(desk.key_type("a.example.test"), "ecdsa-p256");
    for (kind, name) in [
        ("ecdsa-p384", "b.example.test"),
        ("rsa-3072", "c.example.test"),
    ] {
        desk.run(&["issue", name, "--key-type", kind]).success();
        desk.run(&["renew", name, "--force"]).success();
        assert_eq!(desk.key_type(name), kind);
    }
    // What an older program wrote says only what is there.
    let path = "state/store/certificates/c.example.test/head.json";
    let mut head = desk.head("c.example.test");
    head["renewal"].as_object_mut().unwrap().remove("recipe");
    fs::write(desk.at(path), head.to_string()).unwrap();
    desk.run(&["renew", "c.example.test", "--force"]).success();
    assert_eq!(desk.key_type("c.example.test"), "rsa-3072");

    desk.run(&["issue", "c.example.test", "--key-type", "rsa-2048"])
        .success();
    assert_eq!(desk.key_type("c.example.test"), "rsa-2048");
    for kind in ["ecdsa-p521", "unknown", "rsa-1024"] {
        let run = desk
            .run(&["issue", "a.example.test", "--key-type", kind])
            .expect_code(2);
        assert!(run.stderr.contains("there is no key type"), "{run:?}");
    }
}

/// test_reuse_key, test_reuse_key_allow_subset, test_new_key
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_kept_is_kept_by_each_renewal() {
    let desk = Desk::open("").await;
    let names = ["issue", "example.test", "nobodys.invalid"];
    desk.run(&[&names[..], &["--reuse-key", "--allow-subset"]].concat())
        .success();
    let first = desk.privkey("example.test");
    assert!(first.contains("PRIVATE KEY"));
    for _ in 0..2 {
        desk.run(&["renew", "--force"]).success();
        assert_eq!(desk.privkey("example.test"), first);
    }
    desk.run(&[&names[..], &["--reuse-key", "--allow-subset", "--new-key"]].concat())
        .success();
    let second = desk.privkey("example.test");
    assert_ne!(second, first);
    desk.run(&["renew", "--force"]).success();
    assert_eq!(desk.privkey("example.test"), second);
    assert_eq!(
        desk.head("example.test")["current"]["left_out"][0]["name"],
        "nobodys.invalid"
    );
}

/// test_revoke_and_unregister, test_revoke_multiple_lineages, test_revoke_mutual_exclusive_flags
#[tokio::test(flavor = "multi_thread")]
async fn each_reason_is_told_and_nothing_else_is_removed() {
    let desk = Desk::open("").await;
    for (reason, code) in [
        ("unspecified", 0),
        ("key-compromise", 1),
        ("affiliation-changed", 3),
        ("superseded", 4),
        ("cessation-of-operation", 5),
    ] {
        let name = format!("{reason}.example.test");
        desk.run(&["issue", &name]).success();
        desk.run(&["revoke", &name, "--reason", reason]).success();
        let issued = desk.sandbox.ca.issued();
        let told = issued.last().unwrap().revoked.as_ref().unwrap();
        assert_eq!(told.reason.unwrap_or(0), code);
    }
    desk.run(&["issue", "a.example.test"]).success();
    desk.run(&[
        "issue",
        "a.example.test",
        "b.example.test",
        "--name",
        "both",
    ])
    .success();
    let cert = desk.at("copy.pem");
    fs::copy(desk.at("state/live/both/cert.pem"), &cert).unwrap();
    let cert = cert.display().to_string();
    desk.run(&["revoke", "both", "--cert-path", &cert])
        .expect_code(2);
    desk.run(&["revoke", "both", "--delete", "--yes"]).success();
    assert!(!desk.at("state/live/both").exists());
    assert!(desk.at("state/live/a.example.test/privkey.pem").exists());
    assert!(
        desk.head("a.example.test")["current"]
            .get("revoked")
            .is_none()
    );
    desk.run(&["account", "deactivate", "--yes"]).success();
    assert_eq!(desk.sandbox.ca.accounts().len(), 1);
}

/// test_reconfigure
#[tokio::test(flavor = "multi_thread")]
async fn how_it_is_asked_for_changes_without_an_order() {
    let desk = Desk::open("").await;
    desk.run(&["issue", "example.test"]).success();
    desk.run(&["issue", "example.test", "--renew-before", "50%"])
        .success();
    assert_eq!(desk.sandbox.ca.issued().len(), 1);
    let json = desk.run(&["list", "--output", "json"]).success().json();
    let renewal = &json["certificates"][0]["renewal"];
    assert_eq!(renewal["reason"]["because"], "before", "{renewal:#}");
    assert_eq!(
        desk.head("example.test")["renewal"]["recipe"]["renew-before"],
        "50%"
    );
}

/// test_manual_dns_auth: certbot's own hooks, and again for the renewal
#[tokio::test(flavor = "multi_thread")]
async fn certbots_hooks_answer_for_a_renewal_too() {
    let sandbox = Sandbox::with_ca(Ca::builder().authz_reuse(false)).await;
    let home = Home::new(&sandbox, "");
    let desk = Desk { sandbox, home };
    let dnseal = dnseal_tests::dnseal().display();
    let config = desk.at("dnseal.yaml");
    let hook = |what: &str| {
        format!(
            "#!/bin/sh\necho {what} $CERTBOT_DOMAIN >> {}\nexec {dnseal} --config {} dns {what} _acme-challenge.$CERTBOT_DOMAIN \"$CERTBOT_VALIDATION\" --provider corp\n",
            desk.at("ran").display(),
            config.display()
        )
    };
    desk.script("auth", &hook("set"));
    desk.script("cleanup", &hook("unset"));
    let text = fs::read_to_string(&config).unwrap();
    let hooks = format!(
        "providers:\n  manual: {{ kind: certbot-hook, auth-hook: '{}', cleanup-hook: '{}' }}\n",
        desk.at("auth").display(),
        desk.at("cleanup").display()
    );
    fs::write(&config, text.replace("providers:\n", &hooks)).unwrap();
    let names = ["issue", "example.test", "*.example.test"];
    desk.run(&[&names[..], &["--provider", "manual"]].concat())
        .success();
    for version in 2..=3 {
        desk.run(&["renew", "--force"]).success();
        assert_eq!(desk.head("example.test")["current"]["number"], version);
        assert_eq!(desk.sandbox.ours_in_dns(), [""; 0]);
    }
    let ran = desk.read("ran");
    let count = |word: &str| ran.lines().filter(|line| line.starts_with(word)).count();
    assert_eq!((count("set "), count("unset ")), (6, 6), "{ran}");
}

/// test_get_certificate of the RFC 2136 plugin: a zone, and a zone within it
#[test]
fn a_zone_and_a_zone_within_it() {
    let zones = |key: &TsigKey| {
        let zone = |name: &str| ZoneSpec::new(name).updated_by(key);
        let outer = zone("example.test").record("sub NS ns1.sub");
        vec![
            outer.record("ns1.sub A 127.0.0.1"),
            zone("sub.example.test"),
        ]
    };
    let Some(shop) = Shop::open_zones(zones, |_| {}) else {
        return;
    };
    for name in ["example.test", "sub.example.test"] {
        shop.issue(&[name, &format!("*.{name}")]).run().success();
        shop.verify(name);
    }
}
