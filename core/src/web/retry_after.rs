//! When a server says to come back (RFC 9110 section 10.2.3).
//!
//! `Retry-After` is a number of seconds or an HTTP-date in any of its three forms; CAs send both, Pebble at random.
//! What lies in the past is zero, what cannot be read is nothing. A date is compared with the server's own clock, where
//! the answer tells it: ours may be wrong.

use std::time::Duration;

use http::HeaderMap;
use http::HeaderName;
use http::header;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// How long the server that sent these headers wants to be left alone.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = text(headers, header::RETRY_AFTER)?.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than fit are a very long time, not an error.
        return Some(Duration::from_secs(value.parse().unwrap_or(MOST)).min(FOREVER));
    }

    let until = http_date(value)?;
    let now = date(headers).unwrap_or_else(Timestamp::now);
    Some(Duration::try_from(until.duration_since(now)).unwrap_or(Duration::ZERO))
}

/// The server's clock, as its answer tells it.
pub(crate) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(text(headers, header::DATE)?)
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// An HTTP-date in any of its three forms.
fn http_date(value: &str) -> Option<Timestamp> {
    let date = HTTP_DATES
        .iter()
        .find_map(|format| DateTime::strptime(format, value.trim()).ok())?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// IMF-fixdate, and the two obsolete forms that recipients must still read (RFC 9110 section 5.6.7).
const HTTP_DATES: [&str; 3] = [
    "%a, %d %b %Y %H:%M:%S GMT",
    "%A, %d-%b-%y %H:%M:%S GMT",
    "%a %b %e %H:%M:%S %Y",
];
/// A hundred years, so that adding it to a time of today cannot overflow.
const MOST: u64 = 100 * 365 * 24 * 3600;
const FOREVER: Duration = Duration::from_secs(MOST);

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn both_forms_and_the_past() {
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
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(value));
            headers.insert(
                header::DATE,
                HeaderValue::from_static("Sun, 06 Nov 1994 08:49:07 GMT"),
            );
            assert_eq!(
                retry_after(&headers),
                wanted.map(Duration::from_secs),
                "{value:?}"
            );
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn a_date_is_measured_by_our_clock_where_the_server_tells_none() {
        let headers = HeaderMap::from_iter([(
            header::RETRY_AFTER,
            HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"),
        )]);
        assert_eq!(retry_after(&headers), Some(Duration::ZERO));
    }
}
