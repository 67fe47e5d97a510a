//! The units of `examples/systemd`: as systemd itself reads them where it is there, and in any case by what they must say.

#![expect(clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const UNITS: [&str; 3] = [
    "dnseal.service",
    "dnseal-renew.service",
    "dnseal-renew.timer",
];

fn unit(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples/systemd")
        .join(name);
    fs::read_to_string(path).unwrap()
}

/// Keys and values by `Section/Key`, of each the last one.
fn keys(text: &str) -> BTreeMap<String, String> {
    let mut section = String::new();
    let mut keys = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            section = name.to_owned();
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{line}"));
        keys.insert(format!("{section}/{key}"), value.to_owned());
    }
    keys
}

#[test]
fn units_say_what_they_must() {
    let service = keys(&unit("dnseal.service"));
    let says = |key: &str| service[&format!("Service/{key}")].as_str();
    assert_eq!(
        says("ExecStart"),
        "/usr/local/bin/dnseal run --metrics 127.0.0.1:9311"
    );
    assert_eq!(says("Type"), "notify");
    assert_eq!(says("ExecReload"), "/bin/kill -HUP $MAINPID");
    // A wrong configuration is exit code 2.
    assert_eq!(says("RestartPreventExitStatus"), "2");
    assert_eq!(says("StateDirectoryMode"), "0700");
    let timed = keys(&unit("dnseal-renew.service"));
    for key in [
        "NoNewPrivileges",
        "PrivateTmp",
        "ProtectHome",
        "ProtectSystem",
        "RestrictSUIDSGID",
        "SystemCallFilter",
        "CapabilityBoundingSet",
        "StateDirectory",
        "UMask",
    ] {
        let key = format!("Service/{key}");
        assert_eq!(service[&key], timed[&key], "{key}");
    }
    let timer = keys(&unit("dnseal-renew.timer"));
    assert_eq!(timer["Timer/Persistent"], "yes");
    assert!(timer.contains_key("Timer/RandomizedDelaySec"));
}

#[test]
fn systemd_takes_them() {
    let Some(analyze) = systemd_analyze() else {
        println!("SKIPPED: there is no systemd-analyze here");
        return;
    };
    // It wants programs that are there and man pages that can be found.
    let dir = TempDir::with_prefix("dnseal-units-").unwrap();
    let paths: Vec<PathBuf> = UNITS
        .iter()
        .map(|name| {
            let path = dir.path().join(name);
            let text = unit(name).replace("/usr/local/bin/dnseal", "/bin/true");
            let kept = text
                .lines()
                .filter(|line| !line.starts_with("Documentation="));
            fs::write(&path, kept.collect::<Vec<&str>>().join("\n")).unwrap();
            path
        })
        .collect();
    let verified = Command::new(&analyze)
        .arg("verify")
        .args(&paths)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    let ours: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("dnseal"))
        .collect();
    assert!(verified.status.success() && ours.is_empty(), "{said}");

    let security = Command::new(&analyze)
        .args(["security", "--offline=yes", "--threshold=30"])
        .arg(&paths[0])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&security.stdout).into_owned();
    let said = said + &String::from_utf8_lossy(&security.stderr);
    if said.contains("unrecognized option") {
        println!("SKIPPED: this systemd-analyze does not look at files");
        return;
    }
    assert!(security.status.success(), "{said}");
}

fn systemd_analyze() -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths)
        .map(|dir| dir.join("systemd-analyze"))
        .find(|path| path.is_file())
}
