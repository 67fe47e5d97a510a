//! What a server answered, and how it came.

use std::fmt;
use std::time::Duration;

use hickory_proto::op::Message;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RData;
use hickory_proto::rr::Record;
use hickory_proto::rr::RecordType;
use serde::Deserialize;
use serde::Serialize;

use super::upstream::Upstream;
use super::wire::from_wire;
use crate::dns::DomainName;
use crate::dns::TxtValue;

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
    pub(super) edns: bool,
}

impl Reply {
    pub(super) fn new(
        server: Upstream,
        transport: Transport,
        elapsed: Duration,
        message: Message,
    ) -> Self {
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
    pub(in crate::dns) fn is_alias(&self) -> bool {
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

/// The response code as the registry writes it.
fn rcode_name(rcode: ResponseCode) -> String {
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
