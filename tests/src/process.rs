//! A peer's process: its directory, its log, its ports, its end.

use std::{
    cell::RefCell,
    fs::{self, File, OpenOptions},
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rand::Rng;
use tempfile::TempDir;

use crate::{Peer, peer, require};

/// How long a peer may take until it answers. Generous: tests share the machine with builds.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a log line or a state that a test waits for may take.
const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
/// Ports below the range from which the kernel takes those of outgoing connections, so that none of these comes
/// in between while the peer starts.
const PORTS: std::ops::Range<u16> = 12_000..32_000;
/// How often a peer is started anew because another process was faster to take its port.
const START_ATTEMPTS: u32 = 5;
/// Lines of log that a failing test prints of each peer.
const LOG_TAIL: usize = 200;

/// A running peer. Dropping it kills it, and prints the end of its log if the test is failing.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Mutex<Child>,
    log: PathBuf,
    dir: TempDir,
}

/// The peer could not listen, because something else has the port.
#[derive(Debug)]
pub(crate) struct PortTaken;

impl Process {
    /// Starts `command` with all its output in a log file in `dir`.
    pub(crate) fn spawn(name: &'static str, dir: TempDir, command: &mut Command) -> Self {
        let log = dir.path().join("log");
        let stdout = append(&log);
        let stderr = append(&log);
        let child = command
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self {
            name,
            child: Mutex::new(child),
            log,
            dir,
        }
    }

    /// Waits until `answers`, then notes that this peer takes part in the run.
    pub(crate) fn await_start(
        &self,
        answers: impl Fn() -> Result<(), String>,
    ) -> Result<(), PortTaken> {
        let missing = RefCell::new(String::new());
        let answered = wait_until(START_TIMEOUT, || match answers() {
            Ok(()) => true,
            Err(error) => {
                missing.replace(error);
                self.exited().is_some()
            }
        });
        // Somebody else's server on the same port would have answered just as well.
        if self.log().to_lowercase().contains("address already in use")
            || self.log().contains("address in use")
        {
            return Err(PortTaken);
        }
        if let Some(status) = self.exited() {
            panic!("{} ended with {status} instead of starting", self.name);
        }
        assert!(
            answered,
            "{} did not answer in time: {}",
            self.name,
            missing.into_inner()
        );
        peer::note(self.name);
        Ok(())
    }

    /// The peer's name, for messages.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The directory that holds the peer's configuration and data. It goes when the peer goes.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Everything that the peer has written so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    /// Waits for a line of the log that contains `text`, and returns the first one.
    ///
    /// # Panics
    ///
    /// When none has come after 30 s.
    pub fn wait_log(&self, text: &str) -> String {
        let found = RefCell::new(None);
        wait_until(WAIT_TIMEOUT, || {
            let log = self.log();
            *found.borrow_mut() = log
                .lines()
                .find(|line| line.contains(text))
                .map(str::to_owned);
            found.borrow().is_some()
        });
        found
            .into_inner()
            .unwrap_or_else(|| panic!("{} has not logged {text:?}", self.name))
    }

    /// How the process ended, if it did.
    pub fn exited(&self) -> Option<ExitStatus> {
        self.child().try_wait().unwrap()
    }

    /// Stops the process where it stands: its ports stay open, and nothing answers.
    pub fn pause(&self) {
        self.signal("STOP");
        // The signal is sent at once, but each thread runs on until the kernel next looks at it.
        let pid = self.child().id();
        assert!(
            wait_until(WAIT_TIMEOUT, || is_stopped(pid)),
            "{} does not stop",
            self.name
        );
    }

    /// Lets a paused process go on, with all that has arrived meanwhile.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Ends the process at once, as if the machine had lost power. Its ports close.
    pub fn kill(&self) {
        let mut child = self.child();
        // Killing fails for a process that has ended already, which is what is wanted.
        let _ = child.kill();
        let _ = child.wait();
    }

    // A thread that panicked while it held the lock has not harmed the child.
    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn signal(&self, signal: &str) {
        send_signal(self.child().id(), signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let log = self.log();
            // What Go programs say of themselves after that is long.
            let log = log.split("SIGQUIT: quit").next().unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(LOG_TAIL)..];
            eprintln!("--- log of {}\n{}\n---", self.name, tail.join("\n"));
        }
    }
}

/// Starts a peer on ports that looked free, and again on others if they were not.
pub(crate) fn start<T>(name: &str, attempt: impl Fn() -> Result<T, PortTaken>) -> T {
    (0..START_ATTEMPTS)
        .find_map(|_| attempt().ok())
        .unwrap_or_else(|| panic!("{name} found its port taken {START_ATTEMPTS} times"))
}

/// A loopback address that nobody listens at, by UDP or TCP.
pub fn free_addr() -> SocketAddr {
    let mut rng = rand::rng();
    (0..1000)
        .map(|_| SocketAddr::from((Ipv4Addr::LOCALHOST, rng.random_range(PORTS))))
        .find(|addr| TcpListener::bind(addr).is_ok() && UdpSocket::bind(addr).is_ok())
        .expect("some port is free")
}

/// Asks until `condition` holds or `timeout` is over, and says whether it held.
pub fn wait_until(timeout: Duration, condition: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + timeout;
    let mut pause = Duration::from_millis(5);
    while !condition() {
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
    true
}

/// Sends a signal by its name. The shell does it: Rust has no safe call for it, and a small system no `kill` program.
pub(crate) fn send_signal(pid: u32, signal: &str) {
    let status = Command::new("sh")
        .args(["-c", &format!("kill -s {signal} {pid}")])
        .status()
        .expect("there is a shell");
    assert!(status.success(), "kill -s {signal} {pid}: {status}");
}

/// The environment in which a process sees a clock that is wrong by so many seconds; `None` without `faketime`.
///
/// `faketime` itself stays between us and the process, which would outlive it when it is killed; so it only tells
/// what it would set. It cannot begin where one of the same number was killed before, and has left its shared memory.
pub(crate) fn other_clock(seconds: i64) -> Option<Vec<(String, String)>> {
    let faketime = require(Peer::Faketime)?;
    let ask = || {
        Command::new(&faketime)
            .args(["-m", "-f", &format!("{seconds:+}s"), "sh", "-c", "env"])
            .output()
            .expect("faketime runs")
    };
    let mut answers = (0..5).map(|_| ask());
    let output = answers.find(|output| output.status.success());
    let output = output.expect("faketime tells what it would set");
    let environment = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut variables: Vec<(String, String)> = environment
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| matches!(*name, "FAKETIME" | "LD_PRELOAD" | "DYLD_INSERT_LIBRARIES"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    // Timers have to go on as they do elsewhere.
    for name in ["DONT_FAKE_MONOTONIC", "FAKETIME_DONT_FAKE_MONOTONIC"] {
        variables.push((name.to_owned(), "1".to_owned()));
    }
    Some(variables)
}

/// Whether every thread of a process is stopped, by field 3 of proc_pid_stat(5).
fn is_stopped(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.into_iter().all(|thread| {
        let stat = fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
        // The command's name, in parentheses, may itself contain any character.
        let state = stat.rsplit_once(") ").map(|(_, fields)| fields);
        state.is_some_and(|fields| fields.starts_with('T'))
    })
}

fn append(path: &Path) -> File {
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .unwrap()
}
