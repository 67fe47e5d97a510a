//! What a certificate becomes on this machine: files in `live/`, files elsewhere, and the commands that let servers read them.
//!
//! [`Live`] projects the store. A [`Target`] is more files, then a command; [`LocalState`] remembers which version every target of
//! this machine has and what went wrong, so that a target that failed is tried again by the next run, without a new order. A
//! [`Deployment`] is one run over some certificates, a [`Hook`] one command with its time-out.
//!
//! What comes out of the store is data: no command, no path and no owner is ever taken from there. Commands come from the
//! configuration of this machine, and see a clean environment without secrets.

mod access;
mod error;
mod hook;
mod hook_dir;
mod live;
mod material;
mod output;
mod pkcs12;
mod run;
mod said;
mod seen;
mod state;
mod target;
#[cfg(test)]
#[cfg(unix)]
mod tests;
mod write;

pub use access::Access;
pub use access::AccessError;
pub use access::user_ids;
pub use error::TargetError;
pub use hook::Hook;
pub use hook::HookError;
pub use hook::HookKind;
pub use hook_dir::HookDirectory;
pub use live::Bundle;
pub use live::Live;
pub use live::LiveFiles;
pub use material::Material;
pub use run::Deployer;
pub use run::Deployment;
pub use run::Done;
pub use run::Outcome;
pub use run::run_hooks;
pub use said::Said;
pub use state::FailedTarget;
pub use state::LocalState;
pub use state::Snapshot;
pub use state::Standing;
pub use state::TargetState;
pub use target::Content;
pub use target::Target;
pub use target::TargetFile;
