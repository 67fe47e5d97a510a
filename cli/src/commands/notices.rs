//! What is told to whom outside: from what a run did and what it found to notices, and out to the sinks of the configuration.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use async_trait::async_trait;
use dnseal_core::deploy::Said;
use dnseal_core::event::Events;
use dnseal_core::issue::Issued;
use dnseal_core::notify;
use dnseal_core::notify::Cause;
use dnseal_core::notify::Notice;
use dnseal_core::notify::NoticeKind;
use dnseal_core::notify::Notifier;
use dnseal_core::notify::Sink;
use dnseal_core::notify::Target;
use dnseal_core::store::CertId;
use dnseal_core::store::Head;
use dnseal_core::store::Version;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::commands::App;
use crate::commands::batch::Observer;
use crate::commands::batch::Outcome;
use crate::commands::batch::Remark;
use crate::commands::list;
use crate::commands::work::Work;
use crate::commands::work::transport;
use crate::config;
use crate::config::NotifyTarget;
use crate::error::CliError;
use crate::exit_code::ExitCode;
use crate::settings::Places;

/// Tells what has come of deploying these versions, where somebody is to be told.
pub(super) async fn tell_deployed(
    app: &App,
    work: &Work,
    notices: Vec<Notice>,
    versions: &[(CertId, Version)],
) -> Result<(), CliError> {
    if app.config.notify.is_empty() || notices.is_empty() {
        return Ok(());
    }
    let notices: Vec<Notice> = notices
        .into_iter()
        .map(|notice| {
            let version = versions
                .iter()
                .find(|(id, _)| notice.certificate.as_ref() == Some(id));
            match version {
                Some((_, version)) => notice.of_version(version),
                None => notice,
            }
        })
        .collect();
    let notifier = notifier(app, &work.events)?;
    notifier
        .tell(&notices, Timestamp::now(), work.cancel())
        .await;
    Ok(())
}

/// Who tells of the certificates of a run, where somebody is to be told.
pub(super) fn observer(app: &App, work: &Work) -> Result<Option<Box<dyn Observer>>, CliError> {
    if app.config.notify.is_empty() {
        return Ok(None);
    }
    Ok(Some(Box::new(Teller {
        cancel: work.cancel().clone(),
        configured: app
            .config
            .certificates
            .iter()
            .map(|c| c.id.clone())
            .collect(),
        events: work.events.clone(),
        notifier: notifier(app, &work.events)?,
        places: app.places.clone(),
    })))
}

/// Tells once everything is over, so that nothing waits for it and one document a certificate says it all.
#[derive(Debug)]
struct Teller {
    cancel: CancellationToken,
    configured: BTreeSet<CertId>,
    events: Events,
    notifier: Notifier,
    places: Places,
}

#[async_trait]
impl Observer for Teller {
    async fn finish(&self, outcomes: &[Outcome], before: &[Remark]) -> Remark {
        let now = Timestamp::now();
        let mut known = self.configured.clone();
        let heads: BTreeMap<CertId, Head> = match list::heads_in(&self.places).await {
            // One that cannot be read is its own command's to report.
            Ok(heads) => {
                known.extend(heads.iter().map(|(id, _)| id.clone()));
                heads
                    .into_iter()
                    .filter_map(|(id, head)| Some((id, head.ok()?)))
                    .collect()
            }
            Err(error) => {
                known.extend(outcomes.iter().map(|outcome| outcome.id.clone()));
                self.events.warn(
                    format!("nobody is told what is about to expire: {error}"),
                    error.hint(),
                );
                BTreeMap::new()
            }
        };
        let mut notices = Vec::new();
        for outcome in outcomes {
            match &outcome.result {
                Ok(issued) => notices.extend(of_issued(issued)),
                // Somebody else is at it, or somebody has stopped it.
                Err(error)
                    if [
                        ExitCode::LOCKED,
                        ExitCode::INTERRUPTED,
                        ExitCode::TERMINATED,
                        ExitCode::HUNG_UP,
                    ]
                    .contains(&error.exit_code()) => {}
                // A name that somebody has mistyped, or has just tried out.
                Err(_) if !known.contains(&outcome.id) => {}
                Err(error) => {
                    for mut notice in of_failure(&outcome.id, error, heads.get(&outcome.id)) {
                        if notice.certificate.is_some() && notice.names.is_empty() {
                            notice.names.clone_from(&outcome.names);
                        }
                        let said = notice.kind == NoticeKind::AccountRefused
                            && notices.iter().any(|n: &Notice| {
                                n.kind == notice.kind && n.directory == notice.directory
                            });
                        if !said {
                            notices.push(notice);
                        }
                    }
                }
            }
        }
        for notice in before.iter().flat_map(|remark| &remark.notices) {
            let head = notice.certificate.as_ref().and_then(|id| heads.get(id));
            let version = head.and_then(|head| head.current.as_ref());
            notices.push(match version {
                Some(version) => notice.clone().of_version(version),
                None => notice.clone(),
            });
        }
        notices.extend(heads.values().filter_map(|head| of_head(head, now)));
        self.notifier.tell(&notices, now, &self.cancel).await;
        Remark::default()
    }
}

/// The notifier of the configuration. A sink whose secret cannot be had is told as a warning and left out.
pub(super) fn notifier(app: &App, events: &Events) -> Result<Notifier, CliError> {
    let mut sinks = Vec::new();
    for configured in &app.config.notify {
        match sink(configured) {
            Ok(sink) => sinks.push(sink),
            Err(error) => events.warn(format!("a webhook cannot be notified: {error}"), None),
        }
    }
    let transport = transport(&[], events)?;
    Ok(Notifier::new(
        sinks,
        Said::new(&app.places.local),
        transport.http().clone(),
        events.clone(),
    ))
}

fn sink(configured: &config::Notify) -> Result<Sink, CliError> {
    let secret = |secret: &config::Secret, what: &str| {
        secret.resolve().map_err(|source| CliError::Secret {
            what: what.to_owned(),
            source,
        })
    };
    Ok(Sink {
        to: match &configured.to {
            NotifyTarget::Run(words) => Target::Command(words.clone()),
            NotifyTarget::Webhook { url, secret: key } => Target::Webhook {
                url: secret(url, "the URL of a webhook")?,
                secret: key
                    .as_ref()
                    .map(|key| secret(key, "the signature of a webhook"))
                    .transpose()?,
            },
        },
        kinds: configured.events.iter().copied().collect(),
        timeout: configured.timeout.unwrap_or(notify::DEFAULT_TIMEOUT),
    })
}

/// What a new version deserves.
pub(super) fn of_issued(issued: &Issued) -> Option<Notice> {
    issued.issued_now.then(|| {
        Notice::new(NoticeKind::Renewed, Some(issued.id.clone())).of_version(&issued.version)
    })
}

/// What a failure deserves; `head` is what is there nevertheless.
pub(super) fn of_failure(id: &CertId, error: &CliError, head: Option<&Head>) -> Vec<Notice> {
    // Whoever sets records by hand reads of them there.
    let records: Vec<String> = error.records().iter().map(ToString::to_string).collect();
    let cause = Some(Cause {
        message: match records.is_empty() {
            true => error.to_string(),
            false => format!("{error}: {}", records.join("; ")),
        },
        hint: error.hint(),
    });
    let mut failed = Notice::new(NoticeKind::Failed, Some(id.clone()));
    if let Some(head) = head {
        failed.names.clone_from(&head.wanted.names);
        failed.directory = Some(head.wanted.directory.clone());
        failed.next_try = head.renewal.failure.as_ref().map(|failure| failure.again);
        if let Some(version) = &head.current {
            failed = failed.of_version(version);
        }
    }
    failed.cause.clone_from(&cause);
    let mut notices = Vec::new();
    if error.is_about_account() {
        // One notice for all certificates of the account.
        let mut refused = Notice::new(NoticeKind::AccountRefused, None);
        refused.directory = head.map(|head| head.wanted.directory.clone());
        refused.cause = cause;
        notices.push(refused);
    }
    notices.push(failed);
    notices
}

/// What a certificate deserves that is in the store and was not renewed in time.
pub(super) fn of_head(head: &Head, now: Timestamp) -> Option<Notice> {
    let version = head.current.as_ref()?;
    let kind = notify::expiring(version, now)?;
    Some(Notice::new(kind, Some(head.id.clone())).of_version(version))
}
