//! Going on without the names that fail, where that is allowed.
//!
//! What an order is for may become less while it is walked. Each time, the order that failed has been given back already, and
//! the next is for the rest; what was left out, and why, comes to stand in the version.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;

use super::IssueError;
use super::walk::Walk;
use crate::acme::Client;
use crate::acme::OrderError;
use crate::dns::DomainName;
use crate::dns::Identifier;
use crate::dns::Place;
use crate::dns::PropagationError;
use crate::event::Step;
use crate::store::InFlight;
use crate::store::LeftOut;
use crate::store::Wanted;

/// What is ordered now of what was asked for.
#[derive(Debug)]
pub(super) struct Ordered {
    inner: Mutex<Inner>,
}

#[derive(Clone, Debug)]
struct Inner {
    left_out: Vec<LeftOut>,
    owners: BTreeMap<Identifier, DomainName>,
    wanted: Wanted,
}

impl Ordered {
    /// All of it.
    pub(super) fn new(wanted: Wanted) -> Self {
        Self {
            inner: Mutex::new(Inner {
                left_out: Vec::new(),
                owners: BTreeMap::new(),
                wanted,
            }),
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Walk<'_> {
    /// What is ordered now: the names that remain, with the profile that applies.
    pub(super) fn ordered(&self) -> Wanted {
        self.ordered.change(|inner| inner.wanted.clone())
    }

    /// The names that remain.
    pub(super) fn names(&self) -> Vec<Identifier> {
        self.ordered().names
    }

    /// The names that do not.
    pub(super) fn left_out(&self) -> Vec<LeftOut> {
        self.ordered.change(|inner| inner.left_out.clone())
    }

    /// Where the value of each name goes, for errors that know only that.
    pub(super) fn remember_owners(&self, places: &BTreeMap<Identifier, Place>) {
        let owners = places
            .iter()
            .map(|(name, place)| (name.clone(), place.location.owner.clone()));
        self.ordered.change(|inner| inner.owners = owners.collect());
    }

    /// Decides about the profile, before the CA is asked for anything else.
    pub(super) fn settle_profile(&self, client: &Client) -> Result<(), IssueError> {
        if let Some(profile) = &self.request.profile {
            client.check_profile(profile)?;
            return Ok(());
        }
        let Some(preferred) = &self.request.options.preferred_profile else {
            return Ok(());
        };
        let profile = match client.check_profile(preferred) {
            Ok(()) => Some(preferred.clone()),
            Err(error) => {
                self.events
                    .warn(format!("{error}; ordering without one"), error.hint());
                None
            }
        };
        self.ordered.change(|inner| inner.wanted.profile = profile);
        Ok(())
    }

    /// Goes on with an order of an earlier run that lacks names, where its certificate is paid for; whether it does.
    pub(super) fn takes_over(&self, order: &InFlight) -> bool {
        let mut names = order.wanted.names.clone();
        names.extend(order.left_out.iter().map(|left| left.name.clone()));
        let takes = self.request.options.allow_subset
            && !order.left_out.is_empty()
            && order.version.is_some()
            && self.wanted.same_names(&names);
        if takes {
            self.ordered.change(|inner| {
                inner.left_out = order.left_out.clone();
                inner.wanted.names = order.wanted.names.clone();
            });
        }
        takes
    }

    /// Everything is asked for again.
    pub(super) fn take_all(&self) {
        self.ordered.change(|inner| {
            inner.left_out.clear();
            inner.wanted.names = self.wanted.names.clone();
        });
    }

    /// Leaves out the names that an error is about; whether there are any, that is allowed, and one remains.
    pub(super) fn leave_out(&self, error: &IssueError) -> bool {
        if !self.request.options.allow_subset {
            return false;
        }
        let failed = self.failed_names(error);
        let names = self.names();
        let (out, rest): (Vec<Identifier>, Vec<Identifier>) = names
            .into_iter()
            .partition(|name| failed.iter().any(|left| &left.name == name));
        if out.is_empty() || rest.is_empty() {
            return false;
        }
        for left in failed.iter().filter(|left| out.contains(&left.name)) {
            self.progress(&left.name, Step::Failed);
            self.events.warn(
                format!("going on without {}: {}", left.name, left.reason),
                None,
            );
        }
        self.ordered.change(|inner| {
            inner
                .left_out
                .extend(failed.into_iter().filter(|left| out.contains(&left.name)));
            inner.wanted.names = rest;
        });
        true
    }

    fn failed_names(&self, error: &IssueError) -> Vec<LeftOut> {
        let mut failed: Vec<LeftOut> = Vec::new();
        let mut note = |name: &Identifier, reason: String| {
            if !failed.iter().any(|left| &left.name == name) {
                failed.push(LeftOut {
                    name: name.clone(),
                    reason,
                });
            }
        };
        match error {
            IssueError::Place {
                identifier,
                source,
                others,
                twins,
            } => {
                note(identifier, source.to_string());
                for (name, source) in others {
                    note(name, source.to_string());
                }
                for twin in twins {
                    let mut all = std::iter::once((identifier, source))
                        .chain(others.iter().map(|(name, source)| (name, source)));
                    if let Some((_, source)) = all.find(|(name, _)| name.base() == twin.base()) {
                        note(twin, source.to_string());
                    }
                }
            }
            IssueError::Authorization { identifier, .. }
            | IssueError::NoDnsChallenge { identifier, .. } => note(identifier, error.to_string()),
            IssueError::Write { errors } => {
                for (name, error) in errors {
                    note(name, error.to_string());
                }
            }
            IssueError::Propagation(PropagationError::NotVisible { report, .. }) => {
                let owners = self.ordered.change(|inner| inner.owners.clone());
                for unproven in report.unproven() {
                    for (name, _) in owners.iter().filter(|(_, o)| **o == unproven.owner) {
                        note(name, unproven.summary());
                    }
                }
            }
            IssueError::Order(source) | IssueError::Validation { source, .. } => {
                for (name, problem) in source.refused_names() {
                    let reason = problem.map(|problem| problem.to_string());
                    note(
                        &name,
                        reason.unwrap_or_else(|| "the CA refused it".to_owned()),
                    );
                }
                for (name, reason) in named_in_refusal(source, &self.names()) {
                    note(&name, reason);
                }
                if let OrderError::TimedOut { waiting, .. } = source {
                    for name in waiting {
                        note(name, "the CA did not come to a verdict".to_owned());
                    }
                }
            }
            _ => {}
        }
        failed
    }
}

/// The names that a refusal is about which only its text names, as that of Pebble does.
fn named_in_refusal(error: &OrderError, names: &[Identifier]) -> Vec<(Identifier, String)> {
    let Some(problem) = error.request().and_then(|error| error.problem()) else {
        return Vec::new();
    };
    let about_names = ["rejectedIdentifier", "unsupportedIdentifier", "caa", "dns"];
    if !problem.subproblems.is_empty() || !about_names.iter().any(|kind| problem.is(kind)) {
        return Vec::new();
    }
    let detail = problem
        .detail
        .as_deref()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let words: Vec<&str> = detail
        .split(|c: char| !(c.is_ascii_alphanumeric() || ".-*".contains(c)))
        .map(|word| word.trim_end_matches('.'))
        .collect();
    names
        .iter()
        .filter(|name| words.contains(&name.to_string().as_str()))
        .map(|name| (name.clone(), problem.to_string()))
        .collect()
}
