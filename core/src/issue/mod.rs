//! One order, from names to a certificate on this machine.
//!
//! [`Engine::issue`] walks the stages of DESIGN's picture: account, order, authorizations, where each challenge lives,
//! writing, propagation, answers, finalization, download, store, projection. Before each step that the outside world will remember, the head of
//! the certificate says so; a run that was killed anywhere is finished or cleaned by the next, and a run that is
//! interrupted withdraws what it can. The lock over the certificate is held throughout, so a run never meets a
//! living one of the same certificate.

mod account;
mod by_hand;
mod certificate;
mod checkpoint;
mod clients;
mod error;
mod expiry;
mod give_back;
mod gone;
mod key;
mod maintain;
mod options;
mod orphans;
mod plan;
pub(crate) mod preflight;
mod prove;
mod publish;
mod recover;
mod subset;
pub(crate) mod trial;
mod turns;
mod unanswered;
mod walk;
mod waves;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;
use url::Url;

pub use by_hand::Misplaced;
pub use by_hand::Person;
pub use checkpoint::Checkpoint;
pub use checkpoint::Checkpoints;
pub use checkpoint::UnknownCheckpoint;
pub use error::ErrorKind;
pub use error::IssueError;
pub(crate) use gone::Left;
pub use maintain::Fate;
pub use maintain::Swept;
pub use maintain::SweptValue;
pub use options::KeyChoice;
pub use options::Options;
pub use options::OtherCa;
pub use plan::Plan;
pub use plan::PlanAction;
pub use plan::PlannedName;
pub use preflight::CaaPolicy;
pub use preflight::CaaRefusal;

pub use crate::account::Terms;
use crate::acme::Ca;
use crate::acme::Client;
use crate::acme::DirectoryError;
use crate::acme::ExternalAccount;
use crate::acme::KeyType;
use crate::acme::Transport;
use crate::deploy::Live;
use crate::deploy::LiveFiles;
use crate::dns::Identifier;
use crate::dns::Zones;
use crate::event::Events;
use crate::renew::Policy;
use crate::store::AccountId;
use crate::store::CertId;
use crate::store::LockGuard;
use crate::store::LockName;
use crate::store::Patience;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Version;

/// Issues certificates; one for all orders of a run.
#[derive(Debug)]
pub struct Engine {
    caa: CaaPolicy,
    checkpoints: Option<Arc<dyn Checkpoints>>,
    clients: clients::Clients,
    events: Events,
    live: Live,
    person: Person,
    /// Orders of one run queue here for a lock, instead of polling the file that keeps runs apart.
    queues: Mutex<HashMap<LockName, Arc<tokio::sync::Mutex<()>>>>,
    store: Arc<dyn Store>,
    transport: Transport,
    zones: Arc<Zones>,
}

impl Engine {
    /// An engine over a store, a way to CAs, zones, and a place on this machine.
    pub fn new(
        store: Arc<dyn Store>,
        live: Live,
        transport: Transport,
        zones: Arc<Zones>,
        events: Events,
    ) -> Self {
        Self {
            caa: CaaPolicy::default(),
            checkpoints: None,
            clients: clients::Clients::default(),
            events,
            live,
            person: Person::default(),
            queues: Mutex::default(),
            store,
            transport,
            zones,
        }
    }

    /// When CAA records stop an order; where they certainly forbid it, unless given.
    pub fn with_caa(mut self, policy: CaaPolicy) -> Self {
        self.caa = policy;
        self
    }

    /// Whether somebody watches who can set records by hand; nobody, unless given.
    pub fn with_person(mut self, person: Person) -> Self {
        self.person = person;
        self
    }

    /// Calls `checkpoints` at each point where a kill would have to be harmless; for tests that kill there.
    pub fn with_checkpoints(mut self, checkpoints: Arc<dyn Checkpoints>) -> Self {
        self.checkpoints = Some(checkpoints);
        self
    }

    /// Issues what is asked, or keeps what is there and fresh.
    pub async fn issue(
        &self,
        request: &Request,
        cancel: &CancellationToken,
    ) -> Result<Issued, IssueError> {
        request.check(&self.events.for_certificate(&request.id))?;
        walk::issue(self, request, cancel).await
    }

    /// Says what [`Engine::issue`] would do, and changes nothing.
    pub async fn plan(&self, request: &Request) -> Result<Plan, IssueError> {
        request.check(&self.events.for_certificate(&request.id))?;
        plan::plan(self, request).await
    }

    /// Withdraws the values that killed runs have left behind for a certificate, as far as no living run works on it, and no order
    /// waits for a person who sets them. With `forget`, those that cannot be withdrawn are not remembered any more, nor such an order.
    ///
    /// Values that were written less than `older_than` ago stay. `None` is a certificate that has left nothing.
    pub async fn sweep(
        &self,
        id: &CertId,
        forget: bool,
        older_than: Duration,
        cancel: &CancellationToken,
    ) -> Result<Option<Swept>, IssueError> {
        maintain::sweep(self, id, forget, older_than, cancel).await
    }

    /// Removes a certificate from the store and from this machine, after its values are out of DNS.
    pub async fn delete(&self, id: &CertId, cancel: &CancellationToken) -> Result<(), IssueError> {
        maintain::delete(self, id, cancel).await
    }

    /// The client of a CA, one for all orders.
    async fn client(
        &self,
        transport: Option<&Transport>,
        directory: &Url,
        events: &Events,
    ) -> Result<Client, DirectoryError> {
        let transport = transport.unwrap_or(&self.transport);
        let client = self.clients.get(transport, directory).await?;
        Ok(client.with_events(events.clone()))
    }

    async fn lock(
        &self,
        name: &LockName,
        at_most: Duration,
        events: &Events,
        cancel: &CancellationToken,
    ) -> Result<Box<dyn LockGuard>, StoreError> {
        let on_wait = |holder: &str| {
            events.emit(crate::event::What::Waiting {
                reason: format!(
                    "{holder}, which holds the lock on {}",
                    name.as_str().replacen('-', " ", 1)
                ),
                at_most: Some(at_most),
            });
        };
        let patience = Patience {
            cancel,
            at_most,
            on_wait: &on_wait,
        };
        self.store.lock(name, patience).await
    }

    /// The lock, for which orders of this run queue before they compete with other runs. How long another run may take is
    /// bounded; the orders before this one are ours, and come to an end.
    async fn lock_in_turn(
        &self,
        name: &LockName,
        at_most: Duration,
        events: &Events,
        cancel: &CancellationToken,
    ) -> Result<Turn, StoreError> {
        let queue = {
            let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
            queues.entry(name.clone()).or_default().clone()
        };
        let place = tokio::select! {
            place = queue.lock_owned() => place,
            () = cancel.cancelled() => return Err(StoreError::Cancelled {
                what: name.as_str().to_owned(),
            }),
        };
        let lock = self.lock(name, at_most, events, cancel).await?;
        Ok(Turn {
            _lock: lock,
            _place: place,
        })
    }

    pub(crate) fn live(&self) -> &Live {
        &self.live
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.store
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    pub(crate) fn zones(&self) -> &Zones {
        &self.zones
    }

    async fn reached(&self, point: Checkpoint) {
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.reached(point).await;
        }
    }
}

/// A lock, and the place in front of it: whoever is next gets the place when the lock is free.
struct Turn {
    _lock: Box<dyn LockGuard>,
    _place: OwnedMutexGuard<()>,
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").finish_non_exhaustive()
    }
}

/// What certificate is asked for, from whom, and how.
#[derive(Clone, Debug)]
pub struct Request {
    /// The name of the certificate.
    pub id: CertId,
    /// The names in it, each once.
    pub names: Vec<Identifier>,
    /// The CA.
    pub ca: Ca,
    /// The name of the account there; without, the one that is called after the CA.
    pub account: Option<AccountId>,
    /// Contacts for a new account, such as `mailto:ops@example.com`.
    pub contacts: Vec<String>,
    /// Whether the CA's terms are agreed to.
    pub terms: Terms,
    /// The external account that a new account is bound to.
    pub external_account: Option<ExternalAccount>,
    /// The type of the certificate's key.
    pub key_type: KeyType,
    /// The CA's profile.
    pub profile: Option<String>,
    /// Whether an existing certificate of this name may get other names.
    pub replace_names: bool,
    /// Whether to issue although a fresh certificate is there.
    pub force: bool,
    /// How long to wait for what is not ours.
    pub timeouts: Timeouts,
    /// What goes on after it was issued, and what went on before.
    pub renewal: Renewing,
    /// What else is asked for.
    pub options: Options,
    /// The way to the CA, where it is not the engine's own.
    pub transport: Option<Transport>,
}

/// What is asked about the renewal of a certificate.
#[derive(Clone, Debug, Default)]
pub struct Renewing {
    /// When it is due.
    pub policy: Policy,
    /// What to write down so that whoever renews it can ask in the same way: no secrets. What is there stays where this is none.
    pub recipe: Option<serde_json::Value>,
    /// Whether it stays wanted when its first order fails, as what a configuration names does: the failure is remembered then.
    pub lasting: bool,
    /// Whether it is renewed because the store has it, so that nothing is ordered where somebody has deleted it meanwhile.
    pub only_stored: bool,
    /// Whether every name is to be proven again, also where the CA still believes an earlier proof.
    pub prove_again: bool,
}

impl Request {
    /// The name of the account that orders.
    pub fn account_id(&self) -> AccountId {
        match &self.account {
            Some(id) => id.clone(),
            None => AccountId::for_directory(&self.ca.url),
        }
    }

    fn check(&self, events: &Events) -> Result<(), IssueError> {
        if self.names.is_empty() {
            return Err(IssueError::NoNames {
                id: self.id.clone(),
            });
        }
        self.check_options()?;
        for wildcard in &self.names {
            let Some(covered) = self.names.iter().find(|name| wildcard.covers(name)) else {
                continue;
            };
            if self.ca.refuses_redundant_names() {
                return Err(IssueError::Redundant {
                    ca: self.ca.name(),
                    covered: covered.clone(),
                    wildcard: wildcard.clone(),
                });
            }
            events.warn(
                format!(
                    "{wildcard} covers {covered} already, and some CAs refuse both in one order"
                ),
                Some(format!("leave {covered} out")),
            );
        }
        Ok(())
    }
}

/// How long an order waits at most for others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeouts {
    /// For another run that holds a lock.
    pub lock: Duration,
    /// For a change to settle, when the CA has not seen from everywhere what every server has; each time thrice as long.
    pub settling: Duration,
    /// For the CA's verdict about the challenges.
    pub validation: Duration,
    /// Between looks at the order while values are not seen: another job that shares the account alone may have proven it.
    pub order_look: Duration,
    /// For the certificate, after the order was finalized.
    pub finalization: Duration,
    /// For values to leave DNS, before they stay in the head for the next run.
    pub withdrawal: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            // Longer than an order takes, propagation included.
            lock: Duration::from_secs(15 * 60),
            // Let's Encrypt's users report half a minute to two minutes for anycast services.
            settling: Duration::from_secs(30),
            // CAs answer within seconds; some queue validations for minutes.
            validation: Duration::from_secs(5 * 60),
            order_look: Duration::from_secs(10),
            // ZeroSSL and SSL.com may take minutes.
            finalization: Duration::from_secs(10 * 60),
            withdrawal: Duration::from_secs(60),
        }
    }
}

/// A certificate that is in force.
#[derive(Clone, Debug)]
pub struct Issued {
    /// Its name.
    pub id: CertId,
    /// The version.
    pub version: Version,
    /// Whether it was issued now, or was there and fresh.
    pub issued_now: bool,
    /// Where its files are.
    pub files: LiveFiles,
    /// From when it should be renewed.
    pub renew_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Programs spawn orders as tasks.
    #[expect(dead_code, reason = "that it compiles is the test")]
    fn orders_may_be_spawned(engine: &Engine, request: &Request, cancel: &CancellationToken) {
        fn sent<T: Send>(_: T) {}

        sent(engine.issue(request, cancel));
        sent(engine.plan(request));
        sent(engine.sweep(&request.id, false, Duration::ZERO, cancel));
        sent(engine.delete(&request.id, cancel));
    }
}
