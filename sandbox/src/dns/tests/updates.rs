//! RFC 2136 and RFC 8945 from the client's side.

use std::time::{SystemTime, UNIX_EPOCH};

use hickory_proto::rr::TSigner;
use hickory_proto::rr::rdata::tsig as wire;

use super::*;

const SECRET: &[u8] = b"a secret of thirty-two octets...";

async fn send(server: &DnsServer, message: &Message) -> ResponseCode {
    udp(server.addr(), message).await.metadata.response_code
}

/// Sends one prerequisite with one addition.
async fn provided(server: &DnsServer, prerequisite: WireRecord) -> ResponseCode {
    let mut message = update("example.test");
    message.add_answer(prerequisite);
    message.add_authority(add(&Record::txt("mark.example.test", 60, "done")));
    send(server, &message).await
}

async fn change(server: &DnsServer, change: WireRecord) -> ResponseCode {
    let mut message = update("example.test");
    message.add_authority(change);
    send(server, &message).await
}

#[tokio::test]
async fn values_are_added_and_removed_singly() {
    let server = start(example()).await;
    let two = Record::txt("T.example.test", 60, "two");
    assert_eq!(change(&server, add(&two)).await, ResponseCode::NoError);
    assert_eq!(server.values("t.example.test"), ["one", "two"]);
    assert_eq!(server.serial("example.test"), Some(2));
    // Once more changes nothing.
    change(&server, add(&two)).await;
    assert_eq!(server.serial("example.test"), Some(2));
    // But another TTL does, and for the whole set.
    change(&server, add(&Record::txt("t.example.test", 5, "two"))).await;
    assert_eq!(server.records("t.example.test")[0].ttl, 5);
    assert_eq!(server.serial("example.test"), Some(3));
    change(&server, delete(&Record::txt("t.example.test", 60, "one"))).await;
    change(&server, delete(&Record::txt("t.example.test", 60, "never"))).await;
    assert_eq!(server.values("t.example.test"), ["two"]);
    assert_eq!(
        server.updates(),
        Updates {
            messages: 5,
            changes: 3,
            refused: 0
        }
    );
    change(&server, delete(&two)).await;
    assert_eq!(
        txt(server.addr(), "t.example.test").await,
        Err(ResponseCode::NXDomain)
    );
}

#[tokio::test]
async fn sets_and_names_are_deleted_whole() {
    let server = start(
        example()
            .txt("t.example.test", "two")
            .a("t.example.test", [1, 1, 1, 1].into()),
    )
    .await;
    change(
        &server,
        bare("t.example.test", DNSClass::ANY, RecordType::TXT),
    )
    .await;
    assert_eq!(server.records("t.example.test").len(), 1);
    change(&server, add(&Record::txt("t.example.test", 60, "x"))).await;
    change(
        &server,
        bare("t.example.test", DNSClass::ANY, RecordType::ANY),
    )
    .await;
    assert!(server.records("t.example.test").is_empty());
}

#[tokio::test]
async fn the_apex_keeps_what_a_zone_needs() {
    let server = start(example().txt("example.test", "x")).await;
    change(
        &server,
        bare("example.test", DNSClass::ANY, RecordType::ANY),
    )
    .await;
    change(
        &server,
        bare("example.test", DNSClass::ANY, RecordType::SOA),
    )
    .await;
    change(&server, bare("example.test", DNSClass::ANY, RecordType::NS)).await;
    change(
        &server,
        delete(&Record::ns("example.test", 60, "ns1.example.test")),
    )
    .await;
    assert_eq!(server.records("example.test").len(), 2);
    change(
        &server,
        add(&Record::ns("example.test", 60, "ns2.example.test")),
    )
    .await;
    change(
        &server,
        delete(&Record::ns("example.test", 60, "ns1.example.test")),
    )
    .await;
    assert_eq!(
        server.records("example.test")[0],
        Record::ns("example.test", 60, "ns2.example.test")
    );
    let soa = |serial| {
        let (mname, rname) = ("a.test".to_owned(), "b.test".to_owned());
        let data = Data::Soa {
            mname,
            rname,
            serial,
            refresh: 1,
            retry: 1,
            expire: 1,
            minimum: 1,
        };
        add(&Record::new("example.test", 60, data))
    };
    let before = server.serial("example.test").unwrap();
    change(&server, soa(before)).await;
    assert_eq!(server.serial("example.test"), Some(before));
    change(&server, soa(before + 100)).await;
    assert_eq!(server.serial("example.test"), Some(before + 100));
}

#[tokio::test]
async fn aliases_and_other_data_exclude_each_other_silently() {
    let server = start(example().cname("alias.example.test", "t.example.test")).await;
    let beside = add(&Record::txt("alias.example.test", 60, "x"));
    assert_eq!(change(&server, beside).await, ResponseCode::NoError);
    let beside = add(&Record::cname("t.example.test", 60, "x.example.test"));
    assert_eq!(change(&server, beside).await, ResponseCode::NoError);
    assert_eq!(server.values("t.example.test"), ["one"]);
    assert_eq!(server.updates().changes, 0);
    let other = Record::cname("alias.example.test", 60, "x.example.test");
    change(&server, add(&other)).await;
    assert_eq!(server.records("alias.example.test"), [other]);
}

#[tokio::test]
async fn prerequisites_decide() {
    use RecordType as T;
    use ResponseCode as R;
    let exists = |record: Record| {
        let mut record = add(&record);
        record.ttl = 0;
        record
    };
    let one = Record::txt("t.example.test", 0, "one");
    for (prerequisite, expected) in [
        (bare("t.example.test", DNSClass::ANY, T::ANY), R::NoError),
        (bare("no.example.test", DNSClass::ANY, T::ANY), R::NXDomain),
        (bare("t.example.test", DNSClass::ANY, T::TXT), R::NoError),
        (bare("t.example.test", DNSClass::ANY, T::A), R::NXRRSet),
        (bare("no.example.test", DNSClass::NONE, T::ANY), R::NoError),
        (bare("t.example.test", DNSClass::NONE, T::ANY), R::YXDomain),
        (bare("t.example.test", DNSClass::NONE, T::A), R::NoError),
        (bare("t.example.test", DNSClass::NONE, T::TXT), R::YXRRSet),
        (exists(one.clone()), R::NoError),
        (exists(Record::txt("t.example.test", 0, "two")), R::NXRRSet),
        (exists(Record::txt("no.example.test", 0, "one")), R::NXRRSet),
        (bare("example.org", DNSClass::ANY, T::ANY), R::NotZone),
        (bare("t.example.test", DNSClass::CH, T::TXT), R::FormErr),
        (delete(&one), R::FormErr),
        (add(&Record::txt("t.example.test", 60, "one")), R::FormErr),
    ] {
        let server = start(example()).await;
        assert_eq!(
            provided(&server, prerequisite.clone()).await,
            expected,
            "{prerequisite}"
        );
        let done = usize::from(expected == R::NoError);
        assert_eq!(
            server.values("mark.example.test").len(),
            done,
            "{prerequisite}"
        );
        assert_eq!(server.updates().refused, 1 - done);
    }
    // Of a set with two values, one alone is not the set.
    let server = start(example().txt("t.example.test", "two")).await;
    assert_eq!(provided(&server, exists(one)).await, R::NXRRSet);
}

#[tokio::test]
async fn one_bad_change_spoils_all() {
    let server = start(example()).await;
    let good = add(&Record::txt("good.example.test", 60, "x"));
    let mut odd_class = good.clone();
    odd_class.dns_class = DNSClass::CH;
    let mut with_ttl = bare("t.example.test", DNSClass::ANY, RecordType::TXT);
    with_ttl.ttl = 1;
    for (bad, expected) in [
        (
            add(&Record::txt("example.org", 60, "x")),
            ResponseCode::NotZone,
        ),
        (
            bare("t.example.test", DNSClass::IN, RecordType::ANY),
            ResponseCode::FormErr,
        ),
        (
            bare("t.example.test", DNSClass::ANY, RecordType::AXFR),
            ResponseCode::FormErr,
        ),
        (
            bare("t.example.test", DNSClass::NONE, RecordType::ANY),
            ResponseCode::FormErr,
        ),
        (with_ttl, ResponseCode::FormErr),
        (odd_class, ResponseCode::FormErr),
    ] {
        let mut message = update("example.test");
        message.add_authority(good.clone());
        message.add_authority(bad.clone());
        assert_eq!(send(&server, &message).await, expected, "{bad}");
        assert!(server.values("good.example.test").is_empty());
    }
}

#[tokio::test]
async fn the_zone_section_names_a_zone() {
    let server = start(example()).await;
    assert_eq!(
        send(&server, &update("example.org")).await,
        ResponseCode::NotAuth
    );
    assert_eq!(
        send(&server, &update("t.example.test")).await,
        ResponseCode::NotAuth
    );
    assert_eq!(
        send(&server, &update("EXAMPLE.test")).await,
        ResponseCode::NoError
    );
    let mut message = update("example.test");
    message.queries[0].set_query_type(RecordType::TXT);
    assert_eq!(send(&server, &message).await, ResponseCode::FormErr);
    message = update("example.test");
    message.queries.clear();
    assert_eq!(send(&server, &message).await, ResponseCode::FormErr);
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

fn signer(key: &str, algorithm: wire::TsigAlgorithm, secret: &[u8]) -> TSigner {
    TSigner::new(secret.to_vec(), algorithm, name(key), 300).unwrap()
}

fn addition(owner: &str) -> Message {
    let mut message = update("example.test");
    message.add_authority(add(&Record::txt(owner, 60, "two")));
    message
}

async fn keyed(key: TsigKey) -> DnsServer {
    let builder = DnsServer::builder().zone(example()).key(key);
    builder.start().await.unwrap()
}

fn key(algorithm: TsigAlgorithm) -> TsigKey {
    TsigKey::new("acme", algorithm, SECRET)
}

/// Signs with hickory, sends, checks the response's signature with hickory if it has one, and
/// returns code, TSIG error, and whether the response was signed.
async fn signed(
    server: &DnsServer,
    mut message: Message,
    signer: &TSigner,
    at: u64,
) -> (ResponseCode, Option<wire::TsigError>, bool) {
    message.finalize(signer, at).unwrap();
    let octets = udp_raw(server.addr(), &message.to_vec().unwrap()).await;
    let response = Message::from_vec(&octets).unwrap();
    let tsig = &response.signature.as_ref().expect("a TSIG record").data;
    let signed = !tsig.mac.is_empty();
    if signed {
        let mac = &message.signature.as_ref().unwrap().data.mac;
        signer
            .verify_message_byte(&octets, Some(mac), true)
            .expect("a good signature");
    }
    if tsig.error == Some(wire::TsigError::BadTime) {
        let mut server_time = [0; 8];
        server_time[2..].copy_from_slice(&tsig.other);
        assert!(u64::from_be_bytes(server_time).abs_diff(at) > 300);
        assert_eq!(tsig.time, at);
    }
    (response.metadata.response_code, tsig.error, signed)
}

#[tokio::test]
async fn signed_updates_are_applied_and_answered_signed() {
    for (ours, theirs) in [
        (TsigAlgorithm::HmacSha256, wire::TsigAlgorithm::HmacSha256),
        (TsigAlgorithm::HmacSha384, wire::TsigAlgorithm::HmacSha384),
        (TsigAlgorithm::HmacSha512, wire::TsigAlgorithm::HmacSha512),
    ] {
        let server = keyed(key(ours)).await;
        let signer = signer("ACME", theirs, SECRET);
        let outcome = signed(&server, addition("t.example.test"), &signer, now()).await;
        assert_eq!(outcome, (ResponseCode::NoError, None, true));
        assert_eq!(server.values("t.example.test"), ["one", "two"]);
        assert_eq!(server.queries()[0].key.as_deref(), Some("acme"));
        // Refusals are signed as well, and so are queries.
        server.inject(Fault::servfail().times(1));
        let outcome = signed(&server, addition("t.example.test"), &signer, now()).await;
        assert_eq!(outcome, (ResponseCode::ServFail, None, true));
        let query = with_edns(question("t.example.test", RecordType::TXT), 1232);
        let outcome = signed(&server, query, &signer, now()).await;
        assert_eq!(outcome, (ResponseCode::NoError, None, true));
    }
}

#[tokio::test]
async fn bad_signatures_are_told_apart() {
    use wire::TsigAlgorithm::{HmacSha256, HmacSha512};
    use wire::TsigError;
    let server = keyed(key(TsigAlgorithm::HmacSha256)).await;
    let message = || addition("t.example.test");
    let good = signer("acme", HmacSha256, SECRET);
    for (signer, error) in [
        (signer("other", HmacSha256, SECRET), TsigError::BadKey),
        (signer("acme", HmacSha512, SECRET), TsigError::BadKey),
        (signer("acme", HmacSha256, b"wrong"), TsigError::BadSig),
    ] {
        let outcome = signed(&server, message(), &signer, now()).await;
        assert_eq!(outcome, (ResponseCode::NotAuth, Some(error), false));
    }
    let late = (ResponseCode::NotAuth, Some(TsigError::BadTime), true);
    assert_eq!(signed(&server, message(), &good, now() - 1000).await, late);
    server.set_clock_skew(-1000);
    assert_eq!(signed(&server, message(), &good, now()).await, late);
    assert_eq!(
        signed(&server, message(), &good, now() - 1000).await.0,
        ResponseCode::NoError
    );

    let unsigned = udp(server.addr(), &message()).await;
    assert_eq!(unsigned.metadata.response_code, ResponseCode::Refused);
    assert!(unsigned.signature.is_none());
    assert_eq!(server.updates().messages, 1);

    // A changed octet, in the value that is added.
    server.set_clock_skew(0);
    let mut tampered = message();
    tampered.finalize(&good, now()).unwrap();
    let mut octets = tampered.to_vec().unwrap();
    let at = octets
        .windows(3)
        .position(|octets| octets == b"two")
        .unwrap();
    octets[at] = b'T';
    let response = Message::from_vec(&udp_raw(server.addr(), &octets).await).unwrap();
    assert_eq!(
        response.signature.unwrap().data.error,
        Some(TsigError::BadSig)
    );
    assert!(!server.values("t.example.test").contains(&"Two".to_owned()));
}

#[tokio::test]
async fn keys_change_only_what_they_may() {
    let owner = "_acme-challenge.example.test";
    let restricted = key(TsigAlgorithm::HmacSha256)
        .only_names([owner])
        .only_txt();
    let server = keyed(restricted).await;
    let signer = signer("acme", wire::TsigAlgorithm::HmacSha256, SECRET);
    let send = async |message| signed(&server, message, &signer, now()).await;
    let good = (ResponseCode::NoError, None, true);
    let refused = (ResponseCode::Refused, None, true);
    assert_eq!(send(addition(owner)).await, good);
    assert_eq!(send(addition("t.example.test")).await, refused);
    let mut address = update("example.test");
    address.add_authority(add(&Record::a(owner, 60, [1, 1, 1, 1].into())));
    assert_eq!(send(address).await, refused);
    let mut both = addition(owner);
    both.add_authority(add(&Record::txt("t.example.test", 60, "two")));
    assert_eq!(send(both).await, refused);
    let mut whole = update("example.test");
    whole.add_authority(bare(owner, DNSClass::ANY, RecordType::ANY));
    assert_eq!(send(whole.clone()).await, good);
    server
        .zone_add(Record::a(owner, 60, [1, 1, 1, 1].into()))
        .unwrap();
    assert_eq!(send(whole).await, refused);

    let elsewhere = key(TsigAlgorithm::HmacSha256).only_zones(["example.org"]);
    let server = keyed(elsewhere).await;
    let outcome = signed(&server, addition("t.example.test"), &signer, now()).await;
    assert_eq!(outcome, refused);
}

#[test]
fn keys_are_read_and_keep_their_secret() {
    let key: TsigKey = "hmac-sha1:acme.:c2VjcmV0".parse().unwrap();
    assert_eq!(
        (key.name(), key.algorithm()),
        ("acme.", TsigAlgorithm::HmacSha1)
    );
    assert_eq!(key.secret_base64(), "c2VjcmV0");
    assert!(!format!("{key:?}").contains("c2Vj") && format!("{key:?}").contains("[redacted]"));
    for (text, error) in [
        ("acme:c2VjcmV0", TsigKeyError::Form),
        (
            "hmac-sha3:acme:c2VjcmV0",
            TsigKeyError::Algorithm("hmac-sha3".to_owned()),
        ),
        ("hmac-sha1:acme:?", TsigKeyError::Secret),
    ] {
        assert_eq!(text.parse::<TsigKey>().unwrap_err(), error);
    }
}

/// A task that panics leaves a request without an answer, and this test hanging.
#[tokio::test]
async fn mangled_requests_are_answered_all_the_same() {
    let server = keyed(key(TsigAlgorithm::HmacSha256)).await;
    let signer = signer("acme", wire::TsigAlgorithm::HmacSha256, SECRET);
    let mut message = with_edns(addition("t.example.test"), 1232);
    message.add_answer(bare("t.example.test", DNSClass::ANY, RecordType::TXT));
    message.finalize(&signer, now()).unwrap();
    let octets = message.to_vec().unwrap();
    for length in 12..octets.len() {
        let answer = udp_raw(server.addr(), &octets[..length]).await;
        assert_eq!(
            Message::from_vec(&answer).unwrap().metadata.id,
            message.metadata.id
        );
    }
    for at in (0..octets.len()).filter(|at| *at != 2) {
        for bit in 0..8 {
            let mut octets = octets.clone();
            octets[at] ^= 1 << bit;
            let answer = udp_raw(server.addr(), &octets).await;
            assert_eq!(answer[..2], octets[..2], "octet {at}, bit {bit}");
        }
    }
    // Under a signature only the id and the spelling of the key are free to change.
    assert!(["one", "two"].iter().eq(&server.values("t.example.test")));
}
