//! Whether somebody should be woken: a certificate that is not valid any more, one that is about to expire and cannot be
//! renewed, or a loop that hangs.

use std::collections::BTreeMap;

use dnseal_core::store::CertId;
use jiff::Timestamp;

use crate::metrics::Certificate;

/// What is wrong; nothing is health.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Health {
    pub(crate) problems: Vec<String>,
}

impl Health {
    pub(super) fn of(
        certificates: &BTreeMap<CertId, Certificate>,
        alive: bool,
        now: Timestamp,
    ) -> Self {
        let mut problems = Vec::new();
        if !alive {
            problems.push("the loop hangs: certificates are not looked at any more".to_owned());
        }
        for (id, certificate) in certificates {
            let Some(not_after) = certificate.not_after else {
                continue;
            };
            if not_after <= now {
                problems.push(format!("{id} expired at {not_after}"));
            } else if certificate.expiring && certificate.failures > 0 {
                problems.push(format!(
                    "{id} expires at {not_after}, and could not be renewed {} times",
                    certificate.failures
                ));
            }
        }
        Self { problems }
    }

    pub(crate) fn is_well(&self) -> bool {
        self.problems.is_empty()
    }

    /// What `/healthz` says: `ok`, or what is wrong, a line each.
    pub(crate) fn text(&self) -> String {
        match self.problems.as_slice() {
            [] => "ok\n".to_owned(),
            problems => problems
                .iter()
                .map(|problem| format!("{problem}\n"))
                .collect(),
        }
    }
}
