//! `dnseal report`: what one pastes into a support ticket.
//!
//! It says as much as it can find out: a broken configuration, an unreadable store and a damaged head are each part of the
//! report and never its end. Nothing is asked of any server, nothing is changed, and no secret is read: secrets that are
//! references are not followed, and keys of accounts are not loaded.

use dnseal_core::deploy::LocalState;
use dnseal_core::dns::system_resolvers;
use dnseal_core::notify;
use dnseal_core::notify::NoticeKind;
use dnseal_core::store::Key;
use dnseal_core::store::Store;
use jiff::Timestamp;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::args::GlobalArgs;
use crate::commands::App;
use crate::commands::list;
use crate::config;
use crate::config::Config;
use crate::config::without_userinfo;
use crate::env_vars;
use crate::error::CliError;
use crate::render::Printer;
use crate::render::Report;
use crate::settings;
use crate::settings::Places;

pub(super) async fn run(global: &GlobalArgs, printer: Printer) -> Result<Report, CliError> {
    let now = Timestamp::now();
    let (config, problem) = match settings::config(global) {
        Ok(config) => (config, None),
        Err(error) => (Config::default(), Some(CliError::Config(error))),
    };
    let configuration = configuration(&config, problem.as_ref(), printer);
    let places = Places::new(global, &config);
    let mut report = json!({
        "dnseal": program(),
        "platform": platform(now),
        "resolvers": resolvers(),
        "environment": environment(),
        "configuration": configuration,
    });
    let store = match places {
        Ok(places) => {
            let app = App {
                config,
                global: global.clone(),
                places,
                printer,
            };
            report["directories"] = json!({
                "store": app.places.store,
                "live": app.places.live,
                "local": app.places.local,
            });
            store(&app, now).await.unwrap_or_else(|error| said(&error))
        }
        Err(error) => said(&error),
    };
    report["store"] = store;
    // Written as YAML it is what people read; what they look for first comes first.
    let mut text = String::new();
    for part in PARTS {
        let part = json!({ *part: report[*part] });
        text += &serde_yaml::to_string(&part).map_err(|error| CliError::Unexpected {
            message: format!("cannot write the report: {error}"),
            hint: None,
        })?;
    }
    Ok(Report::new(text, report))
}

fn said(error: &CliError) -> Value {
    json!({ "error": error.to_string(), "hint": error.hint() })
}

fn program() -> Value {
    let mut features = Vec::new();
    // The registry knows a kind only where its feature is compiled in.
    let kinds: Vec<&str> = dnseal_providers::kinds()
        .iter()
        .map(|kind| kind.kind)
        .collect();
    if kinds.contains(&"route53") {
        features.push("route53");
    }
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "build": match cfg!(debug_assertions) { true => "debug", false => "release" },
        "features": features,
        "providers": kinds,
    })
}

fn platform(now: Timestamp) -> Value {
    let mut platform = json!({
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
        "time": now.to_string(),
        "cpus": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "container": is_container(),
        "systemd": env_vars::get("INVOCATION_ID").is_some(),
    });
    #[cfg(unix)]
    if let Some(platform) = platform.as_object_mut() {
        let name = rustix::system::uname();
        let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        platform.insert("kernel".into(), text(name.release()).into());
        platform.insert("root".into(), rustix::process::geteuid().is_root().into());
    }
    platform
}

fn is_container() -> bool {
    let marks = ["/.dockerenv", "/run/.containerenv"];
    marks.iter().any(|mark| std::path::Path::new(mark).exists())
        || env_vars::get("KUBERNETES_SERVICE_HOST").is_some()
}

fn resolvers() -> Value {
    match system_resolvers() {
        Ok(resolvers) => json!(resolvers),
        Err(error) => json!({ "error": error.to_string() }),
    }
}

/// Which variables are set that we read; what is in them only where it is never a secret.
fn environment() -> Value {
    let mut set = Map::new();
    let of_providers = dnseal_providers::kinds().iter().flat_map(|kind| {
        kind.settings.iter().flat_map(|setting| {
            let files = setting.env.iter().map(|name| format!("{name}_FILE"));
            setting
                .env
                .iter()
                .map(|name| (*name).to_owned())
                .chain(files)
        })
    });
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|name| name.starts_with("DNSEAL_")) else {
            continue;
        };
        let shown = match SHOWN.contains(&name) {
            true => json!(without_userinfo(&value.to_string_lossy())),
            false => json!(config::REDACTED),
        };
        set.insert(name.to_owned(), shown);
    }
    let others = [env_vars::ACME_EAB_HMAC_KEY, env_vars::ACME_EAB_KID].map(str::to_owned);
    for name in of_providers.chain(others) {
        if env_vars::get(&name).is_some() {
            set.insert(name, json!(config::REDACTED));
        }
    }
    for name in PROXIES {
        if let Some(value) = env_vars::get(name) {
            set.insert((*name).to_owned(), json!(without_userinfo(&value)));
        }
    }
    Value::Object(set)
}

fn configuration(config: &Config, problem: Option<&CliError>, printer: Printer) -> Value {
    if let Some(error) = problem {
        return printer.error_document(error)["error"].clone();
    }
    match &config.source {
        None => json!("none"),
        Some(source) => json!({
            "file": source.path().display().to_string(),
            "content": config::redacted(source).unwrap_or_default(),
        }),
    }
}

async fn store(app: &App, now: Timestamp) -> Result<Value, CliError> {
    let Some(store) = app.places.open_existing()? else {
        return Ok(json!("none"));
    };
    let heads = list::heads(app).await?;
    let mut counts: [(&str, usize); 10] = [
        ("certificates", heads.len()),
        ("valid", 0),
        ("expiring", 0),
        ("expired", 0),
        ("revoked", 0),
        ("never_issued", 0),
        ("orders_in_flight", 0),
        ("values_published", 0),
        ("unreadable", 0),
        ("left_alone_after_failures", 0),
    ];
    let mut count = |name: &str, by: usize| {
        for (counted, number) in &mut counts {
            if *counted == name {
                *number += by;
            }
        }
    };
    let mut next = None;
    let mut problems = Vec::new();
    let mut failures = Vec::new();
    for (id, head) in &heads {
        let head = match head {
            Ok(head) => head,
            Err(error) => {
                count("unreadable", 1);
                problems.push(json!({ "certificate": id, "error": error.to_string() }));
                continue;
            }
        };
        count("orders_in_flight", usize::from(head.order.is_some()));
        count("values_published", head.published.len());
        if let Some(failure) = &head.renewal.failure {
            count(
                "left_alone_after_failures",
                usize::from(failure.again > now),
            );
            failures.push((id, failure));
        }
        let Some(version) = &head.current else {
            count("never_issued", 1);
            continue;
        };
        let listing = head.renewal.listing.as_ref();
        let listed = listing.is_some_and(|l| l.serial == version.serial && l.revoked.is_some());
        if version.revoked.is_some() || listed {
            count("revoked", 1);
            continue;
        }
        match notify::expiring(version, now) {
            Some(NoticeKind::Expired) => count("expired", 1),
            Some(_) => count("expiring", 1),
            None => count("valid", 1),
        }
        if version.not_after > now && next.is_none_or(|(_, at)| version.not_after < at) {
            next = Some((id, version.not_after));
        }
    }
    let accounts = store.list(&Key::accounts()).await?;
    let accounts: Vec<&str> = accounts
        .iter()
        .filter_map(|key| key.components().last()?.strip_suffix(".json"))
        .collect();
    let mut summary: Map<String, Value> = counts
        .into_iter()
        .map(|(name, number)| (name.to_owned(), json!(number)))
        .collect();
    summary.insert("accounts".into(), json!(accounts));
    summary.insert(
        "next_expiry".into(),
        json!(next.map(|(id, at)| json!({ "certificate": id, "at": at }))),
    );
    problems.truncate(MOST_PROBLEMS);
    failures.sort_by_key(|(_, failure)| std::cmp::Reverse(failure.last));
    let failures = failures.iter().take(MOST_PROBLEMS).map(|(id, failure)| {
        json!({
            "certificate": id,
            "error": failure.error,
            "times": failure.times,
            "since": failure.since,
            "last": failure.last,
            "next_try": failure.again,
        })
    });
    summary.insert("last_errors".into(), failures.collect());
    match LocalState::new(&app.places.state()).load() {
        Ok(snapshot) => {
            problems.extend(snapshot.problems.iter().map(|p| json!({ "error": p })));
            let mut failed = snapshot.failures();
            failed.sort_by_key(|failed| std::cmp::Reverse(failed.last));
            failed.truncate(MOST_PROBLEMS);
            summary.insert("not_deployed".into(), json!(failed));
        }
        Err(error) => problems.push(json!({ "error": error.to_string() })),
    }
    summary.insert("problems".into(), json!(problems));
    Ok(Value::Object(summary))
}

/// The parts, in the order in which people read them.
const PARTS: &[&str] = &[
    "dnseal",
    "platform",
    "resolvers",
    "environment",
    "directories",
    "configuration",
    "store",
];
/// Variables of ours that never hold a secret.
const SHOWN: &[&str] = &[
    env_vars::ACCOUNT_KEY_FILE,
    env_vars::AGREE_TOS,
    env_vars::CA,
    env_vars::CA_ROOT,
    env_vars::CONFIG,
    env_vars::DIR,
    env_vars::EAB_HMAC_KEY_FILE,
    env_vars::FAMILY,
    env_vars::KEY_TYPE,
    env_vars::LIVE,
    env_vars::LOG,
    env_vars::LOG_FILE,
    env_vars::NAMESERVER,
    env_vars::OUTPUT,
    env_vars::PROFILE,
    env_vars::PROPAGATION,
    env_vars::PROPAGATION_TIMEOUT,
    env_vars::PROVIDER,
    env_vars::QUORUM,
    env_vars::RESOLVER,
    env_vars::SETTLE,
    env_vars::STORE,
    env_vars::STORE_KEY_FILE,
];
/// What HTTP clients go by.
const PROXIES: &[&str] = &[
    "ALL_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];
/// As many as one reads; a store that is damaged altogether shows in the counts.
const MOST_PROBLEMS: usize = 20;
