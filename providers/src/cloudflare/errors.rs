//! From the vendor's codes to what is wrong and where to put it right.
//!
//! The same code means several things: 10000 and 9109 are a missing permission, a zone that the token does not include, or a
//! token that has expired. So a refused token is looked at once more, at an address that every token may ask, before anybody is
//! told to add a permission.

use std::time::Duration;

use dnseal_core::dns::DomainName;
use dnseal_core::dns::ProviderError;
use jiff::Timestamp;
use jiff::Unit;
use serde::Deserialize;

use crate::cloudflare::api::Api;
use crate::cloudflare::api::CallError;
use crate::cloudflare::api::Credential;
use crate::cloudflare::api::Refusal;

/// What a request was for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Doing<'a> {
    /// Looking for the zone of this owner name.
    FindZone(&'a DomainName),
    /// Reading or changing records of this zone.
    Records(&'a DomainName),
    /// Reading what zone an id stands for.
    ZoneById(&'a str),
}

impl Api {
    /// The error of the provider for one of a request.
    pub(super) async fn explain(&self, error: CallError, doing: Doing<'_>) -> ProviderError {
        let endpoint = self.endpoint();
        match error {
            CallError::Limited { detail, wait } => ProviderError::RateLimited {
                detail: format!("{detail}{}", self.when(wait)),
                endpoint,
                retry_after: Some(wait),
            },
            CallError::Unreachable(detail) => ProviderError::Unreachable { detail, endpoint },
            CallError::Refused(refusal) => self.explain_refusal(&refusal, doing).await,
        }
    }

    async fn explain_refusal(&self, refusal: &Refusal, doing: Doing<'_>) -> ProviderError {
        let noun = self.credential().noun();
        let (detail, hint) = match Cause::of(refusal, doing) {
            Cause::Location => (
                format!("the {noun} may not be used from here: {refusal}"),
                format!(
                    "allow this machine's address under Client IP Address Filtering of the token at {}",
                    self.dashboard()
                ),
            ),
            Cause::Malformed => (
                format!("it takes the {noun} for none: {refusal}"),
                match self.credential() {
                    Credential::Token(_) => format!(
                        "copy the whole token again from {TOKENS}; a global API key goes into `key`, beside `email`"
                    ),
                    Credential::Key { .. } => format!(
                        "copy the global API key again from {TOKENS}; a token goes into `token`, without `email`"
                    ),
                },
            ),
            Cause::Other => {
                return ProviderError::Refused {
                    detail: refusal.to_string(),
                    endpoint: self.endpoint(),
                    hint: hint(refusal).map(str::to_owned),
                };
            }
            Cause::Permission | Cause::Token => match self.token_state().await {
                TokenState::Inactive(state) => (
                    format!("the token is {state}: {refusal}"),
                    format!("roll or replace the token at {}", self.dashboard()),
                ),
                TokenState::Active | TokenState::Untold
                    if Cause::of(refusal, doing) == Cause::Permission =>
                {
                    self.missing_permission(refusal, doing)
                }
                TokenState::Active | TokenState::Untold | TokenState::Unheard => (
                    format!("it knows no such {noun}: {refusal}"),
                    format!(
                        "the {noun} was deleted, rolled or not copied whole; make one at {}",
                        self.dashboard()
                    ),
                ),
            },
            Cause::UnknownKey => (
                format!("it knows no such e-mail address with such a global API key: {refusal}"),
                format!("compare `email` and `key` with {TOKENS}, or better make a token there"),
            ),
            Cause::Zone => {
                let zone = match doing {
                    Doing::Records(zone) => format!("zone that {zone} is said to be"),
                    Doing::ZoneById(id) => format!("zone with the id {id}"),
                    Doing::FindZone(_) => "list of zones".to_owned(),
                };
                return ProviderError::Misconfigured {
                    detail: format!("{} has no {zone}: {refusal}", self.endpoint()),
                    hint: Some(
                        "compare `zone-id` with the zone's overview page at https://dash.cloudflare.com, or leave it out"
                            .to_owned(),
                    ),
                };
            }
        };
        ProviderError::Credentials {
            detail,
            endpoint: self.endpoint(),
            hint: Some(hint),
        }
    }

    fn missing_permission(&self, refusal: &Refusal, doing: Doing<'_>) -> (String, String) {
        let at = self.dashboard();
        let credential = self.credential();
        let noun = credential.noun();
        match (credential, doing) {
            (Credential::Token(_), Doing::Records(zone)) => (
                format!("the token lacks Zone → DNS → Edit on {zone}: {refusal}"),
                format!(
                    "edit the token at {at}: add Zone → DNS → Edit, and include {zone} under Zone Resources"
                ),
            ),
            (Credential::Token(_), Doing::FindZone(owner)) => (
                format!("the token lacks Zone → Zone → Read on the zone of {owner}: {refusal}"),
                format!(
                    "edit the token at {at}: add Zone → Zone → Read; or set `zone-id`, which needs no such permission"
                ),
            ),
            (Credential::Token(_), Doing::ZoneById(id)) => (
                format!("the token can see nothing of the zone {id}: {refusal}"),
                format!(
                    "edit the token at {at}: add Zone → DNS → Edit, and include the zone under Zone Resources"
                ),
            ),
            (Credential::Key { email, .. }, Doing::Records(zone)) => (
                format!("{email} may not change the DNS records of {zone}: {refusal}"),
                format!(
                    "give {email} the role `DNS` in the account that holds {zone}, under Manage Account → Members at https://dash.cloudflare.com"
                ),
            ),
            (Credential::Key { email, .. }, Doing::FindZone(_) | Doing::ZoneById(_)) => (
                format!("the {noun} of {email} may not read zones: {refusal}"),
                format!(
                    "make {email} a member of the account, under Manage Account → Members at https://dash.cloudflare.com"
                ),
            ),
        }
    }

    /// What the server thinks of the token itself.
    async fn token_state(&self) -> TokenState {
        if !matches!(self.credential(), Credential::Token(_)) {
            return TokenState::Untold;
        }
        match self
            .get::<Verified>(&["user", "tokens", "verify"], &[])
            .await
        {
            Ok(page) => match (page.result.status.as_str(), page.result.expires_on) {
                ("active", _) => TokenState::Active,
                ("expired", Some(at)) => TokenState::Inactive(format!("expired since {at}")),
                (other, _) => TokenState::Inactive(other.to_owned()),
            },
            // Tokens of an account are verified elsewhere, under an id that is not known here.
            Err(CallError::Refused(_)) if !self.is_account_token() => TokenState::Unheard,
            Err(_) => TokenState::Untold,
        }
    }

    fn is_account_token(&self) -> bool {
        self.credential().secret().starts_with("cfat_")
    }

    fn dashboard(&self) -> &'static str {
        match self.is_account_token() {
            true => ACCOUNT_TOKENS,
            false => TOKENS,
        }
    }

    /// A time from now, as a person would say it.
    fn when(&self, wait: Duration) -> String {
        let at = Timestamp::try_from(self.context().now() + wait)
            .and_then(|at| at.round(Unit::Second))
            .map(|at| format!("; again at {at}"));
        at.unwrap_or_default()
    }
}

/// What to do about a refusal of a change.
pub(super) fn hint(refusal: &Refusal) -> Option<&'static str> {
    match () {
        () if refusal.has(&[BESIDE_ALIAS, ALIAS_EXISTS]) => Some(
            "a CNAME is at that name, or above it: remove it, or let it point where the value may go",
        ),
        () if refusal.has(&[QUOTA]) => Some(
            "the zone holds as many records as its plan allows: remove some, or delegate `_acme-challenge` to another zone",
        ),
        () => None,
    }
}

/// A record of the same content is there.
pub(super) const EXISTS: [i64; 2] = [81057, 81058];
/// The record is not there.
pub(super) const GONE: [i64; 1] = [81044];
/// The zone is full, for every addition.
pub(super) const QUOTA: i64 = 81045;
const BESIDE_ALIAS: i64 = 81053;
const ALIAS_EXISTS: i64 = 81054;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Cause {
    /// A good token from an address it is not good for.
    Location,
    /// Neither a token nor a key by its form.
    Malformed,
    /// Nothing to do with credentials.
    Other,
    /// Good credentials without a right.
    Permission,
    /// No such token, or not any more.
    Token,
    /// No such e-mail address and key.
    UnknownKey,
    /// No such zone.
    Zone,
}

impl Cause {
    fn of(refusal: &Refusal, doing: Doing<'_>) -> Self {
        let status = refusal.status.as_u16();
        match () {
            () if refusal.has(&[6003, 6103, 6111, 9106]) => Self::Malformed,
            () if refusal.has(&[9103]) => Self::UnknownKey,
            () if refusal.has(&[9109]) && refusal.says("from location") => Self::Location,
            () if refusal.has(&[1000]) || refusal.says("invalid access token") => Self::Token,
            () if refusal.has(&[7000, 7003]) || refusal.says("zone identifier") => Self::Zone,
            () if status == 404 && !matches!(doing, Doing::FindZone(_)) => Self::Zone,
            () if refusal.has(&[9109, 10000]) || matches!(status, 401 | 403) => Self::Permission,
            () if refusal.says("requires permission") => Self::Permission,
            () => Self::Other,
        }
    }
}

enum TokenState {
    Active,
    /// In the server's word.
    Inactive(String),
    /// The server does not know it.
    Unheard,
    /// It could not be found out.
    Untold,
}

#[derive(Deserialize)]
struct Verified {
    #[serde(default)]
    expires_on: Option<String>,
    status: String,
}

const TOKENS: &str = "https://dash.cloudflare.com/profile/api-tokens";
const ACCOUNT_TOKENS: &str = "https://dash.cloudflare.com/?to=/:account/api-tokens";
