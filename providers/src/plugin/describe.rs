//! From a program to a [`Kind`]: what a plugin says about itself, checked, before it is told anything.
//!
//! `describe` runs in a process of its own that gets no settings, so that asking what a plugin needs gives nothing away. Each
//! program is asked once in the life of this process; what it says is kept that long, as the registry's own constants are.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use dnseal_core::event::Events;
use serde_json::Value;
use serde_json::json;

use crate::plugin;
use crate::plugin::PluginError;
use crate::plugin::fit;
use crate::plugin::problem::Problem;
use crate::plugin::protocol::DescribedCapabilities;
use crate::plugin::protocol::DescribedSetting;
use crate::plugin::protocol::Description;
use crate::plugin::protocol::PROTOCOL;
use crate::plugin::protocol::SettingType;
use crate::plugin::session::CallError;
use crate::plugin::session::Session;
use crate::program::Log;
use crate::redact::Secrets;
use crate::registry::Form;
use crate::registry::Integration;
use crate::registry::Kind;
use crate::registry::Setting;

/// What is known of a plugin: its program, and what it says it can do.
#[derive(Debug)]
pub struct About {
    pub(super) capabilities: DescribedCapabilities,
    pub(super) command: Vec<String>,
    pub(super) version: &'static str,
}

impl About {
    /// The program and its arguments.
    pub fn command(&self) -> &[String] {
        &self.command
    }

    /// The programs among its words, to name it by.
    pub fn programs(&self) -> String {
        programs(&self.command)
    }

    /// The version that the plugin has by its own word; may be empty.
    pub fn version(&self) -> &str {
        self.version
    }
}

/// Asks the program what it is. `name` is the word after `kind:`.
///
/// Blocks until it has answered, ten seconds at most.
pub fn describe(name: &str, command: Vec<String>) -> Result<&'static Kind, PluginError> {
    static KNOWN: Mutex<Vec<&Kind>> = Mutex::new(Vec::new());
    // Held while asking: two providers of one kind ask once.
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let is_it = |kind: &Kind| matches!(kind.integration, Integration::Plugin(about) if about.command == command);
    if let Some(kind) = known.iter().find(|kind| kind.kind == name && is_it(kind)) {
        return Ok(kind);
    }
    let log = Log::new(name, Events::silent(), Secrets::default());
    let cannot = |problem| {
        let who = match name == plugin::KIND.kind {
            true => programs(&command),
            false => format!("`{name}`"),
        };
        PluginError::new(who, problem)
    };
    let description = ask(&command, &log).map_err(cannot)?;
    let kind =
        leak(name, &command, description, &log).map_err(|what| cannot(Problem::Unfit(what)))?;
    known.push(kind);
    Ok(kind)
}

/// On a thread and in a runtime of its own, because the caller may be inside a runtime already.
fn ask(command: &[String], log: &Log) -> Result<Description, Problem> {
    let asking = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| Problem::start(CallError::NotStarted { hint: None, source }))?;
        runtime.block_on(async {
            let mut session = Session::start(command, log.clone()).map_err(Problem::start)?;
            introduce(&mut session).await
        })
    };
    std::thread::scope(|scope| scope.spawn(asking).join()).unwrap_or_else(|_| {
        Err(Problem::Unfit(
            "what it says about itself cannot be read".to_owned(),
        ))
    })
}

/// The first request of every session.
pub(super) async fn introduce(session: &mut Session) -> Result<Description, Problem> {
    let params = json!({ "dnseal": env!("CARGO_PKG_VERSION"), "protocols": [PROTOCOL] });
    let answer = session
        .call("describe", &params, INTRODUCTION)
        .await
        .map_err(|error| Problem::Call {
            error,
            method: "describe",
        })?;
    // A version that is not ours may be described in ways that are not ours.
    match answer.get("protocol").and_then(Value::as_u64) {
        Some(version) if version == u64::from(PROTOCOL) => {}
        Some(version) => return Err(Problem::Protocol(version)),
        None => return Err(Problem::Unfit("it does not say its `protocol`".to_owned())),
    }
    let description: Description = fit::read(&answer).map_err(|error| {
        let error = session.words(&error);
        Problem::Unfit(format!("what it says about itself does not fit: {error}"))
    })?;
    match description.protocol {
        PROTOCOL => Ok(description),
        other => Err(Problem::Protocol(other.into())),
    }
}

/// The programs of a command. An interpreter says little without its script, and what comes after that may be a secret.
fn programs(command: &[String]) -> String {
    let is_script = |word: &&&str| Path::new(word).is_absolute() && Path::new(word).is_file();
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    let (program, arguments) = words.split_at(words.len().min(1));
    let scripts = arguments.iter().take(2).filter(is_script);
    let programs: Vec<&str> = program.iter().chain(scripts).copied().collect();
    programs.join(" ")
}

/// Makes the registry's words of the plugin's. They are never freed: there are as many as programs were asked.
fn leak(
    name: &str,
    command: &[String],
    description: Description,
    log: &Log,
) -> Result<&'static Kind, String> {
    if description.settings.len() > MAX_SETTINGS {
        return Err(format!("it has more than {MAX_SETTINGS} settings"));
    }
    if !(1..=MAX_TTL).contains(&description.capabilities.ttl) {
        return Err(format!(
            "its `ttl` is {}, and not from 1 to {MAX_TTL}",
            description.capabilities.ttl
        ));
    }
    description.capabilities.check()?;
    let mut settings = match name == plugin::KIND.kind {
        true => vec![plugin::COMMAND_SETTING],
        false => Vec::new(),
    };
    settings.push(plugin::TIMEOUT_SETTING);
    let mut taken: BTreeSet<String> = [plugin::COMMAND, plugin::TIMEOUT, "kind", "propagation"]
        .map(str::to_owned)
        .into();
    for setting in description.settings {
        for key in setting.aliases.iter().chain([&setting.key]) {
            if !is_key(key) {
                return Err(format!(
                    "it has a setting `{}`, and a key is made of `a-z`, `0-9` and `-`, begins with a letter, and has dots between words only",
                    log.excerpt(key.as_bytes())
                ));
            }
            if !taken.insert(key.clone()) {
                return Err(format!(
                    "its setting `{key}` is there twice, or is dnseal's own"
                ));
            }
        }
        if let Some(bad) = setting.env.iter().find(|name| !is_variable(name)) {
            let bad = log.excerpt(bad.as_bytes());
            return Err(format!(
                "it names an environment variable `{bad}`, and one is made of `A-Z`, `0-9` and `_`"
            ));
        }
        settings.push(leak_setting(setting, log));
    }
    let about = About {
        capabilities: description.capabilities,
        command: command.to_vec(),
        version: leak_text(&log.words(&description.version)),
    };
    let title = match log.words(&description.title) {
        title if title.is_empty() => format!("the plugin {}", command.join(" ")),
        title => title,
    };
    let permissions: Vec<String> = description
        .permissions
        .lines()
        .take(MAX_LINES)
        .map(|line| line.chars().filter(|c| !c.is_control()).collect())
        .collect();
    let write_safety = about.capabilities.safety();
    Ok(Box::leak(Box::new(Kind {
        docs: leak_text(&log.words(&description.docs)),
        integration: Integration::Plugin(Box::leak(Box::new(about))),
        kind: leak_text(name),
        permissions: leak_text(&permissions.join("\n")),
        settings: settings.leak(),
        title: leak_text(&title),
        write_safety,
        build: plugin::build,
    })))
}

fn leak_setting(setting: DescribedSetting, log: &Log) -> Setting {
    Setting {
        aliases: leak_texts(setting.aliases),
        default: setting.default.and_then(|value| match value {
            Value::String(text) => Some(leak_text(&log.words(&text))),
            Value::Bool(_) | Value::Number(_) => Some(leak_text(&value.to_string())),
            _ => None,
        }),
        env: leak_texts(setting.env),
        form: match setting.form {
            SettingType::Duration => Form::Duration,
            SettingType::File => Form::File,
            SettingType::Flag => Form::Flag,
            SettingType::Number => Form::Number,
            SettingType::Secret => Form::Secret,
            SettingType::Text => Form::Text,
        },
        help: leak_text(&log.words(&setting.help)),
        key: leak_text(&setting.key),
        required: setting.required,
    }
}

fn leak_text(text: &str) -> &'static str {
    Box::leak(text.into())
}

fn leak_texts(texts: Vec<String>) -> &'static [&'static str] {
    let texts: Vec<&'static str> = texts.iter().map(|text| leak_text(text)).collect();
    texts.leak()
}

/// Lower-case words joined by hyphens, tables by dots.
fn is_key(key: &str) -> bool {
    (1..=MAX_KEY).contains(&key.len())
        && key.split('.').all(|word| {
            word.starts_with(|c: char| c.is_ascii_lowercase())
                && word
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        })
}

fn is_variable(name: &str) -> bool {
    (1..=MAX_KEY).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && name
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// An interpreter starts, and a few lines are written.
const INTRODUCTION: Duration = Duration::from_secs(10);
const MAX_KEY: usize = 64;
const MAX_LINES: usize = 100;
const MAX_SETTINGS: usize = 100;
/// RFC 2181 section 8.
const MAX_TTL: u32 = 0x7fff_ffff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_variables_are_as_the_registry_has_them() {
        for good in ["url", "api-key", "tsig.name", "a1"] {
            assert!(is_key(good), "{good}");
        }
        for bad in ["", "Url", "a..b", ".a", "a_b", "-a", "*", "a b", "kind\n"] {
            assert!(!is_key(bad), "{bad}");
        }
        assert!(is_variable("PDNS_API_KEY"));
        for bad in ["", "1A", "a", "A-B", "A=B"] {
            assert!(!is_variable(bad), "{bad}");
        }
    }
}
