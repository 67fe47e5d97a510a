//! `dnseal list`.

use std::collections::BTreeMap;

use dnseal_core::acme::KeyType;
use dnseal_core::dns::Identifier;
use dnseal_core::renew::Due;
use dnseal_core::store::CertId;
use dnseal_core::store::Head;
use dnseal_core::store::StoreError;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;

use crate::args::OutputFormat;
use crate::commands::App;
use crate::commands::deploying::Standings;
use crate::commands::renew::renewal;
use crate::commands::standing::damaged;
use crate::commands::standing::due_of;
use crate::error::CliError;
use crate::exit_code::ExitCode;
use crate::render::Report;
use crate::render::Table;
use crate::render::day;
use crate::render::in_days;
use crate::render::plural;
use crate::settings::Places;
use crate::settings::Recipes;

pub(super) async fn run(app: &App) -> Result<Report, CliError> {
    let heads = heads(app).await?;
    let now = Timestamp::now();
    let mut table = Table::new(&[
        "NAME",
        "STATE",
        "VALID UNTIL",
        "",
        "RENEWS FROM",
        "KEY",
        "NAMES",
    ]);
    let mut json: Vec<Value> = Vec::new();
    let mut broken = false;
    let standings = Standings::read(app)?;
    let recipes = Recipes::new(&app.config)?;
    let mut notes = String::new();
    let damaged = damage(app, heads.iter().filter_map(|(_, head)| head.as_ref().ok())).await?;
    for (id, head) in &heads {
        let head = match head {
            Ok(head) => head,
            Err(error) => {
                broken = true;
                table.row([id.to_string(), error.to_string()]);
                json.push(
                    json!({ "name": id, "problem": error.to_string(), "hint": error.hint() }),
                );
                continue;
            }
        };
        let states = standings.of(head)?;
        notes.push_str(&Standings::notes(&head.id, &states));
        let damage = damaged.get(&head.id).map(String::as_str);
        if let Some(damage) = damage {
            notes.push_str(&format!("{}: {damage}\n", head.id));
        }
        let due = due_of(app, &recipes, head, now);
        if app.printer.format == OutputFormat::Json {
            let mut document = summary(app, head);
            document["deployments"] = json!(states);
            document["renewal"] = renewal(&due);
            document["damage"] = json!(damage);
            json.push(document);
        }
        let renewed = match due.next() {
            next if next == Timestamp::MAX => "never".to_owned(),
            next if next <= now => "now".to_owned(),
            next => day(next),
        };
        let is = Is::of(head);
        let (until, left) = match &head.current {
            Some(version) => (day(version.not_after), in_days(now, version.not_after)),
            None => ("-".to_owned(), String::new()),
        };
        table.row([
            head.id.to_string(),
            match damage {
                Some(_) => format!("{}, damaged", state(head, &due, now)),
                None => state(head, &due, now),
            },
            until,
            left,
            renewed,
            is.key_type.to_string(),
            joined(is.names),
        ]);
    }
    let text = match heads.is_empty() {
        true => format!("no certificates in {}\n", app.places.store.display()),
        false if notes.is_empty() => table.render(""),
        false => format!("{}\n{notes}", table.render("")),
    };
    Ok(Report {
        exit: match broken {
            true => ExitCode::SOME_FAILED,
            false => ExitCode::DONE,
        },
        ..Report::new(text, json!({ "certificates": json }))
    })
}

/// What is lost or damaged of these certificates on this machine, in words; `renew` mends it.
pub(super) async fn damage<'a>(
    app: &App,
    heads: impl Iterator<Item = &'a Head>,
) -> Result<BTreeMap<CertId, String>, CliError> {
    let Some(store) = app.places.open_existing()? else {
        return Ok(BTreeMap::new());
    };
    let heads: Vec<&Head> = heads.collect();
    let live = app.live()?;
    let versions = || {
        let of = |head: &&'a Head| Some((&head.id, head.current.as_ref()?));
        heads.iter().filter_map(of)
    };
    let mut found = BTreeMap::new();
    for (id, version) in versions().filter(|(id, version)| !live.stands(id, version)) {
        let dir = live.files(id).directory;
        let what = format!(
            "what is in {} is not version {} as it was left",
            dir.display(),
            version.number
        );
        found.insert(
            id.clone(),
            format!("{what}; `dnseal renew` writes it again"),
        );
    }
    for (id, what) in damaged(&store, versions()).await? {
        let what =
            format!("the store has lost or damaged it ({what}); `dnseal renew` orders another");
        found.insert(id, what);
    }
    Ok(found)
}

/// What one has to know of a certificate first: that it is no good, or that it is and will not stay so.
pub(super) fn state(head: &Head, due: &Due, now: Timestamp) -> String {
    let mut words = Vec::new();
    match &head.current {
        None => words.push("never issued".to_owned()),
        Some(version) => {
            let listing = head.renewal.listing.as_ref();
            if version.revoked.is_some() {
                words.push("revoked".to_owned());
            } else if listing.is_some_and(|l| l.serial == version.serial && l.revoked.is_some()) {
                words.push("revoked by its CA".to_owned());
            }
            if version.not_after <= now {
                words.push("expired".to_owned());
            }
        }
    }
    if let Some(failure) = &due.held {
        let times = plural(failure.times as usize, "time");
        let again = match failure.again > now {
            true => in_days(now, failure.again),
            false => "now".to_owned(),
        };
        words.push(format!("failed {times}, again {again}"));
    }
    match words.is_empty() {
        true => "valid".to_owned(),
        false => words.join(", "),
    }
}

/// What a certificate is; one that was never issued is what is wanted of it.
#[derive(Debug)]
pub(super) struct Is<'a> {
    pub(super) names: &'a [Identifier],
    pub(super) key_type: KeyType,
    pub(super) profile: Option<&'a str>,
    pub(super) directory: &'a str,
}

impl<'a> Is<'a> {
    pub(super) fn of(head: &'a Head) -> Self {
        match &head.current {
            Some(version) => Self {
                names: &version.names,
                key_type: version.key_type,
                profile: version.profile.as_deref(),
                directory: &version.directory,
            },
            None => Self {
                names: &head.wanted.names,
                key_type: head.wanted.key_type,
                profile: head.wanted.profile.as_deref(),
                directory: &head.wanted.directory,
            },
        }
    }
}

/// Names side by side.
pub(super) fn joined(names: &[Identifier]) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    names.join(" ")
}

/// The heads of all certificates, by name; one that cannot be read keeps nobody from the others.
pub(super) async fn heads(app: &App) -> Result<Vec<(CertId, Result<Head, StoreError>)>, CliError> {
    heads_in(&app.places).await
}

/// The same of the store there.
pub(super) async fn heads_in(
    places: &Places,
) -> Result<Vec<(CertId, Result<Head, StoreError>)>, CliError> {
    let Some(store) = places.open_existing()? else {
        return Ok(Vec::new());
    };
    Ok(dnseal_core::store::heads(&store).await?)
}

/// What `list` and `show` both say of a certificate.
pub(super) fn summary(app: &App, head: &Head) -> Value {
    let is = Is::of(head);
    json!({
        "name": head.id,
        "names": is.names,
        "key_type": is.key_type,
        "profile": is.profile,
        "directory": is.directory,
        "wanted_names": head.wanted.names,
        "wanted_key_type": head.wanted.key_type,
        "wanted_profile": head.wanted.profile,
        "wanted_directory": head.wanted.directory,
        "version": head.current,
        "left_out": head.current.as_ref().map(|version| &version.left_out),
        "files": head.current.as_ref().map(|version| files(app, &head.id, version.has_key())),
        "order_in_flight": head.order.is_some(),
        "values_published": head.published.len(),
    })
}

/// Where the files of the newest version are.
pub(super) fn files(app: &App, id: &CertId, has_key: bool) -> Value {
    let dir = app.places.live.join(id.as_str());
    json!({
        "privkey": has_key.then(|| dir.join("privkey.pem")),
        "cert": dir.join("cert.pem"),
        "chain": dir.join("chain.pem"),
        "fullchain": dir.join("fullchain.pem"),
    })
}
