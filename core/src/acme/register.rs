//! Accounts: looking one up by its key, and making a new one (RFC 8555 section 7.3).
//!
//! Looking up never changes anything at the CA. Registering is sent once: where its answer is lost, the account is
//! looked up, because some CAs take an external account binding a single time.

use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use super::client::Client;
use super::client::Target;
use super::directory::Meta;
use super::eab::ExternalAccount;
use super::eab_by_email::EabByEmailError;
use super::error::AcmeError;
use super::error::Refusal;
use super::jws::AccountKey;
use super::jws::JwsKey;
use super::jws::Payload;
use super::jws::Signer;
use super::manage::is_closed;
use super::retry::Retries;
use super::retry::heed;
use crate::web::host;
use crate::web::printable;

/// What a new account is made with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Registration<'a> {
    /// E-mail addresses, with or without `mailto:`.
    pub contacts: &'a [String],
    /// Whether somebody has agreed to the CA's terms of service.
    pub terms_agreed: bool,
    /// The binding that some CAs require.
    pub external_account: Option<&'a ExternalAccount>,
}

impl Client {
    /// The URL of the account with this key, if the CA has one.
    pub async fn find_account(&self, key: &AccountKey) -> Result<Option<String>, AccountError> {
        self.find(key).await
    }

    /// The same for any key that signs.
    pub(super) async fn find(&self, key: &dyn JwsKey) -> Result<Option<String>, AccountError> {
        let payload = Payload::Json(json!({ "onlyReturnExisting": true }));
        match self.new_account(key, &payload, Retries::Idempotent).await {
            Ok(url) => Ok(Some(url)),
            // The second is what a CA says that looks at the binding first.
            Err(AccountError::Request(error))
                if error.is("accountDoesNotExist") || error.is("externalAccountRequired") =>
            {
                Ok(None)
            }
            Err(AccountError::Request(error)) if error.is("unauthorized") => {
                Err(AccountError::Deactivated {
                    detail: error.to_string(),
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Makes an account, or finds the one that this key has already; its URL.
    pub async fn register(
        &self,
        key: &AccountKey,
        registration: &Registration<'_>,
    ) -> Result<String, AccountError> {
        let meta = &self.directory().meta;
        if meta.terms_of_service.is_some() && !registration.terms_agreed {
            return Err(AccountError::TermsNotAgreed {
                terms: meta.terms_of_service.clone(),
            });
        }
        if meta.external_account_required && registration.external_account.is_none() {
            return Err(AccountError::ExternalAccountRequired {
                website: meta.website.clone(),
            });
        }

        let payload = Payload::Json(self.registration(key, registration));
        let result = match self.new_account(key, &payload, Retries::Never).await {
            Err(AccountError::Request(error)) => match heed(&error).await {
                true => match self.find_account(key).await? {
                    Some(url) => Ok(url),
                    None => self.new_account(key, &payload, Retries::Never).await,
                },
                false => Err(error.into()),
            },
            result => result,
        };
        result.map_err(|error| match error {
            AccountError::Request(AcmeError::Refused(refusal)) => {
                AccountError::from_refusal(refusal, registration.external_account.is_some(), meta)
            }
            other => other,
        })
    }

    fn registration(&self, key: &AccountKey, registration: &Registration<'_>) -> Value {
        let mut payload = json!({ "termsOfServiceAgreed": registration.terms_agreed });
        let contacts = registration.contacts.iter();
        let contacts: Vec<_> = contacts.map(|contact| mailto(contact)).collect();
        if !contacts.is_empty() {
            payload["contact"] = json!(contacts);
        }
        if let Some(external) = registration.external_account {
            payload["externalAccountBinding"] = external.bind(key, &self.directory().new_account);
        }
        payload
    }

    async fn new_account(
        &self,
        key: &dyn JwsKey,
        payload: &Payload,
        retries: Retries,
    ) -> Result<String, AccountError> {
        let signer = Signer { key, account: None };
        let target = Target::new("newAccount", &self.directory().new_account);
        let answer = self.post(signer, target, payload, retries).await?;
        let url = answer.location()?;
        // Some CAs answer an empty body; the Location is what counts.
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        match is_closed(&body) {
            Some(status) => Err(AccountError::Deactivated {
                detail: format!("the CA says that {} is {status}", printable(&url)),
            }),
            None => Ok(url),
        }
    }
}

/// An e-mail address as a URL.
pub(super) fn mailto(contact: &str) -> String {
    match contact.starts_with("mailto:") {
        true => contact.to_owned(),
        false => format!("mailto:{contact}"),
    }
}

/// Why there is no account.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// The CA does not take the e-mail addresses.
    #[error("the CA does not accept the contact address: {0}")]
    Contact(Box<Refusal>),
    /// The account of this key has been closed, by us or by the CA.
    #[error("the CA refuses the key of this account, as it does with a closed one: {detail}")]
    Deactivated {
        /// What the CA said.
        detail: String,
    },
    /// The credentials of an external account could not be had for the e-mail address.
    #[error(transparent)]
    ExternalAccountByEmail(#[from] EabByEmailError),
    /// The CA does not accept the external account binding.
    #[error("the CA does not accept the external account binding: {0}")]
    ExternalAccountRefused(Box<Refusal>),
    /// The CA wants an external account binding, and there is none.
    #[error("this CA makes new accounts only with an external account binding")]
    ExternalAccountRequired {
        /// Where the CA may say how to get one.
        website: Option<String>,
    },
    /// The CA gives accounts no other key.
    #[error(
        "{} has no key change, so an account there keeps the key it has",
        host(directory)
    )]
    NoKeyChange {
        /// The directory.
        directory: String,
    },
    /// Any other failure of a request.
    #[error(transparent)]
    Request(#[from] AcmeError),
    /// Nobody has agreed to the terms of service.
    #[error("the CA's terms of service have not been agreed to{}", terms.as_deref().map(|t| format!(": {t}")).unwrap_or_default())]
    TermsNotAgreed {
        /// Where they can be read.
        terms: Option<String>,
    },
    /// A person has to do something at the CA's web site first.
    #[error("the CA wants a person to act first: {detail}")]
    UserAction {
        /// What the CA said.
        detail: String,
        /// Where to go.
        instance: Option<String>,
        /// The terms of service, where it is about them.
        terms: Option<String>,
    },
}

impl AccountError {
    /// Whether the account was given up, by somebody who had its key.
    pub fn is_deactivated(&self) -> bool {
        matches!(self, Self::Deactivated { .. })
    }

    /// Whether trying again later may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::ExternalAccountByEmail(error) => error.is_retryable(),
            Self::Request(error) => error.is_retryable(),
            _ => false,
        }
    }

    /// How long the CA asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Request(error) => error.retry_after(),
            _ => None,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::ExternalAccountByEmail(error) => error.hint(),
            Self::NoKeyChange { .. } => {
                Some("register another account there, with a new key".to_owned())
            }
            Self::Contact(_) => Some("give one plain e-mail address, or none".to_owned()),
            Self::Deactivated { .. } => {
                Some("a closed account cannot be opened again; make a new one with another key".to_owned())
            }
            Self::ExternalAccountRefused(_) => Some(
                "one of three is wrong: the key id, the HMAC key (as a pair, never used before and not expired), or \
                 the directory they are for (production or staging, and whether the service behind it has lapsed)"
                    .to_owned(),
            ),
            Self::ExternalAccountRequired { website } => {
                let from = match website {
                    Some(website) => format!(" from {website}"),
                    None => String::new(),
                };
                Some(format!(
                    "get a key id and an HMAC key{from}, and give them with `--eab-kid` and `--eab-hmac-key`"
                ))
            }
            Self::Request(error) => error.hint(),
            Self::TermsNotAgreed { .. } => {
                Some("read them, and agree with `--agree-tos`".to_owned())
            }
            Self::UserAction {
                instance, terms, ..
            } => {
                let visit = instance.as_ref().map(|url| format!("visit {url}"));
                let terms = terms.as_ref().map(|url| format!("the terms are at {url}"));
                let parts: Vec<_> = [visit, terms].into_iter().flatten().collect();
                (!parts.is_empty()).then(|| parts.join("; "))
            }
        }
    }

    pub(super) fn from_refusal(refusal: Box<Refusal>, bound: bool, meta: &Meta) -> Self {
        let problem = refusal.problem.clone().unwrap_or_default();
        match problem.short_kind() {
            "externalAccountRequired" if !bound => Self::ExternalAccountRequired {
                website: meta.website.clone(),
            },
            "agreementRequired" => Self::TermsNotAgreed {
                terms: refusal
                    .links
                    .first("terms-of-service")
                    .or_else(|| meta.terms_of_service.clone()),
            },
            "userActionRequired" => Self::UserAction {
                detail: problem.to_string(),
                instance: problem.instance.clone(),
                terms: refusal.links.first("terms-of-service"),
            },
            "invalidContact" | "unsupportedContact" => Self::Contact(refusal),
            "rateLimited" => Self::Request(AcmeError::Refused(refusal)),
            // CAs have no type of their own for it; what remains of their refusals with a binding is about that.
            _ if bound && matches!(refusal.status, 400..=403 | 409) => {
                Self::ExternalAccountRefused(refusal)
            }
            "unauthorized" => Self::Deactivated {
                detail: refusal.to_string(),
            },
            _ => Self::Request(AcmeError::Refused(refusal)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::tests::answer;
    use super::*;

    fn refused(kind: &str, status: u16, bound: bool) -> AccountError {
        let body = format!(r#"{{"type": "urn:ietf:params:acme:error:{kind}", "detail": "no"}}"#);
        match answer(status, &[], &body).into_result() {
            Err(AcmeError::Refused(refusal)) => {
                AccountError::from_refusal(refusal, bound, &Meta::default())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn refusals_get_the_name_a_person_needs() {
        use AccountError as E;
        assert!(matches!(
            refused("externalAccountRequired", 403, false),
            E::ExternalAccountRequired { .. }
        ));
        assert!(matches!(
            refused("unauthorized", 403, true),
            E::ExternalAccountRefused(_)
        ));
        assert!(matches!(
            refused("malformed", 400, true),
            E::ExternalAccountRefused(_)
        ));
        assert!(matches!(
            refused("unauthorized", 401, false),
            E::Deactivated { .. }
        ));
        assert!(matches!(refused("rateLimited", 429, true), E::Request(_)));
        assert!(matches!(
            refused("invalidContact", 400, true),
            E::Contact(_)
        ));
        assert!(matches!(
            refused("agreementRequired", 403, false),
            E::TermsNotAgreed { .. }
        ));
        assert!(matches!(
            refused("userActionRequired", 403, false),
            E::UserAction { .. }
        ));
        let hint = refused("unauthorized", 403, true).hint().unwrap();
        for cause in ["key id", "HMAC key", "directory"] {
            assert!(hint.contains(cause), "{hint}");
        }
    }
}
