//! What handlers answer with, on its way to being a response.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use super::{fault::Answer, problem::Problem};

/// What a handler answers.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    headers: Vec<(HeaderName, String)>,
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) fn empty(status: StatusCode) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Self {
        Self::document(status, "application/json", value)
    }

    pub(super) fn pem(chain: String) -> Self {
        let mut reply = Self::empty(StatusCode::OK)
            .with_header("content-type", "application/pem-certificate-chain");
        reply.body = chain.into();
        reply
    }

    pub(super) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers
            .push((HeaderName::from_static(name), value.into()));
        self
    }

    /// Adds the `Retry-After` of unfinished things, if there is to be one.
    pub(super) fn with_retry_after(self, retry_after: Option<String>) -> Self {
        match retry_after {
            Some(value) => self.with_header("retry-after", value),
            None => self,
        }
    }

    fn document(status: StatusCode, content_type: &str, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => {
                let mut reply = Self::empty(status).with_header("content-type", content_type);
                reply.body = body.into();
                reply
            }
            Err(err) => {
                tracing::error!("failed to serialize an answer: {err}");
                Self::empty(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    pub(super) fn problem(problem: &Problem) -> Self {
        let reply = Self::document(
            problem.status,
            "application/problem+json",
            &problem.document(),
        );
        problem
            .headers()
            .iter()
            .fold(reply, |reply, (name, value)| {
                reply.with_header(name, value.as_str())
            })
    }

    pub(super) fn made_up(answer: Answer) -> Self {
        let headers = answer
            .headers
            .into_iter()
            .filter_map(|(name, value)| Some((name.parse().ok()?, value)))
            .collect();
        Self {
            status: answer.status,
            headers,
            body: answer.body.into(),
        }
    }

    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        for (name, value) in self.headers {
            match HeaderValue::from_str(&value) {
                Ok(value) => {
                    response.headers_mut().append(name, value);
                }
                Err(err) => tracing::warn!("header {name} of an answer left out: {err}"),
            }
        }
        response
    }
}

/// The format of `Retry-After` and the like (RFC 9110 section 5.6.7).
pub(super) fn http_date(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC)
        .strftime("%a, %d %b %Y %H:%M:%S GMT")
        .to_string()
}

/// The format of times in JSON (RFC 3339), without fractions.
pub(super) fn rfc3339(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let at: Timestamp = "2026-11-01T08:05:06.789Z".parse().unwrap();
        assert_eq!(http_date(at), "Sun, 01 Nov 2026 08:05:06 GMT");
        assert_eq!(rfc3339(at), "2026-11-01T08:05:06Z");
    }
}
