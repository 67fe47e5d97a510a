//! `dnseal dns check OWNER`: what every authoritative server says.

use dnseal_core::dns::AskError;
use dnseal_core::dns::Asker;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::Location;
use dnseal_core::dns::RecordType;
use dnseal_core::dns::Reply;
use dnseal_core::dns::Transport;
use dnseal_core::dns::TxtValue;
use dnseal_core::dns::Upstream;
use dnseal_core::dns::Wanted;
use dnseal_core::dns::Witness;
use serde_json::Value;
use serde_json::json;
use tokio::task::JoinSet;

use crate::args::CheckArgs;
use crate::commands::App;
use crate::commands::work::Work;
use crate::error::CliError;
use crate::exit_code::ExitCode;
use crate::render::Report;
use crate::render::Table;
use crate::settings;

pub(super) async fn run(app: &App, args: &CheckArgs) -> Result<Report, CliError> {
    let owner: DomainName = args.owner.parse()?;
    let value: Option<TxtValue> = match &args.value {
        Some(text) => Some(text.parse()?),
        None => None,
    };
    let work = match args.watch {
        true => Work::begin_watching(app)?,
        false => Work::begin(app)?,
    };
    let probing = settings::probing(&args.probe, &app.config)?;
    probing.trust(&args.trust.roots(&app.config));
    let (asker, discovery, propagation) = work.look(&probing);
    let cancel = work.cancel().clone();
    let looking = async {
        let location = discovery.locate(&owner).await?;
        let Some(value) = value else {
            let witnesses = propagation.witnesses(&location.owner, &location.zone);
            return Ok(all_values(&asker, &location, witnesses).await);
        };
        let wanted = vec![Wanted {
            zone: location.zone.clone(),
            owner: location.owner.clone(),
            values: vec![value],
        }];
        let report = match args.watch {
            true => propagation
                .await_visible(wanted, &cancel)
                .await
                .map_err(CliError::Watched)?,
            false => propagation.look(&wanted).await,
        };
        let verdict = match report.is_proven() {
            true => "an order would go on now",
            false => "an order would still wait",
        };
        Ok(Report {
            text: format!("{}\n\n{report}\n\n{verdict}\n", heading(&location)),
            json: json!({ "location": location, "report": report, "visible": report.is_proven() }),
            exit: match report.is_proven() {
                true => ExitCode::DONE,
                false => ExitCode::NOT_PROPAGATED,
            },
        })
    };
    let result: Result<Report, CliError> = tokio::select! {
        result = looking => result,
        () = cancel.cancelled() => Err(CliError::Interrupted(ExitCode::INTERRUPTED)),
    };
    let interrupted = work.interrupted();
    let stats = work.finish().await;
    let mut report = match (result, interrupted) {
        (Err(_), Some(code)) => return Err(CliError::Interrupted(code)),
        (result, _) => result?,
    };
    if let Some(json) = report.json.as_object_mut() {
        json.insert("stats".into(), stats.json());
    }
    Ok(report)
}

/// Whom to ask, and for what.
fn heading(location: &Location) -> String {
    match location.is_delegated() {
        true => format!(
            "{} is delegated to {}, in the zone {}",
            location.asked, location.owner, location.zone.zone
        ),
        false => format!("{} in the zone {}", location.owner, location.zone.zone),
    }
}

/// What one address says.
#[derive(Debug)]
struct Row {
    server: String,
    address: Option<String>,
    transport: Option<Transport>,
    serial: Option<u32>,
    values: Result<Vec<TxtValue>, String>,
}

/// Every TXT value at every address, or at every resolver that is asked instead, with the serial of the zone there.
async fn all_values(asker: &Asker, location: &Location, witnesses: Vec<Witness>) -> Report {
    let mut asked = JoinSet::new();
    let mut resolvers = Vec::new();
    let mut rows: Vec<Row> = Vec::new();
    for witness in witnesses {
        if witness.upstreams.is_empty() {
            let problem = witness.problem;
            let problem = problem.unwrap_or_else(|| "has no address".to_owned());
            rows.push(Row {
                server: witness.name.clone(),
                address: None,
                transport: None,
                serial: None,
                values: Err(problem),
            });
        }
        for upstream in witness.upstreams {
            let server = witness.name.clone();
            match upstream.is_recursive() {
                true => resolvers.push((server, upstream)),
                false => {
                    asked.spawn(row(asker.clone(), location.clone(), server, upstream));
                }
            }
        }
    }
    rows.extend(asked.join_all().await);
    // Who is told that there is nothing remembers it, so the others are spared the question then.
    for (server, upstream) in resolvers {
        let row = row(asker.clone(), location.clone(), server, upstream).await;
        let is_absent = row.values.as_ref().is_ok_and(Vec::is_empty);
        rows.push(row);
        if is_absent {
            break;
        }
    }
    rows.sort_by(|a, b| (&a.server, &a.address).cmp(&(&b.server, &b.address)));

    let mut table = Table::untitled();
    let mut documents: Vec<Value> = Vec::new();
    for row in &rows {
        let said = match &row.values {
            Ok(values) if values.is_empty() => "no TXT record".to_owned(),
            Ok(values) => {
                let quoted: Vec<String> = values.iter().map(in_quotes).collect();
                quoted.join(" ")
            }
            Err(problem) => problem.clone(),
        };
        let serial = row.serial.map(|serial| format!("serial {serial}"));
        table.row([
            row.server.as_str(),
            row.address.as_deref().unwrap_or("-"),
            row.transport.map_or("-", Transport::as_str),
            serial.as_deref().unwrap_or("-"),
            &said,
        ]);
        documents.push(json!({
            "server": row.server,
            "address": row.address,
            "transport": row.transport,
            "zone_serial": row.serial,
            "values": row.values.as_ref().ok(),
            "problem": row.values.as_ref().err(),
        }));
    }
    Report {
        text: format!("{}\n\n{}", heading(location), table.render("  ")),
        json: json!({ "location": location, "servers": documents }),
        exit: match rows.iter().any(|row| row.values.is_ok()) {
            true => ExitCode::DONE,
            false => ExitCode::PROVIDER,
        },
    }
}

async fn row(asker: Asker, location: Location, server: String, upstream: Upstream) -> Row {
    let (answer, soa) = tokio::join!(
        asker.ask_upstream(&upstream, &location.owner, RecordType::TXT),
        asker.ask_upstream(&upstream, &location.zone.zone, RecordType::SOA)
    );
    let serial = soa.ok().filter(|reply| reply.authoritative);
    Row {
        server,
        address: upstream.address().map(|address| address.to_string()),
        transport: answer.as_ref().ok().map(|reply| reply.transport),
        serial: serial.and_then(|reply| reply.soa()).map(|soa| soa.serial),
        values: values(&upstream, &location.owner, answer),
    }
}

/// The TXT values of an answer that counts, or what came instead.
fn values(
    upstream: &Upstream,
    owner: &DomainName,
    answer: Result<Reply, AskError>,
) -> Result<Vec<TxtValue>, String> {
    match answer {
        Err(error) => Err(error.to_string()),
        Ok(reply) if !reply.is_conclusive() => Err(reply.rcode_name()),
        Ok(reply) if !reply.authoritative && !upstream.is_recursive() => {
            Err("not authoritative".to_owned())
        }
        Ok(reply) => Ok(reply.txt_values(owner)),
    }
}

/// A value as zone files have it, so that one with spaces is not taken for several.
fn in_quotes(value: &TxtValue) -> String {
    format!("\"{}\"", value.to_string().replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_no_value() {
        let value = TxtValue::from_bytes(*b"a\x1b[31m\"\\;x").unwrap();
        assert_eq!(in_quotes(&value), r#""a\027[31m\"\092;x""#);
    }
}
