//! DNS-01 as the CA sees it.

use super::*;

/// Orders one name, publishes what `publish` makes of the value, and returns the finished authorization.
async fn validate(ca: &Ca, domain: &str, publish: impl FnOnce(String)) -> Value {
    let client = Client::registered(ca).await;
    let order = client.order(&[domain]).await.expect(201).json();
    let url = strings(&order["authorizations"]).remove(0);
    let authorization = client.fetch(&url).await.expect(200).json();
    let (value, challenge) = client.challenge(&authorization);
    publish(value);
    client.post(&challenge, "{}").await.expect(200);
    client.until(&url, |a| a["status"] != "pending").await
}

#[track_caller]
fn assert_failed(authorization: &Value, kind: ErrorKind, detail: &str) {
    assert_eq!(authorization["status"], "invalid");
    let challenges = authorization["challenges"].as_array().unwrap();
    assert_eq!(challenges.len(), 1);
    let error = &challenges[0]["error"];
    assert_eq!(error["type"], kind.urn(), "{error}");
    assert!(
        error["detail"].as_str().unwrap().contains(detail),
        "{error}"
    );
}

#[tokio::test]
async fn any_of_several_values_in_any_number_of_strings() {
    let (ca, dns) = sandbox().await;
    let authorization = validate(&ca, "a.test", |value| {
        dns.add("_acme-challenge.a.test", Rr::Txt(vec!["stale".to_owned()]));
        let (left, right) = value.split_at(20);
        dns.add(
            "_acme-challenge.a.test",
            Rr::Txt(vec![left.to_owned(), right.to_owned()]),
        );
    })
    .await;
    assert_eq!(authorization["status"], "valid");
    let challenge = &authorization["challenges"][0];
    assert!(challenge["validated"].is_string() && challenge.get("error").is_none());
    assert!(dns.zone().mixed, "case is mixed by default");
}

#[tokio::test]
async fn case_can_be_left_alone() {
    let (ca, dns) = sandbox_with(|ca| ca.mixed_case(false)).await;
    let publish = |value| dns.add("_acme-challenge.plain.test", Rr::Txt(vec![value]));
    let authorization = validate(&ca, "plain.test", publish).await;
    assert_eq!(authorization["status"], "valid");
    assert!(!dns.zone().mixed);
}

#[tokio::test]
async fn wrong_and_missing_values() {
    let (ca, dns) = sandbox().await;
    let authorization = validate(&ca, "a.test", |_| {
        dns.add(
            "_acme-challenge.a.test",
            Rr::Txt(vec!["say \"wrong\"".to_owned()]),
        );
        dns.add(
            "_acme-challenge.a.test",
            Rr::Txt(vec!["wrong as well".to_owned()]),
        );
    })
    .await;
    assert_failed(
        &authorization,
        ErrorKind::Unauthorized,
        r#"Incorrect TXT record "say \"wrong\"" (and 1 more) found at _acme-challenge.a.test"#,
    );
    dns.zone()
        .records
        .insert("_acme-challenge.b.test".to_owned(), Vec::new());
    let authorization = validate(&ca, "b.test", |_| {}).await;
    assert_failed(
        &authorization,
        ErrorKind::Unauthorized,
        "No TXT record found at _acme-challenge.b.test",
    );
    let authorization = validate(&ca, "c.test", |_| {}).await;
    assert_failed(
        &authorization,
        ErrorKind::Dns,
        "NXDOMAIN looking up TXT for _acme-challenge.c.test",
    );
    let order = ca.orders().pop().unwrap();
    assert_eq!(order.status, OrderStatus::Invalid);
    assert!(order.error.unwrap().contains("NXDOMAIN"));
}

#[tokio::test]
async fn servers_that_fail() {
    let (ca, dns) = sandbox().await;
    for (code, name) in [
        (ResponseCode::ServFail, "SERVFAIL"),
        (ResponseCode::Refused, "REFUSED"),
    ] {
        dns.mood(Some(Mood::Code(code)));
        assert_failed(&validate(&ca, "a.test", |_| {}).await, ErrorKind::Dns, name);
    }
    let ca = Ca::builder().start().await.unwrap();
    let authorization = validate(&ca, "a.test", |_| {}).await;
    assert_failed(
        &authorization,
        ErrorKind::Dns,
        "no DNS server is configured",
    );
}

#[tokio::test]
async fn truncation_and_silence_lead_to_tcp() {
    // Silence takes two time-outs, which a busy machine must not see elsewhere.
    for (mood, timeout, datagrams) in [(Mood::OnlyTcp, 5000, 1), (Mood::SilentUdp, 300, 2)] {
        let (ca, dns) = sandbox_with(|ca| ca.dns_timeout(Duration::from_millis(timeout))).await;
        dns.mood(Some(mood));
        let publish = |value| dns.add("_acme-challenge.a.test", Rr::Txt(vec![value]));
        let authorization = validate(&ca, "a.test", publish).await;
        assert_eq!(authorization["status"], "valid", "{authorization}");
        assert_eq!(dns.queries(), (datagrams, 1));
    }
}

#[tokio::test]
async fn aliases_lead_to_other_servers() {
    let (dns, other) = (Dns::start().await, Dns::start().await);
    let ca = Ca::builder()
        .dns(dns.address)
        .dns_for("other.example", other.address)
        .dns_for("example", dns.address)
        .start()
        .await
        .unwrap();
    dns.add("_acme-challenge.a.test", Rr::Cname("one.other.example."));
    other.add("one.other.example", Rr::Cname("two.example."));
    let authorization = validate(&ca, "*.a.test", |value| {
        dns.add("two.example", Rr::Txt(vec![value]))
    })
    .await;
    assert_eq!(authorization["status"], "valid", "{authorization}");
    assert_eq!((dns.queries().0, other.queries().0), (2, 1));

    dns.add("_acme-challenge.b.test", Rr::Cname("gone.other.example."));
    let authorization = validate(&ca, "b.test", |_| {}).await;
    assert_failed(
        &authorization,
        ErrorKind::Dns,
        "NXDOMAIN looking up TXT for _acme-challenge.b.test, an alias of gone.other.example",
    );
    dns.add(
        "_acme-challenge.c.test",
        Rr::Cname("_acme-challenge.d.test."),
    );
    dns.add(
        "_acme-challenge.d.test",
        Rr::Cname("_acme-challenge.c.test."),
    );
    let authorization = validate(&ca, "c.test", |_| {}).await;
    assert_failed(&authorization, ErrorKind::Dns, "more than 16 aliases");
}

#[tokio::test]
async fn a_zone_must_be_a_name() {
    let err = Ca::builder()
        .dns_for("not a name..", "127.0.0.1:1".parse().unwrap())
        .start()
        .await
        .unwrap_err();
    assert!(matches!(err, StartError::Zone { .. }), "{err}");
}

#[tokio::test]
async fn validation_is_under_way_until_dns_answers() {
    let (ca, dns) = sandbox().await;
    let client = Client::registered(&ca).await;
    let order = client.order(&["a.test"]).await.expect(201).json();
    let url = strings(&order["authorizations"]).remove(0);
    let authorization = client.fetch(&url).await.expect(200).json();
    let (value, challenge) = client.challenge(&authorization);
    dns.add("_acme-challenge.a.test", Rr::Txt(vec![value]));
    let gate = dns.hold();
    let answered = client.post(&challenge, "{}").await.expect(200);
    assert_eq!(answered.json()["status"], "processing");
    assert_eq!(answered.links("up"), std::slice::from_ref(&url));
    assert_eq!(
        client.fetch(&url).await.expect(200).json()["status"],
        "pending"
    );
    // Answering twice starts nothing.
    assert_eq!(
        client.post(&challenge, "{}").await.expect(200).json()["status"],
        "processing"
    );
    gate.send(()).await.unwrap();
    assert_eq!(
        client.until(&url, |a| a["status"] != "pending").await["status"],
        "valid"
    );
    assert_eq!(
        client.post(&challenge, "{}").await.expect(200).json()["status"],
        "valid"
    );
    assert_eq!(
        client.fetch(&challenge).await.expect(200).json()["status"],
        "valid"
    );
    assert_eq!(dns.queries(), (1, 0));
}
