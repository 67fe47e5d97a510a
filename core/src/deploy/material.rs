//! A version as the store has it, ready to be written somewhere.

use jiff::SignedDuration;
use secrecy::SecretString;

use crate::acme::CertificateChain;
use crate::acme::CertificateKey;
use crate::deploy::Bundle;
use crate::store::CertId;
use crate::store::Glance;
use crate::store::Key;
use crate::store::SealedStore;
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
        let mut contents = Vec::new();
        for key in keys(id, version) {
            let found = store.get(&key).await?;
            contents.push((key, found.map(|(content, _)| content)));
        }
        Self::of(contents, version)
    }

    /// What is wrong with a version in the store; it is read only where its files are not as they were left.
    ///
    /// A store that was put back from a backup may have new times. Then it is read each time, and is well. Of an encrypted key no more
    /// is looked at than that it is there.
    pub fn damage(
        store: &SealedStore,
        id: &CertId,
        version: &Version,
    ) -> Result<Option<String>, StoreError> {
        let is_as_left = |glance: Option<Glance>| {
            glance
                .is_some_and(|g| g.size > 0 && g.modified.duration_since(version.issued) < WRITING)
        };
        let files = store.directory();
        if keys(id, version).all(|key| is_as_left(files.glance(&key))) {
            return Ok(None);
        }
        let mut contents = Vec::new();
        for key in keys(id, version) {
            let found = files.read(&key)?;
            contents.push((key, found));
        }
        let has_all = contents
            .iter()
            .all(|(_, found)| found.as_ref().is_some_and(|found| !found.is_empty()));
        if has_all && store.is_sealed_now()? {
            contents.truncate(1);
        }
        match Self::of(contents, version) {
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

    /// Out of what is under [`keys`].
    fn of(contents: Vec<(Key, Option<Vec<u8>>)>, version: &Version) -> Result<Self, StoreError> {
        let mut texts = contents.into_iter().map(|(key, content)| {
            let text = text(&key, content)?;
            Ok::<_, StoreError>((key, text))
        });
        let corrupt = |key: &Key, detail: &str| StoreError::Corrupt {
            key: key.to_string(),
            detail: detail.to_owned(),
        };
        let Some((chain_at, fullchain)) = texts.next().transpose()? else {
            return Ok(Self {
                fullchain: String::new(),
                privkey: None,
            });
        };
        let top = version.top_issuer.as_deref();
        if !CertificateChain::is_that_of(&fullchain, &version.serial, top) {
            return Err(corrupt(&chain_at, "it is not the chain that was stored"));
        }
        let Some((key_at, privkey)) = texts.next().transpose()? else {
            return Ok(Self {
                fullchain,
                privkey: None,
            });
        };
        let privkey = SecretString::from(privkey);
        let belongs = CertificateKey::from_pem(&privkey)
            .is_ok_and(|key| CertificateChain::is_for(&fullchain, &key));
        match belongs {
            true => Ok(Self {
                fullchain,
                privkey: Some(privkey),
            }),
            false => Err(corrupt(
                &key_at,
                "it is not the key of the certificate beside it",
            )),
        }
    }
}

/// The chain, and then the key where it is here.
fn keys(id: &CertId, version: &Version) -> impl Iterator<Item = Key> {
    let key = version.has_key().then_some(VersionFile::Key);
    let files = [VersionFile::FullChain].into_iter().chain(key);
    files.map(|file| Key::version(id, version.number, file))
}

fn text(key: &Key, content: Option<Vec<u8>>) -> Result<String, StoreError> {
    let problem = match content.map(String::from_utf8) {
        Some(Ok(text)) => return Ok(text),
        Some(Err(error)) => error.utf8_error().to_string(),
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
