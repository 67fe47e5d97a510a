//! The DNS scripts of a real acme.sh: the conformance suite through them, base plus wildcard from Pebble, two processes at one owner
//! name, and what goes wrong with scripts.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not count among the tests"
)]

mod binary;
mod conformance;
mod scripts;
mod wrong;

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dnseal_core::dns::{
    Asker, AskerOptions, Discovery, DiscoveryOptions, DnsProvider, Onlooker, Zone,
};
use dnseal_core::event::Events;
use dnseal_core::store::{DirectoryStore, Memory, StoreError};
use dnseal_providers::{Context, acmesh};
use dnseal_tests::{Bind, BindOptions, Peer, TsigKey, ZoneSpec, build_in, name, require};
use tempfile::TempDir;

const ZONE: &str = "example.test";
const OWNER: &str = "_acme-challenge.example.test";

/// The user's acme.sh.
fn home() -> Option<PathBuf> {
    let library = require(Peer::AcmeSh)?;
    Some(library.parent().unwrap().to_owned())
}

/// BIND, and a directory with a key file that `nsupdate -k` reads.
struct Server {
    bind: Bind,
    dir: TempDir,
    key: TsigKey,
}

impl Server {
    fn start(more: &[&str]) -> Option<Self> {
        require(Peer::Nsupdate)?;
        let key = TsigKey::random("acme-key");
        let zone = ZoneSpec::new(ZONE).updated_by(&key).record("@ TXT apex");
        let zone = more.iter().fold(zone, |zone, record| zone.record(record));
        let bind = Bind::start(BindOptions::new([zone], [key.clone()]))?;
        let dir = TempDir::with_prefix("dnseal-key-").unwrap();
        let text = format!(
            "key \"{}\" {{ algorithm {}; secret \"{}\"; }};\n",
            key.name, key.algorithm, key.secret_base64
        );
        std::fs::write(dir.path().join("acme.key"), text).unwrap();
        Some(Self { bind, dir, key })
    }

    fn addr(&self) -> SocketAddr {
        use dnseal_tests::NameServer;
        self.bind.addr()
    }

    /// What `dns_nsupdate` and scripts like it want to know.
    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("env.NSUPDATE_SERVER", self.addr().ip().to_string()),
            ("env.NSUPDATE_SERVER_PORT", self.addr().port().to_string()),
            (
                "env.NSUPDATE_KEY",
                self.dir.path().join("acme.key").display().to_string(),
            ),
        ]
    }

    /// The same for a flow mapping of YAML.
    fn yaml(&self) -> String {
        let settings = self.settings().into_iter();
        let lines: Vec<String> = settings
            .map(|(key, value)| format!("{}: '{value}'", key.trim_start_matches("env.")))
            .collect();
        format!("env: {{ {} }}", lines.join(", "))
    }
}

/// A way to see what stands at names, by this server.
fn onlooker(dns: SocketAddr) -> Onlooker {
    let asker = Asker::new(AskerOptions::default(), Events::silent());
    let options = DiscoveryOptions {
        nameservers: vec![dns],
        ..DiscoveryOptions::default()
    };
    Onlooker::new(asker.clone(), Discovery::new(asker, options))
}

/// A script as a provider, with a store of its own.
fn provider(
    script: &str,
    home: &Path,
    dns: SocketAddr,
    store: &Path,
    settings: &[(&'static str, impl Display)],
) -> Arc<dyn DnsProvider> {
    let home = home.display().to_string();
    let kind = acmesh::describe(script, Some(&home)).unwrap();
    let store = store.to_owned();
    let context = Context::default()
        .with_onlooker(onlooker(dns))
        .with_memory(Memory::new(move || {
            let opened = DirectoryStore::open(&store).map_err(StoreError::from)?;
            Ok(Arc::new(opened))
        }));
    let mut given = vec![("script", script.to_owned()), ("home", home)];
    given.extend(
        settings
            .iter()
            .map(|(key, value)| (*key, value.to_string())),
    );
    build_in(kind, &given, &context)
}

fn zone() -> Zone {
    Zone {
        id: String::new(),
        name: name(ZONE),
    }
}
