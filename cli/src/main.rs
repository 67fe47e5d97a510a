//! The program `dnseal`: arguments and configuration in, one result on standard output, all else on standard error.
//!
//! This file is the frame: it parses, runs the command, renders what came of it, and ends with its status. What the
//! commands do is in [`commands`], what they may be told in [`args`], [`config`] and [`settings`].

mod args;
mod commands;
mod config;
mod env_vars;
mod error;
mod exit_code;
mod input;
mod metrics;
mod panics;
#[cfg(debug_assertions)]
mod pause;
mod render;
mod service;
mod settings;
mod signals;

use std::ffi::OsString;
use std::io;
use std::time::SystemTime;

use clap::Parser;
use clap::error::ErrorKind;

use crate::args::Cli;
use crate::args::OutputFormat;
use crate::error::CliError;
use crate::exit_code::ExitCode;
use crate::render::Printer;
use crate::render::Report;

fn main() -> std::process::ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let error = args::with_usage(args::with_hints(error), std::env::args_os());
            return usage(&error).into();
        }
    };
    let global = &cli.global;
    let printer = Printer::new(global.output, global.quiet, global.verbose);
    panics::tell(printer);
    trace();
    // Libraries underneath count seconds from there.
    if SystemTime::now() < SystemTime::UNIX_EPOCH {
        let error = CliError::Unexpected {
            message: "the clock of this machine is before the year 1970".to_owned(),
            hint: Some("set the clock, best by NTP".to_owned()),
        };
        return finish(printer, Err(error)).into();
    }
    let result = panics::caught(|| match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(commands::run(cli, printer)),
        Err(error) => Err(CliError::Unexpected {
            message: format!("cannot start: {error}"),
            hint: None,
        }),
    });
    match result {
        Some(result) => finish(printer, result),
        None => ExitCode::UNEXPECTED,
    }
    .into()
}

/// Writes the result, and says which status it deserves.
fn finish(printer: Printer, result: Result<Report, CliError>) -> ExitCode {
    let report = match result {
        Ok(report) => report,
        Err(error) => {
            printer.error(&error);
            return error.exit_code();
        }
    };
    match printer.report(&report) {
        // Nobody reads any more: what happened has happened all the same.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => report.exit,
        Ok(()) => report.exit,
        Err(error) => {
            printer.error(&CliError::Unexpected {
                message: format!("cannot write to standard output: {error}"),
                hint: None,
            });
            ExitCode::UNEXPECTED
        }
    }
}

/// Help goes to standard output; wrong arguments are an error as any other.
fn usage(error: &clap::Error) -> ExitCode {
    let is_help = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    );
    if is_help || !wants_json(std::env::args_os()) {
        // Nobody reads: then nobody misses it.
        let _ = error.print();
        return match is_help {
            true => ExitCode::DONE,
            false => ExitCode::USAGE,
        };
    }
    let text = error.render().to_string();
    let text = text.trim_start_matches("error: ");
    let (message, rest) = text.split_once("\n\n").unwrap_or((text, ""));
    let hints: Vec<&str> = rest
        .lines()
        .map(|line| line.trim().trim_start_matches("tip: "))
        .filter(|line| {
            !line.is_empty()
                && !line.starts_with("For more information")
                && !line.starts_with("Usage:")
        })
        .collect();
    let hint = match hints.is_empty() {
        true => "`--help` behind the command shows how it is used".to_owned(),
        false => hints.join("; "),
    };
    let error = CliError::Usage {
        message: message.trim_end().to_owned(),
        hint: Some(hint),
    };
    Printer::new(OutputFormat::Json, false, 0).error(&error);
    error.exit_code()
}

/// Whether arguments that could not be parsed asked for JSON.
fn wants_json(arguments: impl Iterator<Item = OsString>) -> bool {
    let words: Vec<OsString> = arguments.collect();
    words.iter().any(|word| word == "--output=json")
        || words
            .windows(2)
            .any(|pair| pair[0] == "--output" && pair[1] == "json")
        || env_vars::get(env_vars::OUTPUT).is_some_and(|format| format == "json")
}

/// Traces of the libraries underneath, for whoever sets the variable.
fn trace() {
    if let Some(filter) = env_vars::get(env_vars::LOG) {
        tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
            .with_writer(io::stderr)
            .init();
    }
}
