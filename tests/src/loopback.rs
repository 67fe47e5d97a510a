//! A small Internet on loopback: servers with addresses of their own that share one port, as real ones share 53.
//!
//! Linux has all of 127.0.0.0/8 on its loopback interface. Knot, PowerDNS and the sandbox listen at any of these addresses,
//! BIND only at those that the interface names, which is 127.0.0.1.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use dnseal_core::{
    dns::{Asker, AskerOptions, Discovery, DiscoveryOptions},
    event::Events,
};
use dnseal_sandbox::dns::{DnsServer, DnsServerBuilder};

use crate::free_addr;

/// A block of 254 addresses and a port that nobody else uses.
#[derive(Clone, Copy, Debug)]
pub struct Loopback {
    block: [u8; 3],
    port: u16,
}

impl Loopback {
    /// A block by chance, so that tests that run at once do not meet.
    pub fn new() -> Self {
        Self {
            // The first block has what the machine itself uses.
            block: [127, rand::random_range(1..255), rand::random()],
            port: free_addr().port(),
        }
    }

    /// The port of all servers.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address of server `n`, which is not 0 or 255.
    pub fn ip(&self, n: u8) -> Ipv4Addr {
        let [a, b, c] = self.block;
        Ipv4Addr::new(a, b, c, n)
    }

    /// Where server `n` listens.
    pub fn addr(&self, n: u8) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.ip(n)), self.port)
    }

    /// 127.0.0.1 with the port of all servers.
    pub fn home(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Starts a sandbox server as server `n`.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub async fn serve(&self, n: u8, server: DnsServerBuilder) -> DnsServer {
        server.listen(self.addr(n)).start().await.unwrap()
    }

    /// Asks servers that are found through DNS at the common port.
    pub fn asker(&self, events: Events) -> Asker {
        let options = AskerOptions {
            port: self.port,
            ..AskerOptions::default()
        };
        Asker::new(options, events)
    }

    /// The same, with so little time for each answer.
    pub fn asker_within(&self, timeout: Duration, events: Events) -> Asker {
        let options = AskerOptions {
            port: self.port,
            udp_timeout: timeout,
            tcp_timeout: timeout,
            recursive_timeout: timeout,
            ..AskerOptions::default()
        };
        Asker::new(options, events)
    }

    /// Begins every search at this resolver.
    pub fn discovery(&self, resolver: SocketAddr) -> Discovery {
        let options = DiscoveryOptions {
            resolvers: vec![resolver],
            ..DiscoveryOptions::default()
        };
        Discovery::new(self.asker(Events::silent()), options)
    }
}

impl Default for Loopback {
    fn default() -> Self {
        Self::new()
    }
}
