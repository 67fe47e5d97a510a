//! The quota of requests of one credential, and the headers that tell of it.
//!
//! Documented: 1,200 requests in 5 minutes, then 429 for 5 minutes, `Ratelimit` and `Ratelimit-Policy` always, `retry-after` with a refusal.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// So many requests in so much time.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    /// How long everything is refused after one request too many; until there is room again if none.
    pub block: Option<Duration>,
    /// How many.
    pub requests: usize,
    /// In how much time; whole seconds.
    pub window: Duration,
}

impl Quota {
    /// So many requests each second, as a sliding window.
    pub fn per_second(requests: usize) -> Self {
        Self {
            block: None,
            requests,
            window: Duration::from_secs(1),
        }
    }
}

/// Every credential's requests.
#[derive(Debug)]
pub(super) struct Quotas {
    quota: Option<Quota>,
    used: HashMap<String, Used>,
}

#[derive(Debug, Default)]
struct Used {
    blocked_until: Option<Instant>,
    requests: VecDeque<Instant>,
}

/// Whether a request may be served, and what its answer says about the quota.
pub(super) struct Ruling {
    pub(super) allowed: bool,
    pub(super) headers: Vec<(&'static str, String)>,
}

impl Quotas {
    pub(super) fn new(quota: Option<Quota>) -> Self {
        Self {
            quota,
            used: HashMap::new(),
        }
    }

    pub(super) fn rule(&mut self, credential: &str, own: Option<Quota>) -> Ruling {
        let Some(quota) = own.or(self.quota) else {
            return Ruling {
                allowed: true,
                headers: vec![
                    ("ratelimit", "\"default\";r=1199;t=300".to_owned()),
                    ("ratelimit-policy", "\"default\";q=1200;w=300".to_owned()),
                ],
            };
        };
        let now = Instant::now();
        let used = self.used.entry(credential.to_owned()).or_default();
        while used
            .requests
            .front()
            .is_some_and(|at| now - *at >= quota.window)
        {
            used.requests.pop_front();
        }
        let blocked = used.blocked_until.is_some_and(|until| until > now);
        let allowed = !blocked && used.requests.len() < quota.requests;
        if allowed {
            used.requests.push_back(now);
        } else if let (Some(block), false) = (quota.block, blocked) {
            used.blocked_until = Some(now + block);
        }
        let room = used.requests.front().map_or(now, |at| *at + quota.window);
        let reset = used.blocked_until.map_or(room, |until| until.max(room)) - now;
        let left = match allowed {
            true => quota.requests - used.requests.len(),
            false => 0,
        };
        let rounded = reset.as_millis().div_ceil(1000);
        let mut headers = vec![
            ("ratelimit", format!("\"default\";r={left};t={rounded}")),
            (
                "ratelimit-policy",
                format!(
                    "\"default\";q={};w={}",
                    quota.requests,
                    quota.window.as_secs()
                ),
            ),
        ];
        if !allowed {
            headers.push(("retry-after", rounded.max(1).to_string()));
        }
        Ruling { allowed, headers }
    }
}
