//! What a plugin has sent, into types: where it does not fit, the error names the member and what that has to be, in JSON's words.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Path;
use serde_path_to_error::Segment;

/// Reads `value`. The error quotes what was sent, which may have secrets and control characters in it.
pub(super) fn read<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let (place, at) = find(value, error.path());
        in_words(&place, at, &error.inner().to_string())
    })
}

fn in_words(place: &str, at: Option<&Value>, problem: &str) -> String {
    let subject = match place {
        "" => "it".to_owned(),
        place => format!("`{place}`"),
    };
    if let Some(member) = problem.strip_prefix("missing field ") {
        return format!("{subject} has no member {member}");
    }
    let of_type = ["invalid type: ", "invalid value: ", "unknown variant "];
    match (at, problem.rsplit_once(", expected ")) {
        (Some(at), Some((_, wanted))) if of_type.iter().any(|begin| problem.starts_with(begin)) => {
            format!("{subject} is {}, and has to be {}", name(at), json(wanted))
        }
        _ => format!("{subject} does not fit: {problem}"),
    }
}

/// The member at `path` as a person writes it, and what is there.
fn find<'a>(value: &'a Value, path: &Path) -> (String, Option<&'a Value>) {
    let (mut place, mut at) = (String::new(), Some(value));
    for segment in path.iter() {
        match segment {
            Segment::Seq { index } => {
                place.push_str(&format!("[{index}]"));
                at = at.and_then(|at| at.get(index));
            }
            Segment::Map { key } => {
                let is_word = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
                place.push_str(&match (is_word, place.is_empty()) {
                    (true, true) => key.clone(),
                    (true, false) => format!(".{key}"),
                    (false, _) => format!("[{}]", Value::from(key.as_str())),
                });
                at = at.and_then(|at| at.get(key));
            }
            // Neither is a member.
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    (place, at)
}

fn name(value: &Value) -> String {
    match value {
        Value::Array(_) => "an array".to_owned(),
        Value::Bool(_) | Value::Null => value.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) if text.chars().count() > LONGEST => "a long string".to_owned(),
        Value::String(_) => format!("the string {value}"),
    }
}

/// What serde expected.
fn json(wanted: &str) -> &str {
    match wanted {
        "a boolean" => "true or false",
        "a map" => "an object",
        "a sequence" => "an array",
        "f64" => "a number",
        "i64" => "a whole number",
        // Where a number stands for a word.
        "string or map" => "a string",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number from 0",
        wanted if wanted.starts_with("struct ") => "an object",
        wanted => wanted,
    }
}

/// What fits into a message.
const LONGEST: usize = 60;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plugin::protocol::Answer;
    use crate::plugin::protocol::ApplyAnswer;
    use crate::plugin::protocol::Description;
    use crate::plugin::protocol::SettledAnswer;
    use crate::plugin::protocol::ValuesAnswer;
    use crate::plugin::protocol::ZoneAnswer;

    #[test]
    fn errors_name_the_member_and_its_type_in_json() {
        let outcomes = |outcome: Value| json!({ "outcomes": [outcome] });
        for (error, words) in [
            (
                problem::<ApplyAnswer>(outcomes(json!({ "status": "applied", "handle": 17 }))),
                "`outcomes[0].handle` is the number 17, and has to be a string",
            ),
            (
                problem::<ApplyAnswer>(outcomes(json!({ "handle": "a" }))),
                "`outcomes[0]` has no member `status`",
            ),
            (
                problem::<ApplyAnswer>(outcomes(json!({ "status": "odd" }))),
                "`outcomes[0].status` is the string \"odd\", and has to be one of `applied`, `refused`, `unknown`",
            ),
            (
                problem::<ApplyAnswer>(json!({ "outcomes": {} })),
                "`outcomes` is an object, and has to be an array",
            ),
            (
                problem::<ApplyAnswer>(json!("applied")),
                "it is the string \"applied\", and has to be an object",
            ),
            (
                problem::<ZoneAnswer>(json!({ "zone": "example.test" })),
                "`zone` is the string \"example.test\", and has to be an object",
            ),
            (
                problem::<ZoneAnswer>(json!({ "zone": { "id": null, "name": "a.test" } })),
                "`zone.id` is null, and has to be a string",
            ),
            (
                problem::<ValuesAnswer>(json!({ "values": { "_a.example.test": "v" } })),
                "`values[\"_a.example.test\"]` is the string \"v\", and has to be an array",
            ),
            (
                problem::<SettledAnswer>(json!({ "status": "pending", "again_in": "4s" })),
                "`again_in` is the string \"4s\", and has to be a number",
            ),
            (
                problem::<Answer>(
                    json!({ "jsonrpc": "2.0", "error": { "code": "zone-not-found" } }),
                ),
                "`error.code` is the string \"zone-not-found\", and has to be a whole number",
            ),
            (
                problem::<Description>(
                    json!({ "protocol": 1, "capabilities": { "ttl": -1, "write_safety": "per-value" } }),
                ),
                "`capabilities.ttl` is the number -1, and has to be a whole number from 0 to 4294967295",
            ),
            (
                problem::<Description>(
                    json!({ "protocol": 1, "capabilities": { "ttl": 1, "write_safety": 3 } }),
                ),
                "`capabilities.write_safety` is the number 3, and has to be a string",
            ),
        ] {
            assert_eq!(error, words);
        }
        let zone = problem::<ZoneAnswer>(json!({ "zone": { "name": "a..b" } }));
        assert!(zone.starts_with("`zone.name` does not fit: "), "{zone}");
    }

    fn problem<T: DeserializeOwned>(value: Value) -> String {
        read::<T>(&value).err().unwrap()
    }
}
