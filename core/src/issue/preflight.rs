//! What is certain to fail, found out before the CA hears of the order.
//!
//! CAA records are read at the authoritative servers, as the CA will read them, and judged for this CA, this account and this
//! method. An order is stopped only where nothing but a refusal can come of it; what may be different where the CA looks
//! is a warning. Nothing is written here.

use std::collections::BTreeMap;

use futures::StreamExt;
use serde::Deserialize;
use serde::Serialize;

use super::IssueError;
use super::walk::Walk;
use crate::acme::Account;
use crate::acme::Meta;
use crate::dns::CaaApplicant;
use crate::dns::CaaError;
use crate::dns::CaaLookup;
use crate::dns::CaaProblem;
use crate::dns::CaaSet;
use crate::dns::DomainName;
use crate::dns::Identifier;

/// When CAA records stop an order.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaaPolicy {
    /// Where they forbid it at the servers that the zone is delegated to.
    #[default]
    Certain,
    /// Also where they cannot be read, or only servers were looked at that the user named.
    Enforce,
    /// They are not looked at.
    Off,
    /// Never; what they say is a warning.
    Warn,
}

/// A CA that must not issue for a name.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{ca} must not issue for {identifier}: by the CAA records of {at}, {problem}")]
pub struct CaaRefusal {
    /// What to call the CA.
    pub ca: String,
    /// The name.
    pub identifier: Identifier,
    /// The name that has the records.
    pub at: DomainName,
    /// What they say.
    pub problem: CaaProblem,
    /// The property that counts for the name. An `issuewild` that nobody had would take wildcards from those that `issue` permits.
    pub property: &'static str,
    /// Which domain names mean the CA.
    pub identities: Vec<String>,
    /// The URL of our account, where there is one.
    pub account: Option<String>,
    /// Whether the CA can see nothing else.
    pub certain: bool,
}

impl CaaRefusal {
    /// The record that would let the CA issue.
    pub fn hint(&self) -> String {
        let Some(identity) = self.identities.first() else {
            return "change the CAA records".to_owned();
        };
        let at = self.at.fqdn();
        let property = self.property;
        match (&self.problem, &self.account) {
            (CaaProblem::OtherAccount { .. }, Some(account)) => format!(
                "set `{at} CAA 0 {property} \"{identity}; accounturi={account}\"`, or use the account that is permitted"
            ),
            (CaaProblem::OtherAccount { .. }, None) => format!(
                "use the account that is permitted, or add this one's URL to the CAA records of {} once it is registered",
                self.at
            ),
            (CaaProblem::OtherMethod { ours, .. }, _) => format!(
                "add {ours} to `validationmethods` in the CAA record of {}",
                self.at
            ),
            (CaaProblem::CriticalTag { tag }, _) => format!(
                "remove the CAA record with the tag `{tag}` at {}, or its flag 128",
                self.at
            ),
            _ => format!(
                "add `{at} CAA 0 {property} \"{identity}\"`, or order from a CA that is permitted"
            ),
        }
    }
}

/// What CAA says about one name.
#[derive(Clone, Debug)]
pub(crate) enum CaaVerdict {
    Permitted(CaaSet),
    Refused(Box<CaaRefusal>),
    Unreadable(CaaError),
}

/// Reads and judges the CAA records of one name.
pub(crate) async fn caa_verdict(
    lookup: &CaaLookup,
    identifier: &Identifier,
    ca: &str,
    meta: &Meta,
    account: Option<&str>,
) -> CaaVerdict {
    let set = match lookup.find(identifier.base()).await {
        Ok(set) => set,
        Err(error) => return CaaVerdict::Unreadable(error),
    };
    let applicant = CaaApplicant {
        identities: &meta.caa_identities,
        account,
        method: METHOD,
    };
    match set.permits(identifier, applicant) {
        Ok(()) => CaaVerdict::Permitted(set),
        Err(problem) => CaaVerdict::Refused(Box::new(CaaRefusal {
            ca: ca.to_owned(),
            identifier: identifier.clone(),
            at: set.at.clone().unwrap_or_else(|| set.name.clone()),
            problem,
            property: set.property_for(identifier),
            identities: meta.caa_identities.clone(),
            account: account.map(str::to_owned),
            certain: !set.given,
        })),
    }
}

impl Walk<'_> {
    /// Looks at the CAA records of all names, as far as the CA says by which names it is meant.
    pub(super) async fn preflight(&self, account: &Account) -> Result<(), IssueError> {
        let policy = self.engine.caa;
        let meta = &account.client().directory().meta;
        if policy == CaaPolicy::Off || meta.caa_identities.is_empty() {
            return Ok(());
        }
        let lookup = CaaLookup::new(self.engine.zones.discovery().clone());
        let ca = self.request.ca.name();
        let (lookup, ca) = (&lookup, ca.as_str());
        let mut judging = futures::stream::iter(self.request.names.iter().cloned())
            .map(|identifier| async move {
                caa_verdict(lookup, &identifier, ca, meta, Some(account.url())).await
            })
            .buffered(CONCURRENT_CLIMBS);
        let mut refused = Vec::new();
        // A server that cannot be asked about one name mostly cannot about any.
        let mut unreadable: BTreeMap<DomainName, CaaError> = BTreeMap::new();
        while let Some(verdict) = tokio::select! {
            verdict = judging.next() => verdict,
            () = self.cancel.cancelled() => return Err(IssueError::Cancelled),
        } {
            match verdict {
                CaaVerdict::Permitted(_) => {}
                CaaVerdict::Refused(refusal) => refused.push(*refusal),
                CaaVerdict::Unreadable(error) => {
                    unreadable.entry(error.at.clone()).or_insert(error);
                }
            }
        }

        let stops = |refusal: &CaaRefusal| match policy {
            CaaPolicy::Certain => refusal.certain,
            CaaPolicy::Enforce => true,
            CaaPolicy::Off | CaaPolicy::Warn => false,
        };
        for refusal in refused.iter().filter(|refusal| !stops(refusal)) {
            self.events.warn(refusal.to_string(), Some(refusal.hint()));
        }
        refused.retain(stops);
        if !refused.is_empty() {
            return Err(IssueError::Caa { refusals: refused });
        }
        for error in unreadable.into_values() {
            match policy {
                CaaPolicy::Enforce => return Err(error.into()),
                _ => self.events.warn(error.to_string(), error.hint()),
            }
        }
        Ok(())
    }
}

/// As RFC 8657 section 4 has it.
const METHOD: &str = "dns-01";
/// Climbs at once; they share what they pass.
const CONCURRENT_CLIMBS: usize = 16;
