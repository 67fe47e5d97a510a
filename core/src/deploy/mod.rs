//! The projection of the store onto this machine.
//!
//! `live/NAME` is one symbolic link to a directory with four files of one version, and is swapped at once: whoever
//! opens the directory once reads files that belong together. What is written here comes from the store and can be
//! made again from it at any time; nothing here is ever read back as truth.

mod said;

use std::path::Path;
use std::path::PathBuf;

use secrecy::ExposeSecret;
use secrecy::SecretString;

pub use said::Said;

use crate::store::CertId;
use crate::store::Dir;
use crate::store::FileError;
use crate::store::Mode;

/// The directory that servers read their certificates from.
#[derive(Clone, Debug)]
pub struct Live {
    path: PathBuf,
}

/// What one version consists of on a server.
#[derive(Debug)]
pub struct Bundle<'a> {
    /// The private key, PKCS#8 PEM.
    pub privkey: &'a SecretString,
    /// The certificate alone, PEM.
    pub cert: &'a str,
    /// What stands between it and the root, PEM.
    pub chain: &'a str,
    /// Both, PEM.
    pub fullchain: &'a str,
}

/// Where the four files of a certificate are.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct LiveFiles {
    /// The directory, which is a link that changes with each version.
    pub directory: PathBuf,
    /// The private key.
    pub privkey: PathBuf,
    /// The certificate alone.
    pub cert: PathBuf,
    /// What stands between it and the root.
    pub chain: PathBuf,
    /// Certificate and chain.
    pub fullchain: PathBuf,
}

impl Live {
    /// The projection below `path`; nothing is made before there is something to write.
    pub fn new(path: &Path) -> Result<Self, FileError> {
        let path = std::path::absolute(path).map_err(|e| FileError::io("use", path, e))?;
        Ok(Self { path })
    }

    /// Where the files of a certificate are, or will be.
    pub fn files(&self, id: &CertId) -> LiveFiles {
        let directory = self.path.join(id.as_str());
        LiveFiles {
            privkey: directory.join(PRIVKEY),
            cert: directory.join(CERT),
            chain: directory.join(CHAIN),
            fullchain: directory.join(FULLCHAIN),
            directory,
        }
    }

    /// Which version is projected.
    pub fn current(&self, id: &CertId) -> Result<Option<u32>, FileError> {
        let Some(live) = Dir::open_existing(&self.path)? else {
            return Ok(None);
        };
        let Some(target) = live.read_link(id.as_str())? else {
            return Ok(None);
        };
        let number = target
            .rsplit_once('.')
            .and_then(|(_, number)| number.parse().ok());
        let whole = match live.existing(VERSIONS)? {
            Some(versions) => versions
                .existing(&version_name(id, number.unwrap_or(0)))?
                .is_some(),
            None => false,
        };
        Ok(number.filter(|_| whole))
    }

    /// Whether the files that are projected are these.
    pub fn holds(&self, id: &CertId, bundle: &Bundle<'_>) -> Result<bool, FileError> {
        let Some(live) = Dir::open_existing(&self.path)? else {
            return Ok(false);
        };
        let Some(target) = live.read_link(id.as_str())? else {
            return Ok(false);
        };
        let Some(name) = target
            .strip_prefix(VERSIONS)
            .and_then(|rest| rest.strip_prefix('/'))
        else {
            return Ok(false);
        };
        let Some(versions) = live.existing(VERSIONS)? else {
            return Ok(false);
        };
        let Some(dir) = versions.existing(name)? else {
            return Ok(false);
        };
        for (file, wanted) in [
            (PRIVKEY, bundle.privkey.expose_secret()),
            (CERT, bundle.cert),
            (CHAIN, bundle.chain),
            (FULLCHAIN, bundle.fullchain),
        ] {
            if dir.read(file)?.as_deref() != Some(wanted.as_bytes()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Fails where the projection could not be written, before anything is asked of a CA.
    pub fn check(&self) -> Result<(), FileError> {
        let live = Dir::open(&self.path, Mode::PRIVATE_DIR)?;
        live.check_private()?;
        live.subdir(VERSIONS, Mode::PRIVATE_DIR)?.check_private()
    }

    /// Writes the files of a version and points `NAME` at them, all at once. Doing it again is harmless.
    pub fn project(
        &self,
        id: &CertId,
        version: u32,
        bundle: &Bundle<'_>,
    ) -> Result<LiveFiles, FileError> {
        let live = Dir::open(&self.path, Mode::PRIVATE_DIR)?;
        live.check_private()?;
        let versions = live.subdir(VERSIONS, Mode::PRIVATE_DIR)?;
        let name = version_name(id, version);
        let dir = versions.subdir(&name, Mode::PRIVATE_DIR)?;
        dir.tidy()?;
        let key = bundle.privkey.expose_secret().as_bytes();
        dir.replace(PRIVKEY, key, Mode::PRIVATE_FILE)?;
        dir.replace(CERT, bundle.cert.as_bytes(), Mode::PUBLIC_FILE)?;
        dir.replace(CHAIN, bundle.chain.as_bytes(), Mode::PUBLIC_FILE)?;
        dir.replace(FULLCHAIN, bundle.fullchain.as_bytes(), Mode::PUBLIC_FILE)?;
        live.swap_link(id.as_str(), &format!("{VERSIONS}/{name}"))?;
        prune(&versions, id, version)?;
        Ok(self.files(id))
    }

    /// Removes the link and every version of a certificate.
    pub fn remove(&self, id: &CertId) -> Result<(), FileError> {
        let Some(live) = Dir::open_existing(&self.path)? else {
            return Ok(());
        };
        if live.read_link(id.as_str())?.is_some() {
            live.remove(id.as_str())?;
        }
        if let Some(versions) = live.existing(VERSIONS)? {
            for (_, name) in versions_of(&versions, id)? {
                versions.remove_tree(&name)?;
            }
        }
        Ok(())
    }
}

/// Keeps what servers may still have open.
fn prune(versions: &Dir, id: &CertId, current: u32) -> Result<(), FileError> {
    for (number, name) in versions_of(versions, id)? {
        if number + KEPT <= current {
            versions.remove_tree(&name)?;
        }
    }
    Ok(())
}

fn versions_of(versions: &Dir, id: &CertId) -> Result<Vec<(u32, String)>, FileError> {
    let mut found = Vec::new();
    for (name, _) in versions.list()? {
        let number = name
            .strip_prefix(id.as_str())
            .and_then(|rest| rest.strip_prefix('.'))
            .and_then(|rest| rest.parse().ok());
        if let Some(number) = number
            && name == version_name(id, number)
        {
            found.push((number, name));
        }
    }
    Ok(found)
}

fn version_name(id: &CertId, version: u32) -> String {
    format!("{id}.{version:04}")
}

const CERT: &str = "cert.pem";
const CHAIN: &str = "chain.pem";
const FULLCHAIN: &str = "fullchain.pem";
const PRIVKEY: &str = "privkey.pem";
const VERSIONS: &str = ".versions";
/// Versions that stay on disk, the current one included: as many as the store keeps.
const KEPT: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn project(live: &Live, id: &CertId, version: u32) -> LiveFiles {
        let text = version.to_string();
        let bundle = Bundle {
            privkey: &SecretString::from(format!("key {text}")),
            cert: &text,
            chain: &text,
            fullchain: &text,
        };
        live.project(id, version, &bundle).unwrap()
    }

    #[test]
    fn four_files_change_together() {
        let root = tempfile::tempdir().unwrap();
        let live = Live::new(&root.path().join("live")).unwrap();
        let id: CertId = "example.com".parse().unwrap();
        assert_eq!(live.current(&id).unwrap(), None);
        live.check().unwrap();
        let files = project(&live, &id, 1);
        // A server that opened the directory before the swap keeps what belongs together.
        let opened = std::fs::canonicalize(&files.directory).unwrap();
        project(&live, &id, 2);
        assert_eq!(live.current(&id).unwrap(), Some(2));
        assert_eq!(std::fs::read_to_string(opened.join(CERT)).unwrap(), "1");
        assert_eq!(std::fs::read_to_string(&files.cert).unwrap(), "2");
        assert_eq!(std::fs::read_to_string(&files.privkey).unwrap(), "key 2");
    }

    #[test]
    fn five_versions_stay_and_neighbours_are_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let live = Live::new(root.path()).unwrap();
        let id: CertId = "a.test".parse().unwrap();
        let neighbour: CertId = "a.test.0001".parse().unwrap();
        project(&live, &neighbour, 1);
        for version in 1..=7 {
            project(&live, &id, version);
        }
        let versions = root.path().join(VERSIONS);
        let kept = std::fs::read_dir(&versions).unwrap().count();
        assert_eq!(kept, 6, "five of ours and one of the neighbour");
        live.remove(&id).unwrap();
        assert_eq!(live.current(&id).unwrap(), None);
        assert_eq!(live.current(&neighbour).unwrap(), Some(1));
    }

    #[cfg(unix)]
    #[test]
    fn the_key_is_private_and_a_directory_of_others_is_refused() {
        use std::os::unix::fs::PermissionsExt;

        let root = tempfile::tempdir().unwrap();
        let live = Live::new(&root.path().join("live")).unwrap();
        let files = project(&live, &"a.test".parse().unwrap(), 1);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&files.privkey), 0o600);
        assert_eq!(mode(&files.directory), 0o700);
        std::fs::set_permissions(
            root.path().join("live"),
            std::fs::Permissions::from_mode(0o777),
        )
        .unwrap();
        assert!(live.check().is_err());
    }
}
