//! The sandbox's CA and name server, and the program with what leads to them.

use std::path::Path;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

use dnseal_sandbox::ca::Ca;
use dnseal_sandbox::ca::CaBuilder;
use dnseal_sandbox::dns::DnsServer;
use dnseal_sandbox::dns::TsigKey;
use dnseal_sandbox::dns::Zone;
use serde_json::Value;
use tempfile::TempDir;

pub(super) const OWNER: &str = "_acme-challenge.example.test";

/// A CA, a zone, and a directory of one's own.
pub(super) struct Shop {
    pub(super) ca: Ca,
    dir: TempDir,
    pub(super) dns: DnsServer,
    pub(super) key: TsigKey,
}

impl Shop {
    pub(super) async fn open(ca: CaBuilder) -> Self {
        let key = TsigKey::generate("acme").unwrap();
        let zone = Zone::new("example.test")
            .ns("ns1.example.test")
            .a("ns1.example.test", [127, 0, 0, 1].into());
        let dns = DnsServer::builder()
            .zone(zone)
            .key(key.clone())
            .start()
            .await
            .unwrap();
        let ca = ca.dns(dns.addr()).start().await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), ca.tls_root_pem()).unwrap();
        Self { ca, dir, dns, key }
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// `dnseal` with these words and what leads to CA and zone; the provider's settings come as variables.
    pub(super) async fn run(&self, words: &[&str]) -> Run {
        self.run_with(words, &[]).await
    }

    pub(super) async fn run_with(&self, words: &[&str], variables: &[(&str, &str)]) -> Run {
        let mut command = self.command(words);
        command.envs(variables.iter().copied());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap();
        Run::from(output)
    }

    /// The same as a command that a test starts by itself.
    pub(super) fn command(&self, words: &[&str]) -> Command {
        let mut command = dnseal(words);
        command
            .current_dir(self.path())
            .env("DNSEAL_DIR", self.path().join("state"))
            .env("DNSEAL_CA", self.ca.directory_url())
            .env("DNSEAL_CA_ROOT", self.path().join("ca.pem"))
            .env("DNSEAL_PROVIDER", "rfc2136")
            .env("DNSEAL_NAMESERVER", self.dns.addr().to_string())
            .env("RFC2136_NAMESERVER", self.dns.addr().to_string())
            .env("RFC2136_TSIG_KEY", self.key.name())
            .env("RFC2136_TSIG_ALGORITHM", self.key.algorithm().as_str())
            .env("RFC2136_TSIG_SECRET", self.key.secret_base64());
        command
    }
}

/// What a command said.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) code: Option<i32>,
    pub(super) stderr: String,
    pub(super) stdout: String,
}

impl Run {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap()
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
        }
    }
}

/// The program without anything that this machine's environment says about it.
pub(super) fn dnseal(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dnseal"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if ["DNSEAL_", "RFC2136_", "ACME_EAB_"]
            .iter()
            .any(|p| name.starts_with(p))
        {
            command.env_remove(&*name);
        }
    }
    command.args(words).stdin(Stdio::null());
    command
}
