//! The RFC 2136 provider against servers that are not ours: BIND, Knot and PowerDNS, and the sandbox beside them.
//!
//! The conformance suite passes on each, values of others stay, and what belongs together goes out together; [`refusals`] has
//! what goes wrong.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy does not count among the tests"
)]

mod refusals;

use std::{net::SocketAddr, time::Duration};

use dnseal_core::dns::{DnsProvider, Outcome, TxtChange, Zone};
use dnseal_providers::conformance;
use dnseal_sandbox::dns::{self as sandbox, DnsServer};
use dnseal_tests::{
    Bind, BindOptions, Knot, KnotOptions, NameServer, PowerDns, PowerDnsOptions, Rfc2136, TsigKey,
    ZoneSpec, added, name, reader, removed, silence, txt_values,
};

const ZONE: &str = "example.test";
const DEEPER: &str = "deeper.example.test";
const OWNER: &str = "_acme-challenge.example.test";
const ELSEWHERE: &str = "_acme-challenge.elsewhere.test";
const ALGORITHMS: [&str; 5] = [
    "hmac-sha1",
    "hmac-sha224",
    "hmac-sha256",
    "hmac-sha384",
    "hmac-sha512",
];

#[tokio::test(flavor = "multi_thread")]
async fn bind_conforms() {
    let key = TsigKey::random("acme-key");
    if let Some(bind) = Bind::start(BindOptions::new(zones(&[&key]), [key.clone()])) {
        conforms(bind.addr(), &key).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn knot_conforms() {
    let key = TsigKey::random("acme-key");
    if let Some(knot) = Knot::start(KnotOptions::new(zones(&[&key]), [key.clone()])) {
        conforms(knot.addr(), &key).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn powerdns_conforms() {
    let key = TsigKey::random("acme-key");
    if let Some(powerdns) = PowerDns::start(PowerDnsOptions::new(zones(&[&key]), [key.clone()])) {
        conforms(powerdns.addr(), &key).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sandbox_conforms() {
    let key = TsigKey::random("acme-key");
    let server = sandbox_server(&[&key]).await;
    conforms(server.addr(), &key).await;
    assert_eq!(server.values(ZONE), ["apex"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bind_takes_every_algorithm() {
    let keys = ALGORITHMS.map(|algorithm| TsigKey::random_for(algorithm, algorithm));
    let zones = zones(&keys.each_ref());
    if let Some(bind) = Bind::start(BindOptions::new(zones, keys.clone())) {
        takes_every(bind.addr(), &keys).await;
        assert_eq!(bind.updates(ZONE), 2 * keys.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn knot_takes_every_algorithm() {
    let keys = ALGORITHMS.map(|algorithm| TsigKey::random_for(algorithm, algorithm));
    let zones = zones(&keys.each_ref());
    if let Some(knot) = Knot::start(KnotOptions::new(zones, keys.clone())) {
        takes_every(knot.addr(), &keys).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn powerdns_takes_every_algorithm() {
    let keys = ALGORITHMS.map(|algorithm| TsigKey::random_for(algorithm, algorithm));
    let zones = zones(&keys.each_ref());
    if let Some(powerdns) = PowerDns::start(PowerDnsOptions::new(zones, keys.clone())) {
        takes_every(powerdns.addr(), &keys).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sandbox_takes_every_algorithm() {
    let keys = ALGORITHMS.map(|algorithm| TsigKey::random_for(algorithm, algorithm));
    let server = sandbox_server(&keys.each_ref()).await;
    takes_every(server.addr(), &keys).await;
    assert_eq!(server.updates().messages, 2 * keys.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_values_stay() {
    let key = TsigKey::random("acme-key");
    let (zones, keys) = (zones(&[&key]), [key.clone()]);
    if let Some(bind) = Bind::start(BindOptions::new(zones.clone(), keys.clone())) {
        foreign_value_stays(&bind, &key).await;
    }
    if let Some(knot) = Knot::start(KnotOptions::new(zones.clone(), keys.clone())) {
        foreign_value_stays(&knot, &key).await;
    }
    if let Some(powerdns) = PowerDns::start(PowerDnsOptions::new(zones, keys)) {
        foreign_value_stays(&powerdns, &key).await;
    }
}

/// As many as 50 hosts and their wildcards need.
#[tokio::test(flavor = "multi_thread")]
async fn hundred_values_are_one_update() {
    let key = TsigKey::random("acme-key");
    let Some(bind) = Bind::start(BindOptions::new(zones(&[&key]), [key.clone()])) else {
        return;
    };
    let provider = Rfc2136::at(bind.addr()).key(&key).build();
    let all = |change: fn(&str, &str) -> TxtChange| -> Vec<TxtChange> {
        let hosts = (0..50).map(|host| format!("_acme-challenge.host{host}.{ZONE}"));
        hosts
            .flat_map(|owner| ["base", "wildcard"].map(|value| change(&owner, value)))
            .collect()
    };
    let last = format!("_acme-challenge.host49.{ZONE}");
    assert_applied(&*provider, &all(added)).await;
    assert_eq!(bind.updates(ZONE), 1);
    assert_eq!(txt_values(bind.addr(), &last), ["base", "wildcard"]);
    assert_applied(&*provider, &all(removed)).await;
    assert_eq!(bind.updates(ZONE), 2);
    assert_eq!(txt_values(bind.addr(), &last), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn key_files_are_taken_as_bind_reads_them() {
    let key = TsigKey::random_for("acme-key", "hmac-sha384");
    let Some(bind) = Bind::start(BindOptions::new(zones(&[&key]), [key.clone()])) else {
        return;
    };
    let file = format!(
        "key \"{}\" {{\n\talgorithm {};\n\tsecret \"{}\";\n}};\n",
        key.name, key.algorithm, key.secret_base64
    );
    let provider = Rfc2136::at(bind.addr()).set("key-file", file).build();
    assert_applied(&*provider, &[added(OWNER, "one")]).await;
    assert_eq!(txt_values(bind.addr(), OWNER), ["one"]);
}

/// Every case of the suite.
async fn conforms(at: SocketAddr, key: &TsigKey) {
    let provider = Rfc2136::at(at).key(key).build();
    let impostor = TsigKey {
        secret_base64: TsigKey::random("other").secret_base64,
        ..key.clone()
    };
    let impostor = Rfc2136::at(at).key(&impostor).build();
    let options = conformance::Options {
        base: name("conformance.example.test"),
        deeper_zone: Some(name(DEEPER)),
        foreign: name(ELSEWHERE),
        impostor: Some(&*impostor),
        patience: Duration::from_secs(10),
        read: &reader(at),
        zone: None,
    };
    let (_silence, silent) = silence();
    let silent = Rfc2136::at(silent).key(key).set("timeout", "1").build();
    let failing = conformance::Peculiar {
        silent: Some(&*silent),
        ..conformance::Peculiar::default()
    };
    let go_on = |_: &_| std::ops::ControlFlow::Continue(());
    let results = conformance::run_with(&*provider, &options, &failing, go_on).await;
    let failed: Vec<_> = results
        .iter()
        // Name servers have no word for it.
        .filter(|result| result.name != "rate-limit")
        .filter(|result| result.outcome != conformance::Outcome::Pass)
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(results.len() >= 14, "{results:#?}");
}

/// Adds and removes with each of the keys.
async fn takes_every(at: SocketAddr, keys: &[TsigKey]) {
    for key in keys {
        let provider = Rfc2136::at(at).key(key).build();
        assert_applied(&*provider, &[added(OWNER, &key.algorithm)]).await;
        assert_eq!(txt_values(at, OWNER), [key.algorithm.as_str()]);
        assert_applied(&*provider, &[removed(OWNER, &key.algorithm)]).await;
        assert_eq!(txt_values(at, OWNER), Vec::<String>::new());
    }
}

async fn foreign_value_stays(server: &dyn NameServer, key: &TsigKey) {
    let at = server.addr();
    server.add_txt(key, ZONE, OWNER, "foreign");
    let provider = Rfc2136::at(at).key(key).build();
    assert_applied(&*provider, &[added(OWNER, "one"), added(OWNER, "two")]).await;
    assert_eq!(txt_values(at, OWNER), ["foreign", "one", "two"]);
    // Somebody else comes while ours are there.
    server.add_txt(key, ZONE, OWNER, "later");
    assert_applied(&*provider, &[removed(OWNER, "two"), removed(OWNER, "one")]).await;
    assert_eq!(txt_values(at, OWNER), ["foreign", "later"]);
}

async fn assert_applied(provider: &dyn DnsProvider, changes: &[TxtChange]) {
    let applied = provider.apply(&zone(ZONE), changes).await.unwrap();
    assert_eq!(applied.outcomes.len(), changes.len());
    let applied = applied.outcomes.iter().zip(changes);
    for (outcome, change) in applied {
        assert!(
            matches!(outcome, Outcome::Applied { .. }),
            "{change:?}: {outcome:?}"
        );
    }
}

fn zone(name: &str) -> Zone {
    Zone {
        id: String::new(),
        name: name.parse().unwrap(),
    }
}

/// Two zones, one in the other, with an alias and a cut.
fn zones(keys: &[&TsigKey]) -> [ZoneSpec; 2] {
    let all = |zone: ZoneSpec| keys.iter().fold(zone, |zone, key| zone.updated_by(key));
    [
        all(ZoneSpec::new(ZONE))
            .record("@ TXT apex")
            .record("alias CNAME www")
            .record("sub NS ns.sub")
            .record("ns.sub A 127.0.0.1")
            .record("deeper NS ns1"),
        all(ZoneSpec::new(DEEPER)),
    ]
}

/// The same in the sandbox.
async fn sandbox_server(keys: &[&TsigKey]) -> DnsServer {
    let server = DnsServer::builder()
        .zone(
            sandbox::Zone::new(ZONE)
                .ns("ns1.example.test")
                .txt(ZONE, "apex")
                .cname("alias.example.test", "www.example.test")
                .delegate("sub.example.test", "ns.sub.example.test")
                .a("ns.sub.example.test", [127, 0, 0, 1].into())
                .delegate(DEEPER, "ns1.example.test"),
        )
        .zone(sandbox::Zone::new(DEEPER).ns("ns1.example.test"));
    let server = keys
        .iter()
        .fold(server, |server, key| server.key(sandbox_key(key)));
    server.start().await.unwrap()
}

fn sandbox_key(key: &TsigKey) -> sandbox::TsigKey {
    format!("{}:{}:{}", key.algorithm, key.name, key.secret_base64)
        .parse()
        .unwrap()
}
