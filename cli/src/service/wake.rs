//! Waiting for a moment of the wall clock, which certificates live by.
//!
//! The monotonic clock of ordinary timers stands still while a machine sleeps, and knows nothing of a clock that is set. Linux has
//! timers on the wall clock that end as well when it is set ([timerfd_create(2)], `TFD_TIMER_CANCEL_ON_SET`); elsewhere the wall clock is
//! looked at every minute.
//!
//! [timerfd_create(2)]: https://man7.org/linux/man-pages/man2/timerfd_create.2.html

use std::time::Duration;

use jiff::SignedDuration;
use jiff::Timestamp;
use tokio::time::Instant;

/// Why waiting has ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Woken {
    /// The wall clock was set.
    ClockSet,
    /// The moment has come.
    Due,
}

/// Waits until the wall clock shows `at`, or is set.
pub(crate) async fn until(at: Timestamp) -> Woken {
    #[cfg(target_os = "linux")]
    if let Some(woken) = timer::until(at).await {
        return woken;
    }
    by_looking(at, Timestamp::now).await
}

/// The same for systems without such timers.
async fn by_looking(at: Timestamp, now: impl Fn() -> Timestamp) -> Woken {
    let (began, began_by_wall) = (Instant::now(), now());
    loop {
        let left = Duration::try_from(at.duration_since(now())).unwrap_or_default();
        if left.is_zero() {
            return Woken::Due;
        }
        tokio::time::sleep(left.min(LOOK)).await;
        let passed = SignedDuration::try_from(began.elapsed()).unwrap_or_default();
        let by_wall = now().duration_since(began_by_wall);
        if (by_wall - passed).abs() > JUMP {
            return Woken::ClockSet;
        }
    }
}

#[cfg(target_os = "linux")]
mod timer {
    use std::os::fd::OwnedFd;

    use jiff::Timestamp;
    use rustix::io::Errno;
    use rustix::time::Itimerspec;
    use rustix::time::TimerfdClockId;
    use rustix::time::TimerfdFlags;
    use rustix::time::TimerfdTimerFlags;
    use rustix::time::Timespec;
    use tokio::io::unix::AsyncFd;

    use super::Woken;

    /// `None` where the system has no such timer.
    pub(super) async fn until(at: Timestamp) -> Option<Woken> {
        let timer = armed(at).ok()?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe, which nothing here is; an owned descriptor keeps what that one asks for"
        )]
        let timer = AsyncFd::new(timer).ok()?;
        loop {
            let mut ready = timer.readable().await.ok()?;
            let mut count = [0; 8];
            match rustix::io::read(timer.get_ref(), &mut count) {
                Ok(_) => return Some(Woken::Due),
                Err(Errno::CANCELED) => return Some(Woken::ClockSet),
                Err(Errno::AGAIN | Errno::INTR) => ready.clear_ready(),
                Err(_) => return None,
            }
        }
    }

    fn armed(at: Timestamp) -> Result<OwnedFd, Errno> {
        let timer = rustix::time::timerfd_create(
            TimerfdClockId::Realtime,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // Zero would disarm it.
        let value = Timespec {
            tv_sec: at.as_second().max(1),
            tv_nsec: at.subsec_nanosecond().max(0).into(),
        };
        rustix::time::timerfd_settime(
            &timer,
            TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET,
            &Itimerspec {
                it_interval: zero,
                it_value: value,
            },
        )?;
        Ok(timer)
    }
}

/// How often the wall clock is looked at where nothing tells that it was set.
const LOOK: Duration = Duration::from_secs(60);
/// Less than this is a clock that is kept right.
const JUMP: SignedDuration = SignedDuration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn the_past_is_due_at_once() {
        let before = Timestamp::now() - SignedDuration::from_hours(1);
        assert_eq!(until(before).await, Woken::Due);
        assert_eq!(
            until(Timestamp::now() + SignedDuration::from_millis(20)).await,
            Woken::Due
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_ends_the_wait() {
        let begin = Timestamp::from_second(1_800_000_000).unwrap();
        let began = Instant::now();
        let offset = Mutex::new(SignedDuration::ZERO);
        let wall = || {
            let passed = SignedDuration::try_from(began.elapsed()).unwrap();
            begin + passed + *offset.lock().unwrap()
        };
        let in_an_hour = begin + SignedDuration::from_hours(1);
        assert_eq!(by_looking(in_an_hour, wall).await, Woken::Due);
        assert_eq!(began.elapsed(), Duration::from_secs(3600));

        let set = async {
            tokio::time::sleep(Duration::from_secs(90)).await;
            *offset.lock().unwrap() = SignedDuration::from_hours(-24);
        };
        let (woken, ()) = tokio::join!(
            by_looking(in_an_hour + SignedDuration::from_hours(1), wall),
            set
        );
        assert_eq!(woken, Woken::ClockSet);
    }
}
