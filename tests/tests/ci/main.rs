//! Jobs without a machine to keep: keys from outside, caches that others read, jobs that know nothing of each other.

#![expect(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod account_key;
mod jobs;
mod parallel;
mod read_only;
mod sealed;
mod sweep;

use std::fs;
use std::path::Path;

/// Whether any file below `dir` holds the text.
fn written(dir: &Path, text: &str) -> bool {
    let Ok(entries) = fs::read_dir(dir) else {
        return false;
    };
    entries.flatten().any(|entry| {
        let path = entry.path();
        match path.is_dir() && !path.is_symlink() {
            true => written(&path, text),
            false => fs::read(&path).is_ok_and(|content| {
                content
                    .windows(text.len())
                    .any(|window| window == text.as_bytes())
            }),
        }
    })
}
