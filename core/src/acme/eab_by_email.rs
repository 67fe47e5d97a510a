//! ZeroSSL gives the credentials of an external account for an e-mail address, without a visit to its web site.
//!
//! This is no ACME but a form of ZeroSSL's own. It is asked only when a new account is to be made, because every call makes
//! another pair.

use std::time::Instant;

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use super::answer::start_of;
use super::ca::is_loopback;
use super::eab::EabError;
use super::eab::ExternalAccount;
use super::transport::Transport;
use crate::event::What;
use crate::web::NoAnswer;
use crate::web::printable;

impl ExternalAccount {
    /// Asks `endpoint` for a pair for that address, with or without `mailto:`.
    pub async fn by_email(
        transport: &Transport,
        endpoint: &Url,
        email: &str,
    ) -> Result<Self, EabByEmailError> {
        // The answer holds a key, so nobody on the way may read it.
        let local = endpoint.scheme() == "http" && is_loopback(endpoint);
        if endpoint.scheme() != "https" && !local {
            return Err(EabByEmailError::Insecure {
                endpoint: endpoint.to_string(),
            });
        }
        let email = email.strip_prefix("mailto:").unwrap_or(email);
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("email", email)
            .finish();
        let begin = Instant::now();
        let asked = async {
            let answer = transport
                .http()
                .post(endpoint.clone())
                .header(
                    http::header::CONTENT_TYPE,
                    "application/x-www-form-urlencoded",
                )
                .body(form)
                .send()
                .await?;
            let status = answer.status();
            Ok::<_, reqwest::Error>((status, answer.bytes().await?))
        };
        let answer = asked.await.map_err(|error| NoAnswer::of(&error));
        transport.events().emit(What::AcmeRequest {
            method: "POST",
            resource: "eabCredentials",
            url: endpoint.to_string(),
            status: answer.as_ref().ok().map(|(status, _)| status.as_u16()),
            problem: answer.as_ref().err().map(NoAnswer::to_string),
            elapsed: begin.elapsed(),
        });
        let (status, body) = answer.map_err(|error| EabByEmailError::Unreachable {
            endpoint: endpoint.to_string(),
            detail: error.to_string(),
        })?;
        let refused = |detail: String| EabByEmailError::Refused {
            endpoint: endpoint.to_string(),
            status: status.as_u16(),
            detail,
        };
        match serde_json::from_slice::<Raw>(&body) {
            Ok(Raw {
                success: true,
                eab_kid: Some(kid),
                eab_hmac_key: Some(key),
                ..
            }) => Ok(Self::parse(&kid, &key)?),
            Ok(raw) => {
                let error = raw.error.unwrap_or_default();
                let said = [error.kind, error.info];
                let said: Vec<String> = said.iter().flatten().map(|s| printable(s)).collect();
                Err(refused(match said.is_empty() {
                    true => "no credentials in its answer".to_owned(),
                    false => said.join(": "),
                }))
            }
            // A body that may hold a key is quoted only where it is none of the form's.
            Err(_) if status.is_success() => Err(refused("an answer that is no JSON".to_owned())),
            Err(_) => Err(refused(format!("`{}`", start_of(&body)))),
        }
    }
}

/// Why there is no pair.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EabByEmailError {
    /// What it gave cannot be used.
    #[error(transparent)]
    Eab(#[from] EabError),
    /// Not HTTPS.
    #[error("{endpoint} is not an https URL, and gives out keys")]
    Insecure {
        /// Where.
        endpoint: String,
    },
    /// It said no.
    #[error(
        "{endpoint} gives no external account for this e-mail address (HTTP {status}): {detail}"
    )]
    Refused {
        /// Where.
        endpoint: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        detail: String,
    },
    /// No answer.
    #[error("{endpoint} cannot be reached: {detail}")]
    Unreachable {
        /// Where.
        endpoint: String,
        /// What happened instead.
        detail: String,
    },
}

impl EabByEmailError {
    /// Whether trying again later may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => matches!(status, 429 | 500 | 502 | 503 | 504),
            Self::Eab(_) | Self::Insecure { .. } => false,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(
            "get a pair from the CA's web site, and give it with `--eab-kid` and `--eab-hmac-key-file`"
                .to_owned(),
        )
    }
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    success: bool,
    eab_kid: Option<String>,
    eab_hmac_key: Option<SecretString>,
    error: Option<RawError>,
}

#[derive(Default, Deserialize)]
struct RawError {
    #[serde(rename = "type")]
    kind: Option<String>,
    info: Option<String>,
}
