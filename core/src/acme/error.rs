//! What can go wrong between us and a CA, for any request.
//!
//! [`AcmeError`] is one request's failure: with the server, what was asked of it, what it answered, when it wants to be
//! asked again. The errors of whole operations ([`DirectoryError`](super::DirectoryError),
//! [`AccountError`](super::AccountError), [`OrderError`](super::OrderError)) are built on it.

use std::fmt;
use std::time::Duration;

use super::links::Links;
use super::problem::Problem;
use crate::web::Distrust;
use crate::web::ProxyFault;
use crate::web::host;
use crate::words::rounded;

/// Why one request to a CA did not do what it was for.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcmeError {
    /// Somebody asked us to stop.
    #[error("the run was cancelled before {resource} was done")]
    Cancelled {
        /// What was asked for.
        resource: &'static str,
    },
    /// The CA names a URL for a resource that is not HTTPS (RFC 8555 section 6.1).
    #[error("the CA names {url} for {resource}, which is not HTTPS")]
    Insecure {
        /// What was to be asked for.
        resource: &'static str,
        /// Where.
        url: String,
    },
    /// Nothing could be sent, for a reason on our side.
    #[error("the request cannot be made: {0}")]
    Local(String),
    /// A success that says something we cannot use.
    #[error(
        "{} answered {resource} with HTTP {status} and something else than asked for: {detail}{}",
        host(url),
        quoted(body_start)
    )]
    Malformed {
        /// What was asked for.
        resource: &'static str,
        /// Where.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What is wrong with it.
        detail: String,
        /// The first octets of the body.
        body_start: String,
    },
    /// The server's certificate is not trusted.
    #[error("the certificate of {} is not trusted: {detail}", host(url))]
    NotTrusted {
        /// What was asked for.
        resource: &'static str,
        /// Where.
        url: String,
        /// The kind of distrust.
        cause: Distrust,
        /// What the verifier said.
        detail: String,
    },
    /// A proxy of the environment made no connection.
    #[error("{} cannot be reached for {resource}: {}", host(url), fault.says(proxy))]
    Proxied {
        /// What was asked for.
        resource: &'static str,
        /// Where.
        url: String,
        /// The proxy, without its credentials.
        proxy: String,
        /// What it did.
        fault: ProxyFault,
    },
    /// The CA said no, or something before it did.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// No answer in time.
    #[error("{} did not answer {resource} within {}s", host(url), after.as_secs_f32())]
    TimedOut {
        /// What was asked for.
        resource: &'static str,
        /// Where.
        url: String,
        /// How long we waited.
        after: Duration,
    },
    /// No connection, or one that broke.
    #[error("{} cannot be reached for {resource}: {detail}", host(url))]
    Unreachable {
        /// What was asked for.
        resource: &'static str,
        /// Where.
        url: String,
        /// What happened instead.
        detail: String,
    },
}

impl AcmeError {
    /// The HTTP status, where there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Malformed { status, .. } => Some(*status),
            Self::Refused(refusal) => Some(refusal.status),
            _ => None,
        }
    }

    /// What the CA said about it, where it did so in an ACME way.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(refusal) => refusal.problem.as_ref(),
            _ => None,
        }
    }

    /// Whether the CA answered with the ACME error of that name, such as `unauthorized`.
    pub fn is(&self, name: &str) -> bool {
        self.problem().is_some_and(|problem| problem.is(name))
    }

    /// Whether it is about too many requests or certificates.
    pub fn is_rate_limited(&self) -> bool {
        self.status() == Some(429) || self.is("rateLimited")
    }

    /// Whether the same request may succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Proxied { .. } | Self::TimedOut { .. } | Self::Unreachable { .. } => true,
            Self::Refused(refusal) => refusal.is_server_side() || self.is_rate_limited(),
            Self::Cancelled { .. }
            | Self::Insecure { .. }
            | Self::Local(_)
            | Self::Malformed { .. }
            | Self::NotTrusted { .. } => false,
        }
    }

    /// How long the CA asked to be left alone, counted from its answer.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            _ => None,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotTrusted { cause, url, .. } => Some(match cause {
                Distrust::Authority => format!(
                    "{} shows the certificate of a CA as its own; give it one that is signed by that CA, with `CA:FALSE` and its name",
                    host(url)
                ),
                Distrust::Clock => "check the clock of this machine".to_owned(),
                Distrust::Name => {
                    format!(
                        "the server's certificate is for another name than {}",
                        host(url)
                    )
                }
                Distrust::Other | Distrust::UnknownIssuer => {
                    "if this CA has a root certificate of its own, name it with `--ca-root FILE`"
                        .to_owned()
                }
            }),
            Self::Proxied { url, fault, .. } => Some(fault.hint(url)),
            Self::Refused(refusal) => refusal.hint(),
            Self::Unreachable { detail, url, .. }
                if is_loopback(url) && detail.starts_with("Network is unreachable") =>
            {
                Some(
                    "the loopback interface is down here, as in a new network namespace: `ip link set lo up`"
                        .to_owned(),
                )
            }
            Self::TimedOut { .. } | Self::Unreachable { .. } => Some(
                "check the URL and the network; a proxy is taken from HTTPS_PROXY and NO_PROXY"
                    .to_owned(),
            ),
            Self::Malformed { .. } => {
                Some("something between here and the CA may have answered in its place".to_owned())
            }
            Self::Insecure { .. } => Some(
                "a proxy in front of the CA that does not know its own scheme does this; nothing is sent in the clear"
                    .to_owned(),
            ),
            Self::Cancelled { .. } | Self::Local(_) => None,
        }
    }
}

/// An answer that is no success.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Refusal {
    /// What was asked for.
    pub resource: &'static str,
    /// Where.
    pub url: String,
    /// The HTTP status.
    pub status: u16,
    /// The problem document, where the body is one.
    pub problem: Option<Problem>,
    /// How long from then the CA wants to be left alone.
    pub retry_after: Option<Duration>,
    /// The links beside it, such as `help` and `terms-of-service`.
    pub links: Links,
    /// The first octets of the body.
    pub body_start: String,
}

impl Refusal {
    /// Whether the fault is the server's and may pass.
    pub fn is_server_side(&self) -> bool {
        matches!(self.status, 500 | 502 | 503 | 504)
    }

    fn hint(&self) -> Option<String> {
        let problem = self.problem.as_ref();
        let is = |name| problem.is_some_and(|p| p.is(name));
        if self.status == 429 || is("rateLimited") {
            let when = match self.retry_after {
                Some(after) => format!("try again in {}", rounded(after)),
                None => "the CA does not say when to try again".to_owned(),
            };
            return Some(match self.links.first("help") {
                Some(help) => format!("{when}; see {help}"),
                None => when,
            });
        }
        if is("userActionRequired") {
            let instance = problem.and_then(|p| p.instance.as_deref());
            let terms = self.links.first("terms-of-service");
            return match (instance, terms) {
                (Some(visit), Some(terms)) => {
                    Some(format!("visit {visit}; the terms are at {terms}"))
                }
                (Some(visit), None) => Some(format!("visit {visit}")),
                (None, Some(terms)) => {
                    Some(format!("read the terms at {terms} and agree to them again"))
                }
                (None, None) => None,
            };
        }
        if is("badSignatureAlgorithm") {
            let algorithms = &problem?.algorithms;
            return (!algorithms.is_empty()).then(|| {
                format!(
                    "the CA takes {}, and our account keys are ES256",
                    algorithms.join(", ")
                )
            });
        }
        if is("accountDoesNotExist") {
            return Some("the CA does not know this account any more; run it again with `--agree-tos`, which registers anew".to_owned());
        }
        if is("caa") {
            return Some("look at the CAA records of the name and of its parents".to_owned());
        }
        if self.is_server_side() {
            return Some(match self.retry_after {
                Some(after) => format!(
                    "the fault is the CA's; it asks to try again in {}",
                    rounded(after)
                ),
                None => "the fault is the CA's; try again later".to_owned(),
            });
        }
        None
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            resource, status, ..
        } = self;
        let host = host(&self.url);
        match (&self.problem, self.body_start.as_str()) {
            (Some(problem), _) => {
                write!(f, "{host} refused {resource} with HTTP {status}: {problem}")
            }
            (None, "") => write!(
                f,
                "{host} answered {resource} with HTTP {status} and an empty body"
            ),
            (None, start) => write!(f, "{host} answered {resource} with HTTP {status}: {start}"),
        }
    }
}

fn is_loopback(url: &str) -> bool {
    let host = url::Url::parse(url).ok().and_then(|url| match url.host()? {
        url::Host::Ipv4(address) => Some(address.is_loopback()),
        url::Host::Ipv6(address) => Some(address.is_loopback()),
        url::Host::Domain(name) => Some(name == "localhost"),
    });
    host.unwrap_or_default()
}

pub(super) fn quoted(text: &str) -> String {
    match text.is_empty() {
        true => String::new(),
        false => format!(" (`{text}`)"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::tests::answer;
    use super::*;

    #[test]
    fn user_action_gives_both_links() {
        // RFC 8555 section 7.3.3
        let error = answer(
            403,
            &[("link", r#"<https://example.com/acme/terms/2017-6-02>;rel="terms-of-service""#)],
            r#"{"type": "urn:ietf:params:acme:error:userActionRequired", "detail": "Terms of service have changed",
                "instance": "https://example.com/acme/agreement/?token=W8Ih3PswD-8"}"#,
        )
        .into_result()
        .unwrap_err();
        let hint = error.hint().unwrap();
        assert!(hint.contains("/agreement/?token=W8Ih3PswD-8"), "{hint}");
        assert!(hint.contains("/terms/2017-6-02"), "{hint}");
        assert!(!error.is_retryable());
    }

    #[test]
    fn server_faults_may_pass_and_refusals_do_not() {
        for (status, wanted) in [
            (500, true),
            (503, true),
            (501, false),
            (403, false),
            (429, true),
        ] {
            let error = answer(status, &[], "").into_result().unwrap_err();
            assert_eq!(error.is_retryable(), wanted, "{status}");
        }
    }

    #[test]
    fn a_loopback_interface_that_is_down_is_no_matter_of_proxies() {
        let unreachable = |url: &str| AcmeError::Unreachable {
            resource: "directory",
            url: url.to_owned(),
            detail: "Network is unreachable (os error 101)".to_owned(),
        };
        for url in [
            "https://127.0.0.1:14000/dir",
            "https://[::1]/",
            "https://localhost/d",
        ] {
            let hint = unreachable(url).hint().unwrap();
            assert!(hint.contains("ip link set lo up"), "{hint}");
        }
        let hint = unreachable("https://ca.example.com/").hint().unwrap();
        assert!(hint.contains("HTTPS_PROXY"), "{hint}");
    }
}
