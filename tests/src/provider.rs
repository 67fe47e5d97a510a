//! The RFC 2136 provider as the registry makes it from a user's settings, and values as a provider takes them.

use std::{
    fmt::Display,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::{Duration, SystemTime},
};

use dnseal_core::{
    dns::{Action, Asker, AskerOptions, DnsProvider, DomainName, RecordType, TxtChange, TxtValue},
    event::Events,
};
use dnseal_providers::{Context, Settings, Value, conformance::Reading};
use hickory_proto::rr::RData;

use crate::TsigKey;

/// Settings of an RFC 2136 provider in the making.
#[derive(Clone, Debug)]
pub struct Rfc2136 {
    settings: Vec<(&'static str, String)>,
    context: Context,
}

impl Rfc2136 {
    /// Updates go to this server, `NAME[:PORT]` or an address.
    pub fn at(server: impl Display) -> Self {
        Self {
            settings: vec![("server", server.to_string())],
            context: Context::default(),
        }
    }

    /// Signs with this key.
    #[must_use]
    pub fn key(self, key: &TsigKey) -> Self {
        self.set("tsig.name", &key.name)
            .set("tsig.algorithm", &key.algorithm)
            .set("tsig.secret", &key.secret_base64)
    }

    /// Any setting.
    #[must_use]
    pub fn set(mut self, key: &'static str, value: impl Display) -> Self {
        self.settings.push((key, value.to_string()));
        self
    }

    /// Lets this side's clock go wrong by so many seconds.
    #[must_use]
    pub fn clock_off_by(mut self, seconds: i64) -> Self {
        let by = Duration::from_secs(seconds.unsigned_abs());
        self.context = self.context.with_clock(move || {
            let now = SystemTime::now();
            if seconds < 0 { now - by } else { now + by }
        });
        self
    }

    /// The provider.
    ///
    /// # Panics
    ///
    /// When the settings are refused.
    pub fn build(self) -> Arc<dyn DnsProvider> {
        let mut settings = Settings::new();
        for (key, value) in self.settings {
            let value = match key {
                "tsig.secret" | "key-file" => Value::Secret(value.into()),
                _ => Value::Text(value),
            };
            settings.insert(key, value);
        }
        dnseal_providers::build("rfc2136", "test", settings, &self.context).unwrap()
    }
}

/// The addition of one value.
pub fn added(owner: &str, value: &str) -> TxtChange {
    change(Action::Add, owner, value)
}

/// The removal of one value.
pub fn removed(owner: &str, value: &str) -> TxtChange {
    change(Action::Remove, owner, value)
}

/// A name that is known to be one.
///
/// # Panics
///
/// When it is none.
pub fn name(text: &str) -> DomainName {
    text.parse().unwrap()
}

/// A value that is known to be one.
///
/// # Panics
///
/// When it is none.
pub fn value(text: &str) -> TxtValue {
    text.parse().unwrap()
}

/// A server on this machine that takes connections and never says anything; it is there as long as this is kept.
///
/// # Panics
///
/// When there is no port for it.
pub fn silence() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// Looks at a server from outside, for the conformance suite.
pub fn reader(addr: SocketAddr) -> impl Fn(DomainName) -> Reading + Send + Sync {
    let asker = Asker::new(AskerOptions::default(), Events::silent());
    move |owner| {
        let asker = asker.clone();
        Box::pin(async move {
            let asked = asker.ask(addr, &owner, RecordType::TXT).await;
            let reply = asked.map_err(|error| error.to_string())?;
            if !reply.is_conclusive() {
                return Err(format!("{addr} answered {reply}"));
            }
            let values = reply
                .answers
                .iter()
                .filter_map(|record| match &record.data {
                    RData::TXT(txt) => Some(TxtValue::from_bytes(txt.txt_data.concat())),
                    _ => None,
                });
            values
                .collect::<Result<_, _>>()
                .map_err(|error| error.to_string())
        })
    }
}

fn change(action: Action, owner: &str, value: &str) -> TxtChange {
    TxtChange {
        action,
        handle: None,
        origin: None,
        owner: name(owner),
        ttl: 1,
        value: self::value(value),
    }
}
