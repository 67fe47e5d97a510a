//! What may be written in the configuration file, word for word.
//!
//! The types here are the one definition: serde reads them, schemars makes the JSON Schema of them. There is no
//! `flatten` and no `untagged`, because both lose the place of an error. Values that may be
//! written in more than one way are read in `forms`; what a string means is checked in `check`. Everything is written, too, by
//! `dnseal report`: what may hold a secret does so in the words of `redact`.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

use crate::config::redact;

use crate::config::deploy::raw as deploy;

/// The configuration of dnseal.
#[derive(Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table",
    rename_all = "kebab-case"
)]
#[schemars(title = "dnseal.yaml")]
pub(crate) struct Config {
    /// Whose the files in `live` are.
    pub(crate) access: deploy::Access,
    /// Whether the CA's terms of service are agreed to.
    pub(crate) agree_tos: bool,
    /// Whether to go on without the names that fail.
    pub(crate) allow_subset: Option<bool>,
    /// The CA: a name, the URL of a directory, or both with what it needs; of several, the next is asked where one cannot issue.
    pub(crate) ca: Option<Ca>,
    /// When CAA records stop an order [default: where they certainly forbid it].
    pub(crate) caa: Option<Caa>,
    /// The certificates to issue, by name.
    pub(crate) certificates: Table<Certificate>,
    /// Where challenges live, by name; it counts for what is below the name, too [default: follow].
    pub(crate) delegation: Table<Delegation>,
    /// Where certificates go that say nothing themselves.
    pub(crate) deploy: Vec<deploy::Target>,
    /// Where store and live files are; a path relative to this file.
    pub(crate) dir: Option<String>,
    /// Where the CA may write to.
    #[serde(serialize_with = "redact::addresses")]
    pub(crate) email: Option<OneOrMore>,
    /// Commands around a run.
    pub(crate) hooks: deploy::Hooks,
    /// The type of new keys.
    pub(crate) key_type: Option<KeyTypeName>,
    /// Where the newest files are, if not in `live` below `dir`.
    pub(crate) live: Option<String>,
    /// Whether servers have to staple an OCSP answer.
    pub(crate) must_staple: Option<bool>,
    /// The common name of the root that chains should lead to.
    pub(crate) preferred_chain: Option<String>,
    /// The CA's profile where it offers it.
    pub(crate) preferred_profile: Option<String>,
    /// Whom to tell what became of certificates.
    pub(crate) notify: Vec<Notify>,
    /// Where plugins are looked for, in place of the usual directories; paths relative to this file.
    pub(crate) plugin_dirs: Option<Vec<String>>,
    /// The CA's profile.
    pub(crate) profile: Option<String>,
    /// How to see that a value is served.
    pub(crate) propagation: Propagation,
    /// The DNS providers, by a name of your own.
    pub(crate) providers: Table<Provider>,
    /// How much may be left of a certificate when it is renewed: a share of its lifetime (`1/3`) or a time (`30d`).
    pub(crate) renew_before: Option<String>,
    /// Whether keys are kept from version to version.
    pub(crate) reuse_key: Option<bool>,
    /// Where the store is, if not in `store` below `dir`.
    pub(crate) store: Option<String>,
    /// The key or passphrase of the store, where it is encrypted.
    pub(crate) store_key: Option<Secret>,
    /// Which provider serves which zone; the longest suffix of the final owner name wins.
    pub(crate) zones: Table<Zone>,
}

/// When CAA records stop an order.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Caa {
    /// Also where they cannot be read, or only servers given by hand were looked at.
    Enforce,
    /// They are not looked at.
    Off,
    /// Never.
    Warn,
}

/// A CA: a name or URL, or a table.
#[derive(Clone, Debug)]
pub(crate) enum Ca {
    /// In order of preference.
    List(Vec<Self>),
    NameOrUrl(String),
    Table(CaTable),
}

/// A CA with what it needs.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, expecting = "a table", rename_all = "kebab-case")]
pub(crate) struct CaTable {
    /// The account to order with, as `dnseal account list` names it, instead of the one called after the CA.
    #[serde(default)]
    pub(crate) account: Option<String>,
    /// The external account, for a CA that wants one.
    #[serde(default)]
    pub(crate) eab: Option<Eab>,
    /// A CA by name, instead of `url`.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// PEM files to trust the CA's HTTPS through too; paths relative to this file.
    #[serde(default)]
    pub(crate) root: Option<OneOrMore>,
    /// Where a dry run goes: the name or the URL of the CA's staging directory.
    #[serde(default)]
    pub(crate) staging: Option<String>,
    /// The URL of the ACME directory.
    #[serde(default)]
    pub(crate) url: Option<String>,
}

/// Where the challenge of a name lives: `follow`, `none`, or `{ target: NAME }`.
#[derive(Clone, Debug)]
pub(crate) enum Delegation {
    /// Where CNAME, DNAME and NS records lead.
    Follow,
    /// At the challenge name itself.
    Here,
    /// At a name to which a CNAME leads.
    To(DelegationTarget),
}

/// Where a challenge lives.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, expecting = "a table", rename_all = "kebab-case")]
pub(crate) struct DelegationTarget {
    /// The name to which a CNAME leads from the challenge name.
    pub(crate) target: String,
}

/// An external account (RFC 8555 section 7.3.4).
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, expecting = "a table", rename_all = "kebab-case")]
pub(crate) struct Eab {
    /// The HMAC key in base64url.
    pub(crate) hmac_key: Secret,
    /// The key identifier.
    pub(crate) kid: String,
}

/// One certificate.
#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, expecting = "a table", rename_all = "kebab-case")]
#[schemars(extend("anyOf" = [{ "required": ["names"] }, { "required": ["csr"] }]))]
pub(crate) struct Certificate {
    /// Whether to go on without the names that fail.
    #[serde(default)]
    pub(crate) allow_subset: Option<bool>,
    /// Whose its files in `live` are.
    #[serde(default)]
    pub(crate) access: deploy::Access,
    /// Another CA than the one for all.
    #[serde(default)]
    pub(crate) ca: Option<Ca>,
    /// A signing request, PEM or DER, whose key is elsewhere; a path relative to this file.
    #[serde(default)]
    pub(crate) csr: Option<String>,
    /// Where it goes on this machine, instead of what is said for all.
    #[serde(default)]
    pub(crate) deploy: Option<Vec<deploy::Target>>,
    /// The private key to use, PEM; a path relative to this file.
    #[serde(default)]
    pub(crate) key_file: Option<String>,
    /// The type of its key.
    #[serde(default)]
    pub(crate) key_type: Option<KeyTypeName>,
    /// Whether servers have to staple an OCSP answer.
    #[serde(default)]
    pub(crate) must_staple: Option<bool>,
    /// Its names; those of its signing request where it has one.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub(crate) names: Vec<String>,
    /// Until when it is to be valid: a date, a time, or a duration from the order on (`+30d`).
    #[serde(default)]
    pub(crate) not_after: Option<String>,
    /// From when it is to be valid, in the same forms.
    #[serde(default)]
    pub(crate) not_before: Option<String>,
    /// The common name of the root that its chain should lead to.
    #[serde(default)]
    pub(crate) preferred_chain: Option<String>,
    /// The CA's profile where it offers it.
    #[serde(default)]
    pub(crate) preferred_profile: Option<String>,
    /// The CA's profile.
    #[serde(default)]
    pub(crate) profile: Option<String>,
    /// How much may be left of it when it is renewed.
    #[serde(default)]
    pub(crate) renew_before: Option<String>,
    /// Whether its key is kept from version to version.
    #[serde(default)]
    pub(crate) reuse_key: Option<bool>,
}

/// Somebody who is told what became of certificates: `run` or `webhook`.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, expecting = "a table", rename_all = "kebab-case")]
pub(crate) struct Notify {
    /// Of what; everything where it is left out.
    #[serde(default)]
    pub(crate) events: Vec<NoticeName>,
    /// A program and its arguments, which gets a JSON document on its standard input.
    #[serde(default, serialize_with = "redact::program")]
    pub(crate) run: Option<Vec<String>>,
    /// How long one notice may take, repetitions included; 30s where it is left out.
    #[serde(default)]
    pub(crate) timeout: Option<Duration>,
    /// A URL that gets a JSON document by POST.
    #[serde(default)]
    pub(crate) webhook: Option<Webhook>,
}

/// A URL that is told, and what the notices are signed with.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, expecting = "a table", rename_all = "kebab-case")]
pub(crate) struct Webhook {
    /// The secret of the signature (Standard Webhooks): `whsec_` and base64, or any other text.
    #[serde(default)]
    pub(crate) secret: Option<Secret>,
    /// The URL, which may be a secret itself.
    pub(crate) url: Secret,
}

/// What somebody may want to be told.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum NoticeName {
    /// The CA refuses the account, or what stands behind it has lapsed.
    AccountRefused,
    /// A new version is where it was to be deployed to.
    Deployed,
    /// A new version could not be deployed.
    DeployFailed,
    /// A certificate is not valid any more.
    Expired,
    /// A certificate is about to expire.
    Expiring,
    /// A certificate could not be issued or renewed.
    Failed,
    /// There is a new version.
    Renewed,
}

/// Which provider serves a zone.
#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, expecting = "a table", rename_all = "kebab-case")]
pub(crate) struct Zone {
    /// How to see that a value is served, for this zone.
    #[serde(default)]
    pub(crate) propagation: Propagation,
    /// The name of a provider above.
    pub(crate) provider: String,
}

/// How to see that a value is served.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table",
    rename_all = "kebab-case"
)]
pub(crate) struct Propagation {
    /// Resolvers over HTTPS for where port 53 is closed, instead of three public ones: URLs, with `{?dns}` at the end for GET.
    pub(crate) doh: Option<Vec<String>>,
    /// Resolvers over TLS for the same: IP, IP:PORT or IP#NAME.
    pub(crate) dot: Option<Vec<String>>,
    /// How long to wait where nobody can be asked.
    pub(crate) fallback_wait: Option<Duration>,
    /// Which addresses of the servers to ask.
    pub(crate) family: Option<Family>,
    /// How long to wait before resolvers are asked that are the only ones to be reached.
    pub(crate) first_look: Option<Duration>,
    /// What is evidence.
    pub(crate) mode: Option<Mode>,
    /// Servers to look at instead of the zone's own: IP or IP:PORT.
    pub(crate) nameservers: Vec<String>,
    /// How many servers must have the value.
    pub(crate) quorum: Option<Quorum>,
    /// Whether resolvers must show the value too.
    pub(crate) recursive_too: Option<bool>,
    /// Resolvers that know where to begin, instead of the system's: IP or IP:PORT.
    pub(crate) resolvers: Vec<String>,
    /// How long to wait once the evidence is there.
    pub(crate) settle: Option<Duration>,
    /// How long to wait for a value.
    pub(crate) timeout: Option<Duration>,
}

/// Which addresses of the servers to ask.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Family {
    Both,
    Ipv4,
    Ipv6,
}

/// What is evidence that a value is served.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// The best that can be had of the others.
    Auto,
    /// Every authoritative server.
    Authoritative,
    /// Resolvers over HTTPS or TLS.
    Doh,
    /// The provider's own word.
    Provider,
    /// That some time has passed.
    Wait,
}

/// How many servers must have the value.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Quorum {
    /// Every usable one, and each name server by some address.
    All,
    /// One.
    Any,
    /// More than half.
    Majority,
}

/// A provider: its kind, and its settings by nested or dotted keys.
#[derive(Debug)]
pub(crate) struct Provider {
    pub(crate) kind: String,
    /// How to see that a value is served, for the zones of this provider.
    pub(crate) propagation: Option<Propagation>,
    pub(crate) settings: Vec<(String, Node)>,
}

/// What may stand under a provider's key.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    /// A scalar, as text.
    Scalar(String),
    /// A list of scalars.
    List(Vec<String>),
    /// A table of settings, or `{ file }`, `{ env }`, `{ command }`.
    Table(Vec<(String, Self)>),
}

/// A secret: `{ file }`, `{ env }`, `{ command }`, or the text itself.
#[derive(Clone, Debug)]
pub(crate) enum Secret {
    Literal(secrecy::SecretString),
    Reference(SecretReference),
}

/// Where a secret is; exactly one of these.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table",
    rename_all = "kebab-case"
)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub(crate) struct SecretReference {
    /// A program and its arguments that prints it.
    #[serde(serialize_with = "redact::program")]
    pub(crate) command: Option<Vec<String>>,
    /// An environment variable that holds it.
    pub(crate) env: Option<String>,
    /// A file that holds it; a path relative to this file.
    pub(crate) file: Option<String>,
}

/// The name of a key type, checked later.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct KeyTypeName(pub(crate) String);

/// A text, or a list of them.
#[derive(Clone, Debug)]
pub(crate) struct OneOrMore(pub(crate) Vec<String>);

/// `5m`, `1h 30m`, or a number of seconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Duration(pub(crate) std::time::Duration);

/// A table with keys of the user's own, in the order they are written, each once.
#[derive(Debug)]
pub(crate) struct Table<T>(pub(crate) Vec<(String, T)>);
