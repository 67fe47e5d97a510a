//! A fake service with one zone, and providers for it.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;

use dnseal_core::dns::{
    Action, Applied, DnsProvider, DomainName, Handle, Outcome, ProviderError, TxtChange, TxtValue,
    Zone,
};
use dnseal_providers::{Context, Form, Settings, Value, build};
use dnseal_tests::fakes::route53::{KEY_ID, KEY_SECRET, Route53, Route53Options};
use dnseal_tests::query;
use hickory_proto::rr::{RData, RecordType};

pub(crate) const ZONE: &str = "example.test";

/// The service with `example.test`, and a provider that may do everything there.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) fake: Route53,
    pub(crate) provider: Arc<dyn DnsProvider>,
    pub(crate) zone: Zone,
}

impl Bench {
    /// With a rate that no test meets by accident.
    pub(crate) async fn open() -> Self {
        Self::with(Route53Options {
            burst: 10_000,
            rate: 10_000,
            ..Route53Options::default()
        })
        .await
    }

    pub(crate) async fn with(options: Route53Options) -> Self {
        let fake = Route53::start(options).await;
        let id = fake.add_zone(ZONE);
        Self {
            provider: provider(&fake, &[]),
            fake,
            zone: Zone {
                id,
                name: name(ZONE),
            },
        }
    }

    pub(crate) async fn add(&self, owner: &str, text: &str) -> Applied {
        self.apply(&[change(Action::Add, owner, text)])
            .await
            .unwrap()
    }

    pub(crate) async fn remove(&self, owner: &str, text: &str, handle: Option<Handle>) -> Applied {
        let change = TxtChange {
            handle,
            ..change(Action::Remove, owner, text)
        };
        self.apply(&[change]).await.unwrap()
    }

    pub(crate) async fn apply(&self, changes: &[TxtChange]) -> Result<Applied, ProviderError> {
        self.provider.apply(&self.zone, changes).await
    }

    pub(crate) fn txt(&self, owner: &str) -> Vec<String> {
        self.fake.txt(&self.zone.id, owner)
    }
}

/// A provider for the fake; settings given here replace those that make it fast and trusted.
pub(crate) fn provider(fake: &Route53, given: &[(&str, &str)]) -> Arc<dyn DnsProvider> {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    provider_over(&fake.endpoint(), given, http)
}

pub(crate) fn provider_over(
    endpoint: &str,
    given: &[(&str, &str)],
    http: reqwest::Client,
) -> Arc<dyn DnsProvider> {
    let mut settings = Settings::new();
    for (key, value) in given {
        settings.insert(*key, Value::new(form(key), (*value).to_owned()));
    }
    let mut rest = Settings::new();
    for (key, value) in [
        ("access-key-id", KEY_ID),
        ("secret-access-key", KEY_SECRET),
        ("endpoint", endpoint),
        ("requests-per-second", "10000"),
        ("burst", "10000"),
    ] {
        rest.insert(key, Value::new(form(key), value.to_owned()));
    }
    settings.fill_from(rest);
    let context = Context::default().with_http(http);
    build("route53", "cloud", settings, &context).unwrap()
}

fn form(key: &str) -> Form {
    match key {
        "secret-access-key" | "session-token" => Form::Secret,
        _ => Form::Text,
    }
}

pub(crate) fn change(action: Action, owner: &str, text: &str) -> TxtChange {
    TxtChange {
        action,
        handle: None,
        origin: None,
        owner: name(owner),
        ttl: 1,
        value: text.parse().unwrap(),
    }
}

pub(crate) fn challenge(number: usize) -> String {
    format!("_acme-challenge.n{number}.{ZONE}")
}

pub(crate) fn name(text: &str) -> DomainName {
    text.parse().unwrap()
}

pub(crate) fn all_applied(applied: &Applied) {
    for outcome in &applied.outcomes {
        assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
    }
}

/// Applies until it is done, as the engine's zone writers do.
pub(crate) async fn apply_patiently(
    provider: &dyn DnsProvider,
    zone: &Zone,
    changes: &[TxtChange],
) -> Applied {
    for _ in 0..50 {
        match provider.apply(zone, changes).await {
            Ok(applied) => return applied,
            Err(error) if error.is_retryable() => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("never applied");
}

/// The TXT values that a name server answers with.
pub(crate) async fn served(server: SocketAddr, owner: DomainName) -> Result<Vec<TxtValue>, String> {
    let asked = tokio::task::spawn_blocking(move || query(server, owner.as_str(), RecordType::TXT));
    let answer = asked.await.unwrap().map_err(|error| error.to_string())?;
    let values = answer
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::TXT(txt) => TxtValue::from_bytes(txt.txt_data.concat()).ok(),
            _ => None,
        });
    Ok(values.collect())
}

/// Whether a text has all of these parts.
pub(crate) fn says(text: &impl Debug, parts: &[&str]) {
    let text = format!("{text:?}");
    for part in parts {
        assert!(text.contains(part), "no `{part}` in: {text}");
    }
}
