//! The accounts at one acme-dns server: those in the store, those that other tools have left, and one for everything.
//!
//! They stand in the store in the form that lego, certbot's plugin and `acme-dns-auth.py` share, a map from domain to account, one file a server.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::digest;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::ProviderError;
use dnseal_core::store::Memory;
use dnseal_core::store::MemoryError;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use tokio::sync::Mutex;
use url::Url;

use crate::hosted::acme_dns::KIND;
use crate::hosted::be_younger_than;

/// One account.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Account {
    /// The name that holds its values; empty where only the subdomain is known.
    #[serde(default)]
    pub(super) fulldomain: String,
    pub(super) subdomain: String,
    pub(super) username: String,
    #[serde(deserialize_with = "secret", serialize_with = "exposed")]
    pub(super) password: SecretString,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) allowfrom: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) server_url: Option<String>,
}

impl Account {
    pub(super) fn new(username: &str, password: SecretString, subdomain: &str) -> Self {
        Self {
            fulldomain: String::new(),
            subdomain: subdomain.to_owned(),
            username: username.to_owned(),
            password,
            allowfrom: Vec::new(),
            server_url: None,
        }
    }

    /// The name that holds its values.
    pub(super) fn name(&self) -> Result<DomainName, ProviderError> {
        self.fulldomain
            .parse()
            .map_err(|error| ProviderError::Misconfigured {
                detail: format!(
                    "the acme-dns account `{}` has a name that is none: {error}",
                    self.subdomain
                ),
                hint: None,
            })
    }

    fn is_at(&self, owner: &DomainName) -> bool {
        let owner = owner.as_str();
        match self.fulldomain.is_empty() {
            // A subdomain is a UUID, so that its first label tells it from everybody's.
            true => owner
                .strip_prefix(&self.subdomain.to_ascii_lowercase())
                .is_some_and(|rest| rest.starts_with('.')),
            false => self
                .fulldomain
                .trim_end_matches('.')
                .eq_ignore_ascii_case(owner),
        }
    }
}

/// By the domain that they were made for.
pub(super) type ByDomain = BTreeMap<String, Account>;

/// The accounts that other tools keep in a file, as far as they are for this server.
pub(super) fn parse(text: &SecretString, url: &Url) -> Result<ByDomain, String> {
    let accounts: ByDomain = serde_json::from_str(text.expose_secret())
        // serde's words may quote what stands there.
        .map_err(|error| {
            format!(
                "line {} column {} is not what a file of acme-dns accounts has there",
                error.line(),
                error.column()
            )
        })?;
    let is_here = |account: &Account| match &account.server_url {
        Some(theirs) => same_server(theirs, url),
        None => true,
    };
    let mut kept = ByDomain::new();
    for (domain, account) in accounts {
        if is_here(&account) {
            kept.insert(normal(&domain), account);
        }
    }
    Ok(kept)
}

/// What is known of the accounts at one server.
pub(super) struct Accounts {
    item: String,
    /// From the store, when it was read last.
    known: Mutex<Option<Known>>,
    memory: Option<Memory>,
    one: Option<Account>,
    taken_over: ByDomain,
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts")
            .field("item", &self.item)
            .finish_non_exhaustive()
    }
}

impl Accounts {
    pub(super) fn new(
        url: &Url,
        taken_over: ByDomain,
        one: Option<Account>,
        memory: Option<Memory>,
    ) -> Self {
        Self {
            item: item(url),
            known: Mutex::default(),
            memory,
            one,
            taken_over,
        }
    }

    /// All there are. Those of other tools are remembered with the first use.
    pub(super) async fn known(&self) -> Result<Known, ProviderError> {
        let mut known = self.known.lock().await;
        if let Some(known) = &*known {
            return Ok(known.clone());
        }
        let mut by_domain = self.load().await?;
        let new = |by_domain: &ByDomain| {
            let is_new = |domain: &&String| !by_domain.contains_key(*domain);
            self.taken_over.keys().any(|domain| is_new(&domain))
        };
        if new(&by_domain) {
            match &self.memory {
                Some(memory) if memory.may_write() => {
                    let _lock = memory.lock(KIND.kind, &self.item).await.map_err(forgot)?;
                    by_domain = self.load().await?;
                    self.take_over(&mut by_domain);
                    self.save(memory, &by_domain).await?;
                }
                _ => self.take_over(&mut by_domain),
            }
        }
        let found = Known {
            by_domain,
            one: self.one.clone(),
        };
        *known = Some(found.clone());
        Ok(found)
    }

    /// The account for a domain, from the store or else from `register`; it is in the store when this returns it.
    pub(super) async fn remember<F>(
        &self,
        domain: &str,
        register: impl FnOnce() -> F,
    ) -> Result<Account, ProviderError>
    where
        F: Future<Output = Result<Account, ProviderError>>,
    {
        let Some(memory) = self.memory.as_ref().filter(|memory| memory.may_write()) else {
            return Err(ProviderError::Misconfigured {
                detail: format!(
                    "there is no acme-dns account for {domain} yet, and this run registers none"
                ),
                hint: Some(format!(
                    "`dnseal dns delegate {domain} --provider acme-dns` makes one, and says which CNAME to set"
                )),
            });
        };
        let domain = normal(domain);
        let _lock = memory.lock(KIND.kind, &self.item).await.map_err(forgot)?;
        let mut by_domain = self.load().await?;
        self.take_over(&mut by_domain);
        let account = match by_domain.get(&domain) {
            // Another run was quicker.
            Some(account) => account.clone(),
            None => {
                let account = register().await?;
                by_domain.insert(domain, account.clone());
                self.save(memory, &by_domain).await?;
                account
            }
        };
        *self.known.lock().await = Some(Known {
            by_domain,
            one: self.one.clone(),
        });
        Ok(account)
    }

    /// Waits until a value that is written now is younger than the last one at the account's name. Whoever calls has the turn there.
    pub(super) async fn wait_for_last_write(&self, account: &Account) -> Result<(), ProviderError> {
        let last = match self.writes_of(account) {
            Some((memory, item)) => {
                let last = memory.get(KIND.kind, &item).await.map_err(forgot)?;
                match last {
                    // What cannot be read is taken for the worst.
                    Some(text) => text
                        .expose_secret()
                        .trim()
                        .parse()
                        .unwrap_or_else(|_| Timestamp::now()),
                    None => Timestamp::MIN,
                }
            }
            None => Timestamp::now(),
        };
        be_younger_than(last).await;
        // A run that is killed before the answer may have written.
        self.remember_write(account).await
    }

    /// Remembers that a value was written just now.
    pub(super) async fn remember_write(&self, account: &Account) -> Result<(), ProviderError> {
        let Some((memory, item)) = self.writes_of(account) else {
            return Ok(());
        };
        let now = format!("{}\n", Timestamp::now());
        let kept = memory.put(KIND.kind, &item, &now.into()).await;
        kept.map_err(forgot)
    }

    /// Where it is remembered when an account was written last, if anywhere.
    fn writes_of(&self, account: &Account) -> Option<(&Memory, String)> {
        let memory = self.memory.as_ref().filter(|memory| memory.may_write())?;
        let account = digest_hex(&[&self.item, "/", &account.subdomain]);
        Some((memory, format!("{account}.written")))
    }

    fn take_over(&self, by_domain: &mut ByDomain) {
        for (domain, account) in &self.taken_over {
            by_domain
                .entry(domain.clone())
                .or_insert_with(|| account.clone());
        }
    }

    async fn load(&self) -> Result<ByDomain, ProviderError> {
        let Some(memory) = &self.memory else {
            return Ok(ByDomain::new());
        };
        let text = memory.get(KIND.kind, &self.item).await.map_err(forgot)?;
        let Some(text) = text else {
            return Ok(ByDomain::new());
        };
        let broken = |detail: String| ProviderError::Misconfigured {
            detail: format!(
                "providers/{}/{} in the store cannot be used: {detail}",
                KIND.kind, self.item
            ),
            hint: Some(
                "put it back from a backup: the accounts in it are what CNAMEs lead to".to_owned(),
            ),
        };
        let stored: Stored = serde_json::from_str(text.expose_secret())
            .map_err(|error| broken(format!("line {} column {}", error.line(), error.column())))?;
        match stored.schema > SCHEMA {
            true => Err(broken(format!(
                "it has format {}, and this program knows formats up to {SCHEMA}",
                stored.schema
            ))),
            false => Ok(stored.accounts),
        }
    }

    async fn save(&self, memory: &Memory, by_domain: &ByDomain) -> Result<(), ProviderError> {
        let stored = Stored {
            schema: SCHEMA,
            accounts: by_domain.clone(),
        };
        let mut text = serde_json::to_string_pretty(&stored).map_err(|error| {
            ProviderError::Misconfigured {
                detail: error.to_string(),
                hint: None,
            }
        })?;
        text.push('\n');
        memory
            .put(KIND.kind, &self.item, &text.into())
            .await
            .map_err(forgot)
    }
}

/// The accounts as they were when they were asked for.
#[derive(Clone)]
pub(super) struct Known {
    by_domain: ByDomain,
    one: Option<Account>,
}

impl Known {
    /// The account whose values are at `owner`.
    pub(super) fn at(&self, owner: &DomainName) -> Option<&Account> {
        let mut all = self.one.iter().chain(self.by_domain.values());
        all.find(|account| account.is_at(owner))
    }

    /// The account that was made for a domain.
    pub(super) fn of(&self, domain: &str) -> Option<&Account> {
        self.by_domain.get(&normal(domain))
    }

    /// The one that is for everything.
    pub(super) fn for_all(&self) -> Option<&Account> {
        self.one.as_ref()
    }
}

#[derive(Deserialize, Serialize)]
struct Stored {
    schema: u32,
    accounts: ByDomain,
}

/// Other tools have wildcards as they were asked for.
fn normal(domain: &str) -> String {
    let domain = domain.trim_end_matches('.').to_ascii_lowercase();
    match domain.strip_prefix("*.") {
        Some(base) => base.to_owned(),
        None => domain,
    }
}

fn same_server(theirs: &str, ours: &Url) -> bool {
    theirs.trim_end_matches('/') == ours.as_str().trim_end_matches('/')
}

/// A name for the file that tells people which server it is, and is different for each.
fn item(url: &Url) -> String {
    let hex = digest_hex(&[url.as_str().trim_end_matches('/')]);
    let host: String = url
        .host_str()
        .unwrap_or_default()
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-'))
        .take(60)
        .collect();
    format!("{}-{hex}.json", host.trim_start_matches('.'))
        .trim_start_matches('-')
        .to_owned()
}

/// A short name for something that has a long one.
fn digest_hex(parts: &[&str]) -> String {
    let digest = digest::digest(&digest::SHA256, parts.concat().as_bytes());
    let short = digest.as_ref().iter().take(6);
    short.map(|b| format!("{b:02x}")).collect()
}

fn forgot(error: MemoryError) -> ProviderError {
    ProviderError::Misconfigured {
        hint: error.hint(),
        detail: format!("the accounts at acme-dns cannot be read or kept: {error}"),
    }
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}

fn exposed<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

const SCHEMA: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn url() -> Url {
        "https://auth.example.org".parse().unwrap()
    }

    #[test]
    fn accounts_of_other_tools_are_understood() {
        // As lego writes it, as acme-dns-auth.py does, and one of another server.
        let text = r#"{
            "example.com": {"fulldomain": "A1.auth.example.org", "subdomain": "a1", "username": "u", "password": "p", "server_url": "https://auth.example.org"},
            "*.Example.net": {"username": "u2", "password": "p2", "fulldomain": "b2.auth.example.org", "subdomain": "b2", "allowfrom": []},
            "example.org": {"fulldomain": "c3.other.test", "subdomain": "c3", "username": "u", "password": "p", "server_url": "https://other.test"}
        }"#;
        let accounts = parse(&text.into(), &url()).unwrap();
        let known = Known {
            by_domain: accounts,
            one: Some(Account::new("u", "p".into(), "d4")),
        };
        let at = |owner: &str| {
            known
                .at(&owner.parse().unwrap())
                .map(|a| a.subdomain.as_str())
        };
        assert_eq!(at("a1.auth.example.org"), Some("a1"));
        assert_eq!(at("d4.auth.example.org"), Some("d4"));
        assert_eq!(at("d44.auth.example.org"), None);
        assert_eq!(at("c3.other.test"), None);
        assert_eq!(known.of("example.net").unwrap().subdomain, "b2");

        let error = parse(&r#"{"a": {"password": 7}}"#.into(), &url()).unwrap_err();
        assert!(error.contains("line 1") && !error.contains('7'), "{error}");
    }

    #[test]
    fn a_file_is_named_after_its_server() {
        assert!(item(&url()).starts_with("auth.example.org-"));
        let other: Url = "https://auth.example.org/two".parse().unwrap();
        assert_ne!(item(&url()), item(&other));
        let numeric: Url = "http://[::1]:8080".parse().unwrap();
        assert!(item(&numeric).ends_with(".json"));
    }
}
