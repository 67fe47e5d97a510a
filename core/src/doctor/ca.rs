//! Whether the CA answers, through which proxy, with which account, and by what clock.

use std::time::Duration;

use jiff::SignedDuration;

use super::Check;
use super::Finding;
use crate::acme::AccountKey;
use crate::acme::AcmeError;
use crate::acme::Client;
use crate::acme::Directory;
use crate::acme::DirectoryError;
use crate::issue::Engine;
use crate::issue::Request;
use crate::issue::Terms;
use crate::store::StoredAccount;
use crate::web::proxy_for;

/// What is known of a CA that answers.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) directory: Directory,
    /// The URL of the account, where one is registered.
    pub(super) account: Option<String>,
}

pub(super) async fn check(engine: &Engine, request: &Request) -> (Vec<Finding>, Option<Seen>) {
    let name = request.ca.name();
    let url = &request.ca.url;
    let proxy = proxy_for(url);
    let client = match Client::connect(engine.transport().clone(), url).await {
        Ok(client) => client,
        Err(error) => return (vec![unreachable(&name, &error, proxy, request)], None),
    };
    let directory = client.directory().clone();
    let way = match &proxy {
        Some(proxy) => format!("through the proxy {proxy}"),
        None => "directly".to_owned(),
    };
    let mut findings =
        vec![Finding::ok(Check::Ca, &name, format!("{url} answers {way}")).took(directory.elapsed)];
    if let Some(warning) = &request.ca.warning {
        findings.push(Finding::warning(Check::Ca, &name, warning));
    }
    if let Some(profile) = &request.profile
        && !directory.meta.profiles.contains_key(profile)
    {
        let known: Vec<&str> = directory.meta.profiles.keys().map(String::as_str).collect();
        findings.push(
            Finding::failure(
                Check::Ca,
                &name,
                format!("it offers no profile `{profile}`"),
            )
            .fix(match known.is_empty() {
                true => "leave `--profile` out".to_owned(),
                false => format!("it offers {}", known.join(", ")),
            }),
        );
    }
    findings.extend(clock(&name, directory.ahead));
    let (finding, account) = account(engine, &client, request).await;
    findings.push(finding);
    (findings, Some(Seen { directory, account }))
}

fn unreachable(
    name: &str,
    error: &DirectoryError,
    proxy: Option<String>,
    request: &Request,
) -> Finding {
    let host = request.ca.url.host_str().unwrap_or_default();
    let port = request.ca.url.port_or_known_default().unwrap_or(443);
    match (proxy, error) {
        // Nobody but the proxy can have said that.
        (
            Some(proxy),
            DirectoryError::Request(AcmeError::Unreachable { .. } | AcmeError::TimedOut { .. }),
        ) => Finding::failure(
            Check::Ca,
            name,
            format!("the CA cannot be reached through the proxy {proxy}: {error}"),
        )
        .fix(format!(
            "let the proxy allow CONNECT to {host}:{port}, or go around it with NO_PROXY={host}"
        )),
        // It names the proxy itself.
        (_, DirectoryError::Request(AcmeError::Proxied { .. })) => {
            Finding::failure(Check::Ca, name, error.to_string()).maybe_fix(error.hint())
        }
        (Some(proxy), _) => Finding::failure(
            Check::Ca,
            name,
            format!("{error}, through the proxy {proxy}"),
        )
        .maybe_fix(error.hint()),
        (None, _) => Finding::failure(Check::Ca, name, error.to_string()).maybe_fix(error.hint()),
    }
}

fn clock(name: &str, ahead: Option<SignedDuration>) -> Option<Finding> {
    let ahead = ahead?;
    let about = "this machine";
    if ahead.unsigned_abs() <= AGREED {
        return Some(Finding::ok(
            Check::Clock,
            about,
            format!("its clock agrees with that of {name}"),
        ));
    }
    let direction = match ahead.is_negative() {
        true => "ahead of",
        false => "behind",
    };
    Some(
        Finding::warning(
            Check::Clock,
            about,
            format!(
                "its clock is {} s {direction} that of {name}",
                ahead.unsigned_abs().as_secs()
            ),
        )
        .fix("set the clock, best by NTP; signed updates allow 300 s, and renewal counts on it"),
    )
}

/// The account that an order would use, or whether one could be made.
async fn account(engine: &Engine, client: &Client, request: &Request) -> (Finding, Option<String>) {
    let about = request.ca.name();
    let id = request.account_id();
    let failure = |message: String, fix: Option<String>| {
        let finding = Finding::failure(Check::Account, &about, message);
        (finding.maybe_fix(fix), None)
    };
    let stored = match StoredAccount::load(engine.store(), &id).await {
        Ok(stored) => stored.map(|(stored, _)| stored),
        Err(error) => return failure(error.to_string(), error.hint()),
    };
    let Some(stored) = stored else {
        return (registration(client, request), None);
    };
    let key = match AccountKey::from_pkcs8(&stored.key) {
        Ok(key) => key,
        Err(error) => return failure(error.to_string(), None),
    };
    match client.find_account(&key).await {
        Ok(Some(url)) => {
            let finding = Finding::ok(Check::Account, &about, format!("registered as {url}"));
            (finding, Some(url))
        }
        Ok(None) => match &stored.url {
            Some(url) => {
                let known = registration(client, request);
                let finding = Finding::warning(
                    Check::Account,
                    &about,
                    format!("the CA has forgotten {url}; the next order registers the key anew"),
                );
                match known.severity {
                    super::Severity::Failure => (known, None),
                    _ => (finding, None),
                }
            }
            None => (registration(client, request), None),
        },
        // Some CAs have no lookup that works, and orders do.
        Err(error) => match &stored.url {
            // One that does not answer answers no order either.
            Some(url) if !error.is_deactivated() && !error.is_retryable() => (
                Finding::warning(
                    Check::Account,
                    &about,
                    format!("{url} stands in the store, and could not be looked up: {error}"),
                )
                .maybe_fix(error.hint()),
                Some(url.clone()),
            ),
            _ => failure(error.to_string(), error.hint()),
        },
    }
}

/// Whether an account could be registered, which is left to the first order.
fn registration(client: &Client, request: &Request) -> Finding {
    let about = request.ca.name();
    let meta = &client.directory().meta;
    if meta.external_account_required && request.external_account.is_none() {
        return Finding::failure(
            Check::Account,
            &about,
            "the CA wants an external account binding, and none is given",
        )
        .fix(
            request.ca.external_account_hint().map_or_else(
                || "get a key identifier and an HMAC key from the CA, and give them with `--eab-kid` and `--eab-hmac-key-file`".to_owned(),
                str::to_owned,
            ),
        );
    }
    match (&meta.terms_of_service, &request.terms) {
        (Some(terms), Terms::NotAgreed) => Finding::failure(
            Check::Account,
            &about,
            format!("nobody has agreed to the CA's terms of service: {terms}"),
        )
        .fix("read them, and agree with `--agree-tos`"),
        (Some(terms), Terms::Ask(_)) => Finding::ok(
            Check::Account,
            &about,
            format!("would be registered, after asking for consent to {terms}"),
        ),
        _ => Finding::ok(
            Check::Account,
            &about,
            "would be registered by the first order",
        ),
    }
}

/// An HTTP date has whole seconds, and an answer is a while on its way.
const AGREED: Duration = Duration::from_secs(30);
