//! The contracts by which other tools let a script or a server of the user's write values: whoever has one goes on using it.

pub(crate) mod acme_dns;
pub mod acmesh;
pub(crate) mod certbot;
pub(crate) mod dehydrated;
pub(crate) mod exec;
pub(crate) mod http;
pub(crate) mod httpreq;
mod script;

use std::time::Duration;

use jiff::SignedDuration;
use jiff::Timestamp;

/// Waits until what was written at `last` is older than anything that is written now, for a service that replaces the oldest of a few
/// values.
async fn be_younger_than(last: Timestamp) {
    tokio::time::sleep(until_younger(last, Timestamp::now())).await;
}

fn until_younger(last: Timestamp, now: Timestamp) -> Duration {
    match Duration::try_from(now.duration_since(last).max(SignedDuration::ZERO)) {
        Ok(past) => APART.saturating_sub(past),
        Err(_) => APART,
    }
}

/// Such a service, as acme-dns is, knows ages in seconds, and of two values that came in the same one it may replace either.
const APART: Duration = Duration::from_millis(1100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_written_just_now_is_waited_for() {
        let now = Timestamp::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let ms = Duration::from_millis;
        assert_eq!(until_younger(now, now), APART);
        assert_eq!(until_younger(now - ms(400), now), ms(700));
        assert_eq!(until_younger(now - ms(5000), now), Duration::ZERO);
        // A clock that was set back.
        assert_eq!(until_younger(now + ms(60_000), now), APART);
        assert_eq!(until_younger(Timestamp::MIN, now), Duration::ZERO);
    }
}
