//! Where secrets come from. None stands in a site file.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::leaf::{Command, Credential, Descriptor, FilePath};
use super::mistake::Findings;
use super::reader::TableReader;

/// Where a secret comes from. Exactly one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SecretSource {
    /// A file that holds it and nothing else, readable by its owner only. Absolute.
    File(#[schemars(extend("pattern" = "^/"))] PathBuf),
    /// Program (absolute) and arguments that print it.
    Command(#[schemars(length(min = 1))] Vec<String>),
    /// The number of a file descriptor that whoever starts Stillpoint opened.
    Descriptor(#[schemars(range(min = 3, max = 1_048_575))] u32),
    /// The name of a systemd credential (`LoadCredential=` or `LoadCredentialEncrypted=` in the unit).
    Credential(String),
}

/// The table `key` of what is `called` so, which says where a secret comes from; `example` is the name of a file in the
/// remedy. What stands there instead of a table may be the secret itself, and is not shown.
pub(super) fn read_secret(
    table: &mut TableReader<'_>,
    key: &'static str,
    called: &str,
    example: &str,
    needed: bool,
    findings: &mut Findings,
) -> Option<SecretSource> {
    let remedy = format!(
        "a secret never stands in a site file: write {key} = {{ file = \"/etc/stillpoint/{example}.{key}\" }}, or \
         `command`, `descriptor` or `credential` instead of `file`"
    );
    let missing = needed.then(|| remedy.clone());
    let mut source = table.secret(key, format!("`{key}` of {called}"), missing, &remedy, findings)?;
    let file = source.optional("file", findings).map(|FilePath(path)| SecretSource::File(path));
    let command = source.optional("command", findings).map(|Command(run)| SecretSource::Command(run));
    let number =
        source.optional("descriptor", findings).map(|Descriptor(number)| SecretSource::Descriptor(number));
    let credential =
        source.optional("credential", findings).map(|Credential(name)| SecretSource::Credential(name));
    let spans = source.finish(findings);
    let there: Vec<&str> =
        ["file", "command", "descriptor", "credential"].into_iter().filter(|key| spans.has(key)).collect();
    match there.as_slice() {
        [_] => file.or(command).or(number).or(credential),
        [] => {
            spans.wrong(findings, "", format!("nothing says where `{key}` of {called} comes from"), remedy);
            None
        }
        [first, .., last] => {
            let message = format!("`{first}` and `{last}` both say where `{key}` of {called} comes from");
            spans.wrong(findings, last, message, "write one of them");
            None
        }
    }
}
