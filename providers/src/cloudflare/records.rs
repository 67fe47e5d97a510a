//! The TXT records that a zone has now, read with as few requests as will do.
//!
//! A few names are asked for one by one. Many names are read as one page of all TXT records that begin like them; where
//! there is more than a page they are asked for one by one, because pages shift while others write, and a record that is missed would stay behind.

use std::collections::BTreeSet;
use std::collections::HashMap;

use dnseal_core::dns::DomainName;
use dnseal_core::dns::Marked;
use dnseal_core::dns::TxtValue;
use dnseal_core::dns::Zone;
use serde::Deserialize;

use crate::cloudflare::api::Api;
use crate::cloudflare::api::CallError;
use crate::cloudflare::content;

/// Records by owner name; every name that was asked for is in it.
#[derive(Debug, Default)]
pub(super) struct Records {
    by_owner: HashMap<DomainName, Vec<Record>>,
}

impl Records {
    /// The ids of all records with this value; the same value with and without quotes may be two.
    pub(super) fn ids(&self, owner: &DomainName, value: &TxtValue) -> Vec<String> {
        let records = self.by_owner.get(owner).into_iter().flatten();
        records
            .filter(|record| record.value == *value)
            .map(|record| record.id.clone())
            .collect()
    }

    /// Whether it is known that the value is there.
    pub(super) fn has(&self, owner: &DomainName, value: &TxtValue) -> bool {
        !self.ids(owner, value).is_empty()
    }

    /// Takes over what `newer` knows.
    pub(super) fn update(&mut self, newer: Self) {
        self.by_owner.extend(newer.by_owner);
    }

    pub(super) fn into_values(self, owner: &DomainName) -> Vec<TxtValue> {
        let mut by_owner = self.by_owner;
        let records = by_owner.remove(owner).unwrap_or_default();
        let mut values: Vec<TxtValue> = records.into_iter().map(|record| record.value).collect();
        values.sort_unstable();
        values.dedup();
        values
    }

    fn add(&mut self, found: Vec<Found>) {
        for record in found {
            let Ok(owner) = record.name.parse::<DomainName>() else {
                continue;
            };
            if let Some(records) = self.by_owner.get_mut(&owner)
                && record.kind == "TXT"
                && let Some(value) = content::value(&record.content)
                && !records.iter().any(|known| known.id == record.id)
            {
                records.push(Record {
                    id: record.id,
                    value,
                });
            }
        }
    }
}

/// Reads the TXT records at these names.
pub(super) async fn read(
    api: &Api,
    zone: &Zone,
    owners: &BTreeSet<DomainName>,
) -> Result<Records, CallError> {
    let mut records = Records {
        by_owner: owners.iter().map(|o| (o.clone(), Vec::new())).collect(),
    };
    if owners.len() > FEW {
        let mut query = vec![("type", "TXT"), ("per_page", PER_PAGE)];
        let labels: BTreeSet<&str> = owners.iter().filter_map(|o| o.labels().next()).collect();
        if let (1, Some(label)) = (labels.len(), labels.first()) {
            query.push(("name.startswith", label));
        }
        let page = api
            .get::<Vec<Found>>(&["zones", &zone.id, "dns_records"], &query)
            .await?;
        if page.pages <= 1 {
            records.add(page.result);
            return Ok(records);
        }
    }
    for owner in owners {
        let mut number = 1;
        loop {
            let text = number.to_string();
            let query = [
                ("type", "TXT"),
                ("name.exact", owner.as_str()),
                ("per_page", PER_PAGE),
                ("page", &text),
            ];
            let page = api
                .get::<Vec<Found>>(&["zones", &zone.id, "dns_records"], &query)
                .await?;
            records.add(page.result);
            if number >= page.pages {
                break;
            }
            number += 1;
        }
    }
    Ok(records)
}

/// The TXT records of a zone whose comment is exactly this one.
pub(super) async fn commented(
    api: &Api,
    zone: &Zone,
    comment: &str,
) -> Result<Vec<Marked>, CallError> {
    let mut marked = Vec::new();
    let mut number = 1;
    loop {
        let text = number.to_string();
        let query = [
            ("type", "TXT"),
            ("comment.exact", comment),
            ("per_page", PER_PAGE),
            ("page", &text),
        ];
        let page = api
            .get::<Vec<Found>>(&["zones", &zone.id, "dns_records"], &query)
            .await?;
        let pages = page.pages;
        for record in page.result {
            // Whoever asks removes them: the filter of the API, which knows no case, is not enough.
            if record.kind == "TXT"
                && record.comment.as_deref() == Some(comment)
                && let Ok(owner) = record.name.parse::<DomainName>()
                && let Some(value) = content::value(&record.content)
            {
                marked.push(Marked {
                    owner,
                    value,
                    since: record.created_on.and_then(|at| at.parse().ok()),
                });
            }
        }
        if number >= pages {
            return Ok(marked);
        }
        number += 1;
    }
}

#[derive(Debug)]
struct Record {
    id: String,
    value: TxtValue,
}

#[derive(Debug, Deserialize)]
struct Found {
    #[serde(default)]
    comment: Option<String>,
    #[serde(default)]
    content: String,
    #[serde(default)]
    created_on: Option<String>,
    id: String,
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

/// So many names are asked for one by one at once.
const FEW: usize = 3;
/// What other large users ask for, and far below what is allowed.
const PER_PAGE: &str = "5000";
