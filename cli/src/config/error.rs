//! What is wrong with a configuration, and where.

use std::path::PathBuf;

use crate::config::Source;

/// An error in the configuration file.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ConfigError {
    message: String,
    hint: Option<String>,
    path: PathBuf,
    frame: Option<Box<Frame>>,
}

/// One line of the file, and what of it is meant.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// The line's number, from 1.
    pub(crate) line: usize,
    /// The column of the first character that is meant, from 1, as it is in the file.
    pub(crate) column: usize,
    /// The line, with secrets taken out.
    pub(crate) text: String,
    /// The octets of `text` that are meant.
    pub(crate) span: std::ops::Range<usize>,
}

impl ConfigError {
    /// About the file as a whole.
    pub(crate) fn whole(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            path: path.into(),
            frame: None,
        }
    }

    /// About what stands at this line and column of `source`.
    pub(crate) fn at(
        source: &Source,
        place: Option<(usize, usize)>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            frame: place
                .and_then(|(line, column)| Frame::new(source.text(), line, column).map(Box::new)),
            ..Self::whole(source.path(), message)
        }
    }

    /// The same, with what to do about it.
    pub(crate) fn with_hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.hint = hint.into();
        self
    }

    pub(crate) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }

    pub(crate) fn frame(&self) -> Option<&Frame> {
        self.frame.as_deref()
    }
}

impl Frame {
    fn new(text: &str, line: usize, column: usize) -> Option<Self> {
        // What ends too early is noticed behind the last line.
        let line = line.min(text.lines().count());
        let original = text.lines().nth(line.checked_sub(1)?)?;
        let start = original
            .char_indices()
            .nth(column.saturating_sub(1))
            .map_or(original.len(), |(index, _)| index);
        let end = start + token_length(&original[start..]);
        let (text, span) = redact(original, start..end);
        Some(Self {
            line,
            column,
            text,
            span,
        })
    }
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
                .max(1)
        }
    }
}

/// Takes out of a line what stands under a key that holds a secret.
fn redact(line: &str, span: std::ops::Range<usize>) -> (String, std::ops::Range<usize>) {
    let mut text = String::with_capacity(line.len());
    let mut moved = span.clone();
    let mut from = 0;
    while let Some(value) = next_secret(line, from) {
        text.push_str(&line[from..value.start]);
        let new_start = text.len();
        text.push_str(REDACTED);
        let shift = |at: usize, old: usize| match at {
            at if at >= value.end => (old + REDACTED.len()).saturating_sub(value.len()),
            at if at > value.start => new_start + REDACTED.len(),
            _ => old,
        };
        let begins_inside = span.start > value.start && span.start < value.end;
        moved = match begins_inside {
            true => new_start..shift(span.end, moved.end),
            false => shift(span.start, moved.start)..shift(span.end, moved.end),
        };
        from = value.end;
    }
    text.push_str(&line[from..]);
    (text, moved)
}

/// The next scalar in `line`, from `from` on, under a key that may hold a secret.
fn next_secret(line: &str, from: usize) -> Option<std::ops::Range<usize>> {
    let lower = line.to_ascii_lowercase();
    SECRET_WORDS
        .iter()
        .filter_map(|word| {
            let mut search = from;
            loop {
                let at = search + lower.get(search..)?.find(word)?;
                let after = at + word.len();
                search = after;
                let Some(rest) = lower[after..]
                    .trim_start_matches(['"', '\''])
                    .strip_prefix(':')
                else {
                    continue;
                };
                let start = line.len() - rest.trim_start().len();
                let value = &line[start..];
                if value.is_empty() || value.starts_with(['{', '#']) {
                    continue;
                }
                return Some(start..start + token_length(value));
            }
        })
        .min_by_key(|range| range.start)
}

/// The candidate nearest to `given`, if a slip of the keyboard explains the difference.
pub(crate) fn nearest<'a>(
    given: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let given = given.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&given, candidate), candidate))
        .filter(|(distance, candidate)| {
            *distance <= 1 + candidate.len() / 4 && distance * 2 < candidate.len()
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// What stands in place of a secret.
pub(crate) const REDACTED: &str = "[redacted]";

/// How keys end that hold secrets, in lower case.
const SECRET_WORDS: &[&str] = &[
    "secret",
    "hmac-key",
    "token",
    "password",
    "passwd",
    "api-key",
    "access-key",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(line: &str, column: usize) -> (String, String) {
        let frame = Frame::new(line, 1, column).unwrap();
        let meant = frame.text[frame.span.clone()].to_owned();
        (frame.text, meant)
    }

    #[test]
    fn what_is_meant_is_one_token() {
        for (line, column, wanted) in [
            ("ca: letsencrypt", 5, "letsencrypt"),
            ("ca: letsencrypt", 1, "ca"),
            ("a: { b: c, d: e }", 9, "c"),
            ("a: \"b c\" # no", 4, "\"b c\""),
            ("names: [x.test]", 8, "["),
            ("ключ: значение", 1, "ключ"),
        ] {
            assert_eq!(framed(line, column).1, wanted, "{line}");
        }
    }

    #[test]
    fn no_secret_is_in_a_frame() {
        let line = "corp: { serer: x, tsig: { secret: canary }, token: \"canary\", zone: y }";
        for column in 1..=line.len() {
            let (text, _) = framed(line, column);
            assert!(!text.contains("canary"), "{column}: {text}");
        }
        let column = line.find("zone").unwrap() + 1;
        assert_eq!(framed(line, column).1, "zone");
        let line = "  hmac-key: canary";
        assert_eq!(framed(line, 13).0, "  hmac-key: [redacted]");
        assert_eq!(framed(line, 13).1, "[redacted]");
        assert_eq!(framed("secret: { file: x }", 1).0, "secret: { file: x }");
    }
}
