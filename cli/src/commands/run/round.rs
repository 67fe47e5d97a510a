//! One look at every certificate: renew what is due, and say when to look again.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::PathBuf;

use async_trait::async_trait;
use dnseal_core::issue::Terms;
use dnseal_core::notify::expiring;
use dnseal_core::renew::Policy;
use dnseal_core::renew::due;
use dnseal_core::store::CertId;
use dnseal_core::store::Head;
use jiff::SignedDuration;
use jiff::Timestamp;

use crate::args::IssueArgs;
use crate::args::RunArgs;
use crate::args::SpecArgs;
use crate::commands::App;
use crate::commands::batch::Batch;
use crate::commands::batch::Job;
use crate::commands::batch::Observer;
use crate::commands::batch::Outcome;
use crate::commands::deploying::Deploying;
use crate::commands::list;
use crate::commands::notices;
use crate::commands::reason;
use crate::commands::work::Engines;
use crate::commands::work::Work;
use crate::error::CliError;
use crate::exit_code::ExitCode;
use crate::metrics::Certificate;
use crate::metrics::Metrics;
use crate::settings;
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
) -> Result<Round, CliError> {
    let work = Work::begin_under(app, app.printer, stop, Some(metrics.clone()))?;
    let round = look(app, args, &work, metrics).await;
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
) -> Result<Round, CliError> {
    let terms = match args.ca.agree_tos || app.config.agree_tos {
        true => Terms::Agreed,
        false => Terms::NotAgreed,
    };
    let orders = settings::orders(&issue_args(args), &app.config, &terms)?;
    let mut wanting = Vec::new();
    for order in orders {
        if reason::reason(app, &order.request).await?.is_some() {
            wanting.push(order);
        }
    }
    let mut batch = Batch::new(args.at_once.concurrency());
    batch.observers.push(Box::new(Counter(metrics.clone())));
    let mut jobs = Vec::new();
    if !wanting.is_empty() {
        let probing = settings::probing(&args.probe, &app.config)?;
        let roots: BTreeSet<&PathBuf> = wanting
            .iter()
            .flat_map(|o| o.roots.iter().chain(o.other_roots.iter().flatten()))
            .collect();
        let roots: Vec<PathBuf> = roots.into_iter().cloned().collect();
        let providers = settings::providers(&args.provider, &app.config, &work.context(&roots)?)?;
        let mut engines = Engines::new(app, work, work.zones(&probing, providers)?)?;
        for order in wanting {
            let (engine, request) = engines.ready(order)?;
            jobs.push(Job::new(engine, request));
        }
        let ids = jobs.iter().map(|job| &job.id);
        let deploying = Deploying::new(app, work, engines.store(), ids)?;
        deploying.look(app, &jobs).await?;
        batch.observers.push(Box::new(deploying));
    }
    // After what it tells of.
    batch.observers.extend(notices::observer(app, work)?);
    let ended = batch.run(jobs, work).await?;
    let now = Timestamp::now();
    let mut failed = BTreeSet::new();
    for outcome in &ended.outcomes {
        if let Err(error) = &outcome.result {
            work.progress.say(&format!(
                "{}: {}",
                outcome.id,
                app.printer.error_text(error)
            ));
            failed.insert(outcome.id.clone());
        }
    }
    let heads = list::heads(app).await?;
    let states: BTreeMap<CertId, Certificate> = heads
        .into_iter()
        .filter_map(|(id, head)| Some((id, head.ok()?)))
        .map(|(id, head)| {
            let state = state(&head, failed.contains(&id), now);
            (id, state)
        })
        .collect();
    let next = states.values().filter_map(|state| state.next_renewal).min();
    let certificates = states.len();
    metrics.set_certificates(states);
    Ok(Round {
        certificates,
        next: next.unwrap_or(Timestamp::MAX),
    })
}

fn state(head: &Head, failed: bool, now: Timestamp) -> Certificate {
    let retry = now + SignedDuration::from_mins(1);
    let Some(version) = &head.current else {
        return Certificate {
            next_renewal: Some(retry),
            failures: u32::from(failed),
            ..Certificate::default()
        };
    };
    Certificate {
        version: Some(version.number),
        not_before: Some(version.not_before),
        not_after: Some(version.not_after),
        issued: Some(version.issued),
        next_renewal: Some(match failed {
            true => retry,
            false => due(head, &head.wanted, now, &Policy::default()).next(),
        }),
        failures: u32::from(failed),
        expiring: expiring(version, now).is_some(),
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
            Ok(_) => return,
            Err(error) if error.exit_code() == ExitCode::LOCKED => return,
            Err(CliError::Interrupted(_)) => return,
            Err(_) => false,
        };
        self.0
            .tried(&outcome.id, Timestamp::now(), success, outcome.took);
    }
}

/// What is asked for, as `issue` without names would ask.
fn issue_args(args: &RunArgs) -> IssueArgs {
    IssueArgs {
        names: Vec::new(),
        domains: Vec::new(),
        name: None,
        key_type: None,
        profile: None,
        renew_before: None,
        plan: false,
        dry_run: false,
        force: false,
        replace_names: true,
        at_once: args.at_once,
        spec: SpecArgs::default(),
        ca: args.ca.clone(),
        provider: args.provider.clone(),
        probe: args.probe.clone(),
    }
}
