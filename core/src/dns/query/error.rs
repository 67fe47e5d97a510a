//! Why there is no answer.

use std::io;
use std::net::SocketAddr;

use super::upstream::Upstream;
use crate::dns::DomainName;

/// Why there is no answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The asker is being taken down.
    #[error("{server} was not asked, because the run is ending")]
    Closed {
        /// Which server.
        server: Upstream,
    },
    /// A resolver over HTTPS or TLS brought no usable answer.
    #[error("{server} did not answer: {problem}")]
    Encrypted {
        /// What happened.
        problem: Problem,
        /// Which resolver.
        server: Upstream,
    },
    /// Neither transport brought a usable answer.
    #[error("{server} did not answer (udp: {udp}, tcp: {tcp})")]
    NoAnswer {
        /// Which server.
        server: SocketAddr,
        /// What happened over UDP.
        udp: Problem,
        /// What happened over TCP.
        tcp: Problem,
    },
    /// The name cannot be written into a question.
    #[error("{name} cannot be asked for")]
    Unaskable {
        /// The name.
        name: DomainName,
    },
}

/// What happened instead of an answer over one transport.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// What came is no DNS message, or not one for this question.
    #[error("garbled answer")]
    Garbled,
    /// An HTTP answer that is no DNS message; its content type, where it has one.
    #[error("{}", match .0 {
        Some(kind) => format!("an answer of content type {kind}, which is no DNS message"),
        None => "an answer without content type, which is no DNS message".to_owned(),
    })]
    Foreign(Option<String>),
    /// An HTTP status other than 200.
    #[error("HTTP status {0}")]
    Http(u16),
    /// The operating system says why: refused, unreachable, reset.
    #[error("{0}")]
    Io(String),
    /// Nothing came.
    #[error("time-out")]
    TimedOut,
    /// Something came that points to the other transport.
    #[error("truncated")]
    Truncated,
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        // The words of `ErrorKind` are the same everywhere and name no error number.
        Self::Io(match error.kind() {
            io::ErrorKind::Other => error.to_string(),
            kind => kind.to_string(),
        })
    }
}
