//! Messages to the server and back, over TCP.
//!
//! TCP only: an UPDATE may be as long as a message can be, and servers may answer with an empty question section (RFC 2136
//! section 3.8), which a careful UDP client cannot tell from a forgery. A connection that breaks before an answer came is
//! made anew once and what is unanswered is sent again, which is safe because adding and removing single values is
//! idempotent. Everything here is bounded by the time-out.

use std::fmt;
use std::io;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use dnseal_core::dns::DomainName;
use hickory_proto::op::Message;
use hickory_proto::op::MessageType;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::registry::Context;
use crate::rfc2136::tsig;
use crate::rfc2136::tsig::Key;
use crate::rfc2136::tsig::VerifyError;

/// A server, how to sign for it, and how long to wait.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) context: Context,
    pub(super) key: Option<Key>,
    pub(super) server: Server,
    pub(super) timeout: Duration,
}

impl Client {
    /// Sends all of `messages`, signed if there is a key and `signed` says so, and waits for all answers.
    ///
    /// `connection` is used if it is open, and left open for the next call.
    pub(super) async fn ask(
        &self,
        connection: &mut Connection,
        messages: &[Message],
        signed: bool,
    ) -> Result<Vec<Result<Message, VerifyError>>, ExchangeError> {
        let key = self.key.as_ref().filter(|_| signed);
        let mut requests: Vec<Request<'_>> = messages.iter().map(Request::new).collect();
        let mut lost = 0;
        loop {
            let waiting = requests.iter().filter(|r| r.answer.is_none()).count();
            if waiting == 0 {
                break;
            }
            // A connection from before may have been closed by the server meanwhile; that is no loss.
            let fresh = connection.stream.is_none();
            let mut stream = match connection.stream.take() {
                Some(stream) => stream,
                None => self.server.connect(self.timeout).await?,
            };
            match self.round(&mut stream, &mut requests, key).await {
                Ok(()) => connection.stream = Some(stream),
                Err(error) => {
                    let left = requests.iter().filter(|r| r.answer.is_none()).count();
                    if left == waiting && fresh {
                        lost += 1;
                    }
                    if lost > RESENDS {
                        return Err(error);
                    }
                }
            }
        }
        Ok(requests.into_iter().map(|r| self.read(r, key)).collect())
    }

    /// Sends what is not answered yet, and reads until it is.
    async fn round(
        &self,
        stream: &mut TcpStream,
        requests: &mut [Request<'_>],
        key: Option<&Key>,
    ) -> Result<(), ExchangeError> {
        let base: u16 = rand::random();
        let mut wire = Vec::new();
        let mut waiting = Vec::new();
        let unanswered = requests.iter_mut().filter(|r| r.answer.is_none());
        for (id, request) in (0..=u16::MAX).map(|n| base.wrapping_add(n)).zip(unanswered) {
            request.id = id;
            let mut octets = encode(request.message, id)?;
            request.mac = match key {
                Some(key) => key
                    .sign(&mut octets, self.context.now())
                    .map_err(|_| ExchangeError::Encode)?,
                None => Vec::new(),
            };
            let length = u16::try_from(octets.len()).map_err(|_| ExchangeError::Encode)?;
            wire.extend(length.to_be_bytes());
            wire.extend(octets);
            waiting.push(request);
        }

        let (mut reader, mut writer) = stream.split();
        // Both ways at once, so that a long list of questions cannot block on answers nobody takes.
        let write = async {
            match timeout(self.timeout, writer.write_all(&wire)).await {
                Ok(result) => result.map_err(ExchangeError::Broken),
                Err(_) => Err(ExchangeError::NoAnswer(self.timeout)),
            }
        };
        let read = async {
            while !waiting.is_empty() {
                let answer = match timeout(self.timeout, read_message(&mut reader)).await {
                    Ok(result) => result.map_err(ExchangeError::Broken)?,
                    Err(_) => return Err(ExchangeError::NoAnswer(self.timeout)),
                };
                let id = answer.first_chunk().map(|id| u16::from_be_bytes(*id));
                // Not one of ours, or a second answer: nobody waits for it.
                if let Some(at) = waiting.iter().position(|r| Some(r.id) == id) {
                    waiting.swap_remove(at).answer = Some(answer);
                }
            }
            Ok(())
        };
        tokio::try_join!(write, read).map(|_| ())
    }

    fn read(&self, request: Request<'_>, key: Option<&Key>) -> Result<Message, VerifyError> {
        let answer = request.answer.unwrap_or_default();
        let octets = match key {
            Some(key) => key.verify(&answer, &request.mac, self.context.now())?,
            None => tsig::without_signature(&answer)?,
        };
        parse(&octets, request.message)
    }
}

/// Reads an answer to `request` whose signature has been dealt with.
pub(super) fn parse(octets: &[u8], request: &Message) -> Result<Message, VerifyError> {
    let answer = Message::from_vec(octets).map_err(|_| VerifyError::Malformed)?;
    let fits = answer.metadata.message_type == MessageType::Response
        && answer.metadata.op_code == request.metadata.op_code;
    match fits {
        true => Ok(answer),
        false => Err(VerifyError::Malformed),
    }
}

/// A connection to the server while it lasts.
#[derive(Debug, Default)]
pub(super) struct Connection {
    stream: Option<TcpStream>,
}

#[derive(Debug)]
struct Request<'a> {
    answer: Option<Vec<u8>>,
    id: u16,
    mac: Vec<u8>,
    message: &'a Message,
}

impl<'a> Request<'a> {
    fn new(message: &'a Message) -> Self {
        Self {
            answer: None,
            id: 0,
            mac: Vec::new(),
            message,
        }
    }
}

/// Where updates go: a name or an address, and a port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Server {
    host: String,
    port: u16,
}

impl Server {
    async fn connect(&self, limit: Duration) -> Result<TcpStream, ExchangeError> {
        let target = (self.host.as_str(), self.port);
        let addresses: Vec<SocketAddr> = match timeout(limit, tokio::net::lookup_host(target)).await
        {
            Ok(Ok(addresses)) => addresses.collect(),
            Ok(Err(error)) => {
                return Err(ExchangeError::Resolve(self.host.clone(), error.to_string()));
            }
            Err(_) => {
                return Err(ExchangeError::Resolve(
                    self.host.clone(),
                    format!("no answer within {limit:?}"),
                ));
            }
        };

        // All addresses together get the time-out, so that a dead one does not use up the others' time.
        let share = limit / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
        let mut failures = Vec::new();
        for address in addresses {
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Whole messages are written at once; waiting for more only delays them.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => failures.push(format!("{} at {address}", reason(&error))),
                Err(_) => failures.push(format!("no connection within {share:?} at {address}")),
            }
        }
        match failures.is_empty() {
            true => Err(ExchangeError::Resolve(
                self.host.clone(),
                "it has no address".to_owned(),
            )),
            false => Err(ExchangeError::Connect(failures.join(", "))),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host.strip_suffix('.').unwrap_or(&self.host);
        match host.contains(':') {
            true => write!(f, "[{host}]:{}", self.port),
            false => write!(f, "{host}:{}", self.port),
        }
    }
}

impl FromStr for Server {
    type Err = ServerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ServerError(text.to_owned());
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or_else(error)?;
            if !is_ipv6(host) {
                return Err(error());
            }
            match rest {
                "" => (host, None),
                rest => (host, Some(rest.strip_prefix(':').ok_or_else(error)?)),
            }
        } else if is_ipv6(text) {
            (text, None)
        } else {
            let (host, port) = match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            };
            host.parse::<DomainName>().map_err(|_| error())?;
            (host, port)
        };
        let port = match port {
            Some(port) => port.parse().ok().filter(|p| *p != 0).ok_or_else(error)?,
            None => DNS_PORT,
        };
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

/// A text that is no server.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no server")]
pub(super) struct ServerError(String);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    #[error("the connection broke before an answer came ({})", reason(.0))]
    Broken(io::Error),
    #[error("{0}")]
    Connect(String),
    #[error("the message could not be written")]
    Encode,
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    #[error("`{0}` cannot be resolved: {1}")]
    Resolve(String, String),
}

fn encode(message: &Message, id: u16) -> Result<Vec<u8>, ExchangeError> {
    let mut message = message.clone();
    message.metadata.id = id;
    message.to_vec().map_err(|_| ExchangeError::Encode)
}

async fn read_message(reader: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Vec<u8>> {
    let mut answer = vec![0; usize::from(reader.read_u16().await?)];
    reader.read_exact(&mut answer).await?;
    Ok(answer)
}

/// The error in words, without the number of the operating system.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "closed by the server".to_owned(),
        kind => kind.to_string(),
    }
}

fn is_ipv6(text: &str) -> bool {
    // `%eth0` names the interface of a link-local address.
    let address = text.split_once('%').map_or(text, |(address, _)| address);
    address.parse::<Ipv6Addr>().is_ok()
}

const DNS_PORT: u16 = 53;
/// How often a message is sent again when the connection broke.
const RESENDS: u32 = 1;
