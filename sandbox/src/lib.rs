//! An authoritative DNS server for tests, demos and other people's CI.
//!
//! Everything runs in the calling process on loopback sockets: no root, no network, no fixed port.
//! See [`dns`].

#![warn(missing_docs)]

pub mod dns;
