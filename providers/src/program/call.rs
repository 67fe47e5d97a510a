//! One run of a program from its start to its end: what it wrote, how it ended, and that it does end.

use std::process::ExitStatus;
use std::process::Stdio;
use std::time::Duration;

use dnseal_core::dns::ProviderError;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::BufReader;
use tokio::process::Command;

use crate::program;
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
        let mut child = command
            .spawn()
            .map_err(|error| refused(format!("it cannot be started: {error}")))?;
        let log = self.log.afresh();
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(log.clone().follow(BufReader::new(stderr)));
        }
        let stdout = child.stdout.take();
        let running = async {
            let output = read_some(stdout).await;
            (child.wait().await, output)
        };
        let (status, output) = match tokio::time::timeout(self.timeout, running).await {
            Ok((Ok(status), output)) => (status, output),
            Ok((Err(error), _)) => return Err(refused(error.to_string())),
            Err(_) => {
                program::kill(&mut child);
                return Err(ProviderError::Unreachable {
                    detail: format!(
                        "it did not end within {}s, and was stopped",
                        self.timeout.as_secs_f64()
                    ),
                    endpoint: self.endpoint.clone(),
                });
            }
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
async fn read_some(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else {
        return String::new();
    };
    let mut kept = Vec::new();
    let mut buffer = vec![0; 8 << 10];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        let room = MAX_OUTPUT.saturating_sub(kept.len());
        kept.extend(buffer.iter().take(count.min(room)));
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// Scripts sleep for propagation, and some print what an API answered.
const MAX_OUTPUT: usize = 16 << 10;
const LAST_WORDS: Duration = Duration::from_millis(500);
