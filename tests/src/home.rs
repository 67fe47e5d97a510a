//! A home directory with a configuration for the sandbox, for tests of the binary.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::{Dnseal, Sandbox};

/// A home with `dnseal.yaml`, which is for a sandbox's CA and name server and keeps everything in `state`.
#[derive(Debug)]
pub struct Home {
    dir: TempDir,
    config: String,
}

impl Home {
    /// A home whose configuration ends with these lines.
    pub fn new(sandbox: &Sandbox, more: &str) -> Self {
        let dir = TempDir::with_prefix("dnseal-home-").unwrap();
        fs::write(dir.path().join("ca.pem"), sandbox.ca.tls_root_pem()).unwrap();
        let key = sandbox.tsig_key();
        let config = format!(
            "ca: {{ url: {}, root: ca.pem }}
agree-tos: true
email: canary@example.test
dir: state
providers:
  corp: {{ kind: rfc2136, server: {addr}, tsig: {{ name: {}, algorithm: {}, secret: {} }} }}
propagation: {{ nameservers: [{addr}] }}
",
            sandbox.ca.directory_url(),
            key.name,
            key.algorithm,
            key.secret_base64,
            addr = sandbox.dns.addr(),
        );
        let home = Self { dir, config };
        home.configure(more);
        home
    }

    /// Writes the configuration anew, with other lines at its end.
    pub fn configure(&self, more: &str) {
        fs::write(
            self.path().join("dnseal.yaml"),
            format!("{}{more}", self.config),
        )
        .unwrap();
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A call of the binary with this configuration.
    pub fn dnseal(&self, words: &[&str]) -> Dnseal {
        Dnseal::new(self.path())
            .args(["--config", "dnseal.yaml"])
            .args(words)
    }
}
