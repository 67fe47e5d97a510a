//! A directory by its path, for systems without directory file descriptors.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use super::Attributes;
use super::FileError;
use super::Kind;
use super::Mode;
use super::component;
use super::is_temporary;
use super::temporary_name;

/// A directory; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Dir {
    path: PathBuf,
}

impl Dir {
    /// Opens a directory by its path; makes it and its parents where they are missing.
    pub(crate) fn open(path: &Path, _mode: Mode) -> Result<Self, FileError> {
        std::fs::create_dir_all(path)
            .map_err(|e| FileError::io("create the directory", path, e))?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Opens a directory by its path where there is one.
    pub(crate) fn open_existing(path: &Path) -> Result<Option<Self>, FileError> {
        Ok(path.is_dir().then(|| Self {
            path: path.to_owned(),
        }))
    }

    /// Access lists are the administrator's here.
    pub(crate) fn may_write(&self) -> Result<(), FileError> {
        Ok(())
    }

    /// The path, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a directory by its path where there is one.
    pub(crate) fn open_trusted(path: &Path, _: Option<u32>) -> Result<Option<Self>, FileError> {
        Self::open_existing(path)
    }

    /// Access lists are the administrator's here.
    pub(crate) fn attributes(&self) -> Result<Attributes, FileError> {
        Ok(Attributes::of_mode(Mode::PRIVATE_DIR))
    }

    /// Access lists are the administrator's here.
    pub(crate) fn set_attributes(&self, _: Attributes) -> Result<(), FileError> {
        Ok(())
    }

    /// Whether there is a file `name`; a link is refused.
    pub(crate) fn file_attributes(&self, name: &str) -> Result<Option<Attributes>, FileError> {
        component(&self.path, name)?;
        self.refuse_link(name)?;
        let is_file = self.path.join(name).is_file();
        Ok(is_file.then_some(Attributes::of_mode(Mode::PRIVATE_FILE)))
    }

    /// Writes the file `name`, replacing one at once.
    pub(crate) fn replace_with(
        &self,
        name: &str,
        content: &[u8],
        attributes: Attributes,
    ) -> Result<(), FileError> {
        self.replace(name, content, attributes.mode)
    }

    /// Writes the new content of the file `name` beside it.
    pub(crate) fn stage(
        &self,
        name: &str,
        content: &[u8],
        _: Attributes,
    ) -> Result<Staged, FileError> {
        component(&self.path, name)?;
        Ok(Staged {
            temporary: self.write_temporary(content)?,
            dir: self.clone(),
            name: name.to_owned(),
        })
    }

    /// Access lists are the administrator's here.
    pub(crate) fn check_private(&self) -> Result<(), FileError> {
        Ok(())
    }

    /// Fails where no file could be written.
    pub(crate) fn try_writing(&self) -> Result<(), FileError> {
        let name = temporary_name();
        let path = self.path.join(&name);
        std::fs::write(&path, b"room").map_err(|e| FileError::io("write", &path, e))?;
        std::fs::remove_file(&path).map_err(|e| FileError::io("remove", &path, e))
    }

    /// The standard library cannot tell.
    #[expect(clippy::unnecessary_wraps, reason = "as where it can be told")]
    pub(crate) fn free(&self) -> Result<Option<u64>, FileError> {
        Ok(None)
    }

    /// The directory `name` in this one, made where it is missing.
    pub(crate) fn subdir(&self, name: &str, mode: Mode) -> Result<Self, FileError> {
        component(&self.path, name)?;
        self.refuse_link(name)?;
        Self::open(&self.path.join(name), mode)
    }

    /// The directory `name` in this one, where there is one.
    pub(crate) fn existing(&self, name: &str) -> Result<Option<Self>, FileError> {
        component(&self.path, name)?;
        self.refuse_link(name)?;
        Self::open_existing(&self.path.join(name))
    }

    /// The content of the file `name`, where there is one.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, FileError> {
        component(&self.path, name)?;
        self.refuse_link(name)?;
        absent_is_none(std::fs::read(self.path.join(name)))
            .map_err(|e| FileError::io("read", self.path.join(name), e))
    }

    /// Writes the file `name` unless there is one; whether it was written.
    pub(crate) fn write_new(
        &self,
        name: &str,
        content: &[u8],
        _mode: Mode,
    ) -> Result<bool, FileError> {
        component(&self.path, name)?;
        let temporary = self.write_temporary(content)?;
        let linked = std::fs::hard_link(self.path.join(&temporary), self.path.join(name));
        self.remove(&temporary)?;
        match linked {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(FileError::io("write", self.path.join(name), e)),
        }
    }

    /// Writes the file `name`, replacing one at once.
    pub(crate) fn replace(&self, name: &str, content: &[u8], _mode: Mode) -> Result<(), FileError> {
        component(&self.path, name)?;
        let temporary = self.write_temporary(content)?;
        std::fs::rename(self.path.join(&temporary), self.path.join(name))
            .map_err(|e| FileError::io("write", self.path.join(name), e))
    }

    /// Gives the file `name` another name, replacing what had that.
    pub(crate) fn rename(&self, name: &str, to: &str) -> Result<(), FileError> {
        component(&self.path, name)?;
        component(&self.path, to)?;
        std::fs::rename(self.path.join(name), self.path.join(to))
            .map_err(|e| FileError::io("rename", self.path.join(name), e))
    }

    /// Removes the file or link `name`; one that is not there is success.
    pub(crate) fn remove(&self, name: &str) -> Result<(), FileError> {
        component(&self.path, name)?;
        absent_is_none(std::fs::remove_file(self.path.join(name)))
            .map(drop)
            .map_err(|e| FileError::io("remove", self.path.join(name), e))
    }

    /// Removes the directory `name` with everything in it, following no link.
    pub(crate) fn remove_tree(&self, name: &str) -> Result<(), FileError> {
        component(&self.path, name)?;
        self.refuse_link(name)?;
        absent_is_none(std::fs::remove_dir_all(self.path.join(name)))
            .map(drop)
            .map_err(|e| FileError::io("remove the directory", self.path.join(name), e))
    }

    /// What is in the directory, without temporary files, in order of name.
    pub(crate) fn list(&self) -> Result<Vec<(String, Kind)>, FileError> {
        let mut entries = self.entries()?;
        entries.retain(|(name, _)| !is_temporary(name));
        Ok(entries)
    }

    /// Removes temporary files of killed runs; only for whoever holds the lock over this directory.
    pub(crate) fn tidy(&self) -> Result<(), FileError> {
        for (name, _) in self
            .entries()?
            .iter()
            .filter(|(name, _)| is_temporary(name))
        {
            self.remove(name)?;
        }
        Ok(())
    }

    /// Whether a process lives cannot be told here: what is old has been left.
    pub(crate) fn sweep(&self) -> Result<(), FileError> {
        for (name, _) in self.entries()? {
            if super::writer_of(&name).is_some() && super::is_old(&self.path.join(&name)) {
                self.remove(&name)?;
            }
        }
        Ok(())
    }

    /// Without symbolic links that everybody may make, a small file names the target.
    pub(crate) fn swap_link(&self, name: &str, target: &str) -> Result<(), FileError> {
        self.replace(name, target.as_bytes(), Mode::PUBLIC_FILE)
    }

    /// Where the link `name` points; `None` where there is none.
    pub(crate) fn read_link(&self, name: &str) -> Result<Option<String>, FileError> {
        Ok(self
            .read(name)?
            .and_then(|target| String::from_utf8(target).ok()))
    }

    /// Opens a file to be locked, made where it is missing; never removed.
    pub(crate) fn lock_file(&self, name: &str) -> Result<File, FileError> {
        component(&self.path, name)?;
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(self.path.join(name))
            .map_err(|e| FileError::io("open the lock", self.path.join(name), e))
    }

    fn entries(&self) -> Result<Vec<(String, Kind)>, FileError> {
        let wrap = |e| FileError::io("list", &self.path, e);
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(wrap)? {
            let entry = entry.map_err(wrap)?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let kind = match entry.file_type().map_err(wrap)? {
                t if t.is_dir() => Kind::Directory,
                t if t.is_file() => Kind::File,
                _ => Kind::Other,
            };
            entries.push((name, kind));
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(entries)
    }

    fn refuse_link(&self, name: &str) -> Result<(), FileError> {
        match std::fs::symlink_metadata(self.path.join(name)) {
            Ok(meta) if meta.is_symlink() => Err(FileError::Link {
                path: self.path.join(name),
            }),
            _ => Ok(()),
        }
    }

    fn write_temporary(&self, content: &[u8]) -> Result<String, FileError> {
        let name = temporary_name();
        let written = File::create_new(self.path.join(&name))
            .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()));
        match written {
            Ok(()) => Ok(name),
            Err(e) => {
                let _ = self.remove(&name);
                Err(FileError::io("write to", &self.path, e))
            }
        }
    }
}

/// The new content of a file, beside the old one.
#[derive(Debug)]
pub(crate) struct Staged {
    dir: Dir,
    name: String,
    temporary: String,
}

impl Staged {
    /// Puts it in place.
    pub(crate) fn put(&mut self) -> Result<(), FileError> {
        std::fs::rename(
            self.dir.path.join(&self.temporary),
            self.dir.path.join(&self.name),
        )
        .map_err(|e| FileError::io("write", self.dir.path.join(&self.name), e))
    }

    /// Nothing to take back to here.
    pub(crate) fn take_back(&mut self) {}

    /// Nothing is left beside it.
    pub(crate) fn finish(self) -> Result<(), FileError> {
        Ok(())
    }
}

/// Access lists are the administrator's here.
pub(crate) fn check_program(path: &Path) -> Result<bool, FileError> {
    Ok(path.is_file())
}

/// Whether both are one file under two names; on systems without inodes, names that differ in case alone.
pub fn is_same_file(path: &Path, other: &Path) -> bool {
    let folded = |path: &Path| path.to_string_lossy().to_lowercase();
    folded(path) == folded(other)
}

fn absent_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}
