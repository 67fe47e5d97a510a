//! What came of all targets: for people, for programs, for whoever tells others.

use std::collections::BTreeMap;

use dnseal_core::deploy::Done;
use dnseal_core::deploy::Outcome as TargetOutcome;
use dnseal_core::notify::Cause;
use dnseal_core::notify::Notice;
use dnseal_core::notify::NoticeKind;
use dnseal_core::store::CertId;
use serde_json::Value;
use serde_json::json;

use super::Results;
use crate::error::CliError;
use crate::exit_code::ExitCode;
use crate::render::Printer;

/// What came of all targets.
#[derive(Debug)]
pub(in crate::commands) struct Summary {
    pub(super) rehearsal: bool,
    pub(super) results: Results,
}

impl Summary {
    /// For people: what was deployed, and what was not. Why not has been told.
    pub(in crate::commands) fn text(&self) -> String {
        let mut text = String::new();
        if self.rehearsal {
            for TargetOutcome {
                id, target, result, ..
            } in &self.results.targets
            {
                let word = match result {
                    Ok(_) => "was run",
                    Err(_) => "failed",
                };
                text.push_str(&format!("dry run: {id}: {target} {word}\n"));
            }
            return text;
        }
        for outcome in &self.results.targets {
            if outcome.result.as_ref().is_ok_and(|d| *d == Done::Deployed) {
                let (id, version, target) = (&outcome.id, outcome.version, &outcome.target);
                text.push_str(&format!("deployed {id} (version {version}): {target}\n"));
            }
        }
        for outcome in self.results.targets.iter().filter(|o| o.result.is_err()) {
            let (id, version, target) = (&outcome.id, outcome.version, &outcome.target);
            text.push_str(&format!(
                "not deployed {id} (version {version}): {target}; the next run tries again, without an order\n"
            ));
        }
        text
    }

    pub(in crate::commands) fn json(&self, printer: Printer) -> Value {
        let targets = self.results.targets.iter().map(|outcome| {
            let (result, error) = match &outcome.result {
                Ok(Done::Deployed) => ("deployed", Value::Null),
                Ok(Done::Had) => ("had", Value::Null),
                Ok(Done::Waiting) => ("due", Value::Null),
                Err(source) => {
                    let error = CliError::Target {
                        target: outcome.target.clone(),
                        source: source.clone(),
                    };
                    ("failed", printer.error_document(&error)["error"].clone())
                }
            };
            json!({
                "name": outcome.id,
                "target": outcome.target,
                "version": outcome.version,
                "result": result,
                "error": error,
            })
        });
        let others = self.results.others.iter().map(|(id, error)| {
            json!({
                "name": id,
                "target": Value::Null,
                "version": Value::Null,
                "result": "failed",
                "error": printer.error_document(error)["error"],
            })
        });
        targets.chain(others).collect()
    }

    /// For whoever tells people outside: one for each certificate that is where it belongs now, or is not.
    pub(in crate::commands) fn notices(&self) -> Vec<Notice> {
        let mut of: BTreeMap<&CertId, Vec<&TargetOutcome>> = BTreeMap::new();
        for outcome in &self.results.targets {
            of.entry(&outcome.id).or_default().push(outcome);
        }
        let mut notices: Vec<Notice> = of
            .into_iter()
            .filter_map(|(id, outcomes)| of_targets(id, &outcomes))
            .collect();
        for (id, error) in &self.results.others {
            let mut notice = Notice::new(NoticeKind::DeployFailed, id.clone());
            notice.cause = Some(Cause {
                message: error.to_string(),
                hint: error.hint(),
            });
            notices.extend(id.is_some().then_some(notice));
        }
        notices
    }

    pub(in crate::commands) fn exit(&self) -> Option<ExitCode> {
        let failed = self.results.targets.iter().any(|o| o.result.is_err());
        (failed || !self.results.others.is_empty()).then_some(ExitCode::DEPLOY)
    }
}

/// What the targets of one certificate deserve.
fn of_targets(id: &CertId, outcomes: &[&TargetOutcome]) -> Option<Notice> {
    let first_failed = outcomes
        .iter()
        .find_map(|o| Some((*o, o.result.as_ref().err()?)));
    let told: Vec<&&TargetOutcome> = match &first_failed {
        Some(_) => outcomes.iter().filter(|o| o.result.is_err()).collect(),
        None => {
            let new = |o: &&&TargetOutcome| matches!(o.result, Ok(Done::Deployed));
            outcomes.iter().filter(new).collect()
        }
    };
    let first = told.first()?;
    let mut notice = Notice::new(
        match first_failed {
            Some(_) => NoticeKind::DeployFailed,
            None => NoticeKind::Deployed,
        },
        Some(id.clone()),
    );
    notice.version = Some(first.version);
    notice.targets = told.iter().map(|o| o.target.clone()).collect();
    notice.cause = first_failed.map(|(outcome, source)| {
        let error = CliError::Target {
            target: outcome.target.clone(),
            source: source.clone(),
        };
        Cause {
            message: error.to_string(),
            hint: error.hint(),
        }
    });
    Some(notice)
}
