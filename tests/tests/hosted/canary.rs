//! Secrets of several hosted providers in one run: each reaches its own script by the environment that its contract has, and nothing else.

use std::collections::BTreeSet;
use std::fs;

use dnseal_tests::{
    Bind, BindOptions, NameServer, Pebble, PebbleOptions, TsigKey, Watch, ZoneSpec,
};
use tempfile::TempDir;

use crate::scripts::Scripts;
use crate::server::{self, Server};
use crate::{ZONE, issue};

/// The kinds that run scripts, each with a zone of its own.
const KINDS: [(&str, &str); 3] = [
    ("exec", "a.test"),
    ("certbot-hook", "b.test"),
    ("dehydrated-hook", "c.test"),
];

#[test]
fn a_secret_is_for_its_own_provider() {
    let key = TsigKey::random("acme-key");
    let zones =
        [ZONE, "a.test", "b.test", "c.test"].map(|zone| ZoneSpec::new(zone).updated_by(&key));
    let Some(bind) = Bind::start(BindOptions::new(zones, [key.clone()])) else {
        return;
    };
    let Some(pebble) = Pebble::start(PebbleOptions::new(bind.addr())) else {
        return;
    };
    let scripts = Scripts::new(bind.addr(), key.clone());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Server::start(bind.addr(), key));
    let tells = |what: &str| format!("['{}', '{}']", scripts.path("tells"), what);
    let programs = [
        format!("command: {}", tells("exec")),
        format!(
            "auth-hook: {}, cleanup-hook: {}",
            tells("auth"),
            tells("cleanup")
        ),
        format!("command: {}", tells("dehydrated")),
    ];
    let mut config = "providers:\n".to_owned();
    for ((kind, _), program) in KINDS.iter().zip(programs) {
        let env = scripts.env_yaml_with(&format!("canary-of-{kind}"));
        config += &format!("  {kind}: {{ kind: {kind}, {program}{env} }}\n");
    }
    config += &format!(
        "  httpreq: {{ kind: httpreq, endpoint: '{}', username: user, password: {} }}\nzones:\n",
        server.url(),
        server::PASSWORD
    );
    for (kind, zone) in KINDS {
        config += &format!("  {zone}: {{ provider: {kind} }}\n");
    }
    config += &format!("  {ZONE}: {{ provider: httpreq }}\n");
    let home = TempDir::with_prefix("dnseal-home-").unwrap();
    fs::write(home.path().join("dnseal.yaml"), &config).unwrap();

    let watches =
        ["canary-of", server::PASSWORD].map(|secret| Watch::begin(secret, "surroundings"));
    let run = issue(home.path(), &bind, &pebble)
        .args([
            "a.test",
            "b.test",
            "*.b.test",
            "c.test",
            "-vv",
            "--log-file",
        ])
        .arg(home.path().join("log"))
        .run();
    assert_eq!(run.code(), 0, "{config}\n{run:?}");
    let [scripted, posted] = watches.map(Watch::end);
    assert!(scripted.looked > 3, "{scripted:?}");
    let in_arguments = |places: &BTreeSet<String>| {
        let mut places = places.iter();
        places.any(|place| place.starts_with("cmdline"))
    };
    assert!(!in_arguments(&scripted.places), "{scripted:?}");
    assert_eq!(posted.places, BTreeSet::new());

    for (kind, what) in [
        ("exec", "exec"),
        ("certbot-hook", "auth"),
        ("certbot-hook", "cleanup"),
        ("dehydrated-hook", "dehydrated"),
    ] {
        let text = fs::read_to_string(scripts.path(&format!("surroundings-{what}"))).unwrap();
        let canaries = text.lines().filter(|line| line.contains("canary"));
        let canaries: BTreeSet<String> = canaries.map(str::to_owned).collect();
        assert_eq!(
            canaries,
            [format!("CANARY=canary-of-{kind}")].into(),
            "{what}"
        );
        assert!(!text.contains(server::PASSWORD), "{what}");
    }
    let log = fs::read_to_string(home.path().join("log")).unwrap();
    for text in [&log, &run.stdout, &run.stderr] {
        assert!(
            !text.contains("canary") && !text.contains(server::PASSWORD),
            "{text}"
        );
    }
}
