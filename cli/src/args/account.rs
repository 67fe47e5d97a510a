//! Flags of `account`.

use std::path::PathBuf;

use clap::Args;
use clap::Subcommand;
use clap::ValueEnum;

use crate::args::CaArgs;
use crate::env_vars;

/// What to do with accounts.
#[derive(Debug, Subcommand)]
pub(crate) enum AccountCommand {
    /// Make an account at a CA, or find the one that is there
    #[command(
        after_help = "Examples:\n  dnseal account register --ca letsencrypt --agree-tos\n  dnseal account register --ca zerossl --email ops@example.com --agree-tos\n  dnseal account register --account work --eab-kid KID --eab-hmac-key-file key.txt --ca google --agree-tos\n\nAn order makes the account that it needs by itself. `--account` makes another one beside it."
    )]
    Register(Box<CaArgs>),
    /// List the accounts in the store
    #[command(after_help = "Example:\n  dnseal account list --output json")]
    List,
    /// Show an account, as it is stored and as its CA has it
    #[command(after_help = "Example:\n  dnseal account show")]
    Show(SelectArgs),
    /// Give the CA other addresses to write to
    #[command(after_help = "Example:\n  dnseal account update --email ops@example.com")]
    Update(UpdateArgs),
    /// Give an account a new key
    #[command(
        after_help = "Example:\n  dnseal account rollover\n\nThe new key is stored before the CA hears of it, and the old one goes when a request with the new one\nhas worked. An interrupted rollover is finished by the next."
    )]
    Rollover(SelectArgs),
    /// End an account at its CA, for ever
    #[command(
        after_help = "Example:\n  dnseal account deactivate --yes work\n\nCertificates stay valid, and are revoked with their own keys then."
    )]
    Deactivate(DeactivateArgs),
    /// Take an account that was ended out of the store
    #[command(
        after_help = "Example:\n  dnseal account remove work\n\nOne that is open at its CA stays: `account deactivate` ends it first."
    )]
    Remove(SelectArgs),
    /// Write an account's private key, for another tool or a backup
    #[command(
        after_help = "Examples:\n  dnseal account export --out account.pem\n  dnseal account export --format jwk | other-tool"
    )]
    Export(ExportArgs),
    /// Take over an account from a key file, or from files of certbot or lego
    #[command(
        after_help = "Examples:\n  dnseal account import /etc/letsencrypt/accounts/acme-v02.api.letsencrypt.org/directory/0123…\n  dnseal account import ~/.lego/accounts/acme-v02.api.letsencrypt.org/ops@example.com --ca letsencrypt\n  dnseal account import account.pem --ca letsencrypt\n\nA key that is not ECDSA P-256 is replaced by a new one at the CA; the other tool cannot use the account any more then."
    )]
    Import(Box<ImportArgs>),
}

/// Which account.
#[derive(Clone, Debug, Args)]
pub(crate) struct SelectArgs {
    /// The account, as `dnseal account list` names it [default: that of `--ca`, else the only one]
    #[arg(value_name = "ACCOUNT", env = env_vars::ACCOUNT, hide_env_values = true)]
    pub(crate) account: Option<String>,

    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}

/// Which CA, and how to reach it.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ReachArgs {
    /// A CA by name or by the URL of its directory
    #[arg(long, value_name = "NAME|URL", env = env_vars::CA, hide_env_values = true)]
    pub(crate) ca: Option<String>,

    /// Trust the CA's HTTPS through this PEM file too (repeatable)
    #[arg(long, value_name = "FILE", env = env_vars::CA_ROOT, hide_env_values = true)]
    pub(crate) ca_root: Vec<PathBuf>,
}

/// Arguments of `account update`.
#[derive(Clone, Debug, Args)]
pub(crate) struct UpdateArgs {
    #[command(flatten)]
    pub(crate) select: SelectArgs,

    /// Where the CA may write to (repeatable, or separated by commas)
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub(crate) email: Vec<String>,

    /// Take all addresses away
    #[arg(long, conflicts_with = "email")]
    pub(crate) no_email: bool,
}

/// Arguments of `account deactivate`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DeactivateArgs {
    #[command(flatten)]
    pub(crate) select: SelectArgs,

    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

/// Arguments of `account export`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ExportArgs {
    /// The account, as `dnseal account list` names it [default: that of `--ca`, else the only one]
    #[arg(value_name = "ACCOUNT", env = env_vars::ACCOUNT, hide_env_values = true)]
    pub(crate) account: Option<String>,

    /// A CA by name or by the URL of its directory
    #[arg(long, value_name = "NAME|URL", env = env_vars::CA, hide_env_values = true)]
    pub(crate) ca: Option<String>,

    /// How to write the key
    #[arg(long, value_name = "FORM", value_enum, default_value_t)]
    pub(crate) format: KeyForm,

    /// A new file for it, for this user alone [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// How a private key is written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum KeyForm {
    // PEM of PKCS#8, which nearly everything reads.
    #[default]
    Pkcs8,
    // RFC 7517, as certbot keeps it.
    Jwk,
}

/// Arguments of `account import`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ImportArgs {
    /// A key file (PEM, JWK), certbot's account directory, or the directory or `account.json` of lego's account
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,

    /// What to call the account [default: called after the CA]
    #[arg(long, value_name = "ACCOUNT", env = env_vars::ACCOUNT, hide_env_values = true)]
    pub(crate) account: Option<String>,

    /// The key identifier of its external account, to be remembered
    #[arg(long, value_name = "KID", allow_hyphen_values = true)]
    pub(crate) eab_kid: Option<String>,

    #[command(flatten)]
    pub(crate) reach: ReachArgs,
}
