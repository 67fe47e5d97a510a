//! The account of an order: found in the store, else by its key at the CA, else registered.

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::Engine;
use super::IssueError;
use super::Request;
use super::Terms;
use crate::acme::Account;
use crate::acme::AccountError;
use crate::acme::AccountKey;
use crate::acme::Client;
use crate::acme::Registration;
use crate::event::Events;
use crate::store::AccountId;
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
    let id = AccountId::for_directory(&request.ca.url);
    let queue = engine.queue_for(&id);
    let _turn = queue.lock().await;
    let _lock = engine
        .lock(
            &LockName::account(&id),
            request.timeouts.lock,
            events,
            cancel,
        )
        .await?;

    let (mut stored, mut tag, fresh) = match StoredAccount::load(&*engine.store, &id).await? {
        Some((stored, tag)) => (stored, tag, false),
        None => {
            // Asked before a key is made, so that a refusal leaves nothing behind.
            agree(client, request).await?;
            check_external_account(client, request)?;
            let key = AccountKey::generate().map_err(IssueError::AccountKey)?;
            let stored = StoredAccount::new(
                id.clone(),
                request.ca.url.clone(),
                key.pkcs8_base64(),
                Timestamp::now(),
            );
            let tag = stored.save(&*engine.store, None).await?;
            (stored, tag, true)
        }
    };
    let key = AccountKey::from_pkcs8(&stored.key).map_err(IssueError::AccountKey)?;
    if let Some(url) = &stored.url {
        warn_about_other_external_account(&stored, request, events);
        return Ok(client.account(&key, url));
    }

    // A key that was made a moment ago is known nowhere; one that a killed run left may be.
    let found = match fresh {
        true => None,
        false => client.find_account(&key).await?,
    };
    let url = match found {
        Some(url) => url,
        None => {
            if !fresh {
                agree(client, request).await?;
                check_external_account(client, request)?;
            }
            let registration = Registration {
                contacts: &request.contacts,
                terms_agreed: true,
                external_account: request.external_account.as_ref(),
            };
            stored.contacts = request.contacts.clone();
            stored.eab_kid = request
                .external_account
                .as_ref()
                .map(|e| e.kid().to_owned());
            client.register(&key, &registration).await?
        }
    };
    stored.url = Some(url.clone());
    tag = stored.save(&*engine.store, Some(&tag)).await?;
    drop(tag);
    Ok(client.account(&key, &url))
}

/// Forgets where an account is registered, because its CA does not know it any more. The key stays.
pub(super) async fn forget(
    engine: &Engine,
    request: &Request,
    url: &str,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<(), IssueError> {
    let id = AccountId::for_directory(&request.ca.url);
    let queue = engine.queue_for(&id);
    let _turn = queue.lock().await;
    let _lock = engine
        .lock(
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

async fn agree(client: &Client, request: &Request) -> Result<(), IssueError> {
    let Some(url) = client.directory().meta.terms_of_service.clone() else {
        return Ok(());
    };
    let agreed = match &request.terms {
        Terms::Agreed => true,
        Terms::NotAgreed => false,
        Terms::Ask(ask) => {
            let (ask, url) = (ask.clone(), url.clone());
            tokio::task::spawn_blocking(move || ask(&url))
                .await
                .unwrap_or(false)
        }
    };
    match agreed {
        true => Ok(()),
        false => Err(AccountError::TermsNotAgreed { terms: Some(url) }.into()),
    }
}

fn check_external_account(client: &Client, request: &Request) -> Result<(), IssueError> {
    match client.directory().meta.external_account_required && request.external_account.is_none() {
        true => Err(AccountError::ExternalAccountRequired {
            website: client.directory().meta.website.clone(),
        }
        .into()),
        false => Ok(()),
    }
}

fn warn_about_other_external_account(stored: &StoredAccount, request: &Request, events: &Events) {
    if let Some(external) = &request.external_account
        && let Some(kid) = &stored.eab_kid
        && kid != external.kid()
    {
        events.warn(
            format!(
                "the account at {} is bound to key identifier {kid}, and {} is not used",
                request.ca.name(),
                external.kid()
            ),
            Some("an account is bound once, when it is registered; use another `--dir` for another account".to_owned()),
        );
    }
}
