//! `kind: manual`: all records at once, seen by itself, gone on with later, and mistakes that are noticed.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not count among the tests"
)]

use std::fs;

use dnseal_tests::{
    Bind, BindOptions, Dnseal, NameServer, Pebble, PebbleOptions, TsigKey, ZoneSpec,
};
use serde_json::Value;
use tempfile::TempDir;

const ZONE: &str = "example.test";
const NAMES: [&str; 3] = ["example.test", "*.example.test", "www.example.test"];

struct World {
    bind: Bind,
    home: TempDir,
    key: TsigKey,
    pebble: Pebble,
}

impl World {
    fn start() -> Option<Self> {
        let key = TsigKey::random("acme-key");
        let zone = ZoneSpec::new(ZONE).updated_by(&key);
        let bind = Bind::start(BindOptions::new([zone], [key.clone()]))?;
        Some(Self {
            pebble: Pebble::start(PebbleOptions::new(bind.addr()))?,
            bind,
            home: TempDir::with_prefix("dnseal-home-").unwrap(),
            key,
        })
    }

    fn dnseal(&self, words: &[&str]) -> Dnseal {
        Dnseal::new(self.home.path())
            .args(words)
            .arg("--dir")
            .arg(self.home.path().join("state"))
    }

    fn issue(&self, names: &[&str]) -> Dnseal {
        let words = [&["issue", "--provider", "manual"], names].concat();
        self.dnseal(&words)
            .args(["--nameserver", &self.bind.addr().to_string()])
            .arg("--ca")
            .arg(self.pebble.directory_url())
            .arg("--ca-root")
            .arg(self.pebble.ca_pem_path())
            .arg("--agree-tos")
    }

    fn set(&self, records: &[(String, String)]) {
        for (owner, value) in records {
            self.bind.add_txt(&self.key, ZONE, owner, value);
        }
    }

    fn orders(&self) -> usize {
        self.pebble.count("POST", "/order-plz")
    }
}

/// Owner and value of every record in an error document.
fn records(document: &Value) -> Vec<(String, String)> {
    let records = document["records"].as_array().unwrap().iter();
    let text = |record: &Value, key: &str| record[key].as_str().unwrap().to_owned();
    records
        .map(|record| {
            assert_eq!(record["type"], "TXT");
            (text(record, "owner"), text(record, "value"))
        })
        .collect()
}

#[test]
fn without_a_terminal_the_next_run_goes_on() {
    let Some(world) = World::start() else { return };
    let run = world.issue(&NAMES).run();
    assert_eq!(run.code(), 10, "{run:?}");
    assert_eq!(
        run.stderr.matches(" IN TXT ").count(),
        3,
        "all at once: {run:?}"
    );

    let run = world.issue(&NAMES).args(["--output", "json"]).run();
    assert_eq!(run.code(), 10, "{run:?}");
    let document = serde_json::from_str::<Value>(&run.stdout).unwrap();
    let wanted = records(&document["error"]);
    assert_eq!(wanted.len(), 3, "{document:#}");

    // One is where it should be, one is one label off: the service has added the zone by itself.
    let (first, rest) = wanted.split_first().unwrap();
    world.set(std::slice::from_ref(first));
    let (owner, value) = rest.last().unwrap();
    assert_eq!(owner, "_acme-challenge.www.example.test");
    let off = format!("{owner}.{ZONE}");
    world.bind.add_txt(&world.key, ZONE, &off, value);
    let run = world.issue(&NAMES).run();
    assert_eq!(run.code(), 10, "{run:?}");
    assert!(run.stderr.contains(&format!("is at {off}")), "{run:?}");
    assert!(run.stderr.contains("`_acme-challenge.www`"), "{run:?}");

    world.set(rest);
    let run = world.issue(&NAMES).run();
    assert_eq!(run.code(), 0, "{run:?}");
    assert!(run.stderr.contains("may be removed"), "{run:?}");
    for (_, value) in &wanted {
        assert!(run.stderr.contains(value), "{run:?}");
    }
    assert_eq!(
        world.orders(),
        1,
        "the same order from the beginning to the end"
    );
}

#[test]
fn a_wait_ends_by_itself_when_the_records_are_there() {
    let Some(world) = World::start() else { return };
    let run = world
        .issue(&NAMES)
        .args(["--set", "wait=2m", "--output", "json"])
        .spawn();
    run.wait_stderr("www.example.test. 60 IN TXT");
    let said = run.stderr();
    let lines = said
        .lines()
        .filter_map(|line| line.split_once(" 60 IN TXT "));
    let wanted: Vec<(String, String)> = lines
        .map(|(owner, value)| {
            let owner = owner.trim().trim_end_matches('.').to_owned();
            (owner, value.trim_matches('"').to_owned())
        })
        .collect();
    assert_eq!(wanted.len(), 3, "{said}");
    // At the name without the label that was forgotten.
    let (_, value) = wanted.last().unwrap();
    world
        .bind
        .add_txt(&world.key, ZONE, "www.example.test", value);
    run.wait_stderr("is at www.example.test");
    world.set(&wanted);
    let run = run.wait();
    assert_eq!(run.code(), 0, "{run:?}");
    assert_eq!(world.orders(), 1);
}

/// An order that waits is no leftover, and one that is given up leaves what a person has set to the person.
#[test]
fn an_order_that_waits_is_left_alone() {
    let Some(world) = World::start() else { return };
    let bind = world.bind.addr().to_string();
    let gc = |words: &[&str]| {
        let words = [&["dns", "gc", "--nameserver", &bind], words].concat();
        world.dnseal(&words).run()
    };
    let run = world.issue(&NAMES).args(["--output", "json"]).run();
    assert_eq!(run.code(), 10, "{run:?}");
    let wanted = records(&run.json()["error"]);

    let told = world
        .dnseal(&["doctor", "--provider", "manual", "--read-only"])
        .args(["--nameserver", &bind])
        .arg("--ca")
        .arg(world.pebble.directory_url())
        .arg("--ca-root")
        .arg(world.pebble.ca_pem_path())
        .args(NAMES)
        .run();
    let said = told.stdout;
    assert!(said.contains("an order waits for 3 values"), "{said}");
    assert!(!said.contains("did not end in order"), "{said}");
    let run = gc(&[]).success();
    assert!(run.stdout.contains("waits for a person"), "{run:?}");
    assert!(!run.stdout.contains("withdrawn"), "{run:?}");
    assert!(!run.stderr.contains("not needed any more"), "{run:?}");
    world.set(&wanted[..1]);
    let run = world.issue(&NAMES).run();
    assert_eq!(run.code(), 10, "the same order: {run:?}");
    assert_eq!(run.stderr.matches(" IN TXT ").count(), 2, "{run:?}");
    assert_eq!(world.orders(), 1);

    // By a name in it; of what nobody has set nothing is to be removed.
    let run = gc(&["www.example.test", "--forget", "--output", "json"]).success();
    let document = run.json();
    let swept = &document["certificates"][0];
    assert_eq!(swept["by_hand"], 1, "{document:#}");
    assert_eq!(swept["withdrawn"], 0, "{document:#}");
    let fate = |fate: &str| {
        let values = swept["values"].as_array().unwrap().iter();
        let values = values.filter(|value| value["fate"] == fate);
        values.map(|v| v["value"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(fate("by-hand"), [wanted[0].1.as_str()]);
    assert_eq!(fate("never-set").len(), 2, "{document:#}");
    let run = gc(&[]).success();
    assert_eq!(run.stdout, "nothing is left in DNS\n");
    let run = world.issue(&NAMES).run();
    assert_eq!(run.code(), 10, "{run:?}");
}

/// The order and what was set for it stay.
#[test]
fn an_interruption_gives_nothing_up() {
    let Some(world) = World::start() else { return };
    let run = world.issue(&NAMES[..1]).args(["--set", "wait=2m"]).spawn();
    run.wait_stderr(" IN TXT ");
    run.signal("TERM");
    let run = run.wait();
    assert_eq!(run.code(), 143, "{run:?}");
    let run = world.issue(&NAMES[..1]).args(["--output", "json"]).run();
    assert_eq!(run.code(), 10, "{run:?}");
    let document = serde_json::from_str::<Value>(&run.stdout).unwrap();
    world.set(&records(&document["error"]));
    let run = world.issue(&NAMES[..1]).run();
    assert_eq!(run.code(), 0, "{run:?}");
    assert_eq!(world.orders(), 1);
}

#[test]
fn renew_waits_for_nobody() {
    let Some(world) = World::start() else { return };
    let config = world.home.path().join("dnseal.yaml");
    let zone = format!(
        "  native: {{ kind: rfc2136, server: '{}', tsig: {{ name: {}, secret: '{}' }} }}\n",
        world.bind.addr(),
        world.key.name,
        world.key.secret_base64
    );
    fs::write(
        &config,
        format!(
            "ca: {{ url: '{}', root: '{}' }}\nagree-tos: true\npropagation: {{ nameservers: ['{}'] }}\nproviders:\n  person: {{ kind: manual }}\n{zone}\
             zones:\n  www.example.test: {{ provider: person }}\n  example.test: {{ provider: native }}\n\
             certificates:\n  www.example.test: {{ names: [www.example.test] }}\n  example.test: {{ names: [example.test] }}\n",
            world.pebble.directory_url(),
            world.pebble.ca_pem_path().display(),
            world.bind.addr(),
        ),
    )
    .unwrap();
    let renew = || {
        world
            .dnseal(&["renew", "--output", "json"])
            .arg("--config")
            .arg(&config)
            .run()
    };
    let run = renew();
    assert_eq!(run.code(), 10, "{run:?}");
    let document = run.json();
    let of = |name: &str| {
        let certificates = document["certificates"].as_array().unwrap();
        certificates
            .iter()
            .find(|c| c["name"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(of("example.test")["issued_now"], true, "{document:#}");
    let wanted = records(&of("www.example.test")["error"]);
    assert_eq!(wanted.len(), 1);
    // The other is fresh, and this one still waits.
    let run = renew();
    assert_eq!(run.code(), 10, "{run:?}");
    world.set(&wanted);
    let run = renew();
    assert_eq!(run.code(), 0, "{run:?}");
    assert_eq!(world.orders(), 2);
}
