//! What stands at owner names: TXT record sets as they are, to the letter, because a change must repeat them to the letter.
//!
//! Lists begin at the name that is asked for, never at the beginning of the zone. Where many names are wanted at once one page
//! often holds several of them, and what lies between two entries of a page is not there.

use std::collections::HashMap;

use aws_sdk_route53::operation::list_resource_record_sets::ListResourceRecordSetsOutput;
use aws_sdk_route53::types::ResourceRecord;
use aws_sdk_route53::types::ResourceRecordSet;
use aws_sdk_route53::types::RrType;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::TxtValue;

use crate::route53::client::Client;
use crate::route53::text;

/// TXT at one owner.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Standing {
    /// Nothing.
    Nothing,
    /// Record sets with a routing policy, or an alias, which no simple record set can stand beside.
    Routed(String),
    /// One record set.
    Simple(TxtSet),
}

/// A simple TXT record set, as Route 53 writes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct TxtSet {
    pub(super) name: String,
    pub(super) ttl: i64,
    pub(super) values: Vec<String>,
}

impl Standing {
    /// The values, without those that cannot be read.
    pub(super) fn values(&self) -> Vec<TxtValue> {
        match self {
            Self::Nothing | Self::Routed(_) => Vec::new(),
            Self::Simple(set) => set.values.iter().filter_map(|v| text::decode(v)).collect(),
        }
    }

    fn of(set: &ResourceRecordSet) -> Self {
        let policy = if set.alias_target().is_some() {
            Some("an alias".to_owned())
        } else {
            set.set_identifier()
                .map(|id| format!("part of a routing policy (`{id}`)"))
        };
        match policy {
            Some(policy) => Self::Routed(policy),
            None => Self::Simple(TxtSet {
                name: set.name().to_owned(),
                ttl: set.ttl().unwrap_or_default(),
                values: set
                    .resource_records()
                    .iter()
                    .map(|record| record.value().to_owned())
                    .collect(),
            }),
        }
    }
}

impl TxtSet {
    /// What counts against the limit of a request's characters.
    pub(super) fn characters(&self) -> usize {
        self.values.iter().map(|value| value.chars().count()).sum()
    }

    pub(super) fn to_sdk(&self) -> Result<ResourceRecordSet, String> {
        let records: Result<Vec<ResourceRecord>, _> = self
            .values
            .iter()
            .map(|value| ResourceRecord::builder().value(value).build())
            .collect();
        ResourceRecordSet::builder()
            .name(&self.name)
            .r#type(RrType::Txt)
            .ttl(self.ttl)
            .set_resource_records(Some(records.map_err(|e| e.to_string())?))
            .build()
            .map_err(|e| e.to_string())
    }
}

/// TXT at one name, asked for by name.
pub(super) async fn read(
    client: &Client,
    zone: &str,
    owner: &DomainName,
) -> Result<Standing, ProviderError> {
    let page = page(client, zone, owner, 1).await?;
    let set = page
        .resource_record_sets()
        .iter()
        .find(|set| is_at(set, owner));
    Ok(set.map_or(Standing::Nothing, Standing::of))
}

/// TXT at many names, in as few requests as the zone allows.
pub(super) async fn read_all<'a>(
    client: &Client,
    zone: &str,
    owners: impl Iterator<Item = &'a DomainName>,
) -> Result<HashMap<DomainName, Standing>, ProviderError> {
    let mut left: Vec<(String, &DomainName)> = owners
        .map(|owner| (sort_key(owner.as_str()), owner))
        .collect();
    left.sort_unstable();
    let mut found = HashMap::with_capacity(left.len());
    while let Some(first) = left.first().map(|(_, owner)| *owner) {
        if left.len() <= FEW {
            for (_, owner) in left.drain(..) {
                found.insert(owner.clone(), read(client, zone, owner).await?);
            }
            break;
        }
        let page = page(client, zone, first, LARGEST_PAGE).await?;
        for set in page.resource_record_sets() {
            if *set.r#type() != RrType::Txt {
                continue;
            }
            let name = text::name(set.name());
            if let Some((_, owner)) = left.iter().find(|(_, owner)| owner.as_str() == name) {
                found
                    .entry((*owner).clone())
                    .or_insert_with(|| Standing::of(set));
            }
        }
        // What sorts before the page's end is on the page, or not there at all.
        let end = page
            .next_record_name()
            .filter(|_| page.is_truncated())
            .map(|name| sort_key(&text::name(name)));
        left.retain(|(key, owner)| {
            let passed = end.as_ref().is_none_or(|end| key < end);
            if passed || *owner == first {
                found.entry((*owner).clone()).or_insert(Standing::Nothing);
            }
            !found.contains_key(*owner)
        });
    }
    Ok(found)
}

async fn page(
    client: &Client,
    zone: &str,
    from: &DomainName,
    most: i32,
) -> Result<ListResourceRecordSetsOutput, ProviderError> {
    client
        .ask("ListResourceRecordSets", Some(zone), |sdk| {
            sdk.list_resource_record_sets()
                .hosted_zone_id(zone)
                .start_record_name(from.as_str())
                .start_record_type(RrType::Txt)
                .max_items(most)
                .send()
        })
        .await
}

fn is_at(set: &ResourceRecordSet, owner: &DomainName) -> bool {
    *set.r#type() == RrType::Txt && text::name(set.name()) == owner.as_str()
}

/// Names are listed by their labels in reverse, each followed by a dot: `com.example.www.`
fn sort_key(name: &str) -> String {
    let mut key = String::with_capacity(name.len() + 1);
    for label in name.rsplit('.') {
        key.push_str(label);
        key.push('.');
    }
    key
}

/// So few names are asked for one by one, without whatever lies between them.
const FEW: usize = 3;
/// The largest page there is.
const LARGEST_PAGE: i32 = 300;
