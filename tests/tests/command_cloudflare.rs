//! `dnseal dns` on the fake of Cloudflare: what it writes, and what it says when it may not.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use dnseal_tests::fakes::cloudflare::{CloudflareOptions, FakeCloudflare, FakeToken, Grant};
use dnseal_tests::{Dnseal, Run};
use tempfile::TempDir;
use tokio::task::block_in_place;

const OWNER: &str = "_acme-challenge.example.test";
const GOOD: &str = "canary-Sn3lZJTBX6kkg7OdcBUAxOO963GEIyGQ-good";
const NO_EDIT: &str = "canary-Sn3lZJTBX6kkg7OdcBUAxOO963GEIyGQ-noed";
const NO_ZONE: &str = "canary-Sn3lZJTBX6kkg7OdcBUAxOO963GEIyGQ-nozo";
const EXPIRED: &str = "canary-Sn3lZJTBX6kkg7OdcBUAxOO963GEIyGQ-expi";

/// Runs `dnseal dns COMMAND` with a token, and hides where the fake is.
fn dns(fake: &FakeCloudflare, token: &str, command: &str) -> (Run, String) {
    let home = TempDir::with_prefix("dnseal-home-").unwrap();
    let secret = home.path().join("token");
    fs::write(&secret, format!("{token}\n")).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let server = fake.dns().addr().to_string();
    let run = block_in_place(|| {
        Dnseal::new(home.path())
            .arg("dns")
            .args(command.split(' '))
            .args(["--provider", "cloudflare", "--nameserver", &server])
            .arg("--dir")
            .arg(home.path().join("state"))
            .env("CLOUDFLARE_BASE_URL", fake.base_url())
            .env("CF_DNS_API_TOKEN_FILE", &secret)
            .run()
    });
    let base = fake.base_url();
    let host = base
        .trim_start_matches("http://")
        .trim_end_matches("/client/v4");
    let said = format!("{}{}", run.stdout, run.stderr).replace(host, "HOST");
    assert!(!said.contains("canary"), "{said}");
    (run, said)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dns_commands_say() {
    let both = [Grant::DnsEdit, Grant::ZoneRead];
    let mut options = CloudflareOptions::new(["example.test", "other.test"], GOOD);
    options.tokens = vec![
        FakeToken::new(GOOD).allow("example.test", &both),
        FakeToken::new(NO_EDIT).allow("example.test", &[Grant::ZoneRead, Grant::DnsRead]),
        FakeToken::new(NO_ZONE).allow("example.test", &[Grant::DnsEdit]),
        FakeToken::new(EXPIRED)
            .allow("example.test", &both)
            .expired(),
    ];
    let fake = FakeCloudflare::start(options).await.unwrap();
    fake.add("example.test", "TXT", OWNER, "foreign");
    let place = "(zone example.test, through cloudflare at the Cloudflare API at HOST)";
    let unplaced =
        format!("error: cannot tell where values for {OWNER} go: the Cloudflare API at HOST");
    let tokens = "https://dash.cloudflare.com/profile/api-tokens";
    for (token, command, code, wanted) in [
        (GOOD, format!("set {OWNER} v"), 0, format!("v is at {OWNER} {place}\n")),
        (GOOD, format!("list {OWNER}"), 0, "foreign\nv\n".to_owned()),
        (GOOD, format!("set {OWNER} v"), 0, format!("v is at {OWNER} {place}\n")),
        (GOOD, format!("unset {OWNER} v"), 0, format!("removed v from {OWNER} {place}\n")),
        (GOOD, format!("unset {OWNER} v"), 0, format!("v was not at {OWNER} {place}\n")),
        (GOOD, format!("list {OWNER}"), 0, "foreign\n".to_owned()),
        (
            NO_EDIT,
            format!("set {OWNER} v"),
            4,
            format!(
                "error: cannot add the value at {OWNER} in zone example.test through provider `cloudflare`: \
                 the Cloudflare API at HOST refused the credentials: the token lacks Zone → DNS → Edit on example.test: \
                 Authentication error (10000)\n\n\
                 hint: edit the token at {tokens}: add Zone → DNS → Edit, and include example.test under Zone Resources\n"
            ),
        ),
        (
            NO_ZONE,
            format!("set {OWNER} v"),
            4,
            format!(
                "{unplaced} refused the credentials: the token lacks Zone → Zone → Read on the zone of {OWNER}: \
                 Unauthorized to access requested resource (9109)\n\n\
                 hint: edit the token at {tokens}: add Zone → Zone → Read; or set `zone-id`, which needs no such permission\n"
            ),
        ),
        (
            EXPIRED,
            format!("set {OWNER} v"),
            4,
            format!(
                "{unplaced} refused the credentials: the token is expired since 2026-01-01T00:00:00Z: \
                 Authentication error (10000)\n\nhint: roll or replace the token at {tokens}\n"
            ),
        ),
        (
            GOOD,
            "set _acme-challenge.other.test v".to_owned(),
            4,
            "error: cannot tell where values for _acme-challenge.other.test go: the Cloudflare API at HOST holds no zone \
             that contains _acme-challenge.other.test\n\nhint: the account holds example.test\n"
                .to_owned(),
        ),
    ] {
        let (run, said) = dns(&fake, token, &command);
        assert_eq!((run.code(), said), (code, wanted), "{command}");
    }
}
