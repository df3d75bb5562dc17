//! The document `docs/site-file.md`, made from the schema, so that it has every key with the words of the types.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::describe::{sample, schema_value};

/// The tables in the order in which people meet them.
const TABLES: [&str; 5] = ["site", "destination", "task", "deadlines", "hook"];

const INTRODUCTION: &str = "\
# The site file

<!-- Made from the types in crates/model/src/site_file. Rewrite with: UPDATE_GOLDEN=1 cargo test -p stillpoint-model -->

The site file is a TOML file that describes one site: what it is, what is backed up in which order, and where to.
`stillpoint init` drafts one from what it finds running, `stillpoint config show` prints the settings in effect, and
`docs/site-file.schema.json` is its JSON schema for editors.

- Every mistake in the file is told at once, each with its line and its remedy. A file with any mistake is refused whole.
- Unknown keys are mistakes, and so are keys that would have no effect.
- Text is taken as it is: no variables, no tokens, no `~`, no other files. So no path can be built from a text that
  happens to be empty.
- Paths are absolute, without empty, `.` or `..` parts, and never `/`. Any Unicode and spaces are fine.
- Programs are named by their absolute path and get their arguments as they stand. No shell is used.
- A length of time is written like `\"500ms\"`, `\"10s\"`, `\"5m\"`, `\"1h 30m\"` or `\"30d\"`. A day has 24 hours.
- No secret stands in the file: it says where each comes from.
- What must also hold: names of components, of archives, of channels and of probes are unique; nothing is backed up twice;
  the destination, archives on this machine and the sources are apart from each other; no single deadline is longer than
  the `window` that it is a part of; the minimum grade can be reached; what happened is kept as long as alerts look back.
";

/// The text of `docs/site-file.md`.
pub fn site_file_document() -> String {
    let schema = schema_value();
    let mut text = String::from(INTRODUCTION);
    for name in TABLES {
        let table = resolve(&schema, &schema["properties"][name]);
        section(&mut text, &schema, &format!("[{name}]"), table);
    }
    typed(&mut text, &schema, "component", &schema["$defs"]["Component"]);
    section(&mut text, &schema, "[[archive]]", &schema["$defs"]["Archive"]);
    alternatives(&mut text, &schema, "Where a secret comes from", &schema["$defs"]["SecretSource"]);
    section(&mut text, &schema, "`keep` of [[archive]]", &schema["$defs"]["Keep"]);
    section(&mut text, &schema, "[[probe]]", &schema["$defs"]["Probe"]);
    service_sections(&mut text, &schema);
    let _ = write!(text, "\n## A sample\n\n```toml\n{}```\n", sample());
    text
}

/// The tables that are for the service.
fn service_sections(text: &mut String, schema: &Value) {
    let defs = &schema["$defs"];
    section(text, schema, "[schedule]", &defs["ScheduleSettings"]);
    section(text, schema, "`window` of [schedule]", &defs["Window"]);
    section(text, schema, "[schedule.verify] and [schedule.retention]", &defs["SideSchedule"]);
    section(text, schema, "[history]", &defs["HistorySettings"]);
    section(text, schema, "[alerts]", &defs["AlertSettings"]);
    let _ = write!(text, "\nThe kinds, for `disabled`:\n\n");
    words(text, "- `", "`", &defs["AlertKind"]);
    typed(text, schema, "channel", &defs["Channel"]);
    section(text, schema, "[console]", &defs["ConsoleSettings"]);
}

/// A list of tables of which each type has its own keys.
fn typed(text: &mut String, schema: &Value, name: &str, table: &Value) {
    let _ = write!(text, "\n## [[{name}]]\n\n{}\n", description(table));
    for one in table["oneOf"].as_array().into_iter().flatten() {
        let type_name = one["properties"]["type"]["const"].as_str().unwrap_or_default();
        section(text, schema, &format!("[[{name}]] of type {type_name:?}"), one);
    }
}

/// The words of an enum with their meanings, each between `before` and `after`.
fn words(text: &mut String, before: &str, after: &str, words: &Value) {
    for word in words["oneOf"].as_array().into_iter().flatten() {
        if word["const"].is_string() {
            let _ = writeln!(text, "{before}{}{after}: {}", word["const"], description(word));
        }
    }
}

/// One table of the file: its description, its keys, and the words of those that take one of several. Writing to a
/// String cannot fail.
fn section(text: &mut String, schema: &Value, title: &str, table: &Value) {
    let _ = write!(
        text,
        "\n## {title}\n\n{}\n\n| Key | Value | Default | Meaning |\n|---|---|---|---|\n",
        description(table)
    );
    let empty = Map::new();
    let keys = table["properties"].as_object().unwrap_or(&empty);
    let required =
        |key: &String| table["required"].as_array().is_some_and(|keys| keys.iter().any(|one| one == key));
    let mut ordered: Vec<(&String, &Value)> = keys.iter().collect();
    ordered.sort_by_key(|(key, _)| !required(key));
    let mut meanings = String::new();
    for (key, value) in ordered {
        let default = match (&value["default"], required(key)) {
            (_, true) => "needed".to_owned(),
            (Value::Null, false) => String::new(),
            (default, false) => format!("`{default}`"),
        };
        let meaning = if key == "type" && value["const"].is_string() {
            "Which type it is.".to_owned()
        } else {
            description(value)
        };
        let _ = writeln!(text, "| `{key}` | {} | {default} | {meaning} |", kind(schema, value));
        words(&mut meanings, &format!("- `{key} = "), "`", resolve(schema, value));
    }
    if !meanings.is_empty() {
        let _ = write!(text, "\n{meanings}");
    }
}

/// A table of which each form has one key of its own.
fn alternatives(text: &mut String, schema: &Value, title: &str, table: &Value) {
    let head = "| Key | Value | Meaning |\n|---|---|---|\n";
    let _ = write!(text, "\n## {title}\n\n{}\n\n{head}", description(table));
    for one in table["oneOf"].as_array().into_iter().flatten() {
        for (key, value) in one["properties"].as_object().into_iter().flatten() {
            let _ = writeln!(text, "| `{key}` | {} | {} |", kind(schema, value), description(one));
        }
    }
}

/// What kind of value a key takes, in words.
fn kind(schema: &Value, value: &Value) -> String {
    if let Some(word) = value["const"].as_str() {
        return format!("{word:?}");
    }
    match value["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
        Some("Wait") => return "length of time".to_owned(),
        Some("SiteCode") => return "site code".to_owned(),
        Some("SecretSource" | "Keep" | "Window" | "SideSchedule") => return "table, see below".to_owned(),
        Some("AddressSource") => return "text, or table as for a secret".to_owned(),
        Some("Zone") => return "name of a time zone".to_owned(),
        Some("ClockTime") => return "time of day".to_owned(),
        Some("ComponentName" | "ArchiveName" | "ChannelName") => return "name".to_owned(),
        _ => {}
    }
    let target = resolve(schema, value);
    if target["oneOf"].is_array() {
        return "one word".to_owned();
    }
    match target["type"].as_str() {
        Some("array") => "list of texts",
        Some("integer") => "whole number",
        Some("boolean") => "true or false",
        _ if target["pattern"] == "^/" => "absolute path",
        _ => "text",
    }
    .to_owned()
}

fn resolve<'s>(schema: &'s Value, value: &'s Value) -> &'s Value {
    let target =
        value["$ref"].as_str().and_then(|reference| schema.pointer(reference.trim_start_matches('#')));
    target.unwrap_or(value)
}

fn description(value: &Value) -> String {
    value["description"].as_str().unwrap_or_default().replace('\n', " ")
}
