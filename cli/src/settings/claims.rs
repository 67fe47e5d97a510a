//! Whose file is whose: what one certificate writes no other replaces, and what this program keeps for itself none of them does.
//!
//! The configuration is checked as it is read for the certificates that stand in it. A `deploy:` for all holds for others as
//! well, which are known to the store alone, and flags may place the store anywhere: so it is looked at again before anything is written.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::path::Path;
use std::path::PathBuf;

use dnseal_core::deploy::Target;
use dnseal_core::store::CertId;
use dnseal_core::store::is_same_file;

use crate::config::Config;
use crate::error::CliError;
use crate::settings::Destinations;
use crate::settings::Passwords;
use crate::settings::Places;

/// The files that certificates write.
#[derive(Debug)]
pub(crate) struct Claims<'a> {
    config: &'a Config,
    /// By their paths without regard to case.
    by: HashMap<String, Vec<(PathBuf, CertId)>>,
    /// Where nothing is written but by us.
    ours: Vec<PathBuf>,
}

impl<'a> Claims<'a> {
    /// Of the certificates `all`; the configuration has been looked at, so that nothing is to be done where each of them has its own.
    pub(crate) fn new(
        config: &'a Config,
        places: &Places,
        destinations: &Destinations<'_>,
        all: &BTreeSet<CertId>,
    ) -> Self {
        let mut by: HashMap<String, Vec<(PathBuf, CertId)>> = HashMap::new();
        for id in all {
            // What cannot be told is the end of that certificate.
            let targets = destinations.targets(id, Passwords::LeftAlone);
            for path in targets.iter().flatten().flat_map(paths) {
                let claims = by.entry(folded(path)).or_default();
                claims.push((path.to_owned(), id.clone()));
            }
        }
        by.retain(|_, claims| claims.len() > 1);
        let files = ["local.json", "notified.json", "notified.lock", ".locks"];
        let ours = [places.store.clone(), places.live.clone()];
        let mut ours: Vec<PathBuf> = ours
            .into_iter()
            .chain(files.map(|file| places.local.join(file)))
            .collect();
        let real: Vec<PathBuf> = ours
            .iter()
            .filter_map(|path| path.canonicalize().ok())
            .collect();
        ours.extend(real);
        Self { config, by, ours }
    }

    /// Why a certificate may not have these targets.
    pub(crate) fn refusal(&self, id: &CertId, targets: &[Target]) -> Option<CliError> {
        targets
            .iter()
            .flat_map(paths)
            .find_map(|path| self.refused(id, path))
    }

    fn refused(&self, id: &CertId, path: &Path) -> Option<CliError> {
        let shown = path.display();
        if let Some(ours) = self.ours.iter().find(|ours| path.starts_with(ours)) {
            return Some(CliError::usage(
                format!(
                    "{shown} is not written, because {} is dnseal's own",
                    ours.display()
                ),
                "name a place outside of it",
            ));
        }
        let claims = self.by.get(&folded(path))?;
        // Who stands in the configuration was there first.
        let configured = |id: &CertId| self.config.certificate(id).is_some();
        let (_, other) = claims.iter().find(|(other_path, other)| {
            other != id && (configured(other) || !configured(id)) && is_same_file(path, other_path)
        })?;
        Some(CliError::usage(
            format!("both {other} and {id} are to be written to {shown}"),
            "`{name}` in a path is the name of the certificate",
        ))
    }
}

fn paths(target: &Target) -> impl Iterator<Item = &Path> {
    target.files.iter().map(|file| file.path.as_path())
}

fn folded(path: &Path) -> String {
    path.to_string_lossy().to_lowercase()
}
