//! The writer over a zone in memory, under a clock that stands still.

use super::*;
use crate::dns::testing::MemoryProvider;

fn provider(memory: MemoryProvider) -> (Arc<MemoryProvider>, NamedProvider) {
    let memory = Arc::new(memory);
    let named = NamedProvider {
        name: "memory".to_owned(),
        provider: memory.clone(),
    };
    (memory, named)
}

fn zone() -> Zone {
    Zone {
        id: String::new(),
        name: "a.test".parse().unwrap(),
    }
}

fn change(action: Action, owner: &str, value: &str) -> TxtChange {
    TxtChange {
        action,
        handle: None,
        origin: None,
        owner: owner.parse().unwrap(),
        ttl: 1,
        value: value.parse().unwrap(),
    }
}

async fn submit(
    writers: &ZoneWriters,
    provider: &NamedProvider,
    changes: Vec<TxtChange>,
) -> Vec<Result<Option<Handle>, WriteError>> {
    let cancel = CancellationToken::new();
    let submission = writers.submit(provider, &zone(), changes, &cancel);
    submission.written().await.unwrap().results
}

#[tokio::test(start_paused = true)]
async fn announced_orders_share_one_call() {
    let (memory, provider) = provider(MemoryProvider::default());
    let writers = ZoneWriters::new(Events::silent());
    let cancel = CancellationToken::new();
    let first = writers.announce();
    let second = writers.announce();
    let one = writers.submit(
        &provider,
        &zone(),
        vec![change(Action::Add, "x.a.test", "1")],
        &cancel,
    );
    drop(first);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(memory.calls.lock().unwrap().is_empty());
    let two = writers.submit(
        &provider,
        &zone(),
        vec![change(Action::Add, "x.a.test", "2")],
        &cancel,
    );
    drop(second);
    assert!(one.written().await.unwrap().results[0].is_ok());
    assert!(two.written().await.unwrap().results[0].is_ok());
    assert_eq!(*memory.calls.lock().unwrap(), [2]);
}

#[tokio::test(start_paused = true)]
async fn an_announced_order_that_never_comes_delays_by_200_ms() {
    let (_, provider) = provider(MemoryProvider::default());
    let writers = ZoneWriters::new(Events::silent());
    let _silent = writers.announce();
    let started = Instant::now();
    let results = submit(
        &writers,
        &provider,
        vec![change(Action::Add, "x.a.test", "1")],
    )
    .await;
    assert!(results[0].is_ok());
    assert_eq!(started.elapsed(), COALESCE);
}

#[tokio::test(start_paused = true)]
async fn one_bad_change_fails_alone() {
    let (memory, provider) = provider(MemoryProvider {
        poison: Some("bad.a.test".parse().unwrap()),
        ..MemoryProvider::default()
    });
    let writers = ZoneWriters::new(Events::silent());
    let mut changes: Vec<TxtChange> = (0..99)
        .map(|i| change(Action::Add, &format!("n{i}.a.test"), "v"))
        .collect();
    changes.insert(40, change(Action::Add, "bad.a.test", "v"));
    let results = submit(&writers, &provider, changes).await;
    let failed: Vec<usize> = (0..100).filter(|&i| results[i].is_err()).collect();
    assert_eq!(failed, [40]);
    assert_eq!(memory.values.lock().unwrap().len(), 99);
    assert!(memory.calls.lock().unwrap().len() <= 15);
    let text = results[40].as_ref().unwrap_err().to_string();
    assert!(
        text.contains("bad.a.test") && text.contains("REFUSED"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_shared_value_lives_until_both_let_go() {
    let (memory, provider) = provider(MemoryProvider::default());
    let writers = ZoneWriters::new(Events::silent());
    for _ in 0..2 {
        submit(
            &writers,
            &provider,
            vec![change(Action::Add, "x.a.test", "v")],
        )
        .await;
    }
    submit(
        &writers,
        &provider,
        vec![change(Action::Remove, "x.a.test", "v")],
    )
    .await;
    assert_eq!(memory.values.lock().unwrap().len(), 1);
    submit(
        &writers,
        &provider,
        vec![change(Action::Remove, "x.a.test", "v")],
    )
    .await;
    assert_eq!(memory.values.lock().unwrap().len(), 0);
    // What an earlier process wrote is removed without having been counted.
    submit(
        &writers,
        &provider,
        vec![change(Action::Add, "x.a.test", "v")],
    )
    .await;
    let fresh = ZoneWriters::new(Events::silent());
    submit(
        &fresh,
        &provider,
        vec![change(Action::Remove, "x.a.test", "v")],
    )
    .await;
    assert_eq!(memory.values.lock().unwrap().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_may_succeed_later_is_tried_again_until_cancelled() {
    let (memory, provider) = provider(MemoryProvider::default());
    memory
        .failures
        .store(3, std::sync::atomic::Ordering::Relaxed);
    let writers = ZoneWriters::new(Events::silent());
    let results = submit(
        &writers,
        &provider,
        vec![change(Action::Add, "x.a.test", "v")],
    )
    .await;
    assert!(results[0].is_ok());
    assert_eq!(memory.calls.lock().unwrap().len(), 4);

    memory
        .failures
        .store(usize::MAX, std::sync::atomic::Ordering::Relaxed);
    let cancel = CancellationToken::new();
    cancel.cancel();
    let changes = vec![change(Action::Add, "x.a.test", "w")];
    let written = writers
        .submit(&provider, &zone(), changes, &cancel)
        .written()
        .await
        .unwrap();
    let error = written.results[0].as_ref().unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert_eq!(memory.calls.lock().unwrap().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_cuts_nothing_in_half() {
    let (memory, provider) = provider(MemoryProvider {
        delay: Duration::from_secs(1),
        ..MemoryProvider::default()
    });
    let writers = ZoneWriters::new(Events::silent());
    let cancel = CancellationToken::new();
    drop(writers.submit(
        &provider,
        &zone(),
        vec![change(Action::Add, "x.a.test", "v")],
        &cancel,
    ));
    // The next submission waits behind the one that was left.
    submit(
        &writers,
        &provider,
        vec![change(Action::Add, "x.a.test", "w")],
    )
    .await;
    assert_eq!(memory.values.lock().unwrap().len(), 2);
}
