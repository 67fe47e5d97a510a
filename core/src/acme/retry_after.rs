//! When a server says to come back (RFC 9110 section 10.2.3).
//!
//! `Retry-After` is a number of seconds or an HTTP-date in any of its three forms; CAs send both, Pebble at random.
//! What lies in the past is zero, what cannot be read is nothing. Let's Encrypt also writes the time into the
//! problem's text, which serves where the header is missing.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// How long after `now` the header's value asks to stay away.
pub(super) fn parse(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than fit are a very long time, not an error.
        return Some(Duration::from_secs(value.parse().unwrap_or(MOST)).min(FOREVER));
    }

    let date = http_date(value)?;
    Some(Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO))
}

/// An HTTP-date in any of its three forms.
pub(super) fn http_date(value: &str) -> Option<Timestamp> {
    let date = HTTP_DATES
        .iter()
        .find_map(|format| DateTime::strptime(format, value.trim()).ok())?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// What Let's Encrypt writes into the detail of a rate limit: `retry after 2006-01-02 15:04:05 UTC`.
pub(super) fn from_detail(detail: &str, now: Timestamp) -> Option<Duration> {
    let (_, rest) = detail.split_once("retry after ")?;
    let date = rest.get(..DETAIL_DATE_LEN)?;
    until(DateTime::strptime(DETAIL_DATE, date).ok()?, now)
}

fn until(date: DateTime, now: Timestamp) -> Option<Duration> {
    let at = date.to_zoned(TimeZone::UTC).ok()?.timestamp();
    Some(Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO))
}

/// IMF-fixdate, and the two obsolete forms that recipients must still read (RFC 9110 section 5.6.7).
const HTTP_DATES: [&str; 3] = [
    "%a, %d %b %Y %H:%M:%S GMT",
    "%A, %d-%b-%y %H:%M:%S GMT",
    "%a %b %e %H:%M:%S %Y",
];
const DETAIL_DATE: &str = "%Y-%m-%d %H:%M:%S UTC";
const DETAIL_DATE_LEN: usize = "2006-01-02 15:04:05 UTC".len();
/// A hundred years, so that adding it to a time of today cannot overflow.
const MOST: u64 = 100 * 365 * 24 * 3600;
const FOREVER: Duration = Duration::from_secs(MOST);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_and_the_past() {
        let now: Timestamp = "1994-11-06T08:49:07Z".parse().unwrap();
        for (value, wanted) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(30)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(30)),
            ("Sun Nov  6 08:49:37 1994", Some(30)),
            ("Fri, 31 Dec 1993 23:59:59 GMT", Some(0)),
            ("99999999999999999999999999", Some(MOST)),
            ("", None),
            ("-5", None),
            ("soon", None),
            ("1.5", None),
        ] {
            assert_eq!(
                parse(value, now),
                wanted.map(Duration::from_secs),
                "{value:?}"
            );
        }
    }

    #[test]
    fn the_detail_of_a_rate_limit_says_it_too() {
        let now: Timestamp = "2026-01-02T15:04:00Z".parse().unwrap();
        let detail = "too many certificates (5) already issued for this exact set of identifiers in the last \
                      168h0m0s, retry after 2026-01-02 15:04:05 UTC: see https://letsencrypt.org/docs/rate-limits/";
        assert_eq!(from_detail(detail, now), Some(Duration::from_secs(5)));
        assert_eq!(from_detail("retry after a while", now), None);
        assert_eq!(
            from_detail("retry after 2026-01-02 15:04:0\u{e9}", now),
            None
        );
    }
}
