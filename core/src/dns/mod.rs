//! The zone side: names, the provider contract, where a challenge lives, writing it, and proving that it is served.
//!
//! Everything here speaks of owner names, zones and TXT values; nothing knows ACME beyond the label
//! `_acme-challenge`. The only write is to add or to remove one value.

mod caa;
mod delegation;
mod delegation_rules;
mod discovery;
mod dnssec;
mod name;
mod propagation;
mod provider;
mod query;
mod route;
#[cfg(test)]
mod scripted;
#[cfg(test)]
mod testing;
mod writer;
mod zones;

pub use caa::CaaApplicant;
pub use caa::CaaError;
pub use caa::CaaLookup;
pub use caa::CaaProblem;
pub use caa::CaaRecord;
pub use caa::CaaSet;
pub use delegation::Location;
pub use delegation_rules::Delegation;
pub use delegation_rules::DelegationRules;
pub use discovery::Discovery;
pub use discovery::DiscoveryError;
pub use discovery::DiscoveryOptions;
pub use discovery::NameServer;
pub use discovery::Tried;
pub use discovery::ZoneServers;
pub use discovery::system_resolvers;
pub use dnssec::Dnssec;
/// The types of DNS records, as the question functions take them.
pub use hickory_proto::rr::RecordType;
pub use name::DomainName;
pub use name::Identifier;
pub use name::NameError;
pub use name::TxtValue;
pub use name::TxtValueError;
pub use propagation::NameReport;
pub use propagation::Propagation;
pub use propagation::PropagationError;
pub use propagation::PropagationPolicy;
pub use propagation::Proven;
pub use propagation::Quorum;
pub use propagation::Report;
pub use propagation::Row;
pub use propagation::Unusable;
pub use propagation::Verdict;
pub use propagation::Wanted;
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
pub use query::AskError;
pub use query::Asker;
pub use query::AskerOptions;
pub use query::Family;
pub use query::Problem;
pub use query::Reply;
pub use query::Soa;
pub use query::Transport;
pub use route::NamedProvider;
pub use route::RouteError;
pub use route::Routes;
pub use writer::Announcement;
pub use writer::Submission;
pub use writer::WriteError;
pub use writer::WriteProblem;
pub use writer::Written;
pub use writer::ZoneWriters;
pub use zones::Doubt;
pub use zones::Place;
pub use zones::PlaceError;
pub use zones::Zones;
