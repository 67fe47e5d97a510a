//! The key or passphrase of an encrypted store.

use dnseal_core::store::StoreKeeper;
use dnseal_core::store::StoreKey;

use crate::config::Config;
use crate::config::Secret;
use crate::env_vars;
use crate::error::CliError;

/// Who opens the store: variables before the configuration. Nothing is read before it is needed.
pub(super) fn keeper(config: &Config) -> StoreKeeper {
    let configured = config.store_key.clone();
    StoreKeeper::new(move || match source(configured.as_ref()) {
        Some((name, secret)) => read(&name, &secret).map(Some),
        None => Ok(None),
    })
}

/// What gives it, if anything does.
pub(super) fn given_by(config: &Config) -> Option<String> {
    source(config.store_key.as_ref()).map(|(name, _)| name)
}

/// The key that a store is to be encrypted with.
pub(crate) fn key(config: &Config) -> Result<StoreKey, CliError> {
    let source = source(config.store_key.as_ref());
    let (name, secret) = source.ok_or_else(|| {
        CliError::usage(
            "there is no key to encrypt the store with",
            "give an age identity or a passphrase with DNSEAL_STORE_KEY, DNSEAL_STORE_KEY_FILE, or `store-key:` in the \
             configuration; `age-keygen` makes one, and so does `openssl rand -base64 32`",
        )
    })?;
    read(&name, &secret).map_err(unusable)
}

/// The key that it is to be encrypted with from now on.
pub(crate) fn new_key(file: Option<&std::path::Path>) -> Result<StoreKey, CliError> {
    let given = match file.filter(|path| !path.as_os_str().is_empty()) {
        Some(path) => Some(("--new-key-file".to_owned(), Secret::File(path.to_owned()))),
        None => of_environment(env_vars::STORE_NEW_KEY, env_vars::STORE_NEW_KEY_FILE),
    };
    let (name, secret) = given.ok_or_else(|| {
        CliError::usage(
            "there is no new key to encrypt the store with",
            "give it with `--new-key-file FILE`, DNSEAL_STORE_NEW_KEY or DNSEAL_STORE_NEW_KEY_FILE; the one it has stays in DNSEAL_STORE_KEY",
        )
    })?;
    read(&name, &secret).map_err(unusable)
}

fn source(configured: Option<&Secret>) -> Option<(String, Secret)> {
    of_environment(env_vars::STORE_KEY, env_vars::STORE_KEY_FILE)
        .or_else(|| configured.map(|secret| ("store-key".to_owned(), secret.clone())))
}

fn of_environment(literal: &str, file: &str) -> Option<(String, Secret)> {
    env_vars::get(literal)
        .map(|text| (literal.to_owned(), Secret::Literal(text.into())))
        .or_else(|| env_vars::get(file).map(|path| (file.to_owned(), Secret::File(path.into()))))
}

fn read(name: &str, secret: &Secret) -> Result<StoreKey, String> {
    let text = secret
        .resolve()
        .map_err(|error| format!("cannot read {name}: {error}"))?;
    StoreKey::parse(&text).map_err(|error| format!("{name} holds no key of a store: {error}"))
}

fn unusable(problem: String) -> CliError {
    CliError::usage(
        problem,
        "an age identity (`age-keygen`) or a passphrase (`openssl rand -base64 32`) is wanted",
    )
}
