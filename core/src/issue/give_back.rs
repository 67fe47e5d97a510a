//! Giving back what the CA and DNS hold for an order that this run does not finish.

use tokio_util::sync::CancellationToken;

use super::ErrorKind;
use super::IssueError;
use super::publish::withdraw;
use super::walk::INTERRUPTED_CLEANUP;
use super::walk::WITHDRAWAL;
use super::walk::Walk;
use crate::acme::Account;
use crate::acme::AuthorizationStatus;
use crate::acme::OrderStatus;
use crate::event::Stage;
use crate::store::Key;
use crate::store::VersionFile;

impl Walk<'_> {
    /// After a failure: what the CA and DNS hold for us is given back, as far as the time allows.
    pub(super) async fn clean_up(&self, account: &Account, error: &IssueError) {
        let at_most = match error.kind() {
            ErrorKind::Cancelled => INTERRUPTED_CLEANUP,
            _ => WITHDRAWAL,
        };
        let head = self.session.head().await;
        self.events.stage(Stage::Withdraw);
        let abandon = async {
            match &head.order {
                Some(order) if !error.leaves_order() => {
                    let _ = tokio::time::timeout(at_most, self.abandon(account, &order.url)).await;
                    true
                }
                _ => false,
            }
        };
        let withdrawal = withdraw(
            self.engine,
            self.session,
            head.published.clone(),
            at_most,
            self.events,
        );
        let (abandoned, withdrawn) = tokio::join!(abandon, withdrawal);
        if let Err(error) = withdrawn {
            self.events.warn(error.to_string(), error.hint());
        }
        let version = head.order.as_ref().and_then(|order| order.version);
        let cleared = self
            .session
            .update(|head| {
                head.worker = None;
                if abandoned {
                    head.order = None;
                }
            })
            .await;
        if let Err(error) = cleared {
            self.events.warn(error.to_string(), error.hint());
        }
        if let (true, Some(version)) = (abandoned, version) {
            let key = Key::version(&self.request.id, version, VersionFile::Key);
            let _ = self.engine.store.delete(&key).await;
        }
    }

    /// Deactivates what is still pending of an order that nobody will finish (RFC 8555 section 7.5.2).
    pub(super) async fn abandon(&self, account: &Account, order_url: &str) {
        // The account of a run that is being interrupted would refuse to work.
        let account = account.with_cancel(&CancellationToken::new());
        let Ok(order) = account.order(order_url).await else {
            return;
        };
        if order.status != OrderStatus::Pending {
            return;
        }
        let Ok(authorizations) = account.authorizations(&order.authorizations).await else {
            return;
        };
        // Valid ones stay: they spare the next order a proof.
        let pending: Vec<String> = authorizations
            .into_iter()
            .filter(|a| a.status == AuthorizationStatus::Pending)
            .map(|a| a.url)
            .collect();
        for (url, error) in account.deactivate(&pending).await {
            self.events.warn(
                format!("cannot deactivate the authorization {url}: {error}"),
                None,
            );
        }
    }

    /// A certificate that never came to anything leaves no trace in the store.
    pub(super) async fn forget_if_nothing_came(&self) {
        let head = self.session.head().await;
        if head.current.is_none() && head.order.is_none() && head.published.is_empty() {
            let key = Key::certificate(&self.request.id);
            if let Err(error) = self.engine.store.delete(&key).await {
                self.events.warn(error.to_string(), error.hint());
            }
        }
    }
}
