//! The Cloudflare provider against the fake of Cloudflare's API.

#![expect(clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use dnseal_core::dns::{
    Action, DnsProvider, DomainName, Outcome, ProviderError, TxtChange, TxtValue, Zone,
};
use dnseal_core::event::{Events, What};
use dnseal_providers::conformance::{self, Options, Reading};
use dnseal_providers::{Context, Form, Settings, Value, build};
use dnseal_tests::fakes::cloudflare::{
    CloudflareOptions, FakeCloudflare, FakeToken, FakeZone, Fault, Grant, Plan, Quota,
};
use futures::future::join_all;

const ZONE: &str = "example.test";
const TOKEN: &str = "canary-Sn3lZJTBX6kkg7OdcBUAxOO963GEIyGQqnFTOFYY";
const OTHER: &str = "canary-YQSn-xWAQiiEh9qM58wZNnyQS7FUdoqGIUAbrh7T";
const KEY: &str = "canary4c9defac04969c7bfad8efaa8ea1940";
const BATCH: &str = "/dns_records/batch";
const RECORDS: &str = "/dns_records";

async fn fake(options: CloudflareOptions) -> FakeCloudflare {
    FakeCloudflare::start(options).await.unwrap()
}

/// A fake with one zone.
async fn one_zone() -> FakeCloudflare {
    fake(CloudflareOptions::new([ZONE], TOKEN)).await
}

fn provider_with(
    fake: &FakeCloudflare,
    settings: &[(&str, &str)],
    context: &Context,
) -> Arc<dyn DnsProvider> {
    let mut all = Settings::new();
    all.insert("base-url", Value::from(fake.base_url()));
    for (key, value) in settings {
        let form = match *key {
            "token" | "zone-token" | "key" => Form::Secret,
            _ => Form::Text,
        };
        all.insert(*key, Value::new(form, (*value).to_owned()));
    }
    build("cloudflare", "cloud", all, context).unwrap()
}

fn provider(fake: &FakeCloudflare) -> Arc<dyn DnsProvider> {
    provider_with(fake, &[("token", TOKEN)], &Context::default())
}

fn name(text: &str) -> DomainName {
    text.parse().unwrap()
}

fn change(action: Action, owner: &str, value: &str) -> TxtChange {
    TxtChange {
        action,
        handle: None,
        origin: None,
        owner: name(owner),
        ttl: 60,
        value: value.parse().unwrap(),
    }
}

fn add(owner: &str, value: &str) -> TxtChange {
    change(Action::Add, owner, value)
}

fn remove(owner: &str, value: &str) -> TxtChange {
    change(Action::Remove, owner, value)
}

async fn zone(provider: &dyn DnsProvider) -> Zone {
    provider.zone_of(&name(ZONE)).await.unwrap()
}

/// Applies changes that must all succeed.
async fn apply(provider: &dyn DnsProvider, zone: &Zone, changes: &[TxtChange]) {
    let applied = provider.apply(zone, changes).await.unwrap();
    assert_eq!(applied.outcomes.len(), changes.len());
    for (outcome, change) in applied.outcomes.iter().zip(changes) {
        assert!(
            matches!(outcome, Outcome::Applied { .. }),
            "{change:?}: {outcome:?}"
        );
    }
}

/// What DNS has at a name, sorted.
fn served(fake: &FakeCloudflare, owner: &str) -> Vec<String> {
    let mut values = fake.dns().values(owner);
    values.sort();
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn it_conforms() {
    let options = CloudflareOptions::new([ZONE, "deeper.example.test"], TOKEN);
    let fake = fake(options).await;
    let provider = provider(&fake);
    let impostor = provider_with(&fake, &[("token", OTHER)], &Context::default());
    let dns = fake.dns().clone();
    let read = move |owner: DomainName| -> Reading {
        let values = dns.values(owner.as_str());
        Box::pin(async move {
            values
                .iter()
                .map(|value| value.parse::<TxtValue>().map_err(|e| e.to_string()))
                .collect()
        })
    };
    let results = conformance::run(
        &*provider,
        &Options {
            base: name("conformance.example.test"),
            deeper_zone: Some(name("deeper.example.test")),
            foreign: name("_acme-challenge.elsewhere.test"),
            impostor: Some(&*impostor),
            patience: Duration::from_secs(10),
            read: &read,
        },
    )
    .await;
    for result in &results {
        assert_eq!(
            result.outcome,
            conformance::Outcome::Pass,
            "{}",
            result.name
        );
    }
    assert_eq!(fake.records(ZONE), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_names_are_one_call_to_add_and_one_to_remove() {
    let fake = one_zone().await;
    let provider = provider(&fake);
    let zone = zone(&*provider).await;
    let owners: Vec<String> = (0..100)
        .map(|n| format!("_acme-challenge.n{n}.example.test"))
        .collect();
    fake.add(ZONE, "TXT", &owners[7], "foreign");
    fake.forget();

    let adds: Vec<TxtChange> = owners.iter().map(|owner| add(owner, "v")).collect();
    apply(&*provider, &zone, &adds).await;
    let requests = fake.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert_eq!((requests[0].batch, requests[0].status), (100, 200));
    assert_eq!(served(&fake, &owners[7]), ["foreign", "v"]);
    let record = &fake.records(ZONE)[0];
    assert_eq!(record.comment.as_deref(), Some("dnseal"));
    assert_eq!((record.ttl, record.content.as_str()), (60, "\"v\""));

    fake.forget();
    let removes: Vec<TxtChange> = owners.iter().map(|owner| remove(owner, "v")).collect();
    apply(&*provider, &zone, &removes).await;
    let requests = fake.requests();
    // One to look, one to remove.
    assert_eq!(requests.len(), 2, "{requests:?}");
    assert_eq!(fake.count("POST", BATCH), 1);
    let records = fake.records(ZONE);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].content, "foreign");
}
