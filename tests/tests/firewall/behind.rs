//! Issuing from a client that reaches nothing but a proxy: over DNS over HTTPS, or by the provider's word alone.

use std::path::Path;
use std::time::Duration;

use dnseal_tests::{Cloud, Cure, Dnseal, Firewall, Internet, Pebble, Run, Unbound};
use serde_json::Value;
use tempfile::TempDir;

/// A hosted provider, a CA and three resolvers over HTTPS outside, and a client whose only way out is the proxy.
struct Behind {
    // In the order in which they have to go.
    cloud: Cloud,
    ca: Pebble,
    resolvers: Vec<Unbound>,
    home: TempDir,
    internet: Internet,
}

impl Behind {
    /// All of it, with this firewall between once everything has started.
    fn start(cloud: fn(std::net::IpAddr) -> Cloud, firewall: Firewall) -> Option<Self> {
        let internet = Internet::start()?.with_proxy()?;
        let address = internet.cloud_address();
        let cloud = internet.outside().within(|| cloud(address));
        let ca = internet.ca(cloud.dns())?;
        // Who looks for CAA records climbs up to the top-level domain.
        let stubs =
            [Cloud::NAMES, Cloud::VALUES, "test"].map(|zone| (zone.to_owned(), vec![cloud.dns()]));
        let resolvers = (0..3)
            .map(|number| internet.doh(number, stubs.to_vec()))
            .collect::<Option<Vec<_>>>()?;
        internet.firewall(firewall);
        Some(Self {
            cloud,
            ca,
            resolvers,
            home: TempDir::new().unwrap(),
            internet,
        })
    }

    fn command(&self, args: &[&str]) -> Dnseal {
        let root = self.ca.ca_pem_path();
        let mut command = self
            .internet
            .dnseal_through_proxy(self.home.path())
            .args(args)
            .args([
                "--provider",
                self.cloud.kind(),
                "--agree-tos",
                "--output",
                "json",
                "-v",
            ])
            .args(["--ca", &self.ca.directory_url()])
            .args([
                Path::new("--ca-root"),
                &root,
                Path::new("--ca-root"),
                &self.internet.root_path(),
            ])
            .args(["--dir", "state", "--log-file", "log"]);
        for (name, value) in self.cloud.env(0) {
            command = command.env(name, value);
        }
        command
    }

    fn issue(&self, names: &[&str], more: &[&str]) -> Run {
        let args = [&["issue"], names, more].concat();
        self.command(&args).run()
    }

    fn doctor(&self, name: &str, more: &[&str]) -> Run {
        self.command(&[&["doctor", name], more].concat()).run()
    }

    /// The same, told of all resolvers.
    fn issue_over_https(&self, names: &[&str], more: &[&str]) -> Run {
        let doh = self.doh();
        self.issue(names, &[&strings(&doh)[..], more].concat())
    }

    /// `dnseal dns …` that is told of all resolvers.
    fn dns_over_https(&self, args: &[&str]) -> Run {
        let mut command = self
            .internet
            .dnseal_through_proxy(self.home.path())
            .arg("dns")
            .args(args)
            .args(self.doh())
            .args(["--propagation", "doh", "--output", "json"])
            .args([Path::new("--ca-root"), &self.internet.root_path()]);
        for (name, value) in self.cloud.env(0) {
            command = command.env(name, value);
        }
        command.env("DNSEAL_PROVIDER", self.cloud.kind()).run()
    }

    fn doh(&self) -> Vec<String> {
        let urls = (0..self.resolvers.len()).map(|number| self.internet.doh_url(number));
        urls.flat_map(|url| ["--doh".to_owned(), url]).collect()
    }

    /// How often each resolver was asked about an owner name.
    fn asked(&self, owner: &str) -> Vec<usize> {
        let owner = format!("{owner}.");
        let count = |resolver: &Unbound| {
            let queries = resolver.queries().into_iter();
            queries.filter(|(name, _)| *name == owner).count()
        };
        self.resolvers.iter().map(count).collect()
    }
}

/// What the run says it was proven by.
fn rungs(document: &Value) -> Vec<String> {
    let proven = document["stats"]["proven"].as_object().unwrap();
    let mut rungs: Vec<String> = proven
        .values()
        .map(|rung| rung.as_str().unwrap().to_owned())
        .collect();
    rungs.dedup();
    rungs
}

/// Whether a doctor has found this.
fn says(examined: &Value, check: &str, severity: &str, words: &str) -> bool {
    let findings = examined["findings"].as_array().unwrap();
    findings.iter().any(|finding| {
        finding["check"] == check
            && finding["severity"] == severity
            && finding["message"].as_str().unwrap().contains(words)
    })
}

fn locating(document: &Value) -> Duration {
    Duration::from_millis(
        document["stats"]["milliseconds"]["locate"]
            .as_u64()
            .unwrap(),
    )
}

fn strings(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

const NAMES: [&str; 2] = ["example.test", "*.example.test"];
const OWNER: &str = "_acme-challenge.example.test";

#[test]
fn port_53_dropped_cloudflare_over_https() {
    let Some(behind) = Behind::start(Cloud::cloudflare_at, Firewall::ProxyOnly(Cure::Drop)) else {
        return;
    };
    let run = behind.issue_over_https(&NAMES, &[]).success();
    let document = run.json();
    assert_eq!(rungs(&document), ["doh"]);
    let lost = locating(&document);
    println!(
        "port 53 dropped: places after {lost:?}, all after {:?}",
        run.elapsed
    );
    assert!(lost < Duration::from_secs(4), "{lost:?}\n{}", run.stderr);
    assert!(
        run.stderr
            .contains("no name server below test has answered on port 53"),
        "{}",
        run.stderr
    );

    // One resolver was asked before there was a value; the others, which have not heard of the name before, have proven it.
    let first = |resolver: &Unbound| {
        let mut queries = resolver.queries().into_iter();
        let about = queries.find(|(name, _)| *name == format!("{OWNER}."));
        about.map(|(_, rtype)| rtype)
    };
    let first: Vec<Option<String>> = behind.resolvers.iter().map(first).collect();
    let [cname, txt] = ["CNAME", "TXT"].map(|rtype| Some(rtype.to_owned()));
    assert_eq!(first, [cname, txt.clone(), txt]);
    // Nothing of it is left, and everything went through the proxy.
    let left = behind.cloud.contents();
    assert!(!left.iter().any(|line| line.contains(OWNER)), "{left:?}");
    let through = behind.internet.proxy().requests();
    assert!(
        through.iter().any(|target| target == "192.0.2.31:443"),
        "{through:?}"
    );
}

/// What resolvers are asked instead of servers, also without a value to look for and for an alias; and who hears that there is none
/// is one of them.
#[test]
fn dns_commands_ask_resolvers_instead() {
    let Some(behind) = Behind::start(Cloud::cloudflare_at, Firewall::ProxyOnly(Cure::Reject))
    else {
        return;
    };
    let target = format!("here.{}", Cloud::VALUES);
    let delegated = "_acme-challenge.delegated.example.test".to_owned();
    behind
        .cloud
        .delegate(std::slice::from_ref(&delegated), &target);
    let run = behind.dns_over_https(&["delegate", "delegated.example.test", &target]);
    assert_eq!(run.json()["set"], true, "{run:?}");
    let servers = run.json()["servers"].as_array().unwrap().len();
    assert_eq!((run.code(), servers), (0, 3), "{run:?}");

    let run = behind.dns_over_https(&["delegate", "example.test", &target]);
    assert_eq!(run.json()["set"], false, "{run:?}");
    assert_eq!(run.code(), 5, "{run:?}");
    let asked = behind.asked(OWNER);
    assert_eq!(asked.iter().filter(|&&n| n > 0).count(), 1, "{asked:?}");

    behind.cloud.put(Cloud::VALUES, &target, &["value"]);
    let run = behind.dns_over_https(&["check", &delegated]).success();
    for server in run.json()["servers"].as_array().unwrap() {
        assert_eq!(server["values"][0], "value", "{run:?}");
    }
}

#[test]
fn renew_and_doctor_trust_whom_issue_trusts() {
    let Some(behind) = Behind::start(Cloud::cloudflare_at, Firewall::ProxyOnly(Cure::Reject))
    else {
        return;
    };
    let doh = behind.doh();
    let _issued = behind.issue_over_https(&NAMES, &[]).success();
    // The doctor goes by the same evidence, of a name that resolvers were just asked about (by it, too) and of one
    // that they were not.
    for name in ["example.test", "example.test", "examined.example.test"] {
        let examined = behind.doctor(name, &strings(&doh)).success().json();
        for (check, severity, words) in [
            ("probe", "ok", "proven by resolvers over HTTPS or TLS"),
            (
                "servers",
                "warning",
                "no name server can be asked from here",
            ),
            ("dnssec", "ok", "not signed"),
        ] {
            assert!(says(&examined, check, severity, words), "{examined:#}");
        }
        println!("examining {name} took {} ms", examined["elapsed_ms"]);
    }

    // Roots and resolvers are what `issue` was told, and nobody says them again. Another name, because resolvers remember this one.
    let names = "certificates: { example.test: { names: [renewed.example.test] } }\n";
    std::fs::write(behind.home.path().join("dnseal.yaml"), names).unwrap();
    let mut renew = behind
        .internet
        .dnseal_through_proxy(behind.home.path())
        .args(["renew", "--config", "dnseal.yaml"])
        .args(["--dir", "state", "--output", "json"]);
    for (name, value) in behind.cloud.env(0) {
        renew = renew.env(name, value);
    }
    let renewed = renew.run().success().json();
    assert_eq!(rungs(&renewed), ["doh"], "{renewed:#}");
    assert_eq!(renewed["certificates"][0]["version"], 2, "{renewed:#}");
}

#[test]
fn port_53_rejected_cloudflare_over_https() {
    let Some(behind) = Behind::start(Cloud::cloudflare_at, Firewall::ProxyOnly(Cure::Reject))
    else {
        return;
    };
    let run = behind.issue_over_https(&NAMES, &[]).success();
    let document = run.json();
    assert_eq!(rungs(&document), ["doh"]);
    let lost = locating(&document);
    println!(
        "port 53 rejected: places after {lost:?}, all after {:?}",
        run.elapsed
    );
    assert!(lost < Duration::from_secs(1), "{lost:?}\n{}", run.stderr);
}

#[test]
fn port_53_dropped_route_53_by_word_and_over_https() {
    let Some(behind) = Behind::start(Cloud::route53_at, Firewall::ProxyOnly(Cure::Drop)) else {
        return;
    };
    // The provider says INSYNC, and that is better than what a resolver may remember.
    let run = behind.issue_over_https(&NAMES, &[]).success();
    let document = run.json();
    assert_eq!(rungs(&document), ["provider"]);
    let lost = locating(&document);
    assert!(lost < Duration::from_secs(4), "{lost:?}\n{}", run.stderr);
    assert_eq!(behind.asked(OWNER)[1..], [0, 0]);

    // Resolvers can be asked for instead.
    let run = behind
        .issue_over_https(&["a.example.test"], &["--propagation", "doh"])
        .success();
    assert_eq!(rungs(&run.json()), ["doh"]);

    // And there need not be any.
    let run = behind
        .issue(&["b.example.test"], &["--doh", "none"])
        .success();
    let document = run.json();
    assert_eq!(rungs(&document), ["provider"]);
    let lost = locating(&document);
    println!(
        "the provider alone: places after {lost:?}, all after {:?}",
        run.elapsed
    );
    assert!(lost < Duration::from_secs(4), "{lost:?}");
    assert!(
        run.stderr
            .contains("a delegation of challenge names would go unnoticed"),
        "{}",
        run.stderr
    );
    assert_eq!(behind.asked("_acme-challenge.b.example.test"), [0, 0, 0]);

    let examined = behind.doctor("c.example.test", &["--doh", "none"]);
    let examined = examined.success().json();
    assert!(
        says(&examined, "probe", "ok", "proven by the provider's word"),
        "{examined:#}"
    );
}

/// Over TLS, and over HTTPS by GET. TLS on port 853 goes directly, so here only port 53 is closed.
#[test]
fn port_53_dropped_over_tls_and_by_get() {
    let Some(behind) = Behind::start(Cloud::cloudflare_at, Firewall::NoDns(Cure::Drop)) else {
        return;
    };
    let tls = |number: usize| {
        let url = behind.internet.doh_url(number);
        let host = url
            .strip_prefix("https://")
            .and_then(|u| u.strip_suffix("/dns-query"));
        format!("tls://{}", host.unwrap())
    };
    let get = |number: usize| format!("{}{{?dns}}", behind.internet.doh_url(number));
    let ways: [(&str, Vec<String>); 2] = [
        ("tls", (0..3).map(tls).collect()),
        ("https", (0..3).map(get).collect()),
    ];
    for (transport, resolvers) in ways {
        let name = format!("{transport}.example.test");
        let doh: Vec<&str> = resolvers.iter().flat_map(|url| ["--doh", url]).collect();
        let run = behind.issue(&[&name], &doh).success();
        assert_eq!(rungs(&run.json()), ["doh"]);
        let log = std::fs::read_to_string(behind.home.path().join("log")).unwrap();
        for resolver in &resolvers {
            assert!(log.contains(resolver.as_str()), "{resolver}\n{log}");
        }
        let asked = behind.asked(&format!("_acme-challenge.{name}"));
        assert!(asked.iter().all(|&times| times > 0), "{asked:?}");
    }
}

/// No resolver, no word: what is left is a wait, and that is said.
#[test]
fn nobody_can_be_asked() {
    let Some(behind) = Behind::start(Cloud::cloudflare_at, Firewall::ProxyOnly(Cure::Reject))
    else {
        return;
    };
    let run = behind
        .issue(&NAMES, &["--doh", "none", "--fallback-wait", "3s"])
        .success();
    assert_eq!(rungs(&run.json()), ["wait"]);
    assert!(run.stderr.contains("waits 3s instead"), "{}", run.stderr);
    let run = behind.issue(
        &["c.example.test"],
        &["--doh", "none", "--propagation", "authoritative"],
    );
    let run = run.expect_code(4);
    assert!(
        run.stdout.contains("port 53 seems to be closed")
            || run.stdout.contains("no recursive resolver answered"),
        "{}",
        run.stdout
    );

    // The doctor says so, and does not wait for the sake of waiting.
    let none = ["--doh", "none"];
    let examined = behind.doctor("d.example.test", &none).success();
    println!("{}", examined.stdout);
    assert!(
        says(&examined.json(), "probe", "warning", "an order waits 60 s"),
        "{}",
        examined.stdout
    );
    let alone = [&none[..], &["--propagation", "authoritative"]].concat();
    let examined = behind.doctor("e.example.test", &alone);
    assert_ne!(examined.code(), 0);
    assert_eq!(examined.json()["would_work"], false, "{}", examined.stdout);
}
