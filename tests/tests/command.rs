//! The binary against Pebble and BIND: the main job, kills, waiting, and several providers.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use dnseal_core::issue::Checkpoint;
use dnseal_tests::{
    Bind, BindOptions, Dnseal, NameServer, Pebble, PebbleOptions, Peer, Shop, TsigKey, Unbound,
    UnboundOptions, ZoneSpec, require, txt_values, wait_until,
};
use tempfile::TempDir;

const OWNER: &str = "_acme-challenge.example.test";
const BOTH: [&str; 2] = ["example.test", "*.example.test"];

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn main_job_with_legos_variables() {
    let Some(shop) = Shop::open() else { return };
    shop.bind
        .add_txt(&shop.key, "example.test", OWNER, "foreign");
    let run = shop.issue(&BOTH).run().success();
    assert!(run.stdout.contains("fullchain.pem"), "{run:?}");

    shop.verify("example.test");
    for file in ["privkey.pem", "cert.pem", "chain.pem", "fullchain.pem"] {
        assert!(shop.live("example.test", file).is_file(), "{file}");
    }
    assert_eq!(mode(&shop.live("example.test", "privkey.pem")), 0o600);
    assert_eq!(txt_values(shop.bind.addr(), OWNER), ["foreign"]);

    let again = shop
        .issue(&BOTH)
        .args(["--output", "json"])
        .run()
        .success()
        .json();
    assert_eq!(again["stats"]["acme_requests"], 0, "{again:#}");
}

#[test]
fn a_hundred_names_and_what_the_statistics_say() {
    let Some(shop) = Shop::open() else { return };
    let names: Vec<String> = (0..50)
        .flat_map(|n| [format!("h{n}.example.test"), format!("*.h{n}.example.test")])
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let json = shop
        .issue(&names)
        .args(["--output", "json"])
        .run()
        .success()
        .json();
    let requests = usize::try_from(json["stats"]["acme_requests"].as_u64().unwrap()).unwrap();
    assert!(requests <= 2 * 100 + 10, "{json:#}");
    assert_eq!(requests, shop.pebble.requests().len());
    assert_eq!(shop.bind.updates("example.test"), 2);
}

#[test]
fn killed_at_each_checkpoint_the_next_run_succeeds_and_leaves_nothing() {
    let Some(shop) = Shop::open() else { return };
    shop.bind
        .add_txt(&shop.key, "example.test", OWNER, "foreign");
    for (number, point) in Checkpoint::ALL.into_iter().enumerate() {
        let running = shop
            .issue(&BOTH)
            .arg("--force")
            .env("DNSEAL_TEST_PAUSE_AT", point.name())
            .spawn();
        running.wait_stderr(&format!("paused at {}", point.name()));
        running.kill();
        let killed = running.wait();
        assert!(!killed.status.success(), "{killed:?}");

        let run = shop.issue(&BOTH).run().success();
        assert_eq!(
            txt_values(shop.bind.addr(), OWNER),
            ["foreign"],
            "{point:?}: {run:?}"
        );
        let head = shop.head("example.test").unwrap();
        for key in ["order", "published", "worker"] {
            assert_eq!(head.get(key), None, "{point:?}: {head:#}");
        }
        let number = u64::try_from(number).unwrap();
        assert!(
            head["current"]["number"].as_u64().unwrap() > number,
            "{point:?}: {head:#}"
        );
        shop.verify("example.test");
        leaves_no_temporary_files(&shop.dir());
    }
}

fn leaves_no_temporary_files(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        assert!(!name.contains("tmp"), "{}", entry.path().display());
        if entry.file_type().unwrap().is_dir() {
            leaves_no_temporary_files(&entry.path());
        }
    }
}

#[test]
fn a_second_run_waits_for_a_living_one_and_takes_nothing_away() {
    let Some(shop) = Shop::open() else { return };
    let first = shop
        .issue(&BOTH)
        .env("DNSEAL_TEST_PAUSE_AT", "propagated")
        .spawn();
    first.wait_stderr("paused at propagated");
    let second = shop.issue(&BOTH).spawn();
    second.wait_stderr("lock");
    assert!(!second.has_ended());
    assert_eq!(txt_values(shop.bind.addr(), OWNER).len(), 2);
    first.kill();
    first.wait();
    second.wait().success();
    assert_eq!(txt_values(shop.bind.addr(), OWNER), Vec::<String>::new());
}

#[test]
fn interrupted_it_takes_its_values_out() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let Some(shop) = Shop::open() else { return };
        let running = shop
            .issue(&BOTH)
            .env("DNSEAL_TEST_PAUSE_AT", "dns-written")
            .spawn();
        running.wait_stderr("paused at dns-written");
        assert_eq!(txt_values(shop.bind.addr(), OWNER).len(), 2);
        running.signal(signal);
        let run = running.wait();
        assert_eq!(run.code(), code, "{run:?}");
        assert!(run.elapsed < Duration::from_secs(30), "{run:?}");
        assert_eq!(
            txt_values(shop.bind.addr(), OWNER),
            Vec::<String>::new(),
            "{run:?}"
        );
        assert_eq!(shop.head("example.test"), None);
    }
}

#[test]
fn twins_of_two_key_types_at_the_same_moment() {
    let Some(shop) = Shop::open() else { return };
    let ecdsa = shop.issue(&BOTH).args(["--name", "ecdsa"]).spawn();
    let rsa = shop
        .issue(&BOTH)
        .args(["--name", "rsa", "--key-type", "rsa-2048"])
        .spawn();
    ecdsa.wait().success();
    rsa.wait().success();
    shop.verify("ecdsa");
    shop.verify("rsa");
    assert_eq!(txt_values(shop.bind.addr(), OWNER), Vec::<String>::new());
}

#[test]
fn a_delegated_name_goes_to_the_other_provider() {
    let (key, other_key) = (TsigKey::random("acme-key"), TsigKey::random("other-key"));
    let zone = ZoneSpec::new("a.test")
        .updated_by(&key)
        .record("_acme-challenge CNAME x.b.test.")
        .record("*.w CNAME elsewhere.b.test.");
    let other_zone = ZoneSpec::new("b.test").updated_by(&other_key);
    let servers = (
        Bind::start(BindOptions::new([zone], [key.clone()])),
        Bind::start(BindOptions::new([other_zone], [other_key.clone()])),
    );
    let (Some(bind), Some(other)) = servers else {
        return;
    };
    // The CA's resolver finds both.
    let stubs = [("a.test", bind.addr()), ("b.test", other.addr())];
    let Some(unbound) = Unbound::start(UnboundOptions::new(stubs)) else {
        return;
    };
    let Some(pebble) = Pebble::start(PebbleOptions::new(unbound.addr())) else {
        return;
    };
    let shop = Shop::of(bind, key, pebble);

    let provider = |server: &Bind, key: &TsigKey| {
        format!(
            "{{ kind: rfc2136, server: '{}', tsig: {{ name: {}, secret: '{}' }} }}",
            server.addr(),
            key.name,
            key.secret_base64
        )
    };
    let zone = |provider: &str, server: &Bind| {
        format!(
            "{{ provider: {provider}, propagation: {{ nameservers: ['{}'] }} }}",
            server.addr()
        )
    };
    let config = format!(
        "ca: {{ url: '{}', root: '{}' }}\nagree-tos: true\nproviders:\n  one: {}\n  two: {}\nzones:\n  a.test: {}\n  b.test: {}\n",
        shop.pebble.directory_url(),
        shop.pebble.ca_pem_path().display(),
        provider(&shop.bind, &shop.key),
        provider(&other, &other_key),
        zone("one", &shop.bind),
        zone("two", &other),
    );
    let path = shop.home().join("dnseal.yaml");
    fs::write(&path, config).unwrap();
    let issue = |more: &[&str]| {
        shop.command("issue a.test host.w.a.test --output json")
            .args(more)
            .arg("--config")
            .arg(&path)
            .run()
            .success()
            .json()
    };

    let plan = issue(&["--plan"]);
    let names = &plan["plans"][0]["names"];
    assert_eq!(names[0]["owner"], "x.b.test", "{plan:#}");
    assert_eq!(names[0]["provider"], "two", "{plan:#}");
    // Everything below w.a.test is an alias, and none of it a delegation.
    assert_eq!(
        names[1]["owner"], "_acme-challenge.host.w.a.test",
        "{plan:#}"
    );
    assert_eq!(names[1]["provider"], "one", "{plan:#}");

    issue(&[]);
    shop.verify("a.test");
    assert_eq!(other.updates("b.test"), 2);
    assert_eq!(shop.bind.updates("a.test"), 2);
    assert_eq!(txt_values(other.addr(), "x.b.test"), Vec::<String>::new());
}

#[test]
fn no_answer_from_the_name_server_ends_in_time_and_leaves_nothing() {
    let Some(shop) = Shop::open() else { return };
    shop.bind.process().pause();
    let run = shop.issue(&BOTH).timeout(Duration::from_secs(120)).run();
    shop.bind.process().resume();
    assert_eq!(run.code(), 4, "{run:?}");
    assert!(
        run.stderr.contains(&shop.bind.addr().to_string()),
        "{run:?}"
    );
    assert_eq!(shop.head("example.test"), None);
    assert!(wait_until(Duration::from_secs(10), || {
        txt_values(shop.bind.addr(), OWNER).is_empty()
    }));
}

/// Libraries underneath cannot count seconds before that year.
#[test]
fn a_clock_from_before_1970_is_told() {
    if require(Peer::Faketime).is_none() {
        return;
    }
    let home = TempDir::new().unwrap();
    let run = Dnseal::new(home.path())
        .args(["list"])
        .faketime("@1969-12-30 00:00:00")
        .run()
        .expect_code(1);
    assert!(
        run.stderr.contains("before the year 1970") && run.stderr.contains("NTP"),
        "{}",
        run.stderr
    );
}
