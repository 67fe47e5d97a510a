//! The walk itself, stage by stage.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_lc_rs::digest;
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
use super::key::KeyInTheMaking;
use super::orphans::remove_orphans;
use super::publish::How;
use super::publish::Limit;
use super::publish::withdraw;
use super::publish::withdraw_with;
use super::recover::Resumed;
use super::recover::recover;
use super::subset::Ordered;
use crate::acme::Account;
use crate::acme::Authorization;
use crate::acme::AuthorizationStatus;
use crate::acme::Client;
use crate::acme::NewOrder;
use crate::acme::Order;
use crate::acme::OrderError;
use crate::acme::OrderStatus;
use crate::deploy::LiveFiles;
use crate::dns::Announcement;
use crate::dns::Identifier;
use crate::event::Events;
use crate::event::Stage;
use crate::event::Step;
use crate::event::What;
use crate::renew;
use crate::renew::due;
use crate::store::Advice;
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
        None if request.renewal.only_stored => {
            let id = request.id.clone();
            return Err(IssueError::NoSuchCertificate { id });
        }
        None => (Head::new(request.id.clone(), wanted.clone()), None),
    };
    remove_orphans(&*engine.store, &head).await?;
    if let Some(current) = &head.current
        && !request.replace_names
        && !wanted.same_names(&current.asked())
    {
        return Err(IssueError::NamesDiffer {
            asked: request.names.clone(),
            existing: current.names.clone(),
            id: request.id.clone(),
        });
    }
    let session = HeadSession::new(engine.store.clone(), head.clone(), tag);
    let walk = |request| Walk::new(engine, request, &wanted, &session, &events, cancel);

    let now = Timestamp::now();
    if let Some(current) = &head.current
        && !request.force
        && !request.options.new_key
        && current.revoked.is_none()
        && now < due(&head, &wanted, now, &request.renewal.policy).at
    {
        // A version that the store has lost is replaced.
        if let Some(kept) = walk(request).keep(current.clone(), &head).await? {
            return Ok(kept);
        }
    }
    let requests = request.for_each_ca();
    let mut requests = requests.iter().peekable();
    loop {
        let Some(request) = requests.next() else {
            return Err(IssueError::Cancelled);
        };
        let walk = walk(request);
        let error = match walk.obtain().await {
            Ok(issued) => return Ok(issued),
            Err(error) => error,
        };
        match requests.peek() {
            Some(next) if error.calls_for_another_ca() && !cancel.is_cancelled() => {
                events.warn(
                    format!(
                        "{} does not issue: {error}; asking {}",
                        request.ca.name(),
                        next.ca.name()
                    ),
                    error.hint(),
                );
                walk.leave_behind().await?;
            }
            _ => {
                walk.end(&error).await;
                return Err(error);
            }
        }
    }
}

pub(super) struct Walk<'a> {
    pub(super) cancel: &'a CancellationToken,
    pub(super) engine: &'a Engine,
    pub(super) events: &'a Events,
    /// How long giving back may take.
    pub(super) limit: Limit<'a>,
    pub(super) request: &'a Request,
    pub(super) session: &'a HeadSession,
    /// Seconds for which changes settle after the proof, because the CA has missed one.
    pub(super) settling: AtomicU64,
    /// What is asked for, with the CA that is preferred.
    pub(super) asked: &'a Wanted,
    /// The same, with the CA that is asked now.
    pub(super) wanted: Wanted,
    /// What of it is ordered.
    pub(super) ordered: Ordered,
}

impl<'a> Walk<'a> {
    fn new(
        engine: &'a Engine,
        request: &'a Request,
        asked: &'a Wanted,
        session: &'a HeadSession,
        events: &'a Events,
        cancel: &'a CancellationToken,
    ) -> Self {
        let of_this_ca = request.wanted();
        let wanted = Wanted {
            account: of_this_ca.account,
            directory: of_this_ca.directory,
            ..asked.clone()
        };
        Self {
            asked,
            cancel,
            engine,
            events,
            limit: Limit::new(request.timeouts.withdrawal, cancel),
            ordered: Ordered::new(wanted.clone()),
            request,
            session,
            settling: AtomicU64::new(0),
            wanted,
        }
    }
}

impl Walk<'_> {
    /// What is there is good: only leftovers are withdrawn and a missing projection is written.
    async fn keep(&self, version: Version, head: &Head) -> Result<Option<Issued>, IssueError> {
        if !head.published.is_empty() {
            self.events.stage(Stage::Withdraw);
            let values = head.published.clone();
            withdraw(self.engine, self.session, values, &self.limit, self.events).await?;
        }
        self.session
            .update(|head| {
                // Whoever it was is dead, and has come to an end.
                head.worker = None;
                self.note_recipe(head);
            })
            .await?;
        let Some(files) = self.restore(&version).await? else {
            return Ok(None);
        };
        self.events.stage(Stage::Done);
        Ok(Some(self.issued(version, files, false).await))
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
        let mut taken = 0;
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
            if error.is_taken_by_another() && taken < TAKEN_TRIES {
                taken += 1;
                self.events.warn(
                    "another job has the same account, and took the order that the CA had given to both; ordering again".to_owned(),
                    None,
                );
                continue;
            }
            if error.is_seen_by_some()
                && let Some(settle) = self.settle_longer(error.missed_values_ttl())
            {
                self.events.warn(
                    format!("the CA did not see from everywhere what every authoritative server has: {error}"),
                    Some(format!(
                        "the order is made again, with {} s for the change to settle",
                        settle.as_secs()
                    )),
                );
                tried_again = true;
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
                _ if self.leave_out(&error) => {
                    // The lock is over the order of the names before.
                    drop(order_lock);
                    let ours = order_fingerprint(account.url(), &self.ordered());
                    order_lock = self.lock_order(&ours).await?;
                }
                _ => return Err(error),
            }
        };
        drop(order_lock);

        self.engine.reached(Checkpoint::BeforeProjection).await;
        self.events.stage(Stage::Deploy);
        let leftovers = self.session.head().await.published;
        let (withdrawn, files, advice) = tokio::join!(
            withdraw_with(
                self.engine,
                self.session,
                leftovers,
                How {
                    announcement: Some(announcement),
                    ..How::default()
                },
                &self.limit,
                self.events
            ),
            self.project(&version),
            self.advice(&account, &version),
        );
        withdrawn?;
        self.session
            .update(|head| {
                head.worker = None;
                head.renewal.advice = advice;
                head.renewal.listing = None;
                head.renewal.failure = None;
            })
            .await?;
        let files = files?;
        self.events.stage(Stage::Done);
        Ok(self.issued(version, files, true).await)
    }

    /// Everything before an order: the account, the lock over the order, and what earlier runs have left.
    async fn prepare(&self) -> Result<(Account, Option<Resumed>, Box<dyn LockGuard>), IssueError> {
        let client = self.connect().await?;
        self.settle_profile(&client)?;
        let account = account(self.engine, &client, self.request, self.events, self.cancel);
        let account = tokio::select! {
            account = account => account?.with_cancel(self.cancel),
            () = self.cancel.cancelled() => return Err(IssueError::Cancelled),
        };
        let (resumed, order_lock) = recover(self, &account).await?;
        self.session
            .update(|head| {
                head.wanted = self.asked.clone();
                self.note_recipe(head);
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
        let transport = self.request.transport.as_ref();
        let connecting = self
            .engine
            .client(transport, &self.request.ca.url, self.events);
        tokio::select! {
            client = connecting => Ok(client?),
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
        let key = KeyInTheMaking::begin(self, account, resumed.as_ref()).await?;
        let needs_proof = resumed
            .as_ref()
            .is_none_or(|r| r.order.status == OrderStatus::Pending);
        let places = match needs_proof {
            true => tokio::try_join!(self.places(), self.preflight(account))?.0,
            false => BTreeMap::new(),
        };

        self.events.stage(Stage::Order);
        let order = match resumed {
            Some(resumed) => resumed.order,
            None => self.new_order(account).await?,
        };
        let order = match self.request.renewal.prove_again {
            true => self.without_earlier_proofs(account, order).await?,
            false => order,
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

    async fn new_order(&self, account: &Account) -> Result<Order, IssueError> {
        let replaced = self.replaced(account).await;
        let ordered = self.ordered();
        let now = Timestamp::now();
        let new_order = NewOrder {
            identifiers: &ordered.names,
            profile: ordered.profile.as_deref(),
            replaces: replaced.as_deref(),
            not_before: ordered.spec.not_before.and_then(|at| at.from(now)),
            not_after: ordered.spec.not_after.and_then(|at| at.from(now)),
        };
        let order = self.uncut(account, &new_order).await?;
        let in_flight = InFlight {
            wanted: ordered.clone(),
            left_out: self.left_out(),
            account_url: account.url().to_owned(),
            url: order.url.clone(),
            authorizations: order.authorizations.clone(),
            version: None,
            begun: Timestamp::now(),
        };
        self.session
            .update(|head| head.order = Some(in_flight))
            .await?;
        for name in &ordered.names {
            self.progress(name, Step::Ordered);
        }
        Ok(order)
    }

    /// The order, or another where the CA still believes some earlier proof, which is given up.
    async fn without_earlier_proofs(
        &self,
        account: &Account,
        order: Order,
    ) -> Result<Order, IssueError> {
        let authorizations = account.authorizations(&order.authorizations).await?;
        let believed = |a: &Authorization| a.status == AuthorizationStatus::Valid;
        if !authorizations.iter().any(believed) {
            return Ok(order);
        }
        let failed = account.deactivate(&order.authorizations).await;
        if let Some((_, error)) = failed.into_iter().next() {
            return Err(OrderError::from(error).into());
        }
        self.new_order(account).await
    }

    /// What the order says that it replaces (RFC 9773 section 5): the version in force, where the same account ordered it here.
    async fn replaced(&self, account: &Account) -> Option<String> {
        let current = self.session.head().await.current?;
        let is_ours = current.directory == self.wanted.directory
            && current.account == account.url()
            && Timestamp::now() < current.not_after
            && current
                .names
                .iter()
                .any(|name| self.request.names.contains(name));
        current.ari_id.filter(|_| is_ours)
    }

    /// What the CA says about the renewal of what it has just issued. Nobody waits long for that: the next run asks again.
    async fn advice(&self, account: &Account, version: &Version) -> Option<Advice> {
        let ari_id = version.ari_id.as_deref()?;
        account.client().directory().renewal_info.as_ref()?;
        let thumbprint = account.key().thumbprint();
        let asking = renew::ask(
            account.client(),
            ari_id,
            &thumbprint,
            None,
            Timestamp::now(),
        );
        let advice = tokio::select! {
            advice = asking => advice,
            () = tokio::time::sleep(ADVICE_PATIENCE) => return None,
            () = self.cancel.cancelled() => return None,
        };
        renew::explain(&advice, None, self.events);
        Some(advice)
    }

    fn note_recipe(&self, head: &mut Head) {
        if let Some(recipe) = &self.request.renewal.recipe {
            head.renewal.recipe = Some(recipe.clone());
        }
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

    /// The next longer time for changes to settle; none when enough were tried.
    fn settle_longer(&self, ttl: Option<u32>) -> Option<Duration> {
        // What a resolver remembers has expired by then, too.
        let ttl = Duration::from_secs(u64::from(ttl.unwrap_or_default())).min(LONGEST_TTL);
        let first = self.request.timeouts.settling.max(ttl).as_secs().max(1);
        let next = match self.settling.load(Ordering::Relaxed) {
            0 => first,
            before => before * 3,
        };
        if next > first * 3 {
            return None;
        }
        self.settling.store(next, Ordering::Relaxed);
        Some(Duration::from_secs(next))
    }

    pub(super) async fn wait(&self, reason: &str, pause: Duration) -> Result<(), IssueError> {
        self.events.emit(What::Waiting {
            reason: reason.to_owned(),
            at_most: Some(pause),
        });
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            () = self.cancel.cancelled() => Err(IssueError::Cancelled),
        }
    }

    pub(super) fn progress(&self, identifier: &Identifier, step: Step) {
        self.events.emit(What::Progress {
            identifier: identifier.clone(),
            step,
        });
    }

    async fn issued(&self, version: Version, files: LiveFiles, issued_now: bool) -> Issued {
        let head = self.session.head().await;
        let policy = &self.request.renewal.policy;
        let due = due(&head, self.asked, Timestamp::now(), policy);
        if let Some((message, hint)) = due.warning(&version) {
            self.events.warn(message, Some(hint));
        }
        Issued {
            id: self.request.id.clone(),
            renew_at: due.at,
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

/// How long a certificate that is there waits for its CA's word on when to renew it.
const ADVICE_PATIENCE: Duration = Duration::from_secs(5);
/// How long an interruption waits for the answer to a new order, which mostly comes at once.
const LAST_ANSWER: Duration = Duration::from_secs(1);
/// Of several jobs that are handed the same order one gets it; the next order is for those that are left.
const TAKEN_TRIES: u32 = 8;
/// The least to wait before the CA is asked to look once more.
const SECOND_TRY: Duration = Duration::from_secs(2);
/// No CA's resolver is known to remember for longer (Let's Encrypt caps at 60 s).
pub(super) const LONGEST_TTL: Duration = Duration::from_secs(120);
