//! Flags about the DNS side: which provider, and how to see that a value is served.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use clap::Subcommand;
use serde::Deserialize;
use serde::Serialize;

use crate::config::Config;
use crate::env_vars;

/// Which provider writes, without or over a configuration file.
#[derive(Clone, Debug, Default, Args, Deserialize, Serialize)]
#[serde(default, rename_all = "kebab-case")]
#[command(next_help_heading = "DNS provider")]
pub(crate) struct ProviderArgs {
    /// The provider of every zone: a name from the configuration, or a kind from `dnseal provider list`
    #[arg(long, value_name = "KIND", env = env_vars::PROVIDER, hide_env_values = true)]
    pub(crate) provider: Option<String>,

    /// A setting of that provider (repeatable; DNSEAL_SET has one a line); secrets are better off in the environment or a file
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,

    /// Files that hold settings which are secrets, by the setting's key; written down where a certificate is renewed from.
    #[arg(skip)]
    pub(crate) secret_files: BTreeMap<String, PathBuf>,

    /// Settings that were given and may be secrets, and that no variable gives; written down by name where a certificate is renewed from.
    #[arg(skip)]
    pub(crate) withheld: BTreeSet<String>,

    /// Write values to TARGET, to which a CNAME leads from the challenge name; of all names, or of NAME and what is below it (repeatable)
    #[arg(
        long, value_name = "[NAME=]TARGET", value_delimiter = ',',
        env = env_vars::CHALLENGE_ALIAS, hide_env_values = true
    )]
    pub(crate) challenge_alias: Vec<String>,

    /// Whether a CNAME at the challenge name says where values go: follow or none [default: follow]
    #[arg(long, value_name = "HOW", env = env_vars::DELEGATION, hide_env_values = true)]
    pub(crate) delegation: Option<String>,
}

/// How to see that a value is served.
#[derive(Clone, Debug, Default, Args, Deserialize, Serialize)]
#[serde(default, rename_all = "kebab-case")]
#[command(next_help_heading = "Propagation")]
pub(crate) struct ProbeArgs {
    /// Look at these servers instead of finding the zone's own (repeatable)
    #[arg(
        long, value_name = "IP[:PORT]", value_delimiter = ',',
        env = env_vars::NAMESERVER, hide_env_values = true
    )]
    pub(crate) nameserver: Vec<String>,

    /// Ask these where to begin instead of the system's resolvers (repeatable)
    #[arg(
        long, value_name = "IP[:PORT]", value_delimiter = ',',
        env = env_vars::RESOLVER, hide_env_values = true
    )]
    pub(crate) resolver: Vec<String>,

    /// What is evidence: `authoritative` servers, the `provider`'s word, resolvers over `doh`, or a `wait`; `auto` takes the best that can be had [default: auto]
    #[arg(long, value_name = "MODE", env = env_vars::PROPAGATION, hide_env_values = true)]
    pub(crate) propagation: Option<String>,

    /// Ask this resolver over HTTPS, or over TLS with tls://IP#NAME, where port 53 is closed (repeatable; `none` for none) [default: three public ones]
    #[arg(
        long, value_name = "URL", value_delimiter = ',',
        env = env_vars::DOH, hide_env_values = true
    )]
    pub(crate) doh: Vec<String>,

    /// How long to wait where nobody can be asked, such as 2m [default: 60s]
    #[arg(
        long, value_name = "DURATION", env = env_vars::FALLBACK_WAIT, hide_env_values = true
    )]
    pub(crate) fallback_wait: Option<String>,

    /// How long to wait for a value, such as 5m [default: 5m]
    #[arg(
        long, value_name = "DURATION", env = env_vars::PROPAGATION_TIMEOUT, hide_env_values = true
    )]
    pub(crate) propagation_timeout: Option<String>,

    /// How many servers must have it: all, majority or any [default: all]
    #[arg(long, value_name = "QUORUM", env = env_vars::QUORUM, hide_env_values = true)]
    pub(crate) quorum: Option<String>,

    /// How long to wait once the evidence is there, such as 10s [default: 0s]
    #[arg(long, value_name = "DURATION", env = env_vars::SETTLE, hide_env_values = true)]
    pub(crate) settle: Option<String>,

    /// Which addresses of the servers to ask: both, ipv4 or ipv6 [default: both]
    #[arg(long, value_name = "FAMILY", env = env_vars::FAMILY, hide_env_values = true)]
    pub(crate) family: Option<String>,
}

/// Whom to trust, where no CA is asked.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct TrustArgs {
    /// Trust the HTTPS and TLS of providers and resolvers through this PEM file too (repeatable)
    #[arg(long, value_name = "FILE", env = env_vars::CA_ROOT, hide_env_values = true)]
    ca_root: Vec<PathBuf>,
}

impl TrustArgs {
    /// These files, and those of the configuration.
    pub(crate) fn roots(&self, config: &Config) -> Vec<PathBuf> {
        let given = self.ca_root.iter();
        let given = given.filter(|path| !path.as_os_str().is_empty());
        given.chain(config.roots()).cloned().collect()
    }
}

/// What to say about providers.
#[derive(Debug, Subcommand)]
pub(crate) enum ProviderCommand {
    /// List the kinds of providers
    #[command(
        after_help = "Examples:\n  dnseal provider list\n  dnseal provider list --acme.sh\n  dnseal provider list --acme.sh=/home/me/.acme.sh"
    )]
    List {
        /// List the DNS scripts of an acme.sh instead, which `kind: acme.sh` runs; in this directory, or where it usually is
        #[arg(long = "acme.sh", value_name = "HOME", num_args = 0..=1, require_equals = true, default_missing_value = "")]
        acme_sh: Option<String>,
    },
    /// Show what a kind of provider needs: settings, variables, permissions
    #[command(
        after_help = "Examples:\n  dnseal provider show rfc2136\n  dnseal provider show plugin --set command=/opt/dns/my-plugin"
    )]
    Show {
        /// The kind, as `dnseal provider list` has it, or the name of a configured provider
        #[arg(value_name = "KIND")]
        kind: String,
        /// A setting of the provider (repeatable): a plugin's `command` says which plugin
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
    /// Try a provider: every case of the contract that all providers keep, in a real zone
    #[command(
        after_help = "Examples:\n  dnseal provider test rfc2136 --zone test.example.com --set server=ns1.example.com\n  dnseal provider test corp --zone test.example.com --output json\n\n\
                      Values are written at names of its own below the zone, and one at the zone's apex; each is removed again, and no other value is touched."
    )]
    Test(Box<TestArgs>),
}

/// Arguments of `provider test`.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// A kind, as `dnseal provider list` has it, or the name of a configured provider
    #[arg(value_name = "KIND")]
    pub(crate) kind: String,
    /// A zone that the account holds
    #[arg(long, value_name = "ZONE")]
    pub(crate) zone: String,
    /// A setting of the provider (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// A zone that the account holds inside of ZONE, to see that the deepest wins
    #[arg(long, value_name = "ZONE")]
    pub(crate) deeper_zone: Option<String>,
    /// How long a change may take to be seen at the name servers, such as 2m
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    pub(crate) patience: String,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    #[command(flatten)]
    pub(crate) probe: ProbeArgs,
}
