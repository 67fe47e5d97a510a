//! Signals to a service: SIGHUP reads the configuration again, SIGTERM and Ctrl-C end it in order, and a second one of those ends it
//! at once.

use std::io;

use tokio::sync::mpsc;

use crate::exit_code::ExitCode;
use crate::signals::Signals;

/// What somebody has sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Signal {
    Reload,
    Stop,
}

/// Signals as they come. What ends the service also cancels [`ServiceSignals::stop`], so that work under way stops in order.
#[derive(Debug)]
pub(crate) struct ServiceSignals {
    pub(crate) stop: Signals,
    reloads: mpsc::UnboundedReceiver<()>,
}

impl ServiceSignals {
    /// Begins to listen.
    pub(crate) fn listen() -> io::Result<Self> {
        let stop = Signals::silent();
        let (sender, reloads) = mpsc::unbounded_channel();
        let stopped = stop.clone();
        let mut source = Source::new()?;
        tokio::spawn(async move {
            loop {
                match source.next().await {
                    (Signal::Reload, _) => {
                        // Nobody listens any more: it ends anyway.
                        let _ = sender.send(());
                    }
                    (Signal::Stop, code) if stopped.came().is_none() => stopped.stop(code),
                    (Signal::Stop, code) => std::process::exit(code.into()),
                }
            }
        });
        Ok(Self { stop, reloads })
    }

    /// The next one. Several that ask for the same count as one.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            biased;
            () = self.stop.cancel.cancelled() => Signal::Stop,
            asked = self.reloads.recv() => match asked {
                Some(()) => {
                    while self.reloads.try_recv().is_ok() {}
                    Signal::Reload
                }
                None => std::future::pending().await,
            },
        }
    }
}

#[cfg(unix)]
struct Source {
    hangup: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Source {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::SignalKind;
        use tokio::signal::unix::signal;

        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> (Signal, ExitCode) {
        tokio::select! {
            _ = self.hangup.recv() => (Signal::Reload, ExitCode::DONE),
            _ = self.interrupt.recv() => (Signal::Stop, ExitCode::INTERRUPTED),
            _ = self.terminate.recv() => (Signal::Stop, ExitCode::TERMINATED),
        }
    }
}

#[cfg(not(unix))]
struct Source;

#[cfg(not(unix))]
impl Source {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> (Signal, ExitCode) {
        let _ = tokio::signal::ctrl_c().await;
        (Signal::Stop, ExitCode::INTERRUPTED)
    }
}
