//! The sandbox CA, which says by which CAA records it is meant, over a real BIND; and the binary pointed at both.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use dnseal_sandbox::ca::{Ca, CaBuilder};
use dnseal_tests::{Bind, BindOptions, Dnseal, NameServer, Run, TsigKey, ZoneSpec};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const ZONE: &str = "example.test";
pub(crate) const OWNER: &str = "_acme-challenge.example.test";
/// The domain name by which CAA records mean the sandbox CA.
pub(crate) const IDENTITY: &str = "sandbox.dnseal.test";

/// Everything that a command needs.
pub(crate) struct World {
    pub(crate) ca: Ca,
    pub(crate) key: TsigKey,
    pub(crate) nameservers: Vec<SocketAddr>,
    home: TempDir,
}

impl World {
    /// A CA that looks values up at the first of these servers.
    pub(crate) async fn over(nameservers: Vec<SocketAddr>, key: &TsigKey) -> Self {
        Self::with_ca(Ca::builder(), nameservers, key).await
    }

    pub(crate) async fn with_ca(
        ca: CaBuilder,
        nameservers: Vec<SocketAddr>,
        key: &TsigKey,
    ) -> Self {
        let ca = ca.dns(nameservers[0]).start().await.unwrap();
        let home = TempDir::with_prefix("dnseal-doctor-").unwrap();
        fs::write(home.path().join("ca.pem"), ca.tls_root_pem()).unwrap();
        Self {
            ca,
            key: key.clone(),
            nameservers,
            home,
        }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.home.path().join("state")
    }

    /// `dnseal COMMAND` that is told everything it needs.
    pub(crate) fn command(&self, command: &str) -> Dnseal {
        let servers: Vec<String> = self.nameservers.iter().map(ToString::to_string).collect();
        Dnseal::new(self.home.path())
            .args(command.split(' '))
            .env("DNSEAL_DIR", self.dir())
            .env("DNSEAL_CA", self.ca.directory_url())
            .env("DNSEAL_CA_ROOT", self.home.path().join("ca.pem"))
            .env("DNSEAL_AGREE_TOS", "1")
            .env("DNSEAL_PROVIDER", "rfc2136")
            .env("DNSEAL_NAMESERVER", servers.join(","))
            .env("RFC2136_NAMESERVER", &servers[0])
            .env("RFC2136_TSIG_KEY", &self.key.name)
            .env("RFC2136_TSIG_SECRET", &self.key.secret_base64)
            .env("RFC2136_TSIG_ALGORITHM", &self.key.algorithm)
    }

    /// `dnseal doctor NAMES` in JSON.
    pub(crate) fn doctor(&self, names: &str) -> Examined {
        Examined::of(self.command(&format!("doctor {names} --output json")).run())
    }

    /// What an order would be without a doctor.
    pub(crate) fn orders(&self) -> usize {
        self.ca.orders().len()
    }
}

/// What a doctor said.
pub(crate) struct Examined {
    pub(crate) run: Run,
    pub(crate) json: Value,
}

impl Examined {
    pub(crate) fn of(run: Run) -> Self {
        let json = run.json();
        Self { run, json }
    }

    /// The findings of one check with that severity.
    pub(crate) fn findings(&self, check: &str, severity: &str) -> Vec<&Value> {
        let all = self.json["findings"].as_array().unwrap();
        all.iter()
            .filter(|f| f["check"] == check && f["severity"] == severity)
            .collect()
    }

    /// The one finding of a check with that severity, in words: what and how to mend it.
    #[track_caller]
    pub(crate) fn the(&self, check: &str, severity: &str) -> String {
        let found = self.findings(check, severity);
        assert_eq!(found.len(), 1, "{check} {severity}: {:#}", self.json);
        format!(
            "{}: {} / {}",
            found[0]["about"].as_str().unwrap(),
            found[0]["message"].as_str().unwrap(),
            found[0]["fix"].as_str().unwrap_or("-")
        )
    }

    /// Asserts how it ended, and that the verdict says the same.
    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Self {
        assert_eq!(self.run.status.code(), Some(code), "{:#}", self.json);
        assert_eq!(self.json["would_work"], code == 0, "{:#}", self.json);
        self
    }

    /// Everything that stops issuing, as the names of the checks.
    pub(crate) fn failures(&self) -> Vec<&str> {
        let all = self.json["findings"].as_array().unwrap();
        all.iter()
            .filter(|f| f["severity"] == "failure")
            .map(|f| f["check"].as_str().unwrap())
            .collect()
    }
}

/// BIND with `example.test`, which a key may update, and more records.
pub(crate) fn bind(records: &[&str]) -> Option<(Bind, TsigKey)> {
    let key = TsigKey::random("acme-key");
    let mut zone = ZoneSpec::new(ZONE);
    zone.bind_policy = Some("grant acme-key zonesub ANY;".to_owned());
    for record in records {
        zone = zone.record(record);
    }
    let bind = Bind::start(BindOptions::new([zone], [key.clone()]))?;
    Some((bind, key))
}

/// BIND as [`bind`] starts it, and the rest over it.
pub(crate) async fn world(records: &[&str]) -> Option<(Bind, World)> {
    let (bind, key) = bind(records)?;
    let world = World::over(vec![bind.addr()], &key).await;
    Some((bind, world))
}
