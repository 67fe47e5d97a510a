//! `dnseal dns delegate NAME TARGET`: the CNAME to set, and whether it is there.

use std::fmt;

use dnseal_core::dns::Asker;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::Identifier;
use dnseal_core::dns::Location;
use dnseal_core::dns::Place;
use dnseal_core::dns::RecordType;
use dnseal_core::dns::Upstream;
use dnseal_core::dns::Witness;
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
    let roots = args.zone.trust.roots(&app.config);
    probing.trust(&roots);
    let (asker, discovery, propagation) = work.look(&probing);
    // A provider is not needed to set a CNAME, and is told where there is one.
    let zones = work
        .context(&roots)
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
        let witnesses = propagation.witnesses(&owner, &location.zone);
        let (rows, behind) = tokio::join!(
            rows(&asker, &location, &witnesses, &target),
            place(zones, &target)
        );
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
    let who = match rows.iter().any(|row| row.is_resolver) {
        true => "resolver",
        false => "name server",
    };

    let line = format!("{} 3600 IN CNAME {}", owner.fqdn(), target.fqdn());
    let missing = rows.iter().filter(|row| row.lacks_it()).count();
    let is_set = missing == 0 && rows.iter().any(Row::has_it);
    let mut table = Table::untitled();
    for row in &rows {
        let address = row.address.as_deref().unwrap_or("-");
        table.row([row.server.as_str(), address, &row.says.to_string()]);
    }
    let verdict = match missing {
        _ if rows.is_empty() => format!("no name server of {} has an address", location.zone.zone),
        _ if is_set => format!("it is set at every {who}"),
        _ if !rows.iter().any(Row::has_it) => format!("set it in the zone {}", location.zone.zone),
        n if who == "resolver" => format!("it is missing at {}", plural(n, who)),
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
            "set": is_set,
            "servers": rows.iter().map(Row::json).collect::<Vec<Value>>(),
            "final_owner": behind.as_ref().ok().map(|place| &place.location.owner),
            "provider": behind.as_ref().ok().map(|place| &place.provider.name),
            "problem": behind.as_ref().err().map(ToString::to_string),
            "stats": stats.json(),
        }),
        exit: match is_set {
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
    address: Option<String>,
    is_resolver: bool,
    says: Says,
}

/// What stands at the challenge name there.
#[derive(Eq, PartialEq)]
enum Says {
    Another(String),
    HasIt,
    NoAnswer(String),
    Nothing,
}

impl fmt::Display for Says {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Another(alias) => write!(f, "CNAME to {alias}"),
            Self::HasIt => f.write_str("has it"),
            Self::NoAnswer(problem) => f.write_str(problem),
            Self::Nothing => f.write_str("no CNAME"),
        }
    }
}

impl Row {
    fn has_it(&self) -> bool {
        self.says == Says::HasIt
    }

    /// A resolver that does not answer says nothing of the zone; a name server that does not will not answer the CA either.
    fn lacks_it(&self) -> bool {
        match self.says {
            Says::HasIt => false,
            Says::NoAnswer(_) => !self.is_resolver,
            Says::Another(_) | Says::Nothing => true,
        }
    }

    fn json(&self) -> Value {
        json!({
            "server": self.server,
            "address": self.address,
            "has_it": self.has_it(),
            "said": self.says.to_string(),
        })
    }
}

async fn rows(
    asker: &Asker,
    location: &Location,
    witnesses: &[Witness],
    target: &DomainName,
) -> Vec<Row> {
    let asked = witnesses.iter().flat_map(|witness| {
        let upstreams = witness.upstreams.iter();
        upstreams.map(move |upstream| (witness.name.clone(), upstream))
    });
    let (resolvers, servers): (Vec<_>, Vec<_>) =
        asked.partition(|(_, upstream)| upstream.is_recursive());
    let look = |(server, upstream)| row(asker, location, server, upstream, target);
    let mut rows = join_all(servers.into_iter().map(look)).await;
    // Who is told that there is nothing remembers it, so the others are spared the question then.
    for resolver in resolvers {
        let is_absent = |row: &Row| row.is_resolver && row.says == Says::Nothing;
        if rows.iter().any(is_absent) {
            break;
        }
        rows.push(look(resolver).await);
    }
    rows
}

async fn row(
    asker: &Asker,
    location: &Location,
    server: String,
    upstream: &Upstream,
    target: &DomainName,
) -> Row {
    let asking = asker.ask_upstream(upstream, &location.owner, RecordType::CNAME);
    let says = match asking.await {
        Err(error) => Says::NoAnswer(error.to_string()),
        Ok(reply) if !reply.is_conclusive() => Says::NoAnswer(reply.rcode_name()),
        Ok(reply) if !reply.authoritative && !upstream.is_recursive() => {
            Says::NoAnswer("not authoritative".to_owned())
        }
        Ok(reply) => {
            let alias = reply
                .answers
                .iter()
                .find(|record| record.record_type() == RecordType::CNAME)
                .map(|record| record.data.to_string());
            match alias {
                Some(alias) if alias.eq_ignore_ascii_case(&target.fqdn()) => Says::HasIt,
                Some(alias) => Says::Another(alias),
                None => Says::Nothing,
            }
        }
    };
    Row {
        server,
        address: upstream.address().map(|address| address.to_string()),
        is_resolver: upstream.is_recursive(),
        says,
    }
}
