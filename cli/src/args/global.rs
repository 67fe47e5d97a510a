//! Flags that every command has.

use std::path::PathBuf;

use clap::Args;
use clap::ValueEnum;
use clap::builder::OsStringValueParser;
use clap::builder::TypedValueParser;

use crate::env_vars;

/// Where things are, and how to talk.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct GlobalArgs {
    /// The configuration [default: /etc/dnseal/dnseal.yaml, else dnseal/dnseal.yaml in the XDG configuration directory]
    #[arg(long, value_name = "FILE", global = true, env = env_vars::CONFIG, hide_env_values = true, value_parser = path())]
    pub(crate) config: Option<PathBuf>,

    /// Where store and live files are [default: /var/lib/dnseal, else dnseal in the XDG state directory]
    #[arg(long, value_name = "DIR", global = true, env = env_vars::DIR, hide_env_values = true, value_parser = path())]
    pub(crate) dir: Option<PathBuf>,

    /// Where the store is [default: DIR/store]
    #[arg(long, value_name = "DIR", global = true, env = env_vars::STORE, hide_env_values = true, value_parser = path())]
    pub(crate) store: Option<PathBuf>,

    /// Where the newest files are [default: DIR/live]
    #[arg(long, value_name = "DIR", global = true, env = env_vars::LIVE, hide_env_values = true, value_parser = path())]
    pub(crate) live: Option<PathBuf>,

    /// How to print the result, errors too
    #[arg(
        long, value_name = "FORMAT", value_enum, default_value_t, global = true,
        env = env_vars::OUTPUT, hide_env_values = true
    )]
    pub(crate) output: OutputFormat,

    /// Append everything that happens, each CA request and DNS query included
    #[arg(long, value_name = "FILE", global = true, env = env_vars::LOG_FILE, hide_env_values = true, value_parser = path())]
    pub(crate) log_file: Option<PathBuf>,

    /// Say more on standard error; twice for every request and query
    #[arg(short, long, action = clap::ArgAction::Count, global = true, conflicts_with = "quiet")]
    pub(crate) verbose: u8,

    /// Say nothing on standard error but warnings and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum OutputFormat {
    // Comments for the reader of the code only: help on values makes all of the help three times as long.
    // An empty variable is no variable.
    #[default]
    #[value(alias = "")]
    Text,
    // One document, errors too.
    Json,
}

/// A path; an empty one is none, as an empty variable is no variable.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}
