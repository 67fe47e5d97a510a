//! The key of a certificate on its way: made while the zones propagate, kept from before, given, or with somebody else.
//!
//! Whatever it is, the number of the version stands in the head, and the key in the store, before the order is finalized. Of a
//! signing request only the number stands there, because its key never comes here.

use std::sync::Arc;

use secrecy::ExposeSecret;
use secrecy::SecretString;
use tokio::task::JoinHandle;

use super::IssueError;
use super::options::KeyChoice;
use super::recover::Resumed;
use super::walk::Walk;
use crate::acme::Account;
use crate::acme::CertificateKey;
use crate::acme::CertificateKeyError;
use crate::acme::Csr;
use crate::acme::KeyOf;
use crate::dns::Identifier;
use crate::store::CompromisedKey;
use crate::store::Key;
use crate::store::StoreError;
use crate::store::VersionFile;

/// What a certificate is finalized with.
#[derive(Clone, Debug)]
pub(super) enum Material {
    Csr(Arc<Csr>),
    Key(Arc<CertificateKey>),
}

impl Material {
    /// What is sent to the CA.
    pub(super) fn csr(
        &self,
        names: &[Identifier],
        must_staple: bool,
    ) -> Result<Vec<u8>, CertificateKeyError> {
        match self {
            Self::Csr(csr) => Ok(csr.der().to_vec()),
            Self::Key(key) => key.csr_with(names, must_staple),
        }
    }

    /// What the certificate has to be for.
    pub(super) fn public(&self) -> KeyOf<'_> {
        match self {
            Self::Csr(csr) => csr.as_ref().into(),
            Self::Key(key) => key.as_ref().into(),
        }
    }

    fn spki_sha256(&self) -> String {
        match self {
            Self::Csr(csr) => csr.spki_sha256().to_owned(),
            Self::Key(key) => key.spki_sha256(),
        }
    }

    fn is_key_of(&self, account: &Account) -> bool {
        match self {
            Self::Csr(csr) => csr.is_key_of(account.key()),
            Self::Key(key) => key.is_key_of(account.key()),
        }
    }
}

/// The key of the certificate that is being ordered.
#[derive(Debug)]
pub(super) enum KeyInTheMaking {
    /// There, and not in the store under the number of this version.
    Known(Material),
    Making(JoinHandle<Result<CertificateKey, CertificateKeyError>>),
    /// Of an order of an earlier run.
    Stored(u32, Material),
}

impl KeyInTheMaking {
    pub(super) async fn begin(
        walk: &Walk<'_>,
        account: &Account,
        resumed: Option<&Resumed>,
    ) -> Result<Self, IssueError> {
        let choice = &walk.request.options.key;
        if let Some((number, key)) = resumed.and_then(|r| r.key.as_ref()) {
            let material = match (key, choice) {
                (Some(key), _) => Material::Key(Arc::new(
                    CertificateKey::from_pem(key).map_err(IssueError::Key)?,
                )),
                (None, KeyChoice::Csr(csr)) => Material::Csr(csr.clone()),
                (None, _) => return Err(IssueError::Key(CertificateKeyError::Unsupported)),
            };
            check_not_compromised(walk, &material).await?;
            return Ok(Self::Stored(*number, material));
        }
        let known = match choice {
            KeyChoice::Csr(csr) => Some(Material::Csr(csr.clone())),
            KeyChoice::Given(key) => Some(Material::Key(key.clone())),
            KeyChoice::Reuse if !walk.request.options.new_key => {
                kept(walk).await?.map(|key| Material::Key(Arc::new(key)))
            }
            KeyChoice::New | KeyChoice::Reuse => None,
        };
        match known {
            // RFC 8555 section 11.1
            Some(material) if material.is_key_of(account) => Err(IssueError::AccountKeyAsked {
                id: walk.request.id.clone(),
                url: account.url().to_owned(),
            }),
            Some(material) => {
                check_not_compromised(walk, &material).await?;
                Ok(Self::Known(material))
            }
            None => {
                let key_type = walk.request.key_type;
                Ok(Self::Making(tokio::task::spawn_blocking(move || {
                    CertificateKey::generate(key_type)
                })))
            }
        }
    }

    /// The number of the version and the key, both written down.
    pub(super) async fn stored(self, walk: &Walk<'_>) -> Result<(u32, Material), IssueError> {
        let material = match self {
            Self::Stored(number, material) => return Ok((number, material)),
            Self::Known(material) => material,
            Self::Making(making) => match making.await {
                Ok(key) => Material::Key(Arc::new(key.map_err(IssueError::Key)?)),
                Err(_) => return Err(IssueError::Cancelled),
            },
        };
        let number = next_number(walk).await?;
        walk.session
            .update(|head| {
                head.last_version = number;
                if let Some(order) = &mut head.order {
                    order.version = Some(number);
                }
            })
            .await?;
        if let Material::Key(key) = &material {
            let pem = key.to_pem();
            let content = pem.expose_secret().as_bytes().to_vec();
            let store_key = Key::version(&walk.request.id, number, VersionFile::Key);
            walk.engine.store.put_if_absent(&store_key, content).await?;
        }
        Ok((number, material))
    }
}

/// A key that was marked when a certificate was revoked is in no certificate again.
async fn check_not_compromised(walk: &Walk<'_>, key: &Material) -> Result<(), IssueError> {
    match CompromisedKey::load(&*walk.engine.store, &key.spki_sha256()).await? {
        Some(mark) => Err(IssueError::CompromisedKey {
            id: walk.request.id.clone(),
            since: mark.since,
        }),
        None => Ok(()),
    }
}

/// The key of the version in force, where it can be kept.
async fn kept(walk: &Walk<'_>) -> Result<Option<CertificateKey>, IssueError> {
    let head = walk.session.head().await;
    let Some(current) = head.current.filter(|version| version.has_key()) else {
        return Ok(None);
    };
    let at = Key::version(&walk.request.id, current.number, VersionFile::Key);
    let key = match walk.engine.store.get(&at).await? {
        Some((pem, _)) => String::from_utf8(pem)
            .ok()
            .and_then(|pem| CertificateKey::from_pem(&SecretString::from(pem)).ok()),
        None => None,
    };
    match key {
        Some(key) if key.kind() == walk.request.key_type => {
            let mark = CompromisedKey::load(&*walk.engine.store, &key.spki_sha256()).await?;
            if let Some(mark) = &mark {
                walk.events.warn(
                    format!(
                        "the key of version {} was marked as compromised at {:.0}; making a new one",
                        current.number, mark.since
                    ),
                    None,
                );
            }
            Ok(mark.is_none().then_some(key))
        }
        Some(_) => Ok(None),
        None => {
            walk.events.warn(
                format!(
                    "the key of version {} cannot be kept, because the store has lost it; making a new one",
                    current.number
                ),
                None,
            );
            Ok(None)
        }
    }
}

/// A number that no version had, also where somebody put an older head back.
async fn next_number(walk: &Walk<'_>) -> Result<u32, IssueError> {
    let id = &walk.request.id;
    let stored = walk.engine.store.list(&Key::certificate(id)).await?;
    let highest = stored
        .iter()
        .filter_map(Key::version_number)
        .max()
        .unwrap_or(0);
    let last = walk.session.head().await.last_version.max(highest);
    last.checked_add(1).ok_or_else(|| {
        IssueError::Store(StoreError::Corrupt {
            key: Key::head(id).to_string(),
            detail: format!("no version can follow {last}"),
        })
    })
}
