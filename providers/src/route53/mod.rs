//! Amazon Route 53, by its API and the AWS SDK.
//!
//! A record set is replaced as a whole here, so that every write is conditional: one request deletes exactly what was read and
//! creates what shall be, and does nothing if somebody else wrote in between. All changes of a zone go out in one such request,
//! within the account's rate. Credentials come from the settings or from wherever the AWS tools find them; that chain, of the
//! SDK, is the only thing among the providers that reads files and variables by itself.

mod apply;
mod change;
mod client;
mod config;
mod errors;
mod http;
mod limit;
mod policy;
mod refusal;
mod rrset;
mod settle;
mod text;
mod zones;

use async_trait::async_trait;
use dnseal_core::dns::Applied;
use dnseal_core::dns::Capabilities;
use dnseal_core::dns::DnsProvider;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::Receipt;
use dnseal_core::dns::Settlement;
use dnseal_core::dns::TxtChange;
use dnseal_core::dns::TxtValue;
use dnseal_core::dns::WriteSafety;
use dnseal_core::dns::Zone;

pub(crate) use crate::route53::config::KIND;

use crate::route53::apply::Work;
use crate::route53::client::Client;
use crate::route53::settle::Watched;
use crate::route53::zones::Choice;

/// The hosted zones of one account.
#[derive(Debug)]
struct Route53 {
    choice: Choice,
    client: Client,
    ttl: u32,
    watched: Watched,
}

#[async_trait]
impl DnsProvider for Route53 {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            max_values: Some(change::MOST_VALUES),
            tells_settled: true,
            ..Capabilities::new(self.ttl, WriteSafety::CompareAndSwap)
        }
    }

    fn endpoint(&self) -> String {
        self.client.endpoint.clone()
    }

    async fn zone_of(&self, owner: &DomainName) -> Result<Zone, ProviderError> {
        self.choice.zone_of(&self.client, owner).await
    }

    async fn name_servers(&self, zone: &Zone) -> Result<Vec<DomainName>, ProviderError> {
        let servers = zones::servers(&self.client, &zone.id).await;
        Ok(servers
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect())
    }

    async fn apply(&self, zone: &Zone, changes: &[TxtChange]) -> Result<Applied, ProviderError> {
        Work::new(&self.client, zone, changes).finish().await
    }

    async fn settled(&self, receipt: &Receipt) -> Result<Settlement, ProviderError> {
        self.watched.look(&self.client, receipt).await
    }

    async fn values(
        &self,
        zone: &Zone,
        owner: &DomainName,
    ) -> Result<Option<Vec<TxtValue>>, ProviderError> {
        let standing = rrset::read(&self.client, &zone.id, owner).await?;
        Ok(Some(standing.values()))
    }
}
