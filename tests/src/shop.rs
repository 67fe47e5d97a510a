//! A CA and name servers that the binary under test is pointed at, with its home.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{Bind, BindOptions, Dnseal, NameServer, Pebble, PebbleOptions, TsigKey, ZoneSpec};

/// Pebble and BIND with a zone `example.test`, and a home for `dnseal`.
#[derive(Debug)]
pub struct Shop {
    /// The name server.
    pub bind: Bind,
    /// The key that may update its zones.
    pub key: TsigKey,
    /// The CA.
    pub pebble: Pebble,
    home: TempDir,
}

impl Shop {
    /// Starts both; `None` where one is not installed.
    pub fn open() -> Option<Self> {
        Self::open_with(|_| {})
    }

    /// Starts both, Pebble with other options.
    pub fn open_with(change: impl FnOnce(&mut PebbleOptions)) -> Option<Self> {
        let zone = |key: &TsigKey| vec![ZoneSpec::new("example.test").updated_by(key)];
        Self::open_zones(zone, change)
    }

    /// Starts both, BIND with these zones.
    pub fn open_zones(
        zones: impl FnOnce(&TsigKey) -> Vec<ZoneSpec>,
        change: impl FnOnce(&mut PebbleOptions),
    ) -> Option<Self> {
        let key = TsigKey::random("acme-key");
        let bind = Bind::start(BindOptions::new(zones(&key), [key.clone()]))?;
        let mut options = PebbleOptions::new(bind.addr());
        change(&mut options);
        Some(Self::of(bind, key, Pebble::start(options)?))
    }

    /// Puts together what is running already.
    pub fn of(bind: Bind, key: TsigKey, pebble: Pebble) -> Self {
        Self {
            bind,
            key,
            pebble,
            home: TempDir::with_prefix("dnseal-home-").unwrap(),
        }
    }

    /// Where `dnseal` has its home.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Where it keeps everything.
    pub fn dir(&self) -> PathBuf {
        self.home.path().join("state")
    }

    /// A file of the live certificate `name`.
    pub fn live(&self, name: &str, file: &str) -> PathBuf {
        self.dir().join("live").join(name).join(file)
    }

    /// The head of the certificate `name`, as it is on disk.
    pub fn head(&self, name: &str) -> Option<serde_json::Value> {
        let path = self
            .dir()
            .join("store/certificates")
            .join(name)
            .join("head.json");
        let text = fs::read(path).ok()?;
        Some(serde_json::from_slice(&text).unwrap())
    }

    /// `dnseal COMMAND` in this home, with directory and nothing else.
    pub fn command(&self, command: &str) -> Dnseal {
        Dnseal::new(self.home.path())
            .args(command.split(' '))
            .arg("--dir")
            .arg(self.dir())
    }

    /// `dnseal issue NAMES`, told everything by flags and lego's variables.
    pub fn issue(&self, names: &[&str]) -> Dnseal {
        self.command("issue")
            .args(names)
            .arg("--ca")
            .arg(self.pebble.directory_url())
            .arg("--ca-root")
            .arg(self.pebble.ca_pem_path())
            .args(["--agree-tos", "--provider", "rfc2136"])
            .args(["--nameserver", &self.bind.addr().to_string()])
            .env("RFC2136_NAMESERVER", self.bind.addr().to_string())
            .env("RFC2136_TSIG_KEY", &self.key.name)
            .env("RFC2136_TSIG_SECRET", &self.key.secret_base64)
            .env("RFC2136_TSIG_ALGORITHM", format!("{}.", self.key.algorithm))
    }

    /// Checks the live chain of a certificate with `openssl verify` against the CA's root.
    pub fn verify(&self, name: &str) {
        let root = self.home.path().join("issuance-root.pem");
        fs::write(&root, self.pebble.issuance_root_pem()).unwrap();
        let output = std::process::Command::new("openssl")
            .args(["verify", "-CAfile"])
            .arg(&root)
            .arg("-untrusted")
            .args([self.live(name, "chain.pem"), self.live(name, "cert.pem")])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// The address that `--nameserver` is given.
    pub fn nameserver(&self) -> SocketAddr {
        self.bind.addr()
    }
}
