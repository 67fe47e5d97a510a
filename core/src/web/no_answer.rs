//! Why a request got no answer, in words that name no URL: some services want their secret in it.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use rustls::CertificateError;

use super::printable;
use super::proxy::ProxyFault;
use super::proxy::proxy_for;

/// What stood in the way.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum NoAnswer {
    /// The server's certificate is not trusted.
    Distrusted {
        /// The kind of distrust.
        cause: Distrust,
        /// What the verifier said.
        detail: String,
    },
    /// There was no connection, or it broke.
    Other(String),
    /// A proxy of the environment made no connection.
    Proxied {
        /// What it did.
        fault: ProxyFault,
        /// The proxy, without its credentials.
        proxy: String,
    },
    /// It took too long after the connection was there.
    TimedOut,
}

impl NoAnswer {
    /// How it begins where a certificate is not trusted.
    pub(crate) const DISTRUSTED: &str = "its certificate is not trusted";

    /// What to do where a text of ours says that a certificate is not trusted.
    pub(crate) fn hint_of_distrust(text: &str) -> Option<&'static str> {
        let says = |words: &str| text.contains(words);
        Some(match () {
            () if !says(Self::DISTRUSTED) => return None,
            () if says("expired") || says("not valid yet") => {
                "check the clock of this machine, and the certificate of the server"
            }
            () if says("not valid for name") => {
                "the server's certificate is for another name: is its address right?"
            }
            () => {
                "`--ca-root FILE` trusts one more root, such as that of a firewall that reads HTTPS"
            }
        })
    }

    /// What a TLS stream means.
    pub(crate) fn of_tls(error: &io::Error) -> Self {
        match certificate_error(error) {
            Some(reason) => Self::Distrusted {
                cause: Distrust::from(&reason),
                detail: distrust(&reason),
            },
            None => Self::Other(root_cause(error)),
        }
    }

    /// What the client means.
    pub fn of(error: &reqwest::Error) -> Self {
        let proxied = || {
            let url = error.url()?;
            let proxy = proxy_for(url)?;
            let fault = ProxyFault::of(error, url)?;
            Some((fault, proxy))
        };
        let proxied = proxied();
        // Before there is a connection to the proxy, it is the proxy's certificate.
        let is_servers = !matches!(proxied, Some((ProxyFault::Down(_), _)));
        if let Some(reason) = certificate_error(error)
            && is_servers
        {
            return Self::Distrusted {
                cause: Distrust::from(&reason),
                detail: distrust(&reason),
            };
        }
        if let Some((fault, proxy)) = proxied {
            return Self::Proxied { fault, proxy };
        }
        match error.is_timeout() && !error.is_connect() {
            true => Self::TimedOut,
            false => Self::Other(root_cause(error)),
        }
    }
}

impl StdError for NoAnswer {}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Distrusted { detail, .. } => {
                write!(f, "{}: {detail}", Self::DISTRUSTED)
            }
            Self::Other(detail) => f.write_str(detail),
            Self::Proxied { fault, proxy } => f.write_str(&fault.says(proxy)),
            Self::TimedOut => f.write_str("no answer in time"),
        }
    }
}

/// Why a server's certificate is not trusted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Distrust {
    /// The server shows the certificate of a CA as its own.
    Authority,
    /// The certificate is not valid yet, or no longer.
    Clock,
    /// The certificate is for other names.
    Name,
    /// Anything else.
    Other,
    /// Nobody we trust has signed it.
    UnknownIssuer,
}

impl From<&rustls::Error> for Distrust {
    fn from(error: &rustls::Error) -> Self {
        let rustls::Error::InvalidCertificate(error) = error else {
            return Self::Other;
        };
        match error {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Self::Clock,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::Name
            }
            CertificateError::Revoked => Self::Other,
            // The verifier's own type is not public in rustls.
            CertificateError::Other(other)
                if format!("{other:?}").contains("CaUsedAsEndEntity") =>
            {
                Self::Authority
            }
            // A self-signed certificate that is no root of ours shows as bad in several ways.
            _ => Self::UnknownIssuer,
        }
    }
}

/// What the verifier said, in words.
fn distrust(error: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        return printable(&error.to_string());
    };
    match Distrust::from(error) {
        Distrust::Authority => {
            "the certificate of a CA is used as a server's (CaUsedAsEndEntity)".to_owned()
        }
        _ => printable(&other.to_string()),
    }
}

/// The TLS error about the peer's certificate, wherever in the chain of causes it stands.
fn certificate_error(error: &(dyn StdError + 'static)) -> Option<rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return matches!(tls, rustls::Error::InvalidCertificate(_)).then(|| tls.clone());
        }
        next = match error.downcast_ref::<io::Error>() {
            // `source` of an `io::Error` skips the error that it wraps.
            Some(io) => io.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    None
}

/// The text of the innermost cause, which says what the layers around it only repeat.
pub(crate) fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    // What rustls says before a text of its own.
    printable(cause.to_string().trim_start_matches("unexpected error: "))
}
