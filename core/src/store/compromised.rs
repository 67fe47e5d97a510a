//! Keys that somebody else may have: marked once, and in no certificate again.
//!
//! A mark is a file of its own, named by the digest of the public key, so that it outlives the certificate that was
//! removed with `--delete`, and holds for every certificate of the store. Nothing here is secret.

use jiff::Timestamp;
use serde::Deserialize;
use serde::Serialize;

use crate::store::CertId;
use crate::store::Key;
use crate::store::SCHEMA;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::from_json;
use crate::store::to_json;

/// A key that must not be used again.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CompromisedKey {
    schema: u32,
    /// SHA-256 over the DER of the public key (SubjectPublicKeyInfo), in hexadecimal.
    pub spki_sha256: String,
    /// The certificate in which it stood, where the store has it.
    #[serde(default)]
    pub certificate: Option<CertId>,
    /// The serial number of the revoked certificate, in hexadecimal.
    pub serial: String,
    /// When it was marked.
    pub since: Timestamp,
}

impl CompromisedKey {
    /// A mark that is not written yet.
    pub fn new(
        spki_sha256: String,
        certificate: Option<CertId>,
        serial: String,
        since: Timestamp,
    ) -> Self {
        Self {
            schema: SCHEMA,
            spki_sha256,
            certificate,
            serial,
            since,
        }
    }

    /// The mark of the key with this digest, where there is one.
    pub async fn load(store: &dyn Store, spki_sha256: &str) -> Result<Option<Self>, StoreError> {
        let key = Key::compromised(spki_sha256);
        match store.get(&key).await? {
            Some((content, _)) => Ok(Some(from_json(&key, &content)?)),
            None => Ok(None),
        }
    }

    /// Writes it; a mark that is there already stays.
    pub async fn save(&self, store: &dyn Store) -> Result<(), StoreError> {
        let key = Key::compromised(&self.spki_sha256);
        match store.put_if_absent(&key, to_json(&key, self)?).await {
            Ok(_) | Err(StoreError::Changed { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::DirectoryStore;

    #[tokio::test]
    async fn a_mark_stays() {
        let root = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(&root.path().join("s")).unwrap();
        let digest = "ab".repeat(32);
        assert_eq!(CompromisedKey::load(&store, &digest).await.unwrap(), None);
        let mark = CompromisedKey::new(digest.clone(), None, "01".into(), Timestamp::UNIX_EPOCH);
        mark.save(&store).await.unwrap();
        let later = CompromisedKey::new(digest.clone(), None, "02".into(), Timestamp::UNIX_EPOCH);
        later.save(&store).await.unwrap();
        let found = CompromisedKey::load(&store, &digest).await.unwrap();
        assert_eq!(found, Some(mark));
    }
}
