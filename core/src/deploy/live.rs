//! The projection of the store onto this machine.
//!
//! `live/NAME` is one symbolic link to a directory with four files of one version, and is swapped at once: whoever
//! opens the directory once reads files that belong together. What is written here comes from the store and can be
//! made again from it at any time; nothing here is ever read back as truth.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

use jiff::Timestamp;
use secrecy::ExposeSecret;
use secrecy::SecretString;

use crate::deploy::Access;
use crate::deploy::access::Ids;
use crate::store::Attributes;
use crate::store::CertId;
use crate::store::Dir;
use crate::store::FileError;
use crate::store::Glance;
use crate::store::Mode;
use crate::store::Version;

/// The directory that servers read their certificates from.
#[derive(Clone, Debug)]
pub struct Live {
    access: Access,
    access_of: BTreeMap<CertId, Access>,
    keys: bool,
    path: PathBuf,
    within: Option<PathBuf>,
}

/// What one version consists of on a server.
#[derive(Debug)]
pub struct Bundle<'a> {
    /// The private key, PKCS#8 PEM; none where it is with whoever made the signing request.
    pub privkey: Option<&'a SecretString>,
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
    /// Whether the private key is among them, where it is known here.
    #[serde(skip)]
    pub has_keys: bool,
}

impl Live {
    /// The projection below `path`; nothing is made before there is something to write.
    pub fn new(path: &Path) -> Result<Self, FileError> {
        let path = std::path::absolute(path).map_err(|e| FileError::io("use", path, e))?;
        Ok(Self {
            access: Access::default(),
            access_of: BTreeMap::new(),
            keys: true,
            path,
            within: None,
        })
    }

    /// Whose the files are, where nothing else is said of a certificate. The mode is that of private keys; the directory of the
    /// four files follows it. What is not said is kept from the version before.
    #[must_use]
    pub fn with_access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Whose the files of one certificate are.
    #[must_use]
    pub fn with_access_of(mut self, id: &CertId, access: Access) -> Self {
        self.access_of.insert(id.clone(), access);
        self
    }

    /// No private keys are written here, and those that are here are removed: the store they come from is encrypted.
    #[must_use]
    pub fn without_keys(mut self) -> Self {
        self.keys = false;
        self
    }

    /// Whether private keys are written here.
    pub fn has_keys(&self) -> bool {
        self.keys
    }

    /// Whoever may read files here may pass through this directory too, which is ours.
    #[must_use]
    pub fn within(mut self, directory: &Path) -> Self {
        self.within = Some(directory.to_owned());
        self
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
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
            has_keys: self.keys,
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

    /// Whether a version is projected, and nobody has touched its files since, as far as can be told without reading them: the
    /// link to them is younger than all of them.
    pub fn stands(&self, id: &CertId, version: &Version) -> bool {
        let link = self.path.join(id.as_str());
        let directory = Path::new(VERSIONS).join(version_name(id, version.number));
        if std::fs::read_link(&link).ok().as_ref() != Some(&directory) {
            return false;
        }
        let since = link.symlink_metadata().and_then(|m| m.modified()).ok();
        let since = since.and_then(|since| Timestamp::try_from(since).ok());
        let key = (version.has_key() && self.keys).then_some(PRIVKEY);
        let mut files = [CERT, CHAIN, FULLCHAIN].into_iter().chain(key);
        files.all(|file| {
            Glance::at(&self.path.join(&directory).join(file))
                .is_some_and(|glance| Some(glance.modified) <= since)
        })
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
            (PRIVKEY, self.key_of(bundle).map(|key| key.expose_secret())),
            (CERT, Some(bundle.cert)),
            (CHAIN, Some(bundle.chain)),
            (FULLCHAIN, Some(bundle.fullchain)),
        ] {
            if dir.read(file)?.as_deref() != wanted.map(str::as_bytes) {
                return Ok(false);
            }
        }
        let access = self.access_of(id);
        let Some(there) = dir.file_attributes(PRIVKEY)? else {
            return Ok(self.key_of(bundle).is_none());
        };
        let ids = ids(&access, &dir)?;
        let same = |wanted: Option<u32>, is: Option<u32>| wanted.is_none() || wanted == is;
        Ok(access.mode.is_none_or(|mode| mode == there.mode)
            && same(ids.owner, there.owner)
            && same(ids.group, there.group))
    }

    fn access_of(&self, id: &CertId) -> Access {
        match self.access_of.get(id) {
            Some(own) => own.or(&self.access),
            None => self.access.clone(),
        }
    }

    /// Fails where the projection could not be written, before anything is asked of a CA.
    pub fn check(&self) -> Result<(), FileError> {
        let live = Dir::open(&self.path, Mode::PRIVATE_DIR)?;
        live.check_private()?;
        live.subdir(VERSIONS, Mode::PRIVATE_DIR)?.check_private()
    }

    /// Removes what runs that were killed long ago have left half-written here.
    pub fn sweep(&self) -> Result<(), FileError> {
        match Dir::open_existing(&self.path)? {
            Some(live) => live.sweep(),
            None => Ok(()),
        }
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
        let before = match live.read_link(id.as_str())? {
            Some(target) => match target.rsplit_once('/') {
                Some((_, before)) => versions.existing(before)?,
                None => None,
            },
            None => None,
        };
        let dir = versions.subdir(&name, Mode::PRIVATE_DIR)?;
        dir.tidy()?;
        let access = self.access_of(id);
        let ids = ids(&access, &dir)?;
        let key = self.key_of(bundle);
        let key = key.map(|key| key.expose_secret().as_bytes());
        let mut key_mode = Mode::PRIVATE_FILE;
        for (file, content, usual) in [
            (PRIVKEY, key, Mode::PRIVATE_FILE),
            (CERT, Some(bundle.cert.as_bytes()), Mode::PUBLIC_FILE),
            (CHAIN, Some(bundle.chain.as_bytes()), Mode::PUBLIC_FILE),
            (
                FULLCHAIN,
                Some(bundle.fullchain.as_bytes()),
                Mode::PUBLIC_FILE,
            ),
        ] {
            let Some(content) = content else {
                // Of a version whose number was given twice.
                dir.remove(file)?;
                continue;
            };
            let kept = match &before {
                Some(before) => before.file_attributes(file)?,
                None => None,
            };
            let kept_mode = kept.map(|kept| Mode(kept.mode.0 & !0o022));
            let mode = match file == PRIVKEY {
                true => {
                    let not_for_all = kept_mode.map(|mode| Mode(mode.0 & !0o007));
                    access.mode.or(not_for_all).unwrap_or(usual)
                }
                false => kept_mode.unwrap_or(usual),
            };
            if file == PRIVKEY {
                key_mode = mode;
            }
            write(&dir, file, content, mode, ids, kept)?;
        }
        let open = self.directory_mode(&access, key_mode, before.as_ref())?;
        let attributes = Attributes {
            mode: open,
            owner: None,
            group: ids.group,
        };
        let attributes = match (&before, ids.group) {
            (Some(before), None) => Attributes {
                group: before.attributes()?.group,
                ..attributes
            },
            _ => attributes,
        };
        match dir.set_attributes(attributes) {
            // A group that was kept and is not ours to give.
            Err(error) if error.is_denied() && ids.group.is_none() => {
                dir.set_attributes(Attributes::of_mode(Mode(open.0 & !0o077)))?;
            }
            other => other?,
        }
        if open.0 & 0o077 != 0 {
            self.let_pass(&[&live, &versions])?;
        }
        live.swap_link(id.as_str(), &format!("{VERSIONS}/{name}"))?;
        prune(&versions, id, version)?;
        if !self.keys {
            remove_keys(&versions, id)?;
        }
        Ok(self.files(id))
    }

    fn key_of<'b>(&self, bundle: &Bundle<'b>) -> Option<&'b SecretString> {
        bundle.privkey.filter(|_| self.keys)
    }

    /// How many private keys of these certificates are here, those of earlier versions included.
    pub fn count_keys<'a>(
        &self,
        ids: impl IntoIterator<Item = &'a CertId>,
    ) -> Result<usize, FileError> {
        let mut count = 0;
        let Some(versions) = self.versions()? else {
            return Ok(0);
        };
        for id in ids {
            for (_, name) in versions_of(&versions, id)? {
                if let Some(dir) = versions.existing(&name)?
                    && dir.file_attributes(PRIVKEY)?.is_some()
                {
                    count += 1;
                }
            }
        }
        Ok(count)
    }

    /// Removes the private keys of a certificate, those of earlier versions included.
    pub fn remove_keys(&self, id: &CertId) -> Result<(), FileError> {
        match self.versions()? {
            Some(versions) => remove_keys(&versions, id),
            None => Ok(()),
        }
    }

    fn versions(&self) -> Result<Option<Dir>, FileError> {
        match Dir::open_existing(&self.path)? {
            Some(live) => live.existing(VERSIONS),
            None => Ok(None),
        }
    }

    /// Who may read the key may enter its directory.
    fn directory_mode(
        &self,
        access: &Access,
        key: Mode,
        before: Option<&Dir>,
    ) -> Result<Mode, FileError> {
        let kept = match before {
            Some(before) => before.attributes()?.mode.0 & 0o055,
            None => 0,
        };
        let of_group = match access.group.is_some() || key.0 & 0o040 != 0 {
            true => 0o050,
            false => 0,
        };
        let of_others = match key.0 & 0o004 != 0 {
            true => 0o055,
            false => 0,
        };
        // Another owner than the directory's needs a way in as well.
        let of_owner = match access.owner.is_some() {
            true => 0o011,
            false => 0,
        };
        Ok(Mode(0o700 | kept | of_group | of_others | of_owner))
    }

    /// Lets everybody pass through these directories of ours, and see nothing in them.
    fn let_pass(&self, directories: &[&Dir]) -> Result<(), FileError> {
        let within = match &self.within {
            Some(path) => Dir::open_existing(path)?,
            None => None,
        };
        for dir in directories.iter().copied().chain(within.as_ref()) {
            let now = dir.attributes()?;
            if now.mode.0 & 0o011 != 0o011 {
                dir.set_attributes(Attributes::of_mode(Mode(now.mode.0 | 0o011)))?;
            }
        }
        Ok(())
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

/// Writes one file as it is wished, or else as the one before it was.
fn write(
    dir: &Dir,
    file: &str,
    content: &[u8],
    mode: Mode,
    ids: Ids,
    kept: Option<Attributes>,
) -> Result<(), FileError> {
    let attributes = Attributes {
        mode,
        owner: ids.owner.or(kept.and_then(|kept| kept.owner)),
        group: ids.group.or(kept.and_then(|kept| kept.group)),
    };
    match dir.replace_with(file, content, attributes) {
        // Only root gives files away: what was not asked for is not kept then, and nobody new may read.
        Err(error) if error.is_denied() && ids.owner.is_none() && ids.group.is_none() => {
            dir.replace_with(file, content, Attributes::of_mode(Mode(mode.0 & !0o070)))
        }
        other => other,
    }
}

fn ids(access: &Access, dir: &Dir) -> Result<Ids, FileError> {
    access.resolve().map_err(|error| {
        let error = std::io::Error::new(std::io::ErrorKind::NotFound, error);
        FileError::io("set the owner of files in", dir.path(), error)
    })
}

fn remove_keys(versions: &Dir, id: &CertId) -> Result<(), FileError> {
    for (_, name) in versions_of(versions, id)? {
        if let Some(dir) = versions.existing(&name)? {
            dir.remove(PRIVKEY)?;
            // What a killed run left half-written.
            dir.tidy()?;
        }
    }
    Ok(())
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
mod tests;
