//! What is wanted in the end: flags beat environment variables, those beat the configuration, and that beats defaults.
//!
//! Raw words become checked values here and nowhere else; what comes out needs no second look.

mod ca;
mod claims;
mod delegation;
mod deploy;
mod orders;
mod places;
mod probe;
mod provider;
mod recipe;
mod spec;
pub(crate) mod store_key;

use std::path::PathBuf;

pub(crate) use ca::Secrets;
pub(crate) use ca::account_key;
pub(crate) use ca::ca;
pub(crate) use ca::caa;
pub(crate) use ca::contacts;
pub(crate) use ca::mailto;
pub(crate) use ca::other_cas;
pub(crate) use claims::Claims;
pub(crate) use delegation::delegation;
pub(crate) use deploy::Destinations;
pub(crate) use deploy::Passwords;
pub(crate) use deploy::variables;
pub(crate) use orders::Order;
pub(crate) use orders::order_of;
pub(crate) use orders::orders;
pub(crate) use places::Places;
pub(crate) use probe::Probing;
pub(crate) use probe::probing;
pub(crate) use provider::Providers;
pub(crate) use provider::Tested;
pub(crate) use provider::acme_sh_error;
pub(crate) use provider::acme_sh_home;
pub(crate) use provider::kind_for;
pub(crate) use provider::one_provider;
pub(crate) use provider::providers;
pub(crate) use recipe::Recipes;

use crate::args::GlobalArgs;
use crate::config::Config;
use crate::config::ConfigError;

/// Reads the configuration that is named, else the one that is found, else none.
pub(crate) fn config(args: &GlobalArgs) -> Result<Config, ConfigError> {
    let named: Option<PathBuf> = args
        .config
        .clone()
        .filter(|path| !path.as_os_str().is_empty());
    match named.or_else(crate::config::find) {
        Some(path) => Config::load(&path),
        None => Ok(Config::default()),
    }
}
