//! Many certificates at once.
//!
//! A [`Job`] is one certificate with the engine that works on it. [`Batch::run`] walks at most so many of them at the same
//! time, tells every [`Observer`] of each end as it happens, and gives all ends in the order of the jobs; [`report`] makes one summary of them.
//! What follows a certificate (deployment, notifications, metrics) is an observer and nothing in here knows it. One
//! certificate that fails stops no other.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use async_trait::async_trait;
use dnseal_core::dns::Identifier;
use dnseal_core::issue::Engine;
use dnseal_core::issue::IssueError;
use dnseal_core::issue::Issued;
use dnseal_core::issue::Request;
use dnseal_core::notify::Notice;
use dnseal_core::store::CertId;
use futures::future::join_all;
use serde_json::Value;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::commands::App;
use crate::commands::after;
use crate::commands::again::Again;
use crate::commands::work::Work;
use crate::error::CliError;
use crate::exit_code::ExitCode;
use crate::render::Report;
use crate::render::Stats;

/// One certificate to work on.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: CertId,
    pub(super) names: Vec<Identifier>,
    /// Who works on it and what is asked; or why nobody can, which is its end.
    pub(super) ready: Result<(Arc<Engine>, Request), CliError>,
}

impl Job {
    pub(super) fn new(engine: Arc<Engine>, request: Request) -> Self {
        Self {
            id: request.id.clone(),
            names: request.names.clone(),
            ready: Ok((engine, request)),
        }
    }
}

/// What came of one certificate.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) id: CertId,
    pub(super) names: Vec<Identifier>,
    pub(super) result: Result<Issued, CliError>,
    pub(super) took: Duration,
}

/// Somebody to whom it matters what comes of certificates. Nothing is done without being told: what `issue` and `renew` find
/// fresh and keep ends as well, with `issued_now` false.
#[async_trait]
pub(super) trait Observer: fmt::Debug + Send + Sync {
    /// Once, before the first certificate is worked on. An error ends the command before anything is ordered.
    async fn begin(&self, _jobs: &[Job]) -> Result<(), CliError> {
        Ok(())
    }

    /// One certificate has come to its end. Runs beside the other certificates and takes no place from them; what it does
    /// for one certificate is over before [`Observer::finish`]. Called when the run is interrupted, too.
    async fn ended(&self, _outcome: &Outcome) {}

    /// Once, after the last certificate: what the summary should say besides. Those before have remarked this.
    async fn finish(&self, _outcomes: &[Outcome], _before: &[Remark]) -> Remark {
        Remark::default()
    }
}

/// What an observer adds to the summary.
#[derive(Debug, Default)]
pub(super) struct Remark {
    /// For people, behind the certificates.
    pub(super) text: String,
    /// Members of the document.
    pub(super) json: Vec<(&'static str, Value)>,
    /// The status to end with where no certificate failed.
    pub(super) exit: Option<ExitCode>,
    /// For whoever tells people outside, who watches behind this one.
    pub(super) notices: Vec<Notice>,
}

/// How many at once, and who watches.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) concurrency: usize,
    pub(super) observers: Vec<Box<dyn Observer>>,
}

impl Batch {
    pub(super) fn new(concurrency: usize) -> Self {
        Self {
            concurrency: concurrency.max(1),
            observers: Vec::new(),
        }
    }

    /// Works on all of them; the ends are in the order of the jobs.
    pub(super) async fn run(&self, jobs: Vec<Job>, work: &Work) -> Result<Ended, CliError> {
        for observer in &self.observers {
            observer.begin(&jobs).await?;
        }
        let places = Semaphore::new(self.concurrency);
        let running = jobs.into_iter().map(|job| async {
            let outcome = {
                // Never closed; and without a place it would only be early.
                let _place = places.acquire().await.ok();
                one(job, work).await?
            };
            for observer in &self.observers {
                observer.ended(&outcome).await;
            }
            Some(outcome)
        });
        let outcomes = join_all(running).await;
        let outcomes: Vec<Outcome> = outcomes.into_iter().flatten().collect();
        let mut remarks = Vec::new();
        for observer in &self.observers {
            let remark = observer.finish(&outcomes, &remarks).await;
            remarks.push(remark);
        }
        Ok(Ended { outcomes, remarks })
    }
}

/// The end of one; `None` where somebody has deleted it meanwhile.
async fn one(job: Job, work: &Work) -> Option<Outcome> {
    let begun = Instant::now();
    let result = match job.ready {
        Ok((engine, request)) => match engine.issue(&request, work.cancel()).await {
            Err(IssueError::NoSuchCertificate { id }) => {
                let message = "it was deleted meanwhile, and is left alone".to_owned();
                work.events.for_certificate(&id).warn(message, None);
                return None;
            }
            result => result.map_err(|error| CliError::issue(error, work.interrupted())),
        },
        Err(error) => Err(error),
    };
    let outcome = Outcome {
        id: job.id,
        names: job.names,
        result,
        took: begun.elapsed(),
    };
    tracing::debug!(
        certificate = %outcome.id,
        names = outcome.names.len(),
        failed = outcome.result.is_err(),
        took = ?outcome.took,
        "came to an end"
    );
    Some(outcome)
}

/// What came of a batch.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) outcomes: Vec<Outcome>,
    pub(super) remarks: Vec<Remark>,
}

/// One summary. With `again`, which is said after what was issued for the first time, one certificate that fails is the error of the
/// command; else, and of several, each has its own.
pub(super) fn report(
    app: &App,
    ended: Ended,
    interrupted: Option<ExitCode>,
    stats: &Stats,
    again: Option<&Again>,
) -> Result<Report, CliError> {
    let Ended {
        mut outcomes,
        remarks,
    } = ended;
    if again.is_some()
        && outcomes.len() == 1
        && outcomes[0].result.is_err()
        && let Some(Outcome {
            result: Err(error), ..
        }) = outcomes.pop()
    {
        return Err(error);
    }

    let mut documents = Vec::new();
    let mut issued = Vec::new();
    let mut codes = Vec::new();
    for Outcome { id, result, .. } in outcomes {
        match result {
            Ok(certificate) => {
                documents.push(after::json(&certificate, stats));
                issued.push(certificate);
            }
            Err(error) => {
                codes.push(error.exit_code());
                app.printer.failed(&id, &error);
                documents.push(
                    json!({ "name": id, "error": app.printer.error_document(&error)["error"] }),
                );
            }
        }
    }
    let remarked = remarks.iter().find_map(|remark| remark.exit);
    let exit = match (interrupted, codes.as_slice(), issued.is_empty()) {
        (_, [], _) => remarked.unwrap_or(ExitCode::DONE),
        (Some(code), ..) => code,
        (None, [first, rest @ ..], true) if rest.iter().all(|code| code == first) => *first,
        (None, codes, _) if codes.iter().all(|code| *code == ExitCode::PERSON) => ExitCode::PERSON,
        _ => ExitCode::SOME_FAILED,
    };
    let mut text = after::text(&issued, stats, app.printer, again);
    let mut document = json!({
        "certificates": documents,
        "stats": stats.json(),
        "warnings": stats.warnings(),
    });
    for remark in remarks {
        text.push_str(&remark.text);
        for (key, value) in remark.json {
            document[key] = value;
        }
    }
    Ok(Report {
        text,
        json: document,
        exit,
    })
}
