//! A notice to a URL: one JSON document in a POST, signed as Standard Webhooks (<https://www.standardwebhooks.com>) has it.
//!
//! `webhook-signature` is `v1,` and the base64 of HMAC-SHA256 over `webhook-id`, `webhook-timestamp` and the body, with
//! dots between them. The id stays the same when a POST is repeated, so that a receiver can tell. Repetitions are bounded by one
//! deadline for all of them. No redirect is followed, and plain HTTP goes to this machine only.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use tokio::time::Instant;
use url::Url;

use super::Notice;
use crate::web::NoAnswer;
use crate::web::retry_after;

/// Why a URL did not take a notice. None of these repeats more of the URL than its host.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// The URL is none, or not one to post to.
    #[error("the URL of a webhook {0}")]
    BadUrl(&'static str),
    /// The secret begins with `whsec_`, and what follows is not base64.
    #[error(
        "the secret of the webhook at {host} begins with whsec_, and what follows is no base64"
    )]
    BadSecret {
        /// Where.
        host: String,
    },
    /// It answered, and not with success.
    #[error("{host} answered {status}{}", tries(*tried))]
    Refused {
        /// Where.
        host: String,
        /// What.
        status: StatusCode,
        /// How often it was tried.
        tried: u32,
    },
    /// It did not answer.
    #[error("{host} cannot be reached: {reason}{}", tries(*tried))]
    Unreachable {
        /// Where.
        host: String,
        /// Why.
        reason: String,
        /// How often it was tried.
        tried: u32,
    },
}

impl WebhookError {
    /// Whether the same POST may be taken later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::BadSecret { .. } | Self::BadUrl(_) => false,
            Self::Refused { status, .. } => is_temporary(*status),
            Self::Unreachable { .. } => true,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::BadSecret { .. } => {
                "copy it whole from the service, or leave `whsec_` out to use it as it is"
            }
            Self::BadUrl(_) => "write `https://…`; plain http is for this machine only",
            Self::Refused { status, .. } if status.is_redirection() => {
                "write the URL that it leads to; a signed notice is not sent on to another one"
            }
            Self::Refused { status, .. } if matches!(status.as_u16(), 401 | 403 | 404 | 410) => {
                "compare URL and secret with what the service shows"
            }
            Self::Refused { .. } | Self::Unreachable { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

/// One POST that may be repeated.
pub(super) struct Post<'a> {
    pub(super) http: &'a reqwest::Client,
    pub(super) url: &'a SecretString,
    pub(super) secret: Option<&'a SecretString>,
    pub(super) timeout: Duration,
    pub(super) first_pause: Duration,
}

impl Post<'_> {
    /// Sends the notice until it is taken, refused for good, or the time is over.
    pub(super) async fn send(&self, notice: &Notice, now: Timestamp) -> Result<(), WebhookError> {
        let url = parse(self.url)?;
        let host = host(&url);
        let key = match self.secret {
            Some(secret) => {
                Some(key(secret).ok_or_else(|| WebhookError::BadSecret { host: host.clone() })?)
            }
            None => None,
        };
        let id = new_id();
        let body = notice.document(&id, now).to_string();
        let deadline = Instant::now() + self.timeout;
        let mut pause = self.first_pause;
        let mut tried = 0;
        loop {
            tried += 1;
            // Receivers refuse old time stamps, so a repetition gets a new one.
            let timestamp = Timestamp::now().as_second().to_string();
            let mut request = self
                .http
                .post(url.clone())
                .header(header::CONTENT_TYPE, "application/json")
                .header("webhook-id", &id)
                .header("webhook-timestamp", &timestamp)
                .header("dnseal-event", notice.kind.as_str())
                .timeout(deadline.saturating_duration_since(Instant::now()))
                .body(body.clone());
            if let Some(key) = &key {
                request = request.header("webhook-signature", sign(key, &id, &timestamp, &body));
            }
            let mut wait = pause;
            let error = match request.send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => {
                    if let Some(after) = retry_after(answer.headers()) {
                        wait = wait.max(after);
                    }
                    WebhookError::Refused {
                        host: host.clone(),
                        status: answer.status(),
                        tried,
                    }
                }
                Err(error) => WebhookError::Unreachable {
                    host: host.clone(),
                    reason: NoAnswer::of(&error).to_string(),
                    tried,
                },
            };
            if !error.is_retryable() || tried == MOST_TRIES || Instant::now() + wait >= deadline {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
            pause *= 3;
        }
    }
}

/// Whether `signature` is what this notice was signed with; for receivers and tests.
pub fn verify(
    secret: &SecretString,
    id: &str,
    timestamp: &str,
    body: &str,
    signature: &str,
) -> bool {
    let Some(key) = key(secret) else {
        return false;
    };
    signature
        .split(' ')
        .filter_map(|s| s.strip_prefix("v1,"))
        .any(|signature| {
            BASE64_STANDARD.decode(signature).is_ok_and(|tag| {
                hmac::verify(&key, signed(id, timestamp, body).as_bytes(), &tag).is_ok()
            })
        })
}

fn sign(key: &hmac::Key, id: &str, timestamp: &str, body: &str) -> String {
    let tag = hmac::sign(key, signed(id, timestamp, body).as_bytes());
    format!("v1,{}", BASE64_STANDARD.encode(tag.as_ref()))
}

fn signed(id: &str, timestamp: &str, body: &str) -> String {
    format!("{id}.{timestamp}.{body}")
}

fn key(secret: &SecretString) -> Option<hmac::Key> {
    let text = secret.expose_secret();
    let octets = match text.strip_prefix("whsec_") {
        Some(encoded) => BASE64_STANDARD.decode(encoded).ok()?,
        None => text.as_bytes().to_vec(),
    };
    Some(hmac::Key::new(hmac::HMAC_SHA256, &octets))
}

/// An id that no other notice has.
pub(super) fn new_id() -> String {
    format!("msg_{:032x}", rand::random::<u128>())
}

/// The host of a URL, which is all of it that is ever shown.
pub(super) fn shown(url: &SecretString) -> String {
    parse(url).map_or_else(|_| "the webhook".to_owned(), |url| host(&url))
}

fn host(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => "the webhook".to_owned(),
    }
}

fn parse(url: &SecretString) -> Result<Url, WebhookError> {
    let url: Url = url
        .expose_secret()
        .trim()
        .parse()
        .map_err(|_| WebhookError::BadUrl("is no URL"))?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if crate::acme::is_loopback(&url) => Ok(url),
        "http" => Err(WebhookError::BadUrl("is plain HTTP to another machine")),
        _ => Err(WebhookError::BadUrl("is neither https nor http")),
    }
}

fn is_temporary(status: StatusCode) -> bool {
    status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
}

fn tries(tried: u32) -> String {
    match tried {
        1 => String::new(),
        _ => format!(", {tried} times"),
    }
}

/// With pauses of 1, 3 and 9 s between them.
const MOST_TRIES: u32 = 4;
