//! What goes well, from the directory to the chain.

use std::collections::HashSet;

use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};

use super::*;

#[tokio::test]
async fn a_wildcard_and_its_base_domain() {
    let (ca, dns) = sandbox().await;
    let client = Client::registered(&ca).await;
    let key = certificate_key();
    let names = ["*.example.com", "example.com"];

    let order = client.order(&names).await.expect(201);
    let order_url = order.header("location").unwrap().to_owned();
    let order = order.json();
    assert_eq!(order["status"], "pending");
    let mut seen = HashSet::new();
    for url in strings(&order["authorizations"]) {
        let authorization = client.fetch(&url).await.expect(200).json();
        assert_eq!(authorization["identifier"]["value"], "example.com");
        assert_ne!(authorization["wildcard"], false, "absent unless true");
        seen.insert(authorization["wildcard"] == true);
        let unknown = &authorization["challenges"][0];
        assert_eq!(unknown.get("token"), None);
    }
    assert_eq!(seen.len(), 2);

    client.solve(&dns, &order).await;
    let order = client.fetch(&order_url).await.expect(200).json();
    assert_eq!(order["status"], "ready");
    assert_eq!(order.get("certificate"), None);
    let finalized = client.finalize(&order, &names, &key).await.expect(200);
    assert_eq!(finalized.header("location"), None);
    let order = finalized.json();
    assert_eq!(order["status"], "valid");
    let chain = client
        .fetch(order["certificate"].as_str().unwrap())
        .await
        .expect(200);
    assert_eq!(
        chain.header("content-type"),
        Some("application/pem-certificate-chain")
    );
    assert!(chain.links("alternate").is_empty());

    let certificates = ders(&chain.body);
    assert_eq!(certificates.len(), 2);
    let (_, leaf) = X509Certificate::from_der(&certificates[0]).unwrap();
    let (_, issuer) = X509Certificate::from_der(&certificates[1]).unwrap();
    let root = ders(&ca.issuance_root_pem()).remove(0);
    let (_, root) = X509Certificate::from_der(&root).unwrap();
    leaf.verify_signature(Some(issuer.public_key())).unwrap();
    issuer.verify_signature(Some(root.public_key())).unwrap();
    root.verify_signature(None).unwrap();
    let san = leaf.subject_alternative_name().unwrap().unwrap();
    let mut got: Vec<String> = san
        .value
        .general_names
        .iter()
        .map(ToString::to_string)
        .collect();
    got.sort();
    assert_eq!(got, ["DNSName(*.example.com)", "DNSName(example.com)"]);
    assert!(!leaf.is_ca() && issuer.is_ca());
    let life = leaf.validity().not_after.timestamp() - leaf.validity().not_before.timestamp();
    assert_eq!(life, 90 * 24 * 3600 - 1);

    let issued = ca.issued().remove(0);
    assert_eq!(issued.der, certificates[0]);
    assert_eq!(issued.serial.len(), 16);
    assert_eq!(
        leaf.raw_serial()
            .iter()
            .skip_while(|b| **b == 0)
            .copied()
            .collect::<Vec<_>>(),
        issued.serial
    );
    assert_eq!(issued.order, order_url);
    let key_id = leaf
        .iter_extensions()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(aki) => aki.key_identifier.clone(),
            _ => None,
        })
        .unwrap();
    assert_eq!(
        issued.cert_id,
        format!("{}.{}", b64(key_id.0), b64(leaf.raw_serial()))
    );
    assert_eq!(ca.orders()[0].status, OrderStatus::Valid);
    assert!(
        ca.authorizations()
            .iter()
            .all(|a| a.status == AuthorizationStatus::Valid)
    );
}

#[tokio::test]
async fn http_1_and_http_2_in_well_under_a_second() {
    let (ca, dns) = sandbox_with(|ca| ca.linger(Duration::from_secs(5))).await;
    for h1 in [true, false] {
        let mut client = Client::with(&ca, |b| if h1 { b.http1_only() } else { b }).await;
        client
            .register(json!({ "termsOfServiceAgreed": true }))
            .await
            .expect(201);
        let started = Instant::now();
        let name = format!("{h1}.example.com");
        client.issue(&dns, &[&name], &certificate_key()).await;
        // Milliseconds in practice; this only shows that nothing waits for a timer.
        assert!(
            started.elapsed() < Duration::from_secs(4),
            "{:?}",
            started.elapsed()
        );
    }
    // With `linger` every challenge was valid when its answer came.
    assert_eq!(ca.requests(Resource::Challenge), 2);
}

#[tokio::test]
async fn directory_and_nonces() {
    let (ca, _) = sandbox_with(|ca| {
        ca.profiles([("classic", "90 days", builder::DEFAULT_VALIDITY)])
            .terms_url(Some("https://terms.example"))
    })
    .await;
    let client = Client::new(&ca).await;
    let got = client.get(&ca.directory_url()).await.expect(200);
    assert_eq!(got.header("replay-nonce"), None);
    let meta = &got.json()["meta"];
    assert_eq!(meta["termsOfService"], "https://terms.example");
    assert_eq!(meta["externalAccountRequired"], false);
    assert_eq!(meta["profiles"]["classic"], "90 days");
    assert!(meta["caaIdentities"][0].is_string() && meta["website"].is_string());

    let url = client.url("newNonce");
    let head = client
        .send(Method::HEAD, &url, None)
        .await
        .unwrap()
        .expect(200);
    let get = client.get(&url).await.expect(204);
    assert_ne!(
        head.header("replay-nonce").unwrap(),
        get.header("replay-nonce").unwrap()
    );
    assert_eq!(get.header("cache-control"), Some("no-store"));
    assert_eq!(get.links("index"), [ca.directory_url()]);

    let log = ca.log();
    let paths: Vec<&str> = log.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "/directory",
            "/directory",
            "/acme/new-nonce",
            "/acme/new-nonce"
        ]
    );
    assert_eq!(log[2].method, "HEAD");
    assert_eq!(log[2].resource, Some(Resource::NewNonce));
    assert_eq!(log[3].status, Some(204));
}

#[tokio::test]
async fn keys_of_every_kind() {
    use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, RsaKeySize};

    let (ca, dns) = sandbox().await;
    let client = Client::registered(&ca).await;
    for key in [
        certificate_key(),
        KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(),
        KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap(),
    ] {
        let chain = client.issue(&dns, &["a.test"], &key).await;
        let leaf = ders(&chain).remove(0);
        let (_, leaf) = X509Certificate::from_der(&leaf).unwrap();
        assert_eq!(
            leaf.public_key().raw,
            rcgen::PublicKeyData::subject_public_key_info(&key)
        );
    }
}

#[tokio::test]
async fn orders_and_authorizations_are_reused() {
    let (ca, dns) = sandbox().await;
    let client = Client::registered(&ca).await;
    let first = client.order(&["a.test", "b.test"]).await.expect(201);
    let same = client
        .order(&["b.test", "A.test", "a.test"])
        .await
        .expect(201);
    assert_eq!(first.header("location"), same.header("location"));
    client.solve(&dns, &first.json()).await;
    let ready = client.order(&["a.test", "b.test"]).await.expect(201);
    assert_eq!(first.header("location"), ready.header("location"));
    assert_eq!(ready.json()["status"], "ready");
    client
        .finalize(&ready.json(), &["a.test", "b.test"], &certificate_key())
        .await
        .expect(200);
    let next = client.order(&["a.test", "b.test"]).await.expect(201);
    assert_ne!(first.header("location"), next.header("location"));
    assert_eq!(next.json()["status"], "ready", "authorizations are valid");
    let wildcard = client.order(&["*.a.test"]).await.expect(201);
    assert_eq!(
        wildcard.json()["status"],
        "pending",
        "a wildcard is another matter"
    );
    let other = Client::registered(&ca).await;
    assert_eq!(
        other.order(&["a.test", "b.test"]).await.expect(201).json()["status"],
        "pending"
    );
}

#[tokio::test]
async fn reuse_can_be_switched_off() {
    let (ca, dns) = sandbox_with(|ca| ca.order_reuse(false).authz_reuse(false)).await;
    let client = Client::registered(&ca).await;
    let first = client.order(&["a.test"]).await.expect(201);
    let second = client.order(&["a.test"]).await.expect(201);
    assert_ne!(first.header("location"), second.header("location"));
    client.solve(&dns, &first.json()).await;
    let third = client.order(&["a.test"]).await.expect(201).json();
    assert_eq!(third["status"], "pending");
    assert_eq!(ca.authorizations().len(), 3);
}

#[tokio::test]
async fn lists_come_shuffled() {
    let (ca, _) = sandbox().await;
    let client = Client::registered(&ca).await;
    let names: Vec<String> = (0..10).map(|i| format!("n{i}.test")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let order = client.order(&names).await.expect(201);
    let url = order.header("location").unwrap().to_owned();
    let first = order.json();
    // Ten names come in the same order once in 3 628 800 times.
    let mut identifiers = HashSet::from([first["identifiers"].to_string()]);
    let mut authorizations = HashSet::from([first["authorizations"].to_string()]);
    for _ in 0..3 {
        let again = client.fetch(&url).await.expect(200).json();
        identifiers.insert(again["identifiers"].to_string());
        authorizations.insert(again["authorizations"].to_string());
    }
    assert!(identifiers.len() > 1 && authorizations.len() > 1);
}

#[tokio::test]
async fn chains_and_alternates() {
    let (ca, dns) = sandbox_with(|ca| ca.chain(3, 2)).await;
    let client = Client::registered(&ca).await;
    client.issue(&dns, &["a.test"], &certificate_key()).await;
    let order = client.order(&["a.test"]).await.expect(201).json();
    let order = client
        .finalize(&order, &["a.test"], &certificate_key())
        .await
        .expect(200)
        .json();
    let default = client
        .fetch(order["certificate"].as_str().unwrap())
        .await
        .expect(200);
    let alternates = default.links("alternate");
    assert_eq!(alternates.len(), 2);
    let roots: Vec<String> = [vec![ca.issuance_root_pem()], ca.alternate_root_pems()].concat();
    let mut chains = vec![default.body];
    for url in &alternates {
        chains.push(client.fetch(url).await.expect(200).body);
    }
    for (chain, root) in chains.iter().zip(&roots) {
        let mut certificates = ders(chain);
        assert_eq!(certificates.len(), 4);
        certificates.push(ders(root).remove(0));
        for pair in certificates.windows(2) {
            let (_, subject) = X509Certificate::from_der(&pair[0]).unwrap();
            let (_, issuer) = X509Certificate::from_der(&pair[1]).unwrap();
            assert_eq!(subject.issuer(), issuer.subject());
            subject.verify_signature(Some(issuer.public_key())).unwrap();
        }
    }
    assert_eq!(
        ders(&chains[0])[..3],
        ders(&chains[1])[..3],
        "only the topmost differs"
    );
    client
        .fetch(&format!("{}/9", order["certificate"].as_str().unwrap()))
        .await
        .refused(404, ErrorKind::Malformed);
}

#[tokio::test]
async fn processing_for_some_polls() {
    let (ca, dns) =
        sandbox_with(|ca| ca.processing_polls(2).retry_after(RetryAfter::Seconds(7))).await;
    let client = Client::registered(&ca).await;
    let order = client.order(&["a.test"]).await.expect(201);
    let url = order.header("location").unwrap().to_owned();
    assert_eq!(order.header("retry-after"), Some("7"));
    client.solve(&dns, &order.json()).await;
    let answer = client
        .finalize(&order.json(), &["a.test"], &certificate_key())
        .await
        .expect(200);
    assert_eq!(answer.json()["status"], "processing");
    for status in ["processing", "processing", "valid"] {
        let order = client.fetch(&url).await.expect(200);
        assert_eq!(order.json()["status"], status);
        assert_eq!(
            order.header("retry-after").is_some(),
            status == "processing"
        );
    }
}

#[tokio::test]
async fn retry_after_as_a_date() {
    let clock: Timestamp = "2026-11-01T08:05:06Z".parse().unwrap();
    let (ca, _) =
        sandbox_with(|ca| ca.retry_after(RetryAfter::Date(10)).clock(move || clock)).await;
    let client = Client::registered(&ca).await;
    let order = client.order(&["a.test"]).await.expect(201);
    assert_eq!(
        order.header("retry-after"),
        Some("Sun, 01 Nov 2026 08:05:16 GMT")
    );
    let authorization = client
        .fetch(&strings(&order.json()["authorizations"])[0])
        .await;
    assert_eq!(
        authorization.header("retry-after"),
        Some("Sun, 01 Nov 2026 08:05:16 GMT")
    );
}

#[tokio::test]
async fn profiles_and_lifetimes() {
    let day = Duration::from_secs(24 * 3600);
    let (ca, dns) = sandbox_with(|ca| {
        ca.profiles([
            ("classic", "90 days", day * 90),
            ("short", "6 days", day * 6),
        ])
    })
    .await;
    let client = Client::registered(&ca).await;
    let order = client.order(&["a.test"]).await.expect(201).json();
    assert_eq!(order["profile"], "classic");
    let order = client
        .order_with(&["a.test"], json!({ "profile": "short" }))
        .await
        .expect(201)
        .json();
    assert_eq!(order["profile"], "short");
    client.solve(&dns, &order).await;
    client
        .finalize(&order, &["a.test"], &certificate_key())
        .await
        .expect(200);
    let issued = ca.issued().remove(0);
    assert_eq!(
        issued.not_after.duration_since(issued.not_before).as_secs(),
        6 * 24 * 3600 - 1
    );
    client
        .order_with(&["a.test"], json!({ "profile": "long" }))
        .await
        .refused(400, ErrorKind::InvalidProfile);

    let after =
        |days: i64| reply::rfc3339(Timestamp::now() + jiff::SignedDuration::from_hours(24 * days));
    let not_after = after(5);
    let order = client
        .order_with(&["a.test"], json!({ "notAfter": not_after }))
        .await
        .expect(201)
        .json();
    assert_eq!(order["notAfter"], not_after.as_str());
    client
        .finalize(&order, &["a.test"], &certificate_key())
        .await
        .expect(200);
    assert_eq!(reply::rfc3339(ca.issued()[1].not_after), not_after);
    for more in [
        json!({ "notAfter": after(91) }),
        json!({ "notAfter": after(-1) }),
        json!({ "notBefore": after(-2) }),
        json!({ "notBefore": after(3), "notAfter": after(2) }),
        json!({ "notAfter": "tomorrow" }),
    ] {
        client
            .order_with(&["a.test"], more)
            .await
            .refused(400, ErrorKind::Malformed);
    }
}

#[tokio::test]
async fn time_ends_orders_and_authorizations() {
    let seconds = Arc::new(std::sync::atomic::AtomicI64::new(1_800_000_000));
    let clock = Arc::clone(&seconds);
    let (ca, dns) = sandbox_with(|ca| {
        ca.clock(move || {
            Timestamp::from_second(clock.load(std::sync::atomic::Ordering::Relaxed)).unwrap()
        })
        .order_lifetime(Duration::from_secs(100))
        .authz_lifetime(Duration::from_secs(200))
    })
    .await;
    let client = Client::registered(&ca).await;
    let valid = client.order(&["valid.test"]).await.expect(201);
    client.solve(&dns, &valid.json()).await;
    client.order(&["pending.test"]).await.expect(201);
    seconds.fetch_add(101, std::sync::atomic::Ordering::Relaxed);
    let order = client
        .fetch(valid.header("location").unwrap())
        .await
        .expect(200)
        .json();
    assert_eq!(order["status"], "invalid");
    assert_eq!(order["error"]["detail"], "order has expired");
    client
        .finalize(&order, &["valid.test"], &certificate_key())
        .await
        .refused(403, ErrorKind::OrderNotReady);
    seconds.fetch_add(100, std::sync::atomic::Ordering::Relaxed);
    let statuses: Vec<AuthorizationStatus> = ca.authorizations().iter().map(|a| a.status).collect();
    assert_eq!(
        statuses,
        [AuthorizationStatus::Expired, AuthorizationStatus::Invalid]
    );
    assert_eq!(
        client.order(&["valid.test"]).await.expect(201).json()["status"],
        "pending"
    );
}

#[tokio::test]
async fn shutdown_frees_the_port() {
    let (ca, _) = sandbox().await;
    let client = Client::registered(&ca).await;
    let address = ca.address();
    ca.shutdown().await;
    assert!(client.send(Method::GET, &client.kid, None).await.is_err());
    let again = Ca::builder().listen(address).start().await.unwrap();
    assert_eq!(again.address(), address);
    let taken = Ca::builder().listen(address).start().await.unwrap_err();
    assert!(matches!(taken, StartError::Bind { .. }));
}
