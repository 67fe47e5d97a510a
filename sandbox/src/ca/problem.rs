//! Problem documents (RFC 8555 section 6.7, RFC 7807): what every refusal of the CA looks like.
//!
//! Handlers return a [`Problem`] as their error; the server turns it into a response. The wording follows what the
//! large CAs say, so that a client's messages can be judged here.

use http::StatusCode;
use serde::Serialize;

/// The error types that the CA uses (RFC 8555 section 6.7, RFC 9773 section 7.4, draft-ietf-acme-profiles).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names are those of the RFC")]
pub enum ErrorKind {
    AccountDoesNotExist,
    AlreadyReplaced,
    AlreadyRevoked,
    BadCsr,
    BadNonce,
    BadPublicKey,
    BadRevocationReason,
    BadSignatureAlgorithm,
    Caa,
    Compound,
    Connection,
    Dns,
    ExternalAccountRequired,
    IncorrectResponse,
    InvalidContact,
    InvalidProfile,
    Malformed,
    OrderNotReady,
    RateLimited,
    RejectedIdentifier,
    ServerInternal,
    Tls,
    Unauthorized,
    UnsupportedContact,
    UnsupportedIdentifier,
    UserActionRequired,
}

impl ErrorKind {
    /// The last part of the URN.
    pub fn name(self) -> &'static str {
        match self {
            Self::AccountDoesNotExist => "accountDoesNotExist",
            Self::AlreadyReplaced => "alreadyReplaced",
            Self::AlreadyRevoked => "alreadyRevoked",
            Self::BadCsr => "badCSR",
            Self::BadNonce => "badNonce",
            Self::BadPublicKey => "badPublicKey",
            Self::BadRevocationReason => "badRevocationReason",
            Self::BadSignatureAlgorithm => "badSignatureAlgorithm",
            Self::Caa => "caa",
            Self::Compound => "compound",
            Self::Connection => "connection",
            Self::Dns => "dns",
            Self::ExternalAccountRequired => "externalAccountRequired",
            Self::IncorrectResponse => "incorrectResponse",
            Self::InvalidContact => "invalidContact",
            Self::InvalidProfile => "invalidProfile",
            Self::Malformed => "malformed",
            Self::OrderNotReady => "orderNotReady",
            Self::RateLimited => "rateLimited",
            Self::RejectedIdentifier => "rejectedIdentifier",
            Self::ServerInternal => "serverInternal",
            Self::Tls => "tls",
            Self::Unauthorized => "unauthorized",
            Self::UnsupportedContact => "unsupportedContact",
            Self::UnsupportedIdentifier => "unsupportedIdentifier",
            Self::UserActionRequired => "userActionRequired",
        }
    }

    /// The type as it stands in a problem document.
    pub fn urn(self) -> String {
        format!("urn:ietf:params:acme:error:{}", self.name())
    }

    /// The HTTP status that goes with the type unless a case needs another.
    pub fn status(self) -> StatusCode {
        match self {
            Self::AlreadyReplaced => StatusCode::CONFLICT,
            Self::Caa
            | Self::ExternalAccountRequired
            | Self::OrderNotReady
            | Self::Unauthorized
            | Self::UserActionRequired => StatusCode::FORBIDDEN,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::ServerInternal => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) kind: ErrorKind,
    pub(super) detail: String,
    pub(super) status: StatusCode,
    extra: Box<Extra>,
}

/// What few problems have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Extra {
    subproblems: Vec<Subproblem>,
    algorithms: &'static [&'static str],
    instance: Option<String>,
    headers: Vec<(&'static str, String)>,
}

impl Problem {
    pub(super) fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            status: kind.status(),
            extra: Box::default(),
        }
    }

    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Malformed, detail)
    }

    pub(super) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unauthorized, detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::malformed(detail).with_status(StatusCode::NOT_FOUND)
    }

    pub(super) fn internal(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::ServerInternal, detail)
    }

    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    pub(super) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.extra.headers.push((name, value.into()));
        self
    }

    /// Says in which part of a request it lies.
    pub(super) fn within(mut self, part: &str) -> Self {
        self.detail = format!("{part}: {}", self.detail);
        self
    }

    /// Names the algorithms that would have done (RFC 8555 section 6.2).
    pub(super) fn with_algorithms(mut self, algorithms: &'static [&'static str]) -> Self {
        self.extra.algorithms = algorithms;
        self
    }

    /// Names the page that a person must visit (RFC 8555 section 7.3.3).
    pub(super) fn with_instance(mut self, url: String) -> Self {
        self.extra.instance = Some(url);
        self
    }

    /// Headers of the response, such as the `Location` of a conflicting account.
    pub(super) fn headers(&self) -> &[(&'static str, String)] {
        &self.extra.headers
    }

    /// One problem out of those of single identifiers: itself when it is the only one, else one with subproblems
    /// (RFC 8555 section 6.7.1).
    pub(super) fn of_identifiers(mut problems: Vec<Subproblem>) -> Option<Self> {
        let first = problems.first()?;
        if problems.len() == 1 {
            let only = problems.remove(0);
            return Some(Self::new(
                only.kind,
                format!("Cannot issue for \"{}\": {}", only.identifier, only.detail),
            ));
        }
        let kind = if problems.iter().all(|p| p.kind == first.kind) {
            first.kind
        } else {
            ErrorKind::Compound
        };
        let detail = format!(
            "Cannot issue for \"{}\": {} (and {} more problems. Refer to sub-problems for more information.)",
            first.identifier,
            first.detail,
            problems.len() - 1
        );
        let mut problem = Self::new(kind, detail);
        problem.extra.subproblems = problems;
        Some(problem)
    }

    #[cfg(test)]
    pub(super) fn subproblems(&self) -> &[Subproblem] {
        &self.extra.subproblems
    }

    pub(super) fn document(&self) -> Document {
        Document {
            kind: self.kind.urn(),
            detail: self.detail.clone(),
            status: self.status.as_u16(),
            subproblems: self
                .extra
                .subproblems
                .iter()
                .map(Subproblem::document)
                .collect(),
            algorithms: self.extra.algorithms,
            instance: self.extra.instance.clone(),
        }
    }
}

/// What is wrong with one of several identifiers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subproblem {
    pub(super) kind: ErrorKind,
    pub(super) detail: String,
    /// The type of the identifier, as the client wrote it.
    pub(super) identifier_kind: String,
    pub(super) identifier: String,
}

impl Subproblem {
    fn document(&self) -> SubDocument {
        SubDocument {
            kind: self.kind.urn(),
            detail: self.detail.clone(),
            status: self.kind.status().as_u16(),
            identifier: IdentifierDocument {
                kind: self.identifier_kind.clone(),
                value: self.identifier.clone(),
            },
        }
    }
}

/// `application/problem+json`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Document {
    #[serde(rename = "type")]
    kind: String,
    detail: String,
    status: u16,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subproblems: Vec<SubDocument>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    algorithms: &'static [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct SubDocument {
    #[serde(rename = "type")]
    kind: String,
    detail: String,
    status: u16,
    identifier: IdentifierDocument,
}

#[derive(Clone, Debug, Serialize)]
struct IdentifierDocument {
    #[serde(rename = "type")]
    kind: String,
    value: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sub(kind: ErrorKind, identifier: &str) -> Subproblem {
        Subproblem {
            kind,
            detail: "no".to_owned(),
            identifier_kind: "dns".to_owned(),
            identifier: identifier.to_owned(),
        }
    }

    #[test]
    fn one_identifier_is_a_problem_of_its_own() {
        let problem =
            Problem::of_identifiers(vec![sub(ErrorKind::RejectedIdentifier, "a.test")]).unwrap();
        assert_eq!(problem.kind, ErrorKind::RejectedIdentifier);
        assert!(problem.extra.subproblems.is_empty());
        assert!(problem.detail.contains("a.test"));
    }

    #[test]
    fn different_kinds_make_a_compound() {
        let problem = Problem::of_identifiers(vec![
            sub(ErrorKind::RejectedIdentifier, "a.test"),
            sub(ErrorKind::Malformed, "b..test"),
        ])
        .unwrap();
        let json = serde_json::to_value(problem.document()).unwrap();
        assert_eq!(json["type"], "urn:ietf:params:acme:error:compound");
        assert_eq!(json["subproblems"][1]["identifier"]["value"], "b..test");
        assert!(json.get("identifier").is_none());
    }

    #[test]
    fn no_identifier_is_no_problem() {
        assert_eq!(Problem::of_identifiers(Vec::new()), None);
    }
}
