//! One process of a plugin, from its start to its end.
//!
//! A request goes to its standard input as one line, and its answer comes from its standard output as one line; there is one
//! request at a time. What it writes to standard error is its log. It starts with a clean environment, in a process group of its
//! own, so that Ctrl-C at the terminal does not reach it in the middle of a write. It is asked to end when the session is dropped.

use std::collections::VecDeque;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use dnseal_core::event::Events;
use dnseal_core::event::What;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use serde_json::Value;
use tokio::io::AsyncBufRead;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::process::Child;
use tokio::process::ChildStdin;
use tokio::process::ChildStdout;
use tokio::process::Command;

use crate::plugin::protocol::Answer;
use crate::plugin::protocol::ErrorObject;
use crate::plugin::protocol::Request;
use crate::plugin::trust;
use crate::plugin::trust::TrustError;

/// A running plugin.
#[derive(Debug)]
pub(super) struct Session {
    /// Whether a request is without its answer; a session that was left in that state is of no use any more.
    busy: bool,
    child: Child,
    log: Log,
    next_id: u64,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    warned: bool,
}

/// Why a request has no result.
#[derive(Debug)]
pub(super) enum CallError {
    /// The plugin answered with an error.
    Answered(ErrorObject),
    /// What it sent is not the protocol.
    Broken(String),
    /// It ended, with these last words.
    Ended { how: String, said: Option<String> },
    /// It could not be started.
    NotStarted(std::io::Error),
    /// No answer for so long.
    TimedOut(Duration),
    /// It must not be started.
    Untrusted(TrustError),
}

impl Session {
    /// Starts the process.
    pub(super) fn start(command: &[String], log: Log) -> Result<Self, CallError> {
        trust::check_command(command).map_err(CallError::Untrusted)?;
        let (program, arguments) = command.split_first().ok_or_else(|| {
            CallError::NotStarted(std::io::Error::other("the command has no program"))
        })?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", SEARCH_PATH)
            .env("LANG", "C.UTF-8")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn().map_err(CallError::NotStarted)?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(CallError::NotStarted(std::io::Error::other(
                "it has no standard streams",
            )));
        };
        tokio::spawn(log.clone().follow(BufReader::new(stderr)));
        Ok(Self {
            busy: false,
            child,
            log,
            next_id: 1,
            stdin: Some(stdin),
            stdout: BufReader::new(stdout),
            warned: false,
        })
    }

    /// Whether requests can be sent.
    pub(super) fn is_usable(&mut self) -> bool {
        !self.busy && matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks, and waits for the answer.
    pub(super) async fn call(
        &mut self,
        method: &str,
        params: &Value,
        patience: Duration,
    ) -> Result<Value, CallError> {
        let request = Request {
            jsonrpc: "2.0",
            id: self.next_id,
            method,
            params,
        };
        let line = serde_json::to_vec(&request).map_err(|e| CallError::Broken(e.to_string()))?;
        self.send(Zeroizing::new(line), patience).await
    }

    /// The same, with parameters that are JSON already and may hold secrets.
    pub(super) async fn call_secretly(
        &mut self,
        method: &str,
        params: &SecretString,
        patience: Duration,
    ) -> Result<Value, CallError> {
        let line = format!(
            r#"{{"jsonrpc":"2.0","id":{},"method":"{method}","params":{}}}"#,
            self.next_id,
            params.expose_secret()
        );
        self.send(Zeroizing::new(line.into_bytes()), patience).await
    }

    async fn send(
        &mut self,
        mut line: Zeroizing<Vec<u8>>,
        patience: Duration,
    ) -> Result<Value, CallError> {
        let id = self.next_id;
        self.next_id += 1;
        self.busy = true;
        line.push(b'\n');
        let Some(stdin) = self.stdin.as_mut() else {
            return Err(CallError::Broken("its standard input is closed".to_owned()));
        };
        let mut written = false;
        let write = async {
            // A plugin that is gone is noticed where its answer should be.
            if stdin.write_all(&line).await.is_ok() && stdin.flush().await.is_ok() {
                written = true;
            }
            std::future::pending::<()>().await;
        };
        let read = read_answer(&mut self.stdout, id, &self.log, &mut self.warned);
        // A plugin that talks before it has listened fills no pipe that way.
        let answer = tokio::time::timeout(patience, async {
            tokio::select! {
                answer = read => answer,
                () = write => Ok(None),
            }
        })
        .await;
        let answer = match answer {
            Err(_) => Err(CallError::TimedOut(patience)),
            Ok(Ok(Some(_))) if !written => Err(CallError::Broken(
                "it answered before it had read the request".to_owned(),
            )),
            Ok(Ok(Some(answer))) => Ok(answer),
            Ok(Ok(None)) => Err(self.ended().await),
            Ok(Err(broken)) => Err(broken),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.kill();
                return Err(error);
            }
        };
        self.busy = false;
        match (answer.result, answer.error) {
            (Some(result), None) => Ok(result),
            (_, Some(error)) => Err(CallError::Answered(
                error.in_words(|text| self.log.words(text)),
            )),
            (None, None) => Err(CallError::Broken(
                "an answer with neither `result` nor `error`".to_owned(),
            )),
        }
    }

    /// How it ended, with the last line of its log, which may come a little later than the end.
    async fn ended(&mut self) -> CallError {
        let how = match tokio::time::timeout(LAST_WORDS, self.child.wait()).await {
            Ok(Ok(status)) => format!("it ended with {status}"),
            Ok(Err(error)) => format!("it ended: {error}"),
            Err(_) => "it closed its standard output".to_owned(),
        };
        let said = tokio::time::timeout(LAST_WORDS, self.log.finished()).await;
        CallError::Ended {
            how,
            said: said.ok().flatten().or_else(|| self.log.last()),
        }
    }

    fn kill(&mut self) {
        self.busy = true;
        #[cfg(unix)]
        if let Some(pid) = self
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(rustix::process::Pid::from_raw)
        {
            // What it started ends with it; that it is gone already is no error.
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
        let _ = self.child.start_kill();
    }
}

impl Drop for Session {
    /// Says `shutdown`, closes its standard input, and gives it a moment.
    fn drop(&mut self) {
        if self.is_usable() {
            #[cfg(unix)]
            if let Some(fd) = self.stdin.take().and_then(|s| s.into_owned_fd().ok()) {
                use std::io::Write;

                let line = format!(
                    "{{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"shutdown\",\"params\":{{}}}}\n",
                    self.next_id
                );
                // The pipe is empty, so that this does not wait; a plugin that is gone needs no telling.
                let _ = std::fs::File::from(fd).write_all(line.as_bytes());
            }
            self.stdin = None;
            let began = Instant::now();
            while began.elapsed() < FAREWELL {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    return;
                }
                std::thread::sleep(LOOK_AGAIN);
            }
        }
        self.kill();
    }
}

/// The answer to request `id`; `None` at the end of the stream.
async fn read_answer(
    stdout: &mut BufReader<ChildStdout>,
    id: u64,
    log: &Log,
    warned: &mut bool,
) -> Result<Option<Answer>, CallError> {
    loop {
        let line = match read_line(stdout, MAX_LINE).await {
            Ok(Line::Whole(line)) => line,
            // What an unfinished line was to be, nobody knows.
            Ok(Line::End) => return Ok(None),
            Ok(Line::TooLong(_)) => {
                return Err(CallError::Broken(format!(
                    "it sent a line of more than {} MiB",
                    MAX_LINE >> 20
                )));
            }
            Err(error) => return Err(CallError::Broken(error.to_string())),
        };
        let answer: Answer = serde_json::from_slice(&line).map_err(|error| {
            CallError::Broken(format!(
                "it wrote a line that is no answer: `{}` ({error})",
                log.excerpt(&line)
            ))
        })?;
        if answer.jsonrpc != "2.0" {
            return Err(CallError::Broken(format!(
                "its answer has `jsonrpc` \"{}\" and not \"2.0\"",
                log.excerpt(answer.jsonrpc.as_bytes())
            )));
        }
        match answer.id.as_u64() {
            Some(answered) if answered == id => return Ok(Some(answer)),
            Some(answered) if answered > 0 && answered < id => {
                if !*warned {
                    *warned = true;
                    log.warn(format!("it answered request {answered} again"));
                }
            }
            _ => {
                return Err(CallError::Broken(format!(
                    "it answered request {} when it was asked request {id}",
                    log.excerpt(answer.id.to_string().as_bytes())
                )));
            }
        }
    }
}

/// What a stream of lines gives.
enum Line {
    End,
    /// What there is of a line that is longer than the limit.
    TooLong(Vec<u8>),
    Whole(Vec<u8>),
}

/// The next line without its end; never holds more than `limit` octets.
async fn read_line(
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
pub(super) struct Log {
    events: Events,
    finished: Arc<tokio::sync::Notify>,
    lines: Arc<Mutex<VecDeque<String>>>,
    name: Arc<str>,
    secrets: Arc<[SecretString]>,
}

impl Log {
    /// The log of the provider called `name`.
    pub(super) fn new(name: &str, events: Events, secrets: Arc<[SecretString]>) -> Self {
        Self {
            events,
            finished: Arc::default(),
            lines: Arc::default(),
            name: name.into(),
            secrets,
        }
    }

    /// The same for a new process.
    pub(super) fn afresh(&self) -> Self {
        Self::new(&self.name, self.events.clone(), self.secrets.clone())
    }

    /// What may be shown of what a plugin sent.
    pub(super) fn excerpt(&self, bytes: &[u8]) -> String {
        let text = self.scrub(&String::from_utf8_lossy(bytes));
        let mut text: String = text.chars().map(visible).collect();
        if let Some((at, _)) = text.char_indices().nth(EXCERPT) {
            text.truncate(at);
            text.push('…');
        }
        text
    }

    /// The text without the secrets that the plugin was told.
    pub(super) fn scrub(&self, text: &str) -> String {
        self.secrets
            .iter()
            .map(ExposeSecret::expose_secret)
            // A secret so short protects nothing, and taking it out would only garble the words.
            .filter(|secret| secret.len() > 2)
            .fold(text.to_owned(), |text, secret| {
                text.replace(secret, "[redacted]")
            })
    }

    /// Words of a plugin for a message: without secrets, on one line, not endless.
    pub(super) fn words(&self, text: &str) -> String {
        let text = self.scrub(text);
        let mut text: String = text.trim().chars().map(visible).collect();
        if let Some((at, _)) = text.char_indices().nth(MESSAGE) {
            text.truncate(at);
            text.push('…');
        }
        text
    }

    fn warn(&self, message: String) {
        self.events.warn(
            format!("the plugin `{}` is broken: {message}", self.name),
            Some("tell its author".to_owned()),
        );
    }

    fn last(&self) -> Option<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.back().cloned()
    }

    async fn finished(&self) -> Option<String> {
        self.finished.notified().await;
        self.last()
    }

    /// Reads to the end, so that the plugin never waits for us, and tells the first lines of it.
    async fn follow(self, mut stderr: impl AsyncBufRead + Unpin) {
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

/// What programs that a plugin starts are looked for in; the plugin itself is not looked for.
pub(crate) const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The outcomes of ten thousand changes fit, with handles.
const MAX_LINE: usize = 4 << 20;
const LOG_LINE: usize = 8 << 10;
const EXCERPT: usize = 80;
const MESSAGE: usize = 1000;
const LAST_LINES: usize = 5;
const MAX_LINES: usize = 10_000;
/// How long the end of a process may come after the end of its output.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How long a plugin may take to end when it is asked to.
const FAREWELL: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(5);
