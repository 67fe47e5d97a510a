//! What a run cost, counted from its events.

use std::collections::BTreeMap;
use std::time::Duration;

use dnseal_core::dns::Rung;
use dnseal_core::event::Event;
use dnseal_core::event::Stage;
use dnseal_core::event::What;
use dnseal_core::store::CertId;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// The counts of a run, as a whole and for each certificate.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    total: Counts,
    certificates: BTreeMap<CertId, Counts>,
    stages: BTreeMap<Option<CertId>, (Stage, Timestamp)>,
    warnings: Vec<Value>,
}

/// What was counted.
#[derive(Clone, Debug, Default, Serialize)]
struct Counts {
    /// Requests to the CA, repeated ones included.
    acme_requests: u64,
    acme_requests_by_resource: BTreeMap<&'static str, u64>,
    /// Calls of a provider, repeated ones included.
    provider_calls: u64,
    provider_calls_by_kind: BTreeMap<&'static str, u64>,
    values_added: usize,
    values_removed: usize,
    dns_queries: u64,
    /// By what the values at each owner name were proven.
    proven: BTreeMap<String, Rung>,
    /// How long each stage took; of several certificates the sum.
    milliseconds: BTreeMap<String, u64>,
}

impl Stats {
    /// Counts one event.
    pub(super) fn count(&mut self, event: &Event) {
        if let What::Stage { stage } = &event.what {
            self.enter(event, *stage);
        }
        if let What::Warning { message, hint } = &event.what {
            self.warnings.push(serde_json::json!({
                "certificate": event.certificate,
                "message": message,
                "hint": hint,
            }));
        }
        self.total.count(&event.what);
        if let Some(id) = &event.certificate {
            self.certificates
                .entry(id.clone())
                .or_default()
                .count(&event.what);
        }
    }

    /// The counts of the whole run as a document.
    pub(crate) fn json(&self) -> Value {
        serde_json::to_value(&self.total).unwrap_or_default()
    }

    /// The counts of one certificate; what was done for several at once is only in the whole.
    pub(crate) fn json_of(&self, id: &CertId) -> Value {
        serde_json::to_value(self.certificates.get(id)).unwrap_or_default()
    }

    /// The warnings of the run, in their order.
    pub(crate) fn warnings(&self) -> Value {
        Value::Array(self.warnings.clone())
    }

    /// One line for people.
    pub(crate) fn summary(&self) -> String {
        format!(
            "{} ACME requests, {} provider calls, {} DNS queries",
            self.total.acme_requests, self.total.provider_calls, self.total.dns_queries
        )
    }

    fn enter(&mut self, event: &Event, stage: Stage) {
        let before = self
            .stages
            .insert(event.certificate.clone(), (stage, event.at));
        let Some((before, since)) = before else {
            return;
        };
        let spent = Duration::try_from(event.at.duration_since(since)).unwrap_or_default();
        let spent = u64::try_from(spent.as_millis()).unwrap_or(u64::MAX);
        let name = stage_name(before);
        let mine = event
            .certificate
            .as_ref()
            .map(|id| self.certificates.entry(id.clone()).or_default());
        for counts in [Some(&mut self.total), mine].into_iter().flatten() {
            *counts.milliseconds.entry(name.clone()).or_default() += spent;
        }
    }
}

impl Counts {
    fn count(&mut self, what: &What) {
        match what {
            What::AcmeRequest { resource, .. } => {
                self.acme_requests += 1;
                *self.acme_requests_by_resource.entry(resource).or_default() += 1;
            }
            What::DnsQuery { .. } => self.dns_queries += 1,
            What::Proven { owner, rung, .. } => {
                self.proven.insert(owner.to_string(), *rung);
            }
            What::ProviderCall {
                call,
                adds,
                removes,
                ..
            } => {
                self.provider_calls += 1;
                *self.provider_calls_by_kind.entry(call).or_default() += 1;
                self.values_added += adds;
                self.values_removed += removes;
            }
            _ => {}
        }
    }
}

/// The name that the event stream gives a stage.
fn stage_name(stage: Stage) -> String {
    match serde_json::to_value(stage) {
        Ok(Value::String(name)) => name,
        _ => format!("{stage:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_end_where_the_next_begins() {
        let id: CertId = "a.test".parse().unwrap();
        let mut stats = Stats::default();
        let mut at = Timestamp::from_second(1_000_000_000).unwrap();
        for (stage, takes) in [
            (Stage::Order, 40),
            (Stage::Propagate, 1_500),
            (Stage::Done, 0),
        ] {
            stats.count(&Event {
                at,
                certificate: Some(id.clone()),
                what: What::Stage { stage },
            });
            at += jiff::SignedDuration::from_millis(takes);
        }
        stats.count(&Event {
            at,
            certificate: None,
            what: What::ProviderCall {
                provider: "corp".into(),
                call: "apply",
                zone: None,
                adds: 100,
                removes: 0,
                error: None,
                elapsed: Duration::ZERO,
            },
        });
        let all = stats.json();
        assert_eq!(all["milliseconds"]["order"], 40);
        assert_eq!(all["milliseconds"]["propagate"], 1_500);
        assert_eq!(all["provider_calls_by_kind"]["apply"], 1);
        assert_eq!(all["values_added"], 100);
        assert_eq!(stats.json_of(&id)["milliseconds"]["order"], 40);
        assert_eq!(stats.json_of(&id)["provider_calls"], 0);
    }
}
