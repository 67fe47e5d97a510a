//! What an account may have done to itself: looked at, other contacts, another key, an end (RFC 8555 sections 7.3.2 to 7.3.6).
//!
//! A changed key is believed only after a request that is signed with it: some servers answer a refused change with success.

use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use super::account::Account;
use super::answer::Answer;
use super::client::Client;
use super::client::Target;
use super::error::AcmeError;
use super::jws::AccountKey;
use super::jws::JwsKey;
use super::jws::Payload;
use super::jws::Signer;
use super::jws::flattened;
use super::register::AccountError;
use super::register::mailto;
use super::retry::Retries;
use super::signing_key::SigningKey;
use crate::web::printable;

/// What a CA says about an account.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct AccountDetails {
    /// `valid`, `deactivated` or `revoked`, where the CA says so.
    pub status: Option<String>,
    /// Whom the CA may write to; nothing where it does not say, as CAs do that keep no addresses.
    pub contacts: Vec<String>,
    /// Whether the terms of service are agreed to, where the CA says so.
    pub terms_agreed: Option<bool>,
}

/// Which of two keys the CA has for an account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeyInUse {
    /// The old one.
    Old,
    /// The new one.
    New,
    /// The new key is that of another account, so that it can never become this one's.
    NewElsewhere {
        /// The URL of that account.
        url: String,
    },
    /// Neither.
    Neither {
        /// What the CA said of the old one.
        detail: String,
    },
}

impl Account {
    /// What the CA says about it.
    pub async fn details(&self) -> Result<AccountDetails, AccountError> {
        let answer = self.post(self.target(), &Payload::AsGet).await;
        self.read(answer)
    }

    /// Gives it these contacts, with or without `mailto:`, instead of those it has.
    pub async fn update_contacts(
        &self,
        contacts: &[String],
    ) -> Result<AccountDetails, AccountError> {
        let contacts: Vec<String> = contacts.iter().map(|c| mailto(c)).collect();
        let payload = Payload::Json(json!({ "contact": contacts }));
        let answer = self.post(self.target(), &payload).await;
        self.read(answer)
    }

    /// Ends it, for ever. One that is ended already is success.
    pub async fn deactivate_account(&self) -> Result<(), AccountError> {
        let payload = Payload::Json(json!({ "status": "deactivated" }));
        match self.post(self.target(), &payload).await {
            Ok(_) => Ok(()),
            Err(error) => match self.read(Err(error)) {
                Err(AccountError::Deactivated { .. }) | Ok(_) => Ok(()),
                Err(error) => Err(error),
            },
        }
    }

    fn target(&self) -> Target<'_> {
        Target::new("account", self.url())
    }

    fn read(&self, answer: Result<Answer, AcmeError>) -> Result<AccountDetails, AccountError> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(AcmeError::Refused(refusal)) => {
                let meta = &self.client().directory().meta;
                return Err(AccountError::from_refusal(refusal, false, meta));
            }
            Err(error) => return Err(error.into()),
        };
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Raw {
            status: Option<String>,
            contact: Option<Vec<String>>,
            terms_of_service_agreed: Option<bool>,
        }
        // Some CAs answer an empty body to an update.
        let raw: Raw = serde_json::from_slice(&answer.body).unwrap_or_default();
        let contacts = raw.contact.unwrap_or_default();
        Ok(AccountDetails {
            status: raw.status.as_deref().map(printable),
            contacts: contacts.iter().map(|c| printable(c)).collect(),
            terms_agreed: raw.terms_of_service_agreed,
        })
    }
}

impl Client {
    /// The URL of the account with this key of any kind, if the CA has one.
    pub async fn find_account_of(&self, key: &SigningKey) -> Result<Option<String>, AccountError> {
        self.find(key).await
    }

    /// Asks the CA to take `new` for `old` (RFC 8555 section 7.3.5). What it answers proves nothing: see
    /// [`Self::key_in_use`].
    pub async fn change_key(
        &self,
        account: &str,
        old: &SigningKey,
        new: &AccountKey,
    ) -> Result<(), AccountError> {
        let directory = self.directory();
        let Some(url) = &directory.key_change else {
            return Err(AccountError::NoKeyChange {
                directory: directory.url.clone(),
            });
        };
        let header = json!({ "alg": new.algorithm(), "jwk": new.jwk(), "url": url });
        let payload = json!({ "account": account, "oldKey": old.jwk() });
        let inner = flattened(&header, &Payload::Json(payload), |input| new.sign(input))?;
        let signer = Signer {
            key: old,
            account: Some(account),
        };
        let target = Target::new("keyChange", url);
        // Not sent twice: the second one would be signed with a key that is no longer the account's.
        let result = self
            .post(signer, target, &Payload::Json(inner), Retries::Never)
            .await;
        match result {
            Ok(_) => Ok(()),
            Err(AcmeError::Refused(refusal)) => {
                Err(AccountError::from_refusal(refusal, false, &directory.meta))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Which of two keys signs for the account now, by a request that each of them signs.
    pub async fn key_in_use(
        &self,
        account: &str,
        old: &SigningKey,
        new: &AccountKey,
    ) -> Result<KeyInUse, AccountError> {
        match self.find(new).await {
            Ok(Some(url)) if url == account => return Ok(KeyInUse::New),
            Ok(Some(url)) => return Ok(KeyInUse::NewElsewhere { url }),
            Ok(None) | Err(AccountError::Deactivated { .. }) => {}
            Err(error) => return Err(error),
        }
        match self.find(old).await {
            Ok(Some(url)) if url == account => return Ok(KeyInUse::Old),
            Ok(_) | Err(AccountError::Deactivated { .. }) => {}
            Err(error) => return Err(error),
        }
        // A CA that looks at external account bindings first tells nothing by the key alone.
        if self.account(new, account).details().await.is_ok() {
            return Ok(KeyInUse::New);
        }
        let signer = Signer {
            key: old,
            account: Some(account),
        };
        let target = Target::new("account", account);
        match self
            .post(signer, target, &Payload::AsGet, Retries::Idempotent)
            .await
        {
            Ok(_) => Ok(KeyInUse::Old),
            Err(error) if error.is_retryable() => Err(error.into()),
            Err(error) => Ok(KeyInUse::Neither {
                detail: error.to_string(),
            }),
        }
    }
}

/// Whether the CA calls it closed.
pub(super) fn is_closed(body: &Value) -> Option<&str> {
    body.get("status")
        .and_then(Value::as_str)
        .filter(|status| matches!(*status, "deactivated" | "revoked"))
}
