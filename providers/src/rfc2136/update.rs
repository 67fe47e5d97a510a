//! What is asked: UPDATE messages (RFC 2136 section 2), and the two questions around them.
//!
//! An added value is a record of class IN, a removed one a record of class NONE with TTL 0 and exactly its data (sections
//! 2.5.1 and 2.5.4). Nothing here can express the removal of an RRset or a prerequisite. One message takes all changes of
//! a zone; only its size splits them.

use dnseal_core::dns::Action;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::TxtChange;
use dnseal_core::dns::TxtValue;
use hickory_proto::ProtoError;
use hickory_proto::op::Message;
use hickory_proto::op::MessageType;
use hickory_proto::op::OpCode;
use hickory_proto::op::Query;
use hickory_proto::rr::DNSClass;
use hickory_proto::rr::Name;
use hickory_proto::rr::RData;
use hickory_proto::rr::Record;
use hickory_proto::rr::RecordType;
use hickory_proto::rr::rdata::TXT;

/// Some changes in one message.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) changes: Vec<&'a TxtChange>,
    pub(super) message: Message,
}

impl<'a> Part<'a> {
    /// The distinct owner names.
    pub(super) fn owners(&self) -> Vec<&'a DomainName> {
        let mut owners: Vec<&DomainName> = self.changes.iter().map(|c| &c.owner).collect();
        owners.sort_unstable();
        owners.dedup();
        owners
    }
}

/// Puts `changes` of `zone` into as few messages as hold them; each of them must [`fit`](fits).
pub(super) fn parts<'a>(
    zone: &DomainName,
    changes: &[&'a TxtChange],
) -> Result<Vec<Part<'a>>, ProtoError> {
    let mut parts: Vec<Part<'a>> = Vec::new();
    let mut room = 0;
    for &change in changes {
        let size = size(change);
        if size > room || parts.is_empty() {
            parts.push(Part {
                changes: Vec::new(),
                message: update(zone)?,
            });
            room = MAX_RECORDS;
        }
        room = room.saturating_sub(size);
        if let Some(part) = parts.last_mut() {
            part.message.add_authority(record(change)?);
            part.changes.push(change);
        }
    }
    Ok(parts)
}

/// Whether one message can hold this change at all.
pub(super) fn fits(change: &TxtChange) -> bool {
    size(change) <= MAX_RECORDS
}

/// The question for the TXT values at `owner`.
pub(super) fn txt_query(owner: &DomainName) -> Result<Message, ProtoError> {
    query(owner, RecordType::TXT)
}

/// The question for the zone of `owner`.
pub(super) fn soa_query(owner: &DomainName) -> Result<Message, ProtoError> {
    query(owner, RecordType::SOA)
}

/// The value of a record's strings.
pub(super) fn value(txt: &TXT) -> Option<TxtValue> {
    TxtValue::from_bytes(txt.txt_data.concat()).ok()
}

/// The name of a record as the engine writes names; `None` for the root and for what no [`DomainName`] can be.
pub(super) fn domain_name(name: &Name) -> Option<DomainName> {
    name.to_ascii().parse().ok()
}

fn query(owner: &DomainName, kind: RecordType) -> Result<Message, ProtoError> {
    let mut message = Message::new(0, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(owner.fqdn())?, kind));
    Ok(message)
}

fn update(zone: &DomainName) -> Result<Message, ProtoError> {
    let mut message = Message::new(0, MessageType::Query, OpCode::Update);
    message.add_query(Query::query(
        Name::from_ascii(zone.fqdn())?,
        RecordType::SOA,
    ));
    Ok(message)
}

fn record(change: &TxtChange) -> Result<Record, ProtoError> {
    let owner = Name::from_ascii(change.owner.fqdn())?;
    let data = RData::TXT(TXT::from_bytes(change.value.strings()));
    let (class, ttl) = match change.action {
        Action::Add => (DNSClass::IN, change.ttl),
        Action::Remove => (DNSClass::NONE, 0),
    };
    let mut record = Record::from_rdata(owner, ttl, data);
    record.dns_class = class;
    Ok(record)
}

/// The octets a change takes at most: names are not compressed here.
fn size(change: &TxtChange) -> usize {
    let owner = change.owner.as_str().len() + 2;
    let data: usize = change.value.strings().iter().map(|s| s.len() + 1).sum();
    owner + RECORD_FIXED + data
}

/// Type, class, TTL and length of a record.
const RECORD_FIXED: usize = 10;
/// What a message over TCP holds (65,535 octets), less header, zone section and signature: 12, 259 and at most 390.
const MAX_RECORDS: usize = 65_535 - 12 - 259 - 390;
