//! `dnseal dns …`: the zone side alone.

mod check;
mod delegate;
mod gc;

use std::time::Duration;

use dnseal_core::dns::Action;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::Place;
use dnseal_core::dns::Sight;
use dnseal_core::dns::TxtChange;
use dnseal_core::dns::TxtValue;
use dnseal_core::dns::Zones;
use serde_json::Value;
use serde_json::json;

use crate::args::DnsCommand;
use crate::args::OwnerArgs;
use crate::args::ValueArgs;
use crate::args::ZoneArgs;
use crate::commands::App;
use crate::commands::work::Work;
use crate::error::CliError;
use crate::exit_code::ExitCode;
use crate::render::Report;
use crate::settings;

pub(super) async fn run(app: &App, command: DnsCommand) -> Result<Report, CliError> {
    match command {
        DnsCommand::Set(args) => change(app, &args, Action::Add).await,
        DnsCommand::Unset(args) => change(app, &args, Action::Remove).await,
        DnsCommand::List(args) => values(app, &args).await,
        DnsCommand::Check(args) => check::run(app, &args).await,
        DnsCommand::Delegate(args) => delegate::run(app, &args).await,
        DnsCommand::Gc(args) => gc::run(app, &args).await,
    }
}

async fn change(app: &App, args: &ValueArgs, action: Action) -> Result<Report, CliError> {
    let owner: DomainName = args.owner.parse()?;
    let value: TxtValue = args.value.parse()?;
    let work = Work::begin(app)?;
    let zones = zones(app, &work, &args.zone)?;
    let place = place(&zones, &work, owner).await?;
    if place.provider.provider.capabilities().by_person.is_some() {
        let owner = &place.location.owner;
        return Err(CliError::usage(
            format!("a person changes the values at {owner}, and nothing here does"),
            format!("`dnseal dns check {owner} --watch --value VALUE` looks for one"),
        ));
    }
    let was_there = match action {
        Action::Add => None,
        // Where the provider cannot tell, the removal is what counts.
        Action::Remove => was_there(&place, &value).await,
    };
    let change = TxtChange {
        action,
        handle: None,
        origin: None,
        owner: place.location.owner.clone(),
        ttl: place.ttl(),
        value: value.clone(),
    };
    let submission = zones.submit(&place.provider, &place.zone, vec![change], work.cancel());
    let result = submission
        .written()
        .await
        .and_then(|written| written.results.into_iter().next());
    let sight = match &result {
        Some(Ok(_)) => sight(&zones, &work, &place, action, &value).await,
        _ => Sight::Confirmed,
    };
    if sight.is_contradicted() {
        let (message, hint) = contradiction(&place, action, &value);
        work.events.warn(message, Some(hint));
    }
    let interrupted = work.interrupted();
    let stats = work.finish().await;
    match (result, interrupted) {
        (Some(Ok(_)), _) => {}
        (_, Some(code)) => return Err(CliError::Interrupted(code)),
        (Some(Err(error)), None) => return Err(error.into()),
        (None, None) => {
            return Err(CliError::Unexpected {
                message: "the zone's writer gave no answer".to_owned(),
                hint: None,
            });
        }
    }
    let owner = &place.location.owner;
    let done = match (action, was_there) {
        (Action::Add, _) => format!("{value} is at {owner}"),
        (Action::Remove, Some(false)) => format!("{value} was not at {owner}"),
        (Action::Remove, _) => format!("removed {value} from {owner}"),
    };
    let done = match sight {
        Sight::Confirmed => done,
        Sight::Contradicted(_) | Sight::Unseen => format!("the provider says: {done}"),
    };
    let text = format!(
        "{done} (zone {}, through {} at {})\n",
        place.zone.name,
        place.provider.name,
        place.provider.provider.endpoint()
    );
    let mut json = place_json(&place);
    if let Some(json) = json.as_object_mut() {
        json.insert("value".into(), json!(value));
        json.insert(
            "present".into(),
            json!((action == Action::Add) != sight.is_contradicted()),
        );
        let confirmed = (sight != Sight::Unseen).then_some(!sight.is_contradicted());
        json.insert("confirmed".into(), json!(confirmed));
        if action == Action::Remove {
            json.insert("was_present".into(), json!(was_there));
        }
        json.insert("stats".into(), stats.json());
    }
    let exit = match (sight.is_contradicted(), action) {
        (false, _) => ExitCode::DONE,
        (true, Action::Add) => ExitCode::NOT_PROPAGATED,
        (true, Action::Remove) => ExitCode::PROVIDER,
    };
    Ok(Report { text, json, exit })
}

/// What the name servers say about a change of which only somebody's program says that it is done.
async fn sight(
    zones: &Zones,
    work: &Work,
    place: &Place,
    action: Action,
    value: &TxtValue,
) -> Sight {
    if !place.provider.provider.capabilities().is_looked_after() {
        return Sight::Confirmed;
    }
    let change = [(place.location.owner.clone(), value.clone())];
    tokio::select! {
        sights = zones.confirm(action, &change, LOOK) => sights.into_iter().next().unwrap_or(Sight::Unseen),
        () = work.cancel().cancelled() => Sight::Unseen,
    }
}

fn contradiction(place: &Place, action: Action, value: &TxtValue) -> (String, String) {
    let owner = &place.location.owner;
    let seconds = LOOK.as_secs();
    match action {
        Action::Add => (
            format!("no name server shows {value} at {owner} after {seconds} s"),
            format!(
                "does the provider write at all, and to the zone that is served? `dnseal dns check {owner} --watch` goes on looking"
            ),
        ),
        Action::Remove => (
            format!(
                "every name server that answers still shows {value} at {owner} after {seconds} s"
            ),
            format!(
                "does the provider remove at all, and from the zone that is served? `dnseal dns check {owner}` looks again"
            ),
        ),
    }
}

/// Whether the value is there, as far as the provider can tell.
async fn was_there(place: &Place, value: &TxtValue) -> Option<bool> {
    let owner = &place.location.owner;
    let values = place.provider.provider.values(&place.zone, owner).await;
    Some(values.ok()??.contains(value))
}

async fn values(app: &App, args: &OwnerArgs) -> Result<Report, CliError> {
    let owner: DomainName = args.owner.parse()?;
    let work = Work::begin(app)?;
    let zones = zones(app, &work, &args.zone)?;
    let place = place(&zones, &work, owner).await?;
    let owner = &place.location.owner;
    let values = place
        .provider
        .provider
        .values(&place.zone, owner)
        .await
        .map_err(|source| CliError::Provider {
            action: "list the values at",
            owner: owner.clone(),
            source,
        })?;
    if values.as_ref().is_some_and(Vec::is_empty) && !app.printer.quiet {
        work.progress.say(&format!("no TXT values at {owner}"));
    }
    let stats = work.finish().await;
    let Some(values) = values else {
        return Err(CliError::usage(
            format!(
                "{} cannot tell which values there are",
                place.provider.provider.endpoint()
            ),
            format!("`dnseal dns check {owner}` asks the name servers"),
        ));
    };
    let mut text = String::new();
    for value in &values {
        text.push_str(&format!("{value}\n"));
    }
    let mut json = place_json(&place);
    if let Some(json) = json.as_object_mut() {
        json.insert("values".into(), json!(values));
        json.insert("stats".into(), stats.json());
    }
    Ok(Report::new(text, json))
}

fn zones(app: &App, work: &Work, args: &ZoneArgs) -> Result<std::sync::Arc<Zones>, CliError> {
    let probing = settings::probing(&args.probe, &app.config)?;
    let roots = args.trust.roots(&app.config);
    probing.trust(&roots);
    let context = work.context(&roots)?;
    let providers = settings::providers(
        &args.provider,
        &app.config,
        &context.with_onlooker(work.onlooker(&probing)),
    )?;
    work.zones(&probing, providers)
}

async fn place(zones: &Zones, work: &Work, owner: DomainName) -> Result<Place, CliError> {
    tokio::select! {
        place = zones.place(&owner) => {
            place.map_err(|source| CliError::Place { owner: owner.clone(), source })
        }
        () = work.cancel().cancelled() => {
            Err(CliError::Interrupted(work.interrupted().unwrap_or(ExitCode::INTERRUPTED)))
        }
    }
}

fn place_json(place: &Place) -> Value {
    json!({
        "asked": place.location.asked,
        "owner": place.location.owner,
        "delegation": place.location.chain,
        "zone": place.zone.name,
        "provider": place.provider.name,
        "endpoint": place.provider.provider.endpoint(),
    })
}

/// Services show a change in that time, mostly; a person waits for it.
const LOOK: Duration = Duration::from_secs(10);
