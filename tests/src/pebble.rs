//! Pebble, the ACME server that Let's Encrypt tests clients with.
//!
//! It validates through one DNS server that it asks by TCP, rejects good nonces and reuses authorizations when
//! told to, and has a management interface from which its roots come.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    Peer, Process,
    process::{self, free_addr},
    require,
    tls::Authority,
};

const GOROUTINES_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How a [`Pebble`] behaves.
#[derive(Clone, Debug)]
pub struct PebbleOptions {
    /// Where it listens, at free ports.
    pub address: IpAddr,
    /// The server that validations ask: a resolver, or an authoritative server that answers all of it.
    pub dns: SocketAddr,
    /// Refuse what a lenient server lets through: challenge bodies other than `{}`, a `resource` in the JWS.
    pub strict: bool,
    /// Accounts need an external account binding with this key.
    pub eab: Option<Eab>,
    /// The profiles of its directory.
    pub profiles: Vec<Profile>,
    /// Seconds in the Retry-After of an authorization; 0 for none. Pebble itself says 3.
    pub retry_after_authz: u32,
    /// Seconds in the Retry-After of an order; 0 for none. Pebble itself says 5.
    pub retry_after_order: u32,
    /// Domains that it refuses with `rejectedIdentifier`.
    pub blocklist: Vec<String>,
    /// How many alternate chains a certificate has.
    pub alternate_roots: u32,
    /// How many intermediate certificates a chain has.
    pub chain_length: u32,
    /// Percentage of good nonces that it rejects; 5 if nobody says anything.
    pub reject_nonces: u32,
    /// Percentage of valid authorizations that it reuses; 50 if nobody says anything. Even 0 reuses one in fifty.
    pub reuse_authz: u32,
    /// More variables for its process, `PEBBLE_WFE_ORDERS_PER_PAGE` for one. They win over the fields above.
    pub env: Vec<(String, String)>,
}

/// An external account binding's key (RFC 8555 section 7.3.4).
#[derive(Clone, Debug)]
pub struct Eab {
    /// The key's identifier.
    pub kid: String,
    /// The MAC key in base64url.
    pub hmac_key: String,
}

/// A profile of the directory.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The name that orders use.
    pub name: String,
    /// Its description in the directory.
    pub description: String,
    /// How long its certificates are valid, in seconds.
    pub validity: u64,
}

/// A request as Pebble's log has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LoggedRequest {
    /// `GET`, `HEAD` or `POST`.
    pub method: String,
    /// The resource's path as far as Pebble logs it: `/my-order/`, without the identifier that follows.
    pub path: String,
}

/// A running Pebble.
#[derive(Debug)]
pub struct Pebble {
    addr: SocketAddr,
    management: SocketAddr,
    process: Process,
    own_requests: usize,
}

impl PebbleOptions {
    /// Strict, fast and without chance: no sleeps, no rejected nonces, no reused authorizations.
    pub fn new(dns: SocketAddr) -> Self {
        Self {
            address: Ipv4Addr::LOCALHOST.into(),
            dns,
            strict: true,
            eab: None,
            profiles: vec![Profile::new("default", Duration::from_hours(90 * 24))],
            retry_after_authz: 1,
            retry_after_order: 1,
            blocklist: vec!["blocked-domain.example".to_owned()],
            alternate_roots: 0,
            chain_length: 1,
            reject_nonces: 0,
            reuse_authz: 0,
            env: Vec::new(),
        }
    }

    /// As Pebble is by itself: sleeps, a nonce in twenty rejected, every other authorization reused.
    pub fn chaotic(dns: SocketAddr) -> Self {
        Self {
            retry_after_authz: 3,
            retry_after_order: 5,
            reject_nonces: 5,
            reuse_authz: 50,
            env: vec![("PEBBLE_VA_NOSLEEP".to_owned(), "0".to_owned())],
            ..Self::new(dns)
        }
    }
}

impl Profile {
    /// A profile with a description made from its name.
    pub fn new(name: &str, validity: Duration) -> Self {
        Self {
            name: name.to_owned(),
            description: format!("the {name} profile"),
            validity: validity.as_secs(),
        }
    }
}

impl Pebble {
    /// Starts it and waits until its directory answers; `None` where Pebble is not installed.
    pub fn start(options: PebbleOptions) -> Option<Self> {
        let program = require(Peer::Pebble)?;
        Some(process::start("pebble", || {
            let [addr, management] = [free_addr(), free_addr()]
                .map(|addr| SocketAddr::new(options.address, addr.port()));
            let dir = TempDir::with_prefix("dnseal-pebble-").unwrap();
            write_files(&options, addr, management, &dir);
            let mut command = Command::new(&program);
            command
                .args([
                    "-config",
                    "pebble.json",
                    "-dnsserver",
                    &options.dns.to_string(),
                ])
                .env("PEBBLE_VA_NOSLEEP", "1")
                .env("PEBBLE_WFE_NONCEREJECT", options.reject_nonces.to_string())
                .env("PEBBLE_AUTHZREUSE", options.reuse_authz.to_string())
                .env(
                    "PEBBLE_ALTERNATE_ROOTS",
                    options.alternate_roots.to_string(),
                )
                .env("PEBBLE_CHAIN_LENGTH", options.chain_length.to_string())
                .envs(options.env.iter().map(|(name, value)| (name, value)));
            if options.strict {
                command.arg("-strict");
            }
            let process = Process::spawn("pebble", dir, &mut command);
            let mut pebble = Self {
                addr,
                management,
                process,
                own_requests: 0,
            };
            pebble.process.await_start(|| {
                pebble.get(&pebble.directory_url())?;
                pebble.get(&pebble.management_url("roots/0"))?;
                Ok(())
            })?;
            pebble.own_requests = pebble.requests().len();
            Ok(pebble)
        }))
    }

    /// The URL of the ACME directory.
    pub fn directory_url(&self) -> String {
        format!("https://{}/dir", self.addr)
    }

    /// The file with the root that its HTTPS certificate leads to, for `--ca-root`.
    pub fn ca_pem_path(&self) -> PathBuf {
        self.process.dir().join("root.pem")
    }

    /// The root of the certificates that it issues.
    pub fn issuance_root_pem(&self) -> String {
        self.root_pem(0)
    }

    /// The root of alternate chain `number`; 0 is the default one.
    pub fn root_pem(&self, number: u32) -> String {
        self.get(&self.management_url(&format!("roots/{number}")))
            .unwrap()
    }

    /// Whether a certificate is valid or revoked, by its serial number in hexadecimal.
    pub fn cert_status(&self, serial: &str) -> Value {
        let url = self.management_url(&format!("cert-status-by-serial/{serial}"));
        serde_json::from_str(&self.get(&url).unwrap()).unwrap()
    }

    /// Sets what it answers as renewal information (RFC 9773) for a certificate, be it well-formed or not.
    pub fn set_renewal_info(&self, certificate_pem: &str, response: &str) {
        let body = json!({ "Certificate": certificate_pem, "ARIResponse": response }).to_string();
        let url = self.management_url("set-renewal-info/");
        request(&self.ca_pem_path(), &url, Some(body)).unwrap();
    }

    /// Every request to the ACME side that found its resource, except our own before it had started.
    pub fn requests(&self) -> Vec<LoggedRequest> {
        let log = self.process.log();
        let requests = log.lines().filter_map(LoggedRequest::parse);
        requests.skip(self.own_requests).collect()
    }

    /// How many of the requests are these: `count("POST", "/order-plz")`.
    pub fn count(&self, method: &str, path: &str) -> usize {
        let requests = self.requests();
        let is_it = |it: &&LoggedRequest| it.method == method && it.path == path;
        requests.iter().filter(is_it).count()
    }

    /// The process behind it: its log, its signals, its end.
    pub fn process(&self) -> &Process {
        &self.process
    }

    fn management_url(&self, path: &str) -> String {
        format!("https://{}/{path}", self.management)
    }

    fn get(&self, url: &str) -> Result<String, String> {
        request(&self.ca_pem_path(), url, None)
    }
}

/// Pebble 2.10 can lock itself up: reading an order holds the lock over its database and wants that over an authorization, reading an
/// authorization holds that and wants the database, and who wants to write a third order lets neither through. Nothing but
/// new nonces is answered then. Where a test fails, this tells whether that is why.
impl Drop for Pebble {
    fn drop(&mut self) {
        if !thread::panicking() || self.process.exited().is_some() {
            return;
        }
        self.process.signal("QUIT");
        process::wait_until(GOROUTINES_TIMEOUT, || self.process.exited().is_some());
        for (place, count) in stuck(&self.process.log()) {
            eprintln!("pebble: {count} goroutines wait for a lock in {place}");
        }
    }
}

/// Where in Pebble goroutines wait for locks, and how many, by what Go prints of them all.
fn stuck(log: &str) -> BTreeMap<&str, usize> {
    let mut places = BTreeMap::new();
    for goroutine in log.split("\ngoroutine ").skip(1) {
        let mut lines = goroutine.lines();
        if !lines.next().is_some_and(|state| state.contains("[sync.")) {
            continue;
        }
        let place = lines.find(|line| line.contains("/pebble/"));
        *places.entry(place.unwrap_or("the runtime")).or_default() += 1;
    }
    places
}

impl LoggedRequest {
    // `Pebble 2026/11/21 18:19:33 GET /dir -> calling handler()`
    fn parse(line: &str) -> Option<Self> {
        let (request, _) = line.split_once(" -> calling handler()")?;
        let mut words = request.split_whitespace().rev();
        let path = words.next()?.to_owned();
        let method = words.next()?.to_owned();
        Some(Self { method, path })
    }
}

fn write_files(options: &PebbleOptions, addr: SocketAddr, management: SocketAddr, dir: &TempDir) {
    let authority = Authority::new();
    fs::write(dir.path().join("root.pem"), authority.pem()).unwrap();
    authority.write(dir.path(), &["localhost", &addr.ip().to_string()]);

    let profiles: serde_json::Map<String, Value> = options
        .profiles
        .iter()
        .map(|profile| {
            let value =
                json!({ "description": profile.description, "validityPeriod": profile.validity });
            (profile.name.clone(), value)
        })
        .collect();
    let mac_keys: serde_json::Map<String, Value> = options
        .eab
        .iter()
        .map(|eab| (eab.kid.clone(), Value::from(eab.hmac_key.clone())))
        .collect();
    let config = json!({
        "pebble": {
            "listenAddress": addr,
            "managementListenAddress": management,
            "certificate": "tls.pem",
            "privateKey": "tls.key",
            "httpPort": 5002,
            "tlsPort": 5001,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": options.eab.is_some(),
            "externalAccountMACKeys": mac_keys,
            "domainBlocklist": options.blocklist,
            "retryAfter": { "authz": options.retry_after_authz, "order": options.retry_after_order },
            "keyAlgorithm": "ecdsa",
            "profiles": profiles,
        }
    });
    fs::write(dir.path().join("pebble.json"), config.to_string()).unwrap();
}

/// One HTTPS request: GET, or POST where there is a body. On a thread of its own, because the caller may be inside
/// a runtime already.
fn request(root: &Path, url: &str, body: Option<String>) -> Result<String, String> {
    let root = reqwest::Certificate::from_pem(&fs::read(root).unwrap()).unwrap();
    let send = async {
        let client = reqwest::Client::builder()
            .tls_certs_only([root])
            .no_proxy()
            // Pebble refuses a request without (RFC 8555 section 6.1).
            .user_agent("dnseal-tests")
            .timeout(REQUEST_TIMEOUT)
            .build()?;
        let request = match body {
            Some(body) => client.post(url).body(body),
            None => client.get(url),
        };
        request.send().await?.error_for_status()?.text().await
    };
    thread::scope(|scope| {
        scope
            .spawn(|| {
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap()
                    .block_on(send)
            })
            .join()
            .unwrap()
    })
    .map_err(|error: reqwest::Error| format!("{url}: {error:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_counted() {
        let log = "SIGQUIT: quit\n\ngoroutine 1 [IO wait]:\nnet.x()\n\ngoroutine 2 [sync.RWMutex.RLock]:\nsync.y()\n\
                   github.com/letsencrypt/pebble/v2/db.Get()\n";
        let found = stuck(log);
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            [("github.com/letsencrypt/pebble/v2/db.Get()", 1)]
        );
    }

    #[test]
    fn request_line_is_read() {
        let line = "Pebble 2026/11/21 18:19:33 POST /my-order/ -> calling handler()";
        let request = LoggedRequest::parse(line).unwrap();
        assert_eq!(request.method, "POST");
        assert_eq!(request.path, "/my-order/");
        assert_eq!(
            LoggedRequest::parse("Pebble 2026/11/21 18:19:32 Listening on: 127.0.0.1:1"),
            None
        );
    }
}
