//! `dnseal demo`: the main job against a CA and a zone in this process, step by step.
//!
//! The engine, the provider and the looking at name servers are the real ones; only CA and zone are the sandbox's.

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::Path;

use dnseal_core::acme::Ca;
use dnseal_core::acme::KeyType;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::Identifier;
use dnseal_core::issue::Options;
use dnseal_core::issue::Renewing;
use dnseal_core::issue::Request;
use dnseal_core::issue::Terms;
use dnseal_core::issue::Timeouts;
use dnseal_core::store::CertId;
use dnseal_core::store::StoreKeeper;
use serde_json::json;

use crate::args::DemoArgs;
use crate::args::GlobalArgs;
use crate::args::ProbeArgs;
use crate::args::ProviderArgs;
use crate::commands::App;
use crate::commands::after;
use crate::commands::batch::Batch;
use crate::commands::batch::Job;
use crate::commands::sandbox::Sandbox;
use crate::commands::work::Engines;
use crate::commands::work::Work;
use crate::config::Config;
use crate::error::CliError;
use crate::render::Printer;
use crate::render::Progress;
use crate::render::Report;
use crate::settings;
use crate::settings::Order;
use crate::settings::Places;

pub(super) async fn run(
    global: &GlobalArgs,
    printer: Printer,
    args: &DemoArgs,
) -> Result<Report, CliError> {
    let base: Identifier = args.domain.parse()?;
    let wildcard: Identifier = format!("*.{}", base.base()).parse()?;
    // Whoever asks for the wildcard gets its base domain as well.
    let base: Identifier = base.base().as_str().parse()?;
    let dir = tempfile::Builder::new()
        .prefix("dnseal-demo-")
        .tempdir()
        .map_err(CliError::io("make a directory in", std::env::temp_dir()))?
        // The files are what the demo is for: they stay.
        .keep();
    let app = App {
        config: Config::default(),
        global: global.clone(),
        places: Places {
            store: dir.join("store"),
            live: dir.join("live"),
            local: dir.clone(),
            is_live_apart: false,
            keeper: StoreKeeper::nobody(),
            key_given_by: None,
        },
        printer: Printer {
            verbose: printer.verbose.max(1),
            moving: false,
            ..printer
        },
    };
    let work = Work::begin(&app)?;
    let localhost = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let sandbox = Sandbox::start(&[base.base().clone()], localhost, localhost, None).await?;
    let order = Order {
        request: request(&sandbox, &base, &wildcard)?,
        roots: vec![sandbox.root.clone()],
        other_roots: Vec::new(),
        staging: None,
        account_key: None,
    };

    let server = sandbox.server().to_string();
    let probe = ProbeArgs {
        nameserver: vec![server.clone()],
        ..ProbeArgs::default()
    };
    let provider = ProviderArgs {
        provider: Some("rfc2136".to_owned()),
        set: vec![
            format!("server={server}"),
            format!("tsig.name={}", sandbox.key.name()),
            format!("tsig.algorithm={}", sandbox.key.algorithm().as_str()),
            format!("tsig.secret={}", sandbox.key.secret_base64()),
        ],
        ..ProviderArgs::default()
    };
    let probing = settings::probing(&probe, &app.config)?;
    let zones = work.zones(
        &probing,
        settings::providers(&provider, &app.config, &work.context(&[])?)?,
    )?;
    let mut engines = Engines::new(&app, &work, zones)?;
    let job = Job::new(engines.trusting(&order.roots)?, order.request);
    let ended = Batch::new(1).run(vec![job], &work).await?;
    let stats = work.finish().await;
    let owner: DomainName = base.challenge_owner();
    let left = sandbox.dns.values(owner.as_str());
    let updates = sandbox.dns.updates().messages;
    sandbox.shutdown().await;

    let mut text = String::new();
    let mut documents = Vec::new();
    for outcome in ended.outcomes {
        let issued = outcome.result.inspect_err(|_| work_left(printer, &dir))?;
        text.push_str(&after::one(&issued, jiff::Timestamp::now()));
        documents.push(after::json(&issued, &stats));
    }
    let _ = writeln!(
        text,
        "\n{}; {updates} DNS updates; {} values of it are left at {owner}.\n\
         All of this is in {}, and nobody trusts it.\n\n\
         Next: `dnseal provider show rfc2136`, then `dnseal issue --help`.",
        stats.summary(),
        left.len(),
        dir.display()
    );
    Ok(Report::new(
        text,
        json!({
            "certificates": documents,
            "directory": dir.display().to_string(),
            "values_left": left,
            "dns_updates": updates,
            "stats": stats.json(),
            "warnings": stats.warnings(),
        }),
    ))
}

/// What failed leaves files as well, for who wants to know why.
fn work_left(printer: Printer, dir: &Path) {
    Progress::new(printer).say(&format!("what the demo made is in {}", dir.display()));
}

fn request(
    sandbox: &Sandbox,
    base: &Identifier,
    wildcard: &Identifier,
) -> Result<Request, CliError> {
    Ok(Request {
        id: CertId::from(base),
        names: vec![base.clone(), wildcard.clone()],
        ca: Ca::resolve(&sandbox.ca.directory_url(), KeyType::default())?,
        account: None,
        contacts: Vec::new(),
        terms: Terms::Agreed,
        external_account: None,
        key_type: KeyType::default(),
        profile: None,
        replace_names: false,
        force: false,
        timeouts: Timeouts::default(),
        renewal: Renewing::default(),
        options: Options::default(),
        transport: None,
    })
}
