//! Many names in few requests, many writers at one name, and whatever happens between reading and writing.

use dnseal_core::dns::{Action, Outcome, ProviderError, TxtChange};
use dnseal_tests::fakes::route53::{Fault, RecordSet, Route53Options};
use tokio::task::JoinSet;

use crate::bench::{Bench, ZONE, all_applied, apply_patiently, challenge, change, provider, says};

const OWNER: &str = "_acme-challenge.example.test";
const CHANGE: &str = "ChangeResourceRecordSets";
const LIST: &str = "ListResourceRecordSets";

#[tokio::test]
async fn a_hundred_names_are_one_batch_each_way() {
    let bench = Bench::open().await;
    let changes = |action| -> Vec<TxtChange> {
        (0..100)
            .map(|n| change(action, &challenge(n), "value"))
            .collect()
    };
    let applied = bench.apply(&changes(Action::Add)).await.unwrap();
    all_applied(&applied);
    assert_eq!(applied.receipt.0.len(), 1);
    assert_eq!(bench.fake.record_sets(&bench.zone.id).len(), 100);
    let applied = bench.apply(&changes(Action::Remove)).await.unwrap();
    all_applied(&applied);
    assert_eq!(bench.fake.record_sets(&bench.zone.id), []);
    assert_eq!(bench.fake.count(CHANGE, ""), 2);
    assert!(
        bench.fake.count(LIST, "") <= 4,
        "{}",
        bench.fake.count(LIST, "")
    );
}

#[tokio::test]
async fn a_large_zone_is_read_where_it_is_written() {
    let bench = Bench::open().await;
    let hosts =
        (0..1000).map(|n| RecordSet::new(&format!("host{n:04}.{ZONE}"), "A", 60, &["192.0.2.1"]));
    bench.fake.put_all(&bench.zone.id, hosts);
    bench
        .add("_acme-challenge.host0500.example.test", "value")
        .await;
    assert_eq!(bench.fake.count(LIST, ""), 1);
    // Five names that are far from each other, with two hundred others between each.
    let changes: Vec<TxtChange> = (0..5)
        .map(|n| {
            change(
                Action::Add,
                &format!("_acme-challenge.host{:04}.{ZONE}", n * 200),
                "value",
            )
        })
        .collect();
    all_applied(&bench.apply(&changes).await.unwrap());
    assert!(
        bench.fake.count(LIST, "") <= 6,
        "{}",
        bench.fake.count(LIST, "")
    );
}

#[tokio::test]
async fn batches_keep_to_the_limits() {
    let bench = Bench::open().await;
    let theirs = (0..450).map(|n| RecordSet::txt(&challenge(n), 60, &["theirs"]));
    bench.fake.put_all(&bench.zone.id, theirs);
    // Three records each: theirs, and theirs with ours.
    let changes: Vec<TxtChange> = (0..450)
        .map(|n| change(Action::Add, &challenge(n), "ours"))
        .collect();
    let applied = bench.apply(&changes).await.unwrap();
    all_applied(&applied);
    assert_eq!(applied.receipt.0.len(), 2);
    assert_eq!(bench.fake.count(CHANGE, "InvalidChangeBatch"), 0);

    // Few records, many characters.
    let long = "x".repeat(3900);
    let changes: Vec<TxtChange> = (0..20)
        .map(|n| {
            change(
                Action::Add,
                &format!("_acme-challenge.long{n}.{ZONE}"),
                &long,
            )
        })
        .collect();
    let applied = bench.apply(&changes).await.unwrap();
    all_applied(&applied);
    assert_eq!(applied.receipt.0.len(), 3);
    assert_eq!(bench.fake.count(CHANGE, "InvalidChangeBatch"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_that_know_nothing_of_each_other_lose_nothing() {
    let keys: Vec<(String, String)> = (0..4)
        .map(|n| (format!("AKIAWRITER{n}"), format!("secret {n}")))
        .collect();
    let mut bench = Bench::with(Route53Options {
        burst: 10_000,
        keys: keys.clone(),
        rate: 10_000,
        ..Route53Options::default()
    })
    .await;
    bench
        .fake
        .put(&bench.zone.id, RecordSet::txt(OWNER, 300, &["foreign"]));
    let before = bench.fake.record_sets(&bench.zone.id);
    // An account of its own each, so that they share neither limit nor lock, as processes do not.
    let providers: Vec<_> = keys
        .iter()
        .map(|(id, secret)| {
            let settings = [
                ("access-key-id", id.as_str()),
                ("secret-access-key", secret),
            ];
            provider(&bench.fake, &settings)
        })
        .collect();
    bench.provider = providers[0].clone();

    let mut handles = Vec::new();
    for action in [Action::Add, Action::Remove] {
        let mut tasks = JoinSet::new();
        for number in 0..16 {
            let provider = providers[number % providers.len()].clone();
            let zone = bench.zone.clone();
            let change = TxtChange {
                handle: handles.get(number).cloned().flatten(),
                ..change(action, OWNER, &format!("value-{number}"))
            };
            tasks.spawn(async move {
                let applied = apply_patiently(provider.as_ref(), &zone, &[change]).await;
                (number, applied)
            });
        }
        let mut results = tasks.join_all().await;
        results.sort_by_key(|(number, _)| *number);
        handles.clear();
        for (_, applied) in results {
            all_applied(&applied);
            let [Outcome::Applied { handle }] = applied.outcomes.as_slice() else {
                panic!("{applied:?}");
            };
            handles.push(handle.clone());
        }
        let mut values = bench.txt(OWNER);
        values.sort();
        let mut wanted = vec!["\"foreign\"".to_owned()];
        if action == Action::Add {
            wanted.extend((0..16).map(|n| format!("\"value-{n}\"")));
        }
        wanted.sort();
        assert_eq!(values, wanted);
    }
    assert_eq!(bench.fake.record_sets(&bench.zone.id), before);
    // Otherwise this shows nothing.
    assert!(bench.fake.count(CHANGE, "InvalidChangeBatch") > 0);
    let changes = bench.fake.calls().into_iter().flat_map(|call| call.changes);
    assert!(
        changes
            .into_iter()
            .all(|change| !change.starts_with("UPSERT"))
    );
}

#[tokio::test]
async fn what_somebody_writes_in_between_is_kept() {
    let bench = Bench::open().await;
    for (present, meanwhile, wanted) in [
        (&[][..], &["theirs"][..], &["\"theirs\"", "\"ours\""][..]),
        (
            &["old"],
            &["old", "theirs"],
            &["\"old\"", "\"theirs\"", "\"ours\""],
        ),
        (&["old"], &[], &["\"ours\""]),
    ] {
        bench
            .fake
            .put(&bench.zone.id, RecordSet::txt(OWNER, 60, present));
        bench
            .fake
            .put_before_next_change(&bench.zone.id, RecordSet::txt(OWNER, 60, meanwhile));
        bench.fake.clear_log();
        let other = challenge(1);
        let changes = [
            change(Action::Add, OWNER, "ours"),
            change(Action::Add, &other, "v"),
        ];
        all_applied(&bench.apply(&changes).await.unwrap());
        assert_eq!(bench.txt(OWNER), wanted);
        assert_eq!(bench.txt(&other), ["\"v\""]);
        assert_eq!(bench.fake.count(CHANGE, "InvalidChangeBatch"), 1);
        bench.remove(&other, "v", None).await;
    }
}

#[tokio::test]
async fn a_refused_change_fails_alone() {
    let bench = Bench::open().await;
    let alias = RecordSet::new(&challenge(1), "CNAME", 60, &["elsewhere.test"]);
    bench.fake.put(&bench.zone.id, alias);
    let changes: Vec<TxtChange> = (0..3)
        .map(|n| change(Action::Add, &challenge(n), "value"))
        .collect();
    let applied = bench.apply(&changes).await.unwrap();
    assert!(matches!(applied.outcomes[0], Outcome::Applied { .. }));
    assert!(matches!(applied.outcomes[2], Outcome::Applied { .. }));
    says(
        &applied.outcomes[1],
        &[
            "Refused",
            "the Route 53 API",
            "conflicting RRSet of type CNAME",
        ],
    );
    assert_eq!(bench.txt(&challenge(2)), ["\"value\""]);
}

#[tokio::test]
async fn a_refusal_that_names_nobody_is_halved() {
    let bench = Bench::open().await;
    // The whole batch, both halves of it, and then the half of a half that is bad.
    let words = Fault::Refuse(400, "InvalidChangeBatch", "[something about somebody]");
    bench.fake.inject(CHANGE, words, 1);
    let changes: Vec<TxtChange> = (0..4)
        .map(|n| change(Action::Add, &challenge(n), "value"))
        .collect();
    all_applied(&bench.apply(&changes).await.unwrap());
    assert_eq!(bench.fake.count(CHANGE, ""), 2);

    bench.fake.clear_log();
    bench.fake.inject(CHANGE, words, 1);
    let applied = bench.add(&challenge(9), "value").await;
    says(&applied.outcomes, &["Refused", "something about somebody"]);
    assert_eq!(bench.fake.count(CHANGE, ""), 0);
}

#[tokio::test]
async fn a_lost_answer_is_no_loss() {
    let bench = Bench::open().await;
    bench.fake.inject(CHANGE, Fault::LoseAnswer, 1);
    all_applied(&bench.add(OWNER, "value").await);
    assert_eq!(bench.txt(OWNER), ["\"value\""]);
    bench.fake.inject(CHANGE, Fault::LoseAnswer, 1);
    all_applied(&bench.remove(OWNER, "value", None).await);
    assert_eq!(bench.txt(OWNER), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_there_already_is_not_written() {
    let bench = Bench::open().await;
    bench.add(OWNER, "value").await;
    bench.fake.clear_log();
    let applied = bench.add(OWNER, "value").await;
    all_applied(&applied);
    assert!(applied.receipt.0.is_empty());
    all_applied(&bench.remove(OWNER, "absent", None).await);
    assert_eq!(bench.fake.count(CHANGE, ""), 0);
}

#[tokio::test]
async fn a_server_that_fails_is_unreachable() {
    let bench = Bench::open().await;
    for fault in [
        Fault::Close,
        Fault::Refuse(503, "ServiceUnavailable", "come back"),
    ] {
        bench.fake.inject(LIST, fault, 3);
        let change = [change(Action::Add, OWNER, "value")];
        let error = bench.apply(&change).await.unwrap_err();
        assert!(
            matches!(error, ProviderError::Unreachable { .. }),
            "{error:?}"
        );
        // Once less, and it gets through.
        bench.fake.inject(LIST, fault, 2);
        all_applied(&bench.apply(&change).await.unwrap());
        bench.remove(OWNER, "value", None).await;
    }
}
