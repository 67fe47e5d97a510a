//! Every fault, seen from the client's side.

use super::*;

#[tokio::test]
async fn made_up_answers() {
    let (ca, _) = sandbox().await;
    let client = Client::registered(&ca).await;
    let faults = ca.faults();
    let answer = Answer::problem(429, ErrorKind::RateLimited, "too many orders")
        .retry_after(17)
        .link("https://limits.example", "help");
    faults.next(Resource::NewOrder, answer);
    let got = client.order(&["a.test"]).await;
    assert_eq!(got.header("retry-after"), Some("17"));
    assert_eq!(got.links("help"), ["https://limits.example"]);
    assert!(got.header("replay-nonce").is_some());
    let problem = got.refused(429, ErrorKind::RateLimited);
    assert_eq!(problem["detail"], "too many orders");
    assert!(ca.orders().is_empty(), "the request was not handled");

    let at = "2026-11-01T08:05:06Z".parse().unwrap();
    faults.nth(
        Resource::NewOrder,
        2,
        Answer::html(503).retry_after_date(at),
    );
    client.order(&["a.test"]).await.expect(201);
    let got = client.order(&["a.test"]).await.expect(503);
    assert_eq!(got.header("content-type"), Some("text/html"));
    assert_eq!(
        got.header("retry-after"),
        Some("Sun, 01 Nov 2026 08:05:06 GMT")
    );
    assert_eq!(got.header("replay-nonce"), None);
    assert!(got.body.starts_with("<html>"));
    client.order(&["a.test"]).await.expect(201);

    faults.times(Resource::Order, 2, Answer::empty(500).with_nonce(true));
    let url = ca.orders()[0].url.clone();
    for _ in 0..2 {
        let got = client.fetch(&url).await.expect(500);
        assert_eq!((got.body.as_str(), got.header("content-type")), ("", None));
        assert!(got.header("replay-nonce").is_some());
    }
    client.fetch(&url).await.expect(200);

    faults.always(
        Resource::Directory,
        Answer::new(200, "application/json", "{\"newNonce\":").header("x y", "bad name"),
    );
    for _ in 0..3 {
        assert_eq!(
            client.get(&ca.directory_url()).await.expect(200).body,
            "{\"newNonce\":"
        );
    }
    faults.clear();
    assert!(client.get(&ca.directory_url()).await.expect(200).json()["newNonce"].is_string());
}

#[tokio::test]
async fn every_resource_can_fail() {
    let (ca, dns) = sandbox().await;
    let mut client = Client::registered(&ca).await;
    client.issue(&dns, &["a.test"], &certificate_key()).await;
    let order = client.fetch(&ca.orders()[0].url).await.expect(200).json();
    let authorization = ca.authorizations()[0].url.clone();
    let challenge = authorization.replace("/authz/", "/challenge/") + "/0";
    let resources = [
        (Resource::Account, client.kid.clone()),
        (Resource::Authorization, authorization),
        (
            Resource::Certificate,
            order["certificate"].as_str().unwrap().to_owned(),
        ),
        (Resource::Challenge, challenge),
        (Resource::Directory, ca.directory_url()),
        (
            Resource::Finalize,
            order["finalize"].as_str().unwrap().to_owned(),
        ),
        (Resource::KeyChange, client.url("keyChange")),
        (Resource::NewOrder, client.url("newOrder")),
        (Resource::Order, ca.orders()[0].url.clone()),
        (Resource::Orders, format!("{}/orders", client.kid)),
        (Resource::Revoke, client.url("revokeCert")),
    ];
    for (resource, url) in resources {
        ca.faults().next(resource, Answer::empty(502));
        client.fetch(&url).await.expect(502);
        assert_eq!(ca.log().last().unwrap().resource, Some(resource));
    }
    ca.faults().next(Resource::NewAccount, Answer::empty(502));
    client.register(json!({})).await.expect(502);
    let info = format!("{}/{}", client.url("renewalInfo"), ca.issued()[0].cert_id);
    for (resource, url) in [
        (Resource::NewNonce, client.url("newNonce")),
        (Resource::RenewalInfo, info),
    ] {
        ca.faults().next(resource, Answer::empty(502));
        client.get(&url).await.expect(502);
    }
}

#[tokio::test]
async fn cut_connections() {
    for h1 in [true, false] {
        let (ca, _) = sandbox().await;
        let mut client = Client::with(&ca, |b| if h1 { b.http1_only() } else { b }).await;
        client
            .register(json!({ "termsOfServiceAgreed": true }))
            .await
            .expect(201);
        let url = client.url("newOrder");
        let payload = json!({ "identifiers": [{ "type": "dns", "value": "a.test" }] }).to_string();
        ca.faults().next(Resource::NewOrder, Fault::DropBefore);
        client.try_post(&url, &payload).await.unwrap_err();
        assert!(ca.orders().is_empty());
        ca.faults().next(Resource::NewOrder, Fault::DropAfter);
        client.try_post(&url, &payload).await.unwrap_err();
        assert_eq!(ca.orders().len(), 1, "handled all the same");
        let cut: Vec<Option<u16>> = ca
            .log()
            .iter()
            .filter(|entry| entry.resource == Some(Resource::NewOrder))
            .map(|entry| entry.status)
            .collect();
        assert_eq!(cut, [None, None]);
        client.try_post(&url, &payload).await.unwrap().expect(201);
    }
}

#[tokio::test]
async fn delays() {
    let (ca, _) = sandbox().await;
    let client = Client::new(&ca).await;
    let delay = Duration::from_millis(30);
    ca.faults().next(Resource::Directory, Fault::Delay(delay));
    let started = Instant::now();
    client.get(&ca.directory_url()).await.expect(200);
    assert!(started.elapsed() >= delay);
    assert!(ca.log().last().unwrap().took >= delay);
}

#[tokio::test]
async fn bad_nonces() {
    let (ca, _) = sandbox().await;
    let client = Client::registered(&ca).await;
    let faults = ca.faults();
    faults.reject_every_nonce(2);
    for _ in 0..2 {
        client.fetch(&client.kid).await.expect(200);
        let got = client.fetch(&client.kid).await;
        assert!(got.header("replay-nonce").is_some());
        got.refused(400, ErrorKind::BadNonce);
    }
    faults.omit_nonce_on_errors(true);
    faults.reject_every_nonce(1);
    for _ in 0..3 {
        let got = client.fetch(&client.kid).await;
        assert_eq!(got.header("replay-nonce"), None);
        got.refused(400, ErrorKind::BadNonce);
    }
    faults.reject_every_nonce(0);
    let got = client.fetch(&client.kid).await.expect(200);
    assert!(
        got.header("replay-nonce").is_some(),
        "answers that are no errors have one"
    );
    faults.reject_nonces(50, 1);
    let mut rejected = 0;
    for _ in 0..32 {
        rejected += u32::from(client.fetch(&client.kid).await.status == 400);
    }
    assert!((1..32).contains(&rejected), "{rejected} of 32");
    faults.reject_nonces(100, 1);
    client
        .fetch(&client.kid)
        .await
        .refused(400, ErrorKind::BadNonce);
}

#[tokio::test]
async fn challenges_that_never_end() {
    let (ca, dns) = sandbox().await;
    let client = Client::registered(&ca).await;
    ca.faults().stuck_challenges(true);
    let order = client.order(&["a.test"]).await.expect(201).json();
    let url = strings(&order["authorizations"]).remove(0);
    let authorization = client.fetch(&url).await.expect(200).json();
    let (_, challenge) = client.challenge(&authorization);
    client.post(&challenge, "{}").await.expect(200);
    assert_eq!(
        client.fetch(&challenge).await.expect(200).json()["status"],
        "processing"
    );
    assert_eq!(
        client.fetch(&url).await.expect(200).json()["status"],
        "pending"
    );
    assert_eq!(
        ca.authorizations()[0].challenge,
        ChallengeStatus::Processing
    );
    assert_eq!(dns.queries(), (0, 0));
}

#[tokio::test]
async fn secondary_validation_fails_once() {
    let (ca, dns) = sandbox().await;
    let client = Client::registered(&ca).await;
    ca.faults().fail_secondary_validations(1);
    let order = client.order(&["a.test"]).await.expect(201);
    client.solve(&dns, &order.json()).await;
    let order = client
        .fetch(order.header("location").unwrap())
        .await
        .expect(200)
        .json();
    assert_eq!(order["status"], "invalid");
    assert!(
        order["error"]["detail"]
            .as_str()
            .unwrap()
            .starts_with("During secondary validation")
    );
    client.issue(&dns, &["a.test"], &certificate_key()).await;
}

#[tokio::test]
async fn finalized_orders_that_end_invalid() {
    for polls in [None, Some(0)] {
        let (ca, dns) = sandbox_with(|ca| match polls {
            Some(polls) => ca.processing_polls(polls),
            None => ca,
        })
        .await;
        let client = Client::registered(&ca).await;
        ca.faults().invalid_finalizations(1);
        let order = client.order(&["a.test"]).await.expect(201);
        client.solve(&dns, &order.json()).await;
        let got = client
            .finalize(&order.json(), &["a.test"], &certificate_key())
            .await
            .expect(200);
        let expected = if polls.is_some() {
            "processing"
        } else {
            "invalid"
        };
        assert_eq!(got.json()["status"], expected);
        let order = client
            .fetch(order.header("location").unwrap())
            .await
            .expect(200)
            .json();
        assert_eq!(order["status"], "invalid");
        assert_eq!(order["error"]["type"], ErrorKind::ServerInternal.urn());
        assert!(ca.issued().is_empty());
    }
}

#[tokio::test]
async fn chains_that_are_not_what_they_should_be() {
    use x509_parser::prelude::{FromDer, X509Certificate};

    let (ca, dns) = sandbox().await;
    let client = Client::registered(&ca).await;
    let good = client.issue(&dns, &["a.test"], &certificate_key()).await;
    let url = client.fetch(&ca.orders()[0].url).await.expect(200).json()["certificate"]
        .as_str()
        .unwrap()
        .to_owned();
    let download = async |tamper| {
        ca.faults().tamper(tamper);
        client.fetch(&url).await.expect(200).body
    };
    let with_key = download(Some(Tamper::PrivateKey)).await;
    assert!(with_key.contains("-----BEGIN PRIVATE KEY-----"));
    let truncated = download(Some(Tamper::Truncated)).await;
    assert!(good.starts_with(&truncated) && truncated.len() < good.len());

    let good_leaf = ders(&good).remove(0);
    let (_, good_leaf) = X509Certificate::from_der(&good_leaf).unwrap();
    for (tamper, same_key, same_names) in [
        (Tamper::ForeignLeaf, false, true),
        (Tamper::OtherNames, true, false),
    ] {
        let leaf = ders(&download(Some(tamper)).await).remove(0);
        let (_, leaf) = X509Certificate::from_der(&leaf).unwrap();
        assert_eq!(leaf.public_key() == good_leaf.public_key(), same_key);
        let names = |leaf: &X509Certificate<'_>| {
            leaf.subject_alternative_name()
                .unwrap()
                .unwrap()
                .value
                .to_owned()
                .general_names
                .len()
        };
        assert_eq!(names(&leaf), 1);
        let san = format!(
            "{:?}",
            leaf.subject_alternative_name().unwrap().unwrap().value
        );
        assert_eq!(san.contains("a.test"), same_names);
    }
    assert_eq!(download(None).await, good);
}
