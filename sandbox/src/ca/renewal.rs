//! Renewal information (RFC 9773): suggested windows, and orders that replace a certificate.

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{
    order::whole,
    problem::{ErrorKind, Problem},
    reply::{Reply, rfc3339},
    server::Inner,
    state::{IssuedEntry, OrderStatus, State},
};

/// Below this lifetime, renewal is suggested at half of it and not at two thirds.
const SHORT_LIVED: SignedDuration = SignedDuration::from_hours(10 * 24);

impl Inner {
    /// RFC 9773 section 4.
    pub(super) fn renewal_info(&self, cert_id: &str) -> Result<Reply, Problem> {
        let state = self.state();
        let entry = state.by_cert_id(cert_id)?;
        let (start, end, explanation) = window(entry);
        let mut object = json!({
            "suggestedWindow": { "start": rfc3339(start), "end": rfc3339(end) },
        });
        if let Some(url) = explanation {
            object["explanationURL"] = url.into();
        }
        Ok(Reply::json(StatusCode::OK, &object)
            .with_header("retry-after", self.config.renewal_retry_after.to_string()))
    }

    /// The certificate that an order may replace (RFC 9773 section 5).
    pub(super) fn check_replaces(
        &self,
        state: &State,
        account: u64,
        cert_id: &str,
        names: &[String],
    ) -> Result<u64, Problem> {
        let entry = state.by_cert_id(cert_id)?;
        if entry.account != account {
            return Err(Problem::unauthorized(
                "certificate to replace belongs to another account",
            ));
        }
        if !entry.names.iter().any(|name| names.contains(name)) {
            return Err(Problem::malformed(
                "certificate to replace has no name in common with the order",
            ));
        }
        Ok(entry.id)
    }

    /// Refuses what another order replaces, unless that one failed.
    pub(super) fn check_not_replaced(
        &self,
        state: &State,
        certificate: u64,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let order = state
            .certificates
            .get(&certificate)
            .and_then(|entry| entry.replaced_by)
            .and_then(|id| state.orders.get(&id));
        match order {
            Some(order) if state.order_status(order, now) != OrderStatus::Invalid => {
                Err(Problem::new(
                    ErrorKind::AlreadyReplaced,
                    format!(
                        "certificate is replaced already, by order {}",
                        self.order_url(order.id)
                    ),
                ))
            }
            _ => Ok(()),
        }
    }
}

impl State {
    fn by_cert_id(&self, cert_id: &str) -> Result<&IssuedEntry, Problem> {
        if cert_id.split('.').count() != 2 {
            return Err(Problem::malformed(format!(
                "\"{cert_id}\" is not a key identifier and a serial number"
            )));
        }
        self.certificates
            .values()
            .find(|entry| entry.cert_id == cert_id)
            .ok_or_else(|| {
                Problem::not_found(format!("certificate {cert_id} was not issued by this CA"))
            })
    }
}

/// Two per cent of the lifetime around two thirds of it, or half for short-lived ones; at once for revoked ones.
fn window(entry: &IssuedEntry) -> (Timestamp, Timestamp, Option<String>) {
    if let Some(window) = &entry.window {
        return (window.start, window.end, window.explanation.clone());
    }
    if let Some(revocation) = &entry.revoked {
        let end = revocation.at - SignedDuration::from_mins(30);
        return (end - SignedDuration::from_mins(30), end, None);
    }
    let life = entry.not_after.duration_since(entry.not_before);
    let centre = if life < SHORT_LIVED {
        life / 2
    } else {
        life / 3 * 2
    };
    let margin = life / 100;
    let start = whole(entry.not_before + centre - margin);
    // A window must not be empty, however short the life.
    let end = whole(entry.not_before + centre + margin).max(start + SignedDuration::from_secs(1));
    (start, end, None)
}
