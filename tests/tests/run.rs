//! `dnseal run` with certificates that live for seconds: renewed over and over, never mixed, told in numbers, reloaded, and ended.

#![expect(clippy::panic, clippy::unwrap_used, reason = "tests")]
#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use dnseal_sandbox::ca::Ca;
use dnseal_tests::{Home, Running, Sandbox, Shop, wait_until};
use serde_json::{Value, json};

const TWO: &str = "certificates:
  example.test: { names: [example.test, '*.example.test'] }
  second.test: { names: [second.example.test] }
";
const ONE: &str = "certificates:
  example.test: { names: [example.test, '*.example.test'] }
";

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_seconds_are_renewed_until_it_is_ended() {
    let lifetime = Duration::from_secs(20);
    let sandbox = Sandbox::with_ca(Ca::builder().validity(lifetime)).await;
    let home = Home::new(&sandbox, ONE);
    let socket = home.path().join("notify");
    let supervisor = hearing(UnixDatagram::bind(&socket).unwrap());
    let running = home
        .dnseal(&["run", "--metrics", "127.0.0.1:0"])
        .env("NOTIFY_SOCKET", &socket)
        .env("WATCHDOG_USEC", "2000000")
        .timeout(Duration::from_secs(300))
        .spawn();
    let base = address(&running);
    let reader = Reader::start(home.path().join("state/live/example.test"));

    // Three renewals, each of which happened before the one before had ended.
    for version in 1..=4 {
        let wanted =
            format!("dnseal_certificate_version{{certificate=\"example.test\"}} {version}");
        await_metric(&running, &base, &wanted).await;
        let (status, health) = get(&format!("{base}/healthz")).await;
        assert_eq!(
            (status, health.as_str()),
            (200, "ok\n"),
            "{}",
            running.stderr()
        );
    }
    let metrics = get(&format!("{base}/metrics")).await.1;
    let number = |name: &str| number(&metrics, name);
    let renewed = number("dnseal_renewals_total{certificate=\"example.test\",result=\"success\"}");
    assert!(renewed >= 4.0, "{metrics}");
    assert_eq!(
        number("dnseal_renewals_total{certificate=\"example.test\",result=\"failure\"}"),
        0.0
    );
    assert!(
        number("dnseal_provider_calls_total{provider=\"corp\",call=\"apply\",result=\"success\"}")
            >= 2.0
    );
    assert!(number("dnseal_acme_requests_total{resource=\"newOrder\",status=\"201\"}") >= 4.0);
    let not_after =
        number("dnseal_certificate_not_after_timestamp_seconds{certificate=\"example.test\"}");
    let next =
        number("dnseal_certificate_next_renewal_timestamp_seconds{certificate=\"example.test\"}");
    assert!(next < not_after && not_after - next <= 20.0, "{metrics}");

    // A configuration that is wrong changes nothing; the next one is said, and looked at at once.
    home.configure(&TWO.replace("names: [second", "nmaes: [second"));
    running.signal("HUP");
    running.wait_stderr("the configuration in force stays as it was");
    await_metric(&running, &base, "dnseal_config_last_reload_successful 0").await;
    home.configure(TWO);
    running.signal("HUP");
    running.wait_stderr("certificates.second.test: added");
    await_metric(
        &running,
        &base,
        "dnseal_certificate_version{certificate=\"second.test\"} 1",
    )
    .await;
    await_metric(&running, &base, "dnseal_config_last_reload_successful 1").await;

    let read = reader.finish();
    assert!(read.versions >= 4, "{read:?}");
    running.signal("TERM");
    let run = running.wait().success();
    assert!(run.stderr.contains("stopped"), "{}", run.stderr);
    assert_eq!(sandbox.ours_in_dns(), [""; 0]);
    let said = supervisor.lock().unwrap().clone();
    for wanted in [
        "READY=1",
        "RELOADING=1",
        "WATCHDOG=1",
        "STOPPING=1",
        "STATUS=2 certificates; next look at",
    ] {
        assert!(said.contains(wanted), "{wanted} in {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_renewed_is_told_and_makes_it_unwell() {
    let sandbox = Sandbox::with_ca(
        Ca::builder()
            .validity(Duration::from_secs(12))
            .authz_reuse(false),
    )
    .await;
    let home = Home::new(
        &sandbox,
        &format!("{ONE}notify: [{{ run: [sh, -c, 'cat >> told'] }}]\n"),
    );
    let running = home
        .dnseal(&["run", "--metrics", "127.0.0.1:0", "--log-format", "json"])
        .spawn();
    let base = address(&running);
    await_metric(
        &running,
        &base,
        "dnseal_certificate_version{certificate=\"example.test\"} 1",
    )
    .await;
    sandbox
        .dns
        .inject(dnseal_sandbox::dns::Fault::refused().updates());
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let (status, health) = get(&format!("{base}/healthz")).await;
        if status == 503 {
            assert!(health.contains("example.test expire"), "{health}");
            break;
        }
        assert!(Instant::now() < deadline, "{health}{}", running.stderr());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(
        wait_until(Duration::from_secs(60), || {
            let told = fs::read_to_string(home.path().join("told")).unwrap_or_default();
            told.contains("\"event\":\"failed\"") && told.contains("\"event\":\"renewed\"")
        }),
        "{}",
        running.stderr()
    );
    // Every line is a document.
    for line in running.stderr().lines() {
        let document: Value = serde_json::from_str(line).unwrap();
        assert!(document["event"].is_string(), "{line}");
    }
    sandbox.dns.heal();
    await_metric(
        &running,
        &base,
        "dnseal_certificate_failures{certificate=\"example.test\"} 0",
    )
    .await;
    running.signal("TERM");
    running.wait().success();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ca_says_when_and_the_store_says_how() {
    let Some(shop) = Shop::open() else {
        return;
    };
    let _issued = shop.issue(&["example.test"]).run().success();
    let window = json!({ "suggestedWindow": { "start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z" } });
    let cert = fs::read_to_string(shop.live("example.test", "cert.pem")).unwrap();
    shop.pebble.set_renewal_info(&cert, &window.to_string());
    let mut head = shop.head("example.test").unwrap();
    // What the CA said last has run out.
    head["renewal"]["advice"]["ask_again"] = json!("2020-01-01T00:00:00Z");
    let path = shop.dir().join("store/certificates/example.test/head.json");
    fs::write(path, head.to_string()).unwrap();

    // Nothing but the secret: there is no configuration.
    let running = shop
        .command("run --metrics 127.0.0.1:0")
        .env("RFC2136_TSIG_SECRET", &shop.key.secret_base64)
        .spawn();
    let base = address(&running);
    await_metric(
        &running,
        &base,
        "dnseal_certificate_version{certificate=\"example.test\"} 2",
    )
    .await;
    running.wait_stderr("example.test: to be renewed, because the CA suggests it");
    running.signal("TERM");
    running.wait().success();
    assert_eq!(shop.pebble.count("POST", "/order-plz"), 2);
    let head = shop.head("example.test").unwrap();
    assert!(head["renewal"]["advice"]["asked"].is_string(), "{head:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_deployed_is_tried_again_without_an_order() {
    let sandbox = Sandbox::start().await;
    let home = Home::new(&sandbox, "");
    home.configure(&format!(
        "certificates:
  example.test:
    names: [example.test]
    deploy: [{{ run: [test, -e, {}/ready] }}]
notify: [{{ run: [sh, -c, 'cat >> told'], events: [deployed, deploy-failed] }}]
",
        home.path().display()
    ));
    let running = home
        .dnseal(&["run", "--metrics", "127.0.0.1:0", "--log-format", "json"])
        .spawn();
    let base = address(&running);
    let told = || -> Vec<Value> {
        let text = fs::read_to_string(home.path().join("told")).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let limit = Duration::from_secs(60);
    assert!(
        wait_until(limit, || told().len() == 1),
        "{}",
        running.stderr()
    );
    assert_eq!(told()[0]["event"], "deploy-failed");
    // It is tried again in a minute, and not when the certificate is due.
    await_metric(
        &running,
        &base,
        "dnseal_certificate_version{certificate=\"example.test\"} 1",
    )
    .await;
    let metrics = get(&format!("{base}/metrics")).await.1;
    let next = number(&metrics, "dnseal_run_next_round_timestamp_seconds");
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs_f64();
    assert!(next - now <= 60.0, "{next} {now}");
    // Who reads the configuration again wants to see something happen.
    fs::write(home.path().join("ready"), "").unwrap();
    running.signal("HUP");
    assert!(
        wait_until(limit, || told().len() == 2),
        "{}",
        running.stderr()
    );
    assert_eq!(told()[1]["event"], "deployed");
    for line in running.stderr().lines() {
        let document: Value = serde_json::from_str(line).unwrap();
        assert!(document["event"].is_string(), "{line}");
    }
    running.signal("TERM");
    running.wait().success();
    assert_eq!(sandbox.ca.orders().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_certificate_can_be_ordered_without_is_a_failure_of_each() {
    let sandbox = Sandbox::with_ca(Ca::builder().validity(Duration::from_secs(16))).await;
    let home = Home::new(
        &sandbox,
        &format!("{TWO}notify: [{{ run: [sh, -c, 'cat >> told'] }}]\n"),
    );
    let running = home
        .dnseal(&["run", "--metrics", "127.0.0.1:0"])
        .timeout(Duration::from_secs(200))
        .spawn();
    let base = address(&running);
    for name in ["example.test", "second.test"] {
        let wanted = format!("dnseal_certificate_version{{certificate=\"{name}\"}} 1");
        await_metric(&running, &base, &wanted).await;
        running.wait_stderr(&format!("{name}: version 1 is stored, valid until"));
    }
    let root = fs::read(home.path().join("ca.pem")).unwrap();
    fs::remove_file(home.path().join("ca.pem")).unwrap();
    let told = |event: &str, name: &str| {
        let text = fs::read_to_string(home.path().join("told")).unwrap_or_default();
        let mut told = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        told.any(|notice| notice["event"] == event && notice["certificate"] == name)
    };
    for name in ["example.test", "second.test"] {
        for event in ["failed", "expiring", "expired"] {
            assert!(
                wait_until(Duration::from_secs(60), || told(event, name)),
                "{event} {name}{}",
                running.stderr()
            );
        }
        running.wait_stderr(&format!("{name}: next try"));
    }
    let metrics = get(&format!("{base}/metrics")).await.1;
    let failures = number(
        &metrics,
        "dnseal_certificate_failures{certificate=\"second.test\"}",
    );
    assert!(failures >= 2.0, "{metrics}");
    assert_eq!(get(&format!("{base}/healthz")).await.0, 503);

    // A certificate of seconds is not left alone for a minute.
    fs::write(home.path().join("ca.pem"), root).unwrap();
    let healed = Instant::now();
    await_metric(
        &running,
        &base,
        "dnseal_certificate_failures{certificate=\"second.test\"} 0",
    )
    .await;
    assert!(
        healed.elapsed() < Duration::from_secs(30),
        "{}",
        running.stderr()
    );
    running.signal("TERM");
    running.wait().success();
}

/// Where metrics are, once it says so.
fn address(running: &Running) -> String {
    let said = running.wait_stderr("/metrics");
    let at = said.find("http://").unwrap();
    let end = at + said[at..].find("/metrics").unwrap();
    said[at..end].to_owned()
}

async fn get(url: &str) -> (u16, String) {
    let answer = reqwest::get(url).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn await_metric(running: &Running, base: &str, line: &str) {
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        let metrics = get(&format!("{base}/metrics")).await.1;
        if metrics.lines().any(|l| l == line) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "no {line} in\n{metrics}\n{}",
            running.stderr()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn number(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    let line = line.unwrap_or_else(|| panic!("no {name} in\n{metrics}"));
    line.trim().parse().unwrap()
}

/// What is sent there, as it comes; a queue that nobody reads is soon full, and then nothing is sent.
fn hearing(socket: UnixDatagram) -> Arc<Mutex<String>> {
    let said = Arc::new(Mutex::new(String::new()));
    let heard = said.clone();
    thread::spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok(n) = socket.recv(&mut buffer) {
            let mut heard = heard.lock().unwrap();
            *heard += &String::from_utf8_lossy(&buffer[..n]);
            heard.push('\n');
        }
    });
    said
}

/// Somebody who reads key and certificate all the time, as a server does that opens the directory once.
struct Reader {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Read>,
}

#[derive(Debug, Default)]
struct Read {
    pairs: usize,
    versions: usize,
}

impl Reader {
    fn start(dir: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut read = Read::default();
            let mut last = String::new();
            while !stopped.load(Ordering::Relaxed) {
                // Before the first certificate there is nothing to open.
                let Ok(opened) = File::open(&dir) else {
                    thread::sleep(Duration::from_millis(5));
                    continue;
                };
                let certificate = read_pair(&opened);
                read.pairs += 1;
                if certificate != last {
                    read.versions += 1;
                    last = certificate;
                }
            }
            read
        });
        Self { stop, thread }
    }

    fn finish(self) -> Read {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Reads both through the open directory, and checks that they belong together.
fn read_pair(dir: &File) -> String {
    let dir = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    let read = |name: &str| fs::read_to_string(Path::join(&dir, name)).unwrap();
    let (key, certificate) = (read("privkey.pem"), read("cert.pem"));
    let key = rcgen::KeyPair::from_pem(&key).unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()).unwrap();
    let public = pem.parse_x509().unwrap().public_key().raw.to_vec();
    assert_eq!(rcgen::PublicKeyData::subject_public_key_info(&key), public);
    certificate
}
