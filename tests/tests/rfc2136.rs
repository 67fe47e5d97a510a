//! The RFC 2136 provider against servers that are not ours: BIND, Knot and PowerDNS, and the sandbox beside them.
//!
//! The conformance suite passes on each, and each way to refuse an update comes back as an error that names the server,
//! what it answered and what to do. What a server answers differs; what the user has to be told does not.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy does not count among the tests"
)]

use std::{net::SocketAddr, time::Duration};

use dnseal_core::dns::{DnsProvider, Outcome, ProviderError, TxtChange, Zone};
use dnseal_providers::conformance;
use dnseal_sandbox::dns::{self as sandbox, DnsServer, Fault};
use dnseal_tests::{
    Bind, BindOptions, Knot, KnotOptions, NameServer, PowerDns, PowerDnsOptions, Rfc2136, TsigKey,
    ZoneSpec, added, free_addr, name, reader, removed, txt_values,
};

const ZONE: &str = "example.test";
const DEEPER: &str = "deeper.example.test";
const OWNER: &str = "_acme-challenge.example.test";
const ELSEWHERE: &str = "_acme-challenge.elsewhere.test";
const ALGORITHMS: [&str; 5] = [
    "hmac-sha1",
    "hmac-sha224",
    "hmac-sha256",
    "hmac-sha384",
    "hmac-sha512",
];

#[tokio::test(flavor = "multi_thread")]
async fn bind_conforms() {
    let key = TsigKey::random("acme-key");
    if let Some(bind) = Bind::start(BindOptions::new(zones(&[&key]), [key.clone()])) {
        conforms(bind.addr(), &key).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn knot_conforms() {
    let key = TsigKey::random("acme-key");
    if let Some(knot) = Knot::start(KnotOptions::new(zones(&[&key]), [key.clone()])) {
        conforms(knot.addr(), &key).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn powerdns_conforms() {
    let key = TsigKey::random("acme-key");
    if let Some(powerdns) = PowerDns::start(PowerDnsOptions::new(zones(&[&key]), [key.clone()])) {
        conforms(powerdns.addr(), &key).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sandbox_conforms() {
    let key = TsigKey::random("acme-key");
    let server = sandbox(&[&key]).await;
    conforms(server.addr(), &key).await;
    assert_eq!(server.values(ZONE), ["apex"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bind_takes_every_algorithm() {
    let keys = ALGORITHMS.map(|algorithm| TsigKey::random_for(algorithm, algorithm));
    let zones = zones(&keys.each_ref());
    if let Some(bind) = Bind::start(BindOptions::new(zones, keys.clone())) {
        takes_every(bind.addr(), &keys).await;
        assert_eq!(bind.updates(ZONE), 2 * keys.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn knot_takes_every_algorithm() {
    let keys = ALGORITHMS.map(|algorithm| TsigKey::random_for(algorithm, algorithm));
    let zones = zones(&keys.each_ref());
    if let Some(knot) = Knot::start(KnotOptions::new(zones, keys.clone())) {
        takes_every(knot.addr(), &keys).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn powerdns_takes_every_algorithm() {
    let keys = ALGORITHMS.map(|algorithm| TsigKey::random_for(algorithm, algorithm));
    let zones = zones(&keys.each_ref());
    if let Some(powerdns) = PowerDns::start(PowerDnsOptions::new(zones, keys.clone())) {
        takes_every(powerdns.addr(), &keys).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sandbox_takes_every_algorithm() {
    let keys = ALGORITHMS.map(|algorithm| TsigKey::random_for(algorithm, algorithm));
    let server = sandbox(&keys.each_ref()).await;
    takes_every(server.addr(), &keys).await;
    assert_eq!(server.updates().messages, 2 * keys.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_values_stay() {
    let key = TsigKey::random("acme-key");
    let (zones, keys) = (zones(&[&key]), [key.clone()]);
    if let Some(bind) = Bind::start(BindOptions::new(zones.clone(), keys.clone())) {
        foreign_value_stays(&bind, &key).await;
    }
    if let Some(knot) = Knot::start(KnotOptions::new(zones.clone(), keys.clone())) {
        foreign_value_stays(&knot, &key).await;
    }
    if let Some(powerdns) = PowerDns::start(PowerDnsOptions::new(zones, keys)) {
        foreign_value_stays(&powerdns, &key).await;
    }
}

/// As many as 50 hosts and their wildcards need.
#[tokio::test(flavor = "multi_thread")]
async fn hundred_values_are_one_update() {
    let key = TsigKey::random("acme-key");
    let Some(bind) = Bind::start(BindOptions::new(zones(&[&key]), [key.clone()])) else {
        return;
    };
    let provider = Rfc2136::at(bind.addr()).key(&key).build();
    let all = |change: fn(&str, &str) -> TxtChange| -> Vec<TxtChange> {
        let hosts = (0..50).map(|host| format!("_acme-challenge.host{host}.{ZONE}"));
        hosts
            .flat_map(|owner| ["base", "wildcard"].map(|value| change(&owner, value)))
            .collect()
    };
    let last = format!("_acme-challenge.host49.{ZONE}");
    assert_applied(&*provider, &all(added)).await;
    assert_eq!(bind.updates(ZONE), 1);
    assert_eq!(txt_values(bind.addr(), &last), ["base", "wildcard"]);
    assert_applied(&*provider, &all(removed)).await;
    assert_eq!(bind.updates(ZONE), 2);
    assert_eq!(txt_values(bind.addr(), &last), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn key_files_are_taken_as_bind_reads_them() {
    let key = TsigKey::random_for("acme-key", "hmac-sha384");
    let Some(bind) = Bind::start(BindOptions::new(zones(&[&key]), [key.clone()])) else {
        return;
    };
    let file = format!(
        "key \"{}\" {{\n\talgorithm {};\n\tsecret \"{}\";\n}};\n",
        key.name, key.algorithm, key.secret_base64
    );
    let provider = Rfc2136::at(bind.addr()).set("key-file", file).build();
    assert_applied(&*provider, &[added(OWNER, "one")]).await;
    assert_eq!(txt_values(bind.addr(), OWNER), ["one"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bind_refusals_say_what_to_do() {
    let [key, other] = ["acme-key", "other-key"].map(TsigKey::random);
    let keys = [key.clone(), other.clone()];
    let Some(bind) = Bind::start(BindOptions::new(zones(&[&key]), keys)) else {
        return;
    };
    let at = bind.addr();
    let refusals = Refusals::of(at, &key, &other).await;
    refusals.name_each_cause(at);
    let [short, tall] = [-600, 600].map(|off| Rfc2136::at(at).key(&key).clock_off_by(off));
    says(
        &refusal(short).await,
        &["600 s ahead of this machine's", "BADTIME", "NTP"],
    );
    says(
        &refusal(tall).await,
        &["600 s behind this machine's", "BADTIME", "NTP"],
    );

    assert!(matches!(refusals.other_key, ProviderError::Refused { .. }));
    says(
        &refusals.other_key,
        &[
            "`other-key` may not change TXT at _acme-challenge.example.test (REFUSED)",
            "update-policy { grant other-key. name _acme-challenge.example.test. TXT; };",
        ],
    );
    says(&refusals.unsigned, &["unsigned updates", "REFUSED"]);
    assert_eq!(txt_values(at, OWNER), Vec::<String>::new());
    assert_eq!(bind.updates(ZONE), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn knot_refusals_say_what_to_do() {
    let [key, other] = ["acme-key", "other-key"].map(TsigKey::random);
    let keys = [key.clone(), other.clone()];
    let Some(knot) = Knot::start(KnotOptions::new(zones(&[&key]), keys)) else {
        return;
    };
    let at = knot.addr();
    let refusals = Refusals::of(at, &key, &other).await;
    refusals.name_each_cause(at);
    let [short, tall] = [-600, 600].map(|off| Rfc2136::at(at).key(&key).clock_off_by(off));
    says(&refusal(short).await, &["600 s ahead of", "BADTIME"]);
    says(&refusal(tall).await, &["600 s behind", "BADTIME"]);
    // Knot tells apart neither a key that it lacks nor one that the zone does not let in.
    says(&refusals.other_key, &["`other-key`", "BADKEY", "zone"]);
    says(&refusals.unsigned, &["NOTAUTH", "unsigned|signature"]);
    assert_eq!(txt_values(at, OWNER), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn powerdns_refusals_say_what_to_do() {
    let [key, other] = ["acme-key", "other-key"].map(TsigKey::random);
    let keys = [key.clone(), other.clone()];
    let Some(powerdns) = PowerDns::start(PowerDnsOptions::new(zones(&[&key]), keys)) else {
        return;
    };
    let at = powerdns.addr();
    let refusals = Refusals::of(at, &key, &other).await;
    // It says REFUSED without a signature, whatever is wrong with ours.
    for error in [
        &refusals.wrong_secret,
        &refusals.wrong_name,
        &refusals.wrong_algorithm,
        &refusal(Rfc2136::at(at).key(&key).clock_off_by(600)).await,
    ] {
        assert!(
            matches!(error, ProviderError::Credentials { .. }),
            "{error:?}"
        );
        says(
            error,
            &[&at.to_string(), "REFUSED", "algorithm", "secret", "clocks"],
        );
    }
    says(&refusals.wrong_name, &["`nobody` with hmac-sha256"]);
    says(&refusals.wrong_algorithm, &["`acme-key` with hmac-sha512"]);
    assert!(matches!(refusals.other_key, ProviderError::Refused { .. }));
    says(
        &refusals.other_key,
        &["`other-key` may not change TXT at _acme-challenge.example.test (REFUSED)"],
    );
    says(&refusals.unsigned, &["unsigned updates", "REFUSED"]);
    assert_eq!(txt_values(at, OWNER), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn sandbox_refuses_as_servers_do() {
    let [key, other] = ["acme-key", "other-key"].map(TsigKey::random);
    let server = DnsServer::builder()
        .zone(sandbox::Zone::new(ZONE).ns("ns1.example.test"))
        .key(sandbox_key(&key))
        .key(sandbox_key(&other).only_names(["_acme-challenge.www.example.test"]))
        .start()
        .await
        .unwrap();
    let refusals = Refusals::of(server.addr(), &key, &other).await;
    refusals.name_each_cause(server.addr());
    says(
        &refusals.other_key,
        &["`other-key` may not change TXT at _acme-challenge.example.test (REFUSED)"],
    );
    server.set_clock_skew(-600);
    says(
        &refusal(Rfc2136::at(server.addr()).key(&key)).await,
        &["600 s behind this machine's", "BADTIME", "NTP"],
    );
    assert_eq!(server.updates().messages, 0);
}

/// The real thing: the server's clock is wrong, and ours is right.
#[tokio::test(flavor = "multi_thread")]
async fn clock_of_the_server_is_off() {
    let key = TsigKey::random("acme-key");
    let Some(knot) = Knot::start(KnotOptions {
        clock_off_by: 600,
        ..KnotOptions::new(zones(&[&key]), [key.clone()])
    }) else {
        return;
    };
    let error = refusal(Rfc2136::at(knot.addr()).key(&key)).await;
    assert!(matches!(error, ProviderError::Credentials { .. }));
    // A second may pass between the two looks at a clock.
    says(
        &error,
        &[
            &knot.addr().to_string(),
            "its clock is 600 s ahead of|its clock is 599 s ahead of|its clock is 601 s ahead of",
            "300 s are allowed",
            "NTP",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn zones_that_the_server_does_not_hold() {
    let key = TsigKey::random("acme-key");
    let (zones, keys) = (zones(&[&key]), [key.clone()]);
    if let Some(bind) = Bind::start(BindOptions::new(zones.clone(), keys.clone())) {
        holds_no_other_zone(bind.addr(), &key).await;
    }
    if let Some(knot) = Knot::start(KnotOptions::new(zones.clone(), keys.clone())) {
        holds_no_other_zone(knot.addr(), &key).await;
    }
    if let Some(powerdns) = PowerDns::start(PowerDnsOptions::new(zones, keys)) {
        holds_no_other_zone(powerdns.addr(), &key).await;
    }
    holds_no_other_zone(sandbox(&[&key]).await.addr(), &key).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_added_beside_an_alias_or_below_a_cut() {
    let key = TsigKey::random("acme-key");
    let (zones, keys) = (zones(&[&key]), [key.clone()]);
    if let Some(bind) = Bind::start(BindOptions::new(zones.clone(), keys.clone())) {
        names_misplaced_values(bind.addr(), &key).await;
    }
    if let Some(knot) = Knot::start(KnotOptions::new(zones.clone(), keys.clone())) {
        names_misplaced_values(knot.addr(), &key).await;
    }
    if let Some(powerdns) = PowerDns::start(PowerDnsOptions::new(zones, keys)) {
        names_misplaced_values(powerdns.addr(), &key).await;
    }
    names_misplaced_values(sandbox(&[&key]).await.addr(), &key).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_not_there() {
    let key = TsigKey::random("acme-key");
    let nobody = free_addr();
    let error = refusal(Rfc2136::at(nobody).key(&key)).await;
    assert!(error.is_retryable());
    says(&error, &[&nobody.to_string(), "connection refused"]);

    let nowhere = Rfc2136::at("ns1.nowhere.invalid:5353").key(&key);
    let error = refusal(nowhere.set("timeout", "2s")).await;
    assert!(matches!(error, ProviderError::Unreachable { .. }));
    says(
        &error,
        &["`ns1.nowhere.invalid` cannot be resolved", "invalid:5353"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_hangs_is_left_in_time() {
    let key = TsigKey::random("acme-key");
    let Some(bind) = Bind::start(BindOptions::new(zones(&[&key]), [key.clone()])) else {
        return;
    };
    bind.process().pause();
    let error = refusal(Rfc2136::at(bind.addr()).key(&key).set("timeout", "1s")).await;
    assert!(error.is_retryable());
    says(&error, &[&bind.addr().to_string(), "no answer within 1s"]);

    // What it was asked while it hung it may do when it wakes up; asking again makes no double of that.
    bind.process().resume();
    let provider = Rfc2136::at(bind.addr()).key(&key).build();
    assert_applied(&*provider, &[added(OWNER, "refused")]).await;
    assert_eq!(txt_values(bind.addr(), OWNER), ["refused"]);
    assert_applied(&*provider, &[removed(OWNER, "refused")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_are_asked_for_again() {
    let key = TsigKey::random("acme-key");
    let server = sandbox(&[&key]).await;
    let provider = Rfc2136::at(server.addr())
        .key(&key)
        .set("timeout", "1s")
        .build();
    for fault in [Fault::close(), Fault::lose_response()] {
        server.inject(fault.updates().times(1));
        assert_applied(&*provider, &[added(OWNER, "one")]).await;
        assert_eq!(server.values(OWNER), ["one"]);
        assert_applied(&*provider, &[removed(OWNER, "one")]).await;
    }
    assert_eq!(server.values(OWNER), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_only_pretends_is_found_out() {
    let key = TsigKey::random("acme-key");
    let server = sandbox(&[&key]).await;
    let provider = Rfc2136::at(server.addr()).key(&key).build();
    server.inject(Fault::pretend());
    let applied = provider.apply(&zone(ZONE), &[added(OWNER, "one")]).await;
    match applied.unwrap().outcomes.as_slice() {
        [Outcome::Unknown { reason }] => {
            assert!(
                reason.contains(OWNER) && reason.contains("does not serve it"),
                "{reason}"
            );
        }
        other => panic!("{other:?}"),
    }

    server.heal();
    server.inject(Fault::servfail().updates());
    let error = refusal(Rfc2136::at(server.addr()).key(&key)).await;
    assert!(error.is_retryable());
    says(&error, &["SERVFAIL", ZONE, "log"]);
}

/// What a server says to updates that it should not take.
struct Refusals {
    wrong_secret: ProviderError,
    wrong_name: ProviderError,
    wrong_algorithm: ProviderError,
    other_key: ProviderError,
    unsigned: ProviderError,
}

impl Refusals {
    /// `other` is a key that the server knows and the zone does not let in.
    async fn of(at: SocketAddr, key: &TsigKey, other: &TsigKey) -> Self {
        let with = |key: TsigKey| refusal(Rfc2136::at(at).key(&key));
        Self {
            wrong_secret: with(TsigKey {
                secret_base64: other.secret_base64.clone(),
                ..key.clone()
            })
            .await,
            wrong_name: with(TsigKey {
                name: "nobody".to_owned(),
                ..key.clone()
            })
            .await,
            wrong_algorithm: with(TsigKey {
                algorithm: "hmac-sha512".to_owned(),
                ..key.clone()
            })
            .await,
            other_key: with(other.clone()).await,
            unsigned: refusal(Rfc2136::at(at).set("unsigned", "true")).await,
        }
    }

    /// As servers do that tell the TSIG errors apart.
    fn name_each_cause(&self, at: SocketAddr) {
        let at = at.to_string();
        for error in [&self.wrong_secret, &self.wrong_name, &self.wrong_algorithm] {
            assert!(
                matches!(error, ProviderError::Credentials { .. }),
                "{error:?}"
            );
        }
        says(&self.wrong_secret, &[&at, "`acme-key`", "BADSIG", "secret"]);
        says(&self.wrong_name, &[&at, "`nobody`", "BADKEY", "name"]);
        says(
            &self.wrong_algorithm,
            &[&at, "`acme-key` with hmac-sha512", "BADKEY", "algorithm"],
        );
        says(&self.unsigned, &[&at, "tsig.secret"]);
    }
}

/// Every case of the suite.
async fn conforms(at: SocketAddr, key: &TsigKey) {
    let provider = Rfc2136::at(at).key(key).build();
    let impostor = TsigKey {
        secret_base64: TsigKey::random("other").secret_base64,
        ..key.clone()
    };
    let impostor = Rfc2136::at(at).key(&impostor).build();
    let options = conformance::Options {
        base: name("conformance.example.test"),
        deeper_zone: Some(name(DEEPER)),
        foreign: name(ELSEWHERE),
        impostor: Some(&*impostor),
        patience: Duration::from_secs(10),
        read: &reader(at),
    };
    let results = conformance::run(&*provider, &options).await;
    let failed: Vec<_> = results
        .iter()
        .filter(|result| result.outcome != conformance::Outcome::Pass)
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(results.len() >= 14, "{results:#?}");
}

/// Adds and removes with each of the keys.
async fn takes_every(at: SocketAddr, keys: &[TsigKey]) {
    for key in keys {
        let provider = Rfc2136::at(at).key(key).build();
        assert_applied(&*provider, &[added(OWNER, &key.algorithm)]).await;
        assert_eq!(txt_values(at, OWNER), [key.algorithm.as_str()]);
        assert_applied(&*provider, &[removed(OWNER, &key.algorithm)]).await;
        assert_eq!(txt_values(at, OWNER), Vec::<String>::new());
    }
}

async fn foreign_value_stays(server: &dyn NameServer, key: &TsigKey) {
    let at = server.addr();
    server.add_txt(key, ZONE, OWNER, "foreign");
    let provider = Rfc2136::at(at).key(key).build();
    assert_applied(&*provider, &[added(OWNER, "one"), added(OWNER, "two")]).await;
    assert_eq!(txt_values(at, OWNER), ["foreign", "one", "two"]);
    // Somebody else comes while ours are there.
    server.add_txt(key, ZONE, OWNER, "later");
    assert_applied(&*provider, &[removed(OWNER, "two"), removed(OWNER, "one")]).await;
    assert_eq!(txt_values(at, OWNER), ["foreign", "later"]);
}

async fn holds_no_other_zone(at: SocketAddr, key: &TsigKey) {
    let provider = Rfc2136::at(at).key(key).build();
    let error = provider.zone_of(&name(ELSEWHERE)).await.unwrap_err();
    assert!(
        matches!(error, ProviderError::ZoneNotFound { .. }),
        "{error:?}"
    );
    says(&error, &[&at.to_string(), ELSEWHERE]);

    // Where the user has set it, nobody looks before the update.
    let set = Rfc2136::at(at).key(key).set("zone", "elsewhere.test");
    let provider = set.build();
    let zone = provider.zone_of(&name(ELSEWHERE)).await.unwrap();
    assert_eq!(zone.name, name("elsewhere.test"));
    let error = provider.apply(&zone, &[added(ELSEWHERE, "one")]).await;
    let error = error.unwrap_err();
    assert!(!error.is_retryable());
    says(
        &error,
        &[
            &at.to_string(),
            "NOTAUTH|REFUSED",
            "authoritative for elsewhere.test|hold elsewhere.test",
            "primary",
        ],
    );

    let error = provider.zone_of(&name(OWNER)).await.unwrap_err();
    says(&error, &[OWNER, "elsewhere.test", "`zone`"]);
}

async fn names_misplaced_values(at: SocketAddr, key: &TsigKey) {
    let provider = Rfc2136::at(at).key(key).build();
    let good = "_acme-challenge.good.example.test";
    let changes = [
        added("alias.example.test", "one"),
        added(good, "one"),
        added("_acme-challenge.sub.example.test", "one"),
    ];
    let applied = provider.apply(&zone(ZONE), &changes).await.unwrap();
    let [
        Outcome::Refused { reason: alias },
        Outcome::Applied { .. },
        Outcome::Refused { reason: cut },
    ] = applied.outcomes.as_slice()
    else {
        panic!("{at}: {:?}", applied.outcomes);
    };
    assert!(
        alias.contains("alias.example.test is a CNAME to www.example.test"),
        "{alias}"
    );
    assert!(cut.contains("below sub.example.test"), "{cut}");
    assert_eq!(txt_values(at, good), ["one"]);
    // Removing leaves nothing behind, whatever the adding had come to.
    let removals = changes.map(|change| TxtChange {
        action: dnseal_core::dns::Action::Remove,
        ..change
    });
    assert_applied(&*provider, &removals).await;
    assert_eq!(txt_values(at, good), Vec::<String>::new());
}

async fn assert_applied(provider: &dyn DnsProvider, changes: &[TxtChange]) {
    let applied = provider.apply(&zone(ZONE), changes).await.unwrap();
    assert_eq!(applied.outcomes.len(), changes.len());
    let applied = applied.outcomes.iter().zip(changes);
    for (outcome, change) in applied {
        assert!(
            matches!(outcome, Outcome::Applied { .. }),
            "{change:?}: {outcome:?}"
        );
    }
}

/// The error of adding a value at [`OWNER`].
async fn refusal(provider: Rfc2136) -> ProviderError {
    let changes = [added(OWNER, "refused")];
    let applied = provider.build().apply(&zone(ZONE), &changes).await;
    applied.unwrap_err()
}

/// Whether an error and its hint have all of these words; `a|b` is either.
fn says(error: &ProviderError, words: &[&str]) {
    let text = match error.hint() {
        Some(hint) => format!("{error}\nhint: {hint}"),
        None => error.to_string(),
    };
    for choice in words {
        assert!(
            choice.split('|').any(|word| text.contains(word)),
            "{choice:?} is not in: {text}"
        );
    }
}

fn zone(name: &str) -> Zone {
    Zone {
        id: String::new(),
        name: name.parse().unwrap(),
    }
}

/// Two zones, one in the other, with an alias and a cut.
fn zones(keys: &[&TsigKey]) -> [ZoneSpec; 2] {
    let all = |zone: ZoneSpec| keys.iter().fold(zone, |zone, key| zone.updated_by(key));
    [
        all(ZoneSpec::new(ZONE))
            .record("@ TXT apex")
            .record("alias CNAME www")
            .record("sub NS ns.sub")
            .record("ns.sub A 127.0.0.1")
            .record("deeper NS ns1"),
        all(ZoneSpec::new(DEEPER)),
    ]
}

/// The same in the sandbox.
async fn sandbox(keys: &[&TsigKey]) -> DnsServer {
    let server = DnsServer::builder()
        .zone(
            sandbox::Zone::new(ZONE)
                .ns("ns1.example.test")
                .txt(ZONE, "apex")
                .cname("alias.example.test", "www.example.test")
                .delegate("sub.example.test", "ns.sub.example.test")
                .a("ns.sub.example.test", [127, 0, 0, 1].into())
                .delegate(DEEPER, "ns1.example.test"),
        )
        .zone(sandbox::Zone::new(DEEPER).ns("ns1.example.test"));
    let server = keys
        .iter()
        .fold(server, |server, key| server.key(sandbox_key(key)));
    server.start().await.unwrap()
}

fn sandbox_key(key: &TsigKey) -> sandbox::TsigKey {
    format!("{}:{}:{}", key.algorithm, key.name, key.secret_base64)
        .parse()
        .unwrap()
}
