//! A private directory for one run of a program: what it is told stands there, and what it leaves is read from there.
//!
//! It lies where temporary files lie, because it may belong to another user, who cannot go through a store. Whoever has it holds a
//! lock in it; what a killed process left is removed by the next one that makes such a directory.

use std::fs::File;
use std::path::Path;
use std::path::PathBuf;

use crate::store::Dir;
use crate::store::FileError;
use crate::store::Kind;
use crate::store::Mode;
use crate::store::dir::Attributes;
use crate::store::dir::temporary_name;

/// The directory; removed with everything in it when this is dropped.
#[derive(Debug)]
pub struct Scratch {
    attributes: Attributes,
    dir: Dir,
    _lock: File,
    name: String,
    parent: Dir,
    path: PathBuf,
}

/// The numbers of a user and of a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UserIds {
    /// The user.
    pub user: u32,
    /// The group.
    pub group: u32,
}

impl Scratch {
    /// Makes one, for this user or for another.
    pub fn new(user: Option<UserIds>) -> Result<Self, FileError> {
        Self::below(&std::env::temp_dir(), user)
    }

    fn below(place: &Path, user: Option<UserIds>) -> Result<Self, FileError> {
        let parent = Dir::open(place, Mode::PRIVATE_DIR)?;
        sweep(&parent)?;
        let attributes = |mode| Attributes {
            mode,
            owner: user.map(|ids| ids.user),
            group: user.map(|ids| ids.group),
        };
        let name = format!(
            "{PREFIX}{}-{:016x}",
            std::process::id(),
            rand::random::<u64>()
        );
        // Whoever sweeps at the same time must not find it before it is locked.
        let unnamed = temporary_name();
        let dir = parent.subdir(&unnamed, Mode::PRIVATE_DIR)?;
        let lock = dir.lock_file(LOCK)?;
        lock.try_lock().map_err(|error| {
            FileError::io("lock", place.join(&unnamed).join(LOCK), error.into())
        })?;
        parent.rename(&unnamed, &name)?;
        dir.set_attributes(attributes(Mode::PRIVATE_DIR))?;
        Ok(Self {
            attributes: attributes(Mode::PRIVATE_FILE),
            dir,
            _lock: lock,
            path: place.join(&name),
            name,
            parent,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file that its user alone can read.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<(), FileError> {
        self.dir.replace_with(name, content, self.attributes)
    }

    /// What stands in a file, where there is one; a link is not followed.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, FileError> {
        match self.dir.file_attributes(name)? {
            Some(_) => self.dir.read(name),
            None => Ok(None),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = self.parent.remove_tree(&self.name) {
            tracing::warn!(%error, "a temporary directory stays behind");
        }
    }
}

/// Removes what killed processes left.
fn sweep(parent: &Dir) -> Result<(), FileError> {
    for (name, kind) in parent.list()? {
        if !name.starts_with(PREFIX) || kind != Kind::Directory {
            continue;
        }
        // One of another user is none of ours.
        let Ok(Some(dir)) = parent.existing(&name) else {
            continue;
        };
        let is_left = dir
            .lock_file(LOCK)
            .is_ok_and(|lock| lock.try_lock().is_ok());
        if is_left {
            let _ = parent.remove_tree(&name);
        }
    }
    Ok(())
}

const LOCK: &str = ".lock";
const PREFIX: &str = "dnseal-script-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_away_and_takes_what_was_left_with_it() {
        let place = tempfile::tempdir().unwrap();
        let left = place.path().join("dnseal-script-1-left");
        std::fs::create_dir_all(left.join("deeper")).unwrap();
        std::fs::write(left.join("deeper/secret"), "canary").unwrap();
        let other = place.path().join("somebody-elses");
        std::fs::create_dir(&other).unwrap();

        let first = Scratch::below(place.path(), None).unwrap();
        let second = Scratch::below(place.path(), None).unwrap();
        assert!(!left.exists() && other.exists());
        first.write("conf", b"1").unwrap();
        assert_eq!(first.read("conf").unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(second.read("conf").unwrap(), None);
        let path = first.path().to_owned();
        drop(first);
        assert!(!path.exists() && second.path().exists());
    }

    #[cfg(unix)]
    #[test]
    fn only_its_user_reads_it_and_links_are_not_followed() {
        use std::os::unix::fs::PermissionsExt;

        let place = tempfile::tempdir().unwrap();
        let scratch = Scratch::below(place.path(), None).unwrap();
        scratch.write("conf", b"1").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(scratch.path()), 0o700);
        assert_eq!(mode(&scratch.path().join("conf")), 0o600);
        std::os::unix::fs::symlink("/etc/passwd", scratch.path().join("link")).unwrap();
        assert!(matches!(
            scratch.read("link").unwrap_err(),
            FileError::Link { .. }
        ));
    }
}
