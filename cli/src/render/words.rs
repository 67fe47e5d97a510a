//! Numbers and times as people say them.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// `1 name`, `2 names`.
pub(crate) fn plural(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

/// The day of a moment in UTC, such as `2026-11-21`.
pub(crate) fn day(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).date().to_string()
}

/// How far away a moment is: `in 90 days`, `in 5 hours`, `2 days ago`.
pub(crate) fn in_days(now: Timestamp, then: Timestamp) -> String {
    let seconds = then.as_second() - now.as_second();
    if seconds.unsigned_abs() < 60 {
        return "now".to_owned();
    }
    let hours = seconds.unsigned_abs() / 3600;
    let count = |n: u64, noun: &str| plural(usize::try_from(n).unwrap_or(usize::MAX), noun);
    let distance = match hours {
        0 => count(seconds.unsigned_abs() / 60, "minute"),
        1..48 => count(hours, "hour"),
        _ => count(hours / 24, "day"),
    };
    match seconds < 0 {
        true => format!("{distance} ago"),
        false => format!("in {distance}"),
    }
}

/// `0.3s`, `12s`, `2m 05s`.
pub(crate) fn duration(d: Duration) -> String {
    let seconds = d.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", d.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        _ => format!("{}m {:02}s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_rounded_down_to_what_matters() {
        let now = Timestamp::from_second(1_000_000_000).unwrap();
        for (seconds, wanted) in [
            (90 * 86_400, "in 90 days"),
            (47 * 3600, "in 47 hours"),
            (60, "in 1 minute"),
            (59, "now"),
            (-59, "now"),
            (-3 * 86_400, "3 days ago"),
        ] {
            let then = Timestamp::from_second(1_000_000_000 + seconds).unwrap();
            assert_eq!(in_days(now, then), wanted);
        }
        assert_eq!(duration(Duration::from_millis(1_250)), "1.2s");
        assert_eq!(duration(Duration::from_secs(125)), "2m 05s");
    }
}
