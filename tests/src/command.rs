//! The binary under test: where it is, and how tests run it.
//!
//! A [`Dnseal`] is a command in the making. It starts from an empty environment, so that what is set on the
//! developer's machine changes no test, and from a home directory that the test names.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    Netns, Peer,
    process::{send_signal, wait_until},
};

/// How long a command may take before the test gives up on it.
const RUN_TIMEOUT: Duration = Duration::from_secs(180);
/// How long a running command may take to say what a test waits for.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

/// The path of the binary `dnseal`: what `DNSEAL_BIN` says, or built now, once a process.
pub fn dnseal() -> &'static Path {
    static BIN: OnceLock<PathBuf> = OnceLock::new();
    BIN.get_or_init(|| match env::var_os("DNSEAL_BIN") {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        _ => build(),
    })
}

/// A call of `dnseal`.
#[derive(Clone, Debug)]
pub struct Dnseal {
    program: PathBuf,
    home: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    stdin: Vec<u8>,
    faketime: Option<String>,
    /// The host it runs on, as a program and its arguments that come before it.
    host: Option<(PathBuf, Vec<String>)>,
    timeout: Duration,
}

/// How a call ended.
#[derive(Clone, Debug)]
pub struct Run {
    /// The exit status.
    pub status: ExitStatus,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
    /// How long it took.
    pub elapsed: Duration,
}

/// A call that is still running. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    child: Mutex<Child>,
    output: TempDir,
    started: Instant,
    timeout: Duration,
}

impl Dnseal {
    /// A call with this home directory, in which everything that a test's calls share may live.
    pub fn new(home: impl AsRef<Path>) -> Self {
        Self::of(dnseal(), home)
    }

    fn of(program: &Path, home: impl AsRef<Path>) -> Self {
        Self {
            program: program.to_owned(),
            home: home.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            stdin: Vec::new(),
            faketime: None,
            host: None,
            timeout: RUN_TIMEOUT,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// What it reads from stdin; nothing otherwise.
    #[must_use]
    pub fn stdin(mut self, stdin: impl Into<Vec<u8>>) -> Self {
        self.stdin = stdin.into();
        self
    }

    /// Shows it another time: `+60d`, or `@2027-01-01 00:00:00`. Needs [`Peer::Faketime`].
    #[must_use]
    pub fn faketime(mut self, time: &str) -> Self {
        self.faketime = Some(time.to_owned());
        self
    }

    /// Runs it on another host than the test.
    #[must_use]
    pub fn on(mut self, host: &Netns) -> Self {
        let (program, args) = host.wrapper();
        self.host = Some((program, args.into_iter().map(str::to_owned).collect()));
        self
    }

    /// How long it may take, instead of three minutes.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    ///
    /// When it does not end in time.
    pub fn run(&self) -> Run {
        self.spawn().wait()
    }

    /// Starts it.
    pub fn spawn(&self) -> Running {
        let output = TempDir::with_prefix("dnseal-run-").unwrap();
        let file = |name: &str| File::create(output.path().join(name)).unwrap();
        let mut words: Vec<OsString> = Vec::new();
        if let Some((program, args)) = &self.host {
            words.push(program.into());
            words.extend(args.iter().map(OsString::from));
        }
        if let Some(time) = &self.faketime {
            words.push(Peer::Faketime.path().expect("faketime is installed").into());
            words.extend(["-f", time].map(OsString::from));
        }
        words.push(self.program.clone().into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
            .args(&self.args)
            .current_dir(&self.home)
            .env_clear()
            .env("HOME", &self.home)
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("RUST_BACKTRACE", "1")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(file("stdout"))
            .stderr(file("stderr"));
        let started = Instant::now();
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", self.program.display()));
        let mut stdin = child.stdin.take().expect("it is piped");
        let input = self.stdin.clone();
        // A command that does not read must not block the test, and one that ends early has closed the pipe.
        thread::spawn(move || drop(stdin.write_all(&input)));
        Running {
            child: Mutex::new(child),
            output,
            started,
            timeout: self.timeout,
        }
    }
}

impl Run {
    /// The exit code.
    ///
    /// # Panics
    ///
    /// When a signal ended it.
    pub fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| panic!("ended by a signal: {}\n{}", self.status, self.stderr))
    }

    /// Asserts the exit code, with what it wrote in the message.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(
            self.status.code(),
            Some(code),
            "{}\n--- stdout\n{}\n--- stderr\n{}",
            self.status,
            self.stdout,
            self.stderr
        );
        self
    }

    /// Asserts that it succeeded.
    #[track_caller]
    pub fn success(self) -> Self {
        self.expect_code(0)
    }

    /// What it wrote to stdout, as one JSON value.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is not JSON: {error}\n{}", self.stdout))
    }
}

impl Running {
    /// What it has written to stdout so far.
    pub fn stdout(&self) -> String {
        self.read("stdout")
    }

    /// What it has written to stderr so far.
    pub fn stderr(&self) -> String {
        self.read("stderr")
    }

    /// Waits until stdout contains `text`.
    ///
    /// # Panics
    ///
    /// When it ends without it, or a minute is over.
    #[track_caller]
    pub fn wait_stdout(&self, text: &str) -> String {
        self.wait_for("stdout", text)
    }

    /// Waits until stderr contains `text`.
    ///
    /// # Panics
    ///
    /// When it ends without it, or a minute is over.
    #[track_caller]
    pub fn wait_stderr(&self, text: &str) -> String {
        self.wait_for("stderr", text)
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.child().try_wait().unwrap().is_some()
    }

    /// Sends a signal by its name: `INT`, `TERM`, `HUP`.
    pub fn signal(&self, signal: &str) {
        send_signal(self.child().id(), signal);
    }

    /// Ends it without a chance to clean up, as `kill -9` does.
    pub fn kill(&self) {
        self.child().kill().unwrap();
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// When it does not end in time.
    #[track_caller]
    pub fn wait(self) -> Run {
        let left = self.timeout.saturating_sub(self.started.elapsed());
        let ended = wait_until(left, || self.has_ended());
        let elapsed = self.started.elapsed();
        assert!(
            ended,
            "dnseal has not ended after {elapsed:?}\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout(),
            self.stderr()
        );
        let status = self.child().wait().unwrap();
        Run {
            status,
            stdout: self.stdout(),
            stderr: self.stderr(),
            elapsed,
        }
    }

    #[track_caller]
    fn wait_for(&self, stream: &str, text: &str) -> String {
        wait_until(WAIT_TIMEOUT, || {
            // In this order: what a command says last is there once it has ended.
            let ended = self.has_ended();
            self.read(stream).contains(text) || ended
        });
        let said = self.read(stream);
        assert!(
            said.contains(text),
            "no {text:?} on {stream}\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout(),
            self.stderr()
        );
        said
    }

    // A thread that panicked while it held the lock has not harmed the child.
    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, stream: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.output.path().join(stream)).unwrap()).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Both fail for a command that has ended and was waited for.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Builds the binary next to the running test, with its profile, and with the features that the whole workspace
/// gives to dependencies, so that none is compiled a second time.
fn build() -> PathBuf {
    let test = env::current_exe().unwrap();
    let profile_dir = test
        .ancestors()
        .skip(1)
        .find(|dir| !dir.ends_with("deps"))
        .expect("a test lies in target/PROFILE/deps");
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args([
            "build",
            "--quiet",
            "--workspace",
            "--bin",
            "dnseal",
            "--target-dir",
        ])
        .arg(profile_dir.parent().expect("target/PROFILE has a parent"))
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile_dir.ends_with("release") {
        command.arg("--release");
    }
    let status = command.status().expect("cargo can be run");
    assert!(status.success(), "cargo build of dnseal: {status}");
    profile_dir.join(format!("dnseal{}", env::consts::EXE_SUFFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_holds_only_what_is_said() {
        let home = TempDir::new().unwrap();
        let run = shell(
            &home,
            "pwd; echo $HOME; echo $SAID; echo ${CARGO_MANIFEST_DIR:-nothing}; cat",
        )
        .env("SAID", "said")
        .stdin("input")
        .run()
        .success();
        let dir = home.path().display();
        assert_eq!(run.stdout, format!("{dir}\n{dir}\nsaid\nnothing\ninput"));
    }

    #[test]
    fn input_that_nobody_reads_blocks_nobody() {
        let home = TempDir::new().unwrap();
        let run = shell(&home, "echo error >&2; exit 3")
            .stdin(vec![b'x'; 1 << 20])
            .run();
        assert_eq!(run.code(), 3);
        assert_eq!(run.stderr, "error\n");
    }

    #[test]
    fn signal_reaches_it() {
        let home = TempDir::new().unwrap();
        let script = "trap 'echo caught; exit 4' TERM; echo ready; while :; do sleep 0.02; done";
        let running = shell(&home, script).spawn();
        running.wait_stdout("ready");
        running.signal("TERM");
        assert_eq!(running.wait().expect_code(4).stdout, "ready\ncaught\n");
    }

    #[test]
    fn kill_leaves_no_chance() {
        let home = TempDir::new().unwrap();
        let running = shell(
            &home,
            "trap 'echo caught' EXIT TERM; echo ready; while :; do sleep 0.02; done",
        )
        .spawn();
        running.wait_stdout("ready");
        running.kill();
        let run = running.wait();
        assert_eq!(run.status.code(), None);
        assert_eq!(run.stdout, "ready\n");
    }

    #[test]
    fn another_time_is_shown() {
        if crate::require(Peer::Faketime).is_none() {
            return;
        }
        let home = TempDir::new().unwrap();
        let run = shell(&home, "date +%Y-%m-%d")
            .faketime("@2031-02-03 12:00:00")
            .run()
            .success();
        assert_eq!(run.stdout, "2031-02-03\n");
    }

    fn shell(home: &TempDir, script: &str) -> Dnseal {
        Dnseal::of(Path::new("/bin/sh"), home.path()).args(["-c", script])
    }
}
