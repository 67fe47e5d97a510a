//! Proxies of the environment, by the rules of the HTTP client itself: whether they can be used, which one a request takes, and what
//! it was that one did not do.
//!
//! The client goes directly where it cannot read a variable. Whoever set one did not mean that, so it is an error before anything is
//! sent. No password of a proxy is shown.

use std::error::Error as StdError;
use std::ffi::OsString;
use std::fmt;

use hyper_util::client::proxy::matcher::Matcher;
use url::Url;

use super::host;
use super::printable;

/// The proxy that the environment has for a URL, without its credentials; `None` where requests go there directly.
pub fn proxy_for(url: &Url) -> Option<String> {
    if around_all(|name| std::env::var_os(name)) {
        return None;
    }
    let destination: http::Uri = url.as_str().parse().ok()?;
    let proxy = Matcher::from_system().intercept(&destination)?;
    let uri = proxy.uri();
    Some(format!(
        "{}://{}",
        uri.scheme_str().unwrap_or("http"),
        uri.authority()?.as_str().rsplit('@').next()?
    ))
}

/// A client that goes by the environment, also where `NO_PROXY` is `*`, which the rules themselves hear for names and not for addresses.
pub fn client() -> reqwest::ClientBuilder {
    let client = reqwest::Client::builder();
    match around_all(|name| std::env::var_os(name)) {
        true => client.no_proxy(),
        false => client,
    }
}

/// Whether no request takes a proxy.
fn around_all(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let list = variable("NO_PROXY").or_else(|| variable("no_proxy"));
    let list = list.unwrap_or_default();
    list.to_string_lossy()
        .split(',')
        .any(|entry| entry.trim() == "*")
}

/// Looks whether every proxy that `variable` gives can be used.
///
/// # Errors
///
/// When one cannot, which names its variable.
pub fn check_proxies(variable: impl Fn(&str) -> Option<OsString>) -> Result<(), ProxyError> {
    // Where a program answers a web server, `HTTP_PROXY` is a header of a stranger, and the client takes no proxy at all.
    if variable("REQUEST_METHOD").is_some() || around_all(&variable) {
        return Ok(());
    }
    let first = |names: [&'static str; 2]| {
        names
            .into_iter()
            .find_map(|name| Some((name, variable(name)?)))
            .filter(|(_, value)| !value.is_empty())
    };
    let secure = first(["HTTPS_PROXY", "https_proxy"]);
    let plain = first(["HTTP_PROXY", "http_proxy"]);
    let needs_all = secure.is_none() || plain.is_none();
    let all = first(["ALL_PROXY", "all_proxy"]).filter(|_| needs_all);
    for (name, value) in [secure, plain, all].into_iter().flatten() {
        let text = value.to_str().unwrap_or_default();
        let proxy = Matcher::builder().all(text.to_owned()).build();
        let proxy = proxy.intercept(&http::Uri::from_static("https://a.test/"));
        let scheme = match &proxy {
            Some(proxy) => proxy.uri().scheme_str().unwrap_or("http"),
            None => text.split_once("://").map_or("", |(scheme, _)| scheme),
        };
        if proxy.is_some() && SCHEMES.contains(&scheme) {
            continue;
        }
        let is_scheme = !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric());
        return Err(ProxyError {
            scheme: (is_scheme && !SCHEMES.contains(&scheme)).then(|| scheme.to_owned()),
            variable: name,
        });
    }
    Ok(())
}

/// A variable names a proxy that cannot be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProxyError {
    /// Its scheme, where that is what is wrong.
    scheme: Option<String>,
    variable: &'static str,
}

impl ProxyError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        let variable = self.variable;
        format!(
            "write `{variable}=http://HOST:PORT`, or unset it; `NO_PROXY=*` goes around every proxy"
        )
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variable = self.variable;
        match &self.scheme {
            Some(scheme) => write!(
                f,
                "{variable} names a proxy that is spoken to by `{scheme}`, and only {} proxies can be used",
                SCHEMES.join(", ")
            ),
            // The text may hold a password.
            None => write!(f, "{variable} is set and is no URL of a proxy"),
        }
    }
}

impl StdError for ProxyError {}

/// What a proxy did instead of connecting.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ProxyFault {
    /// It broke off, or answered something else.
    Broken(String),
    /// There is no connection to it.
    Down(String),
    /// It wants a user and a password, or others.
    Login,
    /// It answered CONNECT, and not with success.
    Refused,
    /// It says why it could not connect.
    Unconnected(String),
}

impl ProxyFault {
    /// What a proxy has to do with the error of a request to `url`; `None` where it is none of its doing.
    pub(super) fn of(error: &reqwest::Error, url: &Url) -> Option<Self> {
        let mut cause: &(dyn StdError + 'static) = error;
        let mut socks = None;
        let mut tunnel = None;
        while let Some(next) = cause.source() {
            cause = next;
            // The client's own type for it is not public.
            let said = cause.to_string();
            if let Some(what) = said.strip_prefix("tunnel error: ") {
                tunnel = Some(what.to_owned());
            }
            if said == "error resolving for socks proxy" {
                let why = "the name does not resolve here, and `socks5h` or `socks4a` let the proxy resolve it";
                return Some(Self::Unconnected(why.to_owned()));
            }
            if let Some(what) = said.strip_prefix("SOCKS error: ") {
                socks = Some(what.to_owned());
            }
        }
        if let Some(what) = socks {
            return Some(match what.as_str() {
                "failed to create underlying connection" => Self::Down("no connection".to_owned()),
                "connection not allowed" => Self::Refused,
                what if what.contains("authentication") || what.contains("credentials") => {
                    Self::Login
                }
                what if UNCONNECTED.contains(&what) => Self::Unconnected(what.to_owned()),
                what => Self::Broken(printable(what)),
            });
        }
        let root = printable(&cause.to_string());
        match tunnel.as_deref() {
            Some("failed to create underlying connection") => Some(Self::Down(root)),
            Some("proxy authorization required") => Some(Self::Login),
            Some("unsuccessful") => Some(Self::Refused),
            Some(_) => Some(Self::Broken(root)),
            None if url.scheme() == "http" && error.is_connect() => Some(Self::Down(root)),
            None => None,
        }
    }

    /// What to do about it, with the URL that was to be reached.
    pub fn hint(&self, url: &str) -> String {
        let to = match Url::parse(url).ok().and_then(|url| {
            Some(format!(
                "{}:{}",
                url.host_str()?,
                url.port_or_known_default()?
            ))
        }) {
            Some(to) => to,
            None => host(url),
        };
        let name = to.rsplit_once(':').map_or(to.as_str(), |(name, _)| name);
        let around = format!("or go around it with NO_PROXY={name}");
        let variable = match url.starts_with("http://") {
            true => "HTTP_PROXY or ALL_PROXY",
            false => "HTTPS_PROXY or ALL_PROXY",
        };
        match self {
            Self::Down(detail) if detail.to_ascii_lowercase().contains("connection refused") => {
                format!(
                    "nothing listens there: is the proxy running, and are its address and port in {variable} right? {around}"
                )
            }
            Self::Down(detail) if detail.contains("certificate") => {
                format!(
                    "`--ca-root FILE` trusts the CA that has signed the proxy's certificate; {around}"
                )
            }
            Self::Down(_) => format!("look at the address of the proxy in {variable}, {around}"),
            Self::Login => {
                format!(
                    "give it a user and a password in {variable}: `SCHEME://USER:PASSWORD@HOST:PORT`, percent-encoded"
                )
            }
            Self::Refused => format!("let the proxy allow CONNECT to {to}, {around}"),
            Self::Unconnected(_) => {
                format!("can {to} be reached from where the proxy is? {around}")
            }
            Self::Broken(_) => format!("is it a proxy of that kind at all? {around}"),
        }
    }

    /// With the name of the proxy.
    pub(crate) fn says(&self, proxy: &str) -> String {
        match self {
            Self::Broken(detail) => format!("the proxy {proxy} broke off: {detail}"),
            Self::Down(detail) => format!("the proxy {proxy} cannot be reached: {detail}"),
            Self::Login => {
                format!("the proxy {proxy} wants a user and a password, or others")
            }
            Self::Refused => format!("the proxy {proxy} refused to connect"),
            Self::Unconnected(detail) => format!("the proxy {proxy} made no connection: {detail}"),
        }
    }
}

/// Ways to speak to a proxy; `socks4a` and `socks5h` let it resolve names.
const SCHEMES: [&str; 6] = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];
/// What the client says of the answers of RFC 1928 section 6, and of SOCKS 4, that are about the way behind the proxy.
const UNCONNECTED: [&str; 6] = [
    "connection refused",
    "general server failure",
    "host unreachable",
    "network unreachable",
    "server failed to execute command",
    "ttl expired",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(variables: &[(&str, &str)]) -> Result<(), ProxyError> {
        check_proxies(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn what_the_client_would_pass_over_is_an_error() {
        for variable in [
            "HTTPS_PROXY",
            "https_proxy",
            "HTTP_PROXY",
            "http_proxy",
            "ALL_PROXY",
            "all_proxy",
        ] {
            for value in [
                "::::nonsense",
                "ftp://u:s3cret@127.0.0.1:21",
                "http://",
                "socks6://h:1",
                "/x",
            ] {
                let error = check(&[(variable, value)]).unwrap_err().to_string();
                assert!(error.starts_with(variable), "{error}");
                assert!(!error.contains("s3cret"), "{error}");
            }
            for value in [
                "",
                "http://127.0.0.1:3128",
                "proxy:3128",
                "https://u:p@proxy.test/",
                "socks5h://u:p@proxy.test:1080",
                "socks4://127.0.0.1:9050",
            ] {
                assert_eq!(check(&[(variable, value)]), Ok(()), "{value}");
            }
        }
    }

    #[test]
    fn a_star_goes_around_every_proxy() {
        for (list, wanted) in [
            ("*", true),
            ("a.test, * ,b.test", true),
            ("*.a.test", false),
        ] {
            let around = around_all(|name| (name == "no_proxy").then(|| list.into()));
            assert_eq!(around, wanted, "{list}");
        }
        let unusable = [("HTTPS_PROXY", "ftp://h:1"), ("NO_PROXY", "*")];
        assert_eq!(check(&unusable), Ok(()));
        assert!(!around_all(|_| None));
    }

    #[test]
    fn only_what_is_used_has_to_be_usable() {
        let both = [("HTTPS_PROXY", "http://a:1"), ("HTTP_PROXY", "http://a:1")];
        let ftp = ("ALL_PROXY", "ftp://127.0.0.1:9050");
        assert_eq!(check(&[both[0], both[1], ftp]), Ok(()));
        let error = check(&[both[0], ftp]).unwrap_err();
        assert!(error.to_string().contains("`ftp`"), "{error}");
        assert_eq!(check(&[both[0], ("https_proxy", "::")]), Ok(()));
        assert_eq!(
            check(&[("REQUEST_METHOD", "GET"), ("HTTP_PROXY", "::")]),
            Ok(())
        );
    }
}
