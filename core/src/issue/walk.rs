//! The walk itself, stage by stage.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_lc_rs::digest;
use futures::StreamExt;
use futures::TryStreamExt;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::Checkpoint;
use super::Engine;
use super::ErrorKind;
use super::IssueError;
use super::Issued;
use super::Request;
use super::account;
use super::account::account;
use super::certificate::KeyInTheMaking;
use super::publish::How;
use super::publish::Target;
use super::publish::publish;
use super::publish::withdraw;
use super::publish::withdraw_with;
use super::recover::Resumed;
use super::recover::recover;
use crate::acme::Account;
use crate::acme::AuthorizationStatus;
use crate::acme::Client;
use crate::acme::NewOrder;
use crate::acme::Order;
use crate::acme::OrderStatus;
use crate::acme::Pairing;
use crate::acme::Wait;
use crate::deploy::LiveFiles;
use crate::dns::Announcement;
use crate::dns::DomainName;
use crate::dns::Identifier;
use crate::dns::NamedProvider;
use crate::dns::Place;
use crate::dns::Proven;
use crate::dns::Receipt;
use crate::dns::Wanted as WantedValues;
use crate::event::Events;
use crate::event::Stage;
use crate::event::Step;
use crate::event::What;
use crate::store::Head;
use crate::store::HeadSession;
use crate::store::InFlight;
use crate::store::Key;
use crate::store::LockGuard;
use crate::store::LockName;
use crate::store::Version;
use crate::store::Wanted;
use crate::store::Worker;

/// Issues or keeps; holds the lock over the certificate throughout.
pub(super) async fn issue(
    engine: &Engine,
    request: &Request,
    cancel: &CancellationToken,
) -> Result<Issued, IssueError> {
    let events = engine.events.for_certificate(&request.id);
    events.stage(Stage::Prepare);
    engine.live.check()?;
    let _lock = engine
        .lock(
            &LockName::certificate(&request.id),
            request.timeouts.lock,
            &events,
            cancel,
        )
        .await?;
    engine.store.tidy(&Key::certificate(&request.id)).await?;

    let wanted = request.wanted();
    let (head, tag) = match Head::load(&*engine.store, &request.id).await? {
        Some((head, tag)) => (head, Some(tag)),
        None => (Head::new(request.id.clone(), wanted.clone()), None),
    };
    if let Some(current) = &head.current
        && !request.replace_names
        && !wanted.same_names(&current.names)
    {
        return Err(IssueError::NamesDiffer {
            asked: request.names.clone(),
            existing: current.names.clone(),
            id: request.id.clone(),
        });
    }
    let session = HeadSession::new(engine.store.clone(), head.clone(), tag);
    let walk = Walk {
        cancel,
        engine,
        events: &events,
        request,
        session: &session,
        wanted: &wanted,
    };

    if let Some(current) = &head.current
        && !request.force
        && head.order.is_none()
        && fits(current, &wanted)
        && Timestamp::now() < current.renew_at()
    {
        return walk.keep(current.clone(), &head).await;
    }
    let result = walk.obtain().await;
    if let Err(error) = &result {
        walk.end(error).await;
    }
    result
}

/// Whether a version is what is wanted now.
pub(super) fn fits(version: &Version, wanted: &Wanted) -> bool {
    wanted.same_names(&version.names)
        && version.key_type == wanted.key_type
        && version.profile == wanted.profile
        && version.directory == wanted.directory
}

pub(super) struct Walk<'a> {
    pub(super) cancel: &'a CancellationToken,
    pub(super) engine: &'a Engine,
    pub(super) events: &'a Events,
    pub(super) request: &'a Request,
    pub(super) session: &'a HeadSession,
    pub(super) wanted: &'a Wanted,
}

impl Walk<'_> {
    /// What is there is good: only leftovers are withdrawn and a missing projection is written.
    async fn keep(&self, version: Version, head: &Head) -> Result<Issued, IssueError> {
        if !head.published.is_empty() {
            self.events.stage(Stage::Withdraw);
            let values = head.published.clone();
            withdraw(self.engine, self.session, values, self.limit(), self.events).await?;
        }
        // Whoever it was is dead, and has come to an end.
        self.session.update(|head| head.worker = None).await?;
        let files = match self.engine.live.current(&self.request.id)? {
            Some(number) if number == version.number => self.engine.live.files(&self.request.id),
            _ => self.project(&version).await?,
        };
        self.events.stage(Stage::Done);
        Ok(self.issued(version, files, false))
    }

    async fn obtain(&self) -> Result<Issued, IssueError> {
        // From the start, because orders that begin together come to their changes at different times.
        let mut announcement = Some(self.engine.zones.announce());
        let (mut account, mut resumed, mut order_lock) = match self.prepare().await {
            Ok(prepared) => prepared,
            Err(error) => {
                // What an earlier run left in DNS is of no use to anybody, unless another certificate's run works with it.
                if error.kind() != ErrorKind::Locked {
                    self.withdraw_all().await;
                }
                return Err(error);
            }
        };
        let mut tried_again = false;
        let mut registered_again = false;
        let (version, announcement) = loop {
            let was_resumed = resumed.is_some();
            let announced = announcement
                .take()
                .unwrap_or_else(|| self.engine.zones.announce());
            let error = match self.order(&account, resumed.take(), announced).await {
                Ok(issued) => break issued,
                Err(error) => error,
            };
            self.clean_up(&account, &error, was_resumed).await;
            if error.is_unknown_account() && !registered_again {
                registered_again = true;
                self.events.warn(
                    format!(
                        "{} has forgotten our account; registering again",
                        self.request.ca.name()
                    ),
                    None,
                );
                account::forget(
                    self.engine,
                    self.request,
                    account.url(),
                    self.events,
                    self.cancel,
                )
                .await?;
                // The lock is over orders of the old account.
                drop(order_lock);
                (account, resumed, order_lock) = self.prepare().await?;
                continue;
            }
            match error.missed_values_ttl() {
                // Every authoritative server showed the value, so the CA's resolver remembers an older answer.
                Some(ttl) if !tried_again => {
                    tried_again = true;
                    let pause = Duration::from_secs(u64::from(ttl)).clamp(SECOND_TRY, LONGEST_TTL);
                    self.events.warn(
                        format!("the CA did not see what every authoritative server has; trying once more: {error}"),
                        None,
                    );
                    self.wait("what the CA's resolver remembers to expire", pause)
                        .await?;
                }
                _ => return Err(error),
            }
        };
        drop(order_lock);

        self.engine.reached(Checkpoint::BeforeProjection).await;
        self.events.stage(Stage::Deploy);
        let leftovers = self.session.head().await.published;
        let (withdrawn, files) = tokio::join!(
            withdraw_with(
                self.engine,
                self.session,
                leftovers,
                How {
                    announcement: Some(announcement),
                    ..How::default()
                },
                self.limit(),
                self.events
            ),
            self.project(&version),
        );
        withdrawn?;
        self.session.update(|head| head.worker = None).await?;
        let files = files?;
        self.events.stage(Stage::Done);
        Ok(self.issued(version, files, true))
    }

    /// Everything before an order: the account, the lock over the order, and what earlier runs have left.
    async fn prepare(&self) -> Result<(Account, Option<Resumed>, Box<dyn LockGuard>), IssueError> {
        let client = self.connect().await?;
        let account = account(self.engine, &client, self.request, self.events, self.cancel);
        let account = tokio::select! {
            account = account => account?.with_cancel(self.cancel),
            () = self.cancel.cancelled() => return Err(IssueError::Cancelled),
        };
        let (resumed, order_lock) = recover(self, &account).await?;
        self.session
            .update(|head| {
                head.wanted = self.wanted.clone();
                head.worker = Some(Worker {
                    process: std::process::id(),
                    since: Timestamp::now(),
                });
            })
            .await?;
        Ok((account, resumed, order_lock))
    }

    pub(super) async fn lock_order(
        &self,
        fingerprint: &str,
    ) -> Result<Box<dyn LockGuard>, IssueError> {
        let name = LockName::order(fingerprint);
        let lock = self
            .engine
            .lock(&name, self.request.timeouts.lock, self.events, self.cancel);
        Ok(lock.await?)
    }

    async fn connect(&self) -> Result<Client, IssueError> {
        let connecting = Client::connect(self.engine.transport.clone(), &self.request.ca.url);
        tokio::select! {
            client = connecting => Ok(client?.with_events(self.events.clone())),
            () = self.cancel.cancelled() => Err(IssueError::Cancelled),
        }
    }

    /// From names to a stored version, whose values are announced to be withdrawn.
    async fn order(
        &self,
        account: &Account,
        resumed: Option<Resumed>,
        announcement: Announcement,
    ) -> Result<(Version, Announcement), IssueError> {
        let key = KeyInTheMaking::begin(self, resumed.as_ref()).await?;
        let needs_proof = resumed
            .as_ref()
            .is_none_or(|r| r.order.status == OrderStatus::Pending);
        let places = match needs_proof {
            true => self.places().await?,
            false => BTreeMap::new(),
        };

        self.events.stage(Stage::Order);
        let order = match resumed {
            Some(resumed) => resumed.order,
            None => self.new_order(account).await?,
        };
        let order = match order.status {
            OrderStatus::Pending => self.prove(account, order, &places, announcement).await?,
            _ => {
                drop(announcement);
                order
            }
        };
        // Orders that were proven together are withdrawn together.
        let withdrawal = self.engine.zones.announce();
        let version = self.finalize(account, order, key).await?;
        Ok((version, withdrawal))
    }

    async fn places(&self) -> Result<BTreeMap<Identifier, Place>, IssueError> {
        self.events.stage(Stage::Locate);
        // A name and its wildcard have one challenge name.
        let mut owners: BTreeMap<DomainName, Identifier> = BTreeMap::new();
        for name in &self.request.names {
            owners
                .entry(name.challenge_owner())
                .or_insert_with(|| name.clone());
        }
        let looking = futures::stream::iter(owners)
            .map(|(owner, identifier)| async move {
                match self.engine.zones.place(&owner).await {
                    Ok(place) => Ok((owner, place)),
                    Err(source) => Err(IssueError::Place { identifier, source }),
                }
            })
            .buffer_unordered(CONCURRENT_LOOKUPS)
            .try_collect();
        let places: BTreeMap<DomainName, Place> = tokio::select! {
            places = looking => places?,
            () = self.cancel.cancelled() => return Err(IssueError::Cancelled),
        };
        let mut found = BTreeMap::new();
        for name in &self.request.names {
            if let Some(place) = places.get(&name.challenge_owner()) {
                self.events.emit(What::Located {
                    identifier: name.clone(),
                    owner: place.location.owner.clone(),
                    zone: place.zone.name.clone(),
                    provider: place.provider.name.clone(),
                });
                if let Some(target) = &place.location.wildcard {
                    self.events.warn(
                        format!("{} is no delegation: a wildcard CNAME to {target} answers for every name there", name.challenge_owner()),
                        None,
                    );
                }
                found.insert(name.clone(), place.clone());
            }
        }
        Ok(found)
    }

    async fn new_order(&self, account: &Account) -> Result<Order, IssueError> {
        let new_order = NewOrder {
            identifiers: &self.request.names,
            profile: self.request.profile.as_deref(),
            replaces: None,
        };
        let order = self.uncut(account, &new_order).await?;
        let in_flight = InFlight {
            wanted: self.wanted.clone(),
            account_url: account.url().to_owned(),
            url: order.url.clone(),
            authorizations: order.authorizations.clone(),
            version: None,
            begun: Timestamp::now(),
        };
        self.session
            .update(|head| head.order = Some(in_flight))
            .await?;
        for name in &self.request.names {
            self.progress(name, Step::Ordered);
        }
        Ok(order)
    }

    /// Asks for an order. An interruption waits a moment for the answer, because an order that we do not know of is one
    /// that nobody gives up.
    async fn uncut(
        &self,
        account: &Account,
        new_order: &NewOrder<'_>,
    ) -> Result<Order, IssueError> {
        if self.cancel.is_cancelled() {
            return Err(IssueError::Cancelled);
        }
        let account = account.with_cancel(&CancellationToken::new());
        let given_up = async {
            self.cancel.cancelled().await;
            tokio::time::sleep(LAST_ANSWER).await;
        };
        tokio::select! {
            order = account.new_order(new_order) => Ok(order?),
            () = given_up => Err(IssueError::Cancelled),
        }
    }

    /// From a pending order to one that is ready.
    async fn prove(
        &self,
        account: &Account,
        order: Order,
        places: &BTreeMap<Identifier, Place>,
        announcement: Announcement,
    ) -> Result<Order, IssueError> {
        let authorizations = account.authorizations(&order.authorizations).await?;
        let mut targets = Vec::new();
        let pairing = Pairing::new(authorizations, &self.request.names);
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
            self.propagate(&targets, receipts).await?;
            self.engine.reached(Checkpoint::Propagated).await;
        }

        self.events.stage(Stage::Validate);
        let challenges: Vec<_> = targets.iter().map(|t| t.challenge.clone()).collect();
        account.answer(&challenges, self.cancel).await?;
        for target in &targets {
            self.progress(&target.identifier, Step::Answered);
        }
        self.engine.reached(Checkpoint::Answered).await;
        let wait = Wait {
            deadline: self.request.timeouts.validation,
            cancel: self.cancel.clone(),
        };
        match account.await_ready(&order.url, &wait).await {
            Ok(order) => {
                for target in &targets {
                    self.progress(&target.identifier, Step::Valid);
                }
                Ok(order)
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
        receipts: Vec<(NamedProvider, Receipt)>,
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
        let settled = receipts.iter().map(|(provider, receipt)| {
            self.engine
                .zones
                .await_settled(provider, receipt, self.cancel)
        });
        futures::future::try_join_all(settled).await?;
        let wanted = by_owner
            .values()
            .map(|(wanted, _)| wanted.clone())
            .collect();
        let settle = targets.iter().map(|t| t.place.settle()).max();
        let settle = settle.unwrap_or_default();
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
            .await_visible(wanted, settle, self.cancel, tell)
            .await?;
        Ok(())
    }

    async fn wait(&self, reason: &str, pause: Duration) -> Result<(), IssueError> {
        self.events.emit(What::Waiting {
            reason: reason.to_owned(),
            at_most: Some(pause),
        });
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            () = self.cancel.cancelled() => Err(IssueError::Cancelled),
        }
    }

    fn progress(&self, identifier: &Identifier, step: Step) {
        self.events.emit(What::Progress {
            identifier: identifier.clone(),
            step,
        });
    }

    fn issued(&self, version: Version, files: LiveFiles, issued_now: bool) -> Issued {
        Issued {
            id: self.request.id.clone(),
            renew_at: version.renew_at(),
            version,
            issued_now,
            files,
        }
    }
}

/// What a CA cannot tell two orders apart by.
pub(super) fn order_fingerprint(account_url: &str, wanted: &Wanted) -> String {
    let mut names: Vec<String> = wanted.names.iter().map(ToString::to_string).collect();
    names.sort();
    let profile = wanted.profile.as_deref().unwrap_or_default();
    let text = format!("{account_url}\n{profile}\n{}", names.join("\n"));
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    digest.as_ref()[..8]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// Lookups in flight for one order; the servers of a zone see a part of them each.
const CONCURRENT_LOOKUPS: usize = 16;
/// How long an interruption waits for the answer to a new order, which mostly comes at once.
const LAST_ANSWER: Duration = Duration::from_secs(1);
/// The least to wait before the CA is asked to look once more.
const SECOND_TRY: Duration = Duration::from_secs(2);
/// No CA's resolver is known to remember for longer (Let's Encrypt caps at 60 s).
const LONGEST_TTL: Duration = Duration::from_secs(120);
