//! The anti-replay nonces of one CA (RFC 8555 section 6.5), shared by everything that signs requests.
//!
//! Each nonce is handed to exactly one request, and each answer brings the next. So one nonce carries one request
//! after the other, and concurrency costs one extra `HEAD newNonce` for each request more that is under way. That is
//! paid only where it buys time: a request that finds the pool dry first waits, in line, for what comes back.
//! A nonce that has grown stale is not our concern: badNonce brings a fresh one.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::error::AcmeError;

/// The nonces at hand, and who waits for one; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct NoncePool {
    state: Arc<Mutex<State>>,
    fetches: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct State {
    free: VecDeque<String>,
    /// Handed out, and nothing come back for them yet.
    outstanding: usize,
    /// How long the CA takes to answer, a moving average.
    typical_answer: Option<Duration>,
    waiting: VecDeque<oneshot::Sender<Word>>,
}

#[derive(Debug)]
enum Word {
    /// Here is one.
    Nonce(Nonce),
    /// Nothing is under way any more that could bring one.
    FetchOne,
}

impl NoncePool {
    pub(super) fn new() -> Self {
        Self {
            state: Arc::default(),
            fetches: Arc::new(Semaphore::new(MAX_FETCHES)),
        }
    }

    /// A nonce: from the pool, from an answer that is under way, or by `fetch`.
    pub(super) async fn take<F, Fut>(&self, fetch: F) -> Result<Nonce, AcmeError>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<String, AcmeError>>,
    {
        let (mut word, patience) = {
            let mut state = self.lock();
            if let Some(value) = state.free.pop_front() {
                drop(state);
                return Ok(self.adopt(value));
            }
            let (sender, receiver) = oneshot::channel();
            state.waiting.push_back(sender);
            (receiver, state.patience())
        };

        if let Ok(Ok(Word::Nonce(nonce))) = timeout(patience, &mut word).await {
            return Ok(nonce);
        }
        // Still in line while others fetch, unless the line has been told that nothing will come.
        let permit = match word.is_terminated() {
            true => self.fetches.acquire().await,
            false => tokio::select! {
                biased;
                Ok(Word::Nonce(nonce)) = &mut word => return Ok(nonce),
                permit = self.fetches.acquire() => permit,
            },
        };
        // From here on others may expect that this fetch brings something back.
        let begun = Outstanding::begin(self);
        let fetched = fetch().await;
        drop(permit);
        word.close();
        let nonce = match (word.try_recv(), fetched) {
            (Ok(Word::Nonce(early)), fetched) => {
                fetched.into_iter().for_each(|value| self.put(value));
                early
            }
            (_, fetched) => self.adopt(fetched?),
        };
        drop(begun);
        Ok(nonce)
    }

    /// Takes a nonce out of an answer straight into the next request, as badNonce demands.
    pub(super) fn adopt(&self, value: String) -> Nonce {
        self.lock().outstanding += 1;
        Nonce {
            value,
            _outstanding: Outstanding(self.clone()),
        }
    }

    /// Gives what an answer brought to whoever waits longest, or keeps it.
    pub(super) fn put(&self, value: String) {
        // Counted as handed out from now on, so that nobody believes that nothing is under way.
        let mut nonce = self.adopt(value);
        loop {
            let mut state = self.lock();
            let Some(sender) = state.waiting.pop_front() else {
                state.free.push_back(mem::take(&mut nonce.value));
                while state.free.len() > MAX_FREE {
                    state.free.pop_front();
                }
                return;
            };
            drop(state);
            match sender.send(Word::Nonce(nonce)) {
                // That one has given up waiting.
                Err(Word::Nonce(back)) => nonce = back,
                Ok(()) | Err(Word::FetchOne) => return,
            }
        }
    }

    /// Learns how long an answer took.
    pub(super) fn answered(&self, elapsed: Duration) {
        let mut state = self.lock();
        state.typical_answer = Some(match state.typical_answer {
            Some(typical) => (typical * 7 + elapsed) / 8,
            None => elapsed,
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, and the state is whole at every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// How long to wait for a nonce that somebody else's answer brings.
    fn patience(&self) -> Duration {
        match (self.outstanding, self.typical_answer) {
            (0, _) => Duration::ZERO,
            (_, Some(typical)) if typical < QUICK_ANSWER => LONG_PATIENCE,
            _ => PATIENCE,
        }
    }
}

/// A nonce that one request may use; what depends on its answer is told when this is dropped.
#[derive(Debug)]
pub(super) struct Nonce {
    value: String,
    _outstanding: Outstanding,
}

impl Nonce {
    pub(super) fn as_str(&self) -> &str {
        &self.value
    }
}

#[derive(Debug)]
struct Outstanding(NoncePool);

impl Outstanding {
    fn begin(pool: &NoncePool) -> Self {
        pool.lock().outstanding += 1;
        Self(pool.clone())
    }
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.outstanding -= 1;
        // The last answer brought nothing: the one who waits longest has to fetch, and brings one for the next.
        while state.outstanding == 0
            && let Some(sender) = state.waiting.pop_front()
        {
            if sender.send(Word::FetchOne).is_ok() {
                return;
            }
        }
    }
}

/// How long a request waits for a nonce that an answer brings before it fetches one. An order of a hundred names then
/// needs 206 requests and a few looks at the order, not one `HEAD` for each that is under way (at most 2·100 + 10).
const PATIENCE: Duration = Duration::from_millis(100);
/// A CA that answers faster than this serves two hundred requests, one after the other, in 6 s at most: one nonce
/// going round is enough, and those in line wait for it.
const QUICK_ANSWER: Duration = Duration::from_millis(30);
const LONG_PATIENCE: Duration = Duration::from_secs(2);
/// Let's Encrypt takes 20 newNonce requests a second from one address.
const MAX_FETCHES: usize = 4;
/// More than are ever under way at once.
const MAX_FREE: usize = 64;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;

    use futures::StreamExt;
    use futures::stream;
    use tokio::time::Instant;
    use tokio::time::sleep;

    use super::*;

    struct Ca {
        fetched: AtomicUsize,
        latency: Duration,
        pool: NoncePool,
    }

    impl Ca {
        fn new(latency: u64) -> Self {
            Self {
                fetched: AtomicUsize::new(0),
                latency: Duration::from_millis(latency),
                pool: NoncePool::new(),
            }
        }

        async fn nonce(&self) -> Nonce {
            let fetch = || async {
                let number = self.fetched.fetch_add(1, Ordering::Relaxed);
                sleep(self.latency).await;
                Ok(format!("head{number}"))
            };
            self.pool.take(fetch).await.unwrap()
        }

        /// One request that spends a nonce and brings one back.
        async fn request(&self, number: usize) -> String {
            let nonce = self.nonce().await;
            sleep(self.latency).await;
            self.pool.answered(self.latency);
            self.pool.put(format!("post{number}"));
            nonce.as_str().to_owned()
        }

        async fn burst(&self) -> Vec<String> {
            self.request(1000).await;
            stream::iter(0..100)
                .map(|number| self.request(number))
                .buffer_unordered(16)
                .collect()
                .await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_quick_ca_needs_one_fetch_for_a_hundred_requests() {
        let ca = Ca::new(5);
        let mut used = ca.burst().await;
        assert_eq!(ca.fetched.load(Ordering::Relaxed), 1);
        used.sort();
        used.dedup();
        assert_eq!(used.len(), 100, "a nonce was used twice");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_ca_is_asked_by_many_at_once() {
        let ca = Ca::new(200);
        let begin = Instant::now();
        let mut used = ca.burst().await;
        // One after the other it would be 20 s.
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "{:?}",
            begin.elapsed()
        );
        assert!(ca.fetched.load(Ordering::Relaxed) <= 17);
        used.sort();
        used.dedup();
        assert_eq!(used.len(), 100, "a nonce was used twice");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_an_answer_that_cannot_come() {
        let ca = Ca::new(5);
        let first = ca.nonce().await;
        ca.pool.answered(Duration::from_millis(5));
        let begin = Instant::now();
        let (second, third, ()) = tokio::join!(ca.nonce(), ca.nonce(), async {
            sleep(Duration::from_millis(1)).await;
            // Its answer brought no nonce.
            drop(first);
        });
        assert!(begin.elapsed() < LONG_PATIENCE * 2, "{:?}", begin.elapsed());
        assert_ne!(second.as_str(), third.as_str());
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_gave_up_take_no_nonce() {
        let ca = Ca::new(5);
        let first = ca.nonce().await;
        assert!(
            timeout(Duration::from_millis(10), ca.nonce())
                .await
                .is_err()
        );
        ca.pool.put("fresh".to_owned());
        drop(first);
        assert_eq!(ca.nonce().await.as_str(), "fresh");
        assert_eq!(ca.fetched.load(Ordering::Relaxed), 1);
    }
}
