//! What may stand on the command line, as it is typed.
//!
//! A flag, its variable, its help, its completion and its man page come from one definition here. Nothing is checked here
//! that needs more than the word itself; [`crate::settings`] brings flags, variables and configuration together and makes
//! checked values of them.

mod account;
mod dns;
mod doctor;
mod global;
mod hints;
mod issue;
mod provider;
mod renew;
mod revoke;
mod run;
mod spec;
mod store;

use std::path::PathBuf;

use clap::Parser;
use clap::Subcommand;
use clap_complete::Shell;

use crate::config::DurationText;
use crate::env_vars;

pub(crate) use account::AccountCommand;
pub(crate) use account::ExportArgs;
pub(crate) use account::ImportArgs;
pub(crate) use account::KeyForm;
pub(crate) use account::ReachArgs;
pub(crate) use account::SelectArgs;
pub(crate) use account::UpdateArgs;
pub(crate) use dns::CheckArgs;
pub(crate) use dns::DelegateArgs;
pub(crate) use dns::DnsCommand;
pub(crate) use dns::GcArgs;
pub(crate) use dns::OwnerArgs;
pub(crate) use dns::ValueArgs;
pub(crate) use dns::ZoneArgs;
pub(crate) use doctor::DoctorArgs;
pub(crate) use global::GlobalArgs;
pub(crate) use global::OutputFormat;
pub(crate) use hints::with_hints;
pub(crate) use hints::with_usage;
pub(crate) use issue::AtOnceArgs;
pub(crate) use issue::CaArgs;
pub(crate) use issue::IssueArgs;
pub(crate) use provider::ProbeArgs;
pub(crate) use provider::ProviderArgs;
pub(crate) use provider::ProviderCommand;
pub(crate) use provider::TestArgs;
pub(crate) use provider::TrustArgs;
pub(crate) use renew::RenewArgs;
pub(crate) use revoke::RevokeArgs;
pub(crate) use run::LogFormat;
pub(crate) use run::RunArgs;
pub(crate) use spec::SpecArgs;
pub(crate) use store::RekeyArgs;
pub(crate) use store::StoreCommand;
pub(crate) use store::YesArgs;

/// Publicly trusted certificates by the DNS-01 challenge.
#[derive(Debug, Parser)]
#[command(
    name = "dnseal",
    version,
    max_term_width = 100,
    after_help = "Example:\n  dnseal issue example.com '*.example.com' --provider rfc2136 --set server=ns1.example.com\n\n\
                  `dnseal demo` needs neither a network nor a configuration."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Issue a wildcard and its base domain from a CA and a zone in this process
    #[command(
        after_help = "Example:\n  dnseal demo\n\nNothing leaves this machine, and nobody trusts the certificates."
    )]
    Demo(DemoArgs),
    /// Issue a certificate, or keep the fresh one that is there
    #[command(after_help = ISSUE_EXAMPLES)]
    Issue(Box<IssueArgs>),
    /// Renew the certificates that are due
    #[command(after_help = RENEW_EXAMPLES)]
    Renew(RenewArgs),
    /// Bring certificates to where they are needed on this machine
    #[command(after_help = DEPLOY_EXAMPLES)]
    Deploy(DeployArgs),
    /// List the certificates in the store
    #[command(after_help = "Example:\n  dnseal list --output json")]
    List,
    /// Show one certificate of the store
    #[command(after_help = "Example:\n  dnseal show example.com")]
    Show(NamedArgs),
    /// Remove a certificate from the store and from `live/`
    #[command(
        after_help = "Example:\n  dnseal delete example.com\n\nOn a terminal it asks first. Values that its runs left in DNS are withdrawn first. The certificate is not revoked."
    )]
    Delete(Box<DeleteArgs>),
    /// Revoke a certificate, by its name or from a file
    #[command(after_help = revoke::EXAMPLES)]
    Revoke(Box<RevokeArgs>),
    /// Accounts at CAs: make, show, change, end, and take them over
    Account(AccountArgs),
    /// The zone side alone: write, remove, list and check values
    Dns(Box<DnsArgs>),
    /// Say what would fail, before anything is ordered
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(Box<DoctorArgs>),
    /// The DNS providers there are, and what each needs
    Provider(ProviderCommandArgs),
    /// Whom notices go to
    Notify(NotifyArgs),
    /// Say everything that a support ticket needs, without secrets
    #[command(
        after_help = "Example:\n  dnseal report > report.txt\n\nNothing is asked of any server, and nothing is changed. Read it before you send it: it has names of hosts and files."
    )]
    Report,
    /// Stay in the foreground, and renew each certificate when it is due
    #[command(
        after_help = "Example:\n  dnseal run --metrics 127.0.0.1:9311\n\nSIGHUP reads the configuration again, SIGTERM ends it in order."
    )]
    Run(Box<RunArgs>),
    /// Encrypt the private parts of the store, and say how it is encrypted
    Store(StoreArgs),
    /// Run a CA and a name server on this machine until Ctrl-C
    #[command(
        after_help = "Example:\n  dnseal sandbox --zone example.test\n\nIt prints the addresses and keys to use. Nobody trusts its certificates."
    )]
    Sandbox(SandboxArgs),
    /// Print a completion script
    #[command(after_help = "Example:\n  dnseal completions bash > /etc/bash_completion.d/dnseal")]
    Completions(CompletionsArgs),
    /// Print the man page, or write all of them into a directory
    #[command(after_help = "Example:\n  dnseal man /usr/local/share/man/man1")]
    Man(ManArgs),
    /// Print the JSON Schema of the configuration file
    #[command(after_help = "Example:\n  dnseal schema > dnseal.schema.json")]
    Schema,
}

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// The domain to pretend to own
    #[arg(value_name = "DOMAIN", default_value = "example.test")]
    pub(crate) domain: String,
}

/// Arguments of commands about one certificate.
#[derive(Debug, clap::Args)]
pub(crate) struct NamedArgs {
    /// The name of the certificate, as `dnseal list` has it
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

/// Arguments of `delete`.
#[derive(Debug, clap::Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    pub(crate) named: NamedArgs,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    /// Trust the HTTPS of the CA that has an unfinished order through this PEM file too (repeatable)
    #[arg(long, value_name = "FILE", env = env_vars::CA_ROOT, hide_env_values = true)]
    pub(crate) ca_root: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) provider: ProviderArgs,
    #[command(flatten)]
    pub(crate) probe: ProbeArgs,
}

/// Arguments of `deploy`.
#[derive(Debug, clap::Args)]
pub(crate) struct DeployArgs {
    /// The certificates, as `dnseal list` has them [default: all]
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Deploy again what is deployed already
    #[arg(long)]
    pub(crate) force: bool,
}

/// Arguments of `dns`.
#[derive(Debug, clap::Args)]
pub(crate) struct DnsArgs {
    #[command(subcommand)]
    pub(crate) command: DnsCommand,
}

/// Arguments of `account`.
#[derive(Debug, clap::Args)]
pub(crate) struct AccountArgs {
    #[command(subcommand)]
    pub(crate) command: AccountCommand,
}

/// Arguments of `provider`.
#[derive(Debug, clap::Args)]
pub(crate) struct ProviderCommandArgs {
    #[command(subcommand)]
    pub(crate) command: ProviderCommand,
}

/// Arguments of `store`.
#[derive(Debug, clap::Args)]
pub(crate) struct StoreArgs {
    #[command(subcommand)]
    pub(crate) command: StoreCommand,
}

/// Arguments of `notify`.
#[derive(Debug, clap::Args)]
pub(crate) struct NotifyArgs {
    #[command(subcommand)]
    pub(crate) command: NotifyCommand,
}

/// What to do about notices.
#[derive(Debug, Subcommand)]
pub(crate) enum NotifyCommand {
    /// Send a test notice to everybody under `notify` in the configuration
    #[command(after_help = "Example:\n  dnseal notify test")]
    Test,
}

/// Arguments of `sandbox`.
#[derive(Debug, clap::Args)]
pub(crate) struct SandboxArgs {
    /// A zone to serve (repeatable)
    #[arg(long = "zone", value_name = "DOMAIN", default_value = "example.test")]
    pub(crate) zones: Vec<String>,
    /// Where the CA listens
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    pub(crate) ca_listen: std::net::SocketAddr,
    /// Where the name server listens, over UDP and TCP
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    pub(crate) dns_listen: std::net::SocketAddr,
    /// How long certificates live, such as `60s` or `144h` [default: 90 days]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) lifetime: Option<std::time::Duration>,
}

/// `60s`, `1h 30m`, or a number of seconds.
fn duration(text: &str) -> Result<std::time::Duration, String> {
    text.parse().map(|DurationText(duration)| duration)
}

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// For which shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Where to write one page for each command
    #[arg(value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

const DOCTOR_EXAMPLES: &str = "\
Examples:
  dnseal doctor example.com '*.example.com' --provider rfc2136
  dnseal doctor --output json         every certificate of the configuration

Nothing is ordered. A probe value below the challenge name is written, looked for at every name server, and removed; `--read-only`
leaves that out. The exit status is the one that `dnseal issue` would end with.";

const DEPLOY_EXAMPLES: &str = "\
Examples:
  dnseal deploy
  dnseal deploy example.com --force

What `deploy:` and `hooks:` in the configuration say is done after every `issue` and `renew` by itself. This does it
without ordering anything. A target that failed is tried again by every run.";

const ISSUE_EXAMPLES: &str = "\
Examples:
  dnseal issue example.com '*.example.com' --provider rfc2136 --agree-tos --email ops@example.com
  dnseal issue -d example.com,www.example.com --name shop --plan
  dnseal issue                        every certificate of the configuration

Certificates go to DIR/store, and DIR/live/NAME/{privkey,cert,chain,fullchain}.pem is the newest one.";

const RENEW_EXAMPLES: &str = "\
Examples:
  dnseal renew                        for cron or a timer: what is due, in silence where nothing is
  dnseal renew -v                     says of each when it is due, and why then
  dnseal renew --force example.com

The CA is asked when to renew (ARI), as often as it wants to be; without its word a certificate is due when less than 30 days or a \
third of its lifetime is left. Every certificate is asked for as `issue` was told, or as the configuration has it now; secrets are \
read again.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn values_may_begin_with_a_dash() {
        let cli = Cli::try_parse_from([
            "dnseal",
            "dns",
            "set",
            "_acme-challenge.example.com",
            "-abc_def",
        ])
        .unwrap();
        let Command::Dns(dns) = cli.command else {
            panic!("{cli:?}")
        };
        let DnsCommand::Set(set) = dns.command else {
            panic!("{dns:?}")
        };
        assert_eq!(set.value, "-abc_def");

        for form in [&["--eab-hmac-key", "-_k"][..], &["--eab-hmac-key=-_k"]] {
            let words = ["dnseal", "issue", "example.com"].iter().chain(form);
            let cli = Cli::try_parse_from(words).unwrap();
            let Command::Issue(issue) = cli.command else {
                panic!("{cli:?}")
            };
            assert_eq!(issue.ca.eab_hmac_key.as_deref(), Some("-_k"));
        }
    }

    #[test]
    fn names_come_by_position_by_flag_and_by_comma() {
        let cli = Cli::try_parse_from([
            "dnseal",
            "issue",
            "a.test",
            "-d",
            "b.test,c.test",
            "-d",
            "*.d.test",
        ])
        .unwrap();
        let Command::Issue(issue) = cli.command else {
            panic!("{cli:?}")
        };
        assert_eq!(issue.names, ["a.test"]);
        assert_eq!(issue.domains, ["b.test", "c.test", "*.d.test"]);
    }

    #[test]
    fn global_flags_stand_anywhere() {
        for words in [
            ["dnseal", "--output", "json", "list"],
            ["dnseal", "list", "--output", "json"],
        ] {
            let cli = Cli::try_parse_from(words).unwrap();
            assert_eq!(cli.global.output, OutputFormat::Json);
        }
    }
}
