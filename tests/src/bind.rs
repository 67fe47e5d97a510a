//! BIND's `named`, as a primary that takes updates or as a secondary that lags.
//!
//! It listens on 127.0.0.1, because BIND only uses addresses that an interface has. Every query and every update
//! is one line of its log.

use std::{fmt::Write as _, fs, net::SocketAddr, process::Command};

use tempfile::TempDir;

use crate::{
    NameServer, Peer, Process, TsigKey, ZoneSpec, dns,
    process::{self, PortTaken, free_addr},
    require,
};

/// What a [`Bind`] serves.
#[derive(Clone, Debug)]
pub struct BindOptions {
    /// The zones. Of a secondary only the names count.
    pub zones: Vec<ZoneSpec>,
    /// The keys that zones name.
    pub keys: Vec<TsigKey>,
    /// Makes it a secondary for all its zones.
    pub secondary_of: Option<SecondaryOf>,
    /// Secondaries that are told of each change at once. Nobody is told otherwise.
    pub notify: Vec<SocketAddr>,
    /// Where it listens, instead of at a free port. An address that an interface has.
    pub listen: Option<SocketAddr>,
    /// The name of a key, and what whoever signs with it is shown instead of `zones`.
    pub inner_view: Option<(String, ZoneSpec)>,
}

/// Where a secondary transfers its zones from, and how late it may be.
#[derive(Clone, Copy, Debug)]
pub struct SecondaryOf {
    /// The primary.
    pub primary: SocketAddr,
    /// Seconds between two looks at the primary's serial. A change that nobody notifies is seen that much later.
    pub refresh: u32,
}

/// One line of the query log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LoggedQuery {
    /// The name asked for, as it was spelled.
    pub name: String,
    /// `TXT`, `SOA`, …
    pub rtype: String,
    /// Whether it came by TCP.
    pub tcp: bool,
    /// Whether it asked for recursion.
    pub recursive: bool,
}

/// A running `named`.
#[derive(Debug)]
pub struct Bind {
    addr: SocketAddr,
    process: Process,
    own_queries: usize,
}

impl BindOptions {
    /// A primary for these zones.
    pub fn new(
        zones: impl IntoIterator<Item = ZoneSpec>,
        keys: impl IntoIterator<Item = TsigKey>,
    ) -> Self {
        Self {
            zones: zones.into_iter().collect(),
            keys: keys.into_iter().collect(),
            secondary_of: None,
            notify: Vec::new(),
            listen: None,
            inner_view: None,
        }
    }

    /// A secondary for the same zones.
    #[must_use]
    pub fn secondary(&self, primary: SocketAddr, refresh: u32) -> Self {
        Self {
            secondary_of: Some(SecondaryOf { primary, refresh }),
            notify: Vec::new(),
            listen: None,
            ..self.clone()
        }
    }
}

impl Bind {
    /// Starts it and waits until it answers for every zone; `None` where BIND is not installed.
    pub fn start(options: BindOptions) -> Option<Self> {
        let program = require(Peer::Named)?;
        require(Peer::Nsupdate)?;
        Some(process::start("named", || {
            let addr = options.listen.unwrap_or_else(free_addr);
            let dir = TempDir::with_prefix("dnseal-bind-").unwrap();
            write_files(&options, addr, &dir);
            let mut command = Command::new(&program);
            // Debugging is switched on for the categories that ask for it below. `-L` has what comes before the
            // configuration is read, which would go to syslog.
            command.args(["-f", "-d", "1", "-L", "/dev/stderr", "-c", "named.conf"]);
            let process = Process::spawn("bind9", dir, &mut command);
            process.await_start(|| {
                if could_not_listen(&process) {
                    return Ok(());
                }
                dns::has_zones(addr, &options.zones)
            })?;
            if could_not_listen(&process) {
                return Err(PortTaken);
            }
            let mut bind = Self {
                addr,
                process,
                own_queries: 0,
            };
            bind.own_queries = bind.queries().len();
            Ok(bind)
        }))
    }

    /// How many update messages were applied to a zone.
    pub fn updates(&self, zone: &str) -> usize {
        let text = format!("updating zone '{zone}/IN': committing update transaction");
        let log = self.process.log();
        log.lines().filter(|line| line.contains(&text)).count()
    }

    /// How many update messages for a zone were refused, whatever the reason, once their signature was good.
    pub fn refused_updates(&self, zone: &str) -> usize {
        let text = format!("updating zone '{zone}/IN': update failed");
        let log = self.process.log();
        log.lines().filter(|line| line.contains(&text)).count()
    }

    /// Every query since it had started. A secondary's questions and a test's own ([`txt_values`](crate::txt_values))
    /// are among them.
    pub fn queries(&self) -> Vec<LoggedQuery> {
        let log = self.process.log();
        let queries = log.lines().filter_map(LoggedQuery::parse);
        queries.skip(self.own_queries).collect()
    }
}

impl NameServer for Bind {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn process(&self) -> &Process {
        &self.process
    }
}

impl LoggedQuery {
    // `… query: _acme-challenge.example.test IN TXT +E(0)TK (127.0.0.1)`
    fn parse(line: &str) -> Option<Self> {
        let (_, query) = line.split_once(" query: ")?;
        let mut words = query.split_whitespace();
        let name = words.next()?.to_owned();
        let _class = words.next()?;
        let rtype = words.next()?.to_owned();
        let flags = words.next()?;
        Some(Self {
            name,
            rtype,
            tcp: flags.contains('T'),
            recursive: flags.starts_with('+'),
        })
    }
}

/// Without its port `named` goes on, and whoever has the port may answer in its place.
fn could_not_listen(process: &Process) -> bool {
    process.log().contains("interface ignored")
}

fn write_files(options: &BindOptions, addr: SocketAddr, dir: &TempDir) {
    let path = dir.path().display();
    let (v4, v6) = if addr.is_ipv4() {
        (format!("{{ {}; }}", addr.ip()), "{ none; }".to_owned())
    } else {
        ("{ none; }".to_owned(), format!("{{ {}; }}", addr.ip()))
    };
    let port = addr.port();
    let mut config = format!(
        r#"options {{
    directory "{path}";
    listen-on port {port} {v4};
    listen-on-v6 port {port} {v6};
    recursion no;
    dnssec-validation no;
    pid-file "{path}/pid";
    session-keyfile "{path}/session.key";
    notify no;
    check-names primary ignore;
    notify-delay 0;
    allow-transfer {{ any; }};
}};
controls {{ }};
logging {{
    channel plain {{ stderr; severity info; print-time yes; }};
    channel detail {{ stderr; severity debug 8; print-time yes; }};
    category default {{ plain; }};
    category queries {{ plain; }};
    category update {{ detail; }};
    category update-security {{ plain; }};
}};
"#
    );
    for key in &options.keys {
        let _ = writeln!(
            config,
            r#"key "{}" {{ algorithm {}; secret "{}"; }};"#,
            key.name, key.algorithm, key.secret_base64
        );
    }
    if let Some((key, zone)) = &options.inner_view {
        let policy = update_policy(zone);
        let _ = writeln!(
            config,
            "view \"inner\" {{ match-clients {{ key \"{key}\"; }};\n\
             zone \"{}\" {{ type primary; file \"inner.zone\"; {policy} }}; }};\n\
             view \"outer\" {{ match-clients {{ any; }};",
            zone.name
        );
        fs::write(dir.path().join("inner.zone"), zone.zone_file(addr)).unwrap();
    }
    for (number, zone) in options.zones.iter().enumerate() {
        let _ = writeln!(config, r#"zone "{}" {{ file "{number}.zone";"#, zone.name);
        if let Some(SecondaryOf { primary, refresh }) = options.secondary_of {
            let _ = writeln!(
                config,
                "type secondary; primaries {{ {} port {}; }}; allow-notify {{ any; }};\n\
                 min-refresh-time {refresh}; max-refresh-time {refresh}; min-retry-time 1; max-retry-time 1; }};",
                primary.ip(),
                primary.port(),
            );
            continue;
        }
        let _ = writeln!(config, "type primary;");
        let _ = writeln!(config, "{}", update_policy(zone));
        if !options.notify.is_empty() {
            let secondary = |addr: &SocketAddr| format!("{} port {}; ", addr.ip(), addr.port());
            let secondaries: String = options.notify.iter().map(secondary).collect();
            let _ = writeln!(config, "notify explicit; also-notify {{ {secondaries}}};");
        }
        let _ = writeln!(config, "}};");
        fs::write(
            dir.path().join(format!("{number}.zone")),
            zone.zone_file(addr),
        )
        .unwrap();
    }
    if options.inner_view.is_some() {
        let _ = writeln!(config, "}};");
    }
    fs::write(dir.path().join("named.conf"), config).unwrap();
}

fn update_policy(zone: &ZoneSpec) -> String {
    let policy = zone.bind_policy.clone().unwrap_or_else(|| {
        let grant = |key: &String| format!("grant \"{key}\" zonesub TXT; ");
        zone.updaters.iter().map(grant).collect()
    });
    match policy.is_empty() {
        true => String::new(),
        false => format!("update-policy {{ {policy} }};"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_line_is_read() {
        let line = "21-Nov-2026 18:19:51.960 client @0x7ff2be4f3898 127.0.0.1#42401 (_acme-challenge.example.test): \
                    query: _acme-challenge.example.test IN TXT -E(0)TK (127.0.0.1)";
        let query = LoggedQuery::parse(line).unwrap();
        assert_eq!(query.name, "_acme-challenge.example.test");
        assert_eq!(query.rtype, "TXT");
        assert!(query.tcp);
        assert!(!query.recursive);
        assert_eq!(
            LoggedQuery::parse("zone example.test/IN: loaded serial 1"),
            None
        );
    }
}
