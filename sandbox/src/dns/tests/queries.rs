//! Transport, sizes, header bits, several zones, the log.

use std::time::Duration;

use hickory_proto::op::Metadata;

use super::*;

#[tokio::test]
async fn header_and_question_come_back_as_the_rfcs_want() {
    let server = start(example()).await;
    let mut message = question("T.exAMple.TEST", RecordType::TXT);
    message.metadata.recursion_desired = true;
    for response in [
        udp(server.addr(), &message).await,
        tcp(server.addr(), &message).await,
    ] {
        let Metadata {
            authoritative,
            recursion_desired,
            recursion_available,
            truncation,
            ..
        } = response.metadata;
        assert!(authoritative && recursion_desired && !recursion_available && !truncation);
        assert!(response.queries[0].name().eq_case(&name("T.exAMple.TEST")));
        assert!(response.edns.is_none());
        assert_eq!(values(&response).unwrap(), ["one"]);
        assert_eq!(response.answers[0].ttl, 60);
    }
    let response = ask(server.addr(), "none.example.test", RecordType::TXT).await;
    assert_eq!(response.metadata.response_code, ResponseCode::NXDomain);
    assert!(response.metadata.authoritative);
    assert_eq!(response.authorities[0].record_type(), RecordType::SOA);
    let response = ask(server.addr(), "example.org", RecordType::TXT).await;
    assert_eq!(response.metadata.response_code, ResponseCode::Refused);
    assert!(!response.metadata.authoritative);
}

#[tokio::test]
async fn what_does_not_fit_is_truncated_over_udp_only() {
    let zone = (0..20).fold(example(), |zone, n| {
        zone.txt("big.example.test", format!("{n:0>60}"))
    });
    let server = start(zone).await;
    let message = question("big.example.test", RecordType::TXT);
    let limits = [(None, true), (Some(900), true), (Some(4096), true)];
    for (payload, truncated) in limits {
        let message = match payload {
            None => message.clone(),
            Some(payload) => with_edns(message.clone(), payload),
        };
        let octets = udp_raw(server.addr(), &message.to_vec().unwrap()).await;
        assert!(octets.len() <= usize::from(payload.unwrap_or(512)));
        let response = Message::from_vec(&octets).unwrap();
        assert_eq!(response.metadata.truncation, truncated);
        assert!(response.answers.is_empty());
        assert_eq!(response.edns.is_some(), payload.is_some());
        let response = tcp(server.addr(), &message).await;
        assert_eq!(values(&response).unwrap().len(), 20);
    }

    let builder = DnsServer::builder().max_payload(4096);
    let large = builder.zone(example().txt("big.example.test", "x".repeat(2000)));
    let large = large.start().await.unwrap();
    let response = udp(large.addr(), &with_edns(message.clone(), 4096)).await;
    assert_eq!(values(&response).unwrap(), ["x".repeat(2000)]);
    let response = udp(large.addr(), &with_edns(message, 1232)).await;
    assert!(response.metadata.truncation);
}

#[tokio::test]
async fn odd_requests_get_the_code_they_deserve() {
    let server = start(example()).await;
    let code = async |message: &Message| udp(server.addr(), message).await.metadata.response_code;

    let mut two = question("example.test", RecordType::SOA);
    two.add_query(two.queries[0].clone());
    assert_eq!(code(&two).await, ResponseCode::FormErr);

    let mut notify = question("example.test", RecordType::SOA);
    notify.metadata.op_code = OpCode::Notify;
    assert_eq!(code(&notify).await, ResponseCode::NotImp);

    let mut chaos = question("version.bind", RecordType::TXT);
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(code(&chaos).await, ResponseCode::Refused);

    let transfer = question("example.test", RecordType::AXFR);
    assert_eq!(code(&transfer).await, ResponseCode::Refused);

    let mut versioned = with_edns(question("example.test", RecordType::SOA), 1232);
    versioned.edns.as_mut().unwrap().set_version(1);
    // 16 is BADVERS here, and BADSIG to hickory.
    assert_eq!(u16::from(code(&versioned).await), 16);

    let mut cut = question("example.test", RecordType::SOA).to_vec().unwrap();
    cut.truncate(20);
    let response = Message::from_vec(&udp_raw(server.addr(), &cut).await).unwrap();
    assert_eq!(response.metadata.response_code, ResponseCode::FormErr);
    assert_eq!(response.metadata.id.to_be_bytes(), cut[..2]);

    // A response is not answered, or two servers could talk for ever; what comes after it is.
    let reply = ask(server.addr(), "example.test", RecordType::SOA).await;
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    for message in [&reply, &transfer] {
        let octets = message.to_vec().unwrap();
        stream
            .write_u16(octets.len().try_into().unwrap())
            .await
            .unwrap();
        stream.write_all(&octets).await.unwrap();
    }
    stream.read_u16().await.unwrap();
    assert_eq!(stream.read_u16().await.unwrap(), transfer.metadata.id);
}

#[tokio::test]
async fn several_addresses_share_a_port() {
    let mut listen: Vec<SocketAddr> = vec![([127, 0, 0, 1], 0).into(), ([127, 0, 0, 2], 0).into()];
    if std::net::UdpSocket::bind("[::1]:0").is_ok() {
        listen.push("[::1]:0".parse().unwrap());
    } else {
        eprintln!("skipped: no IPv6 on the loopback interface");
    }
    let builder = DnsServer::builder().zone(example());
    let builder = listen
        .iter()
        .fold(builder, |builder, address| builder.listen(*address));
    let server = builder.start().await.unwrap();
    assert_eq!(server.addrs().len(), listen.len());
    for (address, wanted) in server.addrs().iter().zip(&listen) {
        assert_eq!(
            (address.ip(), address.port()),
            (wanted.ip(), server.addr().port())
        );
        assert_eq!(txt(*address, "t.example.test").await.unwrap(), ["one"]);
        let response = tcp(*address, &question("t.example.test", RecordType::TXT)).await;
        assert_eq!(values(&response).unwrap(), ["one"]);
    }
}

#[tokio::test]
async fn a_port_is_free_again_after_shutdown() {
    let server = start(example()).await;
    let taken = DnsServer::builder().listen(server.addr()).start().await;
    assert!(matches!(taken, Err(StartError::Bind { .. })));
    server.shutdown().await;
    let again = DnsServer::builder().zone(example()).listen(server.addr());
    let again = again.start().await.unwrap();
    assert_eq!(txt(again.addr(), "t.example.test").await.unwrap(), ["one"]);
}

#[tokio::test]
async fn the_log_tells_who_asked_what() {
    let server = start(example()).await;
    let mut message = with_edns(question("T.example.test", RecordType::TXT), 1400);
    message.metadata.recursion_desired = true;
    let waiting = tokio::spawn({
        let server = server.clone();
        async move {
            server
                .wait_for(|log| log.count("t.example.test", RecordType::TXT) == 2)
                .await
        }
    });
    udp(server.addr(), &message).await;
    tcp(server.addr(), &question("t.example.test", RecordType::TXT)).await;
    waiting.await.unwrap();
    let log = server.queries();
    assert_eq!(log.len(), 2);
    assert_eq!(
        (log[0].qname.as_str(), log[0].asked.as_str()),
        ("t.example.test", "T.example.test")
    );
    assert_eq!(
        (log[0].transport, log[1].transport),
        (Transport::Udp, Transport::Tcp)
    );
    assert_eq!((log[0].payload, log[1].payload), (Some(1400), None));
    assert!(log[0].recursion_desired && !log[1].recursion_desired);
    assert_eq!(log[0].rcode, Some(ResponseCode::NoError));
    assert_eq!(log[0].client.ip(), server.addr().ip());
    assert!(log[0].at <= log[1].at);
    server.clear_log();
    assert!(server.queries().is_empty());
}

#[tokio::test]
async fn zones_change_by_hand() {
    let server = start(example()).await;
    let record = Record::txt("New.example.test", 5, "two");
    server.zone_add(record.clone()).unwrap();
    assert_eq!(server.serial("example.test"), Some(2));
    server.zone_add(record.clone()).unwrap();
    assert_eq!(server.serial("example.test"), Some(2));
    assert_eq!(
        txt(server.addr(), "new.example.test").await.unwrap(),
        ["two"]
    );
    assert_eq!(
        server.records("new.example.test"),
        [Record::txt("new.example.test", 5, "two")]
    );
    let alias = Record::cname("new.example.test", 5, "t.example.test");
    assert!(matches!(
        server.zone_add(alias),
        Err(ZoneError::Conflict(_))
    ));
    let outside = Record::txt("example.org", 5, "x");
    assert!(matches!(
        server.zone_add(outside),
        Err(ZoneError::NoZone(_))
    ));
    assert_eq!(server.zone_remove(&record), Ok(true));
    assert_eq!(server.zone_remove(&record), Ok(false));
    assert!(server.values("new.example.test").is_empty());

    server
        .zone_insert(Zone::new("sub.example.test").txt("t.sub.example.test", "deep"))
        .unwrap();
    assert_eq!(
        txt(server.addr(), "t.sub.example.test").await.unwrap(),
        ["deep"]
    );
    assert_eq!(server.origins(), ["example.test", "sub.example.test"]);
    assert_eq!(server.zone_records("sub.example.test").len(), 2);
    assert_eq!(server.zone_drop("sub.example.test"), Ok(true));
    assert_eq!(
        txt(server.addr(), "t.sub.example.test").await,
        Err(ResponseCode::NXDomain)
    );
}

#[tokio::test]
async fn secondaries_lag_and_hold() {
    let server = start(example()).await;
    let hour = Duration::from_secs(3600);
    let late = server.secondary(hour).start().await.unwrap();
    let stale = server.stale_secondary().start().await.unwrap();
    let prompt = server.secondary(Duration::ZERO).start().await.unwrap();
    let seen = async || {
        let mut seen = Vec::new();
        for server in [&server, &prompt, &late, &stale] {
            seen.push(txt(server.addr(), "t.example.test").await.unwrap().len());
        }
        seen
    };
    assert_eq!(seen().await, [1, 1, 1, 1]);
    server
        .zone_add(Record::txt("t.example.test", 60, "two"))
        .unwrap();
    assert_eq!(seen().await, [2, 2, 1, 1]);
    server.advance(hour / 2);
    server
        .zone_add(Record::txt("t.example.test", 60, "three"))
        .unwrap();
    assert_eq!(seen().await, [3, 3, 1, 1]);
    server.advance(hour / 2);
    assert_eq!(seen().await, [3, 3, 2, 1]);
    assert_eq!(
        (late.serial("example.test"), server.serial("example.test")),
        (Some(2), Some(3))
    );
    late.hold();
    late.advance(hour);
    assert_eq!(seen().await, [3, 3, 2, 1]);
    stale.release();
    late.release();
    assert_eq!(seen().await, [3, 3, 3, 3]);
    // A secondary takes no updates.
    let mut message = update("example.test");
    message.add_authority(add(&Record::txt("t.example.test", 60, "four")));
    let response = udp(prompt.addr(), &message).await;
    assert_eq!(response.metadata.response_code, ResponseCode::Refused);
}
