//! `dnseal provider list`, `dnseal provider show KIND` and `dnseal provider test KIND`.

pub(super) mod test;

use std::fmt::Write;

use dnseal_core::dns::WriteSafety;
use dnseal_providers::Form;
use dnseal_providers::Integration;
use dnseal_providers::Kind;
use dnseal_providers::Setting;
use dnseal_providers::acmesh;
use dnseal_providers::acmesh::Removal;
use dnseal_providers::plugin::Plugins;
use serde_json::Value;
use serde_json::json;

use crate::args::GlobalArgs;
use crate::error::CliError;
use crate::render::Report;
use crate::render::Table;
use crate::settings;

pub(super) fn list(global: &GlobalArgs) -> Result<Report, CliError> {
    let plugins = match settings::config(global) {
        Ok(config) => config.plugins,
        Err(error) if global.config.is_some() => return Err(error.into()),
        // Whoever mends a configuration wants to know which kinds there are.
        Err(_) => Plugins::default(),
    };
    let mut table = Table::new(&["KIND", "BY", "FLEETS", "WHAT IT IS"]);
    let mut documents: Vec<Value> = Vec::new();
    for kind in dnseal_providers::kinds() {
        table.row([
            kind.kind,
            kind.integration.as_str(),
            fleets(kind),
            kind.title,
        ]);
        documents.push(json!({
            "kind": kind.kind,
            "title": kind.title,
            "docs": kind.docs,
            "integration": kind.integration.as_str(),
            "write_safety": safety_word(kind),
        }));
    }
    // Listing runs no program: what each says of itself, `provider show` tells.
    for (name, path) in plugins.list() {
        let path = path.display().to_string();
        table.row([name.as_str(), "plugin", "-", &path]);
        documents.push(json!({ "kind": name, "integration": "plugin", "program": path }));
    }
    Ok(Report::new(
        table.render(""),
        json!({ "providers": documents, "plugin_dirs": plugins.dirs() }),
    ))
}

/// The DNS scripts of an acme.sh, by their own headers; none is run.
pub(super) fn scripts(home: &str) -> Result<Report, CliError> {
    let home = match home {
        "" => settings::acme_sh_home(),
        home => Some(home.to_owned()),
    };
    let scripts = acmesh::scripts(home.as_deref()).map_err(settings::acme_sh_error)?;
    let mut table = Table::new(&["SCRIPT", "REMOVES", "SERVICE", "SITE"]);
    let mut documents: Vec<Value> = Vec::new();
    for script in &scripts {
        let removes = match script.removal {
            Removal::More => "more",
            Removal::Nothing => "nothing",
            Removal::Value => "one value",
        };
        table.row([script.name.as_str(), removes, &script.title, &script.site]);
        documents.push(json!({
            "script": script.name,
            "title": script.title,
            "site": script.site,
            "docs": script.docs,
            "variables": script.variables,
            "removes": removes.replace(' ', "-"),
        }));
    }
    Ok(Report::new(
        table.render(""),
        json!({ "scripts": documents }),
    ))
}

pub(super) fn show(global: &GlobalArgs, name: &str, set: &[String]) -> Result<Report, CliError> {
    let kind = match dnseal_providers::kind(name) {
        // Needs no configuration, which may be what is being written.
        Ok(kind) if !says_more(kind) || set.is_empty() => kind,
        _ => settings::kind_for(name, set, &settings::config(global)?)?,
    };
    Ok(Report::new(text(kind), json(kind)))
}

/// Whether what it is depends on its settings.
fn says_more(kind: &Kind) -> bool {
    is_any_plugin(kind) || matches!(kind.integration, Integration::AnyScript)
}

fn is_any_plugin(kind: &Kind) -> bool {
    matches!(kind.integration, Integration::AnyPlugin)
}

/// Whether several machines may write, in a word; a plugin has to be asked first.
fn fleets(kind: &Kind) -> &'static str {
    match kind.write_safety {
        _ if is_any_plugin(kind) => "-",
        WriteSafety::CompareAndSwap | WriteSafety::PerValue => "safe",
        WriteSafety::ReadModifyWrite => "unsafe",
    }
}

fn safety_word(kind: &Kind) -> Option<&'static str> {
    match kind.write_safety {
        _ if is_any_plugin(kind) => None,
        WriteSafety::CompareAndSwap => Some("compare-and-swap"),
        WriteSafety::PerValue => Some("per-value"),
        WriteSafety::ReadModifyWrite => Some("read-modify-write"),
    }
}

fn text(kind: &Kind) -> String {
    let mut text = format!(
        "{}: {}\n\nSettings, for `--set KEY=VALUE` or under a provider in the configuration:\n",
        kind.kind, kind.title
    );
    for setting in kind.settings {
        let mut notes = vec![form(setting.form).to_owned()];
        if setting.required {
            notes.push("required".to_owned());
        }
        if let Some(default) = setting.default {
            notes.push(format!("default {default}"));
        }
        let _ = writeln!(
            text,
            "\n  {} ({})\n      {}",
            setting.key,
            notes.join(", "),
            setting.help
        );
        if !setting.aliases.is_empty() {
            let _ = writeln!(text, "      also as {}", setting.aliases.join(", "));
        }
        if !setting.env.is_empty() {
            let files = match setting.form {
                Form::File => "",
                _ => "; each also with _FILE",
            };
            let _ = writeln!(text, "      environment: {}{files}", setting.env.join(", "));
        }
    }
    if !kind.permissions.trim().is_empty() {
        let _ = writeln!(text, "\nWhat it needs to be allowed:\n");
    }
    for line in kind.permissions.trim_end().lines() {
        let _ = writeln!(text, "{}", format!("  {line}").trim_end());
    }
    let safety = match is_any_plugin(kind) {
        true => "the plugin says",
        false => safety(kind.write_safety),
    };
    let _ = writeln!(text, "\nWriting from several machines: {safety}");
    if !kind.docs.is_empty() {
        let _ = writeln!(text, "Documentation: {}", kind.docs);
    }
    if let Integration::Bridged = kind.integration {
        let _ = writeln!(
            text,
            "Served through the crate dns-update: every value is read back after it is written"
        );
    }
    if let Integration::Plugin(about) = kind.integration {
        let version = match about.version() {
            "" => String::new(),
            version => format!(", version {version}"),
        };
        let _ = writeln!(text, "Plugin: {}{version}", about.command().join(" "));
    }
    text
}

fn json(kind: &Kind) -> Value {
    let settings: Vec<Value> = kind.settings.iter().map(setting).collect();
    json!({
        "kind": kind.kind,
        "title": kind.title,
        "settings": settings,
        "permissions": kind.permissions,
        "write_safety": safety_word(kind),
        "docs": kind.docs,
        "integration": kind.integration.as_str(),
        "plugin": match kind.integration {
            Integration::Plugin(about) => json!({ "command": about.command(), "version": about.version() }),
            _ => Value::Null,
        },
    })
}

fn setting(setting: &Setting) -> Value {
    json!({
        "key": setting.key,
        "aliases": setting.aliases,
        "form": form(setting.form),
        "required": setting.required,
        "default": setting.default,
        "env": setting.env,
        "help": setting.help,
    })
}

fn form(form: Form) -> &'static str {
    match form {
        Form::Duration => "duration",
        Form::File => "file",
        Form::Flag => "true or false",
        Form::Number => "number",
        Form::Secret => "secret",
        Form::Text => "text",
        Form::Words => "program and arguments",
    }
}

fn safety(safety: WriteSafety) -> &'static str {
    match safety {
        WriteSafety::CompareAndSwap => "safe, every write is conditional on what was read",
        WriteSafety::PerValue => "safe, each value is an object of its own",
        WriteSafety::ReadModifyWrite => {
            "not safe at one owner name, a write may lose another machine's value"
        }
    }
}
