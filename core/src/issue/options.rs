//! What may be asked for beyond names, CA and key type, and what of it is refused before anybody hears of it.

use std::sync::Arc;

use jiff::Timestamp;

use super::IssueError;
use super::Request;
use crate::acme::Ca;
use crate::acme::CertificateKey;
use crate::acme::Csr;
use crate::acme::ExternalAccount;
use crate::acme::KeyType;
use crate::acme::Transport;
use crate::dns::Identifier;
use crate::store::AccountId;
use crate::store::KeyOrigin;
use crate::store::Moment;
use crate::store::Spec;
use crate::store::Wanted;

/// What is asked for beyond names, key type, profile and CA; nothing of it unless somebody says so.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whether to go on without the names that fail, as long as one remains.
    pub allow_subset: bool,
    /// Where its key comes from.
    pub key: KeyChoice,
    /// Whether servers have to staple an OCSP answer (RFC 7633).
    pub must_staple: bool,
    /// Whether a new key is wanted now, also where the key is kept otherwise.
    pub new_key: bool,
    /// From when it is to be valid.
    pub not_before: Option<Moment>,
    /// Until when it is to be valid.
    pub not_after: Option<Moment>,
    /// The CAs to try where the first cannot issue, in order of preference.
    pub other_cas: Vec<OtherCa>,
    /// The common name of the root that the chain should lead to.
    pub preferred_chain: Option<String>,
    /// The profile to use where the CA offers it.
    pub preferred_profile: Option<String>,
}

/// Where the key of a certificate comes from.
#[derive(Clone, Debug, Default)]
pub enum KeyChoice {
    /// It stays with whoever made this request.
    Csr(Arc<Csr>),
    /// This one.
    Given(Arc<CertificateKey>),
    /// A new one for each version.
    #[default]
    New,
    /// That of the version before, where there is one of the type that is wanted.
    Reuse,
}

impl KeyChoice {
    fn origin(&self) -> KeyOrigin {
        match self {
            Self::Csr(csr) => KeyOrigin::Csr {
                fingerprint: csr.fingerprint().to_owned(),
            },
            Self::Given(key) => KeyOrigin::Given {
                fingerprint: key.spki_sha256(),
            },
            Self::New => KeyOrigin::New,
            Self::Reuse => KeyOrigin::Reused,
        }
    }

    /// The type of a key that is there already.
    pub fn key_type(&self) -> Option<KeyType> {
        match self {
            Self::Csr(csr) => Some(csr.key_type()),
            Self::Given(key) => Some(key.kind()),
            Self::New | Self::Reuse => None,
        }
    }
}

/// A CA that may issue where others cannot.
#[derive(Clone, Debug)]
pub struct OtherCa {
    /// The CA.
    pub ca: Ca,
    /// The account there, where it is not the usual one.
    pub account: Option<AccountId>,
    /// The external account that a new account there is bound to.
    pub external_account: Option<ExternalAccount>,
    /// The way there, where it is another than to the first, because other roots are trusted on it.
    pub transport: Option<Transport>,
}

impl Request {
    /// What stands in the head as wanted.
    pub fn wanted(&self) -> Wanted {
        let options = &self.options;
        let others = options.other_cas.iter().map(|other| &other.ca.url);
        let directories = match options.other_cas.is_empty() {
            true => Vec::new(),
            false => [&self.ca.url]
                .into_iter()
                .chain(others)
                .map(ToString::to_string)
                .collect(),
        };
        Wanted {
            names: self.names.clone(),
            key_type: self.key_type,
            profile: self.profile.clone(),
            directory: self.ca.url.to_string(),
            account: self.account_id(),
            spec: Spec {
                allow_subset: options.allow_subset,
                directories,
                key: options.key.origin(),
                must_staple: options.must_staple,
                not_before: options.not_before,
                not_after: options.not_after,
                preferred_chain: options.preferred_chain.clone(),
                preferred_profile: options.preferred_profile.clone(),
            },
        }
    }

    /// The same request to each of its CAs, in order of preference.
    pub(super) fn for_each_ca(&self) -> Vec<Self> {
        let others = self.options.other_cas.iter().map(|other| Self {
            account: other.account.clone(),
            ca: other.ca.clone(),
            external_account: other.external_account.clone(),
            transport: other.transport.clone().or_else(|| self.transport.clone()),
            ..self.clone()
        });
        std::iter::once(self.clone()).chain(others).collect()
    }

    /// What cannot be had from any CA.
    pub(super) fn check_options(&self) -> Result<(), IssueError> {
        if let Some(is) = self.options.key.key_type()
            && is != self.key_type
        {
            return Err(IssueError::KeyMismatch {
                id: self.id.clone(),
                is,
                wanted: self.key_type,
            });
        }
        if let KeyChoice::Csr(csr) = &self.options.key {
            let missing = without(&self.names, csr.names());
            let added = without(csr.names(), &self.names);
            if !missing.is_empty() || !added.is_empty() {
                return Err(IssueError::CsrNames {
                    added,
                    id: self.id.clone(),
                    missing,
                });
            }
            if self.options.allow_subset {
                return Err(IssueError::CsrSubset {
                    id: self.id.clone(),
                });
            }
        }
        let staples = match &self.options.key {
            KeyChoice::Csr(csr) => csr.must_staple(),
            _ => self.options.must_staple,
        };
        if staples && self.ca.refuses_must_staple() {
            return Err(IssueError::MustStaple { ca: self.ca.name() });
        }
        let now = Timestamp::now();
        let not_before = self.options.not_before.and_then(|at| at.from(now));
        let not_after = self.options.not_after.and_then(|at| at.from(now));
        if let Some(not_after) = not_after
            && not_after <= not_before.unwrap_or(now).max(now)
        {
            return Err(IssueError::Validity {
                not_before: not_before.unwrap_or(now),
                not_after,
            });
        }
        Ok(())
    }
}

fn without(names: &[Identifier], others: &[Identifier]) -> Vec<Identifier> {
    names
        .iter()
        .filter(|name| !others.contains(name))
        .cloned()
        .collect()
}
