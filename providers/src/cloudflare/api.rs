//! Requests to the API, one at a time, until there is an answer that means something.
//!
//! Every request waits for its turn at the [`Limiter`]. What may go away by itself (429, 5xx, no connection) is tried again a
//! few times; every request here may be repeated, because adding what is there and removing what is gone are told apart by the
//! caller. Nothing here knows what a request is for; a refusal comes back as the vendor's codes and words, without secrets.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use reqwest::Method;
use reqwest::StatusCode;
use reqwest::header::AUTHORIZATION;
use reqwest::header::HeaderMap;
use reqwest::header::HeaderName;
use reqwest::header::HeaderValue;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use crate::cloudflare::limit::Limiter;
use crate::redact::Secrets;
use crate::registry::Context;
use dnseal_core::web::NoAnswer;

/// One credential at one server.
#[derive(Debug)]
pub(super) struct Api {
    base: Url,
    context: Context,
    credential: Credential,
    limiter: Arc<Limiter>,
    secrets: Secrets,
    timeout: Duration,
}

/// What a request is signed with.
#[derive(Clone, Debug)]
pub(super) enum Credential {
    /// A global API key.
    Key {
        /// The user it belongs to.
        email: String,
        /// The key.
        key: SecretString,
    },
    /// An API token.
    Token(SecretString),
}

impl Credential {
    /// What people call it.
    pub(super) fn noun(&self) -> &'static str {
        match self {
            Self::Key { .. } => "global API key",
            Self::Token(_) => "token",
        }
    }

    pub(super) fn secret(&self) -> &str {
        match self {
            Self::Key { key, .. } => key.expose_secret(),
            Self::Token(token) => token.expose_secret(),
        }
    }

    /// The headers; `None` if a header cannot hold it.
    pub(super) fn headers(&self) -> Option<HeaderMap> {
        let hidden = |text: &str| {
            let mut value = HeaderValue::from_str(text).ok()?;
            value.set_sensitive(true);
            Some(value)
        };
        let mut headers = HeaderMap::new();
        match self {
            Self::Key { email, key } => {
                headers.insert(EMAIL, HeaderValue::from_str(email).ok()?);
                headers.insert(KEY, hidden(key.expose_secret())?);
            }
            Self::Token(token) => {
                let bearer = SecretString::from(format!("Bearer {}", token.expose_secret()));
                headers.insert(AUTHORIZATION, hidden(bearer.expose_secret())?);
            }
        }
        Some(headers)
    }
}

impl Api {
    pub(super) fn new(
        base: Url,
        credential: Credential,
        timeout: Duration,
        context: Context,
    ) -> Self {
        let mut hashed = digest::Context::new(&digest::SHA256);
        hashed.update(base.as_str().as_bytes());
        hashed.update(&[0]);
        hashed.update(credential.secret().as_bytes());
        let mut id = [0; 32];
        id.copy_from_slice(hashed.finish().as_ref());
        let secrets = Secrets::new([SecretString::from(credential.secret())]);
        Self {
            base,
            context,
            credential,
            limiter: Limiter::shared(id),
            secrets,
            timeout,
        }
    }

    pub(super) fn credential(&self) -> &Credential {
        &self.credential
    }

    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    /// What a person would call it.
    pub(super) fn endpoint(&self) -> String {
        let official = DEFAULT_BASE
            .parse::<Url>()
            .is_ok_and(|url| url.host_str() == self.base.host_str());
        match (self.base.host_str(), self.base.port()) {
            _ if official => "the Cloudflare API".to_owned(),
            (Some(host), Some(port)) => format!("the Cloudflare API at {host}:{port}"),
            (Some(host), None) => format!("the Cloudflare API at {host}"),
            (None, _) => "the Cloudflare API".to_owned(),
        }
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Page<T>, CallError> {
        self.call(Method::GET, path, query, None).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &Value,
    ) -> Result<Page<T>, CallError> {
        self.call(Method::POST, path, &[], Some(body)).await
    }

    pub(super) async fn delete(&self, path: &[&str]) -> Result<(), CallError> {
        self.call::<Value>(Method::DELETE, path, &[], None)
            .await
            .map(drop)
    }

    /// An answer that is no JSON.
    pub(super) async fn text(&self, path: &[&str]) -> Result<String, CallError> {
        let answer = self.answer(Method::GET, path, &[], None).await?;
        if !answer.status.is_success() {
            return Err(CallError::Refused(self.refusal(&answer)));
        }
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Page<T>, CallError> {
        let answer = self.answer(method, path, query, body).await?;
        let envelope = serde_json::from_slice::<Envelope>(&answer.body);
        let succeeded = envelope.as_ref().is_ok_and(|e| e.success);
        if !answer.status.is_success() || (envelope.is_ok() && !succeeded) {
            return Err(CallError::Refused(self.refusal(&answer)));
        }
        // What is cut off or mangled on the way may arrive whole the next time.
        let garbled = |error: serde_json::Error| {
            CallError::Unreachable(format!(
                "what came is no answer of this API, but perhaps of a proxy or login page in between: {error}"
            ))
        };
        let envelope = envelope.map_err(garbled)?;
        Ok(Page {
            result: serde_json::from_value(envelope.result).map_err(garbled)?,
            pages: envelope.result_info.map_or(1, |info| info.pages()),
        })
    }

    /// Asks until there is an answer other than "not now".
    async fn answer(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, CallError> {
        let url = self.url(path, query);
        let headers = self.credential.headers().unwrap_or_default();
        let mut tries = 0;
        loop {
            tries += 1;
            self.limiter
                .admit(&self.endpoint(), self.context.events())
                .await
                .map_err(|wait| CallError::Limited {
                    detail: match wait.closed {
                        true => "too many requests were made".to_owned(),
                        false => "more requests would be too many".to_owned(),
                    },
                    wait: wait.wait,
                })?;
            let mut request = self
                .context
                .http()
                .request(method.clone(), url.clone())
                .headers(headers.clone())
                .timeout(self.timeout);
            if let Some(body) = body {
                request = request.json(body);
            }
            let result = match request.send().await {
                Ok(response) => Answer::read(response).await,
                Err(error) => Err(error),
            };
            let problem = match result {
                Ok(answer) if answer.status == StatusCode::TOO_MANY_REQUESTS => {
                    let wait = self.limiter.refused(&answer.headers);
                    if tries >= TRIES {
                        let detail = self.refusal(&answer).to_string();
                        return Err(CallError::Limited { detail, wait });
                    }
                    continue;
                }
                Ok(answer) if answer.status.is_server_error() => {
                    self.limiter.answered(&answer.headers);
                    format!("it answered {}", self.refusal(&answer))
                }
                Ok(answer) => {
                    self.limiter.answered(&answer.headers);
                    tracing::debug!(%method, path = url.path(), status = answer.status.as_u16(), "answered");
                    return Ok(answer);
                }
                Err(error) => self.without_secrets(NoAnswer::of(&error).to_string()),
            };
            tracing::debug!(%method, path = url.path(), problem, tries, "no good answer");
            if tries >= TRIES {
                return Err(CallError::Unreachable(problem));
            }
            let pause = FIRST_PAUSE * 2_u32.pow(tries - 1);
            tokio::time::sleep(pause.mul_f64(0.5 + rand::random::<f64>())).await;
        }
    }

    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    fn refusal(&self, answer: &Answer) -> Refusal {
        let mut faults = Vec::new();
        if let Ok(envelope) = serde_json::from_slice::<Envelope>(&answer.body) {
            let mut next: Vec<Fault> = envelope.errors.unwrap_or_default();
            while !next.is_empty() {
                let inner = next
                    .iter_mut()
                    .flat_map(|fault| std::mem::take(&mut fault.error_chain))
                    .collect();
                faults.append(&mut next);
                next = inner;
            }
        }
        for fault in &mut faults {
            fault.message = self.without_secrets(std::mem::take(&mut fault.message));
        }
        Refusal {
            faults,
            status: answer.status,
        }
    }

    /// A server may send back what it was sent.
    fn without_secrets(&self, text: String) -> String {
        self.secrets.scrub(&text)
    }
}

/// Why there is no result.
#[derive(Debug)]
pub(super) enum CallError {
    /// Too many requests; come back after `wait`.
    Limited { detail: String, wait: Duration },
    /// The server said no.
    Refused(Refusal),
    /// No answer after several tries.
    Unreachable(String),
}

/// What the server said instead of doing it.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The outermost first.
    pub(super) faults: Vec<Fault>,
    pub(super) status: StatusCode,
}

impl Refusal {
    pub(super) fn has(&self, codes: &[i64]) -> bool {
        self.faults.iter().any(|fault| codes.contains(&fault.code))
    }

    pub(super) fn says(&self, words: &str) -> bool {
        self.faults
            .iter()
            .any(|fault| fault.message.to_ascii_lowercase().contains(words))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, fault) in self.faults.iter().enumerate() {
            if place > 0 {
                f.write_str(": ")?;
            }
            let message = fault.message.trim().trim_end_matches('.');
            write!(f, "{message} ({})", fault.code)?;
        }
        match self.faults.is_empty() {
            true => write!(f, "HTTP {}", self.status),
            false => Ok(()),
        }
    }
}

/// One of the vendor's errors.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Fault {
    #[serde(default)]
    pub(super) code: i64,
    #[serde(default)]
    error_chain: Vec<Fault>,
    #[serde(default)]
    pub(super) message: String,
}

/// A result, and of how many pages it is one.
#[derive(Debug)]
pub(super) struct Page<T> {
    pub(super) pages: usize,
    pub(super) result: T,
}

#[derive(Debug, Deserialize)]
struct Envelope {
    #[serde(default)]
    errors: Option<Vec<Fault>>,
    #[serde(default)]
    result: Value,
    #[serde(default)]
    result_info: Option<ResultInfo>,
    success: bool,
}

#[derive(Debug, Deserialize)]
struct ResultInfo {
    #[serde(default)]
    per_page: usize,
    #[serde(default)]
    total_count: usize,
    #[serde(default)]
    total_pages: Option<usize>,
}

impl ResultInfo {
    fn pages(&self) -> usize {
        self.total_pages
            .unwrap_or_else(|| self.total_count.div_ceil(self.per_page.max(1)))
            .max(1)
    }
}

struct Answer {
    body: Vec<u8>,
    headers: HeaderMap,
    status: StatusCode,
}

impl Answer {
    async fn read(response: reqwest::Response) -> Result<Self, reqwest::Error> {
        Ok(Self {
            headers: response.headers().clone(),
            status: response.status(),
            body: response.bytes().await?.into(),
        })
    }
}

/// Where the API is unless told otherwise.
pub(super) const DEFAULT_BASE: &str = "https://api.cloudflare.com/client/v4";
const EMAIL: HeaderName = HeaderName::from_static("x-auth-email");
const KEY: HeaderName = HeaderName::from_static("x-auth-key");
/// How often a request is made before somebody else decides what to do.
const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
