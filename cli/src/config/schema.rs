//! The JSON Schema of the configuration file, from the types that read it and the registry of providers.

use std::borrow::Cow;
use std::collections::BTreeMap;

use dnseal_core::acme::KeyType;
use dnseal_providers::Form;
use dnseal_providers::Integration;
use dnseal_providers::Kind;
use dnseal_providers::Setting;
use dnseal_providers::kinds;
use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use schemars::json_schema;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::config::raw::Ca;
use crate::config::raw::CaTable;
use crate::config::raw::Config;
use crate::config::raw::Delegation;
use crate::config::raw::DelegationTarget;
use crate::config::raw::Duration;
use crate::config::raw::KeyTypeName;
use crate::config::raw::OneOrMore;
use crate::config::raw::Propagation;
use crate::config::raw::Provider;
use crate::config::raw::Secret;
use crate::config::raw::SecretReference;
use crate::config::raw::Table;

/// The schema as a JSON document.
pub(crate) fn schema() -> Value {
    SchemaGenerator::new(SchemaSettings::draft2020_12())
        .into_root_schema_for::<Config>()
        .into()
}

impl<T: JsonSchema> JsonSchema for Table<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("TableOf{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        BTreeMap::<String, T>::json_schema(generator)
    }

    fn inline_schema() -> bool {
        true
    }
}

impl JsonSchema for Ca {
    fn schema_name() -> Cow<'static, str> {
        "Ca".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<CaTable>();
        let one = json!([{ "type": "string" }, table]);
        let several = json!({ "type": "array", "minItems": 1, "items": { "anyOf": one } });
        json_schema!({ "anyOf": [one[0], one[1], several] })
    }
}

impl JsonSchema for Delegation {
    fn schema_name() -> Cow<'static, str> {
        "Delegation".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let target = generator.subschema_for::<DelegationTarget>();
        json_schema!({ "anyOf": [{ "enum": ["follow", "none"] }, target] })
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let reference = generator.subschema_for::<SecretReference>();
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "number" }, reference] })
    }
}

impl JsonSchema for OneOrMore {
    fn schema_name() -> Cow<'static, str> {
        "OneOrMore".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "string" },
            { "type": "array", "items": { "type": "string" } },
        ] })
    }

    fn inline_schema() -> bool {
        true
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Such as `90s`, `5m`, `1h 30m`, or a number of seconds.",
            "anyOf": [{ "type": "string" }, { "type": "integer", "minimum": 0 }],
        })
    }
}

impl JsonSchema for KeyTypeName {
    fn schema_name() -> Cow<'static, str> {
        "KeyType".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names = KeyType::ALL.map(KeyType::as_str);
        json_schema!({ "type": "string", "enum": names })
    }
}

impl JsonSchema for Provider {
    fn schema_name() -> Cow<'static, str> {
        "Provider".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let of_kinds: Vec<Value> = kinds()
            .iter()
            .map(|kind| kind_schema(kind, generator))
            .chain([plugin_schema()])
            .collect();
        json_schema!({ "description": "A DNS provider.", "anyOf": of_kinds })
    }
}

fn kind_schema(kind: &Kind, generator: &mut SchemaGenerator) -> Value {
    let mut properties = Map::new();
    properties.insert("kind".into(), json!({ "const": kind.kind }));
    properties.insert(
        "propagation".into(),
        json!(generator.subschema_for::<Propagation>()),
    );
    for setting in kind.settings.iter().filter(|s| s.key != "*") {
        let schema = setting_schema(setting, generator);
        for key in setting.aliases.iter().chain([&setting.key]) {
            let path: Vec<&str> = key.split('.').collect();
            insert(&mut properties, &path, &schema);
        }
    }
    json!({
        "title": kind.title,
        "type": "object",
        "properties": properties,
        "required": ["kind"],
        "additionalProperties": matches!(kind.integration, Integration::AnyPlugin),
    })
}

/// A plugin that has a name: what it can be told, it says itself.
fn plugin_schema() -> Value {
    let built_in: Vec<&str> = kinds().iter().map(|kind| kind.kind).collect();
    json!({
        "title": "a plugin, by its name",
        "type": "object",
        "properties": {
            "kind": { "type": "string", "pattern": "^[a-z0-9-]+$", "not": { "enum": built_in } },
        },
        "required": ["kind"],
        "additionalProperties": true,
    })
}

/// Puts `schema` where nested tables have it, and under the dotted key too.
fn insert(properties: &mut Map<String, Value>, path: &[&str], schema: &Value) {
    let [first, rest @ ..] = path else { return };
    properties.insert(path.join("."), schema.clone());
    if rest.is_empty() {
        return;
    }
    let table = properties.entry(*first).or_insert_with(
        || json!({ "type": "object", "properties": {}, "additionalProperties": false }),
    );
    if let Some(Value::Object(inner)) = table.get_mut("properties") {
        insert(inner, rest, schema);
    }
}

fn setting_schema(setting: &Setting, generator: &mut SchemaGenerator) -> Value {
    let reference = generator.subschema_for::<SecretReference>();
    let written = match setting.form {
        Form::Duration | Form::Number => json!({ "type": ["string", "number"] }),
        Form::Flag => json!({ "type": ["string", "boolean"] }),
        Form::File => json!({ "type": "string", "description": "A path, relative to this file." }),
        Form::Secret | Form::Text => json!({ "type": ["string", "number"] }),
        Form::Words => json!({ "type": ["string", "array"], "items": { "type": "string" } }),
    };
    let mut schema = json!({ "description": setting.help, "anyOf": [written, reference] });
    if let (Some(default), Some(schema)) = (setting.default, schema.as_object_mut()) {
        schema.insert("default".into(), default.into());
    }
    schema
}
