//! The next CA, where the first cannot.

use super::*;

fn other_ca(sandbox: &Sandbox, second: &Ca) -> OtherCa {
    let url = second.directory_url();
    let root = second.tls_root_pem().as_bytes().to_vec();
    OtherCa {
        ca: CaName::resolve(&url, KeyType::default()).unwrap(),
        account: None,
        external_account: None,
        transport: Some(sandbox.workbench.transport(root)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_ca_issues_where_the_first_cannot() {
    for (case, resource, fault) in [
        (
            "down",
            Resource::Directory,
            Fault::Answer(Answer::html(503)),
        ),
        ("gone", Resource::Directory, Fault::DropBefore),
        (
            "rate limits accounts",
            Resource::NewAccount,
            Fault::Answer(Answer::problem(
                429,
                ca::ErrorKind::RateLimited,
                "too many accounts",
            )),
        ),
        (
            "rate limits orders",
            Resource::NewOrder,
            Fault::Answer(
                Answer::problem(429, ca::ErrorKind::RateLimited, "too many certificates")
                    .retry_after(3600),
            ),
        ),
        (
            "wants an external account",
            Resource::NewAccount,
            Fault::Answer(Answer::problem(
                403,
                ca::ErrorKind::ExternalAccountRequired,
                "come with a key",
            )),
        ),
        (
            "breaks down at the end",
            Resource::Finalize,
            Fault::Answer(Answer::problem(
                429,
                ca::ErrorKind::RateLimited,
                "too many finalizations",
            )),
        ),
    ] {
        let sandbox = Sandbox::start().await;
        let second = Ca::builder().dns(sandbox.dns.addr()).start().await.unwrap();
        sandbox.ca.faults().always(resource, fault);
        let request = with(
            sandbox.request(&NAMES),
            options(|o| o.other_cas = vec![other_ca(&sandbox, &second)]),
        );
        let issued = sandbox
            .run(&request)
            .await
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(issued.version.directory, second.directory_url(), "{case}");
        let warnings = sandbox.workbench.warnings().join("\n");
        let said = format!("{} does not issue: ", sandbox.ca.address());
        assert!(warnings.contains(&said), "{case}: {warnings}");
        assert_eq!(sandbox.ours_in_dns(), [""; 0], "{case}");
        assert_eq!(sandbox.workbench.leftovers().await, [""; 0], "{case}");

        // It is from a CA that is wanted, so it is kept; the next one is from the first again.
        sandbox.ca.faults().clear();
        assert!(!sandbox.run(&request).await.unwrap().issued_now, "{case}");
        let forced = Request {
            force: true,
            ..request
        };
        let issued = sandbox.run(&forced).await.unwrap();
        assert_eq!(issued.version.directory, sandbox.ca.directory_url());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_by_email_come_over_the_roots_of_their_own_ca() {
    const HMAC: [u8; 32] = [7; 32];
    let sandbox = Sandbox::start().await;
    let second = Ca::builder()
        .dns(sandbox.dns.addr())
        .eab("kid-by-email", HMAC)
        .eab_required(true);
    let second = second.start().await.unwrap();
    // The form is at the second CA, whose root the first one's client does not trust.
    let pair = serde_json::json!({
        "success": true,
        "eab_kid": "kid-by-email",
        "eab_hmac_key": BASE64_URL_SAFE_NO_PAD.encode(HMAC),
    });
    let answer = Answer::new(200, "application/json", pair.to_string());
    second.faults().always(Resource::Terms, answer);
    let down = Answer::html(503);
    sandbox.ca.faults().always(Resource::Directory, down);
    let form = second.directory_url().replace("/directory", "/terms");
    let mut other = other_ca(&sandbox, &second);
    other.ca.eab_by_email = Some(form.parse().unwrap());
    let request = with(
        sandbox.request(&NAMES),
        options(|o| o.other_cas = vec![other]),
    );
    let request = Request {
        contacts: vec!["mailto:ops@example.test".to_owned()],
        ..request
    };
    let issued = sandbox.run(&request).await.unwrap();
    assert_eq!(issued.version.eab_kid.as_deref(), Some("kid-by-email"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_other_ca_would_mend_is_not_asked_of_it() {
    let sandbox = Sandbox::with_ca(Ca::builder().blocked_domains([dnseal_tests::ZONE])).await;
    let second = Ca::builder().dns(sandbox.dns.addr()).start().await.unwrap();
    let request = with(
        sandbox.request(&NAMES),
        options(|o| o.other_cas = vec![other_ca(&sandbox, &second)]),
    );
    let error = sandbox.run(&request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ca, "{error}");
    assert!(second.accounts().is_empty());
    assert_eq!(sandbox.leftovers().await, [""; 0]);
}
