//! Issuing a certificate from a program of one's own, with the engine as a library.
//!
//! Runs against the sandbox, so that it can be tried as it is:
//! `cargo run -p dnseal-tests --example issue`. For a real CA and a real name server, change the three places that
//! are marked.

use std::error::Error;
use std::sync::Arc;

use dnseal_core::acme::{Ca, ExtraRoot, KeyType, Transport, TransportOptions};
use dnseal_core::deploy::Live;
use dnseal_core::dns::{
    Asker, AskerOptions, Discovery, DiscoveryOptions, NamedProvider, Propagation,
    PropagationPolicy, Routes, Zones,
};
use dnseal_core::event::{Events, What};
use dnseal_core::issue::{Engine, Options, Renewing, Request, Terms, Timeouts};
use dnseal_core::store::{CertId, DirectoryStore};
use dnseal_providers::{Context, Form, Settings, Value, build};
use dnseal_sandbox::ca::Ca as SandboxCa;
use dnseal_sandbox::dns::{DnsServer, TsigKey, Zone};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let key = TsigKey::generate("acme-key")?;
    let zone = Zone::new("example.test")
        .ns("ns1.example.test")
        .a("ns1.example.test", [127, 0, 0, 1].into());
    let dns = DnsServer::builder()
        .zone(zone)
        .key(key.clone())
        .start()
        .await?;
    let sandbox = SandboxCa::builder().dns(dns.addr()).start().await?;

    // Everything that happens, in order; a program would log it or count it.
    let (events, mut happened) = Events::channel();
    let watching = tokio::spawn(async move {
        while let Some(event) = happened.recv().await {
            if let What::Stage { stage } = event.what {
                println!("{stage:?}");
            }
        }
    });

    // 1. The provider: here RFC 2136 with a key.
    let mut settings = Settings::new();
    settings.insert("server", Value::from(dns.addr().to_string().as_str()));
    settings.insert("tsig.name", Value::from("acme-key"));
    settings.insert("tsig.secret", Value::new(Form::Secret, key.secret_base64()));
    let provider = NamedProvider {
        name: "corp".to_owned(),
        provider: build("rfc2136", "corp", settings, &Context::default())?,
    };
    let routes = Routes::new(vec![provider], Vec::new(), Some("corp".to_owned()))?;

    // 2. How servers are found: here they are given; leave the list empty to search for them.
    let asker = Asker::new(AskerOptions::default(), events.clone());
    let options = DiscoveryOptions {
        nameservers: vec![dns.addr()],
        ..DiscoveryOptions::default()
    };
    let discovery = Discovery::new(asker.clone(), options);
    let propagation = Propagation::new(asker, PropagationPolicy::default(), events.clone());
    let zones = Zones::new(routes, discovery, propagation, events.clone());

    // 3. The CA: `Ca::resolve("letsencrypt-staging", …)`, and no extra root.
    let ca = Ca::resolve(&sandbox.directory_url(), KeyType::default())?;
    let transport = Transport::new(
        TransportOptions {
            extra_roots: vec![ExtraRoot {
                name: "the sandbox".to_owned(),
                pem: sandbox.tls_root_pem().into(),
            }],
            ..TransportOptions::default()
        },
        events.clone(),
    )?;

    let home = tempfile::tempdir()?;
    let store = DirectoryStore::open(&home.path().join("store"))?;
    let live = Live::new(&home.path().join("live"))?;
    let engine = Engine::new(Arc::new(store), live, transport, Arc::new(zones), events);
    let issued = engine
        .issue(
            &Request {
                id: "example.test".parse::<CertId>()?,
                names: vec!["example.test".parse()?, "*.example.test".parse()?],
                ca,
                account: None,
                contacts: Vec::new(),
                terms: Terms::Agreed,
                external_account: None,
                key_type: KeyType::EcdsaP256,
                profile: None,
                replace_names: false,
                force: false,
                timeouts: Timeouts::default(),
                renewal: Renewing::default(),
                options: Options::default(),
                transport: None,
            },
            &CancellationToken::new(),
        )
        .await?;
    drop(engine);
    watching.await?;
    println!(
        "{} is valid until {}",
        issued.files.fullchain.display(),
        issued.version.not_after
    );
    Ok(())
}
