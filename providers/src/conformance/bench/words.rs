//! Outcomes and values in a sentence.

use dnseal_core::dns::Outcome;
use dnseal_core::dns::TxtValue;

/// What became of each change.
pub(super) fn outcomes(outcomes: &[Outcome]) -> String {
    let words = outcomes.iter().map(|outcome| match outcome {
        Outcome::Applied { .. } => "applied".to_owned(),
        Outcome::Refused { reason } => format!("refused ({reason})"),
        Outcome::Unknown { reason } => format!("of unknown fate ({reason})"),
    });
    list(words.collect(), "without any outcome")
}

/// The values at a name.
pub(super) fn values(values: &[TxtValue]) -> String {
    list(values.iter().map(|v| format!("`{v}`")).collect(), "nothing")
}

/// What should be at a name, and is; of many values those that make the difference.
pub(super) fn difference(wanted: &[TxtValue], seen: &[TxtValue]) -> String {
    if wanted.len().max(seen.len()) <= FEW {
        return format!("should hold {}, and holds {}", values(wanted), values(seen));
    }
    let without = |all: &[TxtValue], others: &[TxtValue]| {
        let all = all.iter().filter(|value| !others.contains(value));
        all.cloned().collect::<Vec<_>>()
    };
    let (lacks, foreign) = (without(wanted, seen), without(seen, wanted));
    let lacks = format!(
        "lacks {} of {} values: {}",
        lacks.len(),
        wanted.len(),
        values(&lacks)
    );
    match foreign.as_slice() {
        [] => lacks,
        foreign => format!("{lacks}; it holds what it should not: {}", values(foreign)),
    }
}

fn list(mut words: Vec<String>, none: &str) -> String {
    let more = words.len().saturating_sub(SHOWN);
    if more > 0 {
        words.truncate(SHOWN);
        return format!("{} and {more} more", words.join(", "));
    }
    match words.pop() {
        None => none.to_owned(),
        Some(last) if words.is_empty() => last,
        Some(last) => format!("{} and {last}", words.join(", ")),
    }
}

/// Values of which all are told.
const FEW: usize = 4;
/// What a sentence holds.
const SHOWN: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_looks_like_source_code() {
        let reason = "not in the zone".to_owned();
        let applied = Outcome::Applied { handle: None };
        let told = [applied.clone(), Outcome::Refused { reason }, applied];
        assert_eq!(
            outcomes(&told),
            "applied, refused (not in the zone) and applied"
        );
        let of = |texts: &[&str]| -> Vec<TxtValue> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        assert_eq!(
            difference(&of(&["a", "b"]), &of(&["b"])),
            "should hold `a` and `b`, and holds `b`"
        );
        assert_eq!(
            difference(&of(&["a"]), &[]),
            "should hold `a`, and holds nothing"
        );
        assert_eq!(
            difference(&of(&["a", "b", "c", "d", "e"]), &of(&["a", "b", "c", "x"])),
            "lacks 2 of 5 values: `d` and `e`; it holds what it should not: `x`"
        );
    }
}
