//! Why something is ordered although it may be there already.

use dnseal_core::dns::Identifier;
use dnseal_core::issue::Request;
use dnseal_core::store::Head;
use dnseal_core::store::Version;
use jiff::Timestamp;

use crate::commands::App;
use crate::commands::list::joined;
use crate::error::CliError;
use crate::render::day;

/// What speaks against keeping what is there; `None` where it would be kept.
pub(super) async fn reason(app: &App, request: &Request) -> Result<Option<String>, CliError> {
    let Some(store) = app.places.open_existing()? else {
        return Ok(Some(NONE_YET.to_owned()));
    };
    let head = Head::load(&store, &request.id).await?.map(|(head, _)| head);
    Ok(match head.and_then(|head| head.current) {
        Some(version) => of_version(&version, request, Timestamp::now()),
        None => Some(NONE_YET.to_owned()),
    })
}

fn of_version(version: &Version, request: &Request, now: Timestamp) -> Option<String> {
    let mut reasons = Vec::new();
    if sorted(&version.names) != sorted(&request.names) {
        reasons.push(format!("its names are {}", joined(&version.names)));
    }
    if version.key_type != request.key_type {
        let (is, wanted) = (version.key_type, request.key_type);
        reasons.push(format!("its key is {is}, and {wanted} is wanted"));
    }
    if version.profile != request.profile {
        let (is, wanted) = (named(&version.profile), named(&request.profile));
        reasons.push(format!("its profile is {is}, and {wanted} is wanted"));
    }
    if version.directory != request.ca.url.as_str() {
        reasons.push(format!("it is from another CA ({})", version.directory));
    }
    if let Some(revoked) = &version.revoked {
        let (day, reason) = (day(revoked.at), revoked.reason);
        reasons.push(format!("it was revoked on {day} ({reason})"));
    }
    if version.renew_at() <= now {
        reasons.push(format!("it is due since {}", day(version.renew_at())));
    }
    if request.force {
        reasons.push("of `--force`".to_owned());
    }
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

fn named(profile: &Option<String>) -> &str {
    profile.as_deref().unwrap_or("the CA's default")
}

fn sorted(names: &[Identifier]) -> Vec<&Identifier> {
    let mut names: Vec<&Identifier> = names.iter().collect();
    names.sort();
    names
}

/// The reason of a first certificate.
pub(super) const NONE_YET: &str = "there is none yet";
