//! Services by the crate `dns-update`: PowerDNS's real HTTP API, and a strict fake at the names of two vendors.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not count among the tests"
)]

mod vendors;

use std::fs;
use std::path::Path;
use std::time::Duration;

use dnseal_core::dns::{DnsProvider, ProviderError, Zone};
use dnseal_providers::conformance::{self, Outcome};
use dnseal_tests::{
    Bind, BindOptions, Dnseal, NameServer, Pebble, PebbleOptions, PowerDns, PowerDnsOptions,
    TsigKey, ZoneSpec, added, build, name, reader, removed, txt_values,
};
use tempfile::TempDir;

use crate::vendors::Vendors;

const ZONE: &str = "example.test";
const OWNER: &str = "_acme-challenge.example.test";
const BOTH: [&str; 2] = ["example.test", "*.example.test"];

#[tokio::test(flavor = "multi_thread")]
async fn powerdns_conforms() {
    let Some(powerdns) = powerdns() else { return };
    let provider = provider(&powerdns.api_url(), powerdns.api_key());
    let impostor = self::provider(&powerdns.api_url(), "another");
    let options = conformance::Options {
        base: name("conformance.example.test"),
        deeper_zone: None,
        foreign: name("_acme-challenge.elsewhere.test"),
        impostor: Some(&*impostor),
        patience: Duration::from_secs(10),
        read: &reader(powerdns.addr()),
        zone: Some(name(ZONE)),
    };
    let results = conformance::run(&*provider, &options).await;
    let not_supported = [
        "sixteen-writers-at-one-name",
        "deepest-zone",
        "unknown-zone",
    ];
    for result in &results {
        let expected = match not_supported.contains(&result.name) {
            true => matches!(result.outcome, Outcome::NotSupported(_)),
            false => result.outcome == Outcome::Pass,
        };
        assert!(expected, "{}: {:?}", result.name, result.outcome);
    }
    assert!(results.len() >= 14, "{results:#?}");
    assert_eq!(txt_values(powerdns.addr(), ZONE), ["apex"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn powerdns_errors_say_what_is_wrong() {
    let Some(powerdns) = powerdns() else { return };
    let (url, key) = (powerdns.api_url(), powerdns.api_key());
    let apply = async |provider: &dyn DnsProvider, zone: &str| {
        let owner = format!("_acme-challenge.{zone}");
        let (zone, changes) = (self::zone(zone), [added(&owner, "a")]);
        provider.apply(&zone, &changes).await.unwrap_err()
    };
    let error = apply(&*provider(&url, key), "unknown.test").await;
    assert!(
        matches!(error, ProviderError::ZoneNotFound { .. }),
        "{error:?}"
    );
    let error = apply(&*provider(&url, "another"), ZONE).await;
    assert!(
        matches!(error, ProviderError::Credentials { .. }),
        "{error:?}"
    );
    assert!(error.hint().unwrap().contains("provider show powerdns"));
    let nowhere = format!("http://{}", dnseal_tests::free_addr());
    let error = apply(&*provider(&nowhere, key), ZONE).await;
    assert!(
        matches!(error, ProviderError::Unreachable { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains(&nowhere), "{error}");
}

/// The last value of an RRset goes with the RRset; what others wrote does not.
#[tokio::test(flavor = "multi_thread")]
async fn foreign_values_stay_in_powerdns() {
    let Some(powerdns) = powerdns() else { return };
    let provider = provider(&powerdns.api_url(), powerdns.api_key());
    let foreign = "_acme-challenge.taken.example.test";
    let both = [added(foreign, "-a"), added(OWNER, "-b")];
    provider.apply(&zone(ZONE), &both).await.unwrap();
    assert_eq!(txt_values(powerdns.addr(), foreign), ["-a", "foreign"]);
    let both = [removed(foreign, "-a"), removed(OWNER, "-b")];
    provider.apply(&zone(ZONE), &both).await.unwrap();
    assert_eq!(txt_values(powerdns.addr(), foreign), ["foreign"]);
    assert_eq!(txt_values(powerdns.addr(), OWNER), Vec::<String>::new());
}

/// lego's variables, the real CA, and a key that nobody sees.
#[test]
fn base_and_wildcard_through_powerdns() {
    let Some(powerdns) = powerdns() else { return };
    let Some(pebble) = Pebble::start(PebbleOptions::new(powerdns.addr())) else {
        return;
    };
    let home = TempDir::with_prefix("dnseal-home-").unwrap();
    let run = issue(home.path(), &powerdns, &pebble)
        .args(["--provider", "powerdns"])
        .env("PDNS_API_URL", powerdns.api_url().replace("/api/v1", ""))
        .env("PDNS_API_KEY", powerdns.api_key())
        .arg("-vv")
        .arg("--log-file")
        .arg(home.path().join("log"))
        .env("DNSEAL_LOG", "trace")
        .run()
        .success();
    assert_eq!(txt_values(powerdns.addr(), OWNER), Vec::<String>::new());
    for text in [&run.stdout, &run.stderr, &everything_below(home.path())] {
        assert!(!text.contains(powerdns.api_key()), "{text}");
    }
}

/// The vendors' own names, over TLS and a proxy, as a machine behind one has it.
#[test]
fn base_and_wildcard_through_vendors() {
    let key = TsigKey::random("acme-key");
    let zone = ZoneSpec::new(ZONE)
        .updated_by(&key)
        .record("_acme-challenge TXT foreign");
    let Some(bind) = Bind::start(BindOptions::new([zone], [key.clone()])) else {
        return;
    };
    let Some(pebble) = Pebble::start(PebbleOptions::new(bind.addr())) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let vendors = runtime.block_on(Vendors::start(bind.addr(), key));
    for (kind, variable) in [
        ("digitalocean", "DO_AUTH_TOKEN"),
        ("hetzner", "HETZNER_API_TOKEN"),
    ] {
        let home = TempDir::with_prefix("dnseal-home-").unwrap();
        let with = |token: &str| {
            issue(home.path(), &bind, &pebble)
                .args(["--provider", kind])
                .env("HTTPS_PROXY", vendors.proxy())
                .env("NO_PROXY", "127.0.0.1,localhost")
                .env("SSL_CERT_FILE", vendors.root())
                .env(variable, token)
        };
        let run = with("another").run();
        assert_eq!(run.code(), 4, "{kind}: {run:?}");
        assert!(run.stderr.contains("refused the credentials"), "{run:?}");
        let seen = vendors.seen();
        let run = with(vendors::TOKEN).run();
        assert_eq!(run.code(), 0, "{kind}: {run:?}\n{:#?}", vendors.seen());
        assert!(
            vendors.seen().len() > seen.len() + 6,
            "{:#?}",
            vendors.seen()
        );
        assert_eq!(txt_values(bind.addr(), OWNER), ["foreign"], "{kind}");
    }
    assert_eq!(vendors.complaints(), Vec::<String>::new());
}

#[test]
fn every_kind_is_listed_and_shown() {
    let home = TempDir::with_prefix("dnseal-home-").unwrap();
    let run = |args: &[&str]| Dnseal::new(home.path()).args(args).run();
    let listed = run(&["provider", "list"]).success();
    for kind in dnseal_providers::kinds() {
        let line = listed
            .stdout
            .lines()
            .find(|line| line.split_whitespace().next() == Some(kind.kind));
        assert!(line.unwrap().contains(kind.integration.as_str()));
        let shown = run(&["provider", "show", kind.kind]).success().stdout;
        for setting in kind.settings {
            assert!(shown.contains(setting.key), "{shown}");
            for variable in setting.env {
                assert!(shown.contains(variable), "{shown}");
            }
        }
        assert!(shown.contains("Writing from several machines:"), "{shown}");
    }
    let refused = run(&["provider", "show", "duckdns"]);
    assert_ne!(refused.code(), 0);
    assert!(refused.stderr.contains("cannot be read"), "{refused:?}");
}

fn powerdns() -> Option<PowerDns> {
    let zone = ZoneSpec::new(ZONE)
        .record("@ TXT apex")
        .record("_acme-challenge.taken TXT foreign");
    PowerDns::start(PowerDnsOptions::new([zone], []))
}

fn provider(url: &str, key: &str) -> std::sync::Arc<dyn DnsProvider> {
    let kind = dnseal_providers::kind("powerdns").unwrap();
    build(
        kind,
        &[("url", url.to_owned()), ("api-key", key.to_owned())],
    )
}

fn issue(home: &Path, server: &dyn NameServer, pebble: &Pebble) -> Dnseal {
    Dnseal::new(home)
        .arg("issue")
        .args(BOTH)
        .arg("--dir")
        .arg(home.join("state"))
        .args(["--nameserver", &server.addr().to_string()])
        .arg("--ca")
        .arg(pebble.directory_url())
        .arg("--ca-root")
        .arg(pebble.ca_pem_path())
        .arg("--agree-tos")
}

fn zone(zone: &str) -> Zone {
    Zone {
        id: String::new(),
        name: name(zone),
    }
}

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
