//! Putting values into DNS and taking them out, with the head always ahead of it.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Engine;
use super::IssueError;
use super::gone::Left;
use super::gone::gone_already;
use super::gone::set_by_hand;
use super::gone::still_served;
use super::turns::Turns;
use super::unanswered;
use crate::acme::Challenge;
use crate::dns::Action;
use crate::dns::Announcement;
use crate::dns::ByHand;
use crate::dns::DomainName;
use crate::dns::Identifier;
use crate::dns::NamedProvider;
use crate::dns::Origin;
use crate::dns::Place;
use crate::dns::Receipt;
use crate::dns::TxtChange;
use crate::dns::TxtValue;
use crate::dns::Zone;
use crate::event::Events;
use crate::event::Step;
use crate::event::What;
use crate::store::HeadSession;
use crate::store::Published;
use crate::store::StoreError;

/// A challenge, and where its value goes.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The URL of the authorization.
    pub(super) authorization: String,
    pub(super) identifier: Identifier,
    pub(super) challenge: Challenge,
    pub(super) key_authorization: String,
    pub(super) place: Place,
    pub(super) value: TxtValue,
}

impl Target {
    fn published(&self, since: Timestamp) -> Published {
        entry(&self.place, &self.place.location.owner, &self.value, since)
    }
}

/// A value as the head has it before it is written.
pub(super) fn entry(
    place: &Place,
    owner: &DomainName,
    value: &TxtValue,
    since: Timestamp,
) -> Published {
    Published {
        endpoint: place.provider.provider.endpoint(),
        provider: place.provider.name.clone(),
        zone: place.zone.clone(),
        owner: owner.clone(),
        value: value.clone(),
        ttl: place.ttl(),
        handle: None,
        since,
        unanswered: Vec::new(),
    }
}

/// A change that a provider can be asked about.
#[derive(Clone, Debug)]
pub(super) struct Settling {
    pub(super) owners: BTreeSet<DomainName>,
    pub(super) provider: NamedProvider,
    pub(super) receipt: Receipt,
}

/// Writes the values of all targets: into the head, and then into DNS with one submission a zone. What comes back is what the
/// providers can be asked about.
pub(super) async fn publish(
    engine: &Engine,
    session: &HeadSession,
    targets: &[Target],
    announcement: Option<Announcement>,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Vec<Settling>, IssueError> {
    let now = Timestamp::now();
    let values: Vec<Published> = targets.iter().map(|t| t.published(now)).collect();
    let known = session.head().await.published;
    let known: Vec<Published> = known.into_iter().filter(among(&values)).collect();
    // An earlier run's program might remove what we write, in the belief that its run does not need it any more.
    unanswered::settle(engine, session, &known, cancel.cancelled(), events).await;
    session
        .update(|head| {
            for new in &values {
                if !head.published.iter().any(|p| same_value(p, new)) {
                    head.published.push(new.clone());
                }
            }
            unanswered::begin(engine, head, &values);
        })
        .await?;
    for target in targets {
        progress(events, target, Step::Planned);
    }
    engine.reached(super::Checkpoint::HeadWritten).await;

    let mut zones: HashMap<(String, Zone), Vec<&Target>> = HashMap::new();
    for target in targets {
        let key = (
            target.place.provider.name.clone(),
            target.place.zone.clone(),
        );
        zones.entry(key).or_default().push(target);
    }
    let mut submissions = Vec::new();
    for group in zones.into_values() {
        let changes = group
            .iter()
            .enumerate()
            .map(|(at, target)| add(target, group.len() - 1 - at))
            .collect();
        let place = &group[0].place;
        let submission = engine
            .zones
            .submit(&place.provider, &place.zone, changes, cancel);
        submissions.push((group, submission));
    }
    drop(announcement);

    let mut errors = Vec::new();
    let mut answered = Vec::new();
    let mut handles = Vec::new();
    let mut receipts = Vec::new();
    let (asked, mut heard) = (submissions.len(), 0);
    for (group, submission) in submissions {
        let written = tokio::select! {
            biased;
            // What has answered tells how it is taken out again.
            written = submission.written() => written,
            () = cancel.cancelled() => None,
        };
        let Some(written) = written else { continue };
        heard += 1;
        receipts.push(Settling {
            owners: group
                .iter()
                .map(|target| target.place.location.owner.clone())
                .collect(),
            provider: group[0].place.provider.clone(),
            receipt: written.receipt,
        });
        for (target, result) in group.into_iter().zip(written.results) {
            answered.push(target.published(now));
            match result {
                Ok(handle) => {
                    progress(events, target, Step::Written);
                    handles.extend(handle.map(|h| (target.published(now), h)));
                }
                Err(error) => {
                    progress(events, target, Step::Failed);
                    errors.push((target.identifier.clone(), error));
                }
            }
        }
    }
    session
        .update(|head| {
            unanswered::end(head, &answered);
            for (new, handle) in handles {
                if let Some(p) = head.published.iter_mut().find(|p| same_value(p, &new)) {
                    p.handle = Some(handle);
                }
            }
        })
        .await?;
    // A write that is given up for it has an error of its own.
    if heard < asked || cancel.is_cancelled() {
        return Err(IssueError::Cancelled);
    }
    match errors.is_empty() {
        true => Ok(receipts),
        false => Err(IssueError::Write { errors }),
    }
}

/// How long each step of giving back may take; an interruption shortens what is left of all of them.
#[derive(Debug)]
pub(super) struct Limit<'a> {
    at_most: Duration,
    cancel: &'a CancellationToken,
    /// Since when an interruption is known.
    interrupted: OnceLock<Instant>,
}

impl<'a> Limit<'a> {
    pub(super) fn new(at_most: Duration, cancel: &'a CancellationToken) -> Self {
        Self {
            at_most,
            cancel,
            interrupted: OnceLock::new(),
        }
    }

    /// Returns when the time is over.
    pub(super) async fn over(&self) {
        let interrupted = async {
            self.cancel.cancelled().await;
            let since = *self.interrupted.get_or_init(Instant::now);
            tokio::time::sleep_until(since + AFTER_INTERRUPTION).await;
        };
        tokio::select! {
            () = tokio::time::sleep(self.at_most) => {}
            () = interrupted => {}
        }
    }
}

/// Takes `values` out of DNS, and out of the head as far as they are gone. What cannot be withdrawn in time stays in the head
/// for the next run, and is told as a warning; returns how many those are. So does what is still served although it was removed.
pub(super) async fn withdraw(
    engine: &Engine,
    session: &HeadSession,
    values: Vec<Published>,
    limit: &Limit<'_>,
    events: &Events,
) -> Result<Left, IssueError> {
    withdraw_with(engine, session, values, How::default(), limit, events).await
}

/// What else there is to know about values that are withdrawn.
#[derive(Debug, Default)]
pub(super) struct How<'a> {
    /// That they would be was said before.
    pub(super) announcement: Option<Announcement>,
    /// Those that the provider never took, and of which nothing is left if it refuses to remove them, too.
    pub(super) refused: Vec<Published>,
    /// The turns at owner names that whoever withdraws has already.
    pub(super) turns: Option<&'a Turns>,
}

/// As [`withdraw`], with more to know.
pub(super) async fn withdraw_with(
    engine: &Engine,
    session: &HeadSession,
    values: Vec<Published>,
    how: How<'_>,
    limit: &Limit<'_>,
    events: &Events,
) -> Result<Left, IssueError> {
    let total = values.len();
    let mut why: Vec<(Published, String)> = Vec::new();
    // A removal may take more than its value with it, so it waits until nobody else's stands there.
    let (values, _turns) = in_turn(engine, values, how.turns, limit, events, &mut why).await;
    let open = unanswered::settle(engine, session, &values, limit.over(), events).await;
    // A store that takes nothing any more keeps no value in DNS.
    let _ = session
        .update(|head| unanswered::begin(engine, head, &values))
        .await;
    let mut zones: HashMap<(String, Zone), Vec<Published>> = HashMap::new();
    for value in values {
        zones
            .entry((value.provider.clone(), value.zone.clone()))
            .or_default()
            .push(value);
    }
    let cancel = CancellationToken::new();
    let mut submissions = Vec::new();
    for ((name, zone), group) in zones {
        match engine.zones.provider(&name) {
            Ok(provider) => {
                let now = provider.provider.endpoint();
                let (group, elsewhere): (Vec<_>, Vec<_>) = group
                    .into_iter()
                    .partition(|p| p.endpoint.is_empty() || p.endpoint == now);
                for value in elsewhere {
                    let endpoint = &value.endpoint;
                    let reason = format!("it was written to {endpoint}, and not to {now}");
                    why.push((value.clone(), reason));
                    events.warn(
                        format!(
                            "the value at {} in zone {} was written to {}, and provider `{name}` writes to {now} now",
                            value.owner, zone.name, value.endpoint
                        ),
                        Some(format!(
                            "let `{name}` write to {} once more and say `dnseal dns gc`; where that server is gone for good, `dnseal dns gc --forget` drops what cannot be withdrawn",
                            value.endpoint
                        )),
                    );
                }
                if group.is_empty() {
                    continue;
                }
                let changes = group.iter().map(remove).collect();
                let submission = engine.zones.submit(provider, &zone, changes, &cancel);
                submissions.push((zone, group, submission));
            }
            Err(error) => {
                events.warn(
                    format!("{} left in zone {}: {error}", count(group.len()), zone.name),
                    error.hint(),
                );
                let reason = error.to_string();
                why.extend(group.into_iter().map(|value| (value, reason.clone())));
            }
        }
    }
    drop(how.announcement);
    let over = limit.over();
    tokio::pin!(over);
    let mut is_over = false;
    let mut answered = Vec::new();
    let mut gone = Vec::new();
    let mut failed = Vec::new();
    for (zone, group, submission) in submissions {
        let written = tokio::select! {
            biased;
            written = submission.written() => Some(written),
            () = &mut over, if !is_over => None,
            () = std::future::ready(()), if is_over => None,
        };
        let Some(written) = written else {
            is_over = true;
            // The zone's writer goes on with the call that runs, and begins none again.
            cancel.cancel();
            events.warn(
                format!(
                    "{} may be left in zone {}: no time to wait for the answer",
                    count(group.len()),
                    zone.name
                ),
                Some(LATER.to_owned()),
            );
            let reason = "there was no time to wait for the answer";
            why.extend(group.into_iter().map(|value| (value, reason.to_owned())));
            continue;
        };
        let Some(written) = written else {
            let reason = "it was not tried";
            why.extend(group.into_iter().map(|value| (value, reason.to_owned())));
            continue;
        };
        for (value, result) in group.into_iter().zip(written.results) {
            answered.push(value.clone());
            match result {
                Ok(_) if open.iter().any(|o| same_value(o, &value)) => {
                    events.warn(
                        format!(
                            "the value at {} is withdrawn and stays on record, because a program that an earlier run has left may still write it",
                            value.owner
                        ),
                        Some("the next run for this certificate withdraws it once more, and so does `dnseal dns gc`".to_owned()),
                    );
                    let reason = "a program that an earlier run has left may still write it";
                    why.push((value, reason.to_owned()));
                }
                Ok(_) => gone.push(value),
                Err(error)
                    if !error.is_retryable()
                        && how.refused.iter().any(|r| same_value(r, &value)) =>
                {
                    gone.push(value);
                }
                Err(error) => failed.push((value, error)),
            }
        }
    }
    let values: Vec<Published> = failed.iter().map(|(value, _)| value.clone()).collect();
    let gone_already = gone_already(engine, &values, limit).await;
    for (value, error) in failed {
        if gone_already.iter().any(|gone| same_value(gone, &value)) {
            gone.push(value);
            continue;
        }
        events.warn(
            error.to_string(),
            error.hint().or_else(|| {
                Some(
                    "the next run for this certificate tries again, and so does `dnseal dns gc`"
                        .to_owned(),
                )
            }),
        );
        why.push((value, error.reason.to_string()));
    }
    let mut left = Left {
        failed: total - gone.len(),
        ..Left::default()
    };
    let (served, unseen) = still_served(engine, &gone, limit, events).await;
    gone.retain(|value| !served.iter().any(|(served, _)| same_value(served, value)));
    left.served = served.len();
    left.unseen = unseen;
    why.extend(served);
    left.why = why;
    let asked = gone.iter().filter(|value| engine.is_by_hand(value));
    (left.by_hand, left.never_set) = set_by_hand(engine, asked.cloned().collect(), limit).await;
    let by_hand: BTreeSet<ByHand> = left
        .by_hand
        .iter()
        .map(|value| ByHand::value(&value.owner, &value.value, value.ttl))
        .collect();
    if !by_hand.is_empty() {
        events.emit(What::ByHand {
            records: by_hand.into_iter().collect(),
            remove: true,
            at_most: None,
        });
    }
    session
        .update(|head| {
            unanswered::end(head, &answered);
            head.published.retain(|p| !among(&gone)(p));
        })
        .await?;
    Ok(left)
}

/// Of `values` those that may be withdrawn now, and the turns that this takes beyond those in `held`.
async fn in_turn(
    engine: &Engine,
    values: Vec<Published>,
    held: Option<&Turns>,
    limit: &Limit<'_>,
    events: &Events,
    why: &mut Vec<(Published, String)>,
) -> (Vec<Published>, Option<Turns>) {
    let waits = |value: &Published| {
        held.is_none_or(|held| !held.hold(&value.owner))
            && engine
                .zones
                .provider(&value.provider)
                .is_ok_and(|p| p.provider.capabilities().takes_turns())
    };
    let owners: BTreeSet<DomainName> = values
        .iter()
        .filter(|value| waits(value))
        .map(|value| value.owner.clone())
        .collect();
    if owners.is_empty() {
        return (values, None);
    }
    let cancel = CancellationToken::new();
    let turns = tokio::select! {
        biased;
        turns = Turns::take(engine, owners.clone(), limit.at_most, events, &cancel) => turns,
        () = limit.over() => Err(StoreError::Cancelled { what: "owner names".to_owned() }),
    };
    match turns {
        Ok(turns) => (values, Some(turns)),
        Err(error) => {
            let (later, now): (Vec<_>, Vec<_>) =
                values.into_iter().partition(|v| owners.contains(&v.owner));
            events.warn(
                format!("{} left in DNS: {error}", count(later.len())),
                Some(LATER.to_owned()),
            );
            let reason = error.to_string();
            why.extend(later.into_iter().map(|value| (value, reason.clone())));
            (now, None)
        }
    }
}

/// Whether an entry is one of these values.
fn among(values: &[Published]) -> impl Fn(&Published) -> bool {
    |entry| values.iter().any(|value| same_value(value, entry))
}

/// Whether two entries are the same value at the same place.
pub(super) fn same_value(a: &Published, b: &Published) -> bool {
    a.provider == b.provider
        && a.endpoint == b.endpoint
        && a.zone == b.zone
        && a.owner == b.owner
        && a.value == b.value
}

fn add(target: &Target, remaining: usize) -> TxtChange {
    TxtChange {
        action: Action::Add,
        handle: None,
        origin: Some(Origin {
            identifier: target.identifier.clone(),
            key_authorization: target.key_authorization.clone(),
            remaining,
            token: target.challenge.token.clone(),
        }),
        owner: target.place.location.owner.clone(),
        ttl: target.place.ttl(),
        value: target.value.clone(),
    }
}

fn remove(value: &Published) -> TxtChange {
    TxtChange {
        action: Action::Remove,
        handle: value.handle.clone(),
        origin: None,
        owner: value.owner.clone(),
        ttl: value.ttl,
        value: value.value.clone(),
    }
}

fn progress(events: &Events, target: &Target, step: Step) {
    events.emit(What::Progress {
        identifier: target.identifier.clone(),
        step,
    });
}

fn count(values: usize) -> String {
    match values {
        1 => "1 value".to_owned(),
        n => format!("{n} values"),
    }
}

const LATER: &str = "the next run for this certificate withdraws them, and so does `dnseal dns gc`";
/// What an interruption leaves of the time, because somebody waits for the prompt.
const AFTER_INTERRUPTION: Duration = Duration::from_secs(5);
