//! Whom a question goes to.

use std::fmt;
use std::net::SocketAddr;

use serde::Serialize;
use serde::Serializer;

use super::encrypted::EncryptedResolver;

/// Whom a question goes to, and over what.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Upstream {
    /// A recursive resolver, over HTTPS or TLS.
    Encrypted(EncryptedResolver),
    /// A recursive resolver, over UDP and TCP.
    Resolver(SocketAddr),
    /// A server that should know by itself, over UDP and TCP.
    Server(SocketAddr),
}

impl Upstream {
    /// Its address, where it is asked on a port of DNS.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Encrypted(_) => None,
            Self::Resolver(address) | Self::Server(address) => Some(*address),
        }
    }

    /// Whether it asks others, and remembers what they said.
    pub fn is_recursive(&self) -> bool {
        !matches!(self, Self::Server(_))
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encrypted(resolver) => resolver.fmt(f),
            Self::Resolver(address) | Self::Server(address) => address.fmt(f),
        }
    }
}

impl From<SocketAddr> for Upstream {
    fn from(address: SocketAddr) -> Self {
        Self::Server(address)
    }
}

impl PartialEq<SocketAddr> for Upstream {
    fn eq(&self, address: &SocketAddr) -> bool {
        self.address() == Some(*address)
    }
}

impl Serialize for Upstream {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
