//! Flags of `renew`.

use clap::Args;

use crate::args::issue::AtOnceArgs;
use crate::env_vars;

/// What to renew.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct RenewArgs {
    /// Certificates, as `dnseal list` has them [default: all of store and configuration]
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,

    /// Renew even what is not due, what has just failed, and what was revoked
    #[arg(long)]
    pub(crate) force: bool,

    /// Go through all of it at the CA's staging directory, also for what is not due, and leave nothing behind
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Where a dry run goes, for a CA whose staging directory dnseal does not know
    #[arg(long, value_name = "NAME|URL", env = env_vars::STAGING, hide_env_values = true)]
    pub(crate) staging: Option<String>,

    /// In a dry run, run hooks and deploy commands too, with the certificates that are in force and DNSEAL_DRY_RUN=1
    #[arg(long, requires = "dry_run")]
    pub(crate) run_hooks: bool,

    /// Wait for a random time of at most this first, such as 1h; for machines that all run at the same minute
    #[arg(long, value_name = "DURATION")]
    pub(crate) jitter: Option<String>,

    /// When CAA records stop an order, as for `issue` [default: as it was issued, or as the configuration says]
    #[arg(long, value_name = "WHEN", env = env_vars::CAA, hide_env_values = true)]
    pub(crate) caa: Option<String>,

    #[command(flatten)]
    pub(crate) at_once: AtOnceArgs,
}
