//! Account files of other tools: a bare key, certbot's account directory, lego's account file.
//!
//! Only the texts are looked at here; whoever calls has read the files. What such a file says about the account is a claim:
//! the CA is asked which account the key belongs to.

use secrecy::ExposeSecret;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

use crate::acme::SigningKey;
use crate::acme::SigningKeyError;

/// An account of another tool.
#[derive(Debug)]
#[non_exhaustive]
pub struct Foreign {
    /// Its key.
    pub key: SigningKey,
    /// The URL that the tool has for it.
    pub url: Option<String>,
    /// The contacts that the tool has for it, with `mailto:`.
    pub contacts: Vec<String>,
    /// The key identifier of its external account, where somebody says so.
    pub eab_kid: Option<String>,
}

impl Foreign {
    /// A key alone: a JWK, PEM (PKCS#8, `EC PRIVATE KEY`, `RSA PRIVATE KEY`), or PKCS#8 in base64.
    pub fn from_key(text: &SecretString) -> Result<Self, ForeignError> {
        Ok(Self {
            key: SigningKey::parse(text)?,
            url: None,
            contacts: Vec::new(),
            eab_kid: None,
        })
    }

    /// certbot's `private_key.json` and `regr.json`.
    pub fn from_certbot(private_key: &SecretString, regr: &str) -> Result<Self, ForeignError> {
        let regr = registration("regr.json", regr)?;
        Ok(Self {
            key: SigningKey::parse(private_key)?,
            url: regr.uri,
            contacts: regr.body.contact,
            eab_kid: None,
        })
    }

    /// lego's `account.json`, and the key beside it or in `keys/`.
    pub fn from_lego(account: &str, key: &SecretString) -> Result<Self, ForeignError> {
        #[derive(Deserialize)]
        struct Raw {
            email: Option<String>,
            registration: Option<Value>,
        }
        let unreadable = |error: serde_json::Error| ForeignError::Unreadable {
            file: "account.json",
            detail: error.to_string(),
        };
        let raw: Raw = serde_json::from_str(account).map_err(unreadable)?;
        let claim = match raw.registration {
            Some(registration) => serde_json::from_value(registration).map_err(unreadable)?,
            None => Registration::default(),
        };
        let email = raw.email.filter(|email| email.contains('@'));
        let contacts = match claim.body.contact.is_empty() {
            true => email
                .map(|email| format!("mailto:{email}"))
                .into_iter()
                .collect(),
            false => claim.body.contact,
        };
        Ok(Self {
            key: SigningKey::parse(key)?,
            url: claim.uri,
            contacts,
            eab_kid: None,
        })
    }

    /// Whether a text is a JWK, as certbot keeps keys.
    pub fn is_jwk(text: &SecretString) -> bool {
        text.expose_secret().trim_start().starts_with('{')
    }
}

/// Why a file of another tool is of no use; never quotes it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForeignError {
    /// The key.
    #[error(transparent)]
    Key(#[from] SigningKeyError),
    /// A file beside the key.
    #[error("{file} cannot be read: {detail}")]
    Unreadable {
        /// Which.
        file: &'static str,
        /// Where and why.
        detail: String,
    },
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Registration {
    body: Body,
    #[serde(alias = "location")]
    uri: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    contact: Vec<String>,
}

fn registration(file: &'static str, text: &str) -> Result<Registration, ForeignError> {
    serde_json::from_str(text).map_err(|error| ForeignError::Unreadable {
        file,
        detail: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::AccountKey;

    #[test]
    fn what_the_tools_write() {
        let key = AccountKey::generate().unwrap();
        let certbot = Foreign::from_certbot(
            &key.to_private_jwk(),
            r#"{"body": {}, "uri": "https://ca.test/acct/1"}"#,
        )
        .unwrap();
        assert_eq!(certbot.url.as_deref(), Some("https://ca.test/acct/1"));
        assert_eq!(certbot.key.thumbprint(), key.thumbprint());

        let lego = Foreign::from_lego(
            r#"{"email": "ops@example.com", "registration": {"body": {"status": "valid"}, "uri": "https://ca.test/acct/2"}}"#,
            &key.to_pem(),
        )
        .unwrap();
        assert_eq!(lego.contacts, ["mailto:ops@example.com"]);
        assert_eq!(lego.url.as_deref(), Some("https://ca.test/acct/2"));

        let no_email = Foreign::from_lego(r#"{"email": "noemail@x@y"}"#, &key.to_pem()).unwrap();
        assert_eq!(no_email.url, None);
    }

    #[test]
    fn what_is_no_file_of_theirs() {
        let key = AccountKey::generate().unwrap();
        let error = Foreign::from_certbot(&key.to_private_jwk(), "[").unwrap_err();
        assert!(error.to_string().contains("regr.json"), "{error}");
        let error = Foreign::from_lego("{", &key.to_pem()).unwrap_err();
        assert!(error.to_string().contains("account.json"), "{error}");
        let error = Foreign::from_key(&"canary".to_owned().into()).unwrap_err();
        assert!(!error.to_string().contains("canary"), "{error}");
    }
}
