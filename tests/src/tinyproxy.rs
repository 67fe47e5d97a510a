//! Tinyproxy, the HTTP proxy that is the only way out of many networks.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use crate::{Peer, Process, process, require};

/// How a [`Tinyproxy`] behaves.
#[derive(Clone, Debug)]
pub struct TinyproxyOptions {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Ports to which it lets clients connect; none means every port.
    pub connect_ports: Vec<u16>,
}

/// A running `tinyproxy`.
#[derive(Debug)]
pub struct Tinyproxy {
    addr: SocketAddr,
    process: Process,
}

impl Tinyproxy {
    /// Starts it and waits until it listens; `None` where Tinyproxy is not installed.
    pub fn start(options: TinyproxyOptions) -> Option<Self> {
        let program = require(Peer::Tinyproxy)?;
        Some(process::start("tinyproxy", || {
            let dir = TempDir::with_prefix("dnseal-tinyproxy-").unwrap();
            fs::write(dir.path().join("tinyproxy.conf"), config(&options)).unwrap();
            let mut command = Command::new(&program);
            command.args(["-d", "-c", "tinyproxy.conf"]);
            let process = Process::spawn("tinyproxy", dir, &mut command);
            process.await_start(|| {
                TcpStream::connect_timeout(&options.listen, CONNECT_TIMEOUT)
                    .map(drop)
                    .map_err(|error| error.to_string())
            })?;
            Ok(Self {
                addr: options.listen,
                process,
            })
        }))
    }

    /// What to set as `HTTPS_PROXY` and `HTTP_PROXY`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Whom clients asked it to reach: `192.0.2.20:14000`, or a URL.
    pub fn requests(&self) -> Vec<String> {
        let log = self.process.log();
        log.lines().filter_map(requested).collect()
    }

    /// The process behind it: its log, its signals, its end.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

// `CONNECT   Nov 21 21:40:00.000 [123]: Request (file descriptor 5): CONNECT 192.0.2.20:14000 HTTP/1.1`
fn requested(line: &str) -> Option<String> {
    let (_, request) = line.split_once("Request (file descriptor ")?;
    let target = request.split_whitespace().nth(2)?;
    Some(target.to_owned())
}

fn config(options: &TinyproxyOptions) -> String {
    let mut config = format!(
        "Port {}\nListen {}\nTimeout 60\nMaxClients 100\nLogLevel Connect\nDisableViaHeader Yes\n",
        options.listen.port(),
        options.listen.ip()
    );
    for port in &options.connect_ports {
        config.push_str(&format!("ConnectPort {port}\n"));
    }
    config
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_line_is_read() {
        let line = "CONNECT   Nov 21 21:40:00.000 [9]: Request (file descriptor 5): CONNECT 192.0.2.20:443 HTTP/1.1";
        assert_eq!(requested(line).unwrap(), "192.0.2.20:443");
        assert_eq!(
            requested("INFO      Nov 21 21:40:00.000 [9]: Starting main loop"),
            None
        );
    }
}
