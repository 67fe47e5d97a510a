//! Accounts (RFC 8555 section 7.3): creation with or without external binding, update, key change, deactivation, and
//! the list of orders.

use std::ops::Bound;

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    jws::{Jwk, Jws, KeyRef},
    problem::{ErrorKind, Problem},
    reply::Reply,
    server::Inner,
    state::{Account, AccountStatus, OrderStatus},
};

/// How many orders a page of the list holds. Few, so that clients meet a second page.
const ORDERS_PER_PAGE: usize = 10;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewAccount {
    #[serde(default)]
    contact: Vec<String>,
    #[serde(default)]
    terms_of_service_agreed: bool,
    #[serde(default)]
    only_return_existing: bool,
    external_account_binding: Option<Value>,
}

#[derive(Deserialize)]
struct Update {
    contact: Option<Vec<String>>,
    status: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyChange {
    account: String,
    old_key: Value,
}

impl Inner {
    pub(super) fn new_account(&self, key: Jwk, jws: &Jws, url: &str) -> Result<Reply, Problem> {
        let payload: NewAccount = jws.json()?;
        let mut state = self.state();
        if let Some(account) = state
            .keys
            .get(key.thumbprint())
            .and_then(|id| state.accounts.get(id))
        {
            if account.status != AccountStatus::Valid {
                return Err(Problem::unauthorized("account of this key is deactivated")
                    .with_status(StatusCode::UNAUTHORIZED));
            }
            // RFC 8555 section 7.3.1: nothing about the account changes.
            return Ok(self.account_reply(StatusCode::OK, account));
        }
        if payload.only_return_existing {
            return Err(Problem::new(
                ErrorKind::AccountDoesNotExist,
                "there is no account with this key",
            ));
        }
        if let Some(terms) = self.terms()
            && !payload.terms_of_service_agreed
        {
            return Err(Problem::new(
                ErrorKind::UserActionRequired,
                format!("terms of service must be agreed to, see {terms}"),
            )
            .with_header("link", format!("<{terms}>;rel=\"terms-of-service\""))
            .with_instance(terms));
        }
        check_contacts(&payload.contact)?;
        // Without keys there is nothing to bind to, and a binding is ignored as with Boulder.
        let binding = payload
            .external_account_binding
            .filter(|_| !self.config.eab_keys.is_empty());
        match &binding {
            Some(binding) => self.check_binding(binding, &key, url)?,
            None if self.config.eab_required => {
                return Err(Problem::new(
                    ErrorKind::ExternalAccountRequired,
                    "new accounts need an external account binding",
                ));
            }
            None => {}
        }
        let id = state.next_id();
        state.keys.insert(key.thumbprint().to_owned(), id);
        let account = state.accounts.entry(id).insert_entry(Account {
            id,
            key,
            contact: payload.contact,
            status: AccountStatus::Valid,
            binding,
        });
        Ok(self.account_reply(StatusCode::CREATED, account.get()))
    }

    /// RFC 8555 section 7.3.4. The binding must be made with a MAC key of ours, for this request and this key.
    fn check_binding(&self, binding: &Value, key: &Jwk, url: &str) -> Result<(), Problem> {
        let within = |problem: Problem| problem.within("externalAccountBinding");
        let jws = Jws::from_value(binding).map_err(within)?;
        if jws.header.nonce.is_some() {
            return Err(within(Problem::malformed("must not have a nonce")));
        }
        jws.header.check_url(url).map_err(within)?;
        let Some(kid) = &jws.header.kid else {
            return Err(within(Problem::malformed("has no `kid`")));
        };
        let Some(mac_key) = self.config.eab_keys.get(kid) else {
            return Err(within(Problem::unauthorized(format!(
                "key identifier \"{kid}\" is not known"
            ))));
        };
        match jws.verify_mac(mac_key) {
            Some(true) => {}
            Some(false) => return Err(within(Problem::unauthorized("MAC is not valid"))),
            None => {
                return Err(within(Problem::malformed(format!(
                    "algorithm \"{}\" is no MAC, use HS256, HS384 or HS512",
                    jws.header.alg
                ))));
            }
        }
        let bound = Jwk::parse(&jws.json::<Value>().map_err(within)?).map_err(within)?;
        if bound != *key {
            return Err(within(Problem::malformed(
                "payload is not the key of the account",
            )));
        }
        Ok(())
    }

    /// The account itself: POST-as-GET, update or deactivation (RFC 8555 sections 7.3.2 and 7.3.6).
    pub(super) fn account(&self, signer: u64, id: u64, jws: &Jws) -> Result<Reply, Problem> {
        let mut state = self.state();
        if signer != id {
            return Err(Problem::unauthorized("account belongs to another key")
                .with_status(StatusCode::FORBIDDEN));
        }
        let account = state
            .accounts
            .get_mut(&id)
            .ok_or_else(|| Problem::not_found(format!("there is no account {id}")))?;
        if !jws.payload.is_empty() {
            let update: Update = jws.json()?;
            match update.status.as_deref() {
                None | Some("valid") => {}
                Some("deactivated") => account.status = AccountStatus::Deactivated,
                Some(status) => {
                    return Err(Problem::malformed(format!(
                        "status of an account cannot become \"{status}\""
                    )));
                }
            }
            if let Some(contact) = update.contact {
                check_contacts(&contact)?;
                account.contact = contact;
            }
        }
        Ok(self.account_reply(StatusCode::OK, account))
    }

    fn account_reply(&self, status: StatusCode, account: &Account) -> Reply {
        let url = self.account_url(account.id);
        let mut object = json!({
            "status": account.status,
            "contact": account.contact,
            "termsOfServiceAgreed": true,
            "orders": format!("{url}/orders"),
            "key": account.key.json(),
        });
        if let Some(binding) = &account.binding {
            object["externalAccountBinding"] = binding.clone();
        }
        let mut reply = Reply::json(status, &object).with_header("location", url);
        if let Some(terms) = self.terms() {
            reply = reply.with_header("link", format!("<{terms}>;rel=\"terms-of-service\""));
        }
        reply
    }

    /// RFC 8555 section 7.1.2.1: orders that are not invalid, newest last, in pages.
    pub(super) fn account_orders(
        &self,
        signer: u64,
        id: u64,
        query: Option<&str>,
    ) -> Result<Reply, Problem> {
        if signer != id {
            return Err(Problem::unauthorized("account belongs to another key"));
        }
        let after: u64 = match query {
            None => 0,
            Some(query) => query
                .strip_prefix("cursor=")
                .and_then(|cursor| cursor.parse().ok())
                .ok_or_else(|| {
                    Problem::malformed("query of the list of orders is not one that it gave out")
                })?,
        };
        let now = self.now();
        let state = self.state();
        let mut orders = state
            .orders
            .range((Bound::Excluded(after), Bound::Unbounded))
            .map(|(_, order)| order)
            .filter(|order| {
                order.account == id && state.order_status(order, now) != OrderStatus::Invalid
            })
            .map(|order| order.id);
        let page: Vec<u64> = orders.by_ref().take(ORDERS_PER_PAGE).collect();
        let urls: Vec<String> = page.iter().map(|id| self.order_url(*id)).collect();
        let reply = Reply::json(StatusCode::OK, &json!({ "orders": urls }));
        Ok(match (page.last(), orders.next()) {
            (Some(last), Some(_)) => reply.with_header(
                "link",
                format!(
                    "<{}/orders?cursor={last}>;rel=\"next\"",
                    self.account_url(id)
                ),
            ),
            _ => reply,
        })
    }

    /// RFC 8555 section 7.3.5.
    pub(super) fn key_change(
        &self,
        account: u64,
        old: &Jwk,
        outer: &Jws,
        url: &str,
    ) -> Result<Reply, Problem> {
        let within = |problem: Problem| problem.within("inner JWS");
        let inner = Jws::from_value(&outer.json::<Value>()?).map_err(within)?;
        inner.header.check_algorithm().map_err(within)?;
        let KeyRef::Jwk(new) = inner.header.key().map_err(within)? else {
            return Err(within(Problem::malformed("needs a `jwk` and not a `kid`")));
        };
        inner.verify(&new).map_err(within)?;
        if inner.header.nonce.is_some() {
            return Err(within(Problem::malformed("must not have a nonce")));
        }
        inner.header.check_url(url).map_err(within)?;
        let change: KeyChange = inner.json().map_err(within)?;
        if change.account != self.account_url(account) {
            return Err(within(Problem::malformed(
                "is for another account than the outer one",
            )));
        }
        if Jwk::parse(&change.old_key).map_err(within)? != *old {
            return Err(within(Problem::malformed(
                "`oldKey` is not the key of the account",
            )));
        }
        let mut state = self.state();
        if let Some(owner) = state.keys.get(new.thumbprint()) {
            return Err(
                Problem::malformed("new key is the key of an account already")
                    .with_status(StatusCode::CONFLICT)
                    .with_header("location", self.account_url(*owner)),
            );
        }
        state.keys.remove(old.thumbprint());
        state.keys.insert(new.thumbprint().to_owned(), account);
        let account = state
            .accounts
            .get_mut(&account)
            .ok_or_else(|| Problem::not_found(format!("there is no account {account}")))?;
        account.key = new;
        Ok(self.account_reply(StatusCode::OK, account))
    }
}

/// RFC 8555 section 7.3: only `mailto:`, one address each, no header fields.
fn check_contacts(contacts: &[String]) -> Result<(), Problem> {
    for contact in contacts {
        let Some(address) = contact.strip_prefix("mailto:") else {
            return Err(Problem::new(
                ErrorKind::UnsupportedContact,
                format!("contact \"{contact}\" is not a mailto: URL"),
            ));
        };
        let invalid = |why: &str| {
            Problem::new(
                ErrorKind::InvalidContact,
                format!("contact \"{contact}\" {why}"),
            )
        };
        if !address.is_ascii() {
            return Err(invalid("has characters outside ASCII"));
        }
        if address.contains('?') {
            return Err(invalid("has header fields"));
        }
        if address.contains(',') {
            return Err(invalid("has more than one address"));
        }
        match address.split_once('@') {
            Some((local, domain))
                if !local.is_empty() && domain.contains('.') && !domain.contains('@') => {}
            _ => return Err(invalid("is no address")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contacts() {
        let check = |contact: &str| {
            check_contacts(&[contact.to_owned()])
                .err()
                .map(|problem| problem.kind)
        };
        assert_eq!(check("mailto:ops@example.com"), None);
        assert_eq!(
            check("tel:+12025551212"),
            Some(ErrorKind::UnsupportedContact)
        );
        for contact in [
            "mailto:ops",
            "mailto:@example.com",
            "mailto:ops@example",
            "mailto:a@example.com,b@example.com",
            "mailto:a@example.com?subject=x",
            "mailto:ö@example.com",
        ] {
            assert_eq!(check(contact), Some(ErrorKind::InvalidContact), "{contact}");
        }
    }
}
