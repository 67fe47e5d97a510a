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
use super::by_hand::patience;
use super::expiry::Deadline;
use super::give_back::refused;
use super::gone::Left;
use super::publish::How;
use super::publish::Settling;
use super::publish::Target;
use super::publish::publish;
use super::publish::withdraw;
use super::publish::withdraw_with;
use super::turns::Turns;
use super::walk::Walk;
use super::waves::Judged;
use super::waves::Rooms;
use super::waves::waves;
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
use crate::store::Published;
use crate::store::ZoneNotes;

/// What the waves of one order share.
struct Proving<'a> {
    account: &'a Account,
    deadline: Deadline,
    order: Order,
    /// What earlier runs have written down.
    published: Vec<Published>,
    turns: Turns,
}

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
                match self.engine.zones.place_to_prove(&owner).await {
                    Ok(place) => Ok((owner, place)),
                    Err(source) => Err((identifier, source)),
                }
            })
            .buffer_unordered(CONCURRENT_LOOKUPS);
        // Where names may be left out, all that fail have to be known; and a person who has to do something about names hears of
        // all of them at once. Else the first is enough.
        let all = self.request.options.allow_subset;
        let looking = async {
            let mut looking = std::pin::pin!(looking);
            let mut places: BTreeMap<DomainName, Place> = BTreeMap::new();
            let mut failed: Vec<(Identifier, PlaceError)> = Vec::new();
            while let Some(looked) = looking.next().await {
                match looked {
                    Ok((owner, place)) => drop(places.insert(owner, place)),
                    Err(failure) => {
                        let goes_on = all || failure.1.alias().is_some();
                        failed.push(failure);
                        if !goes_on {
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
                authorization: authorization.url,
                key_authorization: account.key_authorization(&challenge.token),
                value: account.txt_value(&challenge.token),
                place: place.clone(),
                challenge,
                identifier,
            });
        }

        self.withdraw_stale(&targets).await?;
        let owners = Turns::needed(targets.iter().map(|target| &target.place));
        // Whoever waits for a turn does not let others wait for what it brings.
        let announcement = Some(announcement).filter(|_| owners.is_empty());
        let turns = Turns::take(
            self.engine,
            owners,
            self.request.timeouts.lock,
            self.events,
            self.cancel,
        )
        .await?;
        let proving = Proving {
            account,
            deadline,
            order,
            published: self.session.head().await.published,
            turns,
        };
        let proven = self.prove_in_waves(&proving, targets, announcement).await;
        self.end_turns(proving.turns, proven.as_ref().err()).await;
        proven
    }

    async fn prove_in_waves(
        &self,
        proving: &Proving<'_>,
        targets: Vec<Target>,
        mut announcement: Option<Announcement>,
    ) -> Result<Order, IssueError> {
        let rooms = self.rooms(&targets).await;
        let waves = waves(targets.clone(), &rooms, &proving.published);
        let count = waves.len();
        let mut judged = Judged::default();
        for (at, wave) in waves.into_iter().enumerate() {
            if count > 1 {
                self.events.emit(What::Wave {
                    number: at + 1,
                    of: count,
                    values: wave.len(),
                });
            }
            let announcement = announcement.take();
            self.show(proving, &wave, announcement, &judged).await?;
            if at + 1 == count {
                break;
            }
            self.hear(proving, &wave).await?;
            judged.note(&wave);
            self.make_room(&wave, &rooms, &proving.turns).await?;
        }
        self.await_order(proving, &targets).await
    }

    /// Writes the values of a wave, sees them everywhere, and answers.
    async fn show(
        &self,
        proving: &Proving<'_>,
        wave: &[Target],
        announcement: Option<Announcement>,
        judged: &Judged,
    ) -> Result<(), IssueError> {
        let mut proven_elsewhere = false;
        if wave.is_empty() {
            drop(announcement);
        } else {
            self.events.stage(Stage::Publish);
            let receipts = publish(
                self.engine,
                self.session,
                wave,
                announcement,
                self.events,
                self.cancel,
            )
            .await?;
            self.engine.reached(Checkpoint::DnsWritten).await;
            let by_hand = wave.iter().any(|target| patience(target).is_some());
            match by_hand {
                true => {
                    self.see_by_hand(wave, receipts, &proving.published, &proving.deadline)
                        .await?;
                }
                false => {
                    let propagation = self.propagate(wave, receipts, None);
                    let elsewhere =
                        self.until_proven_elsewhere(proving.account, &proving.order.url);
                    tokio::select! {
                        visible = proving.deadline.ends(propagation) => visible?,
                        () = elsewhere => proven_elsewhere = true,
                    }
                }
            }
            self.outlive(wave, judged).await?;
            self.engine.reached(Checkpoint::Propagated).await;
        }

        self.events.stage(Stage::Validate);
        if !proven_elsewhere {
            let challenges: Vec<_> = wave.iter().map(|t| t.challenge.clone()).collect();
            proving.account.answer(&challenges, self.cancel).await?;
            for target in wave {
                self.progress(&target.identifier, Step::Answered);
            }
        }
        self.engine.reached(Checkpoint::Answered).await;
        Ok(())
    }

    /// Waits until the CA has judged a wave that is not the last.
    async fn hear(&self, proving: &Proving<'_>, wave: &[Target]) -> Result<(), IssueError> {
        let wait = self.verdict_wait(proving);
        let urls: Vec<String> = wave.iter().map(|t| t.authorization.clone()).collect();
        let heard = proving
            .account
            .await_judged(&proving.order.url, &urls, &wait)
            .await;
        heard.map_err(|source| self.not_proven(proving, wave, source))?;
        for target in wave {
            self.progress(&target.identifier, Step::Valid);
        }
        Ok(())
    }

    /// Waits until the CA has judged all, and has made its mind up about the order.
    async fn await_order(
        &self,
        proving: &Proving<'_>,
        targets: &[Target],
    ) -> Result<Order, IssueError> {
        let wait = self.verdict_wait(proving);
        let ready = proving.account.await_ready(&proving.order.url, &wait).await;
        let order = ready.map_err(|source| self.not_proven(proving, targets, source))?;
        self.remember_settling(targets).await;
        for target in targets {
            self.progress(&target.identifier, Step::Valid);
        }
        Ok(order)
    }

    fn verdict_wait(&self, proving: &Proving<'_>) -> Wait {
        proving.deadline.shortens(Wait {
            deadline: self.request.timeouts.validation,
            cancel: self.cancel.clone(),
        })
    }

    fn not_proven(
        &self,
        proving: &Proving<'_>,
        targets: &[Target],
        source: OrderError,
    ) -> IssueError {
        if matches!(source, OrderError::TimedOut { .. }) && proving.deadline.is_over() {
            return proving.deadline.named(source);
        }
        for (identifier, _) in source.refused_names() {
            self.progress(&identifier, Step::Failed);
        }
        let ttl = targets.iter().map(|t| t.place.ttl()).max();
        IssueError::Validation { source, ttl }
    }

    /// Takes out what a wave has left where the next one needs the room.
    async fn make_room(
        &self,
        wave: &[Target],
        rooms: &Rooms,
        turns: &Turns,
    ) -> Result<(), IssueError> {
        let limited = |value: &Published| {
            let spot = (value.provider.clone(), value.owner.clone());
            rooms.contains_key(&spot) && wave.iter().any(|t| t.value == value.value)
        };
        let mut values = self.session.head().await.published;
        values.retain(limited);
        let left = self.withdraw_in(turns, values).await?;
        // What is still served may be on its way out, and is tried again at the end.
        match left.failed {
            0 => Ok(()),
            values => Err(IssueError::LeftInDns {
                id: self.request.id.clone(),
                values,
            }),
        }
    }

    /// Withdraws what stands where others wait for their turn, and lets them have it. What goes wrong is a warning.
    async fn end_turns(&self, turns: Turns, error: Option<&IssueError>) {
        if turns.is_empty() {
            return;
        }
        let head = self.session.head().await;
        let refused = match error {
            Some(IssueError::Write { errors }) => refused(&head, errors),
            _ => Vec::new(),
        };
        let mut values = head.published;
        values.retain(|value| turns.hold(&value.owner));
        if values.is_empty() {
            return;
        }
        self.events.stage(Stage::Withdraw);
        let how = How {
            refused,
            turns: Some(&turns),
            ..How::default()
        };
        let withdrawal = withdraw_with(
            self.engine,
            self.session,
            values,
            how,
            &self.limit,
            self.events,
        );
        if let Err(error) = withdrawal.await {
            self.events.warn(error.to_string(), error.hint());
        }
    }

    async fn withdraw_in(&self, turns: &Turns, values: Vec<Published>) -> Result<Left, IssueError> {
        let how = How {
            turns: Some(turns),
            ..How::default()
        };
        withdraw_with(
            self.engine,
            self.session,
            values,
            how,
            &self.limit,
            self.events,
        )
        .await
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
            withdraw(self.engine, self.session, stale, &self.limit, self.events).await?;
        }
        Ok(())
    }

    /// Waits until the values are seen; `at_most` is another time for that than usual.
    pub(super) async fn propagate(
        &self,
        targets: &[Target],
        settling: Vec<Settling>,
        at_most: Option<Duration>,
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
            .await_visible(wanted, vouched, (settle, at_most), self.cancel, tell)
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
