//! What the CA refuses: broken requests, bad orders, bad requests for certificates, and what belongs to others.

use super::*;

/// Sends a JWS with a changed protected header to newOrder.
async fn with_header(client: &Client, change: impl FnOnce(&mut Value)) -> Got {
    let url = client.url("newOrder");
    let mut header = client.header(&url).await;
    change(&mut header);
    let body = client.key.sign(
        &header,
        &json!({ "identifiers": [{ "type": "dns", "value": "a.test" }] }).to_string(),
    );
    client.raw(&url, &body).await
}

#[tokio::test]
async fn transport() {
    let (ca, _) = sandbox().await;
    let client = Client::registered(&ca).await;
    let url = client.url("newOrder");

    let root = reqwest::Certificate::from_pem(ca.tls_root_pem().as_bytes()).unwrap();
    let silent = reqwest::Client::builder()
        .tls_certs_only([root])
        .no_proxy()
        .build()
        .unwrap();
    let response = silent.get(ca.directory_url()).send().await.unwrap();
    assert_eq!(response.status(), 400);
    assert!(response.text().await.unwrap().contains("User-Agent"));

    for content_type in ["application/json", "application/jose+json; charset=utf-8"] {
        let response = client
            .http
            .post(&url)
            .header("content-type", content_type)
            .body("{}")
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 415, "{content_type}");
        assert!(response.headers().contains_key("replay-nonce"));
    }
    client.get(&url).await.refused(405, ErrorKind::Malformed);
    client
        .send(Method::PUT, &url, None)
        .await
        .unwrap()
        .refused(405, ErrorKind::Malformed);
    client
        .get(&format!("{}/nowhere", ca.directory_url()))
        .await
        .refused(404, ErrorKind::Malformed);
    let huge = "x".repeat(300_000);
    client
        .send(Method::POST, &url, Some(huge))
        .await
        .unwrap()
        .refused(413, ErrorKind::Malformed);
    // POST-as-GET works for what GET works for.
    client.fetch(&ca.directory_url()).await.expect(200);
}

#[tokio::test]
async fn signatures() {
    let (ca, _) = sandbox().await;
    let client = Client::registered(&ca).await;
    let jwk = client.key.jwk();
    let malformed = (400, ErrorKind::Malformed);
    type Change = Box<dyn FnOnce(&mut Value)>;
    let cases: Vec<(Change, (u16, ErrorKind))> = vec![
        (
            Box::new(|h| h["url"] = "https://elsewhere.test/".into()),
            malformed,
        ),
        (
            Box::new(|h| drop(h.as_object_mut().unwrap().remove("url"))),
            malformed,
        ),
        (Box::new(move |h| h["jwk"] = jwk), malformed),
        (
            Box::new(|h| drop(h.as_object_mut().unwrap().remove("kid"))),
            malformed,
        ),
        (Box::new(|h| h["crit"] = json!(["b64"])), malformed),
        (Box::new(|h| h["b64"] = false.into()), malformed),
        (
            Box::new(|h| h["alg"] = "HS256".into()),
            (400, ErrorKind::BadSignatureAlgorithm),
        ),
        (
            Box::new(|h| h["alg"] = "none".into()),
            (400, ErrorKind::BadSignatureAlgorithm),
        ),
        (
            Box::new(|h| h["alg"] = "RS256".into()),
            (400, ErrorKind::BadSignatureAlgorithm),
        ),
        (
            Box::new(|h| h["kid"] = "https://elsewhere.test/1".into()),
            (400, ErrorKind::AccountDoesNotExist),
        ),
        (
            Box::new(|h| h["kid"] = format!("{}0", h["kid"].as_str().unwrap()).into()),
            (400, ErrorKind::AccountDoesNotExist),
        ),
    ];
    for (change, (status, kind)) in cases {
        let got = with_header(&client, change).await;
        assert!(got.header("replay-nonce").is_some(), "{got:?}");
        let problem = got.refused(status, kind);
        if kind == ErrorKind::BadSignatureAlgorithm {
            assert_eq!(problem["algorithms"], json!(["ES256", "ES384", "RS256"]));
        }
    }
    with_header(&client, |_| {}).await.expect(201);

    let url = client.url("newOrder");
    let good = client.key.sign(&client.header(&url).await, "{}");
    let mut forged = good.clone();
    forged["payload"] = b64(r#"{"identifiers":[]}"#).into();
    client
        .raw(&url, &forged)
        .await
        .refused(400, ErrorKind::Malformed);
    let mut padded = good.clone();
    padded["signature"] = format!("{}==", good["signature"].as_str().unwrap()).into();
    client
        .raw(&url, &padded)
        .await
        .refused(400, ErrorKind::Malformed);
    let mut unprotected = good.clone();
    unprotected["header"] = json!({});
    client
        .raw(&url, &unprotected)
        .await
        .refused(400, ErrorKind::Malformed);

    client
        .post_by_key(&url, &client.key, "{}")
        .await
        .refused(400, ErrorKind::Malformed);
    client
        .post(&client.url("newAccount"), "{}")
        .await
        .refused(400, ErrorKind::Malformed);
    for payload in ["", "[]", "{", "{}"] {
        client
            .post(&url, payload)
            .await
            .refused(400, ErrorKind::Malformed);
    }
    client
        .post(&client.url("newNonce"), "{}")
        .await
        .refused(400, ErrorKind::Malformed);
}

#[tokio::test]
async fn nonces() {
    let (ca, _) = sandbox().await;
    let client = Client::registered(&ca).await;
    let nonce = client.nonce().await;
    with_header(&client, |h| h["nonce"] = nonce.clone().into())
        .await
        .expect(201);
    let replayed = with_header(&client, |h| h["nonce"] = nonce.into()).await;
    let fresh = replayed.header("replay-nonce").unwrap().to_owned();
    replayed.refused(400, ErrorKind::BadNonce);
    with_header(&client, |h| h["nonce"] = fresh.into())
        .await
        .expect(201);
    with_header(&client, |h| h["nonce"] = "bm90LW91cnM".into())
        .await
        .refused(400, ErrorKind::BadNonce);
    with_header(&client, |h| {
        drop(h.as_object_mut().unwrap().remove("nonce"))
    })
    .await
    .refused(400, ErrorKind::BadNonce);
    assert_eq!(ca.log().last().unwrap().error, Some(ErrorKind::BadNonce));
}

/// Keys of the other two kinds are good for accounts, too.
#[tokio::test]
async fn es384_and_rs256() {
    use aws_lc_rs::{
        encoding::AsDer,
        rsa::{self, KeySize},
        signature::{ECDSA_P384_SHA384_FIXED_SIGNING, RSA_PKCS1_SHA256},
    };
    use x509_parser::{prelude::FromDer, public_key::PublicKey, x509::SubjectPublicKeyInfo};

    let (ca, _) = sandbox().await;
    let client = Client::new(&ca).await;
    let url = client.url("newAccount");
    let payload = b64(json!({ "termsOfServiceAgreed": true }).to_string());

    let ec = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let point = ec.public_key().as_ref();
    let jwk =
        json!({ "kty": "EC", "crv": "P-384", "x": b64(&point[1..49]), "y": b64(&point[49..]) });
    let header = json!({ "alg": "ES384", "nonce": client.nonce().await, "url": url, "jwk": jwk });
    let protected = b64(header.to_string());
    let signature = ec
        .sign(
            &SystemRandom::new(),
            format!("{protected}.{payload}").as_bytes(),
        )
        .unwrap();
    let body = json!({ "protected": protected, "payload": payload, "signature": b64(signature) });
    client.raw(&url, &body).await.expect(201);

    let pair = rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
    let spki: Vec<u8> = pair.public_key().as_der().unwrap().as_ref().to_vec();
    let (_, spki) = SubjectPublicKeyInfo::from_der(&spki).unwrap();
    let Ok(PublicKey::RSA(numbers)) = spki.parsed() else {
        panic!("not an RSA key");
    };
    let n = numbers
        .modulus
        .strip_prefix(&[0])
        .unwrap_or(numbers.modulus);
    let jwk = json!({ "kty": "RSA", "n": b64(n), "e": b64(numbers.exponent) });
    let header = json!({ "alg": "RS256", "nonce": client.nonce().await, "url": url, "jwk": jwk });
    let protected = b64(header.to_string());
    let mut signature = vec![0; pair.public_modulus_len()];
    let message = format!("{protected}.{payload}");
    pair.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        message.as_bytes(),
        &mut signature,
    )
    .unwrap();
    let body = json!({ "protected": protected, "payload": payload, "signature": b64(signature) });
    client.raw(&url, &body).await.expect(201);
    assert_eq!(ca.accounts().len(), 2);
}

#[tokio::test]
async fn names() {
    let (ca, _) = sandbox_with(|ca| ca.blocked_domains(["blocked.test"])).await;
    let client = Client::registered(&ca).await;
    client
        .order(&["localhost"])
        .await
        .refused(400, ErrorKind::RejectedIdentifier);
    client
        .order(&["a_b.test"])
        .await
        .refused(400, ErrorKind::Malformed);
    let one = client
        .order(&["www.blocked.test", "good.test"])
        .await
        .refused(400, ErrorKind::RejectedIdentifier);
    assert_eq!(one.get("subproblems"), None);
    assert!(one["detail"].as_str().unwrap().contains("www.blocked.test"));
    let two = client
        .order(&["www.blocked.test", "good.test", "*.blocked.test", "a..test"])
        .await
        .refused(400, ErrorKind::Compound);
    let named: Vec<&Value> = two["subproblems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sub| &sub["identifier"]["value"])
        .collect();
    assert_eq!(named, ["www.blocked.test", "*.blocked.test", "a..test"]);
    let ip = json!({ "identifiers": [{ "type": "ip", "value": "192.0.2.1" }] });
    client
        .post(&client.url("newOrder"), ip)
        .await
        .refused(400, ErrorKind::UnsupportedIdentifier);
    client
        .order_with(&["a.test"], json!({ "profile": "any" }))
        .await
        .refused(400, ErrorKind::InvalidProfile);
    assert!(ca.orders().is_empty() && ca.authorizations().is_empty());
}

#[tokio::test]
async fn challenges_and_authorizations() {
    let (ca, dns) = sandbox().await;
    let client = Client::registered(&ca).await;
    let order = client.order(&["a.test"]).await.expect(201).json();
    let url = strings(&order["authorizations"]).remove(0);
    let authorization = client.fetch(&url).await.expect(200).json();
    let (_, challenge) = client.challenge(&authorization);
    for payload in ["{ }", "[]", r#"{"keyAuthorization":"x"}"#] {
        client
            .post(&challenge, payload)
            .await
            .refused(400, ErrorKind::Malformed);
    }
    assert_eq!(
        client.fetch(&challenge).await.expect(200).json()["status"],
        "pending"
    );
    let unknown = &authorization["challenges"][0];
    client
        .post(unknown["url"].as_str().unwrap(), "{}")
        .await
        .refused(400, ErrorKind::Malformed);
    client
        .fetch(&format!("{challenge}9"))
        .await
        .refused(404, ErrorKind::Malformed);
    assert_eq!(dns.queries(), (0, 0));

    client
        .post(&url, "{}")
        .await
        .refused(400, ErrorKind::Malformed);
    client
        .post(&url, json!({ "status": "valid" }))
        .await
        .refused(400, ErrorKind::Malformed);
    let gone = client
        .post(&url, json!({ "status": "deactivated" }))
        .await
        .expect(200)
        .json();
    assert_eq!(gone["status"], "deactivated");
    client
        .post(&challenge, "{}")
        .await
        .refused(400, ErrorKind::Malformed);
    assert_eq!(ca.orders()[0].status, OrderStatus::Invalid);
    assert_eq!(
        ca.authorizations()[0].status,
        AuthorizationStatus::Deactivated
    );
}

#[tokio::test]
async fn requests_for_certificates() {
    let (ca, dns) = sandbox().await;
    let client = Client::registered(&ca).await;
    let names = ["*.a.test", "a.test"];
    let order = client.order(&names).await.expect(201).json();
    let key = certificate_key();
    client
        .finalize(&order, &names, &key)
        .await
        .refused(403, ErrorKind::OrderNotReady);
    client.solve(&dns, &order).await;
    let url = order["finalize"].as_str().unwrap();

    for wrong in [
        &["a.test"][..],
        &["*.a.test", "a.test", "b.test"],
        &["*.a.test", "b.test"],
        &[],
    ] {
        client
            .finalize(&order, wrong, &key)
            .await
            .refused(400, ErrorKind::BadCsr);
    }
    let account = rcgen::KeyPair::try_from(client.key.0.to_pkcs8v1().unwrap().as_ref()).unwrap();
    let problem = client
        .finalize(&order, &names, &account)
        .await
        .refused(400, ErrorKind::BadCsr);
    assert!(problem["detail"].as_str().unwrap().contains("account key"));
    let other = Client::registered(&ca).await;
    let others = rcgen::KeyPair::try_from(other.key.0.to_pkcs8v1().unwrap().as_ref()).unwrap();
    client
        .finalize(&order, &names, &others)
        .await
        .refused(400, ErrorKind::BadCsr);

    let mut broken = csr(&names, &key);
    *broken.last_mut().unwrap() ^= 1;
    client
        .post(url, json!({ "csr": b64(&broken) }))
        .await
        .refused(400, ErrorKind::BadCsr);
    let mut long = csr(&names, &key);
    long.push(0);
    client
        .post(url, json!({ "csr": b64(&long) }))
        .await
        .refused(400, ErrorKind::BadCsr);
    client
        .post(url, json!({ "csr": b64(b"nonsense") }))
        .await
        .refused(400, ErrorKind::BadCsr);
    let padded = json!({ "csr": "AA==" });
    client
        .post(url, padded)
        .await
        .refused(400, ErrorKind::Malformed);
    let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    client
        .finalize(&order, &names, &ed25519)
        .await
        .refused(400, ErrorKind::BadCsr);
    let mut params = rcgen::CertificateParams::new(names.map(str::to_owned)).unwrap();
    params
        .subject_alt_names
        .push(rcgen::SanType::IpAddress("192.0.2.1".parse().unwrap()));
    let ip = params.serialize_request(&key).unwrap();
    client
        .post(url, json!({ "csr": b64(ip.der()) }))
        .await
        .refused(400, ErrorKind::BadCsr);

    // All of this left the order ready; a common name from among the names does no harm.
    let mut params = rcgen::CertificateParams::new(names.map(str::to_owned)).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "a.test");
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let named = params.serialize_request(&p384).unwrap();
    client
        .post(url, json!({ "csr": b64(named.der()) }))
        .await
        .expect(200);
    client
        .finalize(&order, &names, &key)
        .await
        .refused(403, ErrorKind::OrderNotReady);
    assert_eq!(ca.issued().len(), 1);
}

#[tokio::test]
async fn what_belongs_to_others_and_what_is_not_there() {
    let (ca, dns) = sandbox().await;
    let client = Client::registered(&ca).await;
    client.issue(&dns, &["a.test"], &certificate_key()).await;
    let other = Client::registered(&ca).await;
    let order = ca.orders()[0].url.clone();
    let authorization = ca.authorizations()[0].url.clone();
    let challenge = authorization.replace("/authz/", "/challenge/") + "/0";
    let finished = client.fetch(&order).await.expect(200).json();
    for url in [
        order.as_str(),
        &authorization,
        &challenge,
        finished["certificate"].as_str().unwrap(),
    ] {
        client.fetch(url).await.expect(200);
        other.fetch(url).await.refused(403, ErrorKind::Unauthorized);
        client
            .post(url, "[]")
            .await
            .refused(400, ErrorKind::Malformed);
        let (head, _) = url.rsplit_once("/acme/").unwrap();
        let kind = url[head.len() + 6..].split('/').next().unwrap();
        let missing = format!(
            "{head}/acme/{kind}/999{}",
            if kind == "challenge" { "/0" } else { "" }
        );
        client
            .fetch(&missing)
            .await
            .refused(404, ErrorKind::Malformed);
    }
    let finalize = finished["finalize"].as_str().unwrap();
    other
        .post(
            finalize,
            json!({ "csr": b64(csr(&["a.test"], &certificate_key())) }),
        )
        .await
        .refused(403, ErrorKind::Unauthorized);
    let missing = format!("{order}9/finalize");
    other
        .post(&missing, json!({ "csr": "AA" }))
        .await
        .refused(404, ErrorKind::Malformed);
}
