//! Where each challenge lives, in which zone, and which provider serves it.

use std::collections::BTreeSet;

use futures::StreamExt;

use super::Check;
use super::Finding;
use crate::dns::DiscoveryError;
use crate::dns::DomainName;
use crate::dns::Place;
use crate::dns::PlaceError;
use crate::dns::ProviderError;
use crate::dns::Zones;
use crate::issue::Request;

/// What is found, and the places of those names that have one.
pub(super) async fn check(zones: &Zones, request: &Request) -> (Vec<Finding>, Vec<Place>) {
    let owners: BTreeSet<DomainName> = request
        .names
        .iter()
        .map(|identifier| identifier.challenge_owner())
        .collect();
    let looked: Vec<_> = futures::stream::iter(owners)
        .map(|owner| async move {
            let place = zones.place_to_prove(&owner).await;
            (owner, place)
        })
        .buffered(CONCURRENT)
        .collect()
        .await;
    let mut findings = Vec::new();
    let mut places = Vec::new();
    for (owner, result) in looked {
        match result {
            Ok(place) => {
                findings.extend(found(&owner, &place));
                places.push(place);
            }
            Err(error) => findings.push(
                Finding::failure(check_of(&error), &owner, error.to_string())
                    .maybe_fix(error.hint()),
            ),
        }
    }
    (findings, places)
}

fn found(owner: &DomainName, place: &Place) -> Vec<Finding> {
    let location = &place.location;
    let message = match location.is_delegated() {
        true => {
            let chain: Vec<&str> = location.chain.iter().map(DomainName::as_str).collect();
            format!(
                "delegated to {}, in the zone {}",
                chain.join(" -> "),
                location.zone.zone
            )
        }
        false => format!("lives in the zone {}", location.zone.zone),
    };
    let mut findings = vec![
        Finding::ok(Check::Delegation, owner, message),
        Finding::ok(
            Check::Routing,
            owner,
            format!(
                "written by provider `{}` at {}",
                place.provider.name,
                place.provider.provider.endpoint()
            ),
        ),
    ];
    if let Some(doubt) = &place.doubt {
        findings.push(
            Finding::failure(Check::Delegation, owner, &doubt.message)
                .maybe_fix(doubt.hint.clone()),
        );
    }
    if let Some(target) = &location.wildcard {
        findings.push(
            Finding::warning(
                Check::Delegation,
                owner,
                format!("a wildcard CNAME to {target} answers for every name there, and is no delegation"),
            )
            .fix(format!(
                "nothing has to be done; where the CNAME is meant as a delegation, say so with `--challenge-alias {target}`"
            )),
        );
    }
    findings
}

/// What an error is about.
fn check_of(error: &PlaceError) -> Check {
    match error {
        PlaceError::Discovery(
            DiscoveryError::NoResolver { .. }
            | DiscoveryError::ResolverSilent { .. }
            | DiscoveryError::TimedOut { .. }
            | DiscoveryError::Unanswered { .. },
        ) => Check::Servers,
        PlaceError::Provider(ProviderError::Clock { .. }) => Check::Clock,
        PlaceError::Provider(ProviderError::RateLimited { .. }) => Check::Limits,
        PlaceError::Provider(_) => Check::Provider,
        PlaceError::NoAlias { .. } | PlaceError::Route(_) | PlaceError::Wordless { .. } => {
            Check::Routing
        }
        _ => Check::Delegation,
    }
}

/// Lookups at once.
const CONCURRENT: usize = 16;
