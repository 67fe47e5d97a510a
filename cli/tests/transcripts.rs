//! Whole commands: arguments, status and both streams, as people see them; those in `docs/` too.
//!
//! `TRYCMD=overwrite cargo test -p dnseal --test transcripts` writes what the program says now into the transcripts.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it should be"
)]

#[test]
fn transcripts() {
    make_private();
    let nowhere = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cmd/nobody");
    trycmd::TestCases::new()
        .env("COLUMNS", "100")
        .env("HOME", nowhere)
        .env("XDG_CONFIG_HOME", nowhere)
        .env("XDG_STATE_HOME", nowhere)
        .env("NO_COLOR", "1")
        .case("tests/cmd/*.trycmd")
        .case("../docs/*.md");
}

/// A configuration that a group may write is refused, and a checkout may be made with such a umask.
#[cfg(unix)]
fn make_private() {
    use std::os::unix::fs::PermissionsExt;

    for inputs in ["tests/cmd/config.in", "../docs/configuration.in"] {
        for entry in std::fs::read_dir(inputs).unwrap() {
            let path = entry.unwrap().path();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
        }
    }
}

#[cfg(not(unix))]
fn make_private() {}
