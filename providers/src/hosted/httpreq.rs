//! lego's `httpreq`: a server of the user's that is posted what to write, as acmeproxy and others take it too.
//!
//! `POST ENDPOINT/present` and `POST ENDPOINT/cleanup` with `{"fqdn": …, "value": …}`, or in the mode `RAW` with domain, token and key
//! authorization. Any 2xx is a yes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dnseal_core::dns::DnsProvider;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::TxtChange;
use dnseal_core::dns::WriteSafety;
use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use serde_json::json;
use url::Url;

use crate::hosted::exec;
use crate::registry::Context;
use crate::registry::Form;
use crate::registry::Integration;
use crate::registry::Kind;
use crate::registry::Setting;
use crate::settings::Checked;
use crate::settings::SettingsError;
use crate::single::Batch;
use crate::single::Challenge;
use crate::single::OneAtATime;
use crate::single::Single;

/// What there is to know about the provider.
pub(crate) const KIND: Kind = Kind {
    docs: "https://go-acme.github.io/lego/dns/httpreq/",
    integration: Integration::Hosted,
    kind: "httpreq",
    permissions: "\
A server that takes what lego's `httpreq` posts, once for each value:
    POST ENDPOINT/present  {\"fqdn\": \"_acme-challenge.example.com.\", \"value\": \"…\"}
    POST ENDPOINT/cleanup  the same
It must leave other values of the same name alone, and answer with 2xx if the value is there, or gone.
",
    settings: &[
        Setting {
            aliases: &[],
            default: None,
            env: &["HTTPREQ_ENDPOINT"],
            form: Form::Text,
            help: "The URL of the server",
            key: ENDPOINT,
            required: true,
        },
        Setting {
            aliases: &[],
            default: None,
            env: &["HTTPREQ_MODE"],
            form: Form::Text,
            help: "`RAW`: the server gets domain, token and key authorization in place of name and value",
            key: exec::MODE,
            required: false,
        },
        Setting {
            aliases: &[],
            default: None,
            env: &["HTTPREQ_USERNAME"],
            form: Form::Text,
            help: "The user name for HTTP's basic authentication",
            key: USERNAME,
            required: false,
        },
        Setting {
            aliases: &[],
            default: None,
            env: &["HTTPREQ_PASSWORD"],
            form: Form::Secret,
            help: "The password that belongs to it",
            key: PASSWORD,
            required: false,
        },
        Setting {
            aliases: &[],
            default: Some("30s"),
            env: &["HTTPREQ_HTTP_TIMEOUT"],
            form: Form::Duration,
            help: "How long to wait for an answer",
            key: TIMEOUT,
            required: false,
        },
    ],
    title: "a server with lego's `httpreq` contract, such as acmeproxy",
    write_safety: WriteSafety::ReadModifyWrite,

    build,
};

fn build(settings: &Checked, context: &Context) -> Result<Arc<dyn DnsProvider>, SettingsError> {
    let text = settings
        .text(ENDPOINT)
        .ok_or_else(|| settings.missing(ENDPOINT))?;
    let url = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| {
            SettingsError::malformed(ENDPOINT, "it is no http or https URL")
                .with_hint("write for example https://dns.example.com/acme")
        })?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            SettingsError::malformed(ENDPOINT, "the URL holds credentials")
                .with_hint("use `username` and `password`"),
        );
    }
    let user = match (settings.text(USERNAME), settings.secret(PASSWORD)) {
        (Some(name), password) => Some((name.to_owned(), password)),
        (None, None) => None,
        (None, Some(_)) => return Err(settings.missing(USERNAME)),
    };
    Ok(Arc::new(OneAtATime::new(HttpReq {
        context: context.clone(),
        raw: exec::is_raw(settings)?,
        timeout: settings.duration(TIMEOUT)?.unwrap_or(DEFAULT_TIMEOUT),
        url,
        user,
    })))
}

#[derive(Debug)]
struct HttpReq {
    context: Context,
    raw: bool,
    timeout: Duration,
    url: Url,
    user: Option<(String, Option<SecretString>)>,
}

#[async_trait]
impl Single for HttpReq {
    fn endpoint(&self) -> String {
        self.url.to_string()
    }

    async fn write(
        &self,
        change: &TxtChange,
        challenge: &Challenge,
        _batch: &Batch,
    ) -> Result<Option<String>, ProviderError> {
        let endpoint = self.endpoint();
        let body = match self.raw {
            true => {
                let raw = exec::raw(change, challenge, &endpoint)?;
                json!({ "domain": raw.domain, "token": raw.token, "keyAuth": raw.key_authorization })
            }
            false => json!({ "fqdn": change.owner.fqdn(), "value": change.value }),
        };
        let path = self.url.path().trim_end_matches('/');
        let mut url = self.url.clone();
        url.set_path(&format!("{path}/{}", exec::verb(change.action)));
        let mut request = self
            .context
            .http()
            .post(url)
            .json(&body)
            .timeout(self.timeout);
        if let Some((name, password)) = &self.user {
            request = request.basic_auth(name, password.as_ref().map(ExposeSecret::expose_secret));
        }
        let answer = request
            .send()
            .await
            .map_err(|error| ProviderError::Unreachable {
                detail: causes(&error),
                endpoint: endpoint.clone(),
            })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(None);
        }
        let retry_after = answer
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let words = first_words(answer).await;
        let detail = match words.is_empty() {
            true => status.to_string(),
            false => format!("{status}: {words}"),
        };
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ProviderError::Credentials {
                detail,
                endpoint,
                hint: Some("look at `username` and `password`".to_owned()),
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
        })
    }
}

/// The error with what is behind it; reqwest's own words are only where.
fn causes(error: &reqwest::Error) -> String {
    let mut text = match error.is_timeout() {
        true => "no answer in time".to_owned(),
        false => "no connection".to_owned(),
    };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let words = cause.to_string().to_lowercase();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text
}

/// The beginning of a body, on one line.
async fn first_words(mut answer: reqwest::Response) -> String {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        bytes.extend(chunk);
        if bytes.len() > MAX_WORDS {
            break;
        }
    }
    bytes.truncate(MAX_WORDS);
    let text = String::from_utf8_lossy(&bytes);
    text.split(|c: char| c.is_control() || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect::<Vec<&str>>()
        .join(" ")
}

const ENDPOINT: &str = "endpoint";
const USERNAME: &str = "username";
const PASSWORD: &str = "password";
const TIMEOUT: &str = "timeout";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_WORDS: usize = 300;
