//! The messages of protocol 1, as `docs/plugin-protocol.md` has them.
//!
//! JSON-RPC 2.0, one message a line. Members that nobody here knows are passed over, so that a newer plugin can say more
//! than this program asks for. What a plugin sends is read into types at once, and nothing of it is trusted to be short or sane.

use std::collections::BTreeMap;
use std::time::Duration;

use dnseal_core::dns::Action;
use dnseal_core::dns::Capabilities;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::Handle;
use dnseal_core::dns::LONGEST_SETTLE;
use dnseal_core::dns::Outcome;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::Settlement;
use dnseal_core::dns::TxtChange;
use dnseal_core::dns::TxtValue;
use dnseal_core::dns::WriteSafety;
use dnseal_core::dns::Zone;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde_json::Value;
use serde_json::json;

/// The version that this program speaks.
pub(super) const PROTOCOL: u32 = 1;

/// One answer line.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    pub(super) jsonrpc: String,
    #[serde(default)]
    pub(super) id: Value,
    #[serde(default, deserialize_with = "present")]
    pub(super) result: Option<Value>,
    #[serde(default)]
    pub(super) error: Option<ErrorObject>,
}

/// Tells `null` from a member that is not there.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Why a plugin did not do something.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ErrorObject {
    pub(super) code: i64,
    #[serde(default)]
    pub(super) message: String,
    #[serde(default)]
    pub(super) data: Option<ErrorData>,
}

/// What there is to know beyond the words.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct ErrorData {
    #[serde(default)]
    held: Vec<DomainName>,
    #[serde(default)]
    hint: Option<String>,
    #[serde(default)]
    retry_after: Option<f64>,
}

impl ErrorObject {
    /// The same with its words changed.
    pub(super) fn in_words(self, words: impl Fn(&str) -> String) -> Self {
        Self {
            code: self.code,
            message: words(&self.message),
            data: self.data.map(|data| ErrorData {
                hint: data.hint.map(|hint| words(&hint)),
                ..data
            }),
        }
    }

    /// Whether it says that the plugin knows no such method.
    pub(super) fn is_unknown_method(&self) -> bool {
        self.code == METHOD_NOT_FOUND
    }

    /// The error of the trait that the code stands for; `about` is the name or zone of the call.
    pub(super) fn into_provider_error(
        self,
        method: &str,
        endpoint: String,
        about: Option<&DomainName>,
    ) -> ProviderError {
        let data = self.data.unwrap_or_default();
        let detail = match self.message.trim() {
            "" => format!("error {} without a word", self.code),
            words => words.to_owned(),
        };
        match (self.code, about) {
            (1, Some(zone)) => ProviderError::Conflict {
                detail,
                endpoint,
                zone: zone.clone(),
            },
            (2, _) => ProviderError::Credentials {
                detail,
                endpoint,
                hint: data.hint,
            },
            (3, _) => ProviderError::Misconfigured {
                detail: format!("{endpoint}: {detail}"),
                hint: data.hint,
            },
            (4, _) => ProviderError::RateLimited {
                detail,
                endpoint,
                retry_after: data.retry_after.and_then(seconds),
            },
            (1 | 6, _) => ProviderError::Unreachable { detail, endpoint },
            (7 | METHOD_NOT_FOUND, _) => ProviderError::Unsupported { detail, endpoint },
            (8, Some(owner)) => ProviderError::ZoneNotFound {
                endpoint,
                held: data.held,
                owner: owner.clone(),
            },
            (INTERNAL, _) => ProviderError::Refused {
                detail: format!("an error inside the plugin at `{method}`: {detail}"),
                endpoint,
                hint: data
                    .hint
                    .or_else(|| Some("`-v` shows what the plugin logs".to_owned())),
            },
            _ => ProviderError::Refused {
                detail,
                endpoint,
                hint: data.hint,
            },
        }
    }
}

/// What a plugin says about itself.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Description {
    pub(super) protocol: u32,
    #[serde(default)]
    pub(super) title: String,
    #[serde(default)]
    pub(super) version: String,
    #[serde(default)]
    pub(super) docs: String,
    #[serde(default)]
    pub(super) permissions: String,
    #[serde(default)]
    pub(super) settings: Vec<DescribedSetting>,
    pub(super) capabilities: DescribedCapabilities,
}

/// One setting of a plugin.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct DescribedSetting {
    pub(super) key: String,
    #[serde(rename = "type")]
    pub(super) form: SettingType,
    #[serde(default)]
    pub(super) help: String,
    #[serde(default)]
    pub(super) required: bool,
    #[serde(default)]
    pub(super) default: Option<Value>,
    #[serde(default)]
    pub(super) env: Vec<String>,
    #[serde(default)]
    pub(super) aliases: Vec<String>,
}

/// How a plugin wants a value.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SettingType {
    Duration,
    File,
    Flag,
    Number,
    Secret,
    Text,
}

/// What a plugin can do.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct DescribedCapabilities {
    pub(super) ttl: u32,
    #[serde(default)]
    pub(super) exclusive: bool,
    #[serde(default)]
    pub(super) max_changes: Option<usize>,
    #[serde(default)]
    pub(super) max_values: Option<usize>,
    #[serde(default)]
    pub(super) settle: f64,
    #[serde(default)]
    pub(super) tells_settled: bool,
    #[serde(default)]
    pub(super) tells_values: bool,
    pub(super) write_safety: DescribedSafety,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum DescribedSafety {
    CompareAndSwap,
    PerValue,
    ReadModifyWrite,
}

impl DescribedCapabilities {
    /// In the words of the trait.
    pub(super) fn capabilities(&self) -> Capabilities {
        Capabilities {
            exclusive: self.exclusive,
            max_values: self.max_values,
            settle: seconds(self.settle).unwrap_or_default(),
            tells_settled: self.tells_settled,
            unconfirmed: !self.tells_values,
            ..Capabilities::new(self.ttl, self.safety())
        }
    }

    /// What makes no sense is not guessed at.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.max_values == Some(0) {
            return Err("its `max_values` is 0, and a challenge is one value".to_owned());
        }
        if self.max_changes == Some(0) {
            return Err("its `max_changes` is 0, and a call is one change at least".to_owned());
        }
        let longest = LONGEST_SETTLE.as_secs_f64();
        if !(0.0..=longest).contains(&self.settle) {
            return Err(format!(
                "its `settle` is {}, and not from 0 to {longest} seconds",
                self.settle
            ));
        }
        Ok(())
    }

    pub(super) fn safety(&self) -> WriteSafety {
        match self.write_safety {
            DescribedSafety::CompareAndSwap => WriteSafety::CompareAndSwap,
            DescribedSafety::PerValue => WriteSafety::PerValue,
            DescribedSafety::ReadModifyWrite => WriteSafety::ReadModifyWrite,
        }
    }
}

/// The answer to `zone_of`.
#[derive(Debug, Deserialize)]
pub(super) struct ZoneAnswer {
    pub(super) zone: Zone,
    #[serde(default)]
    pub(super) name_servers: Vec<DomainName>,
}

/// The answer to `apply`.
#[derive(Debug, Deserialize)]
pub(super) struct ApplyAnswer {
    pub(super) outcomes: Vec<AnsweredOutcome>,
    #[serde(default)]
    pub(super) receipt: Vec<String>,
}

/// What became of one change.
#[derive(Debug, Deserialize)]
pub(super) struct AnsweredOutcome {
    status: OutcomeStatus,
    #[serde(default)]
    handle: Option<Handle>,
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OutcomeStatus {
    Applied,
    Refused,
    Unknown,
}

impl From<AnsweredOutcome> for Outcome {
    fn from(outcome: AnsweredOutcome) -> Self {
        let reason = outcome.reason.unwrap_or_default();
        match outcome.status {
            OutcomeStatus::Applied => Self::Applied {
                handle: outcome.handle,
            },
            OutcomeStatus::Refused => Self::Refused { reason },
            OutcomeStatus::Unknown => Self::Unknown { reason },
        }
    }
}

/// The answer to `settled`.
#[derive(Debug, Deserialize)]
pub(super) struct SettledAnswer {
    status: SettledStatus,
    #[serde(default)]
    again_in: Option<f64>,
    #[serde(default)]
    what: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum SettledStatus {
    AwaitsPerson,
    Pending,
    Settled,
    Unknown,
}

impl From<SettledAnswer> for Settlement {
    fn from(answer: SettledAnswer) -> Self {
        match answer.status {
            SettledStatus::AwaitsPerson => Self::AwaitsPerson(answer.what.unwrap_or_default()),
            SettledStatus::Pending => {
                let asked = answer.again_in.and_then(seconds).unwrap_or(LEAST_PAUSE);
                Self::Pending(asked.max(LEAST_PAUSE))
            }
            SettledStatus::Settled => Self::Settled,
            SettledStatus::Unknown => Self::Unknown,
        }
    }
}

/// The answer to `values`.
#[derive(Debug, Deserialize)]
pub(super) struct ValuesAnswer {
    pub(super) values: Option<BTreeMap<DomainName, Vec<TxtValue>>>,
}

/// The parameters of `apply`.
pub(super) fn apply_params(zone: &Zone, changes: &[TxtChange]) -> Value {
    let changes: Vec<Value> = changes.iter().map(change).collect();
    json!({ "zone": zone_value(zone), "changes": changes })
}

fn change(change: &TxtChange) -> Value {
    let mut value = json!({
        "action": match change.action {
            Action::Add => "add",
            Action::Remove => "remove",
        },
        "owner": change.owner,
        "value": change.value,
        "ttl": change.ttl,
    });
    if let Some(members) = value.as_object_mut() {
        if let Some(handle) = &change.handle {
            members.insert("handle".into(), json!(handle));
        }
        if let Some(origin) = &change.origin {
            let origin = json!({
                "identifier": origin.identifier,
                "key_authorization": origin.key_authorization,
                "remaining": origin.remaining,
                "token": origin.token,
            });
            members.insert("challenge".into(), origin);
        }
    }
    value
}

/// A zone with both of its members, so that a plugin need not ask whether one is there.
pub(super) fn zone_value(zone: &Zone) -> Value {
    json!({ "id": zone.id, "name": zone.name })
}

/// One request line.
#[derive(Serialize)]
pub(super) struct Request<'a> {
    pub(super) jsonrpc: &'static str,
    pub(super) id: u64,
    pub(super) method: &'a str,
    pub(super) params: &'a Value,
}

/// A number of seconds that can be waited for.
fn seconds(number: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(number)
        .ok()
        .map(|duration| duration.min(LONGEST))
}

/// JSON-RPC 2.0 section 5.1.
const METHOD_NOT_FOUND: i64 = -32601;
const INTERNAL: i64 = -32603;

/// A plugin that asks to be asked again at once is not asked in a loop.
const LEAST_PAUSE: Duration = Duration::from_millis(500);
/// Longer than any rate limit lasts.
const LONGEST: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settle_that_nobody_waits_for_is_refused() {
        for (settle, fits) in [
            ("0", true),
            ("3600", true),
            ("-1", false),
            ("3601", false),
            ("9223372036854775808", false),
        ] {
            let text = format!(r#"{{"ttl": 60, "settle": {settle}, "write_safety": "per-value"}}"#);
            let capabilities: DescribedCapabilities = serde_json::from_str(&text).unwrap();
            assert_eq!(capabilities.check().is_ok(), fits, "{settle}");
        }
    }
}
