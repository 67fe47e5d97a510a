//! Lists in the texts of errors.

use crate::dns::ByHand;
use crate::dns::Identifier;
use crate::dns::WriteError;
use crate::issue::CaaRefusal;

pub(super) fn refused(refusals: &[CaaRefusal]) -> String {
    match refusals {
        [] => "CAA records forbid it".to_owned(),
        [one] => one.to_string(),
        [first, rest @ ..] => format!("{first}; and {} more names", rest.len()),
    }
}

pub(super) fn by_hand(records: &[ByHand]) -> String {
    let what = match records {
        [] => return "what a person has to set is not there yet".to_owned(),
        [one] => format!("a {} record has", one.record_type),
        [one, ..] => format!("{} {} records have", records.len(), one.record_type),
    };
    format!("{what} to be set by hand")
}

pub(super) fn these(before: &str, names: &[Identifier]) -> String {
    match names.is_empty() {
        true => String::new(),
        false => format!("{before}{}", list(names)),
    }
}

pub(super) fn more(others: usize) -> String {
    match others {
        0 => String::new(),
        n => format!(" (and {n} more)"),
    }
}

pub(super) fn list(names: &[Identifier]) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    names.join(", ")
}

pub(super) fn offers(others: &[String]) -> String {
    match others.is_empty() {
        true => "offers nothing".to_owned(),
        false => format!("offers {}", others.join(", ")),
    }
}

pub(super) fn writes(errors: &[(Identifier, WriteError)]) -> String {
    match errors {
        [] => "nothing could be written".to_owned(),
        [(_, error)] => error.to_string(),
        [(_, error), rest @ ..] => format!("{error} (and {} more)", rest.len()),
    }
}
