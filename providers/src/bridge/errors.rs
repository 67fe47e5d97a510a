//! The crate's errors are texts. What they say is found out again here, as far as it can be.

use dns_update::Error;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::ProviderError;

use crate::redact::Secrets;

/// Whom an error is about.
#[derive(Debug)]
pub(super) struct About<'a> {
    pub(super) endpoint: &'a str,
    pub(super) kind: &'static str,
    pub(super) owner: &'a DomainName,
    pub(super) secrets: &'a Secrets,
    pub(super) zone: &'a DomainName,
}

impl About<'_> {
    /// The error as everybody else has them.
    pub(super) fn error(&self, error: &Error) -> ProviderError {
        let endpoint = self.endpoint.to_owned();
        let detail = words(error, self.secrets);
        match meaning(error) {
            Meaning::Conflict => ProviderError::Conflict {
                detail,
                endpoint,
                zone: self.zone.clone(),
            },
            Meaning::Credentials => ProviderError::Credentials {
                detail,
                endpoint,
                hint: Some(format!(
                    "`dnseal provider show {}` says which credentials it needs, and what they must be allowed",
                    self.kind
                )),
            },
            Meaning::NoZone => ProviderError::ZoneNotFound {
                endpoint,
                held: Vec::new(),
                owner: self.owner.clone(),
            },
            Meaning::RateLimited => ProviderError::RateLimited {
                detail,
                endpoint,
                retry_after: None,
            },
            Meaning::Refused => ProviderError::Refused {
                hint: detail.to_ascii_lowercase().contains("not found").then(|| {
                    format!(
                        "is the zone {} in this account, and may the credentials see it?",
                        self.zone
                    )
                }),
                detail,
                endpoint,
            },
            Meaning::Unreachable => ProviderError::Unreachable { detail, endpoint },
            Meaning::Unsupported => ProviderError::Unsupported { detail, endpoint },
        }
    }
}

/// What the crate says, on one line and not endless, without a URL's query, in which some services want their key.
pub(super) fn words(error: &Error, secrets: &Secrets) -> String {
    let text = match error {
        Error::Protocol(text)
        | Error::Parse(text)
        | Error::Client(text)
        | Error::Response(text)
        | Error::Api(text)
        | Error::Serialize(text)
        | Error::Unsupported(text) => text.as_str(),
        Error::Unauthorized => "401 Unauthorized",
        Error::NotFound => "404 Not Found",
        Error::BadRequest => "400 Bad Request",
        Error::InvalidRegion => "that is no name of a region",
        _ => "an error without words",
    };
    let text = match text.strip_prefix(UNSENT) {
        // What follows is the same URL once more, and that the request was not sent.
        Some(rest) => {
            let url = rest.split_whitespace().next().unwrap_or_default();
            let url = url.split('?').next().unwrap_or_default();
            format!(
                "no connection to {}, or no answer in time",
                url.trim_end_matches(':')
            )
        }
        None => text.to_owned(),
    };
    let mut line = String::new();
    for word in text
        .split(|c: char| c.is_control() || c.is_whitespace())
        .filter(|word| !word.is_empty())
    {
        if !line.is_empty() {
            line.push(' ');
        }
        let is_url = word.contains("://");
        line.push_str(match word.split_once('?') {
            Some((path, _)) if is_url => path,
            _ => word,
        });
    }
    // Before it is cut, so that no half of one stays.
    let mut line = secrets.scrub(&line);
    if let Some((at, _)) = line.char_indices().nth(MAX_WORDS) {
        line.truncate(at);
        line.push('…');
    }
    line
}

enum Meaning {
    Conflict,
    Credentials,
    NoZone,
    RateLimited,
    Refused,
    Unreachable,
    Unsupported,
}

fn meaning(error: &Error) -> Meaning {
    match error {
        Error::Unauthorized => return Meaning::Credentials,
        // The reads of RRsets that are not there do not end in this.
        Error::NotFound => return Meaning::NoZone,
        Error::Unsupported(_) => return Meaning::Unsupported,
        _ => {}
    }
    let (Error::Api(text) | Error::Client(text) | Error::Response(text) | Error::Protocol(text)) =
        error
    else {
        return Meaning::Refused;
    };
    if text.starts_with(UNSENT) || text.starts_with(UNREAD) {
        return Meaning::Unreachable;
    }
    let said = text.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    match status(text) {
        Some(401 | 403) => Meaning::Credentials,
        Some(409 | 412) => Meaning::Conflict,
        Some(429) => Meaning::RateLimited,
        Some(500..=599) => Meaning::Unreachable,
        _ if says(RATE) => Meaning::RateLimited,
        _ if says(CREDENTIALS) => Meaning::Credentials,
        _ => Meaning::Refused,
    }
}

/// The HTTP status in a text of the crate, such as `HTTP 429: slow down`.
fn status(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("HTTP ")?;
    let digits = rest.get(..3)?;
    let ends = !rest
        .get(3..)
        .unwrap_or_default()
        .starts_with(|c: char| c.is_ascii_digit());
    ends.then(|| digits.parse().ok()).flatten()
}

/// How services say that they were asked too often, where the status does not.
const RATE: &[&str] = &[
    "rate limit",
    "ratelimit",
    "request limit",
    "throttl",
    "too many requests",
];

/// How they say that the credentials are not good.
const CREDENTIALS: &[&str] = &[
    "access denied",
    "accessdenied",
    "authentication",
    "authorization",
    "forbidden",
    "invalid api key",
    "invalid token",
    "invalidaccesskey",
    "not authorized",
    "permission",
    "signature",
    "unauthorized",
];

const UNSENT: &str = "Failed to send request to ";
const UNREAD: &str = "Failed to read response";
const MAX_WORDS: usize = 300;
