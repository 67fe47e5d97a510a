//! DNS providers with their settings, and the zones that they serve.

use std::net::SocketAddr;

use dnseal_core::dns::DomainName;
use dnseal_core::dns::EncryptedEndpoint;
use dnseal_providers::Form;
use dnseal_providers::Kind;
use dnseal_providers::plugin::Plugins;

use crate::config::ConfigError;
use crate::config::Place;
use crate::config::Propagation;
use crate::config::Provider;
use crate::config::Secret;
use crate::config::Zone;
use crate::config::check::Checker;
use crate::config::check::parse_server;
use crate::config::nearest;
use crate::config::raw;
use crate::config::raw::Node;

impl Checker<'_> {
    pub(super) fn propagation(
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
        let timeout = raw.timeout.map(|d| d.0);
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            let at = place.at("timeout");
            return Err(self
                .error(&at, "nothing is seen in no time")
                .with_hint("name a time such as `5m`, or leave it out".to_owned()));
        }
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
            timeout,
        })
    }

    pub(super) fn provider(
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
                    .with_hint(e.among(plugins).hint()));
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

    pub(super) fn zone(
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
