//! Jobs that run at once, share the account's key, and have no disk in common: whatever the CA hands to both, both succeed.

use std::time::Duration;

use dnseal_core::acme::AccountKey;
use dnseal_core::issue::{Checkpoint, Engine, Request};
use dnseal_core::store::{DirectoryStore, StoredAccount};
use dnseal_sandbox::ca::Ca;
use dnseal_tests::{HoldAt, SHORT, Sandbox, Shop, Workbench, issue};
use futures::future::join_all;
use jiff::Timestamp;

const NAMES: [&str; 2] = ["example.test", "*.example.test"];

/// A machine of its own whose store has the account with this key.
async fn machine(sandbox: &Sandbox, key: &AccountKey) -> (Workbench, Request) {
    let workbench = sandbox.another_workbench();
    let request = Request {
        timeouts: dnseal_core::issue::Timeouts {
            order_look: Duration::from_millis(100),
            ..SHORT
        },
        ..workbench.request(&NAMES)
    };
    let store = DirectoryStore::open(&workbench.home().join("store")).unwrap();
    let directory = request.ca.url.clone();
    let account = StoredAccount::new(
        request.account_id(),
        directory,
        key.pkcs8_base64(),
        Timestamp::now(),
    );
    account.save(&store, None).await.unwrap();
    (workbench, request)
}

async fn all_at_once(ca: dnseal_sandbox::ca::CaBuilder, jobs: usize) {
    let sandbox = Sandbox::with_ca(ca).await;
    let key = AccountKey::generate().unwrap();
    let mut machines = Vec::new();
    for _ in 0..jobs {
        machines.push(machine(&sandbox, &key).await);
    }
    let runs = machines
        .iter()
        .map(|(workbench, request)| async move { issue(&workbench.engine(), request).await });
    let mut serials: Vec<String> = join_all(runs)
        .await
        .into_iter()
        .map(|issued| issued.unwrap().version.serial)
        .collect();
    serials.sort();
    serials.dedup();
    assert_eq!(serials.len(), jobs, "each has a certificate of its own");
    assert_eq!(sandbox.ca.accounts().len(), 1);
    for (workbench, _) in &machines {
        assert_eq!(workbench.leftovers().await, [""; 0]);
    }
    assert_eq!(sandbox.leftovers().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_ca_that_hands_the_same_order_to_all() {
    all_at_once(Ca::builder(), 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_ca_that_wants_every_proof_anew() {
    all_at_once(Ca::builder().authz_reuse(false), 4).await;
}

/// One is held, and the other comes to its end meanwhile, with the same order and the same values.
async fn while_one_is_held_at(point: Checkpoint) {
    let sandbox = Sandbox::start().await;
    let key = AccountKey::generate().unwrap();
    let (slow, request) = machine(&sandbox, &key).await;
    let (quick, quick_request) = machine(&sandbox, &key).await;
    let hold = HoldAt::new(point);
    let engine: Engine = slow.engine().with_checkpoints(hold.clone());
    let quickly = async {
        hold.held().await;
        let issued = issue(&quick.engine(), &quick_request).await.unwrap();
        hold.let_go();
        // Its second order comes by the same point.
        for _ in 0..8 {
            hold.let_go();
        }
        issued
    };
    let (slowly, quickly) = tokio::join!(issue(&engine, &request), quickly);
    let slowly = slowly.unwrap();
    assert_ne!(slowly.version.serial, quickly.version.serial);
    assert_eq!(sandbox.ca.accounts().len(), 1);
    for workbench in [&slow, &quick] {
        assert_eq!(workbench.leftovers().await, [""; 0]);
    }
    assert_eq!(sandbox.leftovers().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_the_other_has_withdrawn_is_not_waited_for() {
    while_one_is_held_at(Checkpoint::DnsWritten).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_the_other_has_finalized_is_ordered_again() {
    for point in [
        Checkpoint::Propagated,
        Checkpoint::Answered,
        Checkpoint::BeforeFinalize,
    ] {
        while_one_is_held_at(point).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_the_other_has_given_up_is_made_again() {
    let sandbox = Sandbox::start().await;
    let key = AccountKey::generate().unwrap();
    let (slow, request) = machine(&sandbox, &key).await;
    let (stopped, stopped_request) = machine(&sandbox, &key).await;
    let hold = HoldAt::new(Checkpoint::DnsWritten);
    let engine = slow.engine().with_checkpoints(hold.clone());
    let cancel = tokio_util::sync::CancellationToken::new();
    let other = HoldAt::new(Checkpoint::DnsWritten);
    let other_engine = stopped.engine().with_checkpoints(other.clone());
    let stopping = async {
        hold.held().await;
        let run = other_engine.issue(&stopped_request, &cancel);
        let stop = async {
            other.held().await;
            cancel.cancel();
            other.let_go();
        };
        let (ended, ()) = tokio::join!(run, stop);
        assert!(ended.is_err());
        for _ in 0..8 {
            hold.let_go();
        }
    };
    let (issued, ()) = tokio::join!(issue(&engine, &request), stopping);
    assert!(issued.unwrap().issued_now);
    assert_eq!(sandbox.leftovers().await, [""; 0]);
}

#[test]
fn two_jobs_of_the_binary_with_one_key_in_the_environment() {
    let Some(shop) = Shop::open() else { return };
    let key = AccountKey::generate().unwrap().to_pem();
    let key = secrecy::ExposeSecret::expose_secret(&key).to_owned();
    let running: Vec<_> = ["one", "two"]
        .into_iter()
        .map(|job| {
            shop.issue(&NAMES)
                .env("DNSEAL_STORE", shop.home().join(job).join("store"))
                .env("DNSEAL_LIVE", shop.home().join(job).join("live"))
                .env("DNSEAL_ACCOUNT_KEY", &key)
                .spawn()
        })
        .collect();
    for job in running {
        job.wait().success();
    }
    for job in ["one", "two"] {
        let cert = shop
            .home()
            .join(job)
            .join("live/example.test/fullchain.pem");
        assert!(cert.exists());
    }
}
