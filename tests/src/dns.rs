//! What the name servers have in common: zones, keys, questions by TCP, updates by the real `nsupdate`.

use std::{
    fmt::Write as _,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
    str::FromStr,
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use hickory_proto::{
    op::{Message, Query, ResponseCode},
    rr::{Name, RData, RecordType},
};

use crate::{Peer, Process, process::wait_until};

/// How long one question may take.
const QUERY_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a server may take to show what a test waits for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A running name server.
pub trait NameServer {
    /// Where it answers, by UDP and TCP.
    fn addr(&self) -> SocketAddr;

    /// The process behind it: its log, its signals, its end.
    fn process(&self) -> &Process;

    /// The server's name, for messages.
    fn name(&self) -> &'static str {
        self.process().name()
    }

    /// Adds one TXT value by a dynamic update.
    fn add_txt(&self, key: &TsigKey, zone: &str, owner: &str, value: &str) {
        add_txt(self.addr(), key, zone, owner, value);
    }

    /// Removes one TXT value by a dynamic update.
    fn remove_txt(&self, key: &TsigKey, zone: &str, owner: &str, value: &str) {
        remove_txt(self.addr(), key, zone, owner, value);
    }
}

/// A key for transaction signatures (RFC 8945).
#[derive(Clone, Debug)]
pub struct TsigKey {
    /// The key's name.
    pub name: String,
    /// `hmac-sha256`, `hmac-sha512`, …
    pub algorithm: String,
    /// The secret in base64.
    pub secret_base64: String,
}

impl TsigKey {
    /// A new `hmac-sha256` key.
    pub fn random(name: &str) -> Self {
        Self::random_for(name, "hmac-sha256")
    }

    /// A new key for another algorithm.
    pub fn random_for(name: &str, algorithm: &str) -> Self {
        Self {
            name: name.to_owned(),
            algorithm: algorithm.to_owned(),
            secret_base64: BASE64_STANDARD.encode(rand::random::<[u8; 32]>()),
        }
    }
}

/// A zone that a server is primary for. SOA, NS `ns1` and the address of `ns1` are made for it.
#[derive(Clone, Debug)]
pub struct ZoneSpec {
    /// The zone's name, without trailing dot.
    pub name: String,
    /// More records, as lines of a zone file, relative to the zone: `sub NS ns.elsewhere.test.`
    pub records: Vec<String>,
    /// Names of the keys that may add and remove TXT records anywhere in the zone.
    pub updaters: Vec<String>,
    /// BIND's `update-policy` statements, in place of what follows from `updaters`. Other servers cannot have it.
    pub bind_policy: Option<String>,
    /// Seconds for which a resolver may remember that a name is not there.
    pub negative_ttl: u32,
    /// The whole zone file, in place of what follows from the rest: a signed zone, for instance.
    pub text: Option<String>,
}

impl ZoneSpec {
    /// A zone that nobody may update.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            records: Vec::new(),
            updaters: Vec::new(),
            bind_policy: None,
            negative_ttl: 5,
            text: None,
        }
    }

    /// Allows a key to change TXT records.
    #[must_use]
    pub fn updated_by(mut self, key: &TsigKey) -> Self {
        self.updaters.push(key.name.clone());
        self
    }

    /// Adds a line to the zone file.
    #[must_use]
    pub fn record(mut self, line: &str) -> Self {
        self.records.push(line.to_owned());
        self
    }

    /// The zone as a file.
    pub fn zone_file(&self, addr: SocketAddr) -> String {
        if let Some(text) = &self.text {
            return text.clone();
        }
        let mut file = format!(
            "$ORIGIN {name}.\n$TTL 60\n\
             @ IN SOA ns1.{name}. hostmaster.{name}. 1 3600 60 604800 {negative_ttl}\n\
             @ IN NS ns1.{name}.\nns1 IN A {ip}\n",
            name = self.name,
            negative_ttl = self.negative_ttl,
            ip = addr.ip(),
        );
        for record in &self.records {
            let _ = writeln!(file, "{record}");
        }
        file
    }
}

/// Asks one question by TCP and returns the whole answer.
///
/// # Errors
///
/// When the server cannot be reached, does not answer within 3 s, or answers something that is no DNS message.
pub fn query(addr: SocketAddr, name: &str, rtype: RecordType) -> io::Result<Message> {
    let name = Name::from_str(name)
        .map_err(io::Error::other)?
        .to_lowercase();
    let mut message = Message::query();
    // For a resolver; an authoritative server does not care.
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(absolute(name), rtype));
    let bytes = message.to_vec().map_err(io::Error::other)?;

    let mut stream = TcpStream::connect_timeout(&addr, QUERY_TIMEOUT)?;
    stream.set_read_timeout(Some(QUERY_TIMEOUT))?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes)?;
    Message::from_vec(&bytes).map_err(io::Error::other)
}

/// The TXT values that a server has at `owner`, sorted; none for a name that is not there.
///
/// # Panics
///
/// When the server does not answer, or answers with an error.
pub fn txt_values(addr: SocketAddr, owner: &str) -> Vec<String> {
    let answer = query(addr, owner, RecordType::TXT)
        .unwrap_or_else(|error| panic!("{addr} does not answer for {owner} TXT: {error}"));
    let code = answer.metadata.response_code;
    assert!(
        matches!(code, ResponseCode::NoError | ResponseCode::NXDomain),
        "{addr} answers {code} for {owner} TXT"
    );
    let mut values: Vec<String> = answer
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
            _ => None,
        })
        .collect();
    values.sort();
    values
}

/// Waits until a server has `value` at `owner`.
///
/// # Panics
///
/// When it has not after 30 s.
pub fn await_txt(addr: SocketAddr, owner: &str, value: &str) {
    let has = || txt_values(addr, owner).iter().any(|it| it == value);
    assert!(
        wait_until(ANSWER_TIMEOUT, has),
        "{addr} has {:?} at {owner}, not {value:?}",
        txt_values(addr, owner)
    );
}

/// The serial of a zone at a server, if the server answers for the zone.
pub(crate) fn soa_serial(addr: SocketAddr, zone: &str) -> Option<u32> {
    let answer = query(addr, zone, RecordType::SOA).ok()?;
    answer.answers.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(soa.serial),
        _ => None,
    })
}

/// Whether a server answers for all of these zones; the error names one that it does not know.
pub(crate) fn has_zones(addr: SocketAddr, zones: &[ZoneSpec]) -> Result<(), String> {
    let missing = zones
        .iter()
        .find(|zone| soa_serial(addr, &zone.name).is_none());
    match missing {
        Some(zone) => Err(format!("{addr} has no SOA for {}", zone.name)),
        None => Ok(()),
    }
}

/// Waits until a server answers for a zone, and returns the zone's serial.
///
/// # Panics
///
/// When it does not after 30 s.
pub fn await_soa(addr: SocketAddr, zone: &str) -> u32 {
    wait_until(ANSWER_TIMEOUT, || soa_serial(addr, zone).is_some());
    soa_serial(addr, zone).unwrap_or_else(|| panic!("{addr} does not answer for {zone} SOA"))
}

/// Adds one TXT value by a dynamic update, TTL 1.
///
/// # Panics
///
/// When the server refuses.
pub fn add_txt(addr: SocketAddr, key: &TsigKey, zone: &str, owner: &str, value: &str) {
    let update = format!("update add {owner}. 1 TXT {}", quoted(value));
    nsupdate(addr, key, zone, &[&update]).unwrap_or_else(|error| panic!("{update}: {error}"));
}

/// Removes one TXT value by a dynamic update.
///
/// # Panics
///
/// When the server refuses.
pub fn remove_txt(addr: SocketAddr, key: &TsigKey, zone: &str, owner: &str, value: &str) {
    let update = format!("update delete {owner}. TXT {}", quoted(value));
    nsupdate(addr, key, zone, &[&update]).unwrap_or_else(|error| panic!("{update}: {error}"));
}

/// Sends one message with these `update …` and `prereq …` lines by the real `nsupdate`.
///
/// # Errors
///
/// What `nsupdate` says when the server refuses.
pub fn nsupdate(addr: SocketAddr, key: &TsigKey, zone: &str, lines: &[&str]) -> Result<(), String> {
    let program = Peer::Nsupdate.path().expect("nsupdate is installed");
    let script = format!(
        "server {} {}\nzone {zone}\n{}\nsend\n",
        addr.ip(),
        addr.port(),
        lines.join("\n")
    );
    let secret = format!("{}:{}:{}", key.algorithm, key.name, key.secret_base64);
    let mut child = Command::new(program)
        .args(["-v", "-t", "20", "-y", &secret])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    // Dropping the pipe at the end of the statement is the end of the input.
    child
        .stdin
        .take()
        .expect("it is piped")
        .write_all(script.as_bytes())
        .map_err(|error| error.to_string())?;
    let output = child
        .wait_with_output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(String::from_utf8_lossy(&said).trim().to_owned())
}

/// A TXT value as zone files and `nsupdate` read it: strings of at most 255 octets.
fn quoted(value: &str) -> String {
    let escaped: Vec<String> = value
        .as_bytes()
        .chunks(255)
        .map(|chunk| {
            String::from_utf8_lossy(chunk)
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
        })
        .map(|string| format!("\"{string}\""))
        .collect();
    escaped.join(" ")
}

fn absolute(mut name: Name) -> Name {
    name.set_fqdn(true);
    name
}
