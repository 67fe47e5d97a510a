//! One question to one server, and exactly what it answered.
//!
//! An [`Asker`] sends a question that does not ask for recursion over UDP with EDNS, and again over TCP when the answer
//! is truncated or none comes (RFC 7766 section 5). Each question has a fresh random id and a fresh source port, and an
//! answer counts only when it repeats both id and question. NXDOMAIN and SERVFAIL are answers, not errors; nothing is
//! cached, merged or retried elsewhere. The number of open questions is bounded, so that hundreds can be asked at once.

pub(super) mod encrypted;
mod upstream;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::Edns;
use hickory_proto::op::Message;
use hickory_proto::op::MessageType;
use hickory_proto::op::OpCode;
use hickory_proto::op::Query;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::DNSClass;
use hickory_proto::rr::Name;
use hickory_proto::rr::RData;
use hickory_proto::rr::Record;
use hickory_proto::rr::RecordType;
use serde::Deserialize;
use serde::Serialize;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio::time::timeout;

pub use self::encrypted::EncryptedResolver;
pub use self::upstream::Upstream;
use crate::dns::DomainName;
use crate::dns::TxtValue;
use crate::event::Events;
use crate::event::What;

/// How questions are asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AskerOptions {
    /// The port of servers that are found through DNS; anything but 53 is for tests and private set-ups.
    pub port: u16,
    /// Which addresses of a server are used.
    pub family: Family,
    /// How long to wait for an answer over UDP.
    pub udp_timeout: Duration,
    /// How long to wait for an answer over TCP, connecting included.
    pub tcp_timeout: Duration,
    /// How long to wait for a recursive resolver, for each transport.
    pub recursive_timeout: Duration,
    /// How long to wait for an encrypted resolver, connecting through a proxy included.
    pub encrypted_timeout: Duration,
}

impl Default for AskerOptions {
    fn default() -> Self {
        Self {
            port: DNS_PORT,
            family: Family::Both,
            // Together 3 s: as long as it may take to notice that port 53 is closed.
            udp_timeout: Duration::from_secs(1),
            tcp_timeout: Duration::from_secs(2),
            recursive_timeout: Duration::from_secs(3),
            encrypted_timeout: Duration::from_secs(5),
        }
    }
}

/// Which addresses of name servers are used.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4 and IPv6.
    #[default]
    Both,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

impl Family {
    /// Whether this address may be used.
    pub fn allows(self, address: IpAddr) -> bool {
        match self {
            Self::Both => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }

    /// The types of address record to ask for.
    pub(super) fn record_types(self) -> &'static [RecordType] {
        match self {
            Self::Both => &[RecordType::A, RecordType::AAAA],
            Self::V4 => &[RecordType::A],
            Self::V6 => &[RecordType::AAAA],
        }
    }
}

/// Asks one server one question; cheap to clone, and the clones share the bound on open questions.
#[derive(Clone, Debug)]
pub struct Asker {
    events: Events,
    open: Arc<Semaphore>,
    options: AskerOptions,
}

impl Asker {
    /// An asker that tells `events` about every exchange.
    pub fn new(options: AskerOptions, events: Events) -> Self {
        Self {
            events,
            open: Arc::new(Semaphore::new(OPEN_QUESTIONS)),
            options,
        }
    }

    /// Where it tells.
    pub(super) fn events(&self) -> &Events {
        &self.events
    }

    /// How it asks.
    pub fn options(&self) -> &AskerOptions {
        &self.options
    }

    /// Asks without recursion, as one asks a server that should know by itself.
    pub async fn ask(
        &self,
        server: SocketAddr,
        name: &DomainName,
        rtype: RecordType,
    ) -> Result<Reply, AskError> {
        self.converse(server, name, rtype, Recursion::No).await
    }

    /// Asks a recursive resolver. What it does not know yet it may remember as not existing.
    pub async fn ask_recursive(
        &self,
        server: SocketAddr,
        name: &DomainName,
        rtype: RecordType,
    ) -> Result<Reply, AskError> {
        self.converse(server, name, rtype, Recursion::Yes).await
    }

    /// Asks whoever it is, in the way that is right for it.
    pub async fn ask_upstream(
        &self,
        upstream: &Upstream,
        name: &DomainName,
        rtype: RecordType,
    ) -> Result<Reply, AskError> {
        match upstream {
            Upstream::Server(server) => self.ask(*server, name, rtype).await,
            upstream => self.recurse(upstream, name, rtype, Recursion::Yes).await,
        }
    }

    /// Asks a recursive resolver over HTTPS or TLS. What it does not know yet it may remember as not existing.
    pub async fn ask_encrypted(
        &self,
        resolver: &EncryptedResolver,
        name: &DomainName,
        rtype: RecordType,
    ) -> Result<Reply, AskError> {
        self.converse_encrypted(resolver, name, rtype, Recursion::Yes)
            .await
    }

    async fn converse_encrypted(
        &self,
        resolver: &EncryptedResolver,
        name: &DomainName,
        rtype: RecordType,
        recursion: Recursion,
    ) -> Result<Reply, AskError> {
        let server = Upstream::Encrypted(resolver.clone());
        let Ok(_open) = self.open.acquire().await else {
            return Err(AskError::Closed { server });
        };
        let mut question = Question::new(server, name, rtype, recursion)?;
        let started = Instant::now();
        let limit = self.options.encrypted_timeout;
        let result = timeout(limit, resolver.exchange(&mut question)).await;
        let result = result.unwrap_or(Err(Problem::TimedOut));
        let result = self.told(&question, resolver.transport(), started, result);
        if let Ok(reply) = &result {
            resolver.heard(name, rtype, reply);
        }
        result.map_err(|problem| AskError::Encrypted {
            problem,
            server: question.server,
        })
    }

    /// Asks a recursive resolver whether it validates what it answers, or for what it would answer without looking at signatures.
    pub(super) async fn ask_checking(
        &self,
        resolver: &Upstream,
        name: &DomainName,
        rtype: RecordType,
        checking: Checking,
    ) -> Result<Reply, AskError> {
        let recursion = match checking {
            Checking::Disabled => Recursion::Unchecked,
            Checking::Enabled => Recursion::Checked,
        };
        self.recurse(resolver, name, rtype, recursion).await
    }

    /// Asks for an answer that may have to be looked for elsewhere.
    async fn recurse(
        &self,
        upstream: &Upstream,
        name: &DomainName,
        rtype: RecordType,
        recursion: Recursion,
    ) -> Result<Reply, AskError> {
        match upstream {
            Upstream::Encrypted(resolver) => {
                self.converse_encrypted(resolver, name, rtype, recursion)
                    .await
            }
            Upstream::Resolver(server) | Upstream::Server(server) => {
                self.converse(*server, name, rtype, recursion).await
            }
        }
    }

    async fn converse(
        &self,
        server: SocketAddr,
        name: &DomainName,
        rtype: RecordType,
        recursion: Recursion,
    ) -> Result<Reply, AskError> {
        let upstream = match recursion {
            Recursion::No => Upstream::Server(server),
            _ => Upstream::Resolver(server),
        };
        let Ok(_open) = self.open.acquire().await else {
            return Err(AskError::Closed { server: upstream });
        };
        let mut question = Question::new(upstream, name, rtype, recursion)?;
        let reply = self.over_both(server, &mut question).await?;
        // RFC 6891 section 7: a server that knows no EDNS says FORMERR or NOTIMP and sends no OPT record.
        let no_edns = matches!(reply.rcode, ResponseCode::FormErr | ResponseCode::NotImp);
        if no_edns && !reply.edns {
            question.edns = false;
            return self.over_both(server, &mut question).await;
        }
        Ok(reply)
    }

    async fn over_both(
        &self,
        server: SocketAddr,
        question: &mut Question,
    ) -> Result<Reply, AskError> {
        let (udp_timeout, tcp_timeout) = match question.recursion {
            Recursion::No => (self.options.udp_timeout, self.options.tcp_timeout),
            Recursion::Checked | Recursion::Unchecked | Recursion::Yes => (
                self.options.recursive_timeout,
                self.options.recursive_timeout,
            ),
        };
        let udp = self.exchange(server, question, Transport::Udp, udp_timeout);
        let udp = match udp.await {
            Ok(reply) if !reply.truncated => return Ok(reply),
            Ok(_) => Problem::Truncated,
            Err(problem) => problem,
        };
        let tcp = self.exchange(server, question, Transport::Tcp, tcp_timeout);
        match tcp.await {
            Ok(reply) => Ok(reply),
            Err(tcp) => Err(AskError::NoAnswer { server, udp, tcp }),
        }
    }

    async fn exchange(
        &self,
        server: SocketAddr,
        question: &mut Question,
        transport: Transport,
        limit: Duration,
    ) -> Result<Reply, Problem> {
        let started = Instant::now();
        let result = match question.encode(rand::random()) {
            Ok(wire) => timeout(limit, async {
                match transport {
                    Transport::Udp => over_udp(server, question, &wire).await,
                    _ => over_tcp(server, question, &wire).await,
                }
            })
            .await
            .unwrap_or(Err(Problem::TimedOut)),
            Err(problem) => Err(problem),
        };
        self.told(question, transport, started, result)
    }

    fn told(
        &self,
        question: &Question,
        transport: Transport,
        started: Instant,
        result: Result<Message, Problem>,
    ) -> Result<Reply, Problem> {
        let elapsed = started.elapsed();
        let server = question.server.clone();
        let result = result.map(|message| Reply::new(server, transport, elapsed, message));
        self.events.emit(What::DnsQuery {
            server: question.server.clone(),
            transport: transport.as_str(),
            name: question.name.to_string(),
            record_type: question.rtype.to_string(),
            outcome: match &result {
                Ok(reply) => reply.to_string(),
                Err(problem) => problem.to_string(),
            },
            elapsed,
        });
        result
    }
}

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Which server.
    pub server: Upstream,
    /// Over which transport it came.
    pub transport: Transport,
    /// How long it took over that transport.
    pub elapsed: Duration,
    /// The response code, with the bits that EDNS adds.
    pub rcode: ResponseCode,
    /// Whether the server says that it is an authority for the name (AA).
    pub authoritative: bool,
    /// Whether a resolver says that it has validated the answer (AD).
    pub authentic: bool,
    /// Whether something was left out (TC).
    pub truncated: bool,
    /// The answer section.
    pub answers: Vec<Record>,
    /// The authority section.
    pub authority: Vec<Record>,
    /// The additional section, without OPT.
    pub additional: Vec<Record>,
    edns: bool,
}

impl Reply {
    fn new(server: Upstream, transport: Transport, elapsed: Duration, message: Message) -> Self {
        Self {
            server,
            transport,
            elapsed,
            rcode: message.metadata.response_code,
            authoritative: message.metadata.authoritative,
            authentic: message.metadata.authentic_data,
            truncated: message.metadata.truncation,
            edns: message.edns.is_some(),
            answers: message.answers,
            authority: message.authorities,
            additional: message.additionals,
        }
    }

    /// The SOA record of a negative or a positive answer.
    pub fn soa(&self) -> Option<Soa> {
        self.answers
            .iter()
            .chain(&self.authority)
            .find_map(|record| match &record.data {
                RData::SOA(soa) => Some(Soa {
                    zone: from_wire(&record.name)?,
                    serial: soa.serial,
                    minimum: soa.minimum,
                    // RFC 2308 section 5.
                    negative_ttl: Duration::from_secs(u64::from(soa.minimum.min(record.ttl))),
                }),
                _ => None,
            })
    }

    /// Whether the answer is an alias; a server may follow it, and the rest of the answer is then about another name.
    pub(super) fn is_alias(&self) -> bool {
        self.answers
            .iter()
            .any(|record| matches!(record.record_type(), RecordType::CNAME | RecordType::DNAME))
    }

    /// The TXT values that stand at `owner` itself: the end of an alias that the server followed is another name.
    pub fn txt_values(&self, owner: &DomainName) -> Vec<TxtValue> {
        self.answers
            .iter()
            .filter(|record| from_wire(&record.name).as_ref() == Some(owner))
            .filter_map(|record| match &record.data {
                RData::TXT(txt) => TxtValue::from_bytes(txt.txt_data.concat()).ok(),
                _ => None,
            })
            .collect()
    }

    /// Whether the response code is NOERROR or NXDOMAIN, the two that say something about the name.
    pub fn is_conclusive(&self) -> bool {
        matches!(self.rcode, ResponseCode::NoError | ResponseCode::NXDomain)
    }

    /// The response code as the registry writes it.
    pub fn rcode_name(&self) -> String {
        rcode_name(self.rcode)
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rcode_name())?;
        match self.answers.len() {
            0 => {}
            1 => f.write_str(", 1 answer")?,
            n => write!(f, ", {n} answers")?,
        }
        if self.truncated {
            f.write_str(", truncated")?;
        }
        Ok(())
    }
}

/// What a SOA record says that matters here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Soa {
    /// The apex of the zone.
    pub zone: DomainName,
    /// The version of the zone.
    pub serial: u32,
    /// The MINIMUM field in seconds.
    pub minimum: u32,
    /// How long a resolver may remember that something is not there (RFC 2308 section 5).
    pub negative_ttl: Duration,
}

/// How an answer came.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// One datagram each way.
    Udp,
    /// A connection of its own.
    Tcp,
    /// A connection of its own over TLS (RFC 7858).
    Tls,
    /// A request over HTTPS (RFC 8484).
    Https,
}

impl Transport {
    /// `udp`, `tcp`, `tls` or `https`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Https => "https",
        }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The asker is being taken down.
    #[error("{server} was not asked, because the run is ending")]
    Closed {
        /// Which server.
        server: Upstream,
    },
    /// A resolver over HTTPS or TLS brought no usable answer.
    #[error("{server} did not answer: {problem}")]
    Encrypted {
        /// What happened.
        problem: Problem,
        /// Which resolver.
        server: Upstream,
    },
    /// Neither transport brought a usable answer.
    #[error("{server} did not answer (udp: {udp}, tcp: {tcp})")]
    NoAnswer {
        /// Which server.
        server: SocketAddr,
        /// What happened over UDP.
        udp: Problem,
        /// What happened over TCP.
        tcp: Problem,
    },
    /// The name cannot be written into a question.
    #[error("{name} cannot be asked for")]
    Unaskable {
        /// The name.
        name: DomainName,
    },
}

/// What happened instead of an answer over one transport.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// What came is no DNS message, or not one for this question.
    #[error("garbled answer")]
    Garbled,
    /// An HTTP status other than 200.
    #[error("HTTP status {0}")]
    Http(u16),
    /// The operating system says why: refused, unreachable, reset.
    #[error("{0}")]
    Io(String),
    /// Nothing came.
    #[error("time-out")]
    TimedOut,
    /// Something came that points to the other transport.
    #[error("truncated")]
    Truncated,
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        // The words of `ErrorKind` are the same everywhere and name no error number.
        Self::Io(match error.kind() {
            io::ErrorKind::Other => error.to_string(),
            kind => kind.to_string(),
        })
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Recursion {
    /// With validation, and to be told of it.
    Checked,
    No,
    /// Without validation (RFC 4035 section 3.2.2).
    Unchecked,
    Yes,
}

/// Whether a resolver is to look at signatures.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Checking {
    /// CD is set: the answer comes as it is.
    Disabled,
    /// What does not validate is no answer.
    Enabled,
}

/// A question with the id of the exchange that is under way.
struct Question {
    edns: bool,
    id: u16,
    name: DomainName,
    recursion: Recursion,
    rtype: RecordType,
    server: Upstream,
    wire_name: Name,
}

impl Question {
    fn new(
        server: Upstream,
        name: &DomainName,
        rtype: RecordType,
        recursion: Recursion,
    ) -> Result<Self, AskError> {
        let wire_name = to_wire(name).ok_or_else(|| AskError::Unaskable { name: name.clone() })?;
        Ok(Self {
            edns: true,
            id: 0,
            name: name.clone(),
            recursion,
            rtype,
            server,
            wire_name,
        })
    }

    fn encode(&mut self, id: u16) -> Result<Vec<u8>, Problem> {
        self.id = id;
        let mut message = Message::new(self.id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = self.recursion != Recursion::No;
        // RFC 6840 section 5.7: AD in a question asks for AD in the answer.
        message.metadata.authentic_data = self.recursion == Recursion::Checked;
        message.metadata.checking_disabled = self.recursion == Recursion::Unchecked;
        message.add_query(Query::query(self.wire_name.clone(), self.rtype));
        if self.edns {
            let mut edns = Edns::new();
            edns.set_version(0).set_max_payload(EDNS_PAYLOAD);
            message.set_edns(edns);
        }
        message.to_vec().map_err(|_| Problem::Garbled)
    }

    /// The message, when it is the answer to this question; `None` for a stray one.
    fn accept(&self, wire: &[u8]) -> Result<Option<Message>, Problem> {
        let ours = wire.get(..2) == Some(&self.id.to_be_bytes()[..]);
        let (Some(flags), true) = (wire.get(2), ours) else {
            return Ok(None);
        };
        let (response, truncated) = (flags & 0x80 != 0, flags & 0x02 != 0);
        if !response {
            return Ok(None);
        }
        let message = match Message::from_vec(wire) {
            Ok(message) => message,
            // Some servers cut in the middle of a record.
            Err(_) if truncated => return Err(Problem::Truncated),
            Err(_) => return Err(Problem::Garbled),
        };
        let answered = match message.queries.as_slice() {
            // Servers that could not read the question may leave it out.
            [] => !matches!(
                message.metadata.response_code,
                ResponseCode::NoError | ResponseCode::NXDomain
            ),
            [query] => {
                query.name == self.wire_name
                    && query.query_type == self.rtype
                    && query.query_class == DNSClass::IN
            }
            _ => false,
        };
        Ok(answered.then_some(message))
    }
}

async fn over_udp(
    server: SocketAddr,
    question: &Question,
    wire: &[u8],
) -> Result<Message, Problem> {
    let local: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((local, 0)).await?;
    // Connected: the kernel drops what comes from elsewhere, and tells of a closed port at once.
    socket.connect(server).await?;
    socket.send(wire).await?;
    let mut buffer = vec![0; UDP_BUFFER];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let datagram = buffer.get(..length).unwrap_or_default();
        if let Some(message) = question.accept(datagram)? {
            return Ok(message);
        }
    }
}

async fn over_tcp(
    server: SocketAddr,
    question: &Question,
    wire: &[u8],
) -> Result<Message, Problem> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    over_stream(stream, question, wire).await
}

async fn over_stream(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    question: &Question,
    wire: &[u8],
) -> Result<Message, Problem> {
    let length = u16::try_from(wire.len()).map_err(|_| Problem::Garbled)?;
    // Length and message in one segment (RFC 7766 section 8).
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(wire);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await?;
    match question.accept(&buffer) {
        Ok(Some(message)) => Ok(message),
        // Nothing has to be cut over TCP.
        Ok(None) | Err(Problem::Truncated) => Err(Problem::Garbled),
        Err(problem) => Err(problem),
    }
}

/// The name as the wire library has it.
pub(super) fn to_wire(name: &DomainName) -> Option<Name> {
    let mut wire = Name::from_labels(name.labels().map(str::as_bytes)).ok()?;
    wire.set_fqdn(true);
    Some(wire)
}

/// A name from the wire; `None` for the root and for what is no [`DomainName`].
pub(super) fn from_wire(name: &Name) -> Option<DomainName> {
    name.to_ascii().parse().ok()
}

/// The response code as the registry writes it.
pub(super) fn rcode_name(rcode: ResponseCode) -> String {
    match rcode {
        ResponseCode::NoError => "NOERROR".to_owned(),
        ResponseCode::FormErr => "FORMERR".to_owned(),
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
        ResponseCode::NotImp => "NOTIMP".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        ResponseCode::NotAuth => "NOTAUTH".to_owned(),
        other => format!("RCODE {}", u16::from(other)),
    }
}

/// RFC 1035 section 4.2.
const DNS_PORT: u16 = 53;
/// What fits every path unfragmented (DNS flag day 2020).
const EDNS_PAYLOAD: u16 = 1232;
/// Open questions of one run; each holds one socket.
const OPEN_QUESTIONS: usize = 64;
/// Larger than what is asked for, because some servers send more.
const UDP_BUFFER: usize = 4096;

#[cfg(test)]
mod tests;
