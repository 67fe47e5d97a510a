//! A caching resolver in front of servers: what stands between a prober, or a CA, and the truth.
//!
//! It knows by configuration which server has which zone and follows no delegations. Otherwise it behaves as resolvers do: aliases are
//! followed across servers, answers are kept for their TTL, absence for the minimum of the SOA (RFC 2308), and a name that
//! does not exist hides everything below it (RFC 8020).

mod store;
mod upstream;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use self::store::{Found, Store};
use super::ZoneError;
use super::fault::{Fault, FaultKind, Faults, Struck};
use super::log::{Log, LoggedQuery, Recorder, Transport};
use super::net::{Inbound, Reply, Service, Serving};
use super::record;
use super::respond::{self, HEADER};
use super::server::{self, StartError};
use super::source::Clock;

/// An alias chain longer than this is SERVFAIL.
const MAX_ALIASES: usize = 16;

/// For how long a server may take, unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The largest datagram sent and asked for.
const MAX_PAYLOAD: u16 = 1232;

/// Sets up a [`Cache`].
#[derive(Debug)]
#[must_use]
pub struct CacheBuilder {
    upstreams: Vec<(String, SocketAddr)>,
    listen: Vec<SocketAddr>,
    timeout: Duration,
    max_ttl: u32,
    clock: Clock,
}

impl CacheBuilder {
    /// Asks this server for names in this zone. The deepest zone that contains a name counts; of several servers of one
    /// zone, the next is asked when one does not answer usefully.
    pub fn upstream(mut self, zone: impl Into<String>, server: SocketAddr) -> Self {
        self.upstreams.push((zone.into(), server));
        self
    }

    /// Listens here; as [`DnsServerBuilder::listen`](super::DnsServerBuilder::listen).
    pub fn listen(mut self, address: impl Into<SocketAddr>) -> Self {
        self.listen.push(address.into());
        self
    }

    /// For how long to wait for a server, over UDP and then over TCP; 2 s each unless given.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Keeps nothing for longer than this, in seconds; a day unless given.
    pub fn max_ttl(mut self, seconds: u32) -> Self {
        self.max_ttl = seconds;
        self
    }

    /// Goes by this clock, which others may share.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Binds the sockets and serves.
    pub async fn start(self) -> Result<Cache, StartError> {
        let upstreams = self.upstreams.into_iter();
        let upstreams = upstreams.map(|(zone, server)| Ok((record::name(&zone)?, server)));
        let upstreams = upstreams.collect::<Result<Vec<_>, ZoneError>>()?;
        let (sockets, addresses) = server::bind(self.listen).await?;
        let resolver = Arc::new(Resolver {
            upstreams,
            timeout: self.timeout,
            store: Store::new(self.clock.clone(), self.max_ttl),
            clock: self.clock,
            faults: Mutex::new(Faults::default()),
            recorder: Recorder::default(),
        });
        let serving = sockets.serve(&resolver);
        Ok(Cache(Arc::new(Running {
            resolver,
            addresses,
            serving,
        })))
    }
}

/// A running caching resolver.
///
/// Clones are handles to the same one; it stops when the last is dropped.
#[derive(Clone, Debug)]
pub struct Cache(Arc<Running>);

#[derive(Debug)]
struct Running {
    resolver: Arc<Resolver>,
    addresses: Vec<SocketAddr>,
    serving: Serving,
}

impl Cache {
    /// A resolver that knows no server yet.
    pub fn builder() -> CacheBuilder {
        CacheBuilder {
            upstreams: Vec::new(),
            listen: Vec::new(),
            timeout: TIMEOUT,
            max_ttl: 86400,
            clock: Clock::new(),
        }
    }

    /// The first address, the same for UDP and TCP.
    pub fn addr(&self) -> SocketAddr {
        self.0.addresses[0]
    }

    /// Every address.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.0.addresses
    }

    /// Stops, and returns once the port is free again.
    pub async fn shutdown(&self) {
        self.0.serving.shutdown().await;
    }

    /// Moves its clock ahead, so that what it keeps expires.
    pub fn advance(&self, by: Duration) {
        self.0.resolver.clock.advance(by);
    }

    /// Forgets everything.
    pub fn flush(&self) {
        self.0.resolver.store.clear();
    }

    /// Adds a fault; as [`DnsServer::inject`](super::DnsServer::inject).
    pub fn inject(&self, fault: Fault) {
        let faults = &self.0.resolver.faults;
        faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(fault);
    }

    /// Ends all faults.
    pub fn heal(&self) {
        let faults = &self.0.resolver.faults;
        faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// Requests since the start or the last [`clear_log`](Self::clear_log). What it asked in turn
    /// is in the logs of the servers.
    pub fn queries(&self) -> Vec<LoggedQuery> {
        self.0.resolver.recorder.read(|log| log.queries.clone())
    }

    /// Forgets the requests.
    pub fn clear_log(&self) {
        self.0.resolver.recorder.write(|log| *log = Log::default());
    }

    /// Returns once the log is as wanted; looks at it now and after each request.
    pub async fn wait_for(&self, done: impl FnMut(&Log) -> bool) {
        self.0.resolver.recorder.wait_for(done).await;
    }
}

/// What the tasks of one cache share.
#[derive(Debug)]
struct Resolver {
    upstreams: Vec<(Name, SocketAddr)>,
    timeout: Duration,
    store: Store,
    clock: Clock,
    faults: Mutex<Faults>,
    recorder: Recorder,
}

/// The end of an alias chain.
struct Answer {
    rcode: ResponseCode,
    answers: Vec<Record>,
    authorities: Vec<Record>,
}

impl Service for Resolver {
    async fn serve(self: Arc<Self>, inbound: Inbound) -> Reply {
        let octets = &inbound.octets;
        if octets.len() < HEADER || octets[2] & 0x80 != 0 {
            return Reply::Silence;
        }
        let Ok(request) = Message::from_vec(octets) else {
            return Reply::Send(respond::form_error(octets));
        };
        let question = request.queries.first().cloned().unwrap_or_default();
        let (delay, fault) = {
            let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
            faults.strike(&Struck {
                transport: inbound.transport,
                opcode: request.metadata.op_code,
                name: question.name(),
                qtype: question.query_type(),
            })
        };
        let log = |rcode| {
            let at = self.clock.now();
            let entry = LoggedQuery::new(&inbound, at, &request, &question, None, rcode);
            self.recorder.write(|log| log.queries.push(entry));
        };
        let silence = respond::silence(fault, octets);
        let response = match silence {
            Some(reply) => {
                log(None);
                tokio::time::sleep(delay).await;
                return reply;
            }
            None => self.respond(&request, &question, fault).await,
        };
        if fault == Some(FaultKind::LoseResponse) {
            log(None);
            return Reply::Silence;
        }
        log(Some(response.metadata.response_code));
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let limit = match (inbound.transport, fault) {
            (Transport::Udp, Some(FaultKind::Truncate)) => 0,
            (Transport::Udp, _) => respond::payload(&request, MAX_PAYLOAD),
            (Transport::Tcp, _) => usize::from(u16::MAX),
        };
        let encoded = respond::encode(response, limit, None);
        Reply::Send(encoded.unwrap_or_else(|| respond::form_error(octets)))
    }
}

impl Resolver {
    async fn respond(
        &self,
        request: &Message,
        question: &Query,
        fault: Option<FaultKind>,
    ) -> Message {
        let asked = request.metadata;
        let mut response = Message::response(asked.id, asked.op_code);
        response.metadata.recursion_desired = asked.recursion_desired;
        response.metadata.recursion_available = true;
        response.queries.clone_from(&request.queries);
        if request.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(MAX_PAYLOAD);
            response.edns = Some(edns);
        }
        response.metadata.response_code = match (asked.op_code, fault) {
            (_, Some(FaultKind::Rcode(rcode))) => rcode,
            _ if request.version() > 0 => ResponseCode::BADVERS,
            (OpCode::Query, _) if request.queries.len() != 1 => ResponseCode::FormErr,
            (OpCode::Query, _) if question.query_class() != DNSClass::IN => ResponseCode::Refused,
            (OpCode::Query, _) => {
                let answer = self.resolve(question.name(), question.query_type()).await;
                response.answers = answer.answers;
                response.authorities = answer.authorities;
                answer.rcode
            }
            _ => ResponseCode::NotImp,
        };
        response
    }

    async fn resolve(&self, question: &Name, qtype: RecordType) -> Answer {
        let mut answer = Answer {
            rcode: ResponseCode::NoError,
            answers: Vec::new(),
            authorities: Vec::new(),
        };
        let mut name = question.clone();
        for _ in 0..=MAX_ALIASES {
            let found = match self.store.find(&name, qtype) {
                Some(found) => Some(found),
                None => self.fetch(&name, qtype).await,
            };
            match found {
                Some(Found::Records(records)) => {
                    answer.answers.extend(records);
                    let last = answer.answers.last().map(|record| &record.data);
                    match last {
                        Some(RData::CNAME(target))
                            if !matches!(qtype, RecordType::CNAME | RecordType::ANY) =>
                        {
                            name = target.0.clone();
                            continue;
                        }
                        _ => return answer,
                    }
                }
                Some(Found::NoData(soa)) => answer.authorities = soa,
                Some(Found::NxDomain(soa)) => {
                    answer.rcode = ResponseCode::NXDomain;
                    answer.authorities = soa;
                }
                None => break,
            }
            return answer;
        }
        answer.rcode = ResponseCode::ServFail;
        answer.answers.clear();
        answer
    }

    /// Asks the servers of the deepest zone, one after the other, and keeps what the first good answer says about
    /// this very name. The rest of an alias chain is asked for anew, for it may belong to others.
    async fn fetch(&self, name: &Name, qtype: RecordType) -> Option<Found> {
        let holding = self.upstreams.iter().filter(|(zone, _)| zone.zone_of(name));
        let depth = holding.clone().map(|(zone, _)| zone.iter().count()).max()?;
        for (_, server) in holding.filter(|(zone, _)| zone.iter().count() == depth) {
            match upstream::ask(*server, name, qtype, self.timeout).await {
                Ok(found) => {
                    self.store.keep(name, qtype, &found);
                    return Some(found);
                }
                Err(error) => tracing::debug!(%server, %name, %error, "no use"),
            }
        }
        None
    }
}
