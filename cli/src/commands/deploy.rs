//! `dnseal deploy [NAME…]`: the step after issuing, by itself.

use std::sync::Arc;

use dnseal_core::store::CertId;
use dnseal_core::store::Head;
use dnseal_core::store::Store;
use dnseal_core::store::StoreError;
use dnseal_core::store::Version;
use futures::future::join_all;
use serde_json::json;

use crate::args::DeployArgs;
use crate::commands::App;
use crate::commands::deploying::Deploying;
use crate::commands::list;
use crate::commands::notices;
use crate::commands::work::Work;
use crate::error::CliError;
use crate::exit_code::ExitCode;
use crate::render::Report;

pub(super) async fn run(app: &App, args: &DeployArgs) -> Result<Report, CliError> {
    let Chosen { chosen, unreadable } = chosen(app, &args.names).await?;
    let Some(store) = app.places.open_existing()? else {
        return Ok(Report::new(
            format!("no certificates in {}\n", app.places.store.display()),
            json!({ "deployments": [], "problems": [] }),
        ));
    };
    let store: Arc<dyn Store> = Arc::new(store);
    let work = Work::begin(app)?;
    let ids = chosen.iter().map(|(id, _)| id);
    let deploying = Deploying::new(app, &work, store, ids).await?;
    let broken = match (unreadable.is_empty(), chosen.is_empty()) {
        (true, _) => None,
        (false, true) => Some(ExitCode::USAGE),
        (false, false) => Some(ExitCode::SOME_FAILED),
    };
    let mut problems = Vec::new();
    for (id, error) in unreadable {
        let error = error.into();
        app.printer.failed(&id, &error);
        problems.push(json!({ "name": id, "error": app.printer.error_document(&error)["error"] }));
    }
    let deployed = join_all(chosen.iter().map(|(id, version)| async {
        match deploying.restore(id, version).await {
            Ok(()) => deploying.deploy(id, version, args.force).await,
            Err(error) => deploying.note(Some(id), Arc::new(error)),
        }
    }));
    deployed.await;
    let summary = deploying.end().await;
    notices::tell_deployed(app, &work, summary.notices(), &chosen).await?;
    let interrupted = work.interrupted();
    let stats = work.finish().await;
    let text = match (summary.text(), summary.exit().or(broken)) {
        (text, None) if text.is_empty() && !app.printer.quiet => {
            "nothing to deploy: every target has the newest version\n".to_owned()
        }
        (text, _) => text,
    };
    Ok(Report {
        text,
        json: json!({
            "deployments": summary.json(app.printer),
            "problems": problems,
            "warnings": stats.warnings(),
        }),
        exit: interrupted
            .or(summary.exit())
            .or(broken)
            .unwrap_or(ExitCode::DONE),
    })
}

/// What is to be looked at.
#[derive(Debug, Default)]
struct Chosen {
    /// The certificates that were ever issued.
    chosen: Vec<(CertId, Version)>,
    /// Those of which that cannot be told, which keeps no other from being deployed.
    unreadable: Vec<(CertId, StoreError)>,
}

/// The certificates that are named, or all, as far as they were ever issued.
async fn chosen(app: &App, names: &[String]) -> Result<Chosen, CliError> {
    let mut found = Chosen::default();
    if names.is_empty() {
        for (id, head) in list::heads(app).await? {
            match head {
                Ok(head) => found
                    .chosen
                    .extend(head.current.map(|version| (id, version))),
                Err(error) => found.unreadable.push((id, error)),
            }
        }
        return Ok(found);
    }
    let mut ids = Vec::new();
    for name in names {
        let id: CertId = name.parse()?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let store = app.places.open_existing()?;
    for id in ids {
        let head = match &store {
            Some(store) => Head::load(store, &id).await,
            None => Ok(None),
        };
        match head {
            Ok(head) => match head.and_then(|(head, _)| head.current) {
                Some(version) => found.chosen.push((id, version)),
                None => return Err(CliError::NoCertificate(id)),
            },
            Err(error) => found.unreadable.push((id, error)),
        }
    }
    Ok(found)
}
