//! Flags of `doctor`.

use clap::Args;

use crate::args::CaArgs;
use crate::args::IssueArgs;
use crate::args::ProbeArgs;
use crate::args::ProviderArgs;
use crate::env_vars;

/// What to examine: as for `issue`, so that the same flags say the same.
#[derive(Clone, Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The names of a certificate, or certificates of the configuration [default: all of those]
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,

    /// Write no probe value into the zone
    #[arg(long)]
    pub(crate) read_only: bool,

    /// The CA's profile that would be asked for
    #[arg(long, value_name = "PROFILE", env = env_vars::PROFILE, hide_env_values = true)]
    pub(crate) profile: Option<String>,

    #[command(flatten)]
    pub(crate) ca: CaArgs,
    #[command(flatten)]
    pub(crate) provider: ProviderArgs,
    #[command(flatten)]
    pub(crate) probe: ProbeArgs,
}

impl DoctorArgs {
    /// What `issue` would be told.
    pub(crate) fn as_issue(&self) -> IssueArgs {
        IssueArgs {
            names: self.names.clone(),
            profile: self.profile.clone(),
            ca: self.ca.clone(),
            provider: self.provider.clone(),
            probe: self.probe.clone(),
            ..IssueArgs::default()
        }
    }
}
