//! Services that cannot be run here, stood in for: strict, stateful, written from their vendors' documentation.
//!
//! Each refuses what the vendor refuses, and serves its zones over DNS as well. Clients that nobody here wrote are run against
//! them too, so that they are not only as strict as our own client expects.

pub mod route53;
