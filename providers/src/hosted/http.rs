//! What contracts over HTTP have in common: an answer that is no yes becomes an error of the right kind.

use std::time::Duration;

use dnseal_core::dns::ProviderError;
use dnseal_core::web::NoAnswer;
use dnseal_core::web::retry_after;
use reqwest::StatusCode;
use url::Url;

use crate::redact::Secrets;
use crate::settings::SettingsError;

/// The URL of a server, which holds no credentials.
pub(crate) fn server_url(
    key: &'static str,
    text: &str,
    example: &str,
) -> Result<Url, SettingsError> {
    let url = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| {
            SettingsError::malformed(key, "it is no http or https URL")
                .with_hint(format!("write for example {example}"))
        })?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(SettingsError::malformed(key, "the URL holds credentials")
            .with_hint("use `username` and `password`"));
    }
    Ok(url)
}

/// The URL of something below it.
pub(crate) fn below(url: &Url, word: &str) -> Url {
    let path = url.path().trim_end_matches('/');
    let mut below = url.clone();
    below.set_path(&format!("{path}/{word}"));
    below
}

/// Sends a request; gives the answer if it is a yes. What it says otherwise holds none of `secrets`.
pub(crate) async fn send(
    request: reqwest::RequestBuilder,
    endpoint: &str,
    credentials: &str,
    secrets: &Secrets,
) -> Result<reqwest::Response, ProviderError> {
    let answer = request
        .send()
        .await
        .map_err(|error| ProviderError::Unreachable {
            detail: NoAnswer::of(&error).to_string(),
            endpoint: endpoint.to_owned(),
        })?;
    match answer.status().is_success() {
        true => Ok(answer),
        false => Err(refusal(answer, endpoint.to_owned(), credentials, secrets).await),
    }
}

async fn refusal(
    answer: reqwest::Response,
    endpoint: String,
    credentials: &str,
    secrets: &Secrets,
) -> ProviderError {
    let status = answer.status();
    let retry_after = retry_after(answer.headers()).map(|pause| pause.min(LONGEST_PAUSE));
    // A server may send back what it was sent; that goes before the text is cut, so that no half of it stays.
    let mut words = secrets.scrub(&one_line(&body(answer, MAX_REFUSAL).await));
    if let Some((at, _)) = words.char_indices().nth(MAX_WORDS) {
        words.truncate(at);
        words.push('…');
    }
    let detail = match words.is_empty() {
        true => status.to_string(),
        false => format!("{status}: {words}"),
    };
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ProviderError::Credentials {
            detail,
            endpoint,
            hint: Some(credentials.to_owned()),
        },
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => ProviderError::Refused {
            detail,
            endpoint,
            hint: Some(
                "that comes from a proxy in between, which wants a user and a password: http://USER:PASSWORD@HOST:PORT in HTTP_PROXY or HTTPS_PROXY; NO_PROXY=HOST goes around it".to_owned(),
            ),
        },
        StatusCode::TOO_MANY_REQUESTS => ProviderError::RateLimited {
            detail,
            endpoint,
            retry_after,
        },
        status if status.is_server_error() => ProviderError::Unreachable { detail, endpoint },
        status if status.is_redirection() => ProviderError::Refused {
            detail,
            endpoint,
            hint: Some("redirects are not followed; set the URL that it leads to".to_owned()),
        },
        _ => ProviderError::Refused {
            detail,
            endpoint,
            hint: None,
        },
    }
}

/// The beginning of a body.
pub(crate) async fn body(mut answer: reqwest::Response, most: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        bytes.extend(chunk);
        if bytes.len() > most {
            break;
        }
    }
    bytes.truncate(most);
    bytes
}

fn one_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.split(|c: char| c.is_control() || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect::<Vec<&str>>()
        .join(" ")
}

/// Longer than any rate limit lasts.
const LONGEST_PAUSE: Duration = Duration::from_hours(24);
const MAX_REFUSAL: usize = 16 << 10;
const MAX_WORDS: usize = 300;
