//! What the process says when it ends: one constant for each kind of end.
//!
//! The numbers are a promise to scripts and units; they are never given another meaning.

use std::fmt;

use serde::Serialize;

/// A status that the process ends with.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub(crate) struct ExitCode(u8);

impl ExitCode {
    /// Everything asked for is done.
    pub(crate) const DONE: Self = Self(0);
    /// A bug, or a failure that has no number of its own.
    pub(crate) const UNEXPECTED: Self = Self(1);
    /// A wrong argument, a wrong configuration, or a store that cannot be used.
    pub(crate) const USAGE: Self = Self(2);
    /// Some certificates failed and others did not.
    pub(crate) const SOME_FAILED: Self = Self(3);
    /// The DNS provider refused or failed.
    pub(crate) const PROVIDER: Self = Self(4);
    /// A value was not served by all name servers in time.
    pub(crate) const NOT_PROPAGATED: Self = Self(5);
    /// The CA refused, could not be reached, or could not validate a name.
    pub(crate) const CA: Self = Self(6);
    /// Rate limited, or told to come back later.
    pub(crate) const LATER: Self = Self(7);
    /// Issued, but what follows on this machine failed.
    pub(crate) const DEPLOY: Self = Self(8);
    /// Another run holds the lock.
    pub(crate) const LOCKED: Self = Self(9);
    /// A person has to set a record first.
    pub(crate) const PERSON: Self = Self(10);
    /// Stopped because the terminal or session went away.
    pub(crate) const HUNG_UP: Self = Self(129);
    /// Stopped by Ctrl-C.
    pub(crate) const INTERRUPTED: Self = Self(130);
    /// Stopped by SIGTERM.
    pub(crate) const TERMINATED: Self = Self(143);
}

impl fmt::Display for ExitCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.0)
    }
}

impl From<ExitCode> for i32 {
    fn from(code: ExitCode) -> Self {
        code.0.into()
    }
}
