//! Accounts: registration, binding, update, key change, deactivation, the list of orders.

use super::*;

#[tokio::test]
async fn registration() {
    let (ca, _) = sandbox().await;
    let mut client = Client::new(&ca).await;
    client
        .register(json!({ "onlyReturnExisting": true }))
        .await
        .refused(400, ErrorKind::AccountDoesNotExist);
    let refused = client.register(json!({})).await;
    assert_eq!(refused.links("terms-of-service").len(), 1);
    let problem = refused.refused(403, ErrorKind::UserActionRequired);
    let page = client
        .get(problem["instance"].as_str().unwrap())
        .await
        .expect(200);
    assert!(page.body.contains("sandbox"));
    let contact = json!(["mailto:ops@example.com"]);
    let created = client
        .register(json!({ "termsOfServiceAgreed": true, "contact": contact }))
        .await
        .expect(201);
    let url = created.header("location").unwrap().to_owned();
    assert_eq!(created.json()["status"], "valid");
    assert_eq!(created.json()["contact"], contact);
    // Nothing changes, and nothing has to be agreed to again.
    let found = client
        .register(json!({ "contact": ["mailto:other@example.com"] }))
        .await
        .expect(200);
    assert_eq!(found.header("location"), Some(url.as_str()));
    assert_eq!(found.json()["contact"], contact);
    client
        .register(json!({ "onlyReturnExisting": true }))
        .await
        .expect(200);
    assert_eq!(ca.accounts().len(), 1);
    assert_eq!(ca.accounts()[0].thumbprint, client.key.thumbprint());
}

#[tokio::test]
async fn contacts_are_checked() {
    let (ca, _) = sandbox().await;
    let mut client = Client::new(&ca).await;
    let with = |contact: &str| json!({ "termsOfServiceAgreed": true, "contact": [contact] });
    client
        .register(with("tel:+12025551212"))
        .await
        .refused(400, ErrorKind::UnsupportedContact);
    client
        .register(with("mailto:a@example.com,b@example.com"))
        .await
        .refused(400, ErrorKind::InvalidContact);
    client
        .register(json!({ "termsOfServiceAgreed": true, "contact": "mailto:a@example.com" }))
        .await
        .refused(400, ErrorKind::Malformed);
    assert!(ca.accounts().is_empty());
}

#[tokio::test]
async fn no_terms_no_agreement() {
    let (ca, _) = sandbox_with(|ca| ca.terms_url(None)).await;
    let mut client = Client::new(&ca).await;
    assert_eq!(client.directory["meta"].get("termsOfService"), None);
    // A binding that nobody asked for is ignored.
    let payload = json!({ "externalAccountBinding": { "protected": "?" } });
    let created = client.register(payload).await.expect(201).json();
    assert_eq!(created.get("externalAccountBinding"), None);
}

#[tokio::test]
async fn external_binding() {
    let mac_key = b"0123456789abcdef0123456789abcdef";
    let (ca, _) = sandbox_with(|ca| ca.eab("kid-1", mac_key).eab_required(true)).await;
    let mut client = Client::new(&ca).await;
    assert_eq!(client.directory["meta"]["externalAccountRequired"], true);
    let url = client.url("newAccount");
    let jwk = client.key.jwk();
    let other = Key::generate().jwk();
    let with =
        |binding: Value| json!({ "termsOfServiceAgreed": true, "externalAccountBinding": binding });

    client
        .register(json!({ "termsOfServiceAgreed": true }))
        .await
        .refused(403, ErrorKind::ExternalAccountRequired);
    for (bound, status, kind) in [
        (
            binding("kid-2", mac_key, "HS256", &url, &jwk),
            403,
            ErrorKind::Unauthorized,
        ),
        (
            binding("kid-1", b"wrong", "HS256", &url, &jwk),
            403,
            ErrorKind::Unauthorized,
        ),
        (
            binding("kid-1", mac_key, "HS256", "https://ca.test/", &jwk),
            400,
            ErrorKind::Malformed,
        ),
        (
            binding("kid-1", mac_key, "HS256", &url, &other),
            400,
            ErrorKind::Malformed,
        ),
        (
            binding("kid-1", mac_key, "ES256", &url, &jwk),
            400,
            ErrorKind::Malformed,
        ),
        (json!({}), 400, ErrorKind::Malformed),
    ] {
        client.register(with(bound)).await.refused(status, kind);
    }
    for alg in ["HS256", "HS384", "HS512"] {
        let mut client = Client::new(&ca).await;
        let bound = binding("kid-1", mac_key, alg, &url, &client.key.jwk());
        let created = client
            .register(with(bound.clone()))
            .await
            .expect(201)
            .json();
        assert_eq!(created["externalAccountBinding"], bound);
    }
    assert!(!format!("{:?}", Ca::builder().eab("kid", "secret-key")).contains("secret"));
}

#[tokio::test]
async fn update_and_deactivation() {
    let (ca, _) = sandbox().await;
    let client = Client::registered(&ca).await;
    let other = Client::registered(&ca).await;
    let url = client.kid.clone();
    client.fetch(&url).await.expect(200);
    let updated = client
        .post(&url, json!({ "contact": ["mailto:new@example.com"] }))
        .await
        .expect(200);
    assert_eq!(updated.json()["contact"][0], "mailto:new@example.com");
    client
        .post(&url, json!({ "contact": ["mailto:"] }))
        .await
        .refused(400, ErrorKind::InvalidContact);
    client
        .post(&url, json!({ "status": "revoked" }))
        .await
        .refused(400, ErrorKind::Malformed);
    other
        .fetch(&url)
        .await
        .refused(403, ErrorKind::Unauthorized);

    let gone = client
        .post(&url, json!({ "status": "deactivated" }))
        .await
        .expect(200);
    assert_eq!(gone.json()["status"], "deactivated");
    client
        .order(&["a.test"])
        .await
        .refused(401, ErrorKind::Unauthorized);
    client
        .post_by_key(
            &client.url("newAccount"),
            &client.key,
            json!({ "onlyReturnExisting": true }),
        )
        .await
        .refused(401, ErrorKind::Unauthorized);
    assert_eq!(ca.accounts()[0].status, AccountStatus::Deactivated);
    other.fetch(&other.kid).await.expect(200);
}

/// The payload of a key change, signed inside by the new key.
fn key_change(client: &Client, new: &Key, account: &str, old: &Value) -> Value {
    let protected = json!({ "alg": "ES256", "url": client.url("keyChange"), "jwk": new.jwk() });
    new.sign(
        &protected,
        &json!({ "account": account, "oldKey": old }).to_string(),
    )
}

#[tokio::test]
async fn key_changes() {
    let (ca, _) = sandbox().await;
    let mut client = Client::registered(&ca).await;
    let other = Client::registered(&ca).await;
    let url = client.url("keyChange");
    let old = client.key.jwk();
    let new = Key::generate();

    for (account, named) in [
        (other.kid.as_str(), &old),
        (client.kid.as_str(), &other.key.jwk()),
    ] {
        let payload = key_change(&client, &new, account, named);
        client
            .post(&url, payload)
            .await
            .refused(400, ErrorKind::Malformed);
    }
    let with_nonce =
        json!({ "alg": "ES256", "url": url, "jwk": new.jwk(), "nonce": client.nonce().await });
    let payload = json!({ "account": client.kid, "oldKey": old }).to_string();
    client
        .post(&url, new.sign(&with_nonce, &payload))
        .await
        .refused(400, ErrorKind::Malformed);
    let mut forged = key_change(&client, &new, &client.kid, &old);
    forged["signature"] =
        key_change(&client, &Key::generate(), &client.kid, &old)["signature"].clone();
    client
        .post(&url, forged)
        .await
        .refused(400, ErrorKind::Malformed);

    let taken = key_change(&client, &other.key, &client.kid, &old);
    let conflict = client.post(&url, taken).await;
    assert_eq!(conflict.header("location"), Some(other.kid.as_str()));
    conflict.refused(409, ErrorKind::Malformed);

    let payload = key_change(&client, &new, &client.kid, &old);
    client.post(&url, payload).await.expect(200);
    client
        .fetch(&client.kid)
        .await
        .refused(400, ErrorKind::Malformed);
    client.key = new;
    client.fetch(&client.kid).await.expect(200);
    let found = client
        .register(json!({ "onlyReturnExisting": true }))
        .await
        .expect(200);
    assert_eq!(found.header("location"), Some(client.kid.as_str()));
}

#[tokio::test]
async fn the_list_of_orders_has_pages() {
    let (ca, _) = sandbox().await;
    let client = Client::registered(&ca).await;
    let mut made = Vec::new();
    for i in 0..12 {
        let order = client.order(&[&format!("n{i}.test")]).await.expect(201);
        made.push(order.header("location").unwrap().to_owned());
    }
    // What is invalid does not stand there.
    let gone = client.fetch(&made.remove(0)).await.expect(200).json();
    let authorization = &strings(&gone["authorizations"])[0];
    client
        .post(authorization, json!({ "status": "deactivated" }))
        .await
        .expect(200);

    let account = client.fetch(&client.kid).await.expect(200).json();
    let first = client
        .fetch(account["orders"].as_str().unwrap())
        .await
        .expect(200);
    let next = first.links("next").remove(0);
    let second = client.fetch(&next).await.expect(200);
    assert!(second.links("next").is_empty());
    let listed = [
        strings(&first.json()["orders"]),
        strings(&second.json()["orders"]),
    ]
    .concat();
    assert_eq!(listed, made);
    let other = Client::registered(&ca).await;
    other
        .fetch(account["orders"].as_str().unwrap())
        .await
        .refused(403, ErrorKind::Unauthorized);
}
