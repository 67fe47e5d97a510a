//! The Python in which the clients are that others wrote for hosted services.

use std::{
    env,
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::peer::{note, skip};

/// The Python of the virtual environment that `tests/run` makes.
const PYTHON: &str = "DNSEAL_PYTHON";

/// A Python that can import all of these modules, or `None` and one line on stderr.
///
/// # Panics
///
/// When there is none and `DNSEAL_TESTS_REQUIRE_PEERS=1`.
pub fn python_with(modules: &[&str]) -> Option<PathBuf> {
    let python = env::var_os(PYTHON).map_or_else(|| "python3".into(), PathBuf::from);
    let imports = format!("import {}", modules.join(", "));
    let imported = Command::new(&python)
        .args(["-c", &imports])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if imported.is_ok_and(|status| status.success()) {
        note(&format!("Python with {}", modules.join(", ")));
        return Some(python);
    }
    skip(&format!(
        "{} has no {} (tests/run installs them)",
        python.display(),
        modules.join(", ")
    ));
    None
}
