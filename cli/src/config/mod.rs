//! The configuration file: from text to values that need no second look.
//!
//! [`raw`] has what may be written, and makes the JSON Schema too; [`Config::load`] checks it, and every error points at
//! its place in the file with the near miss. Secrets stay references until [`Secret::resolve`] is asked for one, and show
//! as `[redacted]` everywhere. Nothing here reads flags or environment variables, apart from `{ env: … }` of a secret.

mod check;
mod deploy;
mod error;
mod file;
mod forms;
mod frame;
mod locate;
mod nesting;
mod raw;
mod redact;
mod schema;
mod secret;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use dnseal_core::acme::KeyType;
use dnseal_core::deploy::Access;
use dnseal_core::dns::Delegation;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::EncryptedEndpoint;
use dnseal_core::dns::Identifier;
use dnseal_core::issue::CaaPolicy;
use dnseal_core::notify::NoticeKind;
use dnseal_core::renew::RenewBefore;
use dnseal_core::store::AccountId;
use dnseal_core::store::CertId;
use dnseal_core::store::Moment;
use dnseal_providers::plugin::Plugins;

pub(crate) use check::parse_key_type;
pub(crate) use check::parse_server;
pub(crate) use deploy::Content;
pub(crate) use deploy::File as TargetFile;
pub(crate) use deploy::Hooks;
pub(crate) use deploy::Target;
pub(crate) use deploy::named;
pub(crate) use error::ConfigError;
pub(crate) use error::nearest;
pub(crate) use file::Source;
pub(crate) use file::find;
pub(crate) use frame::Frame;
pub(crate) use frame::REDACTED;
pub(crate) use locate::Place;
pub(crate) use raw::Duration as DurationText;
pub(crate) use raw::Family;
pub(crate) use raw::Mode;
pub(crate) use raw::Quorum;
pub(crate) use redact::redacted;
pub(crate) use redact::without_userinfo;
pub(crate) use schema::schema;
pub(crate) use secret::Secret;
pub(crate) use secret::SecretError;

/// A configuration that has been checked as far as it can be without asking anybody.
#[derive(Debug, Default)]
pub(crate) struct Config {
    /// The file it came from, where there is one.
    pub(crate) source: Option<Source>,
    /// Whose the files in `live` are.
    pub(crate) access: Access,
    pub(crate) agree_tos: bool,
    pub(crate) ca: Option<Ca>,
    /// When CAA records stop an order, where that is said.
    pub(crate) caa: Option<CaaPolicy>,
    pub(crate) certificates: Vec<Certificate>,
    /// Where challenges live, by name, as far as it is said.
    pub(crate) delegation: Vec<(DomainName, Delegation)>,
    /// Where certificates go that say nothing themselves.
    pub(crate) deploy: Vec<Target>,
    pub(crate) dir: Option<PathBuf>,
    pub(crate) emails: Vec<String>,
    pub(crate) hooks: Hooks,
    pub(crate) key_type: Option<KeyType>,
    pub(crate) live: Option<PathBuf>,
    pub(crate) other_cas: Vec<Ca>,
    pub(crate) notify: Vec<Notify>,
    pub(crate) plugins: Plugins,
    pub(crate) profile: Option<String>,
    pub(crate) propagation: Propagation,
    pub(crate) providers: Vec<Provider>,
    pub(crate) renew_before: Option<RenewBefore>,
    pub(crate) spec: Spec,
    pub(crate) store: Option<PathBuf>,
    /// What opens the store, where it is encrypted.
    pub(crate) store_key: Option<Secret>,
    pub(crate) zones: Vec<Zone>,
}

impl Config {
    /// Reads the file that [`find`] has found.
    pub(crate) fn load(path: &std::path::Path) -> Result<Self, ConfigError> {
        let source = Source::read(path)?;
        let raw = source.parse()?;
        check::check(source, raw)
    }

    #[cfg(test)]
    pub(crate) fn of(text: &str) -> Result<Self, ConfigError> {
        let source = Source::of(text);
        let raw = source.parse()?;
        check::check(source, raw)
    }

    /// An error that was found later, about what stands at `place`; `None` where there is no file.
    pub(crate) fn error_at(
        &self,
        place: &Place,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> Option<ConfigError> {
        let source = self.source.as_ref()?;
        let at = place.find(source.text());
        Some(ConfigError::at(source, at, message).with_hint(hint))
    }

    /// The certificate called `id`.
    pub(crate) fn certificate(&self, id: &CertId) -> Option<&Certificate> {
        self.certificates.iter().find(|c| &c.id == id)
    }

    /// The roots that the configuration trusts beside the system's.
    pub(crate) fn roots(&self) -> &[PathBuf] {
        self.ca.as_ref().map_or(&[], |ca| ca.roots.as_slice())
    }

    /// Every secret and setting, wherever it comes from.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let of_certificates = self
            .certificates
            .iter()
            .flat_map(|c| c.ca.iter().chain(&c.other_cas));
        let of_cas = self.ca.iter().chain(&self.other_cas).chain(of_certificates);
        of_cas
            .filter_map(|ca| ca.eab.as_ref().map(|eab| &eab.hmac_key))
            .chain(&self.store_key)
            .chain(
                self.providers
                    .iter()
                    .flat_map(|p| p.settings.iter().map(|(_, secret)| secret)),
            )
            .chain(
                self.notify
                    .iter()
                    .flat_map(|notify| match &notify.to {
                        NotifyTarget::Run(_) => [None, None],
                        NotifyTarget::Webhook { url, secret } => [Some(url), secret.as_ref()],
                    })
                    .flatten(),
            )
    }

    /// The provider called `name`.
    pub(crate) fn provider(&self, name: &str) -> Option<&Provider> {
        self.providers.iter().find(|p| p.name == name)
    }
}

/// A CA, by name or by URL; `name_or_url` is parsed where CAs are known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Ca {
    pub(crate) account: Option<AccountId>,
    pub(crate) name_or_url: String,
    pub(crate) roots: Vec<PathBuf>,
    pub(crate) eab: Option<Eab>,
    /// Where a dry run goes.
    pub(crate) staging: Option<String>,
}

/// An external account at a CA (RFC 8555 section 7.3.4).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Eab {
    pub(crate) kid: String,
    pub(crate) hmac_key: Secret,
}

/// A certificate that the configuration wants.
#[derive(Debug)]
pub(crate) struct Certificate {
    pub(crate) id: CertId,
    pub(crate) names: Vec<Identifier>,
    pub(crate) key_type: Option<KeyType>,
    pub(crate) profile: Option<String>,
    pub(crate) renew_before: Option<RenewBefore>,
    pub(crate) ca: Option<Ca>,
    /// To ask where that one cannot issue.
    pub(crate) other_cas: Vec<Ca>,
    pub(crate) spec: Spec,
    /// Whose its files in `live` are.
    pub(crate) access: Access,
    /// Where it goes; `None` where it goes where all go.
    pub(crate) deploy: Option<Vec<Target>>,
}

/// What is said beyond names, key type, profile and CA, of one certificate or of all.
#[derive(Debug, Default)]
pub(crate) struct Spec {
    pub(crate) allow_subset: Option<bool>,
    pub(crate) csr: Option<PathBuf>,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) must_staple: Option<bool>,
    pub(crate) not_after: Option<Moment>,
    pub(crate) not_before: Option<Moment>,
    pub(crate) preferred_chain: Option<String>,
    pub(crate) preferred_profile: Option<String>,
    pub(crate) reuse_key: Option<bool>,
}

/// Somebody who is told what became of certificates.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Notify {
    pub(crate) to: NotifyTarget,
    /// Of what; empty means everything.
    pub(crate) events: Vec<NoticeKind>,
    pub(crate) timeout: Option<Duration>,
}

/// How they are told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum NotifyTarget {
    Run(Vec<String>),
    Webhook { url: Secret, secret: Option<Secret> },
}

/// A DNS provider of the configuration.
#[derive(Debug)]
pub(crate) struct Provider {
    pub(crate) name: String,
    /// What is known of it without running anything: a plugin has not been asked yet.
    pub(crate) kind: &'static dnseal_providers::Kind,
    /// The word after `kind:`, and the program where it is a plugin's.
    pub(crate) plugin: Option<(String, PathBuf)>,
    pub(crate) propagation: Propagation,
    pub(crate) settings: Vec<(String, Secret)>,
}

/// Which provider serves a zone.
#[derive(Debug)]
pub(crate) struct Zone {
    pub(crate) suffix: DomainName,
    pub(crate) provider: String,
    pub(crate) propagation: Propagation,
}

/// How to see that a value is served, as far as it is said.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Propagation {
    /// Resolvers over HTTPS and TLS; none at all where the list is empty.
    pub(crate) encrypted: Option<Vec<EncryptedEndpoint>>,
    pub(crate) fallback_wait: Option<Duration>,
    pub(crate) first_look: Option<Duration>,
    pub(crate) recursive_too: Option<bool>,
    pub(crate) family: Option<Family>,
    pub(crate) mode: Option<Mode>,
    pub(crate) nameservers: Vec<std::net::SocketAddr>,
    pub(crate) quorum: Option<Quorum>,
    pub(crate) resolvers: Vec<std::net::SocketAddr>,
    pub(crate) settle: Option<Duration>,
    pub(crate) timeout: Option<Duration>,
}
