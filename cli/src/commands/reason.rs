//! Why something is ordered although it may be there already.

use dnseal_core::issue::Request;
use dnseal_core::renew::Reason;
use dnseal_core::renew::due;
use dnseal_core::store::Head;
use dnseal_core::store::Version;
use jiff::Timestamp;

use crate::commands::App;
use crate::error::CliError;
use crate::render::day;

/// What speaks against keeping what is there; `None` where it would be kept.
pub(super) async fn reason(app: &App, request: &Request) -> Result<Option<String>, CliError> {
    let Some(store) = app.places.open_existing()? else {
        return Ok(Some(NONE_YET.to_owned()));
    };
    let head = Head::load(&store, &request.id).await?.map(|(head, _)| head);
    Ok(
        match head
            .as_ref()
            .and_then(|head| Some((head, head.current.as_ref()?)))
        {
            Some((head, version)) => of_version(head, version, request, Timestamp::now()),
            None => Some(NONE_YET.to_owned()),
        },
    )
}

fn of_version(head: &Head, version: &Version, request: &Request, now: Timestamp) -> Option<String> {
    let wanted = request.wanted();
    let differences = wanted.differences(version);
    let mut reasons: Vec<String> = differences.iter().map(ToString::to_string).collect();
    if let Some(revoked) = &version.revoked {
        let (day, reason) = (day(revoked.at), revoked.reason);
        reasons.push(format!("it was revoked on {day} ({reason})"));
    }
    let due = due(head, &wanted, now, &request.renewal.policy);
    match due.reason {
        Reason::Changed { .. } | Reason::RevokedByUs => {}
        Reason::Before | Reason::Lifetime if due.at <= now => {
            reasons.push(format!("it is due since {}", day(due.at)));
        }
        why if due.at <= now => reasons.push(why.to_string()),
        _ => {}
    }
    if request.options.new_key {
        reasons.push("a new key is asked for".to_owned());
    }
    if request.force {
        reasons.push("of `--force`".to_owned());
    }
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// The reason of a first certificate.
pub(super) const NONE_YET: &str = "there is none yet";
