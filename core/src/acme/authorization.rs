//! Authorizations and challenges as a CA tells them (RFC 8555 sections 7.1.4 and 8), beside the names they are for.
//!
//! Of the challenges only dns-01 is of use here; others may have any shape and no token, and must not stop an
//! authorization that is otherwise fine.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::Deserialize;
use serde::Deserializer;

use super::order::RawIdentifier;
use super::order::lenient_time;
use super::order::status;
use super::problem::Problem;
use crate::dns::Identifier;
use crate::web::printable;

/// An authorization (RFC 8555 section 7.1.4).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Authorization {
    /// Where it lives.
    pub url: String,
    /// What it is for, with its wildcard flag.
    pub identifier: Identifier,
    /// Where it stands.
    pub status: AuthorizationStatus,
    /// Until when it holds, or may be answered.
    pub expires: Option<Timestamp>,
    /// The challenge that we can answer, where the CA offers it.
    pub dns01: Option<Challenge>,
    /// The types of the other challenges on offer.
    pub others: Vec<String>,
    /// Every error that a challenge of any type shows.
    pub errors: Vec<Problem>,
}

impl Authorization {
    /// Why it is invalid: the first error of a challenge, that of dns-01 before any other.
    pub fn problem(&self) -> Option<&Problem> {
        let ours = self.dns01.as_ref().and_then(|c| c.error.as_ref());
        ours.or(self.errors.first())
    }

    /// What failed, where the authorization cannot become valid any more.
    pub(super) fn failure(&self) -> Option<Failure> {
        let ours = self.dns01.as_ref().map(|c| &c.status);
        let failed = match self.status {
            AuthorizationStatus::Deactivated
            | AuthorizationStatus::Expired
            | AuthorizationStatus::Invalid
            | AuthorizationStatus::Revoked => true,
            AuthorizationStatus::Other(_)
            | AuthorizationStatus::Pending
            | AuthorizationStatus::Valid => ours == Some(&ChallengeStatus::Invalid),
        };
        failed.then(|| Failure {
            identifier: self.identifier.clone(),
            problem: self.problem().cloned(),
            status: self.status.clone(),
        })
    }

    pub(super) fn from_raw(url: String, raw: RawAuthorization) -> Result<Self, String> {
        let value = &raw.identifier.value;
        let identifier = raw.identifier.subject(raw.wildcard).ok_or_else(|| {
            format!(
                "an authorization for `{}`, which is no domain name",
                printable(value)
            )
        })?;
        let errors = raw.challenges.iter().filter_map(|c| c.error.clone());
        let errors = errors.collect();
        let (ours, others): (Vec<_>, Vec<_>) = raw
            .challenges
            .into_iter()
            .partition(|c| c.kind == DNS_01 && c.token.is_some() && c.url.is_some());
        Ok(Self {
            url,
            identifier,
            status: raw.status,
            expires: raw.expires,
            dns01: ours.into_iter().find_map(RawChallenge::checked),
            others: others.into_iter().map(|c| printable(&c.kind)).collect(),
            errors,
        })
    }
}

/// Where an authorization stands (RFC 8555 section 7.1.6).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AuthorizationStatus {
    /// We have given it up.
    Deactivated,
    /// Its time has passed.
    Expired,
    /// A challenge has failed.
    Invalid,
    /// What is no status of RFC 8555.
    Other(String),
    /// A challenge has to be answered, or is being validated.
    Pending,
    /// The CA has taken it back.
    Revoked,
    /// Nothing is left to prove.
    Valid,
}

/// A dns-01 challenge (RFC 8555 section 8.4).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Challenge {
    /// Where it is answered.
    pub url: String,
    /// The random part of the value.
    pub token: String,
    /// Where it stands.
    pub status: ChallengeStatus,
    /// What the CA saw instead.
    pub error: Option<Problem>,
}

/// Where a challenge stands (RFC 8555 section 7.1.6).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ChallengeStatus {
    /// Failed.
    Invalid,
    /// What is no status of RFC 8555.
    Other(String),
    /// Waiting for our answer.
    Pending,
    /// Answered, and not judged yet.
    Processing,
    /// Proven.
    Valid,
}

/// Authorizations beside the names they are for.
#[derive(Clone, Debug, Default)]
pub struct Pairing {
    /// Each asked name that has an authorization, in the order of asking.
    pub pairs: Vec<(Identifier, Authorization)>,
    /// Names without an authorization, which a CA may have approved beforehand.
    pub missing: Vec<Identifier>,
    /// Authorizations for what was not asked.
    pub unasked: Vec<Authorization>,
}

impl Pairing {
    /// Pairs by value and wildcard flag; position means nothing.
    pub fn new(authorizations: Vec<Authorization>, asked: &[Identifier]) -> Self {
        let mut by_name: BTreeMap<Identifier, Authorization> = BTreeMap::new();
        let mut unasked = Vec::new();
        for authorization in authorizations {
            let twin = by_name.insert(authorization.identifier.clone(), authorization);
            unasked.extend(twin);
        }

        let mut pairs = Vec::new();
        let mut missing = Vec::new();
        for identifier in asked {
            match by_name.remove(identifier) {
                Some(authorization) => pairs.push((identifier.clone(), authorization)),
                None => missing.push(identifier.clone()),
            }
        }
        // A CA that leaves the wildcard flag out is still understood where only one name can be meant.
        missing.retain(|identifier| {
            let plain = by_name
                .keys()
                .find(|key| identifier.is_wildcard() && key.base() == identifier.base())
                .cloned();
            let Some(authorization) = plain.and_then(|key| by_name.remove(&key)) else {
                return true;
            };
            pairs.push((identifier.clone(), authorization));
            false
        });
        unasked.extend(by_name.into_values());
        Self {
            pairs,
            missing,
            unasked,
        }
    }
}

/// A name whose validation failed, and why.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The name.
    pub identifier: Identifier,
    /// What the CA said, where it said anything.
    pub problem: Option<Problem>,
    /// Where its authorization stands.
    pub status: AuthorizationStatus,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            Some(problem) => write!(f, "{}: {problem}", self.identifier),
            None => write!(
                f,
                "{}: its authorization is {}",
                self.identifier, self.status
            ),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct RawAuthorization {
    identifier: RawIdentifier,
    status: AuthorizationStatus,
    #[serde(default, deserialize_with = "lenient_time")]
    expires: Option<Timestamp>,
    #[serde(default)]
    challenges: Vec<RawChallenge>,
    #[serde(default)]
    wildcard: bool,
}

#[derive(Deserialize)]
pub(super) struct RawChallenge {
    #[serde(rename = "type", default)]
    kind: String,
    url: Option<String>,
    token: Option<String>,
    status: Option<ChallengeStatus>,
    error: Option<Problem>,
}

impl RawChallenge {
    pub(super) fn checked(self) -> Option<Challenge> {
        let token = self.token?;
        // What goes into DNS and into a signature is base64url and nothing else (RFC 8555 section 8.3).
        let well_formed = !token.is_empty()
            && token
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        well_formed.then_some(())?;
        Some(Challenge {
            url: self.url?,
            token,
            status: self.status.unwrap_or(ChallengeStatus::Pending),
            error: self.error,
        })
    }

    /// The status, where only that is of interest.
    pub(super) fn status(&self) -> Option<&ChallengeStatus> {
        self.status.as_ref()
    }

    pub(super) fn into_error(self) -> Option<Problem> {
        self.error
    }
}

status!(AuthorizationStatus {
    "deactivated" => Deactivated,
    "expired" => Expired,
    "invalid" => Invalid,
    "pending" => Pending,
    "revoked" => Revoked,
    "valid" => Valid,
});
status!(ChallengeStatus {
    "invalid" => Invalid,
    "pending" => Pending,
    "processing" => Processing,
    "valid" => Valid,
});

const DNS_01: &str = "dns-01";

#[cfg(test)]
mod tests {
    use super::*;

    fn authorization(json: &str) -> Result<Authorization, String> {
        let raw = serde_json::from_str(json).unwrap();
        Authorization::from_raw("https://ca.example/authz/1".to_owned(), raw)
    }

    fn named(value: &str, wildcard: bool) -> Authorization {
        authorization(&format!(
            r#"{{"identifier": {{"type": "dns", "value": "{value}"}}, "status": "pending", "wildcard": {wildcard}}}"#
        ))
        .unwrap()
    }

    #[test]
    fn the_authorization_of_the_rfc() {
        // RFC 8555 section 7.1.4
        let authz = authorization(
            r#"{
                "status": "valid",
                "expires": "2015-03-01T14:09:07.99Z",
                "identifier": { "type": "dns", "value": "www.example.org" },
                "challenges": [
                    {
                        "url": "https://example.com/acme/chall/prV_B7yEyA4",
                        "type": "http-01",
                        "status": "valid",
                        "token": "DGyRejmCefe7v4NfDGDKfA",
                        "validated": "2014-12-01T12:05:58.16Z"
                    }
                ],
                "wildcard": false
            }"#,
        )
        .unwrap();
        assert_eq!(authz.status, AuthorizationStatus::Valid);
        assert!(authz.dns01.is_none());
        assert_eq!(authz.others, ["http-01"]);
    }

    #[test]
    fn unknown_challenges_and_statuses_stop_nothing() {
        let authz = authorization(
            r#"{
                "identifier": { "type": "dns", "value": "example.com" },
                "status": "pondering", "expires": "soon", "wildcard": true, "new": [1],
                "challenges": [
                    { "type": "dns-persist-01", "url": "u", "status": "pending", "issuer-domain-names": ["a"] },
                    { "type": "dns-01", "status": "pending", "url": "https://ca.example/bad", "token": "a b" },
                    { "type": "dns-01", "status": "pending", "url": "https://ca.example/chall", "token": "evaGxfADs6pSRb2LAv9IZf17" },
                    { "type": "http-01", "status": "invalid", "error": { "detail": "no" } },
                    { }
                ]
            }"#,
        )
        .unwrap();
        assert_eq!(authz.identifier, "*.example.com".parse().unwrap());
        assert_eq!(authz.status.to_string(), "pondering");
        assert_eq!(authz.expires, None);
        assert_eq!(
            authz.dns01.as_ref().unwrap().url,
            "https://ca.example/chall"
        );
        assert_eq!(authz.problem().unwrap().to_string(), "no");
        assert!(
            authorization(
                r#"{"identifier": {"type": "ip", "value": "192.0.2.1"}, "status": "pending"}"#
            )
            .is_err()
        );
    }

    #[test]
    fn names_pair_by_value_and_wildcard_flag() {
        let asked: Vec<Identifier> = [
            "example.com",
            "*.example.com",
            "a.test",
            "*.b.test",
            "c.test",
        ]
        .map(|n| n.parse().unwrap())
        .to_vec();
        let pairing = Pairing::new(
            vec![
                named("a.test", false),
                named("example.com", true),
                named("other.test", false),
                // Without the flag, and nothing else can be meant.
                named("b.test", false),
                named("example.com", false),
            ],
            &asked,
        );
        let wildcard = |name: &str| {
            let name: Identifier = name.parse().unwrap();
            let (_, authz) = pairing
                .pairs
                .iter()
                .find(|(asked, _)| *asked == name)
                .unwrap();
            authz.identifier.is_wildcard()
        };
        assert_eq!(pairing.pairs.len(), 4);
        assert!(!wildcard("example.com"));
        assert!(wildcard("*.example.com"));
        assert!(!wildcard("*.b.test"));
        assert_eq!(pairing.missing, ["c.test".parse().unwrap()]);
        assert_eq!(pairing.unasked.len(), 1);
    }
}
