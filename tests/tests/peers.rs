//! Each environment starts, answers, takes an update, shows what it logged, and is gone when it is dropped.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not count among the tests"
)]

use std::{
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use dnseal_tests::{
    Bind, BindOptions, Eab, Knot, KnotOptions, NameServer, Pebble, PebbleOptions, PowerDns,
    PowerDnsOptions, Profile, TsigKey, Unbound, UnboundOptions, ZoneSpec, await_soa, await_txt,
    free_addr, nsupdate, query, txt_values,
};
use hickory_proto::{op::ResponseCode, rr::RecordType};

const ZONE: &str = "example.test";
const OWNER: &str = "_acme-challenge.example.test";

#[test]
fn bind_takes_updates() {
    let (zone, key) = zone_and_key();
    let other = TsigKey::random("other-key");
    let Some(bind) = Bind::start(BindOptions::new([zone], [key.clone(), other.clone()])) else {
        return;
    };
    takes_updates(&bind, &key);
    assert_eq!(bind.updates(ZONE), 3);
    assert_eq!(bind.refused_updates(ZONE), 0);

    let update = format!("update add {OWNER}. 1 TXT \"three\"");
    let error = nsupdate(bind.addr(), &other, ZONE, &[&update]).unwrap_err();
    assert!(error.contains("REFUSED"), "{error}");
    let unknown = TsigKey::random("unknown-key");
    let error = nsupdate(bind.addr(), &unknown, ZONE, &[&update]).unwrap_err();
    assert!(error.contains("BADKEY"), "{error}");
    assert_eq!(bind.updates(ZONE), 3);
    assert_eq!(bind.refused_updates(ZONE), 1);

    let asked = || bind.queries().iter().filter(|it| it.name == OWNER).count();
    let before = asked();
    txt_values(bind.addr(), OWNER);
    assert_eq!(asked(), before + 1);
    is_gone_when_dropped(bind);
}

#[test]
fn bind_counts_messages_not_records() {
    let (zone, key) = zone_and_key();
    let Some(bind) = Bind::start(BindOptions::new([zone], [key.clone()])) else {
        return;
    };
    let updates: Vec<String> = (0..50)
        .map(|number| format!("update add _acme-challenge.host{number}.{ZONE}. 1 TXT \"value\""))
        .collect();
    let updates: Vec<&str> = updates.iter().map(String::as_str).collect();
    nsupdate(bind.addr(), &key, ZONE, &updates).unwrap();
    assert_eq!(bind.updates(ZONE), 1);
    assert_eq!(
        txt_values(bind.addr(), "_acme-challenge.host49.example.test"),
        ["value"]
    );
}

#[test]
fn bind_policy_names_one_owner() {
    let key = TsigKey::random_for("acme-key", "hmac-sha512");
    let zone = ZoneSpec {
        bind_policy: Some(format!("grant acme-key name {OWNER}. TXT;")),
        ..ZoneSpec::new(ZONE)
    };
    let Some(bind) = Bind::start(BindOptions::new([zone], [key.clone()])) else {
        return;
    };
    bind.add_txt(&key, ZONE, OWNER, "one");
    let update = "update add _acme-challenge.www.example.test. 1 TXT \"one\"";
    assert!(
        nsupdate(bind.addr(), &key, ZONE, &[update])
            .unwrap_err()
            .contains("REFUSED")
    );
}

#[test]
fn bind_secondary_lags_until_its_refresh() {
    let (zone, key) = zone_and_key();
    let options = BindOptions::new([zone], [key.clone()]);
    let Some(primary) = Bind::start(options.clone()) else {
        return;
    };
    let late = Bind::start(options.secondary(primary.addr(), 3)).unwrap();
    let frozen = Bind::start(options.secondary(primary.addr(), 3600)).unwrap();

    primary.add_txt(&key, ZONE, OWNER, "one");
    assert_eq!(txt_values(primary.addr(), OWNER), ["one"]);
    await_txt(late.addr(), OWNER, "one");
    assert_eq!(txt_values(frozen.addr(), OWNER), Vec::<String>::new());
    assert!(await_soa(frozen.addr(), ZONE) < await_soa(primary.addr(), ZONE));
}

#[test]
fn bind_notifies_whom_it_is_told_to() {
    let (zone, key) = zone_and_key();
    let listen = free_addr();
    let options = BindOptions {
        notify: vec![listen],
        ..BindOptions::new([zone], [key.clone()])
    };
    let Some(primary) = Bind::start(options.clone()) else {
        return;
    };
    let secondary = Bind::start(BindOptions {
        listen: Some(listen),
        ..options.secondary(primary.addr(), 3600)
    })
    .unwrap();
    primary.add_txt(&key, ZONE, OWNER, "one");
    await_txt(secondary.addr(), OWNER, "one");
}

#[test]
fn paused_server_is_silent_and_killed_server_is_closed() {
    let (zone, key) = zone_and_key();
    let Some(bind) = Bind::start(BindOptions::new([zone], [key])) else {
        return;
    };
    bind.process().pause();
    assert!(query(bind.addr(), ZONE, RecordType::SOA).is_err());
    bind.process().resume();
    await_soa(bind.addr(), ZONE);
    bind.process().kill();
    assert!(bind.process().exited().is_some());
    assert!(TcpStream::connect(bind.addr()).is_err());
}

#[test]
fn knot_takes_updates() {
    let (zone, key) = zone_and_key();
    let other = TsigKey::random("other-key");
    let Some(knot) = Knot::start(KnotOptions::new([zone], [key.clone(), other.clone()])) else {
        return;
    };
    takes_updates(&knot, &key);
    let update = format!("update add {OWNER}. 1 TXT \"three\"");
    assert!(nsupdate(knot.addr(), &other, ZONE, &[&update]).is_err());
    is_gone_when_dropped(knot);
}

#[test]
fn powerdns_takes_updates() {
    let (zone, key) = zone_and_key();
    let other = TsigKey::random("other-key");
    let options = PowerDnsOptions::new([zone], [key.clone(), other.clone()]);
    let Some(powerdns) = PowerDns::start(options) else {
        return;
    };
    takes_updates(&powerdns, &key);
    let update = format!("update add {OWNER}. 1 TXT \"three\"");
    assert!(nsupdate(powerdns.addr(), &other, ZONE, &[&update]).is_err());
    is_gone_when_dropped(powerdns);
}

#[tokio::test]
async fn powerdns_api_answers() {
    let (zone, key) = zone_and_key();
    let Some(powerdns) = PowerDns::start(PowerDnsOptions::new([zone], [key])) else {
        return;
    };
    let zones: serde_json::Value = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .get(format!("{}/servers/localhost/zones", powerdns.api_url()))
        .header("X-API-Key", powerdns.api_key())
        .send()
        .await
        .unwrap()
        .error_for_status()
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(zones[0]["name"], "example.test.");
}

#[test]
fn unbound_remembers_that_a_name_was_not_there() {
    let key = TsigKey::random("acme-key");
    let zone = ZoneSpec {
        negative_ttl: 600,
        ..ZoneSpec::new(ZONE).updated_by(&key)
    };
    let Some(bind) = Bind::start(BindOptions::new([zone], [key.clone()])) else {
        return;
    };
    let Some(unbound) = Unbound::start(UnboundOptions::new([(ZONE, bind.addr())])) else {
        return;
    };
    let answer = query(unbound.addr(), OWNER, RecordType::TXT).unwrap();
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    bind.add_txt(&key, ZONE, OWNER, "one");
    assert_eq!(txt_values(bind.addr(), OWNER), ["one"]);
    assert_eq!(txt_values(unbound.addr(), OWNER), Vec::<String>::new());

    let other = "_acme-challenge.www.example.test";
    bind.add_txt(&key, ZONE, other, "two");
    assert_eq!(txt_values(unbound.addr(), other), ["two"]);
    let asked = (format!("{other}."), "TXT".to_owned());
    assert!(
        unbound.queries().contains(&asked),
        "{:?}",
        unbound.queries()
    );
    is_gone_when_dropped(unbound);
}

#[test]
fn pebble_answers_over_https() {
    let Some(pebble) = Pebble::start(PebbleOptions::new(free_addr())) else {
        return;
    };
    assert!(pebble.issuance_root_pem().contains("BEGIN CERTIFICATE"));
    assert!(pebble.ca_pem_path().is_file());
    assert_eq!(pebble.requests(), []);
    let addr = address_of(&pebble.directory_url());
    drop(pebble);
    assert!(TcpStream::connect(addr).is_err());
}

#[tokio::test]
async fn pebble_has_what_it_is_told_to_have() {
    let options = PebbleOptions {
        eab: Some(Eab {
            kid: "kid-1".to_owned(),
            hmac_key: "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W".to_owned(),
        }),
        profiles: vec![
            Profile::new("default", Duration::from_hours(90 * 24)),
            Profile::new("shortlived", Duration::from_hours(160)),
        ],
        alternate_roots: 2,
        chain_length: 3,
        ..PebbleOptions::chaotic(free_addr())
    };
    let Some(pebble) = Pebble::start(options) else {
        return;
    };
    let root = std::fs::read(pebble.ca_pem_path()).unwrap();
    let directory: serde_json::Value = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&root).unwrap()])
        .no_proxy()
        .user_agent("dnseal-tests")
        .build()
        .unwrap()
        .get(pebble.directory_url())
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(directory["meta"]["externalAccountRequired"], true);
    assert!(directory["meta"]["profiles"]["shortlived"].is_string());
    assert!(directory["renewalInfo"].is_string());
    assert_eq!(pebble.count("GET", "/dir"), 1);
    assert_ne!(pebble.root_pem(0), pebble.root_pem(2));
}

fn zone_and_key() -> (ZoneSpec, TsigKey) {
    let key = TsigKey::random("acme-key");
    (
        ZoneSpec::new(ZONE)
            .updated_by(&key)
            .record("www A 192.0.2.1"),
        key,
    )
}

/// Two values side by side, one of them removed; a value of more than one string.
fn takes_updates(server: &dyn NameServer, key: &TsigKey) {
    let addr = server.addr();
    assert!(
        query(addr, "www.example.test", RecordType::A)
            .unwrap()
            .metadata
            .authoritative
    );
    assert_eq!(txt_values(addr, OWNER), Vec::<String>::new());
    let long = "x".repeat(300);
    server.add_txt(key, ZONE, OWNER, "one");
    server.add_txt(key, ZONE, OWNER, &long);
    assert_eq!(txt_values(addr, OWNER), ["one", &long]);
    server.remove_txt(key, ZONE, OWNER, "one");
    assert_eq!(txt_values(addr, OWNER), [long]);
}

fn is_gone_when_dropped(server: impl NameServer) {
    let addr = server.addr();
    let dir = server.process().dir().to_owned();
    drop(server);
    assert!(TcpStream::connect(addr).is_err());
    assert!(!dir.exists());
}

fn address_of(url: &str) -> SocketAddr {
    let (_, rest) = url.split_once("://").unwrap();
    rest.split('/').next().unwrap().parse().unwrap()
}
