//! Providers that are programs of their own, in any language, by plugin protocol 1 (`docs/plugin-protocol.md`).
//!
//! A plugin is started when it is first needed, describes itself, is told its settings over standard input, and serves the calls of
//! the provider trait until the run ends. It is started again when it has died, and the call is repeated, which is harmless because
//! every call is idempotent. It never gets a setting in its arguments or its environment, and nothing it says is believed about
//! another provider's zones or values.

mod describe;
mod find;
mod first_line;
mod fit;
mod problem;
mod protocol;
mod session;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex as SyncMutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use dnseal_core::dns::Action;
use dnseal_core::dns::Applied;
use dnseal_core::dns::Capabilities;
use dnseal_core::dns::DnsProvider;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::Outcome;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::Receipt;
use dnseal_core::dns::Settlement;
use dnseal_core::dns::TxtChange;
use dnseal_core::dns::TxtValue;
use dnseal_core::dns::WriteSafety;
use dnseal_core::dns::Zone;
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use tokio::sync::Mutex;

pub use describe::About;
pub use describe::describe;
pub use find::Plugins;
pub use problem::PluginError;
pub(crate) use problem::is_breach;

use crate::plugin::problem::Problem;
use crate::plugin::protocol::ApplyAnswer;
use crate::plugin::protocol::SettledAnswer;
use crate::plugin::protocol::ValuesAnswer;
use crate::plugin::protocol::ZoneAnswer;
use crate::plugin::session::CallError;
use crate::plugin::session::Session;
use crate::program::Log;
use crate::registry::Context;
use crate::registry::Form;
use crate::registry::Integration;
use crate::registry::Kind;
use crate::registry::Setting;
use crate::settings::Checked;
use crate::settings::SettingsError;

/// A plugin that is named by its command; what else it can be told, it says itself.
pub(crate) const KIND: Kind = Kind {
    docs: "docs/plugin-protocol.md",
    integration: Integration::AnyPlugin,
    kind: "plugin",
    permissions: "What the plugin's own documentation says.\n",
    settings: &[
        COMMAND_SETTING,
        TIMEOUT_SETTING,
        Setting {
            aliases: &[],
            default: None,
            env: &[],
            // Which of them are secrets, only the plugin knows.
            form: Form::Secret,
            help: "The settings that the plugin describes; `dnseal provider show plugin --set command=/PATH/TO/PLUGIN` shows them",
            key: "*",
            required: false,
        },
    ],
    title: "a program of your own that speaks the plugin protocol",
    write_safety: WriteSafety::ReadModifyWrite,

    build,
};

pub(crate) const COMMAND_SETTING: Setting = Setting {
    aliases: &[],
    default: None,
    env: &["DNSEAL_PLUGIN_COMMAND"],
    form: Form::Words,
    help: "The program by its whole path, and its arguments: a list, or words separated by blanks; no shell reads it",
    key: COMMAND,
    required: true,
};

pub(crate) const TIMEOUT_SETTING: Setting = Setting {
    aliases: &[],
    default: Some("60s"),
    env: &["DNSEAL_PLUGIN_TIMEOUT"],
    form: Form::Duration,
    help: "How long to wait for an answer of the plugin before it is stopped",
    key: TIMEOUT,
    required: false,
};

pub(crate) fn build(
    settings: &Checked,
    context: &Context,
) -> Result<Arc<dyn DnsProvider>, SettingsError> {
    let kind = settings.kind();
    let Integration::Plugin(about) = kind.integration else {
        return Err(SettingsError::malformed(
            COMMAND,
            "the plugin has not been asked what it is",
        ));
    };
    let mut told = Map::new();
    for setting in kind.settings {
        if [COMMAND, TIMEOUT].contains(&setting.key) {
            continue;
        }
        if let Some(value) = typed(settings, setting)? {
            told.insert(setting.key.to_owned(), value);
        }
    }
    let configure = serde_json::to_string(&json!({ "settings": told }))
        .map_err(|error| SettingsError::malformed(COMMAND, error.to_string()))?;
    // One that is given by its command has no name but the one it is configured under, if it is.
    let (name, endpoint) = match (kind.kind == KIND.kind, settings.name()) {
        (true, name) if name == KIND.kind => {
            let programs = about.programs();
            (programs.clone(), format!("the plugin {programs}"))
        }
        (true, name) => (name.to_owned(), format!("the plugin `{name}`")),
        (false, _) => (kind.kind.to_owned(), format!("the plugin `{}`", kind.kind)),
    };
    Ok(Arc::new(Plugin {
        about,
        configure: configure.into(),
        endpoint,
        log: Log::new(&name, context.events().clone(), settings.secrets()),
        name_servers: SyncMutex::default(),
        noted: AtomicBool::new(false),
        session: Mutex::default(),
        timeout: settings.duration(TIMEOUT)?.unwrap_or(DEFAULT_TIMEOUT),
    }))
}

/// The value of a setting as JSON has it, with its default.
fn typed(settings: &Checked, setting: &'static Setting) -> Result<Option<Value>, SettingsError> {
    let key = setting.key;
    if !settings.has(key) {
        return Ok(setting.default.map(|text| default(setting.form, text)));
    }
    Ok(match setting.form {
        Form::Duration => settings.duration(key)?.map(|d| json!(d.as_secs_f64())),
        Form::Flag => Some(json!(settings.flag(key)?)),
        Form::Number => settings.number(key)?.map(|n| json!(n)),
        Form::File | Form::Secret | Form::Text | Form::Words => {
            settings.text(key).map(|text| json!(text))
        }
    })
}

fn default(form: Form, text: &str) -> Value {
    match form {
        Form::Flag => json!(matches!(text, "true" | "yes" | "1")),
        Form::Duration | Form::Number => text
            .parse::<u32>()
            .map_or_else(|_| json!(text), |number| json!(number)),
        _ => json!(text),
    }
}

/// A provider that is a process.
#[derive(Debug)]
struct Plugin {
    about: &'static About,
    configure: SecretString,
    endpoint: String,
    log: Log,
    name_servers: SyncMutex<BTreeMap<DomainName, Vec<DomainName>>>,
    /// Whether it was told that its names are not as they should be.
    noted: AtomicBool,
    /// One request at a time, so that a plugin can be a loop over lines.
    session: Mutex<Option<Session>>,
    timeout: Duration,
}

#[async_trait]
impl DnsProvider for Plugin {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            outlives: Some(self.timeout),
            ..self.about.capabilities.capabilities()
        }
    }

    fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    async fn zone_of(&self, owner: &DomainName) -> Result<Zone, ProviderError> {
        let params = json!({ "owner": owner });
        let answer = self.answer("zone_of", &params, Some(owner)).await?;
        let as_sent = answer.pointer("/zone/name").and_then(Value::as_str);
        let as_sent = as_sent.map(str::to_owned);
        let answer: ZoneAnswer = self.read("zone_of", &answer)?;
        let as_it_is = Some(answer.zone.name.as_str());
        if as_sent.as_deref() != as_it_is && !self.noted.swap(true, Ordering::Relaxed) {
            self.log
                .note("names are in lower case, in A-labels, without a final dot");
        }
        if !owner.is_within(&answer.zone.name) {
            return Err(self.broken(&format!(
                "it says that {owner} is in the zone {}",
                answer.zone.name
            )));
        }
        let mut known = self
            .name_servers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known.insert(answer.zone.name.clone(), answer.name_servers);
        Ok(answer.zone)
    }

    async fn name_servers(&self, zone: &Zone) -> Result<Vec<DomainName>, ProviderError> {
        let known = self
            .name_servers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(known.get(&zone.name).cloned().unwrap_or_default())
    }

    async fn apply(&self, zone: &Zone, changes: &[TxtChange]) -> Result<Applied, ProviderError> {
        let most = self.about.capabilities.max_changes.unwrap_or(MOST_CHANGES);
        let mut outcomes = Vec::with_capacity(changes.len());
        let mut receipt = Receipt::default();
        for part in changes.chunks(most.clamp(1, MOST_CHANGES)) {
            match self.apply_part(zone, part).await {
                Ok(applied) => {
                    outcomes.extend(applied.outcomes);
                    receipt.0.extend(applied.receipt.0);
                }
                Err(error) if outcomes.is_empty() => return Err(error),
                // What is done is done, and must be said.
                Err(error) => {
                    let outcome = match error.is_retryable() {
                        true => Outcome::Unknown {
                            reason: error.to_string(),
                        },
                        false => Outcome::Refused {
                            reason: error.to_string(),
                        },
                    };
                    outcomes.resize(changes.len(), outcome);
                    break;
                }
            }
        }
        self.read_back(zone, changes, &mut outcomes).await?;
        Ok(Applied { outcomes, receipt })
    }

    async fn settled(&self, receipt: &Receipt) -> Result<Settlement, ProviderError> {
        if !self.about.capabilities.tells_settled {
            return Ok(Settlement::Unknown);
        }
        let answer: SettledAnswer = self
            .ask("settled", &json!({ "receipt": receipt }), None)
            .await?;
        Ok(match answer.into() {
            Settlement::AwaitsPerson(what) => Settlement::AwaitsPerson(self.log.words(&what)),
            settlement => settlement,
        })
    }

    async fn values(
        &self,
        zone: &Zone,
        owner: &DomainName,
    ) -> Result<Option<Vec<TxtValue>>, ProviderError> {
        let owners = BTreeSet::from([owner]);
        let values = self.values_at(zone, &owners).await?;
        Ok(values.map(|mut values| values.remove(owner).unwrap_or_default()))
    }
}

impl Plugin {
    async fn apply_part(
        &self,
        zone: &Zone,
        changes: &[TxtChange],
    ) -> Result<Applied, ProviderError> {
        let params = protocol::apply_params(zone, changes);
        let answer: ApplyAnswer = self.ask("apply", &params, Some(&zone.name)).await?;
        if answer.outcomes.len() != changes.len() {
            return Err(self.broken(&format!(
                "it answered {} changes with {} outcomes",
                changes.len(),
                answer.outcomes.len()
            )));
        }
        let outcomes = answer.outcomes.into_iter().map(Outcome::from);
        let outcomes = outcomes.map(|outcome| match outcome {
            Outcome::Refused { reason } => Outcome::Refused {
                reason: self.log.words(&reason),
            },
            Outcome::Unknown { reason } => Outcome::Unknown {
                reason: self.log.words(&reason),
            },
            applied => applied,
        });
        Ok(Applied {
            outcomes: outcomes.collect(),
            receipt: Receipt(answer.receipt),
        })
    }

    /// Looks at what it says it has added or removed, where it can tell; a success that is none is found here and not by the CA.
    async fn read_back(
        &self,
        zone: &Zone,
        changes: &[TxtChange],
        outcomes: &mut [Outcome],
    ) -> Result<(), ProviderError> {
        // The last word about a value counts.
        let mut done: BTreeMap<(&DomainName, &TxtValue), (Action, usize)> = BTreeMap::new();
        for (at, (change, outcome)) in changes.iter().zip(outcomes.iter()).enumerate() {
            let what = (&change.owner, &change.value);
            match outcome {
                Outcome::Applied { .. } => done.insert(what, (change.action, at)),
                _ => done.remove(&what),
            };
        }
        let owners: BTreeSet<&DomainName> = done.keys().map(|(owner, _)| *owner).collect();
        if owners.is_empty() {
            return Ok(());
        }
        let seen = match self.values_at(zone, &owners).await {
            Ok(Some(seen)) => seen,
            Ok(None) => return Ok(()),
            Err(error) => {
                tracing::debug!(plugin = %self.endpoint, %error, "values not read back");
                return Ok(());
            }
        };
        for ((owner, value), (action, at)) in done {
            let is_there = seen.get(owner).is_some_and(|values| values.contains(value));
            let reason = match (action, is_there) {
                (Action::Add, true) | (Action::Remove, false) => continue,
                (Action::Add, false) => format!(
                    "it says that it added {} at {owner}, and tells {} there",
                    self.shown(value),
                    self.told(value, seen.get(owner).map_or(&[], Vec::as_slice))
                ),
                (Action::Remove, true) => format!(
                    "it says that it removed {} at {owner}, and tells it among the values there",
                    self.shown(value)
                ),
            };
            if let Some(outcome) = outcomes.get_mut(at) {
                *outcome = Outcome::Unknown { reason };
            }
        }
        Ok(())
    }

    /// The values that it tells where `missed` is not among them: first those that may be meant for it.
    fn told(&self, missed: &TxtValue, values: &[TxtValue]) -> String {
        let missed = missed.to_string().to_lowercase();
        let is_other = |value: &&TxtValue| !value.to_string().to_lowercase().contains(&missed);
        let mut values: Vec<&TxtValue> = values.iter().collect();
        values.sort_by_key(is_other);
        let (shown, more) = values.split_at(values.len().min(SHOWN));
        let shown: Vec<String> = shown.iter().map(|value| self.shown(value)).collect();
        match (shown.join(", "), more.len()) {
            (_, 0) if shown.is_empty() => "no value".to_owned(),
            (shown, 0) => format!("only {shown}"),
            (shown, more) => format!("only {shown} and {more} more"),
        }
    }

    fn shown(&self, value: &TxtValue) -> String {
        format!("`{}`", self.log.excerpt(value.to_string().as_bytes()))
    }

    async fn values_at(
        &self,
        zone: &Zone,
        owners: &BTreeSet<&DomainName>,
    ) -> Result<Option<BTreeMap<DomainName, Vec<TxtValue>>>, ProviderError> {
        if !self.about.capabilities.tells_values {
            return Ok(None);
        }
        let params = json!({ "zone": protocol::zone_value(zone), "owners": owners });
        let answer: ValuesAnswer = self.ask("values", &params, Some(&zone.name)).await?;
        Ok(answer.values)
    }

    /// Calls, and reads the result; `about` is the name or zone that an error would be about.
    async fn ask<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: &Value,
        about: Option<&DomainName>,
    ) -> Result<T, ProviderError> {
        let answer = self.answer(method, params, about).await?;
        self.read(method, &answer)
    }

    async fn answer(
        &self,
        method: &'static str,
        params: &Value,
        about: Option<&DomainName>,
    ) -> Result<Value, ProviderError> {
        let answer = self.call(method, params).await;
        answer.map_err(|problem| problem.into_provider_error(self.endpoint(), about))
    }

    fn read<T: DeserializeOwned>(&self, method: &str, answer: &Value) -> Result<T, ProviderError> {
        fit::read(answer)
            .map_err(|error| self.broken(&format!("in its answer to `{method}` {error}")))
    }

    /// Calls; a process that has died is started again, once.
    async fn call(&self, method: &'static str, params: &Value) -> Result<Value, Problem> {
        let of_call = |error| Problem::Call { error, method };
        let mut held = self.session.lock().await;
        let mut session = match held.take() {
            Some(mut session) => match session.is_usable() {
                true => match session.call(method, params, self.timeout).await {
                    // It died between two calls, or of this one: which of the two, a new process shows.
                    Err(CallError::Ended { how, said, .. }) => {
                        tracing::debug!(plugin = %self.endpoint, how, said, "starting it again");
                        self.start().await?
                    }
                    Err(error @ CallError::Answered(_)) => {
                        *held = Some(session);
                        return Err(of_call(error));
                    }
                    Err(error) => return Err(of_call(error)),
                    Ok(result) => {
                        *held = Some(session);
                        return Ok(result);
                    }
                },
                false => self.start().await?,
            },
            None => self.start().await?,
        };
        let result = session.call(method, params, self.timeout).await;
        if matches!(result, Ok(_) | Err(CallError::Answered(_))) {
            *held = Some(session);
        }
        result.map_err(of_call)
    }

    async fn start(&self) -> Result<Session, Problem> {
        let mut session =
            Session::start(&self.about.command, self.log.afresh()).map_err(Problem::start)?;
        describe::introduce(&mut session).await?;
        session
            .call_secretly("configure", &self.configure, self.timeout)
            .await
            .map_err(|error| Problem::Call {
                error,
                method: "configure",
            })?;
        Ok(session)
    }

    fn broken(&self, what: &str) -> ProviderError {
        Problem::Unfit(self.log.words(what)).into_provider_error(self.endpoint(), None)
    }
}

pub(crate) const COMMAND: &str = "command";
pub(crate) const TIMEOUT: &str = "plugin-timeout";

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// Values that a message has.
const SHOWN: usize = 3;
/// So that a batch is a line of a size that anybody can read.
const MOST_CHANGES: usize = 1000;
