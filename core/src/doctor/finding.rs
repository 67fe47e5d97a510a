//! What a check has found: a fact with its place, and what to do about it.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde::Serializer;

use crate::issue::ErrorKind;

/// One fact.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// Which check found it.
    pub check: Check,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about: a name, a zone, a server, a directory.
    pub about: String,
    /// What was found.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// How long what was tried took, where that tells something.
    #[serde(
        rename = "elapsed_ms",
        serialize_with = "as_millis",
        skip_serializing_if = "Option::is_none"
    )]
    pub elapsed: Option<Duration>,
}

impl Finding {
    fn new(
        severity: Severity,
        check: Check,
        about: impl fmt::Display,
        message: impl Into<String>,
    ) -> Self {
        Self {
            check,
            severity,
            about: about.to_string(),
            message: message.into(),
            fix: None,
            elapsed: None,
        }
    }

    pub(super) fn ok(check: Check, about: impl fmt::Display, message: impl Into<String>) -> Self {
        Self::new(Severity::Ok, check, about, message)
    }

    pub(super) fn warning(
        check: Check,
        about: impl fmt::Display,
        message: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Warning, check, about, message)
    }

    pub(super) fn failure(
        check: Check,
        about: impl fmt::Display,
        message: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Failure, check, about, message)
    }

    pub(super) fn fix(self, fix: impl Into<String>) -> Self {
        self.maybe_fix(Some(fix.into()))
    }

    pub(super) fn maybe_fix(self, fix: Option<String>) -> Self {
        Self { fix, ..self }
    }

    pub(super) fn took(self, elapsed: Duration) -> Self {
        Self {
            elapsed: Some(elapsed),
            ..self
        }
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Issuing works, or may work, and somebody should know.
    Warning,
    /// Issuing would fail.
    Failure,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failure => "failure",
        })
    }
}

/// The checks there are, in the order in which people read them.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Check {
    /// Files, rights and room on this machine.
    Store,
    /// Whether the CA answers, and through which proxy.
    Ca,
    /// Whether the clocks of this machine and of others agree.
    Clock,
    /// The account at the CA; terms and external binding where there is none.
    Account,
    /// Rate limits, as far as they can be told.
    Limits,
    /// Where the challenge lives.
    Delegation,
    /// Which configured provider serves it.
    Routing,
    /// Whether the provider lets us write.
    Provider,
    /// Whether the authoritative servers can be reached, and agree.
    Servers,
    /// Whether the zone passes DNSSEC validation.
    Dnssec,
    /// Whether CAA permits it.
    Caa,
    /// What stands at the challenge name already.
    Values,
    /// What earlier runs have left in DNS.
    Leftovers,
    /// A value that was written, seen and removed.
    Probe,
    /// Where certificates go on this machine.
    Deployment,
}

impl Check {
    /// Who has to do something about a failure.
    pub fn kind(self) -> ErrorKind {
        match self {
            Self::Account | Self::Ca | Self::Caa | Self::Dnssec => ErrorKind::Ca,
            Self::Limits => ErrorKind::RateLimited,
            Self::Clock | Self::Delegation | Self::Leftovers | Self::Provider | Self::Values => {
                ErrorKind::Provider
            }
            Self::Deployment => ErrorKind::NotInPlace,
            Self::Probe | Self::Servers => ErrorKind::Propagation,
            Self::Routing | Self::Store => ErrorKind::Usage,
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Account => "account",
            Self::Ca => "ca",
            Self::Caa => "caa",
            Self::Clock => "clock",
            Self::Delegation => "delegation",
            Self::Deployment => "deployment",
            Self::Dnssec => "dnssec",
            Self::Leftovers => "leftovers",
            Self::Limits => "limits",
            Self::Probe => "probe",
            Self::Provider => "provider",
            Self::Routing => "routing",
            Self::Servers => "servers",
            Self::Store => "store",
            Self::Values => "values",
        })
    }
}

/// Everything that was found, in the order in which people read it.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    /// The facts.
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    /// Brings facts into order, each once.
    pub fn new(mut findings: Vec<Finding>) -> Self {
        findings.sort_by(|a, b| a.check.cmp(&b.check).then(b.severity.cmp(&a.severity)));
        let mut seen: Vec<Finding> = Vec::new();
        for finding in findings {
            let same = |other: &Finding| {
                (other.check, &other.about, &other.message)
                    == (finding.check, &finding.about, &finding.message)
            };
            if !seen.iter().any(same) {
                seen.push(finding);
            }
        }
        Self { findings: seen }
    }

    /// Whether nothing was found that stops issuing.
    pub fn would_work(&self) -> bool {
        self.failures().next().is_none()
    }

    /// What stops issuing, in the order in which an order would meet it.
    pub fn failures(&self) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(|finding| finding.severity == Severity::Failure)
    }

    /// How many facts are of this severity.
    pub fn count(&self, severity: Severity) -> usize {
        let of = |finding: &&Finding| finding.severity == severity;
        self.findings.iter().filter(of).count()
    }
}

fn as_millis<S: Serializer>(value: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => s.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX)),
        None => s.serialize_none(),
    }
}
