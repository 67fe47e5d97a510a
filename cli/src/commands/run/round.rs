//! One look at every certificate: renew what is due, deploy what is not where it belongs, and say when to look again.
//!
//! What is due, when, and why is what `renew` goes by: the CA's advice, what is stored of failures, and how each certificate was asked
//! for. What stays to be done although it was worked on is left alone for a while by [`Patience`].

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dnseal_core::deploy::Standing as TargetStanding;
use dnseal_core::notify::expiring;
use dnseal_core::notify::expiring_changes;
use dnseal_core::renew::Advisor;
use dnseal_core::store::CertId;
use dnseal_core::store::Head;
use dnseal_core::store::Version;
use jiff::SignedDuration;
use jiff::Timestamp;

use crate::args::IssueArgs;
use crate::args::RenewArgs;
use crate::args::RunArgs;
use crate::args::SpecArgs;
use crate::commands::App;
use crate::commands::batch::Batch;
use crate::commands::batch::Job;
use crate::commands::batch::Observer;
use crate::commands::batch::Outcome;
use crate::commands::deploying::Deploying;
use crate::commands::deploying::Standings as Targets;
use crate::commands::notices;
use crate::commands::renew;
use crate::commands::run::AFTER_FAILURE;
use crate::commands::run::in_seconds;
use crate::commands::run::patience::LONGEST_PAUSE;
use crate::commands::run::patience::Patience;
use crate::commands::standing::Standing;
use crate::commands::standing::Standings;
use crate::commands::standing::ask;
use crate::commands::standing::standings;
use crate::commands::work::Work;
use crate::error::CliError;
use crate::exit_code::ExitCode;
use crate::metrics::Certificate;
use crate::metrics::Metrics;
use crate::settings::Recipes;
use crate::signals::Signals;

/// What a round has found.
#[derive(Debug)]
pub(super) struct Round {
    /// How many certificates there are.
    pub(super) certificates: usize,
    /// When to look again.
    pub(super) next: Timestamp,
}

/// Looks, renews, and finds out when to look again.
pub(super) async fn run(
    app: &App,
    args: &RunArgs,
    stop: Signals,
    metrics: &Metrics,
    patience: &mut Patience,
) -> Result<Round, CliError> {
    let work = Work::begin_under(app, app.printer, stop, Some(metrics.clone()))?;
    let round = match look(app, args, &work, metrics, patience).await {
        Err(error) if work.interrupted().is_none() => {
            Ok(failed(app, args, &work, metrics, patience, &error).await)
        }
        round => round,
    };
    let interrupted = work.interrupted();
    work.finish().await;
    match interrupted {
        Some(code) => Err(CliError::Interrupted(code)),
        None => round,
    }
}

async fn look(
    app: &App,
    args: &RunArgs,
    work: &Work,
    metrics: &Metrics,
    patience: &mut Patience,
) -> Result<Round, CliError> {
    let recipes = Recipes::told(&app.config, issue_args(args));
    let now = Timestamp::now();
    let found = standings(app, &recipes, &[], true, now).await?;
    let found = ask(app, &recipes, found, work, now).await?;
    let tried = act(app, args, &recipes, work, metrics, patience, found, now).await?;

    // What a new version's CA says about when to renew it is asked at once, because it decides how long to sleep.
    let now = Timestamp::now();
    let found = standings(app, &recipes, &[], true, now).await?;
    let found = ask(app, &recipes, found, work, now).await?;
    let targets = Targets::read(app)?;
    let seen = Seen {
        found: &found,
        targets: Some(&targets),
        now,
    };
    Ok(settle(app, work, metrics, patience, &seen, &tried).await)
}

/// A round that came to nothing is a failure of each certificate that is due: it is told, counted, and tried again.
async fn failed(
    app: &App,
    args: &RunArgs,
    work: &Work,
    metrics: &Metrics,
    patience: &mut Patience,
    error: &CliError,
) -> Round {
    let now = Timestamp::now();
    let recipes = Recipes::told(&app.config, issue_args(args));
    let found = match standings(app, &recipes, &[], true, now).await {
        Ok(found) => found,
        // Nothing can be told of any: of all that are known, each may be due.
        Err(_) => {
            let configured = app.config.certificates.iter().map(|c| c.id.clone());
            let ids: BTreeSet<CertId> = metrics
                .certificates()
                .into_keys()
                .chain(configured)
                .collect();
            ids.into_iter()
                .map(|id| Err((id, error.for_another())))
                .collect()
        }
    };
    let mut tried = Tried::begun(now);
    let mut outcomes = Vec::new();
    let text = app.printer.error_text(error);
    for standing in &found {
        let (id, to_do) = match standing {
            Ok(standing) => (&standing.id, is_to_do(standing, now)),
            Err((id, _)) => (id, true),
        };
        if !to_do || !patience.renewals.lets(id, now) {
            continue;
        }
        work.progress.complain(&format!("{id}: {text}"));
        let configured = app.config.certificate(id).map(|c| c.names.clone());
        outcomes.push(Outcome {
            id: id.clone(),
            names: configured.unwrap_or_default(),
            result: Err(error.for_another()),
            took: Duration::ZERO,
        });
        metrics.tried(id, now, false, Duration::ZERO);
        tried.renewals.insert(id.clone());
        tried.failed.insert(id.clone());
    }
    if outcomes.is_empty() {
        work.progress.complain(&text);
    }
    match notices::observer(app, work) {
        Ok(Some(teller)) => {
            teller.finish(&outcomes, &[]).await;
        }
        Ok(None) => {}
        Err(error) => work
            .events
            .warn(format!("nobody is notified: {error}"), error.hint()),
    }
    let seen = Seen {
        found: &found,
        targets: None,
        now,
    };
    let round = settle(app, work, metrics, patience, &seen, &tried).await;
    Round {
        next: round.next.min(now + AFTER_FAILURE),
        ..round
    }
}

/// Where everything stands at the end of a round.
struct Seen<'a> {
    found: &'a Standings,
    /// Unknown where the round came to nothing.
    targets: Option<&'a Targets<'a>>,
    now: Timestamp,
}

/// Finds out when to look again, counts, and says what was achieved.
async fn settle(
    app: &App,
    work: &Work,
    metrics: &Metrics,
    patience: &mut Patience,
    seen: &Seen<'_>,
    tried: &Tried,
) -> Round {
    let now = seen.now;
    let before = metrics.certificates();
    let mut states = BTreeMap::new();
    let mut next = Timestamp::MAX;
    for standing in seen.found {
        let (id, to_do) = match standing {
            Ok(standing) => (&standing.id, is_to_do(standing, now)),
            Err((id, _)) => (id, true),
        };
        // What cannot be told of how it is asked for says nothing about what is there.
        let head = match standing {
            Ok(standing) => standing.head.clone(),
            Err(_) => head_of(app, id).await,
        };
        let version = head.as_ref().and_then(|head| head.current.as_ref());
        let failure = head.as_ref().and_then(|head| head.renewal.failure.as_ref());
        let mut at = match standing {
            Ok(standing) => look_at(standing, now),
            Err(_) => Timestamp::MAX,
        };
        // The store says when to try again what has failed, also where that is over by now.
        let noted = failure.is_some_and(|failure| failure.last >= tried.begun);
        if to_do && !(noted && standing.is_ok()) {
            let worked = tried.renewals.contains(id);
            let longest = longest_pause(version);
            at = patience.renewals.try_again(id, worked, longest, now);
        } else {
            patience.renewals.forget(id);
        }
        next = next.min(at);
        if let Some(version) = version {
            next = next.min(expiring_changes(version, now).unwrap_or(Timestamp::MAX));
        }
        match (standing, seen.targets) {
            (Ok(standing), Some(targets)) if undeployed(targets, standing) > 0 => {
                let worked = tried.deployments.contains(id);
                let longest = longest_pause(version);
                let again = patience.deployments.try_again(id, worked, longest, now);
                if worked {
                    say(
                        app,
                        work,
                        id,
                        &format!("next try to deploy {}", in_seconds(again.max(now))),
                    );
                }
                next = next.min(again);
            }
            (_, None) => {}
            _ => patience.deployments.forget(id),
        }
        let state = match (&head, standing) {
            (None, Err(_)) => before.get(id).cloned().unwrap_or_default(),
            (_, Ok(standing)) => state(head.as_ref(), standing.due.next(), at, now),
            (_, Err(_)) => state(head.as_ref(), at, at, now),
        };
        let undeployed = match (standing, seen.targets) {
            (Ok(standing), Some(targets)) => undeployed(targets, standing),
            _ => before.get(id).map_or(0, |before| before.undeployed),
        };
        let stored = failure.map_or(0, |failure| failure.times);
        let failures = stored.max(patience.renewals.times(id));
        if tried.failed.contains(id) {
            say(
                app,
                work,
                id,
                &format!("next try {}", in_seconds(at.max(now))),
            );
        } else if let (true, Some(version)) = (tried.issued.contains(id), version) {
            // The CA may be asked again before.
            let renewal = standing.as_ref().map_or(at, |s| s.due.next());
            let achieved = format!(
                "version {} is stored, valid until {}; next renewal {}",
                version.number,
                in_seconds(version.not_after),
                in_seconds(renewal.max(now))
            );
            say(app, work, id, &achieved);
        }
        let state = Certificate {
            failures,
            undeployed,
            ..state
        };
        states.insert(id.clone(), state);
    }
    let certificates = states.len();
    metrics.set_certificates(states);
    Round { certificates, next }
}

fn say(app: &App, work: &Work, id: &CertId, what: &str) {
    if !app.printer.quiet {
        work.progress.say(&format!("{id}: {what}"));
    }
}

async fn head_of(app: &App, id: &CertId) -> Option<Head> {
    let store = app.places.open_existing().ok()??;
    Some(Head::load(&store, id).await.ok()??.0)
}

/// A tenth of its life, as the store has it for what it notes.
fn longest_pause(version: Option<&Version>) -> Duration {
    let tenth = version.and_then(|version| {
        let lifetime = version.not_after.duration_since(version.not_before);
        Duration::try_from(lifetime / 10).ok()
    });
    tenth.map_or(LONGEST_PAUSE, |tenth| tenth.max(Duration::from_secs(1)))
}

/// What a round has worked on.
#[derive(Debug)]
struct Tried {
    begun: Timestamp,
    renewals: BTreeSet<CertId>,
    deployments: BTreeSet<CertId>,
    /// Those that have a new version.
    issued: BTreeSet<CertId>,
    /// Those that should have.
    failed: BTreeSet<CertId>,
}

impl Tried {
    fn begun(begun: Timestamp) -> Self {
        Self {
            begun,
            renewals: BTreeSet::new(),
            deployments: BTreeSet::new(),
            issued: BTreeSet::new(),
            failed: BTreeSet::new(),
        }
    }
}

/// Renews and deploys.
#[expect(clippy::too_many_arguments, reason = "one step of `look`")]
async fn act(
    app: &App,
    args: &RunArgs,
    recipes: &Recipes<'_>,
    work: &Work,
    metrics: &Metrics,
    patience: &Patience,
    found: Standings,
    now: Timestamp,
) -> Result<Tried, CliError> {
    let mut jobs = Vec::new();
    let mut due = Vec::new();
    let mut rest = Vec::new();
    for standing in found {
        match standing {
            Ok(standing)
                if is_to_do(&standing, now) && patience.renewals.lets(&standing.id, now) =>
            {
                due.push(standing);
            }
            Ok(standing) => rest.push(standing),
            Err((id, error)) if patience.renewals.lets(&id, now) => jobs.push(Job {
                id,
                names: Vec::new(),
                ready: Err(error),
            }),
            Err(_) => {}
        }
    }
    for Standing { id, due, .. } in &due {
        let why = match now < due.at {
            true => "an earlier run has left values in DNS".to_owned(),
            false => due.reason.to_string(),
        };
        work.progress
            .say(&format!("{id}: to be renewed, because {why}"));
    }
    let renew = RenewArgs {
        at_once: args.at_once,
        ..RenewArgs::default()
    };
    jobs.extend(renew::jobs(app, &renew, recipes, &due, work)?);
    rest.retain(|standing| patience.deployments.lets(&standing.id, now));
    let renewals: BTreeSet<CertId> = jobs.iter().map(|job| job.id.clone()).collect();
    let rested = rest.iter().map(|standing| standing.id.clone());
    let deployments: BTreeSet<CertId> = renewals.iter().cloned().chain(rested).collect();

    let mut batch = Batch::new(args.at_once.concurrency());
    batch.observers.push(Box::new(Counter(metrics.clone())));
    let store = Arc::new(app.places.open()?);
    let deploying = Deploying::new(app, work, store, &deployments).await?;
    deploying.look(app, &jobs).await?;
    for Standing { id, head, .. } in &rest {
        if let Some(version) = head.as_ref().and_then(|head| head.current.as_ref()) {
            deploying.deploy(id, version, false).await;
        }
    }
    batch.observers.push(Box::new(deploying));
    // After what it tells of.
    batch.observers.extend(notices::observer(app, work)?);
    let ended = batch.run(jobs, work).await?;
    let mut tried = Tried {
        renewals,
        deployments,
        ..Tried::begun(now)
    };
    for outcome in &ended.outcomes {
        match &outcome.result {
            Ok(issued) if issued.issued_now => {
                tried.issued.insert(outcome.id.clone());
            }
            Ok(_) | Err(CliError::Interrupted(_)) => {}
            Err(error) => {
                let text = app.printer.error_text(error);
                work.progress.complain(&format!("{}: {text}", outcome.id));
                tried.failed.insert(outcome.id.clone());
            }
        }
    }
    Ok(tried)
}

/// Whether there is something to do about it now. What has failed is left alone as long as the store says, also what it has left.
fn is_to_do(standing: &Standing, now: Timestamp) -> bool {
    rests_until(standing) <= now && (standing.due.at <= now || standing.has_leftovers())
}

/// When it is due, or its CA is to be asked again.
fn look_at(standing: &Standing, now: Timestamp) -> Timestamp {
    let due = match standing.has_leftovers() {
        true => rests_until(standing),
        false => standing.due.next(),
    };
    match standing.head.as_ref().and_then(Advisor::asks_from) {
        Some(at) if at > now => due.min(at),
        // It could not be asked now.
        Some(_) => due.min(now + ASK_LATER),
        None => due,
    }
}

fn rests_until(standing: &Standing) -> Timestamp {
    let held = standing.due.held.as_ref();
    held.map_or(Timestamp::MIN, |failure| failure.again)
}

/// How many targets do not have the version in force; one where that cannot be told.
fn undeployed(targets: &Targets<'_>, standing: &Standing) -> u32 {
    let Some(head) = &standing.head else {
        return 0;
    };
    match targets.of(head) {
        Ok(states) => {
            let lacking = states
                .iter()
                .filter(|state| state.standing != TargetStanding::Deployed);
            u32::try_from(lacking.count()).unwrap_or(u32::MAX)
        }
        Err(_) => 1,
    }
}

fn state(head: Option<&Head>, due: Timestamp, at: Timestamp, now: Timestamp) -> Certificate {
    let failure = head.and_then(|head| head.renewal.failure.as_ref());
    let version = head.and_then(|head| head.current.as_ref());
    let next = match due <= now {
        true => at,
        false => due,
    };
    Certificate {
        version: version.map(|version| version.number),
        not_before: version.map(|version| version.not_before),
        not_after: version.map(|version| version.not_after),
        issued: version.map(|version| version.issued),
        // What is never due again, because it was revoked, has no next time.
        next_renewal: (next < Timestamp::MAX).then_some(next),
        failures: failure.map_or(0, |failure| failure.times),
        expiring: version.is_some_and(|version| expiring(version, now).is_some()),
        undeployed: 0,
    }
}

/// Counts how tries end.
#[derive(Debug)]
struct Counter(Metrics);

#[async_trait]
impl Observer for Counter {
    async fn ended(&self, outcome: &Outcome) {
        let success = match &outcome.result {
            Ok(issued) if issued.issued_now => true,
            // Kept, or left for the next round.
            Ok(_) | Err(CliError::Interrupted(_)) => return,
            Err(error) if error.exit_code() == ExitCode::LOCKED => return,
            Err(_) => false,
        };
        self.0
            .tried(&outcome.id, Timestamp::now(), success, outcome.took);
    }
}

/// What flags and variables say, as `issue` would be told it.
fn issue_args(args: &RunArgs) -> IssueArgs {
    IssueArgs {
        spec: SpecArgs::default(),
        at_once: args.at_once,
        ca: args.ca.clone(),
        provider: args.provider.clone(),
        probe: args.probe.clone(),
        ..IssueArgs::default()
    }
}

/// What could not be asked is asked again after this.
const ASK_LATER: SignedDuration = SignedDuration::from_mins(5);
