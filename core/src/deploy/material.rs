//! A version as the store has it, ready to be written somewhere.

use secrecy::SecretString;

use crate::acme::CertificateChain;
use crate::acme::CertificateKey;
use crate::deploy::Bundle;
use crate::store::CertId;
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
    /// Reads a version, and refuses a key that is not the certificate's.
    pub async fn read(
        store: &dyn Store,
        id: &CertId,
        version: &Version,
    ) -> Result<Self, StoreError> {
        let (_, fullchain) = read(store, id, version, VersionFile::FullChain).await?;
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
