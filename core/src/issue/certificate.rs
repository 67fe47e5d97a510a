//! From a ready order to files: the key, finalization, download, store and projection.

use jiff::Timestamp;
use secrecy::ExposeSecret;
use secrecy::SecretString;

use super::Checkpoint;
use super::IssueError;
use super::recover::Resumed;
use super::walk::Walk;
use crate::acme::Account;
use crate::acme::CertificateChain;
use crate::acme::CertificateKey;
use crate::acme::CertificateKeyError;
use crate::acme::Order;
use crate::acme::OrderStatus;
use crate::acme::Wait;
use crate::deploy::Bundle;
use crate::deploy::LiveFiles;
use crate::event::Stage;
use crate::event::What;
use crate::store::CompromisedKey;
use crate::store::Key;
use crate::store::StoreError;
use crate::store::StoredAccount;
use crate::store::Version;
use crate::store::VersionFile;
use crate::store::to_json;

impl Walk<'_> {
    /// From a ready order to a stored version.
    pub(super) async fn finalize(
        &self,
        account: &Account,
        order: Order,
        key: KeyInTheMaking,
    ) -> Result<Version, IssueError> {
        self.events.stage(Stage::Finalize);
        let (number, key) = key.stored(self).await?;
        let order = match order.status {
            OrderStatus::Processing | OrderStatus::Valid => order,
            _ => {
                self.engine.reached(Checkpoint::BeforeFinalize).await;
                let csr = key.csr(&self.request.names).map_err(IssueError::Key)?;
                account.finalize(&order, &csr).await?
            }
        };
        self.engine.reached(Checkpoint::Finalized).await;
        let wait = Wait {
            deadline: self.request.timeouts.finalization,
            cancel: self.cancel.clone(),
        };
        let order = match order.status == OrderStatus::Valid && order.certificate.is_some() {
            true => order,
            false => account.await_certificate(&order.url, &wait).await?,
        };
        let download = account.download(&order).await?;
        let chain = CertificateChain::check(&download.pem, &key, &self.request.names).map_err(
            |source| IssueError::Chain {
                source,
                url: order.certificate.clone().unwrap_or_default(),
            },
        )?;
        self.engine.reached(Checkpoint::BeforeStore).await;

        self.events.stage(Stage::Store);
        let stored_account = StoredAccount::load(&*self.engine.store, &self.wanted.account).await?;
        let version = Version {
            number,
            names: self.request.names.clone(),
            key_type: self.request.key_type,
            profile: self.request.profile.clone(),
            directory: self.wanted.directory.clone(),
            account: account.url().to_owned(),
            account_id: Some(self.wanted.account.clone()),
            eab_kid: stored_account.and_then(|(account, _)| account.eab_kid),
            order: order.url.clone(),
            issued: Timestamp::now(),
            not_before: chain.not_before,
            not_after: chain.not_after,
            serial: chain.serial.clone(),
            issuer: chain.issuer.clone(),
            ari_id: chain.ari_id.clone(),
            crl: chain.crl.clone(),
            revoked: None,
        };
        self.store(&version, &chain).await?;
        self.events.emit(What::Issued { version: number });
        Ok(version)
    }

    async fn store(&self, version: &Version, chain: &CertificateChain) -> Result<(), IssueError> {
        let (store, id) = (&self.engine.store, &self.request.id);
        let chain_key = Key::version(id, version.number, VersionFile::FullChain);
        store.delete(&chain_key).await?;
        store
            .put_if_absent(&chain_key, chain.fullchain_pem().into_bytes())
            .await?;
        let meta_key = Key::version(id, version.number, VersionFile::Meta);
        store.delete(&meta_key).await?;
        let meta = to_json(&meta_key, version)?;
        store.put_if_absent(&meta_key, meta).await?;
        self.session
            .update(|head| {
                head.current = Some(version.clone());
                head.order = None;
            })
            .await?;
        for number in 1..=version.number.saturating_sub(KEPT_VERSIONS) {
            for file in VersionFile::ALL {
                store.delete(&Key::version(id, number, file)).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn project(&self, version: &Version) -> Result<LiveFiles, IssueError> {
        let stored = Stored::read(self, version).await?;
        self.place(version, &stored)
    }

    /// Writes a version that is kept to this machine, where other files or none stand there; `None` where the store has lost it.
    pub(super) async fn restore(&self, version: &Version) -> Result<Option<LiveFiles>, IssueError> {
        let stored = match Stored::read(self, version).await {
            Ok(stored) => stored,
            Err(IssueError::Store(error @ StoreError::Corrupt { .. })) => {
                self.events.warn(
                    format!("version {} cannot be kept: {error}", version.number),
                    None,
                );
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let live = &self.engine.live;
        let in_place = live.current(&self.request.id)? == Some(version.number)
            && live.holds(&self.request.id, &stored.bundle())?;
        match in_place {
            true => Ok(Some(live.files(&self.request.id))),
            false => self.place(version, &stored).map(Some),
        }
    }

    fn place(&self, version: &Version, stored: &Stored) -> Result<LiveFiles, IssueError> {
        let id = &self.request.id;
        let files = self
            .engine
            .live
            .project(id, version.number, &stored.bundle())
            .map_err(|source| IssueError::Projection {
                id: id.clone(),
                source,
                version: version.number,
            })?;
        self.events.emit(What::Deployed {
            version: version.number,
            directory: files.directory.display().to_string(),
        });
        Ok(files)
    }
}

/// A version as the store has it; key and certificate belong together.
struct Stored {
    fullchain: String,
    privkey: SecretString,
}

impl Stored {
    async fn read(walk: &Walk<'_>, version: &Version) -> Result<Self, IssueError> {
        let (key_at, privkey) = read(walk, version, VersionFile::Key).await?;
        let (_, fullchain) = read(walk, version, VersionFile::FullChain).await?;
        let stored = Self {
            fullchain,
            privkey: SecretString::from(privkey),
        };
        let belongs = CertificateKey::from_pem(&stored.privkey)
            .is_ok_and(|key| CertificateChain::is_for(&stored.fullchain, &key));
        match belongs {
            true => Ok(stored),
            false => Err(IssueError::Store(StoreError::Corrupt {
                key: key_at.to_string(),
                detail: "it is not the key of the certificate beside it".to_owned(),
            })),
        }
    }

    fn bundle(&self) -> Bundle<'_> {
        let (cert, chain) = split_chain(&self.fullchain);
        Bundle {
            privkey: Some(&self.privkey),
            cert,
            chain,
            fullchain: &self.fullchain,
        }
    }
}

async fn read(
    walk: &Walk<'_>,
    version: &Version,
    file: VersionFile,
) -> Result<(Key, String), IssueError> {
    let key = Key::version(&walk.request.id, version.number, file);
    let problem = match walk.engine.store.get(&key).await? {
        Some((content, _)) => match String::from_utf8(content) {
            Ok(text) => return Ok((key, text)),
            Err(error) => error.to_string(),
        },
        None => "it is not there".to_owned(),
    };
    Err(IssueError::Store(StoreError::Corrupt {
        key: key.to_string(),
        detail: problem,
    }))
}

/// The first certificate, and the rest.
fn split_chain(fullchain: &str) -> (&str, &str) {
    const END: &str = "-----END CERTIFICATE-----\n";
    match fullchain.find(END) {
        Some(at) => fullchain.split_at(at + END.len()),
        None => (fullchain, ""),
    }
}

/// The key of the certificate: made while the zones propagate, stored before the order is finalized.
pub(super) enum KeyInTheMaking {
    Making(tokio::task::JoinHandle<Result<CertificateKey, CertificateKeyError>>),
    Stored(u32, CertificateKey),
}

impl KeyInTheMaking {
    pub(super) async fn begin(
        walk: &Walk<'_>,
        resumed: Option<&Resumed>,
    ) -> Result<Self, IssueError> {
        if let Some((number, key)) = resumed.and_then(|r| r.key.as_ref()) {
            let key = CertificateKey::from_pem(key).map_err(IssueError::Key)?;
            return Ok(Self::Stored(*number, key));
        }
        let key_type = walk.request.key_type;
        Ok(Self::Making(tokio::task::spawn_blocking(move || {
            CertificateKey::generate(key_type)
        })))
    }

    async fn stored(self, walk: &Walk<'_>) -> Result<(u32, CertificateKey), IssueError> {
        let key = match self {
            Self::Stored(number, key) => {
                check_not_compromised(walk, &key).await?;
                return Ok((number, key));
            }
            Self::Making(making) => match making.await {
                Ok(key) => key.map_err(IssueError::Key)?,
                Err(_) => return Err(IssueError::Cancelled),
            },
        };
        let pem = key.to_pem();
        let number = next_number(walk).await?;
        walk.session
            .update(|head| {
                head.last_version = number;
                if let Some(order) = &mut head.order {
                    order.version = Some(number);
                }
            })
            .await?;
        let content = pem.expose_secret().as_bytes().to_vec();
        let store_key = Key::version(&walk.request.id, number, VersionFile::Key);
        walk.engine.store.put_if_absent(&store_key, content).await?;
        Ok((number, key))
    }
}

/// A key that was marked when a certificate was revoked is in no certificate again.
async fn check_not_compromised(walk: &Walk<'_>, key: &CertificateKey) -> Result<(), IssueError> {
    let mark = CompromisedKey::load(&*walk.engine.store, &key.spki_sha256()).await?;
    match mark {
        Some(mark) => Err(IssueError::CompromisedKey {
            id: walk.request.id.clone(),
            since: mark.since,
        }),
        None => Ok(()),
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

/// Versions that stay in the store, the current one included.
const KEPT_VERSIONS: u32 = 5;
