//! A store and a live directory that somebody has touched.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use dnseal_core::issue::{Checkpoint, ErrorKind, Fate};
use dnseal_sandbox::ca::{Answer, Resource};
use dnseal_tests::{Sandbox, kill_at};
use tokio_util::sync::CancellationToken;

const NAMES: [&str; 1] = ["example.test"];

fn certificate(sandbox: &Sandbox, file: &str) -> PathBuf {
    sandbox
        .workbench
        .home()
        .join("store/certificates/example.test")
        .join(file)
}

#[tokio::test(flavor = "multi_thread")]
async fn live_files_that_were_changed_are_put_right() {
    let sandbox = Sandbox::start().await;
    let issued = sandbox.issue(&NAMES).await.unwrap();
    let key = fs::read(&issued.files.privkey).unwrap();
    fs::write(&issued.files.privkey, "junk").unwrap();
    let kept = sandbox.issue(&NAMES).await.unwrap();
    assert!(!kept.issued_now);
    assert_eq!(fs::read(&issued.files.privkey).unwrap(), key);
    fs::remove_dir_all(sandbox.workbench.home().join("live")).unwrap();
    sandbox.issue(&NAMES).await.unwrap();
    assert_eq!(fs::read(&issued.files.privkey).unwrap(), key);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_without_its_own_key_is_replaced() {
    let sandbox = Sandbox::start().await;
    let first = sandbox.issue(&NAMES).await.unwrap();
    let other = sandbox.issue(&["other.example.test"]).await.unwrap();
    fs::copy(
        other.files.privkey,
        certificate(&sandbox, "versions/0001.privkey.pem"),
    )
    .unwrap();
    let second = sandbox.issue(&NAMES).await.unwrap();
    assert!(second.issued_now);
    assert_ne!(second.version.serial, first.version.serial);

    fs::remove_file(certificate(&sandbox, "versions/0002.privkey.pem")).unwrap();
    let third = sandbox.issue(&NAMES).await.unwrap();
    assert_eq!(third.version.number, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_head_put_back_costs_no_order() {
    let sandbox = Sandbox::start().await;
    sandbox.issue(&NAMES).await.unwrap();
    let old = fs::read(certificate(&sandbox, "head.json")).unwrap();
    let mut request = sandbox.request(&NAMES);
    request.force = true;
    sandbox.run(&request).await.unwrap();
    fs::write(certificate(&sandbox, "head.json"), &old).unwrap();
    assert_eq!(sandbox.run(&request).await.unwrap().version.number, 3);

    let full = String::from_utf8(old).unwrap();
    let full = full.replace("\"last_version\": 1", "\"last_version\": 4294967295");
    fs::write(certificate(&sandbox, "head.json"), full).unwrap();
    let error = sandbox.run(&request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    assert!(error.to_string().contains("head.json"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_written_elsewhere_are_not_taken_for_withdrawn() {
    let sandbox = Sandbox::start().await;
    kill_at(
        &sandbox.workbench,
        &sandbox.request(&NAMES),
        Checkpoint::DnsWritten,
    );
    assert_eq!(sandbox.ours_in_dns().len(), 1);
    // As if the provider had written to another server then.
    let head = certificate(&sandbox, "head.json");
    let text = fs::read_to_string(&head).unwrap();
    let here = sandbox.dns.addr().to_string();
    fs::write(&head, text.replace(&here, "192.0.2.1:53")).unwrap();

    let id = "example.test".parse().unwrap();
    let engine = sandbox.workbench.engine();
    let cancel = CancellationToken::new();
    let swept = async |forget| {
        engine
            .sweep(&id, forget, Duration::ZERO, &cancel)
            .await
            .unwrap()
    };
    let left = swept(false).await.unwrap();
    assert_eq!((left.withdrawn, left.left), (0, 1));
    assert_eq!(left.values[0].fate, Fate::Left);
    let reason = left.values[0].reason.clone().unwrap();
    assert!(reason.contains("192.0.2.1:53"), "{reason}");
    let warnings = sandbox.workbench.warnings();
    assert!(
        warnings
            .iter()
            .any(|w| w.contains("192.0.2.1:53") && w.contains(&here)),
        "{warnings:?}"
    );

    // The way out, where that server is gone for good.
    let forgotten = swept(true).await.unwrap();
    assert_eq!((forgotten.forgotten, forgotten.left), (1, 0));
    let value = &forgotten.values[0];
    assert_eq!(value.fate, Fate::Forgotten);
    assert_eq!(value.owner.as_str(), "_acme-challenge.example.test");
    let ours = format!("{} TXT {}", value.owner, value.value);
    assert_eq!(*sandbox.ours_in_dns(), [ours]);
    assert_eq!(swept(false).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_head_is_named() {
    let sandbox = Sandbox::start().await;
    let junk = sandbox.workbench.home().join("store/certificates/junk");
    fs::create_dir_all(&junk).unwrap();
    fs::write(junk.join("head.json"), "{").unwrap();
    let never = CancellationToken::new();
    let junk = "junk".parse().unwrap();
    let engine = sandbox.workbench.engine();
    let swept = engine.sweep(&junk, false, Duration::ZERO, &never).await;
    let problem = swept.unwrap().unwrap().problem.unwrap();
    assert!(problem.contains("junk/head.json"), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_names_plain_http_is_sent_nothing() {
    let sandbox = Sandbox::start().await;
    let plain = r#"{"newNonce": "http://127.0.0.1:9/n", "newAccount": "http://127.0.0.1:9/a", "newOrder": "http://127.0.0.1:9/o"}"#;
    let answer = Answer::new(200, "application/json", plain);
    sandbox.ca.faults().next(Resource::Directory, answer);
    let error = sandbox.issue(&NAMES).await.unwrap_err();
    assert!(error.to_string().contains("http://127.0.0.1:9/"), "{error}");
    assert!(error.to_string().contains("not HTTPS"), "{error}");
}
