//! `dnseal dns delegate NAME TARGET`: the CNAME to set, and whether it is there.

use dnseal_core::dns::Asker;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::Identifier;
use dnseal_core::dns::Location;
use dnseal_core::dns::Place;
use dnseal_core::dns::RecordType;
use dnseal_core::dns::Zones;
use futures::future::join_all;
use serde_json::Value;
use serde_json::json;

use crate::args::DelegateArgs;
use crate::commands::App;
use crate::commands::work::Work;
use crate::error::CliError;
use crate::exit_code::ExitCode;
use crate::render::Report;
use crate::render::Table;
use crate::render::plural;
use crate::settings;

pub(super) async fn run(app: &App, args: &DelegateArgs) -> Result<Report, CliError> {
    let identifier: Identifier = args.name.parse()?;
    let target: Option<DomainName> = match &args.target {
        Some(target) => Some(target.parse()?),
        None => None,
    };
    let owner = identifier.challenge_owner();
    if target.as_ref() == Some(&owner) {
        return Err(CliError::usage(
            format!("{owner} cannot be an alias of itself"),
            "name a target in a zone that a provider may write",
        ));
    }
    let work = Work::begin(app)?;
    let probing = settings::probing(&args.zone.probe, &app.config)?;
    let (asker, discovery, _) = work.look(&probing);
    // A provider is not needed to set a CNAME, and is told where there is one.
    let zones = work
        .context(app.config.roots())
        .and_then(|context| settings::providers(&args.zone.provider, &app.config, &context))
        .and_then(|mut providers| {
            providers.delegation = dnseal_core::dns::DelegationRules::default();
            work.zones(&probing, providers)
        });
    let cancel = work.cancel().clone();
    let looking = async {
        let (zones, target) = match target {
            Some(target) => (zones, target),
            None => {
                let zones = zones?;
                let target = target_of(&zones, &owner).await?;
                (Ok(zones), target)
            }
        };
        let location = discovery.locate_here(&owner).await?;
        let (rows, behind) = tokio::join!(rows(&asker, &location, &target), place(zones, &target));
        Ok::<_, CliError>((location, target, rows, behind))
    };
    let looked = tokio::select! {
        looked = looking => looked,
        () = cancel.cancelled() => Err(CliError::Interrupted(ExitCode::INTERRUPTED)),
    };
    if let Some(code) = work.interrupted() {
        work.finish().await;
        return Err(CliError::Interrupted(code));
    }
    let stats = work.finish().await;
    let (location, target, rows, behind) = looked?;

    let line = format!("{} 3600 IN CNAME {}", owner.fqdn(), target.fqdn());
    let missing = rows.iter().filter(|row| !row.has_it).count();
    let mut table = Table::untitled();
    for row in &rows {
        table.row([&row.server, &row.address, &row.said]);
    }
    let verdict = match missing {
        0 if rows.is_empty() => format!("no name server of {} has an address", location.zone.zone),
        0 => "it is set at every name server".to_owned(),
        n if n == rows.len() => format!("set it in the zone {}", location.zone.zone),
        n => format!("it is missing at {}", plural(n, "address")),
    };
    let (there, exit_there) = match &behind {
        Ok(place) => (
            format!(
                "values go to {} in the zone {}, through {} at {}",
                place.location.owner,
                place.zone.name,
                place.provider.name,
                place.provider.provider.endpoint()
            ),
            ExitCode::DONE,
        ),
        Err(error) => (
            format!("values cannot be written there: {error}"),
            error.exit_code(),
        ),
    };
    let hint = match &behind {
        Err(error) => error
            .hint()
            .map_or_else(String::new, |hint| format!("hint: {hint}\n")),
        Ok(_) => String::new(),
    };
    Ok(Report {
        text: format!(
            "{line}\n\n{}\n{verdict}\n{there}\n{hint}",
            table.render("  ")
        ),
        json: json!({
            "record": line,
            "owner": owner,
            "target": target,
            "zone": location.zone.zone,
            "set": missing == 0 && !rows.is_empty(),
            "servers": rows.iter().map(Row::json).collect::<Vec<Value>>(),
            "final_owner": behind.as_ref().ok().map(|place| &place.location.owner),
            "provider": behind.as_ref().ok().map(|place| &place.provider.name),
            "problem": behind.as_ref().err().map(ToString::to_string),
            "stats": stats.json(),
        }),
        exit: match missing == 0 && !rows.is_empty() {
            true => exit_there,
            false => ExitCode::NOT_PROPAGATED,
        },
    })
}

/// Where the provider that serves a challenge name wants its alias to lead.
async fn target_of(zones: &Zones, owner: &DomainName) -> Result<DomainName, CliError> {
    let target = zones.alias_for(owner).await;
    let target = target.map_err(|source| CliError::Place {
        owner: owner.clone(),
        source,
    })?;
    target.ok_or_else(|| {
        CliError::usage(
            format!("the provider of {owner} takes values at any name"),
            "say where the alias is to lead: `dnseal dns delegate NAME TARGET`",
        )
    })
}

/// Where values for the target go.
async fn place(
    zones: Result<std::sync::Arc<Zones>, CliError>,
    target: &DomainName,
) -> Result<Place, CliError> {
    zones?
        .place(target)
        .await
        .map_err(|source| CliError::Place {
            owner: target.clone(),
            source,
        })
}

/// What one address says.
struct Row {
    server: String,
    address: String,
    has_it: bool,
    said: String,
}

impl Row {
    fn json(&self) -> Value {
        json!({
            "server": self.server,
            "address": self.address,
            "has_it": self.has_it,
            "said": self.said,
        })
    }
}

async fn rows(asker: &Asker, location: &Location, target: &DomainName) -> Vec<Row> {
    let addresses = location.zone.servers.iter().flat_map(|server| {
        let name = server.name.clone();
        server
            .addresses
            .iter()
            .map(move |&address| (name.clone(), address))
    });
    let wanted = target.fqdn();
    let wanted = wanted.as_str();
    join_all(addresses.map(|(server, address)| async move {
        let (has_it, said) = match asker.ask(address, &location.owner, RecordType::CNAME).await {
            Err(error) => (false, error.to_string()),
            Ok(reply) if !reply.is_conclusive() => (false, reply.rcode_name()),
            Ok(reply) if !reply.authoritative => (false, "not authoritative".to_owned()),
            Ok(reply) => {
                let alias = reply
                    .answers
                    .iter()
                    .find(|record| record.record_type() == RecordType::CNAME)
                    .map(|record| record.data.to_string());
                match alias {
                    Some(alias) if alias.eq_ignore_ascii_case(wanted) => {
                        (true, "has it".to_owned())
                    }
                    Some(alias) => (false, format!("CNAME to {alias}")),
                    None => (false, "no CNAME".to_owned()),
                }
            }
        };
        Row {
            server,
            address: address.to_string(),
            has_it,
            said,
        }
    }))
    .await
}
