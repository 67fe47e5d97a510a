//! A service behind the trait: read what stands there, add what is missing or remove what is there, and read it back.
//!
//! The crate adds and removes single values, most by reading and writing again, so that everything that this process writes to a zone
//! goes one after the other. A success that cannot be seen is none.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use dnseal_core::dns::Action;
use dnseal_core::dns::Applied;
use dnseal_core::dns::Capabilities;
use dnseal_core::dns::DnsProvider;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::Outcome;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::Receipt;
use dnseal_core::dns::TxtChange;
use dnseal_core::dns::TxtValue;
use dnseal_core::dns::WriteSafety;
use dnseal_core::dns::Zone;
use dnseal_core::event::Events;

use crate::bridge::errors::About;
use crate::bridge::remote::Remote;
use crate::bridge::remote::plain;
use crate::redact::Secrets;

/// A service of the crate as a provider.
pub(super) struct Bridged<R> {
    pub(super) endpoint: String,
    pub(super) events: Events,
    pub(super) kind: &'static str,
    pub(super) remote: R,
    /// What is taken out of the crate's words.
    pub(super) secrets: Secrets,
    pub(super) ttl: u32,
    pub(super) write_safety: WriteSafety,
}

impl<R> fmt::Debug for Bridged<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bridged")
            .field("kind", &self.kind)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl<R: Remote> DnsProvider for Bridged<R> {
    fn capabilities(&self) -> Capabilities {
        Capabilities::new(self.ttl, self.write_safety)
    }

    fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    async fn zone_of(&self, _owner: &DomainName) -> Result<Zone, ProviderError> {
        Err(ProviderError::Unsupported {
            detail: "zones are not listed through the crate dns-update".to_owned(),
            endpoint: self.endpoint(),
        })
    }

    async fn apply(&self, zone: &Zone, changes: &[TxtChange]) -> Result<Applied, ProviderError> {
        let turn = turn(self.kind, &zone.name);
        let _turn = turn.lock().await;
        let mut outcomes: Vec<Option<Outcome>> = vec![None; changes.len()];
        let mut done = false;
        let mut ended: Option<ProviderError> = None;
        for (owner, places) in by_owner(changes) {
            let answers = match &ended {
                // Nothing else would fare better, and each try costs a time-out, or goodwill.
                Some(error) => vec![of_error(error); places.len()],
                None => match self.write(zone, owner, changes, &places).await {
                    Ok(answers) => {
                        done = true;
                        answers
                    }
                    Err(error) if is_about_all(&error) && !done => return Err(error),
                    Err(error) => {
                        let answers = vec![of_error(&error); places.len()];
                        ended = is_about_all(&error).then_some(error);
                        answers
                    }
                },
            };
            for (place, answer) in places.into_iter().zip(answers) {
                if let Some(outcome) = outcomes.get_mut(place) {
                    *outcome = Some(answer);
                }
            }
        }
        let unknown = || Outcome::Unknown {
            reason: "it was not tried".to_owned(),
        };
        Ok(Applied {
            outcomes: outcomes
                .into_iter()
                .map(|outcome| outcome.unwrap_or_else(unknown))
                .collect(),
            receipt: Receipt::default(),
        })
    }

    async fn values(
        &self,
        zone: &Zone,
        owner: &DomainName,
    ) -> Result<Option<Vec<TxtValue>>, ProviderError> {
        let listed = self.list(zone, owner).await?;
        let values = listed
            .into_iter()
            .filter_map(|text| TxtValue::from_bytes(plain(&text)).ok());
        Ok(Some(values.collect()))
    }
}

impl<R: Remote> Bridged<R> {
    /// Makes one name as the changes at `places` want it; an outcome for each of them.
    async fn write(
        &self,
        zone: &Zone,
        owner: &DomainName,
        changes: &[TxtChange],
        places: &[usize],
    ) -> Result<Vec<Outcome>, ProviderError> {
        if !owner.is_within(&zone.name) {
            let reason = format!("{owner} is not in the zone {}", zone.name);
            return Ok(vec![Outcome::Refused { reason }; places.len()]);
        }
        let changes: Vec<&TxtChange> = places.iter().filter_map(|&at| changes.get(at)).collect();
        let texts: Vec<Option<String>> = changes.iter().map(|change| text(&change.value)).collect();
        let wanted = |action: Action| -> Vec<String> {
            let all = changes.iter().zip(&texts);
            let texts: BTreeSet<String> = all
                .filter(|(change, _)| change.action == action)
                .filter_map(|(_, text)| text.clone())
                .collect();
            texts.into_iter().collect()
        };
        let (adding, removing) = (wanted(Action::Add), wanted(Action::Remove));
        let ttl = changes.iter().map(|change| change.ttl).min();
        let ttl = ttl.unwrap_or(self.ttl);

        let before = plain_all(&self.list(zone, owner).await?);
        let missing: Vec<String> = unlisted(&adding, &before);
        let present: Vec<String> = removing
            .iter()
            .filter(|value| before.contains(value))
            .cloned()
            .collect();
        let about = self.about(zone, owner);
        if !missing.is_empty() {
            let added = self.remote.add(owner, &zone.name, ttl, &missing).await;
            added.map_err(|error| about.error(&error))?;
        }
        if !present.is_empty() {
            let removed = self.remote.remove(owner, &zone.name, &present).await;
            removed.map_err(|error| about.error(&error))?;
        }
        let after = match missing.is_empty() && present.is_empty() {
            true => before,
            false => {
                let after = self.read_back(zone, owner, &missing, &present).await?;
                self.tell_of_losses(owner, &before, &present, &after);
                after
            }
        };
        let outcomes = changes.iter().zip(&texts).map(|(change, text)| {
            let Some(text) = text else {
                return Outcome::Refused {
                    reason: "this kind writes text only, and the value is none".to_owned(),
                };
            };
            match (change.action, after.contains(text)) {
                (Action::Add, true) | (Action::Remove, false) => Outcome::Applied { handle: None },
                (Action::Add, false) => Outcome::Unknown {
                    reason: format!(
                        "{} said that the value was written, and does not list it at {owner}",
                        self.endpoint
                    ),
                },
                (Action::Remove, true) => Outcome::Unknown {
                    reason: format!(
                        "{} said that the value was removed, and still lists it at {owner}",
                        self.endpoint
                    ),
                },
            }
        });
        Ok(outcomes.collect())
    }

    /// What stands there once the service shows what was written, or has had time enough.
    async fn read_back(
        &self,
        zone: &Zone,
        owner: &DomainName,
        added: &[String],
        removed: &[String],
    ) -> Result<Vec<String>, ProviderError> {
        let mut pause = FIRST_LOOK;
        let mut waited = Duration::ZERO;
        let mut as_listed = false;
        loop {
            let listed = self.list(zone, owner).await?;
            let values = plain_all(&listed);
            let still: Vec<String> = listed
                .iter()
                .filter(|text| removed.contains(&plain(text)))
                .cloned()
                .collect();
            if still.is_empty() && unlisted(added, &values).is_empty() || waited >= LAST_LOOK {
                return Ok(values);
            }
            // Some services give a value with quotes, and know it by those only.
            if !as_listed && still.iter().any(|text| !removed.contains(text)) {
                as_listed = true;
                let removed = self.remote.remove(owner, &zone.name, &still).await;
                removed.map_err(|error| self.about(zone, owner).error(&error))?;
                continue;
            }
            tokio::time::sleep(pause).await;
            waited += pause;
            pause *= 2;
        }
    }

    async fn list(&self, zone: &Zone, owner: &DomainName) -> Result<Vec<String>, ProviderError> {
        let listed = self.remote.list(owner, &zone.name).await;
        listed.map_err(|error| self.about(zone, owner).error(&error))
    }

    /// A value of somebody else that stood there before a write and does not after: it may have been removed in between, or overwritten.
    fn tell_of_losses(
        &self,
        owner: &DomainName,
        before: &[String],
        removed: &[String],
        after: &[String],
    ) {
        let lost = before
            .iter()
            .filter(|value| !removed.contains(value) && !after.contains(value))
            .count();
        if lost > 0 && self.write_safety == WriteSafety::ReadModifyWrite {
            self.events.warn(
                format!(
                    "{lost} other TXT value(s) at {owner} went away while {} was written",
                    self.endpoint
                ),
                Some(
                    "its owner may have removed it; if not, two machines wrote this name at once, which this service cannot do"
                        .to_owned(),
                ),
            );
        }
    }

    fn about<'a>(&'a self, zone: &'a Zone, owner: &'a DomainName) -> About<'a> {
        About {
            endpoint: &self.endpoint,
            kind: self.kind,
            owner,
            secrets: &self.secrets,
            zone: &zone.name,
        }
    }
}

/// The lock over everything that this process writes to a zone of a service.
fn turn(kind: &'static str, zone: &DomainName) -> Arc<tokio::sync::Mutex<()>> {
    type Turns = HashMap<(&'static str, DomainName), Arc<tokio::sync::Mutex<()>>>;
    static TURNS: LazyLock<Mutex<Turns>> = LazyLock::new(Mutex::default);
    let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    turns.entry((kind, zone.clone())).or_default().clone()
}

/// The places of the changes at each name, names in the order they come.
fn by_owner(changes: &[TxtChange]) -> Vec<(&DomainName, Vec<usize>)> {
    let mut owners: Vec<(&DomainName, Vec<usize>)> = Vec::new();
    let mut places: HashMap<&DomainName, usize> = HashMap::new();
    for (at, change) in changes.iter().enumerate() {
        let place = *places.entry(&change.owner).or_insert_with(|| {
            owners.push((&change.owner, Vec::new()));
            owners.len() - 1
        });
        if let Some((_, list)) = owners.get_mut(place) {
            list.push(at);
        }
    }
    owners
}

/// Whether no other name of the zone would fare better.
fn is_about_all(error: &ProviderError) -> bool {
    matches!(
        error,
        ProviderError::Credentials { .. }
            | ProviderError::RateLimited { .. }
            | ProviderError::Unreachable { .. }
            | ProviderError::ZoneNotFound { .. }
    )
}

fn of_error(error: &ProviderError) -> Outcome {
    let reason = error.to_string();
    match error.is_retryable() {
        true => Outcome::Unknown { reason },
        false => Outcome::Refused { reason },
    }
}

/// The value, if it is text; what the CA wants to see always is.
fn text(value: &TxtValue) -> Option<String> {
    String::from_utf8(value.as_bytes().to_vec()).ok()
}

fn plain_all(listed: &[String]) -> Vec<String> {
    listed.iter().map(|text| plain(text)).collect()
}

fn unlisted(values: &[String], listed: &[String]) -> Vec<String> {
    values
        .iter()
        .filter(|value| !listed.contains(value))
        .cloned()
        .collect()
}

/// Some services list what they have written after a moment only.
const FIRST_LOOK: Duration = Duration::from_millis(250);
const LAST_LOOK: Duration = Duration::from_secs(15);
