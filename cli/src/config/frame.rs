//! One line of the configuration, as an error shows it.
//!
//! A line may hold a secret wherever a mistake is: under a misspelt key, in a list, on a line of its own. So what is shown of the
//! parts where secrets belong (`ca`, `providers`, and whatever has no name we know) is keys, and the values of keys that
//! never hold one; from the first other value on, the rest of the line is left out.

use std::ops::Range;

/// One line of the file, and what of it is meant.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// The line's number, from 1.
    pub(crate) line: usize,
    /// The column of the first character that is meant, from 1, as it is in the file.
    pub(crate) column: usize,
    /// The line, with everything taken out that may be a secret.
    pub(crate) text: String,
    /// The octets of `text` that are meant.
    pub(crate) span: Range<usize>,
}

impl Frame {
    pub(super) fn new(text: &str, line: usize, column: usize) -> Option<Self> {
        // What ends too early is noticed behind the last line.
        let line = line.min(text.lines().count());
        let original = text.lines().nth(line.checked_sub(1)?)?;
        let start = original
            .char_indices()
            .nth(column.saturating_sub(1))
            .map_or(original.len(), |(index, _)| index);
        let end = start + token_length(&original[start..]);
        let cut = match block_of(text, line) {
            Some(block) if SHOWN_BLOCKS.contains(&block) && !leads_to_secrets(text, line) => None,
            _ => cut(original),
        };
        let cut = cut.into_iter().chain(credentials(original)).min();
        let (text, span) = match cut {
            Some(cut) if start >= cut => (
                format!("{}{REDACTED}", &original[..cut]),
                cut..cut + REDACTED.len(),
            ),
            Some(cut) => (
                format!("{}{REDACTED}", &original[..cut]),
                start..end.min(cut),
            ),
            None => (original.to_owned(), start..end),
        };
        Some(Self {
            line,
            column,
            text,
            span,
        })
    }
}

/// Where the user and the password begin of a URL that has any.
fn credentials(line: &str) -> Option<usize> {
    let begins = line.match_indices("://").map(|(at, sign)| at + sign.len());
    let has_any = |at: &usize| {
        let ends = |c: char| c.is_whitespace() || "/?#'\"".contains(c);
        line[*at..]
            .split(ends)
            .next()
            .is_some_and(|a| a.contains('@'))
    };
    begins.into_iter().find(has_any)
}

/// The top-level key that a line belongs to.
fn block_of(text: &str, line: usize) -> Option<&str> {
    let above: Vec<&str> = text.lines().take(line).collect();
    let head = above
        .into_iter()
        .rev()
        .find(|line| line.starts_with(|c: char| !c.is_whitespace() && c != '#' && c != '-'))?;
    let (key, _) = head.split_once(':')?;
    Some(key.trim().trim_matches(['"', '\'']))
}

/// Whether a line, or one of those that it is below, has a word that leads to secrets.
fn leads_to_secrets(text: &str, line: usize) -> bool {
    let above: Vec<&str> = text.lines().take(line).collect();
    let depth = |line: &str| line.len() - line.trim_start().len();
    let mut below: Option<(usize, bool)> = None;
    for line in above.into_iter().rev() {
        let item = line.trim_start().starts_with('-');
        let is_above = match below {
            None => true,
            Some((child, child_is_item)) => {
                depth(line) < child || depth(line) == child && child_is_item && !item
            }
        };
        if line.trim().is_empty() || !is_above {
            continue;
        }
        if SECRET_WORDS.iter().any(|word| line.contains(word)) {
            return true;
        }
        below = Some((depth(line), item));
    }
    false
}

/// Where the first value begins that may be a secret.
fn cut(line: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let Some((key, value)) = next_key(line, from) else {
            return first_word(line, from, line.len());
        };
        if let Some(stray) = first_word(line, from, key.start) {
            return Some(stray);
        }
        let name = line[key].trim_matches(['"', '\'']);
        let rest = &line[value..];
        from = match rest.chars().next() {
            None | Some('#') => return None,
            Some('{') => value + 1,
            Some(first) if SHOWN_KEYS.contains(&name) => {
                let ends: &[&str] = match first {
                    '[' => &["]"],
                    '"' | '\'' => &[", ", "}"],
                    _ => &[", ", "}", " #"],
                };
                let end = ends.iter().filter_map(|end| rest.find(end)).min();
                value + end.unwrap_or(rest.len())
            }
            Some(_) => return Some(value),
        };
    }
}

/// The next key from `from` on, and where its value begins.
fn next_key(line: &str, from: usize) -> Option<(Range<usize>, usize)> {
    let mut search = from;
    loop {
        let colon = search + line.get(search..)?.find(':')?;
        let after = &line[colon + 1..];
        search = colon + 1;
        if !(after.is_empty() || after.starts_with(char::is_whitespace)) {
            continue;
        }
        let before = &line[from..colon];
        let start = before
            .char_indices()
            .rfind(|(_, c)| c.is_whitespace() || "{[,".contains(*c))
            .map_or(from, |(at, c)| from + at + c.len_utf8());
        return Some((start..colon, line.len() - after.trim_start().len()));
    }
}

/// The first thing between two places that is more than punctuation.
fn first_word(line: &str, from: usize, to: usize) -> Option<usize> {
    let found = line[from..to].find(|c: char| !c.is_whitespace() && !"{}[],-".contains(c))?;
    Some(from + found).filter(|&at| !line[at..].starts_with('#'))
}

/// The octets of the scalar or bracket that `rest` begins with.
fn token_length(rest: &str) -> usize {
    let Some(first) = rest.chars().next() else {
        return 0;
    };
    match first {
        '"' | '\'' => rest[1..].find(first).map_or(rest.len(), |index| index + 2),
        '[' | '{' => 1,
        _ => {
            let ends = [": ", ", ", " #", "]", "}"]
                .iter()
                .filter_map(|end| rest.find(end))
                .min()
                .unwrap_or(rest.len());
            rest[..ends]
                .trim_end()
                .trim_end_matches([':', ','])
                .len()
                .max(first.len_utf8())
        }
    }
}

/// What stands in place of what may be a secret.
pub(crate) const REDACTED: &str = "[redacted]";

/// Top-level keys below which no secret belongs.
const SHOWN_BLOCKS: &[&str] = &[
    "access",
    "agree-tos",
    "allow-subset",
    "caa",
    "certificates",
    "delegation",
    "dir",
    "email",
    "key-type",
    "live",
    "must-staple",
    "plugin-dirs",
    "preferred-chain",
    "preferred-profile",
    "profile",
    "propagation",
    "renew-before",
    "reuse-key",
    "store",
    "zones",
];

/// What may lead to one even there, on the line or on one that it is below.
const SECRET_WORDS: &[&str] = &[
    "ca\"", "ca'", "ca:", "deploy", "eab", "hmac", "password", "run", "secret", "shell",
];

/// Keys whose values are never secret.
const SHOWN_KEYS: &[&str] = &[
    "account",
    "agree-tos",
    "algorithm",
    "base-url",
    "ca",
    "each",
    "email",
    "endpoint",
    "env",
    "events",
    "file",
    "group",
    "key-file",
    "key-type",
    "kid",
    "kind",
    "mode",
    "name",
    "names",
    "nameservers",
    "owner",
    "path",
    "profile",
    "propagation",
    "provider",
    "quorum",
    "region",
    "renew-before",
    "resolvers",
    "root",
    "server",
    "settle",
    "timeout",
    "ttl",
    "unsigned",
    "zone",
    "zone-id",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(text: &str, line: usize, column: usize) -> (String, String) {
        let frame = Frame::new(text, line, column).unwrap();
        let meant = frame.text[frame.span.clone()].to_owned();
        (frame.text, meant)
    }

    #[test]
    fn what_is_meant_is_one_token() {
        for (line, column, wanted) in [
            ("ca: letsencrypt", 5, "letsencrypt"),
            ("ca: letsencrypt", 1, "ca"),
            ("zones: { b: c, d: e }", 13, "c"),
            ("email: \"b c\" # no", 8, "\"b c\""),
            ("names: [x.test]", 8, "["),
            ("ключ: значение", 1, "ключ"),
        ] {
            assert_eq!(framed(line, 1, column).1, wanted, "{line}");
        }
    }

    #[test]
    fn no_secret_is_in_a_frame_wherever_the_mistake_is() {
        for line in [
            "  corp: { serer: x, tsig: { secret: canary }, token: \"canary\", zone: y }",
            "  hmac-key: canary",
            "  hmac_key: canary",
            "  eab: canary:canary",
            "  eab: { kid: a, hmac: canary }",
            "  secrett: canary",
            "  secret: [canary, foo]",
            "    canary",
            "  - canary",
            "  secret: |canary",
            "  secret: { comand: [echo, canary] }",
            "  x: { command: [sh, -c, 'a: b', canary], oops",
            "  tsig: canary",
            "  server: x, canary",
        ] {
            for block in ["providers:", "ca:", "provders:"] {
                let text = format!("{block}\n{line}\n");
                for column in 1..=line.len() {
                    let (shown, _) = framed(&text, 2, column);
                    assert!(!shown.contains("canary"), "{column}: {shown}");
                }
            }
        }
        let text = "providers:\n  corp: { kind: rfc2136, servr: ns1 }\n";
        assert_eq!(framed(text, 2, 26).1, "servr");
        assert_eq!(framed("providers:\n  token: canary", 2, 10).1, "[redacted]");
        let text = "zones:\n  example.com: { provider: crop }";
        assert_eq!(framed(text, 2, 28).1, "crop");
        assert_eq!(framed("secret: { file: x }", 1, 1).0, "secret: { file: x }");
        // A space of several octets.
        assert_eq!(framed("\u{2000}ca: x", 1, 0).0, "\u{2000}ca: x");
    }

    #[test]
    fn the_password_of_a_url_is_not_shown() {
        let (text, _) = framed(
            "propagation: { doh: ['https://u:hunter2@dns.test/q'] }",
            1,
            22,
        );
        assert!(!text.contains("hunter2"), "{text}");
        let (text, _) = framed("propagation: { doh: ['https://dns.test/q@x'] }", 1, 22);
        assert!(text.contains("dns.test/q@x"), "{text}");
    }

    #[test]
    fn a_password_below_a_certificate_is_not_shown() {
        let text = "certificates:\n  a:\n    names: [a.test]\n    deploy:\n    - files:\n        pkcs12:\n          password: canary\n          password:\n            canary\n      run: [x, canary]\n    nams: [b.test]\n";
        for line in [7, 9, 10] {
            let (shown, _) = framed(text, line, 12);
            assert!(!shown.contains("canary"), "{shown}");
        }
        assert_eq!(framed(text, 11, 5).0, "    nams: [b.test]");
        assert_eq!(framed("renew-before: x", 1, 15).1, "x");
    }

    proptest! {
        #[test]
        fn any_line_can_be_framed(text in "\\PC{0,60}", column in 0_usize..70) {
            if let Some(frame) = Frame::new(&text, 1, column) {
                prop_assert!(frame.text.get(frame.span.clone()).is_some());
            }
        }
    }
}
