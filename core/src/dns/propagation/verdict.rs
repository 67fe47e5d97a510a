//! What one server address says about one owner name, and when that is proof enough.
//!
//! A [`Verdict`] is one answer; a [`Board`] holds the last one of every address for every owner name, and says by the
//! quorum which names are proven. It has no clock and no sockets of its own: time comes in with each call.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;
use tokio::time::Instant;

use super::Wanted;
use crate::dns::DomainName;
use crate::dns::discovery::ZoneServers;
use crate::dns::query::Family;
use crate::dns::query::Transport;
use crate::dns::query::Upstream;

/// How many servers have to show the values.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Quorum {
    /// Every server that can be used; see [`PropagationPolicy::grace`](super::PropagationPolicy::grace) for the others.
    #[default]
    All,
    /// One address of any server.
    Any,
    /// More than half of the servers, by name.
    Majority,
}

/// What one server address answered about one owner name.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// With authority, and every wanted value is among the answers.
    HasIt {
        /// Values at the name that nobody asked about.
        others: usize,
    },
    /// With authority, and at least one wanted value is not among the answers.
    LacksIt {
        /// The target, where the answer is an alias.
        alias: Option<String>,
        /// Wanted values that are there.
        found: usize,
        /// Values at the name that nobody asked about.
        others: usize,
        /// The response code: `NOERROR` or `NXDOMAIN`.
        rcode: String,
        /// The zone's serial number, where the answer told it.
        serial: Option<u32>,
    },
    /// Nothing that says anything about the name.
    Unusable(Unusable),
}

impl Verdict {
    /// Whether the values are there.
    pub fn has_it(&self) -> bool {
        matches!(self, Self::HasIt { .. })
    }

    /// Whether the server answered, and the values are not there.
    pub fn lacks_it(&self) -> bool {
        matches!(self, Self::LacksIt { .. })
    }

    /// Whether both say the same, apart from a serial number that moves on.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let without_serial = |verdict: &Self| {
            let mut verdict = verdict.clone();
            if let Self::LacksIt { serial, .. } = &mut verdict {
                *serial = None;
            }
            verdict
        };
        without_serial(self) == without_serial(other)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HasIt { others: 0 } => f.write_str("has it"),
            Self::HasIt { others } => write!(f, "has it and {}", values(*others)),
            Self::LacksIt {
                alias: Some(target),
                ..
            } => write!(f, "CNAME to {target}"),
            Self::LacksIt {
                found,
                others,
                rcode,
                ..
            } => match (found, others) {
                (0, 0) if rcode == "NOERROR" => f.write_str("no TXT record"),
                (0, 0) => f.write_str(rcode),
                (0, others) => f.write_str(&values(*others)),
                (found, 0) => write!(f, "only {found} of the wanted values"),
                (found, others) => {
                    write!(
                        f,
                        "only {found} of the wanted values and {}",
                        values(*others)
                    )
                }
            },
            Self::Unusable(reason) => reason.fmt(f),
        }
    }
}

/// Why an answer, or its absence, says nothing about the name.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "reason", content = "detail", rename_all = "kebab-case")]
pub enum Unusable {
    /// The server did not set AA: it is no authority for the name, or somebody answers in its place.
    NotAuthoritative,
    /// No answer over UDP and none over TCP; says why where it is not just silence.
    Silent(Option<String>),
    /// A resolver says that there is nothing, and may only remember that from before.
    Remembered(String),
    /// SERVFAIL, REFUSED or another response code that says nothing about the name.
    Rcode(String),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAuthoritative => f.write_str("not authoritative"),
            Self::Rcode(rcode) => f.write_str(rcode),
            Self::Remembered(what) => f.write_str(what),
            Self::Silent(None) => f.write_str("no answer"),
            Self::Silent(Some(detail)) => write!(f, "no answer ({detail})"),
        }
    }
}

/// The last verdict of every address about every wanted owner name.
#[derive(Debug)]
pub(super) struct Board {
    pub(super) names: Vec<NameState>,
    /// Serial numbers that were asked for on their own, by zone and address.
    pub(super) serials: HashMap<(DomainName, Upstream), u32>,
    grace: Duration,
    started: Instant,
}

/// One owner name on the board.
#[derive(Debug)]
pub(super) struct NameState {
    pub(super) wanted: Wanted,
    pub(super) panel: Panel,
    pub(super) cells: Vec<Cell>,
    pub(super) proven: bool,
    quorum: Quorum,
    advice: Advice,
}

/// What is looked for, at whom, and what is enough.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) wanted: Wanted,
    pub(super) panel: Panel,
    pub(super) quorum: Quorum,
    pub(super) advice: Advice,
}

/// What a resolver's word counts that may only remember that there is nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Advice {
    /// It says so to whoever asks: the values are not there.
    Binding,
    /// After the grace others are enough.
    Passing,
}

/// One server address for one owner name.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) address: Upstream,
    /// Index into the panel.
    pub(super) server: usize,
    pub(super) seen: Option<Seen>,
    /// Whether the last answer that could be used lacked a value.
    lacked: bool,
}

/// A verdict, and since when it has been the same.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) since: Instant,
    pub(super) transport: Transport,
    pub(super) verdict: Verdict,
}

/// What the quorum says about one name.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Standing {
    /// Enough servers show the values; these servers of the zone were passed over as broken.
    Proven { broken: Vec<usize> },
    /// Not enough yet.
    Waiting,
}

impl Board {
    pub(super) fn new(asked: Vec<Asked>, grace: Duration, started: Instant) -> Self {
        let names = asked.into_iter().map(NameState::new).collect();
        Self {
            names,
            serials: HashMap::new(),
            grace,
            started,
        }
    }

    /// Every address with the places (name, cell) where it occurs.
    pub(super) fn by_address(&self) -> Vec<(Upstream, Vec<(usize, usize)>)> {
        let mut places: Vec<(Upstream, Vec<(usize, usize)>)> = Vec::new();
        let mut index = HashMap::new();
        for (n, name) in self.names.iter().enumerate() {
            for (c, cell) in name.cells.iter().enumerate() {
                let at = *index.entry(cell.address.clone()).or_insert_with(|| {
                    places.push((cell.address.clone(), Vec::new()));
                    places.len() - 1
                });
                if let Some((_, list)) = places.get_mut(at) {
                    list.push((n, c));
                }
            }
        }
        places
    }

    pub(super) fn cell(&self, (name, cell): (usize, usize)) -> Option<&Cell> {
        self.names.get(name)?.cells.get(cell)
    }

    /// Whether this address still has to be asked about this name.
    pub(super) fn is_open(&self, place: (usize, usize)) -> bool {
        let proven = self.names.get(place.0).is_none_or(|name| name.proven);
        let shown = self
            .cell(place)
            .and_then(|cell| cell.seen.as_ref())
            .is_some_and(|seen| seen.verdict.has_it());
        !proven && !shown
    }

    /// Takes a verdict; answers whether it differs from the one before.
    pub(super) fn record(
        &mut self,
        (name, cell): (usize, usize),
        verdict: Verdict,
        transport: Transport,
        now: Instant,
    ) -> bool {
        let Some(cell) = self
            .names
            .get_mut(name)
            .and_then(|name| name.cells.get_mut(cell))
        else {
            return false;
        };
        let unchanged = cell
            .seen
            .as_ref()
            .filter(|seen| seen.verdict.is_like(&verdict));
        let since = unchanged.map_or(now, |seen| seen.since);
        let changed = unchanged.is_none();
        match &verdict {
            Verdict::HasIt { .. } => cell.lacked = false,
            Verdict::LacksIt { .. } => cell.lacked = true,
            Verdict::Unusable(_) => {}
        }
        cell.seen = Some(Seen {
            since,
            transport,
            verdict,
        });
        changed
    }

    /// What the quorum says about one name.
    pub(super) fn standing(&self, name: usize, now: Instant) -> Standing {
        let Some(state) = self.names.get(name) else {
            return Standing::Waiting;
        };
        let waited_out = now.duration_since(self.started) >= self.grace;
        let servers: BTreeSet<usize> = (0..state.panel.0.len()).collect();
        let having: BTreeSet<usize> = state
            .cells
            .iter()
            .filter(|cell| cell.has_it())
            .map(|cell| cell.server)
            .collect();
        let lacking: BTreeSet<usize> = state
            .cells
            .iter()
            .filter(|cell| cell.still_lacks(state.advice, now, self.grace))
            .map(|cell| cell.server)
            .collect();

        match state.quorum {
            Quorum::Any => match having.is_empty() {
                true => Standing::Waiting,
                false => Standing::Proven { broken: Vec::new() },
            },
            Quorum::Majority => match having.difference(&lacking).count() * 2 > servers.len() {
                true => Standing::Proven { broken: Vec::new() },
                false => Standing::Waiting,
            },
            Quorum::All => {
                let unheard = state.cells.iter().any(|cell| cell.seen.is_none());
                let broken: Vec<usize> = servers.difference(&having).copied().collect();
                let may_be_passed_over = broken.is_empty() || waited_out;
                match !having.is_empty() && lacking.is_empty() && !unheard && may_be_passed_over {
                    true => Standing::Proven { broken },
                    false => Standing::Waiting,
                }
            }
        }
    }
}

/// Who is asked about one owner name.
#[derive(Clone, Debug)]
pub(super) struct Panel(pub(super) Vec<Witness>);

/// One that is asked, by one address or several.
#[derive(Clone, Debug)]
pub struct Witness {
    /// The server, as the NS record names it; of a resolver its address.
    pub name: String,
    /// Where it is asked.
    pub upstreams: Vec<Upstream>,
    /// Why there is no such place.
    pub problem: Option<String>,
}

impl Panel {
    /// Every server of a zone, by its addresses in `family`.
    pub(super) fn servers(zone: &ZoneServers, family: Family) -> Self {
        let members = zone.servers.iter().map(|server| Witness {
            name: server.name.clone(),
            upstreams: server
                .addresses
                .iter()
                .filter(|address| zone.given || family.allows(address.ip()))
                .map(|&address| Upstream::Server(address))
                .collect(),
            problem: server.problem.clone(),
        });
        Self(members.collect())
    }

    /// Resolvers, each by itself.
    pub(super) fn resolvers(resolvers: &[Upstream]) -> Self {
        let members = resolvers.iter().map(|resolver| Witness {
            name: resolver.to_string(),
            upstreams: vec![resolver.clone()],
            problem: None,
        });
        Self(members.collect())
    }
}

impl NameState {
    fn new(asked: Asked) -> Self {
        let Asked {
            wanted,
            panel,
            quorum,
            advice,
        } = asked;
        let mut seen = BTreeSet::new();
        let mut cells = Vec::new();
        for (server, member) in panel.0.iter().enumerate() {
            for address in &member.upstreams {
                // Two names for one server are two names to prove, with one address to ask for each.
                if seen.insert((server, address.clone())) {
                    cells.push(Cell {
                        address: address.clone(),
                        server,
                        seen: None,
                        lacked: false,
                    });
                }
            }
        }
        Self {
            wanted,
            panel,
            cells,
            proven: false,
            quorum,
            advice,
        }
    }

    /// Whether everybody was asked, and nobody has answered anything.
    pub(super) fn is_unheard(&self) -> bool {
        self.cells.iter().all(|cell| {
            let verdict = cell.seen.as_ref().map(|seen| &seen.verdict);
            matches!(verdict, Some(Verdict::Unusable(Unusable::Silent(_))))
        })
    }

    /// What messages call one that is asked.
    pub(super) fn member(&self, server: usize) -> String {
        let member = self.panel.0.get(server);
        member.map(|member| member.name.clone()).unwrap_or_default()
    }
}

impl Cell {
    fn has_it(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.verdict.has_it())
    }

    /// Whether it lacks a value as far as anybody knows: a server that did and then falls silent for a moment has not
    /// come to have it.
    fn still_lacks(&self, advice: Advice, now: Instant, grace: Duration) -> bool {
        match &self.seen {
            Some(seen) => match seen.verdict {
                Verdict::HasIt { .. } => false,
                Verdict::LacksIt { .. } => true,
                Verdict::Unusable(Unusable::Remembered(_)) if advice == Advice::Binding => true,
                Verdict::Unusable(_) => self.lacked && now.duration_since(seen.since) < grace,
            },
            None => false,
        }
    }
}

fn values(n: usize) -> String {
    match n {
        1 => "1 other value".to_owned(),
        n => format!("{n} other values"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use super::*;
    use crate::dns::NameServer;

    const GRACE: Duration = Duration::from_secs(10);

    /// One name, and one server for each entry with as many addresses.
    fn board(quorum: Quorum, addresses: &[usize]) -> (Board, Instant) {
        let mut port = 0;
        let servers = addresses.iter().enumerate().map(|(n, &count)| NameServer {
            name: format!("ns{n}"),
            addresses: (0..count)
                .map(|_| {
                    port += 1;
                    SocketAddr::from(([192, 0, 2, 1], port))
                })
                .collect(),
            problem: None,
        });
        let zone = Arc::new(ZoneServers {
            zone: "example.test".parse().unwrap(),
            servers: servers.collect(),
            given: false,
            negative_ttl: Duration::ZERO,
        });
        let wanted = Wanted {
            zone,
            owner: "a.example.test".parse().unwrap(),
            values: vec!["v".parse().unwrap()],
        };
        let now = Instant::now();
        let panel = Panel::servers(&wanted.zone, Family::Both);
        let asked = Asked {
            wanted,
            panel,
            quorum,
            advice: Advice::Passing,
        };
        let board = Board::new(vec![asked], GRACE, now);
        (board, now)
    }

    fn has() -> Verdict {
        Verdict::HasIt { others: 0 }
    }

    fn lacks() -> Verdict {
        Verdict::LacksIt {
            alias: None,
            found: 0,
            others: 0,
            rcode: "NXDOMAIN".to_owned(),
            serial: Some(1),
        }
    }

    fn silent() -> Verdict {
        Verdict::Unusable(Unusable::Silent(None))
    }

    fn is_proven(board: &Board, now: Instant) -> bool {
        matches!(board.standing(0, now), Standing::Proven { .. })
    }

    /// Records one verdict for each address in order and says whether that is proof, before and after the grace.
    fn proof(quorum: Quorum, addresses: &[usize], verdicts: &[Verdict]) -> (bool, bool) {
        let (mut board, start) = board(quorum, addresses);
        for (n, verdict) in verdicts.iter().enumerate() {
            board.record((0, n), verdict.clone(), Transport::Udp, start);
        }
        (is_proven(&board, start), is_proven(&board, start + GRACE))
    }

    #[test]
    fn all_means_every_server_that_can_be_used() {
        use Quorum::All;
        assert_eq!(proof(All, &[1, 1], &[has(), has()]), (true, true));
        assert_eq!(proof(All, &[1, 1], &[has(), lacks()]), (false, false));
        assert_eq!(proof(All, &[1, 1], &[has(), silent()]), (false, true));
        assert_eq!(proof(All, &[1, 1], &[silent(), silent()]), (false, false));
        // Not heard of yet is not the same as dead.
        assert_eq!(proof(All, &[1, 1], &[has()]), (false, false));
        // A second address that is not routed here does not hold up its name, and one that lags does.
        assert_eq!(proof(All, &[2, 1], &[has(), silent(), has()]), (true, true));
        assert_eq!(
            proof(All, &[2, 1], &[has(), lacks(), has()]),
            (false, false)
        );
        // A name without any address is as good as dead.
        assert_eq!(proof(All, &[1, 0], &[has()]), (false, true));
        assert_eq!(proof(All, &[0], &[]), (false, false));
        assert_eq!(proof(All, &[], &[]), (false, false));
    }

    #[test]
    fn what_a_resolver_remembers_holds_up_those_who_want_its_agreement() {
        for (advice, proven) in [(Advice::Passing, true), (Advice::Binding, false)] {
            let (mut board, start) = board(Quorum::All, &[1, 1]);
            board.names[0].advice = advice;
            let remembered = Unusable::Remembered("NXDOMAIN".to_owned());
            board.record((0, 0), has(), Transport::Tls, start);
            board.record((0, 1), Verdict::Unusable(remembered), Transport::Tls, start);
            assert!(!is_proven(&board, start));
            assert_eq!(is_proven(&board, start + GRACE), proven, "{advice:?}");
            board.record((0, 1), silent(), Transport::Tls, start);
            assert!(is_proven(&board, start + GRACE), "{advice:?}");
        }
    }

    #[test]
    fn majority_and_any_are_what_they_say() {
        use Quorum::{Any, Majority};
        assert_eq!(proof(Majority, &[1, 1], &[has(), lacks()]), (false, false));
        let two_of_three = [has(), has(), silent()];
        assert_eq!(proof(Majority, &[1, 1, 1], &two_of_three), (true, true));
        let split = [has(), lacks(), has(), silent()];
        assert_eq!(proof(Majority, &[2, 1, 1], &split), (false, false));
        assert_eq!(proof(Any, &[1, 1], &[lacks(), has()]), (true, true));
        assert_eq!(proof(Any, &[1, 1], &[lacks(), silent()]), (false, false));
    }

    #[test]
    fn a_lagging_server_that_falls_silent_still_lags_for_a_while() {
        let (mut board, start) = board(Quorum::All, &[1, 1]);
        let second = Duration::from_secs(1);
        board.record((0, 0), has(), Transport::Udp, start);
        board.record((0, 1), lacks(), Transport::Udp, start);
        let silent_since = start + GRACE;
        board.record((0, 1), silent(), Transport::Udp, silent_since);
        assert!(!is_proven(&board, silent_since + second));
        assert!(is_proven(&board, silent_since + GRACE));
        board.record((0, 1), lacks(), Transport::Udp, silent_since + GRACE);
        assert!(!is_proven(&board, silent_since + GRACE * 2));
    }

    #[test]
    fn only_news_is_told_and_dated() {
        let (mut board, start) = board(Quorum::All, &[1]);
        let second = Duration::from_secs(1);
        assert!(board.record((0, 0), lacks(), Transport::Udp, start));
        let mut newer = lacks();
        if let Verdict::LacksIt { serial, .. } = &mut newer {
            *serial = Some(2);
        }
        assert!(!board.record((0, 0), newer.clone(), Transport::Udp, start + second));
        let seen = board.cell((0, 0)).unwrap().seen.clone().unwrap();
        assert_eq!((seen.since, seen.verdict), (start, newer));
        assert!(board.record((0, 0), has(), Transport::Udp, start + second));
        assert!(!board.is_open((0, 0)));
    }
}
