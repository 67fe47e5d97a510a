//! The configuration as it may be shown to strangers: what may hold a secret is named, and its value is left out.
//!
//! Every type of `config::raw` says for itself what of it is shown, so that a new key cannot be forgotten: it does not compile without.

use dnseal_providers::Form;
use dnseal_providers::Kind;
use serde::Serialize;
use serde::Serializer;
use serde::ser::SerializeMap;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::config::ConfigError;
use crate::config::REDACTED;
use crate::config::Source;
use crate::config::raw::Ca;
use crate::config::raw::Delegation;
use crate::config::raw::Duration;
use crate::config::raw::Node;
use crate::config::raw::OneOrMore;
use crate::config::raw::Provider;
use crate::config::raw::Secret;
use crate::config::raw::Table;

/// What stands in the file, without what may be a secret and without what says nothing.
pub(crate) fn redacted(source: &Source) -> Result<Value, ConfigError> {
    let raw = source.parse()?;
    let mut document = serde_json::to_value(&raw).unwrap_or_default();
    prune(&mut document);
    Ok(document)
}

/// Takes away what was not written.
fn prune(value: &mut Value) {
    if let Value::Object(map) = value {
        map.values_mut().for_each(prune);
        map.retain(|_, value| !is_nothing(value));
    }
    if let Value::Array(items) = value {
        items.iter_mut().for_each(prune);
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// A command: the program, and how many arguments, which may be secrets.
pub(super) fn program<S: Serializer>(words: &Option<Vec<String>>, s: S) -> Result<S::Ok, S::Error> {
    match words.as_deref() {
        None => s.serialize_none(),
        Some([]) => s.collect_seq([""; 0]),
        Some([program]) => s.collect_seq([program]),
        Some([program, rest @ ..]) => {
            s.collect_seq([program.as_str(), &format!("[{} arguments]", rest.len())])
        }
    }
}

/// A text in which anything may stand.
pub(super) fn text<S: Serializer>(text: &Option<String>, s: S) -> Result<S::Ok, S::Error> {
    match text {
        None => s.serialize_none(),
        Some(_) => s.serialize_str(REDACTED),
    }
}

/// Mail addresses: where, but not who.
pub(super) fn addresses<S: Serializer>(
    emails: &Option<OneOrMore>,
    s: S,
) -> Result<S::Ok, S::Error> {
    match emails {
        None => s.serialize_none(),
        Some(OneOrMore(emails)) => {
            s.collect_seq(emails.iter().map(|email| match email.rsplit_once('@') {
                Some((_, domain)) => format!("{REDACTED}@{domain}"),
                None => REDACTED.to_owned(),
            }))
        }
    }
}

impl Serialize for Ca {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::List(cas) => cas.serialize(s),
            Self::NameOrUrl(name) => s.serialize_str(name),
            Self::Table(table) => table.serialize(s),
        }
    }
}

impl Serialize for Delegation {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Follow => s.serialize_str("follow"),
            Self::Here => s.serialize_str("none"),
            Self::To(to) => to.serialize(s),
        }
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&format!("{:?}", self.0))
    }
}

impl Serialize for OneOrMore {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(s)
    }
}

impl Serialize for Provider {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let kind = dnseal_providers::kind(&self.kind).ok();
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("kind", &self.kind)?;
        if let Some(propagation) = &self.propagation {
            map.serialize_entry("propagation", propagation)?;
        }
        for (key, node) in &self.settings {
            map.serialize_entry(key, &setting(kind, key, node))?;
        }
        map.end()
    }
}

/// A setting that is known to be no secret is shown as it is; of all others, where they come from.
fn setting(kind: Option<&'static Kind>, key: &str, node: &Node) -> Value {
    let form = kind
        .and_then(|kind| kind.setting(key))
        .map(|setting| setting.form);
    match (node, form) {
        (Node::Scalar(text), Some(Form::Duration | Form::File | Form::Flag | Form::Number)) => {
            json!(text)
        }
        (Node::Scalar(text), Some(Form::Text)) => json!(without_userinfo(text)),
        (Node::Scalar(_), Some(Form::Secret) | None) => json!(REDACTED),
        // The program, as of a secret's command.
        (Node::Scalar(text), Some(Form::Words)) => json!(text.split_whitespace().next()),
        (Node::List(words), Some(Form::Words)) => json!(words.first()),
        (Node::List(_), _) => json!([REDACTED]),
        (Node::Table(entries), Some(_)) => {
            let shown = entries.iter().map(|(key, node)| {
                let value = match node {
                    Node::Scalar(text) if REFERENCES.contains(&key.as_str()) => json!(text),
                    Node::List(words) => json!(words.first()),
                    _ => json!(REDACTED),
                };
                (key.clone(), value)
            });
            Value::Object(shown.collect::<Map<String, Value>>())
        }
        (Node::Table(entries), None) => {
            let below = entries
                .iter()
                .map(|(word, node)| (word.clone(), setting(kind, &format!("{key}.{word}"), node)));
            Value::Object(below.collect::<Map<String, Value>>())
        }
    }
}

/// A URL may carry a password.
pub(crate) fn without_userinfo(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            match rest[..end].rfind('@') {
                Some(at) => format!("{scheme}://{REDACTED}{}", &rest[at..]),
                None => text.to_owned(),
            }
        }
        None => text.to_owned(),
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Literal(_) => s.serialize_str(REDACTED),
            Self::Reference(reference) => reference.serialize(s),
        }
    }
}

impl<T: Serialize> Serialize for Table<T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

/// Words that say where a secret is.
const REFERENCES: [&str; 2] = ["env", "file"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_left_out_wherever_they_stand() {
        let source = Source::of(
            r#"
ca: { url: "https://ca.test/dir", eab: { kid: k1, hmac-key: canary } }
email: canary@example.com
providers:
  flat: { kind: rfc2136, server: 192.0.2.1, tsig.name: k, tsig.secret: canary }
  deep: { kind: rfc2136, server: ns1.test, tsig: { name: k, secret: canary } }
  asks: { kind: rfc2136, server: ns1.test, tsig: { name: k, secret: { command: [pass, canary] } } }
  file: { kind: rfc2136, server: ns1.test, tsig: { name: k, secret: { file: /run/tsig } } }
certificates:
  b.test: { names: [b.test], deploy: [{ shell: curl canary }, { run: [x, canary], files: { pkcs12: { path: /p, password: canary } } }] }
  a.test: { names: [a.test], ca: { name: zerossl, eab: { kid: k2, hmac-key: { command: [pass, canary] } } } }
notify:
  - { run: [mail, canary], events: [failed] }
  - { webhook: { url: "https://hooks.test/canary", secret: canary } }
  - { webhook: { url: { env: HOOK } } }
"#,
        );
        let shown = redacted(&source).unwrap();
        assert!(!shown.to_string().contains("canary"), "{shown:#}");
        assert_eq!(shown["ca"]["eab"]["kid"], "k1");
        assert_eq!(shown["email"][0], "[redacted]@example.com");
        assert_eq!(shown["providers"]["flat"]["server"], "192.0.2.1");
        assert_eq!(
            shown["providers"]["deep"]["tsig"],
            json!({ "name": "k", "secret": "[redacted]" })
        );
        assert_eq!(
            shown["providers"]["asks"]["tsig"]["secret"],
            json!({ "command": "pass" })
        );
        assert_eq!(
            shown["providers"]["file"]["tsig"]["secret"],
            json!({ "file": "/run/tsig" })
        );
        assert_eq!(
            shown["notify"][0],
            json!({ "run": ["mail", "[1 arguments]"], "events": ["failed"] })
        );
        assert_eq!(
            shown["notify"][2],
            json!({ "webhook": { "url": { "env": "HOOK" } } })
        );
        assert_eq!(shown.get("zones"), None, "what is not written is not shown");
        assert_eq!(
            without_userinfo("https://me:canary@h.test/p@th"),
            "https://[redacted]@h.test/p@th"
        );
    }
}
