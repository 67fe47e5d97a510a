//! Whether the authoritative servers can be reached from here, over what, and whether they agree.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;
use tokio::time::sleep;

use super::Check;
use super::Finding;
use crate::dns::Asker;
use crate::dns::Mode;
use crate::dns::NameServer;
use crate::dns::PropagationPolicy;
use crate::dns::RecordType;
use crate::dns::Transport;
use crate::dns::ZoneServers;

/// One address, and the serial it has or what it said instead.
struct Heard<'a> {
    server: &'a NameServer,
    address: SocketAddr,
    said: Result<(u32, Transport), String>,
}

pub(super) async fn check(
    asker: &Asker,
    zone: &ZoneServers,
    policy: &PropagationPolicy,
) -> Vec<Finding> {
    let family = policy.family;
    let addresses = zone.servers.iter().flat_map(|server| {
        server
            .addresses
            .iter()
            .filter(|address| zone.given || family.allows(address.ip()))
            .map(move |&address| (server, address))
    });
    let addresses: Vec<_> = addresses.collect();
    let until = Instant::now() + NOTIFY;
    let mut heard = hear(asker, zone, &addresses).await;
    // A change of a moment ago is on its way.
    while serials(&heard).len() > 1 && Instant::now() < until {
        sleep(LOOK_AGAIN).await;
        heard = hear(asker, zone, &addresses).await;
    }
    let mut findings = reachability(zone, policy, &heard);
    findings.extend(agreement(zone, &heard));
    findings
}

async fn hear<'a>(
    asker: &Asker,
    zone: &ZoneServers,
    addresses: &[(&'a NameServer, SocketAddr)],
) -> Vec<Heard<'a>> {
    let asking = addresses.iter().map(|&(server, address)| async move {
        let said = match asker.ask(address, &zone.zone, RecordType::SOA).await {
            Err(error) => Err(error.to_string()),
            Ok(reply) if !reply.is_conclusive() => Err(format!("answers {}", reply.rcode_name())),
            Ok(reply) if !reply.authoritative => Err("is not authoritative for it".to_owned()),
            Ok(reply) => match reply.soa().filter(|soa| soa.zone == zone.zone) {
                Some(soa) => Ok((soa.serial, reply.transport)),
                None => Err("has no SOA record of it".to_owned()),
            },
        };
        Heard {
            server,
            address,
            said,
        }
    });
    join_all(asking).await
}

/// Which servers have which serial.
fn serials(heard: &[Heard<'_>]) -> BTreeMap<u32, Vec<String>> {
    let mut serials: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for heard in heard {
        if let Ok((serial, _)) = heard.said {
            serials.entry(serial).or_default().push(heard.name());
        }
    }
    serials
}

fn reachability(
    zone: &ZoneServers,
    policy: &PropagationPolicy,
    heard: &[Heard<'_>],
) -> Vec<Finding> {
    let about = &zone.zone;
    let usable = |heard: &&Heard<'_>| heard.said.is_ok();
    if !heard.iter().any(|heard| heard.said.is_ok()) {
        return vec![unreachable(zone, policy, heard)];
    }

    let mut findings = Vec::new();
    let (v4, v6): (Vec<_>, Vec<_>) = heard.iter().partition(|heard| heard.address.is_ipv4());
    let reached = |of: &[&Heard<'_>]| {
        of.iter()
            .copied()
            .filter(|heard| heard.said.is_ok())
            .count()
    };
    let tcp_only = heard
        .iter()
        .filter(usable)
        .filter(|heard| matches!(&heard.said, Ok((_, Transport::Tcp))))
        .count();
    let ways: Vec<String> = [("IPv4", &v4), ("IPv6", &v6)]
        .into_iter()
        .filter(|(_, of)| !of.is_empty())
        .map(|(family, of)| match reached(of) == of.len() {
            true => format!("all {} over {family}", of.len()),
            false => format!("{} of {} over {family}", reached(of), of.len()),
        })
        .collect();
    let found = match zone.given {
        true => "given addresses",
        false => "addresses of its name servers",
    };
    findings.push(Finding::ok(
        Check::Servers,
        about,
        format!("{found} that answer: {}", ways.join(", ")),
    ));
    if tcp_only > 0 {
        findings.push(
            Finding::warning(
                Check::Servers,
                about,
                format!("{tcp_only} of them answer over TCP only: UDP to port 53 is closed here, or what comes over it is truncated"),
            )
            .fix("nothing has to be done; each look takes a second longer"),
        );
    }
    // A whole family that is not there is this machine's affair, and no server's.
    let no_v6 = reached(&v6) == 0 && reached(&v4) > 0;
    let no_v4 = reached(&v4) == 0 && reached(&v6) > 0;
    for server in &zone.servers {
        let own: Vec<&Heard<'_>> = heard
            .iter()
            .filter(|heard| std::ptr::eq(heard.server, server))
            .collect();
        let dead: Vec<&&Heard<'_>> = own
            .iter()
            .filter(|heard| heard.said.is_err())
            .filter(|heard| !(no_v6 && heard.address.is_ipv6()))
            .filter(|heard| !(no_v4 && heard.address.is_ipv4()))
            .collect();
        let useless = own.iter().all(|heard| heard.said.is_err());
        if own.is_empty() {
            let problem = server.problem.clone();
            let problem = problem.unwrap_or_else(|| "no address is found for its name".to_owned());
            findings.push(
                Finding::warning(Check::Servers, &server.name, problem).fix(format!(
                    "correct the NS records of {about}, or the addresses of that host"
                )),
            );
        }
        for heard in dead {
            let mut message = format!("{} ({about})", heard.says());
            if useless {
                message
                    .push_str("; it is of no use at any address, so each order waits 10 s for it");
            }
            findings.push(Finding::warning(Check::Servers, &server.name, message).fix(
                "a CA may ask this server, too: mend it, or take it out of the NS records of parent and zone",
            ));
        }
    }
    findings
}

/// Nobody answers: an order fails where they have to be asked, and goes by other evidence where there may be some.
fn unreachable(zone: &ZoneServers, policy: &PropagationPolicy, heard: &[Heard<'_>]) -> Finding {
    let about = &zone.zone;
    if policy.mode == Mode::Doh && heard.is_empty() {
        let message = "they are not asked: resolvers over HTTPS or TLS are the evidence";
        return Finding::ok(Check::Servers, about, message);
    }
    let said: Vec<String> = heard.iter().map(Heard::says).collect();
    let message = match said.is_empty() {
        true if zone.servers.is_empty() => {
            "its name servers cannot be asked from here, and are not known".to_owned()
        }
        true => {
            let names: Vec<&str> = zone.servers.iter().map(|s| s.name.as_str()).collect();
            format!(
                "no name server can be asked from here: {}",
                names.join(", ")
            )
        }
        false => format!("no name server is of use: {}", said.join("; ")),
    };
    let needed = match policy.mode {
        Mode::Authoritative => true,
        Mode::Auto => zone.given,
        Mode::Doh | Mode::Provider | Mode::Wait => false,
    };
    match needed {
        true => Finding::failure(Check::Servers, about, message).fix(
            "if port 53 is closed here, name servers that can be reached with `--nameserver`, or choose another proof with `--propagation`",
        ),
        false => Finding::warning(Check::Servers, about, message)
            .fix("nothing has to be done as long as values are proven in another way: see the probe"),
    }
}

/// Servers of one zone that have different versions of it.
fn agreement(zone: &ZoneServers, heard: &[Heard<'_>]) -> Option<Finding> {
    let serials = serials(heard);
    let about = &zone.zone;
    if serials.len() < 2 {
        let serial = serials.keys().next()?;
        return Some(Finding::ok(
            Check::Servers,
            about,
            format!("all of them have serial {serial}"),
        ));
    }
    // RFC 1982: serials go round.
    let newest = serials
        .keys()
        .copied()
        .reduce(|a, b| match b.wrapping_sub(a) < 1 << 31 {
            true => b,
            false => a,
        })?;
    let behind: Vec<String> = serials
        .iter()
        .filter(|(serial, _)| **serial != newest)
        .map(|(serial, names)| format!("{} at {serial}", names.join(", ")))
        .collect();
    let ahead = serials.get(&newest).map(|names| names.join(", "));
    Some(
        Finding::warning(
            Check::Servers,
            about,
            format!(
                "the name servers have different versions: {}, while {} has {newest}",
                behind.join("; "),
                ahead.unwrap_or_default()
            ),
        )
        .fix("a secondary that stays behind is not notified: look at NOTIFY, at its right to transfer, and at its log"),
    )
}

impl Heard<'_> {
    fn name(&self) -> String {
        let address = match self.address.port() {
            53 => self.address.ip().to_string(),
            _ => self.address.to_string(),
        };
        match self.server.name == address {
            true => address,
            false => format!("{} ({address})", self.server.name),
        }
    }

    fn says(&self) -> String {
        match &self.said {
            Ok((serial, _)) => format!("{} has serial {serial}", self.name()),
            // The error names the address itself.
            Err(problem) if problem.starts_with(&self.address.to_string()) => problem.clone(),
            Err(problem) => format!("{} {problem}", self.name()),
        }
    }
}

/// BIND holds a NOTIFY that follows another back for 5 s.
const NOTIFY: Duration = Duration::from_secs(7);
const LOOK_AGAIN: Duration = Duration::from_millis(500);
