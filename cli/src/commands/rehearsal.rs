//! `--dry-run` of `issue` and `renew`: everything, at the CA's staging directory and in a store that goes away.
//!
//! The names are proven for real: values are written to the zones that a real order would use, looked for at their servers, and
//! withdrawn. What there is of certificates, files and accounts is not touched; nothing is deployed and nobody is notified. Hooks run
//! where that is asked for. The account at the staging directory is made for the run, and ended with it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dnseal_core::account::Accounts;
use dnseal_core::issue::Renewing;
use dnseal_core::store::DirectoryStore;
use dnseal_core::store::SealedStore;
use dnseal_core::store::StoreKeeper;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::commands::App;
use crate::commands::batch;
use crate::commands::batch::Batch;
use crate::commands::batch::Job;
use crate::commands::batch::Observer;
use crate::commands::deploying::Deploying;
use crate::commands::work::Work;
use crate::commands::work::transport;
use crate::error::CliError;
use crate::render::Report;
use crate::render::plural;
use crate::settings;
use crate::settings::Order;
use crate::settings::Places;

/// Where a rehearsal happens: the same configuration, over a store that goes away with this.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) app: App,
    /// The places of the certificates that are in force, where hooks are to run.
    hooks_for: Option<Places>,
    dir: TempDir,
}

impl Stage {
    pub(super) fn new(app: &App, run_hooks: bool) -> Result<Self, CliError> {
        let dir = tempfile::Builder::new()
            .prefix("dnseal-dry-run-")
            .tempdir()
            .map_err(CliError::io("make a directory in", std::env::temp_dir()))?;
        let places = Places {
            store: dir.path().join("store"),
            live: dir.path().join("live"),
            local: dir.path().join("local.json"),
            is_live_apart: false,
            keeper: StoreKeeper::nobody(),
            key_given_by: None,
        };
        Ok(Self {
            app: App {
                config: settings::config(&app.global)?,
                global: app.global.clone(),
                places,
                printer: app.printer,
            },
            hooks_for: run_hooks.then(|| app.places.clone()),
            dir,
        })
    }

    /// Proves everything, and ends the accounts that were made for it.
    pub(super) async fn run(
        &self,
        jobs: Vec<Job>,
        concurrency: usize,
        roots: &[PathBuf],
        work: Work,
    ) -> Result<Report, CliError> {
        let mut batch = Batch::new(concurrency);
        batch.observers.extend(self.hooks(&jobs, &work).await?);
        let ended = batch.run(jobs, &work).await?;
        self.end_accounts(roots, &work).await;
        let interrupted = work.interrupted();
        let stats = work.finish().await;

        let mut text = String::new();
        let mut documents: Vec<Value> = Vec::new();
        for outcome in &ended.outcomes {
            let id = &outcome.id;
            documents.push(match &outcome.result {
                Ok(issued) => {
                    let directory = &issued.version.directory;
                    let names = plural(issued.version.names.len(), "name");
                    text.push_str(&format!(
                        "dry run: {id} can be issued; {names} proven at {directory}\n"
                    ));
                    json!({ "name": id, "names": issued.version.names, "directory": directory })
                }
                Err(error) => {
                    let error = &self.app.printer.error_document(error)["error"];
                    json!({ "name": id, "error": error })
                }
            });
        }
        let mut document = json!({
            "dry_run": true,
            "certificates": documents,
            "stats": stats.json(),
            "warnings": stats.warnings(),
        });
        for remark in &ended.remarks {
            text.push_str(&remark.text);
            for (key, value) in &remark.json {
                document[key] = value.clone();
            }
        }
        // For what it says of failures, and the status.
        let report = batch::report(&self.app, ended, interrupted, &stats, None)?;
        Ok(Report {
            text,
            json: document,
            exit: report.exit,
        })
    }

    /// Who runs the hooks of these certificates, as they are in force.
    async fn hooks(
        &self,
        jobs: &[Job],
        work: &Work,
    ) -> Result<Option<Box<dyn Observer>>, CliError> {
        let Some(places) = &self.hooks_for else {
            return Ok(None);
        };
        let app = App {
            config: settings::config(&self.app.global)?,
            global: self.app.global.clone(),
            places: places.clone(),
            printer: self.app.printer,
        };
        let store = match places.open_existing()? {
            Some(store) => store,
            // There is none, and it is not made for this.
            None => {
                let nothing = DirectoryStore::open(&self.dir.path().join("nothing"))?;
                SealedStore::new(nothing, StoreKeeper::nobody())
            }
        };
        let ids = jobs.iter().map(|job| &job.id);
        let state = self.app.places.state();
        let store = Arc::new(store);
        let deploying = Deploying::rehearsing(&app, work, store, &state, ids).await?;
        Ok(Some(Box::new(deploying)))
    }

    /// Nobody is left at the CA either, also when the run was interrupted.
    async fn end_accounts(&self, roots: &[PathBuf], work: &Work) {
        let ending = async {
            let Some(store) = self.app.places.open_existing()? else {
                return Ok(());
            };
            let store = Arc::new(store);
            let transport = transport(roots, &work.events)?;
            let accounts = Accounts::new(store.clone(), transport, work.events.clone());
            for (id, stored) in Accounts::list(&*store).await? {
                if !stored.is_ok_and(|stored| stored.url.is_some()) {
                    continue;
                }
                let ended = accounts.deactivate(&id, &CancellationToken::new()).await;
                if let Err(error) = ended {
                    let message = format!("the account of the dry run stays at its CA: {error}");
                    work.events.warn(message, None);
                }
            }
            Ok::<(), CliError>(())
        };
        match tokio::time::timeout(PATIENCE, ending).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => work.events.warn(error.to_string(), error.hint()),
            Err(_) => work.events.warn(
                "the account of the dry run stays at its CA".to_owned(),
                None,
            ),
        }
    }
}

/// The same order where it is of no consequence.
pub(super) fn rehearsed(order: Order) -> Result<Order, CliError> {
    let mut request = order.request;
    let Some(staging) = order.staging.or_else(|| request.ca.staging()) else {
        return Err(CliError::usage(
            format!(
                "{} has no staging directory that dnseal knows, and a dry run wants one",
                request.ca.name()
            ),
            "name it with `--staging URL`, or with `staging:` beside `url:` of the CA",
        ));
    };
    request.ca = staging;
    request.account = None;
    request.force = true;
    request.replace_names = true;
    request.options.other_cas.clear();
    request.renewal = Renewing {
        prove_again: true,
        ..Renewing::default()
    };
    Ok(Order {
        request,
        roots: order.roots,
        other_roots: Vec::new(),
        staging: None,
        // Accounts of a dry run are ended with it.
        account_key: None,
    })
}

/// A moment for one request.
const PATIENCE: Duration = Duration::from_secs(15);
