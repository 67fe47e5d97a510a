//! The Cloudflare provider against the fake of Cloudflare's API.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use dnseal_core::dns::{DnsProvider, Outcome, TxtChange, Zone};
use dnseal_providers::conformance::{self, Options, Peculiar};
use dnseal_providers::{Context, Form, Settings, Value, build};
use dnseal_tests::fakes::cloudflare::{
    CloudflareOptions, FakeCloudflare, FakeToken, FakeZone, Fault,
};
use dnseal_tests::{added, name, reader, removed, silence, value};
use futures::future::join_all;

mod limits;
mod refusals;
mod zones;

const ZONE: &str = "example.test";
const OWNER: &str = "_acme-challenge.example.test";
const TOKEN: &str = "canary-Sn3lZJTBX6kkg7OdcBUAxOO963GEIyGQqnFTOFYY";
const OTHER: &str = "canary-YQSn-xWAQiiEh9qM58wZNnyQS7FUdoqGIUAbrh7T";
const EMAIL: &str = "user@example.test";
const KEY: &str = "canary4c9defac04969c7bfad8efaa8ea1940";
const BATCH: &str = "/dns_records/batch";

async fn fake(options: CloudflareOptions) -> FakeCloudflare {
    FakeCloudflare::start(options).await.unwrap()
}

/// A fake with one zone on the free plan.
async fn one_zone() -> FakeCloudflare {
    fake(CloudflareOptions::new([ZONE], TOKEN)).await
}

/// A fake with this zone.
async fn with_zone(zone: FakeZone) -> FakeCloudflare {
    let mut options = CloudflareOptions::new([], TOKEN);
    options.zones.push(zone);
    fake(options).await
}

/// A fake with one zone and this token.
async fn with_token(token: FakeToken) -> FakeCloudflare {
    let mut options = CloudflareOptions::new([ZONE], TOKEN);
    options.tokens.push(token);
    fake(options).await
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

fn with_settings(fake: &FakeCloudflare, settings: &[(&str, &str)]) -> Arc<dyn DnsProvider> {
    provider_with(fake, settings, &Context::default())
}

fn provider(fake: &FakeCloudflare) -> Arc<dyn DnsProvider> {
    with_settings(fake, &[("token", TOKEN)])
}

/// The zone of a fake, without asking for it.
fn zone_of(fake: &FakeCloudflare) -> Zone {
    Zone {
        id: fake.zone_id(ZONE),
        name: name(ZONE),
    }
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

fn owners(count: usize) -> Vec<String> {
    (0..count)
        .map(|n| format!("_acme-challenge.n{n}.example.test"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_conforms() {
    let options = CloudflareOptions::new([ZONE, "deeper.example.test"], TOKEN);
    let fake = fake(options).await;
    let provider = provider(&fake);
    let impostor = provider_with(&fake, &[("token", OTHER)], &Context::default());
    let read = reader(fake.dns().addr());
    let throttling = one_zone().await;
    throttling.inject(Fault::answer("POST", BATCH, 429, "{}").times(100));
    let throttled = self::provider(&throttling);
    let (_silence, silent) = silence();
    let url = format!("http://{silent}");
    let silent = [
        ("token", OTHER),
        ("base-url", url.as_str()),
        ("timeout", "1"),
    ];
    let silent = with_settings(&fake, &silent);
    let results = conformance::run_with(
        &*provider,
        &Options {
            base: name("conformance.example.test"),
            deeper_zone: Some(name("deeper.example.test")),
            foreign: name("_acme-challenge.elsewhere.test"),
            impostor: Some(&*impostor),
            patience: Duration::from_secs(10),
            read: &read,
            zone: None,
        },
        &Peculiar {
            silent: Some(&*silent),
            throttled: Some(&*throttled),
            ..Peculiar::default()
        },
        |_| ControlFlow::Continue(()),
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
    let zone = provider.zone_of(&name(OWNER)).await.unwrap();
    let owners = owners(100);
    fake.add(ZONE, "TXT", &owners[7], "foreign");
    fake.forget();

    let adds: Vec<TxtChange> = owners.iter().map(|owner| added(owner, "v")).collect();
    apply(&*provider, &zone, &adds).await;
    let requests = fake.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert_eq!((requests[0].batch, requests[0].status), (100, 200));
    assert_eq!(served(&fake, &owners[7]), ["foreign", "v"]);
    let record = &fake.records(ZONE)[0];
    assert_eq!(record.comment.as_deref(), Some("dnseal"));
    assert_eq!((record.ttl, record.content.as_str()), (60, "\"v\""));

    fake.forget();
    let removes: Vec<TxtChange> = owners.iter().map(|owner| removed(owner, "v")).collect();
    apply(&*provider, &zone, &removes).await;
    let requests = fake.requests();
    // One to look, one to remove.
    assert_eq!(requests.len(), 2, "{requests:?}");
    assert_eq!(fake.count("POST", BATCH), 1);
    let records = fake.records(ZONE);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].content, "foreign");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_and_what_is_gone_are_success() {
    let fake = one_zone().await;
    let provider = provider(&fake);
    let zone = zone_of(&fake);
    // Without quotes, as other tools write it.
    fake.add(ZONE, "TXT", OWNER, "there");
    apply(
        &*provider,
        &zone,
        &[
            added(OWNER, "there"),
            added(OWNER, "new"),
            removed(OWNER, "gone"),
        ],
    )
    .await;
    assert_eq!(served(&fake, OWNER), ["new", "there"]);
    assert_eq!(
        fake.requests().iter().filter(|r| r.status != 200).count(),
        0
    );

    // Nothing was looked up, so that the API says that one is there, and nothing is added.
    fake.forget();
    apply(
        &*provider,
        &zone,
        &[added(OWNER, "there"), added(OWNER, "newer")],
    )
    .await;
    assert_eq!(served(&fake, OWNER), ["new", "newer", "there"]);
    let codes: Vec<i64> = fake.requests().into_iter().flat_map(|r| r.codes).collect();
    assert_eq!(codes, [81058]);

    let all = ["new", "newer", "there"].map(|v| removed(OWNER, v));
    apply(&*provider, &zone, &all).await;
    assert_eq!(fake.records(ZONE), []);
    apply(&*provider, &zone, &all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_value_twice_in_a_call_is_one_record() {
    let fake = one_zone().await;
    let provider = provider(&fake);
    let zone = zone_of(&fake);
    apply(&*provider, &zone, &[added(OWNER, "v"), added(OWNER, "v")]).await;
    assert_eq!(fake.requests().len(), 1);
    assert_eq!(served(&fake, OWNER), ["v"]);
    apply(&*provider, &zone, &[added(OWNER, "w"), removed(OWNER, "w")]).await;
    assert_eq!(served(&fake, OWNER), ["v"]);
    let applied = provider.apply(&zone, &[]).await.unwrap();
    assert_eq!(applied.outcomes, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_is_faster_costs_a_second_look() {
    let fake = one_zone().await;
    let provider = provider(&fake);
    let zone = zone_of(&fake);
    let owners = owners(20);
    let adds: Vec<TxtChange> = owners.iter().map(|o| added(o, "v")).collect();
    fake.inject(Fault::race("POST", BATCH, ZONE, &owners[3], "\"v\""));
    fake.inject(Fault::race("POST", BATCH, ZONE, &owners[5], "v"));
    apply(&*provider, &zone, &adds).await;
    assert_eq!(fake.count("POST", BATCH), 3);
    assert!(fake.requests().len() <= 5, "{:?}", fake.requests());
    assert_eq!(fake.records(ZONE).len(), 20);

    fake.forget();
    let removes: Vec<TxtChange> = owners.iter().map(|o| removed(o, "v")).collect();
    fake.inject(Fault::race_removal("POST", BATCH, ZONE, &owners[7]));
    apply(&*provider, &zone, &removes).await;
    let codes: Vec<i64> = fake.requests().into_iter().flat_map(|r| r.codes).collect();
    assert_eq!(codes, [81044]);
    assert_eq!(fake.records(ZONE), []);

    // Somebody who is faster each time: then the changes go one by one, which needs no agreement.
    fake.forget();
    for (place, owner) in owners.iter().enumerate().take(8) {
        fake.inject(Fault::race(
            "POST",
            BATCH,
            ZONE,
            owner,
            &format!("\"v\"{}", " ".repeat(place % 2)),
        ));
    }
    apply(&*provider, &zone, &adds).await;
    assert_eq!(fake.records(ZONE).len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_writers_lose_nothing() {
    let fake = one_zone().await;
    fake.add(ZONE, "TXT", OWNER, "foreign");
    let zone = zone_of(&fake);
    let run = |action: fn(&str, &str) -> TxtChange| {
        let writers = (0..16).map(|n| {
            let provider = provider(&fake);
            let zone = zone.clone();
            let changes: Vec<TxtChange> = (0..5)
                .map(|v| action(OWNER, &format!("w{n}-{v}")))
                // Two writers may have the same value, and each wants it there.
                .chain([action(OWNER, &format!("shared{}", n / 2))])
                .collect();
            async move { apply(&*provider, &zone, &changes).await }
        });
        join_all(writers.collect::<Vec<_>>())
    };
    run(added).await;
    assert_eq!(served(&fake, OWNER).len(), 16 * 5 + 8 + 1);
    run(removed).await;
    assert_eq!(served(&fake, OWNER), ["foreign"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_those_at_the_name_itself() {
    let fake = one_zone().await;
    let provider = provider(&fake);
    let zone = zone_of(&fake);
    let long = "x".repeat(300);
    fake.add(ZONE, "TXT", OWNER, "bare text");
    fake.add(ZONE, "TXT", OWNER, "\"two \" \"strings\"");
    fake.add(ZONE, "TXT", "a._acme-challenge.example.test", "\"below\"");
    fake.add(ZONE, "A", "www.example.test", "192.0.2.1");
    apply(&*provider, &zone, &[added(OWNER, &long)]).await;
    let values = provider.values(&zone, &name(OWNER)).await.unwrap();
    assert_eq!(
        values,
        Some(vec![value("bare text"), value("two strings"), value(&long)])
    );
    let nothing = provider
        .values(&zone, &name("www.example.test"))
        .await
        .unwrap();
    assert_eq!(nothing, Some(Vec::new()));
}
