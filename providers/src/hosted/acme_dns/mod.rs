//! acme-dns: a small server that answers challenges for names that are delegated to it by CNAME, with an account for each domain.
//!
//! An account has one name, which holds the two values that were written last; nothing is ever removed. So challenges of an order with more values at
//! one name come in waves, and runs take turns. What was registered is remembered before anybody is told of it: a name that is lost is a CNAME
//! that somebody has to change.

mod accounts;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dnseal_core::dns::Action;
use dnseal_core::dns::Capabilities;
use dnseal_core::dns::DnsProvider;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::ProbeAt;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::TxtChange;
use dnseal_core::dns::WriteSafety;
use dnseal_core::event::What;
use secrecy::ExposeSecret;
use serde_json::json;
use url::Url;

use crate::hosted::acme_dns::accounts::Account;
use crate::hosted::acme_dns::accounts::Accounts;
use crate::hosted::acme_dns::accounts::parse;
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

/// What there is to know about the provider.
pub(crate) const KIND: Kind = Kind {
    docs: "https://github.com/joohoi/acme-dns",
    integration: Integration::Hosted,
    kind: "acme-dns",
    permissions: "\
Nothing but a CNAME for each name. The first `issue` for a name, or `dnseal dns delegate NAME --provider acme-dns`, registers an account at the
server and says which CNAME to set:
    _acme-challenge.example.com. CNAME d420c923-bbd7-4056-ab64-c3ca54c9b3cf.auth.example.org.
The account may change the values of that one name. It is kept in the store; back that up, or the CNAME has to be changed.

Where several providers are configured, `zones:` has the domain of the acme-dns server (auth.example.org), because that is where the values go.

An account of acme-dns holds two values, and the third pushes the first out. Orders that need more are proven in waves; of several machines
each needs an account, and so a name, of its own.
",
    settings: &[
        Setting {
            aliases: &["api-base"],
            default: None,
            env: &["ACME_DNS_API_BASE", "ACMEDNS_BASE_URL"],
            form: Form::Text,
            help: "The URL of the server's API",
            key: URL,
            required: true,
        },
        Setting {
            aliases: &["storage-path"],
            default: None,
            env: &["ACME_DNS_STORAGE_PATH"],
            form: Form::File,
            help: "A file with accounts as lego, certbot-dns-acmedns or acme-dns-auth.py keep them, which are taken over",
            key: ACCOUNTS,
            required: false,
        },
        Setting {
            aliases: &[],
            default: None,
            env: &["ACMEDNS_USERNAME"],
            form: Form::Text,
            help: "The user name of one account for everything that is delegated to it, as acme.sh has it",
            key: USERNAME,
            required: false,
        },
        Setting {
            aliases: &[],
            default: None,
            env: &["ACMEDNS_PASSWORD"],
            form: Form::Secret,
            help: "The password of that account",
            key: PASSWORD,
            required: false,
        },
        Setting {
            aliases: &[],
            default: None,
            env: &["ACMEDNS_SUBDOMAIN"],
            form: Form::Text,
            help: "The subdomain of that account",
            key: SUBDOMAIN,
            required: false,
        },
        Setting {
            aliases: &["allowlist"],
            default: None,
            env: &["ACME_DNS_ALLOWLIST"],
            form: Form::Text,
            help: "Networks that new accounts may be used from, such as `192.0.2.0/24,2001:db8::/32`",
            key: ALLOW_FROM,
            required: false,
        },
        Setting {
            aliases: &[],
            default: Some("30s"),
            env: &["DNSEAL_ACME_DNS_TIMEOUT"],
            form: Form::Duration,
            help: "How long to wait for an answer",
            key: TIMEOUT,
            required: false,
        },
    ],
    title: "an acme-dns server, to which challenge names are delegated by CNAME",
    write_safety: WriteSafety::ReadModifyWrite,

    build,
};

fn build(settings: &Checked, context: &Context) -> Result<Arc<dyn DnsProvider>, SettingsError> {
    let text = settings.text(URL).ok_or_else(|| settings.missing(URL))?;
    let url = http::server_url(URL, text, "https://auth.example.org")?;
    let taken_over = match settings.secret(ACCOUNTS) {
        Some(text) => {
            parse(&text, &url).map_err(|problem| SettingsError::malformed(ACCOUNTS, problem))?
        }
        None => Default::default(),
    };
    let one = match (
        settings.text(USERNAME),
        settings.secret(PASSWORD),
        settings.text(SUBDOMAIN),
    ) {
        (None, None, None) => None,
        (Some(username), Some(password), Some(subdomain)) => {
            Some(Account::new(username, password, subdomain))
        }
        (None, ..) => return Err(settings.missing(USERNAME)),
        (_, None, _) => return Err(settings.missing(PASSWORD)),
        (.., None) => return Err(settings.missing(SUBDOMAIN)),
    };
    let allow_from = settings.text(ALLOW_FROM).unwrap_or_default();
    let allow_from = allow_from
        .split([',', ' '])
        .filter(|network| !network.is_empty())
        .map(str::to_owned)
        .collect();
    Ok(Arc::new(OneAtATime::new(AcmeDns {
        accounts: Accounts::new(&url, taken_over, one, context.memory().cloned()),
        allow_from,
        context: context.clone(),
        timeout: settings.duration(TIMEOUT)?.unwrap_or(DEFAULT_TIMEOUT),
        url,
    })))
}

#[derive(Debug)]
struct AcmeDns {
    accounts: Accounts,
    allow_from: Vec<String>,
    context: Context,
    timeout: Duration,
    url: Url,
}

#[async_trait]
impl Single for AcmeDns {
    fn endpoint(&self) -> String {
        self.url.to_string()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            max_values: Some(2),
            overwrites: true,
            probe: ProbeAt::Nowhere(
                "a value pushes an older one out there, and stays until others come",
            ),
            ..Capabilities::new(TTL, WriteSafety::ReadModifyWrite)
        }
    }

    async fn alias_for(
        &self,
        asked: &DomainName,
        owner: &DomainName,
    ) -> Result<Option<DomainName>, ProviderError> {
        let known = self.accounts.known().await?;
        if known.at(owner).is_some() {
            return Ok(None);
        }
        let domain = asked.as_str();
        let domain = domain.strip_prefix("_acme-challenge.").unwrap_or(domain);
        if let Some(account) = known.of(domain) {
            return account.name().map(Some);
        }
        if let Some(account) = known.for_all() {
            return Err(ProviderError::Misconfigured {
                detail: format!(
                    "{owner} is not the name of the account `{}` at {}",
                    account.subdomain, self.url
                ),
                hint: Some(format!(
                    "set a CNAME from {} to {}, followed by the domain of the server, or leave `username`, `password` and `subdomain` out",
                    asked.fqdn(),
                    account.subdomain
                )),
            });
        }
        let account = self
            .accounts
            .remember(domain, || self.register(domain))
            .await?;
        account.name().map(Some)
    }

    async fn write(
        &self,
        change: &TxtChange,
        _challenge: &Challenge,
        _batch: &Batch,
    ) -> Result<Option<String>, ProviderError> {
        // What was written is pushed out by what comes later.
        if change.action == Action::Remove {
            return Ok(None);
        }
        let value = change.value.to_string();
        if value.len() != CHALLENGE {
            return Err(ProviderError::Unsupported {
                detail: format!(
                    "it takes values of {CHALLENGE} characters, as challenges have them, and no others"
                ),
                endpoint: self.endpoint(),
            });
        }
        let known = self.accounts.known().await?;
        let Some(account) = known.at(&change.owner) else {
            return Err(ProviderError::Unsupported {
                detail: format!("none of its accounts has the name {}", change.owner),
                endpoint: self.endpoint(),
            });
        };
        self.accounts.wait_for_last_write(account).await?;
        let request = self
            .context
            .http()
            .post(http::below(&self.url, "update"))
            .header("X-Api-User", &account.username)
            .header("X-Api-Key", account.password.expose_secret())
            .json(&json!({ "subdomain": account.subdomain, "txt": value }))
            .timeout(self.timeout);
        let answer = http::send(
            request,
            &self.endpoint(),
            "the server may have lost the account, or lets it in from other networks only: register another, and change the CNAME",
            &Secrets::new([account.password.clone()]),
        )
        .await;
        // A value whose answer was lost may stand there, too.
        self.accounts.remember_write(account).await?;
        answer?;
        Ok(None)
    }
}

impl AcmeDns {
    async fn register(&self, domain: &str) -> Result<Account, ProviderError> {
        let body = match self.allow_from.is_empty() {
            true => json!({}),
            false => json!({ "allowfrom": self.allow_from }),
        };
        let request = self
            .context
            .http()
            .post(http::below(&self.url, "register"))
            .json(&body)
            .timeout(self.timeout);
        let nothing = Secrets::default();
        let endpoint = self.endpoint();
        let answer = http::send(request, &endpoint, "the server registers nobody", &nothing).await;
        let answer = match answer {
            // It has no such path where registration is switched off.
            Err(ProviderError::Refused { detail, .. }) if detail.starts_with("404") => {
                return Err(ProviderError::Refused {
                    detail: format!("it registers no account for {domain}: {detail}"),
                    endpoint: self.endpoint(),
                    hint: Some(
                        "let its administrator make one, and name the file it is in by `accounts`"
                            .to_owned(),
                    ),
                });
            }
            answer => answer?,
        };
        let body = http::body(answer, MAX_ANSWER).await;
        let mut account: Account =
            serde_json::from_slice(&body).map_err(|error| ProviderError::Refused {
                detail: format!("its answer to a registration cannot be read: {error}"),
                endpoint: self.endpoint(),
                hint: Some("is this an acme-dns server?".to_owned()),
            })?;
        account.name()?;
        account.server_url = Some(self.url.to_string());
        self.context.events().emit(What::ProviderCall {
            provider: KIND.kind.to_owned(),
            call: "register",
            zone: None,
            adds: 0,
            removes: 0,
            error: None,
            elapsed: Duration::ZERO,
        });
        Ok(account)
    }
}

const URL: &str = "url";
const ACCOUNTS: &str = "accounts";
const USERNAME: &str = "username";
const PASSWORD: &str = "password";
const SUBDOMAIN: &str = "subdomain";
const ALLOW_FROM: &str = "allow-from";
const TIMEOUT: &str = "timeout";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// What it answers its values with.
const TTL: u32 = 1;
/// It takes no values of another length.
const CHALLENGE: usize = 43;
const MAX_ANSWER: usize = 16 << 10;
