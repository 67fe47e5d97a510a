//! Some sixty services by the crate `dns-update`, behind the trait of all providers.
//!
//! Each service is one entry of a table (`services/`): what it is told, the variables that other tools' users have set already, where
//! credentials come from, what they must be allowed, whether its writes are safe, and the crate's constructor. Everything else is the same
//! for all: what stands at a name is read before it is written, only what is missing is added and only what is there is removed, and the
//! result is read back (`provider.rs`); the crate's errors, which are texts, become typed ones (`errors.rs`). Services that the crate
//! can only write by replacing what others own are not served, and a user who asks for one hears why (`not_served.rs`).

mod errors;
mod not_served;
mod provider;
mod remote;
mod services;

use std::sync::Arc;
use std::time::Duration;

use dns_update::DnsUpdater;
use dnseal_core::dns::DnsProvider;
use dnseal_core::dns::WriteSafety;

use crate::bridge::provider::Bridged;
use crate::redact::Secrets;
use crate::registry::Context;
use crate::registry::Form;
use crate::registry::Integration;
use crate::registry::Kind;
use crate::registry::Setting;
use crate::settings::Checked;
use crate::settings::SettingsError;

pub(crate) use not_served::not_served;

/// Every service, as the registry has kinds.
pub(crate) fn kinds() -> impl Iterator<Item = Kind> {
    services::all().map(Service::kind)
}

/// One service of the crate.
#[derive(Clone, Copy, Debug)]
struct Service {
    connect: fn(&Told<'_>) -> Result<DnsUpdater, SettingsError>,
    docs: &'static str,
    kind: &'static str,
    permissions: &'static str,
    settings: &'static [Setting],
    title: &'static str,
    write_safety: WriteSafety,
}

impl Service {
    fn kind(&'static self) -> Kind {
        Kind {
            docs: self.docs,
            integration: Integration::Bridged,
            kind: self.kind,
            permissions: self.permissions,
            settings: self.settings,
            title: self.title,
            write_safety: self.write_safety,

            build,
        }
    }
}

fn build(settings: &Checked, context: &Context) -> Result<Arc<dyn DnsProvider>, SettingsError> {
    let kind = settings.kind();
    let service = services::all()
        .find(|service| service.kind == kind.kind)
        .ok_or_else(|| settings.missing(kind.kind))?;
    let told = Told { settings };
    let ttl = match settings.number(TTL)? {
        Some(ttl) => ttl,
        None => kind
            .setting(TTL)
            .and_then(|setting| setting.default?.parse().ok())
            .unwrap_or(UNKNOWN_TTL),
    };
    Ok(Arc::new(Bridged {
        endpoint: told.endpoint(service.title),
        events: context.events().clone(),
        kind: service.kind,
        remote: (service.connect)(&told)?,
        secrets: settings.secrets(),
        ttl,
        write_safety: service.write_safety,
    }))
}

/// What a user has told about a service, as the crate's constructors want it.
struct Told<'a> {
    settings: &'a Checked,
}

impl Told<'_> {
    /// A setting that is required, or has a default, or else nothing.
    fn get(&self, key: &'static str) -> String {
        self.optional(key)
            .or_else(|| {
                let setting = self.settings.kind().setting(key)?;
                setting.default.map(str::to_owned)
            })
            .unwrap_or_default()
    }

    fn optional(&self, key: &'static str) -> Option<String> {
        let text = self.settings.text(key)?;
        (!text.is_empty()).then(|| text.to_owned())
    }

    fn missing(&self, key: &'static str) -> SettingsError {
        self.settings.missing(key)
    }

    fn flag(&self, key: &'static str) -> Result<bool, SettingsError> {
        self.settings.flag(key)
    }

    fn number(&self, key: &'static str) -> Result<Option<u32>, SettingsError> {
        self.settings.number(key)
    }

    /// How long one request may take.
    fn timeout(&self) -> Result<Option<Duration>, SettingsError> {
        let timeout = self.settings.duration(TIMEOUT)?;
        Ok(Some(timeout.unwrap_or(DEFAULT_TIMEOUT)))
    }

    /// Where it writes to, as a person would say it.
    fn endpoint(&self, title: &str) -> String {
        let place = ["url", "host"].into_iter().find_map(|key| {
            self.settings.kind().setting(key)?;
            self.optional(key)
        });
        place.unwrap_or_else(|| format!("the API of {title}"))
    }
}

/// An http or https URL without credentials.
fn url(told: &Told<'_>, key: &'static str) -> Result<String, SettingsError> {
    let text = told.get(key);
    let url = url::Url::parse(&text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| SettingsError::malformed(key, "it is no http or https URL"))?;
    match url.username().is_empty() && url.password().is_none() {
        true => Ok(text),
        false => Err(SettingsError::malformed(key, "the URL holds credentials")),
    }
}

/// What the crate's constructor made of it.
fn made(made: dns_update::Result<DnsUpdater>) -> Result<DnsUpdater, SettingsError> {
    made.map_err(|error| match error {
        dns_update::Error::InvalidRegion => {
            SettingsError::malformed("region", "that is no name of a region")
        }
        error => SettingsError::malformed("kind", errors::words(&error, &Secrets::default())),
    })
}

const fn secret(key: &'static str, env: &'static [&'static str], help: &'static str) -> Setting {
    setting(key, Form::Secret, env, None, true, help)
}

const fn text(key: &'static str, env: &'static [&'static str], help: &'static str) -> Setting {
    setting(key, Form::Text, env, None, true, help)
}

/// A text that need not be given.
const fn option(
    key: &'static str,
    env: &'static [&'static str],
    default: Option<&'static str>,
    help: &'static str,
) -> Setting {
    setting(key, Form::Text, env, default, false, help)
}

/// A secret that need not be given.
const fn secret_option(
    key: &'static str,
    env: &'static [&'static str],
    help: &'static str,
) -> Setting {
    setting(key, Form::Secret, env, None, false, help)
}

const fn flag(key: &'static str, env: &'static [&'static str], help: &'static str) -> Setting {
    setting(key, Form::Flag, env, Some("false"), false, help)
}

/// A file with a secret.
const fn file(
    key: &'static str,
    env: &'static [&'static str],
    required: bool,
    help: &'static str,
) -> Setting {
    setting(key, Form::File, env, None, required, help)
}

const fn ttl(env: &'static [&'static str], default: &'static str) -> Setting {
    setting(
        TTL,
        Form::Number,
        env,
        Some(default),
        false,
        "The TTL of challenge values in seconds; the service may raise it",
    )
}

const fn timeout(env: &'static [&'static str]) -> Setting {
    setting(
        TIMEOUT,
        Form::Duration,
        env,
        Some("30s"),
        false,
        "How long to wait for one answer",
    )
}

const fn setting(
    key: &'static str,
    form: Form,
    env: &'static [&'static str],
    default: Option<&'static str>,
    required: bool,
    help: &'static str,
) -> Setting {
    Setting {
        aliases: &[],
        default,
        env,
        form,
        help,
        key,
        required,
    }
}

const TTL: &str = "ttl";
const TIMEOUT: &str = "timeout";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// For services that let nobody choose one.
const UNKNOWN_TTL: u32 = 3600;

#[cfg(test)]
mod tests;
