//! `dnseal dns` on the fake of Route 53: what it writes, and what it says when it may not.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::SocketAddr;

use dnseal_sandbox::dns::{DnsServer, Zone};
use dnseal_tests::fakes::route53::{
    Fault, KEY_ID, KEY_SECRET, Policy, RecordSet, Route53, Route53Options,
};
use dnseal_tests::{Dnseal, Run};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::block_in_place;

const OWNER: &str = "_acme-challenge.example.test";

/// Runs `dnseal dns COMMAND` with these variables, and hides where the fake is and what its zone's ID is.
fn dns(fake: &Route53, zone: &str, env: &[(&str, &str)], command: &str) -> (Run, String) {
    dns_at(fake, fake.dns(), zone, env, command)
}

/// The same where this name server says which zones there are.
fn dns_at(
    fake: &Route53,
    server: SocketAddr,
    zone: &str,
    env: &[(&str, &str)],
    command: &str,
) -> (Run, String) {
    let home = TempDir::with_prefix("dnseal-home-").unwrap();
    let server = server.to_string();
    let run = block_in_place(|| {
        let command = Dnseal::new(home.path())
            .arg("dns")
            .args(command.split(' '))
            .args(["--provider", "route53", "--nameserver", &server])
            .arg("--dir")
            .arg(home.path().join("state"))
            // Nobody asks for credentials where there is nobody to answer.
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_ENDPOINT_URL_ROUTE_53", fake.endpoint());
        let with_env = |command: Dnseal, (name, value): &(&str, &str)| command.env(name, value);
        env.iter().fold(command, with_env).run()
    });
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(!said.contains(KEY_SECRET), "{said}");
    (
        run,
        said.replace(&fake.endpoint(), "URL")
            .replace(zone, "ZONEID"),
    )
}

const KEY: &[(&str, &str)] = &[
    ("AWS_ACCESS_KEY_ID", KEY_ID),
    ("AWS_SECRET_ACCESS_KEY", KEY_SECRET),
];

#[tokio::test(flavor = "multi_thread")]
async fn values_are_set_listed_and_unset() {
    let fake = Route53::start(Route53Options::default()).await;
    let zone = fake.add_zone("example.test");
    fake.put(&zone, RecordSet::txt(OWNER, 300, &["foreign"]));
    let place = "(zone example.test, through route53 at the Route 53 API at URL)";
    for (command, wanted) in [
        (
            format!("set {OWNER} v"),
            format!("v is at {OWNER} {place}\n"),
        ),
        (format!("list {OWNER}"), "foreign\nv\n".to_owned()),
        (
            format!("set {OWNER} v"),
            format!("v is at {OWNER} {place}\n"),
        ),
        (
            format!("unset {OWNER} v"),
            format!("removed v from {OWNER} {place}\n"),
        ),
        (
            format!("unset {OWNER} v"),
            format!("v was not at {OWNER} {place}\n"),
        ),
        (format!("list {OWNER}"), "foreign\n".to_owned()),
        (
            "list _acme-challenge.www.example.test".to_owned(),
            "no TXT values at _acme-challenge.www.example.test\n".to_owned(),
        ),
    ] {
        let (run, said) = dns(&fake, &zone, KEY, &command);
        assert_eq!((run.code(), said), (0, wanted), "{command}");
    }
    // Nobody remembers from one command to the next what TTL there was.
    let left = RecordSet::txt(OWNER, 1, &["foreign"]);
    assert_eq!(fake.record_sets(&zone), [left]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_missing_right_is_named_with_the_policy_that_grants_it() {
    let fake = Route53::start(Route53Options::default()).await;
    let zone = fake.add_zone("example.test");
    let unplaced = format!("cannot tell where values for {OWNER} go");
    let unlisted = format!("cannot list the values at {OWNER}");
    let unwritten = |action: &str| {
        format!(
            "cannot {action} the value at {OWNER} in zone example.test through provider `route53`"
        )
    };
    let on_zone = "arn:aws:route53:::hostedzone/ZONEID";
    let set = format!("set {OWNER} v");
    let list = format!("list {OWNER}");
    for (action, resource, command, failed) in [
        ("ListHostedZonesByName", "*", &set, &unplaced),
        ("ListResourceRecordSets", on_zone, &set, &unwritten("add")),
        ("ListResourceRecordSets", on_zone, &list, &unlisted),
        ("ChangeResourceRecordSets", on_zone, &set, &unwritten("add")),
    ] {
        let action = format!("route53:{action}");
        fake.deny(&action);
        let (run, said) = dns(&fake, &zone, KEY, command);
        fake.allow(Policy::Everything);
        assert_eq!(run.code(), 4, "{said}");
        let on = match resource {
            "*" => String::new(),
            resource => format!(" on resource: {resource}"),
        };
        let wanted = format!(
            "error: {failed}: the Route 53 API at URL refused the credentials: AccessDenied: \
             User: arn:aws:iam::123456789012:user/dnseal is not authorized to perform: {action}{on} \
             because no identity-based policy allows the {action} action\n\n\
             hint: allow {action} on {resource}; this policy suffices, and allows nothing else:\n"
        );
        let policy = said.strip_prefix(&wanted);
        let policy = policy.unwrap_or_else(|| panic!("{said}\ninstead of\n{wanted}"));
        let policy: Value = serde_json::from_str(policy).unwrap();
        let statements = policy["Statement"].as_array().unwrap().iter();
        let granted = statements.filter(|s| s["Action"] == action && s["Resource"] == resource);
        assert_eq!(granted.count(), 1, "{policy:#}");
    }
    assert_eq!(fake.record_sets(&zone), []);

    // That policy does suffice.
    fake.allow(Policy::Challenges);
    for command in [set, list, format!("unset {OWNER} v")] {
        dns(&fake, &zone, KEY, &command).0.success();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_credentials_has_words_of_its_own() {
    let fake = Route53::start(Route53Options::default()).await;
    let zone = fake.add_zone("example.test");
    let expired = Fault::Refuse(
        403,
        "ExpiredToken",
        "The security token included in the request is expired",
    );
    fake.inject("ListHostedZonesByName", expired, 1);
    let unplaced = format!("error: cannot tell where values for {OWNER} go");
    let refused = format!("{unplaced}: the Route 53 API at URL refused the credentials");
    let id = ("AWS_ACCESS_KEY_ID", KEY_ID);
    let secret = ("AWS_SECRET_ACCESS_KEY", KEY_SECRET);
    for (env, code, wanted) in [
        (
            vec![id, secret, ("AWS_SESSION_TOKEN", "FwoGZXIvYXdzEXAMPLE")],
            4,
            format!(
                "{refused}: ExpiredToken: The security token included in the request is expired\n\n\
                 hint: the session is over: log in again, or let a role or profile renew it\n"
            ),
        ),
        (
            vec![("AWS_ACCESS_KEY_ID", "AKIANOBODY"), secret],
            4,
            format!(
                "{refused}: InvalidClientTokenId: The security token included in the request is invalid\n\n\
                 hint: there is no such active access key: compare it with `aws iam list-access-keys`, or make another one\n"
            ),
        ),
        (
            vec![
                id,
                (
                    "AWS_SECRET_ACCESS_KEY",
                    "of/another/access/key/that/is/not/there0",
                ),
            ],
            4,
            format!(
                "{refused}: SignatureDoesNotMatch: The request signature we calculated does not match the signature \
                 you provided\n\n\
                 hint: the secret access key does not belong to the access key, or the clock of this machine is wrong\n"
            ),
        ),
        (
            vec![secret],
            2,
            "error: provider `route53` (route53): `access-key-id` is missing\n\n\
             hint: set `access-key-id`, or the environment variable AWS_ACCESS_KEY_ID\n"
                .to_owned(),
        ),
    ] {
        let (run, said) = dns(&fake, &zone, &env, &format!("set {OWNER} v"));
        assert_eq!((run.code(), said), (code, wanted));
    }
    // The SDK lists each place where it has looked.
    let (run, said) = dns(&fake, &zone, &[], &format!("set {OWNER} v"));
    let nothing = "there are no AWS credentials from any of the places where the AWS tools look: ";
    assert!(
        said.starts_with(&format!("{unplaced}: {nothing}")),
        "{said}"
    );
    assert!(
        said.ends_with(
            "\n\nhint: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or `profile`, or run where a role gives \
             credentials (EC2, ECS, EKS)\n"
        ),
        "{said}"
    );
    assert_eq!(run.code(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn zones_that_are_not_there_or_not_asked_are_named() {
    let fake = Route53::start(Route53Options::default()).await;
    let zone = fake.add_zone("example.test");
    let others = DnsServer::builder()
        .zone(Zone::new("other.test").ns("ns1.other.test"))
        .zone(Zone::new("sub.example.test").ns("ns1.other.test"))
        .start()
        .await
        .unwrap();
    let api = "the Route 53 API at URL";
    let elsewhere = |owner: &str| {
        let (run, said) = dns_at(&fake, others.addr(), &zone, KEY, &format!("set {owner} v"));
        (run.code(), said)
    };
    assert_eq!(
        elsewhere("_acme-challenge.other.test"),
        (
            4,
            format!(
                "error: cannot tell where values for _acme-challenge.other.test go: {api} holds no zone that contains \
                 _acme-challenge.other.test\n\nhint: the account holds example.test\n"
            )
        )
    );
    assert_eq!(
        elsewhere("_acme-challenge.sub.example.test"),
        (
            4,
            format!(
                "error: cannot tell where values for _acme-challenge.sub.example.test go: {api} holds \
                 _acme-challenge.sub.example.test in its zone example.test, but DNS serves it from sub.example.test\n\n\
                 hint: sub.example.test is delegated away from example.test; configure the provider that holds sub.example.test\n"
            )
        )
    );

    let set = format!("set {OWNER} v");
    let unplaced = format!("error: cannot tell where values for {OWNER} go: {api}");
    let env = [KEY[0], KEY[1], ("AWS_HOSTED_ZONE_ID", "Z0NOBODY")];
    let (run, said) = dns(&fake, &zone, &env, &set);
    assert_eq!(
        (run.code(), said),
        (
            4,
            format!(
                "{unplaced} holds no hosted zone Z0NOBODY in this account: NoSuchHostedZone: No hosted zone found with ID: \
                 Z0NOBODY\n\nhint: look the ID up with `aws route53 list-hosted-zones`\n"
            )
        )
    );

    let second = fake.add_zone("example.test");
    let (run, said) = dns(&fake, &zone, KEY, &set);
    let said = said.replace(&second, "SECOND");
    assert_eq!(run.code(), 4);
    assert!(
        said.starts_with(&format!(
            "{unplaced} holds 2 hosted zones of the name example.test: ZONEID (served by "
        )) && said.contains(" and SECOND (served by ")
            && said.ends_with(
                "\n\nhint: set `hosted-zone-id` to the one that example.test is delegated to \
                 (compare with `dig NS example.test`), or delete the others\n"
            ),
        "{said}"
    );
}
