//! Others' values: every character, every TTL, every routing policy.

use dnseal_core::dns::{Action, Outcome};
use dnseal_tests::fakes::route53::RecordSet;

use crate::bench::{Bench, change, name, says, served};

const OWNER: &str = "_acme-challenge.example.test";

#[tokio::test(flavor = "multi_thread")]
async fn odd_characters_of_others_survive() {
    let bench = Bench::open().await;
    let long = format!("\"{}\" \"{}\"", "x".repeat(255), "y".repeat(45));
    let values = [
        r#""v=spf1 include:_spf.example.test -all""#,
        r#""a \"quoted\" word, a back\134slash, <angles> & an ampersand; 'single'""#,
        r#""ex\344mple.com \000\377""#,
        r#""Ab" "aB""#,
        r#""""#,
        &long,
    ];
    let set = RecordSet::new(OWNER, "TXT", 300, &values);
    bench.fake.put(&bench.zone.id, set.clone());
    let before = served_values(&bench).await;
    assert_eq!(before.len(), values.len());

    let applied = bench.add(OWNER, "ours").await;
    let [Outcome::Applied { handle }] = applied.outcomes.as_slice() else {
        panic!("{applied:?}");
    };
    let now = &bench.fake.record_sets(&bench.zone.id)[0];
    assert_eq!(now.values[..values.len()], set.values);
    assert_eq!(now.values[values.len()], "\"ours\"");
    assert_eq!(now.ttl, 1);
    let told = bench
        .provider
        .values(&bench.zone, &name(OWNER))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(told[..values.len()], before);

    // By octets, whoever wrote them and however they are written.
    bench.remove(OWNER, "AbaB", None).await;
    assert_eq!(
        bench.fake.record_sets(&bench.zone.id)[0].values.len(),
        values.len()
    );
    bench.fake.put(
        &bench.zone.id,
        RecordSet {
            ttl: 1,
            values: now.values.clone(),
            ..set.clone()
        },
    );
    bench.remove(OWNER, "ours", handle.clone()).await;
    assert_eq!(bench.fake.record_sets(&bench.zone.id), [set]);
}

#[tokio::test]
async fn the_smallest_ttl_wins_and_what_was_lowered_is_restored() {
    let bench = Bench::open().await;
    for (theirs, wanted) in [(300, 1), (1, 1), (0, 0)] {
        let set = RecordSet::txt(OWNER, theirs, &["theirs"]);
        bench.fake.put(&bench.zone.id, set.clone());
        let mut handles = Vec::new();
        for value in ["one", "two"] {
            let applied = bench.add(OWNER, value).await;
            let [Outcome::Applied { handle }] = applied.outcomes.as_slice() else {
                panic!("{applied:?}");
            };
            handles.push(handle.clone());
        }
        assert_eq!(bench.fake.record_sets(&bench.zone.id)[0].ttl, wanted);
        for (value, handle) in ["two", "one"].into_iter().zip(handles.into_iter().rev()) {
            bench.remove(OWNER, value, handle).await;
        }
        assert_eq!(bench.fake.record_sets(&bench.zone.id), [set]);
    }
}

#[tokio::test]
async fn a_name_under_a_routing_policy_is_left_alone() {
    let bench = Bench::open().await;
    let mut set = RecordSet::txt(OWNER, 60, &["theirs"]);
    set.set_identifier = Some("blue".to_owned());
    set.weight = Some(10);
    bench.fake.put(&bench.zone.id, set.clone());
    let applied = bench.add(OWNER, "ours").await;
    says(
        &applied.outcomes,
        &["Refused", OWNER, "routing policy (`blue`)"],
    );
    assert!(matches!(
        bench.remove(OWNER, "ours", None).await.outcomes[0],
        Outcome::Applied { .. }
    ));
    assert_eq!(bench.fake.record_sets(&bench.zone.id), [set]);
}

#[tokio::test]
async fn more_values_than_a_request_can_swap_are_refused() {
    let bench = Bench::open().await;
    let values: Vec<String> = (0..400).map(|n| format!("{n:043}")).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    bench
        .fake
        .put(&bench.zone.id, RecordSet::txt(OWNER, 60, &values));
    let other = "_acme-challenge.www.example.test";
    let changes = [
        change(Action::Add, OWNER, "ours"),
        change(Action::Add, other, "ours"),
    ];
    let applied = bench.apply(&changes).await.unwrap();
    says(&applied.outcomes[0], &["Refused", "too many values"]);
    assert!(matches!(applied.outcomes[1], Outcome::Applied { .. }));
    let too_long = change(Action::Add, other, &"x".repeat(4000));
    let applied = bench.apply(&[too_long]).await.unwrap();
    says(&applied.outcomes, &["Refused", "longer than the 4000"]);
}

async fn served_values(bench: &Bench) -> Vec<dnseal_core::dns::TxtValue> {
    bench.fake.advance(std::time::Duration::from_secs(60));
    served(bench.fake.dns(), name(OWNER)).await.unwrap()
}
