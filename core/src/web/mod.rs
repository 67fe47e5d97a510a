//! Requests over HTTP, whoever makes them: which proxy they take, why one got no answer, and when a server wants to be asked
//! again.

mod no_answer;
mod proxy;
mod retry_after;

pub use no_answer::Distrust;
pub use no_answer::NoAnswer;
pub(crate) use no_answer::root_cause;
pub use proxy::ProxyError;
pub use proxy::ProxyFault;
pub use proxy::check_proxies;
pub use proxy::client;
pub use proxy::proxy_for;
pub(crate) use retry_after::date;
pub use retry_after::retry_after;

/// Host and port of a URL, as a person would name the server.
pub(crate) fn host(url: &str) -> String {
    let parsed = url::Url::parse(url).ok();
    match parsed.as_ref().map(|u| (u.host_str(), u.port())) {
        Some((Some(host), Some(port))) => format!("{host}:{port}"),
        Some((Some(host), None)) => host.to_owned(),
        _ => url.to_owned(),
    }
}

/// The text without control characters, which a terminal would obey, and without runs of white space.
pub(crate) fn printable(text: &str) -> String {
    let visible: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    visible.split_whitespace().collect::<Vec<_>>().join(" ")
}
