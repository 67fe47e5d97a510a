//! Writing the files of one target: all of them are prepared and synced first, then put in place right after each other.
//!
//! A full disk, a missing directory or a link in the way is found out before the first file changes. When a later file cannot be
//! put in place after all, the earlier ones are put back, so that a key never stands beside another key's certificate.

use std::path::Path;

use secrecy::ExposeSecret;

use crate::deploy::Bundle;
use crate::deploy::Content;
use crate::deploy::Target;
use crate::deploy::TargetError;
use crate::deploy::TargetFile;
use crate::deploy::access::Ids;
use crate::deploy::pkcs12;
use crate::deploy::seen::Seen;
use crate::deploy::seen::sha256;
use crate::store::Attributes;
use crate::store::CertId;
use crate::store::Dir;
use crate::store::Mode;
use crate::store::Staged;

impl Target {
    /// Writes its files, or leaves all of them as they are; gives what they look like then.
    pub(super) fn write(&self, id: &CertId, bundle: &Bundle<'_>) -> Result<Vec<Seen>, TargetError> {
        let mut staged = Vec::new();
        let mut digests = Vec::new();
        for file in &self.files {
            let content = file.bytes(id, bundle)?;
            staged.push(file.stage(&content)?);
            digests.push((&file.path, sha256(&content)));
        }
        let mut in_place = 0;
        while let Some(file) = staged.get_mut(in_place) {
            if let Err(error) = file.put() {
                for earlier in staged[..in_place].iter_mut().rev() {
                    earlier.take_back();
                }
                return Err(TargetError::File(error));
            }
            in_place += 1;
        }
        for file in staged {
            file.finish().map_err(TargetError::File)?;
        }
        let seen = digests
            .into_iter()
            .filter_map(|(path, digest)| Seen::of(path, digest));
        Ok(seen.collect())
    }

    /// The first of its files that is not as it was left, after what was noted then.
    pub(super) fn altered(&self, seen: &[Seen]) -> Option<&Path> {
        let paths = self.files.iter().map(|file| file.path.as_path());
        let mut altered = paths.filter(|path| match seen.iter().find(|s| s.path == *path) {
            Some(seen) => !seen.stands(),
            None => !path.is_file(),
        });
        altered.next()
    }
}

impl TargetFile {
    /// Fails where it could not be written, as far as that can be told without writing anything.
    pub(super) fn look(&self) -> Result<(), TargetError> {
        let place = self.place()?;
        place.dir.may_write().map_err(TargetError::File)
    }

    fn place(&self) -> Result<Place, TargetError> {
        let (Some(parent), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            return Err(TargetError::NoDirectory {
                path: self.path.clone(),
            });
        };
        let name = name.to_string_lossy().into_owned();
        let ids = self.access.resolve()?;
        let dir = Dir::open_trusted(parent, ids.owner)
            .map_err(TargetError::File)?
            .ok_or_else(|| TargetError::NoDirectory {
                path: parent.to_owned(),
            })?;
        let there = dir.file_attributes(&name).map_err(TargetError::File)?;
        Ok(Place {
            dir,
            ids,
            name,
            there,
        })
    }

    fn stage(&self, content: &[u8]) -> Result<Staged, TargetError> {
        let Place {
            dir,
            ids,
            name,
            there,
        } = self.place()?;
        let usual = match self.content.has_key() {
            true => Mode::PRIVATE_FILE,
            false => Mode::PUBLIC_FILE,
        };
        // What was a certificate may become a key: what was for everybody does not stay so by itself.
        let never = match self.content.has_key() {
            true => 0o027,
            false => 0o022,
        };
        let kept = there.map(|a| Mode(a.mode.0 & !never));
        let attributes = Attributes {
            mode: self.access.mode.or(kept).unwrap_or(usual),
            owner: ids.owner.or(there.and_then(|a| a.owner)),
            group: ids.group.or(there.and_then(|a| a.group)),
        };
        let staged = match dir.stage(&name, content, attributes) {
            // Only root gives files away: what was not asked for is not kept then, and nobody new may read.
            Err(error) if error.is_denied() && ids.owner.is_none() && ids.group.is_none() => {
                let mode = self.access.mode.unwrap_or(Mode(attributes.mode.0 & !0o070));
                dir.stage(&name, content, Attributes::of_mode(mode))
            }
            other => other,
        };
        staged.map_err(TargetError::File)
    }

    fn bytes(
        &self,
        id: &CertId,
        bundle: &Bundle<'_>,
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, TargetError> {
        let text = |parts: &[&str]| parts.concat().into_bytes();
        let key = || bundle.privkey.ok_or(TargetError::NoKey);
        let bytes = match &self.content {
            Content::Cert => text(&[bundle.cert]),
            Content::Chain => text(&[bundle.chain]),
            Content::Combined => {
                let key = key()?.expose_secret();
                text(&[key, line_end(key), bundle.fullchain])
            }
            Content::FullChain => text(&[bundle.fullchain]),
            Content::Key => text(&[key()?.expose_secret()]),
            Content::Pkcs12 { password } => {
                let name = id.as_str();
                pkcs12::encode(name, bundle, key()?, password).map_err(|detail| {
                    TargetError::Pkcs12 {
                        path: self.path.clone(),
                        detail,
                    }
                })?
            }
        };
        Ok(zeroize::Zeroizing::new(bytes))
    }
}

/// Where a file is to be written, and what is there.
struct Place {
    dir: Dir,
    ids: Ids,
    name: String,
    there: Option<Attributes>,
}

fn line_end(text: &str) -> &'static str {
    match text.ends_with('\n') {
        true => "",
        false => "\n",
    }
}
