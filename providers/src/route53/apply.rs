//! A batch of changes of one zone, until each has its outcome.
//!
//! Read, plan, write, and read again what was refused: what has changed was written by somebody else, and is planned anew after a
//! random pause; what has not is refused for good, and the rest of its batch goes on without it. A refusal names the record sets
//! it is about; one that names none is halved until it stands for one owner.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::time::Duration;

use aws_sdk_route53::types::ChangeBatch;
use dnseal_core::dns::Action;
use dnseal_core::dns::Applied;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::Outcome;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::Receipt;
use dnseal_core::dns::TxtChange;
use dnseal_core::dns::Zone;
use tokio::time::Instant;

use crate::route53::change;
use crate::route53::change::Plan;
use crate::route53::change::Swap;
use crate::route53::change::Wish;
use crate::route53::client;
use crate::route53::client::Client;
use crate::route53::errors;
use crate::route53::refusal;
use crate::route53::refusal::Refusal;
use crate::route53::rrset;
use crate::route53::rrset::Standing;

/// Changes of one zone on their way.
pub(super) struct Work<'a> {
    client: &'a Client,
    open: BTreeMap<DomainName, Vec<Wish<'a>>>,
    outcomes: Vec<Option<Outcome>>,
    receipt: Receipt,
    /// How often an owner was refused as changed, and was found unchanged.
    riddles: HashMap<DomainName, usize>,
    zone: &'a Zone,
}

impl<'a> Work<'a> {
    pub(super) fn new(client: &'a Client, zone: &'a Zone, changes: &'a [TxtChange]) -> Self {
        let mut open: BTreeMap<DomainName, Vec<Wish<'a>>> = BTreeMap::new();
        let mut outcomes = Vec::with_capacity(changes.len());
        for (place, change) in changes.iter().enumerate() {
            let refused = change::unfit(&zone.name, change);
            if refused.is_none() {
                open.entry(change.owner.clone())
                    .or_default()
                    .push(Wish { change, place });
            }
            outcomes.push(refused.map(|reason| Outcome::Refused { reason }));
        }
        Self {
            client,
            open,
            outcomes,
            receipt: Receipt::default(),
            riddles: HashMap::new(),
            zone,
        }
    }

    /// Works until nothing is open, or nobody has patience any more.
    pub(super) async fn finish(mut self) -> Result<Applied, ProviderError> {
        let _alone = self.client.lock(&self.zone.id).await;
        let began = Instant::now();
        for round in 0.. {
            if self.open.is_empty() {
                break;
            }
            if round > 0 {
                if began.elapsed() > PATIENCE {
                    self.give_up()?;
                    break;
                }
                tokio::time::sleep(client::jittered(round - 1)).await;
            }
            self.round(round == 0).await?;
        }
        Ok(Applied {
            outcomes: self
                .outcomes
                .into_iter()
                .map(|outcome| {
                    outcome.unwrap_or_else(|| Outcome::Unknown {
                        reason: "nobody looked at it, which is a bug".to_owned(),
                    })
                })
                .collect(),
            receipt: self.receipt,
        })
    }

    /// Reads every open owner and tries to change each once.
    async fn round(&mut self, first: bool) -> Result<(), ProviderError> {
        let standing = match first {
            true => rrset::read_all(self.client, &self.zone.id, self.open.keys()).await?,
            false => self.read(self.open.keys()).await?,
        };
        let mut swaps = Vec::new();
        let owners: Vec<DomainName> = self.open.keys().cloned().collect();
        for owner in owners {
            let Some(wishes) = self.open.get(&owner) else {
                continue;
            };
            let seen = standing.get(&owner).unwrap_or(&Standing::Nothing);
            match change::plan(&owner, seen, wishes) {
                Plan::Satisfied => self.close(&owner, &Outcome::Applied { handle: None }),
                Plan::Swap(swap) => swaps.push(swap),
                Plan::Unfit(reason) => self.close(&owner, &Outcome::Refused { reason }),
            }
        }
        let mut batches = VecDeque::from(change::batches(swaps));
        while let Some(batch) = batches.pop_front() {
            if batch.is_empty() {
                continue;
            }
            match self.submit(&batch).await? {
                Submitted::Done(id) => {
                    tracing::debug!(zone = %self.zone.name, change = id, owners = batch.len(), "changed");
                    self.receipt.0.push(id);
                    for swap in &batch {
                        let handle = swap.handle();
                        self.close(&swap.owner, &Outcome::Applied { handle });
                    }
                }
                Submitted::Refused(refusal) => {
                    batches.extend(self.sort_out(batch, &refusal).await?);
                }
            }
        }
        Ok(())
    }

    /// Finds out whom a refusal was about, and gives back what can be tried at once.
    async fn sort_out(
        &mut self,
        batch: Vec<Swap>,
        refusal: &Refusal,
    ) -> Result<Vec<Vec<Swap>>, ProviderError> {
        let named = |swap: &&Swap| refusal.about(&swap.owner).is_some();
        let mut suspects: Vec<&Swap> = batch.iter().filter(named).collect();
        let blamed = !suspects.is_empty() || batch.len() == 1;
        if suspects.is_empty() {
            suspects = batch.iter().collect();
        }
        let now = self.read(suspects.iter().map(|swap| &swap.owner)).await?;
        let (unmoved, moved): (Vec<&Swap>, Vec<&Swap>) = suspects
            .into_iter()
            .partition(|swap| now.get(&swap.owner) == Some(&swap.read()));
        let owners = |swaps: Vec<&Swap>| swaps.into_iter().map(|s| s.owner.clone()).collect();
        let (unmoved, moved): (Vec<DomainName>, Vec<DomainName>) = (owners(unmoved), owners(moved));
        if !blamed && moved.is_empty() {
            let mut left = batch;
            let right = left.split_off(left.len() / 2);
            return Ok(vec![left, right]);
        }
        for owner in unmoved.iter().filter(|_| blamed) {
            let said = refusal.about(owner).unwrap_or(&refusal.words);
            // It may have changed and changed back; then it is not refused, only late.
            let late = refusal::is_conflict(said) && {
                let count = self.riddles.entry(owner.clone()).or_default();
                *count += 1;
                *count < MOST_RIDDLES
            };
            if !late {
                let reason = format!("{} refused: {said}", self.client.endpoint);
                self.close(owner, &Outcome::Refused { reason });
            }
        }
        tracing::debug!(zone = %self.zone.name, moved = moved.len(), "somebody else wrote");
        // Whoever was not at fault goes on at once; the others wait for the next round.
        let innocent = batch
            .into_iter()
            .filter(|swap| {
                let guilty = blamed && unmoved.contains(&swap.owner);
                !guilty && !moved.contains(&swap.owner)
            })
            .collect();
        Ok(vec![innocent])
    }

    async fn submit(&self, batch: &[Swap]) -> Result<Submitted, ProviderError> {
        const ACTION: &str = "ChangeResourceRecordSets";
        let zone = self.zone.id.as_str();
        let unwritable = |reason: String| ProviderError::Refused {
            detail: format!("the request could not be written: {reason}"),
            endpoint: self.client.endpoint.clone(),
            hint: None,
        };
        let mut changes = Vec::with_capacity(batch.len() * 2);
        for swap in batch {
            changes.extend(swap.to_sdk().map_err(unwritable)?);
        }
        let changes = ChangeBatch::builder()
            .comment(COMMENT)
            .set_changes(Some(changes))
            .build()
            .map_err(|e| unwritable(e.to_string()))?;
        let sent = self
            .client
            .send(ACTION, |sdk| {
                sdk.change_resource_record_sets()
                    .hosted_zone_id(zone)
                    .change_batch(changes.clone())
                    .send()
            })
            .await;
        match sent {
            Ok(answer) => Ok(Submitted::Done(
                answer
                    .change_info()
                    .map(|info| info.id().rsplit('/').next().unwrap_or_default().to_owned())
                    .unwrap_or_default(),
            )),
            Err(error) if errors::code(&error) == "InvalidChangeBatch" => {
                Ok(Submitted::Refused(Refusal::of(&error)))
            }
            Err(error) => Err(self.client.asked(ACTION, Some(zone)).failed(&error)),
        }
    }

    async fn read(
        &self,
        owners: impl Iterator<Item = &DomainName>,
    ) -> Result<HashMap<DomainName, Standing>, ProviderError> {
        let mut found = HashMap::new();
        for owner in owners {
            let standing = rrset::read(self.client, &self.zone.id, owner).await?;
            found.insert(owner.clone(), standing);
        }
        Ok(found)
    }

    fn close(&mut self, owner: &DomainName, outcome: &Outcome) {
        for wish in self.open.remove(owner).unwrap_or_default() {
            let outcome = match (outcome, wish.change.action) {
                // Only what was added has something to give back.
                (Outcome::Applied { .. }, Action::Remove) => Outcome::Applied { handle: None },
                _ => outcome.clone(),
            };
            if let Some(place) = self.outcomes.get_mut(wish.place) {
                *place = Some(outcome);
            }
        }
    }

    fn give_up(&mut self) -> Result<(), ProviderError> {
        let owners: Vec<DomainName> = self.open.keys().cloned().collect();
        let detail = format!(
            "others kept changing {} for {} s",
            owners
                .first()
                .map_or_else(String::new, DomainName::to_string),
            PATIENCE.as_secs()
        );
        if self.outcomes.iter().all(Option::is_none) {
            return Err(ProviderError::Conflict {
                detail,
                endpoint: self.client.endpoint.clone(),
                zone: self.zone.name.clone(),
            });
        }
        for owner in owners {
            let reason = detail.clone();
            self.close(&owner, &Outcome::Unknown { reason });
        }
        Ok(())
    }
}

enum Submitted {
    Done(String),
    Refused(Refusal),
}

/// Shown with each change in the account's logs.
const COMMENT: &str = "dnseal";
/// An owner that is refused as changed so often, and never seen to change, is refused for another reason.
const MOST_RIDDLES: usize = 4;
/// A name that others never leave alone for so long is the zone's writer's to come back to.
const PATIENCE: Duration = Duration::from_secs(60);
