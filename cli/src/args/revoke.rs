//! Flags of `revoke`.

use std::path::PathBuf;

use clap::Args;

use crate::args::ProbeArgs;
use crate::args::ProviderArgs;
use crate::args::ReachArgs;
use crate::env_vars;

/// What to revoke, why, and who signs.
#[derive(Clone, Debug, Args)]
pub(crate) struct RevokeArgs {
    /// The name of the certificate, as `dnseal list` has it
    #[arg(value_name = "NAME", conflicts_with = "cert_path")]
    pub(crate) name: Option<String>,

    /// A file with the certificate instead, PEM or DER; the first one in it counts
    #[arg(long, value_name = "FILE")]
    pub(crate) cert_path: Option<PathBuf>,

    /// The private key of the certificate, which signs then; no account is needed
    #[arg(long, value_name = "FILE")]
    pub(crate) key_path: Option<PathBuf>,

    /// Why: unspecified, key-compromise, affiliation-changed, superseded or cessation-of-operation
    #[arg(long, value_name = "REASON", default_value = "unspecified")]
    pub(crate) reason: String,

    /// This version of the certificate instead of the one in force
    #[arg(long, value_name = "NUMBER", conflicts_with = "cert_path")]
    pub(crate) cert_version: Option<u32>,

    /// The account that signs, instead of the one that the certificate was ordered with
    #[arg(long, value_name = "ACCOUNT", env = env_vars::ACCOUNT, hide_env_values = true)]
    pub(crate) account: Option<String>,

    /// Remove the certificate from the store and from `live/` afterwards; on a terminal this is asked for
    #[arg(long)]
    pub(crate) delete: bool,

    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,

    #[command(flatten)]
    pub(crate) reach: ReachArgs,
    #[command(flatten)]
    pub(crate) provider: ProviderArgs,
    #[command(flatten)]
    pub(crate) probe: ProbeArgs,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  dnseal revoke example.com --reason superseded
  dnseal revoke example.com --reason key-compromise --delete
  dnseal revoke --cert-path cert.pem --key-path privkey.pem --ca letsencrypt

A certificate of the store is revoked at its own CA by the account it was ordered with, and by its own key where that
account is gone. One that is revoked already is success. It is not renewed until `dnseal issue` asks for it.";
