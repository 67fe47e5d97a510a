//! The caching resolver in front of servers.

use std::time::Duration;

use super::*;

async fn front(servers: &[(&str, &DnsServer)]) -> Cache {
    let builder = Cache::builder().timeout(Duration::from_millis(500));
    let builder = servers.iter().fold(builder, |builder, (zone, server)| {
        builder.upstream(*zone, server.addr())
    });
    builder.start().await.unwrap()
}

#[tokio::test]
async fn answers_are_kept_for_their_ttl() {
    let server = start(example().ttl(30).txt("v.example.test", "one")).await;
    let cache = front(&[("example.test", &server)]).await;
    let response = ask(cache.addr(), "V.example.test", RecordType::TXT).await;
    assert_eq!(values(&response).unwrap(), ["one"]);
    assert!(response.metadata.recursion_available && !response.metadata.authoritative);
    server
        .zone_add(Record::txt("v.example.test", 30, "two"))
        .unwrap();
    cache.advance(Duration::from_secs(20));
    let response = tcp(cache.addr(), &question("v.example.test", RecordType::TXT)).await;
    assert_eq!(values(&response).unwrap(), ["one"]);
    assert!((9..=10).contains(&response.answers[0].ttl));
    cache.advance(Duration::from_secs(10));
    assert_eq!(
        txt(cache.addr(), "v.example.test").await.unwrap(),
        ["one", "two"]
    );
    assert_eq!(server.queries().len(), 2);
    assert_eq!(cache.queries().len(), 3);
    assert!(
        server
            .queries()
            .iter()
            .all(|query| !query.recursion_desired)
    );

    server
        .zone_add(Record::txt("v.example.test", 30, "three"))
        .unwrap();
    cache.flush();
    assert_eq!(txt(cache.addr(), "v.example.test").await.unwrap().len(), 3);
}

#[tokio::test]
async fn absence_is_kept_for_the_minimum_of_the_soa() {
    let server = start(example().minimum(40)).await;
    let cache = front(&[("example.test", &server)]).await;
    let challenge = "_acme-challenge.www.example.test";
    assert_eq!(
        txt(cache.addr(), "www.example.test").await,
        Err(ResponseCode::NXDomain)
    );
    server.zone_add(Record::txt(challenge, 30, "here")).unwrap();
    assert_eq!(txt(server.addr(), challenge).await.unwrap(), ["here"]);
    // Hidden below a name that was not there (RFC 8020).
    assert_eq!(
        txt(cache.addr(), challenge).await,
        Err(ResponseCode::NXDomain)
    );
    let response = ask(cache.addr(), challenge, RecordType::TXT).await;
    assert_eq!(response.authorities[0].record_type(), RecordType::SOA);
    cache.advance(Duration::from_secs(40));
    assert_eq!(txt(cache.addr(), challenge).await.unwrap(), ["here"]);
    // NODATA concerns one type only.
    assert!(
        ask(cache.addr(), challenge, RecordType::A)
            .await
            .answers
            .is_empty()
    );
    server
        .zone_add(Record::a(challenge, 30, [192, 0, 2, 1].into()))
        .unwrap();
    assert!(
        ask(cache.addr(), challenge, RecordType::A)
            .await
            .answers
            .is_empty()
    );
    assert_eq!(
        ask(cache.addr(), challenge, RecordType::AAAA)
            .await
            .answers
            .len(),
        0
    );
    cache.advance(Duration::from_secs(40));
    assert_eq!(
        ask(cache.addr(), challenge, RecordType::A)
            .await
            .answers
            .len(),
        1
    );
}

#[tokio::test]
async fn aliases_lead_from_server_to_server() {
    let zone = example()
        .cname("_acme-challenge.example.test", "x.acme.example.org")
        .dname("old.example.test", "acme.example.org")
        .cname("loop.example.test", "loop.example.test");
    let one = start(zone).await;
    let two = start(Zone::new("acme.example.org").txt("x.acme.example.org", "found")).await;
    let decoy = start(Zone::new("example.org")).await;
    let servers = [
        ("example.test", &one),
        ("example.org", &decoy),
        ("acme.example.org", &two),
    ];
    let cache = front(&servers).await;
    for _ in 0..2 {
        for owner in ["_acme-challenge.example.test", "x.old.example.test"] {
            let response = ask(cache.addr(), owner, RecordType::TXT).await;
            assert_eq!(values(&response).unwrap(), ["found"], "{owner}");
            assert_eq!(response.answers[0].record_type(), RecordType::CNAME);
        }
    }
    assert_eq!(one.queries().len(), 2);
    assert_eq!(two.queries().len(), 1);
    assert!(decoy.queries().is_empty());
    assert_eq!(
        txt(cache.addr(), "loop.example.test").await,
        Err(ResponseCode::ServFail)
    );
    assert_eq!(
        txt(cache.addr(), "example.com").await,
        Err(ResponseCode::ServFail)
    );
}

#[tokio::test]
async fn servers_that_are_no_use_are_passed_over() {
    let zone = || example().txt("big.example.test", "x".repeat(3000));
    let (bad, good) = (start(zone()).await, start(zone()).await);
    let cache = front(&[("example.test", &bad), ("example.test", &good)]).await;
    for fault in [
        Fault::drop(),
        Fault::servfail(),
        Fault::lame(),
        Fault::close(),
        Fault::garbage(),
    ] {
        bad.inject(fault);
        assert_eq!(txt(cache.addr(), "t.example.test").await.unwrap(), ["one"]);
        assert!(!bad.queries().is_empty());
        bad.heal();
        bad.clear_log();
        cache.flush();
    }
    good.clear_log();
    // TCP where UDP is silent, and where an answer does not fit.
    bad.inject(Fault::drop().udp());
    assert_eq!(txt(cache.addr(), "t.example.test").await.unwrap(), ["one"]);
    bad.heal();
    let response = tcp(cache.addr(), &question("big.example.test", RecordType::TXT)).await;
    assert_eq!(values(&response).unwrap(), ["x".repeat(3000)]);
    assert!(
        ask(cache.addr(), "big.example.test", RecordType::TXT)
            .await
            .metadata
            .truncation
    );
    assert!(good.queries().is_empty());
    // Failures are not kept.
    good.inject(Fault::refused());
    bad.inject(Fault::refused());
    cache.flush();
    assert_eq!(
        txt(cache.addr(), "t.example.test").await,
        Err(ResponseCode::ServFail)
    );
    bad.heal();
    assert_eq!(txt(cache.addr(), "t.example.test").await.unwrap(), ["one"]);
}

#[tokio::test]
async fn a_cache_has_faults_of_its_own() {
    let server = start(example()).await;
    let cache = front(&[("example.test", &server)]).await;
    cache.inject(Fault::servfail().times(1));
    assert_eq!(
        txt(cache.addr(), "t.example.test").await,
        Err(ResponseCode::ServFail)
    );
    cache.inject(Fault::truncate().times(1));
    assert!(
        ask(cache.addr(), "t.example.test", RecordType::TXT)
            .await
            .metadata
            .truncation
    );
    cache.inject(Fault::close().tcp());
    let octets = question("t.example.test", RecordType::TXT)
        .to_vec()
        .unwrap();
    assert_eq!(tcp_raw(cache.addr(), &octets).await, None);
    cache.heal();
    assert_eq!(txt(cache.addr(), "t.example.test").await.unwrap(), ["one"]);
    cache.shutdown().await;
}
