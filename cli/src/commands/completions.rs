//! `dnseal completions SHELL`.

use clap::Arg;
use clap::Command;
use clap::CommandFactory;
use clap::builder::PossibleValuesParser;
use clap_complete::Shell;
use dnseal_core::acme::KeyType;
use dnseal_core::acme::KnownCa;
use serde_json::json;

use crate::args::Cli;
use crate::render::Report;

pub(super) fn run(shell: Shell) -> Report {
    let mut script = Vec::new();
    let mut command = with_candidates(Cli::command());
    clap_complete::generate(shell, &mut command, "dnseal", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    let json = json!({ "shell": shell.to_string(), "script": script });
    Report::new(script, json)
}

/// The command line with what may stand behind each flag. Only shells are told: some flags take other words too, and what
/// does not fit is refused where the configuration is known.
fn with_candidates(command: Command) -> Command {
    command
        .mut_args(candidates)
        .mut_subcommands(with_candidates)
}

fn candidates(arg: Arg) -> Arg {
    let words: Vec<&'static str> = match arg.get_id().as_str() {
        "ca" => KnownCa::ALL.map(KnownCa::name).to_vec(),
        "family" => vec!["both", "ipv4", "ipv6"],
        "key_type" => KeyType::ALL.map(KeyType::as_str).to_vec(),
        "kind" | "provider" => dnseal_providers::kinds().iter().map(|k| k.kind).collect(),
        "propagation" => vec!["auto", "authoritative"],
        "quorum" => vec!["all", "majority", "any"],
        _ => return arg,
    };
    arg.value_parser(PossibleValuesParser::new(words))
}
