//! How an error looks.

use std::error::Error;
use std::fmt::Write;

use annotate_snippets::AnnotationKind;
use annotate_snippets::Level;
use annotate_snippets::Renderer;
use annotate_snippets::Snippet;
use serde_json::Value;
use serde_json::json;

use crate::config::ConfigError;
use crate::error::CliError;

/// `error: …`, what caused it, a blank line, and what to do.
pub(super) fn text(error: &CliError, colour: bool) -> String {
    let mut text = match error.config() {
        Some(config) => config_frame(config, colour),
        None => format!("{}: {error}\n", label("error", RED, colour)),
    };
    for cause in causes(error) {
        let _ = writeln!(text, "  {}: {cause}", label("cause", BOLD, colour));
    }
    if let Some(detail) = error.detail() {
        let _ = writeln!(text, "\n{detail}");
    }
    if let Some(hint) = error.hint() {
        let _ = writeln!(text, "\n{}: {hint}", label("hint", CYAN, colour));
    }
    text
}

/// The same as a document.
pub(super) fn json(error: &CliError) -> Value {
    let mut document = json!({
        "message": error.to_string(),
        "causes": causes(error),
        "hint": error.hint(),
        "exit_code": error.exit_code(),
    });
    if let (Some(detail), Some(document)) = (error.detail(), document.as_object_mut()) {
        document.insert("detail".into(), detail.into());
    }
    let records = error.records();
    if !records.is_empty()
        && let Some(document) = document.as_object_mut()
    {
        document.insert("records".into(), json!(records));
    }
    if let Some(config) = error.config()
        && let Some(document) = document.as_object_mut()
    {
        document.insert("file".into(), config.path().display().to_string().into());
        if let Some(frame) = config.frame() {
            document.insert("line".into(), frame.line.into());
            document.insert("column".into(), frame.column.into());
        }
    }
    json!({ "error": document })
}

/// An error in the configuration, with its line.
fn config_frame(error: &ConfigError, colour: bool) -> String {
    let Some(frame) = error.frame() else {
        return format!("{}: {error}\n", label("error", RED, colour));
    };
    let renderer = match colour {
        true => Renderer::styled(),
        false => Renderer::plain(),
    };
    let title = error.to_string();
    let path = error.path().display().to_string();
    let snippet = Snippet::source(frame.text.as_str())
        .path(path)
        .line_start(frame.line)
        .annotation(AnnotationKind::Primary.span(frame.span.clone()));
    let group = Level::ERROR.primary_title(title).element(snippet);
    let mut text = renderer.render(&[group]).to_string();
    text.push('\n');
    text
}

/// What is behind an error, each said once.
fn causes(error: &CliError) -> Vec<String> {
    let mut said = error.to_string();
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        // Many errors have the text of their source in their own already.
        if !said.contains(&text) {
            causes.push(text.clone());
            said = text;
        }
        next = cause.source();
    }
    causes
}

/// A word at the beginning of a line; the colour adds nothing to it.
pub(super) fn label(word: &str, style: &str, colour: bool) -> String {
    match colour {
        true => format!("\x1b[{style}m{word}\x1b[0m"),
        false => word.to_owned(),
    }
}

pub(super) const BOLD: &str = "1";
pub(super) const CYAN: &str = "1;36";
pub(super) const RED: &str = "1;31";
pub(super) const YELLOW: &str = "1;33";
