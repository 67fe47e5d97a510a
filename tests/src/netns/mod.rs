//! Hosts of their own: network namespaces, with interfaces, routes, firewall rules and a `/etc/resolv.conf` that are not the machine's.
//!
//! A [`Netns`] is one host. What [`Netns::within`] runs is on that host: sockets that it opens, processes and threads that it starts.
//! [`Internet`] is a client behind a firewall, and all that it wants to reach. Only root may make them; a test without that right says
//! that it is skipped.

use std::{
    fs::{self, File},
    io::Write,
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

pub use internet::{Cure, Firewall, Internet, NameServers};

use crate::{Peer, peer, require};

mod internet;

/// One host. It goes when this is dropped; processes on it have to be gone by then.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// A new host with nothing but loopback, called something with `label` in it; `None` where there is no right to make one.
    pub fn new(label: &str) -> Option<Self> {
        let ip = require(Peer::Ip)?;
        require(Peer::Nft)?;
        let name = format!("dnseal-{:08x}-{label}", rand::random::<u32>());
        let output = Command::new(ip).args(["netns", "add", &name]).output();
        let output = output.expect("ip runs");
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            peer::skip(&format!("no right to make network namespaces ({why})"));
            return None;
        }
        let host = Self { name };
        host.ip(&["link", "set", "lo", "up"]);
        Some(host)
    }

    /// Its name, for `ip netns exec`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` on this host, on a thread of its own.
    ///
    /// # Panics
    ///
    /// When `work` does.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter();
                work()
            });
            match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// What stands in `/etc/resolv.conf` for commands that are run on this host.
    pub fn resolv_conf(&self, content: &str) {
        let dir = self.etc();
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("resolv.conf"), content).unwrap();
    }

    /// What comes before a program and its arguments, so that it runs on this host and reads its `/etc/resolv.conf`.
    pub(crate) fn wrapper(&self) -> (PathBuf, Vec<&str>) {
        let ip = Peer::Ip.path().expect("ip is installed");
        (ip, vec!["netns", "exec", &self.name])
    }

    /// Replaces all rules of the firewall by these, in the language of `nft`.
    pub(crate) fn nft(&self, rules: &str) {
        let program = Peer::Nft.path().expect("nft is installed");
        let (ip, wrapper) = self.wrapper();
        let mut child = Command::new(ip)
            .args(wrapper)
            .arg(program)
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let rules = format!("flush ruleset\n{rules}\n");
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin.write_all(rules.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "nft: {said}\n{rules}");
    }

    /// `ip` with these arguments, about this host.
    pub(crate) fn ip(&self, args: &[&str]) {
        let ip = Peer::Ip.path().expect("ip is installed");
        run(Command::new(ip).args(["-n", &self.name]).args(args));
    }

    /// Sets a variable of the kernel for this host: `net/ipv4/ip_forward`.
    pub(crate) fn sysctl(&self, path: &str, value: &str) {
        // `/proc/sys/net` shows the namespace of whoever opens it.
        self.within(|| fs::write(Path::new("/proc/sys").join(path), value).unwrap());
    }

    /// A cable to another host, with the names of the interface at each end, both up.
    pub(crate) fn cable(&self, here: &str, other: &Self, there: &str) {
        self.ip(&[
            "link",
            "add",
            here,
            "type",
            "veth",
            "peer",
            "name",
            there,
            "netns",
            &other.name,
        ]);
        self.ip(&["link", "set", here, "up"]);
        other.ip(&["link", "set", there, "up"]);
    }

    /// Gives an interface an address with the length of its prefix.
    pub(crate) fn address(&self, interface: &str, address: &str) {
        let mut args = vec!["address", "add", address, "dev", interface];
        if address.contains(':') {
            // To be used at once: nobody else can have it.
            args.push("nodad");
        }
        self.ip(&args);
    }

    fn enter(&self) {
        let file = File::open(Path::new("/run/netns").join(&self.name)).unwrap();
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("the right to enter a network namespace");
    }

    fn etc(&self) -> PathBuf {
        Path::new("/etc/netns").join(&self.name)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.etc());
        if let Some(ip) = Peer::Ip.path() {
            // A test that has failed has more important things to say.
            let _ = Command::new(ip)
                .args(["netns", "delete", &self.name])
                .status();
        }
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}
