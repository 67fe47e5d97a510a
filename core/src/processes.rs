//! The processes that a command is: its group, and what has gone into a group or session of its own since.
//!
//! A command gets a mark in its environment, which its children inherit. Where the system shows the environment of processes (Linux) those that
//! have left the group (`setsid`) are found by it, also when their parent is gone.

use std::time::Duration;

use tokio::process::Child;

/// A command and what it has started, all of which is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Processes {
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
pub(crate) struct Mark(String);

impl Mark {
    /// A new one.
    pub(crate) fn new() -> Self {
        Self(format!("{:016x}", rand::random::<u64>()))
    }

    /// The variable that the command has to get.
    pub(crate) fn variable(&self) -> (&'static str, &str) {
        (VARIABLE, &self.0)
    }
}

impl Processes {
    /// Those of a child that leads a group of its own and has got the mark.
    pub(crate) fn of(child: &Child, mark: Mark) -> Self {
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
    pub(crate) async fn end(
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
    pub(crate) fn leave(mut self) {
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

#[cfg(target_os = "linux")]
mod marked {
    use rustix::process::Pid;
    use rustix::process::PidfdFlags;
    use rustix::process::Signal;

    use super::VARIABLE;

    /// Signals every process with this mark; whether there was one.
    pub(super) fn signal(mark: &str, signal: Signal) -> bool {
        let wanted = format!("{VARIABLE}={mark}");
        let Ok(entries) = std::fs::read_dir("/proc") else {
            return false;
        };
        let mut found = false;
        for entry in entries.flatten() {
            let pid = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            let Some(pid) = pid.and_then(Pid::from_raw) else {
                continue;
            };
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

    /// Processes of other users do not show theirs, and those that have ended have none.
    fn has(pid: Pid, wanted: &str) -> bool {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let mut variables = environment.split(|octet| *octet == 0);
        variables.any(|variable| variable == wanted.as_bytes())
    }
}

/// What a command finds its mark in.
const VARIABLE: &str = "DNSEAL_COMMAND_ID";
/// More than anybody needs who does not run away from us on purpose.
#[cfg(unix)]
const ROUNDS: usize = 20;
