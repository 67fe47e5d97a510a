//! From the word after `kind:` to a provider.
//!
//! Each provider module describes itself in one constant [`Kind`]: its settings with their environment variables, the
//! least permissions it needs, and its constructor. Everything that lists, documents or checks providers reads that.

use std::fmt;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::OnceLock;
use std::time::SystemTime;

use dnseal_core::dns::DnsProvider;
use dnseal_core::dns::Onlooker;
use dnseal_core::dns::WriteSafety;
use dnseal_core::event::Events;
use dnseal_core::store::Memory;
use dnseal_core::web::client;

#[cfg(feature = "more-providers")]
use crate::bridge;
#[cfg(feature = "more-providers")]
use crate::bridge::not_served;
use crate::cloudflare;
use crate::hosted;
use crate::manual;
use crate::plugin;
use crate::plugin::Plugins;
use crate::redact::Redacted;
use crate::rfc2136;
#[cfg(feature = "route53")]
use crate::route53;
use crate::settings::Checked;
use crate::settings::Settings;
use crate::settings::SettingsError;
use crate::settings::nearest;

/// Every provider there is, in the order of their kinds.
pub fn kinds() -> &'static [Kind] {
    &KINDS
}

/// The provider called `kind`.
pub fn kind(kind: &str) -> Result<&'static Kind, UnknownKind> {
    KINDS
        .iter()
        .find(|k| k.kind == kind)
        .ok_or_else(|| UnknownKind {
            kind: kind.to_owned(),
            nearest: nearest(kind, KINDS.iter().map(|k| k.kind)).map(str::to_owned),
            not_served: not_served(kind),
            searched: None,
        })
}

/// What is known of a plugin that has not been asked: it takes every setting.
pub fn any_plugin() -> &'static Kind {
    &ANY_PLUGIN
}

/// Makes a provider of `kind`, called `name` in messages, from its settings.
///
/// Nothing is contacted.
pub fn build(
    kind: &str,
    name: &str,
    settings: Settings,
    context: &Context,
) -> Result<Arc<dyn DnsProvider>, BuildError> {
    self::kind(kind)?.build(name, settings, context)
}

/// What there is to know about a provider before it is made.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Kind {
    /// Where its interface is described.
    pub docs: &'static str,
    /// How it comes to be served.
    pub integration: Integration,
    /// The word in `kind:` and `--provider`.
    pub kind: &'static str,
    /// The least rights that suffice, with examples to copy; several lines.
    pub permissions: &'static str,
    /// Everything it can be told.
    pub settings: &'static [Setting],
    /// What it is, in a few words.
    pub title: &'static str,
    /// Whether machines that know nothing of each other may write one owner name.
    pub write_safety: WriteSafety,

    pub(crate) build: Build,
}

impl Kind {
    /// Makes a provider of this kind, called `name` in messages, from its settings.
    ///
    /// Nothing is contacted.
    pub fn build(
        &'static self,
        name: &str,
        settings: Settings,
        context: &Context,
    ) -> Result<Arc<dyn DnsProvider>, BuildError> {
        settings
            .check(self)
            .and_then(|settings| {
                let settings = settings.named(name);
                let provider = (self.build)(&settings, context)?;
                Ok(Arc::new(Redacted::new(provider, settings.secrets())) as Arc<dyn DnsProvider>)
            })
            .map_err(|source| BuildError::Settings {
                kind: self.kind,
                name: name.to_owned(),
                source,
            })
    }

    /// The setting called `key`, or that has it as an alias.
    pub fn setting(&self, key: &str) -> Option<&'static Setting> {
        self.settings
            .iter()
            .find(|s| s.covers(key) || s.aliases.contains(&key))
    }
}

/// How a provider comes to be served.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Integration {
    /// By a program that says itself what it is, and has not been asked yet.
    AnyPlugin,
    /// By a script whose header says what it is, and has not been read yet.
    AnyScript,
    /// By the crate `dns-update`.
    Bridged,
    /// By the contract of another tool: its scripts, its server.
    Hosted,
    /// By this program.
    Native,
    /// By a program that has said what it is.
    Plugin(&'static plugin::About),
}

impl Integration {
    /// In one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AnyPlugin | Self::Plugin(_) => "plugin",
            Self::AnyScript | Self::Hosted => "hosted",
            Self::Bridged => "bridged",
            Self::Native => "native",
        }
    }
}

/// One thing a provider can be told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Setting {
    /// Other keys that mean the same.
    pub aliases: &'static [&'static str],
    /// What holds where it is not given.
    pub default: Option<&'static str>,
    /// Environment variables, the first that is set wins; each also as `…_FILE`, unless it names a file anyway.
    pub env: &'static [&'static str],
    /// How its value is written.
    pub form: Form,
    /// One sentence.
    pub help: &'static str,
    /// Its dotted key; `zone-ids.*` stands for every key that begins with `zone-ids.`.
    pub key: &'static str,
    /// Whether it must be given.
    pub required: bool,
}

impl Setting {
    /// Whether it stands for many keys with a common beginning.
    pub fn is_map(&self) -> bool {
        self.prefix().is_some()
    }

    /// What a key of a map has in front of the map's own keys, such as `zone-ids.`.
    pub(crate) fn prefix(&self) -> Option<&'static str> {
        self.key.strip_suffix('*')
    }

    fn covers(&self, key: &str) -> bool {
        match self.prefix() {
            Some(prefix) => key
                .strip_prefix(prefix)
                .is_some_and(|rest| !rest.is_empty()),
            None => self.key == key,
        }
    }
}

/// How the value of a setting is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// `10s`, `2m`, or a number of seconds.
    Duration,
    /// A path; the caller reads the file and hands over what is in it.
    File,
    /// `true` or `false`.
    Flag,
    /// A number that is not negative.
    Number,
    /// Text that must not be shown.
    Secret,
    /// Text.
    Text,
    /// A program and its arguments: a list, kept as a JSON array, or words separated by blanks.
    Words,
}

/// What providers get from their surroundings.
#[derive(Clone)]
pub struct Context {
    clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    events: Events,
    /// Made with the first use: reading the system's roots takes a while, and not every provider speaks HTTP.
    http: Arc<OnceLock<reqwest::Client>>,
    memory: Option<Memory>,
    onlooker: Option<Onlooker>,
}

impl Context {
    /// The same, with another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The same, telling there when a provider waits for its turn.
    #[must_use]
    pub fn with_events(mut self, events: Events) -> Self {
        self.events = events;
        self
    }

    /// The same, with an HTTP client that has the caller's proxies, roots and time-outs, and follows no redirects.
    #[must_use]
    pub fn with_http(mut self, http: reqwest::Client) -> Self {
        self.http = Arc::new(OnceLock::from(http));
        self
    }

    /// The same, with a way to see what stands at a name, for what may remove more than it is told to.
    #[must_use]
    pub fn with_onlooker(mut self, onlooker: Onlooker) -> Self {
        self.onlooker = Some(onlooker);
        self
    }

    pub(crate) fn onlooker(&self) -> Option<&Onlooker> {
        self.onlooker.as_ref()
    }

    /// The same, with a place for what a provider remembers from one run to the next.
    #[must_use]
    pub fn with_memory(mut self, memory: Memory) -> Self {
        self.memory = Some(memory);
        self
    }

    pub(crate) fn memory(&self) -> Option<&Memory> {
        self.memory.as_ref()
    }

    pub(crate) fn events(&self) -> &Events {
        &self.events
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        self.http.get_or_init(|| {
            client()
                .no_deflate()
                .no_gzip()
                // Credentials go to the server they are meant for only.
                .redirect(reqwest::redirect::Policy::none())
                .user_agent(concat!("dnseal/", env!("CARGO_PKG_VERSION")))
                .build()
                .unwrap_or_default()
        })
    }

    pub(crate) fn now(&self) -> SystemTime {
        (self.clock)()
    }
}

impl Default for Context {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemTime::now),
            events: Events::silent(),
            http: Arc::default(),
            memory: None,
            onlooker: None,
        }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").finish_non_exhaustive()
    }
}

/// Why there is no provider.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The settings are not what the kind needs.
    #[error("provider `{name}` ({kind}): {source}")]
    Settings {
        /// Its kind.
        kind: &'static str,
        /// Its name in the configuration.
        name: String,
        /// What is wrong with them.
        source: SettingsError,
    },
    /// There is no such kind.
    #[error(transparent)]
    UnknownKind(#[from] UnknownKind),
}

impl BuildError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Settings { source, .. } => source.hint(),
            Self::UnknownKind(unknown) => Some(unknown.hint()),
        }
    }
}

/// There is no provider of that kind.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("there is no provider of kind `{kind}`")]
pub struct UnknownKind {
    kind: String,
    nearest: Option<String>,
    not_served: Option<String>,
    /// What is said of plugins, where they were looked for.
    searched: Option<String>,
}

impl UnknownKind {
    /// The same where none of these is it either.
    #[must_use]
    pub fn among(self, plugins: &Plugins) -> Self {
        let installed = plugins.list();
        let kinds = KINDS.iter().map(|k| k.kind);
        let all = kinds.chain(installed.iter().map(|(name, _)| name.as_str()));
        Self {
            nearest: nearest(&self.kind, all).map(str::to_owned),
            searched: Some(plugins.searched(&self.kind)),
            ..self
        }
    }

    /// Why it is none although it could be one, the near miss, or where to look.
    pub fn hint(&self) -> String {
        let hint = match (&self.not_served, &self.nearest) {
            (Some(why), _) => return why.clone(),
            (None, Some(nearest)) => format!("did you mean `{nearest}`?"),
            (None, None) => "`dnseal provider list` has the kinds there are".to_owned(),
        };
        match &self.searched {
            Some(searched) if hint.ends_with('?') => format!("{hint} Otherwise {searched}"),
            Some(searched) => format!("{hint}; {searched}"),
            None => hint,
        }
    }
}

pub(crate) type Build = fn(&Checked, &Context) -> Result<Arc<dyn DnsProvider>, SettingsError>;

static ANY_PLUGIN: Kind = plugin::KIND;

static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(|| {
    let mut kinds = OWN.to_vec();
    #[cfg(feature = "more-providers")]
    kinds.extend(bridge::kinds());
    kinds.sort_by_key(|kind| kind.kind);
    kinds
});

/// Without the table there is nothing to say about what is not in it.
#[cfg(not(feature = "more-providers"))]
fn not_served(_: &str) -> Option<String> {
    None
}

const OWN: &[Kind] = &[
    hosted::acme_dns::KIND,
    hosted::acmesh::KIND,
    hosted::certbot::KIND,
    cloudflare::KIND,
    hosted::dehydrated::KIND,
    hosted::exec::KIND,
    hosted::httpreq::KIND,
    manual::KIND,
    plugin::KIND,
    rfc2136::KIND,
    #[cfg(feature = "route53")]
    route53::KIND,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_suggested() {
        assert_eq!(
            kind("rfc2163").unwrap_err().hint(),
            "did you mean `rfc2136`?"
        );
        let hint = kind("telepathy").unwrap_err().hint();
        assert!(hint.contains("provider list"), "{hint}");
    }

    #[test]
    fn keys_and_variables_are_unique_within_a_kind() {
        for kind in kinds() {
            let mut keys: Vec<&str> = kind
                .settings
                .iter()
                .flat_map(|s| s.aliases.iter().copied().chain([s.key]))
                .collect();
            let mut variables: Vec<&str> = kind
                .settings
                .iter()
                .flat_map(|s| s.env.iter().copied())
                .collect();
            for list in [&mut keys, &mut variables] {
                let count = list.len();
                list.sort_unstable();
                list.dedup();
                assert_eq!(list.len(), count, "{}", kind.kind);
            }
        }
    }
}
