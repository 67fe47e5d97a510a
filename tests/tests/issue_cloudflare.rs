//! Certificates from the real Pebble, with the challenges in the fake of Cloudflare.

#![expect(clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use dnseal_core::dns::DnsProvider;
use dnseal_providers::{Context, Form, Settings, Value, build};
use dnseal_tests::fakes::cloudflare::{CloudflareOptions, FakeCloudflare, Quota};
use dnseal_tests::{CaSettings, Dnseal, Pebble, PebbleOptions, Workbench};
use tempfile::TempDir;
use tokio::task::{block_in_place, spawn_blocking};
use tokio_util::sync::CancellationToken;

const ZONE: &str = "example.test";
const OWNER: &str = "_acme-challenge.example.test";
const TOKEN: &str = "Sn3lZJTBX6kkg7OdcBUAxOO963GEIyGQqnFTOFYY";
const BATCH: &str = "/dns_records/batch";

async fn fake(options: CloudflareOptions) -> FakeCloudflare {
    FakeCloudflare::start(options).await.unwrap()
}

/// Pebble, asking the fake's name server.
fn pebble(fake: &FakeCloudflare) -> Option<(Pebble, CaSettings)> {
    let options = PebbleOptions::new(fake.dns().addr());
    let pebble = block_in_place(|| Pebble::start(options))?;
    let ca = CaSettings {
        directory: pebble.directory_url(),
        root: fs::read(pebble.ca_pem_path()).unwrap(),
    };
    Some((pebble, ca))
}

fn provider(fake: &FakeCloudflare) -> Arc<dyn DnsProvider> {
    let mut settings = Settings::new();
    settings.insert("base-url", Value::from(fake.base_url()));
    settings.insert("token", Value::new(Form::Secret, TOKEN.to_owned()));
    build("cloudflare", "cloud", settings, &Context::default()).unwrap()
}

async fn issue(fake: &FakeCloudflare, ca: CaSettings, names: &[&str]) -> Workbench {
    let workbench = Workbench::new(ca, Vec::new())
        .nameservers(vec![fake.dns().addr()])
        .hosted(provider(fake));
    let request = workbench.request(names);
    let engine = workbench.engine();
    match engine.issue(&request, &CancellationToken::new()).await {
        Ok(issued) => assert!(issued.issued_now),
        Err(error) => panic!("{error}: {:#?}", workbench.events()),
    }
    workbench
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_with_its_wildcard_though_changes_take_a_while() {
    let mut options = CloudflareOptions::new([ZONE], TOKEN);
    options.lag = Duration::from_secs(2);
    let fake = fake(options).await;
    let Some((_pebble, ca)) = pebble(&fake) else {
        return;
    };
    fake.add(ZONE, "TXT", OWNER, "foreign");
    issue(&fake, ca, &["example.test", "*.example.test"]).await;
    let left: Vec<String> = fake.records(ZONE).into_iter().map(|r| r.content).collect();
    assert_eq!(left, ["foreign"]);
    // One batch of two values, and one to take them away again.
    let requests = fake.requests();
    let batches: Vec<_> = requests
        .iter()
        .filter(|r| r.path.ends_with(BATCH))
        .collect();
    assert_eq!(batches.iter().map(|r| r.batch).collect::<Vec<_>>(), [2, 2]);
    // The list of zones, and a look for what is to be removed.
    assert_eq!(requests.len(), 4, "{requests:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_names_are_one_batch_to_add_and_one_to_remove() {
    let fake = fake(CloudflareOptions::new([ZONE], TOKEN)).await;
    let Some((_pebble, ca)) = pebble(&fake) else {
        return;
    };
    let names: Vec<String> = (0..100).map(|n| format!("n{n}.example.test")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let workbench = issue(&fake, ca, &names).await;
    assert_eq!(workbench.writes(), 2);
    assert_eq!(fake.count("POST", BATCH), 2);
    assert_eq!(fake.requests().len(), 4, "{:?}", fake.requests());
    assert_eq!(fake.records(ZONE), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn four_processes_share_one_owner_name() {
    fleet(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn four_processes_share_five_requests_a_second() {
    fleet(Some(Quota::per_second(5))).await;
}

/// Four processes, each with ten certificates whose challenges are all at one name.
async fn fleet(quota: Option<Quota>) {
    const PROCESSES: usize = 4;
    const EACH: usize = 10;
    let mut options = CloudflareOptions::new([ZONE, "shared.test"], TOKEN);
    options.quota = quota;
    let fake = fake(options).await;
    let Some((pebble, _)) = pebble(&fake) else {
        return;
    };
    fake.add("shared.test", "TXT", "challenges.shared.test", "foreign");
    let home = TempDir::with_prefix("dnseal-fleet-").unwrap();
    let mut runs = Vec::new();
    for process in 0..PROCESSES {
        let mut certificates = String::new();
        for number in 0..EACH {
            let host = format!("h{process}-{number}.example.test");
            let owner = format!("_acme-challenge.{host}");
            fake.add(ZONE, "CNAME", &owner, "challenges.shared.test");
            writeln!(certificates, "  {host}: {{ names: [{host}] }}").unwrap();
        }
        let home = home.path().join(process.to_string());
        fs::create_dir(&home).unwrap();
        let config = home.join("dnseal.yaml");
        let text = format!(
            "ca: {{ url: '{}', root: '{}' }}\nagree-tos: true\nproviders:\n  cloud: {{ kind: cloudflare, base-url: '{}', \
             token: {{ env: FLEET_TOKEN }} }}\npropagation: {{ nameservers: ['{}'] }}\ncertificates:\n{certificates}",
            pebble.directory_url(),
            pebble.ca_pem_path().display(),
            fake.base_url(),
            fake.dns().addr(),
        );
        fs::write(&config, text).unwrap();
        let command = Dnseal::new(&home)
            .args(["issue", "--output", "json", "--config"])
            .arg(&config)
            .arg("--dir")
            .arg(home.join("state"))
            .env("FLEET_TOKEN", TOKEN)
            .timeout(Duration::from_secs(300));
        runs.push(spawn_blocking(move || command.run()));
    }
    let mut told = 0;
    for (process, run) in runs.into_iter().enumerate() {
        let run = run.await.unwrap().success();
        told += run
            .stderr
            .matches("to take more requests (5 in 1s)")
            .count();
        for number in 0..EACH {
            let host = format!("h{process}-{number}.example.test");
            let live = home
                .path()
                .join(format!("{process}/state/live/{host}/fullchain.pem"));
            assert!(live.is_file(), "{}: {run:?}", live.display());
        }
    }
    assert_eq!(told > 0, quota.is_some());
    let left = fake.records("shared.test");
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0].content, "foreign");
    let mut before: HashMap<(String, String, String), u16> = HashMap::new();
    for request in fake.requests() {
        let key = (request.credential, request.query, request.body);
        let last = before.insert(key.clone(), request.status);
        let twice = (last, request.status) == (Some(429), 429);
        // Questions are the same from every process; changes are not.
        assert!(!twice || key.2.is_empty(), "{key:?}");
    }
}
