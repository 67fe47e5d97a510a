//! `dnseal notify`.

use dnseal_core::notify::Notice;
use dnseal_core::notify::NoticeKind;
use jiff::Timestamp;
use serde_json::json;

use crate::commands::App;
use crate::commands::notices;
use crate::commands::work::Work;
use crate::error::CliError;
use crate::exit_code::ExitCode;
use crate::render::Report;
use crate::render::plural;

/// Sends a test notice to everybody.
pub(super) async fn test(app: &App) -> Result<Report, CliError> {
    if app.config.notify.is_empty() {
        return Err(CliError::usage(
            "nobody is to be notified of anything",
            "write `notify: [{ webhook: { url: https://… } }]` into the configuration",
        ));
    }
    let work = Work::begin(app)?;
    let notifier = notices::notifier(app, &work.events)?;
    let test = Notice::new(NoticeKind::Test, None);
    let told = notifier
        .tell(&[test], Timestamp::now(), work.cancel())
        .await;
    let interrupted = work.interrupted();
    let stats = work.finish().await;
    if let Some(code) = interrupted {
        return Err(CliError::Interrupted(code));
    }
    let failed: Vec<_> = told
        .failed
        .iter()
        .map(
            |(name, error)| json!({ "to": name, "error": error.to_string(), "hint": error.hint() }),
        )
        .collect();
    let text = format!(
        "{} of {} taken\n",
        told.sent,
        plural(app.config.notify.len(), "test notice")
    );
    Ok(Report {
        exit: match told.sent == app.config.notify.len() {
            true => ExitCode::DONE,
            false => ExitCode::UNEXPECTED,
        },
        ..Report::new(
            text,
            json!({ "sent": told.sent, "failed": failed, "warnings": stats.warnings() }),
        )
    })
}
