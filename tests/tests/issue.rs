//! The engine against the real Pebble and real name servers.

#![expect(clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use dnseal_core::dns::Identifier;
use dnseal_core::event::{Step, What};
use dnseal_core::issue::Engine;
use dnseal_tests::{
    Bind, BindOptions, CaSettings, Knot, KnotOptions, NameServer, Pebble, PebbleOptions, PowerDns,
    PowerDnsOptions, Server, TsigKey, Workbench, ZoneSpec, txt_values,
};
use tokio_util::sync::CancellationToken;

const OWNER: &str = "_acme-challenge.example.test";

/// Pebble without its random refusals, in front of a name server.
fn pebble(server: &dyn NameServer, env: &[(&str, &str)]) -> Option<(Pebble, CaSettings)> {
    let mut options = PebbleOptions::new(server.addr());
    options.env.extend(
        env.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    let pebble = Pebble::start(options)?;
    let ca = CaSettings {
        directory: pebble.directory_url(),
        root: fs::read(pebble.ca_pem_path()).unwrap(),
    };
    Some((pebble, ca))
}

fn server_of(server: &dyn NameServer, key: &TsigKey) -> Server {
    Server {
        addr: server.addr(),
        key: key.clone(),
        zones: Vec::new(),
    }
}

fn key_and_zone() -> (TsigKey, ZoneSpec) {
    let key = TsigKey::random("acme-key");
    let zone = ZoneSpec::new("example.test").updated_by(&key);
    (key, zone)
}

fn bind() -> Option<(Bind, TsigKey)> {
    let (key, zone) = key_and_zone();
    Some((Bind::start(BindOptions::new([zone], [key.clone()]))?, key))
}

async fn issue(
    workbench: &Workbench,
    engine: &Engine,
    names: &[&str],
) -> dnseal_core::issue::Issued {
    let request = workbench.request(names);
    match engine.issue(&request, &CancellationToken::new()).await {
        Ok(issued) => issued,
        Err(error) => panic!("{error}: {:#?}", workbench.events()),
    }
}

/// Base domain and wildcard, with somebody else's value at the same name.
async fn main_job(server: &dyn NameServer, key: &TsigKey) {
    let Some((pebble, ca)) = pebble(server, &[]) else {
        return;
    };
    server.add_txt(key, "example.test", OWNER, "foreign");
    let workbench = Workbench::new(ca, vec![server_of(server, key)]);
    let engine = workbench.engine();
    let issued = issue(&workbench, &engine, &["example.test", "*.example.test"]).await;

    assert!(issued.issued_now);
    assert_eq!(issued.version.number, 1);
    assert_eq!(txt_values(server.addr(), OWNER), ["foreign"]);
    // Both values went out in one call and came back in one.
    assert_eq!(workbench.writes(), 2);
    let visible = |what: &What| {
        matches!(
            what,
            What::Progress {
                step: Step::Visible,
                ..
            }
        )
    };
    assert_eq!(workbench.count(visible), 2);

    let files = &issued.files;
    let fullchain = fs::read_to_string(&files.fullchain).unwrap();
    assert_eq!(
        fullchain,
        fs::read_to_string(&files.cert).unwrap() + &fs::read_to_string(&files.chain).unwrap()
    );
    let mode = fs::metadata(&files.privkey).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let root = workbench.home().join("root.pem");
    fs::write(&root, pebble.issuance_root_pem()).unwrap();
    let verified = std::process::Command::new("openssl")
        .args(["verify", "-CAfile"])
        .arg(&root)
        .arg("-untrusted")
        .args([&files.chain, &files.cert])
        .output()
        .unwrap();
    assert!(verified.status.success(), "{verified:?}");

    let head = workbench.head(&issued.id).await.unwrap();
    assert!(head.published.is_empty() && head.order.is_none() && head.worker.is_none());
    assert_eq!(head.current.as_ref(), Some(&issued.version));

    // Doing it again keeps what is fresh, and asks nobody.
    workbench.forget_events();
    let kept = issue(&workbench, &engine, &["*.example.test", "example.test"]).await;
    assert!(!kept.issued_now);
    assert_eq!(workbench.acme_requests(), 0);
    assert_eq!(workbench.writes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn main_job_with_bind() {
    if let Some((bind, key)) = bind() {
        main_job(&bind, &key).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn main_job_with_knot() {
    let (key, zone) = key_and_zone();
    if let Some(knot) = Knot::start(KnotOptions::new([zone], [key.clone()])) {
        main_job(&knot, &key).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn main_job_with_powerdns() {
    let (key, zone) = key_and_zone();
    if let Some(powerdns) = PowerDns::start(PowerDnsOptions::new([zone], [key.clone()])) {
        main_job(&powerdns, &key).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_names_are_one_update_and_few_requests() {
    let Some((bind, key)) = bind() else { return };
    let env = [("PEBBLE_WFE_NONCEREJECT", "0"), ("PEBBLE_AUTHZREUSE", "0")];
    let Some((pebble, ca)) = pebble(&bind, &env) else {
        return;
    };
    let workbench = Workbench::new(ca, vec![server_of(&bind, &key)]);
    let engine = workbench.engine();
    let names: Vec<String> = (0..50)
        .flat_map(|n| [format!("h{n}.example.test"), format!("*.h{n}.example.test")])
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let issued = issue(&workbench, &engine, &names).await;
    assert_eq!(issued.version.names.len(), 100);
    assert_eq!(workbench.writes(), 2);
    assert_eq!(bind.updates("example.test"), 2);
    let requests = workbench.acme_requests();
    assert_eq!(requests, pebble.requests().len());
    assert!(requests <= 2 * 100 + 10, "{requests}: {:#?}", workbench.events().iter().filter(|e| matches!(&e.what, What::AcmeRequest { resource, .. } if !["authorization", "challenge"].contains(resource))).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_orders_in_a_row_at_a_ca_that_refuses_half_of_all_nonces() {
    let Some((bind, key)) = bind() else { return };
    let Some((_pebble, ca)) = pebble(&bind, &[("PEBBLE_WFE_NONCEREJECT", "50")]) else {
        return;
    };
    let workbench = Workbench::new(ca, vec![server_of(&bind, &key)]);
    let engine = workbench.engine();
    for n in 0..10 {
        issue(&workbench, &engine, &[&format!("n{n}.example.test")]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn authorizations_that_are_valid_need_no_write() {
    let Some((bind, key)) = bind() else { return };
    let Some((_pebble, ca)) = pebble(&bind, &[("PEBBLE_AUTHZREUSE", "100")]) else {
        return;
    };
    let workbench = Workbench::new(ca, vec![server_of(&bind, &key)]);
    let engine = workbench.engine();
    issue(&workbench, &engine, &["example.test"]).await;
    workbench.forget_events();
    let mut request = workbench.request(&["example.test"]);
    request.force = true;
    let again = engine
        .issue(&request, &CancellationToken::new())
        .await
        .unwrap();
    assert!(again.issued_now);
    assert_eq!(again.version.number, 2);
    assert_eq!(workbench.writes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_names_want_a_word() {
    let Some((bind, key)) = bind() else { return };
    let Some((_pebble, ca)) = pebble(&bind, &[]) else {
        return;
    };
    let workbench = Workbench::new(ca, vec![server_of(&bind, &key)]);
    let engine = workbench.engine();
    issue(&workbench, &engine, &["example.test"]).await;
    let mut request = workbench.request(&["example.test", "www.example.test"]);
    let error = engine
        .issue(&request, &CancellationToken::new())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("www.example.test"), "{error}");
    request.replace_names = true;
    let issued = engine
        .issue(&request, &CancellationToken::new())
        .await
        .unwrap();
    let www: Identifier = "www.example.test".parse().unwrap();
    assert!(issued.version.names.contains(&www));
}
