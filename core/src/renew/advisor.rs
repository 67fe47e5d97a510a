//! Asking CAs when to renew and what they have revoked, where what they said last has run out, and writing their answers down.
//!
//! What goes wrong here stops nothing: a certificate about which nobody says anything is renewed by its lifetime. A CA is
//! not asked about what has expired or was replaced (RFC 9773 section 4.3), and its directory is read once for all certificates.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use futures::future;
use jiff::SignedDuration;
use jiff::Timestamp;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::draw;
use super::listing::Lists;
use super::listing::Looked;
use super::listing::look_at;
use super::listing::worth_looking;
use crate::acme::AccountKey;
use crate::acme::AcmeError;
use crate::acme::Client;
use crate::acme::RenewalInfo;
use crate::acme::Transport;
use crate::event::Events;
use crate::store::AccountId;
use crate::store::Advice;
use crate::store::Head;
use crate::store::HeadSession;
use crate::store::LockName;
use crate::store::Patience;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::StoredAccount;
use crate::store::Version;
use crate::store::Window;

/// Asks CAs when to renew.
#[derive(Debug)]
pub struct Advisor {
    cas: Mutex<HashMap<String, Arc<OnceCell<Option<Client>>>>>,
    events: Events,
    lists: Lists,
    store: Arc<dyn Store>,
    thumbprints: Mutex<HashMap<AccountId, String>>,
    transport: Transport,
}

impl Advisor {
    /// Asks through `transport`, writes into `store`.
    pub fn new(store: Arc<dyn Store>, transport: Transport, events: Events) -> Self {
        Self {
            cas: Mutex::default(),
            events,
            lists: Lists::new(store.clone(), transport.clone()),
            store,
            thumbprints: Mutex::default(),
            transport,
        }
    }

    /// Whether what the CA of `head` said last no longer covers now.
    pub fn has_to_ask(head: &Head, now: Timestamp) -> bool {
        worth_asking(head, now).is_some() || worth_looking(head, now).is_some()
    }

    /// From when on it does not, where anybody is to be asked about it.
    pub fn asks_from(head: &Head) -> Option<Timestamp> {
        let current = head.current.as_ref().filter(|v| v.revoked.is_none());
        let ari_id = current?.ari_id.as_ref();
        let advice = head.renewal.advice.as_ref();
        let asked = advice.filter(|advice| ari_id == Some(&advice.certificate));
        let asked = asked.map(|advice| advice.ask_again);
        asked.into_iter().chain(look_at(head)).min()
    }

    /// The head with what its CA says now, where that had to be asked. A head that another run works on is not waited for.
    pub async fn advise(
        &self,
        head: Head,
        now: Timestamp,
        cancel: &CancellationToken,
    ) -> Result<Head, StoreError> {
        let asking = async {
            let (version, ari_id) = worth_asking(&head, now)?;
            let client = self.client(&version.directory).await;
            let thumbprint = self.thumbprint(&head).await;
            let last = head.renewal.advice.as_ref();
            Some(match client {
                Some(client) => ask(&client, ari_id, &thumbprint, last, now).await,
                None => nothing(ari_id, last, now, true),
            })
        };
        let looking = async {
            let (version, url) = worth_looking(&head, now)?;
            Some(self.lists.look(&head, version, url, now).await)
        };
        let (advice, looked) = tokio::select! {
            answers = future::join(asking, looking) => answers,
            () = cancel.cancelled() => return Ok(head),
        };
        if let Some(advice) = &advice {
            explain(
                advice,
                last_explanation(&head),
                &self.events.for_certificate(&head.id),
            );
        }
        match (&advice, &looked) {
            (None, None) => Ok(head),
            _ => self.keep(head, advice, looked, cancel).await,
        }
    }

    /// Writes the answers into the head, unless another run works on it; that one asks for itself.
    async fn keep(
        &self,
        mut head: Head,
        advice: Option<Advice>,
        looked: Option<Looked>,
        cancel: &CancellationToken,
    ) -> Result<Head, StoreError> {
        let patience = Patience {
            cancel,
            at_most: Duration::ZERO,
            on_wait: &|_| {},
        };
        // Whoever makes the next version must not use this key again.
        if let Some(mark) = looked.as_ref().and_then(|l| l.compromised.as_ref()) {
            mark.save(&*self.store).await?;
        }
        let note = |head: &mut Head| {
            let Some(current) = &head.current else {
                return;
            };
            if let Some(advice) = advice
                && current.ari_id.as_ref() == Some(&advice.certificate)
            {
                head.renewal.advice = Some(advice);
            }
            if let Some(Looked { listing, .. }) = looked
                && current.serial == listing.serial
            {
                head.renewal.listing = Some(listing);
            }
        };
        let name = LockName::certificate(&head.id);
        let _lock = match self.store.lock(&name, patience).await {
            Ok(lock) => lock,
            Err(StoreError::Locked { .. } | StoreError::Cancelled { .. }) => {
                note(&mut head);
                return Ok(head);
            }
            Err(error) => return Err(error),
        };
        let Some((fresh, tag)) = Head::load(&*self.store, &head.id).await? else {
            return Ok(head);
        };
        let session = HeadSession::new(self.store.clone(), fresh, Some(tag));
        session.update(note).await?;
        Ok(session.head().await)
    }

    async fn client(&self, directory: &str) -> Option<Client> {
        let cell = {
            let mut cas = self.cas.lock().unwrap_or_else(PoisonError::into_inner);
            cas.entry(directory.to_owned()).or_default().clone()
        };
        cell.get_or_init(|| async {
            let url = directory.parse().ok()?;
            match Client::connect(self.transport.clone(), &url).await {
                Ok(client) => Some(client),
                Err(error) => {
                    self.events.warn(
                        format!("cannot ask {directory} when to renew: {error}"),
                        error.hint(),
                    );
                    None
                }
            }
        })
        .await
        .clone()
    }

    async fn thumbprint(&self, head: &Head) -> String {
        let id = head.wanted.account.clone();
        let known = |map: &Mutex<HashMap<AccountId, String>>| {
            let map = map.lock().unwrap_or_else(PoisonError::into_inner);
            map.get(&id).cloned()
        };
        if let Some(known) = known(&self.thumbprints) {
            return known;
        }
        let stored = StoredAccount::load(&*self.store, &id).await.ok().flatten();
        let thumbprint = stored
            .and_then(|(account, _)| AccountKey::from_pkcs8(&account.key).ok())
            .map(|key| key.thumbprint())
            .unwrap_or_default();
        let mut map = self
            .thumbprints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        map.insert(id, thumbprint.clone());
        thumbprint
    }
}

/// The version to ask about and what it is called, where there is something to ask.
fn worth_asking(head: &Head, now: Timestamp) -> Option<(&Version, &str)> {
    let version = head.current.as_ref()?;
    let ari_id = version.ari_id.as_deref()?;
    let answered = head
        .renewal
        .advice
        .as_ref()
        .is_some_and(|a| a.certificate == ari_id && now < a.ask_again && a.asked <= now);
    (now < version.not_after && !answered).then_some((version, ari_id))
}

/// Asks about one certificate; `last` is what was said about it before.
pub(crate) async fn ask(
    client: &Client,
    ari_id: &str,
    thumbprint: &str,
    last: Option<&Advice>,
    now: Timestamp,
) -> Advice {
    match client.renewal_info(ari_id).await {
        Ok(Some(info)) => answered(ari_id, &info, thumbprint, now),
        // A CA that begins to say something is found out about within a day.
        Ok(None) => Advice {
            ask_again: later(now, NOBODY_SAYS),
            ..nothing(ari_id, None, now, false)
        },
        Err(error) => {
            tracing::debug!(%error, ari_id, "no renewal information");
            nothing(ari_id, last, now, may_pass(&error))
        }
    }
}

fn answered(ari_id: &str, info: &RenewalInfo, thumbprint: &str, now: Timestamp) -> Advice {
    Advice {
        certificate: ari_id.to_owned(),
        window: info
            .window
            .map(|(start, end)| window(ari_id, start, end, thumbprint)),
        explanation: info.explanation.clone(),
        asked: now,
        ask_again: SignedDuration::try_from(info.ask_again_after)
            .map_or(now, |after| later(now, after)),
        failures: 0,
    }
}

/// The time in a window that is ours: whoever knows the certificate, the window and the account draws the same.
fn window(ari_id: &str, start: Timestamp, end: Timestamp, thumbprint: &str) -> Window {
    let share = draw(&[ari_id, &start.to_string(), &end.to_string(), thumbprint]);
    let width = end.duration_since(start).as_secs_f64();
    let after = SignedDuration::from_secs((width * share) as i64);
    Window {
        start,
        end,
        drawn: start.checked_add(after).unwrap_or(start).min(end),
    }
}

/// No answer. What was said before stays in force until something else is said.
fn nothing(ari_id: &str, last: Option<&Advice>, now: Timestamp, may_pass: bool) -> Advice {
    let last = last.filter(|last| last.certificate == ari_id);
    let failures = last.map_or(0, |last| last.failures).saturating_add(1);
    let pause = match may_pass {
        true => (FIRST_PAUSE * 2_i32.saturating_pow(failures.min(10) - 1)).min(LONGEST_PAUSE),
        false => LONGEST_PAUSE,
    };
    Advice {
        certificate: ari_id.to_owned(),
        window: last.and_then(|last| last.window),
        explanation: last.and_then(|last| last.explanation.clone()),
        asked: now,
        ask_again: later(now, pause),
        failures,
    }
}

fn may_pass(error: &AcmeError) -> bool {
    error.is_retryable() || error.is_rate_limited()
}

/// A CA that explains itself has something to say that is out of the ordinary.
pub(crate) fn explain(advice: &Advice, last: Option<&str>, events: &Events) {
    if let Some(explanation) = &advice.explanation
        && Some(explanation.as_str()) != last
    {
        events.warn(
            format!("the CA explains when to renew this certificate: {explanation}"),
            None,
        );
    }
}

fn last_explanation(head: &Head) -> Option<&str> {
    head.renewal.advice.as_ref()?.explanation.as_deref()
}

fn later(now: Timestamp, after: SignedDuration) -> Timestamp {
    now.checked_add(after).unwrap_or(now)
}

/// Where a directory names no place to ask.
const NOBODY_SAYS: SignedDuration = SignedDuration::from_hours(24);
const FIRST_PAUSE: SignedDuration = SignedDuration::from_mins(5);
/// RFC 9773 section 4.3.3.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(6);

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn everybody_draws_the_same_and_accounts_differ() {
        let (start, end) = (at("2025-01-02T04:00:00Z"), at("2025-01-03T04:00:00Z"));
        let first = window(ID, start, end, "thumbprint");
        assert_eq!(first, window(ID, start, end, "thumbprint"));
        assert!(start <= first.drawn && first.drawn <= end);
        let drawn: std::collections::BTreeSet<Timestamp> = (0..100)
            .map(|n| window(ID, start, end, &n.to_string()).drawn)
            .collect();
        assert!(drawn.len() > 95, "they spread: {}", drawn.len());
        assert!(*drawn.first().unwrap() < at("2025-01-02T06:00:00Z"));
        assert!(*drawn.last().unwrap() > at("2025-01-03T02:00:00Z"));
    }

    #[test]
    fn what_was_said_outlives_a_failure_to_ask_again() {
        let now = at("2025-01-01T00:00:00Z");
        let info = RenewalInfo::of((at("2025-01-02T04:00:00Z"), at("2025-01-03T04:00:00Z")));
        let said = answered(ID, &info, "t", now);
        let mut failed = nothing(ID, Some(&said), now, true);
        assert_eq!(failed.window, said.window);
        assert_eq!(failed.ask_again, now + SignedDuration::from_mins(5));
        for minutes in [10, 20, 40, 80, 160, 320, 360, 360] {
            failed = nothing(ID, Some(&failed), now, true);
            assert_eq!(failed.ask_again, now + SignedDuration::from_mins(minutes));
        }
        let another = nothing("another", Some(&said), now, false);
        assert_eq!((another.window, another.failures), (None, 1));
        assert_eq!(another.ask_again, now + SignedDuration::from_hours(6));
    }
}
