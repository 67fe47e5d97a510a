//! New content of a file, written and synced beside the old one, so that several files can be changed close together.
//!
//! Where the system can exchange two names, the old content stays until [`Staged::finish`], and can be put back when another file
//! of the same set fails. The temporary name follows from the file's own, so that what a killed run left is found by the next.

use rustix::fs::RenameFlags;
use rustix::io::Errno;

use super::Attributes;
use super::Dir;
use super::FileError;
use crate::store::dir::TEMPORARY;
use crate::store::dir::component;

/// The new content of a file, beside the old one. Dropping it leaves the file as it is.
#[derive(Debug)]
pub(crate) struct Staged {
    dir: Dir,
    name: String,
    temporary: String,
    stands: Stands,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stands {
    /// Beside the old one.
    Beside,
    /// In its place, and the old one beside it.
    Exchanged,
    /// In its place, where nothing was.
    New,
    /// In its place, and the old one is gone.
    Replaced,
}

impl Dir {
    /// Writes the new content of the file `name` beside it. Only one process may do so at a time.
    pub(crate) fn stage(
        &self,
        name: &str,
        content: &[u8],
        attributes: Attributes,
    ) -> Result<Staged, FileError> {
        component(&self.path, name)?;
        let temporary = format!("{TEMPORARY}{name}");
        self.remove(&temporary)?;
        self.write_temporary(&temporary, content, attributes)?;
        Ok(Staged {
            dir: self.clone(),
            name: name.to_owned(),
            temporary,
            stands: Stands::Beside,
        })
    }
}

impl Staged {
    /// Puts it in place.
    pub(crate) fn put(&mut self) -> Result<(), FileError> {
        let failed = |e: Errno| self.dir.error("write", &self.name, e);
        self.stands = match self.rename(RenameFlags::EXCHANGE) {
            Ok(()) => Stands::Exchanged,
            Err(Errno::NOENT) => {
                self.rename(RenameFlags::NOREPLACE).map_err(failed)?;
                Stands::New
            }
            // A file system that cannot exchange names.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                rustix::fs::renameat(&*self.dir.fd, &self.temporary, &*self.dir.fd, &self.name)
                    .map_err(failed)?;
                Stands::Replaced
            }
            Err(e) => return Err(failed(e)),
        };
        Ok(())
    }

    /// Puts the old content back, as far as that can be done.
    pub(crate) fn take_back(&mut self) {
        match self.stands {
            Stands::Exchanged => {
                if self.rename(RenameFlags::EXCHANGE).is_ok() {
                    self.stands = Stands::Beside;
                }
            }
            Stands::New => {
                if self.dir.remove(&self.name).is_ok() {
                    self.stands = Stands::Replaced;
                }
            }
            Stands::Beside | Stands::Replaced => {}
        }
    }

    /// Makes it last, and removes the old content.
    pub(crate) fn finish(mut self) -> Result<(), FileError> {
        self.dir.sync()?;
        if self.stands == Stands::Exchanged {
            self.stands = Stands::Replaced;
            self.dir.remove(&self.temporary)?;
        }
        Ok(())
    }

    fn rename(&self, flags: RenameFlags) -> Result<(), Errno> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            let dir = &*self.dir.fd;
            rustix::fs::renameat_with(dir, &self.temporary, dir, &self.name, flags)
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        {
            let _ = flags;
            Err(Errno::NOSYS)
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if matches!(self.stands, Stands::Beside | Stands::Exchanged) {
            let _ = self.dir.remove(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Mode;

    #[test]
    fn what_was_put_can_be_taken_back() {
        let root = tempfile::tempdir().unwrap();
        let dir = Dir::open(root.path(), Mode::PRIVATE_DIR).unwrap();
        let attributes = Attributes::of_mode(Mode::PRIVATE_FILE);
        dir.replace("old", b"1", Mode::PRIVATE_FILE).unwrap();
        // What a killed run left under the temporary name is in nobody's way.
        std::fs::write(root.path().join(format!("{TEMPORARY}old")), "half").unwrap();

        let mut old = dir.stage("old", b"2", attributes).unwrap();
        let mut new = dir.stage("new", b"2", attributes).unwrap();
        old.put().unwrap();
        new.put().unwrap();
        assert_eq!(dir.read("old").unwrap().unwrap(), b"2");
        old.take_back();
        new.take_back();
        drop((old, new));
        assert_eq!(dir.read("old").unwrap().unwrap(), b"1");
        assert_eq!(dir.read("new").unwrap(), None);

        let mut old = dir.stage("old", b"3", attributes).unwrap();
        old.put().unwrap();
        old.finish().unwrap();
        assert_eq!(dir.read("old").unwrap().unwrap(), b"3");
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
