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
    note(
        provider,
        connection,
        changes,
        outcomes,
        |owner, value, answer| {
            misplaced(zone, owner, answer).or_else(|| missing(owner, value, answer))
        },
    )
    .await;
}

/// Puts an outcome at each added value that has none and can never be served.
pub(super) async fn note_misplaced(
    provider: &Rfc2136,
    connection: &mut Connection,
    zone: &Zone,
    changes: &[TxtChange],
    outcomes: &mut [Option<Outcome>],
) {
    note(
        provider,
        connection,
        changes,
        outcomes,
        |owner, _, answer| misplaced(zone, owner, answer),
    )
    .await;
}

async fn note(
    provider: &Rfc2136,
    connection: &mut Connection,
    changes: &[TxtChange],
    outcomes: &mut [Option<Outcome>],
    judge: impl Fn(&DomainName, &TxtValue, &Message) -> Option<Outcome> + Send,
) {
    // The last word about a value counts (RFC 2136 section 3.4.2).
    let mut last: BTreeMap<(&DomainName, &TxtValue), (usize, Action)> = BTreeMap::new();
    for (place, change) in changes.iter().enumerate() {
        if matches!(outcomes.get(place), Some(None)) {
            last.insert((&change.owner, &change.value), (place, change.action));
        }
    }
    last.retain(|_, (_, action)| *action == Action::Add);
    let owners: BTreeSet<&DomainName> = last.keys().map(|(owner, _)| *owner).collect();
    let owners: Vec<&DomainName> = owners.into_iter().collect();
    if owners.is_empty() {
        return;
    }

    let answers = ask(provider, connection, &owners).await;
    let answers: BTreeMap<&DomainName, Message> = owners
        .into_iter()
        .zip(answers)
        .filter_map(|(owner, answer)| Some((owner, answer?)))
        .collect();
    for ((owner, value), (place, _)) in last {
        if let (Some(outcome), Some(answer)) = (outcomes.get_mut(place), answers.get(owner)) {
            *outcome = judge(owner, value, answer);
        }
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

/// One answer for each owner, where there is one.
async fn ask(
    provider: &Rfc2136,
    connection: &mut Connection,
    owners: &[&DomainName],
) -> Vec<Option<Message>> {
    let nothing = || vec![None; owners.len()];
    let questions: Result<Vec<Message>, _> = owners
        .iter()
        .map(|owner| update::txt_query(owner))
        .collect();
    let Ok(questions) = questions else {
        return nothing();
    };
    // Signed questions first, for the reason that `Rfc2136::query` gives.
    for signed in [true, false]
        .into_iter()
        .skip(usize::from(provider.client.key.is_none()))
    {
        match provider.client.ask(connection, &questions, signed).await {
            Ok(answers) => {
                let answers: Vec<Option<Message>> = answers
                    .into_iter()
                    .map(|answer| answer.ok().filter(|a| !declined(a)))
                    .collect();
                // All or none: a server does not take signed questions for one name and not for another.
                if answers.iter().any(Option::is_some) {
                    return answers;
                }
            }
            Err(error) => {
                tracing::debug!(server = %provider.client.server, %error, "values not read back");
                return nothing();
            }
        }
    }
    nothing()
}

/// Why no value at `owner` in `zone` can ever be seen.
fn misplaced(zone: &Zone, owner: &DomainName, answer: &Message) -> Option<Outcome> {
    let reason = if let Some(target) = alias(owner, answer) {
        format!(
            "{owner} is a CNAME to {target}, and adding beside a CNAME is silently ignored (RFC 2136 section 3.4.2.2)"
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
