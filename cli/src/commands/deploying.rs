//! What follows certificates on this machine: files, commands, hooks.
//!
//! [`Deploying`] watches a [`Batch`](super::batch::Batch). Each certificate is deployed when it has come to its end, also one
//! that was kept, because an earlier try may have failed; and one that could not be renewed has its old version
//! deployed. Commands that certificates share run once, when all are over. Pre and post hooks run when something is to be ordered.
//!
//! A dry run that is asked for it runs the commands alone ([`Deploying::rehearsing`]), with the certificates that are in force.
//!
//! A command makes one with [`Deploying::new`] for all certificates that it is about, hands over with [`Deploying::deploy`] those that are in no
//! batch, and pushes it to the observers; where there is no batch, [`Deploying::end`] gives the summary.

mod standings;
mod summary;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use dnseal_core::deploy::Deployer;
use dnseal_core::deploy::Deployment;
use dnseal_core::deploy::Done;
use dnseal_core::deploy::Hook;
use dnseal_core::deploy::HookKind;
use dnseal_core::deploy::LocalState;
use dnseal_core::deploy::Material;
use dnseal_core::deploy::Outcome as TargetOutcome;
use dnseal_core::deploy::Target;
use dnseal_core::deploy::TargetError;
use dnseal_core::deploy::run_hooks;
use dnseal_core::doctor;
use dnseal_core::doctor::Finding;
use dnseal_core::doctor::no_target;
use dnseal_core::event::Events;
use dnseal_core::event::What;
use dnseal_core::store::CertId;
use dnseal_core::store::Head;
use dnseal_core::store::Key;
use dnseal_core::store::LockName;
use dnseal_core::store::Patience;
use dnseal_core::store::Store;
use dnseal_core::store::Version;
use tokio_util::sync::CancellationToken;

pub(super) use self::standings::Standings;
pub(super) use self::summary::Summary;
use crate::commands::App;
use crate::commands::batch::Job;
use crate::commands::batch::Observer;
use crate::commands::batch::Outcome;
use crate::commands::batch::Remark;
use crate::commands::reason;
use crate::commands::work::Work;
use crate::error::CliError;
use crate::render::Printer;
use crate::render::Progress;
use crate::settings;
use crate::settings::Claims;
use crate::settings::Destinations;
use crate::settings::Passwords;

/// Deploys what a batch or a command hands over.
#[derive(Debug)]
pub(super) struct Deploying {
    cancel: CancellationToken,
    deployer: Deployer,
    deployment: Deployment,
    events: Events,
    hooks: Hooks,
    /// Whether something is to be ordered; else no hook runs.
    ordering: Mutex<bool>,
    printer: Printer,
    progress: Progress,
    /// Whether this is a dry run, of which nothing may stay.
    rehearsal: bool,
    results: Mutex<Results>,
    store: Arc<dyn Store>,
    targets: BTreeMap<CertId, Result<Vec<Target>, Arc<CliError>>>,
}

#[derive(Debug)]
struct Hooks {
    pre: Vec<Hook>,
    post: Vec<Hook>,
}

/// What has come of targets so far.
#[derive(Debug, Default)]
struct Results {
    targets: Vec<TargetOutcome>,
    /// Failures that are no target's own.
    others: Vec<(Option<CertId>, Arc<CliError>)>,
}

impl Deploying {
    /// For these certificates.
    pub(super) async fn new<'a>(
        app: &App,
        work: &Work,
        store: Arc<dyn Store>,
        ids: impl IntoIterator<Item = &'a CertId>,
    ) -> Result<Self, CliError> {
        let deployer = deployer(app, work.events.clone(), store)?;
        Self::with(app, work, deployer, ids, Passwords::Fetched).await
    }

    /// The commands alone: no file is written, what is remembered stands at `state`, and commands find a mark in their environment.
    pub(super) async fn rehearsing<'a>(
        app: &App,
        work: &Work,
        store: Arc<dyn Store>,
        state: &Path,
        ids: impl IntoIterator<Item = &'a CertId>,
    ) -> Result<Self, CliError> {
        let mut deployer = deployer(app, work.events.clone(), store)?;
        deployer.state = LocalState::new(state);
        let mark = (DRY_RUN.to_owned(), "1".into());
        deployer.variables.push(mark);
        let mut deploying = Self::with(app, work, deployer, ids, Passwords::LeftAlone).await?;
        deploying.rehearsal = true;
        for targets in deploying.targets.values_mut().flatten() {
            targets.retain(|target| target.command.is_some());
            for target in targets {
                target.files.clear();
            }
        }
        deploying.will_order();
        Ok(deploying)
    }

    async fn with<'a>(
        app: &App,
        work: &Work,
        deployer: Deployer,
        ids: impl IntoIterator<Item = &'a CertId>,
        passwords: Passwords,
    ) -> Result<Self, CliError> {
        let hooks = &app.config.hooks;
        let scripts = |kind| -> Result<Vec<Hook>, CliError> {
            let Some(directory) = &hooks.directory else {
                return Ok(Vec::new());
            };
            let scripts = directory.scripts(kind)?;
            Ok(scripts.into_iter().map(|(_, script)| script).collect())
        };
        let usable = || -> Result<_, CliError> {
            let destinations = Destinations::read(&app.config)?;
            Ok((
                destinations,
                scripts(HookKind::Pre)?,
                scripts(HookKind::Post)?,
            ))
        };
        // A directory of scripts that cannot be used keeps no certificate from being renewed.
        let (destinations, mut pre, mut post, problem) = match usable() {
            Ok((destinations, pre, post)) => (destinations, pre, post, None),
            Err(error) => {
                let destinations = Destinations::without_scripts(&app.config);
                (destinations, Vec::new(), Vec::new(), Some(error))
            }
        };
        pre.extend(hooks.pre.iter().cloned());
        post.extend(hooks.post.iter().cloned());
        if let Err(error) = deployer.live.sweep() {
            work.events.warn(error.to_string(), error.hint());
        }
        let ids: Vec<&CertId> = ids.into_iter().collect();
        let claims = claims(app, &*deployer.store, &destinations, &ids).await?;
        let targets = ids
            .into_iter()
            .map(|id| {
                let targets = destinations.targets(id, passwords);
                let targets = targets.and_then(|targets| match claims.refusal(id, &targets) {
                    Some(refusal) => Err(refusal),
                    None => Ok(targets),
                });
                (id.clone(), targets.map_err(Arc::new))
            })
            .collect();
        let deploying = Self {
            cancel: work.cancel().clone(),
            deployment: deployer.begin()?,
            events: work.events.clone(),
            hooks: Hooks { pre, post },
            ordering: Mutex::new(false),
            printer: app.printer,
            progress: work.progress.clone(),
            rehearsal: false,
            results: Mutex::default(),
            store: deployer.store.clone(),
            deployer,
            targets,
        };
        if let Some(problem) = problem {
            deploying.note(None, Arc::new(problem));
        }
        Ok(deploying)
    }

    /// Says that something is to be ordered, for which pre and post hooks run; before the batch begins.
    pub(super) fn will_order(&self) {
        *self.ordering.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// The same where one of these jobs has a reason.
    pub(super) async fn look(&self, app: &App, jobs: &[Job]) -> Result<(), CliError> {
        for job in jobs {
            if let Ok((_, request)) = &job.ready
                && reason::reason(app, request).await?.is_some()
            {
                self.will_order();
            }
        }
        Ok(())
    }

    /// Brings a version to where it belongs.
    pub(super) async fn deploy(&self, id: &CertId, version: &Version, force: bool) {
        // Commands read what is in `live`.
        if !self.deployer.live.stands(id, version)
            && let Err(error) = self.project(id, version).await
        {
            return self.note(Some(id), Arc::new(error));
        }
        let targets = match self.targets.get(id) {
            Some(Ok(targets)) => targets,
            Some(Err(error)) => return self.note(Some(id), error.clone()),
            None => return,
        };
        if !force && !self.deployment.is_due(id, version, targets) {
            return;
        }
        let deployed = self
            .deployment
            .certificate(id, version, targets, force, &self.cancel)
            .await;
        match deployed {
            Ok(outcomes) => {
                for outcome in &outcomes {
                    self.tell(outcome);
                }
                self.results().targets.extend(outcomes);
            }
            Err(error) => self.note(Some(id), Arc::new(error.into())),
        }
    }

    /// Writes to `live` what is not there or was changed, after a look at every octet.
    pub(super) async fn restore(&self, id: &CertId, version: &Version) -> Result<(), CliError> {
        let live = &self.deployer.live;
        let material = Material::read(&*self.store, id, version).await?;
        let is_there = live.current(id)? == Some(version.number);
        match is_there && live.holds(id, &material.bundle())? {
            true => Ok(()),
            false => self.project(id, version).await,
        }
    }

    /// Writes a version to `live`, unless there is a newer one by now.
    async fn project(&self, id: &CertId, version: &Version) -> Result<(), CliError> {
        let material = Material::read(&*self.store, id, version).await?;
        // A run that works on the certificate writes there itself.
        let patience = Patience {
            cancel: &self.cancel,
            at_most: LIVE_PATIENCE,
            on_wait: &|_| {},
        };
        let _lock = self
            .store
            .lock(&LockName::certificate(id), patience)
            .await?;
        let head = Head::load(&*self.store, id).await?;
        let current = head.and_then(|(head, _)| head.current);
        if current.is_some_and(|current| current.number == version.number) {
            let live = &self.deployer.live;
            let files = live.project(id, version.number, &material.bundle())?;
            self.events.for_certificate(id).emit(What::Deployed {
                version: version.number,
                directory: files.directory.display().to_string(),
            });
        }
        Ok(())
    }

    /// Runs the commands that certificates share, and says what came of everything.
    pub(super) async fn end(&self) -> Summary {
        match self.deployment.finish(&self.cancel).await {
            Ok(outcomes) => {
                for outcome in &outcomes {
                    self.tell(outcome);
                }
                let mut results = self.results();
                results
                    .targets
                    .retain(|known| !matches!(known.result, Ok(Done::Waiting)));
                results.targets.extend(outcomes);
            }
            Err(error) => self.note(None, Arc::new(error.into())),
        }
        Summary {
            rehearsal: self.rehearsal,
            results: std::mem::take(&mut *self.results()),
        }
    }

    async fn run_hooks(&self, hooks: &[Hook], kind: HookKind, more: &[(&str, String)]) {
        let mut variables = self.deployer.variables.clone();
        variables.push(("DNSEAL_HOOK".to_owned(), kind.as_str().into()));
        for (name, value) in more {
            variables.push(((*name).to_owned(), value.into()));
        }
        for error in run_hooks(hooks, &variables, &self.events, &self.cancel).await {
            let error = CliError::Hook {
                kind,
                source: Box::new(TargetError::Hook(error)),
            };
            self.note(None, Arc::new(error));
        }
    }

    /// Says at once what went wrong with a target.
    fn tell(&self, outcome: &TargetOutcome) {
        if let Err(source) = &outcome.result {
            let error = CliError::Target {
                target: outcome.target.clone(),
                source: source.clone(),
            };
            self.say(Some(&outcome.id), &error);
        }
    }

    pub(super) fn note(&self, id: Option<&CertId>, error: Arc<CliError>) {
        self.say(id, &error);
        self.results().others.push((id.cloned(), error));
    }

    fn say(&self, id: Option<&CertId>, error: &CliError) {
        let text = self.printer.error_text(error);
        self.progress.complain(&match id {
            Some(id) => format!("{id}: {text}"),
            None => text,
        });
    }

    fn results(&self) -> std::sync::MutexGuard<'_, Results> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_ordering(&self) -> bool {
        *self.ordering.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Observer for Deploying {
    async fn begin(&self, _: &[Job]) -> Result<(), CliError> {
        if self.is_ordering() {
            // A certificate matters more than what was to be done before: a hook that fails keeps none from being ordered.
            self.run_hooks(&self.hooks.pre, HookKind::Pre, &[]).await;
        }
        Ok(())
    }

    async fn ended(&self, outcome: &Outcome) {
        let in_force = async {
            let head = Head::load(&*self.store, &outcome.id).await;
            head.ok().flatten().and_then(|(head, _)| head.current)
        };
        match &outcome.result {
            // Nobody is given a certificate of a staging directory.
            Ok(_) if self.rehearsal => match in_force.await {
                Some(version) => self.deploy(&outcome.id, &version, true).await,
                None => self.events.for_certificate(&outcome.id).warn(
                    "its deploy hooks do not run, because it was never issued".to_owned(),
                    None,
                ),
            },
            Err(_) if self.rehearsal => {}
            Ok(issued) => self.deploy(&issued.id, &issued.version, false).await,
            Err(_) => {
                if let Some(version) = in_force.await {
                    self.deploy(&outcome.id, &version, false).await;
                }
            }
        }
    }

    async fn finish(&self, outcomes: &[Outcome], _: &[Remark]) -> Remark {
        let mut summary = self.end().await;
        if self.is_ordering() {
            let renewed = |o: &&Outcome| o.result.as_ref().is_ok_and(|issued| issued.issued_now);
            let failed = |o: &&Outcome| o.result.is_err();
            let post = [
                ("RENEWED_DOMAINS", names(outcomes.iter().filter(renewed))),
                ("FAILED_DOMAINS", names(outcomes.iter().filter(failed))),
            ];
            self.run_hooks(&self.hooks.post, HookKind::Post, &post)
                .await;
            let others = std::mem::take(&mut self.results().others);
            summary.results.others.extend(others);
        }
        Remark {
            text: summary.text(),
            json: vec![("deployments", summary.json(self.printer))],
            exit: summary.exit(),
            notices: summary.notices(),
        }
    }
}

/// Who writes which file, among these certificates and those of the store.
async fn claims<'a>(
    app: &'a App,
    store: &dyn Store,
    destinations: &Destinations<'_>,
    ids: &[&CertId],
) -> Result<Claims<'a>, CliError> {
    let mut all: BTreeSet<CertId> = ids.iter().copied().cloned().collect();
    if app
        .config
        .deploy
        .iter()
        .any(|target| !target.files.is_empty())
    {
        let names = store.names(&Key::certificates()).await?;
        all.extend(names.iter().filter_map(|name| name.parse().ok()));
        all.extend(app.config.certificates.iter().map(|c| c.id.clone()));
    }
    Ok(Claims::new(&app.config, &app.places, destinations, &all))
}

/// What would keep certificates from being deployed, by name; nothing is written and nothing is run.
pub(super) async fn examined(
    app: &App,
    store: &dyn Store,
    ids: &[&CertId],
) -> Result<Vec<Finding>, CliError> {
    let destinations = match Destinations::read(&app.config) {
        Ok(destinations) => destinations,
        Err(error) => {
            let hooks = "the directory of hooks";
            return Ok(vec![no_target(hooks, error.to_string(), error.hint())]);
        }
    };
    let claims = claims(app, store, &destinations, ids).await?;
    let variables = settings::variables(&app.config);
    let mut findings = Vec::new();
    for id in ids {
        let looked = destinations.targets(id, Passwords::LeftAlone);
        match looked.map(|targets| (claims.refusal(id, &targets), targets)) {
            Ok((None, targets)) => {
                findings.extend(doctor::targets(id, &targets, &variables));
            }
            Ok((Some(error), _)) | Err(error) => {
                findings.push(no_target(id, error.to_string(), error.hint()));
            }
        }
    }
    let around = app.config.hooks.pre.iter().chain(&app.config.hooks.post);
    for hook in around {
        let target = Target {
            label: hook.shown().to_owned(),
            files: Vec::new(),
            command: Some(hook.clone()),
            each: false,
        };
        for error in target.problems(&variables) {
            findings.push(no_target(&target.label, error.to_string(), error.hint()));
        }
    }
    Ok(findings)
}

/// What deploying needs to know of this machine.
pub(super) fn deployer(
    app: &App,
    events: Events,
    store: Arc<dyn Store>,
) -> Result<Deployer, CliError> {
    Ok(Deployer {
        events,
        live: app.live()?,
        state: LocalState::new(&app.places.state()),
        store,
        variables: settings::variables(&app.config),
    })
}

/// Long enough for a run that is about to end.
const LIVE_PATIENCE: Duration = Duration::from_secs(30);

/// What commands of a dry run find in their environment.
const DRY_RUN: &str = "DNSEAL_DRY_RUN";

/// The names of certificates, as certbot gives them to hooks.
fn names<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> String {
    let names: Vec<String> = outcomes
        .flat_map(|outcome| outcome.names.iter().map(ToString::to_string))
        .collect();
    names.join(" ")
}
