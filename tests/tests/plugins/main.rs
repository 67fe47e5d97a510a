//! Plugins: the two that are in `examples/plugins` against real servers, one that misbehaves, and the binary with both.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not count among the tests"
)]

mod bad_input;
mod binary;
mod schema;
mod trust;

use std::net::SocketAddr;
use std::time::Duration;

use dnseal_core::dns::DnsProvider;
use dnseal_providers::conformance;
use dnseal_tests::{
    Bind, BindOptions, NameServer, Peer, PluginDir, PowerDns, PowerDnsOptions, TsigKey, ZoneSpec,
    build, name, reader, require, txt_values,
};

const ZONE: &str = "example.test";
const DEEPER: &str = "deeper.example.test";
const OWNER: &str = "_acme-challenge.example.test";

#[tokio::test(flavor = "multi_thread")]
async fn the_python_plugin_conforms_on_powerdns() {
    let Some(powerdns) = PowerDns::start(PowerDnsOptions::new(zones(), [])) else {
        return;
    };
    let plugins = PluginDir::examples();
    let kind = plugins.kind("powerdns-http").unwrap();
    let settings = |key: &str| {
        build(
            kind,
            &[("url", powerdns.api_url()), ("api-key", key.to_owned())],
        )
    };
    let provider = settings(powerdns.api_key());
    let impostor = settings("another");
    // Its writes replace RRsets, and it says so.
    conforms(
        powerdns.addr(),
        &*provider,
        &*impostor,
        &["sixteen-writers-at-one-name"],
    )
    .await;
    assert_eq!(txt_values(powerdns.addr(), ZONE), ["apex"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shell_plugin_conforms_on_bind() {
    if require(Peer::Jq).is_none() {
        return;
    }
    let key = TsigKey::random("acme-key");
    let zones = zones().map(|zone| zone.updated_by(&key));
    let Some(bind) = Bind::start(BindOptions::new(zones, [key.clone()])) else {
        return;
    };
    let plugins = PluginDir::examples();
    let kind = plugins.kind("nsupdate").unwrap();
    let settings = |secret: &str| {
        build(
            kind,
            &[
                ("server", bind.addr().ip().to_string()),
                ("port", bind.addr().port().to_string()),
                ("zones", format!("{ZONE} {DEEPER}")),
                ("key-name", key.name.clone()),
                ("key-secret", secret.to_owned()),
                ("algorithm", key.algorithm.clone()),
            ],
        )
    };
    let provider = settings(&key.secret_base64);
    let impostor = settings(&TsigKey::random("other").secret_base64);
    conforms(bind.addr(), &*provider, &*impostor, &["own-word-agrees"]).await;
    assert_eq!(txt_values(bind.addr(), ZONE), ["apex"]);
}

#[test]
fn the_shell_plugin_is_short() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../examples/plugins/dnseal-provider-nsupdate"
    );
    let lines = std::fs::read_to_string(path).unwrap().lines().count();
    assert!(lines < 60, "{lines}");
}

/// Every case of the suite passes, apart from these, which the plugin says it cannot do.
async fn conforms(
    at: SocketAddr,
    provider: &dyn DnsProvider,
    impostor: &dyn DnsProvider,
    not_supported: &[&str],
) {
    let options = conformance::Options {
        base: name("conformance.example.test"),
        deeper_zone: Some(name(DEEPER)),
        foreign: name("_acme-challenge.elsewhere.test"),
        impostor: Some(impostor),
        patience: Duration::from_secs(10),
        read: &reader(at),
        zone: None,
    };
    let results = conformance::run(provider, &options).await;
    for result in &results {
        let expected = match not_supported.contains(&result.name) {
            true => matches!(result.outcome, conformance::Outcome::NotSupported(_)),
            false => result.outcome == conformance::Outcome::Pass,
        };
        assert!(expected, "{}: {:?}", result.name, result.outcome);
    }
    assert!(results.len() >= 14, "{results:#?}");
}

/// Two zones, one in the other.
fn zones() -> [ZoneSpec; 2] {
    [
        ZoneSpec::new(ZONE)
            .record("@ TXT apex")
            .record("deeper NS ns1"),
        ZoneSpec::new(DEEPER),
    ]
}
