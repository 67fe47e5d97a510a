//! From a ready order to files: the key, finalization, download, store and projection.

use jiff::Timestamp;

use super::Checkpoint;
use super::IssueError;
use super::expiry::Deadline;
use super::key::KeyInTheMaking;
use super::key::Material as KeyMaterial;
use super::walk::Walk;
use crate::acme::Account;
use crate::acme::CertificateChain;
use crate::acme::Order;
use crate::acme::OrderStatus;
use crate::acme::Wait;
use crate::deploy::Bundle;
use crate::deploy::LiveFiles;
use crate::deploy::Material;
use crate::event::Stage;
use crate::event::What;
use crate::store::Key;
use crate::store::StoreError;
use crate::store::StoredAccount;
use crate::store::Version;
use crate::store::VersionFile;
use crate::store::Wanted;
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
        let ordered = self.ordered();
        let deadline = Deadline::of(&order, self.events);
        let (order, accepted) = match order.status {
            OrderStatus::Processing | OrderStatus::Valid => (order, false),
            _ => {
                self.engine.reached(Checkpoint::BeforeFinalize).await;
                let csr = key
                    .csr(&ordered.names, ordered.spec.must_staple)
                    .map_err(IssueError::Key)?;
                let finalized = account.finalize(&order, &csr).await?;
                (finalized.order, finalized.accepted)
            }
        };
        self.engine.reached(Checkpoint::Finalized).await;
        let wait = Wait {
            deadline: self.request.timeouts.finalization,
            cancel: self.cancel.clone(),
        };
        let order = match order.status == OrderStatus::Valid && order.certificate.is_some() {
            true => order,
            false => {
                let wait = deadline.shortens(wait);
                deadline.names(account.await_certificate(&order.url, &wait).await)?
            }
        };
        let chain = self.chain(account, &order, &key, &ordered).await;
        let chain = chain.map_err(|error| match error {
            IssueError::Chain { source, url, .. } => IssueError::Chain {
                source,
                url,
                accepted,
            },
            other => other,
        })?;
        self.engine.reached(Checkpoint::BeforeStore).await;

        self.events.stage(Stage::Store);
        let stored_account = StoredAccount::load(&*self.engine.store, &self.wanted.account).await?;
        let version = Version {
            number,
            names: ordered.names.clone(),
            key_type: self.request.key_type,
            profile: ordered.profile.clone(),
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
            top_issuer: Some(chain.top_issuer.clone()),
            left_out: self.left_out(),
            spec: self.wanted.spec.clone(),
            revoked: None,
        };
        self.store(&version, &chain).await?;
        self.events.emit(What::Issued { version: number });
        Ok(version)
    }

    /// What was ordered, with the chain that is preferred where the CA has it.
    async fn chain(
        &self,
        account: &Account,
        order: &Order,
        key: &KeyMaterial,
        ordered: &Wanted,
    ) -> Result<CertificateChain, IssueError> {
        let download = account.download(order).await?;
        let now = Timestamp::now();
        // What is to be valid later is looked at as it will be then.
        let not_before = ordered.spec.not_before.and_then(|at| at.from(now));
        let then = not_before.map_or(now, |at| at.max(now));
        let check = |pem: &str, url: &str| {
            CertificateChain::check_at(pem, key.public(), &ordered.names, then).map_err(|source| {
                IssueError::Chain {
                    source,
                    url: url.to_owned(),
                    accepted: false,
                }
            })
        };
        let chain = check(
            &download.pem,
            order.certificate.as_deref().unwrap_or_default(),
        )?;
        let Some(preferred) = &ordered.spec.preferred_chain else {
            return Ok(chain);
        };
        if chain.is_under(preferred) {
            return Ok(chain);
        }
        let mut offered = vec![chain.top_issuer.clone()];
        for url in &download.alternates {
            let other = match account.download_from(url).await {
                Ok(download) => check(&download.pem, url),
                Err(error) if error.is_cancelled() => return Err(error.into()),
                Err(error) => Err(error.into()),
            };
            match other {
                Ok(other) if other.is_under(preferred) => return Ok(other),
                Ok(other) => offered.push(other.top_issuer),
                Err(error) => self
                    .events
                    .warn(format!("an alternate chain is left out: {error}"), None),
            }
        }
        self.events.warn(
            format!("the CA offers no chain to `{preferred}`; its default one is used"),
            Some(format!("it offers chains to {}", offered.join(", "))),
        );
        Ok(chain)
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
        let stored = self.stored(version).await?;
        self.place(version, &stored.bundle())
    }

    /// Writes a version that is kept to this machine, where other files or none stand there; `None` where the store has lost it.
    pub(super) async fn restore(&self, version: &Version) -> Result<Option<LiveFiles>, IssueError> {
        let stored = match self.stored(version).await {
            Ok(stored) => stored,
            Err(error @ StoreError::Corrupt { .. }) => {
                self.events.warn(
                    format!("version {} cannot be kept: {error}", version.number),
                    None,
                );
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let bundle = stored.bundle();
        let live = &self.engine.live;
        let in_place = live.current(&self.request.id)? == Some(version.number)
            && live.holds(&self.request.id, &bundle)?;
        match in_place {
            true => Ok(Some(live.files(&self.request.id))),
            false => self.place(version, &bundle).map(Some),
        }
    }

    async fn stored(&self, version: &Version) -> Result<Material, StoreError> {
        Material::read(&*self.engine.store, &self.request.id, version).await
    }

    fn place(&self, version: &Version, bundle: &Bundle<'_>) -> Result<LiveFiles, IssueError> {
        let id = &self.request.id;
        let files = self
            .engine
            .live
            .project(id, version.number, bundle)
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

/// Versions that stay in the store, the current one included.
const KEPT_VERSIONS: u32 = 5;
