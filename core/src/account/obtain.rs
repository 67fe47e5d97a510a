//! The account that somebody wants: found in the store, else by its key at the CA, else registered.
//!
//! The key is tried first, so that an external account binding is sent for a new account only. Whoever calls holds the lock
//! over the account.

use jiff::Timestamp;

use super::AccountsError;
use super::Terms;
use super::account_of;
use super::settle;
use crate::acme::Account;
use crate::acme::AccountError;
use crate::acme::AccountKey;
use crate::acme::Ca;
use crate::acme::Client;
use crate::acme::ExternalAccount;
use crate::acme::Registration;
use crate::event::Events;
use crate::store::AccountId;
use crate::store::Store;
use crate::store::StoredAccount;

/// Which account is wanted, and what a new one is made with.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    /// Its name in the store.
    pub id: AccountId,
    /// The CA.
    pub ca: &'a Ca,
    /// Whom the CA may write to, with or without `mailto:`.
    pub contacts: &'a [String],
    /// Whether the CA's terms are agreed to.
    pub terms: &'a Terms,
    /// What a new account is bound to.
    pub external_account: Option<&'a ExternalAccount>,
}

/// An account to work with.
#[derive(Debug)]
pub struct Obtained {
    /// The account.
    pub account: Account,
    /// Its record.
    pub stored: StoredAccount,
    /// Where it came from.
    pub how: How,
}

/// Where an account came from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum How {
    /// The CA knew its key.
    Found,
    /// The store had it.
    Kept,
    /// It is new.
    Registered,
}

/// The account that is wanted. Its key is stored before the CA hears of it, so that a killed run loses no account.
pub(crate) async fn obtain(
    store: &dyn Store,
    client: &Client,
    wish: &Wish<'_>,
    events: &Events,
) -> Result<Obtained, AccountsError> {
    let (mut stored, mut tag, fresh) = match StoredAccount::load(store, &wish.id).await? {
        Some((stored, tag)) => (stored, tag, false),
        None => {
            // Asked before a key is made, so that a refusal leaves nothing behind.
            agree(client, wish.terms).await?;
            check_external_account(client, wish)?;
            let key = AccountKey::generate()?.pkcs8_base64();
            let directory = wish.ca.url.clone();
            let stored = StoredAccount::new(wish.id.clone(), directory, key, Timestamp::now());
            let tag = stored.save(store, None).await?;
            (stored, tag, true)
        }
    };
    if stored.directory != wish.ca.url {
        return Err(AccountsError::OtherCa {
            asked: wish.ca.url.to_string(),
            id: stored.id,
            is: stored.directory.to_string(),
        });
    }
    if stored.pending_key.is_some() {
        settle(store, client, &mut stored, &mut tag, events).await?;
    }
    if stored.url.is_some() || stored.deactivated.is_some() {
        let account = account_of(client, &stored)?;
        warn_about_other_external_account(&stored, wish, events);
        return Ok(Obtained {
            account,
            stored,
            how: How::Kept,
        });
    }

    // A key that was made a moment ago is known nowhere; one that a killed run left may be.
    let key = AccountKey::from_pkcs8(&stored.key)?;
    let found = match fresh {
        true => None,
        false => client.find_account(&key).await?,
    };
    let (url, how) = match found {
        Some(url) => (url, How::Found),
        None => {
            if !fresh {
                agree(client, wish.terms).await?;
                check_external_account(client, wish)?;
            }
            let by_email = external_account_by_email(client, wish).await?;
            let external_account = wish.external_account.or(by_email.as_ref());
            stored.contacts = wish.contacts.to_vec();
            stored.eab_kid = external_account.map(|external| external.kid().to_owned());
            let registration = Registration {
                contacts: wish.contacts,
                terms_agreed: true,
                external_account,
            };
            let url = client.register(&key, &registration).await?;
            (url, How::Registered)
        }
    };
    stored.url = Some(url);
    stored.save(store, Some(&tag)).await?;
    Ok(Obtained {
        account: account_of(client, &stored)?,
        stored,
        how,
    })
}

async fn agree(client: &Client, terms: &Terms) -> Result<(), AccountError> {
    let Some(url) = client.directory().meta.terms_of_service.clone() else {
        return Ok(());
    };
    let agreed = match terms {
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
        false => Err(AccountError::TermsNotAgreed { terms: Some(url) }),
    }
}

fn check_external_account(client: &Client, wish: &Wish<'_>) -> Result<(), AccountError> {
    let meta = &client.directory().meta;
    let can_be_had = wish.ca.eab_by_email.is_some() && !wish.contacts.is_empty();
    match meta.external_account_required && wish.external_account.is_none() && !can_be_had {
        true => Err(AccountError::ExternalAccountRequired {
            website: meta.website.clone(),
        }),
        false => Ok(()),
    }
}

async fn external_account_by_email(
    client: &Client,
    wish: &Wish<'_>,
) -> Result<Option<ExternalAccount>, AccountError> {
    let needed =
        client.directory().meta.external_account_required && wish.external_account.is_none();
    match (needed, &wish.ca.eab_by_email, wish.contacts) {
        (true, Some(endpoint), [email, ..]) => {
            // By the CA's own roots, which an order with several CAs has for each.
            let pair = ExternalAccount::by_email(client.transport(), endpoint, email).await?;
            Ok(Some(pair))
        }
        _ => Ok(None),
    }
}

fn warn_about_other_external_account(stored: &StoredAccount, wish: &Wish<'_>, events: &Events) {
    let Some(external) = wish.external_account else {
        return;
    };
    let is = match &stored.eab_kid {
        Some(kid) if kid == external.kid() => return,
        Some(kid) => format!("is bound to key identifier {kid}"),
        None => "was registered without an external account".to_owned(),
    };
    events.warn(
        format!(
            "the account {} at {} {is}, and {} is not used",
            stored.id,
            wish.ca.name(),
            external.kid()
        ),
        Some(
            "an account is bound once, when it is registered; `--account NAME` makes another one beside it"
                .to_owned(),
        ),
    );
}
