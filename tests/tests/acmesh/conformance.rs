//! The conformance suite through scripts that are as different as scripts are: one that deletes whole RRsets, one that replaces
//! them, one that deletes single records.

use std::net::SocketAddr;
use std::time::Duration;

use dnseal_core::dns::DnsProvider;
use dnseal_providers::conformance::{self, Outcome, Peculiar};
use dnseal_tests::fakes::acme_dns::{ACME_DNS_ZONE, AcmeDns};
use dnseal_tests::fakes::cloudflare::{CloudflareOptions, FakeCloudflare};
use dnseal_tests::{
    Gate, NameServer, Peer, PowerDns, PowerDnsOptions, ZoneSpec, name, reader, require, txt_values,
};
use tempfile::TempDir;

use crate::{Server, ZONE, home, provider};

/// What no script can do.
const NEVER: [&str; 6] = [
    "values-of-255-and-300-octets",
    "sixteen-writers-at-one-name",
    "own-word-agrees",
    "deepest-zone",
    "unknown-zone",
    "bad-credentials",
];

#[tokio::test(flavor = "multi_thread")]
async fn dns_nsupdate_conforms_on_bind() {
    let (Some(home), Some(server)) = (home(), Server::start(&[])) else {
        return;
    };
    let store = TempDir::new().unwrap();
    let provider = provider(
        "dns_nsupdate",
        &home,
        server.addr(),
        store.path(),
        &server.settings(),
    );
    assert!(provider.capabilities().exclusive);
    conforms(server.addr(), &*provider).await;
    assert_eq!(txt_values(server.addr(), ZONE), ["apex"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn dns_pdns_conforms_on_powerdns() {
    let zone = ZoneSpec::new(ZONE).record("@ TXT apex");
    let (Some(home), Some(_), Some(powerdns)) = (
        home(),
        require(Peer::Curl),
        PowerDns::start(PowerDnsOptions::new([zone], [])),
    ) else {
        return;
    };
    let url = powerdns.api_url();
    let settings = [
        ("env.PDNS_Url", url.trim_end_matches("/api/v1").to_owned()),
        ("env.PDNS_ServerId", "localhost".to_owned()),
        ("env.PDNS_Token", powerdns.api_key().to_owned()),
    ];
    let store = TempDir::new().unwrap();
    let provider = provider("dns_pdns", &home, powerdns.addr(), store.path(), &settings);
    conforms(powerdns.addr(), &*provider).await;
    assert_eq!(txt_values(powerdns.addr(), ZONE), ["apex"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn dns_cf_conforms_on_the_fake() {
    let (Some(home), Some(_)) = (home(), require(Peer::Curl)) else {
        return;
    };
    let fake = FakeCloudflare::start(CloudflareOptions::new([ZONE], TOKEN))
        .await
        .unwrap();
    fake.add(ZONE, "TXT", ZONE, "apex");
    let api = fake.base_url();
    let api: SocketAddr = api
        .trim_start_matches("http://")
        .trim_end_matches("/client/v4")
        .parse()
        .unwrap();
    let gate = Gate::start("api.cloudflare.com", api).await;
    let settings = [
        ("env.CF_Token", TOKEN.to_owned()),
        ("env.https_proxy", gate.url()),
        ("env.CA_BUNDLE", gate.root().display().to_string()),
    ];
    let store = TempDir::new().unwrap();
    let dns = fake.dns().addr();
    let provider = provider("dns_cf", &home, dns, store.path(), &settings);
    conforms(dns, &*provider).await;
    assert_eq!(txt_values(dns, ZONE), ["apex"]);
}

/// The script removes nothing, because the service has no word for it, and holds two values.
#[tokio::test(flavor = "multi_thread")]
async fn dns_acmedns_does_what_acme_dns_can() {
    let (Some(home), Some(_)) = (home(), require(Peer::Curl)) else {
        return;
    };
    let server = AcmeDns::start(ZONE).await;
    let account = server.account();
    let of_account = |key: &str| account[key].as_str().unwrap().to_owned();
    let settings = [
        ("env.ACMEDNS_BASE_URL", server.url()),
        ("env.ACMEDNS_USERNAME", of_account("username")),
        ("env.ACMEDNS_PASSWORD", of_account("password")),
        ("env.ACMEDNS_SUBDOMAIN", of_account("subdomain")),
        ("max-values", "2".to_owned()),
    ];
    let store = TempDir::new().unwrap();
    let dns = server.dns().addr();
    let provider = provider("dns_acmedns", &home, dns, store.path(), &settings);
    let only = name(&of_account("fulldomain"));
    let options = conformance::Options {
        base: name(ACME_DNS_ZONE),
        deeper_zone: None,
        foreign: name("_acme-challenge.elsewhere.test"),
        impostor: None,
        patience: Duration::from_secs(10),
        read: &reader(dns),
        zone: Some(name(ACME_DNS_ZONE)),
    };
    let peculiar = Peculiar {
        challenges_only: true,
        only: Some(&only),
        ..Peculiar::default()
    };
    let go_on = |_: &_| std::ops::ControlFlow::Continue(());
    let results = conformance::run_with(&*provider, &options, &peculiar, go_on).await;
    let passes = [
        "two-values-at-one-name",
        "add-twice",
        "remove-what-is-not-there",
        "values-that-differ-by-case",
    ];
    for result in &results {
        let expected = match result.name {
            // Values of 255 octets, too: acme-dns takes those of 43 characters.
            name if passes.contains(&name) => result.outcome == Outcome::Pass,
            _ => matches!(result.outcome, Outcome::NotSupported(_)),
        };
        assert!(expected, "{}: {:?}", result.name, result.outcome);
    }
}

async fn conforms(dns: SocketAddr, provider: &dyn DnsProvider) {
    let options = conformance::Options {
        base: name("conformance.example.test"),
        deeper_zone: Some(name("deeper.example.test")),
        foreign: name("_acme-challenge.elsewhere.test"),
        impostor: None,
        patience: Duration::from_secs(10),
        read: &reader(dns),
        zone: Some(name(ZONE)),
    };
    let results = conformance::run(provider, &options).await;
    for result in &results {
        eprintln!("{} {:?} {:?}", result.name, result.outcome, result.took);
        let expected = match NEVER.contains(&result.name) {
            true => matches!(result.outcome, Outcome::NotSupported(_)),
            false => result.outcome == Outcome::Pass,
        };
        assert!(expected, "{}: {:?}", result.name, result.outcome);
    }
    assert!(results.len() >= 14, "{results:#?}");
}

const TOKEN: &str = "canary-Sn3lZJTBX6kkg7OdcBUAxOO963GEIyGQ1";
