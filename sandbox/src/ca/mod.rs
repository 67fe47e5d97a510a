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

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use jiff::Timestamp;
use thiserror::Error;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use self::{
    builder::{CaBuilder, RetryAfter},
    fault::{Answer, Fault, Faults, Tamper},
    problem::ErrorKind,
    route::Resource,
    state::{AccountStatus, AuthorizationStatus, ChallengeStatus, OrderStatus, Revocation},
};
use self::{server::Inner, state::RenewalWindow};

mod account;
mod authorization;
mod builder;
mod certificate;
mod crl;
mod fault;
mod identifier;
mod issue;
mod jws;
mod nonce;
mod order;
mod problem;
mod renewal;
mod reply;
mod route;
mod server;
mod state;
#[cfg(test)]
mod tests;
mod validate;

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

    /// Revokes a certificate as a CA does on its own account, with a reason code of RFC 5280 section 5.3.1. Returns whether there is
    /// such a certificate.
    pub fn revoke(&self, serial: &[u8], reason: Option<u8>) -> bool {
        let at = self.inner.now();
        let mut state = self.inner.state();
        let Some(entry) = state
            .certificates
            .values_mut()
            .find(|entry| entry.serial == serial)
        else {
            return false;
        };
        entry.revoked = Some(Revocation { at, reason });
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
