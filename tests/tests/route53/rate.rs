//! The account's rate, changes that are under way, and how long to wait for all name servers.

use std::time::Duration;

use dnseal_core::dns::{Action, ProviderError, Receipt, Settlement};
use dnseal_tests::fakes::route53::{Fault, Route53Options};
use tokio::task::JoinSet;

use crate::bench::{Bench, all_applied, apply_patiently, challenge, change, name, provider};

const OWNER: &str = "_acme-challenge.example.test";
const CHANGE: &str = "ChangeResourceRecordSets";

#[tokio::test(flavor = "multi_thread")]
async fn half_the_usual_rate_is_enough() {
    let bench = Bench::with(Route53Options {
        burst: 5,
        rate: 5,
        ..Route53Options::default()
    })
    .await;
    // What Route 53 documents, which is twice of what this account gets.
    let documented = [("requests-per-second", "10"), ("burst", "50")];
    let provider = provider(&bench.fake, &documented);
    let mut tasks = JoinSet::new();
    for n in 0..6 {
        let (provider, zone) = (provider.clone(), bench.zone.clone());
        tasks.spawn(async move {
            provider.zone_of(&name(&challenge(n))).await.unwrap();
            let change = [change(Action::Add, &challenge(n), "value")];
            apply_patiently(provider.as_ref(), &zone, &change).await
        });
    }
    for applied in tasks.join_all().await {
        all_applied(&applied);
    }
    assert_eq!(bench.fake.record_sets(&bench.zone.id).len(), 6);
    let calls = bench.fake.calls();
    let refused = |code: &str| code == "Throttling";
    assert!(
        calls.iter().any(|call| refused(&call.code)),
        "the limit was met"
    );
    // Requests that were under way together are refused together; after that the pace is right.
    let first = calls.iter().position(|call| refused(&call.code)).unwrap();
    let settled = calls[first].at + Duration::from_secs(1);
    let after: Vec<bool> = calls
        .iter()
        .filter(|call| call.at > settled)
        .map(|call| refused(&call.code))
        .collect();
    let again = after.windows(2).filter(|pair| pair[0] && pair[1]).count();
    assert_eq!(again, 0, "{after:?}");
}

#[tokio::test]
async fn a_rate_that_stays_too_high_is_told() {
    let bench = Bench::open().await;
    let words = Fault::Refuse(400, "Throttling", "Rate exceeded");
    bench.fake.inject(CHANGE, words, 100);
    let change = [change(Action::Add, OWNER, "value")];
    let error = bench.apply(&change).await.unwrap_err();
    assert!(
        matches!(error, ProviderError::RateLimited { .. }),
        "{error:?}"
    );
    assert_eq!(
        error.to_string(),
        format!(
            "the Route 53 API at {} asks to come back later: Throttling: Rate exceeded",
            bench.fake.endpoint()
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_waits_for_the_one_before() {
    let keys: Vec<(String, String)> = (0..3)
        .map(|n| (format!("AKIAWRITER{n}"), format!("secret {n}")))
        .collect();
    let bench = Bench::with(Route53Options {
        burst: 10_000,
        // Longer than three tasks on a busy machine are apart.
        busy: Duration::from_secs(2),
        keys: keys.clone(),
        rate: 10_000,
        ..Route53Options::default()
    })
    .await;
    let mut tasks = JoinSet::new();
    for (n, (id, secret)) in keys.into_iter().enumerate() {
        let settings = [
            ("access-key-id", id.as_str()),
            ("secret-access-key", &secret),
        ];
        let (provider, zone) = (provider(&bench.fake, &settings), bench.zone.clone());
        tasks.spawn(async move {
            let change = [change(Action::Add, &challenge(n), "value")];
            apply_patiently(provider.as_ref(), &zone, &change).await
        });
    }
    for applied in tasks.join_all().await {
        all_applied(&applied);
    }
    assert!(bench.fake.count(CHANGE, "PriorRequestNotComplete") > 0);
    assert_eq!(bench.fake.record_sets(&bench.zone.id).len(), 3);
}

#[tokio::test]
async fn settled_means_in_sync_and_is_asked_for_once_by_all() {
    let bench = Bench::with(Route53Options {
        propagation: Duration::from_secs(3600),
        ..Route53Options::default()
    })
    .await;
    let receipt = bench.add(OWNER, "value").await.receipt;
    for _ in 0..10 {
        match bench.provider.settled(&receipt).await.unwrap() {
            Settlement::Pending(wait) => assert!(wait <= Duration::from_secs(4)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bench.fake.count("GetChange", ""), 1);

    let receipt = bench.add(OWNER, "another").await.receipt;
    bench.fake.advance(Duration::from_secs(3600));
    for _ in 0..3 {
        let settled = bench.provider.settled(&receipt).await.unwrap();
        assert_eq!(settled, Settlement::Settled);
    }
    assert_eq!(bench.fake.count("GetChange", ""), 2);
    let nothing = bench.provider.settled(&Receipt::default()).await.unwrap();
    assert_eq!(nothing, Settlement::Unknown);
}
