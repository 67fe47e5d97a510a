//! One request becomes one response: decode, check the signature, strike with faults, answer or update, log, fit to
//! size, sign.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, RecordType};

use super::fault::{FaultKind, Faults, Struck};
use super::log::{LoggedQuery, Recorder, Transport};
use super::lookup::{self, Answer};
use super::net::{Inbound, Reply, Service};
use super::record;
use super::source::{Clock, View};
use super::tsig::{self, Key, Signer, Verdict};
use super::update;

/// Octets of a DNS header.
pub(super) const HEADER: usize = 12;

/// The payload of a client without EDNS (RFC 1035 section 4.2.1).
const PLAIN_PAYLOAD: usize = 512;

/// Everything that tasks of one server share.
#[derive(Debug)]
pub(super) struct Responder {
    pub(super) view: View,
    pub(super) keys: Vec<Key>,
    pub(super) unsigned_updates: bool,
    pub(super) max_payload: u16,
    pub(super) clock: Clock,
    pub(super) skew: AtomicI64,
    pub(super) faults: Mutex<Faults>,
    pub(super) recorder: Recorder,
}

impl Service for Responder {
    async fn serve(self: Arc<Self>, request: Inbound) -> Reply {
        let (delay, reply) = self.respond(&request);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        reply
    }
}

impl Responder {
    fn respond(&self, inbound: &Inbound) -> (Duration, Reply) {
        let octets = &inbound.octets;
        // A response, or less than a header: answering could go on for ever.
        if octets.len() < HEADER || octets[2] & 0x80 != 0 {
            return (Duration::ZERO, Reply::Silence);
        }
        let Ok(request) = Message::from_vec(octets) else {
            return (Duration::ZERO, Reply::Send(form_error(octets)));
        };
        let question = request.queries.first().cloned().unwrap_or_default();
        let verdict = tsig::verify(&self.keys, octets, self.now());
        let (delay, fault) = {
            let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
            faults.strike(&Struck {
                transport: inbound.transport,
                opcode: request.metadata.op_code,
                name: question.name(),
                qtype: question.query_type(),
            })
        };
        if let Some(reply) = silence(fault, octets) {
            self.log(inbound, &request, &question, &verdict, None);
            return (delay, reply);
        }
        let mut response = self.answer(&request, &question, &verdict, fault);
        if fault == Some(FaultKind::Lame) {
            response.metadata.authoritative = false;
        }
        let lost = fault == Some(FaultKind::LoseResponse);
        let rcode = response.metadata.response_code;
        self.log(
            inbound,
            &request,
            &question,
            &verdict,
            (!lost).then_some(rcode),
        );
        if lost {
            return (delay, Reply::Silence);
        }
        let signer = match &verdict {
            Verdict::Good(signer) | Verdict::Bad(signer) => Some(signer),
            Verdict::Malformed | Verdict::Unsigned => None,
        };
        let limit = match (inbound.transport, fault) {
            (Transport::Udp, Some(FaultKind::Truncate)) => 0,
            (Transport::Udp, _) => payload(&request, self.max_payload),
            (Transport::Tcp, _) => usize::from(u16::MAX),
        };
        match encode(response, limit, signer) {
            Some(octets) => (delay, Reply::Send(octets)),
            None => (delay, Reply::Send(form_error(octets))),
        }
    }

    fn answer(
        &self,
        request: &Message,
        question: &Query,
        verdict: &Verdict<'_>,
        fault: Option<FaultKind>,
    ) -> Message {
        let asked = request.metadata;
        let mut response = Message::response(asked.id, asked.op_code);
        response.metadata.recursion_desired = asked.recursion_desired;
        response.queries.clone_from(&request.queries);
        if request.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(self.max_payload);
            response.edns = Some(edns);
        }
        let signed_by = match verdict {
            Verdict::Good(signer) => signer.key(),
            _ => None,
        };
        response.metadata.response_code = match (verdict, fault) {
            (Verdict::Malformed, _) => ResponseCode::FormErr,
            (Verdict::Bad(_), _) => ResponseCode::NotAuth,
            (_, Some(FaultKind::Rcode(rcode))) => rcode,
            (_, Some(FaultKind::Pretend)) => ResponseCode::NoError,
            _ if request.version() > 0 => ResponseCode::BADVERS,
            _ => match asked.op_code {
                OpCode::Query => match self.query(request, question) {
                    Ok(answer) => {
                        response.metadata.authoritative = answer.authoritative;
                        response.answers = answer.answers;
                        response.authorities = answer.authorities;
                        response.additionals = answer.additionals;
                        answer.rcode
                    }
                    Err(rcode) => rcode,
                },
                OpCode::Update => self.update(request, question, signed_by),
                _ => ResponseCode::NotImp,
            },
        };
        response
    }

    fn query(&self, request: &Message, question: &Query) -> Result<Answer, ResponseCode> {
        if request.queries.len() != 1 {
            return Err(ResponseCode::FormErr);
        }
        match question.query_type() {
            _ if !matches!(question.query_class(), DNSClass::IN | DNSClass::ANY) => {
                Err(ResponseCode::Refused)
            }
            RecordType::AXFR | RecordType::IXFR => Err(ResponseCode::Refused),
            qtype => Ok(lookup::answer(&self.view.zones(), question.name(), qtype)),
        }
    }

    fn update(&self, request: &Message, zone: &Query, key: Option<&Key>) -> ResponseCode {
        let result = self.try_update(request, zone, key);
        self.recorder.write(|log| match result {
            Ok(changes) => {
                log.updates.messages += 1;
                log.updates.changes += changes;
            }
            Err(_) => log.updates.refused += 1,
        });
        result.err().unwrap_or(ResponseCode::NoError)
    }

    fn try_update(
        &self,
        request: &Message,
        zone: &Query,
        key: Option<&Key>,
    ) -> Result<usize, ResponseCode> {
        // RFC 2136 section 3.1.1.
        if request.queries.len() != 1 || zone.query_type() != RecordType::SOA {
            return Err(ResponseCode::FormErr);
        }
        if zone.query_class() != DNSClass::IN {
            return Err(ResponseCode::NotAuth);
        }
        let origin = zone.name();
        if self.view.zones().zone(origin).is_none() {
            return Err(ResponseCode::NotAuth);
        }
        // A secondary would have to forward it (section 6), and a key is asked for before anything is told.
        if !self.view.is_primary() || (key.is_none() && !self.unsigned_updates) {
            return Err(ResponseCode::Refused);
        }
        self.view.source.edit(|zones| {
            let Some(zone) = zones.zone(origin) else {
                return (Err(ResponseCode::NotAuth), false);
            };
            if let Err(rcode) = update::check(zone, request, key) {
                return (Err(rcode), false);
            }
            let Some(zone) = zones.zone_mut(origin) else {
                return (Err(ResponseCode::NotAuth), false);
            };
            let changes = update::apply(zone, &request.authorities);
            (Ok(changes), changes > 0)
        })
    }

    fn log(
        &self,
        inbound: &Inbound,
        request: &Message,
        question: &Query,
        verdict: &Verdict<'_>,
        rcode: Option<ResponseCode>,
    ) {
        let key = match verdict {
            Verdict::Good(signer) => signer.key().map(|key| record::text(&key.name)),
            _ => None,
        };
        let at = self.clock.now();
        let entry = LoggedQuery::new(inbound, at, request, question, key, rcode);
        self.recorder.write(|log| log.queries.push(entry));
    }

    /// Seconds since 1970 on this server's own, possibly wrong, clock.
    fn now(&self) -> u64 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_secs());
        now.saturating_add_signed(self.skew.load(Ordering::Relaxed))
    }
}

/// What takes the place of an answer.
pub(super) fn silence(fault: Option<FaultKind>, request: &[u8]) -> Option<Reply> {
    match fault? {
        FaultKind::Close => Some(Reply::Close),
        FaultKind::Drop => Some(Reply::Silence),
        FaultKind::Garbage => Some(Reply::Send(garbage(request))),
        _ => None,
    }
}

/// What fits into a datagram to this client.
pub(super) fn payload(request: &Message, max: u16) -> usize {
    let offered = request.edns.as_ref().map(Edns::max_payload);
    offered.map_or(PLAIN_PAYLOAD, |offered| {
        usize::from(offered.min(max)).max(PLAIN_PAYLOAD)
    })
}

/// Encodes a response. If it does not fit, records that merely help go first, then all do, and TC is set.
///
/// None if there is no way to write it down.
pub(super) fn encode(
    mut response: Message,
    limit: usize,
    signer: Option<&Signer<'_>>,
) -> Option<Vec<u8>> {
    let overhead = signer.map_or(0, Signer::overhead);
    let mut octets = response.to_vec().ok()?;
    if octets.len() + overhead > limit && !response.answers.is_empty() {
        response.additionals.clear();
        octets = response.to_vec().ok()?;
    }
    if octets.len() + overhead > limit {
        let mut short = response.truncate();
        short.metadata.message_type = MessageType::Response;
        octets = short.to_vec().ok()?;
    }
    if let Some(signer) = signer {
        signer.sign(&mut octets);
    }
    Some(octets)
}

/// FORMERR for a message that cannot be read: its header without anything counted.
pub(super) fn form_error(request: &[u8]) -> Vec<u8> {
    let mut header = request[..HEADER.min(request.len())].to_vec();
    header.resize(HEADER, 0);
    // QR, the opcode as it was, RD as it was.
    header[2] = 0x80 | (header[2] & 0x79);
    header[3] = u8::try_from(u16::from(ResponseCode::FormErr)).unwrap_or(1);
    header[4..].fill(0);
    header
}

/// The right id and QR, so that a client looks further, and then nonsense.
fn garbage(request: &[u8]) -> Vec<u8> {
    let mut octets = request[..2].to_vec();
    octets.extend([0xff; 30]);
    octets
}
