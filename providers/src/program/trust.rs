//! Whether a program may be run: only its owner, who is root or this user, can have changed it.
//!
//! Looked at are the file and every directory above it, because who may rename in a directory may put another file there. The
//! owner of a directory with the sticky bit (`/tmp`) keeps others from renaming what is not theirs.

use std::path::Path;
use std::path::PathBuf;

/// Why a program is not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    #[error("{} is no file", path.display())]
    NoFile { path: PathBuf },
    #[error("{} is not executable", path.display())]
    NotExecutable { path: PathBuf },
    #[error("`{}` is no absolute path, and programs are not looked for", path.display())]
    Relative { path: PathBuf },
    #[error("failed to look at {}: {source}", path.display())]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{} may be changed by others: {problem}", path.display())]
    Writable { path: PathBuf, problem: String },
}

impl TrustError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::NotExecutable { path } => Some(format!("`chmod +x {}`", path.display())),
            Self::Relative { .. } => {
                Some("write the whole path of the program, beginning with `/`".to_owned())
            }
            Self::Writable { path, .. } => Some(format!(
                "`chmod go-w {}`, and let root or the user that runs dnseal own it",
                path.display()
            )),
            Self::NoFile { .. } | Self::Unreadable { .. } => None,
        }
    }
}

/// Refuses a command whose program, or any file among its arguments, others may change.
pub(crate) fn check_command(command: &[String]) -> Result<(), TrustError> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(TrustError::NoFile {
            path: PathBuf::new(),
        });
    };
    check_program(Path::new(program))?;
    // `[/usr/bin/python3, /opt/plugin.py]`: the second is the program as much as the first.
    for argument in arguments.iter().map(Path::new) {
        if argument.is_absolute() && argument.is_file() {
            check_file(argument)?;
        }
    }
    Ok(())
}

/// Refuses a program that others may change, or that is none.
pub(crate) fn check_program(path: &Path) -> Result<(), TrustError> {
    if !path.is_absolute() {
        return Err(TrustError::Relative {
            path: path.to_owned(),
        });
    }
    let metadata = std::fs::metadata(path).map_err(|source| TrustError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    if !metadata.is_file() {
        return Err(TrustError::NoFile {
            path: path.to_owned(),
        });
    }
    if !unix::is_executable(&metadata) {
        return Err(TrustError::NotExecutable {
            path: path.to_owned(),
        });
    }
    check_file(path)
}

/// Refuses a file that others may change, wherever links lead.
pub(crate) fn check_file(path: &Path) -> Result<(), TrustError> {
    check_file_of(path, None)
}

/// The same for a file that is run as another user, who may change it then.
pub(crate) fn check_file_of(path: &Path, user: Option<u32>) -> Result<(), TrustError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| TrustError::Unreadable { path, source }
    };
    let real = std::fs::canonicalize(path).map_err(unreadable(path))?;
    // The way to a link matters as much as the way to what it leads to.
    let link_dir = path.parent().and_then(|dir| dir.canonicalize().ok());
    for place in real
        .ancestors()
        .chain(link_dir.iter().flat_map(|dir| dir.ancestors()))
    {
        let metadata = std::fs::metadata(place).map_err(unreadable(place))?;
        if let Some(problem) = unix::writable_by_others(&metadata, user) {
            return Err(TrustError::Writable {
                path: place.to_owned(),
                problem,
            });
        }
    }
    Ok(())
}

#[cfg(unix)]
mod unix {
    use std::fs::Metadata;
    use std::os::unix::fs::MetadataExt;

    pub(super) fn is_executable(metadata: &Metadata) -> bool {
        metadata.mode() & 0o111 != 0
    }

    pub(super) fn writable_by_others(metadata: &Metadata, user: Option<u32>) -> Option<String> {
        let me = rustix::process::geteuid().as_raw();
        let mode = metadata.mode() & 0o7777;
        let sticky = metadata.is_dir() && mode & 0o1000 != 0;
        match metadata.uid() {
            owner if owner != 0 && owner != me && Some(owner) != user => {
                Some(format!("user {owner} owns it"))
            }
            _ if mode & 0o022 != 0 && !sticky => Some(format!("its mode is {mode:04o}")),
            _ => None,
        }
    }
}

#[cfg(not(unix))]
mod unix {
    use std::fs::Metadata;

    pub(super) fn is_executable(_: &Metadata) -> bool {
        true
    }

    pub(super) fn writable_by_others(_: &Metadata, _: Option<u32>) -> Option<String> {
        None
    }
}
