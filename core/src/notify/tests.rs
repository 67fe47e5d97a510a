use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::*;
use crate::acme::Transport;
use crate::acme::TransportOptions;
use crate::event::What;
use crate::store::Version;

/// Headers and body of a POST.
type Post = (BTreeMap<String, String>, String);

/// A receiver that answers with these statuses in turn, the last one for ever, and keeps what it got.
struct Receiver {
    url: String,
    got: Arc<Mutex<Vec<Post>>>,
}

impl Receiver {
    async fn start(statuses: &'static [u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!(
            "http://{}/hooks/canary-token",
            listener.local_addr().unwrap()
        );
        let got = Arc::new(Mutex::new(Vec::new()));
        let kept = got.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (headers, body) = read(&mut stream).await;
                let count = {
                    let mut kept = kept.lock().unwrap();
                    kept.push((headers, body));
                    kept.len()
                };
                let status = statuses[(count - 1).min(statuses.len() - 1)];
                let answer = format!(
                    "HTTP/1.1 {status} x\r\ncontent-length: 0\r\nlocation: /elsewhere\r\nconnection: close\r\n\r\n"
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { url, got }
    }

    fn sink(&self, secret: Option<&str>) -> Sink {
        Sink {
            to: Target::Webhook {
                url: self.url.clone().into(),
                secret: secret.map(Into::into),
            },
            kinds: BTreeSet::new(),
            timeout: Duration::from_secs(20),
        }
    }

    fn count(&self) -> usize {
        self.got.lock().unwrap().len()
    }
}

async fn read(stream: &mut tokio::net::TcpStream) -> Post {
    let mut data = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let n = stream.read(&mut buffer).await.unwrap();
        data.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&data).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let headers: BTreeMap<String, String> = head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        if body.len() >= headers["content-length"].parse().unwrap() {
            return (headers, body.to_owned());
        }
    }
}

fn command(dir: &Path, script: &str) -> Sink {
    let script = script.replace("DIR", dir.to_str().unwrap());
    Sink {
        to: Target::Command(vec!["/bin/sh".into(), "-c".into(), script]),
        kinds: BTreeSet::new(),
        timeout: Duration::from_secs(20),
    }
}

fn notifier(
    dir: &Path,
    sinks: Vec<Sink>,
) -> (
    Notifier,
    tokio::sync::mpsc::UnboundedReceiver<crate::event::Event>,
) {
    let (events, stream) = Events::channel();
    let transport = Transport::new(TransportOptions::default(), events.clone()).unwrap();
    let notifier = Notifier::new(sinks, Said::new(dir), transport.http().clone(), events)
        .with_pace(Duration::from_millis(1));
    (notifier, stream)
}

fn failed(name: &str) -> Notice {
    Notice {
        names: vec![name.parse().unwrap()],
        version: Some(3),
        not_after: Some(now() + SignedDuration::from_hours(24 * 12)),
        cause: Some(Cause {
            message: "ns1.example.test does not answer".into(),
            hint: Some("look at it".into()),
        }),
        ..Notice::new(NoticeKind::Failed, Some(name.parse().unwrap()))
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn hours(n: i64) -> SignedDuration {
    SignedDuration::from_hours(n)
}

#[tokio::test]
async fn a_webhook_gets_one_signed_document_a_day() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(&[204]).await;
    let secret = "whsec_Y2FuYXJ5LXNlY3JldA==";
    let (notifier, _stream) = notifier(dir.path(), vec![receiver.sink(Some(secret))]);
    let cancel = CancellationToken::new();
    let both = [failed("a.test"), failed("b.test")];
    assert_eq!(notifier.tell(&both, now(), &cancel).await.sent, 2);
    let again = notifier.tell(&both, now() + hours(21), &cancel).await;
    assert_eq!((again.sent, again.known), (0, 2));
    // A clock that jumped back does not silence for years.
    let long_ago = now() - hours(24 * 365);
    assert_eq!(notifier.tell(&both[..1], long_ago, &cancel).await.sent, 1);
    assert_eq!(
        notifier
            .tell(&both[1..], now() + hours(23), &cancel)
            .await
            .sent,
        1
    );
    assert_eq!(receiver.count(), 4);

    let got = receiver.got.lock().unwrap();
    let (headers, body) = &got[0];
    let check = |body: &str| {
        verify(
            &secret.into(),
            &headers["webhook-id"],
            &headers["webhook-timestamp"],
            body,
            &headers["webhook-signature"],
        )
    };
    assert!(check(body), "{headers:?}");
    assert!(
        !check(&body.replace("a.test", "b.test")),
        "the body is signed"
    );
    let document: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(document["event"], "failed");
    assert_eq!(document["certificate"], "a.test");
    assert_eq!(document["seconds_left"], 12 * 86_400);
    assert_eq!(document["error"]["hint"], "look at it");
    assert_eq!(
        document["text"],
        "a.test could not be renewed, and is valid for 12 days: ns1.example.test does not answer"
    );
}

#[tokio::test]
async fn a_webhook_is_tried_again_as_long_as_that_can_help() {
    let dir = tempfile::tempdir().unwrap();
    let cancel = CancellationToken::new();
    let stumbling = Receiver::start(&[503, 429, 200]).await;
    let (notifier, _stream) = notifier(dir.path(), vec![stumbling.sink(None)]);
    assert_eq!(
        notifier
            .tell(&[failed("a.test")], now(), &cancel)
            .await
            .sent,
        1
    );
    let ids: BTreeSet<String> = {
        let got = stumbling.got.lock().unwrap();
        got.iter()
            .map(|(headers, _)| headers["webhook-id"].clone())
            .collect()
    };
    assert_eq!((stumbling.count(), ids.len()), (3, 1), "{ids:?}");

    // Refused for good, led elsewhere, and never well: asked once, once, and a bounded number of times.
    for (statuses, tries) in [(&[403][..], 1), (&[308], 1), (&[500], 4)] {
        let receiver = Receiver::start(statuses).await;
        let (notifier, mut stream) = self::notifier(dir.path(), vec![receiver.sink(None)]);
        let told = notifier
            .tell(&[failed("a.test"), failed("b.test")], now(), &cancel)
            .await;
        assert_eq!(
            (told.sent, told.failed.len(), receiver.count()),
            (0, 1, tries)
        );
        let warning = stream.try_recv().unwrap().what;
        let What::Warning { message, .. } = warning else {
            panic!("{warning:?}")
        };
        assert!(message.contains("127.0.0.1"), "{message}");
        assert!(!message.contains("canary"), "{message}");
    }
}

#[tokio::test]
async fn what_failed_is_said_by_the_next_run() {
    let dir = tempfile::tempdir().unwrap();
    let cancel = CancellationToken::new();
    let script = "test -e DIR/works || { echo no route >&2; exit 3; }; cat > DIR/got; echo $DNSEAL_EVENT $DNSEAL_EVENT_CERTIFICATE $DNSEAL_EVENT_SECONDS_LEFT > DIR/env; env > DIR/all";
    let (notifier, mut stream) = notifier(dir.path(), vec![command(dir.path(), script)]);
    let told = notifier.tell(&[failed("a.test")], now(), &cancel).await;
    assert_eq!(told.sent, 0);
    let message = format!("{:?}", stream.try_recv().unwrap().what);
    assert!(message.contains("exit status: 3: no route"), "{message}");

    std::fs::write(dir.path().join("works"), "").unwrap();
    let told = notifier
        .tell(&[failed("a.test")], now() + hours(1), &cancel)
        .await;
    assert_eq!(told.sent, 1);
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    let document: serde_json::Value = serde_json::from_str(&read("got")).unwrap();
    assert_eq!(document["names"][0], "a.test");
    assert_eq!(
        read("env"),
        format!("failed a.test {}\n", 12 * 86_400 - 3_600)
    );
    assert!(!read("all").contains("CARGO"), "the environment is clean");
}

#[tokio::test]
async fn a_command_that_hangs_is_killed_with_its_children() {
    let dir = tempfile::tempdir().unwrap();
    let mut hangs = command(
        dir.path(),
        "sleep 600 & echo $! > DIR/child; echo waiting; wait",
    );
    hangs.timeout = Duration::from_secs(1);
    let (notifier, _stream) = notifier(dir.path(), vec![hangs]);
    let told = notifier
        .tell(&[failed("a.test")], now(), &CancellationToken::new())
        .await;
    let [(_, error)] = told.failed.as_slice() else {
        panic!("{told:?}")
    };
    assert!(
        error.to_string().ends_with("was killed: waiting"),
        "{error}"
    );
    let child = std::fs::read_to_string(dir.path().join("child")).unwrap();
    let alive = || {
        std::fs::read_to_string(format!("/proc/{}/stat", child.trim()))
            .is_ok_and(|stat| !stat.contains(") Z "))
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while alive() {
        assert!(std::time::Instant::now() < deadline, "the child lives on");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn sinks_get_what_they_want_and_nothing_stops_for_a_broken_file() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("notified.json"), "{").unwrap();
    let cancel = CancellationToken::new();
    let receiver = Receiver::start(&[200]).await;
    let mut wants = receiver.sink(None);
    wants.kinds = BTreeSet::from([NoticeKind::Expired]);
    let (notifier, mut stream) = notifier(dir.path(), vec![wants]);
    let expired = Notice::new(NoticeKind::Expired, Some("a.test".parse().unwrap()));
    let notices = [failed("a.test"), expired];
    assert_eq!(notifier.tell(&notices, now(), &cancel).await.sent, 1);
    let message = format!("{:?}", stream.try_recv().unwrap().what);
    assert!(message.contains("is begun anew"), "{message}");
    assert_eq!(notifier.tell(&notices, now(), &cancel).await.known, 1);
    // A test is always sent, and is no reason to keep anything back.
    let test = [Notice::new(NoticeKind::Test, None)];
    for _ in 0..2 {
        assert_eq!(notifier.tell(&test, now(), &cancel).await.sent, 1);
    }
}

#[tokio::test]
async fn what_a_newer_program_wrote_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("notified.json");
    let newer = r#"{"schema": 99, "said": []}"#;
    std::fs::write(&file, newer).unwrap();
    let receiver = Receiver::start(&[200]).await;
    let (notifier, mut stream) = notifier(dir.path(), vec![receiver.sink(None)]);
    let cancel = CancellationToken::new();
    let told = notifier.tell(&[failed("a.test")], now(), &cancel).await;
    assert_eq!(told.sent, 1, "people are told all the same");
    let message = format!("{:?}", stream.try_recv().unwrap().what);
    assert!(message.contains("has format 99"), "{message}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), newer);
}

#[test]
fn expiry_is_near_only_long_after_a_renewal_was_due() {
    let begin = now();
    let version = |hours_of_life: i64| -> Version {
        let document = serde_json::json!({
            "number": 1, "names": [], "key_type": "ecdsa-p256", "directory": "", "account": "", "order": "",
            "issued": begin, "not_before": begin, "not_after": begin + hours(hours_of_life), "serial": "", "issuer": "",
        });
        serde_json::from_value(document).unwrap()
    };
    for (life, quiet, expiring_after) in [
        (90 * 24, 78 * 24, 79 * 24),
        (144, 125, 127),
        (398 * 24, 383 * 24, 385 * 24),
    ] {
        let version = version(life);
        assert_eq!(expiring(&version, begin + hours(quiet)), None);
        assert!(version.renew_at() < begin + hours(quiet));
        assert_eq!(
            expiring(&version, begin + hours(expiring_after)),
            Some(NoticeKind::Expiring)
        );
        assert_eq!(
            expiring(&version, begin + hours(life)),
            Some(NoticeKind::Expired)
        );
    }
}

#[tokio::test]
async fn another_target_that_fails_is_news() {
    let dir = tempfile::tempdir().unwrap();
    let cancel = CancellationToken::new();
    let receiver = Receiver::start(&[200]).await;
    let (notifier, _stream) = notifier(dir.path(), vec![receiver.sink(None)]);
    let not_deployed = |targets: &[&str]| Notice {
        targets: targets.iter().map(|t| (*t).to_owned()).collect(),
        ..Notice::new(NoticeKind::DeployFailed, Some("a.test".parse().unwrap()))
    };
    for (targets, sent) in [
        (&["nginx", "postfix"][..], 1),
        (&["nginx"], 0),
        (&["nginx", "haproxy"], 1),
        (&["haproxy"], 0),
        (&[], 1),
        (&[], 0),
    ] {
        let told = notifier
            .tell(&[not_deployed(targets)], now(), &cancel)
            .await;
        assert_eq!(told.sent, sent, "{targets:?}");
    }
}
