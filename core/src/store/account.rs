//! An account at one CA, as it is stored.

use std::fmt;

use aws_lc_rs::digest;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use serde::Deserialize;
use serde::Serialize;
use serde::Serializer;
use url::Url;

use crate::store::Key;
use crate::store::SCHEMA;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Tag;
use crate::store::from_json;
use crate::store::to_json;

/// The name of an account in the store: the CA's host and a digest of the directory URL.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct AccountId(String);

impl AccountId {
    /// The account that is used at `directory` unless another is asked for.
    pub fn for_directory(directory: &Url) -> Self {
        let digest = digest::digest(&digest::SHA256, directory.as_str().as_bytes());
        let short: String = digest.as_ref()[..4]
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        let host: String = directory
            .host_str()
            .unwrap_or("ca")
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '.' {
                    c.to_ascii_lowercase()
                } else {
                    '-'
                }
            })
            .collect();
        let host = host.trim_matches(['.', '-']);
        match host.is_empty() {
            true => Self(format!("ca-{short}")),
            false => Self(format!("{host}-{short}")),
        }
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An account: its key, and where it is registered.
#[derive(Debug, Deserialize, Serialize)]
pub struct StoredAccount {
    schema: u32,
    /// Its name in this store.
    pub id: AccountId,
    /// The directory it belongs to.
    pub directory: Url,
    /// Its URL at the CA, once it is registered. The key stands here before.
    pub url: Option<String>,
    /// The private key: PKCS#8 in base64.
    #[serde(serialize_with = "expose")]
    pub key: SecretString,
    /// The contacts it was registered with.
    #[serde(default)]
    pub contacts: Vec<String>,
    /// The key identifier of its external account, where it has one.
    #[serde(default)]
    pub eab_kid: Option<String>,
    /// When the key was made.
    pub created: Timestamp,
}

impl StoredAccount {
    /// A key that no CA knows yet.
    pub fn new(directory: Url, key: SecretString, now: Timestamp) -> Self {
        Self {
            schema: SCHEMA,
            id: AccountId::for_directory(&directory),
            directory,
            url: None,
            key,
            contacts: Vec::new(),
            eab_kid: None,
            created: now,
        }
    }

    /// The account `id`, where there is one.
    pub async fn load(
        store: &dyn Store,
        id: &AccountId,
    ) -> Result<Option<(Self, Tag)>, StoreError> {
        let key = Key::account(id);
        match store.get(&key).await? {
            Some((content, tag)) => Ok(Some((from_json(&key, &content)?, tag))),
            None => Ok(None),
        }
    }

    /// Writes it: over what had `tag`, or as a new one.
    pub async fn save(&self, store: &dyn Store, tag: Option<&Tag>) -> Result<Tag, StoreError> {
        let key = Key::account(&self.id);
        let content = to_json(&key, self)?;
        match tag {
            Some(tag) => store.put_if_match(&key, content, tag).await,
            None => store.put_if_absent(&key, content).await,
        }
    }
}

/// The one place where the key leaves its wrapper: into the private file.
fn expose<S: Serializer>(key: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(key.expose_secret())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_safe_file_name() {
        for (url, wanted) in [
            (
                "https://acme-v02.api.letsencrypt.org/directory",
                "acme-v02.api.letsencrypt.org-",
            ),
            ("https://[::1]:14000/dir", "--1-"),
        ] {
            let id = AccountId::for_directory(&url.parse().unwrap()).to_string();
            assert!(id.contains(wanted.trim_start_matches('-')), "{id}");
            assert!(
                id.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b)),
                "{id}"
            );
            assert!(!id.starts_with(['.', '-']), "{id}");
        }
    }

    #[test]
    fn the_key_is_not_shown() {
        let key = SecretString::from("canary".to_owned());
        let account = StoredAccount::new(
            "https://ca.test/dir".parse().unwrap(),
            key,
            Timestamp::UNIX_EPOCH,
        );
        assert!(!format!("{account:?}").contains("canary"));
        assert!(serde_json::to_string(&account).unwrap().contains("canary"));
    }
}
