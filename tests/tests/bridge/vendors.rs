//! DigitalOcean and Hetzner at their own names: a proxy that leads every tunnel to one server, which has certificates for them.
//!
//! The server keeps to what the vendors document, complains of what they would refuse, and writes into BIND.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use dnseal_tests::{TsigKey, add_txt, remove_txt};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

use crate::{OWNER, ZONE};

pub(crate) const TOKEN: &str = "s3cret-t0ken-of-a-vendor";
const DIGITALOCEAN: &str = "api.digitalocean.com";
const HETZNER: &str = "api.hetzner.cloud";
const LABEL: &str = "_acme-challenge";

pub(crate) struct Vendors {
    addr: SocketAddr,
    root: PathBuf,
    shared: Arc<Shared>,
    _dir: TempDir,
}

struct Shared {
    complaints: Mutex<Vec<String>>,
    dns: SocketAddr,
    key: TsigKey,
    /// The values at the one name, by number.
    records: Mutex<BTreeMap<i64, String>>,
    seen: Mutex<Vec<String>>,
}

impl Vendors {
    pub(crate) async fn start(dns: SocketAddr, key: TsigKey) -> Self {
        let dir = TempDir::with_prefix("dnseal-vendors-").unwrap();
        let (acceptor, pem) = tls();
        let root = dir.path().join("root.pem");
        std::fs::write(&root, pem).unwrap();
        let shared = Arc::new(Shared {
            complaints: Mutex::default(),
            dns,
            key,
            records: Mutex::new([(1, "foreign".to_owned())].into()),
            seen: Mutex::default(),
        });
        let router = Router::new().fallback(serve).with_state(shared.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let tunnels = Tunnels { acceptor, listener };
        tokio::spawn(async move { axum::serve(tunnels, router).await });
        Self {
            addr,
            root,
            shared,
            _dir: dir,
        }
    }

    /// What to set as `HTTPS_PROXY`.
    pub(crate) fn proxy(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The root to trust.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Every request.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// What a vendor would not have taken.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.shared.complaints.lock().unwrap().clone()
    }
}

fn tls() -> (TlsAcceptor, String) {
    let mut root = CertificateParams::new([]).unwrap();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = [DIGITALOCEAN, HETZNER].map(str::to_owned);
    let certificate = CertificateParams::new(names).unwrap();
    let certificate = certificate.signed_by(&key, &root).unwrap();
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), root.pem())
}

/// Accepts `CONNECT HOST:443`, and speaks TLS inside as that host.
struct Tunnels {
    acceptor: TlsAcceptor,
    listener: TcpListener,
}

impl Tunnels {
    async fn tunnel(&self) -> io::Result<(TlsStream<TcpStream>, SocketAddr)> {
        let (mut stream, addr) = self.listener.accept().await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let known = [DIGITALOCEAN, HETZNER]
            .iter()
            .any(|host| head.starts_with(&format!("CONNECT {host}:443 ")));
        if !known {
            stream
                .write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
                .await?;
            return Err(io::Error::other(head));
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        Ok((self.acceptor.accept(stream).await?, addr))
    }
}

impl axum::serve::Listener for Tunnels {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            if let Ok(tunnel) = self.tunnel().await {
                return tunnel;
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

async fn serve(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let host = header("host").unwrap_or_default().to_owned();
    shared
        .seen
        .lock()
        .unwrap()
        .push(format!("{method} {host}{uri}"));
    if header("authorization") != Some(format!("Bearer {TOKEN}").as_str()) {
        let body = json!({"id": "Unauthorized", "message": "Unable to authenticate you"});
        return (StatusCode::UNAUTHORIZED, Json(body)).into_response();
    }
    let body = match body.is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(&body).unwrap_or(Value::Null),
    };
    // The helpers of the tests run nsupdate, and wait for it.
    let asked = tokio::task::spawn_blocking(move || {
        let (method, query) = (method.as_str(), uri.query().unwrap_or_default());
        match host.as_str() {
            DIGITALOCEAN => shared.digitalocean(method, uri.path(), query, &body),
            _ => shared.hetzner(method, uri.path(), query, &body),
        }
    });
    asked.await.unwrap()
}

impl Shared {
    /// <https://docs.digitalocean.com/reference/api/reference/domain-records/>
    fn digitalocean(&self, method: &str, path: &str, query: &str, body: &Value) -> Response {
        let Some(rest) = path.strip_prefix(&format!("/v2/domains/{ZONE}/records")) else {
            return refuse(StatusCode::NOT_FOUND, "not_found");
        };
        match (method, rest.strip_prefix('/')) {
            ("GET", None) => {
                if !query.contains(&format!("name={OWNER}")) || !query.contains("type=TXT") {
                    return self.complain(&format!("a list of everything: {query}"));
                }
                let records: Vec<Value> = self
                    .all()
                    .into_iter()
                    .map(|(id, value)| {
                        json!({
                            "id": id, "type": "TXT", "name": LABEL, "data": value, "ttl": 30,
                            "priority": null, "port": null, "weight": null, "flags": null, "tag": null,
                        })
                    })
                    .collect();
                let total = json!({ "total": records.len() });
                Json(json!({ "domain_records": records, "links": {}, "meta": total }))
                    .into_response()
            }
            ("POST", None) => {
                let ttl = body["ttl"].as_u64().unwrap_or(0);
                let (kind, name) = (body["type"].as_str(), body["name"].as_str());
                match body["data"].as_str() {
                    Some(value) if ttl >= 30 && kind == Some("TXT") && name == Some(LABEL) => {
                        let id = self.add(value);
                        let record = json!({ "domain_record": { "id": id } });
                        (StatusCode::CREATED, Json(record)).into_response()
                    }
                    _ => self.complain(&body.to_string()),
                }
            }
            ("DELETE", Some(id)) => match id.parse().ok().and_then(|id| self.remove(id)) {
                Some(()) => StatusCode::NO_CONTENT.into_response(),
                None => refuse(StatusCode::NOT_FOUND, "not_found"),
            },
            _ => self.complain(&format!("{method} {path}")),
        }
    }

    /// <https://docs.hetzner.cloud/reference/cloud#zone-rrset-actions>
    fn hetzner(&self, method: &str, path: &str, query: &str, body: &Value) -> Response {
        let Some(rest) = path.strip_prefix(&format!("/v1/zones/{ZONE}/rrsets")) else {
            return refuse(StatusCode::NOT_FOUND, "not_found");
        };
        let values = || -> Vec<String> {
            let records = body["records"].as_array().into_iter().flatten();
            records
                .filter_map(|record| record["value"].as_str().map(str::to_owned))
                .collect()
        };
        let actions = format!("/{LABEL}/TXT/actions/");
        match (method, rest, rest.strip_prefix(&actions)) {
            ("GET", "", _) if query.contains(&format!("name={LABEL}")) => {
                let records: Vec<Value> = self
                    .all()
                    .into_values()
                    .map(|value| json!({ "value": format!("\"{value}\""), "comment": "" }))
                    .collect();
                let rrset = json!({ "name": LABEL, "type": "TXT", "ttl": 60, "records": records });
                Json(json!({ "rrsets": [rrset] })).into_response()
            }
            ("POST", _, Some("add_records" | "remove_records")) => {
                for value in values() {
                    let inner = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
                    let Some(inner) = inner else {
                        return self.complain(&format!("not quoted: {value}"));
                    };
                    let held = self.all().into_iter().find(|(_, v)| v == inner);
                    match (rest.ends_with("add_records"), held) {
                        (true, None) => _ = self.add(inner),
                        (false, Some((id, _))) => _ = self.remove(id),
                        _ => return self.complain(&format!("{rest}: {value}")),
                    }
                }
                let action = json!({ "action": { "id": 1, "status": "success" } });
                (StatusCode::CREATED, Json(action)).into_response()
            }
            ("POST", _, Some("change_ttl")) if body["ttl"].as_u64() >= Some(60) => {
                let action = json!({ "action": { "id": 1, "status": "success" } });
                (StatusCode::CREATED, Json(action)).into_response()
            }
            // Above all a `set_records`, which replaces what is there.
            _ => self.complain(&format!("{method} {path} {body}")),
        }
    }

    fn all(&self) -> BTreeMap<i64, String> {
        self.records.lock().unwrap().clone()
    }

    fn add(&self, value: &str) -> i64 {
        let mut records = self.records.lock().unwrap();
        let id = records.keys().next_back().unwrap_or(&0) + 1;
        if records.values().any(|held| held == value) {
            self.complaints
                .lock()
                .unwrap()
                .push(format!("twice: {value}"));
        }
        records.insert(id, value.to_owned());
        add_txt(self.dns, &self.key, ZONE, OWNER, value);
        id
    }

    fn remove(&self, id: i64) -> Option<()> {
        let value = self.records.lock().unwrap().remove(&id)?;
        remove_txt(self.dns, &self.key, ZONE, OWNER, &value);
        Some(())
    }

    fn complain(&self, of: &str) -> Response {
        self.complaints.lock().unwrap().push(of.to_owned());
        refuse(StatusCode::UNPROCESSABLE_ENTITY, of)
    }
}

fn refuse(status: StatusCode, words: &str) -> Response {
    (status, Json(json!({ "id": words, "message": words }))).into_response()
}
