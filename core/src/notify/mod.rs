//! Telling people and programs outside what became of certificates.
//!
//! A [`Notice`] says one thing of one certificate; a [`Notifier`] hands it to each [`Sink`] that wants it, a command or a
//! webhook, and each sink hears the same thing of the same certificate once a day at most (a new version is a new thing). What was said stands
//! in a file of this machine ([`crate::deploy::Said`]) and is written after the sink has taken it, so that a kill repeats a notice
//! and never loses one. That a sink fails is told as a warning and is never an error of the run.

mod command;
mod notice;
mod webhook;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use aws_lc_rs::digest;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::SignedDuration;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

pub use command::CommandError;
pub use notice::Cause;
pub use notice::Notice;
pub use notice::NoticeKind;
pub use notice::UnknownNotice;
pub use notice::expiring;
pub use notice::expiring_changes;
pub use webhook::WebhookError;
pub use webhook::verify;

use crate::deploy::Said;
use crate::event::Events;

/// Where notices go, and which.
#[derive(Clone, Debug)]
pub struct Sink {
    /// Where.
    pub to: Target,
    /// Which; empty means all.
    pub kinds: BTreeSet<NoticeKind>,
    /// How long one notice may take there, repetitions included.
    pub timeout: Duration,
}

/// Where notices go.
#[derive(Clone, Debug)]
pub enum Target {
    /// A program and its arguments; the notice is its standard input, and its environment says the most important of it.
    Command(Vec<String>),
    /// A URL that takes POSTs, and what they are signed with.
    Webhook {
        /// The URL, which for many services is a secret itself.
        url: SecretString,
        /// `whsec_` and base64, or any other text.
        secret: Option<SecretString>,
    },
}

impl Sink {
    /// What it is called in warnings: the program, or the host of the URL.
    pub fn name(&self) -> String {
        match &self.to {
            Target::Command(words) => words.first().cloned().unwrap_or_default(),
            Target::Webhook { url, .. } => webhook::shown(url),
        }
    }

    /// What is remembered of it: the same for the same target, and telling nothing of what may be secret.
    fn fingerprint(&self) -> String {
        let mut context = digest::Context::new(&digest::SHA256);
        match &self.to {
            Target::Command(words) => {
                for word in words {
                    context.update(word.as_bytes());
                    context.update(&[0]);
                }
            }
            Target::Webhook { url, .. } => context.update(url.expose_secret().as_bytes()),
        }
        let digest = context.finish();
        digest.as_ref()[..8]
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect()
    }

    fn wants(&self, kind: NoticeKind) -> bool {
        kind == NoticeKind::Test || self.kinds.is_empty() || self.kinds.contains(&kind)
    }
}

/// Why a sink did not take a notice.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotifyError {
    /// Somebody asked to stop.
    #[error("interrupted")]
    Cancelled,
    /// The command.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The webhook.
    #[error(transparent)]
    Webhook(#[from] WebhookError),
}

impl NotifyError {
    /// Whether the same notice may be taken later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Cancelled => true,
            Self::Command(error) => error.is_retryable(),
            Self::Webhook(error) => error.is_retryable(),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Cancelled => None,
            Self::Command(error) => error.hint(),
            Self::Webhook(error) => error.hint(),
        }
    }
}

/// What came of handing out notices.
#[derive(Debug, Default)]
pub struct Told {
    /// Notices that were taken, counted for each sink.
    pub sent: usize,
    /// Notices that a sink had heard within the day.
    pub known: usize,
    /// Sinks that failed, by name, and why.
    pub failed: Vec<(String, NotifyError)>,
}

/// Hands notices to sinks.
#[derive(Debug)]
pub struct Notifier {
    events: Events,
    http: reqwest::Client,
    said: Said,
    sinks: Vec<Sink>,
    pace: Duration,
}

impl Notifier {
    /// A notifier for these sinks that remembers in `said` and posts through `http`.
    pub fn new(sinks: Vec<Sink>, said: Said, http: reqwest::Client, events: Events) -> Self {
        Self {
            events,
            http,
            said,
            sinks,
            pace: FIRST_PAUSE,
        }
    }

    /// The same with another pause before the first repetition; each further pause is three times as long.
    pub fn with_pace(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }

    /// Whether nobody wants to hear of anything.
    pub fn is_idle(&self) -> bool {
        self.sinks.is_empty()
    }

    /// Hands out what each sink wants and has not heard within the day. Never fails; what went wrong is told as warnings too.
    pub async fn tell(
        &self,
        notices: &[Notice],
        now: Timestamp,
        cancel: &CancellationToken,
    ) -> Told {
        let mut told = Told::default();
        if notices.is_empty() || self.sinks.is_empty() {
            return told;
        }
        // Held while notices go out, so that two runs do not say the same thing.
        let said = match self.said.lock(LOCK_PATIENCE, cancel).await {
            Ok(said) => Some(said),
            Err(error) => {
                self.events.warn(
                    format!("what was notified before cannot be read, so things may be said twice: {error}"),
                    error.hint(),
                );
                None
            }
        };
        let mut record = said.as_ref().map(|said| said.read()).unwrap_or_default();
        if let Some(problem) = record.problem.take() {
            self.events.warn(problem, None);
        }
        let mut all: FuturesUnordered<_> = self
            .sinks
            .iter()
            .map(|sink| {
                let heard = record.of(&sink.fingerprint());
                async move {
                    (
                        sink,
                        self.tell_sink(sink, notices, &heard, now, cancel).await,
                    )
                }
            })
            .collect();
        while let Some((sink, (taken, known, error))) = all.next().await {
            told.sent += taken.len();
            told.known += known;
            record.add(&sink.fingerprint(), taken.into_iter().flatten(), now);
            if let Some(said) = &said
                && let Err(error) = said.write(&record, now)
            {
                self.events.warn(
                    format!(
                        "what was notified cannot be written down, so it may be said again: {error}"
                    ),
                    error.hint(),
                );
            }
            if let Some(error) = error {
                let name = sink.name();
                self.events
                    .warn(format!("{name} was not notified: {error}"), error.hint());
                told.failed.push((name, error));
            }
        }
        told
    }

    /// One after the other, in order; a sink that fails is left alone for this time.
    async fn tell_sink(
        &self,
        sink: &Sink,
        notices: &[Notice],
        heard: &BTreeMap<String, Timestamp>,
        now: Timestamp,
        cancel: &CancellationToken,
    ) -> (Vec<Vec<String>>, usize, Option<NotifyError>) {
        let (mut taken, mut known) = (Vec::new(), 0);
        for notice in notices.iter().filter(|n| sink.wants(n.kind)) {
            let topics = notice.topics();
            let has_heard = |topic| heard.get(topic).is_some_and(|at| is_fresh(*at, now));
            if notice.kind != NoticeKind::Test && topics.iter().all(has_heard) {
                known += 1;
                continue;
            }
            let sent = tokio::select! {
                biased;
                sent = self.hand_over(sink, notice, now) => sent,
                () = cancel.cancelled() => Err(NotifyError::Cancelled),
            };
            match sent {
                Ok(()) if notice.kind == NoticeKind::Test => taken.push(Vec::new()),
                Ok(()) => taken.push(topics),
                Err(error) => return (taken, known, Some(error)),
            }
        }
        (taken, known, None)
    }

    async fn hand_over(
        &self,
        sink: &Sink,
        notice: &Notice,
        now: Timestamp,
    ) -> Result<(), NotifyError> {
        match &sink.to {
            Target::Command(words) => {
                command::run(words, notice, now, sink.timeout).await?;
            }
            Target::Webhook { url, secret } => {
                let post = webhook::Post {
                    http: &self.http,
                    url,
                    secret: secret.as_ref(),
                    timeout: sink.timeout,
                    first_pause: self.pace,
                };
                post.send(notice, now).await?;
            }
        }
        Ok(())
    }
}

/// Whether something that was said then needs no saying now. A clock that was set back must not silence anybody.
fn is_fresh(then: Timestamp, now: Timestamp) -> bool {
    let ago = now.duration_since(then);
    ago < ONCE_IN && ago > -ONCE_IN
}

/// What a sink gets to take one notice unless the configuration says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// A little less than a day, so that a daily timer with some jitter says it each day.
const ONCE_IN: SignedDuration = SignedDuration::from_hours(22);
/// Before a webhook is tried again for the first time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Another run hands out notices for about as long.
const LOCK_PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
