//! How much may be left of a certificate when it is renewed, as somebody has decided it.

use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use serde::Deserialize;
use serde::Serialize;

/// `renew-before`: a share of the lifetime (`1/3`, `33%`) or a time (`30d`, `36h`).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum RenewBefore {
    /// So many millionths of the lifetime; more than none, less than all.
    Share(u32),
    /// So long before the end.
    Time(SignedDuration),
}

impl RenewBefore {
    /// How long before the end of a certificate that lives so long; `None` where it would be due from its first minute on, for ever.
    pub fn of(self, lifetime: SignedDuration) -> Option<SignedDuration> {
        let left = match self {
            Self::Share(millionths) => SignedDuration::from_secs_f64(
                lifetime.as_secs_f64() * f64::from(millionths) / MILLION,
            ),
            Self::Time(time) => time,
        };
        // A CA dates back by an hour, so that the first minutes of the life are over when it arrives.
        (left < lifetime - lifetime / 20).then_some(left)
    }
}

impl fmt::Display for RenewBefore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(millionths) => write!(f, "{}%", f64::from(*millionths) / 10_000.0),
            Self::Time(time) => {
                let mut rest = time.as_secs();
                let mut space = "";
                for (unit, seconds) in [("d", DAY), ("h", 3600), ("m", 60), ("s", 1)] {
                    let (count, left) = (rest / seconds, rest % seconds);
                    if count > 0 {
                        write!(f, "{space}{count}{unit}")?;
                        space = " ";
                    }
                    rest = left;
                }
                Ok(())
            }
        }
    }
}

impl FromStr for RenewBefore {
    type Err = RenewBeforeError;

    fn from_str(text: &str) -> Result<Self, RenewBeforeError> {
        let text = text.trim();
        let wrong = || RenewBeforeError(text.chars().take(40).collect());
        let share = |share: f64| {
            let millionths = (share * MILLION).round();
            match millionths > 0.0 && millionths < MILLION {
                true => Ok(Self::Share(millionths as u32)),
                false => Err(wrong()),
            }
        };
        if let Some(percent) = text.strip_suffix('%') {
            let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
            return share(percent / 100.0);
        }
        if let Some((part, whole)) = text.split_once('/') {
            let part: u32 = part.trim().parse().map_err(|_| wrong())?;
            let whole: u32 = whole.trim().parse().map_err(|_| wrong())?;
            return share(f64::from(part) / f64::from(whole));
        }
        let mut time = SignedDuration::ZERO;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, unit) = rest.split_at(digits);
            let number: i64 = number.parse().map_err(|_| wrong())?;
            let letters = unit.len()
                - unit
                    .trim_start_matches(|c: char| c.is_ascii_alphabetic())
                    .len();
            let (unit, after) = unit.split_at(letters);
            let seconds = match unit {
                "d" | "day" | "days" => DAY,
                "h" | "hour" | "hours" => 3600,
                "m" | "min" | "minutes" => 60,
                "s" | "seconds" => 1,
                _ => return Err(wrong()),
            };
            let part = number.checked_mul(seconds).ok_or_else(wrong)?;
            time = time
                .checked_add(SignedDuration::from_secs(part))
                .ok_or_else(wrong)?;
            rest = after.trim_start();
        }
        match time.is_positive() {
            true => Ok(Self::Time(time)),
            false => Err(wrong()),
        }
    }
}

impl TryFrom<String> for RenewBefore {
    type Error = RenewBeforeError;

    fn try_from(text: String) -> Result<Self, RenewBeforeError> {
        text.parse()
    }
}

impl From<RenewBefore> for String {
    fn from(before: RenewBefore) -> Self {
        before.to_string()
    }
}

/// Neither a share nor a time.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "`{0}` is neither a share of the lifetime, such as 1/3 or 33%, nor a time, such as 30d or 36h"
)]
pub struct RenewBeforeError(String);

const MILLION: f64 = 1_000_000.0;
const DAY: i64 = 24 * 3600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_times() {
        let days = |n: i64| SignedDuration::from_hours(24 * n);
        for (text, lifetime, left) in [
            ("1/3", 90, Some(days(30))),
            ("50%", 6, Some(days(3))),
            ("30d", 90, Some(days(30))),
            ("30d", 45, Some(days(30))),
            ("30d", 6, None),
            ("90d", 90, None),
            ("1d 12h", 90, Some(SignedDuration::from_hours(36))),
        ] {
            let before: RenewBefore = text.parse().unwrap();
            let got = before
                .of(days(lifetime))
                .map(|d| d.as_secs_f64().round() as i64);
            // A third of a million is no whole number.
            let near = got
                .zip(left)
                .is_none_or(|(a, b)| (a - b.as_secs()).abs() < 10);
            assert!(
                near && got.is_some() == left.is_some(),
                "{text} of {lifetime}: {got:?}"
            );
            assert_eq!(before.to_string().parse(), Ok(before), "{text}");
        }
        let odd: RenewBefore = "36h 61s".parse().unwrap();
        assert_eq!(odd.to_string(), "1d 12h 1m 1s");
        for text in [
            "",
            "0",
            "0%",
            "100%",
            "3/2",
            "1/0",
            "-1d",
            "soon",
            "5x",
            "1.5",
            "99999999999999999d",
        ] {
            assert!(text.parse::<RenewBefore>().is_err(), "{text}");
        }
    }
}
