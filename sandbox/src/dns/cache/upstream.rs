//! One question to one authoritative server: UDP, and TCP when UDP is silent or too small.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::MAX_PAYLOAD;
use super::store::Found;

/// Why an answer is of no use.
#[derive(Debug, Error)]
pub(super) enum UpstreamError {
    #[error("answered {0}")]
    Code(ResponseCode),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("answered without authority")]
    Lame,
    #[error("failed to write the question: {0}")]
    Question(#[from] hickory_proto::ProtoError),
    #[error("did not answer over UDP or TCP")]
    Silent,
}

/// What the server says about `name` itself.
pub(super) async fn ask(
    server: SocketAddr,
    name: &Name,
    qtype: RecordType,
    patience: Duration,
) -> Result<Found, UpstreamError> {
    let mut request = Message::query();
    request.add_query(Query::query(name.clone(), qtype));
    let mut edns = Edns::new();
    edns.set_max_payload(MAX_PAYLOAD);
    request.set_edns(edns);
    let octets = request.to_vec()?;
    let id = request.metadata.id;
    let response = match timeout(patience, udp(server, id, &octets)).await {
        Ok(Ok(response)) if !response.metadata.truncation => response,
        _ => timeout(patience, tcp(server, &octets))
            .await
            .map_err(|_| UpstreamError::Silent)??,
    };
    read(&response, name, qtype)
}

fn read(response: &Message, name: &Name, qtype: RecordType) -> Result<Found, UpstreamError> {
    let rcode = response.metadata.response_code;
    if !matches!(rcode, ResponseCode::NoError | ResponseCode::NXDomain) {
        return Err(UpstreamError::Code(rcode));
    }
    if !response.metadata.authoritative {
        return Err(UpstreamError::Lame);
    }
    let of = |wanted| {
        let here = response
            .answers
            .iter()
            .filter(|record| record.name == *name);
        let here =
            here.filter(|record| wanted == RecordType::ANY || record.record_type() == wanted);
        here.cloned().collect::<Vec<_>>()
    };
    let mut records = of(qtype);
    if records.is_empty() {
        records = of(RecordType::CNAME);
    }
    if !records.is_empty() {
        return Ok(Found::Records(records));
    }
    let soa = |record: &&_| hickory_proto::rr::Record::record_type(record) == RecordType::SOA;
    let soa = response.authorities.iter().filter(soa).cloned().collect();
    Ok(match rcode {
        ResponseCode::NXDomain => Found::NxDomain(soa),
        _ => Found::NoData(soa),
    })
}

async fn udp(server: SocketAddr, id: u16, octets: &[u8]) -> io::Result<Message> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(octets).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let response = Message::from_vec(&buffer[..length]).map_err(io::Error::other)?;
        let metadata = response.metadata;
        if metadata.id == id && metadata.message_type == MessageType::Response {
            return Ok(response);
        }
    }
}

async fn tcp(server: SocketAddr, octets: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(octets.len()).map_err(io::Error::other)?;
    let framed = [&length.to_be_bytes(), octets].concat();
    stream.write_all(&framed).await?;
    let mut buffer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut buffer).await?;
    Message::from_vec(&buffer).map_err(io::Error::other)
}
