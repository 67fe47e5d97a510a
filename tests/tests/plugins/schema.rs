//! `docs/plugin-protocol.schema.json` against the messages that really go back and forth, and those that the documentation shows.

use std::process::Command;

use dnseal_core::dns::Zone;
use dnseal_providers::plugin::describe;
use dnseal_tests::{Misbehaving, PluginDir, added, build, name, python_with, removed};

use crate::{OWNER, ZONE};

#[tokio::test(flavor = "multi_thread")]
async fn every_message_fits_the_schema() {
    let Some(python) = python_with(&["jsonschema"]) else {
        return;
    };
    let dir = PluginDir::empty();
    let record = dir.put("record.py", include_str!("../../src/record.py"));
    let validate = dir.put("validate.py", include_str!("../../src/validate.py"));
    let log = dir.path().join("log");
    let plugin = Misbehaving::new("well-behaved");
    let recorder = ["/usr/bin/env", "python3"].map(str::to_owned);
    let files = [&record, &log].map(|path| path.display().to_string());
    let command: Vec<String> = [recorder.to_vec(), files.to_vec(), plugin.command()].concat();

    let kind = describe("plugin", command.clone()).unwrap();
    let command = serde_json::to_string(&command).unwrap();
    let provider = build(kind, &[("command", command.as_str()), ("token", "t\"\\")]);
    let zone = Zone {
        id: String::new(),
        name: name(ZONE),
    };
    provider.zone_of(&name(OWNER)).await.unwrap();
    let odd = "quote\"backslash\\tab\tend";
    let changes = [added(OWNER, "a"), added(OWNER, odd), removed(OWNER, "b")];
    let applied = provider.apply(&zone, &changes).await.unwrap();
    provider.settled(&applied.receipt).await.unwrap();
    let values = provider.values(&zone, &name(OWNER)).await.unwrap().unwrap();
    assert!(values.contains(&odd.parse().unwrap()), "{values:?}");
    drop(provider);

    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");
    let output = Command::new(python)
        .arg(validate)
        .arg(format!("{docs}/plugin-protocol.schema.json"))
        .arg(&log)
        .arg(format!("{docs}/plugin-protocol.md"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let seen = String::from_utf8(output.stdout).unwrap();
    for method in [
        "apply",
        "configure",
        "describe",
        "settled",
        "shutdown",
        "values",
        "zone_of",
    ] {
        assert!(
            seen.split_whitespace().any(|word| word == method),
            "{method}: {seen}"
        );
    }
}
