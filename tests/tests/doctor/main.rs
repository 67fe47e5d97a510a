//! `dnseal doctor` before real peers: each thing that it has to find, and a healthy set-up in which it finds nothing.

#![expect(clippy::unwrap_used, reason = "tests")]

mod delegation;
mod primaries;
mod proxies;
mod world;

use std::fs;
use std::process::Command;

use dnseal_sandbox::ca::{self, Answer, ErrorKind, Resource};
use dnseal_sandbox::dns::{self as sandbox, DnsServer, Fault};
use dnseal_tests::{
    Bind, BindOptions, Knot, KnotOptions, NameServer, Peer, TsigKey, Unbound, UnboundOptions,
    ZoneSpec, free_addr, nsupdate, require, txt_values,
};
use hickory_proto::rr::RecordType;
use tempfile::TempDir;

use crate::world::{Examined, IDENTITY, OWNER, World, ZONE, world};

const PROBE: &str = "_dnseal-probe._acme-challenge.example.test";

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_set_up_would_work() {
    let Some((bind, world)) = world(&[&format!("@ CAA 0 issue \"{IDENTITY}\"")]).await else {
        return;
    };
    bind.add_txt(&world.key, ZONE, OWNER, "foreign");
    let found = world.doctor("example.test *.example.test").ends(0);
    let took = found.json["elapsed_ms"].as_u64().unwrap();
    assert!(took < 5000, "a healthy set-up took {took} ms");
    for check in [
        "store",
        "ca",
        "clock",
        "account",
        "delegation",
        "routing",
        "provider",
        "servers",
        "caa",
        "values",
        "leftovers",
        "probe",
    ] {
        assert!(
            !found.findings(check, "ok").is_empty(),
            "{check}: {:#}",
            found.json
        );
    }
    assert_eq!(found.failures(), [""; 0]);
    assert!(found.findings("provider", "ok")[0]["elapsed_ms"].is_u64());
    // Both names, one owner, one value: added once and removed once, and nobody else's was touched.
    assert_eq!(bind.updates(ZONE), 1 + 2);
    assert_eq!(txt_values(bind.addr(), PROBE), [""; 0]);
    assert_eq!(txt_values(bind.addr(), OWNER), ["foreign"]);
    assert!(!world.dir().join("store/certificates/example.test").exists());
    // Nothing was ordered and nobody registered.
    assert_eq!((world.orders(), world.ca.accounts().len()), (0, 0));

    let text = world.command("doctor example.test").run().success();
    assert!(
        text.stdout.contains("issuing would work ("),
        "{}",
        text.stdout
    );
    let read_only = world
        .command("doctor example.test --read-only --output json")
        .run();
    assert!(Examined::of(read_only).findings("probe", "ok").is_empty());
    assert_eq!(bind.updates(ZONE), 1 + 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn caa_that_forbids_is_found_and_stops_an_order() {
    let Some((_bind, world)) = world(&[
        "@ CAA 0 issue \"other.example\"",
        &format!("@ CAA 0 issuewild \"{IDENTITY}\""),
    ])
    .await
    else {
        return;
    };
    let found = world.doctor("example.test *.example.test").ends(6);
    let caa = found.the("caa", "failure");
    assert!(
        caa.starts_with(
            "example.test: by the CAA records of example.test, only other.example may issue"
        ),
        "{caa}"
    );
    assert!(
        caa.contains(&format!("add `example.test. CAA 0 issue \"{IDENTITY}\"`")),
        "{caa}"
    );
    assert_eq!(found.failures(), ["caa"]);

    let stopped = world
        .command("issue example.test --caa enforce")
        .run()
        .expect_code(6);
    assert!(
        stopped.stderr.contains("must not issue for example.test"),
        "{}",
        stopped.stderr
    );
    assert_eq!(world.orders(), 0);
    // Servers that were given by hand may show something else than the CA sees: said, and not stopped.
    let warned = world.command("issue example.test").run().success();
    assert!(
        warned.stderr.contains("warning: ") && warned.stderr.contains("other.example"),
        "{}",
        warned.stderr
    );
    let silent = world
        .command("issue example.test --force --caa off")
        .run()
        .success();
    assert!(
        !silent.stderr.contains("other.example"),
        "{}",
        silent.stderr
    );
}

/// An `issuewild` that stands alone would take the wildcards from the CA that has them by `issue`.
#[tokio::test(flavor = "multi_thread")]
async fn the_advice_for_a_wildcard_takes_it_from_nobody() {
    let Some((_bind, world)) = world(&["@ CAA 0 issue \"other.example\""]).await else {
        return;
    };
    let caa = world.doctor("*.example.test").ends(6).the("caa", "failure");
    assert!(
        caa.contains(&format!("add `example.test. CAA 0 issue \"{IDENTITY}\"`")),
        "{caa}"
    );
}

/// A warning where the servers were given by hand: the CA asks others.
#[tokio::test(flavor = "multi_thread")]
async fn caa_that_cannot_be_read_is_found() {
    let key = TsigKey::random("acme-key");
    let signer = format!("{}:{}:{}", key.algorithm, key.name, key.secret_base64);
    let server = DnsServer::builder()
        .zone(sandbox::Zone::new(ZONE).ns("ns1.example.test"))
        .key(signer.parse().unwrap())
        .start()
        .await
        .unwrap();
    let world = World::over(vec![server.addr()], &key).await;
    world.doctor("www.example.test").ends(0);
    server.inject(Fault::servfail().qtype(RecordType::CAA));
    let found = world.doctor("www.example.test --read-only").ends(0);
    let caa = found.the("caa", "warning");
    assert!(
        caa.contains("cannot be read") && caa.contains("must refuse www.example.test"),
        "{caa}"
    );
}

/// Some CAs refuse to look an account up and take orders all the same; one that does not answer takes none.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_cannot_be_looked_up_is_found() {
    let Some((_bind, world)) = world(&[]).await else {
        return;
    };
    world.command("issue example.test").run().success();
    let faults = world.ca.faults();
    let refusal = Answer::problem(400, ErrorKind::Malformed, "no lookup here");
    for (fault, severity, code) in [
        (ca::Fault::from(refusal), "warning", 0),
        (ca::Fault::DropBefore, "failure", 6),
    ] {
        faults.always(Resource::NewAccount, fault);
        let found = world.doctor("example.test --read-only").ends(code);
        let said = found.the("account", severity);
        assert!(said.contains("newAccount"), "{said}");
        faults.clear();
    }
}

/// Nothing is ordered, and nothing is written.
#[tokio::test(flavor = "multi_thread")]
async fn a_word_that_the_provider_never_gives_is_no_proof() {
    let Some((bind, world)) = world(&[]).await else {
        return;
    };
    let run = world
        .command("doctor example.test --propagation provider --output json")
        .run();
    let routing = Examined::of(run).ends(2).the("routing", "failure");
    assert!(
        routing.contains("never says so") && routing.contains("choose another proof"),
        "{routing}"
    );
    let run = world
        .command("issue example.test --propagation provider")
        .run()
        .expect_code(2);
    assert!(run.stderr.contains("never says so"), "{}", run.stderr);
    assert_eq!((world.orders(), bind.updates(ZONE)), (0, 0));
    // The values themselves can be written by hand.
    let set = format!("dns set {OWNER} value --propagation provider");
    world.command(&set).run().success();
}

#[tokio::test(flavor = "multi_thread")]
async fn caa_for_another_account_is_found() {
    let Some((bind, world)) = world(&[]).await else {
        return;
    };
    world.command("issue example.test").run().success();
    let account = world.ca.accounts()[0].url.clone();
    let set = |uri: &str| {
        let lines = [
            "update delete example.test. CAA".to_owned(),
            format!("update add example.test. 1 CAA 0 issue \"{IDENTITY}; accounturi={uri}\""),
        ];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        nsupdate(bind.addr(), &world.key, ZONE, &lines).unwrap();
    };
    let other = format!("{account}-of-somebody-else");
    set(&other);
    let caa = world.doctor("example.test").ends(6).the("caa", "failure");
    assert!(
        caa.contains(&format!(
            "only the account {other} may issue, and ours is {account}"
        )),
        "{caa}"
    );
    assert!(caa.contains(&format!("accounturi={account}\"`")), "{caa}");
    let stopped = world
        .command("issue www.example.test --caa enforce")
        .run()
        .expect_code(6);
    assert!(stopped.stderr.contains(&other), "{}", stopped.stderr);

    set(&account);
    world.doctor("example.test").ends(0);
}

/// A signed zone whose signatures are over since 2020, behind a resolver that knows its key.
#[tokio::test(flavor = "multi_thread")]
async fn a_bogus_zone_is_found() {
    let Some(signed) = Signed::new() else { return };
    for (until, wanted) in [("20200201000000", "failure"), ("20400101000000", "ok")] {
        let zone = ZoneSpec {
            text: Some(signed.zone(until)),
            ..ZoneSpec::new(ZONE)
        };
        let key = TsigKey::random("acme-key");
        let Some(bind) = Bind::start(BindOptions::new([zone], [key.clone()])) else {
            return;
        };
        let mut options = UnboundOptions::new([(ZONE, bind.addr())]);
        options.trust_anchors = vec![signed.anchor.clone()];
        let Some(unbound) = Unbound::start(options) else {
            return;
        };
        let world = World::over(vec![bind.addr()], &key).await;
        let run = world
            .command("doctor www.example.test --read-only --output json")
            .env("DNSEAL_RESOLVER", unbound.addr().to_string())
            .run();
        let found = Examined::of(run).ends(if wanted == "ok" { 0 } else { 6 });
        let dnssec = found.the("dnssec", wanted);
        match wanted {
            "ok" => assert!(dnssec.contains("signed, and validated by"), "{dnssec}"),
            _ => assert!(
                dnssec.contains("the zone is bogus") && dnssec.contains("SERVFAIL"),
                "{dnssec}"
            ),
        }
        // The resolver was shown the apex and a name of ours, never the name of a challenge or of a host.
        for (name, _) in unbound.queries() {
            assert!(
                name == "example.test." || name.starts_with("_dnseal-") || name == "localhost.",
                "{name}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_rights_is_found() {
    let key = TsigKey::random("acme-key");
    // It is known, and may change somebody else's names.
    let zone = ZoneSpec {
        bind_policy: Some("grant acme-key name other.example.test. TXT;".to_owned()),
        ..ZoneSpec::new(ZONE)
    };
    let Some(bind) = Bind::start(BindOptions::new([zone], [key.clone()])) else {
        return;
    };
    let world = World::over(vec![bind.addr()], &key).await;
    let found = world.doctor("example.test").ends(4);
    let provider = found.the("provider", "failure");
    assert!(
        provider.contains("may not change TXT at") && provider.contains("grant acme-key"),
        "{provider}"
    );
    assert_eq!(found.failures(), ["provider"]);
    // Nothing of it is left to be swept.
    assert!(!world.dir().join("store/certificates/example.test").exists());
}

/// The policy allows the owner and nothing else: the probe goes there, beside what is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_for_the_owner_alone_is_enough() {
    let key = TsigKey::random("acme-key");
    let zone = ZoneSpec {
        bind_policy: Some(format!("grant acme-key name {OWNER}. TXT;")),
        ..ZoneSpec::new(ZONE).record("_acme-challenge TXT foreign")
    };
    let Some(bind) = Bind::start(BindOptions::new([zone], [key.clone()])) else {
        return;
    };
    let world = World::over(vec![bind.addr()], &key).await;
    let provider = world.doctor("example.test").ends(0).the("provider", "ok");
    assert!(
        provider.starts_with(OWNER) && provider.contains("the name below it was refused"),
        "{provider}"
    );
    assert_eq!(txt_values(bind.addr(), OWNER), ["foreign"]);
    assert!(!world.dir().join("store/certificates/example.test").exists());
}

/// Knot, because BIND's allocator does not get along with faketime.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_server_whose_clock_is_wrong_is_found() {
    let key = TsigKey::random("acme-key");
    let mut options = KnotOptions::new([ZoneSpec::new(ZONE).updated_by(&key)], [key.clone()]);
    options.clock_off_by = -600;
    let Some(knot) = Knot::start(options) else {
        return;
    };
    let world = World::over(vec![knot.addr()], &key).await;
    let found = world.doctor("example.test").ends(4);
    let clock = found.the("clock", "failure");
    assert!(
        clock.contains("s behind this machine's") && clock.contains("BADTIME"),
        "{clock}"
    );
    let seconds: Vec<u64> = clock
        .split(' ')
        .filter_map(|word| word.parse().ok())
        .collect();
    assert!(seconds.iter().any(|s| (595..=610).contains(s)), "{clock}");
    assert!(clock.contains("NTP"), "{clock}");
}

/// Seen from the other side: it is this machine that is wrong, and the CA's HTTP date says so, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_clock_of_our_own_is_found() {
    if require(Peer::Faketime).is_none() {
        return;
    }
    let Some((_bind, world)) = world(&[]).await else {
        return;
    };
    let run = world
        .command("doctor example.test --output json")
        .faketime("-600s")
        .run();
    let found = Examined::of(run).ends(4);
    assert!(found.the("clock", "failure").contains("BADTIME"));
    let date = found.the("clock", "warning");
    assert!(date.contains("s behind that of"), "{date}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secondary_that_lags_is_found() {
    let key = TsigKey::random("acme-key");
    let options = BindOptions::new([ZoneSpec::new(ZONE).updated_by(&key)], [key.clone()]);
    let Some(primary) = Bind::start(options.clone()) else {
        return;
    };
    // Nobody notifies it, and it looks once an hour.
    let Some(secondary) = Bind::start(options.secondary(primary.addr(), 3600)) else {
        return;
    };
    let world = World::over(vec![primary.addr(), secondary.addr()], &key).await;
    let found = world.doctor("example.test").ends(5);
    let late = found.the("probe", "failure");
    assert!(
        late.contains(&secondary.addr().to_string()) && !late.contains(&primary.addr().to_string()),
        "{late}"
    );
    // One of two is enough for who says so.
    let run = world
        .command("doctor example.test --output json --quorum any")
        .run();
    let _ = Examined::of(run).ends(0);
    // By now the primary is ahead for good, and that is seen without writing anything.
    let run = world
        .command("doctor example.test --read-only --output json")
        .run();
    let serials = Examined::of(run).ends(0).the("servers", "warning");
    assert!(
        serials.contains("different versions")
            && serials.contains(&format!("{} at 1", secondary.addr())),
        "{serials}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_values_that_were_left_are_found() {
    let values: Vec<String> = (0..30)
        .map(|n| format!("_acme-challenge TXT {:0>43}", n))
        .collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let Some((_bind, world)) = world(&values).await else {
        return;
    };
    let found = world.doctor("example.test").ends(0);
    let values = found.the("values", "warning");
    assert!(
        values.contains("30 values stand there") && values.contains("dnseal dns unset"),
        "{values}"
    );
}

/// The value was in the head before it was in DNS.
#[tokio::test(flavor = "multi_thread")]
async fn a_doctor_that_is_killed_leaves_its_value_to_the_sweep() {
    let Some((bind, world)) = world(&[]).await else {
        return;
    };
    let running = world
        .command("doctor example.test")
        .env("DNSEAL_TEST_PAUSE_AT", "dns-written")
        .spawn();
    running.wait_stderr("paused at dns-written");
    running.kill();
    running.wait();
    assert_eq!(txt_values(bind.addr(), PROBE).len(), 1);

    let run = world
        .command("doctor example.test --read-only --output json")
        .run();
    let left = Examined::of(run).ends(0).the("leftovers", "warning");
    assert!(
        left.contains("has left 1 value at") && left.contains("dnseal dns gc"),
        "{left}"
    );
    // Through which provider stands in the store; what is secret comes from the environment.
    world
        .command("dns gc")
        .env("DNSEAL_PROVIDER", "")
        .run()
        .success();
    assert_eq!(txt_values(bind.addr(), PROBE), [""; 0]);
    assert!(!world.dir().join("store/certificates/example.test").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn terms_and_a_provider_for_another_zone_are_found() {
    let Some((_bind, world)) = world(&[]).await else {
        return;
    };
    let run = world
        .command("doctor example.test --read-only --output json")
        .env("DNSEAL_AGREE_TOS", "0")
        .run();
    let terms = Examined::of(run).ends(6).the("account", "failure");
    assert!(
        terms.contains("terms of service") && terms.contains("--agree-tos"),
        "{terms}"
    );
    let elsewhere = world.doctor("example.org");
    assert!(!elsewhere.failures().is_empty(), "{:#}", elsewhere.json);
    assert_ne!(elsewhere.run.code(), 0);
}

/// A key, and the zone signed with it.
struct Signed {
    dir: TempDir,
    anchor: String,
    tool: std::path::PathBuf,
}

impl Signed {
    fn new() -> Option<Self> {
        let tool = require(Peer::DnssecSignzone)?;
        let dir = TempDir::with_prefix("dnseal-signed-").unwrap();
        let output = Command::new(tool.with_file_name("dnssec-keygen"))
            .args(["-q", "-a", "ECDSAP256SHA256", "-f", "KSK", ZONE])
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let name = String::from_utf8(output.stdout).unwrap();
        let key = fs::read_to_string(dir.path().join(format!("{}.key", name.trim()))).unwrap();
        let anchor = key.lines().find(|line| !line.starts_with(';')).unwrap();
        Some(Self {
            anchor: anchor.to_owned(),
            dir,
            tool,
        })
    }

    /// The zone with signatures that end then.
    fn zone(&self, until: &str) -> String {
        let plain = ZoneSpec::new(ZONE).zone_file(free_addr());
        fs::write(self.dir.path().join("zone"), plain).unwrap();
        let output = Command::new(&self.tool)
            .args(["-S", "-P", "-z", "-s", "20200101000000", "-e", until])
            .args(["-o", ZONE, "-f", "signed", "zone"])
            .current_dir(self.dir.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        fs::read_to_string(self.dir.path().join("signed")).unwrap()
    }
}
