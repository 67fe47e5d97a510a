//! Where in the file something stands that was found wrong only later.
//!
//! The YAML parser tells the place of an error and of nothing else; so the text is read once more by a reader that walks down
//! the path and fails at its end. Only an error pays for that, and the places are those of the one parser there is.

use std::fmt;

use serde::de;
use serde::de::DeserializeSeed;
use serde::de::Deserializer;
use serde::de::IgnoredAny;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;

/// A place in the file: the way to it through keys and indices, and whether its key or its value is meant.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Place {
    path: Vec<String>,
    key: bool,
}

impl Place {
    /// The value below these keys.
    pub(crate) fn value<S: Into<String>>(path: impl IntoIterator<Item = S>) -> Self {
        Self {
            path: path.into_iter().map(Into::into).collect(),
            key: false,
        }
    }

    /// The same place with one more key or index.
    pub(crate) fn at(&self, next: impl fmt::Display) -> Self {
        let mut path = self.path.clone();
        path.push(next.to_string());
        Self {
            path,
            key: self.key,
        }
    }

    /// The last key instead of what stands under it.
    pub(crate) fn key(mut self) -> Self {
        self.key = true;
        self
    }

    /// Line and column of this place in `text`, both from 1; of the nearest place above it where it is not there.
    pub(crate) fn find(&self, text: &str) -> Option<(usize, usize)> {
        (0..=self.path.len())
            .rev()
            .find_map(|depth| self.find_at_depth(text, depth))
    }

    fn find_at_depth(&self, text: &str, depth: usize) -> Option<(usize, usize)> {
        // Instead of an item that is not there the whole value, instead of a key the one above.
        let key = match self.path.get(depth) {
            Some(missing) => missing.parse::<usize>().is_err(),
            None => self.key,
        };
        let walk = Walk {
            path: &self.path[..depth],
            key,
        };
        let error = walk
            .deserialize(serde_yaml::Deserializer::from_str(text))
            .err()?;
        let location = error.location()?;
        Some((location.line(), location.column()))
    }
}

/// Reads down `path`, fails there, and succeeds where the path leads nowhere.
#[derive(Clone, Copy)]
struct Walk<'a> {
    path: &'a [String],
    key: bool,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.path.is_empty() {
            // This visitor accepts nothing, so that the parser says where it is.
            true => deserializer.deserialize_any(Here),
            false => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table or a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let [wanted, rest @ ..] = self.path else {
            return Ok(());
        };
        let key = KeySeed {
            wanted,
            stop: self.key && rest.is_empty(),
        };
        while let Some(found) = map.next_key_seed(key)? {
            match found {
                true => map.next_value_seed(Walk { path: rest, ..self })?,
                false => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let [wanted, rest @ ..] = self.path else {
            return Ok(());
        };
        for index in 0.. {
            let more = match wanted.parse() == Ok(index) {
                true => seq
                    .next_element_seed(Walk { path: rest, ..self })?
                    .is_some(),
                false => seq.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Whether a key is the wanted one; fails at it where the key itself is meant.
#[derive(Clone, Copy)]
struct KeySeed<'a> {
    wanted: &'a str,
    stop: bool,
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<bool, E> {
        match key == self.wanted {
            true if self.stop => Err(E::custom("here")),
            found => Ok(found),
        }
    }
}

struct Here;

impl Visitor<'_> for Here {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# A comment first
ca: letsencrypt
providers:
  corp: { kind: rfc2136, tsig: { name: k } }
certificates:
  a.test:
    names: [a.test, \"*.a.test\"]
";

    #[test]
    fn keys_values_and_items_are_found() {
        for (place, wanted) in [
            (Place::value(["ca"]), (2, 5)),
            (Place::value(["ca"]).key(), (2, 1)),
            (Place::value(["providers", "corp", "kind"]), (4, 17)),
            (
                Place::value(["providers", "corp", "tsig", "name"]).key(),
                (4, 34),
            ),
            (
                Place::value(["certificates", "a.test", "names", "1"]),
                (7, 21),
            ),
            // Not there: the nearest above.
            (
                Place::value(["providers", "corp", "tsig", "secret"]),
                (4, 26),
            ),
            (Place::value(["ca", "url"]), (2, 1)),
        ] {
            assert_eq!(place.find(TEXT), Some(wanted), "{place:?}");
        }
    }
}
