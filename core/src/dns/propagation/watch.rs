//! One wait or one look: who asks which address when, and who looks at what came of it.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::future;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use hickory_proto::rr::RecordType;
use tokio::sync::Notify;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::sleep_until;

use super::Propagation;
use super::Proven;
use super::probe::probe;
use super::report::NameReport;
use super::report::Report;
use super::report::Row;
use super::verdict::Asked;
use super::verdict::Board;
use super::verdict::NameState;
use super::verdict::Standing;
use super::verdict::Unusable;
use super::verdict::Verdict;
use crate::dns::DomainName;
use crate::dns::query::Transport;
use crate::dns::query::Upstream;
use crate::event::What;

/// One wait or one look: the board, and everybody who writes on it.
pub(super) struct Watch<'a> {
    board: Mutex<Board>,
    changed: Notify,
    /// When somebody first showed values that are looked for.
    shown: watch::Sender<Option<Instant>>,
    on: &'a Propagation,
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        on: &'a Propagation,
        asked: Vec<Asked>,
        grace: Duration,
        started: Instant,
    ) -> Self {
        Self {
            board: Mutex::new(Board::new(asked, grace, started)),
            changed: Notify::new(),
            shown: watch::Sender::new(None),
            on,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Board> {
        // Nothing that holds the lock can panic half-way through a change.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks one address in rounds, until it has shown every value or nobody needs it any more.
    pub(super) async fn follow(&self, address: Upstream, places: Vec<(usize, usize)>) {
        let mut pause = FIRST_PAUSE;
        let mut heard = false;
        loop {
            self.round(&address, &places, &mut heard).await;
            if !places.iter().any(|&place| self.lock().is_open(place)) {
                return;
            }
            // Where one server shows the values, the others are not far behind.
            let mut news = self.shown.subscribe();
            let shown = *news.borrow_and_update();
            let rest = match shown {
                Some(since) if since.elapsed() < NEAR => pause.min(NEAR_PAUSE),
                _ => pause,
            };
            tokio::select! {
                () = sleep(rest) => {}
                Ok(()) = news.changed() => sleep(rest.min(FIRST_PAUSE)).await,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Asks one address once for all the names that still wait for it. `heard` says whether it answered last time.
    pub(super) async fn round(
        &self,
        address: &Upstream,
        places: &[(usize, usize)],
        heard: &mut bool,
    ) {
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
                    self.record(place, verdict.clone(), Transport::Tcp);
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
    async fn ask(&self, address: &Upstream, place: (usize, usize)) -> Option<Verdict> {
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

    fn record(&self, place: (usize, usize), verdict: Verdict, transport: Transport) {
        let text = verdict.to_string();
        if verdict.has_it() {
            let now = Instant::now();
            self.shown.send_if_modified(|shown| {
                let first = shown.is_none();
                shown.get_or_insert(now);
                first
            });
        }
        let mut board = self.lock();
        if board.record(place, verdict, transport, Instant::now())
            && let Some(name) = board.names.get(place.0)
            && let Some(cell) = name.cells.get(place.1)
        {
            self.on.events.emit(What::Verdict {
                owner: name.wanted.owner.clone(),
                server: name.member(cell.server),
                address: cell.address.clone(),
                verdict: text,
            });
        }
        drop(board);
        self.changed.notify_one();
    }

    /// Looks at the board whenever it changes, until all names are proven or the time is up. With `unheard` also until all that
    /// are not proven are such that nobody has answered a question about them for so long. In a hurry, the time is also up when
    /// others are too far behind the first that shows the values.
    pub(super) async fn judge(
        &self,
        deadline: Instant,
        unheard: Option<Instant>,
        mut on_proven: impl FnMut(Proven) + Send,
    ) -> End {
        let mut warned = BTreeSet::new();
        loop {
            let now = Instant::now();
            for (proven, broken) in self.prove(now) {
                for server in broken {
                    if self.on.hurry.is_none() && warned.insert(server.clone()) {
                        self.warn(proven.index, &server);
                    }
                }
                on_proven(proven);
            }
            if self.lock().names.iter().all(|name| name.proven) {
                return End::Proven;
            }
            let shown = *self.shown.borrow();
            let late = |lag| shown.is_some_and(|since| now.duration_since(since) > lag);
            if now >= deadline || self.on.hurry.is_some_and(|hurry| late(hurry.lag)) {
                return End::TimeIsUp;
            }
            if unheard.is_some_and(|from| now >= from) && self.is_unheard() {
                return End::Unheard;
            }
            // Time alone can prove a name, too: graces run out.
            let tick = deadline.min(now + BOARD_TICK);
            tokio::select! {
                () = self.changed.notified() => {}
                () = sleep_until(tick) => {}
            }
        }
    }

    /// Whether nobody has ever answered about any name that is not proven.
    fn is_unheard(&self) -> bool {
        let board = self.lock();
        let mut open = board.names.iter().filter(|name| !name.proven);
        open.all(NameState::is_unheard)
    }

    /// Marks the names that have come to be proven, and gives them back with the servers that were passed over.
    pub(super) fn prove(&self, now: Instant) -> Vec<(Proven, Vec<String>)> {
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
                let broken = broken.into_iter().map(|b| name.member(b));
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
        let is_resolver = name.cells.iter().any(|cell| cell.address.is_recursive());
        if is_resolver {
            let message = format!("{server} does not help to see the value: {why}; others show it");
            self.on.events.warn(message, None);
            return;
        }
        self.on.events.warn(
            format!("name server {server} of {zone} is of no use: {why}; the others have the value"),
            Some(format!(
                "repair {server} or take it out of the NS records of {zone}; a CA that happens to ask it has to ask again"
            )),
        );
    }

    /// Asks every usable address of a zone that somebody lags behind in for its serial number.
    pub(super) async fn find_serials(&self) {
        let mut questions = BTreeSet::new();
        {
            let board = self.lock();
            for name in board.names.iter().filter(|name| !name.proven) {
                for cell in &name.cells {
                    let usable = cell
                        .seen
                        .as_ref()
                        .is_some_and(|seen| !matches!(seen.verdict, Verdict::Unusable(_)));
                    if usable && !cell.address.is_recursive() {
                        questions.insert((name.wanted.zone.zone.clone(), cell.address.clone()));
                    }
                }
            }
        }
        let found: Vec<((DomainName, Upstream), u32)> = stream::iter(questions)
            .map(|(zone, address)| async move {
                let asker = &self.on.asker;
                let reply = asker.ask_upstream(&address, &zone, RecordType::SOA).await;
                let soa = reply.ok().filter(|r| r.authoritative)?.soa()?;
                Some(((zone, address), soa.serial))
            })
            .buffer_unordered(SERIAL_QUESTIONS)
            .filter_map(future::ready)
            .collect()
            .await;
        self.lock().serials = found.into_iter().collect();
    }

    pub(super) fn report(&self) -> Report {
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
        name: &NameState,
        serials: &HashMap<(DomainName, Upstream), u32>,
        now: Instant,
    ) -> NameReport {
        let zone = &name.wanted.zone;
        let mut rows = Vec::new();
        for (index, server) in name.panel.0.iter().enumerate() {
            let mut found = false;
            for cell in name.cells.iter().filter(|cell| cell.server == index) {
                found = true;
                let verdict = cell.seen.as_ref().map(|seen| seen.verdict.clone());
                let told = match &verdict {
                    Some(Verdict::LacksIt { serial, .. }) => *serial,
                    _ => None,
                };
                let asked = serials.get(&(zone.zone.clone(), cell.address.clone()));
                rows.push(Row {
                    server: server.name.clone(),
                    address: cell.address.address(),
                    transport: cell.seen.as_ref().map(|seen| seen.transport),
                    since: cell
                        .seen
                        .as_ref()
                        .map_or(Duration::ZERO, |seen| now.duration_since(seen.since)),
                    verdict,
                    zone_serial: asked.copied().or(told),
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
            rung: None,
            values: name.wanted.values.clone(),
            rows,
        }
    }
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// Every name is proven.
    Proven,
    /// The time is up.
    TimeIsUp,
    /// Nobody answers at all.
    Unheard,
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
/// Once somebody shows the values: so that the wait ends within a second after the last one does.
const NEAR_PAUSE: Duration = Duration::from_millis(700);
/// A server that is further behind than this is asked less often again.
const NEAR: Duration = Duration::from_secs(60);
/// Response rate limits of name servers begin at a few answers a second and address.
const QUESTIONS_AT_ONE_ADDRESS: usize = 8;
/// For the report only.
const SERIAL_QUESTIONS: usize = 16;
