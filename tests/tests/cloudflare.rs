//! The Cloudflare provider against the fake of Cloudflare's API.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dnseal_core::dns::{DnsProvider, Outcome, ProviderError, TxtChange, Zone};
use dnseal_core::event::{Events, What};
use dnseal_providers::conformance::{self, Options};
use dnseal_providers::{Context, Form, Settings, Value, build};
use dnseal_tests::fakes::cloudflare::{
    CloudflareOptions, FakeCloudflare, FakeToken, FakeZone, Fault, Grant, Plan, Quota,
};
use dnseal_tests::{added, name, reader, removed, value};
use futures::future::join_all;

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
async fn an_api_without_batches_gets_single_calls() {
    let mut options = CloudflareOptions::new([ZONE], TOKEN);
    options.without_batches = true;
    let fake = fake(options).await;
    let provider = provider(&fake);
    let zone = zone_of(&fake);
    fake.add(ZONE, "TXT", OWNER, "there");
    let changes = [
        added(OWNER, "there"),
        added(OWNER, "v"),
        removed(OWNER, "gone"),
    ];
    apply(&*provider, &zone, &changes).await;
    apply(&*provider, &zone, &[added(OWNER, "w")]).await;
    assert_eq!(served(&fake, OWNER), ["there", "v", "w"]);
    // Once is enough to learn it.
    assert_eq!(fake.count("POST", BATCH), 1);
    apply(
        &*provider,
        &zone,
        &["there", "v", "w"].map(|v| removed(OWNER, v)),
    )
    .await;
    assert_eq!(fake.records(ZONE), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_a_batch_is_that_of_the_plan_or_learned() {
    let batches = |fake: &FakeCloudflare| -> Vec<(usize, u16)> {
        let requests = fake
            .requests()
            .into_iter()
            .filter(|r| r.path.ends_with(BATCH));
        requests.map(|r| (r.batch, r.status)).collect()
    };
    let adds: Vec<TxtChange> = owners(500).iter().map(|o| added(o, "v")).collect();
    for (zone, told, wanted) in [
        // The list of zones shows the plan.
        (
            FakeZone::new(ZONE),
            true,
            vec![(200, 200), (200, 200), (100, 200)],
        ),
        (FakeZone::new(ZONE).plan(Plan::Pro), true, vec![(500, 200)]),
        // Nothing shows it.
        (FakeZone::new(ZONE).plan(Plan::Pro), false, vec![(500, 200)]),
        (
            FakeZone::new(ZONE),
            false,
            vec![(500, 400), (200, 200), (200, 200), (100, 200)],
        ),
        // The list is wrong.
        (
            FakeZone::new(ZONE).batch(150),
            true,
            vec![(200, 400), (150, 200), (150, 200), (150, 200), (50, 200)],
        ),
    ] {
        let fake = with_zone(zone).await;
        let provider = provider(&fake);
        let zone = match told {
            true => provider.zone_of(&name(OWNER)).await.unwrap(),
            false => zone_of(&fake),
        };
        fake.forget();
        apply(&*provider, &zone, &adds).await;
        let seen = batches(&fake);
        assert_eq!(fake.records(ZONE).len(), 500);
        let sizes: Vec<_> = seen.iter().filter(|(_, status)| *status == 200).collect();
        assert_eq!(sizes.iter().map(|(size, _)| size).sum::<usize>(), 500);
        assert!(seen.len() <= wanted.len(), "{seen:?} instead of {wanted:?}");
        fake.forget();
        let again: Vec<TxtChange> = owners(150).iter().map(|o| removed(o, "v")).collect();
        apply(&*provider, &zone, &again).await;
        assert_eq!(batches(&fake), [(150, 200)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_change_fails_alone() {
    let fake = one_zone().await;
    let provider = provider(&fake);
    let zone = zone_of(&fake);
    let owners = owners(100);
    fake.add(ZONE, "CNAME", &owners[42], "elsewhere.test");
    fake.add(ZONE, "TXT", "old.example.test", "\"old\"");
    let mut changes: Vec<TxtChange> = owners.iter().map(|o| added(o, "v")).collect();
    changes.push(removed("old.example.test", "old"));
    changes.push(added("_acme-challenge.elsewhere.test", "v"));
    let applied = provider.apply(&zone, &changes).await.unwrap();
    for (place, outcome) in applied.outcomes.iter().enumerate() {
        match (place, outcome) {
            (42, Outcome::Refused { reason }) => {
                assert_eq!(
                    reason,
                    "A CNAME record with that host already exists. For more details, refer to \
                     <https://developers.cloudflare.com/dns/manage-dns-records/troubleshooting/records-with-same-name/> \
                     (81054); a CNAME is at that name, or above it: remove it, or let it point where the value may go"
                );
            }
            (101, Outcome::Refused { reason }) => assert_eq!(
                reason,
                "_acme-challenge.elsewhere.test is not in the zone example.test"
            ),
            (_, Outcome::Applied { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(fake.records(ZONE).len(), 100);
    assert!(fake.count("POST", BATCH) < 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_zone_says_so_and_lets_values_go() {
    let fake = with_zone(FakeZone::new(ZONE).room(3)).await;
    let provider = provider(&fake);
    let zone = zone_of(&fake);
    fake.fill(ZONE, "filler", 2);
    fake.add(ZONE, "TXT", OWNER, "old");
    let mut changes: Vec<TxtChange> = owners(50).iter().map(|o| added(o, "v")).collect();
    changes.insert(0, removed(OWNER, "old"));
    let applied = provider.apply(&zone, &changes).await.unwrap();
    assert!(matches!(applied.outcomes[0], Outcome::Applied { .. }));
    let Outcome::Refused { reason } = &applied.outcomes[50] else {
        panic!("{applied:?}");
    };
    assert!(
        reason.starts_with("Record quota exceeded (81045); the zone holds as many records as"),
        "{reason}"
    );
    assert_eq!(served(&fake, OWNER), [""; 0]);
    assert!(fake.requests().len() < 6, "{:?}", fake.requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_and_a_broken_server_are_tried_again() {
    let fake = one_zone().await;
    let provider = provider(&fake);
    let zone = zone_of(&fake);
    fake.inject(Fault::lose_answer("POST", BATCH));
    apply(&*provider, &zone, &[added(OWNER, "v")]).await;
    assert_eq!(served(&fake, OWNER), ["v"]);
    fake.inject(Fault::lose_answer("POST", BATCH));
    apply(&*provider, &zone, &[removed(OWNER, "v")]).await;
    assert_eq!(fake.records(ZONE), []);

    fake.inject(Fault::answer("POST", BATCH, 502, "<html>bad gateway</html>").times(2));
    apply(&*provider, &zone, &[added(OWNER, "v")]).await;
    fake.forget();
    let body =
        r#"{"success":false,"errors":[{"code":10001,"message":"Internal error."}],"result":null}"#;
    fake.inject(Fault::answer("POST", BATCH, 500, body).times(100));
    let error = provider
        .apply(&zone, &[added(OWNER, "w")])
        .await
        .unwrap_err();
    assert!(error.is_retryable());
    assert_eq!(
        error.to_string(),
        format!(
            "{} did not answer: it answered Internal error (10001)",
            provider.endpoint()
        )
    );
    assert_eq!(fake.requests().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_low_quota_slows_everybody_down_and_is_told() {
    let fake = one_zone().await;
    fake.set_quota(Some(Quota::per_second(5)));
    let zone = zone_of(&fake);
    // Each spelling of the address makes a limiter of its own, as in a process of its own.
    let (events, mut told) = Events::channel();
    let base = fake.base_url();
    let local = base.replace("127.0.0.1", "localhost");
    let bases = [
        base.clone(),
        format!("{base}/"),
        local.clone(),
        format!("{local}/"),
    ];
    let context = Context::default().with_events(events);
    let zone = &zone;
    let writers = (0..8).map(|n| {
        let settings = [("token", TOKEN), ("base-url", bases[n % 4].as_str())];
        let provider = provider_with(&fake, &settings, &context);
        async move {
            let owner = format!("_acme-challenge.n{n}.example.test");
            apply(&*provider, zone, &[added(&owner, "v")]).await;
            apply(&*provider, zone, &[removed(&owner, "v")]).await;
        }
    });
    join_all(writers.collect::<Vec<_>>()).await;
    assert_eq!(fake.records(ZONE), []);
    // Nothing that was refused was refused again the next time.
    let mut before: HashMap<(String, String, String), u16> = HashMap::new();
    for request in fake.requests() {
        let key = (request.method, request.query, request.body);
        let last = before.insert(key.clone(), request.status);
        assert!((last, request.status) != (Some(429), 429), "{key:?}");
    }
    let mut waits = Vec::new();
    while let Ok(event) = told.try_recv() {
        if let What::Waiting { reason, .. } = event.what {
            waits.push(reason);
        }
    }
    assert!(
        waits.iter().any(|w| w.starts_with("the Cloudflare API at ")
            && w.ends_with(" to take more requests (5 in 1s)")),
        "{waits:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_refusal_says_until_when() {
    let fake = one_zone().await;
    fake.set_quota(Some(Quota {
        block: Some(Duration::from_secs(300)),
        requests: 1,
        window: Duration::from_secs(300),
    }));
    let provider = provider(&fake);
    let zone = zone_of(&fake);
    apply(&*provider, &zone, &[added(OWNER, "v")]).await;
    let error = provider
        .apply(&zone, &[added(OWNER, "w")])
        .await
        .unwrap_err();
    let ProviderError::RateLimited {
        detail,
        retry_after,
        ..
    } = &error
    else {
        panic!("{error}");
    };
    let wait = retry_after.unwrap();
    assert!(
        wait > Duration::from_secs(290) && wait < Duration::from_secs(400),
        "{wait:?}"
    );
    assert!(
        detail.contains("; again at 20") && detail.contains("Z, in "),
        "{detail}"
    );
    assert!(error.is_retryable());
    // Nobody asked again meanwhile.
    assert!(fake.requests().len() <= 2, "{:?}", fake.requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_of_credentials_says_what_to_do() {
    let edit = "edit the token at https://dash.cloudflare.com/profile/api-tokens: add";
    let known = || FakeToken::new(OTHER);
    let both = [Grant::DnsEdit, Grant::ZoneRead];
    for (token, error, hint) in [
        (
            known().allow(ZONE, &[Grant::ZoneRead]),
            "the token lacks Zone → DNS → Edit on example.test: Authentication error (10000)",
            format!("{edit} Zone → DNS → Edit, and include example.test under Zone Resources"),
        ),
        (
            known().allow(ZONE, &[Grant::ZoneRead, Grant::DnsRead]),
            "the token lacks Zone → DNS → Edit on example.test: Authentication error (10000)",
            format!("{edit} Zone → DNS → Edit, and include example.test under Zone Resources"),
        ),
        (
            known().allow(ZONE, &[Grant::DnsEdit]),
            "the token lacks Zone → Zone → Read on the zone of _acme-challenge.example.test: Unauthorized to access requested resource (9109)",
            format!("{edit} Zone → Zone → Read; or set `zone-id`, which needs no such permission"),
        ),
        (
            known().allow(ZONE, &both).expired(),
            "the token is expired since 2026-01-01T00:00:00Z: Authentication error (10000)",
            "roll or replace the token at https://dash.cloudflare.com/profile/api-tokens".to_owned(),
        ),
        (
            known().allow(ZONE, &both).only_elsewhere(),
            "the token may not be used from here: Cannot use the access token from location: 127.0.0.1 (9109)",
            "allow this machine's address under Client IP Address Filtering of the token at https://dash.cloudflare.com/profile/api-tokens".to_owned(),
        ),
    ] {
        let fake = with_token(token).await;
        let provider = with_settings(&fake, &[("token", OTHER)]);
        let refused = refusal(&*provider).await;
        assert_eq!(refused.to_string(), format!("{} refused the credentials: {error}", provider.endpoint()));
        assert_eq!(refused.hint(), Some(hint));
        assert!(!refused.is_retryable());
        assert!(matches!(refused, ProviderError::Credentials { .. }));
    }

    let mut options = CloudflareOptions::new([ZONE], TOKEN);
    options.users.push((EMAIL.to_owned(), KEY.to_owned()));
    let fake = fake(options).await;
    let good = with_settings(&fake, &[("email", EMAIL), ("key", KEY)]);
    let zone = good.zone_of(&name(OWNER)).await.unwrap();
    apply(&*good, &zone, &[added(OWNER, "v")]).await;
    let wrong = KEY.replace("canary", "banana");
    for (settings, error, hint) in [
        (
            vec![("token", OTHER)],
            "it knows no such token: Invalid access token (9109)",
            "the token was deleted, rolled or not copied whole; make one at https://dash.cloudflare.com/profile/api-tokens",
        ),
        (
            vec![("token", KEY)],
            "it takes the token for none: Invalid request headers (6003): Invalid format for Authorization header (6111)",
            "copy the whole token again from https://dash.cloudflare.com/profile/api-tokens; a global API key goes into `key`, beside `email`",
        ),
        (
            vec![("email", EMAIL), ("key", TOKEN)],
            "it takes the global API key for none: Invalid request headers (6003): Invalid format for X-Auth-Key header (6103)",
            "copy the global API key again from https://dash.cloudflare.com/profile/api-tokens; a token goes into `token`, without `email`",
        ),
        (
            vec![("email", EMAIL), ("key", wrong.as_str())],
            "it knows no such e-mail address with such a global API key: Unknown X-Auth-Key or X-Auth-Email (9103)",
            "compare `email` and `key` with https://dash.cloudflare.com/profile/api-tokens, or better make a token there",
        ),
    ] {
        let provider = with_settings(&fake, &settings);
        let refused = refusal(&*provider).await;
        assert_eq!(
            refused.to_string(),
            format!("{} refused the credentials: {error}", provider.endpoint())
        );
        assert_eq!(refused.hint().as_deref(), Some(hint));
    }
}

/// Why finding the zone or writing into it fails.
async fn refusal(provider: &dyn DnsProvider) -> ProviderError {
    match provider.zone_of(&name(OWNER)).await {
        Ok(zone) => provider
            .apply(&zone, &[added(OWNER, "v")])
            .await
            .unwrap_err(),
        Err(error) => error,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deepest_active_zone_is_found_and_remembered() {
    let mut options = CloudflareOptions::new([ZONE, "a.example.test", "other.test"], TOKEN);
    options
        .zones
        .push(FakeZone::new("pending.example.test").pending());
    options.zones.push(FakeZone::new("partial.test").partial());
    options
        .zones
        .extend((0..130).map(|n| FakeZone::new(&format!("filler{n}.test"))));
    let fake = fake(options).await;
    let provider = provider(&fake);
    let asked = (0..50).map(|n| {
        let provider = provider.clone();
        async move {
            provider
                .zone_of(&name(&format!("n{n}.b.a.example.test")))
                .await
        }
    });
    for zone in join_all(asked.collect::<Vec<_>>()).await {
        assert_eq!(zone.unwrap().id, fake.zone_id("a.example.test"));
    }
    for (owner, zone) in [
        (OWNER, ZONE),
        (ZONE, ZONE),
        ("_acme-challenge.aa.example.test", ZONE),
        ("_acme-challenge.pending.example.test", ZONE),
        ("_acme-challenge.filler129.test", "filler129.test"),
    ] {
        assert_eq!(
            provider.zone_of(&name(owner)).await.unwrap().name,
            name(zone)
        );
    }
    // 135 zones are three pages.
    assert_eq!(fake.requests().len(), 3);

    let error = provider
        .zone_of(&name("www.nowhere.test"))
        .await
        .unwrap_err();
    let ProviderError::ZoneNotFound { held, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(held.len(), 20);
    let error = provider
        .zone_of(&name("www.partial.test"))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{} holds partial.test, which is a partial (CNAME) setup there, so that nobody asks it for www.partial.test",
            provider.endpoint()
        )
    );
    assert!(
        error
            .hint()
            .unwrap()
            .starts_with("delegate partial.test to the name servers")
    );
    assert_eq!(fake.requests().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_with_very_many_zones_is_asked_by_name() {
    let mut options = CloudflareOptions::new([ZONE], TOKEN);
    options
        .zones
        .extend((0..1_010).map(|n| FakeZone::new(&format!("a{n}.test"))));
    let fake = fake(options).await;
    let provider = provider(&fake);
    let zone = provider
        .zone_of(&name("_acme-challenge.www.example.test"))
        .await
        .unwrap();
    assert_eq!(zone, zone_of(&fake));
    // A page, and one question a label.
    assert_eq!(fake.requests().len(), 4);
    for _ in 0..2 {
        provider.zone_of(&name(OWNER)).await.unwrap();
        // What might be a zone of its own is asked for once.
        assert_eq!(fake.requests().len(), 5);
    }
    assert!(matches!(
        provider.zone_of(&name("a.nowhere.test")).await,
        Err(ProviderError::ZoneNotFound { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_records_only_needs_the_zone_id() {
    let token = FakeToken::new(OTHER).allow(ZONE, &[Grant::DnsEdit]);
    let fake = with_token(token).await;
    let id = fake.zone_id(ZONE);
    let named = format!("other.test={} {ZONE}={id}", "0".repeat(32));
    for (key, value, requests) in [
        ("zone-id", named.as_str(), 1),
        ("zone-ids.example.test", id.as_str(), 1),
        // Its name has to be found out: the zone itself may not be read, its zone file may.
        ("zone-id", id.as_str(), 3),
    ] {
        fake.forget();
        let provider = with_settings(&fake, &[("token", OTHER), (key, value)]);
        let zone = provider.zone_of(&name(OWNER)).await.unwrap();
        assert_eq!(zone, zone_of(&fake));
        apply(&*provider, &zone, &[added(OWNER, key)]).await;
        assert_eq!(fake.requests().len(), requests, "{:?}", fake.requests());
        let again = provider.zone_of(&name(OWNER)).await.unwrap();
        assert_eq!((again, fake.requests().len()), (zone.clone(), requests));
        let error = provider
            .zone_of(&name("www.elsewhere.test"))
            .await
            .unwrap_err();
        assert!(
            matches!(error, ProviderError::Misconfigured { .. }),
            "{error}"
        );
        apply(&*provider, &zone, &[removed(OWNER, key)]).await;
    }
    let provider = with_settings(&fake, &[("token", TOKEN), ("zone-id", &id)]);
    assert_eq!(
        provider.zone_of(&name(OWNER)).await.unwrap(),
        zone_of(&fake)
    );

    // Another zone may be read with another token.
    let readers = with_settings(&fake, &[("token", OTHER), ("zone-token", TOKEN)]);
    let zone = readers.zone_of(&name(OWNER)).await.unwrap();
    apply(&*readers, &zone, &[added(OWNER, "v")]).await;

    let nobody = "0".repeat(32);
    let provider = with_settings(&fake, &[("token", OTHER), ("zone-id", &nobody)]);
    let error = provider.zone_of(&name(OWNER)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{} refused the credentials: the token can see nothing of the zone {nobody}: Authentication error (10000)",
            provider.endpoint()
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_zone_id_is_named() {
    let mut options = CloudflareOptions::new([ZONE], TOKEN);
    options.users.push((EMAIL.to_owned(), KEY.to_owned()));
    let fake = fake(options).await;
    let nobody = format!("{ZONE}={}", "0".repeat(32));
    let settings = [("email", EMAIL), ("key", KEY), ("zone-id", nobody.as_str())];
    let provider = with_settings(&fake, &settings);
    let error = refusal(&*provider).await;
    assert_eq!(
        error.to_string(),
        format!(
            "{} has no zone that example.test is said to be: Invalid zone identifier (1001)",
            provider.endpoint()
        )
    );
    assert!(
        error
            .hint()
            .unwrap()
            .starts_with("compare `zone-id` with the zone's overview page")
    );
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

#[tokio::test(flavor = "multi_thread")]
async fn a_crowded_zone_hides_no_record() {
    let fake = with_zone(FakeZone::new(ZONE).plan(Plan::Enterprise)).await;
    let provider = provider(&fake);
    let zone = zone_of(&fake);
    fake.fill(ZONE, "_acme-challenge.filler", 5_100);
    let owners = owners(10);
    let adds: Vec<TxtChange> = owners.iter().map(|o| added(o, "v")).collect();
    apply(&*provider, &zone, &adds).await;
    fake.forget();
    let removes: Vec<TxtChange> = owners.iter().map(|o| removed(o, "v")).collect();
    apply(&*provider, &zone, &removes).await;
    assert_eq!(fake.records(ZONE).len(), 5_100);
    // More than a page: one by one, and one batch.
    assert_eq!(fake.requests().len(), 1 + 10 + 1);
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_in_no_error_no_debug_output_and_no_log() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .init();
    let mut options = CloudflareOptions::new([ZONE], TOKEN);
    options.tokens.push(FakeToken::new(OTHER).expired());
    options.users.push((EMAIL.to_owned(), KEY.to_owned()));
    let fake = fake(options).await;
    let zone = zone_of(&fake);
    let mut said = String::new();
    for settings in [
        vec![("token", TOKEN)],
        vec![("token", OTHER)],
        vec![("token", OTHER), ("zone-token", TOKEN)],
        vec![("email", EMAIL), ("key", KEY)],
        vec![("email", "nobody@example.test"), ("key", KEY)],
    ] {
        let provider = with_settings(&fake, &settings);
        let found = provider.zone_of(&name(OWNER)).await;
        let applied = provider.apply(&zone, &[added(OWNER, "v")]).await;
        // A server that sends back what it was sent.
        let secret = settings.last().unwrap().1;
        let body = format!(
            r#"{{"success":false,"errors":[{{"code":9109,"message":"bad {TOKEN} {secret}"}}],"result":null}}"#
        );
        fake.inject(Fault::answer("POST", BATCH, 403, &body));
        let echoed = provider.apply(&zone, &[added(OWNER, "w")]).await;
        if let Err(error) = &echoed
            && settings == [("token", TOKEN)]
        {
            assert!(error.to_string().contains("bad *** ***"), "{error}");
        }
        for result in [applied, echoed] {
            if let Err(error) = result {
                writeln!(said, "{error} {error:?} {:?}", error.hint()).unwrap();
            }
        }
        writeln!(said, "{provider:?} {found:?}").unwrap();
    }
    let mut settings = Settings::new();
    settings.insert("token", Value::new(Form::Secret, format!("Bearer {TOKEN}")));
    writeln!(said, "{settings:?}").unwrap();
    let error = build("cloudflare", "cloud", settings, &Context::default()).unwrap_err();
    writeln!(said, "{error} {error:?}").unwrap();
    let log = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(log.contains("dns_records/batch"), "the log is there");
    for line in said.lines().chain(log.lines()) {
        // The echo of a secret that a provider never had is not its to hide.
        let echo = line.contains("bad ");
        assert!(!line.contains("canary") || echo, "{line}");
    }
}
