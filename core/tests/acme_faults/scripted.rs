//! A CA whose answers a test writes.
//!
//! It speaks HTTP over a loopback port, and holds us to RFC 8555 in one respect always: a nonce is one of its own, and is used once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use dnseal_core::acme::Account;
use dnseal_core::acme::AccountKey;
use dnseal_core::acme::Client;
use dnseal_core::acme::ExtraRoot;
use dnseal_core::acme::Transport;
use dnseal_core::acme::TransportOptions;
use dnseal_core::event::Events;
use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use url::Url;

/// What the script wants done with one request.
pub(crate) enum Reply {
    /// Status, headers and body; a nonce is added.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// The same without a nonce.
    Bare(u16, String),
    /// The connection is closed without a word.
    Drop,
    /// Nothing, ever.
    Hang,
}

/// A transport with a root of its own, because a machine without any is no reason to fail here.
pub(crate) fn transport() -> Transport {
    let root = rcgen::generate_simple_self_signed(["unused.example".to_owned()]).unwrap();
    let options = TransportOptions {
        extra_roots: vec![ExtraRoot {
            name: "test".to_owned(),
            pem: root.cert.pem().into_bytes(),
        }],
        total_timeout: Duration::from_millis(500),
        ..TransportOptions::default()
    };
    Transport::new(options, Events::silent()).unwrap()
}

pub(crate) fn ok(body: Value) -> Reply {
    Reply::Answer(200, Vec::new(), body.to_string())
}

pub(crate) fn problem(status: u16, kind: &str) -> Reply {
    let kind = format!("urn:ietf:params:acme:error:{kind}");
    Reply::Answer(
        status,
        Vec::new(),
        json!({ "type": kind, "detail": "as scripted" }).to_string(),
    )
}

/// A signed request, taken apart.
pub(crate) struct Asked {
    pub(crate) path: String,
    /// How often this path was asked for, this time included.
    pub(crate) times: usize,
    /// `Null` for POST-as-GET.
    pub(crate) payload: Value,
}

type Script = dyn Fn(&str, &Asked) -> Reply + Send + Sync;

pub(crate) struct Ca {
    base: Url,
    state: Arc<State>,
}

struct State {
    script: Box<Script>,
    broken: Mutex<Option<String>>,
    counts: Mutex<Vec<String>>,
    issued: Mutex<BTreeSet<String>>,
    nonces: AtomicUsize,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
}

impl Ca {
    pub(crate) async fn start(
        script: impl Fn(&str, &Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base: Url = format!("http://{}/", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        let state = Arc::new(State {
            script: Box::new(script),
            broken: Mutex::default(),
            counts: Mutex::default(),
            issued: Mutex::default(),
            nonces: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            most_under_way: AtomicUsize::new(0),
        });
        let (server, root) = (Arc::clone(&state), base.to_string());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&server), root.clone()));
            }
        });
        Self { base, state }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(transport(), &self.base.join("dir").unwrap())
            .await
            .unwrap()
    }

    pub(crate) async fn account(&self) -> Account {
        let key = AccountKey::generate().unwrap();
        self.client()
            .await
            .account(&key, self.base.join("acct/1").unwrap().as_str())
    }

    pub(crate) fn url(&self, path: &str) -> String {
        self.base.join(path).unwrap().into()
    }

    /// How many requests were under way at once.
    pub(crate) fn most_under_way(&self) -> usize {
        self.state.most_under_way.load(Ordering::SeqCst)
    }

    /// How often a path was asked for.
    pub(crate) fn count(&self, path: &str) -> usize {
        let counts = self.state.counts.lock().unwrap();
        counts.iter().filter(|asked| *asked == path).count()
    }
}

impl Drop for Ca {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(*self.state.broken.lock().unwrap(), None);
        }
    }
}

impl State {
    fn nonce(&self) -> String {
        let nonce = format!("n{}", self.nonces.fetch_add(1, Ordering::Relaxed));
        self.issued.lock().unwrap().insert(nonce.clone());
        nonce
    }

    fn reply(&self, base: &str, method: &str, path: &str, body: &[u8]) -> Reply {
        let times = {
            let mut counts = self.counts.lock().unwrap();
            counts.push(path.to_owned());
            counts.iter().filter(|asked| *asked == path).count()
        };
        let payload = match method {
            "POST" => {
                let body: Value = serde_json::from_slice(body).unwrap();
                let part = |name: &str| {
                    BASE64_URL_SAFE_NO_PAD
                        .decode(body[name].as_str().unwrap())
                        .unwrap()
                };
                let header: Value = serde_json::from_slice(&part("protected")).unwrap();
                assert_eq!(
                    header["url"].as_str().unwrap(),
                    format!("{base}{}", &path[1..])
                );
                let nonce = header["nonce"].as_str().unwrap();
                if !self.issued.lock().unwrap().remove(nonce) {
                    *self.broken.lock().unwrap() =
                        Some(format!("nonce {nonce} used twice, or not ours"));
                }
                serde_json::from_slice(&part("payload")).unwrap_or(Value::Null)
            }
            _ => Value::Null,
        };
        let asked = Asked {
            path: path.to_owned(),
            times,
            payload,
        };
        match path {
            "/dir" => ok(json!({
                "newNonce": format!("{base}nonce"),
                "newAccount": format!("{base}new-account"),
                "newOrder": format!("{base}new-order"),
                "renewalInfo": format!("{base}ari"),
            })),
            "/nonce" => ok(Value::Null),
            _ => (self.script)(base, &asked),
        }
    }
}

async fn serve(stream: TcpStream, state: Arc<State>, base: String) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        let mut words = line.split(' ');
        let (method, path) = (
            words.next().unwrap().to_owned(),
            words.next().unwrap().to_owned(),
        );
        let mut length = 0;
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).await.unwrap();
            let header = header.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();

        let now = state.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        state.most_under_way.fetch_max(now, Ordering::SeqCst);
        let reply = state.reply(&base, &method, &path, &body);
        tokio::task::yield_now().await;
        state.under_way.fetch_sub(1, Ordering::SeqCst);

        let (status, mut headers, body) = match reply {
            Reply::Answer(status, mut headers, body) => {
                headers.push(("replay-nonce", state.nonce()));
                (status, headers, body)
            }
            Reply::Bare(status, body) => (status, Vec::new(), body),
            Reply::Drop => return,
            Reply::Hang => std::future::pending().await,
        };
        let body = if method == "HEAD" {
            String::new()
        } else {
            body
        };
        headers.push(("content-length", body.len().to_string()));
        let mut answer = format!("HTTP/1.1 {status} As Scripted\r\n");
        for (name, value) in headers {
            answer += &format!("{name}: {value}\r\n");
        }
        answer += &format!("\r\n{body}");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}
