//! Where the value of a challenge has to go.
//!
//! A CA follows CNAME and DNAME from the challenge name, and zone cuts as every resolver does; [`Discovery::locate`]
//! does the same at the authoritative servers. A CNAME that a wildcard synthesizes is no delegation: the value goes to
//! the challenge name itself, which then hides the wildcard. A server that fails is an error and never "no alias", or a
//! moment's SERVFAIL would write the value where no CA looks for it.

use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::Name;
use hickory_proto::rr::RData;
use hickory_proto::rr::Record;
use hickory_proto::rr::RecordType;
use hickory_proto::serialize::binary::BinDecodable;
use hickory_proto::serialize::binary::BinDecoder;
use serde::Serialize;
use serde::Serializer;
use tokio::time::timeout;

use crate::dns::DomainName;
use crate::dns::discovery::Answer;
use crate::dns::discovery::Discovery;
use crate::dns::discovery::DiscoveryError;
use crate::dns::discovery::Known;
use crate::dns::discovery::ZoneServers;
use crate::dns::query::Reply;
use crate::dns::query::from_wire;

/// Where a value goes, and who shows it to the CA.
#[derive(Clone, Debug, Serialize)]
pub struct Location {
    /// The name that was asked for, such as `_acme-challenge.example.com`.
    pub asked: DomainName,
    /// The names that were followed after it, the owner last; empty where nothing is delegated.
    pub chain: Vec<DomainName>,
    /// The name that holds the value.
    pub owner: DomainName,
    /// Where a wildcard's CNAME points to that was recognized as no delegation.
    pub wildcard: Option<DomainName>,
    /// The zone that holds the owner name, with its servers.
    #[serde(serialize_with = "shared")]
    pub zone: Arc<ZoneServers>,
}

impl Location {
    /// Whether the value goes somewhere else than to the name that was asked for.
    pub fn is_delegated(&self) -> bool {
        self.owner != self.asked
    }
}

impl Discovery {
    /// Follows the aliases of a challenge name to its final owner name, and finds the zone that holds it.
    ///
    /// # Errors
    ///
    /// When a question on the way has no usable answer, when aliases lead in a circle, are more than 16, or point to where
    /// no zone is; after 30 s.
    pub async fn locate(&self, asked: &DomainName) -> Result<Location, DiscoveryError> {
        match timeout(LOCATE_TIMEOUT, self.follow(asked)).await {
            Ok(result) => result,
            Err(_) => Err(DiscoveryError::TimedOut {
                name: asked.clone(),
                after: LOCATE_TIMEOUT,
            }),
        }
    }

    /// The place of a name without following any alias there.
    ///
    /// # Errors
    ///
    /// As [`Self::locate`].
    pub async fn locate_here(&self, asked: &DomainName) -> Result<Location, DiscoveryError> {
        let finding = async {
            let (known, reply) = self.walk(asked, RecordType::CNAME).await?;
            let known = match (reply.soa(), alias(&reply, asked)?) {
                (Some(_), None) => known,
                _ => self.apex_of(known, asked).await?,
            };
            self.located(asked, Vec::new(), &known, None).await
        };
        match timeout(LOCATE_TIMEOUT, finding).await {
            Ok(result) => result,
            Err(_) => Err(DiscoveryError::TimedOut {
                name: asked.clone(),
                after: LOCATE_TIMEOUT,
            }),
        }
    }

    /// The alias that stands at a name itself, and not by a wildcard; none where that cannot be told. No value can stand beside it.
    pub(super) async fn alias_at(&self, name: &DomainName) -> Option<DomainName> {
        let looking = async {
            let (known, reply) = self.walk(name, RecordType::CNAME).await.ok()?;
            let alias = alias(&reply, name).ok()??;
            let is_cname = alias.from == From::Cname;
            // A wildcard may also lead each name elsewhere.
            let beside = self.alias_beside(&known, name).await.ok()?;
            (is_cname && matches!(beside, Beside::Nothing)).then_some(alias.target)
        };
        timeout(LOCATE_TIMEOUT, looking).await.ok().flatten()
    }

    /// The place of a name that somebody says is an alias of `target`; aliases are followed from there.
    ///
    /// # Errors
    ///
    /// As [`Self::locate`].
    pub async fn locate_at(
        &self,
        asked: &DomainName,
        target: &DomainName,
    ) -> Result<Location, DiscoveryError> {
        let mut location = self.locate(target).await?;
        location.chain.insert(0, target.clone());
        location.asked = asked.clone();
        Ok(location)
    }

    async fn follow(&self, asked: &DomainName) -> Result<Location, DiscoveryError> {
        let mut chain: Vec<DomainName> = Vec::new();
        loop {
            let name = chain.last().unwrap_or(asked).clone();
            let (known, reply) = match self.walk(&name, RecordType::CNAME).await {
                Ok(found) => found,
                Err(error) => return Err(dangling(error, asked, &chain)),
            };
            let Some(alias) = alias(&reply, &name)? else {
                let known = match reply.soa() {
                    Some(_) => known,
                    None => self.apex_of(known, &name).await?,
                };
                return self.located(asked, chain, &known, None).await;
            };
            if alias.from == From::Cname && self.is_wildcard(&known, &name, &alias).await? {
                let known = self.apex_of(known, &name).await?;
                return self.located(asked, chain, &known, Some(alias.target)).await;
            }

            let again = alias.target == *asked || chain.contains(&alias.target);
            chain.push(alias.target);
            let all = || [std::slice::from_ref(asked), &chain].concat();
            if again {
                return Err(DiscoveryError::Loop { chain: all() });
            }
            if chain.len() > MOST_ALIASES {
                return Err(DiscoveryError::TooManyAliases { chain: all() });
            }
        }
    }

    async fn located(
        &self,
        asked: &DomainName,
        chain: Vec<DomainName>,
        known: &Known,
        wildcard: Option<DomainName>,
    ) -> Result<Location, DiscoveryError> {
        let owner = chain.last().unwrap_or(asked).clone();
        Ok(Location {
            asked: asked.clone(),
            zone: self.complete(known, &owner).await?,
            owner,
            chain,
            wildcard,
        })
    }

    /// Whether a name that nobody can have written has the same alias.
    ///
    /// A CNAME written at the very name beside a wildcard with the same target looks the same from outside. It counts as
    /// the wildcard and is reported as such: a value written at the name then meets the CNAME there, which providers
    /// refuse or ignore (RFC 2136 section 3.4.2.2), and the servers are seen to answer with the alias before the CA asks.
    async fn is_wildcard(
        &self,
        known: &Known,
        name: &DomainName,
        alias: &Alias,
    ) -> Result<bool, DiscoveryError> {
        let beside = self.alias_beside(known, name).await?;
        Ok(matches!(beside, Beside::Alias(other) if other.target == alias.target))
    }

    /// What stands at a name that nobody can have written, beside `name`.
    async fn alias_beside(
        &self,
        known: &Known,
        name: &DomainName,
    ) -> Result<Beside, DiscoveryError> {
        let label = format!("dnseal-{:016x}", rand::random::<u64>());
        let sibling = name.parent().and_then(|parent| parent.child(&label).ok());
        let Some(sibling) = sibling.filter(|sibling| known.contains(sibling)) else {
            return Ok(Beside::Unknown);
        };
        Ok(
            match self.query(known, &sibling, RecordType::CNAME).await? {
                Answer::Authoritative(reply) => match alias(&reply, &sibling)? {
                    Some(other) => Beside::Alias(other),
                    None => Beside::Nothing,
                },
                Answer::Referral { .. } => Beside::Unknown,
            },
        )
    }
}

/// What is at a name that nobody has written.
enum Beside {
    /// By a wildcard.
    Alias(Alias),
    Nothing,
    /// There is no such name in the zone.
    Unknown,
}

/// One step of a delegation.
#[derive(Debug, Eq, PartialEq)]
pub(in crate::dns) struct Alias {
    from: From,
    pub(in crate::dns) target: DomainName,
}

#[derive(Debug, Eq, PartialEq)]
enum From {
    Cname,
    Dname,
}

/// The alias at `name` in an authoritative reply (RFC 1034 section 3.6.2, RFC 6672 section 2.2).
pub(in crate::dns) fn alias(
    reply: &Reply,
    name: &DomainName,
) -> Result<Option<Alias>, DiscoveryError> {
    let dname = reply.answers.iter().find_map(|record| {
        let above =
            from_wire(&record.name).filter(|above| name != above && name.is_within(above))?;
        Some((above, dname_target(record)?))
    });
    if let Some((above, target)) = dname {
        let target = target.to_ascii();
        let target = target.trim_end_matches('.');
        let kept = name
            .as_str()
            .strip_suffix(above.as_str())
            .unwrap_or_default();
        let target = format!("{kept}{target}");
        return match target.parse() {
            Ok(target) => Ok(Some(Alias {
                from: From::Dname,
                target,
            })),
            Err(_) => Err(DiscoveryError::Target {
                owner: name.clone(),
                target,
            }),
        };
    }

    let cname = reply.answers.iter().find_map(|record| match &record.data {
        RData::CNAME(target) if from_wire(&record.name).as_ref() == Some(name) => Some(&target.0),
        _ => None,
    });
    match cname {
        None => Ok(None),
        Some(target) => match from_wire(target) {
            Some(target) => Ok(Some(Alias {
                from: From::Cname,
                target,
            })),
            None => Err(DiscoveryError::Target {
                owner: name.clone(),
                target: target.to_ascii(),
            }),
        },
    }
}

/// The target of a DNAME record, which the wire library leaves unread.
fn dname_target(record: &Record) -> Option<Name> {
    match &record.data {
        RData::Unknown { code, rdata } if *code == RecordType::DNAME => {
            // Never compressed (RFC 6672 section 2.5), so the record holds all of it.
            Name::read(&mut BinDecoder::new(&rdata.anything)).ok()
        }
        _ => None,
    }
}

fn shared<T: Serialize, S: Serializer>(value: &Arc<T>, s: S) -> Result<S::Ok, S::Error> {
    value.as_ref().serialize(s)
}

/// An error at the end of an alias says which alias led there.
fn dangling(error: DiscoveryError, asked: &DomainName, chain: &[DomainName]) -> DiscoveryError {
    let nowhere = matches!(
        error,
        DiscoveryError::Blind { .. }
            | DiscoveryError::UnknownZone { .. }
            | DiscoveryError::Unanswered { given: true, .. }
    );
    match chain.split_last() {
        Some((target, before)) if nowhere => DiscoveryError::Dangling {
            chain: [std::slice::from_ref(asked), before].concat(),
            target: target.clone(),
            source: Box::new(error),
        },
        _ => error,
    }
}

/// Several times what a slow walk takes, and little against the time a CA gives for an order.
const LOCATE_TIMEOUT: Duration = Duration::from_secs(30);
/// More than people use; Boulder's resolver follows about as many.
pub(in crate::dns) const MOST_ALIASES: usize = 16;
