//! A zone in the sandbox, waits in tasks of their own, and a look at what they told.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use dnseal_core::{
    dns::{
        Asker, AskerOptions, NameServer, Propagation, PropagationError, PropagationPolicy, Report,
        Row, Wanted, ZoneServers,
    },
    event::{Event, Events, What},
};
use dnseal_sandbox::dns::{DnsServer, Record, RecordType, Zone};
use dnseal_tests::{name, value};
use tokio::{sync::mpsc::UnboundedReceiver, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{OWNER, ZONE};

/// A zone without any challenge.
pub(crate) async fn primary() -> DnsServer {
    let zone = Zone::new(ZONE)
        .ns("ns1.example.test")
        .a("ns1.example.test", [127, 0, 0, 1].into());
    DnsServer::builder().zone(zone).start().await.unwrap()
}

pub(crate) fn show(server: &DnsServer, owner: &str, value: &str) {
    server.zone_add(Record::txt(owner, 1, value)).unwrap();
}

/// Patient enough for a slow machine; tests end by what they do.
pub(crate) fn policy() -> PropagationPolicy {
    PropagationPolicy {
        timeout: Duration::from_secs(120),
        ..PropagationPolicy::default()
    }
}

pub(crate) fn watcher(policy: PropagationPolicy, events: Events) -> Propagation {
    let asker = Asker::new(AskerOptions::default(), events.clone());
    Propagation::new(asker, policy, events)
}

/// A wait in a task of its own, and what it tells.
pub(crate) fn wait(
    policy: PropagationPolicy,
    wanted: Vec<Wanted>,
) -> (
    JoinHandle<Result<Report, PropagationError>>,
    UnboundedReceiver<Event>,
) {
    let (events, told) = Events::channel();
    let propagation = watcher(policy, events);
    let waiting = tokio::spawn(async move {
        propagation
            .await_visible(wanted, &CancellationToken::new())
            .await
    });
    (waiting, told)
}

/// Servers with these names; a name that occurs again has another address.
pub(crate) fn zone_servers(named: &[(&str, SocketAddr)]) -> Arc<ZoneServers> {
    let mut servers: Vec<NameServer> = Vec::new();
    for (name, address) in named {
        match servers.iter_mut().find(|server| server.name == *name) {
            Some(server) => server.addresses.push(*address),
            None => servers.push(NameServer {
                name: (*name).to_owned(),
                addresses: vec![*address],
                problem: None,
            }),
        }
    }
    Arc::new(ZoneServers {
        zone: name(ZONE),
        servers,
        given: false,
        negative_ttl: Duration::from_secs(60),
    })
}

pub(crate) fn wanted(zone: &Arc<ZoneServers>, owner: &str, values: &[&str]) -> Wanted {
    Wanted {
        zone: Arc::clone(zone),
        owner: name(owner),
        values: values.iter().copied().map(value).collect(),
    }
}

pub(crate) fn row(report: &Report, address: SocketAddr) -> &Row {
    let mut rows = report.names.iter().flat_map(|name| &name.rows);
    rows.find(|row| row.address == Some(address)).unwrap()
}

/// How often a server was asked for the values at [`OWNER`].
pub(crate) fn asked(server: &DnsServer) -> usize {
    let queries = server.queries();
    let about = queries.iter().filter(|it| it.qname == OWNER);
    about.filter(|it| it.qtype == RecordType::TXT).count()
}

pub(crate) fn drain(told: &mut UnboundedReceiver<Event>) -> Vec<What> {
    let mut all = Vec::new();
    while let Ok(event) = told.try_recv() {
        all.push(event.what);
    }
    all
}

pub(crate) fn warnings(told: &[What]) -> Vec<String> {
    let message = |what: &What| match what {
        What::Warning { message, .. } => Some(message.clone()),
        _ => None,
    };
    told.iter().filter_map(message).collect()
}

pub(crate) fn verdicts_of(told: &[What], server: SocketAddr) -> Vec<String> {
    let verdict = |what: &What| match what {
        What::Verdict {
            address, verdict, ..
        } if *address == server => Some(verdict.clone()),
        _ => None,
    };
    told.iter().filter_map(verdict).collect()
}
