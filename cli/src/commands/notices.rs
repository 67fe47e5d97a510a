//! What is told to whom outside: from what a run did and what it found to notices, and out to the sinks of the configuration.

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
use jiff::Timestamp;

use crate::commands::App;
use crate::commands::work::transport;
use crate::config;
use crate::config::NotifyTarget;
use crate::error::CliError;

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
    let cause = Some(Cause {
        message: error.to_string(),
        hint: error.hint(),
    });
    let mut failed = Notice::new(NoticeKind::Failed, Some(id.clone()));
    if let Some(head) = head {
        failed.names.clone_from(&head.wanted.names);
        failed.directory = Some(head.wanted.directory.clone());
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
