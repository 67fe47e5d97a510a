//! Whether CAA permits this CA, this account, this method.

use futures::StreamExt;

use super::Check;
use super::Finding;
use super::ca::Seen;
use crate::dns::CaaLookup;
use crate::dns::Identifier;
use crate::issue::Engine;
use crate::issue::Request;
use crate::issue::preflight::CaaVerdict;
use crate::issue::preflight::caa_verdict;

pub(super) async fn check(engine: &Engine, request: &Request, seen: &Seen) -> Vec<Finding> {
    let meta = &seen.directory.meta;
    if request.names.is_empty() {
        return Vec::new();
    }
    let ca = request.ca.name();
    if meta.caa_identities.is_empty() {
        return vec![Finding::ok(
            Check::Caa,
            &ca,
            "the CA does not say which CAA records mean it, so they are not looked at",
        )];
    }
    let lookup = CaaLookup::new(engine.zones().discovery().clone());
    let (lookup, ca) = (&lookup, ca.as_str());
    let account = seen.account.as_deref();
    futures::stream::iter(request.names.iter().cloned())
        .map(|identifier| async move {
            let verdict = caa_verdict(lookup, &identifier, ca, meta, account).await;
            finding(&identifier, &meta.caa_identities, verdict)
        })
        .buffered(CONCURRENT)
        .collect()
        .await
}

fn finding(identifier: &Identifier, identities: &[String], verdict: CaaVerdict) -> Finding {
    match verdict {
        CaaVerdict::Permitted(set) => {
            let message = match (&set.at, &set.unseen) {
                (Some(at), _) => {
                    format!("the records of {at} permit {}", identities.join(" or "))
                }
                (None, Some(unseen)) => format!(
                    "no CAA records below {unseen}, which the given name servers do not serve"
                ),
                (None, None) => "no CAA records, so every CA may issue".to_owned(),
            };
            Finding::ok(Check::Caa, identifier, message)
        }
        CaaVerdict::Refused(refusal) => {
            let mut message = format!("by the CAA records of {}, {}", refusal.at, refusal.problem);
            if !refusal.certain {
                message.push_str(" (seen at name servers that were given by hand)");
            }
            Finding::failure(Check::Caa, identifier, message).fix(refusal.hint())
        }
        CaaVerdict::Unreadable(error) => {
            let finding = match error.is_answered() {
                true => Finding::failure(Check::Caa, identifier, error.to_string()),
                // The CA may reach servers that we do not.
                false => Finding::warning(Check::Caa, identifier, error.to_string()),
            };
            finding.maybe_fix(error.hint())
        }
    }
}

/// Climbs at once.
const CONCURRENT: usize = 16;
