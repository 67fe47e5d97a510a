//! Flags of `dns`.

use clap::Args;
use clap::Subcommand;

use crate::args::ProbeArgs;
use crate::args::ProviderArgs;
use crate::args::TrustArgs;

/// What to do in DNS.
#[derive(Debug, Subcommand)]
pub(crate) enum DnsCommand {
    /// Add a value beside whatever is at the owner name
    #[command(
        after_help = "Example:\n  dnseal dns set _acme-challenge.example.com some-value --provider rfc2136"
    )]
    Set(ValueArgs),
    /// Remove a value and leave every other one
    #[command(
        after_help = "Example:\n  dnseal dns unset _acme-challenge.example.com some-value --provider rfc2136"
    )]
    Unset(ValueArgs),
    /// List the TXT values at an owner name, as the provider tells them
    #[command(
        after_help = "Example:\n  dnseal dns list _acme-challenge.example.com --provider rfc2136"
    )]
    List(OwnerArgs),
    /// Ask every authoritative server for the TXT values at an owner name
    #[command(
        after_help = "Examples:\n  dnseal dns check _acme-challenge.example.com\n  dnseal dns check _acme-challenge.example.com --value some-value --watch"
    )]
    Check(CheckArgs),
    /// Print the CNAME that delegates the challenges of a name, and check whether it is set
    #[command(
        after_help = "Examples:\n  dnseal dns delegate example.com example-com.acme.example.net\n  dnseal dns delegate example.com --provider acme-dns\n\nA wildcard and its base name have one challenge name."
    )]
    Delegate(DelegateArgs),
    /// Withdraw what killed runs left in DNS
    #[command(
        after_help = "Examples:\n  dnseal dns gc\n  dnseal dns gc example.com\n  dnseal dns gc --older-than 6h example.com\n\n\
        Without `--older-than`, the values that the store knows of are withdrawn. With it, those of them that are old enough, and \
        values that carry our mark (the comment `dnseal` at Cloudflare) in the zones of the named domains, which may be those of jobs \
        whose store is gone; give it more time than an order takes. Everything else at their challenge names is listed and stays. \
        An order that waits for a person who sets values is left alone, unless `--forget` gives it up."
    )]
    Gc(GcArgs),
}

/// A value at an owner name.
#[derive(Debug, Args)]
pub(crate) struct ValueArgs {
    /// The owner name; a CNAME there is followed
    #[arg(value_name = "OWNER")]
    pub(crate) owner: String,
    /// The TXT value
    #[arg(value_name = "VALUE", allow_hyphen_values = true)]
    pub(crate) value: String,
    #[command(flatten)]
    pub(crate) zone: ZoneArgs,
}

/// An owner name.
#[derive(Debug, Args)]
pub(crate) struct OwnerArgs {
    /// The owner name; a CNAME there is followed
    #[arg(value_name = "OWNER")]
    pub(crate) owner: String,
    #[command(flatten)]
    pub(crate) zone: ZoneArgs,
}

/// What to delegate, and where.
#[derive(Debug, Args)]
pub(crate) struct DelegateArgs {
    /// The name that certificates are for
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The name that the values go to, in a zone that a provider writes; acme-dns gives one by itself
    #[arg(value_name = "TARGET")]
    pub(crate) target: Option<String>,
    #[command(flatten)]
    pub(crate) zone: ZoneArgs,
}

/// What to do with what killed runs left.
#[derive(Clone, Debug, Args)]
pub(crate) struct GcArgs {
    /// Clean up after these certificates only: each by its name in the store, or by a domain name in it; with `--older-than` also any domain name, in whose zone is looked [default: all of the store and the configuration]
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Withdraw only what was written at least so long ago, such as 6h, and look in DNS for what no store knows of
    #[arg(long, value_name = "DURATION", value_parser = super::duration)]
    pub(crate) older_than: Option<std::time::Duration>,
    /// Remember values no more that cannot be withdrawn, because their server is gone for good; they are listed, to be removed by hand
    #[arg(long)]
    pub(crate) forget: bool,
    #[command(flatten)]
    pub(crate) zone: ZoneArgs,
}

/// Provider and propagation together.
#[derive(Clone, Debug, Args)]
pub(crate) struct ZoneArgs {
    #[command(flatten)]
    pub(crate) provider: ProviderArgs,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    #[command(flatten)]
    pub(crate) probe: ProbeArgs,
}

/// What to look for.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The owner name; a CNAME there is followed
    #[arg(value_name = "OWNER")]
    pub(crate) owner: String,
    /// The value that every server should have
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    pub(crate) value: Option<String>,
    /// Look again until every server has the value, or the time is over
    #[arg(long, requires = "value")]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    #[command(flatten)]
    pub(crate) probe: ProbeArgs,
}
