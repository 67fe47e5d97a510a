//! Faults that a server can be told to have, and for which requests it has them.

use std::time::Duration;

use hickory_proto::op::{OpCode, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

use super::log::Transport;
use super::record;

/// What goes wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum FaultKind {
    /// Close the TCP connection without an answer; over UDP, do not answer.
    Close,
    /// Answer this much later. Combines with the other kinds.
    Delay(Duration),
    /// Do not answer, and do nothing.
    Drop,
    /// Answer octets that are no DNS message.
    Garbage,
    /// Answer without AA: a lame server.
    Lame,
    /// Do what is asked, updates included, and do not answer.
    LoseResponse,
    /// Answer NOERROR to an update without applying it. Queries are not concerned.
    Pretend,
    /// Answer with this code, and do nothing.
    Rcode(ResponseCode),
    /// Answer with TC and no records over UDP. TCP is not concerned.
    Truncate,
}

/// A fault and the requests that it strikes: all of them, unless narrowed.
///
/// ```
/// use dnseal_sandbox::dns::{Fault, RecordType};
///
/// // The next two TXT questions over UDP are not answered.
/// let fault = Fault::drop().udp().qtype(RecordType::TXT).times(2);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Fault {
    pub(super) kind: FaultKind,
    transport: Option<Transport>,
    opcode: Option<OpCode>,
    qtype: Option<RecordType>,
    below: Option<String>,
    left: Option<usize>,
}

impl Fault {
    /// A fault of any kind.
    pub fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            transport: None,
            opcode: None,
            qtype: None,
            below: None,
            left: None,
        }
    }

    /// [`FaultKind::Close`].
    pub fn close() -> Self {
        Self::new(FaultKind::Close)
    }

    /// [`FaultKind::Delay`].
    pub fn delay(by: Duration) -> Self {
        Self::new(FaultKind::Delay(by))
    }

    /// [`FaultKind::Drop`].
    pub fn drop() -> Self {
        Self::new(FaultKind::Drop)
    }

    /// [`FaultKind::Garbage`].
    pub fn garbage() -> Self {
        Self::new(FaultKind::Garbage)
    }

    /// [`FaultKind::Lame`].
    pub fn lame() -> Self {
        Self::new(FaultKind::Lame)
    }

    /// [`FaultKind::LoseResponse`].
    pub fn lose_response() -> Self {
        Self::new(FaultKind::LoseResponse)
    }

    /// [`FaultKind::Pretend`].
    pub fn pretend() -> Self {
        Self::new(FaultKind::Pretend)
    }

    /// [`FaultKind::Rcode`].
    pub fn rcode(rcode: ResponseCode) -> Self {
        Self::new(FaultKind::Rcode(rcode))
    }

    /// [`FaultKind::Rcode`] with REFUSED.
    pub fn refused() -> Self {
        Self::rcode(ResponseCode::Refused)
    }

    /// [`FaultKind::Rcode`] with SERVFAIL.
    pub fn servfail() -> Self {
        Self::rcode(ResponseCode::ServFail)
    }

    /// [`FaultKind::Truncate`].
    pub fn truncate() -> Self {
        Self::new(FaultKind::Truncate)
    }

    /// Only over UDP.
    pub fn udp(mut self) -> Self {
        self.transport = Some(Transport::Udp);
        self
    }

    /// Only over TCP.
    pub fn tcp(mut self) -> Self {
        self.transport = Some(Transport::Tcp);
        self
    }

    /// Only requests with this opcode.
    pub fn opcode(mut self, opcode: OpCode) -> Self {
        self.opcode = Some(opcode);
        self
    }

    /// Only updates.
    pub fn updates(self) -> Self {
        self.opcode(OpCode::Update)
    }

    /// Only queries.
    pub fn queries(self) -> Self {
        self.opcode(OpCode::Query)
    }

    /// Only questions for this type.
    pub fn qtype(mut self, qtype: RecordType) -> Self {
        self.qtype = Some(qtype);
        self
    }

    /// Only questions for this name and names below it; for updates, the zone.
    pub fn below(mut self, name: impl Into<String>) -> Self {
        self.below = Some(name.into());
        self
    }

    /// Only the next `n` requests that it would strike.
    pub fn times(mut self, n: usize) -> Self {
        self.left = Some(n);
        self
    }

    fn strikes(&mut self, request: &Struck<'_>) -> bool {
        let below =
            |suffix: &String| record::name(suffix).is_ok_and(|suffix| suffix.zone_of(request.name));
        let meant = self.transport.is_none_or(|t| t == request.transport)
            && self.opcode.is_none_or(|opcode| opcode == request.opcode)
            && self.qtype.is_none_or(|qtype| qtype == request.qtype)
            && self.below.as_ref().is_none_or(below)
            && match self.kind {
                FaultKind::Pretend => request.opcode == OpCode::Update,
                FaultKind::Truncate => request.transport == Transport::Udp,
                _ => true,
            };
        match &mut self.left {
            _ if !meant => false,
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }
}

/// What a fault looks at.
#[derive(Debug)]
pub(super) struct Struck<'a> {
    pub(super) transport: Transport,
    pub(super) opcode: OpCode,
    pub(super) name: &'a Name,
    pub(super) qtype: RecordType,
}

/// The faults in force, oldest first.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn push(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The delay and the first other fault that strike a request. Only these count it.
    pub(super) fn strike(&mut self, request: &Struck<'_>) -> (Duration, Option<FaultKind>) {
        let mut delay = Duration::ZERO;
        let mut struck = None;
        for fault in &mut self.0 {
            let kind = fault.kind;
            match kind {
                FaultKind::Delay(by) if fault.strikes(request) => delay += by,
                FaultKind::Delay(_) => {}
                _ if struck.is_none() && fault.strikes(request) => struck = Some(kind),
                _ => {}
            }
        }
        self.0.retain(|fault| fault.left != Some(0));
        (delay, struck)
    }
}
