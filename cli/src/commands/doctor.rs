//! `dnseal doctor`: what would fail, before anything is ordered.

use std::collections::BTreeSet;
use std::path::PathBuf;

use dnseal_core::doctor::Check;
use dnseal_core::doctor::Diagnosis;
use dnseal_core::doctor::Doctor;
use dnseal_core::doctor::Finding;
use dnseal_core::doctor::Severity;
use dnseal_core::issue::ErrorKind;
use dnseal_core::issue::Terms;
use dnseal_core::store::CertId;
use futures::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use crate::args::DoctorArgs;
use crate::commands::App;
use crate::commands::deploying::examined;
use crate::commands::work::Engines;
use crate::commands::work::Work;
use crate::error::CliError;
use crate::exit_code::ExitCode;
use crate::render::Report;
use crate::render::Table;
use crate::render::duration;
use crate::render::plural;
use crate::settings;

pub(super) async fn run(app: &App, args: &DoctorArgs) -> Result<Report, CliError> {
    let started = Instant::now();
    let work = Work::begin(app)?;
    let issue = args.as_issue();
    let terms = match issue.ca.agree_tos || app.config.agree_tos {
        true => Terms::Agreed,
        false => Terms::NotAgreed,
    };
    let orders = settings::orders(&issue, &app.config, &terms)?;
    // What ends an order before it begins ends a doctor, too.
    app.places.check_keys()?;
    let probing = settings::probing(&args.probe, &app.config)?;
    let roots: BTreeSet<&PathBuf> = orders.iter().flat_map(|order| &order.roots).collect();
    let roots: Vec<PathBuf> = roots.into_iter().cloned().collect();
    probing.trust(&roots);
    // An account that a provider makes is kept; a doctor makes none.
    let context = work.looking_context(&roots)?;
    let context = context.with_onlooker(work.onlooker(&probing));
    let providers = settings::providers(&args.provider, &app.config, &context)?;
    let zones = work.zones(&probing, providers)?;
    let mut engines = match args.read_only {
        true => Engines::looking(app, &work, zones)?,
        false => Engines::new(app, &work, zones)?,
    };
    let orders = orders
        .into_iter()
        .map(|order| engines.ready(order))
        .collect::<Result<Vec<_>, CliError>>()?;
    let cancel = work.cancel().clone();
    let examining = orders.iter().map(|(engine, request)| {
        let doctor = Doctor::new(engine).read_only(args.read_only);
        let cancel = &cancel;
        async move { doctor.examine(request, cancel).await }
    });
    let mut findings: Vec<Finding> = join_all(examining)
        .await
        .into_iter()
        .flat_map(|diagnosis| diagnosis.findings)
        .collect();
    let ids: Vec<&CertId> = orders.iter().map(|(_, request)| &request.id).collect();
    findings.extend(examined(app, &*engines.store(), &ids).await?);
    if let Some(code) = work.interrupted() {
        work.finish().await;
        return Err(CliError::Interrupted(code));
    }
    let diagnosis = Diagnosis::new(findings);
    let elapsed = started.elapsed();
    let stats = work.finish().await;
    let verdict = verdict(&diagnosis);
    Ok(Report {
        text: format!("{}\n{verdict} ({})\n", text(&diagnosis), duration(elapsed)),
        json: json!({
            "would_work": diagnosis.would_work(),
            "findings": diagnosis.findings,
            "elapsed_ms": u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            "stats": stats.json(),
            "warnings": stats.warnings(),
        }),
        exit: exit(&diagnosis),
    })
}

fn verdict(diagnosis: &Diagnosis) -> String {
    let warnings = match diagnosis.count(Severity::Warning) {
        0 => String::new(),
        n => format!(", with {}", plural(n, "warning")),
    };
    let of_deployment = diagnosis
        .failures()
        .filter(|finding| finding.check == Check::Deployment)
        .count();
    match diagnosis.count(Severity::Failure) {
        n if n > 0 && n == of_deployment => format!(
            "issuing would work, and deploying would fail: {}{warnings}",
            plural(n, "failure")
        ),
        0 => format!("issuing would work{warnings}"),
        n => format!("issuing would fail: {}{warnings}", plural(n, "failure")),
    }
}

/// One line a finding, and the fix below it. Many names that are well take a line together.
fn text(diagnosis: &Diagnosis) -> String {
    let mut lines: Vec<(&Finding, String)> = Vec::new();
    let mut passed_over = 0;
    for (at, finding) in diagnosis.findings.iter().enumerate() {
        let same = |other: &&Finding| {
            other.check == finding.check
                && finding.severity == Severity::Ok
                && other.severity == Severity::Ok
        };
        let before = diagnosis.findings[..at]
            .iter()
            .rev()
            .take_while(same)
            .count();
        if before >= SHOWN {
            passed_over += 1;
            let last = diagnosis
                .findings
                .get(at + 1)
                .is_none_or(|next| !same(&next));
            if last {
                lines.push((finding, format!("and {passed_over} more")));
                passed_over = 0;
            }
            continue;
        }
        let took = finding.elapsed.map_or_else(String::new, |elapsed| {
            format!(" ({} ms)", elapsed.as_millis())
        });
        lines.push((
            finding,
            format!("{}: {}{took}", finding.about, finding.message),
        ));
    }
    let mut table = Table::untitled();
    for (finding, message) in &lines {
        table.row([
            finding.severity.to_string(),
            finding.check.to_string(),
            message.clone(),
        ]);
    }
    let rendered = table.render("");
    let indent = " ".repeat(INDENT);
    let mut text = String::new();
    for (line, (finding, _)) in rendered.lines().zip(&lines) {
        text.push_str(line);
        text.push('\n');
        if let Some(fix) = &finding.fix {
            text.push_str(&format!("{indent}fix: {fix}\n"));
        }
    }
    text
}

/// How an order would end: the code of the first thing that it would meet.
fn exit(diagnosis: &Diagnosis) -> ExitCode {
    match diagnosis
        .failures()
        .next()
        .map(|finding| finding.check.kind())
    {
        None => ExitCode::DONE,
        Some(ErrorKind::Usage) => ExitCode::USAGE,
        Some(ErrorKind::Provider) => ExitCode::PROVIDER,
        Some(ErrorKind::Person) => ExitCode::PERSON,
        Some(ErrorKind::Propagation) => ExitCode::NOT_PROPAGATED,
        Some(ErrorKind::RateLimited) => ExitCode::LATER,
        Some(ErrorKind::NotInPlace) => ExitCode::DEPLOY,
        Some(_) => ExitCode::CA,
    }
}

/// Lines of the same check that say that all is well.
const SHOWN: usize = 5;
/// Under the words of a finding, as far as severities are wide.
const INDENT: usize = 9;
