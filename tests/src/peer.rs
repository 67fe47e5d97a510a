//! Where the peers' programs are, and what happens when one is not there.
//!
//! `tests/run` names each program in an environment variable; without it the PATH and the directories that Debian
//! installs daemons into are looked through, so that `cargo test` works by itself on a machine that has the peers.

use std::{
    env,
    fmt::{self, Display},
    fs::OpenOptions,
    io::Write,
    path::PathBuf,
};

/// Set to 1, a missing peer is a failed test.
const REQUIRE_PEERS: &str = "DNSEAL_TESTS_REQUIRE_PEERS";
/// The file in which `tests/run` collects which peers took part.
const JOURNAL: &str = "DNSEAL_TESTS_JOURNAL";
/// Directories with daemons that an ordinary user's PATH lacks.
const DAEMON_DIRS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// A program that is not ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Peer {
    /// acme.sh with its DNS scripts beside it.
    AcmeSh,
    /// curl, which acme.sh's scripts fetch with.
    Curl,
    /// `age`, beside which `age-keygen` lies.
    Age,
    /// BIND's `dnssec-signzone`, beside which `dnssec-keygen` lies.
    DnssecSignzone,
    /// `faketime`, which shows a program another time.
    Faketime,
    /// iproute2's `ip`.
    Ip,
    /// jq, which the shell plugin reads JSON with.
    Jq,
    /// Knot's `knotd`.
    Knotd,
    /// BIND's `named`.
    Named,
    /// nftables' `nft`.
    Nft,
    /// BIND's `nsupdate`.
    Nsupdate,
    /// OpenSSL's command line.
    Openssl,
    /// PowerDNS' authoritative server, with its SQLite backend.
    PdnsServer,
    /// PowerDNS' `pdnsutil`.
    Pdnsutil,
    /// Let's Encrypt's test CA, 2.10 or newer.
    Pebble,
    /// SQLite's command line.
    Sqlite3,
    /// Tinyproxy.
    Tinyproxy,
    /// Unbound.
    Unbound,
}

impl Peer {
    /// The program's path, from its variable or the PATH.
    pub fn path(self) -> Option<PathBuf> {
        if let Some(path) = env::var_os(self.variable()).filter(|path| !path.is_empty()) {
            return Some(PathBuf::from(path)).filter(|path| path.is_file());
        }
        // What a distribution calls pebble may be years old, and acme.sh is no program on the PATH; `tests/run` knows both.
        if matches!(self, Self::AcmeSh | Self::Pebble) {
            return None;
        }
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path)
            .chain(DAEMON_DIRS.map(PathBuf::from))
            .map(|dir| dir.join(self.program()))
            .find(|path| path.is_file())
    }

    fn program(self) -> &'static str {
        match self {
            Self::AcmeSh => "acme.sh",
            Self::Curl => "curl",
            Self::Age => "age",
            Self::DnssecSignzone => "dnssec-signzone",
            Self::Faketime => "faketime",
            Self::Ip => "ip",
            Self::Jq => "jq",
            Self::Knotd => "knotd",
            Self::Named => "named",
            Self::Nft => "nft",
            Self::Nsupdate => "nsupdate",
            Self::Openssl => "openssl",
            Self::PdnsServer => "pdns_server",
            Self::Pdnsutil => "pdnsutil",
            Self::Pebble => "pebble",
            Self::Sqlite3 => "sqlite3",
            Self::Tinyproxy => "tinyproxy",
            Self::Unbound => "unbound",
        }
    }

    fn variable(self) -> &'static str {
        match self {
            Self::AcmeSh => "DNSEAL_ACME_SH",
            Self::Curl => "DNSEAL_CURL",
            Self::Age => "DNSEAL_AGE",
            Self::DnssecSignzone => "DNSEAL_DNSSEC_SIGNZONE",
            Self::Faketime => "DNSEAL_FAKETIME",
            Self::Ip => "DNSEAL_IP",
            Self::Jq => "DNSEAL_JQ",
            Self::Knotd => "DNSEAL_KNOTD",
            Self::Named => "DNSEAL_NAMED",
            Self::Nft => "DNSEAL_NFT",
            Self::Nsupdate => "DNSEAL_NSUPDATE",
            Self::Openssl => "DNSEAL_OPENSSL",
            Self::PdnsServer => "DNSEAL_PDNS_SERVER",
            Self::Pdnsutil => "DNSEAL_PDNSUTIL",
            Self::Pebble => "DNSEAL_PEBBLE",
            Self::Sqlite3 => "DNSEAL_SQLITE3",
            Self::Tinyproxy => "DNSEAL_TINYPROXY",
            Self::Unbound => "DNSEAL_UNBOUND",
        }
    }
}

impl Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let package = match self {
            Self::AcmeSh => "acme.sh",
            Self::Curl => "curl",
            Self::Age => "age",
            Self::DnssecSignzone => "bind9-utils",
            Self::Faketime => "faketime",
            Self::Ip => "iproute2",
            Self::Jq => "jq",
            Self::Knotd => "knot",
            Self::Named => "bind9",
            Self::Nft => "nftables",
            Self::Nsupdate => "bind9-dnsutils",
            Self::Openssl => "openssl",
            Self::PdnsServer | Self::Pdnsutil => "pdns-server",
            Self::Pebble => "pebble 2.10 or newer",
            Self::Sqlite3 => "sqlite3",
            Self::Tinyproxy => "tinyproxy",
            Self::Unbound => "unbound",
        };
        write!(f, "{package} ({})", self.program())
    }
}

/// The path of `peer`, or `None` and one line on stderr where it is not installed.
///
/// # Panics
///
/// When it is not installed and `DNSEAL_TESTS_REQUIRE_PEERS=1`.
pub fn require(peer: Peer) -> Option<PathBuf> {
    let path = peer.path();
    if path.is_none() {
        skip(&format!(
            "{peer} is not installed (or {} is wrong)",
            peer.variable()
        ));
    }
    path
}

/// Says that a test does without a peer, and why.
pub fn skip(reason: &str) {
    if env::var(REQUIRE_PEERS).is_ok_and(|value| value == "1") {
        panic!("{reason}, and {REQUIRE_PEERS}=1");
    }
    eprintln!("skipped: {reason}");
    note(&format!("skipped: {reason}"));
}

/// Adds a line to the journal of the run, if somebody keeps one.
pub(crate) fn note(line: &str) {
    let Some(journal) = env::var_os(JOURNAL) else {
        return;
    };
    // One write of one line, because many test processes append at the same time.
    let written = OpenOptions::new()
        .append(true)
        .create(true)
        .open(&journal)
        .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    if let Err(error) = written {
        eprintln!("cannot write {}: {error}", journal.display());
    }
}
