//! Issuing where port 53 is open, with real discovery: a resolver that remembers, and aliases that lead astray.

use std::fs;
use std::path::Path;
use std::time::Duration;

use dnseal_sandbox::dns::{DnsServer, TsigKey, Zone};
use dnseal_tests::{Dnseal, Internet, NameServer, NameServers, Pebble, Run, Unbound};
use tempfile::TempDir;

/// Three name servers in both families, a resolver in front of them that the CA uses as well, and a client with its own configuration.
pub(crate) struct Open {
    // In the order in which they have to go.
    pub(crate) ca: Pebble,
    pub(crate) resolver: Unbound,
    pub(crate) servers: NameServers,
    pub(crate) home: TempDir,
    key: TsigKey,
    pub(crate) internet: Internet,
}

impl Open {
    pub(crate) fn start(zone: Zone) -> Option<Self> {
        let internet = Internet::start()?;
        let key = TsigKey::generate("acme-key").unwrap();
        let signed = key.clone();
        let servers = internet.name_servers(
            zone,
            |zone| {
                let other = Zone::new("other.test")
                    .ns("ns.test")
                    .txt("there.other.test", "x");
                DnsServer::builder().zone(zone).zone(other).key(signed)
            },
            Duration::from_millis(500),
        );
        let mut stubs = servers.stubs();
        // A zone that only this resolver knows, where a test puts one there.
        stubs.push(("inner.test".to_owned(), vec![servers.all[0].addr()]));
        let resolver = internet.resolver(stubs)?;
        let ca = internet.ca(resolver.addr())?;
        let open = Self {
            ca,
            resolver,
            servers,
            home: TempDir::new().unwrap(),
            key,
            internet,
        };
        open.configure_zone("");
        let secret = open.home.path().join("tsig");
        fs::write(&secret, open.key.secret_base64()).unwrap();
        fs::set_permissions(secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        Some(open)
    }

    /// The configuration with these settings of propagation for the zone.
    pub(crate) fn configure_zone(&self, propagation: &str) {
        self.write_config(propagation, "");
    }

    /// The configuration with more lines at its end, which may go on with zones.
    pub(crate) fn configure(&self, more: &str) {
        self.write_config("", more);
    }

    fn write_config(&self, propagation: &str, more: &str) {
        let config = format!(
            "providers:\n  ours: {{ kind: rfc2136, server: 192.0.2.11, tsig: {{ name: {}, algorithm: {}, secret: {{ file: tsig }} }} }}\n\
             zones:\n  example.test: {{ provider: ours, propagation: {{ {propagation} }} }}\n{more}",
            self.key.name(),
            self.key.algorithm().as_str(),
        );
        fs::write(self.home.path().join("dnseal.yaml"), config).unwrap();
    }

    pub(crate) fn issue(&self, names: &[&str], more: &[&str]) -> Run {
        let root = self.ca.ca_pem_path();
        let command: Dnseal = self
            .internet
            .dnseal(self.home.path())
            .args(["issue"])
            .args(names)
            .args(more)
            .args([
                "--config",
                "dnseal.yaml",
                "--dir",
                "state",
                "--agree-tos",
                "--output",
                "json",
            ])
            .args(["--ca", &self.ca.directory_url()])
            .args([Path::new("--ca-root"), &root]);
        command.run()
    }
}

/// The resolver keeps "no such name" for an hour; it must never have heard of the name before there was a value.
#[test]
fn a_resolver_that_remembers_for_an_hour() {
    let Some(open) = Open::start(Zone::new(Internet::ZONE).minimum(3600)) else {
        return;
    };
    for round in 0..2 {
        let force: &[&str] = match round {
            0 => &[],
            _ => &["--force"],
        };
        let run = open.issue(&["new.example.test"], force).success();
        let document = run.json();
        let owner = "_acme-challenge.new.example.test";
        assert_eq!(document["stats"]["proven"][owner], "authoritative");
    }
    let log = open.resolver.process().log();
    let ours: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("query: 10.77.0.2 "))
        .filter(|line| line.contains("example.test"))
        .collect();
    assert_eq!(ours, Vec::<&str>::new());
    let first = log
        .lines()
        .find(|line| line.contains("_acme-challenge.new."));
    assert!(
        first.unwrap().contains("192.0.2."),
        "only the CA asks: {first:?}"
    );
    assert!(
        open.servers
            .all
            .iter()
            .all(|server| !server.queries().is_empty())
    );
}

#[test]
fn aliases_that_lead_astray() {
    let zone = Zone::new(Internet::ZONE)
        .cname("*.wild.example.test", "web.example.test")
        .cname(
            "_acme-challenge.loop.example.test",
            "_acme-challenge.pool.example.test",
        )
        .cname(
            "_acme-challenge.pool.example.test",
            "_acme-challenge.loop.example.test",
        )
        .cname("_acme-challenge.dangling.example.test", "x.gone.onion")
        .cname("_acme-challenge.foreign.example.test", "there.other.test")
        .cname("_acme-challenge.stays.example.test", "there.example.test");
    let Some(open) = Open::start(zone) else {
        return;
    };
    // The top-level domain knows the other zone, too.
    open.servers
        .top
        .zone_add(dnseal_sandbox::dns::Record::ns(
            "other.test",
            60,
            "ns1.example.test",
        ))
        .unwrap();
    for (name, delegation, message) in [
        ("loop", "follow", "aliases lead in a circle"),
        ("dangling", "follow", "x.gone.onion"),
        (
            "foreign",
            "follow",
            "no provider is configured for there.other.test",
        ),
        (
            "stays",
            "none",
            "an alias leads from there to there.example.test",
        ),
    ] {
        let more = ["--doh", "none", "--delegation", delegation];
        let run = open.issue(&[&format!("{name}.example.test")], &more);
        assert_ne!(run.code(), 0);
        assert!(run.stdout.contains(message), "{name}: {}", run.stdout);
        let orders = open.ca.count("POST", "/order-plz");
        assert_eq!(orders, 0, "{name}: {}\n{}", run.stdout, run.stderr);
    }

    let run = open.issue(&["a.wild.example.test"], &[]).success();
    let said = run.json()["warnings"].to_string();
    assert!(said.contains("is no delegation"), "{said}");
    assert_eq!(open.ca.count("POST", "/order-plz"), 1);
    // Where none is to be followed, one of a wildcard's stands in nobody's way.
    open.issue(&["b.wild.example.test"], &["--delegation", "none"])
        .success();
}
