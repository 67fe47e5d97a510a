//! A probe value: written where challenges would be, seen at every name server, and removed.
//!
//! It goes the way of a real one. It stands in the head of the certificate before it is in DNS and until it is gone, so that a
//! run that is killed in between leaves it to the next run and to `dns gc`; the lock over the certificate is held throughout.
//! The value answers no challenge, and is made as if there were one, because some contracts tell the challenge and not the value. It is
//! written below the challenge's owner, and at the owner itself where the provider writes, or the server allows, no other name.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::join_all;
use jiff::Timestamp;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Engine;
use super::IssueError;
use super::Request;
use super::gone::Left;
use super::publish::How;
use super::publish::Limit;
use super::publish::Settling;
use super::publish::entry;
use super::publish::same_value;
use super::publish::withdraw_with;
use super::turns::Turns;
use super::unanswered;
use crate::dns::Action;
use crate::dns::DomainName;
use crate::dns::Hurry;
use crate::dns::Origin;
use crate::dns::Place;
use crate::dns::ProbeAt;
use crate::dns::Report;
use crate::dns::TxtChange;
use crate::dns::TxtValue;
use crate::dns::Wanted as WantedValues;
use crate::dns::WriteError;
use crate::dns::WriteProblem;
use crate::dns::Zone;
use crate::event::Events;
use crate::store::CertId;
use crate::store::Head;
use crate::store::HeadSession;
use crate::store::Key;
use crate::store::LockName;
use crate::store::Published;

/// What became of the probe values of one request.
#[derive(Debug)]
pub(crate) struct Trial {
    /// One for each place, in the same order.
    pub(crate) values: Vec<Tried>,
    /// How long the writing took, all zones at once.
    pub(crate) write: Duration,
    /// What was seen in the end; `None` where nothing was written, or where it was told to end.
    pub(crate) report: Option<Report>,
    /// How long it took until they all said so, or until the looking ended.
    pub(crate) visible: Duration,
    /// How long the removal took.
    pub(crate) removal: Duration,
    /// Values that could not be removed, or are still served; they stay in the head.
    pub(crate) left: Left,
}

/// One probe value.
#[derive(Debug)]
pub(crate) struct Tried {
    pub(crate) owner: DomainName,
    /// Whether it went to the challenge's owner.
    pub(crate) at_owner: bool,
    /// Whether it could go nowhere else; otherwise the name below it was refused.
    pub(crate) only_there: bool,
    pub(crate) result: Result<(), WriteError>,
}

struct Probe {
    place: Place,
    owner: DomainName,
    origin: Option<Origin>,
    value: TxtValue,
}

/// What a challenge would have come with.
struct Made {
    key_authorization: String,
    token: String,
    value: TxtValue,
}

impl Made {
    fn new() -> Self {
        let [token, thumbprint] = [random_word(), random_word()];
        let key_authorization = format!("{token}.{thumbprint}");
        Self {
            value: value_of(&key_authorization),
            key_authorization,
            token,
        }
    }

    /// As if it were a challenge for the name whose challenges live at this place; `None` where that is no challenge name.
    fn origin_at(&self, place: &Place) -> Option<Origin> {
        let asked = place.location.asked.as_str();
        Some(Origin {
            identifier: asked.strip_prefix("_acme-challenge.")?.parse().ok()?,
            key_authorization: self.key_authorization.clone(),
            remaining: 0,
            token: self.token.clone(),
        })
    }
}

impl Probe {
    fn published(&self, since: Timestamp) -> Published {
        entry(&self.place, &self.owner, &self.value, since)
    }

    fn change(&self) -> TxtChange {
        TxtChange {
            action: Action::Add,
            handle: None,
            origin: self.origin.clone(),
            owner: self.owner.clone(),
            ttl: self.place.ttl(),
            value: self.value.clone(),
        }
    }
}

impl Engine {
    /// Whether a living run works on a certificate.
    pub(crate) async fn is_at_work(&self, id: &CertId) -> bool {
        let name = LockName::certificate(id);
        let cancel = CancellationToken::new();
        // It is not waited for, so nobody hears of a wait.
        let silent = Events::silent();
        let lock = self.lock(&name, Duration::ZERO, &silent, &cancel);
        lock.await.is_err()
    }

    /// Writes, sees and removes a probe value at each place.
    ///
    /// # Errors
    ///
    /// When another run works on the certificate, and when the store cannot be written.
    pub(crate) async fn try_values(
        &self,
        request: &Request,
        places: &[Place],
        cancel: &CancellationToken,
    ) -> Result<Trial, IssueError> {
        let events = self.events.for_certificate(&request.id);
        let name = LockName::certificate(&request.id);
        let _lock = self.lock(&name, LOCK, &events, cancel).await?;
        let (head, tag) = match Head::load(&*self.store, &request.id).await? {
            Some((head, tag)) => (head, Some(tag)),
            None => {
                let mut head = Head::new(request.id.clone(), request.wanted());
                // Whoever takes out what is left of it has to know how it was written.
                head.renewal.recipe = request.renewal.recipe.clone();
                (head, None)
            }
        };
        let session = HeadSession::new(self.store.clone(), head, tag);
        let turns = Turns::take(self, Turns::needed(places), LOCK, &events, cancel).await?;

        let made = Made::new();
        let mut probes: Vec<Probe> = places
            .iter()
            .map(|place| {
                let owner = self.probe_owner(place);
                let is_owner = owner == place.location.owner;
                Probe {
                    origin: is_owner.then(|| made.origin_at(place)).flatten(),
                    owner,
                    place: place.clone(),
                    value: made.value.clone(),
                }
            })
            .collect();
        let started = Instant::now();
        let mut published = Vec::new();
        let mut refused = Vec::new();
        let everywhere: Vec<usize> = (0..probes.len()).collect();
        let (mut results, mut settling) = self
            .write(&session, &probes, &everywhere, &mut published, cancel)
            .await?;

        // A policy may name the challenge's owner and nothing else.
        let again: Vec<usize> = (0..probes.len())
            .filter(|&at| matches!(results.get(&at), Some(Err(error)) if is_refusal(error)))
            .filter(|&at| probes[at].owner != probes[at].place.location.owner)
            .filter(|_| !cancel.is_cancelled())
            .collect();
        if !again.is_empty() {
            for &at in &again {
                let probe = &mut probes[at];
                refused.extend(published.iter().filter(|p| p.owner == probe.owner).cloned());
                probe.owner = probe.place.location.owner.clone();
                probe.origin = made.origin_at(&probe.place);
            }
            let (second, more) = self
                .write(&session, &probes, &again, &mut published, cancel)
                .await?;
            results.extend(second);
            settling.extend(more);
        }
        let write = started.elapsed();

        let wanted: Vec<WantedValues> = probes
            .iter()
            .enumerate()
            .filter(|(at, _)| matches!(results.get(at), Some(Ok(()))))
            .map(|(_, probe)| WantedValues {
                zone: probe.place.location.zone.clone(),
                owner: probe.owner.clone(),
                values: vec![probe.value.clone()],
            })
            .collect();
        for (at, probe) in probes.iter().enumerate() {
            if matches!(results.get(&at), Some(Err(error)) if !error.is_retryable()) {
                let of_it = |p: &&Published| p.owner == probe.owner && p.zone == probe.place.zone;
                refused.extend(published.iter().filter(of_it).cloned());
            }
        }
        let started = Instant::now();
        let report = match wanted.is_empty() {
            true => None,
            false => self.see(wanted, settling, cancel).await,
        };
        let visible = started.elapsed();

        let started = Instant::now();
        let how = How {
            refused,
            turns: Some(&turns),
            ..How::default()
        };
        let limit = Limit::new(REMOVAL, cancel);
        let left = withdraw_with(self, &session, published, how, &limit, &events).await?;
        if session.head().await.is_empty() {
            self.store.delete(&Key::certificate(&request.id)).await?;
        }
        let values = probes
            .into_iter()
            .enumerate()
            .map(|(at, probe)| Tried {
                at_owner: probe.owner == probe.place.location.owner,
                only_there: probe.place.provider.provider.capabilities().probe == ProbeAt::Owner,
                owner: probe.owner,
                result: results.remove(&at).unwrap_or(Ok(())),
            })
            .collect();
        Ok(Trial {
            values,
            write,
            report,
            visible,
            removal: started.elapsed(),
            left,
        })
    }

    /// The name below the challenge's owner, or that owner where no name below it is written.
    ///
    /// A resolver that was asked for a probe before remembers what it was told, so that those who are asked get a new name each time.
    fn probe_owner(&self, place: &Place) -> DomainName {
        let owner = &place.location.owner;
        if place.provider.provider.capabilities().probe == ProbeAt::Owner {
            return owner.clone();
        }
        let below =
            owner
                .child(PROBE)
                .and_then(|probe| match self.zones.asks_resolvers(&place.location) {
                    true => probe.child(&format!("{:08x}", rand::random::<u32>())),
                    false => Ok(probe),
                });
        below.unwrap_or_else(|_| owner.clone())
    }

    /// Writes some of the probes: into the head, and then into DNS with one submission a zone.
    async fn write(
        &self,
        session: &HeadSession,
        probes: &[Probe],
        which: &[usize],
        published: &mut Vec<Published>,
        cancel: &CancellationToken,
    ) -> Result<(HashMap<usize, Result<(), WriteError>>, Vec<Settling>), IssueError> {
        let now = Timestamp::now();
        let new: Vec<Published> = which.iter().map(|&at| probes[at].published(now)).collect();
        session
            .update(|head| {
                head.published.extend(new.iter().cloned());
                unanswered::begin(self, head, &new);
            })
            .await?;
        published.extend(new);
        self.reached(super::Checkpoint::HeadWritten).await;

        let mut zones: HashMap<(String, Zone), Vec<usize>> = HashMap::new();
        for &at in which {
            let place = &probes[at].place;
            let key = (place.provider.name.clone(), place.zone.clone());
            zones.entry(key).or_default().push(at);
        }
        // A provider that is down is tried again for minutes where an order waits for it, and nobody waits that long here.
        let enough = cancel.child_token();
        let mut submissions = Vec::new();
        for group in zones.into_values() {
            let changes = group.iter().map(|&at| probes[at].change()).collect();
            let place = &probes[group[0]].place;
            let submission = self
                .zones
                .submit(&place.provider, &place.zone, changes, &enough);
            submissions.push((group, submission));
        }
        let giving_up = async {
            sleep(WRITE_PATIENCE).await;
            enough.cancel();
            std::future::pending::<()>().await;
        };
        tokio::pin!(giving_up);
        let mut results = HashMap::new();
        let mut settling = Vec::new();
        let mut handles = Vec::new();
        let mut answered = Vec::new();
        for (group, submission) in submissions {
            let written = tokio::select! {
                written = submission.written() => written,
                () = &mut giving_up => None,
            };
            let Some(written) = written else { continue };
            settling.push(Settling {
                owners: group.iter().map(|&at| probes[at].owner.clone()).collect(),
                provider: probes[group[0]].place.provider.clone(),
                receipt: written.receipt,
            });
            for (at, result) in group.into_iter().zip(written.results) {
                answered.push(probes[at].published(now));
                if let Ok(Some(handle)) = &result {
                    handles.push((probes[at].published(now), handle.clone()));
                }
                results.insert(at, result.map(drop));
            }
        }
        for (new, handle) in &handles {
            for p in published.iter_mut().filter(|p| same_value(p, new)) {
                p.handle = Some(handle.clone());
            }
        }
        session
            .update(|head| {
                unanswered::end(head, &answered);
                for (new, handle) in handles {
                    for p in head.published.iter_mut().filter(|p| same_value(p, &new)) {
                        p.handle = Some(handle.clone());
                    }
                }
            })
            .await?;
        self.reached(super::Checkpoint::DnsWritten).await;
        Ok((results, settling))
    }

    /// Looks for the values by whatever evidence counts for them, until it is there or it is clear that some servers are late.
    async fn see(
        &self,
        wanted: Vec<WantedValues>,
        settling: Vec<Settling>,
        cancel: &CancellationToken,
    ) -> Option<Report> {
        let words = join_all(settling.iter().map(|change| async move {
            let (receipt, owners) = (&change.receipt, &change.owners);
            let settled = self
                .zones
                .await_settled(&change.provider, receipt, owners, cancel);
            // A change that takes longer is looked for without the provider's word.
            match timeout(NOWHERE, settled).await {
                Ok(Ok(true)) => change.owners.clone(),
                _ => BTreeSet::new(),
            }
        }));
        let vouched = words.await.into_iter().flatten().collect();
        let hurry = Hurry {
            limit: NOWHERE,
            lag: LATE,
        };
        self.zones.try_visible(wanted, vouched, hurry, cancel).await
    }
}

/// Whether another name may be allowed where this one is not.
fn is_refusal(error: &WriteError) -> bool {
    match &error.reason {
        WriteProblem::Refused(_) => true,
        WriteProblem::Provider(error) => {
            matches!(error, crate::dns::ProviderError::Refused { .. })
        }
        WriteProblem::Unknown(_) => false,
    }
}

/// As a challenge has it (RFC 8555 section 8.4), because some services take nothing else.
#[expect(clippy::expect_used, reason = "43 octets fit any TXT record")]
fn value_of(key_authorization: &str) -> TxtValue {
    let digest = digest::digest(&digest::SHA256, key_authorization.as_bytes());
    TxtValue::from_bytes(URL_SAFE_NO_PAD.encode(digest)).expect("43 octets fit any TXT record")
}

/// As long as a token or a thumbprint, and of the same letters.
fn random_word() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

/// The label of the name below the challenge's owner.
const PROBE: &str = "_dnseal-probe";
/// Another run may look whether this certificate is being worked on.
const LOCK: Duration = Duration::from_millis(500);
/// A person waits for it.
const WRITE_PATIENCE: Duration = Duration::from_secs(8);
const REMOVAL: Duration = Duration::from_secs(20);
/// So long after a server has shown it, the others are late: BIND holds a NOTIFY that follows another back for 5 s.
const LATE: Duration = Duration::from_secs(12);
/// Hosted services take seconds; what nobody shows by then is told.
const NOWHERE: Duration = Duration::from_secs(20);
