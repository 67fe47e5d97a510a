//! The zones of a primary, their past, and how far each of its secondaries has come.
//!
//! A secondary runs no task of its own: whoever asks it sees the newest state that is older than its lag. So a lag can
//! be waited out by moving a [`Clock`], exactly.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::zone::Zones;

/// Time as servers and caches see it: tokio's, plus what tests add.
///
/// tokio's own paused time works too, but it runs ahead by itself whenever every task waits for a socket, and so
/// trips the time-outs of clients. This does not.
#[derive(Clone, Debug, Default)]
pub struct Clock(Arc<AtomicU64>);

impl Clock {
    /// A clock that goes with tokio's.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves everything that uses this clock ahead.
    pub fn advance(&self, by: Duration) {
        let nanoseconds = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(nanoseconds, Ordering::SeqCst);
    }

    pub(super) fn now(&self) -> Instant {
        Instant::now() + Duration::from_nanos(self.0.load(Ordering::SeqCst))
    }
}

/// The zones of a primary.
#[derive(Debug)]
pub(super) struct Source {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    current: Arc<Zones>,
    /// States that secondaries may still have to see, with the times at which they began.
    history: VecDeque<(Instant, Arc<Zones>)>,
    /// The longest lag of any secondary; none without secondaries.
    memory: Option<Duration>,
}

impl Source {
    pub(super) fn new(zones: Zones, clock: Clock) -> Self {
        Self {
            clock,
            state: Mutex::new(State {
                current: Arc::new(zones),
                history: VecDeque::new(),
                memory: None,
            }),
        }
    }

    pub(super) fn current(&self) -> Arc<Zones> {
        Arc::clone(&self.lock().current)
    }

    /// Changes zones. `edit` also says whether it did.
    pub(super) fn edit<T>(&self, edit: impl FnOnce(&mut Zones) -> (T, bool)) -> T {
        let mut state = self.lock();
        let (result, changed) = edit(Arc::make_mut(&mut state.current));
        if let (true, Some(memory)) = (changed, state.memory) {
            let now = self.clock.now();
            // A state is forgotten once its successor is old enough for everybody.
            while state
                .history
                .get(1)
                .is_some_and(|(began, _)| *began + memory <= now)
            {
                state.history.pop_front();
            }
            let current = Arc::clone(&state.current);
            state.history.push_back((now, current));
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one server sees of a source.
#[derive(Debug)]
pub(super) struct View {
    pub(super) source: Arc<Source>,
    follower: Option<Follower>,
}

/// A secondary.
#[derive(Debug)]
struct Follower {
    lag: Duration,
    /// What it sees while no change is old enough.
    base: Mutex<Arc<Zones>>,
    /// Whether it sees nothing but the base.
    held: Mutex<bool>,
}

impl View {
    pub(super) fn primary(source: Arc<Source>) -> Self {
        Self {
            source,
            follower: None,
        }
    }

    pub(super) fn secondary(source: Arc<Source>, lag: Duration, held: bool) -> Self {
        let base = {
            let mut state = source.lock();
            state.memory = state.memory.max(Some(lag));
            Arc::clone(&state.current)
        };
        Self {
            source,
            follower: Some(Follower {
                lag,
                base: Mutex::new(base),
                held: Mutex::new(held),
            }),
        }
    }

    pub(super) fn is_primary(&self) -> bool {
        self.follower.is_none()
    }

    pub(super) fn zones(&self) -> Arc<Zones> {
        let Some(follower) = &self.follower else {
            return self.source.current();
        };
        let mut base = follower.base.lock().unwrap_or_else(PoisonError::into_inner);
        let held = follower.held.lock().unwrap_or_else(PoisonError::into_inner);
        if !*held {
            let now = self.source.clock.now();
            let state = self.source.lock();
            let visible = |(began, _): &&(Instant, _)| *began + follower.lag <= now;
            if let Some((_, zones)) = state.history.iter().rev().find(visible) {
                *base = Arc::clone(zones);
            }
        }
        Arc::clone(&base)
    }

    /// Stops or resumes following. A held secondary keeps what it shows now.
    pub(super) fn hold(&self, held: bool) {
        if let Some(follower) = &self.follower {
            self.zones();
            *follower.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
        }
    }
}
