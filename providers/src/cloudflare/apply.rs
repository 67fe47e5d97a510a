//! Changes as batches, each of which the API does as a whole or not at all.
//!
//! One record that is there already, or gone already, makes it refuse a whole batch. Then the zone is read again, what
//! is satisfied is left out, and the rest is sent again. A batch that is refused for another reason is halved until the
//! change that it does not like stands alone. Removals go by the ids of the records that have the value now.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dnseal_core::dns::Action;
use dnseal_core::dns::Applied;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::Outcome;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::Receipt;
use dnseal_core::dns::TxtChange;
use dnseal_core::dns::TxtValue;
use dnseal_core::dns::Zone;
use serde_json::Value;
use serde_json::json;

use crate::cloudflare::Cloudflare;
use crate::cloudflare::api::CallError;
use crate::cloudflare::api::Refusal;
use crate::cloudflare::config::LEAST_TTL;
use crate::cloudflare::config::MOST_TTL;
use crate::cloudflare::content;
use crate::cloudflare::errors;
use crate::cloudflare::errors::Doing;
use crate::cloudflare::records;
use crate::cloudflare::records::Records;
use crate::cloudflare::zones::FREE;
use crate::cloudflare::zones::PAID;

impl Cloudflare {
    pub(super) async fn apply_all(
        &self,
        zone: &Zone,
        changes: &[TxtChange],
    ) -> Result<Applied, ProviderError> {
        let mut run = Run {
            cloudflare: self,
            known: Records::default(),
            refusals: 0,
            wanted: wanted(zone, changes),
            zone,
        };
        match run.go().await {
            Ok(()) => {}
            Err(error) => {
                let error = self
                    .records
                    .explain(error, Doing::Records(&zone.name))
                    .await;
                if matches!(error, ProviderError::Misconfigured { .. }) {
                    self.zones.forget().await;
                }
                return Err(error);
            }
        }
        let by_key: HashMap<(&DomainName, &TxtValue), &Outcome> = run
            .wanted
            .iter()
            .filter_map(|want| {
                Some((
                    (&want.change.owner, &want.change.value),
                    want.outcome.as_ref()?,
                ))
            })
            .collect();
        let outcomes = changes
            .iter()
            .map(|change| match by_key.get(&(&change.owner, &change.value)) {
                Some(outcome) => (*outcome).clone(),
                None => Outcome::Unknown {
                    reason: "it was not sent".to_owned(),
                },
            })
            .collect();
        Ok(Applied {
            outcomes,
            receipt: Receipt::default(),
        })
    }

    fn batch_limit(&self, zone: &Zone) -> Option<usize> {
        self.limits().get(&zone.id).copied()
    }
}

/// One call of `apply`.
struct Run<'a> {
    cloudflare: &'a Cloudflare,
    /// What the zone was seen to have.
    known: Records,
    refusals: usize,
    wanted: Vec<Want<'a>>,
    zone: &'a Zone,
}

/// One change, and what became of it.
struct Want<'a> {
    change: &'a TxtChange,
    outcome: Option<Outcome>,
}

/// Changes that go together, by their places.
struct Part {
    /// How often the zone was read again for it.
    rereads: u32,
    wants: Vec<usize>,
}

impl Run<'_> {
    async fn go(&mut self) -> Result<(), CallError> {
        let open: Vec<usize> = self.open(0..self.wanted.len()).collect();
        let removals = open
            .iter()
            .copied()
            .filter(|&at| self.is_removal(at))
            .collect::<Vec<usize>>();
        self.read(&removals).await?;

        let mut parts = vec![Part {
            rereads: 0,
            wants: open,
        }];
        while let Some(part) = parts.pop() {
            let wants = self.leave_out_satisfied(&part.wants);
            if wants.is_empty() {
                continue;
            }
            if !self.cloudflare.batches.load(Ordering::Relaxed) || part.rereads > REREADS {
                self.one_by_one(&wants).await?;
                continue;
            }
            let most = self.cloudflare.batch_limit(self.zone).unwrap_or(PAID);
            if wants.len() > most {
                let whole = wants.chunks(most).rev();
                parts.extend(whole.map(|chunk| Part {
                    rereads: part.rereads,
                    wants: chunk.to_vec(),
                }));
                continue;
            }
            match self.send(&wants).await {
                Ok(()) => self.settle(&wants, &Outcome::Applied { handle: None }),
                Err(CallError::Refused(refusal)) => {
                    let part = Part {
                        rereads: part.rereads,
                        wants,
                    };
                    self.refused(&refusal, part, &mut parts).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Decides what to do about a refused batch: read again, send less, or give up on a change.
    async fn refused(
        &mut self,
        refusal: &Refusal,
        part: Part,
        parts: &mut Vec<Part>,
    ) -> Result<(), CallError> {
        let wants = part.wants;
        let status = refusal.status.as_u16();
        if refusal.has(&errors::EXISTS) || refusal.has(&errors::GONE) {
            self.read(&wants).await?;
            if part.rereads > 0 {
                // Somebody changes the same records at the same time.
                tokio::time::sleep(BREATH.mul_f64(rand::random())).await;
            }
            parts.push(Part {
                rereads: part.rereads + 1,
                wants,
            });
            return Ok(());
        }
        // The API without the batch address says that there is no route, or no such method, for it.
        if matches!(status, 404 | 405) || refusal.has(&[7000, 7003, 10405]) {
            tracing::debug!(%refusal, "no batches here");
            self.one_by_one(&wants).await?;
            self.cloudflare.batches.store(false, Ordering::Relaxed);
            return Ok(());
        }
        if !matches!(status, 400 | 409 | 413 | 422) || refusal.has(AUTHENTICATION) {
            return Err(CallError::Refused(Refusal {
                faults: refusal.faults.clone(),
                status: refusal.status,
            }));
        }
        if let Some(most) = self.too_many(refusal, wants.len()) {
            tracing::debug!(zone = %self.zone.name, most, %refusal, "learned how many changes fit");
            self.cloudflare.limits().insert(self.zone.id.clone(), most);
            // What was cut to the wrong size is cut again.
            let fresh = parts.extract_if(.., |other| other.rereads == part.rereads);
            let mut pieces: Vec<Vec<usize>> = fresh.map(|other| other.wants).collect();
            pieces.push(wants);
            pieces.reverse();
            parts.push(Part {
                rereads: part.rereads,
                wants: pieces.concat(),
            });
            return Ok(());
        }
        self.refusals += 1;
        let (removals, adds): (Vec<usize>, Vec<usize>) =
            wants.iter().copied().partition(|&at| self.is_removal(at));
        let full = refusal.has(&[errors::QUOTA]) && removals.is_empty();
        if wants.len() == 1 || full || self.refusals > MOST_REFUSALS {
            self.settle(&wants, &refused(refusal));
            return Ok(());
        }
        let (first, second) = match (removals.is_empty(), adds.is_empty()) {
            (false, false) => (removals, adds),
            _ => {
                let (left, right) = wants.split_at(wants.len() / 2);
                (left.to_vec(), right.to_vec())
            }
        };
        for wants in [second, first] {
            parts.push(Part {
                rereads: part.rereads,
                wants,
            });
        }
        Ok(())
    }

    /// How many changes to send from now on, if there were too many.
    fn too_many(&self, refusal: &Refusal, sent: usize) -> Option<usize> {
        if refusal.has(&[errors::QUOTA]) {
            return None;
        }
        let numbers = refusal
            .faults
            .iter()
            .flat_map(|fault| numbers(&fault.message));
        let about_size = refusal.status.as_u16() == 413
            || (["batch", "operations", "changes"]
                .iter()
                .any(|w| refusal.says(w))
                && ["limit", "maximum", "exceed", "too many", "at most"]
                    .iter()
                    .any(|w| refusal.says(w)));
        match about_size {
            true => Some(
                numbers
                    .filter(|number| (1..sent).contains(number))
                    .max()
                    .unwrap_or((sent / 2).max(1)),
            )
            .filter(|most| *most < sent),
            // The words for it are not documented; what every plan takes is.
            false => (sent > FREE).then_some(FREE),
        }
    }

    async fn send(&self, wants: &[usize]) -> Result<(), CallError> {
        let mut body = serde_json::Map::new();
        let deletes: Vec<Value> = wants
            .iter()
            .filter(|&&at| self.is_removal(at))
            .flat_map(|&at| self.ids(at))
            .map(|id| json!({ "id": id }))
            .collect();
        let posts: Vec<Value> = wants
            .iter()
            .filter(|&&at| !self.is_removal(at))
            .map(|&at| self.record(at))
            .collect();
        let counts = (deletes.len(), posts.len());
        for (key, list) in [("deletes", deletes), ("posts", posts)] {
            if !list.is_empty() {
                body.insert(key.to_owned(), Value::Array(list));
            }
        }
        let path = ["zones", &self.zone.id, "dns_records", "batch"];
        let api = &self.cloudflare.records;
        api.post::<Value>(&path, &Value::Object(body)).await?;
        tracing::debug!(zone = %self.zone.name, removed = counts.0, added = counts.1, "changed");
        Ok(())
    }

    async fn one_by_one(&mut self, wants: &[usize]) -> Result<(), CallError> {
        let api = &self.cloudflare.records;
        for &at in wants {
            let mut result = Ok(());
            if self.is_removal(at) {
                for id in self.ids(at) {
                    let path = ["zones", &self.zone.id, "dns_records", &id];
                    result = match api.delete(&path).await {
                        Err(CallError::Refused(refusal)) if refusal.has(&errors::GONE) => Ok(()),
                        other => other,
                    };
                    if result.is_err() {
                        break;
                    }
                }
            } else {
                let path = ["zones", &self.zone.id, "dns_records"];
                result = match api.post::<Value>(&path, &self.record(at)).await {
                    Err(CallError::Refused(refusal)) if refusal.has(&errors::EXISTS) => Ok(()),
                    other => other.map(drop),
                };
            }
            match result {
                Ok(()) => self.settle(&[at], &Outcome::Applied { handle: None }),
                Err(CallError::Refused(refusal))
                    if matches!(refusal.status.as_u16(), 400 | 409 | 422)
                        && !refusal.has(AUTHENTICATION) =>
                {
                    self.settle(&[at], &refused(&refusal));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what the zone has at the owners of these changes.
    async fn read(&mut self, wants: &[usize]) -> Result<(), CallError> {
        let owners: BTreeSet<DomainName> = wants
            .iter()
            .filter_map(|&at| self.wanted.get(at))
            .map(|want| want.change.owner.clone())
            .collect();
        if !owners.is_empty() {
            let newer = records::read(&self.cloudflare.records, self.zone, &owners).await?;
            self.known.update(newer);
        }
        Ok(())
    }

    /// Settles the changes that the zone shows already, and gives back the others.
    fn leave_out_satisfied(&mut self, wants: &[usize]) -> Vec<usize> {
        let mut rest = Vec::with_capacity(wants.len());
        for &at in wants {
            let Some(want) = self.wanted.get_mut(at) else {
                continue;
            };
            let there = self.known.has(&want.change.owner, &want.change.value);
            match (want.change.action, there) {
                (Action::Add, true) | (Action::Remove, false) => {
                    want.outcome = Some(Outcome::Applied { handle: None });
                }
                (Action::Add, false) | (Action::Remove, true) => rest.push(at),
            }
        }
        rest
    }

    fn settle(&mut self, wants: &[usize], outcome: &Outcome) {
        for &at in wants {
            if let Some(want) = self.wanted.get_mut(at) {
                want.outcome = Some(outcome.clone());
            }
        }
    }

    fn open(&self, places: impl Iterator<Item = usize>) -> impl Iterator<Item = usize> {
        places.filter(|&at| {
            self.wanted
                .get(at)
                .is_some_and(|want| want.outcome.is_none())
        })
    }

    fn is_removal(&self, at: usize) -> bool {
        self.wanted
            .get(at)
            .is_some_and(|want| want.change.action == Action::Remove)
    }

    fn ids(&self, at: usize) -> Vec<String> {
        self.wanted
            .get(at)
            .map(|want| self.known.ids(&want.change.owner, &want.change.value))
            .unwrap_or_default()
    }

    fn record(&self, at: usize) -> Value {
        let Some(Want { change, .. }) = self.wanted.get(at) else {
            return Value::Null;
        };
        let ttl = match change.ttl {
            ttl if ttl < LEAST_TTL => self.cloudflare.ttl,
            ttl => ttl.min(MOST_TTL),
        };
        json!({
            "comment": COMMENT,
            "content": content::quoted(&change.value),
            "name": change.owner.as_str(),
            "ttl": ttl,
            "type": "TXT",
        })
    }
}

/// Each value once, with the last word about it; what cannot be sent is refused here.
fn wanted<'a>(zone: &Zone, changes: &'a [TxtChange]) -> Vec<Want<'a>> {
    let mut wanted: Vec<Want<'a>> = Vec::with_capacity(changes.len());
    let mut places: HashMap<(&DomainName, &TxtValue), usize> = HashMap::new();
    for change in changes {
        let known = places.get(&(&change.owner, &change.value)).copied();
        if let Some(want) = known.and_then(|at| wanted.get_mut(at)) {
            want.change = change;
            continue;
        }
        places.insert((&change.owner, &change.value), wanted.len());
        // The API would put the zone's name behind it and call that a success.
        let outcome = (!change.owner.is_within(&zone.name)).then(|| Outcome::Refused {
            reason: format!("{} is not in the zone {}", change.owner, zone.name),
        });
        wanted.push(Want { change, outcome });
    }
    wanted
}

fn refused(refusal: &Refusal) -> Outcome {
    Outcome::Refused {
        reason: match errors::hint(refusal) {
            Some(hint) => format!("{refusal}; {hint}"),
            None => refusal.to_string(),
        },
    }
}

fn numbers(text: &str) -> Vec<usize> {
    text.replace(',', "")
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

/// What people see beside the record, wherever they look at the zone.
pub(super) const COMMENT: &str = "dnseal";
/// Refusals that have nothing to do with the changes.
const AUTHENTICATION: &[i64] = &[1000, 6003, 6103, 6111, 9103, 9106, 9109, 10000];
/// How often a batch is sent again after reading, before its changes go one by one.
const REREADS: u32 = 3;
/// Refused batches after which the rest is taken for refused too: enough for some bad names among hundreds.
const MOST_REFUSALS: usize = 40;
/// At most how long to wait for somebody else who changes the same records.
const BREATH: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_words() {
        assert_eq!(
            numbers("batch of 3,600 changes exceeds the maximum of 3500."),
            [3600, 3500]
        );
    }
}
