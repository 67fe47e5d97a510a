//! What a new configuration changes, in lines for a log. No line holds a secret: both sides are the redacted ones.

use serde_json::Value;

use crate::config;
use crate::config::Config;

/// Each key that differs, as `certificates.a.test.names: […] -> […]`.
pub(super) fn between(old: &Config, new: &Config) -> Vec<String> {
    let shown = |config: &Config| {
        let source = config.source.as_ref()?;
        config::redacted(source).ok()
    };
    let (before, after) = (shown(old), shown(new));
    let mut changes = Vec::new();
    compare("", before.as_ref(), after.as_ref(), &mut changes);
    if changes.is_empty() && !old.secrets().eq(new.secrets()) {
        changes.push("a secret has changed, which is not shown".to_owned());
    }
    changes
}

fn compare(path: &str, old: Option<&Value>, new: Option<&Value>, changes: &mut Vec<String>) {
    match (old, new) {
        (old, new) if old == new => {}
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let added = new.keys().filter(|key| !old.contains_key(*key));
            for key in old.keys().chain(added) {
                let path = match path {
                    "" => key.clone(),
                    path => format!("{path}.{key}"),
                };
                compare(&path, old.get(key), new.get(key), changes);
            }
        }
        (None, Some(new)) => changes.push(format!("{path}: added: {new}")),
        (Some(old), None) => changes.push(format!("{path}: removed: {old}")),
        (Some(old), Some(new)) => changes.push(format!("{path}: {old} -> {new}")),
        (None, None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "
ca: https://ca.test/dir
providers: { corp: { kind: rfc2136, server: 192.0.2.1, tsig.name: k, tsig.secret: canary } }
certificates:
  a.test: { names: [a.test] }
  b.test: { names: [b.test] }
";

    #[test]
    fn each_key_that_differs_is_said() {
        let of = |text: &str| Config::of(text).unwrap();
        let between = |new: &str| between(&of(OLD), &of(new));
        assert!(between(OLD).is_empty());
        assert!(between(&format!("# a comment\n{OLD}")).is_empty());
        let new = OLD
            .replace("[a.test]", "[a.test, '*.a.test']")
            .replace(
                "  b.test: { names: [b.test] }",
                "  c.test: { names: [c.test] }",
            )
            .replace("192.0.2.1", "192.0.2.2");
        assert_eq!(
            between(&new),
            [
                r#"certificates.a.test.names: ["a.test"] -> ["a.test","*.a.test"]"#,
                r#"certificates.b.test: removed: {"names":["b.test"]}"#,
                r#"certificates.c.test: added: {"names":["c.test"]}"#,
                r#"providers.corp.server: "192.0.2.1" -> "192.0.2.2""#,
            ]
        );
        let changes = between(&OLD.replace("canary", "another canary"));
        assert_eq!(changes, ["a secret has changed, which is not shown"]);
    }
}
