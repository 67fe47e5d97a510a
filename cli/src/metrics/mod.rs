//! What a running dnseal knows about itself in numbers, for Prometheus and for whoever asks whether it is well.
//!
//! Events of the engine are counted as they pass by ([`Metrics::count`]); what is true of each certificate is set by the
//! loop of `run` after each round. [`Metrics::render`] writes the text format, [`Metrics::health`] says what is wrong. Labels are
//! names of certificates, providers and kinds of requests: their number is bounded by the configuration, and none is a secret.

mod health;
mod listener;
mod text;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use dnseal_core::event::Event;
use dnseal_core::event::What;
use dnseal_core::store::CertId;
use jiff::Timestamp;

pub(crate) use health::Health;
pub(crate) use listener::Listener;

use crate::metrics::text::Kind;
use crate::metrics::text::Text;

/// Everything that is counted; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    started: Timestamp,
    certificates: BTreeMap<CertId, Certificate>,
    attempts: BTreeMap<CertId, Attempts>,
    durations: Histogram,
    acme: BTreeMap<(&'static str, String), Calls>,
    providers: BTreeMap<(String, &'static str, &'static str), Calls>,
    dns_queries: u64,
    warnings: u64,
    reloaded: Option<(Timestamp, bool)>,
    last_round: Option<Timestamp>,
    next_round: Option<Timestamp>,
    alive_until: Option<tokio::time::Instant>,
}

/// What is true of a certificate now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Certificate {
    pub(crate) version: Option<u32>,
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) not_after: Option<Timestamp>,
    pub(crate) issued: Option<Timestamp>,
    pub(crate) next_renewal: Option<Timestamp>,
    /// How often it could not be renewed since it last was.
    pub(crate) failures: u32,
    /// Whether less of it is left than there should ever be.
    pub(crate) expiring: bool,
    /// How many places of this machine do not have it.
    pub(crate) undeployed: u32,
}

/// What this process has tried for a certificate.
#[derive(Clone, Debug, Default)]
struct Attempts {
    succeeded: u64,
    failed: u64,
    last: Option<(Timestamp, bool)>,
    took: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Calls {
    count: u64,
    took: Duration,
}

#[derive(Clone, Debug, Default)]
struct Histogram {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

impl Metrics {
    /// Nothing has happened yet.
    pub(crate) fn new(started: Timestamp) -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner {
                started,
                certificates: BTreeMap::new(),
                attempts: BTreeMap::new(),
                durations: Histogram::default(),
                acme: BTreeMap::new(),
                providers: BTreeMap::new(),
                dns_queries: 0,
                warnings: 0,
                reloaded: None,
                last_round: None,
                next_round: None,
                alive_until: None,
            })),
        }
    }

    /// Counts one event.
    pub(crate) fn count(&self, event: &Event) {
        let mut inner = self.lock();
        match &event.what {
            What::AcmeRequest {
                resource,
                status,
                elapsed,
                ..
            } => {
                let status = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
                inner
                    .acme
                    .entry((resource, status))
                    .or_default()
                    .add(*elapsed);
            }
            What::DnsQuery { .. } => inner.dns_queries += 1,
            What::ProviderCall {
                provider,
                call,
                error,
                elapsed,
                ..
            } => {
                let result = match error {
                    None => "success",
                    Some(_) => "failure",
                };
                let key = (provider.clone(), *call, result);
                inner.providers.entry(key).or_default().add(*elapsed);
            }
            What::Warning { .. } => inner.warnings += 1,
            _ => {}
        }
    }

    /// One try has come to its end.
    pub(crate) fn tried(&self, id: &CertId, at: Timestamp, success: bool, took: Duration) {
        let mut inner = self.lock();
        let attempts = inner.attempts.entry(id.clone()).or_default();
        match success {
            true => attempts.succeeded += 1,
            false => attempts.failed += 1,
        }
        attempts.last = Some((at, success));
        attempts.took = took;
        inner.durations.add(took.as_secs_f64());
    }

    /// What is true now; a certificate that is not among these is not there any more.
    pub(crate) fn set_certificates(&self, certificates: BTreeMap<CertId, Certificate>) {
        let mut inner = self.lock();
        inner.attempts.retain(|id, _| certificates.contains_key(id));
        inner.certificates = certificates;
    }

    /// What was true when somebody last looked.
    pub(crate) fn certificates(&self) -> BTreeMap<CertId, Certificate> {
        self.lock().certificates.clone()
    }

    /// A round is over at `last`, and the next one is at `next`.
    pub(crate) fn round(&self, last: Timestamp, next: Timestamp) {
        let mut inner = self.lock();
        inner.last_round = Some(last);
        inner.next_round = Some(next);
    }

    /// Somebody has asked for the configuration to be read again.
    pub(crate) fn reloaded(&self, at: Timestamp, success: bool) {
        self.lock().reloaded = Some((at, success));
    }

    /// Unless this is said again before `deadline`, the loop hangs.
    pub(crate) fn alive_until(&self, deadline: tokio::time::Instant) {
        self.lock().alive_until = Some(deadline);
    }

    /// Whether the loop has said that it lives as it had promised.
    pub(crate) fn is_alive(&self) -> bool {
        self.lock()
            .alive_until
            .is_none_or(|deadline| tokio::time::Instant::now() < deadline)
    }

    /// What is wrong, if anything.
    pub(crate) fn health(&self, now: Timestamp) -> Health {
        let alive = self.is_alive();
        Health::of(&self.lock().certificates, alive, now)
    }

    /// Everything in Prometheus' text format.
    pub(crate) fn render(&self) -> String {
        let inner = self.lock();
        let mut text = Text::default();
        inner.render_process(&mut text);
        inner.render_certificates(&mut text);
        inner.render_calls(&mut text);
        text.finish()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Numbers stay numbers, whoever has panicked.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn render_process(&self, text: &mut Text) {
        text.family(
            "dnseal_build_info",
            Kind::Gauge,
            "The program that runs; always 1.",
        );
        let labels = [
            ("version", env!("CARGO_PKG_VERSION")),
            ("os", std::env::consts::OS),
            ("arch", std::env::consts::ARCH),
        ];
        text.sample(&labels, 1);
        text.family(
            "process_start_time_seconds",
            Kind::Gauge,
            "When the process began, in seconds since 1970.",
        );
        text.sample(&[], seconds(self.started));
        for (name, help, at) in [
            (
                "dnseal_run_last_round_timestamp_seconds",
                "When certificates were last looked at.",
                self.last_round,
            ),
            (
                "dnseal_run_next_round_timestamp_seconds",
                "When they are looked at next.",
                self.next_round,
            ),
            (
                "dnseal_config_last_reload_timestamp_seconds",
                "When the configuration was last to be read again.",
                self.reloaded.map(|(at, _)| at),
            ),
        ] {
            text.family(name, Kind::Gauge, help);
            if let Some(at) = at {
                text.sample(&[], seconds(at));
            }
        }
        text.family(
            "dnseal_config_last_reload_successful",
            Kind::Gauge,
            "Whether the configuration in force is the one in the file, as far as is known.",
        );
        text.sample(
            &[],
            u8::from(self.reloaded.is_none_or(|(_, success)| success)),
        );
        text.family("dnseal_warnings_total", Kind::Counter, "Warnings.");
        text.sample(&[], self.warnings);
    }

    fn render_certificates(&self, text: &mut Text) {
        type Value = fn(&Certificate) -> Option<f64>;
        let families: [(&str, &str, Value); 7] = [
            (
                "dnseal_certificate_not_after_timestamp_seconds",
                "Until when the certificate in force is valid.",
                |c| c.not_after.map(seconds),
            ),
            (
                "dnseal_certificate_not_before_timestamp_seconds",
                "From when the certificate in force is valid.",
                |c| c.not_before.map(seconds),
            ),
            (
                "dnseal_certificate_next_renewal_timestamp_seconds",
                "When it is due to be renewed, or to be tried again.",
                |c| c.next_renewal.map(seconds),
            ),
            (
                "dnseal_certificate_last_success_timestamp_seconds",
                "When the version in force was stored.",
                |c| c.issued.map(seconds),
            ),
            (
                "dnseal_certificate_failures",
                "Failures since the last success.",
                |c| Some(f64::from(c.failures)),
            ),
            (
                "dnseal_certificate_undeployed_targets",
                "Deploy targets of this machine that do not have the version in force.",
                |c| Some(f64::from(c.undeployed)),
            ),
            ("dnseal_certificate_version", "The version in force.", |c| {
                c.version.map(f64::from)
            }),
        ];
        for (name, help, value) in families {
            text.family(name, Kind::Gauge, help);
            for (id, certificate) in &self.certificates {
                if let Some(value) = value(certificate) {
                    text.sample(&[("certificate", id.as_str())], value);
                }
            }
        }
        text.family(
            "dnseal_certificate_last_attempt_successful",
            Kind::Gauge,
            "Whether the last try of this process succeeded.",
        );
        for (id, attempts) in &self.attempts {
            if let Some((_, success)) = attempts.last {
                text.sample(&[("certificate", id.as_str())], u8::from(success));
            }
        }
        text.family(
            "dnseal_certificate_last_attempt_timestamp_seconds",
            Kind::Gauge,
            "When this process last tried.",
        );
        for (id, attempts) in &self.attempts {
            if let Some((at, _)) = attempts.last {
                text.sample(&[("certificate", id.as_str())], seconds(at));
            }
        }
        text.family(
            "dnseal_certificate_last_attempt_duration_seconds",
            Kind::Gauge,
            "How long the last try of this process took.",
        );
        for (id, attempts) in &self.attempts {
            text.sample(&[("certificate", id.as_str())], attempts.took.as_secs_f64());
        }
        text.family(
            "dnseal_renewals_total",
            Kind::Counter,
            "Tries of this process, by how they ended.",
        );
        for (id, attempts) in &self.attempts {
            for (result, count) in [
                ("success", attempts.succeeded),
                ("failure", attempts.failed),
            ] {
                text.sample(&[("certificate", id.as_str()), ("result", result)], count);
            }
        }
        text.family(
            "dnseal_renewal_duration_seconds",
            Kind::Histogram,
            "How long tries took.",
        );
        let mut below = 0;
        for (limit, count) in BUCKETS.iter().zip(self.durations.buckets) {
            below += count;
            text.suffixed("_bucket", &[("le", &limit.to_string())], below);
        }
        text.suffixed("_bucket", &[("le", "+Inf")], self.durations.count);
        text.suffixed("_sum", &[], self.durations.sum);
        text.suffixed("_count", &[], self.durations.count);
    }

    fn render_calls(&self, text: &mut Text) {
        text.family(
            "dnseal_provider_calls_total",
            Kind::Counter,
            "Calls of DNS providers.",
        );
        for ((provider, call, result), calls) in &self.providers {
            text.sample(
                &[("provider", provider), ("call", call), ("result", result)],
                calls.count,
            );
        }
        text.family(
            "dnseal_provider_call_duration_seconds_total",
            Kind::Counter,
            "How long calls of DNS providers took together.",
        );
        for ((provider, call, result), calls) in &self.providers {
            let labels = [
                ("provider", provider.as_str()),
                ("call", call),
                ("result", result),
            ];
            text.sample(&labels, calls.took.as_secs_f64());
        }
        text.family(
            "dnseal_acme_requests_total",
            Kind::Counter,
            "Requests to CAs, by what was asked for and the HTTP status.",
        );
        for ((resource, status), calls) in &self.acme {
            text.sample(&[("resource", resource), ("status", status)], calls.count);
        }
        text.family(
            "dnseal_acme_request_duration_seconds_total",
            Kind::Counter,
            "How long requests to CAs took together.",
        );
        for ((resource, status), calls) in &self.acme {
            text.sample(
                &[("resource", resource), ("status", status)],
                calls.took.as_secs_f64(),
            );
        }
        text.family(
            "dnseal_dns_queries_total",
            Kind::Counter,
            "Questions to name servers.",
        );
        text.sample(&[], self.dns_queries);
    }
}

impl Calls {
    fn add(&mut self, took: Duration) {
        self.count += 1;
        self.took += took;
    }
}

impl Histogram {
    fn add(&mut self, seconds: f64) {
        if let Some(at) = BUCKETS
            .iter()
            .position(|limit| seconds <= f64::from(*limit))
        {
            self.buckets[at] += 1;
        }
        self.count += 1;
        self.sum += seconds;
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "seconds since 1970 fit for ages"
)]
fn seconds(at: Timestamp) -> f64 {
    at.as_second() as f64
}

/// From a fake CA to one that queues for minutes.
const BUCKETS: [u32; 8] = [1, 5, 15, 30, 60, 120, 300, 900];

#[cfg(test)]
mod tests;
