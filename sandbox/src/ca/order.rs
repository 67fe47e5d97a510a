//! Orders (RFC 8555 section 7.4): creation with reuse, profile and replacement, the order object, and finalizing.

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use rand::seq::SliceRandom;
use serde::Deserialize;
use serde_json::json;

use super::{
    identifier::{self, Identifier},
    issue,
    jws::{self, Jws},
    problem::{ErrorKind, Problem},
    reply::{Reply, rfc3339},
    server::Inner,
    state::{IssuedEntry, Order, OrderStatus, Stage, State},
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewOrder {
    identifiers: Vec<Identifier>,
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
    profile: Option<String>,
    replaces: Option<String>,
}

#[derive(Deserialize)]
struct Finalize {
    csr: String,
}

impl Inner {
    pub(super) fn new_order(&self, account: u64, jws: &Jws) -> Result<Reply, Problem> {
        let asked: NewOrder = jws.json()?;
        let names = identifier::check(&asked.identifiers, &self.config.blocked)?;
        let profile = self.profile(asked.profile.as_deref())?;
        let now = self.now();
        self.check_lifetime(profile.as_deref(), asked.not_before, asked.not_after, now)?;
        let mut state = self.state();
        let predecessor = match &asked.replaces {
            Some(cert_id) => Some(self.check_replaces(&state, account, cert_id, &names)?),
            None => None,
        };
        let mut order = Order {
            id: 0,
            account,
            expires: whole(now + self.config.order_lifetime),
            identifiers: names,
            authorizations: Vec::new(),
            profile,
            not_before: asked.not_before,
            not_after: asked.not_after,
            replaces: asked.replaces,
            stage: Stage::Open,
        };
        if self.config.order_reuse
            && let Some(same) = state.orders.values().rfind(|other| {
                matches!(
                    state.order_status(other, now),
                    OrderStatus::Pending | OrderStatus::Ready
                ) && other.is_like(&order)
            })
        {
            return Ok(self.order_reply(StatusCode::CREATED, &state, same, now));
        }
        if let Some(certificate) = predecessor {
            self.check_not_replaced(&state, certificate, now)?;
        }
        order.id = state.next_id();
        for name in &order.identifiers {
            let reusable = if self.config.authz_reuse {
                state.valid_authorization(account, name, now)
            } else {
                None
            };
            let id = match reusable {
                Some(id) => id,
                None => self.new_authorization(&mut state, account, name, now),
            };
            if let Some(authorization) = state.authorizations.get(&id) {
                order.expires = order.expires.min(authorization.expires);
            }
            order.authorizations.push(id);
        }
        if let Some(certificate) = predecessor.and_then(|id| state.certificates.get_mut(&id)) {
            certificate.replaced_by = Some(order.id);
        }
        let reply = self.order_reply(StatusCode::CREATED, &state, &order, now);
        state.orders.insert(order.id, order);
        Ok(reply)
    }

    /// The profile that an order gets, by what the client asked for (draft-ietf-acme-profiles).
    fn profile(&self, asked: Option<&str>) -> Result<Option<String>, Problem> {
        let profiles = &self.config.profiles;
        match asked {
            None => Ok(profiles.first().map(|profile| profile.name.clone())),
            Some(name) if profiles.iter().any(|profile| profile.name == name) => {
                Ok(Some(name.to_owned()))
            }
            Some(name) => Err(Problem::new(
                ErrorKind::InvalidProfile,
                format!("profile \"{name}\" is not one of this CA"),
            )),
        }
    }

    fn validity(&self, profile: Option<&str>) -> SignedDuration {
        let validity = profile
            .and_then(|name| {
                self.config
                    .profiles
                    .iter()
                    .find(|profile| profile.name == name)
            })
            .map_or(self.config.validity, |profile| profile.validity);
        SignedDuration::try_from(validity).unwrap_or(SignedDuration::MAX)
    }

    fn check_lifetime(
        &self,
        profile: Option<&str>,
        not_before: Option<Timestamp>,
        not_after: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let latest = now
            .checked_add(self.validity(profile))
            .map_err(|_| Problem::internal("validity is longer than time"))?;
        let start = not_before.unwrap_or(now);
        // Clocks of clients differ from ours.
        if start < now - SignedDuration::from_hours(1) || start >= latest {
            return Err(Problem::malformed(format!(
                "notBefore {} is not possible",
                rfc3339(start)
            )));
        }
        match not_after {
            Some(end) if end <= start || end > latest => Err(Problem::malformed(format!(
                "notAfter {} is not possible, this CA issues until {}",
                rfc3339(end),
                rfc3339(latest)
            ))),
            _ => Ok(()),
        }
    }

    pub(super) fn order(&self, account: u64, id: u64) -> Result<Reply, Problem> {
        let now = self.now();
        let mut state = self.state();
        state.own_order(account, id)?.look();
        let order = state.orders.get(&id);
        let order = order.ok_or_else(|| Problem::not_found(format!("there is no order {id}")))?;
        Ok(self.order_reply(StatusCode::OK, &state, order, now))
    }

    fn order_reply(
        &self,
        status: StatusCode,
        state: &State,
        order: &Order,
        now: Timestamp,
    ) -> Reply {
        self.order_object(status, state, order, now)
            .with_header("location", self.order_url(order.id))
    }

    /// RFC 8555 section 7.1.3. Both lists are shuffled, because nothing promises their order.
    fn order_object(
        &self,
        status: StatusCode,
        state: &State,
        order: &Order,
        now: Timestamp,
    ) -> Reply {
        let url = self.order_url(order.id);
        let mut identifiers: Vec<Identifier> =
            order.identifiers.iter().map(Identifier::dns).collect();
        let mut authorizations: Vec<String> = order
            .authorizations
            .iter()
            .map(|id| self.authorization_url(*id))
            .collect();
        identifiers.shuffle(&mut rand::rng());
        authorizations.shuffle(&mut rand::rng());
        let order_status = state.order_status(order, now);
        let mut object = json!({
            "status": order_status,
            "expires": rfc3339(order.expires),
            "identifiers": identifiers,
            "authorizations": authorizations,
            "finalize": format!("{url}/finalize"),
        });
        for (member, time) in [
            ("notBefore", order.not_before),
            ("notAfter", order.not_after),
        ] {
            if let Some(time) = time {
                object[member] = rfc3339(time).into();
            }
        }
        for (member, text) in [("profile", &order.profile), ("replaces", &order.replaces)] {
            if let Some(text) = text {
                object[member] = text.as_str().into();
            }
        }
        if let Stage::Issued { certificate } = order.stage {
            object["certificate"] = self.certificate_url(certificate, 0).into();
        }
        if let Some(problem) = state.order_error(order, now) {
            object["error"] = json!(problem.document());
        }
        let unfinished = matches!(order_status, OrderStatus::Pending | OrderStatus::Processing);
        Reply::json(status, &object).with_retry_after(self.retry_after().filter(|_| unfinished))
    }

    pub(super) fn finalize(&self, account: u64, id: u64, jws: &Jws) -> Result<Reply, Problem> {
        let payload: Finalize = jws.json()?;
        let csr = jws::decode(&payload.csr, "CSR")?;
        let now = self.now();
        let mut guard = self.state();
        let state = &mut *guard;
        state.own_order(account, id)?;
        let Some(order) = state.orders.get(&id) else {
            return Err(Problem::not_found(format!("there is no order {id}")));
        };
        let status = state.order_status(order, now);
        if status != OrderStatus::Ready {
            return Err(Problem::new(
                ErrorKind::OrderNotReady,
                format!("order's status (\"{status}\") is not acceptable for finalization"),
            ));
        }
        let key = issue::check_csr(
            &csr,
            &order.identifiers,
            state.accounts.values().map(|a| &a.key),
        )?;
        let outcome = if self.faults().fails_finalization() {
            Err(Problem::internal("error finalizing order, by request"))
        } else {
            let not_before = whole(order.not_before.unwrap_or(now));
            let not_after = match order.not_after {
                Some(not_after) => whole(not_after),
                // The last second counts (RFC 5280 section 4.1.2.5).
                None => whole(
                    now + self.validity(order.profile.as_deref()) - SignedDuration::from_secs(1),
                ),
            };
            let leaf = self
                .hierarchy
                .issue(&key, &order.identifiers, not_before, not_after)
                .map_err(|err| Problem::internal(format!("failed to issue: {err}")))?;
            let entry = IssuedEntry {
                id: 0,
                account,
                order: id,
                names: order.identifiers.clone(),
                der: leaf.der,
                serial: leaf.serial,
                cert_id: leaf.cert_id,
                not_before,
                not_after,
                revoked: None,
                replaced_by: None,
                window: None,
            };
            let certificate = state.next_id();
            state.certificates.insert(
                certificate,
                IssuedEntry {
                    id: certificate,
                    ..entry
                },
            );
            Ok(certificate)
        };
        if let Some(order) = state.orders.get_mut(&id) {
            order.stage = match self.config.processing_polls {
                Some(looks) => Stage::Processing { looks, outcome },
                None => Stage::of(outcome),
            };
        }
        let Some(order) = state.orders.get(&id) else {
            return Err(Problem::not_found(format!("there is no order {id}")));
        };
        // No Location, as with Pebble: clients must know the URL already.
        Ok(self.order_object(StatusCode::OK, state, order, now))
    }
}

impl Order {
    /// Whether the other order asks for the same.
    fn is_like(&self, other: &Self) -> bool {
        self.account == other.account
            && self.identifiers == other.identifiers
            && self.profile == other.profile
            && self.not_before == other.not_before
            && self.not_after == other.not_after
            && self.replaces == other.replaces
    }

    /// One look at an order: what is being processed comes one step nearer to its end.
    fn look(&mut self) {
        if let Stage::Processing { looks, outcome } = &mut self.stage {
            match looks.checked_sub(1) {
                Some(left) => *looks = left,
                None => self.stage = Stage::of(outcome.clone()),
            }
        }
    }
}

impl Stage {
    fn of(outcome: Result<u64, Problem>) -> Self {
        match outcome {
            Ok(certificate) => Self::Issued { certificate },
            Err(problem) => Self::Failed(problem),
        }
    }
}

impl State {
    fn own_order(&mut self, account: u64, id: u64) -> Result<&mut Order, Problem> {
        match self.orders.get_mut(&id) {
            Some(order) if order.account == account => Ok(order),
            Some(_) => Err(Problem::unauthorized(format!(
                "order {id} belongs to another account"
            ))),
            None => Err(Problem::not_found(format!("there is no order {id}"))),
        }
    }
}

/// Times in JSON and in certificates have no fractions.
pub(super) fn whole(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}
