//! The account of an order: found in the store, else by its key at the CA, else registered.

use tokio_util::sync::CancellationToken;

use super::Engine;
use super::IssueError;
use super::Request;
use crate::account::Wish;
use crate::account::obtain;
use crate::acme::Account;
use crate::acme::Client;
use crate::event::Events;
use crate::store::LockName;
use crate::store::StoredAccount;

/// The account for `request`. Its key is stored before the CA hears of it, so that a killed run loses no account.
pub(super) async fn account(
    engine: &Engine,
    client: &Client,
    request: &Request,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Account, IssueError> {
    let id = request.account_id();
    let _turn = engine
        .lock_in_turn(
            &LockName::account(&id),
            request.timeouts.lock,
            events,
            cancel,
        )
        .await?;
    let wish = Wish {
        id,
        ca: &request.ca,
        contacts: &request.contacts,
        terms: &request.terms,
        external_account: request.external_account.as_ref(),
    };
    let obtained = obtain(&*engine.store, client, &wish, events).await?;
    Ok(obtained.account)
}

/// Forgets where an account is registered, because its CA does not know it any more. The key stays.
pub(super) async fn forget(
    engine: &Engine,
    request: &Request,
    url: &str,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<(), IssueError> {
    let id = request.account_id();
    let _turn = engine
        .lock_in_turn(
            &LockName::account(&id),
            request.timeouts.lock,
            events,
            cancel,
        )
        .await?;
    if let Some((mut stored, tag)) = StoredAccount::load(&*engine.store, &id).await?
        // Another run may have been quicker.
        && stored.url.as_deref() == Some(url)
    {
        stored.url = None;
        stored.save(&*engine.store, Some(&tag)).await?;
    }
    Ok(())
}
