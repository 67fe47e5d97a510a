//! An account at one CA, as it is stored.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use url::Url;

use crate::store::Key;
use crate::store::SCHEMA;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Tag;
use crate::store::from_json;
use crate::store::of_its_name;
use crate::store::to_json;

/// The name of an account in the store: one path component.
///
/// The one that is used at a CA unless another is asked for is called after the CA's host, with a digest of the directory URL;
/// others are called as people like.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
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

impl FromStr for AccountId {
    type Err = AccountIdError;

    fn from_str(input: &str) -> Result<Self, Self::Err> {
        let error = |problem| AccountIdError {
            id: input.to_owned(),
            problem,
        };
        let id = input.to_ascii_lowercase();
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
        if id.is_empty() {
            return Err(error("it is empty"));
        }
        if id.len() > LONGEST_ID {
            return Err(error("it is longer than 200 octets"));
        }
        if !id.bytes().all(allowed) {
            return Err(error(
                "letters, digits, `-`, `_` and `.` are all it may hold",
            ));
        }
        if id.starts_with(['.', '-']) || id.ends_with('.') || id.contains("..") {
            return Err(error(
                "it begins with neither `.` nor `-`, and dots stand between other characters",
            ));
        }
        Ok(Self(id))
    }
}

impl<'de> Deserialize<'de> for AccountId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Why a text cannot name an account.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{id}` cannot be the name of an account: {problem}")]
pub struct AccountIdError {
    id: String,
    problem: &'static str,
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
    /// The key it is about to get, in the same form. It stands here before the CA hears of it, and until it is known which of
    /// the two the CA has.
    #[serde(
        default,
        serialize_with = "expose_some",
        skip_serializing_if = "Option::is_none"
    )]
    pub pending_key: Option<SecretString>,
    /// When it was deactivated, which is for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deactivated: Option<Timestamp>,
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
    pub fn new(id: AccountId, directory: Url, key: SecretString, now: Timestamp) -> Self {
        Self {
            schema: SCHEMA,
            id,
            directory,
            url: None,
            key,
            pending_key: None,
            deactivated: None,
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
            Some((content, tag)) => {
                let account: Self = from_json(&key, &content)?;
                of_its_name(&key, &account.id, id)?;
                Ok(Some((account, tag)))
            }
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

fn expose_some<S: Serializer>(
    key: &Option<SecretString>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match key {
        Some(key) => serializer.serialize_some(key.expose_secret()),
        None => serializer.serialize_none(),
    }
}

/// Leaves room for `.json` and what a temporary file is called.
const LONGEST_ID: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_somebody_is_a_safe_file_name_too() {
        for good in ["work", "Work", "le_2", "a.b-c"] {
            let id: AccountId = good.parse().unwrap();
            assert_eq!(id.to_string(), good.to_ascii_lowercase());
        }
        for bad in [
            "", ".", "..", "../x", "a/b", "-a", ".a", "a..b", "a.", "é", "a b",
        ] {
            assert!(bad.parse::<AccountId>().is_err(), "{bad}");
            let json = serde_json::to_string(bad).unwrap();
            assert!(serde_json::from_str::<AccountId>(&json).is_err(), "{bad}");
        }
    }

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
        let directory: Url = "https://ca.test/dir".parse().unwrap();
        let id = AccountId::for_directory(&directory);
        let mut account = StoredAccount::new(id, directory, key, Timestamp::UNIX_EPOCH);
        account.pending_key = Some(SecretString::from("canary2".to_owned()));
        assert!(!format!("{account:?}").contains("canary"));
        assert!(serde_json::to_string(&account).unwrap().contains("canary"));
    }
}
