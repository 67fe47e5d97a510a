//! Where challenges live, as the user says it: a target behind a wildcard, no delegation, and the CNAME to set.

use dnseal_tests::{NameServer, txt_values};

use crate::world::{Examined, world};

const TARGET: &str = "t.acme.example.test";

/// The alias has the same target as the wildcard beside it, so that nobody can tell them apart from outside.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_behind_a_wildcard_is_written_when_it_is_named() {
    let Some((bind, world)) = world(&[
        "*.w CNAME t.acme",
        "_acme-challenge.w CNAME t.acme",
        "t.acme TXT foreign",
    ])
    .await
    else {
        return;
    };
    let run = world
        .command("issue w.example.test")
        .args(["--challenge-alias", &format!("w.example.test={TARGET}")])
        .run()
        .success();
    assert!(!run.stderr.contains("warning"), "{}", run.stderr);
    assert_eq!(txt_values(bind.addr(), TARGET), ["foreign"]);
    assert_eq!(world.orders(), 1);

    // A configuration says the same, and a killed run's value is found at the target without it.
    let config = world.dir().join("dnseal.yaml");
    std::fs::write(
        &config,
        format!("delegation:\n  example.test: {{ target: {TARGET} }}\n"),
    )
    .unwrap();
    let running = world
        .command("issue w.example.test --force --config")
        .arg(&config)
        .env("DNSEAL_TEST_PAUSE_AT", "dns-written")
        .spawn();
    running.wait_stderr("paused at dns-written");
    running.kill();
    running.wait();
    assert_eq!(txt_values(bind.addr(), TARGET).len(), 2);
    world.command("dns gc").run().success();
    assert_eq!(txt_values(bind.addr(), TARGET), ["foreign"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_to_which_nothing_leads_is_found() {
    let Some((bind, world)) = world(&["_acme-challenge.b CNAME elsewhere"]).await else {
        return;
    };
    for (name, seen) in [
        ("a", "_acme-challenge.a.example.test is no alias of it"),
        (
            "b",
            "_acme-challenge.b.example.test leads to elsewhere.example.test",
        ),
    ] {
        let run = world
            .command(&format!(
                "doctor {name}.example.test --read-only --output json"
            ))
            .args(["--challenge-alias", TARGET])
            .run();
        let delegation = Examined::of(run).ends(4).the("delegation", "failure");
        assert!(delegation.contains(seen), "{delegation}");
        let set = format!("set `_acme-challenge.{name}.example.test. CNAME {TARGET}.`");
        assert!(delegation.contains(&set), "{delegation}");
    }
    // `none` leaves the alias alone, where the value cannot be, and says where it would go.
    let run = world
        .command("doctor a.example.test --delegation none --output json")
        .run();
    Examined::of(run).ends(0);
    assert_eq!(txt_values(bind.addr(), TARGET), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_to_set_is_printed_and_checked() {
    let Some((_bind, world)) = world(&["_acme-challenge.set CNAME t.acme"]).await else {
        return;
    };
    let missing = world
        .command(&format!("dns delegate *.missing.example.test {TARGET}"))
        .run()
        .expect_code(5);
    let record = format!("_acme-challenge.missing.example.test. 3600 IN CNAME {TARGET}.\n");
    assert!(missing.stdout.starts_with(&record), "{}", missing.stdout);
    assert!(missing.stdout.contains("no CNAME"), "{}", missing.stdout);
    assert!(
        missing.stdout.contains("set it in the zone example.test"),
        "{}",
        missing.stdout
    );

    let set = world
        .command(&format!("dns delegate set.example.test {TARGET}"))
        .run()
        .success();
    assert!(
        set.stdout.contains("it is set at every name server"),
        "{}",
        set.stdout
    );
    assert!(
        set.stdout.contains(&format!(
            "values go to {TARGET} in the zone example.test, through rfc2136"
        )),
        "{}",
        set.stdout
    );
    let json = world
        .command(&format!(
            "dns delegate set.example.test {TARGET} --output json"
        ))
        .run()
        .success()
        .json();
    assert_eq!(json["set"], true, "{json:#}");
    assert_eq!(json["servers"][0]["has_it"], true, "{json:#}");
    let other = world
        .command("dns delegate set.example.test other.example.test")
        .run()
        .expect_code(5);
    assert!(
        other.stdout.contains(&format!("CNAME to {TARGET}.")),
        "{}",
        other.stdout
    );
}
