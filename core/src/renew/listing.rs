//! Whether the list of revoked certificates that a certificate names has it.
//!
//! ARI tells of a revocation where the CA speaks it and says so there; the list is what every CA has to publish. Each list is read
//! once for all certificates that name it, and these are looked for at the same times, so that they share it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use jiff::SignedDuration;
use jiff::Timestamp;
use tokio::sync::OnceCell;

use super::draw;
use crate::acme::Leaf;
use crate::acme::RevocationList;
use crate::acme::Transport;
use crate::store::CompromisedKey;
use crate::store::Head;
use crate::store::Key;
use crate::store::Listing;
use crate::store::Store;
use crate::store::Version;
use crate::store::VersionFile;

/// The lists that were read.
#[derive(Debug)]
pub(super) struct Lists {
    lists: Mutex<HashMap<String, Arc<OnceCell<Option<RevocationList>>>>>,
    store: Arc<dyn Store>,
    transport: Transport,
}

/// What a look has brought.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) listing: Listing,
    /// The key, where the CA says that somebody else may have it.
    pub(super) compromised: Option<CompromisedKey>,
}

impl Lists {
    pub(super) fn new(store: Arc<dyn Store>, transport: Transport) -> Self {
        Self {
            lists: Mutex::default(),
            store,
            transport,
        }
    }

    /// Looks for a version in the list at `url`. Where that cannot be read, what is known stays.
    pub(super) async fn look(
        &self,
        head: &Head,
        version: &Version,
        url: &str,
        now: Timestamp,
    ) -> Looked {
        let key = Key::version(&head.id, version.number, VersionFile::FullChain);
        let stored = self.store.get(&key).await.ok().flatten();
        let fullchain = stored.and_then(|(content, _)| String::from_utf8(content).ok());
        let fullchain = fullchain.unwrap_or_default();
        let cell = {
            let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
            lists.entry(url.to_owned()).or_default().clone()
        };
        let list = cell
            .get_or_init(|| async {
                match RevocationList::fetch(&self.transport, url, &fullchain, now).await {
                    Ok(list) => Some(list),
                    Err(error) => {
                        tracing::debug!(%error, "no list of revoked certificates");
                        None
                    }
                }
            })
            .await;
        let entry = list.as_ref().and_then(|list| list.entry(&version.serial));
        let compromised = entry.filter(|entry| entry.key_compromised).and_then(|_| {
            let leaf = Leaf::read(fullchain.as_bytes()).ok()?;
            let (id, serial) = (head.id.clone(), version.serial.clone());
            Some(CompromisedKey::new(leaf.spki_sha256, Some(id), serial, now))
        });
        Looked {
            listing: Listing {
                serial: version.serial.clone(),
                revoked: entry.map(|entry| entry.since),
                look_again: match list {
                    Some(_) => next_look(url, &version.account, now),
                    None => now.checked_add(AFTER_FAILURE).unwrap_or(now),
                },
            },
            compromised,
        }
    }
}

/// The version to look for and the list that it names, where now is the time for that.
pub(super) fn worth_looking(head: &Head, now: Timestamp) -> Option<(&Version, &str)> {
    let version = head.current.as_ref()?;
    let url = version.crl.as_deref()?;
    let at = look_at(head)?;
    // A clock that was ahead when the list was read keeps nobody from reading it.
    let is_time = at <= now || at.duration_since(now) > PERIOD;
    (is_time && now < version.not_after).then_some((version, url))
}

/// When to look for the version in force; never where it is known to be revoked.
pub(super) fn look_at(head: &Head) -> Option<Timestamp> {
    let version = head.current.as_ref().filter(|v| v.revoked.is_none())?;
    let url = version.crl.as_deref()?;
    let listing = head.renewal.listing.as_ref();
    match listing.filter(|listing| listing.serial == version.serial) {
        Some(listing) if listing.revoked.is_some() => None,
        Some(listing) => Some(listing.look_again),
        None => Some(next_look(url, &version.account, version.issued)),
    }
}

/// The next of the times at which everything of this account that names this list is looked for.
fn next_look(url: &str, account: &str, after: Timestamp) -> Timestamp {
    let period = PERIOD.as_secs();
    let offset = (draw(&[url, account]) * period as f64) as i64;
    let into = (after.as_second() - offset).rem_euclid(period);
    let left = SignedDuration::from_secs(period - into);
    after.checked_add(left).unwrap_or(after)
}

/// CAs list a revocation within a day, mostly within hours.
const PERIOD: SignedDuration = SignedDuration::from_hours(12);
const AFTER_FAILURE: SignedDuration = SignedDuration::from_hours(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_share_a_list_and_accounts_do_not_meet() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let morning = at("2026-01-01T06:00:00.5Z");
        let first = next_look("http://ca.test/1.crl", "account", morning);
        assert!(morning < first && first <= morning + PERIOD, "{first}");
        let moments = [morning, first - SignedDuration::from_secs(1)];
        for moment in moments {
            let next = next_look("http://ca.test/1.crl", "account", moment);
            assert_eq!(next.as_second(), first.as_second());
        }
        let next = next_look("http://ca.test/1.crl", "account", first);
        assert_eq!(next.as_second(), (first + PERIOD).as_second());
        let others: std::collections::BTreeSet<i64> = (0..100)
            .map(|n| next_look("http://ca.test/1.crl", &n.to_string(), morning).as_second())
            .collect();
        assert!(others.len() > 95, "they spread: {}", others.len());
    }
}
