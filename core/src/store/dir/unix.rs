//! A directory by its file descriptor.

mod staged;

use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::Gid;
use rustix::fs::Mode as RawMode;
use rustix::fs::OFlags;
use rustix::fs::Uid;
use rustix::io::Errno;

use super::Attributes;
use super::FileError;
use super::Kind;
use super::Mode;
use super::TEMPORARY;
use super::component;
use super::is_old;
use super::is_temporary;
use super::temporary_name;
use super::writer_of;
pub(crate) use staged::Staged;

/// An open directory; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Dir {
    fd: Arc<OwnedFd>,
    /// For messages only.
    path: PathBuf,
}

impl Dir {
    /// Opens a directory by its path, which may lead over links; makes it and its parents where they are missing.
    pub(crate) fn open(path: &Path, mode: Mode) -> Result<Self, FileError> {
        match Self::open_existing(path)? {
            Some(dir) => Ok(dir),
            None => {
                use std::os::unix::fs::DirBuilderExt;
                std::fs::DirBuilder::new()
                    .recursive(true)
                    .mode(mode.0)
                    .create(path)
                    .map_err(|e| FileError::io("create the directory", path, e))?;
                Self::open_existing(path)?
                    .ok_or_else(|| FileError::io("open", path, io::ErrorKind::NotFound.into()))
            }
        }
    }

    /// Opens a directory by its path where there is one.
    pub(crate) fn open_existing(path: &Path) -> Result<Option<Self>, FileError> {
        match rustix::fs::open(
            path,
            OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
            RawMode::empty(),
        ) {
            Ok(fd) => Ok(Some(Self {
                fd: Arc::new(fd),
                path: path.to_owned(),
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(FileError::io("open the directory", path, e.into())),
        }
    }

    /// The path, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a directory by its absolute path, following no link anywhere in it; `None` where it is missing. Refused where somebody
    /// other than root, this user and `trusted` may change the way to it or what is in it.
    pub(crate) fn open_trusted(
        path: &Path,
        trusted: Option<u32>,
    ) -> Result<Option<Self>, FileError> {
        let mut names = path.components().filter_map(|component| match component {
            std::path::Component::RootDir => None,
            other => Some(other.as_os_str()),
        });
        let mut at = PathBuf::from("/");
        let mut next = names.next();
        let mut dir = Self::step(None, Path::new("/"), &at, next.is_none())?;
        while let (Some(name), Some(parent)) = (next, &dir) {
            next = names.next();
            at.push(name);
            let step = Self::step(Some(parent), Path::new(name), &at, next.is_none())?;
            if let Some(step) = &step {
                step.check_owner(trusted, next.is_some())?;
            }
            dir = step;
        }
        Ok(dir)
    }

    /// One step of [`Self::open_trusted`]: what is only walked through need not be readable.
    fn step(
        parent: Option<&Self>,
        name: &Path,
        at: &Path,
        last: bool,
    ) -> Result<Option<Self>, FileError> {
        let how = match last {
            true => OFlags::RDONLY,
            false => PASSAGE,
        };
        let flags = how | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = match parent {
            Some(parent) => rustix::fs::openat(&*parent.fd, name, flags, RawMode::empty()),
            None => rustix::fs::open(name, flags, RawMode::empty()),
        };
        let link = || match parent {
            Some(parent) => rustix::fs::readlinkat(&*parent.fd, name, Vec::new()).is_ok(),
            None => false,
        };
        match opened {
            Ok(fd) => Ok(Some(Self {
                fd: Arc::new(fd),
                path: at.to_owned(),
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::LOOP | Errno::NOTDIR) if link() => Err(FileError::Link {
                path: at.to_owned(),
            }),
            Err(e) => Err(FileError::io("open the directory", at, e.into())),
        }
    }

    /// Refuses a directory that somebody other than root and this user may change.
    pub(crate) fn check_private(&self) -> Result<(), FileError> {
        self.check_owner(None, false)
    }

    /// The same, with one more user who may. On the way to something a sticky directory (`/tmp`) will do: there nobody can replace what another owns.
    fn check_owner(&self, trusted: Option<u32>, passage: bool) -> Result<(), FileError> {
        let stat = rustix::fs::fstat(&*self.fd)
            .map_err(|e| FileError::io("look at", &self.path, e.into()))?;
        let sticky = passage && stat.st_mode & 0o1000 != 0;
        check_stat(&self.path, stat.st_uid, stat.st_mode, sticky, trusted)
    }

    /// Owner, group and mode of the directory itself.
    pub(crate) fn attributes(&self) -> Result<Attributes, FileError> {
        let stat = rustix::fs::fstat(&*self.fd)
            .map_err(|e| FileError::io("look at", &self.path, e.into()))?;
        Ok(Attributes {
            mode: Mode(stat.st_mode & 0o777),
            owner: Some(stat.st_uid),
            group: Some(stat.st_gid),
        })
    }

    /// Gives the directory itself these.
    pub(crate) fn set_attributes(&self, attributes: Attributes) -> Result<(), FileError> {
        let wrap = |e: Errno| FileError::io("change owner or mode of", &self.path, e.into());
        let now = self.attributes()?;
        let differs = |wanted: Option<u32>, is: Option<u32>| wanted.is_some() && wanted != is;
        if differs(attributes.owner, now.owner) || differs(attributes.group, now.group) {
            let (owner, group) = ids(attributes);
            rustix::fs::fchown(&*self.fd, owner, group).map_err(wrap)?;
        }
        if attributes.mode != now.mode {
            rustix::fs::fchmod(&*self.fd, raw(attributes.mode)).map_err(wrap)?;
        }
        Ok(())
    }

    /// Fails where no file could be written.
    pub(crate) fn try_writing(&self) -> Result<(), FileError> {
        let name = temporary_name();
        self.write_temporary(&name, b"room", Attributes::of_mode(Mode::PRIVATE_FILE))?;
        self.remove(&name)
    }

    /// Fails where this user may make no file, as far as its rights tell.
    pub(crate) fn may_write(&self) -> Result<(), FileError> {
        use rustix::fs::Access;

        let wanted = Access::WRITE_OK | Access::EXEC_OK;
        rustix::fs::accessat(&*self.fd, ".", wanted, AtFlags::EACCESS)
            .map_err(|e| FileError::io("write to", &self.path, e.into()))
    }

    /// Octets that this user may still write, where the file system tells.
    pub(crate) fn free(&self) -> Result<Option<u64>, FileError> {
        let stat = rustix::fs::fstatvfs(&*self.fd)
            .map_err(|e| FileError::io("look at", &self.path, e.into()))?;
        Ok(Some(stat.f_bavail.saturating_mul(stat.f_frsize)))
    }

    /// Owner, group and mode of the file `name`, where there is one; a link or anything but a plain file is refused.
    pub(crate) fn file_attributes(&self, name: &str) -> Result<Option<Attributes>, FileError> {
        component(&self.path, name)?;
        let stat = match rustix::fs::statat(&*self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(self.error("look at", name, e)),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Some(Attributes {
                mode: Mode(stat.st_mode & 0o777),
                owner: Some(stat.st_uid),
                group: Some(stat.st_gid),
            })),
            FileType::Symlink => Err(FileError::Link {
                path: self.path.join(name),
            }),
            FileType::Directory => Err(self.error("replace the directory", name, Errno::ISDIR)),
            _ => Err(self.error("replace, because it is no plain file,", name, Errno::INVAL)),
        }
    }

    /// The directory `name` in this one, made where it is missing.
    pub(crate) fn subdir(&self, name: &str, mode: Mode) -> Result<Self, FileError> {
        if let Some(dir) = self.existing(name)? {
            return Ok(dir);
        }
        match rustix::fs::mkdirat(&*self.fd, name, raw(mode)) {
            Ok(()) => self.sync()?,
            Err(Errno::EXIST) => {}
            Err(e) => return Err(self.error("create the directory", name, e)),
        }
        self.existing(name)?
            .ok_or_else(|| self.error("open the directory", name, Errno::NOENT))
    }

    /// The directory `name` in this one, where there is one.
    pub(crate) fn existing(&self, name: &str) -> Result<Option<Self>, FileError> {
        component(&self.path, name)?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        match rustix::fs::openat(&*self.fd, name, flags, RawMode::empty()) {
            Ok(fd) => Ok(Some(Self {
                fd: Arc::new(fd),
                path: self.path.join(name),
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::LOOP | Errno::NOTDIR) if self.read_link(name)?.is_some() => {
                Err(FileError::Link {
                    path: self.path.join(name),
                })
            }
            Err(e) => Err(self.error("open the directory", name, e)),
        }
    }

    /// The content of the file `name`, where there is one.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, FileError> {
        component(&self.path, name)?;
        let flags = OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let mut file = match rustix::fs::openat(&*self.fd, name, flags, RawMode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => {
                return Err(FileError::Link {
                    path: self.path.join(name),
                });
            }
            Err(e) => return Err(self.error("read", name, e)),
        };
        let mut content = Vec::new();
        file.read_to_end(&mut content)
            .map_err(|e| FileError::io("read", self.path.join(name), e))?;
        Ok(Some(content))
    }

    /// Writes the file `name` unless there is one; whether it was written.
    pub(crate) fn write_new(
        &self,
        name: &str,
        content: &[u8],
        mode: Mode,
    ) -> Result<bool, FileError> {
        component(&self.path, name)?;
        let temporary = temporary_name();
        self.write_temporary(&temporary, content, Attributes::of_mode(mode))?;
        let linked = rustix::fs::linkat(&*self.fd, &temporary, &*self.fd, name, AtFlags::empty());
        let removed = self.remove(&temporary);
        match linked {
            Ok(()) => {
                removed?;
                self.sync()?;
                Ok(true)
            }
            Err(Errno::EXIST) => Ok(false),
            Err(e) => Err(self.error("write", name, e)),
        }
    }

    /// Writes the file `name`, replacing one at once.
    pub(crate) fn replace(&self, name: &str, content: &[u8], mode: Mode) -> Result<(), FileError> {
        self.replace_with(name, content, Attributes::of_mode(mode))
    }

    /// The same, with owner and group.
    pub(crate) fn replace_with(
        &self,
        name: &str,
        content: &[u8],
        attributes: Attributes,
    ) -> Result<(), FileError> {
        component(&self.path, name)?;
        let temporary = temporary_name();
        self.write_temporary(&temporary, content, attributes)?;
        if let Err(e) = rustix::fs::renameat(&*self.fd, &temporary, &*self.fd, name) {
            let _ = self.remove(&temporary);
            return Err(self.error("write", name, e));
        }
        self.sync()
    }

    /// Gives the file `name` another name, replacing what had that.
    pub(crate) fn rename(&self, name: &str, to: &str) -> Result<(), FileError> {
        component(&self.path, name)?;
        component(&self.path, to)?;
        rustix::fs::renameat(&*self.fd, name, &*self.fd, to)
            .map_err(|e| self.error("rename", name, e))?;
        self.sync()
    }

    /// Removes the file or link `name`; one that is not there is success.
    pub(crate) fn remove(&self, name: &str) -> Result<(), FileError> {
        component(&self.path, name)?;
        match rustix::fs::unlinkat(&*self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(self.error("remove", name, e)),
        }
    }

    /// Removes the directory `name` with everything in it, following no link.
    pub(crate) fn remove_tree(&self, name: &str) -> Result<(), FileError> {
        let Some(dir) = self.existing(name)? else {
            return Ok(());
        };
        for (entry, kind) in dir.list()? {
            match kind {
                Kind::Directory => dir.remove_tree(&entry)?,
                Kind::File | Kind::Other => dir.remove(&entry)?,
            }
        }
        match rustix::fs::unlinkat(&*self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => self.sync(),
            Err(e) => Err(self.error("remove the directory", name, e)),
        }
    }

    /// What is in the directory, without `.`, `..` and temporary files, in order of name.
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

    /// Removes temporary files that nobody writes any more: old ones, of a process that is no more. For directories that no single lock is over.
    pub(crate) fn sweep(&self) -> Result<(), FileError> {
        for (name, _) in self.entries()? {
            let Some(process) = writer_of(&name) else {
                continue;
            };
            let is_gone = i32::try_from(process)
                .ok()
                .and_then(rustix::process::Pid::from_raw)
                .is_none_or(|pid| rustix::process::test_kill_process(pid) == Err(Errno::SRCH));
            if is_gone && is_old(&self.path.join(&name)) {
                self.remove(&name)?;
            }
        }
        Ok(())
    }

    /// Points the symbolic link `name` at `target`, replacing a link at once. Only one process may do so at a time.
    pub(crate) fn swap_link(&self, name: &str, target: &str) -> Result<(), FileError> {
        component(&self.path, name)?;
        // The same name each time, so that what a killed run has left is in the way of nothing and is found.
        let temporary = match format!("{TEMPORARY}{name}") {
            own if own.len() <= LONGEST_NAME => own,
            _ => temporary_name(),
        };
        self.remove(&temporary)?;
        rustix::fs::symlinkat(target, &*self.fd, &temporary)
            .map_err(|e| self.error("write the link", name, e))?;
        if let Err(e) = rustix::fs::renameat(&*self.fd, &temporary, &*self.fd, name) {
            let _ = self.remove(&temporary);
            return Err(self.error("write the link", name, e));
        }
        self.sync()
    }

    /// Where the symbolic link `name` points; `None` where there is no link.
    pub(crate) fn read_link(&self, name: &str) -> Result<Option<String>, FileError> {
        component(&self.path, name)?;
        match rustix::fs::readlinkat(&*self.fd, name, Vec::new()) {
            Ok(target) => Ok(target.into_string().ok()),
            Err(Errno::NOENT | Errno::INVAL) => Ok(None),
            Err(e) => Err(self.error("read the link", name, e)),
        }
    }

    /// Opens a file to be locked, made where it is missing; never removed, so that two processes lock the same one.
    pub(crate) fn lock_file(&self, name: &str) -> Result<File, FileError> {
        component(&self.path, name)?;
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&*self.fd, name, flags, raw(Mode::PRIVATE_FILE))
            .map(File::from)
            .map_err(|e| self.error("open the lock", name, e))
    }

    fn entries(&self) -> Result<Vec<(String, Kind)>, FileError> {
        let wrap = |e: Errno| FileError::io("list", &self.path, e.into());
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::read_from(&*self.fd).map_err(wrap)? {
            let entry = entry.map_err(wrap)?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if matches!(name, "." | "..") {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Directory => Kind::Directory,
                FileType::RegularFile => Kind::File,
                FileType::Unknown => self.kind_by_stat(name)?,
                _ => Kind::Other,
            };
            entries.push((name.to_owned(), kind));
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(entries)
    }

    /// For file systems whose directories do not tell types.
    fn kind_by_stat(&self, name: &str) -> Result<Kind, FileError> {
        let stat = rustix::fs::statat(&*self.fd, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| self.error("look at", name, e))?;
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Kind::Directory,
            FileType::RegularFile => Kind::File,
            _ => Kind::Other,
        })
    }

    fn write_temporary(
        &self,
        name: &str,
        content: &[u8],
        attributes: Attributes,
    ) -> Result<(), FileError> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&*self.fd, name, flags, raw(Mode::PRIVATE_FILE))
            .map_err(|e| self.error("create a file in", "", e))?;
        let mut file = File::from(fd);
        let own = || match (attributes.owner, attributes.group) {
            (None, None) => Ok(()),
            _ => {
                let (owner, group) = ids(attributes);
                rustix::fs::fchown(&file, owner, group)
            }
        };
        // The umask may have taken bits that the caller wants, and a new owner takes some too.
        let owned = own()
            .and_then(|()| rustix::fs::fchmod(&file, raw(attributes.mode)))
            .map_err(|e| {
                FileError::io(
                    "set owner, group or mode of a file in",
                    &self.path,
                    e.into(),
                )
            });
        let written = owned.and_then(|()| {
            file.write_all(content)
                .and_then(|()| file.sync_all())
                .map_err(|e| FileError::io("write to", &self.path, e))
        });
        if written.is_err() {
            let _ = self.remove(name);
        }
        written
    }

    fn sync(&self) -> Result<(), FileError> {
        match rustix::fs::fsync(&*self.fd) {
            // Some network file systems cannot sync a directory.
            Ok(()) | Err(Errno::INVAL | Errno::NOTSUP) => Ok(()),
            Err(e) => Err(FileError::io("sync", &self.path, e.into())),
        }
    }

    fn error(&self, action: &'static str, name: &str, errno: Errno) -> FileError {
        let path = match name {
            "" => self.path.clone(),
            _ => self.path.join(name),
        };
        FileError::io(action, path, errno.into())
    }
}

/// Refuses a program that somebody other than root and this user may change; gives whether it may be executed at all.
pub(crate) fn check_program(path: &Path) -> Result<bool, FileError> {
    let stat = rustix::fs::stat(path).map_err(|e| FileError::io("look at", path, e.into()))?;
    check_stat(path, stat.st_uid, stat.st_mode, false, None)?;
    let plain = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    Ok(plain && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok())
}

/// Whether both are one file under two names, as where the file system makes nothing of case. Hard links are not: replacing
/// the one leaves the other.
pub fn is_same_file(path: &Path, other: &Path) -> bool {
    let identity = |path: &Path| {
        let stat = rustix::fs::lstat(path).ok()?;
        (stat.st_nlink == 1).then_some((stat.st_dev, stat.st_ino))
    };
    path == other || identity(path).is_some_and(|found| Some(found) == identity(other))
}

fn check_stat(
    path: &Path,
    owner: u32,
    mode: u32,
    sticky: bool,
    trusted: Option<u32>,
) -> Result<(), FileError> {
    let me = rustix::process::geteuid().as_raw();
    let unsafe_because = |detail: String, is_foreign: bool| {
        Err(FileError::Unsafe {
            path: path.to_owned(),
            detail,
            is_foreign,
        })
    };
    if owner != me && owner != 0 && Some(owner) != trusted {
        return unsafe_because(format!("user {owner} owns it"), true);
    }
    if mode & 0o022 != 0 && !sticky {
        return unsafe_because(format!("its mode is {:04o}", mode & 0o7777), false);
    }
    Ok(())
}

fn ids(attributes: Attributes) -> (Option<Uid>, Option<Gid>) {
    (
        attributes.owner.map(Uid::from_raw),
        attributes.group.map(Gid::from_raw),
    )
}

fn raw(mode: Mode) -> RawMode {
    RawMode::from_raw_mode(mode.0)
}

/// What file systems take.
const LONGEST_NAME: usize = 255;
/// How directories are opened that are only walked through.
#[cfg(any(target_os = "linux", target_os = "android"))]
const PASSAGE: OFlags = OFlags::PATH;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const PASSAGE: OFlags = OFlags::RDONLY;

#[cfg(test)]
mod tests;
