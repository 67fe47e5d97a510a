//! How answers are written: an object's `id` comes first, as the service has it and as shell scripts that read with
//! `egrep` rely on.

use serde::{Serialize, Serializer};
use serde_json::Value;

/// A value whose objects begin with their `id`.
pub(super) struct IdFirst<'a>(pub(super) &'a Value);

impl Serialize for IdFirst<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Array(items) => serializer.collect_seq(items.iter().map(IdFirst)),
            Value::Object(members) => {
                let is_id = |name: &str| name == "id";
                let first = members.iter().filter(|(name, _)| is_id(name));
                let rest = members.iter().filter(|(name, _)| !is_id(name));
                serializer.collect_map(first.chain(rest).map(|(name, it)| (name, IdFirst(it))))
            }
            plain => plain.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_id_comes_first_at_every_depth() {
        let value = json!({"result": [{"account": {"name": "a", "id": "2"}, "id": "1"}]});
        assert_eq!(
            serde_json::to_string(&IdFirst(&value)).unwrap(),
            r#"{"result":[{"id":"1","account":{"id":"2","name":"a"}}]}"#
        );
    }
}
