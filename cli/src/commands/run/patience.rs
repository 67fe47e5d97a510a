//! What is left alone for a while although there is something to do about it, so that nothing goes round in circles: a
//! certificate that lacks a secret or that another run holds, and targets that could not be deployed to. Renewals that have failed
//! stand in the store with their own pause; this lives as long as the process, and ends with the configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use dnseal_core::store::CertId;
use jiff::SignedDuration;
use jiff::Timestamp;

/// What was tried in vain.
#[derive(Debug, Default)]
pub(super) struct Patience {
    pub(super) renewals: Waits,
    pub(super) deployments: Waits,
}

/// How often something was tried for each certificate, and when to try again.
#[derive(Debug, Default)]
pub(super) struct Waits(BTreeMap<CertId, (u32, Timestamp)>);

impl Waits {
    /// Whether it is worth while to work on it now.
    pub(super) fn lets(&self, id: &CertId, now: Timestamp) -> bool {
        self.0.get(id).is_none_or(|(_, again)| *again <= now)
    }

    /// There is still something to do, and `worked` says whether it was tried; when to try again.
    ///
    /// No pause is longer than `at_most`, because a short-lived certificate has no hours to lose.
    pub(super) fn try_again(
        &mut self,
        id: &CertId,
        worked: bool,
        at_most: Duration,
        now: Timestamp,
    ) -> Timestamp {
        let (times, again) = self.0.entry(id.clone()).or_insert((0, now));
        if worked {
            *times = times.saturating_add(1);
            let pause = FIRST_PAUSE * 2_u32.saturating_pow((*times - 1).min(10));
            let pause =
                SignedDuration::try_from(pause.min(LONGEST_PAUSE).min(at_most)).unwrap_or_default();
            *again = now.checked_add(pause).unwrap_or(now);
        }
        (*again).max(now)
    }

    /// There is nothing to do any more.
    pub(super) fn forget(&mut self, id: &CertId) {
        self.0.remove(id);
    }

    /// How often it was tried in vain.
    pub(super) fn times(&self, id: &CertId) -> u32 {
        self.0.get(id).map_or(0, |(times, _)| *times)
    }
}

/// Another run may hold the certificate, a server be restarted, or somebody be about to put a secret into its place.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
/// A secret that is not there is put there some day.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_in_vain_is_tried_less_and_less() {
        let id: CertId = "a.test".parse().unwrap();
        let mut waits = Waits::default();
        let mut now = Timestamp::from_second(1_800_000_000).unwrap();
        assert!(waits.lets(&id, now));
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
            let again = waits.try_again(&id, true, LONGEST_PAUSE, now);
            assert_eq!(again, now + SignedDuration::from_mins(minutes));
            assert!(!waits.lets(&id, now));
            // A round for another certificate in between changes nothing.
            assert_eq!(waits.try_again(&id, false, LONGEST_PAUSE, now), again);
            now = again;
            assert!(waits.lets(&id, now));
        }
        let short = Duration::from_secs(6);
        let again = waits.try_again(&id, true, short, now);
        assert_eq!(again, now + SignedDuration::from_secs(6));
        waits.forget(&id);
        assert_eq!(waits.times(&id), 0);
    }
}
