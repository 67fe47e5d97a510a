//! A CA's directory: what it offers and where (RFC 8555 section 7.1.1), or what stood in its place.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use http::header;
use jiff::SignedDuration;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::answer::Answer;
use super::answer::start_of;
use super::error::AcmeError;
use super::retry::Retries;
use super::transport::Ask;
use super::transport::Transport;
use crate::web;
use crate::web::host;
use crate::web::printable;

/// A CA's directory (RFC 8555 section 7.1.1).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Directory {
    /// Where it was read.
    pub url: String,
    /// Where nonces come from.
    pub new_nonce: String,
    /// Where accounts are made and found.
    pub new_account: String,
    /// Where orders are made.
    pub new_order: String,
    /// Where certificates are revoked.
    pub revoke_cert: Option<String>,
    /// Where an account gets another key.
    pub key_change: Option<String>,
    /// Where the CA says when to renew (RFC 9773).
    pub renewal_info: Option<String>,
    /// What it says about itself.
    pub meta: Meta,
    /// How far the clock of the server is ahead of ours, where its answer says what time it is there.
    pub ahead: Option<SignedDuration>,
    /// How long it took to get it.
    pub elapsed: Duration,
}

/// What a CA says about itself.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Meta {
    /// What has to be agreed to.
    pub terms_of_service: Option<String>,
    /// Its web site.
    pub website: Option<String>,
    /// Which domain names in CAA records mean this CA.
    pub caa_identities: Vec<String>,
    /// Whether a new account needs an external account binding.
    pub external_account_required: bool,
    /// The profiles it offers, each with a description (draft-ietf-acme-profiles).
    pub profiles: BTreeMap<String, String>,
}

impl Directory {
    /// Reads it, following redirections, because a plain GET may be led on.
    pub(super) async fn fetch(
        transport: &Transport,
        directory_url: &Url,
    ) -> Result<Self, DirectoryError> {
        let mut url = directory_url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let ask = Ask {
                method: Method::GET,
                url: url.as_str(),
                resource: "directory",
                accept: None,
                body: None,
            };
            let answer = Retries::Brief
                .run(|| async {
                    let answer = transport.send(ask.clone()).await?;
                    match answer.status.is_redirection() {
                        true => Ok(answer),
                        false => answer.into_result(),
                    }
                })
                .await
                .map_err(|error| DirectoryError::from_request(error, directory_url))?;
            if !answer.status.is_redirection() {
                return Self::parse(directory_url, &answer);
            }

            let target = answer.headers.get(header::LOCATION);
            let next = target
                .and_then(|value| url.join(value.to_str().ok()?).ok())
                .filter(|next| next.scheme() == url.scheme());
            match next {
                Some(next) => url = next,
                None => return Err(DirectoryError::not_acme(directory_url, &answer, None)),
            }
        }
        Err(DirectoryError::Redirects {
            url: directory_url.to_string(),
        })
    }

    fn parse(directory_url: &Url, answer: &Answer) -> Result<Self, DirectoryError> {
        let raw: RawDirectory = serde_json::from_slice(&answer.body)
            .map_err(|e| DirectoryError::not_acme(directory_url, answer, Some(&e)))?;
        let meta = raw.meta;
        let date = web::date(&answer.headers);
        Ok(Self {
            ahead: date.map(|date| date.duration_since(Timestamp::now())),
            elapsed: answer.elapsed,
            url: directory_url.to_string(),
            new_nonce: raw.new_nonce,
            new_account: raw.new_account,
            new_order: raw.new_order,
            revoke_cert: raw.revoke_cert,
            key_change: raw.key_change,
            renewal_info: raw.renewal_info,
            meta: Meta {
                terms_of_service: text(&meta, "termsOfService"),
                website: text(&meta, "website"),
                caa_identities: meta
                    .get("caaIdentities")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .map(printable)
                    .collect(),
                external_account_required: meta
                    .get("externalAccountRequired")
                    .and_then(Value::as_bool)
                    .unwrap_or(false),
                profiles: meta
                    .get("profiles")
                    .and_then(Value::as_object)
                    .into_iter()
                    .flatten()
                    .map(|(name, about)| {
                        (name.clone(), printable(about.as_str().unwrap_or_default()))
                    })
                    .collect(),
            },
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDirectory {
    new_nonce: String,
    new_account: String,
    new_order: String,
    revoke_cert: Option<String>,
    key_change: Option<String>,
    renewal_info: Option<String>,
    // Read by hand: a member of an unexpected shape in here must not cost the whole directory.
    #[serde(default)]
    meta: Value,
}

/// Why there is no directory.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// Somebody answered, and it is no ACME directory.
    #[error("{url} is no ACME directory: HTTP {status}, {got}")]
    NotAcme {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What came instead, in a few words.
        got: String,
    },
    /// It is only ever somewhere else.
    #[error("{url} redirects again and again")]
    Redirects {
        /// What was asked for.
        url: String,
    },
    /// The request failed.
    #[error(transparent)]
    Request(#[from] AcmeError),
}

impl DirectoryError {
    /// Whether trying again later may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NotAcme { .. } | Self::Redirects { .. } => false,
            Self::Request(error) => error.is_retryable(),
        }
    }

    /// How long the CA asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NotAcme { .. } | Self::Redirects { .. } => None,
            Self::Request(error) => error.retry_after(),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotAcme { .. } | Self::Redirects { .. } => Some(
                "`--ca` wants the URL of the CA's ACME directory, or one of the names that dnseal knows".to_owned(),
            ),
            Self::Request(error) => error.hint(),
        }
    }

    fn from_request(error: AcmeError, url: &Url) -> Self {
        match error {
            // A 404 is a wrong URL; a 503 is a CA that is down.
            AcmeError::Refused(refusal) if !refusal.is_server_side() && refusal.status != 429 => {
                Self::NotAcme {
                    url: url.to_string(),
                    status: refusal.status,
                    got: match (&refusal.problem, refusal.body_start.as_str()) {
                        (Some(problem), _) => problem.to_string(),
                        (None, "") => "an empty body".to_owned(),
                        (None, start) => format!("`{start}`"),
                    },
                }
            }
            other => Self::Request(other),
        }
    }

    fn not_acme(url: &Url, answer: &Answer, error: Option<&serde_json::Error>) -> Self {
        let body = start_of(&answer.body);
        let what = answer.content_type().unwrap_or("no content type");
        Self::NotAcme {
            url: url.to_string(),
            status: answer.status.as_u16(),
            got: match (error, body.as_str()) {
                (None, _) => format!("a redirection that {} does not lead on", host(url.as_str())),
                (Some(_), "") => format!("an empty body ({what})"),
                // JSON that is something else: say which member is missing.
                (Some(e), start) if e.is_data() => format!("JSON with {e}: `{start}`"),
                (Some(_), start) => format!("{what} instead of JSON: `{start}`"),
            },
        }
    }
}

fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name)?.as_str().map(printable)
}

const MAX_REDIRECTS: usize = 3;

#[cfg(test)]
mod tests {
    use super::super::answer::tests::answer;
    use super::*;

    fn parse(body: &str) -> Result<Directory, DirectoryError> {
        let url = Url::parse("https://example.com/directory").unwrap();
        Directory::parse(&url, &answer(200, &[("content-type", "text/html")], body))
    }

    #[test]
    fn the_directory_of_the_rfc() {
        // RFC 8555 section 7.1.1
        let directory = parse(
            r#"{
                "newNonce": "https://example.com/acme/new-nonce",
                "newAccount": "https://example.com/acme/new-account",
                "newOrder": "https://example.com/acme/new-order",
                "newAuthz": "https://example.com/acme/new-authz",
                "revokeCert": "https://example.com/acme/revoke-cert",
                "keyChange": "https://example.com/acme/key-change",
                "meta": {
                    "termsOfService": "https://example.com/acme/terms/2017-5-30",
                    "website": "https://www.example.com/",
                    "caaIdentities": ["example.com"],
                    "externalAccountRequired": false,
                    "profiles": { "classic": "the usual", "new": { "not": "text" } }
                }
            }"#,
        )
        .unwrap();
        assert_eq!(directory.new_order, "https://example.com/acme/new-order");
        assert_eq!(directory.meta.caa_identities, ["example.com"]);
        assert_eq!(directory.meta.profiles["classic"], "the usual");
        assert_eq!(directory.meta.profiles["new"], "");
        assert_eq!(directory.renewal_info, None);
    }

    #[test]
    fn what_is_no_directory_says_what_came() {
        let text = |body| parse(body).unwrap_err().to_string();
        assert!(text("<html>hi").contains("text/html instead of JSON: `<html>hi`"));
        assert!(text("").contains("an empty body"));
        let missing = text(r#"{"newNonce": "https://example.com/n"}"#);
        assert!(missing.contains("missing field `newAccount`"), "{missing}");
        assert!(
            parse(r#"{"newNonce": "n", "newAccount": "a", "newOrder": "o", "meta": 7}"#).is_ok()
        );
    }
}
