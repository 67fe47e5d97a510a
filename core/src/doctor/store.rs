//! Files, rights and room on this machine, and what earlier runs have left in DNS.

use std::collections::BTreeSet;

use crate::issue::Engine;
use crate::store::CertId;
use crate::store::Head;
use crate::store::Key;
use crate::store::Published;
use crate::store::StoreError;

use super::Check;
use super::Finding;

pub(super) async fn check(engine: &Engine, read_only: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    match engine.store().examine(!read_only).await {
        Ok(room) => findings.push(match room.free {
            Some(free) if free < LITTLE => Finding::failure(
                Check::Store,
                &room.place,
                format!("only {} KiB are free there", free / 1024),
            )
            .fix("make room: an order that cannot be written down is not made"),
            Some(free) => Finding::ok(
                Check::Store,
                &room.place,
                format!("{}, {} MiB are free", rights(read_only), free / 1024 / 1024),
            ),
            None => Finding::ok(Check::Store, &room.place, rights(read_only)),
        }),
        Err(error) => findings.push(
            Finding::failure(Check::Store, "the store", error.to_string()).maybe_fix(error.hint()),
        ),
    }
    if !read_only {
        findings.push(match engine.live().check() {
            Ok(()) => Finding::ok(
                Check::Store,
                engine.live().path().display(),
                "can be written",
            ),
            Err(error) => Finding::failure(
                Check::Store,
                engine.live().path().display(),
                error.to_string(),
            )
            .maybe_fix(error.hint()),
        });
    }
    match leftovers(engine).await {
        Ok(found) => findings.extend(found),
        Err(error) => findings.push(
            Finding::warning(Check::Leftovers, "the store", error.to_string())
                .maybe_fix(error.hint()),
        ),
    }
    findings
}

fn rights(read_only: bool) -> &'static str {
    match read_only {
        true => "can be read",
        false => "can be written",
    }
}

/// Values of runs that have ended without taking them back.
async fn leftovers(engine: &Engine) -> Result<Vec<Finding>, StoreError> {
    let ids: BTreeSet<CertId> = engine
        .store()
        .list(&Key::certificates())
        .await?
        .iter()
        .filter_map(|key| key.components().get(1)?.parse().ok())
        .collect();
    let mut findings = Vec::new();
    for id in ids {
        let head = match Head::load(engine.store(), &id).await {
            Ok(Some((head, _))) => head,
            Ok(None) => continue,
            Err(error) => {
                findings.push(
                    Finding::failure(Check::Store, &id, error.to_string()).maybe_fix(error.hint()),
                );
                continue;
            }
        };
        if head.published.is_empty() || engine.is_at_work(&id).await {
            continue;
        }
        // A run may have ended in order since, such as the probe of this very doctor.
        let left = match Head::load(engine.store(), &id).await? {
            Some((now, _)) => now.published,
            None => Vec::new(),
        };
        let left: Vec<&Published> = head
            .published
            .iter()
            .filter(|p| {
                left.iter()
                    .any(|l| (&l.owner, &l.value) == (&p.owner, &p.value))
            })
            .collect();
        if left.is_empty() {
            continue;
        }
        let mut owners: Vec<&str> = left.iter().map(|p| p.owner.as_str()).collect();
        owners.dedup();
        let awaited = engine.awaited(&head);
        if left.iter().any(|value| awaited.contains(value)) {
            let mut owners: Vec<&str> = awaited.iter().map(|p| p.owner.as_str()).collect();
            owners.dedup();
            findings.push(
                Finding::warning(
                    Check::Leftovers,
                    &id,
                    format!(
                        "an order waits for {} that a person sets at {}",
                        count(awaited.len()),
                        owners.join(", ")
                    ),
                )
                .fix(goes_on(&head)),
            );
            continue;
        }
        findings.push(
            Finding::warning(
                Check::Leftovers,
                &id,
                format!(
                    "a run that did not end in order has left {} at {}",
                    count(left.len()),
                    owners.join(", ")
                ),
            )
            .fix("`dnseal dns gc` withdraws them, and so does the next run for this certificate"),
        );
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            Check::Leftovers,
            "the store",
            "no run has left a value in DNS",
        ));
    }
    Ok(findings)
}

/// How the order is gone on with.
fn goes_on(head: &Head) -> String {
    let mut words = String::new();
    for name in head.wanted.names.iter().take(SHOWN_NAMES) {
        words.push_str(&match name.is_wildcard() {
            true => format!(" '{name}'"),
            false => format!(" {name}"),
        });
    }
    if head.wanted.names.len() > SHOWN_NAMES {
        words.push_str(" …");
    }
    let first = head.wanted.names.first();
    if first.map(CertId::from).as_ref() != Some(&head.id) {
        words.push_str(&format!(" --name {}", head.id));
    }
    format!(
        "`dnseal issue{words}` says which they are, and goes on with the order once they are set; `dnseal dns gc --forget` gives it up"
    )
}

/// Names that a command is shown with.
const SHOWN_NAMES: usize = 5;

fn count(values: usize) -> String {
    match values {
        1 => "1 value".to_owned(),
        n => format!("{n} values"),
    }
}

/// A key, a chain and a head take less than 20 KiB, five versions of them a tenth of this.
const LITTLE: u64 = 1024 * 1024;
