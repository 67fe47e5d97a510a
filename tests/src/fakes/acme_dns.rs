//! acme-dns, written from its source (v1.0): an HTTP API for accounts and values, and a name server.
//!
//! It does as the real one does, also where that hurts. A subdomain has two rows, an update goes to the one that was written longer ago, by a
//! clock of whole seconds, and nothing is ever removed. Values have 43 characters. User, key and subdomain have to belong together. Next to its own
//! zone the name server has that of a user, in which aliases can be set.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use dnseal_sandbox::dns::{Data, DnsServer, Record, Zone};
use serde_json::{Value, json};

/// The zone that the accounts are in.
pub const ACME_DNS_ZONE: &str = "auth.acme-dns.test";

/// A running server.
#[derive(Debug)]
pub struct AcmeDns {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    dns: DnsServer,
    state: Mutex<State_>,
}

#[derive(Debug, Default)]
struct State_ {
    accounts: BTreeMap<String, Account>,
    /// Answers the next request so.
    next: Option<(u16, &'static str)>,
    no_registration: bool,
    updates: Vec<(String, String)>,
}

#[derive(Debug)]
struct Account {
    username: String,
    password: String,
    rows: [Row; 2],
}

#[derive(Clone, Debug, Default)]
struct Row {
    value: String,
    updated: u64,
}

impl AcmeDns {
    /// Starts it, with a zone of a user's beside its own.
    ///
    /// # Panics
    ///
    /// When there is no port for it.
    pub async fn start(user_zone: &str) -> Self {
        let zone = |name: &str| {
            let server = format!("ns1.{name}");
            Zone::new(name)
                .ns(server.clone())
                .a(server, Ipv4Addr::LOCALHOST)
        };
        let dns = DnsServer::builder()
            .zone(zone(ACME_DNS_ZONE))
            .zone(zone(user_zone))
            .start()
            .await
            .unwrap();
        let shared = Arc::new(Shared {
            dns,
            state: Mutex::default(),
        });
        let router = Router::new()
            .route("/register", post(register))
            .route("/update", post(update))
            .with_state(shared.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { addr, shared }
    }

    /// Its API.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Its name server.
    pub fn dns(&self) -> &DnsServer {
        &self.shared.dns
    }

    /// Sets an alias in the user's zone.
    ///
    /// # Panics
    ///
    /// When it cannot be set.
    pub fn set_alias(&self, owner: &str, target: &str) {
        self.shared
            .dns
            .zone_add(Record {
                owner: owner.to_owned(),
                ttl: 1,
                data: Data::Cname(target.to_owned()),
            })
            .unwrap();
    }

    /// The names of all accounts.
    pub fn names(&self) -> Vec<String> {
        let state = self.shared.state.lock().unwrap();
        let subdomains = state.accounts.keys();
        subdomains.map(|s| format!("{s}.{ACME_DNS_ZONE}")).collect()
    }

    /// Subdomain and value of every update, in order.
    pub fn updates(&self) -> Vec<(String, String)> {
        self.shared.state.lock().unwrap().updates.clone()
    }

    /// Answers the next request so, and does nothing.
    pub fn answer_next(&self, status: u16, body: &'static str) {
        self.shared.state.lock().unwrap().next = Some((status, body));
    }

    /// As with `disable_registration`: there is no such path.
    pub fn register_nobody(&self) {
        self.shared.state.lock().unwrap().no_registration = true;
    }

    /// Makes an account as a tool before us has, in the form that tools keep them in.
    ///
    /// # Panics
    ///
    /// Never, while nobody panics over the state.
    pub fn account(&self) -> Value {
        self.shared.state.lock().unwrap().add()
    }
}

impl State_ {
    fn add(&mut self) -> Value {
        let [username, subdomain] = [uuid(), uuid()];
        let password: String = [uuid(), uuid()].concat().replace('-', "")[..40].to_owned();
        let account = Account {
            username: username.clone(),
            password: password.clone(),
            rows: Default::default(),
        };
        self.accounts.insert(subdomain.clone(), account);
        json!({
            "username": username,
            "password": password,
            "fulldomain": format!("{subdomain}.{ACME_DNS_ZONE}"),
            "subdomain": subdomain,
            "allowfrom": [],
        })
    }
}

type Answer = (StatusCode, Json<Value>);

fn error(status: StatusCode, word: &str) -> Answer {
    (status, Json(json!({ "error": word })))
}

fn asked_for(state: &mut State_) -> Option<Answer> {
    let (status, words) = state.next.take()?;
    Some(error(StatusCode::from_u16(status).unwrap(), words))
}

async fn register(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
    let mut state = shared.state.lock().unwrap();
    if let Some(answer) = asked_for(&mut state) {
        return answer;
    }
    if state.no_registration {
        return error(StatusCode::NOT_FOUND, "404 page not found");
    }
    if !body.is_empty() {
        let Ok(asked) = serde_json::from_slice::<Value>(&body) else {
            return error(StatusCode::BAD_REQUEST, "malformed_json_payload");
        };
        let networks = asked["allowfrom"].as_array().cloned().unwrap_or_default();
        let good = |network: &Value| {
            let (address, bits) = network.as_str()?.split_once('/')?;
            let address: IpAddr = address.parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            (bits.parse::<u8>().ok()? <= most).then_some(())
        };
        if networks.iter().any(|network| good(network).is_none()) {
            return error(StatusCode::BAD_REQUEST, "invalid_allowfrom_cidr");
        }
    }
    (StatusCode::CREATED, Json(state.add()))
}

async fn update(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Answer {
    let mut state = shared.state.lock().unwrap();
    if let Some(answer) = asked_for(&mut state) {
        return answer;
    }
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .map(str::to_owned)
    };
    let (user, key) = (header("x-api-user"), header("x-api-key"));
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (subdomain, txt) = (
        asked["subdomain"].as_str().unwrap_or_default().to_owned(),
        asked["txt"].as_str().unwrap_or_default().to_owned(),
    );
    let Some(account) = state.accounts.get_mut(&subdomain) else {
        return error(StatusCode::UNAUTHORIZED, "forbidden");
    };
    if user.as_ref() != Some(&account.username) || key.as_ref() != Some(&account.password) {
        return error(StatusCode::UNAUTHORIZED, "forbidden");
    }
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if txt.len() != 43 || !txt.bytes().all(good) {
        return error(StatusCode::BAD_REQUEST, "bad_txt");
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    // `ORDER BY LastUpdate LIMIT 1`: of two of one age the first.
    let at = usize::from(account.rows[1].updated < account.rows[0].updated);
    let owner = format!("{subdomain}.{ACME_DNS_ZONE}");
    let before: Vec<String> = account.rows.iter().map(|row| row.value.clone()).collect();
    account.rows[at] = Row {
        value: txt.clone(),
        updated: now,
    };
    let after: Vec<String> = account.rows.iter().map(|row| row.value.clone()).collect();
    let record = |value: &String| Record {
        owner: owner.clone(),
        ttl: 1,
        data: Data::Txt(value.clone()),
    };
    for value in after
        .iter()
        .filter(|v| !v.is_empty() && !before.contains(v))
    {
        shared.dns.zone_add(record(value)).unwrap();
    }
    for value in before
        .iter()
        .filter(|v| !v.is_empty() && !after.contains(v))
    {
        shared.dns.zone_remove(&record(value)).unwrap();
    }
    state.updates.push((subdomain, txt.clone()));
    (StatusCode::OK, Json(json!({ "txt": txt })))
}

fn uuid() -> String {
    let hex: String = (0..16)
        .map(|_| format!("{:02x}", rand::random::<u8>()))
        .collect();
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}
