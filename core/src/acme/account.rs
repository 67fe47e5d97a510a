//! What an account does: orders, authorizations, challenges, certificates (RFC 8555 section 7.4 and 7.5).
//!
//! What concerns many names is asked for concurrently, [`CONCURRENT`] requests at most. Nothing here decides what to do
//! next, and nothing writes to DNS; the engine does both.

use std::time::Duration;

use futures::StreamExt;
use futures::TryStreamExt;
use futures::stream;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::answer::Answer;
use super::authorization::Authorization;
use super::authorization::Challenge;
use super::authorization::ChallengeStatus;
use super::authorization::Failure;
use super::authorization::RawAuthorization;
use super::authorization::RawChallenge;
use super::client::Client;
use super::client::Target;
use super::error::AcmeError;
use super::instant;
use super::jws::AccountKey;
use super::jws::Payload;
use super::jws::Signer;
use super::jws::base64url;
use super::order::NewOrder;
use super::order::Order;
use super::order::OrderStatus;
use super::order::RawOrder;
use super::order_error::OrderError;
use super::retry::Retries;
use super::retry::heed;
use crate::dns::TxtValue;
use crate::event::Events;

/// An account at one CA; cheap to clone.
#[derive(Clone, Debug)]
pub struct Account {
    cancel: CancellationToken,
    client: Client,
    key: AccountKey,
    url: String,
}

impl Account {
    pub(super) fn new(client: Client, key: AccountKey, url: String) -> Self {
        Self {
            cancel: CancellationToken::new(),
            client,
            key,
            url,
        }
    }

    /// Its URL, which is also its id, octet by octet.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its key.
    pub fn key(&self) -> &AccountKey {
        &self.key
    }

    /// The CA it is at.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The same account, with its requests told to another stream.
    pub fn with_events(&self, events: Events) -> Self {
        Self {
            client: self.client.with_events(events),
            ..self.clone()
        }
    }

    /// The same account, whose requests all end when the token is cancelled.
    pub fn with_cancel(&self, cancel: &CancellationToken) -> Self {
        Self {
            cancel: cancel.clone(),
            ..self.clone()
        }
    }

    /// Asks for an order. A CA may answer with one that it has already: look at its status first.
    ///
    /// Where the CA refuses what `replaces` says, the order is asked for once more without it (RFC 9773 section 5).
    pub async fn new_order(&self, order: &NewOrder<'_>) -> Result<Order, OrderError> {
        let directory = self.client.directory();
        if let Some(profile) = order.profile {
            self.client.check_profile(profile)?;
        }

        let mut order = *order;
        order.replaces = order.replaces.filter(|_| directory.renewal_info.is_some());
        let answer = match self.ask_for(&order).await {
            Err(error) if order.replaces.is_some() && may_be_about_replaces(&error) => {
                self.client.events().warn(
                    format!("the CA does not accept which certificate is replaced: {error}"),
                    None,
                );
                order.replaces = None;
                self.ask_for(&order).await?
            }
            result => result?,
        };
        let url = answer.location()?;
        Ok(Order::from_raw(url, answer.json::<RawOrder>()?))
    }

    /// The order as it stands now.
    pub async fn order(&self, url: &str) -> Result<Order, OrderError> {
        Ok(self.look_at_order(url).await?.0)
    }

    /// The authorizations at these URLs, in that order, read concurrently.
    pub async fn authorizations(&self, urls: &[String]) -> Result<Vec<Authorization>, OrderError> {
        let requests: Vec<_> = urls.iter().map(|url| self.authorization(url)).collect();
        stream::iter(requests)
            .buffered(CONCURRENT)
            .try_collect()
            .await
    }

    /// token "." thumbprint (RFC 8555 section 8.1).
    pub fn key_authorization(&self, token: &str) -> String {
        format!("{token}.{}", self.key.thumbprint())
    }

    /// What the TXT record has to hold (RFC 8555 section 8.4).
    #[expect(clippy::expect_used, reason = "43 octets fit any TXT record")]
    pub fn txt_value(&self, token: &str) -> TxtValue {
        let authorization = self.key_authorization(token);
        let digest =
            aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, authorization.as_bytes());
        TxtValue::from_bytes(base64url(digest)).expect("43 octets fit any TXT record")
    }

    /// Tells the CA to look, for all these challenges concurrently; the challenges as they stand then.
    ///
    /// A challenge that is not pending any more is only looked at. The first failure ends the rest.
    pub async fn answer(
        &self,
        challenges: &[Challenge],
        cancel: &CancellationToken,
    ) -> Result<Vec<Challenge>, OrderError> {
        let account = self.with_cancel(cancel);
        let requests: Vec<_> = challenges.iter().map(|c| account.answer_one(c)).collect();
        stream::iter(requests)
            .buffered(CONCURRENT)
            .try_collect()
            .await
    }

    /// Sends the CSR of a ready order.
    ///
    /// Where the answer is lost, the order is looked at, and the CSR is sent again only to an order that still waits
    /// for one.
    pub async fn finalize(&self, order: &Order, csr_der: &[u8]) -> Result<Finalized, OrderError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let error = match self
                .cancellable("finalize", instant::finalize(self, order, csr_der))
                .await
            {
                Ok(answer) => {
                    return Ok(Finalized {
                        order: Order::from_raw(order.url.clone(), answer.json::<RawOrder>()?),
                        accepted: true,
                    });
                }
                Err(error) => error,
            };
            if !error.is("orderNotReady") {
                let heeded = self.cancellable("finalize", async { Ok(heed(&error).await) });
                if !heeded.await? {
                    return Err(error.into());
                }
            }

            let current = self.order(&order.url).await?;
            match current.status {
                OrderStatus::Processing | OrderStatus::Valid => {
                    return Ok(Finalized {
                        order: current,
                        accepted: false,
                    });
                }
                OrderStatus::Invalid => return Err(self.why_invalid(current).await),
                _ if tries == FINALIZE_TRIES => return Err(error.into()),
                OrderStatus::Ready | OrderStatus::Pending | OrderStatus::Other(_) => {
                    self.sleep("finalize", FINALIZE_PAUSE * tries).await?;
                }
            }
        }
    }

    /// The certificate of a valid order, with the URLs of other chains for it.
    pub async fn download(&self, order: &Order) -> Result<Download, OrderError> {
        match &order.certificate {
            Some(url) => self.download_from(url).await,
            None => Err(OrderError::NoCertificate {
                order: order.url.clone(),
                status: order.status.clone(),
            }),
        }
    }

    /// A chain by its URL, such as one of [`Download::alternates`] (RFC 8555 section 7.4.2).
    pub async fn download_from(&self, url: &str) -> Result<Download, OrderError> {
        let target = Target {
            accept: Some(PEM_CHAIN),
            ..Target::new("certificate", url)
        };
        let answer = self.post(target, &Payload::AsGet).await?;
        let alternates = answer.links().all("alternate").map(str::to_owned).collect();
        match String::from_utf8(answer.body.to_vec()) {
            Ok(pem) => Ok(Download { pem, alternates }),
            Err(_) => Err(answer
                .malformed("a certificate that is no text".to_owned())
                .into()),
        }
    }

    /// Gives up pending authorizations, concurrently; which of them could not be, and why (RFC 8555 section 7.5.2).
    pub async fn deactivate(&self, authorizations: &[String]) -> Vec<(String, AcmeError)> {
        let requests: Vec<_> = authorizations
            .iter()
            .map(|url| self.deactivate_one(url))
            .collect();
        stream::iter(requests)
            .buffered(CONCURRENT)
            .filter_map(std::future::ready)
            .collect()
            .await
    }

    /// Every name whose authorization is invalid, with the CA's reason; concurrently, and as far as it can be read.
    pub async fn failures(&self, order: &Order) -> Vec<Failure> {
        let mut failures = Vec::new();
        for authorization in self.readable_authorizations(order).await {
            failures.extend(authorization.failure());
        }
        failures.sort_by(|a, b| a.identifier.cmp(&b.identifier));
        failures
    }

    /// The authorizations of an order, without those that cannot be read.
    pub(super) async fn readable_authorizations(&self, order: &Order) -> Vec<Authorization> {
        let urls = order.authorizations.iter();
        let requests: Vec<_> = urls.map(|url| self.authorization(url)).collect();
        stream::iter(requests)
            .buffered(CONCURRENT)
            .filter_map(|result| std::future::ready(result.ok()))
            .collect()
            .await
    }

    /// The error that an invalid order is.
    pub(super) async fn why_invalid(&self, order: Order) -> OrderError {
        OrderError::Validation {
            failures: self.failures(&order).await,
            order: order.url,
            order_problem: order.error,
        }
    }

    pub(super) async fn look_at_order(&self, url: &str) -> Result<(Order, Answer), AcmeError> {
        let answer = self
            .post(Target::new("order", url), &Payload::AsGet)
            .await?;
        let order = Order::from_raw(url.to_owned(), answer.json::<RawOrder>()?);
        Ok((order, answer))
    }

    /// Waits, unless somebody asks us to stop.
    pub(super) async fn sleep(
        &self,
        resource: &'static str,
        duration: Duration,
    ) -> Result<(), AcmeError> {
        let sleep = async {
            tokio::time::sleep(duration).await;
            Ok(())
        };
        self.cancellable(resource, sleep).await
    }

    async fn ask_for(&self, order: &NewOrder<'_>) -> Result<Answer, AcmeError> {
        if order.not_before.is_some() || order.not_after.is_some() {
            // The crate behind `instant` knows neither.
            let target = Target::new("newOrder", &self.client.directory().new_order);
            return self.post(target, &Payload::Json(order.payload())).await;
        }
        let request = Retries::Idempotent.run(|| instant::new_order(self, order));
        self.cancellable("newOrder", request).await
    }

    async fn authorization(&self, url: &str) -> Result<Authorization, OrderError> {
        let target = Target::new("authorization", url);
        let answer = self.post(target, &Payload::AsGet).await?;
        let raw = answer.json::<RawAuthorization>()?;
        Authorization::from_raw(url.to_owned(), raw).map_err(|e| answer.malformed(e).into())
    }

    async fn answer_one(&self, challenge: &Challenge) -> Result<Challenge, OrderError> {
        if challenge.status != ChallengeStatus::Pending {
            return Ok(challenge.clone());
        }
        let target = Target::new("challenge", &challenge.url);
        let error = match self.post(target, &Payload::Json(json!({}))).await {
            Ok(answer) => return Ok(updated(challenge, &answer)),
            Err(error) => error,
        };
        // Answered already, by a run before or by a request whose answer was lost: then it says so itself.
        if !matches!(error.status(), Some(400..=499)) || error.is_rate_limited() {
            return Err(error.into());
        }
        let answer = self.post(target, &Payload::AsGet).await?;
        let current = updated(challenge, &answer);
        match current.status {
            ChallengeStatus::Pending => Err(error.into()),
            _ => Ok(current),
        }
    }

    async fn deactivate_one(&self, url: &str) -> Option<(String, AcmeError)> {
        let payload = Payload::Json(json!({ "status": "deactivated" }));
        let target = Target::new("authorization", url);
        let result = self.post(target, &payload).await;
        result.err().map(|error| (url.to_owned(), error))
    }

    pub(super) async fn post(
        &self,
        target: Target<'_>,
        payload: &Payload,
    ) -> Result<Answer, AcmeError> {
        let signer = Signer {
            key: &self.key,
            account: Some(&self.url),
        };
        let request = self
            .client
            .post(signer, target, payload, Retries::Idempotent);
        self.cancellable(target.resource, request).await
    }

    async fn cancellable<T>(
        &self,
        resource: &'static str,
        work: impl Future<Output = Result<T, AcmeError>>,
    ) -> Result<T, AcmeError> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(AcmeError::Cancelled { resource }),
            result = work => result,
        }
    }
}

/// An order after its CSR was sent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Finalized {
    /// The order as it stands now, mostly processing.
    pub order: Order,
    /// Whether the CA has said that it took this CSR. Else the answer was lost, or the order had got another one already.
    pub accepted: bool,
}

/// What a certificate URL gave.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Download {
    /// The chain as it came; nothing about it has been checked.
    pub pem: String,
    /// Where other chains for the same certificate are.
    pub alternates: Vec<String>,
}

/// The challenge with what an answer says about its status; a body that cannot be read changes nothing.
fn updated(challenge: &Challenge, answer: &Answer) -> Challenge {
    let mut updated = challenge.clone();
    if let Ok(raw) = answer.json::<RawChallenge>() {
        if let Some(status) = raw.status() {
            updated.status = status.clone();
        }
        updated.error = raw.into_error();
    }
    updated
}

/// Whether leaving `replaces` out may help. CAs refuse it in several ways: Let's Encrypt with 404 for a serial it does not
/// know and 403 for another account's, Pebble with 500, RFC 9773 with 409.
fn may_be_about_replaces(error: &AcmeError) -> bool {
    match error {
        AcmeError::Refused(refusal) => {
            matches!(refusal.status, 400 | 403 | 404 | 409 | 500)
                && !error.is_rate_limited()
                && refusal
                    .problem
                    .as_ref()
                    .is_none_or(|p| p.subproblems.is_empty())
                && ![
                    "rejectedIdentifier",
                    "userActionRequired",
                    "invalidProfile",
                    "badNonce",
                ]
                .iter()
                .any(|kind| error.is(kind))
        }
        _ => false,
    }
}

/// How many requests of one step are under way at once: enough to hide the network, few enough for every CA's limits.
const CONCURRENT: usize = 16;
const FINALIZE_TRIES: u32 = 4;
const FINALIZE_PAUSE: Duration = Duration::from_millis(500);
const PEM_CHAIN: &str = "application/pem-certificate-chain";
