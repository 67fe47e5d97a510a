//! From plain to encrypted, back, and from one key to another.
//!
//! The seal is written first, and says what is done with whatever is written from then on; then every private part is
//! changed under the lock of what it belongs to; then the seal says that all is done. Cut anywhere, the store works with the key that
//! the seal opens for, and the same call goes on.

use serde::Serialize;

use super::Seal;
use super::SealProblem;
use super::SealState;
use super::SealedStore;
use super::StoreKey;
use super::StoreKeyKind;
use super::decrypted;
use super::encrypted;
use super::has_encrypted;
use super::has_plain;
use super::seal::Opened;
use crate::store::CertId;
use crate::store::Key;
use crate::store::LockGuard;
use crate::store::LockName;
use crate::store::Patience;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Tag;
use crate::store::to_json;

/// What a change of the encryption has done.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Resealed {
    /// Private parts that were written anew.
    pub changed: usize,
    /// Whether an earlier call was cut, and this one went on.
    pub resumed: bool,
    /// Whether there was nothing to do.
    pub already: bool,
}

/// How a store is encrypted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SealStatus {
    /// How far, and by what kind of key; none where it is not.
    pub seal: Option<(SealState, StoreKeyKind)>,
    /// Private parts that are encrypted.
    pub encrypted: usize,
    /// Private parts that are not.
    pub plain: usize,
}

impl SealedStore {
    /// How it is encrypted; needs no key.
    pub async fn status(&self) -> Result<SealStatus, StoreError> {
        let seal = self.seal().await?.map(|(seal, _)| seal);
        let mut status = SealStatus {
            seal: seal.map(|seal| (seal.state, seal.opened_by)),
            encrypted: 0,
            plain: 0,
        };
        for (_, prefix) in self.parts().await? {
            for key in self.private_below(&prefix).await? {
                match self.store.get(&key).await? {
                    Some((content, _)) if has_plain(&key, &content) => status.plain += 1,
                    Some((content, _)) if has_encrypted(&key, &content) => status.encrypted += 1,
                    _ => {}
                }
            }
        }
        Ok(status)
    }

    /// Encrypts what is private with `key`, or goes on with that.
    pub async fn encrypt(
        &self,
        key: &StoreKey,
        patience: Patience<'_>,
    ) -> Result<Resealed, StoreError> {
        let _lock = self.lock_seal(&patience).await?;
        let (seal, tag, resumed, opened) = match self.seal().await? {
            Some((seal, tag)) => {
                let opened = opened(&seal, key)?;
                if seal.state == SealState::Sealed {
                    return Ok(Resealed {
                        already: true,
                        ..Resealed::default()
                    });
                }
                let was = seal.state;
                let (seal, tag) = self.set_state(seal, &tag, SealState::Sealing).await?;
                (seal, tag, was == SealState::Sealing, opened)
            }
            None => {
                let (seal, opened) = Seal::new(key, None).ok_or(BROKEN)?;
                let at = Key::seal();
                let tag = self.store.put_if_absent(&at, to_json(&at, &seal)?).await?;
                (seal, tag, false, opened)
            }
        };
        let changed = self.go_on(seal, &tag, &opened, &patience).await?;
        Ok(Resealed {
            changed,
            resumed,
            already: false,
        })
    }

    /// Encrypts what is private with `new` in place of the key it has, or goes on with that.
    pub async fn rekey(
        &self,
        new: &StoreKey,
        patience: Patience<'_>,
    ) -> Result<Resealed, StoreError> {
        let _lock = self.lock_seal(&patience).await?;
        let Some((seal, tag)) = self.seal().await? else {
            return Err(BROKEN);
        };
        if let Ok(opened) = opened(&seal, new) {
            if seal.state == SealState::Sealed {
                return Ok(Resealed {
                    already: true,
                    ..Resealed::default()
                });
            }
            let (seal, tag) = self.set_state(seal, &tag, SealState::Sealing).await?;
            let changed = self.go_on(seal, &tag, &opened, &patience).await?;
            return Ok(Resealed {
                changed,
                resumed: true,
                already: false,
            });
        }
        let before = self.open(&seal).await?;
        // Two keys ago would be read by nobody any more.
        let tag = match seal.before {
            Some(_) => {
                self.go_on(seal, &tag, &before, &patience).await?;
                self.seal().await?.ok_or(BROKEN)?.1
            }
            None => tag,
        };
        let (seal, opened) = Seal::new(new, Some(&before)).ok_or(BROKEN)?;
        let at = Key::seal();
        let tag = self
            .store
            .put_if_match(&at, to_json(&at, &seal)?, &tag)
            .await?;
        let changed = self.go_on(seal, &tag, &opened, &patience).await?;
        Ok(Resealed {
            changed,
            resumed: false,
            already: false,
        })
    }

    /// Writes what is private as it is, or goes on with that.
    pub async fn decrypt(&self, patience: Patience<'_>) -> Result<Resealed, StoreError> {
        let _lock = self.lock_seal(&patience).await?;
        let Some((seal, tag)) = self.seal().await? else {
            return Ok(Resealed {
                already: true,
                ..Resealed::default()
            });
        };
        let opened = self.open(&seal).await?;
        let resumed = seal.state == SealState::Unsealing;
        self.set_state(seal, &tag, SealState::Unsealing).await?;
        let change = |key: &Key, content: Vec<u8>| match has_encrypted(key, &content) {
            true => decrypted(key, content, &opened).map(Some),
            false => Ok(None),
        };
        let changed = self.each_private_part(change, &patience).await?;
        self.store.delete(&Key::seal()).await?;
        Ok(Resealed {
            changed,
            resumed,
            already: false,
        })
    }

    /// Everything private under this seal, and then the seal says so.
    async fn go_on(
        &self,
        mut seal: Seal,
        tag: &Tag,
        opened: &Opened,
        patience: &Patience<'_>,
    ) -> Result<usize, StoreError> {
        let newest = opened.newest();
        let change = |key: &Key, content: Vec<u8>| {
            let is_done =
                !has_plain(key, &content) && decrypted(key, content.clone(), &newest).is_ok();
            if is_done {
                return Ok(None);
            }
            let plain = match has_encrypted(key, &content) {
                true => decrypted(key, content, opened)?,
                false => content,
            };
            encrypted(key, plain, &seal).map(Some)
        };
        let changed = self.each_private_part(change, patience).await?;
        seal.before = None;
        self.set_state(seal, tag, SealState::Sealed).await?;
        Ok(changed)
    }

    /// Changes what `change` wants changed, each under the lock of what it belongs to.
    async fn each_private_part(
        &self,
        change: impl Fn(&Key, Vec<u8>) -> Result<Option<Vec<u8>>, StoreError>,
        patience: &Patience<'_>,
    ) -> Result<usize, StoreError> {
        let mut changed = 0;
        for (lock, prefix) in self.parts().await? {
            let _lock = self.store.lock(&lock, again(patience)).await?;
            if !prefix.is_private() {
                // What a killed run left half-written may be a key.
                self.store.tidy(&prefix).await?;
            }
            for key in self.private_below(&prefix).await? {
                let Some((content, tag)) = self.store.get(&key).await? else {
                    continue;
                };
                if let Some(content) = change(&key, content)? {
                    self.store.put_if_match(&key, content, &tag).await?;
                    changed += 1;
                }
            }
        }
        Ok(changed)
    }

    /// Where something private is, and what has to be locked for it.
    async fn parts(&self) -> Result<Vec<(LockName, Key)>, StoreError> {
        let mut parts = Vec::new();
        for name in self.store.names(&Key::certificates()).await? {
            if let Ok(id) = name.parse::<CertId>() {
                parts.push((LockName::certificate(&id), Key::certificate(&id)));
            }
        }
        for key in self.store.list(&Key::accounts()).await? {
            if let Some(id) = key.account_id() {
                parts.push((LockName::account(&id), key));
            }
        }
        Ok(parts)
    }

    async fn private_below(&self, prefix: &Key) -> Result<Vec<Key>, StoreError> {
        if prefix.is_private() {
            return Ok(vec![prefix.clone()]);
        }
        let keys = self.store.list(prefix).await?;
        Ok(keys.into_iter().filter(Key::is_private).collect())
    }

    async fn set_state(
        &self,
        mut seal: Seal,
        tag: &Tag,
        state: SealState,
    ) -> Result<(Seal, Tag), StoreError> {
        seal.state = state;
        let at = Key::seal();
        let content = to_json(&at, &seal)?;
        let tag = self.store.put_if_match(&at, content, tag).await?;
        Ok((seal, tag))
    }

    async fn lock_seal(&self, patience: &Patience<'_>) -> Result<Box<dyn LockGuard>, StoreError> {
        self.store.lock(&LockName::seal(), again(patience)).await
    }
}

fn opened(seal: &Seal, key: &StoreKey) -> Result<Opened, StoreError> {
    seal.open(key).ok_or(StoreError::Sealed {
        problem: SealProblem::OtherKey {
            given: key.kind(),
            wanted: seal.opened_by,
        },
    })
}

fn again<'a>(patience: &Patience<'a>) -> Patience<'a> {
    Patience {
        cancel: patience.cancel,
        at_most: patience.at_most,
        on_wait: patience.on_wait,
    }
}

const BROKEN: StoreError = StoreError::Sealed {
    problem: SealProblem::NoSeal,
};
