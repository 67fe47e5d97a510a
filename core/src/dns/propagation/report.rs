//! What every server said, for people and for programs.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use serde::Serializer;

use super::ladder::Rung;
use super::verdict::Verdict;
use crate::dns::DomainName;
use crate::dns::TxtValue;
use crate::dns::query::Transport;

/// The last verdicts, by owner name. `Display` is a table without colour; it ends without a line break.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// One for each owner name, in the order they were asked for.
    pub names: Vec<NameReport>,
}

/// What the servers of one zone say about one owner name.
#[derive(Clone, Debug, Serialize)]
pub struct NameReport {
    /// The owner name.
    pub owner: DomainName,
    /// The zone that holds it.
    pub zone: DomainName,
    /// Whether the evidence is there.
    pub proven: bool,
    /// What the evidence is, or would have been.
    pub rung: Option<Rung>,
    /// The values that have to be there.
    pub values: Vec<TxtValue>,
    /// One for each server address, and one for a server without any.
    pub rows: Vec<Row>,
}

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The server, as the NS record names it.
    pub server: String,
    /// Its address; `None` where the name has none.
    pub address: Option<SocketAddr>,
    /// Over what the answer came, or did not come last.
    pub transport: Option<Transport>,
    /// What it answered; `None` where it was not asked yet.
    #[serde(flatten)]
    pub verdict: Option<Verdict>,
    /// How long it has been answering that.
    #[serde(rename = "since_ms", serialize_with = "as_millis")]
    pub since: Duration,
    /// The zone's serial number at this address, where it is known.
    pub zone_serial: Option<u32>,
    /// What is wrong with the server itself, such as a name without addresses.
    pub problem: Option<String>,
}

impl Report {
    /// The names that are not proven.
    pub fn unproven(&self) -> impl Iterator<Item = &NameReport> {
        self.names.iter().filter(|name| !name.proven)
    }

    /// Whether every name is proven.
    pub fn is_proven(&self) -> bool {
        self.names.iter().all(|name| name.proven)
    }

    /// One line that says what is missing and where.
    pub fn summary(&self) -> String {
        let unproven: Vec<&NameReport> = self.unproven().collect();
        match unproven.as_slice() {
            [] => "TXT value visible at every name server".to_owned(),
            [name] => format!("TXT value {}", name.summary()),
            [first, rest @ ..] => format!(
                "TXT values of {} names not visible; at {} {}",
                rest.len() + 1,
                first.owner,
                first.summary()
            ),
        }
    }
}

impl NameReport {
    /// Whether any server answered at all, with the value or without.
    pub(crate) fn was_heard(&self) -> bool {
        let mut verdicts = self.rows.iter().filter_map(|row| row.verdict.as_ref());
        verdicts.any(|verdict| verdict.has_it() || verdict.lacks_it())
    }

    /// One line that says what is missing and where.
    pub(crate) fn summary(&self) -> String {
        let without = self.rows.iter().filter(|row| !row.has_it()).count();
        let who = match self.rung {
            Some(Rung::Doh) => "resolver",
            _ => "name server",
        };
        let servers = match self.rows.len() {
            1 => format!("the 1 {who}"),
            n => format!("{without} of {n} {who}s"),
        };
        if self.rung == Some(Rung::Doh) && !self.rows.is_empty() {
            return format!(
                "not visible at {servers} that can be asked about {}",
                self.zone
            );
        }
        match self.rows.is_empty() {
            true => format!("not visible: no name server of {} is known", self.zone),
            false => format!("not visible at {servers} of {}", self.zone),
        }
    }

    /// The newest version of the zone that shows the value.
    pub(super) fn newest(&self) -> Option<(&str, u32)> {
        self.rows
            .iter()
            .filter(|row| row.has_it())
            .filter_map(|row| Some((row.server.as_str(), row.zone_serial?)))
            .rev()
            .max_by(|(_, a), (_, b)| newer(*a, *b))
    }
}

impl Row {
    fn has_it(&self) -> bool {
        self.verdict.as_ref().is_some_and(Verdict::has_it)
    }

    /// The target, where the answer is an alias.
    pub(super) fn alias(&self) -> Option<&str> {
        match &self.verdict {
            Some(Verdict::LacksIt { alias, .. }) => alias.as_deref(),
            _ => None,
        }
    }

    /// How many values stand there that nobody asked about.
    pub(super) fn others(&self) -> usize {
        match &self.verdict {
            Some(Verdict::LacksIt { others, .. }) => *others,
            _ => 0,
        }
    }

    fn says(&self, newest: Option<(&str, u32)>) -> String {
        let mut text = match (&self.verdict, &self.problem) {
            (Some(verdict), _) => verdict.to_string(),
            (None, Some(problem)) => return problem.clone(),
            (None, None) => return "not asked".to_owned(),
        };
        if let (Some(Verdict::LacksIt { .. }), Some(serial)) = (&self.verdict, self.zone_serial) {
            text.push_str(&format!(", serial {serial}"));
            if let Some((server, ahead)) = newest.filter(|(_, ahead)| *ahead != serial) {
                let host = server.split('.').next().unwrap_or(server);
                text.push_str(&format!(" ({host} is at {ahead})"));
            }
        }
        if self.since >= Duration::from_secs(1) {
            text.push_str(&format!(", since {}", brief(self.since)));
        }
        text
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unproven: Vec<&NameReport> = self.unproven().collect();
        let shown: Vec<&NameReport> = match unproven.is_empty() {
            true => self.names.iter().collect(),
            false => unproven,
        };
        let mut lines = Vec::new();
        for name in shown.iter().take(SHOWN_NAMES) {
            if self.names.len() > 1 {
                lines.push(format!("  {}", name.owner));
            }
            lines.extend(name.lines());
        }
        match shown.len().saturating_sub(SHOWN_NAMES) {
            0 => {}
            more => lines.push(format!("  and {more} more names")),
        }
        f.write_str(&lines.join("\n"))
    }
}

impl fmt::Display for NameReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

impl NameReport {
    fn lines(&self) -> Vec<String> {
        let newest = self.newest();
        let cells: Vec<[String; 4]> = self
            .rows
            .iter()
            .map(|row| {
                [
                    row.server.clone(),
                    row.address.map_or_else(|| "-".to_owned(), address),
                    row.transport.map_or("-", Transport::as_str).to_owned(),
                    row.says(newest),
                ]
            })
            .collect();
        let width = |column: usize| {
            cells
                .iter()
                .filter_map(|row| row.get(column))
                .map(String::len)
                .max()
                .unwrap_or(0)
        };
        let (server_width, address_width) = (width(0), width(1));
        let transport_width = width(2).max(3);
        cells
            .iter()
            .map(|[server, address, transport, says]| {
                format!(
                    "  {server:server_width$}  {address:address_width$}  {transport:transport_width$}   {says}"
                )
            })
            .collect()
    }
}

/// An address without its port where that is the usual one.
fn address(address: SocketAddr) -> String {
    match address.port() {
        53 => address.ip().to_string(),
        _ => address.to_string(),
    }
}

/// A length of time as people say it: `3s`, `2m 5s`.
pub(super) fn brief(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{}ms", duration.as_millis()),
        s @ 1..60 => format!("{s}s"),
        s @ 60..3600 => format!("{}m {}s", s / 60, s % 60),
        s => format!("{}h {}m", s / 3600, s % 3600 / 60),
    }
}

/// Which of two serial numbers is the newer (RFC 1982 section 3.2).
pub(super) fn newer(a: u32, b: u32) -> std::cmp::Ordering {
    a.wrapping_sub(b).cast_signed().cmp(&0)
}

fn as_millis<S: Serializer>(value: &Duration, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
}

/// Names whose tables are shown to people; programs get all of them.
const SHOWN_NAMES: usize = 20;

#[cfg(test)]
mod tests {
    use super::super::verdict::Unusable;
    use super::*;

    fn row(server: &str, address: &str, verdict: Verdict, since: u64) -> Row {
        Row {
            server: server.to_owned(),
            address: Some(address.parse().unwrap()),
            transport: Some(match verdict {
                Verdict::Unusable(_) => Transport::Tcp,
                _ => Transport::Udp,
            }),
            zone_serial: match &verdict {
                Verdict::HasIt { .. } => Some(2026112102),
                Verdict::LacksIt { serial, .. } => *serial,
                Verdict::Unusable(_) => None,
            },
            verdict: Some(verdict),
            since: Duration::from_secs(since),
            problem: None,
        }
    }

    #[test]
    fn the_table_is_aligned_and_says_who_is_behind() {
        let lacks = Verdict::LacksIt {
            alias: None,
            found: 0,
            others: 0,
            rcode: "NXDOMAIN".to_owned(),
            serial: Some(2026112101),
        };
        let silent = Verdict::Unusable(Unusable::Silent(None));
        let report = Report {
            names: vec![NameReport {
                owner: "_acme-challenge.example.com".parse().unwrap(),
                zone: "example.com".parse().unwrap(),
                proven: false,
                rung: None,
                values: Vec::new(),
                rows: vec![
                    row(
                        "ns1.example.net",
                        "192.0.2.1:53",
                        Verdict::HasIt { others: 0 },
                        3,
                    ),
                    row("ns2.example.net", "[2001:db8::2]:53", lacks, 0),
                    row("b.example.net", "192.0.2.30:5353", silent, 65),
                ],
            }],
        };
        let wanted = [
            "  ns1.example.net  192.0.2.1        udp   has it, since 3s",
            "  ns2.example.net  2001:db8::2      udp   NXDOMAIN, serial 2026112101 (ns1 is at 2026112102)",
            "  b.example.net    192.0.2.30:5353  tcp   no answer, since 1m 5s",
        ]
        .join("\n");
        assert_eq!(report.to_string(), wanted);
        let summary = "TXT value not visible at 2 of 3 name servers of example.com";
        assert_eq!(report.summary(), summary);
    }

    #[test]
    fn serial_numbers_wrap() {
        assert_eq!(newer(1, u32::MAX), std::cmp::Ordering::Greater);
        assert_eq!(newer(7, 8), std::cmp::Ordering::Less);
    }
}
