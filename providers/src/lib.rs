//! The DNS providers of dnseal, and the registry that finds one by its kind.
//!
//! A provider adds and removes single TXT values in a zone ([`dnseal_core::dns::DnsProvider`]). What it needs to be told is
//! described by its [`Kind`]: the same description makes the help, the check of a configuration file and the names of the
//! environment variables. Nothing here reads a file, an environment variable or the terminal; the caller
//! hands everything over. [`plugin`] and the kinds with other tools' contracts look at
//! programs, and run them.

#![warn(missing_docs)]

#[cfg(feature = "more-providers")]
mod bridge;
mod cloudflare;
pub mod conformance;
mod hosted;
mod manual;
pub mod plugin;
mod program;
mod redact;
mod registry;
mod rfc2136;
#[cfg(feature = "route53")]
mod route53;
mod settings;
mod single;

pub use hosted::acmesh;
pub use registry::BuildError;
pub use registry::Context;
pub use registry::Form;
pub use registry::Integration;
pub use registry::Kind;
pub use registry::Setting;
pub use registry::UnknownKind;
pub use registry::any_plugin;
pub use registry::build;
pub use registry::kind;
pub use registry::kinds;
pub use settings::Settings;
pub use settings::SettingsError;
pub use settings::Value;
pub use settings::words;
