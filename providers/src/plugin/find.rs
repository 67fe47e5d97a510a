//! Where plugins are that have a name: `dnseal-provider-NAME` in one of a few directories, and never on the PATH.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

use crate::plugin::PluginError;
use crate::plugin::describe;
use crate::program::trust;
use crate::registry::Kind;

/// The directories in which plugins are looked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Plugins {
    dirs: Vec<PathBuf>,
}

impl Plugins {
    /// These directories, the first that has a plugin wins.
    pub fn in_dirs(dirs: impl IntoIterator<Item = PathBuf>) -> Self {
        Self {
            dirs: dirs.into_iter().collect(),
        }
    }

    /// The directories.
    pub fn dirs(&self) -> &[PathBuf] {
        &self.dirs
    }

    /// The program of the plugin `name`, if it is there.
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        if !is_name(name) {
            return None;
        }
        let file = format!("{PREFIX}{name}");
        let mut paths = self.dirs.iter().map(|dir| dir.join(&file));
        paths.find(|path| path.symlink_metadata().is_ok())
    }

    /// Asks the plugin `name` what it is; `None` where there is none. See [`describe()`].
    pub fn kind(&self, name: &str) -> Option<Result<&'static Kind, PluginError>> {
        let path = self.find(name)?;
        Some(Self::kind_at(name, &path))
    }

    /// Asks the program at `path` what it is.
    pub fn kind_at(name: &str, path: &Path) -> Result<&'static Kind, PluginError> {
        if crate::kind(name).is_ok() {
            return Err(PluginError::several(name, path.to_owned()));
        }
        trust::check_program(path).map_err(|error| PluginError::untrusted(name, error))?;
        describe(name, vec![path.display().to_string()])
    }

    /// Where a plugin that is not there was looked for, and what its program would be called.
    pub(crate) fn searched(&self, name: &str) -> String {
        let dirs: Vec<String> = self.dirs.iter().map(|d| d.display().to_string()).collect();
        match (dirs.as_slice(), is_name(name)) {
            ([], _) => "no directory is searched for plugins".to_owned(),
            (dirs, true) => format!("a plugin would be `{PREFIX}{name}` in {}", dirs.join(", ")),
            (dirs, false) => format!(
                "a plugin would be `{PREFIX}NAME`, where NAME is made of `a-z`, `0-9` and `-`, in {}",
                dirs.join(", ")
            ),
        }
    }

    /// Every plugin by its name, with its program.
    pub fn list(&self) -> Vec<(String, PathBuf)> {
        let mut found = BTreeMap::new();
        for dir in self.dirs.iter().rev() {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                let file = entry.file_name();
                let name = file.to_str().and_then(|file| file.strip_prefix(PREFIX));
                if let Some(name) = name.filter(|name| is_name(name)) {
                    found.insert(name.to_owned(), entry.path());
                }
            }
        }
        found.into_iter().collect()
    }
}

impl Default for Plugins {
    fn default() -> Self {
        Self::in_dirs(DIRS.map(PathBuf::from))
    }
}

/// Letters, digits and hyphens: nothing that a path could be made of.
fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

const PREFIX: &str = "dnseal-provider-";

/// The administrator's own before the distribution's.
const DIRS: [&str; 3] = [
    "/usr/local/lib/dnseal/providers",
    "/usr/lib/dnseal/providers",
    "/etc/dnseal/providers",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_no_paths() {
        for good in ["a", "powerdns-http", "9"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "..", "a/b", "A", "a_b", "a.b", "a\0"] {
            assert!(!is_name(bad), "{bad}");
        }
        assert_eq!(Plugins::default().find("../../bin/sh"), None);
    }
}
