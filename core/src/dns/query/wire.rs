//! One question in octets, and one exchange of it over one transport.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;

use hickory_proto::op::Edns;
use hickory_proto::op::Message;
use hickory_proto::op::MessageType;
use hickory_proto::op::OpCode;
use hickory_proto::op::Query;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::DNSClass;
use hickory_proto::rr::Name;
use hickory_proto::rr::RecordType;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::UdpSocket;

use super::error::AskError;
use super::error::Problem;
use super::upstream::Upstream;
use crate::dns::DomainName;

/// Whether a server is to look elsewhere for the answer, and whether with signatures.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Recursion {
    /// With validation, and to be told of it.
    Checked,
    No,
    /// Without validation (RFC 4035 section 3.2.2).
    Unchecked,
    Yes,
}

/// Whether a resolver is to look at signatures.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::dns) enum Checking {
    /// CD is set: the answer comes as it is.
    Disabled,
    /// What does not validate is no answer.
    Enabled,
}

/// A question with the id of the exchange that is under way.
pub(super) struct Question {
    pub(super) edns: bool,
    id: u16,
    pub(super) name: DomainName,
    pub(super) recursion: Recursion,
    pub(super) rtype: RecordType,
    pub(super) server: Upstream,
    wire_name: Name,
}

impl Question {
    pub(super) fn new(
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

    pub(super) fn encode(&mut self, id: u16) -> Result<Vec<u8>, Problem> {
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
    pub(super) fn accept(&self, wire: &[u8]) -> Result<Option<Message>, Problem> {
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

pub(super) async fn over_udp(
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

pub(super) async fn over_tcp(
    server: SocketAddr,
    question: &Question,
    wire: &[u8],
) -> Result<Message, Problem> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    over_stream(stream, question, wire).await
}

pub(super) async fn over_stream(
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
fn to_wire(name: &DomainName) -> Option<Name> {
    let mut wire = Name::from_labels(name.labels().map(str::as_bytes)).ok()?;
    wire.set_fqdn(true);
    Some(wire)
}

/// A name from the wire; `None` for the root and for what is no [`DomainName`].
pub(in crate::dns) fn from_wire(name: &Name) -> Option<DomainName> {
    name.to_ascii().parse().ok()
}

/// What fits every path unfragmented (DNS flag day 2020).
const EDNS_PAYLOAD: u16 = 1232;
/// Larger than what is asked for, because some servers send more.
const UDP_BUFFER: usize = 4096;
