//! `dnseal renew`.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::hash_map::RandomState;
use std::fmt::Write;
use std::hash::BuildHasher;
use std::hash::Hasher;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dnseal_core::event::What;
use dnseal_core::renew::Due;
use dnseal_core::store::CertId;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;

use crate::args::IssueArgs;
use crate::args::OutputFormat;
use crate::args::RenewArgs;
use crate::commands::App;
use crate::commands::after;
use crate::commands::batch;
use crate::commands::batch::Batch;
use crate::commands::batch::Job;
use crate::commands::deploying::Deploying;
use crate::commands::notices;
use crate::commands::rehearsal::Stage;
use crate::commands::rehearsal::rehearsed;
use crate::commands::standing::Standing;
use crate::commands::standing::Standings;
use crate::commands::standing::ask;
use crate::commands::standing::order;
use crate::commands::standing::standings;
use crate::commands::work::Engines;
use crate::commands::work::Work;
use crate::config::DurationText;
use crate::error::CliError;
use crate::exit_code::ExitCode;
use crate::render::Report;
use crate::render::Table;
use crate::render::day;
use crate::render::in_days;
use crate::render::plural;
use crate::settings;
use crate::settings::Order;
use crate::settings::Recipes;
use crate::settings::Secrets;

pub(super) async fn run(app: &App, args: &RenewArgs) -> Result<Report, CliError> {
    let only: Vec<CertId> = args
        .names
        .iter()
        .map(|name| name.parse())
        .collect::<Result<_, _>>()?;
    app.places.check_keys()?;
    let work = Work::begin(app)?;
    jitter(args, &work).await?;

    let now = Timestamp::now();
    let recipes = Recipes::new(&app.config)?
        .with_caa(args.caa.as_deref())
        .with_staging(args.staging.as_deref());
    let found = standings(app, &recipes, &only, args.force || args.dry_run, now).await?;
    if args.dry_run {
        return rehearse(app, args, &recipes, found, work).await;
    }
    let found = ask(app, &recipes, found, &work, now).await?;
    if work.cancel().is_cancelled() {
        let code = work.interrupted().unwrap_or(ExitCode::INTERRUPTED);
        return Err(CliError::Interrupted(code));
    }

    let mut jobs = Vec::new();
    let mut due = Vec::new();
    let mut rest = Vec::new();
    for standing in found {
        match standing {
            Err((id, error)) => jobs.push(Job {
                id,
                names: Vec::new(),
                ready: Err(error),
            }),
            Ok(standing)
                if args.force || standing.due.next() <= now || standing.has_leftovers() =>
            {
                due.push(standing);
            }
            Ok(standing) => rest.push(standing),
        }
    }
    tell(app, args, &work, &due, &rest, now);
    let mut batch = Batch::new(args.at_once.concurrency());
    jobs.extend(self::jobs(app, args, &recipes, &due, &work)?);
    if jobs.is_empty() && rest.is_empty() {
        work.finish().await;
        let text = match app.printer.quiet {
            true => String::new(),
            false => format!("no certificates in {}\n", app.places.store.display()),
        };
        let json = json!({ "certificates": [], "not_due": [] });
        return Ok(Report::new(text, json));
    }
    let nothing_due = jobs.is_empty();
    let ids = jobs
        .iter()
        .map(|job| &job.id)
        .chain(rest.iter().map(|s| &s.id));
    let deploying = Deploying::new(app, &work, Arc::new(app.places.open()?), ids).await?;
    deploying.look(app, &jobs).await?;
    // What could not be deployed before is tried again, without an order.
    for Standing { id, head, .. } in &rest {
        if let Some(version) = head.as_ref().and_then(|head| head.current.as_ref()) {
            deploying.deploy(id, version, false).await;
        }
    }
    batch.observers.push(Box::new(deploying));
    batch.observers.extend(notices::observer(app, &work)?);
    let ended = batch.run(jobs, &work).await?;
    let interrupted = work.interrupted();
    let stats = work.finish().await;
    let mut report = batch::report(app, ended, interrupted, &stats, None)?;
    if rest.iter().any(|standing| is_held(standing, now)) {
        report.exit = with_held(report.exit, !nothing_due);
    }
    if app.printer.format == OutputFormat::Json {
        report.json["not_due"] = not_due(&rest);
    }
    if app.printer.quiet {
        // cron mails whatever is written: where all is well that is nothing.
        if report.exit == ExitCode::DONE {
            report.text.clear();
        }
        return Ok(report);
    }
    match rest.iter().min_by_key(|standing| standing.due.next()) {
        Some(_) if app.printer.verbose > 0 || nothing_due && !only.is_empty() => {
            report.text.push_str(&later(&rest, now))
        }
        Some(next) if !nothing_due => {
            let (count, are) = match rest.len() {
                1 => ("1 other".to_owned(), "is"),
                n => (format!("{n} others"), "are"),
            };
            let _ = match next.due.next() {
                then if then == Timestamp::MAX => {
                    writeln!(report.text, "{count} {are} not due, nor will be")
                }
                then => writeln!(
                    report.text,
                    "{count} {are} not due; the next is {} on {}",
                    next.id,
                    day(then)
                ),
            };
        }
        _ => {}
    }
    Ok(report)
}

/// Goes through all of it with all of them, where it is of no consequence.
async fn rehearse(
    app: &App,
    args: &RenewArgs,
    recipes: &Recipes<'_>,
    found: Standings,
    work: Work,
) -> Result<Report, CliError> {
    let stage = Stage::new(app, args.run_hooks)?;
    let mut jobs = Vec::new();
    let mut known = Vec::new();
    for standing in found {
        match standing {
            Ok(standing) => known.push(standing),
            Err((id, error)) => jobs.push(Job {
                id,
                names: Vec::new(),
                ready: Err(error),
            }),
        }
    }
    let roots: BTreeSet<PathBuf> = known.iter().flat_map(|s| s.roots.clone()).collect();
    let roots: Vec<PathBuf> = roots.into_iter().collect();
    jobs.extend(self::jobs(&stage.app, args, recipes, &known, &work)?);
    stage
        .run(jobs, args.at_once.concurrency(), &roots, work)
        .await
}

/// Waits a random time, where that is asked for.
async fn jitter(args: &RenewArgs, work: &Work) -> Result<(), CliError> {
    let Some(text) = args.jitter.as_deref().filter(|text| !text.is_empty()) else {
        return Ok(());
    };
    let at_most: DurationText = text
        .parse()
        .map_err(|error: String| CliError::usage(error, "write for example `--jitter 1h`"))?;
    let share = RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64;
    let pause = at_most.0.mul_f64(share);
    work.events.emit(What::Waiting {
        reason: "a random time, so that not everybody asks at once".to_owned(),
        at_most: Some(pause),
    });
    tokio::select! {
        () = tokio::time::sleep(pause) => Ok(()),
        () = work.cancel().cancelled() => {
            let code = work.interrupted().unwrap_or(ExitCode::INTERRUPTED);
            Err(CliError::Interrupted(code))
        }
    }
}

/// Says what will be renewed and why, and what should be and is left alone after it has failed.
fn tell(
    app: &App,
    args: &RenewArgs,
    work: &Work,
    due: &[Standing],
    rest: &[Standing],
    now: Timestamp,
) {
    for Standing { id, due, .. } in due.iter().filter(|_| !app.printer.quiet) {
        let why = match args.force && now < due.at {
            true => "of `--force`".to_owned(),
            false if now < due.at => "an earlier run has left values in DNS".to_owned(),
            false => due.reason.to_string(),
        };
        work.progress
            .say(&format!("{id}: to be renewed, because {why}"));
    }
    for Standing { id, due, head, .. } in rest {
        let version = head.as_ref().and_then(|head| head.current.as_ref());
        if let Some((message, hint)) = version.and_then(|version| due.warning(version)) {
            work.events.for_certificate(id).warn(message, Some(hint));
        }
    }
    for Standing { id, due, .. } in rest.iter().filter(|standing| is_held(standing, now)) {
        if let Some(failure) = &due.held {
            let tries = match failure.times {
                1 => "its last renewal".to_owned(),
                n => format!("each of its last {n} renewals"),
            };
            let message = format!(
                "{tries} has failed, and the next try is {}: {}",
                in_a_while(now, failure.again),
                failure.error
            );
            let hint = format!("`dnseal renew --force {id}` tries at once");
            work.events.for_certificate(id).warn(message, Some(hint));
        }
    }
}

/// Whether it should be renewed, and is left alone after it has failed.
fn is_held(standing: &Standing, now: Timestamp) -> bool {
    standing.due.at <= now && now < standing.due.next()
}

/// The status where some certificates are left alone after they have failed: nobody is told that all is well.
fn with_held(exit: ExitCode, others_ended: bool) -> ExitCode {
    match exit {
        ExitCode::LATER => ExitCode::LATER,
        ExitCode::DONE if !others_ended => ExitCode::LATER,
        ExitCode::HUNG_UP | ExitCode::INTERRUPTED | ExitCode::TERMINATED => exit,
        _ => ExitCode::SOME_FAILED,
    }
}

fn in_a_while(now: Timestamp, then: Timestamp) -> String {
    let seconds = then.as_second().saturating_sub(now.as_second()).max(0);
    let left = Duration::from_secs(seconds.unsigned_abs());
    match seconds {
        0..7200 => format!("in {}", crate::render::duration(left)),
        _ => in_days(now, then),
    }
}

/// The certificates that are due, each with an engine that has what it needs. What one of them lacks is its own end.
pub(super) fn jobs(
    app: &App,
    args: &RenewArgs,
    recipes: &Recipes<'_>,
    due: &[Standing],
    work: &Work,
) -> Result<Vec<Job>, CliError> {
    // Certificates that are asked for in the same way share providers, zones and what is known of them.
    let mut alike: BTreeMap<String, (IssueArgs, Orders)> = BTreeMap::new();
    for Standing { id, head, .. } in due {
        let asked = recipes.of(head.as_ref(), app.config.certificate(id))?;
        let order = order(app, recipes, id, head.as_ref(), Secrets::Read).map(|mut order| {
            order.request.force = args.force;
            // Whoever has changed the configuration wants what it says.
            order.request.replace_names = true;
            // What stands in the list does not leave it by failing.
            order.request.renewal.lasting = true;
            order.request.renewal.only_stored =
                head.is_some() && app.config.certificate(id).is_none();
            order
        });
        let order = match args.dry_run {
            true => order.and_then(rehearsed),
            false => order,
        };
        let key = serde_json::to_string(&(&asked.provider, &asked.probe, &asked.ca.caa))
            .unwrap_or_default();
        let (_, orders) = alike.entry(key).or_insert_with(|| (asked, Vec::new()));
        orders.push((id.clone(), order));
    }

    let mut jobs = Vec::new();
    for (asked, orders) in alike.into_values() {
        let mut engines = engines(app, &asked, &orders, work);
        for (id, order) in orders {
            let names = order
                .as_ref()
                .map_or_else(|_| Vec::new(), |o| o.request.names.clone());
            let ready = match (&mut engines, order) {
                (_, Err(error)) => Err(error),
                (Ok(engines), Ok(order)) => engines.ready(order),
                (Err(error), Ok(_)) => Err(error.for_another()),
            };
            jobs.push(Job { id, names, ready });
        }
    }
    jobs.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(jobs)
}

/// What is asked in the same way.
type Orders = Vec<(CertId, Result<Order, CliError>)>;

fn engines(
    app: &App,
    asked: &IssueArgs,
    orders: &[(CertId, Result<Order, CliError>)],
    work: &Work,
) -> Result<Engines, CliError> {
    let mut roots: Vec<PathBuf> = orders
        .iter()
        .filter_map(|(_, order)| order.as_ref().ok())
        .flat_map(|order| order.roots.iter().chain(order.other_roots.iter().flatten()))
        .cloned()
        .collect();
    roots.sort();
    roots.dedup();
    let probing = settings::probing(&asked.probe, &app.config)?;
    probing.trust(&roots);
    let context = work.context(&roots)?.with_onlooker(work.onlooker(&probing));
    let providers = settings::providers(&asked.provider, &app.config, &context)?;
    let caa = settings::caa(&asked.ca, &app.config)?;
    Ok(Engines::new(app, work, work.zones(&probing, providers)?)?.with_caa(caa))
}

/// What is not due, for people.
fn later(rest: &[Standing], now: Timestamp) -> String {
    let mut table = Table::new(&["NOT DUE", "UNTIL", "", "BECAUSE THEN"]);
    for Standing { id, due, .. } in rest {
        let next = due.next();
        let why = match &due.held {
            Some(failure) if due.at < next => {
                format!("it has failed {}", plural(failure.times as usize, "time"))
            }
            _ => due.reason.to_string(),
        };
        let (until, in_days) = match next == Timestamp::MAX {
            true => ("never".to_owned(), String::new()),
            false => (day(next), in_days(now, next)),
        };
        table.row([id.to_string(), until, in_days, why]);
    }
    table.render("")
}

/// The same for programs.
fn not_due(rest: &[Standing]) -> Value {
    rest.iter().map(document).collect()
}

/// When a certificate is due, for programs.
fn document(standing: &Standing) -> Value {
    let mut document = renewal(&standing.due);
    document["name"] = json!(standing.id);
    document
}

/// When something is due, why then, and what has failed.
pub(super) fn renewal(due: &Due) -> Value {
    let next = due.next();
    json!({
        "renew_at": (next != Timestamp::MAX).then(|| after::in_seconds(next)),
        "reason": due.reason,
        "failed": due.held,
    })
}
