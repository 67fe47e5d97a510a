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
    fn start(cloud: fn(std::net::IpAddr) -> Cloud) -> Option<Self> {
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

    fn doh(&self, count: usize) -> Vec<String> {
        (0..count)
            .flat_map(|number| ["--doh".to_owned(), self.internet.doh_url(number)])
            .collect()
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
    let Some(behind) = Behind::start(Cloud::cloudflare_at) else {
        return;
    };
    behind.internet.firewall(Firewall::ProxyOnly(Cure::Drop));
    let doh = behind.doh(3);
    let run = behind.issue(&NAMES, &strings(&doh)).success();
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

#[test]
fn renew_and_doctor_trust_whom_issue_trusts() {
    let Some(behind) = Behind::start(Cloud::cloudflare_at) else {
        return;
    };
    behind.internet.firewall(Firewall::ProxyOnly(Cure::Reject));
    let doh = behind.doh(3);
    let _issued = behind.issue(&NAMES, &strings(&doh)).success();
    // The doctor goes by the same evidence, of a name that resolvers were just asked about and of one that they were not.
    for name in ["example.test", "examined.example.test"] {
        let examine = [&["doctor", name], &strings(&doh)[..]].concat();
        let examined = behind.command(&examine).run().success().json();
        assert_eq!(examined["would_work"], true, "{examined:#}");
        let says = |check: &str, severity: &str, words: &str| {
            let findings = examined["findings"].as_array().unwrap();
            findings.iter().any(|f| {
                f["check"] == check
                    && f["severity"] == severity
                    && f["message"].as_str().unwrap().contains(words)
            })
        };
        assert!(
            says("probe", "ok", "proven by resolvers over HTTPS or TLS"),
            "{examined:#}"
        );
        assert!(
            says(
                "servers",
                "warning",
                "no name server can be asked from here"
            ),
            "{examined:#}"
        );
        assert!(says("dnssec", "ok", "not signed"), "{examined:#}");
        // A second one in the same minute meets what resolvers remember of the first.
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
    let Some(behind) = Behind::start(Cloud::cloudflare_at) else {
        return;
    };
    behind.internet.firewall(Firewall::ProxyOnly(Cure::Reject));
    let doh = behind.doh(3);
    let run = behind.issue(&NAMES, &strings(&doh)).success();
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
    let Some(behind) = Behind::start(Cloud::route53_at) else {
        return;
    };
    behind.internet.firewall(Firewall::ProxyOnly(Cure::Drop));
    let doh = behind.doh(3);

    // The provider says INSYNC, and that is better than what a resolver may remember.
    let run = behind.issue(&NAMES, &strings(&doh)).success();
    assert_eq!(rungs(&run.json()), ["provider"]);
    assert_eq!(behind.asked(OWNER)[1..], [0, 0]);

    // Resolvers can be asked for instead.
    let forced = [strings(&doh), vec!["--propagation", "doh"]].concat();
    let run = behind.issue(&["a.example.test"], &forced).success();
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
}

/// No resolver, no word: what is left is a wait, and that is said.
#[test]
fn nobody_can_be_asked() {
    let Some(behind) = Behind::start(Cloud::cloudflare_at) else {
        return;
    };
    behind.internet.firewall(Firewall::ProxyOnly(Cure::Reject));
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
}
