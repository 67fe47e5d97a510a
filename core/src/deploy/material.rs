//! A version as the store has it, ready to be written somewhere.

use jiff::SignedDuration;
use secrecy::SecretString;

use crate::acme::CertificateChain;
use crate::acme::CertificateKey;
use crate::deploy::Bundle;
use crate::store::CertId;
use crate::store::Glance;
use crate::store::Key;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Version;
use crate::store::VersionFile;

/// Key and certificates of one version, which belong together.
#[derive(Debug)]
pub struct Material {
    fullchain: String,
    privkey: Option<SecretString>,
}

impl Material {
    /// Reads a version, and refuses a chain that is not what was stored then, and a key that is not the certificate's.
    pub async fn read(
        store: &dyn Store,
        id: &CertId,
        version: &Version,
    ) -> Result<Self, StoreError> {
        let (chain_at, fullchain) = read(store, id, version, VersionFile::FullChain).await?;
        let top = version.top_issuer.as_deref();
        if !CertificateChain::is_that_of(&fullchain, &version.serial, top) {
            return Err(StoreError::Corrupt {
                key: chain_at.to_string(),
                detail: "it is not the chain that was stored".to_owned(),
            });
        }
        if !version.has_key() {
            return Ok(Self {
                fullchain,
                privkey: None,
            });
        }
        let (key_at, privkey) = read(store, id, version, VersionFile::Key).await?;
        let privkey = SecretString::from(privkey);
        let belongs = CertificateKey::from_pem(&privkey)
            .is_ok_and(|key| CertificateChain::is_for(&fullchain, &key));
        match belongs {
            true => Ok(Self {
                fullchain,
                privkey: Some(privkey),
            }),
            false => Err(StoreError::Corrupt {
                key: key_at.to_string(),
                detail: "it is not the key of the certificate beside it".to_owned(),
            }),
        }
    }

    /// What is wrong with a version in the store; it is read only where its files are not as they were left.
    ///
    /// A store that was put back from a backup may have new times. Then it is read each time, and is well.
    pub async fn damage(
        store: &dyn Store,
        id: &CertId,
        version: &Version,
    ) -> Result<Option<String>, StoreError> {
        let files = match version.has_key() {
            true => &[VersionFile::FullChain, VersionFile::Key][..],
            false => &[VersionFile::FullChain],
        };
        let keys = files
            .iter()
            .map(|file| Key::version(id, version.number, *file));
        let glances = store.glance(keys.collect()).await?;
        let is_as_left = |glance: &Option<Glance>| {
            glance
                .is_some_and(|g| g.size > 0 && g.modified.duration_since(version.issued) < WRITING)
        };
        if glances.iter().all(is_as_left) {
            return Ok(None);
        }
        match Self::read(store, id, version).await {
            Ok(_) => Ok(None),
            Err(StoreError::Corrupt { key, detail }) => Ok(Some(format!("{key}: {detail}"))),
            Err(error) => Err(error),
        }
    }

    /// The files that they become.
    pub fn bundle(&self) -> Bundle<'_> {
        let (cert, chain) = split_chain(&self.fullchain);
        Bundle {
            privkey: self.privkey.as_ref(),
            cert,
            chain,
            fullchain: &self.fullchain,
        }
    }
}

async fn read(
    store: &dyn Store,
    id: &CertId,
    version: &Version,
    file: VersionFile,
) -> Result<(Key, String), StoreError> {
    let key = Key::version(id, version.number, file);
    let problem = match store.get(&key).await? {
        Some((content, _)) => match String::from_utf8(content) {
            Ok(text) => return Ok((key, text)),
            Err(error) => error.to_string(),
        },
        None => "it is not there".to_owned(),
    };
    Err(StoreError::Corrupt {
        key: key.to_string(),
        detail: problem,
    })
}

/// The first certificate, and the rest.
fn split_chain(fullchain: &str) -> (&str, &str) {
    const END: &str = "-----END CERTIFICATE-----\n";
    match fullchain.find(END) {
        Some(at) => fullchain.split_at(at + END.len()),
        None => (fullchain, ""),
    }
}

/// From the time that a version says it was stored at until it was.
const WRITING: SignedDuration = SignedDuration::from_mins(1);
