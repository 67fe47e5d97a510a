//! The engine of dnseal: from names to certificates by the DNS-01 challenge (RFC 8555 section 8.4).
//!
//! Names become an order at a CA ([`acme`]), the order's challenges become TXT values written by a
//! [`dns::DnsProvider`] and proven at every authoritative server ([`dns`]), what must outlive a run stands in a
//! [`store`] before it is done, [`account`] keeps who we are at each CA, [`issue`] walks one certificate through all of this, [`renew`]
//! says when that is due again, and [`deploy`] projects the
//! result onto this machine. Whoever watches reads one ordered stream of [`event`]s.
//!
//! The crate knows no DNS vendor, no terminal and no argument parser.
#![warn(missing_docs)]

pub mod account;
pub mod acme;
pub mod deploy;
pub mod dns;
pub mod doctor;
pub mod event;
pub mod issue;
pub mod notify;
pub mod processes;
pub mod renew;
pub mod revoke;
pub mod store;
pub mod web;
mod words;
