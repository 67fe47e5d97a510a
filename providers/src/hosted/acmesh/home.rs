//! Where acme.sh is, and its scripts: the user's own, as they are.

use std::path::Path;
use std::path::PathBuf;

use crate::hosted::acmesh::HOME;
use crate::hosted::acmesh::SCRIPT;
use crate::hosted::acmesh::header::is_variable;
use crate::settings::SettingsError;
use crate::settings::nearest;

/// A directory with acme.sh in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Home {
    /// acme.sh itself, which is the scripts' library.
    pub(super) library: PathBuf,
    /// Where scripts are looked for; the first wins.
    scripts: Vec<PathBuf>,
}

impl Home {
    /// The one at `path`, which may be its `dnsapi`; else the first of a few places where it is usually installed.
    pub(super) fn find(path: Option<&str>) -> Result<Self, SettingsError> {
        match path.filter(|path| !path.is_empty()) {
            Some(path) => {
                let path = Path::new(path);
                if !path.is_absolute() {
                    return Err(SettingsError::malformed(
                        HOME,
                        format!("`{}` is no absolute path", path.display()),
                    ));
                }
                Self::at(path).ok_or_else(|| {
                    SettingsError::malformed(HOME, format!("there is no acme.sh in {}", path.display()))
                        .with_hint("name the directory that has the file `acme.sh` and the directory `dnsapi`")
                })
            }
            None => USUAL.iter().find_map(|path| Self::at(Path::new(path))).ok_or_else(|| {
                SettingsError::malformed(
                    HOME,
                    format!("is not given, and acme.sh is in none of {}", USUAL.join(", ")),
                )
                .with_hint("set it to the directory that has the file `acme.sh` and the directory `dnsapi`; acme.sh itself installs into ~/.acme.sh")
            }),
        }
    }

    fn at(path: &Path) -> Option<Self> {
        let above = path.parent().filter(|_| path.ends_with(DNSAPI));
        let home = [Some(path), above]
            .into_iter()
            .flatten()
            .find(|dir| dir.join(LIBRARY).is_file())?;
        Some(Self {
            library: home.join(LIBRARY),
            scripts: vec![home.join(DNSAPI), home.to_owned()],
        })
    }

    /// The names of all scripts, in order.
    pub(super) fn list(&self) -> Vec<String> {
        let entries = self
            .scripts
            .iter()
            .flat_map(std::fs::read_dir)
            .flatten()
            .flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| {
                let file = entry.file_name();
                let name = file.to_str()?.strip_suffix(SUFFIX)?;
                (name.starts_with(PREFIX) && is_variable(name)).then(|| name.to_owned())
            })
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// The script called `name`, with and without `dns_` in front of it: its proper name and its path.
    pub(super) fn script(&self, name: &str) -> Result<(String, PathBuf), SettingsError> {
        let name = name.strip_suffix(SUFFIX).unwrap_or(name);
        let name = match name.starts_with(PREFIX) {
            true => name.to_owned(),
            false => format!("{PREFIX}{name}"),
        };
        // Nothing that a path could be made of.
        let file = is_variable(&name).then(|| format!("{name}{SUFFIX}"));
        let found = file.and_then(|file| {
            let mut paths = self.scripts.iter().map(|dir| dir.join(&file));
            paths.find(|path| path.is_file())
        });
        if let Some(path) = found {
            return Ok((name, path));
        }
        let all = self.list();
        let error = SettingsError::malformed(
            SCRIPT,
            format!(
                "there is no script `{name}` in {}",
                self.library.with_file_name(DNSAPI).display()
            ),
        );
        Err(match nearest(&name, all.iter().map(String::as_str)) {
            Some(nearest) => error.with_hint(format!("did you mean `{nearest}`?")),
            None => error.with_hint("`dnseal provider list --acme.sh` shows all of them"),
        })
    }
}

const DNSAPI: &str = "dnsapi";
const LIBRARY: &str = "acme.sh";
const PREFIX: &str = "dns_";
const SUFFIX: &str = ".sh";

/// Where packages and root's own installation put it.
pub(super) const USUAL: [&str; 4] = [
    "/usr/share/acme.sh",
    "/usr/local/share/acme.sh",
    "/opt/acme.sh",
    "/root/.acme.sh",
];
