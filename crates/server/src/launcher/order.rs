//! What the service may ask for: a handful of tasks and questions with checked words. This is the whole vocabulary of the
//! privileged part.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stillpoint_history::Task;
use stillpoint_model::{ArchiveName, ComponentName};

/// Work that is done, one at a time, and recorded as a run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "lowercase", deny_unknown_fields)]
pub enum Order {
    /// Back the site up.
    Backup,
    /// Read what is stored: the set, and a share of each archive.
    Verify,
    /// Let versions go that no rule keeps, and the room that they took.
    Retention,
    /// Restore from a version into a new folder below `restored` in the state folder.
    Restore(Restore),
}

/// What is restored.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restore {
    /// The archive.
    pub archive: ArchiveName,
    /// The version.
    pub version: VersionName,
    /// Only this component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<ComponentName>,
    /// Only this path in the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The name of the new folder.
    pub folder: FolderName,
}

impl Order {
    /// Which task it is.
    pub fn task(&self) -> Task {
        match self {
            Order::Backup => Task::Backup,
            Order::Verify => Task::Verify,
            Order::Retention => Task::Retention,
            Order::Restore(_) => Task::Restore,
        }
    }
}

/// A look into an archive. Changes nothing, waits for nobody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "question", rename_all = "lowercase", deny_unknown_fields)]
pub enum Question {
    /// The versions of an archive, one JSON object a line.
    Versions {
        /// The archive.
        archive: ArchiveName,
    },
    /// What lies in a folder of a version, one JSON object a line.
    Entries {
        /// The archive.
        archive: ArchiveName,
        /// The version.
        version: VersionName,
        /// The folder; `/` is the top.
        path: String,
    },
    /// The content of one file.
    File {
        /// The archive.
        archive: ArchiveName,
        /// The version.
        version: VersionName,
        /// The file.
        path: String,
    },
}

/// Everything that can be asked over the socket, one line of JSON for each connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Request {
    /// Do this.
    Run {
        /// What.
        order: Order,
        /// Who asked, for the record.
        by: String,
        /// Which try it is.
        attempt: u32,
    },
    /// Tell this.
    Ask(Question),
    /// End the run with this name.
    Cancel(String),
    /// The site file was taken up: keep what it says.
    Remember,
}

/// A name made of letters, digits and `-` that begins with none: it can be no option and no path.
fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && !text.starts_with('-')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// The name of a version: hexadecimal digits, or `latest`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VersionName(String);

/// The name of a folder for what is restored.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FolderName(String);

macro_rules! word {
    ($name:ident, $what:literal, $is:expr) => {
        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                let is: fn(&str) -> bool = $is;
                if is(&text) { Ok(Self(text)) } else { Err(format!(concat!("{:?} is no ", $what), text)) }
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}

word!(VersionName, "name of a version (hexadecimal digits, or latest)", |text| {
    text == "latest" || (8..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
});
word!(FolderName, "name of a folder (letters, digits and -)", is_word);

/// Below the state folder: where restored data lies until a person takes it.
pub(crate) const RESTORED: &str = "restored";

impl Order {
    /// The words after the program and its common options. `restored` is the folder for restored data.
    pub(super) fn words(&self, restored: &std::path::Path) -> Vec<std::ffi::OsString> {
        match self {
            Order::Backup => words(&["backup", "--wait"]),
            Order::Verify => words(&["verify"]),
            Order::Retention => words(&["archive", "forget", "--prune"]),
            Order::Restore(wish) => {
                let target: PathBuf = restored.join(wish.folder.as_str());
                let mut all = words(&["archive", "-a", wish.archive.as_str(), "restore", "--target"]);
                all.push(target.into());
                if let Some(component) = &wish.component {
                    all.extend(words(&["--component", component.as_str()]));
                }
                if let Some(path) = &wish.path {
                    all.push(format!("--path={path}").into());
                }
                all.extend(words(&["--", wish.version.as_str()]));
                all
            }
        }
    }
}

impl Question {
    pub(super) fn words(&self) -> Vec<std::ffi::OsString> {
        match self {
            Question::Versions { archive } => words(&["archive", "-a", archive.as_str(), "list"]),
            Question::Entries { archive, version, path } => {
                words(&["archive", "-a", archive.as_str(), "ls", "--flat", "--", version.as_str(), path])
            }
            Question::File { archive, version, path } => {
                words(&["archive", "-a", archive.as_str(), "dump", "--", version.as_str(), path])
            }
        }
    }
}

fn words(texts: &[&str]) -> Vec<std::ffi::OsString> {
    texts.iter().map(Into::into).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_of_an_order_can_be_an_option_or_a_path() {
        for text in ["", "-a", "../x", "a/b", "a b", "--help", "x\n"] {
            assert!(FolderName::try_from(text.to_owned()).is_err(), "{text:?}");
            assert!(VersionName::try_from(text.to_owned()).is_err(), "{text:?}");
        }
        assert!(VersionName::try_from("latest".to_owned()).is_ok());
        assert!(VersionName::try_from("0123abcd".to_owned()).is_ok());
        let hostile = r#"{"run":{"order":{"task":"restore","archive":"a","version":"latest","folder":"../../etc"},"by":"x","attempt":1}}"#;
        assert!(serde_json::from_str::<Request>(hostile).is_err());
    }

    #[test]
    fn what_comes_after_the_dashes_is_never_an_option() {
        let wish = Restore {
            archive: "near".parse().unwrap(),
            version: VersionName::try_from("latest".to_owned()).unwrap(),
            component: None,
            path: Some("--overwrite".into()),
            folder: FolderName::try_from("friday".to_owned()).unwrap(),
        };
        let words = Order::Restore(wish).words(std::path::Path::new("/state/restored"));
        let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        assert_eq!(
            words.join(" "),
            "archive -a near restore --target /state/restored/friday --path=--overwrite -- latest"
        );
    }
}
