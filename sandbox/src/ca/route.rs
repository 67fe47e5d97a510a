//! The paths of the CA, and what each is for.
//!
//! Paths are written here and in the URL methods of `Inner`, and nowhere else. They are parsed strictly: a URL that
//! differs in one octet from what the CA gave out leads nowhere.

/// What a request is for, to name it in faults and in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names are those of RFC 8555 section 7.1")]
pub enum Resource {
    Account,
    Authorization,
    Certificate,
    Challenge,
    Directory,
    Finalize,
    KeyChange,
    NewAccount,
    NewNonce,
    NewOrder,
    Order,
    /// The list of an account's orders.
    Orders,
    /// RFC 9773.
    RenewalInfo,
    /// The list of revoked certificates (RFC 5280 section 5).
    RevocationList,
    Revoke,
    /// The page with the terms of service.
    Terms,
}

/// A path, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    Account(u64),
    Authorization(u64),
    Certificate { id: u64, chain: usize },
    Challenge { authorization: u64, index: usize },
    Directory,
    Finalize(u64),
    KeyChange,
    NewAccount,
    NewNonce,
    NewOrder,
    Order(u64),
    Orders(u64),
    RenewalInfo(&'a str),
    RevocationList,
    Revoke,
    Terms,
}

impl<'a> Route<'a> {
    pub(super) fn parse(path: &'a str) -> Option<Self> {
        let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        Some(match parts[..] {
            ["directory"] => Self::Directory,
            ["terms"] => Self::Terms,
            [CRL] => Self::RevocationList,
            ["acme", "new-nonce"] => Self::NewNonce,
            ["acme", "new-account"] => Self::NewAccount,
            ["acme", "new-order"] => Self::NewOrder,
            ["acme", "revoke-cert"] => Self::Revoke,
            ["acme", "key-change"] => Self::KeyChange,
            ["acme", "account", id] => Self::Account(number(id)?),
            ["acme", "account", id, "orders"] => Self::Orders(number(id)?),
            ["acme", "order", id] => Self::Order(number(id)?),
            ["acme", "order", id, "finalize"] => Self::Finalize(number(id)?),
            ["acme", "authz", id] => Self::Authorization(number(id)?),
            ["acme", "challenge", authorization, index] => Self::Challenge {
                authorization: number(authorization)?,
                index: number(index)?.try_into().ok()?,
            },
            ["acme", "cert", id] => Self::Certificate {
                id: number(id)?,
                chain: 0,
            },
            ["acme", "cert", id, chain] => Self::Certificate {
                id: number(id)?,
                chain: number(chain)?.try_into().ok()?,
            },
            ["acme", "renewal-info", cert_id] => Self::RenewalInfo(cert_id),
            _ => return None,
        })
    }

    pub(super) fn resource(self) -> Resource {
        match self {
            Self::Account(_) => Resource::Account,
            Self::Authorization(_) => Resource::Authorization,
            Self::Certificate { .. } => Resource::Certificate,
            Self::Challenge { .. } => Resource::Challenge,
            Self::Directory => Resource::Directory,
            Self::Finalize(_) => Resource::Finalize,
            Self::KeyChange => Resource::KeyChange,
            Self::NewAccount => Resource::NewAccount,
            Self::NewNonce => Resource::NewNonce,
            Self::NewOrder => Resource::NewOrder,
            Self::Order(_) => Resource::Order,
            Self::Orders(_) => Resource::Orders,
            Self::RenewalInfo(_) => Resource::RenewalInfo,
            Self::RevocationList => Resource::RevocationList,
            Self::Revoke => Resource::Revoke,
            Self::Terms => Resource::Terms,
        }
    }
}

/// Where the list of revoked certificates is.
pub(super) const CRL: &str = "ca.crl";

/// Only the way we write a number is its path; `07` and `+7` are not.
pub(super) fn number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        assert_eq!(
            Route::parse("/acme/challenge/3/1"),
            Some(Route::Challenge {
                authorization: 3,
                index: 1
            })
        );
        assert_eq!(
            Route::parse("/acme/cert/7/2"),
            Some(Route::Certificate { id: 7, chain: 2 })
        );
        for path in [
            "",
            "/",
            "/acme/order/07",
            "/acme/order/x",
            "/acme/order/1/",
            "/directory/",
        ] {
            assert_eq!(Route::parse(path), None, "{path}");
        }
    }
}
