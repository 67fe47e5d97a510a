//! What stands at an owner name, as its name servers tell it.
//!
//! For providers that have to know which values stand beside the one they remove. Every authoritative address is asked; a resolver
//! that remembers answers never is.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::SocketAddr;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::dns::Asker;
use crate::dns::Discovery;
use crate::dns::DiscoveryError;
use crate::dns::DomainName;
use crate::dns::RecordType;
use crate::dns::TxtValue;

/// Looks at the name servers.
#[derive(Clone, Debug)]
pub struct Onlooker {
    asker: Asker,
    discovery: Discovery,
}

/// The values at a name by the address that tells them; addresses that tell nothing are not in it.
pub type Seen = BTreeMap<SocketAddr, BTreeSet<TxtValue>>;

impl Onlooker {
    /// One that finds the servers by `discovery`.
    pub fn new(asker: Asker, discovery: Discovery) -> Self {
        Self { asker, discovery }
    }

    /// The values at `owner`, at every address that tells them.
    ///
    /// # Errors
    ///
    /// When the servers of the name cannot be found.
    pub async fn look(&self, owner: &DomainName) -> Result<Seen, DiscoveryError> {
        self.look_until(owner, |_| false).await
    }

    /// The same, and no further address is waited for when what was seen is enough.
    pub(super) async fn look_until(
        &self,
        owner: &DomainName,
        enough: impl Fn(&Seen) -> bool + Send,
    ) -> Result<Seen, DiscoveryError> {
        let location = self.discovery.locate_here(owner).await?;
        let servers = location.zone.servers.iter();
        let addresses: BTreeSet<SocketAddr> = servers
            .flat_map(|server| server.addresses.iter().copied())
            .collect();
        let mut asking: FuturesUnordered<_> = addresses
            .into_iter()
            .map(|address| async move {
                let reply = self.asker.ask(address, owner, RecordType::TXT).await.ok()?;
                let is_good = reply.is_conclusive() && reply.authoritative;
                is_good.then(|| (address, reply.txt_values(owner).into_iter().collect()))
            })
            .collect();
        let mut seen = Seen::new();
        while let Some(answered) = asking.next().await {
            seen.extend(answered);
            if enough(&seen) {
                break;
            }
        }
        Ok(seen)
    }
}
