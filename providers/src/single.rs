//! Contracts of other tools know one value at a time, and no batch: this makes a provider of one.
//!
//! Changes are handed over one after the other, and answered one by one, so that what failed in the middle is known. What a contract
//! wants to hear again when a value is removed is kept in the handle. No contract here tells its zones, nor the values at a name; the
//! engine then takes the zone that DNS shows, and looks for the values at the name servers.

use std::fmt;

use async_trait::async_trait;
use dnseal_core::dns::Action;
use dnseal_core::dns::Applied;
use dnseal_core::dns::Capabilities;
use dnseal_core::dns::DnsProvider;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::Handle;
use dnseal_core::dns::Origin;
use dnseal_core::dns::Outcome;
use dnseal_core::dns::ProbeAt;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::Receipt;
use dnseal_core::dns::TxtChange;
use dnseal_core::dns::WriteSafety;
use dnseal_core::dns::Zone;
use serde::Deserialize;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::sync::MutexGuard;

/// A contract by which one value is added or removed.
#[async_trait]
pub(crate) trait Single: fmt::Debug + Send + Sync {
    /// Where it writes to, as a person would say it.
    fn endpoint(&self) -> String;

    /// What the contract can do; by most nothing but adding and removing.
    fn capabilities(&self) -> Capabilities {
        plain_capabilities()
    }

    /// Where an alias has to lead from a challenge name; as in [`DnsProvider::alias_for`].
    async fn alias_for(
        &self,
        _asked: &DomainName,
        _owner: &DomainName,
    ) -> Result<Option<DomainName>, ProviderError> {
        Ok(None)
    }

    /// Adds or removes the value; `challenge` is what is known of where it comes from. Gives words to be heard again with the removal.
    async fn write(
        &self,
        change: &TxtChange,
        challenge: &Challenge,
        batch: &Batch,
    ) -> Result<Option<String>, ProviderError>;
}

/// Of a contract that has no word for what it can do, so that it is up to the script.
pub(crate) fn plain_capabilities() -> Capabilities {
    Capabilities {
        unconfirmed: true,
        ..Capabilities::new(60, WriteSafety::ReadModifyWrite)
    }
}

/// The same for one that writes at `_acme-challenge.DOMAIN` and nowhere else.
pub(crate) fn challenge_names_only(plain: Capabilities) -> Capabilities {
    Capabilities {
        challenge_names_only: true,
        probe: ProbeAt::Owner,
        ..plain
    }
}

/// The challenge that a value answers, as the contracts name it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Challenge {
    /// The name without `*.`; where no challenge is known, what follows `_acme-challenge.` in the owner name.
    #[serde(default)]
    pub(crate) domain: Option<DomainName>,
    #[serde(default)]
    pub(crate) key_authorization: Option<String>,
    /// What the contract's program said when the value was added.
    #[serde(default)]
    pub(crate) said: Option<String>,
    #[serde(default)]
    pub(crate) token: Option<String>,
}

/// The call that a value is part of.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    /// The names of all challenges.
    pub(crate) domains: Vec<String>,
    /// How many additions come after this one.
    pub(crate) remaining: usize,
}

/// A provider that writes one value at a time.
#[derive(Debug)]
pub(crate) struct OneAtATime<S> {
    contract: S,
    /// Scripts are seldom written to run beside themselves.
    turn: Mutex<()>,
}

impl<S: Single> OneAtATime<S> {
    pub(crate) fn new(contract: S) -> Self {
        Self {
            contract,
            turn: Mutex::default(),
        }
    }

    /// The contract, for as long as nobody else uses it.
    pub(crate) async fn in_turn(&self) -> (&S, MutexGuard<'_, ()>) {
        let turn = self.turn.lock().await;
        (&self.contract, turn)
    }
}

#[async_trait]
impl<S: Single> DnsProvider for OneAtATime<S> {
    fn capabilities(&self) -> Capabilities {
        self.contract.capabilities()
    }

    fn endpoint(&self) -> String {
        self.contract.endpoint()
    }

    async fn zone_of(&self, _owner: &DomainName) -> Result<Zone, ProviderError> {
        Err(ProviderError::Unsupported {
            detail: "this contract does not tell zones".to_owned(),
            endpoint: self.endpoint(),
        })
    }

    async fn alias_for(
        &self,
        asked: &DomainName,
        owner: &DomainName,
    ) -> Result<Option<DomainName>, ProviderError> {
        self.contract.alias_for(asked, owner).await
    }

    async fn apply(&self, zone: &Zone, changes: &[TxtChange]) -> Result<Applied, ProviderError> {
        let _turn = self.turn.lock().await;
        let challenges: Vec<Challenge> = changes.iter().map(Challenge::of).collect();
        let domains: Vec<String> = challenges
            .iter()
            .filter_map(|c| c.domain.as_ref().map(ToString::to_string))
            .collect();
        let mut outcomes = Vec::with_capacity(changes.len());
        let mut done = false;
        for (at, (change, challenge)) in changes.iter().zip(&challenges).enumerate() {
            if !change.owner.is_within(&zone.name) {
                outcomes.push(Outcome::Refused {
                    reason: format!("{} is not in the zone {}", change.owner, zone.name),
                });
                continue;
            }
            let after = changes.iter().skip(at + 1);
            let batch = Batch {
                domains: domains.clone(),
                remaining: after.filter(|c| c.action == Action::Add).count(),
            };
            outcomes.push(match self.contract.write(change, challenge, &batch).await {
                Ok(said) => {
                    done = true;
                    Outcome::Applied {
                        handle: challenge.handle(change.action, said),
                    }
                }
                Err(error) => failed(error, done, changes)?,
            });
        }
        Ok(Applied {
            outcomes,
            receipt: Receipt::default(),
        })
    }
}

/// What became of one of `changes`; an error of the whole call where nothing is done yet, and nothing else would fare better.
pub(crate) fn failed(
    error: ProviderError,
    done: bool,
    changes: &[TxtChange],
) -> Result<Outcome, ProviderError> {
    match error {
        error if !done && is_about_all(&error, changes) => Err(error),
        // What fails here once fails again, and the whole batch would be tried for minutes.
        error if error.is_retryable() && !matches!(error, ProviderError::Failed { .. }) => {
            Ok(Outcome::Unknown {
                reason: error.to_string(),
            })
        }
        error => Ok(Outcome::Refused {
            reason: error.to_string(),
        }),
    }
}

/// Whether an error is about more than the one change.
fn is_about_all(error: &ProviderError, changes: &[TxtChange]) -> bool {
    changes.len() == 1
        || matches!(
            error,
            ProviderError::Credentials { .. }
                | ProviderError::Failed { .. }
                | ProviderError::Misconfigured { .. }
                | ProviderError::RateLimited { .. }
        )
}

impl Challenge {
    /// What is known of where a value comes from.
    pub(crate) fn of(change: &TxtChange) -> Self {
        let kept = change
            .handle
            .as_ref()
            .and_then(|handle| serde_json::from_str::<Self>(&handle.0).ok());
        if let Some(kept) = kept {
            return kept;
        }
        match &change.origin {
            Some(origin) => Self::of_origin(origin),
            None => Self {
                domain: change
                    .owner
                    .as_str()
                    .strip_prefix("_acme-challenge.")
                    .and_then(|rest| rest.parse().ok()),
                ..Self::default()
            },
        }
    }

    fn of_origin(origin: &Origin) -> Self {
        Self {
            domain: Some(origin.identifier.base().clone()),
            key_authorization: Some(origin.key_authorization.clone()),
            said: None,
            token: Some(origin.token.clone()),
        }
    }

    /// Kept in the head until the removal, which knows nothing of the challenge otherwise.
    pub(crate) fn handle(&self, action: Action, said: Option<String>) -> Option<Handle> {
        if action == Action::Remove {
            return None;
        }
        let kept = Self {
            said,
            ..self.clone()
        };
        serde_json::to_string(&kept).ok().map(Handle)
    }

    /// The domain, for contracts that write at `_acme-challenge.DOMAIN` and nowhere else.
    pub(crate) fn domain_at(
        &self,
        owner: &DomainName,
        endpoint: String,
    ) -> Result<&DomainName, ProviderError> {
        match &self.domain {
            Some(domain) if owner.as_str() == format!("_acme-challenge.{domain}") => Ok(domain),
            _ => Err(ProviderError::Unsupported {
                detail: format!(
                    "it writes at `_acme-challenge.DOMAIN` and nowhere else, and the challenge lives at {owner}"
                ),
                endpoint,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Recorder {
        fail: Option<usize>,
        seen: std::sync::Mutex<Vec<(Action, Challenge, usize)>>,
    }

    #[async_trait]
    impl Single for Recorder {
        fn endpoint(&self) -> String {
            "recorder".to_owned()
        }

        async fn write(
            &self,
            change: &TxtChange,
            challenge: &Challenge,
            batch: &Batch,
        ) -> Result<Option<String>, ProviderError> {
            let mut seen = self.seen.lock().unwrap();
            seen.push((change.action, challenge.clone(), batch.remaining));
            match self.fail == Some(seen.len()) {
                true => Err(ProviderError::Refused {
                    detail: "exit status: 1".to_owned(),
                    endpoint: self.endpoint(),
                    hint: None,
                }),
                false => Ok(Some("said".to_owned())),
            }
        }
    }

    fn change(action: Action, value: &str, handle: Option<Handle>) -> TxtChange {
        TxtChange {
            action,
            handle,
            origin: (action == Action::Add).then(|| Origin {
                identifier: "*.a.test".parse().unwrap(),
                key_authorization: "t.k".to_owned(),
                remaining: 0,
                token: "t".to_owned(),
            }),
            owner: "_acme-challenge.a.test".parse().unwrap(),
            ttl: 60,
            value: value.parse().unwrap(),
        }
    }

    fn zone() -> Zone {
        Zone {
            id: String::new(),
            name: "a.test".parse().unwrap(),
        }
    }

    #[tokio::test]
    async fn a_removal_hears_what_the_addition_knew() {
        let provider = OneAtATime::new(Recorder::default());
        let adds = ["1", "2"].map(|value| change(Action::Add, value, None));
        let applied = provider.apply(&zone(), &adds).await.unwrap();
        let [Outcome::Applied { handle }, Outcome::Applied { .. }] = applied.outcomes.as_slice()
        else {
            panic!("{applied:?}");
        };
        let removal = change(Action::Remove, "1", handle.clone());
        provider.apply(&zone(), &[removal]).await.unwrap();
        let seen = provider.contract.seen.lock().unwrap();
        assert_eq!(seen[0].2, 1);
        assert_eq!(seen[1].2, 0);
        let challenge = &seen[2].1;
        assert_eq!(challenge.token.as_deref(), Some("t"));
        assert_eq!(challenge.said.as_deref(), Some("said"));
        assert_eq!(challenge.domain.as_ref().unwrap().as_str(), "a.test");
    }

    #[tokio::test]
    async fn what_fails_in_the_middle_is_told_by_itself() {
        let provider = OneAtATime::new(Recorder {
            fail: Some(2),
            ..Recorder::default()
        });
        let mut adds = ["1", "2", "3", "4"]
            .map(|value| change(Action::Add, value, None))
            .to_vec();
        adds[3].owner = "elsewhere.test".parse().unwrap();
        let applied = provider.apply(&zone(), &adds).await.unwrap();
        assert!(matches!(
            applied.outcomes.as_slice(),
            [
                Outcome::Applied { .. },
                Outcome::Refused { .. },
                Outcome::Applied { .. },
                Outcome::Refused { .. },
            ]
        ));
    }
}
