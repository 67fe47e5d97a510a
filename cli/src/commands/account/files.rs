//! `dnseal account export` and `import`: keys to and from files that a person names.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use dnseal_core::account::Accounts;
use dnseal_core::account::AccountsError;
use dnseal_core::account::Foreign;
use dnseal_core::acme::AccountKey;
use dnseal_core::acme::Ca;
use dnseal_core::acme::KeyType;
use dnseal_core::acme::KnownCa;
use dnseal_core::acme::SigningKey;
use dnseal_core::store::AccountId;
use dnseal_core::store::StoredAccount;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use serde_json::json;

use super::document;
use super::finish;
use super::roots_for;
use super::select;
use super::table;
use crate::args::ExportArgs;
use crate::args::ImportArgs;
use crate::args::KeyForm;
use crate::commands::App;
use crate::commands::work::Work;
use crate::commands::work::transport;
use crate::error::CliError;
use crate::input;
use crate::render::Report;

pub(super) async fn export(app: &App, args: &ExportArgs) -> Result<Report, CliError> {
    let id = select::select(app, args.account.as_deref(), args.ca.as_deref()).await?;
    let missing = || CliError::Accounts(AccountsError::NoSuchAccount { id: id.clone() });
    let store = app.places.open_existing()?.ok_or_else(missing)?;
    store.check_key().await?;
    let (stored, _) = StoredAccount::load(&store, &id)
        .await?
        .ok_or_else(missing)?;
    if stored.pending_key.is_some() {
        return Err(CliError::usage(
            format!(
                "it is not known yet which key the CA has for {id}: a rollover was interrupted"
            ),
            format!("`dnseal account rollover {id}` finishes it"),
        ));
    }
    let key = AccountKey::from_pkcs8(&stored.key).map_err(AccountsError::from)?;
    let (form, text) = match args.format {
        KeyForm::Jwk => ("jwk", key.to_private_jwk()),
        KeyForm::Pkcs8 => ("pkcs8", key.to_pem()),
    };
    let mut document = document(&stored);
    document["format"] = json!(form);
    match &args.out {
        Some(path) => {
            write_private(path, &text).map_err(|error| match error.kind() {
                std::io::ErrorKind::AlreadyExists => CliError::usage(
                    format!(
                        "{} is there already, and no file is written over with a key",
                        path.display()
                    ),
                    "name a new file with `--out`, or move that one away",
                ),
                _ => CliError::io("write the key to a new file at", path)(error),
            })?;
            document["file"] = json!(path);
            Ok(Report::new(
                format!("the private key of {id} is in {}\n", path.display()),
                document,
            ))
        }
        None => {
            document["private_key"] = json!(text.expose_secret());
            Ok(Report::new(text.expose_secret(), document))
        }
    }
}

pub(super) async fn import(app: &App, args: &ImportArgs) -> Result<Report, CliError> {
    let Found {
        mut foreign,
        directory,
        files,
    } = read(&args.path)?;
    foreign.eab_kid.clone_from(&args.eab_kid);
    let named = args.reach.ca.as_deref().filter(|ca| !ca.is_empty());
    let claimed = foreign.url.as_deref().and_then(known_ca_of);
    let configured = app.config.ca.as_ref().map(|ca| ca.name_or_url.as_str());
    let Some(ca) = named.or(directory.as_deref()).or(claimed).or(configured) else {
        return Err(CliError::usage(
            format!(
                "{} does not say at which CA the account is",
                args.path.display()
            ),
            "name it with `--ca`",
        ));
    };
    let ca = Ca::resolve(ca, KeyType::default())?;
    let id = match args.account.as_deref().filter(|id| !id.is_empty()) {
        Some(id) => id.parse()?,
        None => AccountId::for_directory(&ca.url),
    };
    let roots = roots_for(app, &args.reach.ca_root, ca.url.as_str());
    app.places.check_keys()?;
    let work = Work::begin(app)?;
    let store = app.places.open()?;
    let thumbprint = foreign.key.thumbprint();
    let known = Accounts::list(&store).await?;
    let known = known.into_iter().find_map(|(known, stored)| {
        let key = SigningKey::parse(&stored.ok()?.key).ok()?;
        (key.thumbprint() == thumbprint).then_some(known)
    });
    let accounts = Accounts::new(
        Arc::new(store),
        transport(&roots, &work.events)?,
        work.events.clone(),
    );
    #[cfg(debug_assertions)]
    let accounts = match crate::pause::asked(work.cancel()) {
        Some(checkpoints) => accounts.with_checkpoints(checkpoints),
        None => accounts,
    };
    let kind = foreign.key.kind();
    let result = accounts.import(&id, &ca.url, &foreign, work.cancel()).await;
    let imported = match (finish(work, result).await, &known) {
        (Err(CliError::Accounts(AccountsError::Exists { id })), Some(known)) if *known != id => {
            return Err(CliError::usage(
                format!(
                    "{id} is another account, and the store has this key already, under the name {known}"
                ),
                format!("nothing has to be taken over: use it with `--account {known}`"),
            ));
        }
        (result, _) => result?,
    };
    let stored = &imported.stored;
    let mut text = match &known {
        Some(known) if *known == id => {
            format!("the store has the key in {files} already, under the name {known}\n")
        }
        _ => format!("taken over from {files}\n"),
    };
    if imported.rollover.is_some() {
        text.push_str(&format!(
            "  its key was {kind}; the CA has a new one for it now, and {files} is of no more use\n"
        ));
    }
    text.push_str(&table(stored)?.render("  "));
    let mut document = document(stored);
    document["was_key"] = json!(kind);
    document["rolled_over"] = json!(imported.rollover.is_some());
    Ok(Report::new(text, document))
}

struct Found {
    foreign: Foreign,
    /// Where the files say that the account is.
    directory: Option<String>,
    /// What was read, for the message.
    files: String,
}

fn read(path: &Path) -> Result<Found, CliError> {
    let foreign = |source| CliError::Foreign {
        path: path.to_owned(),
        source,
    };
    let (dir, account) = match path.is_dir() {
        true => (path.to_owned(), path.join("account.json")),
        false => (
            path.parent().unwrap_or(Path::new("")).to_owned(),
            path.to_owned(),
        ),
    };
    if path.is_dir() && dir.join("private_key.json").exists() {
        let key = read_text(&dir.join("private_key.json"))?;
        let regr = read_text(&dir.join("regr.json"))?;
        return Ok(Found {
            foreign: Foreign::from_certbot(&key, regr.expose_secret()).map_err(foreign)?,
            directory: certbot_directory(&dir),
            files: format!("certbot's {}", dir.display()),
        });
    }
    let is_account_file = account
        .file_name()
        .is_some_and(|name| name == "account.json");
    if is_account_file && account.exists() {
        let key = lego_key(&dir)?;
        let text = read_text(&account)?;
        return Ok(Found {
            foreign: Foreign::from_lego(text.expose_secret(), &read_text(&key)?)
                .map_err(foreign)?,
            directory: None,
            files: format!("lego's {}", dir.display()),
        });
    }
    if path.is_dir() {
        return Err(CliError::usage(
            format!(
                "{} holds neither certbot's private_key.json nor lego's account.json",
                path.display()
            ),
            "name the directory of one account, or a key file",
        ));
    }
    let in_certbot = path
        .file_name()
        .is_some_and(|name| name == "private_key.json");
    Ok(Found {
        foreign: Foreign::from_key(&read_text(path)?).map_err(foreign)?,
        directory: in_certbot.then(|| certbot_directory(&dir)).flatten(),
        files: path.display().to_string(),
    })
}

/// `…/accounts/HOST/PATH/HASH` is an account at `https://HOST/PATH`.
fn certbot_directory(dir: &Path) -> Option<String> {
    let dir = std::path::absolute(dir).ok()?;
    let words: Vec<&str> = dir.iter().filter_map(|word| word.to_str()).collect();
    let at = words.iter().rposition(|word| *word == "accounts")?;
    let url = words.get(at + 1..words.len() - 1)?;
    (!url.is_empty()).then(|| format!("https://{}", url.join("/")))
}

/// One `.key` beside the account file, or in `keys/` below it, as lego had it before.
fn lego_key(dir: &Path) -> Result<PathBuf, CliError> {
    let mut keys = Vec::new();
    for place in [dir.to_owned(), dir.join("keys")] {
        let entries = match std::fs::read_dir(&place) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(CliError::io("read the directory", place)(error)),
        };
        keys.extend(
            entries
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| path.extension().is_some_and(|extension| extension == "key")),
        );
    }
    match keys.as_slice() {
        [key] => Ok(key.clone()),
        [] => Err(CliError::usage(
            format!(
                "there is no key file beside lego's account in {}",
                dir.display()
            ),
            "name the key file itself, with `--ca`",
        )),
        _ => Err(CliError::usage(
            format!("there are {} key files in {}", keys.len(), dir.display()),
            "name the right one itself, with `--ca`",
        )),
    }
}

/// The CA that we know whose server an account URL is at.
fn known_ca_of(url: &str) -> Option<&'static str> {
    let url = url::Url::parse(url).ok()?;
    KnownCa::ALL
        .into_iter()
        .filter_map(|ca| ca.directory(KeyType::default()))
        .find(|directory| url::Url::parse(directory).is_ok_and(|d| d.host_str() == url.host_str()))
}

fn read_text(path: &Path) -> Result<SecretString, CliError> {
    let text = input::read_text(path).map_err(CliError::io("read", path))?;
    Ok(text.as_str().into())
}

/// Never over a file that is there, and for this user alone from its first octet on.
fn write_private(path: &Path, text: &SecretString) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    let text = text.expose_secret();
    file.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        file.write_all(b"\n")?;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certbots_directories_name_their_ca() {
        let of = |path: &str| certbot_directory(Path::new(path));
        assert_eq!(
            of("/etc/letsencrypt/accounts/acme-v02.api.letsencrypt.org/directory/0123").as_deref(),
            Some("https://acme-v02.api.letsencrypt.org/directory")
        );
        assert_eq!(
            of("/x/accounts/localhost:14000/dir/0123").as_deref(),
            Some("https://localhost:14000/dir")
        );
        assert_eq!(of("/x/accounts/0123"), None);
        assert_eq!(of("/x/y"), None);
        assert_eq!(
            known_ca_of("https://acme-v02.api.letsencrypt.org/acme/acct/1"),
            KnownCa::LetsEncrypt.directory(KeyType::default())
        );
        assert_eq!(known_ca_of("https://ca.test/acct/1"), None);
    }
}
