//! acme-dns: the first use says which CNAMEs to set, an account holds two values, and accounts of other tools go on.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not count among the tests"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use dnseal_core::dns::{ProviderError, Zone};
use dnseal_providers::conformance::{self, Outcome, Peculiar};
use dnseal_tests::fakes::acme_dns::{ACME_DNS_ZONE, AcmeDns};
use dnseal_tests::{
    Dnseal, Pebble, PebbleOptions, added, build, name, reader, removed, silence, txt_values,
};
use serde_json::Value;
use tempfile::TempDir;

const ZONE: &str = "example.test";
const VALUE: &str = "-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

struct World {
    acme_dns: AcmeDns,
    home: TempDir,
    pebble: Pebble,
}

impl World {
    async fn start() -> Option<Self> {
        let acme_dns = AcmeDns::start(ZONE).await;
        Some(Self {
            pebble: Pebble::start(PebbleOptions::new(acme_dns.dns().addr()))?,
            home: TempDir::with_prefix("dnseal-home-").unwrap(),
            acme_dns,
        })
    }

    fn dnseal(&self) -> Dnseal {
        Dnseal::new(self.home.path())
            .env("ACME_DNS_API_BASE", self.acme_dns.url())
            .env("DNSEAL_PROVIDER", "acme-dns")
            .env("DNSEAL_NAMESERVER", self.acme_dns.dns().addr().to_string())
            .env("DNSEAL_DIR", self.home.path().join("state"))
    }

    fn issue(&self, names: &[&str]) -> Dnseal {
        self.command("issue", names)
    }

    fn command(&self, command: &str, names: &[&str]) -> Dnseal {
        self.dnseal()
            .arg(command)
            .args(names)
            .arg("--ca")
            .arg(self.pebble.directory_url())
            .arg("--ca-root")
            .arg(self.pebble.ca_pem_path())
            .arg("--agree-tos")
    }

    fn stored(&self) -> (std::path::PathBuf, Value) {
        let dir = self.home.path().join("state/store/providers/acme-dns");
        let mut files: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|f| f.unwrap().path())
            .collect();
        assert_eq!(files.len(), 1, "{files:?}");
        let path = files.remove(0);
        let content = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        (path, content)
    }
}

/// What an error document says that has to be set.
fn records(stdout: &str) -> Vec<(String, String)> {
    let document: Value = serde_json::from_str(stdout).unwrap();
    let records = document["error"]["records"].as_array().unwrap().iter();
    records
        .map(|record| {
            assert_eq!(record["type"], "CNAME");
            let text = |key: &str| record[key].as_str().unwrap().to_owned();
            (text("owner"), text("value"))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_use_says_what_to_set_and_the_next_issues() {
    let Some(world) = World::start().await else {
        return;
    };
    let names = ["example.test", "*.example.test", "www.example.test"];
    // A run that only looks makes no account.
    let run = world.issue(&names).arg("--plan").run();
    assert_eq!(run.code(), 4, "{run:?}");
    assert!(run.stderr.contains("dnseal dns delegate"), "{run:?}");
    assert!(world.acme_dns.names().is_empty());

    let run = world.issue(&names).args(["--output", "json"]).run();
    assert_eq!(run.code(), 10, "{run:?}");
    let wanted = records(&run.stdout);
    let owners: Vec<&str> = wanted.iter().map(|(owner, _)| owner.as_str()).collect();
    assert_eq!(
        owners,
        [
            "_acme-challenge.example.test",
            "_acme-challenge.www.example.test"
        ]
    );
    // The next one says the same, and so does the command for one name.
    let run = world.issue(&names).args(["--output", "json"]).run();
    assert_eq!(records(&run.stdout), wanted);
    let run = world.issue(&names).run();
    for (owner, target) in &wanted {
        let line = format!("{owner}. 3600 IN CNAME {target}");
        assert!(run.stderr.contains(&line), "{run:?}");
        let domain = owner.strip_prefix("_acme-challenge.").unwrap();
        let run = world.dnseal().args(["dns", "delegate", domain]).run();
        assert_eq!(run.code(), 5, "{run:?}");
        assert!(run.stdout.contains(&line), "{run:?}");
    }
    assert_eq!(world.acme_dns.names().len(), 2);
    let (path, stored) = world.stored();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let secret = stored["accounts"]["example.test"]["password"]
        .as_str()
        .unwrap();

    for (owner, target) in &wanted {
        world.acme_dns.set_alias(owner, target);
    }
    let run = world
        .dnseal()
        .args(["dns", "delegate", "example.test"])
        .run();
    assert_eq!(run.code(), 0, "{run:?}");
    let run = world.issue(&names).arg("-vv").run();
    assert_eq!(run.code(), 0, "{run:?}");
    assert!(!run.stderr.contains(secret), "{run:?}");
    assert_eq!(world.acme_dns.names().len(), 2);
    assert_eq!(world.acme_dns.updates().len(), 3);
    let run = world.issue(&names).arg("--force").run();
    assert_eq!(run.code(), 0, "{run:?}");

    // A probe would push a value out, and stay.
    let updates = world.acme_dns.updates().len();
    let run = world.command("doctor", &names).run();
    assert_eq!(run.code(), 0, "{run:?}");
    assert!(
        run.stdout.contains("not probed, because a value pushes"),
        "{run:?}"
    );
    assert_eq!(world.acme_dns.updates().len(), updates);
}

/// Three names are delegated to one account, which has room for two values.
#[tokio::test(flavor = "multi_thread")]
async fn more_values_than_fit_are_proven_in_waves() {
    let Some(world) = World::start().await else {
        return;
    };
    let names = ["example.test", "*.example.test", "www.example.test"];
    let run = world.issue(&names[..1]).args(["--output", "json"]).run();
    let (_, target) = records(&run.stdout).remove(0);
    for owner in [
        "_acme-challenge.example.test",
        "_acme-challenge.www.example.test",
    ] {
        world.acme_dns.set_alias(owner, &target);
    }
    let run = world.issue(&names).run();
    assert_eq!(run.code(), 0, "{run:?}");
    assert!(run.stderr.contains("wave 2 of 2"), "{run:?}");
    assert_eq!(world.acme_dns.updates().len(), 3);
    assert_eq!(world.acme_dns.names().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_of_other_tools_are_taken_over() {
    let Some(world) = World::start().await else {
        return;
    };
    let account = world.acme_dns.account();
    let target = account["fulldomain"].as_str().unwrap().to_owned();
    world
        .acme_dns
        .set_alias("_acme-challenge.example.test", &target);
    // As acme.sh has it, for a value by hand.
    let set = |key: &str| account[key].as_str().unwrap().to_owned();
    let run = world
        .dnseal()
        .args(["dns", "set", "_acme-challenge.example.test", VALUE])
        .env("ACMEDNS_USERNAME", set("username"))
        .env("ACMEDNS_PASSWORD", set("password"))
        .env("ACMEDNS_SUBDOMAIN", set("subdomain"))
        .run();
    assert_eq!(run.code(), 0, "{run:?}");
    let dns = world.acme_dns.dns();
    assert_eq!(dns.values(&target), [VALUE]);

    // As lego and acme-dns-auth.py do.
    let file = world.home.path().join("acmedns.json");
    fs::write(
        &file,
        serde_json::json!({ "example.test": account }).to_string(),
    )
    .unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let run = world
        .issue(&["example.test", "*.example.test"])
        .env("ACME_DNS_STORAGE_PATH", &file)
        .run();
    assert_eq!(run.code(), 0, "{run:?}");
    // It is ours from now on.
    fs::remove_file(&file).unwrap();
    let run = world
        .issue(&["example.test", "*.example.test"])
        .arg("--force")
        .run();
    assert_eq!(run.code(), 0, "{run:?}");
    assert_eq!(world.acme_dns.names(), [target]);
}

/// Two processes, whose values would push each other's out.
#[tokio::test(flavor = "multi_thread")]
async fn processes_take_turns_at_one_account() {
    let Some(world) = World::start().await else {
        return;
    };
    let both = ["example.test", "*.example.test"];
    let run = world.issue(&both).args(["--output", "json"]).run();
    let (owner, target) = records(&run.stdout).remove(0);
    world.acme_dns.set_alias(&owner, &target);
    let runs: Vec<_> = ["one", "two"]
        .map(|id| {
            world
                .issue(&both)
                .args(["--name", id, "--account", id])
                .spawn()
        })
        .into_iter()
        .collect();
    for run in runs {
        let run = run.wait();
        assert_eq!(run.code(), 0, "{run:?}");
    }
    assert_eq!(world.acme_dns.updates().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_conforms_as_far_as_the_contract_goes() {
    let server = AcmeDns::start(ZONE).await;
    let throttled = AcmeDns::start(ZONE).await;
    let account = server.account();
    let only = name(account["fulldomain"].as_str().unwrap());
    let (_silence, silent) = silence();
    let silent = format!("http://{silent}");
    let with = |url: &str, password: &str| {
        let settings = [
            ("url", url.to_owned()),
            ("username", account["username"].as_str().unwrap().to_owned()),
            ("password", password.to_owned()),
            (
                "subdomain",
                account["subdomain"].as_str().unwrap().to_owned(),
            ),
            ("timeout", "1".to_owned()),
        ];
        build(dnseal_providers::kind("acme-dns").unwrap(), &settings)
    };
    let password = account["password"].as_str().unwrap();
    let impostor = with(&server.url(), "wrong");
    let options = conformance::Options {
        base: name(ACME_DNS_ZONE),
        deeper_zone: None,
        foreign: name("_acme-challenge.elsewhere.test"),
        impostor: Some(&*impostor),
        patience: Duration::from_secs(10),
        read: &reader(server.dns().addr()),
        zone: Some(name(ACME_DNS_ZONE)),
    };
    throttled.answer_next(429, "too many requests");
    let (silent, throttled) = (with(&silent, password), with(&throttled.url(), password));
    let peculiar = Peculiar {
        only: Some(&only),
        silent: Some(&*silent),
        throttled: Some(&*throttled),
        ..Peculiar::default()
    };
    let provider = with(&server.url(), password);
    let go_on = |_: &_| std::ops::ControlFlow::Continue(());
    let results = conformance::run_with(&*provider, &options, &peculiar, go_on).await;
    for result in &results {
        let passes = [
            "two-values-at-one-name",
            "add-twice",
            "remove-what-is-not-there",
            "values-that-differ-by-case",
            "bad-credentials",
            "rate-limit",
            "time-out",
        ];
        let expected = match passes.contains(&result.name) {
            true => result.outcome == Outcome::Pass,
            false => matches!(result.outcome, Outcome::NotSupported(_)),
        };
        assert!(expected, "{}: {:?}", result.name, result.outcome);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_told_in_its_own_way() {
    let server = AcmeDns::start(ZONE).await;
    let kind = dnseal_providers::kind("acme-dns").unwrap();
    let account = server.account();
    let with = |more: &[(&'static str, String)]| {
        let mut settings = vec![("url", server.url())];
        settings.extend(more.iter().cloned());
        build(kind, &settings)
    };
    let file = serde_json::json!({ "example.test": account }).to_string();
    let provider = with(&[("accounts", file)]);
    let owner = account["fulldomain"].as_str().unwrap();
    let zone = Zone {
        id: String::new(),
        name: name(ACME_DNS_ZONE),
    };
    let write = async |value: &str| provider.apply(&zone, &[added(owner, value)]).await;

    server.answer_next(401, "forbidden");
    let error = write(VALUE).await.unwrap_err();
    assert!(
        matches!(error, ProviderError::Credentials { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("forbidden"), "{error}");
    server.answer_next(500, "db_error");
    let error = write(VALUE).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    let error = write("short").await.unwrap_err();
    assert!(error.to_string().contains("43 characters"), "{error}");
    let stranger = added(&format!("stranger.{ACME_DNS_ZONE}"), VALUE);
    let error = provider.apply(&zone, &[stranger]).await.unwrap_err();
    assert!(error.to_string().contains("stranger"), "{error}");
    write(VALUE).await.unwrap();
    provider
        .apply(&zone, &[removed(owner, VALUE)])
        .await
        .unwrap();
    assert_eq!(
        txt_values(server.dns().addr(), owner),
        [VALUE],
        "nothing is ever removed"
    );

    // Without a store nothing can be registered, and with accounts for others nothing is known of a new name.
    let asked = name("_acme-challenge.new.test");
    let error = provider.alias_for(&asked, &asked).await.unwrap_err();
    assert!(error.hint().unwrap().contains("dns delegate"), "{error}");
    let known = name("_acme-challenge.example.test");
    let alias = provider.alias_for(&known, &known).await.unwrap();
    assert_eq!(alias, Some(name(owner)));

    let refused = |settings: &[(&str, &str)]| {
        let mut given = dnseal_providers::Settings::new();
        for (key, value) in settings {
            given.insert(*key, (*value).into());
        }
        let context = dnseal_providers::Context::default();
        let error = dnseal_providers::build("acme-dns", "test", given, &context).unwrap_err();
        error.to_string()
    };
    assert!(refused(&[]).contains("`url` is missing"));
    assert!(refused(&[("url", "auth.example.org")]).contains("URL"));
    let bad = [("url", "http://a.test"), ("accounts", "{\"a\": 7}")];
    assert!(refused(&bad).contains("line 1"));
    let half = [("url", "http://a.test"), ("username", "u")];
    assert!(refused(&half).contains("`password` is missing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_registers_nobody_is_named() {
    let server = AcmeDns::start(ZONE).await;
    server.register_nobody();
    let home = TempDir::with_prefix("dnseal-home-").unwrap();
    let delegate = |home: &Path| {
        Dnseal::new(home)
            .args(["dns", "delegate", "example.test", "--provider", "acme-dns"])
            .args(["--nameserver", &server.dns().addr().to_string()])
            .args(["--set", &format!("url={}", server.url())])
            .run()
    };
    let run = delegate(home.path());
    assert_eq!(run.code(), 4, "{run:?}");
    assert!(
        run.stderr.contains("registers no account for example.test"),
        "{run:?}"
    );
    assert!(run.stderr.contains("administrator"), "{run:?}");
}
