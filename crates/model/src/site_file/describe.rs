//! What a site file can say, as a JSON schema and as a commented sample; and what one does say, in full.

use serde_json::{Map, Value};

use super::SiteFile;

/// The JSON schema of the site file, as text. Editors use it to complete and check keys; what it cannot say (one
/// destination, keys that exclude each other) is checked by [`super::parse`].
pub fn schema() -> String {
    // A schema is plain JSON with text keys, so it can always be written.
    let mut text = serde_json::to_string_pretty(&schema_value()).unwrap_or_default();
    text.push('\n');
    text
}

/// The settings in effect as TOML, with all defaults. Reads back as the same site file.
pub fn effective(file: &SiteFile) -> String {
    toml::to_string(file).unwrap_or_else(|error| format!("# the settings cannot be shown: {error}\n"))
}

/// A sample with every key, one line of explanation for each, and its default.
pub fn sample() -> &'static str {
    include_str!("sample.toml")
}

/// The schema of the types, made to say what TOML and the parser do: there is no null, and a component has the keys of
/// its type and no others.
pub(super) fn schema_value() -> Value {
    let mut schema = schemars::schema_for!(SiteFile).to_value();
    without_null(&mut schema);
    if let Some(component) = schema.pointer_mut("/$defs/Component").and_then(Value::as_object_mut) {
        close_component(component);
    }
    schema
}

/// Takes `null` out of every list of types and of alternatives.
fn without_null(value: &mut Value) {
    match value {
        Value::Object(object) => {
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(alternatives)) = object.get_mut("anyOf") {
                alternatives.retain(|alternative| alternative["type"] != "null");
                if let [Value::Object(only)] = alternatives.as_slice() {
                    let only = only.clone();
                    object.remove("anyOf");
                    object.extend(only);
                }
            }
            object.values_mut().for_each(without_null);
        }
        Value::Array(elements) => elements.iter_mut().for_each(without_null),
        _ => {}
    }
}

/// Moves the keys that all types of component share into each type, so that each can refuse other keys.
fn close_component(component: &mut Map<String, Value>) {
    let shared = component.remove("properties").unwrap_or_default();
    let Some(Value::Array(types)) = component.get_mut("oneOf") else { return };
    for one in types.iter_mut().filter_map(Value::as_object_mut) {
        if let (Some(Value::Object(keys)), Value::Object(shared)) = (one.get_mut("properties"), &shared) {
            keys.extend(shared.clone());
        }
        if let Some(Value::Array(required)) = one.get_mut("required") {
            required.insert(0, Value::from("name"));
        }
        one.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    component.remove("required");
}
