//! One run of a program from its start to its end: what it wrote, how it ended, and that it does end.
//!
//! It is over when its own process is. What that has left in the background may hold its standard output open for ever, and is left
//! alone, because it may be meant to go on; of a program that did not end in time nothing is left.

use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use dnseal_core::dns::ProviderError;
use dnseal_core::processes::Mark;
use dnseal_core::processes::Processes;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::BufReader;
use tokio::process::Command;

use crate::program::Log;

/// What is to be run for whom.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    /// Where it writes to, for messages.
    pub(crate) endpoint: String,
    pub(crate) log: &'a Log,
    /// How long it may take before it is stopped.
    pub(crate) timeout: Duration,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The beginning of what it wrote to standard output.
    pub(crate) output: String,
    /// The last lines that it wrote to standard error, or else to standard output; without secrets.
    pub(crate) said: Vec<String>,
    pub(crate) status: ExitStatus,
}

impl Call<'_> {
    /// Runs the command with standard input closed, so that a program that asks is told that nobody answers.
    pub(crate) async fn run(&self, mut command: Command) -> Result<Ended, ProviderError> {
        let refused = |detail: String| ProviderError::Refused {
            detail,
            endpoint: self.endpoint.clone(),
            hint: None,
        };
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mark = Mark::of_this_run();
        let (name, value) = mark.variable();
        command.env(name, value);
        let mut child = command
            .spawn()
            .map_err(|error| refused(format!("it cannot be started: {error}")))?;
        let log = self.log.afresh();
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(log.clone().follow(BufReader::new(stderr)));
        }
        let output = Arc::<Mutex<Vec<u8>>>::default();
        let reading = tokio::spawn(read_some(child.stdout.take(), output.clone()));
        let processes = Processes::of(&child, mark);
        let status = match tokio::time::timeout(self.timeout, child.wait()).await {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => return Err(refused(error.to_string())),
            Err(_) => {
                // Whether it has ended then makes no difference any more.
                let _ = processes.end(&mut child, GRACE).await;
                processes.leave();
                return Err(ProviderError::Failed {
                    detail: format!(
                        "it did not end within {}s, and was stopped",
                        self.timeout.as_secs_f64()
                    ),
                    endpoint: self.endpoint.clone(),
                    hint: Some(match log.last() {
                        Some(last) => {
                            format!("it last said \"{last}\"; `timeout` gives it more time")
                        }
                        None => {
                            "run it by hand to see what it waits for; `timeout` gives it more time"
                                .to_owned()
                        }
                    }),
                });
            }
        };
        processes.leave();
        let _ = tokio::time::timeout(LAST_WORDS, reading).await;
        let output = {
            let output = output.lock().unwrap_or_else(PoisonError::into_inner);
            String::from_utf8_lossy(&output).into_owned()
        };
        let mut said = Vec::new();
        if !status.success() {
            // What it started may keep its standard error open.
            let _ = tokio::time::timeout(LAST_WORDS, log.finished()).await;
            said = log.tail();
            if said.is_empty() {
                said.extend(output.lines().next_back().map(|line| log.words(line)));
            }
        }
        Ok(Ended {
            output,
            said,
            status,
        })
    }
}

impl Ended {
    /// The status and the last `lines` of what it said, for a message.
    pub(crate) fn words(&self, lines: usize) -> String {
        let skipped = self.said.len().saturating_sub(lines);
        let said: Vec<&str> = self.said.iter().skip(skipped).map(String::as_str).collect();
        match said.is_empty() {
            true => self.status.to_string(),
            false => format!("{}: {}", self.status, said.join("; ")),
        }
    }
}

/// The beginning of what comes; the rest is read and forgotten, so that the program does not wait for us.
async fn read_some(stream: Option<impl AsyncRead + Unpin>, kept: Arc<Mutex<Vec<u8>>>) {
    let Some(mut stream) = stream else { return };
    let mut buffer = vec![0; 8 << 10];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MAX_OUTPUT.saturating_sub(kept.len());
        kept.extend(buffer.iter().take(count.min(room)));
    }
}

/// Scripts sleep for propagation, and some print what an API answered.
const MAX_OUTPUT: usize = 16 << 10;
/// How long output may come after the end of the program: what was written before it is there at once.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// From being asked to end to being killed: time to remove a temporary file.
const GRACE: Duration = Duration::from_secs(1);
