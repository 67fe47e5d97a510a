//! A small client that does exactly what it is told, and a DNS server that answers from a list: between them the CA
//! is seen from outside, over real sockets.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Instant,
};

use aws_lc_rs::{
    digest, hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{CNAME, TXT},
    },
};
use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    sync::mpsc,
};

use super::*;

mod account;
mod faults;
mod flow;
mod refusals;
mod renewal;
mod stranger;
mod validation;

fn b64(data: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(data)
}

/// An ES256 key.
struct Key(EcdsaKeyPair);

impl Key {
    fn generate() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    /// From the key of a certificate.
    fn of(key: &rcgen::KeyPair) -> Self {
        Self(
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.serialized_der())
                .unwrap(),
        )
    }

    fn jwk(&self) -> Value {
        let point = self.0.public_key().as_ref();
        json!({ "kty": "EC", "crv": "P-256", "x": b64(&point[1..33]), "y": b64(&point[33..]) })
    }

    fn thumbprint(&self) -> String {
        let jwk = self.jwk();
        let canonical = format!(
            r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#,
            jwk["x"], jwk["y"]
        );
        b64(digest::digest(&digest::SHA256, canonical.as_bytes()))
    }

    fn sign(&self, protected: &Value, payload: &str) -> Value {
        let protected = b64(protected.to_string());
        let payload = b64(payload);
        let signature = self
            .0
            .sign(
                &SystemRandom::new(),
                format!("{protected}.{payload}").as_bytes(),
            )
            .unwrap();
        json!({ "protected": protected, "payload": payload, "signature": b64(signature) })
    }
}

/// An external account binding.
fn binding(kid: &str, mac_key: &[u8], alg: &str, url: &str, jwk: &Value) -> Value {
    let protected = b64(json!({ "alg": alg, "kid": kid, "url": url }).to_string());
    let payload = b64(jwk.to_string());
    let algorithm = match alg {
        "HS384" => hmac::HMAC_SHA384,
        "HS512" => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    };
    let tag = hmac::sign(
        &hmac::Key::new(algorithm, mac_key),
        format!("{protected}.{payload}").as_bytes(),
    );
    json!({ "protected": protected, "payload": payload, "signature": b64(tag) })
}

/// An answer of the CA.
#[derive(Debug)]
struct Got {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|err| panic!("{err}: {self:?}"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn links(&self, rel: &str) -> Vec<String> {
        let wanted = format!(">;rel=\"{rel}\"");
        self.headers
            .get_all("link")
            .iter()
            .filter_map(|link| {
                Some(
                    link.to_str()
                        .unwrap()
                        .strip_prefix('<')?
                        .strip_suffix(&wanted)?
                        .to_owned(),
                )
            })
            .collect()
    }

    #[track_caller]
    fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        self
    }

    /// Asserts that it is a problem of this type.
    #[track_caller]
    fn refused(self, status: u16, kind: ErrorKind) -> Value {
        let got = self.expect(status);
        assert_eq!(got.header("content-type"), Some("application/problem+json"));
        let problem = got.json();
        assert_eq!(problem["type"], kind.urn(), "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        problem
    }
}

/// A client with one key, and the account of that key once there is one.
struct Client {
    http: reqwest::Client,
    directory: Value,
    key: Key,
    kid: String,
}

impl Client {
    async fn new(ca: &Ca) -> Self {
        Self::with(ca, |builder| builder).await
    }

    async fn with(
        ca: &Ca,
        tune: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ) -> Self {
        let root = reqwest::Certificate::from_pem(ca.tls_root_pem().as_bytes()).unwrap();
        let builder = reqwest::Client::builder()
            .tls_certs_only([root])
            .no_proxy()
            .user_agent("sandbox-test/1")
            .redirect(reqwest::redirect::Policy::none());
        let http = tune(builder).build().unwrap();
        let directory = http
            .get(ca.directory_url())
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        Self {
            http,
            directory,
            key: Key::generate(),
            kid: String::new(),
        }
    }

    /// A client with a fresh account.
    async fn registered(ca: &Ca) -> Self {
        let mut client = Self::new(ca).await;
        client
            .register(json!({ "termsOfServiceAgreed": true }))
            .await
            .expect(201);
        client
    }

    fn url(&self, name: &str) -> String {
        self.directory[name].as_str().unwrap().to_owned()
    }

    async fn nonce(&self) -> String {
        let got = self
            .send(Method::HEAD, &self.url("newNonce"), None)
            .await
            .unwrap()
            .expect(200);
        got.header("replay-nonce").unwrap().to_owned()
    }

    async fn send(&self, method: Method, url: &str, body: Option<String>) -> reqwest::Result<Got> {
        let mut request = self.http.request(method, url);
        if let Some(body) = body {
            request = request
                .header("content-type", "application/jose+json")
                .body(body);
        }
        let response = request.send().await?;
        Ok(Got {
            status: response.status(),
            headers: response.headers().clone(),
            body: response.text().await?,
        })
    }

    async fn get(&self, url: &str) -> Got {
        self.send(Method::GET, url, None).await.unwrap()
    }

    async fn header(&self, url: &str) -> Value {
        json!({ "alg": "ES256", "nonce": self.nonce().await, "url": url, "kid": self.kid })
    }

    /// Sends a body of any kind.
    async fn raw(&self, url: &str, body: &Value) -> Got {
        self.send(Method::POST, url, Some(body.to_string()))
            .await
            .unwrap()
    }

    /// Sends a payload as the account.
    async fn try_post(&self, url: &str, payload: &str) -> reqwest::Result<Got> {
        let body = self.key.sign(&self.header(url).await, payload);
        self.send(Method::POST, url, Some(body.to_string())).await
    }

    async fn post(&self, url: &str, payload: impl ToString) -> Got {
        self.try_post(url, &payload.to_string()).await.unwrap()
    }

    /// POST-as-GET.
    async fn fetch(&self, url: &str) -> Got {
        self.post(url, "").await
    }

    /// Sends a payload signed by a key that is no account's.
    async fn post_by_key(&self, url: &str, key: &Key, payload: impl ToString) -> Got {
        let protected =
            json!({ "alg": "ES256", "nonce": self.nonce().await, "url": url, "jwk": key.jwk() });
        self.raw(url, &key.sign(&protected, &payload.to_string()))
            .await
    }

    async fn register(&mut self, payload: Value) -> Got {
        let got = self
            .post_by_key(&self.url("newAccount"), &self.key, payload)
            .await;
        if let Some(location) = got.header("location") {
            self.kid = location.to_owned();
        }
        got
    }

    async fn order(&self, names: &[&str]) -> Got {
        self.order_with(names, json!({})).await
    }

    async fn order_with(&self, names: &[&str], more: Value) -> Got {
        let identifiers: Vec<Value> = names
            .iter()
            .map(|name| json!({ "type": "dns", "value": name }))
            .collect();
        let mut payload = json!({ "identifiers": identifiers });
        payload
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        self.post(&self.url("newOrder"), payload).await
    }

    /// The value that an authorization wants, and the URL of its challenge.
    fn challenge(&self, authorization: &Value) -> (String, String) {
        let challenges = authorization["challenges"].as_array().unwrap();
        let challenge = challenges.iter().find(|c| c["type"] == "dns-01").unwrap();
        let key_authorization = format!(
            "{}.{}",
            challenge["token"].as_str().unwrap(),
            self.key.thumbprint()
        );
        let value = b64(digest::digest(
            &digest::SHA256,
            key_authorization.as_bytes(),
        ));
        (value, challenge["url"].as_str().unwrap().to_owned())
    }

    /// Publishes and answers what is pending in an order, and waits for the CA.
    async fn solve(&self, dns: &Dns, order: &Value) {
        for url in strings(&order["authorizations"]) {
            let authorization = self.fetch(&url).await.expect(200).json();
            if authorization["status"] == "pending" {
                let domain = authorization["identifier"]["value"].as_str().unwrap();
                let (value, challenge) = self.challenge(&authorization);
                dns.add(&format!("_acme-challenge.{domain}"), Rr::Txt(vec![value]));
                self.post(&challenge, "{}").await.expect(200);
            }
        }
        for url in strings(&order["authorizations"]) {
            self.until(&url, |a| a["status"] != "pending").await;
        }
    }

    /// Fetches a resource until it is as it should be. There is no sleep: each look is a round trip.
    async fn until(&self, url: &str, done: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(30) {
            let value = self.fetch(url).await.expect(200).json();
            if done(&value) {
                return value;
            }
        }
        panic!("{url} does not change");
    }

    async fn finalize(&self, order: &Value, names: &[&str], key: &rcgen::KeyPair) -> Got {
        let csr = b64(csr(names, key));
        self.post(order["finalize"].as_str().unwrap(), json!({ "csr": csr }))
            .await
    }

    /// From names to a certificate chain.
    async fn issue(&self, dns: &Dns, names: &[&str], key: &rcgen::KeyPair) -> String {
        let order = self.order(names).await.expect(201).json();
        self.solve(dns, &order).await;
        let order = self.finalize(&order, names, key).await.expect(200).json();
        assert_eq!(order["status"], "valid");
        self.fetch(order["certificate"].as_str().unwrap())
            .await
            .expect(200)
            .body
    }
}

fn strings(array: &Value) -> Vec<String> {
    let values = array.as_array().unwrap().iter();
    values
        .map(|value| value.as_str().unwrap().to_owned())
        .collect()
}

fn csr(names: &[&str], key: &rcgen::KeyPair) -> Vec<u8> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.serialize_request(key).unwrap().der().to_vec()
}

fn certificate_key() -> rcgen::KeyPair {
    rcgen::KeyPair::generate().unwrap()
}

/// The certificates of a chain.
fn ders(chain: &str) -> Vec<Vec<u8>> {
    let blocks = pem::parse_many(chain).unwrap();
    blocks.into_iter().map(pem::Pem::into_contents).collect()
}

/// One record of the DNS server.
#[derive(Clone)]
enum Rr {
    Cname(&'static str),
    Txt(Vec<String>),
}

/// What the DNS server answers instead of its records.
#[derive(Clone, Copy)]
enum Mood {
    Code(ResponseCode),
    /// UDP answers are empty and truncated.
    OnlyTcp,
    /// UDP is read and not answered.
    SilentUdp,
}

#[derive(Default)]
struct Zone {
    records: HashMap<String, Vec<Rr>>,
    mood: Option<Mood>,
    udp: usize,
    tcp: usize,
    mixed: bool,
}

/// An authoritative server for everything, on one port over UDP and TCP.
#[derive(Clone)]
struct Dns {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    /// Lets answers pass one by one while it exists.
    gate: Arc<Mutex<Option<mpsc::Receiver<()>>>>,
}

impl Dns {
    async fn start() -> Self {
        let (udp, tcp) = loop {
            let tcp = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let dns = Self {
            address: udp.local_addr().unwrap(),
            zone: Arc::default(),
            gate: Arc::default(),
        };
        tokio::spawn(dns.clone().serve_udp(udp));
        tokio::spawn(dns.clone().serve_tcp(tcp));
        dns
    }

    fn add(&self, name: &str, record: Rr) {
        let mut zone = self.zone.lock().unwrap();
        zone.records
            .entry(name.to_owned())
            .or_default()
            .push(record);
    }

    fn mood(&self, mood: Option<Mood>) {
        self.zone.lock().unwrap().mood = mood;
    }

    fn zone(&self) -> std::sync::MutexGuard<'_, Zone> {
        self.zone.lock().unwrap()
    }

    /// How many queries came over UDP and over TCP.
    fn queries(&self) -> (usize, usize) {
        let zone = self.zone();
        (zone.udp, zone.tcp)
    }

    /// Holds answers back; each sent unit lets one pass.
    fn hold(&self) -> mpsc::Sender<()> {
        let (sender, receiver) = mpsc::channel(16);
        *self.gate.lock().unwrap() = Some(receiver);
        sender
    }

    async fn serve_udp(self, socket: UdpSocket) {
        let mut buffer = vec![0; 4096];
        loop {
            let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
            self.zone().udp += 1;
            let gate = self.gate.lock().unwrap().take();
            if let Some(mut gate) = gate {
                gate.recv().await;
                *self.gate.lock().unwrap() = Some(gate);
            }
            let query = Message::from_vec(&buffer[..length]).unwrap();
            let mood = self.zone().mood;
            let answer = match mood {
                Some(Mood::SilentUdp) => continue,
                Some(Mood::OnlyTcp) => {
                    let mut answer = empty_answer(&query);
                    answer.metadata.truncation = true;
                    answer
                }
                _ => self.answer(&query),
            };
            socket
                .send_to(&answer.to_vec().unwrap(), peer)
                .await
                .unwrap();
        }
    }

    async fn serve_tcp(self, listener: TcpListener) {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            self.zone().tcp += 1;
            let mut query = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut query).await.unwrap();
            let answer = self
                .answer(&Message::from_vec(&query).unwrap())
                .to_vec()
                .unwrap();
            stream
                .write_u16(u16::try_from(answer.len()).unwrap())
                .await
                .unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    }

    /// Only the records of the very name: aliases are not followed.
    fn answer(&self, query: &Message) -> Message {
        let mut answer = empty_answer(query);
        let name = query.queries[0].name.clone();
        assert_eq!(query.queries[0].query_type, RecordType::TXT);
        let text = name.to_ascii();
        let mut zone = self.zone();
        zone.mixed |= text.bytes().any(|b| b.is_ascii_uppercase());
        if let Some(Mood::Code(code)) = zone.mood {
            answer.metadata.response_code = code;
            return answer;
        }
        match zone
            .records
            .get(text.to_ascii_lowercase().trim_end_matches('.'))
        {
            Some(records) => {
                for record in records {
                    let data = match record {
                        Rr::Cname(target) => RData::CNAME(CNAME(Name::from_ascii(target).unwrap())),
                        Rr::Txt(strings) => RData::TXT(TXT::new(strings.clone())),
                    };
                    answer.add_answer(Record::from_rdata(name.clone(), 1, data));
                }
            }
            None => answer.metadata.response_code = ResponseCode::NXDomain,
        }
        answer
    }
}

fn empty_answer(query: &Message) -> Message {
    let mut answer = query.clone().into_response();
    answer.metadata.authoritative = true;
    answer
}

/// A CA that validates by a DNS server.
async fn sandbox() -> (Ca, Dns) {
    sandbox_with(|builder| builder).await
}

async fn sandbox_with(tune: impl FnOnce(CaBuilder) -> CaBuilder) -> (Ca, Dns) {
    let dns = Dns::start().await;
    let ca = tune(Ca::builder().dns(dns.address)).start().await.unwrap();
    (ca, dns)
}
