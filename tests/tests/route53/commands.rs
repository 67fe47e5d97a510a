//! `dnseal dns set`, `list` and `unset`, and what they say when something is missing.

use dnseal_tests::fakes::route53::{KEY_ID, KEY_SECRET, Policy, RecordSet};
use dnseal_tests::{Dnseal, Run};
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::bench::Bench;

const OWNER: &str = "_acme-challenge.example.test";

#[tokio::test(flavor = "multi_thread")]
async fn values_come_and_go() {
    let shop = Shop::open().await;
    let zone = &shop.bench.zone.id;
    shop.bench
        .fake
        .put(zone, RecordSet::txt(OWNER, 300, &["foreign"]));
    let before = shop.bench.fake.record_sets(zone);
    shop.dns(&["set", OWNER, "value"]).await.success();
    let listed = shop.dns(&["list", OWNER]).await.success();
    assert_eq!(listed.stdout, "foreign\nvalue\n");
    shop.dns(&["unset", OWNER, "value"]).await.success();
    let mut after = shop.bench.fake.record_sets(zone);
    // Nobody remembers the TTL that was there between two commands.
    after[0].ttl = before[0].ttl;
    assert_eq!(after, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_said() {
    let shop = Shop::open().await;
    shop.bench.fake.deny("route53:ChangeResourceRecordSets");
    let run = shop.dns(&["set", OWNER, "value"]).await.expect_code(4);
    for part in [
        "route53:ChangeResourceRecordSets on resource: arn:aws:route53:::hostedzone/",
        "hint: allow route53:ChangeResourceRecordSets on arn:aws:route53:::hostedzone/",
        "\"route53:ChangeResourceRecordSetsNormalizedRecordNames\": [\"_acme-challenge.*\"]",
    ] {
        assert!(run.stderr.contains(part), "no {part} in {}", run.stderr);
    }
    assert!(!run.stderr.contains(KEY_SECRET));

    shop.bench.fake.allow(Policy::Everything);
    let other = shop
        .dns_with(&["list", OWNER], &[("AWS_SECRET_ACCESS_KEY", "wrong")])
        .await;
    let other = other.expect_code(4);
    assert!(
        other.stderr.contains("does not belong to the access key"),
        "{}",
        other.stderr
    );

    let region = [("AWS_HOSTED_ZONE_ID", "Z0NOTHERE")];
    let other = shop
        .dns_with(&["list", OWNER], &region)
        .await
        .expect_code(4);
    assert!(
        other.stderr.contains("holds no hosted zone Z0NOTHERE"),
        "{}",
        other.stderr
    );
}

struct Shop {
    bench: Bench,
    home: TempDir,
}

impl Shop {
    async fn open() -> Self {
        Self {
            bench: Bench::open().await,
            home: TempDir::with_prefix("dnseal-home-").unwrap(),
        }
    }

    async fn dns(&self, words: &[&str]) -> Run {
        self.dns_with(words, &[]).await
    }

    async fn dns_with(&self, words: &[&str], environment: &[(&str, &str)]) -> Run {
        let mut command = Dnseal::new(self.home.path())
            .arg("dns")
            .args(words)
            .args(["--provider", "route53"])
            .args(["--nameserver", &self.bench.fake.dns().to_string()])
            .env("AWS_ENDPOINT_URL_ROUTE_53", self.bench.fake.endpoint())
            .env("AWS_ACCESS_KEY_ID", KEY_ID)
            .env("AWS_SECRET_ACCESS_KEY", KEY_SECRET);
        for (name, value) in environment {
            command = command.env(name, value);
        }
        spawn_blocking(move || command.run()).await.unwrap()
    }
}
