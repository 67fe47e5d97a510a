//! Unbound, as the caching resolver that stands between a CA (or an unwise client) and the name servers.
//!
//! It keeps what it was told, negative answers included, for as long as it was told to.

use std::{fmt::Write as _, fs, net::SocketAddr, process::Command};

use hickory_proto::rr::RecordType;
use tempfile::TempDir;

use crate::{
    NameServer, Peer, Process,
    process::{self, free_addr},
    query, require,
    tls::Authority,
};

/// What an [`Unbound`] resolves.
#[derive(Clone, Debug, Default)]
pub struct UnboundOptions<'a> {
    /// Zones, and the servers that it asks for each. It reaches nothing else.
    pub stubs: Vec<(String, Vec<SocketAddr>)>,
    /// Keys of zones, as DNSKEY or DS records. With any of them it validates.
    pub trust_anchors: Vec<String>,
    /// Where it listens, instead of at a free port.
    pub listen: Option<SocketAddr>,
    /// Serves DNS over HTTPS on port 443 and over TLS on port 853, too, with a certificate for its address.
    pub(crate) tls: Option<&'a Authority>,
}

/// A running `unbound`.
#[derive(Debug)]
pub struct Unbound {
    addr: SocketAddr,
    process: Process,
}

impl UnboundOptions<'_> {
    /// A resolver that asks one server for each of these zones.
    pub fn new<'a>(stubs: impl IntoIterator<Item = (&'a str, SocketAddr)>) -> Self {
        Self {
            stubs: stubs
                .into_iter()
                .map(|(zone, addr)| (zone.to_owned(), vec![addr]))
                .collect(),
            trust_anchors: Vec::new(),
            listen: None,
            tls: None,
        }
    }
}

impl Unbound {
    /// Starts it and waits until it answers; `None` where Unbound is not installed.
    pub fn start(options: UnboundOptions<'_>) -> Option<Self> {
        let program = require(Peer::Unbound)?;
        Some(process::start("unbound", || {
            let addr = options.listen.unwrap_or_else(free_addr);
            let dir = TempDir::with_prefix("dnseal-unbound-").unwrap();
            fs::write(
                dir.path().join("unbound.conf"),
                config(&options, addr, &dir),
            )
            .unwrap();
            if let Some(authority) = options.tls {
                authority.write(dir.path(), &[&addr.ip().to_string()]);
            }
            let process = Process::spawn(
                "unbound",
                dir,
                Command::new(&program).args(["-d", "-p", "-c", "unbound.conf"]),
            );
            // It knows this name by itself.
            process.await_start(|| {
                let answer = query(addr, "localhost.", RecordType::A);
                answer.map(drop).map_err(|error| error.to_string())
            })?;
            Ok(Self { addr, process })
        }))
    }

    /// The questions that clients asked, as `(name, type)`.
    pub fn queries(&self) -> Vec<(String, String)> {
        let log = self.process.log();
        log.lines().filter_map(parse_query).collect()
    }
}

impl NameServer for Unbound {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn process(&self) -> &Process {
        &self.process
    }
}

// `[1700000000] unbound[1:0] query: 127.0.0.1 example.test. TXT IN`
fn parse_query(line: &str) -> Option<(String, String)> {
    let (_, query) = line.split_once(" query: ")?;
    let mut words = query.split_whitespace().skip(1);
    Some((words.next()?.to_owned(), words.next()?.to_owned()))
}

fn config(options: &UnboundOptions<'_>, addr: SocketAddr, dir: &TempDir) -> String {
    let path = dir.path().display();
    let mut config = format!(
        r#"server:
    interface: {ip}
    port: {port}
    directory: "{path}"
    chroot: ""
    username: ""
    pidfile: ""
    use-syslog: no
    logfile: ""
    verbosity: 1
    log-queries: yes
    log-tag-queryreply: yes
    num-threads: 1
    do-daemonize: no
    do-not-query-localhost: no
    module-config: "{modules}"
    access-control: 127.0.0.0/8 allow
    access-control: ::1 allow
    outgoing-range: 64
"#,
        ip = addr.ip(),
        port = addr.port(),
        modules = match options.trust_anchors.is_empty() {
            true => "iterator",
            false => "validator iterator",
        },
    );
    for anchor in &options.trust_anchors {
        let _ = writeln!(config, "    trust-anchor: \"{anchor}\"");
    }
    if !addr.ip().is_loopback() {
        config.push_str("    access-control: 0.0.0.0/0 allow\n    access-control: ::/0 allow\n");
        // A flow that it answers must leave from the address it came to.
        config.push_str("    interface-automatic: no\n");
    }
    if options.tls.is_some() {
        let _ = write!(
            config,
            "    interface: {ip}@443\n    interface: {ip}@853\n    https-port: 443\n    tls-port: 853\n    \
             tls-service-pem: \"{path}/tls.pem\"\n    tls-service-key: \"{path}/tls.key\"\n    \
             http-notls-downstream: no\n",
            ip = addr.ip(),
        );
    }
    // Unbound answers for these top-level domains by itself, with NXDOMAIN.
    for reserved in ["test.", "invalid."] {
        let _ = writeln!(config, "    local-zone: \"{reserved}\" nodefault");
    }
    config.push_str("remote-control:\n    control-enable: no\n");
    // Without this it would ask the real root servers for all that no stub covers.
    config.push_str("forward-zone:\n    name: \".\"\n    forward-addr: 127.0.0.1@9\n");
    for (zone, servers) in &options.stubs {
        let _ = writeln!(config, "stub-zone:\n    name: \"{zone}\"");
        for server in servers {
            let _ = writeln!(config, "    stub-addr: {}@{}", server.ip(), server.port());
        }
    }
    config
}
