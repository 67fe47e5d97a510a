//! `dnseal issue`.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use dnseal_core::doctor::Finding;
use dnseal_core::doctor::Severity;
use dnseal_core::issue::Person;
use dnseal_core::issue::Plan;
use dnseal_core::issue::Terms;
use dnseal_core::store::KeyOrigin;
use dnseal_core::store::Spec;
use serde_json::Value;
use serde_json::json;

use crate::args::CaArgs;
use crate::args::IssueArgs;
use crate::commands::App;
use crate::commands::after;
use crate::commands::again::Again;
use crate::commands::batch;
use crate::commands::batch::Batch;
use crate::commands::batch::Job;
use crate::commands::deploying::Deploying;
use crate::commands::deploying::examined;
use crate::commands::notices;
use crate::commands::reason;
use crate::commands::rehearsal::Stage;
use crate::commands::rehearsal::rehearsed;
use crate::commands::work::Engines;
use crate::commands::work::Work;
use crate::error::CliError;
use crate::exit_code::ExitCode;
use crate::render::Progress;
use crate::render::Report;
use crate::render::confirm;
use crate::settings;
use crate::settings::Order;

pub(super) async fn run(app: &App, args: &IssueArgs) -> Result<Report, CliError> {
    app.places.check_keys()?;
    let work = Work::begin(app)?;
    let terms = terms(&args.ca, app, &work.progress);
    let orders = settings::orders(args, &app.config, &terms)?;
    for order in &orders {
        if let Some(warning) = &order.request.ca.warning {
            work.events
                .for_certificate(&order.request.id)
                .warn(warning.clone(), None);
        }
    }
    let probing = settings::probing(&args.probe, &app.config)?;
    let roots: BTreeSet<&PathBuf> = orders
        .iter()
        .flat_map(|o| o.roots.iter().chain(o.other_roots.iter().flatten()))
        .collect();
    let roots: Vec<PathBuf> = roots.into_iter().cloned().collect();
    probing.trust(&roots);
    let context = match args.plan {
        true => work.looking_context(&roots)?,
        false => work.context(&roots)?,
    };
    let context = context.with_onlooker(work.onlooker(&probing));
    let providers = settings::providers(&args.provider, &app.config, &context)?;
    let zones = work.zones(&probing, providers)?;
    if args.dry_run {
        let stage = Stage::new(app, args.run_hooks)?;
        let caa = settings::caa(&args.ca, &app.config)?;
        let mut engines = Engines::new(&stage.app, &work, zones)?
            .with_caa(caa)
            .with_person(person());
        let orders = orders.into_iter().map(rehearsed);
        let jobs = jobs(&mut engines, orders.collect::<Result<_, _>>()?)?;
        return stage
            .run(jobs, args.at_once.concurrency(), &roots, work)
            .await;
    }
    match args.plan {
        true => plan(app, &mut Engines::looking(app, &work, zones)?, orders, work).await,
        false => {
            let caa = settings::caa(&args.ca, &app.config)?;
            let mut engines = Engines::new(app, &work, zones)?
                .with_caa(caa)
                .with_person(person());
            for order in orders.iter().filter(|_| !app.printer.quiet) {
                // That a new one is ordered surprises nobody; what cannot be read is the end of that certificate alone.
                if let Ok(Some(why)) = reason::reason(app, &order.request).await
                    && why != reason::NONE_YET
                {
                    work.progress.say(&format!(
                        "{}: to be ordered, because {why}",
                        order.request.id
                    ));
                }
            }
            let jobs = jobs(&mut engines, orders)?;
            let mut batch = Batch::new(args.at_once.concurrency());
            let ids = jobs.iter().map(|job| &job.id);
            let deploying = Deploying::new(app, &work, engines.store(), ids).await?;
            deploying.look(app, &jobs).await?;
            batch.observers.push(Box::new(deploying));
            batch.observers.extend(notices::observer(app, &work)?);
            let ended = batch.run(jobs, &work).await?;
            let interrupted = work.interrupted();
            let stats = work.finish().await;
            let again = Again::of_this_process(&args.provider, &app.config);
            batch::report(app, ended, interrupted, &stats, Some(&again))
        }
    }
}

/// Whoever sits at a terminal is waited for.
fn person() -> Person {
    match std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        true => Person::Present,
        false => Person::Absent,
    }
}

/// Each order with the engine that trusts what its CA needs.
fn jobs(engines: &mut Engines, orders: Vec<Order>) -> Result<Vec<Job>, CliError> {
    orders
        .into_iter()
        .map(|order| {
            let (engine, request) = engines.ready(order)?;
            Ok(Job::new(engine, request))
        })
        .collect()
}

async fn plan(
    app: &App,
    engines: &mut Engines,
    orders: Vec<Order>,
    work: Work,
) -> Result<Report, CliError> {
    let mut plans = Vec::new();
    for order in &orders {
        engines.lend(order)?;
        let engine = engines.trusting(&order.roots)?;
        let cancel = work.cancel().clone();
        tokio::select! {
            plan = engine.plan(&order.request) => plans.push((order, plan)),
            () = cancel.cancelled() => {
                return Err(CliError::Interrupted(work.interrupted().unwrap_or(ExitCode::INTERRUPTED)));
            }
        }
    }
    let interrupted = work.interrupted();
    let stats = work.finish().await;
    if let [(_, Err(_))] = plans.as_slice()
        && let Some((_, Err(error))) = plans.pop()
    {
        return Err(CliError::issue(error, interrupted));
    }

    let mut text = String::new();
    let mut documents: Vec<Value> = Vec::new();
    let mut exit = ExitCode::DONE;
    let store = engines.store();
    for (order, plan) in plans {
        let id = &order.request.id;
        match plan {
            Ok(plan) => {
                let why = reason::reason(app, &order.request).await?;
                text.push_str(&plan_text(order, &plan, why.as_deref()));
                let deployment = examined(app, &*store, &[id]).await?;
                text.push_str(&deployment_text(&deployment));
                text.push('\n');
                if deployment.iter().any(|f| f.severity == Severity::Failure) {
                    exit = ExitCode::DEPLOY;
                }
                let mut document = serde_json::to_value(&plan).unwrap_or_default();
                if let Some(document) = document.as_object_mut() {
                    document.insert("reason".into(), json!(why));
                    let renew_at = plan.renew_at.map(after::in_seconds);
                    document.insert("renew_at".into(), json!(renew_at));
                    document.insert("deployment".into(), json!(deployment));
                }
                documents.push(document);
            }
            Err(error) => {
                let error = CliError::issue(error, interrupted);
                app.printer.failed(id, &error);
                documents.push(
                    json!({ "id": id, "error": app.printer.error_document(&error)["error"] }),
                );
                exit = ExitCode::SOME_FAILED;
            }
        }
    }
    text.push_str("Nothing was ordered, and no CA was asked.\n");
    Ok(Report {
        text,
        json: json!({
            "plans": documents,
            "ca_contacted": false,
            "stats": stats.json(),
            "warnings": stats.warnings(),
        }),
        exit,
    })
}

fn plan_text(order: &Order, plan: &Plan, why: Option<&str>) -> String {
    use std::fmt::Write as _;

    use dnseal_core::issue::PlanAction;

    use crate::render::Table;
    use crate::render::day;
    use crate::render::plural;

    let request = &order.request;
    let names = plural(plan.names.len(), "name");
    let mut text = match (plan.action, plan.renew_at) {
        (PlanAction::Keep, Some(at)) => {
            format!("{} is fresh and would be kept until {}\n", plan.id, day(at))
        }
        (PlanAction::Keep, None) => format!("{} is fresh and would be kept\n", plan.id),
        (PlanAction::Order, _) => format!("{} would be ordered with {names}\n", plan.id),
        (PlanAction::Resume, _) => format!(
            "{} has an order of an earlier run, which would be finished or cleaned up\n",
            plan.id
        ),
    };
    let mut table = Table::untitled();
    if let Some(why) = why {
        table.row(["because", why]);
    }
    table.row([
        "CA".to_owned(),
        format!("{} ({})", request.ca.name(), plan.directory),
    ]);
    table.row([
        "account".to_owned(),
        plan.account
            .clone()
            .unwrap_or_else(|| "would be registered".to_owned()),
    ]);
    table.row(["key".to_owned(), plan.key_type.to_string()]);
    if let Some(profile) = &plan.profile {
        table.row(["profile", profile]);
    }
    for (word, what) in spec_rows(&plan.spec) {
        table.row([word.to_owned(), what]);
    }
    for left in &plan.left_out {
        let what = format!("{}: {}", left.name, left.reason);
        table.row(["left out".to_owned(), what]);
    }
    table.row([
        "files".to_owned(),
        plan.files.directory.display().to_string(),
    ]);
    text.push_str(&table.render("  "));
    for name in &plan.names {
        let _ = writeln!(text, "\n  {}", name.identifier);
        let mut table = Table::untitled();
        table.row(["value at", name.owner.as_str()]);
        if !name.delegation.is_empty() {
            let chain: Vec<&str> = name.delegation.iter().map(|n| n.as_str()).collect();
            table.row(["delegated by", &chain.join(" -> ")]);
        }
        table.row(["zone", name.zone.as_str()]);
        table.row([
            "written by".to_owned(),
            format!("{} at {}", name.provider, name.endpoint),
        ]);
        table.row(["looked for at", &name.servers.join(", ")]);
        text.push_str(&table.render("    "));
    }
    text
}

/// Where it would go on this machine, and what would be in the way.
fn deployment_text(findings: &[Finding]) -> String {
    use std::fmt::Write as _;

    let mut text = String::new();
    for finding in findings {
        let _ = match finding.severity {
            Severity::Ok => writeln!(text, "\n  deployed: {}", finding.about),
            _ => writeln!(
                text,
                "\n  not deployed: {}: {}",
                finding.about, finding.message
            ),
        };
        if let Some(fix) = &finding.fix {
            let _ = writeln!(text, "    fix: {fix}");
        }
    }
    text
}

/// What is asked for beyond names, key type, profile and CA.
fn spec_rows(spec: &Spec) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    if let [_, others @ ..] = spec.directories.as_slice() {
        rows.push(("other CAs", others.join(", ")));
    }
    if spec.key != KeyOrigin::New {
        rows.push(("its origin", spec.key.to_string()));
    }
    if let Some(profile) = &spec.preferred_profile {
        rows.push(("profile", format!("{profile}, if the CA offers it")));
    }
    if let Some(chain) = &spec.preferred_chain {
        rows.push(("chain", format!("to {chain}, if the CA offers it")));
    }
    if let Some(at) = spec.not_before {
        rows.push(("not before", at.to_string()));
    }
    if let Some(at) = spec.not_after {
        rows.push(("not after", at.to_string()));
    }
    if spec.must_staple {
        rows.push(("must staple", "yes".to_owned()));
    }
    if spec.allow_subset {
        rows.push(("names that fail", "would be left out".to_owned()));
    }
    rows
}

/// Agreed already, asked for on a terminal, or not agreed.
pub(super) fn terms(args: &CaArgs, app: &App, progress: &Progress) -> Terms {
    if args.agree_tos || app.config.agree_tos {
        return Terms::Agreed;
    }
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Terms::NotAgreed;
    }
    let progress = progress.clone();
    // Several certificates are ordered at once, and each of them asks: a person is asked once for each URL.
    let answers = Mutex::new(BTreeMap::new());
    Terms::Ask(Arc::new(move |url| {
        let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
        *answers
            .entry(url.to_owned())
            .or_insert_with(|| progress.suspend(|| agreed(url)))
    }))
}

fn agreed(url: &str) -> bool {
    let question = format!("The CA's terms of service: {url}\nDo you agree to them?");
    confirm(&question).unwrap_or(false)
}
