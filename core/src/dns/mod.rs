//! The zone side: names, the provider contract, where a challenge lives, writing it, and proving that it is served.
//!
//! Everything here speaks of owner names, zones and TXT values; nothing knows ACME beyond the label
//! `_acme-challenge`. The only write is to add or to remove one value.

mod name;
mod provider;
mod route;
#[cfg(test)]
pub(crate) mod testing;
mod writer;

pub use name::DomainName;
pub use name::Identifier;
pub use name::NameError;
pub use name::TxtValue;
pub use name::TxtValueError;
pub use provider::Action;
pub use provider::Applied;
pub use provider::Capabilities;
pub use provider::DnsProvider;
pub use provider::Handle;
pub use provider::Origin;
pub use provider::Outcome;
pub use provider::ProviderError;
pub use provider::Receipt;
pub use provider::Settlement;
pub use provider::TxtChange;
pub use provider::WriteSafety;
pub use provider::Zone;
pub use route::NamedProvider;
pub use route::RouteError;
pub use route::Routes;
pub use writer::Announcement;
pub use writer::Submission;
pub use writer::WriteError;
pub use writer::WriteProblem;
pub use writer::Written;
pub use writer::ZoneWriters;
