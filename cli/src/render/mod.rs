//! Everything that is written to the terminal, and nothing else: results to standard output, all else to standard error.
//!
//! Colour never carries meaning, and is used only on a terminal that wants it. A reader that goes away early
//! (`dnseal list | head -1`) is no error.

mod confirm;
mod error;
mod log;
mod progress;
mod stats;
mod table;
mod watcher;
mod words;

use std::fmt::Display;
use std::io;
use std::io::IsTerminal;
use std::io::Write;

use serde_json::Value;

use crate::args::OutputFormat;
use crate::env_vars;
use crate::error::CliError;
use crate::exit_code::ExitCode;

pub(crate) use confirm::confirm;
pub(crate) use log::LogFile;
pub(crate) use progress::Progress;
pub(crate) use stats::Stats;
pub(crate) use table::Table;
pub(crate) use watcher::Watcher;
pub(crate) use words::day;
pub(crate) use words::duration;
pub(crate) use words::in_days;
pub(crate) use words::plural;

/// What a command has to say at its end, for people and for programs.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// For people; may be of several lines.
    pub(crate) text: String,
    /// The whole JSON document; null where the text is all there is, or is the document.
    pub(crate) json: Value,
    /// The status that the process ends with.
    pub(crate) exit: ExitCode,
}

impl Report {
    /// A result of a command that did what it was asked for.
    pub(crate) fn new(text: impl Into<String>, json: Value) -> Self {
        Self {
            text: text.into(),
            json,
            exit: ExitCode::DONE,
        }
    }

    /// Nothing more to say.
    pub(crate) fn silent() -> Self {
        Self::new("", Value::Null)
    }
}

/// How this process talks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    pub(crate) format: OutputFormat,
    /// Whether to keep to warnings and errors.
    pub(crate) quiet: bool,
    /// How often `-v` was given.
    pub(crate) verbose: u8,
    /// Whether standard error may have colour.
    pub(crate) colour: bool,
    /// Whether lines on standard error may move.
    pub(crate) moving: bool,
    /// How lines on standard error that tell what happens are written.
    pub(crate) lines: LineFormat,
}

/// How a line is written that tells what happens.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum LineFormat {
    /// One JSON document.
    Json,
    /// In words.
    #[default]
    Plain,
    /// In words, after the time.
    Stamped,
}

impl Printer {
    /// As the arguments, the environment and the terminal have it.
    pub(crate) fn new(format: OutputFormat, quiet: bool, verbose: u8) -> Self {
        let terminal = io::stderr().is_terminal();
        let dumb = env_vars::get(env_vars::TERM).is_some_and(|term| term == "dumb");
        Self {
            format,
            quiet,
            verbose,
            colour: terminal && !dumb && env_vars::get(env_vars::NO_COLOR).is_none(),
            moving: terminal && !dumb && !quiet && verbose == 0,
            lines: LineFormat::default(),
        }
    }

    /// Writes a result to standard output.
    pub(crate) fn report(&self, report: &Report) -> io::Result<()> {
        if report.json.is_null() && report.text.is_empty() {
            return Ok(());
        }
        let mut stdout = io::BufWriter::new(io::stdout().lock());
        let text = &report.text;
        match self.format {
            OutputFormat::Json if !report.json.is_null() => writeln!(stdout, "{:#}", report.json)?,
            _ if text.is_empty() || text.ends_with('\n') => stdout.write_all(text.as_bytes())?,
            _ => writeln!(stdout, "{text}")?,
        }
        stdout.flush()
    }

    /// Writes an error: to standard error, and as a document to standard output where that is JSON.
    pub(crate) fn error(&self, error: &CliError) {
        complain(&error::text(error, self.colour));
        if self.format == OutputFormat::Json {
            // Nobody reads any more: the status still tells.
            let _ = self.report(&Report::new("", error::json(error)));
        }
    }

    /// Writes that one of several failed, such as a certificate.
    pub(crate) fn failed(&self, one: &dyn Display, error: &CliError) {
        complain(&format!("{one}: {}", error::text(error, self.colour)));
    }

    /// An error as it is printed, for a log.
    pub(crate) fn error_text(&self, error: &CliError) -> String {
        error::text(error, self.colour).trim_end().to_owned()
    }

    /// An error as the document that [`Self::error`] writes.
    pub(crate) fn error_document(&self, error: &CliError) -> Value {
        error::json(error)
    }

    /// A warning line as it is printed.
    pub(crate) fn warning(&self, message: &str, hint: Option<&str>) -> String {
        let label = error::label("warning", error::YELLOW, self.colour);
        match hint {
            Some(hint) => format!("{label}: {message} ({hint})"),
            None => format!("{label}: {message}"),
        }
    }
}

/// Nobody may be reading: that is no reason to panic.
fn complain(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
