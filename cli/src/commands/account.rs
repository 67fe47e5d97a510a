//! `dnseal account …`.

mod files;
mod select;

use std::sync::Arc;

use dnseal_core::account::Accounts;
use dnseal_core::account::AccountsError;
use dnseal_core::account::How;
use dnseal_core::account::Wish;
use dnseal_core::acme::KeyType;
use dnseal_core::acme::SigningKey;
use dnseal_core::store::AccountId;
use dnseal_core::store::StoredAccount;
use dnseal_core::store::WithLentAccounts;
use serde_json::Value;
use serde_json::json;

use crate::args::AccountCommand;
use crate::args::CaArgs;
use crate::args::SelectArgs;
use crate::args::UpdateArgs;
use crate::commands::App;
use crate::commands::issue;
use crate::commands::work::Work;
use crate::commands::work::transport;
use crate::error::CliError;
use crate::exit_code::ExitCode;
use crate::render::Report;
use crate::render::Table;
use crate::render::confirm;
use crate::render::day;
use crate::settings;

pub(super) use select::roots_for;

pub(super) async fn run(app: &App, command: AccountCommand) -> Result<Report, CliError> {
    match command {
        AccountCommand::Register(args) => register(app, &args).await,
        AccountCommand::List => list(app).await,
        AccountCommand::Show(args) => show(app, &args).await,
        AccountCommand::Update(args) => update(app, &args).await,
        AccountCommand::Rollover(args) => rollover(app, &args).await,
        AccountCommand::Deactivate(args) => deactivate(app, &args.select, args.yes).await,
        AccountCommand::Remove(args) => remove(app, &args).await,
        AccountCommand::Export(args) => files::export(app, &args).await,
        AccountCommand::Import(args) => files::import(app, &args).await,
    }
}

async fn register(app: &App, args: &CaArgs) -> Result<Report, CliError> {
    let chosen = settings::ca(
        args,
        None,
        &app.config,
        KeyType::default(),
        settings::Secrets::Read,
    )?;
    let contacts = settings::contacts(args, &app.config);
    let work = Work::begin(app)?;
    let terms = issue::terms(args, app, &work.progress);
    let id = match chosen.account {
        Some(id) => id,
        None => AccountId::for_directory(&chosen.ca.url),
    };
    app.places.check_keys()?;
    let store = WithLentAccounts::new(Arc::new(app.places.open()?));
    let is_lent = chosen.account_key.is_some();
    if let Some(key) = &chosen.account_key {
        store.lend(id.clone(), chosen.ca.url.clone(), key)?;
    }
    let accounts = Accounts::new(
        Arc::new(store),
        transport(&chosen.roots, &work.events)?,
        work.events.clone(),
    );
    let wish = Wish {
        id,
        ca: &chosen.ca,
        contacts: &contacts,
        terms: &terms,
        external_account: chosen.external_account.as_ref(),
    };
    let result = accounts.register(&wish, work.cancel()).await;
    let obtained = finish(work, result).await?;
    let stored = &obtained.stored;
    let how = match obtained.how {
        How::Found => "the CA knew its key already",
        How::Kept => "it was registered already",
        How::Registered => "registered now",
    };
    let mut text = format!("{how}\n");
    text.push_str(&table(stored)?.render("  "));
    if is_lent {
        text.push_str(
            "  its key was given by the environment, and nothing of it is in the store\n",
        );
    }
    let mut document = document(stored);
    document["registered_now"] = json!(obtained.how == How::Registered);
    document["in_store"] = json!(!is_lent);
    Ok(Report::new(text, document))
}

async fn list(app: &App) -> Result<Report, CliError> {
    let accounts = match app.places.open_existing()? {
        Some(store) => Accounts::list(&store).await?,
        None => Vec::new(),
    };
    let mut table = Table::new(&["ACCOUNT", "STATUS", "MADE", "DIRECTORY"]);
    let mut documents = Vec::new();
    let mut exit = ExitCode::DONE;
    for (id, stored) in &accounts {
        match stored {
            Ok(stored) => {
                table.row([
                    id.to_string(),
                    status(stored).to_owned(),
                    day(stored.created),
                    stored.directory.to_string(),
                ]);
                documents.push(document(stored));
            }
            Err(error) => {
                exit = ExitCode::SOME_FAILED;
                table.row([id.to_string(), error.to_string()]);
                documents
                    .push(json!({ "id": id, "problem": error.to_string(), "hint": error.hint() }));
            }
        }
    }
    let text = match accounts.is_empty() {
        true => format!("no accounts in {}\n", app.places.store.display()),
        false => table.render(""),
    };
    Ok(Report {
        exit,
        ..Report::new(text, json!({ "accounts": documents }))
    })
}

async fn show(app: &App, args: &SelectArgs) -> Result<Report, CliError> {
    let (id, accounts, work) = open(app, args).await?;
    let result = accounts.show(&id, work.cancel()).await;
    let shown = finish(work, result).await?;
    let mut table = table(&shown.stored)?;
    let said = |said: Option<String>| said.unwrap_or_else(|| "the CA does not say".to_owned());
    table.row(["status at the CA", &said(shown.details.status.clone())]);
    table.row([
        "contacts at the CA",
        &match shown.details.contacts.is_empty() {
            true => "none, or the CA does not say".to_owned(),
            false => shown.details.contacts.join(", "),
        },
    ]);
    if let Some(terms) = &shown.terms {
        let agreed = match shown.details.terms_agreed {
            Some(true) => " (agreed to)",
            Some(false) => " (not agreed to)",
            None => "",
        };
        table.row(["terms of service".to_owned(), format!("{terms}{agreed}")]);
    }
    let mut document = document(&shown.stored);
    document["at_ca"] = json!({
        "status": shown.details.status,
        "contacts": shown.details.contacts,
        "terms_agreed": shown.details.terms_agreed,
        "terms_of_service": shown.terms,
    });
    Ok(Report::new(table.render(""), document))
}

async fn update(app: &App, args: &UpdateArgs) -> Result<Report, CliError> {
    let given: Vec<String> = args
        .email
        .iter()
        .filter(|email| !email.is_empty())
        .map(|email| settings::mailto(email))
        .collect();
    if given.is_empty() && !args.no_email {
        return Err(CliError::usage(
            "there is nothing to update",
            "`--email ADDRESS` gives the account this address, `--no-email` none",
        ));
    }
    let (id, accounts, work) = open(app, &args.select).await?;
    let result = accounts.update_contacts(&id, &given, work.cancel()).await;
    let (stored, details) = finish(work, result).await?;
    let mut document = document(&stored);
    document["at_ca"] = json!({ "status": details.status, "contacts": details.contacts });
    let text = match (given.is_empty(), details.contacts.is_empty()) {
        (true, _) => format!("{id} has no contacts any more\n"),
        (false, true) => format!(
            "the CA has accepted {} for {id}; it does not say whether it keeps addresses\n",
            given.join(", ")
        ),
        (false, false) => format!("{id} has the contacts {}\n", details.contacts.join(", ")),
    };
    Ok(Report::new(text, document))
}

async fn rollover(app: &App, args: &SelectArgs) -> Result<Report, CliError> {
    let (id, accounts, work) = open(app, args).await?;
    #[cfg(debug_assertions)]
    let accounts = match crate::pause::asked(work.cancel()) {
        Some(checkpoints) => accounts.with_checkpoints(checkpoints),
        None => accounts,
    };
    let result = accounts.rollover(&id, work.cancel()).await;
    let (stored, rollover) = finish(work, result).await?;
    let mut document = document(&stored);
    document["rollover"] = json!({
        "old_thumbprint": rollover.old,
        "new_thumbprint": rollover.new,
        "resumed": rollover.resumed,
    });
    let text = format!(
        "{id} has a new key{}, which the CA has accepted a request of\n  old thumbprint  {}\n  new thumbprint  {}\n",
        match rollover.resumed {
            true => " (an interrupted rollover is finished)",
            false => "",
        },
        rollover.old,
        rollover.new,
    );
    Ok(Report::new(text, document))
}

async fn deactivate(app: &App, args: &SelectArgs, yes: bool) -> Result<Report, CliError> {
    let id = select::select(app, args.account.as_deref(), args.reach.ca.as_deref()).await?;
    let question = format!("End the account {id} at its CA, for ever?");
    if !yes && !confirm(&question).unwrap_or(false) {
        return Err(CliError::usage(
            format!("the account {id} was not deactivated, because nobody has agreed to it"),
            "`--yes` agrees; nothing opens a closed account again",
        ));
    }
    let (id, accounts, work) = open(app, args).await?;
    let result = accounts.deactivate(&id, work.cancel()).await;
    let stored = finish(work, result).await?;
    Ok(Report::new(
        format!("{id} is deactivated at {}\n", stored.directory),
        document(&stored),
    ))
}

async fn remove(app: &App, args: &SelectArgs) -> Result<Report, CliError> {
    let (id, accounts, work) = open(app, args).await?;
    let result = accounts.remove(&id, work.cancel()).await;
    let stored = finish(work, result).await?;
    Ok(Report::new(
        format!("{id} at {} is removed from the store\n", stored.directory),
        document(&stored),
    ))
}

/// The account that is meant, and everything to work on it with.
async fn open(app: &App, args: &SelectArgs) -> Result<(AccountId, Accounts, Work), CliError> {
    let id = select::select(app, args.account.as_deref(), args.reach.ca.as_deref()).await?;
    let missing = || CliError::Accounts(AccountsError::NoSuchAccount { id: id.clone() });
    let store = app.places.open_existing()?.ok_or_else(missing)?;
    let (stored, _) = StoredAccount::load(&store, &id)
        .await?
        .ok_or_else(missing)?;
    let roots = roots_for(app, &args.reach.ca_root, stored.directory.as_str());
    let work = Work::begin(app)?;
    let transport = transport(&roots, &work.events)?;
    let accounts = Accounts::new(Arc::new(store), transport, work.events.clone());
    Ok((id, accounts, work))
}

/// Lets everything be shown, and says who interrupted it.
async fn finish<T>(work: Work, result: Result<T, AccountsError>) -> Result<T, CliError> {
    let interrupted = work.interrupted();
    work.finish().await;
    match (result, interrupted) {
        (Err(AccountsError::Cancelled), Some(code)) => Err(CliError::Interrupted(code)),
        (result, _) => Ok(result?),
    }
}

fn status(stored: &StoredAccount) -> &'static str {
    match (&stored.url, &stored.pending_key) {
        _ if stored.deactivated.is_some() => "deactivated",
        (None, _) => "not registered",
        (Some(_), Some(_)) => "rollover begun",
        (Some(_), None) => "registered",
    }
}

fn table(stored: &StoredAccount) -> Result<Table, CliError> {
    let key = SigningKey::parse(&stored.key).map_err(AccountsError::from)?;
    let mut table = Table::untitled();
    table.row(["account", &stored.id.to_string()]);
    table.row(["status", status(stored)]);
    table.row(["directory", stored.directory.as_str()]);
    table.row(["URL", stored.url.as_deref().unwrap_or("none yet")]);
    table.row(["key", &key.kind()]);
    table.row(["thumbprint", &key.thumbprint()]);
    if !stored.contacts.is_empty() {
        table.row(["contacts", &stored.contacts.join(", ")]);
    }
    if let Some(kid) = &stored.eab_kid {
        table.row(["external account", kid]);
    }
    table.row(["made", &day(stored.created)]);
    if let Some(since) = stored.deactivated {
        table.row(["deactivated", &day(since)]);
    }
    Ok(table)
}

/// What programs are told of an account; never its key.
fn document(stored: &StoredAccount) -> Value {
    let key = SigningKey::parse(&stored.key).ok();
    json!({
        "id": stored.id,
        "status": status(stored),
        "directory": stored.directory,
        "url": stored.url,
        "key": key.as_ref().map(SigningKey::kind),
        "thumbprint": key.as_ref().map(SigningKey::thumbprint),
        "contacts": stored.contacts,
        "eab_kid": stored.eab_kid,
        "created": stored.created,
        "deactivated": stored.deactivated,
        "rollover_begun": stored.pending_key.is_some(),
    })
}
