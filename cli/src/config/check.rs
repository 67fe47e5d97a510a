//! From what is written to what is meant: every text becomes a checked type, every reference is followed.

use std::collections::HashSet;
use std::net::IpAddr;
use std::net::SocketAddr;

use dnseal_core::acme::KeyType;
use dnseal_core::dns::Delegation;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::EncryptedEndpoint;
use dnseal_core::dns::Identifier;
use dnseal_core::issue::CaaPolicy;
use dnseal_core::notify::NoticeKind;
use dnseal_core::renew::RenewBefore;
use dnseal_core::renew::RenewBeforeError;
use dnseal_core::store::AccountId;
use dnseal_core::store::CertId;
use dnseal_core::store::Moment;
use dnseal_core::store::MomentError;
use dnseal_providers::Form;
use dnseal_providers::Kind;
use dnseal_providers::plugin::Plugins;

use crate::config::Ca;
use crate::config::Certificate;
use crate::config::Config;
use crate::config::ConfigError;
use crate::config::Eab;
use crate::config::Notify;
use crate::config::NotifyTarget;
use crate::config::Place;
use crate::config::Propagation;
use crate::config::Provider;
use crate::config::Secret;
use crate::config::Source;
use crate::config::Spec;
use crate::config::Zone;
use crate::config::deploy;
use crate::config::nearest;
use crate::config::raw;
use crate::config::raw::Node;

/// Makes checked values of what stands in `source`.
pub(super) fn check(source: Source, raw: raw::Config) -> Result<Config, ConfigError> {
    let checker = Checker { source: &source };
    let top = |key: &str| Place::value([key]);

    let plugins = match raw.plugin_dirs {
        Some(dirs) => Plugins::in_dirs(dirs.iter().map(|dir| source.resolve(dir))),
        None => Plugins::default(),
    };
    let mut providers = Vec::new();
    for (name, provider) in raw.providers.0 {
        let place = top("providers").at(&name);
        providers.push(checker.provider(&place, name, provider, &plugins)?);
    }
    let mut zones: Vec<Zone> = Vec::new();
    let mut suffixes = HashSet::new();
    for (suffix, zone) in raw.zones.0 {
        let zone = checker.zone(&top("zones").at(&suffix), &suffix, zone, &providers)?;
        if !suffixes.insert(zone.suffix.clone()) {
            return Err(checker.error(
                &top("zones").at(&suffix).key(),
                format!("the zone {} stands here twice", zone.suffix),
            ));
        }
        zones.push(zone);
    }
    let timeout = deploy::timeout(&raw.hooks);
    let deploy = checker.targets(&top("deploy"), raw.deploy, timeout)?;
    let hooks = checker.hooks(&top("hooks"), raw.hooks)?;
    let usual = deploy::access(raw.access.owner, raw.access.group, raw.access.mode);
    let mut certificates: Vec<Certificate> = Vec::new();
    let mut ids = HashSet::new();
    for (name, certificate) in raw.certificates.0 {
        let place = top("certificates").at(&name);
        let certificate = checker.certificate(&place, &name, certificate, timeout)?;
        if !ids.insert(certificate.id.clone()) {
            return Err(checker.error(
                &place.key(),
                format!("the certificate {} stands here twice", certificate.id),
            ));
        }
        certificates.push(certificate);
    }
    checker.one_profile(
        &top("preferred-profile"),
        &raw.profile,
        &raw.preferred_profile,
    )?;
    let (ca, other_cas) = checker.cas(&top("ca"), raw.ca)?;
    let mut delegation = Vec::new();
    for (name, raw) in raw.delegation.0 {
        let place = top("delegation").at(&name);
        let wrong =
            |place: &Place, e: dnseal_core::dns::NameError| checker.error(place, e.to_string());
        let identifier: Identifier = name.parse().map_err(|e| wrong(&place.clone().key(), e))?;
        let how = match raw {
            raw::Delegation::Follow => Delegation::Follow,
            raw::Delegation::Here => Delegation::Here,
            raw::Delegation::To(to) => {
                let target = to.target.parse();
                Delegation::To(target.map_err(|e| wrong(&place.at("target"), e))?)
            }
        };
        delegation.push((identifier.base().clone(), how));
    }
    checker.one_writer_a_file(&certificates, &deploy)?;
    Ok(Config {
        access: usual,
        agree_tos: raw.agree_tos,
        ca,
        caa: raw.caa.map(|caa| match caa {
            raw::Caa::Enforce => CaaPolicy::Enforce,
            raw::Caa::Off => CaaPolicy::Off,
            raw::Caa::Warn => CaaPolicy::Warn,
        }),
        certificates,
        delegation,
        deploy,
        dir: raw.dir.map(|path| source.resolve(&path)),
        emails: checker.emails(&top("email"), raw.email)?,
        hooks,
        key_type: checker.key_type(&top("key-type"), raw.key_type)?,
        live: raw.live.map(|path| source.resolve(&path)),
        other_cas,
        notify: raw
            .notify
            .into_iter()
            .enumerate()
            .map(|(index, notify)| checker.notify(&top("notify").at(index), notify))
            .collect::<Result<_, _>>()?,
        plugins,
        profile: raw.profile,
        propagation: checker.propagation(&top("propagation"), raw.propagation)?,
        providers,
        renew_before: checker.renew_before(&top("renew-before"), raw.renew_before)?,
        spec: Spec {
            allow_subset: raw.allow_subset,
            must_staple: raw.must_staple,
            preferred_chain: raw.preferred_chain,
            preferred_profile: raw.preferred_profile,
            reuse_key: raw.reuse_key,
            ..Spec::default()
        },
        store: raw.store.map(|path| source.resolve(&path)),
        store_key: raw
            .store_key
            .map(|key| checker.secret(&top("store-key"), key))
            .transpose()?,
        zones,
        source: Some(source),
    })
}

pub(super) struct Checker<'a> {
    pub(super) source: &'a Source,
}

impl Checker<'_> {
    pub(super) fn error(&self, place: &Place, message: impl Into<String>) -> ConfigError {
        ConfigError::at(self.source, place.find(self.source.text()), message)
    }

    /// The CA, and those to ask where it cannot issue.
    fn cas(
        &self,
        place: &Place,
        ca: Option<raw::Ca>,
    ) -> Result<(Option<Ca>, Vec<Ca>), ConfigError> {
        let list = match ca {
            Some(raw::Ca::List(list)) => list,
            Some(one) => return Ok((Some(self.ca(place, one)?), Vec::new())),
            None => return Ok((None, Vec::new())),
        };
        let mut cas: Vec<Ca> = Vec::new();
        for (index, ca) in list.into_iter().enumerate() {
            let place = place.at(index);
            let ca = self.ca(&place, ca)?;
            if cas.iter().any(|other| other.name_or_url == ca.name_or_url) {
                return Err(self.error(
                    &place,
                    format!("the CA {} stands here twice", ca.name_or_url),
                ));
            }
            cas.push(ca);
        }
        let mut cas = cas.into_iter();
        match cas.next() {
            Some(first) => Ok((Some(first), cas.collect())),
            None => Err(self.error(place, "a list of CAs has at least one")),
        }
    }

    fn ca(&self, place: &Place, ca: raw::Ca) -> Result<Ca, ConfigError> {
        let table = match ca {
            raw::Ca::List(_) => return Err(self.error(place, "a list of CAs holds no list")),
            raw::Ca::NameOrUrl(name_or_url) => {
                return Ok(Ca {
                    account: None,
                    name_or_url,
                    roots: Vec::new(),
                    eab: None,
                    staging: None,
                });
            }
            raw::Ca::Table(table) => table,
        };
        let name_or_url = match (table.url, table.name) {
            (Some(url), None) => url,
            (None, Some(name)) => name,
            (Some(_), Some(_)) => {
                return Err(self.error(
                    &place.at("name").key(),
                    "a CA has a `url` or a `name`, not both",
                ));
            }
            (None, None) => {
                return Err(self
                    .error(place, "this CA has neither a `url` nor a `name`")
                    .with_hint("add `url: https://…`".to_owned()));
            }
        };
        let account = match table.account.as_deref().map(str::parse::<AccountId>) {
            Some(Ok(account)) => Some(account),
            Some(Err(error)) => return Err(self.error(&place.at("account"), error.to_string())),
            None => None,
        };
        let roots = table.root.map_or_else(Vec::new, |paths| paths.0);
        let eab = match table.eab {
            Some(eab) => Some(Eab {
                kid: eab.kid,
                hmac_key: self.secret(&place.at("eab").at("hmac-key"), eab.hmac_key)?,
            }),
            None => None,
        };
        Ok(Ca {
            account,
            name_or_url,
            roots: roots.iter().map(|path| self.source.resolve(path)).collect(),
            eab,
            staging: table.staging,
        })
    }

    fn certificate(
        &self,
        place: &Place,
        name: &str,
        raw: raw::Certificate,
        timeout: std::time::Duration,
    ) -> Result<Certificate, ConfigError> {
        let id: CertId = name
            .parse()
            .map_err(|e| self.error(&place.clone().key(), format!("{e}")))?;
        let mut names: Vec<Identifier> = Vec::new();
        for (index, text) in raw.names.iter().enumerate() {
            let name: Identifier = text.parse().map_err(|e: dnseal_core::dns::NameError| {
                self.error(&place.at("names").at(index), e.to_string())
                    .with_hint(e.hint().map(str::to_owned))
            })?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if names.is_empty() && raw.csr.is_none() {
            let at = place.at("names");
            let place = match at.find(self.source.text()) {
                Some(_) => &at,
                None => place,
            };
            return Err(self
                .error(place, format!("the certificate {id} has no names"))
                .with_hint("add `names: […]`, or `csr: FILE`".to_owned()));
        }
        for (key, is_there) in [
            ("key-file", raw.key_file.is_some()),
            ("reuse-key", raw.reuse_key.is_some()),
            ("must-staple", raw.must_staple.is_some()),
            ("allow-subset", raw.allow_subset == Some(true)),
        ] {
            if is_there && raw.csr.is_some() {
                return Err(self.error(
                    &place.at(key).key(),
                    format!("a signing request has its own say, so `{key}` does not go with `csr`"),
                ));
            }
        }
        if raw.key_file.is_some() && raw.reuse_key.is_some() {
            return Err(self.error(
                &place.at("reuse-key").key(),
                "the key of `key-file` is the same as long as that file is, so `reuse-key` does not go with it",
            ));
        }
        self.one_profile(
            &place.at("preferred-profile"),
            &raw.profile,
            &raw.preferred_profile,
        )?;
        let (ca, other_cas) = self.cas(&place.at("ca"), raw.ca)?;
        Ok(Certificate {
            id,
            names,
            key_type: self.key_type(&place.at("key-type"), raw.key_type)?,
            profile: raw.profile,
            renew_before: self.renew_before(&place.at("renew-before"), raw.renew_before)?,
            ca,
            other_cas,
            spec: Spec {
                allow_subset: raw.allow_subset,
                csr: raw.csr.map(|path| self.source.resolve(&path)),
                key_file: raw.key_file.map(|path| self.source.resolve(&path)),
                must_staple: raw.must_staple,
                not_after: self.moment(&place.at("not-after"), raw.not_after)?,
                not_before: self.moment(&place.at("not-before"), raw.not_before)?,
                preferred_chain: raw.preferred_chain,
                preferred_profile: raw.preferred_profile,
                reuse_key: raw.reuse_key,
            },
            access: deploy::access(raw.access.owner, raw.access.group, raw.access.mode),
            deploy: raw
                .deploy
                .map(|targets| self.targets(&place.at("deploy"), targets, timeout))
                .transpose()?,
        })
    }

    fn moment(&self, place: &Place, text: Option<String>) -> Result<Option<Moment>, ConfigError> {
        let Some(text) = text else { return Ok(None) };
        text.parse()
            .map(Some)
            .map_err(|e: MomentError| self.error(place, e.to_string()))
    }

    fn one_profile(
        &self,
        place: &Place,
        profile: &Option<String>,
        preferred: &Option<String>,
    ) -> Result<(), ConfigError> {
        match (profile, preferred) {
            (Some(_), Some(_)) => Err(self.error(
                &place.clone().key(),
                "`profile` must be and `preferred-profile` may be: one of the two",
            )),
            _ => Ok(()),
        }
    }

    fn emails(
        &self,
        place: &Place,
        raw: Option<raw::OneOrMore>,
    ) -> Result<Vec<String>, ConfigError> {
        let emails = raw.map_or_else(Vec::new, |emails| emails.0);
        for (index, email) in emails.iter().enumerate() {
            if !email.contains('@') {
                return Err(self.error(&place.at(index), format!("`{email}` is no mail address")));
            }
        }
        Ok(emails)
    }

    fn key_type(
        &self,
        place: &Place,
        raw: Option<raw::KeyTypeName>,
    ) -> Result<Option<KeyType>, ConfigError> {
        let Some(raw::KeyTypeName(text)) = raw else {
            return Ok(None);
        };
        match parse_key_type(&text) {
            Ok(key_type) => Ok(Some(key_type)),
            Err(hint) => Err(self
                .error(place, format!("there is no key type `{text}`"))
                .with_hint(hint)),
        }
    }

    fn renew_before(
        &self,
        place: &Place,
        raw: Option<String>,
    ) -> Result<Option<RenewBefore>, ConfigError> {
        raw.map(|text| {
            text.parse()
                .map_err(|error: RenewBeforeError| self.error(place, error.to_string()))
        })
        .transpose()
    }

    fn notify(&self, place: &Place, raw: raw::Notify) -> Result<Notify, ConfigError> {
        let to = match (raw.run, raw.webhook) {
            (Some(words), None) => {
                if words.first().is_none_or(String::is_empty) {
                    return Err(self.error(
                        &place.at("run"),
                        "a command is a list: the program and its arguments",
                    ));
                }
                NotifyTarget::Run(words)
            }
            (None, Some(webhook)) => {
                let place = place.at("webhook");
                NotifyTarget::Webhook {
                    url: self.secret(&place.at("url"), webhook.url)?,
                    secret: webhook
                        .secret
                        .map(|secret| self.secret(&place.at("secret"), secret))
                        .transpose()?,
                }
            }
            (Some(_), Some(_)) => {
                return Err(self
                    .error(
                        &place.at("webhook").key(),
                        "this has both a `run` and a `webhook`",
                    )
                    .with_hint("make two items of it".to_owned()));
            }
            (None, None) => {
                return Err(self
                    .error(place, "this has neither a `run` nor a `webhook`")
                    .with_hint(
                        "add `run: [PROGRAM, ARGUMENT, …]` or `webhook: { url: https://… }`"
                            .to_owned(),
                    ));
            }
        };
        Ok(Notify {
            to,
            events: raw.events.into_iter().map(NoticeKind::from).collect(),
            timeout: raw.timeout.map(|timeout| timeout.0),
        })
    }

    fn propagation(
        &self,
        place: &Place,
        raw: raw::Propagation,
    ) -> Result<Propagation, ConfigError> {
        let doh = raw
            .doh
            .map(|texts| self.endpoints(&place.at("doh"), "", texts));
        let dot = raw
            .dot
            .map(|texts| self.endpoints(&place.at("dot"), "tls://", texts));
        let encrypted = match (doh.transpose()?, dot.transpose()?) {
            (None, None) => None,
            (doh, dot) => Some(doh.into_iter().chain(dot).flatten().collect()),
        };
        Ok(Propagation {
            encrypted,
            fallback_wait: raw.fallback_wait.map(|d| d.0),
            first_look: raw.first_look.map(|d| d.0),
            recursive_too: raw.recursive_too,
            family: raw.family,
            mode: raw.mode,
            nameservers: self.servers(&place.at("nameservers"), raw.nameservers)?,
            quorum: raw.quorum,
            resolvers: self.servers(&place.at("resolvers"), raw.resolvers)?,
            settle: raw.settle.map(|d| d.0),
            timeout: raw.timeout.map(|d| d.0),
        })
    }

    fn provider(
        &self,
        place: &Place,
        name: String,
        raw: raw::Provider,
        plugins: &Plugins,
    ) -> Result<Provider, ConfigError> {
        let (kind, plugin) = match (dnseal_providers::kind(&raw.kind), plugins.find(&raw.kind)) {
            (Ok(kind), _) => (kind, None),
            // What settings it has, it says when it is needed.
            (Err(_), Some(path)) => (dnseal_providers::any_plugin(), Some((raw.kind, path))),
            (Err(e), None) => {
                return Err(self
                    .error(&place.at("kind"), e.to_string())
                    .with_hint(e.hint()));
            }
        };
        let mut settings = Vec::new();
        self.settings(place, kind, "", raw.settings, &mut settings)?;
        let propagation = self.propagation(
            &place.at("propagation"),
            raw.propagation.unwrap_or_default(),
        )?;
        Ok(Provider {
            kind,
            name,
            plugin,
            propagation,
            settings,
        })
    }

    /// Nested tables become dotted keys, which are the registry's.
    fn settings(
        &self,
        place: &Place,
        kind: &'static Kind,
        prefix: &str,
        nodes: Vec<(String, Node)>,
        settings: &mut Vec<(String, Secret)>,
    ) -> Result<(), ConfigError> {
        for (word, node) in nodes {
            let place = place.at(&word);
            let key = format!("{prefix}{word}");
            if let Node::Table(inner) = &node
                && match kind.setting(&key) {
                    None => has_below(kind, &key),
                    // Whoever takes every key has not said which of them are tables.
                    Some(setting) => setting.key == "*" && !is_reference(inner),
                }
            {
                self.settings(&place, kind, &format!("{key}."), inner.clone(), settings)?;
                continue;
            }
            let Some(setting) = kind.setting(&key) else {
                let known: Vec<&str> = known_below(kind, prefix);
                let hint = match nearest(&word, known.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("there is {}", known.join(", ")),
                };
                return Err(self
                    .error(
                        &place.key(),
                        format!("{} has no setting `{key}`", kind.kind),
                    )
                    .with_hint(hint));
            };
            settings.push((key, self.setting(&place, setting.form, node)?));
        }
        Ok(())
    }

    fn endpoints(
        &self,
        place: &Place,
        scheme: &str,
        texts: Vec<String>,
    ) -> Result<Vec<EncryptedEndpoint>, ConfigError> {
        let read = |(index, text): (usize, &String)| {
            let endpoint = format!("{scheme}{text}").parse::<EncryptedEndpoint>();
            endpoint.map_err(|error| self.error(&place.at(index), error.to_string()))
        };
        texts.iter().enumerate().map(read).collect()
    }

    fn servers(&self, place: &Place, texts: Vec<String>) -> Result<Vec<SocketAddr>, ConfigError> {
        texts
            .iter()
            .enumerate()
            .map(|(index, text)| {
                parse_server(text).map_err(|problem| self.error(&place.at(index), problem))
            })
            .collect()
    }

    fn setting(&self, place: &Place, form: Form, node: Node) -> Result<Secret, ConfigError> {
        match (node, form) {
            (Node::Scalar(path), Form::File) => Ok(Secret::File(self.source.resolve(&path))),
            (Node::Scalar(text), _) => Ok(Secret::Literal(text.into())),
            (Node::List(words), Form::Words) => {
                Ok(Secret::Literal(serde_json::json!(words).to_string().into()))
            }
            (Node::List(_), _) => Err(self.error(place, "this setting is a text, not a list")),
            (Node::Table(entries), _) => {
                let reference = self.reference(place, entries)?;
                self.secret(place, raw::Secret::Reference(reference))
            }
        }
    }

    fn reference(
        &self,
        place: &Place,
        entries: Vec<(String, Node)>,
    ) -> Result<raw::SecretReference, ConfigError> {
        let mut reference = raw::SecretReference::default();
        for (key, node) in entries {
            match (key.as_str(), node) {
                ("command", Node::List(words)) => reference.command = Some(words),
                ("env", Node::Scalar(name)) => reference.env = Some(name),
                ("file", Node::Scalar(path)) => reference.file = Some(path),
                ("command", _) => {
                    return Err(self
                        .error(
                            &place.at("command"),
                            "a command is a list: the program and its arguments",
                        )
                        .with_hint("no shell reads it; `[sh, -c, …]` does".to_owned()));
                }
                ("env" | "file", _) => {
                    return Err(self.error(&place.at(&key), format!("`{key}` is a text")));
                }
                _ => {
                    let hint = match nearest(&key, REFERENCES) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => "a setting is a text, or `{ file: … }`, `{ env: … }`, `{ command: […] }`".to_owned(),
                    };
                    return Err(self
                        .error(
                            &place.at(&key).key(),
                            format!("there is no key `{key}` here"),
                        )
                        .with_hint(hint));
                }
            }
        }
        Ok(reference)
    }

    pub(super) fn secret(&self, place: &Place, raw: raw::Secret) -> Result<Secret, ConfigError> {
        let reference = match raw {
            raw::Secret::Literal(text) => return Ok(Secret::Literal(text)),
            raw::Secret::Reference(reference) => reference,
        };
        Ok(match (reference.command, reference.env, reference.file) {
            (Some(words), None, None) if !words.is_empty() => Secret::Command(words),
            (None, Some(name), None) => Secret::Env(name),
            (None, None, Some(path)) => Secret::File(self.source.resolve(&path)),
            _ => {
                return Err(self.error(
                    place,
                    "a secret is exactly one of `{ file: … }`, `{ env: … }`, `{ command: […] }` or a text",
                ));
            }
        })
    }

    fn zone(
        &self,
        place: &Place,
        suffix: &str,
        raw: raw::Zone,
        providers: &[Provider],
    ) -> Result<Zone, ConfigError> {
        let suffix: DomainName = suffix
            .parse()
            .map_err(|e| self.error(&place.clone().key(), format!("{e}")))?;
        if !providers.iter().any(|p| p.name == raw.provider) {
            let names: Vec<&str> = providers.iter().map(|p| p.name.as_str()).collect();
            let hint = match nearest(&raw.provider, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if names.is_empty() => "add it under `providers`".to_owned(),
                None => format!("`providers` has {}", names.join(", ")),
            };
            return Err(self
                .error(
                    &place.at("provider"),
                    format!(
                        "the zone {suffix} names a provider `{}` that is not there",
                        raw.provider
                    ),
                )
                .with_hint(hint));
        }
        Ok(Zone {
            suffix,
            provider: raw.provider,
            propagation: self.propagation(&place.at("propagation"), raw.propagation)?,
        })
    }
}

impl From<raw::NoticeName> for NoticeKind {
    fn from(name: raw::NoticeName) -> Self {
        match name {
            raw::NoticeName::AccountRefused => Self::AccountRefused,
            raw::NoticeName::Deployed => Self::Deployed,
            raw::NoticeName::DeployFailed => Self::DeployFailed,
            raw::NoticeName::Expired => Self::Expired,
            raw::NoticeName::Expiring => Self::Expiring,
            raw::NoticeName::Failed => Self::Failed,
            raw::NoticeName::Renewed => Self::Renewed,
        }
    }
}

/// `IP`, `IP:PORT` or `[IP]:PORT`; port 53 where none is given.
pub(crate) fn parse_server(text: &str) -> Result<SocketAddr, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse::<IpAddr>()
        .map(|ip| SocketAddr::new(ip, 53))
        .or_else(|_| text.parse())
        .map_err(|_| {
            format!("`{text}` is no IP address with or without a port, such as 192.0.2.1:53")
        })
}

/// The key type called `text`, or what there is.
pub(crate) fn parse_key_type(text: &str) -> Result<KeyType, String> {
    text.parse().map_err(|_| {
        let known = KeyType::ALL.map(KeyType::as_str);
        match nearest(text, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there is {}", known.join(", ")),
        }
    })
}

/// Whether some setting of `kind` is nested below `key`.
fn has_below(kind: &Kind, key: &str) -> bool {
    !known_below(kind, &format!("{key}.")).is_empty()
}

/// The words that may follow `prefix` in the settings of `kind`.
fn known_below(kind: &Kind, prefix: &str) -> Vec<&'static str> {
    let mut words: Vec<&str> = kind
        .settings
        .iter()
        .filter_map(|setting| setting.key.strip_prefix(prefix))
        .map(|rest| rest.split('.').next().unwrap_or(rest))
        .collect();
    words.dedup();
    words
}

/// Whether a table is `{ file: … }`, `{ env: … }` or `{ command: […] }`.
fn is_reference(entries: &[(String, Node)]) -> bool {
    !entries.is_empty()
        && entries
            .iter()
            .all(|(key, _)| REFERENCES.contains(&key.as_str()))
}

const REFERENCES: [&str; 3] = ["command", "env", "file"];
