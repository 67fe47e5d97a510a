//! The climb from a name to its top-level domain (RFC 8659 section 3).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use hickory_proto::rr::RecordType;
use serde::Serialize;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::record::CaaRecord;
use crate::dns::Discovery;
use crate::dns::DiscoveryError;
use crate::dns::DomainName;
use crate::dns::delegation::MOST_ALIASES;
use crate::dns::delegation::alias;
use crate::dns::query::from_wire;

/// The CAA RRset that counts for a name.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct CaaSet {
    /// The name that was asked about.
    pub name: DomainName,
    /// The name at which the climb found records; `None` where there are none up to the top.
    pub at: Option<DomainName>,
    /// The records there; empty where there are none.
    pub records: Vec<CaaRecord>,
    /// Whether the servers that said so were named by the user, so that the CA may see something else.
    pub given: bool,
    /// The name from which on the climb could not be seen, because the user named servers for what is below it only.
    pub unseen: Option<DomainName>,
}

/// Looks up CAA records, each name once for all that climb past it.
#[derive(Debug)]
pub struct CaaLookup {
    discovery: Discovery,
    seen: Mutex<HashMap<DomainName, Step>>,
}

/// What is learned at one name of a climb.
type Step = Arc<OnceCell<Result<AtName, DiscoveryError>>>;

#[derive(Clone, Debug)]
struct AtName {
    records: Vec<CaaRecord>,
    given: bool,
}

impl CaaLookup {
    /// A lookup that knows nothing yet.
    pub fn new(discovery: Discovery) -> Self {
        Self {
            discovery,
            seen: Mutex::default(),
        }
    }

    /// The RRset that counts for `name`.
    ///
    /// # Errors
    ///
    /// When some name on the way has no usable answer; after 20 s.
    pub async fn find(&self, name: &DomainName) -> Result<CaaSet, CaaError> {
        match timeout(CLIMB_TIMEOUT, self.climb(name)).await {
            Ok(result) => result,
            Err(_) => Err(CaaError {
                name: name.clone(),
                at: name.clone(),
                source: DiscoveryError::TimedOut {
                    name: name.clone(),
                    after: CLIMB_TIMEOUT,
                },
            }),
        }
    }

    async fn climb(&self, name: &DomainName) -> Result<CaaSet, CaaError> {
        let mut set = CaaSet {
            name: name.clone(),
            at: None,
            records: Vec::new(),
            given: false,
            unseen: None,
        };
        let mut next = Some(name.clone());
        while let Some(candidate) = next {
            match self.step(&candidate).await {
                Ok(found) => {
                    set.given |= found.given;
                    if !found.records.is_empty() {
                        set.given = found.given;
                        set.records = found.records;
                        set.at = Some(candidate);
                        return Ok(set);
                    }
                }
                Err(_) if set.given => {
                    set.unseen = Some(candidate);
                    return Ok(set);
                }
                // Nothing is known above: a private top-level domain of which the resolver knows a part.
                Err(DiscoveryError::UnknownZone { .. }) if candidate != *name => return Ok(set),
                Err(source) => {
                    return Err(CaaError {
                        name: name.clone(),
                        at: candidate,
                        source,
                    });
                }
            }
            next = candidate.parent();
        }
        Ok(set)
    }

    async fn step(&self, name: &DomainName) -> Result<AtName, DiscoveryError> {
        let cell = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.entry(name.clone()).or_default().clone()
        };
        cell.get_or_init(|| self.ask(name)).await.clone()
    }

    /// The records at a name, behind its aliases. The climb goes on at the parent of the name itself.
    async fn ask(&self, name: &DomainName) -> Result<AtName, DiscoveryError> {
        let mut at = name.clone();
        let mut chain = vec![name.clone()];
        let mut given = None;
        loop {
            let (known, reply) = self.discovery.walk(&at, RecordType::CAA).await?;
            let given = *given.get_or_insert(known.is_given());
            let Some(alias) = alias(&reply, &at)? else {
                let records = reply
                    .answers
                    .iter()
                    .filter(|record| from_wire(&record.name).as_ref() == Some(&at))
                    .filter_map(|record| CaaRecord::from_rdata(&record.data))
                    .collect();
                return Ok(AtName { records, given });
            };
            at = alias.target;
            if chain.contains(&at) {
                chain.push(at);
                return Err(DiscoveryError::Loop { chain });
            }
            chain.push(at.clone());
            if chain.len() > MOST_ALIASES {
                return Err(DiscoveryError::TooManyAliases { chain });
            }
        }
    }
}

/// Why it is not known which CAs may issue for a name.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "the CAA records of {at} cannot be read, and a CA that cannot read them either must refuse {name}: {source}"
)]
pub struct CaaError {
    /// The name that was asked about.
    pub name: DomainName,
    /// The name of the climb that failed.
    pub at: DomainName,
    /// What happened.
    pub source: DiscoveryError,
}

impl CaaError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match &self.source {
            DiscoveryError::Unanswered { tried, .. } if tried.iter().any(|t| !t.silent) => {
                Some(format!(
                    "the name servers of {} have to answer questions of type CAA (257), with NOERROR where there are no records",
                    self.at
                ))
            }
            other => other.hint(),
        }
    }

    /// Whether the servers did answer, and no useful thing: then the CA hears the same.
    pub fn is_answered(&self) -> bool {
        match &self.source {
            DiscoveryError::Unanswered { tried, given, .. } => {
                !given && !tried.is_empty() && tried.iter().all(|t| !t.silent && !t.intercepted)
            }
            DiscoveryError::Loop { .. } | DiscoveryError::TooManyAliases { .. } => true,
            _ => false,
        }
    }
}

/// A climb is a few questions to servers that are near each other; longer than this no order waits for advice.
const CLIMB_TIMEOUT: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::DiscoveryOptions;
    use crate::dns::scripted::Manner;
    use crate::dns::scripted::Net;
    use hickory_proto::op::ResponseCode;

    fn name(text: &str) -> DomainName {
        text.parse().unwrap()
    }

    /// Server 1 is the resolver, 2 serves `com.` and 3 the zones below it.
    async fn world(zone: &[&str]) -> (Net, CaaLookup) {
        let net = Net::new(3).await;
        net.server(1).behave(Manner::Resolver);
        net.server(1)
            .zone("com", &["com NS a.gtld.com", "a.gtld.com A 127.0.53.2"]);
        net.server(2).zone(
            "com",
            &[
                "com NS a.gtld.com",
                "a.gtld.com A 127.0.53.2",
                "example.com NS ns.example.com",
                "ns.example.com A 127.0.53.3",
                "other.com NS ns.example.com",
            ],
        );
        let mut lines = vec![
            "example.com NS ns.example.com",
            "ns.example.com A 127.0.53.3",
        ];
        lines.extend(zone);
        net.server(3).zone("example.com", &lines);
        net.server(3).zone(
            "other.com",
            &[
                "other.com NS ns.example.com",
                "host.other.com CAA 0 issue ca.test",
                "other.com CAA 0 issue wrong.test",
            ],
        );
        let options = DiscoveryOptions {
            resolvers: vec![net.server(1).address],
            ..DiscoveryOptions::default()
        };
        let lookup = CaaLookup::new(Discovery::new(net.asker(), options));
        (net, lookup)
    }

    #[tokio::test]
    async fn the_first_set_on_the_way_up_counts() {
        let (net, lookup) = world(&[
            "example.com CAA 0 issue ca.test",
            "sub.example.com CAA 0 issue ;",
        ])
        .await;
        let set = lookup.find(&name("a.b.example.com")).await.unwrap();
        assert_eq!(set.at, Some(name("example.com")));
        assert_eq!(set.records, [CaaRecord::new(0, "issue", "ca.test")]);
        assert!(!set.given);
        let set = lookup.find(&name("www.sub.example.com")).await.unwrap();
        assert_eq!(set.at, Some(name("sub.example.com")));
        // The resolver has seen nothing of the zone.
        let log = net.server(1).log();
        assert!(
            log.iter().all(|asked| !asked.name.contains("example")),
            "{log:?}"
        );
    }

    #[tokio::test]
    async fn nothing_up_to_the_top_is_no_restriction() {
        let (net, lookup) = world(&[]).await;
        let set = lookup.find(&name("www.example.com")).await.unwrap();
        assert_eq!((set.at, set.records.len()), (None, 0));
        assert!(
            net.server(2)
                .log()
                .iter()
                .any(|asked| asked.name == "com" && asked.rtype == RecordType::CAA)
        );
        // A second climb past the same names asks for the new one only.
        let before = net.server(3).log().len();
        lookup.find(&name("mail.example.com")).await.unwrap();
        assert_eq!(net.server(3).log().len(), before + 1);
    }

    #[tokio::test]
    async fn aliases_are_followed_and_the_climb_goes_on_at_home() {
        let (_net, lookup) = world(&[
            "www.example.com CNAME host.other.com",
            "ftp.example.com CNAME empty.other.com",
            "example.com CAA 0 issue home.test",
        ])
        .await;
        let set = lookup.find(&name("www.example.com")).await.unwrap();
        assert_eq!(
            (set.at, set.records[0].value.as_str()),
            (Some(name("www.example.com")), "ca.test")
        );
        // Not `other.com`, the parent of the target.
        let set = lookup.find(&name("ftp.example.com")).await.unwrap();
        assert_eq!(
            (set.at, set.records[0].value.as_str()),
            (Some(name("example.com")), "home.test")
        );
    }

    #[tokio::test]
    async fn an_error_on_the_way_is_no_permission() {
        let (net, lookup) = world(&[]).await;
        lookup.find(&name("ok.example.com")).await.unwrap();
        net.server(3).behave(Manner::Rcode(ResponseCode::ServFail));
        let error = lookup.find(&name("www.example.com")).await.unwrap_err();
        assert_eq!(error.at, name("www.example.com"));
        assert!(error.is_answered(), "{error}");
        assert!(error.to_string().contains("SERVFAIL"), "{error}");
    }

    #[tokio::test]
    async fn servers_given_by_hand_are_not_asked_about_what_is_above() {
        let (net, _) = world(&[]).await;
        let options = DiscoveryOptions {
            nameservers: vec![net.server(3).address],
            ..DiscoveryOptions::default()
        };
        let lookup = CaaLookup::new(Discovery::new(net.asker(), options));
        let set = lookup.find(&name("www.example.com")).await.unwrap();
        assert!(set.given && set.records.is_empty());
        assert_eq!(set.unseen, Some(name("com")));
    }
}
