//! What servers refuse, and servers that fail: each error names the server, what it answered and what to do.
//!
//! What a server answers differs; what the user has to be told does not.

use std::net::SocketAddr;

use dnseal_core::dns::{Action, Outcome, ProviderError, TxtChange};
use dnseal_sandbox::dns::{self as sandbox, DnsServer, Fault};
use dnseal_tests::{
    Bind, BindOptions, Knot, KnotOptions, NameServer, PowerDns, PowerDnsOptions, Rfc2136, TsigKey,
    added, free_addr, name, removed, txt_values,
};

use crate::{ELSEWHERE, OWNER, ZONE, assert_applied, sandbox_key, sandbox_server, zone, zones};

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
        &[&clock("ahead of this machine's"), "BADTIME", "NTP"],
    );
    says(
        &refusal(tall).await,
        &[&clock("behind this machine's"), "BADTIME", "NTP"],
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
    says(&refusal(short).await, &[&clock("ahead of"), "BADTIME"]);
    says(&refusal(tall).await, &[&clock("behind"), "BADTIME"]);
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
        &[&clock("behind this machine's"), "BADTIME", "NTP"],
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
    assert!(matches!(error, ProviderError::Clock { .. }));
    says(
        &error,
        &[
            &knot.addr().to_string(),
            &clock("ahead of"),
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
    holds_no_other_zone(sandbox_server(&[&key]).await.addr(), &key).await;
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
    names_misplaced_values(sandbox_server(&[&key]).await.addr(), &key).await;
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
    let server = sandbox_server(&[&key]).await;
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
    let server = sandbox_server(&[&key]).await;
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
        action: Action::Remove,
        ..change
    });
    assert_applied(&*provider, &removals).await;
    assert_eq!(txt_values(at, good), Vec::<String>::new());
}

/// The error of adding a value at [`OWNER`].
async fn refusal(provider: Rfc2136) -> ProviderError {
    let changes = [added(OWNER, "refused")];
    let applied = provider.build().apply(&zone(ZONE), &changes).await;
    applied.unwrap_err()
}

/// Clocks that are 600 s apart, as they may be seen by somebody slow.
fn clock(side: &str) -> String {
    let seen = (590..=610).map(|seconds| format!("its clock is {seconds} s {side}"));
    seen.collect::<Vec<_>>().join("|")
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
