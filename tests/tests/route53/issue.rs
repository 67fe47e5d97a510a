//! Certificates through the fake: the binary, Pebble validating over the fake's name server.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use dnseal_tests::fakes::route53::{KEY_ID, KEY_SECRET, RecordSet, Route53Options};
use dnseal_tests::{Dnseal, Pebble, PebbleOptions};
use tempfile::TempDir;
use tokio::task::{JoinSet, spawn_blocking};

use crate::bench::{Bench, ZONE};

const OWNER: &str = "_acme-challenge.example.test";
const CHANGE: &str = "ChangeResourceRecordSets";

#[tokio::test(flavor = "multi_thread")]
async fn a_base_name_with_its_wildcard() {
    let Some(shop) = Shop::open(Duration::from_secs(1)).await else {
        return;
    };
    let foreign = RecordSet::txt(OWNER, 300, &["foreign"]);
    shop.bench.fake.put(&shop.bench.zone.id, foreign);
    let before = shop.bench.fake.record_sets(&shop.bench.zone.id);
    let home = TempDir::with_prefix("dnseal-home-").unwrap();
    let command = shop.issue(&home, &[ZONE, "*.example.test"]);
    spawn_blocking(move || command.run())
        .await
        .unwrap()
        .success();
    assert_eq!(shop.bench.fake.count(CHANGE, ""), 2);
    assert_eq!(shop.bench.fake.record_sets(&shop.bench.zone.id), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_names() {
    let Some(shop) = Shop::open(Duration::from_secs(1)).await else {
        return;
    };
    let names: Vec<String> = (0..100).map(|n| format!("n{n}.{ZONE}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let home = TempDir::with_prefix("dnseal-home-").unwrap();
    let command = shop.issue(&home, &names);
    spawn_blocking(move || command.run())
        .await
        .unwrap()
        .success();
    assert_eq!(shop.bench.fake.count(CHANGE, ""), 2);
    assert_eq!(shop.bench.fake.record_sets(&shop.bench.zone.id), []);
    let calls = shop.bench.fake.calls().len();
    assert!(calls <= 15, "{calls} requests");
    assert!(shop.bench.fake.count("GetChange", "") <= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_certificates_of_four_processes_whose_names_lead_to_one_owner() {
    let Some(shop) = Shop::open(Duration::from_millis(300)).await else {
        return;
    };
    shop.fleet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_at_half_the_rate() {
    let Some(shop) = Shop::open(Duration::from_millis(300)).await else {
        return;
    };
    shop.bench.fake.throttle(5, 5);
    shop.fleet().await;
    assert!(
        shop.bench
            .fake
            .calls()
            .iter()
            .any(|call| call.code == "Throttling")
    );
}

/// The access key of a process, so that the log tells one from another.
fn key_of(process: usize) -> String {
    format!("AKIAPROCESS{process}")
}

struct Shop {
    bench: Bench,
    pebble: Pebble,
}

impl Shop {
    async fn open(propagation: Duration) -> Option<Self> {
        let mut keys = vec![(KEY_ID.to_owned(), KEY_SECRET.to_owned())];
        keys.extend((0..4).map(|process| (key_of(process), KEY_SECRET.to_owned())));
        let bench = Bench::with(Route53Options {
            keys,
            propagation,
            ..Route53Options::default()
        })
        .await;
        let dns = bench.fake.dns();
        let pebble = spawn_blocking(move || Pebble::start(PebbleOptions::new(dns)));
        Some(Self {
            bench,
            pebble: pebble.await.unwrap()?,
        })
    }

    /// Four processes with ten certificates each, all of whose challenges are delegated to one owner with a value of its own.
    ///
    /// Gives what each said while it worked.
    async fn fleet(&self) -> Vec<String> {
        let zone = &self.bench.zone.id;
        let hub = format!("hub.{ZONE}");
        let aliases = (0..40).map(|n| {
            let owner = format!("_acme-challenge.n{n}.{ZONE}");
            RecordSet::new(&owner, "CNAME", 60, &[&format!("{hub}.")])
        });
        self.bench.fake.put_all(zone, aliases);
        let foreign = RecordSet::txt(&hub, 300, &["foreign"]);
        self.bench.fake.put(zone, foreign);
        self.bench.fake.advance(Duration::from_secs(60));
        let before = self.bench.fake.record_sets(zone);
        let mut runs = JoinSet::new();
        for process in 0..4 {
            let home = TempDir::with_prefix("dnseal-home-").unwrap();
            let certificates: String = (process * 10..process * 10 + 10)
                .map(|n| format!("  c{n}: {{ names: [n{n}.{ZONE}] }}\n"))
                .collect();
            let text = format!(
                "ca: {{ url: \"{}\", root: \"{}\" }}\nagree-tos: true\ndir: state\n\
                 providers:\n  cloud: {{ kind: route53, endpoint: \"{}\" }}\n\
                 zones:\n  {ZONE}: {{ provider: cloud }}\n\
                 propagation: {{ nameservers: [\"{}\"] }}\ncertificates:\n{certificates}",
                self.pebble.directory_url(),
                self.pebble.ca_pem_path().display(),
                self.bench.fake.endpoint(),
                self.bench.fake.dns(),
            );
            let config = home.path().join("dnseal.yaml");
            fs::write(&config, text).unwrap();
            fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
            let command = Dnseal::new(home.path())
                .args(["issue", "--output", "json", "--config"])
                .arg(config)
                .env("AWS_ACCESS_KEY_ID", key_of(process))
                .env("AWS_SECRET_ACCESS_KEY", KEY_SECRET);
            runs.spawn_blocking(move || (command.run(), home));
        }
        let mut said = Vec::new();
        for (run, _home) in runs.join_all().await {
            let run = run.success();
            said.push(run.stderr.clone());
            let json = run.json();
            assert_eq!(
                json["certificates"].as_array().unwrap().len(),
                10,
                "{json:#}"
            );
        }
        assert_eq!(self.bench.fake.record_sets(zone), before);
        said
    }

    fn issue(&self, home: &TempDir, names: &[&str]) -> Dnseal {
        Dnseal::new(home.path())
            .arg("issue")
            .args(names)
            .arg("--dir")
            .arg(home.path().join("state"))
            .arg("--ca")
            .arg(self.pebble.directory_url())
            .arg("--ca-root")
            .arg(self.pebble.ca_pem_path())
            .args(["--agree-tos", "--provider", "route53"])
            .args(["--nameserver", &self.bench.fake.dns().to_string()])
            .env("AWS_ENDPOINT_URL_ROUTE_53", self.bench.fake.endpoint())
            .env("AWS_ACCESS_KEY_ID", KEY_ID)
            .env("AWS_SECRET_ACCESS_KEY", KEY_SECRET)
    }
}
