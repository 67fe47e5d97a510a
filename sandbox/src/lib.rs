//! An ACME CA and an authoritative DNS server that run inside the process of whoever uses them: for `dnseal demo`, for
//! people's own continuous integration, and for tests that want to meet every fault a CA or a name server can show.
//!
//! Everything is on loopback sockets: no root, no network, no fixed port. Nothing here is trusted by anybody: the
//! keys are made at start and die with the process. See [`ca`] and [`dns`].

#![warn(missing_docs)]

pub mod ca;
pub mod dns;
