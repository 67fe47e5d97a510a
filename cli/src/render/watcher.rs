//! The one consumer of the event stream: it reads in order, and feeds progress, log and statistics.

use dnseal_core::event::Event;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::render::LogFile;
use crate::render::Progress;
use crate::render::Stats;
use crate::render::progress::Display;

/// Reads events until it is told that no more will come.
#[derive(Debug)]
pub(crate) struct Watcher {
    task: JoinHandle<Stats>,
    stop: CancellationToken,
}

impl Watcher {
    /// Begins to read.
    pub(crate) fn start(
        mut events: UnboundedReceiver<Event>,
        progress: Progress,
        mut log: Option<LogFile>,
        metrics: Option<Metrics>,
    ) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut stats = Stats::default();
            let mut display = Display::new(progress.clone());
            let mut read = |event: Event| {
                stats.count(&event);
                if let Some(metrics) = &metrics {
                    metrics.count(&event);
                }
                if let Some(Err(error)) = log.as_mut().map(|log| log.write(&event)) {
                    log = None;
                    progress.say(&format!(
                        "warning: the log file cannot be written any more: {error}"
                    ));
                }
                display.show(&event);
            };
            loop {
                tokio::select! {
                    biased;
                    event = events.recv() => match event {
                        Some(event) => read(event),
                        None => break,
                    },
                    () = stopped.cancelled() => break,
                }
            }
            // What was said before the end was told is still there.
            while let Ok(event) = events.try_recv() {
                read(event);
            }
            display.finish();
            stats
        });
        Self { task, stop }
    }

    /// Reads what is left, takes moving lines away, and gives the counts.
    pub(crate) async fn finish(self) -> Stats {
        self.stop.cancel();
        match self.task.await {
            Ok(stats) => stats,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Stats::default(),
            },
        }
    }
}
