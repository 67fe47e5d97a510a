//! Which account is meant, and how its CA is reached.

use std::path::PathBuf;

use dnseal_core::account::Accounts;
use dnseal_core::acme::Ca;
use dnseal_core::acme::KeyType;
use dnseal_core::store::AccountId;

use crate::commands::App;
use crate::config;
use crate::error::CliError;

/// The one that is named, else that of the CA that is named, else the only one, else that of the configured CA.
pub(super) async fn select(
    app: &App,
    id: Option<&str>,
    ca: Option<&str>,
) -> Result<AccountId, CliError> {
    if let Some(id) = id.filter(|id| !id.is_empty()) {
        return Ok(id.parse()?);
    }
    if let Some(ca) = ca.filter(|ca| !ca.is_empty()) {
        let configured = app.config.ca.as_ref().filter(|c| c.name_or_url == ca);
        return of_ca(ca, configured);
    }
    let accounts = match app.places.open_existing()? {
        Some(store) => Accounts::list(&store).await?,
        None => Vec::new(),
    };
    match (accounts.as_slice(), &app.config.ca) {
        ([(id, _)], _) => Ok(id.clone()),
        (_, Some(configured)) => of_ca(&configured.name_or_url, Some(configured)),
        ([], None) => Err(CliError::usage(
            format!("there is no account in {}", app.places.store.display()),
            "`dnseal account register` makes one",
        )),
        (several, None) => {
            let names: Vec<String> = several.iter().map(|(id, _)| id.to_string()).collect();
            Err(CliError::usage(
                "there are several accounts, and none was named",
                format!("name one of {}", names.join(", ")),
            ))
        }
    }
}

/// What vouches for a directory beside the system's roots: what is given, else what is configured for that CA.
pub(crate) fn roots_for(app: &App, given: &[PathBuf], directory: &str) -> Vec<PathBuf> {
    let given: Vec<PathBuf> = given
        .iter()
        .filter(|path| !path.as_os_str().is_empty())
        .cloned()
        .collect();
    if !given.is_empty() {
        return given;
    }
    let of_certificates = app.config.certificates.iter().filter_map(|c| c.ca.as_ref());
    app.config
        .ca
        .iter()
        .chain(of_certificates)
        .find(|ca| {
            Ca::resolve(&ca.name_or_url, KeyType::default())
                .is_ok_and(|resolved| resolved.url.as_str() == directory)
        })
        .map_or_else(Vec::new, |ca| ca.roots.clone())
}

fn of_ca(name_or_url: &str, configured: Option<&config::Ca>) -> Result<AccountId, CliError> {
    if let Some(id) = configured.and_then(|ca| ca.account.clone()) {
        return Ok(id);
    }
    let ca = Ca::resolve(name_or_url, KeyType::default())?;
    Ok(AccountId::for_directory(&ca.url))
}
