//! One question to one server, and exactly what it answered.
//!
//! An [`Asker`] sends a question that does not ask for recursion over UDP with EDNS, and again over TCP when the answer
//! is truncated or none comes (RFC 7766 section 5). Each question has a fresh random id and a fresh source port, and an
//! answer counts only when it repeats both id and question. NXDOMAIN and SERVFAIL are answers, not errors; nothing is
//! cached, merged or retried elsewhere. The number of open questions is bounded, so that hundreds can be asked at once.

pub(super) mod encrypted;
mod error;
mod reach;
mod reply;
mod upstream;
mod wire;

use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::Message;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use serde::Deserialize;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio::time::timeout;

pub use self::encrypted::EncryptedResolver;
pub use self::error::AskError;
pub use self::error::Problem;
use self::reach::Reach;
pub use self::reply::Reply;
pub use self::reply::Soa;
pub use self::reply::Transport;
pub use self::upstream::Upstream;
pub(super) use self::wire::Checking;
use self::wire::Question;
use self::wire::Recursion;
pub(super) use self::wire::from_wire;
use self::wire::over_stream;
use self::wire::over_tcp;
use self::wire::over_udp;
use crate::dns::DomainName;
use crate::event::Events;
use crate::event::What;

/// How questions are asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AskerOptions {
    /// The port of servers that are found through DNS; anything but 53 is for tests and private set-ups.
    pub port: u16,
    /// Which addresses of a server are used.
    pub family: Family,
    /// How long to wait for an answer over UDP.
    pub udp_timeout: Duration,
    /// How long to wait for an answer over TCP, connecting included.
    pub tcp_timeout: Duration,
    /// How long to wait for a recursive resolver, for each transport.
    pub recursive_timeout: Duration,
    /// How long to wait for an encrypted resolver, connecting through a proxy included.
    pub encrypted_timeout: Duration,
}

impl Default for AskerOptions {
    fn default() -> Self {
        Self {
            port: DNS_PORT,
            family: Family::Both,
            // Together 3 s: as long as it may take to notice that port 53 is closed.
            udp_timeout: Duration::from_secs(1),
            tcp_timeout: Duration::from_secs(2),
            recursive_timeout: Duration::from_secs(3),
            encrypted_timeout: Duration::from_secs(5),
        }
    }
}

/// Which addresses of name servers are used.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4 and IPv6.
    #[default]
    Both,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

impl Family {
    /// Whether this address may be used.
    pub fn allows(self, address: IpAddr) -> bool {
        match self {
            Self::Both => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }

    /// The types of address record to ask for.
    pub(super) fn record_types(self) -> &'static [RecordType] {
        match self {
            Self::Both => &[RecordType::A, RecordType::AAAA],
            Self::V4 => &[RecordType::A],
            Self::V6 => &[RecordType::AAAA],
        }
    }
}

/// Asks one server one question; cheap to clone, and the clones share the bound on open questions.
#[derive(Clone, Debug)]
pub struct Asker {
    events: Events,
    open: Arc<Semaphore>,
    options: AskerOptions,
    reach: Arc<Reach>,
}

impl Asker {
    /// An asker that tells `events` about every exchange.
    pub fn new(options: AskerOptions, events: Events) -> Self {
        Self {
            events,
            open: Arc::new(Semaphore::new(OPEN_QUESTIONS)),
            options,
            reach: Arc::default(),
        }
    }

    /// Where it tells.
    pub(super) fn events(&self) -> &Events {
        &self.events
    }

    /// How it asks.
    pub fn options(&self) -> &AskerOptions {
        &self.options
    }

    /// Asks without recursion, as one asks a server that should know by itself.
    pub async fn ask(
        &self,
        server: SocketAddr,
        name: &DomainName,
        rtype: RecordType,
    ) -> Result<Reply, AskError> {
        if let Some(why) = self.reach.closed(server.ip()) {
            let problem = Problem::Io(why.to_owned());
            return Err(AskError::NoAnswer {
                server,
                udp: problem.clone(),
                tcp: problem,
            });
        }
        let result = self.converse(server, name, rtype, Recursion::No).await;
        match &result {
            Ok(_) => self.reach.heard(server.ip()),
            Err(AskError::NoAnswer {
                udp: Problem::TimedOut,
                tcp: Problem::TimedOut,
                ..
            }) => self.reach.silent(server.ip()),
            Err(_) => {}
        }
        result
    }

    /// Asks a recursive resolver. What it does not know yet it may remember as not existing.
    pub async fn ask_recursive(
        &self,
        server: SocketAddr,
        name: &DomainName,
        rtype: RecordType,
    ) -> Result<Reply, AskError> {
        self.converse(server, name, rtype, Recursion::Yes).await
    }

    /// Asks whoever it is, in the way that is right for it.
    pub async fn ask_upstream(
        &self,
        upstream: &Upstream,
        name: &DomainName,
        rtype: RecordType,
    ) -> Result<Reply, AskError> {
        match upstream {
            Upstream::Server(server) => self.ask(*server, name, rtype).await,
            upstream => self.recurse(upstream, name, rtype, Recursion::Yes).await,
        }
    }

    /// Asks a recursive resolver over HTTPS or TLS. What it does not know yet it may remember as not existing.
    pub async fn ask_encrypted(
        &self,
        resolver: &EncryptedResolver,
        name: &DomainName,
        rtype: RecordType,
    ) -> Result<Reply, AskError> {
        self.converse_encrypted(resolver, name, rtype, Recursion::Yes)
            .await
    }

    async fn converse_encrypted(
        &self,
        resolver: &EncryptedResolver,
        name: &DomainName,
        rtype: RecordType,
        recursion: Recursion,
    ) -> Result<Reply, AskError> {
        let server = Upstream::Encrypted(resolver.clone());
        let Ok(_open) = self.open.acquire().await else {
            return Err(AskError::Closed { server });
        };
        let mut question = Question::new(server, name, rtype, recursion)?;
        let started = Instant::now();
        let limit = self.options.encrypted_timeout;
        let result = timeout(limit, resolver.exchange(&mut question)).await;
        let result = result.unwrap_or(Err(Problem::TimedOut));
        let result = self.told(&question, resolver.transport(), started, result);
        if let Ok(reply) = &result {
            resolver.heard(name, rtype, reply);
        }
        result.map_err(|problem| AskError::Encrypted {
            problem,
            server: question.server,
        })
    }

    /// Asks a recursive resolver whether it validates what it answers, or for what it would answer without looking at signatures.
    pub(super) async fn ask_checking(
        &self,
        resolver: &Upstream,
        name: &DomainName,
        rtype: RecordType,
        checking: Checking,
    ) -> Result<Reply, AskError> {
        let recursion = match checking {
            Checking::Disabled => Recursion::Unchecked,
            Checking::Enabled => Recursion::Checked,
        };
        self.recurse(resolver, name, rtype, recursion).await
    }

    /// Asks for an answer that may have to be looked for elsewhere.
    async fn recurse(
        &self,
        upstream: &Upstream,
        name: &DomainName,
        rtype: RecordType,
        recursion: Recursion,
    ) -> Result<Reply, AskError> {
        match upstream {
            Upstream::Encrypted(resolver) => {
                self.converse_encrypted(resolver, name, rtype, recursion)
                    .await
            }
            Upstream::Resolver(server) | Upstream::Server(server) => {
                self.converse(*server, name, rtype, recursion).await
            }
        }
    }

    async fn converse(
        &self,
        server: SocketAddr,
        name: &DomainName,
        rtype: RecordType,
        recursion: Recursion,
    ) -> Result<Reply, AskError> {
        let upstream = match recursion {
            Recursion::No => Upstream::Server(server),
            _ => Upstream::Resolver(server),
        };
        let Ok(_open) = self.open.acquire().await else {
            return Err(AskError::Closed { server: upstream });
        };
        let mut question = Question::new(upstream, name, rtype, recursion)?;
        let reply = self.over_both(server, &mut question).await?;
        // RFC 6891 section 7: a server that knows no EDNS says FORMERR or NOTIMP and sends no OPT record.
        let no_edns = matches!(reply.rcode, ResponseCode::FormErr | ResponseCode::NotImp);
        if no_edns && !reply.edns {
            question.edns = false;
            return self.over_both(server, &mut question).await;
        }
        Ok(reply)
    }

    async fn over_both(
        &self,
        server: SocketAddr,
        question: &mut Question,
    ) -> Result<Reply, AskError> {
        let (udp_timeout, tcp_timeout) = match question.recursion {
            Recursion::No => (self.options.udp_timeout, self.options.tcp_timeout),
            Recursion::Checked | Recursion::Unchecked | Recursion::Yes => (
                self.options.recursive_timeout,
                self.options.recursive_timeout,
            ),
        };
        let udp = self.exchange(server, question, Transport::Udp, udp_timeout);
        let udp = match udp.await {
            Ok(reply) if !reply.truncated => return Ok(reply),
            Ok(_) => Problem::Truncated,
            Err(problem) => problem,
        };
        let tcp = self.exchange(server, question, Transport::Tcp, tcp_timeout);
        match tcp.await {
            // There is no longer way.
            Ok(reply) if reply.truncated => Err(AskError::NoAnswer {
                server,
                udp,
                tcp: Problem::Truncated,
            }),
            Ok(reply) => Ok(reply),
            Err(tcp) => Err(AskError::NoAnswer { server, udp, tcp }),
        }
    }

    async fn exchange(
        &self,
        server: SocketAddr,
        question: &mut Question,
        transport: Transport,
        limit: Duration,
    ) -> Result<Reply, Problem> {
        let started = Instant::now();
        let result = match question.encode(rand::random()) {
            Ok(wire) => timeout(limit, async {
                match transport {
                    Transport::Udp => over_udp(server, question, &wire).await,
                    _ => over_tcp(server, question, &wire).await,
                }
            })
            .await
            .unwrap_or(Err(Problem::TimedOut)),
            Err(problem) => Err(problem),
        };
        self.told(question, transport, started, result)
    }

    fn told(
        &self,
        question: &Question,
        transport: Transport,
        started: Instant,
        result: Result<Message, Problem>,
    ) -> Result<Reply, Problem> {
        let elapsed = started.elapsed();
        let server = question.server.clone();
        let result = result.map(|message| Reply::new(server, transport, elapsed, message));
        self.events.emit(What::DnsQuery {
            server: question.server.clone(),
            transport: transport.as_str(),
            name: question.name.to_string(),
            record_type: question.rtype.to_string(),
            outcome: match &result {
                Ok(reply) => reply.to_string(),
                Err(problem) => problem.to_string(),
            },
            elapsed,
        });
        result
    }
}

/// RFC 1035 section 4.2.
const DNS_PORT: u16 = 53;
/// Open questions of one run; each holds one socket.
const OPEN_QUESTIONS: usize = 64;

#[cfg(test)]
mod tests;
