//! lego's `httpreq`: a server of the user's that is posted what to write, as acmeproxy and others take it too.
//!
//! `POST ENDPOINT/present` and `POST ENDPOINT/cleanup` with `{"fqdn": …, "value": …}`, or in the mode `RAW` with domain, token and key
//! authorization. Any 2xx is a yes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dnseal_core::dns::Capabilities;
use dnseal_core::dns::DnsProvider;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::TxtChange;
use dnseal_core::dns::WriteSafety;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use serde_json::json;
use url::Url;

use crate::hosted::exec;
use crate::hosted::http;
use crate::redact::Secrets;
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
use crate::single::plain_capabilities;

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
    let url = http::server_url(ENDPOINT, text, "https://dns.example.com/acme")?;
    let user = match (settings.text(USERNAME), settings.secret(PASSWORD)) {
        (Some(name), password) => Some((name.to_owned(), password)),
        (None, None) => None,
        (None, Some(_)) => return Err(settings.missing(USERNAME)),
    };
    Ok(Arc::new(OneAtATime::new(HttpReq {
        context: context.clone(),
        raw: exec::is_raw(settings)?,
        secrets: settings.secrets(),
        timeout: settings.duration(TIMEOUT)?.unwrap_or(DEFAULT_TIMEOUT),
        url,
        user,
    })))
}

#[derive(Debug)]
struct HttpReq {
    context: Context,
    raw: bool,
    secrets: Secrets,
    timeout: Duration,
    url: Url,
    user: Option<(String, Option<SecretString>)>,
}

#[async_trait]
impl Single for HttpReq {
    fn endpoint(&self) -> String {
        self.url.to_string()
    }

    fn capabilities(&self) -> Capabilities {
        exec::of_mode(self.raw, plain_capabilities())
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
        let url = http::below(&self.url, exec::verb(change.action));
        let mut request = self
            .context
            .http()
            .post(url)
            .json(&body)
            .timeout(self.timeout);
        if let Some((name, password)) = &self.user {
            request = request.basic_auth(name, password.as_ref().map(ExposeSecret::expose_secret));
        }
        let credentials = "look at `username` and `password`";
        http::send(request, &endpoint, credentials, &self.secrets).await?;
        Ok(None)
    }
}

const ENDPOINT: &str = "endpoint";
const USERNAME: &str = "username";
const PASSWORD: &str = "password";
const TIMEOUT: &str = "timeout";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
