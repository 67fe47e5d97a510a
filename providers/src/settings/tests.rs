//! Settings of the providers there are, right and wrong.

use super::*;
use crate::registry::BuildError;
use crate::registry::Context;
use crate::registry::build;
use crate::registry::kind;

const SECRET: &str = "c2VjcmV0LW9mLXRoZS10ZXN0";
const KEY_FILE: &str = "key \"first\" { algorithm hmac-sha512; secret \"Zmlyc3Q=\"; };\n\
                        key \"second\" { algorithm hmac-sha256; secret \"c2Vjb25k\"; };";

#[test]
fn distances_are_those_of_typing() {
    for (a, b, wanted) in [
        ("server", "server", 0),
        ("sever", "server", 1),
        ("sevrer", "server", 1),
        ("", "ttl", 3),
        ("zone", "timeout", 6),
    ] {
        assert_eq!(distance(a, b), wanted, "{a} {b}");
        assert_eq!(distance(b, a), wanted, "{b} {a}");
    }
}

#[test]
fn wrong_settings_say_what_to_write() {
    for (settings, problem, hint) in [
        (
            &[("tsig.name", "k"), ("tsig.secret", SECRET)][..],
            "`server` is missing",
            "set `server`, or the environment variable RFC2136_NAMESERVER",
        ),
        (
            &[("sevrer", "192.0.2.1")],
            "there is no setting `sevrer`",
            "did you mean `server`?",
        ),
        (
            &[("server", "a"), ("nameserver", "b")],
            "`server` is given twice, also as `nameserver`",
            "keep `server`",
        ),
        (
            &[("server", "a")],
            "`tsig.name`: there is no key to sign updates with",
            "or `unsigned: true`",
        ),
        (
            &[("server", "a"), ("tsig.name", "k")],
            "`tsig.secret` is missing",
            "RFC2136_TSIG_SECRET",
        ),
        (
            &[("server", "a"), ("tsig.secret", SECRET)],
            "`tsig.name` is missing",
            "RFC2136_TSIG_KEY",
        ),
        (
            &[
                ("server", "a"),
                ("tsig.name", "k"),
                ("tsig.secret", "no base64!"),
            ],
            "`tsig.secret`: the secret is not base64",
            "key file of the server",
        ),
        (
            &[("server", "a"), ("tsig.name", "k"), ("tsig.secret", "")],
            "`tsig.secret`: the secret is empty",
            "key file of the server",
        ),
        (
            &[("server", "a"), ("tsig.name", ""), ("tsig.secret", SECRET)],
            "`tsig.name`: `` is no name of a TSIG key",
            "such as `acme-key`",
        ),
        (
            &[
                ("server", "a"),
                ("tsig.name", "k"),
                ("tsig.secret", SECRET),
                ("tsig.algorithm", "hmac-sha265"),
            ],
            "`tsig.algorithm`: there is no TSIG algorithm `hmac-sha265`",
            "did you mean `hmac-sha256`?",
        ),
        (
            &[
                ("server", "a"),
                ("tsig.name", "k"),
                ("tsig.secret", SECRET),
                ("tsig.algorithm", "HMAC-MD5.SIG-ALG.REG.INT."),
            ],
            "hmac-md5 must not be used",
            "tsig-keygen -a hmac-sha256 NAME",
        ),
        (
            &[("server", "a"), ("unsigned", "true"), ("tsig.name", "k")],
            "`unsigned`: `tsig.name` is set as well",
            "leave one of them out",
        ),
        (
            &[("server", "a"), ("unsigned", "maybe")],
            "`unsigned`: `maybe` is neither `true` nor `false`",
            "",
        ),
        (
            &[
                ("server", "a"),
                ("key-file", KEY_FILE),
                ("tsig.secret", SECRET),
            ],
            "`key-file`: `tsig.secret` is set as well",
            "leave one of them out",
        ),
        (
            &[
                ("server", "a"),
                ("key-file", KEY_FILE),
                ("tsig.name", "third"),
            ],
            "`key-file`: it holds no key `third`",
            "it holds first, second",
        ),
        (
            &[("server", "a"), ("key-file", "")],
            "`key-file`: it holds no `key",
            "tsig-keygen",
        ),
        (
            &[("server", "a"), ("unsigned", "true"), ("zone", "a..b")],
            "`zone`: `a..b` is no zone",
            "",
        ),
        (
            &[("server", "a"), ("unsigned", "true"), ("ttl", "-1")],
            "`ttl`: `-1` is no number",
            "",
        ),
        (
            &[("server", "a"), ("unsigned", "true"), ("ttl", "4294967295")],
            "`ttl`: 4294967295 is more than 2147483647",
            "",
        ),
        (
            &[("server", "a"), ("unsigned", "true"), ("timeout", "soon")],
            "`timeout`: `soon` is no duration such as `10s`",
            "",
        ),
    ] {
        let error = rfc2136(settings).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("provider `corp` (rfc2136): "), "{text}");
        assert!(text.contains(problem), "{settings:?}: {text}");
        assert!(error.hint().unwrap_or_default().contains(hint), "{error:?}");
        assert!(!text.contains(SECRET), "{text}");
    }
}

#[test]
fn servers_are_names_or_addresses_with_or_without_a_port() {
    for (given, shown) in [
        ("ns1.example.com", "ns1.example.com:53"),
        ("ns1.example.com.", "ns1.example.com:53"),
        ("ns1.example.com:5353", "ns1.example.com:5353"),
        ("192.0.2.1", "192.0.2.1:53"),
        (" 192.0.2.1:5353 ", "192.0.2.1:5353"),
        ("2001:db8::1", "[2001:db8::1]:53"),
        ("[2001:db8::1]", "[2001:db8::1]:53"),
        ("[2001:db8::1]:5353", "[2001:db8::1]:5353"),
        ("fe80::1%eth0", "[fe80::1%eth0]:53"),
    ] {
        let provider = rfc2136(&[("server", given), ("unsigned", "true")]).unwrap();
        assert_eq!(provider, shown);
    }
    for given in [
        "",
        "a b",
        "ns1:port",
        "ns1:0",
        "ns1:70000",
        "[2001:db8::1",
        "[ns1]:53",
        "[::1]53",
        "https://ns1.example.com",
    ] {
        let error = rfc2136(&[("server", given), ("unsigned", "true")]).unwrap_err();
        assert!(
            error.to_string().contains("is no server"),
            "{given}: {error}"
        );
    }
}

#[test]
fn the_environment_of_lego_does() {
    let env = |variables: &'static [(&str, &str)]| {
        Settings::from_env(
            kind("rfc2136").unwrap(),
            &|name| {
                let found = variables.iter().find(|(n, _)| *n == name);
                found.map(|(_, value)| (*value).to_owned())
            },
            &|path| match path {
                "/run/secret" => Ok(format!("{SECRET}\n")),
                "/run/key" => Ok(KEY_FILE.to_owned()),
                _ => Err(io::ErrorKind::NotFound.into()),
            },
        )
    };

    let settings = env(&[
        ("RFC2136_NAMESERVER", "192.0.2.1:5353"),
        ("RFC2136_TSIG_KEY", "acme-key."),
        ("RFC2136_TSIG_SECRET_FILE", "/run/secret"),
        ("RFC2136_TSIG_ALGORITHM", "hmac-sha512."),
        ("RFC2136_DNS_TIMEOUT", "20"),
        ("RFC2136_TTL", ""),
        ("DNSUPDATE_NAMESERVER", "192.0.2.9"),
    ])
    .unwrap();
    let keys: Vec<&str> = settings.keys().collect();
    assert_eq!(
        keys,
        [
            "server",
            "timeout",
            "tsig.algorithm",
            "tsig.name",
            "tsig.secret"
        ]
    );
    assert_eq!(settings.get("server").unwrap().expose(), "192.0.2.1:5353");
    assert_eq!(settings.get("tsig.secret").unwrap().expose(), SECRET);
    assert!(!format!("{settings:?}").contains(SECRET));
    build("rfc2136", "corp", settings, &Context::default()).unwrap();

    let settings = env(&[
        ("DNSUPDATE_NAMESERVER", "192.0.2.1"),
        ("DNSUPDATE_TSIG_FILE", "/run/key"),
        ("DNSUPDATE_TSIG_KEY", "SECOND."),
    ])
    .unwrap();
    let provider = build("rfc2136", "corp", settings, &Context::default()).unwrap();
    assert!(format!("{provider:?}").contains("DomainName(\"second\")"));

    let error = env(&[("RFC2136_TSIG_SECRET_FILE", "/gone")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to read `/gone`, which RFC2136_TSIG_SECRET_FILE names: entity not found"
    );
    assert!(env(&[]).unwrap().is_empty());
}

#[test]
fn durations_are_seconds_or_have_units() {
    for (text, wanted) in [
        ("10", 10_000),
        ("10s", 10_000),
        ("1m 30s", 90_000),
        ("200ms", 200),
    ] {
        let mut settings = Settings::new();
        settings.insert("server", text.into());
        settings.insert("timeout", text.into());
        let checked = settings.check(kind("rfc2136").unwrap()).unwrap();
        let parsed = checked.duration("timeout").unwrap();
        assert_eq!(parsed, Some(Duration::from_millis(wanted)));
    }
}

fn rfc2136(settings: &[(&str, &str)]) -> Result<String, BuildError> {
    let mut all = Settings::new();
    for (key, value) in settings {
        all.insert(*key, Value::from(*value));
    }
    Ok(build("rfc2136", "corp", all, &Context::default())?.endpoint())
}
