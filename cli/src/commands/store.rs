//! `dnseal store …`: whether what is private in the store is encrypted, and by which key.

use std::time::Duration;

use dnseal_core::deploy::Live;
use dnseal_core::deploy::Material;
use dnseal_core::event::What;
use dnseal_core::store::CertId;
use dnseal_core::store::Head;
use dnseal_core::store::Patience;
use dnseal_core::store::Resealed;
use dnseal_core::store::SealState;
use dnseal_core::store::SealStatus;
use dnseal_core::store::SealedStore;
use dnseal_core::store::StoreError;
use dnseal_core::store::heads;
use serde_json::json;

use crate::args::RekeyArgs;
use crate::args::StoreCommand;
use crate::args::YesArgs;
use crate::commands::App;
use crate::commands::work::Work;
use crate::error::CliError;
use crate::render::Report;
use crate::render::Table;
use crate::render::confirm;
use crate::render::plural;
use crate::settings::store_key;

pub(super) async fn run(app: &App, command: StoreCommand) -> Result<Report, CliError> {
    match command {
        StoreCommand::Encrypt(args) => encrypt(app, &args).await,
        StoreCommand::Decrypt => decrypt(app).await,
        StoreCommand::Rekey(args) => rekey(app, &args).await,
        StoreCommand::Status => status(app).await,
    }
}

async fn encrypt(app: &App, args: &YesArgs) -> Result<Report, CliError> {
    let key = store_key::key(&app.config)?;
    // An empty store is encrypted before anything is in it.
    let store = app.places.make()?;
    let ids = ids(&store).await?;
    let live = Live::new(&app.places.live)?;
    let in_live = match app.places.is_live_apart {
        true => 0,
        false => live.count_keys(&ids)?,
    };
    if in_live > 0 && !args.yes {
        let what = format!(
            "{} in {}, beside the store",
            plural(in_live, "private key"),
            app.places.live.display()
        );
        let question = format!(
            "There {} {what}. Whoever reads {} there needs another place: a deploy target, or a directory that `--live` names. \
             Remove {} and encrypt the store?",
            are(in_live),
            them(in_live),
            them(in_live),
        );
        match confirm(&question) {
            Some(true) => {}
            Some(false) => {
                return Ok(Report::new(
                    "the store stays as it is\n",
                    json!({ "encrypted": false }),
                ));
            }
            None => {
                return Err(CliError::usage(
                    format!(
                        "there {} {what}, which would make the encryption worth nothing",
                        are(in_live)
                    ),
                    "`--yes` removes them; servers get them from deploy targets, or from a directory that `--live` names",
                ));
            }
        }
    }
    let done = guarded(app, async |patience| store.encrypt(&key, patience).await).await?;
    if !app.places.is_live_apart {
        for id in &ids {
            live.remove_keys(id)?;
        }
    }
    let mut text = said(&done, "encrypted", "the store is encrypted with it already");
    if in_live > 0 {
        text.push_str(&format!(
            "  {} removed from {}\n",
            plural(in_live, "private key"),
            app.places.live.display()
        ));
    }
    if done.changed > 0 {
        text.push_str("  copies elsewhere (backups, caches of earlier jobs) are what they were\n");
    }
    Ok(Report::new(
        text,
        json!({ "encrypted": true, "opened_by": key.kind(), "parts": done, "removed_from_live": in_live }),
    ))
}

async fn decrypt(app: &App) -> Result<Report, CliError> {
    let store = existing(app)?;
    let done = guarded(app, async |patience| store.decrypt(patience).await).await?;
    let mut projected = 0;
    if !app.places.is_live_apart {
        let live = app.live()?;
        for (id, head) in heads(&store).await? {
            let Some(version) = head.ok().and_then(|head: Head| head.current) else {
                continue;
            };
            // A version that the store has lost is the business of the next run.
            let Ok(material) = Material::read(&store, &id, &version).await else {
                continue;
            };
            if !live.holds(&id, &material.bundle())? {
                live.project(&id, version.number, &material.bundle())?;
                projected += 1;
            }
        }
    }
    let mut text = said(&done, "decrypted", "the store is not encrypted");
    if projected > 0 {
        text.push_str(&format!(
            "  the private keys of {} are in {} again\n",
            plural(projected, "certificate"),
            app.places.live.display()
        ));
    }
    Ok(Report::new(
        text,
        json!({ "encrypted": false, "parts": done, "put_into_live": projected }),
    ))
}

async fn rekey(app: &App, args: &RekeyArgs) -> Result<Report, CliError> {
    let key = store_key::new_key(args.new_key_file.as_deref())?;
    let store = existing(app)?;
    if store.status().await?.seal.is_none() {
        return Err(CliError::usage(
            "the store is not encrypted",
            "`dnseal store encrypt` does that, with DNSEAL_STORE_KEY",
        ));
    }
    let done = guarded(app, async |patience| store.rekey(&key, patience).await).await?;
    let mut text = said(
        &done,
        "encrypted with the new key",
        "the store has that key already",
    );
    if !done.already {
        text.push_str("  from now on the new key is the one to give; the old one opens copies that were made before\n");
    }
    Ok(Report::new(
        text,
        json!({ "encrypted": true, "opened_by": key.kind(), "parts": done }),
    ))
}

async fn status(app: &App) -> Result<Report, CliError> {
    let Some(store) = app.places.open_existing()? else {
        return Ok(Report::new(
            format!("there is no store in {}\n", app.places.store.display()),
            json!({ "store": null }),
        ));
    };
    let status = store.status().await?;
    let ids = ids(&store).await?;
    let in_live = Live::new(&app.places.live)?.count_keys(&ids)?;
    let mut table = Table::untitled();
    table.row(["store", &app.places.store.display().to_string()]);
    table.row(["encrypted".to_owned(), how(&status)]);
    let parts = format!("{} encrypted, {} not", status.encrypted, status.plain);
    table.row(["keys in the store", &parts]);
    let in_live_text = format!("{in_live} in {}", app.places.live.display());
    table.row(["keys outside", &in_live_text]);
    Ok(Report::new(
        table.render(""),
        json!({
            "store": app.places.store,
            "encrypted": status.seal.is_some(),
            "state": status.seal.map(|(state, _)| state),
            "opened_by": status.seal.map(|(_, kind)| kind),
            "keys_encrypted": status.encrypted,
            "keys_plain": status.plain,
            "live": app.places.live,
            "keys_in_live": in_live,
        }),
    ))
}

fn how(status: &SealStatus) -> String {
    match status.seal {
        None => "no".to_owned(),
        Some((SealState::Sealed, kind)) => format!("yes, {kind} opens it"),
        Some((SealState::Sealing, kind)) => format!(
            "not altogether: the command that did it was interrupted, and goes on when it is given again; {kind} opens it"
        ),
        Some((SealState::Unsealing, kind)) => format!(
            "partly: `dnseal store decrypt` was interrupted, and goes on when it is given again; {kind} opens it"
        ),
    }
}

fn said(done: &Resealed, what: &str, already: &str) -> String {
    match done {
        Resealed { already: true, .. } => format!("{already}\n"),
        Resealed { resumed: true, .. } => format!(
            "{what}: {}, after an earlier command was interrupted\n",
            plural(done.changed, "remaining key")
        ),
        Resealed { changed: 0, .. } => format!("{what}; there are no keys in the store yet\n"),
        _ => format!("{what}: {}\n", plural(done.changed, "key")),
    }
}

fn are(count: usize) -> &'static str {
    match count {
        1 => "is",
        _ => "are",
    }
}

fn them(count: usize) -> &'static str {
    match count {
        1 => "it",
        _ => "them",
    }
}

fn existing(app: &App) -> Result<SealedStore, CliError> {
    app.places.open_existing()?.ok_or_else(|| {
        CliError::usage(
            format!("there is no store in {}", app.places.store.display()),
            "name its directory with `--dir` or `--store`",
        )
    })
}

async fn ids(store: &SealedStore) -> Result<Vec<CertId>, StoreError> {
    let heads = heads(store).await?;
    Ok(heads.into_iter().map(|(id, _)| id).collect())
}

/// Waits for runs that are at work, each for its part, and says so.
async fn guarded<T>(
    app: &App,
    change: impl AsyncFnOnce(Patience<'_>) -> Result<T, StoreError>,
) -> Result<T, CliError> {
    let work = Work::begin(app)?;
    let events = work.events.clone();
    let cancel = work.cancel().clone();
    let on_wait = move |holder: &str| {
        events.emit(What::Waiting {
            reason: format!("{holder}, which works with a part of the store"),
            at_most: Some(PATIENCE),
        });
    };
    let patience = Patience {
        cancel: &cancel,
        at_most: PATIENCE,
        on_wait: &on_wait,
    };
    let result = change(patience).await;
    let interrupted = work.interrupted();
    work.finish().await;
    match (result, interrupted) {
        (Err(StoreError::Cancelled { .. }), Some(code)) => Err(CliError::Interrupted(code)),
        (result, _) => Ok(result?),
    }
}

/// An order may take this long, and is not disturbed.
const PATIENCE: Duration = Duration::from_secs(600);
