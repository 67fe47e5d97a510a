//! What people are told of the values that runs have left.

use std::time::Duration;

use dnseal_core::dns::TxtValue;
use dnseal_core::issue::Fate;
use dnseal_core::issue::Swept;
use dnseal_core::issue::SweptValue;
use jiff::Timestamp;

use super::Found;
use crate::render::Table;
use crate::render::duration;
use crate::render::plural;

/// What became of certificates, and below it each value that somebody has to see to, or that stays.
pub(super) fn of(swept: &[Swept], found: &[Found]) -> String {
    let mut certificates = Table::untitled();
    for s in swept {
        certificates.row([s.id.to_string(), of_certificate(s)]);
    }
    let mut values: Vec<[String; 3]> = Vec::new();
    for value in swept.iter().flat_map(|s| &s.values) {
        if let Some(what) = of_value(value) {
            values.push([value.owner.to_string(), value.value.to_string(), what]);
        }
    }
    for value in found {
        values.push([
            value.owner.to_string(),
            value.value.to_string(),
            of_found(value),
        ]);
    }
    let mut text = certificates.render("");
    if !values.is_empty() {
        let mut table = Table::new(&["OWNER", "VALUE", "WHAT"]);
        for row in values {
            table.row(row);
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&table.render(""));
    }
    match text.is_empty() {
        true => "nothing is left in DNS\n".to_owned(),
        false => text,
    }
}

fn of_certificate(swept: &Swept) -> String {
    if let Some(problem) = &swept.problem {
        return problem.clone();
    }
    if swept.busy {
        return "a run works on it, nothing was touched".to_owned();
    }
    if swept.awaits_person {
        return "its order waits for a person, nothing was touched: `dnseal issue` goes on with it, and `--forget` gives it up".to_owned();
    }
    let never_set = swept.values.iter().any(|v| v.fate == Fate::NeverSet);
    let mut words = Vec::new();
    let rest = [
        (swept.by_hand, "to be removed by hand"),
        (swept.forgotten, "forgotten"),
        (swept.left, "could not be"),
        (swept.younger, "not old enough"),
    ];
    if swept.withdrawn > 0 || (!never_set && swept.by_hand == 0) {
        words.push(format!("{} withdrawn", plural(swept.withdrawn, "value")));
    }
    for (count, what) in rest {
        match words.is_empty() {
            _ if count == 0 => {}
            true => words.push(format!("{} {what}", plural(count, "value"))),
            false => words.push(format!("{count} {what}")),
        }
    }
    match words.is_empty() {
        true => "no value of it is served".to_owned(),
        false => words.join(", "),
    }
}

/// What there is to say about a value; nothing where it is gone.
fn of_value(value: &SweptValue) -> Option<String> {
    let reason = value.reason.as_deref().unwrap_or("it was not tried");
    match value.fate {
        Fate::Awaited => Some("stays: the order goes on with it".to_owned()),
        Fate::ByHand => Some("a person has set it, and has to remove it".to_owned()),
        Fate::Forgotten => Some(format!(
            "forgotten, remove it by hand if it is still there: {reason}"
        )),
        Fate::Left => Some(format!("stays on record: {reason}")),
        Fate::Younger => Some("stays: not old enough".to_owned()),
        Fate::NeverSet | Fate::Withdrawn => None,
    }
}

fn of_found(value: &Found) -> String {
    let now = Timestamp::now();
    let age = value
        .since
        .and_then(|since| Duration::try_from(now.duration_since(since)).ok())
        .map(|age| {
            let age = Duration::from_secs(age.as_secs());
            format!(", written {} ago", duration(age))
        })
        .unwrap_or_default();
    match value {
        Found {
            problem: Some(problem),
            ..
        } => format!("ours{age}, and could not be removed: {problem}"),
        Found { removed: true, .. } => format!("ours{age}, removed"),
        Found {
            marked: true,
            value,
            ..
        } if !is_of_challenge(value) => {
            format!("ours{age}, stays: no challenge has such a value")
        }
        Found { marked: true, .. } => format!("ours{age}, stays: not old enough"),
        _ => "stays: nothing says that it is ours".to_owned(),
    }
}

/// Whether it has the form that RFC 8555 section 8.4 gives: people set other values with `dns set`, and want them to stay.
pub(super) fn is_of_challenge(value: &TxtValue) -> bool {
    let text = value.to_string();
    text.len() == DIGEST
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// A SHA-256 digest in base64url without padding.
const DIGEST: usize = 43;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgotten_or_left_is_named() {
        let value = |fate, reason: Option<&str>| SweptValue {
            owner: "_acme-challenge.example.test".parse().unwrap(),
            value: "some-value".parse().unwrap(),
            zone: "example.test".parse().unwrap(),
            provider: "corp".to_owned(),
            fate,
            reason: reason.map(str::to_owned),
        };
        let swept = |fate, reason| Swept {
            problem: None,
            values: vec![value(fate, reason)],
            ..Swept::unusable(&"example.test".parse().unwrap(), "")
        };
        for (fate, words) in [
            (Fate::Forgotten, "forgotten, remove it by hand"),
            (Fate::Left, "stays on record: REFUSED"),
            (Fate::ByHand, "a person has set it"),
        ] {
            let text = of(&[swept(fate, Some("REFUSED"))], &[]);
            assert!(
                text.contains("_acme-challenge.example.test  some-value  "),
                "{text}"
            );
            assert!(text.contains(words), "{text}");
        }
        let text = of(&[swept(Fate::NeverSet, None)], &[]);
        assert!(!text.contains("some-value"), "{text}");
        assert!(!text.contains("withdrawn"), "{text}");
    }
}
