//! The binary with scripts of acme.sh: certificates, a secret that stays inside, kills in between, and what it says about scripts.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dnseal_tests::fakes::acme_dns::AcmeDns;
use dnseal_tests::fakes::cloudflare::{CloudflareOptions, FakeCloudflare};
use dnseal_tests::{
    Dnseal, Gate, NameServer, Pebble, PebbleOptions, Peer, PowerDns, PowerDnsOptions, Running,
    ZoneSpec, require, txt_values,
};
use tempfile::TempDir;

use crate::scripts::Scripts;
use crate::{OWNER, Server, ZONE, home};

/// A machine whose configuration has one provider, `kind: acme.sh`.
struct Machine {
    home: TempDir,
}

impl Machine {
    fn new(acme_sh: &Path, script: &str, server: &Server, more: &str) -> Self {
        let home = TempDir::with_prefix("dnseal-home-").unwrap();
        let config = format!(
            "providers:\n  it: {{ kind: acme.sh, script: {script}, home: '{}', {} }}\n\
             propagation: {{ nameservers: ['{}'] }}\ndir: state\n{more}",
            acme_sh.display(),
            server.yaml(),
            server.addr()
        );
        fs::write(home.path().join("dnseal.yaml"), config).unwrap();
        Self { home }
    }

    fn dnseal(&self, words: &[&str]) -> Dnseal {
        Dnseal::new(self.home.path())
            .args(["--config", "dnseal.yaml"])
            .args(words)
    }

    fn issue(&self, pebble: &Pebble, words: &[&str]) -> Dnseal {
        self.dnseal(&["issue"])
            .args(words)
            .arg("--ca")
            .arg(pebble.directory_url())
            .arg("--ca-root")
            .arg(pebble.ca_pem_path())
            .arg("--agree-tos")
    }
}

#[test]
fn base_and_wildcard_are_issued_and_the_secret_stays_inside() {
    let (Some(acme_sh), Some(server)) = (home(), Server::start(&[])) else {
        return;
    };
    let Some(pebble) = Pebble::start(PebbleOptions::new(server.addr())) else {
        return;
    };
    let scripts = Scripts::new(&acme_sh);
    let real = fs::read_to_string(acme_sh.join("dnsapi/dns_nsupdate.sh")).unwrap();
    fs::write(scripts.path().join("dnsapi/dns_nsupdate.sh"), real).unwrap();
    let machine = Machine::new(&scripts.path(), "dns_nsupdate", &server, "");
    let config = machine.home.path().join("dnseal.yaml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(
        &config,
        text.replace("env: {", "env: { TEST_Token: canary-token,"),
    )
    .unwrap();
    server.bind.add_txt(&server.key, ZONE, OWNER, "foreign");

    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| argv_with("canary-token", &done));
        let run = machine
            .issue(
                &pebble,
                &[ZONE, "*.example.test", "-vv", "--log-file", "log"],
            )
            .run();
        done.store(true, Ordering::Relaxed);
        assert_eq!(watcher.join().unwrap(), Vec::<String>::new());
        assert_eq!(run.code(), 0, "{run:?}");
        assert!(!format!("{run:?}").contains("canary-token"), "{run:?}");
    });
    assert_eq!(txt_values(server.addr(), OWNER), ["foreign"]);
    let log = fs::read_to_string(machine.home.path().join("log")).unwrap();
    assert!(!log.contains("canary-token"), "{log}");
    // What the script saved, and we owed, is all that is kept.
    let kept = machine
        .home
        .path()
        .join("state/store/providers/acme.sh/dns_nsupdate.it.json");
    let kept = fs::read_to_string(kept).unwrap();
    assert!(kept.contains("SAVED_NSUPDATE_SERVER='127.0.0.1'"), "{kept}");
    assert!(kept.contains("\"owed\": {}"), "{kept}");
}

/// PowerDNS's API, which replaces RRsets, Cloudflare's, which has records, and acme-dns, which has two values.
#[tokio::test(flavor = "multi_thread")]
async fn base_and_wildcard_through_each() {
    let (Some(acme_sh), Some(_)) = (home(), require(Peer::Curl)) else {
        return;
    };
    let Some(powerdns) = PowerDns::start(PowerDnsOptions::new([ZoneSpec::new(ZONE)], [])) else {
        return;
    };
    let cloudflare = FakeCloudflare::start(CloudflareOptions::new([ZONE], TOKEN))
        .await
        .unwrap();
    let api = cloudflare
        .base_url()
        .replace("http://", "")
        .replace("/client/v4", "");
    let gate = Gate::start("api.cloudflare.com", api.parse().unwrap()).await;
    let acme_dns = AcmeDns::start(ZONE).await;
    let account = acme_dns.account();
    acme_dns.set_alias(OWNER, account["fulldomain"].as_str().unwrap());

    let through = [
        (
            powerdns.addr(),
            format!(
                "script: dns_pdns, env: {{ PDNS_Url: '{}', PDNS_ServerId: localhost, PDNS_Token: '{}' }}",
                powerdns.api_url().trim_end_matches("/api/v1"),
                powerdns.api_key()
            ),
        ),
        (
            cloudflare.dns().addr(),
            format!(
                "script: dns_cf, env: {{ CF_Token: {TOKEN}, https_proxy: '{}', CA_BUNDLE: '{}' }}",
                gate.url(),
                gate.root().display()
            ),
        ),
        (
            acme_dns.dns().addr(),
            format!(
                "script: dns_acmedns, max-values: 2, env: {{ ACMEDNS_BASE_URL: '{}', ACMEDNS_USERNAME: {}, ACMEDNS_PASSWORD: {}, ACMEDNS_SUBDOMAIN: {} }}",
                acme_dns.url(),
                account["username"],
                account["password"],
                account["subdomain"]
            ),
        ),
    ];
    for (dns, provider) in through {
        let Some(pebble) = Pebble::start(PebbleOptions::new(dns)) else {
            return;
        };
        let home = TempDir::with_prefix("dnseal-home-").unwrap();
        let config = format!(
            "providers:\n  it: {{ kind: acme.sh, home: '{}', {provider} }}\n\
             propagation: {{ nameservers: ['{dns}'] }}\ndir: state\n",
            acme_sh.display()
        );
        fs::write(home.path().join("dnseal.yaml"), &config).unwrap();
        let machine = Machine { home };
        let run = machine.issue(&pebble, &[ZONE, "*.example.test"]).run();
        assert_eq!(run.code(), 0, "{config}\n{run:?}");
        assert!(!run.stderr.contains("warning"), "{config}\n{run:?}");
        // acme-dns removes nothing.
        let left = match dns == acme_dns.dns().addr() {
            true => 2,
            false => 0,
        };
        let owner = match left {
            0 => OWNER,
            _ => account["fulldomain"].as_str().unwrap(),
        };
        assert_eq!(txt_values(dns, owner).len(), left, "{config}");
    }
}

/// `dns_nsupdate` deletes whole RRsets. Twenty names are aliases of one.
#[test]
fn two_processes_issue_at_one_owner_name() {
    let names: Vec<String> = (0..20).map(|n| format!("n{n}")).collect();
    let aliases: Vec<String> = names
        .iter()
        .map(|name| format!("_acme-challenge.{name} CNAME shared"))
        .collect();
    let aliases: Vec<&str> = aliases.iter().map(String::as_str).collect();
    let (Some(acme_sh), Some(server)) = (home(), Server::start(&aliases)) else {
        return;
    };
    let Some(pebble) = Pebble::start(PebbleOptions::new(server.addr())) else {
        return;
    };
    let shared = format!("shared.{ZONE}");
    server.bind.add_txt(&server.key, ZONE, &shared, "foreign");
    let certificates: String = names
        .iter()
        .map(|name| format!("  {name}: {{ names: [{name}.{ZONE}] }}\n"))
        .collect();
    let more = format!("certificates:\n{certificates}");
    let machine = Machine::new(&acme_sh, "dns_nsupdate", &server, &more);
    let start = |names: &[String]| -> Running {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        // One after the other, some hundred forks each.
        let patience = Duration::from_secs(600);
        machine.issue(&pebble, &names).timeout(patience).spawn()
    };
    let (one, other) = names.split_at(10);
    let (one, other) = (start(one), start(other));
    for run in [one.wait(), other.wait()] {
        assert_eq!(run.code(), 0, "{run:?}");
        assert_eq!(run.stdout.matches("issued ").count(), 10, "{run:?}");
    }
    assert_eq!(txt_values(server.addr(), &shared), ["foreign"]);
}

/// A run that is killed after the script has deleted everything, and before anything is back.
#[test]
fn what_a_killed_run_owes_is_put_back_by_the_next() {
    let (Some(acme_sh), Some(server)) = (home(), Server::start(&[])) else {
        return;
    };
    let scripts = Scripts::new(&acme_sh);
    let real = fs::read_to_string(acme_sh.join("dnsapi/dns_nsupdate.sh")).unwrap();
    let script = scripts.path().join("dnsapi/dns_nsupdate.sh");
    let murderous = real.replace(
        "  if [ $? -ne 0 ]; then\n    _err \"error updating domain\"\n    return 1\n  fi\n\n  return 0\n}",
        "  [ -z \"$2\" ] || kill -9 $PPID\n}",
    );
    assert_ne!(murderous, real);
    let add = murderous.find("dns_nsupdate_rm()").unwrap();
    // Only the removal kills.
    let murderous = format!(
        "{}{}",
        &real[..real.find("dns_nsupdate_rm()").unwrap()],
        &murderous[add..]
    );
    let machine = Machine::new(&scripts.path(), "dns_nsupdate", &server, "");
    for value in ["foreign", "ours"] {
        server.bind.add_txt(&server.key, ZONE, OWNER, value);
    }
    fs::write(&script, murderous).unwrap();
    let killed = machine.dnseal(&["dns", "unset", OWNER, "ours"]).run();
    assert_eq!(killed.status.code(), None, "{killed:?}");
    assert_eq!(txt_values(server.addr(), OWNER), Vec::<String>::new());

    fs::write(&script, &real).unwrap();
    machine
        .dnseal(&["dns", "unset", OWNER, "ours"])
        .run()
        .success();
    assert_eq!(txt_values(server.addr(), OWNER), ["foreign"]);
}

#[test]
fn the_environment_is_enough() {
    let (Some(acme_sh), Some(server)) = (home(), Server::start(&[])) else {
        return;
    };
    let home = TempDir::with_prefix("dnseal-home-").unwrap();
    let dns = |what: &str| {
        let call = Dnseal::new(home.path())
            .args(["dns", what, OWNER, "-value", "--provider", "acme.sh"])
            .args(["--set", "script=nsupdate"])
            .args(["--nameserver", &server.addr().to_string()])
            .env("DNSEAL_ACME_SH_HOME", &acme_sh);
        let env = server.settings().into_iter();
        let call = env.fold(call, |call, (key, value)| {
            call.env(key.trim_start_matches("env."), value)
        });
        call.run().success()
    };
    dns("set");
    assert_eq!(txt_values(server.addr(), OWNER), ["-value"]);
    dns("unset");
    assert_eq!(txt_values(server.addr(), OWNER), Vec::<String>::new());
}

#[test]
fn scripts_are_listed_and_shown() {
    let Some(acme_sh) = home() else { return };
    let dir = TempDir::new().unwrap();
    let flag = format!("--acme.sh={}", acme_sh.display());
    let list = Dnseal::new(dir.path())
        .args(["provider", "list", &flag])
        .run()
        .success();
    let line = list
        .stdout
        .lines()
        .find(|line| line.starts_with("dns_nsupdate "))
        .unwrap();
    assert!(line.contains("more") && line.contains("RFC 2136"), "{line}");
    let json = Dnseal::new(dir.path())
        .args(["provider", "list", "--acme.sh", "--output", "json"])
        .env("LE_WORKING_DIR", &acme_sh)
        .run()
        .success()
        .json();
    let scripts = json["scripts"].as_array().unwrap();
    assert!(scripts.len() >= 179);
    let cf = scripts.iter().find(|s| s["script"] == "dns_cf").unwrap();
    assert_eq!(cf["removes"], "one-value");
    assert!(
        cf["variables"]
            .as_array()
            .unwrap()
            .iter()
            .any(|v| v == "CF_Token")
    );

    let show = Dnseal::new(dir.path())
        .args(["provider", "show", "acme.sh", "--set", "script=dns_cf"])
        .args(["--set", &format!("home={}", acme_sh.display())])
        .run()
        .success();
    assert!(show.stdout.contains("env.CF_Token (secret)"), "{show:?}");
    assert!(show.stdout.contains("environment: CF_Token"), "{show:?}");
    let show = Dnseal::new(dir.path())
        .args(["provider", "show", "acme.sh"])
        .run()
        .success();
    assert!(show.stdout.contains("--acme.sh"), "{show:?}");
    let missing = Dnseal::new(dir.path())
        .args(["provider", "list", "--acme.sh=/nowhere"])
        .run();
    assert_eq!(missing.code(), 2, "{missing:?}");
}

const TOKEN: &str = "canary-Sn3lZJTBX6kkg7OdcBUAxOO963GEIyGQ1";

/// The command lines that had this word in them, as long as nobody is done.
fn argv_with(word: &str, done: &AtomicBool) -> Vec<String> {
    let mut seen = BTreeSet::new();
    while !done.load(Ordering::Relaxed) {
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if line.contains(word) {
                seen.insert(line);
            }
        }
    }
    seen.into_iter().collect()
}
