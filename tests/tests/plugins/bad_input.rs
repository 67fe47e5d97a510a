//! What a plugin can do wrong: each gives a clear error or is coped with, and no value is forgotten.

use std::time::{Duration, Instant};

use dnseal_core::dns::{
    Applied, DnsProvider, DomainName, Handle, NamedProvider, Outcome, ProviderError, Receipt,
    Settlement, TxtChange, Zone, ZoneWriters,
};
use dnseal_core::event::{Events, What};
use dnseal_providers::conformance::{self, CaseResult, Outcome as Verdict, Reading};
use dnseal_providers::{Context, plugin::describe};
use dnseal_tests::{Misbehaving, added, name, removed, value, wait_until};
use tokio_util::sync::CancellationToken;

use crate::{OWNER, ZONE};

#[tokio::test(flavor = "multi_thread")]
async fn a_well_behaved_one_does_it_all() {
    let plugin = Misbehaving::new("well-behaved");
    let provider = plugin.provider(&[]);
    assert_eq!(provider.zone_of(&name(OWNER)).await.unwrap(), zone());
    assert_eq!(
        provider.name_servers(&zone()).await.unwrap(),
        [name("ns1.example.test")]
    );
    let applied = apply(&*provider, &[added(OWNER, "a"), added(OWNER, "b")])
        .await
        .unwrap();
    let handle = |text: &str| Outcome::Applied {
        handle: Some(Handle(text.to_owned())),
    };
    assert_eq!(applied.outcomes, [handle("h-a"), handle("h-b")]);
    assert_eq!(
        provider.settled(&applied.receipt).await.unwrap(),
        Settlement::Settled
    );
    let values = provider.values(&zone(), &name(OWNER)).await.unwrap();
    assert_eq!(values, Some(vec![value("a"), value("b")]));
    // One process said what it is, one has done everything since.
    assert_eq!(plugin.starts(), 2);
}

#[test]
fn what_cannot_be_started_says_why() {
    for (mode, parts) in [
        (
            "exits-at-once",
            &["exit status: 3", "there is no libfrobnicate"][..],
        ),
        ("banner", &["`Welcome to the plugin!`", "no answer"]),
        ("v9", &["speaks version 9", "speaks 1"]),
        ("old-rpc", &["\"1.0\"", "\"2.0\""]),
        ("takes-my-key", &["`command`", "dnseal's own"]),
        ("no-ttl", &["`ttl` is 0"]),
        ("no-values", &["`max_values` is 0"]),
        ("no-changes", &["`max_changes` is 0"]),
        ("settled-before", &["`settle` is -1"]),
        (
            "underscore",
            &["`key_file`", "made of `a-z`, `0-9` and `-`"],
        ),
        (
            "no-describe",
            &[
                "answered `describe` with error -32601",
                "misbehaving.py cannot",
            ],
        ),
    ] {
        let error = Misbehaving::new(mode).kind().unwrap_err();
        for part in parts {
            assert!(error.to_string().contains(part), "{mode}: {error}");
        }
    }
    let v9 = Misbehaving::new("v9").kind().unwrap_err();
    assert!(v9.hint().unwrap().contains("update dnseal"), "{v9:?}");

    let missing = describe("plugin", vec!["/nowhere/plugin".into()]).unwrap_err();
    assert!(missing.to_string().contains("/nowhere/plugin"), "{missing}");
    let relative = describe("plugin", vec!["plugin".into()]).unwrap_err();
    assert!(
        relative.to_string().contains("no absolute path"),
        "{relative}"
    );
}

#[test]
fn what_it_says_of_itself_is_safe_to_show() {
    let kind = Misbehaving::new("title").kind().unwrap();
    assert!(!kind.title.contains('\x1b'), "{}", kind.title);
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_answers_are_errors_that_trying_again_does_not_mend() {
    for (mode, part) in [
        (
            "other-id",
            "it answered request 43 when it was asked request 2",
        ),
        ("garbage", "`Traceback (most recent call last): [redacted]`"),
        ("floods", "more than 4 MiB"),
        ("forgets-one", "2 changes with 1 outcomes"),
        (
            "odd-status",
            "`outcomes[0].status` is the string \"odd\", and has to be one of",
        ),
        (
            "number-handle",
            "in its answer to `apply` `outcomes[0].handle` is the number 17, and has to be a string",
        ),
        ("no-configure", "does not know `configure`, which every"),
        ("no-apply", "does not know `apply`, which every"),
        ("empty", "neither `result` nor `error`"),
    ] {
        let plugin = Misbehaving::new(mode);
        let provider = plugin.provider(&[]);
        let changes = [added(OWNER, "a"), added(OWNER, "b")];
        let error = apply(&*provider, &changes).await.unwrap_err();
        assert!(
            matches!(error, ProviderError::Misconfigured { .. }),
            "{mode}: {error:?}"
        );
        assert!(!error.is_retryable());
        assert!(error.to_string().contains(part), "{mode}: {error}");
        assert!(
            error.hint().unwrap().contains("has to be mended"),
            "{mode}: {error:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_zone_is_an_error() {
    let plugin = Misbehaving::new("other-zone");
    let provider = plugin.provider(&[]);
    let error = provider.zone_of(&name(OWNER)).await.unwrap_err();
    assert!(error.to_string().contains("elsewhere.test"), "{error}");
    // How it is called where it is configured, and nothing of lines, which were right.
    assert!(error.to_string().contains("the plugin `test`"), "{error}");
    let hint = error.hint().unwrap();
    assert!(hint.contains("docs/plugin-protocol.md"), "{hint}");
}

#[test]
fn one_that_takes_more_than_it_is_told_to_takes_turns() {
    let capabilities = |mode| Misbehaving::new(mode).provider(&[]).capabilities();
    assert!(capabilities("exclusive").takes_turns());
    assert!(!capabilities("well-behaved").takes_turns());
}

/// Who dies whenever it is asked is not started for minutes.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_always_dies_is_given_up_soon() {
    let plugin = Misbehaving::new("dies-always");
    let writers = ZoneWriters::new(Events::silent());
    let provider = NamedProvider {
        name: "it".to_owned(),
        provider: plugin.provider(&[]),
    };
    let changes = vec![added(OWNER, "a"), added(OWNER, "b")];
    let cancel = CancellationToken::new();
    let submission = writers.submit(&provider, &zone(), changes, &cancel);
    let written = submission.written().await.unwrap();
    for result in written.results {
        let error = result.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("out of memory"), "{text}");
        assert!(!error.hint().unwrap().contains("PROXY"), "{error:?}");
    }
    // The first said what it is, each of three tries had one more.
    assert_eq!(plugin.starts(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_those_of_the_trait() {
    let plugin = Misbehaving::new("errors");
    let provider = plugin.provider(&[]);
    let error = async |code: &str| {
        let owner = name(&format!("{code}.example.test"));
        provider.zone_of(&owner).await.unwrap_err()
    };
    assert!(matches!(error("1").await, ProviderError::Conflict { .. }));
    assert!(matches!(
        error("2").await,
        ProviderError::Credentials { hint: Some(_), .. }
    ));
    assert!(matches!(
        error("3").await,
        ProviderError::Misconfigured { .. }
    ));
    let limited = error("4").await;
    assert_eq!(limited.retry_after(), Some(Duration::from_millis(7500)));
    assert!(matches!(error("5").await, ProviderError::Refused { .. }));
    assert!(matches!(
        error("6").await,
        ProviderError::Unreachable { .. }
    ));
    assert!(matches!(
        error("7").await,
        ProviderError::Unsupported { .. }
    ));
    let nowhere = error("8").await;
    assert!(nowhere.hint().unwrap().contains("a.test"), "{nowhere:?}");
    for unknown in ["9", "999999", "minus32603", "minus32000"] {
        let error = error(unknown).await;
        assert!(matches!(error, ProviderError::Refused { .. }), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_come_is_retryable_and_the_next_process_does_it() {
    let plugin = Misbehaving::new("late");
    let provider = plugin.provider(&[("plugin-timeout", "1")]);
    let error = apply(&*provider, &[added(OWNER, "a")]).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(error.to_string().contains("within 1s"), "{error}");
    // The late answer belongs to a process that is gone.
    apply(&*provider, &[added(OWNER, "b")]).await.unwrap();
    assert_eq!(plugin.held(), [format!("{OWNER} b")]);
    assert_eq!(plugin.starts(), 3);

    let plugin = Misbehaving::new("never");
    let never = plugin.provider(&[("plugin-timeout", "1")]);
    let began = Instant::now();
    let error = apply(&*never, &[added(OWNER, "a")]).await.unwrap_err();
    assert!(matches!(error, ProviderError::Failed { .. }), "{error:?}");
    let hint = error.hint().unwrap();
    assert!(hint.contains("`plugin-timeout`"), "{hint}");
    assert!(began.elapsed() < Duration::from_secs(20));

    let plugin = Misbehaving::new("repeats");
    let repeats = plugin.provider(&[("plugin-timeout", "1")]);
    let error = apply(&*repeats, &[added(OWNER, "a")]).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("it answered request 1 again in the meantime"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_ends_after_a_request_is_told_how_long_to_stay() {
    let plugin = Misbehaving::new("ends-well");
    let error = plugin.provider(&[]).zone_of(&name(OWNER)).await;
    let error = error.unwrap_err();
    assert!(error.to_string().contains("exit status: 0"), "{error}");
    let hint = error.hint().unwrap();
    assert!(hint.contains("one request after the other"), "{hint}");
}

/// Nobody knows what such an answer means, so that it is not the error that a case wants.
#[tokio::test(flavor = "multi_thread")]
async fn a_breach_of_the_protocol_passes_no_case() {
    for mode in ["string-code", "no-zone_of", "no-configure"] {
        let plugin = Misbehaving::new(mode);
        let provider = plugin.provider(&[]);
        let results = conform(&plugin, &*provider).await;
        let of = |case| results.iter().find(|r| r.name == case).unwrap();
        let unknown = &of("unknown-zone").outcome;
        let Some(reason) = failure(unknown) else {
            panic!("{mode}: {unknown:?}");
        };
        assert!(reason.contains("breaks the plugin protocol"), "{reason}");
        let expected = match mode {
            "string-code" => "`error.code` is the string \"zone-not-found\"",
            "no-zone_of" => "does not know `zone_of`",
            _ => "does not know `configure`",
        };
        assert!(reason.contains(expected), "{mode}: {reason}");
        if mode != "string-code" {
            let supported = |r: &CaseResult| matches!(r.outcome, Verdict::NotSupported(_));
            let excused: Vec<_> = results.iter().filter(|r| supported(r)).collect();
            // What was not given, and nothing that the plugin could say.
            assert_eq!(excused.len(), 2, "{excused:?}");
        }
    }
}

/// What can be understood is, and who listens hears of it.
#[tokio::test(flavor = "multi_thread")]
async fn small_breaches_are_forgiven_and_noted_once() {
    let (events, mut told) = Events::channel();
    let plugin = Misbehaving::new("sloppy");
    let provider = plugin.provider_in(&[], &Context::default().with_events(events));
    for _ in 0..2 {
        assert_eq!(provider.zone_of(&name(OWNER)).await.unwrap(), zone());
    }
    drop(provider);
    let mut notes = Vec::new();
    while let Ok(event) = told.try_recv() {
        if let What::ProviderLog { line, .. } = event.what
            && line.starts_with("(dnseal: ")
        {
            notes.push(line);
        }
    }
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].contains("`error: null`"), "{notes:?}");
    assert!(notes[1].contains("without a final dot"), "{notes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_answer_is_passed_over_and_told() {
    let (events, mut told) = Events::channel();
    let plugin = Misbehaving::new("twice");
    let provider = plugin.provider_in(&[], &Context::default().with_events(events));
    for text in ["a", "b", "c"] {
        apply(&*provider, &[added(OWNER, text)]).await.unwrap();
    }
    assert_eq!(plugin.held().len(), 3);
    assert_eq!(plugin.starts(), 2);
    let mut warnings = 0;
    while let Ok(event) = told.try_recv() {
        if let What::Warning { message, .. } = event.what {
            assert!(message.contains("again"), "{message}");
            warnings += 1;
        }
    }
    assert_eq!(warnings, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_dies_is_started_again_and_nothing_is_forgotten() {
    // Between two batches: the removal of what the first has added comes to a new process.
    let plugin = Misbehaving::new("dies-between");
    let provider = plugin.provider(&[]);
    apply(&*provider, &[added(OWNER, "a"), added(OWNER, "b")])
        .await
        .unwrap();
    apply(&*provider, &[removed(OWNER, "a"), removed(OWNER, "b")])
        .await
        .unwrap();
    assert_eq!(plugin.held(), Vec::<String>::new());
    // Its values were told by new processes as well.
    assert!(plugin.starts() >= 3);

    // In the middle of a batch, after others were done by the same process.
    let plugin = Misbehaving::new("dies-during");
    let provider = plugin.provider(&[]);
    provider.zone_of(&name(OWNER)).await.unwrap();
    apply(&*provider, &[added(OWNER, "a")]).await.unwrap();
    assert_eq!(plugin.held(), [format!("{OWNER} a")]);

    // Always: the error has its last words, and the writer may try again.
    let plugin = Misbehaving::new("dies-always");
    let provider = plugin.provider(&[]);
    let error = apply(&*provider, &[added(OWNER, "a")]).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("exit status: 3") && text.contains("out of memory"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_that_is_none_is_found() {
    let plugin = Misbehaving::new("lies");
    let provider = plugin.provider(&[]);
    let applied = apply(&*provider, &[added(OWNER, "a"), removed(OWNER, "b")])
        .await
        .unwrap();
    let [Outcome::Unknown { reason }, Outcome::Applied { .. }] = applied.outcomes.as_slice() else {
        panic!("{applied:?}");
    };
    assert!(reason.contains(OWNER), "{reason}");
    assert!(reason.contains("added `a`"), "{reason}");
    assert!(reason.contains("tells no value there"), "{reason}");

    let plugin = Misbehaving::new("quotes");
    let provider = plugin.provider(&[]);
    let values = ["b", "c", "d", "e"].map(|text| added(OWNER, text));
    apply(&*provider, &values).await.unwrap();
    let applied = apply(&*provider, &[added(OWNER, "a")]).await.unwrap();
    let [Outcome::Unknown { reason }] = applied.outcomes.as_slice() else {
        panic!("{applied:?}");
    };
    let told = "tells only `\"a\"`, `\"b\"`, `\"c\"` and 2 more there";
    assert!(reason.contains(told), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_as_small_as_it_wants_them() {
    let plugin = Misbehaving::new("small-batches");
    let provider = plugin.provider(&[]);
    let changes: Vec<TxtChange> = ["a", "b", "c", "d", "e"].map(|v| added(OWNER, v)).into();
    let applied = apply(&*provider, &changes).await.unwrap();
    assert_eq!(applied.outcomes.len(), 5);
    assert_eq!(applied.receipt, Receipt(vec!["r1".to_owned(); 3]));
    assert_eq!(plugin.held().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_is_told_it_is_told_by_type_and_its_log_has_no_secrets() {
    let (events, mut told) = Events::channel();
    let context = Context::default().with_events(events);
    let typed = Misbehaving::new("typed");
    let provider = typed.provider_in(&[("flag", "yes"), ("patience", "1m 30s")], &context);
    provider.zone_of(&name(OWNER)).await.unwrap();
    let leaking = Misbehaving::new("leaks");
    let provider = leaking.provider_in(&[], &context);
    let error = provider.zone_of(&name(OWNER)).await.unwrap_err();
    assert!(
        matches!(error, ProviderError::Credentials { .. }),
        "{error:?}"
    );
    assert_eq!(error.hint().as_deref(), Some("make another"));
    assert!(error.to_string().contains("[redacted]"), "{error}");
    assert!(
        !format!("{error:?} {provider:?}").contains("canary"),
        "{error:?}"
    );

    let mut lines = Vec::new();
    while lines.len() < 2 {
        let event = tokio::time::timeout(Duration::from_secs(5), told.recv()).await;
        if let What::ProviderLog { line, .. } = event.unwrap().unwrap().what {
            lines.push(line);
        }
    }
    assert_eq!(
        lines[0],
        r#"{"flag": true, "number": 7, "patience": 90.0, "token": "hidden"}"#
    );
    assert_eq!(lines[1], "my token is [redacted]");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_asked_to_end_and_ended_if_it_does_not() {
    for mode in ["well-behaved", "stubborn"] {
        let plugin = Misbehaving::new(mode);
        let provider = plugin.provider(&[]);
        provider.zone_of(&name(OWNER)).await.unwrap();
        let script = plugin.command()[2].clone();
        assert!(!processes_with(&script).is_empty(), "{mode}");
        drop(provider);
        assert!(
            wait_until(Duration::from_secs(5), || processes_with(&script)
                .is_empty()),
            "{mode}"
        );
    }
}

async fn conform(plugin: &Misbehaving, provider: &dyn DnsProvider) -> Vec<CaseResult> {
    let held = plugin.state();
    let read = move |owner: DomainName| -> Reading {
        let text = std::fs::read_to_string(&held).unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        let values = lines.filter(|(at, _)| *at == owner.as_str());
        let values: Vec<_> = values.map(|(_, text)| value(text)).collect();
        Box::pin(std::future::ready(Ok(values)))
    };
    let options = conformance::Options {
        base: name("base.example.test"),
        deeper_zone: None,
        foreign: name("_acme-challenge.elsewhere.invalid"),
        impostor: None,
        patience: Duration::ZERO,
        read: &read,
        zone: None,
    };
    conformance::run(provider, &options).await
}

fn failure(verdict: &Verdict) -> Option<&str> {
    match verdict {
        Verdict::Fail(reason) => Some(reason),
        _ => None,
    }
}

/// The processes with this word on their command line.
fn processes_with(word: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .filter(|line| line.contains(word))
        .collect()
}

async fn apply(
    provider: &dyn DnsProvider,
    changes: &[TxtChange],
) -> Result<Applied, ProviderError> {
    provider.apply(&zone(), changes).await
}

fn zone() -> Zone {
    Zone {
        id: String::new(),
        name: name(ZONE),
    }
}
