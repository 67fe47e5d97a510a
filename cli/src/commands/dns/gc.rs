//! `dnseal dns gc`: what killed runs have left in DNS.
//!
//! What the store knows of is withdrawn through it. A job that was killed together with its disk has left values that no store knows
//! of: where the provider keeps our mark beside each value, those that are old enough are removed, and everything else that stands at
//! the challenge names is listed. Without a mark nobody can tell whose a value is, and it stays.

mod text;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Display;
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
use serde_json::Value;
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
use crate::render::Printer;
use crate::render::Report;
use crate::settings::Recipes;

pub(super) async fn run(app: &App, args: &GcArgs) -> Result<Report, CliError> {
    let heads: Heads = list::heads(app).await?.into_iter().collect();
    let chosen = chosen(app, args, &heads)?;
    let mut left: Vec<CertId> = Vec::new();
    let mut swept: Vec<Swept> = Vec::new();
    for (id, head) in chosen.iter().filter_map(|id| heads.get_key_value(*id)) {
        match head {
            // No provider is needed to say so, and the others are cleaned up after all the same.
            Err(error) => swept.push(Swept::unusable(id, unusable(error))),
            Ok(head) if head.published.is_empty() => {}
            Ok(_) => left.push(id.clone()),
        }
    }
    let names = match args.older_than {
        Some(_) => names(app, args, &heads)?,
        None => BTreeSet::new(),
    };
    if left.is_empty() && names.is_empty() {
        return Ok(report(swept, Vec::new(), Failures::new(app.printer), None));
    }
    let groups = by_provider(app, &args.zone, &heads, &left)?;
    let work = Work::begin(app)?;
    let mut failures = Failures::new(app.printer);
    for (told, ids) in groups {
        swept.extend(sweep(app, args, &work, &told, &ids, &mut failures).await);
    }
    let found = match args.older_than {
        Some(older_than) if !work.cancel().is_cancelled() => {
            search(app, &work, &args.zone, &names, older_than, &mut failures).await
        }
        _ => Vec::new(),
    };
    let interrupted = work.interrupted();
    // Not everything was looked for.
    if args.older_than.is_some() && failures.exit.is_none() {
        failures.exit = interrupted;
    }
    let stats = work.finish().await;
    swept.sort_by(|a, b| a.id.cmp(&b.id));
    let mut report = report(swept, found, failures, interrupted);
    if let Some(json) = report.json.as_object_mut() {
        json.insert("stats".into(), stats.json());
        json.insert("warnings".into(), json!(stats.warnings()));
    }
    Ok(report)
}

type Heads = BTreeMap<CertId, Result<Head, StoreError>>;

async fn sweep(
    app: &App,
    args: &GcArgs,
    work: &Work,
    told: &ZoneArgs,
    ids: &[CertId],
    failures: &mut Failures,
) -> Vec<Swept> {
    let engine = zones(app, work, told)
        .and_then(|zones| Engines::new(app, work, zones))
        .and_then(|mut engines| engines.trusting(&[]));
    let engine = match engine {
        Ok(engine) => engine,
        Err(error) => {
            let words: Vec<&str> = ids.iter().map(CertId::as_str).collect();
            failures.add(&words.join(", "), &error);
            let problem = error.to_string();
            return ids
                .iter()
                .map(|id| Swept::unusable(id, problem.as_str()))
                .collect();
        }
    };
    let older_than = args.older_than.unwrap_or_default();
    let mut swept = Vec::new();
    for id in ids {
        if work.cancel().is_cancelled() {
            swept.push(Swept::unusable(id, "it was not tried"));
            continue;
        }
        let one = engine.sweep(id, args.forget, older_than, work.cancel());
        match one.await {
            Ok(one) => swept.extend(one),
            Err(error) => {
                let error = CliError::issue(error, work.interrupted());
                failures.add(id, &error);
                swept.push(Swept::unusable(id, error.to_string()));
            }
        }
    }
    swept
}

/// What could not be done, and keeps nobody from the rest.
struct Failures {
    documents: Vec<Value>,
    /// Of the first.
    exit: Option<ExitCode>,
    printer: Printer,
}

impl Failures {
    fn new(printer: Printer) -> Self {
        Self {
            documents: Vec::new(),
            exit: None,
            printer,
        }
    }

    fn add(&mut self, about: &dyn Display, error: &CliError) {
        self.printer.failed(about, error);
        let mut document = self.printer.error_document(error);
        if let Some(members) = document.as_object_mut() {
            members.insert("about".into(), about.to_string().into());
        }
        self.documents.push(document);
        self.exit.get_or_insert(error.exit_code());
    }
}

fn report(
    swept: Vec<Swept>,
    found: Vec<Found>,
    failures: Failures,
    interrupted: Option<ExitCode>,
) -> Report {
    let is_damaged = swept.iter().any(|s| s.problem.is_some());
    let failed = is_damaged
        || failures.exit.is_some()
        || swept.iter().any(|s| s.left > 0)
        || found.iter().any(|value| value.problem.is_some());
    Report {
        text: text::of(&swept, &found),
        json: json!({ "certificates": swept, "values": found, "failures": failures.documents }),
        exit: match (interrupted, failures.exit) {
            (Some(exit), _) if failed => exit,
            (None, Some(exit)) => exit,
            (None, None) if is_damaged => ExitCode::USAGE,
            (None, None) if failed => ExitCode::PROVIDER,
            _ => ExitCode::DONE,
        },
    }
}

fn unusable(error: &StoreError) -> String {
    match error.hint() {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_string(),
    }
}

/// The certificates that are named, by their own name or by one in them; all, where none is.
fn chosen<'h>(app: &App, args: &GcArgs, heads: &'h Heads) -> Result<Vec<&'h CertId>, CliError> {
    if args.names.is_empty() {
        return Ok(heads.keys().collect());
    }
    let mut chosen = BTreeSet::new();
    for name in &args.names {
        let of_it: Vec<&CertId> = heads
            .iter()
            .filter(|(id, head)| is_meant(name, id, head.as_ref().ok()))
            .map(|(id, _)| id)
            .collect();
        let is_configured = || {
            let configured = &app.config.certificates;
            configured.iter().any(|c| {
                c.id.as_str() == name || c.names.iter().any(|own| own.to_string() == *name)
            })
        };
        // What no store knows of can be looked for in DNS, where it is said how old it has to be.
        if of_it.is_empty() && args.older_than.is_none() && !is_configured() {
            return Err(CliError::usage(
                format!("no certificate in the store is called {name} or has that name in it"),
                "`dnseal list` tells which there are; `--older-than 6h` looks in DNS for values that no store knows of",
            ));
        }
        chosen.extend(of_it);
    }
    Ok(chosen.into_iter().collect())
}

fn is_meant(name: &str, id: &CertId, head: Option<&Head>) -> bool {
    let is_in_it = || {
        let name: Option<Identifier> = name.parse().ok();
        name.is_some_and(|name| head.is_some_and(|head| head.wanted.names.contains(&name)))
    };
    id.as_str() == name || is_in_it()
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
    heads: &Heads,
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
    for id in left {
        let Some(Ok(head)) = heads.get(id) else {
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
    Ok(groups.into_values().collect())
}

/// Whose zones are searched: what was named, else what store and configuration have.
fn names(app: &App, args: &GcArgs, heads: &Heads) -> Result<BTreeSet<Identifier>, CliError> {
    let configured = &app.config.certificates;
    let stored = heads.values().filter_map(|head| head.as_ref().ok());
    if args.names.is_empty() {
        let configured = configured.iter().flat_map(|c| &c.names);
        let stored = stored.flat_map(|head| &head.wanted.names);
        return Ok(configured.chain(stored).cloned().collect());
    }
    let mut names = BTreeSet::new();
    for name in &args.names {
        // Whose record is damaged is named by it, and nobody knows its names.
        let is_damaged = heads
            .iter()
            .any(|(id, head)| id.as_str() == name && head.is_err());
        if is_damaged {
            continue;
        }
        let configured = configured.iter().filter(|c| c.id.as_str() == name);
        let configured = configured.flat_map(|c| &c.names);
        let stored = stored.clone().filter(|head| head.id.as_str() == name);
        let stored = stored.flat_map(|head| &head.wanted.names);
        let of_it: Vec<&Identifier> = configured.chain(stored).collect();
        match of_it.is_empty() {
            true => names.extend([name.parse()?]),
            false => names.extend(of_it.into_iter().cloned()),
        }
    }
    Ok(names)
}

async fn search(
    app: &App,
    work: &Work,
    told: &ZoneArgs,
    names: &BTreeSet<Identifier>,
    older_than: Duration,
    failures: &mut Failures,
) -> Vec<Found> {
    let begun = match zones(app, work, told) {
        Ok(zones) => list::heads(app).await.map(|heads| (zones, heads)),
        Err(error) => Err(error),
    };
    let (zones, heads) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            failures.add(&"the search in DNS", &error);
            return Vec::new();
        }
    };
    let mut places: Vec<Place> = Vec::new();
    let owners: BTreeSet<DomainName> = names.iter().map(Identifier::challenge_owner).collect();
    for owner in owners {
        match place(&zones, work, owner.clone()).await {
            Ok(place) => places.push(place),
            Err(error) => failures.add(&owner, &error),
        }
        if work.cancel().is_cancelled() {
            return Vec::new();
        }
    }
    // What a head still knows of is the business of its runs.
    let known: BTreeSet<(DomainName, TxtValue)> = heads
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
            let marked = match provider.marked(&place.zone).await {
                Ok(marked) => marked.unwrap_or_default(),
                Err(source) => {
                    failures.add(&place.zone.name, &of(place, source));
                    continue;
                }
            };
            let marked: Vec<Marked> = marked
                .into_iter()
                .filter(|m| !known.contains(&(m.owner.clone(), m.value.clone())))
                .collect();
            found.extend(sweep_marked(&zones, work, place, marked, older_than).await);
        }
        let owner = &place.location.owner;
        let values = match provider.values(&place.zone, owner).await {
            Ok(values) => values.unwrap_or_default(),
            Err(ProviderError::Unsupported { .. }) => Vec::new(),
            Err(source) => {
                failures.add(owner, &of(place, source));
                continue;
            }
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
    found
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
        text::is_of_challenge(&marked.value)
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
