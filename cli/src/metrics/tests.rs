use std::net::SocketAddr;

use dnseal_core::event::Events;
use jiff::SignedDuration;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::*;

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn id() -> CertId {
    "a.test".parse().unwrap()
}

fn certificate(left: i64, expiring: bool, failures: u32) -> Certificate {
    Certificate {
        version: Some(3),
        not_after: Some(now() + SignedDuration::from_secs(left)),
        failures,
        expiring,
        undeployed: 2,
        ..Certificate::default()
    }
}

/// Sends one request as it is, and gives status and body.
async fn ask(address: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        body.to_owned(),
    )
}

#[tokio::test]
async fn what_happened_is_told_in_the_text_format() {
    let metrics = Metrics::new(now());
    let (events, mut stream) = Events::channel();
    events.emit(What::AcmeRequest {
        method: "POST",
        resource: "newOrder",
        url: "https://ca.test/canary".into(),
        status: Some(201),
        problem: None,
        elapsed: Duration::from_millis(250),
    });
    events.emit(What::ProviderCall {
        provider: "co\"rp".into(),
        call: "apply",
        zone: None,
        adds: 1,
        removes: 0,
        error: Some("canary".into()),
        elapsed: Duration::from_secs(2),
    });
    while let Ok(event) = stream.try_recv() {
        metrics.count(&event);
    }
    metrics.tried(&id(), now(), true, Duration::from_secs(20));
    metrics.tried(&id(), now(), false, Duration::from_secs(2));
    metrics.set_certificates(BTreeMap::from([(id(), certificate(3600, false, 1))]));

    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), metrics.clone())
        .await
        .unwrap();
    let (status, text) = ask(listener.address(), "GET /metrics").await;
    assert_eq!(status, 200);
    for line in [
        "dnseal_acme_requests_total{resource=\"newOrder\",status=\"201\"} 1",
        "dnseal_acme_request_duration_seconds_total{resource=\"newOrder\",status=\"201\"} 0.25",
        "dnseal_provider_calls_total{provider=\"co\\\"rp\",call=\"apply\",result=\"failure\"} 1",
        "dnseal_certificate_not_after_timestamp_seconds{certificate=\"a.test\"} 1800003600",
        "dnseal_certificate_last_attempt_successful{certificate=\"a.test\"} 0",
        "dnseal_certificate_undeployed_targets{certificate=\"a.test\"} 2",
        "dnseal_renewals_total{certificate=\"a.test\",result=\"success\"} 1",
        "dnseal_renewal_duration_seconds_bucket{le=\"15\"} 1",
        "dnseal_renewal_duration_seconds_bucket{le=\"30\"} 2",
        "dnseal_renewal_duration_seconds_bucket{le=\"+Inf\"} 2",
        "process_start_time_seconds 1800000000",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
    assert!(!text.contains("canary"), "{text}");
    // Each sample stands behind the type of its family.
    let mut family = "";
    for line in text.lines() {
        match line.strip_prefix("# TYPE ") {
            Some(rest) => family = rest.split(' ').next().unwrap(),
            None => assert!(line.starts_with('#') || line.starts_with(family), "{line}"),
        }
    }

    // A certificate that was removed leaves nothing behind.
    metrics.set_certificates(BTreeMap::new());
    assert!(!metrics.render().contains("a.test"));
}

#[tokio::test]
async fn health_fails_for_what_somebody_has_to_mend() {
    let metrics = Metrics::new(now());
    for (left, expiring, failures, well) in [
        (86_400, false, 3, true),
        (3_600, true, 0, true),
        (3_600, true, 1, false),
        (-1, true, 0, false),
    ] {
        metrics.set_certificates(BTreeMap::from([(
            id(),
            certificate(left, expiring, failures),
        )]));
        let health = metrics.health(now());
        assert_eq!(health.is_well(), well, "{left} {failures}: {health:?}");
    }
    // By this machine's clock the certificate of the test is far ahead, or the clock is.
    metrics.set_certificates(BTreeMap::new());
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), metrics.clone())
        .await
        .unwrap();
    assert_eq!(
        ask(listener.address(), "GET /healthz").await,
        (200, "ok\n".into())
    );
    metrics.alive_until(tokio::time::Instant::now());
    let (status, body) = ask(listener.address(), "GET /healthz").await;
    assert_eq!((status, body.contains("hangs")), (503, true), "{body}");
    assert_eq!(ask(listener.address(), "POST /metrics").await.0, 405);
    assert_eq!(ask(listener.address(), "GET /").await.0, 404);
}
