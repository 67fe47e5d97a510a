//! The suite against providers in memory: a right one, and ones with the flaws that real tools have had.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;

use async_trait::async_trait;
use dnseal_core::dns::Action;
use dnseal_core::dns::Applied;
use dnseal_core::dns::Capabilities;
use dnseal_core::dns::Outcome as ChangeOutcome;
use dnseal_core::dns::Receipt;
use dnseal_core::dns::TxtChange;
use dnseal_core::dns::WriteSafety;
use dnseal_core::dns::Zone;

use super::*;

#[tokio::test]
async fn a_right_provider_passes() {
    let memory = Memory::default();
    let foreign: (DomainName, TxtValue) = (name("example.test"), "foreign".parse().unwrap());
    memory.values.lock().unwrap().insert(foreign.clone());
    let results = memory.conform().await;
    assert_eq!(results.len(), Case::ALL.len());
    for result in &results {
        assert_eq!(result.outcome, Outcome::Pass, "{}", result.name);
    }
    // Nothing is left, and nothing else is gone.
    assert_eq!(*memory.values.lock().unwrap(), BTreeSet::from([foreign]));
}

#[tokio::test]
async fn flaws_are_found() {
    for (flaw, cases) in [
        (
            Flaw::ReplacesOthers,
            &[
                "two-values-at-one-name",
                "remove-one-of-two",
                "values-that-differ-by-case",
                "sixteen-writers-at-one-name",
            ][..],
        ),
        (
            Flaw::RemovesAll,
            &[
                "remove-one-of-two",
                "remove-what-is-not-there",
                "values-that-differ-by-case",
            ],
        ),
        (Flaw::RefusesAgain, &["add-twice"]),
        (Flaw::FoldsCase, &["values-that-differ-by-case"]),
        (Flaw::CutsValues, &["values-of-255-and-300-octets"]),
        (
            Flaw::ForgetsOutcomes,
            &["two-values-at-one-name", "many-names-in-one-call"],
        ),
        (
            Flaw::RemovesNothing,
            &["many-names-in-one-call", "sixteen-writers-at-one-name"],
        ),
        (Flaw::ParentZone, &["deepest-zone"]),
        (Flaw::AnyZone, &["unknown-zone"]),
        (Flaw::TakesAnyone, &["bad-credentials"]),
    ] {
        let memory = Memory {
            flaw: Some(flaw),
            ..Memory::default()
        };
        let results = memory.conform().await;
        for case in cases {
            let result = results.iter().find(|r| r.name == *case).unwrap();
            assert!(
                matches!(result.outcome, Outcome::Fail(_)),
                "{flaw:?} {case}"
            );
        }
    }
}

/// Where a provider has been seen to lose values, those of others stay out of its reach.
#[tokio::test]
async fn nothing_is_written_at_the_apex_once_values_were_lost() {
    for flaw in [Flaw::ReplacesOthers, Flaw::RemovesAll, Flaw::FoldsCase] {
        let memory = Memory {
            flaw: Some(flaw),
            ..Memory::default()
        };
        let foreign: (DomainName, TxtValue) =
            (name("example.test"), "v=spf1 -all".parse().unwrap());
        memory.values.lock().unwrap().insert(foreign.clone());
        let results = memory.conform().await;
        let last = results.last().unwrap();
        assert_eq!(last.name, "apex-as-owner");
        assert_eq!(last.outcome, Outcome::NotTried(AT_RISK.to_owned()));
        assert!(memory.values.lock().unwrap().contains(&foreign), "{flaw:?}");
    }
    assert_eq!(cases().last(), Some("apex-as-owner"));
    assert_eq!(cases().count(), Case::ALL.len() + Case::OF_FAILURE.len());
}

#[tokio::test]
async fn values_that_would_push_others_out_are_not_written() {
    let memory = Memory {
        max_values: Some(2),
        ..Memory::default()
    };
    for text in ["one", "two"] {
        let foreign = (name("example.test"), text.parse().unwrap());
        memory.values.lock().unwrap().insert(foreign);
    }
    let results = memory.conform().await;
    let last = results.last().unwrap();
    assert!(matches!(last.outcome, Outcome::NotSupported(_)), "{last:?}");
    assert_eq!(memory.values.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_contract_about_challenges_may_refuse_other_values() {
    for (challenges_only, flaw) in [
        (true, Flaw::RefusesLong),
        (false, Flaw::RefusesLong),
        (true, Flaw::CutsValues),
    ] {
        let memory = Memory {
            challenges_only,
            flaw: Some(flaw),
            ..Memory::default()
        };
        let results = memory.conform().await;
        let long = results.iter().find(|r| r.name.starts_with("values-of-255"));
        let long = long.unwrap();
        match challenges_only && flaw == Flaw::RefusesLong {
            true => assert!(matches!(long.outcome, Outcome::NotSupported(_)), "{long:?}"),
            false => assert!(matches!(long.outcome, Outcome::Fail(_)), "{long:?}"),
        }
        assert_eq!(long.left, [], "{long:?}");
    }
}

#[tokio::test]
async fn what_is_left_is_listed() {
    let memory = Memory {
        flaw: Some(Flaw::RemovesNothing),
        ..Memory::default()
    };
    let results = memory.conform().await;
    let left = results.into_iter().flat_map(|result| result.left).collect();
    assert_eq!(*memory.values.lock().unwrap(), left);
}

#[tokio::test]
async fn what_a_provider_cannot_do_is_no_failure() {
    let memory = Memory {
        max_values: Some(1),
        ..Memory::default()
    };
    let results = memory.conform().await;
    for result in &results {
        let outcome = &result.outcome;
        assert!(
            !matches!(outcome, Outcome::Fail(_)),
            "{}: {outcome:?}",
            result.name
        );
    }
    assert!(matches!(results[0].outcome, Outcome::NotSupported(_)));
}

#[tokio::test(start_paused = true)]
async fn a_case_that_hangs_is_stopped_and_what_it_may_have_left_is_listed() {
    let memory = Memory {
        flaw: Some(Flaw::Hangs),
        ..Memory::default()
    };
    let stop = CancellationToken::new();
    let stopping = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        stop.cancel();
    };
    let began = tokio::time::Instant::now();
    let (results, ()) = tokio::join!(memory.conform_until(Some(&stop)), stopping);
    assert!(began.elapsed() < Duration::from_secs(8));
    let [result] = results.as_slice() else {
        panic!("{results:?}");
    };
    assert!(matches!(result.outcome, Outcome::NotTried(_)), "{result:?}");
    let left: BTreeSet<_> = result.left.iter().cloned().collect();
    assert_eq!(left.len(), 2);
    assert_eq!(*memory.values.lock().unwrap(), left);
}

#[tokio::test(start_paused = true)]
async fn what_a_call_that_was_cut_off_may_still_add_is_listed() {
    let memory = Memory {
        flaw: Some(Flaw::HangsAdding),
        ..Memory::default()
    };
    let stop = CancellationToken::new();
    let stopping = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        stop.cancel();
    };
    let (results, ()) = tokio::join!(memory.conform_until(Some(&stop)), stopping);
    assert_eq!(results[0].left.len(), 2, "{results:?}");
    assert!(memory.values.lock().unwrap().is_empty());
}

#[tokio::test]
async fn who_never_answers_is_given_up() {
    let memory = Memory {
        flaw: Some(Flaw::Silent),
        ..Memory::default()
    };
    let results = memory.conform().await;
    assert_eq!(results.len(), Case::ALL.len());
    for (at, result) in results.iter().enumerate() {
        let outcome = &result.outcome;
        match at < GIVEN_UP {
            true => assert!(matches!(outcome, Outcome::Fail(_)), "{result:?}"),
            false => assert!(matches!(outcome, Outcome::NotTried(_)), "{result:?}"),
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Flaw {
    AnyZone,
    CutsValues,
    FoldsCase,
    ForgetsOutcomes,
    Hangs,
    HangsAdding,
    ParentZone,
    RefusesAgain,
    RefusesLong,
    RemovesAll,
    RemovesNothing,
    ReplacesOthers,
    Silent,
    TakesAnyone,
}

#[derive(Clone, Debug, Default)]
struct Memory {
    challenges_only: bool,
    flaw: Option<Flaw>,
    impostor: bool,
    max_values: Option<usize>,
    values: Arc<Mutex<BTreeSet<(DomainName, TxtValue)>>>,
}

impl Memory {
    async fn conform(&self) -> Vec<CaseResult> {
        self.conform_until(None).await
    }

    async fn conform_until(&self, stop: Option<&CancellationToken>) -> Vec<CaseResult> {
        let impostor = Self {
            impostor: true,
            ..self.clone()
        };
        let values = Arc::clone(&self.values);
        let read = move |owner: DomainName| -> Reading {
            let values = values.lock().unwrap();
            let at_owner = values.iter().filter(|(o, _)| *o == owner);
            let at_owner: Vec<TxtValue> = at_owner.map(|(_, v)| v.clone()).collect();
            Box::pin(std::future::ready(Ok(at_owner)))
        };
        let options = Options {
            base: name("base.example.test"),
            deeper_zone: Some(name("deep.example.test")),
            foreign: name("nowhere.invalid"),
            impostor: Some(&impostor),
            patience: Duration::ZERO,
            read: &read,
            zone: None,
        };
        let peculiar = Peculiar {
            challenges_only: self.challenges_only,
            stop,
            ..Peculiar::default()
        };
        let go_on = |_: &CaseResult| ControlFlow::Continue(());
        play(self, &options, &peculiar, &Case::ALL, go_on).await
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn change(&self, change: &TxtChange) -> ChangeOutcome {
        let mut values = self.values.lock().unwrap();
        let text = change.value.to_string();
        let value = match self.flaw {
            Some(Flaw::FoldsCase) => text.to_lowercase().parse().unwrap(),
            Some(Flaw::CutsValues) => text.chars().take(255).collect::<String>().parse().unwrap(),
            _ => change.value.clone(),
        };
        let entry = (change.owner.clone(), value);
        match change.action {
            Action::Add if self.has(Flaw::RefusesAgain) && values.contains(&entry) => {
                return ChangeOutcome::Refused {
                    reason: "it is there".to_owned(),
                };
            }
            _ if self.has(Flaw::RefusesLong) && text.len() > 43 => {
                return ChangeOutcome::Refused {
                    reason: "too long".to_owned(),
                };
            }
            Action::Add => {
                if self.has(Flaw::ReplacesOthers) {
                    values.retain(|(owner, _)| *owner != change.owner);
                }
                values.insert(entry);
            }
            Action::Remove if self.has(Flaw::RemovesAll) => {
                values.retain(|(owner, _)| *owner != change.owner);
            }
            Action::Remove if self.has(Flaw::RemovesNothing) => {}
            Action::Remove => {
                values.remove(&entry);
            }
        }
        ChangeOutcome::Applied { handle: None }
    }
}

#[async_trait]
impl DnsProvider for Memory {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            max_values: self.max_values,
            ..Capabilities::new(1, WriteSafety::PerValue)
        }
    }

    fn endpoint(&self) -> String {
        "memory".to_owned()
    }

    async fn zone_of(&self, owner: &DomainName) -> Result<Zone, ProviderError> {
        let zones = match self.flaw {
            Some(Flaw::ParentZone) => vec!["example.test"],
            Some(Flaw::AnyZone) => vec!["deep.example.test", "example.test", "invalid"],
            _ => vec!["deep.example.test", "example.test"],
        };
        let zone = zones.into_iter().map(name).find(|z| owner.is_within(z));
        match zone {
            Some(name) => Ok(Zone {
                id: String::new(),
                name,
            }),
            None => Err(ProviderError::ZoneNotFound {
                endpoint: self.endpoint(),
                held: Vec::new(),
                owner: owner.clone(),
            }),
        }
    }

    async fn apply(&self, zone: &Zone, changes: &[TxtChange]) -> Result<Applied, ProviderError> {
        if self.impostor && !self.has(Flaw::TakesAnyone) {
            return Err(ProviderError::Credentials {
                detail: "no".to_owned(),
                endpoint: self.endpoint(),
                hint: None,
            });
        }
        if self.has(Flaw::Silent) {
            return Err(ProviderError::Unreachable {
                detail: "no answer".to_owned(),
                endpoint: self.endpoint(),
            });
        }
        if self.has(Flaw::Hangs) {
            if changes.iter().all(|change| change.action == Action::Add) {
                let _ = changes.iter().map(|c| self.change(c)).collect::<Vec<_>>();
            }
            std::future::pending::<()>().await;
        }
        let adds = changes.iter().any(|change| change.action == Action::Add);
        if adds && self.has(Flaw::HangsAdding) {
            std::future::pending::<()>().await;
        }
        let mut outcomes: Vec<ChangeOutcome> = changes
            .iter()
            .map(|change| match change.owner.is_within(&zone.name) {
                true => self.change(change),
                false => ChangeOutcome::Refused {
                    reason: "not in the zone".to_owned(),
                },
            })
            .collect();
        if self.has(Flaw::ForgetsOutcomes) {
            outcomes.truncate(1);
        }
        Ok(Applied {
            outcomes,
            receipt: Receipt::default(),
        })
    }

    async fn values(
        &self,
        _zone: &Zone,
        owner: &DomainName,
    ) -> Result<Option<Vec<TxtValue>>, ProviderError> {
        let values = self.values.lock().unwrap();
        let at_owner = values.iter().filter(|(o, _)| o == owner);
        Ok(Some(at_owner.map(|(_, v)| v.clone()).collect()))
    }
}

fn name(text: &str) -> DomainName {
    text.parse().unwrap()
}
