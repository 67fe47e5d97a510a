//! `dnseal dns gc`: what killed runs have left in DNS.
//!
//! What the store knows of is withdrawn through it. A job that was killed together with its disk has left values that no store knows
//! of: where the provider keeps our mark beside each value, those that are old enough are removed, and everything else that stands at
//! the challenge names is listed. Without a mark nobody can tell whose a value is, and it stays.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use dnseal_core::dns::Action;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::Identifier;
use dnseal_core::dns::Marked;
use dnseal_core::dns::Place;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::TxtChange;
use dnseal_core::dns::TxtValue;
use dnseal_core::dns::Zones;
use dnseal_core::issue::Swept;
use dnseal_core::store::CertId;
use dnseal_core::store::Head;
use dnseal_core::store::StoreError;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::place;
use super::zones;
use crate::args::GcArgs;
use crate::args::IssueArgs;
use crate::args::ZoneArgs;
use crate::commands::App;
use crate::commands::list;
use crate::commands::work::Engines;
use crate::commands::work::Work;
use crate::error::CliError;
use crate::exit_code::ExitCode;
use crate::render::Report;
use crate::render::Table;
use crate::render::duration;
use crate::render::plural;
use crate::settings::Recipes;

pub(super) async fn run(app: &App, args: &GcArgs) -> Result<Report, CliError> {
    let heads = list::heads(app).await?;
    let left: Vec<CertId> = heads
        .iter()
        .filter(|(_, head)| {
            head.as_ref()
                .map_or(true, |head| !head.published.is_empty())
        })
        .map(|(id, _)| id.clone())
        .collect();
    let names = match args.older_than {
        Some(_) => names(
            app,
            args,
            heads.iter().filter_map(|(_, head)| head.as_ref().ok()),
        )?,
        None => BTreeSet::new(),
    };
    if left.is_empty() && names.is_empty() {
        return Ok(Report::new(
            "nothing is left in DNS\n",
            json!({ "certificates": [], "values": [] }),
        ));
    }
    let work = Work::begin(app)?;
    let mut swept = Ok(Vec::new());
    for (told, ids) in by_provider(app, &args.zone, &heads, &left)? {
        let zones = zones(app, &work, &told)?;
        let engine = Engines::new(app, &work, zones)?.trusting(&[])?;
        let older_than = args.older_than.unwrap_or_default();
        let sweeping = engine.sweep_older(&ids, args.forget, older_than, work.cancel());
        match (&mut swept, sweeping.await) {
            (Ok(all), Ok(more)) => all.extend(more),
            (swept, Err(error)) => {
                *swept = Err(error);
                break;
            }
            (Err(_), Ok(_)) => {}
        }
    }
    let found = match (&swept, args.older_than) {
        (Ok(_), Some(older_than)) => {
            let zones = zones(app, &work, &args.zone)?;
            search(app, &work, &zones, &names, older_than).await
        }
        _ => Ok(Vec::new()),
    };
    let interrupted = work.interrupted();
    let stats = work.finish().await;
    let swept = swept.map_err(|error| CliError::issue(error, interrupted))?;
    let found = match (found, interrupted) {
        (Err(_), Some(code)) => return Err(CliError::Interrupted(code)),
        (found, _) => found?,
    };
    let failed = swept.iter().any(|s| s.left > 0 || s.problem.is_some())
        || found.iter().any(|value| value.problem.is_some());
    let mut text = swept_text(&swept);
    text.push_str(&found_text(&found));
    if text.is_empty() {
        text.push_str("nothing is left in DNS\n");
    }
    Ok(Report {
        text,
        json: json!({
            "certificates": swept,
            "values": found,
            "stats": stats.json(),
            "warnings": stats.warnings(),
        }),
        exit: match (interrupted, failed) {
            (Some(exit), true) => exit,
            (None, true) => ExitCode::PROVIDER,
            (_, false) => ExitCode::DONE,
        },
    })
}

/// A value in DNS that no store of ours knows of.
#[derive(Debug, Serialize)]
struct Found {
    owner: DomainName,
    value: TxtValue,
    /// Whether it carries our mark.
    marked: bool,
    since: Option<Timestamp>,
    removed: bool,
    problem: Option<String>,
}

/// Which certificates' values are taken out through which provider: what is said now or configured; else for each what it was
/// issued with; else, by its name alone, the provider that the value was written through.
fn by_provider(
    app: &App,
    said: &ZoneArgs,
    heads: &[(CertId, Result<Head, StoreError>)],
    left: &[CertId],
) -> Result<Vec<(ZoneArgs, Vec<CertId>)>, CliError> {
    let is_said = said.provider.provider.iter().any(|name| !name.is_empty());
    if left.is_empty() {
        return Ok(Vec::new());
    }
    if is_said || !app.config.providers.is_empty() {
        return Ok(vec![(said.clone(), left.to_vec())]);
    }
    let recipes = Recipes::told(
        &app.config,
        IssueArgs {
            provider: said.provider.clone(),
            ..IssueArgs::default()
        },
    );
    let mut groups: BTreeMap<String, (ZoneArgs, Vec<CertId>)> = BTreeMap::new();
    let mut unreadable = Vec::new();
    for id in left {
        let head = heads.iter().find(|(other, _)| other == id);
        let Some(head) = head.and_then(|(_, head)| head.as_ref().ok()) else {
            unreadable.push(id.clone());
            continue;
        };
        let mut told = said.clone();
        told.provider = recipes.of(Some(head), app.config.certificate(id))?.provider;
        if told.provider.provider.iter().all(String::is_empty) {
            told.provider.provider = head.published.first().map(|p| p.provider.clone());
        }
        let key = serde_json::to_string(&told.provider).unwrap_or_default();
        let (_, ids) = groups.entry(key).or_insert_with(|| (told, Vec::new()));
        ids.push(id.clone());
    }
    let mut groups: Vec<(ZoneArgs, Vec<CertId>)> = groups.into_values().collect();
    // What is wrong with them is told by any engine.
    match groups.first_mut() {
        Some((_, ids)) => ids.extend(unreadable),
        None => groups.push((said.clone(), unreadable)),
    }
    Ok(groups)
}

/// Whose zones are searched: what was named, else what store and configuration have.
fn names<'a>(
    app: &App,
    args: &GcArgs,
    heads: impl Iterator<Item = &'a Head>,
) -> Result<BTreeSet<Identifier>, CliError> {
    if !args.names.is_empty() {
        let names = args.names.iter().map(|name| name.parse());
        return Ok(names.collect::<Result<_, _>>()?);
    }
    let configured = app.config.certificates.iter().flat_map(|c| &c.names);
    let stored = heads.flat_map(|head| &head.wanted.names);
    Ok(configured.chain(stored).cloned().collect())
}

async fn search(
    app: &App,
    work: &Work,
    zones: &Arc<Zones>,
    names: &BTreeSet<Identifier>,
    older_than: Duration,
) -> Result<Vec<Found>, CliError> {
    let mut places: Vec<Place> = Vec::new();
    let owners: BTreeSet<DomainName> = names.iter().map(Identifier::challenge_owner).collect();
    for owner in owners {
        places.push(place(zones, work, owner).await?);
    }
    // What a head still knows of is the business of its runs.
    let known: BTreeSet<(DomainName, TxtValue)> = list::heads(app)
        .await?
        .into_iter()
        .filter_map(|(_, head)| head.ok())
        .flat_map(|head| head.published)
        .map(|published| (published.owner, published.value))
        .collect();

    let mut found: Vec<Found> = Vec::new();
    let mut searched = BTreeSet::new();
    for place in &places {
        let provider = &place.provider.provider;
        if searched.insert((place.provider.name.clone(), place.zone.name.clone())) {
            let marked = provider
                .marked(&place.zone)
                .await
                .map_err(|source| of(place, source))?;
            let marked: Vec<Marked> = marked
                .unwrap_or_default()
                .into_iter()
                .filter(|m| !known.contains(&(m.owner.clone(), m.value.clone())))
                .collect();
            found.extend(sweep_marked(zones, work, place, marked, older_than).await);
        }
        let owner = &place.location.owner;
        let values = match provider.values(&place.zone, owner).await {
            Ok(values) => values.unwrap_or_default(),
            Err(ProviderError::Unsupported { .. }) => Vec::new(),
            Err(source) => return Err(of(place, source)),
        };
        for value in values {
            let is_new = !known.contains(&(owner.clone(), value.clone()))
                && !found.iter().any(|f| f.owner == *owner && f.value == value);
            if is_new {
                found.push(Found {
                    owner: owner.clone(),
                    value,
                    marked: false,
                    since: None,
                    removed: false,
                    problem: None,
                });
            }
        }
    }
    found.sort_by(|a, b| (&a.owner, &a.value).cmp(&(&b.owner, &b.value)));
    Ok(found)
}

fn of(place: &Place, source: ProviderError) -> CliError {
    CliError::Provider {
        action: "list the values at",
        owner: place.location.owner.clone(),
        source,
    }
}

/// Removes what is old enough, all of it in one batch.
async fn sweep_marked(
    zones: &Zones,
    work: &Work,
    place: &Place,
    marked: Vec<Marked>,
    older_than: Duration,
) -> Vec<Found> {
    let now = Timestamp::now();
    let is_old = |marked: &Marked| {
        // Of which nobody knows how old it is may be a living run's.
        let age = marked.since.map(|since| now.duration_since(since));
        is_of_challenge(&marked.value)
            && age
                .and_then(|age| Duration::try_from(age).ok())
                .is_some_and(|age| age >= older_than)
    };
    let (old, young): (Vec<Marked>, Vec<Marked>) = marked.into_iter().partition(is_old);
    let stays = young.into_iter().map(|marked| Found {
        owner: marked.owner,
        value: marked.value,
        marked: true,
        since: marked.since,
        removed: false,
        problem: None,
    });
    let mut found: Vec<Found> = stays.collect();
    if old.is_empty() {
        return found;
    }
    let changes = old.iter().map(|marked| TxtChange {
        action: Action::Remove,
        handle: None,
        origin: None,
        owner: marked.owner.clone(),
        ttl: place.ttl(),
        value: marked.value.clone(),
    });
    let submission = zones.submit(
        &place.provider,
        &place.zone,
        changes.collect(),
        work.cancel(),
    );
    let mut results = match submission.written().await {
        Some(written) => written.results.into_iter(),
        None => Vec::new().into_iter(),
    };
    for marked in old {
        let problem = match results.next() {
            Some(Ok(_)) => None,
            Some(Err(error)) => Some(error.to_string()),
            None => Some("it was not tried".to_owned()),
        };
        found.push(Found {
            owner: marked.owner,
            value: marked.value,
            marked: true,
            since: marked.since,
            removed: problem.is_none(),
            problem,
        });
    }
    found
}

/// Whether it has the form that RFC 8555 section 8.4 gives: people set other values with `dns set`, and want them to stay.
fn is_of_challenge(value: &TxtValue) -> bool {
    let text = value.to_string();
    text.len() == DIGEST
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

fn found_text(found: &[Found]) -> String {
    if found.is_empty() {
        return String::new();
    }
    let now = Timestamp::now();
    let mut table = Table::new(&["OWNER", "VALUE", "WHAT"]);
    for value in found {
        let age = value
            .since
            .and_then(|since| Duration::try_from(now.duration_since(since)).ok())
            .map(|age| {
                format!(
                    ", written {} ago",
                    duration(Duration::from_secs(age.as_secs()))
                )
            })
            .unwrap_or_default();
        let what = match value {
            Found {
                problem: Some(problem),
                ..
            } => format!("ours{age}, and could not be removed: {problem}"),
            Found { removed: true, .. } => format!("ours{age}, removed"),
            Found {
                marked: true,
                value,
                ..
            } if !is_of_challenge(value) => {
                format!("ours{age}, stays: no challenge has such a value")
            }
            Found { marked: true, .. } => format!("ours{age}, stays: not old enough"),
            _ => "stays: nothing says that it is ours".to_owned(),
        };
        table.row([value.owner.to_string(), value.value.to_string(), what]);
    }
    table.render("")
}

fn swept_text(swept: &[Swept]) -> String {
    let mut table = Table::untitled();
    for s in swept {
        let withdrawn = plural(s.withdrawn, "value");
        let mut what = match s {
            s if s.busy => "a run works on it, nothing was touched".to_owned(),
            Swept {
                problem: Some(problem),
                ..
            } => problem.clone(),
            s if s.forgotten > 0 => format!("{withdrawn} withdrawn, {} forgotten", s.forgotten),
            s if s.left > 0 => format!("{withdrawn} withdrawn, {} could not be", s.left),
            _ => format!("{withdrawn} withdrawn"),
        };
        if s.younger > 0 {
            what.push_str(&format!(", {} not old enough", s.younger));
        }
        table.row([s.id.to_string(), what]);
    }
    table.render("")
}

/// A SHA-256 digest in base64url without padding.
const DIGEST: usize = 43;
