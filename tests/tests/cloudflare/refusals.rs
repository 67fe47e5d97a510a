//! What goes wrong, what is said about it, and what is never said.

use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex};

use dnseal_core::dns::{DnsProvider, Outcome, ProviderError, TxtChange};
use dnseal_providers::{Context, Form, Settings, Value, build};
use dnseal_tests::fakes::cloudflare::{CloudflareOptions, FakeToken, FakeZone, Fault, Grant};
use dnseal_tests::{added, name, removed};

use crate::{
    BATCH, EMAIL, KEY, OTHER, OWNER, TOKEN, ZONE, apply, fake, one_zone, owners, provider, served,
    with_settings, with_token, with_zone, zone_of,
};

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_change_fails_alone() {
    let fake = one_zone().await;
    let provider = provider(&fake);
    let zone = zone_of(&fake);
    let owners = owners(100);
    fake.add(ZONE, "CNAME", &owners[42], "elsewhere.test");
    fake.add(ZONE, "TXT", "old.example.test", "\"old\"");
    let mut changes: Vec<TxtChange> = owners.iter().map(|o| added(o, "v")).collect();
    changes.push(removed("old.example.test", "old"));
    changes.push(added("_acme-challenge.elsewhere.test", "v"));
    let applied = provider.apply(&zone, &changes).await.unwrap();
    for (place, outcome) in applied.outcomes.iter().enumerate() {
        match (place, outcome) {
            (42, Outcome::Refused { reason }) => {
                assert_eq!(
                    reason,
                    "A CNAME record with that host already exists. For more details, refer to \
                     <https://developers.cloudflare.com/dns/manage-dns-records/troubleshooting/records-with-same-name/> \
                     (81054); a CNAME is at that name, or above it: remove it, or let it point where the value may go"
                );
            }
            (101, Outcome::Refused { reason }) => assert_eq!(
                reason,
                "_acme-challenge.elsewhere.test is not in the zone example.test"
            ),
            (_, Outcome::Applied { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(fake.records(ZONE).len(), 100);
    assert!(fake.count("POST", BATCH) < 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_zone_says_so_and_lets_values_go() {
    let fake = with_zone(FakeZone::new(ZONE).room(3)).await;
    let provider = provider(&fake);
    let zone = zone_of(&fake);
    fake.fill(ZONE, "filler", 2);
    fake.add(ZONE, "TXT", OWNER, "old");
    let mut changes: Vec<TxtChange> = owners(50).iter().map(|o| added(o, "v")).collect();
    changes.insert(0, removed(OWNER, "old"));
    let applied = provider.apply(&zone, &changes).await.unwrap();
    assert!(matches!(applied.outcomes[0], Outcome::Applied { .. }));
    let Outcome::Refused { reason } = &applied.outcomes[50] else {
        panic!("{applied:?}");
    };
    assert!(
        reason.starts_with("Record quota exceeded (81045); the zone holds as many records as"),
        "{reason}"
    );
    assert_eq!(served(&fake, OWNER), [""; 0]);
    assert!(fake.requests().len() < 6, "{:?}", fake.requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_and_a_broken_server_are_tried_again() {
    let fake = one_zone().await;
    let provider = provider(&fake);
    let zone = zone_of(&fake);
    fake.inject(Fault::lose_answer("POST", BATCH));
    apply(&*provider, &zone, &[added(OWNER, "v")]).await;
    assert_eq!(served(&fake, OWNER), ["v"]);
    fake.inject(Fault::lose_answer("POST", BATCH));
    apply(&*provider, &zone, &[removed(OWNER, "v")]).await;
    assert_eq!(fake.records(ZONE), []);

    fake.inject(Fault::answer("POST", BATCH, 502, "<html>bad gateway</html>").times(2));
    apply(&*provider, &zone, &[added(OWNER, "v")]).await;
    fake.forget();
    let body =
        r#"{"success":false,"errors":[{"code":10001,"message":"Internal error."}],"result":null}"#;
    fake.inject(Fault::answer("POST", BATCH, 500, body).times(100));
    let error = provider
        .apply(&zone, &[added(OWNER, "w")])
        .await
        .unwrap_err();
    assert!(error.is_retryable());
    assert_eq!(
        error.to_string(),
        format!(
            "{} did not answer: it answered Internal error (10001)",
            provider.endpoint()
        )
    );
    assert_eq!(fake.requests().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_of_credentials_says_what_to_do() {
    let edit = "edit the token at https://dash.cloudflare.com/profile/api-tokens: add";
    let known = || FakeToken::new(OTHER);
    let both = [Grant::DnsEdit, Grant::ZoneRead];
    for (token, error, hint) in [
        (
            known().allow(ZONE, &[Grant::ZoneRead]),
            "the token lacks Zone → DNS → Edit on example.test: Authentication error (10000)",
            format!("{edit} Zone → DNS → Edit, and include example.test under Zone Resources"),
        ),
        (
            known().allow(ZONE, &[Grant::ZoneRead, Grant::DnsRead]),
            "the token lacks Zone → DNS → Edit on example.test: Authentication error (10000)",
            format!("{edit} Zone → DNS → Edit, and include example.test under Zone Resources"),
        ),
        (
            known().allow(ZONE, &[Grant::DnsEdit]),
            "the token lacks Zone → Zone → Read on the zone of _acme-challenge.example.test: Unauthorized to access requested resource (9109)",
            format!("{edit} Zone → Zone → Read; or set `zone-id`, which needs no such permission"),
        ),
        (
            known().allow(ZONE, &both).expired(),
            "the token is expired since 2026-01-01T00:00:00Z: Authentication error (10000)",
            "roll or replace the token at https://dash.cloudflare.com/profile/api-tokens".to_owned(),
        ),
        (
            known().allow(ZONE, &both).only_elsewhere(),
            "the token may not be used from here: Cannot use the access token from location: 127.0.0.1 (9109)",
            "allow this machine's address under Client IP Address Filtering of the token at https://dash.cloudflare.com/profile/api-tokens".to_owned(),
        ),
    ] {
        let fake = with_token(token).await;
        let provider = with_settings(&fake, &[("token", OTHER)]);
        let refused = refusal(&*provider).await;
        assert_eq!(refused.to_string(), format!("{} refused the credentials: {error}", provider.endpoint()));
        assert_eq!(refused.hint(), Some(hint));
        assert!(!refused.is_retryable());
        assert!(matches!(refused, ProviderError::Credentials { .. }));
    }

    let mut options = CloudflareOptions::new([ZONE], TOKEN);
    options.users.push((EMAIL.to_owned(), KEY.to_owned()));
    let fake = fake(options).await;
    let good = with_settings(&fake, &[("email", EMAIL), ("key", KEY)]);
    let zone = good.zone_of(&name(OWNER)).await.unwrap();
    apply(&*good, &zone, &[added(OWNER, "v")]).await;
    let wrong = KEY.replace("canary", "banana");
    for (settings, error, hint) in [
        (
            vec![("token", OTHER)],
            "it knows no such token: Invalid access token (9109)",
            "the token was deleted, rolled or not copied whole; make one at https://dash.cloudflare.com/profile/api-tokens",
        ),
        (
            vec![("token", KEY)],
            "it takes the token for none: Invalid request headers (6003): Invalid format for Authorization header (6111)",
            "copy the whole token again from https://dash.cloudflare.com/profile/api-tokens; a global API key goes into `key`, beside `email`",
        ),
        (
            vec![("email", EMAIL), ("key", TOKEN)],
            "it takes the global API key for none: Invalid request headers (6003): Invalid format for X-Auth-Key header (6103)",
            "copy the global API key again from https://dash.cloudflare.com/profile/api-tokens; a token goes into `token`, without `email`",
        ),
        (
            vec![("email", EMAIL), ("key", wrong.as_str())],
            "it knows no such e-mail address with such a global API key: Unknown X-Auth-Key or X-Auth-Email (9103)",
            "compare `email` and `key` with https://dash.cloudflare.com/profile/api-tokens, or better make a token there",
        ),
    ] {
        let provider = with_settings(&fake, &settings);
        let refused = refusal(&*provider).await;
        assert_eq!(
            refused.to_string(),
            format!("{} refused the credentials: {error}", provider.endpoint())
        );
        assert_eq!(refused.hint().as_deref(), Some(hint));
    }
}

/// Why finding the zone or writing into it fails.
async fn refusal(provider: &dyn DnsProvider) -> ProviderError {
    match provider.zone_of(&name(OWNER)).await {
        Ok(zone) => provider
            .apply(&zone, &[added(OWNER, "v")])
            .await
            .unwrap_err(),
        Err(error) => error,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_zone_id_is_named() {
    let mut options = CloudflareOptions::new([ZONE], TOKEN);
    options.users.push((EMAIL.to_owned(), KEY.to_owned()));
    let fake = fake(options).await;
    let nobody = format!("{ZONE}={}", "0".repeat(32));
    let settings = [("email", EMAIL), ("key", KEY), ("zone-id", nobody.as_str())];
    let provider = with_settings(&fake, &settings);
    let error = refusal(&*provider).await;
    assert_eq!(
        error.to_string(),
        format!(
            "{} has no zone that example.test is said to be: Invalid zone identifier (1001)",
            provider.endpoint()
        )
    );
    assert!(
        error
            .hint()
            .unwrap()
            .starts_with("compare `zone-id` with the zone's overview page")
    );
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_in_no_error_no_debug_output_and_no_log() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .init();
    let mut options = CloudflareOptions::new([ZONE], TOKEN);
    options.tokens.push(FakeToken::new(OTHER).expired());
    options.users.push((EMAIL.to_owned(), KEY.to_owned()));
    let fake = fake(options).await;
    let zone = zone_of(&fake);
    let mut said = String::new();
    for settings in [
        vec![("token", TOKEN)],
        vec![("token", OTHER)],
        vec![("token", OTHER), ("zone-token", TOKEN)],
        vec![("email", EMAIL), ("key", KEY)],
        vec![("email", "nobody@example.test"), ("key", KEY)],
    ] {
        let provider = with_settings(&fake, &settings);
        let found = provider.zone_of(&name(OWNER)).await;
        let applied = provider.apply(&zone, &[added(OWNER, "v")]).await;
        // A server that sends back what it was sent.
        let secret = settings.last().unwrap().1;
        let body = format!(
            r#"{{"success":false,"errors":[{{"code":9109,"message":"bad {TOKEN} {secret}"}}],"result":null}}"#
        );
        fake.inject(Fault::answer("POST", BATCH, 403, &body));
        let echoed = provider.apply(&zone, &[added(OWNER, "w")]).await;
        if let Err(error) = &echoed
            && settings == [("token", TOKEN)]
        {
            assert!(
                error.to_string().contains("bad [redacted] [redacted]"),
                "{error}"
            );
        }
        for result in [applied, echoed] {
            if let Err(error) = result {
                writeln!(said, "{error} {error:?} {:?}", error.hint()).unwrap();
            }
        }
        writeln!(said, "{provider:?} {found:?}").unwrap();
    }
    let mut settings = Settings::new();
    settings.insert("token", Value::new(Form::Secret, format!("Bearer {TOKEN}")));
    writeln!(said, "{settings:?}").unwrap();
    let error = build("cloudflare", "cloud", settings, &Context::default()).unwrap_err();
    writeln!(said, "{error} {error:?}").unwrap();
    let log = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(log.contains("dns_records/batch"), "the log is there");
    for line in said.lines().chain(log.lines()) {
        // The echo of a secret that a provider never had is not its to hide.
        let echo = line.contains("bad ");
        assert!(!line.contains("canary") || echo, "{line}");
    }
}
