//! Points of the walk where a kill must be harmless, so that tests can kill exactly there.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;

/// Something that wants to know how far an order has come.
#[async_trait]
pub trait Checkpoints: fmt::Debug + Send + Sync {
    /// Called at each point; the order goes on when this returns.
    async fn reached(&self, point: Checkpoint);
}

/// A point of the walk, or of a rollover.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Checkpoint {
    /// The values stand in the head, and not in DNS.
    HeadWritten,
    /// The values are in DNS.
    DnsWritten,
    /// The wait for propagation is over, and no challenge is answered.
    Propagated,
    /// The challenges are answered.
    Answered,
    /// Key and order URL are stored, and the order is not finalized.
    BeforeFinalize,
    /// The order is finalized.
    Finalized,
    /// The certificate is here, and not in the store.
    BeforeStore,
    /// The certificate is in the store, and not projected.
    BeforeProjection,
    /// The new key of an account is stored, and the CA has not heard of it.
    RolloverStored,
    /// The CA has been told of the new key of an account, and which one it has is not verified.
    RolloverSent,
}

impl Checkpoint {
    /// Those of a rollover, in the order in which they are reached.
    pub const ROLLOVER: [Self; 2] = [Self::RolloverStored, Self::RolloverSent];

    /// All of an order, in the order in which they are reached.
    pub const ALL: [Self; 8] = [
        Self::HeadWritten,
        Self::DnsWritten,
        Self::Propagated,
        Self::Answered,
        Self::BeforeFinalize,
        Self::Finalized,
        Self::BeforeStore,
        Self::BeforeProjection,
    ];

    /// Its name in words joined by hyphens.
    pub fn name(self) -> &'static str {
        match self {
            Self::HeadWritten => "head-written",
            Self::DnsWritten => "dns-written",
            Self::Propagated => "propagated",
            Self::Answered => "answered",
            Self::BeforeFinalize => "before-finalize",
            Self::Finalized => "finalized",
            Self::BeforeStore => "before-store",
            Self::BeforeProjection => "before-projection",
            Self::RolloverStored => "rollover-stored",
            Self::RolloverSent => "rollover-sent",
        }
    }
}

impl FromStr for Checkpoint {
    type Err = UnknownCheckpoint;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .chain(Self::ROLLOVER)
            .find(|point| point.name() == name)
            .ok_or(UnknownCheckpoint)
    }
}

/// A text that names no checkpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no such checkpoint")]
pub struct UnknownCheckpoint;
