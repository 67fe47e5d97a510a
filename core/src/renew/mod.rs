//! Who is due, when, and why.
//!
//! [`due`] is a pure function of what the head remembers, what is wanted now, the time and a [`Policy`]; an [`Advisor`] asks CAs
//! beforehand, where what they said last has run out. Nothing here orders anything, and nothing waits: a run renews what is due and
//! ends, and whoever stays in the foreground sleeps until [`Due::next`].

mod advisor;
mod backoff;
mod before;
mod listing;

use std::fmt;

use aws_lc_rs::digest;
use jiff::SignedDuration;
use jiff::Timestamp;
use serde::Serialize;

pub use advisor::Advisor;
pub(crate) use advisor::ask;
pub(crate) use advisor::explain;
pub use backoff::Failed;
pub use before::RenewBefore;
pub use before::RenewBeforeError;

use crate::store::Failure;
use crate::store::Head;
use crate::store::Version;
use crate::store::Wanted;
use crate::store::Window;

/// What somebody has decided about when to renew.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Policy {
    /// How much may be left when it is renewed at the latest, instead of what we would choose.
    pub before: Option<RenewBefore>,
}

/// When a certificate is due, and why then.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Due {
    /// From when.
    pub at: Timestamp,
    /// Why then.
    pub reason: Reason,
    /// Tries for it that have failed, after which it is left alone for a while.
    pub held: Option<Failure>,
    /// What was decided, where it is passed over because the certificate does not live that long.
    pub passed_over: Option<RenewBefore>,
}

impl Due {
    /// What to say of a decision that is passed over, and what to do about it.
    pub fn warning(&self, version: &Version) -> Option<(String, String)> {
        let before = self.passed_over?;
        let message = format!(
            "`renew-before: {before}` is passed over: the certificate lives for {}, and would be due again at once",
            RenewBefore::Time(version.lifetime())
        );
        let hint = "write a share of the lifetime, such as `1/3`, or a shorter time".to_owned();
        Some((message, hint))
    }

    /// When the next try is to be made: not while it is left alone after a failure.
    pub fn next(&self) -> Timestamp {
        match &self.held {
            Some(failure) => self.at.max(failure.again),
            None => self.at,
        }
    }
}

/// Why a certificate is due when it is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "because", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reason {
    /// The CA suggests a window (RFC 9773).
    Advised {
        /// The window.
        window: Window,
        /// Where it explains it.
        explanation: Option<String>,
    },
    /// What is left is less than what was decided.
    Before,
    /// It is not what is wanted.
    Changed {
        /// What differs, in a few words each.
        what: Vec<String>,
    },
    /// The store has lost or damaged it. Told by whoever has looked.
    Damaged {
        /// What is wrong.
        what: String,
    },
    /// What is left of its life is less than what we would leave.
    Lifetime,
    /// There is none.
    NeverIssued,
    /// The CA's list of revoked certificates has it.
    Revoked,
    /// We have revoked it: it is due only when somebody asks.
    RevokedByUs,
    /// The order of an earlier run is not finished.
    Unfinished,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Advised { explanation, .. } => {
                f.write_str("the CA suggests it")?;
                match explanation {
                    Some(url) => write!(f, " ({url})"),
                    None => Ok(()),
                }
            }
            Self::Before => f.write_str("the configuration wants it then"),
            Self::Changed { what } => f.write_str(&what.join("; ")),
            Self::Damaged { what } => write!(f, "the store has lost or damaged it ({what})"),
            Self::Lifetime => f.write_str("its life nears the end"),
            Self::NeverIssued => f.write_str("there is none yet"),
            Self::Revoked => f.write_str("it is revoked"),
            Self::RevokedByUs => f.write_str("it was revoked, and is not renewed unless asked for"),
            Self::Unfinished => f.write_str("an earlier run has left an order"),
        }
    }
}

/// When the certificate of `head` is due, where `wanted` is wanted now.
pub fn due(head: &Head, wanted: &Wanted, now: Timestamp, policy: &Policy) -> Due {
    let (at, reason) = by_rule(head, wanted, now, policy);
    let held = head.renewal.failure.clone();
    Due {
        at,
        reason,
        // What has failed in the future has failed by a clock that was wrong.
        held: held.filter(|failure| {
            wanted.same_names(&failure.names) && failure.last.duration_since(now) < CLOCKS_DIFFER
        }),
        passed_over: policy.before.filter(|before| {
            let version = head.current.as_ref();
            version.is_some_and(|version| before.of(version.lifetime()).is_none())
        }),
    }
}

fn by_rule(head: &Head, wanted: &Wanted, now: Timestamp, policy: &Policy) -> (Timestamp, Reason) {
    let Some(version) = &head.current else {
        return (now, Reason::NeverIssued);
    };
    if version.revoked.is_some() {
        return (Timestamp::MAX, Reason::RevokedByUs);
    }
    let differences = wanted.differences(version);
    let what: Vec<String> = differences.iter().map(ToString::to_string).collect();
    if !what.is_empty() {
        return (now, Reason::Changed { what });
    }
    if head.order.is_some() {
        return (now, Reason::Unfinished);
    }
    let listing = head.renewal.listing.as_ref();
    if listing.is_some_and(|l| l.serial == version.serial && l.revoked.is_some()) {
        return (now, Reason::Revoked);
    }

    let lifetime = version.lifetime();
    let decided = policy.before.and_then(|before| {
        let left = before.of(lifetime)?;
        Some((version.not_after.checked_sub(left).ok()?, Reason::Before))
    });
    let advice = head.renewal.advice.as_ref();
    let advised = advice
        .filter(|advice| version.ari_id.as_ref() == Some(&advice.certificate))
        .and_then(|advice| {
            let window = advice.window?;
            // One that begins when the certificate has ended is no help, and nobody waits for the last hour.
            let latest = version.not_after.checked_sub(lifetime / 20).ok()?;
            let reason = Reason::Advised {
                window,
                explanation: advice.explanation.clone(),
            };
            (window.start < latest).then_some((window.drawn.min(latest), reason))
        });
    let (at, reason) = match (advised, decided) {
        // Nobody is later than the CA wants, because that is how it revokes.
        (Some(advised), Some(decided)) if decided.0 < advised.0 => decided,
        (Some(advised), _) => advised,
        (None, Some(decided)) => decided,
        (None, None) => (version.renew_at(), Reason::Lifetime),
    };
    (at, reason)
}

/// A number from 0 to 1 that anybody draws who knows these words.
fn draw(words: &[&str]) -> f64 {
    let digest = digest::digest(&digest::SHA256, words.join("\n").as_bytes());
    let number = digest
        .as_ref()
        .iter()
        .take(4)
        .fold(0_u32, |number, octet| number << 8 | u32::from(*octet));
    f64::from(number) / (f64::from(u32::MAX) + 1.0)
}

/// So much two clocks may differ that have both been set.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_mins(5);

#[cfg(test)]
mod tests;
