//! `dnseal provider test KIND --zone ZONE`: the conformance suite against a real service.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use dnseal_core::dns::Asker;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::PlaceError;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::RecordType;
use dnseal_core::dns::TxtValue;
use dnseal_core::dns::ZoneServers;
use dnseal_providers::Integration;
use dnseal_providers::any_plugin;
use dnseal_providers::conformance;
use dnseal_providers::conformance::CaseResult;
use dnseal_providers::conformance::Outcome;
use serde_json::Value;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::args::TestArgs;
use crate::commands::App;
use crate::commands::work::Work;
use crate::config::DurationText;
use crate::error::CliError;
use crate::exit_code::ExitCode;
use crate::render::Report;
use crate::render::duration;
use crate::settings;
use crate::settings::Tested;

pub(crate) async fn run(app: &App, args: &TestArgs) -> Result<Report, CliError> {
    let zone: DomainName = args.zone.parse()?;
    let deeper_zone: Option<DomainName> = match &args.deeper_zone {
        Some(text) => Some(text.parse()?),
        None => None,
    };
    let patience: DurationText = args.patience.parse().map_err(|problem: String| {
        CliError::usage(format!("`--patience`: {problem}"), "write for example 2m")
    })?;
    let work = Work::begin(app)?;
    let mut warnings = Vec::new();
    let probing = settings::probing(&args.probe, &app.config)?;
    let roots = args.trust.roots(&app.config);
    probing.trust(&roots);
    let context = work.context(&roots)?;
    let tested = settings::one_provider(
        &args.kind,
        &args.set,
        &app.config,
        &context.with_onlooker(work.onlooker(&probing)),
        &mut warnings,
    )?;
    for (message, hint) in warnings {
        work.events.warn(message, Some(hint));
    }
    if tested.provider.capabilities().by_person.is_some() {
        return Err(CliError::usage(
            format!("a person serves `{}`, and is not tested", args.kind),
            "`dnseal dns check` looks for what was set",
        ));
    }
    let (asker, discovery, _) = work.look(&probing);
    let below = zone.child("_acme-challenge")?;
    let interrupted = || CliError::Interrupted(work.interrupted().unwrap_or(ExitCode::INTERRUPTED));
    // A service with a name for each domain is tried at that of this one.
    let only = tokio::select! {
        only = tested.provider.alias_for(&below, &below) => only,
        () = work.cancel().cancelled() => return Err(interrupted()),
    };
    let only = only.map_err(|source| CliError::Provider {
        action: "find a name for",
        owner: below.clone(),
        source,
    })?;
    let owner = only.as_ref().unwrap_or(&below);
    let zone_of = tokio::select! {
        zone = tested.provider.zone_of(owner) => zone,
        () = work.cancel().cancelled() => return Err(interrupted()),
    };
    let held = match zone_of {
        // Every case would fail for it.
        Err(source) if is_final(&source) => {
            return Err(CliError::Provider {
                action: "find the zone of",
                owner: owner.clone(),
                source,
            });
        }
        Err(_) => None,
        Ok(held) => Some(held.name),
    };
    // Everything is written beside that name, and nothing where an alias there may lead to.
    let found = tokio::select! {
        found = discovery.locate_here(owner) => found?,
        () = work.cancel().cancelled() => return Err(interrupted()),
    };
    if let Some(held) = held.filter(|held| *held != found.zone.zone) {
        return Err(CliError::Place {
            owner: owner.clone(),
            source: PlaceError::ZoneMismatch {
                endpoint: tested.provider.endpoint(),
                held,
                owner: owner.clone(),
                served: found.zone.zone.clone(),
            },
        });
    }
    let written = match only {
        Some(_) => found.zone.zone.clone(),
        None => zone.clone(),
    };
    let servers = Arc::new(found.zone);
    if servers
        .servers
        .iter()
        .all(|server| server.addresses.is_empty())
    {
        return Err(CliError::usage(
            format!(
                "no name server of {} can be asked from here, and a test has to see what they serve",
                servers.zone
            ),
            "name one that can be reached with `--nameserver`; resolvers remember what was there before, and do not do",
        ));
    }
    let read = move |owner: DomainName| -> conformance::Reading {
        let (asker, servers) = (asker.clone(), servers.clone());
        Box::pin(async move { agreed(&asker, &servers, &owner, patience.0).await })
    };
    let options = conformance::Options {
        base: zone.clone(),
        deeper_zone,
        foreign: FOREIGN.parse()?,
        impostor: tested.impostor.as_deref(),
        patience: patience.0,
        read: &read,
        zone: Some(written),
    };
    let peculiar = conformance::Peculiar {
        challenges_only: matches!(tested.kind.integration, Integration::Hosted),
        only: only.as_ref(),
        silent: tested.silent.as_ref().map(|(provider, _)| &**provider),
        stop: Some(work.cancel()),
        ..conformance::Peculiar::default()
    };
    let results = conformance::run_with(&*tested.provider, &options, &peculiar, |result| {
        if !app.printer.quiet {
            work.progress.say(&line(result));
        }
        ControlFlow::Continue(())
    })
    .await;
    let interrupted = work.interrupted();
    work.finish().await;
    Ok(report(&zone, &args.kind, &tested, &results, interrupted))
}

/// The values that every server has; waits until they agree.
async fn agreed(
    asker: &Asker,
    servers: &ZoneServers,
    owner: &DomainName,
    patience: Duration,
) -> Result<Vec<TxtValue>, String> {
    let began = Instant::now();
    let mut pause = Duration::from_millis(100);
    loop {
        let mut asked = JoinSet::new();
        for &address in servers.servers.iter().flat_map(|s| &s.addresses) {
            let (asker, owner) = (asker.clone(), owner.clone());
            asked.spawn(async move {
                let reply = asker.ask(address, &owner, RecordType::TXT).await;
                let reply = reply.map_err(|error| format!("{address}: {error}"))?;
                if !reply.is_conclusive() || !reply.authoritative {
                    return Err(format!("{address} answered {}", reply.rcode_name()));
                }
                Ok((address, reply.txt_values(&owner)))
            });
        }
        let mut answers: BTreeMap<SocketAddr, BTreeSet<TxtValue>> = BTreeMap::new();
        let mut problem = None;
        for answer in asked.join_all().await {
            match answer {
                // Servers turn the order of an RRset round.
                Ok((address, values)) => {
                    answers.insert(address, values.into_iter().collect());
                }
                Err(what) => problem = Some(what),
            }
        }
        let problem = problem.or_else(|| disagreement(&answers));
        let Some(problem) = problem else {
            let values = answers.into_values().next().unwrap_or_default();
            return Ok(values.into_iter().collect());
        };
        if began.elapsed() >= patience {
            return Err(problem);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

/// Which server has which value that another lacks.
fn disagreement(answers: &BTreeMap<SocketAddr, BTreeSet<TxtValue>>) -> Option<String> {
    let all: BTreeSet<&TxtValue> = answers.values().flatten().collect();
    all.into_iter().find_map(|value| {
        let (having, lacking): (Vec<_>, Vec<_>) = answers
            .iter()
            .partition(|(_, values)| values.contains(value));
        let ((has, _), (lacks, _)) = (having.first()?, lacking.first()?);
        Some(format!("{lacks} lacks {value}, which {has} has"))
    })
}

fn line(result: &CaseResult) -> String {
    let (word, reason) = words(&result.outcome);
    let took = duration(result.took);
    match reason {
        Some(reason) => format!(
            "{word:<13}  {}  ({took})\n               {reason}",
            result.name
        ),
        None => format!("{word:<13}  {}  ({took})", result.name),
    }
}

fn words(outcome: &Outcome) -> (&'static str, Option<&str>) {
    match outcome {
        Outcome::Fail(reason) => ("fail", Some(reason)),
        Outcome::NotSupported(reason) => ("not supported", Some(reason)),
        Outcome::NotTried(reason) => ("not tried", Some(reason)),
        Outcome::Pass => ("pass", None),
    }
}

fn report(
    zone: &DomainName,
    named: &str,
    tested: &Tested,
    results: &[CaseResult],
    interrupted: Option<ExitCode>,
) -> Report {
    let count = |word: &str| {
        results
            .iter()
            .filter(|r| words(&r.outcome).0 == word)
            .count()
    };
    let (passed, failed, not_supported) = (count("pass"), count("fail"), count("not supported"));
    let not_tried = count("not tried");
    let endpoint = endpoint(tested);
    let complete = not_tried == 0 && results.len() == conformance::cases().count();
    let documents: Vec<Value> = results
        .iter()
        .map(|result| {
            let (word, reason) = words(&result.outcome);
            json!({
                "case": result.name,
                "outcome": word.replace(' ', "-"),
                "reason": reason,
                "left": result.left.iter().map(left_json).collect::<Vec<Value>>(),
                "elapsed_ms": u64::try_from(result.took.as_millis()).unwrap_or(u64::MAX),
            })
        })
        .collect();
    Report {
        text: format!(
            "{} in the zone {zone}, through {endpoint}: {passed} passed, {failed} failed, {not_supported} not supported{}\n{}{}",
            tested.kind.kind,
            match not_tried {
                0 => String::new(),
                count => format!(", {count} not tried"),
            },
            match passed {
                0 => "no case has passed, and nothing shows that it works\n",
                _ => "",
            },
            left_text(results, named, interrupted.is_some()),
        ),
        json: json!({
            "kind": tested.kind.kind,
            "endpoint": endpoint,
            "zone": zone,
            "results": documents,
            "passed": passed,
            "failed": failed,
            "not_supported": not_supported,
            "not_tried": not_tried,
            "complete": complete,
        }),
        exit: match (interrupted, failed) {
            (Some(code), _) if !complete => code,
            (_, 0) if passed > 0 => ExitCode::DONE,
            _ => ExitCode::PROVIDER,
        },
    }
}

/// Through what; a plugin that is given by its command has no name but that.
fn endpoint(tested: &Tested) -> String {
    match tested.kind.integration {
        Integration::Plugin(about) if tested.kind.kind == any_plugin().kind => {
            format!("the plugin {}", about.programs())
        }
        _ => tested.provider.endpoint(),
    }
}

/// Whether nothing that is tried now would go any better.
fn is_final(error: &ProviderError) -> bool {
    match error {
        ProviderError::RateLimited { .. } => true,
        ProviderError::Unsupported { .. } => false,
        error => !error.is_retryable(),
    }
}

fn left_json((owner, value): &(DomainName, TxtValue)) -> Value {
    json!({ "owner": owner, "value": value })
}

/// What the test has left for a person to remove.
fn left_text(results: &[CaseResult], named: &str, interrupted: bool) -> String {
    let left: Vec<_> = results.iter().flat_map(|result| &result.left).collect();
    if left.is_empty() {
        return String::new();
    }
    let are = match interrupted {
        true => "may still be there",
        false => "are still there",
    };
    let mut text = format!("\nvalues that the test has written and that {are}:\n");
    // All of them: their names are made up for each run, and nobody could find the others.
    for (owner, value) in left {
        text.push_str(&format!("  {owner} TXT {value}\n"));
    }
    text.push_str(&format!(
        "\n`dnseal dns unset OWNER VALUE --provider {named}`, with the same `--set`, removes one\n"
    ));
    text
}

/// A name that no account holds (RFC 2606 section 2).
const FOREIGN: &str = "_acme-challenge.dnseal-conformance.invalid";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_differ_by_their_values_and_not_by_their_order() {
        let seen = |of: [&[&str]; 2]| {
            let servers = ["192.0.2.1:53", "192.0.2.2:53"];
            let seen = servers.iter().zip(of).map(|(server, values)| {
                let values = values.iter().map(|value| value.parse().unwrap());
                (server.parse().unwrap(), values.collect())
            });
            disagreement(&seen.collect())
        };
        assert_eq!(seen([&["a", "b"], &["b", "a"]]), None);
        assert_eq!(seen([&[], &[]]), None);
        assert_eq!(
            seen([&["a"], &["b", "a"]]).unwrap(),
            "192.0.2.1:53 lacks b, which 192.0.2.2:53 has"
        );
    }

    #[test]
    fn all_that_is_left_is_listed() {
        let value = |n: u32| {
            let owner = format!("n{n}.example.test").parse().unwrap();
            (owner, format!("v{n}").parse().unwrap())
        };
        let result = CaseResult {
            name: "many-names-in-one-call",
            left: (0..250).map(value).collect(),
            outcome: Outcome::Pass,
            took: Duration::ZERO,
        };
        let text = left_text(&[result], "corp", false);
        assert_eq!(text.matches(" TXT ").count(), 250, "{text}");
        let removal = "`dnseal dns unset OWNER VALUE --provider corp`";
        assert!(text.contains(removal), "{text}");
    }
}
