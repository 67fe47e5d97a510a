//! `dnseal list`.

use dnseal_core::acme::KeyType;
use dnseal_core::deploy::Live;
use dnseal_core::deploy::Material;
use dnseal_core::dns::Identifier;
use dnseal_core::renew::Due;
use dnseal_core::store::CertId;
use dnseal_core::store::Head;
use dnseal_core::store::SealedStore;
use dnseal_core::store::StoreError;
use dnseal_core::store::heads_as;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;

use crate::args::OutputFormat;
use crate::commands::App;
use crate::commands::deploying::Standings;
use crate::commands::renew::renewal;
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
    let mut listing = Listing::new(app)?;
    if let Some(store) = app.places.open_existing()? {
        // Each is written at once, so that ten thousand need no more than a few.
        let shown = heads_as(&store, |id, head| listing.add(&id, head)).await?;
        shown.into_iter().collect::<Result<(), CliError>>()?;
    }
    Ok(listing.report())
}

/// What is shown of all certificates, as far as they were seen.
struct Listing<'a> {
    app: &'a App,
    broken: bool,
    count: usize,
    damages: Damages,
    /// The documents, where these are wanted.
    documents: String,
    notes: String,
    now: Timestamp,
    recipes: Recipes<'a>,
    standings: Standings<'a>,
    table: Table,
}

impl<'a> Listing<'a> {
    fn new(app: &'a App) -> Result<Self, CliError> {
        Ok(Self {
            app,
            broken: false,
            count: 0,
            damages: Damages::new(app)?,
            documents: String::new(),
            notes: String::new(),
            now: Timestamp::now(),
            recipes: Recipes::new(&app.config)?,
            standings: Standings::read(app)?,
            table: Table::new(&[
                "NAME",
                "STATE",
                "VALID UNTIL",
                "",
                "RENEWS FROM",
                "KEY",
                "NAMES",
            ]),
        })
    }

    fn add(&mut self, id: &CertId, head: Result<Head, StoreError>) -> Result<(), CliError> {
        self.count += 1;
        let is_json = self.app.printer.format == OutputFormat::Json;
        let head = match head {
            Ok(head) => head,
            Err(error) => {
                self.broken = true;
                let problem = error.to_string();
                match is_json {
                    true => self
                        .document(&json!({ "name": id, "problem": problem, "hint": error.hint() })),
                    false => self.table.row([id.to_string(), problem]),
                }
                return Ok(());
            }
        };
        let states = self.standings.of(&head)?;
        let damage = self.damages.of(&head)?;
        let due = due_of(self.app, &self.recipes, &head, self.now);
        match is_json {
            true => {
                let mut document = summary(self.app, &head);
                document["deployments"] = json!(states);
                document["renewal"] = renewal(&due);
                document["damage"] = json!(damage);
                self.document(&document);
            }
            false => {
                self.notes.push_str(&Standings::notes(&head.id, &states));
                if let Some(damage) = &damage {
                    self.notes.push_str(&format!("{}: {damage}\n", head.id));
                }
                self.row(&head, &due, damage.is_some());
            }
        }
        Ok(())
    }

    fn row(&mut self, head: &Head, due: &Due, is_damaged: bool) {
        let now = self.now;
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
        self.table.row([
            head.id.to_string(),
            match is_damaged {
                true => format!("{}, damaged", state(head, due, now)),
                false => state(head, due, now),
            },
            until,
            left,
            renewed,
            is.key_type.to_string(),
            some(is.names),
        ]);
    }

    /// Writes one document behind the others, as far in as it stands in the whole.
    fn document(&mut self, document: &Value) {
        self.documents.push_str(match self.documents.is_empty() {
            true => "{\n  \"certificates\": [",
            false => ",",
        });
        let text = format!("\n{document:#}");
        self.documents.push_str(&text.replace('\n', "\n    "));
    }

    fn report(mut self) -> Report {
        let (text, json) = match self.app.printer.format {
            OutputFormat::Json if self.documents.is_empty() => {
                (String::new(), json!({ "certificates": [] }))
            }
            OutputFormat::Json => {
                self.documents.push_str("\n  ]\n}\n");
                (self.documents, Value::Null)
            }
            OutputFormat::Text if self.count == 0 => {
                let store = self.app.places.store.display();
                (format!("no certificates in {store}\n"), Value::Null)
            }
            OutputFormat::Text if self.notes.is_empty() => (self.table.render(""), Value::Null),
            OutputFormat::Text => {
                let text = format!("{}\n{}", self.table.render(""), self.notes);
                (text, Value::Null)
            }
        };
        Report {
            exit: match self.broken {
                true => ExitCode::SOME_FAILED,
                false => ExitCode::DONE,
            },
            ..Report::new(text, json)
        }
    }
}

/// What is lost or damaged of certificates, as far as size and time of files raise a doubt.
pub(super) struct Damages {
    live: Live,
    store: Option<SealedStore>,
}

impl Damages {
    pub(super) fn new(app: &App) -> Result<Self, CliError> {
        Ok(Self {
            live: app.live()?,
            store: app.places.open_existing()?,
        })
    }

    /// In words; `renew` mends it.
    pub(super) fn of(&self, head: &Head) -> Result<Option<String>, CliError> {
        let (Some(version), Some(store)) = (&head.current, &self.store) else {
            return Ok(None);
        };
        if let Some(what) = Material::damage(store, &head.id, version)? {
            return Ok(Some(format!(
                "the store has lost or damaged it ({what}); `dnseal renew` orders another"
            )));
        }
        Ok(match self.live.stands(&head.id, version) {
            true => None,
            false => Some(format!(
                "what is in {} is not version {} as it was left; `dnseal renew` writes it again",
                self.live.files(&head.id).directory.display(),
                version.number
            )),
        })
    }
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

/// The first names, and how many more there are: a line stays a line.
pub(super) fn some(names: &[Identifier]) -> String {
    match names.split_at_checked(SHOWN) {
        Some((first, more)) if more.len() > 1 => {
            format!("{} and {} more", joined(first), more.len())
        }
        _ => joined(names),
    }
}

/// Names of one certificate that a table shows.
const SHOWN: usize = 4;

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
        "privkey": (has_key && app.places.has_live_keys().unwrap_or(true)).then(|| dir.join("privkey.pem")),
        "cert": dir.join("cert.pem"),
        "chain": dir.join("chain.pem"),
        "fullchain": dir.join("fullchain.pem"),
    })
}
