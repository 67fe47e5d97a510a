//! `dnseal show NAME`.

use std::collections::BTreeSet;

use dnseal_core::deploy::Standing;
use dnseal_core::deploy::TargetState;
use dnseal_core::dns::Identifier;
use dnseal_core::renew::Due;
use dnseal_core::store::CertId;
use dnseal_core::store::Head;
use dnseal_core::store::KeyOrigin;
use dnseal_core::store::Version;
use jiff::Timestamp;
use serde_json::json;

use crate::commands::App;
use crate::commands::deploying::Standings;
use crate::commands::list;
use crate::commands::list::Is;
use crate::commands::list::joined;
use crate::commands::renew::renewal;
use crate::commands::standing::due_of;
use crate::error::CliError;
use crate::render::Report;
use crate::render::Table;
use crate::render::day;
use crate::render::in_days;
use crate::render::plural;
use crate::settings::Recipes;

pub(super) async fn run(app: &App, name: &str) -> Result<Report, CliError> {
    let id: CertId = name.parse()?;
    let head = head(app, &id).await?;
    let mut json = list::summary(app, &head);
    if let Some(object) = json.as_object_mut() {
        object.insert("published".into(), json!(head.published));
        object.insert("order".into(), json!(head.order));
    }
    let standings = Standings::read(app)?.of(&head)?;
    json["deployments"] = json!(standings);
    let recipes = Recipes::new(&app.config)?;
    let now = Timestamp::now();
    let due = due_of(app, &recipes, &head, now);
    let provider = provider(app, &recipes, &head);
    json["renewal"] = renewal(&due);
    json["provider"] = json!(provider);
    let mut text = text(app, &head, &due, provider.as_deref(), now);
    let damage = list::Damages::new(app)?.of(&head)?;
    json["damage"] = json!(damage);
    if let Some(damage) = damage {
        text.push_str(&format!("\n{damage}\n"));
    }
    if !standings.is_empty() {
        text.push('\n');
        text.push_str(&targets(&standings));
    }
    Ok(Report::new(text, json))
}

/// The head of `id`, which must be there.
pub(super) async fn head(app: &App, id: &CertId) -> Result<Head, CliError> {
    let missing = || CliError::NoCertificate(id.clone());
    let store = app.places.open_existing()?.ok_or_else(missing)?;
    let (head, _) = Head::load(&store, id).await?.ok_or_else(missing)?;
    Ok(head)
}

/// How each target stands on this machine.
fn targets(states: &[TargetState]) -> String {
    let mut table = Table::new(&["TARGET", "STATE", "VERSION", "SINCE"]);
    for state in states {
        let (word, since) = match &state.standing {
            Standing::Altered { path } => {
                let what = format!("changed or removed since: {}", path.display());
                (what, state.at)
            }
            Standing::Deployed => ("deployed".to_owned(), state.at),
            Standing::Due => ("due".to_owned(), state.at),
            Standing::Failed {
                error, attempts, ..
            } => {
                let error = error.lines().next().unwrap_or_default();
                (format!("failed {attempts}x: {error}"), state.at)
            }
        };
        table.row([
            state.target.clone(),
            word,
            state
                .version
                .map_or_else(|| "-".to_owned(), |v| v.to_string()),
            since.map_or_else(|| "-".to_owned(), day),
        ]);
    }
    table.render("")
}

/// Who writes its values in DNS, as it would be asked for now; nothing where nobody is named.
fn provider(app: &App, recipes: &Recipes<'_>, head: &Head) -> Option<String> {
    let args = recipes
        .of(Some(head), app.config.certificate(&head.id))
        .ok()?;
    if let Some(named) = args.provider.provider.filter(|name| !name.is_empty()) {
        return Some(named);
    }
    if let ([only], []) = (app.config.providers.as_slice(), app.config.zones.as_slice()) {
        return Some(only.name.clone());
    }
    let of = |name: &Identifier| {
        let domain = name.base();
        let zones = app.config.zones.iter();
        let zone = zones
            .filter(|zone| domain.is_within(&zone.suffix))
            .max_by_key(|zone| zone.suffix.to_string().len())?;
        Some(zone.provider.as_str())
    };
    let found: BTreeSet<&str> = head.wanted.names.iter().filter_map(of).collect();
    let found: Vec<&str> = found.into_iter().collect();
    (!found.is_empty()).then(|| found.join(", "))
}

fn text(app: &App, head: &Head, due: &Due, provider: Option<&str>, now: Timestamp) -> String {
    let is = Is::of(head);
    let wanted = &head.wanted;
    let mut table = Table::untitled();
    table.row(["name", head.id.as_str()]);
    table.row(["state", &list::state(head, due, now)]);
    table.row(["names", &joined(is.names)]);
    let asked = head.current.as_ref().map(Version::asked);
    if !wanted.same_names(asked.as_deref().unwrap_or(is.names)) {
        table.row(["wanted names", &joined(&wanted.names)]);
    }
    table.row(["key", is.key_type.as_str()]);
    if wanted.key_type != is.key_type {
        table.row(["wanted key", wanted.key_type.as_str()]);
    }
    if let Some(profile) = is.profile {
        table.row(["profile", profile]);
    }
    if wanted.profile.as_deref() != is.profile {
        let profile = wanted.profile.as_deref().unwrap_or("none");
        table.row(["wanted profile", profile]);
    }
    table.row(["CA", is.directory]);
    if !wanted.takes_directory(is.directory) {
        table.row(["wanted CA", &wanted.directory]);
    }
    table.row(["account", &wanted.account.to_string()]);
    if let Some(provider) = provider {
        table.row(["provider", provider]);
    }
    match &head.current {
        Some(version) => {
            table.row(["version", &version.number.to_string()]);
            let issued = day(version.issued);
            table.row(["issued", &format!("{issued} by {}", version.issuer)]);
            for left in &version.left_out {
                table.row(["left out", &format!("{}: {}", left.name, left.reason)]);
            }
            if version.spec.key != KeyOrigin::New {
                table.row(["origin of the key", &version.spec.key.to_string()]);
            }
            if let (Some(top), Some(_)) = (&version.top_issuer, &version.spec.preferred_chain) {
                table.row(["chain to", top]);
            }
            let until = day(version.not_after);
            table.row([
                "valid until",
                &format!("{until} ({})", in_days(now, version.not_after)),
            ]);
            table.row(["serial", &version.serial]);
            if let Some(revoked) = &version.revoked {
                let at = day(revoked.at);
                table.row(["revoked", &format!("{at} ({})", revoked.reason)]);
            }
            let dir = app.places.live.join(head.id.as_str());
            table.row(["files", &dir.display().to_string()]);
            if version.has_key() && !app.places.has_live_keys().unwrap_or(true) {
                let where_to = "in the encrypted store; `--live DIR` and deploy targets get it";
                table.row(["private key", where_to]);
            }
        }
        None => table.row(["version", "never issued"]),
    }
    let renews = match due.at {
        at if at == Timestamp::MAX => "never".to_owned(),
        at if at <= now => "now".to_owned(),
        at => format!("{} ({})", day(at), in_days(now, at)),
    };
    table.row(["renews from", &format!("{renews}, because {}", due.reason)]);
    if let Some(failure) = &due.held {
        let times = plural(failure.times as usize, "time");
        let last = match in_days(now, failure.last).as_str() {
            "now" => "just now".to_owned(),
            last => last.to_owned(),
        };
        let error = failure.error.lines().next().unwrap_or_default();
        table.row(["failed", &format!("{times}, last {last}: {error}")]);
        if failure.again > now {
            let again = in_days(now, failure.again);
            let force = format!("{again}; `dnseal renew --force {}` tries at once", head.id);
            table.row(["next try", &force]);
        }
    }
    if let Some(order) = &head.order {
        table.row(["order in flight", &order.url]);
    }
    for published in &head.published {
        let value = format!("{} at {}", published.value, published.owner);
        table.row(["still in DNS", &value]);
    }
    table.render("")
}
