//! The provider against a server that says what the test wants it to say.

mod fake;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use dnseal_core::dns::Action;
use dnseal_core::dns::DnsProvider;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::Outcome;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::TxtChange;
use dnseal_core::dns::TxtValue;
use dnseal_core::dns::Zone;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::DNSClass;
use hickory_proto::rr::RData;
use hickory_proto::rr::RecordType;
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::rdata::NS;
use tokio::net::TcpListener;

use crate::registry::Context;
use crate::registry::build;
use crate::rfc2136::tests::fake::Fake;
use crate::rfc2136::tests::fake::Reply;
use crate::rfc2136::tests::fake::SECRET;
use crate::rfc2136::tests::fake::name;
use crate::rfc2136::tests::fake::record;
use crate::rfc2136::tests::fake::soa;
use crate::rfc2136::tests::fake::txt;
use crate::settings::Settings;
use crate::settings::Value;

#[tokio::test]
async fn every_refusal_has_its_own_sentence() {
    for (code, sentence, hint) in [
        (
            ResponseCode::Refused,
            "refused: the key `acme-key` may not change TXT at a.example.test (REFUSED)",
            "update-policy { grant acme-key. name a.example.test. TXT; };",
        ),
        (
            ResponseCode::NotAuth,
            "is not authoritative for example.test, or no primary of it (NOTAUTH)",
            "set `server` to the primary server of example.test",
        ),
        (
            ResponseCode::NotZone,
            "a.example.test is not in the zone example.test (NOTZONE)",
            "correct `zone`",
        ),
        (
            ResponseCode::ServFail,
            "it could not update example.test (SERVFAIL)",
            "",
        ),
        (
            ResponseCode::FormErr,
            "could not read the update (FORMERR)",
            "",
        ),
        (
            ResponseCode::NotImp,
            "takes no dynamic updates of example.test (NOTIMP)",
            "",
        ),
        (
            ResponseCode::YXDomain,
            "answered YXDOMAIN to an update of a.example.test without",
            "",
        ),
        (
            ResponseCode::NXRRSet,
            "answered NXRRSET to an update of a.example.test without",
            "",
        ),
        (ResponseCode::Unknown(11), "answered response code 11", ""),
    ] {
        let server = Fake::start(move |_| Reply::Signed(code)).await;
        let error = server
            .provider(&[])
            .add("a.example.test", "v")
            .await
            .unwrap_err();
        assert!(error.to_string().contains(sentence), "{code}: {error}");
        assert!(
            error.hint().unwrap_or_default().contains(hint),
            "{code}: {error:?}"
        );
        assert_eq!(error.is_retryable(), code == ResponseCode::ServFail);
    }
}

#[tokio::test]
async fn every_tsig_error_has_its_own_sentence() {
    let ahead = (unix_now() + 1000).to_be_bytes()[2..].to_vec();
    let behind = (unix_now() - 1000).to_be_bytes()[2..].to_vec();
    for (code, other, sentence) in [
        (
            16,
            Vec::new(),
            "the signature made with the key `acme-key` is wrong (BADSIG)",
        ),
        (
            17,
            Vec::new(),
            "it has no key `acme-key` with hmac-sha256 that may do this (BADKEY)",
        ),
        (
            18,
            ahead,
            "s ahead of this machine's, and 300 s are allowed (BADTIME)",
        ),
        (
            18,
            behind,
            "s behind this machine's, and 300 s are allowed (BADTIME)",
        ),
        (
            18,
            Vec::new(),
            "differs from this machine's by more than 300 s (BADTIME)",
        ),
        (
            22,
            Vec::new(),
            "it wants another length of signatures than hmac-sha256 has (BADTRUNC)",
        ),
        (99, Vec::new(), "(TSIG error 99)"),
    ] {
        let server = Fake::start(move |_| Reply::Tsig(code, other.clone())).await;
        let error = server
            .provider(&[])
            .add("a.example.test", "v")
            .await
            .unwrap_err();
        // BADTIME is about clocks, and not about keys.
        let of_its_kind = match code {
            18 => matches!(error, ProviderError::Clock { .. }),
            _ => matches!(error, ProviderError::Credentials { .. }),
        };
        assert!(of_its_kind, "{error:?}");
        assert!(error.to_string().contains(sentence), "{error}");
    }
}

#[tokio::test]
async fn answers_with_a_bad_or_no_signature_are_not_believed() {
    let server = Fake::start(|_| Reply::Unsigned(ResponseCode::NoError)).await;
    let error = server
        .provider(&[])
        .add("a.example.test", "v")
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("its answer is not signed"),
        "{error}"
    );

    let server = Fake::start(|_| Reply::Signed(ResponseCode::NoError)).await;
    let other = server.provider(&[("tsig.secret", "b3RoZXI=")]);
    let error = other.add("a.example.test", "v").await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("does not match the key `acme-key`"),
        "{error}"
    );

    let server = Fake::start(|_| Reply::Raw(vec![1, 2, 3])).await;
    let hasty = server.provider(&[("timeout", "200ms")]);
    let error = hasty.add("a.example.test", "v").await.unwrap_err();
    assert!(
        matches!(error, ProviderError::Unreachable { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_server_that_signs_no_refusal_is_asked_what_it_means() {
    for (signed_question, sentence) in [
        (
            Reply::Unsigned(ResponseCode::NotAuth),
            "does not accept what the key `acme-key`",
        ),
        (
            Reply::soa("example.test"),
            "may not change TXT at a.example.test (REFUSED)",
        ),
        (Reply::Tsig(16, Vec::new()), "(BADSIG)"),
    ] {
        let server = Fake::start(move |asked| match (asked.update(), asked.signed) {
            (true, _) => Reply::Unsigned(ResponseCode::Refused),
            (false, true) => signed_question.clone(),
            (false, false) => Reply::soa("example.test"),
        })
        .await;
        let error = server
            .provider(&[])
            .add("a.example.test", "v")
            .await
            .unwrap_err();
        assert!(error.to_string().contains(sentence), "{error}");
    }
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_once_more() {
    let server = Fake::start(|asked| match asked.number {
        0 => Reply::Close,
        _ => asked.zone_with(&["v"]),
    })
    .await;
    let applied = server
        .provider(&[])
        .add("a.example.test", "v")
        .await
        .unwrap();
    assert_eq!(applied, [Outcome::Applied { handle: None }]);
    assert_eq!(server.updates().len(), 2);

    let server = Fake::start(|_| Reply::Close).await;
    let error = server
        .provider(&[])
        .add("a.example.test", "v")
        .await
        .unwrap_err();
    assert!(error.is_retryable());
    assert!(
        error.to_string().contains("closed by the server"),
        "{error}"
    );
    assert_eq!(server.updates().len(), 2);
}

#[tokio::test]
async fn waiting_is_bounded() {
    let server = Fake::start(|_| Reply::Silence).await;
    let hasty = server.provider(&[("timeout", "150ms")]);
    let error = hasty.add("a.example.test", "v").await.unwrap_err();
    assert!(
        error.to_string().contains("no answer within 150ms"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let provider = provider(&address.to_string(), &[]);
    let error = provider.add("a.example.test", "v").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{address} did not answer: connection refused at {address}")
    );
}

#[tokio::test]
async fn all_changes_of_a_zone_go_out_in_one_update() {
    let server = Fake::start(|asked| asked.zone_with(&["v"])).await;
    let mut changes: Vec<TxtChange> = (0..250)
        .map(|n| {
            change(
                Action::Add,
                &format!("_acme-challenge.n{n}.example.test"),
                "v",
            )
        })
        .collect();
    changes.push(change(Action::Remove, "old.example.test", "gone"));
    let outcomes = server.provider(&[]).apply(&changes).await.unwrap();
    assert_eq!(outcomes, vec![Outcome::Applied { handle: None }; 251]);

    let updates = server.updates();
    let [update] = updates.as_slice() else {
        panic!("{} updates", updates.len());
    };
    assert_eq!(update.queries[0].name().to_ascii(), "example.test.");
    assert_eq!(update.queries[0].query_type(), RecordType::SOA);
    assert!(update.answers.is_empty(), "prerequisites");
    assert_eq!(update.authorities.len(), 251);
    for record in &update.authorities[..250] {
        assert_eq!((record.dns_class, record.ttl), (DNSClass::IN, 1));
        assert!(matches!(record.data, RData::TXT(_)));
    }
    let removal = &update.authorities[250];
    assert_eq!((removal.dns_class, removal.ttl), (DNSClass::NONE, 0));
    assert_eq!(removal.data, txt("gone"));
}

#[tokio::test]
async fn only_the_size_of_a_message_splits_an_update() {
    let server = Fake::start(|asked| asked.zone_with(&[])).await;
    let value = "x".repeat(1000);
    let changes: Vec<TxtChange> = (0..100)
        .map(|n| change(Action::Remove, &format!("n{n}.example.test"), &value))
        .collect();
    server.provider(&[]).apply(&changes).await.unwrap();
    let counts: Vec<usize> = server
        .updates()
        .iter()
        .map(|u| u.authorities.len())
        .collect();
    assert_eq!(counts.len(), 2);
    assert_eq!(counts.iter().sum::<usize>(), 100);
    // Strings of at most 255 octets (RFC 1035 section 3.3).
    let RData::TXT(txt) = &server.updates()[0].authorities[0].data else {
        panic!();
    };
    let lengths: Vec<usize> = txt.txt_data.iter().map(|s| s.len()).collect();
    assert_eq!(lengths, [255, 255, 255, 235]);
}

#[tokio::test]
async fn what_no_message_can_hold_and_what_is_in_another_zone_fails_alone() {
    let server = Fake::start(|asked| asked.zone_with(&["v"])).await;
    let changes = [
        change(Action::Add, "a.example.test", "v"),
        change(Action::Add, "a.badexample.test", "v"),
        change(Action::Add, "a.example.test", &"x".repeat(65_200)),
    ];
    let outcomes = server.provider(&[]).apply(&changes).await.unwrap();
    assert!(matches!(outcomes[0], Outcome::Applied { .. }));
    for (outcome, part) in outcomes[1..]
        .iter()
        .zip(["not in the zone", "does not fit"])
    {
        assert!(format!("{outcome:?}").contains(part), "{outcome:?}");
    }
    assert_eq!(server.updates()[0].authorities.len(), 1);
}

#[tokio::test]
async fn what_is_not_served_after_all_is_found_out() {
    for (question, part) in [
        (
            Reply::message(|m, owner| {
                m.answers
                    .push(record(owner, RData::CNAME(CNAME(name("t.invalid.")))));
            }),
            "Refused { reason: \"a.example.test is a CNAME to t.invalid,",
        ),
        (
            Reply::message(|m, _| {
                m.metadata.authoritative = false;
                let ns = RData::NS(NS(name("ns.invalid.")));
                m.authorities.push(record(&name("example.test."), ns));
            }),
            "delegated to other name servers",
        ),
        (
            Reply::soa("a.example.test"),
            "in the zone a.example.test, which the server holds as well",
        ),
        (
            Reply::soa("example.test"),
            "Unknown { reason: \"the server accepted the value",
        ),
        (Reply::Unsigned(ResponseCode::Refused), "Applied"),
        (Reply::Close, "Applied"),
    ] {
        let server = Fake::start(move |asked| match asked.update() {
            true => Reply::Signed(ResponseCode::NoError),
            false => question.clone(),
        })
        .await;
        let outcomes = server
            .provider(&[])
            .add("a.example.test", "v")
            .await
            .unwrap();
        assert!(format!("{outcomes:?}").contains(part), "{outcomes:?}");
    }
}

#[tokio::test]
async fn an_update_refused_for_an_alias_goes_out_without_it() {
    let server = Fake::start(|asked| {
        let alias = name("alias.example.test.");
        match asked.update() {
            true if asked.message.authorities.iter().any(|r| r.name == alias) => {
                Reply::Signed(ResponseCode::Refused)
            }
            true => Reply::Signed(ResponseCode::NoError),
            false if *asked.name() == alias => Reply::message(|m, owner| {
                m.answers
                    .push(record(owner, RData::CNAME(CNAME(name("t.invalid.")))));
            }),
            false => asked.zone_with(&["v"]),
        }
    })
    .await;
    let changes = [
        change(Action::Add, "alias.example.test", "v"),
        change(Action::Add, "a.example.test", "v"),
    ];
    let outcomes = server.provider(&[]).apply(&changes).await.unwrap();
    assert!(
        format!("{:?}", outcomes[0]).contains("is a CNAME to"),
        "{outcomes:?}"
    );
    assert_eq!(outcomes[1], Outcome::Applied { handle: None });
}

#[tokio::test]
async fn the_alias_of_a_wildcard_explains_no_refusal() {
    let server = Fake::start(|asked| match asked.update() {
        true => Reply::Signed(ResponseCode::Refused),
        false => Reply::message(|m, owner| {
            let target = RData::CNAME(CNAME(name("t.invalid.")));
            m.answers.push(record(owner, target));
        }),
    })
    .await;
    let error = server
        .provider(&[])
        .add("a.example.test", "v")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("may not change TXT"), "{error}");
}

#[tokio::test]
async fn what_is_refused_afterwards_is_not_left_behind() {
    let server = Fake::start(|asked| match asked.update() {
        true => Reply::Signed(ResponseCode::NoError),
        false => Reply::soa("a.example.test"),
    })
    .await;
    server
        .provider(&[])
        .add("a.example.test", "v")
        .await
        .unwrap();
    let updates = server.updates();
    let [_, removal] = updates.as_slice() else {
        panic!("{} updates", updates.len());
    };
    assert_eq!(removal.authorities[0].dns_class, DNSClass::NONE);
    assert_eq!(removal.authorities[0].data, txt("v"));
}

#[tokio::test]
async fn zones_are_found_by_whole_labels() {
    let server = Fake::start(|asked| match asked.name().to_ascii().as_str() {
        "a.example.test." => Reply::soa("example.test"),
        "a.badexample.test." => Reply::soa("example.test"),
        "alias.example.test." => Reply::message(|m, owner| {
            m.answers
                .push(record(owner, RData::CNAME(CNAME(name("b.other.test.")))));
            m.authorities.push(record(&name("other.test."), soa()));
        }),
        "a.sub.example.test." => Reply::message(|m, _| {
            m.metadata.authoritative = false;
            let ns = RData::NS(NS(name("ns.invalid.")));
            m.authorities.push(record(&name("sub.example.test."), ns));
        }),
        "example.test." => Reply::soa("example.test"),
        "cached.test." => Reply::message(|m, owner| {
            m.metadata.authoritative = false;
            m.answers.push(record(owner, soa()));
        }),
        _ => Reply::Signed(ResponseCode::Refused),
    })
    .await;
    let provider = server.provider(&[]);
    for (owner, zone) in [
        ("a.example.test", Some("example.test")),
        ("alias.example.test", Some("example.test")),
        ("a.sub.example.test", Some("example.test")),
        ("a.badexample.test", None),
        ("cached.test", None),
        ("elsewhere.test", None),
    ] {
        match (provider.inner.zone_of(&owner.parse().unwrap()).await, zone) {
            (Ok(found), Some(zone)) => assert_eq!(found.name.as_str(), zone, "{owner}"),
            (Err(ProviderError::ZoneNotFound { .. }), None) => {}
            (other, _) => panic!("{owner}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_zone_that_is_set_is_not_asked_for() {
    let provider = provider("192.0.2.1", &[("zone", "example.test")]);
    let owner: DomainName = "a.example.test".parse().unwrap();
    assert_eq!(
        provider.inner.zone_of(&owner).await.unwrap().name.as_str(),
        "example.test"
    );
    let owner: DomainName = "a.badexample.test".parse().unwrap();
    let error = provider.inner.zone_of(&owner).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "a.badexample.test is not in example.test, which is the `zone` set for 192.0.2.1:53"
    );
}

#[tokio::test]
async fn values_are_told_as_the_server_has_them() {
    let server = Fake::start(|asked| asked.zone_with(&["v", "w"])).await;
    let provider = server.provider(&[]);
    let values = provider
        .inner
        .values(&provider.zone, &"a.example.test".parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(values, [value("v"), value("w")]);
}

#[test]
fn nothing_shows_the_secret() {
    let provider = provider("192.0.2.1", &[]);
    let shown = format!("{:?}", provider.inner);
    assert!(shown.contains("acme-key"));
    assert!(!shown.contains(SECRET), "{shown}");
}

impl Fake {
    fn provider(&self, settings: &[(&'static str, &str)]) -> Provider {
        provider(&self.address, settings)
    }
}

struct Provider {
    inner: Arc<dyn DnsProvider>,
    zone: Zone,
}

impl Provider {
    async fn add(&self, owner: &str, value: &str) -> Result<Vec<Outcome>, ProviderError> {
        self.apply(&[change(Action::Add, owner, value)]).await
    }

    async fn apply(&self, changes: &[TxtChange]) -> Result<Vec<Outcome>, ProviderError> {
        // A server that never answers must not hang the test.
        let applied = tokio::time::timeout(
            Duration::from_secs(20),
            self.inner.apply(&self.zone, changes),
        );
        Ok(applied.await.unwrap()?.outcomes)
    }
}

fn provider(server: &str, settings: &[(&'static str, &str)]) -> Provider {
    let mut all = Settings::new();
    all.insert("server", Value::from(server));
    all.insert("tsig.name", Value::from("acme-key"));
    all.insert("tsig.secret", Value::Secret(SECRET.into()));
    for (key, value) in settings {
        all.insert(*key, Value::from(*value));
    }
    Provider {
        inner: build("rfc2136", "corp", all, &Context::default()).unwrap(),
        zone: Zone {
            id: String::new(),
            name: "example.test".parse().unwrap(),
        },
    }
}

fn change(action: Action, owner: &str, text: &str) -> TxtChange {
    TxtChange {
        action,
        handle: None,
        origin: None,
        owner: owner.parse().unwrap(),
        ttl: 1,
        value: value(text),
    }
}

fn value(text: &str) -> TxtValue {
    text.parse().unwrap()
}

fn unix_now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_secs()
}
