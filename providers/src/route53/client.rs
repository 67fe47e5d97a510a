//! Requests to the API, one at a time: within the account's rate, repeated where that can help, and with errors that say who
//! refused what.
//!
//! The SDK's own retries are off, because they would go around the limit that all certificates of the process share. Every
//! request of this provider may be repeated: it reads, or its change is conditional on what was read.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_route53::config::Region;
use aws_sdk_route53::error::ProvideErrorMetadata;
use aws_sdk_route53::error::SdkError;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use dnseal_core::dns::ProviderError;
use dnseal_core::event::Events;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use tokio::sync::OnceCell;

use crate::registry::Context;
use crate::route53::errors::Asked;
use crate::route53::errors::Next;
use crate::route53::http::Http;
use crate::route53::limit::Limiter;

/// The API, reached with one set of credentials.
#[derive(Debug)]
pub(super) struct Client {
    account: Arc<Account>,
    events: Events,
    http: Http,
    login: Login,
    sdk: OnceCell<aws_sdk_route53::Client>,
    /// How a person would say where it is.
    pub(super) endpoint: String,
}

/// Where credentials come from, and where they are used.
#[derive(Clone, Debug, Default)]
pub(super) struct Login {
    pub(super) endpoint: Option<String>,
    pub(super) keys: Option<Keys>,
    pub(super) profile: Option<String>,
    pub(super) region: Option<String>,
    pub(super) role: Option<Role>,
}

/// An access key.
#[derive(Clone)]
pub(super) struct Keys {
    pub(super) id: String,
    pub(super) secret: SecretString,
    pub(super) session_token: Option<SecretString>,
}

/// A role to assume with the credentials that are there.
#[derive(Clone, Debug)]
pub(super) struct Role {
    pub(super) arn: String,
    pub(super) external_id: Option<String>,
    pub(super) session_name: String,
}

/// How fast an account may be asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub(super) burst: u32,
    pub(super) per_second: u32,
}

impl Client {
    pub(super) fn new(login: Login, rate: Rate, context: &Context) -> Self {
        Self {
            account: Account::of(&login, rate),
            endpoint: match &login.endpoint {
                Some(url) => format!("the Route 53 API at {url}"),
                None => "the Route 53 API".to_owned(),
            },
            events: context.events().clone(),
            http: Http::new(context.http().clone()),
            login,
            sdk: OnceCell::new(),
        }
    }

    /// Holds other writers of a zone in this process off, because only one of two changes at once can succeed.
    pub(super) async fn lock(&self, zone: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut zones = self
                .account
                .zones
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            Arc::clone(zones.entry(zone.to_owned()).or_default())
        };
        lock.lock_owned().await
    }

    /// Sends a request, and tells its failure in the contract's words.
    pub(super) async fn ask<T, E, F>(
        &self,
        action: &'static str,
        zone: Option<&str>,
        send: impl Fn(aws_sdk_route53::Client) -> F + Send + Sync,
    ) -> Result<T, ProviderError>
    where
        T: Send,
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
    {
        self.send(action, send)
            .await
            .map_err(|error| self.asked(action, zone).failed(&error))
    }

    /// Sends a request until it is answered, or until trying again does not help.
    pub(super) async fn send<T, E, F>(
        &self,
        action: &'static str,
        send: impl Fn(aws_sdk_route53::Client) -> F + Send + Sync,
    ) -> Result<T, SdkError<E, HttpResponse>>
    where
        T: Send,
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
    {
        let sdk = self.sdk.get_or_init(|| self.connect()).await;
        let limiter = &self.account.limiter;
        let mut attempt = 0;
        loop {
            limiter.acquire(&self.endpoint, &self.events).await;
            let result = send(sdk.clone()).await;
            let next = match &result {
                Ok(_) => {
                    limiter.taken();
                    return result;
                }
                Err(error) => Next::after(error),
            };
            let most = match next {
                Next::GiveUp => return result,
                Next::SlowDown => {
                    limiter.refused();
                    MOST_REFUSALS
                }
                Next::Busy => MOST_REFUSALS,
                Next::TryAgain => MOST_FAILURES,
            };
            if attempt >= most {
                return result;
            }
            let pause = jittered(attempt);
            tracing::debug!(action, %next, ?pause, "asking Route 53 again");
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    pub(super) fn asked<'a>(&'a self, action: &'static str, zone: Option<&'a str>) -> Asked<'a> {
        Asked {
            action,
            endpoint: &self.endpoint,
            profile: self.login.profile.as_deref(),
            zone,
        }
    }

    async fn connect(&self) -> aws_sdk_route53::Client {
        let login = &self.login;
        let mut profile_region = ProfileFileRegionProvider::builder();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(SharedHttpClient::new(self.http.clone()));
        if let Some(profile) = &login.profile {
            profile_region = profile_region.profile_name(profile);
            loader = loader.profile_name(profile);
        }
        // The metadata service is not asked: it would be waited for wherever there is none, for a service that has one region.
        let region = RegionProviderChain::first_try(login.region.clone().map(Region::new))
            .or_else(EnvironmentVariableRegionProvider::new())
            .or_else(profile_region.build())
            .or_else(Region::from_static(DEFAULT_REGION));
        if let Some(profile) = &login.profile {
            // Named means meant: the rest of the chain would answer with somebody else's rights.
            let surroundings = ProviderConfig::without_region()
                .with_http_client(self.http.clone())
                .with_region(region.region().await);
            let profile = ProfileFileCredentialsProvider::builder()
                .configure(&surroundings)
                .profile_name(profile);
            loader = loader.credentials_provider(profile.build());
        }
        loader = loader.region(region);
        if let Some(keys) = login.keys.as_ref().filter(|_| login.profile.is_none()) {
            let credentials = Credentials::new(
                keys.id.clone(),
                keys.secret.expose_secret(),
                keys.session_token
                    .as_ref()
                    // A token that lies around in the environment does not belong to a key that never has one.
                    .filter(|_| !keys.id.starts_with(LONG_TERM))
                    .map(|token| token.expose_secret().to_owned()),
                None,
                "settings",
            );
            loader = loader.credentials_provider(credentials);
        }
        let mut config = loader.load().await;
        if let Some(role) = &login.role {
            let mut assumed = AssumeRoleProvider::builder(&role.arn)
                .session_name(&role.session_name)
                .configure(&config);
            if let Some(id) = &role.external_id {
                assumed = assumed.external_id(id);
            }
            let assumed = assumed.build().await;
            config = config
                .into_builder()
                .credentials_provider(SharedCredentialsProvider::new(assumed))
                .build();
        }
        let mut config =
            aws_sdk_route53::config::Builder::from(&config).retry_config(RetryConfig::disabled());
        if let Some(endpoint) = &login.endpoint {
            config = config.endpoint_url(endpoint);
        }
        aws_sdk_route53::Client::from_conf(config.build())
    }
}

/// What all providers of one account share in this process.
#[derive(Debug)]
struct Account {
    limiter: Limiter,
    zones: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Account {
    /// The account, as far as the settings tell one from another before anything is asked.
    fn of(login: &Login, rate: Rate) -> Arc<Self> {
        static ACCOUNTS: LazyLock<Mutex<HashMap<String, Arc<Account>>>> =
            LazyLock::new(Mutex::default);

        let who = match (&login.role, &login.profile, &login.keys) {
            // arn:aws:iam::ACCOUNT:role/NAME
            (Some(role), _, _) => role.arn.split(":role/").next().unwrap_or_default(),
            (None, Some(profile), _) => profile,
            (None, None, Some(keys)) => &keys.id,
            (None, None, None) => "",
        };
        let endpoint = login.endpoint.as_deref().unwrap_or_default();
        let key = format!("{endpoint} {who} {} {}", rate.per_second, rate.burst);
        let mut accounts = ACCOUNTS.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(accounts.entry(key).or_insert_with(|| {
            Arc::new(Self {
                limiter: Limiter::new(rate.per_second, rate.burst),
                zones: Mutex::default(),
            })
        }))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// A pause that doubles, of which a random part is taken, so that machines that met do not meet again.
pub(super) fn jittered(attempt: u32) -> Duration {
    let full = FIRST_PAUSE
        .saturating_mul(1 << attempt.min(16))
        .min(LONGEST_PAUSE);
    full.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}

/// How the IDs of access keys begin that come without a session token ("IAM identifiers" in the IAM User Guide).
const LONG_TERM: &str = "AKIA";
const DEFAULT_REGION: &str = "us-east-1";
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// A server in trouble is left alone soon; the zone's writer comes back later, and says so.
const MOST_FAILURES: u32 = 2;
/// The limit learns from each refusal, so that the next try mostly gets through.
const MOST_REFUSALS: u32 = 5;
