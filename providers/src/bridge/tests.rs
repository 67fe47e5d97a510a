use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use dns_update::Error;
use dnseal_core::dns::Action;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::Outcome;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::TxtChange;
use dnseal_core::dns::Zone;
use dnseal_core::event::Events;
use secrecy::SecretString;

use super::*;
use crate::bridge::errors::About;
use crate::bridge::remote::Remote;
use crate::bridge::remote::plain;
use crate::redact::Secrets;
use crate::settings::Settings;
use crate::settings::Value;

const OWNER: &str = "_acme-challenge.a.test";

#[test]
fn every_service_can_be_made_and_says_what_it_needs() {
    let mut count = 0;
    for kind in kinds() {
        count += 1;
        assert!(kind.docs.starts_with("https://"), "{}", kind.kind);
        assert!(
            kind.permissions.ends_with(".\n") || kind.permissions.contains("    "),
            "{}",
            kind.kind
        );
        let secrets = kind
            .settings
            .iter()
            .filter(|s| matches!(s.form, Form::File | Form::Secret));
        assert!(secrets.clone().count() > 0, "{} has no secret", kind.kind);
        for setting in kind.settings {
            assert!(!setting.env.is_empty(), "{}: {}", kind.kind, setting.key);
        }
        // Its constructor parses the key, which a real one costs a second to make.
        if kind.kind == "oraclecloud" {
            continue;
        }
        let mut settings = Settings::new();
        for setting in kind
            .settings
            .iter()
            .filter(|s| s.required || s.form == Form::Secret)
        {
            let value = match setting.key {
                "url" => "https://dns.test",
                "region" => "eu-1",
                _ => "123",
            };
            settings.insert(setting.key, Value::new(setting.form, value.to_owned()));
        }
        if kind.kind == "cloudns" {
            settings.insert("auth-id", "1".into());
        }
        let made = crate::build(kind.kind, "test", settings, &Context::default());
        let provider = made.unwrap_or_else(|error| panic!("{}: {error}", kind.kind));
        assert!(provider.capabilities().ttl > 0);
    }
    assert!(count > 60, "{count}");
}

#[test]
fn settings_that_do_not_fit_are_refused() {
    let error = |kind: &str, told: &[(&str, &str)]| {
        let mut settings = Settings::new();
        for &(key, value) in told {
            settings.insert(key, value.into());
        }
        let made = crate::build(kind, "test", settings, &Context::default());
        made.unwrap_err().to_string()
    };
    assert!(error("powerdns", &[]).contains("`api-key` is missing"));
    let key = ("api-key", "k");
    assert!(error("powerdns", &[key, ("url", "localhost")]).contains("no http or https URL"));
    assert!(error("powerdns", &[key, ("url", "http://u:p@a/")]).contains("credentials"));
    let keys = [
        ("application-key", "a"),
        ("application-secret", "b"),
        ("consumer-key", "c"),
    ];
    let keys = [&keys[..], &[("endpoint", "ovh-moon")]].concat();
    assert!(error("ovh", &keys).contains("ovh-moon"));
    assert!(
        error("google-cloud-dns", &[("project", "p")]).contains("`service-account` is missing")
    );
    assert!(error("cloudns", &[("password", "p")]).contains("auth_id"));
}

#[test]
fn who_is_not_served_hears_why() {
    let hint = |kind: &str| crate::kind(kind).unwrap_err().hint();
    assert!(hint("duckdns").contains("cannot be read"));
    assert!(hint("namecheap").contains("whole zone"));
    assert_eq!(hint("gcloud"), "it is called `google-cloud-dns` here");
    let mut others = ["pdns", "gandiv5", "azuredns"].map(|other| not_served(other).unwrap());
    for text in &mut others {
        let name = text.split('`').nth(1).unwrap();
        assert!(crate::kind(name).is_ok(), "{name}");
    }
}

#[test]
fn quotes_are_taken_off() {
    assert_eq!(plain("abc"), "abc");
    assert_eq!(plain("\"abc\""), "abc");
    assert_eq!(plain("\"abc\" \"def\""), "abcdef");
    assert_eq!(plain(r#""a\"b\\c""#), r#"a"b\c"#);
    assert_eq!(plain("\"open"), "\"open");
    assert_eq!(plain("\"a\" b"), "\"a\" b");
    assert_eq!(plain(""), "");
}

#[test]
fn texts_become_typed_errors() {
    let zone: DomainName = "a.test".parse().unwrap();
    let owner: DomainName = OWNER.parse().unwrap();
    let secrets = Secrets::new([SecretString::from("s3cret")]);
    let about = About {
        endpoint: "the API of Test",
        kind: "test",
        owner: &owner,
        secrets: &secrets,
        zone: &zone,
    };
    let typed = |text: &str| about.error(&Error::Api(text.to_owned()));
    assert!(matches!(
        about.error(&Error::Unauthorized),
        ProviderError::Credentials { .. }
    ));
    assert!(matches!(
        about.error(&Error::NotFound),
        ProviderError::ZoneNotFound { .. }
    ));
    assert!(matches!(
        typed("HTTP 403: no"),
        ProviderError::Credentials { .. }
    ));
    assert!(matches!(
        typed("HTTP 412: etag"),
        ProviderError::Conflict { .. }
    ));
    assert!(matches!(
        typed("HTTP 429: slow"),
        ProviderError::RateLimited { .. }
    ));
    assert!(matches!(
        typed("HTTP 502"),
        ProviderError::Unreachable { .. }
    ));
    assert!(matches!(
        typed("Rate limit exceeded"),
        ProviderError::RateLimited { .. }
    ));
    assert!(matches!(
        typed("Invalid API key"),
        ProviderError::Credentials { .. }
    ));
    assert!(matches!(
        typed("BadRequest {\"id\": 1}"),
        ProviderError::Refused { .. }
    ));
    assert!(matches!(typed("HTTP 4290"), ProviderError::Refused { .. }));
    let hint = typed("No LuaDNS zone a.test not found").hint().unwrap();
    assert!(hint.contains("the zone a.test"), "{hint}");

    let lost = typed(
        "Failed to send request to https://api.test/x?key=s3cret: error sending request for url (https://api.test/x?key=s3cret)",
    );
    assert!(matches!(lost, ProviderError::Unreachable { .. }));
    assert!(lost.is_retryable());
    assert_eq!(
        lost.to_string(),
        "the API of Test did not answer: no connection to https://api.test/x, or no answer in time"
    );
    let told = typed("HTTP 400: the token s3cret\nis none").to_string();
    assert!(told.ends_with("the token [redacted] is none"), "{told}");
}

/// A service in memory, as bad as it is told to be.
#[derive(Default)]
struct Shelf {
    /// The next calls end in these.
    errors: Mutex<Vec<Error>>,
    /// So many lists show what stood there before the last write.
    lag: Mutex<(usize, Vec<String>)>,
    lies: bool,
    /// Every value that is written, in order.
    log: Mutex<Vec<String>>,
    quotes: bool,
    values: Mutex<BTreeMap<String, Vec<String>>>,
    wait: usize,
}

impl Shelf {
    fn standing(self, value: &str) -> Self {
        self.put(OWNER, value);
        self
    }

    fn put(&self, owner: &str, value: &str) {
        let mut values = self.values.lock().unwrap();
        values
            .entry(owner.to_owned())
            .or_default()
            .push(value.to_owned());
    }

    fn at(&self, owner: &str) -> Vec<String> {
        self.values
            .lock()
            .unwrap()
            .get(owner)
            .cloned()
            .unwrap_or_default()
    }

    fn fail(&self) -> Result<(), Error> {
        self.errors.lock().unwrap().pop().map_or(Ok(()), Err)
    }

    fn before_write(&self, owner: &DomainName) {
        *self.lag.lock().unwrap() = (self.wait, self.at(owner.as_str()));
    }
}

#[async_trait]
impl Remote for Shelf {
    async fn list(&self, owner: &DomainName, _zone: &DomainName) -> Result<Vec<String>, Error> {
        self.fail()?;
        let mut lag = self.lag.lock().unwrap();
        if lag.0 > 0 {
            lag.0 -= 1;
            return Ok(lag.1.clone());
        }
        Ok(self.at(owner.as_str()))
    }

    async fn add(
        &self,
        owner: &DomainName,
        _zone: &DomainName,
        _ttl: u32,
        values: &[String],
    ) -> Result<(), Error> {
        self.fail()?;
        self.before_write(owner);
        for value in values {
            self.log.lock().unwrap().push(format!("+{value}"));
            let text = if self.quotes {
                format!("\"{value}\"")
            } else {
                value.clone()
            };
            if !self.lies {
                self.put(owner.as_str(), &text);
            }
        }
        Ok(())
    }

    async fn remove(
        &self,
        owner: &DomainName,
        _zone: &DomainName,
        values: &[String],
    ) -> Result<(), Error> {
        self.fail()?;
        self.before_write(owner);
        for value in values {
            self.log.lock().unwrap().push(format!("-{value}"));
        }
        if let Some(list) = self.values.lock().unwrap().get_mut(owner.as_str()) {
            list.retain(|text| !values.contains(text));
        }
        Ok(())
    }
}

fn bridged(remote: Shelf) -> Bridged<Shelf> {
    Bridged {
        endpoint: "the API of Test".to_owned(),
        events: Events::silent(),
        kind: "test",
        remote,
        secrets: Secrets::default(),
        ttl: 60,
        write_safety: WriteSafety::ReadModifyWrite,
    }
}

fn zone() -> Zone {
    Zone {
        id: String::new(),
        name: "a.test".parse().unwrap(),
    }
}

fn change(action: Action, owner: &str, value: &str) -> TxtChange {
    TxtChange {
        action,
        handle: None,
        origin: None,
        owner: owner.parse().unwrap(),
        ttl: 60,
        value: value.parse().unwrap(),
    }
}

const APPLIED: Outcome = Outcome::Applied { handle: None };

#[tokio::test(start_paused = true)]
async fn only_what_is_missing_is_written() {
    let provider = bridged(Shelf::default().standing("foreign").standing("there"));
    let changes = [
        change(Action::Add, OWNER, "there"),
        change(Action::Add, OWNER, "new"),
        change(Action::Add, OWNER, "new"),
        change(Action::Remove, OWNER, "gone"),
    ];
    let applied = provider.apply(&zone(), &changes).await.unwrap();
    assert_eq!(applied.outcomes, vec![APPLIED; 4]);
    assert_eq!(provider.remote.at(OWNER), ["foreign", "there", "new"]);
    assert_eq!(*provider.remote.log.lock().unwrap(), ["+new"]);
    let owner = OWNER.parse().unwrap();
    let values = provider.values(&zone(), &owner).await.unwrap().unwrap();
    assert_eq!(values.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_success_that_cannot_be_seen_is_none() {
    let provider = bridged(Shelf {
        lies: true,
        ..Shelf::default()
    });
    let changes = [change(Action::Add, OWNER, "a")];
    let applied = provider.apply(&zone(), &changes).await.unwrap();
    let [Outcome::Unknown { reason }] = applied.outcomes.as_slice() else {
        panic!("{applied:?}");
    };
    assert!(reason.contains("does not list it"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_lags_is_waited_for() {
    let provider = bridged(Shelf {
        wait: 4,
        ..Shelf::default()
    });
    for action in [Action::Add, Action::Remove] {
        let changes = [change(action, OWNER, "a")];
        let applied = provider.apply(&zone(), &changes).await.unwrap();
        assert_eq!(applied.outcomes, [APPLIED], "{action}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_listed_with_quotes_is_removed_with_quotes() {
    let provider = bridged(Shelf {
        quotes: true,
        ..Shelf::default()
    });
    for action in [Action::Add, Action::Add, Action::Remove] {
        let changes = [change(action, OWNER, "a")];
        let applied = provider.apply(&zone(), &changes).await.unwrap();
        assert_eq!(applied.outcomes, [APPLIED]);
    }
    assert_eq!(*provider.remote.log.lock().unwrap(), ["+a", "-a", "-\"a\""]);
}

#[tokio::test(start_paused = true)]
async fn names_fail_alone_and_accounts_as_a_whole() {
    let provider = bridged(Shelf::default());
    let changes = ["a", "b", "c"]
        .map(|host| change(Action::Add, &format!("_acme-challenge.{host}.a.test"), "v"));
    let fail = |error: Error| provider.remote.errors.lock().unwrap().push(error);

    fail(Error::Unauthorized);
    let error = provider.apply(&zone(), &changes).await.unwrap_err();
    assert!(matches!(error, ProviderError::Credentials { .. }));

    fail(Error::Api("BadRequest no".to_owned()));
    let applied = provider.apply(&zone(), &changes).await.unwrap();
    assert!(matches!(
        applied.outcomes.as_slice(),
        [
            Outcome::Refused { .. },
            Outcome::Applied { .. },
            Outcome::Applied { .. }
        ]
    ));

    let mut elsewhere = changes.clone();
    elsewhere[1].owner = "_acme-challenge.b.test".parse().unwrap();
    let applied = provider.apply(&zone(), &elsewhere).await.unwrap();
    assert!(matches!(
        applied.outcomes.as_slice(),
        [
            Outcome::Applied { .. },
            Outcome::Refused { .. },
            Outcome::Applied { .. }
        ]
    ));
}

/// Sixteen tasks of one process write one name of a service that reads and writes again: none goes between.
#[tokio::test(start_paused = true)]
async fn one_process_writes_a_zone_in_turns() {
    let provider = Arc::new(bridged(Shelf::default()));
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..16 {
        let provider = provider.clone();
        writers.spawn(async move {
            let changes = [change(Action::Add, OWNER, &n.to_string())];
            provider.apply(&zone(), &changes).await.unwrap().outcomes
        });
    }
    for outcomes in writers.join_all().await {
        assert_eq!(outcomes, [APPLIED]);
    }
    assert_eq!(provider.remote.at(OWNER).len(), 16);
}
