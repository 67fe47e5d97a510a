//! Which zone a name is in: configured ids, or the deepest active zone that the credential sees.
//!
//! The list of zones is read once, all pages of it, and kept; a name that is in none of them makes it be read again, though not
//! at once again. Accounts with very many zones, and tokens that may not list, are asked for one name after the other.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use dnseal_core::dns::DomainName;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::Zone;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::cloudflare::api::Api;
use crate::cloudflare::api::CallError;
use crate::cloudflare::errors::Doing;

/// The zones that the settings name.
#[derive(Debug)]
pub(super) enum Configured {
    /// One, by its id only.
    Lone(String),
    /// Each with its id; none means that zones are looked for.
    Named(Vec<(DomainName, String)>),
}

/// Finds zones.
#[derive(Debug)]
pub(super) struct Zones {
    /// For what needs Zone → Zone → Read.
    api: Arc<Api>,
    configured: Configured,
    lone: Mutex<Option<DomainName>>,
    /// For what needs only the right to records.
    records: Arc<Api>,
    seen: Mutex<Seen>,
}

impl Zones {
    pub(super) fn new(api: Arc<Api>, records: Arc<Api>, configured: Configured) -> Self {
        Self {
            api,
            configured,
            lone: Mutex::default(),
            records,
            seen: Mutex::default(),
        }
    }

    /// The deepest zone that contains `owner`, and how many changes its plan takes at once where that is known.
    pub(super) async fn find(
        &self,
        owner: &DomainName,
    ) -> Result<(Zone, Option<usize>), ProviderError> {
        let (id, name) = match &self.configured {
            Configured::Lone(id) => (id, self.name_of(id).await?),
            Configured::Named(zones) if zones.is_empty() => return self.discover(owner).await,
            Configured::Named(zones) => {
                let held = zones
                    .iter()
                    .filter(|(name, _)| owner.is_within(name))
                    .max_by_key(|(name, _)| name.label_count());
                let (name, id) = held.ok_or_else(|| {
                    let names: Vec<&str> = zones.iter().map(|(name, _)| name.as_str()).collect();
                    not_configured(owner, &names.join(", "))
                })?;
                (id, name.clone())
            }
        };
        if !owner.is_within(&name) {
            return Err(not_configured(owner, name.as_str()));
        }
        Ok((zone(id, &name), None))
    }

    /// The name servers of a zone that was found by name; none of one that was named by its id.
    pub(super) async fn servers(&self, id: &str) -> Vec<DomainName> {
        let seen = self.seen.lock().await;
        let held = seen.zones.iter().find(|held| held.id == id);
        held.map(|held| held.servers.clone()).unwrap_or_default()
    }

    /// Forgets what was seen, because it is not so any more.
    pub(super) async fn forget(&self) {
        *self.seen.lock().await = Seen::default();
    }

    async fn discover(&self, owner: &DomainName) -> Result<(Zone, Option<usize>), ProviderError> {
        let mut seen = self.seen.lock().await;
        if let Some(held) = seen.find(owner) {
            return Ok(held);
        }
        let stale = seen.listed.is_none_or(|at| at.elapsed() >= RELIST_AFTER);
        if stale {
            *seen = self.list(owner).await?;
        }
        if !seen.complete {
            self.ask_by_name(&mut seen, owner).await?;
        }
        match seen.find(owner) {
            Some(held) => Ok(held),
            None => Err(self.nothing_for(owner, &seen)),
        }
    }

    async fn list(&self, owner: &DomainName) -> Result<Seen, ProviderError> {
        let mut seen = Seen {
            listed: Some(Instant::now()),
            ..Seen::default()
        };
        let mut page = 1;
        loop {
            let number = page.to_string();
            let query = [
                ("page", number.as_str()),
                ("per_page", ZONES_PER_PAGE),
                ("order", "name"),
            ];
            let answer = match self.api.get::<Vec<Info>>(&["zones"], &query).await {
                Ok(answer) => answer,
                // Some tokens may ask for a zone by its name and may not list.
                Err(CallError::Refused(refusal)) if page == 1 && refusal.says("to list zones") => {
                    return Ok(seen);
                }
                Err(error) => {
                    return Err(self.api.explain(error, Doing::FindZone(owner)).await);
                }
            };
            seen.add(answer.result);
            if answer.pages > MOST_PAGES {
                return Ok(seen);
            }
            if page >= answer.pages {
                seen.complete = true;
                return Ok(seen);
            }
            page += 1;
        }
    }

    async fn ask_by_name(&self, seen: &mut Seen, owner: &DomainName) -> Result<(), ProviderError> {
        let mut next = Some(owner.clone());
        while let Some(name) = next {
            next = name.parent();
            // Nobody holds a top-level domain there.
            if name.label_count() < 2 || seen.asked.contains(&name) {
                continue;
            }
            let query = [("name", name.as_str())];
            let answer = match self.api.get::<Vec<Info>>(&["zones"], &query).await {
                Ok(answer) => answer,
                Err(error) => {
                    return Err(self.api.explain(error, Doing::FindZone(owner)).await);
                }
            };
            seen.add(answer.result);
            seen.asked.insert(name);
            if seen.find(owner).is_some() {
                break;
            }
        }
        Ok(())
    }

    /// What the zone with this id is called, by whichever right the token has.
    async fn name_of(&self, id: &str) -> Result<DomainName, ProviderError> {
        let mut lone = self.lone.lock().await;
        if let Some(name) = &*lone {
            return Ok(name.clone());
        }
        let name = match self.api.get::<Info>(&["zones", id], &[]).await {
            Ok(page) => page.result.name.parse().ok(),
            // The right to records is enough for the zone file, which says whose it is.
            Err(CallError::Refused(refusal)) if matches!(refusal.status.as_u16(), 401 | 403) => {
                let path = ["zones", id, "dns_records", "export"];
                match self.records.text(&path).await {
                    Ok(file) => origin(&file),
                    Err(error) => {
                        return Err(self.records.explain(error, Doing::ZoneById(id)).await);
                    }
                }
            }
            Err(error) => return Err(self.api.explain(error, Doing::ZoneById(id)).await),
        };
        let name = name.ok_or_else(|| ProviderError::Misconfigured {
            detail: format!(
                "{} does not say what the zone {id} is called",
                self.api.endpoint()
            ),
            hint: Some(format!(
                "say it: `zone-ids.example.com: {id}`, or `zone-id: example.com={id}`"
            )),
        })?;
        *lone = Some(name.clone());
        Ok(name)
    }

    fn nothing_for(&self, owner: &DomainName, seen: &Seen) -> ProviderError {
        let unusable = seen
            .zones
            .iter()
            .filter(|held| owner.is_within(&held.name))
            .max_by_key(|held| held.name.label_count());
        if let Some(Held { name, state, .. }) = unusable {
            return ProviderError::Misconfigured {
                detail: format!(
                    "{} holds {name}, which is {state} there, so that nobody asks it for {owner}",
                    self.api.endpoint()
                ),
                hint: Some(format!(
                    "delegate {name} to the name servers that its overview page at https://dash.cloudflare.com shows, or use the provider that serves it"
                )),
            };
        }
        if seen.zones.is_empty() && seen.complete {
            return ProviderError::Credentials {
                detail: format!("the {} sees no zone at all", self.api.credential().noun()),
                endpoint: self.api.endpoint(),
                hint: Some(format!(
                    "give it Zone → Zone → Read on the zone of {owner}, or set `zone-id`, which needs no such permission"
                )),
            };
        }
        let held = seen.zones.iter().filter(|held| held.usable());
        ProviderError::ZoneNotFound {
            endpoint: self.api.endpoint(),
            held: held.take(MOST_TOLD).map(|held| held.name.clone()).collect(),
            owner: owner.clone(),
        }
    }
}

/// What the API told of the account's zones.
#[derive(Debug, Default)]
struct Seen {
    /// Names that were asked for one by one.
    asked: HashSet<DomainName>,
    /// Whether these are all.
    complete: bool,
    listed: Option<Instant>,
    zones: Vec<Held>,
}

impl Seen {
    fn add(&mut self, infos: Vec<Info>) {
        for info in infos {
            // A name that is none can contain no name that is one.
            let Ok(name) = info.name.parse() else {
                continue;
            };
            let state = match info.kind.as_deref() {
                Some("partial") => "a partial (CNAME) setup".to_owned(),
                Some("secondary") => "a secondary zone".to_owned(),
                Some("internal") => "an internal zone".to_owned(),
                _ => info.status,
            };
            let most = info.plan.and_then(|plan| match plan.legacy_id.as_str() {
                "free" => Some(FREE),
                "pro" | "business" | "enterprise" => Some(PAID),
                _ => None,
            });
            let servers = info
                .name_servers
                .into_iter()
                .chain(info.vanity_name_servers);
            let servers = servers.flatten().filter_map(|name| name.parse().ok());
            self.zones.retain(|held| held.id != info.id);
            self.zones.push(Held {
                id: info.id,
                most,
                name,
                servers: servers.collect(),
                state,
            });
        }
    }

    /// The deepest usable zone; `None` also while a name in between was not asked for.
    fn find(&self, owner: &DomainName) -> Option<(Zone, Option<usize>)> {
        let mut next = Some(owner.clone());
        while let Some(name) = next {
            let held = self
                .zones
                .iter()
                .find(|held| held.usable() && held.name == name);
            if let Some(held) = held {
                return Some((zone(&held.id, &held.name), held.most));
            }
            if !self.complete && name.label_count() > 1 && !self.asked.contains(&name) {
                return None;
            }
            next = name.parent();
        }
        None
    }
}

#[derive(Debug)]
struct Held {
    id: String,
    /// The most changes in one batch.
    most: Option<usize>,
    name: DomainName,
    /// The name servers that it is to be delegated to.
    servers: Vec<DomainName>,
    state: String,
}

impl Held {
    fn usable(&self) -> bool {
        self.state == "active"
    }
}

#[derive(Debug, Deserialize)]
struct Info {
    id: String,
    name: String,
    #[serde(default)]
    plan: Option<Plan>,
    #[serde(default)]
    status: String,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    name_servers: Option<Vec<String>>,
    #[serde(default)]
    vanity_name_servers: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct Plan {
    #[serde(default)]
    legacy_id: String,
}

fn zone(id: &str, name: &DomainName) -> Zone {
    Zone {
        id: id.to_owned(),
        name: name.clone(),
    }
}

fn not_configured(owner: &DomainName, zones: &str) -> ProviderError {
    ProviderError::Misconfigured {
        detail: format!("{owner} is not in {zones}, which `zone-id` stands for"),
        hint: Some("leave `zone-id` out, or route the name to another provider".to_owned()),
    }
}

/// The apex of a zone file, which is where its SOA is.
fn origin(file: &str) -> Option<DomainName> {
    file.lines()
        .filter(|line| !line.starts_with(';'))
        .find_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let owner = words.next()?;
            words
                .any(|word| word == "SOA")
                .then(|| owner.parse().ok())?
        })
}

/// The most that the API gives.
const ZONES_PER_PAGE: &str = "50";
/// More pages than this cost more requests than asking for names.
const MOST_PAGES: usize = 20;
/// A zone that was made meanwhile is found after this long.
const RELIST_AFTER: Duration = Duration::from_secs(60);
/// More than this many zones nobody wants to read in a message.
const MOST_TOLD: usize = 20;
/// Changes in one batch.
pub(super) const FREE: usize = 200;
pub(super) const PAID: usize = 3_500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_file_says_whose_it_is() {
        let file = ";;\n;; Domain:     example.com.\n;; Exported:   2026-03-01 12:00:00\n;;\n\n;; SOA Record\n\
            example.com\t3600\tIN\tSOA\tada.ns.cloudflare.com. dns.cloudflare.com. 1 10000 2400 604800 3600\n\
            ;; TXT Records\nsoa.example.com.\t1\tIN\tTXT\t\"SOA\"\n";
        assert_eq!(origin(file).unwrap().as_str(), "example.com");
        assert_eq!(origin(";; nothing\nexample.com. 1 IN A 192.0.2.1\n"), None);
    }
}
