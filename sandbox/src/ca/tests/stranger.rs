//! Somebody else's client against the CA, so that the two sides of the other tests cannot be wrong together.

use std::pin::Pin;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use instant_acme::{
    Account, AuthorizationStatus as Status, BodyWrapper, BytesResponse, CertificateIdentifier,
    ChallengeType, Error, ExternalAccountKey, HttpClient, Identifier, NewAccount, NewOrder,
    OrderStatus as Order, RetryPolicy, RevocationRequest,
};
use rustls_pki_types::CertificateDer;

use super::*;

struct Http(reqwest::Client);

impl HttpClient for Http {
    fn request(
        &self,
        request: http::Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.0.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let request = http::Request::from_parts(parts, body);
            let sent = async {
                let response = client.execute(request.try_into()?).await?;
                let mut answer = http::Response::builder().status(response.status());
                *answer.headers_mut().unwrap() = response.headers().clone();
                Ok::<_, reqwest::Error>(answer.body(Full::new(response.bytes().await?)).unwrap())
            };
            sent.await
                .map(BytesResponse::from)
                .map_err(|err| Error::Other(err.into()))
        })
    }
}

#[tokio::test]
async fn instant_acme() {
    let mac_key = b"0123456789abcdef0123456789abcdef";
    let (ca, dns) = sandbox_with(|ca| {
        ca.eab("kid-1", mac_key)
            .eab_required(true)
            .linger(Duration::from_secs(5))
            .profiles([("classic", "90 days", builder::DEFAULT_VALIDITY)])
    })
    .await;
    let http = Box::new(Http(Client::new(&ca).await.http));
    let new_account = NewAccount {
        contact: &["mailto:ops@example.com"],
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let (mut account, _) = Account::builder_with_http(http)
        .create(
            &new_account,
            ca.directory_url(),
            Some(&ExternalAccountKey::new("kid-1".to_owned(), mac_key)),
        )
        .await
        .unwrap();
    assert_eq!(account.profiles().count(), 1);

    // From here on one nonce in four is refused.
    ca.faults().reject_every_nonce(4);
    let names = ["example.com", "*.example.com"];
    let identifiers = names.map(|name| Identifier::Dns(name.to_owned()));
    let mut order = account
        .new_order(&NewOrder::new(&identifiers).profile("classic"))
        .await
        .unwrap();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.unwrap();
        assert_eq!(authorization.status, Status::Pending);
        let mut challenge = authorization.challenge(ChallengeType::Dns01).unwrap();
        let value = challenge.key_authorization().dns_value();
        dns.add("_acme-challenge.example.com", Rr::Txt(vec![value]));
        challenge.set_ready().await.unwrap();
    }
    let retries = RetryPolicy::default();
    assert_eq!(order.poll_ready(&retries).await.unwrap(), Order::Ready);
    let key = certificate_key();
    order.finalize_csr(&csr(&names, &key)).await.unwrap();
    let chain = order.poll_certificate(&retries).await.unwrap();

    let leaf = CertificateDer::from(ders(&chain).remove(0));
    let id = json!(ca.issued()[0].cert_id).to_string();
    let id: CertificateIdentifier<'_> = serde_json::from_str(&id).unwrap();
    let order = account
        .new_order(&NewOrder::new(&identifiers).replaces(id))
        .await
        .unwrap();
    drop(order);
    assert!(ca.issued()[0].replaced_by.is_some());

    drop(account.update_key().await.unwrap());
    let request = RevocationRequest {
        certificate: &leaf,
        reason: None,
    };
    account.revoke(&request).await.unwrap();
    assert!(ca.issued()[0].revoked.is_some());
    account.deactivate().await.unwrap();
    assert_eq!(ca.accounts()[0].status, AccountStatus::Deactivated);
}
