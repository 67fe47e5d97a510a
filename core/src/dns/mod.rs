//! The zone side: names, the provider contract, where a challenge lives, writing it, and proving that it is served.
//!
//! Everything here speaks of owner names, zones and TXT values; nothing knows ACME beyond the label
//! `_acme-challenge`. The only write is to add or to remove one value.

mod name;
mod provider;

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
