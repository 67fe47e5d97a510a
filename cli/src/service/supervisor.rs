//! What systemd (or whoever sets `NOTIFY_SOCKET`) wants to hear, as sd_notify(3) has it: READY, STATUS, RELOADING, STOPPING and
//! WATCHDOG. Where nobody asks nothing is sent, and what cannot be sent is nobody's error.

use std::time::Duration;

#[cfg(unix)]
use std::os::unix::net::SocketAddr;
#[cfg(unix)]
use std::os::unix::net::UnixDatagram;

use crate::env_vars;

/// The way to the supervisor, if there is one.
#[derive(Debug)]
pub(crate) struct Supervisor {
    #[cfg(unix)]
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// As the environment has it.
    pub(crate) fn from_env() -> Self {
        Self {
            #[cfg(unix)]
            socket: env_vars::get(env_vars::NOTIFY_SOCKET).and_then(|path| connect(&path)),
            watchdog: watchdog(
                env_vars::get(env_vars::WATCHDOG_USEC).as_deref(),
                env_vars::get(env_vars::WATCHDOG_PID).as_deref(),
                std::process::id(),
            ),
        }
    }

    /// How often it wants to hear that we live; half the time after which it acts.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 2)
    }

    /// We are up, and this is what we do.
    pub(crate) fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={status}"));
    }

    /// What we do.
    pub(crate) fn status(&self, status: &str) {
        self.say(&format!("STATUS={status}"));
    }

    /// We read the configuration again; [`Supervisor::ready`] ends it.
    pub(crate) fn reloading(&self) {
        self.say(&format!(
            "RELOADING=1\nMONOTONIC_USEC={}",
            monotonic_micros()
        ));
    }

    /// We end.
    pub(crate) fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// We live.
    pub(crate) fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    fn say(&self, message: &str) {
        #[cfg(unix)]
        if let Some((socket, address)) = &self.socket {
            let _ = socket.send_to_addr(message.as_bytes(), address);
        }
        #[cfg(not(unix))]
        let _ = message;
    }
}

/// A path, or with `@` a name in Linux' abstract namespace.
#[cfg(unix)]
fn connect(path: &str) -> Option<(UnixDatagram, SocketAddr)> {
    let address = match path.strip_prefix('@') {
        #[cfg(target_os = "linux")]
        Some(name) => {
            use std::os::linux::net::SocketAddrExt;

            SocketAddr::from_abstract_name(name).ok()?
        }
        #[cfg(not(target_os = "linux"))]
        Some(_) => return None,
        None => SocketAddr::from_pathname(path).ok()?,
    };
    let socket = UnixDatagram::unbound().ok()?;
    // A supervisor that does not read must not stop us.
    socket.set_nonblocking(true).ok()?;
    Some((socket, address))
}

/// The limit, unless it is meant for another process.
fn watchdog(micros: Option<&str>, process: Option<&str>, me: u32) -> Option<Duration> {
    let for_me = process.is_none_or(|process| process.parse() == Ok(me));
    let micros: u64 = micros?.parse().ok()?;
    (for_me && micros > 0).then(|| Duration::from_micros(micros))
}

/// The clock that systemd compares RELOADING with.
fn monotonic_micros() -> u64 {
    #[cfg(unix)]
    {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        seconds * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000
    }
    #[cfg(not(unix))]
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_for_the_process_that_is_named() {
        let limit = Some(Duration::from_secs(30));
        assert_eq!(watchdog(Some("30000000"), None, 7), limit);
        assert_eq!(watchdog(Some("30000000"), Some("7"), 7), limit);
        assert_eq!(watchdog(Some("30000000"), Some("8"), 7), None);
        assert_eq!(watchdog(Some("0"), None, 7), None);
        assert_eq!(watchdog(Some("soon"), None, 7), None);
        assert_eq!(watchdog(None, None, 7), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_supervisor_hears_what_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let hears = UnixDatagram::bind(&path).unwrap();
        let supervisor = Supervisor {
            socket: connect(path.to_str().unwrap()),
            watchdog: None,
        };
        let heard = || {
            let mut buffer = [0; 256];
            let n = hears.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..n]).into_owned()
        };
        supervisor.ready("2 certificates");
        assert_eq!(heard(), "READY=1\nSTATUS=2 certificates");
        supervisor.reloading();
        let said = heard();
        let micros = said.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(micros.parse::<u64>().unwrap() > 0, "{said}");
        supervisor.stopping();
        assert_eq!(heard(), "STOPPING=1");
        // It may go away.
        drop(hears);
        supervisor.alive();
    }
}
