use secrecy::ExposeSecret;
use serde_json::Value;
use serde_json::json;

use super::*;

const WHOLE: &str = r#"
ca: { url: "https://ca.test/dir", root: ca.pem, eab: { kid: k, hmac-key: { file: hmac } } }
agree-tos: true
email: [ops@example.com]
key-type: ecdsa-p384
profile: tlsserver
dir: state
providers:
  corp:
    kind: rfc2136
    server: ns1.example.com
    timeout: 5
    tsig: { name: k, algorithm: hmac-sha256, secret: { command: [pass, tsig] } }
  flat: { kind: rfc2136, server: 192.0.2.1, tsig.name: k, tsig.secret: canary }
zones:
  example.com: { provider: corp, propagation: { nameservers: [192.0.2.1, "[2001:db8::1]:54"] } }
  Example.ORG.: { provider: flat }
propagation: { mode: auto, quorum: majority, timeout: 5m, settle: 0, family: ipv4, resolvers: ["192.0.2.53"] }
certificates:
  example.com:
    names: [example.com, "*.example.com", Example.com]
  other:
    names: [b.example.com]
    key-type: rsa2048
    ca: letsencrypt
"#;

#[test]
fn everything_that_can_be_written_is_understood() {
    let config = Config::of(WHOLE).unwrap();
    let ca = config.ca.as_ref().unwrap();
    assert_eq!(ca.name_or_url, "https://ca.test/dir");
    assert_eq!(
        ca.eab.as_ref().unwrap().hmac_key,
        Secret::File("hmac".into())
    );
    assert_eq!(config.zones[1].suffix.as_str(), "example.org");
    assert_eq!(
        config.zones[0].propagation.nameservers[1].to_string(),
        "[2001:db8::1]:54"
    );
    assert_eq!(config.propagation.timeout, Some(Duration::from_secs(300)));
    assert_eq!(config.certificates[0].names.len(), 2);
    assert_eq!(config.certificates[1].key_type, Some(KeyType::Rsa2048));

    let corp = config.provider("corp").unwrap();
    let keys: Vec<&str> = corp.settings.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "server",
            "timeout",
            "tsig.name",
            "tsig.algorithm",
            "tsig.secret"
        ]
    );
    assert_eq!(corp.settings[1].1.resolve().unwrap().expose_secret(), "5");
    assert_eq!(
        corp.settings[4].1,
        Secret::Command(vec!["pass".into(), "tsig".into()])
    );
    assert!(!format!("{config:?}").contains("canary"));
}

#[test]
fn nothing_at_all_is_a_configuration() {
    for text in ["", "\n# only a comment\n", "{}"] {
        assert!(Config::of(text).is_ok(), "{text:?}");
    }
}

/// The text, the line and column of the error, and something of what it and its hint say.
#[rustfmt::skip]
const ERRORS: &[(&str, usize, usize, &str, &str)] = &[
    ("a: 1\n", 1, 1, "there is no key `a` here", "there is access, agree-tos, "),
    ("certifcates: {}\n", 1, 1, "there is no key `certifcates`", "did you mean `certificates`?"),
    ("ca: 5\n", 1, 5, "expected a CA's name, a URL, a table", ""),
    ("ca: [x, { ulr: y }]\n", 1, 11, "there is no key `ulr`", "did you mean `url`?"),
    ("ca: [[x]]\n", 1, 6, "a list of CAs holds no list", ""),
    ("ca: { ulr: x }\n", 1, 7, "there is no key `ulr`", "did you mean `url`?"),
    ("ca: { root: x }\n", 1, 5, "neither a `url` nor a `name`", "add `url"),
    ("ca: { url: x, eab: { kid: k, hmac-key: { fle: x } } }\n", 1, 42, "no key `fle`", "did you mean `file`?"),
    ("ca: { url: x, eab: { kid: k, hmac-key: { file: x, env: y } } }\n", 1, 40, "exactly one of", ""),
    ("ca: { url: x, eab: canary }\n", 1, 20, "ca.eab: invalid type: a text, expected a table", ""),
    ("agree-tos: maybe\n", 1, 12, "agree-tos: invalid type: a text, expected a boolean", ""),
    ("agree-tos: yes\n", 1, 12, "expected a boolean", "write `true` or `false`"),
    ("certificates:\n  a: { names: [a.test, *.a.test] }\n", 2, 25, "`*.a.test` without quotes", "write \"*.a.test\""),
    ("certificates:\n  a:\n    names: a.test\n", 3, 12, "expected a list, such as [example.com]", ""),
    ("certificates:\n\ta: {}\n", 2, 1, "a tab stands here", "indent with spaces"),
    ("email: ops\n", 1, 8, "`ops` is no mail address", ""),
    ("key-type: ecdsa-p257\n", 1, 11, "no key type `ecdsa-p257`", "did you mean `ecdsa-p256`?"),
    ("propagation: { quorum: most }\n", 1, 24, "`most` is no value", "there is all, any, majority"),
    ("propagation: { mode: authoritive }\n", 1, 22, "`authoritive`", "did you mean `authoritative`?"),
    ("propagation:\n  timeout: soon\n", 2, 12, "`soon` is no duration", ""),
    ("propagation:\n  timeout: 18446744073709551615\n", 2, 12, "longer than ten years", ""),
    ("propagation:\n  nameservers: [192.0.2.1, ns1.test]\n", 2, 28, "`ns1.test` is no IP address", ""),
    ("providers:\n  p: { server: x }\n", 2, 6, "missing field `kind`", ""),
    ("providers:\n  p: { kind: rfc2163 }\n", 2, 14, "no provider of kind `rfc2163`", "did you mean `rfc2136`?"),
    ("providers:\n  p: { kind: rfc2136, serer: x }\n", 2, 23, "rfc2136 has no setting `serer`", "did you mean `server`?"),
    ("providers:\n  p:\n    kind: rfc2136\n    tsig: { secrt: x }\n", 4, 13, "no setting `tsig.secrt`", "did you mean `secret`?"),
    ("providers:\n  p: { kind: rfc2136, server: [a] }\n", 2, 31, "a text, not a list", ""),
    ("propagation: { doh: [\"http://dns.test/\"] }\n", 1, 22, "is no URL of a resolver", ""),
    ("propagation:\n  dot: [\"dns.test\"]\n", 2, 9, "is no resolver over TLS", ""),
    ("providers:\n  p: { kind: rfc2136, propagation: { qorum: all } }\n", 2, 38, "`qorum`", "did you mean `quorum`?"),
    ("zones:\n  a.test: { provider: corp }\n", 2, 23, "a provider `corp` that is not there", "add it under `providers`"),
    ("zones:\n  a..test: { provider: corp }\n", 2, 3, "it has an empty label", ""),
    ("zones:\n  a.test: { provider: p, propagation: { qorum: all } }\n", 2, 41, "`qorum`", "did you mean `quorum`?"),
    ("certificates:\n  a/b: { names: [a.test] }\n", 2, 3, "it may hold no `/`", ""),
    ("certificates:\n  a: { names: [a.test, \"*.*.test\"] }\n", 2, 24, "one `*.` at the very beginning", "one wildcard for each level"),
    ("certificates:\n  a: { names: [] }\n", 2, 15, "has no names", ""),
    ("certificates:\n  a: { names: [a.test] }\n  A: { names: [b.test] }\n", 3, 3, "stands here twice", ""),
    ("certificates:\n  a: { names: [a.test] }\n  a: { names: [b.test] }\n", 2, 3, "`a` stands here twice", ""),
    ("ca: x\nca: y\n", 1, 1, "duplicate field `ca`", ""),
    ("ca: \"x\n", 1, 1, "unexpected end of stream", ""),
    ("ca: x\n  b: y\n", 2, 4, "", ""),
];

#[test]
fn every_error_has_its_place_and_its_hint() {
    let mut wrong = Vec::new();
    for &(text, line, column, message, hint) in ERRORS {
        let error = Config::of(text).unwrap_err();
        let frame = error.frame().map(|frame| (frame.line, frame.column));
        let fits = error.to_string().contains(message)
            && error.hint().unwrap_or_default().contains(hint)
            && frame == Some((line, column));
        if !fits {
            wrong.push(format!("{text}: {frame:?} {error} ({:?})", error.hint()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn dangling_providers_suggest_the_near_miss() {
    let text =
        "providers:\n  corp: { kind: rfc2136, server: x }\nzones:\n  a.test: { provider: crop }\n";
    let error = Config::of(text).unwrap_err();
    assert_eq!(error.hint(), Some("did you mean `corp`?"));
}

#[cfg(unix)]
#[test]
fn what_others_may_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dnseal.yaml");
    std::fs::write(&path, "ca: letsencrypt\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(Config::load(&path).is_ok());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o664)).unwrap();
    let error = Config::load(&path).unwrap_err();
    assert!(
        error.to_string().contains("may be changed by others"),
        "{error}"
    );
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dnseal.yaml");
    std::fs::write(&path, "\u{feff}ca: letsencrypt\nagree-tos: true\n").unwrap();
    assert!(Config::load(&path).unwrap().agree_tos);
}

#[test]
fn schema_and_parser_agree() {
    let schema = schema();
    for (text, good) in [
        (WHOLE, true),
        ("{}", true),
        ("certifcates: {}", false),
        ("ca: 5", false),
        ("ca: { ulr: x }", false),
        ("ca: { url: x, eab: { kid: k } }", false),
        (
            "ca: { url: x, eab: { kid: k, hmac-key: { file: a, env: b } } }",
            false,
        ),
        ("agree-tos: maybe", false),
        ("email: a@b.test", true),
        ("key-type: rsa-4096", true),
        ("key-type: ecdsa-p257", false),
        ("propagation: { quorum: most }", false),
        ("propagation: { timeout: 90 }", true),
        ("propagation: { timeout: [] }", false),
        ("providers: { p: { server: x } }", false),
        ("providers: { p: { kind: rfc2136, serer: x } }", false),
        (
            "providers: { p: { kind: rfc2136, tsig: { name: x, secrt: y } } }",
            false,
        ),
        ("providers: { p: { kind: rfc2136, server: [x] } }", false),
        (
            "providers: { p: { kind: rfc2136, tsig: { file: x } } }",
            true,
        ),
        (
            "providers: { p: { kind: rfc2136, server: { env: X } } }",
            true,
        ),
        (
            "zones: { a.test: { propagation: { quorum: most } } }",
            false,
        ),
        ("certificates: { a: { names: [] } }", false),
        ("certificates: { a: { csr: a.csr } }", true),
        ("certificates: { a: { csr: a.csr, names: [a.test] } }", true),
        ("ca: [letsencrypt, { name: zerossl }]", true),
        ("ca: []", false),
        ("preferred-profile: shortlived", true),
        (
            "certificates: { a: { names: [a.test], deploy: [{ files: { key: /k }, run: [x] }] } }",
            true,
        ),
        ("deploy: [{ runs: [x] }]", false),
        ("deploy: [{ files: { key: { mode: '0600' } } }]", false),
        (
            "hooks: { pre: [{ shell: x, timeout: 5m }], directory: h }",
            true,
        ),
        ("access: { owner: 0, group: web, mode: '0640' }", true),
        ("certificates: { a: {} }", false),
    ] {
        // What has other names for it, or a meaning beyond its form, is the parser's alone.
        let text = text.replace("rsa2048", "rsa-2048");
        let document: Value = serde_yaml::from_str(&text).unwrap();
        let accepted = Config::of(&text).is_ok();
        assert_eq!(accepted, good, "{text}: {:?}", Config::of(&text).err());
        assert_eq!(fits(&schema, &schema, &document), good, "{text}");
    }
}

/// As much of JSON Schema as ours uses.
fn fits(root: &Value, schema: &Value, value: &Value) -> bool {
    let Some(schema) = schema.as_object() else {
        return schema.as_bool().unwrap_or(true);
    };
    schema.iter().all(|(keyword, rule)| match keyword.as_str() {
        "$ref" => {
            let path = rule.as_str().unwrap().trim_start_matches('#');
            fits(root, root.pointer(path).unwrap(), value)
        }
        "additionalProperties" => value.as_object().is_none_or(|table| {
            let known = schema.get("properties").and_then(Value::as_object);
            table
                .iter()
                .filter(|(key, _)| known.is_none_or(|known| !known.contains_key(*key)))
                .all(|(_, value)| fits(root, rule, value))
        }),
        "anyOf" | "oneOf" => rule
            .as_array()
            .unwrap()
            .iter()
            .any(|s| fits(root, s, value)),
        "const" => rule == value,
        "enum" => rule.as_array().unwrap().contains(value),
        "items" => value
            .as_array()
            .is_none_or(|items| items.iter().all(|item| fits(root, rule, item))),
        "maxProperties" => value
            .as_object()
            .is_none_or(|t| t.len() as u64 <= rule.as_u64().unwrap()),
        "minLength" => value
            .as_str()
            .is_none_or(|t| t.len() as u64 >= rule.as_u64().unwrap()),
        "not" => !fits(root, rule, value),
        "minItems" => value
            .as_array()
            .is_none_or(|a| a.len() as u64 >= rule.as_u64().unwrap()),
        "minProperties" => value
            .as_object()
            .is_none_or(|t| t.len() as u64 >= rule.as_u64().unwrap()),
        "minimum" => value.as_f64().is_none_or(|n| n >= rule.as_f64().unwrap()),
        // Names of kinds, which the parser looks up.
        "pattern" => true,
        "properties" => value.as_object().is_none_or(|table| {
            rule.as_object()
                .unwrap()
                .iter()
                .all(|(key, rule)| table.get(key).is_none_or(|value| fits(root, rule, value)))
        }),
        "required" => value.as_object().is_none_or(|table| {
            rule.as_array()
                .unwrap()
                .iter()
                .all(|key| table.contains_key(key.as_str().unwrap()))
        }),
        "type" => match rule {
            Value::Array(types) => types.iter().any(|t| is_of_type(t, value)),
            one => is_of_type(one, value),
        },
        "$defs" | "$schema" | "default" | "description" | "format" | "title" => true,
        other => panic!("the test does not know `{other}`"),
    })
}

fn is_of_type(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap() {
        "array" => value.is_array(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "object" => value.is_object(),
        "string" => value.is_string(),
        other => panic!("the test does not know the type `{other}`"),
    }
}

#[test]
fn the_schema_names_every_kind_of_provider() {
    let text = schema().to_string();
    for kind in dnseal_providers::kinds() {
        assert!(
            text.contains(&json!({ "const": kind.kind }).to_string()),
            "{}",
            kind.kind
        );
    }
}
