//! `dnseal provider list` and `dnseal provider show KIND`.

use std::fmt::Write;

use dnseal_core::dns::WriteSafety;
use dnseal_providers::Form;
use dnseal_providers::Kind;
use dnseal_providers::Setting;
use serde_json::Value;
use serde_json::json;

use crate::error::CliError;
use crate::render::Report;
use crate::render::Table;

pub(super) fn list() -> Report {
    let mut table = Table::new(&["KIND", "WHAT IT IS"]);
    for kind in dnseal_providers::kinds() {
        table.row([kind.kind, kind.title]);
    }
    let json: Vec<Value> = dnseal_providers::kinds()
        .iter()
        .map(|kind| json!({ "kind": kind.kind, "title": kind.title, "docs": kind.docs }))
        .collect();
    Report::new(table.render(""), json!({ "providers": json }))
}

pub(super) fn show(kind: &str) -> Result<Report, CliError> {
    let kind = dnseal_providers::kind(kind)?;
    Ok(Report::new(text(kind), json(kind)))
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
    let _ = writeln!(text, "\nWhat it needs to be allowed:\n");
    for line in kind.permissions.trim_end().lines() {
        let _ = writeln!(text, "{}", format!("  {line}").trim_end());
    }
    let _ = writeln!(
        text,
        "\nWriting from several machines: {}\nDocumentation: {}",
        safety(kind.write_safety),
        kind.docs
    );
    text
}

fn json(kind: &Kind) -> Value {
    let settings: Vec<Value> = kind.settings.iter().map(setting).collect();
    json!({
        "kind": kind.kind,
        "title": kind.title,
        "settings": settings,
        "permissions": kind.permissions,
        "write_safety": match kind.write_safety {
            WriteSafety::CompareAndSwap => "compare-and-swap",
            WriteSafety::PerValue => "per-value",
            WriteSafety::ReadModifyWrite => "read-modify-write",
        },
        "docs": kind.docs,
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
