//! The real peers that dnseal's end-to-end tests run against, as typed environments.
//!
//! Each environment ([`Bind`], [`Knot`], [`PowerDns`], [`Unbound`], [`Pebble`]) starts the real program on free
//! loopback ports, in a directory of its own, and returns once the program answers. Dropping it kills the
//! program; a test that fails prints what it logged. `start` returns `None`, with one visible line, where the
//! program is not installed, and panics instead when `DNSEAL_TESTS_REQUIRE_PEERS=1`:
//!
//! ```no_run
//! use dnseal_tests::{Bind, BindOptions, NameServer, TsigKey, ZoneSpec, txt_values};
//!
//! let key = TsigKey::random("acme-key");
//! let zone = ZoneSpec::new("example.test").updated_by(&key);
//! let Some(bind) = Bind::start(BindOptions::new([zone], [key.clone()])) else {
//!     return;
//! };
//! bind.add_txt(&key, "example.test", "_acme-challenge.example.test", "value");
//! assert_eq!(txt_values(bind.addr(), "_acme-challenge.example.test"), ["value"]);
//! ```
//!
//! [`Dnseal`] runs the binary under test. Everything here blocks, so that it serves synchronous tests and
//! asynchronous ones alike; an asynchronous test that has a server of its own in the same runtime needs
//! `#[tokio::test(flavor = "multi_thread")]`.

#![warn(missing_docs)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a library for tests, in which what goes wrong is the test's failure"
)]

pub use bind::{Bind, BindOptions, LoggedQuery, SecondaryOf};
pub use cloud::Cloud;
pub use command::{Dnseal, Run, Running, dnseal};
pub use dns::{
    NameServer, TsigKey, ZoneSpec, add_txt, await_soa, await_txt, nsupdate, query, remove_txt,
    txt_values,
};
pub use gate::Gate;
pub use home::Home;
pub use knot::{Knot, KnotOptions};
pub use loopback::Loopback;
pub use moto::Moto;
pub use narrow::Narrow;
pub use netns::{Cure, Firewall, Internet, NameServers, Netns};
pub use pebble::{Eab, LoggedRequest, Pebble, PebbleOptions, Profile};
pub use peer::{Peer, require, skip};
pub use plugin::{Misbehaving, PluginDir, build, build_in};
pub use powerdns::{PowerDns, PowerDnsOptions};
pub use process::{Process, free_addr, wait_until};
pub use provider::{Rfc2136, added, name, reader, removed, silence, value};
pub use python::python_with;
pub use sandbox::{DoAt, FOREIGN, HoldAt, OWNER, SHORT, Sandbox, ZONE, issue, kill_at};
pub use shop::Shop;
pub use socks::Socks;
pub use tinyproxy::{Tinyproxy, TinyproxyOptions};
pub use unbound::{Unbound, UnboundOptions};
pub use watch::{Sighted, Watch};
pub use workbench::{CaSettings, Server, Workbench};

pub mod fakes;

mod bind;
mod cloud;
mod command;
mod dns;
mod gate;
mod home;
mod knot;
mod loopback;
mod moto;
mod narrow;
mod netns;
mod pebble;
mod peer;
mod plugin;
mod powerdns;
mod process;
mod provider;
mod python;
mod sandbox;
mod shop;
mod socks;
mod tinyproxy;
mod tls;
mod unbound;
mod watch;
mod workbench;
