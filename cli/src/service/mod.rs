//! Living as a service: signals that mean something, a supervisor that wants to hear, and a clock that may be set.

mod signals;
mod supervisor;
mod wake;

pub(crate) use signals::ServiceSignals;
pub(crate) use signals::Signal;
pub(crate) use supervisor::Supervisor;
pub(crate) use wake::Woken;
pub(crate) use wake::until;
