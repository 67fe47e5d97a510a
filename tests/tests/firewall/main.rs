//! Certificates for a client behind a firewall: port 53 dropped or rejected, an HTTP proxy the only way out.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not count among the tests"
)]

mod behind;
mod environment;
mod open;
mod zones;
