//! Servers that are written and never asked by a CA: a hidden primary, and one with two views of a zone.

use dnseal_tests::{Bind, BindOptions, NameServer, TsigKey, ZoneSpec, free_addr, txt_values};

use crate::world::{OWNER, World, ZONE};

/// Updates go to a primary that nobody is delegated to; what counts is what its secondary shows.
#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_primary_is_written_and_its_secondary_is_asked() {
    let key = TsigKey::random("acme-key");
    let listen = free_addr();
    let options = BindOptions {
        notify: vec![listen],
        ..BindOptions::new([ZoneSpec::new(ZONE).updated_by(&key)], [key.clone()])
    };
    let Some(primary) = Bind::start(options.clone()) else {
        return;
    };
    let secondary = BindOptions {
        listen: Some(listen),
        ..options.secondary(primary.addr(), 3600)
    };
    let Some(secondary) = Bind::start(secondary) else {
        return;
    };
    let world = World::over(vec![secondary.addr()], &key).await;
    let primary_is = primary.addr().to_string();
    world
        .command("issue example.test")
        .env("RFC2136_NAMESERVER", &primary_is)
        .run()
        .success();
    assert_eq!(primary.updates(ZONE), 2);
    let asked = |bind: &Bind| {
        let queries = bind.queries();
        queries
            .iter()
            .filter(|q| q.name == OWNER && !q.recursive)
            .count()
    };
    assert!(asked(&secondary) > 0);
    let run = world
        .command("doctor example.test --output json")
        .env("RFC2136_NAMESERVER", &primary_is)
        .run();
    crate::world::Examined::of(run).ends(0);
}

/// Whoever signs with the key is shown, and changes, another version of the zone than the CA sees.
#[tokio::test(flavor = "multi_thread")]
async fn the_key_picks_the_view_that_is_written() {
    let [inner, outer] = ["inner-key", "outer-key"].map(TsigKey::random);
    let options = BindOptions {
        inner_view: Some((inner.name.clone(), ZoneSpec::new(ZONE).updated_by(&inner))),
        ..BindOptions::new(
            [ZoneSpec::new(ZONE).updated_by(&outer)],
            [inner.clone(), outer.clone()],
        )
    };
    let Some(bind) = Bind::start(options) else {
        return;
    };
    let view = |name: &str| format!("{name}: updating zone '{ZONE}/IN'");
    let written = |name: &str| bind.process().log().matches(&view(name)).count();

    // The view of everybody else is what the CA sees.
    let world = World::over(vec![bind.addr()], &outer).await;
    world.command("issue example.test").run().success();
    assert!(written("view outer") > 0 && written("view inner") == 0);

    let world = World::over(vec![bind.addr()], &inner).await;
    let run = world
        .command("issue example.test --propagation-timeout 1s")
        .run()
        .expect_code(5);
    assert!(written("view inner") > 0);
    assert!(
        run.stderr
            .contains("whatever wrote it does not feed these servers"),
        "{}",
        run.stderr
    );
    assert_eq!(txt_values(bind.addr(), OWNER), [""; 0]);
    assert_eq!(world.orders(), 1);
}
