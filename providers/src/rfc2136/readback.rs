//! Whether the server now serves what it said yes to.
//!
//! Adding beside a CNAME, and adding below a delegation, are answered with NOERROR and have no effect. One question for
//! each owner of an added value, over the connection that carried the UPDATE, finds that out while it can still be named.
//! Where the server does not let us ask, its word is taken.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use dnseal_core::dns::Action;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::Outcome;
use dnseal_core::dns::TxtChange;
use dnseal_core::dns::TxtValue;
use dnseal_core::dns::Zone;
use hickory_proto::op::Message;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RData;

use crate::rfc2136::Rfc2136;
use crate::rfc2136::declined;
use crate::rfc2136::exchange::Connection;
use crate::rfc2136::update;

/// Puts an outcome at each added value that has none and is not served.
pub(super) async fn note_missing(
    provider: &Rfc2136,
    connection: &mut Connection,
    zone: &Zone,
    changes: &[TxtChange],
    outcomes: &mut [Option<Outcome>],
) {
    let added = Added::new(changes, outcomes);
    let answers = ask(provider, connection, added.owners()).await;
    for ((owner, value), place) in &added.places {
        if let (Some(outcome), Some(answer)) = (outcomes.get_mut(*place), answers.get(owner)) {
            *outcome = misplaced(zone, owner, answer).or_else(|| missing(owner, value, answer));
        }
    }
}

/// Puts an outcome at each value that was not added, has none and can never be served.
pub(super) async fn note_misplaced(
    provider: &Rfc2136,
    connection: &mut Connection,
    zone: &Zone,
    changes: &[TxtChange],
    outcomes: &mut [Option<Outcome>],
) {
    let added = Added::new(changes, outcomes);
    let mut answers = ask(provider, connection, added.owners()).await;

    // The CNAME that a wildcard makes (RFC 4592) is in nobody's way: it is gone once the name has a record of its own.
    let label = format!("dnseal-{:08x}", rand::random::<u32>());
    let siblings: BTreeMap<DomainName, DomainName> = answers
        .iter()
        .filter(|(owner, answer)| alias(owner, answer).is_some())
        .filter_map(|(owner, _)| Some((owner.clone(), owner.parent()?.child(&label).ok()?)))
        .collect();
    let beside = ask(provider, connection, siblings.values().cloned().collect()).await;
    answers.retain(|owner, answer| {
        let sibling = siblings.get(owner).and_then(|s| Some((s, beside.get(s)?)));
        sibling.is_none_or(|(s, other)| alias(s, other) != alias(owner, answer))
    });

    for ((owner, _), place) in &added.places {
        if let (Some(outcome), Some(answer)) = (outcomes.get_mut(*place), answers.get(owner)) {
            *outcome = misplaced(zone, owner, answer);
        }
    }
}

/// The values that changes without an outcome add in the end.
struct Added {
    places: BTreeMap<(DomainName, TxtValue), usize>,
}

impl Added {
    fn new(changes: &[TxtChange], outcomes: &[Option<Outcome>]) -> Self {
        let mut places = BTreeMap::new();
        for (place, (change, _)) in changes
            .iter()
            .zip(outcomes)
            .enumerate()
            .filter(|(_, (_, outcome))| outcome.is_none())
        {
            let what = (change.owner.clone(), change.value.clone());
            // The last word about a value counts (RFC 2136 section 3.4.2).
            match change.action {
                Action::Add => places.insert(what, place),
                Action::Remove => places.remove(&what),
            };
        }
        Self { places }
    }

    fn owners(&self) -> Vec<DomainName> {
        let owners: BTreeSet<&DomainName> = self.places.keys().map(|(owner, _)| owner).collect();
        owners.into_iter().cloned().collect()
    }
}

/// The TXT values at `owner` in an answer.
pub(super) fn values(owner: &DomainName, answer: &Message) -> Vec<TxtValue> {
    answer
        .answers
        .iter()
        .filter(|r| update::domain_name(&r.name).as_ref() == Some(owner))
        .filter_map(|r| match &r.data {
            RData::TXT(txt) => update::value(txt),
            _ => None,
        })
        .collect()
}

/// Whether the server speaks of a zone that it holds.
pub(super) fn authoritative(answer: &Message) -> bool {
    let code = answer.metadata.response_code;
    answer.metadata.authoritative && matches!(code, ResponseCode::NoError | ResponseCode::NXDomain)
}

/// What the server says about the TXT values at each owner, where it says something.
async fn ask(
    provider: &Rfc2136,
    connection: &mut Connection,
    owners: Vec<DomainName>,
) -> BTreeMap<DomainName, Message> {
    let questions: Result<Vec<Message>, _> = owners.iter().map(update::txt_query).collect();
    let Ok(questions) = questions else {
        return BTreeMap::new();
    };
    // Signed questions first, for the reason that `Rfc2136::query` gives.
    let unsigned_only = usize::from(provider.client.key.is_none());
    for signed in [true, false].into_iter().skip(unsigned_only) {
        let answers = match provider.client.ask(connection, &questions, signed).await {
            Ok(answers) => answers,
            Err(error) => {
                tracing::debug!(server = %provider.client.server, %error, "values not read back");
                break;
            }
        };
        let told: BTreeMap<DomainName, Message> = owners
            .iter()
            .zip(answers)
            .filter_map(|(owner, answer)| Some((owner.clone(), answer.ok()?)))
            .filter(|(_, answer)| !declined(answer))
            .collect();
        // All or none: a server does not take signed questions for one name and not for another.
        if !told.is_empty() {
            return told;
        }
    }
    BTreeMap::new()
}

/// Why no value at `owner` in `zone` can ever be seen.
fn misplaced(zone: &Zone, owner: &DomainName, answer: &Message) -> Option<Outcome> {
    let reason = if let Some(target) = alias(owner, answer) {
        format!(
            "{owner} is a CNAME to {target}, and adding beside a CNAME is silently ignored (RFC 2136 section 3.4.2.2): remove it, or let the challenge live where it leads"
        )
    } else if let Some(cut) = delegated(owner, answer) {
        format!(
            "{owner} is below {cut}, which is delegated to other name servers, so that nobody is told of values here"
        )
    } else if let Some(deeper) = deeper(zone, owner, answer) {
        format!(
            "{owner} is in the zone {deeper}, which the server holds as well, so that nobody is told of values in {}",
            zone.name
        )
    } else {
        return None;
    };
    Some(Outcome::Refused { reason })
}

/// Why a value is not served; `None` where it is, or where nobody can tell.
fn missing(owner: &DomainName, value: &TxtValue, answer: &Message) -> Option<Outcome> {
    if !authoritative(answer) || values(owner, answer).contains(value) {
        return None;
    }
    Some(Outcome::Unknown {
        reason: format!(
            "the server accepted the value at {owner} and does not serve it; another client may have replaced all values there"
        ),
    })
}

/// The zone below `zone` that the negative answer comes from.
fn deeper(zone: &Zone, owner: &DomainName, answer: &Message) -> Option<DomainName> {
    answer
        .authorities
        .iter()
        .filter(|r| authoritative(answer) && matches!(r.data, RData::SOA(_)))
        .filter_map(|r| update::domain_name(&r.name))
        .find(|apex| *apex != zone.name && apex.is_within(&zone.name) && owner.is_within(apex))
}

fn alias(owner: &DomainName, answer: &Message) -> Option<String> {
    answer
        .answers
        .iter()
        .filter(|r| update::domain_name(&r.name).as_ref() == Some(owner))
        .find_map(|r| match &r.data {
            RData::CNAME(target) => Some(target.0.to_ascii().trim_end_matches('.').to_owned()),
            _ => None,
        })
}

fn delegated(owner: &DomainName, answer: &Message) -> Option<DomainName> {
    let referral = !answer.metadata.authoritative && answer.answers.is_empty();
    answer
        .authorities
        .iter()
        .filter(|r| referral && matches!(r.data, RData::NS(_)))
        .filter_map(|r| update::domain_name(&r.name))
        .find(|cut| owner.is_within(cut))
}
