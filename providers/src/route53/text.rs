//! TXT values as Route 53 writes them: strings in quotes, with `\"` and three OCTAL digits after a backslash.
//!
//! Zone files have decimal digits there (RFC 1035 section 5.1), so that nothing that reads those may be used here. What others
//! wrote is compared by its octets and sent back as it came, never written anew.

use std::fmt::Write as _;

use dnseal_core::dns::TxtValue;

/// A value as Route 53 wants it; more than 255 octets become several strings.
pub(super) fn encode(value: &TxtValue) -> String {
    let mut text = String::with_capacity(value.as_bytes().len() + 2);
    for (number, string) in value.strings().into_iter().enumerate() {
        text.push_str(if number == 0 { "\"" } else { " \"" });
        for &octet in string {
            match octet {
                b'"' => text.push_str("\\\""),
                b'\\' => text.push_str("\\134"),
                b'!'..=b'~' => text.push(char::from(octet)),
                _ => {
                    // Writing to a string cannot fail.
                    let _ = write!(text, "\\{octet:03o}");
                }
            }
        }
        text.push('"');
    }
    text
}

/// The octets of what Route 53 shows; `None` for what is no row of quoted strings.
pub(super) fn decode(text: &str) -> Option<TxtValue> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        rest = string(rest.strip_prefix('"')?, &mut octets)?.trim_start();
    }
    TxtValue::from_bytes(octets).ok()
}

/// A name as Route 53 shows it, without its final dot, and in small letters.
pub(super) fn name(text: &str) -> String {
    let text = text.strip_suffix('.').unwrap_or(text);
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        rest = match rest.strip_prefix('\\').and_then(octal) {
            Some((octet, rest)) => {
                octets.push(octet);
                rest
            }
            None => {
                octets.extend_from_slice(first.to_string().as_bytes());
                rest.split_at(first.len_utf8()).1
            }
        };
    }
    octets.make_ascii_lowercase();
    String::from_utf8_lossy(&octets).into_owned()
}

/// Reads up to the closing quote, and gives what follows it.
fn string<'a>(text: &'a str, octets: &mut Vec<u8>) -> Option<&'a str> {
    let mut rest = text;
    loop {
        let first = rest.chars().next()?;
        let after = rest.split_at(first.len_utf8()).1;
        rest = match first {
            '"' => return Some(after),
            '\\' => match octal(after) {
                Some((octet, after)) => {
                    octets.push(octet);
                    after
                }
                None => {
                    let escaped = after.chars().next()?;
                    octets.extend_from_slice(escaped.to_string().as_bytes());
                    after.split_at(escaped.len_utf8()).1
                }
            },
            _ => {
                octets.extend_from_slice(first.to_string().as_bytes());
                after
            }
        };
    }
}

fn octal(text: &str) -> Option<(u8, &str)> {
    let (digits, rest) = text.split_at_checked(3)?;
    if !digits.bytes().all(|b| matches!(b, b'0'..=b'7')) {
        return None;
    }
    u8::from_str_radix(digits, 8)
        .ok()
        .map(|octet| (octet, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_are_octal() {
        for (octets, text) in [
            (&b"v=spf1 -all"[..], "\"v=spf1\\040-all\""),
            (b"ex\xe4mple.com", "\"ex\\344mple.com\""),
            (b"a\"b\\c", "\"a\\\"b\\134c\""),
            (b"", "\"\""),
        ] {
            let value = TxtValue::from_bytes(octets).unwrap();
            assert_eq!(encode(&value), text);
            assert_eq!(decode(text).unwrap(), value);
        }
        for (text, octets) in [
            ("\"v=spf1 -all\"", &b"v=spf1 -all"[..]),
            ("\"one\" \"two\"", b"onetwo"),
            ("\"one\"\"two\"", b"onetwo"),
            ("\"a\\\\b\"", b"a\\b"),
            ("\"\\400\"", b"400"),
        ] {
            assert_eq!(decode(text).unwrap().as_bytes(), octets, "{text}");
        }
        for text in ["", "bare", "\"open", "\"a\" b", "\"a\\"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }

    #[test]
    fn long_values_are_split() {
        let text = encode(&"x".repeat(300).parse().unwrap());
        assert_eq!(text.len(), 300 + 5);
        assert!(text.contains("x\" \"x"));
    }

    #[test]
    fn names_lose_escapes_and_the_final_dot() {
        assert_eq!(name("\\052.Example.COM."), "*.example.com");
        assert_eq!(
            name("\\137acme-challenge.a.test."),
            "_acme-challenge.a.test"
        );
        assert_eq!(name("a\\9.test."), "a\\9.test");
    }

    proptest! {
        #[test]
        fn every_value_survives(octets in proptest::collection::vec(any::<u8>(), 0..600)) {
            let value = TxtValue::from_bytes(octets).unwrap();
            prop_assert_eq!(decode(&encode(&value)), Some(value));
        }

        #[test]
        fn nothing_makes_it_panic(text in "\\PC{0,60}") {
            let _ = decode(&text);
            let _ = name(&text);
        }
    }
}
