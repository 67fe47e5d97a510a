//! `dnseal run`: stays in the foreground and renews on its own schedule.
//!
//! A round looks at every certificate, renews what is due and says when it has to look again ([`round`]); between rounds this sleeps until
//! then by the wall clock, and not by any tick. SIGHUP reads the configuration again: a bad one is refused and the one in force
//! stays, a good one is said with what it changes ([`changes`]) and begins a new round. SIGTERM ends in order. Whoever watches is told: the
//! supervisor by sd_notify, Prometheus by `/metrics`, orchestrators by `/healthz`.

mod changes;
mod patience;
mod round;

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::args::GlobalArgs;
use crate::args::LogFormat;
use crate::args::RunArgs;
use crate::commands::App;
use crate::commands::run::patience::Patience;
use crate::error::CliError;
use crate::exit_code::ExitCode;
use crate::metrics::Listener;
use crate::metrics::Metrics;
use crate::render::LineFormat;
use crate::render::Printer;
use crate::render::Progress;
use crate::render::Report;
use crate::render::plural;
use crate::service;
use crate::service::ServiceSignals;
use crate::service::Signal;
use crate::service::Supervisor;
use crate::service::Woken;

pub(super) async fn run(
    global: &GlobalArgs,
    printer: Printer,
    args: &RunArgs,
) -> Result<Report, CliError> {
    let started = Timestamp::now();
    let printer = Printer {
        moving: false,
        lines: lines(args.log_format),
        ..printer
    };
    let app = App::new(global.clone(), printer)?;
    // A store that cannot be used is found out now, and not in the middle of the night.
    app.places.check_keys()?;
    app.places.open()?;
    let signals = ServiceSignals::listen().map_err(|error| CliError::Unexpected {
        message: format!("cannot listen for signals: {error}"),
        hint: None,
    })?;
    let metrics = Metrics::new(started);
    let progress = Progress::new(printer);
    let listener = match args.metrics {
        Some(address) => {
            let listener = Listener::bind(address, metrics.clone()).await;
            Some(listener.map_err(|error| {
                CliError::usage(
                    format!("cannot listen for metrics at {address}: {error}"),
                    "choose another address with `--metrics IP:PORT`",
                )
            })?)
        }
        None => None,
    };
    if let Some(listener) = &listener {
        progress.say(&format!(
            "metrics are at http://{}/metrics",
            listener.address()
        ));
    }
    let mut service = Service {
        app: Arc::new(app),
        args,
        metrics,
        patience: Patience::default(),
        progress,
        reload_pending: false,
        signals,
        supervisor: Arc::new(Supervisor::from_env()),
    };
    service.live().await
}

/// Text as it is where something else writes down the time.
fn lines(format: LogFormat) -> LineFormat {
    match format {
        LogFormat::Json => LineFormat::Json,
        LogFormat::Text if crate::env_vars::get(crate::env_vars::JOURNAL_STREAM).is_some() => {
            LineFormat::Plain
        }
        LogFormat::Text => LineFormat::Stamped,
    }
}

/// The loop and what it holds on to.
#[derive(Debug)]
struct Service<'a> {
    app: Arc<App>,
    args: &'a RunArgs,
    metrics: Metrics,
    /// What was tried in vain, which another configuration may change.
    patience: Patience,
    progress: Progress,
    /// Whether the configuration has changed since the last round began.
    reload_pending: bool,
    signals: ServiceSignals,
    supervisor: Arc<Supervisor>,
}

impl Service<'_> {
    /// Rounds and sleeps, until a signal ends it.
    async fn live(&mut self) -> Result<Report, CliError> {
        let _watchdog = self.watchdog();
        self.supervisor.ready("looking at certificates");
        self.progress.say(&format!(
            "dnseal {} is up, with {}",
            env!("CARGO_PKG_VERSION"),
            plural(self.app.config.certificates.len(), "certificate") + " in its configuration",
        ));
        while self.signals.stop.came().is_none() {
            let next = self.round().await;
            if self.reload_pending {
                self.reload_pending = false;
                self.patience = Patience::default();
                continue;
            }
            self.sleep(next).await;
        }
        self.supervisor.stopping();
        self.progress.say("stopped");
        // Ending it is what the signal is for; the second and the terminal's are their own.
        match self.signals.stop.came() {
            Some(code) if code != ExitCode::TERMINATED => Err(CliError::Interrupted(code)),
            _ => Ok(Report::silent()),
        }
    }

    /// One look at everything. Gives the time of the next one. What goes wrong as a whole is said, and tried again.
    async fn round(&mut self) -> Timestamp {
        self.metrics.alive_until(Instant::now() + LONGEST_ROUND);
        let app = self.app.clone();
        let (args, metrics, stop) = (self.args, self.metrics.clone(), self.signals.stop.clone());
        let round = round::run(&app, args, stop, &metrics, &mut self.patience);
        tokio::pin!(round);
        let ended = loop {
            tokio::select! {
                ended = &mut round => break ended,
                // What stops it has cancelled the round already, which ends in order.
                () = reload_asked(&mut self.signals) => {
                    if reload(&mut self.app, &self.metrics, &self.progress, &self.supervisor) {
                        self.reload_pending = true;
                    }
                }
            }
        };
        let now = Timestamp::now();
        let (next, certificates) = match ended {
            Ok(round) => (round.next, Some(round.certificates)),
            Err(CliError::Interrupted(_)) => (now, None),
            Err(error) => {
                self.progress.complain(&app.printer.error_text(&error));
                (now + AFTER_FAILURE, None)
            }
        };
        let next = next.clamp(now + SHORTEST_SLEEP, now + LONGEST_SLEEP);
        self.metrics.round(now, next);
        if let Some(certificates) = certificates {
            self.supervisor.status(&format!(
                "{}; next look at {}",
                plural(certificates, "certificate"),
                in_seconds(next)
            ));
        }
        next
    }

    /// Until `next`, or until somebody wants something earlier.
    async fn sleep(&mut self, next: Timestamp) {
        loop {
            let left =
                Duration::try_from(next.duration_since(Timestamp::now())).unwrap_or_default();
            self.metrics.alive_until(Instant::now() + left + WAKE_GRACE);
            let signal = tokio::select! {
                woken = service::until(next) => {
                    if woken == Woken::ClockSet {
                        self.progress.say("the clock was set: looking at every certificate again");
                    }
                    return;
                }
                signal = self.signals.next() => signal,
            };
            match signal {
                Signal::Stop => return,
                Signal::Reload => {
                    if reload(
                        &mut self.app,
                        &self.metrics,
                        &self.progress,
                        &self.supervisor,
                    ) {
                        self.patience = Patience::default();
                        return;
                    }
                }
            }
        }
    }

    /// Tells the supervisor that we live, as long as the loop keeps its promises.
    fn watchdog(&self) -> Option<Watchdog> {
        let every = self.supervisor.watchdog()?;
        let (supervisor, metrics) = (self.supervisor.clone(), self.metrics.clone());
        Some(Watchdog(tokio::spawn(async move {
            loop {
                if metrics.is_alive() {
                    supervisor.alive();
                }
                tokio::time::sleep(every).await;
            }
        })))
    }
}

/// A task that ends with this.
#[derive(Debug)]
struct Watchdog(tokio::task::JoinHandle<()>);

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Comes back when somebody asks for the configuration to be read again, and for nothing else.
async fn reload_asked(signals: &mut ServiceSignals) {
    if signals.next().await == Signal::Stop {
        std::future::pending().await
    }
}

/// Reads the configuration again. One that is not good changes nothing. Whether there is another one now.
fn reload(
    app: &mut Arc<App>,
    metrics: &Metrics,
    progress: &Progress,
    supervisor: &Supervisor,
) -> bool {
    supervisor.reloading();
    let read = App::new(app.global.clone(), app.printer);
    let changed = match read {
        Ok(new) => {
            let changes = changes::between(&app.config, &new.config);
            match changes.as_slice() {
                [] => {
                    progress.say("the configuration was read again, and nothing in it has changed")
                }
                changes => {
                    progress.say("the configuration was read again");
                    for change in changes {
                        progress.say(&format!("  {change}"));
                    }
                }
            }
            *app = Arc::new(new);
            metrics.reloaded(Timestamp::now(), true);
            // Also where nothing has changed: who asks wants to see something happen.
            true
        }
        Err(error) => {
            progress.complain(&app.printer.error_text(&error));
            progress.say("the configuration in force stays as it was");
            metrics.reloaded(Timestamp::now(), false);
            false
        }
    };
    supervisor.ready("the configuration was read again");
    changed
}

fn in_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// After something that concerns all certificates, such as a store that cannot be read.
const AFTER_FAILURE: SignedDuration = SignedDuration::from_mins(1);
/// Whatever is wrong, no CA is asked more often than this.
const SHORTEST_SLEEP: SignedDuration = SignedDuration::from_secs(1);
/// What is about to expire is told at least this often, and what `dnseal issue` has put into the store is found.
const LONGEST_SLEEP: SignedDuration = SignedDuration::from_hours(24);
/// A CA may queue for ten minutes, zones be slow, many certificates wait for each other; this is longer than all of it.
const LONGEST_ROUND: Duration = Duration::from_secs(4 * 3600);
/// A busy machine is late, and no hanging one.
const WAKE_GRACE: Duration = Duration::from_secs(120);
