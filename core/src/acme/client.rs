//! One CA: its directory, read once, and signed requests to it (RFC 8555 sections 6 and 7.1.1).
//!
//! Everything that is signed goes through [`Client::post`], which finds a nonce, signs, sends, learns the next nonce,
//! answers badNonce with the nonce that came with it, and tries again what may pass. The one exception is
//! [`instant`](super::instant), which puts the `instant-acme` crate on the same transport and the same nonces.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use url::Url;

use super::account::Account;
use super::answer::Answer;
use super::directory::Directory;
use super::directory::DirectoryError;
use super::error::AcmeError;
use super::jws::AccountKey;
use super::jws::Payload;
use super::jws::Signer;
use super::nonce::Nonce;
use super::nonce::NoncePool;
use super::order_error::OrderError;
use super::retry::Retries;
use super::transport::Ask;
use super::transport::Transport;
use crate::event::Events;

/// A CA whose directory is known; cheap to clone.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
    transport: Transport,
}

struct Inner {
    directory: Directory,
    nonces: NoncePool,
}

impl Client {
    /// Reads the directory, which is the only request there is before an account.
    pub async fn connect(
        transport: Transport,
        directory_url: &Url,
    ) -> Result<Self, DirectoryError> {
        let transport = transport.for_directory(directory_url);
        let directory = Directory::fetch(&transport, directory_url).await?;
        let inner = Arc::new(Inner {
            directory,
            nonces: NoncePool::new(),
        });
        Ok(Self { inner, transport })
    }

    /// What the CA offers, and where.
    pub fn directory(&self) -> &Directory {
        &self.inner.directory
    }

    /// Fails where the CA does not offer this profile, and tells which it offers.
    pub fn check_profile(&self, profile: &str) -> Result<(), OrderError> {
        let profiles = &self.directory().meta.profiles;
        match profiles.contains_key(profile) {
            true => Ok(()),
            false => Err(OrderError::UnknownProfile {
                profile: profile.to_owned(),
                known: profiles.keys().cloned().collect(),
            }),
        }
    }

    /// An account of this CA whose URL is known.
    pub fn account(&self, key: &AccountKey, url: &str) -> Account {
        Account::new(self.clone(), key.clone(), url.to_owned())
    }

    /// The same CA, the same nonces, with its requests told to another stream.
    pub fn with_events(&self, events: Events) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            transport: self.transport.with_events(events),
        }
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    pub(super) fn events(&self) -> &Events {
        self.transport.events()
    }

    /// Signs and sends until there is a success or a failure that is final.
    pub(super) async fn post(
        &self,
        signer: Signer<'_>,
        target: Target<'_>,
        payload: &Payload,
        retries: Retries,
    ) -> Result<Answer, AcmeError> {
        retries
            .run(|| self.post_through_bad_nonces(signer, target, payload))
            .await
    }

    async fn post_through_bad_nonces(
        &self,
        signer: Signer<'_>,
        target: Target<'_>,
        payload: &Payload,
    ) -> Result<Answer, AcmeError> {
        let mut nonce = self.nonce().await?;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let body = signer.sign(target.url, nonce.as_str(), payload)?;
            let answer = self.send_signed(target, body).await?;
            match answer.is_bad_nonce() && attempt < NONCE_TRIES {
                // RFC 8555 section 6.5: with the nonce of the error, and signed anew.
                true => {
                    nonce = match answer.nonce() {
                        Some(fresh) => self.inner.nonces.adopt(fresh),
                        None => {
                            // As long as the spent one counts as under way, others wait for what it brings; and so should we.
                            drop(nonce);
                            self.nonce().await?
                        }
                    };
                    tokio::time::sleep(NONCE_PAUSE * attempt).await;
                }
                false => {
                    self.keep_nonce(&answer);
                    return answer.into_result();
                }
            }
        }
    }

    /// Sends what is signed already; its nonce in the answer is left to the caller.
    pub(super) async fn send_signed(
        &self,
        target: Target<'_>,
        body: bytes::Bytes,
    ) -> Result<Answer, AcmeError> {
        let ask = Ask {
            method: Method::POST,
            url: target.url,
            resource: target.resource,
            accept: target.accept,
            body: Some(body),
        };
        let answer = self.transport.send(ask).await?;
        self.inner.nonces.answered(answer.elapsed);
        Ok(answer)
    }

    /// Puts the nonce that an answer brought where the next request finds it.
    pub(super) fn keep_nonce(&self, answer: &Answer) {
        if let Some(fresh) = answer.nonce() {
            self.inner.nonces.put(fresh);
        }
    }

    pub(super) fn adopt_nonce(&self, value: String) -> Nonce {
        self.inner.nonces.adopt(value)
    }

    /// A nonce from the pool, or a fetched one.
    pub(super) async fn nonce(&self) -> Result<Nonce, AcmeError> {
        self.inner.nonces.take(|| self.fetch_nonce()).await
    }

    async fn fetch_nonce(&self) -> Result<String, AcmeError> {
        let ask = Ask {
            method: Method::HEAD,
            url: &self.directory().new_nonce,
            resource: "newNonce",
            accept: None,
            body: None,
        };
        // The request that needs it is tried again itself, and for longer.
        let answer = Retries::Brief
            .run(|| async { self.transport.send(ask.clone()).await?.into_result() })
            .await?;
        answer
            .nonce()
            .ok_or_else(|| answer.malformed("no Replay-Nonce header".to_owned()))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("directory", &self.inner.directory.url)
            .finish_non_exhaustive()
    }
}

/// Where a signed request goes, and what to call it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) url: &'a str,
    pub(super) resource: &'static str,
    pub(super) accept: Option<&'static str>,
}

impl<'a> Target<'a> {
    pub(super) fn new(resource: &'static str, url: &'a str) -> Self {
        Self {
            url,
            resource,
            accept: None,
        }
    }
}

/// How often one request may meet badNonce. With half of all nonces refused, ten tries fail one request in a thousand and so
/// one run of ten orders in twelve; sixteen fail one such run in a thousand.
const NONCE_TRIES: u32 = 16;
const NONCE_PAUSE: Duration = Duration::from_millis(2);
