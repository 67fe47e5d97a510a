//! Which zone is written: the deepest, the public, the only one.

use dnseal_core::dns::ProviderError;
use dnseal_tests::fakes::route53::Policy;

use crate::bench::{Bench, name, provider, says};

const OWNER: &str = "_acme-challenge.www.example.test";

#[tokio::test]
async fn the_deepest_zone_is_found_among_unrelated_ones() {
    let bench = Bench::open().await;
    for other in [
        "test",
        "example.test.other",
        "badexample.test",
        "aaa.test",
        "zzz.test",
    ] {
        bench.fake.add_zone(other);
    }
    for n in 0..30 {
        bench.fake.add_zone(&format!("z{n}.example.test"));
    }
    let deeper = bench.fake.add_zone("deep.example.test");
    bench.fake.add_private_zone("www.example.test");
    for (owner, id) in [
        (OWNER, &bench.zone.id),
        ("example.test", &bench.zone.id),
        ("_acme-challenge.a.deep.example.test", &deeper),
        ("deep.example.test", &deeper),
    ] {
        let zone = bench.provider.zone_of(&name(owner)).await.unwrap();
        assert_eq!(zone.id, *id, "{owner}");
    }
}

#[tokio::test]
async fn an_account_without_the_zone_says_what_it_holds() {
    let bench = Bench::open().await;
    let error = bench
        .provider
        .zone_of(&name("a.example.net"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, ProviderError::ZoneNotFound { .. }),
        "{error:?}"
    );
    assert_eq!(error.hint().unwrap(), "the account holds example.test");
}

#[tokio::test]
async fn private_zones_are_for_who_asks_for_them() {
    let bench = Bench::open().await;
    let private = bench.fake.add_private_zone("example.test");
    let zone = bench.provider.zone_of(&name(OWNER)).await.unwrap();
    assert_eq!(zone.id, bench.zone.id);
    let zone = provider(&bench.fake, &[("private", "true")])
        .zone_of(&name(OWNER))
        .await
        .unwrap();
    assert_eq!(zone.id, private);
}

#[tokio::test]
async fn two_zones_of_one_name_are_not_guessed_at() {
    let bench = Bench::open().await;
    let second = bench.fake.add_zone("example.test");
    let error = bench.provider.zone_of(&name(OWNER)).await.unwrap_err();
    let [first, other] = [&bench.zone.id, &second]
        .map(|id| format!("{id} (served by {}.ns1.example.test.)", id.to_lowercase()));
    says(
        &error.to_string(),
        &["2 hosted zones of the name example.test", &first, &other],
    );
    says(&error.hint(), &["hosted-zone-id", "dig NS example.test"]);

    // Without the right to look at them their IDs are told.
    bench.fake.deny("route53:GetHostedZone");
    let error = bench.provider.zone_of(&name(OWNER)).await.unwrap_err();
    says(
        &error.to_string(),
        &[&format!("{} and {second}", bench.zone.id)],
    );

    let settings = [("hosted-zone-id", second.as_str())];
    let zone = provider(&bench.fake, &settings)
        .zone_of(&name(OWNER))
        .await
        .unwrap();
    assert_eq!(zone.id, second);
}

#[tokio::test]
async fn a_zone_that_is_given_is_checked_with_the_least_rights() {
    let bench = Bench::open().await;
    bench.fake.allow(Policy::Challenges);
    let path = format!("/hostedzone/{}", bench.zone.id);
    let given = provider(&bench.fake, &[("hosted-zone-id", &path)]);
    assert_eq!(given.zone_of(&name(OWNER)).await.unwrap(), bench.zone);
    let error = given.zone_of(&name("a.example.net")).await.unwrap_err();
    says(
        &error.to_string(),
        &[
            "a.example.net is not in the hosted zone",
            "that of example.test",
        ],
    );

    let unknown = provider(&bench.fake, &[("hosted-zone-id", "Z0NOTHERE")]);
    let error = unknown.zone_of(&name(OWNER)).await.unwrap_err();
    says(&error.to_string(), &["no hosted zone Z0NOTHERE"]);
}
