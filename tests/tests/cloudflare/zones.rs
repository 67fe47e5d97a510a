//! How zones are found, and with how little right.

use dnseal_core::dns::ProviderError;
use dnseal_tests::fakes::cloudflare::{CloudflareOptions, FakeToken, FakeZone, Grant};
use dnseal_tests::{added, name, removed};
use futures::future::join_all;

use crate::{OTHER, OWNER, TOKEN, ZONE, apply, fake, provider, with_settings, with_token, zone_of};

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

/// What the core compares with the delegation, to warn of a zone that nobody is delegated to.
#[tokio::test(flavor = "multi_thread")]
async fn the_name_servers_of_a_zone_are_told_without_asking_again() {
    let fake = fake(CloudflareOptions::new([ZONE, "other.test"], TOKEN)).await;
    let provider = provider(&fake);
    for (owner, server) in [
        (OWNER, "ns1.example.test"),
        ("_acme-challenge.other.test", "ns1.other.test"),
    ] {
        let zone = provider.zone_of(&name(owner)).await.unwrap();
        let servers = provider.name_servers(&zone).await.unwrap();
        assert_eq!(servers, [name(server)]);
    }
    assert_eq!(fake.requests().len(), 1);
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
