//! A client behind a firewall, and all that it wants to reach.
//!
//! ```text
//! client 10.77.0.2 ── gate 10.77.0.1 | 192.0.2.1 ── outside 192.0.2.0/24
//! fd77::2             firewall, proxy               .10 servers of `test`    .11 .12 .13 servers of example.test
//!                                                   .20 a CA   .31 .32 .33 resolvers over HTTPS and TLS
//!                                                   .40 hosted providers   .99 the resolver of /etc/resolv.conf
//! ```
//!
//! Everything outside has an IPv6 address that ends alike, in 2001:db8::/64. The gate's firewall forwards what it is told to; its
//! proxy, which listens on the inside, reaches everything.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use dnseal_sandbox::dns::{DnsServer, Zone};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::Netns;
use crate::{
    Dnseal, Pebble, PebbleOptions, Tinyproxy, TinyproxyOptions, Unbound, UnboundOptions,
    tls::Authority,
};

/// What the gate lets through, apart from its proxy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Firewall {
    /// Everything.
    Open,
    /// Everything in IPv4, and nothing in IPv6.
    NoIpv6,
    /// Everything but DNS on port 53.
    NoDns(Cure),
    /// Nothing.
    ProxyOnly(Cure),
}

/// What becomes of a packet that may not pass.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cure {
    /// Nobody hears of it again.
    Drop,
    /// The sender is told (ICMP).
    Reject,
}

/// A client, a gate, and what is outside.
pub struct Internet {
    // In the order in which they have to go: what runs on a host before the host.
    runtime: Option<Runtime>,
    proxy: Option<Tinyproxy>,
    authority: Authority,
    /// Where the root is that servers outside show certificates of.
    roots: TempDir,
    client: Netns,
    gate: Netns,
    outside: Netns,
}

impl Internet {
    /// The zone that [`name_servers`](Self::name_servers) serve.
    pub const ZONE: &str = "example.test";

    /// Cables, addresses and routes, an open firewall and no proxy; `None` where there is no right to make hosts.
    pub fn start() -> Option<Self> {
        let client = Netns::new("client")?;
        let gate = Netns::new("gate")?;
        let outside = Netns::new("outside")?;
        gate.cable("inside", &client, "eth0");
        gate.cable("outside", &outside, "eth0");
        for (host, interface, addresses) in [
            (&client, "eth0", ["10.77.0.2/24", "fd77::2/64"]),
            (&gate, "inside", ["10.77.0.1/24", "fd77::1/64"]),
            (&gate, "outside", ["192.0.2.1/24", "2001:db8::1/64"]),
        ] {
            for address in addresses {
                host.address(interface, address);
            }
        }
        for number in OUTSIDE {
            outside.address("eth0", &format!("192.0.2.{number}/24"));
            outside.address("eth0", &format!("2001:db8::{number}/64"));
        }
        client.ip(&["route", "add", "default", "via", "10.77.0.1"]);
        client.ip(&["-6", "route", "add", "default", "via", "fd77::1"]);
        outside.ip(&["route", "add", "10.77.0.0/24", "via", "192.0.2.1"]);
        outside.ip(&["-6", "route", "add", "fd77::/64", "via", "2001:db8::1"]);
        gate.sysctl("net/ipv4/ip_forward", "1");
        gate.sysctl("net/ipv6/conf/all/forwarding", "1");
        client.resolv_conf(&format!(
            "nameserver {}\noptions timeout:1 attempts:1\n",
            v4(RESOLVER)
        ));

        let authority = Authority::new();
        let roots = TempDir::with_prefix("dnseal-roots-").unwrap();
        std::fs::write(roots.path().join("root.pem"), authority.pem()).unwrap();
        // Threads that a thread on a host starts are on that host.
        let runtime = outside.within(|| {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap()
        });
        let internet = Self {
            runtime: Some(runtime),
            proxy: None,
            authority,
            roots,
            client,
            gate,
            outside,
        };
        internet.firewall(Firewall::Open);
        Some(internet)
    }

    /// Where the tests' client runs.
    pub fn client(&self) -> &Netns {
        &self.client
    }

    /// Where the firewall and the proxy are.
    pub fn gate(&self) -> &Netns {
        &self.gate
    }

    /// Where everything else runs.
    pub fn outside(&self) -> &Netns {
        &self.outside
    }

    /// Lets pass from now on what `firewall` says.
    pub fn firewall(&self, firewall: Firewall) {
        let inside = "iifname \"inside\"";
        let rules = match firewall {
            Firewall::Open => String::new(),
            Firewall::NoIpv6 => format!("{inside} meta nfproto ipv6 drop"),
            Firewall::NoDns(cure) => ["tcp", "udp"]
                .map(|l4| format!("{inside} {l4} dport 53 {}", cure.verdict(l4)))
                .join("; "),
            Firewall::ProxyOnly(cure) => format!(
                "{inside} meta l4proto tcp {}; {inside} {}",
                cure.verdict("tcp"),
                cure.verdict("udp")
            ),
        };
        self.gate.nft(&format!(
            "table inet gate {{ chain forward {{ type filter hook forward priority 0; policy accept; {rules}; }}; }}"
        ));
    }

    /// Starts the proxy at the gate; `None` where it is not installed.
    #[must_use]
    pub fn with_proxy(mut self) -> Option<Self> {
        let options = TinyproxyOptions {
            listen: SocketAddr::from(([10, 77, 0, 1], 8888)),
            connect_ports: Vec::new(),
        };
        self.proxy = Some(self.gate.within(|| Tinyproxy::start(options))?);
        Some(self)
    }

    /// The proxy at the gate.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn proxy(&self) -> &Tinyproxy {
        self.proxy.as_ref().expect("a proxy was started")
    }

    /// The root of the certificates that servers outside show, for `--ca-root`.
    pub fn root_path(&self) -> PathBuf {
        self.roots.path().join("root.pem")
    }

    /// Runs something asynchronous outside.
    pub fn block_on<T: Send>(&self, work: impl Future<Output = T> + Send) -> T {
        let runtime = self.runtime.as_ref().expect("it runs until the end");
        self.outside.within(|| runtime.block_on(work))
    }

    /// Three servers of `zone` on port 53 in both families, below a top-level domain that delegates it. `zone` gets its NS records and
    /// their addresses here; servers 2 and 3 have each change `lag` after the first.
    pub fn name_servers(
        &self,
        zone: Zone,
        builder: impl FnOnce(Zone) -> dnseal_sandbox::dns::DnsServerBuilder + Send,
        lag: Duration,
    ) -> NameServers {
        let names = ["ns1", "ns2", "ns3"].map(|label| format!("{label}.{}", Self::ZONE));
        let mut zone = zone;
        let mut top = Zone::new("test").ns("ns.test");
        top = top.address("ns.test", v4(TOP)).address("ns.test", v6(TOP));
        for (name, number) in names.iter().zip(NS) {
            zone = zone.ns(name.as_str());
            zone = zone.address(name.as_str(), v4(number));
            zone = zone.address(name.as_str(), v6(number));
            top = top.delegate(Self::ZONE, name.as_str());
            top = top.address(name.as_str(), v4(number));
            top = top.address(name.as_str(), v6(number));
        }
        self.block_on(async {
            let [one, two, three] = NS;
            let listen = |builder: dnseal_sandbox::dns::DnsServerBuilder, number| {
                builder.listen(at(v4(number))).listen(at(v6(number)))
            };
            let top = listen(DnsServer::builder().zone(top), TOP)
                .start()
                .await
                .unwrap();
            let first = listen(builder(zone), one).start().await.unwrap();
            let second = listen(first.secondary(lag), two).start().await.unwrap();
            let third = listen(first.secondary(lag), three).start().await.unwrap();
            NameServers {
                top,
                all: [first, second, third],
            }
        })
    }

    /// The resolver of `/etc/resolv.conf`, which resolves from the top down; `None` where Unbound is not installed.
    pub fn resolver(&self, stubs: Vec<(String, Vec<SocketAddr>)>) -> Option<Unbound> {
        let options = UnboundOptions {
            stubs,
            listen: Some(at(v4(RESOLVER))),
            ..UnboundOptions::default()
        };
        self.outside.within(|| Unbound::start(options))
    }

    /// Resolver `number` (0, 1, 2) over HTTPS, TLS and port 53; `None` where Unbound is not installed.
    pub fn doh(&self, number: usize, stubs: Vec<(String, Vec<SocketAddr>)>) -> Option<Unbound> {
        let options = UnboundOptions {
            stubs,
            listen: Some(at(v4(DOH[number]))),
            tls: Some(&self.authority),
            ..UnboundOptions::default()
        };
        self.outside.within(|| Unbound::start(options))
    }

    /// The URL of resolver `number`.
    pub fn doh_url(&self, number: usize) -> String {
        format!("https://{}/dns-query", v4(DOH[number]))
    }

    /// A CA that looks values up at `dns`; `None` where Pebble is not installed.
    pub fn ca(&self, dns: SocketAddr) -> Option<Pebble> {
        let options = PebbleOptions {
            address: v4(CA),
            ..PebbleOptions::new(dns)
        };
        self.outside.within(|| Pebble::start(options))
    }

    /// Where hosted providers have their API.
    pub fn cloud_address(&self) -> IpAddr {
        v4(CLOUD)
    }

    /// A call of the binary under test by the client.
    pub fn dnseal(&self, home: &std::path::Path) -> Dnseal {
        Dnseal::new(home).on(&self.client)
    }

    /// The same, through the proxy.
    pub fn dnseal_through_proxy(&self, home: &std::path::Path) -> Dnseal {
        let url = self.proxy().url();
        self.dnseal(home)
            .env("HTTPS_PROXY", &url)
            .env("HTTP_PROXY", &url)
    }
}

impl std::fmt::Debug for Internet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Internet")
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Running name servers of [`Internet::ZONE`] and of the top-level domain above it.
#[derive(Debug)]
pub struct NameServers {
    /// The server of `test`.
    pub top: DnsServer,
    /// ns1, which takes updates, ns2 and ns3.
    pub all: [DnsServer; 3],
}

impl NameServers {
    /// What a resolver has to know to find everything below `test`.
    pub fn stubs(&self) -> Vec<(String, Vec<SocketAddr>)> {
        vec![("test".to_owned(), vec![at(v4(TOP))])]
    }
}

impl Cure {
    fn verdict(self, protocol: &str) -> &'static str {
        match (self, protocol) {
            (Self::Drop, _) => "drop",
            // On a cable without latency the kernel reads ICMP about a connection in IPv6 only when it sends again.
            (Self::Reject, "tcp") => "reject with tcp reset",
            (Self::Reject, _) => "reject with icmpx type admin-prohibited",
        }
    }
}

fn v4(number: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, number).into()
}

/// The digits are the same, and so 10 is `::10`.
fn v6(number: u8) -> IpAddr {
    let digits =
        u16::from_str_radix(&number.to_string(), 16).expect("decimal digits are hexadecimal");
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, digits).into()
}

fn at(ip: IpAddr) -> SocketAddr {
    SocketAddr::new(ip, 53)
}

const TOP: u8 = 10;
const NS: [u8; 3] = [11, 12, 13];
const CA: u8 = 20;
const DOH: [u8; 3] = [31, 32, 33];
const CLOUD: u8 = 40;
const RESOLVER: u8 = 99;
const OUTSIDE: [u8; 10] = [TOP, 11, 12, 13, CA, 31, 32, 33, CLOUD, RESOLVER];
