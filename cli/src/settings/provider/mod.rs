//! Which DNS providers there are, and which serves what.

mod kind;
mod values;

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::sync::Arc;

use async_trait::async_trait;
use dnseal_core::dns::Applied;
use dnseal_core::dns::Capabilities;
use dnseal_core::dns::DelegationRules;
use dnseal_core::dns::DnsProvider;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::TxtChange;
use dnseal_core::dns::WriteSafety;
use dnseal_core::dns::Zone;
use dnseal_providers::BuildError;
use dnseal_providers::Context;
use dnseal_providers::Integration;
use dnseal_providers::Kind;
use dnseal_providers::SettingsError;

use crate::args::ProviderArgs;
use crate::config::Config;
use crate::config::ConfigError;
use crate::config::Place;
use crate::config::Provider;
use crate::error::CliError;
use crate::settings;
use crate::settings::provider::kind::kind_named;
use crate::settings::provider::kind::kind_of;
use crate::settings::provider::values::canonical;
use crate::settings::provider::values::gather;
use crate::settings::provider::values::read_secret_files;

pub(crate) use kind::acme_sh_error;
pub(crate) use kind::acme_sh_home;
pub(crate) use kind::kind_for;
pub(super) use values::set_values;

/// The providers of a run, made but not asked yet, and who serves which zone.
#[derive(Debug)]
pub(crate) struct Providers {
    /// Where challenges live, as far as the user says it.
    pub(crate) delegation: DelegationRules,
    pub(crate) providers: Vec<(String, Arc<dyn DnsProvider>)>,
    pub(crate) routes: Vec<(DomainName, String)>,
    pub(crate) fallback: Option<String>,
    /// What is amiss and hinders nobody: a message and what to do.
    pub(crate) warnings: Vec<(String, String)>,
}

impl Providers {
    /// For what needs none.
    pub(crate) fn none() -> Self {
        Self {
            delegation: DelegationRules::default(),
            providers: Vec::new(),
            routes: Vec::new(),
            fallback: None,
            warnings: Vec::new(),
        }
    }
}

/// What `issue` was given and the store may not have has to come from elsewhere: without it a script might write to another place.
fn nothing_withheld(
    args: &ProviderArgs,
    named: &str,
    set: &[(String, String)],
) -> Result<(), CliError> {
    let is_given = |key: &&String| set.iter().any(|(given, _)| given == *key);
    match args.withheld.iter().find(|key| !is_given(key)) {
        None => Ok(()),
        Some(key) => Err(CliError::usage(
            format!(
                "`{key}` was given when the certificate was issued, and is not in the store, because it may be a secret"
            ),
            format!("write it into the configuration file, for a provider called `{named}`"),
        )),
    }
}

/// Makes the providers that flags, environment and configuration name.
///
/// `--provider` serves everything. Without it the zones of the configuration say who serves what, and a single provider
/// without zones serves everything.
pub(crate) fn providers(
    args: &ProviderArgs,
    config: &Config,
    context: &Context,
) -> Result<Providers, CliError> {
    let mut set = set_values(args)?;
    let mut warnings = Vec::new();
    read_secret_files(args, &mut set, &mut warnings);
    if let Some(named) = args.provider.as_deref().filter(|p| !p.is_empty()) {
        let provider = match config.provider(named) {
            Some(configured) => build(
                &configured.name,
                kind_of(config, configured, &set)?,
                Some((config, configured)),
                set,
                context,
                &mut warnings,
            )?,
            None => {
                let kind = kind_named(config, named, &set)?;
                nothing_withheld(args, named, &set)?;
                build(named, kind, None, set, context, &mut warnings)?
            }
        };
        return Ok(Providers {
            delegation: settings::delegation(args, config)?,
            providers: vec![(named.to_owned(), provider)],
            routes: Vec::new(),
            fallback: Some(named.to_owned()),
            warnings,
        });
    }
    if !set.is_empty() {
        return Err(CliError::usage(
            "`--set` is for the provider that `--provider` names",
            "add `--provider KIND`, or write the setting into the configuration",
        ));
    }
    if config.providers.is_empty() {
        return Err(CliError::usage(
            "no DNS provider is named",
            "add `--provider KIND`; `dnseal provider list` shows the kinds there are",
        ));
    }
    let mut providers = Vec::new();
    let mut first_error = None;
    let mut usable = 0;
    for p in &config.providers {
        let built = kind_of(config, p, &[]).and_then(|kind| {
            let configured = Some((config, p));
            build(
                &p.name,
                kind,
                configured,
                Vec::new(),
                context,
                &mut warnings,
            )
        });
        let provider = match built {
            Ok(provider) => {
                usable += 1;
                provider
            }
            // Whoever needs it is told; what the others serve is none of its business.
            Err(error) => {
                let unusable = Arc::new(Unusable::new(&p.name, &error));
                first_error.get_or_insert(error);
                unusable
            }
        };
        providers.push((p.name.clone(), provider));
    }
    if let (Some(error), 0) = (first_error, usable) {
        return Err(error);
    }
    let routes: Vec<(DomainName, String)> = config
        .zones
        .iter()
        .map(|zone| (zone.suffix.clone(), zone.provider.clone()))
        .collect();
    let fallback = match config.providers.as_slice() {
        [only] if routes.is_empty() => Some(only.name.clone()),
        _ => None,
    };
    Ok(Providers {
        delegation: settings::delegation(args, config)?,
        providers,
        routes,
        fallback,
        warnings,
    })
}

/// A configured provider that cannot be used: it says why to whoever needs it.
#[derive(Debug)]
struct Unusable {
    detail: String,
    hint: Option<String>,
    name: String,
}

impl Unusable {
    fn new(name: &str, error: &CliError) -> Self {
        Self {
            detail: format!("the provider `{name}` cannot be used: {error}"),
            hint: error.hint(),
            name: name.to_owned(),
        }
    }

    fn error(&self) -> ProviderError {
        ProviderError::Misconfigured {
            detail: self.detail.clone(),
            hint: self.hint.clone(),
        }
    }
}

#[async_trait]
impl DnsProvider for Unusable {
    fn capabilities(&self) -> Capabilities {
        Capabilities::new(60, WriteSafety::PerValue)
    }

    fn endpoint(&self) -> String {
        format!("the provider `{}`", self.name)
    }

    async fn zone_of(&self, _: &DomainName) -> Result<Zone, ProviderError> {
        Err(self.error())
    }

    async fn apply(&self, _: &Zone, _: &[TxtChange]) -> Result<Applied, ProviderError> {
        Err(self.error())
    }
}

/// `--set` beats the configuration, which beats the environment: a variable says nothing about which of
/// several providers of one kind is meant.
fn build(
    name: &str,
    kind: &'static Kind,
    configured: Option<(&Config, &Provider)>,
    set: Vec<(String, String)>,
    context: &Context,
    warnings: &mut Vec<(String, String)>,
) -> Result<Arc<dyn DnsProvider>, CliError> {
    let settings = gather(name, kind, configured, set, warnings)?;
    kind.build(name, settings, context).map_err(|error| {
        configured
            .and_then(|(config, provider)| in_build(config, provider, kind, &error))
            .map_or_else(|| error.into(), CliError::Config)
    })
}

/// One provider by name or kind, with everything that it is told: what `provider test` works with.
pub(crate) fn one_provider(
    named: &str,
    set: &[String],
    config: &Config,
    context: &Context,
    warnings: &mut Vec<(String, String)>,
) -> Result<Tested, CliError> {
    let set = set_values(&ProviderArgs {
        provider: Some(named.to_owned()),
        set: set.to_vec(),
        ..ProviderArgs::default()
    })?;
    let configured = config.provider(named).map(|p| (config, p));
    let kind = match configured {
        Some((config, provider)) => kind_of(config, provider, &set)?,
        None => kind_named(config, named, &set)?,
    };
    let settings = gather(named, kind, configured, set.clone(), warnings)?;
    let impostor = match settings.with_bad_secrets(kind) {
        Some(bad) => Some(kind.build(named, bad, context)?),
        None => None,
    };
    // A plugin of somebody's may understand the setting in its own way.
    let silent = match kind.integration {
        Integration::Native | Integration::Hosted => {
            let silence = Silence::begin()?;
            match settings.pointed_at(kind, silence.address) {
                Some(there) => Some((kind.build(named, there, context)?, silence)),
                None => None,
            }
        }
        _ => None,
    };
    Ok(Tested {
        impostor,
        kind,
        silent,
        provider: build(named, kind, configured, set, context, &mut Vec::new())?,
    })
}

/// A provider, and the same with credentials that are not good.
#[derive(Debug)]
pub(crate) struct Tested {
    pub(crate) impostor: Option<Arc<dyn DnsProvider>>,
    pub(crate) kind: &'static Kind,
    /// The same at a server that never answers, for as long as that is there.
    pub(crate) silent: Option<(Arc<dyn DnsProvider>, Silence)>,
    pub(crate) provider: Arc<dyn DnsProvider>,
}

/// A server on this machine that takes connections and never says anything.
#[derive(Debug)]
pub(crate) struct Silence {
    address: SocketAddr,
    _listener: TcpListener,
}

impl Silence {
    fn begin() -> Result<Self, CliError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let begun = listener.and_then(|listener| {
            Ok(Self {
                address: listener.local_addr()?,
                _listener: listener,
            })
        });
        begun.map_err(|error| CliError::Unexpected {
            message: format!("cannot listen on this machine: {error}"),
            hint: None,
        })
    }
}

/// The error with its place in the file.
fn in_build(
    config: &Config,
    provider: &Provider,
    kind: &Kind,
    error: &BuildError,
) -> Option<ConfigError> {
    let BuildError::Settings { source, .. } = error else {
        return None;
    };
    let key = match source {
        SettingsError::Malformed { key, .. } | SettingsError::Twice { key, .. } => Some(*key),
        SettingsError::Unknown { key, .. } => Some(key.as_str()),
        _ => None,
    };
    let written = key.and_then(|key| {
        provider
            .settings
            .iter()
            .map(|(written, _)| written)
            .find(|written| canonical(kind, written) == key)
    });
    let mut place = Place::value(["providers", provider.name.as_str()]);
    place = match written {
        Some(written) => written.split('.').fold(place, |place, word| place.at(word)),
        // What is missing, or comes from the environment, is about the provider as a whole.
        None => place.key(),
    };
    config.error_at(&place, error.to_string(), error.hint())
}
