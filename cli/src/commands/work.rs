//! The engine with everything around it, for commands that do something: events, signals, zones, ways to CAs.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use dnseal_core::acme::ExtraRoot;
use dnseal_core::acme::Transport;
use dnseal_core::acme::TransportOptions;
use dnseal_core::acme::tls_config;
use dnseal_core::deploy::Live;
use dnseal_core::dns::Asker;
use dnseal_core::dns::Clients;
use dnseal_core::dns::Discovery;
use dnseal_core::dns::NamedProvider;
use dnseal_core::dns::Onlooker;
use dnseal_core::dns::PUBLIC_RESOLVERS;
use dnseal_core::dns::Propagation;
use dnseal_core::dns::Routes;
use dnseal_core::dns::Zones;
use dnseal_core::event::Events;
use dnseal_core::issue::CaaPolicy;
use dnseal_core::issue::Engine;
use dnseal_core::issue::Person;
use dnseal_core::issue::Request;
use dnseal_core::store::DirectoryStore;
use dnseal_core::store::Memory;
use dnseal_core::store::MemoryError;
use dnseal_core::store::SealedStore;
use dnseal_core::store::Store;
use dnseal_core::store::StoreKeeper;
use dnseal_core::store::WithLentAccounts;
use dnseal_core::web::check_proxies;
use dnseal_providers::Context;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::commands::App;
use crate::error::CliError;
use crate::exit_code::ExitCode;
use crate::input;
use crate::metrics::Metrics;
use crate::render::LogFile;
use crate::render::Printer;
use crate::render::Progress;
use crate::render::Stats;
use crate::render::Watcher;
use crate::settings::Order;
use crate::settings::Places;
use crate::settings::Probing;
use crate::settings::Providers;
use crate::signals::Signals;

/// A run that watches what it does and ends in order when a signal comes.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) events: Events,
    places: Places,
    pub(super) progress: Progress,
    signals: Signals,
    watcher: Watcher,
}

impl Work {
    /// Begins to watch.
    pub(super) fn begin(app: &App) -> Result<Self, CliError> {
        Self::begin_with(app, app.printer)
    }

    /// The same, and every verdict of a server is shown: on a terminal as a table that moves, elsewhere as lines.
    pub(super) fn begin_watching(app: &App) -> Result<Self, CliError> {
        let printer = match app.printer.moving {
            true => app.printer,
            false => Printer {
                verbose: app.printer.verbose.max(1),
                ..app.printer
            },
        };
        Self::begin_with(app, printer)
    }

    fn begin_with(app: &App, printer: Printer) -> Result<Self, CliError> {
        let signals = Signals::listen().map_err(|error| CliError::Unexpected {
            message: format!("cannot listen for signals: {error}"),
            hint: None,
        })?;
        Self::begin_under(app, printer, signals, None)
    }

    /// The same as one of many in a process that listens for signals and counts by itself.
    pub(super) fn begin_under(
        app: &App,
        printer: Printer,
        signals: Signals,
        metrics: Option<Metrics>,
    ) -> Result<Self, CliError> {
        check_proxies(|name| std::env::var_os(name))
            .map_err(|error| CliError::usage(error.to_string(), error.hint()))?;
        let log = match app
            .global
            .log_file
            .as_deref()
            .filter(|p| !p.as_os_str().is_empty())
        {
            Some(path) => {
                Some(LogFile::open(path).map_err(CliError::io("open the log file", path))?)
            }
            None => None,
        };
        let progress = Progress::new(printer);
        let (events, receiver) = Events::channel();
        Ok(Self {
            events,
            places: app.places.clone(),
            watcher: Watcher::start(receiver, progress.clone(), log, metrics),
            progress,
            signals,
        })
    }

    /// Cancelled by the first signal.
    pub(super) fn cancel(&self) -> &CancellationToken {
        &self.signals.cancel
    }

    /// The status to end with, if a signal came.
    pub(super) fn interrupted(&self) -> Option<ExitCode> {
        self.signals.came()
    }

    /// Lets everything that was said be shown, and gives the counts.
    pub(super) async fn finish(self) -> Stats {
        self.watcher.finish().await
    }

    /// Ways to look at DNS.
    pub(super) fn look(&self, probing: &Probing) -> (Asker, Discovery, Propagation) {
        let asker = Asker::new(probing.asker.clone(), self.events.clone());
        let discovery = Discovery::new(asker.clone(), probing.discovery.clone());
        let propagation =
            Propagation::new(asker.clone(), probing.policy.clone(), self.events.clone())
                .with_zones(probing.zones.clone());
        (asker, discovery, propagation)
    }

    /// What providers get from a run: where to tell that they wait, what they remember, and HTTP that trusts these files as well.
    pub(super) fn context(&self, roots: &[PathBuf]) -> Result<Context, CliError> {
        let places = self.places.clone();
        self.context_with(
            roots,
            Memory::new(move || Ok(Arc::new(places.open().map_err(closed)?))),
        )
    }

    /// The same for a run that changes nothing.
    pub(super) fn looking_context(&self, roots: &[PathBuf]) -> Result<Context, CliError> {
        let places = self.places.clone();
        let open = move || match places.open_existing().map_err(closed)? {
            Some(store) => Ok(Some(Arc::new(store) as Arc<dyn Store>)),
            None => Ok(None),
        };
        self.context_with(roots, Memory::looking(open))
    }

    fn context_with(&self, roots: &[PathBuf], memory: Memory) -> Result<Context, CliError> {
        let context = Context::default()
            .with_events(self.events.clone())
            .with_memory(memory);
        if roots.is_empty() {
            return Ok(context);
        }
        let transport = transport(roots, &self.events)?;
        Ok(context.with_http(transport.http().clone()))
    }

    /// A way to see what stands at a name, for providers.
    pub(super) fn onlooker(&self, probing: &Probing) -> Onlooker {
        let (asker, discovery, _) = self.look(probing);
        Onlooker::new(asker, discovery)
    }

    /// Zones that these providers write.
    pub(super) fn zones(
        &self,
        probing: &Probing,
        providers: Providers,
    ) -> Result<Arc<Zones>, CliError> {
        for (message, hint) in providers.warnings {
            self.events.warn(message, Some(hint));
        }
        let (_, discovery, propagation) = self.look(probing);
        let named = providers
            .providers
            .into_iter()
            .map(|(name, provider)| NamedProvider { name, provider })
            .collect();
        let routes = Routes::new(named, providers.routes, providers.fallback)?;
        let zones = Zones::new(routes, discovery, propagation, self.events.clone());
        Ok(Arc::new(zones.with_delegation(providers.delegation)))
    }
}

fn closed(error: CliError) -> MemoryError {
    MemoryError::Closed {
        message: error.to_string(),
        hint: error.hint(),
    }
}

/// Engines that differ only in whom they trust beside the system's roots.
#[derive(Debug)]
pub(super) struct Engines {
    caa: CaaPolicy,
    #[cfg(debug_assertions)]
    cancel: CancellationToken,
    events: Events,
    live: Live,
    person: Person,
    made: BTreeMap<Vec<PathBuf>, Arc<Engine>>,
    /// An empty store for who only looks; goes away with this.
    _nothing: Option<TempDir>,
    store: Arc<WithLentAccounts>,
    zones: Arc<Zones>,
}

impl Engines {
    /// Engines that work on the store, which is made where it is missing.
    pub(super) fn new(app: &App, work: &Work, zones: Arc<Zones>) -> Result<Self, CliError> {
        Self::over(app.places.open()?, None, app, work, zones)
    }

    /// Engines for who only looks: where there is no store, none is made.
    pub(super) fn looking(app: &App, work: &Work, zones: Arc<Zones>) -> Result<Self, CliError> {
        if let Some(store) = app.places.open_existing()? {
            return Self::over(store, None, app, work, zones);
        }
        let nothing = tempfile::tempdir()
            .map_err(CliError::io("make a directory in", std::env::temp_dir()))?;
        let store = DirectoryStore::open(nothing.path())?;
        let store = SealedStore::new(store, StoreKeeper::nobody());
        Self::over(store, Some(nothing), app, work, zones)
    }

    fn over(
        store: SealedStore,
        nothing: Option<TempDir>,
        app: &App,
        work: &Work,
        zones: Arc<Zones>,
    ) -> Result<Self, CliError> {
        Ok(Self {
            caa: app.config.caa.unwrap_or_default(),
            #[cfg(debug_assertions)]
            cancel: work.cancel().clone(),
            events: work.events.clone(),
            live: app.live()?,
            person: Person::default(),
            made: BTreeMap::new(),
            _nothing: nothing,
            store: Arc::new(WithLentAccounts::new(Arc::new(store))),
            zones,
        })
    }

    /// The same, with CAA records stopping orders when this says so.
    pub(super) fn with_caa(mut self, policy: CaaPolicy) -> Self {
        self.caa = policy;
        self
    }

    /// The same, waiting for a person who sets records where one is there.
    pub(super) fn with_person(mut self, person: Person) -> Self {
        self.person = person;
        self
    }

    /// The engine for an order, and its request with the ways to its other CAs.
    pub(super) fn ready(&mut self, order: Order) -> Result<(Arc<Engine>, Request), CliError> {
        self.lend(&order)?;
        let mut request = order.request;
        let others = request.options.other_cas.iter_mut();
        for (other, roots) in others.zip(&order.other_roots) {
            if *roots != order.roots {
                other.transport = Some(transport(roots, &self.events)?);
            }
        }
        Ok((self.trusting(&order.roots)?, request))
    }

    /// Lets them find the account of an order whose key is not in the store.
    pub(super) fn lend(&self, order: &Order) -> Result<(), CliError> {
        let Some(key) = &order.account_key else {
            return Ok(());
        };
        let request = &order.request;
        let directory = request.ca.url.clone();
        Ok(self.store.lend(request.account_id(), directory, key)?)
    }

    /// The store they all work on.
    pub(super) fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// The engine that trusts these files.
    pub(super) fn trusting(&mut self, roots: &[PathBuf]) -> Result<Arc<Engine>, CliError> {
        if let Some(engine) = self.made.get(roots) {
            return Ok(engine.clone());
        }
        let engine = Engine::new(
            self.store.clone(),
            self.live.clone(),
            transport(roots, &self.events)?,
            self.zones.clone(),
            self.events.clone(),
        )
        .with_caa(self.caa)
        .with_person(self.person);
        #[cfg(debug_assertions)]
        let engine = match crate::pause::asked(&self.cancel) {
            Some(checkpoints) => engine.with_checkpoints(checkpoints),
            None => engine,
        };
        let engine = Arc::new(engine);
        self.made.insert(roots.to_vec(), engine.clone());
        Ok(engine)
    }
}

/// HTTP and TLS for resolvers, by the same roots and proxies as everything else; made when the first is asked.
pub(crate) fn resolver_clients(roots: Arc<Mutex<Vec<PathBuf>>>) -> Clients {
    Clients::new(move || {
        let roots = roots.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let said = |error: CliError| error.to_string();
        let http = transport(&roots, &Events::silent()).map_err(said)?;
        let roots = read_roots(&roots).map_err(said)?;
        let tls = tls_config(&roots).map_err(|error| error.to_string())?;
        Ok((http.http().clone(), tls))
    })
}

/// Ways to HTTP servers that these files vouch for, beside the system's roots.
pub(super) fn transport(roots: &[PathBuf], events: &Events) -> Result<Transport, CliError> {
    let known_hosts = PUBLIC_RESOLVERS.iter();
    let options = TransportOptions {
        extra_roots: read_roots(roots)?,
        known_hosts: known_hosts
            .map(|(_, host, addresses)| ((*host).to_owned(), addresses.to_vec()))
            .collect(),
        ..TransportOptions::default()
    };
    Ok(Transport::new(options, events.clone())?)
}

fn read_roots(paths: &[PathBuf]) -> Result<Vec<ExtraRoot>, CliError> {
    paths.iter().map(|path| read_root(path)).collect()
}

fn read_root(path: &Path) -> Result<ExtraRoot, CliError> {
    let pem = input::read(path).map_err(CliError::io("read the root certificate", path))?;
    Ok(ExtraRoot {
        name: path.display().to_string(),
        pem: pem.to_vec(),
    })
}
