//! The documents that are made from tables: `docs/messages.md` and `docs/exit-codes.md`.

use std::fmt::Write;

use super::{Severity, reserved, table};
use crate::ErrorKind;

/// The text of `docs/messages.md`.
pub fn messages_document() -> String {
    let mut text = String::from(
        "# Status messages\n\n\
         <!-- Made from crates/model/messages.toml. Rewrite with: UPDATE_GOLDEN=1 cargo test -p stillpoint-model -->\n\n\
         Every run tells what happened in numbered messages. A number is never used for anything else. Numbers below 5100\n\
         and from 6800 mean what they mean in Configuration Manager; our own begin at 5100. `%1`, `%2` ... stand for values.\n\
         In `backup.log` each is also one `STATMSG:` line; in `--json` output each is an event `status`.\n\n\
         A milestone (M) tells that an operation as a whole began or ended, a detail (D) tells of a step in it.\n\n\
         | Number | Severity | Level | Text | Name |\n|---|---|---|---|---|\n",
    );
    for message in table() {
        let level = if message.milestone { 'M' } else { 'D' };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {level} | {} | `{}` |",
            message.id,
            severity(message.severity),
            message.text,
            message.name
        );
    }
    text.push_str("\n## What to do\n");
    for message in table() {
        if let (Some(cause), Some(remedy)) = (&message.cause, &message.remedy) {
            let _ = write!(
                text,
                "\n### {}\n\n{}\n\n- Cause: {cause}\n- Remedy: {remedy}\n",
                message.id, message.text
            );
        }
    }
    text.push_str("\n## Numbers that are not used\n\n| Numbers | Why |\n|---|---|\n");
    for reserved in reserved() {
        let numbers: Vec<String> = reserved.ids.iter().map(u16::to_string).collect();
        let _ = writeln!(text, "| {} | {} |", numbers.join(", "), reserved.why);
    }
    text
}

/// The text of `docs/exit-codes.md`.
pub fn exit_codes_document() -> String {
    let mut text = String::from(
        "# Exit codes\n\n\
         <!-- Made from stillpoint_model::ErrorKind. Rewrite with: UPDATE_GOLDEN=1 cargo test -p stillpoint-model -->\n\n\
         A code that is not in this table is a failure. Codes are never used for anything else.\n\n\
         | Code | Kind | Meaning |\n|---|---|---|\n\
         | 0 | `complete` | Done, and nothing was left out. |\n",
    );
    let mut rows: Vec<(u8, String, &str)> =
        ErrorKind::ALL.iter().map(|kind| (kind.exit_code(), kind_name(*kind), kind.meaning())).collect();
    rows.push((
        3,
        "incomplete".to_owned(),
        "A set was published, but with problems: something was left out or did not go as asked.",
    ));
    rows.sort();
    for (code, name, meaning) in rows {
        let _ = writeln!(text, "| {code} | `{name}` | {meaning} |");
    }
    text
}

/// The name of a kind as `--json` writes it.
fn kind_name(kind: ErrorKind) -> String {
    serde_json::to_value(kind).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}
