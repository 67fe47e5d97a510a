//! Ctrl-C, SIGTERM and SIGHUP: the first asks the work to end in order, the second ends it at once.

use std::sync::Arc;
use std::sync::OnceLock;

use tokio_util::sync::CancellationToken;

use crate::exit_code::ExitCode;

/// What came, once something has.
#[derive(Clone, Debug)]
pub(crate) struct Signals {
    /// Cancelled by the first signal.
    pub(crate) cancel: CancellationToken,
    came: Arc<OnceLock<ExitCode>>,
}

impl Signals {
    /// Begins to listen.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let signals = Self::silent();
        let mut source = Source::new()?;
        let listener = signals.clone();
        tokio::spawn(async move {
            listener.stop(source.next().await);
            let second = source.next().await;
            std::process::exit(second.into());
        });
        Ok(signals)
    }

    /// One that hears of nothing but [`Self::stop`].
    pub(crate) fn silent() -> Self {
        Self {
            cancel: CancellationToken::new(),
            came: Arc::new(OnceLock::new()),
        }
    }

    /// What a signal does.
    pub(crate) fn stop(&self, code: ExitCode) {
        let _ = self.came.set(code);
        self.cancel.cancel();
    }

    /// The status to end with, if a signal came.
    pub(crate) fn came(&self) -> Option<ExitCode> {
        self.came.get().copied()
    }
}

#[cfg(unix)]
struct Source {
    /// A session that was lost or a terminal that was closed is no reason to leave values behind.
    hangup: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Source {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::SignalKind;
        use tokio::signal::unix::signal;

        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> ExitCode {
        tokio::select! {
            _ = self.hangup.recv() => ExitCode::HUNG_UP,
            _ = self.interrupt.recv() => ExitCode::INTERRUPTED,
            _ = self.terminate.recv() => ExitCode::TERMINATED,
        }
    }
}

#[cfg(not(unix))]
struct Source;

#[cfg(not(unix))]
impl Source {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> ExitCode {
        let _ = tokio::signal::ctrl_c().await;
        ExitCode::INTERRUPTED
    }
}
