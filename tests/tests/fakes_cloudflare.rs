//! The fake of Cloudflare's API, used by Cloudflare's own SDK for Python and by certbot's plugin.

use std::path::Path;
use std::process::Command;

use dnseal_tests::fakes::cloudflare::{CloudflareOptions, FakeCloudflare, FakeToken, Grant, Quota};
use dnseal_tests::python_with;
use tokio::task::spawn_blocking;

const GOOD: &str = "Sn3lZJTBX6kkg7OdcBUAxOO963GEIyGQqnFTOFYY";
const READ_ONLY: &str = "YQSn-xWAQiiEh9qM58wZNnyQS7FUdoqGIUAbrh7T";
const EXPIRED: &str = "8M7wS6hCpXVc-DoRnPPY_UCWPgy8aea4Wy6kCe5T";
const HASTY: &str = "c2547eb745079dac9320b638f5e225cf483cc5cf";
const EMAIL: &str = "user@example.test";
const KEY: &str = "144c9defac04969c7bfad8efaa8ea19412345";

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_others_wrote_can_use_the_fake() {
    let Some(python) = python_with(&["cloudflare", "certbot_dns_cloudflare"]) else {
        return;
    };
    let mut options = CloudflareOptions::new(["example.test", "other.test"], GOOD);
    options
        .tokens
        .push(FakeToken::new(READ_ONLY).allow("example.test", &[Grant::DnsRead, Grant::ZoneRead]));
    options.tokens.push(FakeToken::new(EXPIRED).expired());
    options.users.push((EMAIL.to_owned(), KEY.to_owned()));
    options.tokens.push(
        FakeToken::new(HASTY)
            .allow("*", &[Grant::ZoneRead])
            .quota(Quota::per_second(5)),
    );
    let fake = FakeCloudflare::start(options).await.unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fakes/check_cloudflare.py");
    let mut command = Command::new(python);
    command
        .arg(script)
        .arg(fake.base_url())
        .args([GOOD, READ_ONLY, EXPIRED, HASTY, EMAIL, KEY]);
    let output = spawn_blocking(move || command.output()).await.unwrap();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let last = fake.requests().pop();
    assert!(output.status.success(), "{said}\nlast request: {last:?}");
    assert_eq!(fake.records("example.test"), []);
    let refused = fake.requests().into_iter().filter(|r| r.status == 429);
    assert_ne!(refused.count(), 0);
}
