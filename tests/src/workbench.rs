//! The engine as a library, put together over a directory of its own, real sockets and the RFC 2136 provider.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use dnseal_core::acme::{Ca, ExtraRoot, KeyType, Transport, TransportOptions};
use dnseal_core::deploy::Live;
use dnseal_core::dns::{
    Asker, AskerOptions, Discovery, DiscoveryOptions, NamedProvider, Propagation,
    PropagationPolicy, Routes, Zones,
};
use dnseal_core::event::{Event, Events, What};
use dnseal_core::issue::{Engine, Options, Renewing, Request, Terms, Timeouts};
use dnseal_core::store::{CertId, DirectoryStore, Head, Key, Store};
use dnseal_providers::{Context, Form, Settings, Value, build};
use tempfile::TempDir;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::{Narrow, TsigKey};

/// A place to issue certificates from: a store, a CA, and name servers that take updates.
#[derive(Debug)]
pub struct Workbench {
    home: TempDir,
    ca: CaSettings,
    events: Mutex<Vec<Event>>,
    more_roots: Vec<Vec<u8>>,
    narrow: Option<Narrow>,
    patience: Option<Duration>,
    nameservers: Vec<SocketAddr>,
    policy: PropagationPolicy,
    provider_settings: Vec<(&'static str, String)>,
    providers: Vec<Server>,
    /// Read when somebody asks, so that no event is missing then.
    streams: Mutex<Vec<UnboundedReceiver<Event>>>,
}

/// A CA to order from.
#[derive(Clone, Debug)]
pub struct CaSettings {
    /// The URL of its directory.
    pub directory: String,
    /// The root that its own listener's certificate is under, PEM.
    pub root: Vec<u8>,
}

/// A name server, the zones it serves, and the key that may update them.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its address.
    pub addr: SocketAddr,
    /// The key.
    pub key: TsigKey,
    /// The zones; none means every zone.
    pub zones: Vec<String>,
}

impl Workbench {
    /// A workbench with an empty store.
    pub fn new(ca: CaSettings, providers: Vec<Server>) -> Self {
        Self {
            home: TempDir::new().expect("a temporary directory"),
            ca,
            events: Mutex::default(),
            more_roots: Vec::new(),
            narrow: None,
            patience: None,
            nameservers: Vec::new(),
            policy: PropagationPolicy {
                timeout: Duration::from_secs(60),
                ..PropagationPolicy::default()
            },
            provider_settings: Vec::new(),
            providers,
            streams: Mutex::default(),
        }
    }

    /// The same with name servers that are probed in place of those that take the updates.
    pub fn nameservers(mut self, nameservers: Vec<SocketAddr>) -> Self {
        self.nameservers = nameservers;
        self
    }

    /// The same with providers that have less to offer.
    pub fn narrow(mut self, narrow: &Narrow) -> Self {
        self.narrow = Some(narrow.clone());
        self
    }

    /// The same with another patience for providers that fail.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// The same with another setting of its providers.
    pub fn provider_setting(mut self, key: &'static str, value: &str) -> Self {
        self.provider_settings.push((key, value.to_owned()));
        self
    }

    /// The same, ordering from another CA and still able to reach the one before.
    pub fn with_ca(mut self, ca: CaSettings) -> Self {
        self.more_roots.push(self.ca.root);
        self.ca = ca;
        self
    }

    /// The same with another policy of propagation.
    pub fn policy(mut self, policy: PropagationPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Where store and projection are.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// An engine as a new run has it: it knows only what is in the store.
    pub fn engine(&self) -> Engine {
        self.engine_over(Arc::new(self.store()))
    }

    /// The same over another store.
    pub fn engine_over(&self, store: Arc<dyn Store>) -> Engine {
        let (events, stream) = Events::channel();
        self.streams.lock().unwrap().push(stream);
        let asker = Asker::new(AskerOptions::default(), events.clone());
        let servers: Vec<SocketAddr> = match self.nameservers.as_slice() {
            [] => self.providers.iter().map(|p| p.addr).take(1).collect(),
            given => given.to_vec(),
        };
        let per_zone = self
            .providers
            .iter()
            .flat_map(|p| {
                p.zones
                    .iter()
                    .map(|zone| (zone.parse().unwrap(), vec![p.addr]))
            })
            .collect();
        let options = DiscoveryOptions {
            nameservers: servers,
            zone_nameservers: per_zone,
            ..DiscoveryOptions::default()
        };
        let discovery = Discovery::new(asker.clone(), options);
        let propagation = Propagation::new(asker, self.policy.clone(), events.clone());
        let mut zones = Zones::new(self.routes(), discovery, propagation, events.clone());
        if let Some(patience) = self.patience {
            zones = zones.with_patience(patience);
        }
        let transport = Transport::new(
            TransportOptions {
                extra_roots: self
                    .more_roots
                    .iter()
                    .chain([&self.ca.root])
                    .map(|pem| ExtraRoot {
                        name: "the CA under test".to_owned(),
                        pem: pem.clone(),
                    })
                    .collect(),
                ..TransportOptions::default()
            },
            events.clone(),
        )
        .expect("a transport");
        let live = Live::new(&self.home.path().join("live")).expect("a place for files");
        Engine::new(store, live, transport, Arc::new(zones), events)
    }

    /// A way to a CA under this root alone.
    pub fn transport(&self, root: Vec<u8>) -> Transport {
        let options = TransportOptions {
            extra_roots: vec![ExtraRoot {
                name: "another CA under test".to_owned(),
                pem: root,
            }],
            ..TransportOptions::default()
        };
        let (events, stream) = Events::channel();
        self.streams.lock().unwrap().push(stream);
        Transport::new(options, events).expect("a transport")
    }

    /// What is asked of the engine, for a certificate named after the first name.
    pub fn request(&self, names: &[&str]) -> Request {
        let names: Vec<_> = names.iter().map(|name| name.parse().unwrap()).collect();
        Request {
            id: CertId::from(&names[0]),
            names,
            ca: Ca::resolve(&self.ca.directory, KeyType::default()).expect("a CA"),
            contacts: Vec::new(),
            terms: Terms::Agreed,
            external_account: None,
            key_type: KeyType::default(),
            profile: None,
            account: None,
            replace_names: false,
            force: false,
            timeouts: Timeouts::default(),
            renewal: Renewing::default(),
            options: Options::default(),
            transport: None,
        }
    }

    /// The store, as whoever comes next finds it.
    pub fn store(&self) -> DirectoryStore {
        DirectoryStore::open(&self.home.path().join("store")).expect("a store")
    }

    /// The head of a certificate, as it is in the store.
    pub async fn head(&self, id: &CertId) -> Option<Head> {
        let store = DirectoryStore::open(&self.home.path().join("store")).expect("a store");
        Head::load(&store, id)
            .await
            .expect("a readable head")
            .map(|(head, _)| head)
    }

    /// What is in the store that a finished run does not leave there.
    pub async fn leftovers(&self) -> Vec<String> {
        let store = DirectoryStore::open(&self.home.path().join("store")).expect("a store");
        let mut left = crate::sandbox::strays(store.path());
        for key in store.list(&Key::certificates()).await.expect("a list") {
            let [_, id, file] = key.components() else {
                continue;
            };
            if file != "head.json" {
                continue;
            }
            let id: CertId = id.parse().expect("a name");
            let head = self.head(&id).await.expect("a head");
            if let Some(order) = &head.order {
                left.push(format!("the head of {id} has the order {}", order.url));
            }
            if let Some(worker) = &head.worker {
                left.push(format!("the head of {id} has a worker: {worker:?}"));
            }
            for value in &head.published {
                left.push(format!("the head of {id} has a value at {}", value.owner));
            }
            if head.is_empty() {
                left.push(format!("the head of {id} says nothing"));
            }
        }
        left
    }

    /// The warnings so far.
    pub fn warnings(&self) -> Vec<String> {
        self.events()
            .into_iter()
            .filter_map(|event| match event.what {
                What::Warning { message, .. } => Some(message),
                _ => None,
            })
            .collect()
    }

    /// Everything that happened so far.
    pub fn events(&self) -> Vec<Event> {
        let mut events = self.events.lock().unwrap();
        for stream in self.streams.lock().unwrap().iter_mut() {
            while let Ok(event) = stream.try_recv() {
                events.push(event);
            }
        }
        events.clone()
    }

    /// Forgets what happened so far.
    pub fn forget_events(&self) {
        self.events();
        self.events.lock().unwrap().clear();
    }

    /// How many events are of a kind.
    pub fn count(&self, kind: impl Fn(&What) -> bool) -> usize {
        self.events()
            .iter()
            .filter(|event| kind(&event.what))
            .count()
    }

    /// Requests to the CA so far.
    pub fn acme_requests(&self) -> usize {
        self.count(|what| matches!(what, What::AcmeRequest { .. }))
    }

    /// Calls that wrote to a zone so far.
    pub fn writes(&self) -> usize {
        self.count(|what| matches!(what, What::ProviderCall { call: "apply", .. }))
    }

    fn routes(&self) -> Routes {
        let mut providers = Vec::new();
        let mut table = Vec::new();
        for (number, server) in self.providers.iter().enumerate() {
            let name = format!("server-{number}");
            let mut settings = Settings::new();
            let mut set = |key: &str, form, value: &str| {
                settings.insert(key, Value::new(form, value.to_owned()));
            };
            set("server", Form::Text, &server.addr.to_string());
            set("tsig.name", Form::Text, &server.key.name);
            set("tsig.algorithm", Form::Text, &server.key.algorithm);
            set("tsig.secret", Form::Secret, &server.key.secret_base64);
            for (key, value) in &self.provider_settings {
                let form = match key.ends_with("secret") {
                    true => Form::Secret,
                    false => Form::Text,
                };
                set(key, form, value);
            }
            let provider =
                build("rfc2136", &name, settings, &Context::default()).expect("a provider");
            let provider = match &self.narrow {
                Some(narrow) => narrow.over(provider),
                None => provider,
            };
            for zone in &server.zones {
                table.push((zone.parse().unwrap(), name.clone()));
            }
            providers.push(NamedProvider { name, provider });
        }
        let fallback = Some("server-0".to_owned());
        Routes::new(providers, table, fallback).expect("routes without a gap")
    }
}
