//! Owner names that hold fewer values than an order needs, and such where values of two runs cannot stand together.

use dnseal_core::event::What;
use dnseal_core::issue::Checkpoint;
use dnseal_tests::{Narrow, Sandbox, kill_at};
use tokio_util::sync::CancellationToken;

const NAMES: [&str; 2] = ["example.test", "*.example.test"];

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_one_value_is_proven_one_after_the_other() {
    let narrow = Narrow::holding(1);
    let sandbox = Sandbox::start().await.narrow(&narrow);
    sandbox.issue(&NAMES).await.unwrap();
    assert_eq!(sandbox.leftovers().await, [""; 0]);
    assert_eq!(sandbox.ca.issued().len(), 1);
    assert_eq!(narrow.most_ever(), 1);
    let waves = |what: &What| matches!(what, What::Wave { of: 2, .. });
    assert_eq!(sandbox.workbench.count(waves), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fits_is_proven_at_once() {
    let narrow = Narrow::holding(2);
    let sandbox = Sandbox::start().await.narrow(&narrow);
    sandbox.issue(&NAMES).await.unwrap();
    assert_eq!(sandbox.leftovers().await, [""; 0]);
    assert_eq!(narrow.most_ever(), 2);
    let waves = |what: &What| matches!(what, What::Wave { .. });
    assert_eq!(sandbox.workbench.count(waves), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_any_wave_is_harmless() {
    for points in [
        &[Checkpoint::HeadWritten][..],
        &[Checkpoint::DnsWritten],
        &[Checkpoint::Propagated],
        // The first wave is proven by then, so that the points behind it are those of the second.
        &[Checkpoint::Answered, Checkpoint::HeadWritten],
        &[Checkpoint::Answered, Checkpoint::DnsWritten],
        &[Checkpoint::Answered, Checkpoint::Answered],
        &[Checkpoint::BeforeFinalize],
    ] {
        let narrow = Narrow::holding(1);
        let sandbox = Sandbox::start().await.narrow(&narrow);
        let request = sandbox.request(&NAMES);
        for point in points {
            kill_at(&sandbox.workbench, &request, *point);
        }
        sandbox.run(&request).await.unwrap();
        assert_eq!(sandbox.leftovers().await, [""; 0], "after {points:?}");
        assert_eq!(sandbox.ca.orders().len(), 1, "after {points:?}");
        assert_eq!(narrow.most_ever(), 1, "after {points:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wave_that_the_ca_misses_is_made_again() {
    let narrow = Narrow::holding(1);
    let sandbox = Sandbox::start().await.narrow(&narrow);
    sandbox.ca.faults().fail_secondary_validations(1);
    sandbox.issue(&NAMES).await.unwrap();
    assert_eq!(sandbox.leftovers().await, [""; 0]);
    assert_eq!(narrow.most_ever(), 1);

    sandbox.ca.faults().fail_secondary_validations(100);
    let mut request = sandbox.request(&NAMES);
    request.force = true;
    request.renewal.prove_again = true;
    let error = sandbox.run(&request).await.unwrap_err();
    assert!(error.to_string().contains("example.test"), "{error}");
    assert_eq!(sandbox.leftovers().await, [""; 0]);
}

/// Two runs with four certificates at one owner name, where each removal takes every value with it.
#[tokio::test(flavor = "multi_thread")]
async fn runs_take_turns_where_removals_take_all() {
    let narrow = Narrow::sweeping();
    let sandbox = Sandbox::start().await.narrow(&narrow);
    let never = CancellationToken::new();
    let engines = [sandbox.workbench.engine(), sandbox.workbench.engine()];
    let requests = ["one", "two", "three", "four"].map(|id| {
        let mut request = sandbox.request(&NAMES);
        request.id = id.parse().unwrap();
        // Else the CA would believe the others what one has proven.
        request.account = Some(id.parse().unwrap());
        request
    });
    let runs = requests
        .iter()
        .enumerate()
        .map(|(at, request)| engines[at % 2].issue(request, &never));
    for issued in futures::future::join_all(runs).await {
        issued.unwrap();
    }
    assert_eq!(narrow.most_ever(), 2, "the values of one run");
    assert_eq!(sandbox.leftovers().await, [""; 0]);
}
