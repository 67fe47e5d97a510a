//! Where things are on this machine.

use std::path::Path;
use std::path::PathBuf;

use dnseal_core::store::DirectoryStore;
use dnseal_core::store::SealedStore;
use dnseal_core::store::StoreKeeper;

use crate::args::GlobalArgs;
use crate::config::Config;
use crate::env_vars;
use crate::error::CliError;
use crate::settings::store_key;

/// The two directories that this program keeps.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// What outlives a run.
    pub(crate) store: PathBuf,
    /// The newest files.
    pub(crate) live: PathBuf,
    /// What concerns this machine only.
    pub(crate) local: PathBuf,
    /// Whether somebody has said where live files are, so that they do not travel with an encrypted store.
    pub(crate) is_live_apart: bool,
    /// Who opens the store where it is encrypted.
    pub(crate) keeper: StoreKeeper,
    /// What gives its key, where anything does.
    pub(crate) key_given_by: Option<String>,
}

impl Places {
    /// As flags and configuration have it.
    pub(crate) fn new(args: &GlobalArgs, config: &Config) -> Result<Self, CliError> {
        let given = |flag: &Option<PathBuf>, configured: &Option<PathBuf>| {
            flag.clone()
                .filter(|path| !path.as_os_str().is_empty())
                .or_else(|| configured.clone())
        };
        let store = given(&args.store, &config.store);
        let live = given(&args.live, &config.live);
        let dir = match given(&args.dir, &config.dir) {
            Some(dir) => dir,
            None if store.is_some() && live.is_some() => PathBuf::new(),
            None => default_dir()?,
        };
        let is_live_apart = live.is_some();
        let live = absolute(live.unwrap_or_else(|| dir.join("live")))?;
        Ok(Self {
            is_live_apart,
            keeper: store_key::keeper(config),
            key_given_by: store_key::given_by(config),
            store: absolute(store.unwrap_or_else(|| dir.join("store")))?,
            // Where both were placed apart, there is no directory of ours around them.
            local: match dir.as_os_str().is_empty() {
                true => live.clone(),
                false => absolute(dir)?,
            },
            live,
        })
    }

    /// What was deployed where on this machine. In `live` it has a directory of its own, because runs write there at once.
    pub(crate) fn state(&self) -> PathBuf {
        match self.local == self.live {
            true => self.live.join(".local").join("local.json"),
            false => self.local.join("local.json"),
        }
    }

    /// The store, made where it is missing. Whoever works with it has its key, where it is encrypted.
    pub(crate) fn open(&self) -> Result<SealedStore, CliError> {
        let store = self.make()?;
        store.check_key_now()?;
        Ok(store)
    }

    /// Whether private keys may be written into the store: whoever gives a key for it believes that nobody can read it without.
    pub(crate) fn check_keys(&self) -> Result<(), CliError> {
        let is_sealed = match self.open_existing()? {
            Some(store) => {
                store.check_key_now()?;
                store.has_seal_now()?
            }
            None => false,
        };
        match &self.key_given_by {
            Some(name) if !is_sealed => Err(CliError::usage(
                format!(
                    "{name} has a key for the store, and {} is not encrypted: private keys would stand there as they are",
                    self.store.display()
                ),
                "`dnseal store encrypt` encrypts it, also while it is empty; without a key it is used as it is",
            )),
            _ => Ok(()),
        }
    }

    /// The store, made where it is missing. Its private parts may be out of reach.
    pub(crate) fn make(&self) -> Result<SealedStore, CliError> {
        let store = DirectoryStore::open(&self.store)?;
        store.sweep()?;
        Ok(SealedStore::new(store, self.keeper.clone()))
    }

    /// The store, if there is one. Its private parts may be out of reach.
    pub(crate) fn open_existing(&self) -> Result<Option<SealedStore>, CliError> {
        let store = DirectoryStore::open_existing(&self.store)?;
        Ok(store.map(|store| SealedStore::new(store, self.keeper.clone())))
    }

    /// Whether private keys stand in `live`: of an encrypted store only where somebody has said where `live` is.
    pub(crate) fn has_live_keys(&self) -> Result<bool, CliError> {
        Ok(self.is_live_apart || !self.is_sealed()?)
    }

    fn is_sealed(&self) -> Result<bool, CliError> {
        match self.open_existing()? {
            Some(store) => Ok(store.is_sealed_now()?),
            None => Ok(false),
        }
    }
}

/// Paths are printed for people to put into other programs, which run elsewhere; JSON holds none that is no text.
fn absolute(path: PathBuf) -> Result<PathBuf, CliError> {
    let absolute = std::path::absolute(&path).map_err(CliError::io("resolve", path))?;
    match absolute.to_str() {
        Some(_) => Ok(absolute),
        None => Err(CliError::usage(
            format!("the name of {} is not UTF-8", absolute.display()),
            "name another directory with `--dir DIR`",
        )),
    }
}

/// The system's directory where this user may write to it, else the user's own.
fn default_dir() -> Result<PathBuf, CliError> {
    if may_use_system_dir() {
        return Ok(PathBuf::from(SYSTEM_DIR));
    }
    env_vars::get(env_vars::XDG_STATE_HOME)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| env_vars::get(env_vars::HOME).map(|home| Path::new(&home).join(".local/state")))
        .map(|state| state.join("dnseal"))
        .ok_or_else(|| {
            CliError::usage(
                "there is no place for the store: this user has no home directory",
                "name one with `--dir DIR`",
            )
        })
}

#[cfg(unix)]
fn may_use_system_dir() -> bool {
    rustix::process::geteuid().is_root()
        || rustix::fs::access(SYSTEM_DIR, rustix::fs::Access::WRITE_OK).is_ok()
}

#[cfg(not(unix))]
fn may_use_system_dir() -> bool {
    false
}

const SYSTEM_DIR: &str = "/var/lib/dnseal";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Cli;

    fn places(words: &[&str], config: &Config) -> Places {
        let cli = Cli::try_parse_from(["dnseal", "list"].iter().chain(words)).unwrap();
        Places::new(&cli.global, config).unwrap()
    }

    #[cfg(unix)]
    #[test]
    fn a_name_that_is_no_text_is_refused() {
        use std::os::unix::ffi::OsStrExt;

        let config = Config {
            dir: Some(std::ffi::OsStr::from_bytes(b"/\xff").into()),
            ..Config::default()
        };
        let cli = Cli::try_parse_from(["dnseal", "list"]).unwrap();
        let error = Places::new(&cli.global, &config).unwrap_err();
        assert!(error.to_string().contains("not UTF-8"), "{error}");
    }

    #[test]
    fn flags_beat_the_configuration() {
        let config = Config {
            dir: Some("/c".into()),
            live: Some("/l".into()),
            ..Config::default()
        };
        let found = places(&["--dir", "/f"], &config);
        assert_eq!(found.store, Path::new("/f/store"));
        assert_eq!(found.live, Path::new("/l"));
        let found = places(&["--store", "/s"], &config);
        assert_eq!(found.store, Path::new("/s"));
        let found = places(&[], &config);
        assert_eq!(found.store, Path::new("/c/store"));
    }
}
