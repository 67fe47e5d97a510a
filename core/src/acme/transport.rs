//! One HTTP client for everything that is asked of a CA.
//!
//! Requests go out with time-outs, through the proxies of the environment, over HTTP/2 where the server can, and
//! trusting the system's roots and any given beside them. Nothing follows a redirect: a signed request names the URL
//! it is for (RFC 8555 section 6.4). Each real request is one event. What comes back is an [`Answer`], whatever
//! its status; only a request that got no answer is an error here.

use std::fmt;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;
use http::HeaderMap;
use http::HeaderValue;
use http::Method;
use http::header;
use reqwest::redirect;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::time::Instant;
use url::Url;

use super::answer::Answer;
use super::ca::is_loopback;
use super::error::AcmeError;
use crate::event::Events;
use crate::event::What;
use crate::web::NoAnswer;
use crate::web::client;
use crate::web::root_cause;

/// How to reach a CA.
#[derive(Clone, Debug)]
pub struct TransportOptions {
    /// Root certificates in PEM that are trusted beside the system's; each may hold several.
    pub extra_roots: Vec<ExtraRoot>,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// How long one request may take from its first octet to the answer's last.
    pub total_timeout: Duration,
    /// Addresses of hosts that are known without DNS, for those that are not reached through a proxy.
    pub known_hosts: Vec<(String, Vec<IpAddr>)>,
    /// What to call ourselves (RFC 8555 section 6.1).
    pub user_agent: String,
}

impl Default for TransportOptions {
    fn default() -> Self {
        Self {
            extra_roots: Vec::new(),
            connect_timeout: CONNECT_TIMEOUT,
            total_timeout: TOTAL_TIMEOUT,
            known_hosts: Vec::new(),
            user_agent: concat!("dnseal/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// What trusts the same roots over TLS without HTTP.
pub fn tls_config(extra_roots: &[ExtraRoot]) -> Result<Arc<rustls::ClientConfig>, TransportError> {
    let mut roots = Vec::new();
    for root in extra_roots {
        for certificate in CertificateDer::pem_slice_iter(&root.pem) {
            roots.push(certificate.map_err(|error| TransportError::Root {
                name: root.name.clone(),
                detail: error.to_string(),
            })?);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let failed = |error: rustls::Error| TransportError::Build(error.to_string());
    let verifier =
        rustls_platform_verifier::Verifier::new_with_extra_roots(roots, provider.clone())
            .map_err(failed)?;
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Certificates that are trusted beside the system's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExtraRoot {
    /// Where they came from, for messages: a path, mostly.
    pub name: String,
    /// One certificate or several, in PEM.
    pub pem: Vec<u8>,
}

/// An HTTP client that tells what it does; cheap to clone.
#[derive(Clone)]
pub struct Transport {
    http: reqwest::Client,
    events: Events,
    /// Whether plain HTTP is spoken, too: only to a directory on this machine that was given as such.
    plain: bool,
    total_timeout: Duration,
}

impl Transport {
    /// Builds the client.
    pub fn new(options: TransportOptions, events: Events) -> Result<Self, TransportError> {
        let mut roots = Vec::new();
        for root in &options.extra_roots {
            let certificates = reqwest::Certificate::from_pem_bundle(&root.pem)
                .map_err(|error| TransportError::root(&root.name, &error))?;
            if certificates.is_empty() {
                return Err(TransportError::NoRoot {
                    name: root.name.clone(),
                });
            }
            roots.extend(certificates);
        }

        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static("en"));
        // Another crate may have compiled them in, and what is read is bounded as it comes.
        let mut http = client().no_gzip().no_deflate();
        for (host, addresses) in &options.known_hosts {
            // The port is the URL's.
            let addresses: Vec<SocketAddr> =
                addresses.iter().map(|&ip| SocketAddr::new(ip, 0)).collect();
            http = http.resolve_to_addrs(host, &addresses);
        }
        let http = http
            // Beside the system's roots; an empty system store is no failure then.
            .tls_certs_merge(roots)
            .connect_timeout(options.connect_timeout)
            .default_headers(headers)
            // A connection that died while DNS was waited for is found out before a request hangs on it.
            .http2_keep_alive_interval(HTTP2_PING)
            .http2_keep_alive_timeout(HTTP2_PING_TIMEOUT)
            .http2_keep_alive_while_idle(true)
            .redirect(redirect::Policy::none())
            .tcp_keepalive(TCP_KEEPALIVE)
            .timeout(options.total_timeout)
            .user_agent(&options.user_agent)
            .build()
            .map_err(|error| TransportError::Build(root_cause(&error)))?;
        Ok(Self {
            http,
            events,
            plain: false,
            total_timeout: options.total_timeout,
        })
    }

    /// The client itself, for whoever speaks to another HTTP server under the same settings.
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// The same client, telling its requests to another stream.
    pub fn with_events(&self, events: Events) -> Self {
        Self {
            events,
            ..self.clone()
        }
    }

    /// The same client, for a directory at this URL.
    pub(super) fn for_directory(mut self, url: &Url) -> Self {
        self.plain = url.scheme() == "http" && is_loopback(url);
        self
    }

    pub(super) fn events(&self) -> &Events {
        &self.events
    }

    /// Sends one request and reads the whole answer.
    pub(super) async fn send(&self, ask: Ask<'_>) -> Result<Answer, AcmeError> {
        self.told(ask, self.plain, MAX_BODY).await
    }

    /// Reads what is signed by itself, from wherever it is, over plain HTTP as well; at most so many octets.
    pub(super) async fn fetch_signed(
        &self,
        ask: Ask<'_>,
        at_most: usize,
    ) -> Result<Answer, AcmeError> {
        self.told(ask, true, at_most).await
    }

    async fn told(&self, ask: Ask<'_>, plain: bool, at_most: usize) -> Result<Answer, AcmeError> {
        let begin = Instant::now();
        let result = self.exchange(&ask, begin, plain, at_most).await;
        let elapsed = begin.elapsed();

        let (status, problem) = match &result {
            Ok(answer) => (Some(answer.status.as_u16()), answer.failure()),
            Err(error) => (None, Some(error.to_string())),
        };
        tracing::debug!(
            method = ask.method.as_str(),
            resource = ask.resource,
            url = ask.url,
            status,
            problem,
            elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            "asked the CA"
        );
        self.events.emit(What::AcmeRequest {
            method: match ask.method {
                Method::GET => "GET",
                Method::HEAD => "HEAD",
                _ => "POST",
            },
            resource: ask.resource,
            url: ask.url.to_owned(),
            status,
            problem,
            elapsed,
        });
        result
    }

    async fn exchange(
        &self,
        ask: &Ask<'_>,
        begin: Instant,
        plain: bool,
        at_most: usize,
    ) -> Result<Answer, AcmeError> {
        // Whatever named the URL: keys sign nothing that anybody on the way could read or change.
        let secure = ask
            .url
            .get(..8)
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"));
        if !secure && !plain {
            return Err(AcmeError::Insecure {
                resource: ask.resource,
                url: ask.url.to_owned(),
            });
        }
        let mut request = self.http.request(ask.method.clone(), ask.url);
        if let Some(accept) = ask.accept {
            request = request.header(header::ACCEPT, accept);
        }
        if let Some(body) = &ask.body {
            request = request
                .header(header::CONTENT_TYPE, JOSE_JSON)
                .body(body.clone());
        }

        let failed = |error: reqwest::Error| self.failed(ask, &error);
        let mut response = request.send().await.map_err(failed)?;
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
            if body.len() > at_most {
                return Err(AcmeError::Malformed {
                    resource: ask.resource,
                    url: ask.url.to_owned(),
                    status: response.status().as_u16(),
                    detail: format!("more than {at_most} octets"),
                    body_start: super::answer::start_of(&body),
                });
            }
        }
        Ok(Answer {
            resource: ask.resource,
            url: ask.url.to_owned(),
            status: response.status(),
            headers: response.headers().clone(),
            body: body.freeze(),
            elapsed: begin.elapsed(),
        })
    }

    fn failed(&self, ask: &Ask<'_>, error: &reqwest::Error) -> AcmeError {
        let resource = ask.resource;
        let url = ask.url.to_owned();
        match NoAnswer::of(error) {
            NoAnswer::Distrusted { cause, detail } => AcmeError::NotTrusted {
                resource,
                url,
                cause,
                detail,
            },
            NoAnswer::Proxied { fault, proxy } => AcmeError::Proxied {
                resource,
                url,
                proxy,
                fault,
            },
            NoAnswer::TimedOut => AcmeError::TimedOut {
                resource,
                url,
                after: self.total_timeout,
            },
            NoAnswer::Other(detail) => AcmeError::Unreachable {
                resource,
                url,
                detail,
            },
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) url: &'a str,
    pub(super) resource: &'static str,
    pub(super) accept: Option<&'static str>,
    pub(super) body: Option<Bytes>,
}

/// Why there is no HTTP client.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// TLS could not be set up, for lack of any trusted root for instance.
    #[error("the HTTP client cannot be set up: {0}")]
    Build(String),
    /// A file of extra roots holds no certificate.
    #[error("`{name}` holds no CERTIFICATE block")]
    NoRoot {
        /// Where it came from.
        name: String,
    },
    /// A file of extra roots cannot be read as PEM.
    #[error("`{name}` holds a certificate that cannot be read: {detail}")]
    Root {
        /// Where it came from.
        name: String,
        /// What is wrong with it.
        detail: String,
    },
}

impl TransportError {
    fn root(name: &str, error: &reqwest::Error) -> Self {
        Self::Root {
            name: name.to_owned(),
            detail: root_cause(error),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Build(_) => {
                "install the system's CA certificates (package `ca-certificates`), or name the CA's root with `--ca-root FILE`"
                    .to_owned()
            }
            Self::NoRoot { .. } | Self::Root { .. } => {
                "`--ca-root` wants a file with certificates in PEM, each from `-----BEGIN CERTIFICATE-----`"
                    .to_owned()
            }
        })
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A CA may think for some seconds about a new order of a hundred names, and Pebble can hang for ever.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(30);
const HTTP2_PING: Duration = Duration::from_secs(20);
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(10);
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
const JOSE_JSON: &str = "application/jose+json";
/// A chain of ten RSA-4096 certificates has 25 KB, an order of a hundred names 20 KB.
const MAX_BODY: usize = 4 << 20;
