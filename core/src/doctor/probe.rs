//! A probe value that is written, seen, removed and timed: whether the provider's credentials are good enough.

use tokio_util::sync::CancellationToken;

use super::Check;
use super::Finding;
use crate::dns::Mode;
use crate::dns::NameReport;
use crate::dns::Place;
use crate::dns::ProbeAt;
use crate::dns::PropagationPolicy;
use crate::dns::ProviderError;
use crate::dns::Report;
use crate::dns::Row;
use crate::dns::Rung;
use crate::dns::Verdict;
use crate::dns::WriteError;
use crate::dns::WriteProblem;
use crate::issue::Engine;
use crate::issue::IssueError;
use crate::issue::Left;
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
    let mut found = Vec::new();
    let mut to_try: Vec<Place> = Vec::new();
    for place in places {
        match reason_not_to_try(place) {
            Some(reason) => found.push(Finding::ok(
                Check::Probe,
                &place.location.owner,
                format!("not probed, because {reason}"),
            )),
            None => to_try.push(place.clone()),
        }
    }
    if !to_try.is_empty() {
        found.extend(tried(engine, request, &to_try, cancel).await);
    }
    found
}

fn reason_not_to_try(place: &Place) -> Option<&'static str> {
    let capabilities = place.provider.provider.capabilities();
    match capabilities.probe {
        _ if capabilities.by_person.is_some() => Some("a person sets the value"),
        ProbeAt::Nowhere(reason) => Some(reason),
        ProbeAt::Below | ProbeAt::Owner => None,
    }
}

async fn tried(
    engine: &Engine,
    request: &Request,
    places: &[Place],
    cancel: &CancellationToken,
) -> Vec<Finding> {
    match engine.try_values(request, places, cancel).await {
        Ok(trial) => findings(engine, &trial),
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

fn findings(engine: &Engine, trial: &Trial) -> Vec<Finding> {
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
                match first.at_owner && !first.only_there {
                    true => "a probe value was written; the name below it was refused",
                    false => "a probe value was written",
                },
            )
            .took(trial.write),
        );
        let seen = match report.unproven().next() {
            None => proven(&about, report, engine.zones().policy_for(&first.owner)),
            Some(name) => late(&about, name),
        };
        findings.push(seen.took(trial.visible));
        findings.push(removed(&about, trial));
    }
    findings
}

fn removed(about: &str, trial: &Trial) -> Finding {
    match trial.left {
        Left { served: 1.., .. } => Finding::failure(
            Check::Probe,
            about,
            "the provider says that it was removed, and the name servers still show it; it is written down",
        )
        .fix("does the provider's cleanup do anything? `dnseal dns gc` tries again; remove it by hand, and `dnseal dns gc --forget` drops the note"),
        Left { failed: failed @ 1.., .. } => Finding::warning(
            Check::Probe,
            about,
            format!("{failed} probe values could not be removed; they are written down"),
        )
        .fix("`dnseal dns gc` tries again"),
        Left { unseen: 1.., .. } => Finding::ok(
            Check::Probe,
            about,
            "the provider says that it was removed; no name server can be asked",
        )
        .took(trial.removal),
        Left { .. } => Finding::ok(Check::Probe, about, "it was removed").took(trial.removal),
    }
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

/// By what it was proven; where names differ, by the weakest of it.
fn proven(about: &str, report: &Report, policy: &PropagationPolicy) -> Finding {
    let rungs = report.names.iter().filter_map(|name| name.rung);
    let wait = policy.fallback_wait.as_secs();
    match rungs.max() {
        Some(Rung::Authoritative) | None => {
            let mut rows = report.names.iter().flat_map(|name| &name.rows);
            let of_use = |row: &Row| {
                let verdict = row.verdict.as_ref();
                verdict.is_some_and(|v| v.has_it() || v.lacks_it())
            };
            let message = match rows.all(of_use) {
                true => "every name server showed it",
                false => "every name server that is of use showed it",
            };
            Finding::ok(Check::Probe, about, message)
        }
        Some(Rung::Wait) if policy.mode == Mode::Wait => Finding::ok(
            Check::Probe,
            about,
            format!("nobody is asked whether it is served; an order waits {wait} s"),
        ),
        Some(Rung::Wait) => Finding::warning(
            Check::Probe,
            about,
            format!("nobody can be asked from here whether it is served; an order waits {wait} s and hopes"),
        )
        .fix("open HTTPS to a resolver (`--doh URL`), or choose another wait with `--fallback-wait`"),
        Some(rung) => Finding::ok(Check::Probe, about, format!("proven by {}", rung.words())),
    }
}

/// Some servers show the value and others do not, or none does. Where a server has answered without it, an order would wait for it in vain.
fn late(about: &str, name: &NameReport) -> Finding {
    if name.rung == Some(Rung::Provider) {
        return Finding::failure(
            Check::Probe,
            about,
            "the provider does not say that it serves the change",
        )
        .fix("choose another proof with `--propagation`");
    }
    let who = match name.rung {
        Some(Rung::Doh) => "resolver",
        _ => "name server",
    };
    let has_it = |row: &&Row| row.verdict.as_ref().is_some_and(Verdict::has_it);
    let without = name.rows.iter().filter(|row| !has_it(row));
    let table: Vec<String> = without.map(said).collect();
    if name.rows.iter().any(|row| has_it(&row)) {
        let message = format!("some {who}s show it, and not {}", table.join("; "));
        let lacks_it = |row: &Row| row.verdict.as_ref().is_some_and(Verdict::lacks_it);
        return match who == "name server" || name.rows.iter().any(lacks_it) {
            true => Finding::failure(Check::Probe, about, message),
            false => Finding::warning(Check::Probe, about, message),
        }
        .fix("a secondary that stays behind is not notified of changes: look at NOTIFY and at its log; an order waits for one that is only slow until `--propagation-timeout`, and `--quorum` says how many have to show a value");
    }
    Finding::failure(
        Check::Probe,
        about,
        format!("no {who} shows it: {}", table.join("; ")),
    )
    .fix(match name.was_heard() {
        true => "whatever the provider writes to does not feed these servers, or is slow: compare its zone with the delegation",
        false => "if port 53 is closed here, name servers that can be reached with `--nameserver`, or choose another proof with `--propagation`",
    })
}

fn said(row: &Row) -> String {
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
}
