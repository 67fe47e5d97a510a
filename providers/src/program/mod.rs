//! Programs of others that serve a provider: which may be run, in what surroundings, and how they end.
//!
//! They get a clean environment, so that no setting of another provider is in it, a working directory that nobody removes, and a
//! process group of their own, so that Ctrl-C at the terminal does not reach them in the middle of a write. Their mark
//! (`dnseal_core::processes`) lets this run end all that they have started, and a later run see what a killed one has left.

mod call;
mod log;
pub(crate) mod trust;

use tokio::process::Command;

pub(crate) use call::Call;
pub(crate) use call::Ended;
pub(crate) use log::Line;
pub(crate) use log::Log;
pub(crate) use log::read_line;
pub(crate) use trust::TrustError;

/// Clean surroundings; what a program needs beyond them is added afterwards.
pub(crate) fn contain(command: &mut Command) {
    command
        .env_clear()
        .env("PATH", SEARCH_PATH)
        .env("LANG", "C.UTF-8")
        .current_dir("/")
        .kill_on_drop(true);
    #[cfg(unix)]
    command.process_group(0);
}

/// What programs that these programs start are looked for in; they themselves are not looked for.
pub(crate) const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
