//! From a ready order to files: the key, finalization, download, store and projection.

use jiff::Timestamp;
use secrecy::ExposeSecret;
use secrecy::SecretString;

use super::Checkpoint;
use super::Engine;
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
use crate::store::CertId;
use crate::store::Key;
use crate::store::StoreError;
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
        let version = Version {
            number,
            names: self.request.names.clone(),
            key_type: self.request.key_type,
            profile: self.request.profile.clone(),
            directory: self.wanted.directory.clone(),
            account: account.url().to_owned(),
            order: order.url.clone(),
            issued: Timestamp::now(),
            not_before: chain.not_before,
            not_after: chain.not_after,
            serial: chain.serial.clone(),
            issuer: chain.issuer.clone(),
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
        let files = project(self.engine, &self.request.id, version).await?;
        self.events.emit(What::Deployed {
            version: version.number,
            directory: files.directory.display().to_string(),
        });
        Ok(files)
    }
}

/// Writes a stored version to this machine.
async fn project(engine: &Engine, id: &CertId, version: &Version) -> Result<LiveFiles, IssueError> {
    let read = async |file| {
        let key = Key::version(id, version.number, file);
        match engine.store.get(&key).await? {
            Some((content, _)) => String::from_utf8(content).map_err(|e| (key, e.to_string())),
            None => Err((key, "it is not there".to_owned())),
        }
        .map_err(|(key, detail)| {
            IssueError::from(StoreError::Corrupt {
                key: key.to_string(),
                detail,
            })
        })
    };
    let privkey = SecretString::from(read(VersionFile::Key).await?);
    let fullchain = read(VersionFile::FullChain).await?;
    let (cert, chain) = split_chain(&fullchain);
    let bundle = Bundle {
        privkey: &privkey,
        cert,
        chain,
        fullchain: &fullchain,
    };
    engine
        .live
        .project(id, version.number, &bundle)
        .map_err(|source| IssueError::Projection {
            id: id.clone(),
            source,
            version: version.number,
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
            Self::Stored(number, key) => return Ok((number, key)),
            Self::Making(making) => match making.await {
                Ok(key) => key.map_err(IssueError::Key)?,
                Err(_) => return Err(IssueError::Cancelled),
            },
        };
        let pem = key.to_pem();
        let number = walk
            .session
            .update(|head| {
                head.last_version += 1;
                if let Some(order) = &mut head.order {
                    order.version = Some(head.last_version);
                }
                head.last_version
            })
            .await?;
        let content = pem.expose_secret().as_bytes().to_vec();
        let store_key = Key::version(&walk.request.id, number, VersionFile::Key);
        walk.engine.store.put_if_absent(&store_key, content).await?;
        Ok((number, key))
    }
}

/// Versions that stay in the store, the current one included.
const KEPT_VERSIONS: u32 = 5;
