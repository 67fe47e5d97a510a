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

/// What the documentation shows of failures is what `docs.trycmd` has.
#[test]
fn failures_in_the_documentation_are_real() {
    let tested = std::fs::read_to_string("tests/cmd/docs.trycmd").unwrap();
    let pages = std::fs::read_dir("../docs").unwrap();
    let pages: Vec<String> = pages
        .filter_map(|page| std::fs::read_to_string(page.unwrap().path()).ok())
        .collect();
    let mut shown = 0;
    for transcript in tested.split("\n$ ").skip(1) {
        let text = transcript.trim_end_matches("\n```\n").trim_end();
        let text = format!("$ {}", text.replacen("\n? 2\n", "\n", 1));
        assert!(pages.iter().any(|page| page.contains(&text)), "{text}");
        shown += 1;
    }
    let in_pages: usize = pages
        .iter()
        .map(|p| p.matches("```text\n$ dnseal").count())
        .sum();
    assert_eq!(in_pages, shown);
}

/// A configuration that a group may write is refused, and a checkout may be made with such a umask.
#[cfg(unix)]
fn make_private() {
    use std::os::unix::fs::PermissionsExt;

    for inputs in ["tests/cmd/config.in", "tests/cmd/docs.in"] {
        for entry in std::fs::read_dir(inputs).unwrap() {
            let path = entry.unwrap().path();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
        }
    }
}

#[cfg(not(unix))]
fn make_private() {}
