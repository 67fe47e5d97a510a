//! Who may do what, what is said when somebody may not, and that no secret is ever part of it.

use dnseal_core::dns::{Action, ProviderError, Receipt, Settlement};
use dnseal_tests::fakes::route53::{Policy, RecordSet};

use crate::bench::{Bench, ZONE, all_applied, change, name, provider, provider_over, says};

const OWNER: &str = "_acme-challenge.example.test";

#[tokio::test]
async fn a_missing_right_is_named_with_the_least_policy() {
    let bench = Bench::open().await;
    let zone = format!("arn:aws:route53:::hostedzone/{}", bench.zone.id);
    for (action, on) in [
        ("route53:ListHostedZonesByName", "*"),
        ("route53:ListResourceRecordSets", &zone),
        ("route53:ChangeResourceRecordSets", &zone),
        ("route53:GetChange", "arn:aws:route53:::change/C1"),
    ] {
        bench.fake.deny(action);
        let error = match action {
            "route53:ListHostedZonesByName" => {
                bench.provider.zone_of(&name(OWNER)).await.unwrap_err()
            }
            "route53:GetChange" => {
                let receipt = Receipt(vec!["C1".to_owned()]);
                bench.provider.settled(&receipt).await.unwrap_err()
            }
            _ => bench
                .apply(&[change(Action::Add, OWNER, "value")])
                .await
                .unwrap_err(),
        };
        assert!(
            matches!(error, ProviderError::Credentials { .. }),
            "{error:?}"
        );
        says(
            &error.to_string(),
            &[
                "refused the credentials: AccessDenied: User: arn:aws:iam::",
                action,
            ],
        );
        let hint = error.hint().unwrap();
        let (first, policy) = hint.split_once('\n').unwrap();
        assert!(
            first.starts_with(&format!("allow {action} on {on};")),
            "{first}"
        );
        let policy: serde_json::Value = serde_json::from_str(policy).unwrap();
        assert_eq!(policy["Version"], "2012-10-17");
        bench.fake.allow(Policy::Everything);
    }
    assert_eq!(bench.txt(OWNER), Vec::<String>::new());
}

#[tokio::test]
async fn the_least_policy_suffices() {
    let bench = Bench::open().await;
    bench
        .fake
        .put(&bench.zone.id, RecordSet::txt(OWNER, 60, &["theirs"]));
    bench.fake.allow(Policy::Challenges);
    assert_eq!(
        bench.provider.zone_of(&name(OWNER)).await.unwrap(),
        bench.zone
    );
    let applied = bench.add(OWNER, "value").await;
    all_applied(&applied);
    bench.fake.advance(std::time::Duration::from_secs(3600));
    let settled = bench.provider.settled(&applied.receipt).await.unwrap();
    assert_eq!(settled, Settlement::Settled);
    all_applied(&bench.remove(OWNER, "value", None).await);
    assert_eq!(bench.txt(OWNER), ["\"theirs\""]);
    // And nothing else is allowed by it.
    let error = bench
        .apply(&[change(Action::Add, ZONE, "value")])
        .await
        .unwrap_err();
    says(&error, &["ChangeResourceRecordSets"]);
}

#[tokio::test]
async fn keys_that_are_no_good_say_why() {
    let bench = Bench::open().await;
    for (settings, words, hint) in [
        (
            [("secret-access-key", "wrong")],
            "SignatureDoesNotMatch",
            "does not belong to the access key",
        ),
        (
            [("access-key-id", "AKIAUNKNOWN")],
            "InvalidClientTokenId",
            "aws iam list-access-keys",
        ),
        (
            [("profile", "there-is-no-such-profile")],
            "no AWS credentials from the profile `there-is-no-such-profile`",
            "aws configure list --profile there-is-no-such-profile",
        ),
    ] {
        let error = provider(&bench.fake, &settings)
            .zone_of(&name(OWNER))
            .await
            .unwrap_err();
        assert!(!error.is_retryable(), "{error:?}");
        says(&error.to_string(), &[words]);
        says(&error.hint(), &[hint]);
    }
}

#[tokio::test]
async fn traffic_takes_the_callers_way() {
    let bench = Bench::open().await;
    let proxy = reqwest::Proxy::http(bench.fake.endpoint()).unwrap();
    let http = reqwest::Client::builder().proxy(proxy).build().unwrap();
    // A name that only the proxy could know.
    let through = provider_over("http://route53.invalid", &[], http);
    assert_eq!(through.zone_of(&name(OWNER)).await.unwrap(), bench.zone);
    assert_eq!(
        through.endpoint(),
        "the Route 53 API at http://route53.invalid"
    );
}
