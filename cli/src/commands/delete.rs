//! `dnseal delete NAME`.

use std::path::PathBuf;

use dnseal_core::deploy::LocalState;
use dnseal_core::store::CertId;
use dnseal_core::store::Head;
use serde_json::json;

use crate::args::DeleteArgs;
use crate::commands::App;
use crate::commands::account::roots_for;
use crate::commands::show;
use crate::commands::work::Engines;
use crate::commands::work::Work;
use crate::error::CliError;
use crate::render::Report;
use crate::render::confirm;
use crate::settings;
use crate::settings::Destinations;
use crate::settings::Passwords;
use crate::settings::Providers;
use crate::settings::Recipes;

pub(super) async fn run(app: &App, args: &DeleteArgs) -> Result<Report, CliError> {
    let id: CertId = args.named.name.parse()?;
    let head = show::head(app, &id).await?;
    let rest = rest(app, &head);
    if !args.yes {
        let mut question = String::new();
        for line in &rest {
            question.push_str(&format!("{line}\n"));
        }
        let live = app.places.live.join(id.as_str());
        question.push_str(&format!(
            "Remove {id} and its private keys from {} and {}?",
            app.places.store.display(),
            live.display()
        ));
        // Where nobody can be asked, the command is the answer.
        if confirm(&question) == Some(false) {
            return Ok(Report::new(
                format!("{id} is kept\n"),
                json!({ "name": id, "deleted": false }),
            ));
        }
    }
    let work = Work::begin(app)?;
    // Nobody is asked for a provider that nothing needs.
    let probing = settings::probing(&args.probe, &app.config)?;
    let providers = match head.published.is_empty() {
        true => Providers::none(),
        false => {
            let context = work.context(app.config.roots())?;
            let context = context.with_onlooker(work.onlooker(&probing));
            settings::providers(&args.provider, &app.config, &context)?
        }
    };
    let zones = work.zones(&probing, providers)?;
    let roots = roots(app, &head, args)?;
    let engine = Engines::new(app, &work, zones)?.trusting(&roots)?;
    let result = engine.delete(&id, work.cancel()).await;
    let interrupted = work.interrupted();
    work.finish().await;
    result.map_err(|error| CliError::issue(error, interrupted))?;
    LocalState::new(&app.places.state()).forget(&id).await?;
    let mut text = format!(
        "removed {id} from {} and {}\n",
        app.places.store.display(),
        app.places.live.display()
    );
    for line in &rest {
        text.push_str(&format!("  {line}\n"));
    }
    Ok(Report::new(
        text,
        json!({
            "name": id,
            "deleted": true,
            "values_withdrawn": head.published.len(),
            "still_configured": app.config.certificate(&id).is_some(),
            "copies": copies(app, &id),
        }),
    ))
}

/// Whom to trust beside the system's roots, where an order is to be given up at its CA: what is said now, what the configuration
/// has, or what `issue` was told, as far as that is still there.
fn roots(app: &App, head: &Head, args: &DeleteArgs) -> Result<Vec<PathBuf>, CliError> {
    let Some(order) = &head.order else {
        return Ok(Vec::new());
    };
    let roots = roots_for(app, &args.ca_root, &order.wanted.directory);
    if !roots.is_empty() {
        return Ok(roots);
    }
    let told = Recipes::new(&app.config)?.of(Some(head), app.config.certificate(&head.id));
    let mut roots = told.map_or_else(|_| Vec::new(), |told| told.ca.ca_root);
    roots.retain(|path| path.exists());
    Ok(roots)
}

/// What deleting does not end, a line each.
fn rest(app: &App, head: &Head) -> Vec<String> {
    let id = &head.id;
    let mut lines = Vec::new();
    if app.config.certificate(id).is_some() {
        lines.push(format!(
            "{id} is still in the configuration: the next `dnseal issue` or `dnseal renew` issues it again, unless it is taken out there"
        ));
    }
    for path in copies(app, id) {
        lines.push(format!("a deployed copy stays: {}", path.display()));
    }
    lines
}

/// Where the configuration has had its files copied to, as far as they are there.
fn copies(app: &App, id: &CertId) -> Vec<PathBuf> {
    // What is wrong with the scripts is of no interest here.
    let destinations = Destinations::without_scripts(&app.config);
    let targets = destinations
        .targets(id, Passwords::LeftAlone)
        .unwrap_or_default();
    let files = targets.into_iter().flat_map(|target| target.files);
    files
        .map(|file| file.path)
        .filter(|path| path.exists())
        .collect()
}
