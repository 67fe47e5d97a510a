//! `dnseal revoke`.

use std::sync::Arc;

use dnseal_core::account::Accounts;
use dnseal_core::account::Foreign;
use dnseal_core::acme::Ca;
use dnseal_core::acme::KeyType;
use dnseal_core::acme::Leaf;
use dnseal_core::acme::Revocation;
use dnseal_core::acme::RevocationReason;
use dnseal_core::acme::SigningKey;
use dnseal_core::revoke;
use dnseal_core::revoke::Outcome;
use dnseal_core::revoke::Request;
use dnseal_core::revoke::RevocationError;
use dnseal_core::revoke::Revoker;
use dnseal_core::revoke::Subject;
use dnseal_core::revoke::Way;
use dnseal_core::store::AccountId;
use dnseal_core::store::CertId;
use dnseal_core::store::Head;
use dnseal_core::store::Store;
use dnseal_core::store::StoredAccount;
use dnseal_core::store::WithLentAccounts;
use serde_json::json;
use url::Url;

use crate::args::DeleteArgs;
use crate::args::NamedArgs;
use crate::args::RevokeArgs;
use crate::commands::App;
use crate::commands::account::roots_for;
use crate::commands::delete;
use crate::commands::work::Work;
use crate::commands::work::transport;
use crate::error::CliError;
use crate::input;
use crate::render::Report;
use crate::render::confirm;
use crate::settings;

pub(super) async fn run(app: &App, args: &RevokeArgs) -> Result<Report, CliError> {
    let reason: RevocationReason = args.reason.parse()?;
    let key = match &args.key_path {
        Some(path) => Some(read_key(path)?),
        None => None,
    };
    let account: Option<AccountId> = match args.account.as_deref().filter(|id| !id.is_empty()) {
        Some(id) => Some(id.parse()?),
        None => None,
    };
    let store = Arc::new(WithLentAccounts::new(Arc::new(app.places.open()?)));
    let subject = subject(app, args, account.as_ref(), &*store).await?;
    let directory = match &subject {
        Subject::Certificate { directory, .. } => directory.to_string(),
        Subject::Stored { id, .. } => {
            let head = Head::load(&*store, id).await?;
            let (head, _) = head.ok_or_else(|| CliError::NoCertificate(id.clone()))?;
            head.current.map(|v| v.directory).unwrap_or_default()
        }
    };
    if args.delete && matches!(subject, Subject::Certificate { .. }) {
        return Err(CliError::usage(
            "the certificate is not in the store, so there is nothing to delete",
            "leave `--delete` out",
        ));
    }

    let work = Work::begin(app)?;
    let roots = roots_for(app, &args.reach.ca_root, &directory);
    let transport = transport(&roots, &work.events)?;
    if let Some(key) = settings::account_key()?
        && let Ok(directory) = directory.parse::<Url>()
    {
        let id = match &account {
            Some(id) => id.clone(),
            None => AccountId::for_directory(&directory),
        };
        store.lend(id.clone(), directory, &key)?;
        let accounts = Accounts::new(store.clone(), transport.clone(), work.events.clone());
        // What it cannot tell is told by the revocation, which may need no account.
        if let Err(error) = accounts.find(&id, work.cancel()).await {
            work.events.warn(
                format!("cannot find the account of the key that was given: {error}"),
                error.hint(),
            );
        }
    }
    let revoker = Revoker::new(store, transport, work.events.clone());
    let request = Request {
        subject,
        reason,
        account,
        key,
    };
    let result = revoker.revoke(&request, work.cancel()).await;
    let interrupted = work.interrupted();
    work.finish().await;
    let outcome = match (result, interrupted) {
        (Err(RevocationError::Cancelled), Some(code)) => return Err(CliError::Interrupted(code)),
        (result, _) => result?,
    };

    let deleted = match &outcome.certificate {
        Some((id, _)) if args.delete && outcome.in_force => {
            delete_too(app, args, id, &outcome).await?
        }
        _ => false,
    };
    Ok(Report::new(
        text(&outcome, deleted),
        json!({
            "name": outcome.certificate.as_ref().map(|(id, _)| id),
            "version": outcome.certificate.as_ref().map(|(_, number)| number),
            "serial": outcome.serial,
            "issuer": outcome.issuer,
            "directory": outcome.directory,
            "reason": outcome.reason,
            "revoked": true,
            "already_revoked": outcome.revocation == Revocation::Already,
            "signed_by": match &outcome.way {
                Way::Account { .. } => "account",
                Way::CertificateKey => "certificate-key",
            },
            "account": match &outcome.way {
                Way::Account { id, url } => json!({ "id": id, "url": url }),
                Way::CertificateKey => json!(null),
            },
            "instead_of_account": outcome.instead,
            "key_marked_compromised": outcome.key_marked,
            "deleted": deleted,
        }),
    ))
}

/// What is named; a file that the store has as well is the store's.
async fn subject(
    app: &App,
    args: &RevokeArgs,
    account: Option<&AccountId>,
    store: &dyn Store,
) -> Result<Subject, CliError> {
    let Some(path) = &args.cert_path else {
        let Some(name) = &args.name else {
            return Err(CliError::usage(
                "there is nothing to revoke",
                "name a certificate of the store, or a file with `--cert-path`",
            ));
        };
        let id: CertId = name.parse()?;
        return Ok(Subject::Stored {
            id,
            version: args.cert_version,
        });
    };
    let content = input::read(path).map_err(CliError::io("read the certificate", path))?;
    let leaf = Leaf::read(&content).map_err(|source| CliError::Leaf {
        path: path.clone(),
        source,
    })?;
    if let Some((id, version)) = revoke::find(store, &leaf).await? {
        return Ok(Subject::Stored {
            id,
            version: Some(version.number),
        });
    }
    let named = args.reach.ca.as_deref().filter(|ca| !ca.is_empty());
    if let (None, Some(id)) = (named, account)
        && let Some((stored, _)) = StoredAccount::load(store, id).await?
    {
        return Ok(Subject::Certificate {
            leaf: Box::new(leaf),
            directory: stored.directory,
        });
    }
    let configured = app.config.ca.as_ref().map(|ca| ca.name_or_url.as_str());
    let Some(ca) = named.or(configured) else {
        return Err(CliError::usage(
            format!(
                "the certificate in {} (issued by {}) is not in the store, so its CA has to be named",
                path.display(),
                leaf.issuer
            ),
            "name it with `--ca`, such as `--ca letsencrypt`",
        ));
    };
    Ok(Subject::Certificate {
        leaf: Box::new(leaf),
        directory: Ca::resolve(ca, KeyType::default())?.url,
    })
}

async fn delete_too(
    app: &App,
    args: &RevokeArgs,
    id: &CertId,
    outcome: &Outcome,
) -> Result<bool, CliError> {
    if !args.yes {
        let question = format!(
            "{id} is revoked ({}). Remove it from the store and from live/, too?",
            outcome.serial
        );
        // Where nobody can be asked, the flag is the answer.
        if confirm(&question) == Some(false) {
            return Ok(false);
        }
    }
    let args = DeleteArgs {
        named: NamedArgs {
            name: id.to_string(),
        },
        yes: true,
        ca_root: args.reach.ca_root.clone(),
        provider: args.provider.clone(),
        probe: args.probe.clone(),
    };
    delete::run(app, &args).await?;
    Ok(true)
}

fn text(outcome: &Outcome, deleted: bool) -> String {
    let what = match &outcome.certificate {
        Some((id, number)) => format!("version {number} of {id} ({})", outcome.serial),
        None => format!("{} of {}", outcome.serial, outcome.issuer),
    };
    let mut text = match outcome.revocation {
        Revocation::Done => format!("{what} is revoked ({})\n", outcome.reason),
        Revocation::Already => format!("{what} was revoked already\n"),
    };
    let mut say = |line: String| {
        text.push_str("  ");
        text.push_str(&line);
        text.push('\n');
    };
    match (&outcome.way, &outcome.instead) {
        (Way::Account { id, url }, _) => say(format!("signed by the account {id} ({url})")),
        (Way::CertificateKey, None) => say("signed by its own key; no account was used".to_owned()),
        (Way::CertificateKey, Some(why)) => say(format!("signed by its own key, because {why}")),
    }
    if outcome.key_marked {
        say("its key is marked as compromised, and in no certificate again".to_owned());
    }
    match (&outcome.certificate, deleted) {
        (_, true) => say("removed from the store and from live/".to_owned()),
        (Some((id, _)), false) if outcome.in_force => say(format!(
            "servers still present it: `dnseal issue {id}` issues another, `dnseal delete {id}` removes it"
        )),
        // A later version is in force, and stays.
        (Some(_) | None, false) => {}
    }
    text
}

fn read_key(path: &std::path::Path) -> Result<SigningKey, CliError> {
    let text = input::read_text(path).map_err(CliError::io("read the key", path))?;
    let foreign = Foreign::from_key(&text.as_str().into()).map_err(|source| CliError::Foreign {
        path: path.to_owned(),
        source,
    })?;
    Ok(foreign.key)
}
