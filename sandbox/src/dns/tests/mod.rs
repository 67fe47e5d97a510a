//! Tests over real sockets, with a small client of their own.

mod caches;
mod faults;
mod queries;
mod tools;
mod updates;

use std::net::SocketAddr;

use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record as WireRecord, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::record;
use super::*;

fn name(text: &str) -> Name {
    record::name(text).unwrap()
}

fn question(owner: &str, qtype: RecordType) -> Message {
    let mut message = Message::query();
    message.add_query(Query::query(name(owner), qtype));
    message
}

fn with_edns(mut message: Message, payload: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload);
    message.set_edns(edns);
    message
}

/// Sends octets and returns those of the answer, without a time-out: a test that hangs has failed.
async fn udp_raw(server: SocketAddr, octets: &[u8]) -> Vec<u8> {
    let local: SocketAddr = match server {
        SocketAddr::V4(_) => ([127, 0, 0, 1], 0).into(),
        SocketAddr::V6(_) => ([0, 0, 0, 0, 0, 0, 0, 1], 0).into(),
    };
    let socket = UdpSocket::bind(local).await.unwrap();
    socket.send_to(octets, server).await.unwrap();
    let mut buffer = vec![0; 65535];
    let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
    assert_eq!(from, server);
    buffer.truncate(length);
    buffer
}

/// The answer over TCP, or none if the server closes the connection.
async fn tcp_raw(server: SocketAddr, octets: &[u8]) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let length = u16::try_from(octets.len()).unwrap();
    stream.write_u16(length).await.unwrap();
    stream.write_all(octets).await.unwrap();
    let length = stream.read_u16().await.ok()?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await.unwrap();
    Some(buffer)
}

async fn udp(server: SocketAddr, message: &Message) -> Message {
    let octets = udp_raw(server, &message.to_vec().unwrap()).await;
    let response = Message::from_vec(&octets).unwrap();
    assert_eq!(response.metadata.id, message.metadata.id);
    response
}

async fn tcp(server: SocketAddr, message: &Message) -> Message {
    let octets = tcp_raw(server, &message.to_vec().unwrap()).await;
    Message::from_vec(&octets.expect("an answer")).unwrap()
}

async fn ask(server: SocketAddr, owner: &str, qtype: RecordType) -> Message {
    udp(server, &question(owner, qtype)).await
}

/// `TXT` values of the answer section, or the code if it is not NOERROR.
async fn txt(server: SocketAddr, owner: &str) -> Result<Vec<String>, ResponseCode> {
    let response = udp(server, &with_edns(question(owner, RecordType::TXT), 1232)).await;
    values(&response)
}

fn values(response: &Message) -> Result<Vec<String>, ResponseCode> {
    if response.metadata.response_code != ResponseCode::NoError {
        return Err(response.metadata.response_code);
    }
    let values = response
        .answers
        .iter()
        .filter_map(|answer| match &answer.data {
            RData::TXT(txt) => Some(String::from_utf8(txt.txt_data.concat()).unwrap()),
            _ => None,
        });
    Ok(values.collect())
}

/// An update of a zone; records are added with the functions below.
fn update(zone: &str) -> Message {
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Update;
    message.add_query(Query::query(name(zone), RecordType::SOA));
    message
}

/// "Add to an RRset" (RFC 2136 section 2.5.1).
fn add(record: &Record) -> WireRecord {
    let (owner, data) = record.encode().unwrap();
    WireRecord::from_rdata(owner, record.ttl, data)
}

/// "Delete an RR from an RRset" (section 2.5.4); "RRset exists, value dependent" is `add` with TTL 0.
fn delete(record: &Record) -> WireRecord {
    let mut record = add(record);
    record.ttl = 0;
    record.dns_class = DNSClass::NONE;
    record
}

/// A record without data, as most prerequisites and deletions of sets have it.
fn bare(owner: &str, class: DNSClass, rtype: RecordType) -> WireRecord {
    let mut record = WireRecord::update0(name(owner), 0, rtype);
    record.dns_class = class;
    record
}

fn example() -> Zone {
    Zone::new("example.test")
        .ns("ns1.example.test")
        .a("ns1.example.test", [127, 0, 0, 1].into())
        .txt("t.example.test", "one")
}

async fn start(zone: Zone) -> DnsServer {
    let builder = DnsServer::builder().zone(zone).allow_unsigned_updates();
    builder.start().await.unwrap()
}
