//! An authoritative DNS server for tests: zones, dynamic update with TSIG, lagging secondaries, faults, and a log.
//!
//! ```
//! use dnseal_sandbox::dns::{DnsServer, Fault, TsigKey, Zone};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = DnsServer::builder()
//!     .zone(
//!         Zone::new("example.test")
//!             .ns("ns1.example.test")
//!             .a("ns1.example.test", [127, 0, 0, 1].into())
//!             .txt("_acme-challenge.example.test", "left over"),
//!     )
//!     .key(TsigKey::generate("acme")?.only_txt())
//!     .start()
//!     .await?;
//! println!("dig @{} -p {} example.test", server.addr().ip(), server.addr().port());
//!
//! // … run what is to be tested against it, and then:
//! assert_eq!(server.values("_acme-challenge.example.test"), ["left over"]);
//! assert_eq!(server.updates().messages, 0);
//!
//! // The next update is applied, but its response gets lost.
//! server.inject(Fault::lose_response().updates().times(1));
//! server.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! [`Cache`] is a caching resolver in front of such servers.
//!
//! Not here: zone transfers, NOTIFY, DNSSEC.

mod cache;
mod fault;
mod log;
mod lookup;
mod net;
mod record;
mod respond;
mod server;
mod source;
mod tsig;
mod update;
mod zone;

pub use hickory_proto::op::{OpCode, ResponseCode};
pub use hickory_proto::rr::RecordType;

pub use cache::{Cache, CacheBuilder};
pub use fault::{Fault, FaultKind};
pub use log::{Log, LoggedQuery, Transport, Updates};
pub use record::{Data, Record};
pub use server::{DnsServer, DnsServerBuilder, StartError};
pub use source::Clock;
pub use tsig::{TsigAlgorithm, TsigKey, TsigKeyError};
pub use zone::{Zone, ZoneError};

#[cfg(test)]
mod tests;
