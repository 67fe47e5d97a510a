//! A certification authority that speaks RFC 8555 over HTTPS, with RFC 9773 (renewal information) and certificate
//! profiles, and validates by DNS-01 alone, by real queries over UDP and TCP.
//!
//! [`Ca::builder`] says what it is like; [`Ca`] is the handle of a running one, which ends when the handle is dropped.
//! It is strict where CAs are strict, shuffles what clients must not rely on, and shows on request every fault that a
//! CA or the network before it can have ([`Ca::faults`]). It never waits unless it is told to, so an issuance takes
//! milliseconds.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use dnseal_sandbox::ca::Ca;
//!
//! let ca = Ca::builder().dns("127.0.0.1:5353".parse()?).start().await?;
//! println!("{}\n{}", ca.directory_url(), ca.tls_root_pem());
//! ca.shutdown().await;
//! # Ok(())
//! # }
//! ```

use std::{
    collections::HashMap,
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use thiserror::Error;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub use self::{
    fault::{Answer, Fault, Faults, Tamper},
    problem::ErrorKind,
    server::Resource,
    state::{AccountStatus, AuthorizationStatus, ChallengeStatus, OrderStatus, Revocation},
};
use self::{
    issue::{Hierarchy, ServerIdentity},
    server::Inner,
    state::RenewalWindow,
};

mod account;
mod authorization;
mod certificate;
mod fault;
mod identifier;
mod issue;
mod jws;
mod nonce;
mod order;
mod problem;
mod renewal;
mod server;
mod state;
#[cfg(test)]
mod tests;
mod validate;

/// How long certificates live unless the builder says otherwise.
const DEFAULT_VALIDITY: Duration = Duration::from_secs(90 * 24 * 3600);

/// What stands in `meta.caaIdentities`.
const CAA_IDENTITY: &str = "sandbox.dnseal.test";

/// A running CA.
pub struct Ca {
    inner: Arc<Inner>,
    address: SocketAddr,
    tls_root_pem: String,
    stop: CancellationToken,
    server: Option<JoinHandle<()>>,
}

impl Ca {
    /// A CA with the defaults: a free port on 127.0.0.1, everything that real CAs do, no faults.
    pub fn builder() -> CaBuilder {
        CaBuilder::default()
    }

    /// Where the CA listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// URL of the directory (RFC 8555 section 7.1.1).
    pub fn directory_url(&self) -> String {
        self.inner.directory_url()
    }

    /// The root to trust for the HTTPS connection, as PEM.
    pub fn tls_root_pem(&self) -> &str {
        &self.tls_root_pem
    }

    /// The root of the default chain, as PEM.
    pub fn issuance_root_pem(&self) -> String {
        self.inner.hierarchy.root_pem()
    }

    /// The roots of the alternate chains, as PEM, in the order of their `Link` headers.
    pub fn alternate_root_pems(&self) -> Vec<String> {
        self.inner.hierarchy.alternate_root_pems()
    }

    /// Switches that make the CA misbehave; they act from the next request on.
    pub fn faults(&self) -> Faults {
        Faults::new(Arc::clone(&self.inner))
    }

    /// The requests so far, oldest first; the last 10 000 of them.
    pub fn log(&self) -> Vec<LogEntry> {
        self.inner.state().log.iter().cloned().collect()
    }

    /// How many requests for a resource are in the log.
    pub fn requests(&self, resource: Resource) -> usize {
        let state = self.inner.state();
        state
            .log
            .iter()
            .filter(|e| e.resource == Some(resource))
            .count()
    }

    /// All accounts, oldest first.
    pub fn accounts(&self) -> Vec<AccountSnapshot> {
        let state = self.inner.state();
        let snapshot = |account: &state::Account| AccountSnapshot {
            url: self.inner.account_url(account.id),
            status: account.status,
            contact: account.contact.clone(),
            thumbprint: account.key.thumbprint().to_owned(),
        };
        state.accounts.values().map(snapshot).collect()
    }

    /// All orders, oldest first, with their status at this moment.
    pub fn orders(&self) -> Vec<OrderSnapshot> {
        let now = self.inner.now();
        let state = self.inner.state();
        let snapshot = |order: &state::Order| OrderSnapshot {
            url: self.inner.order_url(order.id),
            account: self.inner.account_url(order.account),
            status: state.order_status(order, now),
            identifiers: order.identifiers.clone(),
            authorizations: order
                .authorizations
                .iter()
                .map(|id| self.inner.authorization_url(*id))
                .collect(),
            profile: order.profile.clone(),
            replaces: order.replaces.clone(),
            error: state.order_error(order, now).map(|problem| problem.detail),
        };
        state.orders.values().map(snapshot).collect()
    }

    /// All authorizations, oldest first, with their status at this moment.
    pub fn authorizations(&self) -> Vec<AuthorizationSnapshot> {
        let now = self.inner.now();
        let state = self.inner.state();
        let snapshot = |authorization: &state::Authorization| AuthorizationSnapshot {
            url: self.inner.authorization_url(authorization.id),
            account: self.inner.account_url(authorization.account),
            domain: authorization.domain.clone(),
            wildcard: authorization.wildcard,
            status: authorization.status(now),
            challenge: authorization.challenge.status,
            expires: authorization.expires,
            error: authorization
                .challenge
                .error
                .as_ref()
                .map(|e| e.detail.clone()),
        };
        state.authorizations.values().map(snapshot).collect()
    }

    /// All certificates, oldest first.
    pub fn issued(&self) -> Vec<IssuedCertificate> {
        let state = self.inner.state();
        let snapshot = |entry: &state::IssuedEntry| IssuedCertificate {
            der: entry.der.clone(),
            serial: entry.serial.clone(),
            cert_id: entry.cert_id.clone(),
            names: entry.names.clone(),
            order: self.inner.order_url(entry.order),
            not_before: entry.not_before,
            not_after: entry.not_after,
            revoked: entry.revoked.clone(),
            replaced_by: entry.replaced_by.map(|id| self.inner.order_url(id)),
        };
        state.certificates.values().map(snapshot).collect()
    }

    /// Sets the window that renewal information shows for a certificate (RFC 9773 section 4.2); `end` may well lie
    /// before `start`. Returns whether there is such a certificate.
    pub fn set_renewal_window(
        &self,
        serial: &[u8],
        start: Timestamp,
        end: Timestamp,
        explanation_url: Option<&str>,
    ) -> bool {
        let mut state = self.inner.state();
        let Some(entry) = state
            .certificates
            .values_mut()
            .find(|entry| entry.serial == serial)
        else {
            return false;
        };
        entry.window = Some(RenewalWindow {
            start,
            end,
            explanation: explanation_url.map(str::to_owned),
        });
        true
    }

    /// Stops listening, cuts every connection and waits until the last one is gone.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        if let Some(server) = self.server.take()
            && let Err(err) = server.await
        {
            tracing::debug!("server task: {err}");
        }
    }
}

impl Drop for Ca {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ca")
            .field("directory_url", &self.directory_url())
            .finish_non_exhaustive()
    }
}

/// What a CA is to be like. See [`Ca::builder`].
#[derive(Clone)]
#[must_use]
pub struct CaBuilder {
    config: Config,
}

/// What does not change while the CA runs.
#[derive(Clone)]
struct Config {
    listen: SocketAddr,
    host: Option<String>,
    dns: Option<SocketAddr>,
    zones: Vec<(String, SocketAddr)>,
    dns_timeout: Duration,
    mixed_case: bool,
    eab_keys: HashMap<String, Vec<u8>>,
    eab_required: bool,
    profiles: Vec<Profile>,
    validity: Duration,
    order_reuse: bool,
    authz_reuse: bool,
    order_lifetime: Duration,
    authz_lifetime: Duration,
    intermediates: usize,
    alternates: usize,
    blocked: Vec<String>,
    terms: Terms,
    retry_after: Option<RetryAfter>,
    renewal_retry_after: u64,
    processing_polls: Option<u32>,
    linger: Duration,
    clock: Clock,
}

type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

#[derive(Clone)]
struct Profile {
    name: String,
    description: String,
    validity: Duration,
}

#[derive(Clone)]
enum Terms {
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

    /// Makes the keys and starts to listen.
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
        let hierarchy =
            Hierarchy::generate((config.clock)(), config.intermediates, config.alternates)?;
        let authority = if host.contains(':') {
            format!("[{host}]:{}", address.port())
        } else {
            format!("{host}:{}", address.port())
        };
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

/// Why a CA could not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("failed to listen on {address}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A key or a certificate cannot be made, for example for a host that is no name.
    #[error("failed to make the keys and certificates of the CA")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library refuses the server's certificate.
    #[error("failed to set up TLS")]
    Tls(#[from] rustls::Error),
    /// A zone given to [`CaBuilder::dns_for`] is no domain name.
    #[error("zone \"{zone}\" is not a domain name: {reason}")]
    Zone {
        /// The zone as given.
        zone: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogEntry {
    /// When it came, by the CA's clock.
    pub at: Timestamp,
    /// How long the answer took.
    pub took: Duration,
    /// The HTTP method.
    pub method: String,
    /// What was asked for, if the CA knows the path.
    pub resource: Option<Resource>,
    /// Path and query.
    pub path: String,
    /// The status of the answer, `None` if the connection was cut instead.
    pub status: Option<u16>,
    /// The last part of the type of the problem, if the CA refused by itself.
    pub error: Option<ErrorKind>,
}

/// An account at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names are those of RFC 8555 section 7.1.2")]
pub struct AccountSnapshot {
    pub url: String,
    pub status: AccountStatus,
    pub contact: Vec<String>,
    /// RFC 7638.
    pub thumbprint: String,
}

/// An order at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names are those of RFC 8555 section 7.1.3")]
pub struct OrderSnapshot {
    pub url: String,
    pub account: String,
    pub status: OrderStatus,
    /// Sorted.
    pub identifiers: Vec<String>,
    pub authorizations: Vec<String>,
    pub profile: Option<String>,
    pub replaces: Option<String>,
    /// The detail of the problem, if the order is invalid.
    pub error: Option<String>,
}

/// An authorization at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names are those of RFC 8555 section 7.1.4")]
pub struct AuthorizationSnapshot {
    pub url: String,
    pub account: String,
    /// Without `*.`.
    pub domain: String,
    pub wildcard: bool,
    pub status: AuthorizationStatus,
    /// Status of the `dns-01` challenge.
    pub challenge: ChallengeStatus,
    pub expires: Timestamp,
    /// The detail of the challenge's problem.
    pub error: Option<String>,
}

/// A certificate at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IssuedCertificate {
    /// The certificate.
    pub der: Vec<u8>,
    /// Its serial number, big-endian, without the sign octet that DER may need.
    pub serial: Vec<u8>,
    /// What `renewalInfo` and `replaces` call it (RFC 9773 section 4.1).
    pub cert_id: String,
    /// Its names, sorted.
    pub names: Vec<String>,
    /// URL of the order.
    pub order: String,
    /// Start of its life.
    pub not_before: Timestamp,
    /// The last second of its life.
    pub not_after: Timestamp,
    /// When and why it was revoked.
    pub revoked: Option<Revocation>,
    /// URL of the last order that named it in `replaces`.
    pub replaced_by: Option<String>,
}
