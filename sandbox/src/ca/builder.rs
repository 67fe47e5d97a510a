//! What a CA is to be like, and how it starts.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    Ca, StartError,
    issue::{self, Hierarchy, ServerIdentity},
    route,
    server::{self, Inner},
};

/// How long certificates live unless the builder says otherwise.
pub(super) const DEFAULT_VALIDITY: Duration = Duration::from_secs(90 * 24 * 3600);

/// What a CA is to be like. See [`Ca::builder`].
#[derive(Clone)]
#[must_use]
pub struct CaBuilder {
    config: Config,
}

/// What does not change while the CA runs.
#[derive(Clone)]
pub(super) struct Config {
    pub(super) listen: SocketAddr,
    pub(super) host: Option<String>,
    pub(super) dns: Option<SocketAddr>,
    pub(super) zones: Vec<(String, SocketAddr)>,
    pub(super) dns_timeout: Duration,
    pub(super) mixed_case: bool,
    pub(super) eab_keys: HashMap<String, Vec<u8>>,
    pub(super) eab_required: bool,
    pub(super) profiles: Vec<Profile>,
    pub(super) validity: Duration,
    pub(super) order_reuse: bool,
    pub(super) authz_reuse: bool,
    pub(super) order_lifetime: Duration,
    pub(super) authz_lifetime: Duration,
    pub(super) intermediates: usize,
    pub(super) alternates: usize,
    pub(super) revocation_list: bool,
    pub(super) blocked: Vec<String>,
    pub(super) terms: Terms,
    pub(super) retry_after: Option<RetryAfter>,
    pub(super) renewal_retry_after: u64,
    pub(super) processing_polls: Option<u32>,
    pub(super) linger: Duration,
    pub(super) clock: Clock,
}

type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

#[derive(Clone)]
pub(super) struct Profile {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) validity: Duration,
}

#[derive(Clone)]
pub(super) enum Terms {
    /// A page of the CA itself.
    Own,
    None,
    Url(String),
}

/// The two forms of the `Retry-After` header (RFC 9110 section 10.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// A date so many seconds ahead.
    Date(u64),
    /// So many seconds.
    Seconds(u64),
}

impl Default for CaBuilder {
    fn default() -> Self {
        Self {
            config: Config {
                listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
                host: None,
                dns: None,
                zones: Vec::new(),
                dns_timeout: Duration::from_secs(2),
                mixed_case: true,
                eab_keys: HashMap::new(),
                eab_required: false,
                profiles: Vec::new(),
                validity: DEFAULT_VALIDITY,
                order_reuse: true,
                authz_reuse: true,
                order_lifetime: Duration::from_secs(24 * 3600),
                authz_lifetime: Duration::from_secs(24 * 3600),
                intermediates: 1,
                alternates: 0,
                revocation_list: false,
                blocked: Vec::new(),
                terms: Terms::Own,
                retry_after: None,
                renewal_retry_after: 6 * 3600,
                processing_polls: None,
                linger: Duration::ZERO,
                clock: Arc::new(Timestamp::now),
            },
        }
    }
}

impl CaBuilder {
    /// Where to listen. Default 127.0.0.1 and a free port.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.config.listen = address;
        self
    }

    /// The host that stands in every URL, and in the server's certificate besides `localhost`, `127.0.0.1` and `::1`.
    /// Default is the address listened on, or `localhost` if that is no particular one.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.config.host = Some(host.into());
        self
    }

    /// Where validation queries go: a resolver, or an authoritative server.
    pub fn dns(mut self, server: SocketAddr) -> Self {
        self.config.dns = Some(server);
        self
    }

    /// Where queries for names in one zone go instead; the longest zone wins.
    pub fn dns_for(mut self, zone: impl Into<String>, server: SocketAddr) -> Self {
        self.config.zones.push((zone.into(), server));
        self
    }

    /// How long to wait for one DNS answer. Default 2 s; each query is sent twice over UDP before TCP is tried.
    pub fn dns_timeout(mut self, timeout: Duration) -> Self {
        self.config.dns_timeout = timeout;
        self
    }

    /// Whether queries mix upper and lower case, as those of large CAs do. Default true; false for DNS servers that
    /// compare names octet by octet.
    pub fn mixed_case(mut self, mixed: bool) -> Self {
        self.config.mixed_case = mixed;
        self
    }

    /// Adds a key for external account binding (RFC 8555 section 7.3.4), raw and not base64.
    pub fn eab(mut self, kid: impl Into<String>, key: impl Into<Vec<u8>>) -> Self {
        self.config.eab_keys.insert(kid.into(), key.into());
        self
    }

    /// Whether new accounts need an external account binding. Default false.
    pub fn eab_required(mut self, required: bool) -> Self {
        self.config.eab_required = required;
        self
    }

    /// The profiles on offer as name, description and validity; the first is taken when an order names none.
    pub fn profiles<N, D>(mut self, profiles: impl IntoIterator<Item = (N, D, Duration)>) -> Self
    where
        N: Into<String>,
        D: Into<String>,
    {
        self.config.profiles = profiles
            .into_iter()
            .map(|(name, description, validity)| Profile {
                name: name.into(),
                description: description.into(),
                validity,
            })
            .collect();
        self
    }

    /// How long certificates live where no profile says so. Default 90 days.
    pub fn validity(mut self, validity: Duration) -> Self {
        self.config.validity = validity;
        self
    }

    /// Whether an order that equals a pending or ready one of the same account is answered with that one. Default true.
    pub fn order_reuse(mut self, reuse: bool) -> Self {
        self.config.order_reuse = reuse;
        self
    }

    /// Whether valid authorizations are used for later orders of the same account. Default true.
    pub fn authz_reuse(mut self, reuse: bool) -> Self {
        self.config.authz_reuse = reuse;
        self
    }

    /// How long orders live. Default 24 hours.
    pub fn order_lifetime(mut self, lifetime: Duration) -> Self {
        self.config.order_lifetime = lifetime;
        self
    }

    /// How long authorizations live, from their creation. Default 24 hours.
    pub fn authz_lifetime(mut self, lifetime: Duration) -> Self {
        self.config.authz_lifetime = lifetime;
        self
    }

    /// How many intermediates a chain has (at least 1), and how many alternate chains to other roots there are.
    pub fn chain(mut self, intermediates: usize, alternates: usize) -> Self {
        self.config.intermediates = intermediates;
        self.config.alternates = alternates;
        self
    }

    /// Whether certificates say where the list of revoked ones is (RFC 5280 section 4.2.1.13). Default false.
    pub fn revocation_list(mut self, published: bool) -> Self {
        self.config.revocation_list = published;
        self
    }

    /// Domains for which, and for all names below which, nothing is issued.
    pub fn blocked_domains<D: Into<String>>(
        mut self,
        domains: impl IntoIterator<Item = D>,
    ) -> Self {
        self.config.blocked = domains
            .into_iter()
            .map(|d| d.into().to_ascii_lowercase())
            .collect();
        self
    }

    /// The terms of service that new accounts must agree to; `None` for none. Default is a page of the CA itself.
    pub fn terms_url(mut self, url: Option<&str>) -> Self {
        self.config.terms = match url {
            Some(url) => Terms::Url(url.to_owned()),
            None => Terms::None,
        };
        self
    }

    /// The `Retry-After` of answers that show something unfinished. Default is none.
    pub fn retry_after(mut self, retry_after: RetryAfter) -> Self {
        self.config.retry_after = Some(retry_after);
        self
    }

    /// The `Retry-After` of renewal information, in seconds. Default 6 hours.
    pub fn renewal_retry_after(mut self, seconds: u64) -> Self {
        self.config.renewal_retry_after = seconds;
        self
    }

    /// Makes finalizing answer `processing`, and so the next `polls` looks at the order. Default: `valid` at once.
    pub fn processing_polls(mut self, polls: u32) -> Self {
        self.config.processing_polls = Some(polls);
        self
    }

    /// How long an answer may be held back while a validation is under way, so that the client need not poll. Applies
    /// to answering a challenge and to looking at orders and authorizations. Default zero: all are answered at once.
    pub fn linger(mut self, longest: Duration) -> Self {
        self.config.linger = longest;
        self
    }

    /// The clock that statuses, certificates and renewal windows go by. The HTTPS certificate always goes by the real
    /// one.
    pub fn clock(mut self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.config.clock = Arc::new(clock);
        self
    }

    /// Makes the keys and starts to listen. Needs a tokio runtime with time and I/O, and lives on it.
    pub async fn start(self) -> Result<Ca, StartError> {
        let config = self.config;
        let bind = |source| StartError::Bind {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let host = match &config.host {
            Some(host) => host.clone(),
            None if address.ip().is_unspecified() => "localhost".to_owned(),
            None => address.ip().to_string(),
        };
        let identity = ServerIdentity::generate(&issue::server_hosts(&host, address.ip()))?;
        let tls_root_pem = identity.root_pem.clone();
        let authority = if host.contains(':') {
            format!("[{host}]:{}", address.port())
        } else {
            format!("{host}:{}", address.port())
        };
        let crl_url = format!("https://{authority}/{}", route::CRL);
        let hierarchy = Hierarchy::generate(
            (config.clock)(),
            config.intermediates,
            config.alternates,
            config.revocation_list.then_some(crl_url),
        )?;
        let stop = CancellationToken::new();
        let inner = Arc::new(Inner::new(
            config,
            format!("https://{authority}"),
            hierarchy,
            stop.clone(),
        )?);
        let server = server::spawn(Arc::clone(&inner), listener, identity, stop.clone())?;
        Ok(Ca {
            inner,
            address,
            tls_root_pem,
            stop,
            server: Some(server),
        })
    }
}

impl fmt::Debug for CaBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaBuilder")
            .field("listen", &self.config.listen)
            .finish_non_exhaustive()
    }
}
