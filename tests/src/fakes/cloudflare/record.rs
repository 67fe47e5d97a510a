//! One record: what of it is refused, how it is shown, and what it is in DNS.

use dnseal_sandbox::dns::Record as DnsRecord;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::server::Problem;
use super::store::{FakeZone, Plan};

/// A record of a zone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// What people noted.
    pub comment: Option<String>,
    /// As it was sent.
    pub content: String,
    /// Since when it is there.
    pub created: Timestamp,
    /// 32 hexadecimal digits.
    pub id: String,
    /// `A`, `CNAME`, `TXT`, …
    pub kind: String,
    /// The whole owner name, lower case.
    pub name: String,
    /// Seconds; 1 is automatic.
    pub ttl: u32,
}

impl Record {
    /// What a request describes, on top of what is there (PATCH) or of nothing (POST, PUT).
    pub(super) fn read(
        zone: &FakeZone,
        id: &str,
        body: &Value,
        base: Option<&Self>,
    ) -> Result<Self, Problem> {
        let invalid = |code, message: &str| {
            Problem::chained(400, (1004, "DNS Validation Error"), (code, message))
        };
        let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
        let kind = text("type").or_else(|| base.map(|b| b.kind.clone()));
        let kind = kind.ok_or_else(|| invalid(9000, "type is a required field."))?;
        let name = text("name").map(|name| full_name(&name, zone.name()));
        let name = name.or_else(|| base.map(|b| b.name.clone()));
        let name = name.ok_or_else(|| invalid(9000, "name is a required field."))?;
        if name.len() > 255 || name.split('.').any(|l| l.is_empty() || l.len() > 63) {
            return Err(invalid(9000, "DNS name is invalid."));
        }
        let content = text("content").or_else(|| base.map(|b| b.content.clone()));
        let content = content.ok_or_else(|| invalid(9000, "content is a required field."))?;
        let ttl = match body.get("ttl") {
            // Left out it is automatic.
            None => base.map_or(1, |b| b.ttl),
            Some(ttl) => ttl
                .as_f64()
                .filter(|ttl| ttl.fract() == 0.0)
                .map_or(0, |ttl| ttl as u32),
        };
        let least = match zone.get_plan() {
            Plan::Enterprise => 30,
            _ => 60,
        };
        if ttl != 1 && !(least..=86_400).contains(&ttl) {
            let words =
                format!("TTL must be between {least} and 86400 seconds, or 1 for Automatic.");
            return Err(invalid(9021, &words));
        }
        let tags = body
            .get("tags")
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
        if tags > 0 && zone.get_plan() == Plan::Free {
            let words = format!("DNS record has {tags} tags, exceeding the quota of 0.");
            return Err(invalid(9300, &words));
        }
        match kind.as_str() {
            "A" if content.parse::<std::net::Ipv4Addr>().is_err() => {
                return Err(invalid(
                    9005,
                    "Content for A record must be a valid IPv4 address.",
                ));
            }
            "TXT" if txt_value(&content).is_none() => {
                return Err(invalid(
                    9009,
                    "Content for TXT record must be quoted strings of at most 2048 characters.",
                ));
            }
            "A" | "AAAA" | "CNAME" | "TXT" => {}
            other => {
                let words = format!("DNS record type {other} is invalid.");
                return Err(invalid(9004, &words));
            }
        }
        let comment = match body.get("comment") {
            None => base.and_then(|b| b.comment.clone()),
            Some(comment) => comment.as_str().map(str::to_owned),
        };
        Ok(Self {
            comment,
            created: base.map_or_else(Timestamp::now, |b| b.created),
            content,
            id: id.to_owned(),
            kind,
            name,
            ttl,
        })
    }

    /// Whether two records cannot both be: the same type, name and content.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        self.kind == other.kind && self.name == other.name && self.meaning() == other.meaning()
    }

    /// The content without what makes no difference.
    fn meaning(&self) -> String {
        match self.kind.as_str() {
            "TXT" => txt_value(&self.content).unwrap_or_default(),
            _ => self.content.to_ascii_lowercase(),
        }
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "type": self.kind,
            "content": self.content,
            "proxiable": self.kind != "TXT",
            "proxied": false,
            "ttl": self.ttl,
            "settings": {},
            "meta": {},
            "comment": self.comment,
            "tags": [],
            "created_on": self.created,
            "modified_on": self.created,
        })
    }

    pub(super) fn in_dns(&self) -> Option<DnsRecord> {
        // Automatic is 300 s.
        let ttl = if self.ttl == 1 { 300 } else { self.ttl };
        Some(match self.kind.as_str() {
            "A" => DnsRecord::a(&self.name, ttl, self.content.parse().ok()?),
            "CNAME" => DnsRecord::cname(&self.name, ttl, self.content.trim_end_matches('.')),
            "TXT" => DnsRecord::txt(&self.name, ttl, txt_value(&self.content)?),
            _ => return None,
        })
    }
}

/// The real API puts the zone's name behind a name that does not end in it.
fn full_name(name: &str, zone: &str) -> String {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    match name.as_str() {
        "@" | "" => zone.to_owned(),
        inside if inside == zone || inside.ends_with(&format!(".{zone}")) => name,
        _ => format!("{name}.{zone}"),
    }
}

/// What TXT content says: quoted strings (RFC 1035 section 5.1), or text without any quotes around it.
pub(super) fn txt_value(content: &str) -> Option<String> {
    if content.is_empty() || content.chars().count() > 2048 {
        return None;
    }
    if !content.starts_with('"') {
        return Some(content.to_owned());
    }
    let mut value = String::new();
    let mut rest = content.chars().peekable();
    while rest.peek().is_some() {
        if rest.next()? != '"' {
            return None;
        }
        loop {
            match rest.next()? {
                '"' => break,
                '\\' => match rest.next()? {
                    digit if digit.is_ascii_digit() => {
                        let digits: String = [digit, rest.next()?, rest.next()?].iter().collect();
                        value.push(char::from(digits.parse::<u8>().ok()?));
                    }
                    other => value.push(other),
                },
                other => value.push(other),
            }
        }
        while rest.next_if_eq(&' ').is_some() {}
    }
    Some(value)
}
