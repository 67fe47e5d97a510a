//! Which hosted zone a name belongs to.
//!
//! Each suffix of the name is looked up, the longest first: the answer to such a question begins with the zones of exactly that
//! name, and goes on with zones that have nothing to do with it. An account can hold several zones of one name, of which the
//! world asks at most one; which one it is cannot be told from here, and is never guessed.

use aws_sdk_route53::types::HostedZone;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::Zone;

use crate::route53::client::Client;
use crate::route53::text;

/// Which zones count.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    /// The only zone, whatever else there is.
    pub(super) id: Option<String>,
    /// Private zones in place of public ones.
    pub(super) private: bool,
}

impl Choice {
    /// The deepest zone that contains `owner`.
    pub(super) async fn zone_of(
        &self,
        client: &Client,
        owner: &DomainName,
    ) -> Result<Zone, ProviderError> {
        if let Some(id) = &self.id {
            return self.given(client, id, owner).await;
        }
        let mut held = Vec::new();
        let mut suffix = Some(owner.clone());
        while let Some(name) = suffix {
            let zones = self.zones_of(client, &name, &mut held).await?;
            match zones.as_slice() {
                [] => {}
                [zone] => {
                    return Ok(Zone {
                        id: short(zone.id()),
                        name,
                    });
                }
                several => return Err(self.ambiguous(client, &name, several).await),
            }
            suffix = name.parent();
        }
        held.truncate(MOST_HELD);
        Err(ProviderError::ZoneNotFound {
            endpoint: client.endpoint.clone(),
            held,
            owner: owner.clone(),
        })
    }

    /// The zones of exactly that name; other zones that were told go to `others`.
    async fn zones_of(
        &self,
        client: &Client,
        name: &DomainName,
        others: &mut Vec<DomainName>,
    ) -> Result<Vec<HostedZone>, ProviderError> {
        let mut found = Vec::new();
        let mut from: Option<String> = None;
        loop {
            let from_id = from.clone();
            let page = client
                .ask("ListHostedZonesByName", None, move |sdk| {
                    sdk.list_hosted_zones_by_name()
                        .dns_name(name.as_str())
                        .set_hosted_zone_id(from_id.clone())
                        .max_items(PAGE)
                        .send()
                })
                .await?;
            let mut beyond = false;
            for zone in page.hosted_zones() {
                let zone_name = text::name(zone.name());
                if zone_name != name.as_str() {
                    beyond = true;
                    let other = zone_name.parse().ok();
                    others.extend(other.filter(|other| !others.contains(other)));
                    continue;
                }
                let private = zone.config().is_some_and(|config| config.private_zone());
                if private == self.private {
                    found.push(zone.clone());
                }
            }
            let same = page.next_dns_name().map(text::name).as_deref() == Some(name.as_str());
            match page.next_hosted_zone_id() {
                Some(next) if page.is_truncated() && same && !beyond => {
                    from = Some(short(next));
                }
                _ => return Ok(found),
            }
        }
    }

    async fn ambiguous(
        &self,
        client: &Client,
        name: &DomainName,
        zones: &[HostedZone],
    ) -> ProviderError {
        let mut told = Vec::with_capacity(zones.len());
        for zone in zones {
            let id = short(zone.id());
            let servers = servers(client, &id).await;
            told.push(match servers.is_empty() {
                true => id,
                false => format!("{id} (served by {})", servers.join(", ")),
            });
        }
        ProviderError::Misconfigured {
            detail: format!(
                "{} holds {} hosted zones of the name {name}: {}",
                client.endpoint,
                zones.len(),
                told.join(" and ")
            ),
            hint: Some(format!(
                "set `hosted-zone-id` to the one that {name} is delegated to (compare with `dig NS {name}`), or delete the others"
            )),
        }
    }

    /// The zone with that ID, if `owner` is in it.
    async fn given(
        &self,
        client: &Client,
        id: &str,
        owner: &DomainName,
    ) -> Result<Zone, ProviderError> {
        let asked = client
            .ask("GetHostedZone", Some(id), |sdk| {
                sdk.get_hosted_zone().id(id).send()
            })
            .await;
        let name = match asked {
            Ok(answer) => answer.hosted_zone().map(|zone| text::name(zone.name())),
            // Policies made for other tools lack this right; the zone's first record set has its name as well.
            Err(ProviderError::Credentials { .. }) => client
                .ask("ListResourceRecordSets", Some(id), |sdk| {
                    sdk.list_resource_record_sets()
                        .hosted_zone_id(id)
                        .max_items(1)
                        .send()
                })
                .await?
                .resource_record_sets()
                .first()
                .map(|set| text::name(set.name())),
            Err(error) => return Err(error),
        };
        let name: Option<DomainName> = name.and_then(|name| name.parse().ok());
        match name {
            Some(name) if owner.is_within(&name) => Ok(Zone {
                id: id.to_owned(),
                name,
            }),
            name => Err(ProviderError::Misconfigured {
                detail: format!(
                    "{owner} is not in the hosted zone {id}, which is that of {}",
                    name.as_ref()
                        .map_or("no name that can be read", DomainName::as_str)
                ),
                hint: Some(
                    "leave `hosted-zone-id` out, or route the name to another provider".to_owned(),
                ),
            }),
        }
    }
}

/// The name servers of a zone, where they may be asked for.
pub(super) async fn servers(client: &Client, id: &str) -> Vec<String> {
    let answer = client
        .ask("GetHostedZone", Some(id), |sdk| {
            sdk.get_hosted_zone().id(id).send()
        })
        .await;
    answer
        .ok()
        .and_then(|answer| answer.delegation_set)
        .map(|set| set.name_servers)
        .unwrap_or_default()
}

/// An ID without the path it comes with.
fn short(id: &str) -> String {
    id.rsplit('/').next().unwrap_or(id).to_owned()
}

/// The zones of one name come first, and are few.
const PAGE: i32 = 10;
/// As many names as help in a message.
const MOST_HELD: usize = 10;
