//! A notice to a program: the document on its standard input, the most important of it in its environment.
//!
//! The program gets nothing of our environment but what programs need to run at all, so that no secret of ours reaches it. It is the
//! leader of a process group of its own, which is killed as a whole when the time is over.

use std::convert::Infallible;
use std::io;
use std::process::ExitStatus;
use std::process::Stdio;
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::process::Child;
use tokio::process::Command;

use super::Notice;
use crate::processes::Mark;
use crate::processes::Processes;

/// Why a program did not take a notice.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// It ended with another status than 0.
    #[error("{program} ended with {status}{}", said(output))]
    Failed {
        /// The last lines that it wrote.
        output: String,
        /// Which.
        program: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// It could not be started, or not be waited for.
    #[error("failed to run {program}: {source}")]
    NotRun {
        /// Which.
        program: String,
        /// The system's answer.
        source: io::Error,
    },
    /// It did not end in time, and was killed.
    #[error("{program} did not end within {}s and was killed{}", after.as_secs(), said(output))]
    TimedOut {
        /// How long it had.
        after: Duration,
        /// The last lines that it wrote.
        output: String,
        /// Which.
        program: String,
    },
}

impl CommandError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::TimedOut { .. })
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotRun { program, source } => match source.kind() {
                io::ErrorKind::NotFound => Some(format!(
                    "write the whole path of {program}, and look whether it is there"
                )),
                io::ErrorKind::PermissionDenied => Some(format!("`chmod +x {program}`")),
                _ => None,
            },
            Self::Failed { .. } | Self::TimedOut { .. } => None,
        }
    }
}

/// Runs `words` to their end, and hands them the notice.
pub(super) async fn run(
    words: &[String],
    notice: &Notice,
    now: Timestamp,
    timeout: Duration,
) -> Result<(), CommandError> {
    let (program, arguments) = words
        .split_first()
        .map_or(("", &[][..]), |(program, rest)| (program.as_str(), rest));
    let not_run = |source| CommandError::NotRun {
        program: program.to_owned(),
        source,
    };
    let mark = Mark::new();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(
            PASSED_ON
                .iter()
                .filter_map(|&name| Some((name, std::env::var_os(name)?))),
        )
        .envs(environment(notice, now))
        .envs([mark.variable()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    #[cfg(unix)]
    command.process_group(0);
    let mut child = command.spawn().map_err(not_run)?;
    let processes = Processes::of(&child, mark);
    let mut output = Tail::default();
    let document = notice.document(&super::webhook::new_id(), now);
    let ended = tokio::time::timeout(
        timeout,
        attend(&mut child, &document.to_string(), &mut output),
    )
    .await;
    match ended {
        Ok(_) => processes.leave(),
        Err(_) => drop(processes),
    }
    let output = output.lines();
    match ended {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(CommandError::Failed {
            output,
            program: program.to_owned(),
            status,
        }),
        Ok(Err(error)) => Err(not_run(error)),
        Err(_) => Err(CommandError::TimedOut {
            after: timeout,
            output,
            program: program.to_owned(),
        }),
    }
}

/// Feeds it, reads what it says, and waits for its end.
async fn attend(child: &mut Child, input: &str, output: &mut Tail) -> io::Result<ExitStatus> {
    let stdin = child.stdin.take();
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // Who does not read is told through the environment.
            let _ = stdin.write_all(input.as_bytes()).await;
            let _ = stdin.write_all(b"\n").await;
        }
    };
    let read = async {
        let (mut out, mut err) = ([0; 1024], [0; 1024]);
        // What it leaves running in the background may hold its output open; its own end is what counts.
        while stdout.is_some() || stderr.is_some() {
            tokio::select! {
                n = next(&mut stdout, &mut out) => output.add(&out[..n]),
                n = next(&mut stderr, &mut err) => output.add(&err[..n]),
            }
        }
        std::future::pending::<Infallible>().await
    };
    let wait = async {
        let ((), status) = tokio::join!(feed, child.wait());
        status
    };
    tokio::select! {
        // What it has said is read before its end is noticed.
        biased;
        never = read => match never {},
        status = wait => status,
    }
}

/// The next octets of a stream; one that has ended is taken away.
async fn next<R: AsyncReadExt + Unpin>(stream: &mut Option<R>, buffer: &mut [u8]) -> usize {
    let Some(reader) = stream else {
        return std::future::pending().await;
    };
    match reader.read(buffer).await {
        Ok(n) if n > 0 => n,
        _ => {
            *stream = None;
            0
        }
    }
}

/// What a notice says, for programs that do not read JSON.
fn environment(notice: &Notice, now: Timestamp) -> Vec<(&'static str, String)> {
    let names: Vec<String> = notice.names.iter().map(ToString::to_string).collect();
    let known = [
        ("DNSEAL_EVENT", Some(notice.kind.to_string())),
        ("DNSEAL_EVENT_TEXT", Some(notice.text(now))),
        (
            "DNSEAL_EVENT_CERTIFICATE",
            notice.certificate.as_ref().map(ToString::to_string),
        ),
        (
            "DNSEAL_EVENT_NAMES",
            Some(names.join(" ")).filter(|names| !names.is_empty()),
        ),
        ("DNSEAL_EVENT_DIRECTORY", notice.directory.clone()),
        (
            "DNSEAL_EVENT_VERSION",
            notice.version.map(|number| number.to_string()),
        ),
        (
            "DNSEAL_EVENT_NOT_AFTER",
            notice.not_after.map(|at| at.to_string()),
        ),
        (
            "DNSEAL_EVENT_SECONDS_LEFT",
            notice.seconds_left(now).map(|left| left.to_string()),
        ),
        ("DNSEAL_EVENT_TARGET", notice.target()),
        (
            "DNSEAL_EVENT_ERROR",
            notice.cause.as_ref().map(|cause| cause.message.clone()),
        ),
        (
            "DNSEAL_EVENT_HINT",
            notice.cause.as_ref().and_then(|cause| cause.hint.clone()),
        ),
    ];
    known
        .into_iter()
        // An environment cannot hold a NUL.
        .filter_map(|(name, value)| Some((name, value?.replace('\0', " "))))
        .collect()
}

/// The end of what a program has written.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    fn add(&mut self, octets: &[u8]) {
        self.0.extend_from_slice(octets);
        if self.0.len() > 2 * TAIL {
            self.0.drain(..self.0.len() - TAIL);
        }
    }

    fn lines(self) -> String {
        let from = self.0.len().saturating_sub(TAIL);
        let text = String::from_utf8_lossy(&self.0[from..]);
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim_end)
            .filter(|l| !l.is_empty())
            .collect();
        let last = lines[lines.len().saturating_sub(LAST_LINES)..].join(" | ");
        last.chars().filter(|c| !c.is_control()).collect()
    }
}

fn said(output: &str) -> String {
    match output {
        "" => String::new(),
        output => format!(": {output}"),
    }
}

/// What of our environment a program gets.
const PASSED_ON: &[&str] = &[
    "HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER",
];
/// Octets of output that are kept.
const TAIL: usize = 2048;
/// Lines of output that an error shows.
const LAST_LINES: usize = 3;
