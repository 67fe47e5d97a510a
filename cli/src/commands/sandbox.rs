//! `dnseal sandbox`: a CA and a name server for as long as you like, and what `demo` starts too.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use dnseal_core::dns::DomainName;
use dnseal_sandbox::ca::Ca;
use dnseal_sandbox::dns::DnsServer;
use dnseal_sandbox::dns::TsigKey;
use dnseal_sandbox::dns::Zone;
use serde_json::json;
use tempfile::TempDir;

use crate::args::SandboxArgs;
use crate::error::CliError;
use crate::render::Printer;
use crate::render::Report;
use crate::render::Table;
use crate::signals::Signals;

pub(super) async fn run(printer: Printer, args: &SandboxArgs) -> Result<Report, CliError> {
    let signals = Signals::listen().map_err(|e| unexpected("listen for signals", &e))?;
    let zones = args
        .zones
        .iter()
        .map(|zone| zone.parse())
        .collect::<Result<Vec<DomainName>, _>>()?;
    let sandbox = Sandbox::start(&zones, args.ca_listen, args.dns_listen, args.lifetime).await?;
    match printer.report(&sandbox.report(&zones)) {
        // Whoever wanted the first lines has them, and the sandbox is what was asked for.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        written => written.map_err(CliError::io("write to", "standard output"))?,
    }
    signals.cancel.cancelled().await;
    sandbox.shutdown().await;
    // Ending it is what the signal is for.
    Ok(Report::silent())
}

/// A CA and a name server in this process, and the files that lead to them.
#[derive(Debug)]
pub(super) struct Sandbox {
    pub(super) ca: Ca,
    pub(super) dns: DnsServer,
    pub(super) key: TsigKey,
    pub(super) root: PathBuf,
    issuing_root: PathBuf,
    key_file: PathBuf,
    files: TempDir,
}

impl Sandbox {
    /// Starts both, and writes the CA's root and the TSIG key into a temporary directory.
    pub(super) async fn start(
        zones: &[DomainName],
        ca_listen: SocketAddr,
        dns_listen: SocketAddr,
        lifetime: Option<Duration>,
    ) -> Result<Self, CliError> {
        let key = TsigKey::generate(KEY_NAME).map_err(|e| unexpected("make a TSIG key", &e))?;
        let mut server = DnsServer::builder().key(key.clone()).listen(dns_listen);
        for zone in zones {
            server = server.zone(served(zone, dns_listen.ip()));
        }
        let dns = server
            .start()
            .await
            .map_err(|e| unexpected("start the name server", &e))?;
        let mut ca = Ca::builder()
            .listen(ca_listen)
            .dns(reachable(dns.addr()))
            .revocation_list(true);
        if let Some(lifetime) = lifetime {
            ca = ca.validity(lifetime);
        }
        let ca = ca
            .start()
            .await
            .map_err(|e| unexpected("start the CA", &e))?;

        let files = tempfile::Builder::new()
            .prefix("dnseal-sandbox-")
            .tempdir()
            .map_err(CliError::io("make a directory in", std::env::temp_dir()))?;
        let root = files.path().join("ca.pem");
        std::fs::write(&root, ca.tls_root_pem()).map_err(CliError::io("write", &root))?;
        let issuing_root = files.path().join("issuing-root.pem");
        std::fs::write(&issuing_root, ca.issuance_root_pem())
            .map_err(CliError::io("write", &issuing_root))?;
        let key_file = files.path().join("tsig.key");
        write_private(&key_file, &bind_key(&key)).map_err(CliError::io("write", &key_file))?;
        Ok(Self {
            ca,
            dns,
            key,
            root,
            issuing_root,
            key_file,
            files,
        })
    }

    /// Where the name server is.
    pub(super) fn server(&self) -> SocketAddr {
        reachable(self.dns.addr())
    }

    /// Ends both and removes the files.
    pub(super) async fn shutdown(self) {
        self.ca.shutdown().await;
        self.dns.shutdown().await;
        // What cannot be removed from a temporary directory goes with it some day.
        let _ = self.files.close();
    }

    fn report(&self, zones: &[DomainName]) -> Report {
        let names: Vec<&str> = zones.iter().map(DomainName::as_str).collect();
        let (server, directory) = (self.server(), self.ca.directory_url());
        let mut table = Table::untitled();
        table.row(["ACME directory", &directory]);
        table.row(["its HTTPS root".to_owned(), self.root.display().to_string()]);
        table.row([
            "root of what it issues".to_owned(),
            self.issuing_root.display().to_string(),
        ]);
        table.row(["name server".to_owned(), server.to_string()]);
        table.row(["zones", &names.join(" ")]);
        table.row(["TSIG key", self.key.name()]);
        table.row(["algorithm", self.key.algorithm().as_str()]);
        table.row(["secret", &self.key.secret_base64()]);
        table.row(["key file".to_owned(), self.key_file.display().to_string()]);
        let mut text = table.render("");
        let name = names.first().copied().unwrap_or("example.test");
        let _ = write!(
            text,
            "\nTry in another terminal:\n  dnseal issue {name} '*.{name}' --dir /tmp/dnseal-try --agree-tos \\\n    \
             --ca {directory} --ca-root {} \\\n    \
             --provider rfc2136 --set server={server} --set tsig.file={} --nameserver {server}\n\n\
             Look at what came of it:\n  openssl verify -CAfile {} -untrusted /tmp/dnseal-try/live/{name}/chain.pem \\\n    \
             /tmp/dnseal-try/live/{name}/cert.pem\n\n\
             Nobody trusts these certificates. Ctrl-C ends it.\n",
            self.root.display(),
            self.key_file.display(),
            self.issuing_root.display(),
        );
        let json = json!({
            "directory": directory,
            "root": self.root.display().to_string(),
            "issuing_root": self.issuing_root.display().to_string(),
            "name_server": server,
            "zones": names,
            "tsig": {
                "name": self.key.name(),
                "algorithm": self.key.algorithm().as_str(),
                "secret": self.key.secret_base64(),
                "file": self.key_file.display().to_string(),
            },
        });
        Report::new(text, json)
    }
}

fn served(zone: &DomainName, address: IpAddr) -> Zone {
    let server = format!("ns1.{zone}");
    Zone::new(zone.as_str())
        .ns(server.clone())
        .address(server, reachable(SocketAddr::new(address, 0)).ip())
}

/// Who listens everywhere is reached on this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => {
            SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), address.port())
        }
        IpAddr::V6(ip) if ip.is_unspecified() => {
            SocketAddr::new(std::net::Ipv6Addr::LOCALHOST.into(), address.port())
        }
        _ => address,
    }
}

/// Writes a new file for its owner alone.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.create_new(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(text.as_bytes())
}

/// The key as `tsig-keygen` writes it.
fn bind_key(key: &TsigKey) -> String {
    format!(
        "key \"{}\" {{\n\talgorithm {};\n\tsecret \"{}\";\n}};\n",
        key.name(),
        key.algorithm().as_str(),
        key.secret_base64()
    )
}

fn unexpected(what: &str, error: &dyn std::error::Error) -> CliError {
    CliError::Unexpected {
        message: format!("cannot {what}: {}", with_causes(error)),
        hint: None,
    }
}

/// The error and what is behind it, each said once.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

const KEY_NAME: &str = "dnseal-sandbox";
