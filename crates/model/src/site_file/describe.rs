//! What a site file can say, as a JSON schema and as a commented sample; and what one does say, in full.

use serde_json::{Map, Value};

use super::{ComponentKind, Hook, SiteFile};
use crate::Level;

/// The JSON schema of the site file, as text. Editors use it to complete and check keys; what it cannot say (one
/// destination, keys that exclude each other) is checked by [`super::parse`].
pub fn schema() -> String {
    // A schema is plain JSON with text keys, so it can always be written.
    let mut text = serde_json::to_string_pretty(&schema_value()).unwrap_or_default();
    text.push('\n');
    text
}

/// The settings in effect as TOML, with all defaults; those that are not a value of the file itself are comments. Reads
/// back as the same site file.
pub fn effective(file: &SiteFile) -> String {
    let plain = match toml::to_string(file) {
        Ok(plain) => plain,
        Err(error) => return format!("# the settings cannot be shown: {error}\n"),
    };
    let mut components = file.components.iter();
    let mut text = String::with_capacity(plain.len());
    for line in plain.lines() {
        text.push_str(line);
        text.push('\n');
        match line {
            "[hook]" if file.hook.program.is_none() => {
                text.push_str(&format!(
                    "# program: {} beside the site file, if it is there\n",
                    Hook::DEFAULT_NAME
                ));
            }
            "[alerts]" if file.alerts.no_success_for.is_none() => text.push_str(match file.schedule {
                Some(_) => "# no_success_for: two hours more than [schedule] allows\n",
                None => "# no_success_for: any time, since nothing is scheduled\n",
            }),
            "[[component]]" => {
                if let Some(component) = components.next().filter(|component| component.level.is_none()) {
                    text.push_str(&format!("# level: {}\n", level_of_type(&component.kind)));
                }
            }
            _ => {}
        }
    }
    // A text of several lines may look like a table; then the plain form must do.
    if super::parse(&text).is_ok_and(|again| again == *file) { text } else { plain }
}

fn level_of_type(kind: &ComponentKind) -> String {
    let usual = kind.usual_level();
    match kind {
        ComponentKind::Sqlite(_) => {
            format!(
                "{usual}; {} when it has a rollback journal and a service is held by the freezer",
                Level::Lock
            )
        }
        _ => usual.to_string(),
    }
}

/// A sample with every key, one line of explanation for each, and its default.
pub fn sample() -> &'static str {
    include_str!("sample.toml")
}

/// The schema of the types, made to say what TOML and the parser do: there is no null, and a component and a channel
/// have the keys of their type and no others.
pub(super) fn schema_value() -> Value {
    let mut schema = schemars::schema_for!(SiteFile).to_value();
    without_null(&mut schema);
    for typed in ["/$defs/Component", "/$defs/Channel"] {
        if let Some(table) = schema.pointer_mut(typed).and_then(Value::as_object_mut) {
            close_types(table);
        }
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

/// Moves the keys that all types of a table share into each type, so that each can refuse other keys.
fn close_types(table: &mut Map<String, Value>) {
    let shared = table.remove("properties").unwrap_or_default();
    let Some(Value::Array(types)) = table.get_mut("oneOf") else { return };
    for one in types.iter_mut().filter_map(Value::as_object_mut) {
        if let (Some(Value::Object(keys)), Value::Object(shared)) = (one.get_mut("properties"), &shared) {
            keys.extend(shared.clone());
        }
        if let Some(Value::Array(required)) = one.get_mut("required") {
            required.insert(0, Value::from("name"));
        }
        one.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    table.remove("required");
}
