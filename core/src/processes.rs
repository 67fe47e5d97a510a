//! The processes that a command is: its group, and what has gone into a group or session of its own since.
//!
//! A command gets a mark in its environment, which its children inherit. Where the system shows the environment of processes (Linux) those that
//! have left the group (`setsid`) are found by it, also when their parent is gone. A program that writes DNS has the run in its mark, too:
//! when the run was killed, the next finds what it has left running.

use std::sync::LazyLock;
use std::time::Duration;

use tokio::process::Child;

/// A command and what it has started, all of which is killed when this is dropped.
#[derive(Debug)]
pub struct Processes {
    #[cfg(unix)]
    group: Option<rustix::process::Pid>,
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "nobody can be found by it")
    )]
    mark: Mark,
}

/// What the processes of one command are known by.
#[derive(Clone, Debug)]
pub struct Mark(String);

impl Mark {
    /// A new one.
    pub(crate) fn new() -> Self {
        Self(random())
    }

    /// A new one for a program that writes DNS, by which [`left_by`] finds it when this run is dead.
    pub fn of_this_run() -> Self {
        Self(format!("{}-{}", this_run(), random()))
    }

    /// The variable that the command has to get.
    pub fn variable(&self) -> (&'static str, &str) {
        (VARIABLE, &self.0)
    }
}

impl Processes {
    /// Those of a child that leads a group of its own and has got the mark.
    pub fn of(child: &Child, mark: Mark) -> Self {
        #[cfg(not(unix))]
        let _ = child;
        Self {
            #[cfg(unix)]
            group: child
                .id()
                .and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?)),
            mark,
        }
    }

    /// Asks all of them to end, and kills those that do not.
    pub async fn end(
        &self,
        child: &mut Child,
        grace: Duration,
    ) -> std::io::Result<std::process::ExitStatus> {
        self.ask();
        let asked = tokio::time::timeout(grace, child.wait()).await;
        // Its children too, which may not have listened.
        self.kill();
        match asked {
            Ok(status) => status,
            Err(_) => {
                child.start_kill()?;
                child.wait().await
            }
        }
    }

    /// What is left running is meant to run.
    #[cfg_attr(not(unix), expect(unused_mut, reason = "nothing to take"))]
    pub fn leave(mut self) {
        #[cfg(unix)]
        self.group.take();
    }

    fn ask(&self) {
        #[cfg(unix)]
        self.signal(rustix::process::Signal::TERM);
    }

    fn kill(&self) {
        #[cfg(unix)]
        for _ in 0..ROUNDS {
            // Who was started while we looked is found when we look again.
            if !self.signal(rustix::process::Signal::KILL) {
                break;
            }
        }
    }

    /// Whether somebody outside of the group was found.
    #[cfg(unix)]
    fn signal(&self, signal: rustix::process::Signal) -> bool {
        let Some(group) = self.group else {
            return false;
        };
        // One that is over already is what is wanted.
        let _ = rustix::process::kill_process_group(group, signal);
        #[cfg(target_os = "linux")]
        return marked::signal(&self.mark.0, signal);
        #[cfg(not(target_os = "linux"))]
        false
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the programs of this run are known by in later runs.
pub fn this_run() -> &'static str {
    static RUN: LazyLock<String> = LazyLock::new(random);
    &RUN
}

/// The processes that a run has started to write DNS and that still run; none where the system does not show them.
pub fn left_by(run: &str) -> Option<Vec<u32>> {
    #[cfg(target_os = "linux")]
    return marked::find(&format!("{run}-"));
    #[cfg(not(target_os = "linux"))]
    {
        let _ = run;
        None
    }
}

fn random() -> String {
    format!("{:016x}", rand::random::<u64>())
}

#[cfg(target_os = "linux")]
mod marked {
    use rustix::process::Pid;
    use rustix::process::PidfdFlags;
    use rustix::process::Signal;

    use super::VARIABLE;

    /// Signals every process with this mark; whether there was one.
    pub(super) fn signal(mark: &str, signal: Signal) -> bool {
        let wanted = format!("{VARIABLE}={mark}");
        let mut found = false;
        for pid in all().into_iter().flatten() {
            // By a descriptor, so that nobody is meant who has got the number since.
            if let (true, Ok(process)) = (
                has(pid, &wanted),
                rustix::process::pidfd_open(pid, PidfdFlags::empty()),
            ) && has(pid, &wanted)
                && rustix::process::pidfd_send_signal(&process, signal).is_ok()
            {
                found = true;
            }
        }
        found
    }

    /// Every process whose mark begins like this.
    pub(super) fn find(beginning: &str) -> Option<Vec<u32>> {
        let wanted = format!("{VARIABLE}={beginning}");
        let marked = all()?.into_iter().filter(|pid| has(*pid, &wanted));
        Some(
            marked
                .map(|pid| pid.as_raw_nonzero().get().unsigned_abs())
                .collect(),
        )
    }

    fn all() -> Option<Vec<Pid>> {
        let entries = std::fs::read_dir("/proc").ok()?;
        let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
        let pids = entries.flatten().filter_map(number);
        Some(pids.filter_map(Pid::from_raw).collect())
    }

    /// Processes of other users do not show theirs, and those that have ended have none.
    fn has(pid: Pid, wanted: &str) -> bool {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let mut variables = environment.split(|octet| *octet == 0);
        variables.any(|variable| variable.starts_with(wanted.as_bytes()))
    }
}

/// What a command finds its mark in.
const VARIABLE: &str = "DNSEAL_COMMAND_ID";
/// More than anybody needs who does not run away from us on purpose.
#[cfg(unix)]
const ROUNDS: usize = 20;
