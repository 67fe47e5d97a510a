//! Rate limits, as far as the store can tell: certificates for the same names, where the CA counts those.
//!
//! What other machines have ordered is not known here, and neither are failed validations.

use jiff::SignedDuration;
use jiff::Timestamp;

use crate::acme::KnownCa;
use crate::issue::Engine;
use crate::issue::Request;
use crate::store::Key;
use crate::store::Version;
use crate::store::VersionFile;

use super::Check;
use super::Finding;

pub(super) async fn check(engine: &Engine, request: &Request, now: Timestamp) -> Option<Finding> {
    if request.ca.known != Some(KnownCa::LetsEncrypt) || request.names.is_empty() {
        return None;
    }
    let mut issued = Vec::new();
    let keys = engine.store().list(&Key::certificate(&request.id)).await;
    let mut numbers: Vec<u32> = keys.ok()?.iter().filter_map(Key::version_number).collect();
    numbers.dedup();
    for number in numbers {
        let key = Key::version(&request.id, number, VersionFile::Meta);
        if let Ok(Some((content, _))) = engine.store().get(&key).await
            && let Ok(version) = serde_json::from_slice::<Version>(&content)
        {
            issued.push(version);
        }
    }
    finding(request, &issued, now)
}

fn finding(request: &Request, issued: &[Version], now: Timestamp) -> Option<Finding> {
    let mut wanted = request.names.clone();
    wanted.sort();
    let mut recent: Vec<Timestamp> = issued
        .iter()
        .filter(|version| {
            let mut names = version.names.clone();
            names.sort();
            names == wanted && version.directory == request.ca.url.as_str()
        })
        .map(|version| version.issued)
        .filter(|at| now.duration_since(*at) < WEEK)
        .collect();
    recent.sort();
    let about = &request.id;
    let message = format!(
        "{} of {A_WEEK} certificates for exactly these names were issued from here within a week",
        recent.len()
    );
    Some(match recent.len() {
        0..NEARLY => Finding::ok(Check::Limits, about, message),
        // A token comes back each day and ten hours; the oldest of them is a bound that is easy to name.
        n if n >= A_WEEK => Finding::failure(Check::Limits, about, message).fix(format!(
            "wait until {}, or add a name; `--ca letsencrypt-staging` is for trying out",
            recent
                .first()
                .and_then(|first| first.checked_add(WEEK).ok())
                .unwrap_or(now)
        )),
        _ => Finding::warning(Check::Limits, about, message)
            .fix("`--ca letsencrypt-staging` is for trying out"),
    })
}

/// Let's Encrypt, "duplicate certificates": five for the exact set of names in seven days.
const A_WEEK: usize = 5;
const NEARLY: usize = 4;
const WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);
