//! The `instant-acme` crate, on our transport and our nonces: new orders and finalization. Nothing else names it.
//!
//! It signs and knows the shapes of the requests. What it cannot do is done around it: its `GET` of the directory is
//! answered from what we read already, its `HEAD newNonce` from the pool, so that each nonce is used once by one
//! side; errors are judged with their headers, which it drops; and the answer is read by us, because it refuses a
//! status it does not know and forgets when an order expires. It cannot finalize an order that it has not just fetched,
//! so that one fetch is answered from the order at hand: our own JWS path would save this detour, and costs nothing here.
//! Everything else (authorizations and challenges at once, polling, download with alternates) is in
//! [`account`](super::account), because the crate does them one after the other.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use bytes::Bytes;
use http::Method;
use http::Request;
use http::Response;
use http_body_util::BodyExt;
use instant_acme::BodyWrapper;
use instant_acme::BytesResponse;
use instant_acme::CertificateIdentifier;
use instant_acme::HttpClient;
use serde_json::json;

use super::account::Account;
use super::answer::Answer;
use super::client::Client;
use super::client::Target;
use super::error::AcmeError;
use super::nonce::Nonce;
use super::order::NewOrder;
use super::order::Order;
use crate::dns::Identifier;

/// Asks for an order; the answer is the CA's own.
pub(super) async fn new_order(
    account: &Account,
    order: &NewOrder<'_>,
) -> Result<Answer, AcmeError> {
    through_bad_nonces(account, Step::NewOrder(order)).await
}

/// Sends the CSR of an order; the answer is the CA's own.
pub(super) async fn finalize(
    account: &Account,
    order: &Order,
    csr_der: &[u8],
) -> Result<Answer, AcmeError> {
    through_bad_nonces(account, Step::Finalize(order, csr_der)).await
}

/// Runs one step of the crate until something else than badNonce comes.
async fn through_bad_nonces(account: &Account, step: Step<'_>) -> Result<Answer, AcmeError> {
    let mut held = None;
    let mut round = 0;
    loop {
        round += 1;
        let bridge = Bridge::new(account.client(), step, held.take());
        let outcome = step.run(account, bridge.clone()).await;

        let mut state = bridge.lock();
        match (state.last.take(), outcome) {
            (Some(Ok(answer)), _) if answer.is_bad_nonce() && round < ROUNDS => {
                held = state.nonce.take();
            }
            (Some(Ok(answer)), _) => return answer.into_result(),
            (Some(Err(error)), _) => return Err(error),
            (None, outcome) => {
                let detail = outcome.err().map_or_else(String::new, |e| e.to_string());
                return Err(AcmeError::Local(detail));
            }
        }
    }
}

/// What one run of the crate is for.
#[derive(Clone, Copy)]
enum Step<'a> {
    Finalize(&'a Order, &'a [u8]),
    NewOrder(&'a NewOrder<'a>),
}

impl Step<'_> {
    async fn run(self, account: &Account, bridge: Bridge) -> Result<(), instant_acme::Error> {
        let theirs = instant_acme::Account::builder_with_http(Box::new(bridge))
            .from_parts(
                account.url().to_owned(),
                account.key().pkcs8_der(),
                account.client().directory().url.clone(),
            )
            .await?;
        match self {
            Self::Finalize(order, csr_der) => {
                let mut order = theirs.order(order.url.clone()).await?;
                order.finalize_csr(csr_der).await
            }
            Self::NewOrder(order) => {
                let names = order.identifiers.iter().map(Identifier::to_string);
                let names: Vec<_> = names.map(instant_acme::Identifier::Dns).collect();
                let mut new = instant_acme::NewOrder::new(&names);
                if let Some(profile) = order.profile {
                    new = new.profile(profile);
                }
                // The two halves of RFC 9773 section 4.1.
                if let Some((aki, serial)) = order.replaces.and_then(|id| id.split_once('.')) {
                    new = new.replaces(CertificateIdentifier {
                        authority_key_identifier: aki.into(),
                        serial: serial.into(),
                    });
                }
                theirs.new_order(&new).await.map(drop)
            }
        }
    }

    /// An order that answers the crate's first POST, which asks for just that.
    fn at_hand(self) -> Option<Bytes> {
        match self {
            Self::Finalize(order, _) => {
                let order = json!({
                    "status": "ready",
                    "authorizations": order.authorizations,
                    "finalize": order.finalize,
                });
                Some(Bytes::from(order.to_string()))
            }
            Self::NewOrder(_) => None,
        }
    }

    fn resource(self) -> &'static str {
        match self {
            Self::Finalize(..) => "finalize",
            Self::NewOrder(_) => "newOrder",
        }
    }

    /// Where the one request goes that is really sent.
    fn url(self, client: &Client) -> String {
        match self {
            Self::Finalize(order, _) => order.finalize.clone(),
            Self::NewOrder(_) => client.directory().new_order.clone(),
        }
    }
}

/// The crate's HTTP client.
#[derive(Clone)]
struct Bridge {
    client: Client,
    resource: &'static str,
    state: Arc<Mutex<State>>,
    url: String,
}

struct State {
    at_hand: Option<Bytes>,
    /// What the CA answered last.
    last: Option<Result<Answer, AcmeError>>,
    /// Handed to the crate and not answered yet, or out of badNonce and for nobody else.
    nonce: Option<Nonce>,
}

impl Bridge {
    fn new(client: &Client, step: Step<'_>, nonce: Option<Nonce>) -> Self {
        Self {
            client: client.clone(),
            resource: step.resource(),
            state: Arc::new(Mutex::new(State {
                at_hand: step.at_hand(),
                last: None,
                nonce,
            })),
            url: step.url(client),
        }
    }

    async fn serve(
        self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Result<Response<http_body_util::Full<Bytes>>, AcmeError> {
        let (parts, body) = request.into_parts();
        match parts.method {
            Method::HEAD => {
                let nonce = self.nonce().await?;
                Ok(plain(Bytes::new(), Some(&nonce)))
            }
            Method::POST => {
                if let Some(order) = self.lock().at_hand.take() {
                    return Ok(plain(order, None));
                }
                let body = match body.collect().await {
                    Ok(body) => body.to_bytes(),
                    Err(never) => match never {},
                };
                self.post(body).await
            }
            _ => Ok(plain(self.directory(), None)),
        }
    }

    async fn post(&self, body: Bytes) -> Result<Response<http_body_util::Full<Bytes>>, AcmeError> {
        let target = Target::new(self.resource, &self.url);
        let result = self.client.send_signed(target, body).await;
        let mut state = self.lock();
        state.last = Some(result.clone());
        let spent = state.nonce.take();
        let answer = result?;
        match answer.is_bad_nonce() {
            // For the very next try, as RFC 8555 section 6.5 wants it.
            true => state.nonce = answer.nonce().map(|fresh| self.client.adopt_nonce(fresh)),
            false => self.client.keep_nonce(&answer),
        }
        drop(spent);

        let mut response = Response::new(http_body_util::Full::new(answer.body.clone()));
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers.clone();
        // It is ours now, and one nonce has one owner.
        response.headers_mut().remove(REPLAY_NONCE);
        Ok(response)
    }

    async fn nonce(&self) -> Result<String, AcmeError> {
        {
            let state = self.lock();
            if state.at_hand.is_some() {
                // The request that it will sign is never sent.
                return Ok("unused".to_owned());
            }
            if let Some(nonce) = &state.nonce {
                return Ok(nonce.as_str().to_owned());
            }
        }
        let nonce = self.client.nonce().await?;
        let value = nonce.as_str().to_owned();
        self.lock().nonce = Some(nonce);
        Ok(value)
    }

    /// The directory as the crate wants it; the CA's own may hold members that it cannot read.
    fn directory(&self) -> Bytes {
        let directory = self.client.directory();
        let minimal = json!({
            "newNonce": directory.new_nonce,
            "newAccount": directory.new_account,
            "newOrder": directory.new_order,
            "renewalInfo": directory.renewal_info,
        });
        Bytes::from(minimal.to_string())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpClient for Bridge {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let bridge = self.clone();
        Box::pin(async move {
            match bridge.clone().serve(request).await {
                Ok(response) => Ok(BytesResponse::from(response)),
                Err(error) => {
                    bridge.lock().last = Some(Err(error.clone()));
                    Err(instant_acme::Error::Other(Box::new(error)))
                }
            }
        })
    }
}

fn plain(body: Bytes, nonce: Option<&str>) -> Response<http_body_util::Full<Bytes>> {
    let mut response = Response::new(http_body_util::Full::new(body));
    if let Some(value) = nonce.and_then(|n| n.parse().ok()) {
        response.headers_mut().insert(REPLAY_NONCE, value);
    }
    response
}

/// The crate tries three times by itself; six rounds make eighteen.
const ROUNDS: u32 = 6;
const REPLAY_NONCE: &str = "replay-nonce";
