//! TXT values as the API writes them: quoted strings of at most 255 octets, in the presentation form of RFC 1035 section 5.1.
//!
//! Records that other tools made may be without quotes. Both forms are the same value here, so that a value is found whoever
//! wrote it.

use dnseal_core::dns::TxtValue;

/// The content of a record for `value`.
pub(super) fn quoted(value: &TxtValue) -> String {
    let strings: Vec<String> = value.strings().into_iter().map(quoted_string).collect();
    strings.join(" ")
}

/// The value of a record, whether or not its content is in quotes; `None` if no record can be so long.
pub(super) fn value(content: &str) -> Option<TxtValue> {
    let bytes = unquoted(content).unwrap_or_else(|| content.as_bytes().to_vec());
    TxtValue::from_bytes(bytes).ok()
}

fn quoted_string(string: &[u8]) -> String {
    let mut text = String::with_capacity(string.len() + 2);
    text.push('"');
    for &octet in string {
        match octet {
            b'"' | b'\\' => text.extend(['\\', char::from(octet)]),
            b' '..=b'~' => text.push(char::from(octet)),
            _ => text.push_str(&format!("\\{octet:03}")),
        }
    }
    text.push('"');
    text
}

/// What is inside the quotes of one or more strings; `None` if it is not made of quoted strings altogether.
fn unquoted(content: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(content.len());
    let mut rest = content.trim().bytes().peekable();
    rest.peek()?;
    loop {
        if rest.next()? != b'"' {
            return None;
        }
        loop {
            match rest.next()? {
                b'"' => break,
                b'\\' => match rest.next()? {
                    first @ b'0'..=b'9' => {
                        let digits = [first, rest.next()?, rest.next()?];
                        let text = std::str::from_utf8(&digits).ok()?;
                        octets.push(text.parse().ok()?);
                    }
                    escaped => octets.push(escaped),
                },
                octet => octets.push(octet),
            }
        }
        while rest.next_if_eq(&b' ').is_some() {}
        if rest.peek().is_none() {
            return Some(octets);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quotes_make_no_difference() {
        let plain: TxtValue = "gfj9Xq...Rg85nM".parse().unwrap();
        for content in [
            "gfj9Xq...Rg85nM",
            "\"gfj9Xq...Rg85nM\"",
            " \"gfj9Xq\" \"...Rg85nM\"",
            "\"gfj9Xq\"\"...Rg85nM\"",
            "\"gfj9Xq...Rg85n\\M\"",
            "\"gfj9Xq...Rg85n\\077\"",
        ] {
            assert_eq!(value(content).as_ref(), Some(&plain), "{content}");
        }
    }

    #[test]
    fn what_is_not_quoted_properly_is_taken_as_it_is() {
        for content in ["\"", "\"a", "a\"", "\"a\" b", "a \"b\"", "\"a\\"] {
            assert_eq!(value(content).unwrap().as_bytes(), content.as_bytes());
        }
        assert_eq!(value("").unwrap().as_bytes(), b"");
        assert_eq!(value("\"\"").unwrap().as_bytes(), b"");
    }

    #[test]
    fn long_values_are_split() {
        let long: TxtValue = "x".repeat(300).parse().unwrap();
        let content = quoted(&long);
        assert_eq!(
            content,
            format!("\"{}\" \"{}\"", "x".repeat(255), "x".repeat(45))
        );
        assert_eq!(value(&content), Some(long));
    }

    proptest! {
        #[test]
        fn every_value_comes_back(octets in proptest::collection::vec(any::<u8>(), 0..600)) {
            let original = TxtValue::from_bytes(octets).unwrap();
            prop_assert_eq!(value(&quoted(&original)), Some(original));
        }
    }
}
