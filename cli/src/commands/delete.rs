//! `dnseal delete NAME`.

use dnseal_core::deploy::LocalState;
use dnseal_core::store::CertId;
use serde_json::json;

use crate::args::DeleteArgs;
use crate::commands::App;
use crate::commands::show;
use crate::commands::work::Engines;
use crate::commands::work::Work;
use crate::error::CliError;
use crate::render::Report;
use crate::settings;
use crate::settings::Providers;

pub(super) async fn run(app: &App, args: &DeleteArgs) -> Result<Report, CliError> {
    let id: CertId = args.named.name.parse()?;
    let head = show::head(app, &id).await?;
    let work = Work::begin(app)?;
    // Nobody is asked for a provider that nothing needs.
    let providers = match head.published.is_empty() {
        true => Providers::none(),
        false => settings::providers(
            &args.provider,
            &app.config,
            &work.context(app.config.roots())?,
        )?,
    };
    let probing = settings::probing(&args.probe, &app.config)?;
    let zones = work.zones(&probing, providers)?;
    let engine = Engines::new(app, &work, zones)?.trusting(&[])?;
    let result = engine.delete(&id, work.cancel()).await;
    let interrupted = work.interrupted();
    work.finish().await;
    result.map_err(|error| CliError::issue(error, interrupted))?;
    LocalState::new(&app.places.state()).forget(&id).await?;
    Ok(Report::new(
        format!(
            "removed {id} from {} and {}\n",
            app.places.store.display(),
            app.places.live.display()
        ),
        json!({ "name": id, "deleted": true, "values_withdrawn": head.published.len() }),
    ))
}
