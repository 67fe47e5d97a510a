//! The fake under clients that nobody here wrote, and the provider against a service that nobody here wrote.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use dnseal_providers::conformance::{self, Options, Outcome, Reading};
use dnseal_tests::fakes::route53::{KEY_ID, KEY_SECRET, Route53Options};
use dnseal_tests::{Moto, python_with};
use tokio::task::spawn_blocking;

use crate::bench::{Bench, ZONE, name, provider_over};

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_others_wrote_can_use_the_fake() {
    let Some(python) = python_with(&["boto3", "certbot_dns_route53"]) else {
        return;
    };
    let bench = Bench::with(Route53Options {
        burst: 100,
        propagation: Duration::from_secs(1),
        rate: 20,
        ..Route53Options::default()
    })
    .await;
    let deep = bench.fake.add_zone("deep.example.test");
    bench.fake.add_private_zone(ZONE);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fakes/check_route53.py");
    let mut command = Command::new(python);
    command
        .arg(script)
        .args([&bench.fake.endpoint(), KEY_ID, KEY_SECRET]);
    let output = spawn_blocking(move || command.output()).await.unwrap();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let last = bench.fake.calls().pop();
    assert!(output.status.success(), "{said}\nlast call: {last:?}");
    assert_eq!(bench.fake.record_sets(&bench.zone.id), []);
    assert_eq!(bench.fake.record_sets(&deep), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn moto_is_served_as_far_as_it_is_faithful() {
    let Some(moto) = Moto::start() else { return };
    moto.create_zone(ZONE).await;
    moto.create_zone("deep.example.test").await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let provider = provider_over(&moto.endpoint(), &[], http);
    let zone = provider.zone_of(&name(ZONE)).await.unwrap();
    let (reader, apex) = (Arc::clone(&provider), zone.clone());
    // It serves no DNS; what the API lists is all there is to see.
    let read = move |owner| -> Reading {
        let (reader, apex) = (Arc::clone(&reader), apex.clone());
        Box::pin(async move {
            let values = reader.values(&apex, &owner).await;
            values
                .map(Option::unwrap_or_default)
                .map_err(|error| error.to_string())
        })
    };
    let results = conformance::run(
        provider.as_ref(),
        &Options {
            base: name("base.example.test"),
            deeper_zone: Some(name("deep.example.test")),
            foreign: name("nowhere.invalid"),
            // It trusts everybody.
            impostor: None,
            patience: Duration::ZERO,
            read: &read,
            zone: None,
        },
    )
    .await;
    for result in &results {
        let impostors = result.name == "bad-credentials";
        let right = match &result.outcome {
            Outcome::Pass => true,
            Outcome::NotSupported(_) => impostors,
            Outcome::Fail(_) | Outcome::NotTried(_) => false,
        };
        assert!(right, "{}: {:?}", result.name, result.outcome);
    }
}
