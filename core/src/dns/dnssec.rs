//! Whether a zone passes DNSSEC validation, as a validating resolver sees it.
//!
//! CAs validate every answer (CA/Browser Forum ballot SC-085) and refuse zones that are bogus. A resolver says so by SERVFAIL, and by
//! an answer to the same question once checking is disabled (RFC 4035 section 3.2.2). Only the apex and a name of our own are asked
//! for: a resolver that sees a challenge name, or a host above one, may remember that it does not exist.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use crate::dns::Discovery;
use crate::dns::DomainName;
use crate::dns::Reply;
use crate::dns::Upstream;
use crate::dns::query::Checking;

/// What validating resolvers make of a zone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Dnssec {
    /// Answers of the zone do not validate.
    Bogus {
        /// Who says so.
        resolver: Upstream,
        /// The question that failed.
        question: String,
    },
    /// Every answer validates.
    Secure {
        /// Who says so.
        resolver: Upstream,
    },
    /// No resolver has told: none is known, or none answers.
    Unknown {
        /// Why.
        reason: String,
    },
    /// The zone is not signed, or nothing above it says that it is.
    Unsigned {
        /// Who says so.
        resolver: Upstream,
    },
    /// It is signed, and the resolver does not look at signatures.
    Unvalidated {
        /// Who does not.
        resolver: Upstream,
    },
}

impl Discovery {
    /// Asks the recursive resolvers about the apex of `zone`, one after the other until one answers; those over HTTPS or TLS where
    /// port 53 is closed.
    ///
    /// Where the user named servers to ask instead, for all zones or for this one, and no resolver, nobody is asked.
    pub async fn dnssec(&self, zone: &DomainName) -> Dnssec {
        let resolvers: Vec<Upstream> = match self.scouts(zone) {
            Some(encrypted) => encrypted.to_vec(),
            None => match self.public_resolvers(zone) {
                Ok(plain) => plain.into_iter().map(Upstream::Resolver).collect(),
                Err(reason) => return Dnssec::Unknown { reason },
            },
        };
        let mut reason = String::new();
        for resolver in resolvers.into_iter().take(MOST_RESOLVERS) {
            match self.ask_about(&resolver, zone).await {
                Dnssec::Unknown { reason: why } => reason = why,
                told => return told,
            }
        }
        Dnssec::Unknown { reason }
    }

    async fn ask_about(&self, resolver: &Upstream, zone: &DomainName) -> Dnssec {
        let absent = format!("_dnseal-{:016x}", rand::random::<u64>());
        let mut questions = vec![
            (zone.clone(), RecordType::SOA),
            (zone.clone(), RecordType::NS),
            (zone.clone(), RecordType::DNSKEY),
        ];
        // That something is not there has to be proven as well, and most CAA lookups end so.
        if let Ok(absent) = zone.child(&absent) {
            questions.push((absent, RecordType::TXT));
        }
        let mut secure = true;
        for (name, rtype) in &questions {
            let ask = |checking| self.asker().ask_checking(resolver, name, *rtype, checking);
            let reply = match ask(Checking::Enabled).await {
                Ok(reply) => reply,
                Err(error) => {
                    return Dnssec::Unknown {
                        reason: error.to_string(),
                    };
                }
            };
            if reply.rcode == ResponseCode::ServFail {
                return match ask(Checking::Disabled).await {
                    Ok(unchecked) if unchecked.is_conclusive() => Dnssec::Bogus {
                        resolver: resolver.clone(),
                        question: format!("{name} {rtype}"),
                    },
                    _ => Dnssec::Unknown {
                        reason: format!("{resolver} answers SERVFAIL for {name} {rtype}"),
                    },
                };
            }
            if !reply.is_conclusive() {
                return Dnssec::Unknown {
                    reason: format!("{resolver} answers {} for {name}", reply.rcode_name()),
                };
            }
            secure &= reply.authentic;
        }
        let told_by = resolver.clone();
        if secure {
            return Dnssec::Secure { resolver: told_by };
        }
        let delegation = self
            .asker()
            .ask_checking(resolver, zone, RecordType::DS, Checking::Disabled)
            .await;
        match delegation {
            Ok(reply) if has(&reply, RecordType::DS) => Dnssec::Unvalidated { resolver: told_by },
            _ => Dnssec::Unsigned { resolver: told_by },
        }
    }
}

fn has(reply: &Reply, rtype: RecordType) -> bool {
    reply
        .answers
        .iter()
        .any(|record| record.record_type() == rtype)
}

/// As many as a system's configuration has.
const MOST_RESOLVERS: usize = 3;
