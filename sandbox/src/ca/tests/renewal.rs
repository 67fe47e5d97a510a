//! Renewal information, orders that replace a certificate, and revocation.

use jiff::SignedDuration;

use super::*;

/// A CA at a fixed time, and a client with a certificate for `a.test` and `b.test`.
async fn issued() -> (Ca, Dns, Client, rcgen::KeyPair) {
    let now: Timestamp = "2026-11-01T00:00:00Z".parse().unwrap();
    let (ca, dns) = sandbox_with(|ca| ca.clock(move || now)).await;
    let client = Client::registered(&ca).await;
    let key = certificate_key();
    client.issue(&dns, &["a.test", "b.test"], &key).await;
    (ca, dns, client, key)
}

#[tokio::test]
async fn windows() {
    let (ca, _, client, _) = issued().await;
    let issued = ca.issued().remove(0);
    let url = format!("{}/{}", client.url("renewalInfo"), issued.cert_id);
    let got = client.get(&url).await.expect(200);
    assert_eq!(got.header("retry-after"), Some("21600"));
    let window = &got.json()["suggestedWindow"];
    // Day 60 of 90, and 0.9 days to either side.
    assert_eq!(window["start"], "2026-12-30T02:23:59Z");
    assert_eq!(window["end"], "2026-12-31T21:35:59Z");

    let start = "2026-11-02T00:00:00Z".parse().unwrap();
    let end = "2026-11-01T00:00:00Z".parse().unwrap();
    assert!(ca.set_renewal_window(&issued.serial, start, end, Some("https://why.example")));
    assert!(!ca.set_renewal_window(b"unknown", start, end, None));
    let json = client.get(&url).await.expect(200).json();
    assert_eq!(json["suggestedWindow"]["start"], "2026-11-02T00:00:00Z");
    assert_eq!(json["suggestedWindow"]["end"], "2026-11-01T00:00:00Z");
    assert_eq!(json["explanationURL"], "https://why.example");

    let info = client.url("renewalInfo");
    client
        .get(&format!("{info}/AAAA.AAAA"))
        .await
        .refused(404, ErrorKind::Malformed);
    client
        .get(&format!("{info}/AAAA"))
        .await
        .refused(400, ErrorKind::Malformed);
    client.fetch(&url).await.refused(405, ErrorKind::Malformed);
}

#[tokio::test]
async fn short_lives_are_renewed_at_half() {
    let now: Timestamp = "2026-11-01T00:00:00Z".parse().unwrap();
    let (ca, dns) = sandbox_with(|ca| {
        ca.clock(move || now)
            .validity(Duration::from_secs(100 * 3600))
    })
    .await;
    let client = Client::registered(&ca).await;
    client.issue(&dns, &["a.test"], &certificate_key()).await;
    let url = format!("{}/{}", client.url("renewalInfo"), ca.issued()[0].cert_id);
    let window = client.get(&url).await.expect(200).json();
    assert_eq!(window["suggestedWindow"]["start"], "2026-11-03T00:59:59Z");
}

#[tokio::test]
async fn replacement() {
    let (ca, _, client, _) = issued().await;
    let cert_id = ca.issued()[0].cert_id.clone();
    let replaces = json!({ "replaces": cert_id });
    let names = ["b.test", "c.test"];

    client
        .order_with(&["c.test"], replaces.clone())
        .await
        .refused(400, ErrorKind::Malformed);
    client
        .order_with(&names, json!({ "replaces": "AAAA.AAAA" }))
        .await
        .refused(404, ErrorKind::Malformed);
    let other = Client::registered(&ca).await;
    other
        .order_with(&names, replaces.clone())
        .await
        .refused(403, ErrorKind::Unauthorized);

    let order = client
        .order_with(&names, replaces.clone())
        .await
        .expect(201);
    assert_eq!(order.json()["replaces"], cert_id.as_str());
    assert_eq!(
        ca.issued()[0].replaced_by.as_deref(),
        order.header("location")
    );
    // The same order again is the same order; another one is too late.
    let same = client
        .order_with(&names, replaces.clone())
        .await
        .expect(201);
    assert_eq!(same.header("location"), order.header("location"));
    client
        .order_with(&["a.test"], replaces.clone())
        .await
        .refused(409, ErrorKind::AlreadyReplaced);
    // A failed order does not count.
    let authorizations = strings(&order.json()["authorizations"]);
    for url in &authorizations {
        client
            .post(url, json!({ "status": "deactivated" }))
            .await
            .expect(200);
    }
    client.order_with(&["a.test"], replaces).await.expect(201);
}

#[tokio::test]
async fn revocation_by_the_account() {
    let (ca, _, client, _) = issued().await;
    let url = client.url("revokeCert");
    let der = b64(&ca.issued()[0].der);
    for reason in [2, 6, 7, 11, -1, 1000] {
        client
            .post(&url, json!({ "certificate": der, "reason": reason }))
            .await
            .refused(400, ErrorKind::BadRevocationReason);
    }
    client
        .post(&url, json!({ "certificate": b64(b"nonsense") }))
        .await
        .refused(400, ErrorKind::Malformed);
    let foreign = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    client
        .post(&url, json!({ "certificate": b64(foreign.cert.der()) }))
        .await
        .refused(404, ErrorKind::Malformed);
    assert_eq!(ca.issued()[0].revoked, None);

    client
        .post(&url, json!({ "certificate": der, "reason": 4 }))
        .await
        .expect(200);
    assert_eq!(ca.issued()[0].revoked.as_ref().unwrap().reason, Some(4));
    client
        .post(&url, json!({ "certificate": der }))
        .await
        .refused(400, ErrorKind::AlreadyRevoked);

    let info = format!("{}/{}", client.url("renewalInfo"), ca.issued()[0].cert_id);
    let window = client.get(&info).await.expect(200).json();
    let end: Timestamp = window["suggestedWindow"]["end"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(
        end < ca.issued()[0].not_before + SignedDuration::from_secs(1),
        "in the past: {window}"
    );
}

#[tokio::test]
async fn revocation_by_the_certificate_key() {
    let (ca, _, client, key) = issued().await;
    let url = client.url("revokeCert");
    let payload = json!({ "certificate": b64(&ca.issued()[0].der), "reason": 4 });
    client
        .post_by_key(&url, &Key::generate(), &payload)
        .await
        .refused(403, ErrorKind::Unauthorized);
    client
        .post_by_key(&url, &Key::of(&key), &payload)
        .await
        .expect(200);
    assert_eq!(ca.issued()[0].revoked.as_ref().unwrap().reason, Some(1));
}

#[tokio::test]
async fn revocation_by_another_account() {
    let (ca, dns, client, _) = issued().await;
    let url = client.url("revokeCert");
    let payload = json!({ "certificate": b64(&ca.issued()[0].der) });
    let other = Client::registered(&ca).await;
    other
        .post(&url, &payload)
        .await
        .refused(403, ErrorKind::Unauthorized);
    let order = other.order(&["a.test"]).await.expect(201).json();
    other.solve(&dns, &order).await;
    other
        .post(&url, &payload)
        .await
        .refused(403, ErrorKind::Unauthorized);
    let order = other.order(&["b.test"]).await.expect(201).json();
    other.solve(&dns, &order).await;
    other.post(&url, &payload).await.expect(200);
    assert_eq!(ca.issued()[0].revoked.as_ref().unwrap().reason, None);
}
