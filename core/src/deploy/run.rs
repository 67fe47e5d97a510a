//! One run over the targets of some certificates.
//!
//! [`Deployment::certificate`] writes files and runs what belongs to one certificate alone; certificates may be deployed concurrently.
//! [`Deployment::finish`] runs the commands that several of them share, once each. Whatever happens is in [`LocalState`] before it is
//! told, and a target of which nothing is written there is done again: files are replaced by the same files, commands run
//! once more. No target keeps another from its turn.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::deploy::Hook;
use crate::deploy::HookError;
use crate::deploy::HookKind;
use crate::deploy::Live;
use crate::deploy::LiveFiles;
use crate::deploy::LocalState;
use crate::deploy::Material;
use crate::deploy::Snapshot;
use crate::deploy::Target;
use crate::deploy::TargetError;
use crate::deploy::seen::Seen;
use crate::deploy::state::Deployed;
use crate::deploy::state::Entry;
use crate::deploy::state::Failed;
use crate::event::Events;
use crate::event::What;
use crate::store::CertId;
use crate::store::Patience;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Version;

/// What deploying needs to know of this machine.
#[derive(Clone, Debug)]
pub struct Deployer {
    /// Where versions come from.
    pub store: Arc<dyn Store>,
    /// Where the newest files are, which commands are told of.
    pub live: Live,
    /// What was deployed.
    pub state: LocalState,
    /// The variables that every command gets: `PATH`, `HOME` and what else is no secret.
    pub variables: Vec<(String, OsString)>,
    /// Where to tell what happens.
    pub events: Events,
}

/// What became of one target.
#[derive(Debug)]
pub struct Outcome {
    /// The certificate.
    pub id: CertId,
    /// The label of the target.
    pub target: String,
    /// The version.
    pub version: u32,
    /// What came of it.
    pub result: Result<Done, Arc<TargetError>>,
}

/// What was done for a target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Done {
    /// It has the version now.
    Deployed,
    /// It had it before.
    Had,
    /// Its files are written, and its command runs in [`Deployment::finish`].
    Waiting,
}

/// One run.
#[derive(Debug)]
pub struct Deployment {
    deployer: Deployer,
    snapshot: Snapshot,
    shared: Mutex<Vec<Shared>>,
}

/// A command, and the certificates that wait for it.
#[derive(Debug)]
struct Shared {
    command: Hook,
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    id: CertId,
    target: Target,
    version: Version,
}

impl Deployer {
    /// Begins a run; what cannot be understood of the state is told as a warning.
    pub fn begin(&self) -> Result<Deployment, StoreError> {
        let snapshot = self.state.load()?;
        for problem in &snapshot.problems {
            let hint = "everything that stood there is deployed again";
            self.events.warn(problem.clone(), Some(hint.to_owned()));
        }
        Ok(Deployment {
            deployer: self.clone(),
            snapshot,
            shared: Mutex::new(Vec::new()),
        })
    }

    /// The variables about one certificate, on top of those that every command gets.
    pub fn variables_for(
        &self,
        kind: HookKind,
        certificates: &[(&CertId, &Version)],
    ) -> Vec<(String, OsString)> {
        let mut variables = self.variables.clone();
        let mut set = |name: &str, value: OsString| variables.push((name.to_owned(), value));
        let words = |words: Vec<String>| OsString::from(words.join(" "));
        set("DNSEAL_HOOK", kind.as_str().into());
        let ids = certificates.iter().map(|(id, _)| id.to_string()).collect();
        set("DNSEAL_CERT_NAME", words(ids));
        let names = certificates
            .iter()
            .flat_map(|(_, version)| version.names.iter().map(ToString::to_string))
            .collect();
        let names = words(names);
        set("DNSEAL_CERT_NAMES", names.clone());
        set("RENEWED_DOMAINS", names);
        let files: Vec<LiveFiles> = certificates
            .iter()
            .map(|(id, _)| self.live.files(id))
            .collect();
        let joined = |path: fn(&LiveFiles) -> &std::path::Path| {
            let mut all = OsString::new();
            for file in &files {
                if !all.is_empty() {
                    all.push(" ");
                }
                all.push(path(file));
            }
            all
        };
        let directory = joined(|f| &f.directory);
        set("DNSEAL_CERT_DIR", directory.clone());
        set("RENEWED_LINEAGE", directory);
        if files.iter().all(|files| files.has_keys) {
            set("DNSEAL_CERT_PRIVKEY", joined(|f| &f.privkey));
        }
        set("DNSEAL_CERT_FILE", joined(|f| &f.cert));
        set("DNSEAL_CERT_CHAIN", joined(|f| &f.chain));
        set("DNSEAL_CERT_FULLCHAIN", joined(|f| &f.fullchain));
        if let [(_, version)] = certificates {
            set("DNSEAL_CERT_VERSION", version.number.to_string().into());
            set("DNSEAL_CERT_SERIAL", version.serial.clone().into());
            set(
                "DNSEAL_CERT_NOT_AFTER",
                version.not_after.to_string().into(),
            );
            set("DNSEAL_CERT_ISSUER", version.issuer.clone().into());
        }
        variables
    }
}

impl Deployment {
    /// Whether something is to be done, as far as that can be seen without reading a key.
    pub fn is_due(&self, id: &CertId, version: &Version, targets: &[Target]) -> bool {
        targets.iter().any(|target| {
            let entry = self.snapshot.entry(id, &target.label);
            let entry = entry.filter(|e| e.is_about(version, target) && e.failed.is_none());
            entry.is_none_or(|entry| target.altered(&entry.files).is_some())
                || target.secret(&"".into()).is_some()
        })
    }

    /// Brings a version to all targets of a certificate that do not have it, or to all with `force`.
    ///
    /// # Errors
    ///
    /// When the version cannot be read, or the state of this machine cannot be written. What goes wrong with a target is in its [`Outcome`].
    pub async fn certificate(
        &self,
        id: &CertId,
        version: &Version,
        targets: &[Target],
        force: bool,
        cancel: &CancellationToken,
    ) -> Result<Vec<Outcome>, StoreError> {
        if targets.is_empty() {
            return Ok(Vec::new());
        }
        let deployer = &self.deployer;
        let events = deployer.events.for_certificate(id);
        let patience = Patience {
            cancel,
            at_most: DEPLOYMENT_PATIENCE,
            on_wait: &|holder| {
                events.emit(What::Waiting {
                    reason: format!("{holder} deploys the same certificate"),
                    at_most: Some(DEPLOYMENT_PATIENCE),
                });
            },
        };
        let _lock = deployer.state.lock_certificate(id, patience).await?;
        // Another run may have done it meanwhile.
        let snapshot = deployer.state.load()?;
        let material = Material::read(&*deployer.store, id, version).await?;
        let bundle = material.bundle();
        let mut outcomes = Vec::new();
        for target in targets {
            let secret = bundle.privkey.and_then(|key| target.secret(key));
            let entry = snapshot.entry(id, &target.label);
            let has = entry.filter(|entry| {
                entry.is_about(version, target) && entry.failed.is_none() && entry.secret == secret
            });
            if let Some(entry) = has
                && !force
            {
                let Some(path) = target.altered(&entry.files) else {
                    outcomes.push(self.outcome(id, version, target, Ok(Done::Had)));
                    continue;
                };
                events.warn(
                    format!(
                        "somebody has changed or removed {} since it was deployed; it is written again",
                        path.display()
                    ),
                    None,
                );
            }
            let written = target.write(id, &bundle);
            let files = written.as_ref().cloned().unwrap_or_default();
            let result = match (written, &target.command) {
                (Err(error), _) => Err(error),
                (Ok(_), None) => Ok(Done::Deployed),
                (Ok(_), Some(hook)) if target.each => {
                    let variables = deployer.variables_for(HookKind::Deploy, &[(id, version)]);
                    let ran = hook.run(&variables, &events, cancel).await;
                    ran.map(|()| Done::Deployed).map_err(TargetError::Hook)
                }
                (Ok(_), Some(hook)) => {
                    self.share(hook, id, version, target);
                    Ok(Done::Waiting)
                }
            };
            let result = result.map_err(Arc::new);
            let left = Left { secret, files };
            self.record(id, version, target, left, &result).await?;
            outcomes.push(self.outcome(id, version, target, result));
        }
        let labels: Vec<&str> = targets.iter().map(|t| t.label.as_str()).collect();
        let has_more = |targets: &BTreeMap<String, Entry>| {
            targets
                .keys()
                .any(|label| !labels.contains(&label.as_str()))
        };
        if snapshot.certificate(id).is_some_and(has_more) {
            // Targets that are no longer configured.
            let keep = |label: &String, _: &mut Entry| labels.contains(&label.as_str());
            deployer
                .state
                .update(id, |known| known.retain(keep))
                .await?;
        }
        Ok(outcomes)
    }

    /// Runs the commands that certificates of this run share, once each, in the order in which they were first asked for.
    pub async fn finish(&self, cancel: &CancellationToken) -> Result<Vec<Outcome>, StoreError> {
        let shared =
            std::mem::take(&mut *self.shared.lock().unwrap_or_else(PoisonError::into_inner));
        let mut outcomes = Vec::new();
        for Shared { command, waiting } in shared {
            let certificates: Vec<(&CertId, &Version)> =
                waiting.iter().map(|w| (&w.id, &w.version)).collect();
            let variables = self.deployer.variables_for(HookKind::Deploy, &certificates);
            let events = match waiting.as_slice() {
                [one] => self.deployer.events.for_certificate(&one.id),
                _ => self.deployer.events.clone(),
            };
            let ran = command.run(&variables, &events, cancel).await;
            let result: Result<Done, Arc<TargetError>> = match ran {
                Ok(()) => Ok(Done::Deployed),
                Err(error) => Err(Arc::new(TargetError::Hook(error))),
            };
            for Waiting {
                id,
                target,
                version,
            } in &waiting
            {
                self.settle(id, version, target, &result).await?;
                outcomes.push(self.outcome(id, version, target, result.clone()));
            }
        }
        Ok(outcomes)
    }

    fn share(&self, command: &Hook, id: &CertId, version: &Version, target: &Target) {
        let waiting = Waiting {
            id: id.clone(),
            target: target.clone(),
            version: version.clone(),
        };
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        match shared
            .iter_mut()
            .find(|one| one.command.argv() == command.argv())
        {
            Some(one) => one.waiting.push(waiting),
            None => shared.push(Shared {
                command: command.clone(),
                waiting: vec![waiting],
            }),
        }
    }

    fn outcome(
        &self,
        id: &CertId,
        version: &Version,
        target: &Target,
        result: Result<Done, Arc<TargetError>>,
    ) -> Outcome {
        if result.as_ref().is_ok_and(|done| *done == Done::Deployed) {
            self.deployer
                .events
                .for_certificate(id)
                .emit(What::TargetDeployed {
                    target: target.label.clone(),
                    version: version.number,
                });
        }
        Outcome {
            id: id.clone(),
            target: target.label.clone(),
            version: version.number,
            result,
        }
    }

    async fn record(
        &self,
        id: &CertId,
        version: &Version,
        target: &Target,
        left: Left,
        result: &Result<Done, Arc<TargetError>>,
    ) -> Result<(), StoreError> {
        let now = Timestamp::now();
        let state = &self.deployer.state;
        state
            .update(id, |targets| {
                let before = targets.remove(&target.label);
                let entry = Entry {
                    definition: target.definition(),
                    secret: left.secret,
                    files: left.files,
                    version: version.number,
                    serial: version.serial.clone(),
                    at: now,
                    failed: failed(before.as_ref(), version, result, now),
                    deployed: match result {
                        Ok(Done::Deployed) => Some(Deployed {
                            version: version.number,
                            at: now,
                        }),
                        _ => before.and_then(|entry| entry.deployed),
                    },
                };
                targets.insert(target.label.clone(), entry);
            })
            .await
    }

    /// Writes down what came of a shared command, unless another run has gone on meanwhile.
    async fn settle(
        &self,
        id: &CertId,
        version: &Version,
        target: &Target,
        result: &Result<Done, Arc<TargetError>>,
    ) -> Result<(), StoreError> {
        let now = Timestamp::now();
        let state = &self.deployer.state;
        state
            .update(id, |targets| {
                let Some(entry) = targets.get_mut(&target.label) else {
                    return;
                };
                if !entry.is_about(version, target) {
                    return;
                }
                entry.at = now;
                match result {
                    Ok(_) => {
                        entry.failed = None;
                        entry.deployed = Some(Deployed {
                            version: version.number,
                            at: now,
                        });
                    }
                    Err(error) => {
                        if let Some(failed) = &mut entry.failed {
                            failed.error = describe(error);
                        }
                    }
                }
            })
            .await
    }
}

/// What is noted of the files of a target.
struct Left {
    secret: Option<String>,
    files: Vec<Seen>,
}

/// Runs hooks that belong to no certificate, one after the other; one that fails keeps no other from its turn.
pub async fn run_hooks(
    hooks: &[Hook],
    variables: &[(String, OsString)],
    events: &Events,
    cancel: &CancellationToken,
) -> Vec<HookError> {
    let mut errors = Vec::new();
    for hook in hooks {
        errors.extend(hook.run(variables, events, cancel).await.err());
    }
    errors
}

/// What is still to be done after this try.
fn failed(
    before: Option<&Entry>,
    version: &Version,
    result: &Result<Done, Arc<TargetError>>,
    now: Timestamp,
) -> Option<Failed> {
    let error = match result {
        Ok(Done::Deployed | Done::Had) => return None,
        // Stays there when this run is killed before the command.
        Ok(Done::Waiting) => "its files are written, and its command has not run yet".to_owned(),
        Err(error) => describe(error),
    };
    let earlier = before
        .filter(|entry| entry.version == version.number && entry.serial == version.serial)
        .and_then(|entry| entry.failed.as_ref());
    Some(Failed {
        error,
        since: earlier.map_or(now, |failed| failed.since),
        attempts: earlier
            .map_or(0, |failed| failed.attempts)
            .saturating_add(1),
    })
}

fn describe(error: &TargetError) -> String {
    match error.output() {
        Some(output) => format!("{error}\n{output}"),
        None => error.to_string(),
    }
}

/// Longer than a command or two may take: the other run does our work meanwhile.
const DEPLOYMENT_PATIENCE: Duration = Duration::from_secs(600);
