//! The binary on hosted providers, as a fleet of machines uses it: whole certificates from Pebble, with the challenges in the
//! fakes of Cloudflare and Route 53.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use dnseal_sandbox::dns::Transport;
use dnseal_tests::{Cloud, Dnseal, Pebble, PebbleOptions, Run, Running};
use tempfile::TempDir;

const OWNER: &str = "_acme-challenge.example.test";

#[test]
fn a_domain_with_its_wildcard_on_cloudflare() {
    a_domain_with_its_wildcard(Cloud::cloudflare());
}

#[test]
fn a_domain_with_its_wildcard_on_route53() {
    a_domain_with_its_wildcard(Cloud::route53());
}

fn a_domain_with_its_wildcard(cloud: Cloud) {
    let Some(fleet) = Fleet::over(cloud) else {
        return;
    };
    fleet
        .cloud
        .put(Cloud::NAMES, OWNER, &["foreign", "foreign too"]);
    let before = fleet.cloud.contents();
    fleet
        .issue(0, &["example.test", "*.example.test"])
        .run()
        .success();
    assert!(fleet.live(0, "example.test").is_file());
    assert_eq!(fleet.cloud.contents(), before);
}

#[test]
fn a_hundred_names_are_one_batch_to_add_and_one_to_remove_on_cloudflare() {
    a_hundred_names_are_one_batch_to_add_and_one_to_remove(Cloud::cloudflare());
}

#[test]
fn a_hundred_names_are_one_batch_to_add_and_one_to_remove_on_route53() {
    a_hundred_names_are_one_batch_to_add_and_one_to_remove(Cloud::route53());
}

fn a_hundred_names_are_one_batch_to_add_and_one_to_remove(cloud: Cloud) {
    let Some(fleet) = Fleet::over(cloud) else {
        return;
    };
    let names: Vec<String> = (0..100).map(|n| format!("n{n}.example.test")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    fleet.issue(0, &names).run().success();
    let cloud = &fleet.cloud;
    assert_eq!(cloud.batches(), [100, 100]);
    assert_eq!(cloud.contents(), [""; 0]);
    match cloud.kind() {
        // The list of zones, and a look for what is to be removed.
        "cloudflare" => assert_eq!(cloud.requests(), 4),
        _ => {
            // Waited for once, for all names: pending, and in sync. Nobody waits for the removal.
            assert_eq!(cloud.syncs(), (1, 2));
            assert!(cloud.requests() <= 15, "{} requests", cloud.requests());
        }
    }
}

#[test]
fn four_processes_share_one_owner_name_on_cloudflare() {
    Fleet::over(Cloud::cloudflare()).map(|fleet| fleet.issue_all(10));
}

#[test]
fn four_processes_share_one_owner_name_on_route53() {
    Fleet::over(Cloud::route53()).map(|fleet| fleet.issue_all(10));
}

#[test]
fn four_processes_share_five_requests_a_second_on_cloudflare() {
    four_processes_share_five_requests_a_second(Cloud::cloudflare());
}

#[test]
fn four_processes_share_five_requests_a_second_on_route53() {
    four_processes_share_five_requests_a_second(Cloud::route53());
}

fn four_processes_share_five_requests_a_second(cloud: Cloud) {
    cloud.limit(5);
    let Some(fleet) = Fleet::over(cloud) else {
        return;
    };
    let runs = fleet.issue_all(10);
    let cloud = &fleet.cloud;
    assert_eq!(cloud.refused_twice(), [""; 0]);
    let slowed_down = cloud.slowed_down();
    assert!(!slowed_down.is_empty(), "the limit was met");
    let waits = format!("waiting: {} to take more requests", cloud.endpoint());
    for process in slowed_down {
        let told = &runs[process].stderr;
        assert!(told.contains(&waits), "{process}: {told}");
    }
}

/// A hosted provider, a CA that looks there, and homes for processes.
#[derive(Debug)]
struct Fleet {
    cloud: Cloud,
    home: TempDir,
    pebble: Pebble,
}

impl Fleet {
    fn over(cloud: Cloud) -> Option<Self> {
        Some(Self {
            pebble: Pebble::start(PebbleOptions::new(cloud.dns()))?,
            cloud,
            home: TempDir::with_prefix("dnseal-fleet-").unwrap(),
        })
    }

    /// Four processes at once, each with so many certificates whose challenges all lead to one owner name; that of somebody
    /// else's values, with which an answer fits no UDP packet.
    fn issue_all(&self, each: usize) -> Vec<Run> {
        let owner = format!("shared.{}", Cloud::VALUES);
        let foreign: Vec<String> = (0..30).map(|n| format!("foreign-{n:043}")).collect();
        let foreign: Vec<&str> = foreign.iter().map(String::as_str).collect();
        self.cloud.put(Cloud::VALUES, &owner, &foreign);
        let hosts = |process: usize| (0..each).map(move |n| format!("h{process}-{n}.example.test"));
        let challenges: Vec<String> = (0..PROCESSES)
            .flat_map(hosts)
            .map(|host| format!("_acme-challenge.{host}"))
            .collect();
        self.cloud.delegate(&challenges, &owner);
        let before = self.cloud.contents();

        let running: Vec<Running> = (0..PROCESSES)
            .map(|process| {
                let hosts: Vec<String> = hosts(process).collect();
                self.issue_configured(process, &hosts).spawn()
            })
            .collect();
        let runs: Vec<Run> = running.into_iter().map(|it| it.wait().success()).collect();
        for (process, run) in runs.iter().enumerate() {
            let told = run.json();
            assert_eq!(told["certificates"].as_array().unwrap().len(), each);
            for host in hosts(process) {
                assert!(self.live(process, &host).is_file(), "{host}: {told:#}");
            }
        }
        assert_eq!(self.cloud.contents(), before);
        let queries = self.cloud.name_server().queries().into_iter();
        // The CA asks by TCP, and with RD.
        let mut over_tcp = queries.filter(|query| {
            query.transport == Transport::Tcp && !query.recursion_desired && query.qname == owner
        });
        assert!(over_tcp.next().is_some(), "answers were large");
        runs
    }

    /// `dnseal issue NAMES` by a process that has everything from flags and its environment.
    fn issue(&self, process: usize, names: &[&str]) -> Dnseal {
        self.command(process)
            .arg("issue")
            .args(names)
            .arg("--ca")
            .arg(self.pebble.directory_url())
            .arg("--ca-root")
            .arg(self.pebble.ca_pem_path())
            .args(["--agree-tos", "--provider", self.cloud.kind()])
            .args(["--nameserver", &self.cloud.dns().to_string()])
    }

    /// `dnseal issue` by a process whose configuration has a certificate for each host.
    fn issue_configured(&self, process: usize, hosts: &[String]) -> Dnseal {
        let mut config = format!(
            "ca: {{ url: '{}', root: '{}' }}\nagree-tos: true\nproviders: {{ cloud: {{ kind: {} }} }}\n\
             propagation: {{ nameservers: ['{}'] }}\ncertificates:\n",
            self.pebble.directory_url(),
            self.pebble.ca_pem_path().display(),
            self.cloud.kind(),
            self.cloud.dns(),
        );
        for host in hosts {
            writeln!(config, "  {host}: {{ names: [{host}] }}").unwrap();
        }
        let path = self.home_of(process).join("dnseal.yaml");
        fs::write(&path, config).unwrap();
        self.command(process)
            .args(["issue", "--output", "json", "--config"])
            .arg(path)
    }

    fn command(&self, process: usize) -> Dnseal {
        let home = self.home_of(process);
        self.cloud.env(process).into_iter().fold(
            Dnseal::new(&home).arg("--dir").arg(home.join("state")),
            |command, (name, value)| command.env(name, value),
        )
    }

    fn home_of(&self, process: usize) -> PathBuf {
        let home = self.home.path().join(process.to_string());
        fs::create_dir_all(&home).unwrap();
        home
    }

    fn live(&self, process: usize, name: &str) -> PathBuf {
        let live = self.home_of(process).join("state/live");
        live.join(name).join("fullchain.pem")
    }
}

const PROCESSES: usize = 4;
