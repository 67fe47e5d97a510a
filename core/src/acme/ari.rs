//! When a CA wants a certificate to be renewed (RFC 9773).
//!
//! One unauthenticated GET for a certificate. What is no window that could be used (its end not after its begin, no JSON,
//! no answer of the form that the RFC gives) is the same as no window: the caller has a rule of its own for that.

use std::time::Duration;

use http::Method;
use jiff::Timestamp;
use serde_json::Value;

use super::client::Client;
use super::error::AcmeError;
use super::retry::Retries;
use super::transport::Ask;
use crate::web::printable;

/// What a CA says about the renewal of one certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct RenewalInfo {
    /// Begin and end of the window that it suggests, the one before the other; none where it gives none of that kind.
    pub window: Option<(Timestamp, Timestamp)>,
    /// Where it explains the window.
    pub explanation: Option<String>,
    /// How long to wait before it is asked again: from one minute to one day, six hours unless it says.
    pub ask_again_after: Duration,
}

impl RenewalInfo {
    #[cfg(test)]
    pub(crate) fn of(window: (Timestamp, Timestamp)) -> Self {
        Self {
            window: Some(window),
            explanation: None,
            ask_again_after: ASK_AGAIN,
        }
    }

    fn parse(body: &[u8], retry_after: Option<Duration>) -> Self {
        let document: Value = serde_json::from_slice(body).unwrap_or_default();
        let time = |name: &str| -> Option<Timestamp> {
            document["suggestedWindow"][name].as_str()?.parse().ok()
        };
        Self {
            window: time("start")
                .zip(time("end"))
                .filter(|(start, end)| start < end),
            explanation: document["explanationURL"]
                .as_str()
                .filter(|url| url.starts_with("https://") || url.starts_with("http://"))
                .map(printable),
            // A date that has passed and a zero say nothing.
            ask_again_after: retry_after
                .filter(|after| !after.is_zero())
                .map_or(ASK_AGAIN, |after| after.clamp(SHORTEST, LONGEST)),
        }
    }
}

impl Client {
    /// What the CA says about the renewal of the certificate `ari_id` (RFC 9773 section 4); `None` where it says nothing about any.
    pub async fn renewal_info(&self, ari_id: &str) -> Result<Option<RenewalInfo>, AcmeError> {
        let Some(base) = &self.directory().renewal_info else {
            return Ok(None);
        };
        let url = format!("{}/{ari_id}", base.trim_end_matches('/'));
        let ask = Ask {
            method: Method::GET,
            url: &url,
            resource: "renewalInfo",
            accept: None,
            body: None,
        };
        let answer = Retries::Brief
            .run(|| async { self.transport().send(ask.clone()).await?.into_result() })
            .await?;
        Ok(Some(RenewalInfo::parse(&answer.body, answer.retry_after())))
    }
}

/// When nobody says (RFC 9773 section 4.3.3).
const ASK_AGAIN: Duration = Duration::from_secs(6 * 3600);
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(body: &str) -> RenewalInfo {
        RenewalInfo::parse(body.as_bytes(), None)
    }

    #[test]
    fn the_window_of_the_rfc() {
        // RFC 9773 section 4.2
        let info = parsed(
            r#"{"suggestedWindow": {"start": "2025-01-02T04:00:00Z", "end": "2025-01-03T04:00:00Z"},
                "explanationURL": "https://acme.example.com/docs/ari"}"#,
        );
        let (start, end) = info.window.unwrap();
        assert_eq!(start.to_string(), "2025-01-02T04:00:00Z");
        assert_eq!(end.to_string(), "2025-01-03T04:00:00Z");
        assert_eq!(
            info.explanation.as_deref(),
            Some("https://acme.example.com/docs/ari")
        );
        assert_eq!(info.ask_again_after, Duration::from_secs(21600));
    }

    #[test]
    fn what_is_no_window_is_none() {
        for body in [
            "",
            "no JSON",
            "[]",
            r#"{"suggestedWindow": null}"#,
            r#"{"suggestedWindow": {"start": "2025-01-03T04:00:00Z"}}"#,
            r#"{"suggestedWindow": {"start": "soon", "end": "later"}}"#,
            r#"{"suggestedWindow": {"start": 1, "end": 2}}"#,
            r#"{"suggestedWindow": {"start": "2025-01-03T04:00:00Z", "end": "2025-01-02T04:00:00Z"}}"#,
            r#"{"suggestedWindow": {"start": "2025-01-03T04:00:00Z", "end": "2025-01-03T04:00:00Z"},
                "explanationURL": "javascript:alert(1)"}"#,
        ] {
            let info = parsed(body);
            assert_eq!((info.window, info.explanation), (None, None), "{body}");
        }
    }

    #[test]
    fn nobody_is_asked_too_often_or_forgotten() {
        for (said, kept) in [(0, 21600), (1, 60), (3600, 3600), (1_000_000, 86400)] {
            let info = RenewalInfo::parse(b"{}", Some(Duration::from_secs(said)));
            assert_eq!(info.ask_again_after, Duration::from_secs(kept));
        }
    }
}
