//! Directories of scripts, as certbot has them: `pre/`, `deploy/` and `post/`, each script in order of its name.
//!
//! Only executable files count. A directory or a script that others may change is refused and not skipped, because somebody
//! believes that it runs.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use crate::deploy::Hook;
use crate::deploy::HookKind;
use crate::store::Dir;
use crate::store::FileError;
use crate::store::check_program;

/// A directory with `pre/`, `deploy/` and `post/`, each of which may be missing.
#[derive(Clone, Debug)]
pub struct HookDirectory {
    /// Where it is.
    pub path: PathBuf,
    /// How long each script may take.
    pub timeout: Duration,
}

impl HookDirectory {
    /// The scripts of one kind, with their file names.
    ///
    /// # Errors
    ///
    /// When the directory is missing, or something may be changed by others.
    pub fn scripts(&self, kind: HookKind) -> Result<Vec<(String, Hook)>, FileError> {
        let missing = || FileError::io("open", &self.path, std::io::ErrorKind::NotFound.into());
        let root = Dir::open_existing(&self.path)?.ok_or_else(missing)?;
        root.check_private()?;
        let Some(dir) = root.existing(kind.as_str())? else {
            return Ok(Vec::new());
        };
        dir.check_private()?;
        let mut scripts = Vec::new();
        for (name, _) in dir.list()? {
            // What editors leave behind, as certbot has it, and files such as .gitignore.
            if name.ends_with('~') || name.starts_with('.') {
                continue;
            }
            let path = dir.path().join(&name);
            if !is_executable_file(&path) {
                continue;
            }
            check_program(&path)?;
            let argv = vec![path.display().to_string()];
            scripts.push((name, Hook::program(argv, self.timeout)));
        }
        Ok(scripts)
    }
}

#[cfg(unix)]
fn is_executable_file(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;

    path.metadata()
        .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable_file(path: &Path) -> bool {
    path.is_file()
}
