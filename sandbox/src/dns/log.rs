//! What a server was asked and what it answered, for tests to look at and to wait on.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::RecordType;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::net::Inbound;
use super::record;

/// How a request came in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// RFC 7766.
    Tcp,
    /// RFC 1035 section 4.2.1.
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// One request, as logged.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LoggedQuery {
    /// When it was answered, or would have been.
    pub at: Instant,
    /// Who asked.
    pub client: SocketAddr,
    /// How.
    pub transport: Transport,
    /// `QUERY`, `UPDATE`, …
    pub opcode: OpCode,
    /// The name asked for, or the zone to update, in lower case without the final dot.
    pub qname: String,
    /// The name as it was spelt (0x20).
    pub asked: String,
    /// The type asked for; `SOA` for updates.
    pub qtype: RecordType,
    /// Whether RD was set. A prober of authoritative servers sets none.
    pub recursion_desired: bool,
    /// The UDP payload size that the client offers with EDNS.
    pub payload: Option<u16>,
    /// The name of the TSIG key that the request is rightly signed with.
    pub key: Option<String>,
    /// What was answered; none if nothing or garbage was.
    pub rcode: Option<ResponseCode>,
}

impl LoggedQuery {
    pub(super) fn new(
        inbound: &Inbound,
        at: Instant,
        request: &Message,
        question: &Query,
        key: Option<String>,
        rcode: Option<ResponseCode>,
    ) -> Self {
        let asked = question.name().to_ascii();
        Self {
            at,
            client: inbound.client,
            transport: inbound.transport,
            opcode: request.metadata.op_code,
            qname: record::text(question.name()),
            asked: asked.strip_suffix('.').unwrap_or(&asked).to_owned(),
            qtype: question.query_type(),
            recursion_desired: request.metadata.recursion_desired,
            payload: request.edns.as_ref().map(Edns::max_payload),
            key,
            rcode,
        }
    }
}

/// How many updates there were.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Updates {
    /// Messages that were applied.
    pub messages: usize,
    /// Records that came, went or changed by them.
    pub changes: usize,
    /// Messages that were not applied.
    pub refused: usize,
}

/// Everything since the start or the last `clear_log`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Log {
    /// Requests in the order of their answers.
    pub queries: Vec<LoggedQuery>,
    /// Updates, summed up.
    pub updates: Updates,
}

impl Log {
    /// How many requests for this name and type there were. The name is in lower case, without final dot.
    pub fn count(&self, qname: &str, qtype: RecordType) -> usize {
        let same = |query: &&LoggedQuery| query.qname == qname && query.qtype == qtype;
        self.queries.iter().filter(same).count()
    }
}

/// The log of one server, with a bell.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    log: Mutex<Log>,
    bell: Notify,
}

impl Recorder {
    pub(super) fn write(&self, write: impl FnOnce(&mut Log)) {
        write(&mut self.lock());
        self.bell.notify_waiters();
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&Log) -> T) -> T {
        read(&self.lock())
    }

    pub(super) async fn wait_for(&self, mut done: impl FnMut(&Log) -> bool) {
        loop {
            let rung = self.bell.notified();
            tokio::pin!(rung);
            // From here on a ring is not missed, so looking comes after.
            rung.as_mut().enable();
            if done(&self.lock()) {
                return;
            }
            rung.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
