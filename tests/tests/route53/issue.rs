//! Certificates through the fake: the binary, Pebble validating over the fake's name server.

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
}

#[tokio::test(flavor = "multi_thread")]
async fn four_processes_whose_names_all_lead_to_one_owner() {
    let Some(shop) = Shop::open(Duration::from_millis(500)).await else {
        return;
    };
    let zone = &shop.bench.zone.id;
    let hub = format!("hub.{ZONE}");
    let aliases = (0..8).map(|n| {
        let owner = format!("_acme-challenge.n{n}.{ZONE}");
        RecordSet::new(&owner, "CNAME", 60, &[&format!("{hub}.")])
    });
    shop.bench.fake.put_all(zone, aliases);
    shop.bench
        .fake
        .put(zone, RecordSet::txt(&hub, 300, &["foreign"]));
    shop.bench.fake.advance(Duration::from_secs(60));
    let before = shop.bench.fake.record_sets(zone);
    let mut runs = JoinSet::new();
    for process in 0..4 {
        let home = TempDir::with_prefix("dnseal-home-").unwrap();
        let names = [2 * process, 2 * process + 1].map(|n| format!("n{n}.{ZONE}"));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let command = shop.issue(&home, &names);
        runs.spawn_blocking(move || (command.run(), home));
    }
    for (run, _home) in runs.join_all().await {
        run.success();
    }
    assert_eq!(shop.bench.fake.record_sets(zone), before);
}

struct Shop {
    bench: Bench,
    pebble: Pebble,
}

impl Shop {
    async fn open(propagation: Duration) -> Option<Self> {
        let bench = Bench::with(Route53Options {
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
