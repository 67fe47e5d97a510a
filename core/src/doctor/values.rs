//! What stands at the challenge name already, and how large an answer with it is.

use crate::dns::Discovery;
use crate::dns::Place;
use crate::dns::RecordType;

use super::Check;
use super::Finding;

pub(super) async fn check(discovery: &Discovery, place: &Place) -> Option<Finding> {
    let owner = &place.location.owner;
    // What cannot be asked is told by the check of the servers.
    let reply = discovery.ask(owner, RecordType::TXT).await.ok()?;
    let values: Vec<usize> = reply
        .answers
        .iter()
        .filter(|record| record.record_type() == RecordType::TXT)
        .map(|record| record.data.to_string().len())
        .collect();
    let count = values.len();
    let octets =
        HEADER + owner.as_str().len() + 2 + values.iter().map(|n| n + RECORD).sum::<usize>();
    Some(match count {
        0 => Finding::ok(Check::Values, owner, "no value stands there"),
        1 => Finding::ok(Check::Values, owner, "1 value stands there"),
        _ if octets <= ONE_DATAGRAM => {
            Finding::ok(Check::Values, owner, format!("{count} values stand there"))
        }
        _ => Finding::warning(
            Check::Values,
            owner,
            format!(
                "{count} values stand there, about {octets} octets in an answer: more than one datagram of {ONE_DATAGRAM}, so CAs have to ask over TCP, and refuse what is much larger"
            ),
        )
        .fix(format!(
            "remove what nobody waits for: `dnseal dns list {owner}`, then `dnseal dns unset {owner} VALUE`; `dnseal dns gc` removes what runs from here have left"
        )),
    })
}

/// What fits every path unfragmented (DNS flag day 2020).
const ONE_DATAGRAM: usize = 1232;
/// The header, the fixed part of the question, and OPT.
const HEADER: usize = 12 + 4 + 11;
/// A compressed owner, type, class, TTL, two lengths (RFC 1035 sections 3.2.1 and 4.1.4).
const RECORD: usize = 13;
