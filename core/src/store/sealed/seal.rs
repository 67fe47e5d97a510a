//! What says how a store is encrypted, and the key that opens it.
//!
//! The store has an identity of its own (X25519, as `age` has them), to which every private part is encrypted. That identity stands in
//! `seal.json`, encrypted in turn by the key that its owner keeps elsewhere: an `age` identity or a passphrase. So a passphrase costs its
//! time once a run and not once a file, and all of it can be read without us, by `age` alone.

use std::fmt;
use std::str::FromStr;

use age::scrypt;
use age::x25519;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use serde::Deserialize;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::store::SCHEMA;

/// How a store is encrypted: `seal.json`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Seal {
    schema: u32,
    /// How far it is.
    pub(super) state: SealState,
    /// What kind of key opens it.
    pub(super) opened_by: StoreKeyKind,
    /// To whom private parts are encrypted.
    pub(super) recipient: String,
    /// Who reads them: an identity, encrypted by the key of the store's owner.
    pub(super) identity: String,
    /// Who reads those that a change of the key has not come to yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<String>,
}

/// How far a store is encrypted.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SealState {
    /// Altogether.
    Sealed,
    /// What is written is; some of what was there may not be yet.
    Sealing,
    /// What is written is not; some of what was there may still be.
    Unsealing,
}

/// What kind of key opens a store.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreKeyKind {
    /// An `age` identity (`AGE-SECRET-KEY-1…`).
    Identity,
    /// A passphrase.
    Passphrase,
}

impl fmt::Display for StoreKeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identity => "an age identity",
            Self::Passphrase => "a passphrase",
        })
    }
}

/// The key of a store's owner: an `age` identity or a passphrase.
#[derive(Clone)]
pub struct StoreKey(Inner);

#[derive(Clone)]
enum Inner {
    Identity(x25519::Identity),
    Passphrase(SecretString),
}

impl StoreKey {
    /// The key in a text: an identity as `age-keygen` writes it, comments included, or else a passphrase.
    pub fn parse(text: &SecretString) -> Result<Self, StoreKeyError> {
        let text = text.expose_secret().trim();
        let mut lines = text.lines().map(str::trim);
        let identity = lines.find(|line| {
            line.get(..IDENTITY.len())
                .is_some_and(|begin| begin.eq_ignore_ascii_case(IDENTITY))
        });
        if let Some(line) = identity {
            return match x25519::Identity::from_str(line) {
                Ok(identity) => Ok(Self(Inner::Identity(identity))),
                Err(_) => Err(StoreKeyError::Identity),
            };
        }
        if text.starts_with("age1") {
            return Err(StoreKeyError::Recipient);
        }
        match text.len() {
            0 => Err(StoreKeyError::Empty),
            1..SHORTEST => Err(StoreKeyError::Short),
            _ => Ok(Self(Inner::Passphrase(text.to_owned().into()))),
        }
    }

    /// What kind it is.
    pub fn kind(&self) -> StoreKeyKind {
        match &self.0 {
            Inner::Identity(_) => StoreKeyKind::Identity,
            Inner::Passphrase(_) => StoreKeyKind::Passphrase,
        }
    }

    fn encrypt(&self, content: &[u8]) -> Option<String> {
        match &self.0 {
            Inner::Identity(identity) => {
                age::encrypt_and_armor(&identity.to_public(), content).ok()
            }
            Inner::Passphrase(passphrase) => {
                let mut recipient = scrypt::Recipient::new(passphrase.clone());
                recipient.set_work_factor(WORK_FACTOR);
                age::encrypt_and_armor(&recipient, content).ok()
            }
        }
    }

    fn decrypt(&self, content: &str) -> Option<Zeroizing<Vec<u8>>> {
        let content = content.as_bytes();
        let plain = match &self.0 {
            Inner::Identity(identity) => age::decrypt(identity, content),
            Inner::Passphrase(passphrase) => {
                let mut identity = scrypt::Identity::new(passphrase.clone());
                identity.set_max_work_factor(MAX_WORK_FACTOR);
                age::decrypt(&identity, content)
            }
        };
        plain.ok().map(Zeroizing::new)
    }
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoreKey").field(&self.kind()).finish()
    }
}

/// Why a text is no key of a store; never quotes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreKeyError {
    /// There is nothing.
    #[error("it is empty")]
    Empty,
    /// An identity with a mistake in it.
    #[error("it begins like an age identity, and is none")]
    Identity,
    /// Somebody gave the public half.
    #[error("it is the public half of an age key, which reads nothing")]
    Recipient,
    /// Guessed in no time.
    #[error("a passphrase of less than {SHORTEST} octets is guessed too easily")]
    Short,
}

/// Who reads the private parts of a store.
#[derive(Clone)]
pub(super) struct Opened(Vec<x25519::Identity>);

impl Opened {
    /// Without whoever read it before a change of the key.
    pub(super) fn newest(&self) -> Self {
        Self(self.0.iter().take(1).cloned().collect())
    }

    /// The private part, where it was encrypted for this store.
    pub(super) fn decrypt(&self, content: &[u8]) -> Option<Vec<u8>> {
        self.0
            .iter()
            .find_map(|identity| age::decrypt(identity, content).ok())
    }
}

impl Seal {
    /// A seal that `key` opens, and nothing is encrypted by yet; and who it opens for, because opening it takes its time. `before` reads what is there already.
    pub(super) fn new(key: &StoreKey, before: Option<&Opened>) -> Option<(Self, Opened)> {
        let identity = x25519::Identity::generate();
        let mut opened = vec![identity.clone()];
        let before = match before.and_then(|before| before.0.first()) {
            Some(before) => {
                opened.push(before.clone());
                Some(key.encrypt(before.to_string().expose_secret().as_bytes())?)
            }
            None => None,
        };
        let seal = Self {
            schema: SCHEMA,
            state: SealState::Sealing,
            opened_by: key.kind(),
            recipient: identity.to_public().to_string(),
            identity: key.encrypt(identity.to_string().expose_secret().as_bytes())?,
            before,
        };
        Some((seal, Opened(opened)))
    }

    /// Opens it; `None` where it is another key.
    pub(super) fn open(&self, key: &StoreKey) -> Option<Opened> {
        let read = |armored: &str| {
            let text = key.decrypt(armored)?;
            x25519::Identity::from_str(std::str::from_utf8(&text).ok()?).ok()
        };
        let mut identities = vec![read(&self.identity)?];
        if let Some(before) = &self.before {
            identities.push(read(before)?);
        }
        Some(Opened(identities))
    }

    /// Encrypts a private part; `None` where the seal itself is broken.
    pub(super) fn encrypt(&self, content: &[u8]) -> Option<String> {
        let recipient = x25519::Recipient::from_str(&self.recipient).ok()?;
        age::encrypt_and_armor(&recipient, content).ok()
    }
}

/// Whether something was encrypted by `age`.
pub(super) fn is_encrypted(content: &[u8]) -> bool {
    content.starts_with(ARMOR.as_bytes())
}

const ARMOR: &str = "-----BEGIN AGE ENCRYPTED FILE-----";
const IDENTITY: &str = "AGE-SECRET-KEY-1";
/// Of a passphrase; scrypt makes guessing slow, not impossible.
const SHORTEST: usize = 12;
/// log2 of scrypt's N. 2^17 with r = 8 takes 128 MiB and some tenths of a second, once a run.
const WORK_FACTOR: u8 = 17;
/// What is opened: who can change `seal.json` shall not be able to occupy a machine for hours.
const MAX_WORK_FACTOR: u8 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<StoreKey, StoreKeyError> {
        StoreKey::parse(&SecretString::from(text.to_owned()))
    }

    #[test]
    fn keys_are_told_apart() {
        let identity = x25519::Identity::generate().to_string();
        let identity = identity.expose_secret();
        let file = format!("# created: today\n# public key: age1x\n{identity}\n");
        assert_eq!(parse(&file).unwrap().kind(), StoreKeyKind::Identity);
        let passphrase = parse("correct horse battery").unwrap();
        assert_eq!(passphrase.kind(), StoreKeyKind::Passphrase);
        assert!(!format!("{passphrase:?}").contains("horse"));
        assert_eq!(parse(" \n").unwrap_err(), StoreKeyError::Empty);
        assert_eq!(parse("short").unwrap_err(), StoreKeyError::Short);
        let broken = &identity[..identity.len() - 1];
        assert_eq!(parse(broken).unwrap_err(), StoreKeyError::Identity);
        let public = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
        assert_eq!(parse(public).unwrap_err(), StoreKeyError::Recipient);
    }

    #[test]
    fn a_seal_opens_for_its_key_alone() {
        let identity = x25519::Identity::generate().to_string();
        let key = StoreKey::parse(&identity).unwrap();
        let (seal, _) = Seal::new(&key, None).unwrap();
        let private = seal.encrypt(b"canary").unwrap();
        assert!(is_encrypted(private.as_bytes()) && !private.contains("canary"));
        let opened = seal.open(&key).unwrap();
        assert_eq!(opened.decrypt(private.as_bytes()).unwrap(), b"canary");

        let other = parse("correct horse battery").unwrap();
        assert!(seal.open(&other).is_none());
        // After a change of the key, what was encrypted before is still read.
        let (next, _) = Seal::new(&other, Some(&opened)).unwrap();
        assert!(next.open(&key).is_none());
        let opened = next.open(&other).unwrap();
        assert_eq!(opened.decrypt(private.as_bytes()).unwrap(), b"canary");
    }
}
