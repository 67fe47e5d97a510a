//! The binary with plugins: certificates from Pebble, secrets that nobody sees, and the commands about providers.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use dnseal_tests::{
    Bind, BindOptions, Dnseal, Misbehaving, NameServer, Pebble, PebbleOptions, Peer, PluginDir,
    PowerDns, PowerDnsOptions, TsigKey, Unbound, UnboundOptions, Watch, ZoneSpec, require,
    txt_values,
};
use tempfile::TempDir;

use crate::{OWNER, ZONE};

const BOTH: [&str; 2] = ["example.test", "*.example.test"];

#[test]
fn base_and_wildcard_through_the_python_plugin() {
    let Some(powerdns) = PowerDns::start(PowerDnsOptions::new([ZoneSpec::new(ZONE)], [])) else {
        return;
    };
    let Some(pebble) = Pebble::start(PebbleOptions::new(powerdns.addr())) else {
        return;
    };
    let desk = Desk::new(&powerdns_config(&powerdns));
    let watch = Watch::begin(powerdns.api_key(), "dnseal-provider-");
    let run = desk.issue(&pebble, &BOTH, &powerdns).run().success();
    let sighted = watch.end();
    assert!(sighted.looked > 10 && sighted.witness, "{sighted:?}");
    assert_eq!(sighted.places, BTreeSet::new());
    assert_eq!(txt_values(powerdns.addr(), OWNER), Vec::<String>::new());
    let log = fs::read_to_string(desk.home().join("log")).unwrap();
    for text in [&log, &run.stdout, &run.stderr] {
        assert!(!text.contains(powerdns.api_key()), "{text}");
    }
    assert!(log.contains("the plugin") || log.contains("corp"), "{log}");
}

#[test]
fn base_and_wildcard_through_the_shell_plugin() {
    if require(Peer::Jq).is_none() {
        return;
    }
    let key = TsigKey::random("acme-key");
    let zone = ZoneSpec::new(ZONE).updated_by(&key);
    let Some(bind) = Bind::start(BindOptions::new([zone], [key.clone()])) else {
        return;
    };
    let Some(pebble) = Pebble::start(PebbleOptions::new(bind.addr())) else {
        return;
    };
    let desk = Desk::new(&nsupdate_config("corp", &bind, &key, ZONE));
    let watch = Watch::begin(&key.secret_base64, "dnseal-provider-");
    desk.issue(&pebble, &BOTH, &bind).run().success();
    // nsupdate and jq are among those that were looked at.
    let sighted = watch.end();
    assert_eq!(sighted.places, BTreeSet::new());
    assert_eq!(txt_values(bind.addr(), OWNER), Vec::<String>::new());
}

#[test]
fn one_certificate_through_three_kinds() {
    if require(Peer::Jq).is_none() {
        return;
    }
    let (key, other_key) = (TsigKey::random("acme-key"), TsigKey::random("other-key"));
    let zone = |name: &str, key: &TsigKey| [ZoneSpec::new(name).updated_by(key)];
    let servers = (
        Bind::start(BindOptions::new(zone("a.test", &key), [key.clone()])),
        Bind::start(BindOptions::new(
            zone("b.test", &other_key),
            [other_key.clone()],
        )),
        PowerDns::start(PowerDnsOptions::new([ZoneSpec::new(ZONE)], [])),
    );
    let (Some(one), Some(two), Some(three)) = servers else {
        return;
    };
    let stubs = [
        ("a.test", one.addr()),
        ("b.test", two.addr()),
        (ZONE, three.addr()),
    ];
    let Some(unbound) = Unbound::start(UnboundOptions::new(stubs)) else {
        return;
    };
    let Some(pebble) = Pebble::start(PebbleOptions::new(unbound.addr())) else {
        return;
    };
    let native = format!(
        "  native: {{ kind: rfc2136, server: '{}', tsig: {{ name: {}, secret: '{}' }} }}\n",
        one.addr(),
        key.name,
        key.secret_base64
    );
    let zone = |name: &str, provider: &str, server: &dyn NameServer| {
        format!(
            "  {name}: {{ provider: {provider}, propagation: {{ nameservers: ['{}'] }} }}\n",
            server.addr()
        )
    };
    let desk = Desk::new(&format!(
        "{}{}{native}zones:\n{}{}{}",
        powerdns_config(&three),
        nsupdate_config("shell", &two, &other_key, "b.test"),
        zone("a.test", "native", &one),
        zone("b.test", "shell", &two),
        zone(ZONE, "corp", &three),
    ));
    let names = [
        "a.test",
        "*.a.test",
        "b.test",
        "*.b.test",
        ZONE,
        "*.example.test",
    ];
    let run = desk
        .command("issue")
        .args(names)
        .trusting(&pebble)
        .run()
        .success();
    assert!(run.stdout.contains("fullchain.pem"), "{run:?}");
}

/// A value that is claimed and not written, and that the plugin itself does not tell, is missed at the name servers.
#[test]
fn a_lie_that_only_dns_can_tell_is_found_before_the_ca_is_told() {
    let key = TsigKey::random("acme-key");
    let zone = ZoneSpec::new(ZONE).updated_by(&key);
    let Some(bind) = Bind::start(BindOptions::new([zone], [key])) else {
        return;
    };
    let Some(pebble) = Pebble::start(PebbleOptions::new(bind.addr())) else {
        return;
    };
    let plugin = Misbehaving::new("lies-silently");
    let command = serde_json::to_string(&plugin.command()).unwrap();
    let desk = Desk::new(&format!(
        "  liar: {{ kind: plugin, command: {command}, token: canary }}\n"
    ));
    let run = desk
        .issue(&pebble, &BOTH, &bind)
        .args(["--propagation-timeout", "3s"])
        .run();
    assert_eq!(run.code(), 5, "{run:?}");
    assert_eq!(pebble.count("POST", "/chalZ/"), 0);
}

#[test]
fn providers_are_listed_shown_and_tested() {
    let Some(powerdns) = PowerDns::start(PowerDnsOptions::new([ZoneSpec::new(ZONE)], [])) else {
        return;
    };
    let desk = Desk::new(&powerdns_config(&powerdns));
    let json = desk
        .command("provider list --output json")
        .run()
        .success()
        .json();
    let listed = json["providers"].as_array().unwrap();
    assert!(
        listed.iter().any(|p| p["kind"] == "powerdns-http"),
        "{json:#}"
    );
    // Listing starts none, so that a bad one hinders nobody.
    desk.plugins.put("dnseal-provider-bad", "no program");
    desk.command("provider list").run().success();

    let shown = desk.command("provider show powerdns-http").run().success();
    for part in [
        "api-key (secret, required)",
        "PDNS_API_KEY",
        "not safe at one owner name",
    ] {
        assert!(shown.stdout.contains(part), "{part}: {}", shown.stdout);
    }
    let program = desk.plugins.path().join("dnseal-provider-nsupdate");
    let shown = desk
        .command("provider show plugin --output json --set")
        .arg(format!("command={}", program.display()))
        .run()
        .success()
        .json();
    assert_eq!(shown["settings"][0]["key"], "command", "{shown:#}");
    assert!(shown.to_string().contains("key-secret"), "{shown:#}");

    let server = powerdns.addr().to_string();
    let tested = desk
        .command("provider test corp --zone example.test --output json --nameserver")
        .arg(&server)
        .run()
        .success()
        .json();
    assert_eq!(tested["failed"], 0, "{tested:#}");
    assert_eq!(tested["complete"], true, "{tested:#}");
    // Those that nobody has given what they need are said.
    assert_eq!(tested["not_supported"], 4, "{tested:#}");
    assert_eq!(tested["kind"], "powerdns-http", "{tested:#}");

    let run = desk
        .command("provider test powerdns-http --zone example.test --nameserver")
        .arg(&server)
        .args(["--set", &format!("url={}", powerdns.api_url())])
        .env("PDNS_API_KEY", "another")
        .run();
    assert_eq!(run.code(), 4, "{run:?}");
    // Once, and not for each case.
    assert_eq!(run.stderr.matches("401").count(), 1, "{run:?}");
}

/// What an author is told who tries a plugin that is not there yet.
#[test]
fn a_plugin_that_cannot_work_fails_the_test_of_it() {
    let key = TsigKey::random("acme-key");
    let zone = ZoneSpec::new(ZONE).updated_by(&key);
    let Some(bind) = Bind::start(BindOptions::new([zone], [key])) else {
        return;
    };
    let desk = Desk::new("");
    fs::write(desk.config(), "").unwrap();
    for (mode, zone, parts) in [
        (
            "no-configure",
            ZONE,
            &["does not know `configure`, which every plugin has to"][..],
        ),
        (
            "parent-zone",
            ZONE,
            &["in its zone test, but DNS serves it from example.test"],
        ),
        (
            "unsupported",
            ZONE,
            &["0 passed, 0 failed", "no case has passed"],
        ),
    ] {
        let plugin = Misbehaving::new(mode);
        let command = serde_json::to_string(&plugin.command()).unwrap();
        let run = desk
            .command("provider test plugin --zone")
            .args([zone, "--nameserver", &bind.addr().to_string()])
            .args([
                "--set",
                &format!("command={command}"),
                "--set",
                "token=t0ken-t0ken",
            ])
            .run();
        assert_eq!(run.code(), 4, "{mode}: {run:?}");
        let said = format!("{}{}", run.stdout, run.stderr);
        for part in parts {
            assert!(said.contains(part), "{mode}: {part}: {said}");
        }
        assert!(said.contains("misbehaving.py"), "{said}");
        for part in ["the plugin `plugin`", "author"] {
            assert!(!said.contains(part), "{mode}: {part}: {said}");
        }
    }
}

#[test]
fn mistakes_in_the_configuration_have_a_place() {
    let plugin = Misbehaving::new("v9");
    let command = serde_json::to_string(&plugin.command()).unwrap();
    for (config, parts) in [
        (
            "  corp: { kind: powerdns-htpt }\n",
            &[
                "there is no provider of kind",
                "3:",
                "did you mean `powerdns-http`?",
                "a plugin would be `dnseal-provider-powerdns-htpt` in",
            ][..],
        ),
        (
            "  corp: { kind: powerdns-http, urll: a }\n",
            &["did you mean `url`?", "3:"],
        ),
        (
            "  corp: { kind: powerdns-http, url: a }\n",
            &["`api-key` is missing", "PDNS_API_KEY"],
        ),
        (
            &format!("  corp: {{ kind: plugin, command: {command} }}\n"),
            &["speaks version 9", "3:"],
        ),
        ("  corp: { kind: plugin }\n", &["`command` is missing"]),
        (
            "  corp: { kind: plugin, command: [] }\n",
            &["names no program"],
        ),
        (
            "  corp: { kind: plugin, command: plugin.sh }\n",
            &["no absolute path"],
        ),
        (
            "  corp: { kind: plugin, command: /nowhere }\n",
            &["/nowhere"],
        ),
    ] {
        let desk = Desk::new(config);
        let run = desk.command("dns list a.example.test").run();
        assert_eq!(run.code(), 2, "{config}: {run:?}");
        for part in parts {
            assert!(
                run.stderr.contains(part),
                "{config}: {part}: {}",
                run.stderr
            );
        }
    }
}

/// A home with a configuration and the example plugins.
struct Desk {
    home: TempDir,
    plugins: PluginDir,
}

impl Desk {
    /// With these lines below `providers:`.
    fn new(providers: &str) -> Self {
        let desk = Self {
            home: TempDir::with_prefix("dnseal-home-").unwrap(),
            plugins: PluginDir::examples(),
        };
        let config = format!(
            "plugin-dirs: ['{}']\nproviders:\n{providers}",
            desk.plugins.path().display()
        );
        fs::write(desk.config(), config).unwrap();
        desk
    }

    fn home(&self) -> &Path {
        self.home.path()
    }

    fn config(&self) -> PathBuf {
        self.home().join("dnseal.yaml")
    }

    fn command(&self, command: &str) -> Dnseal {
        let (first, rest) = command.split_once(' ').unwrap_or((command, ""));
        let rest = rest.split(' ').filter(|word| !word.is_empty());
        Dnseal::new(self.home())
            .arg(first)
            .arg("--config")
            .arg(self.config())
            .arg("--dir")
            .arg(self.home().join("state"))
            .args(rest)
    }

    fn issue(&self, pebble: &Pebble, names: &[&str], server: &dyn NameServer) -> Dnseal {
        self.command("issue")
            .args(names)
            .arg("--log-file")
            .arg(self.home().join("log"))
            .args(["--nameserver", &server.addr().to_string()])
            .trusting(pebble)
    }
}

trait Trusting {
    fn trusting(self, pebble: &Pebble) -> Self;
}

impl Trusting for Dnseal {
    fn trusting(self, pebble: &Pebble) -> Self {
        self.arg("--ca")
            .arg(pebble.directory_url())
            .arg("--ca-root")
            .arg(pebble.ca_pem_path())
            .arg("--agree-tos")
    }
}

fn powerdns_config(powerdns: &PowerDns) -> String {
    format!(
        "  corp: {{ kind: powerdns-http, url: '{}', api-key: '{}' }}\n",
        powerdns.api_url(),
        powerdns.api_key()
    )
}

fn nsupdate_config(name: &str, bind: &Bind, key: &TsigKey, zone: &str) -> String {
    format!(
        "  {name}: {{ kind: nsupdate, server: {}, port: {}, zones: {zone}, key-name: {}, key-secret: '{}', algorithm: {} }}\n",
        bind.addr().ip(),
        bind.addr().port(),
        key.name,
        key.secret_base64,
        key.algorithm
    )
}
