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
    #[arg(
        long, value_name = "IP:PORT", value_parser = listen_address,
        env = env_vars::METRICS, hide_env_values = true
    )]
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

/// An address with a port, and an example for who has given less.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let port = text.trim_start_matches(':');
        match port.parse::<u16>() {
            Ok(port) => format!("an address is missing: write 127.0.0.1:{port}"),
            Err(_) => "it is no address with a port, such as 127.0.0.1:9311".to_owned(),
        }
    })
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
