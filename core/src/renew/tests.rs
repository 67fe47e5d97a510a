//! When certificates are due, by a clock of the tests.

use jiff::SignedDuration;

use super::*;
use crate::acme::KeyType;
use crate::dns::Identifier;
use crate::store::AccountId;
use crate::store::Advice;
use crate::store::Listing;
use crate::store::Spec;
use crate::store::Version;

const ID: &str = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE";

fn day(n: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * n)
}

fn wanted() -> Wanted {
    Wanted {
        names: vec!["a.test".parse().unwrap(), "*.a.test".parse().unwrap()],
        key_type: KeyType::EcdsaP256,
        profile: None,
        directory: "https://ca.test/dir".to_owned(),
        account: AccountId::for_directory(&"https://ca.test/dir".parse().unwrap()),
        spec: Spec::default(),
    }
}

/// Valid from day 0 to day `life`.
fn head(life: i64) -> Head {
    let wanted = wanted();
    let version = Version {
        number: 1,
        names: wanted.names.clone(),
        key_type: wanted.key_type,
        profile: None,
        directory: wanted.directory.clone(),
        account: String::new(),
        account_id: None,
        eab_kid: None,
        order: String::new(),
        issued: day(0),
        not_before: day(0),
        not_after: day(life),
        serial: "01".to_owned(),
        issuer: String::new(),
        top_issuer: None,
        left_out: Vec::new(),
        spec: Spec::default(),
        ari_id: Some(ID.to_owned()),
        crl: None,
        revoked: None,
    };
    let mut head = Head::new("a.test".parse().unwrap(), wanted);
    head.current = Some(version);
    head
}

fn advised(head: &mut Head, start: i64, end: i64, drawn: i64) {
    head.renewal.advice = Some(Advice {
        certificate: ID.to_owned(),
        window: Some(Window {
            start: day(start),
            end: day(end),
            drawn: day(drawn),
        }),
        explanation: None,
        asked: day(1),
        ask_again: day(2),
        failures: 0,
    });
}

fn at(head: &Head, before: Option<&str>) -> (Timestamp, &'static str) {
    let policy = Policy {
        before: before.map(|text| text.parse().unwrap()),
    };
    let due = due(head, &wanted(), day(5), &policy);
    let because = match due.reason {
        Reason::Advised { .. } => "advised",
        Reason::Before => "before",
        Reason::Changed { .. } => "changed",
        Reason::Damaged { .. } => "damaged",
        Reason::Lifetime => "lifetime",
        Reason::NeverIssued => "never issued",
        Reason::Revoked => "revoked",
        Reason::RevokedByUs => "revoked by us",
        Reason::Unfinished => "unfinished",
    };
    (due.at, because)
}

#[test]
fn the_lifetime_says_when_nobody_else_does() {
    assert_eq!(at(&head(90), None), (day(60), "lifetime"));
    assert_eq!(at(&head(6), None), (day(3), "lifetime"));
    assert_eq!(at(&head(398), None), (day(368), "lifetime"));
}

#[test]
fn the_ca_goes_before_the_lifetime() {
    let mut head = head(90);
    advised(&mut head, 70, 72, 71);
    assert_eq!(at(&head, None), (day(71), "advised"));
    advised(&mut head, 2, 3, 2);
    assert_eq!(at(&head, None), (day(2), "advised"), "a window in the past");
    advised(&mut head, 100, 200, 150);
    assert_eq!(at(&head, None), (day(60), "lifetime"), "after its end");
    advised(&mut head, 80, 200, 150);
    let (at_latest, _) = at(&head, None);
    assert!(at_latest > day(85) && at_latest < day(86), "{at_latest}");
    if let Some(advice) = &mut head.renewal.advice {
        advice.certificate = "of.another".to_owned();
    }
    assert_eq!(at(&head, None), (day(60), "lifetime"));
}

#[test]
fn what_was_decided_may_bring_it_forward() {
    let mut head = head(90);
    assert_eq!(at(&head, Some("10d")), (day(80), "before"));
    assert_eq!(
        at(&head, Some("100d")),
        (day(60), "lifetime"),
        "longer than its life"
    );
    advised(&mut head, 59, 61, 60);
    assert_eq!(at(&head, Some("50%")), (day(45), "before"));
    assert_eq!(at(&head, Some("10d")), (day(60), "advised"));
}

#[test]
fn what_is_wanted_now_goes_before_everything() {
    let mut head = head(90);
    advised(&mut head, 70, 72, 71);
    let mut other = wanted();
    other.key_type = KeyType::Rsa2048;
    other.profile = Some("shortlived".to_owned());
    other.names.pop();
    other.directory = "https://other.test/dir".to_owned();
    let due = due(&head, &other, day(5), &Policy::default());
    assert_eq!(due.at, day(5));
    let Reason::Changed { what } = &due.reason else {
        panic!("{due:?}")
    };
    assert_eq!(what.len(), 4);
    assert!(
        due.reason.to_string().contains("its key is ecdsa-p256"),
        "{}",
        due.reason
    );
    head.renewal.listing = Some(Listing {
        serial: "01".to_owned(),
        revoked: Some(day(4)),
        look_again: day(6),
    });
    assert_eq!(at(&head, None), (day(5), "revoked"));
    head.current = None;
    assert_eq!(at(&head, None), (day(5), "never issued"));
}

#[test]
fn a_failure_holds_the_same_names_back() {
    let mut head = head(3);
    let fail = |names: Vec<Identifier>| Failure {
        names,
        times: 2,
        since: day(4),
        last: day(4),
        again: day(6),
        error: "no".to_owned(),
    };
    head.renewal.failure = Some(fail(wanted().names));
    let when = |head: &Head| due(head, &wanted(), day(5), &Policy::default()).next();
    assert_eq!(when(&head), day(6));
    // By a clock that was ahead.
    head.renewal.failure = Some(Failure {
        last: day(300),
        again: day(301),
        ..fail(wanted().names)
    });
    assert!(when(&head) < day(5));
    head.renewal.failure = Some(fail(vec!["b.test".parse().unwrap()]));
    assert!(when(&head) < day(5));
}
