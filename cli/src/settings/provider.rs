//! Which DNS providers there are, and which serves what.

use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

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
use dnseal_providers::Form;
use dnseal_providers::Integration;
use dnseal_providers::Kind;
use dnseal_providers::Setting;
use dnseal_providers::Settings;
use dnseal_providers::SettingsError;
use dnseal_providers::Value;
use dnseal_providers::acmesh;
use dnseal_providers::plugin::PluginError;
use dnseal_providers::plugin::Plugins;
use dnseal_providers::plugin::describe;
use secrecy::ExposeSecret;

use crate::args::ProviderArgs;
use crate::config::Config;
use crate::config::ConfigError;
use crate::config::Place;
use crate::config::Provider;
use crate::config::Secret;
use crate::env_vars;
use crate::error::CliError;
use crate::input;
use crate::settings;

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
        Capabilities {
            by_person: None,
            exclusive: false,
            max_values: None,
            overwrites: false,
            ttl: 60,
            settle: Duration::ZERO,
            tells_settled: false,
            write_safety: WriteSafety::PerValue,
        }
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

/// The kind called `named`, or of the provider that the configuration calls so.
pub(crate) fn kind_for(
    named: &str,
    set: &[String],
    config: &Config,
) -> Result<&'static Kind, CliError> {
    let set = set_values(&ProviderArgs {
        provider: Some(named.to_owned()),
        set: set.to_vec(),
        ..ProviderArgs::default()
    })?;
    match config.provider(named) {
        Some(provider) => kind_of(config, provider, &set),
        None => kind_named(config, named, &set),
    }
}

/// The kind called `named`: a plugin's is asked for what it says of itself.
fn kind_named(
    config: &Config,
    named: &str,
    set: &[(String, String)],
) -> Result<&'static Kind, CliError> {
    match dnseal_providers::kind(named) {
        Ok(kind) if matches!(kind.integration, Integration::AnyPlugin) => {
            let setting = kind.setting(COMMAND);
            let command = value_of(COMMAND, set).or_else(|| {
                setting.and_then(|s| s.env.iter().find_map(|name| env_vars::get(name)))
            });
            match command {
                Some(command) => described(&command),
                None => Err(CliError::usage(
                    "`command` is missing",
                    "add `--set command=/PATH/TO/PLUGIN`",
                )),
            }
        }
        Ok(kind) if matches!(kind.integration, Integration::AnyScript) => {
            let said = |key: &str| value_of(key, set).or_else(|| of_environment(kind, key));
            match said(SCRIPT) {
                Some(script) => of_script(kind, named, &script, said(HOME).as_deref()),
                // What it lacks is told where it is made.
                None => Ok(kind),
            }
        }
        Ok(kind) => Ok(kind),
        Err(unknown) => match config.plugins.kind(named) {
            Some(kind) => Ok(kind?),
            None => Err(unknown.into()),
        },
    }
}

/// The kind of a configured provider; the place in the file is part of what goes wrong.
fn kind_of(
    config: &Config,
    provider: &Provider,
    set: &[(String, String)],
) -> Result<&'static Kind, CliError> {
    let place = Place::value(["providers", provider.name.as_str()]);
    let in_file = |error: PluginError, key: &str| {
        config
            .error_at(&place.at(key), error.to_string(), error.hint())
            .map_or_else(|| CliError::Plugin(error), CliError::Config)
    };
    if let Some((kind, path)) = &provider.plugin {
        return Plugins::kind_at(kind, path).map_err(|error| in_file(error, "kind"));
    }
    if matches!(provider.kind.integration, Integration::AnyScript) {
        let mut said = Vec::new();
        for key in [SCRIPT, HOME] {
            if let Some(text) = written(provider, key)? {
                said.push((key.to_owned(), text));
            }
        }
        said.extend_from_slice(set);
        return kind_named(config, provider.kind.kind, &said).map_err(|error| match &error {
            CliError::Build(build) => {
                in_build(config, provider, provider.kind, build).map_or(error, CliError::Config)
            }
            _ => error,
        });
    }
    if !matches!(provider.kind.integration, Integration::AnyPlugin) {
        return Ok(provider.kind);
    }
    match (value_of(COMMAND, set), written(provider, COMMAND)?) {
        (Some(command), _) => described(&command),
        (None, Some(command)) => {
            let words = words(&command)?;
            describe(provider.kind.kind, words).map_err(|error| in_file(error, COMMAND))
        }
        (None, None) => kind_named(config, provider.kind.kind, set),
    }
}

/// What the configuration says for `key`.
fn written(provider: &Provider, key: &str) -> Result<Option<String>, CliError> {
    let Some((_, secret)) = provider.settings.iter().find(|(known, _)| known == key) else {
        return Ok(None);
    };
    let text = secret.resolve().map_err(|source| CliError::Secret {
        what: format!("`{key}` of provider `{}`", provider.name),
        source,
    })?;
    Ok(Some(text.expose_secret().to_owned()))
}

/// The kind that a script of acme.sh is.
fn of_script(
    kind: &'static Kind,
    name: &str,
    script: &str,
    home: Option<&str>,
) -> Result<&'static Kind, CliError> {
    acmesh::describe(script, home).map_err(|source| {
        CliError::Build(BuildError::Settings {
            kind: kind.kind,
            name: name.to_owned(),
            source,
        })
    })
}

/// Where the environment says that acme.sh is.
pub(crate) fn acme_sh_home() -> Option<String> {
    of_environment(dnseal_providers::kind(acmesh::KIND_NAME).ok()?, HOME)
}

/// What is wrong with an acme.sh that no provider is made of.
pub(crate) fn acme_sh_error(source: SettingsError) -> CliError {
    CliError::Settings {
        name: acmesh::KIND_NAME.to_owned(),
        source,
    }
}

fn of_environment(kind: &Kind, key: &str) -> Option<String> {
    let mut variables = kind.setting(key)?.env.iter();
    variables.find_map(|name| env_vars::get(name))
}

fn described(command: &str) -> Result<&'static Kind, CliError> {
    Ok(describe(
        dnseal_providers::any_plugin().kind,
        words(command)?,
    )?)
}

fn words(command: &str) -> Result<Vec<String>, CliError> {
    dnseal_providers::words(command).map_err(|problem| {
        CliError::usage(
            format!("`{COMMAND}`: {problem}"),
            "write the whole path of a program, and its arguments",
        )
    })
}

fn value_of(key: &str, set: &[(String, String)]) -> Option<String> {
    let mut values = set.iter().filter(|(k, _)| k == key).map(|(_, v)| v.clone());
    values.next_back()
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

/// What a provider is told, from all sources.
fn gather(
    name: &str,
    kind: &'static Kind,
    configured: Option<(&Config, &Provider)>,
    set: Vec<(String, String)>,
    warnings: &mut Vec<(String, String)>,
) -> Result<Settings, CliError> {
    let mut settings = Settings::new();
    for (key, text) in set {
        let form = kind.setting(&key).map_or(Form::Text, |s| s.form);
        let text = match form {
            Form::File => {
                warnings.extend(readable_by_others(Path::new(&text)));
                let path = Path::new(&text);
                let content = input::read_text(path).map_err(CliError::io("read", path))?;
                content.to_string()
            }
            _ => text,
        };
        settings.insert(canonical(kind, &key), Value::new(form, text));
    }
    if let Some((config, configured)) = configured {
        let mut written = Settings::new();
        for (key, secret) in &configured.settings {
            let form = kind.setting(key).map_or(Form::Text, |s| s.form);
            if let (Secret::File(path), Form::File | Form::Secret) = (secret, form) {
                warnings.extend(readable_by_others(path));
            }
            let path = match (secret, form, config.source.as_ref()) {
                // Only the plugin knows that it is the path of a file, and it has been asked since.
                (Secret::Literal(path), Form::File, Some(source)) => {
                    let path = source.resolve(path.expose_secret());
                    warnings.extend(readable_by_others(&path));
                    Some(Secret::File(path))
                }
                _ => None,
            };
            let secret = path.as_ref().unwrap_or(secret);
            let text = secret.resolve().map_err(|source| {
                let what = format!("`{key}` of provider `{name}`");
                let place = key
                    .split('.')
                    .fold(Place::value(["providers", name]), |place, word| {
                        place.at(word)
                    });
                let message = format!("cannot read the secret for {what}: {source}");
                config
                    .error_at(&place, message, None)
                    .map_or_else(|| CliError::Secret { what, source }, CliError::Config)
            })?;
            written.insert(
                canonical(kind, key),
                Value::new(form, text.expose_secret().to_owned()),
            );
        }
        settings.fill_from(written);
    }
    warnings.extend(
        files_from_env(kind)
            .iter()
            .filter_map(|path| readable_by_others(Path::new(path))),
    );
    let read = |path: &str| input::read_text(Path::new(path)).map(|text| text.to_string());
    let environment =
        Settings::from_env(kind, &env_vars::get, &read).map_err(|source| CliError::Settings {
            name: name.to_owned(),
            source,
        })?;
    settings.fill_from(environment);
    Ok(settings)
}

/// The files with secrets that the environment names.
fn files_from_env(kind: &Kind) -> Vec<String> {
    let of_setting = |setting: &Setting| {
        setting.env.iter().find_map(|name| match setting.form {
            Form::File => env_vars::get(name),
            Form::Secret => env_vars::get(&format!("{name}_FILE")),
            _ => None,
        })
    };
    kind.settings.iter().filter_map(of_setting).collect()
}

/// A warning about a file with a secret that everybody on this machine may read.
#[cfg(unix)]
fn readable_by_others(path: &Path) -> Option<(String, String)> {
    use std::os::unix::fs::MetadataExt;

    // Container engines mount secrets there for everybody in the container.
    if path.starts_with("/run/secrets") {
        return None;
    }
    let metadata = std::fs::metadata(path).ok()?;
    let mode = metadata.mode() & 0o7777;
    let message = format!(
        "{} holds a secret, and everybody on this machine may read it: its mode is {mode:04o}",
        path.display()
    );
    (metadata.is_file() && mode & 0o004 != 0)
        .then(|| (message, format!("`chmod o-rwx {}`", path.display())))
}

#[cfg(not(unix))]
fn readable_by_others(_: &Path) -> Option<(String, String)> {
    None
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

/// One key for a setting that has several, so that each source can override the other's.
fn canonical(kind: &Kind, key: &str) -> String {
    kind.setting(key)
        .map_or(key, |setting| match setting.is_map() {
            true => key,
            false => setting.key,
        })
        .to_owned()
}

/// The secrets whose files were noted when the certificate was issued. One that is gone is for the environment to replace.
fn read_secret_files(
    args: &ProviderArgs,
    set: &mut Vec<(String, String)>,
    warnings: &mut Vec<(String, String)>,
) {
    for (key, path) in &args.secret_files {
        match input::read_text(path) {
            Ok(text) => {
                warnings.extend(readable_by_others(path));
                set.push((key.clone(), text.trim_end().to_owned()));
            }
            Err(error) => warnings.push((
                format!(
                    "{} held `{key}` when the certificate was issued, and cannot be read: {error}",
                    path.display()
                ),
                "put it back, or issue once more with another".to_owned(),
            )),
        }
    }
}

pub(super) fn set_values(args: &ProviderArgs) -> Result<Vec<(String, String)>, CliError> {
    let from_environment = env_vars::get(env_vars::SET).unwrap_or_default();
    let words: Vec<&str> = match args.set.is_empty() {
        true => from_environment
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect(),
        false => args.set.iter().map(String::as_str).collect(),
    };
    words
        .into_iter()
        .map(|word| match word.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            // The word may be a secret whose key was forgotten.
            _ => Err(CliError::usage(
                "a value of `--set` is not of the form KEY=VALUE",
                "write for example `--set server=ns1.example.com`",
            )),
        })
        .collect()
}

/// The setting of a plugin that names its program.
const COMMAND: &str = "command";
/// The settings that say which script of acme.sh is meant.
const HOME: &str = "home";
const SCRIPT: &str = "script";
