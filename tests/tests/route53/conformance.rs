//! The suite that every provider passes.

use std::time::Duration;

use dnseal_providers::conformance::{self, Options, Outcome, Reading};
use dnseal_tests::fakes::route53::{RecordSet, Route53Options};

use crate::bench::{Bench, ZONE, name, provider, served};

#[tokio::test(flavor = "multi_thread")]
async fn every_case_passes() {
    let bench = Bench::with(Route53Options {
        burst: 10_000,
        propagation: Duration::from_millis(50),
        rate: 10_000,
        ..Route53Options::default()
    })
    .await;
    bench.fake.add_zone("deep.example.test");
    bench
        .fake
        .put(&bench.zone.id, RecordSet::txt(ZONE, 300, &["v=spf1 -all"]));
    let before = bench.fake.record_sets(&bench.zone.id);
    let impostor = provider(&bench.fake, &[("secret-access-key", "wrong")]);
    let server = bench.fake.dns();
    let read = move |owner| -> Reading { Box::pin(served(server, owner)) };
    let results = conformance::run(
        bench.provider.as_ref(),
        &Options {
            base: name("base.example.test"),
            deeper_zone: Some(name("deep.example.test")),
            foreign: name("nowhere.invalid"),
            impostor: Some(impostor.as_ref()),
            patience: Duration::from_secs(20),
            read: &read,
            zone: None,
        },
    )
    .await;
    for result in &results {
        assert_eq!(result.outcome, Outcome::Pass, "{}", result.name);
    }
    assert_eq!(bench.fake.record_sets(&bench.zone.id), before);
    let upserts = bench.fake.calls().into_iter().flat_map(|call| call.changes);
    assert_eq!(
        upserts
            .filter(|change| change.starts_with("UPSERT"))
            .count(),
        0
    );
}
