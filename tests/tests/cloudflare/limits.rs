//! Limits: of requests, of batches, of pages.

use std::collections::HashMap;
use std::time::Duration;

use dnseal_core::dns::{ProviderError, TxtChange};
use dnseal_core::event::{Events, What};
use dnseal_providers::Context;
use dnseal_tests::fakes::cloudflare::{CloudflareOptions, FakeCloudflare, FakeZone, Plan, Quota};
use dnseal_tests::{added, name, removed};
use futures::future::join_all;

use crate::{
    BATCH, OWNER, TOKEN, ZONE, apply, fake, one_zone, owners, provider, provider_with, served,
    with_zone, zone_of,
};

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
        detail.contains("; again at 20") && detail.ends_with('Z'),
        "{detail}"
    );
    assert!(error.to_string().contains("to come back in 5m"), "{error}");
    assert!(error.is_retryable());
    // Nobody asked again meanwhile.
    assert!(fake.requests().len() <= 2, "{:?}", fake.requests());
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
