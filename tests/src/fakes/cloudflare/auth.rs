//! Who asks, and what they may.

use axum::http::HeaderMap;

use super::CloudflareOptions;
use super::limit::Quota;
use super::server::Problem;

/// What a token may do with a zone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Grant {
    /// Zone → DNS → Edit, which includes reading.
    DnsEdit,
    /// Zone → DNS → Read.
    DnsRead,
    /// Zone → Zone → Read.
    ZoneRead,
}

/// An API token.
#[derive(Clone, Debug)]
pub struct FakeToken {
    grants: Vec<(String, Vec<Grant>)>,
    only_elsewhere: bool,
    quota: Option<Quota>,
    secret: String,
    status: &'static str,
}

impl FakeToken {
    /// A token that may do nothing yet: 40 letters, digits, `-` and `_`.
    ///
    /// # Panics
    ///
    /// When it is not of that form.
    pub fn new(secret: &str) -> Self {
        assert!(is_token(secret), "not of the form of a token");
        Self {
            grants: Vec::new(),
            only_elsewhere: false,
            quota: None,
            secret: secret.to_owned(),
            status: "active",
        }
    }

    /// Allows this with a zone, or with all zones (`*`).
    #[must_use]
    pub fn allow(mut self, zone: &str, grants: &[Grant]) -> Self {
        self.grants.push((zone.to_owned(), grants.to_vec()));
        self
    }

    /// The same with a quota of its own.
    #[must_use]
    pub fn quota(mut self, quota: Quota) -> Self {
        self.quota = Some(quota);
        self
    }

    /// The same, expired.
    #[must_use]
    pub fn expired(mut self) -> Self {
        self.status = "expired";
        self
    }

    /// The same, for another address than that of the test.
    #[must_use]
    pub fn only_elsewhere(mut self) -> Self {
        self.only_elsewhere = true;
        self
    }
}

/// A request whose credential is good.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    Token(FakeToken),
    User,
}

impl Caller {
    pub(super) fn may(&self, zone: &str, grant: Grant) -> bool {
        match self {
            Self::User => true,
            Self::Token(token) => token
                .grants
                .iter()
                .filter(|(name, _)| name == "*" || name == zone)
                .any(|(_, grants)| {
                    grants.contains(&grant)
                        || (grant == Grant::DnsRead && grants.contains(&Grant::DnsEdit))
                }),
        }
    }

    pub(super) fn may_anywhere(&self, grant: Grant) -> bool {
        match self {
            Self::User => true,
            Self::Token(token) => token.grants.iter().any(|(_, g)| g.contains(&grant)),
        }
    }
}

/// The secret of a request, for counting; it need not be good.
pub(super) fn claimed(headers: &HeaderMap) -> String {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok());
    text("authorization")
        .or_else(|| text("x-auth-key"))
        .unwrap_or_default()
        .to_owned()
}

/// The quota that a token has of its own.
pub(super) fn quota(options: &CloudflareOptions, claimed: &str) -> Option<Quota> {
    let tokens = options.tokens.iter();
    let mut tokens = tokens.filter(|t| claimed.strip_prefix("Bearer ") == Some(t.secret.as_str()));
    tokens.next()?.quota
}

/// Who it is.
pub(super) fn authenticate(
    options: &CloudflareOptions,
    headers: &HeaderMap,
) -> Result<Caller, Problem> {
    let text = |name| headers.get(name).map(|v| v.to_str().unwrap_or("\u{fffd}"));
    if let Some(authorization) = text("authorization") {
        let Some(secret) = authorization
            .strip_prefix("Bearer ")
            .filter(|s| is_token(s))
        else {
            return Err(Problem::chained(
                400,
                (6003, "Invalid request headers"),
                (6111, "Invalid format for Authorization header"),
            ));
        };
        let token = options.tokens.iter().find(|t| t.secret == secret);
        return match token {
            Some(token) if token.status != "active" => {
                Err(Problem::new(401, 10000, "Authentication error"))
            }
            Some(token) if token.only_elsewhere => Err(Problem::new(
                403,
                9109,
                "Cannot use the access token from location: 127.0.0.1",
            )),
            Some(token) => Ok(Caller::Token(token.clone())),
            None => Err(Problem::new(403, 9109, "Invalid access token")),
        };
    }
    match (text("x-auth-email"), text("x-auth-key")) {
        (Some(email), Some(key)) => {
            if key.len() != 37 || !key.bytes().all(|b| b.is_ascii_alphanumeric()) {
                return Err(Problem::chained(
                    400,
                    (6003, "Invalid request headers"),
                    (6103, "Invalid format for X-Auth-Key header"),
                ));
            }
            match options.users.iter().any(|(e, k)| e == email && k == key) {
                true => Ok(Caller::User),
                false => Err(Problem::new(
                    403,
                    9103,
                    "Unknown X-Auth-Key or X-Auth-Email",
                )),
            }
        }
        _ => Err(Problem::new(
            400,
            9106,
            "Missing X-Auth-Key, X-Auth-Email or Authorization headers",
        )),
    }
}

/// What `/user/tokens/verify` says of a token, whatever state it is in.
pub(super) fn verify(
    options: &CloudflareOptions,
    headers: &HeaderMap,
) -> Result<&'static str, Problem> {
    let authorization = headers.get("authorization").and_then(|v| v.to_str().ok());
    let Some(authorization) = authorization else {
        return Err(Problem::new(400, 1001, "Missing \"Authorization\" header"));
    };
    let token = options
        .tokens
        .iter()
        .find(|t| authorization.strip_prefix("Bearer ") == Some(t.secret.as_str()));
    token
        .map(|token| token.status)
        .ok_or_else(|| Problem::new(401, 1000, "Invalid API Token"))
}

fn is_token(text: &str) -> bool {
    text.len() >= 40
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}
