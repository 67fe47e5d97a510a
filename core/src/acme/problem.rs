//! Problem documents: what a CA says when it refuses (RFC 7807, RFC 8555 section 6.7).
//!
//! Read leniently, because the text matters most when a server is least careful: a member of the wrong type is left
//! out instead of hiding the rest, and control characters never reach a terminal.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde_json::Value;

use crate::dns::Identifier;
use crate::web::printable;

/// A problem document, with its subproblems.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The type, as the server wrote it; `about:blank` where it wrote none.
    #[serde(rename = "type")]
    pub kind: String,
    /// A short name of the type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What happened, for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The HTTP status the server meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// A URL about this occurrence, such as where a person has to agree to something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Which name it is about (only in subproblems, RFC 8555 section 6.7.1, though some CAs put it at the top).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identifier: Option<String>,
    /// The problems of single names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subproblems: Vec<Problem>,
    /// The signature algorithms that the CA would take (RFC 8555 section 6.2).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub algorithms: Vec<String>,
}

impl Problem {
    /// Whether this is the ACME error of that name, such as `badNonce`.
    pub fn is(&self, name: &str) -> bool {
        self.kind
            .strip_prefix(ACME_ERROR)
            .is_some_and(|rest| rest == name)
    }

    /// The type without `urn:ietf:params:acme:error:` where it has that prefix.
    pub fn short_kind(&self) -> &str {
        self.kind.strip_prefix(ACME_ERROR).unwrap_or(&self.kind)
    }

    /// How long from `now` the text asks to stay away: `retry after 2006-01-02 15:04:05 UTC`, as Let's Encrypt writes it.
    pub(super) fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        let (_, rest) = self.detail.as_deref()?.split_once("retry after ")?;
        let date = rest.get(..DETAIL_DATE_LEN)?;
        let until = DateTime::strptime(DETAIL_DATE, date).ok()?;
        let until = until.to_zoned(TimeZone::UTC).ok()?.timestamp();
        Some(Duration::try_from(until.duration_since(now)).unwrap_or(Duration::ZERO))
    }

    /// The name it is about, where it is one that a certificate of ours can hold.
    pub fn subject(&self) -> Option<Identifier> {
        self.identifier.as_deref()?.parse().ok()
    }

    /// The problem document in a body, if there is one.
    pub(super) fn from_body(body: &[u8]) -> Option<Self> {
        Self::from_value(&serde_json::from_slice(body).ok()?, 0)
    }

    fn from_value(value: &Value, depth: usize) -> Option<Self> {
        let object = value.as_object()?;
        let text = |name: &str| object.get(name).and_then(Value::as_str).map(printable);
        let known = ["type", "detail", "title", "status"];
        if !known.iter().any(|name| object.contains_key(*name)) {
            return None;
        }

        let identifier = object.get("identifier").and_then(|identifier| {
            identifier
                .as_str()
                .or_else(|| identifier.get("value").and_then(Value::as_str))
                .map(printable)
        });
        let subproblems = match depth < MAX_DEPTH {
            true => list(object.get("subproblems"))
                .filter_map(|sub| Self::from_value(sub, depth + 1))
                .collect(),
            false => Vec::new(),
        };
        let status = object.get("status").and_then(|status| match status {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64().and_then(|n| u16::try_from(n).ok()),
        });
        Some(Self {
            kind: text("type").unwrap_or_else(|| NO_TYPE.to_owned()),
            title: text("title"),
            detail: text("detail"),
            status,
            instance: text("instance"),
            identifier,
            subproblems,
            algorithms: list(object.get("algorithms"))
                .filter_map(Value::as_str)
                .map(printable)
                .collect(),
        })
    }
}

impl fmt::Display for Problem {
    /// The detail of the top and of every subproblem, each with the name it is about.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(identifier) = &self.identifier {
            write!(f, "{identifier}: ")?;
        }
        let detail = self.detail.as_deref().filter(|text| !text.is_empty());
        match detail.or(self.title.as_deref()) {
            Some(text) if self.kind == NO_TYPE => f.write_str(text)?,
            Some(text) => write!(f, "{text} ({})", self.short_kind())?,
            None => f.write_str(self.short_kind())?,
        }
        for sub in &self.subproblems {
            write!(f, "; {sub}")?;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Problem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        // An order may hold `"error": {}`; that is a problem nobody described, not an unreadable order.
        Ok(Self::from_value(&value, 0).unwrap_or_else(|| Self {
            kind: NO_TYPE.to_owned(),
            ..Self::default()
        }))
    }
}

fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

const ACME_ERROR: &str = "urn:ietf:params:acme:error:";
const DETAIL_DATE: &str = "%Y-%m-%d %H:%M:%S UTC";
const DETAIL_DATE_LEN: usize = "2006-01-02 15:04:05 UTC".len();
const NO_TYPE: &str = "about:blank";
/// Subproblems have no subproblems (RFC 8555 section 6.7.1); a server that nests them anyway is not followed far.
const MAX_DEPTH: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_of_the_rfc() {
        // RFC 8555 section 6.7.1
        let problem = Problem::from_body(
            br#"{
                "type": "urn:ietf:params:acme:error:malformed",
                "detail": "Some of the identifiers requested were rejected",
                "subproblems": [
                    {
                        "type": "urn:ietf:params:acme:error:malformed",
                        "detail": "Invalid underscore in DNS name \"_example.org\"",
                        "identifier": { "type": "dns", "value": "_example.org" }
                    },
                    {
                        "type": "urn:ietf:params:acme:error:rejectedIdentifier",
                        "detail": "This CA will not issue for \"example.net\"",
                        "identifier": { "type": "dns", "value": "example.net" }
                    }
                ]
            }"#,
        )
        .unwrap();
        assert!(problem.is("malformed"));
        assert_eq!(
            problem.to_string(),
            "Some of the identifiers requested were rejected (malformed); \
             _example.org: Invalid underscore in DNS name \"_example.org\" (malformed); \
             example.net: This CA will not issue for \"example.net\" (rejectedIdentifier)"
        );
        assert_eq!(problem.subproblems[0].subject(), None);
        assert_eq!(problem.subproblems[1].subject(), "example.net".parse().ok());
    }

    #[test]
    fn wrong_types_hide_nothing_else() {
        let problem = Problem::from_body(
            br#"{"type": 7, "detail": "no\u001b[31m\r\nway", "status": "403", "subproblems": {}, "algorithms": ["ES256", 1]}"#,
        )
        .unwrap();
        assert_eq!(problem.detail.as_deref(), Some("no [31m way"));
        assert_eq!(problem.status, Some(403));
        assert_eq!(problem.algorithms, ["ES256"]);
        assert_eq!(problem.to_string(), "no [31m way");
    }

    #[test]
    fn what_is_no_problem_document() {
        for body in ["", "<html>502</html>", "[]", "\"x\"", "{}", "{\"foo\": 1}"] {
            assert_eq!(Problem::from_body(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn it_survives_being_stored() {
        let problem = Problem::from_body(
            br#"{"type": "urn:ietf:params:acme:error:dns", "subproblems": [{"detail": "d", "identifier": {"type": "dns", "value": "a.test"}}]}"#,
        )
        .unwrap();
        let json = serde_json::to_string(&problem).unwrap();
        assert_eq!(serde_json::from_str::<Problem>(&json).unwrap(), problem);
    }

    #[test]
    fn the_detail_of_a_rate_limit_says_when_to_come_back() {
        let now: Timestamp = "2026-01-02T15:04:00Z".parse().unwrap();
        let of = |detail: &str| {
            let detail = Some(detail.to_owned());
            let problem = Problem {
                detail,
                ..Problem::default()
            };
            problem.retry_after(now)
        };
        let detail = "too many certificates (5) already issued for this exact set of identifiers in the last \
                      168h0m0s, retry after 2026-01-02 15:04:05 UTC: see https://letsencrypt.org/docs/rate-limits/";
        assert_eq!(of(detail), Some(Duration::from_secs(5)));
        assert_eq!(of("retry after a while"), None);
        assert_eq!(of("retry after 2026-01-02 15:04:0\u{e9}"), None);
    }
}
