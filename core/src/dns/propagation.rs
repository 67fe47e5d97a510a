//! Proof that the servers a CA will ask show the values.
//!
//! [`Propagation::await_visible`] asks every address of every authoritative server for each owner name until the quorum
//! is reached or the time is up. A first look is taken at once, then quickly, then slower; each address has a rhythm of
//! its own, so that a dead one holds up nobody, and one round at an address serves all the names that still wait for it.
//! No recursive resolver is asked. What came of it is a [`Report`], also when it fails.

mod probe;
mod report;
mod verdict;

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use futures::stream;
use hickory_proto::rr::RecordType;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use self::probe::probe;
pub use self::report::NameReport;
pub use self::report::Report;
pub use self::report::Row;
use self::verdict::Board;
pub use self::verdict::Quorum;
use self::verdict::Standing;
pub use self::verdict::Unusable;
pub use self::verdict::Verdict;
use crate::dns::DomainName;
use crate::dns::TxtValue;
use crate::dns::discovery::ZoneServers;
use crate::dns::query::Asker;
use crate::dns::query::Transport;
use crate::event::Events;
use crate::event::What;

/// When a value counts as visible, and how long to wait for that.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PropagationPolicy {
    /// How many servers have to show the values.
    pub quorum: Quorum,
    /// How long to wait at most.
    pub timeout: Duration,
    /// How long a server that is of no use at any of its addresses holds up [`Quorum::All`], counted from the start.
    pub grace: Duration,
    /// How long to wait on after the proof, for anycast services; at most ten minutes count.
    pub settle: Duration,
}

impl Default for PropagationPolicy {
    fn default() -> Self {
        Self {
            quorum: Quorum::All,
            timeout: Duration::from_secs(5 * 60),
            grace: Duration::from_secs(10),
            settle: Duration::ZERO,
        }
    }
}

/// Values that have to be visible at one owner name.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The zone and its servers.
    pub zone: Arc<ZoneServers>,
    /// The final owner name.
    pub owner: DomainName,
    /// All of them have to be there; others do not matter.
    pub values: Vec<TxtValue>,
}

/// One owner name whose values are visible.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proven {
    /// Its place in what was asked for.
    pub index: usize,
    /// The owner name.
    pub owner: DomainName,
}

/// Looks at authoritative servers, once or until the values are there.
#[derive(Clone, Debug)]
pub struct Propagation {
    asker: Asker,
    events: Events,
    policy: PropagationPolicy,
}

impl Propagation {
    /// A propagation check that tells `events` about each verdict that changes.
    pub fn new(asker: Asker, policy: PropagationPolicy, events: Events) -> Self {
        Self {
            asker,
            events,
            policy,
        }
    }

    /// Waits until every name is proven, and for the settle time after that.
    ///
    /// # Errors
    ///
    /// When the time is up, with the report; when cancelled.
    pub async fn await_visible(
        &self,
        wanted: Vec<Wanted>,
        cancel: &CancellationToken,
    ) -> Result<Report, PropagationError> {
        self.await_visible_each(wanted, cancel, |_| {}).await
    }

    /// As [`Self::await_visible`], and tells of each name as soon as it is proven.
    pub async fn await_visible_each(
        &self,
        wanted: Vec<Wanted>,
        cancel: &CancellationToken,
        on_proven: impl FnMut(Proven) + Send,
    ) -> Result<Report, PropagationError> {
        let started = Instant::now();
        let watch = Watch::new(self, wanted, self.policy.grace, started);
        let probing = async {
            let addresses = watch.lock().by_address();
            join_all(addresses.into_iter().map(|(a, p)| watch.follow(a, p))).await;
            // All that is left to wait for is the grace of servers without an address.
            future::pending::<()>().await;
        };
        let all_proven = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(PropagationError::Cancelled),
            all_proven = watch.judge(started + self.policy.timeout, on_proven) => all_proven,
            () = probing => false,
        };

        if !all_proven {
            watch.find_serials().await;
            return Err(PropagationError::NotVisible {
                report: Box::new(watch.report()),
                waited: started.elapsed(),
            });
        }
        self.settle(cancel).await?;
        Ok(watch.report())
    }

    /// Looks once at every address, whatever it says. Broken servers are passed over at once.
    pub async fn look(&self, wanted: &[Wanted]) -> Report {
        let watch = Watch::new(self, wanted.to_vec(), Duration::ZERO, Instant::now());
        let addresses = watch.lock().by_address();
        let rounds = addresses.iter().map(|(address, places)| async {
            let mut heard = false;
            watch.round(*address, places, &mut heard).await;
        });
        join_all(rounds).await;
        watch.prove(Instant::now());
        if !watch.lock().names.iter().all(|name| name.proven) {
            watch.find_serials().await;
        }
        watch.report()
    }

    async fn settle(&self, cancel: &CancellationToken) -> Result<(), PropagationError> {
        let settle = self.policy.settle.min(LONGEST_SETTLE);
        if settle.is_zero() {
            return Ok(());
        }
        self.events.emit(What::Waiting {
            reason: "the change to settle at every location of the name servers".to_owned(),
            at_most: Some(settle),
        });
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(PropagationError::Cancelled),
            () = sleep(settle) => Ok(()),
        }
    }
}

/// Why the values are not known to be visible.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PropagationError {
    /// The run was told to end.
    #[error("stopped while waiting for name servers to show the TXT values")]
    Cancelled,
    /// The time is up.
    #[error("{} after {}", report.summary(), report::brief(*waited))]
    NotVisible {
        /// What every server said last.
        report: Box<Report>,
        /// How long it was waited.
        waited: Duration,
    },
}

impl PropagationError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let Self::NotVisible { report, .. } = self else {
            return None;
        };
        let name = report.unproven().next()?;
        let verdicts = || name.rows.iter().filter_map(|row| row.verdict.as_ref());
        let check = format!("`dnseal dns check {} --watch`", name.owner);
        let someone_has = verdicts().any(Verdict::has_it);
        let behind = name
            .rows
            .iter()
            .find(|row| row.verdict.as_ref().is_some_and(Verdict::lacks_it));
        Some(match (behind, someone_has) {
            (Some(row), true) => {
                format!("{} has not taken over the newest version of the zone; see {check}", row.server)
            }
            (Some(_), false) => format!(
                "no server has the value: whatever wrote it does not feed these servers, or is slow; see {check}"
            ),
            (None, true) => format!("the other servers do not answer; see {check}"),
            (None, false) => {
                "no server answered: if port 53 is closed here, name servers that can be reached with `--nameserver`, or choose another proof with `--propagation`".to_owned()
            }
        })
    }
}

/// One wait or one look: the board, and everybody who writes on it.
struct Watch<'a> {
    board: Mutex<Board>,
    changed: Notify,
    on: &'a Propagation,
}

impl<'a> Watch<'a> {
    fn new(on: &'a Propagation, wanted: Vec<Wanted>, grace: Duration, started: Instant) -> Self {
        Self {
            board: Mutex::new(Board::new(wanted, on.policy.quorum, grace, started)),
            changed: Notify::new(),
            on,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        // Nothing that holds the lock can panic half-way through a change.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks one address in rounds, until it has shown every value or nobody needs it any more.
    async fn follow(&self, address: SocketAddr, places: Vec<(usize, usize)>) {
        let mut pause = FIRST_PAUSE;
        let mut heard = false;
        loop {
            self.round(address, &places, &mut heard).await;
            if !places.iter().any(|&place| self.lock().is_open(place)) {
                return;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Asks one address once for all the names that still wait for it. `heard` says whether it answered last time.
    async fn round(&self, address: SocketAddr, places: &[(usize, usize)], heard: &mut bool) {
        let open: Vec<(usize, usize)> = {
            let board = self.lock();
            let mut open = places.to_vec();
            open.retain(|&place| board.is_open(place));
            open
        };
        let mut rest = open.as_slice();
        if !*heard {
            // One question first: a dead address costs one time-out a round, however many names wait for it.
            let Some((&first, others)) = open.split_first() else {
                return;
            };
            let verdict = self.ask(address, first).await;
            *heard = !is_silent(verdict.as_ref());
            if let (false, Some(verdict)) = (*heard, verdict) {
                for &place in others {
                    self.record(place, verdict.clone(), None);
                }
                return;
            }
            rest = others;
        }
        let asked: Vec<bool> = stream::iter(rest.iter().copied())
            .map(|place| async move { is_silent(self.ask(address, place).await.as_ref()) })
            .buffer_unordered(QUESTIONS_AT_ONE_ADDRESS)
            // One that has fallen silent is not asked for the rest; the next round begins with one question.
            .scan(false, |stop, silent| {
                let end = *stop;
                *stop |= silent;
                future::ready((!end).then_some(silent))
            })
            .collect()
            .await;
        *heard = !asked.contains(&true);
    }

    /// One question, its verdict written down; `None` where it is no longer needed.
    async fn ask(&self, address: SocketAddr, place: (usize, usize)) -> Option<Verdict> {
        let wanted = {
            let board = self.lock();
            if !board.is_open(place) {
                return None;
            }
            board.names.get(place.0)?.wanted.clone()
        };
        let (verdict, transport) = probe(&self.on.asker, address, &wanted).await;
        self.record(place, verdict.clone(), transport);
        Some(verdict)
    }

    fn record(&self, place: (usize, usize), verdict: Verdict, transport: Option<Transport>) {
        let text = verdict.to_string();
        let mut board = self.lock();
        if board.record(place, verdict, transport, Instant::now())
            && let Some(name) = board.names.get(place.0)
            && let Some(cell) = name.cells.get(place.1)
        {
            self.on.events.emit(What::Verdict {
                owner: name.wanted.owner.clone(),
                server: name.wanted.server_name(cell.server),
                address: cell.address,
                verdict: text,
            });
        }
        drop(board);
        self.changed.notify_one();
    }

    /// Looks at the board whenever it changes; answers whether all names were proven in time.
    async fn judge(&self, deadline: Instant, mut on_proven: impl FnMut(Proven) + Send) -> bool {
        let mut warned = BTreeSet::new();
        loop {
            let now = Instant::now();
            for (proven, broken) in self.prove(now) {
                for server in broken {
                    if warned.insert(server.clone()) {
                        self.warn(proven.index, &server);
                    }
                }
                on_proven(proven);
            }
            if self.lock().names.iter().all(|name| name.proven) {
                return true;
            }
            if now >= deadline {
                return false;
            }
            // Time alone can prove a name, too: graces run out.
            let tick = deadline.min(now + BOARD_TICK);
            tokio::select! {
                () = self.changed.notified() => {}
                () = sleep_until(tick) => {}
            }
        }
    }

    /// Marks the names that have come to be proven, and gives them back with the servers that were passed over.
    fn prove(&self, now: Instant) -> Vec<(Proven, Vec<String>)> {
        let mut board = self.lock();
        let mut newly = Vec::new();
        for index in 0..board.names.len() {
            if board.names.get(index).is_none_or(|name| name.proven) {
                continue;
            }
            let Standing::Proven { broken } = board.standing(index, now) else {
                continue;
            };
            if let Some(name) = board.names.get_mut(index) {
                name.proven = true;
                let owner = name.wanted.owner.clone();
                let broken = broken.into_iter().map(|b| name.wanted.server_name(b));
                newly.push((Proven { index, owner }, broken.collect()));
            }
        }
        newly
    }

    fn warn(&self, index: usize, server: &str) {
        let board = self.lock();
        let Some(name) = board.names.get(index) else {
            return;
        };
        let report = self.name_report(name, &HashMap::new(), Instant::now());
        let why = report
            .rows
            .iter()
            .find(|row| row.server == server)
            .and_then(|row| match &row.verdict {
                Some(verdict) => Some(verdict.to_string()),
                None => row.problem.clone(),
            })
            .unwrap_or_else(|| "no answer".to_owned());
        let zone = &name.wanted.zone.zone;
        self.on.events.warn(
            format!("name server {server} of {zone} is of no use: {why}; the others have the value"),
            Some(format!(
                "repair {server} or take it out of the NS records of {zone}; a CA that happens to ask it has to ask again"
            )),
        );
    }

    /// Asks every usable address of a zone that somebody lags behind in for its serial number.
    async fn find_serials(&self) {
        let mut questions = BTreeSet::new();
        {
            let board = self.lock();
            for name in board.names.iter().filter(|name| !name.proven) {
                for cell in &name.cells {
                    let usable = cell
                        .seen
                        .as_ref()
                        .is_some_and(|seen| !matches!(seen.verdict, Verdict::Unusable(_)));
                    if usable {
                        questions.insert((name.wanted.zone.zone.clone(), cell.address));
                    }
                }
            }
        }
        let found: Vec<((DomainName, SocketAddr), u32)> = stream::iter(questions)
            .map(|(zone, address)| async move {
                let reply = self.on.asker.ask(address, &zone, RecordType::SOA).await;
                let soa = reply.ok().filter(|r| r.authoritative)?.soa()?;
                Some(((zone, address), soa.serial))
            })
            .buffer_unordered(SERIAL_QUESTIONS)
            .filter_map(future::ready)
            .collect()
            .await;
        self.lock().serials = found.into_iter().collect();
    }

    fn report(&self) -> Report {
        let now = Instant::now();
        let board = self.lock();
        let names = board
            .names
            .iter()
            .map(|name| self.name_report(name, &board.serials, now))
            .collect();
        Report { names }
    }

    fn name_report(
        &self,
        name: &verdict::NameState,
        serials: &HashMap<(DomainName, SocketAddr), u32>,
        now: Instant,
    ) -> NameReport {
        let zone = &name.wanted.zone;
        let mut rows = Vec::new();
        for (index, server) in zone.servers.iter().enumerate() {
            let mut found = false;
            for cell in name.cells.iter().filter(|cell| cell.server == index) {
                found = true;
                let verdict = cell.seen.as_ref().map(|seen| seen.verdict.clone());
                let told = match &verdict {
                    Some(Verdict::LacksIt { serial, .. }) => *serial,
                    _ => None,
                };
                let asked = serials.get(&(zone.zone.clone(), cell.address)).copied();
                rows.push(Row {
                    server: server.name.clone(),
                    address: Some(cell.address),
                    transport: cell.seen.as_ref().and_then(|seen| seen.transport),
                    since: cell
                        .seen
                        .as_ref()
                        .map_or(Duration::ZERO, |seen| now.duration_since(seen.since)),
                    verdict,
                    zone_serial: asked.or(told),
                    problem: server.problem.clone(),
                });
            }
            if !found {
                let problem = server.problem.clone();
                rows.push(Row {
                    server: server.name.clone(),
                    address: None,
                    transport: None,
                    verdict: None,
                    since: Duration::ZERO,
                    zone_serial: None,
                    problem: problem.or_else(|| Some("no address".to_owned())),
                });
            }
        }
        NameReport {
            owner: name.wanted.owner.clone(),
            zone: zone.zone.clone(),
            proven: name.proven,
            rows,
        }
    }
}

impl Wanted {
    fn server_name(&self, server: usize) -> String {
        let server = self.zone.servers.get(server);
        server.map(|s| s.name.clone()).unwrap_or_default()
    }
}

fn is_silent(verdict: Option<&Verdict>) -> bool {
    matches!(verdict, Some(Verdict::Unusable(Unusable::Silent(_))))
}

/// Time alone changes what the board says only by graces, which are longer.
const BOARD_TICK: Duration = Duration::from_millis(250);
/// After the first look; a hidden primary notifies its secondaries within about this time.
const FIRST_PAUSE: Duration = Duration::from_millis(150);
/// Longer would waste time once the value is there; shorter would be a burden for a slow provider.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Longer than any service says it needs.
const LONGEST_SETTLE: Duration = Duration::from_secs(10 * 60);
/// Response rate limits of name servers begin at a few answers a second and address.
const QUESTIONS_AT_ONE_ADDRESS: usize = 8;
/// For the report only.
const SERIAL_QUESTIONS: usize = 16;
