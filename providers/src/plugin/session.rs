//! One process of a plugin, from its start to its end.
//!
//! A request goes to its standard input as one line, and its answer comes from its standard output as one line; there is one
//! request at a time. What it writes to standard error is its log. It starts with a clean environment, in a process group of its
//! own, so that Ctrl-C at the terminal does not reach it in the middle of a write. It is asked to end when the session is dropped.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use dnseal_core::processes::Mark;
use dnseal_core::processes::Processes;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::process::Child;
use tokio::process::ChildStdin;
use tokio::process::ChildStdout;
use tokio::process::Command;

use crate::plugin::first_line;
use crate::plugin::fit;
use crate::plugin::protocol::Answer;
use crate::plugin::protocol::ErrorObject;
use crate::plugin::protocol::Request;
use crate::program;
use crate::program::Line;
use crate::program::Log;
use crate::program::TrustError;
use crate::program::read_line;
use crate::program::trust;

/// A running plugin.
#[derive(Debug)]
pub(super) struct Session {
    /// Whether a request is without its answer; a session that was left in that state is of no use any more.
    busy: bool,
    child: Child,
    heard: Heard,
    log: Log,
    next_id: u64,
    /// Until it has ended well.
    processes: Option<Processes>,
    program: PathBuf,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

/// What has come from a plugin so far.
#[derive(Debug, Default)]
struct Heard {
    /// The request that it has answered again since it was last asked.
    again: Option<u64>,
    /// Whether it has ever answered.
    anything: bool,
    /// Small breaches that were told already.
    told: BTreeSet<&'static str>,
    warned: bool,
}

/// Why a request has no result.
#[derive(Debug)]
pub(super) enum CallError {
    /// The plugin answered with an error.
    Answered(ErrorObject),
    /// What it sent is not the protocol.
    Broken(String),
    /// It ended, with these last words, if it had any.
    Ended {
        hint: Option<String>,
        how: String,
        said: Option<String>,
        /// Whether it has ended as if all were done.
        well: bool,
    },
    /// It could not be started.
    NotStarted {
        hint: Option<String>,
        source: std::io::Error,
    },
    /// No answer for so long.
    TimedOut {
        /// What it has answered instead, a second time.
        again: Option<u64>,
        /// Whether it has never answered anything.
        mute: bool,
        patience: Duration,
    },
    /// It must not be started.
    Untrusted(TrustError),
}

impl Session {
    /// Starts the process.
    pub(super) fn start(command: &[String], log: Log) -> Result<Self, CallError> {
        trust::check_command(command).map_err(CallError::Untrusted)?;
        let cannot = |why: &str| CallError::NotStarted {
            hint: None,
            source: std::io::Error::other(why),
        };
        let (program, arguments) = command
            .split_first()
            .ok_or_else(|| cannot("the command has no program"))?;
        let program = PathBuf::from(program);
        let mut command = Command::new(&program);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        program::contain(&mut command);
        let mark = Mark::of_this_run();
        let (name, value) = mark.variable();
        command.env(name, value);
        let mut child = command
            .spawn()
            .map_err(|source| CallError::not_started(&program, source))?;
        let processes = Some(Processes::of(&child, mark));
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(cannot("it has no standard streams"));
        };
        tokio::spawn(log.clone().follow(BufReader::new(stderr)));
        Ok(Self {
            busy: false,
            child,
            heard: Heard::default(),
            log,
            next_id: 1,
            processes,
            program,
            stdin: Some(stdin),
            stdout: BufReader::new(stdout),
        })
    }

    /// Words of the plugin, as they may be shown.
    pub(super) fn words(&self, text: &str) -> String {
        self.log.words(text)
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
        self.heard.again = None;
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
        let read = read_answer(&mut self.stdout, id, &self.log, &mut self.heard);
        // A plugin that talks before it has listened fills no pipe that way.
        let answer = tokio::time::timeout(patience, async {
            tokio::select! {
                answer = read => answer,
                () = write => Ok(None),
            }
        })
        .await;
        let answer = match answer {
            Err(_) => Err(CallError::TimedOut {
                again: self.heard.again,
                mute: !self.heard.anything,
                patience,
            }),
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
        let (how, well) = match tokio::time::timeout(LAST_WORDS, self.child.wait()).await {
            Ok(Ok(status)) => (format!("it ended with {status}"), status.success()),
            Ok(Err(error)) => (format!("it ended: {error}"), false),
            Err(_) => ("it closed its standard output".to_owned(), false),
        };
        let said = tokio::time::timeout(LAST_WORDS, self.log.finished()).await;
        let hint = match self.heard.anything {
            true => None,
            // `env` starts, and finds no interpreter of that name.
            false => first_line::is_crlf(&self.program),
        };
        CallError::Ended {
            hint,
            how,
            said: said.ok().flatten().or_else(|| self.log.last()),
            well,
        }
    }

    fn kill(&mut self) {
        self.busy = true;
        // Ends them.
        drop(self.processes.take());
        // One that has ended is what is wanted.
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
                    if let Some(processes) = self.processes.take() {
                        processes.leave();
                    }
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
    heard: &mut Heard,
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
        let no_answer = |why: String| {
            let (line, why) = (log.excerpt(&line), log.words(&why));
            CallError::Broken(format!(
                "it wrote a line that is no answer: `{line}` ({why})"
            ))
        };
        let value: Value = serde_json::from_slice(&line)
            .map_err(|error| no_answer(format!("no JSON: {error}")))?;
        let answer: Answer = fit::read(&value).map_err(no_answer)?;
        if answer.jsonrpc != "2.0" {
            return Err(CallError::Broken(format!(
                "its answer has `jsonrpc` \"{}\" and not \"2.0\"",
                log.excerpt(answer.jsonrpc.as_bytes())
            )));
        }
        match answer.id.as_u64() {
            Some(answered) if answered == id => {
                heard.anything = true;
                if let Some(breach) = small_breach(&value)
                    && heard.told.insert(breach)
                {
                    log.note(breach);
                }
                return Ok(Some(answer));
            }
            Some(answered) if answered > 0 && answered < id => {
                heard.again = Some(answered);
                if !heard.warned {
                    heard.warned = true;
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

/// What is not as the protocol has it, and can be understood all the same.
fn small_breach(answer: &Value) -> Option<&'static str> {
    match (answer.get("result"), answer.get("error")) {
        (Some(_), Some(Value::Null)) => {
            Some("an answer has either `result` or `error`, and not `error: null` beside `result`")
        }
        (_, Some(Value::Object(error))) if !error.contains_key("message") => {
            Some("an error has a `message`")
        }
        _ => None,
    }
}

/// The outcomes of ten thousand changes fit, with handles.
const MAX_LINE: usize = 4 << 20;
/// How long the end of a process may come after the end of its output.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How long a plugin may take to end when it is asked to.
const FAREWELL: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(5);
