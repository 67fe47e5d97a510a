//! The validating side of DNS-01 (RFC 8555 section 8.4): real queries, over UDP and then TCP.
//!
//! The servers asked may be resolvers or authoritative ones. Where an answer ends in an alias, the target is asked for
//! again at the server of its own zone, so that delegation by CNAME works across servers that know nothing of each
//! other. Errors use the words of Boulder, which clients are used to.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use hickory_proto::{
    op::{Edns, Message, MessageType, Query, ResponseCode},
    rr::{Name, RData, RecordType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::{
    StartError,
    builder::Config,
    problem::{ErrorKind, Problem},
};

/// How many aliases are followed.
const MAX_ALIASES: usize = 16;

/// What fits into a datagram on most paths (DNS flag day 2020).
const UDP_PAYLOAD: u16 = 1232;

/// How often a query is sent over UDP.
const UDP_TRIES: usize = 2;

/// How many octets of a wrong value an error shows.
const SHOWN: usize = 100;

/// Who is asked, and how.
#[derive(Debug)]
pub(super) struct Resolver {
    default: Option<SocketAddr>,
    zones: Vec<(Name, SocketAddr)>,
    timeout: Duration,
    mixed_case: bool,
}

/// Whether the TXT RRset of the domain's challenge name has the value.
pub(super) async fn dns_01(
    resolver: &Resolver,
    domain: &str,
    expected: &str,
) -> Result<(), Problem> {
    let owner = format!("_acme-challenge.{domain}");
    let name = Name::from_ascii(format!("{owner}."))
        .map_err(|err| dns(format!("{owner} is not a name: {err}")))?;
    let values = resolver.txt(&name).await?;
    if values.iter().any(|value| value == expected.as_bytes()) {
        return Ok(());
    }
    let Some(first) = values.first() else {
        return Err(Problem::unauthorized(format!(
            "No TXT record found at {owner}"
        )));
    };
    let text = String::from_utf8_lossy(first);
    let shown: String = text.chars().take(SHOWN).collect();
    let cut = if shown.len() < text.len() { "..." } else { "" };
    let more = match values.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Err(Problem::unauthorized(format!(
        "Incorrect TXT record \"{}{cut}\"{more} found at {owner}",
        shown.escape_debug()
    )))
}

impl Resolver {
    pub(super) fn new(config: &Config) -> Result<Self, StartError> {
        let mut zones = Vec::with_capacity(config.zones.len());
        for (zone, server) in &config.zones {
            let mut name = Name::from_ascii(zone).map_err(|err| StartError::Zone {
                zone: zone.clone(),
                reason: err.to_string(),
            })?;
            name.set_fqdn(true);
            zones.push((name, *server));
        }
        zones.sort_by_key(|(zone, _)| std::cmp::Reverse(zone.num_labels()));
        Ok(Self {
            default: config.dns,
            zones,
            timeout: config.dns_timeout,
            mixed_case: config.mixed_case,
        })
    }

    /// The values at a name, or at what it is an alias of. The strings of each record are joined.
    async fn txt(&self, name: &Name) -> Result<Vec<Vec<u8>>, Problem> {
        let mut aliases = 0;
        let mut current = name.clone();
        loop {
            let message = self.ask(&current, name).await?;
            let asked = current.clone();
            while let Some(target) = alias(&message, &current) {
                aliases += 1;
                if aliases > MAX_ALIASES {
                    return Err(dns(format!(
                        "more than {MAX_ALIASES} aliases looking up TXT for {}",
                        plain(name)
                    )));
                }
                current = target;
            }
            let values: Vec<Vec<u8>> = message
                .answers
                .iter()
                .filter(|record| record.name == current)
                .filter_map(|record| match &record.data {
                    RData::TXT(txt) => Some(txt.txt_data.concat()),
                    _ => None,
                })
                .collect();
            if !values.is_empty() || current == asked {
                return match message.metadata.response_code {
                    ResponseCode::NoError => Ok(values),
                    code => Err(refused(code, &current, name)),
                };
            }
            // An alias without its target: the server asked may not be the one that knows the target.
        }
    }

    /// Asks the server of the name's zone. Codes other than success and NXDOMAIN are errors here.
    async fn ask(&self, name: &Name, first: &Name) -> Result<Message, Problem> {
        let server = self
            .zones
            .iter()
            .find(|(zone, _)| zone.zone_of(name))
            .map(|(_, server)| *server)
            .or(self.default)
            .ok_or_else(|| dns(format!("no DNS server is configured for {}", plain(name))))?;
        let message = self.exchange(server, name).await.map_err(|err| {
            dns(format!(
                "DNS problem: looking up TXT for {} at {server}: {err}",
                plain(first)
            ))
        })?;
        match message.metadata.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => Ok(message),
            code => Err(refused(code, name, first)),
        }
    }

    async fn exchange(&self, server: SocketAddr, name: &Name) -> io::Result<Message> {
        for _ in 0..UDP_TRIES {
            match timeout(self.timeout, self.over_udp(server, name)).await {
                Ok(Ok(message)) if !message.metadata.truncation => return Ok(message),
                // Truncated; a port that nobody listens on is worth a try over TCP as well.
                Ok(_) => break,
                Err(_) => {}
            }
        }
        timeout(self.timeout, self.over_tcp(server, name))
            .await
            .unwrap_or_else(|_| {
                Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "no answer over UDP or TCP",
                ))
            })
    }

    async fn over_udp(&self, server: SocketAddr, name: &Name) -> io::Result<Message> {
        let local: SocketAddr = if server.is_ipv4() {
            (Ipv4Addr::UNSPECIFIED, 0).into()
        } else {
            (Ipv6Addr::UNSPECIFIED, 0).into()
        };
        let socket = UdpSocket::bind(local).await?;
        socket.connect(server).await?;
        let query = self.query(name);
        socket
            .send(&query.to_vec().map_err(io::Error::other)?)
            .await?;
        let mut buffer = vec![0; usize::from(u16::MAX)];
        loop {
            let length = socket.recv(&mut buffer).await?;
            // Whatever is no answer to this query may have been sent by anybody.
            if let Ok(message) = Message::from_vec(&buffer[..length])
                && answers(&query, &message)
            {
                return Ok(message);
            }
        }
    }

    async fn over_tcp(&self, server: SocketAddr, name: &Name) -> io::Result<Message> {
        let mut stream = TcpStream::connect(server).await?;
        let query = self.query(name);
        let octets = query.to_vec().map_err(io::Error::other)?;
        let length = u16::try_from(octets.len()).map_err(io::Error::other)?;
        stream
            .write_all(&[&length.to_be_bytes()[..], &octets].concat())
            .await?;
        let mut buffer = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut buffer).await?;
        let message = Message::from_vec(&buffer).map_err(io::Error::other)?;
        if answers(&query, &message) {
            Ok(message)
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "answer to another question",
            ))
        }
    }

    fn query(&self, name: &Name) -> Message {
        let mut name = name.clone();
        if self.mixed_case {
            name.randomize_label_case();
        }
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(name, RecordType::TXT));
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_PAYLOAD);
        message.set_edns(edns);
        message
    }
}

/// What a name is an alias of, by the CNAME records of an answer.
fn alias(message: &Message, name: &Name) -> Option<Name> {
    message
        .answers
        .iter()
        .find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == *name => Some(target.0.clone()),
            _ => None,
        })
}

fn answers(query: &Message, message: &Message) -> bool {
    message.metadata.id == query.metadata.id
        && message.metadata.message_type == MessageType::Response
        // Errors may come without the question.
        && (message.queries == query.queries
            || (message.queries.is_empty() && message.metadata.response_code != ResponseCode::NoError))
}

fn refused(code: ResponseCode, at: &Name, first: &Name) -> Problem {
    let code = match code {
        ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        other => other.to_string(),
    };
    let alias = if at == first {
        String::new()
    } else {
        format!(", an alias of {}", plain(at))
    };
    dns(format!(
        "DNS problem: {code} looking up TXT for {}{alias} - check that a DNS record exists for this domain",
        plain(first)
    ))
}

fn dns(detail: String) -> Problem {
    Problem::new(ErrorKind::Dns, detail)
}

fn plain(name: &Name) -> String {
    let text = name.to_ascii();
    text.strip_suffix('.').map_or(text.clone(), str::to_owned)
}
