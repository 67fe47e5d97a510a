//! Flags of `issue`.

use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;
use serde::Serialize;

use crate::args::ProbeArgs;
use crate::args::ProviderArgs;
use crate::args::SpecArgs;
use crate::env_vars;

/// What to issue, from whom, and through which DNS provider.
///
/// What stands here without `skip` is written down with the certificate, so that `renew` can ask in the same way: a secret is skipped,
/// and so is what is meant for one run.
#[derive(Clone, Debug, Default, Args, Deserialize, Serialize)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct IssueArgs {
    /// The names of one certificate, or certificates of the configuration [default: all of those]
    #[arg(value_name = "NAME")]
    #[serde(skip)]
    pub(crate) names: Vec<String>,

    /// A name of the certificate (repeatable, or separated by commas)
    #[arg(short, long = "domain", value_name = "NAME", value_delimiter = ',')]
    #[serde(skip)]
    pub(crate) domains: Vec<String>,

    /// What to call the certificate [default: its first name]
    #[arg(long, value_name = "CERT")]
    #[serde(skip)]
    pub(crate) name: Option<String>,

    /// The type of its key: ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072 or rsa-4096 [default: ecdsa-p256]
    #[arg(long, value_name = "TYPE", env = env_vars::KEY_TYPE, hide_env_values = true)]
    pub(crate) key_type: Option<String>,

    /// The CA's profile, such as `shortlived` at Let's Encrypt
    #[arg(long, value_name = "PROFILE", env = env_vars::PROFILE, hide_env_values = true)]
    pub(crate) profile: Option<String>,

    /// Renew when less is left than this share of the lifetime or this time, such as 1/3 or 30d; the CA may still want it earlier
    #[arg(long, value_name = "SHARE|TIME", env = env_vars::RENEW_BEFORE, hide_env_values = true)]
    pub(crate) renew_before: Option<String>,

    /// Say what would be ordered, where and by whom, and stop
    #[arg(long)]
    #[serde(skip)]
    pub(crate) plan: bool,

    /// Go through all of it at the CA's staging directory, and leave nothing behind
    #[arg(long, conflicts_with = "plan")]
    #[serde(skip)]
    pub(crate) dry_run: bool,

    /// In a dry run, run hooks and deploy commands too, with the certificates that are in force and DNSEAL_DRY_RUN=1
    #[arg(long, requires = "dry_run")]
    #[serde(skip)]
    pub(crate) run_hooks: bool,

    /// Issue even if a fresh certificate is there
    #[arg(long)]
    #[serde(skip)]
    pub(crate) force: bool,

    /// Give the certificate other names than it has in the store
    #[arg(long)]
    #[serde(skip)]
    pub(crate) replace_names: bool,

    #[command(flatten)]
    #[serde(skip)]
    pub(crate) at_once: AtOnceArgs,

    #[command(flatten)]
    pub(crate) spec: SpecArgs,
    #[command(flatten)]
    pub(crate) ca: CaArgs,
    #[command(flatten)]
    pub(crate) provider: ProviderArgs,
    #[command(flatten)]
    pub(crate) probe: ProbeArgs,
}

/// How many at once.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct AtOnceArgs {
    /// How many certificates to order at once [default: 8]
    #[arg(
        long, value_name = "N", env = env_vars::CONCURRENCY, hide_env_values = true,
        value_parser = at_least_one
    )]
    concurrency: Option<usize>,
}

impl AtOnceArgs {
    pub(crate) fn concurrency(self) -> usize {
        self.concurrency.filter(|n| *n > 0).unwrap_or(CONCURRENCY)
    }
}

/// An empty variable is none, which is what zero stands for.
fn at_least_one(text: &str) -> Result<usize, String> {
    match (text, text.parse()) {
        ("", _) => Ok(0),
        (_, Ok(n @ 1..=1000)) => Ok(n),
        _ => Err("a number from 1 to 1000 is wanted".to_owned()),
    }
}

/// Which CA, and as whom.
#[derive(Clone, Debug, Default, Args, Deserialize, Serialize)]
#[serde(default, rename_all = "kebab-case")]
#[command(next_help_heading = "CA")]
pub(crate) struct CaArgs {
    /// A CA by name (letsencrypt, letsencrypt-staging, zerossl, google, google-staging, sslcom, actalis) or the URL of its directory; of several, separated by commas, the next is asked where one cannot issue [default: letsencrypt]
    #[arg(long, value_name = "NAME|URL", env = env_vars::CA, hide_env_values = true)]
    pub(crate) ca: Option<String>,

    /// Trust the CA's HTTPS through this PEM file too (repeatable); a root of the configuration goes only with the `ca` there
    #[arg(long, value_name = "FILE", env = env_vars::CA_ROOT, hide_env_values = true)]
    pub(crate) ca_root: Vec<PathBuf>,

    /// The account there, as `dnseal account list` names it [default: the one called after the CA]
    #[arg(long, value_name = "ACCOUNT", env = env_vars::ACCOUNT, hide_env_values = true)]
    pub(crate) account: Option<String>,

    /// Where a dry run goes instead, for a CA whose staging directory dnseal does not know
    #[arg(long, value_name = "NAME|URL", env = env_vars::STAGING, hide_env_values = true)]
    pub(crate) staging: Option<String>,

    /// Agree to the CA's terms of service
    #[arg(
        long, env = env_vars::AGREE_TOS, hide_env_values = true,
        value_parser = yes_or_no
    )]
    pub(crate) agree_tos: bool,

    /// Where the CA may write to (repeatable, or separated by commas)
    #[arg(
        long, value_name = "ADDRESS", value_delimiter = ',',
        env = env_vars::EMAIL, hide_env_values = true
    )]
    pub(crate) email: Vec<String>,

    /// When CAA records stop an order: `enforce` also where they cannot be read or only servers given by hand were looked at, `warn` never, `off` does not look [default: where they certainly forbid it]
    #[arg(long, value_name = "WHEN", env = env_vars::CAA, hide_env_values = true)]
    pub(crate) caa: Option<String>,

    /// External account: the key identifier (also ACME_EAB_KID, DNSEAL_EAB_KID)
    #[arg(long, value_name = "KID", allow_hyphen_values = true)]
    pub(crate) eab_kid: Option<String>,

    /// External account: a file that holds the HMAC key in base64url (also DNSEAL_EAB_HMAC_KEY_FILE)
    #[arg(long, value_name = "FILE", conflicts_with = "eab_hmac_key")]
    pub(crate) eab_hmac_key_file: Option<PathBuf>,

    /// External account: the HMAC key itself (also ACME_EAB_HMAC_KEY, DNSEAL_EAB_HMAC_KEY); others see a flag in the process list
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    #[serde(skip)]
    pub(crate) eab_hmac_key: Option<String>,
}

/// Consent is what says yes, and nothing else; an empty variable is none.
fn yes_or_no(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "on" | "true" | "y" | "yes" => Ok(true),
        "" | "0" | "false" | "n" | "no" | "off" => Ok(false),
        _ => Err("yes or no is wanted".to_owned()),
    }
}

/// Orders at once, where nobody says otherwise: enough to hide what each waits for, and few for a CA's rate limits.
const CONCURRENCY: usize = 8;
