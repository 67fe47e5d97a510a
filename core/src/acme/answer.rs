//! What a CA answered: status, headers and the whole body, before anybody has judged it.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::StatusCode;
use http::header;
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use super::error::AcmeError;
use super::error::Refusal;
use super::links::Links;
use super::problem::Problem;
use crate::web;
use crate::web::printable;

/// One answer of the CA.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) resource: &'static str,
    pub(super) url: String,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) elapsed: Duration,
}

impl Answer {
    /// The fresh nonce, where there is one that is well-formed (RFC 8555 section 6.5.1).
    pub(super) fn nonce(&self) -> Option<String> {
        let nonce = self.header("replay-nonce")?;
        let well_formed = !nonce.is_empty()
            && nonce
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        well_formed.then(|| nonce.to_owned())
    }

    pub(super) fn is_bad_nonce(&self) -> bool {
        self.status == StatusCode::BAD_REQUEST
            && Problem::from_body(&self.body).is_some_and(|p| p.is("badNonce"))
    }

    /// The answer, if it is a success; else what was refused.
    pub(super) fn into_result(self) -> Result<Self, AcmeError> {
        match self.status.is_success() {
            true => Ok(self),
            false => Err(AcmeError::Refused(Box::new(self.refusal()))),
        }
    }

    /// The body as JSON of that shape.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, AcmeError> {
        serde_json::from_slice(&self.body).map_err(|e| self.malformed(e.to_string()))
    }

    /// The absolute URL of what was created or found.
    pub(super) fn location(&self) -> Result<String, AcmeError> {
        match self.header(header::LOCATION.as_str()) {
            // An account URL is compared octet by octet (RFC 8657), so an absolute one is left as it is.
            Some(location) if location.contains("://") => Ok(location.to_owned()),
            Some(location) => url::Url::parse(&self.url)
                .and_then(|base| base.join(location))
                .map(String::from)
                .map_err(|e| self.malformed(format!("Location `{}`: {e}", printable(location)))),
            None => Err(self.malformed("no Location header".to_owned())),
        }
    }

    pub(super) fn links(&self) -> Links {
        let values = self.headers.get_all(header::LINK);
        Links::parse(values.iter().filter_map(|v| v.to_str().ok()), &self.url)
    }

    /// How long from now the CA wants to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        web::retry_after(&self.headers)
    }

    pub(super) fn content_type(&self) -> Option<&str> {
        self.header(header::CONTENT_TYPE.as_str())
    }

    pub(super) fn malformed(&self, detail: String) -> AcmeError {
        AcmeError::Malformed {
            resource: self.resource,
            url: self.url.clone(),
            status: self.status.as_u16(),
            detail,
            body_start: start_of(&self.body),
        }
    }

    /// In a word or two, why this is no success; for events.
    pub(super) fn failure(&self) -> Option<String> {
        if self.status.is_success() {
            return None;
        }
        Some(match Problem::from_body(&self.body) {
            Some(problem) => problem.short_kind().to_owned(),
            None => format!("HTTP {}", self.status.as_u16()),
        })
    }

    fn refusal(&self) -> Refusal {
        let problem = Problem::from_body(&self.body);
        let in_detail = || {
            let now = web::date(&self.headers).unwrap_or_else(Timestamp::now);
            problem.as_ref()?.retry_after(now)
        };
        Refusal {
            resource: self.resource,
            url: self.url.clone(),
            status: self.status.as_u16(),
            retry_after: self.retry_after().or_else(in_detail),
            links: self.links(),
            body_start: start_of(&self.body),
            problem,
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok().map(str::trim)
    }
}

/// The first 200 octets as text that a terminal can show.
pub(super) fn start_of(body: &[u8]) -> String {
    printable(&String::from_utf8_lossy(
        &body[..body.len().min(BODY_START)],
    ))
}

const BODY_START: usize = 200;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Answer {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        Answer {
            resource: "newOrder",
            url: "https://ca.example/order".to_owned(),
            status: StatusCode::from_u16(status).unwrap(),
            headers: map,
            body: Bytes::from(body.to_owned()),
            elapsed: Duration::ZERO,
        }
    }

    #[test]
    fn a_rate_limit_keeps_everything_it_said() {
        let error = answer(
            429,
            &[
                ("retry-after", "7"),
                ("link", r#"<https://ca.example/limits>;rel="help""#),
            ],
            r#"{"type": "urn:ietf:params:acme:error:rateLimited", "detail": "slow down"}"#,
        )
        .into_result()
        .unwrap_err();
        assert_eq!(error.status(), Some(429));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        assert!(error.is_rate_limited());
        assert!(error.hint().unwrap().contains("https://ca.example/limits"));
        assert_eq!(
            error.to_string(),
            "ca.example refused newOrder with HTTP 429: slow down (rateLimited)"
        );
    }

    #[test]
    fn html_and_empty_bodies_survive() {
        let error = answer(502, &[], "<html>\n<b>Bad\tGateway</b>").into_result();
        assert_eq!(
            error.unwrap_err().to_string(),
            "ca.example answered newOrder with HTTP 502: <html> <b>Bad Gateway</b>"
        );
        let error = answer(404, &[], "").into_result().unwrap_err();
        assert_eq!(
            error.to_string(),
            "ca.example answered newOrder with HTTP 404 and an empty body"
        );
        assert!(!error.is_retryable());
    }

    #[test]
    fn nonces_that_are_none_are_ignored() {
        let nonce = |value| answer(200, &[("replay-nonce", value)], "").nonce();
        assert_eq!(nonce("a-B_9").as_deref(), Some("a-B_9"));
        assert_eq!(nonce(""), None);
        assert_eq!(nonce("a b"), None);
        assert_eq!(nonce("a="), None);
    }

    #[test]
    fn locations_may_be_relative() {
        let location = |value| answer(201, &[("location", value)], "").location().unwrap();
        assert_eq!(location("/acct/1"), "https://ca.example/acct/1");
        assert_eq!(
            location("https://CA.example:443/a"),
            "https://CA.example:443/a"
        );
        assert!(answer(201, &[], "{}").location().is_err());
    }
}
