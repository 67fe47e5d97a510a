//! PowerDNS' authoritative server on SQLite, with dynamic updates and its HTTP API.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::{
    NameServer, Peer, Process, TsigKey, ZoneSpec, dns,
    peer::skip,
    process::{self, free_addr},
    require,
};

/// Where Debian puts the tables' definition; the second is what a machine without the first has.
const SCHEMAS: [&str; 2] = [
    "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql",
    "/usr/share/doc/pdns-backend-sqlite3/schema.sqlite3.sql",
];

/// What a [`PowerDns`] serves.
#[derive(Clone, Debug)]
pub struct PowerDnsOptions {
    /// The zones.
    pub zones: Vec<ZoneSpec>,
    /// The keys that zones name.
    pub keys: Vec<TsigKey>,
    /// Where it listens, instead of at a free port.
    pub listen: Option<SocketAddr>,
}

/// A running `pdns_server`.
#[derive(Debug)]
pub struct PowerDns {
    addr: SocketAddr,
    api: SocketAddr,
    api_key: String,
    process: Process,
}

impl PowerDnsOptions {
    /// A primary for these zones.
    pub fn new(
        zones: impl IntoIterator<Item = ZoneSpec>,
        keys: impl IntoIterator<Item = TsigKey>,
    ) -> Self {
        Self {
            zones: zones.into_iter().collect(),
            keys: keys.into_iter().collect(),
            listen: None,
        }
    }
}

impl PowerDns {
    /// Starts it and waits until it answers for every zone; `None` where PowerDNS is not installed.
    pub fn start(options: PowerDnsOptions) -> Option<Self> {
        let server = require(Peer::PdnsServer)?;
        let pdnsutil = require(Peer::Pdnsutil)?;
        let sqlite3 = require(Peer::Sqlite3)?;
        require(Peer::Nsupdate)?;
        let Some(schema) = SCHEMAS.iter().map(Path::new).find(|path| path.is_file()) else {
            skip("pdns-backend-sqlite3 (its schema) is not installed");
            return None;
        };
        Some(process::start("pdns_server", || {
            let addr = options.listen.unwrap_or_else(free_addr);
            let api = free_addr();
            let api_key = TsigKey::random("api").secret_base64;
            let dir = TempDir::with_prefix("dnseal-powerdns-").unwrap();
            fs::write(
                dir.path().join("pdns.conf"),
                config(addr, api, &api_key, &dir),
            )
            .unwrap();
            fs::create_dir(dir.path().join("run")).unwrap();
            create_tables(&sqlite3, schema, &dir);
            create_zones(&pdnsutil, &options, addr, &dir);
            let process =
                Process::spawn("powerdns", dir, Command::new(&server).arg("--config-dir=."));
            process.await_start(|| dns::has_zones(addr, &options.zones))?;
            Ok(Self {
                addr,
                api,
                api_key,
                process,
            })
        }))
    }

    /// The root of its HTTP API, `http://…/api/v1`.
    pub fn api_url(&self) -> String {
        format!("http://{}/api/v1", self.api)
    }

    /// What the API wants in `X-API-Key`.
    pub fn api_key(&self) -> &str {
        &self.api_key
    }
}

impl NameServer for PowerDns {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn process(&self) -> &Process {
        &self.process
    }
}

fn config(addr: SocketAddr, api: SocketAddr, api_key: &str, dir: &TempDir) -> String {
    let path = dir.path().display();
    // The caches are off because a test looks right after a write.
    format!(
        "launch=gsqlite3\ngsqlite3-database={path}/db\nlocal-address={ip}\nlocal-port={port}\n\
         dnsupdate=yes\nallow-dnsupdate-from=127.0.0.0/8,::1\nsocket-dir={path}/run\n\
         guardian=no\ndaemon=no\nsetuid=\nsetgid=\nreceiver-threads=1\n\
         cache-ttl=0\nquery-cache-ttl=0\nnegquery-cache-ttl=0\nzone-cache-refresh-interval=0\n\
         loglevel=5\nlog-dns-details=yes\n\
         api=yes\napi-key={api_key}\nwebserver=yes\nwebserver-address={api_ip}\nwebserver-port={api_port}\n\
         webserver-allow-from=127.0.0.0/8,::1\n",
        ip = addr.ip(),
        port = addr.port(),
        api_ip = api.ip(),
        api_port = api.port(),
    )
}

fn create_tables(sqlite3: &PathBuf, schema: &Path, dir: &TempDir) {
    let status = Command::new(sqlite3)
        .arg(dir.path().join("db"))
        .stdin(fs::File::open(schema).unwrap())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(
        status.success(),
        "sqlite3 with {}: {status}",
        schema.display()
    );
}

fn create_zones(pdnsutil: &PathBuf, options: &PowerDnsOptions, addr: SocketAddr, dir: &TempDir) {
    let pdnsutil = |args: &[&str]| {
        let output = Command::new(pdnsutil)
            .arg("--config-dir=.")
            .args(args)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "pdnsutil {args:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    };
    for key in &options.keys {
        pdnsutil(&[
            "import-tsig-key",
            &key.name,
            &key.algorithm,
            &key.secret_base64,
        ]);
    }
    for (number, zone) in options.zones.iter().enumerate() {
        assert!(
            zone.bind_policy.is_none(),
            "PowerDNS has no update policy of BIND's kind"
        );
        let file = format!("{number}.zone");
        fs::write(dir.path().join(&file), zone.zone_file(addr)).unwrap();
        pdnsutil(&["load-zone", &zone.name, &file]);
        if !zone.updaters.is_empty() {
            let mut args = vec!["set-meta", &zone.name, "TSIG-ALLOW-DNSUPDATE"];
            args.extend(zone.updaters.iter().map(String::as_str));
            pdnsutil(&args);
        }
    }
}
