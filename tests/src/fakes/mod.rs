//! Hosted DNS services that run inside the test, written from the vendors' documentation.
//!
//! A fake refuses what the vendor refuses, counts what the vendor counts, and serves its zones over DNS, so that a whole
//! issuance can run against it. Each is checked by clients that nobody here wrote; see `tests/tests/fakes_*.rs`.

pub mod acme_dns;
pub mod cloudflare;
pub mod route53;
