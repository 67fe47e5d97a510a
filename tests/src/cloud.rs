//! A hosted provider's fake with two zones, as the binary under test meets it: Cloudflare or Route 53, and nothing but the name
//! differs for the test.
//!
//! Challenges of names in [`Cloud::NAMES`] may be delegated to owner names in [`Cloud::VALUES`]. The fake runs in a runtime of its
//! own, so that tests of processes need none.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::time::Duration;

use dnseal_sandbox::dns::DnsServer;
use tokio::runtime::Runtime;

use crate::fakes::cloudflare::{
    CloudflareOptions, FakeCloudflare, Fault as CloudflareFault, Quota,
};
use crate::fakes::route53::{Fault as Route53Fault, RecordSet, Route53, Route53Options};

/// A running fake.
#[derive(Debug)]
pub struct Cloud {
    fake: Fake,
    /// After the fake, which lives in it.
    _runtime: Runtime,
}

#[derive(Debug)]
enum Fake {
    Cloudflare(FakeCloudflare),
    /// With the ids of its zones.
    Route53(Route53, BTreeMap<&'static str, String>),
}

/// One request, whichever provider it went to.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Request {
    /// Of which caller.
    caller: String,
    /// The same for a request that is repeated.
    what: String,
}

impl Cloud {
    /// The zone in which names are.
    pub const NAMES: &str = "example.test";
    /// The zone in which values are that names delegate to.
    pub const VALUES: &str = "values.test";
    /// How many callers can be told from one another, by numbers from 0.
    pub const CALLERS: usize = 8;

    /// Cloudflare, whose name server has each change after a second.
    pub fn cloudflare() -> Self {
        Self::cloudflare_at(Ipv4Addr::LOCALHOST.into())
    }

    /// The same with its API at this address.
    pub fn cloudflare_at(address: IpAddr) -> Self {
        let runtime = runtime();
        let options = CloudflareOptions {
            address: Some(address),
            lag: Duration::from_secs(1),
            ..CloudflareOptions::new([Self::NAMES, Self::VALUES], SECRET)
        };
        let fake = runtime.block_on(FakeCloudflare::start(options)).unwrap();
        Self {
            fake: Fake::Cloudflare(fake),
            _runtime: runtime,
        }
    }

    /// Route 53 with the documented rate, which says INSYNC after a second.
    pub fn route53() -> Self {
        Self::route53_at(Ipv4Addr::LOCALHOST.into())
    }

    /// The same with its API at this address.
    pub fn route53_at(address: IpAddr) -> Self {
        let runtime = runtime();
        let keys = (0..Self::CALLERS).map(|caller| (key_id(caller), SECRET.to_owned()));
        let options = Route53Options {
            address,
            keys: keys.collect(),
            propagation: Duration::from_secs(1),
            ..Route53Options::default()
        };
        let (fake, zones) = runtime.block_on(async {
            let fake = Route53::start(options).await;
            let zones = [Self::NAMES, Self::VALUES].map(|zone| (zone, fake.add_zone(zone)));
            (fake, zones.into())
        });
        Self {
            fake: Fake::Route53(fake, zones),
            _runtime: runtime,
        }
    }

    /// The kind of its provider.
    pub fn kind(&self) -> &'static str {
        match &self.fake {
            Fake::Cloudflare(_) => "cloudflare",
            Fake::Route53(..) => "route53",
        }
    }

    /// How messages name its API.
    pub fn endpoint(&self) -> String {
        match &self.fake {
            Fake::Cloudflare(fake) => {
                let base = fake.base_url();
                let host = base.trim_start_matches("http://");
                format!(
                    "the Cloudflare API at {}",
                    host.trim_end_matches("/client/v4")
                )
            }
            Fake::Route53(fake, _) => format!("the Route 53 API at {}", fake.endpoint()),
        }
    }

    /// The token or the secret key that every caller has.
    pub fn secret(&self) -> &'static str {
        SECRET
    }

    /// Where both zones are served.
    pub fn dns(&self) -> SocketAddr {
        self.name_server().addr()
    }

    /// What serves both zones, for its log.
    pub fn name_server(&self) -> &DnsServer {
        match &self.fake {
            Fake::Cloudflare(fake) => fake.dns(),
            Fake::Route53(fake, _) => fake.name_server(),
        }
    }

    /// What a process needs to know in its environment; each caller has a number below [`CALLERS`](Self::CALLERS).
    pub fn env(&self, caller: usize) -> Vec<(&'static str, String)> {
        match &self.fake {
            Fake::Cloudflare(fake) => vec![
                ("CF_DNS_API_TOKEN", SECRET.to_owned()),
                ("CLOUDFLARE_BASE_URL", fake.base_url_for(&key_id(caller))),
            ],
            Fake::Route53(fake, _) => vec![
                ("AWS_ACCESS_KEY_ID", key_id(caller)),
                ("AWS_ENDPOINT_URL_ROUTE_53", fake.endpoint()),
                ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ],
        }
    }

    /// The variable that holds the secret.
    pub fn secret_variable(&self) -> &'static str {
        match &self.fake {
            Fake::Cloudflare(_) => "CF_DNS_API_TOKEN",
            Fake::Route53(..) => "AWS_SECRET_ACCESS_KEY",
        }
    }

    /// The same with another token or secret key.
    pub fn env_with_secret(&self, secret: &str) -> Vec<(&'static str, String)> {
        let mut env = self.env(0);
        for (_, value) in env.iter_mut().filter(|(_, value)| value == SECRET) {
            secret.clone_into(value);
        }
        env
    }

    /// The same with an API where nobody listens.
    pub fn env_of_nowhere(&self) -> Vec<(&'static str, String)> {
        let mut env = self.env(0);
        let urls = env
            .iter_mut()
            .filter(|(_, value)| value.starts_with("http:"));
        for (_, value) in urls {
            *value = "http://127.0.0.1:9/client/v4".to_owned();
        }
        env
    }

    /// Refuses the next change in words that repeat everything secret that it came with.
    pub fn echo(&self) {
        match &self.fake {
            Fake::Cloudflare(fake) => {
                let body = format!(
                    r#"{{"success":false,"errors":[{{"code":9109,"message":"bad Bearer {SECRET}"}}],"result":null}}"#
                );
                fake.inject(CloudflareFault::answer("POST", "/batch", 403, &body));
            }
            // A signature is not the key.
            Fake::Route53(fake, _) => {
                let fault = Route53Fault::Refuse(403, "AccessDenied", "bad signature");
                fake.inject("ChangeResourceRecordSets", fault, 1);
            }
        }
    }

    /// Leads these, in the zone of names, to `target`.
    pub fn delegate(&self, owners: &[String], target: &str) {
        match &self.fake {
            Fake::Cloudflare(fake) => {
                for owner in owners {
                    fake.add(Self::NAMES, "CNAME", owner, target);
                }
            }
            Fake::Route53(fake, zones) => {
                let target = format!("{target}.");
                let sets = owners
                    .iter()
                    .map(|owner| RecordSet::new(owner, "CNAME", 60, &[&target]));
                fake.put_all(&zones[Self::NAMES], sets);
            }
        }
        self.propagate();
    }

    /// Puts values at a name where there are none, as somebody else would.
    pub fn put(&self, zone: &str, owner: &str, values: &[&str]) {
        match &self.fake {
            Fake::Cloudflare(fake) => {
                for value in values {
                    fake.add(zone, "TXT", owner, value);
                }
            }
            Fake::Route53(fake, zones) => {
                fake.put(&zones[zone], RecordSet::txt(owner, 300, values));
            }
        }
        self.propagate();
    }

    /// Everything in both zones, as the provider keeps it.
    pub fn contents(&self) -> Vec<String> {
        let zones = [Self::NAMES, Self::VALUES];
        let zones = zones.into_iter();
        match &self.fake {
            Fake::Cloudflare(fake) => zones
                .flat_map(|zone| fake.records(zone))
                .map(|r| format!("{r:?}"))
                .collect(),
            Fake::Route53(fake, ids) => zones
                .flat_map(|zone| fake.record_sets(&ids[zone]))
                .map(|set| format!("{set:?}"))
                .collect(),
        }
    }

    /// Takes so many requests in a second from all callers together.
    pub fn limit(&self, per_second: u32) {
        match &self.fake {
            Fake::Cloudflare(fake) => {
                let requests = usize::try_from(per_second).unwrap();
                fake.set_quota(Some(Quota::per_second(requests)));
            }
            Fake::Route53(fake, _) => fake.throttle(per_second, per_second),
        }
    }

    /// Every batch that was written, by how many changes it had.
    pub fn batches(&self) -> Vec<usize> {
        match &self.fake {
            Fake::Cloudflare(fake) => {
                let requests = fake.requests().into_iter();
                let written = requests.filter(|r| r.method != "GET" && r.status == 200);
                written.map(|r| r.batch).collect()
            }
            Fake::Route53(fake, _) => {
                let calls = fake.calls().into_iter();
                let written =
                    calls.filter(|c| c.action == "ChangeResourceRecordSets" && c.code.is_empty());
                written.map(|c| c.changes.len()).collect()
            }
        }
    }

    /// How many requests there were.
    pub fn requests(&self) -> usize {
        match &self.fake {
            Fake::Cloudflare(fake) => fake.requests().len(),
            Fake::Route53(fake, _) => fake.calls().len(),
        }
    }

    /// For how many changes somebody asked whether they are in sync, and how often altogether.
    pub fn syncs(&self) -> (usize, usize) {
        let Fake::Route53(fake, _) = &self.fake else {
            return (0, 0);
        };
        let calls = fake.calls().into_iter();
        let asked: Vec<String> = calls
            .filter(|c| c.action == "GetChange")
            .map(|c| c.request)
            .collect();
        let changes: BTreeSet<&String> = asked.iter().collect();
        (changes.len(), asked.len())
    }

    /// The callers some request of which was refused for the rate.
    pub fn slowed_down(&self) -> BTreeSet<usize> {
        let refused = self.asked().into_iter().filter(|(_, refused)| *refused);
        let callers: BTreeSet<String> = refused.map(|(request, _)| request.caller).collect();
        (0..Self::CALLERS)
            .filter(|caller| callers.contains(&key_id(*caller)))
            .collect()
    }

    /// Requests that were refused for the rate, and refused again when they were repeated.
    pub fn refused_twice(&self) -> Vec<String> {
        let mut refused_before = BTreeSet::new();
        let mut twice = Vec::new();
        for (request, refused) in self.asked() {
            if !refused {
                refused_before.remove(&request);
            } else if !refused_before.insert(request.clone()) {
                twice.push(format!("{}: {}", request.caller, request.what));
            }
        }
        twice
    }

    /// Every request in order, and whether it was refused for the rate.
    fn asked(&self) -> Vec<(Request, bool)> {
        match &self.fake {
            Fake::Cloudflare(fake) => fake
                .requests()
                .into_iter()
                .map(|r| {
                    let what = format!("{} {}?{} {}", r.method, r.path, r.query, r.body);
                    let caller = r.caller;
                    (Request { caller, what }, r.status == 429)
                })
                .collect(),
            Fake::Route53(fake, _) => fake
                .calls()
                .into_iter()
                .map(|c| {
                    let (caller, what) = (c.key_id, c.request);
                    (Request { caller, what }, c.code == "Throttling")
                })
                .collect(),
        }
    }

    /// Lets name servers have what was changed so far.
    fn propagate(&self) {
        match &self.fake {
            Fake::Cloudflare(fake) => fake.dns().advance(PROPAGATED),
            Fake::Route53(fake, _) => fake.advance(PROPAGATED),
        }
    }
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

/// How a caller is told from others: the id of its access key, or a part of its URL.
fn key_id(caller: usize) -> String {
    format!("AKIACALLER{caller}")
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

/// Of the form of a token, which does for a secret key as well.
const SECRET: &str = "canary-Sn3lZJTBX6kkg7OdcBUAxOO963GEIyGQ-good";
const PROPAGATED: Duration = Duration::from_secs(60);
