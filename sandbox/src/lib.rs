//! An ACME certification authority that runs inside the process of its user: for `dnseal demo`, for people's own
//! continuous integration, and for tests that want to see a client meet every fault a CA can show.
//!
//! Nothing here sleeps, nothing here is trusted by anybody: the keys are made at start and die with the process.

#![warn(missing_docs)]

pub mod ca;
