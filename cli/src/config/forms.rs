//! How values are read that may be written in more than one way.
//!
//! Every visitor says in its own words what it expects, because those words are the error message. None repeats
//! the value it refuses where that may be a secret.

use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::Deserializer;
use serde::de;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde::de::value::MapAccessDeserializer;

use crate::config::raw::Ca;
use crate::config::raw::CaTable;
use crate::config::raw::Delegation;
use crate::config::raw::DelegationTarget;
use crate::config::raw::Duration;
use crate::config::raw::Node;
use crate::config::raw::OneOrMore;
use crate::config::raw::Provider;
use crate::config::raw::Secret;
use crate::config::raw::SecretReference;
use crate::config::raw::Table;

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Table<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries: Vec<(String, T)> = Vec::new();
                let mut keys = HashSet::new();
                while let Some(key) = map.next_key::<String>()? {
                    if !keys.insert(key.clone()) {
                        return Err(de::Error::custom(format!("`{key}` stands here twice")));
                    }
                    entries.push((key, map.next_value()?));
                }
                Ok(Table(entries))
            }
        }

        deserializer.deserialize_map(Entries(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Ca {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrTable;

        impl<'de> Visitor<'de> for NameOrTable {
            type Value = Ca;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a CA's name, a URL, a table with `url`, `root` and `eab`, or a list of these",
                )
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Ca::NameOrUrl(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                CaTable::deserialize(MapAccessDeserializer::new(map)).map(Ca::Table)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut cas = Vec::new();
                while let Some(ca) = seq.next_element()? {
                    cas.push(ca);
                }
                Ok(Ca::List(cas))
            }
        }

        deserializer.deserialize_any(NameOrTable)
    }
}

impl<'de> Deserialize<'de> for Delegation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordOrTarget;

        impl<'de> Visitor<'de> for WordOrTarget {
            type Value = Delegation;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`follow`, `none` or `{ target: NAME }`")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Self::Value, E> {
                match word {
                    "follow" => Ok(Delegation::Follow),
                    "none" => Ok(Delegation::Here),
                    _ => Err(de::Error::invalid_value(de::Unexpected::Str(word), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                DelegationTarget::deserialize(MapAccessDeserializer::new(map)).map(Delegation::To)
            }
        }

        deserializer.deserialize_any(WordOrTarget)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrReference;

        impl<'de> Visitor<'de> for TextOrReference {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`{ file: … }`, `{ env: … }`, `{ command: […] }` or a text")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Secret::Literal(text.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                SecretReference::deserialize(MapAccessDeserializer::new(map)).map(Secret::Reference)
            }
        }

        // A key of digits alone is still a text.
        deserializer.deserialize_any(Digits(TextOrReference))
    }
}

/// Lets numbers pass as the text they were written as, as far as YAML keeps it.
struct Digits<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for Digits<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        self.0.visit_str(text)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        self.0.visit_str(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        self.0.visit_str(&number.to_string())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        self.0.visit_map(map)
    }
}

impl<'de> Deserialize<'de> for OneOrMore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrList;

        impl<'de> Visitor<'de> for TextOrList {
            type Value = OneOrMore;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(OneOrMore(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = seq.next_element()? {
                    texts.push(text);
                }
                Ok(OneOrMore(texts))
            }
        }

        deserializer.deserialize_any(TextOrList)
    }
}

/// Nobody means more, and clocks cannot be asked about it.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(10 * 366 * 86_400);

impl std::str::FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let duration = match text.parse() {
            Ok(seconds) => Some(std::time::Duration::from_secs(seconds)),
            Err(_) => text
                .parse::<jiff::SignedDuration>()
                .ok()
                .and_then(|d| d.try_into().ok()),
        };
        match duration {
            Some(duration) if duration <= LONGEST => Ok(Self(duration)),
            Some(_) => Err(format!("`{text}` is longer than ten years")),
            None => Err(format!("`{text}` is no duration such as `90s` or `5m`")),
        }
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Duration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as `90s` or `5m`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Self::Value, E> {
                self.visit_str(&seconds.to_string())
            }
        }

        deserializer.deserialize_any(Text)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a setting")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Node::Scalar(text.to_owned()))
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
                Ok(Node::Scalar(value.to_string()))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
                Ok(Node::Scalar(value.to_string()))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
                Ok(Node::Scalar(value.to_string()))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
                Ok(Node::Scalar(value.to_string()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(node) = seq.next_element()? {
                    match node {
                        Node::Scalar(text) => items.push(text),
                        Node::List(_) | Node::Table(_) => {
                            return Err(de::Error::custom("a list holds texts or numbers only"));
                        }
                    }
                }
                Ok(Node::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                Table::<Node>::deserialize(MapAccessDeserializer::new(map))
                    .map(|t| Node::Table(t.0))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

impl<'de> Deserialize<'de> for Provider {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KindAndSettings;

        impl<'de> Visitor<'de> for KindAndSettings {
            type Value = Provider;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table with `kind` and the settings of that kind")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut kind = None;
                let mut propagation = None;
                let mut settings: Vec<(String, Node)> = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    let twice = match key.as_str() {
                        "kind" => kind.replace(map.next_value()?).is_some(),
                        "propagation" => propagation.replace(map.next_value()?).is_some(),
                        _ => {
                            let twice = settings.iter().any(|(k, _)| *k == key);
                            settings.push((key.clone(), map.next_value()?));
                            twice
                        }
                    };
                    if twice {
                        return Err(de::Error::custom(format!("`{key}` stands here twice")));
                    }
                }
                Ok(Provider {
                    kind: kind.ok_or_else(|| de::Error::missing_field("kind"))?,
                    propagation,
                    settings,
                })
            }
        }

        deserializer.deserialize_map(KindAndSettings)
    }
}
