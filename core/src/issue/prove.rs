//! From names to a ready order: where each challenge lives, writing its value, seeing it everywhere, answering.
//!
//! Places are found before anything is ordered. A value is in the head before it is in DNS, and no challenge is answered
//! before the name servers have shown its value.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;

use super::Checkpoint;
use super::IssueError;
use super::expiry::Deadline;
use super::publish::Settling;
use super::publish::Target;
use super::publish::publish;
use super::publish::withdraw;
use super::walk::Walk;
use crate::acme::Account;
use crate::acme::Authorization;
use crate::acme::AuthorizationStatus;
use crate::acme::Order;
use crate::acme::OrderError;
use crate::acme::OrderStatus;
use crate::acme::Pairing;
use crate::acme::Wait;
use crate::dns::Announcement;
use crate::dns::DomainName;
use crate::dns::Identifier;
use crate::dns::Place;
use crate::dns::PlaceError;
use crate::dns::Proven;
use crate::dns::Wanted as WantedValues;
use crate::event::Stage;
use crate::event::Step;
use crate::event::What;
use crate::store::ZoneNotes;

impl Walk<'_> {
    /// Where each name's value goes; found out before anything is ordered.
    pub(super) async fn places(&self) -> Result<BTreeMap<Identifier, Place>, IssueError> {
        self.events.stage(Stage::Locate);
        let names = self.names();
        // A name and its wildcard have one challenge name.
        let mut owners: BTreeMap<DomainName, Identifier> = BTreeMap::new();
        for name in &names {
            owners
                .entry(name.challenge_owner())
                .or_insert_with(|| name.clone());
        }
        let looking = futures::stream::iter(owners)
            .map(|(owner, identifier)| async move {
                match self.engine.zones.place(&owner).await {
                    Ok(place) => Ok((owner, place)),
                    Err(source) => Err((identifier, source)),
                }
            })
            .buffer_unordered(CONCURRENT_LOOKUPS);
        // Where names may be left out, all that fail have to be known; else the first is enough.
        let all = self.request.options.allow_subset;
        let looking = async {
            let mut looking = std::pin::pin!(looking);
            let mut places: BTreeMap<DomainName, Place> = BTreeMap::new();
            let mut failed: Vec<(Identifier, PlaceError)> = Vec::new();
            while let Some(looked) = looking.next().await {
                match looked {
                    Ok((owner, place)) => drop(places.insert(owner, place)),
                    Err(failure) => {
                        failed.push(failure);
                        if !all {
                            break;
                        }
                    }
                }
            }
            (places, failed)
        };
        let (places, failed) = tokio::select! {
            looked = looking => looked,
            () = self.cancel.cancelled() => return Err(IssueError::Cancelled),
        };
        if let Some(error) = not_placed(failed, &names) {
            return Err(error);
        }
        let mut found = BTreeMap::new();
        for name in &names {
            if let Some(place) = places.get(&name.challenge_owner()) {
                self.events.emit(What::Located {
                    identifier: name.clone(),
                    owner: place.location.owner.clone(),
                    zone: place.zone.name.clone(),
                    provider: place.provider.name.clone(),
                });
                if let Some(doubt) = &place.doubt {
                    self.events.warn(doubt.message.clone(), doubt.hint.clone());
                }
                if let Some(target) = &place.location.wildcard {
                    self.events.warn(
                        format!("{} is no delegation: a wildcard CNAME to {target} answers for every name there", name.challenge_owner()),
                        None,
                    );
                }
                found.insert(name.clone(), place.clone());
            }
        }
        self.remember_owners(&found);
        Ok(found)
    }

    /// From a pending order to one that is ready.
    pub(super) async fn prove(
        &self,
        account: &Account,
        order: Order,
        places: &BTreeMap<Identifier, Place>,
        announcement: Announcement,
    ) -> Result<Order, IssueError> {
        let authorizations = account.authorizations(&order.authorizations).await?;
        let mut targets = Vec::new();
        let deadline = Deadline::of(&order, self.events).or(first_to_expire(&authorizations));
        let pairing = Pairing::new(authorizations, &self.names());
        for identifier in &pairing.missing {
            // Approved beforehand; the order says so by becoming ready.
            self.progress(identifier, Step::AlreadyValid);
        }
        for (identifier, authorization) in pairing.pairs {
            match authorization.status {
                AuthorizationStatus::Valid => {
                    self.progress(&identifier, Step::AlreadyValid);
                    continue;
                }
                AuthorizationStatus::Pending => {}
                status => {
                    return Err(IssueError::Authorization {
                        identifier,
                        status: status.to_string(),
                        url: authorization.url,
                    });
                }
            }
            let (Some(challenge), Some(place)) = (authorization.dns01, places.get(&identifier))
            else {
                return Err(IssueError::NoDnsChallenge {
                    identifier,
                    others: authorization.others,
                    url: authorization.url,
                });
            };
            targets.push(Target {
                key_authorization: account.key_authorization(&challenge.token),
                value: account.txt_value(&challenge.token),
                place: place.clone(),
                challenge,
                identifier,
            });
        }

        self.withdraw_stale(&targets).await?;
        let mut proven_elsewhere = false;
        if targets.is_empty() {
            drop(announcement);
        } else {
            self.events.stage(Stage::Publish);
            let receipts = publish(
                self.engine,
                self.session,
                &targets,
                announcement,
                self.events,
                self.cancel,
            )
            .await?;
            self.engine.reached(Checkpoint::DnsWritten).await;
            let propagation = deadline.ends(self.propagate(&targets, receipts));
            tokio::select! {
                visible = propagation => visible?,
                () = self.until_proven_elsewhere(account, &order.url) => proven_elsewhere = true,
            }
            self.engine.reached(Checkpoint::Propagated).await;
        }

        self.events.stage(Stage::Validate);
        if !proven_elsewhere {
            let challenges: Vec<_> = targets.iter().map(|t| t.challenge.clone()).collect();
            account.answer(&challenges, self.cancel).await?;
            for target in &targets {
                self.progress(&target.identifier, Step::Answered);
            }
        }
        self.engine.reached(Checkpoint::Answered).await;
        let wait = Wait {
            deadline: self.request.timeouts.validation,
            cancel: self.cancel.clone(),
        };
        let wait = deadline.shortens(wait);
        match account.await_ready(&order.url, &wait).await {
            Ok(order) => {
                self.remember_settling(&targets).await;
                for target in &targets {
                    self.progress(&target.identifier, Step::Valid);
                }
                Ok(order)
            }
            Err(source @ OrderError::TimedOut { .. }) if deadline.is_over() => {
                deadline.names(Err(source))
            }
            Err(source) => {
                for (identifier, _) in source.refused_names() {
                    self.progress(&identifier, Step::Failed);
                }
                let ttl = targets.iter().map(|t| t.place.ttl()).max();
                Err(IssueError::Validation { source, ttl })
            }
        }
    }

    /// Comes back when the CA waits for no proof of the order any more.
    ///
    /// A CA hands the same pending order to jobs that share an account, and jobs without a disk in common have no lock in
    /// common. The other one answers, and withdraws the value that both have written: then nobody will ever see it again.
    async fn until_proven_elsewhere(&self, account: &Account, order: &str) {
        loop {
            tokio::time::sleep(self.request.timeouts.order_look).await;
            // What cannot be asked is asked again; the wait for the value has its own end.
            if let Ok(order) = account.order(order).await
                && order.status != OrderStatus::Pending
            {
                return;
            }
        }
    }

    /// How long changes of these zones take until the CA sees them from everywhere, as far as that was learned.
    async fn settling(&self, targets: &[Target]) -> Duration {
        let mut longest = Duration::from_secs(self.settling.load(Ordering::Relaxed));
        for zone in zones(targets) {
            // Advice that cannot be read is none.
            let known = ZoneNotes::settle(&*self.engine.store, zone).await;
            longest = longest.max(known.unwrap_or_default());
        }
        longest
    }

    /// Remembers how long it took, where it took longer than usual.
    async fn remember_settling(&self, targets: &[Target]) {
        let settle = Duration::from_secs(self.settling.load(Ordering::Relaxed));
        if settle.is_zero() {
            return;
        }
        for zone in zones(targets) {
            let written = ZoneNotes::remember(&*self.engine.store, zone, settle).await;
            if let Err(error) = written {
                self.events.warn(
                    format!("it could not be remembered that {zone} settles slowly: {error}"),
                    error.hint(),
                );
            }
        }
    }

    /// What an earlier run published and this one does not need leaves DNS at once.
    async fn withdraw_stale(&self, targets: &[Target]) -> Result<(), IssueError> {
        let mut stale = self.session.head().await.published;
        stale.retain(|p| {
            !targets.iter().any(|t| {
                t.value == p.value
                    && t.place.location.owner == p.owner
                    && t.place.zone == p.zone
                    && t.place.provider.name == p.provider
            })
        });
        if !stale.is_empty() {
            withdraw(self.engine, self.session, stale, self.limit(), self.events).await?;
        }
        Ok(())
    }

    async fn propagate(
        &self,
        targets: &[Target],
        settling: Vec<Settling>,
    ) -> Result<(), IssueError> {
        self.events.stage(Stage::Propagate);
        let mut by_owner: BTreeMap<DomainName, (WantedValues, Vec<Identifier>)> = BTreeMap::new();
        for target in targets {
            let owner = &target.place.location.owner;
            let (wanted, names) = by_owner.entry(owner.clone()).or_insert_with(|| {
                let wanted = WantedValues {
                    zone: target.place.location.zone.clone(),
                    owner: owner.clone(),
                    values: Vec::new(),
                };
                (wanted, Vec::new())
            });
            wanted.values.push(target.value.clone());
            names.push(target.identifier.clone());
        }
        let words = settling.iter().map(|change| {
            let (receipt, owners) = (&change.receipt, &change.owners);
            self.engine
                .zones
                .await_settled(&change.provider, receipt, owners, self.cancel)
        });
        let words = futures::future::try_join_all(words).await?;
        let vouched = settling
            .iter()
            .zip(words)
            .filter(|(_, settled)| *settled)
            .flat_map(|(change, _)| change.owners.clone())
            .collect();
        let wanted = by_owner
            .values()
            .map(|(wanted, _)| wanted.clone())
            .collect();
        let settle = targets.iter().map(|t| t.place.settle()).max();
        let settle = settle.unwrap_or_default().max(self.settling(targets).await);
        let tell = |proven: Proven| {
            for name in by_owner
                .get(&proven.owner)
                .map(|(_, names)| names)
                .into_iter()
                .flatten()
            {
                self.progress(name, Step::Visible);
            }
        };
        self.engine
            .zones
            .await_visible(wanted, vouched, settle, self.cancel, tell)
            .await?;
        Ok(())
    }
}

fn zones(targets: &[Target]) -> BTreeSet<&DomainName> {
    targets
        .iter()
        .map(|target| &target.place.zone.name)
        .collect()
}

/// When the first authorization that is still to be proven expires.
fn first_to_expire(authorizations: &[Authorization]) -> Option<Timestamp> {
    let pending = authorizations
        .iter()
        .filter(|authorization| authorization.status == AuthorizationStatus::Pending);
    pending
        .filter_map(|authorization| authorization.expires)
        .min()
}

/// The error about every name whose challenge has no place; a name and its wildcard share theirs.
fn not_placed(failed: Vec<(Identifier, PlaceError)>, names: &[Identifier]) -> Option<IssueError> {
    let mut failed = failed.into_iter();
    let (identifier, source) = failed.next()?;
    let mut others: Vec<(Identifier, PlaceError)> = Vec::new();
    for (name, source) in failed {
        others.push((name, source));
    }
    let mut known: Vec<Identifier> = others.iter().map(|(name, _)| name.clone()).collect();
    known.push(identifier.clone());
    let twins = names
        .iter()
        .filter(|name| !known.contains(name) && known.iter().any(|k| k.base() == name.base()))
        .cloned()
        .collect();
    Some(IssueError::Place {
        identifier,
        source,
        others,
        twins,
    })
}

/// Lookups in flight for one order; the servers of a zone see a part of them each.
const CONCURRENT_LOOKUPS: usize = 16;
