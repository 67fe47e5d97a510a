//! One command of this machine's configuration: how it is found, run, and ended when it does not end itself.
//!
//! It runs without a shell (unless one is asked for), in a process group of its own, with nothing on its standard input and only
//! the variables it is given. When its time is over all that it has started is asked to end and then killed, so that no child stays.

use std::ffi::OsString;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use tokio::process::Command;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::deploy::output;
use crate::deploy::output::Tail;
use crate::event::Events;
use crate::event::What;
use crate::processes::Mark;
use crate::processes::Processes;
use crate::store::FileError;
use crate::store::check_program;

/// A command and how long it may take.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hook {
    argv: Vec<String>,
    shown: String,
    timeout: Duration,
}

/// When a command runs; what it finds in `DNSEAL_HOOK`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HookKind {
    /// Before anything is ordered.
    Pre,
    /// When a version is there.
    Deploy,
    /// After everything.
    Post,
}

impl HookKind {
    /// `pre`, `deploy` or `post`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pre => "pre",
            Self::Deploy => "deploy",
            Self::Post => "post",
        }
    }
}

impl Hook {
    /// A program, looked for in `PATH` where it is no path, and its arguments, each as it stands.
    pub fn program(argv: Vec<String>, timeout: Duration) -> Self {
        Self {
            shown: argv.join(" "),
            argv,
            timeout,
        }
    }

    /// A text for `/bin/sh`.
    pub fn shell(text: &str, timeout: Duration) -> Self {
        let shown = match text.trim().split_once('\n') {
            Some((first, _)) => format!("{first} …"),
            None => text.trim().to_owned(),
        };
        Self {
            argv: vec![SHELL.into(), "-c".into(), text.into()],
            shown,
            timeout,
        }
    }

    /// The command as people recognize it.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Program and arguments.
    pub fn argv(&self) -> &[String] {
        &self.argv
    }

    /// Runs it with these variables and no others, and says so.
    ///
    /// # Errors
    ///
    /// When it cannot be run, ends with another status than 0, or does not end in time.
    pub async fn run(
        &self,
        variables: &[(String, OsString)],
        events: &Events,
        cancel: &CancellationToken,
    ) -> Result<(), HookError> {
        let begun = Instant::now();
        let tail = Arc::new(Mutex::new(Tail::default()));
        let result = self.run_quietly(variables, &tail, cancel).await;
        events.emit(What::Hook {
            command: self.shown.clone(),
            error: result.as_ref().err().map(ToString::to_string),
            output: output::lines(&tail),
            elapsed: begun.elapsed(),
        });
        result
    }

    async fn run_quietly(
        &self,
        variables: &[(String, OsString)],
        tail: &Arc<Mutex<Tail>>,
        cancel: &CancellationToken,
    ) -> Result<(), HookError> {
        let command = || self.shown.clone();
        if cancel.is_cancelled() {
            return Err(HookError::Cancelled { command: command() });
        }
        let program = self.find(variables)?;
        let mark = Mark::new();
        let start = |program: &Path, args: &[&str]| {
            let mut starting = Command::new(program);
            #[cfg(unix)]
            starting
                .arg0(self.argv.first().map_or("", String::as_str))
                .process_group(0);
            starting
                .args(args)
                .args(self.argv.iter().skip(1))
                .env_clear()
                .envs(variables.iter().map(|(name, value)| (name, value)))
                .envs([mark.variable()])
                .current_dir("/")
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
        };
        let started = match start(&program, &[]) {
            Err(error) if is_bare_script(&error, &program) => {
                let script = program.display().to_string();
                start(Path::new(SHELL), &[&script])
            }
            started => started,
        };
        let mut child = started.map_err(|source| HookError::NotStarted {
            command: command(),
            program,
            source,
        })?;
        let mut reading = JoinSet::new();
        reading.spawn(output::read(child.stdout.take(), tail.clone()));
        reading.spawn(output::read(child.stderr.take(), tail.clone()));
        let processes = Processes::of(&child, mark);

        let (end, status) = tokio::select! {
            status = child.wait() => (End::Exited, status),
            () = cancel.cancelled() => (End::Cancelled, processes.end(&mut child, GRACE).await),
            () = tokio::time::sleep(self.timeout) => (End::TooLate, processes.end(&mut child, GRACE).await),
        };
        // What the process wrote is read; a child that it left behind may keep the pipe open for ever.
        let _ = tokio::time::timeout(LAST_WORDS, async {
            while reading.join_next().await.is_some() {}
        })
        .await;
        processes.leave();
        let output = || output::lines(tail);
        match (end, status) {
            (End::Cancelled, _) => Err(HookError::Cancelled { command: command() }),
            (End::TooLate, _) => Err(HookError::TimedOut {
                command: command(),
                after: self.timeout,
                output: output(),
            }),
            (End::Exited, Ok(status)) if status.success() => Ok(()),
            (End::Exited, Ok(status)) => Err(HookError::Failed {
                command: command(),
                status,
                output: output(),
            }),
            (End::Exited, Err(source)) => Err(HookError::NotStarted {
                command: command(),
                program: PathBuf::from(self.argv.first().map_or("", String::as_str)),
                source,
            }),
        }
    }

    /// Fails where its program cannot be run, as far as that can be told without running it.
    pub(super) fn look(&self, variables: &[(String, OsString)]) -> Result<(), HookError> {
        self.find(variables).map(drop)
    }

    /// Where the program is.
    fn find(&self, variables: &[(String, OsString)]) -> Result<PathBuf, HookError> {
        let name = self.argv.first().map_or("", String::as_str);
        let path = match name.contains('/') {
            true => PathBuf::from(name),
            false => {
                let path = variables.iter().find(|(name, _)| name == "PATH");
                let path = path.map_or_else(OsString::new, |(_, path)| path.clone());
                std::env::split_paths(&path)
                    .map(|dir| dir.join(name))
                    .find(|candidate| candidate.is_file())
                    .ok_or_else(|| HookError::NotFound {
                        command: self.shown.clone(),
                        program: name.to_owned(),
                        path: path.to_string_lossy().into_owned(),
                    })?
            }
        };
        match check_program(&path) {
            Ok(true) => Ok(path),
            Ok(false) => Err(HookError::NotExecutable {
                command: self.shown.clone(),
                program: path,
            }),
            Err(FileError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Err(HookError::NotFound {
                    command: self.shown.clone(),
                    program: name.to_owned(),
                    path: String::new(),
                })
            }
            Err(source) => Err(HookError::Unsafe {
                command: self.shown.clone(),
                source,
            }),
        }
    }
}

/// Why a command of the configuration did not do what it is for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HookError {
    /// This run was interrupted.
    #[error("`{command}` was not run to its end, because this run was interrupted")]
    Cancelled {
        /// The command.
        command: String,
    },
    /// It ended, and not well.
    #[error("`{command}` ended with {}", ended(status))]
    Failed {
        /// The command.
        command: String,
        /// How.
        status: ExitStatus,
        /// The last lines of its output.
        output: String,
    },
    /// It is there, and no program.
    #[error("cannot run `{command}`: {} is not executable", program.display())]
    NotExecutable {
        /// The command.
        command: String,
        /// Its program.
        program: PathBuf,
    },
    /// It is not there.
    #[error(
        "cannot run `{command}`: there is no program {program}{}",
        searched(path)
    )]
    NotFound {
        /// The command.
        command: String,
        /// Its program.
        program: String,
        /// Where it was looked for.
        path: String,
    },
    /// The system refused.
    #[error("cannot run `{command}`: {source}")]
    NotStarted {
        /// The command.
        command: String,
        /// Its program.
        program: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// It did not end.
    #[error("`{command}` did not end within {after:?} and was killed")]
    TimedOut {
        /// The command.
        command: String,
        /// How long it was waited for.
        after: Duration,
        /// The last lines of its output.
        output: String,
    },
    /// Others may change the program.
    #[error("`{command}` is not run: {source}")]
    Unsafe {
        /// The command.
        command: String,
        /// Why.
        source: FileError,
    },
}

impl HookError {
    /// The last lines that the command wrote.
    pub fn output(&self) -> Option<&str> {
        match self {
            Self::Failed { output, .. } | Self::TimedOut { output, .. } if !output.is_empty() => {
                Some(output)
            }
            _ => None,
        }
    }

    /// Whether this run was told to end.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled { .. })
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Cancelled { .. } | Self::Failed { .. } => None,
            Self::NotExecutable { program, .. } => Some(match program.is_dir() {
                true => format!("{} is a directory", program.display()),
                false => format!("`chmod +x {}`", program.display()),
            }),
            Self::NotFound { program, .. } => Some(match program.contains('/') {
                true => "name a program that is on this machine".to_owned(),
                false => format!("install it, or write the whole path of {program}"),
            }),
            Self::NotStarted {
                program, source, ..
            } => {
                let missing = source.kind() == std::io::ErrorKind::NotFound;
                (missing && Path::new(program).exists()).then(|| {
                    format!(
                        "the interpreter in the first line of {} is missing",
                        program.display()
                    )
                })
            }
            Self::TimedOut { .. } => Some(
                "give it more time with `timeout:`, or let it work in the background".to_owned(),
            ),
            Self::Unsafe { source, .. } => source.hint(),
        }
    }
}

fn ended(status: &ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(status) {
        return format!("signal {signal}");
    }
    match status.code() {
        Some(code) => format!("status {code}"),
        None => status.to_string(),
    }
}

fn searched(path: &str) -> String {
    match path.is_empty() {
        true => String::new(),
        false => format!(" in {path}"),
    }
}

/// Whether a program that the system does not know how to run is a text, which shells run themselves (POSIX, `execvp`).
fn is_bare_script(error: &std::io::Error, program: &Path) -> bool {
    let begin = || -> std::io::Result<Vec<u8>> {
        let mut begin = Vec::new();
        let file = std::fs::File::open(program)?;
        file.take(256).read_to_end(&mut begin)?;
        Ok(begin)
    };
    // Windows has another number for this, and no such shell.
    cfg!(unix)
        && error.raw_os_error() == Some(ENOEXEC)
        && begin().is_ok_and(|begin| !begin.contains(&0))
}

/// Why a command is over.
enum End {
    Exited,
    Cancelled,
    TooLate,
}

/// From being asked to end to being killed.
const GRACE: Duration = Duration::from_secs(5);
/// "Exec format error" on every Unix.
const ENOEXEC: i32 = 8;
const SHELL: &str = "/bin/sh";
/// How long output may still come once the process is over.
const LAST_WORDS: Duration = Duration::from_millis(500);
