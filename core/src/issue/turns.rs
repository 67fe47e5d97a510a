//! Turns at owner names: where values of two runs cannot stand beside each other, one run comes after the other.
//!
//! A turn is taken before the first value is written and ends when the last is withdrawn, because the CA may look at any time
//! between the two. It is a lock of the store, so that it holds for all runs that share one, and no killed run holds it. Whoever
//! takes several takes them at once and in the order of their names.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Engine;
use super::Turn;
use crate::dns::DomainName;
use crate::dns::Place;
use crate::event::Events;
use crate::store::LockName;
use crate::store::StoreError;

/// The turns that one order has.
#[derive(Debug, Default)]
pub(super) struct Turns {
    held: BTreeMap<DomainName, Turn>,
}

impl Turns {
    /// Waits for its turn at each of these names. A run waits at most so long for another.
    pub(super) async fn take(
        engine: &Engine,
        owners: BTreeSet<DomainName>,
        at_most: Duration,
        events: &Events,
        cancel: &CancellationToken,
    ) -> Result<Self, StoreError> {
        let mut held = BTreeMap::new();
        for owner in owners {
            let name = LockName::owner(&owner);
            let turn = engine.lock_in_turn(&name, at_most, events, cancel).await?;
            held.insert(owner, turn);
        }
        Ok(Self { held })
    }

    /// The owner names of these places at which runs take turns.
    pub(super) fn needed<'p>(places: impl IntoIterator<Item = &'p Place>) -> BTreeSet<DomainName> {
        places
            .into_iter()
            .filter(|place| place.provider.provider.capabilities().takes_turns())
            .map(|place| place.location.owner.clone())
            .collect()
    }

    /// Whether it is our turn there.
    pub(super) fn hold(&self, owner: &DomainName) -> bool {
        self.held.contains_key(owner)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}
