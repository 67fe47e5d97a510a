//! A server with lego's `httpreq` contract, strict about what it is posted, that writes into BIND.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest;
use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use dnseal_tests::{TsigKey, add_txt, remove_txt};
use serde_json::{Map, Value};

use crate::ZONE;

pub(crate) const PASSWORD: &str = "s3cr3t-password";

pub(crate) struct Server {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    dns: SocketAddr,
    key: TsigKey,
    next: Mutex<Option<(StatusCode, &'static str)>>,
}

impl Server {
    pub(crate) async fn start(dns: SocketAddr, key: TsigKey) -> Self {
        let shared = Arc::new(Shared {
            dns,
            key,
            next: Mutex::default(),
        });
        let router = Router::new()
            .route("/hooks/{verb}", post(handle))
            .with_state(shared.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { addr, shared }
    }

    pub(crate) fn key(&self) -> TsigKey {
        self.shared.key.clone()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hooks/", self.addr)
    }

    /// Answers the next request so, and does nothing.
    pub(crate) fn answer_next(&self, status: u16, body: &'static str) {
        let status = StatusCode::from_u16(status).unwrap();
        *self.shared.next.lock().unwrap() = Some((status, body));
    }
}

async fn handle(
    State(shared): State<Arc<Shared>>,
    Path(verb): Path<String>,
    headers: HeaderMap,
    axum::Json(body): axum::Json<Map<String, Value>>,
) -> Response {
    if let Some((status, words)) = shared.next.lock().unwrap().take() {
        return (status, [("retry-after", "7")], words).into_response();
    }
    let expected = format!(
        "Basic {}",
        BASE64_STANDARD.encode(format!("user:{PASSWORD}"))
    );
    let given = headers.get("authorization").and_then(|v| v.to_str().ok());
    if given != Some(expected.as_str()) {
        return (StatusCode::UNAUTHORIZED, "who are you?").into_response();
    }
    let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
    let (owner, value) = match (text("fqdn"), text("value"), text("domain"), text("keyAuth")) {
        (Some(fqdn), Some(value), None, None) if fqdn.ends_with('.') => (fqdn, value),
        (None, None, Some(domain), Some(key_auth)) if text("token").is_some() => {
            let digest = digest::digest(&digest::SHA256, key_auth.as_bytes());
            let value = BASE64_URL_SAFE_NO_PAD.encode(digest);
            (format!("_acme-challenge.{domain}."), value)
        }
        _ => return (StatusCode::BAD_REQUEST, "what is this?").into_response(),
    };
    // The helpers of the tests run nsupdate, and wait for it.
    let written = tokio::task::spawn_blocking(move || {
        let owner = owner.trim_end_matches('.');
        match verb.as_str() {
            "present" => add_txt(shared.dns, &shared.key, ZONE, owner, &value),
            "cleanup" => remove_txt(shared.dns, &shared.key, ZONE, owner, &value),
            other => panic!("posted to {other}"),
        }
    });
    match written.await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    }
}
