//! Flags of `run`.

use std::net::SocketAddr;

use clap::Args;
use clap::ValueEnum;

use crate::args::AtOnceArgs;
use crate::args::CaArgs;
use crate::args::ProbeArgs;
use crate::args::ProviderArgs;
use crate::env_vars;

/// How to live in the foreground.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    /// Serve `/metrics` for Prometheus and `/healthz` there
    #[arg(long, value_name = "IP:PORT", env = env_vars::METRICS, hide_env_values = true)]
    pub(crate) metrics: Option<SocketAddr>,

    /// How lines on standard error are written
    #[arg(
        long, value_name = "FORMAT", value_enum, default_value_t,
        env = env_vars::LOG_FORMAT, hide_env_values = true
    )]
    pub(crate) log_format: LogFormat,

    #[command(flatten)]
    pub(crate) at_once: AtOnceArgs,
    #[command(flatten)]
    pub(crate) ca: CaArgs,
    #[command(flatten)]
    pub(crate) provider: ProviderArgs,
    #[command(flatten)]
    pub(crate) probe: ProbeArgs,
}

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum LogFormat {
    // An empty variable is no variable.
    #[default]
    #[value(alias = "")]
    Text,
    // One document a line.
    Json,
}
