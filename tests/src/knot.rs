//! Knot DNS' `knotd`.

use std::{fmt::Write as _, fs, net::SocketAddr, process::Command};

use tempfile::TempDir;

use crate::{
    NameServer, Peer, Process, TsigKey, ZoneSpec, dns,
    process::{self, free_addr},
    require,
};

/// What a [`Knot`] serves.
#[derive(Clone, Debug)]
pub struct KnotOptions {
    /// The zones.
    pub zones: Vec<ZoneSpec>,
    /// The keys that zones name.
    pub keys: Vec<TsigKey>,
    /// Where it listens, instead of at a free port.
    pub listen: Option<SocketAddr>,
    /// Seconds by which its clock is wrong; needs `faketime`. (BIND's allocator does not get along with it.)
    pub clock_off_by: i64,
}

/// A running `knotd`.
#[derive(Debug)]
pub struct Knot {
    addr: SocketAddr,
    process: Process,
}

impl KnotOptions {
    /// A primary for these zones.
    pub fn new(
        zones: impl IntoIterator<Item = ZoneSpec>,
        keys: impl IntoIterator<Item = TsigKey>,
    ) -> Self {
        Self {
            zones: zones.into_iter().collect(),
            keys: keys.into_iter().collect(),
            listen: None,
            clock_off_by: 0,
        }
    }
}

impl Knot {
    /// Starts it and waits until it answers for every zone; `None` where Knot is not installed.
    pub fn start(options: KnotOptions) -> Option<Self> {
        let program = require(Peer::Knotd)?;
        require(Peer::Nsupdate)?;
        let clock = match options.clock_off_by {
            0 => Vec::new(),
            seconds => process::other_clock(seconds)?,
        };
        Some(process::start("knotd", || {
            let addr = options.listen.unwrap_or_else(free_addr);
            let dir = TempDir::with_prefix("dnseal-knot-").unwrap();
            write_files(&options, addr, &dir);
            let process = Process::spawn(
                "knot",
                dir,
                Command::new(&program)
                    .args(["-c", "knot.conf"])
                    .envs(clock.iter().cloned()),
            );
            // It listens before its zones are loaded.
            process.await_start(|| dns::has_zones(addr, &options.zones))?;
            Ok(Self { addr, process })
        }))
    }
}

impl NameServer for Knot {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn process(&self) -> &Process {
        &self.process
    }
}

fn write_files(options: &KnotOptions, addr: SocketAddr, dir: &TempDir) {
    let path = dir.path().display();
    let mut config = format!(
        r#"server:
    listen: "{ip}@{port}"
    rundir: "{path}"
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: "{path}"
log:
  - target: stderr
    any: info
"#,
        ip = addr.ip(),
        port = addr.port(),
    );
    if !options.keys.is_empty() {
        config.push_str("key:\n");
    }
    for key in &options.keys {
        let _ = writeln!(
            config,
            "  - id: \"{}\"\n    algorithm: {}\n    secret: \"{}\"",
            key.name, key.algorithm, key.secret_base64
        );
    }
    config.push_str(
        "acl:\n  - id: transfer\n    address: [127.0.0.0/8, ::1]\n    action: transfer\n",
    );
    for key in &options.keys {
        let _ = writeln!(
            config,
            "  - id: \"update-{0}\"\n    key: \"{0}\"\n    action: update\n    update-type: TXT",
            key.name
        );
    }
    let _ = writeln!(
        config,
        "template:\n  - id: default\n    storage: \"{path}\"\n    semantic-checks: on"
    );
    config.push_str("zone:\n");
    for (number, zone) in options.zones.iter().enumerate() {
        assert!(
            zone.bind_policy.is_none(),
            "Knot has no update policy of BIND's kind"
        );
        let updates: String = zone
            .updaters
            .iter()
            .map(|key| format!(", \"update-{key}\""))
            .collect();
        let _ = writeln!(
            config,
            "  - domain: \"{}\"\n    file: \"{number}.zone\"\n    acl: [transfer{updates}]",
            zone.name
        );
        fs::write(
            dir.path().join(format!("{number}.zone")),
            zone.zone_file(addr),
        )
        .unwrap();
    }
    fs::write(dir.path().join("knot.conf"), config).unwrap();
}
