//! Whether the holder of a domain lets this CA issue for it (RFC 8659, RFC 8657).
//!
//! [`CaaLookup`] climbs from a name to its top-level domain at the authoritative servers and brings back the first CAA
//! RRset there is, as a CA has to. [`CaaSet::permits`] judges it for one CA, one account, one method. An error on the climb is
//! an error and never "no records", because it is one for the CA, too. Nothing is written, and no recursive resolver
//! sees a name whose challenge is still to come.

mod climb;
mod judge;
mod record;

pub use climb::CaaError;
pub use climb::CaaLookup;
pub use climb::CaaSet;
pub use judge::CaaApplicant;
pub use judge::CaaProblem;
pub use record::CaaRecord;
