//! The first line of a script, by which the system finds the interpreter: what is wrong with one that does not start.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What to do about a program that the system did not start.
pub(super) fn hint(program: &Path) -> String {
    match (read(program), is_crlf(program)) {
        (_, Some(hint)) => hint,
        (Some(line), None) if line.starts_with(b"#!") => {
            "is the interpreter in its first line installed?".to_owned()
        }
        _ => format!(
            "a script begins with `#!` and its interpreter, such as `#!/usr/bin/env python3`, and nothing comes before that in {}",
            program.display()
        ),
    }
}

/// What to do about a script whose interpreter is called with a carriage return at its end.
pub(super) fn is_crlf(program: &Path) -> Option<String> {
    let line = read(program)?;
    (line.starts_with(b"#!") && line.ends_with(b"\r")).then(|| {
        format!(
            "the lines of {} end with CR LF, and the CR is taken for a part of the interpreter's name: write LF alone",
            program.display()
        )
    })
}

/// Without its line feed, as far as the system reads it.
fn read(program: &Path) -> Option<Vec<u8>> {
    let mut start = Vec::new();
    let file = File::open(program).ok()?;
    file.take(READ_BY_THE_SYSTEM).read_to_end(&mut start).ok()?;
    let end = start.iter().position(|&b| b == b'\n');
    start.truncate(end.unwrap_or(start.len()));
    Some(start)
}

/// Linux's BINPRM_BUF_SIZE.
const READ_BY_THE_SYSTEM: u64 = 256;
