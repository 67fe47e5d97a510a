//! From what is written to what is meant: every text becomes a checked type, every reference is followed.

mod dns;

use std::collections::HashSet;
use std::net::IpAddr;
use std::net::SocketAddr;

use dnseal_core::acme::KeyType;
use dnseal_core::dns::Delegation;
use dnseal_core::dns::Identifier;
use dnseal_core::issue::CaaPolicy;
use dnseal_core::notify::NoticeKind;
use dnseal_core::renew::RenewBefore;
use dnseal_core::renew::RenewBeforeError;
use dnseal_core::store::AccountId;
use dnseal_core::store::CertId;
use dnseal_core::store::Moment;
use dnseal_core::store::MomentError;
use dnseal_providers::plugin::Plugins;

use crate::config::Ca;
use crate::config::Certificate;
use crate::config::Config;
use crate::config::ConfigError;
use crate::config::Eab;
use crate::config::Notify;
use crate::config::NotifyTarget;
use crate::config::Place;
use crate::config::Secret;
use crate::config::Source;
use crate::config::Spec;
use crate::config::Zone;
use crate::config::deploy;
use crate::config::nearest;
use crate::config::raw;

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
