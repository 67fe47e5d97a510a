//! From a reply to a verdict: one TXT question at one address.

use std::time::Duration;

use hickory_proto::rr::RData;
use hickory_proto::rr::RecordType;

use super::Wanted;
use super::report::brief;
use super::verdict::Unusable;
use super::verdict::Verdict;
use crate::dns::query::AskError;
use crate::dns::query::Asker;
use crate::dns::query::Problem;
use crate::dns::query::Reply;
use crate::dns::query::Transport;
use crate::dns::query::Upstream;
use crate::dns::query::from_wire;

/// Asks one address for the TXT values at the wanted name; answers also with the transport that was used last.
pub(super) async fn probe(
    asker: &Asker,
    upstream: &Upstream,
    wanted: &Wanted,
) -> (Verdict, Transport) {
    // What it said before, because what it says now is remembered at once.
    let remembered = match upstream {
        Upstream::Encrypted(resolver) => resolver.remembers_absence(&wanted.owner),
        _ => None,
    };
    let asked = asker.ask_upstream(upstream, &wanted.owner, RecordType::TXT);
    match asked.await {
        Ok(reply) => {
            let verdict = match upstream.is_recursive() {
                true => judge_advice(&reply, wanted, remembered),
                false => judge(&reply, wanted),
            };
            (verdict, reply.transport)
        }
        Err(error) => (
            Verdict::Unusable(Unusable::Silent(why_silent(&error))),
            match upstream {
                Upstream::Encrypted(resolver) => resolver.transport(),
                _ => Transport::Tcp,
            },
        ),
    }
}

/// What a reply says about the wanted values.
fn judge(reply: &Reply, wanted: &Wanted) -> Verdict {
    if !reply.is_conclusive() {
        return Verdict::Unusable(Unusable::Rcode(reply.rcode_name()));
    }
    if !reply.authoritative {
        return Verdict::Unusable(Unusable::NotAuthoritative);
    }
    compare(reply, wanted)
}

/// What a resolver's reply says about the wanted values. That there is nothing is advice until what it may remember has expired
/// (RFC 2308), because somebody may have asked it too early.
fn judge_advice(reply: &Reply, wanted: &Wanted, remembered: Option<Duration>) -> Verdict {
    if !reply.is_conclusive() {
        return Verdict::Unusable(Unusable::Rcode(reply.rcode_name()));
    }
    let verdict = compare(reply, wanted);
    let expires = match (&verdict, remembered) {
        (
            Verdict::LacksIt {
                found: 0,
                others: 0,
                alias: None,
                ..
            },
            left,
        ) => left.or_else(|| reply.soa().map(|soa| soa.negative_ttl)),
        _ => None,
    };
    match expires {
        Some(left) => Verdict::Unusable(Unusable::Remembered(format!(
            "{}, which it may remember for {}",
            reply.rcode_name(),
            brief(left)
        ))),
        None => verdict,
    }
}

/// Whether the wanted values are among the answers.
fn compare(reply: &Reply, wanted: &Wanted) -> Verdict {
    // Only what stands at the name itself: the end of an alias that the server followed is another name.
    let at_owner = || {
        reply
            .answers
            .iter()
            .filter(|record| from_wire(&record.name).as_ref() == Some(&wanted.owner))
    };
    let values = reply.txt_values(&wanted.owner);
    let alias = at_owner().find_map(|record| match &record.data {
        RData::CNAME(target) => Some(target.0.to_ascii().trim_end_matches('.').to_owned()),
        _ => None,
    });

    let found = wanted.values.iter().filter(|v| values.contains(v)).count();
    let others = values.iter().filter(|v| !wanted.values.contains(v)).count();
    match found == wanted.values.len() && alias.is_none() {
        true => Verdict::HasIt { others },
        false => Verdict::LacksIt {
            alias,
            found,
            others,
            rcode: reply.rcode_name(),
            serial: reply
                .soa()
                .filter(|soa| soa.zone == wanted.zone.zone)
                .map(|soa| soa.serial),
        },
    }
}

fn why_silent(error: &AskError) -> Option<String> {
    match error {
        AskError::NoAnswer {
            tcp: Problem::TimedOut,
            udp: Problem::TimedOut,
            ..
        } => None,
        AskError::NoAnswer {
            tcp,
            udp: Problem::Truncated,
            ..
        } => Some(format!("truncated over udp, then {tcp} over tcp")),
        AskError::NoAnswer { tcp, udp, .. } if tcp == udp => Some(tcp.to_string()),
        AskError::NoAnswer { tcp, udp, .. } => Some(format!("udp: {udp}, tcp: {tcp}")),
        AskError::Encrypted { problem, .. } => Some(problem.to_string()),
        other => Some(other.to_string()),
    }
}
