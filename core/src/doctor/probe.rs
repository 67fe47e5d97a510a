//! A probe value that is written, seen, removed and timed: whether the provider's credentials are good enough.

use tokio_util::sync::CancellationToken;

use super::Check;
use super::Finding;
use crate::dns::Place;
use crate::dns::ProviderError;
use crate::dns::Report;
use crate::dns::Verdict;
use crate::dns::WriteError;
use crate::dns::WriteProblem;
use crate::issue::Engine;
use crate::issue::IssueError;
use crate::issue::Request;
use crate::issue::trial::Trial;
use crate::issue::trial::Tried;
use crate::store::StoreError;

pub(super) async fn check(
    engine: &Engine,
    request: &Request,
    places: &[Place],
    cancel: &CancellationToken,
) -> Vec<Finding> {
    let by_hand = |place: &&Place| place.provider.provider.capabilities().by_person.is_some();
    let (persons, places): (Vec<&Place>, Vec<&Place>) = places.iter().partition(by_hand);
    let places: Vec<Place> = places.into_iter().cloned().collect();
    let mut found: Vec<Finding> = persons
        .into_iter()
        .map(|place| {
            let owner = &place.location.owner;
            Finding::ok(
                Check::Probe,
                owner,
                "a person sets the value, so none was tried",
            )
        })
        .collect();
    if places.is_empty() {
        return found;
    }
    found.extend(tried(engine, request, &places, cancel).await);
    found
}

async fn tried(
    engine: &Engine,
    request: &Request,
    places: &[Place],
    cancel: &CancellationToken,
) -> Vec<Finding> {
    match engine.try_values(request, places, cancel).await {
        Ok(trial) => findings(&trial),
        Err(IssueError::Store(StoreError::Locked { holder, .. })) => vec![Finding::ok(
            Check::Probe,
            &request.id,
            format!("no probe value was written, because {holder} works on this certificate"),
        )],
        Err(error) => vec![
            Finding::failure(Check::Store, &request.id, error.to_string()).maybe_fix(error.hint()),
        ],
    }
}

fn findings(trial: &Trial) -> Vec<Finding> {
    let mut findings: Vec<Finding> = trial.values.iter().filter_map(refusal).collect();
    let written: Vec<&Tried> = trial.values.iter().filter(|t| t.result.is_ok()).collect();
    if let (Some(first), Some(report)) = (written.first(), &trial.report) {
        let about = match written.len() {
            1 => first.owner.to_string(),
            n => format!("{} and {} more", first.owner, n - 1),
        };
        findings.push(
            Finding::ok(
                Check::Provider,
                &about,
                match first.at_owner {
                    true => "a probe value was written; the name below it was refused",
                    false => "a probe value was written",
                },
            )
            .took(trial.write),
        );
        findings.push(match report.is_proven() {
            true => {
                Finding::ok(Check::Probe, &about, "every name server showed it").took(trial.visible)
            }
            false => late(&about, report).took(trial.visible),
        });
        findings.push(match trial.left {
            0 => Finding::ok(Check::Probe, &about, "it was removed").took(trial.removal),
            left => Finding::warning(
                Check::Probe,
                &about,
                format!("{left} probe values could not be removed; they are written down"),
            )
            .fix("`dnseal dns gc` tries again"),
        });
    }
    findings
}

fn refusal(tried: &Tried) -> Option<Finding> {
    let error = tried.result.as_ref().err()?;
    Some(Finding::failure(check_of(error), &tried.owner, error.to_string()).maybe_fix(error.hint()))
}

fn check_of(error: &WriteError) -> Check {
    match &error.reason {
        WriteProblem::Provider(ProviderError::Clock { .. }) => Check::Clock,
        WriteProblem::Provider(ProviderError::RateLimited { .. }) => Check::Limits,
        _ => Check::Provider,
    }
}

/// Some servers show the value and others do not, or none does.
fn late(about: &str, report: &Report) -> Finding {
    let rows = || report.names.iter().flat_map(|name| &name.rows);
    let has_it = rows().any(|row| row.verdict.as_ref().is_some_and(Verdict::has_it));
    let table: Vec<String> = report
        .unproven()
        .take(1)
        .flat_map(|name| &name.rows)
        .filter(|row| !row.verdict.as_ref().is_some_and(Verdict::has_it))
        .map(|row| {
            let verdict = match (&row.verdict, &row.problem) {
                (Some(verdict), _) => verdict.to_string(),
                (None, Some(problem)) => problem.clone(),
                (None, None) => "not asked".to_owned(),
            };
            let serial = row
                .zone_serial
                .map_or_else(String::new, |serial| format!(", serial {serial}"));
            match row.address {
                Some(address) if row.server != address.to_string() => {
                    format!("{} ({address}): {verdict}{serial}", row.server)
                }
                _ => format!("{}: {verdict}{serial}", row.server),
            }
        })
        .collect();
    match has_it {
        true => Finding::warning(
            Check::Probe,
            about,
            format!("some name servers show it, and not {}", table.join("; ")),
        )
        .fix("an order waits for them until `--propagation-timeout`; a secondary that stays behind is not notified of changes"),
        false => Finding::failure(
            Check::Probe,
            about,
            format!("no name server shows it: {}", table.join("; ")),
        )
        .fix("whatever the provider writes to does not feed these servers, or is slow: compare its zone with the delegation"),
    }
}
