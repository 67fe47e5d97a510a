//! The suite that every provider passes.

use std::ops::ControlFlow;
use std::time::Duration;

use dnseal_providers::conformance::{self, Options, Outcome, Peculiar, Reading};
use dnseal_tests::fakes::route53::{Fault, RecordSet, Route53Options};

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
    let throttling = Bench::open().await;
    let words = Fault::Refuse(400, "Throttling", "Rate exceeded");
    throttling
        .fake
        .inject("ChangeResourceRecordSets", words, 100);
    let results = conformance::run_with(
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
        &Peculiar {
            throttled: Some(throttling.provider.as_ref()),
            ..Peculiar::default()
        },
        |_| ControlFlow::Continue(()),
    )
    .await;
    // How long the SDK waits for an answer is no setting of ours.
    for result in results.iter().filter(|result| result.name != "time-out") {
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
