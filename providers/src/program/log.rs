//! Lines that a program writes, on their way to whoever listens: bounded, visible, and without the secrets it was told.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use dnseal_core::event::Events;
use dnseal_core::event::What;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use tokio::io::AsyncBufRead;
use tokio::io::AsyncBufReadExt;

use crate::redact::Secrets;

/// What a stream of lines gives.
pub(crate) enum Line {
    End,
    /// What there is of a line that is longer than the limit.
    TooLong(Vec<u8>),
    Whole(Vec<u8>),
}

/// The next line without its end; never holds more than `limit` octets.
pub(crate) async fn read_line(
    reader: &mut (impl AsyncBufRead + Unpin),
    limit: usize,
) -> std::io::Result<Line> {
    let mut line = Vec::new();
    loop {
        let available = reader.fill_buf().await?;
        if available.is_empty() {
            return Ok(match line.is_empty() {
                true => Line::End,
                false => Line::Whole(line),
            });
        }
        let end = available.iter().position(|&b| b == b'\n');
        let take = end.unwrap_or(available.len());
        let room = limit.saturating_sub(line.len());
        line.extend(available.iter().take(take.min(room)));
        if take > room {
            // The rest of this buffer is read with the next line.
            reader.consume(room.max(1));
            return Ok(Line::TooLong(line));
        }
        match end {
            Some(end) => {
                reader.consume(end + 1);
                return Ok(Line::Whole(line));
            }
            None => reader.consume(take),
        }
    }
}

/// What a plugin writes to standard error, on its way to whoever listens; secrets that it was told are taken out.
#[derive(Clone)]
pub(crate) struct Log {
    events: Events,
    finished: Arc<tokio::sync::Notify>,
    lines: Arc<Mutex<VecDeque<String>>>,
    name: Arc<str>,
    secrets: Secrets,
}

impl Log {
    /// The log of the provider called `name`.
    pub(crate) fn new(name: &str, events: Events, secrets: Secrets) -> Self {
        Self {
            events,
            finished: Arc::default(),
            lines: Arc::default(),
            name: name.into(),
            secrets,
        }
    }

    /// The same for a new process.
    pub(crate) fn afresh(&self) -> Self {
        Self::new(&self.name, self.events.clone(), self.secrets.clone())
    }

    /// What may be shown of what a plugin sent.
    pub(crate) fn excerpt(&self, bytes: &[u8]) -> String {
        let text = self.scrub(&String::from_utf8_lossy(bytes));
        let mut text: String = text.chars().map(visible).collect();
        if let Some((at, _)) = text.char_indices().nth(EXCERPT) {
            text.truncate(at);
            text.push('…');
        }
        text
    }

    /// The text without the secrets that the plugin was told.
    pub(crate) fn scrub(&self, text: &str) -> String {
        self.secrets.scrub(text)
    }

    /// Whether a value that nobody has called a secret, but might be one, is taken out: one so short is a word, such as `tty` or `yes`.
    pub(crate) fn may_be_secret(value: &SecretString) -> bool {
        value.expose_secret().len() >= SHORTEST_SECRET
    }

    /// Words of a plugin for a message: without secrets, on one line, not endless.
    pub(crate) fn words(&self, text: &str) -> String {
        let text = self.scrub(text);
        let mut text: String = text.trim().chars().map(visible).collect();
        if let Some((at, _)) = text.char_indices().nth(MESSAGE) {
            text.truncate(at);
            text.push('…');
        }
        text
    }

    pub(crate) fn warn(&self, message: String) {
        self.events.warn(
            format!("the plugin `{}` is broken: {message}", self.name),
            Some("the plugin has to be mended".to_owned()),
        );
    }

    /// Something small that is wrong with the plugin and hinders nobody, for who listens to its log.
    pub(crate) fn note(&self, message: &str) {
        tracing::debug!(plugin = %self.name, "{message}");
        self.events.emit(What::ProviderLog {
            provider: self.name.to_string(),
            line: format!("(dnseal: {message})"),
        });
    }

    pub(crate) fn last(&self) -> Option<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.back().cloned()
    }

    /// The last lines, the newest at the end.
    pub(crate) fn tail(&self) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().cloned().collect()
    }

    pub(crate) async fn finished(&self) -> Option<String> {
        self.finished.notified().await;
        self.last()
    }

    /// Reads to the end, so that the plugin never waits for us, and tells the first lines of it.
    pub(crate) async fn follow(self, mut stderr: impl AsyncBufRead + Unpin) {
        let mut told = 0;
        while let Ok(line) = read_line(&mut stderr, LOG_LINE).await {
            let line = match line {
                Line::End => break,
                Line::TooLong(line) | Line::Whole(line) => line,
            };
            let line = self.words(&String::from_utf8_lossy(&line));
            if line.is_empty() {
                continue;
            }
            told += 1;
            if told <= MAX_LINES {
                tracing::debug!(plugin = %self.name, "{line}");
                self.events.emit(What::ProviderLog {
                    provider: self.name.to_string(),
                    line: line.clone(),
                });
            }
            let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() == LAST_LINES {
                lines.pop_front();
            }
            lines.push_back(line);
        }
        self.finished.notify_one();
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What a terminal may be sent.
fn visible(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

const LOG_LINE: usize = 8 << 10;
const EXCERPT: usize = 80;
const SHORTEST_SECRET: usize = 6;
const MESSAGE: usize = 1000;
const LAST_LINES: usize = 20;
const MAX_LINES: usize = 10_000;
