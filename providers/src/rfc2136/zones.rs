//! What SOA questions tell: which zone holds a name, and whether it is the key or the zone that a server declines.
//!
//! Zones are found at the server itself, because that is the one that will be written to; what the rest of the world says
//! about the name does not matter here.

use dnseal_core::dns::DomainName;
use hickory_proto::op::Message;
use hickory_proto::rr::RData;
use hickory_proto::rr::Record;

use crate::rfc2136::Rfc2136;
use crate::rfc2136::declined;
use crate::rfc2136::exchange::Connection;
use crate::rfc2136::tsig::VerifyError;
use crate::rfc2136::update;

/// What an answer to a SOA question says about the zones of the server.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Held {
    /// Not this name, but perhaps a zone above it.
    LookAbove(DomainName),
    Nothing,
    Zone(DomainName),
}

impl Held {
    pub(super) fn read(name: &DomainName, answer: &Message) -> Self {
        let apex = |records: &[Record]| {
            records
                .iter()
                .filter(|r| matches!(r.data, RData::SOA(_)))
                .filter_map(|r| update::domain_name(&r.name))
                .find(|apex| name.is_within(apex))
        };
        if !answer.metadata.authoritative {
            // A referral: the server holds the zone above, if any.
            return answer
                .authorities
                .iter()
                .filter(|r| answer.answers.is_empty() && matches!(r.data, RData::NS(_)))
                .filter_map(|r| update::domain_name(&r.name))
                .find(|cut| name.is_within(cut))
                .map_or(Self::Nothing, Self::LookAbove);
        }
        // An alias is no apex, and the SOA that comes with it may be its target's.
        if answer
            .answers
            .iter()
            .any(|r| matches!(r.data, RData::CNAME(_)))
        {
            return Self::LookAbove(name.clone());
        }
        apex(&answer.answers)
            .or_else(|| apex(&answer.authorities))
            .map_or(Self::Nothing, Self::Zone)
    }
}

/// How key and zone stand with a server that declined without signing what it said.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Standing {
    /// The server says what is wrong with the signature.
    BadSignature(VerifyError),
    /// The server takes the key, and holds the zone.
    Good,
    /// The server answers for the zone, but not when it is asked with this key.
    KeyDeclined,
    /// The server is not authoritative for the zone.
    NoZone,
    /// The server does not let itself be asked.
    Unknown,
}

impl Standing {
    pub(super) async fn find(
        provider: &Rfc2136,
        connection: &mut Connection,
        zone: &DomainName,
    ) -> Self {
        let Ok(question) = update::soa_query(zone) else {
            return Self::Unknown;
        };
        let held = Held::Zone(zone.clone());
        match provider.ask_one(connection, &question, true).await {
            Ok(Ok(answer)) if Held::read(zone, &answer) == held => return Self::Good,
            Ok(Err(error @ (VerifyError::Mac | VerifyError::Time(_) | VerifyError::Tsig(_)))) => {
                return Self::BadSignature(error);
            }
            Ok(_) => {}
            Err(_) => return Self::Unknown,
        }
        match provider.ask_one(connection, &question, false).await {
            Ok(Ok(answer)) if Held::read(zone, &answer) == held => Self::KeyDeclined,
            Ok(Ok(answer)) if !declined(&answer) => Self::NoZone,
            _ => Self::Unknown,
        }
    }
}
