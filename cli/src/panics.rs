//! What is said when the program itself fails.
//!
//! A panic's message is made of whatever the code had at hand, which may be a secret. So only messages that stand in the source
//! word for word are repeated; of any other one sees where it came from. For the same reason no image of the memory is
//! left on the disk.

use std::panic;
use std::panic::AssertUnwindSafe;
use std::panic::PanicHookInfo;

use crate::error::CliError;
use crate::render::Printer;

/// Tells of every panic from now on in our own words.
pub(crate) fn tell(printer: Printer) {
    keep_memory_off_the_disk();
    panic::set_hook(Box::new(move |info| printer.error(&bug(info))));
}

/// What `work` returns; `None` if it panicked, of which has been told.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    panic::catch_unwind(AssertUnwindSafe(work)).ok()
}

fn bug(info: &PanicHookInfo<'_>) -> CliError {
    let place = match info.location() {
        Some(at) => format!("{}:{}", at.file(), at.line()),
        None => "an unknown place".to_owned(),
    };
    let message = match info.payload().downcast_ref::<&'static str>() {
        Some(text) => format!("dnseal has failed at {place}: {text}"),
        None => format!("dnseal has failed at {place}"),
    };
    CliError::Unexpected {
        message,
        hint: Some(format!(
            "this is a bug in dnseal {}; the next run goes on from what is stored",
            env!("CARGO_PKG_VERSION")
        )),
    }
}

#[cfg(unix)]
fn keep_memory_off_the_disk() {
    use rustix::process::Resource;
    use rustix::process::Rlimit;
    use rustix::process::getrlimit;
    use rustix::process::setrlimit;

    let maximum = getrlimit(Resource::Core).maximum;
    // Where it is not allowed, somebody has decided.
    let _ = setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum,
        },
    );
}

#[cfg(not(unix))]
fn keep_memory_off_the_disk() {}
