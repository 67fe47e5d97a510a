//! Every place where the AWS tools look for credentials, found by the binary as a user has it.
//!
//! One small server stands in for what surrounds a program at Amazon: instance metadata (IMDSv2), the credential service of
//! containers, single sign-on and the security token service. Each gives out a key of its own, so that the fake's log shows who
//! has signed.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use dnseal_tests::Dnseal;
use dnseal_tests::fakes::route53::{KEY_ID, KEY_SECRET, Route53Options};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;

use crate::bench::Bench;

const OWNER: &str = "_acme-challenge.example.test";
const SECRET: &str = "the same for all of them";
const ROLE: &str = "arn:aws:iam::123456789012:role/dns";

#[tokio::test(flavor = "multi_thread")]
async fn each_link_of_the_chain_signs() {
    let shop = Shop::open().await;
    let home = shop.home.path();
    let url = &shop.url;
    let config = |text: &str| fs::write(home.join("config"), text).unwrap();
    let key = ("AWS_ACCESS_KEY_ID", KEY_ID);
    let secret = ("AWS_SECRET_ACCESS_KEY", KEY_SECRET);

    shop.signs(&[key, secret], &[], KEY_ID).await;

    fs::write(home.join("secret"), KEY_SECRET).unwrap();
    let file = home.join("secret").display().to_string();
    shop.signs(&[key, ("AWS_SECRET_ACCESS_KEY_FILE", &file)], &[], KEY_ID)
        .await;

    config(&format!(
        "[default]\naws_access_key_id = AKIANOBODY\naws_secret_access_key = x\n\
         [profile corp]\naws_access_key_id = ASIAPROFILE\naws_secret_access_key = {SECRET}\n"
    ));
    shop.signs(&[("AWS_PROFILE", "corp")], &[], "ASIAPROFILE")
        .await;
    // A profile that is asked for by name beats keys that lie around.
    shop.signs(
        &[key, ("AWS_SECRET_ACCESS_KEY", "old")],
        &["--set", "profile=corp"],
        "ASIAPROFILE",
    )
    .await;

    config(&format!(
        "[default]\ncredential_process = echo '{{\"Version\": 1, \"AccessKeyId\": \"ASIAPROCESS\", \
         \"SecretAccessKey\": \"{SECRET}\", \"SessionToken\": \"t\"}}'\n"
    ));
    shop.signs(&[], &[], "ASIAPROCESS").await;

    config(
        "[default]\nsso_start_url = https://sso.example.test/start\nsso_region = eu-west-1\n\
         sso_account_id = 123456789012\nsso_role_name = dns\n",
    );
    let cache = home.join(".aws/sso/cache");
    fs::create_dir_all(&cache).unwrap();
    fs::write(
        // The SHA-1 of the start URL.
        cache.join("aea6ff75ac2068bc331b09c2aeb41f3851f2f2a8.json"),
        r#"{"accessToken": "signed-on", "expiresAt": "2099-01-01T00:00:00Z", "region": "eu-west-1", "startUrl": "https://sso.example.test/start"}"#,
    )
    .unwrap();
    shop.signs(&[("AWS_ENDPOINT_URL_SSO", url)], &[], "ASIASSO")
        .await;
    config("");

    fs::write(home.join("token"), "web-identity").unwrap();
    let token = home.join("token").display().to_string();
    let web = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.as_str()),
        ("AWS_ROLE_ARN", ROLE),
        ("AWS_ENDPOINT_URL_STS", url),
    ];
    shop.signs(&web, &[], "ASIAWEB").await;

    let container = [
        (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            format!("{url}/container"),
        ),
        (
            "AWS_CONTAINER_AUTHORIZATION_TOKEN",
            "container-token".to_owned(),
        ),
    ];
    let container = container
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    shop.signs(&container, &[], "ASIACONTAINER").await;

    let machine = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str())];
    shop.signs(&machine, &[], "ASIAMACHINE").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_assumed_with_external_id_and_session_name() {
    let shop = Shop::open().await;
    let environment = [
        ("AWS_ACCESS_KEY_ID", KEY_ID),
        ("AWS_SECRET_ACCESS_KEY", KEY_SECRET),
        ("AWS_ENDPOINT_URL_STS", &shop.url),
        ("AWS_EXTERNAL_ID", "from-the-customer"),
    ];
    let role = format!("assume-role={ROLE}");
    shop.signs(&environment, &["--set", &role], "ASIAROLE")
        .await;
    let asked = shop.asked();
    let [asked] = asked.as_slice() else {
        panic!("{asked:?}");
    };
    for part in [
        "Action=AssumeRole&",
        "RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fdns",
        "RoleSessionName=dnseal",
        "ExternalId=from-the-customer",
    ] {
        assert!(asked.contains(part), "no {part} in {asked}");
    }
}

/// A home, the fake, and what surrounds a program at Amazon.
struct Shop {
    asked: Arc<Mutex<Vec<String>>>,
    bench: Bench,
    home: TempDir,
    url: String,
}

impl Shop {
    async fn open() -> Self {
        let mut keys = vec![(KEY_ID.to_owned(), KEY_SECRET.to_owned())];
        for name in [
            "PROFILE",
            "PROCESS",
            "SSO",
            "WEB",
            "ROLE",
            "CONTAINER",
            "MACHINE",
        ] {
            keys.push((format!("ASIA{name}"), SECRET.to_owned()));
        }
        let bench = Bench::with(Route53Options {
            keys,
            ..Route53Options::default()
        })
        .await;
        let asked = Arc::new(Mutex::new(Vec::new()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .fallback(surroundings)
            .with_state(Arc::clone(&asked));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            asked,
            bench,
            home: TempDir::with_prefix("dnseal-home-").unwrap(),
            url,
        }
    }

    /// Lists the values at a name in that environment, and looks who has signed for it.
    async fn signs(&self, environment: &[(&str, &str)], args: &[&str], key_id: &str) {
        let home = self.home.path();
        let config = home.join("config");
        let mut command = Dnseal::new(home)
            .args(["dns", "list", OWNER, "--provider", "route53"])
            .args(["--nameserver", &self.bench.fake.dns().to_string()])
            .args(args)
            .env("AWS_ENDPOINT_URL_ROUTE_53", self.bench.fake.endpoint())
            .env("AWS_CONFIG_FILE", config)
            .env("AWS_SHARED_CREDENTIALS_FILE", Path::new("/dev/null"))
            .env("AWS_REGION", "us-east-1");
        for (name, value) in environment {
            command = command.env(name, value);
        }
        self.bench.fake.clear_log();
        let run = spawn_blocking(move || command.run())
            .await
            .unwrap()
            .success();
        assert!(!run.stderr.contains(SECRET) && !run.stderr.contains(KEY_SECRET));
        let calls = self.bench.fake.calls();
        assert!(!calls.is_empty());
        for call in calls {
            assert_eq!(call.key_id, key_id);
        }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn surroundings(State(asked): State<Arc<Mutex<Vec<String>>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 16).await.unwrap();
    let body = String::from_utf8_lossy(&body).into_owned();
    let has = |name: &str, value: &str| parts.headers.get(name).is_some_and(|it| it == value);
    match (parts.method.as_str(), parts.uri.path()) {
        ("PUT", "/latest/api/token") => {
            ([("x-aws-ec2-metadata-token-ttl-seconds", "60")], "machine-token").into_response()
        }
        ("GET", "/latest/meta-data/iam/security-credentials/")
            if has("x-aws-ec2-metadata-token", "machine-token") =>
        {
            "dns".into_response()
        }
        ("GET", "/latest/meta-data/iam/security-credentials/dns")
            if has("x-aws-ec2-metadata-token", "machine-token") =>
        {
            json("ASIAMACHINE")
        }
        ("GET", "/container") if has("authorization", "container-token") => json("ASIACONTAINER"),
        ("GET", "/federation/credentials") if has("x-amz-sso_bearer_token", "signed-on") => format!(
            r#"{{"roleCredentials": {{"accessKeyId": "ASIASSO", "secretAccessKey": "{SECRET}", "sessionToken": "t", "expiration": 4070908800000}}}}"#
        )
        .into_response(),
        ("POST", "/") => {
            let (action, key_id) = match body.contains("WebIdentityToken=web-identity") {
                true => ("AssumeRoleWithWebIdentity", "ASIAWEB"),
                false => ("AssumeRole", "ASIAROLE"),
            };
            asked.lock().unwrap().push(body);
            format!(
                "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result>\
                 <Credentials><AccessKeyId>{key_id}</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey>\
                 <SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>\
                 <AssumedRoleUser><AssumedRoleId>A:dnseal</AssumedRoleId>\
                 <Arn>arn:aws:sts::123456789012:assumed-role/dns/dnseal</Arn></AssumedRoleUser>\
                 </{action}Result></{action}Response>"
            )
            .into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn json(key_id: &str) -> Response {
    format!(
        r#"{{"Code": "Success", "LastUpdated": "2026-01-01T00:00:00Z", "Type": "AWS-HMAC", "AccessKeyId": "{key_id}", "SecretAccessKey": "{SECRET}", "Token": "t", "Expiration": "2099-01-01T00:00:00Z"}}"#
    )
    .into_response()
}
