//! What is said of single zones: resolvers inside, resolvers that have to agree, another proof; and a family that is closed.

use std::fs;
use std::thread;
use std::time::Duration;

use dnseal_sandbox::ca::Ca;
use dnseal_sandbox::dns::{Record, Zone};
use dnseal_tests::{Firewall, Internet, Run, Unbound, txt_values};

use crate::open::Open;

/// Where the client of [`Internet`] asks from.
const CLIENT: &str = "query: 10.77.0.2 ";

fn asked_by_client(resolver: &Unbound, about: &str) -> Vec<String> {
    use dnseal_tests::NameServer;
    let log = resolver.process().log();
    let lines = log.lines().filter(|line| line.contains(CLIENT));
    lines
        .filter(|line| line.contains(about))
        .map(str::to_owned)
        .collect()
}

fn proven<'a>(document: &'a serde_json::Value, owner: &str) -> &'a str {
    document["stats"]["proven"][owner].as_str().unwrap_or("-")
}

/// A zone that nobody outside knows is found through the resolver inside, and that one outside never hears of it.
#[test]
fn a_zone_with_resolvers_of_its_own() {
    let Some(open) = Open::start(Zone::new(Internet::ZONE)) else {
        return;
    };
    let inner = Zone::new("inner.test")
        .ns("ns1.inner.test")
        .a("ns1.inner.test", [192, 0, 2, 11].into());
    open.servers.all[0].zone_insert(inner).unwrap();
    // The resolver of the CA is the one inside here; the client's own knows what everybody knows.
    let outer = vec![open.servers.stubs()[0].clone()];
    let Some(outer) = open.internet.doh(1, outer) else {
        return;
    };
    open.internet
        .client()
        .resolv_conf("nameserver 192.0.2.32\noptions timeout:1 attempts:1\n");
    open.configure("  inner.test: { provider: ours, propagation: { resolvers: [192.0.2.99], mode: authoritative } }\n");
    let names = ["a.inner.test", "a.example.test"];
    let document = open.issue(&names, &[]).success().json();
    for name in names {
        let owner = format!("_acme-challenge.{name}");
        assert_eq!(proven(&document, &owner), "authoritative", "{document:#}");
    }
    assert_eq!(asked_by_client(&outer, "inner.test"), [""; 0]);
    assert!(!asked_by_client(&outer, "test. NS").is_empty());
    assert!(!asked_by_client(&open.resolver, "inner.test. NS").is_empty());
    // It was asked where the zone is, and not for the challenge.
    assert_eq!(asked_by_client(&open.resolver, "_acme"), [""; 0]);
}

/// The CA's resolver remembers that there is nothing; the order waits until it shows the value.
#[test]
fn resolvers_that_have_to_agree_are_waited_for() {
    let Some(open) = Open::start(Zone::new(Internet::ZONE).minimum(5)) else {
        return;
    };
    open.configure_zone("recursive-too: true, resolvers: [192.0.2.99]");
    let owner = "_acme-challenge.agreed.example.test";
    let ask = || {
        use dnseal_tests::NameServer;
        let resolver = open.resolver.addr();
        open.internet
            .client()
            .within(|| txt_values(resolver, owner))
    };
    assert_eq!(ask(), [""; 0]);
    let run = open.issue(&["agreed.example.test"], &[]).success();
    assert_eq!(proven(&run.json(), owner), "authoritative");
    // Once by the test, and until the value came.
    let asked = asked_by_client(&open.resolver, owner).len();
    assert!(asked > 2, "{asked}\n{}", run.stderr);
    assert_eq!(open.ca.count("POST", "/order-plz"), 1);
}

/// What is said of one zone steers how it is found: port 53 is left alone there, and asked elsewhere.
#[test]
fn a_zone_that_is_found_over_https() {
    let Some(open) = Open::start(Zone::new(Internet::ZONE)) else {
        return;
    };
    let resolvers: Option<Vec<Unbound>> = (0..2)
        .map(|number| open.internet.doh(number, open.servers.stubs()))
        .collect();
    let Some(resolvers) = resolvers else { return };
    let doh: Vec<String> = (0..2).map(|n| open.internet.doh_url(n)).collect();
    open.configure_zone(&format!(
        "mode: doh, first-look: 1s, doh: ['{}']",
        doh.join("', '")
    ));
    let root = open.internet.root_path();
    let root = root.to_str().unwrap();
    let run = open.issue(&["a.example.test"], &["--ca-root", root]);
    let document = run.success().json();
    assert_eq!(proven(&document, "_acme-challenge.a.example.test"), "doh");
    assert!(resolvers.iter().all(|it| !it.queries().is_empty()));
    // Neither the zone's servers nor the plain resolver have heard of it from us.
    assert_eq!(asked_by_client(&open.resolver, "example.test"), [""; 0]);
}

/// IPv6 is swallowed: that is noticed once, and later certificates do not wait for it again.
#[test]
fn a_closed_family_is_remembered() {
    let Some(open) = Open::start(Zone::new(Internet::ZONE)) else {
        return;
    };
    open.internet.firewall(Firewall::NoIpv6);
    open.configure("certificates:\n  first: { names: [a.example.test] }\n  second: { names: [b.example.test] }\n");
    let run = open.issue(&[], &["--concurrency", "1", "--log-file", "log"]);
    let run = run.success();
    let log = fs::read_to_string(open.home.path().join("log")).unwrap();
    let swallowed = |about: &str| {
        log.lines()
            .filter(|line| line.contains("[2001:db8::") && line.contains(about))
            .filter(|line| line.contains("time-out"))
            .count()
    };
    let (first, second) = (
        swallowed("_acme-challenge.a."),
        swallowed("_acme-challenge.b."),
    );
    assert!(
        first > 0 && second == 0,
        "{first} {second}\n{log}\n{}",
        run.stderr
    );
}

/// Records of servers that the zone is delegated to are what the CA sees, too: nothing but a refusal can come of an order.
#[test]
fn caa_that_certainly_forbids_stops_issue_and_renewal() {
    let Some(open) = Open::start(Zone::new(Internet::ZONE)) else {
        return;
    };
    let ca = Ca::builder()
        .listen(([192, 0, 2, 20], 14443).into())
        .dns(dnseal_tests::NameServer::addr(&open.resolver));
    let ca = open.internet.block_on(ca.start()).unwrap();
    fs::write(open.home.path().join("ca.pem"), ca.tls_root_pem()).unwrap();
    let at_ca = |command: &[&str]| -> Run {
        let directory = ca.directory_url();
        let common = ["--config", "dnseal.yaml", "--dir", "state"];
        let ordering: &[&str] = match command[0] {
            "renew" => &[],
            _ => &["--agree-tos", "--ca", &directory, "--ca-root", "ca.pem"],
        };
        let args = [command, &common, ordering].concat();
        open.internet.dnseal(open.home.path()).args(args).run()
    };
    at_ca(&["issue", "a.example.test"]).success();
    assert_eq!(ca.orders().len(), 1);

    let forbids = Record::caa(Internet::ZONE, 1, "issue", "other.example");
    open.servers.all[0].zone_add(forbids.clone()).unwrap();
    let taken_over = |server: &dnseal_sandbox::dns::DnsServer| {
        let serial = |server: &dnseal_sandbox::dns::DnsServer| server.serial(Internet::ZONE);
        serial(server) == serial(&open.servers.all[0])
    };
    while !open.servers.all.iter().all(taken_over) {
        thread::sleep(Duration::from_millis(20));
    }
    for command in [
        ["issue", "b.example.test"].as_slice(),
        ["renew", "--force"].as_slice(),
    ] {
        let run = at_ca(command).expect_code(6);
        assert!(
            run.stderr.contains("must not issue for") && run.stderr.contains("other.example"),
            "{}",
            run.stderr
        );
        assert_eq!(ca.orders().len(), 1, "{command:?}");
    }
    // Who has been told otherwise goes on, and hears it from the CA if it minds.
    let warned = at_ca(&["renew", "--force", "--caa", "warn"]);
    assert!(warned.stderr.contains("warning: "), "{}", warned.stderr);
    assert_eq!(ca.orders().len(), 2);
    let silent = at_ca(&["renew", "--force", "--caa", "off"]);
    assert!(
        !silent.stderr.contains("by the CAA records"),
        "{}",
        silent.stderr
    );
    assert_eq!(ca.orders().len(), 3);
}
