//! Recursive resolvers behind HTTPS (RFC 8484) and TLS (RFC 7858), for networks that close port 53.
//!
//! A question goes out as a POST, or as a GET where the URL says `{?dns}` or the resolver refuses POST. The HTTP client is
//! the one that speaks to the CA, so that the same proxy and the same roots hold; it is built when the first question is asked.
//! What comes back is no authority: it may be what the resolver remembers.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::hash::Hasher;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hickory_proto::op::Message;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use http::StatusCode;
use http::header;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use url::Url;

use super::Problem;
use super::Question;
use super::Reply;
use super::Transport;
use super::over_stream;
use crate::dns::DomainName;
use crate::web::NoAnswer;

/// Where a resolver is asked: `https://dns.example/dns-query`, the same with `{?dns}` for GET, or `tls://192.0.2.1#dns.example`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum EncryptedEndpoint {
    /// DNS over HTTPS.
    Https {
        /// The URL, without the template.
        url: Url,
        /// Whether to ask by GET.
        get: bool,
    },
    /// DNS over TLS.
    Tls {
        /// Where it listens.
        address: SocketAddr,
        /// The name that its certificate is for; the address itself where there is none.
        name: String,
    },
}

impl FromStr for EncryptedEndpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(rest) = text.strip_prefix("tls://") {
            return tls_endpoint(rest).ok_or_else(|| EndpointError::Tls(text.to_owned()));
        }
        let (plain, get) = match text.strip_suffix(TEMPLATE) {
            Some(plain) => (plain, true),
            None => (text, false),
        };
        match Url::parse(plain) {
            Ok(url)
                if url.scheme() == "https"
                    && url.host().is_some()
                    && url.username().is_empty()
                    && url.password().is_none() =>
            {
                Ok(Self::Https { url, get })
            }
            // That would stand in every message, and DNS over HTTPS has no use for it.
            _ if text.contains('@') => Err(EndpointError::Credentials),
            _ => Err(EndpointError::Https(text.to_owned())),
        }
    }
}

impl fmt::Display for EncryptedEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Https { url, get: false } => url.fmt(f),
            Self::Https { url, get: true } => write!(f, "{url}{TEMPLATE}"),
            Self::Tls { address, name } => {
                f.write_str("tls://")?;
                match address.port() {
                    TLS_PORT => address.ip().fmt(f)?,
                    _ => address.fmt(f)?,
                }
                match *name == address.ip().to_string() {
                    true => Ok(()),
                    false => write!(f, "#{name}"),
                }
            }
        }
    }
}

/// Why a text is no encrypted resolver.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The URL has a user in it.
    #[error("the URL of a resolver holds a user or a password, which it may not")]
    Credentials,
    /// Not a URL of DNS over HTTPS.
    #[error("`{0}` is no URL of a resolver, such as https://dns.example/dns-query")]
    Https(String),
    /// Not an address of DNS over TLS.
    #[error("`{0}` is no resolver over TLS, such as tls://192.0.2.1#dns.example")]
    Tls(String),
}

/// What encrypted resolvers are asked through; built when it is needed.
#[derive(Clone)]
pub struct Clients(Arc<Lazy>);

/// Builds an HTTP client and a TLS configuration that trust the same roots.
type Build = dyn Fn() -> Result<(reqwest::Client, Arc<rustls::ClientConfig>), String> + Send + Sync;

struct Lazy {
    build: Box<Build>,
    built: OnceLock<Result<(reqwest::Client, Arc<rustls::ClientConfig>), String>>,
}

impl Clients {
    /// Clients that `build` makes when the first question is asked.
    pub fn new(
        build: impl Fn() -> Result<(reqwest::Client, Arc<rustls::ClientConfig>), String>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self(Arc::new(Lazy {
            build: Box::new(build),
            built: OnceLock::new(),
        }))
    }

    fn built(&self) -> Result<&(reqwest::Client, Arc<rustls::ClientConfig>), Problem> {
        let built = self.0.built.get_or_init(|| (self.0.build)());
        built.as_ref().map_err(|why| Problem::Io(why.clone()))
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").finish_non_exhaustive()
    }
}

/// A recursive resolver that is asked over HTTPS or TLS; cheap to clone. Two are the same where they are asked at the same place.
#[derive(Clone, Debug)]
pub struct EncryptedResolver {
    endpoint: Arc<EncryptedEndpoint>,
    clients: Clients,
    /// Whether it has refused POST.
    refuses_post: Arc<AtomicBool>,
    /// Names of which it has said that they are not there, and until when it may go on to say so (RFC 2308 section 5).
    absent: Arc<Mutex<HashMap<DomainName, Instant>>>,
}

impl EncryptedResolver {
    /// A resolver at `endpoint`.
    pub fn new(endpoint: EncryptedEndpoint, clients: Clients) -> Self {
        Self {
            endpoint: Arc::new(endpoint),
            clients,
            refuses_post: Arc::default(),
            absent: Arc::default(),
        }
    }

    /// Where it is asked.
    pub fn endpoint(&self) -> &EncryptedEndpoint {
        &self.endpoint
    }

    /// For how long it may still say that `name` is not there, because it has said so before.
    pub fn remembers_absence(&self, name: &DomainName) -> Option<Duration> {
        let absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        let until = absent.get(name)?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Notes what it has said of a name.
    pub(super) fn heard(&self, name: &DomainName, rtype: RecordType, reply: &Reply) {
        let absent = match reply.rcode {
            ResponseCode::NXDomain => true,
            ResponseCode::NoError => rtype == RecordType::TXT && reply.answers.is_empty(),
            _ => false,
        };
        if !absent {
            return;
        }
        let ttl = reply.soa().map_or(UNKNOWN_TTL, |soa| soa.negative_ttl);
        let now = Instant::now();
        let mut absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        let until = absent.entry(name.clone()).or_insert(now);
        // What is said while it may be remembered is no news.
        if *until <= now {
            *until = now + ttl;
        }
    }

    pub(in crate::dns) fn transport(&self) -> Transport {
        match *self.endpoint {
            EncryptedEndpoint::Https { .. } => Transport::Https,
            EncryptedEndpoint::Tls { .. } => Transport::Tls,
        }
    }

    pub(super) async fn exchange(&self, question: &mut Question) -> Result<Message, Problem> {
        let (http, tls) = self.clients.built()?;
        match &*self.endpoint {
            EncryptedEndpoint::Https { url, get } => {
                // RFC 8484 section 4.1: the same question is the same request for every cache on the way.
                let wire = question.encode(0)?;
                if !get && !self.refuses_post.load(Relaxed) {
                    match post(http, url, question, &wire).await {
                        Err(Problem::Http(status)) if refuses_method(status) => {
                            self.refuses_post.store(true, Relaxed);
                        }
                        result => return result,
                    }
                }
                let mut url = url.clone();
                url.query_pairs_mut()
                    .append_pair("dns", &BASE64_URL_SAFE_NO_PAD.encode(&wire));
                let request = http.get(url).header(header::ACCEPT, DNS_MESSAGE);
                answer(request, question).await
            }
            EncryptedEndpoint::Tls { address, name } => {
                let wire = question.encode(rand::random())?;
                let name = ServerName::try_from(name.clone())
                    .map_err(|_| Problem::Io(format!("{name} is no server name")))?;
                let stream = TcpStream::connect(address).await?;
                let connector = TlsConnector::from(Arc::clone(tls));
                let stream = connector.connect(name, stream).await.map_err(tls_problem)?;
                over_stream(stream, question, &wire).await
            }
        }
    }
}

impl fmt::Display for EncryptedResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.endpoint.fmt(f)
    }
}

impl PartialEq for EncryptedResolver {
    fn eq(&self, other: &Self) -> bool {
        self.endpoint == other.endpoint
    }
}

impl Eq for EncryptedResolver {}

impl Hash for EncryptedResolver {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.endpoint.hash(state);
    }
}

impl Ord for EncryptedResolver {
    fn cmp(&self, other: &Self) -> Ordering {
        self.endpoint.cmp(&other.endpoint)
    }
}

impl PartialOrd for EncryptedResolver {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

async fn post(
    http: &reqwest::Client,
    url: &Url,
    question: &Question,
    wire: &[u8],
) -> Result<Message, Problem> {
    let request = http
        .post(url.clone())
        .header(header::ACCEPT, DNS_MESSAGE)
        .header(header::CONTENT_TYPE, DNS_MESSAGE)
        .body(wire.to_vec());
    answer(request, question).await
}

async fn answer(request: reqwest::RequestBuilder, question: &Question) -> Result<Message, Problem> {
    let mut response = request.send().await.map_err(|error| http_problem(&error))?;
    if response.status() != StatusCode::OK {
        return Err(Problem::Http(response.status().as_u16()));
    }
    let kind = response.headers().get(header::CONTENT_TYPE);
    let kind = kind
        .and_then(|kind| kind.to_str().ok())
        .map(|kind| kind.trim().to_ascii_lowercase());
    if !kind
        .as_ref()
        .is_some_and(|kind| kind.starts_with(DNS_MESSAGE))
    {
        // A login page of the network, mostly.
        let bare = kind.map(|kind| {
            let bare = kind.split(';').next().unwrap_or_default().trim();
            bare.chars().take(LONGEST_KIND).collect()
        });
        return Err(Problem::Foreign(bare));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| http_problem(&error))?
    {
        body.extend_from_slice(&chunk);
        if body.len() > usize::from(u16::MAX) {
            return Err(Problem::Garbled);
        }
    }
    question.accept(&body)?.ok_or(Problem::Garbled)
}

fn refuses_method(status: u16) -> bool {
    matches!(status, 405 | 415 | 501)
}

fn http_problem(error: &reqwest::Error) -> Problem {
    match NoAnswer::of(error) {
        NoAnswer::TimedOut => Problem::TimedOut,
        _ if error.is_timeout() => Problem::TimedOut,
        other => Problem::Io(other.to_string()),
    }
}

fn tls_problem(error: std::io::Error) -> Problem {
    match error.get_ref() {
        Some(_) => Problem::Io(NoAnswer::of_tls(&error).to_string()),
        None => error.into(),
    }
}

/// `IP[:PORT][#NAME]`.
fn tls_endpoint(text: &str) -> Option<EncryptedEndpoint> {
    let (address, name) = match text.split_once('#') {
        Some((address, name)) => (address, Some(name)),
        None => (text, None),
    };
    let bare = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(address);
    let address = match bare.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, TLS_PORT),
        Err(_) => address.parse().ok()?,
    };
    let name = name.map_or_else(|| address.ip().to_string(), str::to_owned);
    ServerName::try_from(name.as_str()).ok()?;
    Some(EncryptedEndpoint::Tls { address, name })
}

/// Where no SOA record tells; the value that most zones have.
const UNKNOWN_TTL: Duration = Duration::from_secs(60 * 60);
/// Resolvers that everybody may use: URL, host, and the addresses at which it is found where no DNS tells.
pub const PUBLIC_RESOLVERS: [(&str, &str, [IpAddr; 4]); 3] = [
    (
        "https://dns.google/dns-query",
        "dns.google",
        [
            IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)),
            IpAddr::V4(Ipv4Addr::new(8, 8, 4, 4)),
            IpAddr::V6(Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888)),
            IpAddr::V6(Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8844)),
        ],
    ),
    (
        "https://cloudflare-dns.com/dns-query",
        "cloudflare-dns.com",
        [
            IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1)),
            IpAddr::V4(Ipv4Addr::new(1, 0, 0, 1)),
            IpAddr::V6(Ipv6Addr::new(0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1111)),
            IpAddr::V6(Ipv6Addr::new(0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1001)),
        ],
    ),
    (
        "https://dns.quad9.net/dns-query",
        "dns.quad9.net",
        [
            IpAddr::V4(Ipv4Addr::new(9, 9, 9, 9)),
            IpAddr::V4(Ipv4Addr::new(149, 112, 112, 112)),
            IpAddr::V6(Ipv6Addr::new(0x2620, 0xfe, 0, 0, 0, 0, 0, 0xfe)),
            IpAddr::V6(Ipv6Addr::new(0x2620, 0xfe, 0, 0, 0, 0, 0, 9)),
        ],
    ),
];
/// More of a content type tells nobody more.
const LONGEST_KIND: usize = 60;
const DNS_MESSAGE: &str = "application/dns-message";
/// RFC 7858 section 3.1.
const TLS_PORT: u16 = 853;
/// The part of a URI template that asks for GET (RFC 8484 section 4.1.1).
const TEMPLATE: &str = "{?dns}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_and_written() {
        for text in [
            "https://dns.example/dns-query",
            "https://192.0.2.1:8443/q?token=1",
            "https://dns.example/dns-query{?dns}",
            "tls://192.0.2.1",
            "tls://192.0.2.1:8853#dns.example",
            "tls://2001:db8::1#dns.example",
        ] {
            let endpoint: EncryptedEndpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), text);
        }
        for bad in [
            "http://dns.example/dns-query",
            "https://user:word@dns.example/",
            "dns.example",
            "tls://dns.example",
            "tls://192.0.2.1#not a name",
            "",
        ] {
            assert!(bad.parse::<EncryptedEndpoint>().is_err(), "{bad}");
        }
    }
}
