//! The Route 53 provider against the fake service, and the fake against clients that nobody here wrote.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy does not count among the tests"
)]

mod bench;
mod canary;
mod chain;
mod conformance;
mod credentials;
mod others;
mod rate;
mod values;
mod writers;
mod zones;
